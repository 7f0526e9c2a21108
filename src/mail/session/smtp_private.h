/*
 * Inside SMTP sessions: shared by smtp.c (commands), smtp_incoming.c (a message on its way to
 * delivery) and submission.c (who may send as whom). Nobody else includes this.
 */
#pragma once
#include <errno.h>

#include "base/arena.h"
#include "base/event.h"
#include "engine/remote.h"
#include "mail/session/authc.h"
#include "mail/session/smtp.h"
#include "mail/smtp/command.h"
#include "mail/smtp/data.h"
#include "mail/smtp/header.h"
#include "mail/smtp/limits.h"

struct smtp_session;
struct incoming;

enum smtp_kind {
	SMTP_KIND_MX,
	SMTP_KIND_LMTP,
	SMTP_KIND_SUBMISSION,
};

/* One accepted RCPT; in the transaction's arena. */
struct smtp_accepted {
	struct smtp_accepted *next;
	struct smtp_rcpt rcpt;
	struct authc_target *targets;
	size_t target_count;
	size_t *places;			/* made by the body: index of each target in its list of accounts */
};

struct smtp_session {
	struct session s;		/* first */
	enum smtp_kind kind;
	char *helo;			/* what EHLO said, malloc'd; NULL before */
	bool esmtp;
	struct authc_login *login;	/* submission, after AUTH; malloc'd */
	struct arena arena;		/* of the transaction */
	bool in_mail;			/* MAIL was accepted */
	struct smtp_mail mail;
	struct smtp_accepted *first, **last;
	unsigned rcpt_count;
	size_t target_count;
	int64_t rcpt_at_us;		/* of the first RCPT: grants are good for 10 minutes */
	struct incoming *body;		/* between the first BDAT and the last */
	bool chunks_failed;		/* a chunk was refused: so are the next, until RSET (RFC 3030 §2) */
	unsigned bad_rcpts;
	unsigned idle_commands;		/* since the last message */
};

/* Append a reply. */
void smtp_reply(struct smtp_session *s, unsigned code, const char *enhanced, const char *text);
/* End the transaction: RSET, after DATA, EHLO, STARTTLS. */
void smtp_transaction_end(struct smtp_session *s);
/* Is this client, or user, counted by the rates? */
bool smtp_rates_apply(const struct smtp_session *s);
/*
 * Whether senders may ask for notices: the queue that sends them is there. LMTP has a reply for each
 * recipient, so its client knows all, and sends the notices as long as we do not take it upon us.
 */
static inline bool smtp_dsn(const struct smtp_session *s)
{
	return s->s.sv->smtp->enqueue != NULL && s->kind != SMTP_KIND_LMTP;
}

/* ---- smtp_incoming.c ---- */

enum smtp_refusal {
	SMTP_NOT_REFUSED,
	SMTP_REFUSED_SIZE,		/* 552 5.3.4 */
	SMTP_REFUSED_HEADER,		/* 552 5.3.4 */
	SMTP_REFUSED_HOPS,		/* 554 5.4.6 */
	SMTP_REFUSED_LOOP,		/* 554 5.4.6 */
	SMTP_REFUSED_MEMORY,		/* 451 4.3.0 */
	SMTP_REFUSED_LINES,		/* 550 5.6.0: bare CR, bare LF or NUL */
};

/* A message for the session's recipients. NULL: memory is short. */
struct incoming *incoming_new(struct smtp_session *s);
/* More of it, dots unstuffed. May block while delivery writes. Never fails: see incoming_finish. */
void incoming_add(struct incoming *b, struct slice bytes);
/* The same for a chunk of BDAT: looks for bare line ends too. */
void incoming_chunk(struct incoming *b, struct slice bytes);
/* n more bytes would make it larger than we take. */
bool incoming_too_large(const struct incoming *b, uint64_t n);
/* What is wrong with its chunks, for incoming_finish. */
unsigned incoming_chunk_faults(struct incoming *b);
/*
 * All of it has come: store it and write the reply, or for LMTP one reply for each recipient.
 * faults: of the framing (smtp_data.faults). Frees the body.
 */
void incoming_finish(struct incoming *b, unsigned faults);
/* Not finished: nothing is stored. NULL is fine. */
void incoming_free(struct incoming *b);

/* ---- submission.c ---- */

enum session_next submission_auth(struct smtp_session *s, const struct smtp_command *c);
/* Append "AUTH ..." with a line end before it, when there is something to offer now. */
void submission_capability(struct smtp_session *s, struct buf *out);
/* May this MAIL go on? Writes the reply when not. */
bool submission_sender_ok(struct smtp_session *s, const struct smtp_mail *mail);
