/* Hash tables of the native home: core/env_native.h says how they behave and why. */
#include <errno.h>
#include <stdlib.h>

#include "nat64/native/table.h"

static void lock(struct xlat_hash *h)
{
	while (__atomic_exchange_n(&h->lock, 1, __ATOMIC_ACQUIRE) != 0)
		;
}

static void unlock(struct xlat_hash *h)
{
	__atomic_store_n(&h->lock, 0, __ATOMIC_RELEASE);
}

static uint8_t *entry_at(const struct xlat_hash *h, uint32_t i)
{
	return h->entry + (size_t)i * h->stride;
}

static uint32_t *bucket_of(const struct xlat_hash *h, const void *key)
{
	const uint8_t *at = key;
	uint64_t sum = 0;

	for (uint32_t i = 0; i + 4 <= h->key_bytes; i += 4) {
		uint32_t word;
		memcpy(&word, at + i, sizeof(word));
		sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
		sum ^= sum >> 29;
	}
	return &h->bucket[(uint32_t)(sum >> 20) & h->mask];
}

/* Where the number of the entry stands, or the 0 at the end of the chain. */
static uint32_t *find(const struct xlat_hash *h, const void *key)
{
	uint32_t *at = bucket_of(h, key);

	while (*at != 0 && memcmp(entry_at(h, *at - 1), key, h->key_bytes) != 0)
		at = &h->next[*at - 1];
	return at;
}

static void take_out(struct xlat_hash *h, uint32_t *at)
{
	uint32_t i = *at - 1;

	*at = h->next[i];
	h->next[i] = h->free;
	h->free = i + 1;
	h->used--;
}

void *xlat_hash_find(struct xlat_hash *h, const void *key)
{
	lock(h);
	uint32_t i = *find(h, key);
	unlock(h);
	return i != 0 ? entry_at(h, i - 1) + h->key_bytes : NULL;
}

int xlat_hash_add(struct xlat_hash *h, const void *key, const void *value, bool replace)
{
	int err = 0;

	lock(h);
	uint32_t *at = find(h, key);
	if (*at != 0) {
		if (replace)
			memcpy(entry_at(h, *at - 1) + h->key_bytes, value, h->value_bytes);
		else
			err = -EEXIST;
	} else if (h->free == 0 && !h->lru) {
		err = -E2BIG;
	} else {
		if (h->free == 0) {
			uint8_t *oldest = entry_at(h, h->hand);
			h->hand = (h->hand + 1) % h->count;
			take_out(h, find(h, oldest));
			at = find(h, key);
		}
		uint32_t i = h->free - 1;
		h->free = h->next[i];
		memcpy(entry_at(h, i), key, h->key_bytes);
		memcpy(entry_at(h, i) + h->key_bytes, value, h->value_bytes);
		h->next[i] = 0;
		*at = i + 1;
		h->used++;
	}
	unlock(h);
	return err;
}

int xlat_hash_delete(struct xlat_hash *h, const void *key)
{
	lock(h);
	uint32_t *at = find(h, key);
	int err = *at != 0 ? 0 : -ENOENT;
	if (err == 0)
		take_out(h, at);
	unlock(h);
	return err;
}

int xlat_hash_init(struct xlat_hash *h, uint32_t key_bytes, uint32_t value_bytes, uint32_t count, bool lru)
{
	uint32_t buckets = 1;

	while (buckets < count)
		buckets *= 2;
	*h = (struct xlat_hash){ .key_bytes = key_bytes, .value_bytes = value_bytes, .count = count, .mask = buckets - 1, .lru = lru };
	h->stride = (key_bytes + value_bytes + 7) / 8 * 8;
	h->bucket = calloc(buckets, sizeof(*h->bucket));
	h->next = calloc(count, sizeof(*h->next));
	h->entry = calloc(count, h->stride);
	if (h->bucket == NULL || h->next == NULL || h->entry == NULL) {
		xlat_hash_done(h);
		return -ENOMEM;
	}
	for (uint32_t i = count; i > 0; i--) {
		h->next[i - 1] = h->free;
		h->free = i;
	}
	return 0;
}

void xlat_hash_done(struct xlat_hash *h)
{
	free(h->bucket);
	free(h->next);
	free(h->entry);
	*h = (struct xlat_hash){ 0 };
}

const uint8_t *xlat_hash_each(const struct xlat_hash *h, uint32_t *bucket, uint32_t *entry)
{
	while (*entry == 0) {
		if (*bucket > h->mask)
			return NULL;
		*entry = h->bucket[(*bucket)++];
	}
	uint32_t i = *entry - 1;
	*entry = h->next[i];
	return entry_at(h, i);
}
