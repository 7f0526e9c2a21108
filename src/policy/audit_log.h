/*
 * The audit on disk: entries one behind the other in segments DIRECTORY/NNNNNNNNNN.log, oldest first, the oldest removed when there are too many.
 * An entry has the names of labels beside their numbers, since numbers hold for one boot.
 *
 *	be32 bytes of what follows the checksum, be32 CRC-32C of it, then the fields of policy_entry_encode
 *
 * A crash may leave a torn entry at the end of a segment: the writer cuts it off, readers stop there and go on with the next segment.
 */
#pragma once
#include "base/buf.h"
#include "base/reader.h"
#include "policy/audit.h"
#include "policy/language/language_limits.h"
#include "policy/policy_limits.h"

#define POLICY_LABEL_NAME_BYTES (2 * POLICY_NAME_BYTES_MAX + 2)

/* A record with all that people want to know of it. */
struct policy_entry {
	uint64_t id;
	uint64_t lost;			/* records of this ring that were overwritten before this one */
	char ring[32];
	struct policy_record record;
	char subject[POLICY_LABEL_NAME_BYTES], object[POLICY_LABEL_NAME_BYTES];	/* of a transfer the object is a subject; "" for none, "?" */
	char chain[8][POLICY_LABEL_NAME_BYTES];
};

struct policy_table;
/* From a record of this ring: names are those of the table. */
void policy_entry_fill(struct policy_entry *out, const struct policy_ring_reader *ring, const struct policy_record *r, const struct policy_table *t);
void policy_entry_encode(struct buf *out, const struct policy_entry *e);
/* Read one from the begin of bytes: how many it took; 0: there is none, or it is torn. */
size_t policy_entry_decode(struct policy_entry *out, struct slice bytes);

struct policy_log;
/* Open for writing, as the only one; dir: of the segments, which stays the caller's. */
MUST_USE int policy_log_open(int dir, uint64_t segment_bytes, unsigned segments_kept, struct policy_log **out, struct errmsg *why);
void policy_log_close(struct policy_log *l);
/* Append; a full segment is synced and the next begun. */
MUST_USE int policy_log_add(struct policy_log *l, const struct policy_entry *e, struct errmsg *why);
/* What was added is durable. */
MUST_USE int policy_log_sync(struct policy_log *l, struct errmsg *why);
/* The newest sequence of this ring in the log that is open, or 0: from there the role goes on after a restart. */
uint64_t policy_log_newest(const struct policy_log *l, uint16_t ring);

/* All entries, oldest first; fn returns false to stop. 0; -ENOENT: no log; other errno. */
MUST_USE int policy_log_read(int dir, bool (*fn)(void *arg, const struct policy_entry *e), void *arg, struct errmsg *why);
