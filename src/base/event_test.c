#include "base/cleanup.h"
#include "base/event.h"
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int64_t clock_us;		/* each test is a process of its own */

static int64_t now(void *arg)
{
	return clock_us;
}

struct fixture {
	int fds[2];
	struct event_log *log;
	struct event *root;
	char text[65536];
};

static void open_log(struct fixture *f, enum event_format format, enum event_level least)
{
	clock_us = INT64_C(1795424400123456);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, f->fds), 0);
	ck_assert_int_eq(event_log_new(f->fds[0], format, least, now, NULL, &f->log), 0);
	f->root = event_root(f->log, "role.test");
	event_str(f->root, "role", "front");
}

/* The next line, "" when there is none. */
static const char *line(struct fixture *f)
{
	ssize_t n = read(f->fds[1], f->text, sizeof(f->text) - 1);

	f->text[n < 0 ? 0 : n] = '\0';
	return f->text;
}

static void close_log(struct fixture *f)
{
	event_free(f->root);
	event_log_free(f->log);
	close(f->fds[0]);
	close(f->fds[1]);
}

START_TEST(a_line_has_the_fields_of_the_event_and_its_parents)
{
	struct fixture f;

	open_log(&f, EVENT_TEXT, EVENT_INFO);
	AUTO_EVENT struct event *ev = event_child(f.root, "imap.append");
	event_u64(ev, "size_bytes", UINT64_MAX);
	event_i64(ev, "left", -3);
	event_err(ev, -ENOSPC);
	event_err(ev, 0);
	event_warn(ev, "no room, answering NO");
	ck_assert_str_eq(line(&f), "2026-11-23T09:00:00.123Z warn imap.append: no room, answering NO "
				   "role=\"front\" size_bytes=18446744073709551615 left=-3 "
				   "error=\"No space left on device\"\n");
	event_debug(ev, "below the level");
	ck_assert_str_eq(line(&f), "");
	event_log_level(f.log, EVENT_DEBUG);
	event_debug(ev, "now wanted");
	ck_assert_str_ne(line(&f), "");
	event_free(TAKE_PTR(ev));
	close_log(&f);
}
END_TEST

START_TEST(a_value_can_forge_neither_a_line_nor_a_field_nor_a_terminal_sequence)
{
	struct fixture f;

	open_log(&f, EVENT_JSON, EVENT_INFO);
	event_slice(f.root, "name", SLICE("a\"b\\c\r\nd\x1b[2J\xff\xe2\x80\xae\x7f\xc2\x9b.\xc3\xa9\0z"));
	event_info(f.root, "said \"hello\"");
	ck_assert_str_eq(line(&f),
			 "{\"time\":\"2026-11-23T09:00:00.123Z\",\"level\":\"info\",\"event\":\"role.test\","
			 "\"message\":\"said \\\"hello\\\"\",\"role\":\"front\",\"name\":\"a\\\"b\\\\c\\u000d\\u000ad"
			 "\\u001b[2J\xef\xbf\xbd\\u202e\\u007f\\u009b.\xc3\xa9\\u0000z\"}\n");
	close_log(&f);
}
END_TEST

START_TEST(long_values_and_many_fields_are_cut_and_the_line_says_so)
{
	struct fixture f;
	char value[2000];

	open_log(&f, EVENT_TEXT, EVENT_INFO);
	memset(value, 'x', sizeof(value));
	for (int i = 0; i < 100; i++)
		event_slice(f.root, "k", slice_of(value, sizeof(value)));
	event_info(f.root, "long");
	size_t n = strlen(line(&f));
	ck_assert_uint_lt(n, EVENT_FIELD_BYTES_MAX + 100);
	ck_assert_str_eq(f.text + n - 7, " cut=1\n");
	close_log(&f);
}
END_TEST

START_TEST(a_flood_of_warnings_is_suppressed_counted_and_told)
{
	struct fixture f;
	unsigned written = 0;

	open_log(&f, EVENT_TEXT, EVENT_INFO);
	for (int i = 0; i < 1000; i++) {
		event_warn(f.root, "noise");
		written += *line(&f) != '\0';
	}
	ck_assert_uint_eq(written, 100);
	event_info(f.root, "another level has its own budget");
	ck_assert_str_ne(line(&f), "");
	clock_us += 1000000;
	event_warn(f.root, "noise");
	ck_assert(strstr(line(&f), " suppressed=900\n") != NULL);
	ck_assert_uint_eq(event_log_lost(f.log), 900);
	for (int i = 0; i < 10; i++)
		event_warn(f.root, "noise");
	while (*line(&f) != '\0')
		;
	event_log_flush(f.log);
	ck_assert_str_eq(line(&f), "");
	clock_us += 61 * INT64_C(1000000);
	event_log_flush(f.log);
	ck_assert(strstr(line(&f), " suppressed=6\n") != NULL);
	close_log(&f);
}
END_TEST

START_TEST(the_journal_gets_one_field_a_line)
{
	struct fixture f;

	open_log(&f, EVENT_JOURNALD, EVENT_INFO);
	event_slice(f.root, "user", SLICE("x\nPRIORITY=0"));
	event_error(f.root, "it failed");
	ck_assert_str_eq(line(&f), "MESSAGE=it failed\nPRIORITY=3\nSYSLOG_IDENTIFIER=prickle\n"
				   "PRICKLE_EVENT=role.test\nPRICKLE_ROLE=front\n"
				   "PRICKLE_USER=x\\u000aPRIORITY=0\n");
	close_log(&f);
}
END_TEST

START_TEST(a_log_that_nobody_reads_does_not_hold_us)
{
	static uint8_t junk[65536];
	struct event_log *log;
	int fd[2];

	ck_assert_int_eq(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(fd[1], junk, sizeof(junk)) > 0)
		;
	ck_assert_int_eq(fcntl(fd[1], F_SETFL, 0), 0);	/* as standard error is: a write would wait */
	ck_assert_int_eq(event_log_new(fd[1], EVENT_TEXT, EVENT_INFO, NULL, NULL, &log), 0);
	struct event *ev = event_root(log, "role.test");
	for (int i = 0; i < 50; i++)
		event_info(ev, "is somebody there?");
	ck_assert_uint_eq(event_log_lost(log), 50);
	while (read(fd[0], junk, sizeof(junk)) > 0)
		;
	event_info(ev, "now there is");
	ck_assert_uint_eq(event_log_lost(log), 50);
	ck_assert_int_gt(read(fd[0], junk, sizeof(junk)), 0);
	event_free(ev);
	event_log_free(log);
	close(fd[0]);
	close(fd[1]);
}
END_TEST

START_TEST(without_an_event_nothing_happens)
{
	struct event *ev = event_child(NULL, "a.b");

	ck_assert(ev == NULL);
	event_str(ev, "a", "b");
	event_err(ev, -EIO);
	event_error(ev, "nobody hears this");
	ck_assert(!event_wants(ev, EVENT_ERROR));
	event_free(ev);
}
END_TEST

TEST_MAIN("base/event", a_line_has_the_fields_of_the_event_and_its_parents,
	  a_value_can_forge_neither_a_line_nor_a_field_nor_a_terminal_sequence,
	  long_values_and_many_fields_are_cut_and_the_line_says_so,
	  a_flood_of_warnings_is_suppressed_counted_and_told, the_journal_gets_one_field_a_line,
	  a_log_that_nobody_reads_does_not_hold_us, without_an_event_nothing_happens)
