/*
 * Reading a segment's records in order. A bad place is reported and passed: the next record is found
 * by the generation and salt in its header, or by a block header's pointer, and proven by its checksum.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/embedded/store.h"

#define WINDOW_BYTES (256u * 1024u)
#define UNREADABLE_PIECE 4096u

static int64_t scan_read(struct scan *c, uint8_t *to, size_t n, uint64_t at)
{
	struct world *w = c->s->w;

	return c->direct ? w->ops->pread_direct(w, c->file, to, n, at) :
			   w->ops->pread(w, c->file, to, n, at);
}

/* What a disk says about sectors that it has lost; all else (ENOMEM, ...) may be better next time. */
static bool medium_error(int64_t err)
{
	return err == -EIO || err == -ENODATA || err == -EILSEQ || err == -EBADMSG;
}

/* Sectors that the disk cannot give are zeros: no record there will prove itself. */
static void window_read(struct scan *c, uint64_t at, size_t n)
{
	int64_t got = scan_read(c, c->window, n, at);

	c->window_at = at;
	c->window_len = got < 0 ? n : (size_t)got;
	if (got >= 0)
		return;
	for (size_t i = 0; i < n && c->err == 0; i += UNREADABLE_PIECE) {
		size_t piece = MIN((size_t)UNREADABLE_PIECE, n - i);

		got = scan_read(c, c->window + i, piece, at + i);
		if (got < 0 && !medium_error(got)) {
			c->err = (int)got;
			c->window_len = 0;
		} else if (got < 0) {
			c->unreadable = true;
			c->unreadable_end = at + i + piece;
		}
		if (got < (int64_t)piece)
			memset(c->window + i + MAX(got, 0), 0, piece - (size_t)MAX(got, 0));
	}
}

/* n bytes at a file offset, n <= a block; NULL past the end of the file or the limit. */
static const uint8_t *window(struct scan *c, uint64_t at, size_t n)
{
	if (c->err != 0)
		return NULL;
	if (at < c->window_at || at + n > c->window_at + c->window_len) {
		uint64_t from = at & ~(uint64_t)(c->s->opt.block_bytes - 1);

		if (at + n > c->limit)
			return NULL;
		window_read(c, from, (size_t)MIN((uint64_t)WINDOW_BYTES, c->limit - from));
		if (at + n > c->window_at + c->window_len)
			return NULL;
	}
	return c->window + (at - c->window_at);
}

/* Is this block one of the segment's current use? */
static bool block_ours(struct scan *c, uint64_t block_at, struct block_header *h)
{
	const uint8_t *p = window(c, block_at, BLOCK_HEADER_BYTES);

	return p != NULL && block_header_read(p, h) && h->generation == c->generation &&
	       h->salt == c->salt && h->segment == c->segment &&
	       h->number == block_at / c->s->opt.block_bytes;
}

/* Append n stream bytes from *pos (normal) to c->record; *pos moves behind them (maybe onto a boundary). */
static bool fetch(struct scan *c, uint64_t *pos, size_t n)
{
	uint32_t block = c->s->opt.block_bytes;
	struct block_header h;

	while (n > 0) {
		if (*pos % block == 0) {
			if (!block_ours(c, *pos, &h))
				return false;
			*pos += BLOCK_HEADER_BYTES;
		}
		size_t piece = MIN(n, (size_t)(block - *pos % block));
		const uint8_t *p = window(c, *pos, piece);

		if (p == NULL)
			return false;
		buf_add(&c->record, slice_of(p, piece));
		*pos += piece;
		n -= piece;
	}
	return c->record.err == 0;
}

enum parse { PARSE_RECORD, PARSE_ZERO, PARSE_BAD };

/* A record at pos: into c->record, c->header, c->body; *end behind it. */
static enum parse parse(struct scan *c, uint64_t pos, uint64_t *end)
{
	struct block_header h;
	uint32_t block = c->s->opt.block_bytes;

	if (pos % block == BLOCK_HEADER_BYTES && !block_ours(c, pos - BLOCK_HEADER_BYTES, &h)) {
		const uint8_t *p = window(c, pos - BLOCK_HEADER_BYTES, BLOCK_HEADER_BYTES);
		static const uint8_t unwritten[BLOCK_HEADER_BYTES];

		return p != NULL && memcmp(p, unwritten, sizeof(unwritten)) == 0 ? PARSE_ZERO :
										   PARSE_BAD;
	}
	/*
	 * Zeros up to the next sector are the end of a batch. Eight of them are no record (checksum and
	 * length zero); fewer, just before the sector's end, may be the checksum of one.
	 */
	size_t left = MIN(8u, LOG_SECTOR_BYTES - (size_t)(pos % LOG_SECTOR_BYTES));
	const uint8_t *first = window(c, pos, left);
	static const uint8_t none[8];
	if (first == NULL)
		return PARSE_ZERO;	/* less than a header before the limit */
	bool zeros = memcmp(first, none, left) == 0;
	if (zeros && left == 8)
		return PARSE_ZERO;
	buf_reset(&c->record);
	*end = pos;
	if (!fetch(c, end, RECORD_HEADER_BYTES) ||
	    !record_header_read(c->record.ptr, &c->header) ||
	    c->header.generation != c->generation || c->header.salt != c->salt ||
	    !fetch(c, end, c->header.body_bytes) || !record_intact(buf_slice(&c->record)))
		return zeros ? PARSE_ZERO : PARSE_BAD;
	c->body = slice_from(buf_slice(&c->record), RECORD_HEADER_BYTES);
	return PARSE_RECORD;
}

