/*
 * A floor onto this process: limits of capabilities, Landlock, system calls. What a program of others is refused answers as it would for an ordinary
 * user, so that it can say what it missed; our own roles end instead (sys/sandbox.h).
 */
#include <errno.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "policy/floor.h"
#include "sys/landlock.h"

/* Doors out of a process that no permission opens. */
static const char *const refused[] = {
	"ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "mount", "umount2", "pivot_root", "chroot", "setns", "unshare",
	"open_tree", "move_mount", "fsopen", "fsmount", "fsconfig", "fspick", "mount_setattr", "perf_event_open", "userfaultfd", "keyctl",
	"add_key", "request_key", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff",
	"open_by_handle_at", "name_to_handle_at", "iopl", "ioperm", "acct", "quotactl", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime",
	"lookup_dcookie", "nfsservctl", "uselib", "syslog", "vhangup",
};

static int refuse(scmp_filter_ctx ctx, uint32_t action, const char *name)
{
	int nr = seccomp_syscall_resolve_name(name);

	/* What this architecture lacks cannot be called. */
	return nr == __NR_SCMP_ERROR || nr < 0 ? 0 : seccomp_rule_add(ctx, action, nr, 0);
}

/* clone makes a thread when it has this flag, else a process. */
static int refuse_clones(scmp_filter_ctx ctx, uint32_t kernel)
{
	uint32_t no = SCMP_ACT_ERRNO(EPERM);
	int err = 0;

	if ((kernel & POLICY_KERNEL_THREAD) == 0)
		err = seccomp_rule_add(ctx, no, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (err == 0 && (kernel & POLICY_KERNEL_FORK) == 0) {
		err = seccomp_rule_add(ctx, no, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
		if (err == 0)
			err = refuse(ctx, no, "fork");
		if (err == 0)
			err = refuse(ctx, no, "vfork");
	}
	/* No new user namespaces, in which a process has all capabilities. */
	if (err == 0)
		err = seccomp_rule_add(ctx, no, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER));
	/* A filter cannot see the flags of clone3; libraries then take clone. */
	return err != 0 ? err : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

static int refuse_sockets(scmp_filter_ctx ctx, const struct floor *f)
{
	uint32_t no = SCMP_ACT_ERRNO(EPERM);
	bool tcp = f->any_connect || f->any_listen || f->port_count > 0;
	static const int inet[] = { AF_INET, AF_INET6 };
	int err = 0;

	if ((f->kernel & POLICY_KERNEL_SOCKET) == 0)
		return seccomp_rule_add(ctx, no, SCMP_SYS(socket), 0);
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(inet); i++) {
		if (!f->datagrams)
			err = seccomp_rule_add(ctx, no, SCMP_SYS(socket), 2, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)inet[i]),
					       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_DGRAM));
		if (err == 0 && !tcp)
			err = seccomp_rule_add(ctx, no, SCMP_SYS(socket), 2, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)inet[i]),
					       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_STREAM));
		/* Landlock sees TCP alone: other transports would go past it. */
		for (unsigned type = SOCK_RDM; err == 0 && type <= SOCK_DCCP; type++)
			err = seccomp_rule_add(ctx, no, SCMP_SYS(socket), 2, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)inet[i]),
					       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, type));
		if (err == 0 && (f->kernel & POLICY_KERNEL_NET_RAW) == 0)
			err = seccomp_rule_add(ctx, no, SCMP_SYS(socket), 2, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)inet[i]),
					       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_RAW));
		/* SCTP, MPTCP: streams that are not TCP. */
		if (err == 0)
			err = seccomp_rule_add(ctx, no, SCMP_SYS(socket), 3, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)inet[i]),
					       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_STREAM), SCMP_A2(SCMP_CMP_GT, IPPROTO_TCP));
	}
	/* By sockets with names a process asks others, often root's, to act for it: neither Landlock nor this filter sees with whom it speaks. */
	if (err == 0)
		err = seccomp_rule_add(ctx, no, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
	/* Families beyond internet and netlink (which libraries ask for addresses). */
	if (err == 0)
		err = seccomp_rule_add(ctx, no, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_GT, AF_NETLINK));
	for (unsigned family = AF_INET + 1; err == 0 && family < AF_NETLINK; family++)
		if (family != AF_INET6)
			err = seccomp_rule_add(ctx, no, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, family));
	return err;
}

/* Only the low half of an argument counts where the kernel takes an int. */
#define INT_IS(arg, value) SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, 0xffffffffu, value)
#define HAS_FLAG(arg, flag) SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, flag, flag)

/* What goes past Landlock on sockets that a process has, or on its terminal. */
static int refuse_by_ways(scmp_filter_ctx ctx, const struct floor *f)
{
	uint32_t no = SCMP_ACT_ERRNO(EPERM);
	bool listens = f->any_listen;
	int err = 0;

	for (size_t i = 0; i < f->port_count; i++)
		listens |= f->ports[i].listen;
	/* Who listens without bind gets a port that nobody was asked for. */
	if (!listens)
		err = refuse(ctx, no, "listen");
	/* A first segment with data connects without 'connect'. */
	if (err == 0 && !f->any_connect) {
		err = seccomp_rule_add(ctx, no, SCMP_SYS(sendto), 1, HAS_FLAG(3, MSG_FASTOPEN));
		if (err == 0)
			err = seccomp_rule_add(ctx, no, SCMP_SYS(sendmsg), 1, HAS_FLAG(2, MSG_FASTOPEN));
		if (err == 0)
			err = seccomp_rule_add(ctx, no, SCMP_SYS(sendmmsg), 1, HAS_FLAG(3, MSG_FASTOPEN));
	}
	/* A datagram of a pair may go to any name; streams cannot. SOCK_RAW is a datagram here. */
	for (unsigned type = SOCK_DGRAM; err == 0 && type <= SOCK_RAW; type++)
		err = seccomp_rule_add(ctx, no, SCMP_SYS(socketpair), 1, SCMP_CMP(1, SCMP_CMP_MASKED_EQ, 0xf, type));
	/* Keys typed into a terminal are read by the shell that started us. */
	if (err == 0)
		err = seccomp_rule_add(ctx, no, SCMP_SYS(ioctl), 1, INT_IS(1, TIOCSTI));
	return err != 0 ? err : seccomp_rule_add(ctx, no, SCMP_SYS(ioctl), 1, INT_IS(1, TIOCLINUX));
}

