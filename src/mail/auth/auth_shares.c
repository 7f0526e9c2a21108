/*
 * Shared mailboxes (RFC 4314): who may use whose folders, and grants for it.
 *
 * A session asks with each command, so a list that was changed holds for the next one. What is under way by then ends at the store: a change
 * that takes something away is answered when the grants that the owner's lists gave are revoked there. Whoever still has rights gets a new
 * grant with the next question.
 */
#include <sodium.h>

#include "base/event.h"
#include "base/metrics.h"
#include "mail/auth/auth_private.h"
#include "mail/directory/shares.h"
#include "policy/language/policy.h"

#define ARENA_BYTES  (4u * 1024u * 1024u)
#define TURN_WAIT_US 10000000
#define TRIES	     8u

static const char *const result_names[] = {
	[AUTH_SHARE_OK] = "ok",
	[AUTH_SHARE_NONE] = "none",
	[AUTH_SHARE_DENIED] = "denied",
	[AUTH_SHARE_MALFORMED] = "malformed",
	[AUTH_SHARE_NO_USER] = "no_user",
	[AUTH_SHARE_OWNER] = "owner",
	[AUTH_SHARE_LIMIT] = "limit",
	[AUTH_SHARE_TEMPORARY] = "temporary",
};
METRIC_COUNTER_BY(asked, "prickle_auth_shares_asked", "Questions for what others share, by the answer", "result", result_names);
METRIC_COUNTER_BY(changes, "prickle_auth_acl_changes", "Changes of lists of rights, by their result", "result", result_names);
METRIC_COUNTER(ended, "prickle_auth_acl_revoked", "Grants that ended since a list of rights took something away");

/* Who asks. */
struct asker {
	uint8_t grant[GRANT_ID_BYTES];
	struct slice address;
	struct user_record user;
};

/* Whose lists it is about. */
struct owner {
	struct share_owner who;
	struct user_record user;
	bool own;			/* the asker's */
};

static enum auth_share_result of_directory(enum dir_result r)
{
	switch (r) {
	case DIR_OK:
		return AUTH_SHARE_OK;
	case DIR_ABSENT:
		return AUTH_SHARE_NONE;
	case DIR_TOO_BIG:
		return AUTH_SHARE_LIMIT;
	default:
		return AUTH_SHARE_TEMPORARY;
	}
}

/* The session is logged in, through this process, as who it says; by ticket nobody has shared anything with it. */
static bool asker_lasts(struct auth_client *c, const struct asker *k)
{
	const struct live_grant *l = grant_table_find(&c->auth->grants, k->grant);

	return l != NULL && !l->ended && !l->fixed && l->g.role == c->role && l->g.instance == c->instance &&
	       (l->g.rights & GRANT_READ) != 0 && (l->g.rights & GRANT_SHARED) == 0 && strcmp(l->g.account, k->user.account) == 0;
}

/* False: malformed. */
static bool read_asker(struct reader *r, struct asker *k)
{
	struct slice id = rd_bytes(r, GRANT_ID_BYTES);

	k->address = rd_blob(r);
	if (r->bad || k->address.len > ADDRESS_BYTES_MAX)
		return false;
	memcpy(k->grant, id.ptr, GRANT_ID_BYTES);
	return true;
}

static enum auth_share_result find_asker(struct auth_client *c, struct arena *arena, struct asker *k)
{
	enum auth_share_result result = of_directory(directory_user(c->auth->dir, arena, k->address, &k->user));

	return result == AUTH_SHARE_OK && !asker_lasts(c, k) ? AUTH_SHARE_NONE : result;
}

static enum auth_share_result find_owner(struct auth *a, struct arena *arena, const struct asker *k, struct slice text, struct owner *out)
{
	struct address address = { .text = k->address };
	enum auth_share_result result;

