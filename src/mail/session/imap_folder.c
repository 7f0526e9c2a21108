#include "mail/imap/pattern.h"
#include "mail/imap/write.h"
#include "mail/session/imap_shared.h"
#include "sys/fiber.h"

#define WORK_IN_TURN 4000000u	/* steps of matching names: some milliseconds */

void imap_do_create(struct imap_run *r)
{
	struct slice name = r->at.name;
	uint32_t id = FOLDER_NONE;
	enum mailbox_result result;
	struct folder_info info;

	/* What stands below it are others' names, in the account of another as well: its owner would take it for theirs. */
	if (slice_starts(name, SLICE(IMAP_OTHERS))) {
		imap_no(r, "CANNOT", "Names below \"" IMAP_OTHERS "\" are those of others' mailboxes");
		return;
	}
	result = folder_create(r->at.account, name, r->at.own ? r->c.create.uses : 0, &id);
	if (result == MAILBOX_OK)
		imap_folder_made(r, &r->at, id);
	/* RFC 8474 §4.1: the new id in the tagged answer. */
	if (result == MAILBOX_OK &&
	    account_status(r->at.account, name, &r->arena, &info) == MAILBOX_OK) {
		buf_adds(&r->code, "MAILBOXID (");
		folder_mailboxid(info.id, info.uidvalidity, &r->code);
		buf_addc(&r->code, ')');
	}
	imap_result(r, result, false, "Created");
}

void imap_do_delete(struct imap_run *r)
{
	struct imap_session *s = r->s;
	struct folder_info info;
	uint32_t id = FOLDER_NONE;
	enum mailbox_result result = account_status(r->at.account, r->at.name, &r->arena, &info);

	if (result == MAILBOX_OK)
		id = info.id;
	if (r->at.own || (result == MAILBOX_OK && id == r->at.folder))
		result = folder_delete(r->at.account, r->at.name);
	else
		result = MAILBOX_NO_FOLDER;
	if (result == MAILBOX_OK)
		imap_folder_gone(r, &r->at, id);

	/* Its own selected mailbox: no reason to say BYE, the client knows that it is gone. */
	if (result == MAILBOX_OK && s->box != NULL) {
		mailbox_status(s->box, &info);
		if (info.id == FOLDER_NONE)
			imap_deselect(s);
	}
	imap_result(r, result, false, "Deleted");
}

void imap_do_rename(struct imap_run *r)
{
	/* Mail stays whose it is; and INBOX's is moved by whoever may remove it there. */
	if (r->at.account != r->target.account || (!r->at.own && slice_eq_nocase(r->at.name, SLICE("INBOX")))) {
		imap_no(r, "CANNOT", "A mailbox cannot be given to another user, nor another's INBOX be renamed: copy its messages");
		return;
	}
	/* "user" alone: names below the old one would come below it. */
	if (slice_starts(r->target.name, SLICE(IMAP_OTHERS)) || slice_eq(r->target.name, SLICE(IMAP_OTHERS_ROOT))) {
		imap_no(r, "CANNOT", "Names below \"" IMAP_OTHERS "\" are those of others' mailboxes");
		return;
	}
	imap_result(r, folder_rename(r->at.account, r->at.name, r->target.name), false, "Renamed");
}

void imap_do_subscribe(struct imap_run *r)
{
	imap_result(r,
		    folder_subscribe(r->s->account, r->at.full, r->c.name == IMAP_SUBSCRIBE),
		    false, "Done");
}

/* ---- STATUS ---- */

static void status_number(struct buf *out, bool *first, const char *name, uint64_t n)
{
	if (!*first)
		buf_addc(out, ' ');
	*first = false;
	buf_adds(out, name);
	buf_addc(out, ' ');
	buf_dec(out, n);
}

