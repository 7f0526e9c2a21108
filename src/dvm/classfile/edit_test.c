#include "dvm/classfile/edit_private.h"

#include <errno.h>

#include "base/test.h"
#include "dvm/classfile/edit_scatter.h"

#define BYTES(...) slice_of((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static struct arena arena = ARENA_INIT(1u << 27);

/* 1 "T"  2 Class 1  3 "java/lang/Object"  4 Class 3  5 "m"  6 "()V"  7 "Code"  8 "StackMapTable"  9 "LineNumberTable"  10 "Secret"  11 "LocalVariableTable" */
static void utf8(struct buf *b, const char *text)
{
	buf_addc(b, CONSTANT_UTF8);
	buf_be16(b, (uint16_t)strlen(text));
	buf_adds(b, text);
}

static void attribute(struct buf *b, uint16_t name, struct slice body)
{
	if (body.len == 0)
		return;
	buf_be16(b, name);
	buf_be32(b, (uint32_t)body.len);
	buf_add(b, body);
}

struct made {
	uint16_t major;
	struct slice code, handlers, frames, lines, variables, secret;
};

/* A class with one static method m()V. */
static struct class_file make(const struct made *made)
{
	struct buf b = BUF_INIT(1u << 18), code = BUF_INIT(1u << 18);
	struct class_file c;
	struct class_fault fault;
	bool there[] = { made->frames.len > 0, made->lines.len > 0, made->variables.len > 0, made->secret.len > 0 };
	uint16_t count = 0;

	for (unsigned i = 0; i < 4; i++)
		count = (uint16_t)(count + there[i]);
	buf_be32(&b, CLASS_MAGIC);
	buf_be16(&b, 0);
	buf_be16(&b, made->major);
	buf_be16(&b, 12);
	utf8(&b, "T");
	buf_add(&b, BYTES(CONSTANT_CLASS, 0, 1));
	utf8(&b, "java/lang/Object");
	buf_add(&b, BYTES(CONSTANT_CLASS, 0, 3));
	utf8(&b, "m");
	utf8(&b, "()V");
	utf8(&b, "Code");
	utf8(&b, "StackMapTable");
	utf8(&b, "LineNumberTable");
	utf8(&b, "Secret");
	utf8(&b, "LocalVariableTable");
	buf_add(&b, BYTES(0, ACC_PUBLIC | ACC_SUPER, 0, 2, 0, 4, 0, 0, 0, 0, 0, 1, 0, ACC_STATIC, 0, 5, 0, 6, 0, 1));
	buf_be16(&code, 2);
	buf_be16(&code, 3);
	buf_be32(&code, (uint32_t)made->code.len);
	buf_add(&code, made->code);
	buf_be16(&code, (uint16_t)(made->handlers.len / 8));
	buf_add(&code, made->handlers);
	buf_be16(&code, count);
	attribute(&code, 8, made->frames);
	attribute(&code, 9, made->lines);
	attribute(&code, 11, made->variables);
	attribute(&code, 10, made->secret);
	attribute(&b, 7, buf_slice(&code));
	buf_be16(&b, 0);
	ck_assert_int_eq(b.err | code.err, 0);
	ck_assert_msg(class_parse(&arena, arena_dup(&arena, buf_slice(&b)), &c, &fault), "%s", fault.text);
	buf_done(&b);
	buf_done(&code);
	return c;
}

static const uint8_t two_nops[] = { OP_nop, OP_nop };
static const uint8_t three_nops[] = { OP_nop, OP_nop, OP_nop };

static void insert(struct class_edit *e, uint32_t pc, enum edit_where where, struct slice bytes)
{
	edit_insert(e, &e->c->methods.at[0], pc, where, (struct edit_piece){ bytes, 1, 0 });
}

/* The code of the first method of what the edit writes. */
static struct code written(struct class_edit *e, struct class_file *c)
{
	struct buf out = BUF_INIT(1u << 20);
	struct class_fault fault;
	struct errmsg why = { 0 };
	struct code code;
	uint32_t dropped;

