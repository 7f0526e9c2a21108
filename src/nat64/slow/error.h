/*
 * ICMP errors: those that others sent, translated with all that is in them, and those that the slow path answers with.
 */
#pragma once
#include "base/buf.h"
#include "nat64/slow/packet.h"

enum { ICMP4_ERROR_BYTES_MAX = 576, ICMP6_ERROR_BYTES_MAX = 1280 };	/* RFC 1812 4.3.2.3, RFC 4443 2.4 */

/*
 * Replace *out by the ICMP error `in` as x (TRANSLATE, XLAT_INNER) says: the edit, then the length attribute and the extensions of RFC
 * 4884 where the other side's message may have them, the packet inside without padding and cut so that the whole keeps to 576 or 1280
 * bytes. 0; -EBADMSG: x and `in` do not agree; the error of *out.
 */
MUST_USE int slow_error_translate(const struct xlat *x, struct slice in, struct buf *out);

struct slow_error {
	uint8_t type, code;		/* of the family of the packet */
	uint32_t rest;			/* bytes 4 to 7: MTU, pointer */
	const uint8_t *from;		/* 4 or 16 bytes: who says so */
};
/*
 * Replace *out by the ICMP error about `packet` to its sender. False (*out is empty) where none may be sent: about ICMP errors and redirects, later
 * fragments, from or to addresses that are not one host's (RFC 1122 3.2.2, RFC 1812 4.3.2.7, RFC 4443 2.4 e).
 */
bool slow_error_make(const struct slow_error *e, struct slice packet, struct buf *out);
