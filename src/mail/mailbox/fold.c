/*
 * Folding: the journal's changes are written into the ranges, then the journal is trimmed.
 *
 * Order makes it safe: ranges first, each operation guarded by the range's own state, so that of
 * two processes at work one stops; then the head. A crash in between leaves ranges that are
 * ahead of the trim, and readers replay the journal over them with the same result.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "mail/mailbox/internal.h"

#define FOLD_STEPS	 SIZE_OF(400u, 5u)
#define FOLD_OP_BYTES	 (1u << 20)
#define TRIM_PARTS	 SIZE_OF(150u, 3u)
#define TRIM_FOLDERS	 150u
#define HINTS_MAX	 64u
#define TOMBSTONES_MAX	 SIZE_OF(10000u, 4u)		/* of a range; then the older half is forgotten */

struct touched {
	uint32_t uid;
	uint64_t expunged;		/* modseq; 0: it is there */
};

struct fold {
	struct account *a;
	uint32_t folder;
	struct table *table;
	struct touched *list;
	size_t count, cap;
	uint64_t up_to;
};

static bool touch(struct fold *f, uint32_t uid, uint64_t expunged)
{
	if (f->count == f->cap) {
		size_t want = f->cap == 0 ? 256 : f->cap * 2;
		struct touched *p = reallocarray(f->list, want, sizeof(*p));

		if (p == NULL)
			return false;
		f->list = p;
		f->cap = want;
	}
	f->list[f->count++] = (struct touched){ uid, expunged };
	return true;
}

static bool touch_change(struct fold *f, struct change *c, uint64_t modseq)
{
	struct change_item item;
	struct uid_range range;
	bool good = true;

	switch (c->kind) {
	case CHANGE_ADD:
		return touch(f, c->message.uid, 0);
	case CHANGE_FLAGS:
		while (good && change_range(c, &range))
			for (uint32_t i = table_lower(f->table, range.first);
			     good && i < f->table->count && f->table->rows[i].uid <= range.last; i++)
				good = touch(f, f->table->rows[i].uid, 0);
		return good;
	case CHANGE_EXPUNGE:
	case CHANGE_PLACE:
		while (good && change_item(c, &item))
			good = touch(f, item.uid, c->kind == CHANGE_EXPUNGE ? modseq : 0);
		return good;
	}
	return false;
}

static int order_touched(const void *a, const void *b)
{
	const struct touched *x = a, *y = b;

	if (x->uid != y->uid)
		return x->uid < y->uid ? -1 : 1;
	return x->expunged > y->expunged ? -1 : x->expunged < y->expunged;
}

/* Every UID once, with the modseq of its expunge if there is one. */
static bool collect(struct fold *f)
{
	const struct state *s = f->a->s;
	size_t kept = 0;

	for (size_t i = 0; i < s->journal_count; i++) {
		const struct journal_part *p = &s->journal[i];
		struct reader r = reader_of(slice_of(p->bytes, p->len));
		struct change c;

		(void)rd_be64(&r);
		while (change_next(&r, &c))
			if (c.folder == f->folder && !touch_change(f, &c, p->modseq))
				return false;
	}
	if (f->count > 0)
		qsort(f->list, f->count, sizeof(*f->list), order_touched);
	for (size_t i = 0; i < f->count; i++)
		if (kept == 0 || f->list[kept - 1].uid != f->list[i].uid)
			f->list[kept++] = f->list[i];
	f->count = kept;
	return true;
}

/* ---- one range object ---- */

struct range_op {
	struct account *a;
	struct stored_name object;
	struct arena arena;
	struct engine_step *steps;
	size_t count, bytes;
	struct range_state state;
	struct buf old_state, new_state;
	bool exists;
};

