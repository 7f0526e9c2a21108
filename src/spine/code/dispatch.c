/*
 * How the generated code is laid out:
 *
 *	dispatch	counts the packet, clears match[], then rule_emit's code, which leads to one of
 *	  chain		a tree of tests over match[] in the order of the extensions; its leaves run a slot
 *	  alone		the same slot without these tests, for frames that it alone wants: most frames
 *	  nobody	counts a frame that none wants
 *			each of them first: sampled? -> the second copy
 *	  chain, timed	the same once more for 1 packet in 64: reads the clock around each slot, writes
 *			the trace. A copy of its own, so that other packets pay nothing for it
 *	slot_<n>	one function a slot: its tail call
 *	fault		one more fault of a slot: counts, and ejects by the slot's rules
 *	charge		one more timed run of a slot: counts, and judges the budget
 *	trace		writes the record of a sampled packet to the ring
 *
 * R6 is the context, R7 this processor's struct spine_cpu_stats, in `chain` R9 the first 8 bytes of
 * the slot's control and R8 the ticks before, then the slot's counters.
 *
 * Values that live longer than a slot stand in struct spine_cpu_stats, not in registers or on the
 * stack: the verifier does not know what is in maps, so that after each slot all ways look alike to
 * it and it walks the rest once. For that reason match bits are loaded again for each test.
 *
 * What the kernel demands of code with calls and tail calls: less than 256 bytes of stack on the way
 * to a tail call (here: rule_emit's 96 and the slots' 0), and constant keys, which make a tail call
 * a jump that is patched when the slot is written.
 */
#include "spine/code/dispatch.h"
#include "spine/code/code_limits.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/must.h"

#define LOG_BYTES   (1u << 20)
#define LOG_TAIL    360u		/* of the log goes into the sentence */
#define FANOUT	    4u			/* of the tree of tests */
/* What a slot's function returns when nothing ran: no verdict. That it came from there, `not_run` says. */
#define NOT_RUN	    0x53504e45

#define CPU(field)  ((int16_t)offsetof(struct spine_cpu_stats, field))
#define STAT(field) ((int16_t)offsetof(struct spine_slot_stats, field))
#define CTL(field)  ((int16_t)offsetof(struct spine_slot_control, field))
#define R0	    BPF_REG_0
#define R1	    BPF_REG_1
#define R2	    BPF_REG_2
#define R3	    BPF_REG_3
#define R4	    BPF_REG_4
#define R6	    BPF_REG_6
#define R7	    BPF_REG_7
#define R8	    BPF_REG_8
#define R9	    BPF_REG_9

/* Bits of the 8 bytes of control that are read at once. */
#define GRANTED(verdict) (1 << (8 + (verdict)))
#define CONTINUES_SHIFT	 16
#define FAIL_CLOSED	 (1 << 24)

struct gen {
	struct program *p;
	const struct dispatch_spec *spec;
	program_function slot[SPINE_SLOTS_MAX];	/* by place in the order */
	program_function fault, charge, trace;
	bool timed;			/* the second copy */
	bool alone;			/* the copies for frames that one extension alone wants */
	program_label finish;		/* of the second copy */
	struct rule_exits exits;
	bool terminal_redirects, tail_calls;
	bool used[SPINE_SLOTS_MAX / 32];	/* words of match[] */
};

static uint32_t slot_stats_at(uint16_t slot)
{
	return (uint32_t)offsetof(struct spine_cpu_stats, slot) +
	       (uint32_t)sizeof(struct spine_slot_stats) * slot;
}

static uint32_t slot_control_at(uint16_t slot)
{
	return (uint32_t)offsetof(struct spine_control, slot) +
	       (uint32_t)sizeof(struct spine_slot_control) * slot;
}

static uint32_t ticks(const struct gen *g, uint32_t ms)
{
	return (uint32_t)(((uint64_t)g->spec->hz * ms + 999) / 1000);
}

static uint32_t stall_ticks(const struct gen *g)
{
	return MAX(SPINE_STALL_TICKS, ticks(g, SPINE_STALL_MS));
}

static bool redirects(const struct dispatch_slot *s)
{
	return s->redirects || s->tail_calls;
}

/* ---- pieces ---- */

/* *(u64 *)(base + off) += 1, by way of R1. Nobody else writes there on this processor. */
static void count_one(struct program *p, uint8_t base, int16_t off)
{
	p_load(p, BPF_DW, R1, base, off);
	p_alu_imm(p, BPF_ADD, R1, 1);
	p_store(p, BPF_DW, base, off, R1);
}

/* R7 = this processor's part of stats. Loses R0-R5. */
static void own_stats(const struct gen *g)
{
	struct program *p = g->p;

	p_helper(p, BPF_FUNC_get_smp_processor_id);
	p_alu_imm(p, BPF_AND, R0, (int32_t)(g->spec->cpus - 1));
	p_alu_imm(p, BPF_MUL, R0, (int32_t)sizeof(struct spine_cpu_stats));
	p_map_value(p, R7, g->spec->stats_fd, 0);
	p_alu(p, BPF_ADD, R7, R0);
}

/* R8 = the counters of a slot. */
static void slot_stats(struct program *p, uint16_t slot)
{
	p_mov(p, R8, R7);
	p_alu_imm(p, BPF_ADD, R8, (int32_t)slot_stats_at(slot));
}

static void call_fault(struct gen *g, enum spine_fault fault, uint16_t slot)
{
	p_store_imm(g->p, BPF_W, R7, CPU(work), (int32_t)((uint32_t)fault << 16 | slot));
	p_call(g->p, g->fault);
}

