/*
 * Inference (4.10.2), for code without frames: what each instruction finds is the merge of what comes there, until nothing changes.
 *
 * As the old verifier of JDKs does it, with subroutines: what a `ret` brings back is what the subroutine changed, the rest is as it was at the `jsr`.
 */
#pragma once
#include "dvm/verify/internal.h"

#define TYPE_OPEN   (TYPE_UNINITIALIZED_THIS + 1u)	/* some class above two, of which the class path lacks one: fits everywhere, and a constraint is open */
#define TYPE_RETURN 0x20000000u				/* | index of the subroutine's first instruction */
#define NO_INSN	    UINT32_MAX

static inline bool type_is_return(vtype t)
{
	return (t & 0xe0000000u) == TYPE_RETURN;
}

struct mask {				/* of a subroutine that runs: what it touched */
	uint32_t entry;
	uint64_t *touched;
};

struct state {
	vtype *stack, *locals;
	uint32_t depth, mask_count;
	const struct mask *masks;
	bool constructed, may_skip, no_return;	/* this() ran on all ways; it is needed and one way came without; an exception let it half done */
};

struct node {				/* an instruction */
	struct insn in;
	bool changed, known, is_init, is_protected;
	uint32_t target;		/* index, of a branch */
	uint32_t ret;			/* jsr: the ret that came back to here */
	struct state before;
};

struct infer {
	struct verifier *v;
	struct node *nodes;
	uint32_t count;
	uint32_t mask_words;
	/* of the instruction at hand */
	struct node *now;
	struct state after;
	vtype init_from, init_to;	/* what a constructor initialized, what `new` overwrites */
};

/* --- infer_types.c --- */
vtype infer_merge(struct verifier *v, vtype value, vtype target, bool assign);
static inline bool infer_fits(struct verifier *v, vtype from, vtype to)
{
	return from == to || infer_merge(v, from, to, true) == to;
}
/* --- infer_rules.c: what one instruction does to f->after --- */
bool infer_operands(struct infer *f, struct node *n);
bool infer_step(struct infer *f);
