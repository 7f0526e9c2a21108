/*
 * What a mail server does with the header of a message that passes through it: write its
 * trace fields (RFC 5321 §4.4), count the hops (§6.3), and complete what its own users submit
 * (RFC 6409 §8).
 *
 * Not here: the meaning of fields, MIME (mail/message).
 */
#pragma once
#include "base/buf.h"

struct smtp_trace {
	struct slice helo;		/* what the client called itself; sanitised here */
	struct slice address;		/* "192.0.2.1", "2001:db8::1"; empty for a unix socket */
	struct slice host;		/* this node */
	struct slice id;		/* of the transaction */
	struct slice recipient;		/* "for", only for a single one; else empty */
	struct slice tls;		/* cipher's name, RFC 8314 §4.3; empty without TLS */
	bool lmtp, esmtp, authenticated, utf8;
	int64_t when_s;			/* seconds since 1970 */
};

/* "Received: from ... by ... with ... id ...; date" CRLF, folded. */
void smtp_received_write(struct buf *out, const struct smtp_trace *trace);
/* The "with" keyword of RFC 3848 and RFC 6531 §4.3: "ESMTPSA", "UTF8LMTP", ... */
const char *smtp_with_keyword(const struct smtp_trace *trace);

/*
 * Where the header ends: the offset just after the empty line. False when it is not there
 * yet. `from` is where to search on: a call on a longer prefix of the same message may give the length
 * of the prefix before, so that all calls together cost O(bytes).
 */
bool smtp_header_end(struct slice message, size_t from, size_t *end);

struct smtp_field {
	struct slice name;		/* without the colon */
	struct slice value;		/* after the colon, folding and its CRLF included */
	struct slice whole;
};
/* The next field; false at the empty line, at the end, or at a line that is no field. */
bool smtp_field_next(struct slice *header, struct smtp_field *field);

/*
 * The message starts as one does: with a field, with the empty line, or not at all. The "From " line of
 * mailbox files is let through: mail/message steps over it.
 */
bool smtp_header_starts(struct slice message);

struct smtp_header_facts {
	unsigned received;		/* Received fields */
	bool date, message_id, from, delivered_to;	/* there is such a field */
};
void smtp_header_look(struct slice header, struct smtp_header_facts *out);
/* A Delivered-To field names exactly this address (ASCII case folded): the message goes round. */
bool smtp_header_delivered_to(struct slice header, struct slice address);

/*
 * The header of a submitted message: without Bcc and Resent-Bcc (RFC 5322 §3.6.3), with Date and
 * Message-ID when they were missing (RFC 6409 §8.1 to §8.3). `header` ends with the empty line, or
 * is a whole message without one; what is no field is copied as it is.
 */
void smtp_header_complete(struct slice header, int64_t when_s, struct slice id, struct slice host,
			  struct buf *out);
