#include "dvm/classfile/code.h"

#include "base/reader.h"
#include "dvm/classfile/classfile_limits.h"

const struct opcode_info opcode_table[256] = {
#define OPCODE(value, name, shape, local, pops, pushes) [value] = { #name, OPERAND_##shape, local, pops, pushes },
#include "dvm/classfile/opcodes.def"
#undef OPCODE
	[202 ... 255] = { NULL, OPERAND_BAD, 255, "", "" },
};

/* Bytes of an instruction by the shape of its operands; 0: it says so itself, or there is none. */
enum shape_bytes {
	BYTES_NONE = 1,
	BYTES_S8 = 2,
	BYTES_S16 = 3,
	BYTES_LOCAL = 2,
	BYTES_IINC = 3,
	BYTES_CONST8 = 2,
	BYTES_CONST16 = 3,
	BYTES_BRANCH16 = 3,
	BYTES_BRANCH32 = 5,
	BYTES_INTERFACE = 5,
	BYTES_DYNAMIC = 5,
	BYTES_TYPE = 2,
	BYTES_MULTI = 4,
	BYTES_TABLESWITCH = 0,
	BYTES_LOOKUPSWITCH = 0,
	BYTES_WIDE = 0,
};

/* The same by opcode, 256 bytes in four cache lines: a walk waits for this look-up at every instruction. */
static const uint8_t insn_bytes_table[256] = {
#define OPCODE(value, name, shape, ...) [value] = BYTES_##shape,
#include "dvm/classfile/opcodes.def"
#undef OPCODE
};

/* Shapes alone, for the same reason: rows of opcode_table are 32 bytes. */
static const uint8_t shape_table[256] = {
#define OPCODE(value, name, shape, ...) [value] = OPERAND_##shape,
#include "dvm/classfile/opcodes.def"
#undef OPCODE
	[202 ... 255] = OPERAND_BAD,
};

bool code_parse(struct arena *arena, const struct class_file *c, const struct class_attribute *attribute, struct code *out, struct class_fault *fault)
{
	struct reader r = reader_of(attribute->body);
	uint32_t offset = attribute->offset + 6;
	struct code code = { .max_stack = rd_be16(&r), .max_locals = rd_be16(&r) };
	uint32_t length = rd_be32(&r);

	if (r.bad || length == 0 || length > CLASS_CODE_BYTES_MAX)
		return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.7.3", offset + 4, "code_length is %u, expected 1 to %d", length,
				       CLASS_CODE_BYTES_MAX);
	code.offset = offset + 8;
	code.bytes = rd_bytes(&r, length);
	uint32_t count = rd_be16(&r);
	uint32_t table = code.offset + length + 2;
	code.handlers = rd_bytes(&r, 8u * count);
	if (r.bad)
		return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.7.3", offset, "the Code attribute ends within its code or exception table");
	for (uint32_t i = 0; i < count; i++) {
		struct code_handler h = code_handler(&code, i);

		if (unlikely(h.start >= h.end || h.end > length))
			return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.7.3", table + 8 * i,
					       "exception handler %u covers %u to %u, expected a range within %u bytes of code", i, h.start, h.end, length);
		if (unlikely(h.handler >= length))
			return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.7.3", table + 8 * i + 4,
					       "exception handler %u begins at %u, expected a pc below %u", i, h.handler, length);
		if (unlikely(h.type != 0 && !pool_is(&c->pool, h.type, CONSTANT_CLASS)))
			return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.7.3", table + 8 * i + 6, "catch_type %u is %s: expected Class or 0", h.type,
					       constant_tag_name(pool_tag(&c->pool, h.type)));
	}
	if (!class_attributes_parse(arena, &c->pool, &r, &code.attributes, fault))
		return false;
	if (rd_left(&r) > 0)
		return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.7.3", offset, "%zu bytes follow in the Code attribute", rd_left(&r));
	*out = code;
	return true;
}

const struct class_attribute *method_code(const struct class_file *c, const struct class_member *m)
{
	return class_attribute(c, &m->attributes, SLICE("Code"));
}

