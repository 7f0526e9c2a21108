#include "dvm/classfile/class.h"

#include "base/buf.h"
#include "base/test.h"
#include "dvm/classfile/classfile_limits.h"
#include "dvm/classfile/code.h"
#include "dvm/classfile/descriptor.h"

/*
 * A small class, piece by piece, so that each test can have one wrong:
 *
 *	1 Utf8 "T"  2 Class 1  3 Utf8 "java/lang/Object"  4 Class 3  5 Utf8 "m"  6 Utf8 "()V"  7 Utf8 "Code"  8 Long (and 9)
 *	10 NameAndType 5:6  11 Methodref 4.10  12 MethodHandle 6 -> 11  13 InvokeDynamic 0:10  14 Utf8 "StackMapTable"
 */
static void utf8(struct buf *b, const char *text)
{
	buf_addc(b, CONSTANT_UTF8);
	buf_be16(b, (uint16_t)strlen(text));
	buf_adds(b, text);
}

static void one(struct buf *b, enum constant_tag tag, uint16_t operand)
{
	buf_addc(b, (uint8_t)tag);
	buf_be16(b, operand);
}

static void two(struct buf *b, enum constant_tag tag, uint16_t first, uint16_t second)
{
	one(b, tag, first);
	buf_be16(b, second);
}

static void header(struct buf *b, uint16_t major)
{
	buf_be32(b, CLASS_MAGIC);
	buf_be16(b, 0);
	buf_be16(b, major);
	buf_be16(b, 15);
	utf8(b, "T");
	one(b, CONSTANT_CLASS, 1);
	utf8(b, "java/lang/Object");
	one(b, CONSTANT_CLASS, 3);
	utf8(b, "m");
	utf8(b, "()V");
	utf8(b, "Code");
	buf_addc(b, CONSTANT_LONG);
	buf_be64(b, 0x0123456789abcdef);
	two(b, CONSTANT_NAME_AND_TYPE, 5, 6);
	two(b, CONSTANT_METHODREF, 4, 10);
	buf_addc(b, CONSTANT_METHOD_HANDLE);
	buf_addc(b, 6);
	buf_be16(b, 11);
	two(b, CONSTANT_INVOKE_DYNAMIC, 0, 10);
	utf8(b, "StackMapTable");
}

/* A class with one method whose code this is, and that attribute of Code (empty: none). */
static void class_with(struct buf *b, struct slice code, struct slice frames)
{
	uint32_t attribute = frames.len == 0 ? 0 : 6 + (uint32_t)frames.len;

	header(b, 52);
	buf_be16(b, ACC_PUBLIC | ACC_SUPER);
	buf_be16(b, 2);
	buf_be16(b, 4);
	buf_be16(b, 1);
	buf_be16(b, 4);		/* an interface, whatever it is */
	buf_be16(b, 0);		/* fields */
	buf_be16(b, 1);		/* methods */
	buf_be16(b, ACC_STATIC);
	buf_be16(b, 5);
	buf_be16(b, 6);
	buf_be16(b, 1);
	buf_be16(b, 7);
	buf_be32(b, 12 + (uint32_t)code.len + 8 + attribute);
	buf_be16(b, 1);
	buf_be16(b, 2);
	buf_be32(b, (uint32_t)code.len);
	buf_add(b, code);
	buf_be16(b, 1);
	buf_be16(b, 0);
	buf_be16(b, (uint16_t)code.len);
	buf_be16(b, 0);
	buf_be16(b, 4);
	buf_be16(b, frames.len == 0 ? 0 : 1);
	if (frames.len > 0) {
		buf_be16(b, 14);
		buf_be32(b, (uint32_t)frames.len);
		buf_add(b, frames);
	}
	buf_be16(b, 0);		/* attributes of the class */
	ck_assert_int_eq(b->err, 0);
}

#define BYTES(...) slice_of((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

