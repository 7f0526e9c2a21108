#include "nat64/slow/slow.h"

#include <errno.h>
#include <stdlib.h>

#include "base/map.h"
#include "nat64/slow/apply.h"
#include "nat64/slow/error.h"
#include "nat64/slow/fragment.h"
#include "nat64/slow/private.h"
#include "nat64/slow/probe.h"

#define SWEEP_MS 1000
/* The largest packet: 65,535 bytes of payload behind an IPv6 header and a fragment header. */
#define PACKET_MAX (IP_BYTES_MAX + IP6_BYTES + FRAGMENT_BYTES)

void slow_count(struct slow *s, enum xlat_reason reason)
{
	s->ops.count(s->arg, XLAT_DROP, reason);
}

static void count_fragments(void *arg, enum xlat_reason reason)
{
	slow_count(arg, reason);
}

static struct reassembly_limits limits_of(const struct slow_settings *s)
{
	return (struct reassembly_limits){ .datagrams_max = s->datagrams_max, .bytes_max = s->bytes_max, .fragment_ms = s->fragment_ms };
}

int slow_new(const struct slow_settings *settings, const struct slow_ops *ops, void *arg, struct slow **out)
{
	struct reassembly_limits limits = limits_of(settings);
	struct slow *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->settings = *settings;
	s->ops = *ops;
	s->arg = arg;
	buf_init(&s->whole, PACKET_MAX);
	buf_init(&s->out, PACKET_MAX + XLAT_HEAD_BYTES);
	buf_init(&s->piece, PACKET_MAX);
	buf_init(&s->error, ICMP6_ERROR_BYTES_MAX + XLAT_HEAD_BYTES);
	buf_init(&s->segment, PACKET_MAX);
	if (reassembly_new(&limits, count_fragments, s, &s->reassembly) != 0 ||
	    syns_new(settings->syns_max, settings->syn_ms, &s->syns) != 0) {
		slow_free(s);
		return -ENOMEM;
	}
	*out = s;
	return 0;
}

void slow_free(struct slow *s)
{
	if (s == NULL)
		return;
	reassembly_free(s->reassembly);
	syns_free(s->syns);
	buf_done(&s->whole);
	buf_done(&s->out);
	buf_done(&s->piece);
	buf_done(&s->error);
	buf_done(&s->segment);
	free(s);
}

void slow_configure(struct slow *s, const struct slow_settings *settings, const struct xlat_config *config)
{
	struct reassembly_limits limits = limits_of(settings);

	s->settings = *settings;
	s->config = config;
	reassembly_limit(s->reassembly, &limits);
	syns_limit(s->syns, settings->syns_max, settings->syn_ms);
}

int slow_send(struct slow *s, unsigned family, struct slice packet, uint32_t mark, uint32_t *mtu)
{
	return s->ops.send(s->arg, family, packet, mark, mtu);
}

uint32_t slow_mtu(struct slow *s)
{
	const struct xlat_ends *to = &s->x.to;
	uint32_t mtu = s->ops.mtu(s->arg, to->family, to->dst);
	uint32_t configured = s->config == NULL ? 0 : to->family == 4 ? s->config->mtu4 : s->config->mtu6;

	if (mtu == 0 || (configured != 0 && configured < mtu))
		mtu = configured;
	return mtu != 0 ? mtu : 1500;
}

/* -- Answers --------------------------------------------------------------------------------------------------------- */

/* Tell the sender of `packet`. The address of the error is ours, or if we have none, the one it was sent to. */
static void answer(struct slow *s, struct slice packet, uint32_t mark, uint8_t type, uint8_t code, uint32_t rest)
{
	static const __be32 none[4];
	unsigned family = packet.len == 0 ? 0 : packet.ptr[0] >> 4;
	const struct xlat_config *c = s->config;
	struct slow_error e = { .type = type, .code = code, .rest = rest };
	uint32_t mtu = 0;

	if (c == NULL || (c->flags & XLAT_ICMP_ERRORS) == 0 || packet.len < (family == 4 ? IP4_BYTES : IP6_BYTES))
		return;
	if (family == 4)
		e.from = c->own4 != 0 ? (const uint8_t *)&c->own4 : packet.ptr + 16;
	else
		e.from = memcmp(c->own6, none, 16) != 0 ? (const uint8_t *)c->own6 : packet.ptr + 24;
	if (!slow_error_make(&e, packet, &s->error))
		return;
	if (!s->ops.error_allowed(s->arg, family == 4 ? type == 3 && code == 4 : type == 2)) {
		slow_count(s, XLAT_R_ERROR_LIMITED);
		return;
	}
	slow_send(s, family, buf_slice(&s->error), mark, &mtu);
}

