/*
 * Opening: which segments hold the log, where it ends, and what the index still lacks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "engine/embedded/store.h"

/* A segment file as found. */
struct found {
	uint32_t segment;
	uint64_t size;
	bool header;			/* some block header was readable */
	uint32_t generation, salt;
};

struct recovery {
	struct store *s;
	struct found *rows;
	size_t count, cap;
	struct errmsg *why;
	uint32_t newest;
	bool manifest_lost;
	/* Of the newest segment. */
	uint64_t first_lsn, last_lsn, durable, end;
	bool unreadable;		/* the disk refused sectors behind its last good record */
	uint64_t position;		/* of the index */
	uint64_t done_bytes, total_bytes;
	int err;
};

static int found_name(void *arg, const char *name)
{
	struct recovery *r = arg;
	uint32_t segment;

	if (!slice_u32(slice_str(name), &segment) || segment >= SEGMENT_SLOTS_MAX)
		return 0;
	if (r->count == r->cap) {
		size_t cap = r->cap == 0 ? 64 : r->cap * 2;
		struct found *rows = reallocarray(r->rows, cap, sizeof(*rows));

		if (rows == NULL) {
			r->err = -ENOMEM;
			return 1;
		}
		r->rows = rows;
		r->cap = cap;
	}
	r->rows[r->count++] = (struct found){ .segment = segment };
	return 0;
}

/* Generation and salt from the first block header that can be read. */
static int found_look(struct recovery *r, struct found *f)
{
	struct store *s = r->s;
	struct file *file;
	int err = segments_reserve(s, f->segment + 1);

	if (err == 0)
		err = file_get(s, f->segment, &file);
	if (err != 0)
		return errmsg_set(r->why, err, "log segment %u", f->segment);
	int64_t size = s->w->ops->size(s->w, file);
	f->size = size < 0 ? 0 : (uint64_t)size;
	uint32_t step = s->opt.block_bytes;
	for (uint64_t at = 0; at + BLOCK_HEADER_BYTES <= f->size && !f->header; at += step) {
		uint8_t bytes[BLOCK_HEADER_BYTES];
		struct block_header h;

		if (s->w->ops->pread(s->w, file, bytes, sizeof(bytes), at) != sizeof(bytes) ||
		    !block_header_read(bytes, &h) || h.segment != f->segment)
			continue;
		f->header = true;
		f->generation = h.generation;
		f->salt = h.salt;
		/* Blocks have the size that the log was made with, whatever the options say now. */
		s->opt.block_bytes = 1u << h.block_shift;
	}
	file_put(s, f->segment);
	return 0;
}

static void damage(struct store *s, uint32_t segment, uint64_t at, uint64_t bytes, const char *what)
{
	struct embedded_damage d = { .segment = segment, .offset = at, .bytes = bytes };

	snprintf(d.what, sizeof(d.what), "%s", what);
	store_damage(s, &d);
}

/* Rows of the manifest that decides become sealed segments. */
static void manifest_row(void *arg, const struct manifest_row *row)
{
	struct recovery *r = arg;
	struct store *s = r->s;
	struct segment *g = NULL;
	const struct found *f = NULL;

	for (size_t i = 0; i < r->count && f == NULL; i++)
		if (r->rows[i].segment == row->segment && r->rows[i].size > 0)
			f = &r->rows[i];
	if (f == NULL) {
		damage(s, row->segment, 0, row->end, "the segment's file is missing");
		return;
	}
	if (f->header && (f->generation != row->generation || f->salt != row->salt)) {
		/* With a younger manifest lost, this one may name files that were used again since. */
		if (!r->manifest_lost)
			damage(s, row->segment, 0, row->end, "the segment's file is another one");
		return;
	}
	g = &s->segs[row->segment];
	*g = (struct segment){
		.state = SEG_SEALED,
		.generation = row->generation,
		.salt = row->salt,
		.size = g->size,
		.end = row->end,
		.base_lsn = row->base_lsn,
		.last_lsn = row->last_lsn,
	};
}

/*
 * What was written by a process that was killed may stand in the page cache only: make it durable
 * before it is believed.
 */
static int segment_sync(struct recovery *r, uint32_t segment)
{
	struct store *s = r->s;
	struct file *file;
	int err;

	if (s->opt.read_only || s->opt.planted.no_sync)
		return 0;
	err = file_get(s, segment, &file);
	if (err == 0) {
		err = s->w->ops->datasync(s->w, file);
		file_put(s, segment);
	}
	return err == 0 ? 0 : errmsg_set(r->why, err, "syncing log segment %u", segment);
}

