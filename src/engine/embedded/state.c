/*
 * What the log means: entries of the index, the overlay of changes that are not durable yet, and the
 * one function that carries out a record's effects, for new operations, replay and rebuild alike.
 *
 * The version rule: an effect applies only to what is older than it. Records are replayed in the order
 * of the log; what compaction moved keeps its version, and its place says only where the bytes are.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/must.h"
#include "engine/embedded/store.h"

/* What an entry costs in the log besides its value, about: for the choice what to compact. */
#define ENTRY_OVERHEAD_BYTES 48u
#define ARENA_BYTES_MAX (64u << 20)
#define REPLAY_OVERLAY_MAX 2000u

void index_key_make(struct index_key *k, struct slice object, enum key_kind kind, struct slice key)
{
	must(object.len <= ENGINE_NAME_BYTES_MAX && key.len <= ENGINE_KEY_BYTES_MAX);
	memcpy(k->bytes, object.ptr, object.len);
	k->bytes[object.len] = 0;
	k->bytes[object.len + 1] = (uint8_t)kind;
	if (key.len > 0)
		memcpy(k->bytes + object.len + 2, key.ptr, key.len);
	k->len = object.len + 2 + key.len;
}

void extent_key(uint8_t out[8], uint64_t end)
{
	put_be64(out, end);
}

static void entry_encode(enum key_kind kind, const struct entry *e, struct buf *out)
{
	buf_varint(out, e->version);
	buf_varint(out, e->oldest);
	buf_varint(out, e->segment);
	if (kind == KEY_OBJECT) {
		buf_varint(out, e->length);
		return;
	}
	buf_varint(out, e->pos);
	buf_varint(out, e->len);
	buf_be32(out, e->crc);
	if (kind == KEY_KEY && e->inlined && e->len <= INLINE_BYTES_MAX)
		buf_add(out, e->data);
}

bool entry_decode(enum key_kind kind, struct slice value, struct entry *out)
{
	struct reader r = reader_of(value);

	*out = (struct entry){ 0 };
	out->version = rd_varint(&r);
	out->oldest = (uint32_t)rd_varint_max(&r, UINT32_MAX);
	out->segment = (uint32_t)rd_varint_max(&r, UINT32_MAX);
	if (kind == KEY_OBJECT) {
		out->length = rd_varint(&r);
		return rd_end(&r);
	}
	out->pos = rd_varint(&r);
	out->len = (uint32_t)rd_varint_max(&r, RECORD_BODY_BYTES_MAX);
	out->crc = rd_be32(&r);
	out->data = rd_rest(&r);
	out->inlined = kind == KEY_KEY && out->data.len == out->len;
	return !r.bad && (out->data.len == 0 || out->inlined);
}

/* ---- overlay ---- */

static struct overlay_entry *overlay_find(struct store *s, struct slice key, uint64_t hash)
{
	for (struct map_node *n = map_first(&s->overlay, hash); n != NULL; n = map_next(n, hash)) {
		struct overlay_entry *o = container_of(n, struct overlay_entry, node);

		if (slice_eq(o->key, key))
			return o;
	}
	return NULL;
}

/* The overlay's row for this key, fetched from the index when new. NULL: s->state_err is set. */
static struct overlay_entry *overlay_row(struct store *s, struct slice object, enum key_kind kind,
					 struct slice key)
{
	struct index_key ik;

	index_key_make(&ik, object, kind, key);
	uint64_t hash = map_hash(index_key_slice(&ik));
	struct overlay_entry *o = overlay_find(s, index_key_slice(&ik), hash);
	if (o != NULL)
		return o;
	o = ARENA_NEW(&s->arena, struct overlay_entry);
	if (o != NULL)
		o->key = arena_dup(&s->arena, index_key_slice(&ik));
	buf_reset(&s->value);
	int got = o == NULL ? -ENOMEM : s->ix->vt->get(s->ix, o->key, &s->value);
	if (got == 1) {
		struct slice copy = arena_dup(&s->arena, buf_slice(&s->value));

		o->present = true;
		if (!entry_decode(kind, copy, &o->entry))
			got = -EUCLEAN;
	}
	if (got >= 0 && (s->arena.err != 0 || map_add(&s->overlay, &o->node, hash) != 0))
		got = -ENOMEM;
	if (got < 0) {
		s->state_err = got;
		return NULL;
	}
	return o;
}

