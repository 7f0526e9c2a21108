#include "mail/session/queue_runner.h"

#include <stdio.h>

#include "base/event.h"
#include "base/test.h"
#include "engine/memory.h"
#include "mail/mailbox/delivery.h"
#include "mail/mailbox/mailbox.h"
#include "mail/mailbox/testworld.h"
#include "mail/queue/dsn.h"
#include "mail/queue/entry.h"
#include "mail/queue/limits.h"
#include "mail/session/authc.h"
#include "mail/smtp/command.h"
#include "sys/fiber.h"
#include "sys/loop.h"

#define ANN "00000000000000aa"
#define BOB "00000000000000bb"
#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)

/* ---- auth, by heart: ann and bob live here, and answer what the test wants ---- */

struct authc {
	enum authc_rcpt_result ann, bob;
	bool bob_full;			/* as one of several behind an alias */
	uint64_t delivered[2];
};

enum authc_rcpt_result authc_rcpt(struct authc *a, struct slice address, uint64_t size,
				  struct arena *arena, struct authc_target **targets, size_t *count)
{
	bool ann = slice_starts(address, SLICE("ann"));

	(void)size;
	if (!slice_ends(address, SLICE("@example.org")))
		return AUTHC_RCPT_NOT_LOCAL;
	enum authc_rcpt_result r = ann ? a->ann : a->bob;
	if (r != AUTHC_RCPT_OK)
		return r;
	*targets = arena_array(arena, 1, sizeof(**targets));
	memset(*targets, 0, sizeof(**targets));
	memcpy((*targets)->account, ann ? ANN : BOB, sizeof((*targets)->account));
	(*targets)->address = ann ? SLICE("ann@example.org") : SLICE("bob@example.org");
	(*targets)->room_bytes = UINT64_MAX;
	(*targets)->over_quota = !ann && a->bob_full;
	*count = 1;
	return AUTHC_RCPT_OK;
}

void authc_delivered(struct authc *a, const char *account, uint64_t bytes)
{
	ck_assert_uint_eq(strlen(account), 16);
	a->delivered[account[15] == 'b'] += bytes;
}

/* ---- a queue whose clock stands still ---- */

static const int64_t retry_us[] = { 30 * SECOND, 60 * SECOND, 300 * SECOND };

static struct {
	struct world base;
	uint64_t seed;
	int64_t now_us;
} world;

static int64_t world_now(struct world *w)
{
	(void)w;
	return world.now_us;
}

static void random_bytes(struct world *w, void *out, size_t n)
{
	(void)w;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)out)[i] = (uint8_t)test_next(&world.seed);
}

static const struct world_ops ops = { .real_us = world_now, .mono_us = world_now, .random = random_bytes };

static struct authc authc;
static struct engine *engine;
static struct loop *loop;
static struct queue_runner *queue;
static struct queue_runner_options options;
static struct queue_writer writer;
static struct arena arena;
static bool stopped;

static void on_stopped(void *arg)
{
	(void)arg;
	stopped = true;
}

static void settle(void)
{
	for (int i = 0; i < 40; i++)
		loop_run_once(loop, 0);
}

static void start(void)
{
	ck_assert_int_eq(queue_runner_new(&options, &queue), 0);
	settle();
}

static void stop(void)
{
	stopped = false;
	queue_runner_stop(queue, on_stopped, NULL);
	while (!stopped)
		loop_run_once(loop, 5);
	queue_runner_free(queue);
	queue = NULL;
}

static void begin(void)
{
	world.base.ops = &ops;
	world.seed = 1;
	world.now_us = INT64_C(1795424400) * SECOND;
	engine = engine_memory_new();
	arena_init(&arena, 256u << 20);
	ck_assert_int_eq(loop_new(&loop), 0);
	authc = (struct authc){ 0 };
	writer = (struct queue_writer){ .engine = engine, .world = &world.base };
	options = (struct queue_runner_options){
		.loop = loop, .world = &world.base, .engine = engine, .authc = &authc,
		.hostname = "mx.example.org", .lifetime_us = 24 * HOUR,
		.retry_us = retry_us, .retry_count = ARRAY_LEN(retry_us),
	};
	start();
}

