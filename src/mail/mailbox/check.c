#include "mail/mailbox/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hex.h"
#include "mail/mailbox/internal.h"

#define SNAPSHOT_TRIES	20u
#define READ_BYTES	(1u << 20)
#define KEYS_ARENA	(64u << 20)
#define NAMES_MAX	100000u
#define ORPHAN_AGE_US	(INT64_C(3600) * 1000000)

/* A folder and its messages as they were at one version of the head. */
struct seen_folder {
	struct folder f;		/* name and ranges are our own */
	struct message_info *rows;
	uint32_t count;
	bool unreadable;
};

struct check {
	struct account *a;
	const struct check_options *o;
	struct check_counts *n;
	struct header h;
	struct seen_folder *folders;
	size_t folder_count;
	uint64_t done_bytes, total_bytes;
	bool totals_wrong, orphans, unreadable;
	struct buf body;
};

static void tell(struct check *c, enum check_kind kind, struct slice folder, uint32_t uid, bool mended,
		 const char *fmt, ...) PRINTF_LIKE(6, 7);

static void tell(struct check *c, enum check_kind kind, struct slice folder, uint32_t uid, bool mended,
		 const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->n->problems++;
	c->n->mended += mended;
	if (kind == CHECK_MESSAGE)
		c->n->damaged_messages++;
	const struct check_problem p = { .kind = kind, .folder = folder, .uid = uid, .text = text, .mended = mended };
	if (c->o->found != NULL)
		c->o->found(c->o->arg, &p);
}

static struct slice name_of(const struct seen_folder *f)
{
	return slice_str(f->f.name);
}

/* Damage is a finding; the rest ends the check. */
static bool fatal(enum mailbox_result r)
{
	return r != MAILBOX_OK && r != MAILBOX_DAMAGED && r != MAILBOX_NO_FOLDER && r != MAILBOX_LIMIT;
}

/* ---- one moment of the account ---- */

static void snapshot_free(struct check *c)
{
	for (size_t i = 0; i < c->folder_count; i++) {
		folder_done(&c->folders[i].f);
		free(c->folders[i].rows);
	}
	free(c->folders);
	c->folders = NULL;
	c->folder_count = 0;
}

static bool copy_folder(struct folder *to, const struct folder *from)
{
	*to = *from;
	to->name = slice_strdup(slice_str(from->name));
	to->ranges = calloc(from->range_count + 1, sizeof(*to->ranges));
	if (to->name == NULL || to->ranges == NULL)
		return false;
	if (from->range_count > 0)
		memcpy(to->ranges, from->ranges, from->range_count * sizeof(*to->ranges));
	return true;
}

static enum mailbox_result copy_rows(struct check *c, struct seen_folder *to)
{
	struct table *t;
	enum mailbox_result r = state_table(c->a, to->f.id, &t);

	to->unreadable = r == MAILBOX_DAMAGED;
	if (r != MAILBOX_OK)
		return fatal(r) ? r : MAILBOX_OK;
	to->rows = calloc(t->count + 1, sizeof(*to->rows));
	if (to->rows == NULL)
		return MAILBOX_MEMORY;
	if (t->count > 0)
		memcpy(to->rows, t->rows, t->count * sizeof(*to->rows));
	to->count = t->count;
	return MAILBOX_OK;
}

static enum mailbox_result snapshot_once(struct check *c, bool *whole)
{
	const struct state *s = c->a->s;
	enum mailbox_result r = state_refresh(c->a);
	uint64_t version = s->h.version;

	snapshot_free(c);
	if (r != MAILBOX_OK)
		return r;
	c->h = s->h;
	c->folders = calloc(s->folder_count + 1, sizeof(*c->folders));
	if (c->folders == NULL)
		return MAILBOX_MEMORY;
	for (size_t i = 0; i < s->folder_count && s->h.version == version; i++) {
		struct seen_folder *f = &c->folders[c->folder_count++];

		if (!copy_folder(&f->f, &s->folders[i]))
			return MAILBOX_MEMORY;
		r = copy_rows(c, f);
		if (r != MAILBOX_OK)
			return r;
	}
	*whole = s->h.version == version;
	return MAILBOX_OK;
}

static enum mailbox_result snapshot(struct check *c)
{
	bool whole = false;

