#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "sys/fiber.h"
#include "sys/ipc.h"
#include "sys/ring.h"

static struct loop *loop;
static struct ipc *client, *server;
static int closed_count;

static void serve(void *arg, struct ipc_request *req)
{
	AUTO_BUF struct buf out = BUF_INIT(IPC_MESSAGE_BYTES);

	if (req->type == 3)
		fiber_sleep(50000);
	if (req->type == 5)
		fiber_sleep(500000);
	if (req->type == 4) {
		ipc_free(server);
		server = NULL;
		return;
	}
	buf_adds(&out, "re:");
	buf_add(&out, req->payload);
	if (req->ipc != NULL)
		ck_assert_int_eq(ipc_reply_fd(req, buf_slice(&out), req->fd), 0);
}

static void closed(void *arg, struct ipc *ipc)
{
	closed_count++;
	ipc_free(ipc);
	if (ipc == client)
		client = NULL;
	else
		server = NULL;
}

static const struct ipc_callbacks callbacks = { .serve = serve, .closed = closed };

static void set_up(void)
{
	int fd[2];

	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
	ck_assert_int_eq(ipc_new(loop, fd[0], &callbacks, NULL, &client), 0);
	ck_assert_int_eq(ipc_new(loop, fd[1], &callbacks, NULL, &server), 0);
}

static void run_fibers(void)
{
	for (int i = 0; i < 2000 && fiber_count(loop) > 0; i++)
		loop_run_once(loop, 20);
	loop_run_once(loop, 0);
	ck_assert_uint_eq(fiber_count(loop), 0);
}

static void tear_down(void)
{
	run_fibers();
	ipc_free(client);
	ipc_free(server);
	loop_free(loop);
}

static void call_once(void *arg)
{
	int *ok = arg;
	AUTO_BUF struct buf reply = BUF_INIT(1000);

	ck_assert_int_eq(ipc_call(client, 1, SLICE("hello"), 1000000, &reply), 0);
	ck_assert_slice_eq(buf_slice(&reply), SLICE("re:hello"));
	(*ok)++;
}

START_TEST(many_calls_at_once_each_get_their_own_reply)
{
	int ok = 0;

	set_up();
	for (int i = 0; i < 500; i++)
		ck_assert_int_eq(fiber_start(loop, call_once, &ok), 0);
	tear_down();
	ck_assert_int_eq(ok, 500);
}
END_TEST

static void call_large(void *arg)
{
	int *ok = arg;
	AUTO_BUF struct buf big = BUF_INIT(1u << 20);
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);

	buf_fill(&big, 'x', IPC_MESSAGE_BYTES - 100);
	ck_assert_int_eq(ipc_call(client, 1, buf_slice(&big), 1000000, &reply), 0);
	ck_assert_uint_eq(reply.len, IPC_MESSAGE_BYTES - 97);
	buf_fill(&big, 'x', 100);
	ck_assert_int_eq(ipc_call(client, 1, buf_slice(&big), 1000000, &reply), -EMSGSIZE);
	(*ok)++;
}

START_TEST(large_messages_queue_when_the_socket_is_full_and_too_large_ones_are_refused)
{
	int ok = 0;

	set_up();
	for (int i = 0; i < 30; i++)
		ck_assert_int_eq(fiber_start(loop, call_large, &ok), 0);
	tear_down();
	ck_assert_int_eq(ok, 30);
}
END_TEST

static void call_slow(void *arg)
{
	int *rc = arg;

	*rc = ipc_call(client, 3, SLICE("x"), 1000, NULL);
}

START_TEST(a_call_that_times_out_ignores_the_late_reply)
{
	int rc = 0;

	set_up();
	ck_assert_int_eq(fiber_start(loop, call_slow, &rc), 0);
	run_fibers();
	ck_assert_int_eq(rc, -ETIMEDOUT);
	tear_down();
}
END_TEST

static void call_deadly(void *arg)
{
	int *rc = arg;

	*rc = ipc_call(client, 4, SLICE("x"), -1, NULL);
}

