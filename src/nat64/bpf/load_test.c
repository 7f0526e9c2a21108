/* The object in the kernel: the verifier takes it, and what only the kernel has - timer, buckets of processors - works. Root; else it skips. */
#include <linux/bpf.h>
#include <sched.h>

#include "base/test.h"
#include "nat64/bpf/rig_test.h"

/* A program that the verifier refuses is a failing test, not a surprise at start-up; and its work must stay far from the limit. */
START_TEST(all_programs_load)
{
	struct rig r;
	struct bpf_program *p;

	ck_assert_int_eq(rig_init(&r, &(struct rig_sizes){ 1000, 1000, 100, 100 }), 0);
	bpf_object__for_each_program(p, r.object) {
		struct bpf_prog_info info = { 0 };
		uint32_t size = sizeof(info);
		ck_assert_int_eq(bpf_obj_get_info_by_fd(bpf_program__fd(p), &info, &size), 0);
		printf("# %s: %zu instructions, %u visited by the verifier\n", bpf_program__name(p), bpf_program__insn_cnt(p),
		       info.verified_insns);
		ck_assert_uint_lt(info.verified_insns, 500000);		/* of a million */
	}
	rig_done(&r);
}
END_TEST

START_TEST(the_timer_starts_and_starts_again)
{
	struct rig r;
	struct xlat_call call = { .op = XLAT_CALL_TIMER };

	ck_assert_int_eq(rig_init(&r, &(struct rig_sizes){ 1000, 1000, 100, 100 }), 0);
	r.control->walk_period_ms = 1;
	ck_assert_int_eq(rig_call(&r, &call), 0);
	for (int i = 0; i < 1000 && __atomic_load_n(&r.control->walk_running, __ATOMIC_ACQUIRE) == 0; i++)
		must(usleep(1000) == 0);
	ck_assert_uint_ne(r.control->walk_running, 0);
	/* An upgrade: the new program's code, on the same timer. */
	ck_assert_int_eq(rig_call(&r, &call), 0);
	call = (struct xlat_call){ .op = XLAT_CALL_TIMER, .desk = 7 };
	ck_assert_int_eq(rig_call(&r, &call), -EINVAL);
	rig_done(&r);
}
END_TEST

/* --- buckets of a processor ------------------------------------------------------------------------------------ */

#define POOL4	0xc0000201u		/* 192.0.2.1 */
#define REMOTE4 0xcb007101u		/* 203.0.113.1 */

/* A translator with one pool address on this processor alone, whose clock stands. */
static void bucket_rig(struct rig *r)
{
	struct xlat_config c = { .abi = XLAT_CONFIG_ABI, .bytes = sizeof(c), .mode = XLAT_NAT64, .prefix_count = 1, .pool_count = 1,
		.subscriber_bits = 64, .lowest_mtu6 = 1280, .errors_rate = 1, .key = { 1, 2 } };
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	must(sched_setaffinity(0, sizeof(one), &one) == 0);
	c.flags = XLAT_TOS_COPY | XLAT_ICMP_ERRORS | XLAT_NEXTHOP_CACHE;
	c.prefix[0] = (struct xlat_prefix){ .addr = { htobe32(0x20010db8), htobe32(0x640000) }, .bits = 96 };
	c.pool[0] = (struct xlat_pool){ .first = POOL4, .count = 1, .port_first = 1, .port_last = 65535 };
	c.own4 = htobe32(0xc0000202);
	c.own6[0] = htobe32(0x20010db8);
	for (int i = 0; i < XLAT_T_COUNT; i++)
		c.timeout[i] = XLAT_TICKS(60000);
	ck_assert_int_eq(rig_init(r, &(struct rig_sizes){ 1000, 1000, 100, 100 }), 0);
	r->control->clock_fixed = 1;
	r->control->clock_ns = 1000000000000;
	rig_configure(r, &c, NULL, 0);
}

static uint32_t run_frame(const struct rig *r, const uint8_t *frame, uint32_t bytes, int times)
{
	uint8_t out[2048];
	uint32_t retval = 0;

	for (int i = 0; i < times; i++) {
		LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = bytes, .data_out = out, .data_size_out = sizeof(out));
		ck_assert_int_eq(bpf_prog_test_run_opts(r->xdp, &run), 0);
		retval = run.retval;
	}
	return retval;
}