/* The packet ends here with the verdict in R0, which `slot` gave. */
static void leave(struct gen *g, uint16_t slot)
{
	if (!g->timed) {
		p_exit(g->p);
		return;
	}
	p_store_imm(g->p, BPF_B, R7, CPU(trace.last_slot), slot);
	p_goto(g->p, g->finish);
}

static void reset_redirect(struct program *p)
{
	p_mov_imm(p, R1, 0);
	p_mov_imm(p, R2, 0);
	p_helper(p, BPF_FUNC_redirect);
}

/* ---- a slot ---- */

/* The labels of a slot that more than one piece refers to. */
struct ways {
	program_label bad, off, refuse, redirected, next;
};

/*
 * A terminal extension on the usual way: nobody looks at its verdict, so its state is all that matters. R9 is its control
 * where it is off.
 */
static void enter_terminal(struct gen *g, const struct dispatch_slot *s, program_label off)
{
	struct program *p = g->p;
	program_label on = p_label(p);
	uint32_t packets = slot_stats_at(s->slot) + (uint32_t)offsetof(struct spine_slot_stats, packets);

	p_map_value(p, R9, g->spec->control_fd, slot_control_at(s->slot));
	p_load(p, BPF_B, R1, R9, CTL(state));
	p_jump_imm(p, BPF_JEQ, true, R1, SPINE_SLOT_ACTIVE, on);
	p_load(p, BPF_DW, R9, R9, 0);
	p_goto(p, off);
	p_set(p, on);
	if (packets <= INT16_MAX) {
		count_one(p, R7, (int16_t)packets);
	} else {
		slot_stats(p, s->slot);
		count_one(p, R8, STAT(packets));
	}
}

/* Before the program: is the slot on? R9 is its control afterwards. */
static void enter(struct gen *g, const struct dispatch_slot *s, const struct ways *w)
{
	struct program *p = g->p;

	p_map_value(p, R1, g->spec->control_fd, slot_control_at(s->slot));
	p_load(p, BPF_DW, R9, R1, 0);
	p_mov(p, R1, R9);
	p_alu_imm(p, BPF_AND, R1, 0xff);
	p_jump_imm(p, BPF_JNE, true, R1, SPINE_SLOT_ACTIVE, w->off);
	if (redirects(s) && !s->terminal && g->terminal_redirects) {
		/* A terminal extension may have left its target behind with an earlier packet. */
		program_label keep = p_label(p), clean = p_label(p);

		p_jump_imm(p, BPF_JSET, false, R9, GRANTED(XDP_REDIRECT), clean);
		p_goto(p, keep);
		p_set(p, clean);
		reset_redirect(p);
		p_set(p, keep);
	}
}

/* After a timed run: how long, less what two looks at the clock take. */
static void charge_time(struct gen *g, uint16_t slot)
{
	struct program *p = g->p;
	program_label positive = p_label(p);

	p_helper(p, BPF_FUNC_ktime_get_ns);
	p_load(p, BPF_DW, R1, R7, CPU(start_ns));
	p_alu(p, BPF_SUB, R0, R1);
	p_load(p, BPF_DW, R1, R7, CPU(clock_ns));
	p_alu(p, BPF_SUB, R0, R1);
	p_jump_imm(p, BPF_JSGE, true, R0, 0, positive);
	p_mov_imm(p, R0, 0);
	p_set(p, positive);
	p_store(p, BPF_DW, R7, CPU(ns), R0);
	p_store_imm(p, BPF_W, R7, CPU(work), slot);
	p_call(p, g->charge);
}

/* Run the program between two looks at the ticks, and at the clock when timed. R0 and `verdict`: what it said. */
static void run(struct gen *g, size_t place)
{
	struct program *p = g->p;
	uint16_t slot = g->spec->slots[place].slot;
	program_label in_time = p_label(p);

	p_helper(p, BPF_FUNC_jiffies64);
	p_mov(p, R8, R0);
	if (g->timed) {
		p_helper(p, BPF_FUNC_ktime_get_ns);
		p_store(p, BPF_DW, R7, CPU(start_ns), R0);
	}
	p_mov(p, R1, R6);
	p_call(p, g->slot[place]);
	p_store(p, BPF_W, R7, CPU(verdict), R0);
	if (g->timed)
		charge_time(g, slot);
	p_helper(p, BPF_FUNC_jiffies64);
	p_alu(p, BPF_SUB, R0, R8);
	p_jump_imm(p, BPF_JLT, true, R0, (int32_t)stall_ticks(g), in_time);
	p_store(p, BPF_DW, R7, CPU(ticks), R0);
	call_fault(g, SPINE_FAULT_STALL, slot);
	p_set(p, in_time);
	slot_stats(p, slot);
	count_one(p, R8, STAT(packets));
	p_load(p, BPF_W, R0, R7, CPU(verdict));
}

/* A way out with XDP_REDIRECT, or a clean redirect state for those that come after. */
static void judge_redirect(struct gen *g, const struct ways *w)
{
	struct program *p = g->p;
	program_label reset = p_label(p);

	p_jump_imm(p, BPF_JNE, false, R0, XDP_REDIRECT, reset);
	p_jump_imm(p, BPF_JSET, false, R9, GRANTED(XDP_REDIRECT), w->redirected);
	p_set(p, reset);
	reset_redirect(p);
	p_load(p, BPF_W, R0, R7, CPU(verdict));
}