static enum mailbox_result range_begin(struct range_op *op, struct account *a, uint32_t folder,
				       uint32_t range)
{
	struct engine_kv *kv;
	size_t count;
	bool more;

	*op = (struct range_op){ .a = a, .object = range_name(a->s->id, folder, range), .count = 2 };
	arena_init(&op->arena, 8u << 20);
	buf_init(&op->old_state, 1024);
	buf_init(&op->new_state, 1024);
	op->steps = arena_array(&op->arena, ENGINE_STEPS_MAX, sizeof(*op->steps));
	if (op->steps == NULL)
		return MAILBOX_MEMORY;
	enum engine_result er = engine_keys(a->e, name_slice(&op->object), SLICE("g"), SLICE("h"), 1, 1024,
					    &op->arena, &kv, &count, &more);

	if (er != ENGINE_OK)
		return result_of(er);
	op->exists = count == 1;
	if (op->exists && !range_state_decode(kv[0].value, &op->state))
		return MAILBOX_DAMAGED;
	if (op->exists)
		buf_add(&op->old_state, kv[0].value);
	return MAILBOX_OK;
}

static void range_done(struct range_op *op)
{
	arena_done(&op->arena);
	buf_done(&op->old_state);
	buf_done(&op->new_state);
}

/* What was gathered, under the range's own guard. MAILBOX_RACE: another process is at it. */
static enum mailbox_result range_flush(struct range_op *op)
{
	buf_reset(&op->new_state);
	world_random(op->a->w, &op->state.nonce, sizeof(op->state.nonce));
	range_state_encode(&op->new_state, &op->state);
	if (op->arena.err != 0 || op->new_state.err != 0)
		return MAILBOX_MEMORY;
	op->steps[0] = (struct engine_step){ .kind = op->exists ? GUARD_KEY_EQUALS : GUARD_KEY_ABSENT,
					     .key = SLICE("g"), .value = buf_slice(&op->old_state) };
	op->steps[1] = (struct engine_step){ .kind = STEP_SET, .key = SLICE("g"),
					     .value = buf_slice(&op->new_state) };
	const struct engine_op eop = { .object = name_slice(&op->object), .steps = op->steps, .count = op->count };
	enum engine_result er = engine_apply(op->a->e, &eop);

	if (er == ENGINE_GUARD)
		return MAILBOX_RACE;
	if (er != ENGINE_OK)
		return result_of(er);
	buf_reset(&op->old_state);
	buf_add(&op->old_state, buf_slice(&op->new_state));
	op->exists = true;
	op->count = 2;
	op->bytes = 0;
	arena_reset(&op->arena);
	op->steps = arena_array(&op->arena, ENGINE_STEPS_MAX, sizeof(*op->steps));
	return op->steps == NULL ? MAILBOX_MEMORY : MAILBOX_OK;
}

static enum mailbox_result range_step(struct range_op *op, enum engine_step_kind kind, char key_kind,
				      uint32_t uid, struct slice value)
{
	struct stored_name key = key_u32(key_kind, uid);

	if (op->count >= FOLD_STEPS || op->bytes + value.len > FOLD_OP_BYTES) {
		enum mailbox_result r = range_flush(op);

		if (r != MAILBOX_OK)
			return r;
	}
	op->steps[op->count++] = (struct engine_step){ .kind = kind,
						       .key = arena_dup(&op->arena, name_slice(&key)),
						       .value = arena_dup(&op->arena, value) };
	op->bytes += value.len + key.len;
	return op->arena.err == 0 ? MAILBOX_OK : MAILBOX_MEMORY;
}

static enum mailbox_result range_entry(struct range_op *op, const struct fold *f, const struct touched *t)
{
	const struct message_info *row = table_find(f->table, t->uid);
	AUTO_BUF struct buf value = BUF_INIT(1024);

	if (row != NULL) {
		message_encode(&value, row);
		return value.err != 0 ? MAILBOX_MEMORY :
					range_step(op, STEP_SET, 'u', t->uid, buf_slice(&value));
	}
	enum mailbox_result r = range_step(op, STEP_DELETE, 'u', t->uid, (struct slice){ 0 });
	struct tombstone stone = { t->expunged };

	if (r != MAILBOX_OK || t->expunged == 0)
		return r;
	tombstone_encode(&value, &stone);
	op->state.tombstones++;
	return value.err != 0 ? MAILBOX_MEMORY : range_step(op, STEP_SET, 'x', t->uid, buf_slice(&value));
}

