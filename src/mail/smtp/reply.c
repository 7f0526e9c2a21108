#include "mail/smtp/reply.h"

#include "base/must.h"
#include "mail/smtp/limits.h"

static void write_line(struct buf *out, unsigned code, const char *enhanced, struct slice text,
		       bool last)
{
	struct slice line = slice_head(text, SMTP_REPLY_TEXT);
	uint8_t head[4] = { (uint8_t)('0' + code / 100), (uint8_t)('0' + code / 10 % 10),
			    (uint8_t)('0' + code % 10), last ? ' ' : '-' };

	buf_add(out, slice_of(head, sizeof(head)));
	if (enhanced != NULL) {
		buf_adds(out, enhanced);
		buf_addc(out, ' ');
	}
	uint8_t *to = buf_room(out, line.len + 2);
	if (to == NULL)
		return;
	for (size_t i = 0; i < line.len; i++) {
		uint8_t c = line.ptr[i];
		to[i] = (c < ' ' && c != '\t') || c == 0x7f ? '?' : c;
	}
	to[line.len] = '\r';
	to[line.len + 1] = '\n';
	buf_commit(out, line.len + 2);
}

void smtp_reply_write(struct buf *out, unsigned code, const char *enhanced, struct slice text)
{
	bool more;

	must(code >= 200 && code <= 599);
	do {
		struct slice line;
		more = slice_cut(text, '\n', &line, &text);
		write_line(out, code, enhanced, line, !more);
	} while (more);
}