/* R0 is the verdict, R8 the counters, R9 the control. Leaves, goes to w->bad, or continues. */
static void judge(struct gen *g, size_t place, const struct ways *w)
{
	struct program *p = g->p;
	const struct dispatch_slot *s = &g->spec->slots[place];
	program_label aborted = p_label(p), on = p_label(p);

	if (redirects(s))
		judge_redirect(g, w);
	p_jump_imm(p, BPF_JGT, false, R0, XDP_TX, w->bad);
	p_mov(p, R2, R0);
	p_alu_imm(p, BPF_LSH, R2, 3);
	p_alu(p, BPF_ADD, R2, R8);
	count_one(p, R2, STAT(verdict));
	p_mov(p, R1, R9);
	p_alu(p, BPF_RSH, R1, R0);
	p_mov(p, R2, R1);
	p_alu_imm(p, BPF_AND, R2, GRANTED(0));
	p_jump_imm(p, BPF_JEQ, true, R2, 0, w->bad);
	p_jump_imm(p, BPF_JEQ, false, R0, XDP_ABORTED, aborted);
	p_jump_imm(p, BPF_JSET, false, R1, 1 << CONTINUES_SHIFT, on);
	leave(g, s->slot);

	p_set(p, aborted);
	call_fault(g, SPINE_FAULT_ABORTED, s->slot);
	p_mov_imm(p, R0, XDP_ABORTED);
	p_jump_imm(p, BPF_JSET, false, R9, 1 << CONTINUES_SHIFT, on);
	leave(g, s->slot);

	p_set(p, on);
	if (g->alone) {			/* nobody comes after it */
		leave(g, s->slot);
		return;
	}
	p_store(p, BPF_W, R7, CPU(last), R0);
	if (g->timed)
		p_store_imm(p, BPF_B, R7, CPU(trace.last_slot), s->slot);
	if (s->tail_calls)
		p_store_imm(p, BPF_W, R7, CPU(suspect), s->slot + 1);
	p_goto(p, w->next);
}

/* Nothing ran in this slot: it is empty, unless somebody on the packet's way makes tail calls himself. */
static void blame(struct gen *g, size_t place)
{
	struct program *p = g->p;
	const struct dispatch_slot *slots = g->spec->slots;
	program_label itself = p_label(p), blamed = p_label(p);
	bool suspects = false;

	for (size_t i = 0; i < place && !g->alone; i++)
		suspects |= slots[i].tail_calls && !slots[i].terminal;
	if (suspects) {
		p_load(p, BPF_W, R1, R7, CPU(suspect));
		p_jump_imm(p, BPF_JEQ, true, R1, 0, itself);
		p_alu_imm(p, BPF_SUB, R1, 1);
		p_alu_imm(p, BPF_OR, R1, SPINE_FAULT_GREED << 16);
		p_store(p, BPF_W, R7, CPU(work), R1);
		p_call(p, g->fault);
		p_goto(p, blamed);
	}
	p_set(p, itself);
	call_fault(g, SPINE_FAULT_NOT_RUN, slots[place].slot);
	p_set(p, blamed);
}

/* What is rare: faults, slots that are off. Ends at w->next or by dropping the packet. */
static void rare(struct gen *g, size_t place, const struct ways *w)
{
	struct program *p = g->p;
	const struct dispatch_slot *s = &g->spec->slots[place];
	program_label ran = p_label(p), uncounted = p_label(p), drop = p_label(p);

	p_set(p, w->bad);
	if (!s->terminal) {
		/* Only our own code writes not_run: an extension cannot pretend and so blame another. */
		p_load(p, BPF_W, R1, R7, CPU(not_run));
		p_jump_imm(p, BPF_JEQ, true, R1, 0, ran);
	}
	p_store_imm(p, BPF_W, R7, CPU(not_run), 0);
	blame(g, place);
	p_goto(p, w->refuse);

	if (!s->terminal) {
		p_set(p, ran);
		p_jump_imm(p, BPF_JNE, false, R0, XDP_REDIRECT, uncounted);
		count_one(p, R8, STAT(verdict[XDP_REDIRECT]));
		p_set(p, uncounted);
		call_fault(g, SPINE_FAULT_VERDICT, s->slot);
		p_goto(p, w->refuse);
	}

	p_set(p, w->off);
	slot_stats(p, s->slot);
	count_one(p, R8, STAT(skipped));
	p_set(p, w->refuse);
	p_jump_imm(p, BPF_JSET, false, R9, FAIL_CLOSED, drop);
	p_goto(p, w->next);
	p_set(p, drop);
	p_mov_imm(p, R0, XDP_DROP);
	leave(g, s->slot);

	if (!redirects(s) || s->terminal)
		return;
	p_set(p, w->redirected);
	count_one(p, R8, STAT(verdict[XDP_REDIRECT]));
	leave(g, s->slot);
}

static void returnable(struct gen *g, size_t place, const struct ways *w)
{
	enter(g, &g->spec->slots[place], w);
	run(g, place);
	judge(g, place, w);
	rare(g, place, w);
}

/*
 * Terminal: a tail call from here. A sampled packet enters it by its slot's function instead, so that
 * its time is seen, and a stall; its verdict is final all the same.
 */
static void terminal(struct gen *g, size_t place, const struct ways *w)
{
	struct program *p = g->p;
	const struct dispatch_slot *s = &g->spec->slots[place];

	if (g->timed) {
		enter(g, s, w);
		run(g, place);
		p_load(p, BPF_W, R1, R7, CPU(not_run));
		p_jump_imm(p, BPF_JNE, true, R1, 0, w->bad);
		leave(g, s->slot);
	} else {
		enter_terminal(g, s, w->off);
		p_mov(p, R1, R6);
		p_map_fd(p, R2, g->spec->slots_fd);
		p_mov_imm(p, R3, s->slot);
		p_helper(p, BPF_FUNC_tail_call);
		/* Nothing ran: `rare` wants to know what a fault does to the packet. */
		p_map_value(p, R9, g->spec->control_fd, slot_control_at(s->slot));
		p_load(p, BPF_DW, R9, R9, 0);
	}
	rare(g, place, w);
}

