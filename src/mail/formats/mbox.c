#include "mail/formats/mbox.h"

#include "base/date.h"

static const struct slice from_ = SLICE_INIT("From ");

/* ---- the From_ line ---- */

static bool is_time(struct slice token)
{
	return (token.len == 5 || token.len == 8) && ascii_digit(token.ptr[0]) && ascii_digit(token.ptr[1]) &&
	       token.ptr[2] == ':' && ascii_digit(token.ptr[3]) && ascii_digit(token.ptr[4]) &&
	       (token.len == 5 || (token.ptr[5] == ':' && ascii_digit(token.ptr[6]) && ascii_digit(token.ptr[7])));
}

static int two(const uint8_t *p)
{
	return (p[0] - '0') * 10 + (p[1] - '0');
}

static int month_of(struct slice token)
{
	for (int m = 0; m < 12; m++)
		if (slice_eq_nocase(token, slice_of(date_months[m], 3)))
			return m + 1;
	return 0;
}

#define TOKENS 16u

/* "Mon Nov 23 09:00:00 2026", also with a zone before the year, or "+0100" behind it. */
static bool from_date(struct slice line, int64_t *time_s)
{
	struct slice tokens[TOKENS] = { 0 };
	size_t count = 0, t;
	uint64_t day, year;

	/* The last ones: a sender may have blanks. */
	for (size_t i = 0; i < line.len;) {
		size_t start;

		while (i < line.len && (line.ptr[i] == ' ' || line.ptr[i] == '\t' || line.ptr[i] == '\r'))
			i++;
		start = i;
		while (i < line.len && line.ptr[i] != ' ' && line.ptr[i] != '\t' && line.ptr[i] != '\r')
			i++;
		if (i == start)
			break;
		if (count == TOKENS) {
			memmove(tokens, tokens + 1, (TOKENS - 1) * sizeof(*tokens));
			count--;
		}
		tokens[count++] = slice_sub(line, start, i);
	}
	for (t = 2; t < count && !is_time(tokens[t]); t++)
		;
	if (t >= count || !slice_u64(tokens[t - 1], 31, &day))
		return false;
	struct date d = { .month = month_of(tokens[t - 2]), .day = (int)day, .hour = two(tokens[t].ptr),
			  .minute = two(tokens[t].ptr + 3), .second = tokens[t].len == 8 ? two(tokens[t].ptr + 6) : 0 };
	if (!(t + 1 < count && tokens[t + 1].len == 4 && slice_u64(tokens[t + 1], 9999, &year)) &&
	    !(t + 2 < count && tokens[t + 2].len == 4 && slice_u64(tokens[t + 2], 9999, &year)))
		return false;
	d.year = (int64_t)year;
	if (d.month == 0 || !date_valid(&d))
		return false;
	*time_s = date_to_unix(&d);
	for (size_t i = t + 1; i < count && i < t + 3; i++) {
		struct slice z = tokens[i];
		uint64_t zone;

		if (z.len == 5 && (z.ptr[0] == '+' || z.ptr[0] == '-') && slice_u64(slice_from(z, 1), 1400, &zone))
			*time_s -= (z.ptr[0] == '+' ? 60 : -60) * (int64_t)(zone / 100 * 60 + zone % 100);
	}
	return true;
}

/* ---- fields that are not the message's ---- */

static void take_status(struct mbox_reader *r, struct slice value)
{
	for (size_t i = 0; i < value.len; i++)
		if (value.ptr[i] == 'R')
			r->flags |= FORMAT_SEEN;
}

static void take_x_status(struct mbox_reader *r, struct slice value)
{
	static const struct { uint8_t letter; unsigned flag; } letters[] = {
		{ 'A', FORMAT_ANSWERED }, { 'F', FORMAT_FLAGGED }, { 'T', FORMAT_DRAFT }, { 'D', FORMAT_DELETED },
	};

	for (size_t i = 0; i < value.len; i++)
		for (size_t k = 0; k < ARRAY_LEN(letters); k++)
			if (value.ptr[i] == letters[k].letter)
				r->flags |= letters[k].flag;
}

