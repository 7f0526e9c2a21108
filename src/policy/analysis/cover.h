/*
 * The fewest boxes that cover wanted cells of a table [subject][object] of permissions, and lie within cells that may be covered. A box is what one
 * `allow` says: subjects times objects times permissions.
 *
 * Boxes worth looking at are the maximal ones: their subjects are an intersection of the sets of subjects that may do one thing to one object. All
 * of these are made (up to ANALYSIS_BOXES_MAX), then branch and bound chooses (up to ANALYSIS_COVER_STEPS_MAX); past either bound the best that
 * was found is a cover, but maybe not the smallest.
 */
#pragma once
#include "base/arena.h"
#include "policy/analysis/analysis_limits.h"

struct cover_table {
	size_t subjects, objects;
	const uint32_t *want, *may;	/* [subject * objects + object]; want is within may */
};

struct cover_box {
	const uint16_t *subjects;	/* rows, sorted */
	size_t subject_count;
	const uint16_t *objects;	/* columns, sorted */
	size_t object_count;
	uint32_t permissions;
};

/* 0 and *boxes in the arena; *smallest: proven. -ENOMEM. */
MUST_USE int cover_find(struct arena *arena, const struct cover_table *t, const struct cover_box **boxes, size_t *count, bool *smallest);
