/*
 * Jar files (zip, APPNOTE 6.3.10): what the central directory says is the truth, and what the local headers say must agree with it.
 *
 * The reader works on bytes in memory (a mapped file) and copies nothing until an entry is asked for. Refused with the reason: names that leave the directory
 * ("..", absolute, a drive, a backslash, NUL) or are not UTF-8 (a JVM refuses those files too), two entries of one name, lying sizes, overlapping entries,
 * entries between others that the central directory does not list, two ends to choose from, encryption, several disks, methods but stored and deflated, more
 * than the limits allow (entries, name bytes, sizes, ratio: zip bombs). Zip64 and data descriptors are read; zip64 is written for 65,535 entries and more.
 *
 * The writer gives the same bytes for the same calls: entries keep time, flags, extra fields and comment of their origin. Untouched entries are copied as they
 * lie, compressed: a file whose entries lie behind each other in the order of its directory comes out as it was. Pure but for libdeflate.
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
	uint64_t local_offset;		/* of its local header, in bytes */
	struct slice packed;		/* its data as it lies */
	struct slice local;		/* local header, data and descriptor as they lie */
	struct slice central;		/* its record in the central directory */
};

struct zip {
	struct slice bytes;
	struct slice prefix;		/* what stands before the first entry (a launcher script), kept by the writer */
	uint64_t base;			/* where the file's own offsets count from: 0, or the length of a prefix that was put before it */
	struct slice comment;
	const struct zip_entry *entries;	/* in the order of the central directory */
	const uint32_t *by_name;	/* their indices, sorted */
	uint32_t count;
};
/* 0, -EBADMSG, -E2BIG (limits), -ENOMEM. bytes are borrowed as long as *out is in use; 150 bytes of arena an entry. */
MUST_USE int zip_open(struct arena *arena, struct slice bytes, struct zip *out, struct errmsg *why);
const struct zip_entry *zip_find(const struct zip *z, struct slice name);		/* NULL: none; a binary search */
/* Unpacked bytes into the arena, CRC checked. A stored entry is a view. -EBADMSG, -E2BIG, -ENOMEM. */
MUST_USE int zip_read(struct arena *arena, const struct zip *z, const struct zip_entry *e, struct slice *out, struct errmsg *why);
/* NULL, or what is wrong with a name for an entry, as "is absolute". */
const char *zip_name_fault(struct slice name);

struct zip_writer;
/*
 * Writes into out, whose max bounds the file. prefix comes first; base is where offsets count from (as in struct zip; 0 for new files). NULL: arena is full.
 * What the arena does not hold is given back by zip_finish, or by zip_writer_done when it does not come to that.
 */
MUST_USE struct zip_writer *zip_writer_new(struct arena *arena, struct buf *out, struct slice prefix, uint64_t base);
void zip_writer_done(struct zip_writer *w);
void zip_copy(struct zip_writer *w, const struct zip_entry *e);			/* raw: compressed bytes as they are */
/* Other content under e's name, time and flags; level 0 stores, 1-12 deflates (libdeflate; stored when that is not larger). */
void zip_replace(struct zip_writer *w, const struct zip_entry *e, struct slice content, int level);
/* Content that the caller already deflated (parallel workers): packed is raw deflate, or the content itself when method is 0. */
void zip_replace_packed(struct zip_writer *w, const struct zip_entry *e, struct slice packed, uint16_t method, uint64_t size, uint32_t crc32);
/* A new entry, dated 1980-01-01. */
void zip_add(struct zip_writer *w, struct slice name, struct slice content, int level);
/* 0; the first error of all calls: -EINVAL (a name twice, or not for an entry), -EMSGSIZE, -E2BIG, -ENOMEM. */
MUST_USE int zip_finish(struct zip_writer *w, struct slice comment, struct errmsg *why);
