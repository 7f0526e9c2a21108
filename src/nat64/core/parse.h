/*
 * From bytes to what they mean: x->in -> x->ip, and x->inner of an ICMP error.
 *
 * All reads are at masked offsets with XLAT_SLACK behind the mask: so the verifier sees a bound, and what was not in the packet
 * reads as 0 (homes zero what they do not fill). Offsets of headers are multiples of 4.
 */
#pragma once
#include "nat64/core/csum.h"
#include "nat64/core/env.h"

XLAT_INLINE __u8 in8(const struct xlat *x, __u32 at)
{
	return x->in[at & (XLAT_BYTES - 1)];
}

XLAT_INLINE __u16 in16(const struct xlat *x, __u32 at)
{
	__be16 v;

#ifdef __bpf__
	v = *(const __be16 *)(const void *)&x->in[at & (XLAT_BYTES - 1)];
#else
	xlat_copy(&v, &x->in[at & (XLAT_BYTES - 1)], sizeof(v));
#endif
	return bpf_ntohs(v);
}

/* As it lies there. */
XLAT_INLINE __be32 in32(const struct xlat *x, __u32 at)
{
	__be32 v;

#ifdef __bpf__
	v = *(const __be32 *)(const void *)&x->in[at & (XLAT_BYTES - 1)];
#else
	xlat_copy(&v, &x->in[at & (XLAT_BYTES - 1)], sizeof(v));
#endif
	return v;
}

/* IPv6's extension headers; and numbers that IPv4 packets must not carry, since they would become such headers. */
enum { PARSE_HOP_BY_HOP = 0, PARSE_ROUTING = 43, PARSE_FRAGMENT = 44, PARSE_AH = 51, PARSE_OPTIONS = 60, PARSE_UDPLITE = 136 };

/* Bytes of the transport header that the translation needs; its checksum is within. 0: it is left alone. */
XLAT_INLINE __u32 parse_need(__u8 protocol)
{
	switch (protocol) {
	case XLAT_TCP:
		return 20;
	case XLAT_UDP: case XLAT_ICMP: case XLAT_ICMP6: case PARSE_UDPLITE:
		return 8;
	case XLAT_DCCP:
		return 12;
	default:
		return 0;
	}
}

/* Where in that header the checksum is. */
XLAT_INLINE __u32 parse_csum_at(__u8 protocol)
{
	switch (protocol) {
	case XLAT_TCP:
		return 16;
	case XLAT_ICMP: case XLAT_ICMP6:
		return 2;
	default:
		return 6;
	}
}

/* It begins with two ports. */
XLAT_INLINE bool parse_ports(__u8 protocol)
{
	return protocol == XLAT_TCP || protocol == XLAT_UDP || protocol == XLAT_SCTP || protocol == XLAT_DCCP || protocol == PARSE_UDPLITE;
}

/* The types of error messages: about these none is sent, and a packet is within. Redirect and source quench have no packet that we need. */
XLAT_INLINE bool parse_is_error(__u8 family, __u8 type)
{
	if (family == 4)
		return type == 3 || type == 11 || type == 12;
	return type >= 1 && type <= 4;
}

/*
 * IPv4 header at x->in[ip->at]; `room` bytes of it and what follows are in the packet. XLAT_R_NONE or what is wrong. An inner header is cut by its nature: of its
 * length fields only those that place the transport header are judged.
 */
