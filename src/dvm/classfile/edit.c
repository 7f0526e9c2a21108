#include "dvm/classfile/edit_private.h"

#include <errno.h>

void edit_fail(struct class_edit *e, int err, const char *reason)
{
	if (e->err == 0) {
		e->err = err;
		e->reason = reason;
	}
}

struct class_edit *edit_new(struct arena *arena, const struct class_file *c)
{
	struct class_edit *e = ARENA_NEW(arena, struct class_edit);

	if (e == NULL)
		return NULL;
	e->arena = arena;
	e->c = c;
	e->pool_count = c->pool.count;
	e->fields = arena_array(arena, c->fields.count, sizeof(struct member_edit *));
	e->methods = arena_array(arena, c->methods.count, sizeof(struct member_edit *));
	e->added_fields.last = &e->added_fields.first;
	e->added_methods.last = &e->added_methods.first;
	return e->fields == NULL || e->methods == NULL ? NULL : e;
}

void edit_flags(struct class_edit *e, uint32_t flags)
{
	e->flags = flags;
}

bool edit_grow(struct class_edit *e, void **array, uint32_t count, uint32_t *cap, size_t size)
{
	if (count < *cap)
		return true;
	uint32_t more = *cap == 0 ? 8 : *cap * 2;
	void *grown = arena_array(e->arena, more, size);
	if (grown == NULL) {
		edit_fail(e, -ENOMEM, "no memory");
		return false;
	}
	if (count > 0)
		memcpy(grown, *array, count * size);
	*array = grown;
	*cap = more;
	return true;
}

/* --- constants: found by their bytes, for equal constants have equal bytes --- */

struct slice edit_constant(const struct class_edit *e, uint32_t index)
{
	const struct class_pool *pool = &e->c->pool;

	if (index < pool->count)
		return pool->at[index] == 0 ? (struct slice){ 0 } : slice_of(pool->bytes.ptr + pool->at[index], pool_size(pool, index));
	if (index >= e->pool_count || e->added_at[index - pool->count] == UINT32_MAX)
		return (struct slice){ 0 };
	const uint8_t *at = e->added + e->added_at[index - pool->count];
	size_t size = at[0] == CONSTANT_UTF8 ? 3u + class_be16(at + 1) : at[0] == CONSTANT_LONG ? 9 : 5;
	if (at[0] == CONSTANT_CLASS || at[0] == CONSTANT_STRING)
		size = 3;
	return slice_of(at, size);
}

static uint32_t hash_of(struct slice s)
{
	uint32_t h = 2166136261u;

	/* The length and both ends tell names apart; a constant may have 64 kB. */
	for (size_t i = 0; i < s.len && i < 24; i++)
		h = (h ^ s.ptr[i]) * 16777619u;
	for (size_t i = s.len > 40 ? s.len - 16 : 24; i < s.len; i++)
		h = (h ^ s.ptr[i]) * 16777619u;
	h ^= (uint32_t)s.len;
	return h ^ h >> 15;
}

static void hash_put(struct class_edit *e, uint32_t index)
{
	uint32_t mask = e->hash_size - 1, at = hash_of(edit_constant(e, index)) & mask;

	while (e->hash[at] != 0)
		at = (at + 1) & mask;
	e->hash[at] = (uint16_t)index;
	e->hash_used++;
}

/* Room for one more; the table is made when the first constant is asked for. */
static bool hash_ready(struct class_edit *e)
{
	if (e->hash != NULL && e->hash_used * 2 < e->hash_size)
		return true;
	uint32_t size = 64;
	while (size < e->pool_count * 2u + 64)
		size *= 2;
	e->hash = arena_array(e->arena, size, sizeof(*e->hash));
	if (e->hash == NULL) {
		edit_fail(e, -ENOMEM, "no memory for constants");
		return false;
	}
	e->hash_size = size;
	e->hash_used = 0;
	for (uint32_t i = 1; i < e->pool_count; i++)
		if (edit_constant(e, i).len > 0)
			hash_put(e, i);
	return true;
}

static bool added_room(struct class_edit *e, size_t n)
{
	if (e->added_cap - e->added_len >= n)
		return true;
	size_t cap = e->added_cap == 0 ? 256 : e->added_cap * 2;
	while (cap - e->added_len < n)
		cap *= 2;
	uint8_t *grown = arena_alloc(e->arena, cap);
	if (grown == NULL) {
		edit_fail(e, -ENOMEM, "no memory for constants");
		return false;
	}
	if (e->added_len > 0)
		memcpy(grown, e->added, e->added_len);
	e->added = grown;
	e->added_cap = cap;
	return true;
}

