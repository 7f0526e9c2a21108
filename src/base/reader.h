/*
 * A cursor over borrowed bytes from a disk, a peer or another process.
 *
 * The first short or malformed read makes it bad; a bad reader yields zeros and empty
 * slices. Read a whole structure, look at `bad` once, then judge the values.
 * The writing side is struct buf (buf_be32, buf_varint, buf_blob).
 */
#pragma once
#include "base/slice.h"

struct reader {
	const uint8_t *at, *end;
	bool bad;
};

static inline struct reader reader_of(struct slice s)
{
	/* NULL + 0 is not defined in C; an empty slice may hold NULL. */
	if (s.ptr == NULL)
		s.ptr = (const uint8_t *)"";
	/* NULL + 0 is undefined until C2y. */
	return (struct reader){ s.ptr, s.len == 0 ? s.ptr : s.ptr + s.len, false };
}

static inline size_t rd_left(const struct reader *r)
{
	return (size_t)(r->end - r->at);
}

struct slice rd_bytes(struct reader *r, size_t n);
uint8_t rd_u8(struct reader *r);
uint16_t rd_be16(struct reader *r);
uint32_t rd_be32(struct reader *r);
uint64_t rd_be64(struct reader *r);
/* LEB128; bad when longer than 10 bytes or above 2^64-1. */
uint64_t rd_varint(struct reader *r);
/* As rd_varint; bad when above max. */
uint64_t rd_varint_max(struct reader *r, uint64_t max);
/* varint length and bytes, as buf_blob writes them. */
struct slice rd_blob(struct reader *r);
/* All that is left. */
struct slice rd_rest(struct reader *r);
/* True when everything was read and nothing was bad. */
static inline bool rd_end(const struct reader *r)
{
	return !r->bad && r->at == r->end;
}
