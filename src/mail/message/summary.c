#include "mail/message/summary.h"

#include <errno.h>

#include "base/reader.h"

#define SUMMARY_MAGIC	'S'
#define SUMMARY_VERSION 1u

/* Flags byte of the whole. */
enum { SUMMARY_IS_MARKER = 1, SUMMARY_IS_TRUNCATED = 2 };

/* First byte of a part: kind in the low two bits, then what follows. */
enum {
	PART_TYPE = 4, PART_TYPE_PARAMS = 8, PART_ENCODING = 16, PART_DISPOSITION = 32, PART_TEXTS = 64, PART_ENVELOPE = 128,
};

/* Words that mail is made of. Only ever append: the index is on disk. */
static const struct slice words[] = {
	SLICE_INIT(""), SLICE_INIT("text"), SLICE_INIT("plain"), SLICE_INIT("html"), SLICE_INIT("multipart"),
	SLICE_INIT("mixed"), SLICE_INIT("alternative"), SLICE_INIT("related"), SLICE_INIT("signed"),
	SLICE_INIT("report"), SLICE_INIT("digest"), SLICE_INIT("message"), SLICE_INIT("rfc822"),
	SLICE_INIT("delivery-status"), SLICE_INIT("application"), SLICE_INIT("octet-stream"), SLICE_INIT("pdf"),
	SLICE_INIT("pgp-signature"), SLICE_INIT("image"), SLICE_INIT("png"), SLICE_INIT("jpeg"), SLICE_INIT("gif"),
	SLICE_INIT("charset"), SLICE_INIT("utf-8"), SLICE_INIT("UTF-8"), SLICE_INIT("us-ascii"),
	SLICE_INIT("US-ASCII"), SLICE_INIT("iso-8859-1"), SLICE_INIT("ISO-8859-1"), SLICE_INIT("windows-1252"),
	SLICE_INIT("format"), SLICE_INIT("flowed"), SLICE_INIT("delsp"), SLICE_INIT("yes"), SLICE_INIT("no"),
	SLICE_INIT("boundary"), SLICE_INIT("name"), SLICE_INIT("filename"), SLICE_INIT("filename*"),
	SLICE_INIT("name*"), SLICE_INIT("7bit"), SLICE_INIT("8bit"), SLICE_INIT("binary"), SLICE_INIT("base64"),
	SLICE_INIT("quoted-printable"), SLICE_INIT("7BIT"), SLICE_INIT("8BIT"), SLICE_INIT("BASE64"),
	SLICE_INIT("QUOTED-PRINTABLE"), SLICE_INIT("inline"), SLICE_INIT("attachment"), SLICE_INIT("size"),
	SLICE_INIT("micalg"), SLICE_INIT("protocol"), SLICE_INIT("type"), SLICE_INIT("report-type"),
	SLICE_INIT("creation-date"), SLICE_INIT("modification-date"), SLICE_INIT("gmail.com"),
	SLICE_INIT("MISSING_MAILBOX"), SLICE_INIT("MISSING_DOMAIN"), SLICE_INIT("SYNTAX_ERROR"),
	SLICE_INIT("text/html"), SLICE_INIT("example.org"), SLICE_INIT("example.com"),
};

/* ---- encode ---- */

/* Index of a common word, or -1. Words are short, and first byte and length tell almost all apart. */
static int word_index(struct slice s)
{
	if (s.len > 18)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (words[i].len == s.len && (s.len == 0 || (words[i].ptr[0] == s.ptr[0] && slice_eq(words[i], s))))
			return (int)i;
	return -1;
}

static void put_string(struct buf *out, struct slice s)
{
	if (s.ptr == NULL) {
		buf_varint(out, 0);
		return;
	}
	int index = word_index(s);
	if (index >= 0) {
		buf_varint(out, (uint64_t)index * 2 + 1);
		return;
	}
	buf_varint(out, ((uint64_t)s.len + 1) * 2);
	buf_add(out, s);
}

/* Free text, which is never a common word. */
static void put_text(struct buf *out, struct slice s)
{
	if (s.ptr == NULL || s.len == 0) {
		put_string(out, s);
		return;
	}
	buf_varint(out, ((uint64_t)s.len + 1) * 2);
	buf_add(out, s);
}

static void put_addresses(struct buf *out, const struct address *list)
{
	uint64_t n = 0;

	for (const struct address *a = list; a != NULL; a = a->next)
		n++;
	buf_varint(out, n);
	for (const struct address *a = list; a != NULL; a = a->next) {
		const struct slice *fields[] = { &a->name, &a->route, &a->mailbox, &a->host };
		uint8_t have = 0;
		for (unsigned int i = 0; i < 4; i++)
			have |= (uint8_t)((fields[i]->ptr != NULL) << i);
		buf_addc(out, have);
		for (unsigned int i = 0; i < 4; i++)
			if (have >> i & 1)
				put_string(out, *fields[i]);
	}
}

