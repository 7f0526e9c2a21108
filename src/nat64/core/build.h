/*
 * The edit: x->to and x->inner_to become headers in x->head (RFC 7915 4.1, 4.3, 5.1, 5.3), with checksums that follow from the old
 * ones by their changes (RFC 1624), so the payload is never read. And ICMP errors of our own, and whether a packet fits.
 *
 * Offsets into head are masked as those into in: the largest is 56 + 48, and nothing behind the mask is longer than its slack.
 */
#pragma once
#include "nat64/core/address.h"
#include "nat64/core/fragment.h"
#include "nat64/core/icmp.h"

#define BUILD_MASK	  127u
#define BUILD_ERROR4_MAX  576u		/* RFC 1812 4.3.2.3 */
#define BUILD_ERROR6_MAX  1280u		/* RFC 4443 2.4 (c) */
#define BUILD_UNFRAGMENTED 1260u	/* IPv4 packets up to here may be fragmented on their way (7915 5) */
_Static_assert(BUILD_MASK + 1 + 20 <= XLAT_HEAD_BYTES, "a transport header fits behind the mask");

XLAT_INLINE void out8(struct xlat *x, __u32 at, __u32 v)
{
	x->head[at & BUILD_MASK] = (__u8)v;
}

XLAT_INLINE void out16(struct xlat *x, __u32 at, __u32 v)
{
	__be16 word = bpf_htons((__u16)v);

#ifdef __bpf__
	*(__be16 *)(void *)&x->head[at & BUILD_MASK] = word;
#else
	xlat_copy(&x->head[at & BUILD_MASK], &word, sizeof(word));
#endif
}

/* A word as it lies in memory. */
XLAT_INLINE void out32(struct xlat *x, __u32 at, __be32 word)
{
#ifdef __bpf__
	*(__be32 *)(void *)&x->head[at & BUILD_MASK] = word;
#else
	xlat_copy(&x->head[at & BUILD_MASK], &word, sizeof(word));
#endif
}

XLAT_INLINE __be32 head32(const struct xlat *x, __u32 at)
{
	__be32 word;

#ifdef __bpf__
	word = *(const __be32 *)(const void *)&x->head[at & BUILD_MASK];
#else
	xlat_copy(&word, &x->head[at & BUILD_MASK], sizeof(word));
#endif
	return word;
}

/* Bytes of the transport header that the head has: all up to the checksum, if there are so many. */
XLAT_INLINE __u32 build_bytes(const struct xlat_ip *ip)
{
	__u32 need = parse_need(ip->protocol);

	if (ip->fragment_at != 0 || need == 0)
		return 0;
	return need == 20 && ip->l4_bytes >= 20 ? 20 : 8;
}

/* Of the IP headers that a packet gets. */
XLAT_INLINE __u32 build_header(const struct xlat_ip *ip, __u8 family)
{
	if (family == 4)
		return 20;
	return fragment_is(ip) ? 48 : 40;
}

XLAT_INLINE __u8 build_protocol(__u8 protocol, __u8 family)
{
	if (family == 4)
		return protocol == XLAT_ICMP6 ? XLAT_ICMP : protocol;
	return protocol == XLAT_ICMP ? XLAT_ICMP6 : protocol;
}

/* RFC 7915 4.1; no fragment header but for what is a fragment already, atomic ones included (RFC 8021). `bytes`: of transport. */
XLAT_INLINE void build6(struct xlat *x, __u32 at, const struct xlat_ip *ip, const struct xlat_ends *to, __u32 tos, __u32 ttl, __u32 bytes)
{
	bool fragment = fragment_is(ip);
	__u32 protocol = build_protocol(ip->protocol, 6);
	__u32 next = fragment ? PARSE_FRAGMENT : protocol;

	out32(x, at, bpf_htonl(6u << 28 | tos << 20 | ip->flow));
	bytes += fragment ? 8 : 0;
	if (bytes > 65535)		/* of an inner packet alone: its length is not this one's */
		bytes = 65535;
	out32(x, at + 4, bpf_htonl(bytes << 16 | next << 8 | ttl));
	for (__u32 i = 0; i < 4; i++) {
		out32(x, at + 8 + 4 * i, to->src[i]);
		out32(x, at + 24 + 4 * i, to->dst[i]);
	}
	if (!fragment)
		return;
	out32(x, at + 40, bpf_htonl(protocol << 24 | ip->fragment_at | ip->more));
	out32(x, at + 44, bpf_htonl(ip->id));
}

