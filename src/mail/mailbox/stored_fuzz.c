/*
 * An account whose stored keys are any bytes: what a damaged disk, or another version, may hold. Everything that
 * reads it must end with a verdict.
 *
 * The input is a list of keys: object, length of the key, key, length of the value (be16), value. Object: 0 the head, 1-3
 * ranges of the folder 1, 4-5 fragments of the bucket 0, else the fragment's bytes. A header and the folder INBOX stand
 * in the head before; the input may replace them.
 */
#include "base/must.h"
#include "engine/memory.h"
#include "mail/mailbox/internal.h"
#include "mail/mailbox/testworld.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ACCOUNT "0123456789abcdef"

static void put(struct engine *e, struct slice object, enum engine_step_kind kind, struct slice key, struct slice value)
{
	struct engine_stat st = { 0 };
	(void)engine_stat(e, object, &st);
	struct engine_step step = { .kind = kind, .key = key, .value = value, .at = kind == STEP_WRITE ? st.length : 0 };
	struct engine_op op = { .object = object, .steps = &step, .count = 1 };

	(void)engine_apply(e, &op);
}

/* An account as the first login makes it: a header and INBOX. */
static void make_account(struct engine *e, struct test_world *w)
{
	struct accounts_options ao = { .buckets = 1 };
	struct accounts *all;
	struct account *a;
	struct mailbox *m;

	must(accounts_new(&w->base, &ao, &all) == 0);
	if (account_open(all, e, SLICE(ACCOUNT), (struct quota){ 0 }, &a) == MAILBOX_OK) {
		if (mailbox_open(a, SLICE("INBOX"), false, &m) == MAILBOX_OK)
			mailbox_close(m);
		account_close(a);
	}
	accounts_free(all);
}

static void put_all(struct engine *e, struct reader rd)
{
	while (rd_left(&rd) > 0 && !rd.bad) {
		uint8_t which = rd_u8(&rd), key_len = rd_u8(&rd);
		struct slice key = rd_bytes(&rd, MIN((size_t)key_len, rd_left(&rd)));
		size_t value_len = rd_be16(&rd);
		struct slice value = rd_bytes(&rd, MIN(value_len, rd_left(&rd)));
		struct stored_name object = which == 0 ? head_name(ACCOUNT) :
					    which < 4 ? range_name(ACCOUNT, 1, which - 1u) :
							fragment_name(ACCOUNT, 0, (which - 4u) % 2);

		if (!rd.bad)
			put(e, name_slice(&object), which < 6 ? STEP_SET : STEP_WRITE, key, value);
	}
}

static void look(struct account *a, struct arena *arena, struct mailbox *m)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct uid_range everything = { 1, UID_MAX };
	struct uid_ranges uids = { &everything, 1 }, vanished = { 0 };
	struct store_request store = { .uids = uids, .mode = STORE_ADD, .flags = FLAG_SEEN };
	struct store_result stored;
	struct mailbox_changes changes;
	struct copy_result copied;
	struct message_info info;
	struct slice summary;
	bool more = true;

	for (uint32_t seq = 1; seq <= mailbox_count(m) && seq < 50; seq++) {
		must(mailbox_seq(m, mailbox_uid(m, seq)) == seq);
		if (!mailbox_message(m, mailbox_uid(m, seq), &info))
			continue;
		buf_reset(&out);
		(void)mailbox_read(m, &info, 0, MIN(info.size, 5000u), &out);
		(void)mailbox_summaries(m, &info, 1, arena, &summary);
	}
	(void)mailbox_vanished(m, 1, NULL, arena, &vanished);
	(void)mailbox_first_unseen(m);
	if (mailbox_store(m, &store, arena, &stored) == MAILBOX_OK)
		(void)mailbox_sync(m, SYNC_EXPUNGES, arena, &changes);
	(void)mailbox_copy(m, &uids, SLICE("x"), 0, arena, &copied);
	store.flags = FLAG_DELETED;
	(void)mailbox_store(m, &store, arena, &stored);
	(void)mailbox_expunge(m, NULL, false, NULL, NULL, NULL);
	for (int i = 0; i < 5 && more; i++)
		if (account_maintain(a, &more) != MAILBOX_OK)
			break;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	struct accounts_options ao = { .buckets = 1, .cache_bytes = 1u << 20 };
	struct engine *e = engine_memory_new();
	struct test_world world;
	struct accounts *all;
	struct account *a;
	struct folder_info *folders;
	size_t count;
	struct mailbox *m;

	test_world_init(&world, 1);
	make_account(e, &world);
	put_all(e, reader_of(slice_of(data, size)));
	must(accounts_new(&world.base, &ao, &all) == 0);
	if (account_open(all, e, SLICE(ACCOUNT), (struct quota){ 0 }, &a) == MAILBOX_OK) {
		(void)account_folders(a, &arena, &folders, &count);
		if (mailbox_open(a, SLICE("INBOX"), false, &m) == MAILBOX_OK) {
			look(a, &arena, m);
			mailbox_close(m);
		}
		account_close(a);
	}
	accounts_free(all);
	engine_close(e);
	return 0;
}
