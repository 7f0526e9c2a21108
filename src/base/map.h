/*
 * Intrusive hash table. The user embeds a struct map_node, computes hashes with map_hash
 * (keyed SipHash, so a stranger cannot choose collisions) and compares keys itself.
 *
 *	for (struct map_node *n = map_first(&m, hash); n != NULL; n = map_next(n, hash))
 *		if (same(container_of(n, struct thing, node), key)) ...
 */
#pragma once
#include "base/slice.h"

struct map_node {
	struct map_node *next;
	uint64_t hash;
};

struct map {
	struct map_node **slots;
	size_t slot_count;		/* a power of two, or 0 before the first insertion */
	size_t count;
};

/* The process-wide hash key; roles set it from the kernel's randomness, tests leave it fixed. */
void map_seed(const uint8_t key[16]);
uint64_t map_hash(struct slice key);
/* SipHash-2-4 with a key of the caller. */
uint64_t siphash(const uint8_t key[16], struct slice in);

/* Insert; 0 or -ENOMEM. Duplicates are the caller's affair. */
MUST_USE int map_add(struct map *m, struct map_node *n, uint64_t hash);
void map_del(struct map *m, struct map_node *n);
struct map_node *map_first(const struct map *m, uint64_t hash);
struct map_node *map_next(const struct map_node *n, uint64_t hash);
/* Any node, or NULL when empty: for tear-down loops. */
struct map_node *map_any(const struct map *m);
/* Visit all: start with NULL. Do not insert or delete meanwhile. O(slots) in total. */
struct map_node *map_iter(const struct map *m, struct map_node *prev);
/* Frees the slots, not the nodes. */
void map_done(struct map *m);
