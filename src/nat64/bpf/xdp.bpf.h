/*
 * The XDP home.
 *
 * Frames that most traffic is of - no VLAN tag, no IPv4 options or extension headers, no fragment; TCP, UDP, echo - are read and
 * written at constant offsets. All others go through helpers that take any offset. What the core said is the same for
 * both: only moving bytes differs.
 *
 * XDP cannot see that a sender left the checksum to its device (veth: CHECKSUM_PARTIAL): then the field holds the sum of the pseudo
 * header, not inverted. One right checksum of 65,536 looks like that, and computing it again does no harm.
 */
#pragma once
#include "nat64/bpf/fast.bpf.h"

#define XDP_LINK_BYTES	14u
#define XDP_TAG_BYTES	4u
#define XDP_LINK_MAX	(XDP_LINK_BYTES + 2 * XDP_TAG_BYTES)

enum { XDP_TYPE_IP4 = 0x0800, XDP_TYPE_IP6 = 0x86dd, XDP_TYPE_VLAN = 0x8100, XDP_TYPE_QINQ = 0x88a8 };

/* Which tags the edited frame has: those that it came with, or this one; 0: none. */
#define XDP_TAGS_KEPT 0xffffu

struct xdp_link { __u8 to[6], from[6]; __be16 type; } __attribute__((packed));
struct xdp_tag { __be16 id, type; };

/* 4 bytes at least of which the places in memory are not aligned, which the processors that we run on read and write all the same. */
#define XDP_MOVE(type, to, from) (*(volatile type *)(to) = *(const volatile type *)(from))

/* Bytes: 4 * n, 20 to 60; constant. */
XLAT_INLINE void xdp_move(void *to, const void *from, __u32 bytes)
{
	__u32 at = 0;

	for (__u32 i = 0; i < 8; i++) {
		if (at + 8 > bytes)
			break;
		*(__u64 *)((__u8 *)to + at) = *(const __u64 *)((const __u8 *)from + at);
		at += 8;
	}
	if (at + 4 <= bytes)
		*(__u32 *)((__u8 *)to + at) = *(const __u32 *)((const __u8 *)from + at);
}

/* --- sums over what the frame holds ----------------------------------------------------------------------- */

static long xdp_sum_chunk(__u32 turn, void *arg)
{
	struct home_sum *s = arg;
	__u32 n;
	struct xlat_chunk *c = home_sum_next(s, &n);

	if (c == NULL)
		return 1;
	HOME_LENGTH(n, HOME_CHUNK);
	if (bpf_xdp_load_bytes(s->ctx, s->from, c->bytes, n) != 0)
		return 1;
	return home_sum_add(s, c, n);
}

/* Folded sum, in host order, of the frame's bytes from .. from + bytes; negative: the frame has no such bytes. */
XLAT_PART int xdp_sum_of(struct xdp_md *ctx, __u32 from, __u32 bytes)
{
	struct home_sum s = { .ctx = ctx, .from = from, .left = bytes };

	if (bytes != 0)
		(void)bpf_loop(HOME_CHUNKS_MAX, xdp_sum_chunk, &s, 0);
	return s.left != 0 ? -1 : home_sum_value(&s);
}

/* Whether the transport's checksum is the bare sum of the pseudo header. */
XLAT_INLINE bool xdp_is_partial(const struct xlat *x)
{
	__u32 sum;

	if (x->csum_at == 0 || x->csum_payload != 0 || (x->ip.protocol != XLAT_TCP && x->ip.protocol != XLAT_UDP))
		return false;
	sum = csum_address(x->ip.src) + csum_address(x->ip.dst) + x->ip.payload + x->ip.protocol;
	return csum_fold(sum) == x->ip.csum;
}

/*
 * The checksum in head is right if the one in the packet was. Here it was not, and this is the one that it should have been: the
 * difference goes over (RFC 1624).
 */
XLAT_INLINE int xdp_complete(struct xdp_md *ctx, struct xlat *x, __u32 link)
{
	/* The field itself holds the pseudo header's sum, so the sum over all bytes is that of both. */
	int sum = xdp_sum_of(ctx, link + x->ip.l4, x->ip.payload);
	__u16 now;

	if (sum < 0)
		return -1;
	now = csum_update(home_checksum(x), csum_change((__u16)~sum, x->ip.csum));
	home_set_checksum(x, x->ip.protocol == XLAT_UDP ? csum_udp(now) : now);
	return 0;
}

