/*
 * A slice: borrowed bytes, passed by value. It owns nothing and need not end in NUL.
 *
 * Every input of every function is a slice; a `char *` in this code base always ends in
 * NUL. Case is folded for ASCII only, as the mail protocols ask.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/attr.h"

struct slice {
	const uint8_t *ptr;
	size_t len;
};

/* A slice of a string literal, without its NUL; usable in static initialisers as SLICE_INIT. */
#define SLICE_INIT(lit)	{ (const uint8_t *)("" lit), sizeof(lit) - 1 }
#define SLICE(lit)	((struct slice)SLICE_INIT(lit))
/* For printf: "%.*s", SLICE_FMT(s). Only for our own text: peers' bytes go through event code. */
#define SLICE_FMT(s)	(int)(s).len, (const char *)(s).ptr

static inline struct slice slice_of(const void *ptr, size_t len)
{
	return (struct slice){ ptr, len };
}

static inline struct slice slice_str(const char *text)
{
	return text == NULL ? (struct slice){ 0 } : slice_of(text, strlen(text));
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* s[from..], or empty when from is past the end. */
static inline struct slice slice_from(struct slice s, size_t from)
{
	if (s.ptr == NULL)		/* NULL + 0 is not defined in C */
		return s;
	return from >= s.len ? slice_of(s.ptr + s.len, 0) : slice_of(s.ptr + from, s.len - from);
}

/* The first n bytes, or all when there are fewer. */
static inline struct slice slice_head(struct slice s, size_t n)
{
	return slice_of(s.ptr, n < s.len ? n : s.len);
}

/* s[from..to), clipped to s. */
static inline struct slice slice_sub(struct slice s, size_t from, size_t to)
{
	return from >= to ? slice_of(s.ptr, 0) : slice_from(slice_head(s, to), from);
}

static inline uint8_t ascii_lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static inline uint8_t ascii_upper(uint8_t c)
{
	return c >= 'a' && c <= 'z' ? (uint8_t)(c & ~0x20) : c;
}

static inline bool ascii_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static inline bool ascii_alpha(uint8_t c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

bool slice_eq_nocase(struct slice a, struct slice b);
/* Order of bytes as memcmp, a prefix before what it begins; <0, 0, >0. */
int slice_cmp(struct slice a, struct slice b);
int slice_cmp_nocase(struct slice a, struct slice b);
bool slice_starts(struct slice s, struct slice prefix);
bool slice_starts_nocase(struct slice s, struct slice prefix);
bool slice_ends(struct slice s, struct slice suffix);

#define SLICE_NPOS SIZE_MAX
/* Offset of the first such byte or bytes, or SLICE_NPOS. */
size_t slice_find_byte(struct slice s, uint8_t c);
size_t slice_rfind_byte(struct slice s, uint8_t c);
size_t slice_find(struct slice s, struct slice needle);

/* Without blanks and tabs (and CR, LF) at both ends. */
struct slice slice_trim(struct slice s);

/*
 * Cut s at the first `sep`: *head gets what stands before, *tail what follows. False when
 * there is no `sep`: then *head is all of s and *tail is empty. Both may be &s itself.
 */
bool slice_cut(struct slice s, uint8_t sep, struct slice *head, struct slice *tail);

/*
 * A decimal number without sign or blanks, all of s. False when s is empty, has another
 * byte, or the number is above max.
 */
MUST_USE bool slice_u64(struct slice s, uint64_t max, uint64_t *out);
MUST_USE bool slice_u32(struct slice s, uint32_t *out);

/* Copy into a NUL-ended array; false (and an empty string) when it does not fit or holds a NUL. */
MUST_USE bool slice_to_str(struct slice s, char *out, size_t out_size);
/* malloc'd NUL-ended copy, NULL when memory is short; the caller frees. Stops at no NUL. */
char *slice_strdup(struct slice s);
