// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/*
 * Packet filter: rules by file, the first that fits decides (filter.h tells how it is found).
 *
 * Frames with up to two VLAN tags are filtered by the IP packet inside. IPv6 extension headers are
 * walked, eight at most. A packet whose headers are cut off, contradict themselves or go on longer than
 * that is dropped: what cannot be read cannot be judged. Later fragments have no ports; rules with
 * ports do not fit them.
 */
#include <prickle/spine.h>

#include "spine/extensions/filter.h"
#include "spine/extensions/parse.bpf.h"

SPINE_EXTENSION(
	.name = "filter", .version = "1",
	.match = "",
	.order = 100,
	.verdicts = SPINE_PASS | SPINE_DROP,
	.flags = SPINE_FRAGS);

#define ARRAY(name_, entries_, type_)                                                              \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, entries_);                                                     \
		__type(key, __u32);                                                                \
		__type(value, type_);                                                              \
	} name_ SEC(".maps")
#define TRIE(name_, key_)                                                                          \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                                               \
		__uint(max_entries, FILTER_BANKS * FILTER_SIDES * FILTER_PREFIXES_MAX);            \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__type(key, key_);                                                                 \
		__type(value, __u32);                                                              \
	} name_ SEC(".maps")

ARRAY(state, 1, struct filter_state);
ARRAY(banks, FILTER_BANKS, struct filter_bank);
ARRAY(protocols, FILTER_BANKS * FILTER_PROTOCOLS, __u32);
ARRAY(sets, FILTER_BANKS * FILTER_SETS_MAX, struct filter_set);
ARRAY(ports, FILTER_BANKS * FILTER_SIDES * FILTER_PORT_WORDS, __u64);
ARRAY(rules, FILTER_BANKS * FILTER_RULES_MAX, struct filter_rule);
TRIE(prefixes4, struct filter_key4);
TRIE(prefixes6, struct filter_key6);
SPINE_COUNTERS(struct filter_counters);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FILTER_BANKS * FILTER_RULES_MAX);
	__type(key, __u32);
	__type(value, struct filter_hits);
} hits SEC(".maps");

/* What of a packet the rules speak of. */
struct packet {
	__u32 family;			/* enum filter_family */
	__u32 protocol;
	__u32 fragment;			/* 1: a later one */
	bool ports;			/* it has some: */
	__u16 port[FILTER_SIDES];	/* host order */
	__u8 address[FILTER_SIDES][16];
};

static __always_inline bool has_ports(__u32 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_UDPLITE || protocol == IPPROTO_DCCP;
}

static __always_inline void take_ports(struct packet *p, const __be16 *port)
{
	p->ports = true;
	p->port[FILTER_SOURCE] = bpf_ntohs(port[0]);
	p->port[FILTER_DESTINATION] = bpf_ntohs(port[1]);
}

/*
 * Ports behind headers of variable size. A copy, since without privileges the kernel allows no packet
 * pointer that moves by a number from the packet.
 */
static __always_inline bool copy_ports(struct xdp_md *ctx, struct packet *p, __u32 offset)
{
	__be16 port[2];

	if (p->fragment || !has_ports(p->protocol))
		return true;
	if (bpf_xdp_load_bytes(ctx, offset, port, sizeof(port)) != 0)
		return false;
	take_ports(p, port);
	return true;
}

/* Directly behind a header of fixed size. */
static __always_inline bool read_ports(struct packet *p, void *at, void *end)
{
	__be16 *port = at;

	if (p->fragment || !has_ports(p->protocol))
		return true;
	if ((void *)(port + 2) > end)
		return false;
	take_ports(p, port);
	return true;
}

static __always_inline bool read4(struct xdp_md *ctx, struct packet *p, struct iphdr *ip, __u32 offset, void *end)
{
	__u32 bytes;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return false;
	bytes = ip->ihl * 4u;
	if (bpf_ntohs(ip->tot_len) < bytes)
		return false;
	p->family = FILTER_IP4;
	p->protocol = ip->protocol;
	p->fragment = (ip->frag_off & bpf_htons(IP4_FRAGMENT_OFFSET)) != 0;
	__builtin_memcpy(p->address[FILTER_SOURCE], &ip->saddr, 4);
	__builtin_memcpy(p->address[FILTER_DESTINATION], &ip->daddr, 4);
	return bytes == 20 ? read_ports(p, ip + 1, end) : copy_ports(ctx, p, offset + bytes);
}

