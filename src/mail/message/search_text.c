#include "mail/message/search_text.h"

#include <errno.h>

#include "mail/message/address.h"
#include "mail/message/charset.h"
#include "mail/message/header.h"
#include "mail/message/transfer.h"
#include "mail/message/words.h"

#define PIECE_BYTES 16384u

/* Where we are: a range of the message that is searched, or skipped. */
enum segment { SEGMENT_SKIP, SEGMENT_HEADER, SEGMENT_BODY };

struct search_text {
	const struct mime *mime;
	struct casemap_find find;
	bool headers;
	bool never;			/* the key maps to nothing: it is found nowhere */
	uint64_t at;
	const struct mime_part *part;	/* whose segment this is, or comes next; NULL behind the last */
	enum segment next;		/* what comes next of `part` */
	struct buf header;		/* of the current part, as far as it arrived */
	struct buf decoded, utf8, key;
	struct transfer transfer;
	struct charset_conv conv;
	bool body_open;
};

struct search_text *search_text_new(struct arena *arena, const struct mime *mime, struct slice key, bool headers)
{
	struct search_text *s = ARENA_NEW(arena, struct search_text);
	AUTO_BUF struct buf mapped = BUF_INIT(SEARCH_KEY_BYTES_MAX * 20);

	if (s == NULL)
		return NULL;
	casemap_key(&mapped, slice_head(key, SEARCH_KEY_BYTES_MAX));
	struct slice copy = arena_dup(arena, buf_slice(&mapped));
	if (copy.ptr == NULL || mapped.err != 0 || !casemap_find_init(&s->find, arena, copy))
		return NULL;
	s->never = copy.len == 0;
	s->mime = mime;
	s->headers = headers;
	s->part = mime->root;
	s->next = SEGMENT_HEADER;
	buf_init(&s->header, MIME_HEADER_BYTES_MAX + PIECE_BYTES);
	buf_init(&s->decoded, PIECE_BYTES * 4);
	buf_init(&s->utf8, MIME_HEADER_BYTES_MAX * 8);
	buf_init(&s->key, MIME_HEADER_BYTES_MAX * 160);
	return s;
}

void search_text_free(struct search_text *s)
{
	if (s == NULL)
		return;
	if (s->body_open) {
		buf_reset(&s->utf8);
		charset_end(&s->conv, &s->utf8);
	}
	buf_done(&s->header);
	buf_done(&s->decoded);
	buf_done(&s->utf8);
	buf_done(&s->key);
}

static void look_at(struct search_text *s, struct slice utf8)
{
	buf_reset(&s->key);
	casemap_key(&s->key, utf8);
	(void)casemap_find_feed(&s->find, buf_slice(&s->key));
}

/* Line ends of folding go; the blank that starts the next line stays, a tab as a blank. */
static void unfold(struct buf *out, struct slice value)
{
	size_t run = 0;

	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] != '\n')
			continue;
		buf_add(out, slice_sub(value, run, i > run && value.ptr[i - 1] == '\r' ? i - 1 : i));
		run = i + 1;
		if (run < value.len && value.ptr[run] == '\t') {
			buf_addc(out, ' ');
			run++;
		}
	}
	buf_add(out, slice_from(value, run));
}

static void header_look(struct search_text *s)
{
	struct header_iter it = header_iter(buf_slice(&s->header));
	struct header_field field;

	while (header_next(&it, &field)) {
		size_t before = (size_t)(field.value.ptr - field.raw.ptr);
		look_at(s, slice_head(field.raw, before));
		buf_reset(&s->decoded);
		buf_reset(&s->utf8);
		AUTO_BUF struct buf flat = BUF_INIT(field.value.len + 1);
		unfold(&flat, field.value);
		words_decode(&s->utf8, buf_slice(&flat));
		look_at(s, buf_slice(&s->utf8));
		look_at(s, SLICE("\r\n"));
	}
	look_at(s, SLICE("\r\n"));
	buf_reset(&s->header);
}