struct entry *state_get(struct store *s, struct slice object, enum key_kind kind, struct slice key)
{
	struct overlay_entry *o = overlay_row(s, object, kind, key);

	return o != NULL && o->present ? &o->entry : NULL;
}

bool state_touched(struct store *s, struct slice object)
{
	for (struct map_node *n = map_iter(&s->overlay, NULL); n != NULL;
	     n = map_iter(&s->overlay, n)) {
		struct overlay_entry *o = container_of(n, struct overlay_entry, node);

		if (o->dirty && o->key.len > object.len && o->key.ptr[object.len] == 0 &&
		    slice_starts(o->key, object))
			return true;
	}
	return false;
}

static void account(struct store *s, uint32_t segment, int64_t bytes)
{
	if (segment == NO_SEGMENT)
		return;
	for (size_t i = 0; i < s->delta_count; i++) {
		if (s->deltas[i].segment == segment) {
			s->deltas[i].bytes += bytes;
			return;
		}
	}
	if (s->delta_count == s->delta_cap) {
		size_t cap = s->delta_cap == 0 ? 16 : s->delta_cap * 2;
		struct live_delta *d = reallocarray(s->deltas, cap, sizeof(*d));

		if (d == NULL) {
			s->state_err = -ENOMEM;
			return;
		}
		s->deltas = d;
		s->delta_cap = cap;
	}
	s->deltas[s->delta_count++] = (struct live_delta){ segment, bytes };
}

static int64_t entry_bytes(const struct overlay_entry *o)
{
	return (int64_t)(o->key.len + o->entry.len + ENTRY_OVERHEAD_BYTES);
}

static void row_drop(struct store *s, struct overlay_entry *o)
{
	if (o->present)
		account(s, o->entry.segment, -entry_bytes(o));
	o->present = false;
	o->dirty = true;
}

static void row_set(struct store *s, struct overlay_entry *o, const struct entry *e)
{
	if (o->present)
		account(s, o->entry.segment, -entry_bytes(o));
	o->entry = *e;
	o->present = true;
	o->dirty = true;
	account(s, o->entry.segment, entry_bytes(o));
}

static int by_key(const void *a, const void *b)
{
	const struct overlay_entry *const *x = a, *const *y = b;

	return slice_cmp((*x)->key, (*y)->key);
}

static void row_commit(struct store *s, const struct overlay_entry *o)
{
	const struct index_vtable *vt = s->ix->vt;

	if (!o->present) {
		vt->del(s->ix, o->key);
		return;
	}
	size_t name = (size_t)((const uint8_t *)memchr(o->key.ptr, 0, o->key.len) - o->key.ptr);

	buf_reset(&s->value);
	entry_encode((enum key_kind)o->key.ptr[name + 1], &o->entry, &s->value);
	vt->put(s->ix, o->key, buf_slice(&s->value));
}

/* In the order of keys: an ordered index finds the next place near the last one. */
static void rows_commit(struct store *s)
{
	struct overlay_entry **rows = arena_array(&s->arena, s->overlay.count, sizeof(struct overlay_entry *));
	size_t n = 0;

	for (struct map_node *m = map_iter(&s->overlay, NULL); m != NULL; m = map_iter(&s->overlay, m)) {
		struct overlay_entry *o = container_of(m, struct overlay_entry, node);

		if (o->dirty && rows == NULL)
			row_commit(s, o);	/* no memory to sort: as they come */
		else if (o->dirty)
			rows[n++] = o;
	}
	if (n > 1)
		qsort(rows, n, sizeof(struct overlay_entry *), by_key);
	for (size_t i = 0; i < n; i++)
		row_commit(s, rows[i]);
}

