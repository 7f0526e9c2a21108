/*
 * Delivery status notifications: what a sender is told about recipients (RFC 3464, RFC 3461 §6,
 * in the container of RFC 6522). A sender who used SMTPUTF8 gets the international forms of
 * RFC 6533, which may hold addresses as they are; all others get ASCII.
 */
#pragma once
#include "base/buf.h"
#include "mail/queue/entry.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED };

struct dsn {
	const char *hostname;		/* reporting MTA */
	const struct queue_entry *entry;
	struct slice original;		/* body as stored; all of it */
	int64_t now_s;
	int64_t give_up_s;		/* for DSN_DELAYED: until when it is tried */
};

/* Does this item belong into a notice of that kind (its state, and what NOTIFY asked for)? */
bool dsn_wants(const struct queue_entry *e, const struct queue_item *it, enum dsn_action action);
/*
 * Append the whole message, CRLF lines, for the items that dsn_wants. RET=FULL brings the
 * original back up to QUEUE_DSN_ORIGINAL_BYTES_MAX, else its header. out->err tells.
 */
void dsn_write(struct buf *out, const struct dsn *d, enum dsn_action action);
