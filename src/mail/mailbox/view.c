#include <stdlib.h>

#include "base/must.h"
#include "mail/mailbox/view.h"

/* ---- numbering ---- */

/* Index of the range that holds uid, or of the first one after it. */
static size_t range_lower(const struct mailbox *m, uint32_t uid)
{
	size_t low = 0, high = m->range_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (m->ranges[mid].last < uid)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

uint32_t mailbox_count(const struct mailbox *m)
{
	return m->count;
}

uint32_t mailbox_uid(const struct mailbox *m, uint32_t seq)
{
	size_t low = 0, high = m->range_count;

	if (seq == 0 || seq > m->count)
		return 0;
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (m->ranges[mid].seq <= seq)
			low = mid;
		else
			high = mid;
	}
	return m->ranges[low].first + (seq - m->ranges[low].seq);
}

uint32_t mailbox_seq_from(const struct mailbox *m, uint32_t uid)
{
	size_t i = range_lower(m, uid);

	if (i == m->range_count)
		return m->count + 1;
	return uid <= m->ranges[i].first ? m->ranges[i].seq :
					   m->ranges[i].seq + (uid - m->ranges[i].first);
}

uint32_t mailbox_seq(const struct mailbox *m, uint32_t uid)
{
	size_t i = range_lower(m, uid);

	if (i == m->range_count || uid < m->ranges[i].first)
		return 0;
	return m->ranges[i].seq + (uid - m->ranges[i].first);
}

static bool view_add(struct view_range **ranges, size_t *count, size_t *cap, uint32_t uid, uint32_t seq)
{
	if (*count > 0 && (*ranges)[*count - 1].last + 1 == uid) {
		(*ranges)[*count - 1].last = uid;
		return true;
	}
	if (*count == *cap) {
		size_t want = *cap == 0 ? 4 : *cap * 2;
		struct view_range *p = reallocarray(*ranges, want, sizeof(*p));

		if (p == NULL)
			return false;
		*ranges = p;
		*cap = want;
	}
	(*ranges)[(*count)++] = (struct view_range){ uid, uid, seq };
	return true;
}

/* ---- opening ---- */

enum mailbox_result view_table(struct mailbox *m, struct table **out)
{
	enum mailbox_result r = state_table(m->a, m->folder, out);

	if (r == MAILBOX_OK && m->table != *out) {
		if (m->table != NULL)
			m->table->users--;
		m->table = *out;
		m->table->users++;
	}
	return r;
}

static bool recent_add(struct mailbox *m, uint32_t from, uint32_t to)
{
	if (from >= to)
		return true;
	if (m->recent_count > 0 && m->recent[m->recent_count - 1].last + 1 == from) {
		m->recent[m->recent_count - 1].last = to - 1;
		return true;
	}
	if (m->recent_count == m->recent_cap) {
		size_t want = m->recent_cap == 0 ? 2 : m->recent_cap * 2;
		struct uid_range *p = reallocarray(m->recent, want, sizeof(*p));

		if (p == NULL)
			return false;
		m->recent = p;
		m->recent_cap = want;
	}
	m->recent[m->recent_count++] = (struct uid_range){ from, to - 1 };
	return true;
}

/* Fresh from the store, merged; a writable session claims what is recent. */
static enum mailbox_result view_refresh(struct mailbox *m)
{
	uint32_t from = 0, to = 0;
	enum mailbox_result r = state_refresh(m->a);

	if (r == MAILBOX_OK)
		r = state_merge(m->a, m->read_only ? FOLDER_NONE : m->folder, &from, &to);
	if (r != MAILBOX_OK)
		return r;
	return recent_add(m, from, to) ? MAILBOX_OK : MAILBOX_MEMORY;
}

static enum mailbox_result open_locked(struct mailbox *m, struct slice name)
{
	struct account *a = m->a;
	enum mailbox_result r = a->s->loaded ? MAILBOX_OK : state_refresh(a);
	const struct folder *f = r == MAILBOX_OK ? state_folder_named(a->s, name) : NULL;

