/*
 * Calendar dates and seconds since 1970, without the C library's time zone state.
 *
 * The proleptic Gregorian calendar, no leap seconds, as POSIX counts. IMAP's and the
 * message header's forms are parsed in mail/; here is only what everybody writes.
 */
#pragma once
#include "base/buf.h"

struct date {
	int64_t year;			/* astronomical: 0 is 1 BC */
	int month;			/* 1..12 */
	int day;			/* 1..31 */
	int hour, minute, second;	/* 0..23, 0..59, 0..59 */
	int weekday;			/* 0 Sunday .. 6 Saturday; date_to_unix ignores it */
};

extern const char date_months[12][4];	/* "Jan".."Dec" */
extern const char date_weekdays[7][4];	/* "Sun".."Sat" */

/* Every value is fine. */
struct date date_from_unix(int64_t seconds);
/*
 * The date's fields may be out of range by the usual amounts (second 60, hour 24): they
 * carry over. Month must be 1..12. Years are clipped to +-10^9.
 */
int64_t date_to_unix(const struct date *d);
/* Days in a month (1..12) of a year. */
int date_month_days(int64_t year, int month);
/* The date is one that the calendar has, the time below 24:00:00 (second 60 is accepted: RFC 5322 §3.3). */
bool date_valid(const struct date *d);

/* "2026-11-23T09:00:00Z" (RFC 3339 §5.6). Outside the years 0..9999 it is clipped to them. */
void date_rfc3339(struct buf *out, int64_t seconds);
/* The same with milliseconds: "2026-11-23T09:00:00.123Z". */
void date_rfc3339_ms(struct buf *out, int64_t microseconds);
/* "Mon, 23 Nov 2026 09:00:00 +0000" (RFC 5322 §3.3), clipped in the same way. */
void date_rfc5322(struct buf *out, int64_t seconds);
