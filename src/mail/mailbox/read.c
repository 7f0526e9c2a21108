/*
 * Reading what messages hold, and what is no longer there.
 */
#include <stdlib.h>

#include "mail/mailbox/view.h"

enum mailbox_result mailbox_read(struct mailbox *m, const struct message_info *msg, uint64_t at, size_t n,
				 struct buf *out)
{
	struct message_info now = *msg;
	size_t before = out->len;
	enum mailbox_result r = body_read(m->a, &now, at, n, out);

	if (r == MAILBOX_OK || r == MAILBOX_MEMORY || r == MAILBOX_UNAVAILABLE)
		return r;
	/* Compaction may have moved the bytes since the caller looked: where are they now? */
	account_lock(m->a);
	enum mailbox_result fresh = state_refresh(m->a);
	struct table *t;

	if (fresh == MAILBOX_OK)
		fresh = view_table(m, &t);
	const struct message_info *row = fresh == MAILBOX_OK ? table_find(t, msg->uid) : NULL;

	if (row != NULL)
		now = *row;
	account_unlock(m->a);
	if (fresh != MAILBOX_OK)
		return fresh;
	if (row == NULL)
		return MAILBOX_EXPUNGED;
	buf_truncate(out, before);
	return body_read(m->a, &now, at, n, out);
}

static uint32_t place_offset(const struct message_info *m)
{
	return m->offset & ~OFFSET_STREAM;
}

#define NEAR_BYTES	(16u << 10)	/* a step over more than this is not worth reading along */
#define AHEAD_BYTES_MIN (32u << 10)

/* How much to read for n bytes at `start`: more and more while the walk goes on. */
static size_t read_ahead(struct read_window *w, const struct message_info *msg, uint64_t start)
{
	bool near = w->end > 0 && w->bucket == msg->bucket && w->fragment == msg->fragment &&
		    start >= w->at && start <= w->end + NEAR_BYTES;

	if (!near)
		return 0;
	return MIN(MAX(2 * w->ahead, AHEAD_BYTES_MIN), READ_WINDOW_BYTES);
}

enum mailbox_result mailbox_read_near(struct mailbox *m, const struct message_info *msg, uint64_t at,
				      size_t n, struct read_window *w, struct buf *out)
{
	uint64_t start = place_offset(msg) + at;

	if (msg->offset & OFFSET_STREAM || at >= msg->size)
		return mailbox_read(m, msg, at, n, out);
	n = (size_t)MIN(n, msg->size - at);
	/* Stored bytes never change, and numbers of fragments are not used again. */
	if (w->bucket == msg->bucket && w->fragment == msg->fragment && start >= w->at &&
	    start + n <= w->at + w->bytes.len) {
		buf_add(out, slice_sub(buf_slice(&w->bytes), start - w->at, start - w->at + n));
		return out->err != 0 ? MAILBOX_MEMORY : MAILBOX_OK;
	}
	w->ahead = read_ahead(w, msg, start);
	w->bucket = msg->bucket;
	w->fragment = msg->fragment;
	w->at = start;
	w->end = start + n;
	buf_reset(&w->bytes);
	if (n < w->ahead) {
		struct stored_name object = fragment_name(m->a->s->id, msg->bucket, msg->fragment);
		enum engine_result er = engine_read(m->a->e, name_slice(&object), start, w->ahead, &w->bytes);

		if (er == ENGINE_OK && w->bytes.err == 0 && w->bytes.len >= n) {
			w->end = start + w->bytes.len;
			buf_add(out, slice_head(buf_slice(&w->bytes), n));
			return out->err != 0 ? MAILBOX_MEMORY : MAILBOX_OK;
		}
		/* Damage among the neighbours is not this message's: read it alone. */
		buf_reset(&w->bytes);
	}
	return mailbox_read(m, msg, at, n, out);
}

/* ---- summaries ---- */

#define SUMMARY_GAP_BYTES (64u << 10)	/* further apart than this: another call is cheaper */
#define SUMMARY_PAGE	  (512u << 10)

/* msgs[from..) that one read of keys can answer: same fragment, ascending, near each other. */
static size_t run_length(const struct message_info *msgs, size_t count)
{
	size_t n = 1;

	for (; n < count; n++) {
		const struct message_info *a = &msgs[n - 1], *b = &msgs[n];
		uint64_t stored = a->offset & OFFSET_STREAM ? EMAIL_ID_BYTES : a->size;

		if (a->bucket != b->bucket || a->fragment != b->fragment ||
		    place_offset(b) <= place_offset(a) ||
		    place_offset(b) > place_offset(a) + stored + SUMMARY_GAP_BYTES)
			break;
	}
	return n;
}

