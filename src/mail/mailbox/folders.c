/*
 * The folder table: names, subscriptions, keywords, STATUS.
 */
#include <stdlib.h>

#include "base/utf8.h"
#include "mail/mailbox/internal.h"

static const struct slice inbox = SLICE_INIT("INBOX");

bool folder_name_normal(struct slice name, struct arena *arena, struct slice *out)
{
	unsigned depth = 1;

	if (name.len == 0 || name.len > FOLDER_NAME_BYTES_MAX || !utf8_valid(name))
		return false;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];

		/* No C0, DEL, and (as two bytes of UTF-8) no C1: RFC 9051 §5.1, RFC 5198 §2. */
		if (c < 0x20 || c == 0x7f ||
		    (c == 0xc2 && i + 1 < name.len && name.ptr[i + 1] < 0xa0))
			return false;
		if (c != '/')
			continue;
		/* No empty level: at the front, at the end, or between two separators. */
		if (i == 0 || i + 1 == name.len || name.ptr[i + 1] == '/' || ++depth > FOLDER_DEPTH_MAX)
			return false;
	}
	struct slice copy = arena_dup(arena, name);

	if (copy.ptr == NULL)
		return false;
	if (slice_eq_nocase(slice_head(copy, inbox.len), inbox) &&
	    (copy.len == inbox.len || copy.ptr[inbox.len] == '/')) {
		uint8_t *at = arena_alloc(arena, copy.len);

		if (at == NULL)
			return false;
		memcpy(at, copy.ptr, copy.len);
		memcpy(at, inbox.ptr, inbox.len);
		copy = slice_of(at, copy.len);
	}
	*out = copy;
	return true;
}

void folder_mailboxid(uint32_t id, uint32_t uidvalidity, struct buf *out)
{
	buf_printf(out, "F%u-%u", id, uidvalidity);
}

void message_emailid(const uint8_t email_id[EMAIL_ID_BYTES], struct buf *out)
{
	buf_addc(out, 'M');
	for (size_t i = 0; i < EMAIL_ID_BYTES; i++) {
		buf_addc(out, (uint8_t) "0123456789abcdef"[email_id[i] >> 4]);
		buf_addc(out, (uint8_t) "0123456789abcdef"[email_id[i] & 15]);
	}
}

/* ---- LIST ---- */

static bool below(struct slice name, struct slice parent)
{
	return name.len > parent.len && name.ptr[parent.len] == '/' && slice_starts(name, parent);
}

static void info_of(const struct folder *f, struct folder_info *out)
{
	*out = (struct folder_info){
		.id = f->id,
		.special_use = f->use,
		.uidvalidity = f->uidvalidity,
		.uidnext = f->uidnext,
		.messages = f->messages,
		.unseen = f->unseen,
		.deleted = f->deleted,
		.recent = f->uidnext - f->first_recent < f->messages ? f->uidnext - f->first_recent :
								       f->messages,
		.size = f->size,
		.deleted_size = f->deleted_size,
		.highestmodseq = f->highestmodseq,
	};
}

/* Order of bytes, with '/' before all others: a folder's descendants follow it directly. */
static int order_names(struct slice a, struct slice b)
{
	size_t n = a.len < b.len ? a.len : b.len;

	for (size_t i = 0; i < n; i++) {
		if (a.ptr[i] == b.ptr[i])
			continue;
		if (a.ptr[i] == '/' || b.ptr[i] == '/')
			return a.ptr[i] == '/' ? -1 : 1;
		return a.ptr[i] < b.ptr[i] ? -1 : 1;
	}
	return a.len < b.len ? -1 : a.len > b.len;
}

