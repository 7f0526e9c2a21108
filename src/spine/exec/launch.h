/*
 * Runs an unmodified program under a broker: with our library preloaded, libxdp's own dispatcher left
 * out, and its system calls watched (notify.h) for what the library cannot see.
 */
#pragma once
#include "spine/exec/broker.h"

struct exec_launch {
	char *const *argv;		/* NULL-ended; argv[0] is searched in PATH */
	const char *preload;		/* path of libprickle-spine-exec.so */
	int netns;			/* to run it in, or -1 */
	int bpffs;			/* a mount to be put at /sys/fs/bpf for it, in a mount namespace of its own; or -1 */
	uint32_t ifindex;
};

/*
 * Run the program to its end, and then serve those that it left behind as long as one of them holds our
 * socket. *status is its exit code, or 128 + the signal that ended it. The caller has one thread.
 * 0; -ENOENT: there is no such program; or a negative errno with a sentence.
 */
MUST_USE int exec_launch(const struct exec_launch *l, const struct broker_ops *ops, void *arg, int *status,
			 struct errmsg *why);
