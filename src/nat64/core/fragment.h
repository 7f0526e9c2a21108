/*
 * Later fragments of a stateful translation: they have no ports, so they follow the first one of their datagram (RFC 6146 3.4).
 *
 * A first fragment, once translated, leaves its addresses in the map `fragment`; those that come after it take them from there, in any
 * order. One that comes before it goes to the slow path, which puts the datagram together and lets it go as a whole.
 * Stateless translation needs none of this: addresses alone say where a fragment goes.
 */
#pragma once
#include "nat64/core/address.h"

XLAT_INLINE void fragment_key(const struct xlat *x, struct xlat_fragment_key *key)
{
	addr_set(key->src, x->ip.src);
	addr_set(key->dst, x->ip.dst);
	key->id = x->ip.id;
	key->protocol = x->ip.protocol;
	key->family = x->ip.family;
	key->zero[0] = key->zero[1] = 0;
}

/* A part of a datagram that came in parts. */
XLAT_INLINE bool fragment_is(const struct xlat_ip *ip)
{
	return ip->more || ip->fragment_at != 0;
}

/*
 * For a fragment with fragment_at != 0. 0: x->to has its addresses (no ports), HAIRPINNED is set if it goes back; else the verdict
 * is set: SLOW when its first one is not known, DROP when that was dropped or the slow path does not know it either.
 */
XLAT_INLINE int fragment_follow(struct xlat *x)
{
	struct xlat_fragment_key key;
	const struct xlat_fragment *f;

	fragment_key(x, &key);
	f = env_fragment(x, &key);
	if (f == NULL || xlat_passed(x->now, f->until))
		return x->flags & XLAT_FROM_SLOW ? xlat_drop(x, XLAT_R_FRAGMENT_UNKNOWN) : xlat_say(x, XLAT_SLOW, XLAT_R_FRAGMENT_UNKNOWN);
	if (f->drop != XLAT_R_NONE)
		return xlat_drop(x, (enum xlat_reason)f->drop);
	addr_set(x->to.src, f->src);
	addr_set(x->to.dst, f->dst);
	x->to.family = (__u8)f->family;
	x->to.sport = x->to.dport = 0;
	if (x->to.family == x->ip.family)
		x->flags |= XLAT_HAIRPINNED;
	xlat_step(x, XLAT_S_FRAGMENT, x->ip.fragment_at);
	return 0;
}

/* For a first fragment of more: x->to is what the others get, or `drop` says why they get nothing. Replaces an older datagram with this identification. */
XLAT_INLINE void fragment_lead(struct xlat *x, const struct xlat_config *config, enum xlat_reason drop)
{
	struct xlat_fragment_key key;
	struct xlat_fragment f;

	if (x->flags & XLAT_DRY)
		return;
	fragment_key(x, &key);
	addr_set(f.src, x->to.src);
	addr_set(f.dst, x->to.dst);
	f.until = x->now + config->timeout[XLAT_T_FRAGMENT];
	f.id = x->ip.id;
	f.drop = drop;
	f.family = x->to.family;
	env_fragment_put(x, &key, &f);
}