static void put_envelope(struct buf *out, const struct envelope *e)
{
	const struct slice texts[] = { e->date, e->subject, e->in_reply_to, e->message_id, e->references };
	const struct address *const lists[] = { e->from, e->sender, e->reply_to, e->to, e->cc, e->bcc };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		put_text(out, texts[i]);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		put_addresses(out, lists[i]);
}

static void put_params(struct buf *out, const struct mime_param *list, uint32_t count)
{
	buf_varint(out, count);
	for (uint32_t i = 0; i < count; i++) {
		put_string(out, list[i].name);
		put_string(out, list[i].value);
	}
}

/* `at`: where the part before ended, so that distances stay small. */
static void put_part(struct buf *out, const struct mime_part *p, uint64_t at)
{
	bool texts = p->id.ptr != NULL || p->description.ptr != NULL || p->md5.ptr != NULL || p->location.ptr != NULL ||
		     p->language_count > 0;
	uint8_t head = p->kind;

	head |= p->type.ptr != NULL ? PART_TYPE : 0;
	head |= p->type_param_count > 0 ? PART_TYPE_PARAMS : 0;
	head |= p->encoding.ptr != NULL || p->encoding_kind != MIME_7BIT ? PART_ENCODING : 0;
	head |= p->disposition.ptr != NULL ? PART_DISPOSITION : 0;
	head |= texts ? PART_TEXTS : 0;
	head |= p->envelope != NULL ? PART_ENVELOPE : 0;
	buf_addc(out, head);
	buf_addc(out, (uint8_t)p->flags);
	buf_varint(out, p->header_at - at);
	buf_varint(out, p->header_bytes);
	buf_varint(out, p->body_at - p->header_at - p->header_bytes);
	buf_varint(out, p->body_bytes);
	buf_varint(out, p->header_lines);
	buf_varint(out, p->body_lines);
	if (p->kind == MIME_MULTIPART) {
		uint64_t n = 0;
		for (const struct mime_part *c = p->children; c != NULL; c = c->next)
			n++;
		buf_varint(out, n);
	}
	if (head & PART_TYPE) {
		put_string(out, p->type);
		put_string(out, p->subtype);
	}
	if (head & PART_TYPE_PARAMS)
		put_params(out, p->type_params, p->type_param_count);
	if (head & PART_ENCODING) {
		buf_addc(out, p->encoding_kind);
		put_string(out, p->encoding);
	}
	if (head & PART_DISPOSITION) {
		put_string(out, p->disposition);
		put_params(out, p->disposition_params, p->disposition_param_count);
	}
	if (head & PART_TEXTS) {
		put_text(out, p->id);
		put_text(out, p->description);
		put_text(out, p->md5);
		put_text(out, p->location);
		buf_varint(out, p->language_count);
		for (uint32_t i = 0; i < p->language_count; i++)
			put_string(out, p->languages[i]);
	}
	if (head & PART_ENVELOPE)
		put_envelope(out, p->envelope);
}

void summary_encode(struct buf *out, const struct mime *mime)
{
	size_t start = out->len;
	size_t max = out->max;
	uint64_t base = 0;

	/* Stop early at our own limit, without touching an error that was there before. */
	if (out->err != 0)
		return;
	if (max - start > SUMMARY_BYTES_MAX)
		out->max = start + SUMMARY_BYTES_MAX;
	buf_addc(out, SUMMARY_MAGIC);
	buf_addc(out, SUMMARY_VERSION);
	buf_addc(out, mime->truncated ? SUMMARY_IS_TRUNCATED : 0);
	buf_varint(out, mime->size);
	buf_varint(out, mime->part_count);
	for (const struct mime_part *p = mime->root; p != NULL && out->err == 0;) {
		put_part(out, p, base);
		const struct mime_part *next = mime_walk(mime->root, p);
		if (next != NULL) {
			if (p->children == next) {
				base = p->body_at;
			} else {
				/* Climb to the brother before `next`. */
				while (p->next != next)
					p = p->parent;
				base = p->body_at + p->body_bytes;
			}
		}
		p = next;
	}
	out->max = max;
	if (out->err != -EMSGSIZE || max - start <= SUMMARY_BYTES_MAX)
		return;
	out->err = 0;
	buf_truncate(out, start);
	buf_addc(out, SUMMARY_MAGIC);
	buf_addc(out, SUMMARY_VERSION);
	buf_addc(out, SUMMARY_IS_MARKER);
}

/* ---- decode ---- */

struct decoder {
	struct reader r;
	struct arena *arena;
	bool full;
};

