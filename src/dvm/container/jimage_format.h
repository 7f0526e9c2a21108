/*
 * The layout of a run-time image, shared by its reader and its writer (libjimage's imageFile.hpp; jdk.internal.jimage.ImageHeader and ImageLocation).
 *
 *	header		7 u4: magic, version (major << 16 | minor), flags, resource count, table length, bytes of locations, bytes of strings
 *	redirects	s4 [table length]: > 0 a seed for a second hash, < 0 the slot -1 - value, 0 nothing
 *	offsets		u4 [table length]: of a slot's attribute stream in locations
 *	locations	attribute streams: a byte kind << 3 | (length - 1), then the value, big-endian; kind 0 ends
 *	strings		modified UTF-8, each with its NUL
 *	resources
 *
 * Resources below /modules list what is in a directory: offsets of attribute streams, u4 each.
 */
#pragma once
#include "dvm/container/jimage.h"

#define JIMAGE_MAGIC	    0xCAFEDADAu
#define JIMAGE_HEADER_BYTES 28u
#define JIMAGE_HASH_SEED    0x01000193u
#define JIMAGE_MAJOR	    1u

enum jimage_attribute {
	JIMAGE_END, JIMAGE_MODULE, JIMAGE_PARENT, JIMAGE_BASE, JIMAGE_EXTENSION, JIMAGE_OFFSET, JIMAGE_COMPRESSED, JIMAGE_UNCOMPRESSED, JIMAGE_ATTRIBUTES
};

static inline uint32_t jimage_u32(bool big, const uint8_t *at)
{
	uint32_t le = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;

	return big ? __builtin_bswap32(le) : le;
}

static inline void jimage_put_u32(bool big, uint8_t *at, uint32_t v)
{
	uint32_t le = big ? __builtin_bswap32(v) : v;

	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(le >> 8 * i);
}

/* Of a path, by this seed; 31 bits. */
static inline uint32_t jimage_hash(struct slice path, uint32_t seed)
{
	for (size_t i = 0; i < path.len; i++)
		seed = seed * JIMAGE_HASH_SEED ^ path.ptr[i];
	return seed & 0x7fffffffu;
}
