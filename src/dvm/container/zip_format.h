/*
 * The records of a zip file (APPNOTE 6.3.10 §4.3): where each number stands, all little-endian.
 */
#pragma once
#include "base/slice.h"

#define ZIP_LOCAL_SIGNATURE	 0x04034b50u
#define ZIP_DESCRIPTOR_SIGNATURE 0x08074b50u
#define ZIP_CENTRAL_SIGNATURE	 0x02014b50u
#define ZIP_END_SIGNATURE	 0x06054b50u
#define ZIP_END64_SIGNATURE	 0x06064b50u
#define ZIP_LOCATOR_SIGNATURE	 0x07064b50u

/* §4.3.7 */
enum {
	ZIP_LOCAL_FLAGS = 6, ZIP_LOCAL_METHOD = 8, ZIP_LOCAL_TIME = 10, ZIP_LOCAL_CRC = 14, ZIP_LOCAL_PACKED = 18, ZIP_LOCAL_SIZE = 22,
	ZIP_LOCAL_NAME_BYTES = 26, ZIP_LOCAL_EXTRA_BYTES = 28, ZIP_LOCAL_BYTES = 30,
};
/* §4.3.12 */
enum {
	ZIP_CENTRAL_MADE_BY = 4, ZIP_CENTRAL_NEEDED = 6, ZIP_CENTRAL_FLAGS = 8, ZIP_CENTRAL_METHOD = 10, ZIP_CENTRAL_TIME = 12, ZIP_CENTRAL_CRC = 16,
	ZIP_CENTRAL_PACKED = 20, ZIP_CENTRAL_SIZE = 24, ZIP_CENTRAL_NAME_BYTES = 28, ZIP_CENTRAL_EXTRA_BYTES = 30, ZIP_CENTRAL_COMMENT_BYTES = 32,
	ZIP_CENTRAL_DISK = 34, ZIP_CENTRAL_OFFSET = 42, ZIP_CENTRAL_BYTES = 46,
};
/* §4.3.16 */
enum {
	ZIP_END_DISK = 4, ZIP_END_DIRECTORY_DISK = 6, ZIP_END_COUNT_HERE = 8, ZIP_END_COUNT = 10, ZIP_END_DIRECTORY_BYTES = 12, ZIP_END_OFFSET = 16,
	ZIP_END_COMMENT_BYTES = 20, ZIP_END_BYTES = 22,
};
/* §4.3.14, §4.3.15 */
enum {
	ZIP_END64_LENGTH = 4, ZIP_END64_DISK = 16, ZIP_END64_DIRECTORY_DISK = 20, ZIP_END64_COUNT_HERE = 24, ZIP_END64_COUNT = 32,
	ZIP_END64_DIRECTORY_BYTES = 40, ZIP_END64_OFFSET = 48, ZIP_END64_BYTES = 56,
	ZIP_LOCATOR_DISK = 4, ZIP_LOCATOR_OFFSET = 8, ZIP_LOCATOR_DISKS = 16, ZIP_LOCATOR_BYTES = 20,
};

#define ZIP_FLAG_ENCRYPTED  0x0001u
#define ZIP_FLAG_LEVEL	    0x0006u	/* how hard the packer tried */
#define ZIP_FLAG_DESCRIPTOR 0x0008u	/* sizes and sum stand behind the data */
#define ZIP_FLAG_UTF8	    0x0800u
/* Encryption (0, 6, 13) and patched data (5). */
#define ZIP_FLAGS_REFUSED   0x2061u

#define ZIP_STORED   0u
#define ZIP_DEFLATED 8u

#define ZIP_EXTRA_ZIP64 0x0001u
#define ZIP_MAX16 0xffffu
#define ZIP_MAX32 0xffffffffu

static inline uint16_t zip_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t zip_u32(const uint8_t *p)
{
	return zip_u16(p) | (uint32_t)zip_u16(p + 2) << 16;
}

static inline uint64_t zip_u64(const uint8_t *p)
{
	return zip_u32(p) | (uint64_t)zip_u32(p + 4) << 32;
}

static inline void zip_put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void zip_put32(uint8_t *p, uint32_t v)
{
	zip_put16(p, (uint16_t)v);
	zip_put16(p + 2, (uint16_t)(v >> 16));
}

static inline void zip_put64(uint8_t *p, uint64_t v)
{
	zip_put32(p, (uint32_t)v);
	zip_put32(p + 4, (uint32_t)(v >> 32));
}

/* Cut the first block off an extra field: its id and content. False at the end (fewer than 4 bytes: JVMs pass over them); *bad when it does not fit. */
static inline bool zip_extra_next(struct slice *extra, uint16_t *id, struct slice *content, bool *bad)
{
	if (extra->len < 4)
		return false;
	*id = zip_u16(extra->ptr);
	size_t bytes = zip_u16(extra->ptr + 2);
	*bad = bytes > extra->len - 4;
	if (*bad)
		return false;
	*content = slice_of(extra->ptr + 4, bytes);
	*extra = slice_from(*extra, 4 + bytes);
	return true;
}
