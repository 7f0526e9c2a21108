/*
 * Little-endian reads for struct reader: eBPF objects of the machines that we know are little-endian, while
 * base/reader.h reads network order.
 */
#pragma once
#include "base/reader.h"

static inline uint16_t little16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t little32(const uint8_t *p)
{
	return (uint32_t)little16(p) | (uint32_t)little16(p + 2) << 16;
}

static inline uint64_t little64(const uint8_t *p)
{
	return (uint64_t)little32(p) | (uint64_t)little32(p + 4) << 32;
}

static inline uint16_t rd_little16(struct reader *r)
{
	struct slice s = rd_bytes(r, 2);

	return s.len == 0 ? 0 : little16(s.ptr);
}

static inline uint32_t rd_little32(struct reader *r)
{
	struct slice s = rd_bytes(r, 4);

	return s.len == 0 ? 0 : little32(s.ptr);
}

static inline uint64_t rd_little64(struct reader *r)
{
	struct slice s = rd_bytes(r, 8);

	return s.len == 0 ? 0 : little64(s.ptr);
}
