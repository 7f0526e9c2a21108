#include <stdio.h>

#include "base/test.h"
#include "engine/memory.h"
#include "mail/mailbox/check.h"
#include "mail/mailbox/delivery.h"
#include "mail/mailbox/internal.h"
#include "mail/mailbox/testworld.h"

#define ACCOUNT "0123456789abcdef"
#define LONG_BYTES ((2u << 20) + 17)

static struct {
	struct test_world world;
	struct engine *e;
	struct accounts *all;
	char text[2000];		/* what was found, a line each */
	size_t len;
	struct check_counts n;
} b;

static void on_found(void *arg, const struct check_problem *p)
{
	b.len += (size_t)snprintf(b.text + b.len, sizeof(b.text) - b.len, "%d %.*s %u%s\n", (int)p->kind,
				  SLICE_FMT(p->folder), p->uid, p->mended ? " mended" : "");
	ck_assert_ptr_null(strchr(p->text, '\n'));
}

static const char *check(bool mend)
{
	const struct check_options o = { .mend = mend, .found = on_found };

	b.len = 0;
	b.text[0] = '\0';
	b.n = (struct check_counts){ 0 };
	/* A process of its own: nothing is remembered. */
	struct accounts_options ao = { .buckets = 1, .cache_bytes = 1u << 20 };
	struct accounts *all;
	ck_assert_int_eq(accounts_new(&b.world.base, &ao, &all), 0);
	ck_assert_int_eq(account_check(all, b.e, SLICE(ACCOUNT), &o, &b.n), MAILBOX_OK);
	accounts_free(all);
	return b.text;
}

static void append(struct account *a, struct slice folder, size_t bytes)
{
	const struct append_meta meta = { .internaldate_s = 1000 };
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct append_result done;
	struct append *ap;
	uint8_t piece[4096];

	memset(piece, 'x', sizeof(piece));
	ck_assert_int_eq(append_begin(a, folder, &ap), MAILBOX_OK);
	ck_assert_int_eq(append_message(ap, &meta, bytes), MAILBOX_OK);
	for (size_t at = 0; at < bytes; at += sizeof(piece))
		ck_assert_int_eq(append_write(ap, slice_of(piece, MIN(sizeof(piece), bytes - at))), MAILBOX_OK);
	ck_assert_int_eq(append_message_end(ap, (struct slice){ 0 }), MAILBOX_OK);
	ck_assert_int_eq(append_commit(ap, &arena, &done), MAILBOX_OK);
	append_abort(ap);
}

static void deliver(void)
{
	struct deliverer_options o = { .buckets = 1 };
	struct delivery_recipient to = { .engine = b.e, .folder = FOLDER_INBOX };
	uint8_t transaction[TRANSACTION_ID_BYTES] = { 7 };
	struct deliverer *d;
	struct delivery *one;

	memcpy(to.account, ACCOUNT, ACCOUNT_ID_BYTES);
	ck_assert_int_eq(deliverer_new(&b.world.base, &o, &d), 0);
	ck_assert_int_eq(delivery_begin(d, transaction, &to, 1, &one), 0);
	ck_assert(delivery_write(one, SLICE("hello\r\n")));
	delivery_finish(one, (struct slice){ 0 }, 1000000, 0);
	delivery_free(one);
	ck_assert_int_eq(to.status, DELIVERY_OK);
	deliverer_free(d);
}

/* INBOX: UIDs 1 and 2 (long). Sent: UID 1. One message delivered and not merged. */
static void open_bench(void)
{
	struct accounts_options ao = { .buckets = 1, .cache_bytes = 1u << 20 };
	struct account *a;

	memset(&b, 0, sizeof(b));
	test_world_init(&b.world, 1);
	b.e = engine_memory_new();
	ck_assert_int_eq(accounts_new(&b.world.base, &ao, &b.all), 0);
	ck_assert_int_eq(account_open(b.all, b.e, SLICE(ACCOUNT), (struct quota){ 0 }, &a), MAILBOX_OK);
	ck_assert_int_eq(folder_create(a, SLICE("Sent"), 0, NULL), MAILBOX_OK);
	append(a, SLICE("INBOX"), 100);
	append(a, SLICE("INBOX"), LONG_BYTES);
	append(a, SLICE("Sent"), 200);
	deliver();
	account_close(a);
}