static void end(void)
{
	if (queue != NULL)
		stop();
	loop_free(loop);
	engine_close(engine);
	arena_done(&arena);
}

/* Time passes, and the runner looks. */
static void turn(int64_t us)
{
	world.now_us += us;
	queue_runner_settings(queue, &options);
	settle();
}

static struct queue_counts counts(void)
{
	struct queue_counts c;

	queue_runner_counts(queue, &c);
	return c;
}

static struct queue_recipient to_bob(enum queue_reason reason, unsigned notify)
{
	return (struct queue_recipient){
		.address = SLICE("bob+x@example.org"), .account = SLICE(BOB),
		.delivered_to = SLICE("bob@example.org"), .reason = reason, .notify = notify,
	};
}

static uint8_t next_transaction;

static void enqueue_body(struct slice sender, const struct queue_recipient *to, size_t count,
			 struct slice body, const struct queue_spool *spool)
{
	struct queue_message m = {
		.sender = sender, .trace = SLICE("Received: from x by y\r\n"), .body = body, .spool = spool,
		.summary = SLICE("sum"), .internaldate_s = 1795424400, .recipients = to, .count = count,
		.ret = SMTP_RET_FULL, .envid = SLICE("e42"),
	};

	if (spool != NULL)
		memcpy(m.transaction, spool->transaction, sizeof(m.transaction));
	else
		memset(m.transaction, ++next_transaction, sizeof(m.transaction));
	ck_assert_int_eq(queue_enqueue(&writer, &m), 0);
	settle();
}

static void enqueue(const char *sender, struct queue_recipient to)
{
	enqueue_body(slice_str(sender), &to, 1, SLICE("Subject: one\r\n\r\nhi\r\n"), NULL);
}

static size_t objects(const char *prefix)
{
	struct slice *names;
	size_t count;

	ck_assert_int_eq(engine_list(engine, slice_str(prefix), (struct slice){ 0 }, 1000, &arena, &names,
				     &count), ENGINE_OK);
	return count;
}

static size_t waiting(struct queue_entry *out)
{
	size_t all = 0;

	for (unsigned s = 0; s < QUEUE_SHARDS; s++) {
		struct queue_entry e;
		struct engine_kv *kv;
		size_t n;
		bool more;
		char name[16];
		queue_shard_name(s, name);
		ck_assert_int_eq(engine_keys(engine, slice_str(name), SLICE("e"), SLICE("f"), 1000, 16u << 20,
					     &arena, &kv, &n, &more), ENGINE_OK);
		for (size_t i = 0; i < n; i++, all++)
			ck_assert(queue_entry_decode(&arena, kv[i].key, kv[i].value, out != NULL ? out : &e));
	}
	return all;
}

/* The messages of an inbox, read as their owner does; the text of the last one. */
static uint32_t inbox(const char *account, struct buf *text)
{
	struct accounts_options ao = { .buckets = 1, .cache_bytes = 1u << 20 };
	struct message_info info;
	struct accounts *all;
	struct account *a;
	struct mailbox *m;

	ck_assert_int_eq(accounts_new(&world.base, &ao, &all), 0);
	ck_assert_int_eq(account_open(all, engine, slice_str(account), (struct quota){ 0 }, &a), MAILBOX_OK);
	ck_assert_int_eq(mailbox_open(a, SLICE("INBOX"), false, &m), MAILBOX_OK);
	uint32_t count = mailbox_count(m);
	if (text != NULL && count > 0) {
		buf_reset(text);
		ck_assert(mailbox_message(m, mailbox_uid(m, count), &info));
		ck_assert_int_eq(mailbox_read(m, &info, 0, info.size, text), MAILBOX_OK);
	}
	mailbox_close(m);
	account_close(a);
	accounts_free(all);
	return count;
}