/* ---- the tree of tests ---- */

/* Jump when none of the extensions [from, to) wants the packet. R0 and R1 are lost. */
static void skip_unless_wanted(struct gen *g, size_t from, size_t to, program_label skip)
{
	struct program *p = g->p;
	uint32_t mask[SPINE_SLOTS_MAX / 32] = { 0 };
	bool first = true;

	for (size_t i = from; i < to; i++)
		mask[g->spec->slots[i].slot / 32] |= 1u << (g->spec->slots[i].slot % 32);
	for (size_t word = 0; word < ARRAY_LEN(mask); word++) {
		uint8_t reg = first ? R0 : R1;

		if (mask[word] == 0)
			continue;
		p_load(p, BPF_W, reg, R7, (int16_t)(CPU(match) + (int16_t)(word * 4)));
		/* The upper half is 0 after the load, so a mask that grows to 64 bits does no harm. */
		p_alu_imm(p, BPF_AND, reg, (int32_t)mask[word]);
		if (!first)
			p_alu(p, BPF_OR, R0, R1);
		first = false;
	}
	p_jump_imm(p, BPF_JEQ, true, R0, 0, skip);
}

static void one(struct gen *g, size_t place)
{
	struct program *p = g->p;
	struct ways w = { .bad = p_label(p), .off = p_label(p), .refuse = p_label(p),
			  .redirected = p_label(p), .next = p_label(p) };

	skip_unless_wanted(g, place, place + 1, w.next);
	if (g->spec->slots[place].terminal)
		terminal(g, place, &w);
	else
		returnable(g, place, &w);
	p_set(p, w.next);
}

/* The depth is log4 of SPINE_SLOTS_MAX. */
static void chain(struct gen *g, size_t from, size_t to)
{
	size_t step = 1;

	if (to - from == 1) {
		one(g, from);
		return;
	}
	while (step * FANOUT < to - from)
		step *= FANOUT;
	for (size_t at = from; at < to; at += step) {
		size_t end = MIN(at + step, to);
		program_label skip = p_label(g->p);

		if (end - at > 1)
			skip_unless_wanted(g, at, end, skip);
		chain(g, at, end);
		p_set(g->p, skip);
	}
}

static void chain_begin(struct gen *g)
{
	p_store_imm(g->p, BPF_W, R7, CPU(last), XDP_PASS);
	if (g->tail_calls)
		p_store_imm(g->p, BPF_W, R7, CPU(suspect), 0);
}

/*
 * The end of the chain: everybody who ran continues, or nobody wanted the packet. Words are loaded as
 * they were stored: a load over two stores waits for both to leave the processor's store buffer.
 */
static void chain_end(struct gen *g)
{
	struct program *p = g->p;
	program_label somebody = p_label(p);

	for (size_t word = 0; word < SPINE_SLOTS_MAX / 32; word++) {
		if (!g->used[word])
			continue;
		p_load(p, BPF_W, R1, R7, (int16_t)(CPU(match) + (int16_t)(word * 4)));
		p_jump_imm(p, BPF_JNE, true, R1, 0, somebody);
	}
	count_one(p, R7, CPU(unmatched));
	if (g->spec->count > 0)
		p_set(p, somebody);
	p_load(p, BPF_W, R0, R7, CPU(last));
}

/*
 * Most frames are wanted by one extension alone, and the match phase comes straight here: the slot once more, without
 * the tests of who else wants the frame. R8 is 0 for a sampled packet.
 */
static void alone(struct gen *g, size_t place, program_label timed)
{
	struct program *p = g->p;
	struct ways w = { .bad = p_label(p), .off = p_label(p), .refuse = p_label(p),
			  .redirected = p_label(p), .next = p_label(p) };

	g->alone = true;
	p_set(p, g->exits.alone[g->spec->slots[place].slot]);
	p_jump_imm(p, BPF_JEQ, true, R8, 0, timed);
	if (g->spec->slots[place].terminal)
		terminal(g, place, &w);
	else
		returnable(g, place, &w);
	p_set(p, w.next);
	p_mov_imm(p, R0, XDP_PASS);
	p_exit(p);
	g->alone = false;
}

static void nobody(struct gen *g, program_label timed)
{
	struct program *p = g->p;

	p_set(p, g->exits.nobody);
	p_jump_imm(p, BPF_JEQ, true, R8, 0, timed);
	count_one(p, R7, CPU(unmatched));
	p_mov_imm(p, R0, XDP_PASS);
	p_exit(p);
}

/* ---- sampled packets ---- */

