/*
 * Which permissions each IMAP command asks for, as RFC 4314 §4 has them. One table; a command without a row is refused.
 */
#include "mail/session/imap_shared.h"

enum where {
	NOT_LISTED,
	NO_MAILBOX,			/* about the session itself */
	NAMED,				/* the mailbox that the command names */
	SELECTED,
	ACCOUNT,			/* mailboxes as such */
};

#define MAY(permission) POLICY_MAILBOX_##permission

/* Lists of rights (directory/acl.h) hold the letters' bits, and are asked for as the policy's. */
_Static_assert((int)IMAP_RIGHT_L == MAY(LIST) && (int)IMAP_RIGHT_R == MAY(READ) && (int)IMAP_RIGHT_S == MAY(SEEN) &&
		       (int)IMAP_RIGHT_W == MAY(FLAG) && (int)IMAP_RIGHT_I == MAY(APPEND) && (int)IMAP_RIGHT_P == MAY(POST) &&
		       (int)IMAP_RIGHT_K == MAY(CREATE) && (int)IMAP_RIGHT_X == MAY(DESTROY) && (int)IMAP_RIGHT_T == MAY(DELETE) &&
		       (int)IMAP_RIGHT_E == MAY(EXPUNGE) && (int)IMAP_RIGHT_A == MAY(ADMINISTER),
	       "a list's letters are asked for as the policy's permissions");

static const struct {
	enum where where;
	uint32_t permissions;
	/* A second mailbox: where messages go, or the new name. */
	uint32_t target;
} rows[IMAP_COMMANDS] = {
	[IMAP_CAPABILITY] = { NO_MAILBOX, 0, 0 },
	[IMAP_NOOP] = { NO_MAILBOX, 0, 0 },
	[IMAP_LOGOUT] = { NO_MAILBOX, 0, 0 },
	[IMAP_STARTTLS] = { NO_MAILBOX, 0, 0 },
	[IMAP_AUTHENTICATE] = { NO_MAILBOX, 0, 0 },	/* auth asks for `login account` */
	[IMAP_LOGIN] = { NO_MAILBOX, 0, 0 },
	[IMAP_ENABLE] = { NO_MAILBOX, 0, 0 },
	[IMAP_NAMESPACE] = { NO_MAILBOX, 0, 0 },
	[IMAP_ID] = { NO_MAILBOX, 0, 0 },
	[IMAP_SETQUOTA] = { NO_MAILBOX, 0, 0 },		/* refused to everybody: the admin socket sets it */
	[IMAP_SETACL] = { NAMED, MAY(ADMINISTER), 0 },
	[IMAP_DELETEACL] = { NAMED, MAY(ADMINISTER), 0 },
	[IMAP_GETACL] = { NAMED, MAY(ADMINISTER), 0 },
	[IMAP_LISTRIGHTS] = { NAMED, MAY(ADMINISTER), 0 },
	[IMAP_MYRIGHTS] = { NAMED, 0, 0 },		/* with any right: may_ask_rights */
	[IMAP_CHECK] = { NO_MAILBOX, 0, 0 },
	[IMAP_CLOSE] = { NO_MAILBOX, 0, 0 },		/* expunges if it may */
	[IMAP_UNSELECT] = { NO_MAILBOX, 0, 0 },
	[IMAP_SELECT] = { NAMED, MAY(READ), 0 },
	[IMAP_EXAMINE] = { NAMED, MAY(READ), 0 },
	[IMAP_STATUS] = { NAMED, MAY(READ), 0 },
	[IMAP_CREATE] = { NAMED, MAY(CREATE), 0 },
	[IMAP_DELETE] = { NAMED, MAY(DESTROY), 0 },
	[IMAP_RENAME] = { NAMED, MAY(DESTROY), MAY(CREATE) },
	[IMAP_SUBSCRIBE] = { NAMED, MAY(LIST), 0 },
	[IMAP_UNSUBSCRIBE] = { NAMED, MAY(LIST), 0 },
	[IMAP_LIST] = { ACCOUNT, MAY(LIST), 0 },
	[IMAP_LSUB] = { ACCOUNT, MAY(LIST), 0 },
	[IMAP_APPEND] = { NAMED, MAY(APPEND), 0 },
	[IMAP_IDLE] = { SELECTED, MAY(READ), 0 },
	[IMAP_GETQUOTA] = { ACCOUNT, MAY(LIST), 0 },
	[IMAP_GETQUOTAROOT] = { NAMED, MAY(LIST), 0 },
	[IMAP_EXPUNGE] = { SELECTED, MAY(EXPUNGE), 0 },
	[IMAP_SEARCH] = { SELECTED, MAY(READ), 0 },
	[IMAP_SORT] = { SELECTED, MAY(READ), 0 },
	[IMAP_THREAD] = { SELECTED, MAY(READ), 0 },
	[IMAP_FETCH] = { SELECTED, MAY(READ), 0 },	/* sets \Seen if it may */
	[IMAP_STORE] = { SELECTED, MAY(READ), 0 },	/* and by the flags: imap_may_store */
	[IMAP_COPY] = { SELECTED, MAY(READ), MAY(APPEND) },
	[IMAP_MOVE] = { SELECTED, MAY(READ) | MAY(DELETE) | MAY(EXPUNGE), MAY(APPEND) },	/* RFC 6851 §3.3 */
};