	ck_assert_msg(edit_write(e, &out, &dropped, &why) == 0, "%s", why.text);
	ck_assert_msg(class_parse(&arena, arena_dup(&arena, buf_slice(&out)), c, &fault), "%s", fault.text);
	ck_assert_msg(code_parse(&arena, c, method_code(c, &c->methods.at[0]), &code, &fault), "%s", fault.text);
	buf_done(&out);
	return code;
}

static struct slice body_of(const struct class_file *c, const struct code *code, const char *name)
{
	const struct class_attribute *a = class_attribute(c, &code->attributes, slice_str(name));

	ck_assert_msg(a != NULL, "%s", name);
	return a->body;
}

START_TEST(what_nobody_touched_is_the_same_bytes)
{
	AUTO_BUF struct buf out = BUF_INIT(4096);
	struct class_file c = make(&(struct made){ 52, BYTES(OP_return), .secret = BYTES(1) });
	struct class_edit *e = edit_new(&arena, &c);

	ck_assert_int_eq(edit_write(e, &out, NULL, NULL), 0);
	ck_assert_slice_eq(buf_slice(&out), c.bytes);
	/* A constant that is there already is no change. */
	ck_assert_int_eq(edit_utf8(e, SLICE("Code")), 7);
	ck_assert_int_eq(edit_class(e, SLICE("java/lang/Object")), 4);
	buf_reset(&out);
	ck_assert_int_eq(edit_write(e, &out, NULL, NULL), 0);
	ck_assert_slice_eq(buf_slice(&out), c.bytes);
	ck_assert_int_eq(edit_ref(e, CONSTANT_METHODREF, SLICE("T"), SLICE("m"), SLICE("()V")), 13);
	ck_assert_int_eq(edit_ref(e, CONSTANT_METHODREF, SLICE("T"), SLICE("m"), SLICE("()V")), 13);
	ck_assert_int_eq(edit_long(e, -2), 14);
	ck_assert_int_eq(edit_integer(e, -2), 16);
}
END_TEST

/*
 *	0 iconst_0  1 istore_0  2: [frame] iload_0  3 ifeq 2  6 goto 2
 */
START_TEST(pieces_stand_before_behind_and_where_control_falls_through)
{
	struct class_file c = make(&(struct made){ 52, BYTES(OP_iconst_0, OP_istore_0, OP_iload_0, OP_ifeq, 0xff, 0xff, OP_goto, 0xff, 0xfc),
						   .frames = BYTES(0, 2, 252, 0, 2, 1, 3), .lines = BYTES(0, 2, 0, 0, 0, 7, 0, 2, 0, 8),
						   .variables = BYTES(0, 1, 0, 2, 0, 7, 0, 5, 0, 6, 0, 0) });
	struct class_edit *e = edit_new(&arena, &c);
	struct class_file after;

	insert(e, 2, EDIT_BEFORE, BYTES(OP_nop));
	insert(e, 2, EDIT_BEFORE_FALL, slice_of(two_nops, 2));
	insert(e, 1, EDIT_AFTER, slice_of(three_nops, 3));
	insert(e, 6, EDIT_AFTER, BYTES(OP_nop));		/* control never gets there */
	struct code code = written(e, &after);
	ck_assert_slice_eq(code.bytes, BYTES(OP_iconst_0, OP_istore_0, OP_nop, OP_nop, OP_nop, OP_nop, OP_nop, OP_nop, OP_iload_0, OP_ifeq, 0xff, 0xfe,
					     OP_goto, 0xff, 0xfb));
	ck_assert_slice_eq(body_of(&after, &code, "StackMapTable"), BYTES(0, 2, 252, 0, 7, 1, 4));
	ck_assert_slice_eq(body_of(&after, &code, "LineNumberTable"), BYTES(0, 2, 0, 0, 0, 7, 0, 7, 0, 8));
	ck_assert_slice_eq(body_of(&after, &code, "LocalVariableTable"), BYTES(0, 1, 0, 7, 0, 8, 0, 5, 0, 6, 0, 0));
	ck_assert_int_eq(code.max_stack, 3);
}
END_TEST

