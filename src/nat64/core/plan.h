/*
 * The translation: what each file of the core gives, and the order in which a packet meets them.
 *
 * A home includes this file, and only this one.
 *
 *	csum.h	     ones' complement sums
 *	address.h    RFC 6052 and 7757: address arithmetic; which addresses are special
 *	parse.h	     xlat_parse: x->in -> x->ip (and x->inner of an ICMP error)
 *	icmp.h	     the tables of RFC 7915 4.2 and 5.2
 *	stateless.h  xlat_stateless: x->ip -> x->to, x->inner_to for SIIT and CLAT
 *	state.h's    tables by slab.h, port.h, subscriber.h, tcp.h;
 *	session.h    xlat_stateful: the same for NAT64; xlat_expire: one step of the walk
 *	fragment.h   what later fragments are translated by
 *	build.h	     xlat_build: x->to -> the edit; xlat_error: the edit of an ICMP error; xlat_fit
 */
#pragma once
#include "nat64/core/env.h"

#include "nat64/core/csum.h"
#include "nat64/core/address.h"
#include "nat64/core/parse.h"
#include "nat64/core/icmp.h"
#include "nat64/core/fragment.h"
#include "nat64/core/stateless.h"
#include "nat64/core/session.h"
#include "nat64/core/build.h"

/*
 * Plan a packet. In: what xlat.h lists under "from the home". Out: verdict, reason, and with TRANSLATE and ERROR the edit.
 * Returns the verdict. Counts in env_stats, unless XLAT_DRY.
 *
 * When xlat_stateful is called the packet is ours by its addresses (XLAT_OURS; x->prefix has the IPv6 destination), lives long enough, is
 * no ICMP but echo or an error, and if it is UDP it has a checksum or will get one.
 */
XLAT_PART int xlat_plan(struct xlat *x);

/* Drops that are somebody's decision, and that the sender may be told of (RFC 7915 4.4, 5.4: "administratively prohibited"). */
XLAT_INLINE bool plan_tells(__u32 reason)
{
	switch (reason) {
	case XLAT_R_SOURCE_FORBIDDEN: case XLAT_R_FILTERED: case XLAT_R_WELL_KNOWN_PREFIX: case XLAT_R_U_OCTET:
	case XLAT_R_SOURCE_UNTRANSLATABLE: case XLAT_R_DESTINATION_UNTRANSLATABLE: case XLAT_R_ZERO_CHECKSUM:
	case XLAT_R_PROTOCOL: case XLAT_R_FRAGMENT_HEADERS:
		return true;
	default:
		return false;
	}
}

/* UDP without a checksum, which IPv6 does not have (RFC 7915 4.5). 0, or the verdict is set. */
XLAT_INLINE int plan_zero_udp(struct xlat *x, const struct xlat_config *config)
{
	if (x->ip.family != 4 || x->ip.protocol != XLAT_UDP || x->ip.fragment_at != 0 || x->ip.csum != 0)
		return 0;
	if (config->zero_checksum == XLAT_ZERO_DROP)
		return xlat_drop(x, XLAT_R_ZERO_CHECKSUM);
	if (x->ip.more) {
		/* Only the whole has a sum: a stateful translator may put it together (RFC 6146 3.4), a stateless one drops it. */
		if (config->mode == XLAT_NAT64 && !(x->flags & XLAT_FROM_SLOW))
			return xlat_say(x, XLAT_SLOW, XLAT_R_ZERO_CHECKSUM);
		return xlat_drop(x, XLAT_R_ZERO_CHECKSUM);
	}
	if (in16(x, x->ip.l4 + 4u) != x->ip.payload)
		return xlat_drop(x, XLAT_R_BAD_LENGTH);
	x->flags |= XLAT_ZERO_UDP;
	return 0;
}

/* Packets of this flow are on the slow path, and this one must not overtake them. */
XLAT_INLINE bool plan_slow(struct xlat *x, const struct xlat_control *control)
{
	struct xlat_slow_key key = { .family = x->ip.family, .protocol = x->ip.protocol };
	__u32 until;

	if (x->flags & (XLAT_FROM_SLOW | XLAT_INNER | XLAT_BUFFERS) || control->slow_ifindex == 0)
		return false;
	addr_set(key.src, x->ip.src);
	addr_set(key.dst, x->ip.dst);
	until = env_slow(x, &key);
	return until != 0 && !xlat_passed(x->now, until);
}

