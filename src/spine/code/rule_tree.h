/*
 * The decision tree over the terms of many match rules: fields in a fixed order, at each node the elementary
 * ranges of its field, so that a frame passes each field once however many rules there are.
 *
 * Nodes are shared: two ways that leave the same terms open at the same field go on in one node. A rule that has no
 * condition left is reported at the edge where that is known, and its other terms are dropped: rules over
 * different fields then add up instead of multiplying. Where they multiply all the same, tree_build() gives up
 * at a limit that is linear in the terms, and the caller builds two trees.
 */
#pragma once
#include "spine/code/layout.h"
#include "spine/code/rule_term.h"

#define TREE_LEVELS (FIELD_COUNT + 2 * RULE_DEVICE_SETS_MAX)
#define TREE_WORDS  (SPINE_SLOTS_MAX / 32)

/* A term of a rule of a device; its sets are numbered for the device. */
struct tree_term {
	struct term term;
	uint16_t slot;
};

struct tree_edge {
	u128 first;			/* values from here to the next edge's; sets: 0 not in it, 1 in it */
	uint32_t slots[TREE_WORDS];	/* these match */
	struct tree_node *next;		/* NULL: nothing left to ask */
};

struct tree_node {
	unsigned level;			/* an enum rule_field, or FIELD_COUNT + the bit of a set */
	struct tree_edge *edges;	/* the first one begins at 0 */
	size_t edge_count;
	unsigned chain_max;		/* slots that can match from here on */
	bool late;			/* some way here has reported a slot; for who emits code */
	program_label label;
	const uint64_t *open;		/* terms; the node's identity */
	struct tree_node *bucket, *beside;	/* in the table; of the same level */
};

struct tree {
	struct tree_edge root;
	struct tree_node *levels[TREE_LEVELS];	/* all nodes; next nodes have higher levels */
	unsigned chain_max;
	size_t edges;
};

/* 0; -E2BIG: over the limit, which never happens for one term; -ENOMEM. All in the arena. */
MUST_USE int tree_build(struct arena *arena, const struct tree_term *terms, size_t count, struct tree *out);
/* They report the same slots and lead to the same node. */
bool tree_edge_same(const struct tree_edge *a, const struct tree_edge *b);
/* The edge that a value takes: binary search. */
const struct tree_edge *tree_edge_of(const struct tree_node *n, u128 value);
