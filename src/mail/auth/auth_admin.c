/*
 * Changes to users that also touch logins: what `prickle user ...` does.
 */
#include <stdlib.h>

#include "base/hex.h"
#include "base/utf8.h"
#include "mail/auth/auth_private.h"
#include "sys/fiber.h"
#include "sys/world.h"

#define ADMIN_ARENA_BYTES (64u * 1024u)

enum auth_admin_result auth_admin_of(enum dir_result r)
{
	switch (r) {
	case DIR_OK:
		return AUTH_ADMIN_OK;
	case DIR_ABSENT:
		return AUTH_ADMIN_ABSENT;
	case DIR_NOT_LOCAL:
		return AUTH_ADMIN_NO_DOMAIN;
	case DIR_EXISTS:
		return AUTH_ADMIN_EXISTS;
	case DIR_TOO_BIG:
		return AUTH_ADMIN_BAD_VALUE;
	case DIR_CHANGED:
	case DIR_FULL:
	case DIR_UNAVAILABLE:
		return AUTH_ADMIN_TEMPORARY;
	case DIR_LOOP:
	case DIR_DAMAGED:
		break;
	}
	return AUTH_ADMIN_FAILED;
}

/* A display name goes into protocol answers: text without control characters. */
static bool name_good(struct slice name)
{
	uint32_t c;

	if (name.len > DIRECTORY_NAME_BYTES_MAX || !utf8_valid(name))
		return false;
	while (utf8_next(&name, &c))
		if (c < ' ' || (c >= 0x7f && c <= 0x9f))
			return false;
	return true;
}

/* The part of a change that needs no record: hashes a new password into *keys. */
static enum auth_admin_result prepare(struct auth *a, struct arena *arena,
				      const struct auth_user_change *set, struct user_record *keys)
{
	char hash[PASSWORD_HASH_BYTES_MAX];

	if ((set->name != NULL && !name_good(*set->name)) || (set->groups != NULL && !record_groups_good(*set->groups)) ||
	    (set->system_user != NULL && *set->system_user == UINT32_MAX))
		return AUTH_ADMIN_BAD_VALUE;
	if (set->hash != NULL) {
		if (!slice_to_str(*set->hash, hash, sizeof(hash)) || !password_hash_known(hash))
			return AUTH_ADMIN_BAD_VALUE;
		keys->hash = *set->hash;
		return AUTH_ADMIN_OK;
	}
	if (set->password != NULL)
		return auth_make_keys(a, arena, *set->password, keys);
	return AUTH_ADMIN_OK;
}

struct change {
	const struct auth_user_change *set;
	const struct user_record *keys;	/* with the new hash */
	char account[RECORD_ACCOUNT_CHARS + 1];
};

static bool change_user(void *arg, struct user_record *r)
{
	struct change *c = arg;
	const struct auth_user_change *set = c->set;

	memcpy(c->account, r->account, sizeof(c->account));
	if (set->hash != NULL || set->password != NULL) {
		r->hash = c->keys->hash;
		r->scram = c->keys->scram;
	}
	if (set->name != NULL)
		r->name = *set->name;
	if (set->disabled != NULL)
		r->disabled = *set->disabled;
	if (set->groups != NULL)
		r->groups = *set->groups;
	if (set->system_user != NULL)
		r->system_user = *set->system_user;
	if (set->domain_quota) {
		r->own_quota = false;
		r->quota_bytes = r->quota_messages = 0;
	}
	if (set->quota_bytes != NULL) {
		r->own_quota = true;
		r->quota_bytes = *set->quota_bytes;
	}
	if (set->quota_messages != NULL) {
		r->own_quota = true;
		r->quota_messages = *set->quota_messages;
	}
	return true;
}

/* The uid is this user's from now on, once its record says so. */
static enum auth_admin_result claim_system_user(struct auth *a, const struct auth_user_change *set, struct slice address)
{
	enum dir_result d;

	if (set->system_user == NULL || *set->system_user == 0)
		return AUTH_ADMIN_OK;
	d = directory_system_user_claim(a->dir, *set->system_user, address);
	return d == DIR_EXISTS ? AUTH_ADMIN_UID_TAKEN : auth_admin_of(d);
}