/* The constant of these bytes, given in two parts; the first holds the tag. */
static uint16_t constant(struct class_edit *e, struct slice head, struct slice tail)
{
	uint32_t slots = head.ptr[0] == CONSTANT_LONG ? 2 : 1;
	size_t size = head.len + tail.len;

	if (e->err != 0 || !hash_ready(e) || !added_room(e, size))
		return 0;
	/* Put together behind the constants that are there: so it is already in its place when it is new. */
	uint8_t *at = e->added + e->added_len;
	memcpy(at, head.ptr, head.len);
	if (tail.len > 0)
		memcpy(at + head.len, tail.ptr, tail.len);
	struct slice want = slice_of(at, size);
	uint32_t mask = e->hash_size - 1;
	for (uint32_t i = hash_of(want) & mask; e->hash[i] != 0; i = (i + 1) & mask)
		if (slice_eq(edit_constant(e, e->hash[i]), want))
			return e->hash[i];
	if (e->pool_count + slots > 65535) {
		edit_fail(e, -EFBIG, "the constant pool would have more than 65,535 entries");
		return 0;
	}
	for (uint32_t i = 0; i < slots; i++) {
		uint32_t count = e->pool_count - e->c->pool.count;

		if (!edit_grow(e, (void **)&e->added_at, count, &e->added_at_cap, sizeof(*e->added_at)))
			return 0;
		e->added_at[count] = i == 0 ? (uint32_t)e->added_len : UINT32_MAX;
		e->pool_count++;
	}
	e->added_len += size;
	uint32_t index = e->pool_count - slots;
	hash_put(e, index);
	return (uint16_t)index;
}

#define BYTES2(v) (uint8_t)((v) >> 8), (uint8_t)(v)
#define BYTES4(v) BYTES2((v) >> 16), BYTES2(v)
#define CONSTANT(...) constant(e, slice_of((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })), (struct slice){ 0 })

uint16_t edit_utf8(struct class_edit *e, struct slice text)
{
	if (text.len > 65535) {
		edit_fail(e, -EFBIG, "a text constant would have more than 65,535 bytes");
		return 0;
	}
	return constant(e, slice_of((const uint8_t[]){ CONSTANT_UTF8, BYTES2(text.len) }, 3), text);
}

uint16_t edit_class(struct class_edit *e, struct slice name)
{
	uint16_t text = edit_utf8(e, name);

	return text == 0 ? 0 : CONSTANT(CONSTANT_CLASS, BYTES2(text));
}

uint16_t edit_string(struct class_edit *e, struct slice text)
{
	uint16_t utf8 = edit_utf8(e, text);

	return utf8 == 0 ? 0 : CONSTANT(CONSTANT_STRING, BYTES2(utf8));
}

uint16_t edit_integer(struct class_edit *e, int32_t value)
{
	uint32_t v = (uint32_t)value;

	return CONSTANT(CONSTANT_INTEGER, BYTES4(v));
}

uint16_t edit_long(struct class_edit *e, int64_t value)
{
	uint64_t v = (uint64_t)value;

	return CONSTANT(CONSTANT_LONG, BYTES4(v >> 32), BYTES4(v));
}

uint16_t edit_name_and_type(struct class_edit *e, struct slice name, struct slice descriptor)
{
	uint16_t first = edit_utf8(e, name), second = edit_utf8(e, descriptor);

	return first == 0 || second == 0 ? 0 : CONSTANT(CONSTANT_NAME_AND_TYPE, BYTES2(first), BYTES2(second));
}

uint16_t edit_ref(struct class_edit *e, enum constant_tag tag, struct slice owner, struct slice name, struct slice descriptor)
{
	uint16_t class = edit_class(e, owner), member = edit_name_and_type(e, name, descriptor);

	return class == 0 || member == 0 ? 0 : CONSTANT((uint8_t)tag, BYTES2(class), BYTES2(member));
}

/* --- skeleton --- */

/* The slot of a member of the class; NULL: it is none, which is the caller's mistake and sticks. */
static struct member_edit **slot_of(struct class_edit *e, const struct class_member *m)
{
	const struct class_file *c = e->c;

	if (m >= c->methods.at && m < c->methods.at + c->methods.count)
		return &e->methods[m - c->methods.at];
	if (m >= c->fields.at && m < c->fields.at + c->fields.count)
		return &e->fields[m - c->fields.at];
	edit_fail(e, -EINVAL, "a member of another class");
	return NULL;
}

struct member_edit *edit_of(struct class_edit *e, const struct class_member *m)
{
	struct member_edit **slot = slot_of(e, m);

	if (slot == NULL || *slot != NULL)
		return slot == NULL ? NULL : *slot;
	*slot = ARENA_NEW(e->arena, struct member_edit);
	if (*slot == NULL)
		edit_fail(e, -ENOMEM, "no memory");
	return *slot;
}

void edit_access(struct class_edit *e, uint16_t access_flags)
{
	e->has_access = true;
	e->access = access_flags;
}

