#include "mail/session/imap_shared.h"

#include <errno.h>
#include <stdlib.h>

#include "base/event.h"
#include "base/metrics.h"
#include "mail/imap/write.h"

#define IDLE_CHECK_US	   60000000	/* a lost notification costs at most this (design of watches) */

static const double command_bounds[] = { 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10 };
METRIC_COUNTER_BY(commands, "prickle_imap_commands", "Commands, by name; ? for malformed ones", "command",
		  imap_command_names);
METRIC_HISTOGRAM(command_seconds, "prickle_imap_command_seconds",
		 "From a command's last byte to the answer, IDLE apart", command_bounds, 1e-6);

/* ---- small commands ---- */

static void do_capability(struct imap_run *r)
{
	buf_adds(&r->out, "* ");
	imap_write_capabilities(r->s, &r->out);
	buf_adds(&r->out, "\r\n");
	imap_ok(r, "Done");
}

static void do_logout(struct imap_run *r)
{
	buf_adds(&r->out, "* BYE Good-bye\r\n");
	imap_ok(r, "Done");
	r->close = true;
}

static void do_starttls(struct imap_run *r)
{
	struct session *base = &r->s->base;

	if (base->stream.tls != NULL || session_tls(base) == NULL) {
		imap_bad(r, "TLS is on already, or not available");
		return;
	}
	imap_ok(r, "Begin TLS negotiation now");
	imap_finish(r);
	r->status = NULL;
	/* RFC 9051 §6.2.1: what was known before the handshake is forgotten; we keep nothing. */
	if (session_start_tls(base) < 0) {
		event_info(base->ev, "STARTTLS failed, closing");
		r->close = true;
	}
}

/* RFC 5161; "* ENABLED" names what this command switched on. */
static void do_enable(struct imap_run *r)
{
	struct imap_session *s = r->s;
	AUTO_BUF struct buf names = BUF_INIT(256);
	bool condstore = false;

	for (size_t i = 0; i < r->c.enable.count; i++) {
		struct slice name = r->c.enable.names[i];

		if (slice_eq_nocase(name, SLICE("IMAP4rev2"))) {
			s->rev2 = s->utf8 = true;
			buf_adds(&names, " IMAP4rev2");
		} else if (slice_eq_nocase(name, SLICE("UTF8=ACCEPT"))) {
			s->utf8 = true;
			buf_adds(&names, " UTF8=ACCEPT");
		} else if (slice_eq_nocase(name, SLICE("CONDSTORE"))) {
			condstore = true;
			buf_adds(&names, " CONDSTORE");
		} else if (slice_eq_nocase(name, SLICE("QRESYNC"))) {
			/* RFC 7162 §3.2.3: implies CONDSTORE. */
			condstore = s->qresync = true;
			buf_adds(&names, " QRESYNC");
		}
	}
	buf_adds(&r->out, "* ENABLED");
	buf_add(&r->out, buf_slice(&names));
	buf_adds(&r->out, "\r\n");
	if (condstore)
		imap_enable_condstore(r);
	imap_ok(r, "Done");
}

static void do_id(struct imap_run *r)
{
	AUTO_EVENT struct event *ev = event_child(r->s->base.ev, "imap.id");

	for (size_t i = 0; i < r->c.id.count; i++) {
		if (slice_eq_nocase(r->c.id.pairs[2 * i], SLICE("name")))
			event_slice(ev, "client", r->c.id.pairs[2 * i + 1]);
	}
	event_debug(ev, "the client names itself");
	buf_adds(&r->out, "* ID (\"name\" \"Prickle\" \"version\" \"" PRICKLE_VERSION "\")\r\n");
	imap_ok(r, "Done");
}

static void do_namespace(struct imap_run *r)
{
	/* By ticket one mailbox is opened, and no other. */
	buf_adds(&r->out, r->s->base.rights.ticket ? "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n" :
						    "* NAMESPACE ((\"\" \"/\")) ((\"" IMAP_OTHERS "\" \"/\")) NIL\r\n");
	imap_ok(r, "Done");
}

/* ---- IDLE ---- */

