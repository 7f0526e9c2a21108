/*
 * The control flow of one function: blocks, their order, and which loops they are in.
 *
 * Loops are found in one depth-first walk that also tells loops with two entries (irreducible ones), after
 * Wei, Mao, Zou and Chen, "A New Algorithm for Identifying Loops in Decompilation", SAS 2007, without its
 * recursion.
 */
#pragma once
#include "base/arena.h"
#include "spine/inspect/object.h"

#define GRAPH_NONE UINT32_MAX

struct graph_block {
	uint32_t first, end;		/* instructions first..end-1 */
	uint32_t next, jump;		/* blocks after it; GRAPH_NONE */
	uint32_t loop;			/* header of the innermost loop that it is in; of a header: of the next outer one */
	uint32_t order;			/* place in the walk order, GRAPH_NONE when it can't be reached */
	bool header;
};

struct graph {
	struct graph_block *blocks;
	uint32_t count;
	/*
	 * For block h (or `count`: the function itself) the members of its loop in walk order, inner loops by
	 * their headers alone; h itself is not listed.
	 */
	uint32_t *members, *member_at;	/* member_at[h] .. member_at[h + 1] */
	uint32_t depth;			/* of loops */
	bool irreducible;
};

/* Why a function has no graph: the instruction and what is wrong with it. */
struct graph_fault {
	uint32_t insn;
	const char *what;
};

/* 0; -EINVAL and *fault; -E2BIG: too many blocks, in *fault as well; -ENOMEM. O(instructions x depth of loops). */
MUST_USE int graph_build(struct arena *arena, const struct object_program *p, struct graph *out,
			 struct graph_fault *fault);
/* The edge from -> to goes back to the beginning of a loop that `from` is in. */
bool graph_back(const struct graph *g, uint32_t from, uint32_t to);
