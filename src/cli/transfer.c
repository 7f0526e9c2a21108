#include "cli/transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"

#define CACHE_BYTES  (16u << 20)
#define OUTPUT_BYTES (64u << 20)

/* The two tables of flags have the same values: no translation. */
_Static_assert((int)FORMAT_SEEN == (int)FLAG_SEEN && (int)FORMAT_ANSWERED == (int)FLAG_ANSWERED &&
		       (int)FORMAT_FLAGGED == (int)FLAG_FLAGGED && (int)FORMAT_DELETED == (int)FLAG_DELETED &&
		       (int)FORMAT_DRAFT == (int)FLAG_DRAFT,
	       "flags of files are those of messages");

/* ---- hashes ---- */

int hasher_begin(struct hasher *h)
{
	if (h->md == NULL)
		h->md = EVP_MD_CTX_new();
	h->crs = 0;
	h->any = h->ended = false;
	h->bytes = 0;
	return h->md != NULL && EVP_DigestInit_ex(h->md, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

static void release_crs(struct hasher *h)
{
	for (; h->crs > 0; h->crs--)
		EVP_DigestUpdate(h->md, "\r", 1);
}

void hasher_add(struct hasher *h, struct slice in)
{
	h->bytes += in.len;
	h->any |= in.len > 0;
	while (in.len > 0) {
		size_t n = 0;

		while (n < in.len && in.ptr[n] != '\r' && in.ptr[n] != '\n')
			n++;
		if (n > 0) {
			release_crs(h);
			EVP_DigestUpdate(h->md, in.ptr, n);
			h->ended = false;
		}
		if (n == in.len)
			return;
		if (in.ptr[n] == '\r') {
			h->crs++;
			h->ended = false;
		} else {
			h->crs = 0;
			h->ended = true;
			EVP_DigestUpdate(h->md, "\r\n", 2);
		}
		in = slice_from(in, n + 1);
	}
}

void hasher_end(struct hasher *h, uint8_t out[DIGEST_BYTES])
{
	if (h->any && !h->ended)
		EVP_DigestUpdate(h->md, "\r\n", 2);
	EVP_DigestFinal_ex(h->md, out, NULL);
}

void hasher_done(struct hasher *h)
{
	EVP_MD_CTX_free(h->md);
	h->md = NULL;
}

void digest_pair(struct slice a, struct slice b, uint8_t out[DIGEST_BYTES])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	memset(out, 0, DIGEST_BYTES);
	if (md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1) {
		EVP_DigestUpdate(md, a.ptr, a.len);
		EVP_DigestUpdate(md, "", 1);
		EVP_DigestUpdate(md, b.ptr, b.len);
		EVP_DigestFinal_ex(md, out, NULL);
	}
	EVP_MD_CTX_free(md);
}

bool digest_list_add(struct digest_list *l, struct slice folder, const uint8_t message[DIGEST_BYTES])
{
	if (l->count == l->cap) {
		size_t cap = l->cap == 0 ? 256 : l->cap * 2;
		void *p = reallocarray(l->list, cap, DIGEST_BYTES);

		if (p == NULL)
			return false;
		l->list = p;
		l->cap = cap;
	}
	digest_pair(folder, slice_of(message, DIGEST_BYTES), l->list[l->count++]);
	return true;
}

static int by_digest(const void *a, const void *b)
{
	return memcmp(a, b, DIGEST_BYTES);
}

void digest_list_hex(struct digest_list *l, struct buf *out)
{
	uint8_t all[DIGEST_BYTES];

	if (l->count > 0)
		qsort(l->list, l->count, DIGEST_BYTES, by_digest);
	digest_pair(slice_of(l->list, l->count * DIGEST_BYTES), (struct slice){ 0 }, all);
	hex_encode(out, slice_of(all, sizeof(all)));
}

void digest_list_done(struct digest_list *l)
{
	free(l->list);
	*l = (struct digest_list){ 0 };
}

bool transfer_wants(const struct transfer *t, struct slice folder)
{
	struct slice want = slice_str(t->folder);

	if (t->folder == NULL || slice_eq(want, folder))
		return true;
	return slice_eq_nocase(want, SLICE("INBOX")) && slice_eq_nocase(folder, SLICE("INBOX"));
}

/* ---- telling ---- */

static void PRINTF_LIKE(4, 0) tell(struct transfer_user *u, json_t *list, char mark, const char *fmt, va_list ap)
{
	AUTO_BUF struct buf text = BUF_INIT(8192);

	buf_vprintf(&text, fmt, ap);
	if (json_array_size(list) < PROBLEMS_MAX)
		json_array_append_new(list, json_string(buf_cstr(&text)));
	if (cli_json(mailstore_cli(u->t->ms)))
		return;
	mailstore_progress(u->t->ms, "%s", "");
	printf("%c %s: %s\n", mark, u->user->address, buf_cstr(&text));
	fflush(stdout);
}

void transfer_problem(struct transfer_user *u, const char *fmt, ...)
{
	va_list ap;

	u->problems++;
	va_start(ap, fmt);
	tell(u, u->problem_list, '!', fmt, ap);
	va_end(ap);
}

void transfer_note(struct transfer_user *u, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell(u, u->notes, ' ', fmt, ap);
	va_end(ap);
}

int transfer_fail(struct transfer_user *u, const char *what, enum mailbox_result r)
{
	const char *next = r == MAILBOX_UNAVAILABLE ? "run the command again, it goes on where it was" :
			   r == MAILBOX_FULL	    ? "the disk has no room: make some, then run the command again" :
			   r == MAILBOX_DAMAGED	    ? "'prickle mail fsck' tells more" :
						      "nothing was lost; run the command again when this is mended";

	return cli_fail(mailstore_cli(u->t->ms), r == MAILBOX_UNAVAILABLE ? CLI_TEMPORARY : CLI_FAILED, "%s: %s: %s; %s",
			u->user->address, what, mailbox_result_name(r), next);
}

int transfer_errno(struct transfer_user *u, int err, const char *fmt, ...)
{
	AUTO_BUF struct buf text = BUF_INIT(8192);
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	return cli_fail(mailstore_cli(u->t->ms), CLI_FAILED, "%s: %s: %s; run the command again when this is mended, it goes on where it was",
			u->user->address, buf_cstr(&text), strerrordesc_np(err < 0 ? -err : err));
}

void transfer_progress(struct transfer_user *u, const char *verb)
{
	uint64_t done = u->copied + u->present;

	if (u->total > 0)
		mailstore_progress(u->t->ms, "%s %s: %llu of %llu messages, %llu MiB", verb, u->user->address,
				   (unsigned long long)done, (unsigned long long)u->total,
				   (unsigned long long)(u->bytes >> 20));
	else
		mailstore_progress(u->t->ms, "%s %s: %llu messages, %llu MiB", verb, u->user->address,
				   (unsigned long long)done, (unsigned long long)(u->bytes >> 20));
}

enum mailbox_result transfer_read(struct transfer_user *u, struct mailbox *m, const struct message_info *info,
				  bool (*fn)(void *arg, struct slice bytes), void *arg, uint8_t digest[DIGEST_BYTES])
{
	if (hasher_begin(&u->hash) != 0)
		return MAILBOX_MEMORY;
	for (uint64_t at = 0; at < info->size; at += TRANSFER_PIECE) {
		buf_reset(&u->piece);
		enum mailbox_result r = mailbox_read(m, info, at, TRANSFER_PIECE, &u->piece);

		if (r != MAILBOX_OK)
			return r;
		hasher_add(&u->hash, buf_slice(&u->piece));
		if (fn != NULL && !fn(arg, buf_slice(&u->piece)))
			return MAILBOX_FULL;
	}
	hasher_end(&u->hash, digest);
	return MAILBOX_OK;
}

/* ---- the run ---- */

/* A user's directory below the common one. Addresses may hold a slash, and begin with a dot. */
static void user_path(struct buf *out, const char *base, const char *address)
{
	buf_printf(out, "%s/", base);
	for (const char *p = address; *p != '\0'; p++) {
		if (*p == '/' || *p == '%' || (*p == '.' && p == address))
			buf_printf(out, "%%%02X", (unsigned)*p);
		else
			buf_addc(out, (uint8_t)*p);
	}
}

static json_t *result_of_user(struct transfer_user *u, bool *equal)
{
	AUTO_BUF struct buf source = BUF_INIT(100), target = BUF_INIT(100);

	digest_list_hex(&u->source, &source);
	digest_list_hex(&u->target, &target);
	*equal = u->problems == 0 && slice_eq(buf_slice(&source), buf_slice(&target));
	if (!cli_json(mailstore_cli(u->t->ms))) {
		mailstore_progress(u->t->ms, "%s", "");
		printf("%s: %llu messages (%llu bytes) in %llu folders: %llu copied, %llu were there\n"
		       "  source %s, %zu messages\n  target %s, %zu messages: %s\n",
		       u->user->address, (unsigned long long)u->messages, (unsigned long long)u->bytes,
		       (unsigned long long)u->folders, (unsigned long long)u->copied, (unsigned long long)u->present,
		       buf_cstr(&source), u->source.count, buf_cstr(&target), u->target.count,
		       *equal ? "equal" : "NOT EQUAL");
	}
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:s, s:b, s:I, s:O, s:O}", "user",
			 u->user->address, "folders", (json_int_t)u->folders, "messages", (json_int_t)u->messages, "bytes",
			 (json_int_t)u->bytes, "copied", (json_int_t)u->copied, "present", (json_int_t)u->present,
			 "source_messages", (json_int_t)u->source.count, "source_sha256", buf_cstr(&source),
			 "target_messages", (json_int_t)u->target.count, "target_sha256", buf_cstr(&target), "equal",
			 (int)*equal, "problem_count", (json_int_t)u->problems, "problems", u->problem_list, "notes",
			 u->notes);
}