	*out = (struct owner){ .own = text.len == 0 };
	if (!out->own && !mail_address_parse(arena, text, &address))
		return AUTH_SHARE_NONE;
	result = of_directory(directory_user(a->dir, arena, address.text, &out->user));
	if (result != AUTH_SHARE_OK)
		return result;
	/* Who is locked shares nothing. */
	if (out->user.disabled)
		return AUTH_SHARE_NONE;
	out->who = (struct share_owner){ slice_str(out->user.account), address.text };
	return AUTH_SHARE_OK;
}

/* ---- AUTH_SHARED ---- */

/* The folders that give the asker something, behind the count. */
static enum auth_share_result write_folders(struct arena *arena, const struct shares *s, struct slice address, struct buf *out)
{
	struct acl *acl = ARENA_NEW(arena, struct acl);
	AUTO_BUF struct buf list = BUF_INIT(DIRECTORY_ACL_LISTS_MAX * 12u);
	size_t count = 0;

	if (acl == NULL)
		return AUTH_SHARE_TEMPORARY;
	for (size_t i = 0; i < s->count; i++) {
		/* A damaged list gives nothing. */
		uint32_t rights = acl_decode(s->items[i].acl, acl) ? acl_effective(acl, address) : 0;

		if (rights == 0)
			continue;
		count++;
		buf_varint(&list, s->items[i].folder);
		buf_varint(&list, rights);
	}
	if (list.err != 0)
		return AUTH_SHARE_TEMPORARY;
	buf_varint(out, count);
	buf_add(out, buf_slice(&list));
	return count > 0 ? AUTH_SHARE_OK : AUTH_SHARE_NONE;
}

/* The grant that the session has, when it is one for this, else a new one. May wait. */
static struct live_grant *grant_for(struct auth_client *c, const struct asker *k, const struct owner *o, const uint8_t have[GRANT_ID_BYTES])
{
	struct live_grant *l = grant_table_find(&c->auth->grants, have);

	if (l != NULL && !l->revoking && !l->ended && l->g.role == c->role && l->g.instance == c->instance &&
	    (l->g.rights & GRANT_SHARED) != 0 && strcmp(l->g.account, o->user.account) == 0 && strcmp(l->by, k->user.account) == 0)
		return l;
	return auth_give_shared(c, o->user.account, k->user.account, AUTH_LOGIN_GRANT_S);
}

/* All lists of an owner. Damaged ones give nothing: waiting helps nobody, and LIST must not end for all whom they may name. */
static enum auth_share_result read_lists(struct auth *a, struct arena *arena, const struct owner *o, struct shares *out)
{
	enum dir_result d = directory_shares(a->dir, arena, o->who.account, out);

	if (d == DIR_DAMAGED) {
		AUTO_EVENT struct event *ev = event_child(a->ev, "auth.acl");

		event_slice(ev, "owner", o->who.address);
		event_warn(ev, "the owner's lists of rights are damaged, as if there were none");
		return AUTH_SHARE_NONE;
	}
	return of_directory(d);
}

