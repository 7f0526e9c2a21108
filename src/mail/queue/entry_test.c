#include "mail/queue/entry.h"

#include <errno.h>

#include "base/test.h"
#include "engine/memory.h"
#include "mail/mailbox/testworld.h"
#include "mail/queue/limits.h"

#define ACCOUNT "00000000000000aa"

static struct test_world world;
static struct engine *engine;
static struct queue_writer writer;
static struct arena arena;

static void begin(void)
{
	test_world_init(&world, 1);
	engine = engine_memory_new();
	writer = (struct queue_writer){ .engine = engine, .world = &world.base };
	arena_init(&arena, 64u << 20);
}

static void end(void)
{
	engine_close(engine);
	arena_done(&arena);
}

static struct queue_item item(void)
{
	return (struct queue_item){
		.address = SLICE("bob+x@example.org"), .account = SLICE(ACCOUNT),
		.delivered_to = SLICE("bob@example.org"), .orcpt = SLICE("rfc822;bob@old.example"),
		.notify = 3, .state = QUEUE_STORED, .status = SLICE("4.2.2 full"),
		.tries = { .count = 2, .overflow = true, .place = { { 1, 7 }, { 0, 4000000000u } } },
	};
}

static struct queue_entry entry(struct queue_item *items, size_t count)
{
	return (struct queue_entry){
		.id = "0123456789abcde", .part = 3, .shared = true, .due_us = 1795424400000001,
		.created_us = 1795424400000000, .attempts = 70000, .delay_told = true, .utf8 = true,
		.ret = 2, .sender = SLICE("ann@example.org"), .envid = SLICE("e1"),
		.trace = SLICE("Received: x\r\n"), .internaldate_s = 1795424400,
		.body_bytes = 5000000000, .items = items, .count = count,
	};
}

START_TEST(an_entry_is_read_as_it_was_written)
{
	AUTO_BUF struct buf value = BUF_INIT(ENGINE_VALUE_BYTES_MAX);
	struct queue_item items[2] = { item(), item() };
	struct queue_entry e = entry(items, 2), got;
	uint8_t key[QUEUE_KEY_BYTES];

	begin();
	queue_key(e.due_us, e.id, key);
	queue_entry_encode(&value, &e);
	ck_assert(queue_entry_decode(&arena, slice_of(key, sizeof(key)), buf_slice(&value), &got));
	ck_assert_mem_eq(got.id, e.id, sizeof(e.id));
	ck_assert_uint_eq(got.part, 3);
	ck_assert(got.shared && got.delay_told && got.utf8);
	ck_assert_int_eq(got.due_us, e.due_us);
	ck_assert_int_eq(got.created_us, e.created_us);
	ck_assert_uint_eq(got.attempts, 70000);
	ck_assert_uint_eq(got.ret, 2);
	ck_assert_slice_eq(got.sender, e.sender);
	ck_assert_slice_eq(got.envid, e.envid);
	ck_assert_slice_eq(got.trace, e.trace);
	ck_assert_int_eq(got.internaldate_s, 1795424400);
	ck_assert_uint_eq(got.body_bytes, 5000000000);
	ck_assert_uint_eq(got.count, 2);
	ck_assert_slice_eq(got.items[1].address, items[1].address);
	ck_assert_slice_eq(got.items[1].account, items[1].account);
	ck_assert_slice_eq(got.items[1].delivered_to, items[1].delivered_to);
	ck_assert_slice_eq(got.items[1].orcpt, items[1].orcpt);
	ck_assert_slice_eq(got.items[1].status, items[1].status);
	ck_assert_uint_eq(got.items[1].notify, 3);
	ck_assert_uint_eq(got.items[1].state, QUEUE_STORED);
	ck_assert_uint_eq(got.items[1].tries.count, 2);
	ck_assert(got.items[1].tries.overflow);
	ck_assert_uint_eq(got.items[1].tries.place[1].fragment, 4000000000u);
	end();
}
END_TEST