static enum mailbox_result read_run(struct account *a, const struct message_info *msgs, size_t count,
				    struct arena *arena, struct slice *out)
{
	struct stored_name object = fragment_name(a->s->id, msgs->bucket, msgs->fragment);
	struct stored_name to = key_u32('s', place_offset(&msgs[count - 1]) + 1);
	bool more = true;
	size_t i = 0;

	while (more && i < count) {
		struct stored_name from = key_u32('s', place_offset(&msgs[i]));
		struct engine_kv *kv;
		size_t n;
		enum engine_result er = engine_keys(a->e, name_slice(&object), name_slice(&from),
						    name_slice(&to), 4096, SUMMARY_PAGE, arena, &kv, &n, &more);

		if (er != ENGINE_OK)
			return arena->err != 0 ? MAILBOX_MEMORY : result_of(er);
		for (size_t k = 0; k < n; k++) {
			struct reader key = reader_of(slice_from(kv[k].key, 1));
			uint32_t offset = rd_be32(&key);

			while (i < count && place_offset(&msgs[i]) < offset)
				i++;
			if (i < count && place_offset(&msgs[i]) == offset)
				out[i++] = kv[k].value;
		}
		if (n == 0)
			break;
	}
	return MAILBOX_OK;
}

enum mailbox_result mailbox_summaries(struct mailbox *m, const struct message_info *msgs, size_t count,
				      struct arena *arena, struct slice *out)
{
	memset(out, 0, count * sizeof(*out));
	for (size_t at = 0; at < count;) {
		size_t n = run_length(msgs + at, count - at);
		enum mailbox_result r = read_run(m->a, msgs + at, n, arena, out + at);

		if (r != MAILBOX_OK)
			return r;
		at += n;
	}
	return MAILBOX_OK;
}

/* ---- VANISHED ---- */

struct gone {
	uint32_t *uids;
	size_t count, cap;
	bool all;			/* tombstones are missing: every missing UID */
};

static bool gone_add(struct gone *g, uint32_t uid)
{
	if (g->count == g->cap) {
		size_t want = g->cap == 0 ? 64 : g->cap * 2;
		uint32_t *p = reallocarray(g->uids, want, sizeof(*p));

		if (p == NULL)
			return false;
		g->uids = p;
		g->cap = want;
	}
	g->uids[g->count++] = uid;
	return true;
}

static enum mailbox_result gone_in_journal(const struct mailbox *m, uint64_t since, struct gone *g)
{
	const struct state *s = m->a->s;

	for (size_t i = 0; i < s->journal_count; i++) {
		const struct journal_part *p = &s->journal[i];
		struct reader r = reader_of(slice_of(p->bytes, p->len));
		struct change c;
		struct change_item item;

		if (p->modseq <= since)
			continue;
		(void)rd_be64(&r);
		while (change_next(&r, &c)) {
			if (c.kind != CHANGE_EXPUNGE || c.folder != m->folder)
				continue;
			while (change_item(&c, &item))
				if (!gone_add(g, item.uid))
					return MAILBOX_MEMORY;
		}
	}
	return MAILBOX_OK;
}

static enum mailbox_result gone_in_range(const struct mailbox *m, uint32_t range, uint64_t since,
					 struct gone *g)
{
	struct stored_name object = range_name(m->a->s->id, m->folder, range);
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	struct range_state state;
	struct engine_kv *kv;
	size_t count;
	bool more;
	enum engine_result er = engine_keys(m->a->e, name_slice(&object), SLICE("g"), SLICE("h"), 1, 1024,
					    &arena, &kv, &count, &more);

	if (er != ENGINE_OK)
		return result_of(er);
	if (count == 1 && !range_state_decode(kv[0].value, &state))
		return MAILBOX_DAMAGED;
	if (count == 1 && state.horizon > since) {
		g->all = true;
		return MAILBOX_OK;
	}
	enum mailbox_result r = keys_all(m->a->e, name_slice(&object), SLICE("x"), SLICE("y"), &arena, &kv,
					 &count);

