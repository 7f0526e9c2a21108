#include "mail/message/header.h"

#include "mail/message/limits.h"

static inline bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

/* Length of the line at s, LF included; all of s when there is none. */
static size_t line_len(struct slice s)
{
	const uint8_t *lf = s.len == 0 ? NULL : memchr(s.ptr, '\n', s.len);

	return lf == NULL ? s.len : (size_t)(lf - s.ptr) + 1;
}

static struct slice without_eol(struct slice s)
{
	if (s.len > 0 && s.ptr[s.len - 1] == '\n') {
		s.len--;
		if (s.len > 0 && s.ptr[s.len - 1] == '\r')
			s.len--;
	}
	return s;
}

void header_split(struct slice raw, struct slice *name, struct slice *value)
{
	struct slice first = without_eol(slice_head(raw, line_len(raw)));
	size_t colon = slice_find_byte(first, ':');
	size_t name_len = colon;

	while (colon != SLICE_NPOS && name_len > 0 && is_blank(first.ptr[name_len - 1]))
		name_len--;
	if (colon == SLICE_NPOS || name_len > MESSAGE_FIELD_NAME_MAX) {
		*name = slice_of(raw.ptr, 0);
		*value = raw;
		return;
	}
	size_t at = colon + 1;
	while (at < first.len && is_blank(first.ptr[at]))
		at++;
	if (at == first.len && first.len > colon + 1)
		at = colon + 2;
	*name = slice_head(first, name_len);
	*value = slice_from(raw, at);
}

bool header_next(struct header_iter *it, struct header_field *out)
{
	struct slice rest = it->rest;

	if (rest.len == 0 || rest.ptr[0] == '\n' ||
	    (rest.ptr[0] == '\r' && rest.len > 1 && rest.ptr[1] == '\n')) {
		return false;
	}
	size_t len = line_len(rest);
	while (len < rest.len && is_blank(rest.ptr[len]))
		len += line_len(slice_from(rest, len));
	out->raw = slice_head(rest, len);
	header_split(without_eol(out->raw), &out->name, &out->value);
	it->rest = slice_from(rest, len);
	return true;
}

bool header_find(struct slice block, const char *name, struct slice *value)
{
	struct header_iter it = header_iter(block);
	struct header_field field;

	while (header_next(&it, &field)) {
		if (slice_eq_nocase(field.name, slice_str(name))) {
			*value = field.value;
			return true;
		}
	}
	return false;
}

/* Bytes that unfolding changes. */
static bool needs_unfold(struct slice s)
{
	return s.len > 0 && (memchr(s.ptr, '\n', s.len) != NULL || memchr(s.ptr, '\r', s.len) != NULL ||
			     memchr(s.ptr, 0, s.len) != NULL);
}

struct slice header_unfold(struct arena *arena, struct slice value)
{
	if (!needs_unfold(value))
		return value;
	/* Only NUL grows, from one byte to three. */
	size_t nul_count = 0, len = 0;
	for (size_t i = 0; i < value.len; i++)
		nul_count += value.ptr[i] == 0;
	uint8_t *out = arena_alloc(arena, value.len + 2 * nul_count);
	if (out == NULL)
		return (struct slice){ 0 };
	for (size_t i = 0; i < value.len; i++) {
		uint8_t c = value.ptr[i];
		uint8_t next = i + 1 < value.len ? value.ptr[i + 1] : '\n';

		if (c == 0) {
			memcpy(out + len, "\xef\xbf\xbd", 3);
			len += 3;
		} else if (c != '\r' && c != '\n') {
			out[len++] = c;
		} else if (!is_blank(next) && next != '\r' && next != '\n') {
			out[len++] = ' ';
		}
	}
	return slice_of(out, len);
}

struct slice header_unfold_packed(struct arena *arena, struct slice value)
{
	struct slice flat = header_unfold(arena, value);
	bool change = false;

	for (size_t i = 0; i < flat.len && !change; i++)
		change = flat.ptr[i] == '\t' ||
			 (flat.ptr[i] == ' ' && (i == 0 || i + 1 == flat.len || is_blank(flat.ptr[i + 1])));
	if (!change)
		return flat;
	uint8_t *out = arena_alloc(arena, flat.len);
	size_t len = 0;
	if (out == NULL)
		return (struct slice){ 0 };
	for (size_t i = 0; i < flat.len; i++) {
		if (!is_blank(flat.ptr[i]))
			out[len++] = flat.ptr[i];
		else if (len > 0 && out[len - 1] != ' ')
			out[len++] = ' ';
	}
	if (len > 0 && out[len - 1] == ' ')
		len--;
	return slice_of(out, len);
}

void header_select(struct buf *out, struct slice block, const struct slice *names, size_t name_count,
		   bool not_these)
{
	struct header_iter it = header_iter(block);
	struct header_field field;

	while (header_next(&it, &field)) {
		bool listed = false;
		for (size_t i = 0; i < name_count && !listed; i++)
			listed = slice_eq_nocase(field.name, names[i]);
		if (listed == not_these)
			continue;
		buf_add(out, field.raw);
	}
	/* RFC 9051 §6.4.5: the blank line is part of every subset, unless the message has none. */
	buf_add(out, it.rest);
}
