/*
 * What the homes in the kernel share: the beginning of a packet's way, and what is known only at its end - counters of
 * late outcomes, the slow path's health, the rate of ICMP errors, trace.
 */
#pragma once
#include "nat64/core/maps.bpf.h"
#include "nat64/core/plan.h"

/* Verifier and compiler see the bound at the same place. */
/* A length from 1 to max, a power of two: by arithmetic, since compilers move comparisons to other registers than those that are used. */
#define HOME_LENGTH(v, max) do { (v)--; XLAT_KEEP(v); (v) &= (max) - 1; (v)++; } while (0)
#define HOME_BOUND(v, mask) do { (v) &= (mask); XLAT_KEEP(v); (v) &= (mask); } while (0)

/* --- sums over what the packet holds ------------------------------------------------------------------------ */

#define HOME_CHUNK	512u
#define HOME_CHUNKS_MAX 129u		/* of 65,536 bytes */

/* Bytes of ctx's packet from `from` on, of which `left` are still to be summed. */
struct home_sum {
	void *ctx;
	__u32 from, left, sum;
};

/* How many bytes the next turn sums, 1 to HOME_CHUNK, and where they are loaded to; NULL: the end. */
XLAT_INLINE struct xlat_chunk *home_sum_next(const struct home_sum *s, __u32 *bytes)
{
	__u32 zero = 0;

	*bytes = s->left > HOME_CHUNK ? HOME_CHUNK : s->left;
	return s->left == 0 ? NULL : bpf_map_lookup_elem(&chunk, &zero);
}

/* They are loaded: bytes as home_sum_next said. Returns what bpf_loop is to be told. */
XLAT_INLINE long home_sum_add(struct home_sum *s, struct xlat_chunk *c, __u32 bytes)
{
	c->bytes[bytes] = 0;
	c->bytes[bytes + 1] = 0;
	c->bytes[bytes + 2] = 0;
	s->sum = (__u32)bpf_csum_diff(NULL, 0, (__be32 *)(void *)c->bytes, (bytes + 3) & ~3u, s->sum);
	s->from += bytes;
	s->left -= bytes;
	return s->left == 0;
}

/* Folded, in host order. */
XLAT_INLINE __u16 home_sum_value(const struct home_sum *s)
{
	__u64 folded = (s->sum & 0xffff) + (s->sum >> 16);

	folded = (folded & 0xffff) + (folded >> 16);
	return bpf_ntohs((__u16)folded);
}

XLAT_INLINE void home_set_checksum(struct xlat *x, __u16 value)
{
	__u32 at = x->csum_at;

	HOME_BOUND(at, 127);
	x->head[at] = (__u8)(value >> 8);
	x->head[at + 1] = (__u8)value;
}

XLAT_INLINE __u16 home_checksum(const struct xlat *x)
{
	__u32 at = x->csum_at;

	HOME_BOUND(at, 127);
	return (__u16)(x->head[at] << 8 | x->head[at + 1]);
}

/* Finish the checksum in head, which the core began, by the sum of what follows it. */
XLAT_INLINE void home_add_sum(struct xlat *x, __u32 sum)
{
	__u16 value = (__u16)~csum_fold(home_checksum(x) + sum);

	home_set_checksum(x, (x->flags & XLAT_ZERO_UDP) != 0 ? csum_udp(value) : value);
}

/* --- all the rest --------------------------------------------------------------------------------------------- */

