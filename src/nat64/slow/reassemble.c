#include "nat64/slow/reassemble_private.h"

#include <errno.h>
#include <stdlib.h>

/* What malloc and we need for a fragment, counted as its bytes: many small ones are not free. */
#define PIECE_COST 64u
#define RETRY_MS 4
/* A share never is less than a datagram of the largest size in many fragments. */
#define SHARE_MIN (DATAGRAM_BYTES_MAX + SLOW_FRAGMENTS_MAX * PIECE_COST)

struct piece {
	struct piece *next;
	uint32_t from, to;
	uint32_t head_bytes;		/* of the packet, before its part of the datagram */
	uint32_t joined_bytes;		/* of these: what a whole datagram keeps */
	uint32_t next_at;
	uint32_t mark;
	uint8_t protocol;
	uint8_t bytes[];		/* the packet as it came */
};

struct key {
	uint8_t src[16], dst[16];
	uint32_t id;
	uint8_t family, protocol;	/* IPv6 does not tell datagrams apart by protocol (RFC 8200 4.5) */
	uint8_t zero[2];
};

struct source {
	struct map_node node;
	uint8_t key[17];		/* family, address */
	uint32_t datagrams;
	uint64_t bytes;
	struct list ages;		/* of its datagrams, oldest first */
};

struct datagram {
	struct map_node node;
	struct list age, of_source;
	struct key key;
	struct source *source;
	int64_t until_ms;
	int64_t retry_ms, retry_step_ms;
	struct piece *pieces;		/* by offset, disjoint */
	uint32_t count, have, total;	/* total 0: the last fragment did not come yet */
	uint64_t cost;
	bool dead;
	bool congested;			/* a fragment was marked CE (RFC 3168 5.3) */
};

int reassembly_new(const struct reassembly_limits *limits, void (*count)(void *arg, enum xlat_reason reason), void *arg,
		   struct reassembly **out)
{
	struct reassembly *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	r->limits = *limits;
	r->count = count;
	r->arg = arg;
	list_init(&r->ages);
	r->retry_ms = INT64_MAX;
	*out = r;
	return 0;
}

void reassembly_limit(struct reassembly *r, const struct reassembly_limits *limits)
{
	r->limits = *limits;
}

static void clear(struct reassembly *r, struct datagram *d)
{
	while (d->pieces != NULL) {
		struct piece *next = d->pieces->next;

		free(d->pieces);
		d->pieces = next;
	}
	d->source->bytes -= d->cost;
	r->bytes -= d->cost;
	d->cost = d->count = d->have = 0;
}

static void drop_datagram(struct reassembly *r, struct datagram *d)
{
	struct source *s = d->source;

	clear(r, d);
	list_del(&d->age);
	list_del(&d->of_source);
	map_del(&r->datagrams, &d->node);
	free(d);
	if (--s->datagrams == 0) {
		map_del(&r->sources, &s->node);
		free(s);
	}
}

void reassembly_free(struct reassembly *r)
{
	if (r == NULL)
		return;
	while (!list_empty(&r->ages))
		drop_datagram(r, container_of(r->ages.next, struct datagram, age));
	map_done(&r->datagrams);
	map_done(&r->sources);
	free(r);
}

static void make_key(const struct packet *p, struct key *key)
{
	size_t n = p->family == 4 ? 4 : 16;

	*key = (struct key){ .id = p->id, .family = (uint8_t)p->family, .protocol = p->family == 4 ? p->protocol : 0 };
	memcpy(key->src, p->src, n);
	memcpy(key->dst, p->dst, n);
}

static struct datagram *find(const struct reassembly *r, const struct key *key)
{
	uint64_t hash = map_hash(slice_of(key, sizeof(*key)));

	for (struct map_node *n = map_first(&r->datagrams, hash); n != NULL; n = map_next(n, hash)) {
		struct datagram *d = container_of(n, struct datagram, node);

		if (memcmp(&d->key, key, sizeof(*key)) == 0)
			return d;
	}
	return NULL;
}

