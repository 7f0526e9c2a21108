/* Instructions: each of the original stands where it has to, with checks and refusals as inject.h documents them, and nothing else. */
#include <errno.h>
#include <stddef.h>

#include <prickle/spine_policy.h>

#include "spine/inject/checker_internal.h"

#define ROW(field) ((int32_t)offsetof(struct spine_policy_row, field))
/* From the row's `next`, to which a refusal points, to a field of the first record. */
#define RECORD(field)                                                                                                                        \
	((int16_t)(offsetof(struct spine_policy_row, records) + offsetof(struct spine_policy_record, field) - offsetof(struct spine_policy_row, next)))
#define RESULT_REFUSED 1
#define RESULT_TRIAL   3

_Static_assert(sizeof(struct spine_policy_record) == 32, "a record's place is its number << 5");

/* Reads the injected code from one place on; the first instruction that is another than expected makes it bad. */
struct walk {
	struct checker *c;
	struct checker_code *s;
	struct slice code;
	uint32_t at, bad_at;
	size_t rel;			/* next relocation that nobody expected yet */
	bool bad;
};

static void mark_bad(struct walk *w)
{
	if (!w->bad)
		w->bad_at = w->at;
	w->bad = true;
}

static void expect(struct walk *w, uint8_t code, int dst, int src, int16_t off, int32_t imm)
{
	if (w->bad)
		return;
	struct bpf_insn x = checker_insn(w->code, w->at);
	if (x.code != code || x.dst_reg != dst || x.src_reg != src || x.off != off || x.imm != imm)
		mark_bad(w);
	w->at++;
}

/* r = &row + offset: two slots and the next relocation. */
static void expect_row(struct walk *w, int reg, int32_t offset)
{
	if (w->bad)
		return;
	const struct elf_relocation *r = w->rel < w->s->new_rel_count ? &w->s->new_rel[w->rel] : NULL;
	if (r == NULL || r->offset != UINT64_C(8) * w->at || r->type != 1 /* R_BPF_64_64 */ || r->symbol != w->c->row_symbol)
		mark_bad(w);
	w->rel++;
	expect(w, BPF_LD | BPF_IMM | BPF_DW, reg, 0, 0, offset);
	expect(w, 0, 0, 0, 0, 0);
}

static void expect_goto(struct walk *w, uint32_t to)
{
	int64_t far = (int64_t)to - w->at - 1;

	if (far >= INT16_MIN && far <= INT16_MAX)
		expect(w, BPF_JMP | BPF_JA, 0, 0, (int16_t)far, 0);
	else
		expect(w, BPF_JMP32 | BPF_JA, 0, 0, 0, (int32_t)far);
}

/* r3 = the port's word, and a jump to `absent` when the slot holds another. */
static void expect_port(struct walk *w, int16_t absent)
{
	expect_row(w, 3, ROW(ports));
	expect(w, BPF_ALU | BPF_MOV | BPF_X, 4, 1, 0, 0);
	expect(w, BPF_ALU | BPF_AND | BPF_K, 4, 0, 0, SPINE_POLICY_PORTS - 1);
	expect(w, BPF_ALU64 | BPF_LSH | BPF_K, 4, 0, 0, 3);
	expect(w, BPF_ALU64 | BPF_ADD | BPF_X, 3, 4, 0, 0);
	expect(w, BPF_LDX | BPF_MEM | BPF_DW, 3, 3, 0, 0);
	expect(w, BPF_JMP32 | BPF_JNE | BPF_X, 3, 1, absent, 0);
	expect(w, BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 32);
}

static int32_t bit_of(int helper)
{
	return (int32_t)(UINT32_C(1) << helper % 32);
}