void imap_changed(void *arg)
{
	struct imap_session *s = arg;

	s->changed = true;
	if (s->idling)
		session_wake(&s->base);
}

static void watch(struct imap_session *s)
{
	if (s->watching || s->account == NULL)
		return;
	s->watching = account_watch(s->account, imap_changed, s, &s->watch_id) == 0;
}

static void do_idle(struct imap_run *r)
{
	struct imap_session *s = r->s;

	watch(s);
	if (!imap_sync(r, true, true)) {
		r->close = true;
		r->status = NULL;
		return;
	}
	memcpy(s->idle_tag, r->c.tag.ptr, r->c.tag.len);
	s->idle_tag[r->c.tag.len] = '\0';
	s->idling = true;
	s->idle_since_us = loop_now_us(s->base.sv->loop);
	buf_adds(&r->out, "+ idling\r\n");
	imap_send(r);
	r->status = NULL;
}

static void run_init(struct imap_run *r, struct imap_session *s)
{
	*r = (struct imap_run){
		.s = s,
		.arena = ARENA_INIT(IMAP_COMMAND_ARENA_BYTES_MAX),
		.text = BUF_INIT(IMAP_COMMAND_BYTES_MAX + 16),
		.out = BUF_INIT(IMAP_COMMAND_ARENA_BYTES_MAX),
		.code = BUF_INIT(IMAP_COMMAND_ARENA_BYTES_MAX),
		.message = "",
	};
}

static void run_done(struct imap_run *r)
{
	arena_done(&r->arena);
	buf_done(&r->text);
	buf_done(&r->out);
	buf_done(&r->code);
}

/* DONE, or a mistake; both end the IDLE (RFC 9051 §6.3.13). */
static enum session_next idle_line(struct imap_session *s)
{
	struct imap_run r;
	struct slice line;
	int err = stream_line(&s->base.stream, IMAP_LINE_PREAUTH_BYTES_MAX, true, &line);
	bool done = err > 0 && slice_eq_nocase(line, SLICE("DONE"));

	s->idling = false;
	if (err == 0 || (err < 0 && err != -EMSGSIZE && err != -EBADMSG))
		return SESSION_CLOSE;
	run_init(&r, s);
	r.c.tag = slice_str(s->idle_tag);
	(void)imap_shared_refresh(s);
	if (imap_has(s, POLICY_MAILBOX_READ) != 0 && !imap_sync(&r, true, false)) {
		r.close = true;
	} else {
		if (done)
			imap_ok(&r, "Done");
		else
			imap_bad(&r, "DONE was expected");
		imap_finish(&r);
	}
	run_done(&r);
	return r.close ? SESSION_CLOSE : SESSION_GO_ON;
}

static enum session_next ticket_over(struct session *base)
{
	stream_write(&base->stream, SLICE("* BYE The ticket's time is over\r\n"));
	return SESSION_CLOSE;
}

static enum session_next imap_wake(struct session *base)
{
	struct imap_session *s = (struct imap_session *)(void *)base;
	struct imap_run r;
	bool ok;

	if (session_over(base))
		return ticket_over(base);
	if (!s->idling)
		return SESSION_GO_ON;
	(void)imap_shared_refresh(s);
	if (imap_has(s, POLICY_MAILBOX_READ) == 0)
		return SESSION_GO_ON;
	run_init(&r, s);
	ok = imap_sync(&r, true, true) && !r.close;
	run_done(&r);
	return ok ? SESSION_GO_ON : SESSION_CLOSE;
}

static enum session_next imap_timeout(struct session *base)
{
	struct imap_session *s = (struct imap_session *)(void *)base;
	int64_t idle_us = loop_now_us(base->sv->loop) - s->idle_since_us;

	if (session_over(base))
		return ticket_over(base);
	if (s->idling && idle_us < base->sv->set.idle_timeout_us)
		return imap_wake(base);
	stream_write(&base->stream, SLICE("* BYE Idle for too long\r\n"));
	return SESSION_CLOSE;
}

