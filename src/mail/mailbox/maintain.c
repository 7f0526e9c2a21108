/*
 * Upkeep in small steps: deleted folders, dead space, forgotten streams.
 *
 * Compaction of a fragment, each step one guarded commit on the head or harmless to repeat:
 *
 *	1. condemn it ("w"): from then on no APPEND may commit a message that lies in it;
 *	2. copy live messages to the end of a bucket, some at a time, and commit their new places;
 *	3. when no row points into it, note the delivery ids that it held, remove the object;
 *	4. forget the condemnation.
 *
 * Only fragments that are sealed and merged are condemned, so no delivery can come later.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "mail/mailbox/internal.h"

#define DEAD_MIN_BYTES	   SIZE_OF(512u << 10, 300u)		/* below it a fragment is not worth the copying */
#define SEAL_OPEN_BYTES	   SIZE_OF(2u << 20, 1000u)		/* dead bytes that make us seal one that is not full */
#define MOVE_MESSAGES	   SIZE_OF(64u, 2u)
#define MOVE_BYTES	   (2u << 20)
#define IDS_AGE_US	   (INT64_C(30) * 86400 * 1000000)
#define IDS_STEPS	   SIZE_OF(400u, 4u)
#define STREAM_AGE_US	   (INT64_C(3600) * 1000000)
#define STREAM_CHECK_US	   (INT64_C(3600) * 1000000)
#define REMOVE_BATCH	   SIZE_OF(64u, 2u)

static enum mailbox_result remove_object(struct engine *e, struct slice name)
{
	const struct engine_step step = { .kind = STEP_REMOVE };
	const struct engine_op op = { .object = name, .steps = &step, .count = 1 };
	enum engine_result er = engine_apply(e, &op);

	return er == ENGINE_ABSENT || er == ENGINE_GUARD ? MAILBOX_OK : result_of(er);
}

/* Up to REMOVE_BATCH objects with this prefix; *left: there may be more. */
static enum mailbox_result remove_prefix(struct engine *e, struct slice prefix, bool *left)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct slice *names;
	size_t count;
	enum engine_result er = engine_list(e, prefix, (struct slice){ 0 }, REMOVE_BATCH, &arena, &names,
					    &count);
	enum mailbox_result r = result_of(er);

	for (size_t i = 0; r == MAILBOX_OK && i < count; i++)
		r = remove_object(e, names[i]);
	*left = count == REMOVE_BATCH;
	return r;
}

/* ---- deleted folders ---- */

/* All rows of all fragments that the deleted folder named are dead bytes now. */
static enum mailbox_result doom_hints(struct commit *c, const struct folder *f)
{
	struct account *a = c->a;
	struct { uint8_t bucket; uint32_t group; uint64_t bytes[HINT_GROUP]; } *list = NULL;
	size_t count = 0;
	enum mailbox_result r = MAILBOX_OK;

	for (uint32_t i = 0; r == MAILBOX_OK && i < f->range_count; i++) {
		struct stored_name object = range_name(a->s->id, f->id, f->ranges[i]);
		AUTO_ARENA struct arena arena = ARENA_INIT(32u << 20);
		struct engine_kv *kv;
		size_t n;

		r = keys_all(a->e, name_slice(&object), SLICE("u"), SLICE("v"), &arena, &kv, &n);
		for (size_t k = 0; r == MAILBOX_OK && k < n; k++) {
			struct reader value = reader_of(kv[k].value);
			struct message_info m = { 0 };
			size_t at = 0;

			if (!message_decode(&value, &m))
				continue;
			while (at < count && (list[at].bucket != m.bucket ||
					      list[at].group != m.fragment / HINT_GROUP))
				at++;
			if (at == count) {
				void *p = reallocarray(list, count + 1, sizeof(*list));

				if (p == NULL) {
					r = MAILBOX_MEMORY;
					break;
				}
				list = p;
				list[at].bucket = m.bucket;
				list[at].group = m.fragment / HINT_GROUP;
				r = hints_read(a, m.bucket, list[at].group, list[at].bytes);
				count++;
			}
			list[at].bytes[m.fragment % HINT_GROUP] += m.size;
		}
	}
	for (size_t i = 0; r == MAILBOX_OK && i < count && i < ENGINE_STEPS_MAX / 2; i++)
		hints_write(c, list[i].bucket, list[i].group, list[i].bytes);
	free(list);
	return r;
}

