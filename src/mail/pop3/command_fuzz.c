/* POP3 command lines; and the same bytes as a message, written and read back. */
#include "base/must.h"
#include "mail/pop3/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_of(data, size);
	AUTO_BUF struct buf out = BUF_INIT(1 << 20);
	struct pop3_command c;
	struct pop3_writer w;

	if (size == 0)
		return 0;
	if (pop3_command_parse(in, &c) == POP3_PARSED)
		must(c.verb >= POP3_USER && c.verb <= POP3_RSET && c.has_message == (c.message > 0));
	if ((data[0] & 1) != 0)
		pop3_writer_top(&w, data[0] >> 4);
	else
		pop3_writer_init(&w);
	pop3_writer_add(&w, slice_head(in, size / 2), &out);
	pop3_writer_add(&w, slice_from(in, size / 2), &out);
	pop3_writer_end(&w, &out);
	/* The end stands at the end and nowhere before. */
	struct slice text = buf_slice(&out);
	must(slice_ends(text, SLICE("\r\n.\r\n")) || slice_eq(text, SLICE(".\r\n")));
	must(slice_find(text, SLICE("\n.\r\n")) == (text.len > 3 ? text.len - 4 : SLICE_NPOS));
	must(slice_find(text, SLICE("\n.\n")) == SLICE_NPOS);
	return 0;
}
