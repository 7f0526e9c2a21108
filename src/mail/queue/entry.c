#include "mail/queue/entry.h"

#include <errno.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/must.h"
#include "base/reader.h"
#include "mail/queue/limits.h"

#define ENTRY_VERSION 1u

enum entry_flag { ENTRY_UTF8 = 1, ENTRY_DELAY_TOLD = 2, ENTRY_SHARED = 4 };

void queue_transaction(const struct queue_entry *e, uint8_t out[TRANSACTION_ID_BYTES])
{
	memcpy(out, e->id, TRANSACTION_ID_BYTES);
	out[0] ^= e->part;
}

void queue_key(int64_t due_us, const uint8_t id[QUEUE_ID_BYTES], uint8_t out[QUEUE_KEY_BYTES])
{
	out[0] = 'e';
	for (int i = 0; i < 8; i++)
		out[1 + i] = (uint8_t)((uint64_t)due_us >> (56 - 8 * i));
	memcpy(out + 9, id, QUEUE_ID_BYTES);
}

static void encode_tries(struct buf *out, const struct delivery_tries *t)
{
	buf_addc(out, t->count);
	buf_addc(out, t->overflow ? 1 : 0);
	for (unsigned i = 0; i < t->count; i++) {
		buf_addc(out, t->place[i].bucket);
		buf_be32(out, t->place[i].fragment);
	}
}

static void decode_tries(struct reader *rd, struct delivery_tries *t)
{
	*t = (struct delivery_tries){ .count = rd_u8(rd) };
	t->overflow = rd_u8(rd) != 0;
	if (t->count > DELIVERY_TRIES_MAX) {
		rd->bad = true;
		t->count = 0;
	}
	for (unsigned i = 0; i < t->count; i++) {
		t->place[i].bucket = rd_u8(rd);
		t->place[i].fragment = rd_be32(rd);
	}
}

void queue_entry_encode(struct buf *out, const struct queue_entry *e)
{
	buf_addc(out, ENTRY_VERSION);
	buf_addc(out, (uint8_t)((e->utf8 ? ENTRY_UTF8 : 0) | (e->delay_told ? ENTRY_DELAY_TOLD : 0) |
				(e->shared ? ENTRY_SHARED : 0)));
	buf_addc(out, e->ret);
	buf_addc(out, e->part);
	buf_be64(out, (uint64_t)e->created_us);
	buf_be64(out, (uint64_t)e->internaldate_s);
	buf_varint(out, e->attempts);
	buf_varint(out, e->body_bytes);
	buf_blob(out, e->sender);
	buf_blob(out, e->envid);
	buf_blob(out, e->trace);
	buf_varint(out, e->count);
	for (size_t i = 0; i < e->count; i++) {
		const struct queue_item *it = &e->items[i];
		buf_addc(out, it->state);
		buf_addc(out, it->notify);
		buf_blob(out, it->address);
		buf_blob(out, it->account);
		buf_blob(out, it->delivered_to);
		buf_blob(out, it->orcpt);
		buf_blob(out, it->status);
		encode_tries(out, &it->tries);
	}
}

static struct slice blob_max(struct reader *rd, size_t max)
{
	struct slice s = rd_blob(rd);

	if (s.len > max)
		rd->bad = true;
	return s;
}

bool queue_entry_decode(struct arena *arena, struct slice key, struct slice value,
			struct queue_entry *out)
{
	struct reader k = reader_of(key), rd = reader_of(value);
	struct queue_entry e = { 0 };

