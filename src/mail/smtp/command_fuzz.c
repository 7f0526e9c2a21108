/* Command lines, with and without SMTPUTF8 in the transaction. */
#include "base/must.h"
#include "mail/smtp/command.h"
#include "mail/smtp/limits.h"
#include "mail/smtp/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 16);
	struct slice line = slice_head(slice_of(data, size), SMTP_COMMAND_LINE);

	for (int utf8 = 0; utf8 < 2; utf8++) {
		struct smtp_command c;
		AUTO_BUF struct buf out = BUF_INIT(1 << 20);
		if (smtp_command_parse(&arena, line, utf8, &c) == SMTP_PARSED) {
			must(c.verb >= SMTP_EHLO && c.verb <= SMTP_AUTH);
			must(c.mail.envid.len == 0 || smtp_xtext_decode(c.mail.envid, &out));
			must(utf8 || !c.rcpt.to.utf8);
		}
		buf_reset(&out);
		AUTO_BUF struct buf raw = BUF_INIT(1 << 20);
		smtp_xtext_encode(line, &out);
		must(smtp_xtext_decode(buf_slice(&out), &raw) && slice_eq(buf_slice(&raw), line));
		buf_reset(&out);
		smtp_reply_write(&out, 250, "2.0.0", line);
		must(out.err == 0 && slice_ends(buf_slice(&out), SLICE("\r\n")));
	}
	return 0;
}
