/*
 * Sources to statements. One statement is read after the other; a mistake skips to the keyword that begins the next one, so that all are told.
 */
#include <errno.h>

#include "base/date.h"
#include "base/hex.h"
#include "base/suggest.h"
#include "policy/language/tree.h"

static const char *const keywords[] = { "module", "import", "key", "domain", "role", "label", "allow", "never", "enter",
					"audit", "trial", "limit", "expect" };

struct parser {
	struct reading *r;
	struct lexer lexer;
	struct token now, ahead;
	struct policy_span last;	/* of the word that was taken last */
	uint16_t module;
	const char *file;
	bool failed;			/* the statement in hand has a mistake that was told */
	bool out_of_memory;
};

/* --- tokens ------------------------------------------------------------------------------------ */

static void advance(struct parser *p)
{
	p->last = p->now.span;
	p->now = p->ahead;
	p->ahead = lexer_next(&p->lexer);
}

static bool at_word(const struct parser *p, const char *word)
{
	return p->now.kind == TOKEN_WORD && policy_word_is(p->now.text, word);
}

static bool ahead_word(const struct parser *p, const char *word)
{
	return p->ahead.kind == TOKEN_WORD && policy_word_is(p->ahead.text, word);
}

static bool is_keyword(struct slice text)
{
	for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
		if (policy_word_is(text, keywords[i]))
			return true;
	return false;
}

static bool take(struct parser *p, const char *word)
{
	if (!at_word(p, word))
		return false;
	advance(p);
	return true;
}