	if (key.len != QUEUE_KEY_BYTES || rd_u8(&k) != 'e')
		return false;
	e.due_us = (int64_t)rd_be64(&k);
	memcpy(e.id, rd_bytes(&k, QUEUE_ID_BYTES).ptr, QUEUE_ID_BYTES);
	if (rd_u8(&rd) != ENTRY_VERSION)
		return false;
	uint8_t flags = rd_u8(&rd);
	e.utf8 = (flags & ENTRY_UTF8) != 0;
	e.delay_told = (flags & ENTRY_DELAY_TOLD) != 0;
	e.shared = (flags & ENTRY_SHARED) != 0;
	e.ret = rd_u8(&rd);
	e.part = rd_u8(&rd);
	e.created_us = (int64_t)rd_be64(&rd);
	e.internaldate_s = (int64_t)rd_be64(&rd);
	e.attempts = (uint32_t)rd_varint_max(&rd, UINT32_MAX);
	e.body_bytes = rd_varint(&rd);
	e.sender = blob_max(&rd, QUEUE_ADDRESS_BYTES_MAX);
	e.envid = blob_max(&rd, QUEUE_ENVID_BYTES_MAX);
	e.trace = blob_max(&rd, QUEUE_TRACE_BYTES_MAX);
	e.count = (size_t)rd_varint_max(&rd, QUEUE_ENTRY_RECIPIENTS_MAX);
	e.items = rd.bad || e.count == 0 ? NULL : arena_array(arena, e.count, sizeof(*e.items));
	if (e.items == NULL && e.count > 0)
		return false;
	for (size_t i = 0; i < e.count && !rd.bad; i++) {
		struct queue_item *it = &e.items[i];
		it->state = rd_u8(&rd);
		it->notify = rd_u8(&rd);
		it->address = blob_max(&rd, QUEUE_ADDRESS_BYTES_MAX);
		it->account = blob_max(&rd, ACCOUNT_ID_BYTES);
		it->delivered_to = blob_max(&rd, QUEUE_ADDRESS_BYTES_MAX);
		it->orcpt = blob_max(&rd, QUEUE_ORCPT_BYTES_MAX);
		it->status = blob_max(&rd, QUEUE_STATUS_BYTES_MAX);
		decode_tries(&rd, &it->tries);
		if (it->account.len != ACCOUNT_ID_BYTES || it->state > QUEUE_STORED)
			return false;
	}
	if (!rd_end(&rd))
		return false;
	*out = e;
	return true;
}

void queue_shard_name(unsigned shard, char out[16])
{
	snprintf(out, 16, "q.%u", shard);
}

unsigned queue_shard_of(const uint8_t id[QUEUE_ID_BYTES])
{
	return id[QUEUE_ID_BYTES - 1] % QUEUE_SHARDS;
}

void queue_body_name(const uint8_t transaction[TRANSACTION_ID_BYTES], uint64_t chunk,
		     char out[QUEUE_BODY_NAME_BYTES])
{
	AUTO_BUF struct buf hex = BUF_INIT(64);

	hex_encode(&hex, slice_of(transaction, TRANSACTION_ID_BYTES));
	if (chunk == 0)
		snprintf(out, QUEUE_BODY_NAME_BYTES, "b.queue.%s", buf_cstr(&hex));
	else
		snprintf(out, QUEUE_BODY_NAME_BYTES, "b.queue.%s.%llu", buf_cstr(&hex),
			 (unsigned long long)chunk);
}

bool queue_body_parse(struct slice name, uint8_t transaction[TRANSACTION_ID_BYTES], uint64_t *chunk)
{
	AUTO_BUF struct buf id = BUF_INIT(TRANSACTION_ID_BYTES);
	struct slice hex, number;

	if (!slice_starts(name, SLICE("b.queue.")))
		return false;
	*chunk = 0;
	if (slice_cut(slice_from(name, strlen("b.queue.")), '.', &hex, &number) &&
	    (!slice_u64(number, UINT64_MAX, chunk) || *chunk == 0))
		return false;
	if (!hex_decode(&id, hex) || id.len != TRANSACTION_ID_BYTES)
		return false;
	memcpy(transaction, id.ptr, TRANSACTION_ID_BYTES);
	return true;
}

bool queue_is_of(const uint8_t id[QUEUE_ID_BYTES], const uint8_t transaction[TRANSACTION_ID_BYTES])
{
	/* The first byte differs by the part; the others are random enough. */
	return memcmp(id + 1, transaction + 1, QUEUE_ID_BYTES - 1) == 0;
}

/* ---- writing ---- */

static int errno_of(enum engine_result r)
{
	switch (r) {
	case ENGINE_OK:
		return 0;
	case ENGINE_FULL:
		return -ENOSPC;
	case ENGINE_DENIED:
		return -EACCES;
	case ENGINE_INVALID:
		return -EMSGSIZE;
	default:
		return -EAGAIN;
	}
}

static enum engine_result spool_chunk(struct queue_writer *w, const struct queue_spool *s,
				      struct slice bytes)
{
	uint64_t at = s->bytes % QUEUE_CHUNK_BYTES;
	AUTO_BUF struct buf created = BUF_INIT(8);
	enum engine_result r = ENGINE_UNAVAILABLE;
	char name[QUEUE_BODY_NAME_BYTES];
	struct engine_step steps[4];
	size_t n = 0;

