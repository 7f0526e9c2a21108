/* Subscribers: pairing, limits, quarantine, blocks, computed ports (RFC 4787, 6888, 6431, 7422), and floods. */
#include "nat64/native/state_rig.h"

START_TEST(rfc6888_req_2_pooling_is_paired)
{
	struct xlat_config c = rig_config(16);
	struct rig r;
	uint32_t used = 0;

	rig_init(&r, &c);
	for (uint32_t host = 1; host <= 40; host++) {
		uint32_t addr = 0;
		for (unsigned port = 5000; port < 5010; port++) {
			unsigned protocol = port % 3 == 0 ? XLAT_UDP : port % 3 == 1 ? XLAT_TCP : XLAT_ICMP;
			ck_assert_verdict(&r, rig_out(&r, protocol, host, port, REMOTE4 + port, 80, protocol == XLAT_TCP ? SYN : 0),
					  XLAT_TRANSLATE);
			ck_assert(addr == 0 || addr == rig_addr(&r));
			addr = rig_addr(&r);
		}
		used |= 1u << (addr - POOL4);
	}
	/* And spread over the pool. */
	ck_assert_int_gt(__builtin_popcount(used), 10);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6888_req_2_a_full_address_does_not_break_a_pair)
{
	struct xlat_config c = rig_config(2);
	struct rig r;

	c.pool[0].port_first = 1024;
	c.pool[0].port_last = 1033;
	rig_init(&r, &c);
	uint32_t addr = 0;
	for (unsigned i = 0; i < 10; i++) {
		ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000 + i, REMOTE4, 80, 0), XLAT_TRANSLATE);
		addr = rig_addr(&r);
	}
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 1, 6000, REMOTE4, 80, 0), XLAT_ERROR, XLAT_R_PORTS_EXHAUSTED);
	/* Other subscribers find room, wherever they belong. */
	for (uint32_t host = 2; host < 12; host++) {
		ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, host, 5000, REMOTE4, 80, 0), XLAT_TRANSLATE);
		ck_assert_uint_ne(rig_addr(&r), addr);
	}
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 12, 5000, REMOTE4, 80, 0), XLAT_ERROR, XLAT_R_PORTS_EXHAUSTED);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6888_req_4_limits_of_sessions_and_ports)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	c.sessions_max = 5;
	c.ports_max = 3;
	rig_init(&r, &c);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000 + i, REMOTE4, 80, 0), XLAT_TRANSLATE);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 1, 5003, REMOTE4, 80, 0), XLAT_ERROR, XLAT_R_SUBSCRIBER_PORTS);
	ck_assert_uint_eq(r.x.error_type, 1);
	for (unsigned i = 1; i < 3; i++)
		ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4 + i, 80, 0), XLAT_TRANSLATE);
	unsigned port = rig_port(&r);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4 + 3, 80, 0), XLAT_ERROR, XLAT_R_SUBSCRIBER_SESSIONS);
	/* From outside as well. */
	ck_assert_reason(&r, rig_in(&r, XLAT_UDP, REMOTE4 + 9, 80, POOL4, port, 0), XLAT_ERROR, XLAT_R_SUBSCRIBER_SESSIONS);
	/* Others are unharmed. */
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 2, 5000, REMOTE4, 80, 0), XLAT_TRANSLATE);
	rig_walk(&r, 300100);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5003, REMOTE4, 80, 0), XLAT_TRANSLATE);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6888_req_4_rate_of_new_sessions)
{
	struct xlat_config c = rig_config(1);
	struct rig r;
	unsigned made = 0;

	c.rate = 10;
	c.burst = 20;
	rig_init(&r, &c);
	for (unsigned i = 0; i < 100; i++)
		made += rig_out(&r, XLAT_UDP, 1, 5000 + i, REMOTE4, 80, 0) == XLAT_TRANSLATE;
	ck_assert_uint_eq(made, 20);
	ck_assert_uint_eq(r.x.reason, XLAT_R_SUBSCRIBER_RATE);
	/* What is there goes on. */
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 80, 0), XLAT_TRANSLATE);
	made = 0;
	for (unsigned i = 0; i < 500; i++) {
		rig_turn(&r, 20);
		made += rig_out(&r, XLAT_UDP, 1, 6000 + i, REMOTE4, 80, 0) == XLAT_TRANSLATE;
	}
	ck_assert_uint_ge(made, 98);
	ck_assert_uint_le(made, 101);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6888_req_8_freed_ports_rest)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	c.pool[0].port_first = c.pool[0].port_last = 3000;
	rig_init(&r, &c);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 80, 0), XLAT_TRANSLATE);
	/* Another protocol has its own ports. */
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, SYN), XLAT_TRANSLATE);
	rig_walk(&r, 300100);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 2, 5000, REMOTE4, 80, 0), XLAT_ERROR, XLAT_R_PORTS_EXHAUSTED);
	rig_turn(&r, 119000);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 2, 5000, REMOTE4, 80, 0), XLAT_ERROR, XLAT_R_PORTS_EXHAUSTED);
	rig_turn(&r, 1100);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 2, 5000, REMOTE4, 80, 0), XLAT_TRANSLATE);
	rig_done(&r);
}
END_TEST