/* RFC 7915 5.1, and 5.1.1 for what has a fragment header. */
XLAT_INLINE void build4(struct xlat *x, __u32 at, const struct xlat_ip *ip, const struct xlat_ends *to, __u32 tos, __u32 ttl, __u32 bytes, __u32 id,
			bool dont_fragment)
{
	__u32 flags = dont_fragment ? 0x4000 : 0, sum;
	__be32 word[3];

	bytes += 20;
	if (bytes > 65535)
		bytes = 65535;
	if (ip->has_fragment) {
		id = ip->id & 0xffff;
		flags = (ip->more ? 0x2000u : 0) | (__u32)ip->fragment_at >> 3;
	}
	word[0] = bpf_htonl(0x45u << 24 | tos << 16 | bytes);
	word[1] = bpf_htonl(id << 16 | flags);
	word[2] = bpf_htonl(ttl << 24 | (__u32)build_protocol(ip->protocol, 4) << 16);
	sum = csum_word(word[0]) + csum_word(word[1]) + csum_word(word[2]) + csum_word(to->src[0]) + csum_word(to->dst[0]);
	word[2] |= bpf_htonl((__u16)~csum_fold(sum));
	out32(x, at, word[0]);
	out32(x, at + 4, word[1]);
	out32(x, at + 8, word[2]);
	out32(x, at + 12, to->src[0]);
	out32(x, at + 16, to->dst[0]);
}

XLAT_INLINE __u32 build_tos(const struct xlat_config *config, __u8 tos)
{
	return config->flags & XLAT_TOS_COPY ? tos : config->tos & 0xff;
}

/* Sum of a pseudo header (RFC 8200 8.1); that of IPv4 has the same sum. */
XLAT_INLINE __u32 build_pseudo(const __be32 src[4], const __be32 dst[4], __u32 bytes, __u32 protocol)
{
	return csum_address(src) + csum_address(dst) + csum_fold(bytes) + protocol;
}

/* How the sum of the pseudo header changes; `old` and `new`: bytes of an ICMP message. */
XLAT_INLINE void build_pseudo_change(struct xlat *x, const struct xlat_ip *ip, const struct xlat_ends *to, __u32 old, __u32 new, __u32 *change)
{
	*change = 0;
	if (ip->protocol != XLAT_ICMP && ip->protocol != XLAT_ICMP6) {
		*change = csum_change(csum_address(ip->src) + csum_address(ip->dst), csum_address(to->src) + csum_address(to->dst));
		return;
	}
	/* ICMPv4 has no pseudo header. */
	if (ip->family == 6)
		*change = csum_change(build_pseudo(ip->src, ip->dst, old, XLAT_ICMP6), 0);
	if (to->family == 6)
		*change += build_pseudo(to->src, to->dst, new, XLAT_ICMP6);
}

/* Copy the transport header, then its ports; `at` is its place in head. What it is before the checksum is mended. */
XLAT_INLINE __u32 build_ports(struct xlat *x, __u32 at, const struct xlat_ip *ip, const struct xlat_ends *to, __u32 bytes)
{
	for (__u32 i = 0; i < 20; i += 4) {
		if (i >= bytes)
			break;
		out32(x, at + i, in32(x, ip->l4 + i));
	}
	if (ip->protocol == XLAT_ICMP || ip->protocol == XLAT_ICMP6 || bytes == 0)
		return 0;
	out16(x, at, bpf_ntohs(to->sport));
	out16(x, at + 2, bpf_ntohs(to->dport));
	return csum_change((__u32)bpf_ntohs(ip->sport) + bpf_ntohs(ip->dport), (__u32)bpf_ntohs(to->sport) + bpf_ntohs(to->dport));
}

