/*
 * The embedded back end: one machine's mail in a segment log with a rebuildable index.
 *
 * The log under `log/` in the state directory is the only hard state; everything else can be
 * deleted at any time. A call is acknowledged after its record is on stable storage
 * (fdatasync), together with those of all callers that came while the previous sync ran.
 *
 * With a loop, one writer thread and a few reader threads do the work and fibers wait for
 * them. Without one, the calling thread does everything itself, synchronously: offline tools
 * and the single-threaded crash simulation run the same code that way. `threads` without a loop
 * lets several plain threads share one engine.
 */
#pragma once
#include "engine/engine.h"
#include "sys/world.h"

struct loop;

enum embedded_index {
	EMBEDDED_ROCKSDB,		/* default */
	EMBEDDED_MEMORY,		/* dies with the process (simulation, tests); rebuilt at every open */
};

/* Found by a checksum or a missing record: what is lost, so that an operator can be told. */
struct embedded_damage {
	uint32_t segment;		/* file log/<segment>, decimal */
	uint64_t offset;		/* in that file, bytes */
	uint64_t bytes;			/* about as many are unreadable; 0 when not known */
	char object[132];		/* "" when not known */
	char what[100];
};

/* Bugs on purpose, so that tests can prove that they would be found. All false in real life. */
struct embedded_planted {
	bool no_sync;			/* acknowledge without fdatasync */
	bool early_recycle;		/* reuse a segment before the index and the log allow it */
	bool lost_tombstone;		/* compaction forgets deletions */
};

struct index;

struct embedded_options {
	struct loop *loop;		/* fibers of this loop may call; NULL: see the file comment */
	bool threads;			/* writer and readers even without a loop */
	unsigned reader_threads;	/* 0: 2 */
	uint32_t segment_bytes;		/* 0: 64 MiB; multiple of block_bytes; files that exist keep their size */
	uint32_t block_bytes;		/* 0: 32 KiB; power of two, 512..32768 */
	uint64_t flush_bytes;		/* index flushed after as much log; 0: 256 MiB */
	uint64_t reserve_bytes;		/* disk space that only deletions may use; 0: two segments. One more is for keys. */
	/*
	 * Disk space left to an index in RocksDB: the log makes no segment that would leave less, since an
	 * index that cannot flush lets no segment go. 0: two segments and 16 MiB, at most 128 MiB.
	 */
	uint64_t index_room_bytes;
	unsigned compact_dead_percent;	/* a segment with as much dead space is compacted; 0: 50 */
	bool read_only;			/* fsck: writes nothing; an index in memory is built from the log */
	bool no_compaction;		/* only embedded_compact() moves anything */
	enum embedded_index index;
	const char *index_dir;		/* RocksDB's own directory, a path of the process; made when missing */
	struct index *index_given;	/* tests: an index made by the caller, who keeps owning it */
	/* Called from engine threads. */
	void (*on_damage)(void *arg, const struct embedded_damage *damage);
	/* Replay and rebuild at open: bytes of log read of about total. */
	void (*on_progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
	/*
	 * The index takes no more writes (its disk is full or failing): calls get ENGINE_UNAVAILABLE until the
	 * store is opened again, which replays what the index lacks. Nothing that was acknowledged is in doubt.
	 */
	void (*on_dead)(void *arg);
	/* Facts worth a log line ("index rebuilt", "fdatasync failed, ..."); warning or not. */
	void (*on_event)(void *arg, bool warning, const char *text);
	void *arg;
	struct embedded_planted planted;
};

/*
 * Open (and make, when the directory is empty) the store in the world's root. Replays the tail of the
 * log; rebuilds the index when it is missing, foreign or unreadable. The options are copied, strings too.
 * 0 or negative errno: -EBUSY it is open elsewhere (read_only: for writing); -EIO, -ENOSPC, -EUCLEAN (not our files).
 * engine_close() flushes the index and ends the threads; no call may be under way then.
 */
MUST_USE int embedded_open(struct world *world, const struct embedded_options *options,
			   struct engine **out, struct errmsg *why);

struct embedded_stats {
	uint64_t ops;			/* applied */
	uint64_t guard_failures;
	uint64_t batches;
	uint64_t syncs;
	uint64_t log_bytes;		/* written to the log, moves, footers and padding included */
	uint64_t payload_bytes;		/* of keys, values and bytes that callers gave */
	uint64_t moved_bytes;		/* by compaction */
	uint64_t reads;
	uint64_t segments_sealed;
	uint64_t segments_recycled;
	uint64_t index_flushes;
	uint64_t damage;		/* since open */
	uint64_t sync_failures;
	uint64_t full;			/* operations refused for lack of room */
	/* Levels. */
	uint64_t segments;		/* files that hold records */
	uint64_t segments_free;
	uint64_t live_bytes, stored_bytes;
	uint64_t replayed_records;	/* at open */
	bool rebuilt;			/* the index was made anew at open */
	bool stopped;			/* after a disk error, until a new segment is durable */
};

void embedded_stats(struct engine *e, struct embedded_stats *out);

/*
 * Compact until no sealed segment has dead bytes worth moving (`all`: any dead bytes at all), and give
 * segments back. For tools, tests, and a nightly run. May be called like any engine call.
 */
enum engine_result embedded_compact(struct engine *e, bool all);

/* For tests: end the engine as kill -9 would end its process, without a flush or a last write. */
void embedded_kill(struct engine *e);

struct embedded_report {
	uint64_t segments, records, bytes, objects, keys, extents, damaged;
};

/*
 * fsck: read every record and everything that the index points to, and verify checksums. Each
 * damage is also told to `found` (may be NULL). The engine may be open for use meanwhile only
 * in the same process. ENGINE_OK also when damage was found: look at report->damaged.
 */
enum engine_result embedded_check(struct engine *e, struct embedded_report *report,
				  void (*found)(void *arg, const struct embedded_damage *damage),
				  void *arg);

/* Drop the index; the next open rebuilds it from the log. The store must not be open. */
MUST_USE int embedded_drop_index(const char *index_dir, struct errmsg *why);
