/*
 * Two objects from anybody: 4 bytes with the length of the first, then both. The checker neither crashes nor believes what has no
 * row; an object is its own proof where nothing is guarded.
 */
#include "spine/inject/checker.h"

#include <stdlib.h>

#include "spine/inspect/little.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* map_update_elem, map_delete_elem, redirect; ringbuf_reserve */
	static const uint64_t all[INSPECT_HELPER_WORDS] = { UINT64_C(0x80000c), 0, UINT64_C(0x8), 0 };
	struct slice both = slice_of(data, size);

	if (size < 4)
		return 0;
	size_t first = little32(data);
	both = slice_from(both, 4);
	for (int trial = 0; trial < 2; trial++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 26);
		struct errmsg why;
		struct slice original = slice_head(both, first), injected = slice_from(both, first);
		if (checker_prove(&arena, original, injected, all, trial == 1, &why) == 0 && injected.len < original.len)
			abort();
	}
	return 0;
}
