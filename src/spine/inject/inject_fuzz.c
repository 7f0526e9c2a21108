/* An object file from anybody gets checks: what comes out is an object again, with as many functions, and needs no second round. */
#include "spine/inject/inject.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try(struct slice bytes, bool trial)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 26);
	AUTO_BUF struct buf out = BUF_INIT(1u << 22);
	struct inject_spec spec = { .trial = trial };
	struct inject_report report;
	struct errmsg why;
	const struct object *before, *after;
	int32_t answer;

	for (int helper = 1; helper < 64 * INSPECT_HELPER_WORDS; helper++) {
		if (inject_helper_refusal(helper, &answer))
			spec.helpers[helper / 64] |= UINT64_C(1) << (helper % 64);
	}
	if (inject_checks(&arena, bytes, &spec, &out, &report, &why) != 0 || !report.changed)
		return;
	if (object_parse(&arena, bytes, &before, &why) != 0)
		abort();
	int err = object_parse(&arena, buf_slice(&out), &after, &why);
	if (err == -EINVAL || (err == 0 && after->program_count != before->program_count))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try(slice_of(data, size), false);
	try(slice_of(data, size), true);
	return 0;
}