int state_commit(struct store *s, uint64_t lsn)
{
	const struct index_vtable *vt = s->ix->vt;
	uint8_t key[6] = { 0, 's' };

	if (s->state_err != 0)
		return s->state_err;
	rows_commit(s);
	for (size_t i = 0; i < s->delta_count; i++) {
		struct live_delta *d = &s->deltas[i];

		if (d->segment >= s->seg_count)
			continue;
		s->segs[d->segment].live_bytes += d->bytes;
		put_be32(key + 2, d->segment);
		buf_reset(&s->value);
		buf_be32(&s->value, s->segs[d->segment].generation);
		buf_be64(&s->value, (uint64_t)s->segs[d->segment].live_bytes);
		vt->put(s->ix, slice_of(key, sizeof(key)), buf_slice(&s->value));
	}
	buf_reset(&s->value);
	buf_add(&s->value, slice_of(s->log_id, sizeof(s->log_id)));
	buf_be64(&s->value, lsn);
	vt->put(s->ix, POSITION_KEY, buf_slice(&s->value));
	int err = vt->commit(s->ix);
	state_forget(s);
	if (err != 0) {
		/* The log is ahead of an index that does not take writes: only a restart can replay. */
		__atomic_store_n(&s->dead, true, __ATOMIC_RELAXED);
		store_event(s, true, "the index refuses writes (%s): the store must be opened again",
			    strerrordesc_np(-err));
		if (s->opt.on_dead != NULL)
			s->opt.on_dead(s->opt.arg);
	}
	return err;
}

void state_forget(struct store *s)
{
	/* A large batch's table would make every small one slow to visit. */
	if (s->overlay.slot_count > 4096) {
		map_done(&s->overlay);
	} else if (s->overlay.slots != NULL) {
		memset(s->overlay.slots, 0, s->overlay.slot_count * sizeof(s->overlay.slots[0]));
	}
	s->overlay.count = 0;
	arena_reset(&s->arena);
	s->delta_count = 0;
	s->state_err = 0;
}

int state_flush(struct store *s)
{
	return s->ix->vt->flush(s->ix);
}

/* ---- effects of a body ---- */

bool effects_open(struct effects *f, enum record_type type, uint64_t lsn, uint32_t generation,
		  struct slice body)
{
	*f = (struct effects){ .type = type, .lsn = lsn, .generation = generation };
	f->r = reader_of(body);
	f->start = body.ptr;
	if (type == RECORD_FOOTER)
		return true;
	if (type == RECORD_OP)
		f->creates = (rd_u8(&f->r) & OP_CREATES) != 0;
	f->object = rd_blob(&f->r);
	return !f->r.bad && f->object.len > 0 && f->object.len <= ENGINE_NAME_BYTES_MAX &&
	       memchr(f->object.ptr, 0, f->object.len) == NULL;
}

static bool kind_allowed(enum record_type type, uint8_t kind)
{
	switch (kind) {
	case EFFECT_WRITE:
	case EFFECT_SET:
		return type == RECORD_OP;
	case EFFECT_DELETE:
	case EFFECT_REMOVE:
		return true;
	case EFFECT_CREATE:
	case EFFECT_KEY:
	case EFFECT_EXTENT:
		return type != RECORD_OP;
	case EFFECT_OBJECT:
		return type == RECORD_FOOTER;
	}
	return false;
}

static void read_value_field(struct effects *f, struct effect *e)
{
	if (f->type == RECORD_FOOTER) {
		e->pos = rd_varint(&f->r);
		e->len = (uint32_t)rd_varint_max(&f->r, RECORD_BODY_BYTES_MAX);
		e->crc = rd_be32(&f->r);
		return;
	}
	e->value = rd_blob(&f->r);
	e->len = (uint32_t)e->value.len;
	e->value_offset = (size_t)(e->value.ptr - f->start);
}