START_TEST(a_class_shows_its_constants_members_and_code)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 20);
	AUTO_BUF struct buf b = BUF_INIT(4096);
	struct class_file c;
	struct class_fault fault;
	struct pool_ref ref;
	struct code code;

	class_with(&b, BYTES(OP_return), (struct slice){ 0 });
	ck_assert_msg(class_parse(&arena, buf_slice(&b), &c, &fault), "%s", fault.text);
	ck_assert_int_eq(c.major, 52);
	ck_assert_slice_eq(class_name(&c), SLICE("T"));
	ck_assert_slice_eq(class_super(&c), SLICE("java/lang/Object"));
	ck_assert_slice_eq(class_interface(&c, 0), SLICE("java/lang/Object"));
	ck_assert_uint_eq(class_interface(&c, 1).len, 0);
	ck_assert_uint_eq(pool_bits(&c.pool, 8), 0x0123456789abcdef);
	ck_assert_int_eq(pool_tag(&c.pool, 9), CONSTANT_NONE);
	ck_assert_int_eq(pool_tag(&c.pool, 0), CONSTANT_NONE);
	ck_assert_int_eq(pool_tag(&c.pool, 15), CONSTANT_NONE);
	ck_assert_int_eq(pool_first(&c.pool, 12), 6);
	ck_assert_int_eq(pool_second(&c.pool, 12), 11);
	ck_assert(pool_ref(&c.pool, 11, &ref));
	ck_assert_slice_eq(ref.owner, SLICE("java/lang/Object"));
	ck_assert_slice_eq(ref.name, SLICE("m"));
	ck_assert_slice_eq(ref.descriptor, SLICE("()V"));
	ck_assert(pool_ref(&c.pool, 13, &ref));
	ck_assert_uint_eq(ref.owner.len, 0);
	ck_assert(!pool_ref(&c.pool, 10, &ref));

	const struct class_member *m = class_method(&c, SLICE("m"), SLICE("()V"));
	ck_assert_ptr_nonnull(m);
	ck_assert_ptr_null(class_method(&c, SLICE("m"), SLICE("()I")));
	ck_assert_msg(code_parse(&arena, &c, method_code(&c, m), &code, &fault), "%s", fault.text);
	ck_assert_int_eq(code.max_stack, 1);
	ck_assert_int_eq(code.max_locals, 2);
	ck_assert_int_eq(code.bytes.ptr[0], OP_return);
	ck_assert_ptr_eq(c.bytes.ptr + code.offset, code.bytes.ptr);
	ck_assert_int_eq(code_handler(&code, 0).end, 1);
	ck_assert_int_eq(code_handler(&code, 0).type, 4);
	ck_assert_ptr_null(class_attribute(&c, &code.attributes, SLICE("StackMapTable")));
}
END_TEST

START_TEST(a_class_that_is_cut_anywhere_or_has_more_is_refused)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 20);
	AUTO_BUF struct buf b = BUF_INIT(4096);
	struct class_file c;
	struct class_fault fault;

	class_with(&b, BYTES(OP_return), BYTES(0, 0));
	for (size_t n = 0; n < b.len; n++) {
		/* A copy of that size, so that ASan sees a read past its end. */
		uint8_t *copy = malloc(n == 0 ? 1 : n);
		memcpy(copy, b.ptr, n);
		ck_assert_msg(!class_parse(&arena, slice_of(copy, n), &c, &fault), "cut at %zu of %zu", n, b.len);
		ck_assert_int_ne(fault.kind, CLASS_FAULT_NONE);
		ck_assert_str_ne(fault.text, "");
		free(copy);
	}
	ck_assert(class_parse(&arena, buf_slice(&b), &c, &fault));
	buf_addc(&b, 0);
	ck_assert(!class_parse(&arena, buf_slice(&b), &c, &fault));
	ck_assert_str_eq(fault.section, "4.8");
	ck_assert(!class_parse(&arena, buf_slice(&b), &c, NULL));
}
END_TEST

