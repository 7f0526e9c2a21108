/*
 * Any text is a date or not; a date lies between 1900 and 10000 and its zone is a number of the form hhmm.
 */
#include "base/must.h"
#include "mail/message/date.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t unix_s = 0;
	int zone = 0;

	if (!date_parse(slice_of(data, size), &unix_s, &zone))
		return 0;
	must(zone >= -99 * 60 - 99 && zone <= 99 * 60 + 99);
	int64_t local = unix_s + zone * 60;
	must(local >= date_days(1900, 1, 1) * 86400 && local < date_days(10000, 1, 1) * 86400);
	return 0;
}
