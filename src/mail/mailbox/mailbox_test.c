#include <stdio.h>

#include "base/test.h"
#include "engine/memory.h"
#include "mail/mailbox/delivery.h"
#include "mail/mailbox/internal.h"
#include "mail/mailbox/testworld.h"
#include "sys/fiber.h"
#include "sys/loop.h"

#define ACCOUNT "0123456789abcdef"

struct bench {
	struct test_world world;
	struct engine *e;
	struct accounts *all;
	struct account *a;
	struct deliverer *d;
	struct arena arena;
	uint32_t transactions;
};

static struct bench b;

static void open_bench(void)
{
	struct accounts_options ao = { .buckets = 1, .cache_bytes = 1u << 20 };
	struct deliverer_options o = { .buckets = 1 };

	test_world_init(&b.world, 1);
	b.e = engine_memory_new();
	ck_assert_int_eq(accounts_new(&b.world.base, &ao, &b.all), 0);
	ck_assert_int_eq(account_open(b.all, b.e, SLICE(ACCOUNT), (struct quota){ 0 }, &b.a), MAILBOX_OK);
	ck_assert_int_eq(deliverer_new(&b.world.base, &o, &b.d), 0);
	arena_init(&b.arena, 64u << 20);
}

static void close_bench(void)
{
	account_close(b.a);
	accounts_free(b.all);
	deliverer_free(b.d);
	engine_close(b.e);
	arena_done(&b.arena);
}

static enum delivery_status deliver_id(struct slice body, uint32_t id, struct delivery_tries *tries)
{
	struct delivery_recipient to = { .engine = b.e, .folder = FOLDER_INBOX };
	uint8_t transaction[TRANSACTION_ID_BYTES] = { 0 };
	struct delivery *d;

	memcpy(to.account, ACCOUNT, ACCOUNT_ID_BYTES);
	memcpy(transaction, &id, sizeof(id));
	if (tries != NULL)
		to.tries = *tries;
	ck_assert_int_eq(delivery_begin(b.d, transaction, &to, 1, &d), 0);
	ck_assert(delivery_prefix(d, 0, SLICE("X: y\r\n")));
	ck_assert(delivery_write(d, body));
	delivery_finish(d, SLICE("sum"), 1000000, 60);
	delivery_free(d);
	if (tries != NULL)
		*tries = to.tries;
	return to.status;
}

static enum delivery_status deliver(struct slice body)
{
	return deliver_id(body, ++b.transactions, NULL);
}

static struct mailbox *inbox(void)
{
	struct mailbox *m;

	ck_assert_int_eq(mailbox_open(b.a, SLICE("inbox"), false, &m), MAILBOX_OK);
	return m;
}

static struct mailbox_changes sync(struct mailbox *m)
{
	struct mailbox_changes c;

	ck_assert_int_eq(mailbox_sync(m, SYNC_EXPUNGES, &b.arena, &c), MAILBOX_OK);
	return c;
}

static void append_one(struct slice folder, struct slice body, uint32_t *uid)
{
	struct append_meta meta = { .flags = FLAG_SEEN, .internaldate_s = 5 };
	struct append_result r;
	struct append *ap;

	ck_assert_int_eq(append_begin(b.a, folder, &ap), MAILBOX_OK);
	ck_assert_int_eq(append_message(ap, &meta, body.len), MAILBOX_OK);
	ck_assert_int_eq(append_write(ap, body), MAILBOX_OK);
	ck_assert_int_eq(append_message_end(ap, SLICE("s")), MAILBOX_OK);
	ck_assert_int_eq(append_commit(ap, &b.arena, &r), MAILBOX_OK);
	append_abort(ap);
	if (uid != NULL)
		*uid = r.uids[0];
}

static struct slice body_of(struct mailbox *m, uint32_t uid, struct buf *out)
{
	struct message_info info;