	queue_body_name(s->transaction, s->bytes / QUEUE_CHUNK_BYTES, name);
	buf_be64(&created, (uint64_t)world_real_us(w->world));
	steps[n++] = (struct engine_step){ .kind = GUARD_LENGTH, .at = at };
	if (s->bytes == 0)
		steps[n++] = (struct engine_step){ .kind = GUARD_KEY_ABSENT, .key = SLICE("c") };
	steps[n++] = (struct engine_step){ .kind = STEP_WRITE, .value = bytes, .at = at };
	if (s->bytes == 0)
		steps[n++] = (struct engine_step){ .kind = STEP_SET, .key = SLICE("c"),
						   .value = buf_slice(&created) };
	const struct engine_op op = { .object = slice_str(name), .steps = steps, .count = n };
	for (unsigned tries = 0; tries < 3; tries++) {
		struct engine_stat now = { 0 };

		r = engine_apply(w->engine, &op);
		if (r != ENGINE_UNAVAILABLE && r != ENGINE_GUARD)
			return r;
		/* The answer was lost: did it happen? */
		enum engine_result sr = engine_stat(w->engine, slice_str(name), &now);
		if (sr == ENGINE_OK && now.length == at + bytes.len)
			return ENGINE_OK;
		if ((sr != ENGINE_OK && sr != ENGINE_ABSENT) || now.length != at)
			return ENGINE_UNAVAILABLE;
	}
	return r;
}

/* The body is whole: its summary, and when. */
static enum engine_result finish_spool(struct queue_writer *w, const struct queue_message *m,
				       int64_t now_us)
{
	AUTO_BUF struct buf finished = BUF_INIT(8);
	char name[QUEUE_BODY_NAME_BYTES];

	queue_body_name(m->transaction, 0, name);
	buf_be64(&finished, (uint64_t)now_us);
	struct engine_step steps[] = {
		/* Gone when the message took so long that the body was collected. */
		{ .kind = GUARD_LENGTH, .at = MIN(m->spool->bytes, (uint64_t)QUEUE_CHUNK_BYTES) },
		{ .kind = GUARD_KEY_ABSENT, .key = SLICE("f") },
		{ .kind = GUARD_KEY_ABSENT, .key = SLICE("s") },
		{ .kind = STEP_SET, .key = SLICE("f"), .value = buf_slice(&finished) },
		{ .kind = STEP_SET, .key = SLICE("s"), .value = m->summary },
	};
	struct engine_op op = { .object = slice_str(name), .steps = steps, .count = ARRAY_LEN(steps) };
	return engine_apply(w->engine, &op);
}

static enum engine_result write_body(struct queue_writer *w, const struct queue_message *m,
				     int64_t now_us)
{
	AUTO_BUF struct buf created = BUF_INIT(8);
	char name[QUEUE_BODY_NAME_BYTES];

	if (m->spool != NULL)
		return m->spool->err == 0 && m->spool->bytes > 0 ? finish_spool(w, m, now_us)
								  : ENGINE_INVALID;
	queue_body_name(m->transaction, 0, name);
	buf_be64(&created, (uint64_t)now_us);
	struct engine_step steps[] = {
		{ .kind = GUARD_ABSENT },
		{ .kind = GUARD_KEY_ABSENT, .key = SLICE("c") },
		{ .kind = GUARD_KEY_ABSENT, .key = SLICE("s") },
		{ .kind = STEP_WRITE, .value = m->body, .at = 0 },
		{ .kind = STEP_SET, .key = SLICE("c"), .value = buf_slice(&created) },
		{ .kind = STEP_SET, .key = SLICE("s"), .value = m->summary },
	};
	struct engine_op op = { .object = slice_str(name), .steps = steps, .count = ARRAY_LEN(steps) };
	return engine_apply(w->engine, &op);
}

static enum engine_result write_entry(struct queue_writer *w, const struct queue_entry *e)
{
	AUTO_BUF struct buf value = BUF_INIT(ENGINE_VALUE_BYTES_MAX);
	uint8_t key[QUEUE_KEY_BYTES];
	char name[16];