/* One byte of a good class is changed; where is counted from the start of the constant pool (10). */
static const struct {
	const char *name;
	uint32_t at;
	uint8_t value;
	enum class_fault_kind kind;
	const char *section;
} wrong[] = {
	{ "the magic number", 0, 0xCB, CLASS_FAULT_FORMAT, "4.1" },
	{ "a version that is too old", 7, 44, CLASS_FAULT_VERSION, "4.1" },
	{ "a version that is too new", 7, 70, CLASS_FAULT_VERSION, "4.1" },
	{ "no constants at all", 9, 0, CLASS_FAULT_FORMAT, "4.1" },
	{ "a tag that is none", 10, 2, CLASS_FAULT_FORMAT, "4.4" },
	{ "a tag above all", 10, 21, CLASS_FAULT_FORMAT, "4.4" },
	{ "a class named by a class", 16, 2, CLASS_FAULT_FORMAT, "4.4" },
	{ "a class named by itself", 16, 15, CLASS_FAULT_FORMAT, "4.4" },
};

START_TEST(one_wrong_byte_is_named)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 20);
	AUTO_BUF struct buf b = BUF_INIT(4096);
	struct class_file c;
	struct class_fault fault;

	class_with(&b, BYTES(OP_return), (struct slice){ 0 });
	b.ptr[wrong[_i].at] = wrong[_i].value;
	ck_assert_msg(!class_parse(&arena, buf_slice(&b), &c, &fault), "%s", wrong[_i].name);
	ck_assert_msg(fault.kind == wrong[_i].kind, "%s: %s", wrong[_i].name, fault.text);
	ck_assert_str_eq(fault.section, wrong[_i].section);
}
END_TEST

START_TEST(each_constant_names_constants_of_the_right_kind)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 20);
	AUTO_BUF struct buf b = BUF_INIT(4096);
	struct class_file c;
	struct class_fault fault;

	class_with(&b, BYTES(OP_return), (struct slice){ 0 });
	ck_assert(class_parse(&arena, buf_slice(&b), &c, &fault));
	/* Each operand of each constant is replaced with an index that names nothing (the second half of the long). */
	for (uint32_t i = 1; i < c.pool.count; i++) {
		enum constant_tag tag = pool_tag(&c.pool, i);
		uint32_t size = pool_size(&c.pool, i);

		if (tag == CONSTANT_NONE || tag == CONSTANT_UTF8 || tag == CONSTANT_LONG)
			continue;
		for (uint32_t at = tag == CONSTANT_METHOD_HANDLE ? 2 : 1; at < size; at += 2) {
			struct class_file broken;
			uint8_t *operand = b.ptr + c.pool.at[i] + at;
			uint8_t old = operand[1];

			operand[1] = 9;
			bool free_operand = tag == CONSTANT_INVOKE_DYNAMIC && at == 1;	/* an index of BootstrapMethods */
			ck_assert_msg(class_parse(&arena, buf_slice(&b), &broken, &fault) == free_operand, "constant %u, operand at %u", i, at);
			operand[1] = old;
		}
	}
	for (unsigned kind = 0; kind < 12; kind++) {
		struct class_file other;

		b.ptr[c.pool.at[12] + 1] = (uint8_t)kind;	/* it names a Methodref */
		ck_assert_int_eq(class_parse(&arena, buf_slice(&b), &other, &fault), kind >= 5 && kind <= 8);
	}
}
END_TEST

static bool walk(struct arena *arena, struct slice bytes, struct code_starts *starts, struct class_fault *fault)
{
	struct class_file c = { 0 };
	struct code code = { .bytes = bytes };

	return code_walk(arena, &c, &code, starts, fault);
}

