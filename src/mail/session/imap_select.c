#include <stdlib.h>

#include "mail/imap/write.h"
#include "mail/session/imap_shared.h"

void imap_deselect(struct imap_session *s)
{
	mailbox_close(s->box);
	s->box = NULL;
	/* What was read ahead is another account's. */
	if (s->box_shared != NULL)
		imap_window_drop(s);
	s->box_shared = NULL;
	s->box_folder = FOLDER_NONE;
	free(s->mailbox_name);
	s->mailbox_name = NULL;
	/* RFC 5182 §2.1: SELECT and the like reset "$". */
	free(s->saved);
	s->saved = NULL;
	s->saved_count = 0;
	if (s->state == IMAP_SELECTED)
		s->state = IMAP_AUTHENTICATED;
}

/* ---- SELECT, EXAMINE ---- */

static void write_number(struct imap_run *r, const char *before, uint64_t n, const char *after)
{
	buf_adds(&r->out, before);
	buf_dec(&r->out, n);
	buf_adds(&r->out, after);
}

static void write_state(struct imap_run *r, const struct folder_info *info)
{
	struct imap_session *s = r->s;
	uint32_t unseen;

	imap_write_flag_list(r);
	write_number(r, "* ", mailbox_count(s->box), " EXISTS\r\n");
	if (!s->rev2) {
		write_number(r, "* ", mailbox_recent_count(s->box), " RECENT\r\n");
		unseen = mailbox_first_unseen(s->box);
		if (unseen > 0)
			write_number(r, "* OK [UNSEEN ", unseen, "] First unseen message\r\n");
	}
	write_number(r, "* OK [UIDVALIDITY ", info->uidvalidity, "] UIDs are valid\r\n");
	write_number(r, "* OK [UIDNEXT ", info->uidnext, "] Next UID\r\n");
	write_number(r, "* OK [HIGHESTMODSEQ ", info->highestmodseq, "] Highest\r\n");
	/* RFC 8474 §4.2 */
	buf_adds(&r->out, "* OK [MAILBOXID (");
	folder_mailboxid(info->id, info->uidvalidity, &r->out);
	buf_adds(&r->out, ")] Mailbox id\r\n");
	if (s->rev2) {
		/* RFC 9051 §6.3.2: LIST tells the name as the server has it. */
		buf_adds(&r->out, "* LIST () \"/\" ");
		imap_write_mailbox(&r->out, slice_str(s->mailbox_name), s->utf8);
		buf_adds(&r->out, "\r\n");
	}
}

/*
 * RFC 7162 §3.2.5.2: the client gives pairs of a sequence number and the UID that it had for it. When a
 * message still has the number, nothing before it was expunged since: its UID, of the last such pair.
 * O(ranges * log messages). 0: no pair holds.
 */
static uint32_t matched_uid(const struct mailbox *box, const struct seqset *seqs, const struct seqset *uids)
{
	uint32_t messages = mailbox_count(box), best = 0, seq = 0, uid = 0;

	for (size_t i = 0, k = 0; i < seqs->count && k < uids->count;) {
		seq = MAX(seq, seqs->ranges[i].first);
		uid = MAX(uid, uids->ranges[k].first);
		/* The pairs (seq + n, uid + n) up to the end of either range. */
		uint32_t all = MIN(seqs->ranges[i].last - seq, uids->ranges[k].last - uid), low = 0;
		if (seq > messages || mailbox_uid(box, seq) != uid)
			return best;
		for (uint32_t high = MIN(all, messages - seq); low < high;) {
			uint32_t middle = low + (high - low + 1) / 2;
			if (mailbox_uid(box, seq + middle) == uid + middle)
				low = middle;
			else
				high = middle - 1;
		}
		best = uid + low;
		if (low < all)
			return best;
		i += seqs->ranges[i].last - seq == all;
		k += uids->ranges[k].last - uid == all;
		seq += all + 1;
		uid += all + 1;
	}
	return best;
}

/* Without what is not above `floor`; in place. */
static void cut_below(struct uid_range *ranges, size_t *count, uint32_t floor)
{
	size_t kept = 0;

	for (size_t i = 0; i < *count; i++) {
		if (ranges[i].last <= floor)
			continue;
		ranges[kept] = ranges[i];
		if (ranges[kept].first <= floor)
			ranges[kept].first = floor + 1;
		kept++;
	}
	*count = kept;
}

