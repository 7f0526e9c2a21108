#include "spine/code/dispatch.h"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "base/test.h"
#include "spine/code/rig_test.h"

#define PORT   7u
#define RULE   "udp dst port 7"

/* Each behaviour holds for usual packets and for sampled ones, which run another copy of the code. */
enum { USUAL, TIMED, COPIES };

__attribute__((constructor)) static void only_where_programs_load(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, NULL, 4, 4, 1, NULL);

	if (fd < 0) {
		puts("1..0 # SKIP the kernel lets us make no BPF maps: run as root");
		exit(EXIT_SUCCESS);
	}
	close(fd);
}

static void start(struct rig *r, int copy)
{
	rig_init(r);
	r->control->sample_mask = copy == TIMED ? 0 : UINT32_MAX;
}

static void build(struct rig *r)
{
	int err = rig_build(r);

	ck_assert_msg(err == 0, "%s", r->why.text);
}

static uint64_t dispatcher_count(const struct rig *r, size_t at)
{
	uint64_t sum = 0;

	for (uint32_t cpu = 0; cpu < r->cpus; cpu++) {
		uint64_t part;

		memcpy(&part, (const char *)&r->stats[cpu] + at, sizeof(part));
		sum += part;
	}
	return sum;
}
#define COUNT(r, field) dispatcher_count(r, offsetof(struct spine_cpu_stats, field))

/* ---- who runs ---- */

START_TEST(nobody_wants_it_and_the_host_gets_it)
{
	struct rig r;

	start(&r, _i);
	rig_add(&r, 3, rig_returns(&r, XDP_DROP), RULE);
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT + 1), XDP_PASS);
	ck_assert_uint_eq(COUNT(&r, packets), 1);
	ck_assert_uint_eq(COUNT(&r, unmatched), 1);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_DROP);
	ck_assert_uint_eq(COUNT(&r, packets), 2);
	ck_assert_uint_eq(COUNT(&r, unmatched), 1);
	rig_done(&r);
}
END_TEST

START_TEST(a_dispatcher_without_extensions_passes)
{
	struct rig r;

	start(&r, _i);
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
	ck_assert_uint_eq(COUNT(&r, unmatched), 1);
	rig_done(&r);
}
END_TEST

START_TEST(extensions_run_in_their_order_whatever_their_slots)
{
	struct rig r;

	start(&r, _i);
	rig_add(&r, 100, rig_marks(&r, 1, XDP_PASS), RULE);
	rig_add(&r, 31, rig_marks(&r, 2, XDP_PASS), RULE);
	rig_add(&r, 127, rig_marks(&r, 3, XDP_PASS), RULE);
	rig_add(&r, 63, rig_marks(&r, 4, XDP_PASS), "udp dst port 8");
	rig_add(&r, 0, rig_marks(&r, 5, XDP_PASS), RULE);
	rig_add(&r, 32, rig_marks(&r, 6, XDP_TX), RULE);
	rig_add(&r, 33, rig_marks(&r, 7, XDP_PASS), RULE);
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
	ck_assert_uint_eq(rig_marked(&r), 12356);
	ck_assert_uint_eq(rig_stats(&r, 33).packets, 0);
	ck_assert_uint_eq(rig_send(&r, 8), XDP_PASS);
	ck_assert_uint_eq(rig_marked(&r), 4);
	rig_done(&r);
}
END_TEST

START_TEST(each_of_many_extensions_is_found_alone)
{
	struct rig r;
	char rule[32];

	start(&r, _i);
	for (uint16_t i = 0; i < 64; i++) {
		/* Slots are scattered over all words of match[]. */
		uint16_t slot = (uint16_t)(i * 37 % 128);

		snprintf(rule, sizeof(rule), "udp dst port %u", 1000 + i);
		rig_add(&r, slot, rig_marks(&r, i + 1, XDP_PASS), rule);
	}
	build(&r);
	for (uint16_t i = 0; i < 64; i++) {
		ck_assert_uint_eq(rig_send(&r, (uint16_t)(1000 + i)), XDP_PASS);
		ck_assert_uint_eq(rig_marked(&r), i + 1u);
		ck_assert_uint_eq(rig_stats(&r, (uint16_t)(i * 37 % 128)).packets, 1);
	}
	rig_done(&r);
}
END_TEST

START_TEST(a_chain_of_32_runs_to_its_end_and_one_more_is_refused)
{
	struct rig r;
	int fd;

	start(&r, _i);
	fd = rig_returns(&r, XDP_PASS);
	for (uint16_t i = 0; i < SPINE_CHAIN_MAX; i++)
		rig_add(&r, i, fd, "");
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
	for (uint16_t i = 0; i < SPINE_CHAIN_MAX; i++)
		ck_assert_uint_eq(rig_stats(&r, i).verdict[XDP_PASS], 1);
	rig_add(&r, 99, fd, "");
	ck_assert_int_eq(rig_build(&r), -E2BIG);
	ck_assert_ptr_nonnull(strstr(r.why.text, "same frame"));
	rig_done(&r);
}
END_TEST

START_TEST(the_verdicts_of_the_continue_set_continue)
{
	struct rig r;

	start(&r, _i);
	rig_add(&r, 0, rig_marks(&r, 1, XDP_DROP), RULE)->continues = 1 << XDP_DROP;
	rig_add(&r, 1, rig_marks(&r, 2, XDP_PASS), RULE)->continues = 0;
	rig_add(&r, 2, rig_marks(&r, 3, XDP_TX), RULE);
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
	ck_assert_uint_eq(rig_marked(&r), 12);
	/* The set is data: no new dispatcher is needed. */
	r.control->slot[0].continues = 0;
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_DROP);
	ck_assert_uint_eq(rig_marked(&r), 1);
	r.control->slot[1].continues = 1 << XDP_PASS;
	r.control->slot[0].continues = 1 << XDP_DROP;
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
	ck_assert_uint_eq(rig_marked(&r), 123);
	rig_done(&r);
}
END_TEST