void edit_member_access(struct class_edit *e, const struct class_member *m, uint16_t access_flags)
{
	struct member_edit *edit = edit_of(e, m);

	if (edit != NULL) {
		edit->has_access = true;
		edit->access = access_flags;
	}
}

void edit_member_name(struct class_edit *e, const struct class_member *m, struct slice name)
{
	struct member_edit *edit = edit_of(e, m);
	uint16_t text = edit_utf8(e, name);

	if (edit != NULL && text != 0) {
		edit->has_name = true;
		edit->name = text;
	}
}

static void add_member(struct class_edit *e, struct added_members *list, struct added_member member)
{
	struct added_member *m = ARENA_NEW(e->arena, struct added_member);

	member.attributes = arena_dup(e->arena, member.attributes);
	if (m == NULL || e->arena->err != 0) {
		edit_fail(e, -ENOMEM, "no memory");
		return;
	}
	*m = member;
	*list->last = m;
	list->last = &m->next;
	list->count++;
}

void edit_add_field(struct class_edit *e, uint16_t access_flags, struct slice name, struct slice descriptor, struct slice attributes, uint16_t count)
{
	add_member(e, &e->added_fields,
		   (struct added_member){ access_flags, edit_utf8(e, name), edit_utf8(e, descriptor), count, attributes, NULL });
}

void edit_add_method(struct class_edit *e, uint16_t access_flags, struct slice name, struct slice descriptor, struct slice attributes, uint16_t count)
{
	add_member(e, &e->added_methods,
		   (struct added_member){ access_flags, edit_utf8(e, name), edit_utf8(e, descriptor), count, attributes, NULL });
}

void edit_attribute(struct class_edit *e, const struct class_member *owner, struct slice name, struct slice body)
{
	struct member_edit *edit = owner == NULL ? NULL : edit_of(e, owner);
	uint16_t text = body.ptr == NULL ? 0 : edit_utf8(e, name);

	if (e->err != 0)
		return;
	struct attribute_edit **at = owner == NULL ? &e->attributes : &edit->attributes;
	while (*at != NULL && !slice_eq((*at)->text, name))
		at = &(*at)->next;
	if (*at == NULL) {
		*at = ARENA_NEW(e->arena, struct attribute_edit);
		if (*at != NULL)
			(*at)->text = arena_dup(e->arena, name);
	}
	if (*at != NULL) {
		(*at)->name = text;
		/* An empty body is one, too. */
		(*at)->body = body.ptr == NULL ? body : arena_dup(e->arena, body);
	}
	if (e->arena->err != 0)
		edit_fail(e, -ENOMEM, "no memory");
}

void edit_annotate(struct class_edit *e, const struct class_member *method, struct slice type)
{
	struct member_edit *edit = edit_of(e, method);
	uint16_t text = edit_utf8(e, type);

	/* The name of the attribute is found again when it is written. */
	if (edit == NULL || text == 0 || edit_utf8(e, SLICE("RuntimeVisibleAnnotations")) == 0)
		return;
	uint16_t *grown = arena_array(e->arena, edit->annotation_count + 1u, sizeof(*grown));
	if (grown == NULL) {
		edit_fail(e, -ENOMEM, "no memory");
		return;
	}
	if (edit->annotation_count > 0)
		memcpy(grown, edit->annotations, edit->annotation_count * sizeof(*grown));
	grown[edit->annotation_count++] = text;
	edit->annotations = grown;
}

/* --- code --- */

static void change(struct class_edit *e, const struct class_member *method, struct code_change c)
{
	struct member_edit *edit = edit_of(e, method);

	if (edit == NULL || !edit_grow(e, (void **)&edit->changes, edit->change_count, &edit->change_cap, sizeof(*edit->changes)))
		return;
	c.sequence = edit->change_count;
	c.bytes = arena_dup(e->arena, c.bytes);
	if (e->arena->err != 0)
		edit_fail(e, -ENOMEM, "no memory");
	edit->changes[edit->change_count++] = c;
}

void edit_insert(struct class_edit *e, const struct class_member *method, uint32_t pc, enum edit_where where, struct edit_piece piece)
{
	static const enum change_kind kinds[] = { [EDIT_BEFORE] = CHANGE_BEFORE, [EDIT_BEFORE_FALL] = CHANGE_FALL, [EDIT_AFTER] = CHANGE_AFTER };

	if (piece.bytes.len > 0)
		change(e, method, (struct code_change){ pc, 0, kinds[where], piece.bytes, piece.stack, piece.locals });
}

void edit_replace(struct class_edit *e, const struct class_member *method, uint32_t pc, struct slice bytes)
{
	if (bytes.len == 0)
		edit_fail(e, -EINVAL, "an instruction replaced by nothing");
	else
		change(e, method, (struct code_change){ pc, 0, CHANGE_REPLACE, bytes, 0, 0 });
}