struct stone {
	uint64_t modseq;
	uint32_t uid;
};

static int order_stones(const void *a, const void *b)
{
	const struct stone *x = a, *y = b;

	return x->modseq < y->modseq ? -1 : x->modseq > y->modseq;
}

/* Forget the older half; the horizon rises before the first of them goes. */
static enum mailbox_result range_forget(struct range_op *op)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(32u << 20);
	struct engine_kv *kv;
	size_t count, n = 0;
	enum mailbox_result r = keys_all(op->a->e, name_slice(&op->object), SLICE("x"), SLICE("y"), &arena,
					 &kv, &count);
	struct stone *stones = r == MAILBOX_OK ? arena_array(&arena, count + 1, sizeof(*stones)) : NULL;

	if (stones == NULL)
		return r == MAILBOX_OK ? MAILBOX_MEMORY : r;
	for (size_t i = 0; i < count; i++) {
		struct reader key = reader_of(slice_from(kv[i].key, 1));
		struct tombstone t;

		if (tombstone_decode(kv[i].value, &t))
			stones[n++] = (struct stone){ t.modseq, rd_be32(&key) };
	}
	op->state.tombstones = (uint32_t)n;
	if (n <= TOMBSTONES_MAX)
		return range_flush(op);
	qsort(stones, n, sizeof(*stones), order_stones);
	size_t forget = n / 2;

	/* All of one commit go or stay together. */
	while (forget < n && stones[forget].modseq == stones[forget - 1].modseq)
		forget++;
	op->state.horizon = stones[forget - 1].modseq;
	op->state.tombstones = (uint32_t)(n - forget);
	for (size_t i = 0; r == MAILBOX_OK && i < forget; i++)
		r = range_step(op, STEP_DELETE, 'x', stones[i].uid, (struct slice){ 0 });
	return r == MAILBOX_OK ? range_flush(op) : r;
}

/* list[0..count) are of one range. */
static enum mailbox_result fold_range(const struct fold *f, const struct touched *list, size_t count)
{
	struct range_op op;
	enum mailbox_result r = range_begin(&op, f->a, f->folder, list[0].uid / RANGE_UIDS);

	/* Another process was here and is further. */
	if (r == MAILBOX_OK && op.exists && op.state.folded > f->up_to)
		r = MAILBOX_RACE;
	for (size_t i = 0; r == MAILBOX_OK && i < count; i++)
		r = range_entry(&op, f, &list[i]);
	if (r == MAILBOX_OK) {
		op.state.folded = f->up_to;
		r = range_flush(&op);
	}
	if (r == MAILBOX_OK && op.state.tombstones > TOMBSTONES_MAX)
		r = range_forget(&op);
	range_done(&op);
	return r;
}

/* Folders that the journal speaks of and that still exist. */
static enum mailbox_result load_tables(struct account *a)
{
	const struct state *s = a->s;

	for (size_t i = 0; i < s->folder_count; i++) {
		uint32_t id = s->folders[i].id;
		bool named = false;
		struct table *t;

		for (size_t k = 0; k < s->journal_count && !named; k++) {
			struct reader r = reader_of(slice_of(s->journal[k].bytes, s->journal[k].len));
			struct change c;

			(void)rd_be64(&r);
			while (!named && change_next(&r, &c))
				named = c.folder == id;
		}
		if (!named)
			continue;
		uint64_t before = s->h.version;
		enum mailbox_result r = state_table(a, id, &t);

		if (r != MAILBOX_OK)
			return r;
		if (s->h.version != before)
			return MAILBOX_RACE;
	}
	return MAILBOX_OK;
}

static enum mailbox_result fold_folder(struct account *a, uint32_t id, struct table *t, uint64_t up_to)
{
	struct fold f = { .a = a, .folder = id, .table = t, .up_to = up_to };
	enum mailbox_result r = collect(&f) ? MAILBOX_OK : MAILBOX_MEMORY;