/* Add the sum of what follows head, of which the core had the beginning alone. */
XLAT_INLINE int xdp_add_payload(struct xdp_md *ctx, struct xlat *x, __u32 link)
{
	int sum;

	if (x->out_bytes < x->head_bytes)
		return -1;
	sum = xdp_sum_of(ctx, link + x->strip, x->out_bytes - x->head_bytes);
	if (sum < 0)
		return -1;
	home_add_sum(x, (__u32)sum);
	return 0;
}

/* --- the edit ------------------------------------------------------------------------------------------------ */

/*
 * Make the edit on the frame: link is the length of its Ethernet header with tags. MAC addresses stay as they came.
 * Returns 0, or -1: the frame is spoilt or cannot be changed (no headroom), drop it.
 */
XLAT_PART int xdp_edit(struct xdp_md *ctx, struct xlat *x, __u32 link, __u32 tags)
{
	__u8 head[XDP_LINK_MAX + 2];
	__u32 natural, link_new = link, n;
	__be16 type;

	if (x == NULL || link < XDP_LINK_BYTES || link > XDP_LINK_MAX)
		return -1;
	if (x->csum_payload != 0) {
		if (xdp_add_payload(ctx, x, link) != 0)
			return -1;
	} else if (x->verdict == XLAT_TRANSLATE && unlikely(xdp_is_partial(x))) {
		if (xdp_complete(ctx, x, link) != 0)
			return -1;
		home_count(x, XLAT_TRANSLATE, XLAT_R_PARTIAL_CHECKSUM);
	}
	natural = x->packet_bytes - x->strip + x->head_bytes;
	if (x->out_bytes < natural && bpf_xdp_adjust_tail(ctx, (int)(x->out_bytes - natural)) != 0)
		return -1;
	if (bpf_xdp_load_bytes(ctx, 0, head, XDP_LINK_BYTES) != 0)
		return -1;
	if (link > XDP_LINK_BYTES && bpf_xdp_load_bytes(ctx, XDP_LINK_BYTES, head + XDP_LINK_BYTES, XDP_TAG_BYTES) != 0)
		return -1;
	if (link > XDP_LINK_BYTES + XDP_TAG_BYTES &&
	    bpf_xdp_load_bytes(ctx, XDP_LINK_BYTES + XDP_TAG_BYTES, head + XDP_LINK_BYTES + XDP_TAG_BYTES, XDP_TAG_BYTES) != 0)
		return -1;
	if (tags != XDP_TAGS_KEPT) {
		link_new = tags == 0 ? XDP_LINK_BYTES : XDP_LINK_BYTES + XDP_TAG_BYTES;
		*(__be16 *)(void *)(head + 12) = bpf_htons(XDP_TYPE_VLAN);
		*(__be16 *)(void *)(head + 14) = bpf_htons((__u16)tags);
	}
	if (bpf_xdp_adjust_head(ctx, (int)(x->strip - x->head_bytes + link - link_new)) != 0)
		return -1;
	type = x->head[0] >> 4 == 6 ? bpf_htons(XDP_TYPE_IP6) : bpf_htons(XDP_TYPE_IP4);
	n = link_new - 2;
	if (n < 12 || n > XDP_LINK_MAX - 2)
		return -1;
	if (bpf_xdp_store_bytes(ctx, 0, head, 12) != 0)
		return -1;
	if (n >= 16 && bpf_xdp_store_bytes(ctx, 12, head + 12, 4) != 0)
		return -1;
	if (n >= 20 && bpf_xdp_store_bytes(ctx, 16, head + 16, 4) != 0)
		return -1;
	if (bpf_xdp_store_bytes(ctx, n, &type, 2) != 0)
		return -1;
	n = x->head_bytes;
	if (n == 0 || n > XLAT_HEAD_BYTES)
		return -1;
	HOME_LENGTH(n, 256);
	return bpf_xdp_store_bytes(ctx, link_new, x->head, n) == 0 ? 0 : -1;
}

