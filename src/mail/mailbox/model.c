#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "mail/mailbox/delivery.h"
#include "mail/mailbox/mailbox.h"
#include "mail/mailbox/model.h"
#include "mail/mailbox/testworld.h"

#define NAMES	    6u
#define ROWS	    48u
#define PARCELS	    8u
#define CACHES	    2u
#define ACCOUNT	    "00000000000000aa"
#define BODY_MAX    2600u
#define GHOSTS	    64u

static const char *const names[NAMES] = { "INBOX", "A", "A/x", "B", "B/x", "INBOX/y" };

struct row {
	uint32_t uid, body;
	uint8_t flags;
	uint64_t keywords;
	uint64_t modseq;
};

struct mfolder {
	bool exists, fresh;		/* fresh: made by the operation, numbers not known yet */
	uint32_t id, uidvalidity, uidnext;
	uint64_t modseq;
	uint32_t count;
	struct row rows[ROWS];
};

/* A delivery that is not merged, or not answered, yet. */
struct parcel {
	uint32_t body;			/* 0: free */
	bool acked, merged;
	bool under_way;			/* in a call: if that is cut off, nobody knows its tries, or repeats it */
	struct delivery_tries tries;
};

enum op_kind {
	OP_NONE,
	OP_FLAGS,
	OP_EXPUNGE,
	OP_COPY,
	OP_MOVE,
	OP_APPEND,
	OP_CREATE,
	OP_DELETE,
	OP_RENAME,
};

struct op {
	enum op_kind kind;
	unsigned folder, to;		/* indexes of names */
	uint32_t uids[ROWS], count;
	enum store_mode mode;
	uint8_t flags;
	uint64_t keywords;
	uint32_t body;			/* APPEND: first of count bodies */
};

struct model {
	struct test_world world;
	uint64_t seed;
	struct mfolder folders[NAMES];
	struct parcel parcels[PARCELS];
	struct op op;			/* under way or of unknown outcome */
	/*
	 * Failed with an open outcome and were not there when we looked. A restart may still find one
	 * of them on the disk (all have the same guard), until another change was acknowledged.
	 */
	struct op ghosts[GHOSTS];
	unsigned ghost_count;
	uint32_t next_body;
	uint32_t last_uidvalidity, last_id;
	bool head_made;
	uint64_t done;
};

static uint64_t below(struct model *m, uint64_t n)
{
	return test_next(&m->seed) % n;
}

struct model *model_new(uint64_t seed)
{
	struct model *m = calloc(1, sizeof(*m));

	must(m != NULL);
	test_world_init(&m->world, seed);
	m->seed = seed * 77 + 5;
	m->next_body = 1;
	m->folders[0] = (struct mfolder){ .exists = true, .fresh = true, .uidnext = 1 };
	return m;
}

void model_reseed(struct model *m, uint64_t seed)
{
	m->seed = seed;
}

struct model *model_copy(const struct model *m)
{
	struct model *c = malloc(sizeof(*c));

	must(c != NULL);
	*c = *m;
	return c;
}

void model_free(struct model *m)
{
	free(m);
}

uint64_t model_done(const struct model *m)
{
	return m->done;
}

/* The body with this number: its length and bytes follow from it. */
static struct slice body_bytes(uint32_t n, uint8_t out[BODY_MAX])
{
	size_t len = n % 9 == 0 ? 520 + n * 31 % 2000 : 12 + n * 17 % 180;
	int head = snprintf((char *)out, BODY_MAX, "%08u\r\n", n);

	for (size_t i = (size_t)head; i < len; i++)
		out[i] = (uint8_t)('a' + (n + i) % 26);
	return slice_of(out, len);
}

/* ---- what is there ---- */

static bool wrong(struct errmsg *why, const char *text, unsigned folder, uint32_t a, uint32_t b)
{
	errmsg_say(why, -1, "%s (%s, %u, %u)", text, names[folder], a, b);
	return false;
}

