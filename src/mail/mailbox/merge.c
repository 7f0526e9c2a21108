/*
 * Merging: new deliveries of all buckets get UIDs, in one guarded operation on the head.
 *
 * A delivery that was tried again may be there twice. Copies are told from originals exactly:
 * a record of a later attempt names the places of the earlier ones, which are looked up; and
 * once such a record is merged, its id is remembered until none of these places can bring a
 * late copy any more (all sealed and merged to their ends).
 */
#include <stdlib.h>

#include "mail/mailbox/internal.h"

#define MERGE_BATCH   SIZE_OF(1000u, 3u)
#define MERGE_BYTES   (256u << 10)
#define MERGE_ROUNDS  1000u
#define HELD_MAX      SIZE_OF(64u, 3u)	/* records of APPENDs are read again until there are so many */
#define MERGE_ARENA_BYTES (8u << 20)

struct found {
	struct record record;
	uint8_t bucket;
	uint32_t fragment, offset;
	bool taken;
};

struct merge {
	struct account *a;
	struct arena arena;
	struct found *found;
	size_t count;
	struct cursor cursors[BUCKETS_MAX];	/* afterwards */
	unsigned held;			/* records that are no deliveries */
	bool sealed, more;
};

/* New records of one bucket; the cursor moves over what is read, and past a seal. */
static enum mailbox_result read_bucket(struct merge *m, uint8_t bucket)
{
	struct cursor *c = &m->cursors[bucket];

	while (m->count < MERGE_BATCH) {
		struct stored_name object = fragment_name(m->a->s->id, bucket, c->fragment);
		struct stored_name from = key_u32('m', c->offset), seal = key_seal();
		struct engine_kv *kv;
		size_t count;
		bool more, sealed = false;
		enum engine_result er = engine_keys(m->a->e, name_slice(&object), name_slice(&from),
						    SLICE("n"), MERGE_BATCH - m->count + 1, MERGE_BYTES,
						    &m->arena, &kv, &count, &more);

		if (er != ENGINE_OK)
			return m->arena.err != 0 ? MAILBOX_MEMORY : result_of(er);
		for (size_t i = 0; i < count; i++) {
			struct reader key = reader_of(slice_from(kv[i].key, 1));

			if (slice_eq(kv[i].key, name_slice(&seal))) {
				sealed = true;
				break;
			}
			if (m->count == MERGE_BATCH) {
				more = true;
				break;
			}
			struct found *f = &m->found[m->count];

			*f = (struct found){ .bucket = bucket, .fragment = c->fragment, .offset = rd_be32(&key) };
			c->offset = f->offset + 1;
			/* A record of another form cannot be served; fsck reports it. The rest goes on. */
			if (rd_end(&key) && record_decode(kv[i].value, &f->record) &&
			    f->record.kind == RECORD_DELIVERY)
				m->count++;
			else
				m->held++;
		}
		if (more) {
			m->more = true;
			return MAILBOX_OK;
		}
		if (!sealed)
			return MAILBOX_OK;
		c->fragment++;
		c->offset = 0;
		m->sealed = true;
	}
	m->more = true;
	return MAILBOX_OK;
}

static bool same_id(const uint8_t a[EMAIL_ID_BYTES], const uint8_t b[EMAIL_ID_BYTES])
{
	return memcmp(a, b, EMAIL_ID_BYTES) == 0;
}

static const struct remembered *recall(const struct state *s, const uint8_t id[EMAIL_ID_BYTES])
{
	for (size_t i = 0; i < s->remembered_count; i++)
		if (same_id(s->remembered[i].id, id))
			return &s->remembered[i];
	return NULL;
}

/* Is there an already merged record of this id in the fragment? */
static enum mailbox_result merged_before(struct merge *m, uint8_t bucket, uint32_t fragment,
					 const uint8_t id[EMAIL_ID_BYTES], bool *yes)
{
	const struct cursor *now = &m->a->s->h.cursors[bucket];
	struct stored_name object = fragment_name(m->a->s->id, bucket, fragment);
	struct stored_name to = key_u32('m', fragment == now->fragment ? now->offset : OFFSET_STREAM);
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	struct engine_kv *kv;
	struct record r;
	size_t count;

	if (fragment > now->fragment)
		return MAILBOX_OK;
	enum mailbox_result res = keys_all(m->a->e, name_slice(&object), SLICE("m"), name_slice(&to), &arena,
					   &kv, &count);

	for (size_t i = 0; res == MAILBOX_OK && i < count && !*yes; i++)
		*yes = record_decode(kv[i].value, &r) && r.kind == RECORD_DELIVERY && same_id(r.id, id);
	if (res != MAILBOX_OK || *yes || count > 0)
		return res;
	/* Compaction may have removed it; the ids of its deliveries stay. */
	struct stored_name old = old_ids_name(m->a->s->id, bucket, fragment), key = key_id('i', id);
	struct slice after = arena_dup(&arena, slice_of(key.bytes, key.len + 1));
	bool more;

	if (after.ptr == NULL)
		return MAILBOX_MEMORY;
	enum engine_result er = engine_keys(m->a->e, name_slice(&old), name_slice(&key), after, 1, 1024,
					    &arena, &kv, &count, &more);

	*yes = er == ENGINE_OK && count == 1;
	return er == ENGINE_OK ? MAILBOX_OK : result_of(er);
}

