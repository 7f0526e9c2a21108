// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/*
 * IP router: forwards IPv4 and IPv6 between the ports that it was granted, by the kernel's own
 * routing and neighbour tables, without a socket buffer.
 *
 * It takes only what is plain; everything else goes to the host's stack unchanged, which then does
 * what it would have done anyway: answers Time Exceeded and Packet Too Big, fragments, resolves
 * neighbours, takes packets for itself, drops martians, sends redirects, forwards to ports that are
 * not granted. So a path is right before it is fast, and a host whose forwarding is off stays off
 * (the route look-up says so). Frames that it forwards equal those that the kernel would have sent.
 *
 * What forwarding here goes past: netfilter, rp_filter, and tc. Use the packet filter extension before it.
 *
 * A router forwards only frames that are addressed to it, and a program cannot ask a port for its
 * address. It learns it: a route look-up that leaves by a port also tells the port's address. Until
 * that is known (a packet or two), and whenever it does not fit, the host's stack decides.
 */
#include <prickle/spine.h>

#include "spine/extensions/parse.bpf.h"

SPINE_EXTENSION(
	.name = "router", .version = "1",
	.match = "ip or ip6",
	.order = 5000,
	.verdicts = SPINE_PASS | SPINE_REDIRECT,
	.flags = SPINE_FRAGS);

SPINE_PORTS;

struct router_counters {
	__u64 forwarded4, forwarded6;
	/* Passed to the host's stack, by reason. */
	__u64 not_for_us;		/* another destination MAC address, multicast or broadcast */
	__u64 malformed;		/* lengths, version, header checksum */
	__u64 options;			/* IPv4 options, IPv6 hop-by-hop header */
	__u64 special_address;		/* multicast, loopback, link-local, "this network": also martians */
	__u64 ttl_expired;
	__u64 too_big;			/* for the next link: the stack fragments or answers */
	__u64 no_route;			/* unreachable, prohibited, blackhole */
	__u64 local;			/* for this host, or not to be forwarded */
	__u64 forwarding_off;
	__u64 no_neighbour;		/* not resolved yet */
	__u64 encapsulated;		/* the route wants a tunnel */
	__u64 same_port;		/* back to where it came from: the stack sends a redirect */
	__u64 port_not_granted;
	__u64 learning;			/* the port's address is not known yet */
};

SPINE_COUNTERS(struct router_counters);

/*
 * The ports' addresses: [ifindex % MACS] = address | (ifindex / MACS) << 48, one word, so that readers on
 * other processors never see half of one.
 */
#define MACS 1024
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MACS);
	__type(key, __u32);
	__type(value, __u64);
} macs SEC(".maps");

static __always_inline __u64 mac_word(const __u8 *mac, __u32 ifindex)
{
	const __u16 *part = (const void *)mac;

	return (__u64)part[0] | (__u64)part[1] << 16 | (__u64)part[2] << 32 | (__u64)(ifindex / MACS) << 48;
}

static __always_inline void learn(const struct bpf_fib_lookup *fib)
{
	__u32 key = fib->ifindex % MACS;
	__u64 *known = bpf_map_lookup_elem(&macs, &key);
	__u64 now = mac_word(fib->smac, fib->ifindex);

	if (known != NULL && *known != now)
		*known = now;
}

/* IPv4 addresses that never belong to a packet that a router forwards (RFC 1812 §5.3.7), in host order. */
static __always_inline bool ip4_special(__u32 a)
{
	return a >> 24 == 0 || a >> 24 == 127 || a >> 28 >= 14 || a >> 16 == 0xa9fe;
}

static __always_inline bool ip6_special(const struct in6_addr *a)
{
	__u32 first = bpf_ntohl(a->in6_u.u6_addr32[0]);

	/* ::/32 has the unspecified, the loopback and the IPv4-mapped address. */
	return first == 0 || first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6;
}

/*
 * Fill in the packet's part of a look-up. Returns false after counting: the packet is for the stack.
 * l4 points behind the IP header.
 */
static __always_inline bool read4(struct iphdr *ip, void *end, __u64 bytes, struct bpf_fib_lookup *fib,
				  struct router_counters *count)
{
	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5 || bpf_ntohs(ip->tot_len) < 20 ||
	    bpf_ntohs(ip->tot_len) > bytes) {
		COUNT(count, malformed);
		return false;
	}
	if (ip->ihl != 5) {
		COUNT(count, options);
		return false;
	}
	if (!ip4_sum_right(ip)) {
		COUNT(count, malformed);
		return false;
	}
	if (ip4_special(bpf_ntohl(ip->saddr)) || ip4_special(bpf_ntohl(ip->daddr))) {
		COUNT(count, special_address);
		return false;
	}
	if (ip->ttl <= 1) {
		COUNT(count, ttl_expired);
		return false;
	}
	fib->family = AF_INET;
	fib->tos = ip->tos;
	fib->l4_protocol = ip->protocol;
	fib->tot_len = bpf_ntohs(ip->tot_len);
	fib->ipv4_src = ip->saddr;
	fib->ipv4_dst = ip->daddr;
	if (ip->frag_off & bpf_htons(IP4_FRAGMENT_OFFSET | IP4_MORE_FRAGMENTS))
		fib->l4_protocol = 0;
	return true;
}

