#include "mail/session/queue_runner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/date.h"
#include "base/event.h"
#include "base/hex.h"
#include "base/list.h"
#include "base/must.h"
#include "base/reader.h"
#include "mail/mailbox/delivery.h"
#include "mail/message/mime.h"
#include "mail/message/summary.h"
#include "mail/queue/dsn.h"
#include "mail/queue/entry.h"
#include "mail/queue/limits.h"
#include "mail/session/authc.h"
#include "mail/smtp/command.h"
#include "sys/fiber.h"
#include "sys/loop.h"
#include "sys/world.h"

#define WORKERS_MAX	  8u
#define PASS_ENTRIES	  64u			/* looked at in a shard and pass */
#define IDLE_US		  (30 * 1000000ll)	/* look again at least so often */
#define LEASE_US	  (60 * 1000000ll)
#define FAILED_PAUSE_US	  (5 * 1000000ll)	/* when outcomes cannot be written (a full disk) */
#define COLLECT_EVERY_US  (3600 * 1000000ll)
#define COLLECT_AGE_US	  (3600 * 1000000ll)
#define LIST_JSON_BYTES	  (90u * 1024u)

struct queue_runner {
	struct queue_runner_options o;
	struct deliverer *deliverer;
	struct fiber_event wake;
	struct list jobs;		/* under way */
	unsigned job_count;
	uint64_t watches[QUEUE_SHARDS];
	int64_t collect_at_us;		/* of the world's forward clock */
	int64_t pause_until_us;		/* of the same clock: begin nothing before */
	bool stopping, running;
	void (*on_done)(void *arg);
	void *on_done_arg;
	char owner[40];			/* of the shards' leases */
	struct queue_counts counts;
};

/* One entry being tried. */
struct job {
	struct list link;
	struct queue_runner *q;
	struct arena arena;
	struct queue_entry entry;
	struct slice key, value;	/* as stored */
	struct buf body;		/* its first MiB, which most often is all of it */
	struct slice summary;
	bool damaged;			/* a later piece cannot be read */
};

static void wake(struct queue_runner *q)
{
	fiber_event_set(&q->wake);
}

static void on_notice(void *arg)
{
	wake(arg);
}

/* ---- deliveries ---- */

/* Handles live as long as the delivery that uses them. */
static struct engine *engine_for(struct queue_runner *q, struct arena *arena,
				 const uint8_t grant[AUTHC_GRANT_BYTES])
{
	if (q->o.remote == NULL)
		return q->o.engine;
	struct remote_handle *h = ARENA_NEW(arena, struct remote_handle);
	if (h == NULL)
		return NULL;
	remote_handle_init(h, q->o.remote, grant);
	return &h->engine;
}

static void add_prefix(struct buf *out, struct slice sender, struct slice delivered_to,
		       struct slice trace)
{
	buf_adds(out, "Return-Path: <");
	buf_add(out, sender);
	buf_adds(out, ">\r\nDelivered-To: ");
	buf_add(out, delivered_to);
	buf_adds(out, "\r\n");
	buf_add(out, trace);
}

struct parcel {
	const uint8_t *transaction;
	struct slice sender, trace, body, summary;
	int64_t internaldate_s;
	struct job *job;		/* the pieces of its body follow `body`; NULL: that is all */
};

/* The pieces of a large body after the first. False: the store is away, or has not all of them. */
static bool write_rest(struct job *j, struct delivery *d)
{
	AUTO_BUF struct buf piece = BUF_INIT(QUEUE_CHUNK_BYTES);
	uint8_t transaction[TRANSACTION_ID_BYTES];
	char name[QUEUE_BODY_NAME_BYTES];
	uint64_t at = j->body.len;

	queue_transaction(&j->entry, transaction);
	while (at < j->entry.body_bytes) {
		size_t want = (size_t)MIN(j->entry.body_bytes - at, (uint64_t)QUEUE_CHUNK_BYTES);
		buf_reset(&piece);
		queue_body_name(transaction, at / QUEUE_CHUNK_BYTES, name);
		enum engine_result r = engine_read(j->q->o.engine, slice_str(name), 0, want, &piece);
		j->damaged = r == ENGINE_ABSENT || r == ENGINE_DAMAGED ||
			     (r == ENGINE_OK && piece.err == 0 && piece.len != want);
		if (r != ENGINE_OK || piece.err != 0 || j->damaged ||
		    !delivery_write(d, buf_slice(&piece)))
			return false;
		at += want;
	}
	return true;
}

/* One body to several recipients; their status says what became of each. */
static void deliver(struct queue_runner *q, const struct parcel *p,
		    struct delivery_recipient *recipients, const struct slice *delivered_to,
		    size_t count)
{
	struct delivery *d;

	for (size_t i = 0; i < count; i++)
		recipients[i].status = DELIVERY_LATER;
	if (count == 0 || delivery_begin(q->deliverer, p->transaction, recipients, count, &d) != 0)
		return;
	bool ok = true;
	for (size_t i = 0; i < count && ok; i++) {
		AUTO_BUF struct buf prefix = BUF_INIT(4096);
		add_prefix(&prefix, p->sender, delivered_to[i], p->trace);
		ok = prefix.err == 0 && delivery_prefix(d, i, buf_slice(&prefix));
	}
	ok = ok && delivery_write(d, p->body) && (p->job == NULL || write_rest(p->job, d));
	if (ok)
		delivery_finish(d, p->summary, p->internaldate_s, 0);
	/* Auth's picture of the quota: mail that its owner has not seen yet. */
	for (size_t i = 0; i < count && ok; i++) {
		char account[ACCOUNT_ID_BYTES + 1] = "";
		memcpy(account, recipients[i].account, ACCOUNT_ID_BYTES);
		if (recipients[i].status == DELIVERY_OK)
			authc_delivered(q->o.authc, account, delivery_bytes(d));
	}
	delivery_free(d);
}