/* The newest segment is read past the page cache, which may show what a failed sync never stored. */
static struct scan *newest_open(struct store *s, uint32_t segment, uint64_t limit, uint64_t expect)
{
	struct scan *c = scan_new(s, segment, limit, expect);

	if (c != NULL)
		c->direct = !s->opt.planted.no_sync;
	return c;
}

/*
 * Read the newest segment from end to end: where does the log end? A bad place at or below a
 * position that some later record (or the index) knows to be durable is damage; a bad place
 * behind it is the torn tail. 1; 0: there is no log in it; or a negative errno.
 */
static int newest_scan(struct recovery *r, uint32_t segment, bool *manifest)
{
	struct store *s = r->s;
	enum scan_result got;
	bool first = true, torn = false;
	uint64_t lowest_lsn = 0;
	int err = segment_sync(r, segment);

	if (err != 0)
		return err;
	struct scan *c = newest_open(s, segment, s->segs[segment].size, 0);

	*manifest = false;
	r->durable = 0;
	r->first_lsn = r->last_lsn = 0;
	r->end = BLOCK_HEADER_BYTES;
	if (c == NULL)
		return errmsg_set(r->why, -EIO, "log segment %u", segment);
	while ((got = scan_next(c)) != SCAN_END && got != SCAN_ERROR) {
		if (got == SCAN_BAD) {
			if (!torn) {
				torn = true;
				r->last_lsn = c->bad_expect == 0 ? 0 : c->bad_expect - 1;
				r->end = c->good_end;
			}
			continue;
		}
		if (first && !torn && c->header.type == RECORD_MANIFEST) {
			*manifest = true;
			r->first_lsn = c->header.lsn;
		}
		if (first)
			lowest_lsn = c->header.lsn;
		first = false;
		r->durable = MAX(r->durable, c->header.durable);
		/* Damage before this point does not end the log. */
		if (torn && MAX(r->durable, r->position) > r->last_lsn)
			torn = false;
		if (!torn) {
			r->last_lsn = c->header.lsn;
			r->end = c->good_end;
		}
	}
	r->unreadable = c->unreadable && c->unreadable_end > r->end;
	err = c->err;
	scan_free(c);
	if (err != 0)
		return errmsg_set(r->why, err, "reading log segment %u", segment);
	if (first)
		return 0;
	if (!*manifest) {
		/* Its first batch was never acknowledged, unless a later batch says that it was durable. */
		r->first_lsn = lowest_lsn;
		return r->durable >= lowest_lsn;
	}
	return 1;
}

static int by_generation(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->header != y->header)
		return x->header ? -1 : 1;
	return x->generation > y->generation ? -1 : x->generation < y->generation;
}

static int manifest_load(struct recovery *r, uint32_t segment)
{
	struct store *s = r->s;
	struct scan *c = newest_open(s, segment, s->segs[segment].size, 0);
	int err = -EUCLEAN;

	if (c != NULL && scan_next(c) == SCAN_RECORD && c->header.type == RECORD_MANIFEST &&
	    manifest_read(c->body, s->log_id, manifest_row, r))
		err = 0;
	scan_free(c);
	return err;
}

static void segment_as_found(struct store *s, const struct found *f)
{
	s->segs[f->segment] = (struct segment){
		.state = SEG_FREE,
		.generation = f->generation,
		.salt = f->salt,
		.size = f->size,
	};
}

/* The newest segment whose manifest holds; younger ones without are taken along only if acknowledged. */
static int newest_find(struct recovery *r)
{
	struct store *s = r->s;
	bool manifest = false;

	r->newest = NO_SEGMENT;
	for (size_t i = 0; i < r->count; i++) {
		const struct found *f = &r->rows[i];
		struct segment *g = &s->segs[f->segment];

		if (!f->header)
			break;
		int got = newest_scan(r, f->segment, &manifest);
		if (got < 0)
			return got;
		if (r->unreadable)
			damage(s, f->segment, r->end, 0, "the end of the log cannot be read");
		if (got == 0)
			continue;
		if (r->newest == NO_SEGMENT)
			r->newest = f->segment;
		g->base_lsn = r->first_lsn;
		g->last_lsn = r->last_lsn;
		g->end = (r->end + LOG_SECTOR_BYTES - 1) & ~(uint64_t)(LOG_SECTOR_BYTES - 1);
		if (!manifest) {
			r->manifest_lost = true;
			damage(s, f->segment, 0, 0,
			       "the segment's manifest is lost: reading older ones");
			g->state = SEG_SEALED;
			continue;
		}
		int err = manifest_load(r, f->segment);
		if (err != 0)
			return errmsg_say(r->why, err, "the manifest in log segment %u is malformed",
					  f->segment);
		g->state = SEG_SEALED;
		break;
	}
	/* No manifest at all: take every segment as it is; the index cannot be known to belong to them. */
	if (r->newest != NO_SEGMENT && !manifest)
		world_random(s->w, s->log_id, sizeof(s->log_id));
	return 0;
}

