#include "nat64/slow/syn.h"

#include <errno.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/map.h"
#include "nat64/slow/slow_limits.h"

struct syn {
	struct map_node node, source_node;
	struct list age;
	int64_t until_ms;
	uint32_t mark;
	uint8_t key[12];		/* addresses, ports: as they lie in the packet */
	size_t bytes;
	uint8_t packet[];
};

struct syns {
	uint32_t max, wait_ms;
	struct map waiting, sources;	/* by key, by source address */
	struct list ages;
	struct syn *last;		/* handed out, to be freed */
};

int syns_new(uint32_t max, uint32_t wait_ms, struct syns **out)
{
	struct syns *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	list_init(&s->ages);
	syns_limit(s, max, wait_ms);
	*out = s;
	return 0;
}

void syns_limit(struct syns *s, uint32_t max, uint32_t wait_ms)
{
	s->max = max;
	s->wait_ms = wait_ms;
}

static void take_out(struct syns *s, struct syn *y)
{
	map_del(&s->waiting, &y->node);
	map_del(&s->sources, &y->source_node);
	list_del(&y->age);
}

void syns_free(struct syns *s)
{
	if (s == NULL)
		return;
	while (!list_empty(&s->ages)) {
		struct syn *y = container_of(s->ages.next, struct syn, age);

		take_out(s, y);
		free(y);
	}
	map_done(&s->waiting);
	map_done(&s->sources);
	free(s->last);
	free(s);
}

static struct syn *find(const struct syns *s, const uint8_t key[12], uint64_t hash)
{
	for (struct map_node *n = map_first(&s->waiting, hash); n != NULL; n = map_next(n, hash)) {
		struct syn *y = container_of(n, struct syn, node);

		if (memcmp(y->key, key, 12) == 0)
			return y;
	}
	return NULL;
}

/* Those of a source, and the oldest of them. The chain of a hash is walked, which is no longer than a source's share. */
static uint32_t of_source(const struct syns *s, const uint8_t *source, uint64_t hash, struct syn **oldest)
{
	uint32_t count = 0;

	for (struct map_node *n = map_first(&s->sources, hash); n != NULL; n = map_next(n, hash)) {
		struct syn *y = container_of(n, struct syn, source_node);

		if (memcmp(y->key, source, 4) != 0)
			continue;
		if (count++ == 0 || y->until_ms < (*oldest)->until_ms)
			*oldest = y;
	}
	return count;
}

static void forget(struct syns *s, struct syn *y)
{
	take_out(s, y);
	free(y);
}

bool syns_add(struct syns *s, const struct packet *p, uint32_t mark, int64_t now_ms)
{
	uint8_t key[12];
	size_t bytes = p->bytes.len;
	uint32_t share = s->max / SLOW_SOURCE_SHARE;
	struct syn *oldest = NULL;

	if (s->max == 0 || p->family != 4 || bytes < p->l4 + 20 || bytes > SLOW_SYN_BYTES_MAX)
		return false;
	memcpy(key, p->src, 8);
	memcpy(key + 8, p->bytes.ptr + p->l4, 4);
	uint64_t hash = map_hash(slice_of(key, sizeof(key))), source_hash = map_hash(slice_of(key, 4));

	if (find(s, key, hash) != NULL)
		return true;
	if (of_source(s, key, source_hash, &oldest) >= (share == 0 ? 1 : share))
		forget(s, oldest);
	while (s->waiting.count >= s->max)
		forget(s, container_of(s->ages.next, struct syn, age));
	struct syn *y = malloc(sizeof(*y) + bytes);

	if (y == NULL)
		return false;
	*y = (struct syn){ .until_ms = now_ms + s->wait_ms, .mark = mark, .bytes = bytes };
	memcpy(y->key, key, sizeof(key));
	memcpy(y->packet, p->bytes.ptr, bytes);
	if (map_add(&s->waiting, &y->node, hash) != 0) {
		free(y);
		return false;
	}
	if (map_add(&s->sources, &y->source_node, source_hash) != 0) {
		map_del(&s->waiting, &y->node);
		free(y);
		return false;
	}
	list_push_back(&s->ages, &y->age);
	return true;
}

bool syns_expired(struct syns *s, int64_t now_ms, struct slice *packet, uint32_t *mark)
{
	if (list_empty(&s->ages))
		return false;
	struct syn *y = container_of(s->ages.next, struct syn, age);

	if (y->until_ms > now_ms)
		return false;
	take_out(s, y);
	free(s->last);
	s->last = y;
	*packet = slice_of(y->packet, y->bytes);
	*mark = y->mark;
	return true;
}

int64_t syns_next(const struct syns *s, int64_t now_ms)
{
	if (list_empty(&s->ages))
		return -1;
	int64_t left = container_of(s->ages.next, struct syn, age)->until_ms - now_ms;

	return left < 0 ? 0 : left;
}
