#include "mail/smtp/path.h"

#include "base/test.h"
#include "mail/smtp/limits.h"

static const struct {
	const char *name, *in;
	enum smtp_path_result want;
	const char *text, *rest;
} paths[] = {
	{ "an ordinary address", "<Ann@Example.ORG>", SMTP_PATH_OK, "Ann@example.org", "" },
	{ "the null sender", "<>", SMTP_PATH_OK, "", "" },
	{ "what follows is left", "<a@b> SIZE=1", SMTP_PATH_OK, "a@b", " SIZE=1" },
	{ "postmaster without domain", "<PostMaster>", SMTP_PATH_OK, "postmaster", "" },
	{ "others need a domain", "<ann>", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "a source route is dropped", "<@one.example,@two.example:joe@three.example>",
	  SMTP_PATH_OK, "joe@three.example", "" },
	{ "a route without end", "<@one.example joe@x>", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "quotes that are not needed go", "<\"ann\"@x>", SMTP_PATH_OK, "ann@x", "" },
	{ "quotes that are needed stay", "<\"a b\"@x>", SMTP_PATH_OK, "\"a b\"@x", "" },
	{ "a bracket inside quotes", "<\"a>b\"@x>", SMTP_PATH_OK, "\"a>b\"@x", "" },
	{ "quoted pairs", "<\"a\\\"b\\\\c\\d\"@x>", SMTP_PATH_OK, "\"a\\\"b\\\\cd\"@x", "" },
	{ "an empty quoted local part", "<\"\"@x>", SMTP_PATH_OK, "\"\"@x", "" },
	{ "quotes without end", "<\"ab@x>", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "a quoted pair without end", "<\"ab\\", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "a control in quotes", "<\"a\tb\"@x>", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "all of atext", "<a!#$%&'*+-/=?^_`{|}~@x>", SMTP_PATH_OK, "a!#$%&'*+-/=?^_`{|}~@x", "" },
	{ "a leading dot", "<.a@x>", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "a closing dot", "<a.@x>", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "two dots", "<a..b@x>", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "single dots", "<a.b.c@x>", SMTP_PATH_OK, "a.b.c@x", "" },
	{ "a blank in the local part", "<a b@x>", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "two at signs", "<a@b@c>", SMTP_PATH_BAD_DOMAIN, NULL, NULL },
	{ "no bracket at the end", "<a@b", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "no bracket at all", "a@b", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "a comment is no part of a path", "<a(b)@c>", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "an IPv4 literal", "<a@[192.0.2.1]>", SMTP_PATH_OK, "a@[192.0.2.1]", "" },
	{ "a wrong IPv4 literal", "<a@[192.0.2.256]>", SMTP_PATH_BAD_DOMAIN, NULL, NULL },
	{ "an IPv6 literal", "<a@[IPv6:2001:db8::1]>", SMTP_PATH_OK, "a@[IPv6:2001:db8::1]", "" },
	{ "an IPv6 literal without tag", "<a@[2001:db8::1]>", SMTP_PATH_BAD_DOMAIN, NULL, NULL },
	{ "an empty label", "<a@b..c>", SMTP_PATH_BAD_DOMAIN, NULL, NULL },
	{ "a closing dot of a domain", "<a@b.>", SMTP_PATH_BAD_DOMAIN, NULL, NULL },
	{ "a hyphen at the start", "<a@-b>", SMTP_PATH_BAD_DOMAIN, NULL, NULL },
	{ "a hyphen at the end", "<a@b-.c>", SMTP_PATH_BAD_DOMAIN, NULL, NULL },
	{ "an underscore", "<a@b_c>", SMTP_PATH_OK, "a@b_c", "" },
	{ "an empty domain", "<a@>", SMTP_PATH_BAD_DOMAIN, NULL, NULL },
	{ "a domain in UTF-8", "<a@b\xc3\xbc" "cher.example>", SMTP_PATH_OK, "a@xn--bcher-kva.example", "" },
	{ "upper case in UTF-8", "<a@B\xc3\x9c" "cher.example>", SMTP_PATH_OK, "a@xn--bcher-kva.example", "" },
	{ "broken UTF-8 in a domain", "<a@b\xc3.example>", SMTP_PATH_BAD_DOMAIN, NULL, NULL },
	{ "a local part in UTF-8", "<\xe5\xbc\xa0@x>", SMTP_PATH_OK, "\xe5\xbc\xa0@x", "" },
	{ "broken UTF-8 in a local part", "<\xe5\xbc@x>", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "an overlong form", "<\xc0\xae@x>", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "empty input", "", SMTP_PATH_SYNTAX, NULL, NULL },
	{ "a lone bracket", "<", SMTP_PATH_SYNTAX, NULL, NULL },
};