/* RFC 7162 §3.2.5: tell what changed since the client was here. */
static enum mailbox_result write_resync(struct imap_run *r, const struct folder_info *info)
{
	struct imap_session *s = r->s;
	uint64_t since = r->c.select.modseq;
	struct uid_ranges vanished = { 0 }, known = { 0 };
	struct uid_range *copy;
	enum mailbox_result result;
	uint32_t count = mailbox_count(s->box);

	if (r->c.select.uidvalidity != info->uidvalidity || since >= info->highestmodseq)
		return MAILBOX_OK;
	if (r->c.select.has_known) {
		const struct seqset *set = &r->c.select.known_uids;

		copy = arena_array(&r->arena, set->count, sizeof(*copy));
		if (copy == NULL)
			return MAILBOX_MEMORY;
		for (size_t i = 0; i < set->count; i++)
			copy[i] = (struct uid_range){ set->ranges[i].first, set->ranges[i].last };
		known = (struct uid_ranges){ copy, set->count };
	}
	result = mailbox_vanished(s->box, since, r->c.select.has_known ? &known : NULL, &r->arena,
				  &vanished);
	if (result != MAILBOX_OK)
		return result;
	/* Spares clients that come after their expunges were forgotten the list of all missing UIDs. */
	copy = arena_array(&r->arena, vanished.count + 1, sizeof(*copy));
	if (copy == NULL)
		return MAILBOX_MEMORY;
	if (vanished.count > 0)
		memcpy(copy, vanished.ranges, vanished.count * sizeof(*copy));
	vanished.ranges = copy;
	cut_below(copy, &vanished.count,
		  matched_uid(s->box, &r->c.select.match_seqs, &r->c.select.match_uids));
	if (vanished.count > 0) {
		buf_adds(&r->out, "* VANISHED (EARLIER) ");
		imap_write_uid_ranges(&r->out, &vanished);
		buf_adds(&r->out, "\r\n");
	}
	for (uint32_t seq = 1; seq <= count; seq++) {
		struct message_info m;
		uint32_t uid = mailbox_uid(s->box, seq);

		if (r->c.select.has_known && !seqset_has(&r->c.select.known_uids, uid))
			continue;
		if (!mailbox_message(s->box, uid, &m) || m.modseq <= since)
			continue;
		imap_write_flags_update(r, seq, &m, true, true);
		if (r->out.len > 32768)
			imap_send(r);
	}
	return MAILBOX_OK;
}

/* Between the question and now another folder may have got the name. And changes of this one are to wake the session. */
static enum mailbox_result as_allowed(struct imap_run *r, struct mailbox *box)
{
	struct imap_shared *x = r->at.shared;
	struct folder_info info;

	mailbox_status(box, &info);
	if (info.id != r->at.folder) {
		mailbox_close(box);
		return MAILBOX_NO_FOLDER;
	}
	if (!x->watching)
		x->watching = account_watch(x->account, imap_changed, r->s, &x->watch_id) == 0;
	return MAILBOX_OK;
}

void imap_do_select(struct imap_run *r)
{
	struct imap_session *s = r->s;
	struct folder_info info;
	struct mailbox *box;
	enum mailbox_result result;
	struct session_object o = imap_object_at(r->s, &r->at);
	/* RFC 4314 §5.2: READ-WRITE tells that something of the messages can be changed. */
	bool read_only = r->c.name == IMAP_EXAMINE ||
			 session_has(&r->s->base, POLICY_MAILBOX_SEEN | POLICY_MAILBOX_FLAG | POLICY_MAILBOX_DELETE | POLICY_MAILBOX_EXPUNGE, &o) == 0;

	if (r->c.select.qresync && !s->qresync) {
		/* RFC 7162 §3.2.5: only after ENABLE QRESYNC. */
		imap_bad(r, "ENABLE QRESYNC first");
		return;
	}
	if (r->c.select.condstore)
		s->condstore = true;
	/* A failed SELECT also leaves no mailbox selected (RFC 9051 §6.3.2). */
	if (s->box != NULL) {
		imap_deselect(s);
		buf_adds(&r->out, "* OK [CLOSED] Previous mailbox closed\r\n");
	}
	result = mailbox_open(r->at.account, r->at.name, read_only, &box);
	if (result == MAILBOX_OK && !r->at.own)
		result = as_allowed(r, box);
	if (result != MAILBOX_OK) {
		imap_result(r, result, false, NULL);
		return;
	}
	s->box = box;
	if (r->at.shared != NULL) {
		imap_window_drop(s);
		s->box_shared = r->at.shared;
		s->box_folder = r->at.folder;
	}
	s->state = IMAP_SELECTED;
	s->changed = false;
	s->mailbox_name = slice_strdup(r->at.full);
	if (s->mailbox_name == NULL) {
		imap_deselect(s);
		imap_result(r, MAILBOX_MEMORY, false, NULL);
		return;
	}
	mailbox_status(box, &info);
	write_state(r, &info);
	if (r->c.select.qresync) {
		result = write_resync(r, &info);
		if (result != MAILBOX_OK) {
			imap_deselect(s);
			imap_result(r, result, false, NULL);
			return;
		}
	}
	buf_adds(&r->code, mailbox_is_read_only(box) ? "READ-ONLY" : "READ-WRITE");
	imap_ok(r, r->c.name == IMAP_EXAMINE ? "Examined" : "Selected");
}