	ck_assert(mailbox_message(m, uid, &info));
	buf_reset(out);
	ck_assert_int_eq(mailbox_read(m, &info, 0, info.size, out), MAILBOX_OK);
	return buf_slice(out);
}

static struct uid_range some;
static const struct uid_ranges *uids(uint32_t first, uint32_t last)
{
	static struct uid_ranges set = { &some, 1 };

	some = (struct uid_range){ first, last };
	return &set;
}

static void flag(struct mailbox *m, uint32_t first, uint32_t last, enum store_mode mode, uint8_t flags)
{
	struct store_request r = { .uids = *uids(first, last), .mode = mode, .flags = flags };
	struct store_result out;

	ck_assert_int_eq(mailbox_store(m, &r, &b.arena, &out), MAILBOX_OK);
}

START_TEST(a_delivery_is_read_back_with_its_summary)
{
	AUTO_BUF struct buf body = BUF_INIT(1u << 20);
	struct message_info info;
	struct slice summary;
	uint32_t prefix;

	open_bench();
	ck_assert_int_eq(deliver(SLICE("hello\r\n")), DELIVERY_OK);
	struct mailbox *m = inbox();

	ck_assert_uint_eq(mailbox_count(m), 1);
	ck_assert_uint_eq(mailbox_uid(m, 1), 1);
	ck_assert_slice_eq(body_of(m, 1, &body), SLICE("X: y\r\nhello\r\n"));
	ck_assert(mailbox_recent(m, 1));
	ck_assert_uint_eq(mailbox_recent_count(m), 1);
	ck_assert(mailbox_message(m, 1, &info));
	ck_assert_int_eq(info.internaldate_s, 1000000);
	ck_assert_int_eq(info.tz_minutes, 60);
	ck_assert_int_eq(mailbox_summaries(m, &info, 1, &b.arena, &summary), MAILBOX_OK);
	ck_assert_slice_eq(summary_split(summary, &prefix), SLICE("sum"));
	ck_assert_uint_eq(prefix, 6);
	mailbox_close(m);
	m = inbox();
	ck_assert(!mailbox_recent(m, 1));
	mailbox_close(m);
	close_bench();
}
END_TEST

START_TEST(nothing_new_costs_two_engine_calls)
{
	open_bench();
	ck_assert_int_eq(deliver(SLICE("x")), DELIVERY_OK);
	mailbox_close(inbox());
	uint64_t before = engine_memory_calls(b.e);
	struct mailbox *m = inbox();

	ck_assert_uint_eq(engine_memory_calls(b.e) - before, 2);
	before = engine_memory_calls(b.e);
	ck_assert_uint_eq(sync(m).added, 0);
	ck_assert_uint_eq(engine_memory_calls(b.e) - before, 2);
	before = engine_memory_calls(b.e);
	deliver(SLICE("y"));
	deliver(SLICE("z"));
	ck_assert_uint_eq(engine_memory_calls(b.e) - before, 2);
	mailbox_close(m);
	close_bench();
}
END_TEST

