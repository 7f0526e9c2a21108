/*
 * The SYSCALL program of core/call.h. It may be interrupted by the programs for packets, so it never works in their
 * scratch memory: x is the caller's desk.
 */
#pragma once
#include "nat64/bpf/timer.bpf.h"

XLAT_INLINE struct xlat *call_desk(__u32 number)
{
	return bpf_map_lookup_elem(&desk, &number);
}

static long call_visit(__u32 turn, void *arg)
{
	const __u32 *number = arg;
	struct xlat *x = call_desk(*number);

	if (x == NULL)
		return 1;
	(void)xlat_call_visit(x, turn);
	return 0;
}

static __attribute__((noinline)) void call_run(struct xlat_call *call, struct xlat *x)
{
	__u32 number = call->desk;
	__u32 turns;

	xlat_copy(&x->call, call, sizeof(*call));
	turns = (__u32)xlat_call_run(x);
	if (turns > 1 << 23)
		turns = 1 << 23;	/* as many as bpf_loop takes; slabs are smaller */
	if (turns != 0)
		(void)bpf_loop(turns, call_visit, &number, 0);
	xlat_copy(call, &x->call, sizeof(*call));
}

SEC("syscall")
int nat64_call(struct xlat_call *call)
{
	struct xlat_control *c = home_control();
	struct xlat *x = call_desk(call->desk);

	if (c == NULL || x == NULL) {
		call->result = -22;	/* EINVAL: no such desk */
		return 0;
	}
	x->now = (__u32)(home_clock_ns(c) >> XLAT_TICK_SHIFT);
	x->bank = c->bank & 1;
	switch (call->op) {
	case XLAT_CALL_PLAN:
		call->result = xlat_plan(x);
		break;
	case XLAT_CALL_TIMER:
		call->result = timer_begin(c);
		break;
	default:
		call_run(call, x);
		break;
	}
	return 0;
}
