/*
 * What the core asks of its home: env_bpf.h defines all of these by maps, env_native.h by tables in memory. Pointers are valid until the next call that may delete what they point to; every one may be
 * NULL and is checked. Functions that say "atomic" may run beside others on the same entry.
 */
#pragma once
#include "nat64/core/xlat.h"

/* Current configuration (x->bank), control block, this processor's counters. Never NULL in the native home. */
XLAT_INLINE const struct xlat_config *env_config(struct xlat *x);
XLAT_INLINE struct xlat_control *env_control(struct xlat *x);
XLAT_INLINE struct xlat_stats *env_stats(struct xlat *x);
/* Explicit mappings by longest prefix, or NULL. */
XLAT_INLINE const struct xlat_eam *env_eam6(struct xlat *x, const __be32 addr[4]);
XLAT_INLINE const struct xlat_eam *env_eam4(struct xlat *x, __be32 addr);

XLAT_INLINE struct xlat_session *env_session(struct xlat *x, const struct xlat_session_key *key);
/* 0, -EEXIST (-17), -E2BIG (-7): full. Atomic. */
XLAT_INLINE int env_session_add(struct xlat *x, const struct xlat_session_key *key, const struct xlat_session *value);
XLAT_INLINE int env_session_delete(struct xlat *x, const struct xlat_session_key *key);
XLAT_INLINE struct xlat_slot *env_slot(struct xlat *x, __u32 number);

/* Number of the mapping, or 0. */
XLAT_INLINE __u32 env_bib6(struct xlat *x, const struct xlat_bib6_key *key);
XLAT_INLINE int env_bib6_add(struct xlat *x, const struct xlat_bib6_key *key, __u32 number);
XLAT_INLINE int env_bib6_delete(struct xlat *x, const struct xlat_bib6_key *key);
XLAT_INLINE struct xlat_bib *env_bib(struct xlat *x, __u32 number);

/* A group of ports or blocks of a pool address: group < XLAT_POOL_GROUPS. NULL: the address has no tables. */
XLAT_INLINE struct xlat_port_group *env_pool_group(struct xlat *x, __u32 slot, __u32 group);

XLAT_INLINE __u32 env_subscriber6(struct xlat *x, const struct xlat_subscriber_key *key);
XLAT_INLINE int env_subscriber6_add(struct xlat *x, const struct xlat_subscriber_key *key, __u32 number);
XLAT_INLINE int env_subscriber6_delete(struct xlat *x, const struct xlat_subscriber_key *key);
XLAT_INLINE struct xlat_subscriber *env_subscriber(struct xlat *x, __u32 number);

XLAT_INLINE struct xlat_fragment *env_fragment(struct xlat *x, const struct xlat_fragment_key *key);
XLAT_INLINE void env_fragment_put(struct xlat *x, const struct xlat_fragment_key *key, const struct xlat_fragment *value);
/* Tick until which a flow stays on the slow path; 0: it does not. */
XLAT_INLINE __u32 env_slow(struct xlat *x, const struct xlat_slow_key *key);
XLAT_INLINE void env_slow_put(struct xlat *x, const struct xlat_slow_key *key, __u32 until);

XLAT_INLINE __u32 env_random(struct xlat *x);
/* Room in the ring for an event, zeroed but for time_ns; NULL: none (counted). Then env_event_send. */
XLAT_INLINE struct xlat_event *env_event(struct xlat *x);
XLAT_INLINE void env_event_send(struct xlat *x, struct xlat_event *e);

#ifdef __bpf__
#include "nat64/core/env_bpf.h"
#else
#include "nat64/core/env_native.h"
#endif
