#include "dvm/classfile/attribute.h"

#include "base/reader.h"
#include "dvm/classfile/classfile_limits.h"

const struct attribute_info attribute_table[ATTRIBUTE_KINDS] = {
	[ATTRIBUTE_UNKNOWN] = { "", "", 0, 0, 0 },
#define ATTRIBUTE(kind, name, where, since, row, count) [ATTRIBUTE_##kind] = { #name, where, since, row, count },
#include "dvm/classfile/attributes.def"
#undef ATTRIBUTE
};

/* Lengths in a row of bytes: few names share one, and most attributes are found without a look at another name. */
static const uint8_t name_bytes[ATTRIBUTE_KINDS] = {
	0,
#define ATTRIBUTE(kind, name, ...) sizeof(#name) - 1,
#include "dvm/classfile/attributes.def"
#undef ATTRIBUTE
};

enum attribute_kind attribute_kind(struct slice name)
{
	for (unsigned kind = 1; kind < ATTRIBUTE_KINDS; kind++)
		if (name.len == name_bytes[kind] && memcmp(name.ptr, attribute_table[kind].name, name.len) == 0)
			return (enum attribute_kind)kind;
	return ATTRIBUTE_UNKNOWN;
}

/* --- tables --- */

bool attribute_rows(enum attribute_kind kind, const struct class_attribute *a, struct attribute_rows *out)
{
	const struct attribute_info *info = &attribute_table[kind];
	uint32_t count = 1;

	if (info->row_bytes == 0 || a->body.len < info->count_bytes)
		return false;
	if (info->count_bytes == 1)
		count = a->body.ptr[0];
	else if (info->count_bytes == 2)
		count = class_be16(a->body.ptr);
	if (a->body.len - info->count_bytes != (size_t)count * info->row_bytes)
		return false;
	*out = (struct attribute_rows){ a->body.ptr + info->count_bytes, count, a->offset + 6 + info->count_bytes };
	return true;
}

struct row_enclosing_method row_enclosing_method(const struct attribute_rows *rows)
{
	return (struct row_enclosing_method){ class_be16(rows->at), class_be16(rows->at + 2) };
}

struct row_inner_class row_inner_class(const struct attribute_rows *rows, uint32_t i)
{
	const uint8_t *at = rows->at + 8u * i;

	return (struct row_inner_class){ class_be16(at), class_be16(at + 2), class_be16(at + 4), class_be16(at + 6) };
}

struct row_line row_line(const struct attribute_rows *rows, uint32_t i)
{
	const uint8_t *at = rows->at + 4u * i;

	return (struct row_line){ class_be16(at), class_be16(at + 2) };
}

struct row_variable row_variable(const struct attribute_rows *rows, uint32_t i)
{
	const uint8_t *at = rows->at + 10u * i;

	return (struct row_variable){ class_be16(at), class_be16(at + 2), class_be16(at + 4), class_be16(at + 6), class_be16(at + 8) };
}

struct row_parameter row_parameter(const struct attribute_rows *rows, uint32_t i)
{
	const uint8_t *at = rows->at + 4u * i;

	return (struct row_parameter){ class_be16(at), class_be16(at + 2) };
}

struct row_characters row_characters(const struct attribute_rows *rows, uint32_t i)
{
	const uint8_t *at = rows->at + 14u * i;

	return (struct row_characters){ class_be16(at), class_be16(at + 2), class_be32(at + 4), class_be32(at + 8), class_be16(at + 12) };
}

/* --- lists --- */

/* Ends a step: what r did not read stays in *rest, unless r is bad. */
static bool took(struct slice *rest, const struct reader *r)
{
	if (r->bad)
		return false;
	*rest = slice_from(*rest, rest->len - rd_left(r));
	return true;
}

static bool counted(struct slice body, uint16_t *count, struct slice *rest)
{
	if (body.len < 2)
		return false;
	*count = class_be16(body.ptr);
	*rest = slice_from(body, 2);
	return true;
}

static struct slice indices(struct reader *r)
{
	uint32_t count = rd_be16(r);

	return rd_bytes(r, 2u * count);
}

bool bootstrap_open(struct slice body, uint16_t *count, struct slice *rest)
{
	return counted(body, count, rest);
}

bool bootstrap_next(struct slice *rest, struct bootstrap_method *out)
{
	struct reader r = reader_of(*rest);

	out->handle = rd_be16(&r);
	out->arguments = indices(&r);
	return took(rest, &r);
}

