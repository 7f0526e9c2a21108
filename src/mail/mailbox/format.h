/*
 * What the mailbox layer stores: object names, keys and records, to and from bytes.
 *
 * Keys of the account head, in order of bytes, because reads are ranges:
 *
 *	frag <bucket>			merge cursor, for deliverers (the only keys they may read)
 *	g <modseq be64> <part be16>	journal: the newest changes
 *	h				header: guards every commit
 *	k				names of the keywords
 *	n <folder be32>			folder
 *	s <number be32>			a subscribed name
 *	u <folder be32>			a deleted folder whose ranges are still to be removed
 *	w <bucket> <fragment be32>	a fragment that compaction is emptying
 *	x <delivery id>			a retried delivery that was merged, with its other places
 *	z <bucket> <group be32>		about how many of the fragments' bytes are dead
 *
 * Keys of a range: g (how far it is folded), u <uid be32> (message), x <uid be32> (expunged).
 * Keys of a fragment: m <offset be32> (what stands there), s <offset be32> (its summary),
 * m 0xff (sealed: nothing is appended any more).
 * "<fragment>.old" has keys i <delivery id> of a fragment that compaction removed, and t, when.
 *
 * Everything here is read back from a disk: decoders return false on any wrong byte.
 */
#pragma once
#include "base/buf.h"
#include "base/reader.h"
#include "engine/engine.h"
#include "mail/mailbox/delivery.h"
#include "mail/mailbox/types.h"

#define BUCKETS_MAX	      8u
#define OFFSET_STREAM	      0x80000000u	/* in message_info.offset */
#define JOURNAL_VALUE_BYTES   (48u << 10)	/* a part is closed once it is longer */
#define UID_MAX		      4000000000u

/*
 * Sizes. The tests also build this directory with MAILBOX_SMALL, where every one is so low that
 * a few dozen messages meet all boundaries; stored data of the two do not mix.
 */
#ifndef MAILBOX_SMALL
#define SIZE_OF(usual, small) (usual)
#else
#define SIZE_OF(usual, small) (small)
#endif
#define RANGE_UIDS	      SIZE_OF(50000u, 6u)	/* UIDs of one range object */
#define FRAGMENT_SEAL_BYTES   SIZE_OF(4u << 20, 2048u)	/* the append that passes it also seals */
#define BODY_MEMORY_BYTES     SIZE_OF(1u << 20, 512u)	/* longer messages are streams */
#define STREAM_CHUNK_BYTES    SIZE_OF(1u << 20, 512u)

/* A name or key made on the stack. */
struct stored_name {
	uint8_t bytes[ENGINE_NAME_BYTES_MAX];
	size_t len;
};
static inline struct slice name_slice(const struct stored_name *n)
{
	return slice_of(n->bytes, n->len);
}

bool account_id_valid(struct slice id);
struct stored_name head_name(const char account[ACCOUNT_ID_BYTES]);
struct stored_name range_name(const char account[ACCOUNT_ID_BYTES], uint32_t folder, uint32_t range);
struct stored_name fragment_name(const char account[ACCOUNT_ID_BYTES], uint8_t bucket, uint32_t fragment);
/* The ids of the deliveries that a removed fragment held. */
struct stored_name old_ids_name(const char account[ACCOUNT_ID_BYTES], uint8_t bucket, uint32_t fragment);
struct stored_name stream_name(const char account[ACCOUNT_ID_BYTES], const uint8_t id[EMAIL_ID_BYTES],
			       uint32_t chunk);
/* "<kind>.<account>.": what all such objects of an account begin with. */
struct stored_name objects_prefix(char kind, const char account[ACCOUNT_ID_BYTES]);

struct stored_name key_fixed(const char *text);
struct stored_name key_u32(char kind, uint32_t n);
struct stored_name key_place(char kind, uint8_t bucket, uint32_t fragment);
struct stored_name key_id(char kind, const uint8_t id[EMAIL_ID_BYTES]);
struct stored_name key_cursor(uint8_t bucket);
struct stored_name key_journal(uint64_t modseq, uint16_t part);
struct stored_name key_seal(void);

/* First fragment that is not merged to its end, and from which offset on. */
struct cursor {
	uint32_t fragment, offset;
};
void cursor_encode(struct buf *out, const struct cursor *c);
MUST_USE bool cursor_decode(struct slice in, struct cursor *out);