/* Ask auth for the account behind an item. True: *target is it; false: state and status are set. */
static bool find_target(struct job *j, struct queue_item *it, struct authc_target *out)
{
	struct authc_target *targets;
	size_t count = 0;

	switch (authc_rcpt(j->q->o.authc, it->delivered_to, j->entry.body_bytes, &j->arena, &targets,
			   &count)) {
	case AUTHC_RCPT_OK:
		for (size_t i = 0; i < count; i++) {
			if (memcmp(targets[i].account, it->account.ptr, ACCOUNT_ID_BYTES) != 0)
				continue;
			if (!targets[i].over_quota) {
				*out = targets[i];
				return true;
			}
			it->status = SLICE("4.2.2 the mailbox is full");
			return false;
		}
		it->state = QUEUE_FAILED;	/* the address belongs to somebody else by now */
		it->status = SLICE("5.1.1 there is no such mailbox any more");
		return false;
	case AUTHC_RCPT_OVER_QUOTA:
		it->status = SLICE("4.2.2 the mailbox is full");
		return false;
	case AUTHC_RCPT_DISABLED:
		it->state = QUEUE_FAILED;
		it->status = SLICE("5.2.1 the mailbox is disabled");
		return false;
	case AUTHC_RCPT_NOT_LOCAL:
	case AUTHC_RCPT_NO_USER:
	case AUTHC_RCPT_BAD_ADDRESS:
	case AUTHC_RCPT_ALIAS_LOOP:
		it->state = QUEUE_FAILED;
		it->status = SLICE("5.1.1 there is no such mailbox any more");
		return false;
	case AUTHC_RCPT_TEMPORARY:
		it->status = SLICE("4.3.0 the directory did not answer");
		return false;
	}
	return false;
}

static void take_status(struct job *j, struct queue_item *it, const struct delivery_recipient *r)
{
	it->tries = r->tries;
	if (j->damaged) {
		it->state = QUEUE_FAILED;
		it->status = SLICE("5.3.0 the stored message is damaged");
		return;
	}
	switch (r->status) {
	case DELIVERY_OK:
		it->state = QUEUE_STORED;
		it->status = SLICE("2.1.5 delivered to the mailbox");
		j->q->counts.delivered++;
		break;
	case DELIVERY_LATER:
		it->status = SLICE("4.3.0 the store did not answer in time");
		break;
	case DELIVERY_FULL:
		it->status = SLICE("4.3.1 the store has no room");
		break;
	case DELIVERY_OVERQUOTA:
		it->status = SLICE("4.2.2 the mailbox is full");
		break;
	case DELIVERY_DENIED:
		it->status = SLICE("4.3.0 the right to deliver ended, a new one is asked for");
		break;
	}
}

/* Several addresses may lead to one account, which gets one copy. `n` when it is new. */
static size_t recipient_of(const struct delivery_recipient *recipients, size_t n,
			   const struct authc_target *target)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(recipients[i].account, target->account, ACCOUNT_ID_BYTES) == 0)
			return i;
	return n;
}

static void try_recipients(struct job *j)
{
	struct queue_entry *e = &j->entry;
	struct delivery_recipient *recipients = arena_array(&j->arena, e->count, sizeof(*recipients));
	struct slice *delivered_to = arena_array(&j->arena, e->count, sizeof(*delivered_to));
	size_t *which = arena_array(&j->arena, e->count, sizeof(*which));
	uint8_t transaction[TRANSACTION_ID_BYTES];
	size_t n = 0;

	if (recipients == NULL || delivered_to == NULL || which == NULL)
		return;
	for (size_t i = 0; i < e->count; i++) {
		struct authc_target target;
		which[i] = SIZE_MAX;
		if (e->items[i].state != QUEUE_WAITING || !find_target(j, &e->items[i], &target))
			continue;
		which[i] = recipient_of(recipients, n, &target);
		if (which[i] < n)
			continue;
		recipients[n] = (struct delivery_recipient){
			.engine = engine_for(j->q, &j->arena, target.grant),
			.folder = FOLDER_INBOX,
			.tries = e->items[i].tries,
		};
		if (recipients[n].engine == NULL)
			return;
		memcpy(recipients[n].account, target.account, ACCOUNT_ID_BYTES);
		delivered_to[n++] = target.address;
	}
	queue_transaction(e, transaction);
	struct parcel p = { .transaction = transaction, .sender = e->sender, .trace = e->trace,
			    .body = buf_slice(&j->body), .summary = j->summary,
			    .internaldate_s = e->internaldate_s, .job = j };
	deliver(j->q, &p, recipients, delivered_to, n);
	for (size_t i = 0; i < e->count; i++)
		if (which[i] != SIZE_MAX)
			take_status(j, &e->items[i], &recipients[which[i]]);
	j->q->counts.tried += n;
}

