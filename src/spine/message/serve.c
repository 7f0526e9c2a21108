#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/message/bpf.h"
#include "spine/message/serve.h"

#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif

void serve_init(struct serve *s, const struct spine_channel_fds *fds, const struct handoff *hello)
{
	*s = (struct serve){ .fds = *fds, .hello = *hello, .connection = -1 };
	for (uint32_t i = 0; i < HANDOFF_QUEUES; i++)
		s->socket[i] = -1;
}

int serve_begin(struct serve *s, int connection)
{
	int err;

	s->connection = connection;
	err = handoff_hello(connection, &s->hello, &s->fds);
	if (err < 0)
		serve_end(s);
	return err;
}

static void forget(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Who has it may bind it to this interface alone: without that, to any one, to send what he likes (Linux 6.6 heeds it). */
static int xdp_socket(uint32_t ifindex)
{
	AUTO_FD int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	int index = (int)ifindex;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &index, sizeof(index)) != 0)
		return -errno;
	return TAKE_FD(fd);
}

/* A socket for a queue, a new one for each question. */
static int give_socket(struct serve *s, struct handoff *h)
{
	int fd;

	if (s->fds.sockets < 0) {
		h->status = -ENOTSUP;
		return handoff_send(s->connection, h, NULL, 0);
	}
	forget(&s->socket[h->queue]);
	fd = xdp_socket(s->hello.ifindex);
	if (fd < 0) {
		h->status = fd;
		return handoff_send(s->connection, h, NULL, 0);
	}
	s->socket[h->queue] = fd;
	return handoff_send(s->connection, h, &fd, 1);
}

static int enter_socket(struct serve *s, struct handoff *h)
{
	int fd = s->socket[h->queue];

	h->status = fd < 0 ? -ENOENT : bpf_map_store(s->fds.sockets, &h->queue, &fd);
	/* The map and the program hold it now; it leaves the map when the program ends. */
	forget(&s->socket[h->queue]);
	return handoff_send(s->connection, h, NULL, 0);
}

int serve_answer(struct serve *s)
{
	struct handoff question, answer = s->hello;
	int fds[HANDOFF_FDS], err;
	size_t count;

	err = handoff_receive(s->connection, &question, fds, &count);
	if (err < 0)
		return err;
	while (count > 0)		/* we asked for none */
		close(fds[--count]);
	answer.kind = question.kind;
	answer.queue = question.queue;
	answer.fd_mask = 0;
	answer.status = 0;
	switch (question.kind) {
	case HANDOFF_SOCKET:
		return give_socket(s, &answer);
	case HANDOFF_READY:
		return enter_socket(s, &answer);
	default:
		return -EPROTO;
	}
}

void serve_end(struct serve *s)
{
	forget(&s->connection);
	for (uint32_t i = 0; i < HANDOFF_QUEUES; i++)
		forget(&s->socket[i]);
}
