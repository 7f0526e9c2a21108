/*
 * The event loop of a role: epoll, timers and deferred tasks, one thread.
 *
 * Protocol code does not use this directly: it runs in fibers (sys/fiber.h) and reads
 * straight down. Callbacks here are for the plumbing under the fibers: listening sockets,
 * parked sessions, channels.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/list.h"

struct loop;

/* Owned by the user; must stay in place while added. */
struct io_watch {
	int fd;
	uint32_t events;		/* EPOLLIN, EPOLLOUT, EPOLLRDHUP; level triggered */
	void (*fn)(struct io_watch *w, uint32_t events);
};

struct timer {
	int64_t at_us;			/* loop_now_us() scale; 0 when not set */
	size_t heap_index;		/* 1-based; 0 when not set */
	void (*fn)(struct timer *t);
};

/* A function to run after the current events, before the loop sleeps. */
struct task {
	struct list link;
	void (*fn)(struct task *t);
};

/* 0 or a negative errno. */
MUST_USE int loop_new(struct loop **out);
/* The loop must not be running; watches and timers must be gone. NULL is fine. */
void loop_free(struct loop *l);
/* Until loop_stop. */
void loop_run(struct loop *l);
/* One round: waits at most wait_ms (-1 for ever) for events. For tests and tools. */
void loop_run_once(struct loop *l, int wait_ms);
void loop_stop(struct loop *l);

MUST_USE int loop_add(struct loop *l, struct io_watch *w);
void loop_change(struct loop *l, struct io_watch *w, uint32_t events);
/* Safe inside the watch's own callback; no further callback comes after it. Does not close fd. */
void loop_del(struct loop *l, struct io_watch *w);

/* (Re)arm: fn runs once, after_us from now. Cost O(log timers). Aborts only when memory is out. */
void loop_timer_set(struct loop *l, struct timer *t, int64_t after_us);
void loop_timer_cancel(struct loop *l, struct timer *t);

/* Run t->fn soon; t must have been initialised with task_init. Adding twice runs it once. */
void loop_defer(struct loop *l, struct task *t);
/*
 * Run t->fn once when the current round is over, after every event, timer and task of it: for
 * output that several of them share. What is added outside of a round runs before the next sleep.
 */
void loop_at_round_end(struct loop *l, struct task *t);
static inline void task_init(struct task *t, void (*fn)(struct task *t))
{
	list_init(&t->link);
	t->fn = fn;
}

/* Monotonic microseconds, read once a round. */
int64_t loop_now_us(const struct loop *l);
