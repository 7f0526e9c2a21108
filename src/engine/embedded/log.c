#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/must.h"
#include "engine/embedded/store.h"

#define FILES_OPEN_MAX 256u
#define TRAILER_BYTES LOG_SECTOR_BYTES
#define FOOTER_SHARE 8u			/* a footer takes at most 1/8 of its segment, else none */
#define FOOTER_RECORD_BYTES (1u << 20)
#define RETRY_US 500000
#define SPARE_SEGMENTS 2u		/* free files kept beyond the reserve */

/* ---- open files ---- */

struct open_file {
	struct file *file;
	unsigned users;
	uint64_t used;
};

struct files {
	pthread_mutex_t lock;
	struct open_file *rows;
	uint32_t count;
	uint32_t open;
	uint64_t tick;
};

int files_new(struct files **out)
{
	struct files *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return -ENOMEM;
	pthread_mutex_init(&f->lock, NULL);
	*out = f;
	return 0;
}

void files_free(struct store *s)
{
	if (s->files == NULL)
		return;
	for (uint32_t i = 0; i < s->files->count; i++)
		if (s->files->rows[i].file != NULL)
			s->w->ops->close(s->w, s->files->rows[i].file);
	pthread_mutex_destroy(&s->files->lock);
	free(s->files->rows);
	free(s->files);
	s->files = NULL;
}

void segment_path(char out[32], uint32_t segment)
{
	snprintf(out, 32, "log/%u", segment);
}

static void files_evict(struct store *s, struct files *f)
{
	struct open_file *oldest = NULL;

	if (f->open < FILES_OPEN_MAX)
		return;
	for (uint32_t i = 0; i < f->count; i++) {
		struct open_file *o = &f->rows[i];

		if (o->file != NULL && o->users == 0 && (oldest == NULL || o->used < oldest->used))
			oldest = o;
	}
	if (oldest == NULL)
		return;
	s->w->ops->close(s->w, oldest->file);
	oldest->file = NULL;
	f->open--;
}

static int files_open(struct store *s, struct files *f, uint32_t segment)
{
	char path[32];

	if (segment >= f->count) {
		uint32_t n = segment + 64;
		struct open_file *rows = reallocarray(f->rows, n, sizeof(*rows));

		if (rows == NULL)
			return -ENOMEM;
		memset(rows + f->count, 0, (n - f->count) * sizeof(*rows));
		f->rows = rows;
		f->count = n;
	}
	if (f->rows[segment].file != NULL)
		return 0;
	files_evict(s, f);
	segment_path(path, segment);
	int err = s->w->ops->open(s->w, path, s->opt.read_only ? OPEN_READ : OPEN_WRITE,
				  &f->rows[segment].file);
	if (err == 0)
		f->open++;
	return err;
}

int file_get(struct store *s, uint32_t segment, struct file **out)
{
	struct files *f = s->files;

	pthread_mutex_lock(&f->lock);
	int err = files_open(s, f, segment);
	if (err == 0) {
		f->rows[segment].users++;
		f->rows[segment].used = ++f->tick;
		*out = f->rows[segment].file;
	}
	pthread_mutex_unlock(&f->lock);
	return err;
}

void file_put(struct store *s, uint32_t segment)
{
	pthread_mutex_lock(&s->files->lock);
	s->files->rows[segment].users--;
	pthread_mutex_unlock(&s->files->lock);
}

void file_forget(struct store *s, uint32_t segment)
{
	struct files *f = s->files;

	pthread_mutex_lock(&f->lock);
	if (segment < f->count && f->rows[segment].file != NULL && f->rows[segment].users == 0) {
		s->w->ops->close(s->w, f->rows[segment].file);
		f->rows[segment].file = NULL;
		f->open--;
	}
	pthread_mutex_unlock(&f->lock);
}

/* ---- segments ---- */

