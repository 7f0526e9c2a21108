/*
 * Classic BPF to eBPF: A is R8, X is R9, both as 32-bit values; scratch words lie on the stack.
 *
 * Each load asks the context for the frame's ends again instead of keeping them in registers: then no state of
 * the verifier differs at the places where paths meet but for A and X, and its work stays linear.
 */
#include <linux/filter.h>

#include "base/attr.h"
#include "spine/code/guard.h"
#include "spine/code/program.h"
#include "spine/code/rule_term.h"

#define SCRATCH_WORDS 16
/* The verifier follows offsets in packets up to 64 KiB. */
#define OFFSET_MAX    0xff00
#define GET_BUFF_LEN  188		/* BPF_FUNC_xdp_get_buff_len */

enum { A = BPF_REG_8, X = BPF_REG_9, CTX = BPF_REG_6, CPU = BPF_REG_7 };

struct guard {
	struct program *p;
	const struct guard_insn *insns;
	size_t count;
	program_label labels[RULE_GUARD_INSNS_MAX];
	program_label miss, end;	/* R8 = 0 and on; R8 is set */
	int16_t length_at;
};

static void alu32(struct program *p, uint8_t op, uint8_t dst, int32_t imm)
{
	p_insn(p, BPF_ALU | op | BPF_K, dst, 0, 0, imm);
}

static void alu32_reg(struct program *p, uint8_t op, uint8_t dst, uint8_t src)
{
	p_insn(p, BPF_ALU | op | BPF_X, dst, src, 0, 0);
}

/* A jump that is always taken, but the kernel shall see a way to the code behind it: it refuses dead code. */
static void always(struct program *p, program_label label)
{
	p_mov_imm(p, 4, 1);
	p_jump_imm(p, BPF_JNE, true, 4, 0, label);
}

static int16_t scratch(uint32_t word)
{
	return (int16_t)(-(int)(4 * SCRATCH_WORDS) + 4 * (int)word);
}

/* dst = the big-endian value of `size` at R2, which is an offset into the frame when `indexed`, at k. */
static void packet_load(struct guard *g, uint8_t dst, uint8_t size, bool indexed, uint32_t k)
{
	struct program *p = g->p;
	int32_t bytes = size == BPF_W ? 4 : size == BPF_H ? 2 : 1;

	if (k > OFFSET_MAX) {
		always(p, g->miss);
		p_mov_imm(p, dst, 0);
		return;
	}
	p_load(p, BPF_W, 2, CTX, offsetof(struct xdp_md, data));
	p_load(p, BPF_W, 3, CTX, offsetof(struct xdp_md, data_end));
	if (indexed) {
		p_insn(p, BPF_ALU | BPF_MOV | BPF_X, 4, X, 0, 0);
		p_alu_imm(p, BPF_ADD, 4, (int32_t)k);
		p_jump_imm(p, BPF_JGT, true, 4, OFFSET_MAX, g->miss);
		p_alu(p, BPF_ADD, 2, 4);
	} else if (k != 0) {
		p_alu_imm(p, BPF_ADD, 2, (int32_t)k);
	}
	p_mov(p, 4, 2);
	p_alu_imm(p, BPF_ADD, 4, bytes);
	p_jump(p, BPF_JGT, true, 4, 3, g->miss);
	p_load(p, size, dst, 2, 0);
	if (bytes > 1)
		p_insn(p, BPF_ALU | BPF_END | BPF_TO_BE, dst, 0, 0, 8 * bytes);
}

static void emit_load(struct guard *g, const struct guard_insn *i)
{
	uint8_t dst = BPF_CLASS(i->code) == BPF_LDX ? X : A;
	struct program *p = g->p;

	switch (BPF_MODE(i->code)) {
	case BPF_IMM:
		p_insn(p, BPF_ALU | BPF_MOV | BPF_K, dst, 0, 0, (int32_t)i->k);
		break;
	case BPF_LEN:
		p_load(p, BPF_W, dst, CPU, g->length_at);
		break;
	case BPF_MEM:
		p_load(p, BPF_W, dst, 10, scratch(i->k));
		break;
	case BPF_MSH:
		packet_load(g, X, BPF_B, false, i->k);
		alu32(p, BPF_AND, X, 15);
		alu32(p, BPF_LSH, X, 2);
		break;
	default:
		packet_load(g, A, BPF_SIZE(i->code), BPF_MODE(i->code) == BPF_IND, i->k);
		break;
	}
}

/* Division by zero ends the filter; shifts by 32 and more give 0 (eBPF would do other things). */
static void emit_alu(struct guard *g, const struct guard_insn *i)
{
	bool by_x = BPF_SRC(i->code) == BPF_X;
	uint8_t op = (uint8_t)(i->code & 0xf0);
	struct program *p = g->p;
	program_label small, done;

	if (op == BPF_NEG) {
		p_insn(p, BPF_ALU | BPF_NEG, A, 0, 0, 0);
		return;
	}
	if (op == BPF_DIV || op == BPF_MOD) {
		if (by_x)
			p_jump_imm(p, BPF_JEQ, false, X, 0, g->miss);
		else if (i->k == 0)
			always(p, g->miss);
	}
	if ((op == BPF_LSH || op == BPF_RSH) && by_x) {
		small = p_label(p);
		done = p_label(p);
		p_jump_imm(p, BPF_JLT, false, X, 32, small);
		p_mov_imm(p, A, 0);
		p_goto(p, done);
		p_set(p, small);
		alu32_reg(p, op, A, X);
		p_set(p, done);
		return;
	}
	if ((op == BPF_LSH || op == BPF_RSH) && i->k > 31)
		p_mov_imm(p, A, 0);
	else if (by_x)
		alu32_reg(p, op, A, X);
	else
		alu32(p, op, A, (int32_t)i->k);
}