bool imap_has_rights_row(enum imap_name name)
{
	return (size_t)name < ARRAY_LEN(rows) && rows[name].where != NOT_LISTED;
}

struct session_object imap_object_at(const struct imap_session *s, const struct imap_place *p)
{
	return (struct session_object){
		.owner = p->own ? slice_str(s->address == NULL ? "" : s->address) : p->owner,
		.name = p->name,
		.own = p->own,
		.acl = p->rights,
	};
}

static struct session_object selected_object(const struct imap_session *s)
{
	struct session_object o = {
		.owner = slice_str(s->address == NULL ? "" : s->address),
		.name = slice_str(s->mailbox_name == NULL ? "" : s->mailbox_name),
		.own = s->box_shared == NULL,
	};

	if (s->box_shared != NULL) {
		(void)imap_shared_name(o.name, &o.owner, &o.name);
		o.owner = slice_str(s->box_shared->what.owner);
		o.acl = imap_shared_rights(s->box_shared, s->box_folder);
	}
	return o;
}

/* "k" is asked of the mailbox above the one that is to be made. */
static struct session_object parent_object(const struct imap_session *s, const struct imap_place *p)
{
	struct session_object o = imap_object_at(s, p);

	o.acl = p->parent_rights;
	return o;
}

static bool refuse(struct imap_run *r, const struct policy_denial *why)
{
	const char *text = arena_str(&r->arena, slice_str(why->text));

	imap_no(r, "NOPERM", text != NULL ? text : "refused by policy");
	return false;
}

/* RFC 4314 §6: who may not see a mailbox is answered as if there were none. */
static bool hide(struct imap_run *r, const struct imap_place *p)
{
	struct session_object parent = parent_object(r->s, p);
	bool adds = r->c.name == IMAP_APPEND || r->c.name == IMAP_COPY || r->c.name == IMAP_MOVE;

	imap_result(r, MAILBOX_NO_FOLDER, adds && p->account != NULL && session_has(&r->s->base, MAY(CREATE), &parent) != 0, NULL);
	return false;
}

static bool may_object(struct imap_run *r, uint32_t permissions, const struct session_object *o, struct policy_denial *why)
{
	for (uint32_t left = permissions; left != 0; left &= left - 1)
		if (!session_may(&r->s->base, left & -left, o, imap_command_names[r->c.name], why))
			return false;
	return true;
}

static bool may(struct imap_run *r, uint32_t permissions, const struct session_object *o)
{
	struct policy_denial why;

	return may_object(r, permissions, o, &why) || refuse(r, &why);
}

/* Of the mailbox that stands there, or with CREATE alone of the one above. */
static bool may_at(struct imap_run *r, uint32_t permissions, const struct imap_place *p)
{
	bool creates = permissions == MAY(CREATE);
	struct session_object o = creates ? parent_object(r->s, p) : imap_object_at(r->s, p);
	struct policy_denial why;

	if (!may_object(r, permissions, &o, &why)) {
		/* There is nothing to see where it is to be made, or one must not learn of it: the same words. */
		if (p->own || creates || (p->folder != FOLDER_NONE && session_has(&r->s->base, MAY(LIST), &o) != 0))
			return refuse(r, &why);
		return hide(r, p);
	}
	if (!p->own && (p->account == NULL || (!creates && p->folder == FOLDER_NONE)))
		return hide(r, p);
	return true;
}

