/*
 * A message on its way from the socket to delivery.
 *
 * The header is collected first (SMTP_HEADER at most): hops and loops are looked for, and a
 * submitted one is completed. Then everything flows: delivery and the MIME parser get the
 * same bytes, and whoever sends 50 MiB costs us the pieces that are under way.
 *
 * Return-Path, Delivered-To and Received are each recipient's own (delivery_prefix), so that
 * nobody reads of others behind an alias.
 */
#include <stdio.h>
#include <stdlib.h>

#include "mail/message/summary.h"
#include "base/hex.h"
#include "base/metrics.h"
#include "mail/session/smtp_private.h"
#include "mail/smtp/reply.h"
#include "sys/tls.h"

static const char *const outcomes[] = { "stored", "refused", "temporary" };
METRIC_COUNTER_BY(messages, "prickle_smtp_messages", "Messages that came in, by outcome", "outcome",
		  outcomes);
enum { OUTCOME_STORED, OUTCOME_REFUSED, OUTCOME_TEMPORARY };
METRIC_COUNTER(stored_bytes, "prickle_smtp_stored_bytes", "Bytes of messages that were stored");

#define PREFIX_BYTES_MAX 4096u
#define GRANT_FRESH_US	 ((int64_t)300 * 1000000)
#define GRANT_RETRY_US	 ((int64_t)30 * 1000000)
/* Streams that nobody has written to for an hour are removed: whoever is as slow as that has to fail. */
#define GRANT_RENEW_US	 ((int64_t)3000 * 1000000)
#define TARGETS_BYTES	 (1u << 20)

/* An account that gets the message, once however many recipients stand for it. */
struct store_place {
	struct remote_handle handle;
	const struct smtp_accepted *recipient;	/* the first that leads here */
	const struct authc_target *target;
};

struct incoming {
	struct smtp_session *s;
	uint8_t transaction[TRANSACTION_ID_BYTES];
	char id[17];
	int64_t now_s;
	enum smtp_refusal refusal;
	uint64_t bytes;			/* as they came */
	struct smtp_data check;		/* BDAT: bare line ends */
	struct buf head;		/* until the header is complete */
	size_t searched;		/* bytes of head without the end of the header */
	bool started;			/* the header is done, delivery is running */
	int64_t started_us, granted_us;	/* when that was; when the grants were last asked for */
	struct store_place *places;
	struct delivery_recipient *to;
	size_t count;
	struct delivery *delivery;
	bool broken;			/* delivery_write said so */
	struct arena mime_arena;
	struct mime_stream *mime;
	/* A body that is too large for memory, for recipients who cannot be served at once. */
	struct queue_spool spool;
	bool spool_taken;		/* a queued message has it now */
	struct slice kept_header;	/* in s->arena, for notices; empty: nobody asked for one */
};

struct incoming *incoming_new(struct smtp_session *s)
{
	struct incoming *b = calloc(1, sizeof(*b));
	AUTO_BUF struct buf id = BUF_INIT(32);

	if (b == NULL)
		return NULL;
	b->s = s;
	world_random(s->s.sv->world, b->transaction, sizeof(b->transaction));
	hex_encode(&id, slice_of(b->transaction, 8));
	memcpy(b->id, buf_cstr(&id), MIN(id.len, sizeof(b->id) - 1));
	memcpy(b->spool.transaction, b->transaction, sizeof(b->transaction));
	b->now_s = world_real_us(s->s.sv->world) / 1000000;
	smtp_data_init(&b->check);
	buf_init(&b->head, (size_t)2 * SMTP_HEADER + 65536);
	arena_init(&b->mime_arena, MIME_ARENA_BYTES);
	return b;
}

void incoming_free(struct incoming *b)
{
	if (b == NULL)
		return;
	delivery_free(b->delivery);
	if (b->spool.bytes > 0 && !b->spool_taken)
		b->s->s.sv->smtp->unspool(b->s->s.sv->smtp->queue, &b->spool);
	buf_done(&b->head);
	arena_done(&b->mime_arena);
	free(b->places);
	free(b->to);
	free(b);
}

