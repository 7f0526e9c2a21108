#include "spine/exec/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/cleanup.h"

#define NETLINK_LOOK_BYTES 8192u	/* of a message; an attach is shorter */

/* Those that we want to hear of: a command of bpf(2), or a way to send. */
static int add_rules(scmp_filter_ctx filter)
{
	static const int commands[] = { BPF_LINK_CREATE, BPF_LINK_UPDATE, BPF_LINK_DETACH, BPF_OBJ_PIN };
	int err = 0;

	for (size_t i = 0; i < ARRAY_LEN(commands) && err == 0; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(bpf), 1,
				       SCMP_A0(SCMP_CMP_EQ, (uint64_t)commands[i]));
	/* Without a buffer it is AF_XDP's doorbell, which must stay fast. */
	if (err == 0)
		err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(sendto), 1, SCMP_A1(SCMP_CMP_NE, 0));
	if (err == 0)
		err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(sendmsg), 0);
	return err;
}

int notify_install(struct errmsg *why)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int err, fd;

	if (filter == NULL)
		return errmsg_set(why, -ENOMEM, "make a system call filter");
	/* Root may filter without giving up setuid programs. */
	err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, geteuid() == 0 ? 0 : 1);
	if (err == 0)
		err = add_rules(filter);
	if (err == 0)
		err = seccomp_load(filter);
	fd = err == 0 ? seccomp_notify_fd(filter) : err;
	seccomp_release(filter);
	return fd < 0 ? errmsg_set(why, fd, "watch the program's system calls") : fd;
}

/* ---- the other process's memory and descriptors ---- */

static bool peek(pid_t pid, uint64_t from, void *to, size_t bytes)
{
	struct iovec local = { to, bytes }, remote = { (void *)(uintptr_t)from, bytes };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)bytes;
}

/* The notification is of a thread; descriptors are of its process, which the thread's pidfd cannot name before 6.9. */
static pid_t process_of(pid_t thread)
{
	char path[64], text[4096];
	const char *at;
	ssize_t n;

	(void)!snprintf(path, sizeof(path), "/proc/%d/status", thread);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return thread;
	text[n] = '\0';
	at = strstr(text, "\nTgid:\t");
	return at == NULL ? thread : (pid_t)strtol(at + 7, NULL, 10);
}

static int take_fd(pid_t thread, int fd)
{
	AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, process_of(thread), 0);

	return pidfd < 0 ? -errno : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

/* ---- netlink ---- */

/* The attribute IFLA_XDP is in a message that changes a link of this index. */
static bool attaches_xdp(const uint8_t *bytes, size_t count, uint32_t ifindex)
{
	const struct nlmsghdr *h = (const void *)bytes;
	const struct ifinfomsg *link;
	size_t at, end;

	if (count < NLMSG_HDRLEN + sizeof(*link) ||
	    (h->nlmsg_type != RTM_SETLINK && h->nlmsg_type != RTM_NEWLINK))
		return false;
	link = (const void *)(bytes + NLMSG_HDRLEN);
	if ((uint32_t)link->ifi_index != ifindex)
		return false;
	end = h->nlmsg_len < count ? h->nlmsg_len : count;
	for (at = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(*link)); at + sizeof(struct rtattr) <= end;) {
		struct rtattr attr;

		memcpy(&attr, bytes + at, sizeof(attr));
		if ((attr.rta_type & NLA_TYPE_MASK) == IFLA_XDP)
			return true;
		if (attr.rta_len < sizeof(attr))
			return false;
		at += RTA_ALIGN(attr.rta_len);
	}
	return false;
}

static bool sends_xdp_attach(const struct seccomp_notif *n, uint32_t ifindex)
{
	uint8_t bytes[NETLINK_LOOK_BYTES] __attribute__((aligned(8)));
	uint64_t from = n->data.args[1], count = n->data.args[2];
	pid_t pid = (pid_t)n->pid;

	if (n->data.nr == SCMP_SYS(sendmsg)) {
		struct msghdr m;
		struct iovec iov;

		if (!peek(pid, n->data.args[1], &m, sizeof(m)) || m.msg_iovlen < 1 ||
		    !peek(pid, (uint64_t)(uintptr_t)m.msg_iov, &iov, sizeof(iov)))
			return false;
		from = (uint64_t)(uintptr_t)iov.iov_base;
		count = iov.iov_len;
	}
	if (count > sizeof(bytes))
		count = sizeof(bytes);
	return peek(pid, from, bytes, count) && attaches_xdp(bytes, count, ifindex);
}