/* ---- notices ---- */

enum told { TOLD, TOLD_NOBODY, TOLD_LATER };

/* Put a notice into the mailboxes of the sender, if the sender is one of ours. */
static enum told deliver_notice(struct job *j, enum dsn_action action, struct slice text)
{
	struct queue_runner *q = j->q;
	struct authc_target *targets;
	size_t count = 0;
	AUTO_ARENA struct arena mime_arena = ARENA_INIT(MIME_ARENA_BYTES);
	AUTO_BUF struct buf summary = BUF_INIT(64u << 10);
	uint8_t transaction[TRANSACTION_ID_BYTES];

	switch (authc_rcpt(q->o.authc, j->entry.sender, text.len, &j->arena, &targets, &count)) {
	case AUTHC_RCPT_OK:
		break;
	case AUTHC_RCPT_TEMPORARY:
	case AUTHC_RCPT_OVER_QUOTA:
		return TOLD_LATER;
	default:
		return TOLD_NOBODY;
	}
	const struct mime *mime = mime_parse(&mime_arena, text);
	if (mime == NULL)
		return TOLD_LATER;
	summary_encode(&summary, mime);
	struct delivery_recipient *recipients = arena_array(&j->arena, count, sizeof(*recipients));
	struct slice *delivered_to = arena_array(&j->arena, count, sizeof(*delivered_to));
	if (recipients == NULL || delivered_to == NULL)
		return TOLD_LATER;
	for (size_t i = 0; i < count; i++) {
		recipients[i] = (struct delivery_recipient){
			.engine = engine_for(q, &j->arena, targets[i].grant), .folder = FOLDER_INBOX };
		if (recipients[i].engine == NULL)
			return TOLD_LATER;
		memcpy(recipients[i].account, targets[i].account, ACCOUNT_ID_BYTES);
		delivered_to[i] = targets[i].address;
	}
	/* The same notice of the same try has the same id: a repetition after a crash is recognised. */
	memcpy(transaction, j->entry.id, sizeof(transaction));
	transaction[1] ^= (uint8_t)(0x40 + action);
	transaction[2] ^= (uint8_t)j->entry.attempts;
	struct parcel p = { .transaction = transaction, .body = text, .summary = buf_slice(&summary),
			    .internaldate_s = world_real_us(q->o.world) / 1000000 };
	deliver(q, &p, recipients, delivered_to, count);
	for (size_t i = 0; i < count; i++)
		if (recipients[i].status == DELIVERY_OK)
			return TOLD;
	return TOLD_LATER;
}

static enum told tell_sender(struct job *j, enum dsn_action action)
{
	AUTO_BUF struct buf text = BUF_INIT(4u << 20);
	struct queue_runner *q = j->q;
	bool wanted = false;

	for (size_t i = 0; i < j->entry.count; i++)
		wanted = wanted || dsn_wants(&j->entry, &j->entry.items[i], action);
	if (!wanted || j->entry.sender.len == 0)	/* RFC 5321 §4.5.5: no notice about a notice */
		return TOLD_NOBODY;
	struct dsn d = { .hostname = q->o.hostname, .entry = &j->entry, .original = buf_slice(&j->body),
			 .now_s = world_real_us(q->o.world) / 1000000,
			 .give_up_s = (j->entry.created_us + q->o.lifetime_us) / 1000000 };
	dsn_write(&text, &d, action);
	if (text.err != 0)
		return TOLD_LATER;
	enum told t = deliver_notice(j, action, buf_slice(&text));
	if (t == TOLD)
		q->counts.notices++;
	return t;
}

static void log_items(struct job *j, enum queue_state state, enum told told)
{
	for (size_t i = 0; i < j->entry.count; i++) {
		const struct queue_item *it = &j->entry.items[i];
		if (it->state != state)
			continue;
		struct event *ev = event_child(j->q->o.ev, "queue.recipient");
		event_slice(ev, "sender", j->entry.sender);
		event_slice(ev, "recipient", it->address);
		event_slice(ev, "status", it->status);
		event_str(ev, "sender_told", told == TOLD ? "yes" : "no");
		if (state == QUEUE_FAILED)
			event_warn(ev, "a message could not be delivered and was given up");
		else
			event_info(ev, "a queued message was delivered");
		event_free(ev);
		if (state == QUEUE_FAILED)
			j->q->counts.failed++;
	}
}

/* Drop items of that state once their sender needs no (further) telling. */
static void settle(struct job *j, enum queue_state state, enum dsn_action action)
{
	size_t kept = 0;
	bool any = false;

	for (size_t i = 0; i < j->entry.count; i++)
		any = any || j->entry.items[i].state == (uint8_t)state;
	if (!any)
		return;
	enum told t = tell_sender(j, action);
	/* A sender who cannot be told either, for as long again: it must end some day. */
	if (t == TOLD_LATER &&
	    world_real_us(j->q->o.world) - j->entry.created_us < 2 * j->q->o.lifetime_us)
		return;
	log_items(j, state, t);
	for (size_t i = 0; i < j->entry.count; i++)
		if (j->entry.items[i].state != (uint8_t)state)
			j->entry.items[kept++] = j->entry.items[i];
	j->entry.count = kept;
}

