#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "spine/message/handoff.h"

int handoff_send(int socket, const struct handoff *h, const int *fds, size_t fd_count)
{
	struct handoff copy = *h;

	copy.magic = HANDOFF_MAGIC;
	return fd_count > HANDOFF_FDS ? -EINVAL : fdpass_send(socket, &copy, sizeof(copy), fds, fd_count);
}

int handoff_receive(int socket, struct handoff *h, int *fds, size_t *fd_count)
{
	ssize_t n;

	*fd_count = 0;
	n = fdpass_receive(socket, h, sizeof(*h), fds, HANDOFF_FDS, fd_count);
	if (n == sizeof(*h) && h->magic == HANDOFF_MAGIC && h->queue < HANDOFF_QUEUES &&
	    memchr(h->device, '\0', sizeof(h->device)) != NULL && memchr(h->extension, '\0', sizeof(h->extension)) != NULL)
		return 0;
	while (*fd_count > 0)
		close(fds[--*fd_count]);
	if (n < 0 && n != -EMSGSIZE)
		return (int)n;
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
