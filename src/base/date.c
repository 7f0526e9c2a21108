#include "base/date.h"

#define DAY_S		86400
#define YEAR_ABS_MAX	1000000000
#define YEAR_0_S	(-62167219200)	/* 0000-01-01T00:00:00Z */
#define YEAR_9999_S	253402300799	/* 9999-12-31T23:59:59Z */

const char date_months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
				  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
const char date_weekdays[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/*
 * Both ways count from 1 March, so that the leap day is the last of the year, and in eras of
 * 400 years = 146,097 days (the method of Howard Hinnant's "chrono-compatible low-level date
 * algorithms").
 */
static int64_t days_of(int64_t year, int month, int64_t day)
{
	year -= month <= 2;
	int64_t era = floor_div(year, 400), of_era = year - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

struct date date_from_unix(int64_t seconds)
{
	int64_t days = floor_div(seconds, DAY_S), rest = seconds - days * DAY_S;
	int64_t from_march = days + 719468;
	int64_t era = floor_div(from_march, 146097), day = from_march - era * 146097;
	int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	int64_t of_year = day - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * of_year + 2) / 153;

	return (struct date){
		.year = year + era * 400 + (month >= 10),
		.month = (int)(month < 10 ? month + 3 : month - 9),
		.day = (int)(of_year - (153 * month + 2) / 5 + 1),
		.hour = (int)(rest / 3600),
		.minute = (int)(rest / 60 % 60),
		.second = (int)(rest % 60),
		.weekday = (int)(days + 4 - floor_div(days + 4, 7) * 7),
	};
}

int64_t date_to_unix(const struct date *d)
{
	int64_t year = MAX(MIN(d->year, YEAR_ABS_MAX), -YEAR_ABS_MAX);

	return days_of(year, d->month, d->day) * DAY_S + d->hour * INT64_C(3600) +
	       d->minute * INT64_C(60) + d->second;
}

int date_month_days(int64_t year, int month)
{
	static const int8_t days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

bool date_valid(const struct date *d)
{
	return d->month >= 1 && d->month <= 12 && d->day >= 1 &&
	       d->day <= date_month_days(d->year, d->month) && d->hour >= 0 && d->hour <= 23 &&
	       d->minute >= 0 && d->minute <= 59 && d->second >= 0 && d->second <= 60;
}

static struct date four_digit_year(int64_t seconds)
{
	return date_from_unix(MAX(MIN(seconds, YEAR_9999_S), YEAR_0_S));
}

void date_rfc3339(struct buf *out, int64_t seconds)
{
	struct date d = four_digit_year(seconds);

	buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02dZ", (int)d.year, d.month, d.day, d.hour,
		   d.minute, d.second);
}

void date_rfc3339_ms(struct buf *out, int64_t microseconds)
{
	int64_t seconds = floor_div(microseconds, 1000000);
	struct date d = four_digit_year(seconds);

	buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)d.year, d.month, d.day, d.hour,
		   d.minute, d.second, (int)((microseconds - seconds * 1000000) / 1000));
}

void date_rfc5322(struct buf *out, int64_t seconds)
{
	struct date d = four_digit_year(seconds);

	buf_printf(out, "%s, %02d %s %04d %02d:%02d:%02d +0000", date_weekdays[d.weekday], d.day,
		   date_months[d.month - 1], (int)d.year, d.hour, d.minute, d.second);
}
