#include "base/utf8.h"

/*
 * Well-formed sequences, Unicode standard table 3-7: what the first byte says about the
 * length and about the range of the second byte. The others are 80..BF.
 */
static size_t shape(uint8_t first, uint8_t *low, uint8_t *high)
{
	*low = 0x80;
	*high = 0xbf;
	if (first < 0x80)
		return 1;
	if (first < 0xc2)
		return 0;
	if (first < 0xe0)
		return 2;
	if (first < 0xf0) {
		if (first == 0xe0)
			*low = 0xa0;		/* shorter forms exist */
		else if (first == 0xed)
			*high = 0x9f;		/* surrogates */
		return 3;
	}
	if (first > 0xf4)
		return 0;
	if (first == 0xf0)
		*low = 0x90;
	else if (first == 0xf4)
		*high = 0x8f;			/* above U+10FFFF */
	return 4;
}

/* As utf8_decode; when 0, *bad gets the length of the maximal ill-formed run (>= 1). */
static size_t decode(struct slice s, uint32_t *code, size_t *bad)
{
	uint8_t low, high;

	*bad = 1;
	if (s.len == 0)
		return 0;
	size_t n = shape(s.ptr[0], &low, &high);
	if (n == 0)
		return 0;
	if (n == 1) {
		*code = s.ptr[0];
		return 1;
	}
	uint32_t v = s.ptr[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if (i >= s.len || s.ptr[i] < low || s.ptr[i] > high) {
			*bad = i;
			return 0;
		}
		v = v << 6 | (s.ptr[i] & 0x3fu);
		low = 0x80;
		high = 0xbf;
	}
	*code = v;
	return n;
}

size_t utf8_decode(struct slice s, uint32_t *code)
{
	size_t bad;

	return decode(s, code, &bad);
}

bool utf8_next(struct slice *s, uint32_t *code)
{
	size_t bad;

	if (s->len == 0)
		return false;
	size_t n = decode(*s, code, &bad);
	if (n == 0) {
		*code = UTF8_REPLACEMENT;
		n = bad;
	}
	*s = slice_from(*s, n);
	return true;
}

/* Length of the ASCII prefix, rounded down to whole words unless it ends earlier. */
static size_t ascii_run(struct slice s)
{
	size_t at = 0;

	for (; s.len - at >= 8; at += 8) {
		uint64_t word;
		memcpy(&word, s.ptr + at, sizeof(word));
		if ((word & 0x8080808080808080ull) != 0)
			break;
	}
	while (at < s.len && s.ptr[at] < 0x80)
		at++;
	return at;
}

size_t utf8_bad_at(struct slice s)
{
	size_t at = 0;

	for (;;) {
		uint32_t code;
		at += ascii_run(slice_from(s, at));
		if (at == s.len)
			return at;
		size_t n = utf8_decode(slice_from(s, at), &code);
		if (n == 0)
			return at;
		at += n;
	}
}

bool utf8_valid(struct slice s)
{
	return utf8_bad_at(s) == s.len;
}

bool utf8_is_ascii(struct slice s)
{
	return ascii_run(s) == s.len;
}

size_t utf8_length(struct slice s)
{
	size_t count = 0;
	uint32_t code;

	while (utf8_next(&s, &code))
		count++;
	return count;
}

struct slice utf8_head(struct slice s, size_t max)
{
	if (s.len <= max)
		return s;
	/* A character that crosses max starts at most 3 bytes before it. */
	for (size_t back = 1; back <= 3 && back <= max; back++) {
		uint32_t code;
		size_t n = utf8_decode(slice_from(s, max - back), &code);
		if (n > back)
			return slice_head(s, max - back);
		if (n != 0)
			break;
	}
	return slice_head(s, max);
}

void utf8_add(struct buf *out, uint32_t code)
{
	if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		code = UTF8_REPLACEMENT;
	if (code < 0x80) {
		buf_addc(out, (uint8_t)code);
	} else if (code < 0x800) {
		buf_add(out, slice_of((uint8_t[]){ (uint8_t)(0xc0 | code >> 6),
						   (uint8_t)(0x80 | (code & 63)) }, 2));
	} else if (code < 0x10000) {
		buf_add(out, slice_of((uint8_t[]){ (uint8_t)(0xe0 | code >> 12),
						   (uint8_t)(0x80 | (code >> 6 & 63)),
						   (uint8_t)(0x80 | (code & 63)) }, 3));
	} else {
		buf_add(out, slice_of((uint8_t[]){ (uint8_t)(0xf0 | code >> 18),
						   (uint8_t)(0x80 | (code >> 12 & 63)),
						   (uint8_t)(0x80 | (code >> 6 & 63)),
						   (uint8_t)(0x80 | (code & 63)) }, 4));
	}
}

bool utf8_is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 ||
	       (c >= 0x200e && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}
