#include "mail/imap/lex.h"

#include "mail/imap/imapdate.h"
#include "mail/imap/limits.h"

bool lex_fail(struct imap_lex *l, const char *why)
{
	if (!l->bad)
		l->why = why;
	l->bad = true;
	l->at = l->end;
	return false;
}

bool lex_limit(struct imap_lex *l, const char *why)
{
	if (!l->bad)
		l->too_much = true;
	return lex_fail(l, why);
}

bool lex_expect(struct imap_lex *l, uint8_t c, const char *why)
{
	return lex_take(l, c) || lex_fail(l, why);
}

bool lex_finish(struct imap_lex *l)
{
	if (!lex_end(l))
		return lex_fail(l, "there is more than the command takes");
	return !l->bad;
}

bool lex_atom_char(uint8_t c)
{
	/* atom-specials: "(" / ")" / "{" / SP / CTL / list-wildcards / quoted-specials / "]" */
	if (c <= ' ' || c >= 0x7f)
		return false;
	return c != '(' && c != ')' && c != '{' && c != '%' && c != '*' && c != '"' && c != '\\' &&
	       c != ']';
}

static bool astring_char(uint8_t c)
{
	return lex_atom_char(c) || c == ']';
}

static struct slice take_while(struct imap_lex *l, bool (*is)(uint8_t c))
{
	const uint8_t *start = l->at;

	while (l->at < l->end && is(*l->at))
		l->at++;
	return slice_of(start, (size_t)(l->at - start));
}

struct slice lex_atom(struct imap_lex *l)
{
	struct slice s = take_while(l, lex_atom_char);

	if (s.len == 0)
		lex_fail(l, "a word is missing");
	return s;
}

static bool word_char(uint8_t c)
{
	return ascii_alpha(c) || ascii_digit(c) || c == '-' || c == '.' || c == '=' || c == '_';
}

struct slice lex_word(struct imap_lex *l)
{
	struct slice s = take_while(l, word_char);

	if (s.len == 0)
		lex_fail(l, "a word is missing");
	return s;
}

bool lex_keyword(struct imap_lex *l, const char *word)
{
	struct slice want = slice_str(word), rest = slice_of(l->at, (size_t)(l->end - l->at));

	if (!slice_starts_nocase(rest, want))
		return false;
	if (rest.len > want.len && word_char(rest.ptr[want.len]))
		return false;
	l->at += want.len;
	return true;
}

static uint64_t number(struct imap_lex *l, uint64_t max)
{
	struct slice digits = take_while(l, ascii_digit);
	uint64_t n;

	if (!slice_u64(digits, max, &n)) {
		lex_fail(l, "not a number, or out of range");
		return 0;
	}
	return n;
}

uint32_t lex_number(struct imap_lex *l)
{
	return (uint32_t)number(l, UINT32_MAX);
}

uint32_t lex_nz_number(struct imap_lex *l)
{
	uint32_t n;

	if (lex_next(l) == '0')
		lex_fail(l, "zero or a leading zero where neither may be");
	n = (uint32_t)number(l, UINT32_MAX);
	return n;
}

uint64_t lex_number64(struct imap_lex *l)
{
	return number(l, INT64_MAX);
}

/* Bad bytes inside a quoted string: CR, LF, NUL, and 8-bit where UTF-8 is not allowed. */
static bool quoted_char_ok(const struct imap_lex *l, uint8_t c)
{
	return c != 0 && c != '\r' && c != '\n' && (c < 0x80 || l->utf8);
}

static struct slice quoted(struct imap_lex *l)
{
	const uint8_t *start = l->at, *p = start;
	bool escapes = false;
	uint8_t *to;
	size_t n = 0;