/* ---- one entry ---- */

static void expire(struct job *j)
{
	int64_t age_us = world_real_us(j->q->o.world) - j->entry.created_us;

	if (age_us >= j->q->o.lifetime_us) {
		for (size_t i = 0; i < j->entry.count; i++)
			if (j->entry.items[i].state == QUEUE_WAITING) {
				j->entry.items[i].state = QUEUE_FAILED;
				j->entry.items[i].status = SLICE("5.4.7 not delivered in time, given up");
			}
	} else if (j->q->o.delay_notice_us > 0 && age_us >= j->q->o.delay_notice_us &&
		   !j->entry.delay_told && tell_sender(j, DSN_DELAYED) != TOLD_LATER) {
		j->entry.delay_told = true;
	}
}

/* The outcome, in one operation. */
static enum engine_result write_outcome(struct job *j)
{
	struct queue_runner *q = j->q;
	struct queue_entry *e = &j->entry;
	AUTO_BUF struct buf value = BUF_INIT(ENGINE_VALUE_BYTES_MAX);
	uint8_t key[QUEUE_KEY_BYTES];
	char shard[16];
	struct engine_step steps[3] = {
		{ .kind = GUARD_KEY_EQUALS, .key = j->key, .value = j->value },
		{ .kind = STEP_DELETE, .key = j->key },
	};
	struct engine_op op = { .steps = steps, .count = 2 };

	queue_shard_name(queue_shard_of(e->id), shard);
	op.object = slice_str(shard);
	if (e->count > 0) {
		size_t step = MIN((size_t)e->attempts, q->o.retry_count - 1);
		e->attempts++;
		e->due_us = world_real_us(q->o.world) + q->o.retry_us[step];
		queue_entry_encode(&value, e);
		queue_key(e->due_us, e->id, key);
		if (value.err != 0)
			return ENGINE_INVALID;
		steps[2] = (struct engine_step){ .kind = STEP_SET, .key = slice_of(key, sizeof(key)),
						 .value = buf_slice(&value) };
		op.count = 3;
	}
	return engine_apply(q->o.engine, &op);
}

static enum engine_result remove_object(struct queue_runner *q, struct slice name)
{
	struct engine_step step = { .kind = STEP_REMOVE };
	struct engine_op op = { .object = name, .steps = &step, .count = 1 };

	return engine_apply(q->o.engine, &op);
}

/* Is there an entry of this transaction in its shard? A walk over the shard: for rare cases. */
static enum engine_result is_used(struct queue_runner *q, const uint8_t transaction[QUEUE_ID_BYTES],
				  bool *used)
{
	uint8_t from_bytes[QUEUE_KEY_BYTES + 1] = { 'e' };
	struct slice from = slice_of(from_bytes, 1);
	bool more = true;
	char shard[16];

	*used = false;
	queue_shard_name(queue_shard_of(transaction), shard);
	while (more && !*used) {
		AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
		struct engine_kv *kv;
		size_t n;
		enum engine_result r = engine_keys(q->o.engine, slice_str(shard), from, SLICE("f"), 256,
						   4u << 20, &arena, &kv, &n, &more);
		if (r != ENGINE_OK)
			return r;
		for (size_t k = 0; k < n; k++)
			*used = *used || (kv[k].key.len == QUEUE_KEY_BYTES &&
					  queue_is_of(kv[k].key.ptr + QUEUE_KEY_BYTES - QUEUE_ID_BYTES,
						      transaction));
		if (n == 0)
			break;
		memcpy(from_bytes, kv[n - 1].key.ptr, MIN(kv[n - 1].key.len, (size_t)QUEUE_KEY_BYTES));
		from = slice_of(from_bytes, sizeof(from_bytes));	/* with a NUL: the next one */
	}
	return ENGINE_OK;
}

/* The body of an entry that is gone, unless another part of its transaction still waits. */
static enum engine_result remove_body(struct queue_runner *q, const struct queue_entry *e)
{
	uint8_t transaction[TRANSACTION_ID_BYTES];
	char name[QUEUE_BODY_NAME_BYTES];
	enum engine_result r = ENGINE_OK;
	bool used = false;
	uint64_t k = 0;

	queue_transaction(e, transaction);
	if (e->shared)
		r = is_used(q, transaction, &used);
	if (r != ENGINE_OK || used)
		return r;
	/* The first object first: pieces without it are known to be garbage. */
	do {
		queue_body_name(transaction, k++, name);
		r = remove_object(q, slice_str(name));
	} while (r == ENGINE_OK && k * QUEUE_CHUNK_BYTES < e->body_bytes);
	return r;
}

