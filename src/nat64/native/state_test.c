/* Mappings, sessions, filtering and hairpinning: RFC 6146 3.5, 4787, 5382, 5508 by their clauses. */
#include <errno.h>

#include "nat64/native/state_rig.h"

static void new_rig(struct rig *r)
{
	struct xlat_config c = rig_config(1);

	rig_init(r, &c);
}

START_TEST(rfc4787_req_1_mapping_is_endpoint_independent)
{
	struct rig r;

	new_rig(&r);
	static const unsigned protocols[] = { XLAT_UDP, XLAT_TCP, XLAT_ICMP };
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_verdict(&r, rig_out(&r, protocols[i], 1, 5000, REMOTE4, 80, protocols[i] == XLAT_TCP ? SYN : 0), XLAT_TRANSLATE);
		ck_assert(r.x.flags & XLAT_NEW_SESSION);
		unsigned port = rig_port(&r);
		ck_assert_uint_eq(rig_addr(&r), POOL4);
		ck_assert_verdict(&r, rig_out(&r, protocols[i], 1, 5000, REMOTE4 + 1, 443, protocols[i] == XLAT_TCP ? SYN : 0), XLAT_TRANSLATE);
		ck_assert_uint_eq(rig_port(&r), port);
		ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_BIB), i + 1);
		ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 2 * (i + 1));
	}
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_1_udp_goes_out_and_answers_come_in)
{
	struct rig r;
	__be32 host[4], remote[4];

	new_rig(&r);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	unsigned port = rig_port(&r);
	ck_assert_uint_eq(be32toh(r.x.to.dst[0]), REMOTE4);
	ck_assert_uint_eq(be16toh(r.x.to.dport), 123);
	ck_assert_verdict(&r, rig_in(&r, XLAT_UDP, REMOTE4, 123, POOL4, port, 0), XLAT_TRANSLATE);
	rig_host(host, 1);
	rig_embed(&r, remote, REMOTE4);
	ck_assert_mem_eq(r.x.to.dst, host, 16);
	ck_assert_mem_eq(r.x.to.src, remote, 16);
	ck_assert_uint_eq(be16toh(r.x.to.dport), 5000);
	ck_assert_uint_eq(be16toh(r.x.to.sport), 123);
	ck_assert(!(r.x.flags & XLAT_NEW_SESSION));
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_1_a_session_lives_for_the_udp_timer_after_its_last_packet)
{
	struct rig r;

	new_rig(&r);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	unsigned port = rig_port(&r);
	for (int i = 0; i < 4; i++) {
		rig_walk(&r, 299000);
		ck_assert_verdict(&r, rig_in(&r, XLAT_UDP, REMOTE4, 123, POOL4, port, 0), XLAT_TRANSLATE);
	}
	rig_walk(&r, 300100);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 0);
	ck_assert_verdict(&r, rig_in(&r, XLAT_UDP, REMOTE4, 123, POOL4, port, 0), XLAT_ERROR);
	ck_assert_uint_eq(r.x.reason, XLAT_R_NO_MAPPING);
	rig_settle(&r);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_BIB), 0);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SUBSCRIBER), 0);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_1_expiry_is_written_only_when_it_moves_by_100_ms)
{
	struct rig r;

	new_rig(&r);
	rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0);
	struct xlat_session *s = rig_session(&r, XLAT_UDP, 1, 5000, REMOTE4, 123);
	uint32_t before = s->expires;
	rig_turn(&r, 60);
	rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0);
	ck_assert_uint_eq(s->expires, before);
	rig_turn(&r, 100);
	rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0);
	ck_assert_uint_ne(s->expires, before);
	rig_done(&r);
}
END_TEST

