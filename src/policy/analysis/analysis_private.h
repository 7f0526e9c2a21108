/*
 * What the files of the analysis share: dense rights, the graph of `enter`, link-time sets.
 *
 * Rights are dense because questions go over all pairs (who can, diff): 16 bytes a pair, 16 MB for the largest policy. Predicates have a mask each
 * instead of one "conditional", so that two policies that differ in a predicate alone differ here, too.
 */
#pragma once
#include "policy/analysis/analysis.h"

#define ANALYSIS_PREDICATES 2u
_Static_assert(POLICY_PREDICATES_ALL == (1u << ANALYSIS_PREDICATES) - 1, "a mask for each predicate");

struct analysis_cell {
	uint32_t allow;			/* unconditionally */
	uint32_t audit;			/* as rules say it, allowed or not */
	uint32_t by[ANALYSIS_PREDICATES];	/* when this predicate holds, as rules say it */
};

struct use_set {
	const char *const *names;
	size_t count;
};

struct analysis {
	const struct policy *p;
	size_t subjects, objects;
	struct analysis_cell *cells;	/* [subject * objects + object] */
	/* Edges from (and to) subject i are out[out_begin[i]] up to out_begin[i + 1]. */
	const struct policy_enter **out, **in;
	uint32_t *out_begin, *in_begin;
	struct use_set *uses;		/* [subject * POLICY_USE_COUNT + kind] */
};

static inline const struct analysis_cell *cell_of(const struct analysis *a, size_t subject, size_t object)
{
	return &a->cells[subject * a->objects + object];
}

static inline uint32_t cell_conditional(const struct analysis_cell *c)
{
	return (c->by[0] | c->by[1]) & ~c->allow;
}

/* Predicates of which one is enough for any of these permissions; 0 when they are unconditional, or not there. */
static inline uint32_t cell_predicates(const struct analysis_cell *c, uint32_t permissions)
{
	uint32_t open = permissions & ~c->allow;

	return ((c->by[0] & open) != 0 ? 1u : 0) | ((c->by[1] & open) != 0 ? 2u : 0);
}

/* A sorted list of indices has this one. */
bool list_has(const uint16_t *list, size_t count, uint16_t index);
/* The first that two sorted lists share. */
bool list_common(const uint16_t *a, size_t a_count, const uint16_t *b, size_t b_count, uint16_t *out);

/*
 * Distances through `enter` to the nearest of the subjects that `goal` marks: next[s] is the subject after s on the shortest way (s itself at the
 * goal), 0: there is no way. Among ways of one length the one whose next subject comes first. Indices from 1. O(subjects + edges).
 */
struct analysis_ways {
	uint16_t next[POLICY_SUBJECTS_MAX + 1];
	uint16_t steps[POLICY_SUBJECTS_MAX + 1];	/* edges to the goal */
};
void analysis_ways(const struct analysis *a, const bool *goal, struct analysis_ways *out);
/* Write the way from a subject; returns its length in subjects, which may be greater than max. 0: none. */
size_t analysis_way(const struct analysis_ways *w, uint16_t from, uint16_t *path, size_t max);
/* Mark all that these (sorted, each once) can become, themselves included; reached has a place for each subject and begins empty. */
void analysis_reach(const struct analysis *a, const uint16_t *from, size_t count, bool *reached);
/* The edge, or NULL. Without a ticket before those that want one. */
const struct policy_enter *analysis_edge(const struct analysis *a, uint16_t from, uint16_t to);
/* "mail.mailadm -> mail.recovery (with ticket)" */
void analysis_way_text(struct buf *out, const struct analysis *a, const struct analysis_ways *w, uint16_t from);
