/*
 * APPEND and MULTIAPPEND (RFC 9051 §6.3.12, RFC 3502, RFC 6855 §4). The message goes from the
 * stream to the mailbox layer in pieces, and through the MIME parser on the way, so that its
 * summary is there when the last byte is.
 */
#include <errno.h>

#include "mail/message/summary.h"
#include "mail/session/imap.h"

struct appending {
	struct imap_run *r;
	struct append *append;
	bool failed;			/* the answer is set; literals are only read away */
	bool closed;			/* the connection is gone or must go */
	size_t messages;
};

static void fail(struct appending *a, enum mailbox_result result)
{
	if (!a->failed)
		imap_result(a->r, result, true, NULL);
	a->failed = true;
}

/* Read n bytes of the message; into the mailbox unless it failed before. */
static void read_message(struct appending *a, uint64_t n, struct mime_stream *mime)
{
	struct stream *stream = &a->r->s->base.stream;
	struct slice bytes;

	while (n > 0) {
		if (stream_peek(stream, &bytes) <= 0) {
			a->closed = true;
			return;
		}
		bytes = slice_head(bytes, n > SIZE_MAX ? SIZE_MAX : (size_t)n);
		if (!a->failed) {
			enum mailbox_result result = append_write(a->append, bytes);

			if (mime != NULL)
				mime_stream_feed(mime, bytes);
			if (result != MAILBOX_OK)
				fail(a, result);
		}
		stream_consume(stream, bytes.len);
		n -= bytes.len;
	}
}

/* RFC 7888 §4: rather close than read away a literal that nobody wants. */
static void close_session(struct appending *a)
{
	imap_finish(a->r);
	buf_adds(&a->r->out, "* BYE [TOOBIG] The literal is too large, or not expected\r\n");
	imap_send(a->r);
	a->closed = true;
}

static void begin_message(struct appending *a, const struct imap_append_part *part, uint64_t bytes)
{
	struct imap_run *r = a->r;
	struct append_meta meta = {
		.internaldate_s = part->has_date ? part->date_s
						 : world_real_us(r->s->base.sv->world) / 1000000,
		.tz_minutes = part->has_date ? part->zone_minutes : 0,
	};
	enum mailbox_result result;

	if (a->failed)
		return;
	if (bytes > r->s->base.sv->set.message_bytes_max) {
		/* RFC 7889 §4 */
		imap_no(r, "TOOBIG", "The message is too large");
		a->failed = true;
		return;
	}
	if (bytes == 0) {
		imap_no(r, NULL, "An empty message cannot be stored");
		a->failed = true;
		return;
	}
	if (++a->messages > IMAP_APPEND_MESSAGES_MAX) {
		imap_no(r, "LIMIT", "Too many messages in one APPEND");
		a->failed = true;
		return;
	}
	struct session_object o = imap_object_at(r->s, &r->at);
	uint32_t rights = session_has(&r->s->base, POLICY_MAILBOX_SEEN | POLICY_MAILBOX_FLAG | POLICY_MAILBOX_DELETE, &o);

	if (!imap_flags(r, r->at.account, &part->flags, (rights & POLICY_MAILBOX_FLAG) != 0, &meta.flags, &meta.keywords)) {
		a->failed = true;
		return;
	}
	/* RFC 4314 §4: flags that may not be set are left out, and the message is stored. */
	meta.flags &= imap_flags_allowed(rights);
	if ((rights & POLICY_MAILBOX_FLAG) == 0)
		meta.keywords = 0;
	result = append_message(a->append, &meta, bytes);
	if (result != MAILBOX_OK)
		fail(a, result);
}

static void one_message(struct appending *a, const struct imap_append_part *part,
			const struct imap_literal *literal)
{
	struct stream *stream = &a->r->s->base.stream;
	AUTO_ARENA struct arena arena = ARENA_INIT(MIME_ARENA_BYTES);
	AUTO_BUF struct buf summary = BUF_INIT(1u << 20);
	struct mime_stream *mime;

	begin_message(a, part, literal->bytes);
	if (literal->waits) {
		if (a->failed)
			return;		/* the client waits for "+" and gets the tagged NO instead */
		stream_write(stream, SLICE("+ Ready for the message\r\n"));
		if (stream_flush(stream) != 0) {
			a->closed = true;
			return;
		}
	} else if (a->failed && literal->bytes > 4 * a->r->s->base.sv->set.message_bytes_max) {
		close_session(a);
		return;
	}
	mime = a->failed ? NULL : mime_stream_new(&arena);
	read_message(a, literal->bytes, mime);
	if (a->failed || a->closed)
		return;
	if (mime != NULL)
		summary_encode(&summary, mime_stream_end(mime));
	/* No memory for a summary: readers parse the message instead. */
	if (summary.err != 0)
		buf_reset(&summary);
	enum mailbox_result result = append_message_end(a->append, buf_slice(&summary));
	if (result != MAILBOX_OK)
		fail(a, result);
}