/* Find the next record that proves itself, from a file offset on. True: parsed, at *pos, ends at *end. */
static bool resync(struct scan *c, uint64_t from, uint64_t *pos, uint64_t *end)
{
	uint32_t block = c->s->opt.block_bytes;
	uint8_t mark[8];

	put_be32(mark, c->generation);
	put_be32(mark + 4, c->salt);
	for (uint64_t at = from; at + RECORD_HEADER_BYTES <= c->limit && c->err == 0;) {
		uint64_t block_at = at & ~(uint64_t)(block - 1);
		size_t n = (size_t)(MIN(block_at + block, c->limit) - at);
		const uint8_t *p = window(c, at, n);
		const uint8_t *hit = p == NULL ? NULL : memmem(p, n, mark, sizeof(mark));

		if (hit == NULL) {
			at = block_at + block;
			continue;
		}
		uint64_t hit_at = at + (uint64_t)(hit - p);
		struct block_header h;

		at = hit_at + 1;
		if (hit_at % block == 4) {
			if (!block_ours(c, block_at, &h) || h.first_record < BLOCK_HEADER_BYTES ||
			    h.first_record >= block)
				continue;
			*pos = block_at + h.first_record;
		} else if (hit_at % block >= BLOCK_HEADER_BYTES + 12) {
			*pos = hit_at - 12;
		} else {
			continue;
		}
		if (*pos >= from && parse(c, *pos, end) == PARSE_RECORD &&
		    (c->expect == 0 || c->header.lsn >= c->expect))
			return true;
	}
	return false;
}

static enum scan_result deliver(struct scan *c)
{
	c->good_end = c->pos;
	c->expect = c->header.lsn + 1;
	return SCAN_RECORD;
}

enum scan_result scan_next(struct scan *c)
{
	uint32_t block = c->s->opt.block_bytes;
	uint64_t end;

	if (c->resumed) {
		c->resumed = false;
		return deliver(c);
	}
	while (c->pos < c->limit) {
		uint64_t pos = pos_normal(c->pos, block);
		enum parse p = pos >= c->limit ? PARSE_ZERO : parse(c, pos, &end);

		if (c->err != 0)
			return SCAN_ERROR;
		if (p == PARSE_ZERO) {
			c->pos = (c->pos / LOG_SECTOR_BYTES + 1) * LOG_SECTOR_BYTES;
			continue;
		}
		c->bad_pos = c->good_end;
		c->bad_expect = c->expect;
		if (p == PARSE_BAD || (c->expect != 0 && c->header.lsn < c->expect)) {
			if (!resync(c, pos + 1, &pos, &end)) {
				if (c->err != 0)
					return SCAN_ERROR;
				c->pos = c->limit;
				return SCAN_BAD;
			}
			c->resumed = true;
		}
		c->resumed |= c->expect != 0 && c->header.lsn != c->expect;
		c->record_pos = pos;
		c->pos = end;
		return c->resumed ? SCAN_BAD : deliver(c);
	}
	return SCAN_END;
}

struct scan *scan_new(struct store *s, uint32_t segment, uint64_t limit, uint64_t expect)
{
	struct scan *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->window = malloc(MIN((uint64_t)WINDOW_BYTES, MAX(limit, (uint64_t)s->opt.block_bytes)));
	if (c->window == NULL || file_get(s, segment, &c->file) != 0) {
		free(c->window);
		free(c);
		return NULL;
	}
	c->s = s;
	c->segment = segment;
	c->generation = s->segs[segment].generation;
	c->salt = s->segs[segment].salt;
	c->limit = MIN(limit, s->segs[segment].size);
	c->expect = expect;
	c->pos = c->good_end = BLOCK_HEADER_BYTES;
	buf_init(&c->record, RECORD_HEADER_BYTES + RECORD_BODY_BYTES_MAX);
	return c;
}

void scan_free(struct scan *c)
{
	if (c == NULL)
		return;
	file_put(c->s, c->segment);
	buf_done(&c->record);
	free(c->window);
	free(c);
}

