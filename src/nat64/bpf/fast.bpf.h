/*
 * The short way of the XDP home: TCP and UDP that need nothing but new addresses, from frame to frame without struct xlat.
 *
 * The core handles every packet there is, by one piece of memory that a packet is copied to and an edit that is copied back; most
 * packets pay for that with more time than their translation takes. So this file repeats the core's rules for the plainest
 * case, in two parts: *_plan looks at a packet and changes nothing - whatever is unusual, it gives up, and the core takes the
 * packet - and fast_write changes the frame. The differential test holds both to the same bytes.
 *
 * Not here: anything with a reason. So a packet that went this way counts as translated, reason none.
 */
#pragma once
#include "nat64/bpf/nexthop.bpf.h"

#define FAST_LINK 14u
#define FAST_ROWS 4u		/* of pool4, subscribers: longer lists are the core's */
#define FAST_PADDED 46u		/* bytes of the least frame's data: shorter packets come with padding */
#define FAST_ASK (-1)		/* fast_run: see there */
#define FAST_SETTLED 8u		/* with the family: x->to is known */

struct fast {
	__u32 family;			/* as it arrived */
	__u32 protocol, bytes;		/* transport with its data */
	__u32 tos_flow;			/* IPv6's first word without the version, IPv4's TOS */
	__u32 ttl, csum;		/* csum: as it lies there */
	__u32 tcp_flags;
	bool dont_fragment;
	__be32 src[4], dst[4];		/* old; and new: */
	__be32 to_src[4], to_dst[4];
	__be16 sport, dport, to_sport, to_dport;
};

XLAT_INLINE __u16 fast_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* Sums here are of words as they lie in memory (RFC 1071 2 (B)). */
XLAT_INLINE __u64 fast_sum(const __be32 a[4])
{
	return (__u64)(__u32)a[0] + (__u32)a[1] + (__u32)a[2] + (__u32)a[3];
}

/* A TCP or UDP header with a checksum that is whole. */
XLAT_INLINE bool fast_transport(struct fast *f, const __u8 *l4, const void *end)
{
	if (f->protocol == XLAT_TCP) {
		if ((const void *)(l4 + 20) > end || f->bytes < 20)
			return false;
		f->csum = *(const __u16 *)(const void *)(l4 + 16);
		f->tcp_flags = l4[13];
	} else if (f->protocol == XLAT_UDP) {
		f->csum = *(const __u16 *)(const void *)(l4 + 6);
		if (f->bytes < 8 || f->csum == 0)
			return false;
	} else {
		return false;
	}
	f->sport = *(const __be16 *)(const void *)l4;
	f->dport = *(const __be16 *)(const void *)(l4 + 2);
	return f->csum != fast_fold(fast_sum(f->src) + fast_sum(f->dst) + bpf_htons((__u16)f->bytes) + bpf_htons((__u16)f->protocol));
}

XLAT_INLINE bool fast_read6(struct fast *f, const __u8 *ip, const void *end, __u32 packet_bytes)
{
	__u32 first;

	if ((const void *)(ip + 48) > end)
		return false;
	first = bpf_ntohl(*(const __be32 *)(const void *)ip);
	f->family = 6;
	f->bytes = bpf_ntohs(*(const __be16 *)(const void *)(ip + 4));
	f->protocol = ip[6];
	f->ttl = ip[7];
	f->tos_flow = first & 0x0fffffff;
	if (first >> 28 != 6 || f->ttl <= 1 || f->bytes + 40 != packet_bytes)
		return false;		/* with 48 bytes and more there is no padding */
	for (int i = 0; i < 4; i++) {
		f->src[i] = *(const __be32 *)(const void *)(ip + 8 + 4 * i);
		f->dst[i] = *(const __be32 *)(const void *)(ip + 24 + 4 * i);
	}
	return fast_transport(f, ip + 40, end);
}