	for (; p < l->end && *p != '"'; p++) {
		if (*p == '\\') {
			escapes = true;
			p++;
			if (p == l->end || (*p != '"' && *p != '\\'))
				break;
		} else if (!quoted_char_ok(l, *p)) {
			break;
		}
	}
	if (p >= l->end || *p != '"') {
		lex_fail(l, "a quoted string is not well formed");
		return (struct slice){ 0 };
	}
	l->at = p + 1;
	if (!escapes)
		return slice_of(start, (size_t)(p - start));
	to = arena_alloc(l->arena, (size_t)(p - start));
	if (to == NULL) {
		lex_limit(l, "the command needs too much memory");
		return (struct slice){ 0 };
	}
	for (const uint8_t *q = start; q < p; q++) {
		if (*q == '\\')
			q++;
		to[n++] = *q;
	}
	return slice_of(to, n);
}

static struct slice literal(struct imap_lex *l)
{
	struct slice digits = take_while(l, ascii_digit), s;
	uint64_t n = 0;

	if (lex_next(l) == '+')
		l->at++;
	if (!slice_u64(digits, IMAP_COMMAND_BYTES_MAX, &n) || !lex_take(l, '}') ||
	    !lex_take(l, '\r') || !lex_take(l, '\n') || n > (size_t)(l->end - l->at)) {
		lex_fail(l, "a literal is not well formed");
		return (struct slice){ 0 };
	}
	s = slice_of(l->at, n);
	l->at += n;
	/* RFC 9051 §4.3: CHAR8 has no NUL (literal8 is only for APPEND). */
	if (slice_find_byte(s, 0) != SLICE_NPOS)
		lex_fail(l, "a literal holds NUL");
	return s;
}

struct slice lex_string(struct imap_lex *l)
{
	if (lex_take(l, '"'))
		return quoted(l);
	if (lex_next(l) == '~' && l->end - l->at > 1 && l->at[1] == '{')
		l->at++;
	if (lex_take(l, '{'))
		return literal(l);
	lex_fail(l, "a string is missing");
	return (struct slice){ 0 };
}

struct slice lex_astring(struct imap_lex *l)
{
	if (astring_char(lex_next(l)) &&
	    !(lex_next(l) == '~' && l->end - l->at > 1 && l->at[1] == '{'))
		return take_while(l, astring_char);
	return lex_string(l);
}

struct slice lex_nstring(struct imap_lex *l, bool *nil)
{
	*nil = lex_keyword(l, "NIL");
	return *nil ? (struct slice){ 0 } : lex_string(l);
}

struct slice lex_flag(struct imap_lex *l)
{
	const uint8_t *start = l->at;
	struct slice s;

	lex_take(l, '\\');
	s = lex_atom(l);
	if (s.len > IMAP_FLAG_BYTES_MAX)
		lex_limit(l, "a flag is too long");
	return l->bad ? (struct slice){ 0 } : slice_of(start, (size_t)(l->at - start));
}

static bool set_char(uint8_t c)
{
	return ascii_digit(c) || c == ':' || c == ',' || c == '*' || c == '$';
}

void lex_seqset(struct imap_lex *l, uint32_t star, bool empty_ok, struct seqset *out)
{
	struct slice text = take_while(l, set_char);
	bool nothing = false;
	size_t bad_at;

	*out = (struct seqset){ 0 };
	if (star == 0 && empty_ok) {
		/* Check the form with any star, then name nothing. */
		star = 1;
		nothing = true;
	}
	switch (seqset_parse(l->arena, text, star, out, &bad_at)) {
	case SEQSET_OK:
		if (nothing && out->star)
			*out = (struct seqset){ .star = true };
		break;
	case SEQSET_BAD_SYNTAX:
		lex_fail(l, "a message set is not well formed");
		break;
	case SEQSET_TOO_BIG:
		lex_limit(l, "a message set has too many ranges");
		break;
	}
}

static bool date_char(uint8_t c)
{
	return ascii_alpha(c) || ascii_digit(c) || c == '-';
}

int64_t lex_date(struct imap_lex *l)
{
	bool in_quotes = lex_take(l, '"');
	struct slice text = take_while(l, date_char);
	int64_t days = 0;

	if (!imapdate_day(text, &days) || (in_quotes && !lex_take(l, '"')))
		lex_fail(l, "not a date");
	return days;
}
