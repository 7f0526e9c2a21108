/*
 * The sender of router advertisements with the PREF64 option (RFC 8781), for networks whose routers cannot send it.
 *
 * Its advertisements have a router lifetime of 0: they say which prefix is translated and do not make this host anybody's
 * default router. Times are those of RFC 4861 6.2; solicitations are answered.
 */
#pragma once
#include "base/buf.h"
#include "base/errmsg.h"
#include "nat64/core/config.h"
#include "sys/loop.h"

struct announce;			/* opaque */

struct announce_one {
	char interface[16];		/* IFNAMSIZ */
	uint32_t interval_s;		/* MaxRtrAdvInterval: 4 to 1800 */
	uint32_t lifetime_s;		/* of the prefix; at least 3 intervals keep hosts from losing it (8781 4.1) */
	uint32_t router_lifetime_s;	/* 0: no default router */
	uint8_t preference;		/* RFC 4191's two bits; only with a router lifetime */
};

/*
 * Begin to send on these interfaces (copied, prefixes as well). An interface that is missing is looked for again each time. 0 or a
 * negative errno.
 */
MUST_USE int announce_new(struct loop *loop, const struct announce_one *ones, size_t count, const struct xlat_prefix *prefixes,
			  size_t prefix_count, struct announce **out, struct errmsg *why);
/*
 * End. farewell: take the prefixes back (lifetime 0), since nobody translates them any more; not when only the daemon ends and
 * programs go on.
 */
void announce_free(struct announce *a, bool farewell);

/* A message as it is sent, but for its checksum. mac: of the interface, or NULL. */
void announce_write(struct buf *out, const struct announce_one *one, const struct xlat_prefix *prefixes, size_t prefix_count,
		    const uint8_t mac[6], bool farewell);
/* Whether a router solicitation is valid (RFC 4861 6.1.1; the kernel has checked the checksum). */
bool announce_is_solicitation(struct slice message, const uint8_t source[16], unsigned hop_limit);
