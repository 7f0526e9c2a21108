/* Test cases of extensions: frames from words, and the lines around them. */
#include "base/test.h"

#include <errno.h>

#include "base/hex.h"
#include "spine/cases.h"
#include "spine/frame.h"

/* Bytes as other programs make them: their sums were made by other code. */
static const struct {
	const char *text, *hex;
} frames[] = {
	{ "udp 10.0.0.1:1000 > 10.0.0.2:53 \"data\"",
	  "020000000002020000000001" "0800" "45000020000040004011" "26cb" "0a0000010a000002" "03e80035000c" "0ef4" "64617461" },
	{ "icmp 10.0.0.1 > 10.0.0.2",
	  "020000000002020000000001" "0800" "4500001c000040004001" "26df" "0a0000010a000002" "0800f7ff00000000" },
	{ "eth 02:00:00:00:00:0a > ff:ff:ff:ff:ff:ff type 0x88b5 x0102 \"\\x03\\n\" bytes 2",
	  "ffffffffffff02000000000a" "88b5" "0102" "030a" "0001" },
	{ "vlan 7 tcp [::1]:1 > [::2]:2 flags SA seq 1 ack 2",
	  "020000000002020000000001" "8100" "0007" "86dd" "6000000000140640"
	  "00000000000000000000000000000001" "00000000000000000000000000000002"
	  "0001000200000001000000025012ffffafca0000" },
	{ "hex 0200 00000002 020000000001 0800", "0200000000020200000000010800" },
};

START_TEST(words_become_frames)
{
	AUTO_BUF struct buf out = BUF_INIT(FRAME_BYTES_MAX), hex = BUF_INIT(20000);
	struct errmsg why = { 0 };

	int err = frame_parse(&out, slice_str(frames[_i].text), &why);
	ck_assert_msg(err == 0, "%s: %s", frames[_i].text, why.text);
	hex_encode(&hex, buf_slice(&out));
	ck_assert_str_eq(buf_cstr(&hex), frames[_i].hex);
}
END_TEST

static const struct {
	const char *text, *want;
} wrong[] = {
	{ "", "a frame is missing" },
	{ "udp 10.0.0.1 > 10.0.0.2", "addresses here have ports" },
	{ "icmp 10.0.0.1:1 > 10.0.0.2:1", "addresses here have no ports" },
	{ "udp 10.0.0.1:70000 > 10.0.0.2:1", "a port is a number" },
	{ "udp 10.0.0.1:1 > [::1]:1", "different families" },
	{ "udp 10.0.0.1:1 10.0.0.2:1", "'>' is expected" },
	{ "udp 10.0.0.1:1 > 10.0.0.2:1 \"x", "the quotes do not end" },
	{ "udp 10.0.0.1:1 > 10.0.0.2:1 xabc", "even number" },
	{ "udp 10.0.0.1:1 > 10.0.0.2:1 banana", "means nothing here" },
	{ "udp 10.0.0.1:1 > 10.0.0.2:1 tcp 10.0.0.1:1 > 10.0.0.2:1", "one packet" },
	{ "udp 10.0.0.1:1 > 10.0.0.2:1 bytes 8986", "9000 bytes, this one has more" },
	{ "eth 02:00:00:00:00 > 02:00:00:00:00:01", "an Ethernet address is like" },
	{ "vlan 1 vlan 2 vlan 3", "more than two VLAN tags" },
	{ "tcp 1.1.1.1:1 > 1.1.1.1:1 flags Z", "FSRPAUEC" },
	{ "hex 0102", "this one has fewer" },
};

START_TEST(a_wrong_word_is_named)
{
	AUTO_BUF struct buf out = BUF_INIT(FRAME_BYTES_MAX);
	struct errmsg why = { 0 };

	ck_assert_int_eq(frame_parse(&out, slice_str(wrong[_i].text), &why), -EINVAL);
	ck_assert_msg(strstr(why.text, wrong[_i].want) != NULL, "%s: %s", wrong[_i].text, why.text);
	ck_assert_uint_eq(out.len, 0);
}
END_TEST

