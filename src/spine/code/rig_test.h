/*
 * A device without a device: the maps of spine/code/layout.h, programs made of a few instructions,
 * and frames sent through a dispatcher by BPF_PROG_TEST_RUN. For the unit test and the benchmark of
 * the dispatcher; the frames are IPv4 UDP, so that extensions are told apart by port.
 */
#pragma once
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/must.h"
#include "spine/code/dispatch.h"

#define RIG_FRAME_BYTES 64u
#define RIG_MARK_AT	42u		/* first byte after the headers: who ran, as decimal digits */
#define RIG_RING_BYTES	65536u

struct rig {
	struct arena arena;
	struct spine_control *control;
	struct spine_cpu_stats *stats;
	uint32_t cpus;
	int control_fd, stats_fd, slots_fd, trace_fd, dispatcher_fd;
	struct dispatch_slot slots[SPINE_SLOTS_MAX];
	size_t count;
	enum bpf_attach_type attach_type;
	bool frags;
	uint8_t frame[RIG_FRAME_BYTES];		/* as it came out of the last run */
	struct errmsg why;
};

static inline void *rig_map(int fd, size_t bytes)
{
	void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	must(m != MAP_FAILED);
	return m;
}

static inline void rig_init(struct rig *r)
{
	LIBBPF_OPTS(bpf_map_create_opts, mapped, .map_flags = BPF_F_MMAPABLE);
	long possible = sysconf(_SC_NPROCESSORS_CONF);

	memset(r, 0, sizeof(*r));
	arena_init(&r->arena, 1u << 24);
	r->dispatcher_fd = -1;
	for (r->cpus = 1; r->cpus < (uint32_t)possible;)
		r->cpus *= 2;
	r->control_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "control", 4, sizeof(struct spine_control), 1, &mapped);
	r->stats_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "stats", 4,
				     (uint32_t)sizeof(struct spine_cpu_stats) * r->cpus, 1, &mapped);
	r->slots_fd = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "slots", 4, 4, SPINE_SLOTS_MAX, NULL);
	r->trace_fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "trace", 0, 0, RIG_RING_BYTES, NULL);
	must(r->control_fd >= 0 && r->stats_fd >= 0 && r->slots_fd >= 0 && r->trace_fd >= 0);
	r->control = rig_map(r->control_fd, sizeof(*r->control));
	r->stats = rig_map(r->stats_fd, sizeof(*r->stats) * r->cpus);
	r->control->abi = SPINE_LAYOUT_ABI;
	r->control->cpus = r->cpus;
	r->control->hz = dispatch_hz();
	r->control->sample_mask = UINT32_MAX;	/* none, as far as a test goes */
}

static inline void rig_done(struct rig *r)
{
	munmap(r->control, sizeof(*r->control));
	munmap(r->stats, sizeof(*r->stats) * r->cpus);
	close(r->control_fd);
	close(r->stats_fd);
	close(r->slots_fd);
	close(r->trace_fd);
	if (r->dispatcher_fd >= 0)
		close(r->dispatcher_fd);
	arena_done(&r->arena);
}

/* ---- programs ---- */

static inline struct program *rig_program(void)
{
	struct program *p;

	must(program_new(256, &p) == 0);
	return p;
}

/* Seals, loads and frees it. */
static inline int rig_load(struct rig *r, struct program *p)
{
	int fd;

	must(program_seal(p, &r->why) == 0);
	fd = dispatch_load(p, "extension", r->frags, r->attach_type, &r->why);
	if (fd < 0)
		fprintf(stderr, "%s\n", r->why.text);
	program_free(p);
	return fd;
}

static inline int rig_returns(struct rig *r, int32_t verdict)
{
	struct program *p = rig_program();

	p_mov_imm(p, BPF_REG_0, verdict);
	p_exit(p);
	return rig_load(r, p);
}

/* Appends a digit to the number in the frame's payload, then returns the verdict. */
static inline int rig_marks(struct rig *r, int32_t digit, int32_t verdict)
{
	struct program *p = rig_program();
	program_label end = p_label(p);

	p_load(p, BPF_W, BPF_REG_2, BPF_REG_1, offsetof(struct xdp_md, data));
	p_load(p, BPF_W, BPF_REG_3, BPF_REG_1, offsetof(struct xdp_md, data_end));
	p_mov(p, BPF_REG_4, BPF_REG_2);
	p_alu_imm(p, BPF_ADD, BPF_REG_4, RIG_MARK_AT + 8);
	p_jump(p, BPF_JGT, true, BPF_REG_4, BPF_REG_3, end);
	p_load(p, BPF_DW, BPF_REG_5, BPF_REG_2, RIG_MARK_AT);
	p_alu_imm(p, BPF_MUL, BPF_REG_5, 10);
	p_alu_imm(p, BPF_ADD, BPF_REG_5, digit);
	p_store(p, BPF_DW, BPF_REG_2, RIG_MARK_AT, BPF_REG_5);
	p_set(p, end);
	p_mov_imm(p, BPF_REG_0, verdict);
	p_exit(p);
	return rig_load(r, p);
}