static void expect_check(struct walk *w, const struct checker_guard *g)
{
	if (g->port) {
		expect_port(w, 2);
		expect(w, BPF_JMP32 | BPF_JSET | BPF_K, 3, 0, 1, SPINE_POLICY_FORWARD);
	} else {
		expect_row(w, 0, ROW(helpers) + g->helper / 32 * 4);
		expect(w, BPF_LDX | BPF_MEM | BPF_W, 0, 0, 0, 0);
		expect(w, BPF_JMP32 | BPF_JSET | BPF_K, 0, 0, 1, bit_of(g->helper));
	}
	expect_goto(w, g->refusal);
}

static uint32_t args_of(const struct checker_guard *g)
{
	uint32_t args = 0;
	int32_t answer;

	return checker_helper(g->helper, &answer, &args) ? args : 0;
}

uint32_t checker_refusal_insns(const struct checker *c, const struct checker_guard *g)
{
	uint32_t args = args_of(g), n = 19 + (g->port ? 1 : 0);

	if (!c->trial)
		return n + (g->port ? 1 : 0);
	/* Saved and put back, the flag, what reads the trial's mask and its end, the way on. */
	return n + 2 * args + 1 + (g->port ? 10 : 4) + 7 + 1 + 2;
}

/* May it pass for now? Then the flag in the stack says so. */
static void expect_trial(struct walk *w, const struct checker_guard *g, int16_t flag)
{
	if (g->port) {
		expect_port(w, 9);
		expect(w, BPF_ALU | BPF_AND | BPF_K, 3, 0, 0, SPINE_POLICY_FORWARD_TRIAL);
	} else {
		expect_row(w, 3, ROW(helpers_trial) + g->helper / 32 * 4);
		expect(w, BPF_LDX | BPF_MEM | BPF_W, 3, 3, 0, 0);
		expect(w, BPF_ALU | BPF_AND | BPF_K, 3, 0, 0, bit_of(g->helper));
	}
	expect(w, BPF_JMP32 | BPF_JEQ | BPF_K, 3, 0, 6, 0);
	expect(w, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_ktime_get_boot_ns);
	expect_row(w, 1, ROW(trial_until_ns));
	expect(w, BPF_LDX | BPF_MEM | BPF_DW, 1, 1, 0, 0);
	expect(w, BPF_JMP | BPF_JGE | BPF_X, 0, 1, 1, 0);
	expect(w, BPF_ST | BPF_MEM | BPF_DW, 10, 0, flag, RESULT_TRIAL);
}

static void expect_record(struct walk *w, const struct checker_guard *g, const struct checker_function *f, int16_t flag)
{
	int32_t place = (int32_t)SPINE_POLICY_INSN(f->number, g->call - f->start);

	expect(w, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_ktime_get_ns);
	expect_row(w, 1, ROW(next));
	expect(w, BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 1);
	expect(w, BPF_STX | BPF_ATOMIC | BPF_DW, 1, 2, 0, BPF_ADD | BPF_FETCH);
	expect(w, BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0);
	expect(w, BPF_ALU64 | BPF_AND | BPF_K, 3, 0, 0, SPINE_POLICY_RECORDS - 1);
	expect(w, BPF_ALU64 | BPF_LSH | BPF_K, 3, 0, 0, 5);
	expect(w, BPF_ALU64 | BPF_ADD | BPF_X, 1, 3, 0, 0);
	expect(w, BPF_ST | BPF_MEM | BPF_DW, 1, 0, RECORD(sequence), 0);
	expect(w, BPF_STX | BPF_MEM | BPF_DW, 1, 0, RECORD(time_ns), 0);
	expect(w, BPF_ST | BPF_MEM | BPF_W, 1, 0, RECORD(insn), place);
	expect(w, BPF_ST | BPF_MEM | BPF_W, 1, 0, RECORD(helper), g->helper);
	if (g->port) {
		expect(w, BPF_LDX | BPF_MEM | BPF_DW, 3, 10, (int16_t)(f->stack - 8), 0);
		expect(w, BPF_STX | BPF_MEM | BPF_W, 1, 3, RECORD(object), 0);
	} else {
		expect(w, BPF_ST | BPF_MEM | BPF_W, 1, 0, RECORD(object), 0);
	}
	if (w->c->trial) {
		expect(w, BPF_LDX | BPF_MEM | BPF_DW, 4, 10, flag, 0);
		expect(w, BPF_STX | BPF_MEM | BPF_W, 1, 4, RECORD(result), 0);
	} else {
		expect(w, BPF_ST | BPF_MEM | BPF_W, 1, 0, RECORD(result), RESULT_REFUSED);
	}
	expect(w, BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, 1);
	expect(w, BPF_STX | BPF_MEM | BPF_DW, 1, 2, RECORD(sequence), 0);
}

