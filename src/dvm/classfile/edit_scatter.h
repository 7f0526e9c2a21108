/*
 * For tests: calls of a probe scattered over a class by a seed. The fuzzer and the tests that ask a JVM use the same.
 */
#pragma once
#include "dvm/classfile/edit.h"

static inline uint32_t scatter_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

/* One of a few pieces: a call, a call with a number, with a text, with a local of its own. */
static inline struct edit_piece scatter_piece(struct class_edit *e, uint32_t kind, uint16_t local, struct buf *out)
{
	struct slice probe = SLICE("prickle/Probe");
	struct assembler a = { .edit = e, .out = out };
	uint16_t locals = 0;

	buf_reset(out);
	switch (kind % 4) {
	case 0:
		asm_invoke(&a, OP_invokestatic, probe, SLICE("hit"), SLICE("()V"));
		break;
	case 1:
		asm_int(&a, (int32_t)(kind * 2654435761u));
		asm_invoke(&a, OP_invokestatic, probe, SLICE("number"), SLICE("(I)V"));
		break;
	case 2:
		asm_string(&a, kind % 8 == 2 ? SLICE("here") : SLICE("there"));
		asm_invoke(&a, OP_invokestatic, probe, SLICE("text"), SLICE("(Ljava/lang/String;)V"));
		break;
	default:
		asm_op(&a, OP_iconst_1);
		asm_local(&a, OP_istore, local);
		asm_local(&a, OP_iload, local);
		asm_invoke(&a, OP_invokestatic, probe, SLICE("number"), SLICE("(I)V"));
		locals = (uint16_t)(local + 1);
	}
	return (struct edit_piece){ buf_slice(out), (uint16_t)a.deepest, locals };
}

/* Insert at one instruction of `sparse`. Methods whose code cannot be read stay as they are. */
static inline void scatter(struct arena *arena, struct class_edit *e, const struct class_file *c, uint64_t seed, uint32_t sparse)
{
	AUTO_BUF struct buf piece = BUF_INIT(256);
	uint64_t state = seed;

	for (uint32_t i = 0; i < c->methods.count; i++) {
		const struct class_member *m = &c->methods.at[i];
		const struct class_attribute *a = method_code(c, m);
		struct code_starts starts;
		struct code code;
		struct insn in;

		if (a == NULL || !code_parse(arena, c, a, &code, NULL) || !code_walk(arena, c, &code, &starts, NULL))
			continue;
		for (uint32_t pc = 0; code_next(&code, pc, &in); pc = in.next) {
			uint32_t r = scatter_random(&state);

			if (r % sparse != 0 || code.max_locals == 65535)
				continue;
			uint32_t where = scatter_random(&state) % 3;
			edit_insert(e, m, pc, (enum edit_where)where, scatter_piece(e, scatter_random(&state), code.max_locals, &piece));
			if (r % 7 == 0)		/* two at one place */
				edit_insert(e, m, pc, EDIT_BEFORE, scatter_piece(e, 0, code.max_locals, &piece));
		}
	}
}