	/* Another process may have made it: look again before saying no. */
	if (r == MAILBOX_OK && f == NULL) {
		r = state_refresh(a);
		f = r == MAILBOX_OK ? state_folder_named(a->s, name) : NULL;
		if (r == MAILBOX_OK && f == NULL)
			r = MAILBOX_NO_FOLDER;
	}
	if (r != MAILBOX_OK)
		return r;
	m->folder = f->id;
	r = view_refresh(m);
	f = state_folder(a->s, m->folder);
	if (r == MAILBOX_OK && (f == NULL || !slice_eq(slice_str(f->name), name)))
		return MAILBOX_NO_FOLDER;
	struct table *t;

	if (r == MAILBOX_OK)
		r = view_table(m, &t);
	for (uint32_t i = 0; r == MAILBOX_OK && i < t->count; i++)
		if (!view_add(&m->ranges, &m->range_count, &m->range_cap, t->rows[i].uid, i + 1))
			r = MAILBOX_MEMORY;
	if (r != MAILBOX_OK)
		return r;
	m->count = t->count;
	m->uidnext = state_folder(a->s, m->folder)->uidnext;
	m->synced = a->s->h.modseq;
	return r;
}

enum mailbox_result mailbox_open(struct account *a, struct slice name, bool read_only, struct mailbox **out)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 10);
	struct slice normal;

	if (!folder_name_normal(name, &arena, &normal))
		return MAILBOX_NO_FOLDER;
	struct mailbox *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return MAILBOX_MEMORY;
	m->a = a;
	m->read_only = read_only;
	account_lock(a);
	enum mailbox_result r = open_locked(m, normal);

	account_unlock(a);
	if (r != MAILBOX_OK) {
		mailbox_close(m);
		return r;
	}
	*out = m;
	return MAILBOX_OK;
}

void mailbox_close(struct mailbox *m)
{
	if (m == NULL)
		return;
	if (m->table != NULL)
		m->table->users--;
	free(m->ranges);
	free(m->recent);
	free(m);
}

/* ---- looking ---- */

bool mailbox_is_read_only(const struct mailbox *m)
{
	return m->read_only;
}

bool mailbox_recent(const struct mailbox *m, uint32_t uid)
{
	const struct folder *f = state_folder(m->a->s, m->folder);

	/* Claimed by nobody yet: recent to all who see it (RFC 3501 §2.3.2). */
	if (f != NULL && uid >= f->first_recent)
		return true;
	for (size_t i = m->recent_count; i > 0; i--)
		if (uid >= m->recent[i - 1].first)
			return uid <= m->recent[i - 1].last;
	return false;
}

uint32_t mailbox_recent_count(const struct mailbox *m)
{
	const struct folder *f = state_folder(m->a->s, m->folder);
	uint32_t n = f == NULL ? 0 : m->count + 1 - mailbox_seq_from(m, f->first_recent);

	for (size_t i = 0; i < m->recent_count; i++)
		n += mailbox_seq_from(m, m->recent[i].last + 1) - mailbox_seq_from(m, m->recent[i].first);
	return n;
}

void mailbox_status(const struct mailbox *m, struct folder_info *out)
{
	const struct folder *f = state_folder(m->a->s, m->folder);

	*out = (struct folder_info){ 0 };
	if (f == NULL)
		return;
	*out = (struct folder_info){
		.id = f->id,
		.special_use = f->use,
		.uidvalidity = f->uidvalidity,
		.uidnext = f->uidnext,
		.messages = f->messages,
		.unseen = f->unseen,
		.deleted = f->deleted,
		.recent = mailbox_recent_count(m),
		.size = f->size,
		.deleted_size = f->deleted_size,
		.highestmodseq = f->highestmodseq,
	};
}

