/*
 * Control connections of the FTP ALG. Input: records of a byte and what it asks for: data of either side in order, the same once more, an
 * acknowledgement, or a segment as it stands. What the ALG remembers keeps its form, and its segments have headers.
 */
#include "base/must.h"
#include "base/reader.h"
#include "nat64/slow/ftp.h"
#include "nat64/slow/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct talk {
	struct xlat_ftp ftp;
	struct ftp_host host;
	uint32_t sent[2], got[2];	/* next number of each side; what each has of the other */
	struct buf segment, out, last[2];
};

static int map_port(void *arg, uint16_t port, __be32 *addr4, uint16_t *port4)
{
	if (port % 7 == 0)
		return -1;
	*addr4 = 0x01020304;
	*port4 = port;
	return 0;
}

static void check(const struct xlat_ftp *f)
{
	must(f->pending <= XLAT_FTP_PENDING);
	for (unsigned i = 0; i < 2; i++) {
		const struct xlat_ftp_side *s = &f->side[i];

		must(s->edits <= XLAT_FTP_EDITS);
		must(!s->held || s->edits > 0);
		for (unsigned k = 0; k < s->edits; k++) {
			must(s->edit[k].new_bytes <= XLAT_FTP_TEXT_BYTES);
			must(k == 0 || (int32_t)(s->edit[k].at - s->edit[k - 1].at) >= s->edit[k - 1].old_bytes);
		}
	}
}

static void feed(struct talk *t, unsigned from, struct slice segment)
{
	struct ftp_result r;

	if (!ftp_segment(&t->ftp, from, segment, &t->host, &t->out, &r) || r.drop)
		return;
	must(t->out.len >= 20 && t->out.len <= segment.len + XLAT_FTP_EDITS * XLAT_FTP_TEXT_BYTES);
	uint32_t seq = get32(t->out.ptr + 4), n = (uint32_t)(t->out.len - (t->out.ptr[12] >> 4) * 4u);

	if ((int32_t)(seq + n - t->got[!from]) > 0 && (int32_t)(seq - t->got[!from]) <= 0)
		t->got[!from] = seq + n;
	check(&t->ftp);
}

static void say(struct talk *t, unsigned from, uint32_t seq, uint8_t flags, struct slice data)
{
	buf_reset(&t->segment);
	buf_be32(&t->segment, 21);
	buf_be32(&t->segment, seq);
	buf_be32(&t->segment, t->got[from]);
	buf_addc(&t->segment, 5 << 4);
	buf_addc(&t->segment, flags);
	buf_fill(&t->segment, 0, 6);
	buf_add(&t->segment, data);
	feed(t, from, buf_slice(&t->segment));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const __be32 client[4] = { 0x20, 0, 0, 0x01000000 };
	struct reader r = reader_of(slice_of(data, size));
	static struct talk t;

	t = (struct talk){ .host = { .client6 = client, .map = map_port }, .sent = { 0xfffffff1, 1001 } };
	buf_init(&t.segment, 1 << 16);
	buf_init(&t.out, 1 << 17);
	buf_init(&t.last[0], 1 << 16);
	buf_init(&t.last[1], 1 << 16);
	t.got[0] = t.sent[1];
	t.got[1] = t.sent[0];
	ftp_begin(&t.ftp, t.sent[0] - 1);
	say(&t, FTP_SERVER, t.sent[1] - 1, 0x12, (struct slice){ 0 });
	for (unsigned i = 0; i < 200 && rd_left(&r) > 0 && !r.bad; i++) {
		uint8_t what = rd_u8(&r);
		unsigned from = what & 1;
		struct slice bytes = { 0 };

		switch (what >> 1 & 3) {
		case 0:			/* up to 31 bytes of data, or a line */
			bytes = rd_bytes(&r, what >> 3 < rd_left(&r) ? what >> 3 : rd_left(&r));
			buf_reset(&t.last[from]);
			buf_add(&t.last[from], bytes);
			say(&t, from, t.sent[from], 0x18, bytes);
			t.sent[from] += (uint32_t)bytes.len;
			break;
		case 1:			/* again, all or its end */
			bytes = slice_from(buf_slice(&t.last[from]), what >> 3);
			say(&t, from, t.sent[from] - (uint32_t)bytes.len, what >> 3 == 31 ? 0x11 : 0x18, bytes);
			break;
		case 2: {		/* a line of any length */
			struct slice rest = slice_of(r.at, rd_left(&r));
			size_t end = slice_find_byte(rest, '\n');

			bytes = rd_bytes(&r, end == SLICE_NPOS ? rest.len : end + 1);
			say(&t, from, t.sent[from], 0x18, bytes);
			t.sent[from] += (uint32_t)bytes.len;
			say(&t, !from, t.sent[!from], 0x10, (struct slice){ 0 });
			break;
		}
		default:		/* a segment as it stands */
			feed(&t, from, rd_bytes(&r, (what >> 3) * 2u < rd_left(&r) ? (what >> 3) * 2u : rd_left(&r)));
			break;
		}
	}
	buf_done(&t.segment);
	buf_done(&t.out);
	buf_done(&t.last[0]);
	buf_done(&t.last[1]);
	return 0;
}