/*
 *	0 new 4  3 dup  4 aconst_null  5 ifnull 9  8 nop  9: [frame: 2 x Uninitialized(0)] pop2  10 return
 */
START_TEST(a_frame_follows_its_new_and_grows_to_the_long_form)
{
	struct class_file c = make(&(struct made){ 52, BYTES(OP_new, 0, 4, OP_dup, OP_aconst_null, OP_ifnull, 0, 4, OP_nop, OP_pop2, OP_return),
						   .frames = BYTES(0, 2, 255, 0, 9, 0, 0, 0, 2, 8, 0, 0, 8, 0, 0, 0) });
	struct class_edit *e = edit_new(&arena, &c);
	static const uint8_t many[70];
	struct class_file after;

	insert(e, 0, EDIT_BEFORE, slice_of(three_nops, 3));
	insert(e, 10, EDIT_BEFORE_FALL, slice_of(many, sizeof(many)));
	struct code code = written(e, &after);
	ck_assert_slice_eq(body_of(&after, &code, "StackMapTable"), BYTES(0, 2, 255, 0, 12, 0, 0, 0, 2, 8, 0, 3, 8, 0, 3, 251, 0, 70));
}
END_TEST

/*
 *	0 iconst_0  1 tableswitch 0..0: 20, default 20  20 return
 */
START_TEST(a_switch_keeps_its_alignment)
{
	struct class_file c = make(&(struct made){ 49, BYTES(OP_iconst_0, OP_tableswitch, 0, 0, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 19, OP_return) });
	struct class_file after;

	for (uint32_t n = 0; n < 4; n++) {
		struct class_edit *e = edit_new(&arena, &c);
		struct insn in;

		for (uint32_t i = 0; i <= n; i++)
			insert(e, 0, EDIT_BEFORE, BYTES(OP_nop));
		insert(e, 20, EDIT_BEFORE, BYTES(OP_nop));
		struct code code = written(e, &after);
		ck_assert(code_next(&code, n + 2, &in));
		ck_assert_int_eq(in.op, OP_tableswitch);
		ck_assert_int_eq(in.fallback, in.next);
		ck_assert_int_eq(insn_target(&in, 0), in.next);
		ck_assert_slice_eq(slice_from(code.bytes, in.next), BYTES(OP_nop, OP_return));
	}
}
END_TEST

/*
 *	0 aconst_null  1 monitorenter  2 nop  3 istore_0  4 nop  5 return; 2 to 4 are guarded, by 4
 */
START_TEST(what_follows_a_guarded_range_is_not_guarded_and_what_follows_a_monitorenter_is)
{
	struct class_file c = make(&(struct made){ 49, BYTES(OP_aconst_null, OP_monitorenter, OP_nop, OP_istore_0, OP_nop, OP_return),
						   .handlers = BYTES(0, 2, 0, 4, 0, 4, 0, 0, 0, 3, 0, 4, 0, 5, 0, 0) });
	struct class_edit *e = edit_new(&arena, &c);
	struct class_file after;

	insert(e, 1, EDIT_AFTER, BYTES(OP_nop));
	insert(e, 3, EDIT_AFTER, BYTES(OP_nop));
	insert(e, 4, EDIT_BEFORE, BYTES(OP_nop));
	insert(e, 2, EDIT_AFTER, BYTES(OP_nop));
	struct code code = written(e, &after);
	/* 0 aconst_null 1 monitorenter 2 piece 3 nop 4 piece 5 istore_0 6 piece 7 piece 8 nop 9 return */
	ck_assert_slice_eq(code.handlers, BYTES(0, 2, 0, 6, 0, 7, 0, 0, 0, 5, 0, 6, 0, 9, 0, 0));
}
END_TEST

/* `first`, n nops, return; the branch at 0 leads to the return. */
static struct class_file far_class(uint16_t major, uint8_t op, uint32_t nops)
{
	uint8_t *code = arena_alloc(&arena, nops + 5);
	uint32_t to = nops + 4;