static void emit_jump(struct guard *g, size_t at)
{
	const struct guard_insn *i = &g->insns[at];
	struct program *p = g->p;
	uint8_t op = (uint8_t)(i->code & 0xf0);

	if (op == BPF_JA) {
		p_goto(p, g->labels[at + 1 + i->k]);
		return;
	}
	if (BPF_SRC(i->code) == BPF_X)
		p_jump(p, op, false, A, X, g->labels[at + 1 + i->yes]);
	else
		p_jump_imm(p, op, false, A, (int32_t)i->k, g->labels[at + 1 + i->yes]);
	if (i->no != 0)
		p_goto(p, g->labels[at + 1 + i->no]);
}

static void emit_return(struct guard *g, const struct guard_insn *i, bool last)
{
	if (BPF_RVAL(i->code) == BPF_A) {
		p_jump_imm(g->p, BPF_JEQ, false, A, 0, g->miss);
	} else if (i->k == 0) {
		p_goto(g->p, g->miss);
		return;
	}
	p_mov_imm(g->p, A, 1);
	if (last)
		always(g->p, g->end);
	else
		p_goto(g->p, g->end);
}

/* Which instructions some path reaches: the kernel refuses programs with dead code. */
static void reach(const struct guard *g, bool *reached)
{
	reached[0] = true;
	for (size_t n = 0; n < g->count; n++) {
		const struct guard_insn *i = &g->insns[n];

		if (!reached[n] || BPF_CLASS(i->code) == BPF_RET)
			continue;
		if (BPF_CLASS(i->code) != BPF_JMP) {
			reached[n + 1] = true;
		} else if (BPF_OP(i->code) == BPF_JA) {
			reached[n + 1 + i->k] = true;
		} else {
			reached[n + 1 + i->yes] = true;
			reached[n + 1 + i->no] = true;
		}
	}
}

static void prologue(struct guard *g)
{
	uint32_t used = 0;

	p_mov_imm(g->p, A, 0);
	p_mov_imm(g->p, X, 0);
	for (size_t n = 0; n < g->count; n++) {
		const struct guard_insn *i = &g->insns[n];
		bool load = BPF_CLASS(i->code) == BPF_LD || BPF_CLASS(i->code) == BPF_LDX;

		if (load && BPF_MODE(i->code) == BPF_MEM)
			used |= 1u << i->k;
	}
	for (uint32_t w = 0; w < SCRATCH_WORDS; w++) {
		if ((used >> w & 1) != 0)
			p_store_imm(g->p, BPF_W, 10, scratch(w), 0);
	}
}

bool guard_needs_length(const struct guard_insn *insns, size_t count)
{
	for (size_t n = 0; n < count; n++) {
		uint8_t class = BPF_CLASS(insns[n].code);

		if ((class == BPF_LD || class == BPF_LDX) && BPF_MODE(insns[n].code) == BPF_LEN)
			return true;
	}
	return false;
}

void guard_emit_length(struct program *p, int16_t length_at)
{
	p_mov(p, 1, CTX);
	p_helper(p, GET_BUFF_LEN);
	p_store(p, BPF_W, CPU, length_at, 0);
}

void guard_emit(struct program *p, const struct guard_insn *insns, size_t count, int16_t length_at)
{
	bool reached[RULE_GUARD_INSNS_MAX + 1] = { false };
	struct guard g = { .p = p, .insns = insns, .count = count, .length_at = length_at };

	g.miss = p_label(p);
	g.end = p_label(p);
	for (size_t n = 0; n < count; n++)
		g.labels[n] = p_label(p);
	reach(&g, reached);
	prologue(&g);
	for (size_t n = 0; n < count; n++) {
		const struct guard_insn *i = &insns[n];

		p_set(p, g.labels[n]);
		if (!reached[n])
			continue;
		switch (BPF_CLASS(i->code)) {
		case BPF_LD:
		case BPF_LDX:
			emit_load(&g, i);
			break;
		case BPF_ST:
		case BPF_STX:
			p_store(p, BPF_W, 10, scratch(i->k), BPF_CLASS(i->code) == BPF_ST ? A : X);
			break;
		case BPF_ALU:
			emit_alu(&g, i);
			break;
		case BPF_JMP:
			emit_jump(&g, n);
			break;
		case BPF_RET:
			emit_return(&g, i, n + 1 == count);
			break;
		default:	/* MISC: TAX or TXA */
			if ((i->code & 0x80) == 0)
				p_insn(p, BPF_ALU | BPF_MOV | BPF_X, X, A, 0, 0);
			else
				p_insn(p, BPF_ALU | BPF_MOV | BPF_X, A, X, 0, 0);
			break;
		}
	}
	p_set(p, g.miss);
	p_mov_imm(p, A, 0);
	p_set(p, g.end);
}
