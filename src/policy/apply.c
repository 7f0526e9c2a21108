/*
 * Putting a policy in force. Nothing is locked while somebody is asked; what is prepared then is made anew when another apply came between.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <time.h>

#include "base/cleanup.h"
#include "policy/analysis/analysis.h"
#include "policy/disk.h"
#include "policy/service.h"
#include "policy/store_private.h"
#include "policy/table/compile.h"

struct work {
	struct policy_store *s;
	const struct policy_apply *how;
	struct arena arena;
	uint64_t before_epoch;
	const struct policy *before;	/* NULL: the epoch in force is unsound */
	const struct policy *after;
	struct slice text;		/* of the new epoch */
	struct manifest manifest;
	struct signature signature;
	bool is_signed;
	bool same;			/* text and signature of the epoch in force */
	struct buf both, new_bank;
	unsigned steps;
};

static void step(struct work *w)
{
	if (w->how->step != NULL)
		w->how->step(w->how->step_arg, w->steps);
	w->steps++;
}

/* --- what shall be ---------------------------------------------------------------------------- */

static int text_of_file(struct work *w, struct buf *errors, struct errmsg *why)
{
	AUTO_BUF struct buf text = BUF_INIT(POLICY_BUNDLE_BYTES_MAX);
	const struct policy *p;
	struct bundle *b;
	int err = bundle_load(&w->arena, w->how->file, &b, &p, errors);

	if (err != 0)
		return errmsg_say(why, err, err == -EINVAL ? "'%s' has mistakes" : "'%s' cannot be read", w->how->file);
	bundle_write(&text, b);
	w->text = arena_dup(&w->arena, buf_slice(&text));
	return text.err != 0 || w->arena.err != 0 ? errmsg_set(why, -ENOMEM, "'%s'", w->how->file) : 0;
}

static int text_of_previous(struct work *w, struct errmsg *why)
{
	struct manifest now;
	struct slice text;
	int err;

	if (w->before_epoch == 0)
		return errmsg_say(why, -ENOENT, "no policy was applied here, so there is none before it");
	err = store_epoch_text(w->s, &w->arena, w->before_epoch, &text, &now, NULL, why);
	return err != 0 ? err : store_epoch_text(w->s, &w->arena, now.before, &w->text, &(struct manifest){ 0 }, &w->signature, why);
}

static int check(struct work *w, struct buf *errors, struct errmsg *why)
{
	const struct analysis *a;
	int err;
	size_t broken;

	/* What is checked and compiled is what is kept: the text of the epoch, not the files. */
	err = store_parse_text(&w->arena, w->text, &w->after, errors);
	if (err == 0)
		err = analysis_new(&w->arena, w->after, &a);
	if (err != 0)
		return errmsg_say(why, err, "the policy has mistakes");
	AUTO_BUF struct buf warnings = BUF_INIT(1u << 20);
	broken = analysis_check(a, errors, &warnings);
	policy_service_warn(a, &warnings);
	if (broken != 0)
		return errmsg_say(why, -EINVAL, "%zu statement%s of the policy do%s not hold, so the old one stays in force", broken, broken == 1 ? "" : "s",
				  broken == 1 ? "es" : "");
	buf_add(errors, buf_slice(&warnings));
	return 0;
}

static int sign(struct work *w, struct errmsg *why)
{
	uint8_t bytes[POLICY_SIGNED_BYTES];
	struct policy_key *keys;
	size_t count;
	int err = store_keys(w->s, &w->arena, &keys, &count, why);

	if (err != 0)
		return err;
	if (w->how->secret_key != NULL) {
		store_signed_bytes(w->text, bytes);
		/* libsodium's secret key ends with the public one. */
		memcpy(w->signature.key, w->how->secret_key + 32, 32);
		crypto_sign_detached(w->signature.bytes, NULL, bytes, sizeof(bytes), w->how->secret_key);
	} else if (w->how->signature.len != 0) {
		if (w->how->signature.len != sizeof(w->signature))
			return errmsg_say(why, -EPERM, "a signature is a key of 32 bytes and 64 bytes more");
		memcpy(&w->signature, w->how->signature.ptr, sizeof(w->signature));
	}
	w->is_signed = !sodium_is_zero((const uint8_t *)&w->signature, sizeof(w->signature));
	if (w->is_signed && !store_signature_valid(w->text, &w->signature))
		return errmsg_say(why, -EPERM, "the signature is not of this policy");
	if (count == 0)
		return 0;
	if (!w->is_signed)
		return errmsg_say(why, -EPERM, "this node takes signed policies only: say --key FILE, with a key of 'prickle policy key list'");
	for (size_t i = 0; i < count; i++)
		if (memcmp(keys[i].public, w->signature.key, 32) == 0)
			return 0;
	return errmsg_say(why, -EPERM, "this key may not sign policies of this node; see 'prickle policy key list'");
}

