#include "mail/message/date.h"

#include "mail/message/token.h"

/* A short token of the date; `len` 0 when there is none. Longer ones are cut, which no rule below accepts. */
struct word {
	uint8_t text[8];
	size_t len;
};

static enum token_result next(struct token *t, struct word *w)
{
	const uint8_t *start = t->at;

	w->len = 0;
	if (t->at == t->end)
		return TOKEN_END;
	while (t->at < t->end && token_atext(*t->at))
		t->at++;
	size_t len = (size_t)(t->at - start);
	if (len == 0)
		return TOKEN_BAD;
	w->len = MIN(len, sizeof(w->text));
	memcpy(w->text, start, w->len);
	return token_skip(t) == TOKEN_BAD ? TOKEN_BAD : TOKEN_MORE;
}

static bool digits(const struct word *w, size_t min, size_t max, int *out)
{
	int v = 0;

	if (w->len < min || w->len > max)
		return false;
	for (size_t i = 0; i < w->len; i++) {
		if (!ascii_digit(w->text[i]))
			return false;
		v = v * 10 + w->text[i] - '0';
	}
	*out = v;
	return true;
}

static int month_of(const struct word *w)
{
	static const char names[12][4] = { "jan", "feb", "mar", "apr", "may", "jun",
					   "jul", "aug", "sep", "oct", "nov", "dec" };

	for (int i = 0; i < 12 && w->len >= 3; i++)
		if (slice_eq_nocase(slice_of(w->text, 3), slice_of(names[i], 3)))
			return i + 1;
	return 0;
}

/* RFC 5322 §3.3 zone and §4.3 obs-zone; unknown ones are UTC ("-0000"). */
static int zone_of(const struct word *w)
{
	static const struct { char name[4]; int min; } zones[] = {
		{ "EST", -300 }, { "EDT", -240 }, { "CST", -360 }, { "CDT", -300 },
		{ "MST", -420 }, { "MDT", -360 }, { "PST", -480 }, { "PDT", -420 },
	};
	int v;

	if (w->len == 5 && (w->text[0] == '+' || w->text[0] == '-')) {
		struct word number = { .len = 4 };
		memcpy(number.text, w->text + 1, 4);
		if (!digits(&number, 4, 4, &v))
			return 0;
		v = v / 100 * 60 + v % 100;
		return w->text[0] == '+' ? v : -v;
	}
	if (w->len == 1) {
		/* The military letters as they are used, east is A to M; RFC 822 had the signs wrong. */
		uint8_t c = ascii_upper(w->text[0]);
		if (c >= 'A' && c <= 'I')
			return (c - 'A' + 1) * 60;
		if (c >= 'K' && c <= 'M')
			return (c - 'A') * 60;
		if (c >= 'N' && c <= 'Y')
			return ('M' - c) * 60;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(zones) && w->len == 3; i++)
		if (slice_eq_nocase(slice_of(w->text, 3), slice_of(zones[i].name, 3)))
			return zones[i].min;
	return 0;
}

int64_t date_days(int year, int month, int day)
{
	/* Years start in March here, so that the leap day is the last one. */
	int64_t y = month <= 2 ? (int64_t)year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool day_exists(int year, int month, int day)
{
	static const uint8_t lengths[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return day >= 1 && day <= lengths[month - 1] + (month == 2 && leap);
}

/* ":" or the "." of some programs, then two digits. */
static bool sixty(struct token *t, struct word *w, int *out)
{
	t->at++;
	if (token_skip(t) == TOKEN_BAD)
		return false;
	return next(t, w) != TOKEN_BAD && digits(w, 2, 2, out);
}

static bool at_time_separator(const struct token *t)
{
	return token_is(t, ':') || token_is(t, '.');
}

/* [weekday ","] dd month [yy]yy hh ":" mm [":" ss] zone */
bool date_parse(struct slice value, int64_t *unix_s, int *zone_min)
{
	struct token t = token_of(value, NULL);
	struct word w;
	int day, month, year, hour, minute, second = 0;

	if (token_skip(&t) == TOKEN_BAD || next(&t, &w) != TOKEN_MORE)
		return false;
	if (w.len == 3) {
		if (!token_is(&t, ','))
			return false;
		t.at++;
		if (token_skip(&t) != TOKEN_MORE || next(&t, &w) != TOKEN_MORE)
			return false;
	}
	if (!digits(&w, 1, 2, &day) || next(&t, &w) != TOKEN_MORE)
		return false;
	month = month_of(&w);
	if (month == 0 || next(&t, &w) != TOKEN_MORE || w.len == 3 || !digits(&w, 2, 4, &year))
		return false;
	if (w.len == 2)
		year += year < 70 ? 2000 : 1900;
	if (year < 1900 || next(&t, &w) != TOKEN_MORE || !digits(&w, 1, 2, &hour))
		return false;
	if (!at_time_separator(&t) || !sixty(&t, &w, &minute))
		return false;
	if (at_time_separator(&t) && !sixty(&t, &w, &second))
		return false;
	enum token_result zone = next(&t, &w);
	if (zone == TOKEN_BAD || !day_exists(year, month, day) || hour > 23 || minute > 59 || second > 60)
		return false;
	int offset = zone == TOKEN_END ? 0 : zone_of(&w);
	if (second == 60)
		second = 59;
	*unix_s = date_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - (int64_t)offset * 60;
	*zone_min = offset;
	return true;
}
