/*
 * Where a translated packet goes: the cache of next hops, and the kernel's routes and neighbours behind it.
 *
 * A look-up of routes takes 140 ns, more than twice the translation. Entries hold a second, and until the daemon sees a route or a
 * neighbour change (control.nexthop_generation). Routes are looked up as if packets came in by our own device, where
 * forwarding is on: so no sysctl of other devices matters.
 */
#pragma once
#include "nat64/bpf/home.bpf.h"

#define NEXTHOP_LIFE_TICKS XLAT_TICKS(1000)
enum { NEXTHOP_INET = 2, NEXTHOP_INET6 = 10 };	/* AF_ of the kernel */

/*
 * bpf_fib_lookup's answer, and whether we may redirect to that device. Returns 0, or its error (positive): with
 * BPF_FIB_LKUP_RET_NO_NEIGH hop->ifindex is set.
 */
static __attribute__((noinline)) int nexthop_ask(void *ctx, struct xlat *x, const struct xlat_control *c, struct xlat_nexthop *hop)
{
	struct bpf_fib_lookup fib = { .ifindex = c->lookup_ifindex, .l4_protocol = x->ip.protocol, .tot_len = 1 };
	const struct xlat_device *d;
	int err;

	if (x->to.family == 6) {
		fib.family = NEXTHOP_INET6;
		xlat_copy(fib.ipv6_src, x->to.src, 16);
		xlat_copy(fib.ipv6_dst, x->to.dst, 16);
	} else {
		fib.family = NEXTHOP_INET;
		fib.ipv4_src = x->to.src[0];
		fib.ipv4_dst = x->to.dst[0];
	}
	err = (int)bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	/* Where a neighbour is to be asked for: the kernel told the device, and no MTU. */
	*hop = (struct xlat_nexthop){ .ifindex = fib.ifindex };
	if (err != BPF_FIB_LKUP_RET_SUCCESS)
		return err < 0 ? BPF_FIB_LKUP_RET_NOT_FWDED : err;
	d = bpf_map_lookup_elem(&device, &fib.ifindex);
	*hop = (struct xlat_nexthop){ .ifindex = fib.ifindex, .mtu = fib.mtu_result };
	xlat_copy(hop->to, fib.dmac, 6);
	xlat_copy(hop->from, fib.smac, 6);
	if (d != NULL) {
		hop->ifindex = d->ifindex;
		hop->flags = (__u16)(XLAT_HOP_REDIRECT | d->vlan << XLAT_HOP_VLAN_SHIFT);
	}
	return 0;
}

/* MTU of a link: what the route says, bounded by the configuration. 0: nobody knows. */
XLAT_INLINE __u32 nexthop_bound(const struct xlat_config *config, unsigned family, __u32 mtu)
{
	__u32 most = family == 6 ? config->mtu6 : config->mtu4;

	return most != 0 && (mtu == 0 || most < mtu) ? most : mtu;
}

/*
 * The next hop of x->to. ctx: the program's context. Returns 0: *hop is written; else a BPF_FIB_LKUP_RET_: the
 * programs have no way, the host's stack or the slow path finds one or answers.
 */
XLAT_INLINE int nexthop_find(void *ctx, struct xlat *x, const struct xlat_control *c, struct xlat_nexthop *hop)
{
	struct xlat_nexthop_key key = { .family = x->to.family };
	__u32 generation = XLAT_READ(c->nexthop_generation);
	const struct xlat_config *config_now = env_config(x);
	const struct xlat_nexthop *known;
	struct xlat_stats *s = env_stats(x);
	int err;

	addr_set(key.addr, x->to.dst);
	if (config_now == NULL || s == NULL)
		return BPF_FIB_LKUP_RET_NOT_FWDED;
	known = bpf_map_lookup_elem(&nexthop, &key);
	if (likely(known != NULL && known->generation == generation && !xlat_passed(x->now, known->until) &&
		   (config_now->flags & XLAT_NEXTHOP_CACHE) != 0)) {
		*hop = *known;
		s->nexthop_hits++;
		return 0;
	}
	s->nexthop_misses++;
	err = nexthop_ask(ctx, x, c, hop);
	if (err != 0)
		return err;
	/* Here and not for each packet: another `mtu` of the file holds when this hop is asked again. */
	hop->mtu = (__u16)nexthop_bound(config_now, x->to.family, hop->mtu);
	hop->generation = generation;
	hop->until = x->now + NEXTHOP_LIFE_TICKS;
	if ((config_now->flags & XLAT_NEXTHOP_CACHE) != 0)
		(void)bpf_map_update_elem(&nexthop, &key, hop, BPF_ANY);
	return 0;
}