START_TEST(calls_fail_and_the_owner_is_told_once_when_the_peer_goes)
{
	int rc = 0;

	set_up();
	ck_assert_int_eq(fiber_start(loop, call_deadly, &rc), 0);
	run_fibers();
	ck_assert_int_eq(rc, -EPIPE);
	ck_assert_int_eq(closed_count, 1);
	ck_assert_ptr_null(client);
	tear_down();
}
END_TEST

static void call_with_fd(void *arg)
{
	int *got = arg;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(ipc_call_fd(client, 1, SLICE("fd"), fd, 1000000, NULL, got), 0);
	close(fd);
}

START_TEST(a_descriptor_travels_with_a_request_and_with_its_reply)
{
	int got = -1;

	set_up();
	ck_assert_int_eq(fiber_start(loop, call_with_fd, &got), 0);
	run_fibers();
	ck_assert_int_ge(got, 0);
	ck_assert_int_eq(close(got), 0);
	tear_down();
}
END_TEST

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* One message from a peer that keeps no rules: `count` descriptors with it. */
static void send_raw(int to, uint8_t kind, uint8_t type, unsigned count)
{
	uint8_t head[10] = { 0, 0, 0, 6, kind, type, 0, 0, 0, 1 };
	int fds[3] = { STDIN_FILENO, STDIN_FILENO, STDIN_FILENO };
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(sizeof(fds))];
	} control = { 0 };
	struct iovec iov = { .iov_base = head, .iov_len = sizeof(head) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			      .msg_controllen = CMSG_SPACE(count * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	ck_assert_int_eq(sendmsg(to, &msg, MSG_NOSIGNAL), sizeof(head));
}

START_TEST(more_descriptors_than_one_end_the_channel_and_none_stays_open)
{
	for (unsigned count = 2; count <= 3; count++) {
		unsigned before = open_descriptors();
		int fd[2];

		closed_count = 0;
		ck_assert_int_eq(loop_new(&loop), 0);
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
		ck_assert_int_eq(ipc_new(loop, fd[0], &callbacks, NULL, &server), 0);
		send_raw(fd[1], 1, 1, count);
		loop_run_once(loop, 0);
		loop_run_once(loop, 0);
		ck_assert_int_eq(closed_count, 1);
		close(fd[1]);
		loop_free(loop);
		ck_assert_uint_eq(open_descriptors(), before);
	}
}
END_TEST

static const uint8_t slow[10] = { 0, 0, 0, 6, 1, 5, 0, 0, 0, 1 };	/* a request that takes half a second */

START_TEST(a_peer_that_floods_us_waits_and_all_its_requests_are_served)
{
	unsigned most = 0, sent = 0;
	const unsigned all = 3 * IPC_SERVED_MAX;
	uint8_t packet[16 * sizeof(slow)], answer[65536];
	const ssize_t answer_bytes = sizeof(slow) + 3;	/* "re:" */
	unsigned answers = 0;
	int fd[2];

	for (size_t i = 0; i < sizeof(packet); i += sizeof(slow))
		memcpy(packet + i, slow, sizeof(slow));
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	ck_assert_int_eq(ipc_new(loop, fd[0], &callbacks, NULL, &server), 0);
	for (int i = 0; i < 20000 && answers < all; i++) {
		while (sent < all && send(fd[1], packet, sizeof(packet), MSG_NOSIGNAL) == sizeof(packet))
			sent += 16;
		loop_run_once(loop, 5);
		most = MAX(most, fiber_count(loop));
		for (ssize_t n; (n = recv(fd[1], answer, sizeof(answer), 0)) > 0;) {
			ck_assert_int_eq(n % answer_bytes, 0);
			answers += (unsigned)(n / answer_bytes);
		}
	}
	ck_assert_uint_eq(answers, all);
	ck_assert_uint_le(most, IPC_SERVED_MAX);
	ck_assert_uint_ge(most, IPC_SERVED_MAX / 2);	/* all of them, unless the machine is slow */
	close(fd[1]);
	run_fibers();
	ck_assert_int_eq(closed_count, 1);
	loop_free(loop);
}
END_TEST

START_TEST(a_peer_that_floods_us_and_goes_is_heard_to_go)
{
	uint8_t packet[16 * sizeof(slow)];
	int fd[2];

	if (TEST_THREAD_SANITIZED)
		return;		/* the limit is never reached */
	for (size_t i = 0; i < sizeof(packet); i += sizeof(slow))
		memcpy(packet + i, slow, sizeof(slow));

	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	ck_assert_int_eq(ipc_new(loop, fd[0], &callbacks, NULL, &server), 0);
	for (unsigned i = 0; i < 4 * IPC_SERVED_MAX && fiber_count(loop) < IPC_SERVED_MAX; i++) {
		while (send(fd[1], packet, sizeof(packet), MSG_NOSIGNAL) == sizeof(packet))
			;
		loop_run_once(loop, 0);
	}
	ck_assert_uint_eq(fiber_count(loop), IPC_SERVED_MAX);
	close(fd[1]);
	loop_run_once(loop, 0);
	ck_assert_int_eq(closed_count, 1);
	run_fibers();
	loop_free(loop);
}
END_TEST

START_TEST(messages_of_one_round_travel_in_one_packet_and_a_lazy_one_goes_along_or_later)
{
	uint8_t packet[1000];
	int fd[2];

	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	ck_assert_int_eq(ipc_new(loop, fd[0], &callbacks, NULL, &server), 0);
	ck_assert_int_eq(ipc_send_lazy(server, 7, SLICE("a")), 0);
	loop_run_once(loop, 0);
	ck_assert_int_eq(recv(fd[1], packet, sizeof(packet), 0), -1);
	ck_assert_int_eq(ipc_send(server, 8, SLICE("bc"), -1), 0);
	ck_assert_int_eq(ipc_send(server, 9, (struct slice){ 0 }, -1), 0);
	loop_run_once(loop, 0);
	ck_assert_int_eq(recv(fd[1], packet, sizeof(packet), 0), 33);
	ck_assert_slice_eq(slice_of(packet, 11), SLICE("\0\0\0\7\3\7\0\0\0\0a"));
	ck_assert_int_eq(ipc_send_lazy(server, 7, SLICE("d")), 0);
	for (int i = 0; i < 100 && recv(fd[1], packet, sizeof(packet), MSG_PEEK) < 0; i++)
		loop_run_once(loop, 5);
	ck_assert_int_eq(recv(fd[1], packet, sizeof(packet), 0), 11);
	/* What was accepted is sent, even when the channel is closed at once. */
	ck_assert_int_eq(ipc_send_lazy(server, 7, SLICE("e")), 0);
	ipc_free(server);
	ck_assert_int_eq(recv(fd[1], packet, sizeof(packet), 0), 11);
	close(fd[1]);
	loop_free(loop);
}
END_TEST

START_TEST(one_packet_of_very_many_requests_is_served_in_turns)
{
	static uint8_t packet[2 * IPC_SERVED_MAX * sizeof(slow)];
	uint8_t answer[65536];
	unsigned most = 0, answers = 0;
	int fd[2];

	for (size_t i = 0; i < sizeof(packet); i += sizeof(slow))
		memcpy(packet + i, slow, sizeof(slow));
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	ck_assert_int_eq(ipc_new(loop, fd[0], &callbacks, NULL, &server), 0);
	ck_assert_int_eq(send(fd[1], packet, sizeof(packet), 0), sizeof(packet));
	for (int i = 0; i < 2000 && answers < 2 * IPC_SERVED_MAX; i++) {
		loop_run_once(loop, 5);
		most = MAX(most, fiber_count(loop));
		for (ssize_t n; (n = recv(fd[1], answer, sizeof(answer), 0)) > 0;)
			answers += (unsigned)(n / 13);
	}
	ck_assert_uint_eq(answers, 2 * IPC_SERVED_MAX);
	ck_assert_uint_eq(most, IPC_SERVED_MAX);
	run_fibers();
	ipc_free(server);
	close(fd[1]);
	loop_free(loop);
}
END_TEST

START_TEST(a_packet_that_makes_no_sense_ends_the_channel)
{
	static const struct slice packets[] = {
		SLICE("\0\0\0"), SLICE("\0\0\0\5\1\1\0\0\0"), SLICE("\0\0\0\7\1\1\0\0\0\1"),
		SLICE("\0\0\0\6\4\1\0\0\0\1"), SLICE("\377\377\377\377\1\1\0\0\0\1"),
	};

	for (size_t i = 0; i < ARRAY_LEN(packets); i++) {
		int fd[2];

		closed_count = 0;
		ck_assert_int_eq(loop_new(&loop), 0);
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
		ck_assert_int_eq(ipc_new(loop, fd[0], &callbacks, NULL, &server), 0);
		ck_assert_int_eq(send(fd[1], packets[i].ptr, packets[i].len, 0), (ssize_t)packets[i].len);
		loop_run_once(loop, 0);
		loop_run_once(loop, 0);
		ck_assert_int_eq(closed_count, 1);
		close(fd[1]);
		loop_free(loop);
	}
}
END_TEST

START_TEST(a_ring_hands_out_space_until_full_and_takes_it_back)
{
	struct ring w, r;
	uint32_t at[4], more;

	ck_assert_int_eq(ring_create(&w, 4 * RING_UNIT_BYTES), 0);
	ck_assert_int_eq(ring_own_allocation(&w), 0);
	for (int i = 0; i < 4; i++)
		ck_assert(ring_alloc(&w, RING_UNIT_BYTES, &at[i]));
	ck_assert(!ring_alloc(&w, 1, &more));
	ring_release(&w, at[1], RING_UNIT_BYTES);
	ring_release(&w, at[2], RING_UNIT_BYTES);
	ck_assert(!ring_alloc(&w, 2 * RING_UNIT_BYTES + 1, &more));
	ck_assert(ring_alloc(&w, 2 * RING_UNIT_BYTES, &more));
	memcpy(w.map + more, "body", 4);
	ck_assert_int_eq(ring_map(&r, fcntl(w.fd, F_DUPFD_CLOEXEC, 0)), 0);
	ck_assert_slice_eq(ring_at(&r, more, 4), SLICE("body"));
	ck_assert_ptr_null(ring_at(&r, r.size, 1).ptr);
	ck_assert_ptr_null(ring_at(&r, UINT32_MAX, 2).ptr);
	ck_assert_ptr_nonnull(ring_at(&r, r.size, 0).ptr);
	ring_done(&r);
	ring_done(&w);
}
END_TEST

START_TEST(a_ring_without_seals_is_refused)
{
	struct ring r;
	int fd = memfd_create("t", MFD_CLOEXEC);

	ck_assert_int_eq(ftruncate(fd, RING_UNIT_BYTES), 0);
	ck_assert_int_eq(ring_map(&r, fd), -EPERM);
	close(fd);
}
END_TEST

TEST_MAIN("sys/ipc", many_calls_at_once_each_get_their_own_reply,
	  large_messages_queue_when_the_socket_is_full_and_too_large_ones_are_refused,
	  a_call_that_times_out_ignores_the_late_reply,
	  calls_fail_and_the_owner_is_told_once_when_the_peer_goes,
	  a_descriptor_travels_with_a_request_and_with_its_reply,
	  more_descriptors_than_one_end_the_channel_and_none_stays_open,
	  a_peer_that_floods_us_waits_and_all_its_requests_are_served,
	  a_peer_that_floods_us_and_goes_is_heard_to_go,
	  messages_of_one_round_travel_in_one_packet_and_a_lazy_one_goes_along_or_later,
	  one_packet_of_very_many_requests_is_served_in_turns,
	  a_packet_that_makes_no_sense_ends_the_channel,
	  a_ring_hands_out_space_until_full_and_takes_it_back, a_ring_without_seals_is_refused)
