#include <stdlib.h>

#include "base/event.h"
#include "base/must.h"
#include "mail/imap/write.h"
#include "mail/session/imap.h"

void imap_send(struct imap_run *r)
{
	if (r->out.err != 0) {
		/* An answer that cannot be complete must not be sent at all: end the session. */
		r->close = true;
		if (r->s->base.stream.err == 0)
			r->s->base.stream.err = r->out.err;
	} else {
		stream_write(&r->s->base.stream, buf_slice(&r->out));
	}
	buf_reset(&r->out);
}

void imap_ok(struct imap_run *r, const char *message)
{
	r->status = "OK";
	r->message = message;
}

void imap_no(struct imap_run *r, const char *code, const char *message)
{
	r->status = "NO";
	r->message = message;
	buf_reset(&r->code);
	if (code != NULL)
		buf_adds(&r->code, code);
}

void imap_bad(struct imap_run *r, const char *message)
{
	r->status = "BAD";
	r->message = message;
	buf_reset(&r->code);
	r->s->base.bad_commands++;
}

/* RFC 9051 §7.1 and RFC 5530: codes in the order of enum mailbox_result. */
static const struct {
	const char *code, *message;
} results[] = {
	[MAILBOX_NO_FOLDER] = { "NONEXISTENT", "There is no such mailbox" },
	[MAILBOX_EXISTS] = { "ALREADYEXISTS", "The mailbox exists already" },
	[MAILBOX_CANNOT] = { "CANNOT", "This mailbox name does not allow it" },
	[MAILBOX_USE_TAKEN] = { "USEATTR", "Another mailbox has this special use" },
	[MAILBOX_OVERQUOTA] = { "OVERQUOTA", "The quota would be exceeded" },
	[MAILBOX_LIMIT] = { "LIMIT", "A limit of this server would be exceeded" },
	[MAILBOX_EXPUNGED] = { "EXPUNGEISSUED", "Some of the messages no longer exist" },
	[MAILBOX_READ_ONLY] = { "READ-ONLY", "The mailbox was opened read-only" },
	[MAILBOX_FULL] = { "UNAVAILABLE", "The server's disk is full" },
	[MAILBOX_UNAVAILABLE] = { "UNAVAILABLE", "The store does not answer now, try again" },
	[MAILBOX_DAMAGED] = { "SERVERBUG", "Stored data is damaged" },
	[MAILBOX_DENIED] = { "NOPERM", "The store refuses: log in again" },
	[MAILBOX_MEMORY] = { "LIMIT", "This needs too much memory" },
};

void imap_result(struct imap_run *r, enum mailbox_result result, bool try_create,
		 const char *ok_message)
{
	if (result == MAILBOX_OK) {
		imap_ok(r, ok_message);
		return;
	}
	if (result == MAILBOX_DAMAGED || result == MAILBOX_DENIED) {
		AUTO_EVENT struct event *ev = event_child(r->s->base.ev, "imap.command");

		event_str(ev, "command", imap_command_names[r->c.name]);
		event_str(ev, "result", mailbox_result_name(result));
		event_warn(ev, "the mailbox layer refused a command, answering NO");
	}
	must(result < ARRAY_LEN(results) && results[result].code != NULL);
	if (result == MAILBOX_NO_FOLDER && try_create)
		imap_no(r, "TRYCREATE", "There is no such mailbox");
	else
		imap_no(r, results[result].code, results[result].message);
}

void imap_finish(struct imap_run *r)
{
	struct buf *out = &r->out;

	buf_add(out, r->c.tag);
	buf_addc(out, ' ');
	buf_adds(out, r->status);
	buf_addc(out, ' ');
	if (r->code.len > 0) {
		buf_addc(out, '[');
		buf_add(out, buf_slice(&r->code));
		buf_adds(out, "] ");
	}
	buf_adds(out, r->message);
	buf_adds(out, "\r\n");
	/* Mistakes in a row end a session, not those of a long day. */
	if (r->status[0] == 'O')
		r->s->base.bad_commands = 0;
	imap_send(r);
}

/* ---- flags ---- */