START_TEST(instructions_show_their_operands)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 20);
	struct code code = { .bytes = BYTES(OP_aload_2, OP_bipush, 0xff, OP_wide, OP_iinc, 1, 0, 0x80, 0, OP_goto, 0xff, 0xf7,
					    OP_invokeinterface, 1, 2, 3, 0, OP_tableswitch, 0, 0, /* pc 17, padding to 20 */
					    0, 0, 0, 20, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff,
					    OP_lookupswitch, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 7,
					    OP_multianewarray, 0, 5, 2, OP_newarray, 10, OP_goto_w, 0x80, 0, 0, 0) };
	struct code_starts starts;
	struct class_fault fault;
	struct insn in;

	ck_assert_msg(walk(&arena, code.bytes, &starts, &fault), "%s", fault.text);
	ck_assert(code_next(&code, 0, &in) && in.op == OP_aload_2 && in.index == 2 && in.next == 1);
	ck_assert(code_next(&code, 1, &in) && in.value == -1 && in.next == 3);
	ck_assert(code_next(&code, 3, &in) && in.wide && in.op == OP_iinc && in.index == 256 && in.value == -32768 && in.next == 9);
	ck_assert(code_next(&code, 9, &in) && insn_branches(&in) && in.target == 0 && in.next == 12);
	ck_assert(code_next(&code, 12, &in) && in.index == 258 && in.value == 3 && in.next == 17);
	ck_assert(code_next(&code, 17, &in) && in.low == -1 && in.high == 0 && in.pairs == 2 && in.fallback == 37 && in.next == 40);
	ck_assert_int_eq(insn_match(&in, 0), -1);
	ck_assert_int_eq(insn_target(&in, 0), 18);
	ck_assert_int_eq(insn_target(&in, 1), 16);
	ck_assert(code_next(&code, 40, &in) && in.pairs == 1 && in.fallback == 49 && in.next == 60);
	ck_assert_int_eq(insn_match(&in, 0), INT32_MIN);
	ck_assert_int_eq(insn_target(&in, 0), 47);
	ck_assert(code_next(&code, 60, &in) && in.index == 5 && in.value == 2);
	ck_assert(code_next(&code, 64, &in) && in.value == 10);
	ck_assert(code_next(&code, 66, &in) && in.target == 66 + (int64_t)INT32_MIN && in.next == 71);
	ck_assert(!code_next(&code, 71, &in));
	ck_assert(code_starts_at(&starts, 66) && !code_starts_at(&starts, 67) && !code_starts_at(&starts, 71) && !code_starts_at(&starts, -1));
}
END_TEST

START_TEST(code_that_is_cut_or_no_code_is_refused)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 20);
	struct code_starts starts;
	struct class_fault fault;
	const struct {
		struct slice code;
		int pc;
	} bad[] = {
		{ BYTES(OP_nop, 202), 1 },
		{ BYTES(OP_nop, 255), 1 },
		{ BYTES(OP_bipush), 0 },
		{ BYTES(OP_nop, OP_sipush, 1), 1 },
		{ BYTES(OP_wide), 0 },
		{ BYTES(OP_wide, OP_nop, 0, 0), 0 },
		{ BYTES(OP_wide, OP_iinc, 0, 0, 0), 0 },
		{ BYTES(OP_wide, OP_wide, OP_iload, 0, 0), 0 },
		/* low above high; more cases than there are bytes; all of them */
		{ BYTES(OP_tableswitch, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0), 0 },
		{ BYTES(OP_tableswitch, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0), 0 },
		{ BYTES(OP_tableswitch, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0), 0 },
		{ BYTES(OP_lookupswitch, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), 0 },
		{ BYTES(OP_lookupswitch, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0), 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_msg(!walk(&arena, bad[i].code, &starts, &fault), "case %zu", i);
		ck_assert_msg(fault.pc == bad[i].pc, "case %zu: pc %d", i, fault.pc);
		ck_assert_int_eq(fault.kind, CLASS_FAULT_VERIFY);
	}
	ck_assert(walk(&arena, BYTES(OP_wide, OP_ret, 1, 0), &starts, &fault));
	ck_assert(walk(&arena, BYTES(OP_lookupswitch, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), &starts, &fault));
}
END_TEST