static struct slice get_string(struct decoder *d)
{
	uint64_t n = rd_varint(&d->r);

	if (n == 0)
		return (struct slice){ 0 };
	if (n & 1) {
		if (n / 2 < ARRAY_LEN(words))
			return words[n / 2];
		d->r.bad = true;
		return (struct slice){ 0 };
	}
	if (n / 2 - 1 > rd_left(&d->r)) {
		d->r.bad = true;
		return (struct slice){ 0 };
	}
	return rd_bytes(&d->r, (size_t)(n / 2 - 1));
}

/* A count of things that take at least one byte each, so that it cannot ask for more memory than is there. */
static uint32_t get_count(struct decoder *d, uint64_t max)
{
	return (uint32_t)rd_varint_max(&d->r, MIN(max, (uint64_t)rd_left(&d->r)));
}

static void *get_array(struct decoder *d, size_t n, size_t size)
{
	void *array = d->r.bad ? NULL : arena_array(d->arena, n, size);

	if (array == NULL && !d->r.bad)
		d->full = d->r.bad = true;
	return array;
}

static struct address *get_addresses(struct decoder *d)
{
	/* Several fields of a name are joined, so their sum may be above ADDRESS_COUNT_MAX. */
	uint32_t n = get_count(d, SUMMARY_BYTES_MAX);
	struct address *list = n == 0 ? NULL : get_array(d, n, sizeof(*list));

	for (uint32_t i = 0; i < n && list != NULL && !d->r.bad; i++) {
		struct slice *fields[] = { &list[i].name, &list[i].route, &list[i].mailbox, &list[i].host };
		uint8_t have = rd_u8(&d->r);
		for (unsigned int k = 0; k < 4; k++) {
			if (!(have >> k & 1))
				continue;
			*fields[k] = get_string(d);
			d->r.bad |= fields[k]->ptr == NULL;
		}
		d->r.bad |= have > 15;
		list[i].next = i + 1 < n ? &list[i + 1] : NULL;
	}
	return list;
}

static struct envelope *get_envelope(struct decoder *d)
{
	struct envelope *e = get_array(d, 1, sizeof(*e));

	if (e == NULL)
		return NULL;
	struct slice *texts[] = { &e->date, &e->subject, &e->in_reply_to, &e->message_id, &e->references };
	struct address **lists[] = { &e->from, &e->sender, &e->reply_to, &e->to, &e->cc, &e->bcc };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		*texts[i] = get_string(d);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		*lists[i] = get_addresses(d);
	return e;
}

static const struct mime_param *get_params(struct decoder *d, uint32_t *count)
{
	uint32_t n = get_count(d, MIME_PARAMS_MAX);
	struct mime_param *list = n == 0 ? NULL : get_array(d, n, sizeof(*list));

	for (uint32_t i = 0; i < n && list != NULL; i++) {
		list[i].name = get_string(d);
		list[i].value = get_string(d);
		d->r.bad |= list[i].name.ptr == NULL || list[i].value.ptr == NULL;
	}
	*count = list == NULL ? 0 : n;
	return list;
}

static void get_texts(struct decoder *d, struct mime_part *p)
{
	p->id = get_string(d);
	p->description = get_string(d);
	p->md5 = get_string(d);
	p->location = get_string(d);
	uint32_t n = get_count(d, MIME_LANGUAGES_MAX);
	struct slice *list = n == 0 ? NULL : get_array(d, n, sizeof(*list));
	for (uint32_t i = 0; i < n && list != NULL; i++) {
		list[i] = get_string(d);
		d->r.bad |= list[i].ptr == NULL;
	}
	p->languages = list;
	p->language_count = list == NULL ? 0 : n;
}

