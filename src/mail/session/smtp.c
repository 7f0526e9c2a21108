#include "mail/session/smtp.h"

#include <netinet/in.h>
#include <stdlib.h>

#include "base/metrics.h"
#include "mail/session/smtp_private.h"
#include "mail/smtp/reply.h"
#include "sys/tls.h"

#define ARENA_BYTES	 ((size_t)SMTP_TRANSACTION_MEMORY)

static const char *const refusals[] = { "relay",    "no_user",   "address", "disabled", "over_quota",
					"alias_loop", "temporary", "rate",    "count" };
METRIC_COUNTER_BY(refused_recipients, "prickle_smtp_refused_recipients",
		  "Recipients that RCPT refused", "reason", refusals);
enum { REFUSED_RATE = 7, REFUSED_COUNT = 8 };
METRIC_COUNTER(bad_commands, "prickle_smtp_bad_commands", "Commands that were not understood");

bool smtp_peer_is_local(const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *v4 = (const void *)peer;
	const struct sockaddr_in6 *v6 = (const void *)peer;

	if (peer->ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	if (peer->ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
		       (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127);
	return true;
}

static struct smtp_session *of(struct session *s)
{
	return container_of(s, struct smtp_session, s);
}

void smtp_reply(struct smtp_session *s, unsigned code, const char *enhanced, const char *text)
{
	AUTO_BUF struct buf out = BUF_INIT(8192);

	smtp_reply_write(&out, code, enhanced, slice_str(text));
	stream_write(&s->s.stream, buf_slice(&out));
}

void smtp_transaction_end(struct smtp_session *s)
{
	incoming_free(s->body);
	s->body = NULL;
	s->chunks_failed = false;
	s->in_mail = false;
	s->mail = (struct smtp_mail){ 0 };
	s->first = NULL;
	s->last = &s->first;
	s->rcpt_count = 0;
	s->target_count = 0;
	arena_reset(&s->arena);
}

bool smtp_rates_apply(const struct smtp_session *s)
{
	const struct smtp_service *service = s->s.sv->smtp;

	return service->rates != NULL && s->kind != SMTP_KIND_LMTP &&
	       !(service->set.exempt_loopback && smtp_peer_is_local(&s->s.peer));
}

static bool within_rate(struct smtp_session *s, enum rate_kind kind, unsigned per_minute)
{
	uint8_t bytes[RATE_CLIENT_BYTES];

	if (!smtp_rates_apply(s))
		return true;
	/* A user's sessions may be in several processes. */
	if (s->login != NULL)
		return authc_take(s->s.sv->authc, s->login->grant, kind);
	return rates_take(s->s.sv->smtp->rates, kind, rate_client(&s->s.peer, bytes), per_minute, 1,
			  loop_now_us(s->s.sv->loop));
}

/* A command that we do not take. Some are human; many are not: the session ends. */
static enum session_next bad(struct smtp_session *s, unsigned code, const char *enhanced,
			     const char *text)
{
	metric_add(&bad_commands, 0, 1);
	if (++s->s.bad_commands > SMTP_BAD_COMMANDS) {
		smtp_reply(s, 421, "4.7.0", "Too many errors, closing the connection");
		return SESSION_CLOSE;
	}
	smtp_reply(s, code, enhanced, text);
	return SESSION_GO_ON;
}

static enum session_next refuse(struct smtp_session *s, enum smtp_verdict v)
{
	switch (v) {
	case SMTP_UNKNOWN_COMMAND:
		return bad(s, 500, "5.5.2", "Command not recognized");
	case SMTP_BAD_SENDER:
		return bad(s, 501, "5.1.7", "Bad sender address syntax");
	case SMTP_BAD_SENDER_DOMAIN:
		return bad(s, 501, "5.1.8", "Bad sender domain");
	case SMTP_BAD_RECIPIENT:
		return bad(s, 501, "5.1.3", "Bad recipient address syntax");
	case SMTP_BAD_RECIPIENT_DOMAIN:
		return bad(s, 501, "5.1.2", "Bad recipient domain");
	case SMTP_UNKNOWN_PARAMETER:
		return bad(s, 555, "5.5.4", "Parameter not recognized");
	case SMTP_NEEDS_UTF8:
		return bad(s, 553, "5.6.7", "Address needs SMTPUTF8");
	case SMTP_SHORT_OF_MEMORY:
		smtp_reply(s, 452, "4.3.1", "Out of memory, try later");
		return SESSION_GO_ON;
	case SMTP_BAD_SYNTAX:
	case SMTP_BAD_PARAMETER:
	case SMTP_PARSED:
		break;
	}
	return bad(s, 501, "5.5.4", "Syntax error in parameters or arguments");
}

/* ---- the commands ---- */

static void write_capabilities(struct smtp_session *s)
{
	AUTO_BUF struct buf text = BUF_INIT(4096), out = BUF_INIT(8192);

	buf_adds(&text, s->s.sv->set.hostname);
	buf_adds(&text, "\nPIPELINING\nSIZE ");
	buf_dec(&text, s->s.sv->set.message_bytes_max);
	buf_adds(&text, "\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\nENHANCEDSTATUSCODES");
	if (smtp_dsn(s))
		buf_adds(&text, "\nDSN");
	buf_adds(&text, "\nLIMITS RCPTMAX=");
	buf_dec(&text, s->s.sv->smtp->set.recipients_max);
	if (s->s.stream.tls == NULL && session_tls(&s->s) != NULL)
		buf_adds(&text, "\nSTARTTLS");
	if (s->kind == SMTP_KIND_SUBMISSION && s->login == NULL)
		submission_capability(s, &text);
	smtp_reply_write(&out, 250, NULL, buf_slice(&text));
	stream_write(&s->s.stream, buf_slice(&out));
}

static enum session_next do_helo(struct smtp_session *s, const struct smtp_command *c)
{
	if ((c->verb == SMTP_LHLO) != (s->kind == SMTP_KIND_LMTP))
		return bad(s, 500, "5.5.1", s->kind == SMTP_KIND_LMTP ? "This is LMTP, say LHLO" :
									"This is SMTP, say EHLO");
	char *helo = slice_strdup(c->arg);
	if (helo == NULL) {
		smtp_reply(s, 452, "4.3.1", "Out of memory, try later");
		return SESSION_GO_ON;
	}
	smtp_transaction_end(s);
	free(s->helo);
	s->helo = helo;
	s->esmtp = c->verb != SMTP_HELO;
	if (s->esmtp)
		write_capabilities(s);
	else
		smtp_reply(s, 250, NULL, s->s.sv->set.hostname);
	return SESSION_GO_ON;
}

static void smtp_logout(struct smtp_session *s)
{
	if (s->login != NULL)
		authc_logout(s->s.sv->authc, s->login->grant);
	free(s->login);
	s->login = NULL;
}

static enum session_next do_starttls(struct smtp_session *s)
{
	if (s->s.stream.tls != NULL)
		return bad(s, 503, "5.5.1", "TLS is on already");
	if (session_tls(&s->s) == NULL) {
		smtp_reply(s, 454, "4.7.0", "TLS is not available now");
		return SESSION_GO_ON;
	}
	if (s->body != NULL)
		return bad(s, 503, "5.5.1", "Finish the message first");
	/* Bytes behind the command would be taken for commands inside of TLS: nothing of them is read. */
	if (stream_pending(&s->s.stream)) {
		smtp_reply(s, 503, "5.5.1", "Commands behind STARTTLS, closing the connection");
		return SESSION_CLOSE;
	}
	smtp_reply(s, 220, "2.0.0", "Ready to start TLS");
	if (session_start_tls(&s->s) < 0) {
		/* Neither side knows which protocol it speaks now: say nothing more. */
		buf_reset(&s->s.stream.out);
		return SESSION_CLOSE;
	}
	/* RFC 3207 §4.2: forget everything that was said before, who the client is as well. */
	smtp_transaction_end(s);
	free(s->helo);
	s->helo = NULL;
	smtp_logout(s);
	return SESSION_GO_ON;
}

static enum session_next do_mail(struct smtp_session *s, const struct smtp_command *c)
{
	const struct smtp_mail *mail = &c->mail;

	if (s->helo == NULL)
		return bad(s, 503, "5.5.1", s->kind == SMTP_KIND_LMTP ? "Send LHLO first" :
									"Send EHLO first");
	if (s->in_mail)
		return bad(s, 503, "5.5.1", "Sender already given");
	if (!smtp_dsn(s) && (mail->ret != SMTP_RET_UNSAID || mail->envid.len > 0))
		return refuse(s, SMTP_UNKNOWN_PARAMETER);
	if (s->kind == SMTP_KIND_SUBMISSION && !submission_sender_ok(s, mail))
		return SESSION_GO_ON;
	if (mail->size_bytes > s->s.sv->set.message_bytes_max) {
		smtp_reply(s, 552, "5.3.4", "Message is too large");
		return SESSION_GO_ON;
	}
	if (!within_rate(s, RATE_MESSAGES, s->s.sv->smtp->set.messages_per_minute)) {
		smtp_reply(s, 450, "4.7.1", "Too many messages, slow down");
		return SESSION_GO_ON;
	}
	s->in_mail = true;
	s->mail = *mail;
	smtp_reply(s, 250, "2.1.0", "Sender ok");
	return SESSION_GO_ON;
}

static const struct {
	unsigned code;
	const char *enhanced, *text;
} rcpt_answers[] = {
	[AUTHC_RCPT_OK] = { 250, "2.1.5", "Recipient ok" },
	[AUTHC_RCPT_NOT_LOCAL] = { 550, "5.7.1", "Relaying denied" },
	[AUTHC_RCPT_NO_USER] = { 550, "5.1.1", "No such user here" },
	[AUTHC_RCPT_BAD_ADDRESS] = { 553, "5.1.3", "Bad recipient address" },
	[AUTHC_RCPT_DISABLED] = { 550, "5.2.1", "Mailbox is disabled" },
	[AUTHC_RCPT_OVER_QUOTA] = { 452, "4.2.2", "Mailbox is full" },
	[AUTHC_RCPT_ALIAS_LOOP] = { 550, "5.4.6", "Alias loop" },
	[AUTHC_RCPT_TEMPORARY] = { 451, "4.3.0", "Directory is not available, try later" },
};

static enum session_next refuse_rcpt(struct smtp_session *s, uint32_t reason, unsigned code,
				     const char *enhanced, const char *text)
{
	metric_add(&refused_recipients, reason, 1);
	/* "Later" is no guess at addresses, and a large mailing may hear it often. */
	if (code >= 500 && ++s->bad_rcpts > SMTP_BAD_RECIPIENTS) {
		smtp_reply(s, 421, "4.7.0", "Too many bad recipients, closing the connection");
		return SESSION_CLOSE;
	}
	smtp_reply(s, code, enhanced, text);
	return SESSION_GO_ON;
}

/* An alias of several accounts, some of them full: only the queue can serve one and notify of the other. */
static bool needs_queue(const struct authc_target *targets, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (targets[i].over_quota)
			return true;
	return false;
}

static enum session_next do_rcpt(struct smtp_session *s, const struct smtp_command *c)
{
	const struct smtp_service *service = s->s.sv->smtp;
	struct authc_target *targets = NULL;
	size_t count = 0;

	if (!s->in_mail)
		return bad(s, 503, "5.5.1", "Send MAIL first");
	if (s->body != NULL || s->chunks_failed)
		return bad(s, 503, "5.5.1", "Finish the message first");
	if (!smtp_dsn(s) && (c->rcpt.notify != 0 || c->rcpt.orcpt.len > 0))
		return refuse(s, SMTP_UNKNOWN_PARAMETER);
	/* RFC 5321 §4.5.3.1.10: the client sends the others in another transaction. */
	if (s->rcpt_count >= service->set.recipients_max)
		return refuse_rcpt(s, REFUSED_COUNT, 452, "4.5.3", "Too many recipients");
	if (!within_rate(s, RATE_RECIPIENTS, service->set.recipients_per_minute))
		return refuse_rcpt(s, REFUSED_RATE, 450, "4.7.1", "Too many recipients, slow down");

	enum authc_rcpt_result r = authc_rcpt(s->s.sv->authc, c->rcpt.to.text, s->mail.size_bytes,
					      &s->arena, &targets, &count);
	if (r == AUTHC_RCPT_OK && service->enqueue == NULL && needs_queue(targets, count))
		r = AUTHC_RCPT_OVER_QUOTA;
	if (r != AUTHC_RCPT_OK)
		return refuse_rcpt(s, (uint32_t)r - 1, rcpt_answers[r].code, rcpt_answers[r].enhanced,
				   rcpt_answers[r].text);
	struct smtp_accepted *a = ARENA_NEW(&s->arena, struct smtp_accepted);
	if (a == NULL || s->target_count + count > SMTP_TARGETS)
		return refuse_rcpt(s, REFUSED_COUNT, 452, "4.5.3", "Too many recipients");
	a->rcpt = c->rcpt;
	a->targets = targets;
	a->target_count = count;
	if (s->first == NULL)
		s->rcpt_at_us = loop_now_us(s->s.sv->loop);
	*s->last = a;
	s->last = &a->next;
	s->rcpt_count++;
	s->target_count += count;
	s->idle_commands = 0;
	smtp_reply(s, 250, "2.1.5", "Recipient ok");
	return SESSION_GO_ON;
}

/* True when a message may begin now; else the answer is written (bad: *next says how it goes on). */
static bool may_send(struct smtp_session *s, enum session_next *next)
{
	if (!s->in_mail)
		*next = bad(s, 503, "5.5.1", "Send MAIL first");
	else if (s->rcpt_count == 0)
		*next = bad(s, 503, "5.5.1", "No valid recipients");
	else
		return true;
	return false;
}

static enum session_next do_data(struct smtp_session *s)
{
	enum smtp_data_event e = SMTP_DATA_MORE;
	enum session_next next;
	struct smtp_data framing;

	if (!may_send(s, &next))
		return next;
	if (s->body != NULL || s->chunks_failed)
		return bad(s, 503, "5.5.1", "The message began with BDAT");
	if (s->mail.body == SMTP_BODY_BINARYMIME)
		return bad(s, 503, "5.5.1", "BINARYMIME needs BDAT");
	struct incoming *b = s->body = incoming_new(s);
	if (b == NULL) {
		smtp_reply(s, 452, "4.3.1", "Out of memory, try later");
		smtp_transaction_end(s);
		return SESSION_GO_ON;
	}
	smtp_reply(s, 354, NULL, "End data with <CR><LF>.<CR><LF>");
	smtp_data_init(&framing);
	while (e == SMTP_DATA_MORE) {
		struct slice bytes, text;
		if (stream_peek(&s->s.stream, &bytes) <= 0)
			return SESSION_CLOSE;	/* RFC 5321 §4.1.1.4: no end, no message */
		struct slice in = bytes;
		while ((e = smtp_data_next(&framing, &in, &text)) == SMTP_DATA_TEXT)
			incoming_add(b, text);
		stream_consume(&s->s.stream, bytes.len - in.len);
	}
	if (e == SMTP_DATA_DOUBT) {
		smtp_reply(s, 550, "5.6.0", "Bare CR, LF or NUL around a dot, closing the connection");
		event_warn(s->s.ev, "the end of a message is ambiguous, ending the session");
		return SESSION_CLOSE;
	}
	s->body = NULL;
	incoming_finish(b, framing.faults);
	smtp_transaction_end(s);
	s->idle_commands = 0;
	return SESSION_GO_ON;
}

/* Read one chunk; b may be NULL: into nothing. False: the connection is gone. */
static bool read_chunk(struct smtp_session *s, uint64_t left, struct incoming *b)
{
	while (left > 0) {
		struct slice bytes;
		if (stream_peek(&s->s.stream, &bytes) <= 0)
			return false;
		bytes = slice_head(bytes, left > bytes.len ? bytes.len : (size_t)left);
		if (b != NULL)
			incoming_chunk(b, bytes);
		stream_consume(&s->s.stream, bytes.len);
		left -= bytes.len;
	}
	return true;
}

/*
 * The chunk's bytes come whatever we think of it (RFC 3030 §2): read them, then answer; for LMTP the
 * last one with a reply for each recipient (RFC 2033 §4.3). The chunks that a client has sent behind
 * a refused recipient or chunk are no mistakes of its own.
 */
static enum session_next refuse_chunk(struct smtp_session *s, const struct smtp_command *c,
				      unsigned code, const char *enhanced, const char *text)
{
	if (c->chunk_bytes > s->s.sv->set.message_bytes_max) {
		smtp_reply(s, 552, "5.3.4", "Chunk is too large, closing the connection");
		return SESSION_CLOSE;
	}
	if (!read_chunk(s, c->chunk_bytes, NULL))
		return SESSION_CLOSE;
	if (!s->in_mail)
		return bad(s, code, enhanced, text);
	unsigned count = s->kind == SMTP_KIND_LMTP && c->chunk_last && s->rcpt_count > 0 ?
				 s->rcpt_count : 1;
	for (unsigned i = 0; i < count; i++)
		smtp_reply(s, code, enhanced, text);
	return SESSION_GO_ON;
}

static enum session_next do_bdat(struct smtp_session *s, const struct smtp_command *c)
{
	if (!s->in_mail || s->rcpt_count == 0)
		return refuse_chunk(s, c, 503, "5.5.1",
				    s->in_mail ? "No valid recipients" : "Send MAIL first");
	if (s->chunks_failed)
		return refuse_chunk(s, c, 503, "5.5.1", "An earlier chunk was refused");
	if (s->body == NULL && (s->body = incoming_new(s)) == NULL) {
		s->chunks_failed = true;
		return refuse_chunk(s, c, 452, "4.3.1", "Out of memory, try later");
	}
	if (incoming_too_large(s->body, c->chunk_bytes)) {
		incoming_free(s->body);
		s->body = NULL;
		s->chunks_failed = true;
		return refuse_chunk(s, c, 552, "5.3.4", "Message is too large");
	}
	if (!read_chunk(s, c->chunk_bytes, s->body))
		return SESSION_CLOSE;
	if (!c->chunk_last) {
		smtp_reply(s, 250, "2.0.0", "Chunk ok");
		return SESSION_GO_ON;
	}
	struct incoming *b = s->body;
	s->body = NULL;
	incoming_finish(b, incoming_chunk_faults(b));
	smtp_transaction_end(s);
	s->idle_commands = 0;
	return SESSION_GO_ON;
}

static enum session_next dispatch(struct smtp_session *s, const struct smtp_command *c)
{
	switch (c->verb) {
	case SMTP_EHLO:
	case SMTP_HELO:
	case SMTP_LHLO:
		return do_helo(s, c);
	case SMTP_MAIL:
		return do_mail(s, c);
	case SMTP_RCPT:
		return do_rcpt(s, c);
	case SMTP_DATA:
		return do_data(s);
	case SMTP_BDAT:
		return do_bdat(s, c);
	case SMTP_RSET:
		smtp_transaction_end(s);
		smtp_reply(s, 250, "2.0.0", "Ok");
		return SESSION_GO_ON;
	case SMTP_NOOP:
		smtp_reply(s, 250, "2.0.0", "Ok");
		return SESSION_GO_ON;
	case SMTP_QUIT:
		smtp_reply(s, 221, "2.0.0", "Bye");
		return SESSION_CLOSE;
	case SMTP_VRFY:
		/* RFC 5321 §3.5.3: we do not tell who is here before there is a message. */
		smtp_reply(s, 252, "2.0.0", "Send some mail, it may arrive");
		return SESSION_GO_ON;
	case SMTP_HELP:
		smtp_reply(s, 214, "2.0.0", "See RFC 5321 and https://www.rfc-editor.org/");
		return SESSION_GO_ON;
	case SMTP_STARTTLS:
		return do_starttls(s);
	case SMTP_AUTH:
		if (s->kind == SMTP_KIND_SUBMISSION)
			return submission_auth(s, c);
		break;
	case SMTP_EXPN:
		break;
	}
	return bad(s, 502, "5.5.1", "Command not implemented");
}

/* ---- what the session core calls ---- */

static enum session_next smtp_command(struct session *session)
{
	struct smtp_session *s = of(session);
	struct smtp_command c;
	struct slice line;
	/* An initial response may be long (RFC 4954 §4). */
	size_t max = s->kind == SMTP_KIND_SUBMISSION && s->login == NULL ? SMTP_AUTH_LINE :
									  SMTP_COMMAND_LINE;
	int rc = stream_line(&session->stream, max, false, &line);

	if (rc == -EMSGSIZE)
		return bad(s, 500, "5.5.6", "Line is too long");
	if (rc == -EBADMSG)
		return bad(s, 500, "5.5.2", "Lines end with CR LF, and have neither elsewhere");
	if (rc <= 0)
		return SESSION_CLOSE;
	if (++s->idle_commands > SMTP_IDLE_COMMANDS) {
		smtp_reply(s, 421, "4.7.0", "Too many commands without a message");
		return SESSION_CLOSE;
	}
	enum smtp_verdict v = smtp_command_parse(&s->arena, line, s->mail.smtputf8, &c);
	/*
	 * A BDAT that we cannot read is followed by bytes whose number we do not know: the next line
	 * may be the message of somebody.
	 */
	if (v != SMTP_PARSED && c.verb == SMTP_BDAT) {
		smtp_reply(s, 501, "5.5.4", "Bad chunk size, closing the connection");
		return SESSION_CLOSE;
	}
	enum session_next next = v == SMTP_PARSED ? dispatch(s, &c) : refuse(s, v);
	if (!s->in_mail)
		arena_reset(&s->arena);
	return next;
}

static enum session_next greet(struct session *session, enum smtp_kind kind, const char *protocol)
{
	struct smtp_session *s = of(session);
	AUTO_BUF struct buf text = BUF_INIT(1024);

	s->kind = kind;
	arena_init(&s->arena, ARENA_BYTES);
	s->last = &s->first;
	buf_adds(&text, session->sv->set.hostname);
	buf_addc(&text, ' ');
	buf_adds(&text, protocol);
	buf_adds(&text, " Prickle");
	smtp_reply(s, 220, NULL, buf_cstr(&text));
	return SESSION_GO_ON;
}

static enum session_next greet_mx(struct session *s)
{
	return greet(s, SMTP_KIND_MX, "ESMTP");
}

static enum session_next greet_lmtp(struct session *s)
{
	return greet(s, SMTP_KIND_LMTP, "LMTP");
}

static enum session_next greet_submission(struct session *s)
{
	return greet(s, SMTP_KIND_SUBMISSION, "ESMTP");
}

static enum session_next smtp_timeout(struct session *s)
{
	smtp_reply(of(s), 421, "4.4.2", "Timeout, closing the connection");
	return SESSION_CLOSE;
}

static void smtp_stopping(struct session *s)
{
	smtp_reply(of(s), 421, "4.3.2", "Service is stopping, try again");
}

static int64_t smtp_idle_us(struct session *s)
{
	return s->sv->smtp->set.idle_us;
}

static void smtp_parked(struct session *session)
{
	struct smtp_session *s = of(session);

	if (!s->in_mail)
		arena_done(&s->arena);
}

static void smtp_done(struct session *session)
{
	struct smtp_session *s = of(session);

	smtp_transaction_end(s);
	arena_done(&s->arena);
	smtp_logout(s);
	free(s->helo);
}

#define SMTP_OPS(text, greeting)                                                                   \
	{                                                                                          \
		.refusal = "421 4.7.0 Too many connections, try again later\r\n",                  \
		.name = (text), .struct_bytes = sizeof(struct smtp_session), .greet = (greeting),  \
		.command = smtp_command, .timeout = smtp_timeout, .stopping = smtp_stopping,       \
		.idle_us = smtp_idle_us, .parked = smtp_parked, .done = smtp_done,                 \
	}

const struct session_ops smtp_session = SMTP_OPS("smtp", greet_mx);
const struct session_ops lmtp_session = SMTP_OPS("lmtp", greet_lmtp);
const struct session_ops submission_session = SMTP_OPS("submission", greet_submission);