START_TEST(paths_are_read_as_the_grammar_says)
{
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(65536);
		struct smtp_path p;
		struct slice rest;
		enum smtp_path_result r =
			smtp_path_parse(&arena, slice_str(paths[i].in), &p, &rest);

		ck_assert_msg(r == paths[i].want, "%s: got %d", paths[i].name, (int)r);
		if (r != SMTP_PATH_OK)
			continue;
		ck_assert_slice_eq(p.text, slice_str(paths[i].text));
		ck_assert_slice_eq(rest, slice_str(paths[i].rest));
	}
}
END_TEST

static enum smtp_path_result try_lengths(size_t local, size_t labels, size_t label)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	AUTO_BUF struct buf b = BUF_INIT(65536);
	struct smtp_path p;
	struct slice rest;

	buf_addc(&b, '<');
	buf_fill(&b, 'l', local);
	buf_addc(&b, '@');
	for (size_t i = 0; i < labels; i++) {
		buf_fill(&b, 'd', label);
		buf_addc(&b, i + 1 < labels ? '.' : '>');
	}
	return smtp_path_parse(&arena, buf_slice(&b), &p, &rest);
}

START_TEST(lengths_are_taken_at_their_maximum_and_refused_above)
{
	ck_assert_int_eq(try_lengths(SMTP_LOCAL_PART, 1, 1), SMTP_PATH_OK);
	ck_assert_int_eq(try_lengths(SMTP_LOCAL_PART + 1, 1, 1), SMTP_PATH_TOO_LONG);
	ck_assert_int_eq(try_lengths(1, 1, SMTP_LABEL), SMTP_PATH_OK);
	ck_assert_int_eq(try_lengths(1, 1, SMTP_LABEL + 1), SMTP_PATH_BAD_DOMAIN);
	ck_assert_int_eq(try_lengths(1, 4, 63), SMTP_PATH_OK);		/* 255 bytes */
	ck_assert_int_eq(try_lengths(1, 128, 1), SMTP_PATH_OK);		/* 255 bytes */
	ck_assert_int_eq(try_lengths(1, 5, 51), SMTP_PATH_TOO_LONG);	/* 259 bytes */
}
END_TEST

START_TEST(utf8_is_flagged_so_that_the_session_can_ask_for_smtputf8)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	struct smtp_path p;
	struct slice rest;

	ck_assert_int_eq(smtp_path_parse(&arena, SLICE("<a@b\xc3\xbc.x>"), &p, &rest), SMTP_PATH_OK);
	ck_assert(p.utf8);
	ck_assert_int_eq(smtp_path_parse(&arena, SLICE("<a@xn--b-xga.x>"), &p, &rest), SMTP_PATH_OK);
	ck_assert(!p.utf8);
}
END_TEST

START_TEST(an_address_without_brackets_must_be_all_of_the_text)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	struct smtp_path p;

	ck_assert_int_eq(smtp_address_parse(&arena, SLICE("ann@Example.org"), &p), SMTP_PATH_OK);
	ck_assert_slice_eq(p.domain, SLICE("example.org"));
	ck_assert_int_eq(smtp_address_parse(&arena, SLICE("ann@example.org x"), &p), SMTP_PATH_SYNTAX);
	ck_assert_int_eq(smtp_address_parse(&arena, SLICE("ann@example.org>"), &p), SMTP_PATH_SYNTAX);
	ck_assert_int_eq(smtp_address_parse(&arena, SLICE(""), &p), SMTP_PATH_SYNTAX);
}
END_TEST

START_TEST(a_full_arena_is_told_apart_from_a_wrong_address)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16);
	struct smtp_path p;

	ck_assert_int_eq(smtp_address_parse(&arena, SLICE("a-name-of-some-length@example.org"), &p),
			 SMTP_PATH_MEMORY);
}
END_TEST

TEST_MAIN("smtp/path", paths_are_read_as_the_grammar_says,
	  lengths_are_taken_at_their_maximum_and_refused_above,
	  utf8_is_flagged_so_that_the_session_can_ask_for_smtputf8,
	  an_address_without_brackets_must_be_all_of_the_text,
	  a_full_arena_is_told_apart_from_a_wrong_address)
