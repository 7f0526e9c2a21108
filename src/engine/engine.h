/*
 * The storage interface: named objects.
 *
 * An object holds append-only bytes and a small ordered set of keys. One call carries a list
 * of steps on ONE object, all or nothing, and returns when the outcome is durable. There is
 * no transaction across objects: every algorithm above survives a crash between two of
 * them (body first, index second; deletion in the opposite order).
 *
 * Calls block the calling fiber (or the thread, outside of fibers); many fibers at once are
 * how callers get concurrency and group commit. Back ends: embedded/ (segment log +
 * rebuildable index), the store role's channel (engine/remote.h, the same calls from another
 * process), later rados/. One conformance suite (engine/conformance.c) runs over all.
 */
#pragma once
#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"

struct engine;

#define LIMITS_FILE "engine/limits.def"
#include "base/limits.h"

enum engine_result {
	ENGINE_OK,
	ENGINE_GUARD,			/* a guard did not hold; nothing was done */
	ENGINE_ABSENT,			/* read: no such object or key range beyond it */
	ENGINE_FULL,			/* no room on the disk; nothing was done */
	ENGINE_UNAVAILABLE,		/* stopped, restarting or timed out: the outcome is NOT known */
	ENGINE_DAMAGED,			/* read: stored bytes fail their checksum; others are fine */
	ENGINE_DENIED,			/* this channel or grant may not do it; nothing was done */
	ENGINE_INVALID,			/* over a limit of this header, or not of its form */
};

enum engine_step_kind {
	/* Guards come first in the list. */
	GUARD_EXISTS = 1,		/* the object exists */
	GUARD_ABSENT,			/* it does not */
	GUARD_KEY_EQUALS,		/* key has exactly this value */
	GUARD_KEY_ABSENT,
	GUARD_LENGTH,			/* `at` bytes are written; an absent object has length 0 */
	/* Effects, in order. The first one makes the object. */
	STEP_WRITE,			/* value's bytes at `at`, which must equal the length then (else GUARD) */
	STEP_SET,			/* key = value */
	STEP_DELETE,			/* key; no error when absent */
	STEP_REMOVE,			/* the object with all bytes and keys; must be the only effect */
};

struct engine_step {
	enum engine_step_kind kind;
	struct slice key;
	struct slice value;
	uint64_t at;
};

struct engine_op {
	struct slice object;
	const struct engine_step *steps;
	size_t count;
	/* Watchers of this object name are told after the effects are durable; empty: nobody. */
	struct slice notify;
};

struct engine_stat {
	bool exists;
	uint64_t length;		/* of the bytes */
};

struct engine_kv {
	struct slice key, value;
};

/* Object names: "a.<account>", "i.<account>...", "f....", "b....", "u.<n>", "q.<n>", "members". */

struct engine_vtable {
	enum engine_result (*apply)(struct engine *e, const struct engine_op *op);
	enum engine_result (*stat)(struct engine *e, struct slice object, struct engine_stat *out);
	enum engine_result (*read)(struct engine *e, struct slice object, uint64_t at, size_t n,
				   struct buf *out);
	enum engine_result (*keys)(struct engine *e, struct slice object, struct slice from,
				   struct slice to, size_t max_count, size_t max_bytes,
				   struct arena *arena, struct engine_kv **out, size_t *count,
				   bool *more);
	enum engine_result (*list)(struct engine *e, struct slice prefix, struct slice after,
				   size_t max_count, struct arena *arena, struct slice **names,
				   size_t *count);
	int (*watch)(struct engine *e, struct slice object, void (*fn)(void *arg), void *arg,
		     uint64_t *id);
	void (*unwatch)(struct engine *e, uint64_t id);
	enum engine_result (*lease)(struct engine *e, struct slice name, struct slice owner,
				    int64_t duration_us);
	enum engine_result (*unlease)(struct engine *e, struct slice name, struct slice owner);
	void (*close)(struct engine *e);
};

struct engine {
	const struct engine_vtable *vt;
};

/*
 * Carry out a step list. On ENGINE_OK the effects are on stable storage. ENGINE_UNAVAILABLE
 * leaves the outcome open: repeat with guards that make the repetition harmless.
 */
static inline enum engine_result engine_apply(struct engine *e, const struct engine_op *op)
{
	return e->vt->apply(e, op);
}

static inline enum engine_result engine_stat(struct engine *e, struct slice object,
					     struct engine_stat *out)
{
	return e->vt->stat(e, object, out);
}

/*
 * Append n bytes of the object, from `at`, to out. Fewer when the object ends before.
 * ENGINE_ABSENT when the object does not exist.
 */
static inline enum engine_result engine_read(struct engine *e, struct slice object, uint64_t at,
					     size_t n, struct buf *out)
{
	return e->vt->read(e, object, at, n, out);
}

/*
 * Keys in [from, to) in order of bytes (an empty `to` is no bound), at most max_count and about
 * max_bytes of keys and values, in the arena. *more says that there are further ones.
 * An absent object has no keys: ENGINE_OK and count 0. All of one answer is one moment.
 */
static inline enum engine_result engine_keys(struct engine *e, struct slice object,
					     struct slice from, struct slice to, size_t max_count,
					     size_t max_bytes, struct arena *arena,
					     struct engine_kv **out, size_t *count, bool *more)
{
	return e->vt->keys(e, object, from, to, max_count, max_bytes, arena, out, count, more);
}

/* Names that start with prefix and are > after, in order. For fsck, export and collection: slow on RADOS. */
static inline enum engine_result engine_list(struct engine *e, struct slice prefix,
					     struct slice after, size_t max_count,
					     struct arena *arena, struct slice **names,
					     size_t *count)
{
	return e->vt->list(e, prefix, after, max_count, arena, names, count);
}

/*
 * fn(arg) is called (from the loop, soon) after operations that name `object` in notify.
 * Several may be folded into one call; after a lost connection it is called once, too, so
 * a watcher always re-reads and never counts. 0 or -errno.
 */
static inline int engine_watch(struct engine *e, struct slice object, void (*fn)(void *arg),
			       void *arg, uint64_t *id)
{
	return e->vt->watch(e, object, fn, arg, id);
}

static inline void engine_unwatch(struct engine *e, uint64_t id)
{
	e->vt->unwatch(e, id);
}

/*
 * Take or renew an exclusive lease for duration_us. ENGINE_GUARD: another owner holds it. A
 * lease is advice: operations that must not happen twice also carry a guard.
 */
static inline enum engine_result engine_lease(struct engine *e, struct slice name,
					      struct slice owner, int64_t duration_us)
{
	return e->vt->lease(e, name, owner, duration_us);
}

static inline enum engine_result engine_unlease(struct engine *e, struct slice name,
						struct slice owner)
{
	return e->vt->unlease(e, name, owner);
}

static inline void engine_close(struct engine *e)
{
	if (e != NULL)
		e->vt->close(e);
}

/* "guard", "full", ... for logs. */
const char *engine_result_name(enum engine_result r);
