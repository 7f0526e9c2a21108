#include "mail/session/rcpt_memory.h"

#include <stdlib.h>

#define KEPT_US		 5000000
#define KEPT_MAX	 10000u
#define ANSWER_BYTES_MAX 2048u
#define UNDECLARED_BYTES ((uint64_t)1 << 20)	/* most messages without SIZE are smaller */

struct answer {
	struct map_node node;
	struct list link;
	int64_t until_us;
	uint64_t left_bytes;
	size_t address_len, len;
	uint8_t bytes[];		/* address, answer */
};

void rcpt_memory_init(struct rcpt_memory *m)
{
	*m = (struct rcpt_memory){ 0 };
	list_init(&m->order);
}

static void drop(struct rcpt_memory *m, struct answer *a)
{
	map_del(&m->answers, &a->node);
	list_del(&a->link);
	free(a);
}

static struct answer *find(struct rcpt_memory *m, struct slice address)
{
	uint64_t hash = map_hash(address);

	for (struct map_node *n = map_first(&m->answers, hash); n != NULL; n = map_next(n, hash)) {
		struct answer *a = container_of(n, struct answer, node);

		if (slice_eq(slice_of(a->bytes, a->address_len), address))
			return a;
	}
	return NULL;
}

bool rcpt_memory_find(struct rcpt_memory *m, struct slice address, uint64_t size, int64_t now_us,
		      struct slice *answer)
{
	struct answer *a = find(m, address);
	uint64_t cost = size > 0 ? size : UNDECLARED_BYTES;

	if (a == NULL)
		return false;
	if (now_us >= a->until_us || cost > a->left_bytes) {
		drop(m, a);
		return false;
	}
	a->left_bytes -= cost;
	*answer = slice_of(a->bytes + a->address_len, a->len);
	return true;
}

void rcpt_memory_keep(struct rcpt_memory *m, struct slice address, struct slice answer, int64_t now_us)
{
	struct answer *a = find(m, address);

	if (a != NULL)
		drop(m, a);
	/* All are kept for the same time, so the oldest end first. */
	while (!list_empty(&m->order)) {
		struct answer *old = list_entry(m->order.next, struct answer, link);

		if (now_us < old->until_us && m->answers.count < KEPT_MAX)
			break;
		drop(m, old);
	}
	if (answer.len > ANSWER_BYTES_MAX)
		return;
	a = malloc(sizeof(*a) + address.len + answer.len);
	if (a == NULL)
		return;
	*a = (struct answer){ .until_us = now_us + KEPT_US, .left_bytes = RCPT_AHEAD_BYTES,
			      .address_len = address.len, .len = answer.len };
	memcpy(a->bytes, address.ptr, address.len);
	memcpy(a->bytes + address.len, answer.ptr, answer.len);
	if (map_add(&m->answers, &a->node, map_hash(address)) != 0) {
		free(a);
		return;
	}
	list_init(&a->link);
	list_push_back(&m->order, &a->link);
}

void rcpt_memory_forget(struct rcpt_memory *m)
{
	while (!list_empty(&m->order))
		drop(m, list_entry(m->order.next, struct answer, link));
	map_done(&m->answers);
	m->answers = (struct map){ 0 };
	m->epoch++;
}