/* have: becomes the grant that the answer has; one that was got in vain is there for the next try. */
static enum auth_share_result shared_once(struct auth_client *c, struct asker *k, struct slice text, uint8_t have[GRANT_ID_BYTES],
					  struct buf *answer, bool *again)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	AUTO_BUF struct buf folders = BUF_INIT(DIRECTORY_ACL_LISTS_MAX * 12u + 16u);
	struct auth *a = c->auth;
	uint64_t before = a->share_changes;
	struct domain_record home = { 0 };
	struct live_grant *l;
	struct shares s;
	struct owner o;
	enum auth_share_result result = find_asker(c, &arena, k);

	if (result == AUTH_SHARE_OK)
		result = find_owner(a, &arena, k, text, &o);
	if (result == AUTH_SHARE_OK && (o.own || strcmp(o.user.account, k->user.account) == 0))
		result = AUTH_SHARE_NONE;
	if (result == AUTH_SHARE_OK)
		result = read_lists(a, &arena, &o, &s);
	if (result == AUTH_SHARE_OK)
		result = write_folders(&arena, &s, k->address, &folders);
	if (result == AUTH_SHARE_OK && !o.user.own_quota) {
		size_t at = slice_rfind_byte(o.who.address, '@');
		enum dir_result d = directory_domain(a->dir, &arena, slice_from(o.who.address, at + 1), &home);

		result = d == DIR_ABSENT ? AUTH_SHARE_OK : of_directory(d);
	}
	/* A list was being changed while we read: what we have may be from before. */
	*again = a->share_changes != before;
	if (result != AUTH_SHARE_OK || *again)
		return result;
	/* No waiting from here until the grant is in the table, where a change finds it. */
	if (!asker_lasts(c, k))
		return AUTH_SHARE_NONE;
	l = grant_for(c, k, &o, have);
	*again = a->share_changes != before;
	if (l == NULL)
		return auth_shared_rights(a) == 0 ? AUTH_SHARE_NONE : AUTH_SHARE_TEMPORARY;
	memcpy(have, l->g.id, GRANT_ID_BYTES);
	buf_add(answer, slice_of(l->g.account, GRANT_ACCOUNT_CHARS));
	buf_add(answer, slice_of(l->g.id, GRANT_ID_BYTES));
	buf_blob(answer, o.who.address);
	buf_be64(answer, auth_quota(a, o.user.own_quota, o.user.own_quota ? o.user.quota_bytes : home.quota_bytes));
	buf_be64(answer, o.user.own_quota ? o.user.quota_messages : home.quota_messages);
	buf_add(answer, buf_slice(&folders));
	return AUTH_SHARE_OK;
}

static enum auth_share_result serve_shared(struct auth_client *c, struct asker *k, struct slice owner, const uint8_t have[GRANT_ID_BYTES],
					   struct buf *answer)
{
	enum auth_share_result result = AUTH_SHARE_TEMPORARY;
	uint8_t grant[GRANT_ID_BYTES];
	bool again = true;

	memcpy(grant, have, sizeof(grant));
	for (unsigned i = 0; again && i < TRIES; i++) {
		buf_reset(answer);
		result = shared_once(c, k, owner, grant, answer, &again);
	}
	if (again)
		result = AUTH_SHARE_TEMPORARY;
	/* The session does not learn of it, and would never give it back. */
	if (result != AUTH_SHARE_OK && memcmp(grant, have, sizeof(grant)) != 0)
		auth_grant_back(c, grant);
	return result;
}

/* ---- AUTH_SHARERS ---- */

static enum auth_share_result serve_sharers(struct auth_client *c, struct asker *k, struct buf *answer)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct slice *mine, *all;
	size_t mine_count, all_count, count = 0;
	AUTO_BUF struct buf list = BUF_INIT(2u * DIRECTORY_ACL_OWNERS_MAX * (DIRECTORY_KEY_NAME_BYTES_MAX + 2u));
	enum auth_share_result result = find_asker(c, &arena, k);

	if (result == AUTH_SHARE_OK)
		result = of_directory(directory_shared_with(c->auth->dir, &arena, k->address, &mine, &mine_count));
	if (result == AUTH_SHARE_OK)
		result = of_directory(directory_shared_with(c->auth->dir, &arena, SLICE(ACL_ANYONE), &all, &all_count));
	if (result != AUTH_SHARE_OK)
		return result;
	for (size_t i = 0; i < mine_count; i++, count++)
		buf_blob(&list, mine[i]);
	for (size_t i = 0; i < all_count; i++) {
		bool twice = slice_eq(all[i], k->address);

		for (size_t j = 0; j < mine_count && !twice; j++)
			twice = slice_eq(all[i], mine[j]);
		if (twice)
			continue;
		buf_blob(&list, all[i]);
		count++;
	}
	if (list.err != 0)
		return AUTH_SHARE_TEMPORARY;
	buf_varint(answer, count);
	buf_add(answer, buf_slice(&list));
	return AUTH_SHARE_OK;
}

/* ---- lists ---- */

