#include "mail/imap/seqset.h"

#include "base/test.h"
#include "mail/imap/limits.h"

static const struct {
	const char *name, *text;
	uint32_t star;
	enum seqset_result want;
	size_t bad_at;
	const char *normal;
} cases[] = {
	{ "the example of RFC 9051 §9", "2,4:7,9,12:*", 15, SEQSET_OK, 0, "2,4:7,9,12:15" },
	{ "a huge range stays one range", "1:4294967295", 3, SEQSET_OK, 0, "1:4294967295" },
	{ "* in an empty mailbox", "1:*", 0, SEQSET_BAD_SYNTAX, 2, NULL },
	{ "zero is not a number", "7,0", 9, SEQSET_BAD_SYNTAX, 2, NULL },
	{ "leading zero", "07", 9, SEQSET_BAD_SYNTAX, 0, NULL },
	{ "above 32 bits", "4294967296", 9, SEQSET_BAD_SYNTAX, 0, NULL },
	{ "reversed range, RFC 9051 §9", "4:2", 9, SEQSET_OK, 0, "2:4" },
	{ "* below the other end", "5:*", 3, SEQSET_OK, 0, "3:5" },
	{ "overlaps and neighbours join", "5,1:3,4,2:6", 9, SEQSET_OK, 0, "1:6" },
	{ "empty", "", 9, SEQSET_BAD_SYNTAX, 0, NULL },
	{ "comma at the end", "1,", 9, SEQSET_BAD_SYNTAX, 2, NULL },
	{ "two colons", "1:2:3", 9, SEQSET_BAD_SYNTAX, 3, NULL },
	{ "the last number joins nothing above", "4294967295,4294967294:4294967295", 9, SEQSET_OK, 0,
	  "4294967294:4294967295" },
};

START_TEST(sets_are_read_as_the_grammar_says_and_kept_as_ranges)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(65536);
		AUTO_BUF struct buf out = BUF_INIT(1000);
		struct seqset_writer w = { .out = &out };
		struct seqset set;
		size_t bad_at = 99;

		ck_assert_msg(seqset_parse(&arena, slice_str(cases[i].text), cases[i].star, &set,
					   &bad_at) == cases[i].want, "%s", cases[i].name);
		if (cases[i].want != SEQSET_OK) {
			ck_assert_msg(bad_at == cases[i].bad_at, "%s: %zu", cases[i].name, bad_at);
			continue;
		}
		for (size_t k = 0; k < set.count; k++)
			seqset_writer_add_range(&w, set.ranges[k].first, set.ranges[k].last);
		seqset_writer_end(&w);
		ck_assert_slice_eq(buf_slice(&out), slice_str(cases[i].normal));
	}
}
END_TEST

START_TEST(membership_is_right_at_the_edges)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	struct seqset set;
	size_t bad_at;

	ck_assert(seqset_parse(&arena, SLICE("3:5,9"), 1, &set, &bad_at) == SEQSET_OK);
	ck_assert(!seqset_has(&set, 2) && seqset_has(&set, 3) && seqset_has(&set, 5));
	ck_assert(!seqset_has(&set, 6) && seqset_has(&set, 9) && !seqset_has(&set, 10));
	ck_assert_uint_eq(seqset_last(&set), 9);
}
END_TEST

START_TEST(one_range_more_than_the_limit_is_too_big)
{
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct seqset set;
	size_t bad_at;

	for (unsigned i = 0; i < IMAP_SEQSET_RANGES_MAX; i++)
		buf_printf(&text, "%s%u", i > 0 ? "," : "", 2 * i + 1);
	ck_assert(seqset_parse(&arena, buf_slice(&text), 1, &set, &bad_at) == SEQSET_OK);
	ck_assert_uint_eq(set.count, IMAP_SEQSET_RANGES_MAX);
	buf_adds(&text, ",999999");
	ck_assert(seqset_parse(&arena, buf_slice(&text), 1, &set, &bad_at) == SEQSET_TOO_BIG);
}
END_TEST

START_TEST(the_saved_result_is_a_set_of_its_own)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	struct seqset set;
	size_t bad_at;

	ck_assert(seqset_parse(&arena, SLICE("$"), 0, &set, &bad_at) == SEQSET_OK && set.saved);
	ck_assert(seqset_parse(&arena, SLICE("$,1"), 5, &set, &bad_at) == SEQSET_BAD_SYNTAX);
}
END_TEST

TEST_MAIN("imap/seqset", sets_are_read_as_the_grammar_says_and_kept_as_ranges,
	  membership_is_right_at_the_edges, one_range_more_than_the_limit_is_too_big,
	  the_saved_result_is_a_set_of_its_own)
