/*
 * The native home's answers to env.h: tables in memory that behave as the maps of the programs do.
 *
 * Hash tables are preallocated and a freed entry is used again at once, as in the kernel: what the core must bear there it
 * has to bear here. A lock guards each hash table, as the kernel guards its buckets; slabs, port tables and the control block have
 * none, so several threads, each with its own struct xlat_env, may run the core on the same tables. Filling and
 * emptying is native/table.c.
 */
#pragma once
#include "nat64/core/env.h"

#define XLAT_NATIVE_EVENTS 4096u

struct xlat_hash {
	__u32 lock;
	__u32 key_bytes, value_bytes, stride;
	__u32 count, used;
	__u32 mask;			/* of buckets */
	__u32 free;			/* entry + 1; 0: none */
	__u32 hand;			/* of an LRU table: the next to go when it is full */
	bool lru;
	__u32 *bucket, *next;		/* entry + 1 */
	__u8 *entry;			/* key, value */
};

struct xlat_tables {
	struct xlat_control control;
	struct xlat_config config[2];
	struct xlat_hash session, bib6, subscriber6, fragment, slow;
	struct xlat_slot *slot;
	struct xlat_bib *bib;
	struct xlat_subscriber *subscriber;
	struct xlat_port_group *pool[XLAT_POOL_ADDRESSES_MAX];
	struct xlat_eam *eam;
	__u32 eam_count, eam_room;
};

/* One processor of the native home. */
struct xlat_env {
	struct xlat_tables *t;
	struct xlat_stats stats;
	struct xlat_event event;	/* being filled */
	struct xlat_event *events;	/* ring of XLAT_NATIVE_EVENTS, or NULL: none are kept */
	__u32 event_first, event_count;
	__u64 random;			/* own seed, unless control says random_fixed */
};

/* native/table.c; values stay where they are until they are deleted. */
void *xlat_hash_find(struct xlat_hash *h, const void *key);
int xlat_hash_add(struct xlat_hash *h, const void *key, const void *value, bool replace);
int xlat_hash_delete(struct xlat_hash *h, const void *key);

XLAT_INLINE struct xlat_env *env_native(struct xlat *x)
{
	return (struct xlat_env *)(uintptr_t)x->env;
}

XLAT_INLINE struct xlat_tables *env_tables(struct xlat *x)
{
	return env_native(x)->t;
}

XLAT_INLINE const struct xlat_config *env_config(struct xlat *x)
{
	return &env_tables(x)->config[x->bank & 1];
}

XLAT_INLINE struct xlat_control *env_control(struct xlat *x)
{
	return &env_tables(x)->control;
}

XLAT_INLINE struct xlat_stats *env_stats(struct xlat *x)
{
	return &env_native(x)->stats;
}

XLAT_INLINE bool env_matches(const __be32 *a, const __be32 *b, __u32 bits)
{
	for (__u32 i = 0; bits != 0; i++) {
		__u32 n = bits < 32 ? bits : 32;
		__be32 mask = bpf_htonl(0xffffffffu << (32 - n));

		if (((a[i] ^ b[i]) & mask) != 0)
			return false;
		bits -= n;
	}
	return true;
}

/* As the tries of the programs: longest prefix. Few rows here, so one after the other. */
XLAT_INLINE const struct xlat_eam *env_eam6(struct xlat *x, const __be32 addr[4])
{
	const struct xlat_tables *t = env_tables(x);
	const struct xlat_eam *best = NULL;

	for (__u32 i = 0; i < t->eam_count; i++) {
		const struct xlat_eam *e = &t->eam[i];
		if ((best == NULL || e->bits6 > best->bits6) && env_matches(e->addr6, addr, e->bits6))
			best = e;
	}
	return best;
}

XLAT_INLINE const struct xlat_eam *env_eam4(struct xlat *x, __be32 addr)
{
	const struct xlat_tables *t = env_tables(x);
	const struct xlat_eam *best = NULL;

	for (__u32 i = 0; i < t->eam_count; i++) {
		const struct xlat_eam *e = &t->eam[i];
		if ((best == NULL || e->bits4 > best->bits4) && env_matches(&e->addr4, &addr, e->bits4))
			best = e;
	}
	return best;
}

XLAT_INLINE struct xlat_session *env_session(struct xlat *x, const struct xlat_session_key *key)
{
	return (struct xlat_session *)xlat_hash_find(&env_tables(x)->session, key);
}

XLAT_INLINE int env_session_add(struct xlat *x, const struct xlat_session_key *key, const struct xlat_session *value)
{
	return xlat_hash_add(&env_tables(x)->session, key, value, false);
}

