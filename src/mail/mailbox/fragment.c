/*
 * Fragments (small messages) and streams (long ones): writing and reading bytes.
 *
 * A deliverer finds the end of a bucket with the head's merge cursor and stat alone. Bytes
 * are appended under two guards, "not sealed" and "this long", so an append that was
 * delayed can never land twice at different places or behind a seal.
 */
#include "base/must.h"
#include "mail/mailbox/internal.h"

#define APPEND_TRIES 200u

enum engine_result fragment_probe(struct engine *e, const char account[ACCOUNT_ID_BYTES],
				  uint8_t bucket, struct tail *tail)
{
	struct stored_name head = head_name(account), from = key_cursor(bucket),
			   to = key_cursor((uint8_t)(bucket + 1));
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 10);
	struct engine_kv *kv;
	struct engine_stat st;
	size_t count;
	bool more;
	struct cursor cursor = { 0 };

	tail->known = false;
	enum engine_result r = engine_keys(e, name_slice(&head), name_slice(&from), name_slice(&to), 1,
					   1024, &arena, &kv, &count, &more);

	if (r != ENGINE_OK)
		return r;
	if (count == 1 && !cursor_decode(kv[0].value, &cursor))
		return ENGINE_DAMAGED;
	for (uint32_t n = cursor.fragment; n < UINT32_MAX; n++) {
		struct stored_name name = fragment_name(account, bucket, n);

		r = engine_stat(e, name_slice(&name), &st);
		if (r != ENGINE_OK && r != ENGINE_ABSENT)
			return r;
		if (r == ENGINE_ABSENT)
			st = (struct engine_stat){ 0 };
		if (st.length < FRAGMENT_SEAL_BYTES) {
			tail->known = true;
			tail->fragment = n;
			tail->length = st.length;
			return ENGINE_OK;
		}
	}
	return ENGINE_FULL;
}

/*
 * The guard of an append that went alone failed: somebody appended, or sealed, or compaction removed
 * the fragment. The same length again means sealed (by compaction, before it was full); a shorter one
 * means that what we remember is old.
 */
static enum engine_result tail_again(struct engine *e, const char account[ACCOUNT_ID_BYTES],
				     uint8_t bucket, struct tail *tail)
{
	struct stored_name name = fragment_name(account, bucket, tail->fragment);
	struct engine_stat st = { 0 };
	enum engine_result r = engine_stat(e, name_slice(&name), &st);

	if (r == ENGINE_ABSENT)
		st = (struct engine_stat){ 0 };
	else if (r != ENGINE_OK)
		return r;
	if (st.length < tail->length || st.length >= FRAGMENT_SEAL_BYTES) {
		tail->known = false;
		return ENGINE_OK;
	}
	if (st.length > tail->length) {
		tail->length = st.length;
		return ENGINE_OK;
	}
	name = fragment_name(account, bucket, ++tail->fragment);
	r = engine_stat(e, name_slice(&name), &st);
	if (r == ENGINE_ABSENT)
		st = (struct engine_stat){ 0 };
	else if (r != ENGINE_OK)
		return r;
	tail->length = st.length;
	return ENGINE_OK;
}

static enum engine_result append_once(struct engine *e, const char account[ACCOUNT_ID_BYTES],
				      uint8_t bucket, const struct tail *tail, struct record *r,
				      const struct slice *body, size_t body_count, struct slice summary)
{
	struct stored_name object = fragment_name(account, bucket, tail->fragment), seal = key_seal(),
			   head = head_name(account);
	struct stored_name key = key_u32('m', (uint32_t)tail->length),
			   summary_key = key_u32('s', (uint32_t)tail->length);
	struct engine_step steps[12];
	AUTO_BUF struct buf value = BUF_INIT(1024);
	uint64_t at = tail->length;
	size_t n = 0;

	steps[n++] = (struct engine_step){ .kind = GUARD_KEY_ABSENT, .key = name_slice(&seal) };
	steps[n++] = (struct engine_step){ .kind = GUARD_LENGTH, .at = at };
	for (size_t i = 0; i < body_count && n < 8; i++) {
		if (body[i].len == 0)
			continue;
		steps[n++] = (struct engine_step){ .kind = STEP_WRITE, .value = body[i], .at = at };
		at += body[i].len;
	}
	/* An empty message takes a byte: its record needs an offset of its own. */
	if (at == tail->length)
		steps[n++] = (struct engine_step){ .kind = STEP_WRITE, .value = SLICE("\n"), .at = at++ };
	r->stored_bytes = (uint32_t)(at - tail->length);
	record_encode(&value, r);
	if (value.err != 0)
		return ENGINE_INVALID;
	steps[n++] = (struct engine_step){ .kind = STEP_SET, .key = name_slice(&key), .value = buf_slice(&value) };
	if (summary.len > 0)
		steps[n++] = (struct engine_step){ .kind = STEP_SET, .key = name_slice(&summary_key),
						   .value = summary };
	if (at >= FRAGMENT_SEAL_BYTES)
		steps[n++] = (struct engine_step){ .kind = STEP_SET, .key = name_slice(&seal) };
	const struct engine_op op = { .object = name_slice(&object), .steps = steps, .count = n,
				      .notify = r->kind == RECORD_DELIVERY ? name_slice(&head) :
									     (struct slice){ 0 } };
	return engine_apply(e, &op);
}

