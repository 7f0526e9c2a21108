/*
 * Encoded words (RFC 2047) and encoded parameters (RFC 2231) to UTF-8, for SEARCH, SORT and filters.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

/*
 * Append value as UTF-8: encoded-words are decoded, blanks between two of them dropped, malformed ones stay as
 * they are, bytes outside UTF-8 become U+FFFD. Folding stays; unfold first. Linear.
 */
void words_decode(struct buf *out, struct slice value);
/* True when there is anything to decode: "=?" or a byte above 0x7f. */
bool words_needed(struct slice value);
/*
 * An RFC 2231 extended value, charset'language'percent-encoded, as UTF-8. Without the two quotes
 * the value is taken as it is.
 */
void words_decode_2231(struct buf *out, struct slice value);
