#include "mail/message/mime.h"

#include "base/must.h"
#include "mail/message/header.h"
#include "mail/message/param.h"

/* A boundary that may appear: of the part itself or of one around it. */
struct boundary {
	struct mime_part *part;
	uint32_t len;
	uint8_t text[MIME_BOUNDARY_BYTES_MAX];
};

/* Enough of a line to tell a boundary: "--" + boundary + "--" + CRLF. */
#define LINE_PREFIX_BYTES (MIME_BOUNDARY_BYTES_MAX + 6u)

/* Where the address lists start in the table of envelope_field, and how many there are. */
enum { FIRST_LIST = 5, LIST_COUNT = 6 };

enum state { IN_HEADER, IN_BODY, IN_BOUNDARY_LINE };

struct mime_stream {
	struct arena *arena;
	struct mime mime;
	struct mime_part *part;		/* where we are */
	struct mime_part **tail;	/* where its next child goes */
	struct mime_part **tails[MIME_DEPTH_MAX];	/* the same for its ancestors */
	enum state state;
	uint32_t depth;			/* of part; the root is 0 */
	uint64_t at;			/* offset of the next byte */
	uint32_t lines;			/* LFs before `at` */
	uint8_t last;			/* byte before `at`; '\n' at the start */
	uint8_t eol_bytes;		/* of the line end just before `at`, as far as it is in this header or body */
	bool in_line;			/* in the middle of a line that needs no look any more */
	size_t kept_before;		/* arena use when we started */

	/* The header being read. */
	uint8_t *field;			/* current field of interest, folding included */
	size_t field_len, field_cap;
	struct slice field_now;		/* the same while it stands in one piece in the chunk */
	bool field_open;
	bool seen_type, seen_mime;	/* Content-Type, MIME-Version */
	uint64_t header_used;
	struct envelope *envelope;
	struct address *last_address[LIST_COUNT];

	/* A line that began in an earlier chunk, up to what we need of it. */
	uint8_t carry[LINE_PREFIX_BYTES];
	size_t carry_len;

	struct boundary *boundaries;	/* [MIME_DEPTH_MAX], innermost last; made for the first multipart */
	uint32_t boundary_count;
	uint8_t sorted[MIME_DEPTH_MAX];	/* indexes into boundaries, by text, then index */
};

_Static_assert(MIME_DEPTH_MAX < 256, "indexes of boundaries are bytes");

/* ---- boundaries ---- */

static int boundary_cmp(const struct boundary *a, const struct boundary *b)
{
	return slice_cmp(slice_of(a->text, a->len), slice_of(b->text, b->len));
}

static void boundary_push(struct mime_stream *s, struct slice text)
{
	must(s->boundary_count < MIME_DEPTH_MAX);
	uint32_t index = s->boundary_count++, at = index;
	struct boundary *b = &s->boundaries[index];

	b->part = s->part;
	b->len = (uint32_t)MIN(text.len, (size_t)MIME_BOUNDARY_BYTES_MAX);
	if (b->len > 0)
		memcpy(b->text, text.ptr, b->len);
	while (at > 0 && boundary_cmp(&s->boundaries[s->sorted[at - 1]], b) > 0) {
		s->sorted[at] = s->sorted[at - 1];
		at--;
	}
	s->sorted[at] = (uint8_t)index;
}

/* Keep the outermost `count`. */
static void boundary_pop_to(struct mime_stream *s, uint32_t count)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->boundary_count; i++)
		if (s->sorted[i] < count)
			s->sorted[n++] = s->sorted[i];
	s->boundary_count = count;
}

/*
 * The boundary that a line (behind its "--", without line end) starts with, or -1. The longest wins; "foo--" is
 * the end of "foo" rather than a part of "foo--" when "foo" is the inner one; equal ones: the inner.
 *
 * We walk the sorted list like a tree, a byte at a time, so that a hundred similar boundaries cost no more
 * than the bytes of the line (and a hundred steps at most once a line).
 */
