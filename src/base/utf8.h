/*
 * UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.
 *
 * Case, width and normalisation are not here: they need tables (libunistring).
 */
#pragma once
#include "base/buf.h"

#define UTF8_REPLACEMENT 0xfffdu

/*
 * The first character of s: its length in bytes (1..4) and *code. 0, and *code untouched,
 * when s is empty or does not start with a whole, well-formed character.
 */
size_t utf8_decode(struct slice s, uint32_t *code);

/*
 * Cut the first character off s. False at the end only. Malformed bytes yield
 * UTF8_REPLACEMENT, one for each maximal ill-formed run as the Unicode standard advises
 * (§3.9, "substitution of maximal subparts"), so a damaged text never ends a loop early.
 */
bool utf8_next(struct slice *s, uint32_t *code);

/* All of s is well formed (an empty s is). O(n), eight ASCII bytes at a time. */
bool utf8_valid(struct slice s);
/* Offset of the first byte that is not part of a well-formed character; s.len if all is well. */
size_t utf8_bad_at(struct slice s);
/* True when every byte is below 0x80. */
bool utf8_is_ascii(struct slice s);
/* Characters in s, counted as utf8_next counts them. */
size_t utf8_length(struct slice s);
/* The longest prefix of at most max bytes that does not cut a well-formed character in two. */
struct slice utf8_head(struct slice s, size_t max);

/*
 * What could end a line, a value or a terminal's patience: controls (C0, DEL, C1), line and
 * paragraph separator, bidirectional marks and overrides. Not for the eyes of an operator.
 */
bool utf8_is_control(uint32_t code);

/* Append one character; surrogates and values above U+10FFFF become UTF8_REPLACEMENT. */
void utf8_add(struct buf *out, uint32_t code);