static enum mailbox_result read_body(struct mailbox *mb, const struct message_info *info, uint32_t *body,
				     bool *right)
{
	AUTO_BUF struct buf b = BUF_INIT(2 * BODY_MAX);
	uint8_t text[BODY_MAX];
	uint32_t n = 0;
	enum mailbox_result r = mailbox_read(mb, info, 0, info->size, &b);

	if (r != MAILBOX_OK)
		return r;
	*right = b.len >= 8 && slice_u32(slice_head(buf_slice(&b), 8), &n) &&
		 slice_eq(buf_slice(&b), body_bytes(n, text));
	*body = n;
	return MAILBOX_OK;
}

static enum mailbox_result read_folder(struct account *a, unsigned i, struct mfolder *out,
				       struct errmsg *why, bool *good)
{
	struct mailbox *mb;
	struct folder_info st;
	enum mailbox_result r = mailbox_open(a, slice_str(names[i]), true, &mb);
	uint32_t unseen = 0;
	uint64_t size = 0;

	*out = (struct mfolder){ 0 };
	if (r == MAILBOX_NO_FOLDER)
		return MAILBOX_OK;
	if (r != MAILBOX_OK)
		return r;
	mailbox_status(mb, &st);
	out->exists = true;
	out->id = st.id;
	out->uidvalidity = st.uidvalidity;
	out->uidnext = st.uidnext;
	out->modseq = st.highestmodseq;
	out->count = mailbox_count(mb);
	if (out->count > ROWS)
		*good = wrong(why, "more messages than there can be", i, out->count, 0);
	for (uint32_t seq = 1; *good && r == MAILBOX_OK && seq <= out->count; seq++) {
		struct message_info info;
		struct row *row = &out->rows[seq - 1];
		bool right = false;

		if (!mailbox_message(mb, mailbox_uid(mb, seq), &info)) {
			*good = wrong(why, "a listed message is not there", i, seq, 0);
			break;
		}
		r = read_body(mb, &info, &row->body, &right);
		if (r == MAILBOX_DAMAGED || r == MAILBOX_EXPUNGED || (r == MAILBOX_OK && !right))
			*good = wrong(why, "a body cannot be read", i, info.uid, r);
		row->uid = info.uid;
		row->flags = info.flags;
		row->keywords = info.keywords;
		row->modseq = info.modseq;
		unseen += !(info.flags & FLAG_SEEN);
		size += info.size;
	}
	mailbox_close(mb);
	if (r == MAILBOX_OK && *good &&
	    (unseen != st.unseen || size != st.size || out->count != st.messages))
		*good = wrong(why, "counts differ from messages", i, st.unseen, unseen);
	return r;
}

static enum mailbox_result read_all(struct account *a, struct mfolder out[NAMES], struct errmsg *why,
				    bool *good)
{
	/* One refresh and merge first, so that all folders are of one moment. */
	enum mailbox_result r = account_refresh(a);

	*good = true;
	for (unsigned i = 0; i < NAMES && r == MAILBOX_OK && *good; i++)
		r = read_folder(a, i, &out[i], why, good);
	return r;
}

/* ---- what should be there ---- */

struct extra {
	uint32_t body;
	uint8_t flags;
	uint64_t keywords;
};

struct expectation {
	struct mfolder folders[NAMES];
	struct extra extra[ROWS * 2];	/* new rows of folder `to`, in order */
	size_t extra_count;
	unsigned to;
	struct parcel parcels[PARCELS];
};

static struct row *row_of(struct mfolder *f, uint32_t uid)
{
	for (uint32_t i = 0; i < f->count; i++)
		if (f->rows[i].uid == uid)
			return &f->rows[i];
	return NULL;
}

static void drop_row(struct mfolder *f, uint32_t uid)
{
	struct row *r = row_of(f, uid);

	if (r == NULL)
		return;
	memmove(r, r + 1, (size_t)(f->rows + f->count - (r + 1)) * sizeof(*r));
	f->count--;
}