XLAT_INLINE struct xlat_control *home_control(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

XLAT_INLINE __u64 home_clock_ns(const struct xlat_control *c)
{
	return unlikely(c->clock_fixed != 0) ? c->clock_ns : bpf_ktime_get_ns();
}

/* All of struct xlat that a home says, but for the packet: in, in_bytes, packet_bytes, family. */
XLAT_INLINE void home_begin(struct xlat *x, __u64 now_ns)
{
	x->in_bytes = 0;		/* none copied yet: tests tell by it who did a packet */
	x->flags = 0;
	x->gso_bytes = 0;
	x->mark = 0;
	x->now = (__u32)(now_ns >> XLAT_TICK_SHIFT);
	x->trail_max = 0;
	x->trail_count = 0;
}

XLAT_INLINE void home_count(struct xlat *x, __u32 verdict, __u32 reason)
{
	struct xlat_stats *s = env_stats(x);

	if (s != NULL && verdict < XLAT_VERDICTS)
		s->reason[verdict][reason & 127]++;
}

/*
 * Frames on their way to the daemon have the packet's mark in place of the sender's link address: two bytes of 0, and the mark in
 * network order. Every home writes it, so no sender can.
 */
XLAT_INLINE __u64 home_mark_address(const struct xlat *x)
{
	return (__u64)bpf_htonl(x->mark) << 16;
}

/* Whether somebody reads the slow path. */
XLAT_INLINE bool home_slow_lives(const struct xlat_control *c, __u32 now)
{
	return c->slow_ifindex != 0 && !xlat_passed(now, XLAT_READ(c->slow_beat) + XLAT_SLOW_BEAT_TICKS);
}

/* Take a token of a bucket on this processor that holds those of one second; rate 0: no limit. */
XLAT_PART int home_bucket(struct xlat *x, __u32 id, __u32 rate)
{
	const struct xlat_control *control_now = home_control();
	struct xlat_processor *p;
	struct xlat_bucket *b;
	__u64 now, passed;
	__u32 zero = 0;

	if (x == NULL)
		return 0;
	p = bpf_map_lookup_elem(&processor, &zero);
	if (p == NULL || control_now == NULL)
		return 0;
	if (rate == 0)
		return 1;
	b = &p->bucket[id & (XLAT_BUCKETS - 1)];
	now = home_clock_ns(control_now);
	passed = now - b->ns;
	if (passed > 1000000000)
		passed = 1000000000;
	b->ns = now;
	b->tokens += passed * rate;
	if (b->tokens > 1000000000ull * rate)
		b->tokens = 1000000000ull * rate;
	if (b->tokens < 1000000000)
		return 0;
	b->tokens -= 1000000000;
	return 1;
}

/* The rate of ICMP errors (RFC 4443 2.4 (f)). */
XLAT_INLINE bool home_error_allowed(struct xlat *x)
{
	const struct xlat_config *c = env_config(x);

	return c != NULL && home_bucket(x, x->reason == XLAT_R_TOO_BIG ? XLAT_BUCKET_TOO_BIG : XLAT_BUCKET_ERRORS, c->errors_rate) != 0;
}

/* The bucket of a packet's source. */
XLAT_INLINE __u32 home_source_bucket(struct xlat *x)
{
	const struct xlat_config *c = env_config(x);
	__u64 source = (__u64)x->ip.src[0] << 32 | x->ip.src[1];

	source = (source ^ (c == NULL ? 0 : c->key[0])) * 0x9e3779b97f4a7c15ull;
	return XLAT_BUCKET_SOURCES + (__u32)(source >> 40) % (XLAT_BUCKETS - XLAT_BUCKET_SOURCES);
}

/* The slow path takes this packet: somebody reads it, and it is none too many of its kind or source. Else the drop is counted. */
XLAT_INLINE bool home_slow_takes(struct xlat *x, const struct xlat_control *c)
{
	if (!home_slow_lives(c, x->now)) {
		home_count(x, XLAT_DROP, XLAT_R_NO_SLOW_PATH);
		return false;
	}
	if (x->reason == XLAT_R_STORED_SYN && home_bucket(x, XLAT_BUCKET_SYNS, XLAT_SYNS_A_SECOND) == 0) {
		home_count(x, XLAT_DROP, XLAT_R_SYN_LIMITED);
		return false;
	}
	if (home_bucket(x, home_source_bucket(x), XLAT_SLOW_A_SECOND) == 0) {
		home_count(x, XLAT_DROP, XLAT_R_SLOW_LIMITED);
		return false;
	}
	return true;
}

XLAT_INLINE bool home_traced_address(const struct xlat_trace_filter *f, const struct xlat_ends *e)
{
	bool six = e->family == 6;

	if (six && !addr_zero(f->addr6))
		return addr_eq(f->addr6, e->src) || addr_eq(f->addr6, e->dst);
	if (!six && f->addr4 != 0)
		return f->addr4 == e->src[0] || f->addr4 == e->dst[0];
	return six ? f->addr4 == 0 : addr_zero(f->addr6);
}

/* Send the packet to `prickle nat64 trace` when the filter matches either side of it. */
XLAT_PART int home_trace(struct xlat *x)
{
	const struct xlat_control *c;
	struct xlat_ends before;
	struct xlat_event *e;
	bool translated;

	if (x == NULL)
		return 0;
	c = env_control(x);
	if (c == NULL)
		return 0;
	before = (struct xlat_ends){ .sport = x->ip.sport, .dport = x->ip.dport, .family = x->ip.family };
	addr_set(before.src, x->ip.src);
	addr_set(before.dst, x->ip.dst);
	translated = x->verdict == XLAT_TRANSLATE;
	if (c->trace.protocol != 0 && c->trace.protocol != x->ip.protocol &&
	    !(c->trace.protocol == XLAT_ICMP && x->ip.protocol == XLAT_ICMP6))
		return 0;
	if (!home_traced_address(&c->trace, &before) && !(translated && home_traced_address(&c->trace, &x->to)))
		return 0;
	if (c->trace.port != 0 && c->trace.port != before.sport && c->trace.port != before.dport &&
	    !(translated && (c->trace.port == x->to.sport || c->trace.port == x->to.dport)))
		return 0;
	e = env_event(x);
	if (e == NULL)
		return 0;
	e->kind = XLAT_EVENT_TRACE;
	e->reason = (__u16)x->reason;
	e->verdict = (__u8)x->verdict;
	e->family = x->ip.family;
	e->protocol = x->ip.protocol;
	e->prefix = (__u8)x->prefix;
	addr_set(e->src, before.src);
	addr_set(e->dst, before.dst);
	e->sport = before.sport;
	e->dport = before.dport;
	e->bytes = x->packet_bytes;
	e->mark = x->mark;
	e->ifindex = x->ifindex;
	if (translated) {
		addr_set(e->new_src, x->to.src);
		addr_set(e->new_dst, x->to.dst);
		e->new_sport = x->to.sport;
		e->new_dport = x->to.dport;
	}
	env_event_send(x, e);
	return 1;
}