START_TEST(rfc4787_req_5_dns_has_its_own_timer)
{
	struct rig r;

	new_rig(&r);
	rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 53, 0);
	ck_assert_uint_eq(rig_session(&r, XLAT_UDP, 1, 5000, REMOTE4, 53)->expires, r.x.now + r.config.timeout[XLAT_T_UDP_DNS]);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_1_2_endpoint_independent_filtering_lets_anyone_answer)
{
	struct rig r;

	new_rig(&r);
	rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0);
	unsigned port = rig_port(&r);
	ck_assert_verdict(&r, rig_in(&r, XLAT_UDP, REMOTE4 + 9, 77, POOL4, port, 0), XLAT_TRANSLATE);
	ck_assert(r.x.flags & XLAT_NEW_SESSION);
	ck_assert_ptr_nonnull(rig_session(&r, XLAT_UDP, 1, 5000, REMOTE4 + 9, 77));
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_1_2_address_dependent_filtering_asks_for_the_address)
{
	struct rig r;
	struct xlat_config c = rig_config(1);

	c.filtering = XLAT_ADDRESS_DEPENDENT;
	rig_init(&r, &c);
	rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0);
	unsigned port = rig_port(&r);
	/* Same address, another port: allowed. Another address: administratively prohibited. */
	ck_assert_verdict(&r, rig_in(&r, XLAT_UDP, REMOTE4, 9999, POOL4, port, 0), XLAT_TRANSLATE);
	ck_assert_reason(&r, rig_in(&r, XLAT_UDP, REMOTE4 + 1, 123, POOL4, port, 0), XLAT_ERROR, XLAT_R_FILTERED);
	ck_assert_uint_eq(r.x.error_type, 3);
	ck_assert_uint_eq(r.x.error_code, 13);
	/* The permission goes with the last session. */
	rig_walk(&r, 300100);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 0);
	rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4 + 1, 123, 0);
	ck_assert_reason(&r, rig_in(&r, XLAT_UDP, REMOTE4, 123, POOL4, rig_port(&r), 0), XLAT_ERROR, XLAT_R_FILTERED);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_3_icmp_queries_by_identifier)
{
	struct rig r;

	new_rig(&r);
	ck_assert_verdict(&r, rig_out(&r, XLAT_ICMP, 1, 77, REMOTE4, 0, 0), XLAT_TRANSLATE);
	unsigned id = rig_port(&r);
	struct xlat_session *s = rig_session(&r, XLAT_ICMP, 1, 77, REMOTE4, 0);
	ck_assert_uint_eq(s->expires, r.x.now + r.config.timeout[XLAT_T_ICMP]);
	ck_assert_verdict(&r, rig_in(&r, XLAT_ICMP, REMOTE4, 0, POOL4, id, 1), XLAT_TRANSLATE);
	ck_assert_uint_eq(be16toh(r.x.to.dport), 77);
	ck_assert_reason(&r, rig_in(&r, XLAT_ICMP, REMOTE4, 0, POOL4, id ^ 1, 1), XLAT_ERROR, XLAT_R_NO_MAPPING);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_1_1_port_class_and_parity_are_kept)
{
	struct rig r;

	new_rig(&r);
	for (unsigned port = 600; port < 640; port++) {
		ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, port, REMOTE4, 123, 0), XLAT_TRANSLATE);
		ck_assert_uint_eq(rig_port(&r) & 1, port & 1);
		ck_assert_uint_lt(rig_port(&r), 1024);
		ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, port + 5000, REMOTE4, 123, SYN), XLAT_TRANSLATE);
		ck_assert_uint_eq(rig_port(&r) & 1, port & 1);
		ck_assert_uint_ge(rig_port(&r), 1024);
	}
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_1_1_another_class_when_there_is_no_other)
{
	struct rig r;
	struct xlat_config c = rig_config(1);

	c.pool[0].port_first = 2000;
	c.pool[0].port_last = 2003;
	rig_init(&r, &c);
	bool seen[4] = { false };
	for (unsigned i = 0; i < 4; i++) {
		/* All odd and below 1024; there are but two odd ports, and none below 1024. */
		ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 601 + 2 * i, REMOTE4, 123, 0), XLAT_TRANSLATE);
		ck_assert_uint_ge(rig_port(&r), 2000);
		ck_assert_uint_le(rig_port(&r), 2003);
		ck_assert(!seen[rig_port(&r) - 2000]);
		seen[rig_port(&r) - 2000] = true;
	}
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 1, 999, REMOTE4, 123, 0), XLAT_ERROR, XLAT_R_PORTS_EXHAUSTED);
	ck_assert_uint_eq(r.x.error_type, 1);
	ck_assert_uint_eq(r.x.error_code, 3);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6056_ports_do_not_follow_each_other)
{
	struct rig r;
	unsigned last = 0, near = 0;

	new_rig(&r);
	for (unsigned i = 0; i < 200; i++) {
		rig_out(&r, XLAT_UDP, 1, 5000 + i, REMOTE4, 123, 0);
		unsigned port = rig_port(&r);
		near += port > last ? port - last < 64 : last - port < 64;
		last = port;
	}
	ck_assert_uint_lt(near, 5);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_8_hairpinning)
{
	struct rig r;
	__be32 want[4];

	new_rig(&r);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 2, 7000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	unsigned two = rig_port(&r);
	/* Host 1 sends to host 2's outside address. */
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, POOL4, two, 0), XLAT_TRANSLATE);
	ck_assert(r.x.flags & XLAT_HAIRPINNED);
	ck_assert_uint_eq(r.x.to.family, 6);
	rig_host(want, 2);
	ck_assert_mem_eq(r.x.to.dst, want, 16);
	ck_assert_uint_eq(be16toh(r.x.to.dport), 7000);
	/* RFC 4787 REQ-9: with its outside address and port. */
	rig_embed(&r, want, POOL4);
	ck_assert_mem_eq(r.x.to.src, want, 16);
	unsigned one = be16toh(r.x.to.sport);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 2, 7000, POOL4, one, 0), XLAT_TRANSLATE);
	rig_host(want, 1);
	ck_assert_mem_eq(r.x.to.dst, want, 16);
	ck_assert_uint_eq(be16toh(r.x.to.dport), 5000);
	ck_assert_uint_eq(be16toh(r.x.to.sport), two);
	/* To itself: would come back. To a port that nobody has: an answer. */
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 1, 5000, POOL4, one, 0), XLAT_DROP, XLAT_R_HAIRPIN_LOOP);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 1, 5000, POOL4, one ^ two ^ 1, 0), XLAT_ERROR, XLAT_R_NO_MAPPING);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_5_a_source_in_the_prefix_is_dropped_silently)
{
	struct rig r;
	uint8_t p[80] = { 0 };
	__be32 src[4], dst[4];

	new_rig(&r);
	rig_embed(&r, src, REMOTE4);
	rig_embed(&r, dst, REMOTE4 + 1);
	rig_head6(p, src, dst, XLAT_UDP, rig_transport(p + 40, 6, XLAT_UDP, 1, 2, 0));
	ck_assert_reason(&r, rig_plan(&r, p, 48, 0), XLAT_DROP, XLAT_R_SOURCE_IN_PREFIX);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SUBSCRIBER), 0);
	rig_done(&r);
}
END_TEST