static void close_bench(void)
{
	accounts_free(b.all);
	engine_close(b.e);
}

static void apply(struct slice object, enum engine_step_kind kind, struct slice key, struct slice value)
{
	const struct engine_step step = { .kind = kind, .key = key, .value = value };
	const struct engine_op op = { .object = object, .steps = &step, .count = 1 };

	ck_assert_int_eq(engine_apply(b.e, &op), ENGINE_OK);
}

START_TEST(a_healthy_account_has_no_problems_and_is_counted)
{
	open_bench();
	ck_assert_str_eq(check(false), "");
	ck_assert_uint_eq(b.n.folders, 2);
	ck_assert_uint_eq(b.n.messages, 3);
	ck_assert_uint_eq(b.n.bytes, 300 + LONG_BYTES);
	ck_assert_uint_eq(b.n.unmerged, 1);
	ck_assert_uint_eq(b.n.streams, 3);
	ck_assert_uint_eq(b.n.problems, 0);
	close_bench();
}
END_TEST

START_TEST(an_account_that_was_never_opened_is_fine_and_is_not_made)
{
	struct engine_stat st = { 0 };

	memset(&b, 0, sizeof(b));
	test_world_init(&b.world, 1);
	b.e = engine_memory_new();
	ck_assert_str_eq(check(true), "");
	deliver();
	ck_assert_str_eq(check(true), "");
	ck_assert_uint_eq(b.n.unmerged, 1);
	ck_assert(engine_stat(b.e, SLICE("a." ACCOUNT), &st) == ENGINE_ABSENT || !st.exists);
	engine_close(b.e);
}
END_TEST

START_TEST(a_lost_record_names_one_message)
{
	struct stored_name object = fragment_name(ACCOUNT, 0, 0), key = key_u32('m', 0);

	open_bench();
	apply(name_slice(&object), STEP_DELETE, name_slice(&key), (struct slice){ 0 });
	ck_assert_str_eq(check(false), "2 INBOX 1\n");
	ck_assert_uint_eq(b.n.damaged_messages, 1);
	ck_assert_uint_eq(b.n.messages, 3);
	/* Nothing can be mended here without loss, so nothing is. */
	ck_assert_str_eq(check(true), "2 INBOX 1\n");
	close_bench();
}
END_TEST

START_TEST(a_record_of_another_message_is_noticed)
{
	struct stored_name object = fragment_name(ACCOUNT, 0, 0), key = key_u32('m', 0);
	struct record r = { .kind = RECORD_HELD, .id = "not this one", .stored_bytes = 100, .size = 100 };
	AUTO_BUF struct buf value = BUF_INIT(1024);

	open_bench();
	record_encode(&value, &r);
	apply(name_slice(&object), STEP_SET, name_slice(&key), buf_slice(&value));
	ck_assert_str_eq(check(false), "2 INBOX 1\n");
	close_bench();
}
END_TEST

START_TEST(a_missing_piece_of_a_long_message_names_it)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct slice *names;
	size_t count;

	open_bench();
	ck_assert_int_eq(engine_list(b.e, SLICE("b." ACCOUNT), (struct slice){ 0 }, 10, &arena, &names, &count), ENGINE_OK);
	ck_assert_uint_eq(count, 3);
	apply(names[1], STEP_REMOVE, (struct slice){ 0 }, (struct slice){ 0 });
	ck_assert_str_eq(check(false), "2 INBOX 2\n");
	close_bench();
}
END_TEST

START_TEST(wrong_totals_are_found_and_mended)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf value = BUF_INIT(4096);
	struct engine_kv *kv;
	struct header h;
	size_t count;
	bool more;

	open_bench();
	ck_assert_int_eq(engine_keys(b.e, SLICE("a." ACCOUNT), SLICE("h"), SLICE("i"), 1, 4096, &arena, &kv, &count, &more),
			 ENGINE_OK);
	ck_assert(header_decode(kv[0].value, &h));
	h.usage_bytes += 5;
	h.version++;
	header_encode(&value, &h);
	apply(SLICE("a." ACCOUNT), STEP_SET, SLICE("h"), buf_slice(&value));
	ck_assert_str_eq(check(false), "3  0\n");
	ck_assert_str_eq(check(false), "3  0\n");
	ck_assert_str_eq(check(true), "3  0 mended\n");
	ck_assert_str_eq(check(false), "");
	close_bench();
}
END_TEST