	ck_assert_ptr_nonnull(code);
	/* aconst_null, branch, nops, return */
	code[0] = OP_aconst_null;
	code[1] = op;
	code[2] = (uint8_t)((to - 1) >> 8);
	code[3] = (uint8_t)(to - 1);
	code[to] = OP_return;
	struct slice frames = op == OP_goto ? BYTES(0, 2, 64 + 4, 5, 247, (uint8_t)((to - 5) >> 8), (uint8_t)(to - 5), 5) :
					      BYTES(0, 1, 251, (uint8_t)(to >> 8), (uint8_t)to);
	struct made made = { major, slice_of(code, to + 1), .frames = frames };
	return make(&made);
}

START_TEST(a_branch_that_no_longer_reaches_becomes_wide)
{
	struct class_file c = far_class(52, OP_goto, 32767 - 3), after;
	struct class_edit *e = edit_new(&arena, &c);
	struct code code = written(e, &after);
	struct insn in;

	insert(e, 5, EDIT_BEFORE, BYTES(OP_nop));
	code = written(e, &after);
	ck_assert(code_next(&code, 1, &in));
	ck_assert_int_eq(in.op, OP_goto_w);
	ck_assert_int_eq(in.target, 1 + 32767 + 2 + 1);
	ck_assert_int_eq(code.bytes.ptr[in.target], OP_return);
	/* The frame follows. */
	ck_assert_slice_eq(slice_head(body_of(&after, &code, "StackMapTable"), 4), BYTES(0, 2, 64 + 6, 5));

	c = far_class(49, OP_ifnull, 32767 - 3);
	e = edit_new(&arena, &c);
	insert(e, 5, EDIT_BEFORE, BYTES(OP_nop));
	code = written(e, &after);
	ck_assert_slice_eq(slice_sub(code.bytes, 0, 11), BYTES(OP_aconst_null, OP_ifnonnull, 0, 8, OP_goto_w, 0, 0, 0x80, 0x02, OP_nop, OP_nop));
	ck_assert_int_eq(code.bytes.ptr[4 + 0x8002], OP_return);
}
END_TEST

START_TEST(a_condition_with_a_frame_behind_it_becomes_wide)
{
	enum { NOPS = 32767 - 3, TO = NOPS + 4 };
	uint8_t *bytes = arena_alloc(&arena, TO + 1);
	struct class_file after;
	struct errmsg why;

	memcpy(bytes, (uint8_t[]){ OP_aconst_null, OP_ifnull, 0x7f, 0xff }, 4);
	bytes[TO] = OP_return;
	struct class_file c = make(&(struct made){ 52, slice_of(bytes, TO + 1), .frames = BYTES(0, 2, 4, 251, (TO - 5) >> 8, (TO - 5) & 255) });
	struct class_edit *e = edit_new(&arena, &c);
	insert(e, 5, EDIT_BEFORE, BYTES(OP_nop));
	struct code code = written(e, &after);
	ck_assert_slice_eq(slice_head(code.bytes, 9), BYTES(OP_aconst_null, OP_ifnonnull, 0, 8, OP_goto_w, 0, 0, 0x80, 0x02));
	ck_assert_slice_eq(slice_head(body_of(&after, &code, "StackMapTable"), 3), BYTES(0, 2, 9));
	/* Something between the goto_w and the frame. */
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	insert(e, 4, EDIT_BEFORE_FALL, BYTES(OP_nop));
	ck_assert_int_eq(edit_write(e, &out, NULL, &why), -EFBIG);
}
END_TEST

/* A call with a constant: five bytes, which can be three. */
static void call(struct class_edit *e, uint32_t pc)
{
	AUTO_BUF struct buf piece = BUF_INIT(64);

	edit_insert(e, &e->c->methods.at[0], pc, EDIT_BEFORE, scatter_piece(e, 2, 0, &piece));
}