/*
 * The hints go with the last commit, after which the ranges are orphans for one moment: so
 * first the hints and the mark, then the objects. A crash between leaves objects that fsck
 * names; nothing points to them.
 */
static enum mailbox_result doom_step(struct account *a, bool *did)
{
	struct state *s = a->s;
	enum mailbox_result r;
	uint32_t id;
	struct attempt t;

	*did = s->doomed_count > 0;
	if (!*did)
		return MAILBOX_OK;
	id = s->doomed[0].id;
	attempt_begin(&t, a);
	do {
		struct commit c;

		r = MAILBOX_OK;
		if (s->doomed_count == 0 || s->doomed[0].id != id)
			break;
		commit_begin(&c, &t, false);
		struct stored_name key = key_u32('u', id);

		r = doom_hints(&c, &s->doomed[0]);
		commit_delete(&c, &key);
		if (r == MAILBOX_OK)
			r = commit_submit(&c, &t);
		commit_done(&c);
	} while (attempt_again(&t, &r));
	struct stored_name prefix = range_name(s->id, id, 0);

	prefix.len -= 8;		/* all ranges, also those that were never listed */
	for (bool left = true; r == MAILBOX_OK && left;)
		r = remove_prefix(a->e, name_slice(&prefix), &left);
	return r;
}

/* ---- compaction ---- */

static bool points_into(const struct message_info *m, struct place p)
{
	return m->bucket == p.bucket && m->fragment == p.fragment;
}

struct move {
	uint32_t old_offset;		/* with the stream bit */
	struct message_info to;		/* only the place counts */
};

struct moves {
	struct account *a;
	struct place from;
	struct move list[MOVE_MESSAGES];
	size_t count;
	size_t bytes;
	bool more;
};

static enum mailbox_result all_tables(struct account *a)
{
	struct state *s = a->s;
	uint64_t version;

	do {
		version = s->h.version;
		for (size_t i = 0; i < s->folder_count && version == s->h.version; i++) {
			struct table *t;
			enum mailbox_result r = state_table(a, s->folders[i].id, &t);

			if (r != MAILBOX_OK)
				return r;
		}
	} while (version != s->h.version);
	return MAILBOX_OK;
}

static const struct move *moved(const struct moves *m, uint32_t offset)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->list[i].old_offset == offset)
			return &m->list[i];
	return NULL;
}

/* The record, summary and bytes of one message, again at the end of bucket 0. */
static enum mailbox_result move_one(struct moves *m, const struct message_info *row)
{
	struct account *a = m->a;
	uint32_t offset = row->offset & ~OFFSET_STREAM;
	struct stored_name object = fragment_name(a->s->id, m->from.bucket, m->from.fragment);
	struct stored_name key = key_u32('m', offset), key_end = key_u32('m', offset + 1);
	struct stored_name sum = key_u32('s', offset), sum_end = key_u32('s', offset + 1);
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf body = BUF_INIT(BODY_MEMORY_BYTES + DELIVERY_PREFIX_BYTES_MAX + 16);
	struct engine_kv *kv;
	struct record r;
	struct slice summary = { 0 };
	size_t count;
	bool more;
	enum engine_result er = engine_keys(a->e, name_slice(&object), name_slice(&key), name_slice(&key_end),
					    1, 4096, &arena, &kv, &count, &more);