static int one_user(struct transfer *t, const struct mail_user *user, bool own_path,
		    int (*each)(struct transfer_user *u, const char *path))
{
	struct transfer_user u = { .t = t, .user = user, .notes = json_array(), .problem_list = json_array() };
	AUTO_BUF struct buf path = BUF_INIT(8192);
	bool equal = false;
	int code;

	buf_init(&u.piece, TRANSFER_PIECE + 64);
	if (own_path)
		user_path(&path, t->path, user->address);
	else
		buf_adds(&path, t->path);
	if (user->account[0] == '\0')
		code = cli_fail(mailstore_cli(t->ms), CLI_FAILED, "%s: the user's record in the directory is damaged",
				user->address);
	else {
		enum mailbox_result r = account_open(t->accounts, mailstore_engine(t->ms), slice_str(user->account),
						     (struct quota){ 0 }, &u.account);
		code = r == MAILBOX_OK ? each(&u, buf_cstr(&path)) : transfer_fail(&u, "open the account", r);
	}
	if (code == CLI_OK) {
		json_array_append_new(t->users, result_of_user(&u, &equal));
		t->unequal += !equal;
	}
	account_close(u.account);
	digest_list_done(&u.source);
	digest_list_done(&u.target);
	hasher_done(&u.hash);
	buf_done(&u.piece);
	json_decref(u.notes);
	json_decref(u.problem_list);
	return code;
}