static int compile(struct work *w, uint64_t epoch, struct errmsg *why)
{
	const struct policy_head *head = w->s->table.head;
	struct slice before = policy_bank_in_force(&w->s->table);
	int err;

	buf_init(&w->new_bank, w->s->image_bytes);
	buf_init(&w->both, w->s->image_bytes);
	err = policy_compile(&w->arena, w->after, epoch, head, before, &w->new_bank, why);
	if (err == 0 && before.len != 0)
		err = policy_intersect(head, before, buf_slice(&w->new_bank), &w->both, why);
	return err;
}

/* --- how it comes to be --------------------------------------------------------------------- */

static int64_t clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int update_copies(struct work *w, bool widen, struct errmsg *why)
{
	int err = 0;

	for (size_t i = 0; i < w->how->copy_count && (err == 0 || widen); i++) {
		const struct policy_copy *c = &w->how->copies[i];
		int failed = c->update(c->arg, w->after, &w->s->table, widen, why);

		err = err == 0 ? failed : err;
	}
	return err;
}

/* The old policy again, from between: numbers that the new one gave stay retired. */
static void go_back(struct work *w)
{
	AUTO_BUF struct buf bank = BUF_INIT(w->s->image_bytes);
	struct errmsg ignored;

	if (w->before == NULL || policy_compile(&w->arena, w->before, w->before_epoch, w->s->table.head, buf_slice(&w->both), &bank, &ignored) != 0)
		return;
	/* Should this fail, too, the next open does it. */
	(void)!store_flip(w->s, buf_slice(&bank), &ignored);
	for (size_t i = 0; i < w->how->copy_count; i++)
		(void)!w->how->copies[i].update(w->how->copies[i].arg, w->before, &w->s->table, true, &ignored);
}

static int narrow(struct work *w, struct errmsg *why)
{
	store_told_forget(w->s);
	int err = w->both.len == 0 ? 0 : store_flip(w->s, buf_slice(&w->both), why);

	step(w);
	if (err == 0)
		err = update_copies(w, false, why);
	step(w);
	if (err == 0)
		err = store_set_current(w->s, w->manifest.epoch, why);
	step(w);
	if (err != 0) {
		go_back(w);
		/* Renamed, but perhaps not durable: what is in force and what is on the disk shall be one. */
		(void)!store_set_current(w->s, w->before_epoch, NULL);
	}
	return err;
}

/* From here on the new epoch stands; what fails is told and left to the next apply or open. */
static void widen(struct work *w, struct buf *errors)
{
	struct errmsg why = { 0 };
	int flipped = store_flip(w->s, buf_slice(&w->new_bank), &why);

	if (flipped != 0)
		buf_printf(errors, "warning: %s; until 'prickle policy apply' or a start of the node only what both policies allow is allowed\n", why.text);
	step(w);
	if (update_copies(w, true, &why) != 0)
		buf_printf(errors, "warning: %s; what is newly allowed waits there for the next 'prickle policy apply'\n", why.text);
	else if (flipped == 0 && w->how->copy_count > 0)
		store_told(w->s);
	step(w);
}

static void tell_audit(struct work *w)
{
	struct policy_ring_writer ring;
	struct policy_record r = {
		.time_us = (uint64_t)w->manifest.time_us, .epoch = w->manifest.epoch, .result = POLICY_RESULT_APPLIED,
	};
	struct errmsg why;
	AUTO_FD int fd = policy_store_ring_fd(w->s, "policy", &why);

	if (fd < 0 || policy_ring_attach(&ring, fd, &why) != 0)
		return;
	policy_ring_write(&ring, &r, slice_str(w->manifest.who), slice_str(w->manifest.note), w->how->previous ? SLICE("apply --previous") : SLICE("apply"));
	policy_ring_detach(&ring);
}

/* What is in force already makes no epoch, but reaches copies that an earlier apply did not. */
static int put_again(struct work *w, struct buf *errors, struct errmsg *why)
{
	int err;

	w->manifest.epoch = w->before_epoch;
	err = compile(w, w->before_epoch, why);
	store_told_forget(w->s);
	if (err == 0)
		err = update_copies(w, false, why);
	if (err == 0)
		widen(w, errors);
	return err;
}