int segments_reserve(struct store *s, uint32_t slots)
{
	if (slots <= s->seg_count)
		return 0;
	if (slots > SEGMENT_SLOTS_MAX)
		return -ENOSPC;
	pthread_mutex_lock(&s->lock_segments);
	struct segment *segs = reallocarray(s->segs, slots, sizeof(*segs));
	if (segs != NULL) {
		memset(segs + s->seg_count, 0, (slots - s->seg_count) * sizeof(*segs));
		s->segs = segs;
		s->seg_count = slots;
	}
	pthread_mutex_unlock(&s->lock_segments);
	return segs == NULL ? -ENOMEM : 0;
}

bool segment_listed(const struct store *s, uint32_t segment)
{
	enum segment_state state = s->segs[segment].state;

	/* SEG_GONE counts: until a manifest without it is durable, a rebuild would read it. */
	return state >= SEG_ACTIVE;
}

bool generation_listed(const struct store *s, uint32_t low, uint32_t high, uint32_t except)
{
	for (uint32_t i = 0; i < s->seg_count; i++)
		if (i != except && segment_listed(s, i) && s->segs[i].generation >= low &&
		    s->segs[i].generation <= high)
			return true;
	return false;
}

static uint32_t segments_in(const struct store *s, enum segment_state state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->seg_count; i++)
		n += s->segs[i].state == state;
	return n;
}

static uint32_t segment_find(const struct store *s, enum segment_state state)
{
	for (uint32_t i = 0; i < s->seg_count; i++)
		if (s->segs[i].state == state)
			return i;
	return NO_SEGMENT;
}

/* A file system that cannot tell is taken at its word when it refuses. */
static bool index_has_room(struct store *s)
{
	uint64_t free_bytes, total_bytes;

	return s->opt.index_room_bytes == 0 || s->w->ops->space(s->w, &free_bytes, &total_bytes) != 0 ||
	       free_bytes >= s->opt.segment_bytes + s->opt.index_room_bytes;
}

/* A new file with blocks of its own; SEG_FREE. */
static int segment_create(struct store *s)
{
	uint32_t segment = segment_find(s, SEG_NONE);
	struct file *file;
	char path[32];
	int err;

	if (!index_has_room(s))
		return -ENOSPC;
	if (segment == NO_SEGMENT) {
		segment = s->seg_count;
		err = segments_reserve(s, s->seg_count + 8);
		if (err != 0)
			return err;
	}
	segment_path(path, segment);
	err = s->w->ops->open(s->w, path, OPEN_CREATE, &file);
	if (err != 0)
		return err;
	err = s->w->ops->allocate(s->w, file, s->opt.segment_bytes);
	if (err == 0)
		err = s->w->ops->sync_dir(s->w, "log");
	s->w->ops->close(s->w, file);
	if (err != 0) {
		s->w->ops->unlink(s->w, path);
		return err;
	}
	s->segs[segment] = (struct segment){ .state = SEG_FREE, .size = s->opt.segment_bytes };
	return 0;
}

void log_reserve(struct store *s)
{
	while (segments_in(s, SEG_FREE) < s->reserve_segments) {
		if (segment_create(s) == 0)
			continue;
		s->tight = true;
		s->tight_retry_us = world_mono_us(s->w) + RETRY_US / 5;
		return;
	}
	s->tight = false;
}

/* Give files beyond reserve and spare back to the file system. */
static void segments_trim(struct store *s)
{
	uint32_t keep = s->reserve_segments + SPARE_SEGMENTS;

	for (uint32_t i = s->seg_count; i-- > 0 && segments_in(s, SEG_FREE) > keep;) {
		char path[32];

		if (s->segs[i].state != SEG_FREE)
			continue;
		file_forget(s, i);
		segment_path(path, i);
		if (s->w->ops->unlink(s->w, path) == 0)
			s->segs[i].state = SEG_NONE;
	}
}

/* ---- encoding ---- */

static uint64_t raw_end(const struct store *s)
{
	return s->wb_at + s->wb.len;
}

