#include "mail/imap/imapdate.h"

#include "base/date.h"

static bool digits(struct slice s, int *out)
{
	uint64_t n;

	if (!slice_u64(s, 9999, &n))
		return false;
	*out = (int)n;
	return true;
}

static bool month_number(struct slice name, int *out)
{
	for (int m = 0; m < 12; m++) {
		if (slice_eq_nocase(name, slice_str(date_months[m]))) {
			*out = m + 1;
			return true;
		}
	}
	return false;
}

static bool calendar_day(struct slice day, struct slice month, struct slice year, struct date *out)
{
	int y;

	if (year.len != 4 || !digits(day, &out->day) || !digits(year, &y) ||
	    !month_number(month, &out->month))
		return false;
	out->year = y;
	return out->day >= 1 && out->day <= date_month_days(y, out->month);
}

bool imapdate_day(struct slice text, int64_t *days)
{
	struct slice day, month, year;
	struct date d = { 0 };

	if (!slice_cut(text, '-', &day, &text) || !slice_cut(text, '-', &month, &year))
		return false;
	if (day.len > 2 || !calendar_day(day, month, year, &d))
		return false;
	*days = date_to_unix(&d) / 86400;
	return true;
}

bool imapdate_time(struct slice t, int64_t *seconds, int16_t *zone_minutes)
{
	struct date d = { 0 };
	int zone_hour, zone_minute, zone;

	if (t.len != 26 || t.ptr[2] != '-' || t.ptr[6] != '-' || t.ptr[11] != ' ' ||
	    t.ptr[14] != ':' || t.ptr[17] != ':' || t.ptr[20] != ' ' ||
	    (t.ptr[21] != '+' && t.ptr[21] != '-'))
		return false;
	if (!calendar_day(t.ptr[0] == ' ' ? slice_sub(t, 1, 2) : slice_sub(t, 0, 2),
			  slice_sub(t, 3, 6), slice_sub(t, 7, 11), &d))
		return false;
	if (!digits(slice_sub(t, 12, 14), &d.hour) || !digits(slice_sub(t, 15, 17), &d.minute) ||
	    !digits(slice_sub(t, 18, 20), &d.second) || !digits(slice_sub(t, 22, 24), &zone_hour) ||
	    !digits(slice_sub(t, 24, 26), &zone_minute))
		return false;
	if (d.hour > 23 || d.minute > 59 || d.second > 60 || zone_hour > 23 || zone_minute > 59)
		return false;
	zone = zone_hour * 60 + zone_minute;
	if (t.ptr[21] == '-')
		zone = -zone;
	*seconds = date_to_unix(&d) - zone * 60;
	*zone_minutes = (int16_t)zone;
	return true;
}

void imapdate_write(struct buf *out, int64_t seconds, int16_t zone_minutes)
{
	int zone = MAX(MIN(zone_minutes, 1439), -1439), away = zone < 0 ? -zone : zone;
	struct date d;

	/* 0000-01-01 and the last second of 9999: the form has four digits for the year. */
	seconds = MAX(MIN(seconds, INT64_C(253402300799)), INT64_C(-62167219200)) + zone * 60;
	seconds = MAX(MIN(seconds, INT64_C(253402300799)), INT64_C(-62167219200));
	d = date_from_unix(seconds);
	buf_printf(out, "\"%02d-%s-%04d %02d:%02d:%02d %c%02d%02d\"", d.day,
		   date_months[d.month - 1], (int)d.year, d.hour, d.minute, d.second,
		   zone < 0 ? '-' : '+', away / 60, away % 60);
}

int64_t imapdate_day_of(int64_t seconds, int64_t zone_minutes)
{
	int64_t local = seconds + zone_minutes * 60;

	return (local >= 0 ? local : local - 86399) / 86400;
}