/* Keep the frame as it arrived, before anybody can change it. */
static void trace_begin(struct gen *g)
{
	struct program *p = g->p;
	program_label off = p_label(p), fits = p_label(p), nothing = p_label(p);

	p_store_imm(p, BPF_W, R7, CPU(trace.ns), 0);
	p_store_imm(p, BPF_B, R7, CPU(trace.fault), 0);
	p_store_imm(p, BPF_B, R7, CPU(trace.last_slot), 0xff);
	p_map_value(p, R1, g->spec->control_fd, offsetof(struct spine_control, trace));
	p_load(p, BPF_W, R1, R1, 0);
	p_store(p, BPF_W, R7, CPU(tracing), R1);
	p_jump_imm(p, BPF_JEQ, true, R1, 0, off);
	p_helper(p, BPF_FUNC_ktime_get_ns);
	p_store(p, BPF_DW, R7, CPU(trace.time_ns), R0);
	for (size_t word = 0; word < SPINE_SLOTS_MAX / 32; word++) {
		p_mov_imm(p, R1, 0);
		if (g->used[word])
			p_load(p, BPF_W, R1, R7, (int16_t)(CPU(match) + (int16_t)(word * 4)));
		p_store(p, BPF_W, R7, (int16_t)(CPU(trace.match) + (int16_t)(word * 4)), R1);
	}
	p_load(p, BPF_W, R1, R6, offsetof(struct xdp_md, rx_queue_index));
	p_store(p, BPF_W, R7, CPU(trace.rx_queue), R1);
	p_store_imm(p, BPF_W, R7, CPU(trace.captured), 0);
	p_mov(p, R1, R6);
	p_helper(p, BPF_FUNC_xdp_get_buff_len);
	p_store(p, BPF_W, R7, CPU(trace.frame_bytes), R0);
	p_mov(p, R8, R0);
	p_jump_imm(p, BPF_JLE, true, R8, SPINE_TRACE_BYTES, fits);
	p_mov_imm(p, R8, SPINE_TRACE_BYTES);
	p_set(p, fits);
	p_jump_imm(p, BPF_JLT, true, R8, 1, nothing);
	p_mov(p, R1, R6);
	p_mov_imm(p, R2, 0);
	p_mov(p, R3, R7);
	p_alu_imm(p, BPF_ADD, R3, CPU(trace_frame));
	p_mov(p, R4, R8);
	p_helper(p, BPF_FUNC_xdp_load_bytes);
	p_jump_imm(p, BPF_JNE, true, R0, 0, nothing);
	p_store(p, BPF_W, R7, CPU(trace.captured), R8);
	p_set(p, nothing);
	p_set(p, off);
}

/* What two looks at the clock take, here and now: it is not the extension's time. */
static void weigh_clock(struct gen *g)
{
	struct program *p = g->p;

	p_helper(p, BPF_FUNC_ktime_get_ns);
	p_mov(p, R8, R0);
	p_helper(p, BPF_FUNC_ktime_get_ns);
	p_alu(p, BPF_SUB, R0, R8);
	p_store(p, BPF_DW, R7, CPU(clock_ns), R0);
}

static void sampled(struct gen *g)
{
	struct program *p = g->p;
	program_label untraced = p_label(p);

	g->timed = true;
	g->finish = p_label(p);
	chain_begin(g);
	trace_begin(g);
	weigh_clock(g);
	if (g->spec->count > 0)
		chain(g, 0, g->spec->count);
	chain_end(g);
	p_set(p, g->finish);
	p_store(p, BPF_W, R7, CPU(last), R0);
	p_load(p, BPF_W, R1, R7, CPU(tracing));
	p_jump_imm(p, BPF_JEQ, true, R1, 0, untraced);
	p_call(p, g->trace);
	p_set(p, untraced);
	p_load(p, BPF_W, R0, R7, CPU(last));
	p_exit(p);
}

/* ---- functions ---- */

/* R1 is the context. The way after the tail call is rare. */
static void slot_function(struct gen *g, size_t place)
{
	struct program *p = g->p;

	p_function(p, g->slot[place]);
	p_map_fd(p, R2, g->spec->slots_fd);
	p_mov_imm(p, R3, g->spec->slots[place].slot);
	p_helper(p, BPF_FUNC_tail_call);
	own_stats(g);
	p_store_imm(p, BPF_W, R7, CPU(not_run), 1);
	/*
	 * By way of memory: to some kernels' verifiers this is the only way out of the function, and
	 * they would take the constant for all that it ever returns.
	 */
	p_store_imm(p, BPF_W, R7, CPU(verdict), NOT_RUN);
	p_load(p, BPF_W, R0, R7, CPU(verdict));
	p_exit(p);
}

/* R9 = slot of `work`, R8 = R7 + slot * 256: its counters at offset ABOVE(field). Loses R1. */
#define ABOVE(field) ((int16_t)(CPU(slot) + STAT(field)))
static void work_slot(struct program *p)
{
	p_load(p, BPF_W, R9, R7, CPU(work));
	p_alu_imm(p, BPF_AND, R9, SPINE_SLOTS_MAX - 1);
	p_mov(p, R1, R9);
	p_alu_imm(p, BPF_MUL, R1, (int32_t)sizeof(struct spine_slot_stats));
	p_mov(p, R8, R7);
	p_alu(p, BPF_ADD, R8, R1);
}

/* R9 = address of the control of slot R9. Loses R1. */
static void work_control(struct gen *g)
{
	p_alu_imm(g->p, BPF_MUL, R9, (int32_t)sizeof(struct spine_slot_control));
	p_map_value(g->p, R1, g->spec->control_fd, slot_control_at(0));
	p_alu(g->p, BPF_ADD, R9, R1);
}

/* A new window when the old one is a second old. R0: jiffies. Loses R1-R5. */
static void roll_window(struct gen *g)
{
	struct program *p = g->p;
	program_label same = p_label(p);

	p_helper(p, BPF_FUNC_jiffies64);
	p_load(p, BPF_DW, R1, R8, ABOVE(window_jiffies));
	p_mov(p, R2, R0);
	p_alu(p, BPF_SUB, R2, R1);
	p_jump_imm(p, BPF_JLT, true, R2, (int32_t)g->spec->hz, same);
	p_store(p, BPF_DW, R8, ABOVE(window_jiffies), R0);
	p_store_imm(p, BPF_DW, R8, ABOVE(window_ns), 0);
	for (size_t i = 0; i < SPINE_FAULT_COUNT; i += 2)
		p_store_imm(p, BPF_DW, R8, (int16_t)(ABOVE(window_faults) + (int16_t)(i * 4)), 0);
	p_set(p, same);
}

/*
 * A stall of `ticks` at R0: the first marks, a long or a second one ejects, unless the slot is patient. Falls through: it
 * stays.
 */