/* arg: struct slice, an address. */
static bool be_postmaster(void *arg, struct domain_record *r)
{
	if (r->postmaster.len > 0)
		return false;
	r->postmaster = *(const struct slice *)arg;
	return true;
}

struct succession {
	struct slice from, to;		/* to: empty when nobody is left */
};

static bool replace_postmaster(void *arg, struct domain_record *r)
{
	const struct succession *s = arg;

	if (!slice_eq(r->postmaster, s->from))
		return false;
	r->postmaster = s->to;
	return true;
}

/* A removed user was the domain's postmaster: somebody else becomes it. Best effort. */
static void find_postmaster(struct auth *a, struct arena *arena, const struct address *gone)
{
	struct succession s = { .from = gone->text };
	struct dir_cursor cursor = { 0 };
	struct domain_record home;
	size_t count = 0;
	bool more;

	if (directory_domain(a->dir, arena, gone->domain, &home) != DIR_OK ||
	    !slice_eq(home.postmaster, gone->text))
		return;
	if (directory_list(a->dir, arena, DIR_USER, gone->domain, &cursor, 1, &s.to, &count, &more) != DIR_OK)
		return;
	if (count == 0)
		s.to = (struct slice){ 0 };
	directory_domain_change(a->dir, gone->domain, replace_postmaster, &s);
}

enum auth_admin_result auth_user_add(struct auth *a, struct slice text,
				     const struct auth_user_change *set)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ADMIN_ARENA_BYTES);
	struct user_record keys = { 0 }, r = { 0 };
	enum auth_admin_result result;
	struct domain_record home;
	struct address address;
	AUTO_BUF struct buf account = BUF_INIT(32);
	enum dir_result d;
	uint64_t id;

	if (!mail_address_parse(&arena, text, &address) ||
	    address.text.len > DIRECTORY_KEY_NAME_BYTES_MAX)
		return AUTH_ADMIN_BAD_NAME;
	/* Before the hash, which takes its time. */
	d = directory_domain(a->dir, &arena, address.domain, &home);
	if (d != DIR_OK)
		return d == DIR_ABSENT ? AUTH_ADMIN_NO_DOMAIN : auth_admin_of(d);
	d = directory_user(a->dir, &arena, address.text, &r);
	if (d != DIR_ABSENT)
		return d == DIR_OK ? AUTH_ADMIN_EXISTS : auth_admin_of(d);
	result = prepare(a, &arena, set, &keys);
	if (result == AUTH_ADMIN_OK)
		result = claim_system_user(a, set, address.text);
	if (result != AUTH_ADMIN_OK)
		return result;
	r = (struct user_record){ .created_s = auth_clock_s(a) };
	change_user(&(struct change){ .set = set, .keys = &keys }, &r);
	world_random(a->world, &id, sizeof(id));
	hex_u64(&account, id);
	if (account.err != 0 || !slice_to_str(buf_slice(&account), r.account, sizeof(r.account)))
		return AUTH_ADMIN_FAILED;
	d = directory_user_add(a->dir, &address, &r);
	/* The first one at a domain gets the mail for its postmaster. If that fails, the next one does. */
	if (d == DIR_OK && home.postmaster.len == 0)
		directory_domain_change(a->dir, address.domain, be_postmaster, &address.text);
	return auth_admin_of(d);
}

enum auth_admin_result auth_user_change(struct auth *a, struct slice text,
					const struct auth_user_change *set)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ADMIN_ARENA_BYTES);
	struct user_record keys = { 0 };
	struct change change = { .set = set, .keys = &keys };
	enum auth_admin_result result;
	struct address address;
	struct user_record now;
	enum dir_result d;

	if (!mail_address_parse(&arena, text, &address))
		return AUTH_ADMIN_BAD_NAME;
	d = directory_user(a->dir, &arena, address.text, &now);
	if (d != DIR_OK)
		return auth_admin_of(d);
	result = prepare(a, &arena, set, &keys);
	if (result == AUTH_ADMIN_OK)
		result = claim_system_user(a, set, address.text);
	if (result != AUTH_ADMIN_OK)
		return result;
	d = directory_user_change(a->dir, address.text, change_user, &change);
	if (d != DIR_OK)
		return auth_admin_of(d);
	if (set->hash != NULL || set->password != NULL ||
	    (set->disabled != NULL && *set->disabled)) {
		remembered_drop(&a->remembered, address.text);
		auth_revoke_account(a, change.account);
	}
	return AUTH_ADMIN_OK;
}