struct run {
	struct transfer t;
	const char *user;		/* NULL: many */
	int (*each)(struct transfer_user *u, const char *path);
};

static int run_users(struct mailstore *ms, void *arg)
{
	struct run *run = arg;
	struct transfer *t = &run->t;
	const struct accounts_options ao = { .buckets = 1, .cache_bytes = CACHE_BYTES };
	struct cli *cli = mailstore_cli(ms);
	struct mail_user *users;
	size_t count;

	t->ms = ms;
	int code = mailstore_users(ms, &run->user, run->user != NULL ? 1 : 0, cli_value(cli, "domain"), &users, &count);
	if (code != CLI_OK)
		return code;
	t->users = json_array();
	if (accounts_new(mailstore_world(ms), &ao, &t->accounts) != 0 || t->users == NULL)
		code = cli_fail(cli, CLI_FAILED, "out of memory");
	for (size_t i = 0; i < count && code == CLI_OK; i++)
		code = one_user(t, &users[i], run->user == NULL, run->each);
	if (code == CLI_OK && cli_json(cli)) {
		AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
		json_t *all = json_pack("{s:b, s:O}", "equal", t->unequal == 0, "users", t->users);
		char *text = all == NULL ? NULL : json_dumps(all, JSON_COMPACT);
		buf_adds(&out, text == NULL ? "{\"error\":\"out of memory\"}" : text);
		buf_addc(&out, '\n');
		free(text);
		json_decref(all);
		code = cli_print(cli, &out);
	} else if (code == CLI_OK && count == 0) {
		printf("no users\n");
	}
	json_decref(t->users);
	accounts_free(t->accounts);
	mailstore_users_free(users, count);
	return code != CLI_OK ? code : t->unequal > 0 ? CLI_FAILED : CLI_OK;
}

int transfer_main(struct cli *cli, int (*each)(struct transfer_user *u, const char *path))
{
	bool many = cli_has(cli, "all") || cli_has(cli, "domain");
	const char *format = cli_value(cli, "format");
	size_t count = cli_arg_count(cli);
	struct run run = { .each = each };

	if (cli_has(cli, "all") && cli_has(cli, "domain"))
		return cli_fail(cli, CLI_USAGE, "give --all or --domain, not both");
	if (count != (many ? 1u : 2u))
		return cli_fail(cli, CLI_USAGE, "give %s", many ? "one directory, and no user beside --all or --domain" :
						"a user and a path: prickle mail VERB USER@DOMAIN PATH");
	if (format != NULL && strcmp(format, "maildir") != 0 && strcmp(format, "mbox") != 0)
		return cli_fail(cli, CLI_USAGE, "--format is maildir or mbox, not '%s'", format);
	run.t.mbox = format != NULL && strcmp(format, "mbox") == 0;
	run.t.folder = cli_value(cli, "folder");
	run.user = many ? NULL : cli_arg(cli, 0);
	run.t.path = cli_arg(cli, many ? 0 : 1);
	return mailstore_run(cli, 0, run_users, &run);
}