/* RFC 9051 leaves open what TEXT and BODY look into; text and messages are what people can read. */
static bool is_searched(const struct mime_part *p)
{
	if (p->kind != MIME_LEAF || p->encoding_kind == MIME_UNKNOWN_ENCODING)
		return false;
	return (p->flags & MIME_TEXT) || p->type.ptr == NULL || slice_eq_nocase(p->type, SLICE("message"));
}

static void body_open(struct search_text *s)
{
	s->transfer = transfer_of((enum mime_encoding)s->part->encoding_kind);
	s->conv = charset_conv(charset_find(mime_type_param(s->part, "charset")));
	s->body_open = true;
}

static void body_look(struct search_text *s, struct slice in)
{
	while (in.len > 0 && !s->find.found) {
		struct slice piece = slice_head(in, PIECE_BYTES);
		in = slice_from(in, piece.len);
		if (s->transfer.encoding == MIME_BASE64 || s->transfer.encoding == MIME_QUOTED_PRINTABLE) {
			buf_reset(&s->decoded);
			transfer_feed(&s->transfer, &s->decoded, piece);
			piece = buf_slice(&s->decoded);
		}
		buf_reset(&s->utf8);
		charset_feed(&s->conv, &s->utf8, piece);
		look_at(s, buf_slice(&s->utf8));
	}
}

static void body_close(struct search_text *s)
{
	buf_reset(&s->decoded);
	buf_reset(&s->utf8);
	transfer_end(&s->transfer, &s->decoded);
	charset_feed(&s->conv, &s->utf8, buf_slice(&s->decoded));
	charset_end(&s->conv, &s->utf8);
	s->body_open = false;
	look_at(s, buf_slice(&s->utf8));
}

/* The segment that comes next and its range; SEGMENT_SKIP when none does. */
static enum segment segment_of(struct search_text *s, uint64_t *at, uint64_t *end)
{
	while (s->part != NULL) {
		const struct mime_part *p = s->part;
		if (s->next == SEGMENT_HEADER) {
			if (s->headers) {
				*at = p->header_at;
				*end = p->header_at + p->header_bytes;
				return SEGMENT_HEADER;
			}
			s->next = SEGMENT_BODY;
		}
		if (is_searched(p)) {
			*at = p->body_at;
			*end = p->body_at + p->body_bytes;
			return SEGMENT_BODY;
		}
		s->part = mime_walk(s->mime->root, p);
		s->next = SEGMENT_HEADER;
		casemap_find_reset(&s->find);
	}
	return SEGMENT_SKIP;
}

static void segment_done(struct search_text *s)
{
	if (s->next == SEGMENT_HEADER) {
		header_look(s);
		s->next = SEGMENT_BODY;
		return;
	}
	if (!s->body_open)
		body_open(s);
	body_close(s);
	s->part = mime_walk(s->mime->root, s->part);
	s->next = SEGMENT_HEADER;
	casemap_find_reset(&s->find);
}

static void segment_bytes(struct search_text *s, enum segment segment, struct slice bytes)
{
	if (segment == SEGMENT_BODY) {
		if (!s->body_open)
			body_open(s);
		body_look(s, bytes);
		return;
	}
	/* A header above its limit is looked through in pieces. */
	while (bytes.len > 0) {
		struct slice piece = slice_head(bytes, PIECE_BYTES);
		if (s->header.len + piece.len > MIME_HEADER_BYTES_MAX)
			header_look(s);
		buf_add(&s->header, piece);
		bytes = slice_from(bytes, piece.len);
	}
}