#define EXTENSIONS_MAX 8

static __always_inline bool is_extension(__u8 next)
{
	return next == 0 || next == 43 || next == 44 || next == 51 || next == 60;
}

static __always_inline bool read6(struct xdp_md *ctx, struct packet *p, struct ipv6hdr *ip, __u32 offset, void *end)
{
	__u8 head[8], next;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return false;
	p->family = FILTER_IP6;
	__builtin_memcpy(p->address[FILTER_SOURCE], &ip->saddr, 16);
	__builtin_memcpy(p->address[FILTER_DESTINATION], &ip->daddr, 16);
	next = ip->nexthdr;
	if (!is_extension(next)) {
		p->protocol = next;
		return read_ports(p, ip + 1, end);
	}
	offset += sizeof(*ip);
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (!is_extension(next)) {
			p->protocol = next;
			return copy_ports(ctx, p, offset);
		}
		if (bpf_xdp_load_bytes(ctx, offset, head, sizeof(head)) != 0)
			return false;
		if (next == 44) {		/* fragment header, RFC 8200 §4.5 */
			next = head[0];
			offset += 8;
			if (((__u32)head[2] << 8 | head[3]) >= 8) {
				/* What follows may be the middle of anything. */
				p->fragment = 1;
				p->protocol = next;
				return true;
			}
			continue;
		}
		/* An authentication header counts in words less two, the others in 8 bytes less one. */
		offset += next == 51 ? 4 * (head[1] + 2u) : 8 * (head[1] + 1u);
		next = head[0];
	}
	return false;
}

static __always_inline struct filter_set *set_get(__u32 bank, __u32 class)
{
	__u32 key = bank * FILTER_SETS_MAX + class;

	return bpf_map_lookup_elem(&sets, &key);
}

static __always_inline __u32 address_class(const struct filter_bank *b, __u32 bank, const struct packet *p,
					   enum filter_side side)
{
	__u32 *class;

	if (p->family == FILTER_IP4) {
		struct filter_key4 key = { .bits = 64, .table = bpf_htonl(bank * FILTER_SIDES + side) };

		if (!b->has_prefixes[side][FILTER_IP4])
			return b->no_prefix[side][FILTER_IP4];
		__builtin_memcpy(key.address, p->address[side], 4);
		class = bpf_map_lookup_elem(&prefixes4, &key);
		return class != NULL ? *class : b->no_prefix[side][FILTER_IP4];
	}
	struct filter_key6 key = { .bits = 160, .table = bpf_htonl(bank * FILTER_SIDES + side) };

	if (!b->has_prefixes[side][FILTER_IP6])
		return b->no_prefix[side][FILTER_IP6];
	__builtin_memcpy(key.address, p->address[side], 16);
	class = bpf_map_lookup_elem(&prefixes6, &key);
	return class != NULL ? *class : b->no_prefix[side][FILTER_IP6];
}

static __always_inline __u32 port_class(const struct filter_bank *b, __u32 bank, const struct packet *p,
					enum filter_side side)
{
	__u32 port = p->port[side], key = (bank * FILTER_SIDES + side) * FILTER_PORT_WORDS + port / 4;
	__u64 *four;

	if (!p->ports || !b->has_ports[side])
		return b->no_port[side];
	four = bpf_map_lookup_elem(&ports, &key);
	return four != NULL ? (__u32)(*four >> (port % 4 * 16)) & 0xffff : 0;
}