	for (unsigned tries = 0; tries < SNAPSHOT_TRIES && !whole; tries++) {
		enum mailbox_result r = snapshot_once(c, &whole);

		if (r != MAILBOX_OK)
			return r;
	}
	return whole ? MAILBOX_OK : MAILBOX_UNAVAILABLE;
}

/* ---- what head and folders say ---- */

static void check_row(struct check *c, const struct seen_folder *f, uint32_t i)
{
	const struct message_info *m = &f->rows[i];
	uint64_t known = c->a->s->keyword_count >= 64 ? UINT64_MAX :
							(UINT64_C(1) << c->a->s->keyword_count) - 1;

	if (m->uid == 0 || (i > 0 && m->uid <= f->rows[i - 1].uid))
		tell(c, CHECK_FOLDER, name_of(f), m->uid, false, "its UID does not follow the one before it");
	if (m->uid >= f->f.uidnext)
		tell(c, CHECK_FOLDER, name_of(f), m->uid, false, "its UID is not below the folder's UIDNEXT %u",
		     f->f.uidnext);
	if (m->modseq == 0 || m->modseq > c->h.modseq)
		tell(c, CHECK_FOLDER, name_of(f), m->uid, false, "its modification number %llu is above the account's",
		     (unsigned long long)m->modseq);
	if ((m->keywords & ~known) != 0)
		tell(c, CHECK_FOLDER, name_of(f), m->uid, false, "it has keywords that the account does not know");
	if (m->bucket >= c->h.buckets)
		tell(c, CHECK_FOLDER, name_of(f), m->uid, false, "it lies in a bucket that the account does not have");
}

static void check_folder(struct check *c, const struct seen_folder *f)
{
	struct folder sum = { 0 };

	c->n->folders++;
	if (f->unreadable) {
		tell(c, CHECK_FOLDER, name_of(f), 0, false,
		     "its list of messages is damaged; 'prickle mail rebuild' makes the index again from the log");
		return;
	}
	for (uint32_t i = 0; i < f->count; i++) {
		check_row(c, f, i);
		folder_count_add(&sum, &f->rows[i]);
		c->total_bytes += f->rows[i].size;
	}
	if (f->f.highestmodseq > c->h.modseq)
		tell(c, CHECK_FOLDER, name_of(f), 0, false, "its modification number is above the account's");
	if (f->f.uidvalidity == 0 || f->f.first_recent > f->f.uidnext)
		tell(c, CHECK_FOLDER, name_of(f), 0, false, "its UIDVALIDITY or first recent UID is impossible");
	if (sum.messages != f->f.messages || sum.unseen != f->f.unseen || sum.deleted != f->f.deleted ||
	    sum.size != f->f.size || sum.deleted_size != f->f.deleted_size) {
		c->totals_wrong = true;
		tell(c, CHECK_TOTALS, name_of(f), 0, c->o->mend && !c->unreadable,
		     "it says %u messages (%u unseen, %u deleted) of %llu bytes and holds %u (%u, %u) of %llu",
		     f->f.messages, f->f.unseen, f->f.deleted, (unsigned long long)f->f.size, sum.messages,
		     sum.unseen, sum.deleted, (unsigned long long)sum.size);
	}
}

static void check_head(struct check *c)
{
	uint64_t bytes = 0, messages = 0;

	/* First this: totals are not mended while a list cannot be read. */
	for (size_t i = 0; i < c->folder_count; i++)
		c->unreadable |= c->folders[i].unreadable;
	for (size_t i = 0; i < c->folder_count; i++) {
		check_folder(c, &c->folders[i]);
		messages += c->folders[i].count;
		for (uint32_t k = 0; k < c->folders[i].count; k++)
			bytes += c->folders[i].rows[k].size;
	}
	if (c->unreadable || (bytes == c->h.usage_bytes && messages == c->h.usage_messages))
		return;
	c->totals_wrong = true;
	tell(c, CHECK_TOTALS, (struct slice){ 0 }, 0, c->o->mend,
	     "quota counts %llu messages of %llu bytes, the folders hold %llu of %llu",
	     (unsigned long long)c->h.usage_messages, (unsigned long long)c->h.usage_bytes,
	     (unsigned long long)messages, (unsigned long long)bytes);
}

/* ---- range objects ---- */