XLAT_INLINE __u32 parse4(const struct xlat *x, struct xlat_ip *ip, __u32 room, bool inner)
{
	__u32 at = ip->at, header, total, flags, sum = 0;

	if (room < 20)
		return XLAT_R_TRUNCATED;
	ip->src[0] = in32(x, at + 12);
	ip->dst[0] = in32(x, at + 16);
	if (in8(x, at) >> 4 != 4)
		return XLAT_R_BAD_VERSION;
	header = (in8(x, at) & 0xfu) * 4;
	total = in16(x, at + 2);
	if (header < 20 || total < header || (!inner && total > x->packet_bytes))
		return XLAT_R_BAD_LENGTH;
	if (room < header)
		return XLAT_R_TRUNCATED;
	ip->family = 4;
	ip->tos = in8(x, at + 1);
	ip->ttl = in8(x, at + 8);
	ip->protocol = in8(x, at + 9);
	ip->l4 = (__u16)(at + header);
	ip->payload = (__u16)(total - header);
	ip->id = in16(x, at + 4);
	flags = in16(x, at + 6);
	ip->dont_fragment = (flags & 0x4000) != 0;
	ip->more = (flags & 0x2000) != 0;
	ip->fragment_at = (__u16)((flags & 0x1fff) * 8);
	if (!inner) {
		for (__u32 i = 0; i < 60; i += 4) {
			if (i >= header)
				break;
			sum += csum_word(in32(x, at + i));
		}
		if (csum_fold(sum) != 0xffff)
			return XLAT_R_BAD_CHECKSUM;
	}
	return XLAT_R_NONE;
}

/* An unexpired source route among the options of the outer header (RFC 7915 4.1). Options that make no sense end the search: they are dropped anyway. */
XLAT_INLINE bool parse_source_route(struct xlat *x, __u32 end)
{
	__u32 at = 20;

	for (__u32 i = 0; i < 40; i++) {
		__u8 type, bytes;

		XLAT_BLUR(x, at);
		if (at >= end)
			return false;
		type = in8(x, at);
		if (type == 0)
			return false;
		if (type == 1) {
			at++;
			continue;
		}
		bytes = in8(x, at + 1);
		if (bytes < 2)
			return false;
		/* Loose and strict; expired when the pointer is beyond its list (RFC 791 3.1). */
		if ((type == 131 || type == 137) && bytes >= 3 && in8(x, at + 2) <= bytes)
			return true;
		at += bytes;
	}
	return false;
}

/* The same for IPv6. *pointer: where the segments left are, for XLAT_R_ROUTING_HEADER. */
XLAT_INLINE __u32 parse6(const struct xlat *x, struct xlat_ip *ip, __u32 room, bool inner, __u32 *pointer)
{
	__u32 at = ip->at, next, l4 = 40, total, flags;
	__be32 first;

	if (room < 40)
		return XLAT_R_TRUNCATED;
	for (__u32 i = 0; i < 4; i++) {
		ip->src[i] = in32(x, at + 8 + 4 * i);
		ip->dst[i] = in32(x, at + 24 + 4 * i);
	}
	first = bpf_ntohl(in32(x, at));
	if (first >> 28 != 6)
		return XLAT_R_BAD_VERSION;
	total = 40u + in16(x, at + 4);
	if (!inner && total > x->packet_bytes)
		return XLAT_R_BAD_LENGTH;
	if (room > total)
		room = total;
	ip->family = 6;
	ip->tos = (__u8)(first >> 20);
	ip->flow = first & 0xfffff;
	ip->ttl = in8(x, at + 7);
	ip->payload = (__u16)(total - 40);
	ip->l4 = (__u16)(at + 40);
	next = in8(x, at + 6);
	for (__u32 i = 0; i <= XLAT_EXTENSIONS_MAX; i++) {
		if (next != PARSE_HOP_BY_HOP && next != PARSE_ROUTING && next != PARSE_FRAGMENT && next != PARSE_OPTIONS)
			break;
		/* Behind a fragment header the headers are part of what was cut: the offsets of later fragments count them (5.1.1: drop). */
		if (ip->has_fragment)
			return next == PARSE_FRAGMENT ? XLAT_R_BAD_FRAGMENT : XLAT_R_FRAGMENT_HEADERS;
		if (i == XLAT_EXTENSIONS_MAX || at + l4 + 8 > XLAT_BYTES)
			return XLAT_R_HEADERS_TOO_LONG;
		if (room < l4 + 8)
			return XLAT_R_TRUNCATED;
		if (next == PARSE_FRAGMENT) {
			flags = in16(x, at + l4 + 2);
			ip->has_fragment = 1;
			ip->more = flags & 1;
			ip->fragment_at = (__u16)(flags & 0xfff8);
			ip->id = bpf_ntohl(in32(x, at + l4 + 4));
			next = in8(x, at + l4);
			l4 += 8;
			continue;
		}
		if (next == PARSE_ROUTING && in8(x, at + l4 + 3) != 0 && !inner) {
			*pointer = l4 + 3;
			return XLAT_R_ROUTING_HEADER;
		}
		next = in8(x, at + l4);
		l4 += 8 + in8(x, at + l4 + 1) * 8u;
		if (at + l4 > XLAT_BYTES)
			return XLAT_R_HEADERS_TOO_LONG;
		if (room < l4)
			return XLAT_R_TRUNCATED;
	}
	if (ip->has_fragment && next == PARSE_AH)
		return XLAT_R_FRAGMENT_HEADERS;
	ip->protocol = (__u8)next;
	ip->l4 = (__u16)(at + l4);
	ip->payload = (__u16)(total - l4);
	return XLAT_R_NONE;
}