struct tail_waiter {
	struct tail_waiter *next;
	struct fiber_event event;
};

static void tail_wait(struct tail *tail)
{
	struct tail_waiter w = { .next = tail->waiters };

	must(fiber_self() != NULL);	/* without fibers nothing is ever under way */
	tail->waiters = &w;
	(void)fiber_event_wait(&w.event, -1);
}

static void tail_wake(struct tail *tail)
{
	struct tail_waiter *next, *w = tail->waiters;

	tail->waiters = NULL;
	for (; w != NULL; w = next) {
		next = w->next;
		fiber_event_set(&w->event);
	}
}

/* Wait until an append may start, and take its place: *mine. */
static enum engine_result tail_take(struct engine *e, const char account[ACCOUNT_ID_BYTES],
				    uint8_t bucket, struct tail *tail, uint32_t bytes,
				    const bool *stop, struct tail *mine)
{
	while (!tail->known || tail->alone) {
		if (tail->asking || tail->under_way > 0) {
			tail_wait(tail);
			continue;
		}
		if (tail->known)
			break;
		struct tail t = { 0 };

		tail->asking = true;
		enum engine_result r = fragment_probe(e, account, bucket, &t);

		tail->asking = false;
		tail->known = tail->alone = r == ENGINE_OK;
		tail->fragment = t.fragment;
		tail->length = t.length;
		if (r != ENGINE_OK) {
			tail_wake(tail);
			return r;
		}
	}
	if (stop != NULL && *stop) {
		tail_wake(tail);
		return ENGINE_UNAVAILABLE;
	}
	*mine = *tail;
	tail->under_way++;
	tail->length += bytes;
	/* An unwritten fragment is never remembered: it might come and go before we are back. */
	if (tail->length >= FRAGMENT_SEAL_BYTES)
		tail->known = false;
	return ENGINE_OK;
}

/* What the end of the append that took *mine tells of the tail. Not ENGINE_OK: give up. */
static enum engine_result tail_learn(struct engine *e, const char account[ACCOUNT_ID_BYTES],
				     uint8_t bucket, struct tail *tail, const struct tail *mine,
				     enum engine_result result)
{
	struct tail t = *mine;

	if (result == ENGINE_OK) {
		tail->alone = false;
	} else if (result == ENGINE_GUARD && mine->alone) {
		result = tail_again(e, account, bucket, &t);
		tail->known = result == ENGINE_OK && t.known;
		tail->fragment = t.fragment;
		tail->length = t.length;
	} else {
		tail->known = false;
		if (result == ENGINE_GUARD)
			result = ENGINE_OK;
	}
	tail->under_way--;
	tail_wake(tail);
	return result;
}

enum engine_result fragment_append(struct engine *e, const char account[ACCOUNT_ID_BYTES],
				   uint8_t bucket, struct tail *tail, struct record *r,
				   const struct slice *body, size_t body_count, struct slice summary,
				   const bool *stop, uint32_t *fragment, uint32_t *offset)
{
	size_t bytes = 0;

	for (size_t i = 0; i < body_count; i++)
		bytes += body[i].len;
	for (unsigned tries = 0; tries < APPEND_TRIES; tries++) {
		struct tail mine;
		enum engine_result er = tail_take(e, account, bucket, tail, (uint32_t)MAX(bytes, 1u), stop,
						  &mine);

		if (er != ENGINE_OK)
			return er;
		*fragment = mine.fragment;
		*offset = (uint32_t)mine.length;
		enum engine_result done = append_once(e, account, bucket, &mine, r, body, body_count, summary);

		er = tail_learn(e, account, bucket, tail, &mine, done);
		if (done == ENGINE_OK || er != ENGINE_OK)
			return er;
	}
	return ENGINE_UNAVAILABLE;
}

