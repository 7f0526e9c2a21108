/*
 * What the dispatcher costs a packet: bench/spine/run starts this in a network namespace of its own.
 *
 *	dispatch ROUNDS INTERFACE PEER
 *
 * Two ways to measure, the variants taking turns in each round; a round's value is the best of 4 tries, and what
 * is printed is the median over the rounds with the first and third quartile:
 *	hot	BPF_PROG_TEST_RUN, the packet goes nowhere: ns more than a program that only drops
 *	live	frames in batches, as a driver hands them over; a redirect goes out of INTERFACE, a veth whose
 *		PEER drops: ns a packet for the whole way, and the ratio to the plain redirect of the same round
 * Time is the thread's processor time: other work on the machine disturbs caches, but is not counted.
 * Targets (exit 1): live with 8 extensions, terminal 1.02, returnable 1.07; 64 over 1: 10 ns.
 */
#include <bpf/libbpf.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "spine/code/rig_test.h"

#define HOT_PACKETS  40000
#define LIVE_PACKETS 16384
#define TRIES	     4
#define ROUNDS_MAX   201
#define FIRST_PORT   1000

enum kind { PLAIN, MATCHED, CHAIN };

struct variant {
	const char *name;
	enum kind kind;
	uint16_t count;
	bool terminal, redirect;
	uint32_t verdict;
	struct rig rig;
	int fd;
	double hot[ROUNDS_MAX], live[ROUNDS_MAX], ratio[ROUNDS_MAX], over[ROUNDS_MAX];
};

static struct variant variants[] = {
	{ .name = "drop", .kind = PLAIN },
	{ .name = "redirect", .kind = PLAIN, .redirect = true },
	{ .name = "1 terminal", .kind = MATCHED, .count = 1, .terminal = true, .redirect = true },
	{ .name = "8 terminal", .kind = MATCHED, .count = 8, .terminal = true, .redirect = true },
	{ .name = "64 terminal", .kind = MATCHED, .count = 64, .terminal = true, .redirect = true },
	{ .name = "1 returnable", .kind = MATCHED, .count = 1, .redirect = true },
	{ .name = "8 returnable", .kind = MATCHED, .count = 8, .redirect = true },
	{ .name = "64 returnable", .kind = MATCHED, .count = 64, .redirect = true },
	{ .name = "chain of 4", .kind = CHAIN, .count = 4, .redirect = true },
	{ .name = "chain of 8", .kind = CHAIN, .count = 8, .redirect = true },
};
enum { DROP, REDIRECT, TERMINAL_1, TERMINAL_8, TERMINAL_64, SLOT_1, SLOT_8, SLOT_64 };

static double cpu_ns(void)
{
	struct timespec t;

	must(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The extension of all variants but `drop`: bpf_redirect_map to the one port. */
static int redirecting(struct rig *r, int ports)
{
	struct program *p = rig_program();

	p_map_fd(p, BPF_REG_1, ports);
	p_mov_imm(p, BPF_REG_2, 0);
	p_mov_imm(p, BPF_REG_3, 0);
	p_helper(p, BPF_FUNC_redirect_map);
	p_exit(p);
	return rig_load(r, p);
}

static void prepare(struct variant *v, int ports)
{
	struct rig *r = &v->rig;
	int last, passing;
	char rule[32];

	rig_init(r);
	r->control->sample_mask = SPINE_SAMPLE_MASK;
	last = v->redirect ? redirecting(r, ports) : rig_returns(r, XDP_DROP);
	passing = rig_returns(r, XDP_PASS);
	v->fd = last;
	v->verdict = v->redirect ? XDP_REDIRECT : XDP_DROP;
	if (v->kind == PLAIN)
		return;
	for (uint16_t i = 0; i < v->count; i++) {
		bool end = v->kind == MATCHED || i + 1 == v->count;
		struct spine_slot_control *c;

		snprintf(rule, sizeof(rule), "udp dst port %u", v->kind == CHAIN ? FIRST_PORT : FIRST_PORT + i);
		c = rig_add(r, i, end ? last : passing, rule);
		c->verdicts |= 1 << XDP_REDIRECT;
		c->budget_ns = 1000000000;
		c->faults_max = 1000;
		r->slots[i].terminal = v->terminal;
		r->slots[i].redirects = end;
	}
	if (rig_build(r) != 0) {
		fprintf(stderr, "%s: %s\n", v->name, r->why.text);
		exit(EXIT_FAILURE);
	}
	v->fd = r->dispatcher_fd;
}

/* In the middle of the extensions, where as many tests fail as on average. */
static uint16_t port_of(const struct variant *v)
{
	return (uint16_t)(FIRST_PORT + (v->kind == MATCHED ? v->count / 2 : 0));
}

static double hot(struct variant *v)
{
	double begin = cpu_ns();

	must(rig_run(&v->rig, v->fd, port_of(v), HOT_PACKETS, NULL) == v->verdict);
	return (cpu_ns() - begin) / HOT_PACKETS;
}

static double live(struct variant *v)
{
	uint8_t frame[RIG_FRAME_BYTES];
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame), .repeat = LIVE_PACKETS,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64);
	double begin;

	rig_frame(frame, port_of(v));
	begin = cpu_ns();
	must(bpf_prog_test_run_opts(v->fd, &run) == 0);
	return (cpu_ns() - begin) / LIVE_PACKETS;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct spread {
	double low, median, high;
};

static struct spread spread(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), by_size);
	return (struct spread){ values[count / 4], values[count / 2], values[count * 3 / 4] };
}

