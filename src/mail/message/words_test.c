#include "base/test.h"

#include "mail/message/casemap.h"
#include "mail/message/charset.h"
#include "mail/message/subject.h"
#include "mail/message/transfer.h"
#include "mail/message/words.h"

static struct buf out = BUF_INIT(1 << 20);

static const struct {
	const char *in, *want;
} decoded[] = {
	{ "plain", "plain" },
	{ "=?ISO-8859-1?Q?a?=", "a" },
	{ "=?ISO-8859-1?Q?a?= b", "a b" },
	{ "=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab" },
	{ "=?ISO-8859-1?Q?a?=  \r\n  =?ISO-8859-1?Q?b?=", "ab" },
	{ "=?ISO-8859-1?Q?a_b?=", "a b" },
	{ "=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b" },
	{ "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?= =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
	  "If you can read this you understand the example." },
	{ "=?utf-8*en?q?J=C3=BCrgen?=", "J\xc3\xbcrgen" },
	{ "=?utf-8?b?w7w=?= and =?iso-8859-1?q?=FC?=", "\xc3\xbc and \xc3\xbc" },
	{ "=?utf-8?b?w7w?=", "\xc3\xbc" },			/* padding left out */
	{ "=?utf-8?q?a=?=", "a=" },
	{ "=?utf-8?x?a?=", "=?utf-8?x?a?=" },
	{ "=?utf-8?q?a", "=?utf-8?q?a" },
	{ "=?=?=?=?", "=?=?=?=?" },
	{ "x-unknown =?x-unknown?q?=C3=BC=FF?=", "x-unknown \xc3\xbc\xef\xbf\xbd" },
	{ "raw \xc3\xbc and \xfc\xfd!", "raw \xc3\xbc and \xef\xbf\xbd!" },
	{ "=?iso-2022-jp?b?GyRCRg==?= =?iso-2022-jp?b?fEtcGyhC?=", "\xe6\x97\xa5\xe6\x9c\xac" },
};

START_TEST(encoded_words_become_utf8)
{
	charset_init();
	for (size_t i = 0; i < ARRAY_LEN(decoded); i++) {
		buf_reset(&out);
		words_decode(&out, slice_str(decoded[i].in));
		ck_assert_slice_eq(buf_slice(&out), slice_str(decoded[i].want));
	}
}
END_TEST

START_TEST(extended_parameters_become_utf8)
{
	static const char *const cases[][2] = {
		{ "utf-8'en'na%C3%AFve.txt", "na\xc3\xafve.txt" }, { "iso-8859-1''%E9", "\xc3\xa9" }, { "''a%20b", "a b" },
		{ "no quotes", "no quotes" }, { "x''100%", "100%" }, { "utf-8''%zz%", "%zz%" },
	};

	charset_init();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		buf_reset(&out);
		words_decode_2231(&out, slice_str(cases[i][0]));
		ck_assert_slice_eq(buf_slice(&out), slice_str(cases[i][1]));
	}
}
END_TEST

/* RFC 5256 §2.1. */
static const struct {
	const char *subject, *base;
	bool is_reply;
} subjects[] = {
	{ "hello", "HELLO", false },
	{ "Re: hello", "HELLO", true },
	{ "RE:hello", "HELLO", true },
	{ "fwd: fw: re: hello", "HELLO", true },
	{ "Re [x]: hello", "HELLO", true },
	{ "Re[2]: hello", "HELLO", true },
	{ "[list] hello", "HELLO", false },
	{ "[list] Re: [other] hello", "HELLO", true },
	{ "[only]", "[ONLY]", false },
	{ "hello (fwd) (fwd)", "HELLO", true },
	{ "[fwd: Re: hello]", "HELLO", true },
	{ "[fwd: hello", "[FWD: HELLO", false },
	{ "a \t  b\r\n c", "A B C", false },
	{ "=?utf-8?q?Re=3A?= hello", "HELLO", true },
	{ "regarding: hello", "REGARDING: HELLO", false },
	{ "Gr\xc3\xbc\xc3\x9f""e", "GRU\xcc\x88\xc3\x9f""E", false },
	{ "Re:", "", true },
	{ "", "", false },
};

START_TEST(base_subjects_are_those_of_rfc_5256)
{
	for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
		bool is_reply;
		buf_reset(&out);
		subject_base(&out, slice_str(subjects[i].subject), &is_reply);
		ck_assert_slice_eq(buf_slice(&out), slice_str(subjects[i].base));
		ck_assert_msg(is_reply == subjects[i].is_reply, "%s", subjects[i].subject);
	}
}
END_TEST