static void write_status(struct imap_run *r, struct slice name, uint16_t items,
			 const struct folder_info *f)
{
	struct buf *out = &r->out;
	bool first = true;
	const struct {
		uint16_t bit;
		const char *name;
		uint64_t value;
	} rows[] = {
		{ STATUS_MESSAGES, "MESSAGES", f->messages },
		{ STATUS_RECENT, "RECENT", f->recent },
		{ STATUS_UIDNEXT, "UIDNEXT", f->uidnext },
		{ STATUS_UIDVALIDITY, "UIDVALIDITY", f->uidvalidity },
		{ STATUS_UNSEEN, "UNSEEN", f->unseen },
		{ STATUS_DELETED, "DELETED", f->deleted },
		{ STATUS_SIZE, "SIZE", f->size },
		{ STATUS_HIGHESTMODSEQ, "HIGHESTMODSEQ", f->highestmodseq },
		{ STATUS_APPENDLIMIT, "APPENDLIMIT", r->s->base.sv->set.message_bytes_max },
		{ STATUS_DELETED_STORAGE, "DELETED-STORAGE", f->deleted_size },
	};

	buf_adds(out, "* STATUS ");
	imap_write_mailbox(out, name, r->s->utf8);
	buf_adds(out, " (");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (items & rows[i].bit)
			status_number(out, &first, rows[i].name, rows[i].value);
	}
	if (items & STATUS_MAILBOXID) {
		buf_adds(out, first ? "MAILBOXID (" : " MAILBOXID (");
		folder_mailboxid(f->id, f->uidvalidity, out);
		buf_addc(out, ')');
	}
	buf_adds(out, ")\r\n");
}

void imap_do_status(struct imap_run *r)
{
	struct folder_info info;
	enum mailbox_result result;

	result = account_status(r->at.account, r->at.name, &r->arena, &info);
	if (result == MAILBOX_OK && !r->at.own && info.id != r->at.folder)
		result = MAILBOX_NO_FOLDER;
	if (result == MAILBOX_OK) {
		if (r->c.status.items & STATUS_HIGHESTMODSEQ)
			imap_enable_condstore(r);
		write_status(r, r->c.mailbox, r->c.status.items, &info);
	}
	imap_result(r, result, false, "Done");
}

/* ---- LIST, LSUB ---- */

static void add_attribute(struct buf *out, bool *first, const char *name)
{
	if (!*first)
		buf_addc(out, ' ');
	*first = false;
	buf_adds(out, name);
}

static void write_attributes(struct imap_run *r, const struct folder_info *f)
{
	/* RFC 6154 §2 and RFC 8457, in the order of enum special_use. */
	static const char *const uses[] = { "\\All",  "\\Archive", "\\Drafts", "\\Flagged",
					    "\\Junk", "\\Sent",	   "\\Trash",  "\\Important" };
	struct buf *out = &r->out;
	bool first = true;
	bool subscribed = r->c.list.select & LIST_SUBSCRIBED ||
			  r->c.list.returns & LIST_RETURN_SUBSCRIBED;

	buf_addc(out, '(');
	if (f->id == FOLDER_NONE) {
		/* RFC 5258 §3: \NonExistent implies \NoSelect; old clients know only the latter. */
		if (r->c.list.extended || r->s->rev2)
			add_attribute(out, &first, "\\NonExistent");
		else
			add_attribute(out, &first, "\\Noselect");
	}
	if (f->subscribed && subscribed)
		add_attribute(out, &first, "\\Subscribed");
	add_attribute(out, &first, f->has_children ? "\\HasChildren" : "\\HasNoChildren");
	for (size_t i = 0; i < ARRAY_LEN(uses); i++) {
		if (f->special_use & 1u << i)
			add_attribute(out, &first, uses[i]);
	}
	buf_addc(out, ')');
}

static void write_list(struct imap_run *r, const struct folder_info *f, bool childinfo)
{
	buf_adds(&r->out, "* LIST ");
	write_attributes(r, f);
	buf_adds(&r->out, " \"/\" ");
	imap_write_mailbox(&r->out, f->name, r->s->utf8);
	/* RFC 5258 §3.5 */
	if (childinfo)
		buf_adds(&r->out, " (\"CHILDINFO\" (\"SUBSCRIBED\"))");
	buf_adds(&r->out, "\r\n");
	/* uidvalidity 0: another's, that the session may see but not read. */
	if (r->c.list.returns & LIST_RETURN_STATUS && f->id != FOLDER_NONE && f->uidvalidity != 0)
		write_status(r, f->name, r->c.list.status, f);
	if (r->out.len > 32768)
		imap_send(r);
}