/* The packet at hand does not fit a link of `mtu` as what it becomes; of how many bytes it would, in its own family (RFC 7915 4, 5). */
static void too_big(struct slow *s, const struct slow_packet *p, uint32_t mtu)
{
	const struct xlat *x = &s->x;
	uint32_t growth = x->ip.family == x->to.family ? 0 : IP6_BYTES - IP4_BYTES;

	s->ops.count(s->arg, XLAT_ERROR, XLAT_R_TOO_BIG);
	if (x->ip.family == 4) {
		uint32_t fits = mtu > growth + 68 ? mtu - growth : 68;

		answer(s, p->bytes, p->mark, 3, 4, fits > 0xffff ? 0xffff : fits);
	} else {
		uint32_t fits = mtu + growth;

		answer(s, p->bytes, p->mark, 2, 0, fits < 1280 ? 1280 : fits);
	}
}

/* -- Sending --------------------------------------------------------------------------------------------------------- */

static bool may_fragment(const struct slow *s, const struct slow_packet *p)
{
	const uint8_t *ip = s->out.ptr;

	if (p->whole)
		return true;
	if (s->x.flags & XLAT_INNER)
		return false;
	if (s->x.to.family == 6)
		return s->x.ip.family == 4 && !p->dont_fragment;
	return (get16(ip + 6) & IP4_DF) == 0;
}

/*
 * Packets that follow shall not overtake this one (RFC 7915 1.2). Only for those that no fast path could have sent: the others are
 * here because they follow such a one, and would keep their flow here for ever.
 */
static void keep_slow(struct slow *s)
{
	const struct xlat *x = &s->x;
	struct { __be32 src[4], dst[4]; uint32_t protocol; } flow = { .protocol = x->ip.protocol };

	memcpy(flow.src, x->ip.src, 16);
	memcpy(flow.dst, x->ip.dst, 16);
	uint64_t hash = map_hash(slice_of(&flow, sizeof(flow)));
	struct slow_mark *m = &s->marks[hash % SLOW_MARKS];

	if (m->flow == hash && m->until_ms > s->now_ms)
		return;
	struct xlat_call call = { .op = XLAT_CALL_SLOW, .desk = XLAT_DESK_DAEMON, .count = XLAT_TICKS(SLOW_KEEP_MS) + 1 };

	s->ops.call(s->arg, &call);
	*m = (struct slow_mark){ .flow = hash, .until_ms = s->now_ms + SLOW_KEEP_MS / 4 };
}

static int send_fragments(struct slow *s, const struct slow_packet *p, uint32_t limit, uint32_t *mtu)
{
	struct slow_fragmenter f;
	/* In IPv4 the edit has chosen one. */
	int err = slow_fragment_begin(&f, buf_slice(&s->out), s->x.to.family == 4 ? get16(s->out.ptr + 4) : p->id, limit);

	if (p->whole || s->out.len > limit)
		keep_slow(s);
	while (err == 0 && slow_fragment_next(&f, &s->piece))
		err = slow_send(s, s->x.to.family, buf_slice(&s->piece), p->mark, mtu);
	return err;
}