static void apply_rows(struct expectation *x, const struct op *op)
{
	struct mfolder *f = &x->folders[op->folder];

	for (uint32_t i = 0; i < op->count; i++) {
		struct row *r = row_of(f, op->uids[i]);

		if (r == NULL)
			continue;
		if (op->kind == OP_COPY || op->kind == OP_MOVE)
			x->extra[x->extra_count++] = (struct extra){ r->body, r->flags, r->keywords };
		if (op->kind == OP_MOVE || op->kind == OP_EXPUNGE) {
			drop_row(f, op->uids[i]);
		} else if (op->kind == OP_FLAGS && op->mode == STORE_ADD) {
			r->flags |= op->flags;
			r->keywords |= op->keywords;
		} else if (op->kind == OP_FLAGS && op->mode == STORE_REMOVE) {
			r->flags &= (uint8_t)~op->flags;
			r->keywords &= ~op->keywords;
		} else if (op->kind == OP_FLAGS) {
			r->flags = op->flags;
			r->keywords = op->keywords;
		}
	}
}

/* "A" moves to "B" and "A/x" to "B/x". */
static void apply_rename(struct expectation *x, const struct op *op)
{
	for (unsigned d = 0; d < 2; d++) {
		if (!x->folders[op->folder + d].exists)
			continue;
		x->folders[op->to + d] = x->folders[op->folder + d];
		x->folders[op->folder + d] = (struct mfolder){ 0 };
	}
}

static void apply(struct expectation *x, const struct op *op)
{
	x->to = op->to;
	switch (op->kind) {
	case OP_NONE:
		break;
	case OP_FLAGS:
	case OP_EXPUNGE:
	case OP_COPY:
	case OP_MOVE:
		apply_rows(x, op);
		break;
	case OP_APPEND:
		for (uint32_t i = 0; i < op->count; i++)
			x->extra[x->extra_count++] = (struct extra){ op->body + i, op->flags, op->keywords };
		break;
	case OP_CREATE:
		x->folders[op->folder] = (struct mfolder){ .exists = true, .fresh = true, .uidnext = 1 };
		break;
	case OP_DELETE:
		x->folders[op->folder] = (struct mfolder){ 0 };
		break;
	case OP_RENAME:
		apply_rename(x, op);
		break;
	}
}

static bool take_parcel(struct expectation *x, const struct row *r)
{
	for (unsigned i = 0; i < PARCELS; i++) {
		struct parcel *p = &x->parcels[i];

		if (p->body != r->body || p->merged || r->flags != 0 || r->keywords != 0)
			continue;
		p->merged = true;
		return true;
	}
	return false;
}

static bool same_folder(const struct model *m, struct expectation *x, unsigned i,
			const struct mfolder *real, struct errmsg *why)
{
	const struct mfolder *f = &x->folders[i];
	uint32_t at = 0;

	if (f->exists != real->exists)
		return wrong(why, "existence", i, f->exists, real->exists);
	if (!f->exists)
		return true;
	if (f->fresh ? i != 0 && (real->id <= m->last_id || real->uidvalidity <= m->last_uidvalidity) :
		       real->id != f->id || real->uidvalidity != f->uidvalidity)
		return wrong(why, "id or uidvalidity", i, real->id, real->uidvalidity);
	if (real->uidnext < f->uidnext || real->modseq < f->modseq)
		return wrong(why, "uidnext or modseq fell", i, real->uidnext, f->uidnext);
	for (uint32_t k = 0; k < real->count; k++) {
		const struct row *r = &real->rows[k], *w = &f->rows[k];

		if ((k > 0 && r->uid <= real->rows[k - 1].uid) || r->uid >= real->uidnext ||
		    r->modseq > real->modseq)
			return wrong(why, "UIDs out of order", i, r->uid, real->uidnext);
		if (r->uid < f->uidnext) {
			if (k >= f->count || r->uid != w->uid || r->body != w->body ||
			    r->flags != w->flags || r->keywords != w->keywords || r->modseq < w->modseq)
				return wrong(why, "an old message differs or is back", i, r->uid, r->body);
			continue;
		}
		if (k < f->count)
			return wrong(why, "a message is lost", i, w->uid, w->body);
		const struct extra *e = i == x->to && at < x->extra_count ? &x->extra[at] : NULL;

		if (e != NULL && e->body == r->body && e->flags == r->flags && e->keywords == r->keywords)
			at++;
		else if (i != 0 || !take_parcel(x, r))
			return wrong(why, "a message that nobody sent, or twice", i, r->uid, r->body);
	}
	if (real->count < f->count)
		return wrong(why, "messages are lost", i, real->count, f->count);
	if (i == x->to && at < x->extra_count)
		return wrong(why, "copies or appends are lost", i, (uint32_t)at, (uint32_t)x->extra_count);
	return true;
}