/* What the asker may do with one folder of the owner's. */
static enum auth_share_result rights_on(struct auth *a, struct arena *arena, const struct asker *k, const struct owner *o, uint32_t folder,
					struct acl *acl, uint32_t *rights)
{
	enum auth_share_result result = of_directory(directory_acl(a->dir, arena, o->who.account, folder, acl));

	*rights = result == AUTH_SHARE_OK ? acl_effective(acl, k->address) : 0;
	return result;
}

static bool may_administer(struct auth *a, const struct asker *k, const struct owner *o, uint32_t rights)
{
	return (o->own || (rights & POLICY_MAILBOX_ADMINISTER) != 0) && auth_may_administer(a, k->address, o->own);
}

static enum auth_share_result serve_get(struct auth_client *c, struct asker *k, struct slice owner, uint32_t folder, struct buf *answer)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	AUTO_BUF struct buf list = BUF_INIT(DIRECTORY_ACL_LISTS_BYTES_MAX);
	struct acl *acl = ARENA_NEW(&arena, struct acl);
	uint32_t rights = 0;
	struct owner o;
	enum auth_share_result result = acl == NULL ? AUTH_SHARE_TEMPORARY : find_asker(c, &arena, k);

	if (result == AUTH_SHARE_OK)
		result = find_owner(c->auth, &arena, k, owner, &o);
	if (result == AUTH_SHARE_OK)
		result = rights_on(c->auth, &arena, k, &o, folder, acl, &rights);
	if (result != AUTH_SHARE_OK)
		return result;
	if (!may_administer(c->auth, k, &o, rights))
		return AUTH_SHARE_DENIED;
	acl_encode(&list, acl);
	if (list.err != 0)
		return AUTH_SHARE_TEMPORARY;
	buf_blob(answer, buf_slice(&list));
	return AUTH_SHARE_OK;
}

/* "Bob" -> "bob@<the owner's domain>", "-anyone" as it is. Whoever is to get something must be a user: the name may be somebody's later. */
static enum auth_share_result find_identifier(struct auth *a, struct arena *arena, const struct owner *o, struct slice written, bool must_exist,
					      struct slice *out)
{
	bool negative = written.len > 0 && written.ptr[0] == '-';
	struct slice name = slice_from(written, negative), domain = slice_from(o->who.address, slice_rfind_byte(o->who.address, '@') + 1);
	struct user_record user;
	uint8_t *bytes;

	if (written.len > AUTH_IDENTIFIER_BYTES_MAX || name.len == 0)
		return AUTH_SHARE_MALFORMED;
	if (slice_eq(name, SLICE(ACL_ANYONE))) {
		*out = written;
		return AUTH_SHARE_OK;
	}
	if (!auth_canonical_name(arena, name, domain, &name))
		return AUTH_SHARE_MALFORMED;
	if (slice_eq(name, o->who.address))
		return AUTH_SHARE_OWNER;
	if (must_exist) {
		enum auth_share_result result = of_directory(directory_user(a->dir, arena, name, &user));

		if (result != AUTH_SHARE_OK)
			return result == AUTH_SHARE_NONE ? AUTH_SHARE_NO_USER : result;
	}
	bytes = arena_alloc(arena, name.len + 1);
	if (bytes == NULL)
		return AUTH_SHARE_LIMIT;
	bytes[0] = '-';
	memcpy(bytes + 1, name.ptr, name.len);
	*out = slice_of(negative ? bytes : bytes + 1, name.len + negative);
	return AUTH_SHARE_OK;
}

/*
 * End what the owner's lists gave. It stays in the table, handed out no more, until the store has said that it is gone; false: it did not.
 */