static void expect_refusal(struct walk *w, const struct checker_guard *g)
{
	const struct checker_function *f = &w->s->functions[g->function];
	uint32_t args = args_of(g), saved = w->c->trial ? args : g->port ? 1 : 0;
	int16_t flag = (int16_t)(f->stack - 8 * (int32_t)(args + 1));
	int32_t answer = 0;
	uint32_t ignored;

	for (uint32_t i = 1; i <= saved; i++)
		expect(w, BPF_STX | BPF_MEM | BPF_DW, 10, (int)i, (int16_t)(f->stack - 8 * (int32_t)i), 0);
	if (w->c->trial) {
		expect(w, BPF_ST | BPF_MEM | BPF_DW, 10, 0, flag, RESULT_REFUSED);
		expect_trial(w, g, flag);
	}
	expect_record(w, g, f, flag);
	if (w->c->trial) {
		expect(w, BPF_JMP | BPF_JNE | BPF_K, 4, 0, (int16_t)(args + 1), RESULT_TRIAL);
		for (uint32_t i = 1; i <= args; i++)
			expect(w, BPF_LDX | BPF_MEM | BPF_DW, (int)i, 10, (int16_t)(f->stack - 8 * (int32_t)i), 0);
		expect_goto(w, g->next);
	}
	if (!checker_helper(g->helper, &answer, &ignored))
		mark_bad(w);
	expect(w, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, answer);
	expect_goto(w, w->s->self[g->call] + 1);
}

/* Where an original index of code leads now; false: there is no such place. */
static bool moved(const struct checker_code *s, int64_t to, int64_t *now)
{
	if (s->count == 0 || to < 0 || to >= s->count)
		return false;
	*now = s->first[to];
	return true;
}

/* What names a place by a symbol's: calls and addresses of functions. */
static bool relocated(struct walk *w, const struct elf_relocation *r, struct bpf_insn *x)
{
	const struct elf_symbol *y = &w->c->old.symbols[r->symbol];
	const struct checker_code *t = y->section < w->c->old.section_count ? &w->c->code[y->section] : NULL;
	const struct elf_symbol *z = &w->c->new.symbols[r->symbol];
	bool call = x->code == (BPF_JMP | BPF_CALL);
	int64_t to, now;

	if (w->c->row_section == y->section)
		return false;		/* the original names the row */
	if (t == NULL || t->count == 0)
		return true;
	if (!call && x->code != (BPF_LD | BPF_IMM | BPF_DW))
		return false;
	to = (int64_t)y->value + (call ? 8 * ((int64_t)x->imm + 1) : x->imm);
	if (to % 8 != 0 || !moved(t, to / 8, &now))
		return false;
	now = 8 * now - (int64_t)z->value;
	now = call ? now / 8 - 1 : now;
	x->imm = (int32_t)now;
	return x->imm == now;
}