START_TEST(a_verdict_that_continues_to_nobody_stands)
{
	struct rig r;

	start(&r, _i);
	rig_add(&r, 0, rig_returns(&r, XDP_DROP), RULE)->continues = 1 << XDP_DROP;
	rig_add(&r, 1, rig_returns(&r, XDP_TX), "udp dst port 8");
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_DROP);
	rig_done(&r);
}
END_TEST

START_TEST(a_terminal_extension_is_the_last)
{
	struct rig r;
	struct spine_slot_stats s;

	start(&r, _i);
	rig_add(&r, 0, rig_marks(&r, 1, XDP_PASS), RULE);
	rig_add(&r, 1, rig_marks(&r, 2, XDP_PASS), RULE);
	r.slots[1].terminal = true;
	rig_add(&r, 2, rig_marks(&r, 3, XDP_TX), RULE);
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
	ck_assert_uint_eq(rig_marked(&r), 12);
	s = rig_stats(&r, 1);
	ck_assert_uint_eq(s.packets, 1);
	ck_assert_uint_eq(s.verdict[XDP_PASS], 0);
	ck_assert_uint_eq(s.samples, _i == TIMED ? 1 : 0);
	rig_done(&r);
}
END_TEST

START_TEST(counters_are_exact)
{
	struct rig r;
	struct spine_slot_stats s;

	start(&r, USUAL);
	r.control->sample_mask = 7;
	rig_add(&r, 5, rig_returns(&r, XDP_PASS), "");
	rig_add(&r, 6, rig_returns(&r, XDP_TX), RULE);
	build(&r);
	rig_run(&r, r.dispatcher_fd, PORT, 8000, NULL);
	rig_run(&r, r.dispatcher_fd, PORT + 1, 800, NULL);
	ck_assert_uint_eq(COUNT(&r, packets), 8800);
	s = rig_stats(&r, 5);
	ck_assert_uint_eq(s.packets, 8800);
	ck_assert_uint_eq(s.verdict[XDP_PASS], 8800);
	/* One in eight, on each processor that the runs were on. */
	ck_assert_uint_ge(s.samples, 1100 - r.cpus);
	ck_assert_uint_le(s.samples, 1100);
	s = rig_stats(&r, 6);
	ck_assert_uint_eq(s.packets, 8000);
	ck_assert_uint_eq(s.verdict[XDP_TX], 8000);
	ck_assert_uint_eq(s.verdict[XDP_PASS], 0);
	rig_done(&r);
}
END_TEST

/* ---- verdicts ---- */

/* One extension that does wrong, then one that answers TX: what becomes of the packet, and of the count? */
static void wrong(struct rig *r, int fd, bool redirects, uint8_t verdicts, enum spine_fault fault)
{
	struct spine_slot_control *c = rig_add(r, 9, fd, RULE);

	c->verdicts = verdicts;
	r->slots[r->count - 1].redirects = redirects;
	rig_add(r, 10, rig_returns(r, XDP_TX), RULE);
	build(r);
	ck_assert_uint_eq(rig_send(r, PORT), XDP_TX);
	ck_assert_uint_eq(rig_stats(r, 9).faults[fault], 1);
	ck_assert_uint_eq(rig_stats(r, 9).packets, 1);
	c->fail_closed = 1;
	ck_assert_uint_eq(rig_send(r, PORT), XDP_DROP);
	ck_assert_uint_eq(rig_stats(r, 9).faults[fault], 2);
	ck_assert_uint_eq(rig_stats(r, 10).packets, 1);
	ck_assert_uint_eq(c->state, SPINE_SLOT_ACTIVE);
	for (int i = 0; i < SPINE_FAULT_COUNT; i++)
		ck_assert_uint_eq(rig_stats(r, 9).faults[i], i == (int)fault ? 2 : 0);
	for (int i = 0; i < SPINE_FAULT_COUNT; i++)
		ck_assert_uint_eq(rig_stats(r, 10).faults[i], 0);
}

START_TEST(a_verdict_outside_the_grant_is_a_fault)
{
	struct rig r;

	start(&r, _i);
	wrong(&r, rig_returns(&r, XDP_TX), false, 1 << XDP_DROP | 1 << XDP_PASS, SPINE_FAULT_VERDICT);
	ck_assert_uint_eq(rig_stats(&r, 9).verdict[XDP_TX], 2);
	rig_done(&r);
}
END_TEST

START_TEST(a_number_that_is_no_verdict_is_a_fault)
{
	struct rig r;

	start(&r, _i);
	wrong(&r, rig_returns(&r, 5), false, 0xff, SPINE_FAULT_VERDICT);
	rig_done(&r);
	start(&r, _i);
	wrong(&r, rig_returns(&r, -1), false, 0xff, SPINE_FAULT_VERDICT);
	rig_done(&r);
}
END_TEST

START_TEST(what_the_dispatcher_returns_to_itself_is_no_disguise)
{
	struct rig r;

	/* It would make "did not run" of its own verdict, and blame whoever makes tail calls before it. */
	start(&r, _i);
	rig_add(&r, 8, rig_returns(&r, XDP_PASS), RULE);
	r.slots[0].tail_calls = true;
	wrong(&r, rig_returns(&r, 0x53504e45), false, 0xff, SPINE_FAULT_VERDICT);
	ck_assert_uint_eq(rig_stats(&r, 8).faults[SPINE_FAULT_GREED], 0);
	rig_done(&r);
}
END_TEST