START_TEST(a_condition_in_a_class_with_frames_moves_pieces_out_or_is_refused)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct class_file c = far_class(52, OP_ifnull, 32767 - 3 - 6), after;
	struct class_edit *e = edit_new(&arena, &c);
	struct errmsg why = { 0 };
	struct insn in;

	call(e, 5);
	call(e, 7);
	struct code code = written(e, &after);
	ck_assert_int_eq(after.methods.count, 2);
	ck_assert_slice_eq(member_name(&after, &after.methods.at[1]), SLICE("prickle$0"));
	ck_assert_int_eq(after.methods.at[1].access_flags, ACC_PRIVATE | ACC_STATIC | ACC_SYNTHETIC);
	ck_assert(code_next(&code, 1, &in));
	ck_assert_int_eq(in.target, 1 + 32767);

	e = edit_new(&arena, &c);
	for (uint32_t i = 0; i < 3; i++)
		call(e, 5 + i);
	ck_assert_int_eq(edit_write(e, &out, NULL, &why), -EFBIG);
	ck_assert_msg(strstr(why.text, "m()V") != NULL && strstr(why.text, "no longer reach") != NULL, "%s", why.text);
	ck_assert_uint_eq(out.len, 0);
}
END_TEST

START_TEST(code_of_65535_bytes_is_written_and_one_more_is_refused)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	uint8_t *code = arena_alloc(&arena, 65535);
	struct errmsg why = { 0 };
	struct class_file after;

	code[65533] = OP_return;
	struct made made = { 52, slice_of(code, 65534) };
	struct class_file c = make(&made);
	struct class_edit *e = edit_new(&arena, &c);
	insert(e, 0, EDIT_BEFORE, BYTES(OP_nop));
	ck_assert_uint_eq(written(e, &after).bytes.len, 65535);
	insert(e, 0, EDIT_BEFORE, BYTES(OP_nop));
	ck_assert_int_eq(edit_write(e, &out, NULL, &why), -EFBIG);
	ck_assert_ptr_nonnull(strstr(why.text, "65,535"));
}
END_TEST

START_TEST(a_full_pool_is_refused)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct class_file c = make(&(struct made){ 52, BYTES(OP_return) }), after;
	struct class_edit *e = edit_new(&arena, &c);
	struct class_fault fault;
	struct errmsg why = { 0 };

	for (int32_t i = 0; i < 65535 - 12; i++)
		ck_assert_uint_eq(edit_integer(e, i), (unsigned)(12 + i));
	ck_assert_int_eq(edit_write(e, &out, NULL, &why), 0);
	ck_assert_msg(class_parse(&arena, buf_slice(&out), &after, &fault), "%s", fault.text);
	ck_assert_uint_eq(pool_bits(&after.pool, 65534), 65534 - 12);
	ck_assert_uint_eq(edit_integer(e, -1), 0);
	ck_assert_int_eq(edit_write(e, &out, NULL, &why), -EFBIG);
	ck_assert_ptr_nonnull(strstr(why.text, "65,535"));
}
END_TEST

START_TEST(an_unknown_attribute_of_code_goes_away_or_refuses)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct class_file c = make(&(struct made){ 52, BYTES(OP_nop, OP_return), .secret = BYTES(1, 2) });
	struct class_edit *e = edit_new(&arena, &c);
	struct errmsg why = { 0 };
	uint32_t dropped;

	/* The same length: nothing moved. */
	edit_replace(e, &c.methods.at[0], 0, BYTES(OP_nop));
	ck_assert_int_eq(edit_write(e, &out, &dropped, &why), 0);
	ck_assert_uint_eq(dropped, 0);
	ck_assert_slice_eq(buf_slice(&out), c.bytes);
	insert(e, 0, EDIT_BEFORE, BYTES(OP_nop));
	buf_reset(&out);
	ck_assert_int_eq(edit_write(e, &out, &dropped, &why), 0);
	ck_assert_uint_eq(dropped, 1);
	edit_flags(e, EDIT_REFUSE_UNKNOWN);
	ck_assert_int_eq(edit_write(e, &out, &dropped, &why), -EOPNOTSUPP);
}
END_TEST

