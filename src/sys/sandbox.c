#include "sys/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- lists ------------------------------------------------------------------------------- */

static const char *const calls_base[] = {
	/* bytes */
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "lseek", "close",
	"fstat", "fcntl", "dup", "ftruncate", "memfd_create", "sendfile",
	/* sockets that we have */
	"accept", "accept4", "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg",
	"shutdown", "getsockopt", "setsockopt", "getsockname", "getpeername",
	/* waiting */
	"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll",
	"eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime", "nanosleep",
	"clock_nanosleep", "restart_syscall", "futex", "sched_yield",
	/* memory */
	"munmap", "mremap", "madvise", "brk", "membarrier", "mincore",
	/* itself */
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "getpid", "gettid", "getuid",
	"geteuid", "getgid", "getegid", "getppid", "exit", "exit_group", "set_robust_list", "rseq",
	"sched_getaffinity", "getrusage", "times", "sysinfo", "uname", "getcpu", "set_tid_address",
	/* clocks and randomness */
	"clock_gettime", "clock_getres", "gettimeofday", "time", "getrandom",
	NULL,
};

static const char *const calls_files[] = {
	"open", "openat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2",
	"readlink", "readlinkat", "getdents64", "mkdir", "mkdirat", "rename", "renameat", "renameat2",
	"unlink", "unlinkat", "rmdir", "link", "linkat", "truncate", "fsync", "fdatasync",
	"sync_file_range", "fallocate", "fadvise64", "readahead", "statfs", "fstatfs", "flock", "fchmod",
	"utimensat", "getcwd", "copy_file_range", "ioprio_set", "setpriority", "getpriority",
	"umask", NULL,
};

static const char *const calls_deadly[] = {
	"execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev",
	"pidfd_getfd", "pidfd_open", "kcmp", "mount", "umount2", "pivot_root", "chroot", "setns", "unshare",
	"open_tree", "move_mount", "fsopen", "fsmount", "fsconfig", "fspick", "mount_setattr", "bpf",
	"perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "io_uring_setup",
	"io_uring_enter", "io_uring_register", "init_module", "finit_module", "delete_module",
	"kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "open_by_handle_at",
	"name_to_handle_at", "personality", "modify_ldt", "iopl", "ioperm", "acct", "quotactl",
	"settimeofday", "clock_settime", "adjtimex", "lookup_dcookie", "nfsservctl", "uselib", NULL,
};

const char *const *sandbox_calls_base(void)
{
	return calls_base;
}

const char *const *sandbox_calls_files(void)
{
	return calls_files;
}

const char *const *sandbox_calls_deadly(void)
{
	return calls_deadly;
}

/* --- seccomp ------------------------------------------------------------------------------ */

/* Calls that this architecture or libseccomp lacks are left out: not listed, they are refused. */
static bool excepted(const char *name, uint32_t flags)
{
	return ((flags & SANDBOX_SUPERVISOR) != 0 && (strcmp(name, "execve") == 0 || strcmp(name, "fork") == 0 ||
						      strcmp(name, "vfork") == 0)) ||
	       ((flags & SANDBOX_BPF) != 0 && (strcmp(name, "bpf") == 0 || strcmp(name, "fork") == 0));
}

static int add_all(scmp_filter_ctx ctx, uint32_t action, const char *const *names, uint32_t flags)
{
	for (; *names != NULL; names++) {
		int nr = seccomp_syscall_resolve_name(*names), err;

		if (nr == __NR_SCMP_ERROR || nr < 0)
			continue;
		if (excepted(*names, flags))
			continue;
		err = seccomp_rule_add_exact(ctx, action, nr, 0);
		if (err != 0)
			return err;
	}
	return 0;
}

/* Calls whose arguments decide. */
static int add_narrow(scmp_filter_ctx ctx, uint32_t flags)
{
	static const int prctls[] = { PR_SET_NAME, PR_GET_NAME, PR_SET_PDEATHSIG, 0x53564d41 /* PR_SET_VMA */ };
	static const unsigned long ioctls[] = { FIONBIO, FIONREAD };
	static const int own_signal_calls[] = { SCMP_SYS(tgkill), SCMP_SYS(kill), SCMP_SYS(rt_tgsigqueueinfo) };
	/* Memory is never code: what is loaded was loaded before. */
	static const int memory_calls[] = { SCMP_SYS(mmap), SCMP_SYS(mprotect) };
	uint64_t thread_flags = CLONE_THREAD | CLONE_VM | CLONE_SIGHAND;
	int err = 0;

	for (size_t i = 0; err == 0 && i < ARRAY_LEN(memory_calls); i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, memory_calls[i], 1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	for (size_t i = 0; err == 0 && i < ARRAY_LEN(prctls); i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
				       SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)prctls[i]));
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(ioctls); i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				       SCMP_A1(SCMP_CMP_EQ, ioctls[i]));
	/* Signals to ourselves alone: abort() needs one. */
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(own_signal_calls); i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, own_signal_calls[i], 1,
				       SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	/* Limits may be read, and only ours. */
	if (err == 0)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, SCMP_A0(SCMP_CMP_EQ, 0),
				       SCMP_A2(SCMP_CMP_EQ, 0));
	if (err == 0 && (flags & SANDBOX_THREADS) != 0)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, thread_flags, thread_flags));
	if (err == 0)
		err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return err;
}