/* The patterns with the reference in front; false when memory is short. */
static bool full_patterns(struct imap_run *r)
{
	struct slice reference = r->c.list.reference;

	for (size_t i = 0; reference.len > 0 && i < r->c.list.pattern_count; i++) {
		struct slice *p = &r->c.list.patterns[i];
		uint8_t *joined = arena_alloc(&r->arena, reference.len + p->len);

		if (joined == NULL)
			return false;
		memcpy(joined, reference.ptr, reference.len);
		memcpy(joined + reference.len, p->ptr, p->len);
		*p = slice_of(joined, reference.len + p->len);
	}
	return true;
}

/*
 * The worst pattern costs its length times the name's, and there may be thousands of folders: the other
 * sessions get their turn in between.
 */
static void take_turns(const struct imap_run *r, struct slice name, uint64_t *work)
{
	for (size_t i = 0; i < r->c.list.pattern_count; i++)
		*work += (uint64_t)r->c.list.patterns[i].len * name.len;
	if (*work > WORK_IN_TURN) {
		*work = 0;
		fiber_yield();
	}
}

static bool matches(const struct imap_run *r, struct slice name)
{
	for (size_t i = 0; i < r->c.list.pattern_count; i++) {
		if (pattern_match(r->c.list.patterns[i], name) == PATTERN_YES)
			return true;
	}
	return false;
}

static void list_one(struct imap_run *r, const struct folder_info *f)
{
	uint8_t select = r->c.list.select;
	bool recursive = select & LIST_RECURSIVEMATCH;
	bool chosen, childinfo = false;

	if (!matches(r, f->name))
		return;
	if (select & LIST_SUBSCRIBED) {
		chosen = f->subscribed;
		childinfo = recursive && f->subscribed_below;
	} else {
		/* A subscription without folder is not a mailbox; a parent of one is shown. */
		chosen = f->id != FOLDER_NONE || f->has_children;
	}
	if (select & LIST_SPECIAL_USE)
		chosen = chosen && f->special_use != 0;
	if (chosen || childinfo)
		write_list(r, f, childinfo);
}

/* RFC 9051 §6.3.9.8: an empty pattern asks for the delimiter. */
static bool asks_for_delimiter(struct imap_run *r, const char *word)
{
	if (r->c.list.pattern_count != 1 || r->c.list.patterns[0].len != 0 || r->c.list.extended)
		return false;
	buf_adds(&r->out, "* ");
	buf_adds(&r->out, word);
	buf_adds(&r->out, " (\\Noselect) \"/\" \"\"\r\n");
	imap_ok(r, "Done");
	return true;
}

void imap_do_list(struct imap_run *r)
{
	struct folder_info *folders;
	size_t count;
	uint64_t work = 0;
	enum mailbox_result result = MAILBOX_OK;

	if (asks_for_delimiter(r, "LIST"))
		return;
	if (!full_patterns(r)) {
		imap_result(r, MAILBOX_MEMORY, false, NULL);
		return;
	}
	/* Without STATUS the names alone matter, but other processes may have made some. */
	result = account_refresh(r->s->account);
	if (result == MAILBOX_OK)
		result = account_folders(r->s->account, &r->arena, &folders, &count);
	if (result == MAILBOX_OK)
		result = imap_shared_list(r, &folders, &count);
	if (result == MAILBOX_OK) {
		if (r->c.list.status & STATUS_HIGHESTMODSEQ)
			imap_enable_condstore(r);
		for (size_t i = 0; i < count; i++) {
			take_turns(r, folders[i].name, &work);
			list_one(r, &folders[i]);
		}
	}
	imap_result(r, result, false, "Done");
}