START_TEST(bytes_that_are_cut_or_longer_are_no_entry)
{
	AUTO_BUF struct buf value = BUF_INIT(ENGINE_VALUE_BYTES_MAX);
	struct queue_item one = item();
	struct queue_entry e = entry(&one, 1), got;
	uint8_t key[QUEUE_KEY_BYTES];

	begin();
	queue_key(e.due_us, e.id, key);
	queue_entry_encode(&value, &e);
	for (size_t n = 0; n < value.len; n++)
		ck_assert(!queue_entry_decode(&arena, slice_of(key, sizeof(key)),
					      slice_head(buf_slice(&value), n), &got));
	ck_assert(!queue_entry_decode(&arena, slice_of(key, sizeof(key) - 1), buf_slice(&value), &got));
	buf_addc(&value, 0);
	ck_assert(!queue_entry_decode(&arena, slice_of(key, sizeof(key)), buf_slice(&value), &got));
	end();
}
END_TEST

START_TEST(a_status_is_taken_at_its_limit_and_refused_above)
{
	uint8_t key[QUEUE_KEY_BYTES], text[QUEUE_STATUS_BYTES_MAX + 1];
	struct queue_item one = item();
	struct queue_entry e = entry(&one, 1), got;

	begin();
	memset(text, 'x', sizeof(text));
	queue_key(e.due_us, e.id, key);
	for (size_t n = QUEUE_STATUS_BYTES_MAX; n <= QUEUE_STATUS_BYTES_MAX + 1; n++) {
		AUTO_BUF struct buf value = BUF_INIT(ENGINE_VALUE_BYTES_MAX);
		one.status = slice_of(text, n);
		queue_entry_encode(&value, &e);
		ck_assert_int_eq(queue_entry_decode(&arena, slice_of(key, sizeof(key)),
						    buf_slice(&value), &got),
				 n == QUEUE_STATUS_BYTES_MAX);
	}
	end();
}
END_TEST

START_TEST(the_next_one_due_has_the_first_key)
{
	uint8_t early[QUEUE_KEY_BYTES], late[QUEUE_KEY_BYTES], id[QUEUE_ID_BYTES] = { 0xff }, low[16] = { 0 };

	queue_key(255, id, early);
	queue_key(256, low, late);
	ck_assert_int_lt(memcmp(early, late, sizeof(early)), 0);
}
END_TEST

START_TEST(names_of_bodies_are_read_back_and_others_are_not)
{
	static const char *const bad[] = { "b.queue.", "b.queue.00", "b.queue.zz112233445566778899aabbccddeeff",
					   "b.queue.00112233445566778899aabbccddeeff.0",
					   "b.queue.00112233445566778899aabbccddeeff.x",
					   "b.queue.00112233445566778899aabbccddeeff.",
					   "b.0011223344556677.00112233445566778899aabbccddeeff.1" };
	uint8_t id[16], got[16];
	char name[QUEUE_BODY_NAME_BYTES];
	uint64_t chunk;

	memset(id, 0xab, sizeof(id));
	queue_body_name(id, 0, name);
	ck_assert_str_eq(name, "b.queue.abababababababababababababababab");
	ck_assert(queue_body_parse(slice_str(name), got, &chunk));
	ck_assert_uint_eq(chunk, 0);
	ck_assert_mem_eq(got, id, 16);
	queue_body_name(id, UINT64_MAX, name);
	ck_assert(queue_body_parse(slice_str(name), got, &chunk));
	ck_assert(chunk == UINT64_MAX);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!queue_body_parse(slice_str(bad[i]), got, &chunk), "%s", bad[i]);
}
END_TEST

/* ---- writing ---- */

static size_t objects(const char *prefix)
{
	struct slice *names;
	size_t count;

	ck_assert_int_eq(engine_list(engine, slice_str(prefix), (struct slice){ 0 }, 1000, &arena, &names,
				     &count), ENGINE_OK);
	return count;
}