static int boundary_find(const struct mime_stream *s, struct slice line)
{
	uint32_t lo = 0, hi = s->boundary_count;
	bool closing = line.len > 2 && line.ptr[line.len - 1] == '-' && line.ptr[line.len - 2] == '-';
	int best = -1, closed = -1;

	for (size_t i = 0; lo < hi; i++) {
		int here = -1;
		while (lo < hi && s->boundaries[s->sorted[lo]].len == i)
			here = s->sorted[lo++];
		if (here >= 0 && (closed < 0 || here > closed)) {
			best = here;
			if (closing && i + 2 == line.len)
				closed = here;
		}
		if (i == line.len)
			break;
		uint8_t c = line.ptr[i];
		/* Binary search for the range whose byte i is c. */
		uint32_t a = lo, b = hi;
		while (a < b) {
			uint32_t mid = a + (b - a) / 2;
			if (s->boundaries[s->sorted[mid]].text[i] < c)
				a = mid + 1;
			else
				b = mid;
		}
		lo = a;
		b = hi;
		while (a < b) {
			uint32_t mid = a + (b - a) / 2;
			if (s->boundaries[s->sorted[mid]].text[i] <= c)
				a = mid + 1;
			else
				b = mid;
		}
		hi = a;
	}
	return best;
}

/* ---- parts ---- */

static bool over_budget(const struct mime_stream *s)
{
	return s->arena->used_bytes - s->kept_before > MIME_KEPT_BYTES_MAX ||
	       s->arena->max_bytes - s->arena->used_bytes < 4096;
}

static void truncate(struct mime_stream *s, unsigned int flag)
{
	s->part->flags |= (uint16_t)flag;
	s->mime.truncated = true;
}

/* Offset and LF count where the header starts: here, except for a message that a boundary cut short. */
static void header_start(struct mime_stream *s, uint64_t at, uint32_t lines)
{
	s->state = IN_HEADER;
	s->part->header_at = at;
	s->part->header_lines = lines;	/* a start mark until the header ends */
	s->field_open = false;
	s->seen_type = s->seen_mime = false;
	s->header_used = 0;
	s->envelope = NULL;
	memset(s->last_address, 0, sizeof(s->last_address));
	if (s->depth == 0 || s->part->parent->kind == MIME_MESSAGE)
		s->envelope = over_budget(s) ? NULL : ARENA_NEW(s->arena, struct envelope);
	s->part->envelope = s->envelope;
}

static bool more_parts_allowed(const struct mime_stream *s)
{
	return s->mime.part_count < MIME_PARTS_MAX && !over_budget(s);
}

static void child_start(struct mime_stream *s, struct mime_part *child, uint64_t at, uint32_t lines)
{
	child->parent = s->part;
	*s->tail = child;
	s->tails[s->depth] = &child->next;
	s->tail = &child->children;
	s->part = child;
	s->depth++;
	s->mime.part_count++;
	header_start(s, at, lines);
}

/* The part ends before byte `end`; `lines` LFs stand before that. */
static void part_end(struct mime_stream *s, uint64_t end, uint32_t lines)
{
	struct mime_part *p = s->part;

	if (end < p->body_at) {
		/* The boundary took the blank line: header and no body (RFC 2046 §5.1, body-part). */
		p->header_bytes -= p->body_at - end;
		p->header_lines--;
		p->body_at = end;
		p->body_lines = lines;
	}
	p->body_bytes = end > p->body_at ? end - p->body_at : 0;
	p->body_lines = lines > p->body_lines ? lines - p->body_lines : 0;
	if (s->depth > 0) {
		s->depth--;
		s->tail = s->tails[s->depth];
		s->part = p->parent;
	}
}

/* ---- header fields ---- */

/* Several fields of a name are shown as one list, so that no address hides behind another field. */
static void add_addresses(struct mime_stream *s, struct address **list, struct address **last, struct slice value)
{
	struct address *more;

	(void)address_parse(s->arena, value, &more);
	if (*last == NULL)
		*list = more;
	else
		(*last)->next = more;
	for (; more != NULL; more = more->next)
		*last = more;
}

