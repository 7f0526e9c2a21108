/*
 * Landlock: what this thread, and those that it makes, may do to files and TCP ports from now on. Debian 12's headers know ABI 2; the layouts and
 * bits here are those of ABI 6 (Linux 6.12), and what a kernel does not know is left out.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/errmsg.h"

enum landlock_right {
	LANDLOCK_READ = 1u << 0,	/* files; list directories */
	LANDLOCK_WRITE = 1u << 1,	/* what is there, its length included; ioctl on devices */
	LANDLOCK_CREATE = 1u << 2,	/* files, directories, links, sockets, pipes; move here */
	LANDLOCK_DELETE = 1u << 3,
	LANDLOCK_EXECUTE = 1u << 4,
	LANDLOCK_CHANGE = LANDLOCK_READ | LANDLOCK_WRITE | LANDLOCK_CREATE | LANDLOCK_DELETE,
};

/* A file, or a directory with all below it. What does not exist is skipped. */
struct landlock_path { const char *path; uint32_t rights; };
struct landlock_port { uint16_t port; bool connect, listen; };

struct landlock_rules {
	const struct landlock_path *paths;
	size_t path_count;
	const struct landlock_port *ports;
	size_t port_count;
	bool any_connect, any_listen;	/* TCP ports are not looked at */
};

/* The version of this kernel; 0: it has none. Ports need 4. */
int landlock_abi(void);
/*
 * Restrict this thread. PR_SET_NO_NEW_PRIVS must be set. Abstract unix sockets of others and signals to others are closed, too, where the kernel can (ABI 6).
 * 0; -EOPNOTSUPP: the kernel has none; other negative errno with a sentence.
 */
MUST_USE int landlock_restrict(const struct landlock_rules *rules, struct errmsg *why);
