/*
 * Inside of the embedded store, shared by its files: nobody else includes this.
 *
 *	log.c       segments, batches, sync, manifest, footer
 *	scan.c      reading a segment's records back, past damage
 *	state.c     the index's entries, the overlay of a batch, effects of a record
 *	plan.c      guards and encoding of one operation
 *	recover.c   open: newest segment, tail, rebuild
 *	compact.c   moving live records, giving segments back
 *	read.c      stat, read, keys, list, check
 *	embedded.c  threads, watches, leases, the engine's vtable
 *
 * All but read.c and embedded.c run on one thread, the writer.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "engine/embedded/embedded.h"
#include "engine/embedded/format.h"
#include "engine/embedded/index.h"

#define NO_SEGMENT	UINT32_MAX
#define INLINE_BYTES_MAX 128u		/* values up to this stand in the index, too */
#define BATCH_BYTES_MAX	(4u << 20)
#define SEGMENT_SLOTS_MAX (1u << 20)
#define READERS_MAX	16u

enum segment_state {
	SEG_NONE,			/* no file */
	SEG_FREE,			/* a file without records that anyone needs */
	SEG_ACTIVE,
	SEG_SEALED,
	SEG_EMPTIED,			/* nothing live; waits for the index flush and readers */
	SEG_GONE,			/* left out of the next manifest; free once that is durable */
};

struct segment {
	enum segment_state state;
	uint32_t generation, salt;
	uint64_t size;			/* of the file */
	uint64_t end;			/* position after the last record; the scanner stops there */
	uint64_t base_lsn, last_lsn;
	int64_t live_bytes;
	bool damaged;			/* compaction could not move all of it: stays as it is */
	bool verify;			/* a write failed: compare what was acknowledged with the disk */
	bool move_first;		/* the disk differs from what was acknowledged: empty it soon */
	uint64_t emptied_lsn;		/* lsn that the flushed index must cover */
	uint64_t emptied_epoch;		/* readers that started before may still hold it */
};

/* One entry of the index, decoded. */
struct entry {
	uint64_t version;		/* lsn of the record that made it */
	uint32_t oldest;		/* generation of the oldest segment that may hold a version of it */
	uint32_t segment;
	uint64_t pos;			/* of the value's first byte */
	uint32_t len, crc;		/* of the value */
	uint64_t length;		/* object entries: bytes of the object */
	struct slice data;		/* value, when it is at hand */
	bool inlined;			/* data holds all of it */
};

struct overlay_entry {
	struct map_node node;
	struct slice key;
	struct entry entry;
	bool present, dirty;
};

struct live_delta {
	uint32_t segment;
	int64_t bytes;
};

struct files;				/* open segment files, by slot */

/* A queued call; lives on the caller's stack. */
struct call;

struct store {
	struct engine base;
	struct world *w;
	struct embedded_options opt;
	char *index_dir;
	struct index *ix;
	bool own_ix;
	struct file *lock;
	struct files *files;

	/* The log. */
	struct segment *segs;
	uint32_t seg_count;		/* slots in use, SEG_NONE included */
	uint8_t log_id[16];
	uint32_t active;		/* or NO_SEGMENT */
	uint32_t last_generation;
	uint32_t reserve_segments;
	bool tight;			/* the reserve is not whole: bytes are refused */
	int64_t tight_retry_us;
	uint64_t next_lsn;
	uint64_t durable_lsn;
	uint64_t flushed_lsn;		/* the index on disk covers it; atomic */
	uint64_t bytes_since_flush;
	bool dead;			/* the index refuses writes: all calls fail until a restart */
	bool broken;			/* the last write failed; a new segment mends it */
	int64_t retry_us;
	bool verify;			/* some segment has its own flag set */

	/* The batch being built, as it will stand in the file from wb_at on. */
	struct buf wb;
	uint64_t wb_at;
	uint64_t wb_first_lsn;
	size_t record_left;		/* bytes of the current record still to be put */
	struct buf record;		/* header and body of the current one, contiguous */
	struct buf footer;
	struct buf footer_object;
	bool footer_lost;		/* too large, or the segment was not written by us: none */
	bool manifest_in_batch;

