/*
 * Reading the tables of an instance in batches, for people and metrics: never one system call an entry. What is read is a look, not a
 * snapshot: packets go on meanwhile.
 */
#pragma once
#include "nat64/instance.h"

/*
 * Entries 1 to `count` of an array. `each` returns 0, or ends the walk with its value. 0, that value, or negative errno with a
 * sentence.
 */
MUST_USE int nat64_walk_array(int fd, uint32_t count, uint32_t value_bytes,
			      int (*each)(void *arg, uint32_t number, const void *value), void *arg, struct errmsg *why);
/* All entries of a hash. */
MUST_USE int nat64_walk_hash(int fd, uint32_t key_bytes, uint32_t value_bytes,
			     int (*each)(void *arg, const void *key, const void *value), void *arg, struct errmsg *why);
/* The tick that programs see now. */
uint32_t nat64_tick(struct nat64 *n);
/* Milliseconds from `now` to the tick; negative: it has passed. */
int64_t nat64_tick_ms(uint32_t now, uint32_t tick);