static void judge_stall(struct gen *g, program_label eject)
{
	struct program *p = g->p;
	program_label mark = p_label(p), stays = p_label(p);

	/* Two processors may stall in it at a time. */
	p_mov_imm(p, R1, 1);
	p_insn(p, BPF_STX | BPF_ATOMIC | BPF_W, R9, R1, CTL(strikes), BPF_ADD);
	p_load(p, BPF_DW, R1, R9, CTL(patient));
	p_jump_imm(p, BPF_JNE, true, R1, 0, stays);
	p_load(p, BPF_DW, R1, R7, CPU(ticks));
	p_jump_imm(p, BPF_JGE, true, R1, (int32_t)ticks(g, SPINE_STALL_EJECTS_MS), eject);
	p_load(p, BPF_DW, R1, R9, CTL(strike_jiffies));
	p_jump_imm(p, BPF_JEQ, true, R1, 0, mark);
	p_mov(p, R2, R0);
	p_alu(p, BPF_SUB, R2, R1);
	p_jump_imm(p, BPF_JLE, true, R2, (int32_t)(g->spec->hz * SPINE_STALL_MEMORY_S), eject);
	p_set(p, mark);
	p_store(p, BPF_DW, R9, CTL(strike_jiffies), R0);
	p_set(p, stays);
}

/*
 * Far over the budget: out at once, since who holds the processor for long has too few packets, and samples, in a
 * window to be judged by their number. Falls through: it stays.
 */
static void judge_budget(struct gen *g, program_label eject)
{
	struct program *p = g->p;

	p_load(p, BPF_DW, R1, R8, ABOVE(window_ns));
	p_load(p, BPF_DW, R2, R9, CTL(budget_ns));
	p_alu_imm(p, BPF_ADD, R2, SPINE_BUDGET_EXCESS_NS_MAX);
	p_jump(p, BPF_JGT, true, R1, R2, eject);
}

/*
 * ACTIVE becomes EJECTED, with R6 as the reason. Compare and exchange: a person who disables it at
 * this moment is not overruled.
 */
static void eject_now(struct gen *g, program_label out)
{
	struct program *p = g->p;

	p_load(p, BPF_DW, R0, R9, 0);
	p_mov(p, R1, R0);
	p_alu_imm(p, BPF_AND, R1, 0xff);
	p_jump_imm(p, BPF_JNE, true, R1, SPINE_SLOT_ACTIVE, out);
	p_mov(p, R2, R0);
	p_alu_imm(p, BPF_LSH, R2, 32);
	p_alu_imm(p, BPF_RSH, R2, 32);
	p_alu_imm(p, BPF_XOR, R2, SPINE_SLOT_ACTIVE ^ SPINE_SLOT_EJECTED);
	p_mov(p, R1, R6);
	p_alu_imm(p, BPF_LSH, R1, 32);
	p_alu(p, BPF_OR, R2, R1);
	p_mov(p, R8, R0);
	p_insn(p, BPF_STX | BPF_ATOMIC | BPF_DW, R9, R2, 0, BPF_CMPXCHG);
	p_jump(p, BPF_JNE, true, R0, R8, out);
	p_store_imm(p, BPF_DW, R9, CTL(strike_jiffies), 0);
	p_helper(p, BPF_FUNC_get_smp_processor_id);
	p_store(p, BPF_W, R9, CTL(ejected_cpu), R0);
	p_helper(p, BPF_FUNC_ktime_get_ns);
	p_store(p, BPF_DW, R9, CTL(ejected_ns), R0);
}

static void fault_function(struct gen *g)
{
	struct program *p = g->p;
	program_label eject = p_label(p), out = p_label(p), rate = p_label(p), no_stall = p_label(p);

	p_function(p, g->fault);
	own_stats(g);
	work_slot(p);
	p_load(p, BPF_W, R6, R7, CPU(work));
	p_alu_imm(p, BPF_RSH, R6, 16);
	p_alu_imm(p, BPF_AND, R6, SPINE_FAULT_COUNT - 1);
	p_store(p, BPF_B, R7, CPU(trace.fault), R6);
	p_mov(p, R2, R6);
	p_alu_imm(p, BPF_LSH, R2, 3);
	p_alu(p, BPF_ADD, R2, R8);
	count_one(p, R2, ABOVE(faults));
	work_control(g);
	roll_window(g);
	p_jump_imm(p, BPF_JNE, true, R6, SPINE_FAULT_STALL, no_stall);
	judge_stall(g, eject);
	p_set(p, no_stall);
	p_jump_imm(p, BPF_JNE, true, R6, SPINE_FAULT_BUDGET, rate);
	judge_budget(g, eject);
	p_set(p, rate);
	p_mov(p, R2, R6);
	p_alu_imm(p, BPF_LSH, R2, 2);
	p_alu(p, BPF_ADD, R2, R8);
	p_load(p, BPF_W, R1, R2, ABOVE(window_faults));
	p_alu_imm(p, BPF_ADD, R1, 1);
	p_store(p, BPF_W, R2, ABOVE(window_faults), R1);
	p_load(p, BPF_DW, R2, R9, CTL(faults_max));
	p_jump_imm(p, BPF_JEQ, true, R2, 0, out);
	p_jump(p, BPF_JLT, true, R1, R2, out);
	p_set(p, eject);
	eject_now(g, out);
	p_set(p, out);
	p_mov_imm(p, R0, 0);
	p_exit(p);
}