/* An ICMPv4 error (type 3, code 1) from `router` to the pool about a packet that POOL4:port sent to remote:rport. */
static int error_in(struct rig *r, unsigned protocol, uint32_t router, unsigned port, uint32_t remote, unsigned rport)
{
	uint8_t p[128] = { 0 };

	size_t n = rig_transport(p + 48, 4, protocol, port, rport, 0);
	rig_head4(p + 28, POOL4, remote, protocol, n);
	p[20] = 3;
	p[21] = 1;
	rig_head4(p, router, POOL4, XLAT_ICMP, 28 + n);
	return rig_plan(r, p, 48 + n, 0);
}

/* An ICMPv6 error (1/4) from a router inside about a packet that remote:rport sent to host:port. */
static int error_out(struct rig *r, unsigned protocol, uint32_t host, unsigned port, uint32_t remote, unsigned rport)
{
	uint8_t p[160] = { 0 };
	__be32 router[4], inside[4], outside[4];

	rig_host(router, 99);
	rig_host(inside, host);
	rig_embed(r, outside, remote);
	size_t n = rig_transport(p + 88, 6, protocol, rport, port, 0);
	rig_head6(p + 48, outside, inside, protocol, n);
	p[40] = 1;
	p[41] = 4;
	rig_head6(p, router, outside, XLAT_ICMP, 48 + n);
	return rig_plan(r, p, 88 + n, 0);
}