/* ---- the index ---- */

static int index_position(struct recovery *r, bool *usable)
{
	struct store *s = r->s;
	AUTO_BUF struct buf b = BUF_INIT(64);
	int got = s->ix->vt->get(s->ix, POSITION_KEY, &b);

	*usable = false;
	r->position = 0;
	if (got < 0)
		return got == -ENOMEM ? got : 0;
	if (got == 0 || b.len != sizeof(s->log_id) + 8)
		return 0;
	if (r->newest != NO_SEGMENT && memcmp(b.ptr, s->log_id, sizeof(s->log_id)) != 0)
		return 0;
	r->position = get_be64(b.ptr + sizeof(s->log_id));
	*usable = true;
	return 0;
}

static int index_fresh(struct recovery *r)
{
	struct store *s = r->s;

	if (s->opt.index_given != NULL) {
		/* Empty it by hand. */
		struct index_iter *it = s->ix->vt->iter(s->ix);

		if (it == NULL)
			return -ENOMEM;
		for (s->ix->vt->seek(it, slice_of(NULL, 0)); s->ix->vt->valid(it) == 1;
		     s->ix->vt->next(it))
			s->ix->vt->del(s->ix, s->ix->vt->key(it));
		s->ix->vt->iter_free(it);
		return s->ix->vt->commit(s->ix);
	}
	s->ix->vt->close(s->ix);
	s->ix = NULL;
	if (s->opt.index == EMBEDDED_MEMORY) {
		s->ix = index_memory_new(false);
		return s->ix == NULL ? -ENOMEM : 0;
	}
	int err = index_rocksdb_destroy(s->index_dir, r->why);
	return err != 0 ? err : index_rocksdb_open(s->index_dir, &s->ix, r->why);
}

static int index_open(struct recovery *r)
{
	struct store *s = r->s;

	if (s->opt.index_given != NULL) {
		s->ix = s->opt.index_given;
		return 0;
	}
	s->own_ix = true;
	if (s->opt.index == EMBEDDED_MEMORY || s->opt.read_only) {
		s->opt.index = EMBEDDED_MEMORY;
		s->ix = index_memory_new(false);
		return s->ix == NULL ? -ENOMEM : 0;
	}
	int err = index_rocksdb_open(s->index_dir, &s->ix, r->why);
	if (err == 0 || err == -EBUSY || err == -ENOMEM || err == -ENOSPC)
		return err;
	store_event(s, true, "the index cannot be read: rebuilding it from the log");
	err = index_rocksdb_destroy(s->index_dir, r->why);
	return err != 0 ? err : index_rocksdb_open(s->index_dir, &s->ix, r->why);
}

static void live_load(struct store *s)
{
	struct index_iter *it = s->ix->vt->iter(s->ix);

	if (it == NULL)
		return;
	for (s->ix->vt->seek(it, SEGMENT_KEY_PREFIX); s->ix->vt->valid(it) == 1;
	     s->ix->vt->next(it)) {
		struct slice k = s->ix->vt->key(it), v = s->ix->vt->value(it);

		if (!slice_starts(k, SEGMENT_KEY_PREFIX) || k.len != 6 || v.len != 12)
			break;
		uint32_t segment = get_be32(k.ptr + 2);
		if (segment < s->seg_count && s->segs[segment].generation == get_be32(v.ptr))
			s->segs[segment].live_bytes = (int64_t)get_be64(v.ptr + 4);
	}
	s->ix->vt->iter_free(it);
}

/* ---- replay ---- */

static void progress(struct recovery *r, uint64_t bytes)
{
	r->done_bytes += bytes;
	if (r->s->opt.on_progress != NULL)
		r->s->opt.on_progress(r->s->opt.arg, MIN(r->done_bytes, r->total_bytes),
				      r->total_bytes);
}

