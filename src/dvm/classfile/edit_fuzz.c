/* Anybody's class, with calls inserted at random: what is written must be readable, all of it. */
#include "base/must.h"
#include "dvm/classfile/edit_scatter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Code that was whole must be whole again. */
static void methods(struct arena *arena, const struct class_file *before, const struct class_file *after)
{
	struct class_fault fault;
	struct code_starts starts;
	struct code code;

	must(after->methods.count >= before->methods.count);
	for (uint32_t i = 0; i < before->methods.count; i++) {
		const struct class_attribute *old = method_code(before, &before->methods.at[i]);
		const struct class_attribute *new = method_code(after, &after->methods.at[i]);

		must((old == NULL) == (new == NULL));
		if (old == NULL || !code_parse(arena, before, old, &code, NULL) || !code_walk(arena, before, &code, &starts, NULL))
			continue;
		must(code_parse(arena, after, new, &code, &fault));
		must(code_walk(arena, after, &code, &starts, &fault));
	}
}

/* The skeleton, as the bits say. */
static void members(struct class_edit *e, const struct class_file *c, unsigned bits)
{
	for (uint32_t i = 0; i < c->methods.count; i++) {
		const struct class_member *m = &c->methods.at[i];

		if (bits & 2) {
			edit_annotate(e, m, SLICE("Lprickle/Probed;"));
			edit_annotate(e, m, SLICE("Lprickle/Twice;"));
		}
		if (bits & 4)
			edit_attribute(e, m, SLICE("RuntimeVisibleAnnotations"), bits & 8 ? SLICE("\0\0") : (struct slice){ 0 });
		if (bits & 8)
			edit_member_access(e, m, ACC_PUBLIC);
		if (bits & 16)
			edit_member_name(e, m, SLICE("other"));
		(void)edit_long(e, (int64_t)i << 33);
	}
	for (uint32_t i = 0; i < c->fields.count && (bits & 8) != 0; i++)
		edit_attribute(e, &c->fields.at[i], SLICE("Deprecated"), SLICE(""));
	if (bits & 32)
		edit_add_field(e, ACC_STATIC, SLICE("field"), SLICE("I"), (struct slice){ 0 }, 0);
	if (bits & 64)
		edit_add_method(e, ACC_ABSTRACT, SLICE("method"), SLICE("()V"), (struct slice){ 0 }, 0);
	if (bits & 128) {
		edit_access(e, ACC_SUPER);
		edit_attribute(e, NULL, SLICE("SourceFile"), SLICE("\0\1"));
	}
	(void)edit_class(e, SLICE("prickle/Probe"));
}

/* Pieces so long that branches do not reach, or that the code is too long; those of calls can be methods of their own. */
static void long_pieces(struct arena *arena, struct class_edit *e, const struct class_file *c, unsigned bits)
{
	static const uint8_t call[] = { OP_iconst_1, OP_invokestatic, 0, 0 };
	uint16_t ref = edit_ref(e, CONSTANT_METHODREF, SLICE("prickle/Probe"), SLICE("number"), SLICE("(I)V"));
	AUTO_BUF struct buf nops = BUF_INIT(1u << 17), calls = BUF_INIT(1u << 17);
	struct code code;
	struct insn in;

	buf_fill(&nops, OP_nop, 12000);
	for (unsigned i = 0; i < 3000; i++) {
		buf_add(&calls, slice_of(call, 2));
		buf_be16(&calls, ref);
	}
	for (uint32_t i = 0; i < c->methods.count; i++) {
		const struct class_member *m = &c->methods.at[i];
		const struct class_attribute *a = method_code(c, m);

		if (a == NULL || !code_parse(arena, c, a, &code, NULL) || !code_next(&code, 0, &in))
			continue;
		for (unsigned n = 0; n < 5; n++) {
			edit_insert(e, m, in.pc, EDIT_BEFORE, (struct edit_piece){ buf_slice(bits & 1 ? &nops : &calls), 1, 0 });
			if (!code_next(&code, in.next, &in))
				break;
		}
		if (bits & 2)
			edit_replace(e, m, 0, slice_of(code.bytes.ptr, 1));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 26);
	AUTO_BUF struct buf out = BUF_INIT(1u << 26), again = BUF_INIT(1u << 26);
	struct class_file c, changed;
	struct class_fault fault;
	struct errmsg why;

	if (size < 2 || !class_parse(&arena, slice_from(slice_of(data, size), 2), &c, &fault))
		return 0;
	/* Nothing changed: the same bytes. */
	struct class_edit *e = edit_new(&arena, &c);
	if (e == NULL || edit_write(e, &again, NULL, &why) != 0)
		return 0;
	must(slice_eq(buf_slice(&again), c.bytes));
	e = edit_new(&arena, &c);
	if (e == NULL)
		return 0;
	edit_flags(e, data[0] & 1 ? EDIT_REFUSE_UNKNOWN : 0);
	scatter(&arena, e, &c, data[0], data[1] % 16u + 1);
	members(e, &c, data[0]);
	if (data[1] & 0x80)
		long_pieces(&arena, e, &c, data[1] >> 4);
	if (edit_write(e, &out, NULL, &why) != 0)
		return 0;
	must(class_parse(&arena, buf_slice(&out), &changed, &fault));
	methods(&arena, &c, &changed);
	/* What was written can be written again. */
	buf_reset(&again);
	e = edit_new(&arena, &changed);
	if (e != NULL && edit_write(e, &again, NULL, &why) == 0)
		must(slice_eq(buf_slice(&again), buf_slice(&out)));
	return 0;
}