START_TEST(case_folding_is_that_of_rfc_5051)
{
	static const char *const same[][2] = {
		{ "abc", "ABC" }, { "\xc3\xbc", "\xc3\x9c" }, { "\xc3\xbc", "u\xcc\x88" }, { "\xef\xac\x81", "fi" },
		{ "\xce\xb1", "\xce\x91" }, { "\xe1\xb5\xa2", "i" },
	};
	static const char *const other[][2] = { { "a", "b" }, { "u", "\xc3\xbc" }, { "\xc3\x9f", "ss" } };
	AUTO_BUF struct buf b = BUF_INIT(100);

	for (size_t i = 0; i < ARRAY_LEN(same) + ARRAY_LEN(other); i++) {
		bool equal = i < ARRAY_LEN(same);
		const char *const *pair = equal ? same[i] : other[i - ARRAY_LEN(same)];
		buf_reset(&out);
		buf_reset(&b);
		casemap_key(&out, slice_str(pair[0]));
		casemap_key(&b, slice_str(pair[1]));
		/* "i" is a title case letter of its own in no decomposition here; both sides pass the same way */
		ck_assert_msg(slice_eq(buf_slice(&out), buf_slice(&b)) == equal ||
			      (equal && slice_eq_nocase(buf_slice(&out), buf_slice(&b))), "%s %s", pair[0], pair[1]);
	}
}
END_TEST

START_TEST(a_key_is_found_across_pieces_and_after_false_starts)
{
	struct arena arena = ARENA_INIT(1 << 16);
	struct casemap_find f;

	ck_assert(casemap_find_init(&f, &arena, SLICE("aab")));
	ck_assert(!casemap_find_feed(&f, SLICE("xaaa")));
	ck_assert(casemap_find_feed(&f, SLICE("b")));
	ck_assert(casemap_find_init(&f, &arena, SLICE("aab")));
	ck_assert(!casemap_find_feed(&f, SLICE("aa")));
	casemap_find_reset(&f);
	ck_assert(!casemap_find_feed(&f, SLICE("b")));
	ck_assert(casemap_find_init(&f, &arena, SLICE("")));
	ck_assert(casemap_find_feed(&f, SLICE("")));
	arena_done(&arena);
}
END_TEST

static const struct {
	enum mime_encoding encoding;
	const char *in, *want;
	bool bad;
} transfers[] = {
	{ MIME_BASE64, "QUJD", "ABC", false },
	{ MIME_BASE64, "QUI=", "AB", false },
	{ MIME_BASE64, "QQ==", "A", false },
	{ MIME_BASE64, "Q U\r\nJ D", "ABC", false },
	{ MIME_BASE64, "QU!JD", "ABC", true },
	{ MIME_BASE64, "QUI=QUJD", "AB", true },
	{ MIME_BASE64, "QUJ", "AB", true },
	{ MIME_QUOTED_PRINTABLE, "a=20b=\r\nc  \r\nd", "a bc\r\nd", false },
	{ MIME_QUOTED_PRINTABLE, "=3d=3D= \t\r\n=\n.", "==.", false },
	{ MIME_QUOTED_PRINTABLE, "a=ZZ=4", "a=ZZ=4", true },
	{ MIME_QUOTED_PRINTABLE, "a \rb", "a \rb", false },
	{ MIME_7BIT, "=20", "=20", false },
};

START_TEST(transfer_encodings_decode_in_any_pieces)
{
	for (size_t i = 0; i < ARRAY_LEN(transfers); i++) {
		struct slice in = slice_str(transfers[i].in);
		for (size_t step = 1; step < 6; step++) {
			struct transfer t = transfer_of(transfers[i].encoding);
			buf_reset(&out);
			for (size_t at = 0; at < in.len; at += step)
				transfer_feed(&t, &out, slice_sub(in, at, MIN(at + step, in.len)));
			transfer_end(&t, &out);
			ck_assert_slice_eq(buf_slice(&out), slice_str(transfers[i].want));
			ck_assert_msg(t.bad == transfers[i].bad, "%s", transfers[i].in);
		}
	}
}
END_TEST

START_TEST(a_charset_that_is_not_listed_keeps_what_is_utf8)
{
	charset_init();
	ck_assert(charset_find(SLICE("nope")) == NULL);
	ck_assert(charset_find(SLICE("")) == NULL);
	ck_assert(charset_is_utf8(charset_find(SLICE("US-ASCII"))));
	ck_assert(charset_find(SLICE("KOI8-R")) != NULL);
	buf_reset(&out);
	charset_to_utf8(NULL, &out, SLICE("a\xc3\xbc\xff\xff\xed\xa0\x80z\xc3"));
	ck_assert_slice_eq(buf_slice(&out), SLICE("a\xc3\xbc\xef\xbf\xbdz\xef\xbf\xbd"));
	buf_reset(&out);
	charset_to_utf8(charset_find(SLICE("koi8-r")), &out, SLICE("\xf0\xd2\xc9"));
	ck_assert_slice_eq(buf_slice(&out), SLICE("\xd0\x9f\xd1\x80\xd0\xb8"));
	charset_done();
	ck_assert(charset_find(SLICE("koi8-r")) == NULL);
}
END_TEST

TEST_MAIN("message/words", encoded_words_become_utf8, extended_parameters_become_utf8,
	  base_subjects_are_those_of_rfc_5256, case_folding_is_that_of_rfc_5051,
	  a_key_is_found_across_pieces_and_after_false_starts, transfer_encodings_decode_in_any_pieces,
	  a_charset_that_is_not_listed_keeps_what_is_utf8)
