#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "sys/fiber.h"
#include "sys/loop.h"
#include "sys/stream.h"

static struct loop *loop;
static struct stream stream;
static int peer;
static const struct stream_limits limits = {
	.read_timeout_us = 200000, .write_timeout_us = 200000, .out_bytes_max = 16384,
};

static void set_up(void)
{
	int fd[2];

	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	peer = fd[1];
	stream_init(&stream, loop, fd[0], &limits);
}

static void tear_down(void)
{
	stream_done(&stream);
	close(peer);
	loop_free(loop);
}

static void say(const char *text)
{
	ck_assert_int_eq(write(peer, text, strlen(text)), (ssize_t)strlen(text));
}

static void run(fiber_fn *fn, void *arg)
{
	ck_assert_int_eq(fiber_start(loop, fn, arg), 0);
	for (int i = 0; i < 1000 && fiber_count(loop) > 0; i++)
		loop_run_once(loop, 20);
	ck_assert_uint_eq(fiber_count(loop), 0);
}

struct read {
	size_t max;
	bool lf_only;
	int rc;
	char line[200];
};

static void read_line(void *arg)
{
	struct read *r = arg;
	struct slice line;

	r->rc = stream_line(&stream, r->max, r->lf_only, &line);
	if (r->rc == 1)
		ck_assert(slice_to_str(line, r->line, sizeof(r->line)));
}

START_TEST(lines_are_cut_at_crlf_and_everything_else_is_told_apart)
{
	static const struct {
		const char *input;
		size_t max;
		bool lf_only;
		int rc;
		const char *line;
	} cases[] = {
		{ "hello\r\n", 100, false, 1, "hello" },
		{ "12345\r\n", 5, false, 1, "12345" },
		{ "123456\r\n", 5, false, -EMSGSIZE, "" },
		{ "hello\n", 100, false, -EBADMSG, "" },
		{ "hello\n", 100, true, 1, "hello" },
		{ "he\rllo\r\n", 100, false, -EBADMSG, "" },
		{ "he\rllo\n", 100, true, -EBADMSG, "" },
		{ "\r\n", 100, false, 1, "" },
		{ "cut off", 100, false, -ETIMEDOUT, "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct read r = { .max = cases[i].max, .lf_only = cases[i].lf_only };
		set_up();
		say(cases[i].input);
		run(read_line, &r);
		ck_assert_msg(r.rc == cases[i].rc, "case %zu: %d", i, r.rc);
		ck_assert_str_eq(r.line, cases[i].line);
		tear_down();
	}
}
END_TEST

START_TEST(after_a_line_that_is_too_long_the_next_one_is_read)
{
	struct read r = { .max = 10 };

	set_up();
	for (int i = 0; i < 100; i++)
		say("0123456789");
	say("\r\nnext\r\n");
	run(read_line, &r);
	ck_assert_int_eq(r.rc, -EMSGSIZE);
	run(read_line, &r);
	ck_assert_int_eq(r.rc, 1);
	ck_assert_str_eq(r.line, "next");
	tear_down();
}
END_TEST

static int woken, woken_late;

static void on_ready(struct stream *s, bool timed_out)
{
	woken++;
	woken_late += timed_out;
}

START_TEST(a_parked_stream_holds_no_buffer_and_wakes_for_input_time_and_end)
{
	struct read r = { .max = 100 };

	woken = woken_late = 0;
	set_up();
	say("one\r\n");
	run(read_line, &r);
	stream_park(&stream, -1, on_ready);
	ck_assert_ptr_null(stream.in.ptr);
	for (int i = 0; i < 5; i++)
		loop_run_once(loop, 1);
	ck_assert_int_eq(woken, 0);
	say("two\r\n");
	loop_run_once(loop, 1000);
	ck_assert_int_eq(woken, 1);
	run(read_line, &r);
	ck_assert_str_eq(r.line, "two");
	stream_park(&stream, 1000, on_ready);
	while (woken < 2)
		loop_run_once(loop, 100);
	ck_assert_int_eq(woken_late, 1);
	stream_park(&stream, -1, on_ready);
	shutdown(peer, SHUT_WR);
	while (woken < 3)
		loop_run_once(loop, 100);
	ck_assert_int_eq(woken_late, 1);
	run(read_line, &r);
	ck_assert_int_eq(r.rc, 0);
	tear_down();
}
END_TEST

START_TEST(pipelined_input_wakes_a_stream_that_parks_with_it)
{
	struct read r = { .max = 100 };

	woken = 0;
	set_up();
	say("one\r\ntwo\r\n");
	run(read_line, &r);
	ck_assert(stream_pending(&stream));
	stream_park(&stream, -1, on_ready);
	loop_run_once(loop, 100);
	ck_assert_int_eq(woken, 1);
	tear_down();
}
END_TEST

static void write_much(void *arg)
{
	AUTO_BUF struct buf b = BUF_INIT(4u << 20);

	buf_fill(&b, 'x', 3u << 20);
	stream_write(&stream, buf_slice(&b));
	*(int *)arg = stream_flush(&stream);
}

START_TEST(a_peer_that_does_not_read_ends_the_write_by_time)
{
	int rc = 1;

	set_up();
	run(write_much, &rc);
	ck_assert_int_eq(rc, -ETIMEDOUT);
	tear_down();
}
END_TEST

static void drain(struct io_watch *w, uint32_t events)
{
	static char sink[65536];

	while (recv(w->fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

START_TEST(a_peer_that_reads_gets_all_of_a_large_answer)
{
	int rc = 1;
	struct io_watch w = { .events = 1 /* EPOLLIN */, .fn = drain };

	set_up();
	w.fd = peer;
	ck_assert_int_eq(loop_add(loop, &w), 0);
	run(write_much, &rc);
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_eq(stream.bytes_out, 3u << 20);
	loop_del(loop, &w);
	tear_down();
}
END_TEST

TEST_MAIN("sys/stream", lines_are_cut_at_crlf_and_everything_else_is_told_apart,
	  after_a_line_that_is_too_long_the_next_one_is_read,
	  a_parked_stream_holds_no_buffer_and_wakes_for_input_time_and_end,
	  pipelined_input_wakes_a_stream_that_parks_with_it,
	  a_peer_that_does_not_read_ends_the_write_by_time,
	  a_peer_that_reads_gets_all_of_a_large_answer)
