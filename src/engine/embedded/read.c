/*
 * Reads: from the index and, for what is not in it, from the segments, checksums verified. These run on
 * reader threads beside the writer; they touch the index, the files and nothing else of the store.
 */
#include <errno.h>
#include <stdio.h>

#include "base/crc32c.h"
#include "engine/embedded/store.h"

#define KEYS_NOW_MAX	64u
#define VALUE_BYTES_MAX (RECORD_BODY_BYTES_MAX + 4096u)

static void damaged_at(struct store *s, struct slice object, const struct entry *e, const char *what)
{
	struct embedded_damage d = { .segment = e->segment, .offset = e->pos, .bytes = e->len };

	snprintf(d.object, sizeof(d.object), "%.*s", SLICE_FMT(object));
	snprintf(d.what, sizeof(d.what), "%s", what);
	store_damage(s, &d);
}

/* 1: found in *out; 0: absent; negative errno. */
static int object_get(struct store *s, struct slice object, bool now, struct entry *out)
{
	AUTO_BUF struct buf b = BUF_INIT(256);
	struct index_key k;

	index_key_make(&k, object, KEY_OBJECT, slice_of(NULL, 0));
	int got = (now ? s->ix->vt->get_now : s->ix->vt->get)(s->ix, index_key_slice(&k), &b);
	if (got == 1 && !entry_decode(KEY_OBJECT, buf_slice(&b), out))
		return -EUCLEAN;
	return got;
}

static bool name_valid(struct slice object)
{
	return object.len > 0 && object.len <= ENGINE_NAME_BYTES_MAX &&
	       memchr(object.ptr, 0, object.len) == NULL;
}

enum engine_result read_stat(struct store *s, struct slice object, struct engine_stat *out, bool *later)
{
	struct entry e;

	if (!name_valid(object))
		return ENGINE_INVALID;
	int got = object_get(s, object, later != NULL, &e);
	if (got < 0) {
		if (later != NULL)
			*later = true;
		return ENGINE_UNAVAILABLE;
	}
	*out = (struct engine_stat){ .exists = got == 1, .length = got == 1 ? e.length : 0 };
	return ENGINE_OK;
}

/* Bytes [from, to) of an extent. `left`: what the operation still wants. */
static enum engine_result extent_read(struct store *s, struct slice object, const struct entry *e,
				      size_t from, size_t to, struct span *span, uint64_t left,
				      struct buf *out, struct buf *scratch)
{
	bool whole = from == 0 && to == e->len;
	struct buf *in = whole ? out : scratch;
	size_t start = out->len;

	buf_reset(scratch);
	int err = span_read(s, span, e->segment, e->pos, e->len, left, in);
	if (err == 0 && crc32c(0, slice_from(buf_slice(in), whole ? start : 0)) != e->crc)
		err = -EBADMSG;
	if (err != 0 && whole && out->err == 0)
		buf_truncate(out, start);
	if (err == -EBADMSG || err == -EIO || err == -ENOENT) {
		damaged_at(s, object, e, "stored bytes do not have their checksum");
		return ENGINE_DAMAGED;
	}
	if (err != 0)
		return err == -EMSGSIZE ? ENGINE_INVALID : ENGINE_UNAVAILABLE;
	if (!whole)
		buf_add(out, slice_sub(buf_slice(scratch), from, to));
	return out->err == 0 ? ENGINE_OK : ENGINE_INVALID;
}

/* Is the iterator on an entry of this object and kind? Its key in *key, its value decoded in *e. */
static int at_entry(struct store *s, struct index_iter *it, struct slice object, enum key_kind kind,
		    struct slice *key, struct entry *e)
{
	int valid = s->ix->vt->valid(it);

	if (valid != 1)
		return valid;
	struct slice k = s->ix->vt->key(it);

	if (k.len < object.len + 2 || memcmp(k.ptr, object.ptr, object.len) != 0 ||
	    k.ptr[object.len] != 0 || k.ptr[object.len + 1] != kind)
		return 0;
	*key = slice_from(k, object.len + 2);
	return entry_decode(kind, s->ix->vt->value(it), e) ? 1 : -EUCLEAN;
}

