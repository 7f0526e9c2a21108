/*
 * The host's side of the rings in shared memory (prickle/spine_ring.h): pure functions over bytes that
 * the other side may change at any moment.
 *
 * Each counter of ours lives in a struct of our own and is only published to the ring, never read back; each
 * counter of theirs is read once and compared before it is used; slots are copied, then judged. The fuzz
 * target spine_ring gives them any bytes.
 */
#pragma once
#include <prickle/spine_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the writer of an inbox remembers. */
struct inbox_writer {
	uint32_t head;
	uint32_t medium_next;
	uint32_t medium_used;		/* bit set: has been given to a message at least once */
	uint32_t medium_held;		/* bit set: a call is using it */
	uint32_t medium_until[SPINE_INBOX_MEDIUM];	/* free when the tail has come here */
};

/* Take up where the ring stands; a ring that makes no sense is emptied. */
void inbox_begin(struct inbox_writer *w, struct spine_inbox *in);
/* Free slots; 0 also when the tail makes no sense. */
uint32_t inbox_credits(const struct inbox_writer *w, const struct spine_inbox *in);
/* The next free slot, to be filled in place, or NULL; inbox_publish makes it count. */
struct spine_message *inbox_slot(const struct inbox_writer *w, struct spine_inbox *in);
void inbox_publish(struct inbox_writer *w, struct spine_inbox *in);
/* A medium buffer that no waiting message uses, held until inbox_medium_release; or -ENOBUFS. */
int inbox_medium_hold(struct inbox_writer *w, const struct spine_inbox *in);
/* posted: the message that was put last uses it; else it is free at once. */
void inbox_medium_release(struct inbox_writer *w, uint32_t buffer, bool posted);

/* What the reader of an outbox ring remembers. */
struct outbox_reader {
	uint32_t tail, medium_tail;
	uint64_t malformed, resets;
};

void outbox_begin(struct outbox_reader *r, struct spine_outbox *ring);
bool outbox_waiting(const struct outbox_reader *r, const struct spine_outbox *ring);
/*
 * Take the next good message. 1, or 0: none waits (*out is then undefined). medium: SPINE_MEDIUM_BYTES, or NULL. What is
 * malformed is counted and passed over. O(slots) at most.
 */
int outbox_take(struct outbox_reader *r, struct spine_outbox *ring, struct spine_message *out,
		void *medium);
