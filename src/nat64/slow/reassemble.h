/*
 * Datagrams put together from fragments, in any order, within limits.
 *
 * - Overlap drops the datagram and what still comes of it (RFC 5722 4; for IPv4 as well); a fragment that came before, byte by byte, is
 *   ignored (RFC 8200 4.5).
 * - A first fragment must hold the transport header (RFC 1858, RFC 7112), no TCP fragment begins at 8.
 * - Memory is bounded by datagrams, bytes and fragments of a datagram. The oldest goes first, and of a source that has its share
 *   (a fourth of all) its own oldest: fragments of others are safe from it. A source is an IPv4 address or an IPv6 /64.
 *
 * A dead or incomplete datagram is forgotten `fragment_ms` after its first fragment (RFC 6146 4, FRAGMENT_MIN).
 */
#pragma once
#include "base/buf.h"
#include "nat64/slow/slow_limits.h"
#include "nat64/slow/packet.h"

struct reassembly;			/* opaque */

struct reassembly_limits {
	uint32_t datagrams_max;
	uint64_t bytes_max;		/* of fragments with what we need to keep them */
	uint32_t fragment_ms;
};

enum reassembly_result {
	REASSEMBLY_KEPT,		/* waits for the others */
	REASSEMBLY_WHOLE,
	REASSEMBLY_DROPPED,
};

/* `count` is told of each datagram that is given up: FRAGMENT_TIMEOUT, FRAGMENT_LIMIT. 0 or -ENOMEM. */
MUST_USE int reassembly_new(const struct reassembly_limits *limits, void (*count)(void *arg, enum xlat_reason reason), void *arg,
			    struct reassembly **out);
void reassembly_free(struct reassembly *r);
/* Other limits from now on; what waits stays. */
void reassembly_limit(struct reassembly *r, const struct reassembly_limits *limits);

/*
 * Take a fragment (p->fragment; copied). WHOLE: *whole is replaced by the datagram, without fragment header, with lengths and (IPv4)
 * header checksum of a packet that never was in parts. DROPPED: *why says why. O(fragments of the datagram).
 */
enum reassembly_result reassembly_add(struct reassembly *r, const struct packet *p, uint32_t mark, int64_t now_ms, struct buf *whole,
				      enum xlat_reason *why);
/*
 * Fragments that came before their first one: it may have gone by on the fast path, which then knows how they are translated. Those whose
 * turn it is (after 4, 8, 16, ... ms) are asked for by one of them; TAKE hands all of the datagram out, in order, and forgets it; DROP
 * forgets it. Neither function may call into r. Returns ms until the next turn, or -1. O(datagrams) when it is the turn of one, else O(1).
 */
enum reassembly_verdict { REASSEMBLY_WAIT, REASSEMBLY_TAKE, REASSEMBLY_DROP };
int64_t reassembly_retry(struct reassembly *r, int64_t now_ms, enum reassembly_verdict (*ask)(void *arg, struct slice fragment),
			 void (*take)(void *arg, struct slice fragment, uint32_t mark), void *arg);
/* Forget what waited too long. Returns ms until the next will have, or -1. */
int64_t reassembly_tick(struct reassembly *r, int64_t now_ms);
