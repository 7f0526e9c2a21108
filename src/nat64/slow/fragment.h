/*
 * Whole packets cut into fragments of either family: RFC 7915 4 (IPv4 without DF that is larger than lowest-ipv6-mtu when it is IPv6)
 * and 5.1 (IPv4 links smaller than what may be fragmented).
 *
 * A packet that is a fragment already is cut further: its offset, identification and more-flag carry on (RFC 791 3.2).
 */
#pragma once
#include "base/buf.h"
#include "nat64/slow/packet.h"

struct slow_fragmenter {
	struct packet packet;
	uint32_t head;			/* bytes that each fragment begins with, without a new fragment header */
	uint32_t at, step;		/* next byte of the payload; bytes of a full fragment */
	uint32_t id;
	uint8_t protocol;		/* IPv6: what the fragment header says follows */
};

/*
 * Begin. `packet` is borrowed until the last fragment is made; its IPv4 header has a checksum, which is not looked at. `id` is for a
 * packet that is no fragment yet. 0; -EMSGSIZE: `mtu` leaves no room for 8 bytes; -EBADMSG: no packet, or extension headers that stay
 * before a fragment header (translation leaves none). A packet that fits gives itself, untouched.
 */
MUST_USE int slow_fragment_begin(struct slow_fragmenter *f, struct slice packet, uint32_t id, uint32_t mtu);
/* Replace the content of *out by the next fragment; false when there is none left, or with out->err. */
bool slow_fragment_next(struct slow_fragmenter *f, struct buf *out);
