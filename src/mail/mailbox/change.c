/*
 * Changing messages of a selected folder: flags, expunge, copy, move. Each is computed on
 * what we know and committed under the header's guard; whoever was slower computes again.
 */
#include <stdlib.h>

#include "mail/mailbox/view.h"

/* A list of numbers in an arena, grown by doubling. */
struct numbers {
	uint32_t *list;
	size_t count, cap;
};

static bool numbers_add(struct numbers *n, struct arena *arena, uint32_t v)
{
	if (arena == NULL)
		return true;
	if (n->count == n->cap) {
		size_t want = n->cap == 0 ? 16 : n->cap * 2;
		uint32_t *p = arena_array(arena, want, sizeof(*p));

		if (p == NULL)
			return false;
		if (n->count > 0)
			memcpy(p, n->list, n->count * sizeof(*p));
		n->list = p;
		n->cap = want;
	}
	n->list[n->count++] = v;
	return true;
}

struct range_list {
	struct uid_range *list;
	size_t count, cap;
};

static bool range_list_add(struct range_list *l, struct arena *arena, uint32_t uid)
{
	if (l->count > 0 && l->list[l->count - 1].last + 1 == uid) {
		l->list[l->count - 1].last = uid;
		return true;
	}
	if (l->count == l->cap) {
		size_t want = l->cap == 0 ? 8 : l->cap * 2;
		struct uid_range *p = arena_array(arena, want, sizeof(*p));

		if (p == NULL)
			return false;
		if (l->count > 0)
			memcpy(p, l->list, l->count * sizeof(*p));
		l->list = p;
		l->cap = want;
	}
	l->list[l->count++] = (struct uid_range){ uid, uid };
	return true;
}

/* ---- flags ---- */

static struct message_info changed(const struct message_info *m, const struct store_request *r)
{
	struct message_info out = *m;

	if (r->mode == STORE_ADD) {
		out.flags |= r->flags;
		out.keywords |= r->keywords;
	} else if (r->mode == STORE_REMOVE) {
		out.flags &= (uint8_t)~r->flags;
		out.keywords &= ~r->keywords;
	} else {
		out.flags = r->flags;
		out.keywords = r->keywords;
	}
	return out;
}

static enum mailbox_result store_once(struct mailbox *m, const struct store_request *r,
				      struct arena *arena, struct store_result *out, struct attempt *t)
{
	struct numbers modified = { 0 }, done = { 0 };
	struct range_list ranges = { 0 };
	struct table *table;
	struct commit c;
	enum mailbox_result res = view_table(m, &table);

	if (res != MAILBOX_OK)
		return res;
	commit_begin(&c, t, true);
	struct folder *f = commit_folder(&c, m->folder);

	if (f == NULL) {
		commit_done(&c);
		return MAILBOX_NO_FOLDER;
	}
	struct rows rows = rows_of(table, &r->uids);
	bool memory = true, foreign = false;

	for (struct message_info *row; memory && (row = rows_next(&rows)) != NULL;) {
		if (r->has_unchangedsince && row->modseq > r->unchangedsince) {
			memory = numbers_add(&modified, arena, row->uid);
			continue;
		}
		struct message_info now = changed(row, r);

		memory = numbers_add(&done, arena, row->uid);
		if (now.flags == row->flags && now.keywords == row->keywords)
			continue;
		folder_count_remove(f, row);
		folder_count_add(f, &now);
		memory &= range_list_add(&ranges, &c.arena, row->uid);
		/* With .SILENT the client would never hear of what another session set before. */
		foreign |= row->modseq > m->synced && !view_is_own(m, row->modseq);
	}
	if (!memory) {
		res = MAILBOX_MEMORY;
	} else if (ranges.count > 0) {
		commit_touch(&c, f);
		commit_change_flags(&c, m->folder, r, ranges.list, ranges.count);
		res = commit_submit(&c, t);
	}
	*out = (struct store_result){ modified.list, modified.count, done.list, done.count, c.h.modseq };
	if (res == MAILBOX_OK && ranges.count > 0 && !foreign)
		view_own(m, c.h.modseq);
	commit_done(&c);
	return res;
}

enum mailbox_result mailbox_store(struct mailbox *m, const struct store_request *request,
				  struct arena *arena, struct store_result *out)
{
	struct store_request r = *request;
	struct attempt t;
	enum mailbox_result res = MAILBOX_OK;

	if (m->read_only)
		return MAILBOX_READ_ONLY;
	r.flags &= FLAGS_ALL;
	account_lock(m->a);
	/* UNCHANGEDSINCE is a promise about what others did: look first. */
	if (!m->a->s->loaded || r.has_unchangedsince)
		res = state_refresh(m->a);
	attempt_begin(&t, m->a);
	if (res == MAILBOX_OK) {
		do {
			res = store_once(m, &r, arena, out, &t);
		} while (attempt_again(&t, &res));
	}
	if (res == MAILBOX_OK)
		state_fold_hard(m->a);
	account_unlock(m->a);
	return res;
}

