/*
 * Classes on standard input (Classes.java) are parsed, walked whole, and written again from what the readers gave: header, constants, members, attributes, code,
 * frames and tables piece by piece. The bytes must be those that came, and those of an edit that changes nothing. One line of numbers at the end; each class that fails has a line before it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/must.h"
#include "dvm/classfile/attribute.h"
#include "dvm/classfile/edit.h"

#define BYTES_MAX (64u << 20)

static struct class_totals totals;
static uint64_t rewritten[ATTRIBUTE_KINDS];	/* attributes that were written from their readers' values */

static void put_attributes(struct buf *out, struct arena *arena, const struct class_file *c, const struct class_attributes *list);

static void put_types(struct buf *out, struct slice types)
{
	struct frame_type t;

	while (frame_type_next(&types, &t)) {
		buf_addc(out, (uint8_t)t.tag);
		if (t.tag == FRAME_OBJECT || t.tag == FRAME_UNINITIALIZED)
			buf_be16(out, t.value);
	}
	must(types.len == 0);
}

static void put_frames(struct buf *out, struct slice body)
{
	struct frames f;
	struct frame frame;
	int64_t pc = -1;

	must(frames_open(body, &f));
	buf_be16(out, (uint16_t)f.left);
	while (frames_next(&f, &frame)) {
		uint16_t delta = (uint16_t)(frame.pc - pc - 1);

		pc = frame.pc;
		if (frame.chop > 0)
			must(frame.type == 251 - frame.chop);
		if (frame.type < 64)
			must(frame.type == delta);
		else if (frame.type < 128)
			must(frame.type == delta + 64);
		buf_addc(out, frame.type);
		if (frame.type >= 247)
			buf_be16(out, delta);
		if (frame.type == 255)
			buf_be16(out, frame.locals);
		put_types(out, frame.local_types);
		if (frame.type == 255)
			buf_be16(out, frame.stack);
		put_types(out, frame.stack_types);
	}
	must(f.left == 0);
}

static void put_code(struct buf *out, struct arena *arena, const struct class_file *c, const struct class_attribute *a)
{
	struct code code;
	struct insn in;

	must(code_parse(arena, c, a, &code, NULL));
	buf_be16(out, code.max_stack);
	buf_be16(out, code.max_locals);
	buf_be32(out, (uint32_t)code.bytes.len);
	for (uint32_t pc = 0; code_next(&code, pc, &in); pc = in.next)
		buf_add(out, slice_sub(code.bytes, pc, in.next));
	buf_be16(out, (uint16_t)code_handlers(&code));
	for (uint32_t i = 0; i < code_handlers(&code); i++) {
		struct code_handler h = code_handler(&code, i);
		buf_be16(out, h.start);
		buf_be16(out, h.end);
		buf_be16(out, h.handler);
		buf_be16(out, h.type);
	}
	put_attributes(out, arena, c, &code.attributes);
}

static void put_element(struct buf *out, struct element_value *v);

static void put_pairs(struct buf *out, uint16_t count, struct slice pairs)
{
	struct element_value v;
	uint16_t name;

	buf_be16(out, count);
	while (pair_next(&pairs, &name, &v)) {
		buf_be16(out, name);
		put_element(out, &v);
	}
}

static void put_element(struct buf *out, struct element_value *v)
{
	struct element_value inner;

	buf_addc(out, v->tag);
	if (v->tag != ELEMENT_ARRAY)
		buf_be16(out, v->first);
	if (v->tag == ELEMENT_ENUM)
		buf_be16(out, v->second);
	if (v->tag == ELEMENT_ANNOTATION)
		put_pairs(out, v->count, v->rest);
	if (v->tag == ELEMENT_ARRAY) {
		buf_be16(out, v->count);
		while (element_next(&v->rest, &inner))
			put_element(out, &inner);
	}
}

static void put_annotation(struct buf *out, const struct annotation *a)
{
	buf_be16(out, a->type);
	put_pairs(out, a->count, a->pairs);
}

static void put_annotations(struct buf *out, uint16_t count, struct slice rest)
{
	struct annotation a;

	buf_be16(out, count);
	for (; count > 0 && annotation_next(&rest, &a); count--)
		put_annotation(out, &a);
}

