#include "dvm/classfile/descriptor.h"
#include "dvm/classfile/edit_private.h"

#include <errno.h>

static void moved(struct assembler *a, int32_t pops, int32_t pushes)
{
	a->depth += pushes - pops;
	if (a->depth > a->deepest)
		a->deepest = a->depth;
	if (a->out->err != 0)
		edit_fail(a->edit, a->out->err == -ENOMEM ? -ENOMEM : -EFBIG, "a piece of code is too long");
}

static int32_t words(const char *types)
{
	int32_t n = 0;

	for (; *types != '\0'; types++)
		n += *types == 'J' || *types == 'D' ? 2 : 1;
	return n;
}

void asm_op(struct assembler *a, uint8_t op)
{
	/* Those whose rows cannot say it in types. */
	static const int8_t words_of[] = {
		[OP_pop] = -1, [OP_pop2] = -2, [OP_dup] = 1, [OP_dup_x1] = 1, [OP_dup_x2] = 1, [OP_dup2] = 2, [OP_dup2_x1] = 2, [OP_dup2_x2] = 2, [OP_swap] = 0,
	};

	buf_addc(a->out, op);
	if (op >= OP_pop && op <= OP_swap)
		moved(a, 0, words_of[op]);
	else
		moved(a, words(opcode_table[op].pops), words(opcode_table[op].pushes));
}

/* ldc of a constant of one word. */
static void load(struct assembler *a, uint16_t index)
{
	if (index < 256) {
		buf_addc(a->out, OP_ldc);
		buf_addc(a->out, (uint8_t)index);
	} else {
		buf_addc(a->out, OP_ldc_w);
		buf_be16(a->out, index);
	}
	moved(a, 0, 1);
}

void asm_int(struct assembler *a, int32_t value)
{
	if (value >= -1 && value <= 5) {
		asm_op(a, (uint8_t)(OP_iconst_0 + value));
		return;
	}
	if (value < INT16_MIN || value > INT16_MAX) {
		load(a, edit_integer(a->edit, value));
		return;
	}
	if (value >= INT8_MIN && value <= INT8_MAX) {
		buf_addc(a->out, OP_bipush);
		buf_addc(a->out, (uint8_t)value);
	} else {
		buf_addc(a->out, OP_sipush);
		buf_be16(a->out, (uint16_t)value);
	}
	moved(a, 0, 1);
}

void asm_string(struct assembler *a, struct slice text)
{
	load(a, edit_string(a->edit, text));
}

void asm_class(struct assembler *a, struct slice name)
{
	load(a, edit_class(a->edit, name));
}

void asm_local(struct assembler *a, uint8_t op, uint16_t index)
{
	if (op <= OP_aload && op >= OP_iload && index < 4) {
		buf_addc(a->out, (uint8_t)(OP_iload_0 + 4 * (op - OP_iload) + index));
	} else if (op <= OP_astore && op >= OP_istore && index < 4) {
		buf_addc(a->out, (uint8_t)(OP_istore_0 + 4 * (op - OP_istore) + index));
	} else if (index < 256) {
		buf_addc(a->out, op);
		buf_addc(a->out, (uint8_t)index);
	} else {
		buf_addc(a->out, OP_wide);
		buf_addc(a->out, op);
		buf_be16(a->out, index);
	}
	moved(a, words(opcode_table[op].pops), words(opcode_table[op].pushes));
}

void asm_invoke(struct assembler *a, uint8_t op, struct slice owner, struct slice name, struct slice descriptor)
{
	struct method_shape shape;
	enum constant_tag tag = op == OP_invokeinterface ? CONSTANT_INTERFACE_METHODREF : CONSTANT_METHODREF;

	if (!descriptor_method(descriptor, &shape)) {
		edit_fail(a->edit, -EINVAL, "no descriptor of a method");
		return;
	}
	int32_t pops = shape.words + (op == OP_invokestatic ? 0 : 1);
	buf_addc(a->out, op);
	buf_be16(a->out, edit_ref(a->edit, tag, owner, name, descriptor));
	if (op == OP_invokeinterface) {
		buf_addc(a->out, (uint8_t)pops);
		buf_addc(a->out, 0);
	}
	moved(a, pops, (int32_t)type_words((char)shape.result.ptr[0]));
}

void asm_field(struct assembler *a, uint8_t op, struct slice owner, struct slice name, struct slice descriptor)
{
	int32_t value = descriptor.len == 0 ? 0 : (int32_t)type_words((char)descriptor.ptr[0]);
	int32_t object = op == OP_getfield || op == OP_putfield;
	bool reads = op == OP_getfield || op == OP_getstatic;

	buf_addc(a->out, op);
	buf_be16(a->out, edit_ref(a->edit, CONSTANT_FIELDREF, owner, name, descriptor));
	moved(a, object + (reads ? 0 : value), reads ? value : 0);
}