static int64_t imap_idle_us(struct session *base)
{
	struct imap_session *s = (struct imap_session *)(void *)base;

	if (s->idling)
		return MIN(MIN(IDLE_CHECK_US, base->sv->set.idle_timeout_us), session_ticket_left_us(base));
	/* From the connection on: NOOP does not buy time before login. */
	return s->state == IMAP_NOT_AUTHENTICATED ? session_login_left_us(base)
						  : MIN(base->sv->set.idle_timeout_us, session_ticket_left_us(base));
}

/* ---- dispatch ---- */

/* May expunges be told at the end of this command? RFC 9051 §7.5.1. */
static bool expunges_allowed(const struct imap_command *c)
{
	if (c->name == IMAP_FETCH || c->name == IMAP_STORE || c->name == IMAP_SEARCH ||
	    c->name == IMAP_SORT || c->name == IMAP_THREAD)
		return c->uid;
	return true;
}

static void dispatch(struct imap_run *r)
{
	if (!imap_may(r))
		return;
	switch (r->c.name) {
	case IMAP_CAPABILITY: do_capability(r); break;
	case IMAP_LOGOUT: do_logout(r); break;
	case IMAP_STARTTLS: do_starttls(r); break;
	case IMAP_AUTHENTICATE: imap_do_authenticate(r); break;
	case IMAP_LOGIN: imap_do_login(r); break;
	case IMAP_ENABLE: do_enable(r); break;
	case IMAP_SELECT: case IMAP_EXAMINE:
		watch(r->s);
		imap_do_select(r);
		break;
	case IMAP_CREATE: imap_do_create(r); break;
	case IMAP_DELETE: imap_do_delete(r); break;
	case IMAP_RENAME: imap_do_rename(r); break;
	case IMAP_SUBSCRIBE: case IMAP_UNSUBSCRIBE: imap_do_subscribe(r); break;
	case IMAP_LIST: imap_do_list(r); break;
	case IMAP_LSUB: imap_do_lsub(r); break;
	case IMAP_NAMESPACE: do_namespace(r); break;
	case IMAP_STATUS: imap_do_status(r); break;
	case IMAP_IDLE: do_idle(r); break;
	case IMAP_ID: do_id(r); break;
	case IMAP_GETQUOTA: case IMAP_GETQUOTAROOT: case IMAP_SETQUOTA: imap_do_quota(r); break;
	case IMAP_SETACL: case IMAP_DELETEACL: case IMAP_GETACL: case IMAP_LISTRIGHTS: case IMAP_MYRIGHTS: imap_do_acl(r); break;
	case IMAP_CLOSE: case IMAP_UNSELECT: imap_do_close(r); break;
	case IMAP_EXPUNGE: imap_do_expunge(r); break;
	case IMAP_SEARCH: case IMAP_SORT: case IMAP_THREAD: imap_do_search(r); break;
	case IMAP_FETCH: imap_do_fetch(r); break;
	case IMAP_STORE: imap_do_store(r); break;
	case IMAP_COPY: case IMAP_MOVE: imap_do_copy(r); break;
	case IMAP_NOOP: case IMAP_CHECK:
		r->full_sync = true;
		imap_ok(r, "Done");
		break;
	case IMAP_APPEND:
		/* imap_append took it before. */
		imap_bad(r, "APPEND needs a literal");
		break;
	}
}

static void parse_failed(struct imap_run *r, enum imap_parsed parsed, const char *why)
{
	switch (parsed) {
	case IMAP_PARSED:
		break;
	case IMAP_NO_TAG:
		r->c.tag = SLICE("*");
		imap_bad(r, why);
		break;
	case IMAP_UNKNOWN: case IMAP_WRONG_STATE: case IMAP_BAD_SYNTAX:
		imap_bad(r, why);
		break;
	case IMAP_TOO_MUCH:
		imap_no(r, "LIMIT", why);
		break;
	case IMAP_BAD_NAME:
		imap_no(r, "CANNOT", why);
		break;
	case IMAP_BAD_MAILBOX_USE:
		imap_no(r, "USEATTR", "No such special use");
		break;
	}
}

/* Updates, then the tagged answer. */
static enum session_next finish_command(struct imap_run *r)
{
	struct session *base = &r->s->base;