static int order_infos(const void *a, const void *b)
{
	const struct folder_info *x = a, *y = b;
	struct slice first = slice_head(x->name, inbox.len), second = slice_head(y->name, inbox.len);
	bool x_inbox = slice_eq(first, inbox) && (x->name.len == inbox.len || below(x->name, inbox));
	bool y_inbox = slice_eq(second, inbox) && (y->name.len == inbox.len || below(y->name, inbox));

	if (x_inbox != y_inbox)
		return x_inbox ? -1 : 1;
	int d = order_names(x->name, y->name);

	/* Folders before subscriptions and parents of the same name, which are folded in. */
	return d != 0 ? d : (int)(x->id == FOLDER_NONE) - (int)(y->id == FOLDER_NONE);
}

static unsigned levels(struct slice name)
{
	unsigned n = 0;

	for (size_t i = 0; i < name.len; i++)
		n += name.ptr[i] == '/';
	return n;
}

/* All levels above a name, as candidates for nonexistent parents. */
static size_t add_parents(struct folder_info *list, size_t n, struct slice name)
{
	for (size_t i = 1; i < name.len; i++)
		if (name.ptr[i] == '/')
			list[n++] = (struct folder_info){ .name = slice_head(name, i) };
	return n;
}

/* One entry a name; then each name tells its parents, which stand before it, what is below. */
static size_t fold_infos(struct folder_info *list, size_t n)
{
	size_t kept = 0;

	qsort(list, n, sizeof(*list), order_infos);
	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && slice_eq(list[kept - 1].name, list[i].name))
			list[kept - 1].subscribed |= list[i].subscribed;
		else
			list[kept++] = list[i];
	}
	const struct folder_info *path[FOLDER_DEPTH_MAX + 1];
	size_t depth = 0;

	for (size_t i = 0; i < kept; i++) {
		while (depth > 0 && !below(list[i].name, path[depth - 1]->name))
			depth--;
		for (size_t k = 0; k < depth; k++) {
			struct folder_info *up = &list[path[k] - list];

			up->has_children |= list[i].id != FOLDER_NONE;
			up->subscribed_below |= list[i].subscribed;
		}
		if (depth <= FOLDER_DEPTH_MAX)
			path[depth++] = &list[i];
	}
	return kept;
}

static enum mailbox_result list_locked(struct account *a, struct arena *arena, struct folder_info **out,
				       size_t *count)
{
	const struct state *s = a->s;
	size_t room = 0, n = 0;

	for (size_t i = 0; i < s->folder_count; i++)
		room += 1 + levels(slice_str(s->folders[i].name));
	for (size_t i = 0; i < s->sub_count; i++)
		room += 1 + levels(slice_str(s->subs[i].name));
	struct folder_info *list = arena_array(arena, room + 1, sizeof(*list));

	if (list == NULL)
		return MAILBOX_MEMORY;
	for (size_t i = 0; i < s->folder_count; i++) {
		info_of(&s->folders[i], &list[n]);
		list[n].name = arena_dup(arena, slice_str(s->folders[i].name));
		n = add_parents(list, n + 1, list[n].name);
	}
	for (size_t i = 0; i < s->sub_count; i++) {
		list[n] = (struct folder_info){ .name = arena_dup(arena, slice_str(s->subs[i].name)),
						.subscribed = true };
		/* LSUB "%" shows the level above a subscription even where no mailbox is (RFC 3501 §6.3.9). */
		n = add_parents(list, n + 1, list[n].name);
	}
	if (arena->err != 0)
		return MAILBOX_MEMORY;
	*count = fold_infos(list, n);
	*out = list;
	return MAILBOX_OK;
}

enum mailbox_result folder_infos_join(struct arena *arena, const struct folder_info *a, size_t a_count, const struct folder_info *b,
				      size_t b_count, struct folder_info **out, size_t *count)
{
	size_t room = 1 + a_count, n = a_count;

	for (size_t i = 0; i < b_count; i++)
		room += 1 + levels(b[i].name);
	struct folder_info *list = arena_array(arena, room, sizeof(*list));

	if (list == NULL)
		return MAILBOX_MEMORY;
	if (a_count > 0)
		memcpy(list, a, a_count * sizeof(*list));
	for (size_t i = 0; i < b_count; i++) {
		list[n] = b[i];
		n = add_parents(list, n + 1, b[i].name);
	}
	*count = fold_infos(list, n);
	*out = list;
	return MAILBOX_OK;
}