/* ---- who gets it ---- */

static size_t place_of(const struct incoming *b, const char *account)
{
	for (size_t i = 0; i < b->count; i++)
		if (memcmp(b->to[i].account, account, ACCOUNT_ID_BYTES) == 0)
			return i;
	return b->count;
}

static void add_place(struct incoming *b, const struct smtp_accepted *a,
		      const struct authc_target *t)
{
	struct session_services *sv = b->s->s.sv;
	struct store_place *p = &b->places[b->count];
	struct delivery_recipient *r = &b->to[b->count++];

	p->recipient = a;
	p->target = t;
	if (sv->remote != NULL) {
		remote_handle_init(&p->handle, sv->remote, t->grant);
		r->engine = &p->handle.engine;
	} else {
		r->engine = sv->engine;
	}
	memcpy(r->account, t->account, ACCOUNT_ID_BYTES);
	r->folder = FOLDER_INBOX;
}

/* Several addresses may lead to one account, which gets one copy. False: memory is short. */
static bool collect_places(struct incoming *b)
{
	struct smtp_session *s = b->s;

	b->places = calloc(s->target_count, sizeof(*b->places));
	b->to = calloc(s->target_count, sizeof(*b->to));
	if (b->places == NULL || b->to == NULL)
		return false;
	for (struct smtp_accepted *a = s->first; a != NULL; a = a->next) {
		a->places = arena_array(&s->arena, a->target_count, sizeof(*a->places));
		if (a->places == NULL)
			return false;
		for (size_t i = 0; i < a->target_count; i++) {
			a->places[i] = place_of(b, a->targets[i].account);
			if (a->places[i] == b->count)
				add_place(b, a, &a->targets[i]);
		}
	}
	return true;
}

static int64_t grant_fresh_us(const struct smtp_session *s)
{
	int64_t set = s->s.sv->smtp->set.grant_fresh_us;

	return set > 0 ? set : GRANT_FRESH_US;
}

/*
 * Grants to append are good for 10 minutes after RCPT; a client that took its time since then gets new
 * ones. False: auth is away, or changed its mind about a recipient.
 */
static bool refresh_grants(struct incoming *b)
{
	struct smtp_session *s = b->s;

	if (loop_now_us(s->s.sv->loop) - s->rcpt_at_us < grant_fresh_us(s))
		return true;
	s->target_count = 0;
	for (struct smtp_accepted *a = s->first; a != NULL; a = a->next) {
		if (authc_rcpt(s->s.sv->authc, a->rcpt.to.text, b->bytes, &s->arena, &a->targets,
			       &a->target_count) != AUTHC_RCPT_OK)
			return false;
		s->target_count += a->target_count;
	}
	s->rcpt_at_us = loop_now_us(s->s.sv->loop);
	return s->target_count <= 2 * (size_t)SMTP_TARGETS;
}

/* A large body over a slow line takes longer than that: new grants for the same accounts. */
static void renew_grants(struct incoming *b)
{
	struct smtp_session *s = b->s;
	int64_t now = loop_now_us(s->s.sv->loop);

	if (now - b->granted_us < grant_fresh_us(s) || now - b->started_us > GRANT_RENEW_US)
		return;
	b->granted_us = now;
	for (const struct smtp_accepted *a = s->first; a != NULL; a = a->next) {
		AUTO_ARENA struct arena arena = ARENA_INIT(TARGETS_BYTES);
		struct authc_target *targets;
		size_t count;

		if (authc_rcpt(s->s.sv->authc, a->rcpt.to.text, s->mail.size_bytes, &arena, &targets,
			       &count) != AUTHC_RCPT_OK) {
			/* Those that we have are good for some minutes yet. */
			b->granted_us = now - grant_fresh_us(s) + GRANT_RETRY_US;
			continue;
		}
		for (size_t i = 0; i < count; i++) {
			size_t place = place_of(b, targets[i].account);
			if (place < b->count && s->s.sv->remote != NULL)
				memcpy(b->places[place].handle.grant, targets[i].grant,
				       REMOTE_GRANT_BYTES);
		}
	}
}