static void put_block_header(struct store *s)
{
	uint64_t raw = raw_end(s);
	uint32_t room = s->opt.block_bytes - BLOCK_HEADER_BYTES;
	struct block_header h = {
		.generation = s->segs[s->active].generation,
		.salt = s->segs[s->active].salt,
		.segment = s->active,
		.number = (uint32_t)(raw / s->opt.block_bytes),
		.first_record = (uint16_t)(s->record_left < room ?
						   s->record_left + BLOCK_HEADER_BYTES :
						   0),
		.block_shift = (uint8_t)__builtin_ctz(s->opt.block_bytes),
	};
	uint8_t bytes[BLOCK_HEADER_BYTES];

	block_header_write(bytes, &h);
	buf_add(&s->wb, slice_of(bytes, sizeof(bytes)));
}

static void put_stream(struct store *s, struct slice bytes)
{
	s->record_left = bytes.len;
	while (bytes.len > 0) {
		uint32_t in = (uint32_t)(raw_end(s) % s->opt.block_bytes);

		if (in == 0) {
			put_block_header(s);
			in = BLOCK_HEADER_BYTES;
		}
		struct slice piece = slice_head(bytes, s->opt.block_bytes - in);

		buf_add(&s->wb, piece);
		bytes = slice_from(bytes, piece.len);
		s->record_left = bytes.len;
	}
}

static uint64_t data_limit(const struct store *s)
{
	const struct segment *g = &s->segs[s->active];
	uint64_t footer = s->footer_lost ? 0 : s->footer.len + s->footer.len / 8 + 1024;
	uint64_t limit = g->size - TRAILER_BYTES;

	return footer < limit ? limit - footer : 0;
}

uint64_t log_put(struct store *s, enum record_type type, uint64_t *lsn)
{
	struct segment *g = &s->segs[s->active];
	struct slice body = slice_from(buf_slice(&s->record), RECORD_HEADER_BYTES);
	struct record_header h = {
		.type = (uint8_t)type,
		.generation = g->generation,
		.salt = g->salt,
		.lsn = s->next_lsn++,
		.durable = s->durable_lsn,
	};
	uint64_t pos = pos_normal(raw_end(s), s->opt.block_bytes);

	if (s->wb.len == 0)
		s->wb_first_lsn = h.lsn;
	record_header_write(s->record.ptr, &h, body);
	put_stream(s, buf_slice(&s->record));
	*lsn = h.lsn;
	return pos;
}

void log_begin(struct store *s)
{
	buf_reset(&s->record);
	buf_fill(&s->record, 0, RECORD_HEADER_BYTES);
}

/* ---- manifest ---- */

static void manifest_body(struct store *s, struct buf *b)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->seg_count; i++)
		n += segment_listed(s, i) && s->segs[i].state != SEG_GONE && i != s->active;
	buf_add(b, slice_of(s->log_id, sizeof(s->log_id)));
	buf_varint(b, n);
	for (uint32_t i = 0; i < s->seg_count; i++) {
		const struct segment *g = &s->segs[i];

		if (!segment_listed(s, i) || g->state == SEG_GONE || i == s->active)
			continue;
		buf_varint(b, i);
		buf_be32(b, g->generation);
		buf_be32(b, g->salt);
		buf_varint(b, g->end);
		buf_varint(b, g->base_lsn);
		buf_varint(b, g->last_lsn);
	}
}

bool manifest_read(struct slice body, uint8_t log_id[16],
		   void (*fn)(void *arg, const struct manifest_row *row), void *arg)
{
	struct reader r = reader_of(body);
	struct slice id = rd_bytes(&r, 16);
	uint64_t n = rd_varint_max(&r, SEGMENT_SLOTS_MAX);

	for (uint64_t i = 0; i < n && !r.bad; i++) {
		struct manifest_row row;

		row.segment = (uint32_t)rd_varint_max(&r, SEGMENT_SLOTS_MAX - 1);
		row.generation = rd_be32(&r);
		row.salt = rd_be32(&r);
		row.end = rd_varint(&r);
		row.base_lsn = rd_varint(&r);
		row.last_lsn = rd_varint(&r);
		if (!r.bad && fn != NULL)
			fn(arg, &row);
	}
	if (!rd_end(&r))
		return false;
	memcpy(log_id, id.ptr, 16);
	return true;
}