static void take_keywords(struct mbox_reader *r, struct slice value)
{
	if (value.len > MBOX_KEYWORDS_BYTES_MAX - r->keywords_len - (r->keywords_len > 0))
		return;
	if (r->keywords_len > 0)
		r->keywords[r->keywords_len++] = ' ';
	memcpy(r->keywords + r->keywords_len, value.ptr, value.len);
	r->keywords_len += value.len;
}

static void take_uid(struct mbox_reader *r, struct slice value)
{
	if (!slice_u32(value, &r->uid))
		r->uid = 0;
}

static void take_base(struct mbox_reader *r, struct slice value)
{
	struct slice head, tail;

	if (!slice_cut(value, ' ', &head, &tail))
		head = value;
	if (!slice_u32(head, &r->uidvalidity))
		r->uidvalidity = 0;
}

static void take_internal(struct mbox_reader *r, struct slice value)
{
	take_base(r, value);
	r->internal = true;
}

static void take_nothing(struct mbox_reader *r, struct slice value)
{
	(void)r;
	(void)value;
}

/* `order`: the place in the block that we write. */
static const struct {
	struct slice name;
	void (*take)(struct mbox_reader *r, struct slice value);
	uint8_t order;
} fields[] = {
	{ SLICE_INIT("X-UID:"), take_uid, 1 },		 { SLICE_INIT("Status:"), take_status, 2 },
	{ SLICE_INIT("X-Status:"), take_x_status, 3 },	 { SLICE_INIT("X-Keywords:"), take_keywords, 4 },
	{ SLICE_INIT("X-IMAPbase:"), take_base, 0 },	 { SLICE_INIT("X-IMAP:"), take_internal, 0 },
	{ SLICE_INIT("Content-Length:"), take_nothing, 0 },
};
#define ORDER_LAST  4u
#define ORDER_OTHER 100u		/* a field of the message's own has come */

/* The line is a field that is taken out. */
static bool take_field(struct mbox_reader *r, struct slice line)
{
	if (r->ours)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		if (!slice_starts_nocase(line, fields[i].name))
			continue;
		fields[i].take(r, slice_trim(slice_from(line, fields[i].name.len)));
		if (fields[i].order == r->order + 1)
			r->order++;
		else if (fields[i].take != take_base || r->order > 0)
			r->order = ORDER_OTHER;
		r->ours = r->order == ORDER_LAST;
		return true;
	}
	r->order = ORDER_OTHER;
	return false;
}

/* ---- reading ---- */

void mbox_reader_init(struct mbox_reader *r)
{
	mbox_reader_init_at(r, 0);
}

void mbox_reader_init_at(struct mbox_reader *r, uint64_t offset)
{
	memset(r, 0, sizeof(*r));
	r->offset = r->line_at = offset;
}

static bool is_blank(struct slice line)
{
	return slice_eq(line, SLICE("\n")) || slice_eq(line, SLICE("\r\n"));
}

/* ">From " and ">>From ": one ">" less. */
static struct slice unquote(struct slice line)
{
	size_t n = 0;

	while (n < line.len && line.ptr[n] == '>')
		n++;
	return n > 0 && slice_starts(slice_from(line, n), from_) ? slice_from(line, 1) : line;
}

static const uint8_t quotes[MBOX_LINE_BYTES_MAX] = { [0 ... MBOX_LINE_BYTES_MAX - 1] = '>' };

/*
 * A line that begins with so many ">" that "From " may still come: all but one are given out, and that
 * one, which may have to go, waits in `line` with what came of "From ". Returns how many; 0: no such line.
 */
static size_t shorten(struct mbox_reader *r)
{
	size_t n = 0, rest;

	if (r->len < sizeof(r->line))
		return 0;
	while (n < r->len && r->line[n] == '>')
		n++;
	rest = r->len - n;
	if (n < 2 || rest >= from_.len || !slice_eq(slice_of(r->line + n, rest), slice_head(from_, rest)))
		return 0;
	memmove(r->line + 1, r->line + n, rest);
	r->len = 1 + rest;
	return n - 1;
}

