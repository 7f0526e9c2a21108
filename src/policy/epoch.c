/* Epochs on disk. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "policy/disk.h"
#include "policy/store_private.h"

/* --- current -------------------------------------------------------------------------------- */

static bool epoch_number(struct slice text, uint64_t *out)
{
	return text.len != 0 && text.ptr[0] != '0' && slice_u64(text, INT64_MAX, out);
}

int store_current(const struct policy_store *s, uint64_t *epoch, struct errmsg *why)
{
	char target[64];
	ssize_t n = readlinkat(s->dir_fd, "current", target, sizeof(target));
	struct slice text = slice_of(target, n < 0 ? 0 : (size_t)n);

	if (n < 0 && errno == ENOENT) {
		*epoch = 0;
		return 0;
	}
	if (n < 0)
		return errmsg_set(why, -errno, "'%s/current'", s->directory);
	if (!slice_starts(text, SLICE("epochs/")) || !epoch_number(slice_from(text, 7), epoch))
		return errmsg_say(why, -EBADMSG, "'%s/current' names no epoch; 'prickle policy apply FILE' makes one", s->directory);
	return 0;
}

int store_set_current(const struct policy_store *s, uint64_t epoch, struct errmsg *why)
{
	char target[64];

	snprintf(target, sizeof(target), "epochs/%llu", (unsigned long long)epoch);
	unlinkat(s->dir_fd, "current.new", 0);
	if (epoch == 0 ? unlinkat(s->dir_fd, "current", 0) != 0 && errno != ENOENT :
			 symlinkat(target, s->dir_fd, "current.new") != 0 || renameat(s->dir_fd, "current.new", s->dir_fd, "current") != 0)
		return errmsg_set(why, -errno, "replace '%s/current'", s->directory);
	return disk_sync(s->dir_fd, ".", why);
}

static int take_larger(void *arg, const char *name)
{
	uint64_t *last = arg, n;

	if (epoch_number(slice_str(name), &n))
		*last = MAX(*last, n);
	return 0;
}

int store_last_epoch(const struct policy_store *s, uint64_t *epoch, struct errmsg *why)
{
	uint64_t last = 0;
	int err = disk_list(s->dir_fd, "epochs", take_larger, &last);

	if (err != 0 && err != -ENOENT)
		return errmsg_set(why, err, "'%s/epochs'", s->directory);
	*epoch = last;
	return 0;
}

/* --- manifests ------------------------------------------------------------------------------ */

/* One line: what would end it becomes a blank. */
static void add_line(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, "%s ", key);
	for (; *text != '\0'; text++)
		buf_addc(out, (uint8_t)*text < ' ' || *text == 0x7f ? ' ' : (uint8_t)*text);
	buf_adds(out, "\n");
}

static void manifest_write(struct buf *out, const struct manifest *m)
{
	buf_printf(out, "epoch %llu\nbefore %llu\ntime_us %lld\nsha256 ", (unsigned long long)m->epoch, (unsigned long long)m->before,
		   (long long)m->time_us);
	hex_encode(out, slice_of(m->sha256, sizeof(m->sha256)));
	buf_adds(out, "\n");
	add_line(out, "who", m->who);
	add_line(out, "note", m->note);
}

static bool manifest_read(struct manifest *m, struct slice text)
{
	bool sha256 = false, epoch = false, fine = true;
	struct slice line, key, value;
	uint64_t n;

	*m = (struct manifest){ 0 };
	while (text.len != 0 && fine) {
		(void)slice_cut(text, '\n', &line, &text);
		(void)slice_cut(line, ' ', &key, &value);
		if (slice_eq(key, SLICE("epoch"))) {
			epoch = fine = epoch_number(value, &m->epoch);
		} else if (slice_eq(key, SLICE("before"))) {
			fine = slice_u64(value, INT64_MAX, &m->before);
		} else if (slice_eq(key, SLICE("time_us"))) {
			fine = slice_u64(value, INT64_MAX, &n);
			m->time_us = fine ? (int64_t)n : 0;
		} else if (slice_eq(key, SLICE("sha256"))) {
			AUTO_BUF struct buf bytes = BUF_INIT(32);

			sha256 = fine = value.len == 64 && hex_decode(&bytes, value);
			if (fine)
				memcpy(m->sha256, bytes.ptr, 32);
		} else if (slice_eq(key, SLICE("who"))) {
			fine = slice_to_str(value, m->who, sizeof(m->who));
		} else if (slice_eq(key, SLICE("note"))) {
			fine = slice_to_str(value, m->note, sizeof(m->note));
		}
	}
	return fine && sha256 && epoch;
}