bool record_open(const struct class_attribute *a, uint16_t *count, struct slice *rest)
{
	return counted(a->body, count, rest);
}

bool record_next(struct arena *arena, const struct class_file *c, struct slice *rest, struct record_component *out, struct class_fault *fault)
{
	struct reader r = reader_of(*rest);

	if (rest->len < 6)
		return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.7.30", (uint32_t)(rest->ptr - c->bytes.ptr), "a record component is cut short");
	out->name = rd_be16(&r);
	out->descriptor = rd_be16(&r);
	if (!class_attributes_parse(arena, &c->pool, &r, &out->attributes, fault))
		return false;
	return took(rest, &r);
}

static void skip_pairs(struct reader *r, uint32_t count, unsigned depth);

/* An element_value (4.7.16.1). depth is what may still nest. */
static void skip_element(struct reader *r, unsigned depth)
{
	uint8_t tag = rd_u8(r);

	switch (tag) {
	case 'B':
	case 'C':
	case 'D':
	case 'F':
	case 'I':
	case 'J':
	case 'S':
	case 'Z':
	case ELEMENT_STRING:
	case ELEMENT_CLASS:
		(void)rd_be16(r);
		break;
	case ELEMENT_ENUM:
		(void)rd_be32(r);
		break;
	case ELEMENT_ANNOTATION:
		(void)rd_be16(r);
		if (depth == 0)
			r->bad = true;
		else
			skip_pairs(r, rd_be16(r), depth - 1);
		break;
	case ELEMENT_ARRAY:
		if (depth == 0)
			r->bad = true;
		for (uint32_t left = rd_be16(r); left > 0 && !r->bad; left--)
			skip_element(r, depth - 1);
		break;
	default:
		r->bad = true;
	}
}

static void skip_pairs(struct reader *r, uint32_t count, unsigned depth)
{
	for (; count > 0 && !r->bad; count--) {
		(void)rd_be16(r);
		skip_element(r, depth);
	}
}

bool element_next(struct slice *rest, struct element_value *out)
{
	struct reader r = reader_of(*rest), whole = r;
	struct element_value v = { .tag = rd_u8(&r) };

	skip_element(&whole, CLASS_ANNOTATION_DEPTH_MAX);
	if (whole.bad)
		return false;
	if (v.tag != ELEMENT_ARRAY)
		v.first = rd_be16(&r);
	if (v.tag == ELEMENT_ENUM)
		v.second = rd_be16(&r);
	if (v.tag == ELEMENT_ARRAY || v.tag == ELEMENT_ANNOTATION) {
		v.count = rd_be16(&r);
		v.rest = slice_of(r.at, (size_t)(whole.at - r.at));
	}
	*out = v;
	return took(rest, &whole);
}

bool pair_next(struct slice *rest, uint16_t *name, struct element_value *out)
{
	struct slice value = slice_from(*rest, 2);

	if (rest->len < 2 || !element_next(&value, out))
		return false;
	*name = class_be16(rest->ptr);
	*rest = value;
	return true;
}

bool annotation_next(struct slice *rest, struct annotation *out)
{
	struct reader r = reader_of(*rest);

	out->type = rd_be16(&r);
	out->count = rd_be16(&r);
	const uint8_t *pairs = r.at;
	skip_pairs(&r, out->count, CLASS_ANNOTATION_DEPTH_MAX);
	out->pairs = slice_of(pairs, (size_t)(r.at - pairs));
	out->bytes = slice_of(rest->ptr, (size_t)(r.at - rest->ptr));
	return took(rest, &r);
}

bool annotations_open(struct slice body, uint16_t *count, struct slice *rest)
{
	return counted(body, count, rest);
}

bool parameter_annotations_next(struct slice *rest, uint16_t *count, struct slice *annotations)
{
	struct reader r = reader_of(*rest);
	struct annotation a;

	*count = rd_be16(&r);
	struct slice list = slice_of(r.at, rd_left(&r)), left = list;
	for (uint32_t i = 0; i < *count; i++)
		if (!annotation_next(&left, &a))
			return false;
	if (r.bad)
		return false;
	*annotations = slice_head(list, list.len - left.len);
	*rest = left;
	return true;
}