/* Is `real` what was, with or without the operation, and merged deliveries? Then it becomes what is. */
static bool explain(struct model *m, const struct mfolder real[NAMES], const struct op *op,
		    struct errmsg *why)
{
	struct expectation *x = calloc(1, sizeof(*x));
	bool good = true;

	must(x != NULL);
	memcpy(x->folders, m->folders, sizeof(x->folders));
	memcpy(x->parcels, m->parcels, sizeof(x->parcels));
	x->to = NAMES;
	if (op != NULL)
		apply(x, op);
	for (unsigned i = 0; good && i < NAMES; i++)
		good = same_folder(m, x, i, &real[i], why);
	for (unsigned i = 0; good && i < PARCELS; i++)
		if (x->parcels[i].body != 0 && x->parcels[i].acked && !x->parcels[i].merged)
			good = wrong(why, "an acknowledged delivery is lost", 0, x->parcels[i].body, 0);
	if (good) {
		memcpy(m->folders, real, sizeof(m->folders));
		memcpy(m->parcels, x->parcels, sizeof(m->parcels));
		for (unsigned i = 0; i < NAMES; i++) {
			if (real[i].id > m->last_id)
				m->last_id = real[i].id;
			if (real[i].uidvalidity > m->last_uidvalidity)
				m->last_uidvalidity = real[i].uidvalidity;
		}
		for (unsigned i = 0; i < PARCELS; i++)
			if (m->parcels[i].acked && m->parcels[i].merged)
				m->parcels[i] = (struct parcel){ 0 };
	}
	free(x);
	return good;
}

static bool settle(struct model *m, const struct mfolder real[NAMES], struct errmsg *why)
{
	struct errmsg with = { 0 }, ignored;
	struct op op = m->op;

	m->op.kind = OP_NONE;
	if (op.kind != OP_NONE && explain(m, real, &op, &with))
		return true;
	if (explain(m, real, NULL, why)) {
		must(m->ghost_count < GHOSTS);
		if (op.kind != OP_NONE)
			m->ghosts[m->ghost_count++] = op;
		return true;
	}
	for (unsigned i = 0; i < m->ghost_count; i++) {
		if (explain(m, real, &m->ghosts[i], &ignored)) {
			m->ghost_count = 0;
			return true;
		}
	}
	if (op.kind != OP_NONE) {
		struct errmsg without = *why;

		errmsg_say(why, -1, "neither with operation %d (%.150s) nor without: %.200s", op.kind,
			   with.text, without.text);
	}
	return false;
}

/* ---- random work ---- */

struct worker {
	struct model *m;
	struct engine *e;
	struct accounts *all[CACHES];
	struct account *a[CACHES];
	struct mailbox *view[CACHES];	/* INBOX, open for long */
	struct deliverer *d;
	struct arena arena;
	unsigned caches;		/* processes at work */
	bool away;			/* a call failed: what is there is not known now */
};

static unsigned pick(struct worker *w)
{
	return (unsigned)below(w->m, w->caches);
}

static bool open_caches(struct worker *w)
{
	struct accounts_options ao = { .buckets = 1, .cache_bytes = 0 };

	for (unsigned i = 0; i < w->caches; i++) {
		if (w->a[i] != NULL)
			continue;
		if (w->all[i] == NULL)
			must(accounts_new(&w->m->world.base, &ao, &w->all[i]) == 0);
		if (account_open(w->all[i], w->e, SLICE(ACCOUNT), (struct quota){ 0 }, &w->a[i]) !=
		    MAILBOX_OK)
			return false;
	}
	return true;
}

static void close_cache(struct worker *w, unsigned i)
{
	mailbox_close(w->view[i]);
	account_close(w->a[i]);
	accounts_free(w->all[i]);
	w->view[i] = NULL;
	w->a[i] = NULL;
	w->all[i] = NULL;
}

