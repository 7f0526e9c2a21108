#include <stdio.h>

#include "dvm/classfile/print_internal.h"

static const char *const array_types[] = { "boolean", "char", "float", "double", "byte", "short", "int", "long" };	/* from code 4 */

static bool has_constant(enum operand_shape shape)
{
	return shape == OPERAND_CONST8 || shape == OPERAND_CONST16 || shape == OPERAND_INTERFACE || shape == OPERAND_DYNAMIC || shape == OPERAND_MULTI;
}

static void json_insn(struct show *s, const struct insn *in)
{
	enum operand_shape shape = opcode_table[in->op].shape;

	show_object(s, NULL);
	show_number(s, "pc", in->pc);
	show_word(s, "op", opcode_table[in->op].name);
	if (in->wide)
		show_flag(s, "wide");
	if (has_constant(shape)) {
		show_number(s, "constant", in->index);
		show_constant(s, "ref", in->index);
	}
	if (shape == OPERAND_LOCAL || shape == OPERAND_IINC)
		show_number(s, "local", in->index);
	if (shape == OPERAND_S8 || shape == OPERAND_S16 || shape == OPERAND_IINC || shape == OPERAND_TYPE || shape == OPERAND_INTERFACE ||
	    shape == OPERAND_MULTI)
		show_number(s, "value", in->value);
	if (insn_branches(in))
		show_number(s, "target", in->target);
	if (in->op == OP_tableswitch || in->op == OP_lookupswitch) {
		show_list(s, "cases");
		for (uint32_t i = 0; i < in->pairs; i++) {
			show_list(s, NULL);
			show_number(s, NULL, insn_match(in, i));
			show_number(s, NULL, insn_target(in, i));
			show_end(s);
		}
		show_end(s);
		show_number(s, "default", in->fallback);
	}
	show_end(s);
}

static void text_insn(struct show *s, const struct insn *in)
{
	enum operand_shape shape = opcode_table[in->op].shape;
	struct buf *out = s->out;

	buf_addc(out, '\n');
	buf_fill(out, ' ', 2u * s->block);
	buf_printf(out, "%5u: %s%s", in->pc, in->wide ? "wide " : "", opcode_table[in->op].name);
	if (has_constant(shape))
		buf_printf(out, " #%u", in->index);
	if (shape == OPERAND_LOCAL || shape == OPERAND_IINC)
		buf_printf(out, " %u", in->index);
	if (shape == OPERAND_TYPE && in->value >= 4 && in->value <= 11)
		buf_printf(out, " %s", array_types[in->value - 4]);
	else if (shape == OPERAND_S8 || shape == OPERAND_S16 || shape == OPERAND_IINC || shape == OPERAND_TYPE || shape == OPERAND_INTERFACE ||
		 shape == OPERAND_MULTI)
		buf_printf(out, " %d", in->value);
	if (insn_branches(in))
		buf_printf(out, " %lld", (long long)in->target);
	if (has_constant(shape)) {
		buf_printf(out, "  // %s ", constant_tag_name(pool_tag(&s->c->pool, in->index)));
		show_constant_text(s, out, in->index);
	}
	if (in->op != OP_tableswitch && in->op != OP_lookupswitch)
		return;
	for (uint32_t i = 0; i < in->pairs && out->err == 0; i++) {
		buf_addc(out, '\n');
		buf_fill(out, ' ', 2u * s->block);
		buf_printf(out, "%18d: %lld", insn_match(in, i), (long long)insn_target(in, i));
	}
	buf_addc(out, '\n');
	buf_fill(out, ' ', 2u * s->block);
	buf_printf(out, "%18s: %lld", "default", (long long)in->fallback);
}

static void show_instructions(struct show *s, const struct code *code)
{
	uint32_t pc = 0;
	struct insn in;

	show_list(s, "instructions");
	for (; pc < code->bytes.len && s->out->err == 0 && code_next(code, pc, &in); pc = in.next) {
		if (show_json(s))
			json_insn(s, &in);
		else
			text_insn(s, &in);
	}
	show_end(s);
	if (pc < code->bytes.len && s->out->err == 0)
		show_number(s, "malformed_at", pc);
}

static void show_handlers(struct show *s, const struct code *code)
{
	if (code_handlers(code) == 0)
		return;
	show_list(s, "handlers");
	for (uint32_t i = 0; i < code_handlers(code); i++) {
		struct code_handler h = code_handler(code, i);

		show_object(s, NULL);
		show_number(s, "start", h.start);
		show_number(s, "end", h.end);
		show_number(s, "handler", h.handler);
		if (h.type == 0)
			show_word(s, "type", "any");
		else
			show_constant(s, "type", h.type);
		show_end(s);
	}
	show_end(s);
}

void show_code(struct show *s, const char *key, const struct class_attribute *a)
{
	struct class_fault fault;
	struct code code;

	if (!code_parse(s->arena, s->c, a, &code, &fault)) {
		show_text(s, key, slice_str(fault.text));
		return;
	}
	show_object(s, key);
	show_number(s, "max_stack", code.max_stack);
	show_number(s, "max_locals", code.max_locals);
	show_number(s, "code_bytes", (int64_t)code.bytes.len);
	if (s->flags & CLASS_PRINT_CODE) {
		show_instructions(s, &code);
		show_handlers(s, &code);
		show_attributes(s, &code.attributes);
	}
	show_end(s);
}

static void show_type(struct show *s, const struct frame_type *t)
{
	static const char *const names[] = { "top", "int", "float", "double", "long", "null", "uninitializedThis", NULL, NULL };
	char text[40];

	if (t->tag == FRAME_OBJECT) {
		show_constant(s, NULL, t->value);
	} else if (t->tag == FRAME_UNINITIALIZED) {
		(void)snprintf(text, sizeof(text), "uninitialized@%u", t->value);
		show_word(s, NULL, text);
	} else {
		show_word(s, NULL, names[t->tag]);
	}
}

static void show_types(struct show *s, const char *key, struct slice types)
{
	struct frame_type t;

	if (types.len == 0)
		return;
	show_list(s, key);
	while (s->out->err == 0 && frame_type_next(&types, &t))
		show_type(s, &t);
	show_end(s);
}

static const char *frame_kind(uint8_t type)
{
	return type < 64 ? "same" : type < 128 ? "same_locals_1_stack_item" : type == 247 ? "same_locals_1_stack_item_extended" :
	       type < 251 ? "chop" : type == 251 ? "same_extended" : type < 255 ? "append" : "full";
}

void show_frames(struct show *s, const char *key, struct slice body)
{
	struct frames f;
	struct frame frame;

	if (!frames_open(body, &f)) {
		show_malformed(s, key);
		return;
	}
	show_list(s, key);
	while (s->out->err == 0 && frames_next(&f, &frame)) {
		show_object(s, NULL);
		show_number(s, "pc", frame.pc);
		show_word(s, "frame", frame_kind(frame.type));
		if (frame.chop > 0)
			show_number(s, "chop", frame.chop);
		show_types(s, "locals", frame.local_types);
		show_types(s, "stack", frame.stack_types);
		show_end(s);
	}
	if (f.left > 0)
		show_malformed(s, NULL);
	show_end(s);
}
