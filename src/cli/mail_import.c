/*
 * `prickle mail import`: mail from Maildir or mbox into the store.
 *
 * Nothing twice and nothing missing, however often it is interrupted, without a file that keeps score:
 * the email id of an imported message is a hash of the folder it came from, its content, and how many
 * equal ones stand before it there. What has its id in the account already, in any folder, is
 * passed over. So import may also be run again when the old system has got new mail.
 *
 * UIDs and UIDVALIDITY are kept where the source knows them (dovecot-uidlist, X-UID) and the folder
 * here has never had a message: clients then need not fetch everything again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "cli/transfer.h"
#include "mail/formats/lineends.h"
#include "mail/formats/maildir.h"
#include "mail/formats/mbox.h"
#include "mail/message/mime.h"
#include "mail/message/summary.h"

#define ARENA_BYTES	((size_t)4 << 30)
#define SMALL_FILE_BYTES (256u << 20)
#define BATCH_MESSAGES	50u		/* of one commit */
#define BATCH_BYTES	(8u << 20)
#define TREE_DEPTH_MAX	32u
#define UIDVALIDITY_MAX 0xf0000000u

struct in_message {
	struct slice file;		/* Maildir: "cur/<name>" */
	struct slice unique;
	uint64_t offset;		/* mbox */
	uint32_t uid;			/* 0: not known */
	unsigned flags;			/* enum format_flag */
	struct slice keywords;		/* names parted by blanks */
	bool has_time;
	int64_t time_s;
	uint64_t bytes;
	uint8_t digest[DIGEST_BYTES];
	uint8_t id[EMAIL_ID_BYTES];
	bool broken;			/* cannot be read: told already */
};

/* A message that must be there afterwards. */
struct expected {
	uint8_t id[EMAIL_ID_BYTES];
	uint8_t digest[DIGEST_BYTES];
	struct slice folder;
	bool found;
};

struct seen_name {
	struct seen_name *next;
	struct slice name;
};

struct import {
	struct transfer_user *u;
	struct seen_name *names;		/* of folders that came already */
	struct arena arena;			/* names, for the whole user */
	uint8_t (*have)[EMAIL_ID_BYTES];	/* in the account before, sorted */
	size_t have_count;
	struct expected *expected;
	size_t expected_count, expected_cap;
	bool keywords_full;
	unsigned sources;			/* folders found */
};

/* One folder on its way in. */
struct in_folder {
	struct import *im;
	struct slice name;
	int dir;				/* Maildir: of the folder; mbox: the file */
	bool mbox;
	struct in_message *list;
	size_t count, cap;
	uint32_t uidvalidity, uidnext;		/* of the source; 0: not known */
	bool keep_uids;
};

static int no_memory(struct transfer_user *u)
{
	return cli_fail(mailstore_cli(u->t->ms), CLI_FAILED, "out of memory");
}

static struct in_message *add_message(struct in_folder *f)
{
	if (f->count == f->cap) {
		size_t cap = f->cap == 0 ? 256 : f->cap * 2;
		struct in_message *p = reallocarray(f->list, cap, sizeof(*p));

		if (p == NULL)
			return NULL;
		f->list = p;
		f->cap = cap;
	}
	f->list[f->count] = (struct in_message){ 0 };
	return &f->list[f->count++];
}

/* ---- what is there ---- */

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, EMAIL_ID_BYTES);
}

/* fn for each message of the account, folder by folder; NULL message infos never come. */
static int each_message(struct transfer_user *u,
			int (*fn)(void *arg, struct mailbox *m, const struct message_info *info), void *arg)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	struct folder_info *folders;
	size_t count;
	enum mailbox_result r = account_refresh(u->account);
	int code = CLI_OK;

	if (r == MAILBOX_OK)
		r = account_folders(u->account, &arena, &folders, &count);
	if (r != MAILBOX_OK)
		return transfer_fail(u, "list the folders", r);
	for (size_t i = 0; i < count && code == CLI_OK; i++) {
		struct message_info info;
		struct mailbox *m;

		if (folders[i].id == FOLDER_NONE)
			continue;
		r = mailbox_open(u->account, folders[i].name, true, &m);
		if (r == MAILBOX_NO_FOLDER)
			continue;
		if (r != MAILBOX_OK)
			return transfer_fail(u, "open a folder", r);
		for (uint32_t seq = 1; seq <= mailbox_count(m) && code == CLI_OK; seq++)
			if (mailbox_message(m, mailbox_uid(m, seq), &info))
				code = fn(arg, m, &info);
		mailbox_close(m);
	}
	return code;
}