XLAT_INLINE bool fast_read4(struct fast *f, const __u8 *ip, const void *end, __u32 packet_bytes)
{
	const __u32 *w = (const __u32 *)(const void *)ip;
	__u32 total;

	if ((const void *)(ip + 28) > end || ip[0] != 0x45)
		return false;
	total = bpf_ntohs(*(const __be16 *)(const void *)(ip + 2));
	f->family = 4;
	f->bytes = total - 20;
	f->protocol = ip[9];
	f->ttl = ip[8];
	f->tos_flow = ip[1];
	f->dont_fragment = (ip[6] & 0x40) != 0;
	if (f->ttl <= 1 || total < 28 || total > packet_bytes || (total != packet_bytes && packet_bytes > FAST_PADDED) || (*(const __be16 *)(const void *)(ip + 6) & bpf_htons(0x3fff)) != 0)
		return false;
	if (fast_fold((__u64)w[0] + w[1] + w[2] + w[3] + w[4]) != 0xffff)
		return false;
	f->src[0] = w[3];
	f->dst[0] = w[4];
	f->src[1] = f->src[2] = f->src[3] = 0;
	f->dst[1] = f->dst[2] = f->dst[3] = 0;
	return fast_transport(f, ip + 20, end);
}

/* The address is in the only translation prefix, which has 96 bits. */
XLAT_INLINE bool fast_in_prefix(const struct xlat_config *c, const __be32 a[4])
{
	return ((a[0] ^ c->prefix[0].addr[0]) | (a[1] ^ c->prefix[0].addr[1]) | (a[2] ^ c->prefix[0].addr[2])) == 0;
}

XLAT_INLINE bool fast_allowed4(const struct xlat_config *c, __be32 a)
{
	return !addr_special4(a) && (!c->prefix[0].global_only || addr_global4(a));
}

/* Slot of the row's first address less that address, and whether a row has the address; -1: none, -2: too many rows. */
XLAT_INLINE int fast_row(const struct xlat_config *c, __be32 address)
{
	__u32 a = bpf_ntohl(address);

	if (c->pool_count > FAST_ROWS)
		return -2;
	for (int i = 0; i < (int)FAST_ROWS; i++) {
		if (i < (int)c->pool_count && a - c->pool[i].first < c->pool[i].count)
			return i;
	}
	return -1;
}

/* What has to hold of the configuration, and of the moment. */
XLAT_INLINE bool fast_may(const struct xlat_config *c, const struct xlat_control *control, __u32 family)
{
	return c->prefix_count == 1 && c->prefix[0].bits == 96 && (family == 6 ? c->pass6_count : c->pass4_count) == 0 && control->trace.on == 0;
}

/* Packets of this flow are on the slow path (plan_slow). */
XLAT_INLINE bool fast_held(struct xlat *x, const struct xlat_control *control, const struct fast *f)
{
	struct xlat_slow_key key = { .family = (__u8)f->family, .protocol = (__u8)f->protocol };

	if (control->slow_ifindex == 0 || likely(xlat_passed(x->now, XLAT_READ(control->slow_until))))
		return false;
	addr_set(key.src, f->src);
	addr_set(key.dst, f->dst);
	return env_slow(x, &key) != 0;	/* over or not: the core says it */
}

/* --- stateless ------------------------------------------------------------------------------------------- */

/* RFC 7757 3.3: a mapping, else the prefix. */
XLAT_INLINE bool fast_to4(struct xlat *x, const struct xlat_config *c, const __be32 a[4], __be32 *out, bool *by_prefix)
{
	const struct xlat_eam *e = siit_eam6(x, c, a);

	*by_prefix = e == NULL;
	if (e != NULL) {
		*out = eam_to4(e, a);
		return true;
	}
	*out = a[3];
	return fast_in_prefix(c, a) && fast_allowed4(c, a[3]);
}

XLAT_INLINE bool fast_siit6(struct xlat *x, const struct xlat_config *c, struct fast *f)
{
	bool by_prefix;

	if (!fast_to4(x, c, f->dst, &f->to_dst[0], &by_prefix))
		return false;
	if (by_prefix && c->hairpin_eam == 2 && siit_eam4(x, c, f->to_dst[0]) != NULL)
		return false;
	return fast_to4(x, c, f->src, &f->to_src[0], &by_prefix);
}

XLAT_INLINE bool fast_to6(const struct xlat_config *c, const struct xlat_eam *e, __be32 a, __be32 out[4])
{
	if (e != NULL) {
		eam_to6(e, a, out);
		return true;
	}
	out[0] = c->prefix[0].addr[0];
	out[1] = c->prefix[0].addr[1];
	out[2] = c->prefix[0].addr[2];
	out[3] = a;
	return fast_allowed4(c, a);
}