/* ---- the header ---- */

static void write_received(struct incoming *b, struct slice recipient, struct buf *out)
{
	struct smtp_session *s = b->s;
	bool local = s->s.peer.ss_family != AF_INET && s->s.peer.ss_family != AF_INET6;
	struct smtp_trace trace = {
		.helo = slice_str(s->helo),
		.address = local ? (struct slice){ 0 } : slice_str(s->s.peer_text),
		.host = slice_str(s->s.sv->set.hostname),
		.id = slice_str(b->id),
		.recipient = recipient,
		.tls = s->s.stream.tls == NULL ? (struct slice){ 0 } :
						 slice_str(tls_cipher(s->s.stream.tls)),
		.lmtp = s->kind == SMTP_KIND_LMTP,
		.esmtp = s->esmtp,
		.authenticated = s->login != NULL,
		.utf8 = s->mail.smtputf8,
		.when_s = b->now_s,
	};

	smtp_received_write(out, &trace);
}

static bool write_prefix(struct incoming *b, size_t place)
{
	AUTO_BUF struct buf out = BUF_INIT(PREFIX_BYTES_MAX);
	struct store_place *p = &b->places[place];

	buf_adds(&out, "Return-Path: <");
	buf_add(&out, b->s->mail.from.text);
	buf_adds(&out, ">\r\nDelivered-To: ");
	buf_add(&out, p->target->address);
	buf_adds(&out, "\r\n");
	write_received(b, b->s->rcpt_count == 1 ? p->recipient->rcpt.to.text : (struct slice){ 0 },
		       &out);
	return out.err == 0 && delivery_prefix(b->delivery, place, buf_slice(&out));
}

/* RFC 5321 §6.3: a message that goes round is stopped here. */
static enum smtp_refusal judge_header(const struct incoming *b, struct slice header)
{
	struct smtp_header_facts facts;

	smtp_header_look(header, &facts);
	if (facts.received > b->s->s.sv->smtp->set.hops_max)
		return SMTP_REFUSED_HOPS;
	for (size_t i = 0; facts.delivered_to && i < b->count; i++)
		if (smtp_header_delivered_to(header, b->places[i].target->address))
			return SMTP_REFUSED_LOOP;
	return SMTP_NOT_REFUSED;
}

static void pass_on(struct incoming *b, struct slice bytes)
{
	if (bytes.len == 0)
		return;
	/* False: every recipient has failed, or memory. The rest is read and dropped: see store(). */
	b->broken = b->broken || !delivery_write(b->delivery, bytes);
	if (!b->broken)
		mime_stream_feed(b->mime, bytes);
}

static void spool_piece(void *arg, struct slice piece)
{
	struct incoming *b = arg;
	const struct smtp_service *service = b->s->s.sv->smtp;

	/* A failure is kept in it, and matters only if the queue is needed. */
	(void)service->spool(service->queue, &b->spool, piece);
}

/*
 * What the queue may need of a large body, which nobody can read back from the mailboxes that it
 * went to: all of it when some recipients may be served and others not (SMTP has one answer for
 * them), its header when a sender wants to be told of success.
 */
static void prepare_queue(struct incoming *b, struct slice header)
{
	const struct smtp_service *service = b->s->s.sv->smtp;

	if (b->s->kind == SMTP_KIND_LMTP || service->enqueue == NULL)
		return;
	if (b->count > 1 && service->spool != NULL)
		delivery_copy(b->delivery, spool_piece, b);
	for (const struct smtp_accepted *a = b->s->first; a != NULL; a = a->next)
		if ((a->rcpt.notify & SMTP_NOTIFY_SUCCESS) != 0 && b->kept_header.len == 0)
			b->kept_header = arena_dup(&b->s->arena, header);
}

