/* DATA against its plain reference, cut into pieces whose size the first byte gives. */
#include "mail/smtp/data_reference.h"

#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	size_t step = data[0] == 0 ? 1 : data[0];
	struct slice in = slice_of(data + 1, size - 1);
	AUTO_BUF struct buf want = BUF_INIT(1 << 20), got = BUF_INIT(1 << 20);
	struct data_outcome w = data_reference(in, &want);
	enum smtp_data_event e = SMTP_DATA_MORE;
	struct smtp_data d, chunk;
	size_t at = 0;

	smtp_data_init(&d);
	smtp_data_init(&chunk);
	while (at < in.len && e == SMTP_DATA_MORE) {
		struct slice piece = slice_sub(in, at, at + step), text;
		size_t len = piece.len;
		smtp_data_check(&chunk, piece, at + len == in.len);
		while ((e = smtp_data_next(&d, &piece, &text)) == SMTP_DATA_TEXT) {
			must(text.len > 0);
			buf_add(&got, text);
		}
		must(piece.len == 0 || e != SMTP_DATA_MORE);
		at += len - piece.len;
	}
	must(e == w.end);
	if (e == SMTP_DATA_DOUBT)
		return 0;
	must(d.faults == w.faults);
	if (e == SMTP_DATA_END) {
		must(at == w.used && slice_eq(buf_slice(&got), buf_slice(&want)));
	} else {
		must(slice_starts(buf_slice(&want), buf_slice(&got)) && want.len - got.len <= 1);
		/* The same bytes in chunks have the same faults, and perhaps a CR at the very end. */
		must(in.len == 0 || (chunk.faults & ~(unsigned)SMTP_FAULT_BARE_CR) ==
					    (d.faults & ~(unsigned)SMTP_FAULT_BARE_CR));
	}
	return 0;
}
