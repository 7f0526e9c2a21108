#include "base/metrics.h"
#include "base/test.h"

static const char *const verdicts[] = { "accepted", "refused" };
static const double seconds[] = { 0.001, 0.1 };

METRIC_COUNTER_BY(messages, "test_messages", "Messages", "verdict", verdicts);
METRIC_GAUGE(sessions, "test_sessions", "Sessions now");
METRIC_HISTOGRAM(wait, "test_wait_seconds", "Waiting", seconds, 1e-6);

START_TEST(the_text_has_each_family_once_with_a_series_for_each_source)
{
	AUTO_BUF struct buf snapshot = BUF_INIT(10000);
	AUTO_BUF struct buf text = BUF_INIT(10000);

	metric_add(&messages, 1, 3);
	metric_add(&messages, 2, 9);		/* no such value: ignored */
	metric_set(&sessions, 0, 5);
	metric_sub(&sessions, 0, 1);
	metric_observe(&wait, 1000);
	metric_observe(&wait, 1001);
	metric_observe(&wait, 2000000);
	metrics_snapshot(&snapshot);
	struct metrics_source sources[] = {
		{ SLICE("role=\"mx\""), buf_slice(&snapshot), NULL },
		{ SLICE("role=\"bad\""), slice_head(buf_slice(&snapshot), snapshot.len - 1), NULL },
		{ SLICE(""), buf_slice(&snapshot), NULL },
	};
	ck_assert_uint_eq(metrics_text(&text, sources, 3), 1);
	const char *got = buf_cstr(&text);
	ck_assert_ptr_nonnull(strstr(got, "# TYPE test_messages counter\n# HELP test_messages Messages\n"
					  "test_messages_total{role=\"mx\",verdict=\"accepted\"} 0\n"
					  "test_messages_total{role=\"mx\",verdict=\"refused\"} 3\n"
					  "test_messages_total{verdict=\"accepted\"} 0\n"
					  "test_messages_total{verdict=\"refused\"} 3\n"));
	ck_assert_ptr_nonnull(strstr(got, "test_sessions{role=\"mx\"} 4\ntest_sessions 4\n"));
	ck_assert_ptr_nonnull(strstr(got, "test_wait_seconds_bucket{role=\"mx\",le=\"0.001\"} 1\n"
					  "test_wait_seconds_bucket{role=\"mx\",le=\"0.1\"} 2\n"
					  "test_wait_seconds_bucket{role=\"mx\",le=\"+Inf\"} 3\n"
					  "test_wait_seconds_sum{role=\"mx\"} 2.002001\n"
					  "test_wait_seconds_count{role=\"mx\"} 3\n"));
	ck_assert(slice_ends(buf_slice(&text), SLICE("# EOF\n")));
	ck_assert_ptr_null(strstr(got, "role=\"bad\""));
}
END_TEST

START_TEST(a_snapshot_of_another_program_is_left_out)
{
	AUTO_BUF struct buf snapshot = BUF_INIT(10000);
	AUTO_BUF struct buf text = BUF_INIT(10000);

	metrics_snapshot(&snapshot);
	snapshot.ptr[0] ^= 1;
	struct metrics_source source = { SLICE(""), buf_slice(&snapshot), NULL };
	ck_assert_uint_eq(metrics_text(&text, &source, 1), 1);
	source.snapshot = SLICE("");
	ck_assert_uint_eq(metrics_text(&text, &source, 1), 1);
}
END_TEST

START_TEST(a_source_shows_its_groups_alone_and_always_its_process)
{
	AUTO_BUF struct buf snapshot = BUF_INIT(10000);
	AUTO_BUF struct buf text = BUF_INIT(10000);

	metrics_snapshot(&snapshot);
	struct metrics_source sources[] = {
		{ SLICE("role=\"a\""), buf_slice(&snapshot), (const char *const[]){ "other", "test", NULL } },
		{ SLICE("role=\"b\""), buf_slice(&snapshot), (const char *const[]){ "tes", "tests", NULL } },
	};
	ck_assert_uint_eq(metrics_text(&text, sources, 2), 0);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&text), "test_sessions{role=\"a\"}"));
	ck_assert_ptr_null(strstr(buf_cstr(&text), "test_sessions{role=\"b\"}"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&text), "\nprickle_process_cpu_seconds_total{role=\"b\"} "));
	buf_reset(&text);
	ck_assert_uint_eq(metrics_text(&text, sources + 1, 1), 0);
	ck_assert_ptr_null(strstr(buf_cstr(&text), "# TYPE test_sessions"));
}
END_TEST

TEST_MAIN("base/metrics", a_source_shows_its_groups_alone_and_always_its_process,
	  the_text_has_each_family_once_with_a_series_for_each_source,
	  a_snapshot_of_another_program_is_left_out)