/* The header is complete in `text`, up to `end`; what follows is body. */
static enum smtp_refusal start(struct incoming *b, struct slice text, size_t end)
{
	struct smtp_session *s = b->s;
	struct slice header = slice_head(text, end);

	b->started = true;
	if (end > SMTP_HEADER)
		return SMTP_REFUSED_HEADER;
	if (!refresh_grants(b) || !collect_places(b))
		return SMTP_REFUSED_MEMORY;
	b->started_us = loop_now_us(s->s.sv->loop);
	b->granted_us = s->rcpt_at_us;
	enum smtp_refusal r = judge_header(b, header);
	if (r != SMTP_NOT_REFUSED)
		return r;
	b->mime = mime_stream_new(&b->mime_arena);
	if (b->mime == NULL || delivery_begin(s->s.sv->smtp->deliverer, b->transaction, b->to,
					      b->count, &b->delivery) != 0)
		return SMTP_REFUSED_MEMORY;
	for (size_t i = 0; i < b->count; i++)
		if (!write_prefix(b, i))
			return SMTP_REFUSED_MEMORY;
	if (s->kind == SMTP_KIND_SUBMISSION) {
		AUTO_BUF struct buf whole = BUF_INIT((size_t)2 * SMTP_HEADER + 65536);
		smtp_header_complete(header, b->now_s, slice_str(b->id),
				     slice_str(s->s.sv->set.hostname), &whole);
		if (whole.err != 0)
			return SMTP_REFUSED_MEMORY;
		prepare_queue(b, buf_slice(&whole));
		pass_on(b, buf_slice(&whole));
	} else {
		/* What begins without a header is body, else it would be read as a header of ours. */
		bool headless = !smtp_header_starts(header);
		prepare_queue(b, headless ? SLICE("\r\n") : header);
		if (headless)
			pass_on(b, SLICE("\r\n"));
		pass_on(b, header);
	}
	pass_on(b, slice_from(text, end));
	return b->refusal;
}

/* Still in the header: most often all of it comes in the first piece, and is not copied. */
static void add_header(struct incoming *b, struct slice bytes)
{
	size_t end;

	if (b->head.len == 0 && smtp_header_end(bytes, 0, &end)) {
		b->refusal = start(b, bytes, end);
		return;
	}
	/* A piece is as long as a read, so take what the limit allows and look. */
	struct slice part = slice_head(bytes, SMTP_HEADER + 4 - b->head.len);
	buf_add(&b->head, part);
	if (b->head.err != 0) {
		b->refusal = SMTP_REFUSED_MEMORY;
	} else if (smtp_header_end(buf_slice(&b->head), b->searched, &end)) {
		b->refusal = start(b, buf_slice(&b->head), end);
		if (b->refusal == SMTP_NOT_REFUSED)
			pass_on(b, slice_from(bytes, part.len));
		buf_done(&b->head);
	} else if (b->head.len > SMTP_HEADER) {
		b->refusal = SMTP_REFUSED_HEADER;
	} else {
		b->searched = b->head.len;
	}
}

bool incoming_too_large(const struct incoming *b, uint64_t n)
{
	uint64_t max = b->s->s.sv->set.message_bytes_max;

	return b->bytes > max || n > max - b->bytes;
}

void incoming_add(struct incoming *b, struct slice bytes)
{
	if (incoming_too_large(b, bytes.len) && b->refusal == SMTP_NOT_REFUSED)
		b->refusal = SMTP_REFUSED_SIZE;
	b->bytes += bytes.len;
	if (b->refusal != SMTP_NOT_REFUSED)
		return;
	if (b->started) {
		renew_grants(b);
		pass_on(b, bytes);
	} else {
		add_header(b, bytes);
	}
}

void incoming_chunk(struct incoming *b, struct slice bytes)
{
	if (b->s->mail.body != SMTP_BODY_BINARYMIME)
		smtp_data_check(&b->check, bytes, false);
	incoming_add(b, bytes);
}

