#include "mail/pop3/command.h"

#include "mail/pop3/limits.h"

enum shape {
	SHAPE_NONE,
	SHAPE_TEXT,			/* one argument, all that follows */
	SHAPE_MESSAGE,
	SHAPE_MAYBE_MESSAGE,
	SHAPE_MESSAGE_LINES,
	SHAPE_AUTH,
};

static const struct {
	struct slice name;
	enum pop3_verb verb;
	enum shape shape;
} verbs[] = {
	{ SLICE_INIT("USER"), POP3_USER, SHAPE_TEXT },
	{ SLICE_INIT("PASS"), POP3_PASS, SHAPE_TEXT },
	{ SLICE_INIT("STAT"), POP3_STAT, SHAPE_NONE },
	{ SLICE_INIT("UIDL"), POP3_UIDL, SHAPE_MAYBE_MESSAGE },
	{ SLICE_INIT("LIST"), POP3_LIST, SHAPE_MAYBE_MESSAGE },
	{ SLICE_INIT("RETR"), POP3_RETR, SHAPE_MESSAGE },
	{ SLICE_INIT("DELE"), POP3_DELE, SHAPE_MESSAGE },
	{ SLICE_INIT("TOP"), POP3_TOP, SHAPE_MESSAGE_LINES },
	{ SLICE_INIT("QUIT"), POP3_QUIT, SHAPE_NONE },
	{ SLICE_INIT("CAPA"), POP3_CAPA, SHAPE_NONE },
	{ SLICE_INIT("AUTH"), POP3_AUTH, SHAPE_AUTH },
	{ SLICE_INIT("STLS"), POP3_STLS, SHAPE_NONE },
	{ SLICE_INIT("UTF8"), POP3_UTF8, SHAPE_NONE },
	{ SLICE_INIT("NOOP"), POP3_NOOP, SHAPE_NONE },
	{ SLICE_INIT("RSET"), POP3_RSET, SHAPE_NONE },
};

/* The next word; blanks around it are dropped. */
static struct slice take_word(struct slice *rest)
{
	struct slice s = *rest;
	size_t n = 0;

	while (s.len > 0 && s.ptr[0] == ' ')
		s = slice_from(s, 1);
	while (n < s.len && s.ptr[n] != ' ')
		n++;
	*rest = slice_from(s, n);
	return slice_head(s, n);
}

static bool take_message(struct slice *rest, struct pop3_command *c)
{
	uint64_t n;

	if (!slice_u64(take_word(rest), UINT32_MAX, &n) || n == 0)
		return false;
	c->has_message = true;
	c->message = (uint32_t)n;
	return true;
}

static bool read_arguments(enum shape shape, struct slice rest, struct pop3_command *c)
{
	uint64_t n;

	switch (shape) {
	case SHAPE_TEXT:
		/* One blank is the separator; the others may be part of a password (RFC 1939 §7). */
		c->text = slice_from(rest, 1);
		return c->text.len > 0;
	case SHAPE_NONE:
		break;
	case SHAPE_MAYBE_MESSAGE:
		if (slice_trim(rest).len > 0 && !take_message(&rest, c))
			return false;
		break;
	case SHAPE_MESSAGE:
		if (!take_message(&rest, c))
			return false;
		break;
	case SHAPE_MESSAGE_LINES:
		if (!take_message(&rest, c) || !slice_u64(take_word(&rest), UINT32_MAX, &n))
			return false;
		c->lines = (uint32_t)n;
		break;
	case SHAPE_AUTH:
		c->text = take_word(&rest);
		c->initial = take_word(&rest);
		if (c->initial.len == 0)
			c->initial = (struct slice){ 0 };
		break;
	}
	return take_word(&rest).len == 0;
}

enum pop3_verdict pop3_command_parse(struct slice line, struct pop3_command *out)
{
	struct pop3_command c = { 0 };
	size_t n = 0, i = 0;

	while (n < line.len && line.ptr[n] != ' ')
		n++;
	while (i < ARRAY_LEN(verbs) && !slice_eq_nocase(slice_head(line, n), verbs[i].name))
		i++;
	if (i == ARRAY_LEN(verbs))
		return POP3_UNKNOWN_COMMAND;
	c.verb = verbs[i].verb;
	if (memchr(line.ptr, '\0', line.len) != NULL ||
	    !read_arguments(verbs[i].shape, slice_from(line, n), &c))
		return POP3_BAD_ARGUMENTS;
	*out = c;
	return POP3_PARSED;
}

void pop3_writer_init(struct pop3_writer *w)
{
	*w = (struct pop3_writer){ .line_start = true, .line_empty = true };
}

void pop3_writer_top(struct pop3_writer *w, uint32_t body_lines)
{
	pop3_writer_init(w);
	w->cut = true;
	w->lines_left = body_lines;
}

/* One line has ended: has TOP enough? */
static void count_line(struct pop3_writer *w)
{
	if (!w->cut)
		return;
	if (w->in_body)
		w->lines_left--;
	else if (w->line_empty)
		w->in_body = true;
	w->done = w->in_body && w->lines_left == 0;
}

void pop3_writer_add(struct pop3_writer *w, struct slice bytes, struct buf *out)
{
	while (bytes.len > 0 && !w->done) {
		const uint8_t *lf = memchr(bytes.ptr, '\n', bytes.len);
		size_t n = lf == NULL ? bytes.len : (size_t)(lf - bytes.ptr) + 1;
		size_t text = lf == NULL ? n : n - 1;

		if (w->line_start && bytes.ptr[0] == '.')
			buf_addc(out, '.');
		buf_add(out, slice_head(bytes, text));
		if (lf != NULL)
			buf_adds(out, (text > 0 ? bytes.ptr[text - 1] : w->last) == '\r' ? "\n" : "\r\n");
		if (text > 1 || (text == 1 && bytes.ptr[0] != '\r'))
			w->line_empty = false;
		w->any = true;
		w->last = bytes.ptr[n - 1];
		w->line_start = lf != NULL;
		if (lf != NULL) {
			count_line(w);
			w->line_empty = true;
		}
		bytes = slice_from(bytes, n);
	}
}

void pop3_writer_end(struct pop3_writer *w, struct buf *out)
{
	/* An empty message needs no CRLF of its own. */
	if (!w->line_start && w->any)
		buf_adds(out, "\r\n");
	buf_adds(out, ".\r\n");
}
