/*
 * Starting this program again in another role, and what each such process does first.
 */
#pragma once
#include <sys/types.h>

#include "base/errmsg.h"

#define PROCESS_CHANNEL_FD 3		/* where the started process finds its socket */

/*
 * Run /proc/self/exe with argv (NULL-ended). The child gets `channel` as PROCESS_CHANNEL_FD,
 * our standard error, nothing on standard input and output, no other descriptor, an empty
 * signal mask, and SIGKILL when we die. The channel stays ours to close. The caller has one
 * thread. 0 or negative errno.
 */
MUST_USE int process_spawn(const char *const argv[], int channel, pid_t *pid, struct errmsg *why);

/*
 * Ask for SIGKILL when the parent dies; the kernel forgets it at a change of uid, so it is
 * asked again after. -ESRCH when the parent is gone already.
 */
MUST_USE int process_die_with_parent(pid_t parent);

/* What ps, top and ss call this process: "prickle:" and the role, cut to the kernel's 15 bytes. */
void process_set_name(const char *role);

/* sd_notify(3): tell the service manager, if there is one; `state` is "READY=1", "STOPPING=1"... */
void process_notify(const char *state);

/* 1 + the highest descriptor that systemd handed over (LISTEN_FDS, from 3 on); 3 when none. Clears the variables. */
int process_listen_fds(void);

#define PROCESS_PATH_BYTES 4096
/* A program as a shell finds it: a name without a slash is looked up in PATH. 0; -ENOENT, other negative errno. */
MUST_USE int process_find_program(const char *name, char path[PROCESS_PATH_BYTES], struct errmsg *why);
