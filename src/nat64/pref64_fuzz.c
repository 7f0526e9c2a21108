/* Hostile advertisements, kernel messages and DNS answers: the first byte says which. */
#include "base/must.h"
#include "nat64/pref64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t router[16] = { 0xfe, 0x80, [15] = 1 };
	struct slice all = slice_of(data, size), message = slice_from(all, 1);
	struct pref64_table table = { 0 };
	struct pref64_list list = { 0 };
	struct xlat_prefix best;
	enum pref64_result result;

	if (size == 0)
		return 0;
	if (data[0] % 3 == 0)
		result = pref64_advertisement_read(message, router, 255, 1, &list);
	else if (data[0] % 3 == 1)
		result = pref64_nduseropt_read(message, &list);
	else
		result = pref64_answer_read(message, 0x1234, &list);
	must(list.count <= PREF64_OPTIONS_MAX);
	must(result != PREF64_OK || list.count > 0);
	for (size_t i = 0; i < list.count; i++) {
		AUTO_BUF struct buf out = BUF_INIT(64);
		struct xlat_prefix again;
		uint32_t lifetime_s;

		/* What we believe we could announce, and would believe again. */
		pref64_option_write(&out, &list.said[i].prefix, list.said[i].lifetime_s);
		must(pref64_option_read(buf_slice(&out), &again, &lifetime_s) == PREF64_OK);
		must(memcmp(&again, &list.said[i].prefix, sizeof(again)) == 0);
		pref64_table_put(&table, &list.said[i], data[0] % 3 == 2 ? PREF64_BY_DNS : PREF64_BY_RA, 1000);
		must(table.count <= PREF64_ROWS_MAX);
	}
	if (pref64_table_best(&table, &best))
		must(pref64_table_expire(&table, 1000) > 0);
	must(pref64_table_expire(&table, INT64_MAX) == -1 && table.count == 0);
	return 0;
}
