/*
 * The tc home: packets as the kernel's stack has them, which may be 64 kB long (GSO) and have checksums that their device is to
 * complete (CHECKSUM_PARTIAL). Both stay so: the family is changed by bpf_skb_change_proto, and checksums by differences.
 *
 *	nat64_tc_in	clsact ingress of an interface
 *	nat64_tc_out	clsact egress of our own veth: the host's own traffic (host.h)
 *
 * Devices without Ethernet headers (tun, WireGuard) are as good: what comes from them gets one when it goes to a device that has
 * them, and the kernel takes one off in the other direction.
 *
 * What is not ours goes on to filters behind this one (TC_ACT_UNSPEC).
 */
#pragma once
#include <linux/pkt_cls.h>

#include "nat64/bpf/nexthop.bpf.h"

#define TC_LINK_BYTES 14u
#define TC_PADDING    46u		/* what Ethernet adds to short packets: left where it is, the other end cuts it */
#define TC_PASS	      (-1)		/* TC_ACT_UNSPEC */

enum { TC_PROTOCOL_IP4 = 0x0800, TC_PROTOCOL_IP6 = 0x86dd, TC_PROTOCOL_VLAN = 0x8100, TC_OTHERHOST = 3 };
enum { TC_ROOM_MAC = 1 };		/* BPF_ADJ_ROOM_MAC, and flags that headers may lack */
#define TC_ROOM_FIXED_GSO 1u
#define TC_ROOM_NO_RESET  (1u << 5)

struct tc_link { __u8 to[6], from[6]; __be16 type; } __attribute__((packed));

/* The link address of our own veth: NAT64_HOST_MAC of nat64/host.h. */
#define TC_HOST_MAC { 0x02, 0x50, 0x52, 0x4b, 0x36, 0x34 }

/* --- sums over the payload ----------------------------------------------------------------------------------- */

static long tc_sum_chunk(__u32 turn, void *arg)
{
	struct home_sum *s = arg;
	__u32 n;
	struct xlat_chunk *c = home_sum_next(s, &n);

	if (c == NULL)
		return 1;
	HOME_LENGTH(n, HOME_CHUNK);
	if (bpf_skb_load_bytes(s->ctx, s->from, c->bytes, n) != 0)
		return 1;
	return home_sum_add(s, c, n);
}

/*
 * Finish the checksum in head by the sum of what follows it, of which the core had the beginning alone: `from` is where that
 * is in the packet. 0 or -1.
 */
XLAT_PART int tc_add_payload(struct __sk_buff *skb, struct xlat *x, __u32 from)
{
	struct home_sum s = { .ctx = skb, .from = from };

	if (x == NULL || x->out_bytes < x->head_bytes)
		return -1;
	s.left = x->out_bytes - x->head_bytes;
	if (s.left != 0)
		(void)bpf_loop(HOME_CHUNKS_MAX, tc_sum_chunk, &s, 0);
	if (s.left != 0)
		return -1;
	home_add_sum(x, home_sum_value(&s));
	return 0;
}

/* --- the edit --------------------------------------------------------------------------------------------------- */

/* Bytes of head from `from` (a constant) on, up to `to`, into the packet. */
XLAT_INLINE int tc_store(struct __sk_buff *skb, struct xlat *x, __u32 link, const __u32 from, __u32 to, __u64 flags)
{
	__u32 n = to - from;

	if (to <= from)
		return 0;
	XLAT_KEEP(n);
	if (n < 1 || n > XLAT_HEAD_BYTES - from)
		return -1;
	return (int)bpf_skb_store_bytes(skb, link + from, x->head + from, n, flags);
}

/* Length and family; then bytes of the right number are at the front. */
XLAT_INLINE int tc_reshape(struct __sk_buff *skb, struct xlat *x, __u32 link)
{
	__u32 natural = x->packet_bytes - x->strip + x->head_bytes;
	__u32 family = x->head[0] >> 4;
	int more = (int)x->head_bytes - (int)x->strip;

	if (x->out_bytes < natural && (x->verdict == XLAT_ERROR || (x->flags & XLAT_INNER) != 0 || natural - x->out_bytes > TC_PADDING) &&
	    bpf_skb_change_tail(skb, link + x->packet_bytes - (natural - x->out_bytes), 0) != 0)
		return -1;
	if (family != x->family) {
		if (bpf_skb_change_proto(skb, family == 6 ? bpf_htons(TC_PROTOCOL_IP6) : bpf_htons(TC_PROTOCOL_IP4), 0) != 0)
			return -1;
		more -= family == 6 ? 20 : -20;
	}
	if (more != 0 && bpf_skb_adjust_room(skb, more, TC_ROOM_MAC, TC_ROOM_FIXED_GSO | TC_ROOM_NO_RESET) != 0)
		return -1;
	return 0;
}

