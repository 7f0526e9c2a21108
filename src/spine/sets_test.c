/* Prefixes and files of them. */
#include "base/test.h"

#include <errno.h>

#include "spine/sets.h"

static const struct { const char *text, *want; } good[] = {
	{ "10.0.0.0/8", "10.0.0.0/8" }, { "192.0.2.1", "192.0.2.1/32" }, { "0.0.0.0/0", "0.0.0.0/0" },
	{ "fd00::/8", "fd00::/8" },	{ "::1", "::1/128" },		 { "::/0", "::/0" },
	{ "::ffff:10.0.0.0/104", "10.0.0.0/8" },
};
static const char *const bad[] = {
	"", "10.0.0.0/33", "10.0.0.1/8", "fd00::/129", "fd00::1/8", "10.0.0", "10.0.0.0/", "10.0.0.0/8/8", "ten", "10.0.0.0/-1",
	"1111:2222:3333:4444:5555:6666:7777:8888:9999",
};

START_TEST(prefixes_are_read_and_written)
{
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		AUTO_BUF struct buf text = BUF_INIT(128);
		struct set_prefix p;
		struct errmsg why;

		ck_assert_msg(set_prefix_parse(slice_str(good[i].text), &p, &why) == 0, "%s", why.text);
		set_prefix_text(&p, &text);
		ck_assert_slice_eq(buf_slice(&text), slice_str(good[i].want));
	}
}
END_TEST

START_TEST(what_is_no_prefix_is_refused_with_a_sentence)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct set_prefix p;
		struct errmsg why = { 0 };

		ck_assert_msg(set_prefix_parse(slice_str(bad[i]), &p, &why) == -EINVAL, "%s", bad[i]);
		ck_assert(why.text[0] != '\0');
	}
}
END_TEST

START_TEST(a_file_has_a_prefix_a_line_and_an_error_names_its_line)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct set_prefix *list;
	struct errmsg why;
	size_t count;

	ck_assert_int_eq(set_file_parse(&arena, SLICE("# head\n10.0.0.0/8 # ten\r\n\n fd00::/8\n::1"), &list, &count, &why), 0);
	ck_assert_uint_eq(count, 3);
	ck_assert_int_eq(set_file_parse(&arena, SLICE(""), &list, &count, &why), 0);
	ck_assert_uint_eq(count, 0);
	ck_assert_int_eq(set_file_parse(&arena, SLICE("::1\nten\n"), &list, &count, &why), -EINVAL);
	ck_assert(strstr(why.text, "line 2") != NULL);
}
END_TEST

START_TEST(a_set_has_a_most_of_prefixes)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(256u << 20);
	AUTO_BUF struct buf text = BUF_INIT(64u << 20);
	struct set_prefix *list;
	struct errmsg why;
	size_t count;

	for (size_t i = 0; i < SET_ENTRIES_MAX; i++)
		buf_adds(&text, "::1\n");
	ck_assert_int_eq(set_file_parse(&arena, buf_slice(&text), &list, &count, &why), 0);
	ck_assert_uint_eq(count, SET_ENTRIES_MAX);
	buf_adds(&text, "::2");
	ck_assert_int_eq(set_file_parse(&arena, buf_slice(&text), &list, &count, &why), -E2BIG);
}
END_TEST

TEST_MAIN("spine/sets", prefixes_are_read_and_written, what_is_no_prefix_is_refused_with_a_sentence,
	  a_file_has_a_prefix_a_line_and_an_error_names_its_line, a_set_has_a_most_of_prefixes)