static const char *const flag_names[] = { "\\Seen", "\\Answered", "\\Flagged", "\\Deleted",
					  "\\Draft" };

/* As they are told in FLAGS. */
static const uint8_t told_order[] = { 1, 2, 3, 0, 4 };
#define FLAG_RIGHTS (POLICY_MAILBOX_SEEN | POLICY_MAILBOX_FLAG | POLICY_MAILBOX_DELETE)

bool imap_flags(struct imap_run *r, struct account *account, const struct flag_list *list, bool make, uint8_t *flags,
		uint64_t *keywords)
{
	struct slice *words = arena_array(&r->arena, list->count + 1, sizeof(*words));
	size_t count = 0;
	enum mailbox_result result;

	*flags = 0;
	*keywords = 0;
	if (words == NULL) {
		imap_result(r, MAILBOX_MEMORY, false, NULL);
		return false;
	}
	for (size_t i = 0; i < list->count; i++) {
		struct slice name = list->flags[i];
		size_t bit = 0;

		if (name.ptr[0] != '\\') {
			words[count++] = name;
			continue;
		}
		while (bit < ARRAY_LEN(flag_names) &&
		       !slice_eq_nocase(name, slice_str(flag_names[bit])))
			bit++;
		/* \Recent cannot be set by clients (RFC 3501 §2.3.2); the others do not exist. */
		if (bit == ARRAY_LEN(flag_names)) {
			imap_bad(r, "No such system flag");
			return false;
		}
		*flags |= (uint8_t)(1u << bit);
	}
	if (count == 0)
		return true;
	if (!make) {
		*keywords = account_keyword_known(account, words, count);
		return true;
	}
	result = account_keyword_bits(account, words, count, keywords);
	if (result != MAILBOX_OK)
		imap_result(r, result, false, NULL);
	return result == MAILBOX_OK;
}

static void add_word(struct buf *out, bool *first, struct slice word)
{
	if (!*first)
		buf_addc(out, ' ');
	*first = false;
	buf_add(out, word);
}

void imap_write_flags(struct imap_session *s, struct buf *out, const struct message_info *m)
{
	bool first = true;

	buf_addc(out, '(');
	for (size_t i = 0; i < ARRAY_LEN(flag_names); i++) {
		if (m->flags & 1u << i)
			add_word(out, &first, slice_str(flag_names[i]));
	}
	/* RFC 9051 has no \Recent. */
	if (!s->rev2 && mailbox_recent(s->box, m->uid))
		add_word(out, &first, SLICE("\\Recent"));
	if (m->keywords != 0) {
		size_t count;
		const struct slice *names = account_keywords(imap_box_account(s), &count);

		for (size_t i = 0; i < count; i++) {
			if (m->keywords >> i & 1)
				add_word(out, &first, names[i]);
		}
	}
	buf_addc(out, ')');
}

