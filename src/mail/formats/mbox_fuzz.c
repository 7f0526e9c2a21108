/* mbox files of strangers in two ways of cutting them; and any bytes as a message, written and read back. */
#include "base/must.h"
#include "mail/formats/mbox.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct slice file, size_t step, struct buf *out)
{
	struct slice in = slice_head(file, step), rest = slice_from(file, step), bytes;
	struct mbox_reader r;

	mbox_reader_init(&r);
	for (;;) {
		switch (mbox_next(&r, &in, rest.len == 0, &bytes)) {
		case MBOX_MORE:
			in = slice_head(rest, step);
			rest = slice_from(rest, step);
			break;
		case MBOX_BEGIN:
			must(slice_starts(slice_from(file, r.message_at), SLICE("From ")));
			buf_addc(out, '[');
			break;
		case MBOX_BYTES:
			must(bytes.len > 0);
			buf_add(out, bytes);
			break;
		case MBOX_END:
			buf_printf(out, "|%u %u %u %zu]", r.flags, r.uid, r.uidvalidity, r.keywords_len);
			break;
		case MBOX_DONE:
			return;
		}
	}
}

static void round_trip(struct slice message)
{
	const struct mbox_meta meta = { .time_s = 1000000, .uid = 1, .flags = FORMAT_SEEN };
	AUTO_BUF struct buf file = BUF_INIT(16u << 20), got = BUF_INIT(16u << 20), want = BUF_INIT(16u << 20);
	struct line_ends l = { 0 };
	struct mbox_writer w;

	mbox_write_begin(&w, &meta, &file);
	mbox_write(&w, slice_head(message, message.len / 2), &file);
	mbox_write(&w, slice_from(message, message.len / 2), &file);
	mbox_write_end(&w, &file);
	mbox_write_begin(&w, &meta, &file);
	mbox_write_end(&w, &file);
	read_all(buf_slice(&file), 1000, &got);
	buf_addc(&want, '[');
	line_ends_to_lf(&l, message, &want);
	line_ends_to_lf_end(&l, &want);
	if (message.len > 0 && message.ptr[message.len - 1] != '\n')
		buf_addc(&want, '\n');
	buf_adds(&want, "|1 1 0 0][|1 1 0 0]");
	must(file.err == 0 && slice_eq(buf_slice(&got), buf_slice(&want)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf a = BUF_INIT(16u << 20), b = BUF_INIT(16u << 20), crlf = BUF_INIT(16u << 20);
	struct line_ends l = { 0 };
	struct slice in = slice_of(data, size);

	if (size == 0)
		return 0;
	read_all(in, SIZE_MAX, &a);
	read_all(in, 1 + data[size - 1] % 7, &b);
	must(slice_eq(buf_slice(&a), buf_slice(&b)));
	round_trip(in);
	line_ends_to_crlf(&l, in, &crlf);
	for (size_t i = 0; i < crlf.len; i++)
		must(crlf.ptr[i] != '\n' || (i > 0 && crlf.ptr[i - 1] == '\r'));
	return 0;
}