/* ---- bpf(2) ---- */

struct answer {
	bool carry_on;			/* as if we were not there */
	int error;			/* negative errno; 0: success */
	int fd;				/* to be the result, or -1 */
};

static struct answer link_create(struct broker *b, const struct seccomp_notif *n, const union bpf_attr *attr,
				 uint32_t ifindex)
{
	struct answer a = { .fd = -1 };

	if (attr->link_create.attach_type != BPF_XDP || attr->link_create.target_ifindex != ifindex)
		return (struct answer){ .carry_on = true, .fd = -1 };
	AUTO_FD int prog = take_fd((pid_t)n->pid, (int)attr->link_create.prog_fd);
	a.error = prog < 0 ? -EBADF : broker_link_create(b, prog, &a.fd);
	return a;
}

static struct answer link_call(struct broker *b, const struct seccomp_notif *n, const union bpf_attr *attr)
{
	bool pin = n->data.args[0] == BPF_OBJ_PIN;
	struct answer a = { .fd = -1 };

	/* link_update and link_detach begin with the link's descriptor; obj_pin has it in bpf_fd. */
	AUTO_FD int link = take_fd((pid_t)n->pid, (int)(pin ? attr->bpf_fd : attr->link_update.link_fd));
	if (link < 0 || !broker_is_link(b, link))
		return (struct answer){ .carry_on = true, .fd = -1 };
	if (pin) {
		struct errmsg why;

		errmsg_say(&why, -EOPNOTSUPP, "a link under 'prickle spine exec' cannot be pinned by a static program; "
			   "use 'prickle spine adopt' to keep it");
		broker_refuse(b, "its link is not pinned", &why);
		a.error = -EOPNOTSUPP;
	} else if (n->data.args[0] == BPF_LINK_DETACH) {
		a.error = broker_link_detach(b);
	} else {
		AUTO_FD int prog = take_fd((pid_t)n->pid, (int)attr->link_update.new_prog_fd);
		AUTO_FD int old = (attr->link_update.flags & BPF_F_REPLACE) != 0 ?
					  take_fd((pid_t)n->pid, (int)attr->link_update.old_prog_fd) : -1;

		a.error = prog < 0 ? -EBADF : broker_link_update(b, prog, old);
	}
	return a;
}

static struct answer decide(struct broker *b, const struct seccomp_notif *n, uint32_t ifindex)
{
	union bpf_attr attr;
	size_t bytes = n->data.args[2];
	struct errmsg why;

	if (n->data.nr != SCMP_SYS(bpf)) {
		if (!sends_xdp_attach(n, ifindex))
			return (struct answer){ .carry_on = true, .fd = -1 };
		errmsg_say(&why, -EPERM, "it speaks netlink by itself, which cannot be turned into an extension; "
			   "let it load its program only, then 'prickle spine adopt --id ID'");
		broker_refuse(b, "its attach is refused", &why);
		return (struct answer){ .error = -EPERM, .fd = -1 };
	}
	memset(&attr, 0, sizeof(attr));
	if (bytes > sizeof(attr))
		bytes = sizeof(attr);
	if (!peek((pid_t)n->pid, n->data.args[1], &attr, bytes))
		return (struct answer){ .carry_on = true, .fd = -1 };
	return n->data.args[0] == BPF_LINK_CREATE ? link_create(b, n, &attr, ifindex) : link_call(b, n, &attr);
}

bool notify_serve(struct broker *b, int listener, uint32_t ifindex)
{
	struct seccomp_notif n = { 0 };
	struct seccomp_notif_resp r = { 0 };
	struct answer a;

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) != 0)
		return errno == EINTR || errno == ENOENT;	/* ENOENT: the caller died meanwhile */
	a = decide(b, &n, ifindex);
	if (a.fd >= 0) {
		struct seccomp_notif_addfd add = { .id = n.id, .flags = SECCOMP_ADDFD_FLAG_SEND,
						   .srcfd = (uint32_t)a.fd, .newfd_flags = O_CLOEXEC };
		int sent = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);

		close(a.fd);
		if (sent >= 0)
			return true;
		a.error = -EIO;
	}
	r.id = n.id;
	r.error = a.error;
	r.flags = a.carry_on ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
	(void)!ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
	return true;
}
