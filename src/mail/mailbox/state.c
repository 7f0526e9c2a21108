/*
 * An account's head in memory: loading it, keeping it fresh, tables of its folders.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/must.h"
#include "mail/mailbox/internal.h"

#define HEAD_READ_BYTES	  SIZE_OF(256u << 10, 1500u)
#define HEAD_ARENA_BYTES  (64u << 20)
#define TABLE_ARENA_BYTES (16u << 20)
#define RELOADS_MAX	  20u
#define RANGE_PAGE	  SIZE_OF(10000u, 3u)

enum mailbox_result result_of(enum engine_result r)
{
	switch (r) {
	case ENGINE_OK:
		return MAILBOX_OK;
	case ENGINE_FULL:
		return MAILBOX_FULL;
	case ENGINE_DAMAGED:
	case ENGINE_ABSENT:
		return MAILBOX_DAMAGED;
	case ENGINE_DENIED:
		return MAILBOX_DENIED;
	case ENGINE_INVALID:
		return MAILBOX_LIMIT;
	case ENGINE_GUARD:
	case ENGINE_UNAVAILABLE:
		break;
	}
	return MAILBOX_UNAVAILABLE;
}

/* Outside of fibers there is one thread and nobody to wait for. */
void account_lock(struct account *a)
{
	if (fiber_self() != NULL)
		fiber_lock(&a->s->lock);
}

void account_unlock(struct account *a)
{
	if (fiber_self() != NULL)
		fiber_unlock(&a->s->lock);
	state_count_bytes(a->s);
}

static bool grow(void *array, size_t *cap, size_t count, size_t size)
{
	void **at = array;

	if (count < *cap)
		return true;
	size_t want = *cap == 0 ? 8 : *cap * 2;
	void *p = reallocarray(*at, want, size);

	if (p == NULL)
		return false;
	*at = p;
	*cap = want;
	return true;
}

/* ---- parts of the state ---- */

static void folders_clear(struct folder *folders, size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		folder_done(&folders[i]);
	*count = 0;
}

/* Everything but the journal, the tables and the tails. */
static void lists_clear(struct state *s)
{
	folders_clear(s->folders, &s->folder_count);
	folders_clear(s->doomed, &s->doomed_count);
	for (size_t i = 0; i < s->sub_count; i++)
		free(s->subs[i].name);
	s->sub_count = 0;
	for (size_t i = 0; i < s->keyword_count; i++)
		free((void *)(uintptr_t)s->keywords[i].ptr);
	s->keyword_count = 0;
	s->condemned_count = 0;
	s->remembered_count = 0;
}

static void journal_drop_before(struct state *s, uint64_t modseq)
{
	size_t n = 0;

	while (n < s->journal_count && s->journal[n].modseq < modseq) {
		s->journal_bytes -= s->journal[n].len;
		free(s->journal[n++].bytes);
	}
	if (n == 0)
		return;
	memmove(s->journal, s->journal + n, (s->journal_count - n) * sizeof(*s->journal));
	s->journal_count -= n;
}

static void tables_unload(struct state *s)
{
	list_for_each(it, &s->tables) {
		struct table *t = list_entry(it, struct table, link);

		if (t->users == 0)
			table_free(t);
		else
			t->loaded = false;
	}
}

static void state_unload(struct state *s)
{
	lists_clear(s);
	journal_drop_before(s, UINT64_MAX);
	tables_unload(s);
	s->loaded = false;
}