#define HAS(text, what) ck_assert_ptr_nonnull(strstr(buf_cstr(text), what))
#define HAS_NOT(text, what) ck_assert_ptr_null(strstr(buf_cstr(text), what))

/* ---- tries ---- */

START_TEST(what_could_not_be_stored_is_delivered_as_soon_as_it_can)
{
	AUTO_BUF struct buf text = BUF_INIT(100000);

	begin();
	enqueue("ann@example.org", to_bob(QUEUE_RETRY, 0));
	ck_assert_uint_eq(inbox(BOB, &text), 1);
	ck_assert_str_eq(buf_cstr(&text), "Return-Path: <ann@example.org>\r\nDelivered-To: bob@example.org\r\n"
					  "Received: from x by y\r\nSubject: one\r\n\r\nhi\r\n");
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(objects("b.queue."), 0);
	ck_assert_uint_eq(inbox(ANN, NULL), 0);
	/* Auth's picture of bob's quota has it. */
	ck_assert_uint_eq(authc.delivered[1], strlen("Subject: one\r\n\r\nhi\r\n"));
	end();
}
END_TEST

START_TEST(tries_keep_to_the_schedule_and_its_last_time_repeats)
{
	static const int64_t waits[] = { 30, 60, 300, 300, 300 };
	struct queue_entry e;

	begin();
	authc.bob = AUTHC_RCPT_TEMPORARY;
	enqueue("ann@example.org", to_bob(QUEUE_RETRY, 0));
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		ck_assert_uint_eq(waiting(&e), 1);
		ck_assert_uint_eq(e.attempts, i + 1);
		ck_assert_int_eq(e.due_us - world.now_us, waits[i] * SECOND);
		turn(waits[i] * SECOND - 1);
		ck_assert_uint_eq(waiting(&e), 1);
		ck_assert_uint_eq(e.attempts, i + 1);
		turn(1);
	}
	ck_assert_uint_eq(waiting(&e), 1);
	ck_assert_slice_eq(e.items[0].status, SLICE("4.3.0 the directory did not answer"));
	authc.bob = AUTHC_RCPT_OK;
	turn(300 * SECOND);
	ck_assert_uint_eq(inbox(BOB, NULL), 1);
	ck_assert_uint_eq(waiting(NULL), 0);
	end();
}
END_TEST

START_TEST(a_full_mailbox_is_waited_for)
{
	struct queue_entry e;

	begin();
	authc.bob = AUTHC_RCPT_OVER_QUOTA;
	enqueue("ann@example.org", to_bob(QUEUE_RETRY, 0));
	ck_assert_uint_eq(waiting(&e), 1);
	ck_assert_slice_eq(e.items[0].status, SLICE("4.2.2 the mailbox is full"));
	authc.bob = AUTHC_RCPT_OK;
	authc.bob_full = true;
	turn(30 * SECOND);
	ck_assert_uint_eq(waiting(&e), 1);
	authc.bob_full = false;
	turn(60 * SECOND);
	ck_assert_uint_eq(inbox(BOB, NULL), 1);
	ck_assert_uint_eq(inbox(ANN, NULL), 0);
	end();
}
END_TEST

static unsigned fail_entries;

static enum memory_fate fail_outcome(void *arg, const struct engine_op *op)
{
	(void)arg;
	if (slice_starts(op->object, SLICE("q.")) && fail_entries > 0) {
		fail_entries--;
		return MEMORY_FAIL;
	}
	return MEMORY_DO;
}