/* The identifier of an echo: one number for two ends, of which the one that sent it in IPv6 is the source. */
XLAT_INLINE __be16 build_identifier(const struct xlat_ip *ip, const struct xlat_ends *to)
{
	return ip->family == 6 ? to->sport : to->dport;
}

/*
 * The packet inside an ICMP error, at x->head[at], but for the error's own checksum: headers, lengths, and the checksum of its
 * transport where it was quoted. Returns the end of it in head; x->strip is where the rest begins.
 */
XLAT_PART int build_inner(struct xlat *x, __u32 at)
{
	const struct xlat_config *config;
	struct xlat_ip *ip;
	__u32 bytes, header, l4, change, pseudo, total;

	if (x == NULL)
		return 0;
	config = env_config(x);
	if (config == NULL)
		return 0;
	ip = &x->inner;
	at &= 63;
	bytes = build_bytes(ip);
	header = build_header(ip, x->inner_to.family);
	total = header + ip->payload;
	if (x->inner_to.family == 6)
		build6(x, at, ip, &x->inner_to, build_tos(config, ip->tos), ip->ttl, ip->payload);
	else
		build4(x, at, ip, &x->inner_to, build_tos(config, ip->tos), ip->ttl, ip->payload, 0, total > BUILD_UNFRAGMENTED);
	l4 = at + header;
	x->strip = ip->l4 + bytes;
	if (bytes == 0)
		return (int)l4;
	change = build_ports(x, l4, ip, &x->inner_to, bytes);
	if (ip->protocol == XLAT_ICMP || ip->protocol == XLAT_ICMP6) {
		/* A query: parse.h drops errors. */
		__u8 type = ip->icmp_type;

		if (ip->family != x->inner_to.family)
			type = ip->family == 4 ? (type == 8 ? 128 : 129) : (type == 128 ? 8 : 0);
		out8(x, l4, type);
		out16(x, l4 + 4, bpf_ntohs(build_identifier(ip, &x->inner_to)));
		change = csum_change(((__u32)ip->icmp_type << 8) + bpf_ntohs(ip->sport), ((__u32)type << 8) + bpf_ntohs(build_identifier(ip, &x->inner_to)));
	}
	if (bytes < parse_csum_at(ip->protocol) + 2 || (ip->protocol == XLAT_UDP && ip->csum == 0))
		return (int)(l4 + bytes);
	build_pseudo_change(x, ip, &x->inner_to, ip->payload, ip->payload, &pseudo);
	change = csum_update(ip->csum, change + pseudo);
	out16(x, l4 + parse_csum_at(ip->protocol), ip->protocol == XLAT_UDP ? csum_udp((__u16)change) : change);
	return (int)(l4 + bytes);
}

/* Sum of an ICMP error as it arrived, in [l4, strip), without its checksum. Its length is a multiple of 4, as that of the next. */
XLAT_INLINE __u32 build_sum_old(const struct xlat *x)
{
	__u32 sum = 0;

	for (__u32 i = 0; i < XLAT_BYTES; i += 4) {
		if (x->ip.l4 + i >= x->strip)
			break;
		sum += csum_word(in32(x, x->ip.l4 + i));
	}
	return sum - x->ip.csum;
}

/* Sum of head from `at` on. */
XLAT_INLINE __u32 build_sum_new(const struct xlat *x, __u32 at)
{
	__u32 sum = 0;

	for (__u32 i = 0; i < XLAT_HEAD_BYTES; i += 4) {
		if (at + i >= x->head_bytes)
			break;
		sum += csum_word(head32(x, at + i));
	}
	return sum;
}

/*
 * The ICMP header at x->head[at] and, of an error, the packet within. 0, or the verdict is set. An error that gets too long is cut, and the home
 * sums what is left. One with an extension (RFC 4884) is taken apart by the slow path; when that asks, the checksum is its matter.
 */