static int note_id(void *arg, struct mailbox *m, const struct message_info *info)
{
	struct import *im = arg;

	(void)m;
	/* Room grows by doubling: at each power of two. */
	if ((im->have_count & (im->have_count - 1)) == 0) {
		void *p = reallocarray(im->have, im->have_count == 0 ? 1 : im->have_count * 2, EMAIL_ID_BYTES);

		if (p == NULL)
			return no_memory(im->u);
		im->have = p;
	}
	memcpy(im->have[im->have_count++], info->email_id, EMAIL_ID_BYTES);
	return CLI_OK;
}

static bool is_there(const struct import *im, const uint8_t id[EMAIL_ID_BYTES])
{
	return im->have_count > 0 && bsearch(id, im->have, im->have_count, EMAIL_ID_BYTES, by_id) != NULL;
}

/* ---- reading a source message ---- */

typedef bool bytes_fn(void *arg, struct slice bytes);

static int read_maildir(struct in_folder *f, const struct in_message *m, bytes_fn *fn, void *arg)
{
	struct transfer_user *u = f->im->u;
	AUTO_BUF struct buf name = BUF_INIT(400);
	ssize_t n = 1;

	buf_add(&name, m->file);
	AUTO_FD int fd = openat(f->dir, buf_cstr(&name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	while (n > 0) {
		buf_reset(&u->piece);
		uint8_t *to = buf_room(&u->piece, TRANSFER_PIECE);

		if (to == NULL)
			return -ENOMEM;
		n = read(fd, to, TRANSFER_PIECE);
		if (n < 0)
			return -errno;
		if (n > 0 && !fn(arg, slice_of(to, (size_t)n)))
			return -ECANCELED;
	}
	return 0;
}

static int read_mbox(struct in_folder *f, const struct in_message *m, bytes_fn *fn, void *arg)
{
	struct transfer_user *u = f->im->u;
	AUTO_FREE struct mbox_reader *r = malloc(sizeof(*r));
	struct slice in = { 0 }, bytes;
	uint64_t at = m->offset;
	bool last = false;

	if (r == NULL)
		return -ENOMEM;
	mbox_reader_init_at(r, m->offset);
	for (;;) {
		switch (mbox_next(r, &in, last, &bytes)) {
		case MBOX_MORE: {
			buf_reset(&u->piece);
			uint8_t *to = buf_room(&u->piece, TRANSFER_PIECE);
			ssize_t n = to == NULL ? -1 : pread(f->dir, to, TRANSFER_PIECE, (off_t)at);
			if (n < 0)
				return to == NULL ? -ENOMEM : -errno;
			in = slice_of(to, (size_t)n);
			at += (uint64_t)n;
			last = n == 0;
			break;
		}
		case MBOX_BYTES:
			if (!fn(arg, bytes))
				return -ECANCELED;
			break;
		case MBOX_END:
			return 0;
		case MBOX_BEGIN:
			break;
		case MBOX_DONE:
			return -EUCLEAN;	/* the file has changed since we looked */
		}
	}
}

static bool hash_bytes(void *arg, struct slice bytes)
{
	hasher_add(&((struct transfer_user *)arg)->hash, bytes);
	return true;
}

/* ---- Maildir ---- */

static int read_small(int at, const char *name, struct buf *out)
{
	AUTO_FD int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n = 1;

	while (fd >= 0 && n > 0) {
		uint8_t *to = buf_room(out, 65536);

		if (to == NULL)
			return -EFBIG;
		n = read(fd, to, 65536);
		if (n > 0)
			buf_commit(out, (size_t)n);
	}
	return fd < 0 || n < 0 ? -errno : 0;
}

/* Letters of a folder as names. */
static struct slice keyword_names(struct in_folder *f, uint32_t letters, const struct slice names[MAILDIR_KEYWORDS_MAX])
{
	AUTO_BUF struct buf b = BUF_INIT(65536);

	for (unsigned k = 0; k < MAILDIR_KEYWORDS_MAX; k++) {
		if ((letters >> k & 1) == 0 || names[k].len == 0)
			continue;
		if (b.len > 0)
			buf_addc(&b, ' ');
		buf_add(&b, names[k]);
	}
	return arena_dup(&f->im->arena, buf_slice(&b));
}

static int scan_files(struct in_folder *f, const char *which, const struct slice names[MAILDIR_KEYWORDS_MAX])
{
	int fd = openat(f->dir, which, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int err = 0;

	if (d == NULL)
		return fd < 0 && errno == ENOENT ? 0 : -errno;
	while (err == 0 && (e = readdir(d)) != NULL) {
		AUTO_BUF struct buf file = BUF_INIT(400);
		struct maildir_name n;
		struct stat st;

		if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		if (!S_ISREG(st.st_mode) || !maildir_name_parse(slice_str(e->d_name), &n)) {
			transfer_note(f->im->u, "folder %.*s: '%s/%s' is no message's file and was passed over", SLICE_FMT(f->name),
				      which, e->d_name);
			continue;
		}
		struct in_message *m = add_message(f);
		buf_printf(&file, "%s/%s", which, e->d_name);
		if (m == NULL) {
			err = -ENOMEM;
			break;
		}
		m->file = arena_dup(&f->im->arena, buf_slice(&file));
		m->unique = slice_sub(m->file, strlen(which) + 1, strlen(which) + 1 + n.unique.len);
		m->flags = n.flags;
		m->keywords = keyword_names(f, n.keywords, names);
		m->has_time = true;
		m->time_s = st.st_mtime;
		if (f->im->arena.err != 0)
			err = -ENOMEM;
	}
	closedir(d);
	return err;
}

static int by_unique(const void *a, const void *b)
{
	return slice_cmp(((const struct in_message *)a)->unique, ((const struct in_message *)b)->unique);
}

/* As the other system showed them: by UID; those without one behind, by time. */
static int by_place(const void *a, const void *b)
{
	const struct in_message *x = a, *y = b;

	if (x->uid != y->uid)
		return x->uid == 0 ? 1 : y->uid == 0 ? -1 : x->uid < y->uid ? -1 : 1;
	if (x->time_s != y->time_s)
		return x->time_s < y->time_s ? -1 : 1;
	return x->offset != y->offset ? (x->offset < y->offset ? -1 : 1) : slice_cmp(x->unique, y->unique);
}

static void take_uidlist(struct in_folder *f, struct slice text)
{
	struct maildir_uidlist l;
	struct slice unique;
	uint32_t uid;

	if (!maildir_uidlist_begin(text, &l))
		return;
	f->uidvalidity = l.uidvalidity;
	f->uidnext = l.uidnext;
	while (maildir_uidlist_next(&l, &uid, &unique)) {
		const struct in_message key = { .unique = unique };
		struct in_message *m = f->count == 0 ? NULL :
						       bsearch(&key, f->list, f->count, sizeof(key), by_unique);
		if (m != NULL)
			m->uid = uid;
	}
}

static int scan_maildir(struct in_folder *f)
{
	AUTO_BUF struct buf keywords = BUF_INIT(SMALL_FILE_BYTES), uidlist = BUF_INIT(SMALL_FILE_BYTES);
	struct slice names[MAILDIR_KEYWORDS_MAX];
	int err;

	(void)!read_small(f->dir, "dovecot-keywords", &keywords);
	maildir_keywords_read(buf_slice(&keywords), names);
	err = scan_files(f, "cur", names);
	if (err == 0)
		err = scan_files(f, "new", names);
	if (err != 0)
		return transfer_errno(f->im->u, err, "read the folder %.*s", SLICE_FMT(f->name));
	if (f->count > 0)
		qsort(f->list, f->count, sizeof(*f->list), by_unique);
	if (read_small(f->dir, "dovecot-uidlist", &uidlist) == 0)
		take_uidlist(f, buf_slice(&uidlist));
	for (size_t i = 0; i < f->count; i++) {
		struct in_message *m = &f->list[i];

		if (hasher_begin(&f->im->u->hash) != 0)
			return no_memory(f->im->u);
		err = read_maildir(f, m, hash_bytes, f->im->u);
		hasher_end(&f->im->u->hash, m->digest);
		m->bytes = f->im->u->hash.bytes;
		m->broken = err != 0;
		if (err != 0)
			transfer_problem(f->im->u, "folder %.*s: read '%.*s': %s", SLICE_FMT(f->name), SLICE_FMT(m->file),
					 strerrordesc_np(-err));
		mailstore_progress(f->im->u->t->ms, "reading %.*s: %zu of %zu messages", SLICE_FMT(f->name), i, f->count);
	}
	return CLI_OK;
}

/* ---- mbox ---- */

static int end_message(struct in_folder *f, const struct mbox_reader *r)
{
	struct transfer_user *u = f->im->u;
	uint8_t digest[DIGEST_BYTES];

	hasher_end(&u->hash, digest);
	if (f->uidvalidity == 0)
		f->uidvalidity = r->uidvalidity;
	if (r->internal)
		return CLI_OK;
	struct in_message *m = add_message(f);
	if (m == NULL)
		return no_memory(u);
	*m = (struct in_message){ .offset = r->message_at, .uid = r->uid, .flags = r->flags, .has_time = r->has_time,
				  .time_s = r->time_s, .bytes = u->hash.bytes,
				  .keywords = arena_dup(&f->im->arena, slice_of(r->keywords, r->keywords_len)) };
	memcpy(m->digest, digest, sizeof(digest));
	f->uidnext = MAX(f->uidnext, r->uid + 1);
	mailstore_progress(u->t->ms, "reading %.*s: %zu messages", SLICE_FMT(f->name), f->count);
	return f->im->arena.err != 0 ? no_memory(u) : CLI_OK;
}

static int scan_mbox(struct in_folder *f)
{
	struct transfer_user *u = f->im->u;
	AUTO_FREE struct mbox_reader *r = malloc(sizeof(*r));
	struct slice in = { 0 }, bytes;
	uint64_t at = 0;
	bool last = false;
	int code = CLI_OK;

	if (r == NULL)
		return no_memory(u);
	mbox_reader_init(r);
	while (code == CLI_OK) {
		switch (mbox_next(r, &in, last, &bytes)) {
		case MBOX_MORE: {
			buf_reset(&u->piece);
			uint8_t *to = buf_room(&u->piece, TRANSFER_PIECE);
			ssize_t n = to == NULL ? -1 : pread(f->dir, to, TRANSFER_PIECE, (off_t)at);
			if (n < 0)
				return transfer_errno(u, errno, "read the mbox of %.*s", SLICE_FMT(f->name));
			in = slice_of(to, (size_t)n);
			at += (uint64_t)n;
			last = n == 0;
			break;
		}
		case MBOX_BEGIN:
			if (hasher_begin(&u->hash) != 0)
				code = no_memory(u);
			break;
		case MBOX_BYTES:
			hasher_add(&u->hash, bytes);
			break;
		case MBOX_END:
			code = end_message(f, r);
			break;
		case MBOX_DONE:
			if (r->garbage_bytes > 0 && f->count == 0)
				transfer_problem(u, "the file for %.*s is no mbox: its first line is not \"From sender date\"",
						 SLICE_FMT(f->name));
			else if (r->garbage_bytes > 0)
				transfer_problem(u, "the mbox for %.*s begins with %llu bytes that belong to no message",
						 SLICE_FMT(f->name), (unsigned long long)r->garbage_bytes);
			return CLI_OK;
		}
	}
	return code;
}

/* ---- identity ---- */

static int by_digest_and_place(const void *a, const void *b)
{
	const struct in_message *x = *(struct in_message *const *)a, *y = *(struct in_message *const *)b;
	int c = memcmp(x->digest, y->digest, DIGEST_BYTES);

	return c != 0 ? c : x < y ? -1 : x > y;
}

/* Equal messages of a folder are told apart by their number, whichever is which. */
static int give_ids(struct in_folder *f)
{
	AUTO_FREE struct in_message **order = calloc(f->count + 1, sizeof(*order));
	uint32_t nth = 0;

	if (order == NULL)
		return no_memory(f->im->u);
	for (size_t i = 0; i < f->count; i++)
		order[i] = &f->list[i];
	if (f->count > 0)
		qsort(order, f->count, sizeof(*order), by_digest_and_place);
	for (size_t i = 0; i < f->count; i++) {
		AUTO_BUF struct buf what = BUF_INIT(100);
		uint8_t all[DIGEST_BYTES];

		nth = i > 0 && memcmp(order[i]->digest, order[i - 1]->digest, DIGEST_BYTES) == 0 ? nth + 1 : 0;
		buf_adds(&what, "prickle import 1");
		buf_add(&what, slice_of(order[i]->digest, DIGEST_BYTES));
		buf_be32(&what, nth);
		digest_pair(f->name, buf_slice(&what), all);
		memcpy(order[i]->id, all, EMAIL_ID_BYTES);
	}
	return CLI_OK;
}

static int expect(struct import *im, struct slice folder, const struct in_message *m)
{
	if (im->expected_count == im->expected_cap) {
		size_t cap = im->expected_cap == 0 ? 256 : im->expected_cap * 2;
		struct expected *p = reallocarray(im->expected, cap, sizeof(*p));

		if (p == NULL)
			return no_memory(im->u);
		im->expected = p;
		im->expected_cap = cap;
	}
	struct expected *e = &im->expected[im->expected_count++];
	*e = (struct expected){ .folder = folder };
	memcpy(e->id, m->id, EMAIL_ID_BYTES);
	memcpy(e->digest, m->digest, DIGEST_BYTES);
	return digest_list_add(&im->u->source, folder, m->digest) ? CLI_OK : no_memory(im->u);
}

/* ---- into the store ---- */

struct append_writer {
	struct append *ap;
	struct mime_stream *mime;
	struct line_ends ends;
	struct buf bytes;
	enum mailbox_result r;
};

static bool to_append(void *arg, struct slice bytes)
{
	struct append_writer *w = arg;

	buf_reset(&w->bytes);
	line_ends_to_crlf(&w->ends, bytes, &w->bytes);
	w->r = w->bytes.err != 0 ? MAILBOX_MEMORY : append_write(w->ap, buf_slice(&w->bytes));
	if (w->r == MAILBOX_OK && w->mime != NULL)
		mime_stream_feed(w->mime, buf_slice(&w->bytes));
	return w->r == MAILBOX_OK;
}

/* RFC 9051 §9, flag-keyword: an atom. */
static bool keyword_good(struct slice name)
{
	if (name.len == 0 || name.len > KEYWORD_BYTES_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (name.ptr[i] <= 0x20 || name.ptr[i] >= 0x7f || strchr("(){%*\"\\]", name.ptr[i]) != NULL)
			return false;
	return true;
}

static uint64_t keyword_bits(struct in_folder *f, const struct in_message *m)
{
	struct slice names[KEYWORDS_MAX], rest = m->keywords, name, more;
	size_t count = 0;
	uint64_t bits = 0;

	if ((m->flags & FORMAT_FORWARDED) != 0)
		names[count++] = SLICE("$Forwarded");
	while (rest.len > 0 && count < KEYWORDS_MAX) {
		if (!slice_cut(rest, ' ', &name, &more)) {
			name = rest;
			more = (struct slice){ 0 };
		}
		rest = more;
		if (keyword_good(name))
			names[count++] = name;
	}
	if (count == 0)
		return 0;
	if (account_keyword_bits(f->im->u->account, names, count, &bits) == MAILBOX_OK)
		return bits;
	if (!f->im->keywords_full)
		transfer_note(f->im->u, "an account has at most %u keywords; further ones were left out", KEYWORDS_MAX);
	f->im->keywords_full = true;
	return account_keyword_known(f->im->u->account, names, count);
}

/* MAILBOX_OK, or the batch is spoiled; *err is set when it was the file. */
static enum mailbox_result append_one(struct in_folder *f, struct append *ap, const struct in_message *m, int *err)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(MIME_ARENA_BYTES);
	AUTO_BUF struct buf summary = BUF_INIT(1u << 20);
	const struct append_meta meta = {
		.flags = (uint8_t)(m->flags & FLAGS_ALL), .keywords = keyword_bits(f, m),
		.internaldate_s = m->has_time ? m->time_s : world_real_us(mailstore_world(f->im->u->t->ms)) / 1000000,
		.email_id = m->id,
	};
	struct append_writer w = { .ap = ap, .mime = mime_stream_new(&arena) };
	enum mailbox_result r = append_message(ap, &meta, 0);

	if (r != MAILBOX_OK)
		return r;
	buf_init(&w.bytes, 2 * TRANSFER_PIECE + 64);
	*err = f->mbox ? read_mbox(f, m, to_append, &w) : read_maildir(f, m, to_append, &w);
	buf_done(&w.bytes);
	if (w.r != MAILBOX_OK)
		*err = 0;
	if (w.r != MAILBOX_OK || *err != 0)
		return w.r != MAILBOX_OK ? w.r : MAILBOX_DAMAGED;
	if (w.mime != NULL)
		summary_encode(&summary, mime_stream_end(w.mime));
	if (summary.err != 0)
		buf_reset(&summary);	/* readers parse the message instead */
	return append_message_end(ap, buf_slice(&summary));
}

/*
 * One commit: messages from *at on that are not there yet. *at moves behind them. MAILBOX_CANNOT: the
 * UIDs cannot be had; *at stays.
 */
static int import_batch(struct in_folder *f, size_t *at, bool *again)
{
	struct transfer_user *u = f->im->u;
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	uint32_t uids[BATCH_MESSAGES];
	struct append_result done;
	struct append *ap = NULL;
	size_t i = *at, count = 0;
	uint64_t bytes = 0;
	int err = 0;
	enum mailbox_result r = append_begin(u->account, f->name, &ap);

	*again = false;
	for (; r == MAILBOX_OK && i < f->count && count < BATCH_MESSAGES && bytes < BATCH_BYTES; i++) {
		const struct in_message *m = &f->list[i];

		if (m->broken || is_there(f->im, m->id))
			continue;
		r = append_one(f, ap, m, &err);
		uids[count++] = f->keep_uids ? m->uid : 0;
		bytes += m->bytes;
	}
	if (r == MAILBOX_OK && count > 0)
		r = append_commit_uids(ap, uids, &arena, &done);
	append_abort(ap);
	if (err != 0) {
		/* It was there when we looked. Without it, and once more. */
		f->list[i - 1].broken = *again = true;
		transfer_problem(u, "folder %.*s: read a message: %s", SLICE_FMT(f->name), strerrordesc_np(-err));
		return CLI_OK;
	}
	if (r == MAILBOX_CANNOT && f->keep_uids) {
		f->keep_uids = false;
		*again = true;
		transfer_note(u, "folder %.*s: the UIDs of the source are taken by other mail; new ones from here on", SLICE_FMT(f->name));
		return CLI_OK;
	}
	if (r != MAILBOX_OK)
		return transfer_fail(u, "store messages", r);
	*at = i;
	u->copied += count;
	transfer_progress(u, "importing");
	return CLI_OK;
}

/* The folder, with the source's UIDVALIDITY if it can be. */
static int prepare_folder(struct in_folder *f, bool *skip)
{
	struct transfer_user *u = f->im->u;
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct folder_info info;
	enum mailbox_result r = folder_create(u->account, f->name, 0, NULL);

	*skip = r == MAILBOX_CANNOT || r == MAILBOX_NO_FOLDER || r == MAILBOX_LIMIT;
	if (*skip) {
		transfer_problem(u, "'%.*s' cannot be a folder's name here (%s); %zu messages were left out", SLICE_FMT(f->name),
				 mailbox_result_name(r), f->count);
		return CLI_OK;
	}
	if (r != MAILBOX_OK && r != MAILBOX_EXISTS)
		return transfer_fail(u, "make a folder", r);
	if (f->uidvalidity != 0 && f->uidvalidity <= UIDVALIDITY_MAX) {
		/* Refused when the folder has had messages; then it is ours already, or other. */
		r = folder_set_uidvalidity(u->account, f->name, f->uidvalidity, 1);
		if (r != MAILBOX_OK && r != MAILBOX_CANNOT)
			return transfer_fail(u, "set a folder's UIDVALIDITY", r);
		r = account_status(u->account, f->name, &arena, &info);
		if (r != MAILBOX_OK)
			return transfer_fail(u, "look at a folder", r);
		f->keep_uids = info.uidvalidity == f->uidvalidity;
	}
	return CLI_OK;
}

static int store_folder(struct in_folder *f)
{
	struct transfer_user *u = f->im->u;
	bool skip, again;
	int code = prepare_folder(f, &skip);

	for (size_t i = 0; i < f->count && code == CLI_OK; i++) {
		struct in_message *m = &f->list[i];

		if (m->broken)
			continue;
		u->messages++;
		u->bytes += m->bytes;
		u->present += !skip && is_there(f->im, m->id);
		code = expect(f->im, f->name, m);
	}
	u->total += f->count;
	u->folders++;
	for (size_t at = 0; at < f->count && code == CLI_OK && !skip;)
		code = import_batch(f, &at, &again);
	if (code == CLI_OK && !skip && f->keep_uids && f->uidnext > 1) {
		enum mailbox_result r = folder_raise_uidnext(u->account, f->name, f->uidnext);
		if (r != MAILBOX_OK && r != MAILBOX_CANNOT)
			code = transfer_fail(u, "set a folder's UIDNEXT", r);
	}
	return code;
}

/* name is UTF-8 with "/"; fd stays the caller's. */
static int import_folder(struct import *im, struct slice name, int fd, bool mbox)
{
	struct in_folder f = { .im = im, .dir = fd, .mbox = mbox };

	if (!transfer_wants(im->u->t, name))
		return CLI_OK;
	im->sources++;
	f.name = arena_dup(&im->arena, name);
	/* "x" and "x.mbox", INBOX and ".INBOX": which messages came from which could not be told next time. */
	for (const struct seen_name *s = im->names; s != NULL; s = s->next)
		if (slice_eq(s->name, f.name)) {
			transfer_problem(im->u, "the source has the folder %.*s twice; only one was taken, rename the other",
					 SLICE_FMT(f.name));
			return CLI_OK;
		}
	struct seen_name *seen = ARENA_NEW(&im->arena, struct seen_name);
	if (seen == NULL)
		return no_memory(im->u);
	*seen = (struct seen_name){ .next = im->names, .name = f.name };
	im->names = seen;
	int code = mbox ? scan_mbox(&f) : scan_maildir(&f);
	if (f.count > 0 && code == CLI_OK)
		qsort(f.list, f.count, sizeof(*f.list), by_place);
	if (code == CLI_OK)
		code = give_ids(&f);
	if (code == CLI_OK)
		code = store_folder(&f);
	free(f.list);
	return code;
}

/* ---- sources ---- */

static int import_subscriptions(struct import *im, int root)
{
	AUTO_BUF struct buf text = BUF_INIT(SMALL_FILE_BYTES), name = BUF_INIT(65536);
	bool version_2 = false;
	struct slice rest;

	if (im->u->t->folder != NULL || read_small(root, "subscriptions", &text) != 0)
		return CLI_OK;
	rest = buf_slice(&text);
	while (maildir_subscription_next(&rest, &version_2, &name)) {
		enum mailbox_result r = name.len == 0 ? MAILBOX_OK : folder_subscribe(im->u->account, buf_slice(&name), true);

		if (r == MAILBOX_CANNOT || r == MAILBOX_LIMIT)
			transfer_note(im->u, "'%.*s' cannot be subscribed to here", SLICE_FMT(buf_slice(&name)));
		else if (r != MAILBOX_OK)
			return transfer_fail(im->u, "subscribe to a folder", r);
	}
	return CLI_OK;
}

static int import_maildir(struct import *im, int root)
{
	int fd = fcntl(root, F_DUPFD_CLOEXEC, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int code;

	if (d == NULL)
		return transfer_errno(im->u, errno, "read the Maildir");
	code = import_folder(im, SLICE("INBOX"), root, false);
	rewinddir(d);
	while (code == CLI_OK && (e = readdir(d)) != NULL) {
		AUTO_BUF struct buf name = BUF_INIT(4096);
		struct stat st;

		if (!maildir_folder_read(&name, slice_str(e->d_name)) ||
		    fstatat(root, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
			continue;
		AUTO_FD int dir = openat(root, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (dir < 0)
			code = transfer_errno(im->u, errno, "open '%s'", e->d_name);
		else if (faccessat(dir, "cur", F_OK, 0) == 0)
			code = import_folder(im, buf_slice(&name), dir, false);
	}
	closedir(d);
	return code == CLI_OK ? import_subscriptions(im, root) : code;
}

/* "2024.mbox" -> "2024", with what the export escaped. */
static void folder_of_file(struct buf *out, const char *file)
{
	struct slice name = slice_str(file);

	if (slice_ends(name, SLICE(".mbox")))
		name.len -= 5;
	else if (slice_ends(name, SLICE(".sbd")))	/* Thunderbird's directories */
		name.len -= 4;
	for (size_t i = 0; i < name.len; i++) {
		if (name.ptr[i] == '%' && i + 2 < name.len && hex_decode(out, slice_sub(name, i + 1, i + 3)))
			i += 2;
		else
			buf_addc(out, name.ptr[i]);
	}
}

/* Is it an mbox by name, or by its first bytes? An empty file named so is an empty folder. */
static bool is_mbox(int fd, const char *name)
{
	char first[5];

	if (slice_ends(slice_str(name), SLICE(".mbox")))
		return true;
	return pread(fd, first, sizeof(first), 0) == (ssize_t)sizeof(first) && memcmp(first, "From ", sizeof(first)) == 0;
}

static int import_tree(struct import *im, int dir, struct slice above, unsigned depth)
{
	int fd = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int code = CLI_OK;

	if (d == NULL)
		return transfer_errno(im->u, errno, "read a directory");
	rewinddir(d);
	while (code == CLI_OK && (e = readdir(d)) != NULL) {
		AUTO_BUF struct buf name = BUF_INIT(65536);
		struct stat st;

		if (e->d_name[0] == '.' || fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
			continue;
		AUTO_FD int file = openat(dir, e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		buf_add(&name, above);
		folder_of_file(&name, e->d_name);
		if (file < 0) {
			code = transfer_errno(im->u, errno, "open '%s'", e->d_name);
		} else if (S_ISREG(st.st_mode)) {
			if (is_mbox(file, e->d_name))
				code = import_folder(im, buf_slice(&name), file, true);
		} else if (depth == TREE_DEPTH_MAX) {
			transfer_problem(im->u, "'%s' lies deeper than %u directories and was left out", e->d_name, TREE_DEPTH_MAX);
		} else {
			buf_addc(&name, '/');
			code = import_tree(im, file, buf_slice(&name), depth + 1);
		}
	}
	closedir(d);
	return code;
}

static int import_path(struct import *im, const char *path)
{
	struct transfer_user *u = im->u;
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const char *format = cli_value(mailstore_cli(u->t->ms), "format");
	struct stat st;
	bool maildir;

	if (fd < 0 && errno == ENOENT && u->t->path != path && strcmp(u->t->path, path) != 0) {
		transfer_note(u, "there is no '%s': nothing to import", path);
		return CLI_OK;
	}
	if (fd < 0 || fstat(fd, &st) != 0)
		return cli_fail(mailstore_cli(u->t->ms), CLI_NOT_FOUND, "open '%s': %s", path, strerrordesc_np(errno));
	maildir = S_ISDIR(st.st_mode) && faccessat(fd, "cur", F_OK, 0) == 0;
	if (format != NULL && maildir == u->t->mbox)
		return cli_fail(mailstore_cli(u->t->ms), CLI_USAGE, "'%s' is %s", path,
				maildir ? "a Maildir, not mbox" : "no Maildir: it has no directory 'cur'");
	if (maildir)
		return import_maildir(im, fd);
	if (S_ISDIR(st.st_mode))
		return import_tree(im, fd, (struct slice){ 0 }, 0);
	if (u->t->folder == NULL && !is_mbox(fd, path) && st.st_size > 0)
		return cli_fail(mailstore_cli(u->t->ms), CLI_USAGE, "'%s' is no mbox (its first line is not \"From sender date\") and no Maildir",
				path);
	return import_folder(im, u->t->folder != NULL ? slice_str(u->t->folder) : SLICE("INBOX"), fd, true);
}

/* ---- comparing ---- */

static int by_expected(const void *a, const void *b)
{
	return memcmp(((const struct expected *)a)->id, ((const struct expected *)b)->id, EMAIL_ID_BYTES);
}

/* A message of the account: if it is one of ours, read it back. */
static int compare_one(void *arg, struct mailbox *m, const struct message_info *info)
{
	struct import *im = arg;
	struct expected key, *e;
	uint8_t digest[DIGEST_BYTES];

	memcpy(key.id, info->email_id, EMAIL_ID_BYTES);
	e = im->expected_count == 0 ? NULL :
				      bsearch(&key, im->expected, im->expected_count, sizeof(key), by_expected);
	if (e == NULL || e->found)
		return CLI_OK;
	enum mailbox_result r = transfer_read(im->u, m, info, NULL, NULL, digest);
	if (r == MAILBOX_EXPUNGED || r == MAILBOX_DAMAGED)
		return CLI_OK;		/* it will be missing */
	if (r != MAILBOX_OK)
		return transfer_fail(im->u, "read back a message", r);
	e->found = true;
	if (memcmp(digest, e->digest, DIGEST_BYTES) != 0)
		transfer_problem(im->u, "folder %.*s, UID %u: what is stored is not what the source has", SLICE_FMT(e->folder),
				 info->uid);
	mailstore_progress(im->u->t->ms, "comparing: %zu of %zu messages", im->u->target.count, im->expected_count);
	return digest_list_add(&im->u->target, e->folder, digest) ? CLI_OK : no_memory(im->u);
}

static int compare(struct import *im)
{
	uint64_t missing = 0;

	if (im->expected_count > 0)
		qsort(im->expected, im->expected_count, sizeof(*im->expected), by_expected);
	int code = each_message(im->u, compare_one, im);
	for (size_t i = 0; i < im->expected_count; i++)
		missing += !im->expected[i].found;
	if (code == CLI_OK && missing > 0)
		transfer_problem(im->u, "%llu messages of the source are not in the account", (unsigned long long)missing);
	return code;
}

static int import_user(struct transfer_user *u, const char *path)
{
	struct import im = { .u = u };

	arena_init(&im.arena, ARENA_BYTES);
	int code = each_message(u, note_id, &im);
	if (code == CLI_OK && im.have_count > 0)
		qsort(im.have, im.have_count, EMAIL_ID_BYTES, by_id);
	if (code == CLI_OK)
		code = import_path(&im, path);
	if (code == CLI_OK && u->t->folder != NULL && im.sources == 0)
		code = cli_fail(mailstore_cli(u->t->ms), CLI_NOT_FOUND, "'%s' has no folder '%s'", path, u->t->folder);
	if (code == CLI_OK)
		code = compare(&im);
	free(im.have);
	free(im.expected);
	arena_done(&im.arena);
	return code;
}

static int mail_import(struct cli *cli)
{
	return transfer_main(cli, import_user);
}

static const struct cli_arg args[] = {
	{ "USER@DOMAIN", "whose mail it becomes; none with --all or --domain", .optional = true },
	{ "PATH", "a Maildir, an mbox file, or a directory of mbox files", .optional = true, .complete = CLI_FILE },
	{ 0 }
};

const struct cli_command cmd_mail_import = {
	.words = "mail import", .summary = "take mail from Maildir directories or mbox files",
	.description = "Works beside a node that runs, and without one. Reads Maildir++ as Dovecot and others write it (folders, "
		       "flags, keywords, times, UIDs, subscriptions) and mbox files (Status, X-Status, X-Keywords, X-UID). An mbox "
		       "file becomes INBOX, or what --folder names. Users must exist (prickle user add); quotas do not "
		       "hold for imports. UIDs are kept in folders that never had a message here. Line ends become CRLF.\n\n"
		       "Messages that an earlier run has brought are not brought again: after an interruption run it again, and "
		       "once more when the old system has taken its last mail. (What was deleted here since comes again.) At the "
		       "end each message is read back, and the hashes of both sides are compared: ends with 1 when they "
		       "differ or a message could not be read.",
	.args = args, .options = (const struct cli_option[]){ TRANSFER_OPTIONS, { 0 } }, .json = true,
	.run = mail_import,
	.examples = (const char *const[]){ "prickle mail import ann@example.org /home/ann/Maildir",
					   "prickle mail import ann@example.org --folder Archive /home/ann/old.mbox",
					   "prickle mail import --all /srv/backup", NULL },
};