START_TEST(two_sessions_see_each_others_changes_in_order)
{
	open_bench();
	for (int i = 0; i < 5; i++)
		deliver(SLICE("m"));
	struct mailbox *m1 = inbox();
	struct accounts *all2;
	struct account *a2;
	struct mailbox *m2;
	struct accounts_options ao = { .buckets = 1 };

	/* As another process would: its own cache. */
	ck_assert_int_eq(accounts_new(&b.world.base, &ao, &all2), 0);
	ck_assert_int_eq(account_open(all2, b.e, SLICE(ACCOUNT), (struct quota){ 0 }, &a2), MAILBOX_OK);
	ck_assert_int_eq(mailbox_open(a2, SLICE("INBOX"), false, &m2), MAILBOX_OK);
	flag(m1, 2, 3, STORE_ADD, FLAG_DELETED);
	struct mailbox_changes c = sync(m2);

	ck_assert_uint_eq(c.changed_count, 2);
	ck_assert_uint_eq(c.changed[0].seq, 2);
	ck_assert(!c.changed[0].own);
	ck_assert_int_eq(mailbox_expunge(m2, NULL, false, NULL, NULL, NULL), MAILBOX_OK);
	deliver(SLICE("n"));
	ck_assert_int_eq(mailbox_sync(m1, 0, &b.arena, &c), MAILBOX_OK);
	ck_assert_uint_eq(c.expunged_count, 0);
	ck_assert_uint_eq(c.exists, 6);
	ck_assert_uint_eq(c.added, 1);
	c = sync(m1);
	ck_assert_uint_eq(c.expunged_count, 2);
	ck_assert_uint_eq(c.expunged_seqs[0], 3);
	ck_assert_uint_eq(c.expunged_seqs[1], 2);
	ck_assert_uint_eq(c.exists, 4);
	ck_assert_uint_eq(c.vanished.count, 1);
	ck_assert_uint_eq(mailbox_uid(m1, 4), 6);
	ck_assert_uint_eq(mailbox_seq(m1, 3), 0);
	mailbox_close(m1);
	mailbox_close(m2);
	account_close(a2);
	accounts_free(all2);
	close_bench();
}
END_TEST

START_TEST(copies_share_the_bytes_and_moves_keep_them)
{
	AUTO_BUF struct buf body = BUF_INIT(1u << 20);
	struct copy_result r;
	struct account_usage u;

	open_bench();
	deliver(SLICE("one"));
	deliver(SLICE("two"));
	struct mailbox *m = inbox(), *t;

	ck_assert_int_eq(mailbox_copy(m, uids(1, 2), SLICE("Trash"), 0, &b.arena, &r), MAILBOX_NO_FOLDER);
	ck_assert_int_eq(folder_create(b.a, SLICE("Trash"), USE_TRASH, NULL), MAILBOX_OK);
	ck_assert_int_eq(folder_create(b.a, SLICE("Bin"), USE_TRASH, NULL), MAILBOX_USE_TAKEN);
	ck_assert_int_eq(mailbox_copy(m, uids(1, 2), SLICE("Trash"), 0, &b.arena, &r), MAILBOX_OK);
	ck_assert_uint_eq(r.count, 2);
	ck_assert_int_eq(mailbox_copy(m, uids(2, 2), SLICE("Trash"), COPY_MOVE, &b.arena, &r), MAILBOX_OK);
	ck_assert_uint_eq(r.to[0], 3);
	ck_assert_uint_eq(sync(m).expunged_count, 1);
	ck_assert_int_eq(mailbox_open(b.a, SLICE("Trash"), true, &t), MAILBOX_OK);
	ck_assert_uint_eq(mailbox_count(t), 3);
	ck_assert_slice_eq(body_of(t, 3, &body), SLICE("X: y\r\ntwo"));
	account_usage(b.a, &u);
	ck_assert_uint_eq(u.messages, 4);
	ck_assert_uint_eq(u.bytes, 36);
	ck_assert_int_eq(mailbox_expunge(t, NULL, false, NULL, NULL, NULL), MAILBOX_READ_ONLY);
	mailbox_close(t);
	mailbox_close(m);
	close_bench();
}
END_TEST

START_TEST(unchangedsince_tells_who_failed)
{
	struct store_result out;
	struct message_info info;

	open_bench();
	for (int i = 0; i < 3; i++)
		deliver(SLICE("m"));
	struct mailbox *m = inbox();

	ck_assert(mailbox_message(m, 1, &info));
	flag(m, 2, 2, STORE_ADD, FLAG_SEEN);
	struct store_request r = { .uids = *uids(1, 3), .mode = STORE_ADD, .flags = FLAG_FLAGGED,
				   .has_unchangedsince = true, .unchangedsince = info.modseq };

	ck_assert_int_eq(mailbox_store(m, &r, &b.arena, &out), MAILBOX_OK);
	ck_assert_uint_eq(out.modified_count, 1);
	ck_assert_uint_eq(out.modified[0], 2);
	ck_assert_uint_eq(out.done_count, 2);
	mailbox_close(m);
	close_bench();
}
END_TEST