/* The next line: the end of the command, or what stands before one more message. */
static enum imap_assembled next_line(struct appending *a, bool utf8, struct imap_literal *literal)
{
	struct imap_run *r = a->r;
	struct slice line;
	int err = stream_line(&r->s->base.stream, IMAP_LINE_PREAUTH_BYTES_MAX, true, &line);

	*literal = (struct imap_literal){ .waits = true };
	if (err == -EMSGSIZE || err == -EBADMSG)
		return IMAP_COMMAND_TOO_BIG;
	if (err <= 0) {
		a->closed = true;
		return IMAP_COMPLETE;
	}
	bool closed = !utf8 || (line.len > 0 && line.ptr[0] == ')');

	line = slice_from(line, utf8 && closed ? 1 : 0);
	buf_reset(&r->text);
	if (line.len == 0)
		return closed ? IMAP_COMPLETE : IMAP_COMMAND_TOO_BIG;
	switch (imap_assemble(&r->text, line, IMAP_COMMAND_BYTES_MAX, literal)) {
	case IMAP_APPEND_LITERAL:
		return closed ? IMAP_APPEND_LITERAL : IMAP_COMMAND_TOO_BIG;
	case IMAP_COMPLETE:
		literal->waits = true;
		return IMAP_COMMAND_TOO_BIG;	/* something else: a mistake */
	default:
		return IMAP_COMMAND_TOO_BIG;
	}
}

static void bad_syntax(struct appending *a, const char *why)
{
	if (!a->failed)
		imap_bad(a->r, why);
	a->failed = true;
}

static void append_messages(struct appending *a, struct imap_append_part *part,
			    struct imap_literal *literal, const struct imap_parse_context *context)
{
	const char *why;

	for (;;) {
		enum imap_assembled next;

		one_message(a, part, literal);
		if (a->closed || (a->failed && literal->waits))
			return;
		next = next_line(a, part->utf8, literal);
		if (a->closed || next == IMAP_COMPLETE)
			return;
		if (next != IMAP_APPEND_LITERAL) {
			bad_syntax(a, "A message, or the end of the command, was expected");
			/* What it announced comes now, and is no command. */
			if (!literal->waits)
				close_session(a);
			return;
		}
		if (imap_parse_append(&a->r->arena, buf_slice(&a->r->text), context, NULL, part,
				      &why) != IMAP_PARSED)
			bad_syntax(a, why);
	}
}

static void commit(struct appending *a)
{
	struct imap_run *r = a->r;
	struct append_result done;
	enum mailbox_result result = append_commit(a->append, &r->arena, &done);

	if (result != MAILBOX_OK) {
		fail(a, result);
		return;
	}
	/* RFC 4315 §3 */
	buf_adds(&r->code, "APPENDUID ");
	buf_dec(&r->code, done.uidvalidity);
	buf_addc(&r->code, ' ');
	imap_write_uids(&r->code, done.uids, done.count);
	imap_ok(r, "Stored");
}

enum session_next imap_append(struct imap_run *r, struct imap_literal *literal)
{
	struct imap_parse_context context = { .utf8 = r->s->utf8, .state = r->s->state };
	struct appending a = { .r = r };
	struct imap_append_part part;
	const char *why = "";
	enum imap_parsed parsed;
	AUTO_BUF struct buf head = BUF_INIT(IMAP_COMMAND_BYTES_MAX + 16);

	/* r->text is used again for further messages; tag and mailbox stand in the head. */
	buf_add(&head, buf_slice(&r->text));
	parsed = imap_parse_append(&r->arena, buf_slice(&head), &context, &r->c, &part, &why);
	r->c.tag = arena_dup(&r->arena, r->c.tag);
	if (parsed == IMAP_PARSED && !imap_may(r)) {
		a.failed = true;
	} else if (parsed == IMAP_PARSED) {
		enum mailbox_result result = append_begin(r->at.account, r->at.name, &a.append);

		if (result != MAILBOX_OK)
			fail(&a, result);
	} else if (parsed == IMAP_BAD_NAME) {
		imap_no(r, "CANNOT", why);
		a.failed = true;
	} else if (parsed == IMAP_TOO_MUCH) {
		imap_no(r, "LIMIT", why);
		a.failed = true;
	} else {
		bad_syntax(&a, why);
	}
	append_messages(&a, &part, literal, &context);
	if (!a.failed && !a.closed)
		commit(&a);
	append_abort(a.append);
	return a.closed ? SESSION_CLOSE : SESSION_GO_ON;
}
