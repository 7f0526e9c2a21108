/*
 * Mailboxes of others: "user/bob@example.org/INBOX" is bob's INBOX (RFC 2342's Other Users' Namespace).
 *
 * What may be done with them is asked of auth by each command (authc_shares.h) and of the policy (rights.h); nothing is remembered from one
 * command to the next but handles.
 */
#include "mail/session/imap_shared.h"

#include <stdlib.h>

#include "base/event.h"
#include "mail/directory/acl.h"
#include "mail/imap/pattern.h"

#define LIST_ARENA_BYTES (1u << 20)

_Static_assert(FOLDER_NONE == 0, "no list is for it");

bool imap_shared_name(struct slice name, struct slice *owner, struct slice *rest)
{
	size_t at, end;

	if (!slice_starts(name, SLICE(IMAP_OTHERS)))
		return false;
	name = slice_from(name, sizeof(IMAP_OTHERS) - 1);
	at = slice_find_byte(name, '@');
	if (at == SLICE_NPOS || at == 0)
		return false;
	end = slice_find_byte(slice_from(name, at), '/');
	*owner = end == SLICE_NPOS ? name : slice_head(name, at + end);
	*rest = end == SLICE_NPOS ? SLICE("") : slice_from(name, at + end + 1);
	return true;
}

static void shared_free(struct imap_session *s, struct imap_shared *x)
{
	list_del(&x->link);
	if (x->watching)
		account_unwatch(x->account, x->watch_id);
	account_close(x->account);
	if (s->base.sv->authc != NULL)
		authc_release(s->base.sv->authc, x->what.grant);
	free(x->what.folders);
	free(x);
}

void imap_shared_done(struct imap_session *s)
{
	if (s->shared.next == NULL)
		return;
	list_for_each(it, &s->shared)
		shared_free(s, list_entry(it, struct imap_shared, link));
}

void imap_shared_trim(struct imap_session *s)
{
	unsigned count = 0;

	if (s->shared.next == NULL)
		return;
	list_for_each(it, &s->shared) {
		struct imap_shared *x = list_entry(it, struct imap_shared, link);

		if (++count > IMAP_SHARED_ACCOUNTS_MAX && x != s->box_shared)
			shared_free(s, x);
	}
}

static struct imap_shared *find(struct imap_session *s, struct slice owner)
{
	if (s->shared.next == NULL)
		list_init(&s->shared);
	list_for_each(it, &s->shared) {
		struct imap_shared *x = list_entry(it, struct imap_shared, link);

		if (slice_eq(slice_str(x->what.owner), owner))
			return x;
	}
	return NULL;
}

static struct imap_shared *shared_new(struct imap_session *s, const struct authc_shared *what, enum mailbox_result *result)
{
	struct session *base = &s->base;
	struct imap_shared *x = calloc(1, sizeof(*x));
	struct engine *engine = base->sv->engine;

	*result = MAILBOX_MEMORY;
	if (x == NULL)
		return NULL;
	if (base->sv->remote != NULL) {
		remote_handle_init(&x->store, base->sv->remote, what->grant);
		engine = &x->store.engine;
	}
	*result = account_open(base->sv->accounts, engine, slice_str(what->account), (struct quota){ what->quota_bytes, what->quota_messages },
			       &x->account);
	if (*result != MAILBOX_OK) {
		free(x);
		return NULL;
	}
	list_push_front(&s->shared, &x->link);
	return x;
}

/* What auth says now; the folders are the handle's own copy. */
static bool take_answer(struct imap_shared *x, const struct authc_shared *what)
{
	struct authc_share *folders = malloc((what->count + 1) * sizeof(*folders));

	if (folders == NULL)
		return false;
	memcpy(folders, what->folders, what->count * sizeof(*folders));
	free(x->what.folders);
	x->what = *what;
	x->what.folders = folders;
	/* Calls to come are made with the grant that is good now. */
	memcpy(x->store.grant, what->grant, sizeof(x->store.grant));
	account_set_quota(x->account, (struct quota){ what->quota_bytes, what->quota_messages });
	return true;
}

