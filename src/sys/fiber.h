/*
 * Fibers: straight-line protocol code on an event loop.
 *
 * A fiber borrows a stack from a pool (FIBER_STACK_BYTES, with a guard page) for one unit of
 * work, one command of a session for instance, and gives it back when its function
 * returns. A session that waits for its next command is a parked struct without a stack.
 * The switch is our own assembly (fiber_x86_64.S, fiber_aarch64.S) with the ASan and TSan
 * hooks; a switch costs a few nanoseconds and no system call.
 *
 * All functions are for the loop's own thread.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct loop;
struct fiber;

#define FIBER_STACK_BYTES (128u * 1024u)

typedef void fiber_fn(void *arg);

/*
 * Start a fiber and run it until it first waits or ends. May be called from a fiber or
 * from the loop. 0, or -ENOMEM when no stack can be had (the caller refuses the work).
 */
MUST_USE int fiber_start(struct loop *l, fiber_fn *fn, void *arg);
/* The running fiber; NULL outside. */
struct fiber *fiber_self(void);
/* The loop of the running fiber. */
struct loop *fiber_loop(void);
/* Give up the processor until somebody calls fiber_resume(this fiber). */
void fiber_suspend(void);
/* Let a suspended fiber go on, soon (from the loop's task list). */
void fiber_resume(struct fiber *f);
/* Let the others run, then go on. */
void fiber_yield(void);
/*
 * Wait for events on fd (EPOLLIN...). >0: the events; 0: timeout; negative errno else.
 * timeout_us < 0 waits for ever. At most one fiber waits for one fd at a time.
 */
int fiber_wait_fd(int fd, uint32_t events, int64_t timeout_us);
void fiber_sleep(int64_t us);

/*
 * Run fn on a small pool of helper threads (password hashing, synchronous libraries) while
 * this fiber waits; outside a fiber it just calls fn. fn must not touch loop or fiber state.
 */
void fiber_on_thread(fiber_fn *fn, void *arg);

/* Live fibers (running and suspended), for metrics and tests. */
unsigned fiber_count(const struct loop *l);

/* First-in first-out lock between fibers. */
struct fiber_mutex {
	struct fiber *owner;
	struct fiber *first, *last;	/* who waits */
};
void fiber_lock(struct fiber_mutex *m);
void fiber_unlock(struct fiber_mutex *m);

/* A one-shot event that a fiber waits for: result is set by fiber_event_set. */
struct fiber_event {
	struct fiber *waiter;
	bool set;
};
void fiber_event_set(struct fiber_event *e);
/* False when timeout_us (>= 0) passed first. */
bool fiber_event_wait(struct fiber_event *e, int64_t timeout_us);