unsigned incoming_chunk_faults(struct incoming *b)
{
	if (b->s->mail.body != SMTP_BODY_BINARYMIME)
		smtp_data_check(&b->check, (struct slice){ 0 }, true);
	return b->check.faults;
}

/* ---- the end ---- */

struct answer {
	unsigned code;
	const char *enhanced, *text;
};

static const struct answer refusal_answers[] = {
	[SMTP_REFUSED_SIZE] = { 552, "5.3.4", "Message is too large" },
	[SMTP_REFUSED_HEADER] = { 552, "5.3.4", "Message header is too large" },
	[SMTP_REFUSED_HOPS] = { 554, "5.4.6", "Too many hops, the message goes round" },
	[SMTP_REFUSED_LOOP] = { 554, "5.4.6", "The message was here already" },
	[SMTP_REFUSED_MEMORY] = { 451, "4.3.0", "Out of resources, try later" },
	[SMTP_REFUSED_LINES] = { 550, "5.6.0", "Lines end with CR LF, and have neither elsewhere" },
};

static struct answer stored_answer(const struct incoming *b, char text[64])
{
	snprintf(text, 64, "Stored as %s", b->id);
	return (struct answer){ 250, "2.0.0", text };
}

static struct answer status_answer(const struct incoming *b, enum delivery_status status,
				   char text[64])
{
	switch (status) {
	case DELIVERY_OK:
		return stored_answer(b, text);
	case DELIVERY_FULL:
		return (struct answer){ 452, "4.3.1", "Storage is full, try later" };
	case DELIVERY_OVERQUOTA:
		return (struct answer){ 552, "5.2.2", "Mailbox is full" };
	case DELIVERY_LATER:
	case DELIVERY_DENIED:
		break;
	}
	return (struct answer){ 451, "4.3.0", "Storage is not available, try later" };
}

static void reply(struct incoming *b, struct answer a)
{
	smtp_reply(b->s, a.code, a.enhanced, a.text);
}

/* One answer for all, or in LMTP the same for each recipient (RFC 2033 §4.2). */
static void reply_to_all(struct incoming *b, struct answer a)
{
	unsigned count = b->s->kind == SMTP_KIND_LMTP ? b->s->rcpt_count : 1;

	for (unsigned i = 0; i < count; i++)
		reply(b, a);
}

/* How badly a status tells on its recipient: the worst of several counts. */
static unsigned badness(enum delivery_status status)
{
	static const uint8_t order[] = { [DELIVERY_OK] = 0, [DELIVERY_OVERQUOTA] = 1,
					 [DELIVERY_FULL] = 2, [DELIVERY_DENIED] = 3,
					 [DELIVERY_LATER] = 4 };
	return order[status];
}

static enum delivery_status recipient_status(const struct incoming *b,
					     const struct smtp_accepted *a)
{
	enum delivery_status worst = DELIVERY_OK;

	for (size_t i = 0; i < a->target_count; i++)
		if (badness(b->to[a->places[i]].status) > badness(worst))
			worst = b->to[a->places[i]].status;
	return worst;
}

/*
 * SMTP: all stored, or all in the queue, or a temporary failure of the whole message. The client then
 * repeats it for all, and who has it already gets it twice, which RFC 5321 §4.5.5 and we prefer to a loss.
 */
static struct answer common_answer(const struct incoming *b, char text[64])
{
	enum delivery_status worst = DELIVERY_OK;
	bool all_full = true;

	for (size_t i = 0; i < b->count; i++) {
		if (badness(b->to[i].status) > badness(worst))
			worst = b->to[i].status;
		all_full = all_full && b->to[i].status == DELIVERY_OVERQUOTA;
	}
	if (worst == DELIVERY_OVERQUOTA && !all_full)
		return (struct answer){ 452, "4.2.2", "A mailbox is full, try later" };
	return status_answer(b, worst, text);
}

