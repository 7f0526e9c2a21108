/*
 * What the parts of the inspector share: inspect.c (rights, maps, the report), flow.c (the walk over all
 * paths), flow_call.c (what calls do).
 */
#pragma once
#include "base/errmsg.h"
#include "spine/inspect/graph.h"
#include "spine/inspect/inspect.h"
#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/value.h"

struct state;

/* What a walk over a function found out. */
struct outcome {
	uint64_t cost;			/* INSPECT_UNBOUNDED, or of the longest path */
	struct value result;		/* R0 at its ends */
	bool returns;			/* some path comes to an end */
};

struct context {
	struct value args[5];
	struct outcome outcome;
};

struct function {
	const struct object_program *program;
	struct graph graph;
	bool has_graph;			/* false: it was refused, or is not reachable */
	bool reachable, walking;
	uint32_t cells;			/* of its stack that are followed */
	uint8_t *said;			/* by instruction: it has a finding of the walk */
	struct context contexts[INSPECT_CONTEXTS_MAX];
	uint32_t context_count;
	/* Of the walk, by block: what comes in; what comes back to a loop's header. */
	struct state **state, **again;
	uint64_t *cost, *again_cost;
};

struct inspection {
	struct arena *arena;		/* of the report */
	struct arena scratch;
	const struct object *o;
	const struct inspect_rights *rights;
	struct inspect_report *report;
	struct inspect_finding *findings;
	struct function *functions;	/* by program of the object */
	struct state *spare;		/* states to use again */
	uint64_t work;			/* steps done; above INSPECT_WORK_MAX loops are not followed any more */
	uint64_t aside;			/* cost of callbacks that run later (timers) */
	uint32_t depth;			/* of calls */
	bool adopted;			/* loaded by its owner: maps have no names */
	bool packets;			/* the walk is in a program for packets, not in a handler */
	const struct object_program *why_program;	/* of report->cost_why */
	uint32_t why_insn;
	int err;			/* -ENOMEM sticks */
};

static inline uint64_t cost_add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? INSPECT_UNBOUNDED : sum;
}

static inline uint64_t cost_times(uint64_t a, uint64_t n)
{
	uint64_t product;

	if (a == INSPECT_UNBOUNDED)
		return n == 0 ? 0 : INSPECT_UNBOUNDED;
	return __builtin_mul_overflow(a, n, &product) ? INSPECT_UNBOUNDED : product;
}

/* The text in the report's arena; "" when memory is short (in->err tells). */
const char *inspection_text(struct inspection *in, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Add a finding; rule and sentence live in the report's arena. program may be NULL. */
void inspection_find(struct inspection *in, const char *rule, const struct object_program *program, uint32_t insn,
		     const char *sentence);
/* As it, once for an instruction however often the walk comes by. */
void inspection_find_once(struct inspection *in, struct function *f, const char *rule, uint32_t insn,
			  const char *sentence);
/* Remember why the cost is not bounded; the first reason stays. */
void inspection_unbounded(struct inspection *in, const struct object_program *program, uint32_t insn,
			  const char *what);
const struct object_ref *object_ref_at(const struct object_program *p, uint32_t insn);

/* Atomics that clang makes for -mcpu=v4 and the kernel knows since 6.15: in `imm`, as loads and stores with an order. */
#define FLOW_LOAD_ACQUIRE  0x100
#define FLOW_STORE_RELEASE 0x110
#define FLOW_PROBE_ATOMIC  0xe0		/* mode of one that may fault, in translated programs only */

/* Registers and stack of a function, at one place of the walk. */
#define FLOW_REGISTERS 12u		/* with the one that translated programs have besides */
#define FLOW_CELLS     128u		/* of 4 bytes: the whole stack of a function */
struct state {
	struct state *next;		/* of the list of spare ones */
	bool escaped;			/* an address of the stack is in memory that others can read */
	struct value v[FLOW_REGISTERS + FLOW_CELLS];
};

/* One walk over one function. */
struct run {
	struct inspection *in;
	struct function *f;
	bool unbounded;
	struct outcome outcome;
};

/* Walk a function with these arguments, NULL: anything. O(work), bounded by INSPECT_WORK_MAX. */
struct outcome flow_function(struct inspection *in, uint32_t index, const struct value *args);
/* Look at all calls of a function that can't be walked, without knowing anything about their arguments. */
void flow_scan(struct inspection *in, uint32_t index);
/* The effect of the call at `insn` on *s; what it costs. */
uint64_t flow_call(struct run *r, struct state *s, uint32_t insn);
/* Everything that others may have written in our stack is unknown. */
void flow_clobber(const struct run *r, struct state *s);
void flow_clobber_from(const struct run *r, struct state *s, int64_t offset);
/* The cell at an offset (-4 and below, a multiple of 4), or NULL. */
struct value *flow_cell(const struct run *r, struct state *s, int64_t offset);
/* The second half of inspect_loaded. walkable: the object's programs are known. */
MUST_USE int inspect_translated(struct arena *arena, const struct object *o, bool walkable,
				const struct inspect_loaded_map *maps, const struct inspect_rights *rights,
				struct inspect_report *out, struct errmsg *why);