XLAT_INLINE bool fast_siit4(struct xlat *x, const struct xlat_config *c, struct fast *f)
{
	const struct xlat_eam *dst = siit_eam4(x, c, f->dst[0]), *src;

	if (dst == NULL && fast_row(c, f->dst[0]) < 0)
		return false;
	src = c->hairpin_eam == 1 && dst != NULL ? NULL : siit_eam4(x, c, f->src[0]);
	return fast_to6(c, dst, f->dst[0], f->to_dst) && fast_to6(c, src, f->src[0], f->to_src);
}

/* --- stateful --------------------------------------------------------------------------------------------- */

/* Which sessions may go this way at all: in force, all its transitions lead to where it is, and answered or not as it was before. */
XLAT_INLINE bool fast_session(struct xlat *x, const struct xlat_config *c, struct fast *f, const struct xlat_session_key *key, bool from4)
{
	struct xlat_session *s = env_session(x, key);
	union xlat_session_word w;
	__u32 expires, until, timer;

	if (s == NULL)
		return false;
	expires = XLAT_READ(s->expires);
	w.word = XLAT_READ(*session_word(s));
	f->to_src[0] = XLAT_READ(s->addr4);
	if (expires == 0 || XLAT_READ(s->tag) != session_tag(key) || XLAT_READ(s->expires) != expires || xlat_passed(x->now, expires) || (w.part.flags & XLAT_SESSION_ALG) != 0)
		return false;
	f->to_sport = w.part.port4;
	if (from4 == ((w.part.flags & XLAT_SESSION_INBOUND) == 0) && (w.part.flags & XLAT_SESSION_ANSWERED) == 0)
		return false;
	timer = session_timer(key);
	if (f->protocol == XLAT_TCP) {
		if (w.part.state != XLAT_ESTABLISHED || tcp_event((__u8)f->tcp_flags) != XLAT_E_OTHER)
			return false;
		timer = XLAT_T_TCP_ESTABLISHED;
	}
	until = xlat_tick(x->now + c->timeout[timer < XLAT_T_COUNT ? timer : 0]);
	if (until - expires + XLAT_MOVES > 2 * XLAT_MOVES && !xlat_swap(&s->expires, expires, until))
		return false;
	return true;
}

/* The source is one that may: a short list of subscribers, or none. */
XLAT_INLINE bool fast_subscriber(const struct xlat_config *c, const __be32 a[4])
{
	if (c->subscriber_count == 0)
		return true;
	for (int i = 0; i < (int)FAST_ROWS; i++) {
		const struct xlat_net6 *n = &c->subscriber[i];

		if (i < (int)c->subscriber_count && (((a[0] ^ n->addr[0]) & n->mask[0]) | ((a[1] ^ n->addr[1]) & n->mask[1]) |
						     ((a[2] ^ n->addr[2]) & n->mask[2]) | ((a[3] ^ n->addr[3]) & n->mask[3])) == 0)
			return true;
	}
	return false;
}

/* Out: the session tells all, or it is made (FAST_ASK). Hairpinning is the core's. 1: done. */
XLAT_INLINE int fast_nat6(struct xlat *x, const struct xlat_config *c, struct fast *f, bool settled)
{
	struct xlat_session_key key = { .dst4 = f->dst[3], .sport = f->sport, .dport = f->dport, .protocol = (__u8)f->protocol };

	addr_set(key.src6, f->src);
	f->to_dst[0] = f->dst[3];
	if (settled) {
		f->to_src[0] = x->to.src[0];
		f->to_sport = x->to.sport;
		return 1;
	}
	if (!fast_in_prefix(c, f->dst) || !fast_allowed4(c, f->dst[3]) || fast_row(c, f->dst[3]) != -1)
		return 0;
	if (fast_in_prefix(c, f->src) || addr_special6(f->src) || !fast_subscriber(c, f->src))
		return 0;
	if (likely(fast_session(x, c, f, &key, false)))
		return 1;
	/* All that stateful6 judges was judged: what xlat_pass_out wants to know. */
	x->flow.key = key;
	x->flow.inbound = 0;
	x->flow.own = 0;
	x->flow.tcp_flags = (__u8)f->tcp_flags;
	x->ip.family = 6;
	x->prefix = 0;
	return FAST_ASK;
}