/* The same for untagged frames with heads of one length each. True: done. False: nothing was done yet, or *bad. */
XLAT_INLINE bool xdp_edit_fast(struct xdp_md *ctx, const struct xlat *x, const struct xlat_nexthop *hop, bool *bad)
{
	__u32 head_bytes = x->head_bytes;
	struct xdp_link *eth;
	void *data, *end;

	*bad = false;
	if (x->csum_payload != 0 || x->packet_bytes - x->strip + head_bytes != x->out_bytes || xdp_is_partial(x))
		return false;
	if (head_bytes != 28 && head_bytes != 40 && head_bytes != 48 && head_bytes != 60)
		return false;
	if (bpf_xdp_adjust_head(ctx, (int)(x->strip - head_bytes)) != 0) {
		*bad = true;
		return false;
	}
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	*bad = true;
	if (data + XDP_LINK_BYTES + 28 > end)
		return false;
	__builtin_memcpy(eth->to, hop->to, 6);
	__builtin_memcpy(eth->from, hop->from, 6);
	eth->type = x->to.family == 6 ? bpf_htons(XDP_TYPE_IP6) : bpf_htons(XDP_TYPE_IP4);
	data += XDP_LINK_BYTES;
	if (head_bytes == 28) {
		xdp_move(data, x->head, 28);
	} else if (head_bytes == 48 && data + 48 <= end) {
		xdp_move(data, x->head, 48);
	} else if (head_bytes == 40 && data + 40 <= end) {
		xdp_move(data, x->head, 40);
	} else if (head_bytes == 60 && data + 60 <= end) {
		xdp_move(data, x->head, 60);
	} else {
		return false;
	}
	*bad = false;
	return true;
}

/* --- reading a frame ------------------------------------------------------------------------------------------- */

/* The first bytes (a constant) of the IP packet; false: it has fewer. */
XLAT_INLINE bool xdp_copy(struct xlat *x, const __u8 *ip, const void *end, const __u32 bytes)
{
	if ((const void *)(ip + bytes) > end)
		return false;
	xdp_move(x->in, ip, bytes);
	x->in_bytes = bytes;
	return true;
}

/* Copy the headers of a plain packet. True: x->in and in_bytes are set. */
XLAT_INLINE bool xdp_read_fast(struct xlat *x, const __u8 *ip, const void *end, __u32 family)
{
	if (family == 6) {
		if ((const void *)(ip + 48) > end)
			return false;
		if (ip[6] == XLAT_TCP)
			return xdp_copy(x, ip, end, 60);
		return (ip[6] == XLAT_UDP || (ip[6] == XLAT_ICMP6 && (ip[40] == 128 || ip[40] == 129))) && xdp_copy(x, ip, end, 48);
	}
	if ((const void *)(ip + 28) > end || ip[0] != 0x45 || (*(const __be16 *)(const void *)(ip + 6) & bpf_htons(0x3fff)) != 0)
		return false;
	if (ip[9] == XLAT_TCP)
		return xdp_copy(x, ip, end, 40);
	return (ip[9] == XLAT_UDP || (ip[9] == XLAT_ICMP && (ip[20] == 8 || ip[20] == 0))) && xdp_copy(x, ip, end, 28);
}

XLAT_INLINE bool xdp_read_any(struct xdp_md *ctx, struct xlat *x, __u32 link)
{
	__u32 n = x->packet_bytes;

	if (n > XLAT_BYTES)
		n = XLAT_BYTES;
	if (n == 0)
		return false;
	x->in_bytes = n;
	xlat_zero(x->in, sizeof(x->in));
	HOME_LENGTH(n, XLAT_BYTES);
	return bpf_xdp_load_bytes(ctx, link, x->in, n) == 0;
}

/* --- outcomes ------------------------------------------------------------------------------------------------- */

/* To the daemon, as the frame came, but for the sender's link address: there the packet's mark is told (home.bpf.h). XDP knows none. */
XLAT_INLINE int xdp_slow(struct xdp_md *ctx, struct xlat *x, const struct xlat_control *c)
{
	struct xdp_link *eth = (void *)(long)ctx->data;

	if ((x->flags & XLAT_BUFFERS) != 0 || (void *)(eth + 1) > (void *)(long)ctx->data_end) {
		home_count(x, XLAT_DROP, XLAT_R_BUFFERS);
		return XDP_DROP;
	}
	if (!home_slow_takes(x, c))
		return XDP_DROP;
	__builtin_memset(eth->from, 0, 6);
	return (int)bpf_redirect(c->slow_ifindex, 0);
}