START_TEST(rfc5508_req_3_errors_from_outside_follow_the_packet_inside)
{
	struct rig r;
	__be32 want[4];

	new_rig(&r);
	rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0);
	unsigned port = rig_port(&r);
	uint32_t expires = rig_session(&r, XLAT_UDP, 1, 5000, REMOTE4, 123)->expires;
	rig_turn(&r, 100000);
	ck_assert_verdict(&r, error_in(&r, XLAT_UDP, REMOTE4 + 50, port, REMOTE4, 123), XLAT_TRANSLATE);
	rig_host(want, 1);
	ck_assert_mem_eq(r.x.to.dst, want, 16);
	ck_assert_mem_eq(r.x.inner_to.src, want, 16);
	ck_assert_uint_eq(be16toh(r.x.inner_to.sport), 5000);
	rig_embed(&r, want, REMOTE4 + 50);
	ck_assert_mem_eq(r.x.to.src, want, 16);
	rig_embed(&r, want, REMOTE4);
	ck_assert_mem_eq(r.x.inner_to.dst, want, 16);
	ck_assert_uint_eq(be16toh(r.x.inner_to.dport), 123);
	/* RFC 5508 REQ-6, RFC 6146 3.5: no timer moves. */
	ck_assert_uint_eq(rig_session(&r, XLAT_UDP, 1, 5000, REMOTE4, 123)->expires, expires);
	/* About a packet that nobody sent. */
	ck_assert_reason(&r, error_in(&r, XLAT_UDP, REMOTE4, port, REMOTE4, 124), XLAT_DROP, XLAT_R_ICMP_NO_SESSION);
	ck_assert_reason(&r, error_in(&r, XLAT_UDP, REMOTE4, port ^ 1, REMOTE4, 123), XLAT_DROP, XLAT_R_ICMP_NO_SESSION);
	ck_assert_reason(&r, error_in(&r, XLAT_TCP, REMOTE4, port, REMOTE4, 123), XLAT_DROP, XLAT_R_ICMP_NO_SESSION);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 1);
	rig_done(&r);
}
END_TEST

START_TEST(rfc5508_req_4_errors_from_inside_follow_the_packet_inside)
{
	struct rig r;

	new_rig(&r);
	rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80, SYN);
	unsigned port = rig_port(&r);
	uint32_t expires = rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80)->expires;
	rig_turn(&r, 100000);
	ck_assert_verdict(&r, error_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 80), XLAT_TRANSLATE);
	ck_assert_uint_eq(be32toh(r.x.to.src[0]), POOL4);
	ck_assert_uint_eq(be32toh(r.x.to.dst[0]), REMOTE4);
	ck_assert_uint_eq(be32toh(r.x.inner_to.src[0]), REMOTE4);
	ck_assert_uint_eq(be16toh(r.x.inner_to.sport), 80);
	ck_assert_uint_eq(be32toh(r.x.inner_to.dst[0]), POOL4);
	ck_assert_uint_eq(be16toh(r.x.inner_to.dport), port);
	ck_assert_uint_eq(rig_session(&r, XLAT_TCP, 1, 5000, REMOTE4, 80)->expires, expires);
	ck_assert_reason(&r, error_out(&r, XLAT_TCP, 1, 5001, REMOTE4, 80), XLAT_DROP, XLAT_R_ICMP_NO_SESSION);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_8_errors_about_hairpinned_packets_hairpin)
{
	struct rig r;
	__be32 want[4];

	new_rig(&r);
	rig_out(&r, XLAT_UDP, 2, 7000, REMOTE4, 123, 0);
	unsigned two = rig_port(&r);
	rig_out(&r, XLAT_UDP, 1, 5000, POOL4, two, 0);
	unsigned one = be16toh(r.x.to.sport);
	/* Host 2 answers with an error. */
	ck_assert_verdict(&r, error_out(&r, XLAT_UDP, 2, 7000, POOL4, one), XLAT_TRANSLATE);
	ck_assert(r.x.flags & XLAT_HAIRPINNED);
	rig_host(want, 1);
	ck_assert_mem_eq(r.x.to.dst, want, 16);
	ck_assert_mem_eq(r.x.inner_to.src, want, 16);
	ck_assert_uint_eq(be16toh(r.x.inner_to.sport), 5000);
	ck_assert_uint_eq(be16toh(r.x.inner_to.dport), two);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_3_4_other_transports_are_refused)
{
	struct rig r;
	uint8_t p[80] = { 0 };
	__be32 src[4], dst[4];

	new_rig(&r);
	rig_host(src, 1);
	rig_embed(&r, dst, REMOTE4);
	rig_head6(p, src, dst, XLAT_SCTP, 20);
	ck_assert_reason(&r, rig_plan(&r, p, 60, 0), XLAT_ERROR, XLAT_R_PROTOCOL);
	ck_assert_uint_eq(r.x.error_type, 1);
	ck_assert_uint_eq(r.x.error_code, 4);
	memset(p, 0, sizeof(p));
	rig_head4(p, REMOTE4, POOL4, XLAT_SCTP, 20);
	ck_assert_reason(&r, rig_plan(&r, p, 40, 0), XLAT_ERROR, XLAT_R_PROTOCOL);
	ck_assert_uint_eq(r.x.error_type, 3);
	ck_assert_uint_eq(r.x.error_code, 2);
	rig_done(&r);
}
END_TEST

