#include "dvm/container/jimage_hash.h"

#include <errno.h>

#include "dvm/container/container_limits.h"

#define RETRIES_MAX 1000u		/* seeds tried for one chain before the table grows */

struct chains {
	uint32_t *first, *next;		/* index of a name + 1: of each slot, and behind each name; in the order of the names */
	uint32_t *size;			/* of each slot's chain */
	uint32_t *sorted;		/* slots that have a chain, longest first, else in order */
	uint32_t count;
};

static uint32_t slot_of(struct slice name, uint32_t seed, uint32_t length)
{
	return (jimage_hash_step(seed, name) & JIMAGE_HASH_MASK) % length;
}

static int chain_up(struct arena *arena, const struct slice *names, uint32_t count, uint32_t length, struct chains *c)
{
	c->first = arena_array(arena, length, sizeof(*c->first));
	c->next = arena_array(arena, count, sizeof(*c->next));
	c->size = arena_array(arena, length, sizeof(*c->size));
	c->sorted = arena_array(arena, length, sizeof(*c->sorted));
	if (c->sorted == NULL || c->size == NULL || c->next == NULL || c->first == NULL)
		return -ENOMEM;
	uint32_t longest = 0;
	/* Backwards, so that each chain is in the order of the names. */
	for (uint32_t i = count; i-- > 0;) {
		uint32_t at = slot_of(names[i], JIMAGE_HASH_SEED, length);
		c->next[i] = c->first[at];
		c->first[at] = i + 1;
		longest = MAX(longest, ++c->size[at]);
	}
	/* Counting sort: stable. */
	uint32_t *starts = arena_array(arena, (size_t)longest + 2, sizeof(*starts));
	if (starts == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < length; i++)
		if (c->size[i] != 0)
			starts[longest - c->size[i] + 1]++;
	for (uint32_t i = 1; i <= longest; i++)
		starts[i] += starts[i - 1];
	c->count = starts[longest];
	for (uint32_t i = 0; i < length; i++)
		if (c->size[i] != 0)
			c->sorted[starts[longest - c->size[i]]++] = i;
	return 0;
}

/* A seed that leads each name of the chain to a free slot of its own, or 0. */
static uint32_t place(const struct chains *c, uint32_t chain, const struct slice *names, struct jimage_hash *h)
{
	uint32_t seed = JIMAGE_HASH_SEED + 1;

	for (uint32_t retry = 0; retry <= RETRIES_MAX; retry++, seed++) {
		uint32_t i = c->first[chain];
		for (; i != 0; i = c->next[i - 1]) {
			uint32_t at = slot_of(names[i - 1], seed, h->length);
			if (h->slots[at] != 0)
				break;
			h->slots[at] = i;
		}
		if (i == 0)
			return seed;
		for (uint32_t j = c->first[chain]; j != i; j = c->next[j - 1])
			h->slots[slot_of(names[j - 1], seed, h->length)] = 0;
	}
	return 0;
}

static bool pack(const struct chains *c, const struct slice *names, struct jimage_hash *h)
{
	uint32_t free_slot = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		uint32_t chain = c->sorted[i];
		if (c->size[chain] > 1) {
			uint32_t seed = place(c, chain, names, h);
			if (seed == 0)
				return false;
			h->redirects[chain] = (int32_t)seed;
			continue;
		}
		while (free_slot < h->length && h->slots[free_slot] != 0)
			free_slot++;
		if (free_slot == h->length)
			return false;
		h->slots[free_slot] = c->first[chain];
		h->redirects[chain] = -1 - (int32_t)free_slot;
	}
	return true;
}

int jimage_hash_build(struct arena *arena, const struct slice *names, uint32_t count, struct jimage_hash *out)
{
	/* jlink's next size: odd, so that it has few divisors in common with anything. */
	for (uint32_t length = count; length <= JIMAGE_TABLE_MAX; length = (length + 1) | 1) {
		struct jimage_hash h = { .length = length };
		struct chains c = { 0 };
		h.redirects = arena_array(arena, length, sizeof(*h.redirects));
		h.slots = arena_array(arena, length, sizeof(*h.slots));
		if (h.redirects == NULL || h.slots == NULL)
			return -ENOMEM;
		if (count > 0 && chain_up(arena, names, count, length, &c) != 0)
			return -ENOMEM;
		if (pack(&c, names, &h)) {
			*out = h;
			return 0;
		}
	}
	return -E2BIG;
}