static void do_deliver(struct worker *w)
{
	struct model *m = w->m;
	struct delivery_recipient to = { .engine = w->e, .folder = FOLDER_INBOX };
	uint8_t transaction[TRANSACTION_ID_BYTES] = "model";
	uint8_t text[BODY_MAX];
	struct parcel *p = &m->parcels[below(m, PARCELS)];
	struct delivery *d;

	if (p->acked || (p->body == 0 && m->folders[0].count > ROWS / 2))
		return;
	if (p->body == 0)
		p->body = m->next_body++;
	memcpy(transaction + 8, &p->body, sizeof(p->body));
	memcpy(to.account, ACCOUNT, ACCOUNT_ID_BYTES);
	to.tries = p->tries;
	must(delivery_begin(w->d, transaction, &to, 1, &d) == 0);
	p->under_way = true;
	if (delivery_write(d, body_bytes(p->body, text))) {
		delivery_finish(d, SLICE("summary"), m->world.now_us / 1000000, 0);
		/* In doubt it is always tried again, as the queue does: with what earlier tries reached. */
		p->tries = to.tries;
		p->acked = to.status == DELIVERY_OK;
		w->away |= to.status != DELIVERY_OK;
	} else {
		w->away = true;
	}
	delivery_free(d);
	p->under_way = false;
	if (p->acked && p->merged)
		*p = (struct parcel){ 0 };
}

static unsigned any_folder(struct worker *w)
{
	unsigned i;

	do {
		i = (unsigned)below(w->m, NAMES);
	} while (!w->m->folders[i].exists);
	return i;
}

/* Some of the folder's messages. */
static void choose_rows(struct worker *w, struct op *op)
{
	const struct mfolder *f = &w->m->folders[op->folder];
	uint64_t many = 1 + below(w->m, 4);

	for (uint32_t i = 0; i < f->count; i++)
		if (below(w->m, many) == 0 && op->count < ROWS)
			op->uids[op->count++] = f->rows[i].uid;
}

static enum mailbox_result do_append(struct worker *w, const struct op *op)
{
	struct append_meta meta = { .flags = op->flags, .keywords = op->keywords, .internaldate_s = 1 };
	struct append_result out;
	struct append *ap;
	enum mailbox_result r = append_begin(w->a[pick(w)], slice_str(names[op->to]), &ap);

	if (r != MAILBOX_OK)
		return r;
	for (uint32_t i = 0; r == MAILBOX_OK && i < op->count; i++) {
		uint8_t text[BODY_MAX];

		r = append_message(ap, &meta, 0);
		if (r == MAILBOX_OK)
			r = append_write(ap, body_bytes(op->body + i, text));
		if (r == MAILBOX_OK)
			r = append_message_end(ap, SLICE("s"));
	}
	if (r == MAILBOX_OK)
		r = append_commit(ap, &w->arena, &out);
	append_abort(ap);
	return r;
}

static enum mailbox_result do_rows(struct worker *w, const struct op *op)
{
	struct uid_range ranges[ROWS];
	const struct uid_ranges set = { ranges, op->count };
	struct mailbox *mb;
	enum mailbox_result r = mailbox_open(w->a[pick(w)], slice_str(names[op->folder]), false, &mb);

	if (r != MAILBOX_OK)
		return r;
	for (uint32_t i = 0; i < op->count; i++)
		ranges[i] = (struct uid_range){ op->uids[i], op->uids[i] };
	if (op->kind == OP_FLAGS) {
		struct store_request req = { .uids = set, .mode = op->mode, .flags = op->flags,
					     .keywords = op->keywords };
		struct store_result out;

		r = mailbox_store(mb, &req, &w->arena, &out);
	} else if (op->kind == OP_EXPUNGE) {
		r = mailbox_expunge(mb, &set, true, &w->arena, NULL, NULL);
	} else {
		struct copy_result out;

		r = mailbox_copy(mb, &set, slice_str(names[op->to]), op->kind == OP_MOVE ? COPY_MOVE : 0, &w->arena, &out);
	}
	mailbox_close(mb);
	return r;
}

/* An expunge is several commits when it is long; the model wants all or nothing: keep it short. */
#define EXPUNGE_MAX 5u

