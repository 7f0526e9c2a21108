/*
 * Dates as IMAP writes them (RFC 9051 §9: date, date-time).
 */
#pragma once
#include "base/buf.h"

/* "1-Feb-1994" or "01-Feb-1994", without quotes. The day as days since 1970. */
MUST_USE bool imapdate_day(struct slice text, int64_t *days);
/*
 * " 7-Feb-1994 21:52:25 -0800" (26 bytes; the day has a blank or two digits), without quotes:
 * seconds since 1970 in UTC, and the zone in minutes east. False when malformed or no day of
 * the calendar.
 */
MUST_USE bool imapdate_time(struct slice text, int64_t *seconds, int16_t *zone_minutes);
/* The same form with quotes, shown in a zone. Years outside 0..9999 are clipped. */
void imapdate_write(struct buf *out, int64_t seconds, int16_t zone_minutes);
/* The day of that moment on the calendar of that zone, since 1970. */
int64_t imapdate_day_of(int64_t seconds, int64_t zone_minutes);