static size_t entries(struct queue_entry *last)
{
	size_t all = 0;

	for (unsigned s = 0; s < QUEUE_SHARDS; s++) {
		struct engine_kv *kv;
		size_t n;
		bool more;
		char name[16];
		queue_shard_name(s, name);
		ck_assert_int_eq(engine_keys(engine, slice_str(name), SLICE("e"), SLICE("f"), 1000, 16u << 20,
					     &arena, &kv, &n, &more), ENGINE_OK);
		for (size_t i = 0; i < n; i++, all++)
			ck_assert(queue_entry_decode(&arena, kv[i].key, kv[i].value, last));
	}
	return all;
}

static struct queue_message message(const struct queue_recipient *recipients, size_t count)
{
	return (struct queue_message){
		.transaction = "0123456789abcde", .sender = SLICE("ann@example.org"),
		.trace = SLICE("Received: x\r\n"), .body = SLICE("A: b\r\n\r\n"), .summary = SLICE("sum"),
		.recipients = recipients, .count = count,
	};
}

START_TEST(many_recipients_make_several_entries_that_share_the_body)
{
	static struct queue_recipient to[QUEUE_ENTRY_RECIPIENTS_MAX + 1];
	struct queue_message m = message(to, ARRAY_LEN(to));
	struct queue_entry e;
	uint8_t transaction[TRANSACTION_ID_BYTES];

	begin();
	for (size_t i = 0; i < ARRAY_LEN(to); i++)
		to[i] = (struct queue_recipient){ .address = SLICE("bob@example.org"),
						  .account = SLICE(ACCOUNT),
						  .delivered_to = SLICE("bob@example.org") };
	m.count = QUEUE_ENTRY_RECIPIENTS_MAX;
	m.transaction[5] = 1;
	ck_assert_int_eq(queue_enqueue(&writer, &m), 0);
	ck_assert_uint_eq(entries(&e), 1);
	ck_assert(!e.shared);
	m.count = QUEUE_ENTRY_RECIPIENTS_MAX + 1;
	m.transaction[5] = 2;
	ck_assert_int_eq(queue_enqueue(&writer, &m), 0);
	ck_assert_uint_eq(entries(&e), 3);
	ck_assert(e.shared);
	queue_transaction(&e, transaction);
	ck_assert_mem_eq(transaction, m.transaction, sizeof(transaction));
	ck_assert(queue_is_of(e.id, transaction));
	ck_assert_uint_eq(objects("b.queue."), 2);
	end();
}
END_TEST

static void spool(struct queue_spool *s, size_t bytes)
{
	AUTO_BUF struct buf piece = BUF_INIT(700000);

	buf_fill(&piece, 'x', 700000);
	for (; bytes > 0 && s->err == 0; bytes -= MIN(bytes, (size_t)700000))
		if (queue_spool_write(&writer, s, slice_head(buf_slice(&piece), bytes)) != 0)
			return;
}

START_TEST(a_large_body_is_written_in_pieces_before_its_entry)
{
	struct queue_recipient to = { .address = SLICE("bob@example.org"), .account = SLICE(ACCOUNT) };
	struct queue_message m = message(&to, 1);
	struct queue_spool s = { .transaction = "0123456789abcde" };
	char name[QUEUE_BODY_NAME_BYTES];
	struct engine_stat st;
	struct queue_entry e;

	begin();
	spool(&s, (2u << 20) + 5);
	ck_assert_int_eq(s.err, 0);
	ck_assert_uint_eq(s.bytes, (2u << 20) + 5);
	ck_assert_uint_eq(objects("b.queue."), 3);
	queue_body_name(s.transaction, 2, name);
	ck_assert_int_eq(engine_stat(engine, slice_str(name), &st), ENGINE_OK);
	ck_assert_uint_eq(st.length, 5);
	ck_assert_uint_eq(entries(&e), 0);
	m.body = (struct slice){ 0 };
	m.spool = &s;
	ck_assert_int_eq(queue_enqueue(&writer, &m), 0);
	ck_assert_uint_eq(entries(&e), 1);
	ck_assert_uint_eq(e.body_bytes, (2u << 20) + 5);
	end();
}
END_TEST

