/*
 * Any References field: ids that are not empty; and threads of messages made of them, each printed once.
 */
#include "base/must.h"
#include "mail/message/msgid.h"
#include "mail/message/thread.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every line is a message: its first id is its own, the others are its references. */
static size_t make_items(struct arena *arena, struct slice text, struct thread_item *items, size_t max)
{
	static const char *const subjects[] = { "", "A", "B" };
	size_t count = 0;

	while (text.len > 0 && count < max) {
		struct slice line, ids;
		struct thread_item *item = &items[count];
		struct slice *refs = arena_array(arena, 8, sizeof(*refs));
		must(refs != NULL);
		(void)slice_cut(text, '\n', &line, &text);
		ids = line;
		item->number = item->order = (uint32_t)++count;
		item->date_s = (int64_t)(line.len % 7);
		item->subject = slice_str(subjects[line.len % 3]);
		item->is_reply = line.len & 1;
		(void)msgid_next(arena, &ids, &item->msgid);
		while (item->ref_count < 8 && msgid_next(arena, &ids, &refs[item->ref_count]))
			item->ref_count++;
		item->refs = refs;
	}
	return count;
}

static void check_numbers(struct slice out, size_t count)
{
	bool seen[257] = { 0 };
	size_t found = 0;
	int depth = 0;

	for (size_t i = 0; i < out.len;) {
		depth += out.ptr[i] == '(' ? 1 : out.ptr[i] == ')' ? -1 : 0;
		must(depth >= 0);
		if (!ascii_digit(out.ptr[i])) {
			i++;
			continue;
		}
		size_t n = 0;
		while (i < out.len && ascii_digit(out.ptr[i]))
			n = n * 10 + out.ptr[i++] - '0';
		must(n >= 1 && n <= count && !seen[n]);
		seen[n] = true;
		found++;
	}
	must(depth == 0 && found == count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 26);
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct slice rest = slice_of(data, size), id;
	static struct thread_item items[256];

	while (msgid_next(&arena, &rest, &id))
		must(id.len > 0);
	memset(items, 0, sizeof(items));
	size_t count = make_items(&arena, slice_of(data, size), items, ARRAY_LEN(items));
	must(thread_references(&arena, items, count, &out));
	check_numbers(buf_slice(&out), count);
	buf_reset(&out);
	must(thread_orderedsubject(&arena, items, count, &out));
	check_numbers(buf_slice(&out), count);
	return 0;
}