void imap_write_flag_list(struct imap_run *r)
{
	struct buf *out = &r->out;
	size_t count;
	const struct slice *names = account_keywords(imap_box_account(r->s), &count);
	uint32_t rights = imap_has(r->s, FLAG_RIGHTS);
	uint8_t allowed = imap_flags_allowed(rights);
	bool first = true;

	r->s->rights_told = rights;
	r->s->keywords_told = count;
	buf_adds(out, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft");
	for (size_t i = 0; i < count; i++) {
		buf_addc(out, ' ');
		buf_add(out, names[i]);
	}
	buf_adds(out, ")\r\n* OK [PERMANENTFLAGS (");
	if (!mailbox_is_read_only(r->s->box)) {
		/* RFC 4314 §5.1.1: what this user may change. */
		for (size_t i = 0; i < ARRAY_LEN(told_order); i++)
			if ((allowed & 1u << told_order[i]) != 0)
				add_word(out, &first, slice_str(flag_names[told_order[i]]));
		for (size_t i = 0; i < count && (rights & POLICY_MAILBOX_FLAG) != 0; i++)
			add_word(out, &first, names[i]);
		if ((rights & POLICY_MAILBOX_FLAG) != 0 && count < KEYWORDS_MAX)
			add_word(out, &first, SLICE("\\*"));
	}
	buf_adds(out, ")] Flags that can be changed\r\n");
}

void imap_write_flags_update(struct imap_run *r, uint32_t seq, const struct message_info *m,
			     bool flags, bool modseq)
{
	struct buf *out = &r->out;

	buf_adds(out, "* ");
	buf_dec(out, seq);
	buf_adds(out, " FETCH (UID ");
	buf_dec(out, m->uid);
	if (flags) {
		buf_adds(out, " FLAGS ");
		imap_write_flags(r->s, out, m);
	}
	if (modseq) {
		buf_adds(out, " MODSEQ (");
		buf_dec(out, m->modseq);
		buf_addc(out, ')');
	}
	buf_adds(out, ")\r\n");
}

void imap_enable_condstore(struct imap_run *r)
{
	struct imap_session *s = r->s;

	if (s->condstore)
		return;
	s->condstore = true;
	/* RFC 7162 §3.1.2.1 tells at SELECT; a client that enables later hears it now. */
	if (s->box != NULL) {
		struct folder_info info;

		mailbox_status(s->box, &info);
		buf_adds(&r->out, "* OK [HIGHESTMODSEQ ");
		buf_dec(&r->out, info.highestmodseq);
		buf_adds(&r->out, "] CONDSTORE is on\r\n");
	}
}

/* ---- updates ---- */

static void write_expunges(struct imap_run *r, const struct mailbox_changes *c)
{
	/* RFC 7162 §3.2.10: VANISHED instead of EXPUNGE once QRESYNC is enabled. */
	if (r->s->qresync) {
		if (c->vanished.count > 0) {
			buf_adds(&r->out, "* VANISHED ");
			imap_write_uid_ranges(&r->out, &c->vanished);
			buf_adds(&r->out, "\r\n");
		}
		return;
	}
	for (size_t i = 0; i < c->expunged_count; i++) {
		buf_adds(&r->out, "* ");
		buf_dec(&r->out, c->expunged_seqs[i]);
		buf_adds(&r->out, " EXPUNGE\r\n");
		if (r->out.len > 32768)
			imap_send(r);
	}
}

static void write_changes(struct imap_run *r, const struct mailbox_changes *c)
{
	struct imap_session *s = r->s;
	size_t keyword_count;

	write_expunges(r, c);
	if (c->added > 0) {
		buf_adds(&r->out, "* ");
		buf_dec(&r->out, c->exists);
		buf_adds(&r->out, " EXISTS\r\n");
		if (!s->rev2) {
			buf_adds(&r->out, "* ");
			buf_dec(&r->out, c->recent);
			buf_adds(&r->out, " RECENT\r\n");
		}
	}
	account_keywords(imap_box_account(s), &keyword_count);
	if (keyword_count != s->keywords_told || imap_has(s, FLAG_RIGHTS) != s->rights_told)
		imap_write_flag_list(r);
	for (size_t i = 0; i < c->changed_count; i++) {
		struct message_info m;

		if (c->changed[i].own || !mailbox_message(s->box, c->changed[i].uid, &m))
			continue;
		imap_write_flags_update(r, c->changed[i].seq, &m, true, s->condstore);
		if (r->out.len > 32768)
			imap_send(r);
	}
	imap_send(r);
}

bool imap_sync(struct imap_run *r, bool expunges, bool full)
{
	struct imap_session *s = r->s;
	struct mailbox_changes changes = { 0 };
	unsigned flags = expunges ? SYNC_EXPUNGES : 0;
	enum mailbox_result result;
	AUTO_ARENA struct arena arena = ARENA_INIT(IMAP_COMMAND_ARENA_BYTES_MAX);

	if (s->box == NULL)
		return true;
	if (!full && !s->changed)
		flags |= SYNC_LOCAL;
	else
		s->changed = false;
	result = mailbox_sync(s->box, flags, &arena, &changes);
	if (result != MAILBOX_OK) {
		/* The next command tries again; this one did its own work already. */
		s->changed = true;
		/* A grant for another's mailbox ends when its list changes; the next command has a new one, or none. */
		if (result != MAILBOX_DENIED || s->box_shared != NULL)
			return true;
		buf_adds(&r->out, "* BYE [UNAVAILABLE] Log in again\r\n");
		imap_send(r);
		return false;
	}
	if (changes.uidvalidity_gone) {
		/* There is no answer for "your mailbox is gone" but the end (RFC 2180 §3.3). */
		buf_adds(&r->out, "* BYE The selected mailbox was deleted\r\n");
		imap_send(r);
		return false;
	}
	write_changes(r, &changes);
	return true;
}

/* ---- sets ---- */

void imap_resolve_saved(struct imap_run *r, struct seqset *set, bool *uids)
{
	if (!set->saved)
		return;
	_Static_assert(sizeof(struct uid_range) == sizeof(struct seqset_range), "same fields");
	*uids = true;
	*set = (struct seqset){ .count = r->s->saved_count };
	set->ranges = arena_array(&r->arena, r->s->saved_count, sizeof(*set->ranges));
	if (set->ranges == NULL) {
		set->count = 0;
		return;
	}
	for (size_t i = 0; i < r->s->saved_count; i++)
		set->ranges[i] = (struct seqset_range){ r->s->saved[i].first, r->s->saved[i].last };
}

void imap_walk_start(struct imap_walk *w, struct imap_run *r, const struct seqset *set, bool uids)
{
	*w = (struct imap_walk){ .s = r->s, .set = *set, .uids = uids };
	imap_resolve_saved(r, &w->set, &w->uids);
}

bool imap_walk_next(struct imap_walk *w, uint32_t *seq, uint32_t *uid)
{
	struct mailbox *box = w->s->box;

	for (;;) {
		if (w->end == 0) {
			const struct seqset_range *r;

			if (w->range == w->set.count)
				return false;
			r = &w->set.ranges[w->range++];
			w->next = w->uids ? mailbox_seq_from(box, r->first) : r->first;
			w->end = r->last;
		}
		*uid = mailbox_uid(box, w->next);
		if (*uid == 0 || (w->uids ? *uid > w->end : w->next > w->end)) {
			w->end = 0;
			continue;
		}
		*seq = w->next++;
		return true;
	}
}

bool imap_uid_ranges(struct imap_run *r, const struct seqset *set, bool uids,
		     struct uid_ranges *out)
{
	struct imap_walk w;
	struct buf ranges = BUF_INIT(SIZE_MAX / 2);
	struct uid_range now = { 0 };
	uint32_t seq, uid, last_seq = 0;
	struct slice copy;

	imap_walk_start(&w, r, set, uids);
	while (imap_walk_next(&w, &seq, &uid)) {
		/* Neighbours by number: no other message of this session lies between them. */
		if (now.first != 0 && seq == last_seq + 1) {
			now.last = uid;
		} else {
			if (now.first != 0)
				buf_add(&ranges, slice_of(&now, sizeof(now)));
			now = (struct uid_range){ uid, uid };
		}
		last_seq = seq;
	}
	if (now.first != 0)
		buf_add(&ranges, slice_of(&now, sizeof(now)));
	copy = arena_dup(&r->arena, buf_slice(&ranges));
	out->ranges = (const struct uid_range *)(const void *)copy.ptr;
	out->count = copy.len / sizeof(now);
	if (ranges.err != 0 || r->arena.err != 0)
		imap_result(r, MAILBOX_MEMORY, false, NULL);
	bool ok = ranges.err == 0 && r->arena.err == 0;
	buf_done(&ranges);
	return ok;
}

void imap_write_uids(struct buf *out, const uint32_t *uids, size_t count)
{
	struct seqset_writer w = { .out = out };

	for (size_t i = 0; i < count; i++)
		seqset_writer_add(&w, uids[i]);
	seqset_writer_end(&w);
}

void imap_write_uid_ranges(struct buf *out, const struct uid_ranges *ranges)
{
	for (size_t i = 0; i < ranges->count; i++) {
		if (i > 0)
			buf_addc(out, ',');
		buf_dec(out, ranges->ranges[i].first);
		if (ranges->ranges[i].last != ranges->ranges[i].first) {
			buf_addc(out, ':');
			buf_dec(out, ranges->ranges[i].last);
		}
	}
}
