#include "base/fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"

START_TEST(a_descriptor_arrives_open_and_close_on_exec)
{
	int pair[2], pipe_fds[2], got[2];
	char byte, text[8];
	size_t count;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	ck_assert_int_eq(fdpass_send(pair[0], "hello", 5, &pipe_fds[1], 1), 0);
	ck_assert_int_eq(fdpass_receive(pair[1], text, sizeof(text), got, 2, &count), 5);
	ck_assert_uint_eq(count, 1);
	ck_assert_int_eq(fcntl(got[0], F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(write(got[0], "x", 1), 1);
	ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 1);
	close(pair[0]);
	ck_assert_int_eq(fdpass_receive(pair[1], text, sizeof(text), got, 2, &count), 0);
}
END_TEST

START_TEST(more_descriptors_than_asked_for_are_closed_and_refused)
{
	int pair[2], fds[3] = { 0, 0, 0 }, got[2], next, after;
	char text[8];
	size_t count;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	next = fcntl(0, F_DUPFD_CLOEXEC, 3);
	close(next);
	ck_assert_int_eq(fdpass_send(pair[0], "x", 1, fds, 3), 0);
	ck_assert_int_eq(fdpass_receive(pair[1], text, sizeof(text), got, 2, &count), -EMSGSIZE);
	ck_assert_uint_eq(count, 0);
	after = fcntl(0, F_DUPFD_CLOEXEC, 3);
	ck_assert_int_eq(after, next);		/* none leaked */
}
END_TEST

START_TEST(a_message_that_is_too_long_is_refused)
{
	int pair[2], got[1];
	char text[4];
	size_t count;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(fdpass_send(pair[0], "hello", 5, NULL, 0), 0);
	ck_assert_int_eq(fdpass_receive(pair[1], text, sizeof(text), got, 1, &count), -EMSGSIZE);
}
END_TEST

TEST_MAIN("base/fdpass", a_descriptor_arrives_open_and_close_on_exec,
	  more_descriptors_than_asked_for_are_closed_and_refused, a_message_that_is_too_long_is_refused)
