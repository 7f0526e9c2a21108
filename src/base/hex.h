/*
 * Hexadecimal text (RFC 4648 §8), written in lower case: ids in names, logs and files.
 */
#pragma once
#include "base/buf.h"

/* Append 2 * s.len lower-case digits. */
void hex_encode(struct buf *out, struct slice s);
/* Append exactly 16 digits: the form of account and delivery ids. */
void hex_u64(struct buf *out, uint64_t v);

/* 0..15, or -1. Both cases. */
static inline int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * Append the bytes that an even number of digits (either case) names. False, and out as
 * before, for anything else; also false when out has no room (out->err tells).
 */
MUST_USE bool hex_decode(struct buf *out, struct slice text);
/* Exactly 16 lower-case digits; *out is set on true only. */
MUST_USE bool hex_parse_u64(struct slice text, uint64_t *out);