static bool range_key_fits(const struct engine_kv *kv, uint32_t range)
{
	struct message_info m = { 0 };
	struct range_state g;
	struct tombstone t;
	struct reader key = reader_of(slice_from(kv->key, 1)), value = reader_of(kv->value);
	uint32_t uid;

	if (slice_eq(kv->key, SLICE("g")))
		return range_state_decode(kv->value, &g);
	uid = rd_be32(&key);
	if (!rd_end(&key) || uid / RANGE_UIDS != range)
		return false;
	if (kv->key.ptr[0] == 'u')
		return message_decode(&value, &m) && rd_end(&value);
	return kv->key.ptr[0] == 'x' && tombstone_decode(kv->value, &t);
}

static enum mailbox_result check_range(struct check *c, const struct seen_folder *f, uint32_t range)
{
	struct stored_name object = range_name(c->a->s->id, f->f.id, range);
	AUTO_ARENA struct arena arena = ARENA_INIT(KEYS_ARENA);
	struct engine_kv *kv;
	size_t count = 0;
	enum mailbox_result r = keys_all(c->a->e, name_slice(&object), SLICE("\1"), (struct slice){ 0 }, &arena, &kv,
					 &count);

	if (r != MAILBOX_OK) {
		if (!fatal(r))
			tell(c, CHECK_FOLDER, name_of(f), 0, false, "its range %u of UIDs cannot be read", range);
		return fatal(r) ? r : MAILBOX_OK;
	}
	for (size_t i = 0; i < count; i++)
		if (kv[i].key.len == 0 || !range_key_fits(&kv[i], range))
			tell(c, CHECK_FOLDER, name_of(f), 0, false, "its range %u of UIDs has a record that is none", range);
	return MAILBOX_OK;
}

/* All names with this prefix. */
static enum mailbox_result list_all(struct check *c, char kind, struct arena *arena, struct slice **names,
				    size_t *count)
{
	struct stored_name prefix = objects_prefix(kind, c->a->s->id);

	return result_of(engine_list(c->a->e, name_slice(&prefix), (struct slice){ 0 }, NAMES_MAX, arena, names,
				     count));
}

static bool hex_u32(struct slice s, uint32_t *out)
{
	AUTO_BUF struct buf b = BUF_INIT(8);

	if (s.len != 8 || !hex_decode(&b, s))
		return false;
	struct reader r = reader_of(buf_slice(&b));
	*out = rd_be32(&r);
	return true;
}

/* Range objects of folders that are gone: a crash may leave them when a folder is deleted. */
static enum mailbox_result check_range_orphans(struct check *c)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(KEYS_ARENA);
	struct state *s = c->a->s;
	struct slice *names;
	size_t count = 0;
	enum mailbox_result r = list_all(c, 'i', &arena, &names, &count);

	if (r == MAILBOX_OK)
		r = state_refresh(c->a);	/* a folder made, or a deletion finished, meanwhile */
	for (size_t i = 0; r == MAILBOX_OK && i < count; i++) {
		struct slice rest = slice_from(names[i], 2 + ACCOUNT_ID_BYTES + 1);
		uint32_t folder;
		bool doomed = false, mended = false;

		for (size_t k = 0; k < s->doomed_count && hex_u32(slice_head(rest, 8), &folder); k++)
			doomed = doomed || s->doomed[k].id == folder;
		if (!hex_u32(slice_head(rest, 8), &folder) || doomed || state_folder(s, folder) != NULL)
			continue;
		if (c->o->mend) {
			const struct engine_step step = { .kind = STEP_REMOVE };
			const struct engine_op op = { .object = names[i], .steps = &step, .count = 1 };
			mended = engine_apply(c->a->e, &op) == ENGINE_OK;
		}
		tell(c, CHECK_ORPHAN, (struct slice){ 0 }, 0, mended,
		     "the list of messages %.*s belongs to no folder; it takes room and nothing else", SLICE_FMT(names[i]));
	}
	return r;
}

/* ---- messages ---- */

/* NULL: the record fits the row. */
static enum mailbox_result look_at_record(struct check *c, const struct message_info *m, const char **wrong)
{
	uint32_t offset = m->offset & ~OFFSET_STREAM;
	struct stored_name object = fragment_name(c->a->s->id, m->bucket, m->fragment);
	struct stored_name key = key_u32('m', offset), end = key_u32('m', offset + 1);
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct engine_kv *kv;
	struct record r;
	size_t count = 0;
	bool more, stream = (m->offset & OFFSET_STREAM) != 0;
	enum engine_result er = engine_keys(c->a->e, name_slice(&object), name_slice(&key), name_slice(&end), 1, 4096,
					    &arena, &kv, &count, &more);