static int call(struct rig *r, struct xlat_call *c)
{
	return xlat_native_call(r->n, c, NULL);
}

static struct xlat_call bib_call(enum xlat_call_op op, unsigned protocol, uint32_t host, unsigned port, uint32_t addr4, unsigned port4, unsigned flags)
{
	struct xlat_call c = { .op = op };

	rig_host(c.bib.key.addr6, host);
	c.bib.key.port6 = htobe16((uint16_t)port);
	c.bib.key.protocol = (uint8_t)protocol;
	c.bib.addr4 = htobe32(addr4);
	c.bib.port4 = htobe16((uint16_t)port4);
	c.bib.flags = (uint16_t)flags;
	return c;
}

START_TEST(rfc6146_3_1_static_mappings_stay_and_are_removed_with_their_sessions)
{
	struct rig r;

	new_rig(&r);
	struct xlat_call add = bib_call(XLAT_CALL_BIB_ADD, XLAT_TCP, 1, 22, POOL4, 2222, XLAT_BIB_STATIC);
	ck_assert_int_eq(call(&r, &add), 0);
	ck_assert_int_eq(call(&r, &add), -EEXIST);
	struct xlat_call other = bib_call(XLAT_CALL_BIB_ADD, XLAT_TCP, 2, 22, POOL4, 2222, XLAT_BIB_STATIC);
	ck_assert_int_eq(call(&r, &other), -EADDRINUSE);
	other = bib_call(XLAT_CALL_BIB_ADD, XLAT_TCP, 2, 22, POOL4 + 99, 2222, XLAT_BIB_STATIC);
	ck_assert_int_eq(call(&r, &other), -EADDRNOTAVAIL);
	other = bib_call(XLAT_CALL_BIB_ADD, 99, 2, 22, POOL4, 2222, XLAT_BIB_STATIC);
	ck_assert_int_eq(call(&r, &other), -EINVAL);
	rig_walk(&r, 1000000);
	ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4, 4000, POOL4, 2222, SYN), XLAT_TRANSLATE);
	ck_assert_uint_eq(be16toh(r.x.to.dport), 22);
	ck_assert_verdict(&r, rig_out(&r, XLAT_TCP, 1, 22, REMOTE4, 4000, SYN | ACK), XLAT_TRANSLATE);
	ck_assert_int_eq(rig_session(&r, XLAT_TCP, 1, 22, REMOTE4, 4000)->state, XLAT_ESTABLISHED);
	struct xlat_call gone = bib_call(XLAT_CALL_BIB_REMOVE, XLAT_TCP, 1, 22, 0, 0, 0);
	ck_assert_int_eq(call(&r, &gone), 0);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 0);
	ck_assert_int_eq(call(&r, &gone), -ENOENT);
	rig_settle(&r);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_BIB), 0);
	rig_done(&r);
}
END_TEST

START_TEST(static_mappings_have_ports_of_rows_of_their_address)
{
	static const struct { unsigned protocol, port; int want; } cases[] = {
		{ XLAT_TCP, 1024, 0 },	 { XLAT_TCP, 1023, -EADDRNOTAVAIL }, { XLAT_UDP, 2000, 0 }, { XLAT_UDP, 2001, -EADDRNOTAVAIL },
		{ XLAT_TCP, 3000, 0 },	 { XLAT_TCP, 2999, -EADDRNOTAVAIL }, { XLAT_ICMP, 7, 0 },
	};
	struct xlat_config c = rig_config(1);
	struct rig r;

	c.pool[0].port_first = 1024;
	c.pool[0].port_last = 2000;
	c.pool[1] = c.pool[0];
	c.pool[1].port_first = c.pool[1].port_last = 3000;
	c.pool[1].slot = 1;
	c.pool_count = 2;
	rig_init(&r, &c);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct xlat_call add = bib_call(XLAT_CALL_BIB_ADD, cases[i].protocol, 1, (unsigned)i + 1, POOL4, cases[i].port, XLAT_BIB_STATIC);
		ck_assert_msg(call(&r, &add) == cases[i].want, "case %zu: %d", i, add.result);
	}
	rig_done(&r);
}
END_TEST