/* s->out goes on its way, in fragments where it must and may. */
static void send_fitting(struct slow *s, const struct slow_packet *p)
{
	unsigned family = s->x.to.family;
	uint32_t mtu = slow_mtu(s);
	bool parts = may_fragment(s, p);

	for (unsigned i = 0; i < 3; i++) {	/* a path's MTU may turn out to be less than the route says */
		uint32_t limit = mtu, smaller = 0;
		uint32_t lowest = s->config == NULL ? 1280 : s->config->lowest_mtu6;

		/* RFC 7915 4: nothing tells an IPv4 sender without DF of a smaller link behind this one. */
		if (family == 6 && s->x.ip.family == 4 && parts && lowest < limit)
			limit = lowest;
		if (s->out.len > limit && !parts) {
			too_big(s, p, mtu);
			return;
		}
		if (send_fragments(s, p, limit, &smaller) != -EMSGSIZE || smaller == 0 || smaller >= mtu)
			return;
		mtu = smaller;
	}
}

/* What was in fragments stays fragmentable: DF off and the identification of the fragments (RFC 7915 5.1.1). */
static void as_fragmented(struct slow *s, const struct slow_packet *p)
{
	uint8_t *ip = s->out.ptr;

	if (s->x.to.family != 4 || !p->whole)
		return;
	put16(ip + 4, p->id & 0xffff);
	put16(ip + 6, 0);
	packet_sum4(ip);
}

static void translated(struct slow *s, const struct slow_packet *p)
{
	int err;

	buf_reset(&s->out);
	if (s->x.flags & XLAT_INNER)
		err = slow_error_translate(&s->x, p->bytes, &s->out);
	else
		err = slow_apply(&s->x, p->bytes, &s->out);
	if (err != 0 || s->out.len < (s->x.to.family == 4 ? IP4_BYTES : IP6_BYTES)) {
		slow_count(s, XLAT_R_BAD_LENGTH);
		return;
	}
	if (s->out.len > (s->x.to.family == 4 ? IP_BYTES_MAX : IP_BYTES_MAX + IP6_BYTES)) {
		slow_count(s, XLAT_R_BAD_LENGTH);	/* 65,535 bytes of IPv6 payload have no room behind an IPv4 header */
		return;
	}
	if (slow_alg(s, p, buf_slice(&s->out)))
		return;
	as_fragmented(s, p);
	send_fitting(s, p);
}

/* -- Plans ----------------------------------------------------------------------------------------------------------- */

static int plan(struct slow *s, const struct slow_packet *p, uint32_t flags)
{
	struct xlat *x = &s->x;

	memset(x, 0, sizeof(*x));
	x->packet_bytes = (uint32_t)p->bytes.len;
	x->in_bytes = p->bytes.len < XLAT_BYTES ? (uint32_t)p->bytes.len : XLAT_BYTES;
	memcpy(x->in, p->bytes.ptr, x->in_bytes);
	x->family = p->bytes.ptr[0] >> 4;
	x->mark = p->mark;
	x->flags = XLAT_FROM_SLOW | (p->whole ? XLAT_WHOLE : 0) | flags;
	return s->ops.plan(s->arg, x);
}

static void process(struct slow *s, const struct slow_packet *p)
{
	uint32_t mtu = 0;
	int verdict = plan(s, p, 0);

	if (verdict >= 0 && s->x.reason == XLAT_R_STORED_SYN && verdict != XLAT_TRANSLATE && s->x.ip.family == 4) {
		struct packet read;

		if (packet_read(p->bytes, &read) == XLAT_R_NONE)
			syns_add(s->syns, &read, p->mark, s->now_ms);
		return;
	}
	switch (verdict) {
	case XLAT_TRANSLATE:
		translated(s, p);
		break;
	case XLAT_ERROR:
		buf_reset(&s->out);
		if (slow_apply(&s->x, p->bytes, &s->out) != 0)
			break;
		if (s->ops.error_allowed(s->arg, s->x.reason == XLAT_R_TOO_BIG))
			slow_send(s, s->x.ip.family, buf_slice(&s->out), p->mark, &mtu);
		else
			slow_count(s, XLAT_R_ERROR_LIMITED);
		break;
	default:			/* counted where it was planned; a configuration that changed meanwhile may say PASS */
		break;
	}
}

