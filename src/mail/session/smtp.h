/*
 * SMTP, LMTP and submission sessions: what the three protocols of mail coming in share.
 *
 * A message goes from the socket to delivery in pieces; nothing here holds more of it than its
 * header. "250" is written when delivery_finish said that the bytes are on stable storage, and
 * never before. One struct smtp_service a process (mx: SMTP and LMTP, front: submission).
 */
#pragma once
#include "mail/mailbox/delivery.h"
#include "mail/queue/queue.h"
#include "mail/auth/rates.h"
#include "mail/session/session.h"

struct smtp_settings {
	unsigned recipients_max;	/* RFC 5321 §4.5.3.1.8 */
	unsigned hops_max;		/* Received fields, RFC 5321 §6.3 */
	int64_t idle_us;		/* silence between commands, RFC 5321 §4.5.3.2.7 */
	int64_t grant_fresh_us;		/* after so long grants to append are asked for anew; 0: 5 minutes */
	bool exempt_loopback;		/* loopback and unix sockets are free of rates */
	/* Per minute; 0: no limit. The client is an address, or the user who logged in. */
	unsigned messages_per_minute, recipients_per_minute;
};

struct smtp_service {
	struct smtp_settings set;
	struct deliverer *deliverer;
	struct rates *rates;		/* NULL: none */
	/* Where recipients go that could not be served at once; NULL: 451 for the message instead. */
	int (*enqueue)(void *queue, const struct queue_message *message);
	/* The same for bodies that come before the message: queue_spool_write, queue_spool_drop. */
	int (*spool)(void *queue, struct queue_spool *spool, struct slice bytes);
	void (*unspool)(void *queue, const struct queue_spool *spool);
	void *queue;
};

/* For session_start; session_services.smtp must be set. submission_session is in session.h. */
extern const struct session_ops smtp_session, lmtp_session;

/* The client's address is of this host, or it came over a unix socket. */
bool smtp_peer_is_local(const struct sockaddr_storage *peer);