enum mailbox_result account_folders(struct account *a, struct arena *arena, struct folder_info **out,
				    size_t *count)
{
	account_lock(a);
	enum mailbox_result r = a->s->loaded ? MAILBOX_OK : state_refresh(a);

	if (r == MAILBOX_OK)
		r = list_locked(a, arena, out, count);
	account_unlock(a);
	return r;
}

/* Is there any folder below this name? */
static bool has_below(const struct state *s, struct slice name)
{
	for (size_t i = 0; i < s->folder_count; i++)
		if (below(slice_str(s->folders[i].name), name))
			return true;
	return false;
}

static const struct subscription *subscription_of(const struct state *s, struct slice name)
{
	for (size_t i = 0; i < s->sub_count; i++)
		if (slice_eq(slice_str(s->subs[i].name), name))
			return &s->subs[i];
	return NULL;
}

static enum mailbox_result status_locked(struct account *a, struct slice name, struct folder_info *out)
{
	uint32_t from, to;
	enum mailbox_result r = state_refresh(a);

	if (r == MAILBOX_OK)
		r = state_merge(a, FOLDER_NONE, &from, &to);
	if (r != MAILBOX_OK)
		return r;
	const struct folder *f = state_folder_named(a->s, name);

	if (f == NULL)
		return MAILBOX_NO_FOLDER;
	info_of(f, out);
	out->name = name;
	out->subscribed = subscription_of(a->s, name) != NULL;
	out->has_children = has_below(a->s, name);
	return MAILBOX_OK;
}

enum mailbox_result account_status(struct account *a, struct slice name, struct arena *arena,
				   struct folder_info *out)
{
	struct slice normal;

	if (!folder_name_normal(name, arena, &normal))
		return arena->err != 0 ? MAILBOX_MEMORY : MAILBOX_NO_FOLDER;
	account_lock(a);
	enum mailbox_result r = status_locked(a, normal, out);

	account_unlock(a);
	return r;
}

/* ---- changes: each is a loop of "compute on the newest state, commit" ---- */

struct folder_op {
	struct account *a;
	struct attempt t;
	struct slice name, to;
	uint8_t use;
	bool on;
	uint32_t id, uidvalidity, uidnext;
	const struct slice *words;
	size_t word_count;
};

typedef enum mailbox_result folder_step(struct folder_op *op, struct commit *c);

static enum mailbox_result op_run(struct folder_op *op, folder_step *step)
{
	account_lock(op->a);
	enum mailbox_result r = state_refresh(op->a);

	attempt_begin(&op->t, op->a);
	if (r == MAILBOX_OK) {
		do {
			struct commit c;

			commit_begin(&c, &op->t, true);
			r = step(op, &c);
			if (r == MAILBOX_OK && c.err != MAILBOX_OK)
				r = c.err;
			/* A step that found nothing to do added nothing to the guard and the header. */
			if (r == MAILBOX_OK && (c.count > 2 || c.folder_count > 0))
				r = commit_submit(&c, &op->t);
			commit_done(&c);
		} while (attempt_again(&op->t, &r));
	}
	account_unlock(op->a);
	return r;
}

static void put_folder(struct commit *c, struct folder *f)
{
	struct stored_name key = key_u32('n', f->id);
	AUTO_BUF struct buf value = BUF_INIT(ENGINE_VALUE_BYTES_MAX);

	folder_encode(&value, f);
	if (value.err != 0)
		c->err = MAILBOX_LIMIT;
	commit_set(c, &key, buf_slice(&value));
}

