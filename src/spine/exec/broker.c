#include "spine/exec/broker.h"

#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/exec/protocol.h"
#include "base/fdpass.h"

#define REQUEST_FDS 4

struct broker {
	const struct broker_ops *ops;
	void *arg;
	uint32_t ifindex;
	const char *program;
	int link_fd;			/* our end of the link that there is, or -1 */
	ino_t link_inode;		/* of the program's end */
	bool pinned;
};

int broker_new(const struct broker_ops *ops, void *arg, uint32_t ifindex, const char *program,
	       struct broker **out)
{
	struct broker *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return -ENOMEM;
	*b = (struct broker){ .ops = ops, .arg = arg, .ifindex = ifindex, .program = program, .link_fd = -1 };
	*out = b;
	return 0;
}

void broker_free(struct broker *b)
{
	if (b == NULL)
		return;
	if (b->link_fd >= 0)
		close(b->link_fd);
	free(b);
}

void broker_refuse(struct broker *b, const char *what, const struct errmsg *why)
{
	fprintf(stderr, "prickle spine exec: %s: %s: %s\n", b->program, what, why->text);
}

/* ---- what programs do ---- */

/* As the kernel does for a netlink attach: flags, and the program that is expected to be there. */
static int attach(struct broker *b, int prog_fd, int old_fd, uint32_t flags)
{
	uint32_t there = b->ops->prog_id(b->arg);
	struct errmsg why;
	int err;

	if (b->link_fd >= 0)
		return -EBUSY;
	if ((flags & XDP_FLAGS_HW_MODE) != 0)
		return -EOPNOTSUPP;
	if ((flags & XDP_FLAGS_UPDATE_IF_NOEXIST) != 0 && there != 0)
		return -EBUSY;
	if (old_fd >= 0 && b->ops->id_of(b->arg, old_fd) != there)
		return -EEXIST;
	err = b->ops->attach(b->arg, prog_fd, &why);
	if (err != 0)
		broker_refuse(b, "its program is not placed", &why);
	return err;
}

static int detach(struct broker *b, int old_fd)
{
	uint32_t there = b->ops->prog_id(b->arg);
	struct errmsg why;
	int err;

	if (b->link_fd >= 0)
		return -EBUSY;
	if (old_fd >= 0 && b->ops->id_of(b->arg, old_fd) != there)
		return -EEXIST;
	if (there == 0)
		return 0;		/* the kernel does not mind either */
	err = b->ops->remove(b->arg, &why);
	if (err != 0)
		broker_refuse(b, "its program stays", &why);
	return err;
}

int broker_link_create(struct broker *b, int prog_fd, int *fd)
{
	struct errmsg why;
	struct stat st;
	int pair[2], err;

	if (b->link_fd >= 0 || b->ops->prog_id(b->arg) != 0)
		return -EBUSY;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	err = fstat(pair[1], &st) == 0 ? b->ops->attach(b->arg, prog_fd, &why) :
					 errmsg_set(&why, -errno, "make a link");
	if (err != 0) {
		close(pair[0]);
		close(pair[1]);
		broker_refuse(b, "its program is not placed", &why);
		return err;
	}
	b->link_fd = pair[0];
	b->link_inode = st.st_ino;
	b->pinned = false;
	*fd = pair[1];
	return 0;
}

bool broker_is_link(const struct broker *b, int fd)
{
	struct stat st;

	return b->link_fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == b->link_inode;
}

int broker_link_update(struct broker *b, int prog_fd, int old_fd)
{
	struct errmsg why;
	int err;

	if (old_fd >= 0 && b->ops->id_of(b->arg, old_fd) != b->ops->prog_id(b->arg))
		return -EPERM;		/* as bpf_link_update does */
	err = b->ops->attach(b->arg, prog_fd, &why);
	if (err != 0)
		broker_refuse(b, "its new program is not placed", &why);
	return err;
}

int broker_link_detach(struct broker *b)
{
	struct errmsg why;
	int err = b->ops->remove(b->arg, &why);

	if (err != 0)
		broker_refuse(b, "its program stays", &why);
	else
		b->pinned = true;	/* nothing is left to remove when the link is closed */
	return err;
}

void broker_link_pin(struct broker *b)
{
	b->pinned = true;
}

int broker_link_fd(const struct broker *b)
{
	return b->link_fd;
}

void broker_link_gone(struct broker *b)
{
	struct errmsg why;

	if (b->link_fd < 0)
		return;
	close(b->link_fd);
	b->link_fd = -1;
	if (!b->pinned && b->ops->prog_id(b->arg) != 0 && b->ops->remove(b->arg, &why) != 0)
		broker_refuse(b, "its program stays though its link is closed", &why);
}

/* ---- requests of the preloaded library ---- */

static int link_request(struct broker *b, enum exec_op op, const int *fds, size_t count, struct exec_reply *reply)
{
	if (count < 1 || !broker_is_link(b, fds[0]))
		return -EBADF;
	switch (op) {
	case EXEC_LINK_UPDATE:
		return count < 2 ? -EBADF : broker_link_update(b, fds[1], count > 2 ? fds[2] : -1);
	case EXEC_LINK_DETACH:
		return broker_link_detach(b);
	default:
		reply->prog_id = b->ops->prog_id(b->arg);
		broker_link_pin(b);
		return 0;
	}
}

/* fds: those behind the one for the answer. *link: to go with the answer, or -1. */
static void answer(struct broker *b, const struct exec_request *request, const int *fds, size_t count,
		   struct exec_reply *reply, int *link)
{
	bool by_device = request->op <= EXEC_LINK_CREATE;

	if (request->abi != EXEC_ABI || (by_device && request->op < EXEC_ATTACH)) {
		reply->result = -EPROTO;
		return;
	}
	if (by_device && request->ifindex != b->ifindex) {
		reply->not_ours = 1;
		return;
	}
	switch (request->op) {
	case EXEC_ATTACH:
		reply->result = count < 1 ? -EBADF : attach(b, fds[0], count > 1 ? fds[1] : -1, request->flags);
		break;
	case EXEC_DETACH:
		reply->result = detach(b, count > 0 ? fds[0] : -1);
		break;
	case EXEC_QUERY:
		reply->prog_id = b->ops->prog_id(b->arg);
		reply->attach_mode = reply->prog_id == 0 ? XDP_ATTACHED_NONE : b->ops->attach_mode(b->arg);
		break;
	case EXEC_LINK_CREATE:
		reply->result = count < 1 ? -EBADF : broker_link_create(b, fds[0], link);
		break;
	case EXEC_LINK_UPDATE:
	case EXEC_LINK_DETACH:
	case EXEC_LINK_PIN:
		reply->result = link_request(b, request->op, fds, count, reply);
		break;
	default:
		reply->result = -EPROTO;
	}
}

bool broker_serve(struct broker *b, int socket)
{
	struct exec_request request;
	struct exec_reply reply = { 0 };
	int fds[REQUEST_FDS], link = -1;
	size_t count = 0;
	ssize_t n = fdpass_receive(socket, &request, sizeof(request), fds, REQUEST_FDS, &count);

	if (n == 0)
		return false;
	/* A message of another shape, or one without a way to answer, is dropped. */
	if (n == sizeof(request) && count > 0) {
		answer(b, &request, fds + 1, count - 1, &reply, &link);
		(void)!fdpass_send(fds[0], &reply, sizeof(reply), &link, link >= 0 ? 1 : 0);
	}
	if (link >= 0)
		close(link);
	for (size_t i = 0; n > 0 && i < count; i++)
		close(fds[i]);
	return n > 0 || n == -EMSGSIZE;
}
