/*
 * How bytes stand in a segment of the log.
 *
 * A segment file is a row of blocks (32 KiB). A block starts with a header of 24 bytes:
 *
 *	be32 crc32c of the rest | be32 generation | be32 salt | be32 segment | be32 block number |
 *	be16 offset of the first record that starts in the block, 0: none | u8 format | u8 log2(block bytes)
 *
 * What follows the headers is one stream of records; a record may run over any number of blocks:
 *
 *	be32 crc32c of the rest | be32 body bytes | u8 type | u8 format | be16 0 | be32 generation |
 *	be32 salt | be64 lsn | be64 durable | body
 *
 * generation rises with each use of a segment file and salt is random: together they tell records
 * of this use from what an earlier use left behind, also when an earlier use with the same generation
 * was lost in a power cut. lsn counts records without gaps. durable is the highest lsn known to be on
 * stable storage when the record was written; it tells damage (a bad record at or below some
 * later record's `durable`) from a torn tail, which is where the log ends.
 *
 * Each batch starts on a multiple of 512 bytes, so that no sector with acknowledged bytes is written
 * again; zeros stand between. Positions in this program are file offsets that never point into a
 * block header.
 */
#pragma once
#include "base/buf.h"
#include "base/reader.h"

#define LOG_FORMAT		1u
#define LOG_SECTOR_BYTES	512u
#define BLOCK_HEADER_BYTES	24u
#define RECORD_HEADER_BYTES	36u
#define RECORD_BODY_BYTES_MAX	(3u << 20)	/* an operation of ENGINE_OP_BYTES_MAX and its lengths */
#define EXTENT_BYTES_MAX	(64u * 1024u)	/* unit of checksums for an object's bytes */

enum record_type {
	RECORD_OP = 1,			/* effects of one operation */
	RECORD_MOVE,			/* entries that compaction took from an older segment */
	RECORD_MANIFEST,		/* which segments hold the log; first in every segment */
	RECORD_FOOTER,			/* key changes of this segment, for a fast rebuild */
	RECORD_MARK,			/* nothing: carries `durable` */
};

/* In bodies of OP, MOVE and FOOTER. Values are on disk: do not renumber. */
enum effect_kind {
	EFFECT_WRITE = 1,		/* OP */
	EFFECT_SET,			/* OP */
	EFFECT_DELETE,			/* OP, MOVE, FOOTER */
	EFFECT_REMOVE,			/* OP, MOVE, FOOTER */
	EFFECT_CREATE,			/* MOVE, FOOTER: this version made the object */
	EFFECT_KEY,			/* MOVE, FOOTER */
	EFFECT_EXTENT,			/* MOVE, FOOTER */
	EFFECT_OBJECT,			/* FOOTER: the following effects are on this object */
};

#define OP_CREATES 1u			/* flag in an OP body: the object did not exist */

struct block_header {
	uint32_t generation, salt, segment, number;
	uint16_t first_record;
	uint8_t block_shift;
};

struct record_header {
	uint32_t crc, body_bytes;
	uint8_t type;
	uint32_t generation, salt;
	uint64_t lsn, durable;
};

static inline void put_be16(uint8_t *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, 2);
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, 4);
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, 8);
}

static inline uint32_t get_be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return __builtin_bswap32(v);
}

static inline uint64_t get_be64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return __builtin_bswap64(v);
}

void block_header_write(uint8_t out[BLOCK_HEADER_BYTES], const struct block_header *h);
/* False when the checksum or the format is wrong. */
MUST_USE bool block_header_read(const uint8_t in[BLOCK_HEADER_BYTES], struct block_header *h);

/* Header in front of a body: fills in the checksum over header and body. */
void record_header_write(uint8_t out[RECORD_HEADER_BYTES], const struct record_header *h,
			 struct slice body);
/* Reads fields only; false when length, type or format is impossible. */
MUST_USE bool record_header_read(const uint8_t in[RECORD_HEADER_BYTES], struct record_header *h);
/* Does the checksum fit? record is header and body. */
MUST_USE bool record_intact(struct slice record);

/* Positions: file offsets outside block headers. */
static inline uint64_t pos_normal(uint64_t pos, uint32_t block_bytes)
{
	uint32_t in = (uint32_t)(pos & (block_bytes - 1));

	return in < BLOCK_HEADER_BYTES ? pos - in + BLOCK_HEADER_BYTES : pos;
}

/* n stream bytes after pos, jumping over block headers; normal. */
static inline uint64_t pos_add(uint64_t pos, uint64_t n, uint32_t block_bytes)
{
	uint32_t room = block_bytes - BLOCK_HEADER_BYTES;
	uint64_t block = pos / block_bytes;
	uint64_t in = pos % block_bytes - BLOCK_HEADER_BYTES + n;

	return (block + in / room) * block_bytes + BLOCK_HEADER_BYTES + in % room;
}

/* Where the next batch may start. */
static inline uint64_t pos_align(uint64_t pos, uint32_t block_bytes)
{
	return pos_normal((pos + LOG_SECTOR_BYTES - 1) & ~(uint64_t)(LOG_SECTOR_BYTES - 1),
			  block_bytes);
}