START_TEST(a_rest_of_long_ago_is_over_although_the_clock_went_round)
{
	uint32_t quarantine = XLAT_TICKS(120000);
	uint32_t entry = port_rest(1000 + quarantine);

	ck_assert(!port_free(entry, 1000, quarantine));
	ck_assert(!port_free(entry, 1000 + quarantine - 2, quarantine));
	ck_assert(port_free(entry, 1000 + quarantine, quarantine));
	ck_assert(port_free(entry, 1000u + 0x7fffffffu, quarantine));
	ck_assert(port_free(entry, 1000u + 0x80000000u, quarantine));
	ck_assert(port_free(entry, 1000u + 0xf0000000u, quarantine));
	ck_assert(port_free(0, 5, quarantine) && !port_free(7, 5, quarantine));
}
END_TEST

static unsigned events(struct rig *r, enum xlat_event_kind kind)
{
	struct xlat_event e;
	unsigned n = 0;

	while (xlat_native_event(r->n, &e))
		n += e.kind == kind;
	return n;
}

START_TEST(rfc6431_ports_come_in_blocks_with_one_event_each)
{
	struct xlat_config c = rig_config(1);
	struct xlat_event e;
	struct rig r;

	c.ports = XLAT_PORTS_BLOCKS;
	c.block_ports = 64;
	c.blocks_max = 2;
	c.pool[0].port_first = 1024;
	rig_init(&r, &c);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 80, 0), XLAT_TRANSLATE);
	unsigned block = rig_port(&r) / 64;
	ck_assert(xlat_native_event(r.n, &e));
	ck_assert_int_eq(e.kind, XLAT_EVENT_BLOCK_TAKEN);
	ck_assert_uint_eq(be16toh(e.port4), block * 64);
	ck_assert_uint_eq(e.ports, 64);
	ck_assert_uint_eq(be32toh(e.addr4), POOL4);
	for (unsigned i = 1; i < 64; i++) {
		ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000 + i, REMOTE4, 80, 0), XLAT_TRANSLATE);
		ck_assert_uint_eq(rig_port(&r) / 64, block);
	}
	ck_assert(!xlat_native_event(r.n, &e));
	/* The second block, and no third. */
	for (unsigned i = 64; i < 128; i++) {
		ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000 + i, REMOTE4, 80, 0), XLAT_TRANSLATE);
		ck_assert_uint_ne(rig_port(&r) / 64, block);
	}
	ck_assert_uint_eq(events(&r, XLAT_EVENT_BLOCK_TAKEN), 1);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 1, 6000, REMOTE4, 80, 0), XLAT_ERROR, XLAT_R_PORTS_EXHAUSTED);
	/* Another subscriber has another block. */
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 2, 5000, REMOTE4, 80, 0), XLAT_TRANSLATE);
	ck_assert_uint_ne(rig_port(&r) / 64, block);
	ck_assert_uint_eq(events(&r, XLAT_EVENT_BLOCK_TAKEN), 1);
	/* Idle for a minute, blocks go, with an event each; then the subscribers. */
	rig_walk(&r, 300100);
	rig_walk(&r, 100);
	ck_assert_uint_eq(events(&r, XLAT_EVENT_BLOCK_FREED), 0);
	rig_walk(&r, 60100);
	ck_assert_uint_eq(events(&r, XLAT_EVENT_BLOCK_FREED), 3);
	rig_settle(&r);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SUBSCRIBER), 0);
	const struct xlat_stats *stats = xlat_native_stats(r.n);
	ck_assert_uint_eq(stats->blocks_taken, 3);
	ck_assert_uint_eq(stats->blocks_freed, 3);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6431_freed_blocks_rest)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	c.ports = XLAT_PORTS_BLOCKS;
	c.block_ports = 64;
	c.pool[0].port_first = 1000;		/* the first whole block begins at 1024 */
	c.pool[0].port_last = 1100;
	rig_init(&r, &c);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 80, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(rig_port(&r) / 64, 16);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 2, 5000, REMOTE4, 80, 0), XLAT_ERROR, XLAT_R_PORTS_EXHAUSTED);
	rig_walk(&r, 300100);
	rig_walk(&r, 100);
	rig_walk(&r, 60100);
	ck_assert_uint_eq(events(&r, XLAT_EVENT_BLOCK_FREED), 1);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 2, 5000, REMOTE4, 80, 0), XLAT_ERROR, XLAT_R_PORTS_EXHAUSTED);
	rig_turn(&r, 120100);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 2, 5000, REMOTE4, 80, 0), XLAT_TRANSLATE);
	rig_done(&r);
}
END_TEST

