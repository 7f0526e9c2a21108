/*
 * COPY and MOVE that cannot be done by reference: to the mailbox of another account, or to one where the user may not set all flags. Each message
 * is read and appended, all of them in one commit; a MOVE then expunges what it copied. When it dies in between, messages are in both places and
 * in neither of them twice.
 */
#include <stdlib.h>

#include "mail/imap/write.h"
#include "mail/session/imap_shared.h"

#define PIECE_BYTES (128u << 10)

#define FLAG_RIGHTS (POLICY_MAILBOX_SEEN | POLICY_MAILBOX_FLAG | POLICY_MAILBOX_DELETE)

static uint32_t target_rights(struct imap_run *r)
{
	struct session_object o = imap_object_at(r->s, &r->target);

	return session_has(&r->s->base, FLAG_RIGHTS, &o);
}

bool imap_copies_apart(struct imap_run *r)
{
	return r->target.account != imap_box_account(r->s) || target_rights(r) != FLAG_RIGHTS;
}

struct copying {
	struct imap_run *r;
	struct append *append;
	struct read_window window;
	struct buf piece;
	uint32_t rights;
	uint32_t *uids;			/* in the arena: those that were copied */
	size_t count;
};

/* Keywords have numbers in each account. */
static enum mailbox_result keywords_there(struct copying *c, uint64_t bits, uint64_t *out)
{
	struct imap_run *r = c->r;
	size_t count, n = 0;
	const struct slice *names = account_keywords(imap_box_account(r->s), &count);
	struct slice *wanted;

	*out = 0;
	if (bits == 0 || (c->rights & POLICY_MAILBOX_FLAG) == 0)
		return MAILBOX_OK;
	wanted = arena_array(&r->arena, count + 1, sizeof(*wanted));
	if (wanted == NULL)
		return MAILBOX_MEMORY;
	for (size_t i = 0; i < count; i++)
		if ((bits >> i & 1) != 0)
			wanted[n++] = arena_dup(&r->arena, names[i]);
	return account_keyword_bits(r->target.account, wanted, n, out);
}

static enum mailbox_result copy_one(struct copying *c, const struct message_info *m)
{
	struct imap_run *r = c->r;
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct append_meta meta = {
		.flags = m->flags & imap_flags_allowed(c->rights), .internaldate_s = m->internaldate_s, .tz_minutes = m->tz_minutes,
	};
	struct slice summary = { 0 };
	enum mailbox_result result = keywords_there(c, m->keywords, &meta.keywords);

	if (result == MAILBOX_OK)
		result = mailbox_summaries(r->s->box, m, 1, &arena, &summary);
	if (result == MAILBOX_OK)
		result = append_message(c->append, &meta, m->size);
	for (uint64_t at = 0; result == MAILBOX_OK && at < m->size; at += c->piece.len) {
		buf_reset(&c->piece);
		result = mailbox_read_near(r->s->box, m, at, PIECE_BYTES, &c->window, &c->piece);
		if (result == MAILBOX_OK && c->piece.len == 0)
			result = MAILBOX_DAMAGED;
		if (result == MAILBOX_OK)
			result = append_write(c->append, buf_slice(&c->piece));
	}
	return result == MAILBOX_OK ? append_message_end(c->append, summary) : result;
}

static enum mailbox_result copy_all(struct copying *c, const struct uid_ranges *uids, bool whole)
{
	struct mailbox *box = c->r->s->box;
	size_t room = 0;