XLAT_PART int build_icmp(struct xlat *x, __u32 at)
{
	const struct xlat_config *config;
	struct icmp_head head = { 0 };
	__u32 reason, bytes, limit, old;

	if (x == NULL)
		return XLAT_DROP;
	config = env_config(x);
	if (config == NULL)
		return xlat_drop(x, XLAT_R_ICMP_UNKNOWN);
	if (x->ip.family == 4)
		reason = icmp_to6(x, config, &head);
	else
		reason = x->to.family == 4 ? icmp_to4(x, config, &head) : icmp_stays(x, &head);
	if (reason != XLAT_R_NONE)
		return xlat_drop(x, (enum xlat_reason)reason);
	out32(x, at, bpf_htonl((__u32)head.type << 24 | (__u32)head.code << 16));
	out32(x, at + 4, head.rest);
	bytes = x->ip.payload;
	if (x->flags & XLAT_INNER) {
		x->head_bytes = (__u32)build_inner(x, at + 8) & 255;
		bytes = x->head_bytes - at + x->ip.payload - (x->strip - x->ip.l4);
		limit = (x->to.family == 6 ? BUILD_ERROR6_MAX : BUILD_ERROR4_MAX) - at;
		if (icmp_extended(x)) {
			if (!(x->flags & XLAT_FROM_SLOW))
				return xlat_say(x, XLAT_SLOW, XLAT_R_ICMP_COMPLEX);
			x->csum_payload = 1;
		}
		if (bytes > limit) {
			x->csum_payload = 1;
			bytes = limit;
		}
	} else if (x->ip.query) {
		out16(x, at + 4, bpf_ntohs(build_identifier(&x->ip, &x->to)));
	}
	x->out_bytes = at + bytes;
	build_pseudo_change(x, &x->ip, &x->to, x->ip.payload, bytes, &x->csum_pseudo);
	old = build_sum_old(x);
	x->csum_rest = csum_change(old, build_sum_new(x, at));
	x->csum_at = at + 2;
	if (x->csum_payload)
		out16(x, at + 2, csum_fold((x->to.family == 6 ? build_pseudo(x->to.src, x->to.dst, bytes, XLAT_ICMP6) : 0) + build_sum_new(x, at)));
	else
		out16(x, at + 2, csum_update(x->ip.csum, csum_fold(x->csum_pseudo) + csum_fold(x->csum_rest)));
	return 0;
}

/* TCP, UDP, DCCP and UDP-Lite at x->head[at]. */
XLAT_INLINE void build_transport(struct xlat *x, __u32 at, __u32 bytes)
{
	const struct xlat_ip *ip = &x->ip;
	__u32 place = at + parse_csum_at(ip->protocol), sum;

	x->csum_rest = build_ports(x, at, ip, &x->to, bytes);
	if (bytes == 0)
		return;
	if (x->flags & XLAT_ZERO_UDP) {
		sum = build_pseudo(x->to.src, x->to.dst, ip->payload, XLAT_UDP) + bpf_ntohs(x->to.sport) + bpf_ntohs(x->to.dport) + ip->payload;
		x->csum_payload = 1;
		x->csum_at = place;
		out16(x, place, csum_fold(sum));
		return;
	}
	/* What has none in IPv6 (tunnels, RFC 6935) has none in IPv4 either. */
	if (ip->protocol == XLAT_UDP && ip->csum == 0)
		return;
	build_pseudo_change(x, ip, &x->to, 0, 0, &x->csum_pseudo);
	sum = csum_update(ip->csum, csum_fold(x->csum_pseudo) + csum_fold(x->csum_rest));
	x->csum_at = place;
	out16(x, place, ip->protocol == XLAT_UDP ? csum_udp((__u16)sum) : sum);
}

