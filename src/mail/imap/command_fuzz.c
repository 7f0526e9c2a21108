/* A stream of commands with literals, assembled and parsed as the session does. */
#include "mail/imap/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(struct slice text, bool utf8)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct imap_parse_context context = { .stars = { 7, 99 }, .utf8 = utf8, .state = 7 };
	struct imap_append_part part;
	struct imap_command c;
	const char *why;

	if (imap_parse(&arena, text, &context, &c, &why) == IMAP_PARSED && c.name == IMAP_FETCH) {
		AUTO_BUF struct buf name = BUF_INIT(1u << 20);

		for (size_t i = 0; i < c.fetch.program.count; i++)
			fetch_write_name(&c.fetch.program.items[i], &name);
	}
	if (imap_parse_append(&arena, text, &context, text.len > 0 && text.ptr[0] == ' ' ? NULL : &c,
			      &part, &why) == IMAP_PARSED)
		return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf text = BUF_INIT(IMAP_COMMAND_BYTES_MAX + 16);
	struct slice rest = slice_of(data, size);

	while (rest.len > 0) {
		struct imap_literal literal;
		struct slice line;

		slice_cut(rest, '\n', &line, &rest);
		if (line.len > 0 && line.ptr[line.len - 1] == '\r')
			line.len--;
		switch (imap_assemble(&text, line, IMAP_COMMAND_BYTES_MAX, &literal)) {
		case IMAP_LITERAL:
			buf_add(&text, slice_head(rest, literal.bytes));
			rest = slice_from(rest, literal.bytes);
			if (rest.len > 0)
				continue;
			break;
		case IMAP_APPEND_LITERAL:
			rest = slice_from(rest, literal.bytes);
			break;
		default:
			break;
		}
		parse(buf_slice(&text), size % 2 == 0);
		buf_reset(&text);
	}
	return 0;
}
