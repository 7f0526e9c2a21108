/*
 * What the core asks of its home, in the kernel: env.h by maps.
 *
 * The verifier sees pointers into maps as such for as long as they stay in registers; the core asks again
 * rather than keeping them in struct xlat.
 */
#pragma once
#include "nat64/core/maps.bpf.h"

XLAT_INLINE const struct xlat_config *env_config(struct xlat *x)
{
	__u32 bank = x->bank & 1;

	return bpf_map_lookup_elem(&config, &bank);
}

XLAT_INLINE struct xlat_control *env_control(struct xlat *x)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

XLAT_INLINE struct xlat_stats *env_stats(struct xlat *x)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&stats, &zero);
}

XLAT_INLINE const struct xlat_eam *env_eam6(struct xlat *x, const __be32 addr[4])
{
	struct xlat_eam6_key key = { .bits = 128, .addr = { addr[0], addr[1], addr[2], addr[3] } };
	__u32 bank = x->bank & 1;
	void *trie = bpf_map_lookup_elem(&eam6, &bank);

	return trie == NULL ? NULL : bpf_map_lookup_elem(trie, &key);
}

XLAT_INLINE const struct xlat_eam *env_eam4(struct xlat *x, __be32 addr)
{
	struct xlat_eam4_key key = { .bits = 32, .addr = addr };
	__u32 bank = x->bank & 1;
	void *trie = bpf_map_lookup_elem(&eam4, &bank);

	return trie == NULL ? NULL : bpf_map_lookup_elem(trie, &key);
}

XLAT_INLINE struct xlat_session *env_session(struct xlat *x, const struct xlat_session_key *key)
{
	return bpf_map_lookup_elem(&session, key);
}

XLAT_INLINE int env_session_add(struct xlat *x, const struct xlat_session_key *key, const struct xlat_session *value)
{
	return (int)bpf_map_update_elem(&session, key, value, BPF_NOEXIST);
}

XLAT_INLINE int env_session_delete(struct xlat *x, const struct xlat_session_key *key)
{
	return (int)bpf_map_delete_elem(&session, key);
}

XLAT_INLINE struct xlat_slot *env_slot(struct xlat *x, __u32 number)
{
	return bpf_map_lookup_elem(&slot, &number);
}

XLAT_INLINE __u32 env_bib6(struct xlat *x, const struct xlat_bib6_key *key)
{
	const __u32 *number = bpf_map_lookup_elem(&bib6, key);

	return number == NULL ? 0 : *number;
}

XLAT_INLINE int env_bib6_add(struct xlat *x, const struct xlat_bib6_key *key, __u32 number)
{
	return (int)bpf_map_update_elem(&bib6, key, &number, BPF_NOEXIST);
}

XLAT_INLINE int env_bib6_delete(struct xlat *x, const struct xlat_bib6_key *key)
{
	return (int)bpf_map_delete_elem(&bib6, key);
}

XLAT_INLINE struct xlat_bib *env_bib(struct xlat *x, __u32 number)
{
	return bpf_map_lookup_elem(&bib, &number);
}

XLAT_INLINE struct xlat_port_group *env_pool_group(struct xlat *x, __u32 slot_number, __u32 group)
{
	void *table = bpf_map_lookup_elem(&pool, &slot_number);

	return table == NULL ? NULL : bpf_map_lookup_elem(table, &group);
}

XLAT_INLINE __u32 env_subscriber6(struct xlat *x, const struct xlat_subscriber_key *key)
{
	const __u32 *number = bpf_map_lookup_elem(&subscriber6, key);

	return number == NULL ? 0 : *number;
}

XLAT_INLINE int env_subscriber6_add(struct xlat *x, const struct xlat_subscriber_key *key, __u32 number)
{
	return (int)bpf_map_update_elem(&subscriber6, key, &number, BPF_NOEXIST);
}

XLAT_INLINE int env_subscriber6_delete(struct xlat *x, const struct xlat_subscriber_key *key)
{
	return (int)bpf_map_delete_elem(&subscriber6, key);
}

XLAT_INLINE struct xlat_subscriber *env_subscriber(struct xlat *x, __u32 number)
{
	return bpf_map_lookup_elem(&subscriber, &number);
}

XLAT_INLINE struct xlat_fragment *env_fragment(struct xlat *x, const struct xlat_fragment_key *key)
{
	return bpf_map_lookup_elem(&fragment, key);
}

XLAT_INLINE void env_fragment_put(struct xlat *x, const struct xlat_fragment_key *key, const struct xlat_fragment *value)
{
	(void)bpf_map_update_elem(&fragment, key, value, BPF_ANY);
}

XLAT_INLINE __u32 env_slow(struct xlat *x, const struct xlat_slow_key *key)
{
	const struct xlat_control *c = env_control(x);
	const __u32 *until;

	if (c == NULL || likely(xlat_passed(x->now, XLAT_READ(c->slow_until))))
		return 0;
	until = bpf_map_lookup_elem(&slow, key);
	return until == NULL ? 0 : *until;
}

XLAT_INLINE void env_slow_put(struct xlat *x, const struct xlat_slow_key *key, __u32 until)
{
	struct xlat_control *c = env_control(x);

	(void)bpf_map_update_elem(&slow, key, &until, BPF_ANY);
	/* After the entry, so that who sees the one finds the other. Two at a time may leave the lesser: one tick apart. */
	if (c != NULL && (xlat_passed(x->now, XLAT_READ(c->slow_until)) || !xlat_passed(c->slow_until, until)))
		XLAT_WRITE(c->slow_until, until);
}

XLAT_INLINE __u32 env_random(struct xlat *x)
{
	struct xlat_control *c = env_control(x);

	return c != NULL && unlikely(c->random_fixed != 0) ? xlat_random_step(&c->random) : bpf_get_prandom_u32();
}

/* ns: CLOCK_MONOTONIC, or what a test says. */
XLAT_INLINE __u64 env_clock_ns(const struct xlat_control *c)
{
	return c != NULL && unlikely(c->clock_fixed != 0) ? c->clock_ns : bpf_ktime_get_ns();
}

XLAT_INLINE struct xlat_event *env_event(struct xlat *x)
{
	struct xlat_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	struct xlat_stats *s;

	if (likely(e != NULL)) {
		xlat_zero(e, sizeof(*e));
		e->time_ns = env_clock_ns(env_control(x));
		return e;
	}
	s = env_stats(x);
	if (s != NULL)
		s->events_lost++;
	return NULL;
}

XLAT_INLINE void env_event_send(struct xlat *x, struct xlat_event *e)
{
	bpf_ringbuf_submit(e, 0);
}