/* Aims bpf_redirect at a port when ifindex is not 0; returns the verdict. It has the helper in any case. */
static inline int rig_redirects(struct rig *r, int32_t ifindex, int32_t verdict)
{
	struct program *p = rig_program();
	program_label skip = p_label(p);

	/* Never true, but the verifier does not know: a program that has the helper and does not use it. */
	if (ifindex == 0) {
		p_load(p, BPF_W, BPF_REG_2, BPF_REG_1, offsetof(struct xdp_md, rx_queue_index));
		p_jump_imm(p, BPF_JNE, true, BPF_REG_2, 0x7fffffff, skip);
	}
	p_mov_imm(p, BPF_REG_1, ifindex);
	p_mov_imm(p, BPF_REG_2, 0);
	p_helper(p, BPF_FUNC_redirect);
	p_set(p, skip);
	p_mov_imm(p, BPF_REG_0, verdict);
	p_exit(p);
	return rig_load(r, p);
}

/*
 * bpf_loop of the function `ahead` instructions after its address is taken; R3 is the callback's
 * context. 5 instructions, then `ahead` begins to count at the third.
 */
static inline void rig_loop(struct program *p, int32_t count, int32_t ahead)
{
	p_mov_imm(p, BPF_REG_1, count);
	p_insn(p, BPF_LD | BPF_DW | BPF_IMM, BPF_REG_2, BPF_PSEUDO_FUNC, 0, ahead);
	p_insn(p, 0, 0, 0, 0, 0);
	p_mov_imm(p, BPF_REG_4, 0);
	p_helper(p, BPF_FUNC_loop);
}

/* Looks at the clock so many times, some 20 ns each. Returns XDP_PASS. */
static inline int rig_spins(struct rig *r, int32_t count)
{
	struct program *p = rig_program();
	program_function look = p_declare(p, "look");

	p_mov_imm(p, BPF_REG_3, 0);
	rig_loop(p, count, 5);
	p_mov_imm(p, BPF_REG_0, XDP_PASS);
	p_exit(p);
	p_function(p, look);
	p_helper(p, BPF_FUNC_ktime_get_ns);
	p_mov_imm(p, BPF_REG_0, 0);
	p_exit(p);
	return rig_load(r, p);
}

/*
 * Two nested loops that hold the processor until that many ticks have begun; it could be hours as well, for
 * all that the verifier knows. Returns XDP_PASS.
 */
static inline int rig_stalls(struct rig *r, uint32_t ticks)
{
	struct program *p = rig_program();
	program_function middle = p_declare(p, "middle"), innermost = p_declare(p, "innermost");
	program_label late = p_label(p);

	p_helper(p, BPF_FUNC_jiffies64);
	p_alu_imm(p, BPF_ADD, BPF_REG_0, (int32_t)ticks);
	p_store(p, BPF_DW, BPF_REG_10, -8, BPF_REG_0);
	p_mov(p, BPF_REG_3, BPF_REG_10);
	p_alu_imm(p, BPF_ADD, BPF_REG_3, -8);
	rig_loop(p, 1 << 23, 5);
	p_mov_imm(p, BPF_REG_0, XDP_PASS);
	p_exit(p);
	p_function(p, middle);
	p_mov(p, BPF_REG_6, BPF_REG_2);
	p_mov(p, BPF_REG_3, BPF_REG_6);
	rig_loop(p, 1 << 23, 5);
	p_mov_imm(p, BPF_REG_0, 1);		/* the inner loop ends only when it is late */
	p_exit(p);
	p_function(p, innermost);
	p_mov(p, BPF_REG_6, BPF_REG_2);
	p_helper(p, BPF_FUNC_jiffies64);
	p_load(p, BPF_DW, BPF_REG_1, BPF_REG_6, 0);
	p_jump(p, BPF_JGE, true, BPF_REG_0, BPF_REG_1, late);
	p_mov_imm(p, BPF_REG_0, 0);
	p_exit(p);
	p_set(p, late);
	p_mov_imm(p, BPF_REG_0, 1);
	p_exit(p);
	return rig_load(r, p);
}

