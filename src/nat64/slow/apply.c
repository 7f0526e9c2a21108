#include "nat64/slow/apply.h"

#include <errno.h>

#include "nat64/slow/packet.h"

uint32_t slow_sum(struct slice bytes)
{
	uint32_t sum = 0;
	size_t i = 0;

	for (; i + 1 < bytes.len; i += 2)
		sum += get16(bytes.ptr + i);
	if (i < bytes.len)
		sum += (uint32_t)bytes.ptr[i] << 8;
	return sum;
}

uint32_t slow_sum_pseudo(unsigned family, const uint8_t *src, const uint8_t *dst, uint8_t protocol, uint32_t bytes)
{
	size_t n = family == 4 ? 4 : 16;

	return slow_sum(slice_of(src, n)) + slow_sum(slice_of(dst, n)) + protocol + (bytes >> 16) + (bytes & 0xffff);
}

uint16_t slow_sum_end(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

int slow_apply(const struct xlat *x, struct slice in, struct buf *out)
{
	if (x->head_bytes > XLAT_HEAD_BYTES || x->strip > in.len || x->out_bytes < x->head_bytes ||
	    x->out_bytes - x->head_bytes > in.len - x->strip ||
	    (x->csum_payload != 0 && (x->csum_at == 0 || x->csum_at + 2 > x->head_bytes)))
		return -EBADMSG;
	size_t at = out->len;
	struct slice tail = slice_sub(in, x->strip, x->strip + (x->out_bytes - x->head_bytes));

	buf_add(out, slice_of(x->head, x->head_bytes));
	buf_add(out, tail);
	if (out->err != 0)
		return out->err;
	if (x->csum_payload != 0) {
		uint8_t *field = out->ptr + at + x->csum_at;
		uint16_t sum = slow_sum_end(get16(field) + slow_sum(tail));

		/* 0 says "none" in UDP (RFC 768). In ICMP it is a value as any. */
		if (sum == 0 && x->verdict == XLAT_TRANSLATE && x->ip.protocol == XLAT_UDP)
			sum = 0xffff;
		put16(field, sum);
	}
	return 0;
}