START_TEST(redirect_without_the_helper_is_a_fault_even_if_granted)
{
	struct rig r;

	start(&r, _i);
	wrong(&r, rig_returns(&r, XDP_REDIRECT), false, 0xff, SPINE_FAULT_VERDICT);
	ck_assert_uint_eq(rig_stats(&r, 9).verdict[XDP_REDIRECT], 2);
	rig_done(&r);
}
END_TEST

START_TEST(redirect_without_the_grant_is_a_fault)
{
	struct rig r;

	start(&r, _i);
	wrong(&r, rig_redirects(&r, 1, XDP_REDIRECT), true, 0xf, SPINE_FAULT_VERDICT);
	rig_done(&r);
}
END_TEST

START_TEST(a_granted_redirect_goes_out)
{
	struct rig r;

	start(&r, _i);
	rig_add(&r, 2, rig_redirects(&r, 1, XDP_REDIRECT), RULE)->verdicts = 1 << XDP_REDIRECT;
	r.slots[0].redirects = true;
	/* Even if the set says so, a redirected packet does not go on. */
	r.control->slot[2].continues = 0xff;
	rig_add(&r, 3, rig_returns(&r, XDP_DROP), RULE);
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_REDIRECT);
	ck_assert_uint_eq(rig_stats(&r, 2).verdict[XDP_REDIRECT], 1);
	ck_assert_uint_eq(rig_stats(&r, 2).faults[SPINE_FAULT_VERDICT], 0);
	rig_done(&r);
}
END_TEST

START_TEST(an_empty_slot_is_a_fault)
{
	struct rig r;
	uint32_t key = 9;

	start(&r, _i);
	rig_add(&r, 9, rig_returns(&r, XDP_PASS), RULE);
	rig_add(&r, 10, rig_returns(&r, XDP_TX), RULE);
	r.slots[0].terminal = false;
	build(&r);
	for (int terminal = 0; terminal <= 1; terminal++) {
		struct spine_slot_control *c = &r.control->slot[9];
		uint64_t before = rig_stats(&r, 9).faults[SPINE_FAULT_NOT_RUN];

		ck_assert_int_eq(rig_send(&r, PORT), terminal ? XDP_PASS : XDP_TX);
		ck_assert_int_eq(bpf_map_delete_elem(r.slots_fd, &key), 0);
		c->fail_closed = 0;
		ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
		ck_assert_uint_eq(rig_stats(&r, 9).faults[SPINE_FAULT_NOT_RUN], before + 1);
		c->fail_closed = 1;
		ck_assert_uint_eq(rig_send(&r, PORT), XDP_DROP);
		ck_assert_uint_eq(rig_stats(&r, 9).faults[SPINE_FAULT_NOT_RUN], before + 2);
		/* The slot filled again, it runs: nothing of the fault is left. */
		ck_assert_int_eq(bpf_map_update_elem(r.slots_fd, &key, &(int){ rig_returns(&r, XDP_PASS) }, BPF_ANY), 0);
		ck_assert_int_eq(rig_send(&r, PORT), terminal ? XDP_PASS : XDP_TX);
		ck_assert_uint_eq(rig_stats(&r, 9).faults[SPINE_FAULT_NOT_RUN], before + 2);
		r.slots[0].terminal = true;
		build(&r);
	}
	rig_done(&r);
}
END_TEST

START_TEST(aborted_is_counted_and_stands_when_granted)
{
	struct rig r;
	struct spine_slot_control *c;

	start(&r, _i);
	c = rig_add(&r, 9, rig_returns(&r, XDP_ABORTED), RULE);
	rig_add(&r, 10, rig_returns(&r, XDP_TX), RULE);
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_ABORTED);
	ck_assert_uint_eq(rig_stats(&r, 9).faults[SPINE_FAULT_ABORTED], 1);
	ck_assert_uint_eq(rig_stats(&r, 9).verdict[XDP_ABORTED], 1);
	c->continues = 1 << XDP_ABORTED;
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
	ck_assert_uint_eq(rig_stats(&r, 9).faults[SPINE_FAULT_ABORTED], 2);
	c->verdicts = 1 << XDP_PASS;
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
	ck_assert_uint_eq(rig_stats(&r, 9).faults[SPINE_FAULT_VERDICT], 1);
	c->verdicts = 0xf;
	c->continues = 0;
	c->faults_max = 3;	/* with those two that the window has already */
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_ABORTED);
	ck_assert_uint_eq(c->state, SPINE_SLOT_EJECTED);
	ck_assert_uint_eq(c->reason, SPINE_FAULT_ABORTED);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
	rig_done(&r);
}
END_TEST

/* ---- off ---- */

/* All that follows runs on one processor, and its part of stats is `0`. */
static void on_one_processor(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
}

START_TEST(a_slot_that_is_off_is_skipped_or_drops)
{
	static const uint8_t states[] = { SPINE_SLOT_FREE, SPINE_SLOT_EJECTED, SPINE_SLOT_DISABLED };
	struct rig r;

	for (int terminal = 0; terminal <= 1; terminal++) {
		start(&r, _i);
		rig_add(&r, 9, rig_returns(&r, XDP_PASS), RULE);
		rig_add(&r, 10, rig_returns(&r, XDP_TX), RULE);
		r.slots[0].terminal = terminal;
		build(&r);
		for (size_t i = 0; i < ARRAY_LEN(states); i++) {
			r.control->slot[9].state = states[i];
			r.control->slot[9].fail_closed = 0;
			ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
			r.control->slot[9].fail_closed = 1;
			ck_assert_uint_eq(rig_send(&r, PORT), XDP_DROP);
			ck_assert_uint_eq(rig_stats(&r, 9).skipped, 2 * (i + 1));
			ck_assert_uint_eq(rig_stats(&r, 10).packets, i + 1);
			ck_assert_uint_eq(r.control->slot[9].state, states[i]);
		}
		ck_assert_uint_eq(rig_stats(&r, 9).packets, 0);
		rig_done(&r);
	}
}
END_TEST

