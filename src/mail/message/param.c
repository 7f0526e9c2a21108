#include "mail/message/param.h"

#include <stdlib.h>

#include "mail/message/token.h"

/* One "name*3*=value" before joining; a parameter without star has `star` false. */
struct piece {
	struct slice key, value;	/* key without the star part when `star` */
	uint32_t index;
	uint32_t order;			/* keeps the sort stable */
	bool star, extended;
};

struct pieces {
	struct piece *list;
	uint32_t count, cap;
};

static struct piece *add_piece(struct arena *arena, struct pieces *p)
{
	if (p->count == MIME_PARAMS_MAX)
		return NULL;
	if (p->count == p->cap) {
		uint32_t cap = p->cap == 0 ? 4 : p->cap * 2;
		struct piece *list = arena_array(arena, cap, sizeof(*list));
		if (list == NULL)
			return NULL;
		if (p->count > 0)
			memcpy(list, p->list, p->count * sizeof(*list));
		p->list = list;
		p->cap = cap;
	}
	struct piece *piece = &p->list[p->count];
	piece->order = p->count++;
	return piece;
}

/* RFC 2231 §3: name*, name*N, name*N*. False: not of this form, so an ordinary name. */
static bool split_star(struct piece *piece, struct slice name)
{
	size_t star = slice_find_byte(name, '*');
	uint64_t index = 0;

	if (star == SLICE_NPOS)
		return false;
	size_t at = star + 1, digits = 0;
	for (; at < name.len && ascii_digit(name.ptr[at]); at++, digits++) {
		index = index * 10 + name.ptr[at] - '0';
		if (index > MIME_PARAMS_MAX)
			return false;
	}
	bool extended = digits == 0;
	if (digits > 0 && at < name.len && name.ptr[at] == '*') {
		extended = true;
		at++;
	}
	if (at != name.len)
		return false;
	piece->key = slice_head(name, star);
	piece->index = (uint32_t)index;
	piece->extended = extended;
	piece->star = true;
	return true;
}

/* "; name = value" at the semicolon. False: no parameter here (or an unfinished one). */
static bool one_param(struct token *t, struct buf *name, struct buf *value)
{
	buf_reset(name);
	buf_reset(value);
	if (*t->at != ';')
		return false;
	t->at++;
	if (token_skip(t) != TOKEN_MORE || token_mime_token(t, name) != TOKEN_MORE || *t->at != '=')
		return false;
	t->at++;
	enum token_result r = token_skip(t);
	if (r != TOKEN_MORE)
		return r == TOKEN_END;
	if (*t->at == '"')
		return token_quoted(t, value) != TOKEN_BAD;
	if (*t->at == '=') {
		/* An encoded-word without quotes, name==?utf-8?b?...?=, is no token but often seen. */
		const uint8_t *start = t->at;
		while (t->at < t->end && *t->at != ';' && *t->at != ' ' && *t->at != '\t' && *t->at != '\r' &&
		       *t->at != '\n')
			t->at++;
		buf_add(value, slice_of(start, (size_t)(t->at - start)));
		return true;
	}
	return token_mime_token(t, value) != TOKEN_BAD;
}

static int piece_order(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->star != y->star)
		return x->star ? 1 : -1;
	if (x->star) {
		int c = slice_cmp_nocase(x->key, y->key);
		if (c != 0)
			return c;
		if (x->index != y->index)
			return x->index < y->index ? -1 : 1;
	}
	return x->order < y->order ? -1 : 1;
}

/* RFC 2231 §4.1: pieces first..last of one name into one value; the whole is encoded if one piece is. */
static bool join(struct arena *arena, const struct piece *first, const struct piece *last, struct buf *text,
		 struct mime_param *out)
{
	bool encoded = false;

	for (const struct piece *p = first; p <= last; p++)
		encoded |= p->extended;
	buf_reset(text);
	if (encoded && !first->extended)
		buf_add(text, SLICE("''"));
	for (const struct piece *p = first; p <= last; p++) {
		if (!encoded || p->extended) {
			buf_add(text, p->value);
			continue;
		}
		for (size_t i = 0; i < p->value.len; i++) {
			if (p->value.ptr[i] == '%')
				buf_add(text, SLICE("%25"));
			else
				buf_addc(text, p->value.ptr[i]);
		}
	}
	out->value = arena_dup(arena, buf_slice(text));
	buf_reset(text);
	buf_add(text, first->key);
	if (encoded)
		buf_addc(text, '*');
	out->name = arena_dup(arena, buf_slice(text));
	return out->value.ptr != NULL && out->name.ptr != NULL;
}

/* Pieces with a hole in their numbers cannot be joined: show each as it was. */
static bool alone(struct arena *arena, const struct piece *p, struct buf *text, struct mime_param *out)
{
	buf_reset(text);
	buf_add(text, p->key);
	buf_addc(text, '*');
	buf_dec(text, p->index);
	if (p->extended)
		buf_addc(text, '*');
	out->name = arena_dup(arena, buf_slice(text));
	out->value = p->value;
	return out->name.ptr != NULL;
}