/* More attempts than a record can name: look into every fragment that is there. */
static enum mailbox_result merged_anywhere(struct merge *m, const uint8_t id[EMAIL_ID_BYTES], bool *yes)
{
	const struct state *s = m->a->s;

	for (uint8_t b = 0; b < s->h.buckets; b++) {
		for (uint32_t n = 0; n <= s->h.cursors[b].fragment && !*yes; n++) {
			enum mailbox_result r = merged_before(m, b, n, id, yes);

			if (r != MAILBOX_OK)
				return r;
		}
	}
	return MAILBOX_OK;
}

/* Decide which of the found records are new messages. */
static enum mailbox_result judge(struct merge *m)
{
	for (size_t i = 0; i < m->count; i++) {
		struct found *f = &m->found[i];
		bool copy = recall(m->a->s, f->record.id) != NULL;
		enum mailbox_result r = MAILBOX_OK;

		for (size_t k = 0; k < i && !copy; k++)
			copy = m->found[k].taken && same_id(m->found[k].record.id, f->record.id);
		if (f->record.attempt > 0 && !copy) {
			const struct delivery_tries *t = &f->record.tries;

			for (unsigned p = 0; p < t->count && !copy && r == MAILBOX_OK; p++)
				r = merged_before(m, t->place[p].bucket, t->place[p].fragment,
						  f->record.id, &copy);
			if (t->overflow && !copy && r == MAILBOX_OK)
				r = merged_anywhere(m, f->record.id, &copy);
			if (r != MAILBOX_OK)
				return r;
		}
		f->taken = !copy;
	}
	return MAILBOX_OK;
}

/* Can one of these places still bring a copy, once the cursors are where this commit puts them? */
static bool places_open(const struct delivery_tries *t, const struct cursor *cursors)
{
	if (t->overflow)
		return true;
	for (unsigned i = 0; i < t->count; i++)
		if (t->place[i].fragment >= cursors[t->place[i].bucket].fragment)
			return true;
	return false;
}

static void remember(struct merge *m, struct commit *c)
{
	const struct state *s = m->a->s;

	for (size_t i = 0; i < s->remembered_count; i++) {
		if (!places_open(&s->remembered[i].tries, m->cursors)) {
			struct stored_name key = key_id('x', s->remembered[i].id);

			commit_delete(c, &key);
		}
	}
	for (size_t i = 0; i < m->count; i++) {
		const struct found *f = &m->found[i];

		if (!f->taken || f->record.attempt == 0 || !places_open(&f->record.tries, m->cursors))
			continue;
		AUTO_BUF struct buf value = BUF_INIT(256);
		struct stored_name key = key_id('x', f->record.id);

		tries_encode(&value, &f->record.tries);
		commit_set(c, &key, buf_slice(&value));
	}
}

static void take(struct merge *m, struct commit *c, const struct found *f, uint32_t now_s)
{
	struct folder *folder = commit_folder(c, f->record.folder);

	if (folder == NULL)
		folder = commit_folder(c, FOLDER_INBOX);
	if (folder == NULL || folder->uidnext >= UID_MAX) {
		c->err = c->err == MAILBOX_OK ? MAILBOX_LIMIT : c->err;
		return;
	}
	struct message_info info = {
		.uid = folder->uidnext++,
		.size = f->record.size,
		.modseq = c->h.modseq,
		.internaldate_s = f->record.internaldate_s,
		.tz_minutes = f->record.tz_minutes,
		.savedate_s = now_s,
		.flags = f->record.flags & FLAGS_ALL,
		.bucket = f->bucket,
		.fragment = f->fragment,
		.offset = f->offset | (f->record.stream ? OFFSET_STREAM : 0),
	};

	memcpy(info.email_id, f->record.id, EMAIL_ID_BYTES);
	folder_count_add(folder, &info);
	commit_touch(c, folder);
	commit_change_add(c, folder->id, &info);
	c->h.usage_bytes += info.size;
	c->h.usage_messages++;
}