static int replay_segment(struct recovery *r, uint32_t segment)
{
	struct store *s = r->s;
	const struct segment *g = &s->segs[segment];
	struct scan *c = segment == r->newest ? newest_open(s, segment, g->end, g->base_lsn) :
						scan_new(s, segment, g->end, g->base_lsn);
	uint64_t told = 0;
	enum scan_result got;

	if (c == NULL)
		return errmsg_set(r->why, -EIO, "log segment %u", segment);
	while ((got = scan_next(c)) == SCAN_RECORD || got == SCAN_BAD) {
		if (got == SCAN_BAD) {
			if (c->bad_expect > g->last_lsn)
				break;	/* the torn rest of the last batch, in its sector */
			damage(s, segment, c->bad_pos, c->pos - c->bad_pos,
			       "records cannot be read");
			continue;
		}
		if (c->header.lsn > g->last_lsn)
			break;
		if (c->header.lsn <= r->position)
			continue;
		if (c->header.type == RECORD_OP || c->header.type == RECORD_MOVE) {
			if (!state_apply(s, segment, c->record_pos, c->header.type, c->header.lsn,
					 c->body))
				damage(s, segment, c->record_pos, c->body.len,
				       "a record is malformed");
			count(&s->stats.replayed_records, 1);
		}
		if (s->state_err != 0)
			break;
		s->durable_lsn = MAX(s->durable_lsn, c->header.lsn);
		if (c->pos - told > (1u << 20)) {
			progress(r, c->pos - told);
			told = c->pos;
		}
	}
	if (got == SCAN_ERROR && s->state_err == 0)
		s->state_err = c->err;
	if (s->state_err == 0 && c->expect <= g->last_lsn && g->last_lsn > r->position)
		damage(s, segment, c->good_end, g->end - c->good_end, "records are missing");
	progress(r, g->end > told ? g->end - told : 0);
	scan_free(c);
	return s->state_err;
}

static int rebuild_segment(struct recovery *r, uint32_t segment)
{
	struct store *s = r->s;
	AUTO_BUF struct buf footer = BUF_INIT(s->segs[segment].size);

	if (!footer_read(s, segment, &footer))
		return replay_segment(r, segment);
	if (!state_apply_footer(s, segment, buf_slice(&footer))) {
		if (s->state_err != 0)
			return s->state_err;
		damage(s, segment, 0, 0, "the footer is malformed: reading the records");
		return replay_segment(r, segment);
	}
	s->durable_lsn = MAX(s->durable_lsn, s->segs[segment].last_lsn);
	progress(r, s->segs[segment].end);
	return s->state_err;
}

/* Segments that the index does not cover, oldest first. */
static int replay(struct recovery *r, bool rebuild)
{
	struct store *s = r->s;
	uint32_t after = 0;

	for (uint32_t i = 0; i < s->seg_count; i++)
		if (segment_listed(s, i) && s->segs[i].last_lsn > r->position)
			r->total_bytes += s->segs[i].end;
	s->replaying = true;
	for (;;) {
		uint32_t next = NO_SEGMENT;

		for (uint32_t i = 0; i < s->seg_count; i++)
			if (segment_listed(s, i) && s->segs[i].generation > after &&
			    (next == NO_SEGMENT || s->segs[i].generation < s->segs[next].generation))
				next = i;
		if (next == NO_SEGMENT)
			break;
		after = s->segs[next].generation;
		if (s->segs[next].last_lsn <= r->position)
			continue;
		int err = rebuild ? rebuild_segment(r, next) : replay_segment(r, next);
		if (err != 0)
			return errmsg_set(r->why, err, "replaying log segment %u", next);
	}
	if (s->overlay.count > 0 || rebuild) {
		int err = state_commit(s, s->durable_lsn);
		if (err != 0)
			return errmsg_set(r->why, err, "writing the index");
	}
	s->replaying = false;
	return 0;
}

static int found_all(struct recovery *r)
{
	struct store *s = r->s;
	int err = s->w->ops->list(s->w, "log", found_name, r);

	if (err == -ENOENT && s->opt.read_only)
		return errmsg_say(r->why, err, "there is no log here");
	if (err < 0 || r->err != 0)
		return errmsg_set(r->why, err < 0 ? err : r->err, "reading the directory 'log'");
	for (size_t i = 0; i < r->count; i++) {
		err = found_look(r, &r->rows[i]);
		if (err != 0)
			return err;
		segment_as_found(s, &r->rows[i]);
		s->last_generation = MAX(s->last_generation, r->rows[i].generation);
	}
	if (r->count > 1)
		qsort(r->rows, r->count, sizeof(r->rows[0]), by_generation);
	return 0;
}