static struct slice held_blank(struct mbox_reader *r)
{
	r->has_blank = false;
	return r->blank_cr ? SLICE("\r\n") : SLICE("\n");
}

static void begin(struct mbox_reader *r)
{
	r->begin_next = false;
	r->time_s = r->next_time_s;
	r->has_time = true;
	r->message_at = r->next_at;
	r->in_message = r->header = true;
	r->flags = 0;
	r->uid = r->uidvalidity = 0;
	r->internal = r->ours = r->has_blank = false;
	r->dropping = r->inside;	/* the rest of a very long From_ line */
	r->order = 0;
	r->keywords_len = 0;
	r->after_blank = false;
}

/* Bytes into `line` up to its end, or until it is full. False: more are needed. */
static bool collect(struct mbox_reader *r, struct slice *in, bool last)
{
	if (r->len == 0)
		r->line_at = r->offset;
	size_t room = sizeof(r->line) - r->len;
	struct slice now = slice_head(*in, room);
	size_t lf = slice_find_byte(now, '\n');
	bool ended = lf != SLICE_NPOS;

	if (ended)
		now = slice_head(now, lf + 1);
	if (now.len > 0)
		memcpy(r->line + r->len, now.ptr, now.len);
	r->len += now.len;
	r->offset += now.len;
	*in = slice_from(*in, now.len);
	return ended || r->len == sizeof(r->line) || (last && r->len > 0);
}

/* A whole line's first piece. True: it starts a message. */
static bool starts_message(struct mbox_reader *r, struct slice line)
{
	int64_t time_s;

	if ((r->not_first && !r->after_blank) || !slice_starts(line, from_) ||
	    !from_date(slice_trim(slice_from(line, from_.len)), &time_s))
		return false;
	r->next_time_s = time_s;
	r->next_at = r->line_at;
	return true;
}

/* What becomes of the piece in `line`: true and *bytes when it is to be given out. */
static bool judge(struct mbox_reader *r, struct slice piece, bool line_start, struct slice *bytes)
{
	*bytes = piece;
	if (!r->in_message) {
		r->garbage_bytes += piece.len;
		return false;
	}
	if (!line_start)
		return !r->dropping;
	if (r->header && (piece.ptr[0] == ' ' || piece.ptr[0] == '\t') && r->dropping && !r->ours)
		return false;
	r->dropping = r->header && take_field(r, piece);
	*bytes = unquote(piece);
	return !r->dropping;
}

static enum mbox_event finish(struct mbox_reader *r)
{
	if (!r->in_message)
		return MBOX_DONE;
	r->in_message = false;		/* a blank line that is held is the one that we or others add */
	return MBOX_END;
}

enum mbox_event mbox_next(struct mbox_reader *r, struct slice *in, bool last, struct slice *bytes)
{
	for (;;) {
		if (r->begin_next) {
			begin(r);
			return MBOX_BEGIN;
		}
		if (!r->whole && !collect(r, in, last))
			return last ? finish(r) : MBOX_MORE;
		struct slice piece = slice_of(r->line, r->len);
		bool line_start = !r->inside, ended = piece.ptr[piece.len - 1] == '\n';

		if (line_start && !r->whole && starts_message(r, piece)) {
			r->len = 0;
			r->inside = !ended;
			r->not_first = true;
			r->begin_next = true;
			if (r->in_message) {
				r->in_message = false;
				return MBOX_END;
			}
			continue;
		}
		r->not_first = true;
		if (line_start && r->in_message && is_blank(piece)) {
			bool had = r->has_blank, had_cr = r->blank_cr;

			r->len = 0;
			r->header = false;
			r->after_blank = r->has_blank = true;
			r->blank_cr = piece.len == 2;
			if (!had)
				continue;
			*bytes = had_cr ? SLICE("\r\n") : SLICE("\n");
			return MBOX_BYTES;
		}
		if (line_start && r->has_blank) {
			r->whole = true;	/* after the blank line that was held back */
			*bytes = held_blank(r);
			return MBOX_BYTES;
		}
		r->whole = false;
		size_t many = line_start && r->in_message ? shorten(r) : 0;
		if (many > 0) {
			*bytes = slice_of(quotes, many);
			return MBOX_BYTES;
		}
		r->after_blank = !r->in_message && line_start && is_blank(piece);
		r->inside = !ended;
		r->len = 0;
		if (judge(r, piece, line_start, bytes))
			return MBOX_BYTES;
	}
}

