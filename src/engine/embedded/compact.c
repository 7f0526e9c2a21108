/*
 * Compaction: live entries of the emptiest segment move to the end of the log and keep their versions;
 * deletions move along while some older segment may hold what they delete. The segment is used again
 * when the index on disk no longer points to it, no reader holds it, and a durable manifest leaves it out.
 */
#include <errno.h>

#include "engine/embedded/store.h"

#define ALL_DEAD_PERCENT 15u		/* footers and overhead are never live */
#define SMALL_SEGMENTS_MAX 8u		/* segments cut short by restarts, before they are joined */
#define EMPTIED_BEFORE_FLUSH 2u

static bool segment_small(const struct store *s, const struct segment *g)
{
	return g->end < s->opt.segment_bytes / 4;
}

static uint32_t pick_until(const struct store *s, bool all, uint32_t generation)
{
	unsigned percent = all || s->tight ? ALL_DEAD_PERCENT : s->opt.compact_dead_percent;
	uint32_t best = NO_SEGMENT, small = NO_SEGMENT, small_count = 0;
	double best_live = 2;

	for (uint32_t i = 0; i < s->seg_count; i++) {
		const struct segment *g = &s->segs[i];

		if (g->state != SEG_SEALED || g->damaged || g->generation > generation ||
		    (s->compact_limit != 0 && g->generation > s->compact_limit))
			continue;
		double live = g->move_first ? -1 : (double)g->live_bytes / (double)MAX(g->end, 1u);

		if (segment_small(s, g)) {
			small_count++;
			if (small == NO_SEGMENT || g->end < s->segs[small].end)
				small = i;
		}
		if (live < best_live && (live <= 1 - percent / 100.0 || live <= 0)) {
			best = i;
			best_live = live;
		}
	}
	return best != NO_SEGMENT || small_count <= SMALL_SEGMENTS_MAX ? best : small;
}

/*
 * In rounds: each segment at most once, before any that the round itself has written. Else deletions, which
 * count as dead but have to be kept while older segments are, would be moved over and over, and
 * the older segments would stay.
 */
static uint32_t pick(struct store *s, bool all)
{
	uint32_t best = pick_until(s, all, s->compact_round);

	if (best != NO_SEGMENT)
		return best;
	s->compact_round = s->last_generation;
	return pick_until(s, all, s->compact_round);
}

static bool readers_passed(struct store *s, uint64_t epoch)
{
	for (unsigned i = 0; i < s->reader_count; i++) {
		uint64_t at = atomic_load(&s->reader_epoch[i]);

		if (at != 0 && at < epoch)
			return false;
	}
	return true;
}

static bool segment_may_go(struct store *s, const struct segment *g)
{
	return g->state == SEG_EMPTIED &&
	       g->emptied_lsn <= __atomic_load_n(&s->flushed_lsn, __ATOMIC_ACQUIRE) &&
	       readers_passed(s, g->emptied_epoch);
}

void segments_let_go(struct store *s)
{
	for (uint32_t i = 0; i < s->seg_count; i++)
		if (segment_may_go(s, &s->segs[i]))
			s->segs[i].state = SEG_GONE;
}

/* A new segment takes one itself: fewer than two that it lets go would be a wheel in place. */
static bool switch_helps(struct store *s)
{
	unsigned go = 0;

	if (!s->tight)
		return false;
	for (uint32_t i = 0; i < s->seg_count; i++)
		go += s->segs[i].state == SEG_GONE || segment_may_go(s, &s->segs[i]);
	return go > 1;
}

bool compact_due(struct store *s, bool all)
{
	if (s->opt.read_only || s->dead)
		return false;
	return s->compact_scan != NULL || switch_helps(s) || pick(s, all) != NO_SEGMENT;
}

void flush_start(struct store *s, bool wait)
{
	uint64_t lsn = s->durable_lsn;

	s->bytes_since_flush = 0;
	if (s->flusher_on && !wait) {
		pthread_mutex_lock(&s->lock_queue);
		s->flush_asked = true;
		s->flush_lsn = lsn;
		pthread_cond_signal(&s->wake_flusher);
		pthread_mutex_unlock(&s->lock_queue);
		return;
	}
	int err = state_flush(s);
	if (err != 0) {
		store_event(s, true, "flushing the index failed: it will be replayed at the next start");
		return;
	}
	__atomic_store_n(&s->flushed_lsn, lsn, __ATOMIC_RELEASE);
	count(&s->stats.index_flushes, 1);
}

