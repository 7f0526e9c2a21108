/*
 * libprickle-spine-exec.so: loaded into an unmodified program by `prickle spine exec`, it answers
 * libbpf's calls that attach XDP programs, so that they become extensions of the device beside others.
 * libxdp comes through here, too: it is told to leave its own dispatcher out.
 *
 * Calls for other devices and for other kinds of programs go on to libbpf. Needs libc alone.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dlfcn.h>
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

#define EXPORT __attribute__((visibility("default")))

/* The next definition of a libbpf function; without libbpf there is nobody to call us. */
#define NEXT(name) ((__typeof__(&name))next_symbol(#name))

static void *next_symbol(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (f == NULL) {
		fprintf(stderr, "prickle spine exec: this program has no %s behind ours\n", name);
		abort();
	}
	return f;
}

/* libbpf 1.0 and later: -1 and errno for calls that return a number. */
static int result(int err)
{
	if (err >= 0)
		return err;
	errno = -err;
	return err;
}

static int broker(void)
{
	const char *text = getenv(EXEC_SOCKET_VARIABLE);
	char *end;
	long fd;

	if (text == NULL)
		return -1;
	fd = strtol(text, &end, 10);
	return *end == '\0' && fd >= 0 && fd < 1 << 20 ? (int)fd : -1;
}

/* Ask and wait. *fd gets a descriptor of the answer, or -1. 0 and *reply, or a negative errno. */
static int ask(const struct exec_request *request, const int *with, size_t with_count, struct exec_reply *reply,
	       int *fd)
{
	int pair[2], fds[4], err, got[1];
	size_t got_count;
	ssize_t n;

	if (broker() < 0)
		return -ENOTCONN;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	AUTO_FD int mine = pair[0];
	fds[0] = pair[1];
	for (size_t i = 0; i < with_count; i++)
		fds[i + 1] = with[i];
	err = fdpass_send(broker(), request, sizeof(*request), fds, with_count + 1);
	close(pair[1]);
	if (err != 0) {
		fprintf(stderr, "prickle spine exec: the broker is gone; was its descriptor closed?\n");
		return err;
	}
	n = fdpass_receive(mine, reply, sizeof(*reply), got, 1, &got_count);
	if (n != sizeof(*reply)) {
		if (n >= 0 && got_count > 0)
			close(got[0]);
		return -EPIPE;
	}
	if (fd != NULL)
		*fd = got_count > 0 ? got[0] : -1;
	else if (got_count > 0)
		close(got[0]);
	return 0;
}