	/* The overlay. */
	struct map overlay;
	struct arena arena;
	struct live_delta *deltas;
	size_t delta_count, delta_cap;
	int state_err;			/* index or log could not be read while planning */
	struct buf value;		/* scratch */
	bool replaying;

	/* Compaction. */
	struct scan *compact_scan;
	uint32_t compact_segment;
	uint32_t compact_limit;		/* only generations up to it; 0: all */
	uint32_t compact_round;		/* newest generation of this round: see pick() */
	struct buf move;

	/* Index flush, maybe on a thread of its own. */
	pthread_t flusher;
	bool flusher_on, flush_asked, flush_busy;
	uint64_t flush_lsn;

	/* Threads and callers. */
	pthread_mutex_t lock_queue;
	pthread_cond_t wake_writer, wake_reader, wake_flusher;
	struct call *ops_first, *ops_last;
	struct call *reads_first, *reads_last;
	pthread_t writer, readers[READERS_MAX];
	unsigned reader_count;
	bool writer_on, stopping;
	pthread_mutex_t lock_segments;	/* the table moves under it; only the writer looks without */
	struct completions *completions;
	_Atomic uint64_t epoch;		/* rises with every emptied segment */
	_Atomic uint64_t reader_epoch[READERS_MAX];	/* 0: idle */

	struct watch_entry *watches;
	uint64_t next_watch;
	struct map leases;

	struct embedded_stats stats;
};

static inline struct store *store_of(struct engine *e)
{
	return container_of(e, struct store, base);
}