static void envelope_field(struct mime_stream *s, struct slice name, struct slice value)
{
	struct envelope *e = s->envelope;
	static const struct {
		const char *name;
		size_t text, list;	/* offset in struct envelope, +1; 0 is "not of this kind" */
	} fields[FIRST_LIST + LIST_COUNT] = {
		{ "date", offsetof(struct envelope, date) + 1, 0 },
		{ "subject", offsetof(struct envelope, subject) + 1, 0 },
		{ "in-reply-to", offsetof(struct envelope, in_reply_to) + 1, 0 },
		{ "message-id", offsetof(struct envelope, message_id) + 1, 0 },
		{ "references", offsetof(struct envelope, references) + 1, 0 },
		[FIRST_LIST] = { "from", 0, offsetof(struct envelope, from) + 1 },
		{ "sender", 0, offsetof(struct envelope, sender) + 1 },
		{ "reply-to", 0, offsetof(struct envelope, reply_to) + 1 },
		{ "to", 0, offsetof(struct envelope, to) + 1 },
		{ "cc", 0, offsetof(struct envelope, cc) + 1 },
		{ "bcc", 0, offsetof(struct envelope, bcc) + 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		if (!slice_eq_nocase(name, slice_str(fields[i].name)))
			continue;
		if (fields[i].list != 0) {
			struct address **list = (void *)((char *)e + fields[i].list - 1);
			add_addresses(s, list, &s->last_address[i - FIRST_LIST], value);
			return;
		}
		struct slice *text = (void *)((char *)e + fields[i].text - 1);
		struct slice flat = text == &e->subject ? header_unfold_packed(s->arena, value) :
							  header_unfold(s->arena, value);
		*text = flat.ptr == NULL ? flat : arena_dup(s->arena, flat);
		return;
	}
}

static enum mime_encoding encoding_of(struct slice name)
{
	static const char *const names[] = {
		[MIME_7BIT] = "7bit", [MIME_8BIT] = "8bit", [MIME_BINARY] = "binary",
		[MIME_QUOTED_PRINTABLE] = "quoted-printable", [MIME_BASE64] = "base64",
	};

	for (unsigned int i = 0; i < ARRAY_LEN(names); i++)
		if (slice_eq_nocase(name, slice_str(names[i])))
			return (enum mime_encoding)i;
	return MIME_UNKNOWN_ENCODING;
}

static void content_type(struct mime_stream *s, struct slice value)
{
	struct mime_part *p = s->part;

	if (s->seen_type)
		return;
	s->seen_type = true;
	if (!param_content_type(s->arena, value, &p->type, &p->subtype, &p->type_params, &p->type_param_count)) {
		p->type = p->subtype = (struct slice){ 0 };
		p->type_params = NULL;
		p->type_param_count = 0;
	}
}

static void content_field(struct mime_stream *s, struct slice name, struct slice value)
{
	struct mime_part *p = s->part;
	const struct {
		const char *name;
		struct slice *text;
	} texts[] = {
		{ "id", &p->id }, { "description", &p->description }, { "md5", &p->md5 }, { "location", &p->location },
	};

	if (slice_eq_nocase(name, SLICE("type"))) {
		content_type(s, value);
	} else if (slice_eq_nocase(name, SLICE("transfer-encoding"))) {
		if (p->encoding.ptr == NULL) {
			/* "base64;" is decoded but not shown: it is no token (RFC 2045 §6.1). */
			struct slice shown = param_token(s->arena, value);
			struct slice meant = shown;
			if (meant.ptr == NULL)
				(void)slice_cut(value, ';', &meant, &value);
			p->encoding = shown;
			p->encoding_kind = (uint8_t)encoding_of(slice_trim(meant));
		}
	} else if (slice_eq_nocase(name, SLICE("disposition"))) {
		/* A second field counts while the first told no parameters. */
		if (p->disposition_param_count == 0)
			(void)param_disposition(s->arena, value, &p->disposition, &p->disposition_params,
						&p->disposition_param_count);
	} else if (slice_eq_nocase(name, SLICE("language"))) {
		if (p->languages == NULL)
			p->languages = param_languages(s->arena, value, &p->language_count);
	} else {
		for (size_t i = 0; i < ARRAY_LEN(texts); i++)
			if (slice_eq_nocase(name, slice_str(texts[i].name)) && texts[i].text->ptr == NULL) {
				struct slice flat = header_unfold(s->arena, value);
				*texts[i].text = flat.ptr == NULL ? flat : arena_dup(s->arena, flat);
			}
	}
}

/* Is this a field that we look into? Decided on its first line, so that the others are never copied. */
static bool field_wanted(const struct mime_stream *s, struct slice line)
{
	if (line.len < 3)
		return false;
	switch (line.ptr[0] | 0x20) {
	case 'c':
		if ((line.ptr[1] | 0x20) == 'o')
			return slice_starts_nocase(line, SLICE("content-"));
		return s->envelope != NULL && (line.ptr[1] | 0x20) == 'c';
	case 'm':
		return slice_starts_nocase(line, SLICE("mime-version")) ||
		       (s->envelope != NULL && slice_starts_nocase(line, SLICE("message-id")));
	case 'b':
	case 'd':
	case 'f':
	case 'i':
	case 's':
	case 't':
		return s->envelope != NULL;
	case 'r':
		return s->envelope != NULL && (line.ptr[1] | 0x20) == 'e';
	default:
		return false;
	}
}

static void field_end(struct mime_stream *s)
{
	struct slice name, value, raw = s->field_now;

	if (!s->field_open)
		return;
	s->field_open = false;
	if (raw.ptr == NULL)
		raw = slice_of(s->field, s->field_len);
	if (raw.len > 0 && raw.ptr[raw.len - 1] == '\n')
		raw.len -= raw.len > 1 && raw.ptr[raw.len - 2] == '\r' ? 2 : 1;
	header_split(raw, &name, &value);
	if (over_budget(s)) {
		truncate(s, MIME_HEADER_CUT);
		return;
	}
	if (slice_eq_nocase(name, SLICE("mime-version")))
		s->seen_mime = true;
	else if (slice_starts_nocase(name, SLICE("content-")))
		content_field(s, slice_from(name, 8), value);
	else if (s->envelope != NULL)
		envelope_field(s, name, value);
}

/* Append to our own copy of the field; false when the arena is full. */
static bool field_copy(struct mime_stream *s, struct slice bytes)
{
	if (s->field_cap - s->field_len < bytes.len) {
		size_t cap = MAX(s->field_cap * 2, (size_t)1024);
		while (cap < s->field_len + bytes.len)
			cap *= 2;
		uint8_t *field = over_budget(s) || s->arena->max_bytes - s->arena->used_bytes < cap + 4096 ?
			NULL : arena_alloc(s->arena, cap);
		if (field == NULL)
			return false;
		if (s->field_len > 0)
			memcpy(field, s->field, s->field_len);
		s->field = field;
		s->field_cap = cap;
	}
	memcpy(s->field + s->field_len, bytes.ptr, bytes.len);
	s->field_len += bytes.len;
	return true;
}

/* The chunk goes away: a field that is still open moves into our own memory. */
static void field_save(struct mime_stream *s)
{
	if (!s->field_open || s->field_now.ptr == NULL)
		return;
	s->field_len = 0;
	if (!field_copy(s, s->field_now))
		truncate(s, MIME_HEADER_CUT);
	s->field_now = (struct slice){ 0 };
}

/*
 * More bytes of the open field. in_chunk: they stay where they are until the chunk ends, so that a field
 * in one piece is never copied.
 */
static void field_add(struct mime_stream *s, struct slice bytes, bool in_chunk)
{
	if (s->header_used + bytes.len > MIME_HEADER_BYTES_MAX) {
		truncate(s, MIME_HEADER_CUT);
		return;
	}
	s->header_used += bytes.len;
	if (s->field_now.ptr != NULL) {
		if (in_chunk && s->field_now.ptr + s->field_now.len == bytes.ptr) {
			s->field_now.len += bytes.len;
			return;
		}
		field_save(s);
	} else if (in_chunk && s->field_len == 0) {
		s->field_now = bytes;
		return;
	}
	if (!field_copy(s, bytes))
		truncate(s, MIME_HEADER_CUT);
}

/* A header line, or its first LINE_PREFIX_BYTES. */
static void header_line(struct mime_stream *s, struct slice line, bool in_chunk)
{
	if (line.ptr[0] != ' ' && line.ptr[0] != '\t') {
		field_end(s);
		if (!field_wanted(s, line))
			return;
		s->field_open = true;
		s->field_len = 0;
		s->field_now = (struct slice){ 0 };
	}
	if (s->field_open)
		field_add(s, line, in_chunk);
}

/* ---- ends of headers ---- */

static void forget_content(struct mime_part *p)
{
	struct mime_part clean = {
		.parent = p->parent, .children = p->children, .next = p->next,
		.header_at = p->header_at, .header_bytes = p->header_bytes, .header_lines = p->header_lines,
		.flags = p->flags & MIME_HEADER_CUT, .envelope = p->envelope,
	};

	*p = clean;
}

static void set_kind(struct mime_stream *s)
{
	struct mime_part *p = s->part;
	bool encoded = p->encoding_kind == MIME_QUOTED_PRINTABLE || p->encoding_kind == MIME_BASE64;

	p->kind = MIME_LEAF;
	if (p->type.ptr == NULL) {
		if (!s->seen_type && s->depth > 0 && (p->parent->flags & MIME_DIGEST))
			p->kind = MIME_MESSAGE;
		else
			p->flags |= MIME_TEXT;
	} else if (slice_eq_nocase(p->type, SLICE("text"))) {
		p->flags |= MIME_TEXT;
	} else if (slice_eq_nocase(p->type, SLICE("multipart"))) {
		p->kind = MIME_MULTIPART;
		if (slice_eq_nocase(p->subtype, SLICE("digest")))
			p->flags |= MIME_DIGEST;
	} else if (slice_eq_nocase(p->type, SLICE("message"))) {
		if (slice_eq_nocase(p->subtype, SLICE("rfc822"))) {
			p->kind = MIME_MESSAGE;
		} else if (slice_eq_nocase(p->subtype, SLICE("global")) && !encoded) {
			/* RFC 6532 §3.7 allows encodings here; below them we cannot give offsets. */
			p->kind = MIME_MESSAGE;
			p->flags |= MIME_GLOBAL;
		}
	}
}

static bool depth_left(const struct mime_stream *s)
{
	return s->depth + 1 < MIME_DEPTH_MAX;
}

/* The multipart's own boundary counts from its blank line on. */
static void multipart_start(struct mime_stream *s)
{
	struct slice boundary = mime_type_param(s->part, "boundary");

	if (boundary.ptr == NULL)
		return;
	if (!depth_left(s)) {
		s->part->kind = MIME_LEAF;
		truncate(s, MIME_TRUNCATED);
		return;
	}
	if (s->boundaries == NULL && !over_budget(s) &&
	    s->arena->max_bytes - s->arena->used_bytes > MIME_DEPTH_MAX * sizeof(*s->boundaries) + 4096)
		s->boundaries = arena_array(s->arena, MIME_DEPTH_MAX, sizeof(*s->boundaries));
	if (s->boundaries == NULL)
		truncate(s, MIME_TRUNCATED);
	else
		boundary_push(s, boundary);
}

/*
 * The header ends here. blank_line: it was ended by one; otherwise by a boundary or the end of the
 * message, and then nothing follows that could be parts.
 */
static void header_end(struct mime_stream *s, bool blank_line, uint64_t end, uint32_t lines)
{
	struct mime_part *p = s->part;

	field_end(s);
	if (end < p->header_at) {
		p->header_at = end;
		p->header_lines = lines;
	}
	/* RFC 2045 §4: without MIME-Version it is no MIME; a Content-Type is sign enough in practice. */
	if (!s->seen_type && !s->seen_mime && (s->depth == 0 || p->parent->kind == MIME_MESSAGE))
		forget_content(p);
	set_kind(s);
	p->header_bytes = end - p->header_at;
	p->header_lines = lines - p->header_lines;
	p->body_at = end;
	p->body_lines = lines;		/* a start mark until the part ends */
	s->state = IN_BODY;
	if (p->kind == MIME_MULTIPART && blank_line)
		multipart_start(s);
	if (p->kind != MIME_MESSAGE)
		return;
	struct mime_part *child = NULL;
	if (depth_left(s) && more_parts_allowed(s))
		child = ARENA_NEW(s->arena, struct mime_part);
	if (child == NULL) {
		p->kind = MIME_LEAF;
		truncate(s, MIME_TRUNCATED);
		return;
	}
	child_start(s, child, end, lines);
}

/* A boundary line begins at s->at: end the parts inside, start a part or the epilogue. */
static void boundary_hit(struct mime_stream *s, int index, bool closing)
{
	struct boundary *b = &s->boundaries[index];
	/*
	 * The line end before belongs to the boundary (RFC 2046 §5.1.1), if it is inside the part at all. It may be the
	 * blank line of a message/rfc822 whose content is then nothing, not even a header.
	 */
	uint64_t end = s->at - s->eol_bytes;
	uint32_t lines = s->lines - (s->eol_bytes > 0);

	while (s->state == IN_HEADER)
		header_end(s, false, end, lines);
	while (s->part != b->part)
		part_end(s, end, lines);
	s->state = IN_BOUNDARY_LINE;
	boundary_pop_to(s, closing ? (uint32_t)index : (uint32_t)index + 1);
}

/* The boundary line is over. */
static void boundary_line_end(struct mime_stream *s)
{
	bool own = s->boundary_count > 0 && s->boundaries[s->boundary_count - 1].part == s->part;
	struct mime_part *child = NULL;

	s->state = IN_BODY;
	if (!own)
		return;
	if (more_parts_allowed(s))
		child = ARENA_NEW(s->arena, struct mime_part);
	if (child == NULL) {
		truncate(s, MIME_TRUNCATED);
		return;
	}
	child_start(s, child, s->at, s->lines);
	s->eol_bytes = 0;		/* the line end of our own boundary line is no part's */
}

/* ---- lines ---- */

static struct slice without_eol(struct slice line)
{
	if (line.len > 0 && line.ptr[line.len - 1] == '\n') {
		line.len--;
		if (line.len > 0 && line.ptr[line.len - 1] == '\r')
			line.len--;
	}
	return line;
}

/* Does the line (which starts at s->at) hold a boundary? Then the state changes. */
static bool try_boundary(struct mime_stream *s, struct slice line)
{
	if (line.len < 2 || line.ptr[0] != '-' || line.ptr[1] != '-' || s->boundary_count == 0)
		return false;
	if (!more_parts_allowed(s)) {
		/* No more parts fit, so boundaries no longer count: the rest is one piece. */
		truncate(s, MIME_TRUNCATED);
		return false;
	}
	struct slice text = without_eol(slice_from(line, 2));
	int index = boundary_find(s, text);
	if (index < 0)
		return false;
	uint32_t len = s->boundaries[index].len;
	boundary_hit(s, index, text.len >= len + 2 && text.ptr[len] == '-' && text.ptr[len + 1] == '-');
	return true;
}

/* `bytes` go by; they are a line's end when the last is LF. */
static void advance(struct mime_stream *s, struct slice bytes)
{
	uint8_t before = bytes.len > 1 ? bytes.ptr[bytes.len - 2] : s->last;

	s->at += bytes.len;
	s->last = bytes.ptr[bytes.len - 1];
	s->in_line = s->last != '\n';
	if (s->in_line) {
		s->eol_bytes = 0;
	} else {
		s->lines++;
		s->eol_bytes = before == '\r' ? 2 : 1;
	}
}

/*
 * The start of a line, at s->at: all of it with its LF, or its first LINE_PREFIX_BYTES, or what there is at the
 * end of the message.
 */
static void line_start(struct mime_stream *s, struct slice line, bool in_chunk)
{
	if (try_boundary(s, line)) {
		advance(s, line);
		if (!s->in_line)
			boundary_line_end(s);
		return;
	}
	bool blank = line.ptr[0] == '\n' || (line.len == 2 && line.ptr[0] == '\r' && line.ptr[1] == '\n');
	if (s->state == IN_HEADER && !blank)
		header_line(s, line, in_chunk);
	advance(s, line);
	if (s->state == IN_HEADER && blank)
		header_end(s, true, s->at, s->lines);
}

/* Bytes of a line whose start we dealt with. */
static void line_more(struct mime_stream *s, struct slice bytes, bool in_chunk)
{
	if (s->state == IN_HEADER && s->field_open)
		field_add(s, bytes, in_chunk);
	advance(s, bytes);
	if (s->state == IN_BOUNDARY_LINE && !s->in_line)
		boundary_line_end(s);
}

/* Collect a line start that chunks cut in two. Returns the bytes taken from `in`. */
static size_t carry(struct mime_stream *s, struct slice in)
{
	size_t room = LINE_PREFIX_BYTES - s->carry_len;
	struct slice take = slice_head(in, room);
	size_t lf = slice_find_byte(take, '\n');

	if (lf != SLICE_NPOS)
		take.len = lf + 1;
	memcpy(s->carry + s->carry_len, take.ptr, take.len);
	s->carry_len += take.len;
	if (lf != SLICE_NPOS || s->carry_len == LINE_PREFIX_BYTES) {
		struct slice line = slice_of(s->carry, s->carry_len);
		s->carry_len = 0;
		line_start(s, line, false);
	}
	return take.len;
}

void mime_stream_feed(struct mime_stream *s, struct slice chunk)
{
	const uint8_t *at = chunk.ptr, *end = chunk.len == 0 ? at : chunk.ptr + chunk.len;

	while (at < end) {
		size_t left = (size_t)(end - at);
		if (s->carry_len > 0) {
			at += carry(s, slice_of(at, left));
			continue;
		}
		const uint8_t *lf = memchr(at, '\n', left);
		struct slice line = slice_of(at, lf == NULL ? left : (size_t)(lf - at) + 1);
		bool look = s->state == IN_HEADER || (*at == '-' && s->boundary_count > 0);

		if (s->in_line || !look) {
			line_more(s, line, true);
		} else if (lf == NULL && line.len < LINE_PREFIX_BYTES) {
			at += carry(s, line);
			continue;
		} else {
			line_start(s, line, true);
		}
		at += line.len;
	}
	field_save(s);
}

struct mime_stream *mime_stream_new(struct arena *arena)
{
	struct mime_stream *s = ARENA_NEW(arena, struct mime_stream);
	struct mime_part *root = s == NULL ? NULL : ARENA_NEW(arena, struct mime_part);

	if (root == NULL)
		return NULL;
	s->arena = arena;
	s->kept_before = arena->used_bytes;
	s->mime.root = s->part = root;
	s->mime.part_count = 1;
	s->tail = &root->children;
	s->last = '\n';
	header_start(s, 0, 0);
	return s;
}

const struct mime *mime_stream_end(struct mime_stream *s)
{
	if (s->carry_len > 0) {
		struct slice line = slice_of(s->carry, s->carry_len);
		s->carry_len = 0;
		line_start(s, line, false);
	}
	/* Nothing takes the last line end away here. */
	while (s->state == IN_HEADER)
		header_end(s, false, s->at, s->lines);
	while (s->depth > 0)
		part_end(s, s->at, s->lines);
	part_end(s, s->at, s->lines);
	s->mime.size = s->at;
	return &s->mime;
}

const struct mime *mime_parse(struct arena *arena, struct slice message)
{
	struct mime_stream *s = mime_stream_new(arena);

	if (s == NULL)
		return NULL;
	mime_stream_feed(s, message);
	return mime_stream_end(s);
}

struct slice mime_type_param(const struct mime_part *part, const char *name)
{
	for (uint32_t i = 0; i < part->type_param_count; i++)
		if (slice_eq_nocase(part->type_params[i].name, slice_str(name)))
			return part->type_params[i].value;
	return (struct slice){ 0 };
}

bool mime_is(const struct mime_part *part, const char *type, const char *subtype)
{
	struct slice t = part->type, st = part->subtype;

	if (t.ptr == NULL) {
		t = part->kind == MIME_MESSAGE ? SLICE("message") : SLICE("text");
		st = part->kind == MIME_MESSAGE ? SLICE("rfc822") : SLICE("plain");
	}
	return slice_eq_nocase(t, slice_str(type)) && slice_eq_nocase(st, slice_str(subtype));
}

const struct mime_part *mime_walk(const struct mime_part *root, const struct mime_part *at)
{
	if (at->children != NULL)
		return at->children;
	while (at != root && at->next == NULL)
		at = at->parent;
	return at == root ? NULL : at->next;
}