/* What is judged of a packet of ours before its addresses are translated. 0, or the verdict is set. */
XLAT_PART int plan_judge(struct xlat *x)
{
	const struct xlat_config *config;
	const struct xlat_control *control;

	if (x == NULL)
		return XLAT_DROP;
	config = env_config(x);
	control = env_control(x);
	if (config == NULL || control == NULL)
		return xlat_drop(x, XLAT_R_NOT_OURS);
	if (x->ip.ttl <= 1)
		return xlat_answer(x, XLAT_R_HOP_LIMIT, x->ip.family == 4 ? 11 : 3, 0, 0);
	/* IGMP is between neighbours (RFC 7915 4.2); of ICMP only errors and echoes have counterparts. */
	if (x->ip.family == 4 && x->ip.protocol == 2)
		return xlat_drop(x, XLAT_R_ICMP_UNKNOWN);
	if ((x->ip.protocol == XLAT_ICMP || x->ip.protocol == XLAT_ICMP6) && !x->ip.query && !(x->flags & XLAT_INNER))
		return xlat_drop(x, XLAT_R_ICMP_UNKNOWN);
	if (plan_slow(x, control))
		return xlat_say(x, XLAT_SLOW, XLAT_R_ORDER);
	return plan_zero_udp(x, config);
}

/* From bytes to a verdict, without what follows from it. */
XLAT_INLINE void plan_verdict(struct xlat *x, const struct xlat_config *config)
{
	__u32 verdict, reason;
	int r = xlat_parse(x);

	verdict = x->verdict;
	reason = x->reason;
	/* Not ours: the host judges it, malformed or not. */
	if (xlat_ours(x) != 0)
		return;
	if (r != 0) {
		/* Its checksum needs the length of the whole: the slow path puts it together. */
		if (reason == XLAT_R_FRAGMENTED_ICMP && !(x->flags & XLAT_FROM_SLOW))
			verdict = XLAT_SLOW;
		xlat_say(x, verdict, reason);
		return;
	}
	if (plan_judge(x) != 0)
		return;
	x->verdict = XLAT_TRANSLATE;
	x->reason = XLAT_R_NONE;
	if (config->mode == XLAT_NAT64)
		xlat_stateful(x);
	else
		xlat_stateless(x);
	if (x->verdict == XLAT_TRANSLATE)
		xlat_build(x);
}

XLAT_PART int xlat_plan(struct xlat *x)
{
	const struct xlat_config *config;
	const struct xlat_control *control;

	if (x == NULL)
		return XLAT_DROP;
	control = env_control(x);
	if (control == NULL)
		return XLAT_PASS;
	x->bank = control->bank & 1;
	config = env_config(x);
	if (config == NULL)
		return XLAT_PASS;
	x->flags &= XLAT_HOST | XLAT_GSO | XLAT_DRY | XLAT_FROM_SLOW | XLAT_WHOLE | XLAT_TRIED | XLAT_BUFFERS;
	x->verdict = XLAT_PASS;
	x->reason = XLAT_R_NONE;
	x->strip = x->head_bytes = x->out_bytes = x->csum_at = x->csum_payload = 0;
	x->session_slot = x->bib = 0;
	x->trail_count = 0;
	plan_verdict(x, config);
	if (x->verdict == XLAT_DROP && config->flags & XLAT_ADMIN_PROHIBITED && plan_tells(x->reason))
		xlat_answer(x, (enum xlat_reason)x->reason, x->ip.family == 4 ? 3 : 1, x->ip.family == 4 ? 13 : 1, 0);
	if (x->verdict == XLAT_ERROR)
		xlat_error(x);
	/* What has no flow, or is slow for good, makes nothing else slow. */
	if (x->verdict == XLAT_SLOW && (x->reason == XLAT_R_MUST_FRAGMENT || x->reason == XLAT_R_FRAGMENT_UNKNOWN || x->reason == XLAT_R_ZERO_CHECKSUM))
		xlat_keep_slow(x);
	xlat_count(x, 1);
	return (int)x->verdict;
}