	*wrong = NULL;
	if (er != ENGINE_OK && er != ENGINE_DAMAGED)
		return result_of(er);
	if (er == ENGINE_DAMAGED)
		*wrong = "its record cannot be read";
	else if (count == 0)
		*wrong = "its record is missing, the message is lost";
	else if (!record_decode(kv[0].value, &r))
		*wrong = "its record is damaged";
	else if (memcmp(r.id, m->email_id, EMAIL_ID_BYTES) != 0)
		*wrong = "another message lies where it should be";
	else if (r.size != m->size || r.stream != stream)
		*wrong = "its record tells another size";
	return MAILBOX_OK;
}

static enum mailbox_result look_at_bytes(struct check *c, const struct message_info *m, const char **wrong)
{
	enum mailbox_result r = MAILBOX_OK;

	for (uint64_t at = 0; r == MAILBOX_OK && at < m->size; at += READ_BYTES) {
		buf_reset(&c->body);
		r = body_read(c->a, m, at, READ_BYTES, &c->body);
	}
	if (r == MAILBOX_DAMAGED)
		*wrong = "the stored bytes fail their checksum or are missing, the message is lost";
	return fatal(r) ? r : MAILBOX_OK;
}

static enum mailbox_result look_at(struct check *c, const struct message_info *m, const char **wrong)
{
	enum mailbox_result r = look_at_record(c, m, wrong);

	return r == MAILBOX_OK && *wrong == NULL ? look_at_bytes(c, m, wrong) : r;
}

/* Compaction moves messages and sessions expunge them: judge only what the head says now. */
static enum mailbox_result check_message(struct check *c, const struct seen_folder *f, const struct message_info *m)
{
	const char *wrong;
	enum mailbox_result r = look_at(c, m, &wrong);
	struct table *t;

	if (r != MAILBOX_OK || wrong == NULL)
		return r;
	r = state_refresh(c->a);
	if (r == MAILBOX_OK)
		r = state_table(c->a, f->f.id, &t);
	if (r != MAILBOX_OK)
		return fatal(r) ? r : MAILBOX_OK;
	const struct message_info *row = table_find(t, m->uid);
	if (row == NULL)
		return MAILBOX_OK;
	struct message_info now = *row;
	if (now.bucket != m->bucket || now.fragment != m->fragment || now.offset != m->offset)
		r = look_at(c, &now, &wrong);
	if (r == MAILBOX_OK && wrong != NULL)
		tell(c, CHECK_MESSAGE, name_of(f), m->uid, false, "%s", wrong);
	return r;
}

static enum mailbox_result check_messages(struct check *c)
{
	enum mailbox_result r = MAILBOX_OK;

	for (size_t i = 0; i < c->folder_count; i++)
		for (uint32_t k = 0; k < c->folders[i].count; k++) {
			const struct message_info *m = &c->folders[i].rows[k];

			r = check_message(c, &c->folders[i], m);
			if (r != MAILBOX_OK)
				return r;
			c->n->messages++;
			c->n->bytes += m->size;
			c->done_bytes += m->size;
			if (c->o->progress != NULL && k % 64 == 0)
				c->o->progress(c->o->arg, c->done_bytes, c->total_bytes);
		}
	return r;
}

/* ---- fragments ---- */

struct stream_set {
	uint8_t (*ids)[EMAIL_ID_BYTES];
	size_t count, cap;
};

static bool set_add(struct stream_set *set, const uint8_t id[EMAIL_ID_BYTES])
{
	if (set->count == set->cap) {
		size_t cap = set->cap == 0 ? 64 : set->cap * 2;
		void *p = reallocarray(set->ids, cap, EMAIL_ID_BYTES);

		if (p == NULL)
			return false;
		set->ids = p;
		set->cap = cap;
	}
	memcpy(set->ids[set->count++], id, EMAIL_ID_BYTES);
	return true;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, EMAIL_ID_BYTES);
}

static bool set_has(const struct stream_set *set, const uint8_t id[EMAIL_ID_BYTES])
{
	return set->count > 0 && bsearch(id, set->ids, set->count, EMAIL_ID_BYTES, by_id) != NULL;
}