static void charge_function(struct gen *g)
{
	struct program *p = g->p;
	program_label usual = p_label(p), out = p_label(p);

	p_function(p, g->charge);
	own_stats(g);
	work_slot(p);
	count_one(p, R8, ABOVE(samples));
	p_load(p, BPF_DW, R6, R7, CPU(ns));
	p_load(p, BPF_DW, R1, R8, ABOVE(sampled_ns));
	p_alu(p, BPF_ADD, R1, R6);
	p_store(p, BPF_DW, R8, ABOVE(sampled_ns), R1);
	p_load(p, BPF_W, R1, R7, CPU(trace.ns));
	p_alu(p, BPF_ADD, R1, R6);
	p_store(p, BPF_W, R7, CPU(trace.ns), R1);
	roll_window(g);
	p_jump_imm(p, BPF_JLE, true, R6, SPINE_SAMPLE_NS_MAX, usual);
	p_mov_imm(p, R6, SPINE_SAMPLE_NS_MAX);
	p_set(p, usual);
	p_map_value(p, R1, g->spec->control_fd, offsetof(struct spine_control, sample_mask));
	p_load(p, BPF_W, R1, R1, 0);
	p_alu_imm(p, BPF_ADD, R1, 1);
	p_alu(p, BPF_MUL, R6, R1);
	p_load(p, BPF_DW, R1, R8, ABOVE(window_ns));
	p_alu(p, BPF_ADD, R6, R1);
	p_store(p, BPF_DW, R8, ABOVE(window_ns), R6);
	work_control(g);
	p_load(p, BPF_DW, R1, R9, CTL(budget_ns));
	p_jump_imm(p, BPF_JEQ, true, R1, 0, out);
	p_jump(p, BPF_JLE, true, R6, R1, out);
	p_load(p, BPF_W, R1, R7, CPU(work));
	p_alu_imm(p, BPF_OR, R1, SPINE_FAULT_BUDGET << 16);
	p_store(p, BPF_W, R7, CPU(work), R1);
	p_call(p, g->fault);
	p_set(p, out);
	p_mov_imm(p, R0, 0);
	p_exit(p);
}

static void trace_function(struct gen *g)
{
	struct program *p = g->p;
	program_label fits = p_label(p), sent = p_label(p);

	p_function(p, g->trace);
	own_stats(g);
	p_load(p, BPF_W, R1, R7, CPU(last));
	p_store(p, BPF_B, R7, CPU(trace.verdict), R1);
	p_load(p, BPF_W, R3, R7, CPU(trace.captured));
	p_jump_imm(p, BPF_JLE, true, R3, SPINE_TRACE_BYTES, fits);
	p_mov_imm(p, R3, SPINE_TRACE_BYTES);
	p_set(p, fits);
	p_alu_imm(p, BPF_ADD, R3, (int32_t)sizeof(struct spine_trace_record));
	p_map_fd(p, R1, g->spec->trace_fd);
	p_mov(p, R2, R7);
	p_alu_imm(p, BPF_ADD, R2, CPU(trace));
	p_mov_imm(p, R4, 0);
	p_helper(p, BPF_FUNC_ringbuf_output);
	p_jump_imm(p, BPF_JEQ, true, R0, 0, sent);
	count_one(p, R7, CPU(trace_lost));
	p_set(p, sent);
	p_mov_imm(p, R0, 0);
	p_exit(p);
}

/* ---- the whole ---- */

static int check(const struct dispatch_spec *spec, struct errmsg *why)
{
	bool used[SPINE_SLOTS_MAX] = { false };

	must(spec->cpus > 0 && (spec->cpus & (spec->cpus - 1)) == 0);
	must(spec->hz > 0);
	if (spec->count > SPINE_SLOTS_MAX)
		return errmsg_say(why, -E2BIG, "%zu extensions on a device; at most %u are possible", spec->count,
				  SPINE_SLOTS_MAX);
	for (size_t i = 0; i < spec->count; i++) {
		uint16_t slot = spec->slots[i].slot;

		if (slot >= SPINE_SLOTS_MAX)
			return errmsg_say(why, -EINVAL, "there is no slot %u: a device has %u", slot, SPINE_SLOTS_MAX);
		if (used[slot])
			return errmsg_say(why, -EINVAL, "two extensions in slot %u", slot);
		used[slot] = true;
	}
	return 0;
}

static void declare(struct gen *g)
{
	char name[16];

	for (size_t i = 0; i < g->spec->count; i++) {
		snprintf(name, sizeof(name), "slot_%u", g->spec->slots[i].slot);
		g->slot[i] = p_declare(g->p, name);
		g->used[g->spec->slots[i].slot / 32] = true;
		g->tail_calls |= g->spec->slots[i].tail_calls;
		g->terminal_redirects |= g->spec->slots[i].terminal && redirects(&g->spec->slots[i]);
	}
	/* The kernel finds functions by the calls to them. */
	if (g->spec->count > 0) {
		g->fault = p_declare_shared(g->p, "fault");
		g->charge = p_declare_shared(g->p, "charge");
	}
	g->trace = p_declare_shared(g->p, "trace");
}

static int rules(struct gen *g, struct errmsg *why)
{
	struct rule_use uses[SPINE_SLOTS_MAX];
	size_t chain_max = 0;
	int err;

	g->exits.rest = true;
	if (g->spec->count == 0)
		return 0;
	g->exits.nobody = p_label(g->p);
	for (size_t i = 0; i < g->spec->count; i++) {
		g->exits.alone[g->spec->slots[i].slot] = p_label(g->p);
		uses[i] = (struct rule_use){ .rule = g->spec->slots[i].rule, .slot = g->spec->slots[i].slot };
	}
	err = rule_emit(g->p, uses, g->spec->count, &g->spec->sets, &g->exits, &chain_max, why);
	if (err == 0 && chain_max > SPINE_CHAIN_MAX)
		return errmsg_say(why, -E2BIG,
				  "%zu extensions may want the same frame; at most %u are possible: narrow their rules",
				  chain_max, SPINE_CHAIN_MAX);
	return err;
}

