/*
 * Delivery by append only: see delivery.h, and merge.c for how copies are told apart.
 *
 * With one bucket (embedded engine) an attempt is a call. With several, an attempt is a fiber:
 * when the chosen bucket does not answer within the hedge time, the next best gets the same
 * record as a later attempt, and whichever is durable first answers for the recipient.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/must.h"
#include "mail/mailbox/internal.h"

#define HEDGE_US	200000
#define DEADLINE_US	5000000
#define REMEMBER_MAX	20000u	/* accounts whose tails are kept */
#define TOGETHER_MAX	64u	/* recipients stored at the same time */
#define TRIES_IN_A_ROW	3u

struct place_memory {
	struct map_node node;
	struct list link;		/* least recently used first */
	char account[ACCOUNT_ID_BYTES];
	unsigned users;
	struct tail tails[BUCKETS_MAX];
	int64_t latency_us[BUCKETS_MAX];	/* moving average */
	int64_t pending_since_us[BUCKETS_MAX];	/* oldest unanswered write; 0: none */
};

struct deliverer {
	struct world *world;
	uint8_t buckets;
	int64_t hedge_us, deadline_us;
	struct map memories;
	struct list used;
	unsigned shots;			/* attempts under way */
};

struct recipient_state {
	struct buf prefix;
	struct body_stream stream;
	bool failed;			/* its stream could not be written: status says why */
};

struct delivery {
	struct deliverer *d;
	uint8_t transaction[TRANSACTION_ID_BYTES];
	struct delivery_recipient *recipients;
	struct recipient_state *states;
	size_t count;
	struct buf body;
	uint64_t bytes;
	bool streaming;
	void (*copy)(void *arg, struct slice piece);	/* NULL: nobody wants one */
	void *copy_arg;
	unsigned users;			/* the caller and attempts that still need the bytes */
};

int deliverer_new(struct world *world, const struct deliverer_options *o, struct deliverer **out)
{
	struct deliverer *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return -ENOMEM;
	must(o->buckets >= 1 && o->buckets <= BUCKETS_MAX);
	d->world = world;
	d->buckets = o->buckets;
	d->hedge_us = o->hedge_us > 0 ? o->hedge_us : HEDGE_US;
	d->deadline_us = o->deadline_us > 0 ? o->deadline_us : DEADLINE_US;
	list_init(&d->used);
	*out = d;
	return 0;
}

static void memory_free(struct deliverer *d, struct place_memory *p)
{
	map_del(&d->memories, &p->node);
	list_del(&p->link);
	free(p);
}

void deliverer_free(struct deliverer *d)
{
	if (d == NULL)
		return;
	must(d->shots == 0);
	while (!list_empty(&d->used))
		memory_free(d, list_entry(d->used.next, struct place_memory, link));
	map_done(&d->memories);
	free(d);
}

static struct place_memory *memory_get(struct deliverer *d, const char account[ACCOUNT_ID_BYTES])
{
	struct slice id = slice_of(account, ACCOUNT_ID_BYTES);
	uint64_t hash = map_hash(id);
	struct place_memory *p = NULL;

	for (struct map_node *n = map_first(&d->memories, hash); n != NULL && p == NULL;
	     n = map_next(n, hash)) {
		p = container_of(n, struct place_memory, node);
		if (!slice_eq(slice_of(p->account, ACCOUNT_ID_BYTES), id))
			p = NULL;
	}
	if (p == NULL) {
		p = calloc(1, sizeof(*p));
		if (p == NULL || map_add(&d->memories, &p->node, hash) != 0) {
			free(p);
			return NULL;
		}
		memcpy(p->account, account, ACCOUNT_ID_BYTES);
		list_init(&p->link);
	}
	list_del(&p->link);
	list_push_back(&d->used, &p->link);
	p->users++;
	list_for_each(it, &d->used) {
		struct place_memory *old = list_entry(it, struct place_memory, link);

		if (d->memories.count <= REMEMBER_MAX)
			break;
		if (old->users == 0)
			memory_free(d, old);
	}
	return p;
}