/* --- reading -------------------------------------------------------------------------------- */

static void epoch_path(uint64_t epoch, const char *file, char out[64])
{
	snprintf(out, 64, "epochs/%llu%s%s", (unsigned long long)epoch, *file == '\0' ? "" : "/", file);
}

static int read_manifest(const struct policy_store *s, uint64_t epoch, struct manifest *m, struct errmsg *why)
{
	AUTO_BUF struct buf file = BUF_INIT(POLICY_MANIFEST_BYTES_MAX);
	char path[64];
	int err;

	epoch_path(epoch, "manifest", path);
	err = disk_read(s->dir_fd, path, &file, why);
	if (err == -ENOENT)
		return errmsg_say(why, err, "there is no epoch %llu in '%s'; 'prickle policy epochs' lists them", (unsigned long long)epoch, s->directory);
	if (err != 0)
		return err;
	if (!manifest_read(m, buf_slice(&file)) || m->epoch != epoch)
		return errmsg_say(why, -EBADMSG, "the manifest of epoch %llu in '%s' is not sound; 'prickle policy apply FILE' puts a policy in its place",
				  (unsigned long long)epoch, s->directory);
	return 0;
}

static int read_signature(const struct policy_store *s, uint64_t epoch, struct signature *signature, struct errmsg *why)
{
	AUTO_BUF struct buf file = BUF_INIT(sizeof(*signature));
	struct errmsg reason = { 0 };
	char path[64];
	int err;

	*signature = (struct signature){ 0 };
	epoch_path(epoch, "signature", path);
	err = disk_read(s->dir_fd, path, &file, &reason);
	if (err == -ENOENT)
		return 0;
	if (err == 0 && file.len != sizeof(*signature))
		err = errmsg_say(&reason, -EBADMSG, "the signature of epoch %llu in '%s' is not sound", (unsigned long long)epoch, s->directory);
	if (err != 0) {
		if (why != NULL)
			*why = reason;
		return err;
	}
	memcpy(signature, file.ptr, sizeof(*signature));
	return 0;
}

/* The shipped policy as a bundle. */
static int shipped_text(struct arena *arena, struct slice *text)
{
	AUTO_BUF struct buf out = BUF_INIT(POLICY_BUNDLE_BYTES_MAX);
	struct bundle *b = ARENA_NEW(arena, struct bundle);

	if (b == NULL)
		return -ENOMEM;
	b->sources[0] = (struct bundle_source){ .name = SLICE("default"), .text = policy_default_text() };
	b->count = 1;
	bundle_write(&out, b);
	*text = arena_dup(arena, buf_slice(&out));
	return out.err != 0 ? out.err : arena->err;
}

int store_epoch_text(const struct policy_store *s, struct arena *arena, uint64_t epoch, struct slice *text, struct manifest *m,
		     struct signature *signature, struct errmsg *why)
{
	AUTO_BUF struct buf file = BUF_INIT(POLICY_BUNDLE_BYTES_MAX);
	struct signature signed_by;
	uint8_t sha256[32];
	char path[64];
	int err;