enum imap_shared_result imap_shared_get(struct imap_session *s, struct slice owner, struct imap_shared **out)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(LIST_ARENA_BYTES);
	enum mailbox_result result = MAILBOX_OK;
	struct authc *authc = s->base.sv->authc;
	struct authc_shared what;
	struct slice address;
	struct imap_shared *x;

	*out = NULL;
	/* By ticket one mailbox is opened, and no other. */
	if (authc == NULL || s->base.rights.ticket || !acl_address(&arena, owner, &address))
		return IMAP_SHARED_NONE;
	x = find(s, address);
	if (x != NULL)
		x->what.count = 0;	/* whatever comes now: what was told before does not count */
	switch (authc_shared(authc, s->grant, address, x == NULL ? NULL : x->what.grant, &arena, &what)) {
	case AUTHC_SHARE_OK:
		break;
	case AUTHC_SHARE_TEMPORARY:
		return IMAP_SHARED_UNKNOWN;
	default:
		return IMAP_SHARED_NONE;
	}
	/* An owner who was removed and made anew is somebody else. */
	if (x != NULL && strcmp(x->what.account, what.account) != 0) {
		authc_release(authc, what.grant);
		if (x != s->box_shared)
			shared_free(s, x);
		return IMAP_SHARED_UNKNOWN;
	}
	if (x == NULL)
		x = shared_new(s, &what, &result);
	if (x == NULL) {
		authc_release(authc, what.grant);
		return result == MAILBOX_DAMAGED ? IMAP_SHARED_DAMAGED : IMAP_SHARED_UNKNOWN;
	}
	if (!take_answer(x, &what)) {
		memcpy(x->what.grant, what.grant, sizeof(x->what.grant));
		return IMAP_SHARED_UNKNOWN;
	}
	list_del(&x->link);
	list_push_front(&s->shared, &x->link);
	*out = x;
	return IMAP_SHARED_OK;
}

uint32_t imap_shared_rights(const struct imap_shared *x, uint32_t folder)
{
	size_t low = 0, high = x->what.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (x->what.folders[middle].folder < folder)
			low = middle + 1;
		else
			high = middle;
	}
	return low < x->what.count && x->what.folders[low].folder == folder ? x->what.folders[low].rights : 0;
}

bool imap_shared_refresh(struct imap_session *s)
{
	struct imap_shared *x = s->box_shared;

	if (s->box == NULL || x == NULL)
		return true;
	switch (imap_shared_get(s, slice_str(x->what.owner), &x)) {
	case IMAP_SHARED_OK: case IMAP_SHARED_NONE:
		return true;
	case IMAP_SHARED_UNKNOWN: case IMAP_SHARED_DAMAGED:
		break;
	}
	return false;
}

struct account *imap_box_account(const struct imap_session *s)
{
	return s->box_shared == NULL ? s->account : s->box_shared->account;
}

/* ---- names ---- */

/* The folder of this name in the account, FOLDER_NONE when there is none. */
static enum mailbox_result folder_id(struct imap_run *r, struct account *account, struct slice name, uint32_t *id)
{
	struct folder_info info;
	enum mailbox_result result = account_status(account, name, &r->arena, &info);

	*id = result == MAILBOX_OK ? info.id : FOLDER_NONE;
	return result == MAILBOX_NO_FOLDER ? MAILBOX_OK : result;
}

enum mailbox_result imap_parent_id(struct imap_run *r, struct account *account, struct slice name, uint32_t *id)
{
	*id = FOLDER_NONE;
	for (size_t at = slice_rfind_byte(name, '/'); at != SLICE_NPOS && *id == FOLDER_NONE; at = slice_rfind_byte(name, '/')) {
		enum mailbox_result result;

		name = slice_head(name, at);
		result = folder_id(r, account, name, id);
		if (result != MAILBOX_OK)
			return result;
	}
	return MAILBOX_OK;
}

static bool full_name(struct imap_run *r, struct imap_place *p)
{
	AUTO_BUF struct buf name = BUF_INIT(FOLDER_NAME_BYTES_MAX + AUTHC_ADDRESS_BYTES_MAX + 16);

	buf_adds(&name, IMAP_OTHERS);
	buf_adds(&name, p->shared->what.owner);
	buf_addc(&name, '/');
	buf_add(&name, p->name);
	p->full = arena_dup(&r->arena, buf_slice(&name));
	return name.err == 0 && p->full.ptr != NULL;
}