static bool target(const char *what, double got, double most, const char *unit)
{
	printf("%-52s %7.2f%s, target %.2f%s: %s\n", what, got, unit, most, unit, got <= most ? "met" : "MISSED");
	return got <= most;
}

int main(int argc, char **argv)
{
	size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 21;
	uint32_t ifindex = argc > 2 ? if_nametoindex(argv[2]) : 0, key = 0;
	uint32_t peer = argc > 3 ? if_nametoindex(argv[3]) : 0;
	int ports = bpf_map_create(BPF_MAP_TYPE_DEVMAP, "ports", 4, 4, 1, NULL);
	struct spread result[ARRAY_LEN(variants)];
	double over[ARRAY_LEN(variants)];
	cpu_set_t one;
	bool met;

	if (rounds == 0 || rounds > ROUNDS_MAX || ifindex == 0 || peer == 0 || ports < 0) {
		fprintf(stderr, "usage: dispatch ROUNDS INTERFACE PEER, as root: see bench/spine/run\n");
		return 2;
	}
	CPU_ZERO(&one);
	CPU_SET(1 % (int)sysconf(_SC_NPROCESSORS_ONLN), &one);
	must(sched_setaffinity(0, sizeof(one), &one) == 0);
	must(bpf_map_update_elem(ports, &key, &ifindex, BPF_ANY) == 0);
	for (size_t i = 0; i < ARRAY_LEN(variants); i++)
		prepare(&variants[i], ports);
	/* A veth takes frames from XDP only when its peer has a program, too. */
	must(bpf_link_create(variants[DROP].fd, (int)peer, BPF_XDP, NULL) >= 0);
	for (size_t round = 0; round < rounds; round++) {
		for (size_t i = 0; i < ARRAY_LEN(variants) * TRIES; i++) {
			struct variant *v = &variants[i % ARRAY_LEN(variants)];
			double h = hot(v), l = live(v);
			bool first = i < ARRAY_LEN(variants);

			v->hot[round] = first ? h : MIN(h, v->hot[round]);
			v->live[round] = first ? l : MIN(l, v->live[round]);
		}
		for (size_t i = 0; i < ARRAY_LEN(variants); i++) {
			variants[i].over[round] = variants[i].hot[round] - variants[REDIRECT].hot[round];
			variants[i].ratio[round] = variants[i].live[round] / variants[REDIRECT].live[round];
		}
	}
	printf("%-14s %28s %26s %30s\n", "extensions", "hot: ns over redirect", "live: ns a packet", "live: ratio to redirect");
	for (size_t i = 0; i < ARRAY_LEN(variants); i++) {
		struct spread o = spread(variants[i].over, rounds), l = spread(variants[i].live, rounds);

		result[i] = spread(variants[i].ratio, rounds);
		over[i] = o.median;
		printf("%-14s %10.1f (%6.1f..%6.1f) %10.1f (%5.1f..%5.1f) %12.3f (%.3f..%.3f)\n", variants[i].name, o.median,
		       o.low, o.high, l.median, l.low, l.high, result[i].median, result[i].low, result[i].high);
	}
	met = target("8 terminal, ratio to a plain redirect", result[TERMINAL_8].median, 1.02, "");
	met &= target("8 returnable with everything, ratio", result[SLOT_8].median, 1.07, "");
	met &= target("64 terminal over 1, hot", over[TERMINAL_64] - over[TERMINAL_1], 10, " ns");
	met &= target("64 returnable over 1, hot", over[SLOT_64] - over[SLOT_1], 10, " ns");
	return met ? EXIT_SUCCESS : EXIT_FAILURE;
}
