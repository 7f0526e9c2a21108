/*
 * What every unit test includes: Check, with its results as TAP on standard output.
 *
 *	START_TEST(a_huge_range_stays_one_range) { ck_assert(...); } END_TEST
 *	TEST_MAIN("imap/seqset", a_huge_range_stays_one_range, zero_is_not_a_number)
 *
 * Each test runs in a process of its own. Tests that need longer than Check's 4 s:
 * TEST_MAIN_SLOW(seconds, name, tests...).
 */
#pragma once
#include <check.h>
#include <stdlib.h>

#include "base/slice.h"

/* Built with a sanitizer: its run-time needs more of the system than our sandboxes leave. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif
/* With the thread sanitizer thousands of fibers are made slower than they end. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define TEST_THREAD_SANITIZED 1
#endif
#endif
#ifndef TEST_THREAD_SANITIZED
#define TEST_THREAD_SANITIZED 0
#endif

#define TEST_MAIN_SLOW(seconds, suite_name, ...)                                                   \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = { __VA_ARGS__ };                                      \
		Suite *suite = suite_create(suite_name);                                           \
		TCase *tcase = tcase_create(suite_name);                                           \
		tcase_set_timeout(tcase, seconds);                                                 \
		for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)                      \
			tcase_add_test(tcase, tests[i]);                                           \
		suite_add_tcase(suite, tcase);                                                     \
		SRunner *runner = srunner_create(suite);                                           \
		srunner_set_tap(runner, "/dev/stdout");                                            \
		srunner_run_all(runner, CK_SILENT);                                                \
		int failed = srunner_ntests_failed(runner);                                        \
		srunner_free(runner);                                                              \
		return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;                                  \
	}
#define TEST_MAIN(suite_name, ...) TEST_MAIN_SLOW(20, suite_name, __VA_ARGS__)

/* Slices compare by content and print on failure. */
#define ck_assert_slice_eq(got, want)                                                              \
	do {                                                                                       \
		struct slice got_ = (got), want_ = (want);                                         \
		ck_assert_msg(slice_eq(got_, want_), "got '%.*s' (%zu), want '%.*s' (%zu)",        \
			      SLICE_FMT(got_), got_.len, SLICE_FMT(want_), want_.len);             \
	} while (0)
