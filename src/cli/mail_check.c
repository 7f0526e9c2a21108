/*
 * `prickle mail fsck` and `prickle mail rebuild`: does what is stored hold together, and the index made
 * again from the log.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "cli/mailstore.h"
#include "mail/mailbox/check.h"
#include "mail/queue/entry.h"
#include "mail/queue/limits.h"

#define OUTPUT_BYTES	(64u << 20)
#define CACHE_BYTES	(4u << 20)
#define READ_BYTES	(1u << 20)
#define PROBLEMS_MAX	100000u		/* listed; all are counted */

struct fsck {
	struct mailstore *ms;
	bool mend, log, rebuild;
	const char *user;		/* whose account is being looked at */
	struct check_counts n;
	struct embedded_report report;
	uint64_t accounts, queued, ownerless;
	json_t *problems, *notes;
	struct buf text;
};

/* ---- telling ---- */

static void tell(struct fsck *f, const char *where, struct slice folder, uint32_t uid, bool mended, const char *what)
{
	json_t *p;

	f->n.problems++;
	f->n.mended += mended;
	if (json_array_size(f->problems) < PROBLEMS_MAX) {
		p = json_pack("{s:s, s:s, s:b}", "where", where, "what", what, "mended", (int)mended);
		if (p != NULL && folder.len > 0)
			json_object_set_new(p, "folder", json_stringn((const char *)folder.ptr, folder.len));
		if (p != NULL && uid != 0)
			json_object_set_new(p, "uid", json_integer(uid));
		json_array_append_new(f->problems, p);
	}
	if (cli_json(mailstore_cli(f->ms)))
		return;
	/* At once: a check of much mail takes long. */
	mailstore_progress(f->ms, "%s", "");
	AUTO_BUF struct buf line = BUF_INIT(16384);
	buf_printf(&line, "! %s", where);
	if (folder.len > 0)
		buf_printf(&line, ", folder %.*s", SLICE_FMT(folder));
	if (uid != 0)
		buf_printf(&line, ", UID %u", uid);
	buf_printf(&line, ": %s%s\n", what, mended ? " (mended)" : "");
	(void)cli_print(mailstore_cli(f->ms), &line);
}

static void on_problem(void *arg, const struct check_problem *p)
{
	struct fsck *f = arg;

	/* account_check counts into the same numbers. */
	f->n.problems--;
	f->n.mended -= p->mended;
	tell(f, f->user, p->folder, p->uid, p->mended, p->text);
}

static void on_account_progress(void *arg, uint64_t done, uint64_t total)
{
	struct fsck *f = arg;

	mailstore_progress(f->ms, "checking %s: %llu of %llu MiB", f->user, (unsigned long long)(done >> 20),
			   (unsigned long long)(total >> 20));
}

static void on_log_damage(void *arg, const struct embedded_damage *d)
{
	char where[64], what[360];

	snprintf(where, sizeof(where), "log/%u, offset %llu", d->segment, (unsigned long long)d->offset);
	snprintf(what, sizeof(what), "%s%s%s (%llu bytes)", d->what, d->object[0] != '\0' ? ", object " : "", d->object,
		 (unsigned long long)d->bytes);
	tell(arg, where, (struct slice){ 0 }, 0, false, what);
}

/* ---- the queue ---- */

/* NULL: all there. */
static const char *body_wrong(struct fsck *f, const struct queue_entry *e)
{
	AUTO_BUF struct buf bytes = BUF_INIT(READ_BYTES + 64);
	uint8_t transaction[TRANSACTION_ID_BYTES];
	struct engine *engine = mailstore_engine(f->ms);

	queue_transaction(e, transaction);
	for (uint64_t at = 0; at < e->body_bytes || at == 0; at += QUEUE_CHUNK_BYTES) {
		uint64_t want = MIN(e->body_bytes - at, (uint64_t)QUEUE_CHUNK_BYTES);
		char name[QUEUE_BODY_NAME_BYTES];

		queue_body_name(transaction, at / QUEUE_CHUNK_BYTES, name);
		buf_reset(&bytes);
		switch (engine_read(engine, slice_str(name), 0, READ_BYTES, &bytes)) {
		case ENGINE_OK:
			if (bytes.len == want)
				break;
			return "its body has another size than was stored";
		case ENGINE_ABSENT:
			return "its body is missing";
		case ENGINE_DAMAGED:
			return "the stored bytes of its body fail their checksum";
		default:
			return "its body cannot be read now";
		}
	}
	return NULL;
}

