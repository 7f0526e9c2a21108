/*
 * Memory control groups of extensions: a hard limit on what an untrusted extension's maps and
 * programs take from the kernel.
 *
 * The kernel charges a map to the group of the process that made it, for as long as the map lives, so
 * the loading process joins a fresh group and the group stays when that process has gone: removing it
 * would move the charges, and later growth, to its parent, which has no limit. A group is marked with
 * the id of its extension's program; memory_groups_collect removes those whose program is no more.
 *
 * Version 1 and version 2 hierarchies are both found in use.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/errmsg.h"

struct memory_group {
	int root;			/* prickle-spine/ in the hierarchy; -1: no group */
	int dir;			/* the group itself */
	bool v2;
	char name[64];
};

/* No group yet: what memory_group_close may get. */
#define MEMORY_GROUP_NONE { .root = -1, .dir = -1 }

/*
 * A process that keeps the right to mark groups, and sees the host's /sys, when we give up the first and
 * `ip netns exec` hides the second. Returns the socket to it: it ends when that is closed. First it removes
 * the groups of programs that have gone. In the functions below, keeper <= 0 means without.
 */
MUST_USE int memory_keeper(struct errmsg *why);

/*
 * Make a group. 0; -EOPNOTSUPP: this machine gives us no memory control groups (no hierarchy, read-only,
 * controller off), with the reason; others: the system failed.
 */
MUST_USE int memory_group_new(const char *extension, uint64_t limit_bytes, int keeper, struct memory_group *out,
			      struct errmsg *why);
/* Move this process into it. 0 or negative errno. */
MUST_USE int memory_group_join(const struct memory_group *g);
/* Change the limit; -EBUSY when more is in use and cannot be given back. */
MUST_USE int memory_group_limit(const struct memory_group *g, uint64_t limit_bytes);
/* It belongs to this program, and stays as long as that lives. */
MUST_USE int memory_group_keep(const struct memory_group *g, uint32_t prog_id, int keeper);
/* Close the descriptors; remove: and the group. It must have no process any more. */
void memory_group_close(struct memory_group *g, bool remove);
/* Remove the groups of programs that have gone. Best effort; O(groups). */
void memory_groups_collect(void);