/* A descriptor that the broker gave as a link: one end of a socket pair. */
static bool is_link(int fd)
{
	struct stat st;
	int type;
	socklen_t size = sizeof(type);

	return broker() >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

/* ---- attachments by interface ---- */

EXPORT int bpf_xdp_attach(int ifindex, int prog_fd, __u32 flags, const struct bpf_xdp_attach_opts *opts)
{
	int old = opts != NULL && opts->sz >= sizeof(size_t) + sizeof(int) ? opts->old_prog_fd : 0;
	struct exec_request request = { EXEC_ABI, prog_fd < 0 ? EXEC_DETACH : EXEC_ATTACH, (uint32_t)ifindex, flags };
	struct exec_reply reply;
	int with[2];
	size_t count = 0;
	int err;

	if (broker() < 0)
		return NEXT(bpf_xdp_attach)(ifindex, prog_fd, flags, opts);
	if (prog_fd >= 0)
		with[count++] = prog_fd;
	if (old > 0)
		with[count++] = old;
	err = ask(&request, with, count, &reply, NULL);
	if (err == 0 && reply.not_ours)
		return NEXT(bpf_xdp_attach)(ifindex, prog_fd, flags, opts);
	return result(err != 0 ? err : reply.result);
}

EXPORT int bpf_xdp_detach(int ifindex, __u32 flags, const struct bpf_xdp_attach_opts *opts)
{
	return bpf_xdp_attach(ifindex, -1, flags, opts);
}

/* 1: another device. */
static int query(int ifindex, struct exec_reply *reply)
{
	struct exec_request request = { EXEC_ABI, EXEC_QUERY, (uint32_t)ifindex, 0 };
	int err = ask(&request, NULL, 0, reply, NULL);

	if (err == 0 && reply->not_ours)
		return 1;
	return err != 0 ? err : reply->result;
}

EXPORT int bpf_xdp_query(int ifindex, int flags, struct bpf_xdp_query_opts *opts)
{
	struct exec_reply reply;
	int err;

	if (broker() < 0)
		return NEXT(bpf_xdp_query)(ifindex, flags, opts);
	err = query(ifindex, &reply);
	if (err == 1)
		return NEXT(bpf_xdp_query)(ifindex, flags, opts);
	if (err != 0)
		return result(err);
	/* A newer libbpf may have grown the struct: write what both sides know. */
	if (opts == NULL || opts->sz < offsetof(struct bpf_xdp_query_opts, attach_mode) + 1)
		return result(-EINVAL);
	opts->prog_id = reply.prog_id;
	opts->drv_prog_id = reply.attach_mode == XDP_ATTACHED_DRV ? reply.prog_id : 0;
	opts->skb_prog_id = reply.attach_mode == XDP_ATTACHED_SKB ? reply.prog_id : 0;
	opts->hw_prog_id = 0;
	opts->attach_mode = (__u8)reply.attach_mode;
	return 0;
}

EXPORT int bpf_xdp_query_id(int ifindex, int flags, __u32 *prog_id)
{
	struct exec_reply reply;
	int err;

	if (broker() < 0)
		return NEXT(bpf_xdp_query_id)(ifindex, flags, prog_id);
	err = query(ifindex, &reply);
	if (err == 1)
		return NEXT(bpf_xdp_query_id)(ifindex, flags, prog_id);
	if (err == 0)
		*prog_id = reply.prog_id;
	return result(err);
}

/* ---- links ---- */

EXPORT int bpf_link_create(int prog_fd, int target_fd, enum bpf_attach_type attach_type,
			   const struct bpf_link_create_opts *opts)
{
	struct exec_request request = { EXEC_ABI, EXEC_LINK_CREATE, (uint32_t)target_fd,
					opts != NULL && opts->sz > offsetof(struct bpf_link_create_opts, flags) ? opts->flags : 0 };
	struct exec_reply reply;
	int fd, err;

	if (attach_type != BPF_XDP || broker() < 0)
		return NEXT(bpf_link_create)(prog_fd, target_fd, attach_type, opts);
	err = ask(&request, &prog_fd, 1, &reply, &fd);
	if (err == 0 && reply.not_ours)
		return NEXT(bpf_link_create)(prog_fd, target_fd, attach_type, opts);
	if (err != 0 || reply.result != 0)
		return result(err != 0 ? err : reply.result);
	return fd;
}

/* bpf_program__attach_xdp needs nothing of its own: it comes to bpf_link_create. */

static int link_call(enum exec_op op, const int *with, size_t count, struct exec_reply *reply)
{
	struct exec_request request = { EXEC_ABI, op, 0, 0 };
	int err = ask(&request, with, count, reply, NULL);

	return result(err != 0 ? err : reply->result);
}

EXPORT int bpf_link_update(int link_fd, int new_prog_fd, const struct bpf_link_update_opts *opts)
{
	int with[3] = { link_fd, new_prog_fd };
	struct exec_reply reply;
	size_t count = 2;

	if (!is_link(link_fd))
		return NEXT(bpf_link_update)(link_fd, new_prog_fd, opts);
	if (opts != NULL && (opts->flags & BPF_F_REPLACE) != 0)
		with[count++] = (int)opts->old_prog_fd;
	return link_call(EXEC_LINK_UPDATE, with, count, &reply);
}

EXPORT int bpf_link_detach(int link_fd)
{
	struct exec_reply reply;

	if (!is_link(link_fd))
		return NEXT(bpf_link_detach)(link_fd);
	return link_call(EXEC_LINK_DETACH, &link_fd, 1, &reply);
}

/* A pinned link outlives its owner. What stands at the path is the program: it can be looked at, not detached by. */
EXPORT int bpf_obj_pin(int fd, const char *path)
{
	struct exec_reply reply;
	int err;

	if (!is_link(fd))
		return NEXT(bpf_obj_pin)(fd, path);
	err = link_call(EXEC_LINK_PIN, &fd, 1, &reply);
	if (err != 0)
		return err;
	AUTO_FD int prog = NEXT(bpf_prog_get_fd_by_id)(reply.prog_id);	/* by name we could not be loaded without libbpf */
	return prog < 0 ? prog : NEXT(bpf_obj_pin)(prog, path);
}
