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

		if (bits & 2)
			edit_annotate(e, m, SLICE("Lprickle/Probed;"));
		if (bits & 4)
			edit_attribute(e, m, SLICE("RuntimeVisibleAnnotations"), bits & 8 ? SLICE("\0\0") : (struct slice){ 0 });
		if (bits & 8)
			edit_member_access(e, m, ACC_PUBLIC);
		if (bits & 16)
			edit_member_name(e, m, SLICE("other"));
		(void)edit_long(e, (int64_t)i << 33);
	}
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