/* ---- the mail of removed users ---- */

/*
 * An account to be removed. Twice: what was allowed before its grants ended may still have been on
 * its way to the disk the first time.
 */
struct removal {
	struct list link;
	struct dir_removed what;
	int64_t due_s;
	bool once;
};

static void removal_add(struct auth *a, const struct dir_removed *what)
{
	struct removal *r;

	list_for_each(it, &a->removals) {
		if (strcmp(list_entry(it, struct removal, link)->what.account, what->account) == 0)
			return;
	}
	r = calloc(1, sizeof(*r));
	if (r == NULL) {
		a->removals_left = true;	/* the directory knows it, and is asked again */
		return;
	}
	r->what = *what;
	r->due_s = auth_now_s(a);
	list_push_back(&a->removals, &r->link);
}

/* Those of an earlier process, or that did not fit into memory. */
static void removals_find(struct auth *a)
{
	struct dir_removed found[100];
	size_t count = ARRAY_LEN(found);

	while (a->removals_from < DIRECTORY_OBJECTS && count > 0) {
		if (directory_removed(a->dir, &a->removals_from, ARRAY_LEN(found), found, &count,
				      &a->removals_left) != DIR_OK)
			return;
		for (size_t i = 0; i < count; i++)
			removal_add(a, &found[i]);
	}
}

/* False: try it later. */
static bool removal_step(struct auth *a, struct removal *r)
{
	struct event *ev;

	if (a->store.remove(a->store.arg, r->what.account) < 0)
		return false;
	if (!r->once) {
		r->once = true;
		return false;
	}
	if (directory_removed_done(a->dir, &r->what) != DIR_OK)
		return false;
	ev = event_child(a->ev, "auth.account_removed");
	event_str(ev, "account", r->what.account);
	event_info(ev, "the mail of a removed user is gone");
	event_free(ev);
	return true;
}

void auth_removals_work(struct auth *a)
{
	if (a->removing || a->store.remove == NULL)
		return;
	a->removing = true;
	if (a->removals_left && list_empty(&a->removals)) {
		a->removals_left = false;
		a->removals_from = 0;
	}
	removals_find(a);
	list_for_each(it, &a->removals) {
		struct removal *r = list_entry(it, struct removal, link);

		if (auth_now_s(a) < r->due_s)
			continue;
		r->due_s = auth_now_s(a) + AUTH_REMOVE_AGAIN_S;
		if (!removal_step(a, r))
			continue;
		list_del(&r->link);
		free(r);
	}
	a->removing = false;
}

void auth_removals_done(struct auth *a)
{
	list_for_each(it, &a->removals) {
		list_del(it);
		free(list_entry(it, struct removal, link));
	}
}

static void removals_fiber(void *arg)
{
	auth_removals_work(arg);
}

enum auth_admin_result auth_user_remove(struct auth *a, struct slice text)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ADMIN_ARENA_BYTES);
	struct address address;
	struct dir_removed removed;
	enum dir_result d;

	if (!mail_address_parse(&arena, text, &address))
		return AUTH_ADMIN_BAD_NAME;
	if (!auth_shares_begin(a))
		return AUTH_ADMIN_TEMPORARY;
	d = auth_shares_forget(a, address.text);
	if (d == DIR_OK)
		d = directory_user_remove(a->dir, address.text, &removed);
	auth_shares_end(a);
	/* It may have happened: then the directory has it noted. */
	a->removals_left = a->removals_left || d == DIR_UNAVAILABLE;
	if (d != DIR_OK)
		return auth_admin_of(d);
	remembered_drop(&a->remembered, address.text);
	auth_revoke_account(a, removed.account);
	find_postmaster(a, &arena, &address);
	removal_add(a, &removed);
	/* Without memory for a fiber the next tick does it. */
	if (fiber_self() != NULL && fiber_start(fiber_loop(), removals_fiber, a) < 0)
		event_warn(a->ev, "the mail of a removed user is removed within a minute");
	return AUTH_ADMIN_OK;
}