struct code_handler code_handler(const struct code *code, uint32_t i)
{
	if (i >= code_handlers(code))
		return (struct code_handler){ 0 };
	const uint8_t *at = code->handlers.ptr + 8u * i;
	return (struct code_handler){ class_be16(at), class_be16(at + 2), class_be16(at + 4), class_be16(at + 6) };
}

static int32_t s32(const uint8_t *at)
{
	return (int32_t)class_be32(at);
}

static int16_t s16(const uint8_t *at)
{
	return (int16_t)class_be16(at);
}

/* Bytes of the switch at pc, or 0 when it does not end in the code. *cases is where its table begins, *pairs how many it has. */
static uint32_t switch_bytes(struct slice code, uint32_t pc, uint32_t *cases, uint32_t *pairs)
{
	uint32_t at = (pc + 4) & ~3u;
	bool table = code.ptr[pc] == OP_tableswitch;
	uint32_t head = table ? 12 : 8;
	int64_t count;

	if (code.len < at || code.len - at < head)
		return 0;
	if (table)
		count = (int64_t)s32(code.ptr + at + 8) - s32(code.ptr + at + 4) + 1;
	else
		count = s32(code.ptr + at + 4);
	/* No empty tableswitch: HotSpot and the JVMS ask low <= high. */
	if (count < (table ? 1 : 0) || count > (int64_t)((code.len - at - head) / (table ? 4 : 8)))
		return 0;
	*cases = at + head;
	*pairs = (uint32_t)count;
	return at + head + (uint32_t)count * (table ? 4 : 8) - pc;
}

static bool next_switch(struct slice code, uint32_t pc, struct insn *out)
{
	uint32_t cases = 0, pairs = 0;
	uint32_t size = switch_bytes(code, pc, &cases, &pairs);
	const uint8_t *head = code.ptr + ((pc + 4) & ~3u);

	if (size == 0)
		return false;
	out->next = pc + size;
	out->fallback = (int64_t)pc + s32(head);
	out->pairs = pairs;
	out->table = slice_of(code.ptr + cases, pc + size - cases);
	if (out->op == OP_tableswitch) {
		out->low = s32(head + 4);
		out->high = s32(head + 8);
	}
	return true;
}

static bool next_wide(struct slice code, uint32_t pc, struct insn *out)
{
	const uint8_t *at = code.ptr + pc;
	size_t left = code.len - pc;

	if (left < 4)
		return false;
	enum operand_shape shape = opcode_table[at[1]].shape;
	if (shape != OPERAND_LOCAL && (shape != OPERAND_IINC || left < 6))
		return false;
	out->op = at[1];
	out->wide = true;
	out->index = class_be16(at + 2);
	if (shape == OPERAND_IINC)
		out->value = s16(at + 4);
	out->next = pc + (shape == OPERAND_IINC ? 6 : 4);
	return true;
}

bool code_next(const struct code *code, uint32_t pc, struct insn *out)
{
	if (pc >= code->bytes.len)
		return false;
	const uint8_t *at = code->bytes.ptr + pc;
	uint32_t size = insn_bytes_table[at[0]];

	*out = (struct insn){ .pc = pc, .op = at[0], .next = pc + size };
	if (unlikely(size == 0)) {
		if (shape_table[at[0]] == OPERAND_WIDE)
			return next_wide(code->bytes, pc, out);
		return shape_table[at[0]] != OPERAND_BAD && next_switch(code->bytes, pc, out);
	}
	if (unlikely(code->bytes.len - pc < size))
		return false;
	switch (shape_table[at[0]]) {
	case OPERAND_NONE:
		if (opcode_table[at[0]].local != 255)
			out->index = opcode_table[at[0]].local;
		break;
	case OPERAND_S8:
		out->value = (int8_t)at[1];
		break;
	case OPERAND_S16:
		out->value = s16(at + 1);
		break;
	case OPERAND_LOCAL:
	case OPERAND_CONST8:
		out->index = at[1];
		break;
	case OPERAND_IINC:
		out->index = at[1];
		out->value = (int8_t)at[2];
		break;
	case OPERAND_CONST16:
	case OPERAND_DYNAMIC:
		out->index = class_be16(at + 1);
		break;
	case OPERAND_INTERFACE:
	case OPERAND_MULTI:
		out->index = class_be16(at + 1);
		out->value = at[3];
		break;
	case OPERAND_BRANCH16:
		out->target = (int64_t)pc + s16(at + 1);
		break;
	case OPERAND_BRANCH32:
		out->target = (int64_t)pc + s32(at + 1);
		break;
	case OPERAND_TYPE:
		out->value = at[1];
		break;
	default:
		break;
	}
	return true;
}