int effects_next(struct effects *f, struct effect *e)
{
	if (rd_left(&f->r) == 0)
		return f->r.bad ? -1 : 0;
	uint8_t kind = rd_u8(&f->r);

	if (!kind_allowed(f->type, kind))
		return -1;
	*e = (struct effect){ .kind = (enum effect_kind)kind, .version = f->lsn };
	if (kind == EFFECT_OBJECT) {
		f->object = rd_blob(&f->r);
		return f->r.bad || f->object.len == 0 || f->object.len > ENGINE_NAME_BYTES_MAX ||
				       memchr(f->object.ptr, 0, f->object.len) != NULL ?
			       -1 :
			       1;
	}
	if (f->object.len == 0)
		return -1;
	if (f->type != RECORD_OP)
		e->version = rd_varint(&f->r);
	switch (kind) {
	case EFFECT_WRITE:
	case EFFECT_EXTENT:
		e->at = rd_varint(&f->r);
		read_value_field(f, e);
		if (e->at > INT64_MAX || (kind == EFFECT_EXTENT && e->at < e->len))
			return -1;
		break;
	case EFFECT_SET:
	case EFFECT_KEY:
		e->key = rd_blob(&f->r);
		read_value_field(f, e);
		break;
	case EFFECT_DELETE:
		e->key = rd_blob(&f->r);
		FALLTHROUGH;
	case EFFECT_REMOVE:
		e->oldest = (uint32_t)rd_varint_max(&f->r, UINT32_MAX);
		e->newest = f->type == RECORD_OP ? f->generation :
						   (uint32_t)rd_varint_max(&f->r, UINT32_MAX);
		break;
	default:
		break;
	}
	return f->r.bad || e->key.len > ENGINE_KEY_BYTES_MAX ? -1 : 1;
}

/* ---- carrying out ---- */

struct apply {
	struct store *s;
	uint32_t segment, generation;
	bool footer;			/* the footer of the active segment wants to hear of it */
	struct slice object;
};

/* The footer's form of an effect. */
static void footer_note(struct apply *a, enum effect_kind kind, uint64_t version, struct slice key,
			uint64_t at, const struct entry *v, uint32_t oldest, uint32_t newest)
{
	uint8_t bytes[ENGINE_KEY_BYTES_MAX + 80];
	struct buf b = { .ptr = bytes, .cap = sizeof(bytes), .max = sizeof(bytes) };

	if (!a->footer)
		return;
	buf_addc(&b, (uint8_t)kind);
	buf_varint(&b, version);
	if (kind == EFFECT_KEY || kind == EFFECT_DELETE)
		buf_blob(&b, key);
	if (kind == EFFECT_EXTENT)
		buf_varint(&b, at);
	if (v != NULL) {
		buf_varint(&b, v->pos);
		buf_varint(&b, v->len);
		buf_be32(&b, v->crc);
	}
	if (kind == EFFECT_DELETE || kind == EFFECT_REMOVE) {
		buf_varint(&b, oldest);
		buf_varint(&b, newest);
	}
	must(b.err == 0);
	footer_add(a->s, a->object, buf_slice(&b));
}

/* Walk what the index holds of an object; fn gets each index key after the kind byte. */
static int object_walk(struct store *s, struct slice object,
		       void (*fn)(struct store *s, struct slice object, enum key_kind kind,
				  struct slice key, void *arg),
		       void *arg)
{
	struct index_iter *it = s->ix->vt->iter(s->ix);
	struct index_key from;
	int valid;

	if (it == NULL)
		return -ENOMEM;
	index_key_make(&from, object, KEY_OBJECT, slice_of(NULL, 0));
	s->ix->vt->seek(it, index_key_slice(&from));
	while ((valid = s->ix->vt->valid(it)) == 1) {
		struct slice k = s->ix->vt->key(it);

		if (k.len < object.len + 2 || memcmp(k.ptr, from.bytes, object.len + 1) != 0)
			break;
		fn(s, object, (enum key_kind)k.ptr[object.len + 1], slice_from(k, object.len + 2),
		   arg);
		s->ix->vt->next(it);
	}
	s->ix->vt->iter_free(it);
	return valid < 0 ? valid : 0;
}

struct purge {
	uint64_t below;			/* versions below go */
	uint64_t length;		/* end of the extents that stay */
	bool kept;
};