	if (epoch == 0) {
		*m = (struct manifest){ 0 };
		if (signature != NULL)
			*signature = (struct signature){ 0 };
		err = shipped_text(arena, text);
		return err != 0 ? errmsg_set(why, err, "the shipped policy") : 0;
	}
	err = read_manifest(s, epoch, m, why);
	if (err == 0)
		err = read_signature(s, epoch, &signed_by, why);
	epoch_path(epoch, "policy.text", path);
	if (err == 0)
		err = disk_read(s->dir_fd, path, &file, why);
	if (err != 0)
		return err;
	crypto_hash_sha256(sha256, file.ptr, file.len);
	if (memcmp(sha256, m->sha256, 32) != 0 ||
	    (!sodium_is_zero((const uint8_t *)&signed_by, sizeof(signed_by)) && !store_signature_valid(buf_slice(&file), &signed_by)))
		return errmsg_say(why, -EBADMSG, "the text of epoch %llu in '%s' was changed after it was applied; 'prickle policy apply FILE' puts a policy "
				  "in its place", (unsigned long long)epoch, s->directory);
	if (signature != NULL)
		*signature = signed_by;
	*text = arena_dup(arena, buf_slice(&file));
	return arena->err != 0 ? errmsg_set(why, -ENOMEM, "epoch %llu", (unsigned long long)epoch) : 0;
}

int store_parse_text(struct arena *arena, struct slice text, const struct policy **out, struct buf *errors)
{
	struct bundle *b = ARENA_NEW(arena, struct bundle);

	if (b == NULL)
		return -ENOMEM;
	if (!bundle_read(b, text)) {
		buf_adds(errors, "this is not the text of an epoch\n");
		return -EBADMSG;
	}
	return bundle_parse(b, arena, out, errors);
}

int store_epoch_policy(const struct policy_store *s, struct arena *arena, uint64_t epoch, const struct policy **out, struct errmsg *why)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	struct slice text, first;
	struct manifest m;
	int err = store_epoch_text(s, arena, epoch, &text, &m, NULL, why);

	if (err != 0)
		return err;
	err = store_parse_text(arena, text, out, &errors);
	if (err == 0)
		return 0;
	(void)slice_cut(buf_slice(&errors), '\n', &first, &(struct slice){ 0 });
	return errmsg_say(why, err == -EINVAL ? -EBADMSG : err,
			  "epoch %llu in '%s' was made by another version of prickle, and this one does not understand it (%.*s); 'prickle policy apply "
			  "FILE' puts another in its place", (unsigned long long)epoch, s->directory, SLICE_FMT(slice_head(first, 200)));
}

int policy_store_policy(struct policy_store *s, struct arena *arena, uint64_t epoch, const struct policy **out, struct errmsg *why)
{
	int err = epoch == 0 ? store_current(s, &epoch, why) : 0;

	return err == 0 ? store_epoch_policy(s, arena, epoch, out, why) : err;
}

/* --- writing -------------------------------------------------------------------------------- */

static void remove_in(const struct policy_store *s, const char *directory)
{
	static const char *const files[] = { "policy.text", "manifest", "signature" };
	char path[64];

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (snprintf(path, sizeof(path), "%s/%s", directory, files[i]) < (int)sizeof(path))
			unlinkat(s->dir_fd, path, 0);
	unlinkat(s->dir_fd, directory, AT_REMOVEDIR);
}

void store_epoch_remove(const struct policy_store *s, uint64_t epoch)
{
	char path[64];

	epoch_path(epoch, "", path);
	remove_in(s, path);
}

/* Under a name that nobody takes for an epoch until all of it is there. */
#define NEW "epochs/.new"

int store_epoch_write(const struct policy_store *s, const struct manifest *m, struct slice text, const struct signature *signature, struct errmsg *why)
{
	AUTO_BUF struct buf manifest = BUF_INIT(POLICY_MANIFEST_BYTES_MAX);
	char path[64];
	int err = 0;

	manifest_write(&manifest, m);
	if (manifest.err != 0)
		return errmsg_set(why, manifest.err, "manifest");
	if (mkdirat(s->dir_fd, "epochs", 0755) != 0 && errno != EEXIST)
		return errmsg_set(why, -errno, "make '%s/epochs'", s->directory);
	remove_in(s, NEW);
	if (mkdirat(s->dir_fd, NEW, 0755) != 0)
		return errmsg_set(why, -errno, "make '%s/" NEW "'", s->directory);
	err = disk_write(s->dir_fd, NEW "/policy.text", text, 0644, why);
	if (err == 0)
		err = disk_write(s->dir_fd, NEW "/manifest", buf_slice(&manifest), 0644, why);
	if (err == 0 && signature != NULL)
		err = disk_write(s->dir_fd, NEW "/signature", slice_of(signature, sizeof(*signature)), 0644, why);
	if (err == 0)
		err = disk_sync(s->dir_fd, NEW, why);
	epoch_path(m->epoch, "", path);
	if (err == 0 && renameat(s->dir_fd, NEW, s->dir_fd, path) != 0)
		err = errmsg_set(why, -errno, "put epoch %llu in place in '%s'", (unsigned long long)m->epoch, s->directory);
	if (err == 0)
		err = disk_sync(s->dir_fd, "epochs", why);
	if (err == 0)
		err = disk_sync(s->dir_fd, ".", why);
	if (err != 0)
		remove_in(s, NEW);
	return err;
}

