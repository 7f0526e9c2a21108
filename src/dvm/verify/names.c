#include "dvm/verify/internal.h"

#include <stdio.h>

/* FNV-1a over 8 bytes at a time: names are short, and equal ones are compared byte by byte after it. */
static uint32_t hash_text(struct slice s)
{
	uint64_t h = 0xcbf29ce484222325u ^ s.len, w;
	const uint8_t *p = s.ptr;
	size_t n = s.len;

	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&w, p, 8);
		h = (h ^ w) * 0x9fb21c651e98df25u;
		h ^= h >> 29;
	}
	w = 0;
	if (n > 0)
		memcpy(&w, p, n);
	h = (h ^ w) * 0x9fb21c651e98df25u;
	return (uint32_t)(h ^ h >> 32);
}

uint32_t symbol_of(struct verifier *v, struct slice text)
{
	uint32_t hash = hash_text(text), i, *bucket;

	bucket = &v->buckets[hash & v->bucket_mask];
	for (i = *bucket; i != 0; i = v->symbols[i].next)
		if (v->symbols[i].hash == hash && slice_eq(v->symbols[i].text, text))
			return i;
	if (v->symbol_count >= VERIFY_SYMBOLS_MAX) {
		(void)refuse_limit(v, "more than %d names and types", VERIFY_SYMBOLS_MAX);
		return 0;
	}
	if (!verify_room(v, (void **)&v->symbols, &v->symbol_room, v->symbol_count + 1, sizeof(*v->symbols)))
		return 0;
	i = v->symbol_count++;
	v->symbols[i] = (struct symbol){ .text = text, .hash = hash, .next = *bucket };
	*bucket = i;
	return i;
}

static vtype named(struct verifier *v, struct slice name)
{
	uint32_t symbol = symbol_of(v, name);

	return symbol == 0 ? TYPE_TOP : TYPE_NAME | symbol;
}

bool names_init(struct verifier *v)
{
	uint32_t rows = 64;

	while (rows < v->c->pool.count && rows < 65536)
		rows *= 2;
	v->bucket_mask = rows - 1;
	v->buckets = verify_alloc(v, rows, sizeof(*v->buckets));
	v->cache = verify_alloc(v, (size_t)v->c->pool.count + 1, sizeof(*v->cache));
	v->symbol_count = 1;
	v->attribute_kinds = verify_alloc(v, (size_t)v->c->pool.count + 1, 1);
	if (v->buckets == NULL || v->cache == NULL || v->attribute_kinds == NULL || !verify_room(v, (void **)&v->symbols, &v->symbol_room, v->c->pool.count / 2 + 32, sizeof(*v->symbols)))
		return false;
	v->object = named(v, SLICE("java/lang/Object"));
	v->throwable = named(v, SLICE("java/lang/Throwable"));
	v->string = named(v, SLICE("java/lang/String"));
	v->class_type = named(v, SLICE("java/lang/Class"));
	v->method_handle = named(v, SLICE("java/lang/invoke/MethodHandle"));
	v->method_type = named(v, SLICE("java/lang/invoke/MethodType"));
	v->cloneable = symbol_of(v, SLICE("java/lang/Cloneable"));
	v->serializable = symbol_of(v, SLICE("java/io/Serializable"));
	v->this_type = named(v, class_name(v->c));
	v->super_type = v->c->super_class == 0 ? TYPE_TOP : named(v, class_super(v->c));
	return v->this_type != TYPE_TOP && v->serializable != 0;
}

/* The types of one field type's words; returns how many. */
static unsigned field_words(struct verifier *v, char kind, struct slice text, vtype *out)
{
	switch (kind) {
	case 'J':
		out[0] = TYPE_LONG;
		out[1] = TYPE_LONG2;
		return 2;
	case 'D':
		out[0] = TYPE_DOUBLE;
		out[1] = TYPE_DOUBLE2;
		return 2;
	case 'F':
		out[0] = TYPE_FLOAT;
		return 1;
	case 'L':
		out[0] = named(v, slice_of(text.ptr + 1, text.len - 2));
		return 1;
	case '[':
		out[0] = named(v, text);
		return 1;
	default:			/* Z B C S I */
		out[0] = TYPE_INT;
		return 1;
	}
}

/* One type off the front of a checked descriptor. */
static char take(struct slice *text, struct slice *type)
{
	const uint8_t *p = text->ptr, *end = p + text->len;

	if (p == end)
		return '\0';
	while (p < end && *p == '[')
		p++;
	if (p < end && *p == 'L') {
		p = memchr(p, ';', (size_t)(end - p));
		if (p == NULL)
			return '\0';
	}
	if (p == end)
		return '\0';
	*type = slice_of(text->ptr, (size_t)(p + 1 - text->ptr));
	*text = slice_of(p + 1, (size_t)(end - p - 1));
	return (char)type->ptr[0];
}