START_TEST(members_and_attributes_are_changed)
{
	struct class_file c = make(&(struct made){ 52, BYTES(OP_return) }), after;
	struct class_edit *e = edit_new(&arena, &c);
	const struct class_member *m = &c.methods.at[0];

	edit_access(e, ACC_PUBLIC | ACC_FINAL | ACC_SUPER);
	edit_member_access(e, m, ACC_STATIC | ACC_PRIVATE);
	edit_member_name(e, m, SLICE("other"));
	edit_add_field(e, ACC_PUBLIC, SLICE("f"), SLICE("I"), BYTES(0, 10, 0, 0, 0, 0), 1);
	edit_add_method(e, ACC_PUBLIC | ACC_NATIVE, SLICE("n"), SLICE("()V"), (struct slice){ 0 }, 0);
	edit_annotate(e, m, SLICE("LA;"));
	edit_annotate(e, m, SLICE("LB;"));
	edit_attribute(e, m, SLICE("Deprecated"), BYTES());
	edit_attribute(e, NULL, SLICE("SourceFile"), BYTES(0, 1));
	edit_attribute(e, NULL, SLICE("SourceFile"), BYTES(0, 3));
	(void)written(e, &after);
	m = &after.methods.at[0];
	ck_assert_int_eq(after.access_flags, ACC_PUBLIC | ACC_FINAL | ACC_SUPER);
	ck_assert_int_eq(m->access_flags, ACC_STATIC | ACC_PRIVATE);
	ck_assert_slice_eq(member_name(&after, m), SLICE("other"));
	ck_assert_ptr_nonnull(class_method(&after, SLICE("n"), SLICE("()V")));
	const struct class_member *f = class_field(&after, SLICE("f"), SLICE("I"));
	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(class_attribute(&after, &f->attributes, SLICE("Secret")));
	ck_assert_ptr_nonnull(class_attribute(&after, &m->attributes, SLICE("Deprecated")));
	ck_assert_slice_eq(class_attribute(&after, &after.attributes, SLICE("SourceFile"))->body, BYTES(0, 3));
	ck_assert_int_eq(after.attributes.count, 1);
	const struct class_attribute *a = class_attribute(&after, &m->attributes, SLICE("RuntimeVisibleAnnotations"));
	ck_assert_uint_eq(a->body.len, 10);
	ck_assert_slice_eq(pool_utf8(&after.pool, class_be16(a->body.ptr + 2)), SLICE("LA;"));
	ck_assert_slice_eq(pool_utf8(&after.pool, class_be16(a->body.ptr + 6)), SLICE("LB;"));

	/* Again: one more annotation, one attribute away. */
	struct class_file third;
	e = edit_new(&arena, &after);
	edit_annotate(e, m, SLICE("LC;"));
	edit_attribute(e, m, SLICE("Deprecated"), (struct slice){ 0 });
	(void)written(e, &third);
	a = class_attribute(&third, &third.methods.at[0].attributes, SLICE("RuntimeVisibleAnnotations"));
	ck_assert_uint_eq(class_be16(a->body.ptr), 3);
	ck_assert_uint_eq(a->body.len, 14);
	ck_assert_ptr_null(class_attribute(&third, &third.methods.at[0].attributes, SLICE("Deprecated")));
}
END_TEST

START_TEST(mistakes_of_the_caller_are_refused)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct class_file c = make(&(struct made){ 52, BYTES(OP_sipush, 0, 0, OP_return) });
	struct class_edit *e = edit_new(&arena, &c);
	struct errmsg why = { 0 };

	insert(e, 1, EDIT_BEFORE, BYTES(OP_nop));		/* an operand */
	ck_assert_int_eq(edit_write(e, &out, NULL, &why), -EINVAL);
	e = edit_new(&arena, &c);
	edit_replace(e, &c.methods.at[0], 0, BYTES());
	ck_assert_int_eq(edit_write(e, &out, NULL, &why), -EINVAL);
	e = edit_new(&arena, &c);
	insert(e, 0, EDIT_BEFORE, BYTES(OP_nop));
	edit_attribute(e, &c.methods.at[0], SLICE("Code"), BYTES(0));
	ck_assert_int_eq(edit_write(e, &out, NULL, &why), -EINVAL);
	ck_assert_uint_eq(out.len, 0);
}
END_TEST