/* ---- CLOSE, UNSELECT, EXPUNGE ---- */

static void write_highest(struct imap_run *r, uint64_t modseq)
{
	/* RFC 7162 §3.2.8, §3.2.9 */
	if (!r->s->qresync || modseq == 0)
		return;
	buf_adds(&r->code, "HIGHESTMODSEQ ");
	buf_dec(&r->code, modseq);
}

void imap_do_close(struct imap_run *r)
{
	struct imap_session *s = r->s;
	enum mailbox_result result = MAILBOX_OK;
	uint64_t modseq = 0;

	/* CLOSE expunges without telling; on a read-only mailbox nothing (RFC 9051 §6.4.1). */
	if (r->c.name == IMAP_CLOSE && !mailbox_is_read_only(s->box) && imap_has(s, POLICY_MAILBOX_EXPUNGE) != 0)
		result = mailbox_expunge(s->box, NULL, false, NULL, NULL, &modseq);
	imap_deselect(s);
	imap_result(r, result, false, "Closed");
}

void imap_do_expunge(struct imap_run *r)
{
	struct uid_ranges uids, gone;
	enum mailbox_result result;
	uint64_t modseq = 0;

	/* RFC 4315 §2.1: UID EXPUNGE takes only those of the set. */
	if (r->c.uid && !imap_uid_ranges(r, &r->c.copy.set, true, &uids))
		return;
	result = mailbox_expunge(r->s->box, r->c.uid ? &uids : NULL, false, &r->arena, &gone,
				 &modseq);
	if (result == MAILBOX_OK && gone.count > 0)
		write_highest(r, modseq);
	imap_result(r, result, false, "Expunged");
}

/* ---- STORE ---- */

static void write_stored(struct imap_run *r, const struct store_result *result)
{
	struct imap_session *s = r->s;
	/* RFC 7162 §3.1.3: MODSEQ comes even with .SILENT. */
	bool modseq = s->condstore, flags = !r->c.store.silent;

	if (!modseq && !flags)
		return;
	for (size_t i = 0; i < result->done_count; i++) {
		struct message_info m;
		uint32_t seq = mailbox_seq(s->box, result->done[i]);

		if (seq == 0 || !mailbox_message(s->box, result->done[i], &m))
			continue;
		imap_write_flags_update(r, seq, &m, flags, modseq);
		if (r->out.len > 32768)
			imap_send(r);
	}
}

/* "MODIFIED 7,9": message numbers, or UIDs for UID STORE (RFC 7162 §3.1.3). */
static void write_modified(struct imap_run *r, const struct store_result *result)
{
	struct seqset_writer w = { .out = &r->code };

	if (result->modified_count == 0)
		return;
	buf_adds(&r->code, "MODIFIED ");
	for (size_t i = 0; i < result->modified_count; i++) {
		uint32_t n = r->c.uid ? result->modified[i]
				      : mailbox_seq(r->s->box, result->modified[i]);

		if (n != 0)
			seqset_writer_add(&w, n);
	}
	seqset_writer_end(&w);
}