START_TEST(folders_are_listed_with_missing_parents)
{
	struct folder_info *list, st;
	size_t count;

	open_bench();
	ck_assert_int_eq(folder_create(b.a, SLICE("a/b/c"), 0, NULL), MAILBOX_OK);
	ck_assert_int_eq(folder_create(b.a, SLICE("inbox/x"), 0, NULL), MAILBOX_OK);
	ck_assert_int_eq(folder_create(b.a, SLICE("a//b"), 0, NULL), MAILBOX_CANNOT);
	ck_assert_int_eq(folder_create(b.a, SLICE("inBox"), 0, NULL), MAILBOX_EXISTS);
	ck_assert_int_eq(folder_subscribe(b.a, SLICE("a/z"), true), MAILBOX_OK);
	ck_assert_int_eq(account_folders(b.a, &b.arena, &list, &count), MAILBOX_OK);
	ck_assert_uint_eq(count, 6);
	ck_assert_slice_eq(list[0].name, SLICE("INBOX"));
	ck_assert(list[0].has_children);
	ck_assert_slice_eq(list[1].name, SLICE("INBOX/x"));
	ck_assert_slice_eq(list[2].name, SLICE("a"));
	ck_assert_uint_eq(list[2].id, FOLDER_NONE);
	ck_assert(list[2].has_children && list[2].subscribed_below);
	ck_assert_slice_eq(list[3].name, SLICE("a/b"));
	ck_assert(!list[3].subscribed_below);
	ck_assert_slice_eq(list[5].name, SLICE("a/z"));
	ck_assert(list[5].subscribed && list[5].id == FOLDER_NONE);
	ck_assert_int_eq(folder_rename(b.a, SLICE("a/b"), SLICE("a/b/d")), MAILBOX_CANNOT);
	ck_assert_int_eq(folder_rename(b.a, SLICE("a"), SLICE("q")), MAILBOX_OK);
	ck_assert_int_eq(account_status(b.a, SLICE("q/b/c"), &b.arena, &st), MAILBOX_OK);
	ck_assert_int_eq(folder_delete(b.a, SLICE("q/b/c")), MAILBOX_OK);
	ck_assert_int_eq(account_status(b.a, SLICE("q/b/c"), &b.arena, &st), MAILBOX_NO_FOLDER);
	ck_assert_int_eq(folder_delete(b.a, SLICE("INBOX")), MAILBOX_CANNOT);
	close_bench();
}
END_TEST

START_TEST(renaming_inbox_moves_its_messages)
{
	struct folder_info st;

	open_bench();
	deliver(SLICE("m"));
	deliver(SLICE("n"));
	ck_assert_int_eq(folder_rename(b.a, SLICE("INBOX"), SLICE("old")), MAILBOX_OK);
	ck_assert_int_eq(account_status(b.a, SLICE("old"), &b.arena, &st), MAILBOX_OK);
	ck_assert_uint_eq(st.messages, 2);
	ck_assert_int_eq(account_status(b.a, SLICE("INBOX"), &b.arena, &st), MAILBOX_OK);
	ck_assert_uint_eq(st.messages, 0);
	ck_assert_uint_eq(st.uidnext, 3);
	close_bench();
}
END_TEST

START_TEST(long_messages_are_streams)
{
	AUTO_BUF struct buf big = BUF_INIT(8u << 20), got = BUF_INIT(8u << 20);
	uint32_t uid;

	open_bench();
	for (uint32_t i = 0; big.len < 3500000; i++)
		buf_printf(&big, "line %u of a long message\r\n", i);
	ck_assert_int_eq(deliver(buf_slice(&big)), DELIVERY_OK);
	append_one(SLICE("INBOX"), buf_slice(&big), &uid);
	struct mailbox *m = inbox();

	ck_assert_uint_eq(mailbox_count(m), 2);
	ck_assert_slice_eq(body_of(m, uid, &got), buf_slice(&big));
	uint32_t other = uid == 1 ? 2 : 1;

	ck_assert(slice_eq(slice_from(body_of(m, other, &got), 6), buf_slice(&big)));
	mailbox_close(m);
	close_bench();
}
END_TEST