START_TEST(faults_of_one_kind_eject_at_their_number)
{
	struct rig r;
	struct spine_slot_control *c;

	start(&r, _i);
	c = rig_add(&r, 9, rig_returns(&r, XDP_TX), RULE);
	c->verdicts = 1 << XDP_PASS;
	c->faults_max = 3;
	build(&r);
	on_one_processor();		/* each counts its own windows */
	rig_run(&r, r.dispatcher_fd, PORT, 2, NULL);
	ck_assert_uint_eq(c->state, SPINE_SLOT_ACTIVE);
	rig_run(&r, r.dispatcher_fd, PORT, 1, NULL);
	ck_assert_uint_eq(c->state, SPINE_SLOT_EJECTED);
	ck_assert_uint_eq(c->reason, SPINE_FAULT_VERDICT);
	ck_assert_uint_eq(c->verdicts, 1 << XDP_PASS);
	ck_assert_uint_eq(c->ejected_cpu, 0);
	ck_assert_uint_ne(c->ejected_ns, 0);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
	ck_assert_uint_eq(rig_stats(&r, 9).packets, 3);
	/* A window later the count begins at 0. */
	c->state = SPINE_SLOT_ACTIVE;
	for (uint32_t cpu = 0; cpu < r.cpus; cpu++)
		r.stats[cpu].slot[9].window_jiffies -= dispatch_hz();
	rig_run(&r, r.dispatcher_fd, PORT, 2, NULL);
	ck_assert_uint_eq(c->state, SPINE_SLOT_ACTIVE);
	rig_done(&r);
}
END_TEST

/* ---- time ---- */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint32_t ticks_of(uint32_t ms)
{
	return (dispatch_hz() * ms + 999) / 1000;
}

START_TEST(a_stall_of_nested_loops_ejects_after_one_packet)
{
	struct rig r;
	struct spine_slot_control *c;
	uint64_t begin;

	start(&r, _i);
	c = rig_add(&r, 9, rig_stalls(&r, ticks_of(SPINE_STALL_EJECTS_MS)), RULE);
	r.slots[0].terminal = false;
	rig_add(&r, 10, rig_returns(&r, XDP_TX), RULE);
	build(&r);
	/* The verdict of the packet that it held counts. */
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
	ck_assert_uint_eq(rig_stats(&r, 9).verdict[XDP_PASS], 1);
	ck_assert_uint_eq(rig_stats(&r, 9).faults[SPINE_FAULT_STALL], 1);
	ck_assert_uint_eq(c->state, SPINE_SLOT_EJECTED);
	ck_assert_uint_eq(c->reason, SPINE_FAULT_STALL);
	ck_assert_uint_eq(c->strikes, 1);
	begin = now_ms();
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
	ck_assert_uint_lt(now_ms() - begin, SPINE_STALL_EJECTS_MS / 2);
	ck_assert_uint_eq(rig_stats(&r, 9).packets, 1);
	c->fail_closed = 1;
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_DROP);
	rig_done(&r);
}
END_TEST

START_TEST(a_patient_slot_counts_stalls_and_stays)
{
	struct rig r;
	struct spine_slot_control *c;

	start(&r, _i);
	c = rig_add(&r, 9, rig_stalls(&r, ticks_of(SPINE_STALL_EJECTS_MS)), RULE);
	c->patient = 1;
	build(&r);
	for (uint32_t i = 1; i <= 2; i++) {
		ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
		ck_assert_uint_eq(c->state, SPINE_SLOT_ACTIVE);
		ck_assert_uint_eq(c->strikes, i);
	}
	rig_done(&r);
}
END_TEST

START_TEST(a_short_stall_marks_and_a_second_one_ejects)
{
	struct rig r;
	struct spine_slot_control *c;

	start(&r, _i);
	c = rig_add(&r, 9, rig_stalls(&r, MAX(SPINE_STALL_TICKS, ticks_of(SPINE_STALL_MS))), RULE);
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
	ck_assert_uint_eq(c->state, SPINE_SLOT_ACTIVE);
	ck_assert_uint_eq(c->strikes, 1);
	ck_assert_uint_ne(c->strike_jiffies, 0);
	/* More than 10 s ago: forgotten, the next one marks anew. */
	c->strike_jiffies -= dispatch_hz() * (SPINE_STALL_MEMORY_S + 1);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
	ck_assert_uint_eq(c->state, SPINE_SLOT_ACTIVE);
	ck_assert_uint_eq(c->strikes, 2);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
	ck_assert_uint_eq(c->state, SPINE_SLOT_EJECTED);
	ck_assert_uint_eq(c->reason, SPINE_FAULT_STALL);
	ck_assert_uint_eq(c->strike_jiffies, 0);
	rig_done(&r);
}
END_TEST

START_TEST(a_terminal_extension_that_stalls_is_seen_when_sampled)
{
	struct rig r;

	start(&r, TIMED);
	rig_add(&r, 9, rig_stalls(&r, ticks_of(SPINE_STALL_EJECTS_MS)), RULE);
	r.slots[0].terminal = true;
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
	ck_assert_uint_eq(r.control->slot[9].state, SPINE_SLOT_EJECTED);
	rig_done(&r);
}
END_TEST

