#include "mail/message/address.h"

#include "mail/message/limits.h"
#include "mail/message/token.h"

struct parser {
	struct token token;
	struct arena *arena;
	struct buf text;		/* the string being read */
	struct buf comment;
	struct address now;		/* the entry being read */
	struct address *first, **tail;
	size_t count;
	bool full;
};

static struct slice keep(struct parser *p)
{
	struct slice s = arena_dup(p->arena, buf_slice(&p->text));

	if (s.ptr == NULL)
		p->full = true;
	return s;
}

static void add_entry(struct parser *p)
{
	if (p->count < ADDRESS_COUNT_MAX && !p->full) {
		struct address *a = ARENA_NEW(p->arena, struct address);
		if (a == NULL) {
			p->full = true;
		} else {
			*a = p->now;
			a->next = NULL;
			*p->tail = a;
			p->tail = &a->next;
			p->count++;
		}
	}
	p->now = (struct address){ 0 };
}

static void add_mailbox(struct parser *p)
{
	if (p->now.mailbox.ptr == NULL)
		p->now.mailbox = SLICE("MISSING_MAILBOX");
	if (p->now.host.len == 0)
		p->now.host = SLICE("MISSING_DOMAIN");
	add_entry(p);
}

/* RFC 5322 §3.4.1 local-part, with the dots in wrong places that real mail has. */
static enum token_result lax_dot_atom(struct parser *p)
{
	struct token *t = &p->token;
	enum token_result r = TOKEN_BAD;

	do {
		while (*t->at == '.') {
			buf_addc(&p->text, '.');
			if (++t->at == t->end)
				return TOKEN_END;
			r = TOKEN_MORE;
		}
		if (*t->at == '@')
			break;
		r = token_atom(t, &p->text);
	} while (r == TOKEN_MORE && *t->at == '.');
	return r;
}

static enum token_result local_part(struct parser *p)
{
	buf_reset(&p->text);
	enum token_result r = token_is(&p->token, '"') ? token_quoted(&p->token, &p->text) : lax_dot_atom(p);
	if (r != TOKEN_BAD)
		p->now.mailbox = keep(p);
	return r;
}

static enum token_result domain(struct parser *p)
{
	buf_reset(&p->text);
	enum token_result r = token_domain(&p->token, &p->text);
	if (r != TOKEN_BAD)
		p->now.host = keep(p);
	return r;
}

/* obs-route (RFC 5322 §4.4) at its first "@". True when it is followed by more text. */
static bool route(struct parser *p)
{
	struct token *t = &p->token;

	buf_reset(&p->text);
	while (t->at < t->end && *t->at == '@') {
		if (p->text.len > 0)
			buf_addc(&p->text, ',');
		buf_addc(&p->text, '@');
		if (token_domain(t, &p->text) != TOKEN_MORE)
			return false;
		while (token_skip(t) == TOKEN_MORE && *t->at == ',')
			t->at++;
	}
	if (t->at == t->end)
		return false;
	p->now.route = keep(p);
	return true;
}

/* "<" [route ":"] local-part "@" domain ">" */
static enum token_result angle_addr(struct parser *p)
{
	struct token *t = &p->token;

	t->at++;
	if (token_skip(t) != TOKEN_MORE)
		return TOKEN_BAD;
	if (*t->at == '@') {
		if (route(p) && *t->at == ':') {
			t->at++;
		} else {
			p->now.route = SLICE("INVALID_ROUTE");
			if (t->at == t->end)
				return TOKEN_BAD;
		}
		if (token_skip(t) != TOKEN_MORE)
			return TOKEN_BAD;
	}
	if (*t->at != '>') {
		if (local_part(p) != TOKEN_MORE)
			return TOKEN_BAD;
		if (*t->at == '@' && domain(p) != TOKEN_MORE)
			return TOKEN_BAD;
	}
	if (*t->at != '>')
		return TOKEN_BAD;
	t->at++;
	return token_skip(t);
}

static enum token_result name_addr(struct parser *p)
{
	buf_reset(&p->text);
	if (token_phrase(&p->token, &p->text) != TOKEN_MORE || *p->token.at != '<')
		return TOKEN_BAD;
	if (p->text.len > 0)
		p->now.name = keep(p);
	if (angle_addr(p) == TOKEN_BAD)
		p->now.host = SLICE("SYNTAX_ERROR");
	return p->token.at < p->token.end ? TOKEN_MORE : TOKEN_END;
}

/* local-part "@" domain, or what people write in its place. */
static enum token_result addr_spec(struct parser *p)
{
	struct token *t = &p->token;
	bool broken = false, had_domain = false;
	bool quoted = *t->at == '"';

	buf_reset(&p->comment);
	enum token_result r = local_part(p);
	if (r != TOKEN_MORE)
		broken = true;
	if (r != TOKEN_END && token_is(t, '@')) {
		enum token_result r2 = domain(p);
		had_domain = true;
		if (r2 != TOKEN_MORE)
			r = r2;
	}
	if (p->comment.len > 0) {
		buf_reset(&p->text);
		buf_add(&p->text, buf_slice(&p->comment));
		p->now.name = keep(p);
	} else if (!had_domain) {
		/* A word alone is a mailbox without a domain; more words are a display name without address. */
		buf_addc(&p->text, ' ');
		size_t len = p->text.len;
		(void)token_phrase(t, &p->text);
		if (p->text.len != len) {
			p->now.mailbox = (struct slice){ 0 };
			p->now.name = keep(p);
		} else if (!quoted) {
			p->now.host = SLICE("");
		}
		broken = true;
		r = TOKEN_BAD;
	}
	if (broken && p->now.name.ptr == NULL && p->now.mailbox.ptr != NULL && p->now.host.ptr == NULL) {
		p->now.name = p->now.mailbox;
		p->now.mailbox = (struct slice){ 0 };
	}
	return r;
}

