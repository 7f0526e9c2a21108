#include "mail/message/transfer.h"

#define B64_NONE 0u
#define B64_PAD	 65u

/* Value + 1, so that what is not listed is B64_NONE. */
static const uint8_t b64[256] = {
	['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
	['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
	['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
	['+'] = 63, ['/'] = 64, ['='] = B64_PAD,
};

static int hex_of(uint8_t c)
{
	if (ascii_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void base64_feed(struct transfer *t, struct buf *out, struct slice in)
{
	uint8_t *to = buf_room(out, in.len / 4 * 3 + 6);
	size_t n = 0;

	if (to == NULL)
		return;
	for (size_t i = 0; i < in.len; i++) {
		/* Whole quartets inside a line. */
		while (t->bit_count == 0 && t->state == 0 && in.len - i >= 4) {
			uint32_t a = b64[in.ptr[i]] - 1u, b = b64[in.ptr[i + 1]] - 1u;
			uint32_t c = b64[in.ptr[i + 2]] - 1u, d = b64[in.ptr[i + 3]] - 1u;
			if ((a | b | c | d) >= 64)
				break;
			uint32_t v = a << 18 | b << 12 | c << 6 | d;
			to[n++] = (uint8_t)(v >> 16);
			to[n++] = (uint8_t)(v >> 8);
			to[n++] = (uint8_t)v;
			i += 4;
		}
		if (i == in.len)
			break;
		uint8_t c = in.ptr[i], v = b64[c];
		if (v == B64_PAD) {
			t->bad |= t->bit_count == 0 && t->state == 0;
			t->state = 1;
			t->bit_count = 0;
			t->bits = 0;
		} else if (v == B64_NONE) {
			t->bad |= c != '\r' && c != '\n' && c != ' ' && c != '\t';
		} else if (t->state != 0) {
			t->bad = true;		/* RFC 2045 §6.8: "=" is the end of the data */
		} else {
			t->bits = t->bits << 6 | (v - 1u);
			t->bit_count = (uint8_t)(t->bit_count + 6);
			if (t->bit_count >= 8) {
				t->bit_count = (uint8_t)(t->bit_count - 8);
				to[n++] = (uint8_t)(t->bits >> t->bit_count);
				t->bits &= (1u << t->bit_count) - 1;
			}
		}
	}
	buf_commit(out, n);
}

static void qp_blanks(struct transfer *t, struct buf *out)
{
	buf_add(out, slice_of(t->blank_bytes, t->blanks));
	t->blanks = 0;
}

/*
 * state 0: text; 1: "=" seen; 2: "=X" seen; 3: "=" and blanks seen (a soft line break with padding);
 * 4: CR seen in text; 5: CR seen after "=".
 */
static void qp_byte(struct transfer *t, struct buf *out, uint8_t c)
{
	int hi, lo;

	switch (t->state) {
	case 1:
		if (c == '\n') {
			t->state = 0;
		} else if (c == '\r') {
			t->state = 5;
		} else if (hex_of(c) >= 0) {
			t->held = c;
			t->state = 2;
		} else if (c == ' ' || c == '\t') {
			t->state = 3;
		} else {
			t->bad = true;
			t->state = 0;
			buf_addc(out, '=');
			qp_byte(t, out, c);
		}
		return;
	case 2:
		hi = hex_of(t->held);
		lo = hex_of(c);
		t->state = 0;
		if (lo >= 0) {
			buf_addc(out, (uint8_t)(hi << 4 | lo));
			return;
		}
		t->bad = true;
		buf_addc(out, '=');
		buf_addc(out, t->held);
		qp_byte(t, out, c);
		return;
	case 3:
	case 5:
		if (c == '\n') {
			t->state = 0;
			return;
		}
		if (t->state == 3 && (c == ' ' || c == '\t'))
			return;
		if (t->state == 3 && c == '\r') {
			t->state = 5;
			return;
		}
		t->bad = true;
		t->state = 0;
		buf_addc(out, '=');
		qp_byte(t, out, c);
		return;
	case 4:
		t->state = 0;
		if (c != '\n') {
			qp_blanks(t, out);
			buf_addc(out, '\r');
			qp_byte(t, out, c);
			return;
		}
		t->blanks = 0;		/* §6.7 (3): blanks at the end of a line were added in transport */
		buf_add(out, SLICE("\r\n"));
		return;
	default:
		break;
	}
	if (c == '\r') {
		t->state = 4;
	} else if (c == '\n') {
		t->blanks = 0;
		buf_addc(out, c);
	} else if (c == ' ' || c == '\t') {
		if (t->blanks == sizeof(t->blank_bytes))
			qp_blanks(t, out);
		t->blank_bytes[t->blanks++] = c;
	} else {
		qp_blanks(t, out);
		if (c == '=')
			t->state = 1;
		else
			buf_addc(out, c);
	}
}

static void qp_feed(struct transfer *t, struct buf *out, struct slice in)
{
	for (size_t i = 0; i < in.len; i++) {
		/* A run of plain text at once. */
		size_t run = i;
		while (t->state == 0 && t->blanks == 0 && run < in.len && in.ptr[run] > ' ' && in.ptr[run] != '=')
			run++;
		if (run > i) {
			buf_add(out, slice_sub(in, i, run));
			i = run;
			if (i == in.len)
				return;
		}
		qp_byte(t, out, in.ptr[i]);
	}
}

void transfer_feed(struct transfer *t, struct buf *out, struct slice in)
{
	switch (t->encoding) {
	case MIME_BASE64:
		base64_feed(t, out, in);
		break;
	case MIME_QUOTED_PRINTABLE:
		qp_feed(t, out, in);
		break;
	default:
		buf_add(out, in);
		break;
	}
}

void transfer_end(struct transfer *t, struct buf *out)
{
	if (t->encoding == MIME_BASE64) {
		t->bad |= t->bit_count != 0;
	} else if (t->encoding == MIME_QUOTED_PRINTABLE) {
		if (t->state == 2) {
			buf_addc(out, '=');
			buf_addc(out, t->held);
			t->bad = true;
		} else if (t->state == 4) {
			qp_blanks(t, out);
			buf_addc(out, '\r');
		}
		t->state = 0;
		t->blanks = 0;
	}
}

void transfer_q_word(struct buf *out, struct slice in)
{
	for (size_t i = 0; i < in.len; i++) {
		uint8_t c = in.ptr[i];

		if (c == '_') {
			buf_addc(out, ' ');
		} else if (c == '=' && in.len - i > 2 && hex_of(in.ptr[i + 1]) >= 0 && hex_of(in.ptr[i + 2]) >= 0) {
			buf_addc(out, (uint8_t)(hex_of(in.ptr[i + 1]) << 4 | hex_of(in.ptr[i + 2])));
			i += 2;
		} else {
			buf_addc(out, c);
		}
	}
}

void transfer_base64(struct buf *out, struct slice in)
{
	struct transfer t = transfer_of(MIME_BASE64);

	base64_feed(&t, out, in);
}
