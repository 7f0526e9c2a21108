#include "sys/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/must.h"
#include "sys/loop_private.h"

#define EVENTS_PER_ROUND 256

static int64_t mono_us(void)
{
	struct timespec ts;

	must(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int loop_new(struct loop **out)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return -ENOMEM;
	l->events = calloc(EVENTS_PER_ROUND, sizeof(*l->events));
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->events == NULL || l->epoll_fd < 0) {
		int rc = l->events == NULL ? -ENOMEM : -errno;
		if (l->epoll_fd >= 0)
			close(l->epoll_fd);
		free(l->events);
		free(l);
		return rc;
	}
	list_init(&l->tasks);
	list_init(&l->round_ends);
	l->now_us = mono_us();
	*out = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	fiber_pool_free(l->fibers);
	close(l->epoll_fd);
	free(l->events);
	free(l->timers);
	free(l);
}

int64_t loop_now_us(const struct loop *l)
{
	return l->now_us;
}

int loop_add(struct loop *l, struct io_watch *w)
{
	struct epoll_event ev = { .events = w->events, .data.ptr = w };

	return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, w->fd, &ev) == 0 ? 0 : -errno;
}

void loop_change(struct loop *l, struct io_watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	if (w->events == events)
		return;
	w->events = events;
	must(epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev) == 0);
}

void loop_del(struct loop *l, struct io_watch *w)
{
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	/* Events of this round that were fetched but not delivered must not reach freed memory. */
	for (int i = l->event_at; i < l->event_count; i++)
		if (l->events[i].data.ptr == w)
			l->events[i].data.ptr = NULL;
}

/* The timer heap: 1-based, each timer knows its place. */

static void heap_put(struct loop *l, size_t at, struct timer *t)
{
	l->timers[at] = t;
	t->heap_index = at;
}

static void heap_up(struct loop *l, size_t at)
{
	struct timer *t = l->timers[at];

	while (at > 1 && l->timers[at / 2]->at_us > t->at_us) {
		heap_put(l, at, l->timers[at / 2]);
		at /= 2;
	}
	heap_put(l, at, t);
}

static void heap_down(struct loop *l, size_t at)
{
	struct timer *t = l->timers[at];

	for (;;) {
		size_t child = at * 2;
		if (child > l->timer_count)
			break;
		if (child < l->timer_count && l->timers[child + 1]->at_us < l->timers[child]->at_us)
			child++;
		if (l->timers[child]->at_us >= t->at_us)
			break;
		heap_put(l, at, l->timers[child]);
		at = child;
	}
	heap_put(l, at, t);
}

void loop_timer_cancel(struct loop *l, struct timer *t)
{
	size_t at = t->heap_index;

	if (at == 0)
		return;
	must(at <= l->timer_count && l->timers[at] == t);
	struct timer *last = l->timers[l->timer_count--];
	t->heap_index = 0;
	t->at_us = 0;
	if (last == t)
		return;
	heap_put(l, at, last);
	heap_up(l, at);
	heap_down(l, last->heap_index);
}

void loop_timer_set(struct loop *l, struct timer *t, int64_t after_us)
{
	int64_t at_us = l->now_us + (after_us < 0 ? 0 : after_us);

	if (t->heap_index != 0) {
		t->at_us = at_us;
		heap_up(l, t->heap_index);
		heap_down(l, t->heap_index);
		return;
	}
	if (l->timer_count + 1 >= l->timer_cap) {
		size_t cap = l->timer_cap == 0 ? 64 : l->timer_cap * 2;
		struct timer **timers = realloc(l->timers, cap * sizeof(*timers));
		must(timers != NULL);
		l->timers = timers;
		l->timer_cap = cap;
	}
	t->at_us = at_us;
	heap_put(l, ++l->timer_count, t);
	heap_up(l, l->timer_count);
}

void loop_defer(struct loop *l, struct task *t)
{
	if (list_empty(&t->link))
		list_push_back(&l->tasks, &t->link);
}

void loop_at_round_end(struct loop *l, struct task *t)
{
	if (list_empty(&t->link))
		list_push_back(&l->round_ends, &t->link);
}

/* Tasks that tasks add run the next time, so that I/O is not starved. */
static void run_tasks(struct list *tasks)
{
	struct list now;

	list_init(&now);
	while (!list_empty(tasks))
		list_push_back(&now, list_pop_front(tasks));
	for (struct list *it = list_pop_front(&now); it != NULL; it = list_pop_front(&now)) {
		struct task *t = list_entry(it, struct task, link);
		t->fn(t);
	}
}

static void run_timers(struct loop *l)
{
	while (l->timer_count > 0 && l->timers[1]->at_us <= l->now_us) {
		struct timer *t = l->timers[1];
		loop_timer_cancel(l, t);
		t->fn(t);
	}
}

static int wait_time_ms(struct loop *l, int wait_ms)
{
	if (!list_empty(&l->tasks))
		return 0;
	if (l->timer_count == 0)
		return wait_ms;
	int64_t us = l->timers[1]->at_us - l->now_us;
	if (us <= 0)
		return 0;
	int64_t ms = (us + 999) / 1000;
	if (wait_ms >= 0 && ms > wait_ms)
		return wait_ms;
	return ms > 3600000 ? 3600000 : (int)ms;
}

void loop_run_once(struct loop *l, int wait_ms)
{
	run_tasks(&l->round_ends);
	l->now_us = mono_us();
	int n = epoll_wait(l->epoll_fd, l->events, EVENTS_PER_ROUND, wait_time_ms(l, wait_ms));
	must(n >= 0 || errno == EINTR);
	l->now_us = mono_us();
	l->event_count = n < 0 ? 0 : n;
	for (l->event_at = 0; l->event_at < l->event_count;) {
		struct epoll_event *ev = &l->events[l->event_at++];
		struct io_watch *w = ev->data.ptr;
		if (w != NULL)
			w->fn(w, ev->events);
	}
	l->event_count = l->event_at = 0;
	run_timers(l);
	run_tasks(&l->tasks);
	run_tasks(&l->round_ends);
}

void loop_run(struct loop *l)
{
	l->stopping = false;
	while (!l->stopping)
		loop_run_once(l, -1);
}

void loop_stop(struct loop *l)
{
	l->stopping = true;
}