/*
 * The transport's checksum: the old one, to which the kernel adds what changed. Where a device is to complete it the field
 * has the pseudo header's sum alone, and the kernel knows and adds the one change and not the other.
 */
XLAT_INLINE int tc_checksum(struct __sk_buff *skb, struct xlat *x, __u32 at)
{
	__u64 udp = x->ip.protocol == XLAT_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u16 pseudo = csum_fold(x->csum_pseudo), rest = csum_fold(x->csum_rest);

	if (pseudo != 0 && bpf_l4_csum_replace(skb, at, 0, bpf_htons(pseudo), udp | BPF_F_PSEUDO_HDR) != 0)
		return -1;
	if (rest != 0 && bpf_l4_csum_replace(skb, at, 0, bpf_htons(rest), udp) != 0)
		return -1;
	return 0;
}

/*
 * Make the edit on the packet, whose link header has `link` bytes. Link addresses stay as they came. 0, or -1: the packet is
 * spoilt.
 */
XLAT_PART int tc_edit(struct __sk_buff *skb, struct xlat *x, __u32 link)
{
	__u32 at, end;
	__be16 type;
	bool diff;

	if (x == NULL || link > TC_LINK_BYTES)
		return -1;
	if (x->csum_payload != 0 && tc_add_payload(skb, x, link + x->strip) != 0)
		return -1;
	if (tc_reshape(skb, x, link) != 0)
		return -1;
	type = (x->head[0] >> 4) == 6 ? bpf_htons(TC_PROTOCOL_IP6) : bpf_htons(TC_PROTOCOL_IP4);
	if (link != 0 && bpf_skb_store_bytes(skb, link - 2, &type, 2, 0) != 0)
		return -1;
	at = x->csum_at;
	diff = at != 0 && x->csum_payload == 0;
	if (diff)
		home_set_checksum(x, x->ip.csum);
	/* Where the device summed the packet (CHECKSUM_COMPLETE) its sum follows the IP headers; changes behind them cancel out. */
	end = x->head_bytes;
	if ((x->head[0] >> 4) == 6) {
		if (tc_store(skb, x, link, 0, end < 40 ? end : 40, BPF_F_RECOMPUTE_CSUM) != 0 || tc_store(skb, x, link, 40, end, 0) != 0)
			return -1;
	} else if (tc_store(skb, x, link, 0, end < 20 ? end : 20, BPF_F_RECOMPUTE_CSUM) != 0 || tc_store(skb, x, link, 20, end, 0) != 0) {
		return -1;
	}
	return diff ? tc_checksum(skb, x, link + at) : 0;
}

/* --- outcomes --------------------------------------------------------------------------------------------------- */

XLAT_INLINE int tc_spoilt(struct xlat *x)
{
	home_count(x, XLAT_DROP, XLAT_R_HOOK);
	return TC_ACT_SHOT;
}

/* An Ethernet header, where the packet has none. */
XLAT_INLINE int tc_link(struct __sk_buff *skb, __u32 link)
{
	struct tc_link eth = { .type = (__be16)skb->protocol };

	if (link != 0)
		return 0;
	if (bpf_skb_change_head(skb, TC_LINK_BYTES, 0) != 0)
		return -1;
	return bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) == 0 ? 0 : -1;
}

/* To the daemon, as it came; its device makes segments and completes checksums. */
XLAT_INLINE int tc_slow(struct __sk_buff *skb, struct xlat *x, const struct xlat_control *c, __u32 link)
{
	__u64 from = home_mark_address(x);

	if (!home_slow_takes(x, c))
		return TC_ACT_SHOT;
	if (tc_link(skb, link) != 0 || bpf_skb_store_bytes(skb, 6, &from, 6, 0) != 0)
		return tc_spoilt(x);
	return (int)bpf_redirect(c->slow_ifindex, 0);
}