static void purge_one(struct store *s, struct slice object, enum key_kind kind, struct slice key,
		      void *arg)
{
	struct purge *p = arg;
	struct overlay_entry *o = overlay_row(s, object, kind, key);

	if (o == NULL || !o->present)
		return;
	if (o->entry.version < p->below) {
		if (kind != KEY_OBJECT)
			row_drop(s, o);
		return;
	}
	p->kept = true;
	if (kind == KEY_EXTENT && key.len == 8)
		p->length = MAX(p->length, get_be64(key.ptr));
}

/*
 * Everything of the object that is older than `version` goes. Younger things are there only in a
 * rebuild, where a moved deletion may come after the object's next life: then the object stays.
 */
static void object_purge(struct apply *a, uint64_t version, struct purge *p)
{
	struct store *s = a->s;

	*p = (struct purge){ .below = version };
	if (s->replaying && state_touched(s, a->object)) {
		uint64_t lsn = s->durable_lsn;

		/* The walk sees the index only. */
		int err = state_commit(s, lsn);
		if (err != 0) {
			s->state_err = err;
			return;
		}
	}
	int err = object_walk(s, a->object, purge_one, p);
	if (err != 0)
		s->state_err = err;
}

static void apply_remove(struct apply *a, const struct effect *e)
{
	struct purge p;

	footer_note(a, EFFECT_REMOVE, e->version, slice_of(NULL, 0), 0, NULL, e->oldest, e->newest);
	object_purge(a, e->version, &p);
	struct overlay_entry *o = overlay_row(a->s, a->object, KEY_OBJECT, slice_of(NULL, 0));
	if (o == NULL || !o->present || o->entry.version > e->version)
		return;
	if (!p.kept) {
		row_drop(a->s, o);
		return;
	}
	struct entry kept = {
		.segment = NO_SEGMENT,
		.oldest = MIN(o->entry.oldest, a->generation),
		.length = p.length,
	};
	row_set(a->s, o, &kept);
}

static void apply_create(struct apply *a, uint64_t version)
{
	struct store *s = a->s;
	struct overlay_entry *o = overlay_row(s, a->object, KEY_OBJECT, slice_of(NULL, 0));
	struct entry made = { .version = version, .oldest = a->generation, .segment = a->segment };

	footer_note(a, EFFECT_CREATE, version, slice_of(NULL, 0), 0, NULL, 0, 0);
	if (o == NULL || (o->present && o->entry.version > version))
		return;
	if (o->present) {
		made.oldest = MIN(made.oldest, o->entry.oldest);
		made.length = o->entry.length;
		if (o->entry.version < version) {
			struct purge p;

			object_purge(a, version, &p);
			made.length = p.length;
			o = overlay_row(s, a->object, KEY_OBJECT, slice_of(NULL, 0));
			if (o == NULL)
				return;
		}
	}
	row_set(s, o, &made);
}

/* The object's entry, made when a rebuild meets a part of it before its creation. */
static struct overlay_entry *apply_object(struct apply *a)
{
	struct overlay_entry *o = overlay_row(a->s, a->object, KEY_OBJECT, slice_of(NULL, 0));
	struct entry made = { .segment = NO_SEGMENT, .oldest = a->generation };

	if (o != NULL && !o->present)
		row_set(a->s, o, &made);
	return o;
}

static void apply_entry(struct apply *a, enum key_kind kind, struct slice key, struct entry *v)
{
	struct overlay_entry *object = apply_object(a);
	struct overlay_entry *o = object == NULL ? NULL : overlay_row(a->s, a->object, kind, key);

	footer_note(a, kind == KEY_KEY ? EFFECT_KEY : EFFECT_EXTENT, v->version, key,
		    kind == KEY_EXTENT ? get_be64(key.ptr) : 0, v, 0, 0);
	if (o == NULL || object->entry.version > v->version ||
	    (o->present && o->entry.version > v->version))
		return;
	v->oldest = o->present ? MIN(o->entry.oldest, a->generation) : a->generation;
	v->segment = a->segment;
	if (v->inlined)
		v->data = arena_dup(&a->s->arena, v->data);
	row_set(a->s, o, v);
	if (kind == KEY_EXTENT && get_be64(key.ptr) > object->entry.length) {
		object->entry.length = get_be64(key.ptr);
		object->dirty = true;
	}
}