static int put_in_force(struct work *w, struct buf *errors, struct errmsg *why)
{
	AUTO_FD int lock = -1;
	uint64_t now;
	int err = store_lock(w->s, STORE_LOCK_ALONE, &lock, why);

	if (err == 0)
		err = store_current(w->s, &now, (w->s->flags & POLICY_STORE_REPAIR) != 0 ? NULL : why);
	if (err == -EBADMSG && (w->s->flags & POLICY_STORE_REPAIR) != 0) {
		now = 0;
		err = 0;
	}
	if (err == 0 && now != w->before_epoch)
		err = errmsg_say(why, -EBUSY, "another policy was applied meanwhile; look at it and apply again");
	if (err == 0 && w->same)
		return put_again(w, errors, why);
	if (err == 0)
		err = store_last_epoch(w->s, &w->manifest.epoch, why);
	w->manifest.epoch = MAX(w->manifest.epoch, w->before_epoch) + 1;
	if (err == 0)
		err = compile(w, w->manifest.epoch, why);
	if (err == 0)
		err = store_epoch_write(w->s, &w->manifest, w->text, w->is_signed ? &w->signature : NULL, why);
	if (err != 0)
		return err;
	step(w);
	err = narrow(w, why);
	if (err != 0) {
		store_epoch_remove(w->s, w->manifest.epoch);
		return err;
	}
	widen(w, errors);
	tell_audit(w);
	step(w);
	store_epochs_prune(w->s, w->manifest.epoch, w->before_epoch);
	step(w);
	return 0;
}

/* A signature that is not there makes it another epoch, too: it is kept with the text. */
static void compare(struct work *w)
{
	struct signature signature;
	struct manifest m;
	struct slice text;

	w->same = w->before != NULL && store_epoch_text(w->s, &w->arena, w->before_epoch, &text, &m, &signature, NULL) == 0 &&
		  slice_eq(text, w->text) && (!w->is_signed || memcmp(&signature, &w->signature, sizeof(signature)) == 0);
}

static void fill_manifest(struct work *w)
{
	struct manifest *m = &w->manifest;

	m->before = w->before_epoch;
	m->time_us = clock_us();
	snprintf(m->who, sizeof(m->who), "%s", w->how->who == NULL ? "" : w->how->who);
	snprintf(m->note, sizeof(m->note), "%s", w->how->note == NULL ? "" : w->how->note);
	crypto_hash_sha256(m->sha256, w->text.ptr, w->text.len);
}

static int apply(struct work *w, uint64_t *epoch, struct buf *errors, struct errmsg *why)
{
	bool repair = (w->s->flags & POLICY_STORE_REPAIR) != 0;
	int err = store_current(w->s, &w->before_epoch, why);

	if (err == -EBADMSG && repair)
		err = 0;
	else if (err == 0 && store_epoch_policy(w->s, &w->arena, w->before_epoch, &w->before, why) != 0 && !repair)
		err = -EBADMSG;
	if (err == 0)
		err = w->how->previous ? text_of_previous(w, why) : text_of_file(w, errors, why);
	if (err == 0)
		err = check(w, errors, why);
	if (err == 0)
		err = sign(w, why);
	if (err != 0)
		return err;
	fill_manifest(w);
	compare(w);
	if (!w->same && w->how->confirm != NULL && !w->how->confirm(w->how->confirm_arg, w->before, w->after))
		return errmsg_say(why, -ECANCELED, "the old policy stays in force");
	if (!w->how->dry_run) {
		err = put_in_force(w, errors, why);
	} else {
		/* Whether it fits is part of the answer. */
		err = store_last_epoch(w->s, &w->manifest.epoch, why);
		w->manifest.epoch = w->same ? w->before_epoch : MAX(w->manifest.epoch, w->before_epoch) + 1;
		if (err == 0)
			err = compile(w, w->manifest.epoch, why);
	}
	if (err == 0)
		*epoch = w->manifest.epoch;
	return err;
}

int policy_store_apply(struct policy_store *s, const struct policy_apply *how, uint64_t *epoch, struct buf *errors, struct errmsg *why)
{
	struct work w = { .s = s, .how = how, .arena = ARENA_INIT(2 * (size_t)POLICY_ARENA_BYTES) };
	int err;

	if ((s->flags & POLICY_STORE_WRITE) == 0)
		return errmsg_say(why, -EACCES, "the policy was opened for reading");
	if (sodium_init() < 0)
		return errmsg_say(why, -EIO, "libsodium finds no randomness");
	err = apply(&w, epoch, errors, why);
	buf_done(&w.both);
	buf_done(&w.new_bank);
	arena_done(&w.arena);
	return err;
}