static void put_type_annotations(struct buf *out, uint16_t count, struct slice rest)
{
	struct type_annotation t;

	buf_be16(out, count);
	for (; count > 0 && type_annotation_next(&rest, &t); count--) {
		buf_addc(out, t.target);
		buf_add(out, t.info);
		buf_addc(out, (uint8_t)(t.path.len / 2));
		buf_add(out, t.path);
		put_annotation(out, &t.annotation);
	}
}

static void put_indices(struct buf *out, struct slice indices)
{
	buf_be16(out, (uint16_t)(indices.len / 2));
	buf_add(out, indices);
}

static void put_opens(struct buf *out, uint16_t count, struct slice list)
{
	struct module_open o;

	buf_be16(out, count);
	while (module_open_next(&list, &o)) {
		buf_be16(out, o.package);
		buf_be16(out, o.flags);
		put_indices(out, o.to);
	}
}

static void put_module(struct buf *out, struct slice body)
{
	struct module m;
	struct module_provide p;

	must(module_read(body, &m));
	buf_be16(out, m.name);
	buf_be16(out, m.flags);
	buf_be16(out, m.version);
	buf_be16(out, m.requires_count);
	buf_add(out, m.requires);
	put_opens(out, m.exports_count, m.exports);
	put_opens(out, m.opens_count, m.opens);
	put_indices(out, m.uses);
	buf_be16(out, m.provides_count);
	while (module_provide_next(&m.provides, &p)) {
		buf_be16(out, p.service);
		put_indices(out, p.with);
	}
}

static void put_bootstrap(struct buf *out, struct slice body)
{
	struct bootstrap_method m;
	struct slice rest;
	uint16_t count;

	must(bootstrap_open(body, &count, &rest));
	buf_be16(out, count);
	while (bootstrap_next(&rest, &m)) {
		buf_be16(out, m.handle);
		put_indices(out, m.arguments);
	}
}

static void put_record(struct buf *out, struct arena *arena, const struct class_file *c, const struct class_attribute *a)
{
	struct record_component r;
	struct slice rest;
	uint16_t count;

	must(record_open(a, &count, &rest));
	buf_be16(out, count);
	while (count-- > 0 && record_next(arena, c, &rest, &r, NULL)) {
		buf_be16(out, r.name);
		buf_be16(out, r.descriptor);
		put_attributes(out, arena, c, &r.attributes);
	}
}

static void put_hashes(struct buf *out, struct slice body)
{
	struct module_hash h;
	struct slice rest;
	uint16_t algorithm, count;

	must(module_hashes_open(body, &algorithm, &count, &rest));
	buf_be16(out, algorithm);
	buf_be16(out, count);
	while (module_hash_next(&rest, &h)) {
		buf_be16(out, h.module);
		buf_be16(out, (uint16_t)h.hash.len);
		buf_add(out, h.hash);
	}
}

static void put_parameters(struct buf *out, struct slice body)
{
	struct slice rest = slice_from(body, 1), annotations;
	uint16_t count;

	buf_addc(out, body.ptr[0]);
	while (parameter_annotations_next(&rest, &count, &annotations))
		put_annotations(out, count, annotations);
}

static void put_row(struct buf *out, enum attribute_kind kind, const struct attribute_rows *rows, uint32_t i)
{
	switch (kind) {
	case ATTRIBUTE_ENCLOSING_METHOD:
		buf_be16(out, row_enclosing_method(rows).class);
		buf_be16(out, row_enclosing_method(rows).method);
		break;
	case ATTRIBUTE_INNER_CLASSES: {
		struct row_inner_class r = row_inner_class(rows, i);
		buf_be16(out, r.inner);
		buf_be16(out, r.outer);
		buf_be16(out, r.name);
		buf_be16(out, r.flags);
		break;
	}
	case ATTRIBUTE_LINE_NUMBER_TABLE:
		buf_be16(out, row_line(rows, i).pc);
		buf_be16(out, row_line(rows, i).line);
		break;
	case ATTRIBUTE_LOCAL_VARIABLE_TABLE:
	case ATTRIBUTE_LOCAL_VARIABLE_TYPE_TABLE: {
		struct row_variable v = row_variable(rows, i);
		buf_be16(out, v.pc);
		buf_be16(out, v.length);
		buf_be16(out, v.name);
		buf_be16(out, v.type);
		buf_be16(out, v.index);
		break;
	}
	case ATTRIBUTE_METHOD_PARAMETERS:
		buf_be16(out, row_parameter(rows, i).name);
		buf_be16(out, row_parameter(rows, i).flags);
		break;
	case ATTRIBUTE_CHARACTER_RANGE_TABLE: {
		struct row_characters r = row_characters(rows, i);
		buf_be16(out, r.pc);
		buf_be16(out, r.end);
		buf_be32(out, r.from);
		buf_be32(out, r.to);
		buf_be16(out, r.flags);
		break;
	}
	default:
		buf_be16(out, row_index(rows, i));
		break;
	}
}