static void apply_delete(struct apply *a, const struct effect *e)
{
	/* No apply_object: a moved deletion may stand after its object's removal. */
	struct overlay_entry *o = overlay_row(a->s, a->object, KEY_KEY, e->key);

	footer_note(a, EFFECT_DELETE, e->version, e->key, 0, NULL, e->oldest, e->newest);
	if (o != NULL && o->present && o->entry.version < e->version)
		row_drop(a->s, o);
}

/* Bytes of a WRITE stand as extents of at most EXTENT_BYTES_MAX, each with a checksum. */
static void apply_write(struct apply *a, const struct effect *e, uint64_t record_pos)
{
	uint32_t block = a->s->opt.block_bytes;

	for (size_t done = 0; done < e->value.len;) {
		struct slice piece = slice_sub(e->value, done, done + EXTENT_BYTES_MAX);
		uint8_t key[8];
		struct entry v = {
			.version = e->version,
			.pos = pos_add(record_pos, RECORD_HEADER_BYTES + e->value_offset + done,
				       block),
			.len = (uint32_t)piece.len,
			.crc = crc32c(0, piece),
		};

		done += piece.len;
		extent_key(key, e->at + done);
		apply_entry(a, KEY_EXTENT, slice_of(key, 8), &v);
	}
}

static void apply_value(struct apply *a, const struct effects *f, const struct effect *e,
			uint64_t record_pos)
{
	uint8_t key[8];
	struct entry v = { .version = e->version, .len = e->len };

	if (f->type == RECORD_FOOTER) {
		v.pos = e->pos;
		v.crc = e->crc;
	} else {
		v.pos = pos_add(record_pos, RECORD_HEADER_BYTES + e->value_offset,
				a->s->opt.block_bytes);
		v.crc = crc32c(0, e->value);
		v.data = e->value;
		v.inlined = e->kind != EFFECT_EXTENT;
	}
	extent_key(key, e->at);
	if (e->kind == EFFECT_EXTENT)
		apply_entry(a, KEY_EXTENT, slice_of(key, 8), &v);
	else
		apply_entry(a, KEY_KEY, e->key, &v);
}

static bool apply_effects(struct apply *a, struct effects *f, uint64_t record_pos)
{
	struct effect e;
	int more;

	a->object = f->object;
	if (f->creates)
		apply_create(a, f->lsn);
	while ((more = effects_next(f, &e)) == 1) {
		a->object = f->object;
		switch (e.kind) {
		case EFFECT_WRITE:
			apply_write(a, &e, record_pos);
			break;
		case EFFECT_SET:
		case EFFECT_KEY:
		case EFFECT_EXTENT:
			apply_value(a, f, &e, record_pos);
			break;
		case EFFECT_DELETE:
			apply_delete(a, &e);
			break;
		case EFFECT_REMOVE:
			apply_remove(a, &e);
			break;
		case EFFECT_CREATE:
			apply_create(a, e.version);
			break;
		case EFFECT_OBJECT:
			break;
		}
		if (a->s->replaying && a->s->overlay.count > REPLAY_OVERLAY_MAX) {
			int err = state_commit(a->s, a->s->durable_lsn);
			if (err != 0)
				a->s->state_err = err;
		}
	}
	return more == 0;
}

bool state_apply(struct store *s, uint32_t segment, uint64_t record_pos, enum record_type type,
		 uint64_t lsn, struct slice body)
{
	struct apply a = {
		.s = s,
		.segment = segment,
		.generation = s->segs[segment].generation,
		.footer = segment == s->active,
	};
	struct effects f;

	return effects_open(&f, type, lsn, a.generation, body) && apply_effects(&a, &f, record_pos);
}

bool state_apply_footer(struct store *s, uint32_t segment, struct slice body)
{
	struct apply a = {
		.s = s,
		.segment = segment,
		.generation = s->segs[segment].generation,
	};
	struct effects f;

	return effects_open(&f, RECORD_FOOTER, 0, a.generation, body) && apply_effects(&a, &f, 0);
}
