#include "mail/imap/fetch.h"

#include "mail/imap/limits.h"
#include "mail/imap/write.h"

static const struct {
	const char *name;
	enum fetch_kind kind;
	bool sets_seen, needs_body;
} names[] = {
	{ "UID", FETCH_UID, false, false },
	{ "FLAGS", FETCH_FLAGS, false, false },
	{ "INTERNALDATE", FETCH_INTERNALDATE, false, false },
	{ "RFC822.SIZE", FETCH_RFC822_SIZE, false, false },
	{ "ENVELOPE", FETCH_ENVELOPE, false, false },
	{ "BODYSTRUCTURE", FETCH_BODYSTRUCTURE, false, false },
	{ "RFC822.HEADER", FETCH_RFC822_HEADER, false, true },
	{ "RFC822.TEXT", FETCH_RFC822_TEXT, true, true },
	{ "RFC822", FETCH_RFC822, true, true },
	{ "MODSEQ", FETCH_MODSEQ, false, false },
	{ "EMAILID", FETCH_EMAILID, false, false },
	{ "THREADID", FETCH_THREADID, false, false },
};

/* section-part = nz-number *("." nz-number); stops before ".TEXT" and the like. */
static void parse_parts(struct imap_lex *l, struct section *s)
{
	uint32_t parts[SECTION_DEPTH_MAX];
	size_t n = 0;

	while (ascii_digit(lex_next(l))) {
		if (n == SECTION_DEPTH_MAX) {
			lex_limit(l, "a part specifier is too deep");
			return;
		}
		parts[n++] = lex_nz_number(l);
		if (l->bad || lex_next(l) != '.' || l->end - l->at < 2 || !ascii_digit(l->at[1]))
			break;
		l->at++;
	}
	if (n == 0 || l->bad)
		return;
	s->numbers = arena_array(l->arena, n, sizeof(*parts));
	if (s->numbers == NULL) {
		lex_limit(l, "the command needs too much memory");
		return;
	}
	memcpy(s->numbers, parts, n * sizeof(*parts));
	s->depth = (uint32_t)n;
}

static void parse_fields(struct imap_lex *l, struct section *s)
{
	if (!lex_sp(l) || !lex_expect(l, '(', "a list of header names is missing"))
		return;
	s->names = arena_array(l->arena, IMAP_HEADER_FIELDS_MAX, sizeof(*s->names));
	if (s->names == NULL) {
		lex_limit(l, "the command needs too much memory");
		return;
	}
	do {
		if (s->name_count == IMAP_HEADER_FIELDS_MAX) {
			lex_limit(l, "too many header names");
			return;
		}
		s->names[s->name_count++] = lex_astring(l);
	} while (lex_take(l, ' '));
	lex_expect(l, ')', "a list of header names is not closed");
}

static void parse_section(struct imap_lex *l, struct section *s)
{
	if (!lex_expect(l, '[', "a section is missing"))
		return;
	parse_parts(l, s);
	s->kind = s->depth > 0 ? SECTION_PART : SECTION_ALL;
	if (l->bad || lex_take(l, ']'))
		return;
	if (s->depth > 0 && !lex_expect(l, '.', "a section is not well formed"))
		return;
	if (lex_keyword(l, "HEADER.FIELDS.NOT")) {
		s->kind = SECTION_FIELDS_NOT;
		parse_fields(l, s);
	} else if (lex_keyword(l, "HEADER.FIELDS")) {
		s->kind = SECTION_FIELDS;
		parse_fields(l, s);
	} else if (lex_keyword(l, "HEADER")) {
		s->kind = SECTION_HEADER;
	} else if (lex_keyword(l, "TEXT")) {
		s->kind = SECTION_TEXT;
	} else if (s->depth > 0 && lex_keyword(l, "MIME")) {
		s->kind = SECTION_MIME;
	} else {
		lex_fail(l, "no such section");
		return;
	}
	lex_expect(l, ']', "a section is not closed");
}

/* partial = "<" number64 "." nz-number64 ">" (RFC 9051 §9) */
static void parse_partial(struct imap_lex *l, struct fetch_item *item)
{
	if (!lex_take(l, '<'))
		return;
	item->partial = true;
	item->offset = lex_number64(l);
	lex_expect(l, '.', "a partial is not well formed");
	item->length = lex_number64(l);
	if (item->length == 0)
		lex_fail(l, "a partial of no bytes");
	lex_expect(l, '>', "a partial is not closed");
}