START_TEST(over_the_budget_is_a_fault_that_ejects)
{
	struct rig r;
	struct spine_slot_control *c;

	start(&r, TIMED);
	c = rig_add(&r, 9, rig_spins(&r, 1000), RULE);
	c->budget_ns = 3000000000;
	c->faults_max = 4;
	build(&r);
	rig_run(&r, r.dispatcher_fd, PORT, 20, NULL);
	ck_assert_uint_eq(c->state, SPINE_SLOT_ACTIVE);
	ck_assert_uint_eq(rig_stats(&r, 9).faults[SPINE_FAULT_BUDGET], 0);
	c->budget_ns = 1;
	rig_run(&r, r.dispatcher_fd, PORT, 3, NULL);
	ck_assert_uint_eq(c->state, SPINE_SLOT_ACTIVE);
	ck_assert_uint_eq(rig_stats(&r, 9).faults[SPINE_FAULT_BUDGET], 3);
	/* Over the budget, but the verdict is its own. */
	ck_assert_uint_eq(rig_stats(&r, 9).verdict[XDP_PASS], 23);
	rig_run(&r, r.dispatcher_fd, PORT, 10, NULL);
	ck_assert_uint_eq(c->state, SPINE_SLOT_EJECTED);
	ck_assert_uint_eq(c->reason, SPINE_FAULT_BUDGET);
	rig_done(&r);
}
END_TEST

START_TEST(time_is_charged_for_the_packets_that_a_sample_stands_for)
{
	struct rig r;
	const struct spine_slot_stats *s;
	int compared = 0;

	on_one_processor();
	start(&r, USUAL);
	r.control->sample_mask = 3;
	rig_add(&r, 9, rig_spins(&r, 200), RULE);
	build(&r);
	s = &r.stats[0].slot[9];
	for (int i = 0; i < 64; i++) {
		struct spine_slot_stats before = *s;

		rig_send(&r, PORT);
		if (s->samples == before.samples || s->window_jiffies != before.window_jiffies)
			continue;
		ck_assert_uint_eq(s->sampled_ns - before.sampled_ns, r.stats[0].ns);
		ck_assert_uint_eq(s->window_ns - before.window_ns, 4 * MIN(r.stats[0].ns, SPINE_SAMPLE_NS_MAX));
		compared++;
	}
	ck_assert_int_ge(compared, 10);
	ck_assert_uint_eq(s->samples, 16);
	ck_assert_uint_gt(s->sampled_ns / s->samples, 200);	/* 200 looks at the clock take longer */
	rig_done(&r);
}
END_TEST

START_TEST(looking_at_the_clock_is_not_charged)
{
	struct rig r;
	uint64_t least = UINT64_MAX, least_clock = UINT64_MAX;

	on_one_processor();
	start(&r, TIMED);
	rig_add(&r, 9, rig_returns(&r, XDP_PASS), RULE);
	build(&r);
	/* One by one: the kernel ends a run of several with a wait for all processors. */
	for (int i = 0; i < 3000; i++) {
		rig_run(&r, r.dispatcher_fd, PORT, 1, NULL);
		least = MIN(least, r.stats[0].ns);
		least_clock = MIN(least_clock, r.stats[0].clock_ns);
	}
	/* An extension that does nothing takes less than the look at the clock, which its time would hold. */
	ck_assert_uint_lt(least, least_clock);
	rig_done(&r);
}
END_TEST

/* ---- neighbours ---- */

START_TEST(greed_is_blamed_on_the_greedy)
{
	struct rig r;
	struct spine_slot_control *greedy, *victim;

	start(&r, _i);
	rig_add(&r, 1, rig_returns(&r, XDP_PASS), RULE);
	greedy = rig_add(&r, 2, rig_greedy(&r, XDP_PASS), RULE);
	r.slots[1].tail_calls = true;
	greedy->faults_max = 2;
	victim = rig_add(&r, 3, rig_returns(&r, XDP_TX), RULE);
	victim->faults_max = 2;
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
	victim->fail_closed = 1;
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_DROP);
	ck_assert_uint_eq(rig_stats(&r, 2).faults[SPINE_FAULT_GREED], 2);
	ck_assert_uint_eq(rig_stats(&r, 3).faults[SPINE_FAULT_NOT_RUN], 0);
	ck_assert_uint_eq(victim->state, SPINE_SLOT_ACTIVE);
	ck_assert_uint_eq(greedy->state, SPINE_SLOT_EJECTED);
	ck_assert_uint_eq(greedy->reason, SPINE_FAULT_GREED);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
	/* With the greedy one out, a slot that does not run has only itself to blame. */
	ck_assert_int_eq(bpf_map_delete_elem(r.slots_fd, &(uint32_t){ 3 }), 0);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_DROP);
	ck_assert_uint_eq(rig_stats(&r, 3).faults[SPINE_FAULT_NOT_RUN], 1);
	ck_assert_uint_eq(rig_stats(&r, 2).faults[SPINE_FAULT_GREED], 2);
	rig_done(&r);
}
END_TEST

START_TEST(greed_before_a_terminal_extension_is_blamed_as_well)
{
	struct rig r;

	start(&r, _i);
	rig_add(&r, 2, rig_greedy(&r, XDP_PASS), RULE);
	r.slots[0].tail_calls = true;
	rig_add(&r, 3, rig_returns(&r, XDP_TX), RULE);
	r.slots[1].terminal = true;
	build(&r);
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_PASS);
	ck_assert_uint_eq(rig_stats(&r, 2).faults[SPINE_FAULT_GREED], 1);
	ck_assert_uint_eq(rig_stats(&r, 3).faults[SPINE_FAULT_NOT_RUN], 0);
	rig_done(&r);
}
END_TEST