	for (size_t i = 0; r == MAILBOX_OK && i < count; i++) {
		struct reader key = reader_of(slice_from(kv[i].key, 1));
		uint32_t uid = rd_be32(&key);
		struct tombstone t;

		if (!rd_end(&key) || !tombstone_decode(kv[i].value, &t))
			return MAILBOX_DAMAGED;
		if (t.modseq > since && !gone_add(g, uid))
			r = MAILBOX_MEMORY;
	}
	return r;
}

static bool add_span(struct uid_range **list, size_t *count, size_t *cap, struct arena *arena,
		     uint32_t first, uint32_t last)
{
	if (*count > 0 && first <= (*list)[*count - 1].last + 1) {
		if (last > (*list)[*count - 1].last)
			(*list)[*count - 1].last = last;
		return true;
	}
	if (*count == *cap) {
		size_t want = *cap == 0 ? 16 : *cap * 2;
		struct uid_range *p = arena_array(arena, want, sizeof(*p));

		if (p == NULL)
			return false;
		if (*count > 0)
			memcpy(p, *list, *count * sizeof(*p));
		*list = p;
		*cap = want;
	}
	(*list)[(*count)++] = (struct uid_range){ first, last };
	return true;
}

/* The UIDs of a known range that have no row. */
static bool missing_spans(const struct table *t, struct uid_range known, struct arena *arena,
			  struct uid_range **list, size_t *count, size_t *cap)
{
	uint64_t next = known.first;

	for (uint32_t i = table_lower(t, known.first); i < t->count && t->rows[i].uid <= known.last; i++) {
		if (t->rows[i].uid > next &&
		    !add_span(list, count, cap, arena, (uint32_t)next, t->rows[i].uid - 1))
			return false;
		next = (uint64_t)t->rows[i].uid + 1;
	}
	return next > known.last || add_span(list, count, cap, arena, (uint32_t)next, known.last);
}

static int order_uids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static enum mailbox_result vanished_locked(struct mailbox *m, uint64_t since, const struct uid_ranges *known,
					   struct arena *arena, struct gone *g, struct uid_ranges *out)
{
	const struct folder *f = state_folder(m->a->s, m->folder);
	struct uid_range *list = NULL;
	struct table *t;
	size_t count = 0, cap = 0;
	enum mailbox_result r = f == NULL ? MAILBOX_NO_FOLDER : gone_in_journal(m, since, g);

	if (r != MAILBOX_OK)
		return r;
	g->all = since < f->horizon;
	for (uint32_t i = 0; r == MAILBOX_OK && !g->all && since + 1 < m->a->s->h.journal_first &&
			     i < f->range_count; i++)
		r = gone_in_range(m, f->ranges[i], since, g);
	if (r == MAILBOX_OK)
		r = view_table(m, &t);
	f = state_folder(m->a->s, m->folder);
	if (r != MAILBOX_OK || f == NULL)
		return r == MAILBOX_OK ? MAILBOX_NO_FOLDER : r;
	if (g->count > 0)
		qsort(g->uids, g->count, sizeof(*g->uids), order_uids);
	struct uid_range whole = { 1, f->uidnext - 1 };
	const struct uid_ranges every = { &whole, f->uidnext > 1 };
	size_t at = 0;

	if (known == NULL)
		known = &every;
	for (size_t i = 0; i < known->count; i++) {
		struct uid_range k = known->ranges[i];
		bool good = true;

		if (k.last >= f->uidnext)
			k.last = f->uidnext - 1;
		if (k.first > k.last)
			continue;
		if (g->all)
			good = missing_spans(t, k, arena, &list, &count, &cap);
		while (!g->all && at < g->count && g->uids[at] < k.first)
			at++;
		for (; !g->all && good && at < g->count && g->uids[at] <= k.last; at++)
			good = add_span(&list, &count, &cap, arena, g->uids[at], g->uids[at]);
		if (!good)
			return MAILBOX_MEMORY;
	}
	*out = (struct uid_ranges){ list, count };
	return MAILBOX_OK;
}

enum mailbox_result mailbox_vanished(struct mailbox *m, uint64_t since, const struct uid_ranges *known,
				     struct arena *arena, struct uid_ranges *out)
{
	struct gone g = { 0 };

	account_lock(m->a);
	enum mailbox_result r = m->a->s->loaded ? MAILBOX_OK : state_refresh(m->a);

	if (r == MAILBOX_OK)
		r = vanished_locked(m, since, known, arena, &g, out);
	account_unlock(m->a);
	free(g.uids);
	return r;
}