/* Bytes of IP on the wire: those of one segment when the device cuts the packet. */
XLAT_INLINE __u32 build_wire(const struct xlat *x)
{
	__u32 header = build_header(&x->ip, x->to.family);

	if (!(x->flags & XLAT_GSO) || x->gso_bytes == 0)
		return x->out_bytes;
	if (x->ip.protocol == XLAT_TCP)
		return icmp_min(header + (__u32)(in8(x, x->ip.l4 + 12u) >> 4) * 4 + x->gso_bytes, x->out_bytes);
	return icmp_min(header + 8 + x->gso_bytes, x->out_bytes);
}

/*
 * The edit of a translation. In: x->ip, x->inner, x->to, x->inner_to, flags. Returns the verdict: TRANSLATE, or why not: DROP (ICMP that has no
 * counterpart), SLOW, ERROR (longer than IPv4 can say).
 */
XLAT_PART int xlat_build(struct xlat *x)
{
	const struct xlat_config *config;
	__u32 header, bytes, tos, ttl, wire;

	if (x == NULL)
		return XLAT_DROP;
	config = env_config(x);
	if (config == NULL)
		return xlat_drop(x, XLAT_R_NOT_OURS);
	header = build_header(&x->ip, x->to.family);
	bytes = build_bytes(&x->ip);
	x->strip = x->ip.l4 + bytes;
	x->head_bytes = header + bytes;
	x->out_bytes = header + x->ip.payload;
	x->csum_at = x->csum_pseudo = x->csum_rest = x->csum_payload = 0;
	if (bytes != 0 && (x->ip.protocol == XLAT_ICMP || x->ip.protocol == XLAT_ICMP6)) {
		int r = build_icmp(x, header);

		if (r != 0)
			return r;
	} else {
		build_transport(x, header, bytes);
	}
	if (x->out_bytes > 65535 + (x->to.family == 6 ? 40u : 0))
		return xlat_answer(x, XLAT_R_TOO_BIG, 2, 0, 65535);
	tos = build_tos(config, x->ip.tos);
	ttl = x->ip.ttl - 1u;
	wire = build_wire(x);
	if (x->to.family == 6)
		build6(x, 0, &x->ip, &x->to, tos, ttl & 0xff, x->out_bytes - header);
	else
		build4(x, 0, &x->ip, &x->to, tos, ttl & 0xff, x->out_bytes - 20, env_random(x) & 0xffff, wire > BUILD_UNFRAGMENTED);
	if (x->ip.family == 4 && x->to.family == 6 && !x->ip.dont_fragment && !fragment_is(&x->ip))
		xlat_step(x, XLAT_S_NO_FRAGMENT_HEADER, 0);
	return xlat_say(x, XLAT_TRANSLATE, x->ip.has_fragment && !fragment_is(&x->ip) ? XLAT_R_ATOMIC_FRAGMENT : XLAT_R_NONE);
}

/* RFC 1812 4.3.2.7, RFC 4443 2.4 (e): about what no ICMP error is sent. */
XLAT_INLINE bool build_error_forbidden(const struct xlat *x)
{
	const struct xlat_ip *ip = &x->ip;

	if (icmp_is_error(ip))
		return true;
	if (ip->family == 4)
		return ip->fragment_at != 0 || addr_special4(ip->src[0]) || addr_special4(ip->dst[0]) || bpf_ntohl(ip->src[0]) >> 28 == 0xf;
	return addr_special6(ip->src) || addr_special6(ip->dst);
}

/*
 * The edit of the ICMP error that x->error_* describes, of the family as it arrived, put before the packet and cut to what such
 * messages may have. x->to is where it goes, for the look-up of a next hop. The home sums what follows head (csum_payload).
 * Returns the verdict: ERROR, or DROP when no answer is allowed. Its rate is the home's matter.
 */
