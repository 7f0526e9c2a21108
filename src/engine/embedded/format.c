#include "engine/embedded/format.h"

#include "base/crc32c.h"

void block_header_write(uint8_t out[BLOCK_HEADER_BYTES], const struct block_header *h)
{
	put_be32(out + 4, h->generation);
	put_be32(out + 8, h->salt);
	put_be32(out + 12, h->segment);
	put_be32(out + 16, h->number);
	put_be16(out + 20, h->first_record);
	out[22] = LOG_FORMAT;
	out[23] = h->block_shift;
	put_be32(out, crc32c(0, slice_of(out + 4, BLOCK_HEADER_BYTES - 4)));
}

bool block_header_read(const uint8_t in[BLOCK_HEADER_BYTES], struct block_header *h)
{
	if (in[22] != LOG_FORMAT || in[23] < 9 || in[23] > 15)
		return false;
	if (get_be32(in) != crc32c(0, slice_of(in + 4, BLOCK_HEADER_BYTES - 4)))
		return false;
	h->generation = get_be32(in + 4);
	h->salt = get_be32(in + 8);
	h->segment = get_be32(in + 12);
	h->number = get_be32(in + 16);
	h->first_record = (uint16_t)(in[20] << 8 | in[21]);
	h->block_shift = in[23];
	return h->generation != 0 && h->generation < INT32_MAX;
}

void record_header_write(uint8_t out[RECORD_HEADER_BYTES], const struct record_header *h,
			 struct slice body)
{
	put_be32(out + 4, (uint32_t)body.len);
	out[8] = h->type;
	out[9] = LOG_FORMAT;
	put_be16(out + 10, 0);
	put_be32(out + 12, h->generation);
	put_be32(out + 16, h->salt);
	put_be64(out + 20, h->lsn);
	put_be64(out + 28, h->durable);
	put_be32(out, crc32c(crc32c(0, slice_of(out + 4, RECORD_HEADER_BYTES - 4)), body));
}

bool record_header_read(const uint8_t in[RECORD_HEADER_BYTES], struct record_header *h)
{
	h->crc = get_be32(in);
	h->body_bytes = get_be32(in + 4);
	h->type = in[8];
	h->generation = get_be32(in + 12);
	h->salt = get_be32(in + 16);
	h->lsn = get_be64(in + 20);
	h->durable = get_be64(in + 28);
	return h->body_bytes <= RECORD_BODY_BYTES_MAX && h->type >= RECORD_OP &&
	       h->type <= RECORD_MARK && in[9] == LOG_FORMAT && in[10] == 0 && in[11] == 0 &&
	       h->lsn != 0 && h->lsn < INT64_MAX && h->durable < h->lsn;
}

bool record_intact(struct slice record)
{
	return get_be32(record.ptr) == crc32c(0, slice_from(record, 4));
}
