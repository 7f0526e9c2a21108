/*
 * Which permissions each IMAP command asks for, as RFC 4314 §4 has them. One table; a command without a row is refused.
 */
#include "mail/session/imap.h"

enum where {
	NOT_LISTED,
	NO_MAILBOX,			/* about the session itself */
	NAMED,				/* the mailbox that the command names */
	SELECTED,
	ACCOUNT,			/* mailboxes as such */
};

#define MAY(permission) POLICY_MAILBOX_##permission

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

struct session_object imap_object(const struct imap_session *s, struct slice name)
{
	return (struct session_object){
		.owner = s->address == NULL ? SLICE("") : slice_str(s->address), .name = name, .own = true,
	};
}

static struct slice selected_name(const struct imap_session *s)
{
	return s->mailbox_name == NULL ? SLICE("") : slice_str(s->mailbox_name);
}

static bool refuse(struct imap_run *r, const struct policy_denial *why)
{
	const char *text = arena_str(&r->arena, slice_str(why->text));

	imap_no(r, "NOPERM", text != NULL ? text : "refused by policy");
	return false;
}

static bool may(struct imap_run *r, uint32_t permissions, struct slice name)
{
	struct session_object o = imap_object(r->s, name);
	struct policy_denial why;

	for (uint32_t left = permissions; left != 0; left &= left - 1)
		if (!session_may(&r->s->base, left & -left, &o, imap_command_names[r->c.name], &why))
			return refuse(r, &why);
	return true;
}

bool imap_may(struct imap_run *r)
{
	enum imap_name name = r->c.name;
	struct slice target = name == IMAP_RENAME ? r->c.rename.to : r->c.mailbox;

	if (!imap_has_rights_row(name)) {
		imap_no(r, "NOPERM", "This command has no permission in the policy");
		return false;
	}
	switch (rows[name].where) {
	case NOT_LISTED: case NO_MAILBOX:
		return true;
	case NAMED:
		return may(r, rows[name].permissions, r->c.mailbox) && may(r, rows[name].target, target);
	case ACCOUNT:
		return may(r, rows[name].permissions, SLICE(""));
	case SELECTED:
		/* IDLE without a mailbox tells of nothing. */
		if (r->s->box == NULL)
			return true;
		return may(r, rows[name].permissions, selected_name(r->s)) && may(r, rows[name].target, target);
	}
	return false;
}

uint32_t imap_has(struct imap_session *s, uint32_t permissions)
{
	struct session_object o = imap_object(s, selected_name(s));

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
		return may(r, wanted & ~has, selected_name(r->s));
	request->flags &= allowed;
	if ((has & MAY(FLAG)) == 0)
		request->keywords = 0;
	return true;
}
