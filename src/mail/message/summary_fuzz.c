/*
 * Any bytes as a summary: refused, or a tree that all readers can use and that encodes again.
 */
#include "base/must.h"
#include "mail/message/bodystructure.h"
#include "mail/message/section.h"
#include "mail/message/sort.h"
#include "mail/message/summary.h"
#include "mail/message/thread.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 26);
	AUTO_BUF struct buf out = BUF_INIT(1u << 26), again = BUF_INIT(1u << 26);
	const uint8_t program[] = { SORT_FROM, SORT_CC | SORT_REVERSE, SORT_TO, SORT_SUBJECT, SORT_DATE, SORT_SIZE,
				    SORT_ARRIVAL, SORT_END };
	const struct mime *mime, *twice;
	struct section section = { .kind = SECTION_PART, .depth = 3, .numbers = (uint32_t[]){ 1, 2, 1 } };
	struct section_range range;
	struct sort_item sort[3] = { { .number = 2 }, { .number = 1 }, { .number = 3, .size = 1 } };
	struct thread_item thread = { 0 };

	if (summary_decode(&arena, slice_of(data, size), &mime) != SUMMARY_OK)
		return 0;
	bodystructure_envelope(&out, mime->root->envelope, true);
	bodystructure_write(&out, mime->root, true, true);
	must(out.err == 0);
	if (section_find(mime, &section, &range) == SECTION_OK)
		must(range.at <= mime->size && range.bytes <= mime->size - range.at);
	if (!sort_item_fill(&arena, &sort[0], program, mime->root->envelope) ||
	    !sort_item_fill(&arena, &sort[1], program, mime->root->envelope) ||
	    !thread_item_fill(&arena, &thread, mime->root->envelope, 0))
		must(arena.err != 0);
	sort_items(sort, 2, program);
	must(sort[0].number == 1);
	sort_items(sort, 3, program);
	must(sort[0].number != 2);
	buf_reset(&out);
	summary_encode(&out, mime);
	must(out.err == 0);
	if (summary_decode(&arena, buf_slice(&out), &twice) == SUMMARY_OK) {
		summary_encode(&again, twice);
		must(slice_eq(buf_slice(&out), buf_slice(&again)));
	}
	/* Behind a prefix everything moves by it, and nothing leaves the message. */
	if (summary_decode_behind(&arena, slice_of(data, size), 77, &twice) == SUMMARY_OK) {
		must(twice->size == mime->size + 77 && twice->part_count == mime->part_count);
		for (const struct mime_part *p = twice->root; p != NULL; p = mime_walk(twice->root, p))
			must(p->body_at + p->body_bytes <= twice->size);
	}
	return 0;
}
