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
 */
XLAT_PART int xlat_plan(struct xlat *x);