/* How many messages of the session these are, gone or not; both ends of a range are messages. */
static uint32_t named_messages(const struct mailbox *box, const struct uid_ranges *uids)
{
	uint32_t n = 0;

	for (size_t i = 0; i < uids->count; i++)
		n += mailbox_seq(box, uids->ranges[i].last) - mailbox_seq(box, uids->ranges[i].first) + 1;
	return n;
}

void imap_do_store(struct imap_run *r)
{
	struct store_request request = {
		.mode = r->c.store.mode == '+'	 ? STORE_ADD
			: r->c.store.mode == '-' ? STORE_REMOVE
						 : STORE_REPLACE,
		.has_unchangedsince = r->c.store.has_unchangedsince,
		.unchangedsince = r->c.store.unchangedsince,
	};
	struct store_result result = { 0 };
	enum mailbox_result outcome;

	if (mailbox_is_read_only(r->s->box)) {
		imap_result(r, MAILBOX_READ_ONLY, false, NULL);
		return;
	}
	if (request.has_unchangedsince)
		imap_enable_condstore(r);
	/* Keywords are made for who may set them. */
	if (!imap_flags(r, imap_box_account(r->s), &r->c.store.flags, request.mode != STORE_REMOVE && imap_has(r->s, POLICY_MAILBOX_FLAG) != 0,
			&request.flags, &request.keywords) ||
	    !imap_may_store(r, &request) || !imap_uid_ranges(r, &r->c.store.set, r->c.uid, &request.uids))
		return;
	if (request.uids.count == 0) {
		imap_ok(r, "No messages");
		return;
	}
	outcome = mailbox_store(r->s->box, &request, &r->arena, &result);
	if (outcome != MAILBOX_OK) {
		imap_result(r, outcome, false, NULL);
		return;
	}
	{
		size_t keywords;

		/* A new keyword is announced before it is used. */
		account_keywords(imap_box_account(r->s), &keywords);
		if (keywords != r->s->keywords_told)
			imap_write_flag_list(r);
	}
	write_stored(r, &result);
	write_modified(r, &result);
	/* RFC 2180 §4.2.3: the others have their flags, and the client hears why it lacks an answer. */
	if (!r->c.uid && !r->c.store.set.saved && !r->c.store.silent && result.modified_count == 0 &&
	    result.done_count < named_messages(r->s->box, &request.uids))
		imap_result(r, MAILBOX_EXPUNGED, false, NULL);
	else
		imap_ok(r, result.modified_count > 0 ? "Conditional STORE failed for some" : "Done");
}

/* ---- COPY, MOVE ---- */

static void write_copyuid(struct buf *out, const struct copy_result *result)
{
	buf_adds(out, "COPYUID ");
	buf_dec(out, result->uidvalidity);
	buf_addc(out, ' ');
	imap_write_uids(out, result->from, result->count);
	buf_addc(out, ' ');
	imap_write_uids(out, result->to, result->count);
}

void imap_do_copy(struct imap_run *r)
{
	struct uid_ranges uids;
	struct copy_result result = { 0 };
	enum mailbox_result outcome;
	bool move = r->c.name == IMAP_MOVE;

	if (!imap_uid_ranges(r, &r->c.copy.set, r->c.uid, &uids))
		return;
	/* RFC 2180 §4.4.1: who named numbers meant messages. UIDs that are no more, of "$" too, are passed over. */
	bool whole = !r->c.uid && !r->c.copy.set.saved;
	if (imap_copies_apart(r)) {
		imap_copy_apart(r, &uids, whole);
		return;
	}
	outcome = mailbox_copy(r->s->box, &uids, r->target.name,
			       (move ? COPY_MOVE : 0u) | (whole ? COPY_WHOLE : 0u), &r->arena, &result);
	if (outcome != MAILBOX_OK) {
		imap_result(r, outcome, true, NULL);
		return;
	}
	if (result.count > 0 && move) {
		/* RFC 6851 §4.3: COPYUID in an untagged OK, before the EXPUNGEs. */
		buf_adds(&r->out, "* OK [");
		write_copyuid(&r->out, &result);
		buf_adds(&r->out, "] Moved\r\n");
		write_highest(r, result.modseq);
	} else if (result.count > 0) {
		write_copyuid(&r->code, &result);
	}
	imap_ok(r, result.count == 0 ? "No messages" : "Done");
}
