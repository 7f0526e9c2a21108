#include "mail/pop3/command.h"

#include "base/test.h"

static const struct {
	const char *line;
	enum pop3_verdict want;
	struct pop3_command c;
} lines[] = {
	{ "USER mrose", POP3_PARSED, { .verb = POP3_USER, .text = SLICE_INIT("mrose") } },
	{ "user mrose", POP3_PARSED, { .verb = POP3_USER, .text = SLICE_INIT("mrose") } },
	{ "USER", POP3_BAD_ARGUMENTS, { 0 } },
	{ "USER ", POP3_BAD_ARGUMENTS, { 0 } },
	{ "PASS  two  words ", POP3_PARSED, { .verb = POP3_PASS, .text = SLICE_INIT(" two  words ") } },
	{ "STAT", POP3_PARSED, { .verb = POP3_STAT } },
	{ "STAT 1", POP3_BAD_ARGUMENTS, { 0 } },
	{ "LIST", POP3_PARSED, { .verb = POP3_LIST } },
	{ "LIST 2", POP3_PARSED, { .verb = POP3_LIST, .has_message = true, .message = 2 } },
	{ "LIST 0", POP3_BAD_ARGUMENTS, { 0 } },
	{ "LIST -1", POP3_BAD_ARGUMENTS, { 0 } },
	{ "LIST 1 2", POP3_BAD_ARGUMENTS, { 0 } },
	{ "RETR 4294967295", POP3_PARSED, { .verb = POP3_RETR, .has_message = true, .message = UINT32_MAX } },
	{ "RETR 4294967296", POP3_BAD_ARGUMENTS, { 0 } },
	{ "RETR", POP3_BAD_ARGUMENTS, { 0 } },
	{ "TOP 1 10", POP3_PARSED, { .verb = POP3_TOP, .has_message = true, .message = 1, .lines = 10 } },
	{ "TOP 1 0", POP3_PARSED, { .verb = POP3_TOP, .has_message = true, .message = 1 } },
	{ "TOP 1", POP3_BAD_ARGUMENTS, { 0 } },
	{ "TOP 1 -1", POP3_BAD_ARGUMENTS, { 0 } },
	{ "AUTH", POP3_PARSED, { .verb = POP3_AUTH } },
	{ "AUTH PLAIN", POP3_PARSED, { .verb = POP3_AUTH, .text = SLICE_INIT("PLAIN") } },
	{ "AUTH PLAIN =", POP3_PARSED,
	  { .verb = POP3_AUTH, .text = SLICE_INIT("PLAIN"), .initial = SLICE_INIT("=") } },
	{ "AUTH PLAIN a b", POP3_BAD_ARGUMENTS, { 0 } },
	{ "UTF8", POP3_PARSED, { .verb = POP3_UTF8 } },
	{ "APOP mrose c4c9334bac560ecc979e58001b3e22fb", POP3_UNKNOWN_COMMAND, { 0 } },
	{ "", POP3_UNKNOWN_COMMAND, { 0 } },
	{ " STAT", POP3_UNKNOWN_COMMAND, { 0 } },
	{ "STATS", POP3_UNKNOWN_COMMAND, { 0 } },
};

START_TEST(lines_are_read_as_rfc_1939_writes_them)
{
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct pop3_command c = { 0 };
		enum pop3_verdict v = pop3_command_parse(slice_str(lines[i].line), &c);

		ck_assert_msg(v == lines[i].want, "%s: %d", lines[i].line, (int)v);
		ck_assert_int_eq(c.verb, lines[i].c.verb);
		ck_assert_slice_eq(c.text, lines[i].c.text);
		ck_assert_slice_eq(c.initial, lines[i].c.initial);
		ck_assert(c.has_message == lines[i].c.has_message);
		ck_assert_uint_eq(c.message, lines[i].c.message);
		ck_assert_uint_eq(c.lines, lines[i].c.lines);
	}
}
END_TEST

START_TEST(a_nul_is_refused)
{
	struct pop3_command c;

	ck_assert_int_eq(pop3_command_parse(SLICE("USER a\0b"), &c), POP3_BAD_ARGUMENTS);
}
END_TEST

static const struct {
	const char *in;
	int top;			/* -1: all */
	const char *want;
} messages[] = {
	{ "A: b\r\n\r\ntext\r\n", -1, "A: b\r\n\r\ntext\r\n.\r\n" },
	{ "A: b\r\n\r\n.\r\n..x\r\n", -1, "A: b\r\n\r\n..\r\n...x\r\n.\r\n" },
	{ ".A: b\r\n", -1, "..A: b\r\n.\r\n" },
	{ "no end", -1, "no end\r\n.\r\n" },
	{ "half\r", -1, "half\r\r\n.\r\n" },
	{ "bare\n.\nx\r\n", -1, "bare\r\n..\r\nx\r\n.\r\n" },
	{ "bare\n\n.end\n", -1, "bare\r\n\r\n..end\r\n.\r\n" },
	{ "A: b\n\none\ntwo\n", 1, "A: b\r\n\r\none\r\n.\r\n" },
	{ "", -1, ".\r\n" },
	{ "A: b\r\nC: d\r\n\r\none\r\n.two\r\nthree\r\n", 0, "A: b\r\nC: d\r\n\r\n.\r\n" },
	{ "A: b\r\nC: d\r\n\r\none\r\n.two\r\nthree\r\n", 2, "A: b\r\nC: d\r\n\r\none\r\n..two\r\n.\r\n" },
	{ "A: b\r\n\r\none\r\n", 9, "A: b\r\n\r\none\r\n.\r\n" },
	{ "A: b\r\n\r\none", 1, "A: b\r\n\r\none\r\n.\r\n" },
	{ "A: b\r\n \r\nC: d\r\n\r\nx\r\ny\r\n", 1, "A: b\r\n \r\nC: d\r\n\r\nx\r\n.\r\n" },
	{ "\r\nx\r\ny\r\n", 1, "\r\nx\r\n.\r\n" },
};

START_TEST(messages_are_stuffed_and_cut_in_pieces_of_any_size)
{
	for (size_t i = 0; i < ARRAY_LEN(messages); i++)
		for (size_t step = 1; step < 20; step++) {
			AUTO_BUF struct buf out = BUF_INIT(1000);
			struct slice in = slice_str(messages[i].in);
			struct pop3_writer w;

			if (messages[i].top < 0)
				pop3_writer_init(&w);
			else
				pop3_writer_top(&w, (uint32_t)messages[i].top);
			for (size_t at = 0; at < in.len; at += step)
				pop3_writer_add(&w, slice_sub(in, at, at + step), &out);
			pop3_writer_end(&w, &out);
			ck_assert_slice_eq(buf_slice(&out), slice_str(messages[i].want));
		}
}
END_TEST

TEST_MAIN("pop3/command", lines_are_read_as_rfc_1939_writes_them, a_nul_is_refused,
	  messages_are_stuffed_and_cut_in_pieces_of_any_size)