/* ---- moving one record ---- */

struct mover {
	struct store *s;
	struct scan *c;
	struct effects *f;
};

static bool entry_here(const struct mover *m, const struct entry *e, uint64_t version, uint64_t pos)
{
	return e != NULL && e->version == version && e->segment == m->c->segment && e->pos == pos;
}

static void keep_extents(struct mover *m, const struct effect *e)
{
	uint64_t start = e->kind == EFFECT_WRITE ? e->at : e->at - e->value.len;

	for (size_t done = 0; done < e->value.len;) {
		struct slice piece = slice_sub(e->value, done, done + EXTENT_BYTES_MAX);
		uint64_t pos = pos_add(m->c->record_pos,
				       RECORD_HEADER_BYTES + e->value_offset + done,
				       m->s->opt.block_bytes);
		uint8_t key[8];

		done += piece.len;
		extent_key(key, start + done);
		if (!entry_here(m, state_get(m->s, m->f->object, KEY_EXTENT, slice_of(key, 8)),
				e->version, pos))
			continue;
		buf_addc(&m->s->move, EFFECT_EXTENT);
		buf_varint(&m->s->move, e->version);
		buf_varint(&m->s->move, start + done);
		buf_blob(&m->s->move, piece);
	}
}

static void keep_key(struct mover *m, const struct effect *e)
{
	uint64_t pos = pos_add(m->c->record_pos, RECORD_HEADER_BYTES + e->value_offset,
			       m->s->opt.block_bytes);

	if (!entry_here(m, state_get(m->s, m->f->object, KEY_KEY, e->key), e->version, pos))
		return;
	buf_addc(&m->s->move, EFFECT_KEY);
	buf_varint(&m->s->move, e->version);
	buf_blob(&m->s->move, e->key);
	buf_blob(&m->s->move, e->value);
}

static void keep_create(struct mover *m, uint64_t version)
{
	const struct entry *e = state_get(m->s, m->f->object, KEY_OBJECT, slice_of(NULL, 0));

	if (e == NULL || e->version != version || e->segment != m->c->segment)
		return;
	buf_addc(&m->s->move, EFFECT_CREATE);
	buf_varint(&m->s->move, version);
}

/* A deletion is needed while a segment that a rebuild would read may hold what it deletes. */
static void keep_deletion(struct mover *m, const struct effect *e)
{
	if (m->s->opt.planted.lost_tombstone ||
	    !generation_listed(m->s, e->oldest, e->newest, m->c->segment))
		return;
	buf_addc(&m->s->move, (uint8_t)e->kind);
	buf_varint(&m->s->move, e->version);
	if (e->kind == EFFECT_DELETE)
		buf_blob(&m->s->move, e->key);
	buf_varint(&m->s->move, e->oldest);
	buf_varint(&m->s->move, e->newest);
}

static bool collect(struct mover *m)
{
	struct effect e;
	int more;

	buf_reset(&m->s->move);
	buf_blob(&m->s->move, m->f->object);
	size_t empty = m->s->move.len;

	if (m->f->creates)
		keep_create(m, m->f->lsn);
	while ((more = effects_next(m->f, &e)) == 1) {
		switch (e.kind) {
		case EFFECT_WRITE:
		case EFFECT_EXTENT:
			keep_extents(m, &e);
			break;
		case EFFECT_SET:
		case EFFECT_KEY:
			keep_key(m, &e);
			break;
		case EFFECT_DELETE:
		case EFFECT_REMOVE:
			keep_deletion(m, &e);
			break;
		case EFFECT_CREATE:
			keep_create(m, e.version);
			break;
		case EFFECT_OBJECT:
			break;
		}
	}
	if (m->s->move.len == empty)
		buf_reset(&m->s->move);
	return more == 0;
}

