/*
 * What the parts of the checker share. From the original alone follows where everything has to stand in the injected object (checks and
 * refusals have fixed lengths); checker.c lays that out, checker_code.c and checker_table.c compare it with what is there.
 */
#pragma once
#include <linux/bpf.h>

#include "base/buf.h"
#include "spine/inject/checker.h"
#include "spine/inspect/elffile.h"

/* A guarded call of a helper, or of bpf_redirect's port: a check before it and a refusal at its function's end. */
struct checker_guard {
	uint32_t call;			/* original index */
	uint32_t function;		/* index into functions of the section */
	uint32_t check, next, refusal;	/* injected indices; next: what the check lets through to */
	int helper;
	bool port;
};

struct checker_function {
	uint32_t start, end;		/* original */
	uint32_t number;		/* in the whole object */
	int32_t stack;			/* below r10 - this, nothing of the function's is known to lie; a multiple of 8 */
};

/* A code section. first, self: injected index of what leads to an original one and of itself; first has one more for the end. */
struct checker_code {
	size_t section;
	uint32_t count, new_count;
	uint32_t *first, *self;
	struct checker_function *functions;
	size_t function_count;
	struct checker_guard *guards;
	size_t guard_count;
	const struct elf_relocation *old_rel, *new_rel;
	size_t old_rel_count, new_rel_count;
	size_t rel_section;		/* in the original; 0: none */
};

struct checker {
	struct arena *arena;
	struct slice old_bytes, new_bytes;
	struct elf old, new;
	const uint64_t *helpers;
	bool trial;
	struct checker_code *code;	/* by section index; count 0: not code */
	size_t row_section, row_symbol;	/* 0: none */
	size_t guard_count;
	struct errmsg *why;
};

/* What a refused call answers and how many registers it reads; false: no check of it is known. */
bool checker_helper(int helper, int32_t *answer, uint32_t *args);
uint32_t checker_refusal_insns(const struct checker *c, const struct checker_guard *g);
MUST_USE int checker_code_prove(struct checker *c, struct checker_code *s);
/* Symbols, headers, names, relocations' order, .BTF.ext, and everything that stays. */
MUST_USE int checker_tables_prove(struct checker *c);
MUST_USE int checker_lines_prove(struct checker *c);

static inline struct bpf_insn checker_insn(struct slice bytes, uint32_t index)
{
	struct bpf_insn insn;

	memcpy(&insn, bytes.ptr + (size_t)index * sizeof(insn), sizeof(insn));
	return insn;
}