START_TEST(rfc7422_ports_are_computed_without_a_log)
{
	struct xlat_config c = rig_config(4);
	struct rig r;

	/* Hosts 2001:db8:N::/48: N is 16 bits. 1024..65535 in ranges of 4096: 15 to an address. */
	c.ports = XLAT_PORTS_DETERMINISTIC;
	c.det_prefix_bits = 32;
	c.det_subscriber_bits = 48;
	c.det_ports = 4096;
	c.pool[0].port_first = 1024;
	rig_init(&r, &c);
	for (uint32_t n = 0; n < 60; n += 7) {
		if (n == 0x64)
			continue;
		for (unsigned i = 0; i < 3; i++) {
			ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, n, 5000 + i, REMOTE4, 80, 0), XLAT_TRANSLATE);
			ck_assert_uint_eq(rig_addr(&r), POOL4 + n / 15);
			ck_assert_uint_ge(rig_port(&r), 1024 + n % 15 * 4096);
			ck_assert_uint_lt(rig_port(&r), 1024 + (n % 15 + 1) * 4096);
		}
	}
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 60, 5000, REMOTE4, 80, 0), XLAT_ERROR, XLAT_R_PORTS_EXHAUSTED);
	ck_assert_uint_eq(events(&r, XLAT_EVENT_BLOCK_TAKEN), 0);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6888_req_12_destinations_are_logged_only_when_asked)
{
	struct xlat_config c = rig_config(1);
	struct xlat_event e;
	struct rig r;

	rig_init(&r, &c);
	rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 80, 0);
	ck_assert(!xlat_native_event(r.n, &e));
	r.config.flags |= XLAT_LOG_MAPPINGS;
	rig_apply(&r);
	rig_out(&r, XLAT_UDP, 1, 5001, REMOTE4, 80, 0);
	ck_assert(xlat_native_event(r.n, &e));
	ck_assert_int_eq(e.kind, XLAT_EVENT_MAPPING_MADE);
	ck_assert_uint_eq(e.remote4, 0);
	r.config.flags = (r.config.flags & ~(uint32_t)XLAT_LOG_MAPPINGS) | XLAT_LOG_SESSIONS;
	rig_apply(&r);
	rig_out(&r, XLAT_UDP, 1, 5001, REMOTE4 + 1, 80, 0);
	ck_assert(xlat_native_event(r.n, &e));
	ck_assert_int_eq(e.kind, XLAT_EVENT_SESSION_MADE);
	ck_assert_uint_eq(be32toh(e.remote4), REMOTE4 + 1);
	rig_walk(&r, 300100);
	ck_assert_uint_eq(events(&r, XLAT_EVENT_SESSION_ENDED), 3);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_5_3_tables_that_are_full_say_so)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	rig_init_sized(&r, &c, 8, 4);
	/* All of them answered: none of them goes. */
	for (unsigned i = 0; i < 8; i++) {
		ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1 + i % 4, 5000, REMOTE4 + i, 80, 0), XLAT_TRANSLATE);
		ck_assert_verdict(&r, rig_in(&r, XLAT_UDP, REMOTE4 + i, 80, POOL4, rig_port(&r), 0), XLAT_TRANSLATE);
	}
	rig_walk(&r, 60000);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 8);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4 + 99, 80, 0), XLAT_ERROR, XLAT_R_SESSIONS_FULL);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 5, 5000, REMOTE4, 80, 0), XLAT_ERROR, XLAT_R_SUBSCRIBERS_FULL);
	rig_done(&r);
}
END_TEST

/* RFC 6146 5.3, RFC 6888 REQ-4: under a flood, who is answered stays, and others still come in. */
static void flood(uint32_t sources, uint32_t sessions_max)
{
	struct xlat_config c = rig_config(4);
	struct rig r;
	unsigned refused = 0, port;

	c.sessions_max = sessions_max;
	rig_init_sized(&r, &c, 4000, 2000);
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 0x100, 5000, REMOTE4, 80, SYN), XLAT_TRANSLATE);
	port = rig_port(&r);
	uint32_t addr = rig_addr(&r);
	ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4, 80, addr, port, SYN | ACK), XLAT_TRANSLATE);
	for (unsigned second = 0; second < 60; second++) {
		/* An eighth of the table in new sessions a second, and a tenth of a second later somebody honest. */
		for (unsigned i = 0; i < 500; i++) {
			unsigned n = second * 500 + i;
			rig_out(&r, XLAT_UDP, 0x200 + n % sources, 1024 + n / sources, REMOTE4 + n % 7, 9, 0);
		}
		rig_walk(&r, 500);
		int verdict = rig_out(&r, XLAT_TCP, 0x110 + second % 4, 6000 + second, REMOTE4, 80, SYN);
		if (verdict == XLAT_TRANSLATE)
			ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4, 80, rig_addr(&r), rig_port(&r), SYN | ACK), XLAT_TRANSLATE);
		else
			refused++;
		rig_walk(&r, 500);
		ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4, 80, addr, port, ACK), XLAT_TRANSLATE);
	}
	ck_assert_msg(refused <= 2, "%u of 60 honest connections were refused", refused);
	/* None of the honest ones was lost. */
	unsigned kept = 0;
	for (unsigned second = 0; second < 60; second++)
		kept += rig_session(&r, XLAT_TCP, 0x110 + second % 4, 6000 + second, REMOTE4, 80) != NULL;
	ck_assert_uint_eq(kept, 60 - refused);
	rig_done(&r);
}

