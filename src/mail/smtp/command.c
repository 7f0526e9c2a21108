#include "mail/smtp/command.h"

#include "mail/smtp/limits.h"

static const struct {
	struct slice name;
	enum smtp_verb verb;
	enum { ARG_NONE, ARG_MAYBE, ARG_MUST } arg;
} verbs[] = {
	{ SLICE_INIT("MAIL"), SMTP_MAIL, ARG_MUST },
	{ SLICE_INIT("RCPT"), SMTP_RCPT, ARG_MUST },
	{ SLICE_INIT("DATA"), SMTP_DATA, ARG_NONE },
	{ SLICE_INIT("BDAT"), SMTP_BDAT, ARG_MUST },
	{ SLICE_INIT("EHLO"), SMTP_EHLO, ARG_MUST },
	{ SLICE_INIT("HELO"), SMTP_HELO, ARG_MUST },
	{ SLICE_INIT("LHLO"), SMTP_LHLO, ARG_MUST },
	{ SLICE_INIT("RSET"), SMTP_RSET, ARG_NONE },
	{ SLICE_INIT("NOOP"), SMTP_NOOP, ARG_MAYBE },
	{ SLICE_INIT("QUIT"), SMTP_QUIT, ARG_NONE },
	{ SLICE_INIT("STARTTLS"), SMTP_STARTTLS, ARG_NONE },
	{ SLICE_INIT("AUTH"), SMTP_AUTH, ARG_MUST },
	{ SLICE_INIT("VRFY"), SMTP_VRFY, ARG_MUST },
	{ SLICE_INIT("EXPN"), SMTP_EXPN, ARG_MUST },
	{ SLICE_INIT("HELP"), SMTP_HELP, ARG_MAYBE },
};

static struct slice trim_blanks(struct slice s)
{
	while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
		s.len--;
	while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
		s = slice_from(s, 1);
	return s;
}

/* The next word up to blanks; false at the end. */
static bool next_word(struct slice *rest, struct slice *word)
{
	struct slice s = trim_blanks(*rest);
	size_t n = 0;

	while (n < s.len && s.ptr[n] != ' ' && s.ptr[n] != '\t')
		n++;
	*word = slice_head(s, n);
	*rest = slice_from(s, n);
	return n > 0;
}

static int hex_digit(uint8_t c)
{
	return ascii_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* xchar is "!" to "~" but "+" and "="; hexchar is "+" and two upper case hexadecimal digits. */
static bool xtext_ok(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '!' || s.ptr[i] > '~' || s.ptr[i] == '=')
			return false;
		if (s.ptr[i] != '+')
			continue;
		if (s.len - i < 3 || hex_digit(s.ptr[i + 1]) < 0 || hex_digit(s.ptr[i + 2]) < 0)
			return false;
		i += 2;
	}
	return true;
}

bool smtp_xtext_decode(struct slice xtext, struct buf *out)
{
	if (!xtext_ok(xtext))
		return false;
	for (size_t i = 0; i < xtext.len; i++) {
		if (xtext.ptr[i] != '+') {
			buf_addc(out, xtext.ptr[i]);
			continue;
		}
		buf_addc(out, (uint8_t)(hex_digit(xtext.ptr[i + 1]) * 16 +
					hex_digit(xtext.ptr[i + 2])));
		i += 2;
	}
	return true;
}

void smtp_xtext_encode(struct slice raw, struct buf *out)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < raw.len; i++) {
		uint8_t c = raw.ptr[i];
		if (c >= '!' && c <= '~' && c != '+' && c != '=') {
			buf_addc(out, c);
		} else {
			buf_addc(out, '+');
			buf_addc(out, (uint8_t)hex[c >> 4]);
			buf_addc(out, (uint8_t)hex[c & 15]);
		}
	}
}

enum parameter {
	PARAMETER_SIZE = 1 << 0,
	PARAMETER_BODY = 1 << 1,
	PARAMETER_SMTPUTF8 = 1 << 2,
	PARAMETER_RET = 1 << 3,
	PARAMETER_ENVID = 1 << 4,
	PARAMETER_AUTH = 1 << 5,
	PARAMETER_NOTIFY = 1 << 6,
	PARAMETER_ORCPT = 1 << 7,
};
enum {
	PARAMETERS_OF_MAIL = PARAMETER_SIZE | PARAMETER_BODY | PARAMETER_SMTPUTF8 | PARAMETER_RET |
			     PARAMETER_ENVID | PARAMETER_AUTH,
	PARAMETERS_OF_RCPT = PARAMETER_NOTIFY | PARAMETER_ORCPT,
};

