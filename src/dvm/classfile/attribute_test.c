#include "dvm/classfile/attribute.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/test.h"
#include "dvm/classfile/classfile_limits.h"

/* testdata/Shapes.java and its module, compiled by javac with all debug information. */
static struct arena arena = ARENA_INIT(1 << 24);

static struct slice load(const char *name)
{
	char path[512];
	static uint8_t bytes[65536];

	(void)snprintf(path, sizeof(path), "%s/%s.class", TEST_CLASSES, name);
	FILE *file = fopen(path, "rbe");
	ck_assert_msg(file != NULL, "%s", path);
	size_t n = fread(bytes, 1, sizeof(bytes), file);
	(void)fclose(file);
	struct slice copy = arena_dup(&arena, slice_of(bytes, n));
	ck_assert_uint_gt(copy.len, 0);
	return copy;
}

static struct class_file parse(const char *name)
{
	struct class_file c;
	struct class_fault fault;

	ck_assert_msg(class_parse(&arena, load(name), &c, &fault), "%s: %s", name, fault.text);
	return c;
}

static const struct class_attribute *get(const struct class_file *c, const struct class_attributes *list, enum attribute_kind kind)
{
	const struct class_attribute *a = class_attribute(c, list, slice_str(attribute_table[kind].name));

	ck_assert_msg(a != NULL, "%s", attribute_table[kind].name);
	ck_assert_int_eq(attribute_kind_of(c, a), kind);
	return a;
}

static struct attribute_rows rows_of(const struct class_file *c, const struct class_attributes *list, enum attribute_kind kind)
{
	struct attribute_rows rows;

	ck_assert(attribute_rows(kind, get(c, list, kind), &rows));
	return rows;
}

static const char *const names[] = { "Shapes", "Shapes$1", "Shapes$2", "Shapes$Circle", "Shapes$Colour", "Shapes$Figure", "Shapes$Mark", "Shapes$Note",
				     "Shapes$Square", "Shapes$Used", "module-info", "shapes/Supply", "shapes/inner/Word" };

START_TEST(every_class_that_javac_made_is_walked)
{
	struct class_totals totals = { 0 };
	struct class_fault fault;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct class_file c = parse(names[i]);
		ck_assert_msg(class_walk(&arena, &c, &totals, &fault), "%s: %s", names[i], fault.text);
	}
	ck_assert_uint_gt(totals.methods, 20);
	ck_assert_uint_gt(totals.instructions, 300);
	ck_assert_uint_gt(totals.frames, 20);
	ck_assert_uint_gt(totals.unknown, 0);	/* SourceID and CompilationID of -Xjcov */
}
END_TEST

START_TEST(no_change_of_a_byte_is_more_than_a_fault)
{
	struct slice good = load("Shapes");
	uint8_t *bytes = malloc(good.len);
	uint32_t refused = 0, passed = 0;

	memcpy(bytes, good.ptr, good.len);
	for (size_t i = 0; i < good.len; i++) {
		static const uint8_t flips[] = { 0x01, 0x80, 0xff };

		for (size_t k = 0; k < ARRAY_LEN(flips); k++) {
			AUTO_ARENA struct arena own = ARENA_INIT(1 << 22);
			struct class_totals totals = { 0 };
			struct class_fault fault = { 0 };
			struct class_file c;

			bytes[i] ^= flips[k];
			if (class_parse(&own, slice_of(bytes, good.len), &c, &fault) && class_walk(&own, &c, &totals, &fault)) {
				passed++;
			} else {
				ck_assert_int_ne(fault.kind, CLASS_FAULT_NONE);
				ck_assert_uint_le(fault.offset, good.len);
				refused++;
			}
			bytes[i] ^= flips[k];
		}
	}
	ck_assert_uint_gt(refused, 1000);
	ck_assert_uint_gt(passed, 1000);
	free(bytes);
}
END_TEST

