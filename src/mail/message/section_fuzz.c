/*
 * Any text between the brackets is a section or bad; dates of SEARCH and header lines come along.
 */
#include "base/must.h"
#include "mail/message/header.h"
#include "mail/message/section.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 24);
	AUTO_BUF struct buf some = BUF_INIT(1u << 24), others = BUF_INIT(1u << 24);
	struct slice text = slice_of(data, size);
	struct section s;

	if (section_parse(&arena, text, &s) == SECTION_OK) {
		must(s.depth <= SECTION_DEPTH_MAX);
		for (uint32_t i = 0; i < s.depth; i++)
			must(s.numbers[i] >= 1);
		must((s.kind == SECTION_FIELDS || s.kind == SECTION_FIELDS_NOT) == (s.name_count > 0));
	}
	/* A field is in the subset or in its complement, never in both. */
	struct slice names[] = { SLICE("a"), SLICE("subject") };
	header_select(&some, text, names, 2, false);
	header_select(&others, text, names, 2, true);
	struct header_iter it = header_iter(text);
	struct header_field field;
	size_t bytes = 0;
	while (header_next(&it, &field)) {
		bytes += field.raw.len;
		struct slice flat = header_unfold_packed(&arena, field.value);
		must(slice_find_byte(flat, '\n') == SLICE_NPOS);
	}
	struct slice value;
	must(!header_find(text, "subject", &value) || some.len > it.rest.len);
	must(some.len + others.len == bytes + 2 * it.rest.len);
	return 0;
}