/* False when the store is away now. An entry whose body is gone is given up, loudly. */
static bool load_body(struct job *j)
{
	struct engine_kv *kv;
	size_t count = 0;
	bool more;
	uint8_t transaction[TRANSACTION_ID_BYTES];
	char name[QUEUE_BODY_NAME_BYTES];

	queue_transaction(&j->entry, transaction);
	queue_body_name(transaction, 0, name);
	enum engine_result r = engine_read(j->q->o.engine, slice_str(name), 0, QUEUE_CHUNK_BYTES, &j->body);
	if (r == ENGINE_OK)
		r = engine_keys(j->q->o.engine, slice_str(name), SLICE("s"), SLICE("t"), 1,
				ENGINE_VALUE_BYTES_MAX, &j->arena, &kv, &count, &more);
	if (r == ENGINE_UNAVAILABLE || r == ENGINE_DENIED)
		return false;
	if (r == ENGINE_OK && j->body.err == 0 &&
	    j->body.len == MIN(j->entry.body_bytes, (uint64_t)QUEUE_CHUNK_BYTES)) {
		j->summary = count > 0 ? kv[0].value : (struct slice){ 0 };
		return true;
	}
	struct event *ev = event_child(j->q->o.ev, "queue.damage");
	event_str(ev, "object", name);
	event_str(ev, "result", engine_result_name(r));
	event_error(ev, "the body of a queued message cannot be read; its sender is told, run 'prickle mail fsck'");
	event_free(ev);
	for (size_t i = 0; i < j->entry.count; i++) {
		if (j->entry.items[i].state != QUEUE_WAITING)
			continue;
		j->entry.items[i].state = QUEUE_FAILED;
		j->entry.items[i].status = SLICE("5.3.0 the stored message is damaged");
	}
	return true;
}

static void job_fiber(void *arg)
{
	struct job *j = arg;
	struct queue_runner *q = j->q;

	/* Without recipients it only asks for the removal of its body. */
	if (j->entry.count == 0 || load_body(j)) {
		if (j->entry.count > 0) {
			try_recipients(j);
			expire(j);
			settle(j, QUEUE_FAILED, DSN_FAILED);
			settle(j, QUEUE_STORED, DSN_DELIVERED);
		}
		enum engine_result r = write_outcome(j);
		if (r != ENGINE_OK)
			q->pause_until_us = world_mono_us(q->o.world) + FAILED_PAUSE_US;
		/* A body left over by a failure here is collected later. */
		if (r == ENGINE_OK && j->entry.count == 0 && remove_body(q, &j->entry) != ENGINE_OK)
			q->collect_at_us = 0;
	}
	list_del(&j->link);
	q->job_count--;
	arena_done(&j->arena);
	buf_done(&j->body);
	free(j);
	wake(q);
}

static bool under_way(const struct queue_runner *q, const uint8_t id[QUEUE_ID_BYTES])
{
	list_for_each(it, (struct list *)(uintptr_t)&q->jobs) {
		if (memcmp(list_entry(it, struct job, link)->entry.id, id, QUEUE_ID_BYTES) == 0)
			return true;
	}
	return false;
}

static void start_job(struct queue_runner *q, const struct engine_kv *kv)
{
	struct job *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return;
	j->q = q;
	arena_init(&j->arena, 4u << 20);
	buf_init(&j->body, QUEUE_CHUNK_BYTES);
	list_init(&j->link);
	j->key = arena_dup(&j->arena, kv->key);
	j->value = arena_dup(&j->arena, kv->value);
	if (j->arena.err != 0 || !queue_entry_decode(&j->arena, j->key, j->value, &j->entry)) {
		arena_done(&j->arena);
		free(j);
		return;
	}
	list_push_back(&q->jobs, &j->link);
	q->job_count++;
	if (fiber_start(q->o.loop, job_fiber, j) != 0) {
		list_del(&j->link);
		q->job_count--;
		arena_done(&j->arena);
		free(j);
	}
}

/* ---- passes ---- */

/* Start what is due in a shard; *next_us becomes the earliest time to look again. */
static void pass_shard(struct queue_runner *q, unsigned shard, int64_t *next_us)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(8u << 20);
	struct engine_kv *kv;
	size_t count;
	bool more;
	char name[16];
	int64_t now = world_real_us(q->o.world);

	queue_shard_name(shard, name);
	if (engine_lease(q->o.engine, slice_str(name), slice_str(q->owner), LEASE_US) != ENGINE_OK)
		return;
	if (engine_keys(q->o.engine, slice_str(name), SLICE("e"), SLICE("f"), PASS_ENTRIES, 4u << 20,
			&arena, &kv, &count, &more) != ENGINE_OK)
		return;
	q->counts.waiting += count;
	for (size_t i = 0; i < count; i++) {
		struct reader rd = reader_of(slice_from(kv[i].key, 1));
		int64_t due_us = (int64_t)rd_be64(&rd);
		struct slice id = rd_bytes(&rd, QUEUE_ID_BYTES);
		if (rd.bad || under_way(q, id.ptr))
			continue;
		if (due_us > now) {
			*next_us = MIN(*next_us, due_us - now);
			return;
		}
		if (q->job_count >= WORKERS_MAX)
			return;		/* each job that ends wakes us */
		start_job(q, &kv[i]);
	}
}

/* ---- bodies whose entry was never written: a crash, or a message that was not finished ---- */