static enum engine_result extents_read(struct store *s, struct index_iter *it, struct slice object,
				       uint64_t at, uint64_t to, struct span *span, struct buf *out)
{
	AUTO_BUF struct buf scratch = BUF_INIT(VALUE_BYTES_MAX);
	struct index_key k;
	uint8_t from[8];

	extent_key(from, at + 1);
	index_key_make(&k, object, KEY_EXTENT, slice_of(from, 8));
	s->ix->vt->seek(it, index_key_slice(&k));
	while (at < to) {
		struct slice key;
		struct entry e;
		int got = at_entry(s, it, object, KEY_EXTENT, &key, &e);

		if (got < 0 && got != -EUCLEAN)
			return ENGINE_UNAVAILABLE;
		uint64_t end = got == 1 && key.len == 8 ? get_be64(key.ptr) : 0;
		/* A hole: its record was damaged when the index was rebuilt. */
		if (got != 1 || end <= at || end < e.len || end - e.len > at)
			return ENGINE_DAMAGED;
		uint64_t start = end - e.len;
		enum engine_result r = extent_read(s, object, &e, (size_t)(at - start),
						   (size_t)(MIN(to, end) - start), span, to - at, out, &scratch);
		if (r != ENGINE_OK)
			return r;
		at = end;
		s->ix->vt->next(it);
	}
	return ENGINE_OK;
}

enum engine_result read_bytes(struct store *s, struct slice object, uint64_t at, size_t n,
			      struct buf *out)
{
	struct slice key;
	struct entry e;
	struct index_key k;

	if (!name_valid(object))
		return ENGINE_INVALID;
	struct index_iter *it = s->ix->vt->iter(s->ix);
	if (it == NULL)
		return ENGINE_UNAVAILABLE;
	/* Length and extents out of one moment. */
	index_key_make(&k, object, KEY_OBJECT, slice_of(NULL, 0));
	s->ix->vt->seek(it, index_key_slice(&k));
	int got = at_entry(s, it, object, KEY_OBJECT, &key, &e);
	enum engine_result r = got < 0 ? ENGINE_UNAVAILABLE : got == 0 ? ENGINE_ABSENT : ENGINE_OK;

	struct span span = { 0 };

	if (r == ENGINE_OK && at < e.length)
		r = extents_read(s, it, object, at, n > e.length - at ? e.length : at + n, &span, out);
	span_done(&span);
	s->ix->vt->iter_free(it);
	return r;
}

struct kv_list {
	struct engine_kv *rows;
	size_t count, cap, bytes;
};

static enum engine_result kv_add(struct store *s, struct kv_list *l, struct slice object,
				 struct slice key, const struct entry *e, struct arena *arena,
				 struct span *span, struct buf *scratch)
{
	if (l->count == l->cap) {
		size_t cap = l->cap == 0 ? 16 : l->cap * 4;
		struct engine_kv *rows = arena_array(arena, cap, sizeof(*rows));

		if (rows == NULL)
			return ENGINE_INVALID;
		if (l->count > 0)
			memcpy(rows, l->rows, l->count * sizeof(*rows));
		l->rows = rows;
		l->cap = cap;
	}
	struct engine_kv *kv = &l->rows[l->count];

	kv->key = arena_dup(arena, key);
	buf_reset(scratch);
	if (e->inlined) {
		kv->value = arena_dup(arena, e->data);
	} else {
		enum engine_result r = extent_read(s, object, e, 0, e->len, span, e->len, scratch, scratch);

		if (r != ENGINE_OK)
			return r;
		kv->value = arena_dup(arena, buf_slice(scratch));
	}
	if (arena->err != 0)
		return ENGINE_INVALID;
	l->count++;
	l->bytes += kv->key.len + kv->value.len;
	return ENGINE_OK;
}

enum engine_result read_keys(struct store *s, struct slice object, struct slice from,
			     struct slice to, size_t max_count, size_t max_bytes,
			     struct arena *arena, struct engine_kv **out, size_t *n, bool *more, bool *later)
{
	AUTO_BUF struct buf scratch = BUF_INIT(VALUE_BYTES_MAX);
	struct kv_list l = { 0 };
	struct span span = { 0 };
	struct index_key k;
	enum engine_result r = ENGINE_OK;