/* ---- streams ---- */

static enum engine_result chunk_write(struct engine *e, struct world *w,
				      const char account[ACCOUNT_ID_BYTES], const struct body_stream *st,
				      struct slice bytes)
{
	struct stored_name object =
		stream_name(account, st->id, (uint32_t)(st->length / STREAM_CHUNK_BYTES));
	uint64_t at = st->length % STREAM_CHUNK_BYTES;
	AUTO_BUF struct buf when = BUF_INIT(16);

	buf_be64(&when, (uint64_t)world_real_us(w));
	const struct engine_step steps[] = {
		{ .kind = STEP_WRITE, .value = bytes, .at = at },
		{ .kind = STEP_SET, .key = SLICE("t"), .value = buf_slice(&when) },
	};
	const struct engine_op op = { .object = name_slice(&object), .steps = steps, .count = 2 };
	enum engine_result r = ENGINE_UNAVAILABLE;

	for (unsigned tries = 0; tries < 3; tries++) {
		struct engine_stat now = { 0 };

		r = engine_apply(e, &op);
		if (r != ENGINE_UNAVAILABLE && r != ENGINE_GUARD)
			return r;
		enum engine_result sr = engine_stat(e, name_slice(&object), &now);

		if (sr != ENGINE_OK && sr != ENGINE_ABSENT)
			return sr;
		if (sr == ENGINE_OK && now.length == at + bytes.len)
			return ENGINE_OK;
		if (now.length != at)
			return ENGINE_UNAVAILABLE;
	}
	return ENGINE_UNAVAILABLE;
}

enum engine_result body_stream_write(struct engine *e, struct world *w, const char account[ACCOUNT_ID_BYTES],
				struct body_stream *st, struct slice bytes)
{
	while (bytes.len > 0) {
		size_t room = STREAM_CHUNK_BYTES - (size_t)(st->length % STREAM_CHUNK_BYTES);
		struct slice now = slice_head(bytes, room);
		enum engine_result r = chunk_write(e, w, account, st, now);

		if (r != ENGINE_OK)
			return r;
		st->length += now.len;
		bytes = slice_from(bytes, now.len);
	}
	return ENGINE_OK;
}

/* ---- reading ---- */

static enum mailbox_result read_fragment(struct account *a, const struct message_info *m, uint64_t at,
					 size_t n, struct buf *out)
{
	struct stored_name object = fragment_name(a->s->id, m->bucket, m->fragment);
	size_t before = out->len;
	enum engine_result er = engine_read(a->e, name_slice(&object), (m->offset & ~OFFSET_STREAM) + at, n,
					    out);

	if (out->err != 0)
		return MAILBOX_MEMORY;
	if (er != ENGINE_OK)
		return result_of(er);
	return out->len - before == n ? MAILBOX_OK : MAILBOX_DAMAGED;
}

enum mailbox_result body_stream_id(struct account *a, const struct message_info *m,
				   uint8_t id[EMAIL_ID_BYTES])
{
	AUTO_BUF struct buf marker = BUF_INIT(64);
	enum mailbox_result r = read_fragment(a, m, 0, EMAIL_ID_BYTES, &marker);

	if (r == MAILBOX_OK)
		memcpy(id, marker.ptr, EMAIL_ID_BYTES);
	return r;
}

enum mailbox_result body_read(struct account *a, const struct message_info *m, uint64_t at, size_t n,
			      struct buf *out)
{
	uint8_t id[EMAIL_ID_BYTES];

	if (at >= m->size)
		return MAILBOX_OK;
	if (n > m->size - at)
		n = (size_t)(m->size - at);
	if (!(m->offset & OFFSET_STREAM))
		return read_fragment(a, m, at, n, out);
	enum mailbox_result r = body_stream_id(a, m, id);

	while (r == MAILBOX_OK && n > 0) {
		struct stored_name object =
			stream_name(a->s->id, id, (uint32_t)(at / STREAM_CHUNK_BYTES));
		uint64_t in = at % STREAM_CHUNK_BYTES;
		size_t now = n < STREAM_CHUNK_BYTES - in ? n : (size_t)(STREAM_CHUNK_BYTES - in);
		size_t before = out->len;
		enum engine_result er = engine_read(a->e, name_slice(&object), in, now, out);

		if (out->err != 0)
			return MAILBOX_MEMORY;
		if (er != ENGINE_OK)
			return result_of(er);
		if (out->len - before != now)
			return MAILBOX_DAMAGED;
		at += now;
		n -= now;
	}
	return r;
}
