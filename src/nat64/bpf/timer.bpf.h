/*
 * The walk: a timer that visits some entries of the slabs each period, from a cursor in `control`. So what expired goes
 * although no process of ours runs; a walk over all entries in one go would hold a processor for 100 ms.
 *
 * The timer belongs to the map `timer` and keeps a reference to the program that set it: both are pinned. After an upgrade the
 * new program sets its own callback on the same timer (XLAT_CALL_TIMER).
 */
#pragma once
#include "nat64/bpf/home.bpf.h"

#define TIMER_PERIOD_MS	 20u		/* control.walk_period_ms and walk_batch are 0 */
#define TIMER_BATCH	 1024u
#define TIMER_BATCH_MAX	 65536u
/* It interrupts the packets of its processor: SPINE takes a packet that was stopped for 8 ms for a stall of the program. */
#define TIMER_SLICE_NS	 1000000ull

XLAT_INLINE __u64 timer_period_ns(const struct xlat_control *c)
{
	__u32 ms = c->walk_period_ms;

	return (ms == 0 ? TIMER_PERIOD_MS : ms) * 1000000ull;
}

/* `arg`: when it has to end. An entry that is looked at costs 0.1 to 1 us, one that ends 5 us. */
static long timer_step(__u32 turn, void *arg)
{
	__u32 at = XLAT_SCRATCH_WALK;
	struct xlat *x = bpf_map_lookup_elem(&scratch, &at);

	if (x == NULL)
		return 1;
	(void)xlat_walk_step(x);
	return (turn & 15) == 15 && (__s64)(bpf_ktime_get_ns() - *(const __u64 *)arg) >= 0;
}

static int timer_walk(void *map, __u32 *key, struct xlat_timer_value *value)
{
	__u32 at = XLAT_SCRATCH_WALK;
	struct xlat *x = bpf_map_lookup_elem(&scratch, &at);
	struct xlat_control *c = home_control();
	__u64 end = bpf_ktime_get_ns() + TIMER_SLICE_NS;
	__u32 batch;

	if (x == NULL || c == NULL)
		return 0;
	home_begin(x, home_clock_ns(c));
	x->bank = c->bank & 1;
	c->walk_running = x->now;
	batch = c->walk_batch == 0 ? TIMER_BATCH : c->walk_batch;
	if (batch > TIMER_BATCH_MAX)
		batch = TIMER_BATCH_MAX;
	(void)bpf_loop(batch, timer_step, &end, 0);
	(void)bpf_timer_start(&value->timer, timer_period_ns(c), 0);
	return 0;
}

/* 0 or negative errno. */
XLAT_INLINE int timer_begin(const struct xlat_control *c)
{
	__u32 zero = 0;
	struct xlat_timer_value *value = bpf_map_lookup_elem(&timer, &zero);
	int err;

	if (value == NULL)
		return -2;		/* ENOENT */
	err = (int)bpf_timer_init(&value->timer, &timer, 1 /* CLOCK_MONOTONIC */);
	if (err != 0 && err != -16)	/* EBUSY: it was made before */
		return err;
	err = (int)bpf_timer_set_callback(&value->timer, timer_walk);
	if (err != 0)
		return err;
	return (int)bpf_timer_start(&value->timer, timer_period_ns(c), 0);
}