static void join_all(struct arena *arena, struct pieces *p, struct buf *text, const struct mime_param **params,
		     uint32_t *count)
{
	struct mime_param *out = p->count == 0 ? NULL : arena_array(arena, p->count, sizeof(*out));
	uint32_t n = 0;
	bool ok = out != NULL;

	/* Already in order unless stars are about. */
	qsort(p->list, p->count, sizeof(*p->list), piece_order);
	for (uint32_t i = 0; i < p->count && ok;) {
		struct piece *first = &p->list[i];
		uint32_t next = i + 1;
		bool whole = first->index == 0;

		if (!first->star) {
			out[n++] = (struct mime_param){ first->key, first->value };
			i = next;
			continue;
		}
		for (; next < p->count && slice_eq_nocase(p->list[next].key, first->key); next++)
			whole &= p->list[next].index == next - i;
		if (whole)
			ok = join(arena, first, &p->list[next - 1], text, &out[n++]);
		for (uint32_t k = i; k < next && !whole && ok; k++)
			ok = alone(arena, &p->list[k], text, &out[n++]);
		i = next;
	}
	*params = ok ? out : NULL;
	*count = ok ? n : 0;
}

static void read_params(struct arena *arena, struct token *t, const struct mime_param **params, uint32_t *count)
{
	size_t max = (size_t)(t->end - t->at) * 4 + 64;
	AUTO_BUF struct buf name = BUF_INIT(max);
	AUTO_BUF struct buf value = BUF_INIT(max);
	struct pieces pieces = { 0 };

	*params = NULL;
	*count = 0;
	while (t->at < t->end) {
		if (!one_param(t, &name, &value)) {
			/* Go on behind the mistake. */
			if (t->at < t->end)
				t->at++;
			continue;
		}
		struct piece *piece = add_piece(arena, &pieces);
		if (piece == NULL)
			break;
		piece->value = arena_dup(arena, buf_slice(&value));
		struct slice full_name = arena_dup(arena, buf_slice(&name));
		if (full_name.ptr == NULL || piece->value.ptr == NULL)
			return;
		if (!split_star(piece, full_name))
			piece->key = full_name;
	}
	if (pieces.count > 0)
		join_all(arena, &pieces, &name, params, count);
}

bool param_content_type(struct arena *arena, struct slice value, struct slice *type, struct slice *subtype,
			const struct mime_param **params, uint32_t *count)
{
	struct token t = token_of(value, NULL);
	AUTO_BUF struct buf text = BUF_INIT(value.len * 4 + 16);

	*params = NULL;
	*count = 0;
	if (token_skip(&t) != TOKEN_MORE || token_mime_token(&t, &text) != TOKEN_MORE || text.len == 0 || *t.at != '/')
		return false;
	size_t type_len = text.len;
	t.at++;
	if (token_skip(&t) != TOKEN_MORE)
		return false;
	if (token_mime_token(&t, &text) == TOKEN_BAD || text.len == type_len || (t.at < t.end && *t.at != ';'))
		return false;
	struct slice both = arena_dup(arena, buf_slice(&text));
	if (both.ptr == NULL)
		return false;
	*type = slice_head(both, type_len);
	*subtype = slice_from(both, type_len);
	read_params(arena, &t, params, count);
	return true;
}

bool param_disposition(struct arena *arena, struct slice value, struct slice *disposition,
		       const struct mime_param **params, uint32_t *count)
{
	struct token t = token_of(value, NULL);
	AUTO_BUF struct buf text = BUF_INIT(value.len * 4 + 16);

	*params = NULL;
	*count = 0;
	(void)token_skip(&t);
	if (token_mime_token(&t, &text) == TOKEN_BAD)
		return false;
	*disposition = arena_dup(arena, buf_slice(&text));
	if (disposition->ptr == NULL)
		return false;
	read_params(arena, &t, params, count);
	return true;
}

struct slice param_token(struct arena *arena, struct slice value)
{
	struct token t = token_of(value, NULL);
	AUTO_BUF struct buf text = BUF_INIT(value.len * 4 + 16);

	(void)token_skip(&t);
	if (token_mime_token(&t, &text) == TOKEN_END && text.len > 0)
		return arena_dup(arena, buf_slice(&text));
	return (struct slice){ 0 };
}

const struct slice *param_languages(struct arena *arena, struct slice value, uint32_t *count)
{
	struct token t = token_of(value, NULL);
	AUTO_BUF struct buf text = BUF_INIT(value.len * 4 + 16);
	uint32_t commas = 0, n = 0;

	*count = 0;
	for (size_t i = 0; i < value.len; i++)
		commas += value.ptr[i] == ',';
	struct slice *out = arena_array(arena, MIN(commas + 1, (uint32_t)MIME_LANGUAGES_MAX), sizeof(*out));
	if (out == NULL)
		return NULL;
	(void)token_skip(&t);
	while (n < MIME_LANGUAGES_MAX && token_atom(&t, &text) != TOKEN_BAD) {
		out[n] = arena_dup(arena, buf_slice(&text));
		if (out[n].ptr == NULL)
			return NULL;
		n++;
		buf_reset(&text);
		if (!token_is(&t, ','))
			break;
		t.at++;
		(void)token_skip(&t);
	}
	*count = n;
	return n == 0 ? NULL : out;
}