/* ---- footer ---- */

void footer_add(struct store *s, struct slice object, struct slice effect)
{
	if (s->footer_lost)
		return;
	if (!slice_eq(object, buf_slice(&s->footer_object))) {
		buf_addc(&s->footer, EFFECT_OBJECT);
		buf_blob(&s->footer, object);
		buf_reset(&s->footer_object);
		buf_add(&s->footer_object, object);
	}
	buf_add(&s->footer, effect);
	if (s->footer.err != 0 || s->footer.len > s->segs[s->active].size / FOOTER_SHARE)
		s->footer_lost = true;
}

static void footer_reset(struct store *s, bool lost)
{
	buf_reset(&s->footer);
	buf_reset(&s->footer_object);
	s->footer_lost = lost;
}

#define TRAILER_MAGIC 0x50726b46u	/* "PrkF" */

/* Footer records into the (empty) batch, and the trailer that points to them. False: no room. */
static bool footer_put(struct store *s, uint8_t trailer[TRAILER_BYTES])
{
	struct segment *g = &s->segs[s->active];
	struct slice rest = buf_slice(&s->footer);
	uint64_t lsn, first = pos_normal(raw_end(s), s->opt.block_bytes);
	uint64_t need = rest.len + (rest.len / FOOTER_RECORD_BYTES + 1) * RECORD_HEADER_BYTES;

	if (pos_add(first, need, s->opt.block_bytes) > g->size - TRAILER_BYTES)
		return false;
	do {
		struct slice piece = slice_head(rest, FOOTER_RECORD_BYTES);

		log_begin(s);
		buf_add(&s->record, piece);
		log_put(s, RECORD_FOOTER, &lsn);
		rest = slice_from(rest, piece.len);
	} while (rest.len > 0);
	memset(trailer, 0, TRAILER_BYTES);
	put_be32(trailer + 4, TRAILER_MAGIC);
	put_be32(trailer + 8, g->generation);
	put_be32(trailer + 12, g->salt);
	put_be64(trailer + 16, first);
	put_be64(trailer + 24, s->wb_first_lsn);
	put_be64(trailer + 32, lsn);
	put_be32(trailer, crc32c(0, slice_of(trailer + 4, TRAILER_BYTES - 4)));
	return true;
}

bool footer_read(struct store *s, uint32_t segment, struct buf *out)
{
	const struct segment *g = &s->segs[segment];
	uint8_t t[TRAILER_BYTES];
	struct file *file;

	if (g->size < TRAILER_BYTES || file_get(s, segment, &file) != 0)
		return false;
	int64_t got = s->w->ops->pread(s->w, file, t, sizeof(t), g->size - TRAILER_BYTES);
	file_put(s, segment);
	if (got != (int64_t)sizeof(t) || get_be32(t) != crc32c(0, slice_of(t + 4, sizeof(t) - 4)) ||
	    get_be32(t + 4) != TRAILER_MAGIC || get_be32(t + 8) != g->generation ||
	    get_be32(t + 12) != g->salt)
		return false;
	uint64_t first = get_be64(t + 16), lsn = get_be64(t + 24), last = get_be64(t + 32);

	/* A footer speaks for the whole segment only if it is the segment's end. */
	if (last != g->last_lsn || first >= g->end || first < BLOCK_HEADER_BYTES ||
	    first % s->opt.block_bytes < BLOCK_HEADER_BYTES)
		return false;
	struct scan *c = scan_new(s, segment, g->end, lsn);
	if (c == NULL)
		return false;
	c->pos = first;
	while (lsn <= last && scan_next(c) == SCAN_RECORD && c->header.type == RECORD_FOOTER &&
	       c->header.lsn == lsn) {
		buf_add(out, c->body);
		lsn++;
	}
	scan_free(c);
	return lsn == last + 1 && out->err == 0;
}

/* ---- opening, sealing ---- */

