#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "spine/message/handoff.h"

union fd_space {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(HANDOFF_FDS * sizeof(int))];
};

int handoff_send(int socket, const struct handoff *h, const int *fds, size_t fd_count)
{
	struct handoff copy = *h;
	struct iovec io = { &copy, sizeof(copy) };
	union fd_space space;
	struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1 };
	ssize_t n;

	if (fd_count > HANDOFF_FDS)
		return -EINVAL;
	copy.magic = HANDOFF_MAGIC;
	if (fd_count > 0) {
		memset(&space, 0, sizeof(space));
		message.msg_control = space.bytes;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(head), fds, fd_count * sizeof(int));
	}
	do
		n = sendmsg(socket, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Descriptors of a control message; those beyond the room are closed. */
static void collect(const struct msghdr *message, int *fds, size_t *fd_count)
{
	/* CMSG_NXTHDR wants to write to what it reads. */
	struct msghdr m = *message;

	for (struct cmsghdr *head = CMSG_FIRSTHDR(&m); head != NULL; head = CMSG_NXTHDR(&m, head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(fd));
			if (*fd_count < HANDOFF_FDS)
				fds[(*fd_count)++] = fd;
			else
				close(fd);
		}
	}
}

int handoff_receive(int socket, struct handoff *h, int *fds, size_t *fd_count)
{
	struct iovec io = { h, sizeof(*h) };
	union fd_space space;
	struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = space.bytes,
				  .msg_controllen = sizeof(space.bytes) };
	ssize_t n;

	*fd_count = 0;
	do
		n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	collect(&message, fds, fd_count);
	if (n == sizeof(*h) && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && h->magic == HANDOFF_MAGIC &&
	    h->queue < HANDOFF_QUEUES && memchr(h->device, '\0', sizeof(h->device)) != NULL &&
	    memchr(h->extension, '\0', sizeof(h->extension)) != NULL)
		return 0;
	while (*fd_count > 0)
		close(fds[--*fd_count]);
	return n == 0 ? -ECONNRESET : -EPROTO;
}

int handoff_hello(int socket, struct handoff *h, const struct spine_channel_fds *fds)
{
	const int all[HANDOFF_FDS] = { fds->call, fds->drain, fds->inbox,
				       fds->region, fds->outbox, fds->doorbell };
	int given[HANDOFF_FDS];
	size_t count = 0;

	h->kind = HANDOFF_HELLO;
	h->fd_mask = 0;
	for (size_t i = 0; i < HANDOFF_FDS; i++) {
		if (all[i] < 0)
			continue;
		h->fd_mask = (uint16_t)(h->fd_mask | 1u << i);
		given[count++] = all[i];
	}
	return handoff_send(socket, h, given, count);
}