/* Bytes of target_info (4.7.20.1); -1: there is no such target_type. localvar's follow from its table's length. */
static int target_bytes(uint8_t target)
{
	switch (target) {
	case 0x00:			/* type parameters of classes and methods, formal parameters */
	case 0x01:
	case 0x16:
		return 1;
	case 0x10:			/* supertype, bounds, throws */
	case 0x11:
	case 0x12:
	case 0x17:
		return 2;
	case 0x13:			/* field, return, receiver */
	case 0x14:
	case 0x15:
		return 0;
	case 0x42:			/* catch, instanceof, new, method references */
	case 0x43:
	case 0x44:
	case 0x45:
	case 0x46:
		return 2;
	case 0x47:			/* casts and type arguments */
	case 0x48:
	case 0x49:
	case 0x4a:
	case 0x4b:
		return 3;
	default:
		return -1;
	}
}

bool type_annotation_next(struct slice *rest, struct type_annotation *out)
{
	struct reader r = reader_of(*rest);

	out->target = rd_u8(&r);
	if (out->target == 0x40 || out->target == 0x41) {	/* local and resource variables */
		const uint8_t *info = r.at;
		(void)rd_bytes(&r, 6u * rd_be16(&r));
		out->info = slice_of(info, (size_t)(r.at - info));
	} else {
		int bytes = target_bytes(out->target);
		if (bytes < 0)
			return false;
		out->info = rd_bytes(&r, (size_t)bytes);
	}
	out->path = rd_bytes(&r, 2u * rd_u8(&r));
	if (r.bad)
		return false;
	struct slice annotation = slice_of(r.at, rd_left(&r));
	if (!annotation_next(&annotation, &out->annotation))
		return false;
	*rest = annotation;
	return true;
}

/* --- modules (4.7.25 and the JDK's own) --- */

bool module_open_next(struct slice *rest, struct module_open *out)
{
	struct reader r = reader_of(*rest);

	out->package = rd_be16(&r);
	out->flags = rd_be16(&r);
	out->to = indices(&r);
	return took(rest, &r);
}

bool module_provide_next(struct slice *rest, struct module_provide *out)
{
	struct reader r = reader_of(*rest);

	out->service = rd_be16(&r);
	out->with = indices(&r);
	return took(rest, &r);
}

/* `count` exports or opens at r. */
static struct slice opens(struct reader *r, uint32_t count)
{
	struct slice all = slice_of(r->at, rd_left(r)), rest = all;
	struct module_open o;

	for (; count > 0 && !r->bad; count--)
		r->bad = !module_open_next(&rest, &o);
	return r->bad ? (struct slice){ 0 } : rd_bytes(r, all.len - rest.len);
}

static struct slice provides(struct reader *r, uint32_t count)
{
	struct slice all = slice_of(r->at, rd_left(r)), rest = all;
	struct module_provide p;

	for (; count > 0 && !r->bad; count--)
		r->bad = !module_provide_next(&rest, &p);
	return r->bad ? (struct slice){ 0 } : rd_bytes(r, all.len - rest.len);
}

bool module_read(struct slice body, struct module *out)
{
	struct reader r = reader_of(body);
	struct module m = { .name = rd_be16(&r), .flags = rd_be16(&r), .version = rd_be16(&r) };

	m.requires_count = rd_be16(&r);
	m.requires = rd_bytes(&r, 6u * m.requires_count);
	m.exports_count = rd_be16(&r);
	m.exports = opens(&r, m.exports_count);
	m.opens_count = rd_be16(&r);
	m.opens = opens(&r, m.opens_count);
	m.uses_count = rd_be16(&r);
	m.uses = rd_bytes(&r, 2u * m.uses_count);
	m.provides_count = rd_be16(&r);
	m.provides = provides(&r, m.provides_count);
	*out = m;
	return rd_end(&r);
}

bool module_hashes_open(struct slice body, uint16_t *algorithm, uint16_t *count, struct slice *rest)
{
	if (body.len < 4)
		return false;
	*algorithm = class_be16(body.ptr);
	*count = class_be16(body.ptr + 2);
	*rest = slice_from(body, 4);
	return true;
}

bool module_hash_next(struct slice *rest, struct module_hash *out)
{
	struct reader r = reader_of(*rest);

	out->module = rd_be16(&r);
	out->hash = rd_bytes(&r, rd_be16(&r));
	return took(rest, &r);
}