static int apply_seccomp(uint32_t flags, struct errmsg *why)
{
	bool supervisor = (flags & (SANDBOX_SUPERVISOR | SANDBOX_BPF)) != 0;
	scmp_filter_ctx ctx = seccomp_init(supervisor ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM));
	int err;

	if (ctx == NULL)
		return errmsg_set(why, -ENOMEM, "system call filter");
	/* A call by another ABI (x32, i386) would pass the list by: such a call is the end. */
	err = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (err == 0)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (err == 0)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_LOG, 1);
	if (err == 0)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);	/* a tree, not a chain */
	if (err == 0)
		err = add_all(ctx, SCMP_ACT_KILL_PROCESS, calls_deadly, flags);
	if (err == 0 && !supervisor)
		err = add_all(ctx, SCMP_ACT_ALLOW, calls_base, 0);
	if (err == 0 && !supervisor && ((flags & SANDBOX_FILES) != 0 || SANITIZED))
		err = add_all(ctx, SCMP_ACT_ALLOW, calls_files, 0);
	if (err == 0 && !supervisor)
		err = add_narrow(ctx, SANITIZED ? flags | SANDBOX_THREADS : flags);
	if (err == 0)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err == 0 ? 0 : errmsg_set(why, err, "system call filter");
}

/* --- Landlock ----------------------------------------------------------------------------- */

static int apply_landlock(const struct sandbox *box, struct errmsg *why)
{
	struct landlock_path paths[SANDBOX_PATHS_MAX];
	struct landlock_rules rules = { .paths = paths, .path_count = box->path_count };

	for (unsigned i = 0; i < box->path_count; i++)
		paths[i] = (struct landlock_path){ box->paths[i].path, box->paths[i].rights };
	return landlock_restrict(&rules, why);
}

/* --- user, capabilities, limits ------------------------------------------------------------ */

static int limit(__rlimit_resource_t what, uint64_t value, const char *name, struct errmsg *why)
{
	struct rlimit now;

	if (getrlimit(what, &now) != 0)
		return errmsg_set(why, -errno, "resource limit %s", name);
	if (now.rlim_max != RLIM_INFINITY && value > now.rlim_max)
		value = now.rlim_max;
	now = (struct rlimit){ value, value };
	if (setrlimit(what, &now) != 0)
		return errmsg_set(why, -errno, "resource limit %s", name);
	return 0;
}

static int apply_limits(const struct sandbox *box, struct errmsg *why)
{
	int err = limit(RLIMIT_CORE, 0, "CORE", why);

	if (err == 0 && box->files_max != 0)
		err = limit(RLIMIT_NOFILE, box->files_max, "NOFILE", why);
	if (err == 0 && box->data_bytes_max != 0 && !SANITIZED)
		err = limit(RLIMIT_DATA, box->data_bytes_max, "DATA", why);
	/* The kernel counts by uid: under the caller's uid it would count the caller's other programs. */
	if (err == 0 && box->threads_max != 0 && box->uid != 0)
		err = limit(RLIMIT_NPROC, box->threads_max, "NPROC", why);
	return err;
}

static int apply_user(const struct sandbox *box, struct errmsg *why)
{
	gid_t gid = (gid_t)box->uid;

	if (box->uid == 0)
		return 0;
	if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 ||
	    setresuid(box->uid, box->uid, box->uid) != 0)
		return errmsg_set(why, -errno, "change to uid %u", (unsigned)box->uid);
	return 0;
}

/* Before the uid changes: emptying the bounding set needs CAP_SETPCAP. */
static int apply_bounding(uint64_t keep, struct errmsg *why)
{
	capng_get_caps_process();
	if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		return 0;	/* an ordinary user: no_new_privs makes the bounding set moot */
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		if ((keep >> cap & 1) == 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL)
			return errmsg_set(why, -errno, "drop capability %u", cap);
	return 0;
}

static int apply_capabilities(uint64_t keep, struct errmsg *why)
{
	capng_get_caps_process();
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		if ((keep >> cap & 1) == 0)
			capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE, cap);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return errmsg_set(why, -EPERM, "drop capabilities");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL)
		return errmsg_set(why, -errno, "drop ambient capabilities");
	return 0;
}

int sandbox_keep_capabilities(uint64_t keep, struct errmsg *why)
{
	int err = apply_bounding(keep, why);

	return err != 0 ? err : apply_capabilities(keep, why);
}

int sandbox_apply(const struct sandbox *box, struct sandbox_report *report, struct errmsg *why)
{
	bool supervisor = (box->flags & (SANDBOX_SUPERVISOR | SANDBOX_BPF)) != 0;
	bool landlock = !supervisor || (box->flags & SANDBOX_PATHS) != 0;
	int abi = landlock_abi(), err;

	err = apply_limits(box, why);
	if (err == 0)
		err = apply_bounding(box->capabilities, why);
	/* The rules' paths are opened as the user that we still are. */
	if (err == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		err = errmsg_set(why, -errno, "no_new_privs");
	if (err == 0 && landlock && abi > 0)
		err = apply_landlock(box, why);
	if (err == 0)
		err = apply_user(box, why);
	if (err == 0)
		err = apply_capabilities(box->capabilities, why);
	/* Roles under one uid must not look into each other; a change of uid does this, too. */
	if (err == 0 && !supervisor && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		err = errmsg_set(why, -errno, "PR_SET_DUMPABLE");
	if (err == 0)
		err = apply_seccomp(box->flags, why);
	if (err == 0)
		report->landlock_abi = landlock ? abi : 0;
	return err;
}
