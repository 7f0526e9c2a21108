/*
 * What the dispatcher's code costs a packet: BPF_PROG_TEST_RUN, the packet goes nowhere.
 *
 *	dispatch ROUNDS
 *
 * The variants take turns in each round; a round's value is the best of 3 tries. Printed: how much more than a plain
 * redirect (the only program, bpf_redirect_map), as the difference of the best rounds, and the median of the rounds'
 * differences with its quartiles. On a busy machine the first is the one to read.
 *
 * Time is the thread's processor time: other work on the machine disturbs caches, but is not counted.
 * Target (exit 1): the last of 64 over 1: 10 ns.
 */
#include <bpf/libbpf.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "spine/code/rig_test.h"

#define PACKETS	   30000		/* setting a run up takes some 200 us */
#define TRIES	   3
#define ROUNDS_MAX 501
#define FIRST_PORT 1000

enum kind { PLAIN, MATCHED, CHAIN };

struct variant {
	const char *name;
	enum kind kind;
	uint16_t count;
	bool terminal, redirect, untimed;
	uint32_t verdict;
	struct rig rig;
	int fd;
	double hot[ROUNDS_MAX], over[ROUNDS_MAX];
};

static struct variant variants[] = {
	{ .name = "drop", .kind = PLAIN },
	{ .name = "redirect", .kind = PLAIN, .redirect = true },
	{ .name = "1 terminal", .kind = MATCHED, .count = 1, .terminal = true, .redirect = true },
	{ .name = "8 terminal", .kind = MATCHED, .count = 8, .terminal = true, .redirect = true },
	{ .name = "64 terminal", .kind = MATCHED, .count = 64, .terminal = true, .redirect = true },
	{ .name = "1 in a slot", .kind = MATCHED, .count = 1, .redirect = true },
	{ .name = "8 in slots", .kind = MATCHED, .count = 8, .redirect = true },
	{ .name = "8 in slots, no sampling", .kind = MATCHED, .count = 8, .redirect = true, .untimed = true },
	{ .name = "64 in slots", .kind = MATCHED, .count = 64, .redirect = true },
	{ .name = "4 in slots, all match", .kind = CHAIN, .count = 4, .redirect = true },
	{ .name = "8 in slots, all match", .kind = CHAIN, .count = 8, .redirect = true },
	{ .name = "32 in slots, all match", .kind = CHAIN, .count = 32, .redirect = true },
};
enum { DROP, REDIRECT, TERMINAL_1, TERMINAL_8, TERMINAL_64, SLOT_1, SLOT_8, SLOT_8_UNTIMED, SLOT_64 };

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
	r->control->sample_mask = v->untimed ? UINT32_MAX : SPINE_SAMPLE_MASK;
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

/* The last of the extensions is wanted. */
static uint16_t port_of(const struct variant *v)
{
	return (uint16_t)(FIRST_PORT + (v->kind == MATCHED ? v->count - 1 : 0));
}

static double hot(struct variant *v)
{
	double begin = cpu_ns();

	must(rig_run(&v->rig, v->fd, port_of(v), PACKETS, NULL) == v->verdict);
	return (cpu_ns() - begin) / PACKETS;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* After sorting. */
static double best(const struct variant *v)
{
	return v->hot[0];
}

static bool target(const char *what, double got, double most)
{
	printf("%-36s %+7.1f ns   target <= %.0f: %s\n", what, got, most, got <= most ? "met" : "MISSED");
	return got <= most;
}

static void measure(size_t rounds)
{
	for (size_t round = 0; round < rounds; round++) {
		for (size_t i = 0; i < ARRAY_LEN(variants) * TRIES; i++) {
			struct variant *v = &variants[i % ARRAY_LEN(variants)];
			double h = hot(v);

			v->hot[round] = i < ARRAY_LEN(variants) ? h : MIN(h, v->hot[round]);
		}
		for (size_t i = 0; i < ARRAY_LEN(variants); i++)
			variants[i].over[round] = variants[i].hot[round] - variants[REDIRECT].hot[round];
	}
	for (size_t i = 0; i < ARRAY_LEN(variants); i++) {
		qsort(variants[i].hot, rounds, sizeof(double), by_size);
		qsort(variants[i].over, rounds, sizeof(double), by_size);
	}
}

int main(int argc, char **argv)
{
	size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 41;
	uint32_t ifindex = if_nametoindex("lo"), key = 0;
	int ports = bpf_map_create(BPF_MAP_TYPE_DEVMAP, "ports", 4, 4, 1, NULL);
	cpu_set_t one;
	bool met;

	if (rounds == 0 || rounds > ROUNDS_MAX || ifindex == 0 || ports < 0) {
		fprintf(stderr, "usage: dispatch ROUNDS, at most %d, as root\n", ROUNDS_MAX);
		return 2;
	}
	CPU_ZERO(&one);
	CPU_SET((size_t)sysconf(_SC_NPROCESSORS_ONLN) - 1, &one);
	must(sched_setaffinity(0, sizeof(one), &one) == 0);
	must(bpf_map_update_elem(ports, &key, &ifindex, BPF_ANY) == 0);
	for (size_t i = 0; i < ARRAY_LEN(variants); i++)
		prepare(&variants[i], ports);
	measure(rounds);
	printf("%-36s %7s  %s\n", "hot: ns more than a plain redirect", "best", "median (quartiles)");
	for (size_t i = 0; i < ARRAY_LEN(variants); i++) {
		const double *o = variants[i].over;

		printf("%-36s %+7.1f  %+.1f (%+.1f..%+.1f)\n", variants[i].name, best(&variants[i]) - best(&variants[REDIRECT]),
		       o[rounds / 2], o[rounds / 4], o[rounds * 3 / 4]);
	}
	printf("%-36s %+7.1f ns\n", "sampled time, of 8 in slots", best(&variants[SLOT_8]) - best(&variants[SLOT_8_UNTIMED]));
	met = target("64 terminal over 1", best(&variants[TERMINAL_64]) - best(&variants[TERMINAL_1]), 10);
	met &= target("64 in slots over 1", best(&variants[SLOT_64]) - best(&variants[SLOT_1]), 10);
	return met ? EXIT_SUCCESS : EXIT_FAILURE;
}