START_TEST(rfc6384_mappings_of_the_alg_wait_for_their_session)
{
	struct rig r;

	new_rig(&r);
	rig_out(&r, XLAT_UDP, 1, 1, REMOTE4, 1, 0);
	struct xlat_call add = bib_call(XLAT_CALL_BIB_ADD, XLAT_TCP, 1, 40000, 0, 0, XLAT_BIB_ALG);
	add.bib.expires = r.x.now + XLAT_TICKS(60000);
	ck_assert_int_eq(call(&r, &add), 0);
	ck_assert_uint_eq(be32toh(add.bib.addr4), POOL4);
	ck_assert_uint_ne(add.bib.port4, 0);
	rig_walk(&r, 30000);
	ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4, 20, POOL4, be16toh(add.bib.port4), SYN), XLAT_TRANSLATE);
	ck_assert_uint_eq(be16toh(r.x.to.dport), 40000);
	/* Its time is over, its session keeps it. */
	rig_walk(&r, 60000);
	ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4, 20, POOL4, be16toh(add.bib.port4), ACK), XLAT_TRANSLATE);
	/* One without a session goes. */
	struct xlat_call lone = bib_call(XLAT_CALL_BIB_ADD, XLAT_TCP, 1, 40001, 0, 0, XLAT_BIB_ALG);
	lone.bib.expires = r.x.now + XLAT_TICKS(60000);
	ck_assert_int_eq(call(&r, &lone), 0);
	rig_walk(&r, 61000);
	ck_assert_reason(&r, rig_in(&r, XLAT_TCP, REMOTE4, 20, POOL4, be16toh(lone.bib.port4), SYN), XLAT_SLOW, XLAT_R_STORED_SYN);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6384_control_connections_take_the_slow_path)
{
	struct rig r;
	struct xlat_config c = rig_config(1);

	c.flags |= XLAT_FTP;
	rig_init(&r, &c);
	ck_assert_reason(&r, rig_out(&r, XLAT_TCP, 1, 5000, REMOTE4, 21, SYN), XLAT_SLOW, XLAT_R_ALG);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 0);
	ck_assert_verdict(&r, rig_out_flags(&r, XLAT_TCP, 1, 5000, REMOTE4, 21, SYN, XLAT_FROM_SLOW), XLAT_TRANSLATE);
	unsigned port = rig_port(&r);
	struct xlat_call mark = { .op = XLAT_CALL_ALG, .count = 1, .session = rig_key(XLAT_TCP, 1, 5000, REMOTE4, 21) };
	ck_assert_int_eq(call(&r, &mark), 0);
	ck_assert_reason(&r, rig_in(&r, XLAT_TCP, REMOTE4, 21, POOL4, port, SYN | ACK), XLAT_SLOW, XLAT_R_ALG);
	ck_assert_verdict(&r, rig_in_flags(&r, XLAT_TCP, REMOTE4, 21, POOL4, port, SYN | ACK, XLAT_FROM_SLOW), XLAT_TRANSLATE);
	mark.count = 0;
	ck_assert_int_eq(call(&r, &mark), 0);
	ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4, 21, POOL4, port, ACK), XLAT_TRANSLATE);
	struct xlat_call end = { .op = XLAT_CALL_SESSION_END, .session = mark.session };
	ck_assert_int_eq(call(&r, &end), 0);
	ck_assert_int_eq(call(&r, &end), -ENOENT);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 0);
	rig_done(&r);
}
END_TEST

START_TEST(explain_changes_nothing)
{
	struct rig r;

	new_rig(&r);
	ck_assert_verdict(&r, rig_out_flags(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0, XLAT_DRY), XLAT_TRANSLATE);
	ck_assert(r.x.flags & XLAT_NEW_SESSION);
	ck_assert_uint_eq(rig_addr(&r), POOL4);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 0);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_BIB), 0);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SUBSCRIBER), 0);
	rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0);
	unsigned port = rig_port(&r);
	struct xlat_session before = *rig_session(&r, XLAT_UDP, 1, 5000, REMOTE4, 123);
	rig_turn(&r, 10000);
	ck_assert_verdict(&r, rig_in_flags(&r, XLAT_UDP, REMOTE4, 123, POOL4, port, 0, XLAT_DRY), XLAT_TRANSLATE);
	ck_assert_verdict(&r, rig_in_flags(&r, XLAT_UDP, REMOTE4 + 1, 123, POOL4, port, 0, XLAT_DRY), XLAT_TRANSLATE);
	ck_assert_verdict(&r, rig_out_flags(&r, XLAT_UDP, 1, 5000, REMOTE4 + 2, 123, 0, XLAT_DRY), XLAT_TRANSLATE);
	ck_assert_uint_eq(rig_port(&r), port);
	ck_assert_mem_eq(&before, rig_session(&r, XLAT_UDP, 1, 5000, REMOTE4, 123), sizeof(before));
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 1);
	rig_done(&r);
}
END_TEST