START_TEST(a_try_whose_outcome_was_not_written_is_repeated_without_a_second_copy)
{
	begin();
	authc.bob = AUTHC_RCPT_TEMPORARY;
	enqueue("ann@example.org", to_bob(QUEUE_RETRY, 0));
	authc.bob = AUTHC_RCPT_OK;
	fail_entries = 2;
	engine_memory_hook(engine, fail_outcome, NULL);
	turn(30 * SECOND);
	/* Not at once: the disk may be full. */
	ck_assert_uint_eq(counts().delivered, 1);
	turn(30 * SECOND);
	turn(30 * SECOND);
	ck_assert_uint_eq(counts().delivered, 3);
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(inbox(BOB, NULL), 1);
	end();
}
END_TEST

START_TEST(another_process_of_the_queue_goes_on_where_the_first_ended)
{
	begin();
	authc.bob = AUTHC_RCPT_TEMPORARY;
	enqueue("ann@example.org", to_bob(QUEUE_RETRY, 0));
	stop();
	authc.bob = AUTHC_RCPT_OK;
	/* Its lease of the shards ends by itself. */
	world.now_us += 120 * SECOND;
	start();
	turn(120 * SECOND);
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(inbox(BOB, NULL), 1);
	end();
}
END_TEST

START_TEST(two_addresses_of_one_account_get_one_copy)
{
	struct queue_recipient to[2] = { to_bob(QUEUE_RETRY, 0), to_bob(QUEUE_RETRY, 0) };

	begin();
	to[1].address = SLICE("bob@example.org");
	enqueue_body(SLICE("ann@example.org"), to, 2, SLICE("A: b\r\n\r\nx\r\n"), NULL);
	ck_assert_uint_eq(inbox(BOB, NULL), 1);
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(counts().tried, 1);
	end();
}
END_TEST

START_TEST(parts_of_one_message_share_a_body_until_the_last_is_done)
{
	static struct queue_recipient to[QUEUE_ENTRY_RECIPIENTS_MAX + 1];
	struct queue_entry e;

	begin();
	for (size_t i = 0; i < ARRAY_LEN(to); i++)
		to[i] = to_bob(QUEUE_DELIVERED, SMTP_NOTIFY_NEVER);
	to[QUEUE_ENTRY_RECIPIENTS_MAX] = to_bob(QUEUE_RETRY, 0);
	authc.bob = AUTHC_RCPT_TEMPORARY;
	enqueue_body(SLICE("ann@example.org"), to, ARRAY_LEN(to), SLICE("A: b\r\n\r\nx\r\n"), NULL);
	ck_assert_uint_eq(waiting(&e), 1);
	ck_assert_uint_eq(e.part, 1);
	ck_assert_uint_eq(objects("b.queue."), 1);
	authc.bob = AUTHC_RCPT_OK;
	turn(30 * SECOND);
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(inbox(BOB, NULL), 1);
	ck_assert_uint_eq(objects("b.queue."), 0);
	end();
}
END_TEST

/* ---- large bodies ---- */

static void spool(struct queue_spool *s, size_t pieces)
{
	AUTO_BUF struct buf piece = BUF_INIT(1u << 20);

	memset(s, 0, sizeof(*s));
	memset(s->transaction, ++next_transaction, sizeof(s->transaction));
	for (size_t i = 0; i < pieces; i++) {
		buf_reset(&piece);
		buf_adds(&piece, i == 0 ? "Subject: large\r\n\r\n" : "");
		buf_fill(&piece, (uint8_t)('a' + i), (i == pieces - 1 ? 12345 : 1u << 20) - piece.len);
		ck_assert_int_eq(queue_spool_write(&writer, s, buf_slice(&piece)), 0);
	}
}