static void put_rows(struct buf *out, enum attribute_kind kind, const struct class_attribute *a)
{
	struct attribute_rows rows;

	must(attribute_rows(kind, a, &rows));
	if (attribute_table[kind].count_bytes == 1)
		buf_addc(out, (uint8_t)rows.count);
	else if (attribute_table[kind].count_bytes == 2)
		buf_be16(out, (uint16_t)rows.count);
	for (uint32_t i = 0; i < rows.count; i++)
		put_row(out, kind, &rows, i);
}

static void put_body(struct buf *out, struct arena *arena, const struct class_file *c, const struct class_attribute *a)
{
	enum attribute_kind kind = attribute_kind_of(c, a);
	struct slice rest = a->body;
	struct element_value v;
	uint16_t count;

	rewritten[kind]++;
	switch (kind) {
	case ATTRIBUTE_CODE:
		put_code(out, arena, c, a);
		break;
	case ATTRIBUTE_STACK_MAP_TABLE:
		put_frames(out, a->body);
		break;
	case ATTRIBUTE_RECORD:
		put_record(out, arena, c, a);
		break;
	case ATTRIBUTE_VISIBLE_ANNOTATIONS:
	case ATTRIBUTE_INVISIBLE_ANNOTATIONS:
		must(annotations_open(a->body, &count, &rest));
		put_annotations(out, count, rest);
		break;
	case ATTRIBUTE_VISIBLE_TYPE_ANNOTATIONS:
	case ATTRIBUTE_INVISIBLE_TYPE_ANNOTATIONS:
		must(annotations_open(a->body, &count, &rest));
		put_type_annotations(out, count, rest);
		break;
	case ATTRIBUTE_VISIBLE_PARAMETER_ANNOTATIONS:
	case ATTRIBUTE_INVISIBLE_PARAMETER_ANNOTATIONS:
		put_parameters(out, a->body);
		break;
	case ATTRIBUTE_ANNOTATION_DEFAULT:
		must(element_next(&rest, &v));
		put_element(out, &v);
		break;
	case ATTRIBUTE_BOOTSTRAP_METHODS:
		put_bootstrap(out, a->body);
		break;
	case ATTRIBUTE_MODULE:
		put_module(out, a->body);
		break;
	case ATTRIBUTE_MODULE_HASHES:
		put_hashes(out, a->body);
		break;
	case ATTRIBUTE_UNKNOWN:
	case ATTRIBUTE_SOURCE_DEBUG_EXTENSION:
	case ATTRIBUTE_SYNTHETIC:
	case ATTRIBUTE_DEPRECATED:
		buf_add(out, a->body);
		break;
	default:
		put_rows(out, kind, a);
		break;
	}
}

static void put_attributes(struct buf *out, struct arena *arena, const struct class_file *c, const struct class_attributes *list)
{
	buf_be16(out, list->count);
	for (uint32_t i = 0; i < list->count; i++) {
		size_t at = out->len + 2;

		buf_be16(out, list->at[i].name);
		buf_be32(out, 0);
		put_body(out, arena, c, &list->at[i]);
		uint32_t length = (uint32_t)(out->len - at - 4);
		for (unsigned k = 0; k < 4; k++)
			out->ptr[at + k] = (uint8_t)(length >> (24 - 8 * k));
	}
}

static void put_members(struct buf *out, struct arena *arena, const struct class_file *c, const struct class_members *list)
{
	buf_be16(out, list->count);
	for (uint32_t i = 0; i < list->count; i++) {
		buf_be16(out, list->at[i].access_flags);
		buf_be16(out, list->at[i].name);
		buf_be16(out, list->at[i].descriptor);
		put_attributes(out, arena, c, &list->at[i].attributes);
	}
}