static bool revoke_shared(struct auth *a, const char *account)
{
	uint8_t ids[100][GRANT_ID_BYTES];
	size_t n;

	do {
		n = 0;
		for (struct live_grant *l = grant_table_of(&a->grants, account, NULL); l != NULL && n < ARRAY_LEN(ids);
		     l = grant_table_of(&a->grants, account, l)) {
			if ((l->g.rights & GRANT_SHARED) == 0)
				continue;
			l->revoking = true;
			memcpy(ids[n++], l->g.id, GRANT_ID_BYTES);
		}
		if (n > 0 && a->store.revoke(a->store.arg, ids, n) < 0)
			return false;
		metric_add(&ended, 0, n);
		for (size_t i = 0; i < n; i++) {
			struct live_grant *l = grant_table_find(&a->grants, ids[i]);

			if (l != NULL)
				grant_table_del(&a->grants, l);
		}
	} while (n == ARRAY_LEN(ids));
	return true;
}

bool auth_shares_begin(struct auth *a)
{
	if (!turns_enter(&a->share_turn, SLICE("lists"), TURN_WAIT_US))
		return false;
	a->share_changes++;
	return true;
}

void auth_shares_end(struct auth *a)
{
	a->share_changes++;
	turns_leave(&a->share_turn);
}

struct acl_change {
	uint32_t folder, keep, add;
	struct slice owner, identifier;
};

/* Does everybody have at least what they had? Nothing changed: an earlier change may wait for the store. */
static bool widens(struct slice identifier, uint32_t old, uint32_t now)
{
	bool negative = identifier.len > 0 && identifier.ptr[0] == '-';

	return old != now && (negative ? (now & ~old) == 0 : (old & ~now) == 0);
}

static void tell_change(struct auth *a, const struct asker *k, const struct owner *o, const struct acl_change *how, struct slice identifier)
{
	AUTO_EVENT struct event *ev = event_child(a->ev, "auth.acl");

	event_slice(ev, "by", k->address);
	event_slice(ev, "owner", o->who.address);
	event_u64(ev, "folder", how->folder);
	event_slice(ev, "identifier", identifier);
	event_info(ev, "a list of rights was changed");
}

/* It is our turn. */
static enum auth_share_result change_acl(struct auth_client *c, struct asker *k, const struct acl_change *how)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct acl *acl = ARENA_NEW(&arena, struct acl);
	struct auth *a = c->auth;
	struct slice identifier;
	uint32_t rights = 0, old;
	struct owner o;
	enum auth_share_result result = acl == NULL ? AUTH_SHARE_TEMPORARY : find_asker(c, &arena, k);

	if (result == AUTH_SHARE_OK)
		result = find_owner(a, &arena, k, how->owner, &o);
	if (result == AUTH_SHARE_OK)
		result = rights_on(a, &arena, k, &o, how->folder, acl, &rights);
	if (result == AUTH_SHARE_OK && !may_administer(a, k, &o, rights))
		result = AUTH_SHARE_DENIED;
	if (result == AUTH_SHARE_OK)
		result = find_identifier(a, &arena, &o, how->identifier, how->add != 0, &identifier);
	if (result != AUTH_SHARE_OK)
		return result;
	old = acl_rights(acl, identifier);
	result = of_directory(directory_acl_change(a->dir, &o.who, how->folder, identifier, how->keep, how->add));
	if (result != AUTH_SHARE_OK && result != AUTH_SHARE_TEMPORARY)
		return result;
	/* Also when the outcome is not known. */
	if (!widens(identifier, old, (old & how->keep) | how->add) && !revoke_shared(a, o.user.account))
		return AUTH_SHARE_TEMPORARY;
	if (result == AUTH_SHARE_OK)
		tell_change(a, k, &o, how, identifier);
	return result;
}

