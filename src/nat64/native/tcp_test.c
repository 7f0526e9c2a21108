/* The states of TCP sessions, RFC 6146 3.5.2.2: the table of the text by itself, then by packets, with its timers. */
#include "nat64/native/state_rig.h"

#define EST XLAT_T_TCP_ESTABLISHED
#define TRN XLAT_T_TCP_TRANSITORY
#define ON  XLAT_TIMER_RUNS_ON

/* Written from the text, section by section; rows where we differ say so. Columns: V6 SYN, V4 SYN, V6 FIN, V4 FIN, V6 RST, V4 RST, V6 other, V4 other. */
static const struct {
	enum xlat_tcp_state state;
	struct { uint8_t state, timer; } to[8];
} rows[] = {
	{ XLAT_V4_INIT, { { XLAT_ESTABLISHED, EST }, { XLAT_V4_INIT, ON }, { XLAT_V4_INIT, ON }, { XLAT_V4_INIT, ON },
			  { XLAT_V4_INIT, ON }, { XLAT_V4_INIT, ON }, { XLAT_V4_INIT, ON }, { XLAT_V4_INIT, ON } } },
	{ XLAT_V6_INIT, { { XLAT_V6_INIT, TRN }, { XLAT_ESTABLISHED, EST }, { XLAT_V6_INIT, ON }, { XLAT_V6_INIT, ON },
			  { XLAT_V6_INIT, ON }, { XLAT_V6_INIT, ON }, { XLAT_V6_INIT, ON }, { XLAT_V6_INIT, ON } } },
	{ XLAT_ESTABLISHED, { { XLAT_ESTABLISHED, EST }, { XLAT_ESTABLISHED, EST }, { XLAT_V6_FIN, EST }, { XLAT_V4_FIN, EST },
			      { XLAT_TRANS, TRN }, { XLAT_TRANS, TRN }, { XLAT_ESTABLISHED, EST }, { XLAT_ESTABLISHED, EST } } },
	/* RST: tcp.h tells why it does not stay. */
	{ XLAT_V4_FIN, { { XLAT_V4_FIN, EST }, { XLAT_V4_FIN, EST }, { XLAT_V4_V6_FIN, TRN }, { XLAT_V4_FIN, EST },
			 { XLAT_TRANS, TRN }, { XLAT_TRANS, TRN }, { XLAT_V4_FIN, EST }, { XLAT_V4_FIN, EST } } },
	{ XLAT_V6_FIN, { { XLAT_V6_FIN, EST }, { XLAT_V6_FIN, EST }, { XLAT_V6_FIN, EST }, { XLAT_V4_V6_FIN, TRN },
			 { XLAT_TRANS, TRN }, { XLAT_TRANS, TRN }, { XLAT_V6_FIN, EST }, { XLAT_V6_FIN, EST } } },
	/* V6 SYN: tcp.h tells why it begins anew. */
	{ XLAT_V4_V6_FIN, { { XLAT_V6_INIT, TRN }, { XLAT_V4_V6_FIN, ON }, { XLAT_V4_V6_FIN, ON }, { XLAT_V4_V6_FIN, ON },
			    { XLAT_V4_V6_FIN, ON }, { XLAT_V4_V6_FIN, ON }, { XLAT_V4_V6_FIN, ON }, { XLAT_V4_V6_FIN, ON } } },
	{ XLAT_TRANS, { { XLAT_ESTABLISHED, EST }, { XLAT_ESTABLISHED, EST }, { XLAT_ESTABLISHED, EST }, { XLAT_ESTABLISHED, EST },
			{ XLAT_TRANS, ON }, { XLAT_TRANS, ON }, { XLAT_ESTABLISHED, EST }, { XLAT_ESTABLISHED, EST } } },
};