static __always_inline bool read6(struct ipv6hdr *ip, void *end, __u64 bytes, struct bpf_fib_lookup *fib,
				  struct router_counters *count)
{
	if ((void *)(ip + 1) > end || ip->version != 6 || bpf_ntohs(ip->payload_len) + 40ull > bytes) {
		COUNT(count, malformed);
		return false;
	}
	if (ip->nexthdr == 0) {
		COUNT(count, options);
		return false;
	}
	if (ip6_special(&ip->saddr) || ip6_special(&ip->daddr)) {
		COUNT(count, special_address);
		return false;
	}
	if (ip->hop_limit <= 1) {
		COUNT(count, ttl_expired);
		return false;
	}
	fib->family = AF_INET6;
	fib->flowinfo = *(__be32 *)ip & bpf_htonl(0x0fffffff);
	fib->l4_protocol = ip->nexthdr;
	/* 16 bits: beyond them lies no link that we could forward to. */
	fib->tot_len = (__u16)(bpf_ntohs(ip->payload_len) + 40 > 0xffff ? 0xffff : bpf_ntohs(ip->payload_len) + 40);
	__builtin_memcpy(fib->ipv6_src, &ip->saddr, 16);
	__builtin_memcpy(fib->ipv6_dst, &ip->daddr, 16);
	return true;
}

/* Ports count in policy rules and in the choice among several paths. */
static __always_inline void read_ports(__be16 *port, void *end, struct bpf_fib_lookup *fib)
{
	if ((fib->l4_protocol != IPPROTO_TCP && fib->l4_protocol != IPPROTO_UDP) || (void *)(port + 2) > end)
		return;
	fib->sport = port[0];
	fib->dport = port[1];
}

/* Count why the look-up gave no way; true: it did. */
static __always_inline bool way(long result, struct router_counters *count)
{
	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		return true;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		COUNT(count, no_route);
		break;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		COUNT(count, forwarding_off);
		break;
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		COUNT(count, encapsulated);
		break;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		COUNT(count, no_neighbour);
		break;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		COUNT(count, too_big);
		break;
	default:
		COUNT(count, local);
	}
	return false;
}

/* The frame is addressed to the port on which it came, as far as we know. */
static __always_inline bool for_us(__u32 ifindex, __u64 mac, struct router_counters *count)
{
	__u32 key = ifindex % MACS;
	__u64 *known = bpf_map_lookup_elem(&macs, &key);

	if (known == NULL)
		return false;
	if (*known == mac)
		return true;
	if (*known == 0)
		COUNT(count, learning);
	else
		COUNT(count, not_for_us);
	return false;
}

/*
 * Look for the way back to a frame's sender: if that leaves by the port on which the frame came, the
 * look-up tells the port's address, for the next frame. Runs while an address is unknown or has changed,
 * and for frames of others, which only a port in promiscuous mode sees.
 */
static __always_inline void learn_backwards(struct xdp_md *ctx, struct bpf_fib_lookup *fib)
{
	struct bpf_fib_lookup back = { .family = fib->family, .ifindex = ctx->ingress_ifindex };

	if (fib->family == AF_INET) {
		back.ipv4_src = fib->ipv4_dst;
		back.ipv4_dst = fib->ipv4_src;
	} else {
		__builtin_memcpy(back.ipv6_src, fib->ipv6_dst, 16);
		__builtin_memcpy(back.ipv6_dst, fib->ipv6_src, 16);
	}
	if (bpf_fib_lookup(ctx, &back, sizeof(back), 0) == BPF_FIB_LKUP_RET_SUCCESS &&
	    back.ifindex == ctx->ingress_ifindex)
		learn(&back);
}

SEC("xdp")
int router(struct xdp_md *ctx)
{
	struct router_counters *count = counters_get(&counters);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct bpf_fib_lookup fib = { .ifindex = ctx->ingress_ifindex };
	__be16 protocol;

	if (count == NULL || (void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_dest[0] & 1) {
		COUNT(count, not_for_us);
		return XDP_PASS;
	}
	__u64 mac = mac_word(eth->h_dest, ctx->ingress_ifindex);
	__u64 bytes = frame_bytes(ctx) - sizeof(*eth);

	protocol = eth->h_proto;
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if (!read4(ip, end, bytes, &fib, count))
			return XDP_PASS;
		read_ports((void *)(ip + 1), end, &fib);
	} else if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if (!read6(ip, end, bytes, &fib, count))
			return XDP_PASS;
		read_ports((void *)(ip + 1), end, &fib);
	} else {
		return XDP_PASS;
	}
	if (!for_us(ctx->ingress_ifindex, mac, count)) {
		learn_backwards(ctx, &fib);
		return XDP_PASS;
	}
	if (!way(bpf_fib_lookup(ctx, &fib, sizeof(fib), 0), count))
		return XDP_PASS;
	learn(&fib);
	if (fib.ifindex == ctx->ingress_ifindex) {
		COUNT(count, same_port);
		return XDP_PASS;
	}
	/* Ask before the frame is changed: the stack must get it as it came. */
	if (bpf_redirect_map(&spine_ports, fib.ifindex, XDP_PASS) != XDP_REDIRECT) {
		COUNT(count, port_not_granted);
		return XDP_PASS;
	}
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return XDP_PASS;
		ip4_decrease_ttl(ip);
		COUNT(count, forwarded4);
	} else {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return XDP_PASS;
		ip->hop_limit--;
		COUNT(count, forwarded6);
	}
	__builtin_memcpy(eth->h_dest, fib.dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, fib.smac, ETH_ALEN);
	return XDP_REDIRECT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