static struct source *source_of(struct reassembly *r, const struct packet *p)
{
	uint8_t key[17] = { (uint8_t)p->family };

	memcpy(key + 1, p->src, p->family == 4 ? 4 : 8);
	uint64_t hash = map_hash(slice_of(key, sizeof(key)));

	for (struct map_node *n = map_first(&r->sources, hash); n != NULL; n = map_next(n, hash)) {
		struct source *s = container_of(n, struct source, node);

		if (memcmp(s->key, key, sizeof(key)) == 0)
			return s;
	}
	struct source *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	memcpy(s->key, key, sizeof(key));
	list_init(&s->ages);
	if (map_add(&r->sources, &s->node, hash) != 0) {
		free(s);
		return NULL;
	}
	return s;
}

static void evict(struct reassembly *r, struct datagram *d)
{
	if (!d->dead)
		r->count(r->arg, XLAT_R_FRAGMENT_LIMIT);
	drop_datagram(r, d);
}

static struct datagram *oldest_of(struct source *s)
{
	return container_of(s->ages.next, struct datagram, of_source);
}

static struct datagram *datagram_of(struct reassembly *r, const struct packet *p, int64_t now_ms)
{
	struct key key;

	make_key(p, &key);
	struct datagram *d = find(r, &key);

	if (d != NULL)
		return d;
	uint32_t share = r->limits.datagrams_max / SLOW_SOURCE_SHARE;
	struct source *s = source_of(r, p);

	if (s == NULL)
		return NULL;
	s->datagrams++;			/* so that it stays while others go */
	while (s->datagrams > (share == 0 ? 1 : share) && !list_empty(&s->ages))
		evict(r, oldest_of(s));
	while (r->datagrams.count >= r->limits.datagrams_max && !list_empty(&r->ages))
		evict(r, container_of(r->ages.next, struct datagram, age));
	d = calloc(1, sizeof(*d));
	if (d == NULL || map_add(&r->datagrams, &d->node, map_hash(slice_of(&key, sizeof(key)))) != 0) {
		free(d);
		if (--s->datagrams == 0) {
			map_del(&r->sources, &s->node);
			free(s);
		}
		return NULL;
	}
	d->key = key;
	d->source = s;
	d->until_ms = now_ms + r->limits.fragment_ms;
	d->retry_step_ms = RETRY_MS;
	d->retry_ms = now_ms + RETRY_MS;
	if (d->retry_ms < r->retry_ms)
		r->retry_ms = d->retry_ms;
	list_push_back(&r->ages, &d->age);
	list_push_back(&s->ages, &d->of_source);
	return d;
}

/* The transport header of a first fragment lies in it (RFC 1858 3, RFC 7112 5); and none begins inside of TCP's (RFC 1858 4.2). */
static bool holds_transport(const struct packet *p)
{
	struct slice rest = slice_from(p->bytes, p->l4);
	uint8_t protocol = p->protocol;

	if (p->offset != 0)
		return p->offset != 8 || protocol != XLAT_TCP;
	for (unsigned i = 0; p->family == 6 && (protocol == 0 || protocol == 43 || protocol == 60); i++) {
		if (i == XLAT_EXTENSIONS_MAX || rest.len < 8 || (rest.ptr[1] + 1u) * 8 > rest.len)
			return false;
		protocol = rest.ptr[0];
		rest = slice_from(rest, (rest.ptr[1] + 1u) * 8);
	}
	switch (protocol) {
	case XLAT_TCP:
		return rest.len >= 20 && rest.len >= (rest.ptr[12] >> 4) * 4u;
	case XLAT_UDP:
	case XLAT_ICMP:
	case XLAT_ICMP6:
		return rest.len >= 8;
	default:
		return true;
	}
}