START_TEST(rfc6146_3_5_2_2_the_table_of_states)
{
	static const uint8_t flags[] = { SYN, FIN | ACK, RST, ACK };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (unsigned column = 0; column < 8; column++) {
			uint32_t got = tcp_next(rows[i].state, tcp_event(flags[column / 2]), column % 2 != 0);
			ck_assert_msg((got & 0xff) == rows[i].to[column].state && got >> 8 == rows[i].to[column].timer,
				      "state %d, column %u: to %u with timer %u", (int)rows[i].state, column, got & 0xff, got >> 8);
		}
	}
}
END_TEST

/* Bring a session of host 1, port 5000, to a state by packets. The pool port is returned. */
static unsigned bring(struct rig *r, enum xlat_tcp_state state)
{
	unsigned port = 0;

	if (state == XLAT_V4_INIT) {
		/* Another session makes the mapping, then the outside begins. */
		ck_assert_verdict(r, rig_out(r, XLAT_TCP, 1, 5000, REMOTE4 + 1, 80, SYN), XLAT_TRANSLATE);
		port = rig_port(r);
		ck_assert_verdict(r, rig_in(r, XLAT_TCP, REMOTE4, 80, POOL4, port, SYN), XLAT_TRANSLATE);
		return port;
	}
	ck_assert_verdict(r, rig_out(r, XLAT_TCP, 1, 5000, REMOTE4, 80, SYN), XLAT_TRANSLATE);
	port = rig_port(r);
	if (state == XLAT_V6_INIT)
		return port;
	ck_assert_verdict(r, rig_in(r, XLAT_TCP, REMOTE4, 80, POOL4, port, SYN | ACK), XLAT_TRANSLATE);
	if (state == XLAT_V4_FIN || state == XLAT_V4_V6_FIN)
		ck_assert_verdict(r, rig_in(r, XLAT_TCP, REMOTE4, 80, POOL4, port, FIN | ACK), XLAT_TRANSLATE);
	if (state == XLAT_V6_FIN || state == XLAT_V4_V6_FIN)
		ck_assert_verdict(r, rig_out(r, XLAT_TCP, 1, 5000, REMOTE4, 80, FIN | ACK), XLAT_TRANSLATE);
	if (state == XLAT_TRANS)
		ck_assert_verdict(r, rig_in(r, XLAT_TCP, REMOTE4, 80, POOL4, port, RST), XLAT_TRANSLATE);
	return port;
}

START_TEST(rfc6146_3_5_2_2_packets_move_states_and_timers)
{
	static const uint8_t flags[] = { SYN, FIN | ACK, RST, ACK };
	struct xlat_config c = rig_config(1);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (unsigned column = 0; column < 8; column++) {
			struct rig r;
			rig_init(&r, &c);
			unsigned port = bring(&r, rows[i].state);
			struct xlat_session *s = rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80);
			ck_assert_ptr_nonnull(s);
			ck_assert_int_eq(s->state, rows[i].state);
			uint32_t before = s->expires;
			rig_turn(&r, 10000);
			int verdict = column % 2 != 0 ? rig_in(&r, XLAT_TCP, REMOTE4, 80, POOL4, port, flags[column / 2]) :
							rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, flags[column / 2]);
			ck_assert_verdict(&r, verdict, XLAT_TRANSLATE);
			ck_assert_int_eq(s->state, rows[i].to[column].state);
			uint8_t timer = rows[i].to[column].timer;
			ck_assert_uint_eq(s->expires, timer == ON ? before : r.x.now + c.timeout[timer]);
			rig_done(&r);
		}
	}
}
END_TEST