START_TEST(annotations_show_their_values)
{
	struct class_file c = parse("Shapes");
	struct annotation a;
	struct element_value v, inner;
	struct slice rest;
	uint16_t count, name;

	ck_assert(annotations_open(get(&c, &c.attributes, ATTRIBUTE_VISIBLE_ANNOTATIONS)->body, &count, &rest));
	ck_assert_int_eq(count, 1);
	ck_assert(annotation_next(&rest, &a));
	ck_assert_uint_eq(rest.len, 0);
	ck_assert_slice_eq(pool_utf8(&c.pool, a.type), SLICE("LShapes$Mark;"));
	ck_assert_int_eq(a.count, 12);
	struct slice pairs = a.pairs;
	static const struct {
		const char *name;
		uint8_t tag;
	} want[] = { { "name", 's' }, { "number", 'I' }, { "letter", 'C' }, { "ratio", 'F' }, { "wide", 'J' }, { "exact", 'D' },
		     { "on", 'Z' }, { "small", 'B' }, { "tiny", 'S' }, { "kind", 'e' }, { "type", 'c' }, { "inner", '@' } };
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		ck_assert(pair_next(&pairs, &name, &v));
		ck_assert_slice_eq(pool_utf8(&c.pool, name), slice_str(want[i].name));
		ck_assert_int_eq(v.tag, want[i].tag);
	}
	ck_assert_uint_eq(pairs.len, 0);
	ck_assert(!pair_next(&pairs, &name, &v));
	/* the last: @Note({ "a", "b" }) */
	ck_assert_slice_eq(pool_utf8(&c.pool, v.first), SLICE("LShapes$Note;"));
	ck_assert_int_eq(v.count, 1);
	ck_assert(pair_next(&v.rest, &name, &inner));
	ck_assert_int_eq(inner.tag, ELEMENT_ARRAY);
	ck_assert_int_eq(inner.count, 2);
	ck_assert(element_next(&inner.rest, &v) && v.tag == 's');
	ck_assert_slice_eq(pool_utf8(&c.pool, v.first), SLICE("a"));
}
END_TEST

START_TEST(annotations_nest_as_deep_as_the_limit_and_no_deeper)
{
	for (unsigned depth = CLASS_ANNOTATION_DEPTH_MAX; depth <= CLASS_ANNOTATION_DEPTH_MAX + 1; depth++) {
		AUTO_BUF struct buf b = BUF_INIT(4096);
		struct element_value v;

		for (unsigned i = 0; i < depth; i++) {
			buf_addc(&b, '[');
			buf_be16(&b, 1);
		}
		buf_adds(&b, "I");
		buf_be16(&b, 1);
		struct slice rest = buf_slice(&b);
		ck_assert_int_eq(element_next(&rest, &v), depth <= CLASS_ANNOTATION_DEPTH_MAX);
	}
}
END_TEST