/* --- all of them ---------------------------------------------------------------------------- */

struct numbers { uint64_t *list; size_t count, room; };

static int add_number(void *arg, const char *name)
{
	struct numbers *n = arg;
	uint64_t epoch;

	if (!epoch_number(slice_str(name), &epoch) || n->count == POLICY_EPOCHS_MAX)
		return 0;
	if (n->count == n->room) {
		size_t room = n->room == 0 ? 64 : n->room * 2;
		uint64_t *list = reallocarray(n->list, room, sizeof(*list));

		if (list == NULL)
			return -ENOMEM;
		n->list = list;
		n->room = room;
	}
	n->list[n->count++] = epoch;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int find_numbers(const struct policy_store *s, struct numbers *n)
{
	int err = disk_list(s->dir_fd, "epochs", add_number, n);

	if (n->count != 0)
		qsort(n->list, n->count, sizeof(*n->list), by_number);
	return err == -ENOENT ? 0 : err;
}

void store_epochs_prune(const struct policy_store *s, uint64_t keep, uint64_t keep_too)
{
	struct numbers n = { 0 };

	if (find_numbers(s, &n) == 0)
		for (size_t i = 0; i + POLICY_EPOCHS_KEPT < n.count; i++)
			if (n.list[i] != keep && n.list[i] != keep_too)
				store_epoch_remove(s, n.list[i]);
	free(n.list);
}

static void name_signer(const struct policy_store *s, struct arena *arena, const struct signature *signature, char out[64])
{
	struct policy_key *keys;
	size_t count;

	out[0] = '\0';
	if (sodium_is_zero((const uint8_t *)signature, sizeof(*signature)) || store_keys(s, arena, &keys, &count, NULL) != 0)
		return;
	snprintf(out, 64, "a key that was removed");
	for (size_t i = 0; i < count; i++)
		if (memcmp(keys[i].public, signature->key, 32) == 0)
			snprintf(out, 64, "%.63s", keys[i].name);
}

int policy_store_epochs(struct policy_store *s, struct arena *arena, struct policy_epoch_info **out, size_t *count, struct errmsg *why)
{
	struct numbers n = { 0 };
	struct policy_epoch_info *list;
	uint64_t current;
	size_t known = 0;
	int err = store_current(s, &current, why);

	if (err == 0 && find_numbers(s, &n) != 0)
		err = errmsg_set(why, -EIO, "read '%s/epochs'", s->directory);
	list = err != 0 ? NULL : arena_array(arena, n.count + 1, sizeof(*list));
	if (err == 0 && list == NULL)
		err = errmsg_set(why, -ENOMEM, "epochs");
	for (size_t i = 0; err == 0 && i < n.count; i++) {
		struct policy_epoch_info *e = &list[known];
		struct signature signature;
		struct manifest m;

		/* One that is not sound is no reason not to show the others. */
		if (read_manifest(s, n.list[i], &m, NULL) != 0 || read_signature(s, n.list[i], &signature, NULL) != 0)
			continue;
		*e = (struct policy_epoch_info){ .epoch = m.epoch, .time_us = m.time_us, .in_force = m.epoch == current };
		memcpy(e->who, m.who, sizeof(e->who));
		memcpy(e->note, m.note, sizeof(e->note));
		memcpy(e->sha256, m.sha256, sizeof(e->sha256));
		name_signer(s, arena, &signature, e->signer);
		known++;
	}
	free(n.list);
	if (err != 0)
		return err;
	*out = list;
	*count = known;
	return 0;
}
