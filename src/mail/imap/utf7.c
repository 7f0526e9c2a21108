#include "mail/imap/utf7.h"

#include "base/utf8.h"

/* RFC 3501 §5.1.3: base64 with "," in the place of "/". */
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static int digit_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (ascii_digit(c))
		return c - '0' + 52;
	return c == '+' ? 62 : c == ',' ? 63 : -1;
}

static bool printable(uint32_t c)
{
	return c >= 0x20 && c < 0x7f;
}

/* What stands between "&" and "-": UTF-16 in base64, no printable US-ASCII in it. */
static bool decode_shift(struct slice in, struct buf *out)
{
	uint32_t bits = 0, high = 0;
	unsigned have = 0;

	for (size_t i = 0; i < in.len; i++) {
		int v = digit_value(in.ptr[i]);
		uint32_t unit;

		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have < 16)
			continue;
		have -= 16;
		unit = bits >> have & 0xffff;
		bits &= (1u << have) - 1;
		if (high != 0) {
			if (unit < 0xdc00 || unit > 0xdfff)
				return false;
			utf8_add(out, 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00));
			high = 0;
		} else if (unit >= 0xd800 && unit <= 0xdbff) {
			high = unit;
		} else if ((unit >= 0xdc00 && unit <= 0xdfff) || printable(unit)) {
			return false;
		} else {
			utf8_add(out, unit);
		}
	}
	/* Padding bits are zero and fewer than a base64 digit's. */
	return high == 0 && have < 6 && bits == 0;
}

bool utf7_decode(struct slice text, struct buf *out)
{
	size_t start = out->len;
	bool after_shift = false;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		size_t end;

		if (!printable(c))
			goto fail;
		if (c != '&') {
			buf_addc(out, c);
			after_shift = false;
			continue;
		}
		end = slice_find_byte(slice_from(text, i), '-');
		if (end == SLICE_NPOS)
			goto fail;
		if (end == 1) {
			buf_addc(out, '&');
			after_shift = false;
		} else {
			if (after_shift || !decode_shift(slice_sub(text, i + 1, i + end), out))
				goto fail;
			after_shift = true;
		}
		i += end;
	}
	return out->err == 0;
fail:
	buf_truncate(out, start);
	return false;
}

struct encoder {
	struct buf *out;
	uint32_t bits;
	unsigned have;
	bool shifted;
};

static void encode_unit(struct encoder *e, uint32_t unit)
{
	if (!e->shifted) {
		buf_addc(e->out, '&');
		e->shifted = true;
	}
	e->bits = (e->bits << 16 | unit) & 0x3fffff;
	e->have += 16;
	while (e->have >= 6) {
		e->have -= 6;
		buf_addc(e->out, (uint8_t)alphabet[e->bits >> e->have & 0x3f]);
	}
	e->bits &= (1u << e->have) - 1;
}

static void encode_end(struct encoder *e)
{
	if (!e->shifted)
		return;
	if (e->have > 0)
		buf_addc(e->out, (uint8_t)alphabet[e->bits << (6 - e->have) & 0x3f]);
	buf_addc(e->out, '-');
	*e = (struct encoder){ .out = e->out };
}

void utf7_encode(struct slice utf8, struct buf *out)
{
	struct encoder e = { .out = out };
	uint32_t c;

	while (utf8_next(&utf8, &c)) {
		if (printable(c)) {
			encode_end(&e);
			buf_addc(out, (uint8_t)c);
			if (c == '&')
				buf_addc(out, '-');
		} else if (c >= 0x10000) {
			encode_unit(&e, 0xd800 + ((c - 0x10000) >> 10));
			encode_unit(&e, 0xdc00 + ((c - 0x10000) & 0x3ff));
		} else {
			encode_unit(&e, c);
		}
	}
	encode_end(&e);
}