static unsigned fail_next;
static enum memory_fate fate_next;

static enum memory_fate fail_some(void *arg, const struct engine_op *op)
{
	if (op->object.len > 0 && op->object.ptr[0] == *(const char *)arg && fail_next > 0) {
		fail_next--;
		return fate_next;
	}
	return MEMORY_DO;
}

START_TEST(a_delivery_whose_answer_was_lost_is_stored_once)
{
	char kind = 'f';

	open_bench();
	engine_memory_hook(b.e, fail_some, &kind);
	fail_next = 2;
	fate_next = MEMORY_DO_AND_FAIL;
	ck_assert_int_eq(deliver(SLICE("m")), DELIVERY_OK);
	struct mailbox *m = inbox();

	ck_assert_uint_eq(mailbox_count(m), 1);
	/* All attempts fail; the queue tries again later, after a merge. */
	struct delivery_tries tries = { 0 };

	fail_next = 3;
	ck_assert_int_eq(deliver_id(SLICE("q"), 77, &tries), DELIVERY_LATER);
	ck_assert_uint_eq(tries.count, 1);
	ck_assert_uint_eq(sync(m).added, 1);
	flag(m, 2, 2, STORE_ADD, FLAG_DELETED);
	ck_assert_int_eq(mailbox_expunge(m, NULL, false, NULL, NULL, NULL), MAILBOX_OK);
	ck_assert_int_eq(deliver_id(SLICE("q"), 77, &tries), DELIVERY_OK);
	ck_assert_uint_eq(sync(m).added, 0);
	ck_assert_uint_eq(mailbox_count(m), 1);
	fail_next = 1;
	fate_next = MEMORY_FAIL;
	ck_assert_int_eq(deliver(SLICE("m")), DELIVERY_OK);
	ck_assert_uint_eq(sync(m).added, 1);
	mailbox_close(m);
	close_bench();
}
END_TEST

START_TEST(a_commit_whose_answer_was_lost_is_not_done_twice)
{
	char kind = 'a';
	uint32_t uid;

	open_bench();
	engine_memory_hook(b.e, fail_some, &kind);
	fail_next = 1;
	fate_next = MEMORY_DO_AND_FAIL;
	append_one(SLICE("INBOX"), SLICE("m"), &uid);
	ck_assert_uint_eq(uid, 1);
	fail_next = 1;
	ck_assert_int_eq(folder_create(b.a, SLICE("x"), 0, NULL), MAILBOX_OK);
	fail_next = 1;
	fate_next = MEMORY_FAIL;
	append_one(SLICE("INBOX"), SLICE("m"), &uid);
	ck_assert_uint_eq(uid, 2);
	struct mailbox *m = inbox();

	ck_assert_uint_eq(mailbox_count(m), 2);
	fail_next = 9;
	struct store_request r = { .uids = *uids(1, 1), .mode = STORE_ADD, .flags = FLAG_FLAGGED };
	struct store_result out;

	ck_assert_int_eq(mailbox_store(m, &r, &b.arena, &out), MAILBOX_UNAVAILABLE);
	fail_next = 0;
	mailbox_close(m);
	close_bench();
}
END_TEST