enum mailbox_result imap_resolve(struct imap_run *r, struct slice name, struct imap_place *out)
{
	enum mailbox_result result;
	struct slice owner, rest;

	/* RFC 9051 §6.3.4: the delimiter at the end only says that names below will follow. */
	if (r->c.name == IMAP_CREATE && name.len > 1 && name.ptr[name.len - 1] == '/')
		name.len--;
	*out = (struct imap_place){ .account = r->s->account, .name = name, .full = name, .own = true };
	if (!imap_shared_name(name, &owner, &rest))
		return MAILBOX_OK;
	*out = (struct imap_place){ .name = rest, .full = name, .owner = owner };
	switch (imap_shared_get(r->s, owner, &out->shared)) {
	case IMAP_SHARED_OK:
		break;
	case IMAP_SHARED_NONE:
		return MAILBOX_OK;
	case IMAP_SHARED_UNKNOWN:
		return MAILBOX_UNAVAILABLE;
	case IMAP_SHARED_DAMAGED:
		return MAILBOX_DAMAGED;
	}
	out->account = out->shared->account;
	out->owner = slice_str(out->shared->what.owner);
	if (!full_name(r, out))
		return MAILBOX_MEMORY;
	result = folder_id(r, out->account, rest, &out->folder);
	if (result == MAILBOX_OK)
		result = imap_parent_id(r, out->account, rest, &out->parent);
	out->rights = imap_shared_rights(out->shared, out->folder);
	out->parent_rights = imap_shared_rights(out->shared, out->parent);
	return result;
}

/* ---- LIST ---- */

/* Can any pattern name something at (PATTERN_YES alone) or below this? */
static bool wanted(const struct imap_run *r, struct slice name, enum pattern_match least)
{
	for (size_t i = 0; i < r->c.list.pattern_count; i++)
		if (pattern_match(r->c.list.patterns[i], name) >= least)
			return true;
	return false;
}

struct gathering {
	struct imap_run *r;
	struct folder_info *list;
	size_t count, room;
};

/* A level above the owner's mailboxes, "user" or the "user/a" of "user/a/b@example.org": it is there when one of them is (RFC 9051 §6.3.9). */
static bool wanted_above(const struct gathering *g, struct slice name)
{
	for (size_t at = slice_rfind_byte(name, '/'); at != SLICE_NPOS; at = slice_rfind_byte(name, '/')) {
		name = slice_head(name, at);
		/* For "user" alone whoever came first is enough. */
		if ((g->count == 0 || name.len >= sizeof(IMAP_OTHERS)) && wanted(g->r, name, PATTERN_YES))
			return true;
	}
	return false;
}

/* The folders of one owner that the session may see. */
static enum mailbox_result gather_of(struct gathering *g, struct imap_shared *x)
{
	struct imap_run *r = g->r;
	struct folder_info *folders;
	size_t count;
	enum mailbox_result result = account_refresh(x->account);

	if (result == MAILBOX_OK)
		result = account_folders(x->account, &r->arena, &folders, &count);
	if (result != MAILBOX_OK)
		return result;
	for (size_t i = 0; i < count; i++) {
		uint32_t rights = folders[i].id == FOLDER_NONE ? 0 : imap_shared_rights(x, folders[i].id);
		struct session_object o = { .owner = slice_str(x->what.owner), .name = folders[i].name, .acl = rights };
		struct imap_place p = { .shared = x, .name = folders[i].name };
		uint32_t has = rights == 0 ? 0 : session_has(&r->s->base, POLICY_MAILBOX_LIST | POLICY_MAILBOX_READ, &o);

		if ((has & POLICY_MAILBOX_LIST) == 0)
			continue;
		if (g->count == g->room) {
			size_t room = 2 * g->room + 64;
			struct folder_info *more = arena_array(&r->arena, room, sizeof(*more));

			if (more == NULL)
				return MAILBOX_MEMORY;
			if (g->count > 0)
				memcpy(more, g->list, g->count * sizeof(*more));
			g->list = more;
			g->room = room;
		}
		if (!full_name(r, &p))
			return MAILBOX_MEMORY;
		/* What is below, and who else subscribed, is not for everybody: folder_infos_join finds what the session sees. */
		struct folder_info *f = &g->list[g->count++];

		*f = (has & POLICY_MAILBOX_READ) != 0 ? folders[i] : (struct folder_info){ .id = folders[i].id };
		f->name = p.full;
		f->subscribed = f->has_children = f->subscribed_below = false;
		f->special_use = 0;
	}
	return MAILBOX_OK;
}