	if (r->status != NULL) {
		(void)imap_shared_refresh(r->s);
		/* Whoever may not read any more is told of no changes. */
		if (r->s->box != NULL && !r->close && imap_has(r->s, POLICY_MAILBOX_READ) != 0 &&
		    !imap_sync(r, expunges_allowed(&r->c), r->full_sync)) {
			r->close = true;
			return SESSION_CLOSE;
		}
		imap_finish(r);
	}
	if (r->close)
		return SESSION_CLOSE;
	if (base->sv->set.bad_commands_max > 0 && base->bad_commands > base->sv->set.bad_commands_max) {
		buf_adds(&r->out, "* BYE Too many mistakes\r\n");
		imap_send(r);
		return SESSION_CLOSE;
	}
	return SESSION_GO_ON;
}

/* Read n literal bytes behind the text (keep) or only away. False: the session is over. */
static bool read_literal(struct imap_run *r, uint64_t n, bool keep)
{
	struct stream *stream = &r->s->base.stream;
	struct slice bytes;

	while (n > 0) {
		if (stream_peek(stream, &bytes) <= 0)
			return false;
		bytes = slice_head(bytes, n > SIZE_MAX ? SIZE_MAX : (size_t)n);
		if (keep)
			buf_add(&r->text, bytes);
		stream_consume(stream, bytes.len);
		n -= bytes.len;
	}
	return true;
}

/*
 * The rest of a command that we refused while its literals are still coming: with LITERAL+
 * the client has sent them already (RFC 7888 §4), so they are read away.
 */
static bool skip_command(struct imap_run *r, struct imap_literal literal)
{
	struct slice line;

	for (;;) {
		int err;

		if (literal.waits)
			return true;	/* the client was not asked for it and sends nothing more */
		if (literal.bytes > IMAP_DISCARD_BYTES_MAX || !read_literal(r, literal.bytes, false))
			return false;
		err = stream_line(&r->s->base.stream, IMAP_COMMAND_BYTES_MAX, true, &line);
		if (err <= 0)
			return err == -EMSGSIZE || err == -EBADMSG;
		buf_reset(&r->text);
		switch (imap_assemble(&r->text, line, IMAP_COMMAND_BYTES_MAX, &literal)) {
		case IMAP_COMPLETE: case IMAP_COMMAND_TOO_BIG:
			return true;
		case IMAP_LITERAL: case IMAP_APPEND_LITERAL: case IMAP_LITERAL_TOO_BIG:
			break;
		}
	}
}

static enum session_next refuse(struct imap_run *r, struct imap_literal literal)
{
	enum session_next next;
	AUTO_BUF struct buf tag = BUF_INIT(IMAP_TAG_BYTES_MAX + 1);

	/* r->text, where the tag stands, is used for the rest. */
	buf_add(&tag, r->c.tag);
	r->c.tag = buf_slice(&tag);
	if (!skip_command(r, literal)) {
		imap_finish(r);
		buf_adds(&r->out, "* BYE [TOOBIG] The literal is too large\r\n");
		imap_send(r);
		return SESSION_CLOSE;
	}
	next = finish_command(r);
	return next;
}

/* A first line that ends in a literal: is it worth asking for? */
static bool head_is_fine(struct imap_run *r)
{
	const char *why = "";
	enum imap_name name;
	enum imap_parsed parsed = imap_parse_head(buf_slice(&r->text), r->s->state, &r->c.tag, &name,
						  &why);

	if (parsed != IMAP_PARSED)
		parse_failed(r, parsed, why);
	return parsed == IMAP_PARSED;
}

static void line_failed(struct imap_run *r, int err)
{
	r->c.tag = SLICE("*");
	imap_bad(r, err == -EMSGSIZE ? "The line is too long" : "The line has a bare CR");
}

