#include "dvm/classfile/print.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "base/test.h"

static struct slice load(struct arena *arena, const char *name)
{
	char path[512];
	static uint8_t bytes[65536];

	(void)snprintf(path, sizeof(path), "%s/%s.class", TEST_CLASSES, name);
	FILE *file = fopen(path, "rbe");
	ck_assert_msg(file != NULL, "%s", path);
	size_t n = fread(bytes, 1, sizeof(bytes), file);
	(void)fclose(file);
	return arena_dup(arena, slice_of(bytes, n));
}

static bool print(struct arena *arena, struct slice bytes, unsigned flags, struct buf *out)
{
	struct class_file c;

	if (!class_parse(arena, bytes, &c, NULL))
		return false;
	class_print(arena, out, &c, flags);
	return true;
}

START_TEST(text_shows_what_a_class_has)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 24);
	AUTO_BUF struct buf out = BUF_INIT(1 << 20);
	static const char *const want[] = {
		"\nclass: Shapes\n",
		"\nversion: 61.0\nflags: 0x0421 public super abstract\nsuper: java/lang/Object\n",
		"\ninterfaces:\n  java/util/concurrent/Callable\n",
		"(name name, value \"outer \\\"quoted\\\"\\t\xc3\xa9\xf0\x9f\x98\x80\")",
		"(name inner, value (type LShapes$Note;, values ((name value, value (\"a\", \"b\")))))",
		"\n  FLOAT F\n    flags: 0x0018 static final\n    ConstantValue: NaN\n",
		"ConstantValue: -Infinity\n",
		"ConstantValue: 1099511627776\n",
		"ConstantValue: text\\u0000\xe2\x82\xac\n",
		"\n  call(I)V\n    flags: 0x0124 protected synchronized native\n",
		"        8: wide iinc 6 1000\n",
		": multianewarray #",
		": newarray byte\n",
		"-70000: ",
		"default: ",
		", type java/lang/IllegalStateException\n",
		", type any\n",
		"pc 42, frame append, locals (double, int)\n",
		"target exception_parameter, target_info 00",
		"pc 0, line 13\n",
		"index 1, method invokeStatic java/lang/invoke/LambdaMetafactory.metafactory:",
		"inner Shapes$Mark, outer Shapes, name Mark, flags 0x2608 static interface abstract annotation\n",
		"name SourceID, bytes 2\n",
		"InvokeDynamic      0:#",
		"Long               1099511627776\n",
	};

	buf_addc(&out, '\n');
	ck_assert(print(&arena, load(&arena, "Shapes"), CLASS_PRINT_CODE | CLASS_PRINT_CONSTANTS, &out));
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		ck_assert_msg(slice_find(buf_slice(&out), slice_str(want[i])) != SLICE_NPOS, "there is no %s", want[i]);
	buf_reset(&out);
	ck_assert(print(&arena, load(&arena, "Shapes"), 0, &out));
	ck_assert(slice_find(buf_slice(&out), SLICE("aload")) == SLICE_NPOS);
	ck_assert(slice_find(buf_slice(&out), SLICE("Utf8")) == SLICE_NPOS);
	buf_reset(&out);
	ck_assert(print(&arena, load(&arena, "module-info"), 0, &out));
	ck_assert(slice_find(buf_slice(&out), SLICE("    package shapes/inner, flags 0x0000, to (java.logging, java.xml)\n")) != SLICE_NPOS);
	ck_assert(slice_find(buf_slice(&out), SLICE("    module java.xml, flags 0x0040 static, version ")) != SLICE_NPOS);
}
END_TEST

START_TEST(json_is_json_whatever_byte_is_changed)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 24);
	AUTO_BUF struct buf out = BUF_INIT(1 << 24);
	struct slice good = load(&arena, "Shapes$Circle");
	uint8_t *bytes = malloc(good.len);
	unsigned printed = 0;

	memcpy(bytes, good.ptr, good.len);
	for (size_t i = 0; i < good.len; i++) {
		static const uint8_t flips[] = { 0x01, 0xff };

		for (size_t k = 0; k < ARRAY_LEN(flips); k++) {
			AUTO_ARENA struct arena own = ARENA_INIT(1 << 22);
			json_error_t error;

			bytes[i] ^= flips[k];
			buf_reset(&out);
			if (print(&own, slice_of(bytes, good.len), CLASS_PRINT_JSON | CLASS_PRINT_CODE | CLASS_PRINT_CONSTANTS, &out)) {
				json_t *value = json_loadb((const char *)out.ptr, out.len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
				ck_assert_msg(value != NULL, "byte %zu ^ %02x: %s", i, flips[k], error.text);
				json_decref(value);
				printed++;
			}
			bytes[i] ^= flips[k];
		}
	}
	ck_assert_uint_gt(printed, 500);
	free(bytes);
}
END_TEST

static const struct {
	const char *name;
	struct slice text;
	const char *want;
} names[] = {
	{ "plain text", SLICE_INIT("java/lang/Object"), "java/lang/Object" },
	{ "an escape sequence of a terminal", SLICE_INIT("a\x1b[2Jb"), "a\\u001b[2Jb" },
	{ "C1 controls, which some terminals obey", SLICE_INIT("\xc2\x9b" "31m"), "\\u009b31m" },
	{ "text that runs backwards", SLICE_INIT("a\xe2\x80\xae" "b"), "a\\u202eb" },
	{ "a NUL as Java writes it", SLICE_INIT("\xc0\x80"), "\\u0000" },
	{ "quotes and backslashes", SLICE_INIT("\"\\\n\t"), "\\\"\\\\\\n\\t" },
	{ "a pair of surrogates", SLICE_INIT("\xed\xa0\xbd\xed\xb8\x80"), "\xf0\x9f\x98\x80" },
	{ "half a pair", SLICE_INIT("\xed\xa0\xbdx"), "\\\\ud83dx" },
	{ "the other half", SLICE_INIT("\xed\xb8\x80"), "\\\\ude00" },
	{ "a letter cut short", SLICE_INIT("a\xe2\x82"), "a\\ufffd\\ufffd" },
	{ "UTF-8 of four bytes, which is none here", SLICE_INIT("\xf0\x9f\x98\x80"), "\\ufffd\\ufffd\\ufffd\\ufffd" },
};

START_TEST(names_are_shown_without_effect)
{
	AUTO_BUF struct buf out = BUF_INIT(4096);

	class_print_escaped(&out, names[_i].text);
	ck_assert_msg(slice_eq(buf_slice(&out), slice_str(names[_i].want)), "%s: %s", names[_i].name, buf_cstr(&out));
}
END_TEST

START_TEST(output_ends_at_its_bound)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 24);
	struct slice bytes = load(&arena, "Shapes");

	for (size_t max = 0; max < 40000; max += 97) {
		AUTO_BUF struct buf out = BUF_INIT(max);

		ck_assert(print(&arena, bytes, CLASS_PRINT_CODE | CLASS_PRINT_CONSTANTS | (max % 2 == 0 ? CLASS_PRINT_JSON : 0), &out));
		ck_assert_uint_le(out.len, max);
		ck_assert(out.err == -EMSGSIZE || max > 20000);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dvm/print");
	TCase *t = tcase_create("dvm/print");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, text_shows_what_a_class_has);
	tcase_add_test(t, json_is_json_whatever_byte_is_changed);
	tcase_add_loop_test(t, names_are_shown_without_effect, 0, (int)ARRAY_LEN(names));
	tcase_add_test(t, output_ends_at_its_bound);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