START_TEST(totals_are_not_mended_while_a_list_cannot_be_read)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct stored_name sent = key_u32('n', FOLDER_INBOX + 1), end = key_u32('n', FOLDER_INBOX + 2);
	struct stored_name range = range_name(ACCOUNT, FOLDER_INBOX, 0), row = key_u32('u', 1);
	AUTO_BUF struct buf value = BUF_INIT(4096);
	struct accounts_options ao = { .buckets = 1, .cache_bytes = 1u << 20 };
	struct accounts *all;
	struct account *a;
	struct engine_kv *kv;
	struct folder f;
	size_t count;
	bool more;

	open_bench();
	/* Fold, so that the list is in a range object; then damage it, and Sent's totals. */
	ck_assert_int_eq(accounts_new(&b.world.base, &ao, &all), 0);
	ck_assert_int_eq(account_open(all, b.e, SLICE(ACCOUNT), (struct quota){ 0 }, &a), MAILBOX_OK);
	account_lock(a);
	ck_assert_int_eq(state_fold(a), MAILBOX_OK);
	account_unlock(a);
	account_close(a);
	accounts_free(all);
	ck_assert_str_eq(check(false), "");
	apply(name_slice(&range), STEP_SET, name_slice(&row), SLICE("?"));
	ck_assert_int_eq(engine_keys(b.e, SLICE("a." ACCOUNT), name_slice(&sent), name_slice(&end), 1, 4096, &arena, &kv, &count,
				     &more), ENGINE_OK);
	ck_assert_int_eq(folder_decode(kv[0].value, FOLDER_INBOX + 1, &f), 0);
	f.messages += 3;
	folder_encode(&value, &f);
	apply(SLICE("a." ACCOUNT), STEP_SET, name_slice(&sent), buf_slice(&value));
	folder_done(&f);
	const char *found = check(true);
	ck_assert_ptr_nonnull(strstr(found, "1 INBOX 0\n"));
	ck_assert_ptr_nonnull(strstr(found, "3 Sent 0\n"));
	ck_assert_ptr_null(strstr(found, "mended"));
	close_bench();
}
END_TEST

START_TEST(old_unfinished_streams_are_orphans_young_ones_are_not)
{
	struct body_stream st = { .id = "unfinished" };

	open_bench();
	ck_assert_int_eq(body_stream_write(b.e, &b.world.base, ACCOUNT, &st, SLICE("abc")), ENGINE_OK);
	ck_assert_str_eq(check(false), "");
	b.world.now_us += INT64_C(3601) * 1000000;
	ck_assert_str_eq(check(false), "4  0\n");
	ck_assert_str_eq(check(true), "4  0 mended\n");
	ck_assert_str_eq(check(false), "");
	ck_assert_uint_eq(b.n.streams, 3);
	close_bench();
}
END_TEST

START_TEST(lists_of_folders_that_are_gone_are_orphans)
{
	struct stored_name object = range_name(ACCOUNT, 77, 0);

	open_bench();
	apply(name_slice(&object), STEP_SET, SLICE("g"), SLICE("x"));
	ck_assert_str_eq(check(false), "4  0\n");
	ck_assert_str_eq(check(true), "4  0 mended\n");
	ck_assert_str_eq(check(false), "");
	close_bench();
}
END_TEST

START_TEST(a_damaged_head_is_told_and_ends_nothing_else)
{
	open_bench();
	apply(SLICE("a." ACCOUNT), STEP_SET, SLICE("h"), SLICE("?"));
	ck_assert_str_eq(check(true), "0  0\n");
	close_bench();
}
END_TEST

TEST_MAIN("mailbox/check", a_healthy_account_has_no_problems_and_is_counted,
	  an_account_that_was_never_opened_is_fine_and_is_not_made, a_lost_record_names_one_message,
	  a_record_of_another_message_is_noticed, a_missing_piece_of_a_long_message_names_it,
	  wrong_totals_are_found_and_mended,
	  totals_are_not_mended_while_a_list_cannot_be_read, old_unfinished_streams_are_orphans_young_ones_are_not,
	  lists_of_folders_that_are_gone_are_orphans, a_damaged_head_is_told_and_ends_nothing_else)
