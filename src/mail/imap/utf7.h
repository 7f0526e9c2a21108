/*
 * Modified UTF-7 of mailbox names (RFC 3501 §5.1.3), to and from UTF-8.
 *
 * Inside we know names in UTF-8 only. Clients that did not enable IMAP4rev2 or UTF8=ACCEPT
 * write and read this encoding. Decoding is strict, so that one name has one spelling:
 * otherwise two spellings of a folder would pass a test for equal names.
 */
#pragma once
#include "base/buf.h"

/*
 * Decode into out (appended). False when the text is not the one right encoding of some
 * name: 8-bit bytes, "&" without "-", base64 of printable US-ASCII, two shifts that should
 * be one ("&AOk-&AOk-"), lone surrogates, left-over bits. On false out is unchanged. O(bytes).
 */
MUST_USE bool utf7_decode(struct slice text, struct buf *out);
/* Encode valid UTF-8; bytes that are not valid UTF-8 are encoded as U+FFFD. O(bytes). */
void utf7_encode(struct slice utf8, struct buf *out);