	if (er != ENGINE_OK)
		return result_of(er);
	if (count != 1 || !record_decode(kv[0].value, &r))
		return MAILBOX_DAMAGED;
	er = engine_keys(a->e, name_slice(&object), name_slice(&sum), name_slice(&sum_end), 1, 1u << 17,
			 &arena, &kv, &count, &more);
	if (er != ENGINE_OK)
		return result_of(er);
	if (count == 1)
		summary = kv[0].value;
	er = engine_read(a->e, name_slice(&object), offset, r.stored_bytes, &body);
	if (er != ENGINE_OK || body.err != 0 || body.len != r.stored_bytes)
		return er == ENGINE_OK ? MAILBOX_DAMAGED : result_of(er);
	struct move *to = &m->list[m->count];
	const struct slice bytes = buf_slice(&body);

	r.kind = RECORD_HELD;
	r.attempt = 0;
	r.tries = (struct delivery_tries){ 0 };
	to->old_offset = row->offset;
	to->to = (struct message_info){ 0 };
	er = fragment_append(a->e, a->s->id, 0, &a->s->tails[0], &r, &bytes, 1, summary, NULL,
			     &to->to.fragment, &to->to.offset);
	if (er != ENGINE_OK)
		return result_of(er);
	to->to.offset |= row->offset & OFFSET_STREAM;
	m->count++;
	m->bytes += body.len;
	return MAILBOX_OK;
}

/* Copy bytes of live messages, a step's worth. Damaged ones cannot be moved: they stay, and so does the fragment. */
static enum mailbox_result move_bytes(struct moves *m, bool *damaged)
{
	const struct state *s = m->a->s;

	for (size_t i = 0; i < s->folder_count; i++) {
		const struct table *t = state_table_cached(s, s->folders[i].id);

		for (uint32_t k = 0; t != NULL && k < t->count; k++) {
			if (!points_into(&t->rows[k], m->from) || moved(m, t->rows[k].offset) != NULL)
				continue;
			if (m->count == MOVE_MESSAGES || m->bytes >= MOVE_BYTES) {
				m->more = true;
				return MAILBOX_OK;
			}
			enum mailbox_result r = move_one(m, &t->rows[k]);

			if (r == MAILBOX_DAMAGED)
				*damaged = true;
			else if (r != MAILBOX_OK)
				return r;
		}
	}
	return MAILBOX_OK;
}

/* A fragment that filled, was merged and condemned while we copied: copy again another time. */
static bool moves_hold(const struct moves *m)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->list[i].to.fragment < m->a->s->h.cursors[0].fragment)
			return false;
	return true;
}

static enum mailbox_result move_commit(const struct moves *m, struct attempt *t)
{
	const struct state *s = m->a->s;
	struct commit c;
	enum mailbox_result r = all_tables(m->a);

	if (r != MAILBOX_OK || !moves_hold(m))
		return r;
	commit_begin(&c, t, true);
	for (size_t i = 0; r == MAILBOX_OK && i < s->folder_count; i++) {
		const struct table *table = state_table_cached(s, s->folders[i].id);
		struct change_item *items =
			table == NULL ? NULL : calloc(table->count + 1, sizeof(*items));
		size_t n = 0;

		if (items == NULL) {
			r = MAILBOX_RACE;
			break;
		}
		for (uint32_t k = 0; k < table->count; k++) {
			const struct message_info *row = &table->rows[k];
			const struct move *to = points_into(row, m->from) ? moved(m, row->offset) : NULL;

			if (to != NULL)
				items[n++] = (struct change_item){ .uid = row->uid,
								   .bucket = to->to.bucket,
								   .fragment = to->to.fragment,
								   .offset = to->to.offset };
		}
		if (n > 0)
			commit_change_items(&c, CHANGE_PLACE, s->folders[i].id, items, n);
		free(items);
	}
	if (r == MAILBOX_OK)
		r = commit_submit(&c, t);
	commit_done(&c);
	return r;
}

/* Set or take away "w" and the hint of a fragment. */
static enum mailbox_result condemn(struct account *a, struct place p, bool on)
{
	enum mailbox_result r;
	struct attempt t;