bool search_text_feed(struct search_text *s, struct slice chunk)
{
	if (s->never)
		return false;
	while (!s->find.found) {
		uint64_t at = 0, end = 0;
		enum segment segment = segment_of(s, &at, &end);
		if (segment == SEGMENT_SKIP)
			break;
		if (s->at >= end) {
			segment_done(s);
			continue;
		}
		if (chunk.len == 0)
			break;
		size_t n = chunk.len;
		if (s->at < at) {
			n = (size_t)MIN((uint64_t)n, at - s->at);
		} else {
			n = (size_t)MIN((uint64_t)n, end - s->at);
			segment_bytes(s, segment, slice_head(chunk, n));
		}
		s->at += n;
		chunk = slice_from(chunk, n);
	}
	return s->find.found;
}

bool search_text_end(struct search_text *s)
{
	if (s->never)
		return false;
	/* A tree of another message may promise more than came. */
	for (;;) {
		uint64_t at = 0, end = 0;
		if (s->find.found || segment_of(s, &at, &end) == SEGMENT_SKIP)
			return s->find.found;
		segment_done(s);
	}
}

/* ---- header keys ---- */

enum header_mode { MODE_PLAIN, MODE_PACKED, MODE_ADDRESS };

/* Runs of blanks become one, in place. */
static void pack(struct buf *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->len; i++) {
		uint8_t c = b->ptr[i] == '\t' ? ' ' : b->ptr[i];
		if (c != ' ' || (n > 0 && b->ptr[n - 1] != ' '))
			b->ptr[n++] = c;
	}
	b->len = n;
}

static void field_text(struct arena *arena, struct buf *out, struct slice value, enum header_mode mode)
{
	AUTO_BUF struct buf flat = BUF_INIT(value.len * 4 + 1024);
	struct address *list;

	switch (mode) {
	case MODE_ADDRESS:
		unfold(&flat, value);
		(void)address_parse(arena, buf_slice(&flat), &list);
		buf_reset(&flat);
		flat.max = value.len * 40 + 1024;
		address_write(&flat, list);
		words_decode(out, buf_slice(&flat));
		break;
	case MODE_PACKED:
		unfold(&flat, value);
		pack(&flat);
		words_decode(out, buf_slice(&flat));
		break;
	case MODE_PLAIN:
		unfold(&flat, value);
		words_decode(out, buf_slice(&flat));
		break;
	}
}

static int search_fields(struct arena *arena, struct slice block, const char *name, struct slice key,
			 enum header_mode mode)
{
	AUTO_BUF struct buf mapped = BUF_INIT(SEARCH_KEY_BYTES_MAX * 20);
	AUTO_BUF struct buf utf8 = BUF_INIT(MIME_HEADER_BYTES_MAX * 64);
	struct header_iter it = header_iter(block);
	struct header_field field;
	struct casemap_find find;

	casemap_key(&mapped, slice_head(key, SEARCH_KEY_BYTES_MAX));
	if (mapped.err != 0 || !casemap_find_init(&find, arena, buf_slice(&mapped)))
		return -ENOMEM;
	while (header_next(&it, &field)) {
		if (!slice_eq_nocase(field.name, slice_str(name)))
			continue;
		if (key.len == 0)
			return 1;
		if (mapped.len == 0)
			continue;
		buf_reset(&utf8);
		field_text(arena, &utf8, field.value, mode);
		AUTO_BUF struct buf text = BUF_INIT(utf8.len * 20 + 64);
		casemap_key(&text, buf_slice(&utf8));
		casemap_find_reset(&find);
		if (casemap_find_feed(&find, buf_slice(&text)))
			return 1;
	}
	return 0;
}

int search_header(struct arena *arena, struct slice block, const char *name, struct slice key)
{
	return search_fields(arena, block, name, key, MODE_PLAIN);
}

int search_subject(struct arena *arena, struct slice block, struct slice key)
{
	return search_fields(arena, block, "subject", key, MODE_PACKED);
}

int search_address(struct arena *arena, struct slice block, const char *name, struct slice key)
{
	return search_fields(arena, block, name, key, MODE_ADDRESS);
}