static enum mailbox_result do_op(struct worker *w)
{
	struct op *op = &w->m->op;
	struct account *a = w->a[pick(w)];

	switch (op->kind) {
	case OP_APPEND:
		return do_append(w, op);
	case OP_CREATE:
		return folder_create(a, slice_str(names[op->folder]), 0, NULL);
	case OP_DELETE:
		return folder_delete(a, slice_str(names[op->folder]));
	case OP_RENAME:
		return folder_rename(a, slice_str(names[op->folder]), slice_str(names[op->to]));
	default:
		return do_rows(w, op);
	}
}

/* A random operation that must succeed on what the model knows; false: nothing suitable came up. */
static bool choose_op(struct worker *w)
{
	struct model *m = w->m;
	struct op op = { .to = NAMES };
	unsigned c = (unsigned)below(m, 20);

	if (m->ghost_count == GHOSTS - 1)
		return false;		/* no room to remember one more */
	op.folder = any_folder(w);
	op.flags = (uint8_t)below(m, FLAGS_ALL + 1);
	op.keywords = below(m, 4);
	op.mode = (enum store_mode)below(m, 3);
	if (c < 6) {
		op.kind = OP_FLAGS;
		choose_rows(w, &op);
	} else if (c < 9) {
		op.kind = OP_EXPUNGE;
		choose_rows(w, &op);
		if (op.count > EXPUNGE_MAX)
			op.count = EXPUNGE_MAX;
	} else if (c < 13) {
		op.kind = c < 11 ? OP_COPY : OP_MOVE;
		op.to = any_folder(w);
		choose_rows(w, &op);
		if (op.to == op.folder || m->folders[op.to].count + op.count > ROWS / 2)
			return false;
	} else if (c < 17) {
		op.kind = OP_APPEND;
		op.to = any_folder(w);
		op.count = 1 + (uint32_t)below(m, 3);
		op.body = m->next_body;
		if (m->folders[op.to].count + op.count > ROWS / 2)
			return false;
		m->next_body += op.count;
	} else {
		op.folder = 1 + (unsigned)below(m, NAMES - 1);
		op.kind = m->folders[op.folder].exists ? OP_DELETE : OP_CREATE;
		if (c == 19 && (m->folders[1].exists || m->folders[2].exists) && !m->folders[3].exists &&
		    !m->folders[4].exists) {
			op.kind = OP_RENAME;
			op.folder = 1;
			op.to = 3;
		} else if (c == 19 && (m->folders[3].exists || m->folders[4].exists) &&
			   !m->folders[1].exists && !m->folders[2].exists) {
			op.kind = OP_RENAME;
			op.folder = 3;
			op.to = 1;
		} else if (op.kind == OP_DELETE && below(m, 3) > 0) {
			return false;
		}
	}
	if (op.count == 0 && op.kind < OP_CREATE)
		return false;
	m->op = op;
	return true;
}

/* The long-open session must list exactly what is there, and hear of every change. */
static bool sync_view(struct worker *w, unsigned i, struct errmsg *why)
{
	const struct mfolder *f = &w->m->folders[0];
	struct mailbox_changes c;

	if (w->view[i] == NULL) {
		/* Not yet is fine: the next round tries again. */
		if (mailbox_open(w->a[i], SLICE("INBOX"), true, &w->view[i]) != MAILBOX_OK)
			w->view[i] = NULL;
		return true;
	}
	uint32_t before = mailbox_count(w->view[i]);

	if (mailbox_sync(w->view[i], SYNC_EXPUNGES, &w->arena, &c) != MAILBOX_OK)
		return true;
	if (before - c.expunged_count + c.added != c.exists || c.exists != f->count)
		return wrong(why, "a session's count is off", 0, c.exists, f->count);
	for (uint32_t k = 0; k < f->count; k++)
		if (mailbox_uid(w->view[i], k + 1) != f->rows[k].uid)
			return wrong(why, "a session numbers wrongly", 0, k + 1, f->rows[k].uid);
	return true;
}