	attempt_begin(&t, a);
	do {
		struct commit c;
		struct stored_name key = key_place('w', p.bucket, p.fragment);
		uint64_t bytes[HINT_GROUP];

		r = MAILBOX_OK;
		if (state_condemned(a->s, p.bucket, p.fragment) == on)
			break;
		r = hints_read(a, p.bucket, p.fragment / HINT_GROUP, bytes);
		if (r != MAILBOX_OK)
			break;
		bytes[p.fragment % HINT_GROUP] = 0;
		commit_begin(&c, &t, false);
		hints_write(&c, p.bucket, p.fragment / HINT_GROUP, bytes);
		if (on)
			commit_set(&c, &key, (struct slice){ 0 });
		else
			commit_delete(&c, &key);
		r = commit_submit(&c, &t);
		commit_done(&c);
	} while (attempt_again(&t, &r));
	return r;
}

/*
 * A repeated delivery is known by the record of its first attempt. That record goes with the
 * fragment, so its id is kept beside, for as long as any queue could still repeat it.
 */
static enum mailbox_result keep_ids(struct account *a, struct place p)
{
	struct stored_name object = fragment_name(a->s->id, p.bucket, p.fragment);
	struct stored_name old = old_ids_name(a->s->id, p.bucket, p.fragment), seal = key_seal();
	AUTO_ARENA struct arena arena = ARENA_INIT(32u << 20);
	AUTO_BUF struct buf when = BUF_INIT(16);
	struct engine_kv *kv;
	size_t count;
	enum mailbox_result r = keys_all(a->e, name_slice(&object), SLICE("m"), name_slice(&seal), &arena,
					 &kv, &count);
	struct engine_step *steps = arena_array(&arena, IDS_STEPS + 1, sizeof(*steps));

	buf_be64(&when, (uint64_t)world_real_us(a->w));
	if (r == MAILBOX_OK && (steps == NULL || when.err != 0))
		r = MAILBOX_MEMORY;
	for (size_t i = 0; r == MAILBOX_OK && i < count;) {
		size_t n = 0;

		steps[n++] = (struct engine_step){ .kind = STEP_SET, .key = SLICE("t"),
						   .value = buf_slice(&when) };
		for (; i < count && n < IDS_STEPS; i++) {
			struct record rec;
			struct stored_name key;

			if (!record_decode(kv[i].value, &rec) || rec.kind != RECORD_DELIVERY)
				continue;
			key = key_id('i', rec.id);
			steps[n++] = (struct engine_step){ .kind = STEP_SET,
							   .key = arena_dup(&arena, name_slice(&key)) };
		}
		const struct engine_op op = { .object = name_slice(&old), .steps = steps, .count = n };

		if (arena.err != 0)
			return MAILBOX_MEMORY;
		if (n > 1)
			r = result_of(engine_apply(a->e, &op));
	}
	return r;
}

/* One step of emptying a condemned fragment. */
static enum mailbox_result empty_step(struct account *a, struct place p)
{
	AUTO_FREE struct moves *m = calloc(1, sizeof(*m));
	struct stored_name object = fragment_name(a->s->id, p.bucket, p.fragment);
	bool damaged = false;

	if (m == NULL)
		return MAILBOX_MEMORY;
	m->a = a;
	m->from = p;
	enum mailbox_result r = all_tables(a);

	if (r == MAILBOX_OK)
		r = move_bytes(m, &damaged);
	if (r != MAILBOX_OK)
		return r;
	if (m->count > 0) {
		struct attempt t;

		attempt_begin(&t, a);
		do {
			r = move_commit(m, &t);
		} while (attempt_again(&t, &r));
		return r;
	}
	/* Damaged messages keep it for ever, without another try: restoring is the operator's. */
	if (!damaged)
		r = keep_ids(a, p);
	if (r == MAILBOX_OK && !damaged)
		r = remove_object(a->e, name_slice(&object));
	return r == MAILBOX_OK ? condemn(a, p, false) : r;
}