/* Never one that was given before in this account: a name that comes back is another mailbox. */
static uint32_t next_uidvalidity(struct commit *c)
{
	uint32_t now = (uint32_t)(world_real_us(c->a->w) / 1000000);

	c->h.last_uidvalidity = now > c->h.last_uidvalidity ? now : c->h.last_uidvalidity + 1;
	return c->h.last_uidvalidity;
}

static enum mailbox_result step_create(struct folder_op *op, struct commit *c)
{
	const struct state *s = op->a->s;
	struct folder f = { .uidnext = 1, .first_recent = 1, .use = op->use };

	if (state_folder_named(s, op->name) != NULL)
		return MAILBOX_EXISTS;
	for (size_t i = 0; i < s->folder_count; i++)
		if (s->folders[i].use & op->use)
			return MAILBOX_USE_TAKEN;
	if (s->folder_count >= FOLDERS_MAX)
		return MAILBOX_LIMIT;
	f.name = arena_str(&c->arena, op->name);
	if (f.name == NULL)
		return MAILBOX_MEMORY;
	op->id = f.id = c->h.next_folder++;
	f.uidvalidity = next_uidvalidity(c);
	f.highestmodseq = c->h.modseq;
	put_folder(c, &f);
	return MAILBOX_OK;
}

enum mailbox_result folder_create(struct account *a, struct slice name, uint8_t special_use, uint32_t *id)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 10);
	struct folder_op op = { .a = a, .use = special_use };

	/* RFC 9051 §6.3.4: a trailing separator only says that names below will follow. */
	if (name.len > 1 && name.ptr[name.len - 1] == '/')
		name = slice_head(name, name.len - 1);
	if (!folder_name_normal(name, &arena, &op.name))
		return MAILBOX_CANNOT;
	enum mailbox_result r = op_run(&op, step_create);

	if (r == MAILBOX_OK && id != NULL)
		*id = op.id;
	return r;
}

static enum mailbox_result step_rename(struct folder_op *op, struct commit *c)
{
	const struct state *s = op->a->s;
	bool any = false;

	if (state_folder_named(s, op->to) != NULL)
		return MAILBOX_EXISTS;
	if (below(op->to, op->name))
		return MAILBOX_CANNOT;
	for (size_t i = 0; i < s->folder_count; i++) {
		struct slice old = slice_str(s->folders[i].name);

		if (!slice_eq(old, op->name) && !below(old, op->name))
			continue;
		AUTO_BUF struct buf fresh = BUF_INIT(2 * FOLDER_NAME_BYTES_MAX);
		AUTO_ARENA struct arena arena = ARENA_INIT(16u << 10);
		struct slice normal;

		buf_add(&fresh, op->to);
		buf_add(&fresh, slice_from(old, op->name.len));
		if (fresh.err != 0 || !folder_name_normal(buf_slice(&fresh), &arena, &normal))
			return MAILBOX_CANNOT;
		if (state_folder_named(s, normal) != NULL)
			return MAILBOX_EXISTS;
		struct folder *f = commit_folder(c, s->folders[i].id);
		char *name = slice_strdup(normal);

		if (f == NULL || name == NULL) {
			free(name);
			return MAILBOX_LIMIT;
		}
		free(f->name);
		f->name = name;
		any = true;
	}
	return any ? MAILBOX_OK : MAILBOX_NO_FOLDER;
}

/* INBOX stays; its messages go to the new folder, some thousand a commit. */
static enum mailbox_result rename_inbox(struct account *a, struct slice to)
{
	struct mailbox *m;
	enum mailbox_result r = folder_create(a, to, 0, NULL);

