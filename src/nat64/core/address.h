/*
 * Addresses: translation prefixes (RFC 6052), explicit mappings (RFC 7757), and which addresses are special.
 *
 * Arithmetic alone: look-ups are env.h's, and which rule comes first is stateless.h's.
 */
#pragma once
#include "nat64/core/env.h"

/* The dummy IPv4 address: source of what comes from nowhere that IPv4 could name (RFC 7600 4.8, 192.0.0.8). */
#define XLAT_DUMMY4 bpf_htonl(0xc0000008u)

XLAT_INLINE bool addr_eq(const __be32 a[4], const __be32 b[4])
{
	return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0;
}

XLAT_INLINE bool addr_zero(const __be32 a[4])
{
	return (a[0] | a[1] | a[2] | a[3]) == 0;
}

XLAT_INLINE void addr_set(__be32 to[4], const __be32 from[4])
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

XLAT_INLINE void addr_set4(__be32 to[4], __be32 from)
{
	to[0] = from;
	to[1] = to[2] = to[3] = 0;
}

/* `a` in host order is in the net of `bits` leading bits of `net`. */
XLAT_INLINE bool addr_in4(__u32 a, __u32 net, unsigned bits)
{
	return ((a ^ net) >> (32 - bits)) == 0;
}

/* IPv4 addresses that no packet of the translator may have: this network, loopback, link-local, multicast, broadcast (RFC 6890). */
XLAT_INLINE bool addr_special4(__be32 address)
{
	__u32 a = bpf_ntohl(address);

	return addr_in4(a, 0, 8) || addr_in4(a, 0x7f000000, 8) || addr_in4(a, 0xa9fe0000, 16) || addr_in4(a, 0xe0000000, 4) ||
	       a == 0xffffffff;
}

/* The same in IPv6: unspecified, loopback, link-local, multicast, IPv4-mapped. */
XLAT_INLINE bool addr_special6(const __be32 a[4])
{
	__u32 first = bpf_ntohl(a[0]);

	if (first == 0 && a[1] == 0)
		return (a[2] == 0 && bpf_ntohl(a[3]) <= 1) || a[2] == bpf_htonl(0xffff);
	return first >> 24 == 0xff || first >> 22 == 0xfe800000 >> 22;
}

/* An IPv4 address that is not global by the IANA registry: RFC 6890 and later, for RFC 6052 3.1. */
XLAT_INLINE bool addr_global4(__be32 address)
{
	__u32 a = bpf_ntohl(address);

	switch (a >> 24) {
	case 0: case 10: case 127:
		return false;
	case 100:
		return !addr_in4(a, 0x64400000, 10);
	case 169:
		return !addr_in4(a, 0xa9fe0000, 16);
	case 172:
		return !addr_in4(a, 0xac100000, 12);
	case 192:
		return !addr_in4(a, 0xc0a80000, 16) && !addr_in4(a, 0xc0000200, 24) &&
		       /* 192.0.0.9 and .10 are anycast (RFC 7723, 8155) and global. */
		       (!addr_in4(a, 0xc0000000, 24) || a == 0xc0000009 || a == 0xc000000a);
	case 198:
		return !addr_in4(a, 0xc6120000, 15) && !addr_in4(a, 0xc6336400, 24);
	case 203:
		return !addr_in4(a, 0xcb007100, 24);
	default:
		return a >> 28 < 0xe;		/* multicast, reserved, broadcast */
	}
}

/* The lengths of RFC 6052 2.2 differ in the second word alone: 0, 8, 16, 24 or 32 bits of it are the prefix's. */
XLAT_INLINE bool prefix_has(const struct xlat_prefix *p, const __be32 a[4])
{
	__u32 bits = p->bits;
	__u32 second;

	if (a[0] != p->addr[0])
		return false;
	if (bits == 96)
		return a[1] == p->addr[1] && a[2] == p->addr[2];
	if (bits == 32)
		return true;
	second = bpf_ntohl(a[1] ^ p->addr[1]);
	return second >> ((64 - bits) & 31) == 0;
}

/*
 * Put an IPv4 address into a prefix (RFC 6052 2.2): `behind` bits of it follow the u octet, bits 64 to 71, the others are the end of the second
 * word. What follows the address is 0.
 */
XLAT_INLINE void prefix_embed(const struct xlat_prefix *p, __be32 address, __be32 out[4])
{
	__u32 behind = (p->bits - 32u) & 63;
	__u64 v = bpf_ntohl(address), low;

	addr_set(out, p->addr);
	if (p->bits == 96) {
		out[3] = address;
		return;
	}
	low = v << ((56 - behind) & 63) << 8 >> 8;
	out[1] |= bpf_htonl((__u32)(v >> behind));
	out[2] = bpf_htonl((__u32)(low >> 32));
	out[3] = bpf_htonl((__u32)low);
}

/* Take it out again. False: the u octet is not 0. What follows the address is not looked at (2.2: "SHOULD be ignored"). */
XLAT_INLINE bool prefix_extract(const struct xlat_prefix *p, const __be32 a[4], __be32 *out)
{
	__u32 behind = (p->bits - 32u) & 63;
	__u64 low;

	if (p->bits == 96) {
		*out = a[3];
		return true;
	}
	low = ((__u64)bpf_ntohl(a[2]) << 32 | bpf_ntohl(a[3]));
	if (low >> 56 != 0)
		return false;
	/* In two steps, since behind may be 0. */
	low = low << 8 >> 1 >> ((63 - behind) & 63);
	*out = bpf_htonl((__u32)((__u64)bpf_ntohl(a[1]) << behind | low));
	return true;
}

