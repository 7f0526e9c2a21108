#include "base/reader.h"

struct slice rd_bytes(struct reader *r, size_t n)
{
	if (r->bad || n > (size_t)(r->end - r->at)) {	/* not at + n > end: that sum can wrap */
		r->bad = true;
		return (struct slice){ 0 };
	}
	if (n == 0)				/* NULL + 0 is undefined until C2y */
		return (struct slice){ r->at, 0 };
	r->at += n;
	return (struct slice){ r->at - n, n };
}

uint8_t rd_u8(struct reader *r)
{
	struct slice s = rd_bytes(r, 1);

	return s.len == 0 ? 0 : s.ptr[0];
}

uint16_t rd_be16(struct reader *r)
{
	struct slice s = rd_bytes(r, 2);

	return s.len == 0 ? 0 : (uint16_t)(s.ptr[0] << 8 | s.ptr[1]);
}

uint32_t rd_be32(struct reader *r)
{
	struct slice s = rd_bytes(r, 4);

	if (s.len == 0)
		return 0;
	return (uint32_t)s.ptr[0] << 24 | (uint32_t)s.ptr[1] << 16 | (uint32_t)s.ptr[2] << 8 |
	       s.ptr[3];
}

uint64_t rd_be64(struct reader *r)
{
	uint64_t high = rd_be32(r);

	return high << 32 | rd_be32(r);
}

uint64_t rd_varint(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte = rd_u8(r);
		if (shift == 63 && byte > 1)
			break;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return r->bad ? 0 : v;
	}
	r->bad = true;
	return 0;
}

uint64_t rd_varint_max(struct reader *r, uint64_t max)
{
	uint64_t v = rd_varint(r);

	if (v > max) {
		r->bad = true;
		return 0;
	}
	return v;
}

struct slice rd_blob(struct reader *r)
{
	uint64_t n = rd_varint(r);

	if (n > rd_left(r)) {
		r->bad = true;
		return (struct slice){ 0 };
	}
	return rd_bytes(r, (size_t)n);
}

struct slice rd_rest(struct reader *r)
{
	return rd_bytes(r, rd_left(r));
}