static void add_leftover(struct incoming *b, const struct smtp_accepted *a, size_t place,
			 const struct authc_target *t, enum queue_reason reason,
			 struct queue_recipient *out)
{
	*out = (struct queue_recipient){
		.address = a->rcpt.to.text,
		.account = slice_of(t->account, ACCOUNT_ID_BYTES),
		.delivered_to = t->address,
		.orcpt = a->rcpt.orcpt,
		.notify = a->rcpt.notify,
		.reason = reason,
		.tries = b->to[place].tries,
	};
}

/* Recipients that the queue shall serve, or that want to hear of success. False: memory is short. */
static bool leftovers(struct incoming *b, struct queue_recipient **out, size_t *count)
{
	struct queue_recipient *list =
		arena_array(&b->s->arena, b->s->target_count, sizeof(*list));
	size_t n = 0;

	if (list == NULL)
		return false;
	for (const struct smtp_accepted *a = b->s->first; a != NULL; a = a->next)
		for (size_t i = 0; i < a->target_count; i++) {
			size_t place = a->places[i];
			enum delivery_status status = b->to[place].status;
			if (status != DELIVERY_OK)
				add_leftover(b, a, place, &a->targets[i],
					     status == DELIVERY_OVERQUOTA ? QUEUE_OVER_QUOTA :
									    QUEUE_RETRY,
					     &list[n++]);
			else if ((a->rcpt.notify & SMTP_NOTIFY_SUCCESS) != 0)
				add_leftover(b, a, place, &a->targets[i], QUEUE_DELIVERED,
					     &list[n++]);
		}
	*out = list;
	*count = n;
	return true;
}

/* The body for the queue. False: it could not be kept. */
static bool queue_body(struct incoming *b, bool all_stored, struct queue_message *m)
{
	m->body = delivery_body(b->delivery);
	if (m->body.ptr != NULL || delivery_bytes(b->delivery) == 0)
		return true;
	if (all_stored) {		/* only notices of success, which bring the header back */
		m->body = b->kept_header;
		return m->body.len > 0;
	}
	m->spool = &b->spool;
	return b->spool.err == 0 && b->spool.bytes == delivery_bytes(b->delivery);
}

/*
 * Hand over who is left. True: the queue has them on stable storage, or nobody is left.
 *
 * When nobody was served there is nothing to protect from a second copy, and the client's own
 * queue does better than ours: no is the answer then.
 */
static bool hand_over(struct incoming *b, struct slice summary)
{
	const struct smtp_service *service = b->s->s.sv->smtp;
	struct queue_recipient *list;
	AUTO_BUF struct buf trace = BUF_INIT(PREFIX_BYTES_MAX);
	size_t count, stored = 0;

	for (size_t i = 0; i < b->count; i++)
		stored += b->to[i].status == DELIVERY_OK;
	if (service->enqueue == NULL || stored == 0 || !leftovers(b, &list, &count))
		return stored == b->count;
	if (count == 0)
		return true;
	write_received(b, (struct slice){ 0 }, &trace);
	struct queue_message m = {
		.sender = b->s->mail.from.text,
		.envid = b->s->mail.envid,
		.ret = b->s->mail.ret,
		.utf8 = b->s->mail.smtputf8,
		.trace = buf_slice(&trace),
		.summary = summary,
		.internaldate_s = b->now_s,
		.recipients = list,
		.count = count,
	};
	memcpy(m.transaction, b->transaction, sizeof(m.transaction));
	if (trace.err != 0 || !queue_body(b, stored == b->count, &m))
		return stored == b->count;
	/* Whatever comes of it: an entry may be there, which needs the body. */
	b->spool_taken = m.spool != NULL;
	return service->enqueue(service->queue, &m) == 0 || stored == b->count;
}

static void tell(struct incoming *b, bool stored, unsigned code)
{
	if (!event_wants(b->s->s.ev, stored ? EVENT_INFO : EVENT_WARN))
		return;
	AUTO_EVENT struct event *ev = event_child(b->s->s.ev, "smtp.message");
	event_str(ev, "id", b->id);
	event_slice(ev, "from", b->s->mail.from.text);
	event_slice(ev, "to", b->s->first->rcpt.to.text);
	event_u64(ev, "recipients", b->s->rcpt_count);
	event_u64(ev, "size_bytes", b->bytes);
	if (stored) {
		event_info(ev, "stored a message");
	} else {
		event_u64(ev, "code", code);
		event_warn(ev, "did not take a message");
	}
}