	if (r == MAILBOX_OK)
		r = mailbox_open(a, inbox, false, &m);
	if (r != MAILBOX_OK)
		return r;
	while (r == MAILBOX_OK && mailbox_count(m) > 0) {
		AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
		uint32_t n = mailbox_count(m);
		struct uid_range range = { mailbox_uid(m, 1),
					   mailbox_uid(m, n < COPY_MESSAGES_MAX / 4 ? n : COPY_MESSAGES_MAX / 4) };
		struct uid_ranges uids = { &range, 1 };
		struct copy_result copied;
		struct mailbox_changes changes;

		r = mailbox_copy(m, &uids, to, COPY_MOVE, &arena, &copied);
		if (r == MAILBOX_OK)
			r = mailbox_sync(m, SYNC_EXPUNGES | SYNC_LOCAL, &arena, &changes);
	}
	mailbox_close(m);
	return r;
}

enum mailbox_result folder_rename(struct account *a, struct slice from, struct slice to)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 10);
	struct folder_op op = { .a = a };

	if (to.len > 1 && to.ptr[to.len - 1] == '/')
		to = slice_head(to, to.len - 1);
	if (!folder_name_normal(from, &arena, &op.name))
		return MAILBOX_NO_FOLDER;
	if (!folder_name_normal(to, &arena, &op.to))
		return MAILBOX_CANNOT;
	if (slice_eq(op.name, inbox))
		return rename_inbox(a, op.to);
	return op_run(&op, step_rename);
}

/* The name goes at once; the ranges (and with them the dead bytes) follow in maintenance. */
static enum mailbox_result step_delete(struct folder_op *op, struct commit *c)
{
	const struct folder *f = state_folder_named(op->a->s, op->name);

	if (f == NULL)
		return MAILBOX_NO_FOLDER;
	if (f->id == FOLDER_INBOX)
		return MAILBOX_CANNOT;
	AUTO_BUF struct buf value = BUF_INIT(ENGINE_VALUE_BYTES_MAX);
	struct stored_name key = key_u32('n', f->id), doomed = key_u32('u', f->id);

	folder_encode(&value, f);
	if (value.err != 0)
		return MAILBOX_LIMIT;
	commit_set(c, &doomed, buf_slice(&value));
	commit_delete(c, &key);
	c->h.usage_bytes -= f->size < c->h.usage_bytes ? f->size : c->h.usage_bytes;
	c->h.usage_messages -= f->messages < c->h.usage_messages ? f->messages : c->h.usage_messages;
	return MAILBOX_OK;
}

enum mailbox_result folder_delete(struct account *a, struct slice name)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 10);
	struct folder_op op = { .a = a };

	if (!folder_name_normal(name, &arena, &op.name))
		return MAILBOX_NO_FOLDER;
	return op_run(&op, step_delete);
}

static enum mailbox_result step_subscribe(struct folder_op *op, struct commit *c)
{
	const struct subscription *have = subscription_of(op->a->s, op->name);

	if (op->on == (have != NULL))
		return MAILBOX_OK;
	if (!op->on) {
		struct stored_name key = key_u32('s', have->id);

		commit_delete(c, &key);
		return MAILBOX_OK;
	}
	if (op->a->s->sub_count >= SUBSCRIPTIONS_MAX)
		return MAILBOX_LIMIT;
	struct stored_name key = key_u32('s', c->h.next_subscription++);

	commit_set(c, &key, op->name);
	return MAILBOX_OK;
}

enum mailbox_result folder_subscribe(struct account *a, struct slice name, bool on)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 10);
	struct folder_op op = { .a = a, .on = on };

	if (!folder_name_normal(name, &arena, &op.name))
		return MAILBOX_CANNOT;
	return op_run(&op, step_subscribe);
}

static enum mailbox_result step_uidvalidity(struct folder_op *op, struct commit *c)
{
	const struct folder *have = state_folder_named(op->a->s, op->name);

	if (have == NULL)
		return MAILBOX_NO_FOLDER;
	if (have->uidnext != 1 || op->uidvalidity == 0 ||
	    op->uidvalidity > 0xf0000000u || op->uidnext == 0 || op->uidnext > UID_MAX)
		return MAILBOX_CANNOT;
	struct folder *f = commit_folder(c, have->id);