START_TEST(frames_come_with_their_pcs)
{
	struct frames f;
	struct frame frame;
	struct frame_type type;
	struct slice types;

	ck_assert(frames_open(BYTES(0, 7, /* same */ 3, /* one item */ 64 + 2, FRAME_OBJECT, 1, 2, /* one item, far */ 247, 1, 0, FRAME_INTEGER,
				    /* chop 2 */ 249, 0, 0, /* same, far */ 251, 0, 9, /* append 2 */ 253, 0, 1, FRAME_LONG, FRAME_UNINITIALIZED, 0, 5,
				    /* full */ 255, 0, 4, 0, 1, FRAME_TOP, 0, 1, FRAME_OBJECT, 0, 3), &f));
	ck_assert(frames_next(&f, &frame) && frame.pc == 3 && frame.locals == 0 && frame.stack == 0);
	ck_assert(frames_next(&f, &frame) && frame.pc == 6 && frame.stack == 1 && frame.offset == 1);
	types = frame.stack_types;
	ck_assert(frame_type_next(&types, &type) && type.tag == FRAME_OBJECT && type.value == 258 && types.len == 0);
	ck_assert(!frame_type_next(&types, &type));
	ck_assert(frames_next(&f, &frame) && frame.pc == 263 && frame.stack == 1);
	ck_assert(frames_next(&f, &frame) && frame.pc == 264 && frame.chop == 2);
	ck_assert(frames_next(&f, &frame) && frame.pc == 274 && frame.chop == 0);
	ck_assert(frames_next(&f, &frame) && frame.pc == 276 && frame.locals == 2 && frame.local_types.len == 4);
	ck_assert(frames_next(&f, &frame) && frame.pc == 281 && frame.locals == 1 && frame.stack == 1);
	types = frame.stack_types;
	ck_assert(frame_type_next(&types, &type) && type.value == 3);
	ck_assert(!frames_next(&f, &frame) && f.left == 0);

	const struct slice bad[] = {
		BYTES(0, 1), BYTES(0, 1, 128), BYTES(0, 1, 246), BYTES(0, 1, 64), BYTES(0, 1, 64, 9), BYTES(0, 1, 64, FRAME_OBJECT, 0),
		BYTES(0, 1, 247, 0), BYTES(0, 1, 255, 0, 0, 0, 1, FRAME_TOP), BYTES(0, 1, 255, 0, 0, 0xff, 0xff, FRAME_TOP, 0, 0),
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert(frames_open(bad[i], &f));
		ck_assert_msg(!frames_next(&f, &frame) && f.left == 1, "case %zu", i);
	}
	ck_assert(!frames_open(BYTES(0), &f));
}
END_TEST

START_TEST(files_and_code_are_as_large_as_the_limits_and_no_larger)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 24);
	AUTO_BUF struct buf b = BUF_INIT(1 << 20), nops = BUF_INIT(1 << 20);
	struct class_file c;
	struct class_fault fault;
	struct code code;

	buf_fill(&nops, OP_nop, CLASS_CODE_BYTES_MAX);
	class_with(&b, buf_slice(&nops), (struct slice){ 0 });
	ck_assert(class_parse(&arena, buf_slice(&b), &c, &fault));
	ck_assert_msg(code_parse(&arena, &c, method_code(&c, &c.methods.at[0]), &code, &fault), "%s", fault.text);
	buf_addc(&nops, OP_nop);
	buf_reset(&b);
	class_with(&b, buf_slice(&nops), (struct slice){ 0 });
	ck_assert(class_parse(&arena, buf_slice(&b), &c, &fault));
	ck_assert(!code_parse(&arena, &c, method_code(&c, &c.methods.at[0]), &code, &fault));
	ck_assert_str_eq(fault.section, "4.7.3");

	/* A class of the largest size: an attribute that fills it. One byte more is refused before anything is read. */
	AUTO_BUF struct buf large = BUF_INIT(CLASS_BYTES_MAX + 1);
	header(&large, 52);
	buf_be16(&large, ACC_PUBLIC);
	buf_be16(&large, 2);
	buf_be16(&large, 4);
	buf_fill(&large, 0, 6);
	buf_be16(&large, 1);
	buf_be16(&large, 5);
	buf_be32(&large, (uint32_t)(CLASS_BYTES_MAX - large.len - 4));
	buf_fill(&large, 0, CLASS_BYTES_MAX - large.len);
	ck_assert_msg(class_parse(&arena, buf_slice(&large), &c, &fault), "%s", fault.text);
	buf_addc(&large, 0);
	ck_assert(!class_parse(&arena, buf_slice(&large), &c, &fault));
	ck_assert_int_eq(fault.kind, CLASS_FAULT_LIMIT);
}
END_TEST