/* An entry without recipients only asks for its body's removal. */
static void check_entry(struct fsck *f, struct arena *arena, const struct engine_kv *kv, const char *shard)
{
	AUTO_BUF struct buf id = BUF_INIT(64);
	struct queue_entry e;
	const char *wrong;

	if (!queue_entry_decode(arena, kv->key, kv->value, &e)) {
		tell(f, shard, (struct slice){ 0 }, 0, false, "an entry of the queue is damaged");
		return;
	}
	f->queued++;
	wrong = e.count > 0 ? body_wrong(f, &e) : NULL;
	if (wrong == NULL)
		return;
	/* It may have been delivered since: then the entry is gone, too. */
	struct engine_kv *again;
	size_t count = 0;
	bool more;
	AUTO_BUF struct buf end = BUF_INIT(ENGINE_KEY_BYTES_MAX);
	buf_add(&end, kv->key);
	buf_addc(&end, 0);
	if (engine_keys(mailstore_engine(f->ms), slice_str(shard), kv->key, buf_slice(&end), 1, 1u << 17, arena, &again,
			&count, &more) != ENGINE_OK || count == 0)
		return;
	hex_encode(&id, slice_of(e.id, sizeof(e.id)));
	char where[100];
	snprintf(where, sizeof(where), "queue, message %s", buf_cstr(&id));
	tell(f, where, (struct slice){ 0 }, 0, false, wrong);
}

static int check_queue(struct fsck *f)
{
	for (unsigned s = 0; s < QUEUE_SHARDS; s++) {
		AUTO_BUF struct buf from = BUF_INIT(ENGINE_KEY_BYTES_MAX + 1);
		bool more = true;
		char shard[16];

		queue_shard_name(s, shard);
		buf_adds(&from, "e");
		while (more) {
			AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
			struct engine_kv *kv;
			size_t n = 0;
			enum engine_result r = engine_keys(mailstore_engine(f->ms), slice_str(shard), buf_slice(&from),
							   SLICE("f"), 64, 4u << 20, &arena, &kv, &n, &more);

			if (r == ENGINE_DAMAGED)
				tell(f, shard, (struct slice){ 0 }, 0, false, "this part of the queue cannot be read");
			else if (r != ENGINE_OK)
				return cli_fail(mailstore_cli(f->ms), CLI_TEMPORARY, "read the queue: %s", engine_result_name(r));
			if (r != ENGINE_OK || n == 0)
				break;
			for (size_t i = 0; i < n; i++)
				check_entry(f, &arena, &kv[i], shard);
			buf_reset(&from);
			buf_add(&from, kv[n - 1].key);
			buf_addc(&from, 0);
		}
	}
	return CLI_OK;
}

/* ---- accounts that nobody has ---- */

static int by_account(const void *a, const void *b)
{
	return memcmp(((const struct mail_user *)a)->account, ((const struct mail_user *)b)->account, ACCOUNT_ID_BYTES);
}

static void note_ownerless(struct fsck *f, struct slice account)
{
	AUTO_BUF struct buf text = BUF_INIT(200);

	f->ownerless++;
	buf_printf(&text, "account %.*s belongs to no user: mail of one who was removed", SLICE_FMT(account));
	json_array_append_new(f->notes, json_string(buf_cstr(&text)));
	if (!cli_json(mailstore_cli(f->ms)))
		printf("  %s\n", buf_cstr(&text));
}

/* The store takes the mail of removed users away, by and by: told, since it takes room, but no problem. */
static int check_owners(struct fsck *f, struct mail_user *users, size_t count)
{
	AUTO_BUF struct buf after = BUF_INIT(ENGINE_NAME_BYTES_MAX);

	if (count > 0)
		qsort(users, count, sizeof(*users), by_account);
	for (size_t i = 1; i < count; i++)
		if (users[i].account[0] != '\0' && by_account(&users[i - 1], &users[i]) == 0)
			tell(f, users[i].address, (struct slice){ 0 }, 0, false, "another user has the same account");
	for (size_t n = 1; n > 0;) {
		AUTO_ARENA struct arena arena = ARENA_INIT(4u << 20);
		struct slice *names;
		enum engine_result r = engine_list(mailstore_engine(f->ms), SLICE("a."), buf_slice(&after), 1000, &arena,
						   &names, &n);

		if (r != ENGINE_OK)
			return cli_fail(mailstore_cli(f->ms), CLI_TEMPORARY, "list the accounts: %s", engine_result_name(r));
		for (size_t i = 0; i < n; i++) {
			struct slice id = slice_from(names[i], 2);
			struct mail_user key = { 0 };

			if (!slice_to_str(id, key.account, sizeof(key.account)) || id.len != ACCOUNT_ID_BYTES ||
			    count == 0 || bsearch(&key, users, count, sizeof(*users), by_account) == NULL)
				note_ownerless(f, id);
		}
		if (n > 0) {
			buf_reset(&after);
			buf_add(&after, names[n - 1]);
		}
	}
	return CLI_OK;
}