int32_t insn_match(const struct insn *in, uint32_t i)
{
	if (i >= in->pairs)
		return 0;
	return in->op == OP_tableswitch ? (int32_t)((int64_t)in->low + i) : s32(in->table.ptr + 8u * i);
}

int64_t insn_target(const struct insn *in, uint32_t i)
{
	if (i >= in->pairs)
		return in->fallback;
	return (int64_t)in->pc + s32(in->table.ptr + (in->op == OP_tableswitch ? 4u * i : 8u * i + 4));
}

bool insn_branches(const struct insn *in)
{
	return opcode_table[in->op].shape == OPERAND_BRANCH16 || opcode_table[in->op].shape == OPERAND_BRANCH32;
}

bool insn_ends(uint8_t op)
{
	switch (op) {
	case OP_goto:
	case OP_goto_w:
	case OP_ret:
	case OP_tableswitch:
	case OP_lookupswitch:
	case OP_ireturn:
	case OP_lreturn:
	case OP_freturn:
	case OP_dreturn:
	case OP_areturn:
	case OP_return:
	case OP_athrow:
		return true;
	default:
		return false;
	}
}

/* The bytes of an instruction that says itself how long it is; 0: it does not end in the code, or is none. */
static uint32_t odd_bytes(struct slice code, uint32_t pc)
{
	struct insn in = { .pc = pc, .op = code.ptr[pc] };

	switch (opcode_table[in.op].shape) {
	case OPERAND_TABLESWITCH:
	case OPERAND_LOOKUPSWITCH:
		return next_switch(code, pc, &in) ? in.next - pc : 0;
	case OPERAND_WIDE:
		return next_wide(code, pc, &in) ? in.next - pc : 0;
	default:
		return 0;
	}
}

static bool no_instruction(const struct code *code, uint32_t pc, struct class_fault *fault)
{
	uint8_t op = code->bytes.ptr[pc];

	if (opcode_table[op].name == NULL)
		class_fault_set(fault, CLASS_FAULT_VERIFY, "4.9.1", code->offset + pc, "byte 0x%02x is no opcode", op);
	else
		class_fault_set(fault, CLASS_FAULT_VERIFY, "4.9.1", code->offset + pc, "the operands of %s do not end in the code, or are malformed",
				opcode_table[op].name);
	if (fault != NULL)
		fault->pc = (int32_t)pc;
	return false;
}

bool code_walk(struct arena *arena, const struct class_file *c, const struct code *code, struct code_starts *out, struct class_fault *fault)
{
	uint32_t length = (uint32_t)code->bytes.len, pc = 0;
	uint64_t *bits = arena_array(arena, length / 64 + 1, sizeof(*bits));

	if (bits == NULL)
		return class_fault_set(fault, CLASS_FAULT_LIMIT, "4.7.3", code->offset, "no memory for the starts of %u bytes of code", length);
	while (pc < length) {
		uint64_t word = 0;
		uint32_t first = pc / 64;

		/* One word of bits at a time, in a register. */
		do {
			uint32_t size = insn_bytes_table[code->bytes.ptr[pc]];

			if (unlikely(size == 0))
				size = odd_bytes(code->bytes, pc);
			if (unlikely(size == 0 || length - pc < size))
				return no_instruction(code, pc, fault);
			word |= 1ull << (pc % 64);
			pc += size;
		} while (pc / 64 == first && pc < length);
		bits[first] = word;
	}
	*out = (struct code_starts){ bits, length };
	return true;
}