static int move_put(struct store *s)
{
	enum log_room room;
	uint64_t lsn;

	if (s->move.err != 0)
		return s->move.err;
	while ((room = log_room(s, s->move.len, LOG_DELETES)) == LOG_CUT) {
		int err = log_commit(s);
		if (err != 0)
			return err;
	}
	if (room != LOG_ROOM)
		return room == LOG_FULL ? -ENOSPC : -EIO;
	log_begin(s);
	buf_add(&s->record, buf_slice(&s->move));
	uint64_t pos = log_put(s, RECORD_MOVE, &lsn);
	if (!state_apply(s, s->active, pos, RECORD_MOVE, lsn,
			 slice_from(buf_slice(&s->record), RECORD_HEADER_BYTES)))
		return -EUCLEAN;
	count(&s->stats.moved_bytes, s->move.len);
	return s->state_err;
}

static int move_record(struct store *s, struct scan *c)
{
	struct effects f;
	struct mover m = { .s = s, .c = c, .f = &f };

	if (c->header.type != RECORD_OP && c->header.type != RECORD_MOVE)
		return 0;
	if (!effects_open(&f, (enum record_type)c->header.type, c->header.lsn, c->generation,
			  c->body) ||
	    !collect(&m))
		return -EUCLEAN;
	if (s->state_err != 0)
		return s->state_err;
	return s->move.len == 0 ? 0 : move_put(s);
}

void compact_abort(struct store *s)
{
	scan_free(s->compact_scan);
	s->compact_scan = NULL;
}

static void segment_emptied(struct store *s)
{
	struct segment *g = &s->segs[s->compact_segment];
	unsigned waiting = 0;

	compact_abort(s);
	if (g->live_bytes > 0) {
		struct embedded_damage d = { .segment = s->compact_segment,
					     .bytes = (uint64_t)g->live_bytes,
					     .what = "live records cannot be read: the segment stays" };

		g->damaged = true;
		g->move_first = false;
		store_damage(s, &d);
		return;
	}
	g->state = SEG_EMPTIED;
	g->emptied_lsn = s->durable_lsn;
	g->emptied_epoch = atomic_fetch_add(&s->epoch, 1) + 1;
	if (s->opt.planted.early_recycle)
		g->state = SEG_FREE;
	for (uint32_t i = 0; i < s->seg_count; i++)
		waiting += s->segs[i].state == SEG_EMPTIED && !segment_may_go(s, &s->segs[i]);
	if (waiting >= EMPTIED_BEFORE_FLUSH || (waiting > 0 && s->tight))
		flush_start(s, false);
}

static int scan_start(struct store *s, bool all)
{
	uint32_t segment = pick(s, all);

	if (segment == NO_SEGMENT)
		return 0;
	const struct segment *g = &s->segs[segment];

	s->compact_segment = segment;
	s->compact_scan = scan_new(s, segment, g->end, g->base_lsn);
	return s->compact_scan == NULL ? -EIO : 1;
}

int compact_step(struct store *s, size_t budget, bool all)
{
	struct scan *c;
	uint64_t from;
	int err;

	if (s->opt.read_only || s->dead)
		return 0;
	if (s->compact_scan == NULL) {
		if (switch_helps(s)) {
			err = log_switch(s);
			if (err == 0)
				log_reserve(s);
			return err == 0 ? 1 : err;
		}
		err = scan_start(s, all);
		if (err <= 0)
			return err;
	}
	c = s->compact_scan;
	from = c->pos;
	while (c->pos - from < budget) {
		enum scan_result got = scan_next(c);

		if (got == SCAN_BAD)
			continue;	/* what is live there keeps the segment: see segment_emptied */
		if (got == SCAN_RECORD && c->header.lsn <= s->segs[s->compact_segment].last_lsn) {
			err = move_record(s, c);
			if (err == 0)
				continue;
		} else if (got == SCAN_ERROR) {
			err = c->err;
		} else {
			err = log_commit(s);
			if (err == 0) {
				segment_emptied(s);
				return 1;
			}
		}
		if (!log_batch_empty(s))
			log_abandon(s);
		compact_abort(s);
		return err;
	}
	err = log_commit(s);
	if (err != 0)
		compact_abort(s);
	return err != 0 ? err : 1;
}