START_TEST(rfc6146_3_5_2_2_closed_makes_nothing_of_other_packets)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	rig_init(&r, &c);
	ck_assert_reason(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, ACK), XLAT_DROP, XLAT_R_NO_SESSION);
	ck_assert_reason(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, SYN | ACK), XLAT_DROP, XLAT_R_NO_SESSION);
	ck_assert_reason(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, RST), XLAT_DROP, XLAT_R_NO_SESSION);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 0);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_BIB), 0);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_2_2_closed_forwards_by_a_mapping_that_is_there)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	rig_init(&r, &c);
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, SYN), XLAT_TRANSLATE);
	unsigned port = rig_port(&r);
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4 + 7, 80, ACK), XLAT_TRANSLATE);
	ck_assert_uint_eq(rig_port(&r), port);
	ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4 + 7, 80, POOL4, port, ACK), XLAT_TRANSLATE);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 1);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_2_2_a_syn_for_nobody_is_stored)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	rig_init(&r, &c);
	ck_assert_reason(&r, rig_in(&r, XLAT_TCP, REMOTE4, 80, POOL4, 4000, SYN), XLAT_SLOW, XLAT_R_STORED_SYN);
	/* After 6 s the daemon asks again: port unreachable. */
	ck_assert_reason(&r, rig_in_flags(&r, XLAT_TCP, REMOTE4, 80, POOL4, 4000, SYN, XLAT_FROM_SLOW), XLAT_ERROR, XLAT_R_STORED_SYN);
	ck_assert_uint_eq(r.x.error_type, 3);
	ck_assert_uint_eq(r.x.error_code, 3);
	ck_assert_reason(&r, rig_in(&r, XLAT_TCP, REMOTE4, 80, POOL4, 4000, ACK), XLAT_DROP, XLAT_R_NO_MAPPING);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 0);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_2_2_simultaneous_open_when_the_inside_syn_comes)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	c.filtering = XLAT_ADDRESS_DEPENDENT;
	rig_init(&r, &c);
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4 + 1, 80, SYN), XLAT_TRANSLATE);
	unsigned port = rig_port(&r);
	/* The mapping is there, the filter stands in the way: stored, no session. */
	ck_assert_reason(&r, rig_in(&r, XLAT_TCP, REMOTE4, 80, POOL4, port, SYN), XLAT_SLOW, XLAT_R_STORED_SYN);
	ck_assert_ptr_null(rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80));
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, SYN), XLAT_TRANSLATE);
	ck_assert_uint_eq(rig_port(&r), port);
	/* Asked again, the stored SYN belongs to the session: it may go on, and the connection is established. */
	ck_assert_verdict(&r, rig_in_flags(&r, XLAT_TCP, REMOTE4, 80, POOL4, port, SYN, XLAT_FROM_SLOW), XLAT_TRANSLATE);
	ck_assert_int_eq(rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80)->state, XLAT_ESTABLISHED);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_2_2_an_established_session_is_probed_once_and_then_transitory)
{
	struct xlat_config c = rig_config(1);
	struct xlat_event e;
	struct rig r;
	unsigned probes = 0;

	rig_init(&r, &c);
	unsigned port = bring(&r, XLAT_ESTABLISHED);
	rig_walk(&r, 7440000 - 1000);
	ck_assert_int_eq(rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80)->state, XLAT_ESTABLISHED);
	for (int i = 0; i < 5; i++)
		rig_walk(&r, 2000);
	ck_assert_int_eq(rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80)->state, XLAT_TRANS);
	while (xlat_native_event(r.n, &e)) {
		probes += e.kind == XLAT_EVENT_PROBE;
		ck_assert_uint_eq(be16toh(e.port6), 5000);
		ck_assert_uint_eq(be32toh(e.remote4), REMOTE4);
		ck_assert_uint_eq(be16toh(e.remote_port), 80);
		ck_assert_uint_eq(be16toh(e.port4), port);
	}
	ck_assert_uint_eq(probes, 1);
	/* The answer brings it back. */
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, ACK), XLAT_TRANSLATE);
	ck_assert_int_eq(rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80)->state, XLAT_ESTABLISHED);
	rig_walk(&r, 7450000);
	rig_walk(&r, 240000);
	ck_assert_ptr_null(rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80));
	rig_done(&r);
}
END_TEST