/* New records go to a new segment: give back what this one will not use. */
static void newest_trim(struct recovery *r)
{
	struct store *s = r->s;
	struct segment *g = &s->segs[r->newest];
	struct file *file;

	if (s->opt.read_only || r->unreadable ||
	    g->size - MIN(g->size, g->end) <= s->opt.segment_bytes / 8 ||
	    file_get(s, r->newest, &file) != 0)
		return;
	if (s->w->ops->truncate(s->w, file, g->end) == 0)
		g->size = g->end;
	file_put(s, r->newest);
}

static int recover_index(struct recovery *r)
{
	bool usable;
	int err = index_open(r);

	if (err != 0)
		return err;
	err = index_position(r, &usable);
	if (err != 0)
		return errmsg_set(r->why, err, "reading the index");
	if (r->newest == NO_SEGMENT && usable && r->position > 0)
		return errmsg_say(r->why, -EUCLEAN,
				  "the log is gone but its index is there: put 'log' back, or "
				  "delete the index to start empty");
	return usable ? 0 : 1;
}

static int recover_all(struct recovery *r)
{
	struct store *s = r->s;
	bool rebuild, manifest;
	int err = found_all(r);

	if (err == 0)
		err = newest_find(r);
	if (err != 0)
		return err;
	err = recover_index(r);
	if (err < 0)
		return err;
	rebuild = err == 1;
	if (r->newest == NO_SEGMENT) {
		world_random(s->w, s->log_id, sizeof(s->log_id));
		s->next_lsn = 1;
		return rebuild && !s->opt.read_only ? index_fresh(r) : 0;
	}
	/* The index knows of durable positions, too: look again where the log ends. */
	if (r->position > s->segs[r->newest].last_lsn) {
		struct segment *g = &s->segs[r->newest];

		err = newest_scan(r, r->newest, &manifest);
		if (err < 0)
			return err;
		g->last_lsn = r->last_lsn;
		g->end = (r->end + LOG_SECTOR_BYTES - 1) & ~(uint64_t)(LOG_SECTOR_BYTES - 1);
		if (r->position > g->last_lsn)
			damage(s, r->newest, g->end, 0, "the log ends before its index");
	}
	newest_trim(r);
	if (rebuild) {
		err = index_fresh(r);
		if (err != 0)
			return err;
		s->stats.rebuilt = true;
	}
	live_load(s);
	s->flushed_lsn = r->position;
	s->durable_lsn = r->position;
	err = replay(r, rebuild);
	s->durable_lsn = MAX(r->position, s->segs[r->newest].last_lsn);
	s->next_lsn = s->durable_lsn + 1;
	if (err == 0 && rebuild && !s->opt.read_only) {
		store_event(s, false, "index rebuilt from %llu records",
			    (unsigned long long)s->stats.replayed_records);
		flush_start(s, true);
	}
	return err;
}

/* Two processes must never write one log; a reader (fsck) wants no writer beside it. */
static int store_lock(struct store *s, struct errmsg *why)
{
	int err = s->w->ops->open(s->w, "log/lock", s->opt.read_only ? OPEN_READ : OPEN_CREATE,
				  &s->lock);

	if (err == -ENOENT && s->opt.read_only)
		return 0;		/* nobody ever opened it for writing, or it was copied without */
	if (err == 0)
		err = s->w->ops->lock(s->w, s->lock, s->opt.read_only);
	if (err == -EBUSY)
		return errmsg_say(why, err, "the store is in use by another process");
	return err == 0 ? 0 : errmsg_set(why, err, "locking the store");
}

int recover(struct store *s, struct errmsg *why)
{
	struct recovery r = { .s = s, .why = why };
	int err;

	if (!s->opt.read_only) {
		err = s->w->ops->mkdir(s->w, "log");
		if (err == 0 || err == -EEXIST)
			err = s->w->ops->sync_dir(s->w, ".");
		if (err != 0)
			return errmsg_set(why, err, "making the directory 'log'");
	}
	err = store_lock(s, why);
	if (err != 0)
		return err;
	/* Names made by a process that was killed before it could sync them: segments may be in use. */
	if (!s->opt.read_only)
		err = s->w->ops->sync_dir(s->w, "log");
	if (err != 0)
		return errmsg_set(why, err, "syncing the directory 'log'");
	err = recover_all(&r);
	free(r.rows);
	if (err == 0 && !s->opt.read_only)
		log_reserve(s);
	return err;
}