/* Landlock leaves modes, owners, times and attributes alone: without a file to write nothing of them may change. */
static int refuse_modes(scmp_filter_ctx ctx, const struct floor *f)
{
	static const char *const calls[] = {
		"chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "setxattr", "lsetxattr", "fsetxattr",
		"setxattrat", "removexattr", "lremovexattr", "fremovexattr", "removexattrat", "utime", "utimes", "futimesat", "utimensat",
		"file_setattr",
	};
	int err = 0;

	for (size_t i = 0; i < f->path_count; i++)
		if ((f->paths[i].rights & (POLICY_FILE_WRITE | POLICY_FILE_CREATE)) != 0)
			return 0;
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(calls); i++)
		err = refuse(ctx, SCMP_ACT_ERRNO(EPERM), calls[i]);
	return err;
}

static int apply_calls(const struct floor *f, struct errmsg *why)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int err;

	if (ctx == NULL)
		return errmsg_set(why, -ENOMEM, "system call filter");
	/* A call by another ABI would pass the list by. */
	err = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(refused); i++)
		err = refuse(ctx, SCMP_ACT_ERRNO(EPERM), refused[i]);
	/* io_uring does what other calls do, past their filter. */
	for (size_t i = 0; err == 0 && i < 3; i++)
		err = refuse(ctx, SCMP_ACT_ERRNO(ENOSYS), (const char *const[]){ "io_uring_setup", "io_uring_enter", "io_uring_register" }[i]);
	if (err == 0 && (f->kernel & POLICY_KERNEL_BPF) == 0)
		err = refuse(ctx, SCMP_ACT_ERRNO(EPERM), "bpf");
	if (err == 0)
		err = refuse_clones(ctx, f->kernel);
	if (err == 0)
		err = refuse_sockets(ctx, f);
	if (err == 0)
		err = refuse_by_ways(ctx, f);
	if (err == 0)
		err = refuse_modes(ctx, f);
	if (err == 0)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err == 0 ? 0 : errmsg_set(why, err, "system call filter");
}

static const struct {
	uint32_t policy, landlock;
} file_rights[] = {
	{ POLICY_FILE_READ, LANDLOCK_READ },	 { POLICY_FILE_WRITE, LANDLOCK_WRITE },	 { POLICY_FILE_CREATE, LANDLOCK_CREATE },
	{ POLICY_FILE_DELETE, LANDLOCK_DELETE }, { POLICY_FILE_EXEC, LANDLOCK_EXECUTE },
};

uint32_t policy_floor_landlock(uint32_t file)
{
	uint32_t rights = 0;

	for (size_t i = 0; i < ARRAY_LEN(file_rights); i++)
		rights |= (file & file_rights[i].policy) != 0 ? file_rights[i].landlock : 0;
	return rights;
}

static int apply_files(const struct floor *f, bool lenient, struct errmsg *why)
{
	struct landlock_path *paths = calloc(f->path_count + 1, sizeof(*paths));
	struct landlock_port *ports = calloc(f->port_count + 1, sizeof(*ports));
	struct landlock_rules rules = { .paths = paths, .path_count = f->path_count, .ports = ports, .port_count = f->port_count,
					.any_connect = f->any_connect, .any_listen = f->any_listen };
	int abi = landlock_abi(), err = paths == NULL || ports == NULL ? errmsg_set(why, -ENOMEM, "the floor") : 0;

	for (size_t i = 0; err == 0 && i < f->path_count; i++)
		paths[i] = (struct landlock_path){ f->paths[i].path, policy_floor_landlock(f->paths[i].rights) };
	for (size_t i = 0; err == 0 && i < f->port_count; i++)
		ports[i] = (struct landlock_port){ f->ports[i].port, f->ports[i].connect, f->ports[i].listen };
	if (err == 0 && abi < 4 && !lenient)
		err = errmsg_say(why, -EOPNOTSUPP, "%s; --lenient runs it with what this kernel can hold",
				 abi == 0 ? "this kernel has no Landlock, so files and ports would stay open" :
					    "this kernel's Landlock knows no ports (Linux 6.7 does), so every TCP port would stay open");
	if (err == 0 && abi > 0)
		err = landlock_restrict(&rules, why);
	free(paths);
	free(ports);
	return err;
}

int policy_floor_apply(const struct floor *f, bool lenient, struct errmsg *why)
{
	int err = sandbox_keep_capabilities(f->capabilities, why);

	if (err == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		err = errmsg_set(why, -errno, "no_new_privs");
	if (err == 0)
		err = apply_files(f, lenient, why);
	return err != 0 ? err : apply_calls(f, why);
}