/* Bytes that begin and end in one block. */
static int piece_read(struct store *s, struct file *file, uint64_t pos, size_t n, struct buf *out)
{
	uint8_t *to = buf_room(out, n);

	if (to == NULL)
		return out->err;
	int64_t got = s->w->ops->pread(s->w, file, to, n, pos);
	if (got != (int64_t)n)
		return got < 0 ? (int)got : -EIO;
	buf_commit(out, n);
	return 0;
}

/* One read over the block headers, which are squeezed out afterwards. */
static int squeeze_read(struct store *s, struct file *file, uint64_t pos, size_t raw, struct buf *out)
{
	uint32_t block = s->opt.block_bytes;
	size_t start = out->len, done = 0, from = 0;
	int err = piece_read(s, file, pos, raw, out);

	if (err != 0)
		return err;
	while (from < raw) {
		uint64_t at = pos + from;
		size_t skip = at % block < BLOCK_HEADER_BYTES ? BLOCK_HEADER_BYTES - at % block : 0;
		size_t piece = MIN(raw - from - skip, (size_t)(block - (at + skip) % block));

		if (from + skip != done)
			memmove(out->ptr + start + done, out->ptr + start + from + skip, piece);
		done += piece;
		from += skip + piece;
	}
	buf_truncate(out, start + done);
	return 0;
}

int stream_read(struct store *s, uint32_t segment, uint64_t pos, size_t n, struct buf *out)
{
	uint32_t block = s->opt.block_bytes;
	struct file *file;

	if (n == 0)
		return 0;
	if (pos % block < BLOCK_HEADER_BYTES)
		return -EUCLEAN;
	int err = file_get(s, segment, &file);
	if (err != 0)
		return err;
	size_t raw = (size_t)(pos_add(pos, n - 1, block) + 1 - pos);

	if (raw <= out->max - out->len) {
		err = squeeze_read(s, file, pos, raw, out);
		n = 0;
	}
	while (n > 0 && err == 0) {
		size_t piece = MIN(n, (size_t)(block - pos % block));

		err = piece_read(s, file, pos, piece, out);
		pos = pos_add(pos, piece, block);
		n -= piece;
	}
	file_put(s, segment);
	return err;
}

#define SPAN_BYTES_MAX (256u << 10)
#define SPAN_NEAR_BYTES (16u << 10)	/* between two reads that are worth one */

/* Fill w->raw from pos on; what the file or memory has not leaves it shorter. */
static int span_fill(struct store *s, struct span *w, uint32_t segment, uint64_t pos, size_t bytes)
{
	struct file *file;
	int err = file_get(s, segment, &file);

	buf_reset(&w->raw);
	if (err != 0)
		return err;
	uint8_t *to = buf_room(&w->raw, bytes);
	int64_t got = to == NULL ? 0 : s->w->ops->pread(s->w, file, to, bytes, pos);

	file_put(s, segment);
	if (got > 0)
		buf_commit(&w->raw, (size_t)got);
	w->segment = segment;
	w->at = pos;
	return 0;
}

int span_read(struct store *s, struct span *w, uint32_t segment, uint64_t pos, size_t n, uint64_t left,
	      struct buf *out)
{
	uint32_t block = s->opt.block_bytes;

	if (n == 0)
		return 0;
	if (pos % block < BLOCK_HEADER_BYTES)
		return -EUCLEAN;
	size_t raw = (size_t)(pos_add(pos, n - 1, block) + 1 - pos);
	bool inside = w->raw.len > 0 && w->segment == segment && pos >= w->at &&
		      pos + raw <= w->at + w->raw.len;
	bool near = w->any && w->segment == segment && pos >= w->end && pos - w->end <= SPAN_NEAR_BYTES;

	if (!inside && near && left > n && raw <= SPAN_BYTES_MAX / 2) {
		/* Between what is wanted stand records' heads, keys and what else was written. */
		uint64_t bytes = MIN(left + left / 4 + SPAN_NEAR_BYTES, (uint64_t)SPAN_BYTES_MAX);

		if (w->raw.max == 0)
			buf_init(&w->raw, SPAN_BYTES_MAX);
		int err = span_fill(s, w, segment, pos, (size_t)bytes);
		if (err != 0)
			return err;
		inside = raw <= w->raw.len;
	}
	w->any = true;
	w->segment = segment;
	w->end = pos + raw;
	if (!inside) {
		buf_reset(&w->raw);
		return stream_read(s, segment, pos, n, out);
	}
	while (n > 0) {
		size_t piece = MIN(n, (size_t)(block - pos % block)), from = (size_t)(pos - w->at);

		buf_add(out, slice_sub(buf_slice(&w->raw), from, from + piece));
		pos = pos_add(pos, piece, block);
		n -= piece;
	}
	return out->err;
}

void span_done(struct span *w)
{
	buf_done(&w->raw);
}