/* A tap interface of this name: its descriptor reads what is sent out of it. */
static int tap(const char *name, int *ifindex)
{
	struct ifreq ifr = { 0 };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	memcpy(ifr.ifr_name, name, strlen(name) + 1);
	ifr.ifr_flags = IFF_TAP | IFF_NO_PI;
	ck_assert_int_eq(ioctl(fd, TUNSETIFF, &ifr), 0);
	ifr.ifr_flags = IFF_UP;
	ck_assert_int_eq(ioctl(s, SIOCSIFFLAGS, &ifr), 0);
	close(s);
	*ifindex = (int)if_nametoindex(name);
	return fd;
}

/* Aims at the port, switches its own slot off, and passes: of several frames in a row, it gets the first. */
static int aims_once(struct rig *r, int32_t ifindex, uint16_t slot)
{
	struct program *p = rig_program();

	p_mov_imm(p, BPF_REG_1, ifindex);
	p_mov_imm(p, BPF_REG_2, 0);
	p_helper(p, BPF_FUNC_redirect);
	p_map_value(p, BPF_REG_1, r->control_fd,
		    (uint32_t)(offsetof(struct spine_control, slot) + sizeof(struct spine_slot_control) * slot));
	p_store_imm(p, BPF_B, BPF_REG_1, 0, SPINE_SLOT_DISABLED);
	p_mov_imm(p, BPF_REG_0, XDP_PASS);
	p_exit(p);
	return rig_load(r, p);
}

/*
 * Run it for some frames in a row as a driver would, with the redirects done: how many frames of ours
 * come out of the tap? A target lives as long as the driver's poll, here as long as this call.
 */
static int came_out(struct rig *r, int tap_fd, uint16_t port, int frames)
{
	uint8_t frame[RIG_FRAME_BYTES], got[2048];
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame), .repeat = frames,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = (uint32_t)frames);
	int count = 0;
	ssize_t n;

	rig_frame(frame, port);
	while (read(tap_fd, got, sizeof(got)) > 0) {
	}
	ck_assert_int_eq(bpf_prog_test_run_opts(r->dispatcher_fd, &run), 0);
	while ((n = read(tap_fd, got, sizeof(got))) > 0)
		count += n >= (ssize_t)sizeof(frame) && memcmp(got + 36, frame + 36, 2) == 0;
	return count;
}

/* All of them have the helper and the grant. */
static void grant_redirect(struct rig *r)
{
	for (size_t i = 0; i < r->count; i++) {
		r->slots[i].redirects = true;
		r->control->slot[r->slots[i].slot].verdicts |= 1 << XDP_REDIRECT;
	}
}

START_TEST(a_bare_redirect_inherits_no_target)
{
	struct rig r;
	int out, ifindex;

	if (access("/dev/net/tun", R_OK | W_OK) != 0 || unshare(CLONE_NEWNET) != 0)
		return;		/* no place to redirect to */
	out = tap("out", &ifindex);
	start(&r, _i);
	rig_add(&r, 1, rig_redirects(&r, ifindex, XDP_PASS), RULE);
	rig_add(&r, 2, rig_redirects(&r, 0, XDP_REDIRECT), RULE);
	rig_add(&r, 5, rig_redirects(&r, ifindex, XDP_REDIRECT), "udp dst port 11");
	rig_add(&r, 6, rig_redirects(&r, 0, XDP_REDIRECT), "udp dst port 11");
	grant_redirect(&r);
	build(&r);
	/* That frames come out at all: without it this test could not fail. */
	ck_assert_int_eq(came_out(&r, out, 11, 2), 2);
	ck_assert_int_eq(came_out(&r, out, PORT, 2), 0);
	ck_assert_uint_eq(rig_stats(&r, 2).verdict[XDP_REDIRECT], 2);
	/* An aim whose REDIRECT is not granted is no aim for the next one either. */
	r.control->slot[5].verdicts = 1 << XDP_PASS;
	ck_assert_int_eq(came_out(&r, out, 11, 2), 0);
	ck_assert_uint_eq(rig_stats(&r, 6).verdict[XDP_REDIRECT], 2);
	close(out);
	rig_done(&r);
}
END_TEST

START_TEST(a_bare_redirect_inherits_no_target_of_a_terminal_extensions_packet)
{
	struct rig r;
	int out, ifindex;

	if (access("/dev/net/tun", R_OK | W_OK) != 0 || unshare(CLONE_NEWNET) != 0)
		return;		/* no place to redirect to */
	out = tap("out", &ifindex);
	start(&r, _i);
	rig_add(&r, 3, aims_once(&r, ifindex, 3), RULE);
	rig_add(&r, 4, rig_redirects(&r, 0, XDP_REDIRECT), RULE);
	grant_redirect(&r);
	r.slots[0].terminal = true;
	build(&r);
	ck_assert_int_eq(came_out(&r, out, PORT, 2), 0);
	ck_assert_uint_eq(rig_stats(&r, 3).packets, 1);
	ck_assert_uint_eq(rig_stats(&r, 4).verdict[XDP_REDIRECT], 1);
	close(out);
	rig_done(&r);
}
END_TEST

/* ---- trace ---- */

struct seen {
	int count;
	size_t size;
	struct spine_trace_record record;
	uint8_t frame[SPINE_TRACE_BYTES];
};

static int see(void *arg, void *data, size_t size)
{
	struct seen *seen = arg;

	seen->count++;
	seen->size = size;
	memcpy(&seen->record, data, MIN(size, sizeof(seen->record)));
	memcpy(seen->frame, (const char *)data + sizeof(seen->record), size - sizeof(seen->record));
	return 0;
}