static int write_at(struct store *s, uint32_t segment, struct slice bytes, uint64_t at, bool sync)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len };
	struct file *file;
	int err = file_get(s, segment, &file);

	if (err != 0)
		return err;
	if (bytes.len > 0)
		err = s->w->ops->pwritev(s->w, file, &iov, 1, at);
	if (err == 0 && sync && !s->opt.planted.no_sync) {
		err = s->w->ops->datasync(s->w, file);
		count(&s->stats.syncs, 1);
	}
	file_put(s, segment);
	count(&s->stats.log_bytes, bytes.len);
	return err;
}

/* Bring the batch to a whole number of sectors. */
static void batch_pad(struct store *s)
{
	size_t odd = s->wb.len % LOG_SECTOR_BYTES;

	if (odd != 0)
		buf_fill(&s->wb, 0, LOG_SECTOR_BYTES - odd);
}

/* The next batch starts after what is in the file. */
static void batch_next(struct store *s)
{
	s->wb_at += s->wb.len;
	buf_reset(&s->wb);
}

static void batch_forget(struct store *s)
{
	buf_reset(&s->wb);
	s->next_lsn = s->durable_lsn + 1;
	s->manifest_in_batch = false;
	s->footer_lost = true;		/* it speaks of records that will not be */
	state_forget(s);
}

void log_abandon(struct store *s)
{
	if (s->active != NO_SEGMENT && s->segs[s->active].last_lsn < s->segs[s->active].base_lsn) {
		s->segs[s->active].state = SEG_FREE;
		s->active = NO_SEGMENT;
	}
	batch_forget(s);
}

/*
 * A write or sync failed. Nothing of the batch was acknowledged; what was before it is durable. The
 * segment ends there for good (the next manifest says so) and the log goes on in another one: after
 * a failed fdatasync the kernel may have dropped the pages and call them clean.
 */
static void log_fail(struct store *s, int err)
{
	struct segment *g = &s->segs[s->active];
	char path[32];

	count(&s->stats.sync_failures, 1);
	store_event(s, true, "writing to log segment %u failed (%s): going on in a new segment",
		    s->active, strerrordesc_np(-err));
	if (g->last_lsn < g->base_lsn) {
		/*
		 * Nothing durable in it, not even a manifest. Yet the disk may hold all of it and the page
		 * cache something else for ever: a file of this name must start with new pages. Where it
		 * stays, it waits for the next durable manifest, which makes it old.
		 */
		file_forget(s, s->active);
		segment_path(path, s->active);
		g->state = s->w->ops->unlink(s->w, path) == 0 ? SEG_NONE : SEG_GONE;
	} else {
		g->state = SEG_SEALED;
		g->verify = true;
		s->verify = true;
	}
	s->active = NO_SEGMENT;
	s->broken = true;
	__atomic_store_n(&s->stats.stopped, true, __ATOMIC_RELAXED);
	s->retry_us = world_mono_us(s->w) + RETRY_US;
	batch_forget(s);
}

static int segment_seal(struct store *s)
{
	struct segment *g = &s->segs[s->active];
	uint8_t trailer[TRAILER_BYTES];

	must(log_batch_empty(s));
	if (!s->footer_lost && footer_put(s, trailer)) {
		batch_pad(s);
		int err = write_at(s, s->active, buf_slice(&s->wb), s->wb_at, false);
		if (err == 0)
			err = write_at(s, s->active, slice_of(trailer, sizeof(trailer)),
				       g->size - TRAILER_BYTES, true);
		if (err != 0) {
			log_fail(s, err);
			return err;
		}
		g->last_lsn = s->next_lsn - 1;
		s->durable_lsn = g->last_lsn;
		batch_next(s);
		g->end = s->wb_at;
	}
	g->state = SEG_SEALED;
	s->active = NO_SEGMENT;
	count(&s->stats.segments_sealed, 1);
	return 0;
}

static enum log_room room_of_error(int err)
{
	return err == -ENOSPC || err == -EDQUOT ? LOG_FULL : LOG_DOWN;
}

