#include "mail/smtp/command.h"

#include "base/test.h"
#include "mail/smtp/limits.h"
#include "mail/smtp/reply.h"

static const struct {
	const char *line;
	enum smtp_verdict want;
	enum smtp_verb verb;
} lines[] = {
	{ "EHLO client.example", SMTP_PARSED, SMTP_EHLO },
	{ "ehlo [192.0.2.1]", SMTP_PARSED, SMTP_EHLO },
	{ "EHLO", SMTP_BAD_SYNTAX, SMTP_EHLO },
	{ "EHLO two words", SMTP_BAD_SYNTAX, SMTP_EHLO },
	{ "EHLOX client.example", SMTP_UNKNOWN_COMMAND, 0 },
	{ "HELO x ", SMTP_PARSED, SMTP_HELO },
	{ "LHLO x", SMTP_PARSED, SMTP_LHLO },
	{ "", SMTP_UNKNOWN_COMMAND, 0 },
	{ " NOOP", SMTP_UNKNOWN_COMMAND, 0 },
	{ "NOOP", SMTP_PARSED, SMTP_NOOP },
	{ "NOOP and more", SMTP_PARSED, SMTP_NOOP },
	{ "DATA", SMTP_PARSED, SMTP_DATA },
	{ "DATA x", SMTP_BAD_SYNTAX, SMTP_DATA },
	{ "RSET", SMTP_PARSED, SMTP_RSET },
	{ "QUIT now", SMTP_BAD_SYNTAX, SMTP_QUIT },
	{ "STARTTLS", SMTP_PARSED, SMTP_STARTTLS },
	{ "STARTTLS x", SMTP_BAD_SYNTAX, SMTP_STARTTLS },
	{ "VRFY ann", SMTP_PARSED, SMTP_VRFY },
	{ "VRFY", SMTP_BAD_SYNTAX, SMTP_VRFY },
	{ "HELP", SMTP_PARSED, SMTP_HELP },
	{ "AUTH PLAIN AGFubgB4", SMTP_PARSED, SMTP_AUTH },
	{ "AUTH LOGIN", SMTP_PARSED, SMTP_AUTH },
	{ "AUTH PLAIN a b", SMTP_BAD_SYNTAX, SMTP_AUTH },
	{ "AUTH", SMTP_BAD_SYNTAX, SMTP_AUTH },
	{ "MAIL FROM:<a@b>", SMTP_PARSED, SMTP_MAIL },
	{ "mail from:<>", SMTP_PARSED, SMTP_MAIL },
	{ "MAIL FROM: <a@b>", SMTP_PARSED, SMTP_MAIL },
	{ "MAIL FROM <a@b>", SMTP_BAD_SYNTAX, SMTP_MAIL },
	{ "MAIL TO:<a@b>", SMTP_BAD_SYNTAX, SMTP_MAIL },
	{ "MAIL FROM:a@b", SMTP_BAD_SENDER, SMTP_MAIL },
	{ "MAIL FROM:<a@b..c>", SMTP_BAD_SENDER_DOMAIN, SMTP_MAIL },
	{ "MAIL FROM:<a@b>SIZE=1", SMTP_BAD_SENDER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> SIZE=1000 BODY=8BITMIME", SMTP_PARSED, SMTP_MAIL },
	{ "MAIL FROM:<a@b> SIZE=", SMTP_BAD_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> SIZE=-1", SMTP_BAD_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> SIZE=99999999999999999999", SMTP_PARSED, SMTP_MAIL },
	{ "MAIL FROM:<a@b> SIZE=999999999999999999999", SMTP_BAD_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> SIZE=1 SIZE=1", SMTP_BAD_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> BODY=9BIT", SMTP_BAD_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> body=binarymime", SMTP_PARSED, SMTP_MAIL },
	{ "MAIL FROM:<a@b> NOTIFY=NEVER", SMTP_UNKNOWN_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> FOO=1", SMTP_UNKNOWN_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> RET=HDRS ENVID=QQ314159", SMTP_PARSED, SMTP_MAIL },
	{ "MAIL FROM:<a@b> RET=ALL", SMTP_BAD_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> ENVID=a+3Db", SMTP_PARSED, SMTP_MAIL },
	{ "MAIL FROM:<a@b> ENVID=a+3db", SMTP_BAD_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> ENVID=a+3", SMTP_BAD_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> AUTH=<>", SMTP_PARSED, SMTP_MAIL },
	{ "MAIL FROM:<a@b> AUTH=", SMTP_BAD_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<a@b> SMTPUTF8=1", SMTP_BAD_PARAMETER, SMTP_MAIL },
	{ "MAIL FROM:<\xc3\xbc@b> SMTPUTF8", SMTP_PARSED, SMTP_MAIL },
	{ "MAIL FROM:<\xc3\xbc@b>", SMTP_NEEDS_UTF8, SMTP_MAIL },
	{ "RCPT TO:<a@b>", SMTP_PARSED, SMTP_RCPT },
	{ "RCPT TO:<Postmaster>", SMTP_PARSED, SMTP_RCPT },
	{ "RCPT TO:<>", SMTP_BAD_RECIPIENT, SMTP_RCPT },
	{ "RCPT TO:<a@[1.2.3]>", SMTP_BAD_RECIPIENT_DOMAIN, SMTP_RCPT },
	{ "RCPT TO:<\xc3\xbc@b>", SMTP_NEEDS_UTF8, SMTP_RCPT },
	{ "RCPT TO:<a@b> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bb@c", SMTP_PARSED, SMTP_RCPT },
	{ "RCPT TO:<a@b> NOTIFY=NEVER", SMTP_PARSED, SMTP_RCPT },
	{ "RCPT TO:<a@b> NOTIFY=NEVER,DELAY", SMTP_BAD_PARAMETER, SMTP_RCPT },
	{ "RCPT TO:<a@b> NOTIFY=", SMTP_BAD_PARAMETER, SMTP_RCPT },
	{ "RCPT TO:<a@b> NOTIFY=DELAY,DELAY", SMTP_BAD_PARAMETER, SMTP_RCPT },
	{ "RCPT TO:<a@b> ORCPT=rfc822", SMTP_BAD_PARAMETER, SMTP_RCPT },
	{ "RCPT TO:<a@b> ORCPT=;x", SMTP_BAD_PARAMETER, SMTP_RCPT },
	{ "RCPT TO:<a@b> SIZE=1", SMTP_UNKNOWN_PARAMETER, SMTP_RCPT },
	{ "BDAT 1000", SMTP_PARSED, SMTP_BDAT },
	{ "BDAT 0 last", SMTP_PARSED, SMTP_BDAT },
	{ "BDAT", SMTP_BAD_SYNTAX, SMTP_BDAT },
	{ "BDAT 1 FIRST", SMTP_BAD_SYNTAX, SMTP_BDAT },
	{ "BDAT 1 LAST x", SMTP_BAD_SYNTAX, SMTP_BDAT },
	{ "BDAT -1", SMTP_BAD_SYNTAX, SMTP_BDAT },
	{ "BDAT 18446744073709551616", SMTP_BAD_SYNTAX, SMTP_BDAT },
};

START_TEST(lines_get_the_verdict_that_names_their_answer)
{
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(65536);
		struct smtp_command c;
		enum smtp_verdict v =
			smtp_command_parse(&arena, slice_str(lines[i].line), false, &c);

		ck_assert_msg(v == lines[i].want, "%s: got %d", lines[i].line, (int)v);
		ck_assert_msg(c.verb == lines[i].verb, "%s: verb %d", lines[i].line, (int)c.verb);
	}
}
END_TEST

START_TEST(parameters_arrive_with_their_values)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	struct smtp_command c;

	ck_assert_int_eq(smtp_command_parse(&arena, SLICE("MAIL FROM:<a@b> SIZE=12 BODY=BINARYMIME "
							  "SMTPUTF8 RET=FULL ENVID=x+2By"), false, &c),
			 SMTP_PARSED);
	ck_assert_uint_eq(c.mail.size_bytes, 12);
	ck_assert_int_eq(c.mail.body, SMTP_BODY_BINARYMIME);
	ck_assert(c.mail.smtputf8);
	ck_assert_int_eq(c.mail.ret, SMTP_RET_FULL);
	ck_assert_slice_eq(c.mail.envid, SLICE("x+2By"));
	ck_assert_int_eq(smtp_command_parse(&arena, SLICE("RCPT TO:<a@b> NOTIFY=DELAY,FAILURE "
							  "ORCPT=rfc822;x@y"), false, &c),
			 SMTP_PARSED);
	ck_assert_uint_eq(c.rcpt.notify, SMTP_NOTIFY_DELAY | SMTP_NOTIFY_FAILURE);
	ck_assert_slice_eq(c.rcpt.orcpt, SLICE("rfc822;x@y"));
	ck_assert_int_eq(smtp_command_parse(&arena, SLICE("BDAT 86 LAST"), false, &c), SMTP_PARSED);
	ck_assert_uint_eq(c.chunk_bytes, 86);
	ck_assert(c.chunk_last);
}
END_TEST

START_TEST(a_nul_in_a_command_is_a_syntax_error)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	struct smtp_command c;

	ck_assert_int_eq(smtp_command_parse(&arena, SLICE("RCPT TO:<a\0b@c>"), false, &c),
			 SMTP_BAD_SYNTAX);
	ck_assert_int_eq(smtp_command_parse(&arena, SLICE("NOOP \0"), false, &c), SMTP_BAD_SYNTAX);
}
END_TEST

START_TEST(xtext_is_decoded_and_encoded_back)
{
	AUTO_BUF struct buf raw = BUF_INIT(1000), again = BUF_INIT(1000);

	ck_assert(smtp_xtext_decode(SLICE("a+2Bb+3D+0A"), &raw));
	ck_assert_slice_eq(buf_slice(&raw), SLICE("a+b=\n"));
	smtp_xtext_encode(buf_slice(&raw), &again);
	ck_assert_slice_eq(buf_slice(&again), SLICE("a+2Bb+3D+0A"));
	ck_assert(!smtp_xtext_decode(SLICE("a=b"), &raw));
	ck_assert(!smtp_xtext_decode(SLICE("a b"), &raw));
}
END_TEST

START_TEST(a_reply_of_several_lines_ends_with_a_blank_after_the_code)
{
	AUTO_BUF struct buf out = BUF_INIT(1000);

	smtp_reply_write(&out, 250, NULL, SLICE("one\nSIZE 5"));
	smtp_reply_write(&out, 550, "5.1.1", SLICE("no \x01 such\r user"));
	ck_assert_slice_eq(buf_slice(&out),
			   SLICE("250-one\r\n250 SIZE 5\r\n550 5.1.1 no ? such? user\r\n"));
}
END_TEST

START_TEST(a_reply_never_exceeds_the_line_length)
{
	AUTO_BUF struct buf text = BUF_INIT(4000), out = BUF_INIT(4000);

	buf_fill(&text, 'x', 3000);
	smtp_reply_write(&out, 250, "2.0.0", buf_slice(&text));
	ck_assert_uint_eq(out.len, 4 + 6 + SMTP_REPLY_TEXT + 2);
	ck_assert_uint_le(out.len, 512);
}
END_TEST

TEST_MAIN("smtp/command", lines_get_the_verdict_that_names_their_answer,
	  parameters_arrive_with_their_values, a_nul_in_a_command_is_a_syntax_error,
	  xtext_is_decoded_and_encoded_back,
	  a_reply_of_several_lines_ends_with_a_blank_after_the_code,
	  a_reply_never_exceeds_the_line_length)
