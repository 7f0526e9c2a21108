/* Pieces of code, assembled. */
#include "base/must.h"
#include "dvm/classfile/descriptor.h"
#include "dvm/classfile/edit.h"

static void push(struct assembler *a, int32_t words)
{
	a->depth += words;
	if (a->depth > a->deepest)
		a->deepest = a->depth;
}

static int32_t words_of(const char *types)
{
	int32_t words = 0;

	for (; *types != '\0'; types++)
		words += *types == 'J' || *types == 'D' ? 2 : 1;
	return words;
}

void asm_op(struct assembler *a, uint8_t op)
{
	const struct opcode_info *info = &opcode_table[op];

	must(info->shape == OPERAND_NONE);
	buf_addc(a->out, op);
	switch (op) {
	case OP_pop:
		push(a, -1);
		break;
	case OP_pop2:
		push(a, -2);
		break;
	case OP_dup:
	case OP_dup_x1:
	case OP_dup_x2:
		push(a, 1);
		break;
	case OP_dup2:
	case OP_dup2_x1:
	case OP_dup2_x2:
		push(a, 2);
		break;
	case OP_swap:
		break;
	default:
		push(a, -words_of(info->pops));
		push(a, words_of(info->pushes));
	}
}

static void asm_constant(struct assembler *a, uint16_t index)
{
	if (index < 256) {
		buf_addc(a->out, OP_ldc);
		buf_addc(a->out, (uint8_t)index);
	} else {
		buf_addc(a->out, OP_ldc_w);
		buf_be16(a->out, index);
	}
	push(a, 1);
}

void asm_int(struct assembler *a, int32_t value)
{
	if (value >= -1 && value <= 5) {
		asm_op(a, (uint8_t)(OP_iconst_0 + value));
	} else if (value >= INT8_MIN && value <= INT8_MAX) {
		buf_addc(a->out, OP_bipush);
		buf_addc(a->out, (uint8_t)value);
		push(a, 1);
	} else if (value >= INT16_MIN && value <= INT16_MAX) {
		buf_addc(a->out, OP_sipush);
		buf_be16(a->out, (uint16_t)value);
		push(a, 1);
	} else {
		asm_constant(a, edit_integer(a->edit, value));
	}
}

void asm_string(struct assembler *a, struct slice text)
{
	asm_constant(a, edit_string(a->edit, text));
}

void asm_class(struct assembler *a, struct slice name)
{
	asm_constant(a, edit_class(a->edit, name));
}

void asm_local(struct assembler *a, uint8_t op, uint16_t index)
{
	bool load = op >= OP_iload && op <= OP_aload;

	must(load || (op >= OP_istore && op <= OP_astore));
	if (index < 4) {
		buf_addc(a->out, (uint8_t)((load ? OP_iload_0 + 4 * (op - OP_iload) : OP_istore_0 + 4 * (op - OP_istore)) + index));
	} else if (index < 256) {
		buf_addc(a->out, op);
		buf_addc(a->out, (uint8_t)index);
	} else {
		buf_addc(a->out, OP_wide);
		buf_addc(a->out, op);
		buf_be16(a->out, index);
	}
	push(a, -words_of(opcode_table[op].pops));
	push(a, words_of(opcode_table[op].pushes));
}

void asm_invoke(struct assembler *a, uint8_t op, struct slice owner, struct slice name, struct slice descriptor)
{
	struct method_shape shape;

	must(op >= OP_invokevirtual && op <= OP_invokestatic);
	must(descriptor_method(descriptor, &shape));
	buf_addc(a->out, op);
	buf_be16(a->out, edit_ref(a->edit, CONSTANT_METHODREF, owner, name, descriptor));
	push(a, -(int32_t)shape.words - (op == OP_invokestatic ? 0 : 1));
	push(a, (int32_t)type_words((char)shape.result.ptr[0]));
}

void asm_field(struct assembler *a, uint8_t op, struct slice owner, struct slice name, struct slice descriptor)
{
	int32_t words = (int32_t)type_words((char)descriptor.ptr[0]);

	must(op >= OP_getstatic && op <= OP_putfield);
	buf_addc(a->out, op);
	buf_be16(a->out, edit_ref(a->edit, CONSTANT_FIELDREF, owner, name, descriptor));
	if (op == OP_getfield || op == OP_putfield)
		push(a, -1);
	push(a, op == OP_getstatic || op == OP_getfield ? words : -words);
}
