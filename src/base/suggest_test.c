#include "base/suggest.h"
#include "base/test.h"

static const struct {
	const char *a, *b;
	unsigned distance;
} cases[] = {
	{ "", "", 0 }, { "", "abc", 3 }, { "abc", "", 3 }, { "same", "SAME", 0 }, { "chekc", "check", 1 },
	{ "cofig", "config", 1 }, { "configg", "config", 1 }, { "canfig", "config", 1 }, { "kitten", "sitting", 3 },
	{ "ca", "abc", 3 },
};

START_TEST(the_distance_counts_typing_errors_both_ways)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice a = slice_str(cases[i].a), b = slice_str(cases[i].b);
		ck_assert_msg(suggest_distance(a, b) == cases[i].distance, "%s %s: %u", cases[i].a, cases[i].b,
			      suggest_distance(a, b));
		ck_assert_uint_eq(suggest_distance(b, a), cases[i].distance);
	}
}
END_TEST

START_TEST(words_above_the_limit_are_not_compared)
{
	char word[SUGGEST_BYTES_MAX + 1];

	memset(word, 'a', sizeof(word));
	ck_assert_uint_eq(suggest_distance(slice_of(word, SUGGEST_BYTES_MAX), slice_of(word, SUGGEST_BYTES_MAX)), 0);
	ck_assert_uint_eq(suggest_distance(slice_of(word, SUGGEST_BYTES_MAX + 1), SLICE("a")), SUGGEST_BYTES_MAX);
}
END_TEST

START_TEST(another_word_is_no_suggestion)
{
	struct suggestion s = { .word = SLICE("chekc") };

	suggest_try(&s, "show");
	ck_assert_ptr_null(s.best);
	suggest_try(&s, "chuck");
	suggest_try(&s, "check");
	suggest_try(&s, "chucks");
	ck_assert_str_eq(s.best, "check");
}
END_TEST

TEST_MAIN("base/suggest", the_distance_counts_typing_errors_both_ways, words_above_the_limit_are_not_compared,
	  another_word_is_no_suggestion)
