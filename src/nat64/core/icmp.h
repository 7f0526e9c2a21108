/*
 * ICMP to ICMPv6 and back: the tables of RFC 7915 4.2 and 5.2, in their order. What they do not name is dropped.
 *
 * Switches, not arrays: programs in the kernel would need a map for a table, and a look-up for each packet.
 */
#pragma once
#include "nat64/core/parse.h"

/* The header that a message gets; its checksum is build.h's. */
struct icmp_head {
	__u8 type, code;
	__u16 spare;
	__be32 rest;			/* bytes 4 to 7 */
};

XLAT_INLINE __u32 icmp_min(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

/* Any message about which none is sent (RFC 1122 3.2.2, 4443 2.4): errors, and redirects. */
XLAT_INLINE bool icmp_is_error(const struct xlat_ip *ip)
{
	if (ip->family == 4)
		return ip->protocol == XLAT_ICMP && (ip->icmp_type == 3 || ip->icmp_type == 4 || ip->icmp_type == 5 || ip->icmp_type == 11 || ip->icmp_type == 12);
	return ip->protocol == XLAT_ICMP6 && (ip->icmp_type < 128 || ip->icmp_type == 137);
}

/* RFC 4884 4.1, 4.2: words of the "original datagram" before an extension; 0: no extension. */
XLAT_INLINE bool icmp_extended(const struct xlat *x)
{
	__u8 type = x->ip.icmp_type;

	if (x->ip.family == 4)
		return in8(x, x->ip.l4 + 5u) != 0;
	return (type == 1 || type == 3) && in8(x, x->ip.l4 + 4u) != 0;
}

/* Plateaus of RFC 1191 7.1: the greatest below the length of the packet that did not fit. Those below 1260 give the same IPv6 MTU, 1280. */
XLAT_INLINE __u32 icmp_plateau(__u32 total)
{
	if (total > 32000)
		return 32000;
	if (total > 17914)
		return 17914;
	if (total > 8166)
		return 8166;
	if (total > 4352)
		return 4352;
	if (total > 2002)
		return 2002;
	return total > 1492 ? 1492 : 1006;
}

/* Fragmentation needed -> packet too big (4.2): grown by the difference of headers, never below 1280. */
XLAT_INLINE __u32 icmp_mtu6(const struct xlat *x, const struct xlat_config *config)
{
	__u32 mtu = bpf_ntohl(x->ip.rest) & 0xffff;

	if (mtu == 0)
		mtu = icmp_plateau((__u32)x->inner.l4 - x->inner.at + x->inner.payload);
	mtu += 20;
	if (config->mtu6 != 0)
		mtu = icmp_min(mtu, config->mtu6);
	if (config->mtu4 != 0)
		mtu = icmp_min(mtu, config->mtu4 + 20);
	return mtu < 1280 ? 1280 : mtu;
}

/* Packet too big -> fragmentation needed (5.2). 68 is IPv4's least (RFC 791), and 0 would mean that the router does not say. */
XLAT_INLINE __u32 icmp_mtu4(const struct xlat *x, const struct xlat_config *config)
{
	__u32 mtu = bpf_ntohl(x->ip.rest);

	mtu = mtu < 88 ? 68 : mtu - 20;
	if (config->mtu4 != 0)
		mtu = icmp_min(mtu, config->mtu4);
	if (config->mtu6 > 88)
		mtu = icmp_min(mtu, config->mtu6 - 20);
	return icmp_min(mtu, 65535);
}

/* Figure 3; -1: n/a. */
XLAT_INLINE int icmp_pointer6(__u32 pointer)
{
	switch (pointer) {
	case 0: case 1:
		return (int)pointer;
	case 2: case 3:
		return 4;
	case 8:
		return 7;
	case 9:
		return 6;
	default:
		if (pointer >= 12 && pointer <= 15)
			return 8;
		return pointer >= 16 && pointer <= 19 ? 24 : -1;
	}
}

/* Figure 6; -1: n/a. */
XLAT_INLINE int icmp_pointer4(__u32 pointer)
{
	switch (pointer) {
	case 0: case 1:
		return (int)pointer;
	case 4: case 5:
		return 2;
	case 6:
		return 9;
	case 7:
		return 8;
	default:
		if (pointer >= 8 && pointer <= 23)
			return 12;
		return pointer >= 24 && pointer <= 39 ? 16 : -1;
	}
}

XLAT_INLINE __u32 icmp_unreachable6(const struct xlat *x, const struct xlat_config *config, struct icmp_head *out)
{
	out->type = 1;
	switch (x->ip.icmp_code) {
	case 0: case 1:			/* net, host */
	case 5: case 6: case 7: case 8:	/* source route failed, unknown net or host, isolated */
	case 11: case 12:		/* by type of service */
		out->code = 0;
		return XLAT_R_NONE;
	case 2:				/* protocol: the next header field is what was not understood */
		out->type = 4;
		out->code = 1;
		out->rest = bpf_htonl(6);
		return XLAT_R_NONE;
	case 3:
		out->code = 4;
		return XLAT_R_NONE;
	case 4:
		out->type = 2;
		out->code = 0;
		out->rest = bpf_htonl(icmp_mtu6(x, config));
		return XLAT_R_NONE;
	case 9: case 10: case 13: case 15:
		out->code = 1;
		return XLAT_R_NONE;
	default:			/* 14, host precedence violation, and unknown ones */
		return XLAT_R_ICMP_UNKNOWN;
	}
}

/* RFC 7915 4.2. XLAT_R_NONE, or why the message is dropped. */
XLAT_INLINE __u32 icmp_to6(const struct xlat *x, const struct xlat_config *config, struct icmp_head *out)
{
	int pointer;

	out->code = x->ip.icmp_code;
	out->rest = 0;
	switch (x->ip.icmp_type) {
	case 0: case 8:
		out->type = x->ip.icmp_type == 8 ? 128 : 129;
		out->rest = x->ip.rest;
		return XLAT_R_NONE;
	case 3:
		return icmp_unreachable6(x, config, out);
	case 11:
		out->type = 3;
		return XLAT_R_NONE;
	case 12:
		pointer = icmp_pointer6(bpf_ntohl(x->ip.rest) >> 24);
		if ((x->ip.icmp_code != 0 && x->ip.icmp_code != 2) || pointer < 0)
			return XLAT_R_ICMP_UNKNOWN;
		out->type = 4;
		out->code = 0;
		out->rest = bpf_htonl((__u32)pointer);
		return XLAT_R_NONE;
	default:
		return XLAT_R_ICMP_UNKNOWN;
	}
}

XLAT_INLINE __u32 icmp_unreachable4(const struct xlat *x, struct icmp_head *out)
{
	out->type = 3;
	switch (x->ip.icmp_code) {
	case 0: case 2: case 3:		/* no route, beyond the scope of the source, address */
		out->code = 1;
		return XLAT_R_NONE;
	case 1:
		out->code = 10;
		return XLAT_R_NONE;
	case 4:
		out->code = 3;
		return XLAT_R_NONE;
	default:
		return XLAT_R_ICMP_UNKNOWN;
	}
}

/* RFC 7915 5.2. */
XLAT_INLINE __u32 icmp_to4(const struct xlat *x, const struct xlat_config *config, struct icmp_head *out)
{
	int pointer;

	out->code = x->ip.icmp_code;
	out->rest = 0;
	switch (x->ip.icmp_type) {
	case 128: case 129:
		out->type = x->ip.icmp_type == 128 ? 8 : 0;
		out->rest = x->ip.rest;
		return XLAT_R_NONE;
	case 1:
		return icmp_unreachable4(x, out);
	case 2:
		out->type = 3;
		out->code = 4;
		out->rest = bpf_htonl(icmp_mtu4(x, config));
		return XLAT_R_NONE;
	case 3:
		out->type = 11;
		return XLAT_R_NONE;
	case 4:
		if (x->ip.icmp_code == 1) {	/* unrecognized next header */
			out->type = 3;
			out->code = 2;
			return XLAT_R_NONE;
		}
		pointer = icmp_pointer4(bpf_ntohl(x->ip.rest));
		if (x->ip.icmp_code != 0 || pointer < 0)
			return XLAT_R_ICMP_UNKNOWN;
		out->type = 12;
		out->rest = bpf_htonl((__u32)pointer << 24);
		return XLAT_R_NONE;
	default:
		return XLAT_R_ICMP_UNKNOWN;
	}
}

/* 6 to 6: the message stays; what has no counterpart in IPv4 does not pass either. */
XLAT_INLINE __u32 icmp_stays(const struct xlat *x, struct icmp_head *out)
{
	if (!x->ip.query && !(x->flags & XLAT_INNER))
		return XLAT_R_ICMP_UNKNOWN;
	out->type = x->ip.icmp_type;
	out->code = x->ip.icmp_code;
	out->rest = x->ip.rest;
	return XLAT_R_NONE;
}