/* When the body was begun, and finished; *finished_us is 0 when it was not. */
static enum engine_result body_times(struct queue_runner *q, struct slice name, int64_t *begun_us,
				     int64_t *finished_us)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(256u << 10);
	struct engine_kv *kv;
	size_t n;
	bool more;
	enum engine_result r = engine_keys(q->o.engine, name, SLICE("c"), SLICE("t"), 3, 128u << 10,
					   &arena, &kv, &n, &more);

	*begun_us = *finished_us = 0;
	if (r != ENGINE_OK)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct reader rd = reader_of(kv[i].value);
		if (slice_eq(kv[i].key, SLICE("c")))
			*begun_us = (int64_t)rd_be64(&rd);
		else if (slice_eq(kv[i].key, SLICE("f")))
			*finished_us = (int64_t)rd_be64(&rd);
		else if (slice_eq(kv[i].key, SLICE("s")) && *finished_us == 0)
			*finished_us = *begun_us;	/* a small one: written at once */
	}
	return ENGINE_OK;
}

/* The first object of a body: old, and nobody names it. */
static void collect_body(struct queue_runner *q, struct slice name, const uint8_t *transaction)
{
	int64_t begun_us, finished_us, now_us = world_real_us(q->o.world);
	/* One that is still being written must not become whole meanwhile: its last step fails then. */
	struct engine_step unfinished[] = { { .kind = GUARD_KEY_ABSENT, .key = SLICE("s") },
					    { .kind = STEP_REMOVE } };
	struct engine_op op = { .object = name, .steps = unfinished, .count = 2 };
	bool used = true;

	if (body_times(q, name, &begun_us, &finished_us) != ENGINE_OK)
		return;
	if (now_us - (finished_us != 0 ? finished_us : begun_us) < COLLECT_AGE_US)
		return;
	if (is_used(q, transaction, &used) != ENGINE_OK || used)
		return;
	if (finished_us != 0 ? remove_object(q, name) == ENGINE_OK
			     : engine_apply(q->o.engine, &op) == ENGINE_OK)
		q->counts.collected++;
}

/* A later piece: garbage when the first is gone, which is made before it and removed before it. */
static void collect_piece(struct queue_runner *q, struct slice name, const uint8_t *transaction)
{
	char first[QUEUE_BODY_NAME_BYTES];
	struct engine_stat st = { 0 };

	queue_body_name(transaction, 0, first);
	enum engine_result r = engine_stat(q->o.engine, slice_str(first), &st);
	if (r == ENGINE_ABSENT || (r == ENGINE_OK && !st.exists))
		if (remove_object(q, name) == ENGINE_OK)
			q->counts.collected++;
}

static void collect(struct queue_runner *q)
{
	AUTO_BUF struct buf after = BUF_INIT(ENGINE_NAME_BYTES_MAX);
	size_t count;

	do {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
		struct slice *names;
		if (engine_list(q->o.engine, SLICE("b.queue."), buf_slice(&after), 1000, &arena, &names,
				&count) != ENGINE_OK)
			return;
		for (size_t i = 0; i < count && !q->stopping; i++) {
			uint8_t transaction[TRANSACTION_ID_BYTES];
			uint64_t chunk;
			if (!queue_body_parse(names[i], transaction, &chunk))
				continue;
			if (chunk == 0)
				collect_body(q, names[i], transaction);
			else
				collect_piece(q, names[i], transaction);
		}
		if (count > 0) {
			buf_reset(&after);
			buf_add(&after, names[count - 1]);
		}
	} while (count > 0 && after.err == 0 && !q->stopping);
}

static void main_fiber(void *arg)
{
	struct queue_runner *q = arg;

	while (!q->stopping) {
		int64_t next_us = IDLE_US, now = world_mono_us(q->o.world);
		q->wake.set = false;
		if (now < q->pause_until_us) {
			next_us = q->pause_until_us - now;
		} else {
			q->counts.waiting = 0;
			for (unsigned s = 0; s < QUEUE_SHARDS && !q->stopping; s++)
				pass_shard(q, s, &next_us);
		}
		now = world_mono_us(q->o.world);
		if (!q->stopping && now >= q->collect_at_us) {
			q->collect_at_us = now + COLLECT_EVERY_US;
			collect(q);
		}
		if (!q->stopping && !fiber_event_wait(&q->wake, MAX(next_us, (int64_t)1000)))
			continue;
	}
	while (q->job_count > 0) {
		q->wake.set = false;
		if (!fiber_event_wait(&q->wake, 100000))
			continue;
	}
	q->running = false;
	if (q->on_done != NULL)
		q->on_done(q->on_done_arg);
}

int queue_runner_new(const struct queue_runner_options *o, struct queue_runner **out)
{
	struct queue_runner *q = calloc(1, sizeof(*q));
	struct deliverer_options dopt = { .buckets = 1 };
	uint8_t random[8];

	must(o->retry_count > 0);
	if (q == NULL)
		return -ENOMEM;
	q->o = *o;
	list_init(&q->jobs);
	q->collect_at_us = world_mono_us(o->world) + COLLECT_EVERY_US;
	world_random(o->world, random, sizeof(random));
	AUTO_BUF struct buf hex = BUF_INIT(40);
	hex_encode(&hex, slice_of(random, sizeof(random)));
	snprintf(q->owner, sizeof(q->owner), "queue-%s", buf_cstr(&hex));
	int rc = deliverer_new(o->world, &dopt, &q->deliverer);
	for (unsigned s = 0; s < QUEUE_SHARDS && rc == 0; s++) {
		char name[16];
		queue_shard_name(s, name);
		rc = engine_watch(o->engine, slice_str(name), on_notice, q, &q->watches[s]);
	}
	if (rc == 0) {
		q->running = true;
		rc = fiber_start(o->loop, main_fiber, q);
	}
	if (rc != 0) {
		q->running = false;
		queue_runner_free(q);
		return rc;
	}
	*out = q;
	return 0;
}

