#include "base/hex.h"

#include <errno.h>

static const char digits[16] = { "0123456789abcdef" };

void hex_encode(struct buf *out, struct slice s)
{
	if (s.len > SIZE_MAX / 2) {		/* no such slice exists; keeps the product whole */
		out->err = -EMSGSIZE;
		return;
	}
	uint8_t *to = buf_room(out, s.len * 2);

	if (to == NULL)
		return;
	for (size_t i = 0; i < s.len; i++) {
		*to++ = (uint8_t)digits[s.ptr[i] >> 4];
		*to++ = (uint8_t)digits[s.ptr[i] & 15];
	}
	buf_commit(out, s.len * 2);
}

void hex_u64(struct buf *out, uint64_t v)
{
	uint8_t text[16];

	for (size_t i = sizeof(text); i-- > 0; v >>= 4)
		text[i] = (uint8_t)digits[v & 15];
	buf_add(out, slice_of(text, sizeof(text)));
}

bool hex_decode(struct buf *out, struct slice text)
{
	if (text.len % 2 != 0)
		return false;
	uint8_t *to = buf_room(out, text.len / 2);
	if (to == NULL)
		return out->err == 0 && text.len == 0;
	for (size_t i = 0; i < text.len; i += 2) {
		int high = hex_value(text.ptr[i]), low = hex_value(text.ptr[i + 1]);
		if (high < 0 || low < 0)
			return false;
		*to++ = (uint8_t)(high << 4 | low);
	}
	buf_commit(out, text.len / 2);
	return true;
}

bool hex_parse_u64(struct slice text, uint64_t *out)
{
	uint64_t v = 0;

	if (text.len != 16)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		int value = hex_value(c);
		if (value < 0 || (c >= 'A' && c <= 'F'))
			return false;
		v = v << 4 | (uint64_t)value;
	}
	*out = v;
	return true;
}