static enum mailbox_result merge_commit(struct merge *m, struct attempt *t, uint32_t claim,
					uint32_t *recent_from, uint32_t *recent_to)
{
	struct commit c;
	uint32_t now_s = (uint32_t)(world_real_us(m->a->w) / 1000000);
	bool taken = false;

	for (size_t i = 0; i < m->count; i++)
		taken |= m->found[i].taken;
	commit_begin(&c, t, taken);
	for (size_t i = 0; i < m->count; i++)
		if (m->found[i].taken)
			take(m, &c, &m->found[i], now_s);
	remember(m, &c);
	if (c.h.buckets < m->a->s->all->options.buckets)
		c.h.buckets = m->a->s->all->options.buckets;
	for (uint8_t b = 0; b < c.h.buckets; b++) {
		struct stored_name key = key_cursor(b);
		AUTO_BUF struct buf value = BUF_INIT(16);

		if (memcmp(&c.h.cursors[b], &m->cursors[b], sizeof(struct cursor)) == 0)
			continue;
		c.h.cursors[b] = m->cursors[b];
		cursor_encode(&value, &m->cursors[b]);
		commit_set(&c, &key, buf_slice(&value));
	}
	struct folder *f = claim == FOLDER_NONE ? NULL : commit_folder(&c, claim);
	uint32_t from = 0, to = 0;

	if (f != NULL) {
		from = f->first_recent;
		to = f->first_recent = f->uidnext;
	}
	enum mailbox_result r = commit_submit(&c, t);

	commit_done(&c);
	if (r == MAILBOX_OK && f != NULL && from < to) {
		*recent_from = *recent_from < *recent_to && *recent_from < from ? *recent_from : from;
		*recent_to = to;
	}
	return r;
}

static enum mailbox_result merge_round(struct account *a, struct attempt *t, uint32_t claim,
				       uint32_t *recent_from, uint32_t *recent_to, bool *more)
{
	struct merge m = { .a = a };
	const struct folder *f = claim == FOLDER_NONE ? NULL : state_folder(a->s, claim);
	enum mailbox_result r = MAILBOX_OK;

	arena_init(&m.arena, MERGE_ARENA_BYTES);
	memcpy(m.cursors, a->s->h.cursors, sizeof(m.cursors));
	m.found = calloc(MERGE_BATCH + 1, sizeof(*m.found));
	if (m.found == NULL)
		r = MAILBOX_MEMORY;
	unsigned unreachable = 0;

	for (uint8_t b = 0; b < a->s->all->options.buckets && r == MAILBOX_OK; b++) {
		r = read_bucket(&m, b);
		/* A bucket that cannot be read joins later, with higher UIDs; the rest goes on. */
		if (r == MAILBOX_UNAVAILABLE && a->s->all->options.buckets > 1) {
			r = ++unreachable < a->s->all->options.buckets ? MAILBOX_OK : r;
		}
	}
	bool claims = f != NULL && f->first_recent < f->uidnext;

	if (r == MAILBOX_OK)
		r = judge(&m);
	*more = m.more;
	if (r == MAILBOX_OK && (m.count > 0 || m.sealed || m.held >= HELD_MAX || claims))
		r = merge_commit(&m, t, claim, recent_from, recent_to);
	free(m.found);
	arena_done(&m.arena);
	return r;
}

enum mailbox_result state_merge(struct account *a, uint32_t claim, uint32_t *recent_from,
				uint32_t *recent_to)
{
	enum mailbox_result r = MAILBOX_OK;
	bool more = true;

	*recent_from = *recent_to = 0;
	for (unsigned round = 0; more && r == MAILBOX_OK && round < MERGE_ROUNDS; round++) {
		struct attempt t;

		attempt_begin(&t, a);
		do {
			r = merge_round(a, &t, claim, recent_from, recent_to, &more);
		} while (attempt_again(&t, &r));
		if (r == MAILBOX_OK)
		state_fold_hard(a);
	}
	/* Who may only read sees what sessions of the owner merged; reads that are denied, too, failed before. */
	return r == MAILBOX_DENIED ? MAILBOX_OK : r;
}

enum mailbox_result account_refresh(struct account *a)
{
	uint32_t from, to;

	account_lock(a);
	enum mailbox_result r = state_refresh(a);

	if (r == MAILBOX_OK)
		r = state_merge(a, FOLDER_NONE, &from, &to);
	account_unlock(a);
	return r;
}