START_TEST(a_frame_may_be_as_long_as_it_may)
{
	AUTO_BUF struct buf out = BUF_INIT(FRAME_BYTES_MAX);

	ck_assert_int_eq(frame_parse(&out, SLICE("udp 1.1.1.1:1 > 1.1.1.1:1 bytes 8958"), NULL), 0);
	ck_assert_uint_eq(out.len, 9000);
	buf_reset(&out);
	ck_assert_int_eq(frame_parse(&out, SLICE("udp 1.1.1.1:1 > 1.1.1.1:1 bytes 8959"), NULL), -EINVAL);
}
END_TEST

START_TEST(lines_become_actions_in_their_order)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf errors = BUF_INIT(10000);
	const struct test_case *c = NULL;
	int err = cases_parse(&arena, SLICE("# comment\ncase one thing\n port lo\n map m 0 5\n in udp 1.1.1.1:1 > 1.1.1.1:2\n"
					    " repeat 3\n verdict tx\n out same\n expect m 0 8\ncase another\n"
					    "in udp 1.1.1.1:1 > 1.1.1.1:2\n"), "c", &c, &errors);

	ck_assert_msg(err == 0, "%s", buf_cstr(&errors));
	ck_assert_str_eq(c->name, "one thing");
	const struct case_action *a = c->actions;
	ck_assert_int_eq(a->kind, CASE_PORT);
	a = a->next;
	ck_assert_int_eq(a->kind, CASE_MAP);
	ck_assert_str_eq(a->value, "5");
	a = a->next;
	ck_assert_int_eq(a->kind, CASE_PACKET);
	ck_assert_uint_eq(a->repeat, 3);
	ck_assert_int_eq(a->verdict, 3);
	ck_assert_int_eq(a->out_kind, CASE_OUT_SAME);
	a = a->next;
	ck_assert_int_eq(a->kind, CASE_EXPECT);
	ck_assert_ptr_null(a->next);
	ck_assert_str_eq(c->next->name, "another");
	ck_assert_int_eq(c->next->actions->verdict, -1);
	ck_assert_ptr_null(c->next->next);
}
END_TEST

START_TEST(mistakes_come_all_at_once_with_their_lines)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf errors = BUF_INIT(10000);
	const struct test_case *c = NULL;

	ck_assert_int_eq(cases_parse(&arena, SLICE("in udp 1.1.1.1:1 > 1.1.1.1:2\ncase\nverdict pas\nvedict pass\nrepeat 0\n"
						   "map m 0\nport\nout hex 00\n"), "c", &c, &errors), -EINVAL);
	static const char *const want[] = { "c:1: a case begins", "c:2: a case needs", "c:3: a verdict is",
					    "c:4: there is no line 'vedict'; did you mean 'verdict'?", "c:5: 'repeat'",
					    "c:6: 'map' takes", "c:7: 'port' takes", "c:8: a frame has" };
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		ck_assert_msg(strstr(buf_cstr(&errors), want[i]) != NULL, "%s in %s", want[i], buf_cstr(&errors));
	ck_assert_int_eq(cases_parse(&arena, SLICE("# nothing\n"), "c", &c, &errors), -EINVAL);
}
END_TEST

START_TEST(values_fit_or_are_refused)
{
	uint8_t v[12];

	ck_assert(case_value("258", v, 4) && memcmp(v, "\2\1\0\0", 4) == 0);
	ck_assert(case_value("-1", v, 12) && v[0] == 0xff && v[11] == 0xff);
	ck_assert(case_value("0x1ff", v, 2) && !case_value("0x1ff", v, 1));
	ck_assert(case_value("xc0ffee", v, 3) && v[0] == 0xc0 && !case_value("xc0ffee", v, 4));
	ck_assert(!case_value("", v, 4) && !case_value("x", v, 0) && !case_value("1k", v, 4) && !case_value("0xg", v, 4));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spine/cases");
	TCase *tcase = tcase_create("spine/cases");

	tcase_add_loop_test(tcase, words_become_frames, 0, (int)ARRAY_LEN(frames));
	tcase_add_loop_test(tcase, a_wrong_word_is_named, 0, (int)ARRAY_LEN(wrong));
	tcase_add_test(tcase, a_frame_may_be_as_long_as_it_may);
	tcase_add_test(tcase, lines_become_actions_in_their_order);
	tcase_add_test(tcase, mistakes_come_all_at_once_with_their_lines);
	tcase_add_test(tcase, values_fit_or_are_refused);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