/* To the host, as if it had come in by our veth: there the route back is, whatever reverse-path filtering says elsewhere. */
XLAT_INLINE int tc_local(struct __sk_buff *skb, struct xlat *x, const struct xlat_control *c, __u32 link)
{
	struct tc_link eth = { .to = TC_HOST_MAC, .from = TC_HOST_MAC, .type = (__be16)skb->protocol };

	if (link == 0 && bpf_skb_change_head(skb, TC_LINK_BYTES, 0) != 0)
		return tc_spoilt(x);
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) != 0)
		return tc_spoilt(x);
	return (int)bpf_redirect(c->local_ifindex, BPF_F_INGRESS);
}

/*
 * Answer who sent it. Not where the device was to complete the checksum: nothing takes that back from the packet, and the
 * answer would be spoilt by it. The slow path gets such packets whole and answers.
 */
XLAT_INLINE int tc_answer(struct __sk_buff *skb, struct xlat *x, const struct xlat_control *c, __u32 link)
{
	struct xlat_stats *s = env_stats(x);
	struct tc_link eth;

	if ((x->flags & XLAT_GSO) != 0 || xlat_partial(x))
		return tc_slow(skb, x, c, link);
	if (!home_error_allowed(x)) {
		home_count(x, XLAT_DROP, XLAT_R_ERROR_LIMITED);
		return TC_ACT_SHOT;
	}
	if (tc_edit(skb, x, link) != 0)
		return tc_spoilt(x);
	if (s != NULL)
		s->errors_sent++;
	if ((x->flags & XLAT_HOST) != 0)
		return tc_local(skb, x, c, link);
	if (link != 0) {
		__u8 mac[6];

		if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) != 0)
			return tc_spoilt(x);
		__builtin_memcpy(mac, eth.to, 6);
		__builtin_memcpy(eth.to, eth.from, 6);
		__builtin_memcpy(eth.from, mac, 6);
		if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) != 0)
			return tc_spoilt(x);
	}
	return (int)bpf_redirect(x->ifindex, 0);
}

/* The routes know the way, and the link address of the next hop as well, or the device needs none. */
XLAT_INLINE int tc_send(struct __sk_buff *skb, struct xlat *x, const struct xlat_nexthop *hop, __u32 link)
{
	struct tc_link eth;
	__u32 vlan = hop->flags >> XLAT_HOP_VLAN_SHIFT;

	if (tc_edit(skb, x, link) != 0)
		return tc_spoilt(x);
	__builtin_memcpy(eth.to, hop->to, 6);
	__builtin_memcpy(eth.from, hop->from, 6);
	eth.type = (__be16)skb->protocol;
	if (link == 0 && bpf_skb_change_head(skb, TC_LINK_BYTES, 0) != 0)
		return tc_spoilt(x);
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) != 0)
		return tc_spoilt(x);
	if (skb->vlan_present && bpf_skb_vlan_pop(skb) != 0)
		return tc_spoilt(x);
	if (unlikely(vlan != 0) && bpf_skb_vlan_push(skb, bpf_htons(TC_PROTOCOL_VLAN), (__u16)vlan) != 0)
		return tc_spoilt(x);
	return (int)bpf_redirect(hop->ifindex, 0);
}

/* The neighbour is not known yet: the kernel asks for it and keeps the packet meanwhile. */
XLAT_INLINE int tc_send_by_neighbour(struct __sk_buff *skb, struct xlat *x, __u32 ifindex, __u32 link)
{
	if (tc_edit(skb, x, link) != 0 || tc_link(skb, link) != 0)
		return tc_spoilt(x);
	if (skb->vlan_present && bpf_skb_vlan_pop(skb) != 0)
		return tc_spoilt(x);
	return (int)bpf_redirect_neigh(ifindex, NULL, 0, 0);
}

/* No way out: the host itself, or what only its stack can do, or there is no route. */
XLAT_INLINE int tc_no_hop(struct __sk_buff *skb, struct xlat *x, const struct xlat_control *c, __u32 link, int why)
{
	if (why == BPF_FIB_LKUP_RET_BLACKHOLE) {
		home_count(x, XLAT_DROP, XLAT_R_NO_ROUTE);
		return TC_ACT_SHOT;
	}
	if (why == BPF_FIB_LKUP_RET_UNREACHABLE || why == BPF_FIB_LKUP_RET_PROHIBIT)
		return tc_slow(skb, x, c, link);
	if (tc_edit(skb, x, link) != 0)
		return tc_spoilt(x);
	if (c->local_ifindex != 0)
		return tc_local(skb, x, c, link);
	return (x->flags & XLAT_HOST) != 0 ? TC_ACT_SHOT : TC_PASS;
}