/* Seal a fragment that is not full, so that it can be merged to its end and emptied. */
static enum mailbox_result seal_open(struct account *a, struct place p)
{
	struct stored_name object = fragment_name(a->s->id, p.bucket, p.fragment), seal = key_seal();
	const struct engine_step steps[] = {
		{ .kind = GUARD_EXISTS },
		{ .kind = STEP_SET, .key = name_slice(&seal) },
	};
	const struct engine_op op = { .object = name_slice(&object), .steps = steps, .count = 2 };
	enum engine_result er = engine_apply(a->e, &op);
	uint32_t from, to;

	if (er != ENGINE_OK)
		return er == ENGINE_GUARD ? MAILBOX_OK : result_of(er);
	a->s->tails[p.bucket].known = false;
	return state_merge(a, FOLDER_NONE, &from, &to);
}

/* The fragment with the most dead bytes, if it is worth it. */
static enum mailbox_result choose(struct account *a, struct place *best, bool *found, bool *open)
{
	struct stored_name object = head_name(a->s->id);
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	struct engine_kv *kv;
	size_t count;
	uint64_t most = DEAD_MIN_BYTES;
	enum mailbox_result r = keys_all(a->e, name_slice(&object), SLICE("z"), SLICE("{"), &arena, &kv, &count);

	*found = false;
	for (size_t i = 0; r == MAILBOX_OK && i < count; i++) {
		struct reader key = reader_of(slice_from(kv[i].key, 1)), value = reader_of(kv[i].value);
		uint8_t bucket = rd_u8(&key);
		uint32_t first = rd_be32(&key) * HINT_GROUP;

		for (uint32_t n = 0; n < HINT_GROUP && bucket < a->s->h.buckets; n++) {
			uint64_t dead = rd_be64(&value);
			bool is_open = first + n >= a->s->h.cursors[bucket].fragment;

			if (dead < most || (is_open && dead < SEAL_OPEN_BYTES))
				continue;
			most = dead;
			*best = (struct place){ bucket, first + n };
			*open = is_open;
			*found = true;
		}
	}
	if (!*found || r != MAILBOX_OK)
		return r;
	struct stored_name name = fragment_name(a->s->id, best->bucket, best->fragment);
	struct engine_stat st = { 0 };
	enum engine_result er = engine_stat(a->e, name_slice(&name), &st);

	if (er != ENGINE_OK && er != ENGINE_ABSENT)
		return result_of(er);
	/* Half of it dead, or streams that are larger than the fragment itself. */
	*found = most * 2 >= st.length;
	return MAILBOX_OK;
}

static enum mailbox_result compact_step(struct account *a, bool *did)
{
	struct place p;
	bool found, open = false;
	enum mailbox_result r;

	*did = true;
	if (a->s->condemned_count > 0)
		return empty_step(a, a->s->condemned[0]);
	r = choose(a, &p, &found, &open);
	*did = found;
	if (r != MAILBOX_OK || !found)
		return r;
	if (open)
		r = seal_open(a, p);
	if (r == MAILBOX_OK && p.fragment < a->s->h.cursors[p.bucket].fragment)
		return condemn(a, p, true);
	*did = false;
	return r;
}

/* ---- streams that nobody names ---- */

struct stream_ids {
	uint8_t (*ids)[EMAIL_ID_BYTES];
	size_t count;
};

static int order_ids(const void *a, const void *b)
{
	return memcmp(a, b, EMAIL_ID_BYTES);
}

static enum mailbox_result live_streams(struct account *a, struct stream_ids *live)
{
	const struct state *s = a->s;
	size_t cap = 0;
	enum mailbox_result r = all_tables(a);

	for (size_t i = 0; r == MAILBOX_OK && i < s->folder_count; i++) {
		const struct table *t = state_table_cached(s, s->folders[i].id);

		for (uint32_t k = 0; r == MAILBOX_OK && t != NULL && k < t->count; k++) {
			if (!(t->rows[k].offset & OFFSET_STREAM))
				continue;
			if (live->count == cap) {
				cap = cap == 0 ? 64 : cap * 2;
				void *p = reallocarray(live->ids, cap, EMAIL_ID_BYTES);

				if (p == NULL)
					return MAILBOX_MEMORY;
				live->ids = p;
			}
			r = body_stream_id(a, &t->rows[k], live->ids[live->count++]);
		}
	}
	if (live->count > 0)
		qsort(live->ids, live->count, EMAIL_ID_BYTES, order_ids);
	return r;
}