/* A delivery that no session has merged: as much a message as any. */
static enum mailbox_result check_unmerged(struct check *c, struct message_info *m, const struct record *r,
					  struct stream_set *live)
{
	uint8_t id[EMAIL_ID_BYTES];
	const char *wrong = NULL;

	c->n->unmerged++;
	m->size = r->size;
	m->offset |= r->stream ? OFFSET_STREAM : 0;
	enum mailbox_result res = look_at_bytes(c, m, &wrong);
	struct stored_name object = fragment_name(c->a->s->id, m->bucket, m->fragment);
	struct engine_stat st = { 0 };
	/* Merged and expunged meanwhile, and compaction has taken the fragment away: no loss. */
	if (res == MAILBOX_OK && wrong != NULL &&
	    (engine_stat(c->a->e, name_slice(&object), &st) != ENGINE_OK || !st.exists))
		return MAILBOX_OK;
	if (res == MAILBOX_OK && wrong != NULL)
		tell(c, CHECK_MESSAGE, SLICE("INBOX"), 0, false,
		     "a message that was delivered and not seen yet: %s", wrong);
	if (res == MAILBOX_OK && r->stream && body_stream_id(c->a, m, id) == MAILBOX_OK && !set_add(live, id))
		return MAILBOX_MEMORY;
	return res;
}

static enum mailbox_result check_fragment(struct check *c, uint8_t bucket, uint32_t fragment, struct stream_set *live)
{
	struct stored_name object = fragment_name(c->a->s->id, bucket, fragment), seal = key_seal();
	const struct cursor *cursor = &c->h.cursors[bucket];
	AUTO_ARENA struct arena arena = ARENA_INIT(KEYS_ARENA);
	struct engine_stat st = { 0 };
	struct engine_kv *kv;
	size_t count = 0;
	uint64_t end = 0;
	/* First the records, then the length: what is appended meanwhile lies behind them. */
	enum mailbox_result r = keys_all(c->a->e, name_slice(&object), SLICE("m"), name_slice(&seal), &arena, &kv, &count);
	enum engine_result er = engine_stat(c->a->e, name_slice(&object), &st);

	if (er != ENGINE_OK && er != ENGINE_ABSENT)
		r = result_of(er);
	if (fatal(r) || er == ENGINE_ABSENT || !st.exists)
		return fatal(r) ? r : MAILBOX_OK;
	if (r != MAILBOX_OK)
		tell(c, CHECK_FRAGMENT, (struct slice){ 0 }, 0, false, "the records of fragment %u.%08x cannot be read",
		     bucket, fragment);
	c->n->fragments++;
	for (size_t i = 0; r == MAILBOX_OK && i < count; i++) {
		struct reader key = reader_of(slice_from(kv[i].key, 1));
		struct message_info m = { .bucket = bucket, .fragment = fragment };
		struct record rec;

		m.offset = rd_be32(&key);
		c->n->records++;
		if (!rd_end(&key) || !record_decode(kv[i].value, &rec) || m.offset < end ||
		    m.offset + (uint64_t)rec.stored_bytes > st.length) {
			tell(c, CHECK_FRAGMENT, (struct slice){ 0 }, 0, false,
			     "fragment %u.%08x: the record at offset %u is damaged", bucket, fragment, m.offset);
			continue;
		}
		end = m.offset + (uint64_t)rec.stored_bytes;
		if (rec.kind == RECORD_DELIVERY &&
		    (fragment > cursor->fragment || (fragment == cursor->fragment && m.offset >= cursor->offset)))
			r = check_unmerged(c, &m, &rec, live);
	}
	return fatal(r) ? r : MAILBOX_OK;
}

static enum mailbox_result check_fragments(struct check *c, struct stream_set *live)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(KEYS_ARENA);
	struct slice *names;
	size_t count = 0;
	enum mailbox_result r = list_all(c, 'f', &arena, &names, &count);

	for (size_t i = 0; r == MAILBOX_OK && i < count; i++) {
		struct slice rest = slice_from(names[i], 2 + ACCOUNT_ID_BYTES + 1);
		uint32_t fragment;

		if (slice_ends(names[i], SLICE(".old")))
			continue;
		if (rest.len != 10 || rest.ptr[1] != '.' || rest.ptr[0] < '0' || rest.ptr[0] >= '0' + BUCKETS_MAX ||
		    !hex_u32(slice_from(rest, 2), &fragment)) {
			tell(c, CHECK_FRAGMENT, (struct slice){ 0 }, 0, false, "the object %.*s has no name of ours",
			     SLICE_FMT(names[i]));
			continue;
		}
		r = check_fragment(c, (uint8_t)(rest.ptr[0] - '0'), fragment, live);
	}
	return r;
}