XLAT_INLINE int env_session_delete(struct xlat *x, const struct xlat_session_key *key)
{
	return xlat_hash_delete(&env_tables(x)->session, key);
}

XLAT_INLINE struct xlat_slot *env_slot(struct xlat *x, __u32 number)
{
	struct xlat_tables *t = env_tables(x);

	return number < t->control.slab[XLAT_SLAB_SESSION].count ? &t->slot[number] : NULL;
}

XLAT_INLINE __u32 env_bib6(struct xlat *x, const struct xlat_bib6_key *key)
{
	const __u32 *number = (const __u32 *)xlat_hash_find(&env_tables(x)->bib6, key);

	return number != NULL ? XLAT_READ(*number) : 0;
}

XLAT_INLINE int env_bib6_add(struct xlat *x, const struct xlat_bib6_key *key, __u32 number)
{
	return xlat_hash_add(&env_tables(x)->bib6, key, &number, false);
}

XLAT_INLINE int env_bib6_delete(struct xlat *x, const struct xlat_bib6_key *key)
{
	return xlat_hash_delete(&env_tables(x)->bib6, key);
}

XLAT_INLINE struct xlat_bib *env_bib(struct xlat *x, __u32 number)
{
	struct xlat_tables *t = env_tables(x);

	return number < t->control.slab[XLAT_SLAB_BIB].count ? &t->bib[number] : NULL;
}

XLAT_INLINE struct xlat_port_group *env_pool_group(struct xlat *x, __u32 slot, __u32 group)
{
	struct xlat_tables *t = env_tables(x);

	if (slot >= XLAT_POOL_ADDRESSES_MAX || group >= XLAT_POOL_GROUPS || t->pool[slot] == NULL)
		return NULL;
	return &t->pool[slot][group];
}

XLAT_INLINE __u32 env_subscriber6(struct xlat *x, const struct xlat_subscriber_key *key)
{
	const __u32 *number = (const __u32 *)xlat_hash_find(&env_tables(x)->subscriber6, key);

	return number != NULL ? XLAT_READ(*number) : 0;
}

XLAT_INLINE int env_subscriber6_add(struct xlat *x, const struct xlat_subscriber_key *key, __u32 number)
{
	return xlat_hash_add(&env_tables(x)->subscriber6, key, &number, false);
}

XLAT_INLINE int env_subscriber6_delete(struct xlat *x, const struct xlat_subscriber_key *key)
{
	return xlat_hash_delete(&env_tables(x)->subscriber6, key);
}

XLAT_INLINE struct xlat_subscriber *env_subscriber(struct xlat *x, __u32 number)
{
	struct xlat_tables *t = env_tables(x);

	return number < t->control.slab[XLAT_SLAB_SUBSCRIBER].count ? &t->subscriber[number] : NULL;
}

XLAT_INLINE struct xlat_fragment *env_fragment(struct xlat *x, const struct xlat_fragment_key *key)
{
	return (struct xlat_fragment *)xlat_hash_find(&env_tables(x)->fragment, key);
}

XLAT_INLINE void env_fragment_put(struct xlat *x, const struct xlat_fragment_key *key, const struct xlat_fragment *value)
{
	(void)xlat_hash_add(&env_tables(x)->fragment, key, value, true);
}

XLAT_INLINE __u32 env_slow(struct xlat *x, const struct xlat_slow_key *key)
{
	const __u32 *until = (const __u32 *)xlat_hash_find(&env_tables(x)->slow, key);

	return until != NULL ? XLAT_READ(*until) : 0;
}

XLAT_INLINE void env_slow_put(struct xlat *x, const struct xlat_slow_key *key, __u32 until)
{
	(void)xlat_hash_add(&env_tables(x)->slow, key, &until, true);
}

XLAT_INLINE __u32 env_random(struct xlat *x)
{
	struct xlat_env *e = env_native(x);

	return xlat_random_step(e->t->control.random_fixed ? &e->t->control.random : &e->random);
}

XLAT_INLINE struct xlat_event *env_event(struct xlat *x)
{
	struct xlat_env *e = env_native(x);

	if (e->events == NULL || e->event_count == XLAT_NATIVE_EVENTS) {
		e->stats.events_lost++;
		return NULL;
	}
	xlat_zero(&e->event, sizeof(e->event));
	e->event.time_ns = e->t->control.clock_ns;
	return &e->event;
}

XLAT_INLINE void env_event_send(struct xlat *x, struct xlat_event *event)
{
	struct xlat_env *e = env_native(x);

	e->events[(e->event_first + e->event_count++) % XLAT_NATIVE_EVENTS] = *event;
}