XLAT_INLINE int tc_translated(struct __sk_buff *skb, struct xlat *x, const struct xlat_control *c, __u32 link)
{
	struct xlat_nexthop hop = { 0 };
	int why = nexthop_find(skb, x, c, &hop);
	const struct xlat_config *config = env_config(x);
	__u32 mtu = 0;

	if (unlikely(why != 0)) {
		if (config == NULL || why != BPF_FIB_LKUP_RET_NO_NEIGH)
			return tc_no_hop(skb, x, c, link, why);
		/* The routes tell no MTU without a neighbour; the device does, in mtu, whatever the answer. */
		(void)bpf_check_mtu(skb, hop.ifindex, &mtu, 0, 0);
		hop.mtu = (__u16)nexthop_bound(config, x->to.family, mtu < 65536 ? mtu : 0);
	}
	switch (xlat_fit(x, hop.mtu)) {
	case XLAT_TRANSLATE:
		return why == 0 ? tc_send(skb, x, &hop, link) : tc_send_by_neighbour(skb, x, hop.ifindex, link);
	case XLAT_ERROR:
		return tc_answer(skb, x, c, link);
	case XLAT_SLOW:
		return tc_slow(skb, x, c, link);
	default:
		return TC_ACT_SHOT;
	}
}

/*
 * The first bytes of the IP packet, and how long its link header is: 14, or 0 where the link header and the IP header
 * begin at the same place. False: not a packet of IP, or with tags within.
 */
XLAT_INLINE bool tc_read(struct __sk_buff *skb, struct xlat *x, __u32 *link)
{
	__u64 front[2] = { 0 };
	__u32 n;

	if (skb->len < 20 || bpf_skb_load_bytes(skb, 0, front, 14) != 0)
		return false;
	n = skb->len;
	/* Only this helper knows where the IP header is; it reads no further than the linear part. */
	if (bpf_skb_load_bytes_relative(skb, 0, x->in, 16, BPF_HDR_START_NET) != 0)
		return false;
	*link = *(const __u64 *)x->in == front[0] && *(const __u32 *)(x->in + 8) == (__u32)front[1] ? 0 : TC_LINK_BYTES;
	if (n <= *link)
		return false;
	n -= *link;
	x->packet_bytes = n;
	if (n > XLAT_BYTES)
		n = XLAT_BYTES;
	XLAT_KEEP(n);
	if (n < 1 || n > XLAT_BYTES)
		return false;
	x->in_bytes = n;
	return bpf_skb_load_bytes(skb, *link, x->in, n) == 0;
}

XLAT_INLINE int tc_run(struct __sk_buff *skb, __u32 flags)
{
	__u32 at = XLAT_SCRATCH_PACKET, link, verdict;
	struct xlat *x = bpf_map_lookup_elem(&scratch, &at);
	const struct xlat_control *c = home_control();
	__u32 protocol = skb->protocol;

	if (x == NULL || c == NULL || (protocol != bpf_htons(TC_PROTOCOL_IP4) && protocol != bpf_htons(TC_PROTOCOL_IP6)))
		return TC_PASS;
	home_begin(x, unlikely(c->clock_fixed != 0) ? c->clock_ns : bpf_ktime_get_coarse_ns());
	if (!tc_read(skb, x, &link))
		return TC_PASS;
	x->family = protocol == bpf_htons(TC_PROTOCOL_IP6) ? 6 : 4;
	x->flags = flags;
	x->mark = skb->mark;
	x->ifindex = skb->ifindex;
	if (skb->gso_size != 0) {
		x->flags |= XLAT_GSO;
		x->gso_bytes = skb->gso_size;
	}
	verdict = (__u32)xlat_plan(x);
	if (unlikely(c->trace.on != 0))
		(void)home_trace(x);
	switch (verdict) {
	case XLAT_PASS:
		return TC_PASS;
	case XLAT_TRANSLATE:
		return tc_translated(skb, x, c, link);
	case XLAT_ERROR:
		return tc_answer(skb, x, c, link);
	case XLAT_SLOW:
		return tc_slow(skb, x, c, link);
	default:
		return TC_ACT_SHOT;
	}
}

SEC("tc")
int nat64_tc_in(struct __sk_buff *skb)
{
	/* Groups are nobody's to translate, and what is for others is theirs. */
	return skb->pkt_type == 0 ? tc_run(skb, 0) : TC_PASS;
}

SEC("tc")
int nat64_tc_out(struct __sk_buff *skb)
{
	return tc_run(skb, XLAT_HOST);
}