static enum token_result mailbox(struct parser *p)
{
	const uint8_t *start = p->token.at;
	enum token_result r = name_addr(p);

	if (r == TOKEN_BAD) {
		p->token.at = start;
		r = p->token.at < p->token.end ? addr_spec(p) : TOKEN_BAD;
	}
	add_mailbox(p);
	return r;
}

/* TOKEN_BAD: this is no group. */
static enum token_result group(struct parser *p)
{
	struct token *t = &p->token;

	buf_reset(&p->text);
	if (token_phrase(t, &p->text) != TOKEN_MORE || *t->at != ':')
		return TOKEN_BAD;
	t->at++;
	enum token_result r = token_skip(t);
	p->now.mailbox = keep(p);
	add_entry(p);
	if (r == TOKEN_MORE && *t->at != ';') {
		for (;;) {
			(void)mailbox(p);
			if (!token_is(t, ','))
				break;
			t->at++;
			if (token_skip(t) != TOKEN_MORE) {
				r = TOKEN_BAD;
				break;
			}
		}
	}
	if (r != TOKEN_BAD) {
		if (token_is(t, ';')) {
			t->at++;
			r = token_skip(t);
		} else {
			r = TOKEN_BAD;
		}
	}
	add_entry(p);
	return r == TOKEN_END ? TOKEN_END : TOKEN_MORE;
}

static void address_list(struct parser *p)
{
	struct token *t = &p->token;

	/* At the count limit we stop reading: what follows could not be kept. */
	while (!p->full && p->count < ADDRESS_COUNT_MAX) {
		const uint8_t *start = t->at;
		enum token_result r = group(p);
		if (r == TOKEN_BAD) {
			t->at = start;
			r = mailbox(p);
		}
		if (r == TOKEN_END || !token_is(t, ','))
			return;
		t->at++;
		r = token_skip(t);
		if (r == TOKEN_BAD)
			add_mailbox(p);
		if (r != TOKEN_MORE)
			return;
	}
}

bool address_parse(struct arena *arena, struct slice value, struct address **out)
{
	/* Every byte of the value becomes at most three (NUL) and a blank between words. */
	struct parser p = {
		.arena = arena,
		.text = BUF_INIT(value.len * 4 + 16),
		.comment = BUF_INIT(value.len * 4 + 16),
	};

	p.tail = &p.first;
	p.token = token_of(value, &p.comment);
	if (token_skip(&p.token) == TOKEN_MORE)
		address_list(&p);
	if (p.text.err != 0 || p.comment.err != 0)
		p.full = true;
	buf_done(&p.text);
	buf_done(&p.comment);
	*out = p.first;
	return !p.full;
}

/* A phrase or local-part: bare when it is an atom, else quoted. */
static void write_word(struct buf *out, struct slice s, bool dots)
{
	bool bare = true;

	for (size_t i = 0; i < s.len && bare; i++)
		bare = token_atext(s.ptr[i]) || (dots && s.ptr[i] == '.');
	if (bare) {
		buf_add(out, s);
		return;
	}
	buf_addc(out, '"');
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '"' || s.ptr[i] == '\\' || s.ptr[i] == '\'')
			buf_addc(out, '\\');
		buf_addc(out, s.ptr[i]);
	}
	buf_addc(out, '"');
}

/* Encoded-words are not allowed in quoted strings (RFC 2047 §5), so such a name stays as it is. */
static void write_name(struct buf *out, struct slice s)
{
	if (slice_find(s, SLICE("=?")) != SLICE_NPOS)
		buf_add(out, s);
	else
		write_word(out, s, false);
}

static void write_mailbox(struct buf *out, const struct address *a)
{
	if (a->name.ptr != NULL)
		write_name(out, a->name);
	if (a->route.ptr == NULL && a->mailbox.len == 0 && a->host.len == 0)
		return;
	if (a->name.len > 0)
		buf_addc(out, ' ');
	buf_addc(out, '<');
	if (a->route.ptr != NULL) {
		buf_add(out, a->route);
		buf_addc(out, ':');
	}
	if (a->mailbox.len == 0)
		buf_add(out, SLICE("\"\""));
	else
		write_word(out, a->mailbox, true);
	if (a->host.len > 0) {
		buf_addc(out, '@');
		buf_add(out, a->host);
	}
	buf_addc(out, '>');
}

void address_write(struct buf *out, const struct address *list)
{
	bool in_group = false, comma = false;

	for (const struct address *a = list; a != NULL; a = a->next) {
		bool group_end = a->host.ptr == NULL && in_group;

		if (comma && !group_end)
			buf_add(out, SLICE(", "));
		comma = true;
		if (a->host.ptr != NULL) {
			write_mailbox(out, a);
		} else if (group_end) {
			buf_addc(out, ';');
			in_group = false;
		} else {
			if (a->mailbox.len == 0)
				buf_add(out, SLICE("\"\""));
			else
				write_name(out, a->mailbox);
			buf_add(out, SLICE(": "));
			in_group = true;
			comma = false;
		}
	}
}
