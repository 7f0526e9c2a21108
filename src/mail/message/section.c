#include "mail/message/section.h"

/* Numbers above this name no part (RFC 9051 nz-number is 32 bits). */
static bool number(struct slice *text, uint32_t *out)
{
	uint64_t n = 0;
	size_t i = 0;

	while (i < text->len && ascii_digit(text->ptr[i])) {
		n = n * 10 + text->ptr[i++] - '0';
		if (n > UINT32_MAX)
			return false;
	}
	if (i == 0 || text->ptr[0] == '0')
		return false;
	*out = (uint32_t)n;
	*text = slice_from(*text, i);
	return true;
}

/* astring without literals: atom or quoted string. */
static bool name(struct arena *arena, struct slice *text, struct slice *out)
{
	size_t i = 0;

	if (text->len > 0 && text->ptr[0] == '"') {
		uint8_t *copy = arena_alloc(arena, text->len);
		size_t n = 0;
		if (copy == NULL)
			return false;
		for (i = 1; i < text->len && text->ptr[i] != '"'; i++) {
			if (text->ptr[i] == '\\' && ++i == text->len)
				return false;
			copy[n++] = text->ptr[i];
		}
		if (i >= text->len)
			return false;
		*out = slice_of(copy, n);
		*text = slice_from(*text, i + 1);
		return true;
	}
	while (i < text->len && text->ptr[i] > ' ' && text->ptr[i] != '(' && text->ptr[i] != ')' &&
	       text->ptr[i] != '{' && text->ptr[i] != '"' && text->ptr[i] != '\\' && text->ptr[i] != '%' &&
	       text->ptr[i] != '*' && text->ptr[i] != 0x7f)
		i++;
	*out = slice_head(*text, i);
	*text = slice_from(*text, i);
	return i > 0;
}

/* " (name name ...)" to the end of the text */
static enum section_result names(struct arena *arena, struct slice text, struct section *out)
{
	size_t count = 1;

	if (!slice_starts(text, SLICE(" (")) || !slice_ends(text, SLICE(")")))
		return SECTION_BAD_SYNTAX;
	text = slice_sub(text, 2, text.len - 1);
	for (size_t i = 0; i < text.len; i++)
		count += text.ptr[i] == ' ';
	out->names = arena_array(arena, count, sizeof(*out->names));
	if (out->names == NULL)
		return SECTION_FULL;
	for (;;) {
		if (!name(arena, &text, &out->names[out->name_count]))
			return arena->err != 0 ? SECTION_FULL : SECTION_BAD_SYNTAX;
		out->name_count++;
		if (text.len == 0)
			return SECTION_OK;
		if (text.ptr[0] != ' ' || out->name_count == count)
			return SECTION_BAD_SYNTAX;
		text = slice_from(text, 1);
	}
}

enum section_result section_parse(struct arena *arena, struct slice text, struct section *out)
{
	struct section s = { 0 };
	uint32_t numbers[SECTION_DEPTH_MAX];
	bool dot = false;

