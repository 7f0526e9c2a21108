/*
 * An edit (core/xlat.h) applied to a whole packet: what each home does in its own way, here on bytes in memory.
 *
 * Used by the slow path, by tests that look at whole packets, and by `explain`.
 */
#pragma once
#include "base/buf.h"
#include "nat64/core/xlat.h"

/*
 * Append to *out the packet that the edit of x makes of `in`, whose first bytes are x->in. x has a verdict of TRANSLATE or ERROR.
 * Checksums that cover the payload (x->csum_payload) are finished. 0; -EBADMSG: the edit does not fit the packet, nothing is
 * appended; the error of *out. O(bytes).
 */
MUST_USE int slow_apply(const struct xlat *x, struct slice in, struct buf *out);

/* Ones' complement sum of bytes, as if they began at an even offset; not folded below 32 bits. Takes up to 64 KiB. */
uint32_t slow_sum(struct slice bytes);
/* ... of the pseudo header of either family (RFC 768, RFC 8200 8.1), added to `sum`. */
uint32_t slow_sum_pseudo(unsigned family, const uint8_t *src, const uint8_t *dst, uint8_t protocol, uint32_t bytes);
/* Folded and inverted. */
uint16_t slow_sum_end(uint32_t sum);