XLAT_PART int xlat_error(struct xlat *x)
{
	const struct xlat_config *config;
	__u32 sum, word;

	if (x == NULL)
		return XLAT_DROP;
	config = env_config(x);
	if (config == NULL || !(config->flags & XLAT_ICMP_ERRORS) || build_error_forbidden(x))
		return xlat_drop(x, (enum xlat_reason)x->reason);
	word = (__u32)x->error_type << 24 | (__u32)x->error_code << 16;
	x->strip = 0;
	x->csum_pseudo = x->csum_rest = 0;
	x->csum_payload = 1;
	addr_set(x->to.dst, x->ip.src);
	x->to.sport = x->to.dport = 0;
	x->to.family = x->ip.family;
	/* Without an address of our own that of the destination, which is ours as well. */
	if (x->ip.family == 6) {
		addr_set(x->to.src, addr_zero(config->own6) ? x->ip.dst : config->own6);
		x->head_bytes = 48;
		x->out_bytes = icmp_min(88u + in16(x, 4), BUILD_ERROR6_MAX);
		x->csum_at = 42;
		out32(x, 0, bpf_htonl(6u << 28));
		out32(x, 4, bpf_htonl((x->out_bytes - 40) << 16 | (__u32)XLAT_ICMP6 << 8 | 64));
		for (__u32 i = 0; i < 4; i++) {
			out32(x, 8 + 4 * i, x->to.src[i]);
			out32(x, 24 + 4 * i, x->to.dst[i]);
		}
		sum = build_pseudo(x->to.src, x->to.dst, x->out_bytes - 40, XLAT_ICMP6) + (word >> 16) + csum_word(bpf_htonl(x->error_value));
		out32(x, 40, bpf_htonl(word | csum_fold(sum)));
		out32(x, 44, bpf_htonl(x->error_value));
		return XLAT_ERROR;
	}
	addr_set4(x->to.src, config->own4 == 0 ? x->ip.dst[0] : config->own4);
	x->head_bytes = 28;
	x->out_bytes = icmp_min(28u + in16(x, 2), BUILD_ERROR4_MAX);
	x->csum_at = 22;
	/* Internetwork control (RFC 1812 4.3.2.5); never fragmented, so it needs no identification (RFC 6864 4). */
	sum = csum_word(bpf_htonl(0x45c00000 | x->out_bytes)) + 0x4000 + csum_word(bpf_htonl(64u << 24 | (__u32)XLAT_ICMP << 16)) + csum_word(x->to.src[0]) +
	      csum_word(x->to.dst[0]);
	out32(x, 0, bpf_htonl(0x45c00000 | x->out_bytes));
	out32(x, 4, bpf_htonl(0x4000));
	out32(x, 8, bpf_htonl(64u << 24 | (__u32)XLAT_ICMP << 16 | (__u16)~csum_fold(sum)));
	out32(x, 12, x->to.src[0]);
	out32(x, 16, x->to.dst[0]);
	out32(x, 20, bpf_htonl(word | csum_fold((word >> 16) + csum_word(bpf_htonl(x->error_value)))));
	out32(x, 24, bpf_htonl(x->error_value));
	return XLAT_ERROR;
}

/* Count a verdict, or take it back (`by` -1), in this processor's numbers. */
XLAT_INLINE void xlat_count(struct xlat *x, __u64 by)
{
	struct xlat_stats *stats = x->flags & XLAT_DRY ? NULL : env_stats(x);
	__u32 verdict = x->verdict, reason = x->reason;

	if (stats == NULL || verdict >= XLAT_VERDICTS || reason >= XLAT_REASONS)
		return;
	stats->reason[verdict][reason & 127] += by;
	if (verdict != XLAT_TRANSLATE)
		return;
	stats->packets[x->ip.family == 4] += by;
	stats->bytes[x->ip.family == 4] += by * x->packet_bytes;
	if (x->flags & XLAT_HAIRPINNED)
		stats->hairpins += by;
}

/* What follows goes slow as well, for 100 ms, so that a flow keeps its order (RFC 7915 4, 5). */
XLAT_INLINE void xlat_keep_slow(struct xlat *x)
{
	const struct xlat_control *control = env_control(x);
	struct xlat_slow_key key = { .family = x->ip.family, .protocol = x->ip.protocol };

	if (x->flags & XLAT_DRY || control == NULL || control->slow_ifindex == 0)
		return;
	addr_set(key.src, x->ip.src);
	addr_set(key.dst, x->ip.dst);
	env_slow_put(x, &key, x->now + XLAT_TICKS(100) + 1);
}