int delivery_begin(struct deliverer *d, const uint8_t transaction[TRANSACTION_ID_BYTES],
		   struct delivery_recipient *recipients, size_t count, struct delivery **out)
{
	struct delivery *dl = calloc(1, sizeof(*dl));
	struct recipient_state *states = calloc(count + 1, sizeof(*states));

	if (dl == NULL || states == NULL) {
		free(dl);
		free(states);
		return -ENOMEM;
	}
	dl->d = d;
	memcpy(dl->transaction, transaction, TRANSACTION_ID_BYTES);
	dl->recipients = recipients;
	dl->states = states;
	dl->count = count;
	dl->users = 1;
	buf_init(&dl->body, BODY_MEMORY_BYTES);
	for (size_t i = 0; i < count; i++) {
		buf_init(&states[i].prefix, DELIVERY_PREFIX_BYTES_MAX);
		recipients[i].status = DELIVERY_LATER;
	}
	*out = dl;
	return 0;
}

static void delivery_unref(struct delivery *d)
{
	if (--d->users > 0)
		return;
	for (size_t i = 0; i < d->count; i++)
		buf_done(&d->states[i].prefix);
	free(d->states);
	buf_done(&d->body);
	free(d);
}

void delivery_free(struct delivery *d)
{
	if (d == NULL)
		return;
	d->recipients = NULL;
	delivery_unref(d);
}

static enum delivery_status status_of(enum engine_result r)
{
	switch (r) {
	case ENGINE_OK:
		return DELIVERY_OK;
	case ENGINE_FULL:
		return DELIVERY_FULL;
	case ENGINE_DENIED:
		return DELIVERY_DENIED;
	default:
		return DELIVERY_LATER;
	}
}

bool delivery_prefix(struct delivery *d, size_t recipient, struct slice bytes)
{
	must(d->bytes == 0);
	buf_add(&d->states[recipient].prefix, bytes);
	return d->states[recipient].prefix.err == 0;
}

void delivery_reject(struct delivery *d, size_t recipient, enum delivery_status status)
{
	must(recipient < d->count && status != DELIVERY_OK);
	d->states[recipient].failed = true;
	d->recipients[recipient].status = status;
}

static bool any_left(const struct delivery *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (!d->states[i].failed)
			return true;
	return false;
}

static void stream_fail(struct delivery *d, size_t i, enum engine_result r)
{
	d->states[i].failed = true;
	d->recipients[i].status = status_of(r);
}

/* The first time: what stands before the body, and names for the streams. */
static void streams_begin(struct delivery *d)
{
	d->streaming = true;
	for (size_t i = 0; i < d->count; i++) {
		struct recipient_state *s = &d->states[i];

		world_random(d->d->world, s->stream.id, sizeof(s->stream.id));
		enum engine_result r = body_stream_write(d->recipients[i].engine, d->d->world,
						    d->recipients[i].account, &s->stream,
						    buf_slice(&s->prefix));

		if (r != ENGINE_OK)
			stream_fail(d, i, r);
	}
}

static void streams_flush(struct delivery *d)
{
	if (d->copy != NULL && d->body.len > 0)
		d->copy(d->copy_arg, buf_slice(&d->body));
	for (size_t i = 0; i < d->count; i++) {
		if (d->states[i].failed)
			continue;
		enum engine_result r = body_stream_write(d->recipients[i].engine, d->d->world,
						    d->recipients[i].account, &d->states[i].stream,
						    buf_slice(&d->body));

		if (r != ENGINE_OK)
			stream_fail(d, i, r);
	}
	buf_reset(&d->body);
}

void delivery_copy(struct delivery *d, void (*fn)(void *arg, struct slice piece), void *arg)
{
	must(d->bytes == 0);
	d->copy = fn;
	d->copy_arg = arg;
}