/* ---- expunge ---- */

#define EXPUNGE_BATCH SIZE_OF(50000u, 5u)	/* messages of one commit: 20 bytes each in the operation */

static const struct uid_range all_uids = { 1, UINT32_MAX };

static struct change_item item_of(const struct message_info *row, bool dies)
{
	return (struct change_item){ .uid = row->uid,
				     .dead_bytes = dies ? row->size : 0,
				     .bucket = row->bucket,
				     .fragment = row->fragment,
				     .offset = row->offset };
}

static void expunge_row(struct commit *c, struct folder *f, const struct message_info *row)
{
	folder_count_remove(f, row);
	c->h.usage_bytes -= row->size < c->h.usage_bytes ? row->size : c->h.usage_bytes;
	c->h.usage_messages -= c->h.usage_messages > 0;
}

static enum mailbox_result expunge_once(struct mailbox *m, const struct uid_ranges *uids, bool all,
					struct attempt *t, struct range_list *gone, struct arena *arena,
					uint64_t *modseq, bool *more)
{
	struct change_item *items = NULL;
	struct table *table;
	struct commit c;
	size_t count = 0;
	enum mailbox_result r = view_table(m, &table);

	*more = false;
	if (r != MAILBOX_OK)
		return r;
	commit_begin(&c, t, true);
	struct folder *f = commit_folder(&c, m->folder);
	size_t room = table->count < EXPUNGE_BATCH ? table->count : EXPUNGE_BATCH;

	items = calloc(room + 1, sizeof(*items));
	if (f == NULL || items == NULL) {
		r = f == NULL ? MAILBOX_NO_FOLDER : MAILBOX_MEMORY;
		goto out;
	}
	struct rows rows = rows_of(table, uids);

	for (struct message_info *row; (row = rows_next(&rows)) != NULL;) {
		if (!all && !(row->flags & FLAG_DELETED))
			continue;
		if (count == room) {
			*more = true;
			break;
		}
		items[count++] = item_of(row, true);
		expunge_row(&c, f, row);
	}
	if (count == 0)
		goto out;
	commit_touch(&c, f);
	commit_change_items(&c, CHANGE_EXPUNGE, m->folder, items, count);
	r = commit_submit(&c, t);
	*modseq = c.h.modseq;
	/* Reported also when attempt_again finds that it was done after all. */
	gone->count = 0;
	for (size_t i = 0; i < count && arena != NULL && (r == MAILBOX_OK || r == MAILBOX_UNAVAILABLE); i++)
		if (!range_list_add(gone, arena, items[i].uid))
			r = MAILBOX_MEMORY;
out:
	free(items);
	commit_done(&c);
	return r;
}

enum mailbox_result mailbox_expunge(struct mailbox *m, const struct uid_ranges *uids, bool all,
				    struct arena *arena, struct uid_ranges *uids_gone, uint64_t *modseq)
{
	const struct uid_ranges every = { &all_uids, 1 };
	struct range_list total = { 0 };
	enum mailbox_result r = MAILBOX_OK;
	uint64_t last = 0;
	bool more = true;

	if (m->read_only)
		return MAILBOX_READ_ONLY;
	account_lock(m->a);
	if (!m->a->s->loaded)
		r = state_refresh(m->a);
	while (r == MAILBOX_OK && more) {
		struct range_list gone = { 0 };
		struct attempt t;

		attempt_begin(&t, m->a);
		do {
			r = expunge_once(m, uids == NULL ? &every : uids, all, &t, &gone, arena, &last,
					 &more);
		} while (attempt_again(&t, &r));
		for (size_t i = 0; r == MAILBOX_OK && i < gone.count; i++) {
			for (uint32_t uid = gone.list[i].first; uid <= gone.list[i].last; uid++)
				if (!range_list_add(&total, arena, uid))
					r = MAILBOX_MEMORY;
		}
		if (r == MAILBOX_OK)
		state_fold_hard(m->a);
	}
	account_unlock(m->a);
	if (uids_gone != NULL)
		*uids_gone = (struct uid_ranges){ total.list, total.count };
	if (modseq != NULL)
		*modseq = last;
	return r;
}

/* ---- copy and move ---- */

static bool over_quota(const struct account *a, uint64_t more_bytes, uint64_t more_messages)
{
	const struct header *h = &a->s->h;

	return (a->quota.bytes_max != 0 && h->usage_bytes + more_bytes > a->quota.bytes_max) ||
	       (a->quota.messages_max != 0 && h->usage_messages + more_messages > a->quota.messages_max);
}

