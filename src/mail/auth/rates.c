#include "mail/auth/rates.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/map.h"
#include "base/must.h"

#define KEY_BYTES_MAX 32u
#define MINUTE_US     60000000

struct client {
	struct map_node node;
	struct list link;		/* least recently used first */
	uint8_t key[KEY_BYTES_MAX];	/* kind, then the client's bytes, cut */
	uint8_t key_len;
	unsigned active;		/* open connections */
	int64_t full_at_us;		/* when the bucket is full again */
};

struct rates {
	struct map map;
	struct list used;
	size_t max;
};

int rates_new(size_t max_clients, struct rates **out)
{
	struct rates *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	list_init(&r->used);
	r->max = max_clients;
	*out = r;
	return 0;
}

static void forget(struct rates *r, struct client *c)
{
	map_del(&r->map, &c->node);
	list_del(&c->link);
	free(c);
}

void rates_free(struct rates *r)
{
	if (r == NULL)
		return;
	list_for_each(it, &r->used)
		forget(r, list_entry(it, struct client, link));
	map_done(&r->map);
	free(r);
}

static struct client *find(struct rates *r, enum rate_kind kind, struct slice who, bool make)
{
	uint8_t key[KEY_BYTES_MAX];
	struct slice cut = slice_head(who, sizeof(key) - 1);

	key[0] = (uint8_t)kind;
	if (cut.len > 0)
		memcpy(key + 1, cut.ptr, cut.len);
	struct slice all = slice_of(key, cut.len + 1);
	uint64_t hash = map_hash(all);
	for (struct map_node *n = map_first(&r->map, hash); n != NULL; n = map_next(n, hash)) {
		struct client *c = container_of(n, struct client, node);
		if (!slice_eq(slice_of(c->key, c->key_len), all))
			continue;
		list_del(&c->link);
		list_push_back(&r->used, &c->link);
		return c;
	}
	if (!make)
		return NULL;
	/* Make room among the eight that were quiet longest; open connections are not forgotten. */
	unsigned looked = 0;
	list_for_each(it, &r->used) {
		struct client *old = list_entry(it, struct client, link);
		if (r->map.count < r->max || looked++ == 8)
			break;
		if (old->active == 0)
			forget(r, old);
	}
	struct client *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	memcpy(c->key, key, all.len);
	c->key_len = (uint8_t)all.len;
	if (map_add(&r->map, &c->node, hash) != 0) {
		free(c);
		return NULL;
	}
	list_push_back(&r->used, &c->link);
	return c;
}

bool rates_take(struct rates *r, enum rate_kind kind, struct slice client, unsigned per_minute,
		unsigned n, int64_t now_us)
{
	if (r == NULL || per_minute == 0)
		return true;
	struct client *c = find(r, kind, client, true);
	if (c == NULL)
		return true;		/* no memory to count: the other limits stand */
	int64_t each_us = MINUTE_US / per_minute;
	int64_t from = c->full_at_us > now_us ? c->full_at_us : now_us;
	int64_t full_at = from + (int64_t)n * (each_us == 0 ? 1 : each_us);
	if (full_at - now_us > MINUTE_US)
		return false;
	c->full_at_us = full_at;
	return true;
}

bool rates_open(struct rates *r, struct slice client, unsigned max)
{
	if (r == NULL)
		return true;
	struct client *c = find(r, 0, client, true);
	if (c == NULL)
		return true;
	if (max > 0 && c->active >= max)
		return false;
	c->active++;
	return true;
}

bool rates_close(struct rates *r, struct slice client)
{
	struct client *c = r == NULL ? NULL : find(r, 0, client, false);

	/* Absent only when memory was short at rates_open. */
	if (c == NULL || c->active == 0)
		return false;
	c->active--;
	return true;
}

void rates_each_open(const struct rates *r, void (*fn)(void *arg, struct slice client, unsigned open),
		     void *arg)
{
	list_for_each(it, (struct list *)(uintptr_t)&r->used) {
		const struct client *c = list_entry(it, struct client, link);
		if (c->key[0] == 0 && c->active > 0)
			fn(arg, slice_of(c->key + 1, c->key_len - 1u), c->active);
	}
}

void rates_close_all(struct rates *r, struct rates *these)
{
	list_for_each(it, &these->used) {
		struct client *c = list_entry(it, struct client, link);
		struct client *all = c->key[0] == 0 && c->active > 0 ?
				     find(r, 0, slice_of(c->key + 1, c->key_len - 1u), false) : NULL;
		if (all != NULL)
			all->active -= MIN(all->active, c->active);
		if (c->key[0] == 0)
			c->active = 0;
	}
}

struct slice rate_client(const struct sockaddr_storage *peer, uint8_t bytes[RATE_CLIENT_BYTES])
{
	const struct sockaddr_in *v4 = (const void *)peer;
	const struct sockaddr_in6 *v6 = (const void *)peer;

	if (peer->ss_family == AF_INET) {
		memcpy(bytes, &v4->sin_addr, 4);
		return slice_of(bytes, 4);
	}
	if (peer->ss_family == AF_INET6) {
		if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
			memcpy(bytes, v6->sin6_addr.s6_addr + 12, 4);
			return slice_of(bytes, 4);
		}
		memcpy(bytes, &v6->sin6_addr, 8);
		return slice_of(bytes, 8);
	}
	return slice_of(bytes, 0);
}
