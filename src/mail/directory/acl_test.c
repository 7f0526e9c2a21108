#include <stdio.h>

#include "base/test.h"
#include "mail/directory/acl.h"

#define ANN SLICE("ann@example.org")
#define BOB SLICE("bob@example.org")

START_TEST(negative_rights_are_taken_away_whoever_gave_them)
{
	struct acl acl = { 0 };

	ck_assert_uint_eq(acl_effective(&acl, ANN), 0);
	ck_assert(acl_set(&acl, SLICE("anyone"), 3));
	ck_assert(acl_set(&acl, ANN, 4));
	ck_assert_uint_eq(acl_effective(&acl, ANN), 7);
	ck_assert_uint_eq(acl_effective(&acl, BOB), 3);
	ck_assert(acl_set(&acl, SLICE("-ann@example.org"), 2));
	ck_assert_uint_eq(acl_effective(&acl, ANN), 5);
	ck_assert_uint_eq(acl_effective(&acl, BOB), 3);
	ck_assert(acl_set(&acl, SLICE("-anyone"), 5));
	ck_assert_uint_eq(acl_effective(&acl, ANN), 0);
	ck_assert_uint_eq(acl_effective(&acl, BOB), 2);
	ck_assert_uint_eq(acl_rights(&acl, ANN), 4);
	ck_assert(acl_set(&acl, SLICE("-anyone"), 0));
	ck_assert_uint_eq(acl_effective(&acl, ANN), 5);
	ck_assert(acl_set(&acl, ANN, 0));
	ck_assert_uint_eq(acl_effective(&acl, ANN), 1);
	ck_assert_uint_eq(acl.count, 2);
}
END_TEST

START_TEST(identifiers_are_addresses_or_anyone)
{
	static const struct { const char *text; bool good; } cases[] = {
		{ "anyone", true }, { "-anyone", true }, { "ann@example.org", true }, { "-ann@example.org", true }, { "", false },
		{ "-", false }, { "ann", false }, { "@example.org", false }, { "ann@", false }, { "an n@example.org", false },
		{ "anyones", false }, { "Anyone", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ck_assert_msg(acl_identifier_good(slice_str(cases[i].text)) == cases[i].good, "'%s'", cases[i].text);
}
END_TEST

START_TEST(a_full_list_is_kept_and_read_again)
{
	static char names[DIRECTORY_ACL_ENTRIES_MAX + 1][40];
	static struct acl acl, got;
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);

	for (unsigned i = 0; i <= DIRECTORY_ACL_ENTRIES_MAX; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "user%u@example.org", i);
		ck_assert(acl_set(&acl, slice_str(names[i]), i + 1) == (i < DIRECTORY_ACL_ENTRIES_MAX));
	}
	/* Who is on it can be changed all the same. */
	ck_assert(acl_set(&acl, slice_str(names[0]), 9));
	acl_encode(&b, &acl);
	ck_assert_int_eq(b.err, 0);
	ck_assert(acl_decode(buf_slice(&b), &got));
	ck_assert_uint_eq(got.count, DIRECTORY_ACL_ENTRIES_MAX);
	ck_assert_uint_eq(acl_effective(&got, slice_str(names[0])), 9);
	ck_assert_uint_eq(acl_effective(&got, slice_str(names[5])), 6);
	/* Every shorter form is refused. */
	for (size_t n = 0; n < b.len; n++)
		ck_assert(!acl_decode(slice_head(buf_slice(&b), n), &got));
}
END_TEST

START_TEST(a_list_that_says_a_name_twice_is_damaged)
{
	static struct acl got;

	ck_assert(acl_decode(SLICE("\1\1\6anyone\3"), &got));
	ck_assert(!acl_decode(SLICE("\1\2\6anyone\3\6anyone\1"), &got));
	ck_assert(!acl_decode(SLICE("\1\1\6anyone\0"), &got));
	ck_assert(!acl_decode(SLICE("\1\1\6anyons\1"), &got));
	ck_assert(!acl_decode(SLICE("\0\1\6anyone\1"), &got));
}
END_TEST

TEST_MAIN("directory/acl", negative_rights_are_taken_away_whoever_gave_them, identifiers_are_addresses_or_anyone,
	  a_full_list_is_kept_and_read_again, a_list_that_says_a_name_twice_is_damaged)
