#include <errno.h>
#include <string.h>

#include "spine/message/ring.h"

static uint32_t load(const uint32_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

static void publish(uint32_t *counter, uint32_t value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELEASE);
}

/* In words, each read once: what is judged afterwards is what was copied. */
static void copy_in(struct spine_message *to, const struct spine_message *from)
{
	const uint64_t *f = (const uint64_t *)(const void *)from;

	for (size_t i = 0; i < sizeof(*to) / sizeof(*f); i++) {
		uint64_t word = __atomic_load_n(&f[i], __ATOMIC_RELAXED);

		memcpy((uint8_t *)to + i * sizeof(word), &word, sizeof(word));
	}
}

void inbox_begin(struct inbox_writer *w, struct spine_inbox *in)
{
	uint32_t tail = load(&in->tail);

	*w = (struct inbox_writer){ .head = load(&in->head) };
	if (w->head - tail > SPINE_INBOX_SLOTS) {
		w->head = tail;
		publish(&in->head, tail);
	}
}

uint32_t inbox_credits(const struct inbox_writer *w, const struct spine_inbox *in)
{
	uint32_t used = w->head - load(&in->tail);

	return used > SPINE_INBOX_SLOTS ? 0 : SPINE_INBOX_SLOTS - used;
}

struct spine_message *inbox_slot(const struct inbox_writer *w, struct spine_inbox *in)
{
	return inbox_credits(w, in) > 0 ? &in->slot[w->head % SPINE_INBOX_SLOTS] : NULL;
}

void inbox_publish(struct inbox_writer *w, struct spine_inbox *in)
{
	publish(&in->head, ++w->head);
}

int inbox_medium_hold(struct inbox_writer *w, const struct spine_inbox *in)
{
	uint32_t tail = load(&in->tail);

	for (uint32_t i = 0; i < SPINE_INBOX_MEDIUM; i++) {
		uint32_t buffer = (w->medium_next + i) % SPINE_INBOX_MEDIUM, bit = 1u << buffer;

		if (w->medium_held & bit)
			continue;
		if ((w->medium_used & bit) && (int32_t)(tail - w->medium_until[buffer]) < 0)
			continue;
		w->medium_held |= bit;
		w->medium_used &= ~bit;
		w->medium_next = buffer + 1;
		return (int)buffer;
	}
	return -ENOBUFS;
}

void inbox_medium_release(struct inbox_writer *w, uint32_t buffer, bool posted)
{
	uint32_t bit = 1u << (buffer % SPINE_INBOX_MEDIUM);

	w->medium_held &= ~bit;
	if (posted) {
		w->medium_used |= bit;
		w->medium_until[buffer % SPINE_INBOX_MEDIUM] = w->head;
	}
}

void outbox_begin(struct outbox_reader *r, struct spine_outbox *ring)
{
	*r = (struct outbox_reader){ .tail = load(&ring->tail), .medium_tail = load(&ring->medium_tail) };
	if (load(&ring->head) - r->tail > SPINE_OUTBOX_SLOTS) {
		r->tail = load(&ring->head);
		publish(&ring->tail, r->tail);
	}
	if (load(&ring->medium_head) - r->medium_tail > SPINE_OUTBOX_MEDIUM) {
		r->medium_tail = load(&ring->medium_head);
		publish(&ring->medium_tail, r->medium_tail);
	}
}

bool outbox_waiting(const struct outbox_reader *r, const struct spine_outbox *ring)
{
	return load(&ring->head) != r->tail;
}

/* The buffer's number is the extension's counter: those before it are done with, too. */
static bool take_medium(struct outbox_reader *r, struct spine_outbox *ring, const struct spine_message *m,
			void *medium)
{
	struct spine_medium where;

	if (m->length < sizeof(where))
		return false;
	memcpy(&where, m->args, sizeof(where));
	if (where.buffer - r->medium_tail >= SPINE_OUTBOX_MEDIUM || where.length > SPINE_MEDIUM_BYTES)
		return false;
	if (medium != NULL)
		memcpy(medium, ring->medium[where.buffer % SPINE_OUTBOX_MEDIUM], where.length);
	r->medium_tail = where.buffer + 1;
	publish(&ring->medium_tail, r->medium_tail);
	return true;
}

int outbox_take(struct outbox_reader *r, struct spine_outbox *ring, struct spine_message *out,
		void *medium)
{
	uint32_t waiting = load(&ring->head) - r->tail;

	if (waiting > SPINE_OUTBOX_SLOTS) {
		r->resets++;
		r->tail = load(&ring->head);
		publish(&ring->tail, r->tail);
		r->medium_tail = load(&ring->medium_head);
		publish(&ring->medium_tail, r->medium_tail);
		return 0;
	}
	for (; waiting > 0; waiting--) {
		copy_in(out, &ring->slot[r->tail % SPINE_OUTBOX_SLOTS]);
		bool good = out->length <= SPINE_ARGS_BYTES &&
			    (out->kind == SPINE_MESSAGE_POST || out->kind == SPINE_MESSAGE_BULK ||
			     (out->kind == SPINE_MESSAGE_MEDIUM && take_medium(r, ring, out, medium)));
		publish(&ring->tail, ++r->tail);
		if (good) {
			out->sender = 0;
			return 1;
		}
		r->malformed++;
	}
	return 0;
}
