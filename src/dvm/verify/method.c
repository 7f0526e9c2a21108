/*
 * What both verifiers do first with a method: where its instructions begin, its handlers, the types that its caller gives it.
 */
#include "dvm/verify/internal.h"

const char *const opcode_section[256] = {
#define OPCODE(value, name, ...) [value] = "4.10.1.9." #name,
#include "dvm/classfile/opcodes.def"
#undef OPCODE
};

/* Bytes of an instruction by its shape; 0: its bytes tell. */
static const uint8_t shape_length[] = {
	[OPERAND_NONE] = 1,	  [OPERAND_S8] = 2,	   [OPERAND_S16] = 3,	    [OPERAND_LOCAL] = 2,   [OPERAND_IINC] = 3,
	[OPERAND_CONST8] = 2,	  [OPERAND_CONST16] = 3,   [OPERAND_BRANCH16] = 3,  [OPERAND_BRANCH32] = 5, [OPERAND_INTERFACE] = 5,
	[OPERAND_DYNAMIC] = 5,	  [OPERAND_TYPE] = 2,	   [OPERAND_MULTI] = 4,	    [OPERAND_TABLESWITCH] = 0, [OPERAND_LOOKUPSWITCH] = 0,
	[OPERAND_WIDE] = 0,
};
static const uint8_t length_of[256] = {
#define OPCODE(value, name, shape, ...) [value] = OPERAND_##shape + 1,
#include "dvm/classfile/opcodes.def"
#undef OPCODE
};

static int64_t be32_at(const uint8_t *p)
{
	return (int32_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
}

static uint32_t switch_length(const struct code *code, uint32_t pc)
{
	uint32_t table = (pc & ~3u) + 4, left = (uint32_t)code->bytes.len;
	const uint8_t *p = code->bytes.ptr + table;
	int64_t low, high;

	if (code->bytes.ptr[pc] == OP_lookupswitch) {
		if (table + 8 > left)
			return 0;
		high = be32_at(p + 4);
		return high < 0 || high > (left - table - 8) / 8 ? 0 : table + 8 + 8 * (uint32_t)high - pc;
	}
	if (table + 12 > left)
		return 0;
	low = be32_at(p + 4);
	high = be32_at(p + 8);
	return low > high || high - low + 1 > (left - table - 12) / 4 ? 0 : table + 12 + 4 * (uint32_t)(high - low + 1) - pc;
}

static uint32_t wide_length(const struct code *code, uint32_t pc)
{
	uint8_t op = pc + 1 < code->bytes.len ? code->bytes.ptr[pc + 1] : OP_nop;

	if (op == OP_iinc)
		return 6;
	return (op >= OP_iload && op <= OP_aload) || (op >= OP_istore && op <= OP_astore) || op == OP_ret ? 4 : 0;
}

uint32_t opcode_length(const struct code *code, uint32_t pc)
{
	uint8_t op = code->bytes.ptr[pc], shape = length_of[op];
	uint32_t n;

	if (shape == 0)
		return 0;
	n = shape_length[shape - 1];
	if (n == 0)
		n = op == OP_wide ? wide_length(code, pc) : switch_length(code, pc);
	return n > code->bytes.len - pc ? 0 : n;
}

/* 4.9.1: instructions follow one another to the end of the code. */
bool method_starts(struct verifier *v)
{
	uint32_t length = (uint32_t)v->code->bytes.len, n;

	if (!verify_room(v, (void **)&v->at, &v->at_room, length + 1, sizeof(*v->at)))
		return false;
	memset(v->at, 0, ((size_t)length + 1) * sizeof(*v->at));
	for (uint32_t pc = 0; pc < length; pc += n) {
		n = opcode_length(v->code, pc);
		if (unlikely(n == 0)) {
			v->pc = pc;
			return refuse(v, "4.9.1", "no whole instruction stands there (opcode %u)", v->code->bytes.ptr[pc]);
		}
		v->at[pc] = 1;
	}
	return true;
}

static bool is_start(const struct verifier *v, uint32_t pc)
{
	return pc < v->code->bytes.len && v->at[pc] != 0;
}

/* 4.7.3 and 4.10.1.6: handlers begin and end at instructions and catch Throwables. */
bool method_handlers(struct verifier *v)
{
	uint32_t n = code_handlers(v->code), length = (uint32_t)v->code->bytes.len;
	char name[TYPE_TEXT_BYTES];

	v->handler_count = 0;
	v->handlers_from = length;
	v->handlers_to = 0;
	if (n == 0)
		return true;
	if (!verify_room(v, (void **)&v->handlers, &v->handler_room, n, sizeof(*v->handlers)))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		struct code_handler h = code_handler(v->code, i);
		vtype type = h.type == 0 ? v->throwable : type_of_class(v, h.type);

		v->pc = h.handler;
		if (!is_start(v, h.start) || !is_start(v, h.handler) || (h.end != length && !is_start(v, h.end)))
			return refuse_format(v, "4.7.3", "row %u of the exception table (%u to %u, handler %u) does not stand at instructions", i, h.start,
					     h.end, h.handler);
		if (type == TYPE_TOP)
			return false;
		if (!assignable(v, type, v->throwable))
			return refuse(v, "4.10.1.6", "a handler catches %s, which is no Throwable", type_text(v, type, name));
		v->handlers[i] = (struct handler){ h.start, h.end, h.handler, type };
		v->handlers_from = MIN(v->handlers_from, h.start);
		v->handlers_to = MAX(v->handlers_to, h.end);
	}
	v->handler_count = n;
	return true;
}

/* 4.10.1.6, methodInitialStackFrame: what the caller gives. */
void method_enter(struct verifier *v)
{
	uint32_t n = 0;

	v->flag_this = false;
	v->depth = 0;
	if (!v->is_static) {
		v->flag_this = v->is_init && v->this_type != v->object;
		v->locals[n++] = v->flag_this ? TYPE_UNINITIALIZED_THIS : v->this_type;
	}
	for (uint32_t i = 0; i < v->shape->words && n < v->max_locals; i++)
		v->locals[n++] = v->shape->types[i];
	v->locals_size = n;
	for (; n < v->max_locals; n++)
		v->locals[n] = TYPE_TOP;
}

bool method_begin(struct verifier *v)
{
	const struct class_member *m = &v->c->methods.at[v->method];

	v->is_static = format_method_static(v->c, m);
	v->is_init = slice_eq(member_name(v->c, m), SLICE("<init>"));
	v->shape = shape_of(v, m->descriptor);
	v->max_locals = v->code->max_locals;
	v->max_stack = v->code->max_stack;
	v->wide = false;
	if (v->shape == NULL || !verify_room(v, (void **)&v->locals, &v->locals_room, v->max_locals + 2, sizeof(vtype)) ||
	    !verify_room(v, (void **)&v->stack, &v->stack_room, v->max_stack + 2, sizeof(vtype)))
		return false;
	method_enter(v);
	v->locals_changed = true;
	v->next_range = 0;
	v->result->methods++;
	return true;
}