void queue_runner_settings(struct queue_runner *q, const struct queue_runner_options *o)
{
	q->o.lifetime_us = o->lifetime_us;
	q->o.retry_us = o->retry_us;
	q->o.retry_count = o->retry_count;
	q->o.delay_notice_us = o->delay_notice_us;
	wake(q);
}

void queue_runner_stop(struct queue_runner *q, void (*done)(void *arg), void *arg)
{
	q->on_done = done;
	q->on_done_arg = arg;
	q->stopping = true;
	wake(q);
}

void queue_runner_free(struct queue_runner *q)
{
	if (q == NULL)
		return;
	must(!q->running && q->job_count == 0);
	for (unsigned s = 0; s < QUEUE_SHARDS; s++)
		if (q->watches[s] != 0)
			engine_unwatch(q->o.engine, q->watches[s]);
	deliverer_free(q->deliverer);
	free(q);
}

void queue_runner_counts(const struct queue_runner *q, struct queue_counts *out)
{
	*out = q->counts;
}

/* ---- what the command line asks ---- */

static void json_text(struct buf *out, const char *name, struct slice s)
{
	buf_printf(out, "\"%s\":\"", name);
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		if (c == '"' || c == '\\')
			buf_addc(out, '\\');
		if (c < 0x20 || c == 0x7f)
			buf_printf(out, "\\u%04x", c);
		else
			buf_addc(out, c);
	}
	buf_addc(out, '"');
}

static void json_entry(struct buf *out, const struct queue_entry *e)
{
	AUTO_BUF struct buf id = BUF_INIT(64), when = BUF_INIT(64);

	hex_encode(&id, slice_of(e->id, QUEUE_ID_BYTES));
	buf_addc(out, '{');
	json_text(out, "id", buf_slice(&id));
	buf_addc(out, ',');
	json_text(out, "sender", e->sender);
	date_rfc3339(&when, e->created_us / 1000000);
	buf_printf(out, ",\"created\":\"%s\"", buf_cstr(&when));
	buf_reset(&when);
	date_rfc3339(&when, e->due_us / 1000000);
	buf_printf(out, ",\"due\":\"%s\",\"attempts\":%u,\"bytes\":%llu,\"recipients\":[", buf_cstr(&when),
		   e->attempts, (unsigned long long)e->body_bytes);
	for (size_t i = 0; i < e->count; i++) {
		static const char *const states[] = { "waiting", "failed", "stored" };
		buf_adds(out, i > 0 ? ",{" : "{");
		json_text(out, "address", e->items[i].address);
		buf_printf(out, ",\"state\":\"%s\",", states[e->items[i].state]);
		json_text(out, "status", e->items[i].status);
		buf_addc(out, '}');
	}
	buf_adds(out, "]}");
}

/* A place in the walk: after this key. */
struct walk_place {
	unsigned shard;
	uint8_t key[QUEUE_KEY_BYTES + 1];	/* and a zero: the smallest key behind it */
	size_t len;
};

/* All entries behind a place, in order of shard and due time; fn returns non-zero to stop. */
static int walk_entries(struct queue_runner *q, const struct walk_place *after,
			int (*fn)(void *arg, unsigned shard, const struct engine_kv *kv,
				  const struct queue_entry *e),
			void *arg)
{
	for (unsigned s = after != NULL ? after->shard : 0; s < QUEUE_SHARDS; s++) {
		uint8_t from_bytes[QUEUE_KEY_BYTES + 1] = { 'e' };
		struct slice from = slice_of(from_bytes, 1);
		bool more = true;
		char name[16];
		if (after != NULL && s == after->shard) {
			memcpy(from_bytes, after->key, sizeof(from_bytes));
			from = slice_of(from_bytes, after->len);
		}
		queue_shard_name(s, name);
		while (more) {
			AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
			struct engine_kv *kv;
			size_t n;
			if (engine_keys(q->o.engine, slice_str(name), from, SLICE("f"), 64, 4u << 20,
					&arena, &kv, &n, &more) != ENGINE_OK)
				return -EAGAIN;
			for (size_t i = 0; i < n; i++) {
				struct queue_entry e;
				if (!queue_entry_decode(&arena, kv[i].key, kv[i].value, &e))
					continue;
				int rc = fn(arg, s, &kv[i], &e);
				if (rc != 0)
					return rc;
			}
			if (n == 0)
				break;
			memcpy(from_bytes, kv[n - 1].key.ptr, MIN(kv[n - 1].key.len, (size_t)QUEUE_KEY_BYTES));
			from_bytes[QUEUE_KEY_BYTES] = 0;
			from = slice_of(from_bytes, sizeof(from_bytes));
		}
	}
	return 0;
}