bool delivery_write(struct delivery *d, struct slice bytes)
{
	if (bytes.len > UINT32_MAX - DELIVERY_PREFIX_BYTES_MAX - d->bytes)
		return false;
	d->bytes += bytes.len;
	while (bytes.len > 0) {
		struct slice now = slice_head(bytes, BODY_MEMORY_BYTES - d->body.len);

		/* Only when more comes: the last flush, in delivery_finish, is never empty. */
		if (now.len == 0) {
			if (!d->streaming)
				streams_begin(d);
			streams_flush(d);
			if (!any_left(d))
				return false;
			continue;
		}
		buf_add(&d->body, now);
		if (d->body.err != 0)
			return false;
		bytes = slice_from(bytes, now.len);
	}
	return true;
}

struct slice delivery_body(const struct delivery *d)
{
	return d->streaming ? (struct slice){ 0 } : buf_slice(&d->body);
}

uint64_t delivery_bytes(const struct delivery *d)
{
	return d->bytes;
}

/* ---- one attempt ---- */

struct finish {
	struct delivery *delivery;
	struct slice summary;
	int64_t internaldate_s;
	int16_t tz_minutes;
};

/* Everything that an attempt needs, so that it may outlive the recipient it was made for. */
struct shot {
	struct delivery *delivery;
	struct engine *engine;
	struct place_memory *memory;
	size_t index;
	uint8_t bucket;
	struct record record;
	struct slice summary;		/* in summary_bytes */
	struct buf summary_bytes;
	enum engine_result result;
	uint32_t fragment, offset;
	struct race *race;		/* NULL with one bucket */
};

/* The attempts for one recipient. */
struct race {
	unsigned users;
	struct fiber_event event;
	bool won;
	unsigned running;
	bool stop[BUCKETS_MAX];		/* only what is in flight may still land */
	uint32_t fragment[BUCKETS_MAX];	/* where; UINT32_MAX: nowhere yet */
};

static void delivery_id(const struct delivery *d, size_t i, uint8_t out[EMAIL_ID_BYTES])
{
	uint8_t text[ACCOUNT_ID_BYTES + 1];

	memcpy(text, d->recipients[i].account, ACCOUNT_ID_BYTES);
	for (uint8_t half = 0; half < 2; half++) {
		text[ACCOUNT_ID_BYTES] = half;
		uint64_t v = siphash(d->transaction, slice_of(text, sizeof(text)));

		memcpy(out + half * sizeof(v), &v, sizeof(v));
	}
}

static struct record record_of(const struct finish *f, size_t i)
{
	const struct delivery *d = f->delivery;
	const struct delivery_recipient *to = &d->recipients[i];
	struct record r = {
		.kind = RECORD_DELIVERY,
		.stream = d->streaming,
		.attempt = (uint8_t)(to->tries.count + to->tries.overflow),
		.flags = to->flags & FLAGS_ALL,
		.size = (uint32_t)(d->bytes + d->states[i].prefix.len),
		.folder = to->folder == FOLDER_NONE ? FOLDER_INBOX : to->folder,
		.internaldate_s = f->internaldate_s,
		.tz_minutes = f->tz_minutes,
		.tries = to->tries,
	};

	delivery_id(d, i, r.id);
	return r;
}

static void tries_add(struct delivery_tries *t, uint8_t bucket, uint32_t fragment)
{
	if (fragment == UINT32_MAX)
		return;			/* it never came to an append */
	for (unsigned i = 0; i < t->count; i++)
		if (t->place[i].bucket == bucket && t->place[i].fragment == fragment)
			return;
	if (t->count == DELIVERY_TRIES_MAX) {
		t->overflow = true;
		return;
	}
	t->place[t->count].bucket = bucket;
	t->place[t->count++].fragment = fragment;
}