/* Index of the translation prefix that an address is in; -1: none. They do not overlap: one answer. */
XLAT_INLINE int prefix_find(const struct xlat_config *config, const __be32 a[4])
{
	for (__u32 i = 0; i < XLAT_PREFIXES_MAX; i++) {
		if (i >= config->prefix_count)
			return -1;
		if (prefix_has(&config->prefix[i], a))
			return (int)i;
	}
	return -1;
}

/* Row of pool4 that an IPv4 address is in; -1: none. Ports, marks and draining are the caller's. */
XLAT_INLINE int pool_find(const struct xlat_config *config, __be32 address)
{
	__u32 a = bpf_ntohl(address);

	for (__u32 i = 0; i < XLAT_POOLS_MAX; i++) {
		if (i >= config->pool_count)
			return -1;
		if (a - config->pool[i].first < config->pool[i].count)
			return (int)i;
	}
	return -1;
}

XLAT_INLINE bool net6_has(const struct xlat_net6 *n, const __be32 a[4])
{
	return (((a[0] & n->mask[0]) ^ n->addr[0]) | ((a[1] & n->mask[1]) ^ n->addr[1]) | ((a[2] & n->mask[2]) ^ n->addr[2]) |
		((a[3] & n->mask[3]) ^ n->addr[3])) == 0;
}

XLAT_INLINE bool net4_has(const struct xlat_net4 *n, __be32 a)
{
	return (a & n->mask) == n->addr;
}

/* The first `count` nets have the address: index + 1, or 0. */
XLAT_INLINE int net6_find(const struct xlat_net6 *net, __u32 count, __u32 max, const __be32 a[4])
{
	for (__u32 i = 0; i < max; i++) {
		if (i >= count)
			return 0;
		if (net6_has(&net[i], a))
			return (int)i + 1;
	}
	return 0;
}

XLAT_INLINE int net4_find(const struct xlat_net4 *net, __u32 count, __u32 max, __be32 a)
{
	for (__u32 i = 0; i < max; i++) {
		if (i >= count)
			return 0;
		if (net4_has(&net[i], a))
			return (int)i + 1;
	}
	return 0;
}

/* A word of a span takes in another: the bits from the first one that differs on do not count. False: no later word may. */
XLAT_INLINE bool span_join(__be32 *addr, __be32 *mask, __be32 other, __u32 bits, bool first)
{
	__u32 m = bits == 0 ? 0 : ~0u << (32 - (bits < 32 ? bits : 32)), o = bpf_ntohl(other), differ;

	if (!first) {
		m &= bpf_ntohl(*mask);
		differ = (bpf_ntohl(*addr) ^ o) & m;
		if (differ != 0)
			m &= ~(~0u >> __builtin_clz(differ));
	}
	*mask = bpf_htonl(m);
	*addr = bpf_htonl(o & m);
	return m == ~0u;
}

/* The spans of a configuration take in a mapping; `first` begins them. For who writes configurations. */
XLAT_INLINE void eam_span_join(struct xlat_config *c, const struct xlat_eam *e, bool first)
{
	__u32 bits = e->bits6;

	for (int i = 0; i < 4; i++) {
		if (!span_join(&c->eam_span6.addr[i], &c->eam_span6.mask[i], e->addr6[i], bits, first))
			bits = 0;
		else
			bits -= 32;
	}
	(void)span_join(&c->eam_span4.addr, &c->eam_span4.mask, e->addr4, e->bits4, first);
}

/* Bits of a suffix that an explicit mapping copies: the lesser of both lengths (RFC 7757 3.2). */
XLAT_INLINE __u32 eam_suffix(const struct xlat_eam *e)
{
	__u32 four = (32u - e->bits4) & 63, six = (128u - e->bits6) & 255;

	return four < six ? four : six;
}

/* IPv6 to IPv4 by an explicit mapping (RFC 7757 3.3.2): bits behind the prefix are moved, what is left over is dropped. */
XLAT_INLINE __be32 eam_to4(const struct xlat_eam *e, const __be32 a[4])
{
	__u32 bits = e->bits6 & 127, n = eam_suffix(e);
	__u64 high = (__u64)bpf_ntohl(a[0]) << 32 | bpf_ntohl(a[1]);
	__u64 low = (__u64)bpf_ntohl(a[2]) << 32 | bpf_ntohl(a[3]);
	__u64 window;

	if (n == 0)
		return e->addr4;
	/* The 64 bits from `bits` on. */
	if (bits < 64)
		window = high << (bits & 63) | low >> 1 >> ((63 - bits) & 63);
	else
		window = low << (bits & 63);
	/* The first n of them, at the place that the IPv4 prefix leaves. */
	window = window >> ((64 - n) & 63) << ((32u - e->bits4 - n) & 63);
	return e->addr4 | bpf_htonl((__u32)window);
}

/* IPv4 to IPv6 (3.3.1): what the IPv4 suffix does not fill is 0. */
XLAT_INLINE void eam_to6(const struct xlat_eam *e, __be32 address, __be32 out[4])
{
	__u32 bits = e->bits6 & 127, n = eam_suffix(e);
	__u64 window, high, low;

	addr_set(out, e->addr6);
	if (n == 0)
		return;
	/* The n bits behind the IPv4 prefix, at the top of a word. */
	window = (__u64)bpf_ntohl(address) << ((32 + e->bits4) & 63);
	window = window >> ((64 - n) & 63) << ((64 - n) & 63);
	high = bits < 64 ? window >> (bits & 63) : 0;
	low = bits < 64 ? window << 1 << ((63 - bits) & 63) : window >> (bits & 63);
	out[0] |= bpf_htonl((__u32)(high >> 32));
	out[1] |= bpf_htonl((__u32)high);
	out[2] |= bpf_htonl((__u32)(low >> 32));
	out[3] |= bpf_htonl((__u32)low);
}