struct copying {
	struct mailbox *m;
	const struct uid_ranges *uids;
	struct slice to;
	bool move, whole;
	struct arena *arena;
	struct copy_result *out;
};

/* How many messages of the session these are, also those that are gone and not told yet. */
static uint32_t known_messages(const struct mailbox *m, const struct uid_ranges *uids)
{
	uint32_t n = 0;

	for (size_t i = 0; i < uids->count; i++) {
		const struct uid_range *r = &uids->ranges[i];
		uint32_t behind = r->last == UINT32_MAX ? mailbox_count(m) + 1 :
							  mailbox_seq_from(m, r->last + 1);
		n += behind - mailbox_seq_from(m, r->first);
	}
	return n;
}

static enum mailbox_result copy_rows(struct copying *cp, struct commit *c, struct table *table,
				     struct folder *from, struct folder *to, struct change_item *items)
{
	struct numbers old = { 0 }, fresh = { 0 };
	struct rows rows = rows_of(table, cp->uids);
	uint64_t bytes = 0;
	uint32_t count = 0;

	for (struct message_info *row; (row = rows_next(&rows)) != NULL;) {
		struct message_info copy = *row;

		if (count == COPY_MESSAGES_MAX || to->uidnext >= UID_MAX)
			return MAILBOX_LIMIT;
		if (!numbers_add(&old, cp->arena, row->uid) ||
		    !numbers_add(&fresh, cp->arena, to->uidnext))
			return MAILBOX_MEMORY;
		items[count++] = item_of(row, false);
		bytes += row->size;
		if (cp->move)
			folder_count_remove(from, row);
		copy.uid = to->uidnext++;
		copy.modseq = c->h.modseq;
		copy.savedate_s = (uint32_t)(world_real_us(cp->m->a->w) / 1000000);
		folder_count_add(to, &copy);
		commit_change_add(c, to->id, &copy);
	}
	*cp->out = (struct copy_result){ to->uidvalidity, old.list, fresh.list, count, c->h.modseq };
	if (cp->whole && count < known_messages(cp->m, cp->uids))
		return MAILBOX_EXPUNGED;
	if (count == 0)
		return MAILBOX_OK;
	commit_touch(c, to);
	if (cp->move) {
		commit_touch(c, from);
		commit_change_items(c, CHANGE_EXPUNGE, from->id, items, count);
		return MAILBOX_OK;
	}
	if (over_quota(cp->m->a, bytes, count))
		return MAILBOX_OVERQUOTA;
	c->h.usage_bytes += bytes;
	c->h.usage_messages += count;
	return MAILBOX_OK;
}

static enum mailbox_result copy_once(struct copying *cp, struct attempt *t)
{
	struct mailbox *m = cp->m;
	struct table *table;
	struct commit c;
	const struct folder *dest = state_folder_named(m->a->s, cp->to);
	enum mailbox_result r = dest == NULL ? MAILBOX_NO_FOLDER : view_table(m, &table);

	if (r != MAILBOX_OK)
		return r;
	commit_begin(&c, t, true);
	struct folder *from = commit_folder(&c, m->folder), *to = commit_folder(&c, dest->id);
	struct change_item *items = calloc(COPY_MESSAGES_MAX, sizeof(*items));

	if (from == NULL || to == NULL)
		r = MAILBOX_NO_FOLDER;
	else if (items == NULL)
		r = MAILBOX_MEMORY;
	else
		r = copy_rows(cp, &c, table, from, to, items);
	if (r == MAILBOX_OK && cp->out->count > 0)
		r = commit_submit(&c, t);
	free(items);
	commit_done(&c);
	return r;
}

enum mailbox_result mailbox_copy(struct mailbox *m, const struct uid_ranges *uids, struct slice to,
				 unsigned flags, struct arena *arena, struct copy_result *out)
{
	AUTO_ARENA struct arena names = ARENA_INIT(16u << 10);
	struct copying cp = { .m = m, .uids = uids, .move = flags & COPY_MOVE,
			      .whole = flags & COPY_WHOLE, .arena = arena, .out = out };
	struct attempt t;

	if (cp.move && m->read_only)
		return MAILBOX_READ_ONLY;
	if (!folder_name_normal(to, &names, &cp.to))
		return MAILBOX_NO_FOLDER;
	account_lock(m->a);
	/* Fresh: a missing folder or a quota must not be judged on what was. */
	enum mailbox_result r = state_refresh(m->a);

	attempt_begin(&t, m->a);
	if (r == MAILBOX_OK) {
		do {
			r = copy_once(&cp, &t);
		} while (attempt_again(&t, &r));
	}
	if (r == MAILBOX_OK)
		state_fold_hard(m->a);
	account_unlock(m->a);
	return r;
}