/* What counts instructions, as it has to be now. */
static bool expected_insn(struct walk *w, uint32_t i, const struct elf_relocation *r, struct bpf_insn *x)
{
	const struct checker_code *s = w->s;
	uint8_t class = BPF_CLASS(x->code), op = BPF_OP(x->code);
	bool jump = (class == BPF_JMP || class == BPF_JMP32) && op != BPF_CALL && op != BPF_EXIT;
	bool by_imm = x->code == (BPF_JMP32 | BPF_JA) || (x->code == (BPF_JMP | BPF_CALL) && x->src_reg == BPF_PSEUDO_CALL) ||
		      (x->code == (BPF_LD | BPF_IMM | BPF_DW) && x->src_reg == BPF_PSEUDO_FUNC);
	int64_t now;

	if (r != NULL)
		return !jump && relocated(w, r, x);
	if (!jump && !by_imm)
		return true;
	if (!moved(s, (int64_t)i + 1 + (by_imm ? x->imm : x->off), &now))
		return false;
	now -= (int64_t)s->self[i] + 1;
	if (by_imm) {
		x->imm = (int32_t)now;
	} else if (now >= INT16_MIN && now <= INT16_MAX) {
		x->off = (int16_t)now;
	} else if (x->code == (BPF_JMP | BPF_JA)) {
		*x = (struct bpf_insn){ .code = BPF_JMP32 | BPF_JA, .imm = (int32_t)now };
	} else {
		return false;
	}
	return true;
}

static bool prove_insn(struct walk *w, uint32_t i, size_t *old_rel)
{
	const struct checker_code *s = w->s;
	struct bpf_insn x = checker_insn(w->c->old.sections[s->section].bytes, i), y = checker_insn(w->code, w->at);
	const struct elf_relocation *r = *old_rel < s->old_rel_count ? &s->old_rel[*old_rel] : NULL;

	if (r != NULL && r->offset < UINT64_C(8) * (i + 1)) {
		const struct elf_relocation *n = w->rel < s->new_rel_count ? &s->new_rel[w->rel] : NULL;
		if (r->offset != UINT64_C(8) * i || n == NULL || n->offset != UINT64_C(8) * w->at || n->type != r->type || n->symbol != r->symbol)
			return false;
		++*old_rel;
		w->rel++;
	} else {
		r = NULL;
	}
	if (w->at != s->self[i] || !expected_insn(w, i, r, &x) || memcmp(&x, &y, sizeof(x)) != 0)
		return false;
	w->at++;
	return true;
}

static void prove_function(struct walk *w, const struct checker_function *f, size_t *guard, size_t *old_rel)
{
	struct checker_code *s = w->s;
	size_t from = *guard;

	for (uint32_t i = f->start; !w->bad && i < f->end; i++) {
		for (; *guard < s->guard_count && s->guards[*guard].call == i; ++*guard)
			expect_check(w, &s->guards[*guard]);
		if (w->bad || !prove_insn(w, i, old_rel)) {
			mark_bad(w);
			return;
		}
		struct bpf_insn x = checker_insn(w->c->old.sections[s->section].bytes, i);
		if (x.code != (BPF_LD | BPF_IMM | BPF_DW))
			continue;
		struct bpf_insn y = checker_insn(w->code, w->at);
		x = checker_insn(w->c->old.sections[s->section].bytes, ++i);
		if (memcmp(&x, &y, sizeof(x)) != 0)
			mark_bad(w);
		w->at++;
	}
	for (size_t i = from; !w->bad && i < *guard; i++)
		expect_refusal(w, &s->guards[i]);
}

int checker_code_prove(struct checker *c, struct checker_code *s)
{
	struct walk w = { .c = c, .s = s, .code = c->new.sections[s->section].bytes };
	size_t guard = 0, old_rel = 0;

	if (w.code.len != UINT64_C(8) * s->new_count)
		return errmsg_say(c->why, -EBADMSG, "injected checks are not proven: section '%s' has another length than it must have",
				  c->old.sections[s->section].name);
	for (size_t i = 0; !w.bad && i < s->function_count; i++)
		prove_function(&w, &s->functions[i], &guard, &old_rel);
	if (!w.bad && (w.at != s->new_count || w.rel != s->new_rel_count || old_rel != s->old_rel_count))
		mark_bad(&w);
	if (w.bad)
		return errmsg_say(c->why, -EBADMSG, "injected checks are not proven: section '%s', instruction %u is not what it must be",
				  c->old.sections[s->section].name, w.bad_at);
	return 0;
}