START_TEST(a_sampled_packet_is_traced_as_it_arrived)
{
	struct rig r;
	struct seen seen = { 0 };
	uint8_t frame[RIG_FRAME_BYTES];

	start(&r, TIMED);
	rig_add(&r, 40, rig_marks(&r, 5, XDP_PASS), RULE);
	rig_add(&r, 3, rig_returns(&r, 77), RULE);
	rig_add(&r, 4, rig_returns(&r, XDP_TX), RULE);
	build(&r);
	struct ring_buffer *ring = ring_buffer__new(r.trace_fd, see, &seen, NULL);
	ck_assert_ptr_nonnull(ring);

	rig_send(&r, PORT);
	ck_assert_int_eq(ring_buffer__consume(ring), 0);	/* tracing is off */
	r.control->trace = 1;
	ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
	ck_assert_int_eq(ring_buffer__consume(ring), 1);
	ck_assert_uint_eq(seen.size, sizeof(seen.record) + RIG_FRAME_BYTES);
	ck_assert_uint_eq(seen.record.frame_bytes, RIG_FRAME_BYTES);
	ck_assert_uint_eq(seen.record.captured, RIG_FRAME_BYTES);
	ck_assert_uint_eq(seen.record.verdict, XDP_TX);
	ck_assert_uint_eq(seen.record.last_slot, 4);
	ck_assert_uint_eq(seen.record.fault, SPINE_FAULT_VERDICT);
	ck_assert_uint_eq(seen.record.match[0], 1u << 3 | 1u << 4);
	ck_assert_uint_eq(seen.record.match[1], 1u << (40 - 32));
	ck_assert_uint_gt(seen.record.time_ns, 0);
	rig_frame(frame, PORT);
	ck_assert_mem_eq(seen.frame, frame, sizeof(frame));	/* without the mark */
	ck_assert_uint_eq(rig_marked(&r), 5);

	/* Nobody wants this one; the fault of the last packet is forgotten. */
	rig_send(&r, PORT + 1);
	ck_assert_int_eq(ring_buffer__consume(ring), 1);
	ck_assert_uint_eq(seen.record.last_slot, 0xff);
	ck_assert_uint_eq(seen.record.verdict, XDP_PASS);
	ck_assert_uint_eq(seen.record.fault, 0);
	ck_assert_uint_eq(seen.record.ns, 0);
	ring_buffer__free(ring);
	rig_done(&r);
}
END_TEST

START_TEST(a_long_frame_is_cut_in_the_trace)
{
	struct rig r;
	struct seen seen = { 0 };
	static uint8_t frame[1500];
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame), .repeat = 1);

	start(&r, TIMED);
	rig_add(&r, 0, rig_returns(&r, XDP_DROP), "");
	r.slots[0].terminal = true;
	build(&r);
	r.control->trace = 1;
	struct ring_buffer *ring = ring_buffer__new(r.trace_fd, see, &seen, NULL);
	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)i;
	ck_assert_int_eq(bpf_prog_test_run_opts(r.dispatcher_fd, &run), 0);
	ck_assert_int_eq(ring_buffer__consume(ring), 1);
	ck_assert_uint_eq(seen.record.frame_bytes, sizeof(frame));
	ck_assert_uint_eq(seen.record.captured, SPINE_TRACE_BYTES);
	ck_assert_uint_eq(seen.record.verdict, XDP_DROP);
	ck_assert_uint_eq(seen.record.last_slot, 0);
	ck_assert_mem_eq(seen.frame, frame, SPINE_TRACE_BYTES);
	ring_buffer__free(ring);
	rig_done(&r);
}
END_TEST

START_TEST(records_that_find_no_room_are_counted)
{
	struct rig r;
	struct seen seen = { 0 };
	uint32_t sent = 2 * RIG_RING_BYTES / (sizeof(struct spine_trace_record) + RIG_FRAME_BYTES);

	start(&r, TIMED);
	rig_add(&r, 0, rig_returns(&r, XDP_DROP), "");
	build(&r);
	r.control->trace = 1;
	rig_run(&r, r.dispatcher_fd, PORT, sent, NULL);
	ck_assert_uint_gt(COUNT(&r, trace_lost), 0);
	struct ring_buffer *ring = ring_buffer__new(r.trace_fd, see, &seen, NULL);
	ring_buffer__consume(ring);
	ck_assert_uint_eq((uint64_t)seen.count + COUNT(&r, trace_lost), sent);
	ring_buffer__free(ring);
	rig_done(&r);
}
END_TEST

/* ---- limits and classes ---- */

START_TEST(a_device_full_of_extensions_loads)
{
	struct rig r;
	char rule[32];
	int fd;

	start(&r, _i);
	fd = rig_redirects(&r, 1, XDP_REDIRECT);
	for (uint16_t i = 0; i < SPINE_SLOTS_MAX; i++) {
		snprintf(rule, sizeof(rule), "udp dst port %u", 1000 + i);
		rig_add(&r, i, fd, rule)->verdicts = 1 << XDP_REDIRECT;
		r.slots[i].redirects = r.slots[i].tail_calls = true;
		r.slots[i].terminal = i % 2 == 1;
	}
	build(&r);
	for (uint16_t i = 0; i < SPINE_SLOTS_MAX; i++)
		ck_assert_uint_eq(rig_send(&r, (uint16_t)(1000 + i)), XDP_REDIRECT);
	ck_assert_uint_eq(rig_stats(&r, 127).packets, 1);
	rig_done(&r);
}
END_TEST