	for (size_t i = 0; r == MAILBOX_OK && i < f.count;) {
		size_t n = i + 1;

		while (n < f.count && f.list[n].uid / RANGE_UIDS == f.list[i].uid / RANGE_UIDS)
			n++;
		r = fold_range(&f, f.list + i, n - i);
		i = n;
	}
	free(f.list);
	return r;
}

/* ---- the head ---- */

/* Dead bytes of the fragments of one key: see hints_group. */
struct hint {
	uint8_t bucket;
	uint32_t group;
	uint64_t bytes[HINT_GROUP];
};

struct trim {
	struct hint hints[HINTS_MAX];
	size_t hint_count;
	size_t parts;
};

static void hint_add(struct trim *t, const struct change_item *item)
{
	uint32_t group = item->fragment / HINT_GROUP;
	struct hint *h = NULL;

	if (item->dead_bytes == 0)
		return;
	for (size_t i = t->hint_count; i > 0 && h == NULL; i--)
		if (t->hints[i - 1].bucket == item->bucket && t->hints[i - 1].group == group)
			h = &t->hints[i - 1];
	if (h == NULL && t->hint_count < HINTS_MAX) {
		h = &t->hints[t->hint_count++];
		h->bucket = item->bucket;
		h->group = group;
	}
	if (h != NULL)
		h->bytes[item->fragment % HINT_GROUP] += item->dead_bytes;
}

static bool range_listed(struct folder *f, uint32_t range)
{
	for (uint32_t i = 0; i < f->range_count; i++)
		if (f->ranges[i] == range)
			return true;
	return false;
}

static bool list_range(struct commit *c, uint32_t folder, uint32_t range)
{
	struct folder *have = state_folder(c->a->s, folder);
	uint32_t i;

	if (have == NULL)
		return true;
	/* One of those that this commit already changed knows more. */
	for (size_t k = 0; k < c->folder_count; k++)
		if (c->folders[k]->id == folder)
			have = c->folders[k];
	if (range_listed(have, range))
		return true;
	struct folder *f = commit_folder(c, folder);
	uint32_t *ranges = f == NULL ? NULL : reallocarray(f->ranges, f->range_count + 2, sizeof(*ranges));

	if (ranges == NULL)
		return false;
	f->ranges = ranges;
	for (i = f->range_count; i > 0 && ranges[i - 1] > range; i--)
		ranges[i] = ranges[i - 1];
	ranges[i] = range;
	f->range_count++;
	return true;
}

/* What one journal part means for the folder table and the hints. */
static bool trim_part(struct trim *t, struct commit *c, const struct journal_part *p)
{
	struct reader r = reader_of(slice_of(p->bytes, p->len));
	struct change change;
	struct change_item item;

	(void)rd_be64(&r);
	while (change_next(&r, &change)) {
		if (change.kind == CHANGE_ADD) {
			if (!list_range(c, change.folder, change.message.uid / RANGE_UIDS))
				return false;
			continue;
		}
		if (change.kind != CHANGE_EXPUNGE)
			continue;
		while (change_item(&change, &item)) {
			hint_add(t, &item);
			if (!list_range(c, change.folder, item.uid / RANGE_UIDS))
				return false;
		}
	}
	return true;
}

enum mailbox_result hints_read(struct account *a, uint8_t bucket, uint32_t group,
			       uint64_t bytes[HINT_GROUP])
{
	struct stored_name object = head_name(a->s->id), key = key_place('z', bucket, group);
	uint8_t after[sizeof(key.bytes) + 1];
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 10);
	struct engine_kv *kv;
	size_t count;
	bool more;

	memset(bytes, 0, HINT_GROUP * sizeof(*bytes));
	memcpy(after, key.bytes, key.len);
	after[key.len] = 0;
	enum engine_result er = engine_keys(a->e, name_slice(&object), name_slice(&key),
					    slice_of(after, key.len + 1), 1, 4096, &arena, &kv, &count,
					    &more);

	if (er != ENGINE_OK)
		return result_of(er);
	struct reader r = reader_of(count == 1 ? kv[0].value : (struct slice){ 0 });

	for (size_t i = 0; i < HINT_GROUP; i++)
		bytes[i] = rd_be64(&r);
	return MAILBOX_OK;
}