/* RFC 3501 §6.3.9 */
void imap_do_lsub(struct imap_run *r)
{
	struct folder_info *folders;
	size_t count;
	struct slice pattern;
	bool percent;
	uint64_t work = 0;
	enum mailbox_result result;

	if (asks_for_delimiter(r, "LSUB"))
		return;
	if (!full_patterns(r)) {
		imap_result(r, MAILBOX_MEMORY, false, NULL);
		return;
	}
	pattern = r->c.list.patterns[0];
	percent = pattern.len > 0 && pattern.ptr[pattern.len - 1] == '%';
	result = account_refresh(r->s->account);
	if (result == MAILBOX_OK)
		result = account_folders(r->s->account, &r->arena, &folders, &count);
	/* Subscriptions are by name (RFC 3501 §6.3.9): what others share or do not share any more changes nothing here. */
	for (size_t i = 0; result == MAILBOX_OK && i < count; i++) {
		const struct folder_info *f = &folders[i];

		take_turns(r, f->name, &work);
		/* "%": a name whose child is subscribed is shown, with \Noselect. */
		if (!matches(r, f->name) || !(f->subscribed || (percent && f->subscribed_below)))
			continue;
		buf_adds(&r->out, f->subscribed ? "* LSUB () \"/\" " : "* LSUB (\\Noselect) \"/\" ");
		imap_write_mailbox(&r->out, f->name, r->s->utf8);
		buf_adds(&r->out, "\r\n");
		if (r->out.len > 32768)
			imap_send(r);
	}
	imap_result(r, result, false, "Done");
}

/* ---- quota: one root, "", for the whole account (RFC 9208), none for an account without limits ---- */

static void write_quota(struct imap_run *r, const struct account_usage *u)
{
	struct buf *out = &r->out;

	buf_adds(out, "* QUOTA \"\" (");
	if (u->quota.bytes_max > 0) {
		/* RFC 9208 §5.1: units of 1024 octets; used is rounded up. */
		buf_adds(out, "STORAGE ");
		buf_dec(out, (u->bytes + 1023) / 1024);
		buf_addc(out, ' ');
		buf_dec(out, u->quota.bytes_max / 1024);
	}
	if (u->quota.messages_max > 0) {
		buf_adds(out, u->quota.bytes_max > 0 ? " MESSAGE " : "MESSAGE ");
		buf_dec(out, u->messages);
		buf_addc(out, ' ');
		buf_dec(out, u->quota.messages_max);
	}
	buf_adds(out, ")\r\n");
}

void imap_do_quota(struct imap_run *r)
{
	struct account_usage usage;
	struct folder_info info;
	enum mailbox_result result;

	if (r->c.name == IMAP_SETQUOTA) {
		imap_no(r, "NOPERM", "Quotas are set by the administrator");
		return;
	}
	if (r->c.name == IMAP_GETQUOTA && r->c.mailbox.len > 0) {
		imap_no(r, "NONEXISTENT", "No such quota root");
		return;
	}
	/* How full another's account is concerns nobody else: no root. */
	if (r->c.name == IMAP_GETQUOTAROOT && !r->at.own) {
		buf_adds(&r->out, "* QUOTAROOT ");
		imap_write_mailbox(&r->out, r->c.mailbox, r->s->utf8);
		buf_adds(&r->out, "\r\n");
		imap_ok(r, "Done");
		return;
	}
	if (r->c.name == IMAP_GETQUOTA)
		result = account_refresh(r->s->account);
	else
		result = account_status(r->s->account, r->c.mailbox, &r->arena, &info);
	if (result != MAILBOX_OK) {
		imap_result(r, result, false, NULL);
		return;
	}
	account_usage(r->s->account, &usage);
	bool limited = usage.quota.bytes_max > 0 || usage.quota.messages_max > 0;
	if (r->c.name == IMAP_GETQUOTAROOT) {
		buf_adds(&r->out, "* QUOTAROOT ");
		imap_write_mailbox(&r->out, r->c.mailbox, r->s->utf8);
		buf_adds(&r->out, limited ? " \"\"\r\n" : "\r\n");
	} else if (!limited) {
		imap_no(r, "NONEXISTENT", "There are no limits");
		return;
	}
	/* RFC 9208 §7: a list of resources is not empty. */
	if (limited)
		write_quota(r, &usage);
	imap_ok(r, "Done");
}
