#include "mail/auth/guard.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/must.h"
#include "sys/fiber.h"

#define KEY_BYTES	16u
#define DELAY_MS_FIRST	250u

/* Names of peers as fixed-size keys: the tables then cost the same whatever is sent. */
static void key_of(uint8_t out[KEY_BYTES], struct slice a, struct slice b)
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, NULL, 0, KEY_BYTES);
	crypto_generichash_update(&st, a.ptr, a.len);
	crypto_generichash_update(&st, (const uint8_t *)"", 1);
	crypto_generichash_update(&st, b.ptr, b.len);
	crypto_generichash_final(&st, out, KEY_BYTES);
}

struct source {
	struct map_node node;
	struct list order;
	struct list waiters;
	unsigned count;
	uint8_t key[KEY_BYTES];
};

struct waiter {
	struct list link;
	struct source *source;
	struct fiber_event event;
};

void turns_init(struct turns *t, unsigned max)
{
	*t = (struct turns){ .max = max > 0 ? max : 1 };
	list_init(&t->order);
}

void turns_done(struct turns *t)
{
	must(t->waiting == 0);
	map_done(&t->sources);
}

static struct source *source_get(struct turns *t, struct slice name)
{
	uint8_t key[KEY_BYTES];
	struct source *s;
	uint64_t hash;

	key_of(key, name, SLICE("turn"));
	hash = map_hash(slice_of(key, KEY_BYTES));
	for (struct map_node *n = map_first(&t->sources, hash); n != NULL; n = map_next(n, hash)) {
		s = container_of(n, struct source, node);
		if (memcmp(s->key, key, KEY_BYTES) == 0)
			return s;
	}
	s = calloc(1, sizeof(*s));
	if (s == NULL || map_add(&t->sources, &s->node, hash) < 0) {
		free(s);
		return NULL;
	}
	memcpy(s->key, key, KEY_BYTES);
	list_init(&s->waiters);
	list_push_back(&t->order, &s->order);
	return s;
}

static void waiter_del(struct turns *t, struct waiter *w)
{
	struct source *s = w->source;

	list_del(&w->link);
	s->count--;
	t->waiting--;
	if (s->count == 0) {
		map_del(&t->sources, &s->node);
		list_del(&s->order);
		free(s);
	}
}

bool turns_enter(struct turns *t, struct slice source, int64_t timeout_us)
{
	struct waiter w = { 0 };

	if (t->running < t->max || fiber_self() == NULL) {
		t->running++;
		return true;
	}
	if (t->waiting >= AUTH_WAITING_MAX)
		return false;
	w.source = source_get(t, source);
	if (w.source == NULL || w.source->count >= AUTH_WAITING_PER_SOURCE_MAX)
		return false;
	list_push_back(&w.source->waiters, &w.link);
	w.source->count++;
	t->waiting++;
	if (fiber_event_wait(&w.event, timeout_us))
		return true;	/* turns_leave took us off the list and kept `running` for us */
	waiter_del(t, &w);
	return false;
}

void turns_leave(struct turns *t)
{
	struct source *s;
	struct waiter *w;

	must(t->running > 0);
	if (list_empty(&t->order) || t->running > t->max) {
		t->running--;
		return;
	}
	s = list_entry(t->order.next, struct source, order);
	list_del(&s->order);
	list_push_back(&t->order, &s->order);
	w = list_entry(s->waiters.next, struct waiter, link);
	waiter_del(t, w);
	fiber_event_set(&w->event);
}

struct failure {
	struct map_node node;
	struct list lru;
	uint8_t key[KEY_BYTES];
	unsigned count;
	int64_t last_s;
	unsigned in_minute;		/* of those since minute_s */
	int64_t minute_s;
};

void failures_init(struct failures *f)
{
	*f = (struct failures){ 0 };
	list_init(&f->lru);
}

static void failure_del(struct failures *f, struct failure *x)
{
	map_del(&f->map, &x->node);
	list_del(&x->lru);
	free(x);
}

void failures_done(struct failures *f)
{
	list_for_each(it, &f->lru)
		failure_del(f, list_entry(it, struct failure, lru));
	map_done(&f->map);
}