/* ---- writing ---- */

void mbox_write_begin(struct mbox_writer *w, const struct mbox_meta *meta, struct buf *out)
{
	struct date d = date_from_unix(meta->time_s < 0 ? 0 : MIN(meta->time_s, INT64_C(253402300799)));

	*w = (struct mbox_writer){ .line_start = true, .ended = true };
	buf_printf(out, "From MAILER-DAEMON %s %s %2d %02d:%02d:%02d %04d\n", date_weekdays[d.weekday],
		   date_months[d.month - 1], d.day, d.hour, d.minute, d.second, (int)d.year);
	if (meta->uidvalidity != 0)
		buf_printf(out, "X-IMAPbase: %u %010u\n", meta->uidvalidity, meta->uidnext - 1);
	buf_printf(out, "X-UID: %u\nStatus: %sO\nX-Status: %s%s%s%s\nX-Keywords: ", meta->uid,
		   (meta->flags & FORMAT_SEEN) != 0 ? "R" : "", (meta->flags & FORMAT_ANSWERED) != 0 ? "A" : "",
		   (meta->flags & FORMAT_FLAGGED) != 0 ? "F" : "", (meta->flags & FORMAT_DRAFT) != 0 ? "T" : "",
		   (meta->flags & FORMAT_DELETED) != 0 ? "D" : "");
	buf_add(out, meta->keywords);
	buf_addc(out, '\n');
}

/* What was held back was no From line. */
static void release(struct mbox_writer *w, struct buf *out)
{
	buf_add(out, slice_head(from_, w->matched));
	w->matched = 0;
	w->line_start = false;
}

/* Bytes at a line's start, one by one, until it is decided whether the line is to be quoted. */
static void at_line_start(struct mbox_writer *w, uint8_t c, struct buf *out)
{
	if (w->matched == 0 && c == '>') {
		buf_addc(out, c);	/* one more or not: where in the row it stands does not matter */
		return;
	}
	if (c == from_.ptr[w->matched]) {
		if (++w->matched < from_.len)
			return;
		buf_addc(out, '>');
		release(w, out);
		return;
	}
	release(w, out);
	buf_addc(out, c);
	w->line_start = c == '\n';
}

static void write_lines(struct mbox_writer *w, struct slice in, struct buf *out)
{
	if (in.len > 0)
		w->ended = in.ptr[in.len - 1] == '\n';
	while (in.len > 0) {
		if (w->line_start) {
			at_line_start(w, in.ptr[0], out);
			in = slice_from(in, 1);
			continue;
		}
		size_t lf = slice_find_byte(in, '\n');
		size_t n = lf == SLICE_NPOS ? in.len : lf + 1;
		buf_add(out, slice_head(in, n));
		w->line_start = lf != SLICE_NPOS;
		in = slice_from(in, n);
	}
}

void mbox_write(struct mbox_writer *w, struct slice bytes, struct buf *out)
{
	AUTO_BUF struct buf lf = BUF_INIT(bytes.len + 2);

	line_ends_to_lf(&w->ends, bytes, &lf);
	if (lf.err != 0)
		out->err = lf.err;
	write_lines(w, buf_slice(&lf), out);
}

void mbox_write_end(struct mbox_writer *w, struct buf *out)
{
	AUTO_BUF struct buf lf = BUF_INIT(2);

	line_ends_to_lf_end(&w->ends, &lf);
	write_lines(w, buf_slice(&lf), out);
	release(w, out);
	if (!w->ended)
		buf_addc(out, '\n');
	buf_addc(out, '\n');
}