START_TEST(a_large_message_waits_in_the_queue_and_arrives_whole_and_once)
{
	AUTO_BUF struct buf text = BUF_INIT(8u << 20);
	struct queue_recipient to = to_bob(QUEUE_RETRY, 0);
	struct queue_spool s;

	begin();
	spool(&s, 4);
	authc.bob = AUTHC_RCPT_OVER_QUOTA;
	enqueue_body(SLICE("ann@example.org"), &to, 1, (struct slice){ 0 }, &s);
	ck_assert_uint_eq(waiting(NULL), 1);
	ck_assert_uint_eq(objects("b.queue."), 4);
	authc.bob = AUTHC_RCPT_OK;
	fail_entries = 1;
	engine_memory_hook(engine, fail_outcome, NULL);
	turn(30 * SECOND);
	turn(60 * SECOND);
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(objects("b.queue."), 0);
	ck_assert_uint_eq(inbox(BOB, &text), 1);
	struct slice body = slice_from(buf_slice(&text), slice_find(buf_slice(&text), SLICE("Subject:")));
	ck_assert_uint_eq(body.len, s.bytes);
	ck_assert_uint_eq(body.ptr[(1u << 20) - 1], 'a');
	ck_assert_uint_eq(body.ptr[1u << 20], 'b');
	ck_assert_uint_eq(body.ptr[(2u << 20) - 1], 'b');
	ck_assert_uint_eq(body.ptr[3u << 20], 'd');
	ck_assert_uint_eq(body.ptr[body.len - 1], 'd');
	end();
}
END_TEST

START_TEST(a_large_body_that_nobody_needs_is_removed_at_once)
{
	struct queue_spool s;

	begin();
	spool(&s, 3);
	queue_spool_drop(&writer, &s);
	settle();
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(objects("b.queue."), 0);
	ck_assert_uint_eq(inbox(ANN, NULL), 0);
	end();
}
END_TEST

static void remove_object(const char *name)
{
	struct engine_step step = { .kind = STEP_REMOVE };
	struct engine_op op = { .object = slice_str(name), .steps = &step, .count = 1 };

	ck_assert_int_eq(engine_apply(engine, &op), ENGINE_OK);
}

START_TEST(a_large_body_with_a_piece_missing_goes_back_to_its_sender)
{
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);
	struct queue_recipient to = to_bob(QUEUE_RETRY, 0);
	char name[QUEUE_BODY_NAME_BYTES];
	struct queue_spool s;

	begin();
	spool(&s, 4);
	authc.bob = AUTHC_RCPT_TEMPORARY;
	enqueue_body(SLICE("ann@example.org"), &to, 1, (struct slice){ 0 }, &s);
	queue_body_name(s.transaction, 2, name);
	remove_object(name);
	authc.bob = AUTHC_RCPT_OK;
	turn(30 * SECOND);
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(inbox(BOB, NULL), 0);
	ck_assert_uint_eq(inbox(ANN, &text), 1);
	HAS(&text, "\r\nStatus: 5.3.0\r\n");
	HAS(&text, "Subject: large\r\n");
	HAS_NOT(&text, "aaaa");		/* too large to come back whole */
	end();
}
END_TEST

START_TEST(bodies_without_an_entry_are_collected_after_an_hour)
{
	struct queue_recipient to = to_bob(QUEUE_RETRY, 0);
	struct queue_spool half, used;

	begin();
	authc.bob = AUTHC_RCPT_TEMPORARY;
	spool(&half, 3);		/* its writer died */
	spool(&used, 2);
	enqueue_body(SLICE("ann@example.org"), &to, 1, (struct slice){ 0 }, &used);
	enqueue("ann@example.org", to);
	ck_assert_uint_eq(objects("b.queue."), 6);
	turn(30 * 60 * SECOND);
	ck_assert_uint_eq(objects("b.queue."), 6);
	turn(HOUR);
	ck_assert_uint_eq(waiting(NULL), 2);
	ck_assert_uint_eq(objects("b.queue."), 3);
	/* The one that was being written cannot become a message any more. */
	struct queue_message m = { .sender = SLICE("ann@example.org"), .recipients = &to, .count = 1,
				   .spool = &half };
	memcpy(m.transaction, half.transaction, sizeof(m.transaction));
	ck_assert_int_lt(queue_enqueue(&writer, &m), 0);
	end();
}
END_TEST

/* ---- notices ---- */