static void tell_damaged(const struct imap_session *s, struct slice owner)
{
	AUTO_EVENT struct event *ev = event_child(s->base.ev, "imap.shared");

	event_slice(ev, "owner", owner);
	event_warn(ev, "the owner's stored data is damaged, listing the mailboxes of others without them");
}

enum mailbox_result imap_shared_list(struct imap_run *r, struct folder_info **folders, size_t *count)
{
	struct gathering g = { .r = r };
	struct imap_session *s = r->s;
	struct slice *owners;
	size_t owner_count;

	if (s->base.sv->authc == NULL || s->base.rights.ticket || !wanted(r, SLICE(IMAP_OTHERS_ROOT), PATTERN_PARENT))
		return MAILBOX_OK;
	switch (authc_sharers(s->base.sv->authc, s->grant, &r->arena, &owners, &owner_count)) {
	case AUTHC_SHARE_OK:
		break;
	case AUTHC_SHARE_NONE:
		return MAILBOX_OK;
	default:
		return MAILBOX_UNAVAILABLE;
	}
	for (size_t i = 0; i < owner_count; i++) {
		AUTO_BUF struct buf name = BUF_INIT(AUTHC_ADDRESS_BYTES_MAX + 16);
		struct imap_shared *x;
		enum mailbox_result result = MAILBOX_OK;

		buf_adds(&name, IMAP_OTHERS);
		buf_add(&name, owners[i]);
		if (!wanted(r, buf_slice(&name), PATTERN_PARENT) && !wanted_above(&g, buf_slice(&name)))
			continue;
		switch (imap_shared_get(s, owners[i], &x)) {
		case IMAP_SHARED_OK:
			result = gather_of(&g, x);
			break;
		case IMAP_SHARED_NONE:
			break;
		case IMAP_SHARED_UNKNOWN:
			/* Half a list would make clients forget the other half. */
			result = MAILBOX_UNAVAILABLE;
			break;
		case IMAP_SHARED_DAMAGED:
			result = MAILBOX_DAMAGED;
			break;
		}
		imap_shared_trim(s);
		/* That does not get better by waiting, and one owner must not end LIST for all who may see something there. */
		if (result == MAILBOX_DAMAGED)
			tell_damaged(s, owners[i]);
		else if (result != MAILBOX_OK)
			return result;
	}
	return folder_infos_join(&r->arena, *folders, *count, g.list, g.count, folders, count);
}

/* ---- what goes along with making and removing folders ---- */

void imap_folder_made(struct imap_run *r, const struct imap_place *p, uint32_t folder)
{
	struct authc *authc = r->s->base.sv->authc;
	uint32_t parent = p->parent;

	if (authc == NULL || r->s->base.rights.ticket)
		return;
	if (p->own && imap_parent_id(r, p->account, p->name, &parent) != MAILBOX_OK)
		parent = FOLDER_NONE;
	if (parent != FOLDER_NONE && authc_acl_folder(authc, r->s->grant, p->own ? SLICE("") : p->owner, folder, parent) != AUTHC_SHARE_OK)
		event_warn(r->s->base.ev, "a new mailbox could not be given its parent's list of rights: nobody but the owner sees it");
}

void imap_folder_gone(struct imap_run *r, const struct imap_place *p, uint32_t folder)
{
	struct authc *authc = r->s->base.sv->authc;

	/* Its number never comes again, so a list that stays behind opens nothing. */
	if (authc != NULL && !r->s->base.rights.ticket && folder != FOLDER_NONE)
		(void)authc_acl_folder(authc, r->s->grant, p->own ? SLICE("") : p->owner, folder, 0);
}
