#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/test.h"
#include "sys/fiber.h"
#include "sys/loop.h"

static struct loop *loop;

static void run_all(void)
{
	for (int i = 0; i < 1000 && fiber_count(loop) > 0; i++)
		loop_run_once(loop, 100);
	ck_assert_uint_eq(fiber_count(loop), 0);
	loop_free(loop);
}

static void append_digit(void *arg)
{
	char **at = arg;

	*(*at)++ = 'a';
	fiber_yield();
	*(*at)++ = 'b';
}

START_TEST(fibers_take_turns_when_they_yield)
{
	char text[8] = { 0 }, *at = text;

	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(fiber_start(loop, append_digit, &at), 0);
	ck_assert_int_eq(fiber_start(loop, append_digit, &at), 0);
	ck_assert_str_eq(text, "aa");
	run_all();
	ck_assert_str_eq(text, "aabb");
}
END_TEST

struct pipe_test {
	int fd[2];
	int first, second;
};

static void wait_for_pipe(void *arg)
{
	struct pipe_test *t = arg;

	t->first = fiber_wait_fd(t->fd[0], EPOLLIN, 5000);
	t->second = fiber_wait_fd(t->fd[0], EPOLLIN, -1);
}

START_TEST(waiting_for_a_descriptor_ends_by_time_or_by_input)
{
	struct pipe_test t = { .first = -1, .second = -1 };

	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(pipe(t.fd), 0);
	ck_assert_int_eq(fiber_start(loop, wait_for_pipe, &t), 0);
	while (t.first < 0)
		loop_run_once(loop, 100);
	ck_assert_int_eq(t.first, 0);
	ck_assert_int_eq(write(t.fd[1], "x", 1), 1);
	run_all();
	ck_assert_int_eq(t.second, EPOLLIN);
}
END_TEST

static void square(void *arg)
{
	int *n = arg;

	ck_assert_ptr_null(fiber_self());
	*n *= *n;
}

static void square_on_thread(void *arg)
{
	fiber_on_thread(square, arg);
	ck_assert_ptr_nonnull(fiber_self());
}

START_TEST(work_on_a_thread_comes_back_to_the_fiber)
{
	int n[50];

	ck_assert_int_eq(loop_new(&loop), 0);
	for (int i = 0; i < 50; i++) {
		n[i] = i;
		ck_assert_int_eq(fiber_start(loop, square_on_thread, &n[i]), 0);
	}
	run_all();
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(n[i], i * i);
}
END_TEST

struct lock_test {
	struct fiber_mutex mutex;
	int inside, most, done;
};

static void enter_lock(void *arg)
{
	struct lock_test *t = arg;

	fiber_lock(&t->mutex);
	t->inside++;
	t->most = MAX(t->most, t->inside);
	fiber_sleep(100);
	t->inside--;
	t->done++;
	fiber_unlock(&t->mutex);
}

START_TEST(one_fiber_at_a_time_holds_a_lock)
{
	struct lock_test t = { .done = 0 };

	ck_assert_int_eq(loop_new(&loop), 0);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(fiber_start(loop, enter_lock, &t), 0);
	run_all();
	ck_assert_int_eq(t.done, 20);
	ck_assert_int_eq(t.most, 1);
}
END_TEST

static struct fiber_event event;

static void wait_event(void *arg)
{
	int *got = arg;

	*got = fiber_event_wait(&event, 1000) ? 1 : 0;
	if (*got == 0)
		*got = fiber_event_wait(&event, -1) ? 2 : 3;
}

START_TEST(an_event_that_comes_after_the_time_out_can_be_waited_for_again)
{
	int got = -1;

	ck_assert_int_eq(loop_new(&loop), 0);
	event = (struct fiber_event){ 0 };
	ck_assert_int_eq(fiber_start(loop, wait_event, &got), 0);
	while (got != 0)
		loop_run_once(loop, 100);
	fiber_event_set(&event);
	run_all();
	ck_assert_int_eq(got, 2);
}
END_TEST

struct order {
	struct timer timer;
	int id, *at;
	int *list;
};

static void note(struct timer *t)
{
	struct order *o = container_of(t, struct order, timer);

	o->list[(*o->at)++] = o->id;
}

START_TEST(timers_run_in_order_and_cancelled_ones_do_not)
{
	struct order o[10];
	int list[10], at = 0;

	ck_assert_int_eq(loop_new(&loop), 0);
	for (int i = 0; i < 10; i++) {
		o[i] = (struct order){ .timer = { .fn = note }, .id = i, .at = &at, .list = list };
		loop_timer_set(loop, &o[i].timer, (10 - i) * 1000);
	}
	loop_timer_cancel(loop, &o[5].timer);
	loop_timer_set(loop, &o[0].timer, 0);
	while (at < 9)
		loop_run_once(loop, 100);
	int want[9] = { 0, 9, 8, 7, 6, 4, 3, 2, 1 };
	ck_assert_mem_eq(list, want, sizeof(want));
	run_all();
}
END_TEST

TEST_MAIN("sys/fiber", fibers_take_turns_when_they_yield,
	  waiting_for_a_descriptor_ends_by_time_or_by_input,
	  work_on_a_thread_comes_back_to_the_fiber, one_fiber_at_a_time_holds_a_lock,
	  an_event_that_comes_after_the_time_out_can_be_waited_for_again,
	  timers_run_in_order_and_cancelled_ones_do_not)