/* A file that was shortened when its segment ended early gets its full size back. */
static int segment_whole(struct store *s, uint32_t segment)
{
	struct segment *g = &s->segs[segment];
	struct file *file;
	int err;

	if (g->size >= s->opt.segment_bytes)
		return 0;
	err = file_get(s, segment, &file);
	if (err != 0)
		return err;
	err = s->w->ops->allocate(s->w, file, s->opt.segment_bytes);
	file_put(s, segment);
	if (err == 0)
		g->size = s->opt.segment_bytes;
	return err;
}

/* A new active segment; its manifest is the first record of the batch. */
static enum log_room segment_open(struct store *s, enum log_need need)
{
	uint32_t segment;
	int err;

	log_reserve(s);
	if (s->tight && need != LOG_DELETES)
		return LOG_FULL;
	segment = segment_find(s, SEG_FREE);
	/* The reserve stays whole where the disk has room. */
	if (segment == NO_SEGMENT ||
	    (!s->tight && segments_in(s, SEG_FREE) <= s->reserve_segments)) {
		err = segment_create(s);
		if (err != 0 && need == LOG_BYTES && segment != NO_SEGMENT)
			s->tight = true;
		if (err != 0 && (need == LOG_BYTES || segment == NO_SEGMENT))
			return room_of_error(err);
		segment = segment_find(s, SEG_FREE);
	}
	err = segment_whole(s, segment);
	if (err != 0)
		return room_of_error(err);
	segments_let_go(s);

	struct segment *g = &s->segs[segment];

	*g = (struct segment){ .state = SEG_ACTIVE, .size = g->size };
	g->generation = ++s->last_generation;
	world_random(s->w, &g->salt, sizeof(g->salt));
	g->base_lsn = s->next_lsn;
	g->last_lsn = s->next_lsn - 1;
	g->end = BLOCK_HEADER_BYTES;
	s->active = segment;
	s->wb_at = 0;
	footer_reset(s, false);

	uint64_t lsn;

	log_begin(s);
	manifest_body(s, &s->record);
	if (s->record.err != 0) {
		g->state = SEG_FREE;
		s->active = NO_SEGMENT;
		return LOG_DOWN;
	}
	log_put(s, RECORD_MANIFEST, &lsn);
	s->manifest_in_batch = true;
	return LOG_ROOM;
}

/* May it not even fill up the active segment? See enum log_need. */
static bool has_had_its_share(struct store *s, enum log_need need)
{
	return s->tight && (need == LOG_BYTES ||
			    (need == LOG_KEYS && segments_in(s, SEG_FREE) + KEY_SEGMENTS < s->reserve_segments));
}

enum log_room log_room(struct store *s, size_t body_bytes, enum log_need need)
{
	if (s->tight && world_mono_us(s->w) >= s->tight_retry_us)
		log_reserve(s);
	if (has_had_its_share(s, need))
		return LOG_FULL;
	if (s->active != NO_SEGMENT) {
		uint64_t pos = pos_normal(raw_end(s), s->opt.block_bytes);
		uint64_t end = pos_add(pos, RECORD_HEADER_BYTES + body_bytes, s->opt.block_bytes);

		if (end + LOG_SECTOR_BYTES <= data_limit(s))
			return s->wb.len > BATCH_BYTES_MAX ? LOG_CUT : LOG_ROOM;
		if (!log_batch_empty(s))
			return LOG_CUT;
		if (segment_seal(s) != 0)
			return LOG_DOWN;
	}
	must(log_batch_empty(s));
	if (s->broken && world_mono_us(s->w) < s->retry_us)
		return LOG_DOWN;
	enum log_room room = segment_open(s, need);
	if (room != LOG_ROOM)
		return room;
	/* An operation that does not fit into an empty segment never will: op_valid knows. */
	return LOG_ROOM;
}

