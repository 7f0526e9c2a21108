#include <errno.h>
#include <string.h>

#include "base/must.h"
#include "dvm/classfile/edit_private.h"

struct class_edit *edit_new(struct arena *arena, const struct class_file *c)
{
	struct class_edit *e = ARENA_NEW(arena, struct class_edit);

	if (e == NULL)
		return NULL;
	e->arena = arena;
	e->c = c;
	e->pool = (struct buf)BUF_INIT(1u << 24);
	e->pool_count = c->pool.count;
	e->class.pieces_end = &e->class.pieces;
	e->new_fields.end = &e->new_fields.first;
	e->new_methods.end = &e->new_methods.first;
	return e;
}

void edit_flags(struct class_edit *e, uint32_t flags)
{
	e->flags = flags;
}

static void fail(struct class_edit *e, int err)
{
	if (e->err == 0)
		e->err = err;
}

/* --- constants --- */

static struct slice constant_bytes(const struct class_edit *e, uint32_t index)
{
	const struct class_pool *pool = &e->c->pool;

	if (index < pool->count)
		return slice_of(pool->bytes.ptr + pool->at[index], pool_size(pool, index));
	struct slice rest = slice_from(buf_slice(&e->pool), e->new_at[index - pool->count]);
	switch ((enum constant_tag)rest.ptr[0]) {
	case CONSTANT_UTF8:
		return slice_head(rest, 3u + class_be16(rest.ptr + 1));
	case CONSTANT_LONG:
		return slice_head(rest, 9);
	case CONSTANT_CLASS:
	case CONSTANT_STRING:
		return slice_head(rest, 3);
	default:
		return slice_head(rest, 5);
	}
}

/* FNV-1a: the table is of one class, and a class with bad hashes hurts its own edit only, within the pool's 65,535 constants. */
static uint32_t hash_of(struct slice key)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < key.len; i++)
		h = (h ^ key.ptr[i]) * 16777619u;
	return h;
}

static void remember(struct class_edit *e, uint32_t index)
{
	uint32_t at = hash_of(constant_bytes(e, index)) & (e->slot_count - 1);

	while (e->slots[at] != 0)
		at = (at + 1) & (e->slot_count - 1);
	e->slots[at] = index + 1;
}

/* The table of all constants; made at the first question, and larger when it is half full. */
static bool make_room(struct class_edit *e)
{
	uint32_t wanted = e->slot_count == 0 ? 64 : e->slot_count;

	while (wanted < 2 * (e->pool_count + 1))
		wanted *= 2;
	if (wanted != e->slot_count) {
		e->slots = arena_array(e->arena, wanted, sizeof(*e->slots));
		if (e->slots == NULL)
			return false;
		e->slot_count = wanted;
		for (uint32_t i = 1; i < e->c->pool.count; i++)
			if (pool_tag(&e->c->pool, i) != CONSTANT_NONE)
				remember(e, i);
		for (uint32_t i = e->c->pool.count; i < e->pool_count; i++)
			if (e->new_at[i - e->c->pool.count] != UINT32_MAX)
				remember(e, i);
	}
	uint32_t appended = e->pool_count - e->c->pool.count;
	if (appended + 2 > e->new_room) {
		uint32_t room = MAX(64u, 2 * e->new_room);
		uint32_t *more = arena_array(e->arena, room, sizeof(*more));

		if (more == NULL)
			return false;
		if (appended != 0)
			memcpy(more, e->new_at, appended * sizeof(*more));
		e->new_at = more;
		e->new_room = room;
	}
	return true;
}

/* A constant with these bytes: one that is there, or a new one. */
static uint16_t constant(struct class_edit *e, struct slice bytes)
{
	if (e->err != 0)
		return 0;
	if (!make_room(e)) {
		fail(e, -ENOMEM);
		return 0;
	}
	for (uint32_t at = hash_of(bytes) & (e->slot_count - 1); e->slots[at] != 0; at = (at + 1) & (e->slot_count - 1))
		if (slice_eq(constant_bytes(e, e->slots[at] - 1), bytes))
			return (uint16_t)(e->slots[at] - 1);
	uint32_t width = bytes.ptr[0] == CONSTANT_LONG ? 2 : 1, index = e->pool_count;
	if (index + width > UINT16_MAX) {
		fail(e, -EFBIG);
		return 0;
	}
	e->new_at[index - e->c->pool.count] = (uint32_t)e->pool.len;
	if (width == 2)
		e->new_at[index - e->c->pool.count + 1] = UINT32_MAX;
	buf_add(&e->pool, bytes);
	if (e->pool.err != 0) {
		fail(e, -ENOMEM);
		return 0;
	}
	e->pool_count += width;
	remember(e, index);
	return (uint16_t)index;
}