static void do_upkeep(struct worker *w)
{
	bool more = true;

	if (below(w->m, 4) == 0)
		w->m->world.now_us += INT64_C(2) * 3600 * 1000000;
	for (uint64_t n = 1 + below(w->m, 4); n > 0 && more; n--)
		w->away |= account_maintain(w->a[pick(w)], &more) != MAILBOX_OK;
}

/* Look at everything, as one of the processes sees it. */
static bool look(struct worker *w, struct errmsg *why)
{
	struct mfolder *real = calloc(NAMES, sizeof(*real));
	bool good = true;

	must(real != NULL);
	enum mailbox_result r = read_all(w->a[pick(w)], real, why, &good);

	if (r == MAILBOX_DAMAGED)
		good = wrong(why, "the account cannot be read", 0, 0, 0);
	if (r == MAILBOX_OK && good) {
		good = settle(w->m, real, why);
		w->away = false;
	} else if (good) {
		w->away = true;
	}
	free(real);
	return good;
}

static bool step(struct worker *w, struct errmsg *why)
{
	struct model *m = w->m;
	uint64_t c = below(m, 10);

	arena_reset(&w->arena);
	if (below(m, 25) == 0) {
		close_cache(w, pick(w));
		if (!open_caches(w)) {
			w->away = true;
			return true;
		}
	}
	if (w->away && !look(w, why))
		return false;
	if (w->away)
		return true;
	if (c < 3) {
		do_deliver(w);
	} else if (c == 3) {
		do_upkeep(w);
	} else if (choose_op(w)) {
		enum mailbox_result r = do_op(w);

		m->done += r == MAILBOX_OK;
		if (r != MAILBOX_OK && r != MAILBOX_UNAVAILABLE && r != MAILBOX_FULL)
			return wrong(why, mailbox_result_name(r), m->op.folder, m->op.kind, 0);
		w->away |= r != MAILBOX_OK;
		if (r == MAILBOX_OK) {
			/* Acknowledged: there is no "without" any more. */
			struct mfolder *real = calloc(NAMES, sizeof(*real));
			bool good = true;

			must(real != NULL);
			r = read_all(w->a[pick(w)], real, why, &good);
			if (r == MAILBOX_OK && good) {
				/* OK to what changes nothing ("already so") ends no ghost: it wrote nothing. */
				bool changed = memcmp(m->folders, real, sizeof(m->folders)) != 0;

				good = explain(m, real, &m->op, why);
				m->op.kind = OP_NONE;
				if (changed)
					m->ghost_count = 0;
			}
			free(real);
			w->away |= r != MAILBOX_OK;
			if (!good)
				return false;
		}
	}
	if (w->away)
		return true;
	return look(w, why) && (w->away || sync_view(w, pick(w), why));
}

bool model_work(struct model *m, struct engine *e, unsigned steps, struct errmsg *why)
{
	struct worker w = { .m = m, .e = e, .caches = CACHES, .away = true };
	struct deliverer_options o = { .buckets = 1 };
	bool good = true;

	arena_init(&w.arena, 1u << 22);
	must(deliverer_new(&m->world.base, &o, &w.d) == 0);
	for (unsigned i = 0; i < steps && good; i++)
		good = open_caches(&w) ? step(&w, why) : true;
	for (unsigned i = 0; i < CACHES; i++)
		close_cache(&w, i);
	deliverer_free(w.d);
	arena_done(&w.arena);
	return good;
}

bool model_check(struct model *m, struct engine *e, struct errmsg *why)
{
	struct worker w = { .m = m, .e = e, .caches = 1 };
	bool good;

	if (!open_caches(&w)) {
		errmsg_say(why, -1, "the account cannot be opened");
		good = false;
	} else {
		good = look(&w, why);
		if (good && w.away) {
			errmsg_say(why, -1, "the account cannot be read");
			good = false;
		}
	}
	m->ghost_count = 0;		/* the restart found it, or it is not on the disk */
	/* It was merged by now, or it never will be. */
	for (unsigned i = 0; i < PARCELS; i++)
		if (m->parcels[i].under_way)
			m->parcels[i] = (struct parcel){ 0 };
	for (unsigned i = 0; i < CACHES; i++)
		close_cache(&w, i);
	return good;
}
