#include "base/test.h"

#include <stdio.h>
#include <time.h>

#include "mail/message/limits.h"
#include "mail/message/sort.h"
#include "mail/message/thread.h"

static struct arena arena = ARENA_INIT((size_t)1 << 30);
static struct buf out = BUF_INIT(1 << 24);

#define REFS(...) (const struct slice[]){ __VA_ARGS__ }, sizeof((struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice)

static struct thread_item item(uint32_t n, const char *id, const struct slice *refs, size_t ref_count, const char *subject,
			       bool is_reply)
{
	return (struct thread_item){ .number = n, .order = n, .date_s = n, .msgid = slice_str(id), .refs = refs,
				     .ref_count = (uint32_t)ref_count, .subject = slice_str(subject), .is_reply = is_reply };
}

static void check(const struct thread_item *items, size_t count, const char *want)
{
	buf_reset(&out);
	arena_reset(&arena);
	ck_assert(thread_references(&arena, items, count, &out));
	ck_assert_slice_eq(buf_slice(&out), slice_str(want));
}

START_TEST(a_chain_is_one_list)
{
	struct thread_item items[] = {
		item(1, "a", NULL, 0, "", false), item(2, "b", REFS(SLICE("a")), "", false),
		item(3, "c", REFS(SLICE("a"), SLICE("b")), "", false),
	};
	check(items, 3, "(1 2 3)");
}
END_TEST

START_TEST(branches_get_parentheses)
{
	struct thread_item items[] = {
		item(1, "a", NULL, 0, "", false), item(2, "b", REFS(SLICE("a")), "", false),
		item(3, "c", REFS(SLICE("a")), "", false), item(4, "d", REFS(SLICE("a"), SLICE("c")), "", false),
		item(5, "e", NULL, 0, "", false),
	};
	check(items, 5, "(1 (2)(3 4))(5)");
}
END_TEST

START_TEST(brothers_of_a_missing_parent_stay_together)
{
	struct thread_item items[] = {
		item(1, "a", REFS(SLICE("x")), "", false), item(2, "b", REFS(SLICE("x"), SLICE("y")), "", false),
		item(3, "c", REFS(SLICE("z")), "", false),
	};
	check(items, 3, "((1)(2))(3)");
}
END_TEST

START_TEST(threads_of_one_subject_are_joined)
{
	struct thread_item items[] = {
		item(1, "a", NULL, 0, "S", false), item(2, "b", NULL, 0, "S", true), item(3, "c", NULL, 0, "T", false),
		item(4, "d", NULL, 0, "T", false), item(5, "e", NULL, 0, "", false), item(6, "f", NULL, 0, "", false),
	};
	check(items, 6, "(1 2)((3)(4))(5)(6)");
}
END_TEST

START_TEST(loops_and_doubles_lose_no_message)
{
	struct thread_item items[] = {
		item(1, "a", REFS(SLICE("b"), SLICE("a")), "", false), item(2, "b", REFS(SLICE("a")), "", false),
		item(3, "b", REFS(SLICE("b")), "", false), item(4, "", REFS(SLICE("a")), "", false),
	};
	check(items, 4, "(1 (2 3)(4))");
}
END_TEST

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A deep chain, then messages that ask again and again whether one end is above the other. */
START_TEST(hostile_references_take_bounded_time)
{
	enum { COUNT = 40000 };
	struct thread_item *items = arena_array(&arena, COUNT, sizeof(*items));
	struct slice *ids = arena_array(&arena, COUNT, sizeof(*ids));
	struct slice *refs = arena_array(&arena, COUNT * 2, sizeof(*refs));

	ck_assert(items != NULL && ids != NULL && refs != NULL);
	for (uint32_t i = 0; i < COUNT; i++) {
		char text[16];
		ids[i] = arena_dup(&arena, slice_of(text, (size_t)snprintf(text, sizeof(text), "%u", i)));
		items[i] = item(i + 1, "", NULL, 0, "", false);
		items[i].msgid = ids[i];
		items[i].refs = &refs[(size_t)i * 2];
		items[i].ref_count = i == 0 ? 0 : 1;
		refs[(size_t)i * 2] = i == 0 ? ids[0] : ids[i - 1];
		if (i >= COUNT / 2) {
			/* deep end -> a node that has children already */
			refs[(size_t)i * 2] = ids[COUNT / 2 - 1];
			refs[(size_t)i * 2 + 1] = ids[i - COUNT / 2];
			items[i].ref_count = 2;
		}
	}
	double start = seconds();
	buf_reset(&out);
	ck_assert(thread_references(&arena, items, COUNT, &out));
	ck_assert_msg(seconds() - start < 5, "%.1f s", seconds() - start);
}
END_TEST

START_TEST(ordered_subject_has_two_levels)
{
	struct thread_item items[] = {
		item(1, "", NULL, 0, "A", false), item(2, "", NULL, 0, "B", false), item(3, "", NULL, 0, "A", true),
		item(4, "", NULL, 0, "A", true), item(5, "", NULL, 0, "B", true), item(6, "", NULL, 0, "", false),
	};

	buf_reset(&out);
	ck_assert(thread_orderedsubject(&arena, items, 6, &out));
	ck_assert_slice_eq(buf_slice(&out), SLICE("(1 (3)(4))(2 5)(6)"));
}
END_TEST

START_TEST(sorting_breaks_ties_by_number_and_reverses_one_key)
{
	const uint8_t by_size[] = { SORT_SIZE, SORT_END }, down[] = { SORT_SIZE | SORT_REVERSE, SORT_ARRIVAL, SORT_END };
	struct sort_item items[] = {
		{ .number = 1, .size = 5, .arrival_s = 2 }, { .number = 2, .size = 3 }, { .number = 3, .size = 5, .arrival_s = 1 },
	};

	sort_items(items, 3, by_size);
	ck_assert_uint_eq(items[0].number * 100 + items[1].number * 10 + items[2].number, 213);
	sort_items(items, 3, down);
	ck_assert_uint_eq(items[0].number * 100 + items[1].number * 10 + items[2].number, 312);
}
END_TEST

TEST_MAIN_SLOW(60, "message/thread", a_chain_is_one_list, branches_get_parentheses, brothers_of_a_missing_parent_stay_together,
	       threads_of_one_subject_are_joined, loops_and_doubles_lose_no_message, hostile_references_take_bounded_time,
	       ordered_subject_has_two_levels, sorting_breaks_ties_by_number_and_reverses_one_key)