void hints_write(struct commit *c, uint8_t bucket, uint32_t group, const uint64_t bytes[HINT_GROUP])
{
	struct stored_name key = key_place('z', bucket, group);
	AUTO_BUF struct buf value = BUF_INIT(4096);
	bool any = false;

	for (size_t i = 0; i < HINT_GROUP; i++) {
		buf_be64(&value, bytes[i]);
		any |= bytes[i] != 0;
	}
	if (value.err != 0)
		c->err = MAILBOX_MEMORY;
	if (any)
		commit_set(c, &key, buf_slice(&value));
	else
		commit_delete(c, &key);
}

static enum mailbox_result set_hints(struct commit *c, const struct trim *t)
{
	enum mailbox_result r = MAILBOX_OK;

	for (size_t i = 0; r == MAILBOX_OK && i < t->hint_count; i++) {
		const struct hint *h = &t->hints[i];
		uint64_t bytes[HINT_GROUP];

		r = hints_read(c->a, h->bucket, h->group, bytes);
		for (size_t k = 0; k < HINT_GROUP; k++)
			bytes[k] += h->bytes[k];
		if (r == MAILBOX_OK)
			hints_write(c, h->bucket, h->group, bytes);
	}
	return r;
}

/* Some parts off the front, whole commits only. */
static enum mailbox_result trim_once(struct account *a, struct attempt *t, uint64_t up_to)
{
	struct state *s = a->s;
	struct commit c;
	AUTO_FREE struct trim *trim = calloc(1, sizeof(*trim));

	if (trim == NULL)
		return MAILBOX_MEMORY;
	if (s->journal_count == 0 || s->journal[0].modseq > up_to)
		return MAILBOX_OK;
	commit_begin(&c, t, false);
	enum mailbox_result r = MAILBOX_OK;
	size_t n = 0;

	while (n < s->journal_count && s->journal[n].modseq <= up_to) {
		size_t end = n;

		while (end < s->journal_count && s->journal[end].modseq == s->journal[n].modseq)
			end++;
		if (n > 0 && (end > TRIM_PARTS || c.folder_count > TRIM_FOLDERS ||
			      trim->hint_count > HINTS_MAX / 2))
			break;
		for (; n < end && r == MAILBOX_OK; n++) {
			struct stored_name key = key_journal(s->journal[n].modseq, s->journal[n].part);

			commit_delete(&c, &key);
			if (!trim_part(trim, &c, &s->journal[n]))
				r = MAILBOX_MEMORY;
		}
		if (r != MAILBOX_OK)
			break;
	}
	c.h.journal_first = n < s->journal_count ? s->journal[n].modseq : s->h.modseq + 1;
	if (r == MAILBOX_OK)
		r = set_hints(&c, trim);
	if (r == MAILBOX_OK)
		r = commit_submit(&c, t);
	commit_done(&c);
	return r;
}

enum mailbox_result state_fold(struct account *a)
{
	struct state *s = a->s;
	enum mailbox_result r = load_tables(a);
	uint64_t up_to = s->h.modseq;

	if (r != MAILBOX_OK)
		return r == MAILBOX_RACE ? MAILBOX_OK : r;
	for (size_t i = 0; i < s->folder_count && r == MAILBOX_OK; i++) {
		struct table *t = state_table_cached(s, s->folders[i].id);

		if (t != NULL)
			r = fold_folder(a, s->folders[i].id, t, up_to);
	}
	while (r == MAILBOX_OK && s->journal_count > 0 && s->journal[0].modseq <= up_to) {
		struct attempt t;

		attempt_begin(&t, a);
		do {
			r = trim_once(a, &t, up_to);
		} while (attempt_again(&t, &r));
	}
	/* Another process folds: it will finish, or it is due again. */
	return r == MAILBOX_RACE ? MAILBOX_OK : r;
}

void state_fold_hard(struct account *a)
{
	enum mailbox_result r = state_fold_due(a->s, true) ? state_fold(a) : MAILBOX_OK;

	/* Whatever it was, it will be met again where it can be answered. */
	(void)r;
}