static uint16_t small(struct class_edit *e, enum constant_tag tag, uint16_t first, uint16_t second, bool two)
{
	const uint8_t bytes[] = { (uint8_t)tag, (uint8_t)(first >> 8), (uint8_t)first, (uint8_t)(second >> 8), (uint8_t)second };

	return first == 0 || (two && second == 0) ? 0 : constant(e, slice_of(bytes, two ? 5 : 3));
}

uint16_t edit_utf8(struct class_edit *e, struct slice text)
{
	struct buf bytes = BUF_INIT(65538);
	uint16_t index = 0;

	if (text.len > UINT16_MAX) {
		fail(e, -EFBIG);
		return 0;
	}
	buf_addc(&bytes, CONSTANT_UTF8);
	buf_be16(&bytes, (uint16_t)text.len);
	buf_add(&bytes, text);
	if (bytes.err != 0)
		fail(e, -ENOMEM);
	else
		index = constant(e, buf_slice(&bytes));
	buf_done(&bytes);
	return index;
}

uint16_t edit_class(struct class_edit *e, struct slice name)
{
	return small(e, CONSTANT_CLASS, edit_utf8(e, name), 0, false);
}

uint16_t edit_string(struct class_edit *e, struct slice text)
{
	return small(e, CONSTANT_STRING, edit_utf8(e, text), 0, false);
}