	if (!name_valid(object) || from.len > ENGINE_KEY_BYTES_MAX)
		return ENGINE_INVALID;
	struct index_iter *it = (later != NULL ? s->ix->vt->iter_now : s->ix->vt->iter)(s->ix);
	if (it == NULL) {
		if (later != NULL)
			*later = true;
		return ENGINE_UNAVAILABLE;
	}
	index_key_make(&k, object, KEY_KEY, from);
	s->ix->vt->seek(it, index_key_slice(&k));
	bool further = false;
	while (r == ENGINE_OK) {
		struct slice key;
		struct entry e;
		int got = at_entry(s, it, object, KEY_KEY, &key, &e);

		if (got < 0)
			r = ENGINE_UNAVAILABLE;
		if (got != 1 || (to.len > 0 && slice_cmp(key, to) >= 0))
			break;
		if (l.count == max_count || (l.count > 0 && l.bytes >= max_bytes)) {
			further = true;
			break;
		}
		/* Values that are in the segments alone, and many of them, are for the readers' threads. */
		if (later != NULL && (!e.inlined || l.count == KEYS_NOW_MAX)) {
			r = ENGINE_UNAVAILABLE;
			break;
		}
		r = kv_add(s, &l, object, key, &e, arena, &span, &scratch);
		s->ix->vt->next(it);
	}
	s->ix->vt->iter_free(it);
	span_done(&span);
	if (r == ENGINE_UNAVAILABLE && later != NULL)
		*later = true;
	if (r != ENGINE_OK)
		return r;
	*out = l.rows;
	*n = l.count;
	*more = further;
	return ENGINE_OK;
}

enum engine_result read_list(struct store *s, struct slice prefix, struct slice after,
			     size_t max_count, struct arena *arena, struct slice **names, size_t *n)
{
	struct index_iter *it;
	struct slice *rows = NULL;
	size_t count_now = 0, cap = 0;
	uint8_t from[ENGINE_NAME_BYTES_MAX + 1];
	enum engine_result r = ENGINE_OK;
	int valid;

	if (prefix.len > ENGINE_NAME_BYTES_MAX || after.len > ENGINE_NAME_BYTES_MAX)
		return ENGINE_INVALID;
	it = s->ix->vt->iter(s->ix);
	if (it == NULL)
		return ENGINE_UNAVAILABLE;
	/* A name's entries begin with "name\0"; "name\1" is behind all of them. */
	bool skip = after.len > 0 && slice_cmp(after, prefix) >= 0;
	struct slice start = skip ? after : prefix;
	memcpy(from, start.ptr == NULL ? (const uint8_t *)"" : start.ptr, start.len);
	from[start.len] = 1;
	/* The store's own keys begin with a zero byte. */
	s->ix->vt->seek(it, slice_of(from, start.len + (skip || start.len == 0 ? 1 : 0)));
	while ((valid = s->ix->vt->valid(it)) == 1 && count_now < max_count) {
		struct slice k = s->ix->vt->key(it);
		size_t len = slice_find_byte(k, 0);

		if (len == SLICE_NPOS || len == 0 || len > ENGINE_NAME_BYTES_MAX ||
		    !slice_starts(slice_head(k, len), prefix))
			break;
		if (count_now == cap) {
			size_t more = cap == 0 ? 32 : cap * 4;
			struct slice *grown = arena_array(arena, more, sizeof(*grown));

			if (grown == NULL) {
				r = ENGINE_INVALID;
				break;
			}
			if (count_now > 0)
				memcpy(grown, rows, count_now * sizeof(*rows));
			rows = grown;
			cap = more;
		}
		rows[count_now++] = arena_dup(arena, slice_head(k, len));
		memcpy(from, k.ptr, len);
		from[len] = 1;
		s->ix->vt->seek(it, slice_of(from, len + 1));
	}
	s->ix->vt->iter_free(it);
	if (valid < 0)
		r = ENGINE_UNAVAILABLE;
	if (arena->err != 0)
		r = ENGINE_INVALID;
	if (r != ENGINE_OK)
		return r;
	*names = rows;
	*n = count_now;
	return ENGINE_OK;
}

/* ---- check ---- */

struct check {
	struct store *s;
	struct embedded_report *report;
	void (*found)(void *arg, const struct embedded_damage *d);
	void *arg;
};

static void check_tell(struct check *c, uint32_t segment, uint64_t at, uint64_t bytes,
		       struct slice object, const char *what)
{
	struct embedded_damage d = { .segment = segment, .offset = at, .bytes = bytes };