/* Accounts that the message, now that its size is known, does not fit into. */
static void reject_full(struct incoming *b)
{
	for (size_t i = 0; i < b->count; i++) {
		const struct authc_target *t = b->places[i].target;
		if (t->over_quota || delivery_bytes(b->delivery) > t->room_bytes)
			delivery_reject(b->delivery, i, DELIVERY_OVERQUOTA);
	}
}

static const double store_bounds[] = { 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10 };
METRIC_HISTOGRAM(store_seconds, "prickle_smtp_store_seconds",
		 "From a message's last byte to its answer, which says that it is durable", store_bounds, 1e-6);

/* Store it: the place after which nothing may be lost. */
static void store(struct incoming *b)
{
	AUTO_BUF struct buf summary = BUF_INIT(SUMMARY_BYTES_MAX);
	char text[64];

	if (b->broken) {
		/* Part of the body is missing: nobody may get it, whatever delivery thinks. */
		for (size_t i = 0; i < b->count; i++)
			if (b->to[i].status == DELIVERY_OK)
				b->to[i].status = DELIVERY_LATER;
	} else {
		summary_encode(&summary, mime_stream_end(b->mime));
		if (summary.err != 0)
			buf_reset(&summary);
		reject_full(b);
		delivery_finish(b->delivery, buf_slice(&summary), b->now_s, 0);
	}
	for (size_t i = 0; i < b->count; i++) {
		if (b->to[i].status == DELIVERY_OK)
			authc_delivered(b->s->s.sv->authc, b->places[i].target->account,
					delivery_bytes(b->delivery));
		else if (b->to[i].status == DELIVERY_DENIED)
			authc_forget_rcpts(b->s->s.sv->authc);
	}
	if (b->s->kind == SMTP_KIND_LMTP) {
		unsigned failed = 0;
		for (const struct smtp_accepted *a = b->s->first; a != NULL; a = a->next) {
			struct answer answer = status_answer(b, recipient_status(b, a), text);
			reply(b, answer);
			failed += answer.code != 250;
		}
		metric_add(&messages, failed == 0 ? OUTCOME_STORED : OUTCOME_TEMPORARY, 1);
		tell(b, failed == 0, 0);
		return;
	}
	struct answer answer = hand_over(b, buf_slice(&summary)) ? stored_answer(b, text) :
								   common_answer(b, text);
	metric_add(&messages,
		   answer.code == 250 ? OUTCOME_STORED :
		   answer.code < 500  ? OUTCOME_TEMPORARY : OUTCOME_REFUSED, 1);
	if (answer.code == 250)
		metric_add(&stored_bytes, 0, b->bytes);
	tell(b, answer.code == 250, answer.code);
	reply(b, answer);
}

void incoming_finish(struct incoming *b, unsigned faults)
{
	if (faults != 0 && b->refusal == SMTP_NOT_REFUSED)
		b->refusal = SMTP_REFUSED_LINES;
	/* A message without an empty line is all header (RFC 5322 §3.5: the body is optional). */
	if (b->refusal == SMTP_NOT_REFUSED && !b->started)
		b->refusal = start(b, buf_slice(&b->head), b->head.len);
	if (b->refusal == SMTP_NOT_REFUSED) {
		int64_t began_us = world_mono_us(b->s->s.sv->world);
		store(b);
		metric_observe(&store_seconds, (uint64_t)(world_mono_us(b->s->s.sv->world) - began_us));
	} else {
		struct answer answer = refusal_answers[b->refusal];
		metric_add(&messages, answer.code < 500 ? OUTCOME_TEMPORARY : OUTCOME_REFUSED, 1);
		tell(b, false, answer.code);
		reply_to_all(b, answer);
	}
	incoming_free(b);
}