static const struct {
	struct slice name;
	enum parameter parameter;
} parameters[] = {
	{ SLICE_INIT("SIZE"), PARAMETER_SIZE },	    /* RFC 1870 */
	{ SLICE_INIT("BODY"), PARAMETER_BODY },	    /* RFC 6152, RFC 3030 */
	{ SLICE_INIT("SMTPUTF8"), PARAMETER_SMTPUTF8 }, /* RFC 6531 */
	{ SLICE_INIT("RET"), PARAMETER_RET },	    /* RFC 3461 */
	{ SLICE_INIT("ENVID"), PARAMETER_ENVID },
	{ SLICE_INIT("NOTIFY"), PARAMETER_NOTIFY },
	{ SLICE_INIT("ORCPT"), PARAMETER_ORCPT },
	{ SLICE_INIT("AUTH"), PARAMETER_AUTH },	    /* RFC 4954 §5 */
};

/* RFC 3461 §4.1: NEVER alone, or a list of the others, each once at most. */
static bool read_notify(struct slice value, unsigned *out)
{
	static const struct {
		struct slice name;
		unsigned bit;
	} words[] = {
		{ SLICE_INIT("NEVER"), SMTP_NOTIFY_NEVER },
		{ SLICE_INIT("SUCCESS"), SMTP_NOTIFY_SUCCESS },
		{ SLICE_INIT("FAILURE"), SMTP_NOTIFY_FAILURE },
		{ SLICE_INIT("DELAY"), SMTP_NOTIFY_DELAY },
	};
	unsigned bits = 0;
	bool more;

	do {
		struct slice word;
		unsigned bit = 0;
		more = slice_cut(value, ',', &word, &value);
		for (size_t i = 0; i < ARRAY_LEN(words); i++)
			if (slice_eq_nocase(word, words[i].name))
				bit = words[i].bit;
		if (bit == 0 || (bits & bit) != 0)
			return false;
		bits |= bit;
	} while (more);
	if ((bits & SMTP_NOTIFY_NEVER) != 0 && bits != SMTP_NOTIFY_NEVER)
		return false;
	*out = bits;
	return true;
}

/* RFC 3461 §4.2 and RFC 6533 §3: "addr-type;address". UTF-8 addresses may come raw (utf-8;...). */
static bool orcpt_ok(struct slice value, bool smtputf8)
{
	struct slice type, address;

	if (value.len > SMTP_ORCPT || !slice_cut(value, ';', &type, &address))
		return false;
	if (type.len == 0 || address.len == 0)
		return false;
	for (size_t i = 0; i < type.len; i++)
		if (!ascii_alpha(type.ptr[i]) && !ascii_digit(type.ptr[i]) && type.ptr[i] != '-')
			return false;
	if (!slice_eq_nocase(type, SLICE("utf-8")))
		return xtext_ok(address);
	for (size_t i = 0; i < address.len; i++) {
		uint8_t c = address.ptr[i];
		if (c <= ' ' || c == 0x7f || c == '=' || (c >= 0x80 && !smtputf8))
			return false;
	}
	return true;
}

static bool read_body(struct slice value, enum smtp_body *out)
{
	if (slice_eq_nocase(value, SLICE("8BITMIME")))
		*out = SMTP_BODY_8BITMIME;
	else if (slice_eq_nocase(value, SLICE("7BIT")))
		*out = SMTP_BODY_7BIT;
	else if (slice_eq_nocase(value, SLICE("BINARYMIME")))
		*out = SMTP_BODY_BINARYMIME;
	else
		return false;
	return true;
}

static bool read_ret(struct slice value, enum smtp_ret *out)
{
	if (slice_eq_nocase(value, SLICE("FULL")))
		*out = SMTP_RET_FULL;
	else if (slice_eq_nocase(value, SLICE("HDRS")))
		*out = SMTP_RET_HDRS;
	else
		return false;
	return true;
}

