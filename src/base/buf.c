#include "base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"

#define BUF_FIRST_BYTES 256u

void buf_done(struct buf *b)
{
	free(b->ptr);
	*b = (struct buf){ .max = b->max };
}

static int grow(struct buf *b, size_t need)
{
	size_t cap = b->cap == 0 ? BUF_FIRST_BYTES : b->cap;

	if (need > b->max)
		return b->err = -EMSGSIZE;
	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	if (cap > b->max)
		cap = b->max;
	uint8_t *ptr = realloc(b->ptr, cap);
	if (ptr == NULL)
		return b->err = -ENOMEM;
	b->ptr = ptr;
	b->cap = cap;
	return 0;
}

uint8_t *buf_room(struct buf *b, size_t n)
{
	if (b->err != 0)
		return NULL;
	if (n > SIZE_MAX - b->len) {
		b->err = -EMSGSIZE;
		return NULL;
	}
	/* Also for n == 0 before the first byte: NULL means failure. */
	if ((b->ptr == NULL || n > b->cap - b->len) && grow(b, b->len + n) != 0)
		return NULL;
	return b->ptr + b->len;
}

void buf_add(struct buf *b, struct slice s)
{
	if (s.len == 0)
		return;
	uint8_t *to = buf_room(b, s.len);
	if (to == NULL)
		return;
	memcpy(to, s.ptr, s.len);
	b->len += s.len;
}

void buf_addc(struct buf *b, uint8_t c)
{
	buf_add(b, slice_of(&c, 1));
}

void buf_adds(struct buf *b, const char *text)
{
	buf_add(b, slice_str(text));
}

void buf_fill(struct buf *b, uint8_t c, size_t n)
{
	uint8_t *to = buf_room(b, n);

	if (to == NULL || n == 0)
		return;
	memset(to, c, n);
	b->len += n;
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	uint8_t *to = buf_room(b, 64);

	if (to == NULL) {
		/* Not an error yet when only the guess of 64 is above max. */
		if (b->err != -EMSGSIZE || b->len > b->max)
			return;
		b->err = 0;
	}
	va_copy(again, ap);
	size_t space = b->cap - b->len;
	int n = vsnprintf(space == 0 ? NULL : (char *)b->ptr + b->len, space, fmt, ap);
	must(n >= 0);
	if ((size_t)n >= space) {
		to = buf_room(b, (size_t)n + 1);	/* vsnprintf wants to write its NUL */
		if (to == NULL && b->err == -EMSGSIZE && b->len + (size_t)n == b->max) {
			AUTO_BUF struct buf whole = BUF_INIT((size_t)n + 1);
			b->err = 0;
			to = buf_room(&whole, (size_t)n + 1);
			if (to == NULL) {
				b->err = -ENOMEM;
			} else {
				vsnprintf((char *)to, (size_t)n + 1, fmt, again);
				buf_add(b, slice_of(to, (size_t)n));
			}
			va_end(again);
			return;
		}
		if (to != NULL)
			vsnprintf((char *)to, (size_t)n + 1, fmt, again);
	}
	va_end(again);
	if (b->err == 0)
		b->len += (size_t)n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(b, fmt, ap);
	va_end(ap);
}

void buf_dec(struct buf *b, uint64_t n)
{
	uint8_t digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (uint8_t)('0' + n % 10);
		n /= 10;
	} while (n != 0);
	buf_add(b, slice_of(digits + at, sizeof(digits) - at));
}

void buf_be16(struct buf *b, uint16_t v)
{
	uint8_t raw[2] = { (uint8_t)(v >> 8), (uint8_t)v };

	buf_add(b, slice_of(raw, sizeof(raw)));
}

void buf_be32(struct buf *b, uint32_t v)
{
	uint8_t raw[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };

	buf_add(b, slice_of(raw, sizeof(raw)));
}

void buf_be64(struct buf *b, uint64_t v)
{
	buf_be32(b, (uint32_t)(v >> 32));
	buf_be32(b, (uint32_t)v);
}

void buf_varint(struct buf *b, uint64_t v)
{
	uint8_t raw[10];
	size_t n = 0;

	while (v >= 0x80) {
		raw[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	raw[n++] = (uint8_t)v;
	buf_add(b, slice_of(raw, n));
}

void buf_blob(struct buf *b, struct slice s)
{
	buf_varint(b, s.len);
	buf_add(b, s);
}

void buf_drop(struct buf *b, size_t n)
{
	must(n <= b->len);
	b->len -= n;
	if (b->len > 0 && n > 0)
		memmove(b->ptr, b->ptr + n, b->len);
}

void buf_truncate(struct buf *b, size_t len)
{
	must(len <= b->len);
	b->len = len;
}

void buf_release_if_empty(struct buf *b)
{
	if (b->len == 0 && b->err == 0) {
		free(b->ptr);
		b->ptr = NULL;
		b->cap = 0;
	}
}

const char *buf_cstr(struct buf *b)
{
	uint8_t *to = buf_room(b, 1);

	if (to == NULL)
		return "";
	*to = '\0';
	return (const char *)b->ptr;
}