static void shoot(struct shot *s)
{
	const struct delivery *d = s->delivery;
	const struct recipient_state *st = &d->states[s->index];
	const struct slice marker = slice_of(st->stream.id, sizeof(st->stream.id));
	const struct slice body[2] = { d->streaming ? marker : buf_slice(&st->prefix),
				       d->streaming ? (struct slice){ 0 } : buf_slice(&d->body) };
	struct place_memory *p = s->memory;
	int64_t begin = world_mono_us(d->d->world);

	if (p->pending_since_us[s->bucket] == 0)
		p->pending_since_us[s->bucket] = begin;
	s->fragment = UINT32_MAX;
	s->result = fragment_append(s->engine, p->account, s->bucket, &p->tails[s->bucket], &s->record,
				    body, 2, s->summary,
				    s->race == NULL ? NULL : &s->race->stop[s->bucket],
				    s->race == NULL ? &s->fragment : &s->race->fragment[s->bucket],
				    &s->offset);
	p->pending_since_us[s->bucket] = 0;
	int64_t took = world_mono_us(d->d->world) - begin;

	p->latency_us[s->bucket] += (took - p->latency_us[s->bucket]) / 4;
}

/* ---- one bucket ---- */

static void store_single(struct delivery *d, size_t i, const struct finish *f, struct slice summary,
			 struct place_memory *memory)
{
	struct delivery_recipient *to = &d->recipients[i];
	int64_t begin = world_mono_us(d->d->world);

	for (unsigned n = 0; n < TRIES_IN_A_ROW; n++) {
		struct shot s = { .delivery = d, .engine = to->engine, .memory = memory, .index = i,
				  .record = record_of(f, i), .summary = summary };

		shoot(&s);
		to->status = status_of(s.result);
		if (s.result == ENGINE_OK)
			return;
		if (s.result != ENGINE_UNAVAILABLE)
			return;
		tries_add(&to->tries, 0, s.fragment);
		if (world_mono_us(d->d->world) - begin > d->d->deadline_us)
			return;
	}
}

/* ---- several buckets ---- */

static void race_unref(struct race *r)
{
	if (--r->users == 0)
		free(r);
}

static void shot_free(struct shot *s)
{
	s->memory->users--;
	s->delivery->d->shots--;
	delivery_unref(s->delivery);
	race_unref(s->race);
	buf_done(&s->summary_bytes);
	free(s);
}

static void shot_fiber(void *arg)
{
	struct shot *s = arg;
	struct race *r = s->race;

	shoot(s);
	r->running--;
	r->won |= s->result == ENGINE_OK;
	fiber_event_set(&r->event);
	shot_free(s);
}

static bool shot_start(struct delivery *d, size_t i, const struct finish *f, struct slice summary,
		       struct place_memory *memory, uint8_t bucket, struct race *race)
{
	struct shot *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return false;
	*s = (struct shot){ .delivery = d, .engine = d->recipients[i].engine, .memory = memory,
			    .index = i, .bucket = bucket, .record = record_of(f, i), .race = race };
	buf_init(&s->summary_bytes, ENGINE_VALUE_BYTES_MAX);
	buf_add(&s->summary_bytes, summary);
	s->summary = buf_slice(&s->summary_bytes);
	memory->users++;
	d->d->shots++;
	d->users++;
	race->users++;
	race->running++;
	if (s->summary_bytes.err != 0 || fiber_start(fiber_loop(), shot_fiber, s) != 0) {
		race->running--;
		shot_free(s);
		return false;
	}
	return true;
}

/* The fastest bucket without an old unanswered write; 255 when all were used. */
static uint8_t bucket_choose(const struct delivery *d, const struct place_memory *p, unsigned used)
{
	int64_t now = world_mono_us(d->d->world), best = INT64_MAX;
	uint8_t choice = 255;

	for (uint8_t b = 0; b < d->d->buckets; b++) {
		int64_t score = p->latency_us[b];

		if (used & 1u << b)
			continue;
		if (p->pending_since_us[b] != 0 && now - p->pending_since_us[b] > d->d->hedge_us)
			score += now - p->pending_since_us[b] + d->d->deadline_us;
		if (score < best) {
			best = score;
			choice = b;
		}
	}
	return choice;
}

