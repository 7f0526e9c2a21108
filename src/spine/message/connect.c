/* A channel from `prickle spine share`: over its socket, or over the one that it left to us. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/message/bpf.h"
#include "spine/message/channel.h"
#include "spine/message/handoff.h"

static int dial(const char *path, struct spine_error *why)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	AUTO_FD int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return spine_fail(why, -ENAMETOOLONG, "socket '%s'", path);
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return spine_fail(why, -errno, "socket '%s' (does 'prickle spine share' run?)", path);
	return TAKE_FD(fd);
}

static int inherited(struct spine_error *why)
{
	const char *text = getenv(HANDOFF_ENV);
	char *end;
	long fd;

	if (text == NULL || *text == '\0')
		return spine_fail(why, -ENOENT, "no channel was left to this program (" HANDOFF_ENV
				  " is not set); start it with 'prickle spine share ... -- COMMAND'");
	fd = strtol(text, &end, 10);
	if (*end != '\0' || fd < 3 || fd > 65535 || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
		return spine_fail(why, -EBADF, HANDOFF_ENV "=%s", text);
	return (int)fd;
}

static void close_all(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

/* Each bit of the mask is one descriptor, in this order. */
static int sort_out(const struct handoff *h, const int *fds, size_t count, struct spine_channel_fds *out)
{
	int *const field[HANDOFF_FDS] = { &out->call, &out->drain, &out->inbox,
					  &out->region, &out->outbox, &out->doorbell };
	size_t next = 0;

	*out = (struct spine_channel_fds){ -1, -1, -1, -1, -1, -1, -1 };
	if ((size_t)__builtin_popcount(h->fd_mask) != count || h->fd_mask >> HANDOFF_FDS != 0)
		return -EPROTO;
	for (size_t i = 0; i < HANDOFF_FDS; i++)
		if (h->fd_mask & 1u << i)
			*field[i] = fds[next++];
	return 0;
}

int spine_channel_connect(const char *socket_path, struct spine_channel **out, struct spine_error *why)
{
	AUTO_FD int connection = socket_path != NULL ? dial(socket_path, why) : inherited(why);
	struct spine_channel_fds named;
	int fds[HANDOFF_FDS], err;
	struct handoff h;
	size_t count;

	if (connection < 0)
		return connection;
	err = handoff_receive(connection, &h, fds, &count);
	if (err < 0)
		return spine_fail(why, err, "no channel came over the socket");
	if (h.status < 0)
		err = spine_fail(why, h.status, "the runtime does not give us the channel");
	else if (h.kind != HANDOFF_HELLO || sort_out(&h, fds, count, &named) < 0)
		err = spine_fail(why, -EPROTO, "what came over the socket is not a channel");
	else
		err = spine_channel_from_fds(&named, out, why);
	if (err < 0) {
		close_all(fds, count);
		return err;
	}
	(*out)->connection = TAKE_FD(connection);
	return 0;
}
