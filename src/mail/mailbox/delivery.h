/*
 * Delivery: one body, N recipients, each stored durably in its account or not at all.
 *
 * The deliverer (mx, queue) may only append: read the head's "frag" keys, stat and append to
 * fragments and streams of the account (an append grant). It gives no UIDs; readers merge.
 *
 * A delivery id derives from the transaction id and the account, so repeating a transaction
 * whose outcome is unknown (same transaction id, the remembered `tries`) stores one message.
 *
 * Bodies up to 1 MiB are kept in memory and stored with their record in one operation. Larger
 * ones are written while they arrive, as streams per recipient, "b.<account>.<delivery id>.<k>";
 * without delivery_finish nobody sees them, and account_maintain removes them after an hour.
 */
#pragma once
#include "base/buf.h"
#include "engine/engine.h"
#include "mail/mailbox/types.h"
#include "sys/world.h"

struct deliverer;
struct delivery;

/* Per process: remembers where each account's fragments end, and bucket latencies. */
struct deliverer_options {
	uint8_t buckets;		/* 1 for the embedded engine; the accounts' spread */
	int64_t hedge_us;		/* try the next bucket after this long; 0: 200 ms */
	int64_t deadline_us;		/* give up and answer DELIVERY_LATER; 0: 5 s */
};
MUST_USE int deliverer_new(struct world *world, const struct deliverer_options *o,
			   struct deliverer **out);
void deliverer_free(struct deliverer *d);

#define TRANSACTION_ID_BYTES 16u
#define DELIVERY_TRIES_MAX 8u

/* Places that earlier attempts may have reached. Keep it with the queued recipient; zero at first. */
struct delivery_tries {
	uint8_t count;
	bool overflow;			/* more attempts than places: merging looks everywhere */
	struct {
		uint8_t bucket;
		uint32_t fragment;
	} place[DELIVERY_TRIES_MAX];
};

enum delivery_status {
	DELIVERY_OK,			/* on stable storage */
	DELIVERY_LATER,			/* store away or slow: outcome open; queue it with `tries` */
	DELIVERY_FULL,			/* the disk has no room: 452 4.3.1 */
	DELIVERY_OVERQUOTA,		/* above the grant's byte limit: 552 5.2.2 */
	DELIVERY_DENIED,		/* the grant ended: ask auth again, then as LATER */
};

struct delivery_recipient {
	struct engine *engine;		/* carries the append grant; borrowed until delivery_free */
	char account[ACCOUNT_ID_BYTES];
	uint32_t folder;		/* hint: FOLDER_INBOX; a missing folder becomes INBOX at merge */
	uint8_t flags;
	struct delivery_tries tries;	/* in: of earlier attempts. out: with this one */
	enum delivery_status status;	/* out */
};

/*
 * Begin storing a body for `count` recipients (the array is borrowed until delivery_free;
 * duplicate accounts must have been folded together). transaction: unique, the same again
 * for a repetition.
 *
 * 0 or -ENOMEM.
 */
MUST_USE int delivery_begin(struct deliverer *d, const uint8_t transaction[TRANSACTION_ID_BYTES],
			    struct delivery_recipient *recipients, size_t count,
			    struct delivery **out);
/*
 * More bytes of the body, the same for all recipients. Blocks when streams are written.
 * A recipient whose stream fails is marked (status) and left out; false when all have failed
 * or memory is short: the caller may stop reading.
 */
MUST_USE bool delivery_write(struct delivery *d, struct slice bytes);
/*
 * Have fn called with all bytes of a body that is too large for memory, in order, in pieces of at
 * most 1 MiB, before the streams get them: for a copy of the caller's own (the queue's). fn may block.
 * Bodies that stay in memory never reach it. Before the first delivery_write.
 */
void delivery_copy(struct delivery *d, void (*fn)(void *arg, struct slice piece), void *arg);
/*
 * Bytes that stand before the body for one recipient only (Return-Path, Delivered-To,
 * Received): each ends in CRLF. Only before the first delivery_write. false: memory, or above 4 KiB.
 */
MUST_USE bool delivery_prefix(struct delivery *d, size_t recipient, struct slice bytes);
/*
 * Leave a recipient out, with this status: over quota, for instance, now that the size is known. Any
 * time before delivery_finish; what was streamed for it is collected later.
 */
void delivery_reject(struct delivery *d, size_t recipient, enum delivery_status status);
/*
 * Store the records; sets every recipient's status, also of failed ones. All recipients go
 * at the same time when called in a fiber, so the engine can commit them in one group.
 *
 * summary         opaque, stored beside; computed over the body WITHOUT prefix: readers are
 *                 told the prefix length in its first four bytes (see summary_prefix_bytes)
 * internaldate_s  seconds since 1970
 */
void delivery_finish(struct delivery *d, struct slice summary, int64_t internaldate_s,
		     int16_t tz_minutes);
/* The body while it is in memory (<= 1 MiB, then for queueing); {NULL, 0} when it became a stream. */
struct slice delivery_body(const struct delivery *d);
/* Bytes written so far, without prefixes. */
uint64_t delivery_bytes(const struct delivery *d);
/* Also gives up a delivery that was not finished. NULL is fine. */
void delivery_free(struct delivery *d);

/* How mailbox_summaries gives summaries back: 4 bytes (be32) of prefix length, then the caller's bytes. */
static inline struct slice summary_split(struct slice stored, uint32_t *prefix_bytes)
{
	*prefix_bytes = 0;
	if (stored.len < 4)
		return slice_of(stored.ptr, 0);
	*prefix_bytes = (uint32_t)stored.ptr[0] << 24 | (uint32_t)stored.ptr[1] << 16 |
			(uint32_t)stored.ptr[2] << 8 | stored.ptr[3];
	return slice_from(stored, 4);
}
