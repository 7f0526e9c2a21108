/*
 * Any message, whole and in chunks, gives one tree; a summary gives it back; sections stay inside.
 */
#include "base/must.h"
#include "mail/message/bodystructure.h"
#include "mail/message/charset.h"
#include "mail/message/header.h"
#include "mail/message/search_text.h"
#include "mail/message/section.h"
#include "mail/message/summary.h"
#include "mail/message/transfer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	charset_init();
	return 0;
}

static void check_tree(const struct mime *mime)
{
	uint32_t count = 0;

	for (const struct mime_part *p = mime->root; p != NULL; p = mime_walk(mime->root, p)) {
		count++;
		must(p->body_at >= p->header_at + p->header_bytes);
		must(p->body_at + p->body_bytes <= mime->size);
		if (p->parent != NULL) {
			must(p->header_at >= p->parent->body_at);
			must(p->body_at + p->body_bytes <= p->parent->body_at + p->parent->body_bytes);
		}
		must(p->kind != MIME_LEAF || p->children == NULL);
		must(p->kind != MIME_MESSAGE || (p->children != NULL && p->children->next == NULL));
	}
	must(count == mime->part_count);
}

static void write_all(struct buf *out, const struct mime *mime)
{
	bodystructure_envelope(out, mime->root->envelope, false);
	bodystructure_write(out, mime->root, true, false);
	bodystructure_write(out, mime->root, false, true);
}

static bool search(struct arena *arena, const struct mime *mime, struct slice message, size_t step, bool headers)
{
	struct search_text *s = search_text_new(arena, mime, SLICE("a\xc3\xbc""b"), headers);

	must(s != NULL);
	for (size_t at = 0; at < message.len; at += step)
		(void)search_text_feed(s, slice_sub(message, at, MIN(at + step, message.len)));
	bool found = search_text_end(s);
	search_text_free(s);
	return found;
}

static void sections(struct arena *arena, const struct mime *mime, struct slice message)
{
	static const char *const texts[] = { "", "HEADER", "TEXT", "1", "1.MIME", "2.HEADER", "1.1", "2.1.TEXT", "1.2.3" };
	AUTO_BUF struct buf out = BUF_INIT(1u << 24);

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct section s;
		struct section_range range;
		enum mime_encoding encoding;
		must(section_parse(arena, slice_str(texts[i]), &s) == SECTION_OK);
		if (section_find(mime, &s, &range) == SECTION_OK)
			must(range.at <= message.len && range.bytes <= message.len - range.at);
		if (section_binary(mime, &s, &range, &encoding) != SECTION_OK)
			continue;
		struct transfer t = transfer_of(encoding);
		buf_reset(&out);
		transfer_feed(&t, &out, slice_sub(message, range.at, range.at + range.bytes));
		transfer_end(&t, &out);
		must(out.len <= range.bytes);
	}
	const struct mime_part *root = mime->root;
	struct slice names[] = { SLICE("from"), SLICE("x") };
	struct slice header = slice_sub(message, root->header_at, root->header_bytes);
	header_select(&out, header, names, 2, message.len & 1);
	must(search_header(arena, header, "x", SLICE("")) == search_header(arena, header, "X", SLICE("")));
	(void)search_header(arena, header, "references", SLICE("<"));
	(void)search_address(arena, header, "from", SLICE("a"));
	(void)search_subject(arena, header, SLICE("b c"));
	must(mime_is(root, "text", "plain") <= (root->kind == MIME_LEAF));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(4 * MIME_ARENA_BYTES);
	AUTO_BUF struct buf whole = BUF_INIT(1u << 26), cut = BUF_INIT(1u << 26), again = BUF_INIT(1u << 26);
	struct slice message = slice_of(data, size);
	const struct mime *mime = mime_parse(&arena, message), *decoded;
	size_t step = size == 0 ? 1 : 1 + data[size / 2] % 97u;

	must(mime != NULL && mime->size == size);
	check_tree(mime);
	summary_encode(&whole, mime);
	must(whole.err == 0);
	struct mime_stream *s = mime_stream_new(&arena);
	must(s != NULL);
	for (size_t at = 0; at < size; at += step)
		mime_stream_feed(s, slice_sub(message, at, MIN(at + step, size)));
	summary_encode(&cut, mime_stream_end(s));
	must(slice_eq(buf_slice(&whole), buf_slice(&cut)));
	if (summary_decode(&arena, buf_slice(&whole), &decoded) == SUMMARY_OK) {
		check_tree(decoded);
		buf_reset(&cut);
		write_all(&cut, mime);
		write_all(&again, decoded);
		must(slice_eq(buf_slice(&cut), buf_slice(&again)));
	} else {
		must(whole.len == 3);	/* the marker */
	}
	sections(&arena, mime, message);
	must(search(&arena, mime, message, size + 1, true) == search(&arena, mime, message, step, true));
	must(search(&arena, mime, message, size + 1, false) == search(&arena, mime, message, step, false));
	return 0;
}
