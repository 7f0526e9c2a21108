/*
 * SMTP, submission and LMTP command lines (RFC 5321 §4.1, RFC 2033, and the extensions that
 * EHLO offers), from bytes to one struct.
 *
 * Syntax only: whether a command may come now, and whether an address is ours, the session
 * decides. What the parser refuses has a verdict whose comment is the answer to send.
 */
#pragma once
#include "mail/smtp/path.h"

enum smtp_verb {
	SMTP_EHLO = 1,
	SMTP_HELO,
	SMTP_LHLO,
	SMTP_MAIL,
	SMTP_RCPT,
	SMTP_DATA,
	SMTP_BDAT,
	SMTP_RSET,
	SMTP_NOOP,
	SMTP_QUIT,
	SMTP_VRFY,
	SMTP_EXPN,
	SMTP_HELP,
	SMTP_STARTTLS,
	SMTP_AUTH,
};

enum smtp_verdict {
	SMTP_PARSED,
	SMTP_UNKNOWN_COMMAND,		/* 500 5.5.2 */
	SMTP_BAD_SYNTAX,		/* 501 5.5.4 */
	SMTP_BAD_SENDER,		/* 501 5.1.7 */
	SMTP_BAD_SENDER_DOMAIN,		/* 501 5.1.8 */
	SMTP_BAD_RECIPIENT,		/* 501 5.1.3 */
	SMTP_BAD_RECIPIENT_DOMAIN,	/* 501 5.1.2 */
	SMTP_BAD_PARAMETER,		/* 501 5.5.4 */
	SMTP_UNKNOWN_PARAMETER,		/* 555 5.5.4 */
	SMTP_NEEDS_UTF8,		/* 553 5.6.7: RFC 6531 §3.5 */
	SMTP_SHORT_OF_MEMORY,		/* 452 4.3.1 */
};

enum smtp_body {
	SMTP_BODY_7BIT,
	SMTP_BODY_8BITMIME,		/* RFC 6152 */
	SMTP_BODY_BINARYMIME,		/* RFC 3030 */
};

enum smtp_ret {
	SMTP_RET_UNSAID,
	SMTP_RET_FULL,			/* RFC 3461 §4.3 */
	SMTP_RET_HDRS,
};

/* NOTIFY (RFC 3461 §4.1): bits; 0 when it was not given. NEVER stands alone. */
enum {
	SMTP_NOTIFY_NEVER = 1,
	SMTP_NOTIFY_SUCCESS = 2,
	SMTP_NOTIFY_FAILURE = 4,
	SMTP_NOTIFY_DELAY = 8,
};

struct smtp_mail {
	struct smtp_path from;
	uint64_t size_bytes;		/* RFC 1870; 0: not said */
	enum smtp_body body;
	bool smtputf8;
	enum smtp_ret ret;
	struct slice envid;		/* as it came, xtext; in the arena */
};

struct smtp_rcpt {
	struct smtp_path to;
	unsigned notify;
	struct slice orcpt;		/* "type;xtext" as it came; in the arena */
};

struct smtp_command {
	enum smtp_verb verb;
	/*
	 * EHLO, HELO, LHLO: the name; VRFY, EXPN, HELP, NOOP: the argument; AUTH: the mechanism.
	 * Borrowed from the line.
	 */
	struct slice arg;
	/* AUTH: the initial response in base64, "=" for an empty one; {NULL, 0}: not given. */
	struct slice initial;
	struct smtp_mail mail;
	struct smtp_rcpt rcpt;
	uint64_t chunk_bytes;		/* BDAT */
	bool chunk_last;
};

/*
 * Parse one line without its CRLF.
 *
 * arena     gets addresses and parameters of MAIL and RCPT
 * line      borrowed during the call; `arg` and `initial` point into it
 * smtputf8  the transaction's MAIL had SMTPUTF8 (for RCPT)
 * out       verb is set for every verdict but SMTP_UNKNOWN_COMMAND; the rest on SMTP_PARSED
 *
 * O(line) time.
 */
MUST_USE enum smtp_verdict smtp_command_parse(struct arena *arena, struct slice line,
					      bool smtputf8, struct smtp_command *out);

/* RFC 3461 §4: xtext. Appends the decoded bytes; false when it is not xtext. */
MUST_USE bool smtp_xtext_decode(struct slice xtext, struct buf *out);
void smtp_xtext_encode(struct slice raw, struct buf *out);