int log_switch(struct store *s)
{
	must(log_batch_empty(s));
	if (s->active != NO_SEGMENT) {
		int err = segment_seal(s);
		if (err != 0)
			return err;
	}
	switch (segment_open(s, LOG_DELETES)) {
	case LOG_ROOM:
		return log_commit(s);
	case LOG_FULL:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

static void manifest_durable(struct store *s)
{
	s->manifest_in_batch = false;
	for (uint32_t i = 0; i < s->seg_count; i++) {
		if (s->segs[i].state != SEG_GONE)
			continue;
		s->segs[i].state = SEG_FREE;
		s->segs[i].live_bytes = 0;
		count(&s->stats.segments_recycled, 1);
	}
	segments_trim(s);
}

int log_commit(struct store *s)
{
	if (log_batch_empty(s)) {
		state_forget(s);
		return 0;
	}
	int err = s->state_err;
	if (err == 0 && (s->wb.err != 0 || s->record.err != 0))
		err = -ENOMEM;
	if (err != 0) {
		log_abandon(s);
		return err;
	}
	struct segment *g = &s->segs[s->active];

	batch_pad(s);
	err = write_at(s, s->active, buf_slice(&s->wb), s->wb_at, true);
	if (err != 0) {
		log_fail(s, err);
		return err;
	}
	s->durable_lsn = s->next_lsn - 1;
	g->last_lsn = s->durable_lsn;
	s->bytes_since_flush += s->wb.len;
	batch_next(s);
	g->end = s->wb_at;
	s->broken = false;
	__atomic_store_n(&s->stats.stopped, false, __ATOMIC_RELAXED);
	count(&s->stats.batches, 1);
	err = state_commit(s, s->durable_lsn);
	if (s->manifest_in_batch)
		manifest_durable(s);
	if (err == 0 && s->bytes_since_flush >= s->opt.flush_bytes)
		flush_start(s, false);
	return err;
}

void log_close(struct store *s)
{
	struct segment *g = &s->segs[s->active == NO_SEGMENT ? 0 : s->active];
	uint64_t need = s->wb_at + s->footer.len + s->footer.len / 8 + 4 * LOG_SECTOR_BYTES +
			TRAILER_BYTES;
	struct file *file;

	if (s->active == NO_SEGMENT || !log_batch_empty(s))
		return;
	/* The next start opens a new segment: give back the room that this one will not use. */
	need = (need + LOG_SECTOR_BYTES - 1) & ~(uint64_t)(LOG_SECTOR_BYTES - 1);
	if (need < g->size && file_get(s, s->active, &file) == 0) {
		if (s->w->ops->truncate(s->w, file, need) == 0)
			g->size = need;
		file_put(s, s->active);
	}
	(void)segment_seal(s);
}

/* Does the disk hold what the page cache shows, up to the segment's end? */
static bool segment_differs(struct store *s, uint32_t segment, uint8_t *a, uint8_t *b, size_t piece)
{
	const struct segment *g = &s->segs[segment];
	bool differs = false;
	struct file *file;

	if (file_get(s, segment, &file) != 0)
		return false;
	for (uint64_t at = 0; at < g->end && !differs; at += piece) {
		size_t n = (size_t)MIN((uint64_t)piece, g->end - at);
		int64_t x = s->w->ops->pread(s->w, file, a, n, at);
		int64_t y = s->w->ops->pread_direct(s->w, file, b, n, at);

		differs = y != (int64_t)n || (x == y && memcmp(a, b, n) != 0);
	}
	file_put(s, segment);
	return differs;
}

/*
 * After a failed sync: do the records that were acknowledged before really stand on the disk? Where
 * the disk differs from the page cache, compaction moves what is live, read through the cache.
 */
void log_verify(struct store *s)
{
	size_t piece = 64 * 1024;
	uint8_t *a = malloc(piece), *b = malloc(piece);

	if (a != NULL && b != NULL) {
		s->verify = false;
		for (uint32_t i = 0; i < s->seg_count; i++) {
			struct segment *g = &s->segs[i];

			if (!g->verify)
				continue;
			g->verify = false;
			if (g->state != SEG_SEALED || !segment_differs(s, i, a, b, piece))
				continue;
			store_event(s, true,
				    "log segment %u differs on disk from what was acknowledged: moving it",
				    i);
			g->move_first = true;
		}
	}
	free(a);
	free(b);
}