XLAT_INLINE int xdp_spoilt(struct xlat *x)
{
	home_count(x, XLAT_DROP, XLAT_R_HOOK);
	return XDP_DROP;
}

/* Back to who sent it. */
XLAT_INLINE int xdp_answer(struct xdp_md *ctx, struct xlat *x, __u32 link)
{
	struct xlat_stats *s = env_stats(x);
	struct xdp_link *eth;
	__u8 mac[6];

	if (!home_error_allowed(x)) {
		home_count(x, XLAT_DROP, XLAT_R_ERROR_LIMITED);
		return XDP_DROP;
	}
	if (xdp_edit(ctx, x, link, XDP_TAGS_KEPT) != 0)
		return xdp_spoilt(x);
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return xdp_spoilt(x);
	__builtin_memcpy(mac, eth->to, 6);
	__builtin_memcpy(eth->to, eth->from, 6);
	__builtin_memcpy(eth->from, mac, 6);
	if (s != NULL)
		s->errors_sent++;
	return XDP_TX;
}

/* Translated and sent by the programs alone. */
XLAT_INLINE int xdp_send(struct xdp_md *ctx, struct xlat *x, const struct xlat_nexthop *hop, __u32 link)
{
	bool back = hop->ifindex == x->ifindex, bad = false;

	if (unlikely(link != XDP_LINK_BYTES || hop->flags >> XLAT_HOP_VLAN_SHIFT != 0) || !xdp_edit_fast(ctx, x, hop, &bad)) {
		__u32 vlan = hop->flags >> XLAT_HOP_VLAN_SHIFT;
		struct xdp_link *eth;

		if (bad || xdp_edit(ctx, x, link, vlan == 0 && back ? XDP_TAGS_KEPT : vlan) != 0)
			return xdp_spoilt(x);
		eth = (void *)(long)ctx->data;
		if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
			return xdp_spoilt(x);
		__builtin_memcpy(eth->to, hop->to, 6);
		__builtin_memcpy(eth->from, hop->from, 6);
	}
	return back ? XDP_TX : (int)bpf_redirect(hop->ifindex, 0);
}

/*
 * No way that the programs know: no neighbour yet, a device that they cannot send to, the host itself. The slow path sends by
 * sockets, which waits for neighbours and answers when there is no route; without it the host's stack gets the translated packet.
 */
XLAT_INLINE int xdp_elsewhere(struct xdp_md *ctx, struct xlat *x, const struct xlat_control *c, __u32 link, int why)
{
	if (home_slow_lives(c, x->now)) {
		/* It was counted as translated; the daemon does that now. */
		xlat_count(x, (__u64)-1);
		x->verdict = XLAT_SLOW;
		x->reason = why == BPF_FIB_LKUP_RET_NO_NEIGH ? XLAT_R_NO_NEIGHBOUR : XLAT_R_DEVICE;
		xlat_count(x, 1);
		if ((x->flags & XLAT_BUFFERS) == 0)
			xlat_keep_slow(x);
		return xdp_slow(ctx, x, c);
	}
	return xdp_edit(ctx, x, link, XDP_TAGS_KEPT) == 0 ? XDP_PASS : xdp_spoilt(x);
}

XLAT_INLINE int xdp_translated(struct xdp_md *ctx, struct xlat *x, const struct xlat_control *c, __u32 link)
{
	struct xlat_nexthop hop = { 0 };
	int why = nexthop_find(ctx, x, c, &hop);

	if (why != 0 || (hop.flags & XLAT_HOP_REDIRECT) == 0)
		return xdp_elsewhere(ctx, x, c, link, why);
	(void)xlat_fit(x, hop.mtu);
	switch (x->verdict) {
	case XLAT_TRANSLATE:
		return xdp_send(ctx, x, &hop, link);
	case XLAT_ERROR:
		return xdp_answer(ctx, x, link);
	case XLAT_SLOW:
		return xdp_slow(ctx, x, c);
	default:
		return XDP_DROP;
	}
}

