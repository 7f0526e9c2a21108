/*
 * "Did you mean ...?": the nearest of a few known words to one that somebody mistyped.
 */
#pragma once
#include "base/slice.h"

#define SUGGEST_BYTES_MAX 64u		/* longer words get no suggestion: bounds the cost */

/*
 * Typing errors between a and b: inserted, left out, wrong and swapped letters, case ignored.
 * SUGGEST_BYTES_MAX when either is longer than that. O(a.len * b.len).
 */
unsigned suggest_distance(struct slice a, struct slice b);

/* Start with .word set; feed all candidates; then .best is the nearest likely one or NULL. */
struct suggestion {
	struct slice word;
	const char *best;
	unsigned best_distance;
};
/* `candidate` is borrowed for as long as .best is used. */
void suggest_try(struct suggestion *s, const char *candidate);
