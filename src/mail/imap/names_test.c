#include "base/test.h"
#include "mail/imap/imapdate.h"
#include "mail/imap/pattern.h"
#include "mail/imap/utf7.h"
#include "mail/imap/write.h"

static const struct {
	const char *utf7, *utf8;
} names[] = {
	/* RFC 3501 §5.1.3 */
	{ "~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語" },
	{ "&-", "&" },
	{ "A&-B", "A&B" },
	{ "Entw&APw-rfe", "Entwürfe" },
	{ "&2D3eAA-", "😀" },
	{ "", "" },
};

START_TEST(modified_utf7_goes_both_ways)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		AUTO_BUF struct buf decoded = BUF_INIT(1000), encoded = BUF_INIT(1000);

		ck_assert_msg(utf7_decode(slice_str(names[i].utf7), &decoded), "%s", names[i].utf7);
		ck_assert_slice_eq(buf_slice(&decoded), slice_str(names[i].utf8));
		utf7_encode(slice_str(names[i].utf8), &encoded);
		ck_assert_slice_eq(buf_slice(&encoded), slice_str(names[i].utf7));
	}
}
END_TEST

START_TEST(a_second_spelling_of_a_name_is_refused)
{
	static const char *const bad[] = {
		"&Jjo!",		/* RFC 3501 §5.1.3: unended */
		"&U,BTFw-&ZeVnLIqe-",	/* RFC 3501 §5.1.3: superfluous shift */
		"&AEE-",		/* "A" must stand for itself */
		"&AOk",			/* not ended */
		"caf\xc3\xa9",		/* 8-bit */
		"&AOl-x&AA-",		/* left-over bits */
		"&2D0-",		/* half a pair */
		"&3gA-",		/* second half alone */
		"&AOk/-",		/* "/" is not of this alphabet */
		"a\x01" "b",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_BUF struct buf out = BUF_INIT(1000);

		ck_assert_msg(!utf7_decode(slice_str(bad[i]), &out), "%s", bad[i]);
		ck_assert_uint_eq(out.len, 0);
	}
}
END_TEST

static const struct {
	const char *pattern, *name;
	enum pattern_match want;
} patterns[] = {
	{ "*", "a/b/c", PATTERN_YES },	       { "%", "a", PATTERN_YES },
	{ "%", "a/b", PATTERN_NO },	       { "a/%", "a/b", PATTERN_YES },
	{ "a/%", "a", PATTERN_PARENT },	       { "%/%", "a/b", PATTERN_YES },
	{ "*b", "a/xb", PATTERN_YES },	       { "%b", "a/xb", PATTERN_NO },
	{ "inbox", "INBOX", PATTERN_YES },     { "inBOX/x", "INBOX/x", PATTERN_YES },
	{ "inbox", "INBOXES", PATTERN_NO },    { "Foo", "foo", PATTERN_NO },
	{ "", "", PATTERN_YES },	       { "", "a", PATTERN_NO },
	{ "a*", "a", PATTERN_YES },	       { "*a*b*c*", "xaxbxcx", PATTERN_YES },
	{ "%*%*%*%*%*%*%*%*x", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", PATTERN_PARENT },
};

START_TEST(wildcards_match_as_RFC_9051_6_3_9_says)
{
	for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
		ck_assert_msg(pattern_match(slice_str(patterns[i].pattern),
					    slice_str(patterns[i].name)) == patterns[i].want,
			      "%s %s", patterns[i].pattern, patterns[i].name);
}
END_TEST

START_TEST(dates_are_days_of_the_calendar)
{
	int64_t n;
	int16_t zone;

	ck_assert(imapdate_day(SLICE("1-Feb-1994"), &n) && n == 8797);
	ck_assert(imapdate_day(SLICE("29-Feb-2000"), &n));
	ck_assert(!imapdate_day(SLICE("29-Feb-1900"), &n) && !imapdate_day(SLICE("0-Feb-1994"), &n));
	ck_assert(!imapdate_day(SLICE("1-Foo-1994"), &n) && !imapdate_day(SLICE("1-Feb-94"), &n));
	ck_assert(imapdate_time(SLICE(" 7-Feb-1994 21:52:25 -0800"), &n, &zone));
	ck_assert_int_eq(n, 760686745);
	ck_assert_int_eq(zone, -480);
	ck_assert(!imapdate_time(SLICE(" 7-Feb-1994 24:52:25 -0800"), &n, &zone));
	ck_assert(!imapdate_time(SLICE("7-Feb-1994 21:52:25 -0800"), &n, &zone));
	ck_assert_int_eq(imapdate_day_of(-1, 0), -1);
}
END_TEST

START_TEST(a_date_is_written_in_the_zone_it_came_with)
{
	AUTO_BUF struct buf out = BUF_INIT(100);

	imapdate_write(&out, 760686745, -480);
	ck_assert_slice_eq(buf_slice(&out), SLICE("\"07-Feb-1994 21:52:25 -0800\""));
	buf_reset(&out);
	imapdate_write(&out, INT64_MAX, 60);
	ck_assert_uint_eq(out.len, 28);
}
END_TEST

START_TEST(strings_take_the_shortest_form_that_is_safe)
{
	AUTO_BUF struct buf out = BUF_INIT(1000);

	imap_write_astring(&out, SLICE("INBOX"));
	buf_addc(&out, ' ');
	imap_write_astring(&out, SLICE("a b\"c"));
	buf_addc(&out, ' ');
	imap_write_astring(&out, SLICE("nil"));
	buf_addc(&out, ' ');
	imap_write_string(&out, SLICE("a\r\nb"));
	buf_addc(&out, ' ');
	imap_write_mailbox(&out, SLICE("Entw\xc3\xbcrfe"), false);
	buf_addc(&out, ' ');
	imap_write_mailbox(&out, SLICE("Entw\xc3\xbcrfe"), true);
	ck_assert_slice_eq(buf_slice(&out),
			   SLICE("INBOX \"a b\\\"c\" \"nil\" {4}\r\na\r\nb Entw&APw-rfe "
				 "\"Entw\xc3\xbcrfe\""));
}
END_TEST

TEST_MAIN("imap/names", modified_utf7_goes_both_ways, a_second_spelling_of_a_name_is_refused,
	  wildcards_match_as_RFC_9051_6_3_9_says, dates_are_days_of_the_calendar,
	  a_date_is_written_in_the_zone_it_came_with, strings_take_the_shortest_form_that_is_safe)
