/*
 * What a process may still do after it has opened what it needs: uid, capabilities, Landlock,
 * seccomp, resource limits. sandbox_apply goes one way and comes before the first thread:
 * Landlock and capabilities are per thread, and threads inherit them.
 *
 * System calls: an allow-list for an event loop with sockets that it already has, plus what
 * the flags add. Calls that no mail server makes (execve, ptrace, mount, bpf, keyctl,
 * io_uring, ...) end the process; other ones fail with EPERM and are logged by the kernel.
 * Memory cannot be made executable. clone3 answers ENOSYS, because a filter cannot look at its
 * flags: libc then takes clone.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/errmsg.h"
#include "sys/landlock.h"

enum sandbox_flags {
	SANDBOX_FILES = 1u << 0,	/* open, rename, sync...: where Landlock's rules allow it */
	SANDBOX_THREADS = 1u << 1,	/* clone with CLONE_THREAD */
	/*
	 * The supervisor: start programs, change uids of children, make sockets. Calls that end the
	 * process are the same but for execve; all others are allowed, no Landlock, uid stays.
	 */
	SANDBOX_SUPERVISOR = 1u << 2,
	/*
	 * A command that loads BPF programs: as SANDBOX_SUPERVISOR, but bpf(2) is allowed and it starts no
	 * programs. It may fork: helpers that it makes are as confined as itself.
	 */
	SANDBOX_BPF = 1u << 3,
	SANDBOX_PATHS = 1u << 4,	/* with the two above: Landlock, too, with `paths`. bpf(2) finds pins all the same */
};

#define SANDBOX_PATHS_MAX 12u

/* A file or a directory with all below it. Paths that do not exist are skipped. */
struct sandbox_path {
	const char *path;
	uint32_t rights;		/* of enum landlock_right */
};

struct sandbox {
	uint32_t flags;			/* of enum sandbox_flags */
	uid_t uid;			/* becomes user and only group; 0: stay who we are */
	uint64_t capabilities;		/* bits to keep (SANDBOX_SUPERVISOR, SANDBOX_BPF) */
	struct sandbox_path paths[SANDBOX_PATHS_MAX];
	unsigned path_count;
	uint64_t data_bytes_max;	/* RLIMIT_DATA; 0: as it is */
	uint64_t files_max;		/* RLIMIT_NOFILE; clipped to the hard limit */
	uint64_t threads_max;		/* RLIMIT_NPROC, set with a uid of our own only; 0: as it is */
};

struct sandbox_report {
	int landlock_abi;		/* 0: the kernel has none, seccomp stands alone */
};

/* 0 or a negative errno; after a failure the process must end, since half of it may be in force. */
MUST_USE int sandbox_apply(const struct sandbox *box, struct sandbox_report *report, struct errmsg *why);

/* Give up all capabilities but these, also for programs that are executed later. 0 or negative errno. */
MUST_USE int sandbox_keep_capabilities(uint64_t keep, struct errmsg *why);

/* Names of the calls in each class, for `prickle roles --json`; NULL-ended. */
const char *const *sandbox_calls_base(void);
const char *const *sandbox_calls_files(void);
const char *const *sandbox_calls_deadly(void);