	snprintf(d.object, sizeof(d.object), "%.*s", SLICE_FMT(object));
	snprintf(d.what, sizeof(d.what), "%s", what);
	c->report->damaged++;
	if (c->found != NULL)
		c->found(c->arg, &d);
}

static enum engine_result check_segment(struct check *k, uint32_t segment)
{
	struct store *s = k->s;
	const struct segment *g = &s->segs[segment];
	struct scan *c = scan_new(s, segment, g->end, g->base_lsn);
	enum scan_result got;

	if (c == NULL)
		return ENGINE_UNAVAILABLE;
	k->report->segments++;
	while ((got = scan_next(c)) == SCAN_RECORD || got == SCAN_BAD) {
		struct effects f;
		struct effect e;
		int more = 1;

		if (got == SCAN_BAD) {
			if (c->bad_expect > g->last_lsn)
				break;	/* behind the end of the log */
			check_tell(k, segment, c->bad_pos, c->pos - c->bad_pos, slice_of(NULL, 0),
				   "no valid record");
			continue;
		}
		k->report->records++;
		k->report->bytes += RECORD_HEADER_BYTES + c->body.len;
		if (c->header.type != RECORD_OP && c->header.type != RECORD_MOVE)
			continue;
		if (!effects_open(&f, (enum record_type)c->header.type, c->header.lsn,
				  c->generation, c->body))
			more = -1;
		while (more == 1)
			more = effects_next(&f, &e);
		if (more < 0)
			check_tell(k, segment, c->record_pos, c->body.len, f.object,
				   "the record is malformed");
	}
	if (got == SCAN_ERROR) {
		scan_free(c);
		return ENGINE_UNAVAILABLE;
	}
	if (g->last_lsn >= g->base_lsn && c->expect <= g->last_lsn)
		check_tell(k, segment, c->good_end, g->end - c->good_end, slice_of(NULL, 0),
			   "records are missing at the end");
	scan_free(c);
	return ENGINE_OK;
}

static enum engine_result check_index(struct check *c)
{
	struct store *s = c->s;
	AUTO_BUF struct buf scratch = BUF_INIT(VALUE_BYTES_MAX);
	struct index_iter *it = s->ix->vt->iter(s->ix);
	int valid;

	if (it == NULL)
		return ENGINE_UNAVAILABLE;
	for (s->ix->vt->seek(it, SLICE("\1")); (valid = s->ix->vt->valid(it)) == 1;
	     s->ix->vt->next(it)) {
		struct slice k = s->ix->vt->key(it);
		size_t len = slice_find_byte(k, 0);
		struct entry e;

		if (len == SLICE_NPOS || len + 2 > k.len ||
		    !entry_decode((enum key_kind)k.ptr[len + 1], s->ix->vt->value(it), &e)) {
			check_tell(c, 0, 0, 0, slice_head(k, len), "the index is malformed");
			continue;
		}
		enum key_kind kind = (enum key_kind)k.ptr[len + 1];

		c->report->objects += kind == KEY_OBJECT;
		c->report->keys += kind == KEY_KEY;
		c->report->extents += kind == KEY_EXTENT;
		if (kind == KEY_OBJECT)
			continue;
		buf_reset(&scratch);
		int err = stream_read(s, e.segment, e.pos, e.len, &scratch);
		if (err != 0 || crc32c(0, buf_slice(&scratch)) != e.crc)
			check_tell(c, e.segment, e.pos, e.len, slice_head(k, len),
				   kind == KEY_KEY ? "a key's value does not have its checksum" :
						     "bytes do not have their checksum");
	}
	s->ix->vt->iter_free(it);
	return valid < 0 ? ENGINE_UNAVAILABLE : ENGINE_OK;
}

enum engine_result check_all(struct store *s, struct embedded_report *report,
			     void (*found)(void *arg, const struct embedded_damage *d), void *arg)
{
	struct check c = { .s = s, .report = report, .found = found, .arg = arg };

	*report = (struct embedded_report){ 0 };
	for (uint32_t i = 0; i < s->seg_count; i++) {
		enum engine_result r = ENGINE_OK;

		if (s->segs[i].state >= SEG_ACTIVE && s->segs[i].last_lsn >= s->segs[i].base_lsn)
			r = check_segment(&c, i);
		if (r != ENGINE_OK)
			return r;
	}
	return check_index(&c);
}