START_TEST(a_large_body_that_is_not_needed_leaves_a_request_to_remove_it)
{
	struct queue_spool s = { .transaction = "0123456789abcde" };
	struct queue_entry e;

	begin();
	queue_spool_drop(&writer, &s);	/* nothing was written: nothing to do */
	ck_assert_uint_eq(entries(&e), 0);
	spool(&s, 2u << 20);
	queue_spool_drop(&writer, &s);
	ck_assert_uint_eq(entries(&e), 1);
	ck_assert_uint_eq(e.count, 0);
	ck_assert_uint_eq(e.body_bytes, 2u << 20);
	end();
}
END_TEST

static enum memory_fate next_fate;
static unsigned fate_after;

static enum memory_fate fate(void *arg, const struct engine_op *op)
{
	(void)arg;
	(void)op;
	return fate_after > 0 && --fate_after == 0 ? next_fate : MEMORY_DO;
}

START_TEST(a_lost_answer_while_a_large_body_comes_is_made_good)
{
	static const enum memory_fate fates[] = { MEMORY_FAIL, MEMORY_DO_AND_FAIL };

	for (size_t f = 0; f < ARRAY_LEN(fates); f++)
		for (unsigned at = 1; at <= 4; at++) {
			struct queue_spool s = { .transaction = "0123456789abcde" };
			struct engine_stat st;
			begin();
			next_fate = fates[f];
			fate_after = at;
			engine_memory_hook(engine, fate, NULL);
			spool(&s, (1u << 20) + 500000);
			ck_assert_int_eq(s.err, 0);
			ck_assert_int_eq(engine_stat(engine, SLICE("b.queue.30313233343536373839616263646500.1"),
						     &st), ENGINE_OK);
			ck_assert_uint_eq(st.length, 500000);
			end();
		}
}
END_TEST

START_TEST(a_large_body_without_room_cannot_be_queued)
{
	struct queue_recipient to = { .address = SLICE("bob@example.org"), .account = SLICE(ACCOUNT) };
	struct queue_message m = message(&to, 1);
	struct queue_spool s = { .transaction = "0123456789abcde" };
	struct queue_entry e;

	begin();
	next_fate = MEMORY_FULL;
	fate_after = 2;
	engine_memory_hook(engine, fate, NULL);
	spool(&s, 2u << 20);
	ck_assert_int_eq(s.err, -ENOSPC);
	m.spool = &s;
	ck_assert_int_lt(queue_enqueue(&writer, &m), 0);
	ck_assert_uint_eq(entries(&e), 0);
	end();
}
END_TEST

START_TEST(a_large_body_that_was_collected_meanwhile_is_not_acknowledged)
{
	struct queue_recipient to = { .address = SLICE("bob@example.org"), .account = SLICE(ACCOUNT) };
	struct queue_message m = message(&to, 1);
	struct queue_spool s = { .transaction = "0123456789abcde" };
	struct engine_step step = { .kind = STEP_REMOVE };
	char name[QUEUE_BODY_NAME_BYTES];
	struct engine_op op = { .steps = &step, .count = 1 };
	struct queue_entry e;

	begin();
	spool(&s, 2u << 20);
	queue_body_name(s.transaction, 0, name);
	op.object = slice_str(name);
	ck_assert_int_eq(engine_apply(engine, &op), ENGINE_OK);
	m.spool = &s;
	ck_assert_int_lt(queue_enqueue(&writer, &m), 0);
	ck_assert_uint_eq(entries(&e), 0);
	end();
}
END_TEST

TEST_MAIN("queue/entry", an_entry_is_read_as_it_was_written, bytes_that_are_cut_or_longer_are_no_entry,
	  a_status_is_taken_at_its_limit_and_refused_above, the_next_one_due_has_the_first_key,
	  names_of_bodies_are_read_back_and_others_are_not,
	  many_recipients_make_several_entries_that_share_the_body,
	  a_large_body_is_written_in_pieces_before_its_entry,
	  a_large_body_that_is_not_needed_leaves_a_request_to_remove_it,
	  a_lost_answer_while_a_large_body_comes_is_made_good,
	  a_large_body_without_room_cannot_be_queued,
	  a_large_body_that_was_collected_meanwhile_is_not_acknowledged)
