/*
 * A queue entry from any bytes: the first QUEUE_KEY_BYTES are its key. What decodes encodes to the same meaning.
 */
#include "base/must.h"
#include "mail/queue/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	AUTO_BUF struct buf once = BUF_INIT(1u << 22), twice = BUF_INIT(1u << 22);
	struct slice in = slice_of(data, size), key = slice_head(in, QUEUE_KEY_BYTES);
	uint8_t key_again[QUEUE_KEY_BYTES];
	struct queue_entry e, again;

	if (!queue_entry_decode(&arena, key, slice_from(in, QUEUE_KEY_BYTES), &e))
		return 0;
	queue_key(e.due_us, e.id, key_again);
	must(slice_eq(key, slice_of(key_again, sizeof(key_again))));
	queue_entry_encode(&once, &e);
	must(once.err == 0 && queue_entry_decode(&arena, key, buf_slice(&once), &again));
	queue_entry_encode(&twice, &again);
	must(slice_eq(buf_slice(&once), buf_slice(&twice)));
	for (size_t i = 0; i < e.count; i++)
		must(e.items[i].account.len == ACCOUNT_ID_BYTES && e.items[i].state <= QUEUE_STORED);
	return 0;
}