/* A folder was made below one with a list, or is gone. */
static enum auth_share_result change_folder(struct auth_client *c, struct asker *k, struct slice owner, uint32_t folder, uint32_t parent)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct acl *acl = ARENA_NEW(&arena, struct acl);
	struct auth *a = c->auth;
	uint32_t rights = 0;
	struct owner o;
	enum auth_share_result result = acl == NULL ? AUTH_SHARE_TEMPORARY : find_asker(c, &arena, k);

	if (result == AUTH_SHARE_OK)
		result = find_owner(a, &arena, k, owner, &o);
	if (result == AUTH_SHARE_OK)
		result = rights_on(a, &arena, k, &o, parent != 0 ? parent : folder, acl, &rights);
	if (result != AUTH_SHARE_OK)
		return result;
	if (!o.own && (rights & (parent != 0 ? POLICY_MAILBOX_CREATE : POLICY_MAILBOX_DESTROY)) == 0)
		return AUTH_SHARE_DENIED;
	if (parent == 0)
		return of_directory(directory_acl_drop(a->dir, &o.who, folder));
	if (acl->count == 0)
		return AUTH_SHARE_OK;
	/* Only one that has none: no list is replaced in this way. */
	result = rights_on(a, &arena, k, &o, folder, acl, &rights);
	if (result != AUTH_SHARE_OK || acl->count > 0)
		return result;
	return of_directory(directory_acl_inherit(a->dir, &o.who, parent, folder));
}

enum dir_result auth_shares_forget(struct auth *a, struct slice address)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct user_record user;
	enum dir_result r = directory_user(a->dir, &arena, address, &user);

	if (r != DIR_OK)
		return r;
	r = directory_shares_forget(a->dir, &(struct share_owner){ slice_str(user.account), address });
	if (r != DIR_DAMAGED)
		return r;
	event_warn(a->ev, "a list of rights is damaged; the user is removed all the same, the name may stand on lists of others");
	return DIR_OK;
}

/* ---- messages ---- */

static bool serve_change(struct auth_client *c, uint8_t type, struct reader *r, struct asker *k, struct slice owner, struct buf *reply)
{
	struct acl_change how = { .owner = owner, .folder = rd_be32(r) };
	uint32_t parent = 0;
	enum auth_share_result result;

	if (type == AUTH_ACL_SET) {
		how.identifier = rd_blob(r);
		how.keep = rd_be32(r);
		how.add = rd_be32(r);
	} else {
		parent = rd_be32(r);
	}
	if (!rd_end(r))
		return false;
	if (!auth_shares_begin(c->auth)) {
		buf_addc(reply, AUTH_SHARE_TEMPORARY);
		return true;
	}
	result = type == AUTH_ACL_SET ? change_acl(c, k, &how) : change_folder(c, k, owner, how.folder, parent);
	auth_shares_end(c->auth);
	metric_add(&changes, result, 1);
	buf_addc(reply, (uint8_t)result);
	return true;
}

bool auth_serve_share(struct auth_client *c, uint8_t type, struct reader *r, struct buf *reply)
{
	AUTO_BUF struct buf answer = BUF_INIT(112u * 1024u);
	enum auth_share_result result;
	struct slice owner = { 0 }, have;
	struct asker k = { 0 };
	uint32_t folder;

	if (!read_asker(r, &k))
		return false;
	if (type != AUTH_SHARERS)
		owner = rd_blob(r);
	if (owner.len > ADDRESS_BYTES_MAX)
		return false;
	switch (type) {
	case AUTH_SHARED:
		have = rd_bytes(r, GRANT_ID_BYTES);
		if (!rd_end(r))
			return false;
		result = serve_shared(c, &k, owner, have.ptr, &answer);
		break;
	case AUTH_SHARERS:
		if (!rd_end(r))
			return false;
		result = serve_sharers(c, &k, &answer);
		break;
	case AUTH_ACL_GET:
		folder = rd_be32(r);
		if (!rd_end(r))
			return false;
		result = serve_get(c, &k, owner, folder, &answer);
		break;
	default:
		return serve_change(c, type, r, &k, owner, reply);
	}
	if (answer.err != 0)
		result = AUTH_SHARE_TEMPORARY;
	metric_add(&asked, result, 1);
	buf_addc(reply, (uint8_t)result);
	if (result == AUTH_SHARE_OK)
		buf_add(reply, buf_slice(&answer));
	return true;
}