/* The first rule that is in all sets, or FILTER_RULES_MAX. */
static __always_inline __u32 first_rule(const struct filter_bank *b, __u32 bank, const struct packet *p)
{
	struct filter_set *src = set_get(bank, address_class(b, bank, p, FILTER_SOURCE));
	struct filter_set *dst = set_get(bank, address_class(b, bank, p, FILTER_DESTINATION));
	struct filter_set *sport = set_get(bank, port_class(b, bank, p, FILTER_SOURCE));
	struct filter_set *dport = set_get(bank, port_class(b, bank, p, FILTER_DESTINATION));
	struct filter_set *proto;
	__u32 key = ((bank * FILTER_FAMILIES + p->family) * 2 + p->fragment) * 256 + p->protocol;
	__u32 *class = bpf_map_lookup_elem(&protocols, &key);
	__u64 both = 0;
	__u32 w = 0;

	if (class == NULL)
		return FILTER_RULES_MAX;
	proto = set_get(bank, *class);
	if (src == NULL || dst == NULL || sport == NULL || dport == NULL || proto == NULL)
		return FILTER_RULES_MAX;
#pragma unroll
	for (__u32 i = 0; i < FILTER_WORDS; i++) {
		if (i >= b->words)
			return FILTER_RULES_MAX;
		w = i;
		both = proto->word[i] & src->word[i] & dst->word[i] & sport->word[i] & dport->word[i];
		if (both != 0)
			break;
	}
	return both == 0 ? FILTER_RULES_MAX : w * 64 + (__u32)__builtin_ctzll(both);
}

static __always_inline int judged(struct filter_counters *count, __u32 verdict)
{
	if (verdict == XDP_PASS) {
		COUNT(count, passed);
		return XDP_PASS;
	}
	COUNT(count, dropped);
	return XDP_DROP;
}

/* Count a rule's hit and return its verdict. */
static __always_inline int apply(struct xdp_md *ctx, __u32 bank, __u32 rule, __u32 verdict,
				 struct filter_counters *count)
{
	__u32 key = bank * FILTER_RULES_MAX + rule;
	struct filter_rule *r;
	struct filter_hits *h;

	if (rule >= FILTER_RULES_MAX) {
		COUNT(count, default_packets);
		return judged(count, verdict);
	}
	h = bpf_map_lookup_elem(&hits, &key);
	r = bpf_map_lookup_elem(&rules, &key);
	if (h == NULL || r == NULL)
		return XDP_DROP;
	h->packets++;
	h->bytes += frame_bytes(ctx);
	return judged(count, r->verdict);
}

SEC("xdp")
int filter(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct filter_counters *count = counters_get(&counters);
	struct packet p = { 0 };
	struct filter_bank *b;
	struct filter_state *s;
	struct ethhdr *eth = data;
	void *at = eth + 1;
	__u32 zero = 0, bank, offset = sizeof(*eth);
	__be16 protocol;
	bool readable;

	s = bpf_map_lookup_elem(&state, &zero);
	if (count == NULL || s == NULL || (void *)(eth + 1) > end)
		return XDP_PASS;
	if (s->abi != FILTER_ABI) {
		COUNT(count, no_rules);
		return XDP_PASS;
	}
	/* Once: what this packet sees is one bank. */
	bank = *(volatile __u32 *)&s->bank & 1;
	b = bpf_map_lookup_elem(&banks, &bank);
	if (b == NULL)
		return XDP_PASS;
	protocol = eth->h_proto;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		if (at + 4 > end) {
			COUNT(count, malformed);
			return XDP_DROP;
		}
		protocol = *(__be16 *)(at + 2);
		at += 4;
		offset += 4;
	}
	if (protocol == bpf_htons(ETH_P_IP))
		readable = read4(ctx, &p, at, offset, end);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		readable = read6(ctx, &p, at, offset, end);
	else if (protocol == bpf_htons(ETH_P_ARP))
		return apply(ctx, bank, b->arp_rule, b->arp_verdict, count);
	else
		return apply(ctx, bank, b->other_rule, b->other_verdict, count);
	if (!readable) {
		COUNT(count, malformed);
		return XDP_DROP;
	}
	return apply(ctx, bank, first_rule(b, bank, &p), b->default_verdict, count);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
