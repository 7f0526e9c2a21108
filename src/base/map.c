#include "base/map.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#define MAP_FIRST_SLOTS 16u

static uint8_t process_key[16] = { 0x70, 0x72, 0x69, 0x63, 0x6b, 0x6c, 0x65, 0x21 };

void map_seed(const uint8_t key[16])
{
	memcpy(process_key, key, sizeof(process_key));
}

static inline uint64_t load_le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return le64toh(v);
}

#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))
#define SIPROUND                                                                                   \
	do {                                                                                       \
		v0 += v1; v1 = ROTL(v1, 13); v1 ^= v0; v0 = ROTL(v0, 32);                          \
		v2 += v3; v3 = ROTL(v3, 16); v3 ^= v2;                                             \
		v0 += v3; v3 = ROTL(v3, 21); v3 ^= v0;                                             \
		v2 += v1; v1 = ROTL(v1, 17); v1 ^= v2; v2 = ROTL(v2, 32);                          \
	} while (0)

uint64_t siphash(const uint8_t key[16], struct slice in)
{
	uint64_t k0 = load_le64(key), k1 = load_le64(key + 8);
	uint64_t v0 = k0 ^ 0x736f6d6570736575u, v1 = k1 ^ 0x646f72616e646f6du;
	uint64_t v2 = k0 ^ 0x6c7967656e657261u, v3 = k1 ^ 0x7465646279746573u;
	uint64_t last = (uint64_t)in.len << 56;
	size_t whole = in.len & ~(size_t)7;

	for (size_t i = 0; i < whole; i += 8) {
		uint64_t m = load_le64(in.ptr + i);
		v3 ^= m;
		SIPROUND;
		SIPROUND;
		v0 ^= m;
	}
	for (size_t i = whole; i < in.len; i++)
		last |= (uint64_t)in.ptr[i] << (8 * (i - whole));
	v3 ^= last;
	SIPROUND;
	SIPROUND;
	v0 ^= last;
	v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		SIPROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}

uint64_t map_hash(struct slice key)
{
	return siphash(process_key, key);
}

static int resize(struct map *m, size_t slots)
{
	struct map_node **fresh = calloc(slots, sizeof(*fresh));

	if (fresh == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < m->slot_count; i++) {
		struct map_node *n = m->slots[i];
		while (n != NULL) {
			struct map_node *next = n->next;
			n->next = fresh[n->hash & (slots - 1)];
			fresh[n->hash & (slots - 1)] = n;
			n = next;
		}
	}
	free(m->slots);
	m->slots = fresh;
	m->slot_count = slots;
	return 0;
}

int map_add(struct map *m, struct map_node *n, uint64_t hash)
{
	if (m->count >= m->slot_count) {
		int rc = resize(m, m->slot_count == 0 ? MAP_FIRST_SLOTS : m->slot_count * 2);
		if (rc != 0 && m->slot_count == 0)
			return rc;	/* a full table still works, only slower */
	}
	n->hash = hash;
	n->next = m->slots[hash & (m->slot_count - 1)];
	m->slots[hash & (m->slot_count - 1)] = n;
	m->count++;
	return 0;
}

void map_del(struct map *m, struct map_node *n)
{
	if (m->slot_count == 0)
		return;
	for (struct map_node **at = &m->slots[n->hash & (m->slot_count - 1)]; *at != NULL;
	     at = &(*at)->next) {
		if (*at == n) {
			*at = n->next;
			n->next = NULL;
			m->count--;
			return;
		}
	}
}

static struct map_node *same_hash(struct map_node *n, uint64_t hash)
{
	while (n != NULL && n->hash != hash)
		n = n->next;
	return n;
}

struct map_node *map_first(const struct map *m, uint64_t hash)
{
	return m->slot_count == 0 ? NULL : same_hash(m->slots[hash & (m->slot_count - 1)], hash);
}

struct map_node *map_next(const struct map_node *n, uint64_t hash)
{
	return same_hash(n->next, hash);
}

struct map_node *map_iter(const struct map *m, struct map_node *prev)
{
	size_t i = 0;

	if (prev != NULL) {
		if (prev->next != NULL)
			return prev->next;
		i = (prev->hash & (m->slot_count - 1)) + 1;
	}
	for (; i < m->slot_count; i++)
		if (m->slots[i] != NULL)
			return m->slots[i];
	return NULL;
}

struct map_node *map_any(const struct map *m)
{
	return map_iter(m, NULL);
}

void map_done(struct map *m)
{
	free(m->slots);
	*m = (struct map){ 0 };
}