bool mailbox_message(struct mailbox *m, uint32_t uid, struct message_info *out)
{
	struct table *t = m->table;

	if (!t->loaded) {
		account_lock(m->a);
		enum mailbox_result r = view_table(m, &t);

		account_unlock(m->a);
		if (r != MAILBOX_OK)
			return false;
	}
	const struct message_info *row = table_find(t, uid);

	if (row == NULL)
		return false;
	*out = *row;
	return true;
}

uint32_t mailbox_first_unseen(struct mailbox *m)
{
	const struct table *t = m->table;

	for (uint32_t i = 0; t->loaded && i < t->count; i++) {
		if (t->rows[i].flags & FLAG_SEEN)
			continue;
		uint32_t seq = mailbox_seq(m, t->rows[i].uid);

		if (seq != 0)
			return seq;
	}
	return 0;
}

struct message_info *rows_next(struct rows *r)
{
	while (r->range < r->uids->count) {
		const struct uid_range *range = &r->uids->ranges[r->range];

		if (!r->inside) {
			r->at = table_lower(r->t, range->first);
			r->inside = true;
		}
		if (r->at < r->t->count && r->t->rows[r->at].uid <= range->last)
			return &r->t->rows[r->at++];
		r->inside = false;
		r->range++;
	}
	return NULL;
}

/* ---- syncing ---- */

void view_own(struct mailbox *m, uint64_t modseq)
{
	if (m->own_count == ARRAY_LEN(m->told_own)) {
		memmove(m->told_own, m->told_own + 1, sizeof(m->told_own) - sizeof(m->told_own[0]));
		m->own_count--;
	}
	m->told_own[m->own_count++] = modseq;
}

bool view_is_own(const struct mailbox *m, uint64_t modseq)
{
	for (unsigned i = 0; i < m->own_count; i++)
		if (m->told_own[i] == modseq)
			return true;
	return false;
}

struct sync {
	struct mailbox *m;
	const struct table *t;
	struct arena *arena;
	bool expunges;
	struct view_range *fresh;
	size_t fresh_count, fresh_cap;
	uint32_t *gone;			/* old sequence numbers, ascending */
	struct uid_range *vanished;
	size_t gone_count, vanished_count;
	struct message_change *changed;
	size_t changed_count;
	uint32_t seq;			/* last one given in the new numbering */
};

/* How much of each there is, so that the arena is asked once. */
static void sync_measure(const struct sync *s, size_t *gone, size_t *changed)
{
	const struct mailbox *m = s->m;
	uint32_t kept = 0;

	*changed = 0;
	for (uint32_t i = 0; i < s->t->count; i++) {
		if (mailbox_seq(m, s->t->rows[i].uid) == 0)
			continue;
		kept++;
		*changed += s->t->rows[i].modseq > m->synced;
	}
	*gone = m->count - kept;
}

static bool sync_gone(struct sync *s, uint32_t uid, uint32_t old_seq)
{
	if (!s->expunges) {
		s->m->behind = true;
		return view_add(&s->fresh, &s->fresh_count, &s->fresh_cap, uid, ++s->seq);
	}
	s->gone[s->gone_count++] = old_seq;
	if (s->vanished_count > 0 && s->vanished[s->vanished_count - 1].last + 1 == uid)
		s->vanished[s->vanished_count - 1].last = uid;
	else
		s->vanished[s->vanished_count++] = (struct uid_range){ uid, uid };
	return true;
}

/* What the session knows against what there is: one pass over both, in order of UIDs. */
static bool sync_walk(struct sync *s, uint32_t *added)
{
	struct mailbox *m = s->m;
	uint32_t row = 0;

	m->behind = false;
	for (size_t i = 0; i < m->range_count; i++) {
		for (uint32_t uid = m->ranges[i].first;; uid++) {
			while (row < s->t->count && s->t->rows[row].uid < uid)
				row++;
			bool there = row < s->t->count && s->t->rows[row].uid == uid;

			if (!there && !sync_gone(s, uid, m->ranges[i].seq + (uid - m->ranges[i].first)))
				return false;
			if (there && !view_add(&s->fresh, &s->fresh_count, &s->fresh_cap, uid, ++s->seq))
				return false;
			if (there && s->t->rows[row].modseq > m->synced)
				s->changed[s->changed_count++] = (struct message_change){
					s->seq, uid, s->t->rows[row].modseq,
					view_is_own(m, s->t->rows[row].modseq)
				};
			if (uid == m->ranges[i].last)
				break;
		}
	}
	for (row = table_lower(s->t, m->uidnext); row < s->t->count; row++) {
		if (!view_add(&s->fresh, &s->fresh_count, &s->fresh_cap, s->t->rows[row].uid, ++s->seq))
			return false;
		++*added;
	}
	return true;
}