	for (size_t i = 0; i < uids->count; i++)
		room += mailbox_seq(box, uids->ranges[i].last) - mailbox_seq(box, uids->ranges[i].first) + 1;
	if (room > COPY_MESSAGES_MAX)
		return MAILBOX_LIMIT;
	c->uids = arena_array(&c->r->arena, room + 1, sizeof(*c->uids));
	if (c->uids == NULL)
		return MAILBOX_MEMORY;
	for (size_t i = 0; i < uids->count; i++) {
		for (uint32_t seq = mailbox_seq_from(box, uids->ranges[i].first); c->count < room; seq++) {
			uint32_t uid = mailbox_uid(box, seq);
			struct message_info m;
			enum mailbox_result result;

			if (uid == 0 || uid > uids->ranges[i].last)
				break;
			if (!mailbox_message(box, uid, &m)) {
				if (whole)
					return MAILBOX_EXPUNGED;
				continue;
			}
			result = copy_one(c, &m);
			/* Expunged while we read. */
			if (result != MAILBOX_OK)
				return result;
			c->uids[c->count++] = uid;
		}
	}
	return MAILBOX_OK;
}

static void write_copyuid(struct buf *out, const struct copying *c, const struct append_result *done)
{
	buf_adds(out, "COPYUID ");
	buf_dec(out, done->uidvalidity);
	buf_addc(out, ' ');
	imap_write_uids(out, c->uids, c->count);
	buf_addc(out, ' ');
	imap_write_uids(out, done->uids, done->count);
}

/* The copies are stored: take the originals away. */
static enum mailbox_result remove_originals(struct copying *c, uint64_t *modseq)
{
	struct uid_range *ranges = arena_array(&c->r->arena, c->count, sizeof(*ranges));
	size_t n = 0;

	if (ranges == NULL)
		return MAILBOX_MEMORY;
	for (size_t i = 0; i < c->count; i++) {
		if (n > 0 && ranges[n - 1].last + 1 == c->uids[i])
			ranges[n - 1].last++;
		else
			ranges[n++] = (struct uid_range){ c->uids[i], c->uids[i] };
	}
	return mailbox_expunge(c->r->s->box, &(struct uid_ranges){ ranges, n }, true, NULL, NULL, modseq);
}

static void finish(struct copying *c, bool move)
{
	struct imap_run *r = c->r;
	struct append_result done = { 0 };
	uint64_t modseq = 0;
	enum mailbox_result result;

	if (c->count == 0) {
		imap_ok(r, "No messages");
		return;
	}
	result = append_commit(c->append, &r->arena, &done);
	if (result != MAILBOX_OK) {
		imap_result(r, result, true, NULL);
		return;
	}
	if (!move) {
		write_copyuid(&r->code, c, &done);
		imap_ok(r, "Done");
		return;
	}
	/* RFC 6851 §4.3 */
	buf_adds(&r->out, "* OK [");
	write_copyuid(&r->out, c, &done);
	buf_adds(&r->out, "] Moved\r\n");
	result = remove_originals(c, &modseq);
	if (result != MAILBOX_OK) {
		imap_result(r, result, false, NULL);
		return;
	}
	if (r->s->qresync && modseq != 0) {
		buf_adds(&r->code, "HIGHESTMODSEQ ");
		buf_dec(&r->code, modseq);
	}
	imap_ok(r, "Done");
}

void imap_copy_apart(struct imap_run *r, const struct uid_ranges *uids, bool whole)
{
	struct copying c = {
		.r = r, .window = { .bytes = BUF_INIT(READ_WINDOW_BYTES) }, .piece = BUF_INIT(PIECE_BYTES + 1), .rights = target_rights(r),
	};
	enum mailbox_result result;

	/* A MOVE that cannot take away what it copied does not begin (RFC 6851 §3.3). */
	if (r->c.name == IMAP_MOVE && mailbox_is_read_only(r->s->box))
		result = MAILBOX_READ_ONLY;
	else
		result = append_begin(r->target.account, r->target.name, &c.append);
	if (result == MAILBOX_OK)
		result = copy_all(&c, uids, whole);
	if (result == MAILBOX_OK)
		finish(&c, r->c.name == IMAP_MOVE);
	else
		imap_result(r, result, true, NULL);
	append_abort(c.append);
	buf_done(&c.window.bytes);
	buf_done(&c.piece);
}
