/*
 * What loop.c and fiber.c share of a loop. Nobody else includes this.
 */
#pragma once
#include "sys/loop.h"

struct fiber;
struct fiber_pool;

struct loop {
	int epoll_fd;
	bool stopping;
	int64_t now_us;
	struct timer **timers;		/* binary heap by at_us, 1-based */
	size_t timer_count, timer_cap;
	struct list tasks;
	struct list round_ends;
	struct epoll_event *events;	/* of the current round */
	int event_count, event_at;
	struct fiber_pool *fibers;	/* made by the first fiber_start */
};

/* fiber.c: free the stacks; called by loop_free. */
void fiber_pool_free(struct fiber_pool *pool);
