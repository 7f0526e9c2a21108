/*
 * Checks and refusals as instructions. What registers are free where: inject.h.
 *
 * A refusal on a way to a call that is skipped may use r1-r5, except that the port (r1) is needed once more behind the
 * call of the clock: it waits on the stack. On trial all arguments wait there.
 */
#include <errno.h>
#include <stddef.h>

#include <prickle/spine_policy.h>

#include "spine/inject/inject_internal.h"

#define ROW(field) ((int32_t)offsetof(struct spine_policy_row, field))
#define RECORD(field) ((int16_t)(ROW(records) - ROW(next) + (int32_t)offsetof(struct spine_policy_record, field)))
#define WORD_OF(helper) ((int32_t)sizeof(__u32) * ((helper) / 32))
#define BIT_OF(helper) ((int32_t)(1u << ((helper) % 32)))

_Static_assert((SPINE_POLICY_PORTS & (SPINE_POLICY_PORTS - 1)) == 0, "a mask");
_Static_assert((SPINE_POLICY_RECORDS & (SPINE_POLICY_RECORDS - 1)) == 0, "a mask");
_Static_assert(sizeof(struct spine_policy_record) == 32, "a shift by 5");

#define RESULT_REFUSED 1
#define RESULT_TRIAL   3

static void emit(struct inject_emit *e, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	if (e->out != NULL) {
		const uint8_t bytes[4] = { code, (uint8_t)(src << 4 | dst), (uint8_t)off, (uint8_t)((uint16_t)off >> 8) };
		memcpy(&e->out[e->at], bytes, sizeof(bytes));
		e->out[e->at].imm = imm;
	}
	e->at++;
}

/* dst = address of the row's byte `offset`. */
static void emit_row(struct inject_emit *e, uint8_t dst, int32_t offset)
{
	if (e->out != NULL)
		e->relocations[e->relocation_count++] = (struct elf_relocation){
			.offset = (uint64_t)e->at * INJECT_INSN_BYTES, .type = INJECT_R_64_64, .symbol = e->row };
	emit(e, INJECT_LDDW, dst, 0, 0, offset);
	emit(e, 0, 0, 0, 0, 0);
}

static void emit_goto(struct inject_emit *e, uint32_t to)
{
	int64_t by = (int64_t)to - (int64_t)e->at - 1;

	if (by >= INT16_MIN && by <= INT16_MAX)
		emit(e, BPF_JMP | BPF_JA, 0, 0, (int16_t)by, 0);
	else
		emit(e, BPF_JMP32 | BPF_JA, 0, 0, 0, (int32_t)by);
}

static void emit_mov(struct inject_emit *e, uint8_t dst, int32_t imm)
{
	emit(e, BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm);
}

static void emit_load(struct inject_emit *e, uint8_t size, uint8_t dst, uint8_t src, int16_t off)
{
	emit(e, BPF_LDX | BPF_MEM | size, dst, src, off, 0);
}

static void emit_store(struct inject_emit *e, uint8_t size, uint8_t dst, uint8_t src, int16_t off)
{
	emit(e, BPF_STX | BPF_MEM | size, dst, src, off, 0);
}

static void emit_store_number(struct inject_emit *e, uint8_t size, uint8_t dst, int16_t off, int32_t imm)
{
	emit(e, BPF_ST | BPF_MEM | size, dst, 0, off, imm);
}

/* r3 = the word of the port in r1; r4 goes. */
static void emit_port_word(struct inject_emit *e)
{
	emit_row(e, BPF_REG_3, ROW(ports));
	emit(e, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_4, BPF_REG_1, 0, 0);
	emit(e, BPF_ALU | BPF_AND | BPF_K, BPF_REG_4, 0, 0, SPINE_POLICY_PORTS - 1);
	emit(e, BPF_ALU64 | BPF_LSH | BPF_K, BPF_REG_4, 0, 0, 3);
	emit(e, BPF_ALU64 | BPF_ADD | BPF_X, BPF_REG_3, BPF_REG_4, 0, 0);
	emit_load(e, BPF_DW, BPF_REG_3, BPF_REG_3, 0);
}

void inject_emit_check(struct inject_emit *e, const struct inject_guard *g, int check)
{
	if (check == INJECT_BIT) {
		emit_row(e, BPF_REG_0, ROW(helpers) + WORD_OF(g->helper));
		emit_load(e, BPF_W, BPF_REG_0, BPF_REG_0, 0);
		emit(e, BPF_JMP32 | BPF_JSET | BPF_K, BPF_REG_0, 0, 1, BIT_OF(g->helper));
	} else {
		emit_port_word(e);
		emit(e, BPF_JMP32 | BPF_JNE | BPF_X, BPF_REG_3, BPF_REG_1, 2, 0);
		emit(e, BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 32);
		emit(e, BPF_JMP32 | BPF_JSET | BPF_K, BPF_REG_3, 0, 1, SPINE_POLICY_FORWARD);
	}
	emit_goto(e, g->refusal[check]);
}

/* Slots of the stack below the function's: the arguments, then the result. */
static int16_t slot(const struct inject_function *f, uint32_t index)
{
	return (int16_t)-(int32_t)(f->stack + 8 * (index + 1));
}

/*
 * The result's slot becomes RESULT_TRIAL when the trial allows it and has not ended. Each condition that fails
 * jumps over the rest; `skip` is where (in a first round nobody knows, and nothing is written).
 */
