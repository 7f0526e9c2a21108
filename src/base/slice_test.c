#include "base/test.h"

START_TEST(a_number_is_refused_above_its_maximum_and_taken_at_it)
{
	uint64_t n = 7;

	ck_assert(slice_u64(SLICE("4294967295"), UINT32_MAX, &n));
	ck_assert_uint_eq(n, UINT32_MAX);
	ck_assert(!slice_u64(SLICE("4294967296"), UINT32_MAX, &n));
	ck_assert(slice_u64(SLICE("18446744073709551615"), UINT64_MAX, &n));
	ck_assert(!slice_u64(SLICE("18446744073709551616"), UINT64_MAX, &n));
	ck_assert(!slice_u64(SLICE(""), UINT64_MAX, &n));
	ck_assert(!slice_u64(SLICE("12a"), UINT64_MAX, &n));
	ck_assert_uint_eq(n, UINT64_MAX);
}
END_TEST

START_TEST(cutting_at_a_missing_byte_leaves_the_tail_empty)
{
	struct slice head, tail;

	ck_assert(slice_cut(SLICE("a@b@c"), '@', &head, &tail));
	ck_assert_slice_eq(head, SLICE("a"));
	ck_assert_slice_eq(tail, SLICE("b@c"));
	ck_assert(!slice_cut(SLICE("abc"), '@', &head, &tail));
	ck_assert_slice_eq(head, SLICE("abc"));
	ck_assert_uint_eq(tail.len, 0);
}
END_TEST

START_TEST(case_is_folded_for_ascii_only)
{
	ck_assert(slice_eq_nocase(SLICE("InBoX"), SLICE("INBOX")));
	ck_assert(!slice_eq_nocase(SLICE("\xc4"), SLICE("\xe4")));
	ck_assert(slice_cmp(SLICE("ab"), SLICE("abc")) < 0);
}
END_TEST

TEST_MAIN("base/slice", a_number_is_refused_above_its_maximum_and_taken_at_it,
	  cutting_at_a_missing_byte_leaves_the_tail_empty, case_is_folded_for_ascii_only)