START_TEST(pieces_are_assembled_in_their_shortest_form)
{
	AUTO_BUF struct buf out = BUF_INIT(1024);
	struct class_file c = make(&(struct made){ 52, BYTES(OP_return) });
	struct class_edit *e = edit_new(&arena, &c);
	struct assembler a = { .edit = e, .out = &out };

	asm_int(&a, -1);
	asm_int(&a, 5);
	asm_int(&a, -128);
	asm_int(&a, 32767);
	ck_assert_slice_eq(buf_slice(&out), BYTES(OP_iconst_m1, OP_iconst_5, OP_bipush, 0x80, OP_sipush, 0x7f, 0xff));
	ck_assert_int_eq(a.depth, 4);
	buf_reset(&out);
	asm_int(&a, 32768);
	asm_local(&a, OP_lstore, 3);
	asm_local(&a, OP_aload, 255);
	asm_local(&a, OP_iload, 256);
	ck_assert_slice_eq(buf_slice(&out), BYTES(OP_ldc, 12, OP_lstore_3, OP_aload, 255, OP_wide, OP_iload, 1, 0));
	ck_assert_int_eq(a.depth, 5);
	for (int32_t i = 0; i < 300; i++)
		(void)edit_integer(e, 100000 + i);
	buf_reset(&out);
	a.depth = a.deepest = 0;
	asm_string(&a, SLICE("x"));
	asm_op(&a, OP_dup);
	asm_op(&a, OP_pop2);
	ck_assert_int_eq(out.ptr[0], OP_ldc_w);
	ck_assert_int_eq(a.deepest, 2);
	ck_assert_int_eq(a.depth, 0);
	buf_reset(&out);
	asm_class(&a, SLICE("T"));
	asm_field(&a, OP_getstatic, SLICE("T"), SLICE("f"), SLICE("J"));
	asm_invoke(&a, OP_invokestatic, SLICE("T"), SLICE("g"), SLICE("(Ljava/lang/Class;J)D"));
	ck_assert_int_eq(a.deepest, 3);
	ck_assert_int_eq(a.depth, 2);
	ck_assert_slice_eq(slice_head(buf_slice(&out), 3), BYTES(OP_ldc, 2, OP_getstatic));
}
END_TEST

START_TEST(short_memory_is_an_error_and_no_crash)
{
	struct class_file c = make(&(struct made){ 52, BYTES(OP_iconst_0, OP_pop, OP_return), .lines = BYTES(0, 1, 0, 0, 0, 7) });
	int err = -ENOMEM;

	for (size_t limit = 256; err != 0; limit += 64) {
		AUTO_ARENA struct arena small = ARENA_INIT(limit);
		AUTO_BUF struct buf out = BUF_INIT(4096);
		struct errmsg why = { 0 };
		struct class_edit *e = edit_new(&small, &c);

		ck_assert_uint_lt(limit, 1u << 20);
		if (e == NULL)
			continue;
		scatter(&arena, e, &c, 1, 1);
		edit_annotate(e, &c.methods.at[0], SLICE("LA;"));
		edit_add_field(e, 0, SLICE("f"), SLICE("I"), (struct slice){ 0 }, 0);
		err = edit_write(e, &out, NULL, &why);
		ck_assert_msg(err == 0 || err == -ENOMEM, "%s", why.text);
	}
}
END_TEST

TEST_MAIN("dvm/edit", what_nobody_touched_is_the_same_bytes, pieces_stand_before_behind_and_where_control_falls_through,
	  a_frame_follows_its_new_and_grows_to_the_long_form, a_switch_keeps_its_alignment,
	  what_follows_a_guarded_range_is_not_guarded_and_what_follows_a_monitorenter_is, a_branch_that_no_longer_reaches_becomes_wide,
	  a_condition_with_a_frame_behind_it_becomes_wide, a_condition_in_a_class_with_frames_moves_pieces_out_or_is_refused, code_of_65535_bytes_is_written_and_one_more_is_refused,
	  a_full_pool_is_refused, an_unknown_attribute_of_code_goes_away_or_refuses, members_and_attributes_are_changed,
	  mistakes_of_the_caller_are_refused, pieces_are_assembled_in_their_shortest_form, short_memory_is_an_error_and_no_crash)
