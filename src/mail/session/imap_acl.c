/*
 * SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314 §3). That the session may administer the mailbox has been asked; auth, which has
 * the lists, asks once more.
 */
#include "base/utf8.h"
#include "mail/directory/acl.h"
#include "mail/imap/rights.h"
#include "mail/imap/write.h"
#include "mail/session/imap_shared.h"

/* Owner and folder as auth knows them; false: answered. */
static bool folder_of(struct imap_run *r, struct slice *owner, uint32_t *folder)
{
	const struct imap_place *p = &r->at;
	struct folder_info info;
	enum mailbox_result result;

	*owner = p->own ? SLICE("") : p->owner;
	*folder = p->folder;
	if (!p->own)
		return true;
	result = account_status(p->account, p->name, &r->arena, &info);
	if (result != MAILBOX_OK)
		imap_result(r, result, false, NULL);
	else
		*folder = info.id;
	return result == MAILBOX_OK;
}

static void answer(struct imap_run *r, enum authc_share_result result)
{
	switch (result) {
	case AUTHC_SHARE_OK:
		imap_ok(r, "Done");
		break;
	case AUTHC_SHARE_NONE:
		imap_result(r, MAILBOX_NO_FOLDER, false, NULL);
		break;
	case AUTHC_SHARE_DENIED:
		imap_no(r, "NOPERM", "Its list of rights does not let you");
		break;
	case AUTHC_SHARE_MALFORMED:
		imap_bad(r, "This identifier cannot be one: give an address, or anyone");
		break;
	case AUTHC_SHARE_NO_USER:
		imap_no(r, "NONEXISTENT", "There is no such user: give the address with which they log in, or anyone");
		break;
	case AUTHC_SHARE_OWNER:
		imap_no(r, "CANNOT", "What the owner may do is the policy's rule, not this list's");
		break;
	case AUTHC_SHARE_LIMIT:
		imap_no(r, "LIMIT", "A list of rights would be too long");
		break;
	case AUTHC_SHARE_TEMPORARY:
		imap_no(r, "UNAVAILABLE", "Lists of rights cannot be reached now, try again");
		break;
	}
}

static void write_rights(struct buf *out, uint32_t rights)
{
	buf_addc(out, ' ');
	if (rights == 0)
		buf_adds(out, "\"\"");
	else
		imap_rights_write(out, rights);
}

static void do_setacl(struct imap_run *r, struct slice owner, uint32_t folder)
{
	const struct imap_rights_change *c = &r->c.acl.rights;
	uint32_t keep = 0, add = 0;

	if (r->c.name == IMAP_SETACL) {
		/* What becomes of everything and of nothing says what a change is. */
		add = imap_rights_changed(0, c);
		keep = imap_rights_changed(IMAP_RIGHTS_ALL, c) & ~add;
		keep = c->how == IMAP_RIGHTS_REPLACE ? 0 : keep;
	}
	answer(r, authc_acl_set(r->s->base.sv->authc, r->s->grant, owner, folder, r->c.acl.identifier, keep, add));
}

/* What owners may do by the policy. */
static uint32_t owner_rights(struct imap_run *r)
{
	struct session_object o = imap_object_at(r->s, &r->at);

	o.own = true;
	return session_has(&r->s->base, IMAP_RIGHTS_ALL, &o);
}

static struct slice owner_address(const struct imap_run *r)
{
	return r->at.own ? slice_str(r->s->address == NULL ? "" : r->s->address) : r->at.owner;
}

static void write_name(struct imap_run *r, const char *word)
{
	buf_adds(&r->out, word);
	imap_write_mailbox(&r->out, r->c.mailbox, r->s->utf8);
}

static void do_getacl(struct imap_run *r, struct slice owner, uint32_t folder)
{
	struct acl *acl = ARENA_NEW(&r->arena, struct acl);
	struct slice list;
	enum authc_share_result result = acl == NULL ? AUTHC_SHARE_TEMPORARY :
						       authc_acl_get(r->s->base.sv->authc, r->s->grant, owner, folder, &r->arena, &list);

	if (result != AUTHC_SHARE_OK || !acl_decode(list, acl)) {
		answer(r, result == AUTHC_SHARE_OK ? AUTHC_SHARE_TEMPORARY : result);
		return;
	}
	write_name(r, "* ACL ");
	buf_addc(&r->out, ' ');
	imap_write_astring(&r->out, owner_address(r));
	write_rights(&r->out, owner_rights(r));
	for (size_t i = 0; i < acl->count; i++) {
		buf_addc(&r->out, ' ');
		imap_write_astring(&r->out, acl->entries[i].identifier);
		write_rights(&r->out, acl->entries[i].rights);
	}
	buf_adds(&r->out, "\r\n");
	imap_ok(r, "Done");
}

/* The owner, in one of the spellings that auth takes. */
static bool is_owner(struct imap_run *r, struct slice identifier)
{
	struct slice owner = owner_address(r);
	struct slice address;

	if (slice_find_byte(identifier, '@') == SLICE_NPOS)
		return slice_eq_nocase(identifier, slice_head(owner, slice_rfind_byte(owner, '@')));
	return acl_address(&r->arena, identifier, &address) && slice_eq(address, owner);
}

static void do_listrights(struct imap_run *r)
{
	struct slice identifier = r->c.acl.identifier;

	if (identifier.len == 0 || !utf8_valid(identifier)) {
		answer(r, AUTHC_SHARE_MALFORMED);
		return;
	}
	write_name(r, "* LISTRIGHTS ");
	buf_addc(&r->out, ' ');
	/* §3.4: as the client wrote it. */
	imap_write_astring(&r->out, identifier);
	if (is_owner(r, identifier)) {
		write_rights(&r->out, owner_rights(r));
	} else {
		/* None is tied to another; "c" and "d" come by themselves (§2.1.1). */
		buf_adds(&r->out, " \"\"");
		for (size_t i = 0; i < sizeof(IMAP_RIGHTS) - 1; i++) {
			buf_addc(&r->out, ' ');
			buf_addc(&r->out, (uint8_t)IMAP_RIGHTS[i]);
		}
		buf_adds(&r->out, " c d");
	}
	buf_adds(&r->out, "\r\n");
	imap_ok(r, "Done");
}

static void do_myrights(struct imap_run *r)
{
	struct session_object o = imap_object_at(r->s, &r->at);

	write_name(r, "* MYRIGHTS ");
	write_rights(&r->out, session_has(&r->s->base, IMAP_RIGHTS_ALL, &o));
	buf_adds(&r->out, "\r\n");
	imap_ok(r, "Done");
}

void imap_do_acl(struct imap_run *r)
{
	struct slice owner;
	uint32_t folder;

	if (r->s->base.sv->authc == NULL) {
		answer(r, AUTHC_SHARE_TEMPORARY);
		return;
	}
	if (!folder_of(r, &owner, &folder))
		return;
	if (r->c.name == IMAP_SETACL || r->c.name == IMAP_DELETEACL)
		do_setacl(r, owner, folder);
	else if (r->c.name == IMAP_GETACL)
		do_getacl(r, owner, folder);
	else if (r->c.name == IMAP_LISTRIGHTS)
		do_listrights(r);
	else
		do_myrights(r);
}