static void put_constant(struct buf *out, const struct class_pool *pool, uint32_t i)
{
	enum constant_tag tag = pool_tag(pool, i);

	if (tag == CONSTANT_NONE)
		return;
	buf_addc(out, (uint8_t)tag);
	switch (tag) {
	case CONSTANT_UTF8:
		buf_be16(out, (uint16_t)pool_utf8(pool, i).len);
		buf_add(out, pool_utf8(pool, i));
		break;
	case CONSTANT_INTEGER:
	case CONSTANT_FLOAT:
		buf_be32(out, (uint32_t)pool_bits(pool, i));
		break;
	case CONSTANT_LONG:
	case CONSTANT_DOUBLE:
		buf_be64(out, pool_bits(pool, i));
		break;
	case CONSTANT_CLASS:
	case CONSTANT_STRING:
	case CONSTANT_METHOD_TYPE:
	case CONSTANT_MODULE:
	case CONSTANT_PACKAGE:
		buf_be16(out, pool_first(pool, i));
		break;
	case CONSTANT_METHOD_HANDLE:
		buf_addc(out, (uint8_t)pool_first(pool, i));
		buf_be16(out, pool_second(pool, i));
		break;
	default:
		buf_be16(out, pool_first(pool, i));
		buf_be16(out, pool_second(pool, i));
		break;
	}
}

static void put_class(struct buf *out, struct arena *arena, const struct class_file *c)
{
	buf_be32(out, CLASS_MAGIC);
	buf_be16(out, c->minor);
	buf_be16(out, c->major);
	buf_be16(out, c->pool.count);
	for (uint32_t i = 1; i < c->pool.count; i++)
		put_constant(out, &c->pool, i);
	buf_be16(out, c->access_flags);
	buf_be16(out, c->this_class);
	buf_be16(out, c->super_class);
	put_indices(out, c->interfaces);
	put_members(out, arena, c, &c->fields);
	put_members(out, arena, c, &c->methods);
	put_attributes(out, arena, c, &c->attributes);
}

/* An edit without a change gives the same bytes. */
static bool check_edit(struct arena *arena, struct buf *out, struct slice where, const struct class_file *c)
{
	struct class_edit *e = edit_new(arena, c);
	struct errmsg why = { 0 };

	buf_reset(out);
	must(e != NULL);
	if (edit_write(e, out, NULL, &why) == 0 && slice_eq(buf_slice(out), c->bytes))
		return true;
	printf("%.*s: an edit that changes nothing has other bytes %s\n", SLICE_FMT(where), why.text);
	return false;
}

/* False: said on standard output. */
static bool check(struct arena *arena, struct buf *out, struct slice where, struct slice bytes)
{
	struct class_fault fault;
	struct class_file c;

	if (!class_parse(arena, bytes, &c, &fault) || !class_walk(arena, &c, &totals, &fault)) {
		printf("%.*s: %s (JVMS %s, byte %u)\n", SLICE_FMT(where), fault.text, fault.section, fault.offset);
		return false;
	}
	put_class(out, arena, &c);
	if (out->err != 0 || !slice_eq(buf_slice(out), bytes)) {
		printf("%.*s: written again it has other bytes\n", SLICE_FMT(where));
		return false;
	}
	return check_edit(arena, out, where, &c);
}

static bool take(uint8_t *to, size_t n)
{
	return fread(to, 1, n, stdin) == n;
}

int main(void)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 30);
	AUTO_BUF struct buf out = BUF_INIT(BYTES_MAX);
	uint8_t *bytes = malloc(BYTES_MAX);
	unsigned classes = 0, failures = 0;
	uint8_t length[4];
	char where[4096];

	must(bytes != NULL);
	while (take(length, 4)) {
		size_t name = class_be32(length), size;

		must(name < sizeof(where) && take((uint8_t *)where, name) && take(length, 4));
		size = class_be32(length);
		must(size <= BYTES_MAX && take(bytes, size));
		arena_reset(&arena);
		buf_reset(&out);
		failures += !check(&arena, &out, slice_of(where, name), slice_of(bytes, size));
		classes++;
	}
	printf("classes %u failures %u methods %u instructions %u frames %u attributes %u unknown %u\n", classes, failures, totals.methods,
	       totals.instructions, totals.frames, totals.attributes, totals.unknown);
	printf("attributes");
	for (unsigned kind = 1; kind < ATTRIBUTE_KINDS; kind++)
		printf(" %s %llu", attribute_table[kind].name, (unsigned long long)rewritten[kind]);
	printf("\n");
	free(bytes);
	return failures == 0 ? 0 : 1;
}