uint16_t edit_integer(struct class_edit *e, int32_t value)
{
	uint32_t v = (uint32_t)value;
	const uint8_t bytes[] = { CONSTANT_INTEGER, (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };

	return constant(e, slice_of(bytes, sizeof(bytes)));
}

uint16_t edit_long(struct class_edit *e, int64_t value)
{
	uint8_t bytes[9] = { CONSTANT_LONG };

	for (unsigned i = 0; i < 8; i++)
		bytes[1 + i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
	return constant(e, slice_of(bytes, sizeof(bytes)));
}

uint16_t edit_name_and_type(struct class_edit *e, struct slice name, struct slice descriptor)
{
	uint16_t first = edit_utf8(e, name);

	return small(e, CONSTANT_NAME_AND_TYPE, first, edit_utf8(e, descriptor), true);
}

uint16_t edit_ref(struct class_edit *e, enum constant_tag tag, struct slice owner, struct slice name, struct slice descriptor)
{
	uint16_t class = edit_class(e, owner);

	return small(e, tag, class, edit_name_and_type(e, name, descriptor), true);
}

/* --- skeleton --- */

static struct owner_edit *of(struct class_edit *e, const struct class_member *m)
{
	const struct class_file *c = e->c;
	bool field = m >= c->fields.at && m < c->fields.at + c->fields.count;
	const struct class_members *list = field ? &c->fields : &c->methods;
	struct owner_edit **all = field ? &e->fields : &e->methods;

	if (m == NULL)
		return &e->class;
	must(m >= list->at && m < list->at + list->count);
	if (*all == NULL) {
		*all = arena_array(e->arena, list->count, sizeof(**all));
		if (*all == NULL) {
			fail(e, -ENOMEM);
			return NULL;
		}
		for (uint32_t i = 0; i < list->count; i++)
			(*all)[i].pieces_end = &(*all)[i].pieces;
	}
	return &(*all)[m - list->at];
}

void edit_access(struct class_edit *e, uint16_t access_flags)
{
	e->class.has_access = true;
	e->class.access = access_flags;
}

void edit_member_access(struct class_edit *e, const struct class_member *m, uint16_t access_flags)
{
	struct owner_edit *o = of(e, m);

	if (o == NULL)
		return;
	o->has_access = true;
	o->access = access_flags;
}

void edit_member_name(struct class_edit *e, const struct class_member *m, struct slice name)
{
	struct owner_edit *o = of(e, m);

	if (o != NULL)
		o->name = edit_utf8(e, name);
}

static void add_member(struct class_edit *e, struct new_members *list, uint16_t access_flags, struct slice name, struct slice descriptor, struct slice attributes,
		       uint16_t count)
{
	struct new_member *m = ARENA_NEW(e->arena, struct new_member);
	struct slice kept = arena_dup(e->arena, attributes);

	if (m == NULL || (attributes.len != 0 && kept.ptr == NULL)) {
		fail(e, -ENOMEM);
		return;
	}
	*m = (struct new_member){ .access = access_flags, .name = edit_utf8(e, name), .descriptor = edit_utf8(e, descriptor), .attribute_count = count,
		.attributes = kept };
	*list->end = m;
	list->end = &m->next;
	list->count++;
}

void edit_add_field(struct class_edit *e, uint16_t access_flags, struct slice name, struct slice descriptor, struct slice attributes, uint16_t count)
{
	add_member(e, &e->new_fields, access_flags, name, descriptor, attributes, count);
}

void edit_add_method(struct class_edit *e, uint16_t access_flags, struct slice name, struct slice descriptor, struct slice attributes, uint16_t count)
{
	add_member(e, &e->new_methods, access_flags, name, descriptor, attributes, count);
}

void edit_attribute(struct class_edit *e, const struct class_member *owner, struct slice name, struct slice body)
{
	struct owner_edit *o = of(e, owner);
	struct attribute_edit *a = NULL;

	if (o == NULL)
		return;
	for (struct attribute_edit *each = o->attributes; each != NULL && a == NULL; each = each->next)
		if (slice_eq(each->name, name))
			a = each;
	if (a == NULL) {
		a = ARENA_NEW(e->arena, struct attribute_edit);
		if (a == NULL) {
			fail(e, -ENOMEM);
			return;
		}
		a->name = arena_dup(e->arena, name);
		struct attribute_edit **end = &o->attributes;
		while (*end != NULL)
			end = &(*end)->next;
		*end = a;
	}
	a->body = (struct slice){ 0 };
	if (body.ptr != NULL) {
		a->body = arena_dup(e->arena, body);
		(void)edit_utf8(e, name);
		if (a->body.ptr == NULL)
			fail(e, -ENOMEM);
	}
}

void edit_annotate(struct class_edit *e, const struct class_member *method, struct slice type)
{
	struct owner_edit *o = of(e, method);
	uint16_t index = edit_utf8(e, type);
	struct buf bytes = BUF_INIT(65536);

	if (o == NULL)
		return;
	(void)edit_utf8(e, SLICE("RuntimeVisibleAnnotations"));
	buf_add(&bytes, o->annotations);
	buf_be16(&bytes, index);
	buf_be16(&bytes, 0);
	/* Once is enough, however often it is asked for. */
	for (size_t at = 0; at + 4 <= o->annotations.len; at += 4)
		if (class_be16(o->annotations.ptr + at) == index)
			goto out;
	o->annotations = arena_dup(e->arena, buf_slice(&bytes));
	o->annotation_count++;
	if (bytes.err != 0 || o->annotations.ptr == NULL)
		fail(e, -ENOMEM);
out:
	buf_done(&bytes);
}

/* --- code --- */

static void add_piece(struct class_edit *e, const struct class_member *method, struct piece what)
{
	struct owner_edit *o = of(e, method);
	struct piece *p = ARENA_NEW(e->arena, struct piece);

	if (o == NULL)
		return;
	what.bytes = arena_dup(e->arena, what.bytes);
	if (p == NULL || what.bytes.ptr == NULL) {
		fail(e, -ENOMEM);
		return;
	}
	*p = what;
	*o->pieces_end = p;
	o->pieces_end = &p->next;
}

void edit_insert(struct class_edit *e, const struct class_member *method, uint32_t pc, enum edit_where where, struct edit_piece piece)
{
	if (piece.bytes.len != 0)
		add_piece(e, method, (struct piece){ .pc = pc, .where = where, .bytes = piece.bytes, .stack = piece.stack, .locals = piece.locals });
}

void edit_replace(struct class_edit *e, const struct class_member *method, uint32_t pc, struct slice bytes)
{
	add_piece(e, method, (struct piece){ .pc = pc, .replaces = true, .bytes = bytes });
}