/* ---- streams ---- */

static enum mailbox_result row_streams(struct check *c, struct stream_set *live)
{
	uint8_t id[EMAIL_ID_BYTES];

	for (size_t i = 0; i < c->folder_count; i++)
		for (uint32_t k = 0; k < c->folders[i].count; k++) {
			const struct message_info *m = &c->folders[i].rows[k];

			if ((m->offset & OFFSET_STREAM) == 0)
				continue;
			enum mailbox_result r = body_stream_id(c->a, m, id);
			if (fatal(r))
				return r;
			if (r == MAILBOX_OK && !set_add(live, id))
				return MAILBOX_MEMORY;
		}
	return MAILBOX_OK;
}

/* When was this chunk written last? False: it is gone by now, or does not tell. */
static bool written_at(struct check *c, struct slice name, int64_t *when_us)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 10);
	struct engine_kv *kv;
	size_t count = 0;
	bool more;

	if (engine_keys(c->a->e, name, SLICE("t"), SLICE("u"), 1, 1024, &arena, &kv, &count, &more) != ENGINE_OK ||
	    count == 0)
		return false;
	struct reader r = reader_of(kv[0].value);
	*when_us = (int64_t)rd_be64(&r);
	return rd_end(&r);
}

static enum mailbox_result check_streams(struct check *c, struct stream_set *live)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(KEYS_ARENA);
	size_t at = 2 + ACCOUNT_ID_BYTES + 1, count = 0;
	struct slice *names;
	/* First the names, then who refers to them: what comes meanwhile is referred to, or young. */
	enum mailbox_result r = list_all(c, 'b', &arena, &names, &count);

	if (r == MAILBOX_OK && count > 0)
		r = snapshot(c);
	if (r == MAILBOX_OK && count > 0)
		r = row_streams(c, live);
	if (live->count > 0)
		qsort(live->ids, live->count, EMAIL_ID_BYTES, by_id);
	for (size_t i = 0; r == MAILBOX_OK && i < count; i++) {
		struct slice hex = slice_sub(names[i], at, at + 2 * EMAIL_ID_BYTES);
		AUTO_BUF struct buf id = BUF_INIT(EMAIL_ID_BYTES);
		int64_t when_us;

		c->n->streams++;
		/* One problem a stream: its last chunk, which follows the others in this order. */
		if (i + 1 < count && slice_eq(slice_sub(names[i + 1], at, at + 2 * EMAIL_ID_BYTES), hex))
			continue;
		if (hex_decode(&id, hex) && id.len == EMAIL_ID_BYTES && set_has(live, id.ptr))
			continue;
		if (!written_at(c, names[i], &when_us) || world_real_us(c->a->w) - when_us <= ORPHAN_AGE_US)
			continue;
		c->orphans = true;
		tell(c, CHECK_ORPHAN, (struct slice){ 0 }, 0, c->o->mend,
		     "the long message %.*s was never finished and nobody refers to it; it takes room and nothing else",
		     SLICE_FMT(hex));
	}
	return r;
}

/* ---- mending ---- */

static enum mailbox_result write_totals(struct check *c, struct attempt *t)
{
	const struct state *s = c->a->s;
	enum mailbox_result r = snapshot(c);
	struct commit commit;

	if (r != MAILBOX_OK)
		return r;
	commit_begin(&commit, t, false);
	commit.h.usage_bytes = commit.h.usage_messages = 0;
	for (size_t i = 0; i < c->folder_count && s->h.version == c->h.version; i++) {
		const struct seen_folder *f = &c->folders[i];
		struct folder sum = { 0 }, *to;

		for (uint32_t k = 0; k < f->count; k++)
			folder_count_add(&sum, &f->rows[k]);
		commit.h.usage_bytes += sum.size;
		commit.h.usage_messages += sum.messages;
		if (sum.messages == f->f.messages && sum.unseen == f->f.unseen && sum.deleted == f->f.deleted &&
		    sum.size == f->f.size && sum.deleted_size == f->f.deleted_size)
			continue;
		to = commit_folder(&commit, f->f.id);
		if (to == NULL) {
			r = MAILBOX_MEMORY;
			break;
		}
		to->messages = sum.messages;
		to->unseen = sum.unseen;
		to->deleted = sum.deleted;
		to->size = sum.size;
		to->deleted_size = sum.deleted_size;
	}
	if (r == MAILBOX_OK)
		r = commit_submit(&commit, t);
	commit_done(&commit);
	return r;
}

