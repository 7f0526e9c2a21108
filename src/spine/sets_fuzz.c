/* Files of prefix sets. */
#include <errno.h>

#include "base/must.h"
#include "spine/sets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	struct set_prefix *list = NULL;
	struct errmsg why = { 0 };
	size_t count = 0;
	int err = set_file_parse(&arena, slice_of(data, size), &list, &count, &why);

	must(err == 0 || why.text[0] != '\0');
	/* What we write we read again, the same. */
	for (size_t i = 0; err == 0 && i < count; i++) {
		AUTO_BUF struct buf text = BUF_INIT(128);
		struct set_prefix again;

		set_prefix_text(&list[i], &text);
		must(set_prefix_parse(buf_slice(&text), &again, &why) == 0);
		must(again.bits == list[i].bits && memcmp(again.address, list[i].address, 16) == 0);
	}
	return 0;
}