static bool read_value(struct arena *arena, enum parameter parameter, struct slice value,
		       bool has_value, bool smtputf8, struct smtp_command *out)
{
	if (parameter == PARAMETER_SMTPUTF8) {
		out->mail.smtputf8 = true;
		return !has_value;
	}
	if (!has_value)
		return false;
	switch (parameter) {
	case PARAMETER_SIZE:
		/* RFC 1870 §3: at most 20 digits; a number that no machine can hold is only "too large". */
		if (value.len == 0 || value.len > 20)
			return false;
		for (size_t i = 0; i < value.len; i++)
			if (!ascii_digit(value.ptr[i]))
				return false;
		if (!slice_u64(value, UINT64_MAX, &out->mail.size_bytes))
			out->mail.size_bytes = UINT64_MAX;
		return true;
	case PARAMETER_BODY:
		return read_body(value, &out->mail.body);
	case PARAMETER_RET:
		return read_ret(value, &out->mail.ret);
	case PARAMETER_ENVID:
		out->mail.envid = arena_dup(arena, value);
		return value.len > 0 && value.len <= SMTP_ENVID && xtext_ok(value);
	case PARAMETER_AUTH:
		/* We trust no peer's word on who wrote a message; the syntax is checked and that is all. */
		return slice_eq(value, SLICE("<>")) || (value.len > 0 && xtext_ok(value));
	case PARAMETER_NOTIFY:
		return read_notify(value, &out->rcpt.notify);
	case PARAMETER_ORCPT:
		out->rcpt.orcpt = arena_dup(arena, value);
		return orcpt_ok(value, smtputf8);
	case PARAMETER_SMTPUTF8:
		break;
	}
	return false;
}

static enum smtp_verdict read_parameters(struct arena *arena, struct slice rest, unsigned allowed,
					 bool smtputf8, struct smtp_command *out)
{
	struct slice word;
	unsigned seen = 0, count = 0;

	while (next_word(&rest, &word)) {
		struct slice name, value;
		bool has_value = slice_cut(word, '=', &name, &value);
		unsigned found = 0;

		if (++count > SMTP_PARAMETERS)
			return SMTP_BAD_PARAMETER;
		for (size_t i = 0; i < ARRAY_LEN(parameters); i++)
			if (slice_eq_nocase(name, parameters[i].name))
				found = parameters[i].parameter & allowed;
		if (found == 0)
			return SMTP_UNKNOWN_PARAMETER;
		if ((seen & found) != 0 ||
		    !read_value(arena, (enum parameter)found, value, has_value, smtputf8, out))
			return SMTP_BAD_PARAMETER;
		seen |= found;
	}
	return arena->err == 0 ? SMTP_PARSED : SMTP_SHORT_OF_MEMORY;
}

/* "FROM:" or "TO:" and the path. Blanks after the colon are forgiven: many clients write one. */
static enum smtp_verdict read_path(struct arena *arena, struct slice arg, struct slice keyword,
				   bool sender, struct smtp_path *path, struct slice *rest)
{
	if (!slice_starts_nocase(arg, keyword))
		return SMTP_BAD_SYNTAX;
	struct slice at = slice_from(arg, keyword.len);
	while (at.len > 0 && at.ptr[0] == ' ')
		at = slice_from(at, 1);
	switch (smtp_path_parse(arena, at, path, rest)) {
	case SMTP_PATH_OK:
		/* A parameter is set off by a blank: "<a@b>SIZE=1" is not a path and a parameter. */
		if (rest->len > 0 && rest->ptr[0] != ' ' && rest->ptr[0] != '\t')
			return sender ? SMTP_BAD_SENDER : SMTP_BAD_RECIPIENT;
		if (path->null && !sender)
			return SMTP_BAD_RECIPIENT;
		return SMTP_PARSED;
	case SMTP_PATH_BAD_DOMAIN:
		return sender ? SMTP_BAD_SENDER_DOMAIN : SMTP_BAD_RECIPIENT_DOMAIN;
	case SMTP_PATH_MEMORY:
		return SMTP_SHORT_OF_MEMORY;
	case SMTP_PATH_SYNTAX:
	case SMTP_PATH_TOO_LONG:
		break;
	}
	return sender ? SMTP_BAD_SENDER : SMTP_BAD_RECIPIENT;
}

static enum smtp_verdict parse_mail(struct arena *arena, struct slice arg, struct smtp_command *out)
{
	struct slice rest;
	enum smtp_verdict v = read_path(arena, arg, SLICE("FROM:"), true, &out->mail.from, &rest);