START_TEST(short_memory_is_a_fault)
{
	AUTO_BUF struct buf b = BUF_INIT(4096);
	bool fits = false;

	class_with(&b, BYTES(OP_return), BYTES(0, 0));
	for (size_t max = 0; max < 4096 && !fits; max += 16) {
		AUTO_ARENA struct arena arena = ARENA_INIT(max);
		struct class_fault fault = { 0 };
		struct class_file c;
		struct code_starts starts;
		struct code code;

		fits = class_parse(&arena, buf_slice(&b), &c, &fault) && code_parse(&arena, &c, method_code(&c, &c.methods.at[0]), &code, &fault) &&
		       code_walk(&arena, &c, &code, &starts, &fault);
		ck_assert(fits || fault.kind == CLASS_FAULT_LIMIT);
	}
	ck_assert(fits);
}
END_TEST

static const struct {
	const char *text;
	bool field, old;		/* valid as a field descriptor at version 52, at 48 */
} field_cases[] = {
	{ "I", true, true },
	{ "Ljava/lang/Object;", true, true },
	{ "[[J", true, true },
	{ "La-b;", true, false },
	{ "La b/c<d>;", true, false },
	{ "L;", false, false },
	{ "La;I", false, false },
	{ "La", false, false },
	{ "V", false, false },
	{ "[V", false, false },
	{ "[", false, false },
	{ "", false, false },
	{ "La//b;", false, false },
	{ "L/a;", false, true },	/* HotSpot's scanner of identifiers takes a slash first */
	{ "La.b;", false, false },
	{ "L[a;", false, false },
};

START_TEST(descriptors_of_fields)
{
	ck_assert_msg(descriptor_field_valid(slice_str(field_cases[_i].text), 52) == field_cases[_i].field, "%s", field_cases[_i].text);
	ck_assert_msg(descriptor_field_valid(slice_str(field_cases[_i].text), 48) == field_cases[_i].old, "%s at 48", field_cases[_i].text);
}
END_TEST

START_TEST(descriptors_of_methods)
{
	AUTO_BUF struct buf b = BUF_INIT(4096);
	struct method_shape shape;
	struct slice text, type;

	ck_assert(descriptor_method(SLICE("(IJ[DLa/B;)Ljava/lang/String;"), &shape));
	ck_assert_int_eq(shape.words, 5);
	ck_assert_slice_eq(shape.parameters, SLICE("IJ[DLa/B;"));
	ck_assert_slice_eq(shape.result, SLICE("Ljava/lang/String;"));
	text = shape.parameters;
	ck_assert_int_eq(descriptor_next(&text, &type), 'I');
	ck_assert_int_eq(descriptor_next(&text, &type), 'J');
	ck_assert_int_eq(descriptor_next(&text, &type), '[');
	ck_assert_slice_eq(type, SLICE("[D"));
	ck_assert_int_eq(descriptor_next(&text, &type), 'L');
	ck_assert_slice_eq(type, SLICE("La/B;"));
	ck_assert_int_eq(descriptor_next(&text, &type), '\0');
	ck_assert(!descriptor_method(SLICE("()"), &shape));
	ck_assert(!descriptor_method(SLICE("(V)V"), &shape));
	ck_assert(!descriptor_method(SLICE("(I"), &shape));
	ck_assert(!descriptor_method(SLICE("I)V"), &shape));
	ck_assert(!descriptor_method(SLICE("()VV"), &shape));
	ck_assert(!descriptor_method(SLICE(""), &shape));

	buf_addc(&b, '(');
	buf_fill(&b, 'J', 127);
	buf_adds(&b, ")V");
	ck_assert(descriptor_method_valid(buf_slice(&b), true, 52));
	ck_assert(descriptor_method_valid(buf_slice(&b), false, 52));
	b.ptr[b.len - 2] = 'I';
	b.ptr[b.len - 1] = ')';
	buf_adds(&b, "V");
	ck_assert(descriptor_method_valid(buf_slice(&b), true, 52));
	ck_assert(!descriptor_method_valid(buf_slice(&b), false, 52));

	buf_reset(&b);
	buf_fill(&b, '[', 255);
	buf_addc(&b, 'I');
	ck_assert(descriptor_field_valid(buf_slice(&b), 52));
	b.ptr[255] = '[';
	buf_addc(&b, 'I');
	ck_assert(!descriptor_field_valid(buf_slice(&b), 52));
}
END_TEST

