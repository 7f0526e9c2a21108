/*
 * Any packets on a channel: what a subverted process may send. The input is a list: length (be16, of which the two
 * highest bits are the number of descriptors to send with it), bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "base/reader.h"
#include "sys/fiber.h"
#include "sys/ipc.h"
#include "sys/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct ipc *ipc;
	bool called;
};

static void serve(void *arg, struct ipc_request *req)
{
	if (req->type % 3 == 0)
		fiber_yield();
	must(ipc_reply(req, slice_head(req->payload, 9)) <= 0);
}

static void closed(void *arg, struct ipc *ipc)
{
	struct run *run = arg;

	run->ipc = NULL;
	ipc_free(ipc);
}

/* A call under way, so that replies with its number find somebody. */
static void call(void *arg)
{
	struct run *run = arg;
	AUTO_BUF struct buf reply = BUF_INIT(100);
	int fd = -1;

	(void)ipc_call_fd(run->ipc, 1, SLICE("x"), -1, 1000, &reply, &fd);
	if (fd >= 0)
		close(fd);
	run->called = true;
}

static void send_packet(int to, struct slice bytes, size_t fds)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(3 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room,
			      .msg_controllen = fds == 0 ? 0 : CMSG_SPACE(fds * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fd = -1;

	if (fds > 0) {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fds * sizeof(int));
		for (size_t i = 0; i < fds; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
	}
	(void)!sendmsg(to, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (fd >= 0)
		close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ipc_callbacks callbacks = { .serve = serve, .closed = closed };
	struct reader rd = reader_of(slice_of(data, size));
	struct run run = { 0 };
	struct loop *loop;
	char drain[4096];
	int fd[2];

	must(loop_new(&loop) == 0);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == 0);
	must(ipc_new(loop, fd[0], &callbacks, &run, &run.ipc) == 0);
	must(fiber_start(loop, call, &run) == 0);
	while (rd_left(&rd) > 0 && run.ipc != NULL) {
		size_t head = rd_be16(&rd), len = head & 0x3fff;
		struct slice bytes = rd_bytes(&rd, MIN(len, rd_left(&rd)));

		send_packet(fd[1], bytes, head >> 14);
		loop_run_once(loop, 0);
		while (recv(fd[1], drain, sizeof(drain), MSG_DONTWAIT) > 0)
			;
	}
	close(fd[1]);
	while (fiber_count(loop) > 0)
		loop_run_once(loop, 10);
	must(run.called);
	ipc_free(run.ipc);
	loop_free(loop);
	return 0;
}