/* Ethernet header and tags. Returns their length, 0: not IP. */
XLAT_INLINE __u32 xdp_link_of(const void *data, const void *end, __u32 *family)
{
	const struct xdp_link *eth = data;
	__u32 bytes = XDP_LINK_BYTES;
	__be16 type;

	if ((const void *)(eth + 1) > end || (eth->to[0] & 1) != 0)	/* groups are nobody's to translate */
		return 0;
	type = eth->type;
	if (unlikely(type == bpf_htons(XDP_TYPE_VLAN) || type == bpf_htons(XDP_TYPE_QINQ))) {
		const struct xdp_tag *tag = data + XDP_LINK_BYTES;

		if ((const void *)(tag + 2) > end)
			return 0;
		type = tag[0].type;
		bytes += XDP_TAG_BYTES;
		if (type == bpf_htons(XDP_TYPE_VLAN)) {
			type = tag[1].type;
			bytes += XDP_TAG_BYTES;
		}
	}
	*family = type == bpf_htons(XDP_TYPE_IP6) ? 6 : 4;
	return type == bpf_htons(XDP_TYPE_IP6) || type == bpf_htons(XDP_TYPE_IP4) ? bytes : 0;
}

/* A frame to another host, as far as we know our own address. */
XLAT_INLINE bool xdp_others(const struct xdp_link *eth, __u32 ifindex)
{
	__u32 place = ifindex & (XLAT_OWN_PLACES - 1);
	const struct xlat_own *o = bpf_map_lookup_elem(&own, &place);

	if (unlikely(o != NULL && o->ifindex != ifindex && o->ifindex != 0)) {
		place = (place + 1) & (XLAT_OWN_PLACES - 1);
		o = bpf_map_lookup_elem(&own, &place);
	}
	if (o == NULL || o->ifindex != ifindex)
		return false;
	return ((*(const __u32 *)(const void *)eth->to ^ *(const __u32 *)(const void *)o->mac) |
		(__u32)(*(const __u16 *)(const void *)(eth->to + 4) ^ *(const __u16 *)(const void *)(o->mac + 4))) != 0;
}

XLAT_INLINE int xdp_run(struct xdp_md *ctx, bool frags)
{
	const void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 at = XLAT_SCRATCH_PACKET, family = 0, link, verdict;
	struct xlat *x = bpf_map_lookup_elem(&scratch, &at);
	const struct xlat_control *c = home_control();
	__u64 bytes;

	if (x == NULL || c == NULL)
		return XDP_PASS;
	link = xdp_link_of(data, end, &family);
	if (link == 0 || unlikely(xdp_others(data, ctx->ingress_ifindex)))
		return XDP_PASS;
	home_begin(x, unlikely(c->clock_fixed != 0) ? c->clock_ns : bpf_ktime_get_coarse_ns());
	x->family = family;
	x->ifindex = ctx->ingress_ifindex;
	bytes = frags ? bpf_xdp_get_buff_len(ctx) : (__u64)(end - data);
	XLAT_KEEP(bytes);		/* pointers are subtracted in 64 bits, says the verifier */
	x->packet_bytes = (__u32)bytes - link;
	if (frags && unlikely(bytes > (__u64)(end - data)))
		x->flags = XLAT_BUFFERS;
	if (likely(link == XDP_LINK_BYTES)) {
		int done = fast_run(ctx, x, c, family);

		if (done == FAST_ASK) {
			done = xlat_pass_out(x) == XLAT_CAME_OK ? fast_run(ctx, x, c, family | FAST_SETTLED) : 0;
			x->flags |= XLAT_TRIED;
		}
		if (done > 0)
			return done;
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
	}
	if (unlikely(link != XDP_LINK_BYTES) || !xdp_read_fast(x, data + XDP_LINK_BYTES, end, family)) {
		if (!xdp_read_any(ctx, x, link))
			return XDP_PASS;
	}
	(void)xlat_plan(x);
	verdict = x->verdict;
	if (unlikely(c->trace.on != 0))
		(void)home_trace(x);
	switch (verdict) {
	case XLAT_PASS:
		return XDP_PASS;
	case XLAT_TRANSLATE:
		return xdp_translated(ctx, x, c, link);
	case XLAT_ERROR:
		return xdp_answer(ctx, x, link);
	case XLAT_SLOW:
		return xdp_slow(ctx, x, c);
	default:
		return XDP_DROP;
	}
}

SEC("xdp")
int nat64_xdp(struct xdp_md *ctx)
{
	return xdp_run(ctx, false);
}

SEC("xdp.frags")
int nat64_xdp_frags(struct xdp_md *ctx)
{
	return xdp_run(ctx, true);
}
