/*
 * A stand-in for auth's lists of rights, for tests of sessions: the functions of authc_shares.h, over lists in memory. Include it once, in the
 * test's only file.
 */
#pragma once
#include <stdio.h>

#include "base/must.h"
#include "mail/directory/acl.h"
#include "mail/session/authc_shares.h"

struct rig_user {
	const char *address, *account;
};
static const struct rig_user rig_users[] = {
	{ "ann@example.org", "00000000000000aa" },
	{ "bob@example.org", "00000000000000bb" },
};
/* A login's grant begins with the number of who it is. */
static const struct rig_user *rig_login_of(const uint8_t grant[AUTHC_GRANT_BYTES])
{
	must(grant[0] < sizeof(rig_users) / sizeof(rig_users[0]));
	return &rig_users[grant[0]];
}

static struct rig_list {
	const struct rig_user *owner;
	uint32_t folder;
	struct acl acl;
} rig_lists[64];
static size_t rig_list_count;
static bool rig_shares_away;		/* every question is answered "temporary" */
static unsigned rig_shares_held;	/* grants that were given and not given back */

static const struct rig_user *rig_user_of(struct slice address)
{
	for (size_t i = 0; i < sizeof(rig_users) / sizeof(rig_users[0]); i++)
		if (slice_eq(address, slice_str(rig_users[i].address)))
			return &rig_users[i];
	return NULL;
}

static struct acl *rig_list_of(const struct rig_user *owner, uint32_t folder, bool make)
{
	for (size_t i = 0; i < rig_list_count; i++)
		if (rig_lists[i].owner == owner && rig_lists[i].folder == folder)
			return &rig_lists[i].acl;
	if (!make || rig_list_count == sizeof(rig_lists) / sizeof(rig_lists[0]))
		return NULL;
	rig_lists[rig_list_count] = (struct rig_list){ .owner = owner, .folder = folder };
	return &rig_lists[rig_list_count++].acl;
}

enum authc_share_result authc_shared(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, const uint8_t *have,
				     struct arena *arena, struct authc_shared *out)
{
	const struct rig_user *me = rig_login_of(grant), *who = rig_user_of(owner);

	(void)a;
	if (rig_shares_away)
		return AUTHC_SHARE_TEMPORARY;
	if (who == NULL || who == me)
		return AUTHC_SHARE_NONE;
	*out = (struct authc_shared){ .grant = { 9 }, .folders = arena_array(arena, rig_list_count + 1, sizeof(struct authc_share)) };
	must(out->folders != NULL);
	snprintf(out->owner, sizeof(out->owner), "%s", who->address);
	snprintf(out->account, sizeof(out->account), "%s", who->account);
	for (size_t i = 0; i < rig_list_count; i++) {
		uint32_t rights = acl_effective(&rig_lists[i].acl, slice_str(me->address));
		size_t at = out->count;

		if (rig_lists[i].owner != who || rights == 0)
			continue;
		for (; at > 0 && out->folders[at - 1].folder > rig_lists[i].folder; at--)
			out->folders[at] = out->folders[at - 1];
		out->folders[at] = (struct authc_share){ rig_lists[i].folder, rights };
		out->count++;
	}
	if (out->count == 0)
		return AUTHC_SHARE_NONE;
	rig_shares_held += have == NULL;
	return AUTHC_SHARE_OK;
}

void authc_release(struct authc *a, const uint8_t shared[AUTHC_GRANT_BYTES])
{
	(void)a;
	must(shared[0] == 9 && rig_shares_held > 0);
	rig_shares_held--;
}

enum authc_share_result authc_sharers(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct arena *arena, struct slice **owners,
				      size_t *count)
{
	(void)a;
	if (rig_shares_away)
		return AUTHC_SHARE_TEMPORARY;
	*owners = arena_array(arena, 2, sizeof(**owners));
	must(*owners != NULL);
	*count = 0;
	for (size_t i = 0; i < sizeof(rig_users) / sizeof(rig_users[0]); i++)
		if (&rig_users[i] != rig_login_of(grant))
			(*owners)[(*count)++] = slice_str(rig_users[i].address);
	return AUTHC_SHARE_OK;
}

static const struct rig_user *rig_owner(const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner)
{
	return owner.len == 0 ? rig_login_of(grant) : rig_user_of(owner);
}

enum authc_share_result authc_acl_get(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, uint32_t folder,
				      struct arena *arena, struct slice *list)
{
	const struct acl *acl = rig_list_of(rig_owner(grant, owner), folder, false);
	AUTO_BUF struct buf bytes = BUF_INIT(65536);

	(void)a;
	if (rig_shares_away)
		return AUTHC_SHARE_TEMPORARY;
	acl_encode(&bytes, acl == NULL ? &(struct acl){ 0 } : acl);
	*list = arena_dup(arena, buf_slice(&bytes));
	return AUTHC_SHARE_OK;
}

enum authc_share_result authc_acl_set(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, uint32_t folder,
				      struct slice identifier, uint32_t keep, uint32_t add)
{
	struct acl *acl = rig_list_of(rig_owner(grant, owner), folder, true);
	static char names[256][64];
	static size_t used;
	bool negative = identifier.len > 0 && identifier.ptr[0] == '-';
	struct slice name = slice_from(identifier, negative);
	char *text = names[used++ % 256];

	(void)a;
	if (rig_shares_away)
		return AUTHC_SHARE_TEMPORARY;
	if (name.len == 0)
		return AUTHC_SHARE_MALFORMED;
	snprintf(text, sizeof(names[0]), "%s%.*s%s", negative ? "-" : "", (int)MIN(name.len, 40u), (const char *)name.ptr,
		 slice_eq(name, SLICE(ACL_ANYONE)) || slice_find_byte(name, '@') != SLICE_NPOS ? "" : "@example.org");
	if (!slice_eq(name, SLICE(ACL_ANYONE)) && add != 0 && rig_user_of(slice_str(text + negative)) == NULL)
		return AUTHC_SHARE_NO_USER;
	if (rig_user_of(slice_str(text)) == rig_owner(grant, owner))
		return AUTHC_SHARE_OWNER;
	if (acl == NULL || !acl_set(acl, slice_str(text), (acl_rights(acl, slice_str(text)) & keep) | add))
		return AUTHC_SHARE_LIMIT;
	return AUTHC_SHARE_OK;
}

enum authc_share_result authc_acl_folder(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, uint32_t folder,
					 uint32_t parent)
{
	const struct rig_user *who = rig_owner(grant, owner);
	const struct acl *above = rig_list_of(who, parent, false);
	struct acl *acl = rig_list_of(who, folder, above != NULL);

	(void)a;
	if (acl != NULL)
		*acl = parent == 0 || above == NULL ? (struct acl){ 0 } : *above;
	return AUTHC_SHARE_OK;
}
