#include "base/date.h"
#include "base/test.h"

#include <time.h>

START_TEST(known_moments_are_written_as_the_standards_show)
{
	AUTO_BUF struct buf out = BUF_INIT(200);

	date_rfc3339(&out, 1795424400);
	buf_addc(&out, ' ');
	date_rfc5322(&out, 1795424400);
	ck_assert_slice_eq(buf_slice(&out),
			   SLICE("2026-11-23T09:00:00Z Mon, 23 Nov 2026 09:00:00 +0000"));
	buf_reset(&out);
	date_rfc3339_ms(&out, -1);
	ck_assert_slice_eq(buf_slice(&out), SLICE("1969-12-31T23:59:59.999Z"));
}
END_TEST

START_TEST(years_that_need_more_than_four_digits_are_clipped)
{
	AUTO_BUF struct buf out = BUF_INIT(200);

	date_rfc3339(&out, INT64_MAX);
	buf_addc(&out, ' ');
	date_rfc3339(&out, INT64_MIN);
	buf_addc(&out, ' ');
	date_rfc3339(&out, 253402300800);
	ck_assert_slice_eq(buf_slice(&out),
			   SLICE("9999-12-31T23:59:59Z 0000-01-01T00:00:00Z 9999-12-31T23:59:59Z"));
}
END_TEST

START_TEST(every_day_of_eight_centuries_agrees_with_the_c_library)
{
	for (int64_t s = -INT64_C(12600) * 1000000; s < INT64_C(12600) * 1000000; s += 86400 - 7) {
		time_t t = s;
		struct tm tm;
		struct date d = date_from_unix(s);

		gmtime_r(&t, &tm);
		if (d.year != tm.tm_year + 1900 || d.month != tm.tm_mon + 1 ||
		    d.day != tm.tm_mday || d.hour != tm.tm_hour || d.minute != tm.tm_min ||
		    d.second != tm.tm_sec || d.weekday != tm.tm_wday || !date_valid(&d) ||
		    date_to_unix(&d) != s)
			ck_abort_msg("%lld", (long long)s);
	}
}
END_TEST

START_TEST(the_leap_day_exists_in_leap_years_only)
{
	ck_assert(date_valid(&(struct date){ .year = 2000, .month = 2, .day = 29 }));
	ck_assert(date_valid(&(struct date){ .year = 2024, .month = 2, .day = 29 }));
	ck_assert(!date_valid(&(struct date){ .year = 1900, .month = 2, .day = 29 }));
	ck_assert(!date_valid(&(struct date){ .year = 2026, .month = 2, .day = 29 }));
	ck_assert(!date_valid(&(struct date){ .year = 2026, .month = 4, .day = 31 }));
	ck_assert(!date_valid(&(struct date){ .year = 2026, .month = 13, .day = 1 }));
	ck_assert(!date_valid(&(struct date){ .year = 2026, .month = 0, .day = 1 }));
	ck_assert(date_valid(&(struct date){ 2026, 12, 31, 23, 59, 60, 0 }));
	ck_assert(!date_valid(&(struct date){ 2026, 12, 31, 24, 0, 0, 0 }));
}
END_TEST

TEST_MAIN("base/date", known_moments_are_written_as_the_standards_show,
	  years_that_need_more_than_four_digits_are_clipped,
	  every_day_of_eight_centuries_agrees_with_the_c_library,
	  the_leap_day_exists_in_leap_years_only)
