/*
 * The perfect hash of an image's names (Lucchesi and Kowaltowski, 1992; Botelho, Kohayakawa and Ziviani, 2005), with jlink's constants and order of work, so
 * that the same names in the same order give the table that jlink wrote.
 *
 * A name's hash with the first seed leads to a redirect: 0 none; negative -1 - slot; positive: a seed, and the hash with it leads to the slot.
 */
#pragma once
#include "base/arena.h"
#include "base/slice.h"

#define JIMAGE_HASH_SEED 0x01000193u

struct jimage_hash {
	int32_t *redirects;
	uint32_t *slots;		/* index of the name + 1, or 0 */
	uint32_t length;		/* of both; at least as many as names */
};
/* Without the mask, so that a name may come in parts: each part's result is the next one's seed. */
static inline uint32_t jimage_hash_step(uint32_t seed, struct slice part)
{
	for (size_t i = 0; i < part.len; i++)
		seed = (seed * JIMAGE_HASH_SEED) ^ part.ptr[i];
	return seed;
}
#define JIMAGE_HASH_MASK 0x7fffffffu
/* names all differ. 0, -ENOMEM, or -E2BIG when they do not fit the largest table. O(names) but for collisions. */
MUST_USE int jimage_hash_build(struct arena *arena, const struct slice *names, uint32_t count, struct jimage_hash *out);