static enum mailbox_result sync_compare(struct mailbox *m, const struct table *t, unsigned flags,
					struct arena *arena, struct mailbox_changes *out)
{
	struct sync s = { .m = m, .t = t, .arena = arena, .expunges = flags & SYNC_EXPUNGES };
	size_t gone, changed;

	sync_measure(&s, &gone, &changed);
	s.gone = arena_array(arena, gone + 1, sizeof(*s.gone));
	s.vanished = arena_array(arena, gone + 1, sizeof(*s.vanished));
	s.changed = arena_array(arena, changed + 1, sizeof(*s.changed));
	if (s.gone == NULL || s.vanished == NULL || s.changed == NULL)
		return MAILBOX_MEMORY;
	if (!sync_walk(&s, &out->added)) {
		free(s.fresh);
		return MAILBOX_MEMORY;
	}
	for (size_t i = 0; i < s.gone_count / 2; i++) {
		uint32_t swap = s.gone[i];

		s.gone[i] = s.gone[s.gone_count - 1 - i];
		s.gone[s.gone_count - 1 - i] = swap;
	}
	free(m->ranges);
	m->ranges = s.fresh;
	m->range_count = s.fresh_count;
	m->range_cap = s.fresh_cap;
	m->count = s.seq;
	out->expunged_seqs = s.gone;
	out->expunged_count = s.gone_count;
	out->vanished = (struct uid_ranges){ s.vanished, s.vanished_count };
	out->changed = s.changed;
	out->changed_count = s.changed_count;
	return MAILBOX_OK;
}

static enum mailbox_result sync_locked(struct mailbox *m, unsigned flags, struct arena *arena,
				       struct mailbox_changes *out)
{
	struct state *s = m->a->s;
	enum mailbox_result r = flags & SYNC_LOCAL ? MAILBOX_OK : view_refresh(m);
	struct table *t;

	if (r == MAILBOX_OK && !s->loaded)
		r = state_refresh(m->a);
	if (r != MAILBOX_OK)
		return r;
	if (state_folder(s, m->folder) == NULL) {
		out->uidvalidity_gone = true;
		return MAILBOX_OK;
	}
	if (m->synced != s->h.modseq || (m->behind && flags & SYNC_EXPUNGES)) {
		r = view_table(m, &t);
		const struct folder *f = state_folder(s, m->folder);

		if (r == MAILBOX_NO_FOLDER || f == NULL) {
			out->uidvalidity_gone = true;
			return MAILBOX_OK;
		}
		if (r == MAILBOX_OK && (f->highestmodseq > m->synced || m->behind))
			r = sync_compare(m, t, flags, arena, out);
		if (r != MAILBOX_OK)
			return r;
		m->synced = s->h.modseq;
		m->uidnext = f->uidnext;
		m->own_count = 0;
	}
	out->highestmodseq = state_folder(s, m->folder)->highestmodseq;
	return MAILBOX_OK;
}

enum mailbox_result mailbox_sync(struct mailbox *m, unsigned flags, struct arena *arena,
				 struct mailbox_changes *out)
{
	*out = (struct mailbox_changes){ 0 };
	account_lock(m->a);
	enum mailbox_result r = sync_locked(m, flags, arena, out);

	account_unlock(m->a);
	out->exists = m->count;
	out->recent = mailbox_recent_count(m);
	return r;
}