/*
 * Counts the packet and clears what the match phase sets. R8 = 0 when the packet is sampled. `last` and `suspect` are
 * the chain's alone.
 */
static void begin(struct gen *g)
{
	struct program *p = g->p;

	p_mov(p, R6, R1);
	own_stats(g);
	count_one(p, R7, CPU(packets));
	p_map_value(p, R8, g->spec->control_fd, offsetof(struct spine_control, sample_mask));
	p_load(p, BPF_W, R8, R8, 0);
	p_alu(p, BPF_AND, R8, R1);
	for (size_t word = 0; word < SPINE_SLOTS_MAX / 32; word++) {
		if (g->used[word])
			p_store_imm(p, BPF_W, R7, (int16_t)(CPU(match) + (int16_t)(word * 4)), 0);
	}
}

/* The usual packets: the chain for those that several extensions may want, then the short ways. */
static void usual(struct gen *g, program_label timed)
{
	struct program *p = g->p;

	if (g->exits.rest) {
		/* Guards use R8. */
		p_load(p, BPF_DW, R0, R7, CPU(packets));
		p_map_value(p, R1, g->spec->control_fd, offsetof(struct spine_control, sample_mask));
		p_load(p, BPF_W, R1, R1, 0);
		p_alu(p, BPF_AND, R0, R1);
		p_jump_imm(p, BPF_JEQ, true, R0, 0, timed);
		chain_begin(g);
		if (g->spec->count > 0)
			chain(g, 0, g->spec->count);
		chain_end(g);
		p_exit(p);
	}
	for (size_t i = 0; i < g->spec->count; i++) {
		if (g->exits.to_alone[g->spec->slots[i].slot])
			alone(g, i, timed);
	}
	if (g->exits.to_nobody)
		nobody(g, timed);
}

static int main_function(struct gen *g, struct errmsg *why)
{
	program_label timed = p_label(g->p);
	int err;

	begin(g);
	err = rules(g, why);
	if (err != 0)
		return err;
	usual(g, timed);
	p_set(g->p, timed);
	sampled(g);
	return 0;
}

int dispatch_build(const struct dispatch_spec *spec, struct program **out, struct errmsg *why)
{
	struct gen g = { .spec = spec };
	int err = check(spec, why);

	if (err != 0)
		return err;
	if (program_new(DISPATCH_INSNS_MAX, &g.p) != 0)
		return errmsg_say(why, -ENOMEM, "no memory for a dispatcher");
	declare(&g);
	err = main_function(&g, why);
	if (err == 0) {
		for (size_t i = 0; i < spec->count; i++)
			slot_function(&g, i);
		if (spec->count > 0) {
			fault_function(&g);
			charge_function(&g);
		}
		trace_function(&g);
		err = program_seal(g.p, why);
	}
	if (err != 0) {
		program_free(g.p);
		return err;
	}
	*out = g.p;
	return 0;
}

/* ---- loading ---- */

/* Once more with a log, for the sentence: its end says what the verifier minds. */
static int refused(const char *name, const struct bpf_insn *insns, uint32_t count,
		   struct bpf_prog_load_opts *opts, int err, struct errmsg *why)
{
	char *log = calloc(1, LOG_BYTES);
	size_t len = 0;
	int fd;

	if (log != NULL) {
		opts->log_buf = log;
		opts->log_size = LOG_BYTES;
		opts->log_level = 1;
		fd = bpf_prog_load(BPF_PROG_TYPE_XDP, name, "Dual MIT/GPL", insns, count, opts);
		if (fd >= 0)
			close(fd);
		len = strnlen(log, LOG_BYTES);
	}
	errmsg_set(why, err, "the kernel refuses the dispatcher '%s' (%u instructions)%s%s", name, count,
		   len > 0 ? ": ..." : "", len > 0 ? log + (len > LOG_TAIL ? len - LOG_TAIL : 0) : "");
	free(log);
	return err;
}

int dispatch_load(const struct program *p, const char *name, bool frags, enum bpf_attach_type attach_type,
		  struct errmsg *why)
{
	uint32_t count, btf_bytes, infos;
	const struct bpf_insn *insns = program_insns(p, &count);
	const void *btf = program_btf(p, &btf_bytes);
	int btf_fd, fd;

	LIBBPF_OPTS(bpf_prog_load_opts, opts, .func_info = program_func_info(p, &infos),
		    .func_info_rec_size = sizeof(struct bpf_func_info), .expected_attach_type = attach_type,
		    .prog_flags = frags ? BPF_F_XDP_HAS_FRAGS : 0);
	opts.func_info_cnt = infos;
	if (btf == NULL)
		return errmsg_say(why, -ENOMEM, "no memory for the BTF of a dispatcher");
	btf_fd = bpf_btf_load(btf, btf_bytes, NULL);
	if (btf_fd < 0)
		return errmsg_set(why, btf_fd, "the kernel refuses the BTF of the dispatcher '%s'", name);
	opts.prog_btf_fd = (uint32_t)btf_fd;
	fd = bpf_prog_load(BPF_PROG_TYPE_XDP, name, "Dual MIT/GPL", insns, count, &opts);
	if (fd < 0)
		fd = refused(name, insns, count, &opts, fd, why);
	close(btf_fd);
	return fd;
}

uint32_t dispatch_hz(void)
{
	struct timespec tick;

	/* The coarse clock moves once a tick, and its resolution says so. */
	if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) != 0 || tick.tv_sec != 0 || tick.tv_nsec <= 0)
		return 0;
	return (uint32_t)((1000000000 + tick.tv_nsec / 2) / tick.tv_nsec);
}
