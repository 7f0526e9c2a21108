/*
 * The world: time, randomness and disk, behind one injected interface.
 *
 * Storage, mailbox, queue and cluster code reach the outside only through this, so that a
 * seed replays a run and a simulated disk can lose power (sys/simworld.h). The real one is
 * world_real(). Network access is not here: it belongs to sys/loop.h and sys/stream.h,
 * which pure libraries must not use at all.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/errmsg.h"
#include "base/slice.h"

struct world;
struct file;				/* an open file of this world */

enum open_mode {
	OPEN_READ,			/* must exist */
	OPEN_WRITE,			/* read and write, must exist */
	OPEN_CREATE,			/* read and write, made when missing (mode 0600) */
};

struct world_ops {
	/* Microseconds since 1970; may jump. */
	int64_t (*real_us)(struct world *w);
	/* Microseconds that only go forward. */
	int64_t (*mono_us)(struct world *w);
	void (*random)(struct world *w, void *out, size_t n);

	/* All return 0 or a byte count, or a negative errno. Paths are relative to the state directory. */
	int (*open)(struct world *w, const char *path, enum open_mode mode, struct file **out);
	void (*close)(struct world *w, struct file *f);
	/* Whole reads: fewer bytes only at the end of the file. */
	int64_t (*pread)(struct world *w, struct file *f, void *to, size_t n, uint64_t at);
	/* As pread but past the page cache (O_DIRECT): what the disk itself holds. */
	int64_t (*pread_direct)(struct world *w, struct file *f, void *to, size_t n, uint64_t at);
	/* Whole writes: 0 or an error. */
	int (*pwritev)(struct world *w, struct file *f, const struct iovec *iov, int count, uint64_t at);
	int (*datasync)(struct world *w, struct file *f);
	/* Reserve blocks (fallocate) so that a later overwrite needs no allocation. */
	int (*allocate)(struct world *w, struct file *f, uint64_t size);
	int64_t (*size)(struct world *w, struct file *f);
	int (*truncate)(struct world *w, struct file *f, uint64_t size);
	int (*unlink)(struct world *w, const char *path);
	int (*rename)(struct world *w, const char *from, const char *to);
	int (*mkdir)(struct world *w, const char *path);
	/* Names in a directory, in no order; fn returns non-zero to stop. */
	int (*list)(struct world *w, const char *path, int (*fn)(void *arg, const char *name), void *arg);
	/* Make names that were created, renamed or removed in this directory durable. */
	int (*sync_dir)(struct world *w, const char *path);
	/*
	 * Lock the open file against other openings, of this process too, until it is closed: alone, or
	 * shared with other shared ones. -EBUSY: somebody has it.
	 */
	int (*lock)(struct world *w, struct file *f, bool shared);
	/* Bytes that are free for us and bytes in all on the file system of the state directory. */
	int (*space)(struct world *w, uint64_t *free_bytes, uint64_t *total_bytes);
};

struct world {
	const struct world_ops *ops;
};

/*
 * The real world, rooted at the directory dirfd (owned by the caller, which keeps it open;
 * -1 when no files will be used). Thread-safe.
 */
struct world *world_real_new(int dirfd);
void world_free(struct world *w);

static inline int64_t world_real_us(struct world *w)
{
	return w->ops->real_us(w);
}

static inline int64_t world_mono_us(struct world *w)
{
	return w->ops->mono_us(w);
}

static inline void world_random(struct world *w, void *out, size_t n)
{
	w->ops->random(w, out, n);
}
