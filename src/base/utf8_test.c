#include "base/test.h"
#include "base/utf8.h"

static const struct {
	const char *name, *bytes;
	size_t bad_at;			/* SIZE_MAX: well formed */
	size_t length;
} cases[] = {
	{ "empty text is well formed", "", SIZE_MAX, 0 },
	{ "the last characters of each length", "\x7f\xdf\xbf\xef\xbf\xbf\xf4\x8f\xbf\xbf", SIZE_MAX, 4 },
	{ "the first characters of each length", "\x01\xc2\x80\xe0\xa0\x80\xf0\x90\x80\x80", SIZE_MAX, 4 },
	{ "an overlong slash", "a\xc0\xaf", 1, 3 },
	{ "an overlong character of three bytes", "\xe0\x9f\xbf", 0, 3 },
	{ "an overlong character of four bytes", "\xf0\x8f\xbf\xbf", 0, 4 },
	{ "the character before the surrogates", "\xed\x9f\xbf", SIZE_MAX, 1 },
	{ "a surrogate", "\xed\xa0\x80", 0, 3 },
	{ "above the last plane", "\xf4\x90\x80\x80", 0, 4 },
	{ "a lone continuation byte after words", "12345678\x80", 8, 9 },
	{ "a character that is cut off is one error", "ab\xe2\x82", 2, 3 },
	{ "a byte that cannot be", "\xff", 0, 1 },
};

START_TEST(well_formed_and_ill_formed_text_is_told_apart)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice s = slice_str(cases[i].bytes);
		size_t want = cases[i].bad_at == SIZE_MAX ? s.len : cases[i].bad_at;

		ck_assert_msg(utf8_bad_at(s) == want, "%s: %zu", cases[i].name, utf8_bad_at(s));
		ck_assert_msg(utf8_valid(s) == (cases[i].bad_at == SIZE_MAX), "%s", cases[i].name);
		ck_assert_msg(utf8_length(s) == cases[i].length, "%s: length %zu", cases[i].name,
			      utf8_length(s));
	}
}
END_TEST

START_TEST(every_character_comes_back_as_it_was_written)
{
	AUTO_BUF struct buf out = BUF_INIT(8);

	for (uint32_t code = 0; code <= 0x110000; code++) {
		uint32_t back = 0;
		bool exists = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
		buf_reset(&out);
		utf8_add(&out, code);
		/* Check notes every assertion that it passes: too slow for a million. */
		if (utf8_decode(buf_slice(&out), &back) != out.len ||
		    back != (exists ? code : UTF8_REPLACEMENT))
			ck_abort_msg("U+%04X came back as U+%04X", code, back);
	}
}
END_TEST

START_TEST(shortening_never_cuts_a_character)
{
	struct slice s = SLICE("a\xe2\x82\xac""b");

	ck_assert_uint_eq(utf8_head(s, 0).len, 0);
	ck_assert_uint_eq(utf8_head(s, 1).len, 1);
	ck_assert_uint_eq(utf8_head(s, 2).len, 1);
	ck_assert_uint_eq(utf8_head(s, 3).len, 1);
	ck_assert_uint_eq(utf8_head(s, 4).len, 4);
	ck_assert_uint_eq(utf8_head(s, 9).len, 5);
	ck_assert(utf8_is_ascii(SLICE("plain text of more than eight")) && !utf8_is_ascii(s));
}
END_TEST

TEST_MAIN("base/utf8", well_formed_and_ill_formed_text_is_told_apart,
	  every_character_comes_back_as_it_was_written, shortening_never_cuts_a_character)