/* RFC 4314 §4: any of these tells that it is there. */
static bool may_ask_rights(struct imap_run *r, const struct imap_place *p)
{
	struct session_object o = imap_object_at(r->s, p);

	if (session_has(&r->s->base, MAY(LIST) | MAY(READ) | MAY(APPEND) | MAY(CREATE) | MAY(DESTROY) | MAY(ADMINISTER), &o) != 0 &&
	    (p->own || p->folder != FOLDER_NONE))
		return true;
	return may_at(r, MAY(LIST), p);
}

static bool resolve(struct imap_run *r, struct slice name, struct imap_place *out)
{
	enum mailbox_result result = imap_resolve(r, name, out);

	if (result != MAILBOX_OK)
		imap_result(r, result, false, NULL);
	return result == MAILBOX_OK;
}

static bool may_named(struct imap_run *r)
{
	enum imap_name name = r->c.name;

	if (!resolve(r, r->c.mailbox, &r->at))
		return false;
	if (name == IMAP_MYRIGHTS)
		return may_ask_rights(r, &r->at);
	/* The list of subscriptions is one's own. */
	if (name == IMAP_UNSUBSCRIBE && !r->at.own)
		return true;
	if (!may_at(r, rows[name].permissions, &r->at))
		return false;
	return rows[name].target == 0 || (resolve(r, r->c.rename.to, &r->target) && may_at(r, rows[name].target, &r->target));
}

static bool may_selected(struct imap_run *r)
{
	struct session_object o = selected_object(r->s);

	/* IDLE without a mailbox tells of nothing. */
	if (r->s->box == NULL)
		return true;
	if (!may(r, rows[r->c.name].permissions, &o))
		return false;
	return rows[r->c.name].target == 0 || (resolve(r, r->c.mailbox, &r->target) && may_at(r, rows[r->c.name].target, &r->target));
}

bool imap_may(struct imap_run *r)
{
	enum imap_name name = r->c.name;
	struct session_object all = { .owner = slice_str(r->s->address == NULL ? "" : r->s->address), .own = true };
	bool known = imap_shared_refresh(r->s);

	if (!imap_has_rights_row(name)) {
		imap_no(r, "NOPERM", "This command has no permission in the policy");
		return false;
	}
	switch (rows[name].where) {
	case NOT_LISTED: case NO_MAILBOX:
		return true;
	case NAMED:
		return may_named(r);
	case ACCOUNT:
		return may(r, rows[name].permissions, &all);
	case SELECTED:
		if (known)
			return may_selected(r);
		imap_result(r, MAILBOX_UNAVAILABLE, false, NULL);
		return false;
	}
	return false;
}

uint32_t imap_has(struct imap_session *s, uint32_t permissions)
{
	struct session_object o = selected_object(s);

	return session_has(&s->base, permissions, &o);
}

uint8_t imap_flags_allowed(uint32_t rights)
{
	uint8_t flags = 0;

	if ((rights & MAY(SEEN)) != 0)
		flags |= FLAG_SEEN;
	if ((rights & MAY(DELETE)) != 0)
		flags |= FLAG_DELETED;
	if ((rights & MAY(FLAG)) != 0)
		flags |= (uint8_t)(FLAGS_ALL & ~(unsigned)(FLAG_SEEN | FLAG_DELETED));
	return flags;
}

/*
 * RFC 4314 §4: a STORE of several flags succeeds for those that are allowed, and fails when none is. What replaces all flags needs all rights:
 * those that may not be touched would go.
 */
bool imap_may_store(struct imap_run *r, struct store_request *request)
{
	uint32_t all = MAY(SEEN) | MAY(FLAG) | MAY(DELETE), wanted = 0, has = imap_has(r->s, all);
	uint8_t allowed = imap_flags_allowed(has);
	struct session_object o = selected_object(r->s);

	if ((request->flags & FLAG_SEEN) != 0)
		wanted |= MAY(SEEN);
	if ((request->flags & FLAG_DELETED) != 0)
		wanted |= MAY(DELETE);
	if ((request->flags & ~(FLAG_SEEN | FLAG_DELETED)) != 0 || request->keywords != 0)
		wanted |= MAY(FLAG);
	if (request->mode == STORE_REPLACE)
		wanted = all;
	if ((wanted & ~has) == 0)
		return true;
	if (request->mode == STORE_REPLACE || (wanted & has) == 0)
		return may(r, wanted & ~has, &o);
	request->flags &= allowed;
	if ((has & MAY(FLAG)) == 0)
		request->keywords = 0;
	return true;
}