static void parse_and_run(struct imap_run *r)
{
	struct imap_session *s = r->s;
	struct imap_parse_context context = { .utf8 = s->utf8, .state = s->state };
	enum imap_parsed parsed;
	const char *why;

	if (s->box != NULL) {
		context.stars.seq = mailbox_count(s->box);
		context.stars.uid = mailbox_uid(s->box, context.stars.seq);
	}
	int64_t began_us = world_mono_us(s->base.sv->world);
	parsed = imap_parse(&r->arena, buf_slice(&r->text), &context, &r->c, &why);
	if (parsed == IMAP_PARSED)
		dispatch(r);
	else
		parse_failed(r, parsed, why);
	metric_add(&commands, parsed == IMAP_PARSED ? r->c.name : 0, 1);
	if (!s->idling)
		metric_observe(&command_seconds, (uint64_t)(world_mono_us(s->base.sv->world) - began_us));
}

static enum session_next read_command(struct imap_run *r)
{
	struct imap_session *s = r->s;
	struct stream *stream = &s->base.stream;
	size_t max = s->state == IMAP_NOT_AUTHENTICATED ? IMAP_LINE_PREAUTH_BYTES_MAX
							: IMAP_COMMAND_BYTES_MAX;

	for (;;) {
		struct imap_literal literal = { 0 };
		struct slice line;
		int err = stream_line(stream, max, true, &line);

		if (err == -EMSGSIZE || err == -EBADMSG) {
			line_failed(r, err);
			return finish_command(r);
		}
		if (err <= 0)
			return SESSION_CLOSE;
		/* An empty line between commands is a common slip; nothing to answer. */
		if (line.len == 0 && r->text.len == 0)
			return SESSION_GO_ON;
		switch (imap_assemble(&r->text, line, max, &literal)) {
		case IMAP_COMPLETE:
			parse_and_run(r);
			return finish_command(r);
		case IMAP_LITERAL:
			if (!head_is_fine(r))
				return refuse(r, literal);
			if (literal.waits) {
				stream_write(stream, SLICE("+ Ready for literal data\r\n"));
				if (stream_flush(stream) != 0)
					return SESSION_CLOSE;
			}
			if (!read_literal(r, literal.bytes, true))
				return SESSION_CLOSE;
			break;
		case IMAP_APPEND_LITERAL: {
			enum session_next next;

			if (!head_is_fine(r))
				return refuse(r, literal);
			next = imap_append(r, &literal);
			return next == SESSION_CLOSE ? next : finish_command(r);
		}
		case IMAP_LITERAL_TOO_BIG:
			if (head_is_fine(r))
				imap_bad(r, "The literal is too large");
			return refuse(r, literal);
		case IMAP_COMMAND_TOO_BIG:
			r->c.tag = SLICE("*");
			imap_bad(r, "The command is too long");
			return finish_command(r);
		}
	}
}

static enum session_next imap_command(struct session *base)
{
	struct imap_session *s = (struct imap_session *)(void *)base;
	struct imap_run r;
	enum session_next next;

	if (session_over(base))
		return ticket_over(base);
	if (s->idling)
		return idle_line(s);
	run_init(&r, s);
	next = read_command(&r);
	imap_shared_trim(s);
	run_done(&r);
	return next;
}

static enum session_next imap_greet(struct session *base)
{
	struct imap_session *s = (struct imap_session *)(void *)base;
	AUTO_BUF struct buf out = BUF_INIT(4096);

	s->state = IMAP_NOT_AUTHENTICATED;
	buf_adds(&out, "* OK [");
	imap_write_capabilities(s, &out);
	buf_adds(&out, "] ");
	buf_adds(&out, base->sv->set.hostname);
	buf_adds(&out, " ready\r\n");
	stream_write(&base->stream, buf_slice(&out));
	return SESSION_GO_ON;
}

static void imap_stopping(struct session *base)
{
	stream_write(&base->stream, SLICE("* BYE [UNAVAILABLE] The server is stopping\r\n"));
}

static void imap_done(struct session *base)
{
	imap_logout((struct imap_session *)(void *)base);
}

const struct session_ops imap_session = {
	.name = "imap",
	.struct_bytes = sizeof(struct imap_session),
	.refusal = "* BYE [UNAVAILABLE] Too many connections, try again later\r\n",
	.greet = imap_greet,
	.command = imap_command,
	.wake = imap_wake,
	.timeout = imap_timeout,
	.stopping = imap_stopping,
	.idle_us = imap_idle_us,
	.done = imap_done,
};