static bool room_for(struct reassembly *r, struct datagram *d, uint64_t cost)
{
	uint64_t share = r->limits.bytes_max / SLOW_SOURCE_SHARE;
	struct source *s = d->source;

	share = share < SHARE_MIN ? SHARE_MIN : share;
	while (s->bytes + cost > share) {
		struct datagram *old = oldest_of(s);

		if (old == d && old->of_source.next != &s->ages)	/* the one at hand goes last */
			old = container_of(old->of_source.next, struct datagram, of_source);
		if (old == d)
			return false;
		evict(r, old);
	}
	while (r->bytes + cost > r->limits.bytes_max) {
		struct datagram *old = container_of(r->ages.next, struct datagram, age);

		if (old == d && old->age.next != &r->ages)
			old = container_of(old->age.next, struct datagram, age);
		if (old == d)
			return false;
		evict(r, old);
	}
	return true;
}

enum placing { PLACED, THERE_ALREADY, OVERLAPS, NO_ROOM, NO_MEMORY };

static enum placing place(struct reassembly *r, struct datagram *d, const struct packet *p, uint32_t mark)
{
	struct slice data = slice_from(p->bytes, p->l4);
	uint32_t from = p->offset, to = from + (uint32_t)data.len;
	struct piece **at = &d->pieces;

	while (*at != NULL && (*at)->to <= from)
		at = &(*at)->next;
	struct piece *n = *at;

	if (n != NULL && n->from < to)
		return n->from == from && n->to == to && memcmp(n->bytes + n->head_bytes, data.ptr, data.len) == 0 &&
		       p->more == (d->total != to) ? THERE_ALREADY : OVERLAPS;
	if (d->total != 0 && (to > d->total || !p->more))
		return OVERLAPS;
	if (!p->more && n != NULL)	/* something lies behind what says it is the end */
		return OVERLAPS;
	uint64_t cost = p->bytes.len + PIECE_COST;

	if (d->count == SLOW_FRAGMENTS_MAX || !room_for(r, d, cost))
		return NO_ROOM;
	n = malloc(sizeof(*n) + p->bytes.len);
	if (n == NULL)
		return NO_MEMORY;
	*n = (struct piece){ .next = *at, .from = from, .to = to, .head_bytes = p->l4, .next_at = p->next_at, .protocol = p->protocol,
			     .joined_bytes = p->family == 4 ? p->l4 : p->fragment_at, .mark = mark };
	memcpy(n->bytes, p->bytes.ptr, p->bytes.len);
	*at = n;
	d->count++;
	d->have += (uint32_t)data.len;
	d->cost += cost;
	d->source->bytes += cost;
	r->bytes += cost;
	if (!p->more)
		d->total = to;
	return PLACED;
}

static unsigned ecn(const struct packet *p)
{
	return p->family == 4 ? p->bytes.ptr[1] & 3u : p->bytes.ptr[1] >> 4 & 3u;
}

static bool join(const struct datagram *d, struct buf *whole)
{
	const struct piece *first = d->pieces;

	buf_reset(whole);
	buf_add(whole, slice_of(first->bytes, first->joined_bytes));
	for (const struct piece *n = first; n != NULL; n = n->next)
		buf_add(whole, slice_of(n->bytes + n->head_bytes, n->to - n->from));
	if (whole->err != 0)
		return false;
	uint8_t *ip = whole->ptr;

	if (d->key.family == 4) {
		if (whole->len > IP_BYTES_MAX)
			return false;
		put16(ip + 2, (uint32_t)whole->len);
		put16(ip + 6, get16(ip + 6) & IP4_DF);
		if (d->congested && (ip[1] & 3) != 0)
			ip[1] |= 3;
		packet_sum4(ip);
	} else {
		if (whole->len - IP6_BYTES > IP_BYTES_MAX)
			return false;
		put16(ip + 4, (uint32_t)whole->len - IP6_BYTES);
		ip[first->next_at] = first->protocol;
		if (d->congested && (ip[1] & 0x30) != 0)
			ip[1] |= 0x30;
	}
	return true;
}

static enum reassembly_result refuse(enum xlat_reason reason, enum xlat_reason *why)
{
	*why = reason;
	return REASSEMBLY_DROPPED;
}