static uint32_t emit_trial(struct inject_emit *e, const struct inject_function *f, const struct inject_guard *g, int check,
			   uint32_t args, uint32_t skip)
{
	int16_t result = slot(f, args);

	emit_store_number(e, BPF_DW, BPF_REG_10, result, RESULT_REFUSED);
	if (check == INJECT_BIT) {
		emit_row(e, BPF_REG_3, ROW(helpers_trial) + WORD_OF(g->helper));
		emit_load(e, BPF_W, BPF_REG_3, BPF_REG_3, 0);
		emit(e, BPF_ALU | BPF_AND | BPF_K, BPF_REG_3, 0, 0, BIT_OF(g->helper));
	} else {
		emit_port_word(e);
		emit(e, BPF_JMP32 | BPF_JNE | BPF_X, BPF_REG_3, BPF_REG_1, (int16_t)(skip - e->at - 1), 0);
		emit(e, BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 32);
		emit(e, BPF_ALU | BPF_AND | BPF_K, BPF_REG_3, 0, 0, SPINE_POLICY_FORWARD_TRIAL);
	}
	emit(e, BPF_JMP32 | BPF_JEQ | BPF_K, BPF_REG_3, 0, (int16_t)(skip - e->at - 1), 0);
	emit(e, INJECT_CALL, 0, 0, 0, BPF_FUNC_ktime_get_boot_ns);
	emit_row(e, BPF_REG_1, ROW(trial_until_ns));
	emit_load(e, BPF_DW, BPF_REG_1, BPF_REG_1, 0);
	emit(e, BPF_JMP | BPF_JGE | BPF_X, BPF_REG_0, BPF_REG_1, (int16_t)(skip - e->at - 1), 0);
	emit_store_number(e, BPF_DW, BPF_REG_10, result, RESULT_TRIAL);
	return e->at;
}

/* r1 = address of row.next, the new record at RECORD(...); r4 = result when on trial. */
static void emit_record(struct inject_emit *e, const struct inject_function *f, const struct inject_guard *g, int check,
			bool trial, uint32_t args)
{
	uint32_t insn = SPINE_POLICY_INSN(f->number, g->insn - f->first);

	emit(e, INJECT_CALL, 0, 0, 0, BPF_FUNC_ktime_get_ns);
	emit_row(e, BPF_REG_1, ROW(next));
	emit_mov(e, BPF_REG_2, 1);
	emit(e, BPF_STX | BPF_ATOMIC | BPF_DW, BPF_REG_1, BPF_REG_2, 0, BPF_ADD | BPF_FETCH);
	emit(e, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
	emit(e, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_3, 0, 0, SPINE_POLICY_RECORDS - 1);
	emit(e, BPF_ALU64 | BPF_LSH | BPF_K, BPF_REG_3, 0, 0, 5);
	emit(e, BPF_ALU64 | BPF_ADD | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
	emit_store_number(e, BPF_DW, BPF_REG_1, RECORD(sequence), 0);
	emit_store(e, BPF_DW, BPF_REG_1, BPF_REG_0, RECORD(time_ns));
	emit_store_number(e, BPF_W, BPF_REG_1, RECORD(insn), (int32_t)insn);
	emit_store_number(e, BPF_W, BPF_REG_1, RECORD(helper), g->helper);
	if (check == INJECT_PORT) {
		emit_load(e, BPF_DW, BPF_REG_3, BPF_REG_10, slot(f, 0));
		emit_store(e, BPF_W, BPF_REG_1, BPF_REG_3, RECORD(object));
	} else {
		emit_store_number(e, BPF_W, BPF_REG_1, RECORD(object), 0);
	}
	if (trial) {
		emit_load(e, BPF_DW, BPF_REG_4, BPF_REG_10, slot(f, args));
		emit_store(e, BPF_W, BPF_REG_1, BPF_REG_4, RECORD(result));
	} else {
		emit_store_number(e, BPF_W, BPF_REG_1, RECORD(result), RESULT_REFUSED);
	}
	emit(e, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, 1);
	emit_store(e, BPF_DW, BPF_REG_1, BPF_REG_2, RECORD(sequence));
}

uint32_t inject_stack(const struct inject_guard *g, bool trial)
{
	if (trial)
		return 8 * ((uint32_t)inject_helper_args(g->helper) + 1);
	return g->checks[INJECT_PORT] ? 8 : 0;
}

void inject_emit_refusal(struct inject_emit *e, const struct inject_function *f, const struct inject_guard *g, int check,
			 bool trial, uint32_t pass, uint32_t fail)
{
	uint32_t args = (uint32_t)inject_helper_args(g->helper);
	int32_t answer = 0;

	if (trial) {
		for (uint32_t i = 0; i < args; i++)
			emit_store(e, BPF_DW, BPF_REG_10, (uint8_t)(BPF_REG_1 + i), slot(f, i));
		struct inject_emit count = { .at = e->at };
		emit_trial(e, f, g, check, args, emit_trial(&count, f, g, check, args, e->at));
	} else if (check == INJECT_PORT) {
		emit_store(e, BPF_DW, BPF_REG_10, BPF_REG_1, slot(f, 0));
	}
	emit_record(e, f, g, check, trial, args);
	if (trial) {
		emit(e, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, (int16_t)(args + 1), RESULT_TRIAL);
		for (uint32_t i = 0; i < args; i++)
			emit_load(e, BPF_DW, (uint8_t)(BPF_REG_1 + i), BPF_REG_10, slot(f, i));
		emit_goto(e, pass);
	}
	(void)inject_helper_refusal(g->helper, &answer);
	emit_mov(e, BPF_REG_0, answer);
	emit_goto(e, fail);
}