START_TEST(quota_refuses_append_and_copy_but_not_move)
{
	struct copy_result r;
	struct append *ap;
	struct append_meta meta = { 0 };

	open_bench();
	append_one(SLICE("INBOX"), SLICE("12345"), NULL);
	account_set_quota(b.a, (struct quota){ .bytes_max = 9 });
	ck_assert_int_eq(folder_create(b.a, SLICE("x"), 0, NULL), MAILBOX_OK);
	struct mailbox *m = inbox();

	ck_assert_int_eq(mailbox_copy(m, uids(1, 1), SLICE("x"), 0, &b.arena, &r), MAILBOX_OVERQUOTA);
	ck_assert_int_eq(mailbox_copy(m, uids(1, 1), SLICE("x"), COPY_MOVE, &b.arena, &r), MAILBOX_OK);
	ck_assert_int_eq(append_begin(b.a, SLICE("x"), &ap), MAILBOX_OK);
	ck_assert_int_eq(append_message(ap, &meta, 4), MAILBOX_OK);
	append_abort(ap);
	ck_assert_int_eq(append_begin(b.a, SLICE("x"), &ap), MAILBOX_OK);
	ck_assert_int_eq(append_message(ap, &meta, 5), MAILBOX_OVERQUOTA);
	append_abort(ap);
	mailbox_close(m);
	close_bench();
}
END_TEST

START_TEST(folding_keeps_everything_and_vanished_is_exact)
{
	struct uid_ranges gone;
	bool more;

	open_bench();
	for (int i = 0; i < 20; i++)
		deliver(SLICE("m"));
	struct mailbox *m = inbox();
	struct folder_info st;

	mailbox_status(m, &st);
	uint64_t before = st.highestmodseq;

	flag(m, 5, 7, STORE_ADD, FLAG_DELETED | FLAG_SEEN);
	ck_assert_int_eq(mailbox_expunge(m, NULL, false, NULL, NULL, NULL), MAILBOX_OK);
	for (unsigned i = 0; i < 2 * FOLD_PARTS; i++)
		flag(m, 9, 9, i % 2 ? STORE_ADD : STORE_REMOVE, FLAG_FLAGGED);
	ck_assert_int_eq(account_maintain(b.a, &more), MAILBOX_OK);
	ck_assert_uint_eq(b.a->s->journal_count, 0);
	sync(m);
	ck_assert_uint_eq(mailbox_count(m), 17);
	ck_assert_int_eq(mailbox_vanished(m, before, NULL, &b.arena, &gone), MAILBOX_OK);
	ck_assert_uint_eq(gone.count, 1);
	ck_assert_uint_eq(gone.ranges[0].first, 5);
	ck_assert_uint_eq(gone.ranges[0].last, 7);
	mailbox_status(m, &st);
	ck_assert_int_eq(mailbox_vanished(m, st.highestmodseq, NULL, &b.arena, &gone), MAILBOX_OK);
	ck_assert_uint_eq(gone.count, 0);
	mailbox_close(m);
	account_close(b.a);
	accounts_free(b.all);
	struct accounts_options ao = { .buckets = 1 };

	ck_assert_int_eq(accounts_new(&b.world.base, &ao, &b.all), 0);
	ck_assert_int_eq(account_open(b.all, b.e, SLICE(ACCOUNT), (struct quota){ 0 }, &b.a), MAILBOX_OK);
	m = inbox();
	ck_assert_uint_eq(mailbox_count(m), 17);
	struct message_info info;

	ck_assert(mailbox_message(m, 9, &info));
	ck_assert_uint_eq(info.flags, FLAG_FLAGGED);
	mailbox_close(m);
	close_bench();
}
END_TEST

static uint64_t fragment_count(void)
{
	struct slice *names;
	size_t n;
	uint64_t count = 0;

	ck_assert_int_eq(engine_list(b.e, SLICE("f."), (struct slice){ 0 }, 1000, &b.arena, &names, &n), ENGINE_OK);
	for (size_t i = 0; i < n; i++)
		count += !slice_ends(names[i], SLICE(".old"));
	return count;
}

