/*
 * The layout of a run-time image, shared by its reader and its writer (libjimage's imageFile.hpp; jdk.internal.jimage.ImageHeader and ImageLocation).
 *
 *	header		7 u4: magic, version (major << 16 | minor), flags, resource count, table length, bytes of locations, bytes of strings
 *	redirects	s4 [table length]: > 0 a seed for a second hash, < 0 the slot -1 - value, 0 nothing (jimage_hash.h)
 *	offsets		u4 [table length]: of a slot's attribute stream in locations
 *	locations	attribute streams: a byte kind << 3 | (length - 1), then the value, big-endian; kind 0 ends
 *	strings		modified UTF-8, each with its NUL
 *	resources
 *
 * Numbers of the header, the tables and the directories are in the image's byte order.
 */
#pragma once
#include "dvm/container/jimage.h"

#define JIMAGE_MAGIC 0xcafedadau
#define JIMAGE_HEADER_BYTES 28u

static inline uint32_t jimage_u32(const struct jimage *image, const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return image->big_endian == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) ? v : __builtin_bswap32(v);
}

static inline uint64_t jimage_u64(const struct jimage *image, const uint8_t *p)
{
	uint64_t first = jimage_u32(image, p), second = jimage_u32(image, p + 4);

	return image->big_endian ? first << 32 | second : second << 32 | first;
}

static inline void jimage_put_u32(const struct jimage *image, uint8_t *p, uint32_t v)
{
	if (image->big_endian != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__))
		v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

/* As it is stored: packed when it is. */
static inline struct slice jimage_stored(const struct jimage *image, const struct jimage_resource *r)
{
	return slice_of(image->bytes.ptr + image->resources_at + r->offset, r->packed_size != 0 ? r->packed_size : r->size);
}
