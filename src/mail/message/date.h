/*
 * Dates of message headers (RFC 5322 §3.3 and obsolete §4.3).
 */
#pragma once
#include "base/slice.h"

/*
 * value: the field's value, folded or not. On success *unix_s is UTC and *zone_min the minutes east of UTC that
 * the sender wrote (SEARCH SENTON works with the sender's calendar day). Two-digit years are
 * 1970..2069; unknown zones are UTC. False when it is no date; outputs are then untouched.
 */
MUST_USE bool date_parse(struct slice value, int64_t *unix_s, int *zone_min);
/* Days since 1970-01-01 of a proleptic Gregorian date. */
int64_t date_days(int year, int month, int day);