struct list_walk {
	struct buf *json;
	struct slice only;
	bool first;
	unsigned shard;
	uint8_t last[QUEUE_KEY_BYTES];
};

/*
 * Where a list goes on, as hex: be16 shard and the key of the last entry. An id alone would not do:
 * the entry may be gone or have another due time when the next page is asked for.
 */
static bool place_decode(struct slice text, struct walk_place *out)
{
	AUTO_BUF struct buf b = BUF_INIT(2 + QUEUE_KEY_BYTES);

	if (!hex_decode(&b, text) || b.len != 2 + QUEUE_KEY_BYTES)
		return false;
	struct reader rd = reader_of(buf_slice(&b));
	out->shard = rd_be16(&rd);
	memcpy(out->key, rd.at, QUEUE_KEY_BYTES);
	out->key[QUEUE_KEY_BYTES] = 0;
	out->len = sizeof(out->key);
	return out->shard < QUEUE_SHARDS;
}

static bool has_id(const struct queue_entry *e, struct slice hex)
{
	AUTO_BUF struct buf id = BUF_INIT(64);

	hex_encode(&id, slice_of(e->id, QUEUE_ID_BYTES));
	return slice_eq(buf_slice(&id), hex);
}

static int list_one(void *arg, unsigned shard, const struct engine_kv *kv, const struct queue_entry *e)
{
	struct list_walk *w = arg;

	if (e->count == 0 || (w->only.len > 0 && !has_id(e, w->only)))
		return 0;
	if (w->json->len > LIST_JSON_BYTES - 20000)
		return 1;
	if (!w->first)
		buf_addc(w->json, ',');
	w->first = false;
	json_entry(w->json, e);
	w->shard = shard;
	memcpy(w->last, kv->key.ptr, sizeof(w->last));
	return w->only.len > 0 ? 2 : 0;
}

int queue_runner_list(struct queue_runner *q, struct slice only, struct slice after,
		      struct buf *json)
{
	struct list_walk w = { .json = json, .only = only, .first = true };
	struct walk_place place;

	if (after.len > 0 && !place_decode(after, &place))
		return -EINVAL;
	buf_adds(json, "{\"entries\":[");
	int rc = walk_entries(q, after.len > 0 ? &place : NULL, list_one, &w);
	if (rc < 0)
		return rc;
	if (only.len > 0 && rc != 2)
		return -ENOENT;
	buf_addc(json, ']');
	if (rc == 1) {
		AUTO_BUF struct buf bytes = BUF_INIT(64), next = BUF_INIT(128);
		buf_be16(&bytes, (uint16_t)w.shard);
		buf_add(&bytes, slice_of(w.last, sizeof(w.last)));
		hex_encode(&next, buf_slice(&bytes));
		buf_printf(json, ",\"next\":\"%s\"", buf_cstr(&next));
	}
	buf_addc(json, '}');
	return json->err;
}

struct change_walk {
	struct queue_runner *q;
	struct slice id;
	bool drop;
	unsigned count;
	int rc;
};

static int change_one(void *arg, unsigned shard, const struct engine_kv *kv, const struct queue_entry *e)
{
	struct change_walk *w = arg;
	uint8_t key[QUEUE_KEY_BYTES];
	char name[16];

	if (w->id.len > 0 && !has_id(e, w->id))
		return 0;
	if (under_way(w->q, e->id)) {
		w->rc = -EBUSY;
		return w->id.len > 0 ? 1 : 0;
	}
	queue_shard_name(shard, name);
	queue_key(world_real_us(w->q->o.world), e->id, key);
	struct engine_step steps[] = {
		{ .kind = GUARD_KEY_EQUALS, .key = kv->key, .value = kv->value },
		{ .kind = STEP_DELETE, .key = kv->key },
		{ .kind = STEP_SET, .key = slice_of(key, sizeof(key)), .value = kv->value },
	};
	struct engine_op op = { .object = slice_str(name), .steps = steps, .count = w->drop ? 2 : 3 };
	/* An entry that is due already keeps its key; moving it forward would only repeat the walk. */
	if (w->drop || e->due_us > world_real_us(w->q->o.world)) {
		if (engine_apply(w->q->o.engine, &op) != ENGINE_OK) {
			w->rc = -EAGAIN;
			return 1;
		}
		if (w->drop && remove_body(w->q, e) != ENGINE_OK)
			w->q->collect_at_us = 0;
	}
	w->count++;
	return w->id.len > 0 ? 1 : 0;
}

static int change(struct queue_runner *q, struct slice id, bool drop, unsigned *count)
{
	struct change_walk w = { .q = q, .id = id, .drop = drop };
	int rc = walk_entries(q, NULL, change_one, &w);

	if (rc < 0)
		return rc;
	*count = w.count;
	wake(q);
	if (id.len > 0 && w.count == 0)
		return w.rc != 0 ? w.rc : -ENOENT;
	return w.rc == -EAGAIN ? w.rc : 0;
}

int queue_runner_retry(struct queue_runner *q, struct slice id, unsigned *count)
{
	return change(q, id, false, count);
}

int queue_runner_drop(struct queue_runner *q, struct slice id)
{
	unsigned count;

	return change(q, id, true, &count);
}