/* Whether fragments of this datagram are put together here. */
static bool gathers(const struct slow *s, const struct packet *p)
{
	if (s->config == NULL || s->config->mode == XLAT_NAT64)
		return true;
	/*
	 * Stateless translation lets fragments pass one by one: others of the datagram may take another way. But ICMP's checksum needs the
	 * length of the whole (RFC 7915 1.2). (UDP in fragments without a checksum is dropped before: 4.5.)
	 */
	return p->protocol == XLAT_ICMP || p->protocol == XLAT_ICMP6;
}

static void one_packet(struct slow *s, const struct packet *p, uint32_t mark)
{
	struct slow_packet it = { .bytes = p->bytes, .mark = mark, .id = p->id, .dont_fragment = p->dont_fragment };

	process(s, &it);
}

void slow_packet(struct slow *s, struct slice packet, uint32_t mark, int64_t now_ms)
{
	struct packet p;
	enum xlat_reason reason = packet_read(packet, &p);

	s->now_ms = now_ms;
	if (reason != XLAT_R_NONE) {
		slow_count(s, reason);
		return;
	}
	if (!p.fragment || !gathers(s, &p)) {
		one_packet(s, &p, mark);
		return;
	}
	switch (reassembly_add(s->reassembly, &p, mark, now_ms, &s->whole, &reason)) {
	case REASSEMBLY_KEPT:
		break;
	case REASSEMBLY_WHOLE: {
		struct slow_packet it = { .bytes = buf_slice(&s->whole), .mark = mark, .id = p.id, .whole = true };

		process(s, &it);
		break;
	}
	case REASSEMBLY_DROPPED:
		slow_count(s, reason);
		break;
	}
}

/* -- Time ------------------------------------------------------------------------------------------------------------ */

static enum reassembly_verdict ask_fragment(void *arg, struct slice fragment)
{
	struct slow *s = arg;
	struct slow_packet it = { .bytes = fragment };
	int verdict = plan(s, &it, XLAT_DRY);

	if (verdict == XLAT_TRANSLATE)
		return REASSEMBLY_TAKE;
	return verdict == XLAT_DROP && s->x.reason == XLAT_R_FRAGMENT_UNKNOWN ? REASSEMBLY_WAIT : REASSEMBLY_DROP;
}

static void take_fragment(void *arg, struct slice fragment, uint32_t mark)
{
	struct slow *s = arg;
	struct packet p;

	if (packet_read(fragment, &p) == XLAT_R_NONE)
		one_packet(s, &p, mark);
}

/* SYNs that waited in vain. One whose session was made meanwhile is dropped: the sender repeats it (RFC 6146 3.5.2.2, V4 INIT). */
static void end_syns(struct slow *s)
{
	struct slow_packet it = { 0 };

	while (syns_expired(s->syns, s->now_ms, &it.bytes, &it.mark))
		if (plan(s, &it, XLAT_DRY) != XLAT_TRANSLATE)
			answer(s, it.bytes, it.mark, 3, 3, 0);
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < 0 ? b : b < 0 || a < b ? a : b;
}

int64_t slow_tick(struct slow *s, int64_t now_ms)
{
	s->now_ms = now_ms;
	int64_t next = reassembly_tick(s->reassembly, now_ms);

	next = sooner(next, reassembly_retry(s->reassembly, now_ms, ask_fragment, take_fragment, s));
	end_syns(s);
	next = sooner(next, syns_next(s->syns, now_ms));
	if (s->config != NULL && (s->config->flags & XLAT_FTP) != 0) {
		if (now_ms >= s->sweep_ms) {
			slow_alg_sweep(s);
			s->sweep_ms = now_ms + SWEEP_MS;
		}
		next = sooner(next, s->sweep_ms - now_ms);
	}
	return next;
}

void slow_event(struct slow *s, const struct xlat_event *event, int64_t now_ms)
{
	uint32_t mtu = 0;

	s->now_ms = now_ms;
	if (s->config != NULL && slow_probe(event, s->config, &s->piece))
		slow_send(s, 6, buf_slice(&s->piece), 0, &mtu);
}