static void wrong(struct parser *p, struct policy_span span, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void wrong(struct parser *p, struct policy_span span, const char *fmt, ...)
{
	AUTO_BUF struct buf text = BUF_INIT(1024);
	va_list ap;

	if (p->failed)
		return;
	p->failed = true;
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	diag_error(&p->r->diag, span, "%s", buf_cstr(&text));
}

/* "expected WHAT, found ..." */
static void expected(struct parser *p, const char *what)
{
	switch (p->now.kind) {
	case TOKEN_END:
		wrong(p, p->now.span, "expected %s, but the file ends here", what);
		break;
	case TOKEN_BAD:
		if (p->now.text.len > 0 && p->now.text.ptr[0] == '"')
			wrong(p, p->now.span, "this text has no closing quote on its line");
		else
			wrong(p, p->now.span, "'%.*s' has no meaning here: expected %s", SLICE_FMT(slice_head(p->now.text, 8)), what);
		break;
	default:
		wrong(p, p->now.span, "expected %s, found '%.*s'", what, SLICE_FMT(slice_head(p->now.text, POLICY_NAME_BYTES_MAX)));
	}
}

static bool need(struct parser *p, const char *word)
{
	AUTO_BUF struct buf what = BUF_INIT(80);

	if (take(p, word))
		return true;
	buf_printf(&what, "'%s'", word);
	expected(p, buf_cstr(&what));
	return false;
}

/* The nearest of a NULL-ended list, as "; did you mean 'x'?". */
static void expected_one_of(struct parser *p, const char *what, const char *const *words)
{
	struct suggestion s = { .word = p->now.kind == TOKEN_WORD ? p->now.text : (struct slice){ 0 } };

	for (size_t i = 0; words[i] != NULL; i++)
		suggest_try(&s, words[i]);
	if (p->now.kind == TOKEN_WORD && s.best != NULL)
		wrong(p, p->now.span, "expected %s, found '%.*s'; did you mean '%s'?", what, SLICE_FMT(slice_head(p->now.text, 63)), s.best);
	else
		expected(p, what);
}

static void *allocate(struct parser *p, size_t n, size_t size)
{
	void *memory = arena_array(p->r->arena, n, size);

	if (memory == NULL)
		p->out_of_memory = p->failed = true;
	return memory;
}

static const char *keep(struct parser *p, struct slice text)
{
	const char *kept = arena_str(p->r->arena, text);

	if (kept == NULL)
		p->out_of_memory = p->failed = true;
	return kept == NULL ? "" : kept;
}

/* --- parts of statements ------------------------------------------------------------------------- */

static struct word take_word(struct parser *p)
{
	struct word w = { p->now.text, p->now.span, p->now.kind == TOKEN_STRING };

	advance(p);
	return w;
}

/* A name that is being declared: a-z0-9 and '-', '_', without dots. */
static bool take_new_name(struct parser *p, const char *what, struct word *out)
{
	if (p->now.kind != TOKEN_WORD || is_keyword(p->now.text)) {
		AUTO_BUF struct buf text = BUF_INIT(200);
		buf_printf(&text, "a name for the %s%s", what, p->now.kind == TOKEN_WORD ? " (keywords cannot be names)" : "");
		expected(p, buf_cstr(&text));
		return false;
	}
	*out = take_word(p);
	if (out->text.len > POLICY_NAME_BYTES_MAX)
		wrong(p, out->span, "names have at most %d bytes, this one %zu", POLICY_NAME_BYTES_MAX, out->text.len);
	else if (slice_find_byte(out->text, '.') != SLICE_NPOS || slice_find_byte(out->text, '%') != SLICE_NPOS ||
		 !ascii_alpha(out->text.ptr[0]))
		wrong(p, out->span, "a name begins with a letter and has letters, digits, '-' and '_'");
	return !p->failed;
}

/* Names with commas between; strings only where they may stand. */
static bool take_words(struct parser *p, const char *what, bool strings, struct words *out)
{
	struct word *at = NULL;
	size_t count = 0, room = 0;

	for (;;) {
		if (!(p->now.kind == TOKEN_WORD && !is_keyword(p->now.text)) && !(strings && p->now.kind == TOKEN_STRING)) {
			expected(p, what);
			return false;
		}
		if (count == POLICY_LIST_MAX) {
			wrong(p, p->now.span, "more than %d names in one list", POLICY_LIST_MAX);
			return false;
		}
		if (count == room) {
			struct word *more = allocate(p, room == 0 ? 4 : 2 * room, sizeof(*more));
			if (more == NULL)
				return false;
			if (count > 0)
				memcpy(more, at, count * sizeof(*at));
			at = more;
			room = room == 0 ? 4 : 2 * room;
		}
		at[count++] = take_word(p);
		if (p->now.kind != TOKEN_COMMA)
			break;
		advance(p);
	}
	*out = (struct words){ at, count };
	return true;
}

static bool take_string(struct parser *p, const char *what, struct word *out)
{
	if (p->now.kind != TOKEN_STRING) {
		expected(p, what);
		return false;
	}
	*out = take_word(p);
	if (out->text.len == 0 || out->text.len > POLICY_STRING_BYTES_MAX)
		wrong(p, out->span, "this text must have 1 to %d bytes", POLICY_STRING_BYTES_MAX);
	else if (slice_find_byte(out->text, '\0') != SLICE_NPOS)
		wrong(p, out->span, "a NUL cannot be part of a name");
	return !p->failed;
}

static bool take_hash(struct parser *p, const char *what, const uint8_t **out)
{
	uint8_t *bytes;

	if (p->now.kind != TOKEN_WORD || p->now.text.len != 64) {
		expected(p, what);
		return false;
	}
	bytes = allocate(p, 32, 1);
	for (size_t i = 0; bytes != NULL && i < 32; i++) {
		int high = hex_value(p->now.text.ptr[2 * i]), low = hex_value(p->now.text.ptr[2 * i + 1]);
		if (high < 0 || low < 0) {
			expected(p, what);
			return false;
		}
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	*out = bytes;
	advance(p);
	return bytes != NULL;
}

/* "30m": number and unit. units: pairs of letters and factors. */
struct unit {
	const char *name;
	uint64_t factor;
};
static bool take_number(struct parser *p, const char *what, const struct unit *units, uint64_t max, uint64_t *out)
{
	struct slice digits = p->now.text, unit;
	struct policy_span span = p->now.span;
	uint64_t n, factor = 0;
	size_t end = 0;

	while (end < digits.len && ascii_digit(digits.ptr[end]))
		end++;
	unit = slice_from(digits, end);
	if (p->now.kind != TOKEN_WORD || end == 0 || !slice_u64(slice_head(digits, end), UINT64_MAX, &n)) {
		expected(p, what);
		return false;
	}
	advance(p);
	if (unit.len == 0 && units[0].name[0] != '\0' && p->now.kind == TOKEN_WORD) {
		unit = p->now.text;	/* "16 MiB" */
		advance(p);
	}
	for (size_t i = 0; units[i].name != NULL; i++)
		if (slice_eq(unit, slice_str(units[i].name)))
			factor = units[i].factor;
	if (factor == 0)
		wrong(p, span, "expected %s", what);
	else if (n == 0 || n > max / factor)
		wrong(p, span, "%s is at least 1 and at most %llu%s", what, (unsigned long long)(max / units[0].factor), units[0].name);
	*out = n * (factor == 0 ? 1 : factor);
	return !p->failed;
}

static const struct unit plain_units[] = { { "", 1 }, { 0 } };
static const struct unit time_units[] = { { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 }, { 0 } };
static const struct unit cpu_units[] = { { "%", 10 }, { 0 } };
static const struct unit byte_units[] = { { "KiB", 1024 }, { "MiB", 1048576 }, { "GiB", 1073741824 }, { 0 } };

static bool take_predicate(struct parser *p, uint32_t *out)
{
	if (take(p, "owner")) {
		*out |= POLICY_OWNER_IS_SUBJECT;
		return need(p, "is") && need(p, "subject");
	}
	if (take(p, "acl")) {
		*out |= POLICY_ACL_GRANTS_SUBJECT;
		return need(p, "grants") && need(p, "subject");
	}
	expected_one_of(p, "a condition ('owner is subject' or 'acl grants subject')", (const char *const[]){ "owner", "acl", NULL });
	return false;
}

static void parse_tail(struct parser *p, struct statement *s)
{
	while (!p->failed) {
		struct word text;

		if (at_word(p, "audit") && ahead_word(p, "always")) {
			advance(p);
			advance(p);
			s->audit = true;
		} else if (take(p, "because")) {
			if (take_string(p, "the reason in quotes, as in because \"admins do not read mail\"", &text))
				s->because = keep(p, text.text);
		} else {
			return;
		}
	}
}

bool path_is_normal(struct slice path)
{
	struct slice rest = path;

	if (path.len == 0 || path.ptr[0] != '/')
		return false;
	if (path.len == 1)
		return true;
	rest = slice_from(rest, 1);
	for (bool more = true; more;) {
		struct slice segment, tail;
		more = slice_cut(rest, '/', &segment, &tail);
		if (!more)
			segment = rest;
		if (segment.len == 0 || slice_eq(segment, SLICE(".")) || slice_eq(segment, SLICE("..")))
			return false;
		rest = tail;
	}
	return true;
}

static bool take_text_or_any(struct parser *p, const char *what, struct word *out, bool *any)
{
	*any = take(p, "any");
	return *any || take_string(p, what, out);
}

static void unknown_place(struct parser *p, const struct word *w)
{
	struct suggestion near = { .word = w->text };

	for (size_t i = 0; policy_place_at(i) != NULL; i++)
		suggest_try(&near, policy_place_at(i)->text);
	wrong(p, w->span, "the node has no place '%.*s'%s%s%s; docs/policy.md lists them", SLICE_FMT(slice_head(w->text, POLICY_NAME_BYTES_MAX)),
	      near.best == NULL ? "" : "; did you mean '", near.best == NULL ? "" : near.best, near.best == NULL ? "" : "'?");
}

/* The typed name of an object into s->thing, s->text, s->of. False: it is none, or wrong (then p->failed). */
static bool take_thing(struct parser *p, struct statement *s)
{
	bool tree = at_word(p, "tree");
	uint64_t port;

	if (tree || at_word(p, "file")) {
		if (p->ahead.kind != TOKEN_STRING)
			return false;	/* the class `file` */
		advance(p);
		s->thing.class = POLICY_FILE;
		s->thing.kind = tree ? POLICY_TREE : POLICY_PATH;
		return take_string(p, "a path in quotes", &s->text);
	}
	if (at_word(p, "nic") && (p->ahead.kind == TOKEN_STRING || ahead_word(p, "any"))) {
		advance(p);
		s->thing.class = POLICY_PORT;
		s->thing.kind = POLICY_NIC;
		if (!take_text_or_any(p, "an interface in quotes, or any", &s->text, &s->any_text))
			return false;
		if (!s->any_text && s->text.text.len > POLICY_NIC_BYTES_MAX)
			wrong(p, s->text.span, "no interface can have this name: they have at most %d bytes", POLICY_NIC_BYTES_MAX);
		return !p->failed;
	}
	if (at_word(p, "host") && (p->ahead.kind == TOKEN_STRING || ahead_word(p, "any"))) {
		advance(p);
		s->thing.class = POLICY_ENDPOINT;
		s->thing.kind = POLICY_HOST_PORT;
		if (!take_text_or_any(p, "a host in quotes, or any", &s->text, &s->any_text) || !need(p, "port"))
			return false;
		if (take(p, "any"))
			return true;
		if (!take_number(p, "a port", plain_units, 65535, &port))
			return false;
		s->thing.port = (uint16_t)port;
		return true;
	}
	if (at_word(p, "place") && p->ahead.kind == TOKEN_STRING) {
		const struct policy_place *place;

		advance(p);
		if (!take_string(p, "a place of the node in quotes", &s->text))
			return false;
		place = policy_place_find(s->text.text);
		if (place == NULL) {
			unknown_place(p, &s->text);
			return false;
		}
		s->thing.class = place->class;
		s->thing.kind = POLICY_PLACE;
		return true;
	}
	if (at_word(p, "message") && (p->ahead.kind == TOKEN_STRING || ahead_word(p, "any"))) {
		advance(p);
		s->thing.class = POLICY_HANDLER;
		s->thing.kind = POLICY_MESSAGE;
		if (!take_text_or_any(p, "a message in quotes, or any", &s->text, &s->any_text) || !need(p, "of"))
			return false;
		s->any_of = take(p, "any");
		if (s->any_of)
			return true;
		if (p->now.kind != TOKEN_WORD && p->now.kind != TOKEN_STRING) {
			expected(p, "the extension's name, or any");
			return false;
		}
		s->of = take_word(p);
		return true;
	}
	return false;
}

/* --- statements -------------------------------------------------------------------------------------- */

static void parse_key(struct parser *p, struct statement *s)
{
	s->kind = STATEMENT_KEY;
	if (!take_new_name(p, "key", &s->name))
		return;
	if (p->now.kind != TOKEN_EQUALS) {
		expected(p, "'='");
		return;
	}
	advance(p);
	if (need(p, "ed25519"))
		(void)take_hash(p, "a public key of 64 hexadecimal digits ('prickle spine key show' prints it)", &s->key);
}

static void parse_origin_tail(struct parser *p, struct statement *s)
{
	while (!p->failed) {
		if (take(p, "signed-by")) {
			if (p->now.kind != TOKEN_WORD && p->now.kind != TOKEN_STRING) {
				expected(p, "the name of a key");
				return;
			}
			s->signer = take_word(p);
		} else if (take(p, "sha256")) {
			if (!take_hash(p, "a SHA-256 of 64 hexadecimal digits", &s->hash))
				return;
		} else {
			return;
		}
	}
}

static void parse_domain(struct parser *p, struct statement *s)
{
	static const char *const kinds[] = { "ebpf", "jvm", "service", "program", NULL };

	s->kind = STATEMENT_DOMAIN;
	if (!take_new_name(p, "domain", &s->name))
		return;
	if (p->now.kind != TOKEN_EQUALS) {
		expected(p, "'='");
		return;
	}
	advance(p);
	if (take(p, "ebpf")) {
		s->subject_kind = POLICY_EBPF;
		s->any_text = take(p, "any");
		if (!s->any_text && !need(p, "object"))
			return;
		if (p->now.kind == TOKEN_STRING && !s->any_text && !take_string(p, "the extension's name", &s->text))
			return;
		parse_origin_tail(p, s);
	} else if (take(p, "jvm")) {
		s->subject_kind = POLICY_JVM;
		if (!need(p, "code") || !take_string(p, "a jar's name in quotes", &s->text))
			return;
		parse_origin_tail(p, s);
		if (!p->failed && slice_find_byte(s->text.text, '*') != SLICE_NPOS && s->signer.text.len == 0 && s->hash == NULL)
			wrong(p, s->text.span, "a pattern needs 'signed-by KEY' or 'sha256 HASH': whoever can name a file could be this domain");
	} else if (take(p, "service")) {
		s->subject_kind = POLICY_SERVICE;
		if (need(p, "role"))
			(void)take_string(p, "the name of a process role in quotes ('prickle roles' lists them)", &s->text);
	} else if (take(p, "program")) {
		s->subject_kind = POLICY_PROGRAM;
		s->any_text = p->now.kind != TOKEN_STRING;
		if (!s->any_text && take_string(p, "a path", &s->text) && !path_is_normal(s->text.text))
			wrong(p, s->text.span, "the path of a program is absolute, without empty, '.' and '..' segments");
	} else {
		expected_one_of(p, "what the domain is: 'ebpf', 'jvm', 'service' or 'program'", kinds);
	}
}

static void parse_role(struct parser *p, struct statement *s)
{
	s->kind = STATEMENT_ROLE;
	if (!take_new_name(p, "role", &s->name))
		return;
	if (p->now.kind != TOKEN_EQUALS) {
		expected(p, "'='");
		return;
	}
	advance(p);
	if (!need(p, "principal"))
		return;
	if (take(p, "mapped")) {
		s->subject_kind = POLICY_BY_DIRECTORY;
		if (need(p, "by"))
			(void)need(p, "directory");
	} else if (take(p, "in")) {
		s->subject_kind = POLICY_IN_GROUP;
		if (need(p, "group"))
			(void)take_string(p, "the name of a group in quotes", &s->text);
	} else if (take(p, "root")) {
		s->subject_kind = POLICY_ROOT;
	} else if (take(p, "by")) {
		s->subject_kind = POLICY_BY_TICKET;
		(void)need(p, "ticket");
	} else {
		expected_one_of(p, "who it is: 'mapped by directory', 'in group \"NAME\"', 'root' or 'by ticket'",
				(const char *const[]){ "mapped", "in", "root", "by", NULL });
	}
}

static void parse_label(struct parser *p, struct statement *s)
{
	s->kind = STATEMENT_LABEL;
	if (p->now.kind != TOKEN_WORD) {
		expected(p, "a class ('port', 'file', 'endpoint' or 'handler')");
		return;
	}
	s->class = take_word(p);
	if (!take_new_name(p, "label", &s->name))
		return;
	if (p->now.kind != TOKEN_EQUALS) {
		expected(p, "'='");
		return;
	}
	advance(p);
	if (!take_thing(p, s) && !p->failed) {
		expected_one_of(p, "what it stands for: nic \"eth0\", tree \"/srv\", file \"/etc/hosts\", host \"db\" port 5432, message \"put\" of EXTENSION, or place \"state\"",
				(const char *const[]){ "nic", "tree", "file", "host", "message", "place", NULL });
		return;
	}
	if (!p->failed && s->thing.class == POLICY_FILE && s->thing.kind != POLICY_PLACE && !path_is_normal(s->text.text))
		wrong(p, s->text.span, "a path is absolute, without empty, '.' and '..' segments and without a slash at its end");
}

static bool take_subjects(struct parser *p, struct statement *s, bool may_be_any)
{
	if (may_be_any && take(p, "any")) {
		s->any_subject = true;
		return !take(p, "but") || take_words(p, "a domain or role", false, &s->subjects);
	}
	return take_words(p, "a domain or role", false, &s->subjects);
}

static bool take_use(struct parser *p, struct statement *s)
{
	s->use = true;
	if (p->now.kind != TOKEN_WORD) {
		expected(p, "what is used: 'helper', 'kfunc', 'map-type', 'program-type' or 'class'");
		return false;
	}
	s->use_kind = take_word(p);
	return take_words(p, "what may be used", false, &s->objects);
}

static void parse_rule(struct parser *p, struct statement *s, enum statement_kind kind)
{
	s->kind = kind;
	if (!take_subjects(p, s, kind != STATEMENT_ALLOW))
		return;
	if (at_word(p, "use") && kind != STATEMENT_AUDIT) {
		advance(p);
		if (!take_use(p, s))
			return;
		s->revocable = kind == STATEMENT_ALLOW && take(p, "revocable");
		parse_tail(p, s);
		return;
	}
	if (!take_words(p, "a permission", false, &s->permissions) || !take_words(p, "an object or a class of objects", false, &s->objects))
		return;
	if (kind == STATEMENT_ALLOW && take(p, "where")) {
		do {
			if (!take_predicate(p, &s->predicates))
				return;
		} while (take(p, "or"));
	}
	if (kind != STATEMENT_ALLOW && take(p, "except") && !take_words(p, "an object that is excepted", false, &s->except))
		return;
	if (kind == STATEMENT_NEVER && take(p, "by")) {
		s->by_any_path = true;
		if (!need(p, "any") || !need(p, "path"))
			return;
	}
	if (kind == STATEMENT_AUDIT)
		(void)need(p, "always");
	else
		parse_tail(p, s);
}

static void parse_enter(struct parser *p, struct statement *s)
{
	uint64_t seconds;

	s->kind = STATEMENT_ENTER;
	if (p->now.kind != TOKEN_WORD || is_keyword(p->now.text)) {
		expected(p, "a domain or role");
		return;
	}
	s->name = take_word(p);
	if (p->now.kind != TOKEN_ARROW) {
		expected(p, "'->'");
		return;
	}
	advance(p);
	if (p->now.kind != TOKEN_WORD || is_keyword(p->now.text)) {
		expected(p, "the domain or role that is entered");
		return;
	}
	s->to = take_word(p);
	if (take(p, "with")) {
		if (!need(p, "ticket"))
			return;
		s->ticket = true;
	}
	if (take(p, "for")) {
		if (!take_number(p, "a time such as 30m, 12h or 2d", time_units, POLICY_TICKET_S_MAX, &seconds))
			return;
		s->seconds = (uint32_t)seconds;
	}
	parse_tail(p, s);
}

/* 2026-01-31: the trial ends when that day begins (UTC). */
static bool take_date(struct parser *p, int64_t *out)
{
	struct slice year, month, day, rest;
	struct date d = { 0 };
	uint64_t y, m, n;

	if (p->now.kind != TOKEN_WORD || !slice_cut(p->now.text, '-', &year, &rest) || !slice_cut(rest, '-', &month, &day) ||
	    year.len != 4 || month.len != 2 || day.len != 2 || !slice_u64(year, 9999, &y) || !slice_u64(month, 12, &m) ||
	    !slice_u64(day, 31, &n)) {
		expected(p, "a date such as 2027-01-31");
		return false;
	}
	d.year = (int64_t)y;
	d.month = (int)m;
	d.day = (int)n;
	if (y < 1971 || !date_valid(&d)) {
		wrong(p, p->now.span, "the calendar has no such day");
		return false;
	}
	*out = date_to_unix(&d);
	advance(p);
	return true;
}

static void parse_trial(struct parser *p, struct statement *s)
{
	s->kind = STATEMENT_TRIAL;
	if (!at_word(p, "until") && !take_words(p, "a domain or role, or 'until'", false, &s->subjects))
		return;
	if (need(p, "until"))
		(void)take_date(p, &s->trial_until);
}

static void parse_limit(struct parser *p, struct statement *s)
{
	static const char *const limits[] = { "instructions", "cpu", "memory", "unbounded", "terminal", "tail-calls", NULL };
	uint64_t n;

	s->kind = STATEMENT_LIMIT;
	if (!take_words(p, "a domain", false, &s->subjects))
		return;
	for (;;) {
		if (take(p, "instructions")) {
			if (!take_number(p, "a number of instructions", plain_units, 1000000, &n))
				return;
			s->instructions_max = (uint32_t)n;
		} else if (take(p, "cpu")) {
			if (!take_number(p, "a share of a processor such as 20%", cpu_units, 1000, &n))
				return;
			s->cpu_permille = (uint32_t)n;
		} else if (take(p, "memory")) {
			if (!take_number(p, "an amount of memory such as 16 MiB", byte_units, UINT64_C(1) << 40, &s->memory_bytes_max))
				return;
		} else if (take(p, "unbounded")) {
			s->unbounded = true;
		} else if (take(p, "terminal")) {
			s->terminal = true;
		} else if (take(p, "tail-calls")) {
			s->tail_calls = true;
		} else {
			expected_one_of(p, "a limit ('instructions', 'cpu', 'memory', 'unbounded', 'terminal' or 'tail-calls')", limits);
			return;
		}
		if (p->now.kind != TOKEN_COMMA)
			return;
		advance(p);
	}
}

static void parse_expect(struct parser *p, struct statement *s)
{
	s->kind = STATEMENT_EXPECT;
	if (take(p, "allow")) {
		s->expectation = POLICY_EXPECT_ALLOW;
	} else if (take(p, "deny")) {
		s->expectation = POLICY_EXPECT_DENY;
	} else if (take(p, "static")) {
		s->expectation = POLICY_EXPECT_STATIC;
	} else {
		expected_one_of(p, "'allow', 'deny' or 'static'", (const char *const[]){ "allow", "deny", "static", NULL });
		return;
	}
	if (!take_words(p, "a domain or role", false, &s->subjects))
		return;
	if (take(p, "use")) {
		if (take_use(p, s))
			parse_tail(p, s);
		return;
	}
	if (!take_words(p, "a permission", false, &s->permissions))
		return;
	if (take_thing(p, s)) {
		s->typed = true;
	} else if (p->failed) {
		return;
	} else if (p->now.kind == TOKEN_STRING || (p->now.kind == TOKEN_WORD && !is_keyword(p->now.text) && !at_word(p, "because"))) {
		if (!take_words(p, "an object", true, &s->objects))
			return;
	} else if (s->expectation != POLICY_EXPECT_STATIC) {
		expected(p, "an object");
		return;
	}
	parse_tail(p, s);
}

static void parse_module(struct parser *p)
{
	struct reading *r = p->r;
	struct word name;

	if (!take_new_name(p, "module", &name))
		return;
	for (size_t i = 0; i < r->module_count; i++)
		if (slice_eq(name.text, slice_str(r->modules[i]))) {
			p->module = (uint16_t)i;
			return;
		}
	if (r->module_count == POLICY_MODULES_MAX) {
		wrong(p, name.span, "more than %d modules", POLICY_MODULES_MAX);
		return;
	}
	p->module = (uint16_t)r->module_count;
	r->modules[r->module_count++] = keep(p, name.text);
}

/* A file's name from where the main one is: two directories may each have a "rules.policy". */
static const char *import_path(struct parser *p, struct slice name)
{
	struct slice from = slice_str(p->file);
	size_t slash = slice_rfind_byte(from, '/');
	AUTO_BUF struct buf path = BUF_INIT(POLICY_IMPORT_DEPTH_MAX * (POLICY_STRING_BYTES_MAX + 1));

	buf_add(&path, slice_head(from, slash == SLICE_NPOS ? 0 : slash + 1));
	buf_add(&path, name);
	return keep(p, buf_slice(&path));
}

static void parse_import(struct parser *p)
{
	struct policy_span span = p->now.span;
	struct slice text = { 0 };
	struct errmsg why = { 0 };
	struct word name;
	const char *kept;

	if (take(p, "default")) {
		name = (struct word){ SLICE("default"), span, false };
		text = policy_default_text();
	} else if (!take_string(p, "a file in quotes, or default", &name)) {
		return;
	}
	kept = name.string ? import_path(p, name.text) : "default";
	for (size_t i = 0; i < p->r->source_count; i++)
		if (strcmp(p->r->sources[i].name, kept) == 0)
			return;		/* once is enough: rules only add */
	if (name.string && (name.text.ptr[0] == '/' || slice_find(name.text, SLICE("..")) != SLICE_NPOS)) {
		wrong(p, span, "imports are files below the directory of the file that imports them, without '..'");
	} else if (p->r->depth == POLICY_IMPORT_DEPTH_MAX) {
		wrong(p, span, "imports are nested more than %d deep", POLICY_IMPORT_DEPTH_MAX);
	} else if (p->r->source_count == POLICY_SOURCES_MAX) {
		wrong(p, span, "more than %d files", POLICY_SOURCES_MAX);
	} else if (name.string && p->r->import == NULL) {
		wrong(p, span, "there are no files to import from here");
	} else if (name.string && p->r->import(p->r->import_arg, p->file, keep(p, name.text), &text, &why) != 0) {
		wrong(p, span, "%s", why.text);
	} else if (!reading_source(p->r, kept, text)) {
		p->out_of_memory = true;
	}
}

static void add_statement(struct parser *p, struct statement *s)
{
	*p->r->last = s;
	p->r->last = &s->next;
}

/* Where the next statement can begin: a keyword that is not the tail `audit always`. */
static void skip_statement(struct parser *p)
{
	while (p->now.kind != TOKEN_END && !(p->now.kind == TOKEN_WORD && is_keyword(p->now.text) &&
					     !(at_word(p, "audit") && ahead_word(p, "always"))))
		advance(p);
}

static void parse_one(struct parser *p)
{
	struct policy_span span = p->now.span;
	struct statement *s;

	if (take(p, "module")) {
		parse_module(p);
		return;
	}
	if (take(p, "import")) {
		parse_import(p);
		return;
	}
	if (p->r->statement_count == POLICY_STATEMENTS_MAX) {
		wrong(p, span, "more than %d statements", POLICY_STATEMENTS_MAX);
		p->out_of_memory = true;	/* nothing behind this is read */
		return;
	}
	s = allocate(p, 1, sizeof(*s));
	if (s == NULL)
		return;
	s->span = span;
	s->module = p->module;
	s->id = ++p->r->statement_count;
	if (take(p, "key"))
		parse_key(p, s);
	else if (take(p, "domain"))
		parse_domain(p, s);
	else if (take(p, "role"))
		parse_role(p, s);
	else if (take(p, "label"))
		parse_label(p, s);
	else if (take(p, "allow"))
		parse_rule(p, s, STATEMENT_ALLOW);
	else if (take(p, "never"))
		parse_rule(p, s, STATEMENT_NEVER);
	else if (take(p, "enter"))
		parse_enter(p, s);
	else if (take(p, "audit"))
		parse_rule(p, s, STATEMENT_AUDIT);
	else if (take(p, "trial"))
		parse_trial(p, s);
	else if (take(p, "limit"))
		parse_limit(p, s);
	else if (take(p, "expect"))
		parse_expect(p, s);
	if (p->failed)
		return;
	/* Carets stand below the whole statement, or what of it is on its first line. */
	if (p->last.line == span.line && p->last.column + p->last.width - span.column <= UINT16_MAX)
		s->span.width = (uint16_t)(p->last.column + p->last.width - span.column);
	add_statement(p, s);
}

bool reading_source(struct reading *r, const char *name, struct slice text)
{
	struct parser p = { .r = r, .file = name };
	uint16_t source = (uint16_t)r->source_count;
	static const char *const words[] = { "module", "import", "key", "domain", "role", "label", "allow", "never", "enter", "audit",
					     "trial", "limit", "expect", NULL };

	if (r->source_count == POLICY_SOURCES_MAX)
		return false;
	r->sources[r->source_count++] = (struct policy_source){ name, text };
	r->diag.source_count = r->source_count;
	if (text.len > POLICY_TEXT_BYTES_MAX) {
		diag_error(&r->diag, (struct policy_span){ .source = source, .line = 1, .column = 1 }, "this file has more than %d bytes",
			   POLICY_TEXT_BYTES_MAX);
		return true;
	}
	r->depth++;
	lexer_init(&p.lexer, source, text);
	advance(&p);
	advance(&p);
	while (p.now.kind != TOKEN_END && !p.out_of_memory) {
		p.failed = false;
		if (p.now.kind == TOKEN_WORD && is_keyword(p.now.text))
			parse_one(&p);
		else
			expected_one_of(&p, "a statement", words);
		if (p.failed)
			skip_statement(&p);
	}
	r->depth--;
	return !p.out_of_memory || r->statement_count == POLICY_STATEMENTS_MAX;
}
