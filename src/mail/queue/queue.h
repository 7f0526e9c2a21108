/*
 * The durable queue: messages whose recipients could not be served at once.
 *
 * SMTP has one answer for all recipients of a message. Those who could not be stored within some
 * seconds, or went over quota meanwhile, go here with the body before that answer, and the queue
 * role tries again or tells the sender (RFC 3464).
 */
#pragma once
#include "base/slice.h"
#include "mail/mailbox/delivery.h"

enum queue_reason {
	QUEUE_RETRY,			/* store away, disk full, or auth away: deliver later */
	QUEUE_OVER_QUOTA,		/* the account is full: tell the sender, 5.2.2 */
	QUEUE_DELIVERED,		/* stored, and the sender asked for NOTIFY=SUCCESS (RFC 3461 §4.1) */
};

struct queue_recipient {
	struct slice address;		/* of RCPT, canonical */
	struct slice account;		/* ACCOUNT_ID_BYTES; the one behind the address */
	struct slice delivered_to;	/* canonical address of the account */
	struct slice orcpt;		/* as the client gave it; may be empty */
	unsigned notify;		/* SMTP_NOTIFY_...; 0: not said */
	enum queue_reason reason;
	struct delivery_tries tries;	/* for a repetition with the same transaction id */
};

/*
 * A body above 1 MiB on its way into the queue, written while it arrives (queue_spool_write). Zero it
 * but for the transaction.
 */
struct queue_spool {
	uint8_t transaction[TRANSACTION_ID_BYTES];
	uint64_t bytes;			/* written so far */
	int err;			/* the first failure sticks: it cannot be queued */
};

/* All slices are borrowed during the call. */
struct queue_message {
	uint8_t transaction[TRANSACTION_ID_BYTES];
	struct slice sender;		/* MAIL FROM, canonical; empty: the null sender */
	struct slice envid;		/* xtext; may be empty */
	unsigned ret;			/* enum smtp_ret */
	bool utf8;			/* the client used SMTPUTF8 */
	struct slice trace;		/* the Received field of this reception */
	struct slice body;		/* as delivery_write got it, <= 1 MiB; */
	const struct queue_spool *spool;	/* or, when not NULL, a larger one that was written before */
	struct slice summary;		/* as delivery_finish got it */
	int64_t internaldate_s;
	const struct queue_recipient *recipients;
	size_t count;
};
