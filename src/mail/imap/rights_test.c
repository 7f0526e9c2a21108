#include "base/test.h"
#include "mail/imap/rights.h"

START_TEST(letters_are_the_bits_of_the_policy)
{
	static const struct { const char *text; bool good; uint32_t rights; const char *written; } cases[] = {
		{ "", true, 0, "" },
		{ "l", true, 1u << 0, "l" },
		{ "a", true, 1u << 10, "a" },
		{ "rl", true, 3, "lr" },
		{ "llr", true, 3, "lr" },
		{ IMAP_RIGHTS, true, IMAP_RIGHTS_ALL, IMAP_RIGHTS "cd" },
		/* RFC 4314 §2.1.1 */
		{ "c", true, 1u << 6 | 1u << 7, "kxc" },
		{ "d", true, 1u << 8 | 1u << 9, "ted" },
		{ "k", true, 1u << 6, "kc" },
		{ "e", true, 1u << 9, "ed" },
		{ "L", false, 0, "" },
		{ "lz", false, 0, "" },
		{ "0", false, 0, "" },
		{ "l r", false, 0, "" },
		{ "+l", false, 0, "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_BUF struct buf b = BUF_INIT(100);
		uint32_t got = 0;

		ck_assert_msg(imap_rights_parse(slice_str(cases[i].text), &got) == cases[i].good, "'%s'", cases[i].text);
		ck_assert_uint_eq(got, cases[i].rights);
		imap_rights_write(&b, got);
		ck_assert_slice_eq(buf_slice(&b), slice_str(cases[i].written));
	}
}
END_TEST

START_TEST(a_change_replaces_adds_or_removes)
{
	static const struct { const char *text; uint32_t old, now; } cases[] = {
		{ "l", 6, 1 }, { "+l", 6, 7 }, { "-r", 6, 4 }, { "", 6, 0 }, { "+", 6, 6 }, { "-", 6, 6 }, { "-c", 0xff, 0x3f },
	};
	struct imap_rights_change c;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ck_assert(imap_rights_change_parse(slice_str(cases[i].text), &c));
		ck_assert_uint_eq(imap_rights_changed(cases[i].old, &c), cases[i].now);
	}
	ck_assert(!imap_rights_change_parse(SLICE("l+r"), &c));
	ck_assert(!imap_rights_change_parse(SLICE("++l"), &c));
	ck_assert(!imap_rights_change_parse(SLICE("+-l"), &c));
}
END_TEST

TEST_MAIN("imap/rights", letters_are_the_bits_of_the_policy, a_change_replaces_adds_or_removes)