static void parse_item(struct imap_lex *l, struct fetch_program *p)
{
	struct fetch_item *item;

	if (p->count == IMAP_FETCH_ITEMS_MAX) {
		lex_limit(l, "too many items");
		return;
	}
	item = &p->items[p->count];
	*item = (struct fetch_item){ .peek = true };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!lex_keyword(l, names[i].name))
			continue;
		item->kind = names[i].kind;
		item->peek = !names[i].sets_seen;
		p->needs_body |= names[i].needs_body;
		goto found;
	}
	if (lex_keyword(l, "BODY.PEEK")) {
		item->kind = FETCH_SECTION;
	} else if (lex_keyword(l, "BINARY.PEEK")) {
		item->kind = FETCH_BINARY;
	} else if (lex_keyword(l, "BINARY.SIZE")) {
		item->kind = FETCH_BINARY_SIZE;
	} else if (lex_keyword(l, "BINARY")) {
		item->kind = FETCH_BINARY;
		item->peek = false;
	} else if (lex_keyword(l, "BODY")) {
		item->kind = lex_next(l) == '[' ? FETCH_SECTION : FETCH_BODY;
		item->peek = item->kind == FETCH_BODY;
	} else {
		lex_fail(l, "no such FETCH item");
		return;
	}
	if (item->kind != FETCH_BODY) {
		p->needs_body = true;
		parse_section(l, &item->section);
		if (item->kind == FETCH_SECTION || item->kind == FETCH_BINARY)
			parse_partial(l, item);
		/* section-binary = "[" [section-part] "]" */
		if (item->kind != FETCH_SECTION && item->section.kind > SECTION_PART)
			lex_fail(l, "BINARY takes part numbers only");
	}
found:
	p->sets_seen |= !item->peek;
	p->count++;
}

static bool parse_macro(struct imap_lex *l, struct fetch_program *p)
{
	static const enum fetch_kind all[] = { FETCH_FLAGS, FETCH_INTERNALDATE, FETCH_RFC822_SIZE,
					       FETCH_ENVELOPE, FETCH_BODY };
	/* RFC 9051 §6.4.5: FAST is the first three, ALL the first four, FULL all of them. */
	size_t n = lex_keyword(l, "FAST") ? 3 : lex_keyword(l, "ALL") ? 4 : lex_keyword(l, "FULL") ? 5 : 0;

	for (size_t i = 0; i < n; i++)
		p->items[p->count++] = (struct fetch_item){ .kind = all[i], .peek = true };
	return n > 0;
}

static void parse_modifiers(struct imap_lex *l, struct fetch_program *p)
{
	if (!lex_sp(l) || !lex_expect(l, '(', "modifiers must be in parentheses"))
		return;
	do {
		if (lex_keyword(l, "CHANGEDSINCE")) {
			lex_sp(l);
			p->changedsince = true;
			p->since = lex_number64(l);
		} else if (lex_keyword(l, "VANISHED")) {
			p->vanished = true;
		} else {
			lex_fail(l, "no such FETCH modifier");
		}
	} while (lex_take(l, ' '));
	lex_expect(l, ')', "modifiers are not closed");
	/* RFC 7162 §3.2.6: VANISHED only with CHANGEDSINCE. */
	if (p->vanished && !p->changedsince)
		lex_fail(l, "VANISHED needs CHANGEDSINCE");
}

void fetch_parse(struct imap_lex *l, struct fetch_program *out)
{
	*out = (struct fetch_program){ 0 };
	/* Room for a MODSEQ and a UID that the session adds. */
	out->items = arena_array(l->arena, IMAP_FETCH_ITEMS_MAX + 2, sizeof(*out->items));
	if (out->items == NULL) {
		lex_limit(l, "the command needs too much memory");
		return;
	}
	if (lex_take(l, '(')) {
		do
			parse_item(l, out);
		while (lex_take(l, ' '));
		lex_expect(l, ')', "the list of items is not closed");
	} else if (!parse_macro(l, out)) {
		parse_item(l, out);
	}
	if (!l->bad && !lex_end(l))
		parse_modifiers(l, out);
	lex_finish(l);
}

static void write_section(const struct section *s, struct buf *out)
{
	static const char *const texts[] = {
		[SECTION_ALL] = "",
		[SECTION_PART] = "",
		[SECTION_HEADER] = "HEADER",
		[SECTION_FIELDS] = "HEADER.FIELDS",
		[SECTION_FIELDS_NOT] = "HEADER.FIELDS.NOT",
		[SECTION_TEXT] = "TEXT",
		[SECTION_MIME] = "MIME",
	};

	buf_addc(out, '[');
	for (size_t i = 0; i < s->depth; i++) {
		if (i > 0)
			buf_addc(out, '.');
		buf_dec(out, s->numbers[i]);
	}
	if (s->depth > 0 && s->kind != SECTION_PART)
		buf_addc(out, '.');
	buf_adds(out, texts[s->kind]);
	if (s->kind == SECTION_FIELDS || s->kind == SECTION_FIELDS_NOT) {
		buf_adds(out, " (");
		for (size_t i = 0; i < s->name_count; i++) {
			if (i > 0)
				buf_addc(out, ' ');
			imap_write_astring(out, s->names[i]);
		}
		buf_addc(out, ')');
	}
	buf_addc(out, ']');
}

void fetch_write_name(const struct fetch_item *item, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (names[i].kind == item->kind) {
			buf_adds(out, names[i].name);
			return;
		}
	}
	buf_adds(out, item->kind == FETCH_BINARY      ? "BINARY"
		      : item->kind == FETCH_BINARY_SIZE ? "BINARY.SIZE"
							: "BODY");
	if (item->kind == FETCH_BODY)
		return;
	write_section(&item->section, out);
	if (item->partial) {
		buf_addc(out, '<');
		buf_dec(out, item->offset);
		buf_addc(out, '>');
	}
}

bool fetch_wants(const struct fetch_program *p, enum fetch_kind kind)
{
	for (size_t i = 0; i < p->count; i++) {
		if (p->items[i].kind == kind)
			return true;
	}
	return false;
}