/* In: port table, mapping, session. */
XLAT_INLINE bool fast_nat4(struct xlat *x, const struct xlat_config *c, struct fast *f)
{
	struct xlat_session_key key = { .dst4 = f->src[0], .dport = f->sport, .protocol = (__u8)f->protocol };
	int row = fast_row(c, f->dst[0]);
	const struct xlat_pool *pool;
	struct xlat_bib *b;
	__u32 *entry, number;

	if (row < 0 || !fast_allowed4(c, f->src[0]))
		return false;
	pool = &c->pool[row & (FAST_ROWS - 1)];
	entry = port_entry(x, pool->slot + (bpf_ntohl(f->dst[0]) - pool->first), (__u8)f->protocol, bpf_ntohs(f->dport));
	if (entry == NULL)
		return false;
	number = XLAT_READ(*entry);
	if (number == 0 || (number & XLAT_PORT_RESTS) != 0)
		return false;
	b = env_bib(x, number);
	if (b == NULL || XLAT_READ(b->refs) == 0)
		return false;
	for (int i = 0; i < 4; i++)
		key.src6[i] = XLAT_READ(b->key.addr6[i]);
	key.sport = XLAT_READ(b->key.port6);
	if (b->addr4 != f->dst[0] || b->port4 != f->dport || b->key.protocol != f->protocol || (b->flags & XLAT_BIB_ENDS) != 0 || XLAT_READ(*entry) != number)
		return false;
	if (!fast_session(x, c, f, &key, true))
		return false;
	f->to_sport = f->sport;
	f->to_dport = key.sport;
	f->to_src[0] = c->prefix[0].addr[0];
	f->to_src[1] = c->prefix[0].addr[1];
	f->to_src[2] = c->prefix[0].addr[2];
	f->to_src[3] = f->src[0];
	addr_set(f->to_dst, key.src6);
	return true;
}

/* --- the frame ---------------------------------------------------------------------------------------------- */

/* 0: not done, nothing was changed; else what the program returns. */
XLAT_INLINE int fast_write(struct xdp_md *ctx, struct xlat *x, const struct xlat_config *c, const struct fast *f, const struct xlat_nexthop *hop)
{
	__u32 wire = f->bytes + (f->family == 6 ? 20 : 40);
	__u32 tos = f->family == 6 ? f->tos_flow >> 20 : f->tos_flow, mtu = hop->mtu;
	__u64 sum = (__u16)~f->csum;
	__u8 *data = (void *)(long)ctx->data;
	const void *end = (void *)(long)ctx->data_end;
	struct xlat_stats *s = env_stats(x);
	__u32 *w;
	__u16 csum;

	if (f->family == 4) {
		if (mtu < 1280 && mtu != 0)
			mtu = 1280;
		if (!f->dont_fragment && (mtu == 0 || mtu > c->lowest_mtu6))
			mtu = c->lowest_mtu6 < 1280 ? 1280 : c->lowest_mtu6;
	}
	if ((mtu != 0 && wire > mtu) || s == NULL || wire > 65535)
		return 0;
	if (f->family == 4 && unlikely(x->packet_bytes != wire - 20)) {
		if (bpf_xdp_adjust_tail(ctx, (int)(wire - 20 - x->packet_bytes)) != 0)
			return 0;
		x->packet_bytes = wire - 20;
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
	}
	for (int i = 0; i < 4; i++)
		sum += (__u64)(__u32)~f->src[i] + (__u32)~f->dst[i];
	if (f->family == 6)
		sum += (__u64)(__u32)f->to_src[0] + (__u32)f->to_dst[0];
	else
		sum += fast_sum(f->to_src) + fast_sum(f->to_dst);
	sum += (__u64)(__u16)~f->sport + (__u16)~f->dport + f->to_sport + f->to_dport;
	csum = (__u16)~fast_fold(sum);
	if ((c->flags & XLAT_TOS_COPY) == 0)
		tos = c->tos & 0xff;
	if (f->family == 6) {
		if ((void *)(data + FAST_LINK + 60) > end && f->protocol == XLAT_TCP)
			return 0;
		if ((void *)(data + FAST_LINK + 48) > end)
			return 0;
		data += FAST_LINK + 40;
	} else {
		if ((void *)(data + FAST_LINK + 40) > end && f->protocol == XLAT_TCP)
			return 0;
		if ((void *)(data + FAST_LINK + 28) > end)
			return 0;
		data += FAST_LINK + 20;
	}
	*(__be16 *)(void *)data = f->to_sport;
	*(__be16 *)(void *)(data + 2) = f->to_dport;
	if (f->protocol == XLAT_TCP) {
		if ((void *)(data + 18) > end)
			return XDP_DROP;
		*(__u16 *)(void *)(data + 16) = csum;
	} else {
		*(__u16 *)(void *)(data + 6) = csum == 0 ? 0xffff : csum;
	}
	if (bpf_xdp_adjust_head(ctx, f->family == 6 ? 20 : -20) != 0)
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if ((void *)(data + FAST_LINK + 20) > end)
		return XDP_DROP;
	__builtin_memcpy(data, hop->to, 6);
	__builtin_memcpy(data + 6, hop->from, 6);
	w = (__u32 *)(void *)(data + FAST_LINK);
	if (f->family == 6) {
		*(__be16 *)(void *)(data + 12) = bpf_htons(0x0800);
		w[0] = bpf_htonl(0x45u << 24 | tos << 16 | wire);
		w[1] = bpf_htonl((env_random(x) & 0xffff) << 16 | (wire > BUILD_UNFRAGMENTED ? 0x4000u : 0));
		w[2] = bpf_htonl((f->ttl - 1) << 24 | f->protocol << 16);
		w[3] = f->to_src[0];
		w[4] = f->to_dst[0];
		*(__u16 *)(void *)(data + FAST_LINK + 10) = (__u16)~fast_fold((__u64)w[0] + w[1] + w[2] + w[3] + w[4]);
	} else {
		if ((void *)(w + 10) > end)
			return XDP_DROP;
		*(__be16 *)(void *)(data + 12) = bpf_htons(0x86dd);
		w[0] = bpf_htonl(6u << 28 | tos << 20);
		w[1] = bpf_htonl(f->bytes << 16 | f->protocol << 8 | (f->ttl - 1));
		for (int i = 0; i < 4; i++) {
			w[2 + i] = f->to_src[i];
			w[6 + i] = f->to_dst[i];
		}
	}
	s->reason[XLAT_TRANSLATE][XLAT_R_NONE]++;
	s->packets[f->family == 4]++;
	s->bytes[f->family == 4] += wire + (f->family == 6 ? 20 : -20);
	s->nexthop_hits++;
	return hop->ifindex == ctx->ingress_ifindex ? XDP_TX : (int)bpf_redirect(hop->ifindex, 0);
}

