/*
 * A growing output buffer with a ceiling. The first error sticks, so that callers append
 * freely and look once, at buf->err.
 *
 * Integers are appended in network byte order (be) because our records and messages use it.
 */
#pragma once
#include <stdarg.h>

#include "base/slice.h"

struct buf {
	uint8_t *ptr;
	size_t len;
	size_t cap;
	size_t max;			/* never grows above this many bytes */
	int err;			/* 0, -EMSGSIZE (above max) or -ENOMEM */
};

/* An empty buffer; allocates nothing yet. Release with buf_done. */
#define BUF_INIT(max_bytes) { .max = (max_bytes) }
static inline void buf_init(struct buf *b, size_t max_bytes)
{
	*b = (struct buf)BUF_INIT(max_bytes);
}
void buf_done(struct buf *b);
#define AUTO_BUF __attribute__((cleanup(buf_done)))

/* Forget content and error, keep the memory. */
static inline void buf_reset(struct buf *b)
{
	b->len = 0;
	b->err = 0;
}

static inline struct slice buf_slice(const struct buf *b)
{
	return slice_of(b->ptr, b->len);
}

/* Room for n more bytes: pointer to them, or NULL (err set). buf_commit(n) then adds them. */
uint8_t *buf_room(struct buf *b, size_t n);
static inline void buf_commit(struct buf *b, size_t n)
{
	b->len += n;
}

void buf_add(struct buf *b, struct slice s);
void buf_addc(struct buf *b, uint8_t c);
void buf_adds(struct buf *b, const char *text);
void buf_fill(struct buf *b, uint8_t c, size_t n);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
void buf_dec(struct buf *b, uint64_t n);	/* decimal digits */
void buf_be16(struct buf *b, uint16_t v);
void buf_be32(struct buf *b, uint32_t v);
void buf_be64(struct buf *b, uint64_t v);
void buf_varint(struct buf *b, uint64_t v);	/* LEB128, 1..10 bytes */
/* varint length, then the bytes: what rd_blob reads. */
void buf_blob(struct buf *b, struct slice s);

/* Drop the first n bytes (memmove; for input buffers that are drained in large steps). */
void buf_drop(struct buf *b, size_t n);
/* Shorten to len. */
void buf_truncate(struct buf *b, size_t len);
/* Give the memory back if the buffer is empty: a parked session keeps none. */
void buf_release_if_empty(struct buf *b);
/* Append a NUL that is not counted in len and return the text; "" on error. */
const char *buf_cstr(struct buf *b);