	if (v == SMTP_PARSED)
		v = read_parameters(arena, rest, PARAMETERS_OF_MAIL, false, out);
	if (v == SMTP_PARSED && out->mail.from.utf8 && !out->mail.smtputf8)
		v = SMTP_NEEDS_UTF8;
	return v;
}

static enum smtp_verdict parse_rcpt(struct arena *arena, struct slice arg, bool smtputf8,
				    struct smtp_command *out)
{
	struct slice rest;
	enum smtp_verdict v = read_path(arena, arg, SLICE("TO:"), false, &out->rcpt.to, &rest);

	if (v == SMTP_PARSED)
		v = read_parameters(arena, rest, PARAMETERS_OF_RCPT, smtputf8, out);
	if (v == SMTP_PARSED && out->rcpt.to.utf8 && !smtputf8)
		v = SMTP_NEEDS_UTF8;
	return v;
}

/* RFC 3030 §2: "BDAT" SP chunk-size [ SP "LAST" ]. */
static enum smtp_verdict parse_bdat(struct slice arg, struct smtp_command *out)
{
	struct slice word;

	if (!next_word(&arg, &word) || !slice_u64(word, UINT64_MAX, &out->chunk_bytes))
		return SMTP_BAD_SYNTAX;
	if (next_word(&arg, &word)) {
		if (!slice_eq_nocase(word, SLICE("LAST")) || next_word(&arg, &word))
			return SMTP_BAD_SYNTAX;
		out->chunk_last = true;
	}
	return SMTP_PARSED;
}

static enum smtp_verdict parse_auth(struct slice arg, struct smtp_command *out)
{
	struct slice more;

	if (!next_word(&arg, &out->arg))
		return SMTP_BAD_SYNTAX;
	if (next_word(&arg, &out->initial) && next_word(&arg, &more))
		return SMTP_BAD_SYNTAX;
	if (out->initial.len == 0)
		out->initial = (struct slice){ 0 };
	return SMTP_PARSED;
}

/*
 * EHLO's name goes into the Received field and into logs. Domains and literals are the rule;
 * real clients send underscores, bare addresses and worse, so we ask only for printable text.
 */
static bool greeting_name_ok(struct slice name)
{
	if (name.len == 0 || name.len > SMTP_DOMAIN)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (name.ptr[i] <= ' ' || name.ptr[i] == 0x7f)
			return false;
	return true;
}

enum smtp_verdict smtp_command_parse(struct arena *arena, struct slice line, bool smtputf8,
				     struct smtp_command *out)
{
	struct slice rest = line, name;
	struct smtp_command c = { 0 };
	size_t i = 0;

	*out = c;
	/* A command starts at the first byte: a leading blank is no command. */
	if (line.len == 0 || line.ptr[0] == ' ' || line.ptr[0] == '\t' || !next_word(&rest, &name))
		return SMTP_UNKNOWN_COMMAND;
	while (i < ARRAY_LEN(verbs) && !slice_eq_nocase(name, verbs[i].name))
		i++;
	if (i == ARRAY_LEN(verbs))
		return SMTP_UNKNOWN_COMMAND;
	out->verb = c.verb = verbs[i].verb;
	if (memchr(line.ptr, '\0', line.len) != NULL)
		return SMTP_BAD_SYNTAX;
	c.arg = trim_blanks(rest);
	if ((verbs[i].arg == ARG_NONE && c.arg.len > 0) ||
	    (verbs[i].arg == ARG_MUST && c.arg.len == 0))
		return SMTP_BAD_SYNTAX;

	enum smtp_verdict v = SMTP_PARSED;
	switch (c.verb) {
	case SMTP_MAIL:
		v = parse_mail(arena, c.arg, &c);
		break;
	case SMTP_RCPT:
		v = parse_rcpt(arena, c.arg, smtputf8, &c);
		break;
	case SMTP_BDAT:
		v = parse_bdat(c.arg, &c);
		break;
	case SMTP_AUTH:
		v = parse_auth(c.arg, &c);
		break;
	case SMTP_EHLO:
	case SMTP_HELO:
	case SMTP_LHLO:
		v = greeting_name_ok(c.arg) ? SMTP_PARSED : SMTP_BAD_SYNTAX;
		break;
	default:
		break;
	}
	if (v == SMTP_PARSED)
		*out = c;
	return v;
}