/*
 * 0: nothing was done, the core takes the packet. FAST_ASK: xlat_pass_out has to find or make the session; with what it put
 * into x->to, this is called again with FAST_SETTLED. The link header has no tags; `family` by its type. A function of its own,
 * since its variables must not be on the stack while the core works.
 */
static __attribute__((noinline)) int fast_run(struct xdp_md *ctx, struct xlat *x, const struct xlat_control *control, __u32 family)
{
	const __u8 *ip = (void *)(long)ctx->data + FAST_LINK;
	const void *end = (void *)(long)ctx->data_end;
	bool settled = (family & FAST_SETTLED) != 0;
	struct xlat_nexthop_key key = { 0 };
	const struct xlat_config *c;
	const struct xlat_nexthop *hop;
	struct fast f;
	int done;

	family &= ~FAST_SETTLED;
	key.family = family == 6 ? 4 : 6;
	x->bank = control->bank & 1;
	c = env_config(x);
	if (c == NULL || !fast_may(c, control, family))
		return 0;
	if (family == 6 ? !fast_read6(&f, ip, end, x->packet_bytes) : !fast_read4(&f, ip, end, x->packet_bytes))
		return 0;
	if (fast_held(x, control, &f))
		return 0;
	f.to_sport = f.sport;
	f.to_dport = f.dport;
	if (c->mode == XLAT_NAT64) {
		done = family == 6 ? fast_nat6(x, c, &f, settled) : fast_nat4(x, c, &f) ? 1 : 0;
		if (done <= 0)
			return done;
	} else if (c->mode != XLAT_SIIT || (family == 6 ? !fast_siit6(x, c, &f) : !fast_siit4(x, c, &f))) {
		return 0;
	}
	if (family == 6)
		key.addr[0] = f.to_dst[0];
	else
		addr_set(key.addr, f.to_dst);
	hop = bpf_map_lookup_elem(&nexthop, &key);
	if (hop == NULL || hop->generation != XLAT_READ(control->nexthop_generation) || xlat_passed(x->now, hop->until) ||
	    (c->flags & XLAT_NEXTHOP_CACHE) == 0 || hop->flags != XLAT_HOP_REDIRECT)
		return 0;
	return fast_write(ctx, x, c, &f, hop);
}