START_TEST(space_of_expunged_messages_comes_back_while_serving)
{
	AUTO_BUF struct buf body = BUF_INIT(1u << 20), got = BUF_INIT(1u << 20);
	bool more = true;

	open_bench();
	buf_fill(&body, 'x', 200000);
	for (int i = 0; i < 80; i++)
		ck_assert_int_eq(deliver(buf_slice(&body)), DELIVERY_OK);
	struct mailbox *m = inbox();

	ck_assert_uint_eq(fragment_count(), 4);
	for (uint32_t uid = 1; uid <= 80; uid++)
		if (uid % 10 != 0)
			flag(m, uid, uid, STORE_ADD, FLAG_DELETED);
	ck_assert_int_eq(mailbox_expunge(m, NULL, false, NULL, NULL, NULL), MAILBOX_OK);
	for (int i = 0; i < 100 && more; i++)
		ck_assert_int_eq(account_maintain(b.a, &more), MAILBOX_OK);
	ck_assert(!more);
	sync(m);
	ck_assert_uint_eq(mailbox_count(m), 8);
	ck_assert_uint_le(fragment_count(), 2);
	for (uint32_t seq = 1; seq <= 8; seq++)
		ck_assert_uint_eq(body_of(m, mailbox_uid(m, seq), &got).len, 200006);
	mailbox_close(m);
	close_bench();
}
END_TEST

START_TEST(keywords_are_limited_and_found_without_case)
{
	struct slice words[KEYWORDS_MAX + 1];
	char text[KEYWORDS_MAX + 1][8];
	uint64_t bits;

	open_bench();
	for (unsigned i = 0; i <= KEYWORDS_MAX; i++) {
		snprintf(text[i], sizeof(text[i]), "k%u", i);
		words[i] = slice_str(text[i]);
	}
	ck_assert_int_eq(account_keyword_bits(b.a, words, KEYWORDS_MAX, &bits), MAILBOX_OK);
	ck_assert_uint_eq(bits, UINT64_MAX);
	ck_assert_int_eq(account_keyword_bits(b.a, words, KEYWORDS_MAX + 1, &bits), MAILBOX_LIMIT);
	ck_assert_uint_eq(account_keyword_known(b.a, &(struct slice)SLICE_INIT("K3"), 1), 8);
	close_bench();
}
END_TEST

START_TEST(ten_thousand_messages_open_cold_in_milliseconds)
{
	bool more;

	open_bench();
	for (int i = 0; i < 10000; i++)
		ck_assert_int_eq(deliver(SLICE("m")), DELIVERY_OK);
	mailbox_close(inbox());
	ck_assert_int_eq(state_fold(b.a), MAILBOX_OK);
	ck_assert_int_eq(account_maintain(b.a, &more), MAILBOX_OK);
	account_close(b.a);
	accounts_free(b.all);
	struct accounts_options ao = { .buckets = 1 };

	ck_assert_int_eq(accounts_new(&b.world.base, &ao, &b.all), 0);
	int64_t begin = test_clock_us();

	ck_assert_int_eq(account_open(b.all, b.e, SLICE(ACCOUNT), (struct quota){ 0 }, &b.a), MAILBOX_OK);
	struct mailbox *m = inbox();
	int64_t took = test_clock_us() - begin;

	printf("# opened %u messages in %lld us\n", mailbox_count(m), (long long)took);
	ck_assert_uint_eq(mailbox_count(m), 10000);
	ck_assert_int_lt(took, 200000);
	mailbox_close(m);
	close_bench();
}
END_TEST

#define SENDERS 64u

/* A store that answers a while later, in order; with `wild` it fails now and then. */
struct slow_store {
	bool wild;
	unsigned applies, stored;
	uint32_t next;
	struct deliverer *other;	/* of another process */
};

static enum memory_fate slow_fate(void *arg, const struct engine_op *op)
{
	struct slow_store *slow = arg;
	unsigned turn = ++slow->applies;