	if (f == NULL)
		return MAILBOX_MEMORY;
	f->uidvalidity = op->uidvalidity;
	f->uidnext = f->first_recent = op->uidnext;
	if (c->h.last_uidvalidity < op->uidvalidity)
		c->h.last_uidvalidity = op->uidvalidity;
	return MAILBOX_OK;
}

enum mailbox_result folder_set_uidvalidity(struct account *a, struct slice name, uint32_t uidvalidity,
					   uint32_t uidnext)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 10);
	struct folder_op op = { .a = a, .uidvalidity = uidvalidity, .uidnext = uidnext };

	if (!folder_name_normal(name, &arena, &op.name))
		return MAILBOX_NO_FOLDER;
	return op_run(&op, step_uidvalidity);
}

static enum mailbox_result step_uidnext(struct folder_op *op, struct commit *c)
{
	const struct folder *have = state_folder_named(op->a->s, op->name);
	struct folder *f = have == NULL ? NULL : commit_folder(c, have->id);

	if (have == NULL)
		return MAILBOX_NO_FOLDER;
	if (f == NULL)
		return MAILBOX_MEMORY;
	if (op->uidnext > UID_MAX)
		return MAILBOX_CANNOT;
	f->uidnext = MAX(f->uidnext, op->uidnext);
	return MAILBOX_OK;
}

enum mailbox_result folder_raise_uidnext(struct account *a, struct slice name, uint32_t uidnext)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 10);
	struct folder_op op = { .a = a, .uidnext = uidnext };

	if (!folder_name_normal(name, &arena, &op.name))
		return MAILBOX_NO_FOLDER;
	return op_run(&op, step_uidnext);
}

/* ---- keywords ---- */

static int keyword_bit(const struct state *s, struct slice word)
{
	for (size_t i = 0; i < s->keyword_count; i++)
		if (slice_eq_nocase(s->keywords[i], word))
			return (int)i;
	return -1;
}

uint64_t account_keyword_known(const struct account *a, const struct slice *names, size_t count)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < count; i++) {
		int bit = keyword_bit(a->s, names[i]);

		if (bit >= 0)
			bits |= UINT64_C(1) << bit;
	}
	return bits;
}

static enum mailbox_result step_keywords(struct folder_op *op, struct commit *c)
{
	const struct state *s = op->a->s;
	AUTO_BUF struct buf value = BUF_INIT(ENGINE_VALUE_BYTES_MAX);
	size_t have = s->keyword_count;

	for (size_t i = 0; i < have; i++)
		buf_blob(&value, s->keywords[i]);
	for (size_t i = 0; i < op->word_count; i++) {
		bool known = keyword_bit(s, op->words[i]) >= 0;

		for (size_t k = 0; k < i && !known; k++)
			known = slice_eq_nocase(op->words[k], op->words[i]);
		if (known)
			continue;
		if (have++ >= KEYWORDS_MAX || op->words[i].len > KEYWORD_BYTES_MAX ||
		    op->words[i].len == 0)
			return MAILBOX_LIMIT;
		buf_blob(&value, op->words[i]);
	}
	if (value.err != 0)
		return MAILBOX_MEMORY;
	if (have == s->keyword_count)
		return MAILBOX_OK;
	struct stored_name key = key_fixed("k");

	commit_set(c, &key, buf_slice(&value));
	return MAILBOX_OK;
}

enum mailbox_result account_keyword_bits(struct account *a, const struct slice *names, size_t count,
					 uint64_t *out)
{
	struct folder_op op = { .a = a, .words = names, .word_count = count };
	bool all = true;

	for (size_t i = 0; i < count; i++)
		all &= keyword_bit(a->s, names[i]) >= 0;
	enum mailbox_result r = all ? MAILBOX_OK : op_run(&op, step_keywords);

	if (r == MAILBOX_OK)
		*out = account_keyword_known(a, names, count);
	return r;
}
