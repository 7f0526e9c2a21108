/*
 * Queue entries: one message with the recipients that still wait for it.
 *
 * Object "q.<shard>": key 'e' + be64 due time (us) + 16 bytes of id -> the entry's value, so the
 * first keys are the next ones due. The body is the object "b.queue.<transaction hex>": its bytes as
 * delivery had them, key "s" the summary, key "c" the time of its making. What is above 1 MiB goes
 * on in "b.queue.<transaction hex>.<k>", k = 1, 2, ..., a MiB each; these are written while the message
 * arrives, and "s" comes last, with key "f", the time of that. Entries of one transaction
 * (`part`) share the body.
 *
 * Body first, entry second; removed in the opposite order. A body without entry is collected
 * an hour after "f" (or "c"), a piece whose first object is gone at once. An entry without
 * recipients asks for its body to be removed: who may only add to the queue gets rid of it so.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "mail/queue/queue.h"

#define QUEUE_ID_BYTES	TRANSACTION_ID_BYTES
#define QUEUE_CHUNK_BYTES (1u << 20)
#define QUEUE_BODY_NAME_BYTES 64
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
	uint8_t part;			/* messages with many recipients make several entries, */
	bool shared;			/* which share the body then */
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

/* "q.<shard>"; NUL-ended. */
void queue_shard_name(unsigned shard, char out[16]);
/* "b.queue.<hex>" for chunk 0, "b.queue.<hex>.<chunk>" for the others; NUL-ended. */
void queue_body_name(const uint8_t transaction[TRANSACTION_ID_BYTES], uint64_t chunk,
		     char out[QUEUE_BODY_NAME_BYTES]);
/* The name's parts. False: not the name of a body. */
MUST_USE bool queue_body_parse(struct slice name, uint8_t transaction[TRANSACTION_ID_BYTES],
			       uint64_t *chunk);
/* Is this entry (its id) of that transaction, whatever its part? */
bool queue_is_of(const uint8_t id[QUEUE_ID_BYTES], const uint8_t transaction[TRANSACTION_ID_BYTES]);
unsigned queue_shard_of(const uint8_t id[QUEUE_ID_BYTES]);

/* How mx and front put messages in: see smtp.h, enqueue. */
struct queue_writer {
	struct engine *engine;		/* without a grant: the channel may add to the queue */
	struct world *world;
};
/* 0 when the message is on stable storage; negative errno: nothing was promised. `writer` is a queue_writer. */
MUST_USE int queue_enqueue(void *writer, const struct queue_message *message);
/* Append to a large body. 0, or negative errno, also kept in spool->err; then nothing more is written. */
int queue_spool_write(void *writer, struct queue_spool *spool, struct slice bytes);
/* It is not needed, or cannot be: have the queue remove what was written. Best effort: see above. */
void queue_spool_drop(void *writer, const struct queue_spool *spool);