	for (int i = 0; fiber_self() != NULL && i < 3; i++)
		fiber_yield();
	if (!slow->wild)
		return MEMORY_DO;
	return turn % 11 == 0 ? MEMORY_FAIL : turn % 13 == 0 ? MEMORY_DO_AND_FAIL : MEMORY_DO;
}

static void sender(void *arg)
{
	struct slow_store *slow = arg;
	struct delivery_recipient to = { .engine = b.e, .folder = FOLDER_INBOX };
	uint8_t transaction[TRANSACTION_ID_BYTES] = { 0 };
	uint32_t id = ++slow->next;
	struct delivery *d;

	memcpy(to.account, ACCOUNT, ACCOUNT_ID_BYTES);
	memcpy(transaction, &id, sizeof(id));
	ck_assert_int_eq(delivery_begin(id % 2 == 0 && slow->other != NULL ? slow->other : b.d, transaction, &to,
					1, &d), 0);
	ck_assert(delivery_write(d, slice_of("abcdefghijklmnopqrstuvwxyz", 1 + id % 26)));
	for (unsigned i = 0; i < 5 && to.status != DELIVERY_OK; i++)
		delivery_finish(d, SLICE("sum"), 1000000, 0);
	slow->stored += to.status == DELIVERY_OK;
	delivery_free(d);
}

static void run_senders(struct slow_store *slow)
{
	struct loop *loop;

	ck_assert_int_eq(loop_new(&loop), 0);
	engine_memory_hook(b.e, slow_fate, slow);
	for (unsigned i = 0; i < SENDERS; i++)
		ck_assert_int_eq(fiber_start(loop, sender, slow), 0);
	for (unsigned i = 0; i < 20000 && fiber_count(loop) > 0; i++)
		loop_run_once(loop, 0);
	ck_assert_uint_eq(fiber_count(loop), 0);
	engine_memory_hook(b.e, NULL, NULL);
	loop_free(loop);
	ck_assert_uint_eq(slow->stored, SENDERS);
}

START_TEST(deliveries_to_one_account_follow_each_other_without_waiting)
{
	struct slow_store slow = { .next = 1000 };

	open_bench();
	deliver(SLICE("first"));
	run_senders(&slow);
	/* Nothing was tried twice. */
	ck_assert_uint_eq(slow.applies, SENDERS);
	struct mailbox *m = inbox();

	ck_assert_uint_eq(mailbox_count(m), SENDERS + 1);
	mailbox_close(m);
	close_bench();
}
END_TEST

START_TEST(deliveries_of_two_processes_through_a_store_that_fails_are_there_once)
{
	struct deliverer_options o = { .buckets = 1 };
	struct slow_store slow = { .wild = true };

	open_bench();
	ck_assert_int_eq(deliverer_new(&b.world.base, &o, &slow.other), 0);
	run_senders(&slow);
	struct mailbox *m = inbox();

	ck_assert_uint_eq(mailbox_count(m), SENDERS);
	mailbox_close(m);
	deliverer_free(slow.other);
	close_bench();
}
END_TEST

TEST_MAIN("mailbox/mailbox", a_delivery_is_read_back_with_its_summary, nothing_new_costs_two_engine_calls,
	  two_sessions_see_each_others_changes_in_order, copies_share_the_bytes_and_moves_keep_them,
	  unchangedsince_tells_who_failed, folders_are_listed_with_missing_parents,
	  renaming_inbox_moves_its_messages, long_messages_are_streams,
	  a_delivery_whose_answer_was_lost_is_stored_once, a_commit_whose_answer_was_lost_is_not_done_twice,
	  quota_refuses_append_and_copy_but_not_move, folding_keeps_everything_and_vanished_is_exact,
	  space_of_expunged_messages_comes_back_while_serving, keywords_are_limited_and_found_without_case,
	  ten_thousand_messages_open_cold_in_milliseconds,
	  deliveries_to_one_account_follow_each_other_without_waiting,
	  deliveries_of_two_processes_through_a_store_that_fails_are_there_once)