/* What both families have behind the IP header. `room`: bytes from ip->at on. */
XLAT_INLINE __u32 parse_transport(const struct xlat *x, struct xlat_ip *ip, __u32 room, bool inner)
{
	__u32 l4 = ip->l4, need, have;
	bool fragmented = ip->fragment_at != 0 || ip->more;

	/* Offsets are in units of 8, and nothing ends beyond 65,535 (RFC 791 3.2, 8200 4.5). */
	if ((ip->more && (ip->payload & 7) != 0 && !inner) || ip->fragment_at + (__u32)ip->payload > 65535)
		return XLAT_R_BAD_FRAGMENT;
	if (ip->family == 4 ? ip->protocol == XLAT_ICMP6 : ip->protocol == XLAT_ICMP)
		return XLAT_R_PROTOCOL;
	if (ip->family == 4 && (ip->protocol == PARSE_HOP_BY_HOP || ip->protocol == PARSE_ROUTING || ip->protocol == PARSE_FRAGMENT ||
				ip->protocol == PARSE_OPTIONS))
		return XLAT_R_PROTOCOL;
	if (ip->fragment_at != 0) {
		/* A second fragment at 8 would write over the flags and the checksum of TCP (RFC 1858 4). */
		if (ip->protocol == XLAT_TCP && ip->fragment_at < 20 && !inner)
			return XLAT_R_BAD_FRAGMENT;
		return XLAT_R_NONE;
	}
	have = room > l4 - ip->at ? room - (l4 - ip->at) : 0;
	if (have > ip->payload)
		have = ip->payload;
	ip->l4_bytes = (__u16)(have > 20 ? 20 : have);
	need = parse_need(ip->protocol);
	/* An inner packet has at least 8 bytes of its transport (RFC 792); its checksum may be missing. */
	if (inner && need > 8)
		need = 8;
	if (have < need) {
		if (!inner && l4 + need > XLAT_BYTES && ip->payload >= need)
			return XLAT_R_HEADERS_TOO_LONG;
		return fragmented && !inner ? XLAT_R_BAD_FRAGMENT : XLAT_R_TRUNCATED;
	}
	if (ip->protocol == XLAT_ICMP || ip->protocol == XLAT_ICMP6) {
		ip->icmp_type = in8(x, l4);
		ip->icmp_code = in8(x, l4 + 1);
		ip->rest = in32(x, l4 + 4);
		ip->query = ip->family == 4 ? ip->icmp_type == 8 || ip->icmp_type == 0 : ip->icmp_type == 128 || ip->icmp_type == 129;
		if (ip->query)
			ip->sport = ip->dport = bpf_htons(in16(x, l4 + 4));
	} else if (parse_ports(ip->protocol) && have >= 4) {
		ip->sport = bpf_htons(in16(x, l4));
		ip->dport = bpf_htons(in16(x, l4 + 2));
		if (ip->protocol == XLAT_TCP)
			ip->tcp_flags = in8(x, l4 + 13);
	}
	if (need != 0)
		ip->csum = in16(x, l4 + parse_csum_at(ip->protocol));
	return XLAT_R_NONE;
}