vtype type_component(struct verifier *v, vtype array)
{
	static const vtype primitive[26] = { ['Z' - 'A'] = TYPE_BOOLEAN, ['B' - 'A'] = TYPE_BYTE,  ['C' - 'A'] = TYPE_CHAR,
					     ['S' - 'A'] = TYPE_SHORT,	 ['I' - 'A'] = TYPE_INT,   ['J' - 'A'] = TYPE_LONG,
					     ['F' - 'A'] = TYPE_FLOAT,	 ['D' - 'A'] = TYPE_DOUBLE };
	struct slice text = slice_from(symbol_text(v, type_symbol(array)), 1);

	if (text.len == 0)
		return TYPE_TOP;
	if (text.ptr[0] == '[')
		return named(v, text);
	if (text.ptr[0] == 'L')
		return text.len < 3 ? TYPE_TOP : named(v, slice_of(text.ptr + 1, text.len - 2));
	return text.ptr[0] >= 'A' && text.ptr[0] <= 'Z' ? primitive[text.ptr[0] - 'A'] : TYPE_TOP;
}

vtype type_of_class(struct verifier *v, uint32_t index)
{
	vtype t = (vtype)(uintptr_t)v->cache[index];

	if (t == TYPE_TOP) {
		t = named(v, pool_name(&v->c->pool, index));
		v->cache[index] = (void *)(uintptr_t)t;
	}
	return t;
}

/* Words that the types of a descriptor need, parameters and result. */
static size_t count_words(struct slice text)
{
	struct slice type;
	size_t n = 0;
	char kind;

	if (text.len > 0 && text.ptr[0] == '(')
		text = slice_from(text, 1);
	while ((kind = text.len > 0 && text.ptr[0] == ')' ? ')' : take(&text, &type)) != '\0')
		if (kind == ')')
			text = slice_from(text, 1);
		else
			n += kind == 'J' || kind == 'D' ? 2 : 1;
	return n;
}

const struct shape *shape_of(struct verifier *v, uint32_t utf8_index)
{
	struct slice text, type;
	struct shape *s;
	uint32_t n = 0;
	char kind;

	if (v->cache[utf8_index] != NULL)
		return v->cache[utf8_index];
	text = pool_utf8(&v->c->pool, utf8_index);
	s = verify_alloc(v, 1, sizeof(*s) + sizeof(vtype) * (count_words(text) + 2));
	if (s == NULL)
		return NULL;
	if (text.len > 0 && text.ptr[0] == '(') {
		text = slice_from(text, 1);
		while (text.len > 0 && text.ptr[0] != ')' && (kind = take(&text, &type)) != '\0')
			n += field_words(v, kind, type, s->types + n);
		s->words = n;
		text = slice_from(text, 1);
	}
	if (text.len > 0 && text.ptr[0] != 'V' && (kind = take(&text, &type)) != '\0')
		s->result_words = (uint8_t)field_words(v, kind, type, s->types + n);
	if (v->fault->kind != CLASS_FAULT_NONE)
		return NULL;
	v->cache[utf8_index] = s;
	return s;
}

struct member_ref *ref_of(struct verifier *v, uint32_t index)
{
	const struct class_pool *pool = &v->c->pool;
	struct member_ref *r = v->cache[index];
	uint16_t nat, name, descriptor;
	struct slice text;

	if (r != NULL)
		return r;
	r = verify_alloc(v, 1, sizeof(*r));
	if (r == NULL)
		return NULL;
	r->tag = (uint8_t)pool_tag(pool, index);
	nat = pool_second(pool, index);
	name = pool_first(pool, nat);
	descriptor = pool_second(pool, nat);
	text = pool_utf8(pool, name);
	r->is_internal = text.len > 0 && text.ptr[0] == '<';
	r->is_init = r->is_internal && slice_eq(text, SLICE("<init>"));
	r->is_clone = slice_eq(text, SLICE("clone"));
	r->shape = shape_of(v, descriptor);
	r->name = symbol_of(v, text);
	r->descriptor = symbol_of(v, pool_utf8(pool, descriptor));
	if (r->tag != CONSTANT_DYNAMIC && r->tag != CONSTANT_INVOKE_DYNAMIC)
		r->owner = type_of_class(v, pool_first(pool, index));
	if (r->shape == NULL || r->name == 0 || r->descriptor == 0 || v->fault->kind != CLASS_FAULT_NONE)
		return NULL;
	v->cache[index] = r;
	return r;
}

const char *printable(struct slice text, char out[TYPE_TEXT_BYTES])
{
	size_t n = 0;

	for (size_t i = 0; i < text.len && n < TYPE_TEXT_BYTES - 5; i++)
		if (text.ptr[i] >= ' ' && text.ptr[i] < 0x7f)
			out[n++] = (char)text.ptr[i];
		else
			n += (size_t)snprintf(out + n, 5, "\\x%02x", text.ptr[i]);
	out[n] = '\0';
	return out;
}

const char *type_text(const struct verifier *v, vtype t, char out[TYPE_TEXT_BYTES])
{
	static const char *const names[] = { "top", "int", "float", "long", "the second half of a long", "double", "the second half of a double",
					     "boolean", "byte", "char", "short", "null", "uninitializedThis" };

	if (type_is_name(t))
		return printable(symbol_text(v, type_symbol(t)), out);
	if (type_is_new(t))
		(void)snprintf(out, TYPE_TEXT_BYTES, "uninitialized(%u)", t & ~TYPE_NEW);
	else
		(void)snprintf(out, TYPE_TEXT_BYTES, "%s", t < ARRAY_LEN(names) ? names[t] : "?");
	return out;
}
