#include "spine/attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LINKS_MAX 100000u

static uint32_t flags_of(enum attach_mode mode)
{
	return mode == ATTACH_GENERIC ? XDP_FLAGS_SKB_MODE : mode == ATTACH_NATIVE ? XDP_FLAGS_DRV_MODE : 0;
}

int attach_prog_by_id(uint32_t id, struct errmsg *why)
{
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd >= 0)
		return fd;
	return errno == ENOENT ? errmsg_say(why, -ENOENT, "no BPF program has the id %u; `bpftool prog` lists them", id) :
				 errmsg_set(why, -errno, "get BPF program %u", id);
}

int attach_link_by_id(uint32_t id, struct errmsg *why)
{
	int fd = bpf_link_get_fd_by_id(id);

	return fd >= 0 ? fd : errmsg_set(why, -errno, "get BPF link %u", id);
}

int attach_link_info(int link_fd, uint32_t *prog_id, uint32_t *ifindex)
{
	struct bpf_link_info info = { 0 };
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(link_fd, &info, &size) != 0)
		return -errno;
	if (info.type != BPF_LINK_TYPE_XDP)
		return -EINVAL;
	*prog_id = info.prog_id;
	*ifindex = info.xdp.ifindex;
	return 0;
}

/* The link by which prog_id is on ifindex; 0: none, so it is netlink. */
static int find_link(uint32_t ifindex, uint32_t prog_id, uint32_t *link_id, struct errmsg *why)
{
	uint32_t id = 0, found = 0;

	for (uint32_t n = 0; n < LINKS_MAX && bpf_link_get_next_id(id, &id) == 0; n++) {
		uint32_t prog, index;
		AUTO_FD int fd = bpf_link_get_fd_by_id(id);

		if (fd < 0) {
			if (errno == ENOENT)
				continue;	/* gone meanwhile */
			return errmsg_set(why, -errno, "look at the BPF links of this host");
		}
		if (attach_link_info(fd, &prog, &index) != 0 || prog != prog_id || index != ifindex)
			continue;
		/* Links tell a number, not a namespace: a second one may be that of another device. */
		if (found != 0)
			return errmsg_say(why, -EBUSY, "BPF links %u and %u both attach program %u to an interface "
					  "number %u, in different network namespaces: which one is this one's cannot "
					  "be told; end one of them first", found, id, prog_id, ifindex);
		found = id;
	}
	*link_id = found;
	return 0;
}

/*
 * Whether netlink attached it: links tell the number of an interface and not its namespace, so one that has this program
 * and this number may be that of another device. A program that takes its own place changes nothing, and the kernel
 * refuses it (EBUSY) when a link is there.
 */
static bool by_netlink(uint32_t ifindex, const struct attachment *a)
{
	struct errmsg why;
	AUTO_FD int prog = bpf_prog_get_fd_by_id(a->prog_id);

	return prog >= 0 && attach_netlink(ifindex, prog, prog, a->mode, &why) == 0;
}

int attach_query(uint32_t ifindex, bool find, struct attachment *out, struct errmsg *why)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, now);
	struct attachment a = { .kind = ATTACH_NONE };
	int err = bpf_xdp_query((int)ifindex, 0, &now);

	if (err != 0)
		return errmsg_set(why, err, "ask which XDP program interface %u runs", ifindex);
	switch (now.attach_mode) {
	case XDP_ATTACHED_NONE:
		break;
	case XDP_ATTACHED_DRV:
		a = (struct attachment){ ATTACH_NETLINK, ATTACH_NATIVE, now.drv_prog_id, 0 };
		break;
	case XDP_ATTACHED_SKB:
		a = (struct attachment){ ATTACH_NETLINK, ATTACH_GENERIC, now.skb_prog_id, 0 };
		break;
	default:
		return errmsg_say(why, -EOPNOTSUPP, "the interface has %s: SPINE cannot take that over; detach it first",
				  now.attach_mode == XDP_ATTACHED_HW ? "an XDP program in its hardware" :
								       "several XDP programs, in different modes");
	}
	if (find && a.kind != ATTACH_NONE && !by_netlink(ifindex, &a)) {
		err = find_link(ifindex, a.prog_id, &a.link_id, why);
		if (err != 0)
			return err;
		if (a.link_id != 0)
			a.kind = ATTACH_LINK;
	}
	*out = a;
	return 0;
}

int attach_link(uint32_t ifindex, int prog_fd, enum attach_mode mode, enum attach_mode *used, struct errmsg *why)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags_of(mode == ATTACH_AUTO ? ATTACH_NATIVE : mode));
	int fd = bpf_link_create(prog_fd, (int)ifindex, BPF_XDP, &opts), err = errno;

	*used = mode == ATTACH_GENERIC ? ATTACH_GENERIC : ATTACH_NATIVE;
	/* EINVAL: some drivers say so when a feature stands against XDP. */
	if (fd < 0 && mode == ATTACH_AUTO && (err == EOPNOTSUPP || err == EINVAL)) {
		opts.flags = flags_of(ATTACH_GENERIC);
		fd = bpf_link_create(prog_fd, (int)ifindex, BPF_XDP, &opts);
		*used = ATTACH_GENERIC;
	}
	if (fd >= 0)
		return fd;
	return err == EOPNOTSUPP ? errmsg_say(why, -EOPNOTSUPP, "the driver of this interface has no native XDP; "
					      "--mode generic works everywhere, but slower") :
				   errmsg_set(why, -err, "attach to the interface");
}

int attach_link_update(int link_fd, int prog_fd, int old_fd, struct errmsg *why)
{
	LIBBPF_OPTS(bpf_link_update_opts, opts);

	if (old_fd >= 0) {
		opts.flags = BPF_F_REPLACE;
		opts.old_prog_fd = (uint32_t)old_fd;
	}
	return bpf_link_update(link_fd, prog_fd, &opts) == 0 ? 0 :
	       errmsg_set(why, -errno, "replace the program in the interface's BPF link");
}

int attach_netlink(uint32_t ifindex, int prog_fd, int old_fd, enum attach_mode mode, struct errmsg *why)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	uint32_t flags = flags_of(mode);
	int err;

	if (old_fd >= 0) {
		flags |= XDP_FLAGS_REPLACE;
		opts.old_prog_fd = old_fd;
	} else {
		flags |= XDP_FLAGS_UPDATE_IF_NOEXIST;
	}
	err = bpf_xdp_attach((int)ifindex, prog_fd, flags, &opts);
	return err == 0 ? 0 : errmsg_set(why, err, "replace the interface's XDP program");
}

void attach_settle(void)
{
	struct timespec wait = { .tv_nsec = 50 * 1000 * 1000 };

	/* Waits for an RCU grace period, which is what packets under way hold up. */
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0)
		(void)nanosleep(&wait, NULL);	/* nohz_full kernels refuse it */
}
