#include "base/test.h"

#include "mail/message/bodystructure.h"
#include "mail/message/mime.h"
#include "mail/message/section.h"
#include "mail/message/summary.h"

static struct arena arena = ARENA_INIT(MIME_ARENA_BYTES);

static const char *structure(const char *message, bool extended)
{
	static struct buf out = BUF_INIT(1 << 20);

	buf_reset(&out);
	const struct mime *mime = mime_parse(&arena, slice_str(message));
	bodystructure_write(&out, mime->root, extended, false);
	return buf_cstr(&out);
}

static const struct {
	const char *name, *message, *want;
} cases[] = {
	{ "an empty message is an empty text", "",
	  "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0)" },
	{ "a message without header", "\r\nhello\r\n",
	  "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 7 1)" },
	{ "the last line may lack its end", "A: b\r\n\r\nhello",
	  "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 5 0)" },
	{ "a bare LF ends lines as well", "Content-Type: text/html\n\na\nb\n",
	  "(\"text\" \"html\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 2)" },
	{ "an invalid type is plain text (RFC 2045 §5.2)", "Content-Type: text\r\n\r\nx",
	  "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0)" },
	{ "two parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\n"
	  "Content-Type: image/png\r\n\r\ntwo\r\n--b--\r\nafter\r\n",
	  "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0)"
	  "(\"image\" \"png\" NIL NIL NIL \"7bit\" 3) \"mixed\")" },
	{ "a boundary at the first line of the body", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\r\n--b--\r\n",
	  "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0) \"mixed\")" },
	{ "the boundary of an outer part ends the inner ones",
	  "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"
	  "--c\r\n\r\nx\r\n--b--\r\n",
	  "(((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0) \"alternative\") \"mixed\")" },
	{ "a longer boundary wins over its prefix",
	  "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=bb\r\n\r\n"
	  "--bb\r\n\r\nx\r\n--bb--\r\n\r\n--b\r\n\r\ny\r\n--b--\r\n",
	  "(((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0) \"alternative\")"
	  "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0) \"mixed\")" },
	{ "a multipart without its boundary has no parts", "Content-Type: multipart/mixed\r\n\r\n--b\r\n",
	  "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0) \"mixed\")" },
	{ "a message inside", "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n",
	  "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 18 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) "
	  "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1) 3)" },
	{ "a digest holds messages", "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\n\r\nx\r\n--b--",
	  "((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 16 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) "
	  "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0) 2) \"digest\")" },
	{ "without MIME-Version and Content-Type the rest of MIME does not count (RFC 2045 §4)",
	  "Content-Transfer-Encoding: base64\r\n\r\nx",
	  "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0)" },
};

START_TEST(structures_are_as_the_rfcs_say)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		arena_reset(&arena);
		ck_assert_msg(strcmp(structure(cases[i].message, false), cases[i].want) == 0, "%s:\n got %s\nwant %s",
			      cases[i].name, structure(cases[i].message, false), cases[i].want);
	}
}
END_TEST

START_TEST(any_cut_into_chunks_gives_the_same_tree)
{
	AUTO_BUF struct buf whole = BUF_INIT(1 << 20);
	AUTO_BUF struct buf cut = BUF_INIT(1 << 20);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice text = slice_str(cases[i].message);
		arena_reset(&arena);
		buf_reset(&whole);
		summary_encode(&whole, mime_parse(&arena, text));
		for (size_t step = 1; step < 20; step++) {
			arena_reset(&arena);
			struct mime_stream *s = mime_stream_new(&arena);
			for (size_t at = 0; at < text.len; at += step)
				mime_stream_feed(s, slice_sub(text, at, MIN(at + step, text.len)));
			buf_reset(&cut);
			summary_encode(&cut, mime_stream_end(s));
			ck_assert_msg(slice_eq(buf_slice(&whole), buf_slice(&cut)), "%s, chunks of %zu", cases[i].name,
				      step);
		}
	}
}
END_TEST

START_TEST(a_summary_gives_the_same_answers)
{
	AUTO_BUF struct buf summary = BUF_INIT(1 << 20);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct mime *again = NULL;
		static struct buf text = BUF_INIT(1 << 20);
		arena_reset(&arena);
		buf_reset(&summary);
		buf_reset(&text);
		summary_encode(&summary, mime_parse(&arena, slice_str(cases[i].message)));
		ck_assert_int_eq(summary_decode(&arena, buf_slice(&summary), &again), SUMMARY_OK);
		bodystructure_write(&text, again->root, false, false);
		ck_assert_str_eq(buf_cstr(&text), cases[i].want);
	}
}
END_TEST

static const struct {
	const char *section, *want;	/* NULL: no such part */
} sections[] = {
	{ "1", "one" },
	{ "1.MIME", "Content-Type: text/plain\r\n\r\n" },
	{ "2", "Subject: in\r\n\r\nx" },
	{ "2.HEADER", "Subject: in\r\n\r\n" },
	{ "2.TEXT", "x" },
	{ "2.1", "x" },
	{ "2.2", NULL },
	{ "3", NULL },
	{ "1.1", NULL },
	{ "HEADER", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" },
};

START_TEST(sections_name_the_bytes_of_their_part)
{
	struct slice message = SLICE("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
				     "one\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n--b--\r\n");
	const struct mime *mime = mime_parse(&arena, message);

	for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
		struct section s;
		struct section_range range;
		ck_assert_int_eq(section_parse(&arena, slice_str(sections[i].section), &s), SECTION_OK);
		enum section_result r = section_find(mime, &s, &range);
		if (sections[i].want == NULL) {
			ck_assert_int_eq(r, SECTION_NO_SUCH_PART);
			continue;
		}
		ck_assert_int_eq(r, SECTION_OK);
		ck_assert_slice_eq(slice_sub(message, range.at, range.at + range.bytes), slice_str(sections[i].want));
	}
}
END_TEST

TEST_MAIN("message/mime", structures_are_as_the_rfcs_say, any_cut_into_chunks_gives_the_same_tree,
	  a_summary_gives_the_same_answers, sections_name_the_bytes_of_their_part)
