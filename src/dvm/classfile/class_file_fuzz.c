/* A class file from anybody: parsed, all of it walked and printed, names and descriptors judged. */
#include "dvm/classfile/attribute.h"
#include "dvm/classfile/descriptor.h"
#include "dvm/classfile/print.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void members(struct arena *arena, const struct class_file *c, const struct class_members *list)
{
	struct method_shape shape;
	struct slice type;

	for (uint32_t i = 0; i < list->count; i++) {
		struct slice name = member_name(c, &list->at[i]), text = member_descriptor(c, &list->at[i]);

		(void)name_method_valid(name, c->major);
		(void)name_field_valid(name, c->major);
		(void)descriptor_field_valid(text, c->major);
		(void)descriptor_method_valid(text, false, c->major);
		if (class_method(c, name, text) == NULL && class_field(c, name, text) == NULL)
			__builtin_trap();
		const struct class_attribute *a = method_code(c, &list->at[i]);
		struct code code;
		struct insn in;
		if (a != NULL && code_parse(arena, c, a, &code, NULL))
			for (uint32_t pc = 0; code_next(&code, pc, &in); pc = in.next)
				if (in.next <= pc || (insn_ends(in.op) && insn_branches(&in) && in.op != OP_goto && in.op != OP_goto_w))
					__builtin_trap();
		if (descriptor_method(text, &shape))
			while (descriptor_next(&shape.parameters, &type) != '\0')
				;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);
	struct class_totals totals = { 0 };
	struct class_fault fault;
	struct class_file c;
	struct pool_ref ref;

	if (!class_parse(&arena, slice_of(data, size), &c, &fault))
		return 0;
	for (uint32_t i = 0; i < c.pool.count; i++) {
		(void)utf8_modified_valid(pool_utf8(&c.pool, i), c.major);
		(void)name_class_valid(pool_name(&c.pool, i), true, c.major);
		(void)pool_ref(&c.pool, i, &ref);
		(void)pool_bits(&c.pool, i);
		(void)pool_size(&c.pool, i);
	}
	members(&arena, &c, &c.fields);
	members(&arena, &c, &c.methods);
	(void)class_walk(&arena, &c, &totals, &fault);
	for (unsigned json = 0; json <= CLASS_PRINT_JSON; json++) {
		AUTO_BUF struct buf out = BUF_INIT(1u << 20);

		class_print(&arena, &out, &c, json | CLASS_PRINT_CODE | CLASS_PRINT_CONSTANTS);
	}
	return 0;
}
