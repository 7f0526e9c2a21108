#include "base/base64.h"

#include <errno.h>

static const char alphabet[64] = {
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
};

void base64_encode(struct buf *out, struct slice s)
{
	if (s.len > SIZE_MAX / 2) {		/* no such slice exists; keeps the sum below whole */
		out->err = -EMSGSIZE;
		return;
	}
	size_t need = (s.len + 2) / 3 * 4;
	uint8_t *to = buf_room(out, need);

	if (to == NULL)
		return;
	for (size_t i = 0; i < s.len; i += 3) {
		size_t left = s.len - i;
		uint32_t v = (uint32_t)s.ptr[i] << 16;
		if (left > 1)
			v |= (uint32_t)s.ptr[i + 1] << 8;
		if (left > 2)
			v |= s.ptr[i + 2];
		*to++ = (uint8_t)alphabet[v >> 18];
		*to++ = (uint8_t)alphabet[v >> 12 & 63];
		*to++ = left > 1 ? (uint8_t)alphabet[v >> 6 & 63] : '=';
		*to++ = left > 2 ? (uint8_t)alphabet[v & 63] : '=';
	}
	buf_commit(out, need);
}

/* 0..63, or 64 for a byte outside the alphabet. */
static uint32_t value_of(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (uint32_t)(c - 'A');
	if (c >= 'a' && c <= 'z')
		return (uint32_t)(c - 'a') + 26;
	if (c >= '0' && c <= '9')
		return (uint32_t)(c - '0') + 52;
	return c == '+' ? 62 : c == '/' ? 63 : 64;
}

bool base64_decode(struct buf *out, struct slice text)
{
	if (text.len % 4 != 0)
		return false;
	if (text.len == 0)
		return out->err == 0;
	uint8_t *to = buf_room(out, text.len / 4 * 3);
	if (to == NULL)
		return false;
	size_t n = 0;
	for (size_t i = 0; i < text.len; i += 4) {
		const uint8_t *in = text.ptr + i;
		bool last = i + 4 == text.len;
		unsigned pad = !last || in[3] != '=' ? 0 : in[2] != '=' ? 1 : 2;
		uint32_t a = value_of(in[0]), b = value_of(in[1]);
		uint32_t c = pad == 2 ? 0 : value_of(in[2]), d = pad >= 1 ? 0 : value_of(in[3]);

		if (a > 63 || b > 63 || c > 63 || d > 63)
			return false;
		uint32_t v = a << 18 | b << 12 | c << 6 | d;
		/* §3.5: bits that are thrown away must be zero, else two texts mean one value. */
		if ((pad == 2 && (v & 0xffff) != 0) || (pad == 1 && (v & 0xff) != 0))
			return false;
		to[n++] = (uint8_t)(v >> 16);
		if (pad < 2)
			to[n++] = (uint8_t)(v >> 8);
		if (pad < 1)
			to[n++] = (uint8_t)v;
	}
	buf_commit(out, n);
	return true;
}