	queue_entry_encode(&value, e);
	if (value.err != 0)
		return ENGINE_INVALID;
	queue_key(e->due_us, e->id, key);
	queue_shard_name(queue_shard_of(e->id), name);
	struct engine_step steps[] = {
		{ .kind = GUARD_KEY_ABSENT, .key = slice_of(key, sizeof(key)) },
		{ .kind = STEP_SET, .key = slice_of(key, sizeof(key)), .value = buf_slice(&value) },
	};
	struct engine_op op = { .object = slice_str(name), .steps = steps, .count = ARRAY_LEN(steps),
				.notify = slice_str(name) };
	return engine_apply(w->engine, &op);
}

static void take_recipient(struct queue_item *it, const struct queue_recipient *r)
{
	*it = (struct queue_item){
		.address = slice_head(r->address, QUEUE_ADDRESS_BYTES_MAX),
		.account = r->account,
		.delivered_to = slice_head(r->delivered_to, QUEUE_ADDRESS_BYTES_MAX),
		.orcpt = slice_head(r->orcpt, QUEUE_ORCPT_BYTES_MAX),
		.notify = (uint8_t)r->notify,
		.tries = r->tries,
	};
	switch (r->reason) {
	case QUEUE_RETRY:
		it->state = QUEUE_WAITING;
		it->status = SLICE("4.3.0 the store did not answer in time");
		break;
	case QUEUE_OVER_QUOTA:
		it->state = QUEUE_FAILED;
		it->status = SLICE("5.2.2 the mailbox is full");
		break;
	case QUEUE_DELIVERED:
		it->state = QUEUE_STORED;
		it->status = SLICE("2.1.5 delivered to the mailbox");
		break;
	}
}

int queue_spool_write(void *writer, struct queue_spool *s, struct slice bytes)
{
	while (bytes.len > 0 && s->err == 0) {
		struct slice now = slice_head(bytes, QUEUE_CHUNK_BYTES -
							     (size_t)(s->bytes % QUEUE_CHUNK_BYTES));

		s->err = errno_of(spool_chunk(writer, s, now));
		if (s->err == 0)
			s->bytes += now.len;
		bytes = slice_from(bytes, now.len);
	}
	return s->err;
}

void queue_spool_drop(void *writer, const struct queue_spool *s)
{
	struct queue_writer *w = writer;
	int64_t now_us = world_real_us(w->world);
	struct queue_entry e = { .due_us = now_us, .created_us = now_us, .body_bytes = s->bytes };

	/* Not even begun? An outcome that is not known may still be a body: the collection sees to it. */
	if (s->bytes == 0)
		return;
	memcpy(e.id, s->transaction, sizeof(e.id));
	if (write_entry(w, &e) != ENGINE_OK)
		return;			/* collected in an hour */
}

int queue_enqueue(void *writer, const struct queue_message *m)
{
	struct queue_writer *w = writer;
	int64_t now_us = world_real_us(w->world);

	if (m->sender.len > QUEUE_ADDRESS_BYTES_MAX || m->trace.len > QUEUE_TRACE_BYTES_MAX)
		return -EMSGSIZE;
	enum engine_result r = write_body(w, m, now_us);
	if (r != ENGINE_OK)
		return errno_of(r);
	for (size_t from = 0; from < m->count; from += QUEUE_ENTRY_RECIPIENTS_MAX) {
		struct queue_item items[QUEUE_ENTRY_RECIPIENTS_MAX];
		struct queue_entry e = {
			.due_us = now_us, .created_us = now_us, .utf8 = m->utf8, .ret = (uint8_t)m->ret,
			.shared = m->count > QUEUE_ENTRY_RECIPIENTS_MAX,
			.sender = m->sender, .envid = slice_head(m->envid, QUEUE_ENVID_BYTES_MAX),
			.trace = m->trace, .internaldate_s = m->internaldate_s,
			.body_bytes = m->spool != NULL ? m->spool->bytes : m->body.len, .items = items,
			.count = MIN(m->count - from, (size_t)QUEUE_ENTRY_RECIPIENTS_MAX),
		};
		for (size_t i = 0; i < e.count; i++) {
			must(m->recipients[from + i].account.len == ACCOUNT_ID_BYTES);
			take_recipient(&items[i], &m->recipients[from + i]);
		}
		memcpy(e.id, m->transaction, sizeof(e.id));
		e.part = (uint8_t)(from / QUEUE_ENTRY_RECIPIENTS_MAX);
		e.id[0] ^= e.part;
		r = write_entry(w, &e);
		if (r != ENGINE_OK)
			return errno_of(r);
	}
	return 0;
}