START_TEST(a_message_that_waited_too_long_goes_back_to_its_sender_once)
{
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);

	begin();
	authc.bob = AUTHC_RCPT_TEMPORARY;
	enqueue("ann@example.org", to_bob(QUEUE_RETRY, 0));
	turn(24 * HOUR - SECOND);
	ck_assert_uint_eq(waiting(NULL), 1);
	ck_assert_uint_eq(inbox(ANN, NULL), 0);
	turn(300 * SECOND);
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(objects("b.queue."), 0);
	ck_assert_uint_eq(inbox(ANN, &text), 1);
	HAS(&text, "\r\nFinal-Recipient: rfc822; bob+x@example.org\r\nAction: failed\r\nStatus: 5.4.7\r\n");
	HAS(&text, "Subject: one\r\n\r\nhi\r\n");
	turn(24 * HOUR);
	ck_assert_uint_eq(inbox(ANN, NULL), 1);
	ck_assert_uint_eq(counts().failed, 1);
	ck_assert_uint_eq(counts().notices, 1);
	end();
}
END_TEST

START_TEST(a_notice_has_the_null_sender_and_never_waits_itself)
{
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);

	begin();
	enqueue("ann@example.org", to_bob(QUEUE_OVER_QUOTA, 0));
	ck_assert_uint_eq(inbox(ANN, &text), 1);
	ck_assert(slice_starts(buf_slice(&text), SLICE("Return-Path: <>\r\n")));
	HAS(&text, "\r\nStatus: 5.2.2\r\n");
	HAS(&text, "\r\nAuto-Submitted: auto-replied\r\n");
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(inbox(BOB, NULL), 0);
	end();
}
END_TEST

START_TEST(the_null_sender_is_told_nothing)
{
	begin();
	enqueue("", to_bob(QUEUE_OVER_QUOTA, 0));
	enqueue("", to_bob(QUEUE_DELIVERED, SMTP_NOTIFY_SUCCESS));
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(counts().notices, 0);
	ck_assert_uint_eq(counts().failed, 1);
	ck_assert_uint_eq(objects("a."), 0);
	ck_assert_uint_eq(objects("f."), 0);
	end();
}
END_TEST

START_TEST(a_sender_elsewhere_is_not_told_as_long_as_there_is_no_relay)
{
	begin();
	enqueue("x@elsewhere.example", to_bob(QUEUE_OVER_QUOTA, 0));
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(counts().notices, 0);
	ck_assert_uint_eq(objects("f."), 0);
	end();
}
END_TEST

START_TEST(a_sender_whose_mailbox_is_full_is_told_later_but_not_for_ever)
{
	begin();
	authc.ann = AUTHC_RCPT_OVER_QUOTA;
	enqueue("ann@example.org", to_bob(QUEUE_OVER_QUOTA, 0));
	enqueue("ann@example.org", to_bob(QUEUE_OVER_QUOTA, 0));
	turn(HOUR);
	ck_assert_uint_eq(waiting(NULL), 2);
	authc.ann = AUTHC_RCPT_OK;
	turn(HOUR);
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(inbox(ANN, NULL), 2);
	authc.ann = AUTHC_RCPT_OVER_QUOTA;
	enqueue("ann@example.org", to_bob(QUEUE_OVER_QUOTA, 0));
	turn(48 * HOUR - SECOND);
	ck_assert_uint_eq(waiting(NULL), 1);
	turn(HOUR);
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(inbox(ANN, NULL), 2);
	end();
}
END_TEST

START_TEST(a_delay_is_told_once)
{
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);

	begin();
	options.delay_notice_us = 4 * HOUR;
	authc.bob = AUTHC_RCPT_TEMPORARY;
	enqueue("ann@example.org", to_bob(QUEUE_RETRY, 0));
	turn(4 * HOUR - SECOND);
	ck_assert_uint_eq(inbox(ANN, NULL), 0);
	turn(HOUR);
	ck_assert_uint_eq(inbox(ANN, &text), 1);
	HAS(&text, "\r\nAction: delayed\r\nStatus: 4.3.0\r\n");
	HAS(&text, "\r\nWill-Retry-Until: Tue, 24 Nov 2026 09:00:00 +0000\r\n");
	HAS_NOT(&text, "\r\nhi\r\n");
	turn(6 * HOUR);
	ck_assert_uint_eq(inbox(ANN, NULL), 1);
	ck_assert_uint_eq(waiting(NULL), 1);
	end();
}
END_TEST