START_TEST(a_flood_from_one_source_shuts_nobody_out)
{
	flood(1, 0);
}
END_TEST

START_TEST(a_flood_from_one_source_meets_its_limit)
{
	flood(1, 300);
}
END_TEST

START_TEST(a_flood_from_very_many_sources_shuts_nobody_out)
{
	flood(1500, 0);
}
END_TEST

START_TEST(rfc6888_req_7_memory_of_what_ended_is_used_again)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	rig_init_sized(&r, &c, 50, 10);
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 40; i++)
			ck_assert_verdict(&r, rig_out(&r, XLAT_ICMP, i % 8, 1000 + i, REMOTE4 + round, 0, 0), XLAT_TRANSLATE);
		rig_walk(&r, 60100);
		rig_settle(&r);
		ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 0);
		ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_BIB), 0);
		ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SUBSCRIBER), 0);
	}
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_5_2_strangers_leave_a_subscriber_sessions_of_its_own)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	c.sessions_max = 8;
	rig_init(&r, &c);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	unsigned port = be16toh(r.x.to.sport);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_verdict(&r, rig_in(&r, XLAT_UDP, REMOTE4 + 1 + i, 4000, POOL4, port, 0), XLAT_TRANSLATE);
	ck_assert_int_ne(rig_in(&r, XLAT_UDP, REMOTE4 + 9, 4000, POOL4, port, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(r.x.reason, XLAT_R_SUBSCRIBER_SESSIONS);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5001, REMOTE4, 123, 0), XLAT_TRANSLATE);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5002, REMOTE4, 123, 0), XLAT_TRANSLATE);
	ck_assert_int_ne(rig_out(&r, XLAT_UDP, 1, 5003, REMOTE4, 123, 0), XLAT_TRANSLATE);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_5_2_a_flood_of_subscribers_does_not_keep_new_ones_out)
{
	struct xlat_config c = rig_config(1);
	struct rig r;

	rig_init_sized(&r, &c, 1000, 40);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	ck_assert_verdict(&r, rig_in(&r, XLAT_UDP, REMOTE4, 123, POOL4, be16toh(r.x.to.sport), 0), XLAT_TRANSLATE);
	for (unsigned i = 2; i < 60; i++)
		rig_out(&r, XLAT_UDP, i, 5000, REMOTE4, 123, 0);
	ck_assert_uint_eq(r.x.reason, XLAT_R_SUBSCRIBERS_FULL);
	rig_walk(&r, 4100);
	rig_settle(&r);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 99, 5000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	ck_assert_ptr_nonnull(rig_session(&r, XLAT_UDP, 1, 5000, REMOTE4, 123));
	rig_done(&r);
}
END_TEST

TEST_MAIN("nat64/subscriber", rfc6888_req_2_pooling_is_paired, rfc6888_req_2_a_full_address_does_not_break_a_pair,
	  rfc6888_req_4_limits_of_sessions_and_ports, rfc6888_req_4_rate_of_new_sessions, rfc6888_req_8_freed_ports_rest,
	  a_rest_of_long_ago_is_over_although_the_clock_went_round, rfc6431_ports_come_in_blocks_with_one_event_each, rfc6431_freed_blocks_rest,
	  rfc7422_ports_are_computed_without_a_log, rfc6888_req_12_destinations_are_logged_only_when_asked,
	  rfc6146_5_3_tables_that_are_full_say_so, a_flood_from_one_source_shuts_nobody_out, a_flood_from_one_source_meets_its_limit,
	  a_flood_from_very_many_sources_shuts_nobody_out, rfc6888_req_7_memory_of_what_ended_is_used_again,
	  rfc6146_5_2_strangers_leave_a_subscriber_sessions_of_its_own, rfc6146_5_2_a_flood_of_subscribers_does_not_keep_new_ones_out)