/* Calls itself until the packet's tail calls are used up, then returns the verdict. */
static inline int rig_greedy(struct rig *r, int32_t verdict)
{
	int own = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "own", 4, 4, 1, NULL), fd;
	uint32_t key = 0;
	struct program *p = rig_program();

	must(own >= 0);
	p_map_fd(p, BPF_REG_2, own);
	p_mov_imm(p, BPF_REG_3, 0);
	p_helper(p, BPF_FUNC_tail_call);
	p_mov_imm(p, BPF_REG_0, verdict);
	p_exit(p);
	fd = rig_load(r, p);
	must(fd >= 0 && bpf_map_update_elem(own, &key, &fd, BPF_ANY) == 0);
	return fd;			/* `own` stays open: the array is emptied with its last descriptor */
}

/* ---- extensions and frames ---- */

/* The next extension in the order. Its control: all verdicts that are safe, PASS continues. */
static inline struct spine_slot_control *rig_add(struct rig *r, uint16_t slot, int prog_fd, const char *rule)
{
	struct spine_slot_control *c = &r->control->slot[slot];
	uint32_t key = slot;

	must(prog_fd >= 0);
	must(rule_parse(&r->arena, slice_str(rule), &r->slots[r->count].rule, &r->why) == 0);
	r->slots[r->count++].slot = slot;
	*c = (struct spine_slot_control){ .state = SPINE_SLOT_ACTIVE,
		.verdicts = 1 << XDP_ABORTED | 1 << XDP_DROP | 1 << XDP_PASS | 1 << XDP_TX,
		.continues = 1 << XDP_PASS };
	must(bpf_map_update_elem(r->slots_fd, &key, &prog_fd, BPF_ANY) == 0);
	return c;
}

static inline int rig_build(struct rig *r)
{
	struct dispatch_spec spec = { .slots = r->slots, .count = r->count, .control_fd = r->control_fd,
		.stats_fd = r->stats_fd, .slots_fd = r->slots_fd, .trace_fd = r->trace_fd, .cpus = r->cpus,
		.hz = dispatch_hz() };
	struct program *p;
	int err = dispatch_build(&spec, &p, &r->why);

	if (err != 0)
		return err;
	if (r->dispatcher_fd >= 0)
		close(r->dispatcher_fd);
	r->dispatcher_fd = dispatch_load(p, "dispatch", r->frags, r->attach_type, &r->why);
	program_free(p);
	return r->dispatcher_fd < 0 ? r->dispatcher_fd : 0;
}

static inline void rig_frame(uint8_t *frame, uint16_t port)
{
	static const uint8_t head[] = {
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,				/* Ethernet */
		0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,	/* IPv4 */
		0x30, 0x39, 0, 0, 0, 30, 0, 0,						/* UDP */
	};

	memset(frame, 0, RIG_FRAME_BYTES);
	memcpy(frame, head, sizeof(head));
	frame[36] = (uint8_t)(port >> 8);
	frame[37] = (uint8_t)port;
}

/* One frame to a UDP port, `repeat` times: the last verdict, and ns a packet if ns is not NULL. */
static inline uint32_t rig_run(struct rig *r, int prog_fd, uint16_t port, uint32_t repeat, uint32_t *ns)
{
	uint8_t frame[RIG_FRAME_BYTES];
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame), .data_out = r->frame,
		    .data_size_out = sizeof(r->frame), .repeat = (int)repeat);

	rig_frame(frame, port);
	must(bpf_prog_test_run_opts(prog_fd, &run) == 0);
	if (ns != NULL)
		*ns = run.duration;
	return run.retval;
}

static inline uint32_t rig_send(struct rig *r, uint16_t port)
{
	return rig_run(r, r->dispatcher_fd, port, 1, NULL);
}

/* The digits that the extensions left in the last frame. */
static inline uint64_t rig_marked(const struct rig *r)
{
	uint64_t digits;

	memcpy(&digits, r->frame + RIG_MARK_AT, sizeof(digits));
	return digits;
}

/* A slot's counters, summed over the processors. */
static inline struct spine_slot_stats rig_stats(const struct rig *r, uint16_t slot)
{
	struct spine_slot_stats sum = { 0 };

	for (uint32_t cpu = 0; cpu < r->cpus; cpu++) {
		const struct spine_slot_stats *s = &r->stats[cpu].slot[slot];

		sum.packets += s->packets;
		sum.skipped += s->skipped;
		sum.samples += s->samples;
		sum.sampled_ns += s->sampled_ns;
		for (size_t i = 0; i < 5; i++)
			sum.verdict[i] += s->verdict[i];
		for (size_t i = 0; i < SPINE_FAULT_COUNT; i++)
			sum.faults[i] += s->faults[i];
	}
	return sum;
}