static struct failure *failure_find(struct failures *f, struct slice source, struct slice user,
				    uint8_t key[KEY_BYTES])
{
	uint64_t hash;

	key_of(key, source, user);
	hash = map_hash(slice_of(key, KEY_BYTES));
	for (struct map_node *n = map_first(&f->map, hash); n != NULL; n = map_next(n, hash)) {
		struct failure *x = container_of(n, struct failure, node);

		if (memcmp(x->key, key, KEY_BYTES) == 0)
			return x;
	}
	return NULL;
}

static unsigned failure_count(struct failures *f, struct slice source, struct slice user,
			      int64_t now_s)
{
	uint8_t key[KEY_BYTES];
	struct failure *x = failure_find(f, source, user, key);

	if (x == NULL || now_s - x->last_s > AUTH_FAILURES_FORGET_S)
		return 0;
	return x->count;
}

static bool minute_is_full(struct failures *f, struct slice source, int64_t now_s)
{
	uint8_t key[KEY_BYTES];
	struct failure *x = failure_find(f, source, (struct slice){ 0 }, key);

	return f->source_per_minute > 0 && x != NULL && now_s - x->minute_s < 60 &&
	       x->in_minute >= f->source_per_minute;
}

bool failures_allow(struct failures *f, struct slice source, struct slice user, int64_t now_s)
{
	if (minute_is_full(f, source, now_s))
		return false;
	/* No user has an empty name: that entry counts for the source. */
	return failure_count(f, source, user, now_s) < AUTH_FAILURES_PAIR_MAX &&
	       failure_count(f, source, (struct slice){ 0 }, now_s) < AUTH_FAILURES_SOURCE_MAX;
}

static unsigned failure_add(struct failures *f, struct slice source, struct slice user,
			    int64_t now_s)
{
	uint8_t key[KEY_BYTES];
	struct failure *x = failure_find(f, source, user, key);

	if (x == NULL) {
		while (f->map.count >= AUTH_FAILURES_TRACKED_MAX)
			failure_del(f, list_entry(f->lru.prev, struct failure, lru));
		x = calloc(1, sizeof(*x));
		if (x == NULL ||
		    map_add(&f->map, &x->node, map_hash(slice_of(key, KEY_BYTES))) < 0) {
			free(x);
			return AUTH_FAILURES_PAIR_MAX;	/* unknown, so slow */
		}
		memcpy(x->key, key, KEY_BYTES);
		list_init(&x->lru);
	}
	if (now_s - x->last_s > AUTH_FAILURES_FORGET_S)
		x->count = 0;
	if (x->in_minute == 0 || now_s - x->minute_s >= 60) {
		x->in_minute = 0;
		x->minute_s = now_s;
	}
	x->in_minute++;
	x->count++;
	x->last_s = now_s;
	list_del(&x->lru);
	list_push_front(&f->lru, &x->lru);
	return x->count;
}

unsigned failures_add(struct failures *f, struct slice source, struct slice user, int64_t now_s)
{
	unsigned count = failure_add(f, source, user, now_s), delay_ms = DELAY_MS_FIRST;

	failure_add(f, source, (struct slice){ 0 }, now_s);
	for (unsigned i = 1; i < count && delay_ms < AUTH_DELAY_MS_MAX; i++)
		delay_ms *= 2;
	return MIN(delay_ms, (unsigned)AUTH_DELAY_MS_MAX);
}

void failures_forgive(struct failures *f, struct slice source, struct slice user)
{
	uint8_t key[KEY_BYTES];
	struct failure *x = failure_find(f, source, user, key);

	if (x != NULL)
		failure_del(f, x);
}

struct memory {
	struct map_node node;
	struct list lru;
	uint8_t key[KEY_BYTES];
	uint8_t tag[crypto_auth_hmacsha256_BYTES];
	int64_t until_s;
};

void remembered_init(struct remembered *m, const uint8_t key[32])
{
	*m = (struct remembered){ 0 };
	memcpy(m->key, key, sizeof(m->key));
	list_init(&m->lru);
}