static bool hex_id(struct slice hex, uint8_t out[EMAIL_ID_BYTES])
{
	for (size_t i = 0; i < 2 * EMAIL_ID_BYTES; i++) {
		uint8_t c = hex.ptr[i];
		uint8_t v = ascii_digit(c) ? (uint8_t)(c - '0') : (uint8_t)(c - 'a' + 10);

		if (v > 15)
			return false;
		out[i / 2] = (uint8_t)(i % 2 == 0 ? v << 4 : out[i / 2] | v);
	}
	return true;
}

/* Key t of an object is when it was last written. */
static enum mailbox_result older_than(struct account *a, struct slice name, int64_t age_us, bool *old)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 10);
	struct engine_kv *kv;
	size_t count;
	bool more;
	enum engine_result er = engine_keys(a->e, name, SLICE("t"), SLICE("u"), 1, 1024, &arena, &kv, &count,
					    &more);

	if (er != ENGINE_OK)
		return result_of(er);
	struct reader r = reader_of(count == 1 ? kv[0].value : (struct slice){ 0 });
	int64_t when = (int64_t)rd_be64(&r);

	*old = !r.bad && world_real_us(a->w) - when > age_us;
	return MAILBOX_OK;
}

/* names are sorted: the chunks of a stream follow each other, the newest last. */
static enum mailbox_result sweep(struct account *a, const struct slice *names, size_t count,
				 const struct stream_ids *live)
{
	size_t id_at = 2 + ACCOUNT_ID_BYTES + 1, id_len = 2 * EMAIL_ID_BYTES;
	enum mailbox_result r = MAILBOX_OK;

	for (size_t i = 0; r == MAILBOX_OK && i < count;) {
		struct slice hex = slice_sub(names[i], id_at, id_at + id_len);
		uint8_t id[EMAIL_ID_BYTES];
		bool old = false;
		size_t end = i + 1;

		while (end < count && slice_eq(slice_sub(names[end], id_at, id_at + id_len), hex))
			end++;
		if (hex.len == id_len && hex_id(hex, id) &&
		    (live->count == 0 ||
		     bsearch(id, live->ids, live->count, EMAIL_ID_BYTES, order_ids) == NULL))
			r = older_than(a, names[end - 1], STREAM_AGE_US, &old);
		for (; old && r == MAILBOX_OK && i < end; i++)
			r = remove_object(a->e, names[i]);
		i = end;
	}
	return r;
}

/* Ids of fragments that are gone: no queue repeats a delivery as late as this. */
static enum mailbox_result ids_step(struct account *a)
{
	struct stored_name prefix = objects_prefix('f', a->s->id);
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	enum mailbox_result r = MAILBOX_OK;
	struct slice *names;
	size_t count;
	enum engine_result er = engine_list(a->e, name_slice(&prefix), (struct slice){ 0 }, 100000, &arena,
					    &names, &count);

	if (er != ENGINE_OK)
		return result_of(er);
	for (size_t i = 0; r == MAILBOX_OK && i < count; i++) {
		bool old = false;

		if (!slice_ends(names[i], SLICE(".old")))
			continue;
		r = older_than(a, names[i], IDS_AGE_US, &old);
		if (r == MAILBOX_OK && old)
			r = remove_object(a->e, names[i]);
	}
	return r;
}

static enum mailbox_result streams_step(struct account *a)
{
	struct stored_name prefix = objects_prefix('b', a->s->id);
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	struct stream_ids live = { 0 };
	struct slice *names;
	size_t count;
	int64_t now = world_mono_us(a->w);

	if (a->s->streams_checked_us != 0 && now - a->s->streams_checked_us < STREAM_CHECK_US)
		return MAILBOX_OK;
	a->s->streams_checked_us = now == 0 ? 1 : now;
	enum mailbox_result ids = ids_step(a);