START_TEST(pool_rows_shared_drained_and_by_mark)
{
	struct rig r;
	struct xlat_config c = rig_config(1);

	c.pool[0].flags = XLAT_POOL_SHARED;
	c.pool_count = 2;
	c.pool[1] = (struct xlat_pool){ .first = POOL4 + 16, .count = 2, .port_first = 1024, .port_last = 65535, .slot = 5, .mark = 7 };
	rig_init(&r, &c);
	/* What no mapping has goes to the host. */
	ck_assert_reason(&r, rig_in(&r, XLAT_TCP, REMOTE4, 1, POOL4, 22, SYN), XLAT_PASS, XLAT_R_POOL_SHARED);
	ck_assert_reason(&r, rig_in(&r, XLAT_UDP, REMOTE4, 1, POOL4, 53, 0), XLAT_PASS, XLAT_R_POOL_SHARED);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(rig_addr(&r), POOL4);
	unsigned port = rig_port(&r);
	r.x.mark = 7;
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 2, 5000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	ck_assert_uint_ge(rig_addr(&r), POOL4 + 16);
	/* A mark without rows of its own takes those for all. */
	r.x.mark = 8;
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 3, 5000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(rig_addr(&r), POOL4);
	r.x.mark = 0;
	/* Drained: old mappings stay, new ones do not come. */
	r.config.pool[0].flags |= XLAT_POOL_DRAIN;
	rig_apply(&r);
	ck_assert_verdict(&r, rig_in(&r, XLAT_UDP, REMOTE4, 123, POOL4, port, 0), XLAT_TRANSLATE);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4 + 1, 123, 0), XLAT_TRANSLATE);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 1, 5001, REMOTE4, 123, 0), XLAT_ERROR, XLAT_R_PORTS_EXHAUSTED);
	struct xlat_call drain = { .op = XLAT_CALL_DRAIN, .slot = 0 };
	ck_assert_int_eq(call(&r, &drain), 0);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 1);
	rig_done(&r);
}
END_TEST

START_TEST(sources_that_are_no_subscribers_are_refused)
{
	struct rig r;
	struct xlat_config c = rig_config(1);

	c.subscriber_count = 1;
	rig_prefix6(c.subscriber[0].addr, 1);
	c.subscriber[0].mask[0] = c.subscriber[0].mask[1] = 0xffffffff;
	rig_init(&r, &c);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 2, 5000, REMOTE4, 123, 0), XLAT_DROP, XLAT_R_SOURCE_FORBIDDEN);
	r.config.flags |= XLAT_ADMIN_PROHIBITED;
	rig_apply(&r);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 2, 5000, REMOTE4, 123, 0), XLAT_ERROR, XLAT_R_SOURCE_FORBIDDEN);
	ck_assert_uint_eq(r.x.error_code, 1);
	rig_done(&r);
}
END_TEST

/* The fragment of a datagram from host 1 to REMOTE4, UDP. */
static int fragment_out(struct rig *r, uint32_t id, unsigned at, bool more)
{
	uint8_t p[128] = { 0 };
	__be32 src[4], dst[4];

	rig_host(src, 1);
	rig_embed(r, dst, REMOTE4);
	rig_transport(p + 48, 6, XLAT_UDP, 5000, 123, 0);
	rig_head6(p, src, dst, 44, 8 + 16);
	p[40] = XLAT_UDP;
	rig_put16(p + 42, at | more);
	rig_put16(p + 46, id);
	return rig_plan(r, p, 72, 0);
}

START_TEST(rfc6146_3_4_later_fragments_follow_their_first_one)
{
	struct rig r;

	new_rig(&r);
	ck_assert_reason(&r, fragment_out(&r, 7, 16, false), XLAT_SLOW, XLAT_R_FRAGMENT_UNKNOWN);
	ck_assert_verdict(&r, fragment_out(&r, 8, 0, true), XLAT_TRANSLATE);
	uint32_t addr = rig_addr(&r);
	ck_assert_verdict(&r, fragment_out(&r, 8, 16, false), XLAT_TRANSLATE);
	ck_assert_uint_eq(rig_addr(&r), addr);
	ck_assert_uint_eq(be32toh(r.x.to.dst[0]), REMOTE4);
	rig_turn(&r, 2100);
	ck_assert_reason(&r, fragment_out(&r, 8, 32, false), XLAT_SLOW, XLAT_R_FRAGMENT_UNKNOWN);
	rig_done(&r);
}
END_TEST