/* Offsets: each range inside [base, end). `children` gets how many parts follow below. */
static void get_part(struct decoder *d, struct mime_part *p, uint64_t base, uint64_t end, uint32_t *children)
{
	uint8_t head = rd_u8(&d->r);
	uint64_t left = end - base;

	p->kind = head & 3;
	p->flags = rd_u8(&d->r);
	uint64_t skip = rd_varint_max(&d->r, left);
	left -= skip;
	p->header_at = base + skip;
	p->header_bytes = rd_varint_max(&d->r, left);
	left -= p->header_bytes;
	skip = rd_varint_max(&d->r, left);
	left -= skip;
	p->body_at = p->header_at + p->header_bytes + skip;
	p->body_bytes = rd_varint_max(&d->r, left);
	p->header_lines = (uint32_t)rd_varint_max(&d->r, MIN(p->header_bytes, (uint64_t)UINT32_MAX));
	p->body_lines = (uint32_t)rd_varint_max(&d->r, MIN(p->body_bytes, (uint64_t)UINT32_MAX));
	d->r.bad |= p->kind > MIME_MESSAGE;
	*children = p->kind == MIME_MESSAGE ? 1 : 0;
	if (p->kind == MIME_MULTIPART)
		*children = get_count(d, MIME_PARTS_MAX);
	if (head & PART_TYPE) {
		p->type = get_string(d);
		p->subtype = get_string(d);
		d->r.bad |= p->type.ptr == NULL || p->subtype.ptr == NULL;
	}
	if (head & PART_TYPE_PARAMS)
		p->type_params = get_params(d, &p->type_param_count);
	if (head & PART_ENCODING) {
		p->encoding_kind = rd_u8(&d->r);
		d->r.bad |= p->encoding_kind > MIME_UNKNOWN_ENCODING;
		p->encoding = get_string(d);
	}
	if (head & PART_DISPOSITION) {
		p->disposition = get_string(d);
		d->r.bad |= p->disposition.ptr == NULL;
		p->disposition_params = get_params(d, &p->disposition_param_count);
	}
	if (head & PART_TEXTS)
		get_texts(d, p);
	if (head & PART_ENVELOPE)
		p->envelope = get_envelope(d);
}

static bool get_tree(struct decoder *d, struct mime *mime)
{
	uint32_t missing[MIME_DEPTH_MAX];	/* children still to come, by depth */
	struct mime_part *last[MIME_DEPTH_MAX] = { 0 };
	struct mime_part *parent = NULL;
	uint32_t depth = 0;

	for (uint32_t i = 0; i < mime->part_count; i++) {
		struct mime_part *p = get_array(d, 1, sizeof(*p));
		if (p == NULL)
			return false;
		uint64_t base = 0, end = mime->size;
		if (parent != NULL) {
			base = parent->body_at;
			end = parent->body_at + parent->body_bytes;
			if (last[depth] != NULL) {
				base = last[depth]->body_at + last[depth]->body_bytes;
				last[depth]->next = p;
			} else {
				parent->children = p;
			}
			missing[depth]--;
		} else {
			mime->root = p;
		}
		p->parent = parent;
		if (parent != NULL)
			last[depth] = p;
		uint32_t children;
		get_part(d, p, base, end, &children);
		if (d->r.bad)
			return false;
		if (children > 0) {
			if (++depth == MIME_DEPTH_MAX)
				return false;
			parent = p;
			missing[depth] = children;
			last[depth] = NULL;
			continue;
		}
		while (depth > 0 && missing[depth] == 0) {
			parent = parent->parent;
			depth--;
		}
		if (depth == 0)
			return i + 1 == mime->part_count;
	}
	return false;		/* parts were promised that did not come */
}

/* Parts in the order of the message, without recursion: all but the root begin later. */
static void move_behind(struct mime *mime, uint64_t bytes)
{
	struct mime_part *part = mime->root;

	mime->size += bytes;
	part->header_bytes += bytes;
	part->body_at += bytes;
	while (part != NULL) {
		if (part->children != NULL) {
			part = part->children;
		} else {
			while (part != NULL && part->next == NULL)
				part = part->parent;
			if (part != NULL)
				part = part->next;
		}
		if (part != NULL) {
			part->header_at += bytes;
			part->body_at += bytes;
		}
	}
}

enum summary_result summary_decode(struct arena *arena, struct slice in, const struct mime **out)
{
	return summary_decode_behind(arena, in, 0, out);
}

enum summary_result summary_decode_behind(struct arena *arena, struct slice in,
					  uint32_t prefix_bytes, const struct mime **out)
{
	struct decoder d = { .r = reader_of(in), .arena = arena };
	uint8_t magic = rd_u8(&d.r), version = rd_u8(&d.r), flags = rd_u8(&d.r);

	if (d.r.bad || magic != SUMMARY_MAGIC || version == 0)
		return SUMMARY_DAMAGED;
	if (version > SUMMARY_VERSION || flags == SUMMARY_IS_MARKER)
		return SUMMARY_PARSE_BODY;
	struct mime *mime = get_array(&d, 1, sizeof(*mime));
	if (mime == NULL)
		return SUMMARY_PARSE_BODY;
	mime->truncated = flags & SUMMARY_IS_TRUNCATED;
	mime->size = rd_varint_max(&d.r, UINT64_MAX / 4);
	mime->part_count = (uint32_t)rd_varint_max(&d.r, MIME_PARTS_MAX);
	bool good = !d.r.bad && flags <= SUMMARY_IS_TRUNCATED && get_tree(&d, mime) && rd_end(&d.r);
	if (!good)
		return d.full ? SUMMARY_PARSE_BODY : SUMMARY_DAMAGED;
	if (prefix_bytes > 0)
		move_behind(mime, prefix_bytes);
	*out = mime;
	return SUMMARY_OK;
}
