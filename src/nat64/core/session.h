/*
 * Stateful translation (RFC 6146): which session a packet belongs to, which it begins, and how sessions end.
 *
 * xlat_stateful is what plan.h calls for a parsed packet of a NAT64; xlat_expire and xlat_walk_step are the walk; xlat_call_run
 * and xlat_call_visit do what core/call.h describes.
 */
#pragma once
#include "nat64/core/env.h"

/*
 * In: x->ip, and x->inner of an ICMP error (XLAT_INNER). Out: x->to, x->inner_to, x->prefix, x->session_slot, x->bib and
 * flags HAIRPINNED, NEW_SESSION with TRANSLATE (the edit is xlat_build's); else verdict and reason. Returns the verdict.
 */
XLAT_PART int xlat_stateful(struct xlat *x);

/*
 * Visit the entries `number` of all slabs: sessions that expired end, and so do mappings, blocks and subscribers that
 * nothing uses. Returns 0.
 */
XLAT_PART int xlat_expire(struct xlat *x, __u32 number);

/* One step of the walk: xlat_expire of the number under the cursor, which moves on. Returns 1 when it began again, else 0. */
XLAT_PART int xlat_walk_step(struct xlat *x);

/*
 * What x->call asks, but for PLAN and TIMER, which are the home's. Returns how many times the home has to call
 * xlat_call_visit, with 0, 1, 2, ... (a loop of the home's kind: bpf_loop); x->call.result is valid after that.
 */
XLAT_PART int xlat_call_run(struct xlat *x);
XLAT_PART int xlat_call_visit(struct xlat *x, __u32 turn);

XLAT_PART int xlat_stateful(struct xlat *x)
{
	if (x == NULL)
		return XLAT_DROP;
	return xlat_drop(x, XLAT_R_PROTOCOL);
}

XLAT_PART int xlat_expire(struct xlat *x, __u32 number)
{
	return 0;
}

XLAT_PART int xlat_walk_step(struct xlat *x)
{
	return 1;
}

XLAT_PART int xlat_call_run(struct xlat *x)
{
	return 0;
}

XLAT_PART int xlat_call_visit(struct xlat *x, __u32 turn)
{
	return 0;
}