START_TEST(a_desk_that_explained_a_packet_changes_state_all_the_same)
{
	struct rig r;

	new_rig(&r);
	ck_assert_verdict(&r, rig_out_flags(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0, XLAT_DRY), XLAT_TRANSLATE);
	struct xlat_call add = bib_call(XLAT_CALL_BIB_ADD, XLAT_TCP, 1, 22, POOL4, 2222, XLAT_BIB_STATIC);
	ck_assert_int_eq(xlat_native_call(r.n, &add, &r.x), 0);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_BIB), 1);
	ck_assert_verdict(&r, rig_in(&r, XLAT_TCP, REMOTE4, 4000, POOL4, 2222, SYN), XLAT_TRANSLATE);
	rig_done(&r);
}
END_TEST

/* The walk takes the time once; a processor that makes a session meanwhile may be a tick ahead. */
START_TEST(a_walk_whose_clock_is_behind_ends_nothing)
{
	struct rig r;

	new_rig(&r);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	r.ns -= 1ull << XLAT_TICK_SHIFT;
	rig_walk(&r, 0);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 1);
	ck_assert_ptr_nonnull(rig_session(&r, XLAT_UDP, 1, 5000, REMOTE4, 123));
	rig_done(&r);
}
END_TEST

/* As if the entry had been freed and made another session's between the look-up and the reading. */
START_TEST(an_entry_that_became_another_session_gets_no_packet)
{
	struct rig r;

	new_rig(&r);
	ck_assert_verdict(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0), XLAT_TRANSLATE);
	unsigned port = be16toh(r.x.to.sport);
	struct xlat_session *s = rig_session(&r, XLAT_UDP, 1, 5000, REMOTE4, 123);
	struct xlat_session before = *s;
	s->tag ^= 1;
	rig_turn(&r, 1000);
	ck_assert_reason(&r, rig_out(&r, XLAT_UDP, 1, 5000, REMOTE4, 123, 0), XLAT_DROP, XLAT_R_CONTENTION);
	ck_assert_reason(&r, rig_in(&r, XLAT_UDP, REMOTE4, 123, POOL4, port, 0), XLAT_DROP, XLAT_R_CONTENTION);
	rig_walk(&r, 1000000);
	ck_assert_uint_eq(s->expires, before.expires);
	s->tag ^= 1;
	rig_done(&r);
}
END_TEST

TEST_MAIN("nat64/state", rfc4787_req_1_mapping_is_endpoint_independent, rfc6146_3_5_1_udp_goes_out_and_answers_come_in,
	  rfc6146_3_5_1_a_session_lives_for_the_udp_timer_after_its_last_packet, rfc6146_3_5_1_expiry_is_written_only_when_it_moves_by_100_ms,
	  rfc4787_req_5_dns_has_its_own_timer, rfc6146_3_5_1_2_endpoint_independent_filtering_lets_anyone_answer,
	  rfc6146_3_5_1_2_address_dependent_filtering_asks_for_the_address, rfc6146_3_5_3_icmp_queries_by_identifier,
	  rfc6146_3_5_1_1_port_class_and_parity_are_kept, rfc6146_3_5_1_1_another_class_when_there_is_no_other,
	  rfc6056_ports_do_not_follow_each_other, rfc6146_3_8_hairpinning, rfc6146_3_5_a_source_in_the_prefix_is_dropped_silently,
	  rfc5508_req_3_errors_from_outside_follow_the_packet_inside, rfc5508_req_4_errors_from_inside_follow_the_packet_inside,
	  rfc6146_3_8_errors_about_hairpinned_packets_hairpin, rfc6146_3_4_other_transports_are_refused,
	  rfc6146_3_1_static_mappings_stay_and_are_removed_with_their_sessions, static_mappings_have_ports_of_rows_of_their_address,
	  rfc6384_mappings_of_the_alg_wait_for_their_session, rfc6384_control_connections_take_the_slow_path, explain_changes_nothing, pool_rows_shared_drained_and_by_mark,
	  sources_that_are_no_subscribers_are_refused, rfc6146_3_4_later_fragments_follow_their_first_one,
	  a_desk_that_explained_a_packet_changes_state_all_the_same, a_walk_whose_clock_is_behind_ends_nothing,
	  an_entry_that_became_another_session_gets_no_packet)