/* TCP SYN or UDP from outside to a port of the pool without mapping. Returns its bytes. */
static uint32_t frame4(uint8_t *f, uint8_t protocol)
{
	static const __be32 addresses[2] = { __builtin_bswap32(REMOTE4), __builtin_bswap32(POOL4) };
	uint32_t bytes = protocol == XLAT_TCP ? 40 : 28, sum = 0;
	uint8_t *ip = f + RIG_LINK_BYTES;

	memset(f, 0, RIG_LINK_BYTES + bytes);
	f[12] = 8;
	ip[0] = 0x45;
	ip[3] = (uint8_t)bytes;
	ip[8] = 64;
	ip[9] = protocol;
	memcpy(ip + 12, addresses, 8);
	for (int i = 0; i < 20; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = ~((sum & 0xffff) + (sum >> 16));
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
	ip[20] = ip[22] = 0x20;
	if (protocol == XLAT_TCP) {
		ip[32] = 5 << 4;
		ip[33] = 2;
		ip[36] = 0x12;
	} else {
		ip[25] = 8;
		ip[26] = 0x12;
	}
	return RIG_LINK_BYTES + bytes;
}

START_TEST(rfc6146_5_2_a_flood_of_syns_does_not_fill_the_slow_path)
{
	struct rig r;
	struct xlat_stats stats;
	uint8_t frame[64];

	bucket_rig(&r);
	r.control->slow_ifindex = 1;
	r.control->slow_beat = (uint32_t)(r.control->clock_ns >> XLAT_TICK_SHIFT);
	uint32_t bytes = frame4(frame, XLAT_TCP);
	ck_assert_uint_eq(run_frame(&r, frame, bytes, 1), XDP_REDIRECT);
	ck_assert_uint_eq(run_frame(&r, frame, bytes, XLAT_SYNS_A_SECOND + 9), XDP_DROP);
	rig_stats(&r, &stats);
	ck_assert_uint_eq(stats.reason[XLAT_DROP][XLAT_R_SYN_LIMITED], 10);
	r.control->clock_ns += 1000000000;
	r.control->slow_beat = (uint32_t)(r.control->clock_ns >> XLAT_TICK_SHIFT);
	ck_assert_uint_eq(run_frame(&r, frame, bytes, 1), XDP_REDIRECT);
	rig_done(&r);
}
END_TEST

START_TEST(rfc6146_5_2_a_source_has_its_part_of_the_slow_path)
{
	struct rig r;
	struct xlat_stats stats;
	uint8_t frame[64], *ip = frame + RIG_LINK_BYTES;

	bucket_rig(&r);
	r.control->slow_ifindex = 1;
	r.control->slow_beat = (uint32_t)(r.control->clock_ns >> XLAT_TICK_SHIFT);
	uint32_t bytes = frame4(frame, XLAT_UDP);
	/* A later fragment whose first one nobody saw; the header's sum follows. */
	ip[7] = 2;
	ip[11] = (uint8_t)(ip[11] - 2);
	ck_assert_uint_eq(run_frame(&r, frame, bytes, XLAT_SLOW_A_SECOND), XDP_REDIRECT);
	ck_assert_uint_eq(run_frame(&r, frame, bytes, 10), XDP_DROP);
	rig_stats(&r, &stats);
	ck_assert_uint_eq(stats.reason[XLAT_DROP][XLAT_R_SLOW_LIMITED], 10);
	/* Another source, by the last byte of its address. */
	ip[15] ^= 1;
	ip[11] = (uint8_t)(ip[11] + ((ip[15] & 1) != 0 ? -1 : 1));
	ck_assert_uint_eq(run_frame(&r, frame, bytes, 1), XDP_REDIRECT);
	rig_done(&r);
}
END_TEST

START_TEST(rfc4443_2_4_errors_for_a_scan_leave_those_about_mtu_alone)
{
	const __be32 to[4] = { htobe32(REMOTE4) };
	struct rig r;
	struct xlat_stats stats;
	uint8_t frame[64], big[RIG_LINK_BYTES + 1400] = { 0 }, *ip = big + RIG_LINK_BYTES;

	bucket_rig(&r);
	uint32_t bytes = frame4(frame, XLAT_UDP);
	ck_assert_uint_eq(run_frame(&r, frame, bytes, 1), XDP_TX);
	ck_assert_uint_eq(run_frame(&r, frame, bytes, 1), XDP_DROP);
	rig_stats(&r, &stats);
	ck_assert_uint_eq(stats.reason[XLAT_DROP][XLAT_R_ERROR_LIMITED], 1);
	rig_nexthop(&r, 4, to, 1, 1300);
	big[12] = 0x86;
	big[13] = 0xdd;
	ip[0] = 0x60;
	ip[4] = (1400 - 40) >> 8;
	ip[5] = (1400 - 40) & 0xff;
	ip[6] = XLAT_UDP;
	ip[7] = 64;
	memcpy(ip + 8, "\x20\x01\x0d\xb8\0\1\0\0\0\0\0\0\0\0\0\1\x20\x01\x0d\xb8\0\x64\0\0\0\0\0\0", 28);
	memcpy(ip + 36, to, 4);
	ip[40] = ip[42] = 0x20;
	ip[44] = ip[4];
	ip[45] = ip[5];
	ip[46] = 0x12;
	ck_assert_uint_eq(run_frame(&r, big, sizeof(big), 1), XDP_TX);
	rig_stats(&r, &stats);
	ck_assert_uint_eq(stats.errors_sent, 2);
	rig_done(&r);
}
END_TEST

int main(void)
{
	const char *why;

	if (TEST_SANITIZED) {
		puts("1..0 # SKIP the object is the same without sanitizers, and the kernel verifies it");
		return 0;
	}
	if (!rig_possible(&why)) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
	Suite *suite = suite_create("nat64/load");
	TCase *tcase = tcase_create("load");
	const TTest *const tests[] = {
		all_programs_load, the_timer_starts_and_starts_again, rfc6146_5_2_a_flood_of_syns_does_not_fill_the_slow_path,
		rfc6146_5_2_a_source_has_its_part_of_the_slow_path, rfc4443_2_4_errors_for_a_scan_leave_those_about_mtu_alone,
	};

	tcase_set_timeout(tcase, 30);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