	while (text.len > 0 && ascii_digit(text.ptr[0])) {
		if (s.depth == SECTION_DEPTH_MAX || !number(&text, &numbers[s.depth]))
			return SECTION_BAD_SYNTAX;
		s.depth++;
		dot = text.len > 0 && text.ptr[0] == '.';
		if (!dot && text.len > 0)
			return SECTION_BAD_SYNTAX;
		text = slice_from(text, 1);
	}
	if (dot && text.len == 0)
		return SECTION_BAD_SYNTAX;
	enum section_result r = SECTION_OK;
	if (text.len == 0) {
		s.kind = s.depth == 0 ? SECTION_ALL : SECTION_PART;
	} else if (slice_eq_nocase(text, SLICE("HEADER"))) {
		s.kind = SECTION_HEADER;
	} else if (slice_eq_nocase(text, SLICE("TEXT"))) {
		s.kind = SECTION_TEXT;
	} else if (slice_eq_nocase(text, SLICE("MIME"))) {
		s.kind = SECTION_MIME;
		if (s.depth == 0)
			return SECTION_BAD_SYNTAX;
	} else if (slice_starts_nocase(text, SLICE("HEADER.FIELDS.NOT "))) {
		s.kind = SECTION_FIELDS_NOT;
		r = names(arena, slice_from(text, 17), &s);
	} else if (slice_starts_nocase(text, SLICE("HEADER.FIELDS "))) {
		s.kind = SECTION_FIELDS;
		r = names(arena, slice_from(text, 13), &s);
	} else {
		r = SECTION_BAD_SYNTAX;
	}
	if (r != SECTION_OK)
		return r;
	if (s.depth > 0) {
		s.numbers = arena_array(arena, s.depth, sizeof(*s.numbers));
		if (s.numbers == NULL)
			return SECTION_FULL;
		memcpy(s.numbers, numbers, s.depth * sizeof(*s.numbers));
	}
	*out = s;
	return SECTION_OK;
}

/* RFC 9051 §6.4.5: numbers count parts of multiparts; a message inside passes them on to its content. */
static const struct mime_part *part_find(const struct mime *mime, const struct section *section)
{
	const struct mime_part *p = mime->root;

	for (uint32_t i = 0; i < section->depth; i++) {
		uint32_t n = section->numbers[i];
		/* Below the first number, a message/rfc822 stands for the message in it. */
		if (i > 0 && p->kind == MIME_MESSAGE)
			p = p->children;
		else if (i > 0 && p->kind != MIME_MULTIPART)
			return NULL;
		if (p->kind == MIME_MULTIPART) {
			p = p->children;
			while (p != NULL && --n > 0)
				p = p->next;
			if (p == NULL)
				return NULL;
		} else if (n != 1) {
			return NULL;
		}
	}
	return p;
}

static struct section_range header_of(const struct mime_part *p)
{
	return (struct section_range){ p->header_at, p->header_bytes, p };
}

static struct section_range body_of(const struct mime_part *p)
{
	return (struct section_range){ p->body_at, p->body_bytes, p };
}

enum section_result section_find(const struct mime *mime, const struct section *section, struct section_range *out)
{
	const struct mime_part *p = part_find(mime, section);

	if (p == NULL)
		return SECTION_NO_SUCH_PART;
	switch (section->kind) {
	case SECTION_ALL:
		*out = (struct section_range){ 0, mime->size, p };
		return SECTION_OK;
	case SECTION_PART:
		*out = body_of(p);
		return SECTION_OK;
	case SECTION_MIME:
		*out = header_of(p);
		return SECTION_OK;
	default:
		break;
	}
	/* HEADER and TEXT with numbers are those of the message that the part holds. */
	if (section->depth > 0) {
		if (p->kind != MIME_MESSAGE)
			return SECTION_NO_SUCH_PART;
		p = p->children;
	}
	*out = section->kind == SECTION_TEXT ? body_of(p) : header_of(p);
	return SECTION_OK;
}

enum section_result section_binary(const struct mime *mime, const struct section *section, struct section_range *out,
				   enum mime_encoding *encoding)
{
	struct section_range range;

	if (section->kind != SECTION_ALL && section->kind != SECTION_PART)
		return SECTION_BAD_SYNTAX;
	enum section_result r = section_find(mime, section, &range);
	if (r != SECTION_OK)
		return r;
	/* The whole message, multiparts and messages are never encoded themselves (RFC 2045 §6.4). */
	*encoding = MIME_BINARY;
	if (section->kind == SECTION_PART && range.part->kind == MIME_LEAF) {
		*encoding = (enum mime_encoding)range.part->encoding_kind;
		if (*encoding == MIME_UNKNOWN_ENCODING)
			return SECTION_UNKNOWN_ENCODING;
	}
	*out = range;
	return SECTION_OK;
}
