/* Making, ending and listing the hash tables of the native home. Using them: core/env_native.h. */
#pragma once
#include "nat64/core/env_native.h"

/* Preallocated; keys are whole words. 0 or -ENOMEM. With lru, an entry goes when there is no room for a new one. */
__attribute__((warn_unused_result)) int xlat_hash_init(struct xlat_hash *h, uint32_t key_bytes, uint32_t value_bytes, uint32_t count,
						       bool lru);
void xlat_hash_done(struct xlat_hash *h);
/* The next key (its value follows it), or NULL. Both numbers begin as 0. Not beside threads that change the table. */
const uint8_t *xlat_hash_each(const struct xlat_hash *h, uint32_t *bucket, uint32_t *entry);