/*
 * Attempts so far begin no further append, and the place that each has in flight goes into
 * the tries: so the next attempt's record names every place where a copy can turn up.
 */
static void settle(struct race *race, unsigned used, struct delivery_tries *tries)
{
	for (uint8_t b = 0; b < BUCKETS_MAX; b++) {
		if (!(used & 1u << b))
			continue;
		race->stop[b] = true;
		tries_add(tries, b, race->fragment[b]);
	}
}

static void store_spread(struct delivery *d, size_t i, const struct finish *f, struct slice summary,
			 struct place_memory *memory)
{
	struct delivery_recipient *to = &d->recipients[i];
	struct race *race = calloc(1, sizeof(*race));
	int64_t begin = world_mono_us(d->d->world);
	unsigned used = 0;

	to->status = DELIVERY_LATER;
	if (race == NULL)
		return;
	race->users = 1;
	memset(race->fragment, 0xff, sizeof(race->fragment));
	for (;;) {
		int64_t left = begin + d->d->deadline_us - world_mono_us(d->d->world);
		uint8_t bucket = bucket_choose(d, memory, used);

		if (race->won || left <= 0 || (bucket == 255 && race->running == 0))
			break;
		race->event = (struct fiber_event){ 0 };
		if (bucket != 255) {
			settle(race, used, &to->tries);
			used |= 1u << bucket;
			if (!shot_start(d, i, f, summary, memory, bucket, race))
				break;
		}
		if (race->won)
			break;
		if (race->running > 0)
			(void)fiber_event_wait(&race->event, bucket == 255 || left < d->d->hedge_us ?
								     left :
								     d->d->hedge_us);
	}
	settle(race, used, &to->tries);
	if (race->won)
		to->status = DELIVERY_OK;
	race_unref(race);
}

/* ---- all recipients ---- */

static void store_one(struct delivery *d, size_t i, const struct finish *f)
{
	struct place_memory *memory = memory_get(d->d, d->recipients[i].account);
	AUTO_BUF struct buf summary = BUF_INIT(ENGINE_VALUE_BYTES_MAX);

	if (memory == NULL)
		return;
	if (f->summary.len > 0 && f->summary.len <= STORED_SUMMARY_BYTES_MAX) {
		buf_be32(&summary, (uint32_t)d->states[i].prefix.len);
		buf_add(&summary, f->summary);
		if (summary.err != 0)
			buf_reset(&summary);
	}
	if (d->d->buckets > 1 && fiber_self() != NULL)
		store_spread(d, i, f, buf_slice(&summary), memory);
	else
		store_single(d, i, f, buf_slice(&summary), memory);
	memory->users--;
}

struct group {
	const struct finish *f;
	size_t next;
	unsigned running;
	struct fiber_event done;
};

static void group_fiber(void *arg)
{
	struct group *g = arg;
	struct delivery *d = g->f->delivery;

	while (g->next < d->count) {
		size_t i = g->next++;

		if (!d->states[i].failed)
			store_one(d, i, g->f);
	}
	if (--g->running == 0)
		fiber_event_set(&g->done);
}

void delivery_finish(struct delivery *d, struct slice summary, int64_t internaldate_s, int16_t tz_minutes)
{
	const struct finish f = { d, summary, internaldate_s, tz_minutes };
	struct group g = { .f = &f };

	if (d->streaming)
		streams_flush(d);
	/* The others in fibers of their own, so that one group commit takes them all. */
	if (fiber_self() != NULL) {
		for (size_t n = 1; n < d->count && n < TOGETHER_MAX; n++) {
			g.running++;
			if (fiber_start(fiber_loop(), group_fiber, &g) != 0) {
				g.running--;
				break;
			}
		}
	}
	g.running++;
	group_fiber(&g);
	if (g.running > 0)
		(void)fiber_event_wait(&g.done, -1);
}