struct header {
	uint64_t version;		/* of the head: one more with each commit */
	uint64_t modseq;		/* one more with each commit that a client can see */
	uint32_t next_folder, next_subscription;
	uint32_t last_uidvalidity;
	uint64_t usage_bytes, usage_messages;
	uint64_t journal_first;		/* changes from this modseq on are in the journal */
	uint64_t nonce;			/* of the last commit */
	uint8_t buckets;
	struct cursor cursors[BUCKETS_MAX];
};
void header_encode(struct buf *out, const struct header *h);
MUST_USE bool header_decode(struct slice in, struct header *out);

struct folder {
	uint32_t id;
	char *name;			/* malloc'd, NUL-ended */
	uint32_t uidvalidity, uidnext, first_recent;
	uint8_t use;
	uint32_t messages, unseen, deleted;
	uint64_t size, deleted_size;
	uint64_t highestmodseq;
	uint64_t horizon;		/* expunges up to this modseq may be forgotten */
	uint32_t *ranges;		/* malloc'd, ascending: range objects that hold something */
	uint32_t range_count;
};
void folder_encode(struct buf *out, const struct folder *f);
/* 0, -EBADMSG or -ENOMEM. Release with folder_done. */
MUST_USE int folder_decode(struct slice in, uint32_t id, struct folder *out);
void folder_done(struct folder *f);

/* A message as ranges and the journal hold it, without its UID. */
void message_encode(struct buf *out, const struct message_info *m);
MUST_USE bool message_decode(struct reader *r, struct message_info *out);

/* x of a range: what an expunged message was. */
struct tombstone {
	uint64_t modseq;
};
void tombstone_encode(struct buf *out, const struct tombstone *t);
MUST_USE bool tombstone_decode(struct slice in, struct tombstone *out);

/* g of a range. */
struct range_state {
	uint64_t folded;		/* all changes up to this modseq are in */
	uint64_t horizon;		/* expunges up to this modseq were forgotten */
	uint32_t tombstones;
	uint64_t nonce;			/* who wrote last: two folders at work notice each other */
};
void range_state_encode(struct buf *out, const struct range_state *s);
MUST_USE bool range_state_decode(struct slice in, struct range_state *out);

enum record_kind {
	RECORD_DELIVERY = 0,		/* the merger gives it a UID */
	RECORD_HELD = 1,		/* written by an APPEND or compaction, which names it in the head */
};
/* m of a fragment. */
struct record {
	enum record_kind kind;
	bool stream;			/* the bytes at the offset are a marker */
	uint8_t attempt;		/* > 0: may be the second copy */
	uint8_t flags;
	uint8_t id[EMAIL_ID_BYTES];
	uint32_t stored_bytes;		/* in the fragment */
	uint32_t size;			/* of the message */
	uint32_t folder;
	int64_t internaldate_s;
	int16_t tz_minutes;
	struct delivery_tries tries;
};
void record_encode(struct buf *out, const struct record *r);
MUST_USE bool record_decode(struct slice in, struct record *out);

void tries_encode(struct buf *out, const struct delivery_tries *t);
MUST_USE bool tries_decode(struct reader *r, struct delivery_tries *out);

/*
 * The journal. A commit writes one key or more ("parts"); each value begins with the commit's nonce, then holds
 * changes one after the other.
 */
enum change_kind {
	CHANGE_ADD = 1,			/* folder, uid, message */
	CHANGE_FLAGS,			/* folder, mode, flags, keywords, ranges */
	CHANGE_EXPUNGE,			/* folder, {uid, bytes that die, where} */
	CHANGE_PLACE,			/* folder, {uid, new place}: compaction moved the bytes */
};
struct change {
	enum change_kind kind;
	uint32_t folder;
	struct message_info message;	/* ADD */
	uint8_t mode, flags;		/* FLAGS */
	uint64_t keywords;
	uint32_t count;			/* FLAGS: ranges; EXPUNGE, PLACE: messages */
	struct reader list;		/* these, for change_range and change_item */
};
struct change_item {
	uint32_t uid;
	uint32_t dead_bytes;		/* EXPUNGE */
	uint8_t bucket;
	uint32_t fragment, offset;
};
/* The next change; false at the end and on damage (r->bad tells). */
MUST_USE bool change_next(struct reader *r, struct change *out);
MUST_USE bool change_range(struct change *c, struct uid_range *out);
MUST_USE bool change_item(struct change *c, struct change_item *out);