/* It stays without content, so that the rest of it is known and dropped as well (RFC 5722 4). */
static enum reassembly_result kill_datagram(struct reassembly *r, struct datagram *d, enum xlat_reason reason, enum xlat_reason *why)
{
	clear(r, d);
	d->dead = true;
	return refuse(reason, why);
}

enum reassembly_result reassembly_add(struct reassembly *r, const struct packet *p, uint32_t mark, int64_t now_ms, struct buf *whole,
				      enum xlat_reason *why)
{
	size_t bytes = p->bytes.len - p->l4;

	if (bytes == 0 || (p->more && bytes % 8 != 0) || p->offset + bytes > DATAGRAM_BYTES_MAX || !holds_transport(p))
		return refuse(XLAT_R_BAD_FRAGMENT, why);
	reassembly_tick(r, now_ms);
	struct datagram *d = datagram_of(r, p, now_ms);

	if (d == NULL)
		return refuse(XLAT_R_FRAGMENT_LIMIT, why);
	if (d->dead)
		return refuse(XLAT_R_FRAGMENT_OVERLAP, why);
	switch (place(r, d, p, mark)) {
	case PLACED:
		break;
	case THERE_ALREADY:
		return REASSEMBLY_KEPT;
	case OVERLAPS:
		return kill_datagram(r, d, XLAT_R_FRAGMENT_OVERLAP, why);
	case NO_ROOM:
	case NO_MEMORY:
		return kill_datagram(r, d, XLAT_R_FRAGMENT_LIMIT, why);
	}
	d->congested |= ecn(p) == 3;
	if (d->total == 0 || d->have != d->total)
		return REASSEMBLY_KEPT;
	bool fine = join(d, whole);

	drop_datagram(r, d);
	return fine ? REASSEMBLY_WHOLE : refuse(XLAT_R_BAD_FRAGMENT, why);
}

int64_t reassembly_tick(struct reassembly *r, int64_t now_ms)
{
	while (!list_empty(&r->ages)) {
		struct datagram *d = container_of(r->ages.next, struct datagram, age);

		if (d->until_ms > now_ms)
			return d->until_ms - now_ms;
		if (!d->dead)
			r->count(r->arg, XLAT_R_FRAGMENT_TIMEOUT);
		drop_datagram(r, d);
	}
	return -1;
}

/* Nothing that was kept tells the first fragment's ports. */
static bool leaderless(const struct datagram *d)
{
	return !d->dead && d->pieces != NULL && d->pieces->from != 0;
}

int64_t reassembly_retry(struct reassembly *r, int64_t now_ms, enum reassembly_verdict (*ask)(void *arg, struct slice fragment),
			 void (*take)(void *arg, struct slice fragment, uint32_t mark), void *arg)
{
	int64_t next = INT64_MAX;
	struct list *item = r->ages.next;

	if (now_ms < r->retry_ms)
		return r->retry_ms == INT64_MAX ? -1 : r->retry_ms - now_ms;
	while (item != &r->ages) {
		struct datagram *d = container_of(item, struct datagram, age);

		item = item->next;
		if (!leaderless(d))
			continue;
		if (d->retry_ms <= now_ms) {
			const struct piece *n = d->pieces;
			enum reassembly_verdict v = ask(arg, slice_of(n->bytes, n->head_bytes + n->to - n->from));

			for (; v == REASSEMBLY_TAKE && n != NULL; n = n->next)
				take(arg, slice_of(n->bytes, n->head_bytes + n->to - n->from), n->mark);
			if (v != REASSEMBLY_WAIT) {
				drop_datagram(r, d);
				continue;
			}
			d->retry_step_ms *= 2;
			d->retry_ms = now_ms + d->retry_step_ms;
		}
		if (d->retry_ms < next)
			next = d->retry_ms;
	}
	r->retry_ms = next;
	return next == INT64_MAX ? -1 : next - now_ms;
}
