/*
 * Where SPINE keeps things, and which network it means.
 *
 * bpffs: one directory for the whole host, although `ip netns exec` gives each command a mount
 * namespace in which /sys is another one. A child process enters the mount namespace of process 1,
 * or, where that may not be opened (containers, hardened hosts), that of our oldest ancestor that lets
 * us; it mounts bpffs if nothing is there and sends the directory back as a descriptor. We ourselves
 * never leave our mount namespace, so paths that people give mean what they think.
 *
 * Network namespaces are named by cookie: a number that the kernel never gives again until it restarts.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/errmsg.h"

#define HOST_BPFFS "/sys/fs/bpf"

/*
 * The directory prickle/spine of the host's bpffs as a descriptor, fit for openat and for
 * /proc/self/fd/N/... . make: mount and make what is missing; else -ENOENT when it is not there.
 * -EPERM: not root; -ENOTSUP: this kernel has no bpffs. Forks once; a millisecond.
 */
MUST_USE int host_bpffs(bool make, struct errmsg *why);
/* The same for another part of the program: the directory prickle/NAME. */
MUST_USE int host_bpffs_part(const char *name, bool make, struct errmsg *why);

/*
 * A directory below another one that is ours alone: a directory, not a link, of our user, which nobody else may write
 * to; `make` makes it. A descriptor; -EUCLEAN: somebody else made it, or may change it; other negative errno.
 */
MUST_USE int host_own_directory(int above, const char *name, bool make);

/*
 * For child processes only: enter process 1's mounts, else those of the oldest ancestor that can be entered,
 * else stay.
 */
void host_enter_mounts(void);

/*
 * A directory by its path in the host's mount namespace (`ip netns exec` hides /sys/fs/cgroup), as a descriptor
 * or a negative errno. Forks once.
 */
MUST_USE int host_directory(const char *path);

/*
 * What is pinned at a path, in our own mount namespace first and, if nothing is there, in the host's (`ip netns exec`
 * hides /sys/fs/bpf), as a descriptor or a negative errno. Forks at most once.
 */
MUST_USE int host_pinned(const char *path);

/*
 * A mount of the host's bpffs that hangs nowhere yet (open_tree(2)), for move_mount() in a mount namespace that
 * has none, as `ip netns exec` makes them; -1 when /sys/fs/bpf here is one already, or the kernel gives none.
 */
MUST_USE int host_bpffs_clone(void);

/* A network namespace by its name of `ip netns` (NULL: ours) as a descriptor. -ENOENT: no such name. */
MUST_USE int host_netns(const char *name, struct errmsg *why);
/* Enter it (this thread). Leaving again is entering another one. */
MUST_USE int host_netns_enter(int netns_fd, struct errmsg *why);
/* The cookie of the namespace that this thread is in, or 0. */
uint64_t host_netns_cookie(void);

/*
 * Call `each` for every network namespace that can be found, once, from inside it: ours, those of `ip netns`,
 * those of processes. Ends in the namespace where it began. Stops when `each` returns not 0, and returns that.
 */
int host_netns_each(int (*each)(void *arg, int netns_fd, uint64_t cookie, const char *name), void *arg,
		    struct errmsg *why);

/* Processors that may ever be online; at least 1. */
uint32_t host_cpus(void);
/* Bytes as whole pages: what a map takes that is mapped. */
size_t host_whole_pages(size_t bytes);