	if (ids != MAILBOX_OK)
		return ids;
	enum engine_result er = engine_list(a->e, name_slice(&prefix), (struct slice){ 0 }, 100000, &arena,
					    &names, &count);

	if (er != ENGINE_OK || count == 0)
		return result_of(er);
	enum mailbox_result r = live_streams(a, &live);

	if (r == MAILBOX_OK)
		r = sweep(a, names, count, &live);
	free(live.ids);
	return r;
}

/* ---- all of it ---- */

/* Dead bytes count once they are folded; a lot of them is worth folding for. */
static bool much_is_dead(const struct state *s)
{
	uint64_t dead = 0;

	for (size_t i = 0; i < s->journal_count; i++) {
		struct reader r = reader_of(slice_of(s->journal[i].bytes, s->journal[i].len));
		struct change c;
		struct change_item item;

		(void)rd_be64(&r);
		while (change_next(&r, &c))
			while (c.kind == CHANGE_EXPUNGE && change_item(&c, &item))
				dead += item.dead_bytes;
	}
	return dead >= DEAD_MIN_BYTES;
}

static enum mailbox_result maintain_locked(struct account *a, bool *more)
{
	uint32_t from, to;
	enum mailbox_result r = state_refresh(a);

	if (r == MAILBOX_OK)
		r = state_merge(a, FOLDER_NONE, &from, &to);
	if (r == MAILBOX_OK && (state_fold_due(a->s, false) || much_is_dead(a->s)))
		r = state_fold(a);
	if (r == MAILBOX_OK)
		r = doom_step(a, more);
	if (r == MAILBOX_OK && !*more)
		r = compact_step(a, more);
	if (r == MAILBOX_OK && !*more)
		r = streams_step(a);
	return r;
}

enum mailbox_result account_maintain(struct account *a, bool *more)
{
	*more = false;
	account_lock(a);
	enum mailbox_result r = maintain_locked(a, more);

	account_unlock(a);
	return r;
}

enum mailbox_result accounts_maintain_step(struct accounts *all, struct engine *engine,
					   struct maintain_cursor *cursor, bool *more)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 10);
	struct stored_name after = head_name(cursor->account);
	struct account *a;
	struct slice *names;
	size_t count;
	bool again = false;
	enum engine_result er = engine_list(engine, SLICE("a."),
					    cursor->started ? name_slice(&after) : (struct slice){ 0 }, 1, &arena,
					    &names, &count);

	*more = false;
	if (er != ENGINE_OK)
		return result_of(er);
	if (count == 0) {
		cursor->started = false;
		return MAILBOX_OK;
	}
	*more = true;
	struct slice id = slice_from(names[0], 2);
	enum mailbox_result r =
		account_open(all, engine, id, (struct quota){ 0 }, &a);

	if (r == MAILBOX_OK) {
		r = account_maintain(a, &again);
		account_close(a);
	}
	cursor->steps++;
	cursor->failed += r != MAILBOX_OK;
	if (!again || r != MAILBOX_OK) {
		cursor->started = true;
		if (id.len == ACCOUNT_ID_BYTES)
			memcpy(cursor->account, id.ptr, ACCOUNT_ID_BYTES);
	}
	return MAILBOX_OK;
}

enum mailbox_result account_remove(struct engine *engine, struct slice id)
{
	char account[ACCOUNT_ID_BYTES];
	enum mailbox_result r = MAILBOX_OK;

	if (!account_id_valid(id))
		return MAILBOX_NO_FOLDER;
	memcpy(account, id.ptr, sizeof(account));
	for (const char *kind = "bfi"; *kind != 0 && r == MAILBOX_OK; kind++) {
		struct stored_name prefix = objects_prefix(*kind, account);

		for (bool left = true; r == MAILBOX_OK && left;)
			r = remove_prefix(engine, name_slice(&prefix), &left);
	}
	struct stored_name head = head_name(account);

	return r == MAILBOX_OK ? remove_object(engine, name_slice(&head)) : r;
}
