/*
 * Queue entries: one message with the recipients that still wait for it.
 *
 * Object "q.<shard>": key 'e' + be64 due time (us) + 16 bytes of id -> the entry's value, so the
 * first keys are the next ones due. The body is the object "b.queue.<id hex>": its bytes as
 * delivery had them, key "s" the summary, key "c" the time of its making. Body first, entry
 * second; removed in the opposite order; a body without entry is collected after an hour.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "mail/queue/queue.h"

#define QUEUE_ID_BYTES	TRANSACTION_ID_BYTES
#define QUEUE_KEY_BYTES (1 + 8 + QUEUE_ID_BYTES)

enum queue_state {
	QUEUE_WAITING,			/* to be delivered */
	QUEUE_FAILED,			/* given up: the sender is still to be told */
	QUEUE_STORED,			/* delivered: the sender asked to be told, and is not yet */
};

struct queue_item {
	struct slice address;		/* of RCPT */
	struct slice account;
	struct slice delivered_to;
	struct slice orcpt;
	uint8_t notify;
	uint8_t state;			/* enum queue_state */
	struct slice status;		/* "5.2.2 mailbox full", of the last try */
	struct delivery_tries tries;
};

struct queue_entry {
	uint8_t id[QUEUE_ID_BYTES];	/* the transaction's, but for `part` */
	uint8_t part;			/* messages with many recipients make several entries */
	int64_t due_us;
	int64_t created_us;
	uint32_t attempts;
	bool delay_told;
	bool utf8;
	uint8_t ret;
	struct slice sender, envid, trace;
	int64_t internaldate_s;
	uint64_t body_bytes;
	struct queue_item *items;
	size_t count;
};

/* The transaction's id, which repetitions of a delivery must keep. */
void queue_transaction(const struct queue_entry *e, uint8_t out[TRANSACTION_ID_BYTES]);
/* Key of an entry: QUEUE_KEY_BYTES into out. */
void queue_key(int64_t due_us, const uint8_t id[QUEUE_ID_BYTES], uint8_t out[QUEUE_KEY_BYTES]);
/* out->err tells. */
void queue_entry_encode(struct buf *out, const struct queue_entry *e);
/*
 * Key and value as stored. False: not an entry (damage, or another version). Strings point into
 * `value`; items are in the arena.
 */
MUST_USE bool queue_entry_decode(struct arena *arena, struct slice key, struct slice value,
				 struct queue_entry *out);

/* "q.<shard>" and "b.queue.<hex>"; out is NUL-ended. */
void queue_shard_name(unsigned shard, char out[16]);
void queue_body_name(const uint8_t id[QUEUE_ID_BYTES], char out[48]);
unsigned queue_shard_of(const uint8_t id[QUEUE_ID_BYTES]);

/* How mx and front put messages in: see smtp.h, enqueue. */
struct queue_writer {
	struct engine *engine;		/* without a grant: the channel may add to the queue */
	struct world *world;
};
/* 0 when the message is on stable storage; negative errno: nothing was promised. `writer` is a queue_writer. */
MUST_USE int queue_enqueue(void *writer, const struct queue_message *message);