START_TEST(names_are_as_free_as_the_version_lets_them)
{
	ck_assert(name_field_valid(SLICE("a-b c"), 49));
	ck_assert(!name_field_valid(SLICE("a-b c"), 48));
	ck_assert(name_field_valid(SLICE("<x>"), 49));
	ck_assert(!name_field_valid(SLICE("a/b"), 52));
	ck_assert(!name_field_valid(SLICE(""), 52));
	ck_assert(!name_field_valid(SLICE("1a"), 48));
	ck_assert(name_method_valid(SLICE("<init>"), 52));
	ck_assert(name_method_valid(SLICE("<clinit>"), 45));
	ck_assert(!name_method_valid(SLICE("<x>"), 52));
	ck_assert(!name_method_valid(SLICE("a<"), 52));
	ck_assert(name_class_valid(SLICE("a/b$1"), false, 45));
	ck_assert(name_class_valid(SLICE("[[La/b;"), true, 52));
	ck_assert(!name_class_valid(SLICE("[[La/b;"), false, 52));
	ck_assert(!name_class_valid(SLICE("a/"), false, 52));
	ck_assert(!name_class_valid(SLICE("a/"), false, 45));
	ck_assert(!name_class_valid(SLICE("a//b"), false, 45));
	ck_assert(!name_class_valid(SLICE("a.b"), false, 52));
}
END_TEST

START_TEST(modified_utf8_has_no_nul_byte_and_no_four_byte_letters)
{
	ck_assert(utf8_modified_valid(SLICE("abc"), 52));
	ck_assert(utf8_modified_valid(SLICE("\xc0\x80"), 52));
	ck_assert(!utf8_modified_valid(SLICE("a\0b"), 45));
	ck_assert(!utf8_modified_valid(SLICE("\xc1\x81"), 52));
	ck_assert(utf8_modified_valid(SLICE("\xc1\x81"), 47));
	ck_assert(utf8_modified_valid(SLICE("\xe2\x82\xac"), 52));
	ck_assert(!utf8_modified_valid(SLICE("\xe0\x82\xac"), 52));
	ck_assert(utf8_modified_valid(SLICE("\xe0\x82\xac"), 47));
	ck_assert(utf8_modified_valid(SLICE("\xed\xa0\x80\xed\xb0\x80"), 52));	/* a pair of surrogates */
	ck_assert(utf8_modified_valid(SLICE("\xed\xa0\x80"), 52));		/* half a pair: a Java string may hold it */
	ck_assert(!utf8_modified_valid(SLICE("\xf0\x9f\x98\x80"), 47));
	ck_assert(!utf8_modified_valid(SLICE("\x80"), 47));
	ck_assert(!utf8_modified_valid(SLICE("\xe2\x82"), 52));
	ck_assert(!utf8_modified_valid(SLICE("\xc3"), 52));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dvm/class");
	TCase *t = tcase_create("dvm/class");

	tcase_add_test(t, a_class_shows_its_constants_members_and_code);
	tcase_add_test(t, a_class_that_is_cut_anywhere_or_has_more_is_refused);
	tcase_add_loop_test(t, one_wrong_byte_is_named, 0, (int)ARRAY_LEN(wrong));
	tcase_add_test(t, each_constant_names_constants_of_the_right_kind);
	tcase_add_test(t, instructions_show_their_operands);
	tcase_add_test(t, code_that_is_cut_or_no_code_is_refused);
	tcase_add_test(t, frames_come_with_their_pcs);
	tcase_add_test(t, files_and_code_are_as_large_as_the_limits_and_no_larger);
	tcase_add_test(t, short_memory_is_a_fault);
	tcase_add_loop_test(t, descriptors_of_fields, 0, (int)ARRAY_LEN(field_cases));
	tcase_add_test(t, descriptors_of_methods);
	tcase_add_test(t, names_are_as_free_as_the_version_lets_them);
	tcase_add_test(t, modified_utf8_has_no_nul_byte_and_no_four_byte_letters);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
