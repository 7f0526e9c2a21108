/*
 * The host's side of the rings, with an extension that writes what it likes: the input is what stands in
 * the shared memory, changed again between the calls.
 */
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "spine/message/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct spine_outbox outbox;
	struct spine_inbox inbox;
};

/* A step: where (2 bytes, in words), how many bytes (1), the bytes. */
static size_t scribble(void *memory, size_t bytes, const uint8_t *data, size_t size)
{
	size_t at, n;

	if (size < 3)
		return size;
	at = ((size_t)data[0] | (size_t)data[1] << 8) * 4 % bytes;
	n = data[2];
	if (n > size - 3)
		n = size - 3;
	if (n > bytes - at)
		n = bytes - at;
	memcpy((uint8_t *)memory + at, data + 3, n);
	return 3 + n;
}

static void read_all(struct outbox_reader *r, struct spine_outbox *ring, uint8_t *medium)
{
	struct spine_message m;
	struct spine_medium where;
	int taken = 0;

	(void)outbox_waiting(r, ring);
	while (outbox_take(r, ring, &m, medium)) {
		must(++taken <= (int)SPINE_OUTBOX_SLOTS);
		must(m.length <= SPINE_ARGS_BYTES);
		must(m.sender == 0);
		if (m.kind != SPINE_MESSAGE_MEDIUM)
			continue;
		memcpy(&where, m.args, sizeof(where));
		must(where.length <= SPINE_MEDIUM_BYTES);
	}
}

static void write_some(struct inbox_writer *w, struct spine_inbox *in)
{
	struct spine_message *slot;
	int buffer = inbox_medium_hold(w, in);

	must(buffer < (int)SPINE_INBOX_MEDIUM);
	must(inbox_credits(w, in) <= SPINE_INBOX_SLOTS);
	for (uint32_t i = 0; i <= SPINE_INBOX_SLOTS; i += 32)
		if ((slot = inbox_slot(w, in)) != NULL) {
			slot->handler = 1;
			inbox_publish(w, in);
		}
	if (buffer >= 0)
		inbox_medium_release(w, (uint32_t)buffer, buffer % 2 == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *world = calloc(1, sizeof(*world));
	uint8_t *medium = malloc(SPINE_MEDIUM_BYTES);	/* exactly: a byte more is seen by ASan */
	struct outbox_reader r;
	struct inbox_writer w;
	size_t used;

	must(world != NULL && medium != NULL);
	used = scribble(&world->outbox, 128, data, size);
	used += scribble(&world->inbox, 128, data + used, size - used);
	outbox_begin(&r, &world->outbox);
	inbox_begin(&w, &world->inbox);
	for (int i = 0; i < 64 && used < size; i++) {
		used += scribble(&world->outbox, 1024, data + used, size - used);
		read_all(&r, &world->outbox, i % 2 ? medium : NULL);
		used += scribble(&world->inbox, 128, data + used, size - used);
		write_some(&w, &world->inbox);
	}
	free(medium);
	free(world);
	return 0;
}