/*
 * The packet inside an ICMP error. It may be cut anywhere behind its first 8 bytes of transport, and its addresses, ports and
 * identifiers are all that is used of it.
 */
XLAT_PART int xlat_parse_inner(struct xlat *x)
{
	__u32 room, pointer = 0, reason;

	if (x == NULL)
		return XLAT_DROP;
	xlat_zero(&x->inner, sizeof(x->inner));
	x->inner.at = (__u16)(x->ip.l4 + 8);
	room = x->in_bytes - (x->in_bytes < x->inner.at ? x->in_bytes : x->inner.at);
	if (room > x->ip.payload - 8u)
		room = x->ip.payload - 8u;
	reason = x->ip.family == 4 ? parse4(x, &x->inner, room, true) : parse6(x, &x->inner, room, true, &pointer);
	if (reason == XLAT_R_NONE)
		reason = parse_transport(x, &x->inner, room, true);
	if (reason != XLAT_R_NONE)
		return xlat_drop(x, x->in_bytes < x->packet_bytes && reason == XLAT_R_TRUNCATED ? XLAT_R_HEADERS_TOO_LONG : XLAT_R_ICMP_INNER);
	/* Stops at the first embedded header (RFC 7915 4.3, 5.3); errors about errors are never sent. */
	if ((x->inner.protocol == XLAT_ICMP || x->inner.protocol == XLAT_ICMP6) && x->inner.fragment_at == 0 && !x->inner.query)
		return xlat_drop(x, XLAT_R_ICMP_NESTED);
	x->flags |= XLAT_INNER;
	return 0;
}

/*
 * Find the headers. 0: x->ip, and x->inner with XLAT_INNER, are filled. Otherwise verdict and reason are set: DROP, or ERROR for the two things that a
 * router tells about a header. Addresses in x->ip are set whenever the packet is long enough, so that the caller can ask whether it is ours at all.
 */
XLAT_PART int xlat_parse(struct xlat *x)
{
	__u32 room, pointer = 0, reason;

	if (x == NULL)
		return XLAT_DROP;
	room = x->in_bytes < XLAT_BYTES ? x->in_bytes : XLAT_BYTES;
	xlat_zero(&x->ip, sizeof(x->ip));
	reason = x->family == 4 ? parse4(x, &x->ip, room, false) : x->family == 6 ? parse6(x, &x->ip, room, false, &pointer) : XLAT_R_NOT_IP;
	if (reason == XLAT_R_ROUTING_HEADER)
		return xlat_answer(x, XLAT_R_ROUTING_HEADER, 4, 0, pointer);
	if (reason != XLAT_R_NONE)
		return xlat_drop(x, reason);
	reason = parse_transport(x, &x->ip, room, false);
	if (reason != XLAT_R_NONE)
		return xlat_drop(x, reason);
	if (x->family == 4 && x->ip.l4 > 20 && parse_source_route(x, x->ip.l4))
		return xlat_answer(x, XLAT_R_SOURCE_ROUTE, 3, 5, 0);
	if (x->ip.protocol != XLAT_ICMP && x->ip.protocol != XLAT_ICMP6)
		return 0;
	if (x->ip.more || x->ip.fragment_at != 0)
		return xlat_drop(x, XLAT_R_FRAGMENTED_ICMP);
	if (!parse_is_error(x->ip.family, x->ip.icmp_type))
		return 0;
	return xlat_parse_inner(x);
}

/* Checksum offload, seen where it cannot be told (XDP): the field holds the folded sum of the pseudo header, not inverted. */
XLAT_INLINE bool xlat_partial(const struct xlat *x)
{
	const struct xlat_ip *ip = &x->ip;

	if (ip->fragment_at != 0 || (ip->protocol != XLAT_TCP && ip->protocol != XLAT_UDP))
		return false;
	return ip->csum == csum_fold(csum_address(ip->src) + csum_address(ip->dst) + ip->payload + ip->protocol);
}