/* ---- all of it ---- */

static int check_users(struct fsck *f, const struct mail_user *users, size_t count)
{
	const struct check_options o = { .mend = f->mend, .found = on_problem, .progress = on_account_progress, .arg = f };
	const struct accounts_options ao = { .buckets = 1, .cache_bytes = CACHE_BYTES };
	struct accounts *accounts;
	int code = CLI_OK;

	if (accounts_new(mailstore_world(f->ms), &ao, &accounts) != 0)
		return cli_fail(mailstore_cli(f->ms), CLI_FAILED, "out of memory");
	for (size_t i = 0; i < count && code == CLI_OK; i++) {
		f->user = users[i].address;
		mailstore_progress(f->ms, "checking %s", f->user);
		if (users[i].account[0] == '\0') {
			tell(f, f->user, (struct slice){ 0 }, 0, false, "the user's record in the directory is damaged");
			continue;
		}
		f->accounts++;
		enum mailbox_result r = account_check(accounts, mailstore_engine(f->ms), slice_str(users[i].account), &o,
						      &f->n);
		if (r != MAILBOX_OK)
			code = cli_fail(mailstore_cli(f->ms), r == MAILBOX_UNAVAILABLE ? CLI_TEMPORARY : CLI_FAILED,
					"check %s: %s; what was found before stands", f->user, mailbox_result_name(r));
	}
	accounts_free(accounts);
	return code;
}

static json_t *summary(const struct fsck *f)
{
	json_t *log = json_null();

	if (f->log)
		log = json_pack("{s:I, s:I, s:I, s:I, s:I}", "segments", (json_int_t)f->report.segments, "records",
				(json_int_t)f->report.records, "bytes", (json_int_t)f->report.bytes, "objects",
				(json_int_t)f->report.objects, "damaged", (json_int_t)f->report.damaged);
	return json_pack("{s:s, s:s, s:b, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:O}",
			 "state", f->n.problems > f->n.mended ? "damaged" : "ok", "place", mailstore_place(f->ms), "online",
			 (int)mailstore_online(f->ms), "log", log, "accounts", (json_int_t)f->accounts, "folders",
			 (json_int_t)f->n.folders, "messages", (json_int_t)f->n.messages, "bytes", (json_int_t)f->n.bytes,
			 "unmerged", (json_int_t)f->n.unmerged, "fragments", (json_int_t)f->n.fragments, "streams",
			 (json_int_t)f->n.streams, "queued", (json_int_t)f->queued, "accounts_without_user",
			 (json_int_t)f->ownerless, "damaged_messages", (json_int_t)f->n.damaged_messages, "problem_count",
			 (json_int_t)f->n.problems, "mended", (json_int_t)f->n.mended, "problems", f->problems, "notes",
			 f->notes);
}

static int print_result(struct fsck *f)
{
	struct cli *cli = mailstore_cli(f->ms);
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);

	mailstore_progress(f->ms, "%s", "");
	if (cli_json(cli)) {
		json_t *all = summary(f);
		char *text = all == NULL ? NULL : json_dumps(all, JSON_COMPACT);
		buf_adds(&out, text == NULL ? "{\"error\":\"out of memory\"}" : text);
		buf_addc(&out, '\n');
		free(text);
		json_decref(all);
		return cli_print(cli, &out);
	}
	if (f->log)
		buf_printf(&out, "log: %llu records in %llu segments, %llu MiB, %llu damaged\n",
			   (unsigned long long)f->report.records, (unsigned long long)f->report.segments,
			   (unsigned long long)(f->report.bytes >> 20), (unsigned long long)f->report.damaged);
	else
		buf_adds(&out, "log: not read beyond what the messages need, since a node runs; stop it for that\n");
	buf_printf(&out,
		   "mail: %llu messages (%llu bytes) in %llu folders of %llu accounts, %llu delivered and not seen yet, "
		   "%llu in the queue\n",
		   (unsigned long long)f->n.messages, (unsigned long long)f->n.bytes, (unsigned long long)f->n.folders,
		   (unsigned long long)f->accounts, (unsigned long long)f->n.unmerged, (unsigned long long)f->queued);
	if (f->n.problems == 0)
		buf_adds(&out, "no problems\n");
	else
		buf_printf(&out, "%llu problems, %llu mended, %llu messages damaged; all others can be read\n",
			   (unsigned long long)f->n.problems, (unsigned long long)f->n.mended,
			   (unsigned long long)f->n.damaged_messages);
	return cli_print(cli, &out);
}