START_TEST(who_asked_not_to_be_told_is_not)
{
	begin();
	options.delay_notice_us = 4 * HOUR;
	authc.bob = AUTHC_RCPT_TEMPORARY;
	enqueue("ann@example.org", to_bob(QUEUE_RETRY, SMTP_NOTIFY_NEVER));
	enqueue("ann@example.org", to_bob(QUEUE_RETRY, SMTP_NOTIFY_SUCCESS));
	turn(5 * HOUR);
	turn(20 * HOUR);
	ck_assert_uint_eq(waiting(NULL), 0);
	ck_assert_uint_eq(inbox(ANN, NULL), 0);
	ck_assert_uint_eq(counts().failed, 2);
	end();
}
END_TEST

START_TEST(success_is_told_to_who_asked)
{
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);

	begin();
	authc.bob = AUTHC_RCPT_TEMPORARY;
	enqueue("ann@example.org", to_bob(QUEUE_RETRY, SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE));
	authc.bob = AUTHC_RCPT_OK;
	turn(30 * SECOND);
	ck_assert_uint_eq(inbox(BOB, NULL), 1);
	ck_assert_uint_eq(inbox(ANN, &text), 1);
	HAS(&text, "\r\nAction: delivered\r\nStatus: 2.1.5\r\n");
	ck_assert_uint_eq(waiting(NULL), 0);
	end();
}
END_TEST

START_TEST(a_notice_that_is_repeated_after_a_crash_arrives_once)
{
	begin();
	fail_entries = 0;
	authc.bob = AUTHC_RCPT_TEMPORARY;
	enqueue("ann@example.org", to_bob(QUEUE_RETRY, 0));
	authc.bob = AUTHC_RCPT_NO_USER;
	fail_entries = 2;
	engine_memory_hook(engine, fail_outcome, NULL);
	for (int i = 0; i < 3; i++)
		turn(30 * SECOND);
	ck_assert_uint_eq(counts().notices, 3);
	ck_assert_uint_eq(inbox(ANN, NULL), 1);
	ck_assert_uint_eq(waiting(NULL), 0);
	end();
}
END_TEST

TEST_MAIN_SLOW(60, "session/queue_runner", what_could_not_be_stored_is_delivered_as_soon_as_it_can,
	  tries_keep_to_the_schedule_and_its_last_time_repeats, a_full_mailbox_is_waited_for,
	  a_try_whose_outcome_was_not_written_is_repeated_without_a_second_copy,
	  another_process_of_the_queue_goes_on_where_the_first_ended,
	  two_addresses_of_one_account_get_one_copy,
	  parts_of_one_message_share_a_body_until_the_last_is_done,
	  a_large_message_waits_in_the_queue_and_arrives_whole_and_once,
	  a_large_body_that_nobody_needs_is_removed_at_once,
	  a_large_body_with_a_piece_missing_goes_back_to_its_sender,
	  bodies_without_an_entry_are_collected_after_an_hour,
	  a_message_that_waited_too_long_goes_back_to_its_sender_once,
	  a_notice_has_the_null_sender_and_never_waits_itself, the_null_sender_is_told_nothing,
	  a_sender_elsewhere_is_not_told_as_long_as_there_is_no_relay,
	  a_sender_whose_mailbox_is_full_is_told_later_but_not_for_ever, a_delay_is_told_once,
	  who_asked_not_to_be_told_is_not, success_is_told_to_who_asked,
	  a_notice_that_is_repeated_after_a_crash_arrives_once)