START_TEST(rfc5382_req_1_mapping_is_endpoint_independent)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	rig_init(&r, &c);
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, SYN), XLAT_TRANSLATE);
	unsigned port = rig_port(&r);
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4 + 1, 443, SYN), XLAT_TRANSLATE);
	ck_assert_uint_eq(rig_port(&r), port);
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 5002, REMOTE4, 80, SYN), XLAT_TRANSLATE);
	ck_assert_uint_ne(rig_port(&r), port);
	rig_done(&r);
}
END_TEST

START_TEST(rfc7857_2_2_a_reset_leaves_the_transitory_time_and_data_bring_it_back)
{
	struct xlat_config c = rig_config(1);

	for (unsigned data = 0; data < 2; data++) {
		struct rig r;
		rig_init(&r, &c);
		unsigned port = bring(&r, XLAT_ESTABLISHED);
		ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4, 80, POOL4, port, RST), XLAT_TRANSLATE);
		if (data)
			ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, ACK), XLAT_TRANSLATE);
		rig_walk(&r, 239000);
		ck_assert_ptr_nonnull(rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80));
		rig_walk(&r, 2000);
		ck_assert_int_eq(rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80) != NULL, data);
		rig_done(&r);
	}
}
END_TEST

/* RFC 4787 REQ-3, too: what one host has outside is no other's, whatever the remote. */
START_TEST(rfc7857_3_ports_are_not_shared_by_hosts)
{
	struct xlat_config c = rig_config(1);
	uint8_t seen[65536] = { 0 };
	struct rig r;

	c.pool[0].port_first = 40000;
	c.pool[0].port_last = 40049;
	rig_init(&r, &c);
	for (unsigned host = 1; host <= 50; host++) {
		ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, host, 5000 + host % 2, REMOTE4 + host, 80, SYN), XLAT_TRANSLATE);
		ck_assert_uint_eq(seen[rig_port(&r)]++, 0);
	}
	ck_assert_reason(&r, rig_out(&r, XLAT_TCP, 51, 5000, REMOTE4 + 51, 80, SYN), XLAT_ERROR, XLAT_R_PORTS_EXHAUSTED);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_2_2_lifetimes_hold_to_the_tick_without_the_walk)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	rig_init(&r, &c);
	unsigned port = bring(&r, XLAT_ESTABLISHED);
	struct xlat_session *s = rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80);
	/* Established: over only after the transitory time as well. */
	rig_turn(&r, 7440000 + 239000);
	ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4, 80, POOL4, port, ACK), XLAT_TRANSLATE);
	ck_assert_uint_eq(s->expires, r.x.now + c.timeout[EST]);
	/* A RST in that time ends it there. */
	rig_turn(&r, 7440000 + 100000);
	ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4, 80, POOL4, port, RST), XLAT_TRANSLATE);
	ck_assert_int_eq(s->state, XLAT_TRANS);
	ck_assert_uint_le(s->expires - r.x.now, XLAT_TICKS(140000) + 1);
	rig_done(&r);
	rig_init(&r, &c);
	bring(&r, XLAT_V6_INIT);
	rig_turn(&r, 240100);
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, SYN), XLAT_TRANSLATE);
	ck_assert(r.x.flags & XLAT_NEW_SESSION);
	rig_done(&r);
}
END_TEST

TEST_MAIN("nat64/tcp", rfc6146_3_5_2_2_the_table_of_states, rfc6146_3_5_2_2_packets_move_states_and_timers,
	  rfc6146_3_5_2_2_closed_makes_nothing_of_other_packets, rfc6146_3_5_2_2_closed_forwards_by_a_mapping_that_is_there,
	  rfc6146_3_5_2_2_a_syn_for_nobody_is_stored, rfc6146_3_5_2_2_simultaneous_open_when_the_inside_syn_comes,
	  rfc6146_3_5_2_2_an_established_session_is_probed_once_and_then_transitory,
	  rfc6146_3_5_2_2_lifetimes_hold_to_the_tick_without_the_walk, rfc5382_req_1_mapping_is_endpoint_independent,
	  rfc7857_2_2_a_reset_leaves_the_transitory_time_and_data_bring_it_back, rfc7857_3_ports_are_not_shared_by_hosts)
