#include <errno.h>

#include "base/test.h"
#include "mail/auth/saslprep.h"

static const struct {
	const char *name;
	struct slice in;
	enum saslprep_result want;
	struct slice out;
} cases[] = {
	/* The five examples of RFC 4013 §3 */
	{ "a soft hyphen is mapped to nothing", SLICE_INIT("I\xc2\xadX"), SASLPREP_OK, SLICE_INIT("IX") },
	{ "no change", SLICE_INIT("user"), SASLPREP_OK, SLICE_INIT("user") },
	{ "case is kept, so it does not match", SLICE_INIT("USER"), SASLPREP_OK, SLICE_INIT("USER") },
	{ "NFKC of a feminine ordinal", SLICE_INIT("\xc2\xaa"), SASLPREP_OK, SLICE_INIT("a") },
	{ "NFKC of roman nine", SLICE_INIT("\xe2\x85\xa8"), SASLPREP_OK, SLICE_INIT("IX") },
	{ "a control character", SLICE_INIT("\x07"), SASLPREP_PROHIBITED, SLICE_INIT("") },
	{ "RandALCat that does not end in RandALCat", SLICE_INIT("\xd8\xa7" "1"), SASLPREP_BIDI, SLICE_INIT("") },
	/* and their good or bad neighbours */
	{ "RandALCat at both ends", SLICE_INIT("\xd8\xa7" "1" "\xd8\xa8"), SASLPREP_OK,
	  SLICE_INIT("\xd8\xa7" "1" "\xd8\xa8") },
	{ "both directions", SLICE_INIT("\xd8\xa7" "x" "\xd8\xa8"), SASLPREP_BIDI, SLICE_INIT("") },
	{ "a no-break space becomes a space", SLICE_INIT("a\xc2\xa0" "b"), SASLPREP_OK, SLICE_INIT("a b") },
	{ "composing", SLICE_INIT("o\xcc\x88"), SASLPREP_OK, SLICE_INIT("\xc3\xb6") },
	{ "private use", SLICE_INIT("\xee\x80\x80"), SASLPREP_PROHIBITED, SLICE_INIT("") },
	{ "a non-character", SLICE_INIT("\xef\xbf\xbe"), SASLPREP_PROHIBITED, SLICE_INIT("") },
	{ "a tag", SLICE_INIT("\xf3\xa0\x80\x81"), SASLPREP_PROHIBITED, SLICE_INIT("") },
	{ "delete", SLICE_INIT("a\x7f"), SASLPREP_PROHIBITED, SLICE_INIT("") },
	{ "a NUL", SLICE_INIT("a\0b"), SASLPREP_PROHIBITED, SLICE_INIT("") },
	{ "malformed UTF-8", SLICE_INIT("\xc3"), SASLPREP_NOT_UTF8, SLICE_INIT("") },
	{ "nothing", SLICE_INIT(""), SASLPREP_OK, SLICE_INIT("") },
};

START_TEST(text_is_prepared_as_rfc_4013_says)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_BUF struct buf out = BUF_INIT(100);

		ck_assert_msg(saslprep(cases[i].in, &out) == cases[i].want, "%s", cases[i].name);
		ck_assert_slice_eq(buf_slice(&out), cases[i].out);
	}
}
END_TEST

START_TEST(a_full_buffer_is_told)
{
	AUTO_BUF struct buf out = BUF_INIT(2);

	ck_assert_int_eq(saslprep(SLICE("abc"), &out), SASLPREP_TOO_BIG);
	ck_assert_int_eq(out.err, -EMSGSIZE);
}
END_TEST

TEST_MAIN("auth/saslprep", text_is_prepared_as_rfc_4013_says, a_full_buffer_is_told)