START_TEST(slots_that_do_not_exist_are_refused)
{
	struct rig r;

	start(&r, USUAL);
	rig_add(&r, 127, rig_returns(&r, XDP_PASS), "");
	ck_assert_int_eq(rig_build(&r), 0);
	r.slots[0].slot = 128;
	ck_assert_int_eq(rig_build(&r), -EINVAL);
	r.slots[0].slot = 127;
	rig_add(&r, 127, rig_returns(&r, XDP_PASS), "");
	ck_assert_int_eq(rig_build(&r), -EINVAL);
	rig_done(&r);
}
END_TEST

START_TEST(each_class_has_its_dispatcher)
{
	static const enum bpf_attach_type types[] = { 0, BPF_XDP };
	uint32_t key = 0;

	for (size_t i = 0; i < 2 * ARRAY_LEN(types); i++) {
		struct rig r;
		int other;

		start(&r, _i);
		r.attach_type = types[i / 2];
		r.frags = i % 2 == 1;
		rig_add(&r, 0, rig_returns(&r, XDP_TX), "");
		build(&r);
		ck_assert_uint_eq(rig_send(&r, PORT), XDP_TX);
		/* A program of the other class does not fit: the kernel says so, not the packet. */
		r.frags = !r.frags;
		other = rig_returns(&r, XDP_TX);
		ck_assert_int_ne(bpf_map_update_elem(r.slots_fd, &key, &other, BPF_ANY), 0);
		rig_done(&r);
	}
}
END_TEST

START_TEST(a_refusal_of_the_kernel_says_what_the_verifier_said)
{
	struct program *p;
	struct errmsg why;

	ck_assert_int_eq(program_new(10, &p), 0);
	p_load(p, BPF_DW, BPF_REG_0, BPF_REG_5, 0);
	p_exit(p);
	ck_assert_int_eq(program_seal(p, &why), 0);
	ck_assert_int_eq(dispatch_load(p, "bad", false, BPF_XDP, &why), -EACCES);
	ck_assert_ptr_nonnull(strstr(why.text, "R5 !read_ok"));
	program_free(p);
}
END_TEST

START_TEST(the_tick_rate_is_the_kernels)
{
	uint32_t hz = dispatch_hz();
	struct program *p = rig_program();
	struct rig r;
	struct timespec wait = { .tv_nsec = 200000000 };
	uint64_t begin, ticks;

	/* jiffies over 200 ms, by a program that writes them to the counter of a map. */
	start(&r, USUAL);
	p_helper(p, BPF_FUNC_jiffies64);
	p_map_value(p, BPF_REG_1, r.stats_fd, 0);
	p_store(p, BPF_DW, BPF_REG_1, 0, BPF_REG_0);
	p_mov_imm(p, BPF_REG_0, XDP_PASS);
	p_exit(p);
	r.dispatcher_fd = rig_load(&r, p);
	rig_send(&r, PORT);
	begin = now_ms();
	ticks = r.stats[0].packets;
	nanosleep(&wait, NULL);
	rig_send(&r, PORT);
	ticks = r.stats[0].packets - ticks;
	begin = now_ms() - begin;
	ck_assert_uint_ge(ticks + 2, begin * hz / 1000);
	ck_assert_uint_le(ticks, begin * hz / 1000 + 2);
	rig_done(&r);
}
END_TEST

int main(void)
{
	const TTest *const both[] = {
		nobody_wants_it_and_the_host_gets_it,
		a_dispatcher_without_extensions_passes,
		extensions_run_in_their_order_whatever_their_slots,
		each_of_many_extensions_is_found_alone,
		a_chain_of_32_runs_to_its_end_and_one_more_is_refused,
		the_verdicts_of_the_continue_set_continue,
		a_verdict_that_continues_to_nobody_stands,
		a_terminal_extension_is_the_last,
		a_verdict_outside_the_grant_is_a_fault,
		a_number_that_is_no_verdict_is_a_fault,
		what_the_dispatcher_returns_to_itself_is_no_disguise,
		redirect_without_the_helper_is_a_fault_even_if_granted,
		redirect_without_the_grant_is_a_fault,
		a_granted_redirect_goes_out,
		an_empty_slot_is_a_fault,
		aborted_is_counted_and_stands_when_granted,
		a_slot_that_is_off_is_skipped_or_drops,
		faults_of_one_kind_eject_at_their_number,
		a_stall_of_nested_loops_ejects_after_one_packet,
		a_patient_slot_counts_stalls_and_stays,
		a_short_stall_marks_and_a_second_one_ejects,
		greed_is_blamed_on_the_greedy,
		greed_before_a_terminal_extension_is_blamed_as_well,
		a_bare_redirect_inherits_no_target,
		a_bare_redirect_inherits_no_target_of_a_terminal_extensions_packet,
		a_device_full_of_extensions_loads,
		each_class_has_its_dispatcher,
	};
	const TTest *const once[] = {
		counters_are_exact,
		a_terminal_extension_that_stalls_is_seen_when_sampled,
		over_the_budget_is_a_fault_that_ejects,
		time_is_charged_for_the_packets_that_a_sample_stands_for,
		looking_at_the_clock_is_not_charged,
		a_sampled_packet_is_traced_as_it_arrived,
		a_long_frame_is_cut_in_the_trace,
		records_that_find_no_room_are_counted,
		slots_that_do_not_exist_are_refused,
		a_refusal_of_the_kernel_says_what_the_verifier_said,
		the_tick_rate_is_the_kernels,
	};
	Suite *suite = suite_create("spine/dispatch");
	TCase *tcase = tcase_create("spine/dispatch");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 20);
	for (size_t i = 0; i < ARRAY_LEN(both); i++)
		tcase_add_loop_test(tcase, both[i], 0, COPIES);
	for (size_t i = 0; i < ARRAY_LEN(once); i++)
		tcase_add_test(tcase, once[i]);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