static int check_store(struct fsck *f)
{
	struct cli *cli = mailstore_cli(f->ms);
	const char *names[64];
	size_t name_count = cli_arg_count(cli), count = 0;
	struct mail_user *users = NULL;
	const char *domain = f->rebuild ? NULL : cli_value(cli, "domain");
	bool all = name_count == 0 && domain == NULL;

	if (name_count > ARRAY_LEN(names))
		return cli_fail(cli, CLI_USAGE, "at most %zu users at once; give --domain, or none for all", ARRAY_LEN(names));
	for (size_t i = 0; i < name_count; i++)
		names[i] = cli_arg(cli, i);
	int code = mailstore_users(f->ms, names, name_count, domain, &users, &count);
	if (code != CLI_OK)
		return code;
	/* The log first: it tells of damage that nothing points to any more. */
	if (all && !mailstore_online(f->ms)) {
		mailstore_progress(f->ms, "reading the log");
		enum engine_result r = mailstore_check_log(f->ms, &f->report, on_log_damage, f);
		if (r != ENGINE_OK)
			code = cli_fail(cli, CLI_FAILED, "read the log: %s", engine_result_name(r));
		f->log = true;
	}
	if (code == CLI_OK)
		code = check_users(f, users, count);
	if (code == CLI_OK && all)
		code = check_queue(f);
	if (code == CLI_OK && all)
		code = check_owners(f, users, count);
	mailstore_users_free(users, count);
	return code;
}

static int finish(struct fsck *f, int code)
{
	if (code == CLI_OK)
		code = print_result(f);
	if (code == CLI_OK && f->n.problems > f->n.mended)
		code = CLI_DEGRADED;
	json_decref(f->problems);
	json_decref(f->notes);
	return code;
}

static int run_fsck(struct mailstore *ms, void *arg)
{
	struct fsck *f = arg;

	f->ms = ms;
	f->problems = json_array();
	f->notes = json_array();
	return finish(f, check_store(f));
}

static int mail_fsck(struct cli *cli)
{
	struct fsck f = { .mend = cli_has(cli, "repair") };

	if (cli_has(cli, "domain") && cli_arg_count(cli) > 0)
		return cli_fail(cli, CLI_USAGE, "name users, or give --domain, not both");
	return mailstore_run(cli, 0, run_fsck, &f);
}

/* ---- rebuild ---- */

static int run_rebuild(struct mailstore *ms, void *arg)
{
	struct fsck *f = arg;
	struct embedded_stats st;

	mailstore_stats(ms, &st);
	if (!cli_json(mailstore_cli(ms)))
		printf("index made again from %llu segments of the log\n", (unsigned long long)st.segments);
	return run_fsck(ms, f);
}

static int mail_rebuild(struct cli *cli)
{
	struct fsck f = { .rebuild = true };

	return mailstore_run(cli, MAILSTORE_OFFLINE | MAILSTORE_REBUILD, run_rebuild, &f);
}

static const struct cli_arg user_args[] = {
	{ "USER@DOMAIN", "only these users; none: everything", .optional = true, .many = true }, { 0 }
};

const struct cli_command cmd_mail_fsck = {
	.words = "mail fsck", .summary = "check that all stored mail can be read and fits together",
	.description = "Reads every message and checks its checksum, its place and its identity; then folders, UIDs, "
		       "modification numbers, totals, the queue, and what nobody refers to. Works beside a node that "
		       "runs; without one, the whole log is read as well. Each problem is one line, and damage of one "
		       "message costs no other.\n\n"
		       "--repair mends what can be mended without loss: totals, and what was left by crashes and takes room "
		       "for nothing. It never removes a message, damaged or not.\n\n"
		       "Ends with 0 when all is well or mended, 3 when problems remain, 75 when the store was not there.",
	.args = user_args,
	.options = (const struct cli_option[]){
		{ "repair", '\0', NULL, "mend what can be mended without loss" },
		{ "domain", 'd', "DOMAIN", "only users at this domain" },
		CLI_OPTION_STATE, CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 } },
	.json = true, .run = mail_fsck,
	.examples = (const char *const[]){ "prickle mail fsck", "prickle mail fsck ann@example.org --json",
					   "prickle mail fsck --repair", NULL },
};
const struct cli_command cmd_mail_rebuild = {
	.words = "mail rebuild", .summary = "make the index again from the log, then check",
	.description = "The log is the only thing that must not be lost; the index (directory 'index') is made from it. "
		       "Use this when fsck says that lists or records cannot be read, or to be sure. The node must not "
		       "run. Ends as 'prickle mail fsck' does.",
	.options = (const struct cli_option[]){ CLI_OPTION_STATE, CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 } },
	.json = true, .run = mail_rebuild,
	.examples = (const char *const[]){ "prickle mail rebuild",
					   "prickle mail rebuild --state ~/.local/state/prickle-demo", NULL },
};
