/*
 * Names in bpffs below a directory descriptor. The BPF calls take paths alone, so each goes through
 * /proc/self/fd: that reaches a bpffs of another mount namespace, too, which our own paths cannot.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/errmsg.h"

/* Pin fd as name below dir; a name that is there is -EEXIST. 0 or negative errno. */
MUST_USE int pin_set(int dir, const char *name, int fd);
/* A descriptor of what is pinned there, or a negative errno. */
MUST_USE int pin_get(int dir, const char *name);
/* Open a directory below dir (for reading, so that it can be locked and listed); make: mkdir when missing. */
MUST_USE int pin_dir(int dir, const char *name, bool make);
/* Remove name below dir, a file or a directory with all in it; nothing there is fine. Depth is bounded. */
int pin_remove(int dir, const char *name);

/* Remove all names below dir. 0 or negative errno. */
MUST_USE int pin_wipe(int dir);
/*
 * Lock dir against other commands, at most for PIN_LOCK_S_MAX seconds; closing it unlocks. 0; -EBUSY: another one keeps it; -EAGAIN: locked,
 * but its name was removed while we waited, so open the name again, PIN_OPEN_TURNS times; or another errno.
 */
#define PIN_LOCK_S_MAX 10
#define PIN_OPEN_TURNS 16
MUST_USE int pin_lock(int dir);
/*
 * Whether the interface of this directory is still there, as its map `alive` tells, out of which the kernel takes interfaces that go:
 * 1; 0: it has gone, or the map was never made. Negative errno: it cannot be told (no descriptors, no memory, no rights), so nothing
 * may be removed.
 */
MUST_USE int pin_alive(int dir);

/* Calls back for each name in dir but "." and ".."; stops at the first result that is not 0 and returns it. */
int pin_each(int dir, int (*each)(void *arg, int dir, const char *name, bool is_dir), void *arg);

/* Ids as the kernel tells, 0 when it does not. */
uint32_t pin_prog_id(int prog_fd);
uint32_t pin_map_id(int fd);		/* 0, too, when it is no map */
bool pin_is_map(int fd);
bool pin_is_prog(int fd);
/* Memory that the kernel charges for a map or program, 0 when it does not tell. */
uint64_t pin_memory_bytes(int fd);
