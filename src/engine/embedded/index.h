/*
 * The index of the embedded store: an ordered map that can be rebuilt from the log.
 *
 * Two implementations: RocksDB without a write-ahead log, and an ordered map in memory that
 * can hand out the state after every commit, which models "any prefix since the last flush survived".
 * One thread at a time writes (put, del, commit); get and iterators may run beside it in the RocksDB one.
 * Keys and values are ours; nothing in here comes from a peer unbounded (engine.h's limits).
 */
#pragma once
#include "base/buf.h"
#include "base/errmsg.h"

struct index;
struct index_iter;

struct index_vtable {
	/* 1: value appended to out; 0: absent; negative errno. */
	int (*get)(struct index *ix, struct slice key, struct buf *out);
	/* A frozen view; NULL when memory is short. */
	struct index_iter *(*iter)(struct index *ix);
	/*
	 * The same without a disk and without long walks: a negative errno from get_now, and from `valid` of
	 * iter_now, means "ask again in the ordinary way". NULL: not offered.
	 */
	int (*get_now)(struct index *ix, struct slice key, struct buf *out);
	struct index_iter *(*iter_now)(struct index *ix);
	/* To the first key >= key. */
	void (*seek)(struct index_iter *it, struct slice key);
	void (*next)(struct index_iter *it);
	/* 1: stands on an entry; 0: at the end; negative errno. */
	int (*valid)(struct index_iter *it);
	struct slice (*key)(struct index_iter *it);
	struct slice (*value)(struct index_iter *it);
	void (*iter_free)(struct index_iter *it);
	/* Collected until commit, which makes them visible at once, all or none. */
	void (*put)(struct index *ix, struct slice key, struct slice value);
	void (*del)(struct index *ix, struct slice key);
	int (*commit)(struct index *ix);
	/* Everything committed before the call is on stable storage after it. May run beside the writer. */
	int (*flush)(struct index *ix);
	void (*close)(struct index *ix);
};

struct index {
	const struct index_vtable *vt;
};

/* RocksDB in dir, made when missing. -EUCLEAN: it cannot be read; destroy it and rebuild. -ENOSPC. */
MUST_USE int index_rocksdb_open(const char *dir, struct index **out, struct errmsg *why);
MUST_USE int index_rocksdb_destroy(const char *dir, struct errmsg *why);

/* The map in memory. `history`: keep the state after each commit since the last flush. NULL: no memory. */
struct index *index_memory_new(bool history);
/* States that could be on disk after a crash now: the flushed one and each commit since. At least 1. */
size_t index_memory_states(const struct index *ix);
/* The process is killed: some state since the last flush is what is left. */
void index_memory_rewind(struct index *ix, size_t which);
/* A new index (with history) that starts from state `which`; the old one is untouched. Cost O(1). */
struct index *index_memory_fork(const struct index *ix, size_t which);
