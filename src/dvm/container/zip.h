/*
 * Jar files (zip, APPNOTE 6.3.10): what the central directory says is the truth, and what the local headers say must agree with it.
 *
 * The reader works on bytes in memory (a mapped file) and copies nothing until an entry is asked for. Refused with the reason: names that leave the directory
 * ("..", absolute, a drive, a backslash, NUL), two entries of one name, lying sizes, overlapping entries, encryption, methods but stored and deflated, more
 * than the limits allow (entries, name bytes, sizes, ratio: zip bombs). Zip64 and data descriptors are read and written where they are needed.
 *
 * The writer gives the same bytes for the same calls: entries keep time, flags, extra fields and comment of their origin. Untouched entries are copied as they
 * lie, compressed. Pure but for libdeflate.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "base/slice.h"

struct zip_entry {
	struct slice name;		/* as stored; a directory ends in '/' */
	uint16_t method;		/* 0 stored, 8 deflated */
	uint16_t flags;
	uint32_t crc32;
	uint64_t size, packed_size;	/* bytes, from the central directory */
	uint64_t local_offset;		/* of its local header */
	struct slice packed;		/* its data as it lies */
	struct slice local;		/* local header, data and descriptor as they lie */
	struct slice central;		/* its record in the central directory */
};

struct zip {
	struct slice bytes;
	struct slice prefix;		/* what stands before the first entry (a launcher script), kept by the writer */
	struct slice comment;
	const struct zip_entry *entries;	/* in the order of the central directory */
	uint32_t count;
};
MUST_USE int zip_open(struct arena *arena, struct slice bytes, struct zip *out, struct errmsg *why);	/* 0, -EBADMSG, -E2BIG (limits), -ENOMEM */
const struct zip_entry *zip_find(const struct zip *z, struct slice name);		/* NULL: none; a binary search, or a hash */
/* Unpacked bytes into the arena, CRC checked. A stored entry is a view. -EBADMSG, -E2BIG, -ENOMEM. */
MUST_USE int zip_read(struct arena *arena, const struct zip *z, const struct zip_entry *e, struct slice *out, struct errmsg *why);

struct zip_writer;
/* Writes into out, whose max bounds the file. */
MUST_USE struct zip_writer *zip_writer_new(struct arena *arena, struct buf *out, struct slice prefix);
void zip_copy(struct zip_writer *w, const struct zip_entry *e);			/* raw: compressed bytes as they are */
/* Other content under e's name, time and flags; level 0 stores, 1-12 deflates (libdeflate). */
void zip_replace(struct zip_writer *w, const struct zip_entry *e, struct slice content, int level);
/* Content that the caller already deflated (parallel workers): packed is raw deflate, or the content itself when method is 0. */
void zip_replace_packed(struct zip_writer *w, const struct zip_entry *e, struct slice packed, uint16_t method, uint64_t size, uint32_t crc32);
/* A new entry, dated 1980-01-01. */
void zip_add(struct zip_writer *w, struct slice name, struct slice content, int level);
MUST_USE int zip_finish(struct zip_writer *w, struct slice comment, struct errmsg *why);	/* 0; the first error of all calls */
