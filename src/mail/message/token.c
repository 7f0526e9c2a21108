#include "mail/message/token.h"

enum { ATEXT = 1, MIME_TOKEN = 2 };

/* RFC 5322 §3.2.3 atext, RFC 6532 above 0x7f; RFC 2045 §5.1 tokens have the dot and lack "/?=". */
static const uint8_t classes[256] = {
	['!'] = 3, ['#' ... '\''] = 3, ['*'] = 3, ['+'] = 3, ['-'] = 3, ['.'] = MIME_TOKEN, ['/'] = ATEXT,
	['0' ... '9'] = 3, ['='] = ATEXT, ['?'] = ATEXT, ['A' ... 'Z'] = 3, ['^' ... '~'] = 3,
	[0x80 ... 0xff] = 3,
};

bool token_atext(uint8_t c)
{
	return classes[c] & ATEXT;
}

bool token_mime(uint8_t c)
{
	return classes[c] & MIME_TOKEN;
}

static enum token_result rest_of(const struct token *t)
{
	return t->at < t->end ? TOKEN_MORE : TOKEN_END;
}

static void add(struct buf *out, const uint8_t *from, const uint8_t *to)
{
	if (out != NULL && to > from)
		buf_add(out, slice_of(from, (size_t)(to - from)));
}

/*
 * The inside of a quoted string, domain literal or comment: bytes that need a closer look. Adds what
 * stands before the byte and says where the next run starts.
 */
static const uint8_t *special(struct token *t, struct buf *out, const uint8_t *start, bool keep_backslash)
{
	const uint8_t *at = t->at;

	switch (*at) {
	case 0:
		add(out, start, at);
		if (out != NULL)
			buf_add(out, SLICE("\xef\xbf\xbd"));
		return at + 1;
	case '\n':
		add(out, start, at > start && at[-1] == '\r' ? at - 1 : at);
		return at + 1;
	case '\\':
		if (at + 1 == t->end) {
			t->at++;
			return start;
		}
		/* obs-qp: a backslash before CR, LF or NUL stays a backslash (RFC 5322 §4.1) */
		if (at[1] == '\r' || at[1] == '\n' || at[1] == 0)
			return start;
		t->at++;
		if (keep_backslash)
			return start;
		add(out, start, at);
		return t->at;
	default:
		return start;
	}
}

static enum token_result skip_comment(struct token *t)
{
	unsigned int level = 1;

	if (t->comment != NULL)
		buf_reset(t->comment);
	const uint8_t *start = ++t->at;
	for (; t->at < t->end; t->at++) {
		if (*t->at == '(') {
			level++;
		} else if (*t->at == ')') {
			if (--level == 0) {
				add(t->comment, start, t->at);
				t->at++;
				return rest_of(t);
			}
		} else {
			start = special(t, t->comment, start, false);
			if (t->at == t->end)
				break;
		}
	}
	if (t->comment != NULL)
		buf_reset(t->comment);		/* an unfinished comment names nobody */
	return TOKEN_BAD;
}

enum token_result token_skip(struct token *t)
{
	while (t->at < t->end) {
		uint8_t c = *t->at;

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			t->at++;
		else if (c != '(')
			return TOKEN_MORE;
		else if (skip_comment(t) == TOKEN_BAD)
			return TOKEN_BAD;
	}
	return TOKEN_END;
}

enum token_result token_atom(struct token *t, struct buf *out)
{
	const uint8_t *start = t->at;

	while (t->at < t->end && token_atext(*t->at))
		t->at++;
	if (t->at == start)
		return TOKEN_BAD;
	add(out, start, t->at);
	return token_skip(t);
}

enum token_result token_dot_atom(struct token *t, struct buf *out)
{
	for (;;) {
		enum token_result r = token_atom(t, out);
		if (r != TOKEN_MORE || *t->at != '.')
			return r;
		t->at++;
		buf_addc(out, '.');
		/* RFC 5322 §4.4 allows blanks around the dots. */
		if (token_skip(t) != TOKEN_MORE)
			return TOKEN_BAD;
	}
}

enum token_result token_mime_token(struct token *t, struct buf *out)
{
	const uint8_t *start = t->at;

	while (t->at < t->end && token_mime(*t->at))
		t->at++;
	add(out, start, t->at);
	return token_skip(t);
}

enum token_result token_quoted(struct token *t, struct buf *out)
{
	const uint8_t *start = ++t->at;

	for (; t->at < t->end; t->at++) {
		if (*t->at == '"') {
			add(out, start, t->at);
			t->at++;
			return token_skip(t);
		}
		start = special(t, out, start, false);
		if (t->at == t->end)
			break;
	}
	return TOKEN_BAD;
}

static enum token_result atom_or_dot(struct token *t, struct buf *out)
{
	const uint8_t *start = t->at;

	while (t->at < t->end && (token_atext(*t->at) || *t->at == '.'))
		t->at++;
	add(out, start, t->at);
	return token_skip(t);
}

enum token_result token_phrase(struct token *t, struct buf *out)
{
	if (t->at == t->end)
		return TOKEN_END;
	if (*t->at == '.')
		return TOKEN_BAD;
	for (;;) {
		enum token_result r = *t->at == '"' ? token_quoted(t, out) : atom_or_dot(t, out);
		if (r != TOKEN_MORE)
			return r;
		if (!token_atext(*t->at) && *t->at != '"' && *t->at != '.')
			return TOKEN_MORE;
		buf_addc(out, ' ');
	}
}

static enum token_result domain_literal(struct token *t, struct buf *out)
{
	const uint8_t *start = t->at++;

	for (; t->at < t->end; t->at++) {
		if (*t->at == '[')
			return TOKEN_BAD;
		if (*t->at == ']') {
			t->at++;
			add(out, start, t->at);
			return token_skip(t);
		}
		start = special(t, out, start, true);
		if (t->at == t->end)
			break;
	}
	return TOKEN_BAD;
}

enum token_result token_domain(struct token *t, struct buf *out)
{
	t->at++;
	if (token_skip(t) != TOKEN_MORE)
		return TOKEN_BAD;
	return *t->at == '[' ? domain_literal(t, out) : token_dot_atom(t, out);
}