static enum mailbox_result mend(struct check *c)
{
	enum mailbox_result r = MAILBOX_OK;
	struct attempt t;
	bool more = true;

	/* Not while a list of messages cannot be read: its messages would be counted as none. */
	if (c->totals_wrong && !c->unreadable) {
		attempt_begin(&t, c->a);
		do {
			r = write_totals(c, &t);
		} while (attempt_again(&t, &r));
	}
	/* The usual upkeep collects what nobody refers to. */
	c->a->s->streams_checked_us = 0;
	account_unlock(c->a);
	while (r == MAILBOX_OK && c->orphans && more)
		r = account_maintain(c->a, &more);
	account_lock(c->a);
	return r;
}

/* ---- all of it ---- */

static enum mailbox_result check_all(struct check *c)
{
	struct stream_set live = { 0 };
	enum mailbox_result r = snapshot(c);

	if (r == MAILBOX_OK)
		check_head(c);
	for (size_t i = 0; r == MAILBOX_OK && i < c->folder_count; i++)
		for (uint32_t k = 0; r == MAILBOX_OK && k < c->folders[i].f.range_count; k++)
			r = check_range(c, &c->folders[i], c->folders[i].f.ranges[k]);
	if (r == MAILBOX_OK)
		r = check_range_orphans(c);
	if (r == MAILBOX_OK)
		r = check_messages(c);
	if (r == MAILBOX_OK)
		r = check_fragments(c, &live);
	if (r == MAILBOX_OK)
		r = check_streams(c, &live);
	if (r == MAILBOX_OK && c->o->mend && (c->totals_wrong || c->orphans))
		r = mend(c);
	free(live.ids);
	return r;
}

/* Mail for an account that was never opened. Opening would make its head, so what reads is a stand-in. */
static enum mailbox_result check_unopened(struct check *c, struct accounts *all, struct engine *engine,
					  const char id[ACCOUNT_ID_BYTES])
{
	struct state stand_in = { .all = all };
	struct account a = { .s = &stand_in, .e = engine, .w = all->world };
	struct stream_set live = { 0 };

	memcpy(stand_in.id, id, ACCOUNT_ID_BYTES);
	c->a = &a;
	c->h.buckets = all->options.buckets;
	buf_init(&c->body, READ_BYTES + 64);
	enum mailbox_result r = check_fragments(c, &live);
	buf_done(&c->body);
	free(live.ids);
	return r;
}

enum mailbox_result account_check(struct accounts *all, struct engine *engine, struct slice id,
				  const struct check_options *o, struct check_counts *counts)
{
	struct check c = { .o = o, .n = counts };
	struct engine_stat st = { 0 };
	char account[ACCOUNT_ID_BYTES];

	if (!account_id_valid(id))
		return MAILBOX_NO_FOLDER;
	memcpy(account, id.ptr, sizeof(account));
	struct stored_name head = head_name(account);
	enum engine_result er = engine_stat(engine, name_slice(&head), &st);
	if (er == ENGINE_ABSENT || (er == ENGINE_OK && !st.exists))
		return check_unopened(&c, all, engine, account);
	enum mailbox_result r = er == ENGINE_OK ? account_open(all, engine, id, (struct quota){ 0 }, &c.a) : result_of(er);
	if (r == MAILBOX_DAMAGED) {
		tell(&c, CHECK_HEAD, (struct slice){ 0 }, 0, false,
		     "the account's head is damaged and nobody can open it; 'prickle mail rebuild' makes the index again from "
		     "the log");
		return MAILBOX_OK;
	}
	if (r != MAILBOX_OK)
		return r;
	buf_init(&c.body, READ_BYTES + 64);
	account_lock(c.a);
	r = check_all(&c);
	account_unlock(c.a);
	buf_done(&c.body);
	snapshot_free(&c);
	account_close(c.a);
	return r;
}