static size_t folder_lower(const struct folder *list, size_t count, uint32_t id)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (list[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct folder *state_folder(const struct state *s, uint32_t id)
{
	size_t i = folder_lower(s->folders, s->folder_count, id);

	return i < s->folder_count && s->folders[i].id == id ? &s->folders[i] : NULL;
}

struct folder *state_folder_named(const struct state *s, struct slice name)
{
	for (size_t i = 0; i < s->folder_count; i++)
		if (slice_eq(slice_str(s->folders[i].name), name))
			return &s->folders[i];
	return NULL;
}

bool state_condemned(const struct state *s, uint8_t bucket, uint32_t fragment)
{
	for (size_t i = 0; i < s->condemned_count; i++)
		if (s->condemned[i].bucket == bucket && s->condemned[i].fragment == fragment)
			return true;
	return false;
}

struct table *state_table_cached(const struct state *s, uint32_t folder)
{
	for (struct list *it = s->tables.next; it != &s->tables; it = it->next) {
		struct table *t = list_entry(it, struct table, link);

		if (t->folder == folder)
			return t->loaded ? t : NULL;
	}
	return NULL;
}

/* ---- one key of the head ---- */

static bool put_folder(struct folder **list, size_t *count, size_t *cap, uint32_t id,
		       struct slice value)
{
	struct folder f;
	size_t i = folder_lower(*list, *count, id);

	if (folder_decode(value, id, &f) != 0)
		return false;
	if (i < *count && (*list)[i].id == id) {
		folder_done(&(*list)[i]);
		(*list)[i] = f;
		return true;
	}
	if (!grow(list, cap, *count, sizeof(f))) {
		folder_done(&f);
		return false;
	}
	memmove(*list + i + 1, *list + i, (*count - i) * sizeof(f));
	(*list)[i] = f;
	(*count)++;
	return true;
}

static void drop_folder(struct folder *list, size_t *count, uint32_t id)
{
	size_t i = folder_lower(list, *count, id);

	if (i == *count || list[i].id != id)
		return;
	folder_done(&list[i]);
	memmove(list + i, list + i + 1, (*count - i - 1) * sizeof(*list));
	(*count)--;
}

static bool set_subscription(struct state *s, uint32_t id, struct slice name)
{
	if (!grow(&s->subs, &s->sub_cap, s->sub_count, sizeof(*s->subs)))
		return false;
	char *copy = slice_strdup(name);

	if (copy == NULL)
		return false;
	s->subs[s->sub_count++] = (struct subscription){ id, copy };
	return true;
}

static bool set_keywords(struct state *s, struct slice value)
{
	struct reader r = reader_of(value);

	for (size_t i = 0; i < s->keyword_count; i++)
		free((void *)(uintptr_t)s->keywords[i].ptr);
	s->keyword_count = 0;
	while (rd_left(&r) > 0 && !r.bad && s->keyword_count < KEYWORDS_MAX) {
		struct slice word = rd_blob(&r);
		char *copy = slice_strdup(word);

		if (copy == NULL)
			return false;
		s->keywords[s->keyword_count++] = slice_of(copy, word.len);
	}
	return rd_end(&r);
}

/* A journal part: remember it, and let loaded tables follow. */
static bool set_journal(struct state *s, uint64_t modseq, uint16_t part, struct slice value)
{
	struct reader r = reader_of(value);
	struct change c;

	if (!grow(&s->journal, &s->journal_cap, s->journal_count, sizeof(*s->journal)))
		return false;
	uint8_t *copy = malloc(value.len + 1);

	if (copy == NULL)
		return false;
	memcpy(copy, value.ptr, value.len);
	s->journal[s->journal_count++] =
		(struct journal_part){ modseq, part, (uint32_t)value.len, copy };
	s->journal_bytes += value.len;
	(void)rd_be64(&r);
	while (change_next(&r, &c)) {
		struct table *t = state_table_cached(s, c.folder);

		if (t != NULL && !table_apply(t, c, modseq))
			t->loaded = false;
	}
	return !r.bad;
}

static bool set_remembered(struct state *s, struct slice key, struct slice value)
{
	struct reader r = reader_of(value);

	if (key.len != 1 + EMAIL_ID_BYTES ||
	    !grow(&s->remembered, &s->remembered_cap, s->remembered_count, sizeof(*s->remembered)))
		return false;
	struct remembered *m = &s->remembered[s->remembered_count];

	memcpy(m->id, key.ptr + 1, EMAIL_ID_BYTES);
	if (!tries_decode(&r, &m->tries))
		return false;
	s->remembered_count++;
	return true;
}

static bool set_condemned(struct state *s, uint8_t bucket, uint32_t fragment)
{
	if (state_condemned(s, bucket, fragment))
		return true;
	if (!grow(&s->condemned, &s->condemned_cap, s->condemned_count, sizeof(*s->condemned)))
		return false;
	s->condemned[s->condemned_count++] = (struct place){ bucket, fragment };
	return true;
}

/* False: memory, or not of our form. Keys that no one here needs are passed over. */
static bool state_set(struct state *s, struct slice key, struct slice value)
{
	struct reader r = reader_of(key);

	switch (rd_u8(&r)) {
	case 'g': {
		uint64_t modseq = rd_be64(&r);
		uint16_t part = rd_be16(&r);

		return rd_end(&r) && set_journal(s, modseq, part, value);
	}
	case 'h':
		buf_reset(&s->head);
		buf_add(&s->head, value);
		return s->head.err == 0 && header_decode(value, &s->h);
	case 'k':
		return set_keywords(s, value);
	case 'n':
		return put_folder(&s->folders, &s->folder_count, &s->folder_cap, rd_be32(&r), value) &&
		       rd_end(&r);
	case 's':
		return set_subscription(s, rd_be32(&r), value) && rd_end(&r);
	case 'u':
		return put_folder(&s->doomed, &s->doomed_count, &s->doomed_cap, rd_be32(&r), value) &&
		       rd_end(&r);
	case 'w': {
		uint8_t bucket = rd_u8(&r);

		return set_condemned(s, bucket, rd_be32(&r)) && rd_end(&r);
	}
	case 'x':
		return set_remembered(s, key, value);
	default:
		return true;
	}
}

static void state_unset(struct state *s, struct slice key)
{
	struct reader r = reader_of(key);

	switch (rd_u8(&r)) {
	case 'n': {
		uint32_t id = rd_be32(&r);

		drop_folder(s->folders, &s->folder_count, id);
		for (struct list *it = s->tables.next; it != &s->tables; it = it->next)
			if (list_entry(it, struct table, link)->folder == id)
				list_entry(it, struct table, link)->loaded = false;
		break;
	}
	case 'u':
		drop_folder(s->doomed, &s->doomed_count, rd_be32(&r));
		break;
	case 's': {
		uint32_t id = rd_be32(&r);

		for (size_t i = 0; i < s->sub_count; i++) {
			if (s->subs[i].id != id)
				continue;
			free(s->subs[i].name);
			s->subs[i] = s->subs[--s->sub_count];
			break;
		}
		break;
	}
	case 'w': {
		uint8_t bucket = rd_u8(&r);
		uint32_t fragment = rd_be32(&r);

		for (size_t i = 0; i < s->condemned_count; i++)
			if (s->condemned[i].bucket == bucket && s->condemned[i].fragment == fragment)
				s->condemned[i--] = s->condemned[--s->condemned_count];
		break;
	}
	case 'x':
		for (size_t i = 0; i < s->remembered_count; i++)
			if (memcmp(s->remembered[i].id, key.ptr + 1, EMAIL_ID_BYTES) == 0)
				s->remembered[i--] = s->remembered[--s->remembered_count];
		break;
	default:
		break;
	}
}

/* Our own commit was done: the same as having read it. */
static void state_follow(struct state *s, const struct engine_step *steps, size_t count)
{
	bool good = true;

	for (size_t i = 0; i < count && good; i++) {
		if (steps[i].kind == STEP_SET)
			good = state_set(s, steps[i].key, steps[i].value);
		else if (steps[i].kind == STEP_DELETE)
			state_unset(s, steps[i].key);
	}
	if (!good)
		state_unload(s);
	else
		journal_drop_before(s, s->h.journal_first);
}

/* ---- reading the head ---- */

enum mailbox_result keys_all(struct engine *e, struct slice object, struct slice from,
			     struct slice to, struct arena *arena, struct engine_kv **out,
			     size_t *count)
{
	struct engine_kv *all = NULL;
	size_t have = 0;
	bool more = true;

	while (more) {
		struct engine_kv *page;
		size_t n;
		enum engine_result er = engine_keys(e, object, from, to, 4096, HEAD_READ_BYTES, arena,
						    &page, &n, &more);

		if (er != ENGINE_OK)
			return arena->err != 0 ? MAILBOX_MEMORY : result_of(er);
		if (have == 0) {
			all = page;
		} else {
			struct engine_kv *joined = arena_array(arena, have + n + 1, sizeof(*joined));

			if (joined == NULL)
				return MAILBOX_MEMORY;
			memcpy(joined, all, have * sizeof(*all));
			memcpy(joined + have, page, n * sizeof(*page));
			all = joined;
		}
		have += n;
		if (!more || n == 0)
			break;
		/* The next possible key: the last one and a zero byte. */
		struct slice last = all[have - 1].key;
		uint8_t *after = arena_alloc(arena, last.len + 1);

		if (after == NULL)
			return MAILBOX_MEMORY;
		memcpy(after, last.ptr, last.len);
		from = slice_of(after, last.len + 1);
	}
	*out = all;
	*count = have;
	return MAILBOX_OK;
}

static struct slice find_header(const struct engine_kv *kv, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (slice_eq(kv[i].key, SLICE("h")))
			return kv[i].value;
	return (struct slice){ 0 };
}

/*
 * All keys from `from` on, as of one moment. A long answer comes in pages; it is of one moment
 * if the header did not change until after the last page. Journal parts that an early page
 * missed cannot be: they are appended behind, and trimmed ones are dropped by journal_first.
 */
static enum mailbox_result read_head(struct account *a, const struct stored_name *from,
				     struct arena *arena, struct engine_kv **out, size_t *count)
{
	struct stored_name object = head_name(a->s->id);

	for (unsigned tries = 0; tries < RELOADS_MAX; tries++) {
		struct engine_kv *again;
		size_t n;
		bool more;
		enum engine_result er = engine_keys(a->e, name_slice(&object), name_slice(from),
						    SLICE("y"), 8192, HEAD_READ_BYTES, arena, out, count,
						    &more);

		if (er != ENGINE_OK)
			return arena->err != 0 ? MAILBOX_MEMORY : result_of(er);
		if (!more)
			return MAILBOX_OK;
		enum mailbox_result r = keys_all(a->e, name_slice(&object), name_slice(from), SLICE("y"),
						 arena, out, count);

		if (r != MAILBOX_OK)
			return r;
		er = engine_keys(a->e, name_slice(&object), SLICE("h"), SLICE("i"), 1, 1024, arena, &again,
				 &n, &more);
		if (er != ENGINE_OK)
			return result_of(er);
		if (n == 1 && slice_eq(again[0].value, find_header(*out, *count)))
			return MAILBOX_OK;
		arena_reset(arena);
	}
	return MAILBOX_UNAVAILABLE;
}

/* Make the head of a new account. Losing the race to another process is as good. */
static enum mailbox_result create_head(struct account *a)
{
	struct header h = { .version = 1, .modseq = 1, .next_folder = FOLDER_INBOX + 1, .next_subscription = 1,
			    .journal_first = 2, .buckets = a->s->all->options.buckets };
	struct folder inbox = { .id = FOLDER_INBOX, .uidnext = 1, .first_recent = 1, .highestmodseq = 1 };
	char name[] = "INBOX";
	AUTO_BUF struct buf head = BUF_INIT(4096);
	AUTO_BUF struct buf record = BUF_INIT(4096);
	struct stored_name object = head_name(a->s->id), key = key_u32('n', FOLDER_INBOX);

	inbox.name = name;
	inbox.uidvalidity = (uint32_t)(world_real_us(a->w) / 1000000);
	if (inbox.uidvalidity == 0)
		inbox.uidvalidity = 1;
	h.last_uidvalidity = inbox.uidvalidity;
	world_random(a->w, &h.nonce, sizeof(h.nonce));
	header_encode(&head, &h);
	folder_encode(&record, &inbox);
	if (head.err != 0 || record.err != 0)
		return MAILBOX_MEMORY;
	const struct engine_step steps[] = {
		{ .kind = GUARD_KEY_ABSENT, .key = SLICE("h") },
		{ .kind = STEP_SET, .key = SLICE("h"), .value = buf_slice(&head) },
		{ .kind = STEP_SET, .key = name_slice(&key), .value = buf_slice(&record) },
	};
	const struct engine_op op = { .object = name_slice(&object), .steps = steps, .count = ARRAY_LEN(steps) };
	enum engine_result er = engine_apply(a->e, &op);

	return er == ENGINE_GUARD ? MAILBOX_OK : result_of(er);
}

static enum mailbox_result load_all(struct account *a)
{
	struct state *s = a->s;
	AUTO_ARENA struct arena arena = ARENA_INIT(HEAD_ARENA_BYTES);
	struct stored_name from = key_fixed("g");
	struct engine_kv *kv;
	size_t count;
	enum mailbox_result r = read_head(a, &from, &arena, &kv, &count);

	if (r != MAILBOX_OK)
		return r;
	if (find_header(kv, count).len == 0) {
		if (count > 0)
			return MAILBOX_DAMAGED;
		r = create_head(a);
		if (r == MAILBOX_OK)
			r = read_head(a, &from, &arena, &kv, &count);
		if (r != MAILBOX_OK)
			return r;
	}
	state_unload(s);
	for (size_t i = 0; i < count; i++) {
		if (!state_set(s, kv[i].key, kv[i].value)) {
			state_unload(s);
			return MAILBOX_DAMAGED;
		}
	}
	if (s->head.len == 0 || state_folder(s, FOLDER_INBOX) == NULL) {
		state_unload(s);
		return MAILBOX_DAMAGED;
	}
	journal_drop_before(s, s->h.journal_first);
	s->loaded = true;
	return MAILBOX_OK;
}

/* Only the header and journal parts that we lack: the usual "nothing new" is one small answer. */
static enum mailbox_result load_news(struct account *a, bool *whole)
{
	struct state *s = a->s;
	AUTO_ARENA struct arena arena = ARENA_INIT(HEAD_ARENA_BYTES);
	struct stored_name object = head_name(s->id), from = key_journal(s->h.modseq + 1, 0);
	struct engine_kv *kv;
	struct header h;
	size_t count;
	bool more;
	enum engine_result er = engine_keys(a->e, name_slice(&object), SLICE("h"), SLICE("i"), 1, 1024,
					    &arena, &kv, &count, &more);

	if (er != ENGINE_OK)
		return result_of(er);
	*whole = false;
	if (count == 1 && slice_eq(kv[0].value, buf_slice(&s->head)))
		return MAILBOX_OK;
	if (count == 0 || !header_decode(kv[0].value, &h) || h.journal_first > s->h.modseq + 1) {
		*whole = true;
		return MAILBOX_OK;
	}
	enum mailbox_result r = read_head(a, &from, &arena, &kv, &count);

	if (r != MAILBOX_OK)
		return r;
	struct slice head = find_header(kv, count);

	/* Trimmed between the two calls: parts that we lack may be gone. */
	if (!header_decode(head, &h) || h.journal_first > s->h.modseq + 1) {
		*whole = true;
		return MAILBOX_OK;
	}
	lists_clear(s);
	for (size_t i = 0; i < count; i++) {
		if (!state_set(s, kv[i].key, kv[i].value)) {
			state_unload(s);
			return MAILBOX_DAMAGED;
		}
	}
	journal_drop_before(s, s->h.journal_first);
	return MAILBOX_OK;
}

enum mailbox_result state_refresh(struct account *a)
{
	bool whole = true;

	if (a->s->loaded) {
		enum mailbox_result r = load_news(a, &whole);

		if (r != MAILBOX_OK || !whole)
			return r;
	}
	return load_all(a);
}

/* ---- tables ---- */

/* One range object's messages. *ahead: it holds changes that we have not loaded yet. */
static enum mailbox_result load_range(struct account *a, struct table *t, uint32_t range, bool *ahead)
{
	struct stored_name object = range_name(a->s->id, t->folder, range);
	struct range_state state = { 0 };
	uint8_t from_bytes[8] = "g";
	struct slice from = slice_of(from_bytes, 1);
	AUTO_ARENA struct arena arena = ARENA_INIT(TABLE_ARENA_BYTES);
	uint8_t last[8];
	bool more = true, first = true;

	while (more) {
		struct engine_kv *kv;
		size_t count;
		enum engine_result er = engine_keys(a->e, name_slice(&object), from, SLICE("v"), RANGE_PAGE,
						    1u << 20, &arena, &kv, &count, &more);

		if (er != ENGINE_OK)
			return result_of(er);
		for (size_t i = 0; i < count; i++) {
			if (kv[i].key.len == 1 && kv[i].key.ptr[0] == 'g') {
				if (!range_state_decode(kv[i].value, &state))
					return MAILBOX_DAMAGED;
				*ahead = state.folded > a->s->h.modseq;
				continue;
			}
			struct message_info m = { 0 };
			struct reader key = reader_of(slice_from(kv[i].key, 1));
			struct reader value = reader_of(kv[i].value);

			m.uid = rd_be32(&key);
			if (kv[i].key.len != 5 || !message_decode(&value, &m) || !rd_end(&value))
				return MAILBOX_DAMAGED;
			if (!table_put(t, &m))
				return MAILBOX_MEMORY;
		}
		if (!more || count == 0 || *ahead)
			break;
		must(kv[count - 1].key.len < sizeof(last));
		memcpy(last, kv[count - 1].key.ptr, kv[count - 1].key.len);
		last[kv[count - 1].key.len] = 0;
		from = slice_of(last, kv[count - 1].key.len + 1);
		first = false;
		arena_reset(&arena);
	}
	if (first)
		return MAILBOX_OK;
	/* Several pages: folded meanwhile? Then what we read is of no single moment. */
	struct engine_kv *kv;
	struct range_state now = { 0 };
	size_t count;

	arena_reset(&arena);
	enum engine_result er = engine_keys(a->e, name_slice(&object), SLICE("g"), SLICE("h"), 1, 1024,
					    &arena, &kv, &count, &more);

	if (er != ENGINE_OK)
		return result_of(er);
	if (count != 1 || !range_state_decode(kv[0].value, &now))
		return MAILBOX_DAMAGED;
	*ahead |= now.nonce != state.nonce;
	return MAILBOX_OK;
}

static bool replay(const struct state *s, struct table *t)
{
	for (size_t i = 0; i < s->journal_count; i++) {
		const struct journal_part *p = &s->journal[i];
		struct reader r = reader_of(slice_of(p->bytes, p->len));
		struct change c;

		(void)rd_be64(&r);
		while (change_next(&r, &c))
			if (c.folder == t->folder && !table_apply(t, c, p->modseq))
				return false;
		if (r.bad)
			return false;
	}
	return true;
}

static struct table *table_of(struct state *s, uint32_t folder)
{
	for (struct list *it = s->tables.next; it != &s->tables; it = it->next)
		if (list_entry(it, struct table, link)->folder == folder)
			return list_entry(it, struct table, link);
	struct table *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->folder = folder;
	list_push_back(&s->tables, &t->link);
	return t;
}

/*
 * Ranges first, then the journal over them. A range may hold more than its journal starts
 * with (folded, not trimmed yet): replaying is harmless, since the journal is complete from
 * some state before the range's on, and its last word on each bit is the newest.
 */
enum mailbox_result state_table(struct account *a, uint32_t folder, struct table **out)
{
	struct state *s = a->s;

	for (unsigned tries = 0; tries < RELOADS_MAX; tries++) {
		struct folder *f = state_folder(s, folder);

		if (f == NULL)
			return MAILBOX_NO_FOLDER;
		struct table *t = table_of(s, folder);
		bool ahead = false;

		if (t == NULL)
			return MAILBOX_MEMORY;
		if (t->loaded) {
			*out = t;
			return MAILBOX_OK;
		}
		/* Loaded aside: other fibers look at the old rows meanwhile. */
		struct table fresh = { .folder = folder };
		enum mailbox_result r = MAILBOX_OK;

		for (uint32_t i = 0; r == MAILBOX_OK && !ahead && i < f->range_count; i++)
			r = load_range(a, &fresh, f->ranges[i], &ahead);
		if (r == MAILBOX_OK && !ahead && !replay(s, &fresh))
			r = MAILBOX_DAMAGED;
		if (r == MAILBOX_OK && !ahead) {
			free(t->rows);
			t->rows = fresh.rows;
			t->count = fresh.count;
			t->cap = fresh.cap;
			t->loaded = true;
			*out = t;
			return MAILBOX_OK;
		}
		free(fresh.rows);
		if (r == MAILBOX_OK)
			r = state_refresh(a);
		if (r != MAILBOX_OK)
			return r;
	}
	return MAILBOX_UNAVAILABLE;
}

/* ---- handles and the cache ---- */

void state_count_bytes(struct state *s)
{
	size_t bytes = sizeof(*s) + s->journal_bytes + s->journal_cap * sizeof(*s->journal) +
		       (s->folder_cap + s->doomed_cap) * (sizeof(struct folder) + 64) +
		       s->sub_cap * (sizeof(struct subscription) + 32);

	list_for_each(it, &s->tables)
		bytes += list_entry(it, struct table, link)->cap * sizeof(struct message_info);
	s->all->bytes += bytes - s->counted_bytes;
	s->counted_bytes = bytes;
}

static void state_free(struct state *s)
{
	state_unload(s);
	list_for_each(it, &s->tables)
		table_free(list_entry(it, struct table, link));
	s->all->bytes -= s->counted_bytes;
	map_del(&s->all->states, &s->node);
	list_del(&s->idle);
	buf_done(&s->head);
	free(s->folders);
	free(s->doomed);
	free(s->subs);
	free(s->condemned);
	free(s->remembered);
	free(s->journal);
	free(s);
}

int accounts_new(struct world *world, const struct accounts_options *o, struct accounts **out)
{
	struct accounts *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return -ENOMEM;
	must(o->buckets >= 1 && o->buckets <= BUCKETS_MAX);
	a->world = world;
	a->options = *o;
	list_init(&a->idle);
	*out = a;
	return 0;
}

static void cache_shrink(struct accounts *all, size_t to)
{
	while (all->bytes > to && !list_empty(&all->idle))
		state_free(list_entry(all->idle.next, struct state, idle));
}

void accounts_free(struct accounts *a)
{
	if (a == NULL)
		return;
	cache_shrink(a, 0);
	must(a->states.count == 0);
	map_done(&a->states);
	free(a);
}

size_t accounts_bytes(const struct accounts *a)
{
	return a->bytes;
}

static struct state *state_of(struct accounts *all, struct slice id)
{
	uint64_t hash = map_hash(id);

	for (struct map_node *n = map_first(&all->states, hash); n != NULL; n = map_next(n, hash)) {
		struct state *s = container_of(n, struct state, node);

		if (slice_eq(slice_of(s->id, ACCOUNT_ID_BYTES), id))
			return s;
	}
	struct state *s = calloc(1, sizeof(*s));

	if (s == NULL || map_add(&all->states, &s->node, hash) != 0) {
		free(s);
		return NULL;
	}
	memcpy(s->id, id.ptr, ACCOUNT_ID_BYTES);
	s->all = all;
	list_init(&s->idle);
	list_init(&s->tables);
	buf_init(&s->head, 4096);
	return s;
}

enum mailbox_result account_open(struct accounts *all, struct engine *engine, struct slice id,
				 struct quota quota, struct account **out)
{
	if (!account_id_valid(id))
		return MAILBOX_NO_FOLDER;
	struct state *s = state_of(all, id);
	struct account *a = s == NULL ? NULL : calloc(1, sizeof(*a));

	if (a == NULL)
		return MAILBOX_MEMORY;
	*a = (struct account){ .s = s, .e = engine, .w = all->world, .quota = quota };
	s->users++;
	list_del(&s->idle);
	account_lock(a);
	enum mailbox_result r = state_refresh(a);

	account_unlock(a);
	if (r != MAILBOX_OK) {
		account_close(a);
		return r;
	}
	*out = a;
	return MAILBOX_OK;
}

void account_close(struct account *a)
{
	if (a == NULL)
		return;
	struct state *s = a->s;
	struct accounts *all = s->all;

	must(s->users > 0);
	if (--s->users == 0) {
		state_count_bytes(s);
		if (!s->loaded)
			state_free(s);
		else
			list_push_back(&all->idle, &s->idle);
	}
	free(a);
	cache_shrink(all, all->options.cache_bytes);
}

void account_set_quota(struct account *a, struct quota quota)
{
	a->quota = quota;
}

void account_usage(const struct account *a, struct account_usage *out)
{
	*out = (struct account_usage){ a->s->h.usage_bytes, a->s->h.usage_messages, a->quota };
}

int account_watch(struct account *a, void (*fn)(void *arg), void *arg, uint64_t *id)
{
	struct stored_name name = head_name(a->s->id);

	return engine_watch(a->e, name_slice(&name), fn, arg, id);
}

void account_unwatch(struct account *a, uint64_t id)
{
	engine_unwatch(a->e, id);
}

const struct slice *account_keywords(const struct account *a, size_t *count)
{
	*count = a->s->keyword_count;
	return a->s->keywords;
}

/* ---- commits ---- */

#define COMMIT_ARENA_BYTES (8u << 20)
#define RACES_MAX	   200u
#define FAILURES_MAX	   3u

void attempt_begin(struct attempt *t, struct account *a)
{
	*t = (struct attempt){ .a = a };
	world_random(a->w, &t->nonce, sizeof(t->nonce));
}

/* Does the journal hold a commit with this attempt's nonce? */
static bool attempt_landed(const struct attempt *t)
{
	const struct state *s = t->a->s;

	for (size_t i = s->journal_count; i > 0; i--) {
		const struct journal_part *p = &s->journal[i - 1];
		struct reader r = reader_of(slice_of(p->bytes, p->len));

		if (p->modseq < t->unknown_from)
			break;
		if (rd_be64(&r) == t->nonce)
			return true;
	}
	return false;
}

bool attempt_again(struct attempt *t, enum mailbox_result *r)
{
	struct state *s = t->a->s;

	if (*r != MAILBOX_RACE && *r != MAILBOX_UNAVAILABLE)
		return false;
	enum mailbox_result tried = *r;

	if (tried == MAILBOX_UNAVAILABLE && !t->unknown) {
		t->unknown = true;
		t->unknown_from = s->h.modseq + 1;
	}
	*r = state_refresh(t->a);
	if (*r != MAILBOX_OK)
		return false;
	if (t->unknown && attempt_landed(t))
		return false;
	*r = MAILBOX_UNAVAILABLE;
	/* Trimmed away: it may have been ours, and doing it twice is worse than saying so. */
	if (t->unknown && s->h.journal_first > t->unknown_from)
		return false;
	if (tried == MAILBOX_UNAVAILABLE ? ++t->failures >= FAILURES_MAX : ++t->races >= RACES_MAX)
		return false;
	return true;
}

void commit_begin(struct commit *c, struct attempt *t, bool visible)
{
	const struct state *s = t->a->s;

	*c = (struct commit){ .a = t->a, .h = s->h, .visible = visible };
	arena_init(&c->arena, COMMIT_ARENA_BYTES);
	buf_init(&c->part, ENGINE_VALUE_BYTES_MAX);
	buf_init(&c->scratch, ENGINE_VALUE_BYTES_MAX);
	c->h.version++;
	c->h.nonce = t->nonce;
	if (visible) {
		c->h.modseq++;
		buf_be64(&c->part, t->nonce);
	}
	c->steps = arena_array(&c->arena, ENGINE_STEPS_MAX, sizeof(*c->steps));
	c->folders = arena_array(&c->arena, ENGINE_STEPS_MAX, sizeof(struct folder *));
	if (c->steps == NULL || c->folders == NULL) {
		c->err = MAILBOX_MEMORY;
		return;
	}
	c->steps[0] = (struct engine_step){ .kind = GUARD_KEY_EQUALS, .key = SLICE("h"),
					    .value = arena_dup(&c->arena, buf_slice(&s->head)) };
	c->steps[1] = (struct engine_step){ .kind = STEP_SET, .key = SLICE("h") };
	c->count = 2;
	c->bytes = 1024;
}

void commit_done(struct commit *c)
{
	for (size_t i = 0; i < c->folder_count; i++)
		folder_done(c->folders[i]);
	arena_done(&c->arena);
	buf_done(&c->part);
	buf_done(&c->scratch);
}

static void commit_step(struct commit *c, enum engine_step_kind kind, struct slice key, struct slice value)
{
	if (c->err != MAILBOX_OK)
		return;
	c->bytes += key.len + value.len;
	if (c->count == ENGINE_STEPS_MAX || c->bytes > ENGINE_OP_BYTES_MAX) {
		c->err = MAILBOX_LIMIT;
		return;
	}
	c->steps[c->count++] = (struct engine_step){ .kind = kind, .key = arena_dup(&c->arena, key),
						     .value = arena_dup(&c->arena, value) };
	if (c->arena.err != 0)
		c->err = MAILBOX_MEMORY;
}

void commit_set(struct commit *c, const struct stored_name *key, struct slice value)
{
	commit_step(c, STEP_SET, name_slice(key), value);
}

void commit_delete(struct commit *c, const struct stored_name *key)
{
	commit_step(c, STEP_DELETE, name_slice(key), (struct slice){ 0 });
}

struct folder *commit_folder(struct commit *c, uint32_t id)
{
	for (size_t i = 0; i < c->folder_count; i++)
		if (c->folders[i]->id == id)
			return c->folders[i];
	const struct folder *f = state_folder(c->a->s, id);

	if (c->err != MAILBOX_OK || f == NULL || c->folder_count == ENGINE_STEPS_MAX)
		return NULL;
	struct folder *copy = ARENA_NEW(&c->arena, struct folder);
	char *name = slice_strdup(slice_str(f->name));
	uint32_t *ranges = calloc(f->range_count + 2, sizeof(*ranges));

	if (copy == NULL || name == NULL || ranges == NULL) {
		free(name);
		free(ranges);
		c->err = MAILBOX_MEMORY;
		return NULL;
	}
	*copy = *f;
	copy->name = name;
	copy->ranges = ranges;
	memcpy(ranges, f->ranges, f->range_count * sizeof(*ranges));
	c->folders[c->folder_count++] = copy;
	return copy;
}

void commit_touch(struct commit *c, struct folder *f)
{
	must(c->visible);
	f->highestmodseq = c->h.modseq;
}

static void part_close(struct commit *c)
{
	struct stored_name key = key_journal(c->h.modseq, c->parts);

	if (c->part.err != 0)
		c->err = MAILBOX_LIMIT;
	commit_set(c, &key, buf_slice(&c->part));
	c->parts++;
	buf_reset(&c->part);
	buf_be64(&c->part, c->h.nonce);
}

/* One change, encoded in scratch, goes into the open part. */
static void part_add(struct commit *c)
{
	if (c->scratch.err != 0) {
		c->err = MAILBOX_LIMIT;
		return;
	}
	if (c->part.len + c->scratch.len > JOURNAL_VALUE_BYTES && c->part.len > sizeof(uint64_t))
		part_close(c);
	buf_blob(&c->part, buf_slice(&c->scratch));
}

static void change_head(struct commit *c, enum change_kind kind, uint32_t folder)
{
	must(c->visible);
	buf_reset(&c->scratch);
	buf_addc(&c->scratch, (uint8_t)kind);
	buf_varint(&c->scratch, folder);
}

void commit_change_add(struct commit *c, uint32_t folder, const struct message_info *m)
{
	change_head(c, CHANGE_ADD, folder);
	buf_varint(&c->scratch, m->uid);
	message_encode(&c->scratch, m);
	part_add(c);
}

#define LIST_ENTRIES 2500u	/* of at most 18 bytes: a change stays below a part */

void commit_change_flags(struct commit *c, uint32_t folder, const struct store_request *r,
			 const struct uid_range *ranges, size_t count)
{
	for (size_t at = 0; at < count;) {
		size_t n = count - at < LIST_ENTRIES ? count - at : LIST_ENTRIES;

		change_head(c, CHANGE_FLAGS, folder);
		buf_addc(&c->scratch, (uint8_t)r->mode);
		buf_addc(&c->scratch, r->flags);
		buf_varint(&c->scratch, r->keywords);
		buf_varint(&c->scratch, n);
		for (size_t end = at + n; at < end; at++) {
			buf_varint(&c->scratch, ranges[at].first);
			buf_varint(&c->scratch, ranges[at].last - ranges[at].first);
		}
		part_add(c);
	}
}

void commit_change_items(struct commit *c, enum change_kind kind, uint32_t folder,
			 const struct change_item *items, size_t count)
{
	for (size_t at = 0; at < count;) {
		size_t n = count - at < LIST_ENTRIES ? count - at : LIST_ENTRIES;

		change_head(c, kind, folder);
		buf_varint(&c->scratch, n);
		for (size_t end = at + n; at < end; at++) {
			buf_varint(&c->scratch, items[at].uid);
			buf_varint(&c->scratch, items[at].dead_bytes);
			buf_addc(&c->scratch, items[at].bucket);
			buf_varint(&c->scratch, items[at].fragment);
			buf_be32(&c->scratch, items[at].offset);
		}
		part_add(c);
	}
}

enum mailbox_result commit_submit(struct commit *c, struct attempt *t)
{
	struct state *s = c->a->s;
	struct stored_name object = head_name(s->id);

	for (size_t i = 0; i < c->folder_count; i++) {
		struct stored_name key = key_u32('n', c->folders[i]->id);

		buf_reset(&c->scratch);
		folder_encode(&c->scratch, c->folders[i]);
		if (c->scratch.err != 0)
			c->err = MAILBOX_LIMIT;
		commit_set(c, &key, buf_slice(&c->scratch));
	}
	if (c->visible)
		part_close(c);
	buf_reset(&c->scratch);
	header_encode(&c->scratch, &c->h);
	if (c->err != MAILBOX_OK)
		return c->err;
	c->steps[1].value = buf_slice(&c->scratch);
	const struct engine_op op = { .object = name_slice(&object), .steps = c->steps, .count = c->count,
				      .notify = c->visible ? name_slice(&object) : (struct slice){ 0 } };
	enum engine_result er = engine_apply(c->a->e, &op);

	if (er == ENGINE_GUARD)
		return MAILBOX_RACE;
	if (er != ENGINE_OK)
		return result_of(er);
	state_follow(s, c->steps, c->count);
	return MAILBOX_OK;
}

/* ---- counts ---- */

void folder_count_add(struct folder *f, const struct message_info *m)
{
	f->messages++;
	f->size += m->size;
	if (!(m->flags & FLAG_SEEN))
		f->unseen++;
	if (m->flags & FLAG_DELETED) {
		f->deleted++;
		f->deleted_size += m->size;
	}
}

void folder_count_remove(struct folder *f, const struct message_info *m)
{
	f->messages--;
	f->size -= m->size;
	if (!(m->flags & FLAG_SEEN))
		f->unseen--;
	if (m->flags & FLAG_DELETED) {
		f->deleted--;
		f->deleted_size -= m->size;
	}
}