START_TEST(code_shows_lines_variables_and_type_annotations)
{
	struct class_file c = parse("Shapes");
	struct class_fault fault;
	struct code code;
	struct type_annotation t;
	struct slice rest;
	uint16_t count;
	const struct class_member *m = class_method(&c, SLICE("numbers"), SLICE("(IJ[D)J"));

	ck_assert_ptr_nonnull(m);
	ck_assert(code_parse(&arena, &c, get(&c, &m->attributes, ATTRIBUTE_CODE), &code, &fault));
	struct attribute_rows lines = rows_of(&c, &code.attributes, ATTRIBUTE_LINE_NUMBER_TABLE);
	ck_assert_int_eq(row_line(&lines, 0).pc, 0);
	ck_assert_int_eq(row_line(&lines, 1).line, row_line(&lines, 0).line + 1);
	struct attribute_rows variables = rows_of(&c, &code.attributes, ATTRIBUTE_LOCAL_VARIABLE_TABLE);
	bool found = false;
	for (uint32_t i = 0; i < variables.count; i++) {
		struct row_variable v = row_variable(&variables, i);
		if (!slice_eq(pool_utf8(&c.pool, v.name), SLICE("rest")))
			continue;
		found = true;
		ck_assert_int_eq(v.index, 3);
		ck_assert_int_eq(v.pc, 0);
		ck_assert_uint_eq(v.length, code.bytes.len);
		ck_assert_slice_eq(pool_utf8(&c.pool, v.type), SLICE("[D"));
	}
	ck_assert(found);
	struct attribute_rows parameters = rows_of(&c, &m->attributes, ATTRIBUTE_METHOD_PARAMETERS);
	ck_assert_uint_eq(parameters.count, 3);
	ck_assert_slice_eq(pool_utf8(&c.pool, row_parameter(&parameters, 1).name), SLICE("b"));
	ck_assert_int_eq(row_parameter(&parameters, 1).flags, ACC_FINAL);
	struct attribute_rows ranges = rows_of(&c, &code.attributes, ATTRIBUTE_CHARACTER_RANGE_TABLE);
	ck_assert_uint_gt(ranges.count, 5);
	ck_assert_uint_le(row_characters(&ranges, 0).pc, row_characters(&ranges, 0).end);

	/* numbers(@Note("p") int a, @Mark final long b, double...): one annotation each, in the list of its retention */
	struct slice each = slice_from(get(&c, &m->attributes, ATTRIBUTE_VISIBLE_PARAMETER_ANNOTATIONS)->body, 1), annotations;
	ck_assert(parameter_annotations_next(&each, &count, &annotations) && count == 0 && annotations.len == 0);
	ck_assert(parameter_annotations_next(&each, &count, &annotations) && count == 1 && annotations.len == 4);

	m = class_method(&c, SLICE("caught"), SLICE("(Ljava/lang/Object;[[ILjava/lang/String;)Ljava/lang/Object;"));
	ck_assert_ptr_nonnull(m);
	ck_assert(code_parse(&arena, &c, method_code(&c, m), &code, &fault));
	ck_assert(annotations_open(get(&c, &code.attributes, ATTRIBUTE_VISIBLE_TYPE_ANNOTATIONS)->body, &count, &rest));
	ck_assert(type_annotation_next(&rest, &t));
	ck_assert_int_eq(t.target, 0x42);	/* catch (@Used IllegalStateException ...) */
	ck_assert_uint_eq(t.info.len, 2);
	ck_assert_slice_eq(pool_utf8(&c.pool, t.annotation.type), SLICE("LShapes$Used;"));
}
END_TEST

START_TEST(classes_show_what_they_are_nested_in_and_what_they_permit)
{
	struct class_file c = parse("Shapes"), figure = parse("Shapes$Figure"), circle = parse("Shapes$Circle"), second = parse("Shapes$2");
	struct bootstrap_method b;
	struct record_component r;
	struct class_fault fault;
	struct slice rest;
	uint16_t count;

	struct attribute_rows members = rows_of(&c, &c.attributes, ATTRIBUTE_NEST_MEMBERS);
	ck_assert_uint_eq(members.count, 9);
	struct attribute_rows permitted = rows_of(&figure, &figure.attributes, ATTRIBUTE_PERMITTED_SUBCLASSES);
	ck_assert_uint_eq(permitted.count, 2);
	ck_assert_slice_eq(pool_name(&figure.pool, row_index(&permitted, 1)), SLICE("Shapes$Square"));
	struct attribute_rows host = rows_of(&figure, &figure.attributes, ATTRIBUTE_NEST_HOST);
	ck_assert_slice_eq(pool_name(&figure.pool, row_index(&host, 0)), SLICE("Shapes"));
	struct attribute_rows enclosing = rows_of(&second, &second.attributes, ATTRIBUTE_ENCLOSING_METHOD);
	ck_assert_slice_eq(pool_name(&second.pool, row_enclosing_method(&enclosing).class), SLICE("Shapes"));

	ck_assert(bootstrap_open(get(&c, &c.attributes, ATTRIBUTE_BOOTSTRAP_METHODS)->body, &count, &rest));
	ck_assert_int_eq(count, 3);	/* String::valueOf, the lambda, the text that it prints */
	for (; count > 0; count--) {
		ck_assert(bootstrap_next(&rest, &b));
		ck_assert(pool_is(&c.pool, b.handle, CONSTANT_METHOD_HANDLE));
		ck_assert(b.arguments.len == 6 || b.arguments.len == 2);
	}
	ck_assert(rest.len == 0 && !bootstrap_next(&rest, &b));

	ck_assert(record_open(get(&circle, &circle.attributes, ATTRIBUTE_RECORD), &count, &rest));
	ck_assert_int_eq(count, 2);
	ck_assert(record_next(&arena, &circle, &rest, &r, &fault));
	ck_assert_slice_eq(pool_utf8(&circle.pool, r.name), SLICE("radius"));
	ck_assert_slice_eq(pool_utf8(&circle.pool, r.descriptor), SLICE("D"));
	ck_assert_int_eq(r.attributes.count, 1);
	ck_assert(record_next(&arena, &circle, &rest, &r, &fault));
	(void)get(&circle, &r.attributes, ATTRIBUTE_SIGNATURE);
	ck_assert_uint_eq(rest.len, 0);
}
END_TEST

