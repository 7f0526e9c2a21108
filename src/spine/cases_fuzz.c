/* Test cases and the words of their frames. */
#include <errno.h>

#include "base/must.h"
#include "spine/cases.h"
#include "spine/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	const struct test_case *first = NULL;
	uint8_t value[16];

	int err = cases_parse(&arena, slice_of(data, size), "f", &first, &errors);
	if (err != 0) {
		must(err == -ENOMEM || errors.len > 0);
		return 0;
	}
	for (const struct test_case *c = first; c != NULL; c = c->next) {
		for (const struct case_action *a = c->actions; a != NULL; a = a->next) {
			must(a->repeat >= 1 && a->verdict <= 4);
			must(a->kind != CASE_PACKET || (a->in.len >= FRAME_BYTES_MIN && a->in.len <= FRAME_BYTES_MAX));
			(void)!case_value(a->key, value, 1);
			(void)!case_value(a->key, value, 4);
			must(a->verdict < 0 || case_verdict(slice_str(case_verdict_name((uint32_t)a->verdict))) == a->verdict);
			(void)!case_value(a->value, value, sizeof(value));
		}
	}
	return 0;
}