/* The next hop's MTU is less than a translated message said: it says this one (7915 4.2, 5.2). */
XLAT_INLINE void build_fit_message(struct xlat *x, __u32 mtu)
{
	__u32 at = x->csum_at + 2, said, sum;
	__be32 stored;

	if (x->csum_at == 0 || !(x->flags & XLAT_INNER) || x->to.family != 6 || x->head[(x->csum_at - 2) & BUILD_MASK] != 2)
		return;
	said = bpf_ntohl(head32(x, at));
	if (said <= mtu)
		return;
	out32(x, at, bpf_htonl(mtu));
	stored = head32(x, x->csum_at - 2);
	sum = bpf_ntohl(stored) & 0xffff;
	if (x->csum_payload)
		sum = csum_fold(sum + csum_change(csum_word(bpf_htonl(said)), csum_word(bpf_htonl(mtu))));
	else
		sum = csum_update((__u16)sum, csum_change(csum_word(bpf_htonl(said)), csum_word(bpf_htonl(mtu))));
	x->csum_rest = csum_fold(x->csum_rest) + csum_change(csum_word(bpf_htonl(said)), csum_word(bpf_htonl(mtu)));
	out16(x, x->csum_at, sum);
}

/*
 * Does the packet fit the next hop, whose MTU is `mtu` (0: not known)? With verdict TRANSLATE only. Returns the verdict: TRANSLATE; ERROR with the
 * edit of "too big" (RFC 7915 4, 5: the MTU in it is that of the other family); or SLOW, when it may be fragmented (4.1: to
 * lowest-ipv6-mtu). The slow path, which fragments, gets TRANSLATE with the reason MUST_FRAGMENT.
 */
XLAT_PART int xlat_fit(struct xlat *x, __u32 mtu)
{
	const struct xlat_config *config;
	__u32 wire, limit;

	if (x == NULL)
		return XLAT_DROP;
	config = env_config(x);
	if (config == NULL || x->verdict != XLAT_TRANSLATE)
		return (int)x->verdict;
	limit = mtu == 0 ? 65575 : mtu;
	if (x->to.family == 6 && limit < 1280)
		limit = 1280;
	build_fit_message(x, limit);
	wire = build_wire(x);
	if (x->ip.family == 4 && !x->ip.dont_fragment)
		limit = icmp_min(limit, config->lowest_mtu6 < 1280 ? 1280 : config->lowest_mtu6);
	if (likely(wire <= limit))
		return XLAT_TRANSLATE;
	xlat_count(x, (__u64)-1);
	/* Ours would be the router that fragments: IPv4 that may be, and what became IPv4 with DF clear. */
	if (x->ip.family == 4 ? !x->ip.dont_fragment : x->to.family == 4 && wire <= BUILD_UNFRAGMENTED) {
		if (x->flags & XLAT_FROM_SLOW) {
			x->reason = XLAT_R_MUST_FRAGMENT;
		} else {
			xlat_say(x, XLAT_SLOW, XLAT_R_MUST_FRAGMENT);
			xlat_keep_slow(x);
		}
	} else if (x->ip.family == 4) {
		xlat_answer(x, x->flags & XLAT_GSO ? XLAT_R_GSO_TOO_BIG : XLAT_R_TOO_BIG, 3, 4, limit - (fragment_is(&x->ip) ? 28 : 20));
		xlat_error(x);
	} else {
		if (x->to.family == 4)
			limit = limit + 20 < 1280 ? 1280 : limit + 20;
		xlat_answer(x, x->flags & XLAT_GSO ? XLAT_R_GSO_TOO_BIG : XLAT_R_TOO_BIG, 2, 0, limit);
		xlat_error(x);
	}
	xlat_count(x, 1);
	return (int)x->verdict;
}
