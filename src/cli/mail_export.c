/*
 * `prickle mail export`: mail out of the store into Maildir or mbox.
 *
 * To go on after an interruption nothing has to be undone. In a Maildir the files' names tell what is
 * there: they hold UIDVALIDITY and UID, and a file appears under its name when it is whole. Beside mbox
 * files a journal, ".prickle-export", says up to which length and UID each is good; what
 * stands behind was being written when the end came, and is cut off.
 *
 * Each message is read back from its file and its hash compared.
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

#define MARK_MAILDIR "prickle-export"
#define MARK_MBOX    ".prickle-export"
#define WRITE_BYTES  (1u << 20)
#define JOURNAL_EVERY (4u << 20)
#define NAMES_ARENA  (1u << 30)

/* One folder on its way out. */
struct out_folder {
	struct transfer_user *u;
	struct mailbox *m;
	struct folder_info info;
	const struct slice *keywords;		/* of the account */
	size_t keyword_count;
	uint64_t used;				/* keywords that its messages have */
};

/* ---- files ---- */

static int write_all(int fd, struct slice bytes)
{
	while (bytes.len > 0) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes = slice_from(bytes, (size_t)n);
	}
	return 0;
}

static int make_dir(int at, const char *name)
{
	return mkdirat(at, name, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

/* A small file, whole or not at all. */
static int write_file(int at, const char *name, struct slice text)
{
	AUTO_BUF struct buf temporary = BUF_INIT(8192);

	buf_printf(&temporary, "%s.new", name);
	AUTO_FD int fd = openat(at, buf_cstr(&temporary), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int err = fd < 0 ? -errno : write_all(fd, text);
	if (err == 0 && fdatasync(fd) != 0)
		err = -errno;
	if (err == 0 && renameat(at, buf_cstr(&temporary), at, name) != 0)
		err = -errno;
	return err;
}

static int read_file(int at, const char *name, size_t max, struct buf *out)
{
	AUTO_FD int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	while (n > 0 && out->len < max) {
		uint8_t *to = buf_room(out, 65536);

		if (to == NULL)
			return -ENOMEM;
		n = read(fd, to, 65536);
		if (n < 0)
			return -errno;
		buf_commit(out, (size_t)n);
	}
	return out->len > max ? -EFBIG : 0;
}

/* Nothing in it; what cannot be read is no reason to write there. */
static bool is_empty(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e = NULL;

	/* A mark that was not finished is no content. */
	while (d != NULL && (e = readdir(d)) != NULL &&
	       (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, "lost+found") == 0 ||
		strcmp(e->d_name, MARK_MAILDIR ".new") == 0 || strcmp(e->d_name, MARK_MBOX ".new") == 0))
		;
	if (d != NULL)
		closedir(d);
	return d != NULL && e == NULL;
}

/* The directory, made when missing, and marked as this account's: two users' mail must not meet in one. */
static int open_target(struct transfer_user *u, const char *path, int *out)
{
	const char *mark = u->t->mbox ? MARK_MBOX : MARK_MAILDIR;
	AUTO_BUF struct buf want = BUF_INIT(1024), have = BUF_INIT(2u << 20);
	struct slice line, rest;
	char *parent = strdup(path), *slash = parent == NULL ? NULL : strrchr(parent, '/');

	if (slash != NULL && slash != parent) {
		*slash = '\0';		/* PATH of --all: its own directory may be new as well */
		(void)!make_dir(AT_FDCWD, parent);
	}
	free(parent);
	int err = make_dir(AT_FDCWD, path);
	AUTO_FD int fd = err != 0 ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return transfer_errno(u, err != 0 ? err : errno, "open the directory '%s'", path);
	if (faccessat(fd, u->t->mbox ? MARK_MAILDIR : MARK_MBOX, F_OK, 0) == 0)
		return cli_fail(mailstore_cli(u->t->ms), CLI_REFUSED,
				"'%s' holds an export in the other format; choose another directory", path);
	buf_printf(&want, "prickle export 1 %s %s %s", u->t->mbox ? "mbox" : "maildir", u->user->account, u->user->address);
	err = read_file(fd, mark, 1u << 20, &have);
	if (err == -ENOENT && !is_empty(fd))
		return cli_fail(mailstore_cli(u->t->ms), CLI_REFUSED,
				"'%s' is not empty and holds no export of ours; choose another directory", path);
	if (err == -ENOENT) {
		buf_addc(&want, '\n');
		err = write_file(fd, mark, buf_slice(&want));
		buf_truncate(&want, want.len - 1);
	}
	if (err != 0)
		return transfer_errno(u, err, "mark the directory '%s' (%s)", path, mark);
	if (have.len > 0 && (!slice_cut(buf_slice(&have), '\n', &line, &rest) || !slice_eq(line, buf_slice(&want))))
		return cli_fail(mailstore_cli(u->t->ms), CLI_REFUSED,
				"'%s' holds an export of another user or in another format (see %s there); choose another directory",
				path, mark);
	*out = TAKE_FD(fd);
	return CLI_OK;
}

/* ---- keywords ---- */

static bool is_forwarded(struct slice keyword)
{
	return slice_eq_nocase(keyword, SLICE("$Forwarded"));
}

static unsigned format_flags(const struct out_folder *f, const struct message_info *m)
{
	unsigned flags = m->flags;

	for (size_t k = 0; k < f->keyword_count; k++)
		if ((m->keywords >> k & 1) != 0 && is_forwarded(f->keywords[k]))
			flags |= FORMAT_FORWARDED;
	return flags;
}

/* The folder's letters, in the order of the account's keywords, so that they stay from run to run. */
static uint32_t letters_of(const struct out_folder *f, uint64_t keywords, unsigned *left_out)
{
	uint32_t bits = 0;
	unsigned letter = 0;

	for (size_t k = 0; k < f->keyword_count; k++) {
		if ((f->used >> k & 1) == 0 || is_forwarded(f->keywords[k]))
			continue;
		if ((keywords >> k & 1) != 0 && letter < MAILDIR_KEYWORDS_MAX)
			bits |= UINT32_C(1) << letter;
		else if ((keywords >> k & 1) != 0)
			++*left_out;
		letter++;
	}
	return bits;
}

static void find_used(struct out_folder *f)
{
	struct message_info m;

	for (uint32_t seq = 1; seq <= mailbox_count(f->m); seq++)
		if (mailbox_message(f->m, mailbox_uid(f->m, seq), &m))
			f->used |= m.keywords;
}

/* ---- what came over ---- */

/* The result of one message: its hashes go to the lists, or it is a problem. */
static int settle(struct out_folder *f, const struct message_info *m, bool copied, const uint8_t source[DIGEST_BYTES],
		  const uint8_t target[DIGEST_BYTES])
{
	struct transfer_user *u = f->u;

	u->copied += copied;
	u->present += !copied;
	u->messages++;
	u->bytes += m->size;
	if (!digest_list_add(&u->source, f->info.name, source) || !digest_list_add(&u->target, f->info.name, target))
		return cli_fail(mailstore_cli(u->t->ms), CLI_FAILED, "out of memory");
	if (memcmp(source, target, DIGEST_BYTES) != 0)
		transfer_problem(u, "folder %.*s, UID %u: the file does not hold what was stored", SLICE_FMT(f->info.name), m->uid);
	transfer_progress(u, "exporting");
	return CLI_OK;
}

/* A message that cannot be read counts in the source alone. */
static int settle_unreadable(struct out_folder *f, const struct message_info *m)
{
	uint8_t nothing[DIGEST_BYTES] = { 0 };

	memcpy(nothing, &m->uid, sizeof(m->uid));
	transfer_problem(f->u, "folder %.*s, UID %u: the stored message is damaged and was left out", SLICE_FMT(f->info.name),
			 m->uid);
	if (!digest_list_add(&f->u->source, f->info.name, nothing))
		return cli_fail(mailstore_cli(f->u->t->ms), CLI_FAILED, "out of memory");
	return CLI_OK;
}

/* ---- Maildir ---- */

struct have {
	struct slice unique, file;
};

struct maildir_out {
	struct out_folder f;
	int cur, tmp;
	struct arena arena;
	struct have *have;		/* files in cur, sorted by their unique parts */
	size_t have_count;
	struct buf uidlist;
	unsigned left_out;
};

static int by_unique(const void *a, const void *b)
{
	return slice_cmp(((const struct have *)a)->unique, ((const struct have *)b)->unique);
}

static int scan_cur(struct maildir_out *o)
{
	int fd = fcntl(o->cur, F_DUPFD_CLOEXEC, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t cap = 0;
	struct dirent *e;

	if (d == NULL)
		return -errno;
	rewinddir(d);
	while ((e = readdir(d)) != NULL) {
		struct maildir_name n;
		struct slice file = arena_dup(&o->arena, slice_str(e->d_name));

		if (o->have_count == cap) {
			cap = cap == 0 ? 256 : cap * 2;
			void *p = reallocarray(o->have, cap, sizeof(*o->have));
			if (p == NULL)
				break;
			o->have = p;
		}
		if (maildir_name_parse(file, &n))
			o->have[o->have_count++] = (struct have){ n.unique, file };
	}
	bool whole = e == NULL && o->arena.err == 0;
	closedir(d);
	if (o->have_count > 0)
		qsort(o->have, o->have_count, sizeof(*o->have), by_unique);
	return whole ? 0 : -ENOMEM;
}

static void unique_of(const struct out_folder *f, const struct message_info *m, struct buf *out)
{
	buf_printf(out, "%lld.U%uV%u.prickle", (long long)(m->internaldate_s < 0 ? 0 : m->internaldate_s), m->uid,
		   f->info.uidvalidity);
}

struct file_writer {
	int fd, err;
	struct line_ends ends;
	struct buf bytes;
	uint64_t written;
};

static bool flush_file(struct file_writer *w)
{
	if (w->bytes.err != 0)
		w->err = w->bytes.err;
	if (w->err == 0)
		w->err = write_all(w->fd, buf_slice(&w->bytes));
	w->written += w->bytes.len;
	buf_reset(&w->bytes);
	return w->err == 0;
}

static bool to_file(void *arg, struct slice bytes)
{
	struct file_writer *w = arg;

	line_ends_to_lf(&w->ends, bytes, &w->bytes);
	return flush_file(w);
}

static int hash_file(struct transfer_user *u, int at, const char *name, uint8_t digest[DIGEST_BYTES])
{
	AUTO_FD int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n = 1;

	if (fd < 0 || hasher_begin(&u->hash) != 0)
		return -errno;
	while (n > 0) {
		buf_reset(&u->piece);
		uint8_t *to = buf_room(&u->piece, TRANSFER_PIECE);
		if (to == NULL)
			return -ENOMEM;
		n = read(fd, to, TRANSFER_PIECE);
		if (n < 0)
			return -errno;
		hasher_add(&u->hash, slice_of(to, (size_t)n));
	}
	hasher_end(&u->hash, digest);
	return 0;
}

/* Write the message to tmp and give it its name in cur, which goes to *name. */
static enum mailbox_result write_message(struct maildir_out *o, const struct message_info *m, struct buf *name,
					 uint8_t digest[DIGEST_BYTES], int *err)
{
	struct transfer_user *u = o->f.u;
	AUTO_BUF struct buf unique = BUF_INIT(300);
	struct file_writer w = { .fd = -1 };

	unique_of(&o->f, m, &unique);
	(void)!unlinkat(o->tmp, buf_cstr(&unique), 0);		/* of an interrupted run */
	AUTO_FD int fd = openat(o->tmp, buf_cstr(&unique), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		*err = errno;
		return MAILBOX_FULL;
	}
	w.fd = fd;
	buf_init(&w.bytes, 2 * TRANSFER_PIECE);
	enum mailbox_result r = transfer_read(u, o->f.m, m, to_file, &w, digest);
	if (r == MAILBOX_OK) {
		line_ends_to_lf_end(&w.ends, &w.bytes);
		(void)flush_file(&w);
	}
	const struct timespec times[2] = { { .tv_sec = m->internaldate_s }, { .tv_sec = m->internaldate_s } };
	if (w.err == 0 && futimens(fd, times) != 0)
		w.err = -errno;
	buf_reset(name);
	buf_add(name, buf_slice(&unique));
	buf_printf(name, ",S=%llu,W=%u", (unsigned long long)w.written, m->size);
	maildir_flags_write(name, format_flags(&o->f, m), letters_of(&o->f, m->keywords, &o->left_out));
	if (r == MAILBOX_OK && w.err == 0 && renameat(o->tmp, buf_cstr(&unique), o->cur, buf_cstr(name)) != 0)
		w.err = -errno;
	if (r != MAILBOX_OK || w.err != 0)
		(void)!unlinkat(o->tmp, buf_cstr(&unique), 0);
	buf_done(&w.bytes);
	*err = w.err;
	return w.err != 0 ? MAILBOX_FULL : r;
}

/* The file that an earlier run made, under the name that its flags give it now. False: there is none that is good. */
static bool keep_file(struct maildir_out *o, const struct message_info *m, struct buf *name, const uint8_t source[DIGEST_BYTES],
		      uint8_t target[DIGEST_BYTES])
{
	AUTO_BUF struct buf unique = BUF_INIT(300), old = BUF_INIT(300);
	struct slice base, info;
	unsigned ignored = 0;

	unique_of(&o->f, m, &unique);
	const struct have key = { .unique = buf_slice(&unique) };
	const struct have *h = o->have_count == 0 ? NULL :
						    bsearch(&key, o->have, o->have_count, sizeof(*o->have), by_unique);
	if (h == NULL)
		return false;
	buf_add(&old, h->file);
	if (hash_file(o->f.u, o->cur, buf_cstr(&old), target) != 0 || memcmp(source, target, DIGEST_BYTES) != 0) {
		(void)!unlinkat(o->cur, buf_cstr(&old), 0);
		return false;
	}
	if (!slice_cut(h->file, ':', &base, &info))
		base = h->file;
	buf_reset(name);
	buf_add(name, base);
	maildir_flags_write(name, format_flags(&o->f, m), letters_of(&o->f, m->keywords, &ignored));
	return slice_eq(buf_slice(name), h->file) || renameat(o->cur, buf_cstr(&old), o->cur, buf_cstr(name)) == 0;
}

static int maildir_message(struct maildir_out *o, const struct message_info *m)
{
	struct transfer_user *u = o->f.u;
	AUTO_BUF struct buf name = BUF_INIT(400);
	uint8_t source[DIGEST_BYTES], target[DIGEST_BYTES] = { 0 };
	enum mailbox_result r = MAILBOX_OK;
	bool copied = false;
	int err = 0;

	if (o->have_count > 0)
		r = transfer_read(u, o->f.m, m, NULL, NULL, source);
	if (r == MAILBOX_OK && (o->have_count == 0 || !keep_file(o, m, &name, source, target))) {
		copied = true;
		r = write_message(o, m, &name, source, &err);
		if (err != 0)
			return transfer_errno(u, err, "write the message with UID %u of folder %.*s", m->uid,
					      SLICE_FMT(o->f.info.name));
		if (r == MAILBOX_OK)
			err = hash_file(u, o->cur, buf_cstr(&name), target);
	}
	if (r == MAILBOX_EXPUNGED)
		return CLI_OK;
	if (r == MAILBOX_DAMAGED)
		return settle_unreadable(&o->f, m);
	if (r != MAILBOX_OK)
		return transfer_fail(u, "read a message", r);
	if (err != 0)
		return transfer_errno(u, err, "read back '%s'", buf_cstr(&name));
	struct slice base, flags;
	if (!slice_cut(buf_slice(&name), ':', &base, &flags))
		base = buf_slice(&name);
	buf_printf(&o->uidlist, "%u :%.*s\n", m->uid, SLICE_FMT(base));
	return settle(&o->f, m, copied, source, target);
}

static int maildir_small_files(struct maildir_out *o, int dir)
{
	AUTO_BUF struct buf keywords = BUF_INIT(65536), uidlist = BUF_INIT(1u << 30);
	unsigned letter = 0;
	int err;

	for (size_t k = 0; k < o->f.keyword_count; k++)
		if ((o->f.used >> k & 1) != 0 && !is_forwarded(o->f.keywords[k]) && letter < MAILDIR_KEYWORDS_MAX)
			buf_printf(&keywords, "%u %.*s\n", letter++, SLICE_FMT(o->f.keywords[k]));
	buf_printf(&uidlist, "3 V%u N%u\n", o->f.info.uidvalidity, o->f.info.uidnext);
	buf_add(&uidlist, buf_slice(&o->uidlist));
	if (keywords.err != 0 || uidlist.err != 0 || o->uidlist.err != 0)
		return -ENOMEM;
	err = letter == 0 ? 0 : write_file(dir, "dovecot-keywords", buf_slice(&keywords));
	if (err == 0)
		err = write_file(dir, "dovecot-uidlist", buf_slice(&uidlist));
	/* All files of this folder at once: a sync for each would take longer than the rest. */
	if (err == 0 && syncfs(dir) != 0)
		err = -errno;
	return err;
}

static int maildir_messages(struct maildir_out *o)
{
	struct message_info m;
	int code = CLI_OK;

	for (uint32_t seq = 1; seq <= mailbox_count(o->f.m) && code == CLI_OK; seq++)
		if (mailbox_message(o->f.m, mailbox_uid(o->f.m, seq), &m))
			code = maildir_message(o, &m);
	return code;
}

static int maildir_folder(struct out_folder *f, int root)
{
	AUTO_BUF struct buf name = BUF_INIT(1024);
	struct maildir_out o = { .f = *f };
	int err = 0;

	if (!maildir_folder_write(&name, f->info.name)) {
		transfer_problem(f->u, "folder %.*s: its name is too long for a directory", SLICE_FMT(f->info.name));
		return CLI_OK;
	}
	if (name.len == 0)
		buf_addc(&name, '.');
	else
		err = make_dir(root, buf_cstr(&name));
	AUTO_FD int dir = err != 0 ? -1 : openat(root, buf_cstr(&name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || make_dir(dir, "cur") != 0 || make_dir(dir, "new") != 0 || make_dir(dir, "tmp") != 0)
		return transfer_errno(f->u, err != 0 ? err : errno, "make the directory '%s'", buf_cstr(&name));
	AUTO_FD int cur = openat(dir, "cur", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FD int tmp = openat(dir, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	o.cur = cur;
	o.tmp = tmp;
	arena_init(&o.arena, NAMES_ARENA);
	buf_init(&o.uidlist, 1u << 30);
	err = cur < 0 || tmp < 0 ? -errno : scan_cur(&o);
	if (err == 0 && name.len > 1)
		err = write_file(dir, "maildirfolder", (struct slice){ 0 });
	int code = err == 0 ? maildir_messages(&o) : CLI_OK;
	if (err == 0 && code == CLI_OK)
		err = maildir_small_files(&o, dir);
	if (o.left_out > 0)
		transfer_note(f->u, "folder %.*s has more than %u keywords; %u marks were left out", SLICE_FMT(f->info.name),
			      MAILDIR_KEYWORDS_MAX, o.left_out);
	free(o.have);
	buf_done(&o.uidlist);
	arena_done(&o.arena);
	return err != 0 ? transfer_errno(f->u, err, "write the folder '%s'", buf_cstr(&name)) : code;
}

/* ---- mbox ---- */

struct journal_entry {
	uint32_t uidvalidity, uid;
	uint64_t length;
};

struct mbox_out {
	struct out_folder f;
	const char *file;
	int fd, journal;
	struct journal_entry good;
	uint64_t length, journalled;
	struct mbox_writer w;
	struct buf bytes;
	int err;
	uint32_t *uids;			/* of the source, with their hashes */
	uint8_t (*digests)[DIGEST_BYTES];
	size_t count;
};

/* "Work/2024" -> "Work/2024.mbox"; a name never leaves the directory: "." in front and "%" are escaped. */
static void mbox_path(struct buf *out, struct slice folder)
{
	bool start = true;

	for (size_t i = 0; i < folder.len; i++) {
		uint8_t c = folder.ptr[i];

		if (c == '%' || (c == '.' && start) || c < 0x20)
			buf_printf(out, "%%%02X", c);
		else
			buf_addc(out, c);
		start = c == '/';
	}
	buf_adds(out, ".mbox");
}

/* The last line of the journal that is whole and about this file. */
static struct journal_entry journal_find(struct slice journal, const char *file)
{
	struct journal_entry found = { 0 };
	struct slice line, rest;

	while (slice_cut(journal, '\n', &line, &rest)) {
		struct slice length, validity, uid, name;
		struct journal_entry e;

		journal = rest;
		if (slice_cut(line, ' ', &length, &rest) && slice_cut(rest, ' ', &validity, &rest) &&
		    slice_cut(rest, ' ', &uid, &name) && slice_u64(length, UINT64_MAX, &e.length) &&
		    slice_u32(validity, &e.uidvalidity) && slice_u32(uid, &e.uid) && slice_eq(name, slice_str(file)))
			found = e;
	}
	return found;
}

/* Up to here the file is good; first the file, then the word of it. */
static int journal_write(struct mbox_out *o, uint32_t uid)
{
	AUTO_BUF struct buf line = BUF_INIT(8192);

	buf_printf(&line, "%llu %u %u %s\n", (unsigned long long)o->length, o->f.info.uidvalidity, uid, o->file);
	o->journalled = o->length;
	if (fdatasync(o->fd) != 0)
		return -errno;
	return write_all(o->journal, buf_slice(&line));
}

static bool mbox_flush(struct mbox_out *o)
{
	if (o->bytes.err != 0)
		o->err = o->bytes.err;
	if (o->err == 0)
		o->err = write_all(o->fd, buf_slice(&o->bytes));
	o->length += o->bytes.len;
	buf_reset(&o->bytes);
	return o->err == 0;
}

static bool to_mbox(void *arg, struct slice bytes)
{
	struct mbox_out *o = arg;

	mbox_write(&o->w, bytes, &o->bytes);
	return o->bytes.len < WRITE_BYTES || mbox_flush(o);
}

static enum mailbox_result mbox_message(struct mbox_out *o, const struct message_info *m)
{
	AUTO_BUF struct buf keywords = BUF_INIT(KEYWORDS_MAX * (KEYWORD_BYTES_MAX + 1));
	struct mbox_meta meta = { .time_s = m->internaldate_s, .flags = m->flags, .uid = m->uid };
	uint64_t before = o->length;

	for (size_t k = 0; k < o->f.keyword_count; k++) {
		if ((m->keywords >> k & 1) == 0)
			continue;
		if (keywords.len > 0)
			buf_addc(&keywords, ' ');
		buf_add(&keywords, o->f.keywords[k]);
	}
	meta.keywords = buf_slice(&keywords);
	if (o->length == 0) {
		meta.uidvalidity = o->f.info.uidvalidity;
		meta.uidnext = o->f.info.uidnext;
	}
	mbox_write_begin(&o->w, &meta, &o->bytes);
	enum mailbox_result r = transfer_read(o->f.u, o->f.m, m, to_mbox, o, o->digests[o->count]);
	if (r == MAILBOX_OK) {
		mbox_write_end(&o->w, &o->bytes);
		(void)mbox_flush(o);
	} else {
		/* Nothing of it stays. */
		buf_reset(&o->bytes);
		if (ftruncate(o->fd, (off_t)before) != 0 || lseek(o->fd, (off_t)before, SEEK_SET) < 0)
			o->err = -errno;
		o->length = before;
	}
	return r;
}

static int mbox_messages(struct mbox_out *o)
{
	struct transfer_user *u = o->f.u;
	struct message_info m;
	uint32_t last = o->good.uid;

	for (uint32_t seq = 1; seq <= mailbox_count(o->f.m); seq++) {
		enum mailbox_result r;
		bool copied;

		if (!mailbox_message(o->f.m, mailbox_uid(o->f.m, seq), &m))
			continue;
		copied = m.uid > o->good.uid;
		r = copied ? mbox_message(o, &m) : transfer_read(u, o->f.m, &m, NULL, NULL, o->digests[o->count]);
		if (o->err != 0)
			return transfer_errno(u, o->err, "write '%s'", o->file);
		if (r == MAILBOX_EXPUNGED)
			continue;
		if (r == MAILBOX_DAMAGED && settle_unreadable(&o->f, &m) != CLI_OK)
			return CLI_FAILED;
		if (r == MAILBOX_DAMAGED)
			continue;
		if (r != MAILBOX_OK)
			return transfer_fail(u, "read a message", r);
		o->uids[o->count++] = m.uid;
		u->copied += copied;
		u->present += !copied;
		u->messages++;
		u->bytes += m.size;
		last = MAX(last, m.uid);
		transfer_progress(u, "exporting");
		if (o->length - o->journalled >= JOURNAL_EVERY)
			o->err = journal_write(o, m.uid);
	}
	if (o->err == 0 && o->length > 0)
		o->err = journal_write(o, last);
	return o->err != 0 ? transfer_errno(u, o->err, "write '%s'", o->file) : CLI_OK;
}

/* Read the whole file back; *at is the next message of the source that it should have. */
static int mbox_compare(struct mbox_out *o)
{
	struct transfer_user *u = o->f.u;
	AUTO_FREE struct mbox_reader *r = malloc(sizeof(*r));
	AUTO_BUF struct buf in = BUF_INIT(TRANSFER_PIECE);
	struct slice rest = { 0 }, bytes;
	uint8_t digest[DIGEST_BYTES];
	size_t next = 0;
	bool last = false;

	if (r == NULL || lseek(o->fd, 0, SEEK_SET) < 0)
		return transfer_errno(u, errno, "read '%s' back", o->file);
	mbox_reader_init(r);
	for (;;) {
		switch (mbox_next(r, &rest, last, &bytes)) {
		case MBOX_MORE: {
			buf_reset(&in);
			uint8_t *to = buf_room(&in, TRANSFER_PIECE);
			ssize_t n = to == NULL ? -1 : read(o->fd, to, TRANSFER_PIECE);
			if (n < 0)
				return transfer_errno(u, errno, "read '%s' back", o->file);
			rest = slice_of(to, (size_t)n);
			last = n == 0;
			break;
		}
		case MBOX_BEGIN:
			if (hasher_begin(&u->hash) != 0)
				return cli_fail(mailstore_cli(u->t->ms), CLI_FAILED, "out of memory");
			break;
		case MBOX_BYTES:
			hasher_add(&u->hash, bytes);
			break;
		case MBOX_END:
			hasher_end(&u->hash, digest);
			while (next < o->count && o->uids[next] < r->uid)
				next++;
			/* Expunged since an earlier run: it stays in the file, and is not compared. */
			if (next == o->count || o->uids[next] != r->uid)
				break;
			if (!digest_list_add(&u->target, o->f.info.name, digest))
				return cli_fail(mailstore_cli(u->t->ms), CLI_FAILED, "out of memory");
			if (memcmp(digest, o->digests[next], DIGEST_BYTES) != 0)
				transfer_problem(u, "folder %.*s, UID %u: the file does not hold what was stored",
						 SLICE_FMT(o->f.info.name), r->uid);
			next++;
			break;
		case MBOX_DONE:
			return CLI_OK;
		}
	}
}

/* Directories above the file. */
static int make_parents(int root, const char *file)
{
	for (const char *p = strchr(file, '/'); p != NULL; p = strchr(p + 1, '/')) {
		AUTO_BUF struct buf dir = BUF_INIT(8192);

		buf_add(&dir, slice_of(file, (size_t)(p - file)));
		int err = make_dir(root, buf_cstr(&dir));
		if (err != 0)
			return err;
	}
	return 0;
}

/* The file, cut to what the journal vouches for. */
static int mbox_open_file(struct mbox_out *o, int root)
{
	AUTO_BUF struct buf journal = BUF_INIT(64u << 20);
	int err = make_parents(root, o->file);

	if (err == 0)
		err = read_file(root, MARK_MBOX, 64u << 20, &journal);
	if (err != 0)
		return err;
	o->good = journal_find(buf_slice(&journal), o->file);
	/* Another folder of this name: the old one's messages are not its. */
	if (o->good.uidvalidity != o->f.info.uidvalidity)
		o->good = (struct journal_entry){ 0 };
	o->fd = openat(root, o->file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (o->fd < 0)
		return -errno;
	struct stat st;
	if (fstat(o->fd, &st) != 0)
		return -errno;
	if ((uint64_t)st.st_size < o->good.length)
		o->good = (struct journal_entry){ 0 };
	if (ftruncate(o->fd, (off_t)o->good.length) != 0 || lseek(o->fd, 0, SEEK_END) < 0)
		return -errno;
	o->length = o->journalled = o->good.length;
	o->journal = openat(root, MARK_MBOX, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	return o->journal < 0 ? -errno : 0;
}

static int mbox_folder(struct out_folder *f, int root)
{
	struct transfer_user *u = f->u;
	AUTO_BUF struct buf file = BUF_INIT(8192);
	struct mbox_out o = { .f = *f, .fd = -1, .journal = -1 };
	size_t most = (size_t)mailbox_count(f->m) + 1;
	int code = CLI_OK;

	mbox_path(&file, f->info.name);
	o.file = buf_cstr(&file);
	buf_init(&o.bytes, 8 * WRITE_BYTES);
	o.uids = calloc(most, sizeof(*o.uids));
	o.digests = calloc(most, DIGEST_BYTES);
	int err = o.uids == NULL || o.digests == NULL ? -ENOMEM : mbox_open_file(&o, root);
	if (err != 0)
		code = transfer_errno(u, err, "open '%s'", o.file);
	if (code == CLI_OK)
		code = mbox_messages(&o);
	for (size_t i = 0; code == CLI_OK && i < o.count; i++)
		if (!digest_list_add(&u->source, f->info.name, o.digests[i]))
			code = cli_fail(mailstore_cli(u->t->ms), CLI_FAILED, "out of memory");
	if (code == CLI_OK)
		code = mbox_compare(&o);
	if (o.fd >= 0)
		close(o.fd);
	if (o.journal >= 0)
		close(o.journal);
	buf_done(&o.bytes);
	free(o.uids);
	free(o.digests);
	return code;
}

/* ---- all folders ---- */

static int export_folder(struct transfer_user *u, const struct folder_info *info, int root)
{
	struct out_folder f = { .u = u };
	enum mailbox_result r = mailbox_open(u->account, info->name, true, &f.m);

	if (r == MAILBOX_NO_FOLDER)
		return CLI_OK;		/* deleted meanwhile */
	if (r == MAILBOX_DAMAGED) {
		transfer_problem(u, "folder %.*s: its list of messages is damaged; try 'prickle mail rebuild'",
				 SLICE_FMT(info->name));
		return CLI_OK;
	}
	if (r != MAILBOX_OK)
		return transfer_fail(u, "open a folder", r);
	u->folders++;
	mailbox_status(f.m, &f.info);
	f.info.name = info->name;
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	const struct slice *keywords = account_keywords(u->account, &f.keyword_count);
	struct slice *copy = arena_array(&arena, f.keyword_count + 1, sizeof(*copy));
	for (size_t k = 0; copy != NULL && k < f.keyword_count; k++)
		copy[k] = arena_dup(&arena, keywords[k]);
	f.keywords = copy;
	find_used(&f);
	int code = copy == NULL ? cli_fail(mailstore_cli(u->t->ms), CLI_FAILED, "out of memory") :
		   u->t->mbox	? mbox_folder(&f, root) :
				  maildir_folder(&f, root);
	mailbox_close(f.m);
	return code;
}

/* In the root, one a line, levels parted by tabs. */
static int write_subscriptions(struct transfer_user *u, int root, const struct folder_info *folders, size_t count)
{
	AUTO_BUF struct buf text = BUF_INIT(16u << 20);

	buf_adds(&text, "V\t2\n\n");
	for (size_t i = 0; i < count; i++) {
		if (!folders[i].subscribed)
			continue;
		for (size_t k = 0; k < folders[i].name.len; k++)
			buf_addc(&text, folders[i].name.ptr[k] == '/' ? '\t' : folders[i].name.ptr[k]);
		buf_addc(&text, '\n');
	}
	int err = text.err != 0 ? text.err : write_file(root, "subscriptions", buf_slice(&text));
	return err == 0 ? CLI_OK : transfer_errno(u, err, "write the file 'subscriptions'");
}

static int export_user(struct transfer_user *u, const char *path)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	struct folder_info *folders;
	size_t count, done = 0;
	AUTO_FD int root = -1;
	enum mailbox_result r = account_refresh(u->account);

	if (r == MAILBOX_OK)
		r = account_folders(u->account, &arena, &folders, &count);
	if (r != MAILBOX_OK)
		return transfer_fail(u, "list the folders", r);
	int code = open_target(u, path, &root);
	for (size_t i = 0; i < count; i++)
		u->total += folders[i].messages;
	for (size_t i = 0; i < count && code == CLI_OK; i++) {
		if (folders[i].id == FOLDER_NONE || !transfer_wants(u->t, folders[i].name))
			continue;
		code = export_folder(u, &folders[i], root);
		done++;
	}
	if (code == CLI_OK && done == 0)
		return cli_fail(mailstore_cli(u->t->ms), CLI_NOT_FOUND, "%s has no folder '%s'", u->user->address,
				u->t->folder != NULL ? u->t->folder : "INBOX");
	if (code == CLI_OK && u->t->folder == NULL && !u->t->mbox)
		code = write_subscriptions(u, root, folders, count);
	return code;
}

static int mail_export(struct cli *cli)
{
	return transfer_main(cli, export_user);
}

static const struct cli_arg args[] = {
	{ "USER@DOMAIN", "whose mail; none with --all or --domain", .optional = true },
	{ "DIR", "where it goes", .optional = true, .complete = CLI_DIRECTORY },
	{ 0 }
};

const struct cli_command cmd_mail_export = {
	.words = "mail export", .summary = "write mail into Maildir directories or mbox files",
	.description = "Works beside a node that runs, and without one. Maildir is Maildir++ as Dovecot reads it: folders as "
		       "directories, flags and keywords in names, times, UIDs (dovecot-uidlist) and subscriptions. mbox is one "
		       "file a folder (mboxrd) with Status, X-Status, X-Keywords and X-UID. Line ends become LF.\n\n"
		       "Interrupted, it goes on where it was when run again; run again later, it adds what is new and brings "
		       "flags up to date (Maildir). Each message is read back, and the hashes of both sides are "
		       "compared: ends with 1 when they differ or a message could not be read.",
	.args = args, .options = (const struct cli_option[]){ TRANSFER_OPTIONS, { 0 } }, .json = true,
	.run = mail_export,
	.examples = (const char *const[]){ "prickle mail export ann@example.org /srv/backup/ann",
					   "prickle mail export --all --format mbox /srv/backup", NULL },
};