static inline void count(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

void store_event(struct store *s, bool warning, const char *fmt, ...) PRINTF_LIKE(3, 4);
void store_damage(struct store *s, const struct embedded_damage *d);

/* ---- log.c ---- */

MUST_USE int files_new(struct files **out);
void files_free(struct store *s);
/* Borrow the open file of a segment; give it back with file_put. 0 or negative errno. */
MUST_USE int file_get(struct store *s, uint32_t segment, struct file **out);
void file_put(struct store *s, uint32_t segment);
/* Close it (before unlink); nobody may hold it. */
void file_forget(struct store *s, uint32_t segment);
void segment_path(char out[32], uint32_t segment);

/* Grow the table; new slots are SEG_NONE. */
MUST_USE int segments_reserve(struct store *s, uint32_t slots);

enum log_room {
	LOG_ROOM,
	LOG_CUT,			/* commit what is in the batch first, then ask again */
	LOG_FULL,			/* ENGINE_FULL */
	LOG_DOWN,			/* ENGINE_UNAVAILABLE */
};

/*
 * What an operation needs room for. On a full disk the reserve is there for those who make room: deletions and
 * moves may take all of it; keys KEY_SEGMENTS of it, since a user reads new mail, and deletes, by setting
 * keys; bytes nothing.
 */
enum log_need { LOG_DELETES, LOG_KEYS, LOG_BYTES };
#define KEY_SEGMENTS 1u

/*
 * May a record with this body be added to the batch? Opens the next segment when needed (its manifest
 * joins the batch).
 */
MUST_USE enum log_room log_room(struct store *s, size_t body_bytes, enum log_need need);
/* Begin a record: s->record holds room for its header; append the body. */
void log_begin(struct store *s);
/*
 * Add the record in s->record (RECORD_HEADER_BYTES of room, then the body) to the batch. Returns
 * its position and sets *lsn.
 */
uint64_t log_put(struct store *s, enum record_type type, uint64_t *lsn);
static inline bool log_batch_empty(const struct store *s)
{
	return s->wb.len == 0;
}
/*
 * Write and sync the batch, apply the overlay to the index. 0, or a negative errno: nothing of the
 * batch holds (a power cut now may still bring it back), the log goes on in a new segment.
 */
MUST_USE int log_commit(struct store *s);
/*
 * Begin a new segment although the active one has room, so that a manifest without the segments that
 * were let go makes them free. 0 or negative errno.
 */
MUST_USE int log_switch(struct store *s);
/* After the last batch: footer, so that the next open is quick. Ignores failures. */
void log_close(struct store *s);
/* Drop the batch before anything of it was written. */
void log_abandon(struct store *s);
/* Refill the reserve of free segments when it is not whole; sets s->tight. */
void log_reserve(struct store *s);
/* Compare the acknowledged part of segments after a failed write or sync with the disk itself. */
void log_verify(struct store *s);
/* Add the footer's copy of an effect. object first, then kind and fields in `effect`. */
void footer_add(struct store *s, struct slice object, struct slice effect);
bool segment_listed(const struct store *s, uint32_t segment);
/* Is any listed segment other than `except` of a generation within [low, high]? */
bool generation_listed(const struct store *s, uint32_t low, uint32_t high, uint32_t except);

struct manifest_row {
	uint32_t segment, generation, salt;
	uint64_t end, base_lsn, last_lsn;
};
/* Reads a manifest body: calls fn for each row. False: malformed (rows before may have been seen). */
MUST_USE bool manifest_read(struct slice body, uint8_t log_id[16],
			    void (*fn)(void *arg, const struct manifest_row *row), void *arg);
/* Footer of a sealed segment, bodies joined, in out; false: none or not whole. */
MUST_USE bool footer_read(struct store *s, uint32_t segment, struct buf *out);

/* ---- scan.c ---- */

struct scan {
	struct store *s;
	uint32_t segment, generation, salt;
	struct file *file;
	uint64_t pos, limit;		/* limit: position where reading stops */
	bool direct;			/* past the page cache; set it before the first scan_next */
	int err;			/* reading failed in a way that says nothing about the disk */
	bool unreadable;		/* the disk refused some sectors: they were taken for zeros */
	uint64_t unreadable_end;	/* position behind the last of them */
	uint64_t expect;		/* lsn of the next record; 0: any */
	uint8_t *window;
	uint64_t window_at;
	size_t window_len;
	struct buf record;
	/* Of the last SCAN_RECORD. */
	struct record_header header;
	uint64_t record_pos;
	struct slice body;
	/* Of the last SCAN_BAD. */
	uint64_t bad_pos, bad_expect;
	uint64_t good_end;		/* position after the last good record */
	bool resumed;			/* a bad place was reported for the record that follows */
};

enum scan_result {
	SCAN_RECORD,
	SCAN_BAD,			/* bytes at bad_pos are no record, or records are missing; go on calling */
	SCAN_END,
	SCAN_ERROR,			/* the file cannot be read now: see err */
};

/* NULL when memory is short or the file cannot be opened. */
struct scan *scan_new(struct store *s, uint32_t segment, uint64_t limit, uint64_t expect);
enum scan_result scan_next(struct scan *c);
void scan_free(struct scan *c);
/* Bytes of the stream from pos on, block headers left out and not checked. 0, -EIO at the end of file. */
MUST_USE int stream_read(struct store *s, uint32_t segment, uint64_t pos, size_t n, struct buf *out);
/*
 * The same for a row of reads of one operation. Once two lie near each other, so many bytes of the file
 * come with one call that the following are most often there. Zeroed at first, then span_done.
 */
struct span {
	struct buf raw;			/* of the file, block headers and all */
	uint32_t segment;
	uint64_t at, end;		/* raw's place; the end of the last read */
	bool any;
};
/* left: how many bytes the operation still wants, this read included. */
MUST_USE int span_read(struct store *s, struct span *w, uint32_t segment, uint64_t pos, size_t n, uint64_t left,
		       struct buf *out);
void span_done(struct span *w);

/* ---- state.c ---- */

enum key_kind { KEY_OBJECT = 1, KEY_KEY = 2, KEY_EXTENT = 3 };
#define INDEX_KEY_BYTES_MAX (ENGINE_NAME_BYTES_MAX + 2 + ENGINE_KEY_BYTES_MAX)

struct index_key {
	uint8_t bytes[INDEX_KEY_BYTES_MAX];
	size_t len;
};

void index_key_make(struct index_key *k, struct slice object, enum key_kind kind, struct slice key);
static inline struct slice index_key_slice(const struct index_key *k)
{
	return slice_of(k->bytes, k->len);
}
void extent_key(uint8_t out[8], uint64_t end);
/* False on bytes that are not ours. data points into `value`. */
MUST_USE bool entry_decode(enum key_kind kind, struct slice value, struct entry *out);

/* Overlay, then index. The pointer lives until the overlay is forgotten. NULL: absent (or s->state_err). */
struct entry *state_get(struct store *s, struct slice object, enum key_kind kind, struct slice key);
/* Any uncommitted change under this object? */
bool state_touched(struct store *s, struct slice object);
/* Effects of a record at record_pos of `segment` on the overlay. False: malformed body. */
MUST_USE bool state_apply(struct store *s, uint32_t segment, uint64_t record_pos,
			  enum record_type type, uint64_t lsn, struct slice body);
/* Effects out of a footer. */
MUST_USE bool state_apply_footer(struct store *s, uint32_t segment, struct slice body);
/* Overlay to index; lsn is the position that the index then covers. */
MUST_USE int state_commit(struct store *s, uint64_t lsn);
void state_forget(struct store *s);
MUST_USE int state_flush(struct store *s);
#define POSITION_KEY SLICE("\0p")
#define SEGMENT_KEY_PREFIX SLICE("\0s")

/* A cursor over the effects in a body, used by apply, compaction and fsck alike. */
struct effect {
	enum effect_kind kind;
	uint64_t version;
	struct slice key;		/* SET, KEY, DELETE */
	uint64_t at;			/* WRITE: offset; EXTENT: end offset */
	struct slice value;		/* bytes (not in footers) */
	size_t value_offset;		/* in the body */
	uint64_t pos;			/* FOOTER: of the value */
	uint32_t len, crc;		/* FOOTER */
	uint32_t oldest, newest;	/* DELETE, REMOVE: generations that may hold what is deleted */
};
struct effects {
	struct reader r;
	enum record_type type;
	const uint8_t *start;
	uint64_t lsn;
	uint32_t generation;
	bool creates;			/* OP */
	struct slice object;
};
MUST_USE bool effects_open(struct effects *f, enum record_type type, uint64_t lsn,
			   uint32_t generation, struct slice body);
/* 1: one; 0: end; -1: malformed. */
int effects_next(struct effects *f, struct effect *out);

/* ---- plan.c ---- */

enum plan { PLAN_DONE, PLAN_CUT };
/* Guards, then encode into the batch. PLAN_CUT: commit, then call again. */
enum plan plan_op(struct store *s, const struct engine_op *op, enum engine_result *result);
/* The value of a key entry, from the entry or from the log. 0, -EBADMSG damaged, or negative errno. */
MUST_USE int entry_value(struct store *s, const struct entry *e, struct buf *out);
bool op_valid(const struct engine_op *op);

/* ---- recover.c ---- */
MUST_USE int recover(struct store *s, struct errmsg *why);

/* ---- compact.c ---- */
/* True when there is something to do. `all`: any dead bytes count. */
bool compact_due(struct store *s, bool all);
/* Do about `budget` bytes of it. 1: did something, 0: nothing to do, or negative errno. */
int compact_step(struct store *s, size_t budget, bool all);
void compact_abort(struct store *s);
void flush_start(struct store *s, bool wait);
/* Emptied segments whose time has come: SEG_GONE, to be left out of the next manifest. */
void segments_let_go(struct store *s);

/* ---- read.c ---- */
/*
 * later: NULL in the ordinary way. Else only what the index has in memory is looked at, from any thread;
 * *later is set when that does not give the answer, and then the result means nothing.
 */
enum engine_result read_stat(struct store *s, struct slice object, struct engine_stat *out, bool *later);
enum engine_result read_bytes(struct store *s, struct slice object, uint64_t at, size_t n,
			      struct buf *out);
enum engine_result read_keys(struct store *s, struct slice object, struct slice from,
			     struct slice to, size_t max_count, size_t max_bytes,
			     struct arena *arena, struct engine_kv **out, size_t *n, bool *more, bool *later);
enum engine_result read_list(struct store *s, struct slice prefix, struct slice after,
			     size_t max_count, struct arena *arena, struct slice **names, size_t *n);
enum engine_result check_all(struct store *s, struct embedded_report *report,
			     void (*found)(void *arg, const struct embedded_damage *d), void *arg);