static void memory_del(struct remembered *m, struct memory *x)
{
	map_del(&m->map, &x->node);
	list_del(&x->lru);
	sodium_memzero(x, sizeof(*x));
	free(x);
}

void remembered_done(struct remembered *m)
{
	list_for_each(it, &m->lru)
		memory_del(m, list_entry(it, struct memory, lru));
	map_done(&m->map);
	sodium_memzero(m->key, sizeof(m->key));
}

static struct memory *memory_find(struct remembered *m, struct slice user, uint8_t key[KEY_BYTES])
{
	uint64_t hash;

	key_of(key, user, SLICE("remember"));
	hash = map_hash(slice_of(key, KEY_BYTES));
	for (struct map_node *n = map_first(&m->map, hash); n != NULL; n = map_next(n, hash)) {
		struct memory *x = container_of(n, struct memory, node);

		if (memcmp(x->key, key, KEY_BYTES) == 0)
			return x;
	}
	return NULL;
}

static void memory_tag(const struct remembered *m, struct slice user, struct slice hash,
		       struct slice password, uint8_t tag[crypto_auth_hmacsha256_BYTES])
{
	crypto_auth_hmacsha256_state st;

	crypto_auth_hmacsha256_init(&st, m->key, sizeof(m->key));
	crypto_auth_hmacsha256_update(&st, user.ptr, user.len);
	crypto_auth_hmacsha256_update(&st, (const uint8_t *)"", 1);
	crypto_auth_hmacsha256_update(&st, hash.ptr, hash.len);
	crypto_auth_hmacsha256_update(&st, (const uint8_t *)"", 1);
	crypto_auth_hmacsha256_update(&st, password.ptr, password.len);
	crypto_auth_hmacsha256_final(&st, tag);
	sodium_memzero(&st, sizeof(st));
}

bool remembered_has(struct remembered *m, struct slice user, struct slice hash,
		    struct slice password, int64_t now_s)
{
	uint8_t key[KEY_BYTES], tag[crypto_auth_hmacsha256_BYTES];
	struct memory *x = memory_find(m, user, key);

	if (x == NULL)
		return false;
	if (now_s >= x->until_s) {
		memory_del(m, x);
		return false;
	}
	memory_tag(m, user, hash, password, tag);
	return sodium_memcmp(tag, x->tag, sizeof(tag)) == 0;
}

void remembered_add(struct remembered *m, struct slice user, struct slice hash,
		    struct slice password, int64_t now_s)
{
	uint8_t key[KEY_BYTES];
	struct memory *x = memory_find(m, user, key);

	if (x == NULL) {
		while (m->map.count >= AUTH_REMEMBERED_MAX)
			memory_del(m, list_entry(m->lru.prev, struct memory, lru));
		x = calloc(1, sizeof(*x));
		if (x == NULL ||
		    map_add(&m->map, &x->node, map_hash(slice_of(key, KEY_BYTES))) < 0) {
			free(x);
			return;
		}
		memcpy(x->key, key, KEY_BYTES);
		list_init(&x->lru);
	}
	memory_tag(m, user, hash, password, x->tag);
	x->until_s = now_s + AUTH_REMEMBER_S;
	list_del(&x->lru);
	list_push_front(&m->lru, &x->lru);
}

void remembered_drop(struct remembered *m, struct slice user)
{
	uint8_t key[KEY_BYTES];
	struct memory *x = memory_find(m, user, key);

	if (x != NULL)
		memory_del(m, x);
}

struct slice source_key(struct slice address, char out[48])
{
	struct in6_addr v6;
	char text[48];

	if (!slice_to_str(slice_head(address, sizeof(text) - 1), text, sizeof(text)))
		text[0] = '\0';
	if (inet_pton(AF_INET6, text, &v6) == 1) {
		if (IN6_IS_ADDR_V4MAPPED(&v6)) {
			inet_ntop(AF_INET, &v6.s6_addr[12], out, 48);
		} else {
			memset(&v6.s6_addr[8], 0, 8);
			inet_ntop(AF_INET6, &v6, out, 48);
		}
	} else {
		memcpy(out, text, sizeof(text));
	}
	return slice_str(out);
}