START_TEST(a_module_shows_its_directives)
{
	struct class_file c = parse("module-info");
	struct module m;
	struct module_open o;
	struct module_provide p;

	ck_assert(module_read(get(&c, &c.attributes, ATTRIBUTE_MODULE)->body, &m));
	ck_assert_slice_eq(pool_name(&c.pool, m.name), SLICE("shapes.module"));
	ck_assert_int_eq(m.flags, 0x20);
	ck_assert_int_eq(m.requires_count, 3);
	ck_assert_int_eq(m.opens_count, 0);
	ck_assert_int_eq(m.exports_count, 2);
	ck_assert(module_open_next(&m.exports, &o) && o.to.len == 0);
	ck_assert_slice_eq(pool_name(&c.pool, o.package), SLICE("shapes"));
	ck_assert(module_open_next(&m.exports, &o) && o.to.len == 4);
	ck_assert(!module_open_next(&m.exports, &o));
	ck_assert_int_eq(m.uses_count, 1);
	ck_assert(module_provide_next(&m.provides, &p) && p.with.len == 2);
	ck_assert_slice_eq(pool_name(&c.pool, p.service), SLICE("java/util/function/Supplier"));
	/* cut anywhere, or longer */
	struct slice body = get(&c, &c.attributes, ATTRIBUTE_MODULE)->body;
	for (size_t n = 0; n < body.len; n++)
		ck_assert_msg(!module_read(slice_head(body, n), &m), "%zu", n);
	ck_assert(!module_read(slice_of(body.ptr, body.len + 1), &m));
}
END_TEST

START_TEST(rows_fill_their_attribute)
{
	struct attribute_rows rows;
	struct class_attribute a = { .body = SLICE("\0\1\0\0\0\7") };

	ck_assert(attribute_rows(ATTRIBUTE_LINE_NUMBER_TABLE, &a, &rows));
	ck_assert_int_eq(row_line(&rows, 0).line, 7);
	a.body = SLICE("\0\1\0\0\0\7\0");
	ck_assert(!attribute_rows(ATTRIBUTE_LINE_NUMBER_TABLE, &a, &rows));
	a.body = SLICE("\0\2\0\0\0\7");
	ck_assert(!attribute_rows(ATTRIBUTE_LINE_NUMBER_TABLE, &a, &rows));
	a.body = SLICE("\0");
	ck_assert(!attribute_rows(ATTRIBUTE_LINE_NUMBER_TABLE, &a, &rows));
	ck_assert(!attribute_rows(ATTRIBUTE_SIGNATURE, &a, &rows));
	a.body = SLICE("");
	ck_assert(!attribute_rows(ATTRIBUTE_METHOD_PARAMETERS, &a, &rows));
	ck_assert(!attribute_rows(ATTRIBUTE_SYNTHETIC, &a, &rows));
	for (unsigned kind = 1; kind < ATTRIBUTE_KINDS; kind++)
		ck_assert_int_eq(attribute_kind(slice_str(attribute_table[kind].name)), kind);
	ck_assert_int_eq(attribute_kind(SLICE("code")), ATTRIBUTE_UNKNOWN);
	ck_assert_int_eq(attribute_kind(SLICE("")), ATTRIBUTE_UNKNOWN);
}
END_TEST

TEST_MAIN("dvm/attribute", every_class_that_javac_made_is_walked, no_change_of_a_byte_is_more_than_a_fault, annotations_show_their_values,
	  annotations_nest_as_deep_as_the_limit_and_no_deeper, code_shows_lines_variables_and_type_annotations,
	  classes_show_what_they_are_nested_in_and_what_they_permit, a_module_shows_its_directives, rows_fill_their_attribute)
