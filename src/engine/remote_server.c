#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/map.h"
#include "base/must.h"
#include "base/reader.h"
#include "engine/remote.h"
#include "engine/remote_proto.h"
#include "sys/fiber.h"
#include "sys/ring.h"

#define WATCHES_MAX 200000u		/* a channel; 100,000 idle sessions and some air */
#define LEASE_US_MAX (3600ll * 1000000)

struct server_watch {
	struct map_node node;		/* hash = the client's id */
	struct remote_server *server;
	uint64_t client_id, engine_id;
};

struct remote_server {
	unsigned refs;			/* the owner, and each request under way */
	struct ipc *ipc;		/* NULL: closed */
	struct engine *engine;
	const struct remote_server_callbacks *callbacks;
	void *arg;
	struct ring from_client, to_client;
	bool ready;
	struct map watches;
};

static void server_unref(struct remote_server *s)
{
	if (--s->refs > 0)
		return;
	ring_done(&s->from_client);
	ring_done(&s->to_client);
	map_done(&s->watches);
	free(s);
}

static void forget_watches(struct remote_server *s)
{
	struct map_node *n;

	while ((n = map_any(&s->watches)) != NULL) {
		struct server_watch *w = container_of(n, struct server_watch, node);
		engine_unwatch(s->engine, w->engine_id);
		map_del(&s->watches, n);
		free(w);
	}
}

static void reply_result(struct ipc_request *req, uint8_t result)
{
	if (ipc_reply(req, slice_of(&result, 1)) != 0)
		return;			/* the client is gone, or will time out */
}

/* A reply with bytes, inline or in the store's ring where the client has made room. */
static void reply_bytes(struct remote_server *s, struct ipc_request *req, uint32_t answer_max,
			uint32_t ring_at_offset, struct slice bytes)
{
	AUTO_BUF struct buf b = BUF_INIT(IPC_MESSAGE_BYTES);
	bool in_ring = answer_max > REMOTE_INLINE_BYTES && bytes.len > REMOTE_INLINE_BYTES;

	if (bytes.len > answer_max) {
		reply_result(req, ENGINE_INVALID);
		return;
	}
	if (in_ring) {
		struct slice room = ring_at(&s->to_client, ring_at_offset, (uint32_t)bytes.len);
		if (room.ptr == NULL) {
			reply_result(req, ENGINE_INVALID);
			return;
		}
		memcpy(s->to_client.map + ring_at_offset, bytes.ptr, bytes.len);
	}
	buf_addc(&b, ENGINE_OK);
	buf_addc(&b, in_ring ? PLACE_RING : PLACE_INLINE);
	buf_be32(&b, (uint32_t)bytes.len);
	if (!in_ring)
		buf_add(&b, bytes);
	if (b.err != 0)
		reply_result(req, ENGINE_INVALID);
	else if (ipc_reply(req, buf_slice(&b)) != 0)
		return;
}

/* Ask; on anything but ALLOW the request is answered. */
static bool allowed(struct remote_server *s, struct ipc_request *req,
		    const struct remote_access *access)
{
	switch (s->callbacks->allow(s->arg, access)) {
	case REMOTE_ALLOW:
		return true;
	case REMOTE_NOT_YET:
		reply_result(req, REMOTE_AGAIN);
		return false;
	case REMOTE_DENY:
		break;
	}
	reply_result(req, ENGINE_DENIED);
	return false;
}

struct request {
	struct reader rd;
	struct remote_access access;
	uint32_t answer_max, ring_offset;
};

static bool begin(struct request *r, struct ipc_request *req)
{
	*r = (struct request){ .rd = reader_of(req->payload) };
	r->access.call = (enum remote_call)req->type;
	uint8_t has_grant = rd_u8(&r->rd);
	if (has_grant == 1)
		r->access.grant = rd_bytes(&r->rd, REMOTE_GRANT_BYTES).ptr;
	return !r->rd.bad && has_grant <= 1;
}

static bool begin_read(struct request *r, struct ipc_request *req)
{
	if (!begin(r, req))
		return false;
	r->answer_max = rd_be32(&r->rd);
	r->ring_offset = rd_be32(&r->rd);
	return !r->rd.bad && r->answer_max <= REMOTE_ANSWER_MAX;
}

static bool name_fits(struct slice name)
{
	return name.len > 0 && name.len <= ENGINE_NAME_BYTES_MAX;
}

/* ---- requests ---- */

/*
 * Decode an operation. Values in the ring are copied to `copy` first: the client could change
 * them between check, checksum and write.
 */
static bool decode_op(struct remote_server *s, struct reader *rd, struct arena *arena,
		      struct engine_op *op)
{
	uint32_t at = rd_be32(rd), len = rd_be32(rd);
	struct slice ring = { 0 };

	if (len > 0) {
		if (len > ENGINE_OP_BYTES_MAX)
			return false;
		ring = ring_at(&s->from_client, at, len);
		if (ring.ptr == NULL)
			return false;
		ring = arena_dup(arena, ring);
	}
	struct reader in_ring = reader_of(ring);
	op->object = rd_blob(rd);
	op->notify = rd_blob(rd);
	op->count = (size_t)rd_varint_max(rd, ENGINE_STEPS_MAX);
	struct engine_step *steps = arena_array(arena, op->count, sizeof(*steps));
	if (steps == NULL || rd->bad || !name_fits(op->object) ||
	    op->notify.len > ENGINE_NAME_BYTES_MAX)
		return false;
	for (size_t i = 0; i < op->count && !rd->bad && !in_ring.bad; i++) {
		uint8_t kind = rd_u8(rd);
		if (kind < GUARD_EXISTS || kind > STEP_REMOVE)
			return false;
		steps[i].kind = (enum engine_step_kind)kind;
		steps[i].key = rd_blob(rd);
		steps[i].at = rd_varint(rd);
		uint64_t n = rd_varint_max(rd, (uint64_t)ENGINE_OP_BYTES_MAX << 1);
		steps[i].value = rd_bytes((n & 1) != 0 ? &in_ring : rd, (size_t)(n >> 1));
		if (steps[i].key.len > ENGINE_KEY_BYTES_MAX)
			return false;
	}
	op->steps = steps;
	return rd_end(rd) && !in_ring.bad;
}

static void serve_apply(struct remote_server *s, struct ipc_request *req)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(2 * ENGINE_OP_BYTES_MAX);
	struct request r;
	struct engine_op op = { 0 };

	if (!begin(&r, req) || !decode_op(s, &r.rd, &arena, &op)) {
		reply_result(req, ENGINE_INVALID);
		return;
	}
	r.access.object = op.object;
	r.access.op = &op;
	if (allowed(s, req, &r.access))
		reply_result(req, (uint8_t)engine_apply(s->engine, &op));
}

static void serve_stat(struct remote_server *s, struct ipc_request *req)
{
	struct request r;
	struct engine_stat st;
	AUTO_BUF struct buf b = BUF_INIT(64);

	if (!begin_read(&r, req) || !name_fits(r.access.object = rd_rest(&r.rd))) {
		reply_result(req, ENGINE_INVALID);
		return;
	}
	if (!allowed(s, req, &r.access))
		return;
	enum engine_result result = engine_stat(s->engine, r.access.object, &st);
	if (result != ENGINE_OK) {
		reply_result(req, (uint8_t)result);
		return;
	}
	buf_addc(&b, st.exists ? 1 : 0);
	buf_be64(&b, st.length);
	reply_bytes(s, req, r.answer_max, r.ring_offset, buf_slice(&b));
}

static void serve_read(struct remote_server *s, struct ipc_request *req)
{
	struct request r;
	bool ok = begin_read(&r, req);
	uint64_t at = rd_be64(&r.rd);
	uint32_t n = rd_be32(&r.rd);

	r.access.object = rd_rest(&r.rd);
	if (!ok || r.rd.bad || !name_fits(r.access.object) || n > r.answer_max) {
		reply_result(req, ENGINE_INVALID);
		return;
	}
	if (!allowed(s, req, &r.access))
		return;
	AUTO_BUF struct buf b = BUF_INIT(n);
	enum engine_result result = engine_read(s->engine, r.access.object, at, n, &b);
	if (result == ENGINE_OK && b.err != 0)
		result = ENGINE_UNAVAILABLE;
	if (result != ENGINE_OK)
		reply_result(req, (uint8_t)result);
	else
		reply_bytes(s, req, r.answer_max, r.ring_offset, buf_slice(&b));
}

/* Encode pairs until `max` bytes; *more becomes true when some did not fit. */
static void encode_pairs(struct buf *b, const struct engine_kv *kv, size_t count, bool more,
			 size_t max)
{
	size_t n = 0, bytes = 16;

	while (n < count && bytes + kv[n].key.len + kv[n].value.len + 20 <= max) {
		bytes += kv[n].key.len + kv[n].value.len + 20;
		n++;
	}
	buf_varint(b, n);
	buf_addc(b, more || n < count ? 1 : 0);
	for (size_t i = 0; i < n; i++) {
		buf_blob(b, kv[i].key);
		buf_blob(b, kv[i].value);
	}
}

static void serve_keys(struct remote_server *s, struct ipc_request *req)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(4 * REMOTE_ANSWER_MAX);
	struct request r;
	bool ok = begin_read(&r, req);
	uint32_t max_count = rd_be32(&r.rd), max_bytes = rd_be32(&r.rd);

	r.access.object = rd_blob(&r.rd);
	r.access.from = rd_blob(&r.rd);
	r.access.to = rd_blob(&r.rd);
	if (!ok || !rd_end(&r.rd) || !name_fits(r.access.object) ||
	    r.access.from.len > ENGINE_KEY_BYTES_MAX || r.access.to.len > ENGINE_KEY_BYTES_MAX) {
		reply_result(req, ENGINE_INVALID);
		return;
	}
	if (!allowed(s, req, &r.access))
		return;
	struct engine_kv *kv = NULL;
	size_t count = 0;
	bool more = false;
	enum engine_result result = engine_keys(s->engine, r.access.object, r.access.from,
						r.access.to, max_count,
						MIN(max_bytes, r.answer_max), &arena, &kv, &count,
						&more);
	if (result != ENGINE_OK) {
		reply_result(req, (uint8_t)result);
		return;
	}
	AUTO_BUF struct buf b = BUF_INIT(r.answer_max);
	encode_pairs(&b, kv, count, more, r.answer_max);
	reply_bytes(s, req, r.answer_max, r.ring_offset, buf_slice(&b));
}

static void serve_list(struct remote_server *s, struct ipc_request *req)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(4 * REMOTE_ANSWER_MAX);
	struct request r;
	bool ok = begin_read(&r, req);
	uint32_t max_count = rd_be32(&r.rd);
	struct slice after, *names = NULL;
	size_t count = 0;

	r.access.object = rd_blob(&r.rd);
	after = rd_blob(&r.rd);
	if (!ok || !rd_end(&r.rd) || r.access.object.len > ENGINE_NAME_BYTES_MAX ||
	    after.len > ENGINE_NAME_BYTES_MAX) {
		reply_result(req, ENGINE_INVALID);
		return;
	}
	if (!allowed(s, req, &r.access))
		return;
	max_count = MIN(max_count, r.answer_max / (ENGINE_NAME_BYTES_MAX + 20));
	enum engine_result result = engine_list(s->engine, r.access.object, after, max_count,
						&arena, &names, &count);
	struct engine_kv *kv = arena_array(&arena, count, sizeof(*kv));
	if (result == ENGINE_OK && kv == NULL)
		result = ENGINE_UNAVAILABLE;
	if (result != ENGINE_OK) {
		reply_result(req, (uint8_t)result);
		return;
	}
	for (size_t i = 0; i < count; i++)
		kv[i].key = names[i];
	AUTO_BUF struct buf b = BUF_INIT(r.answer_max);
	encode_pairs(&b, kv, count, false, r.answer_max);
	reply_bytes(s, req, r.answer_max, r.ring_offset, buf_slice(&b));
}

static void serve_lease(struct remote_server *s, struct ipc_request *req)
{
	struct request r;
	bool ok = begin_read(&r, req);
	uint64_t duration_us = rd_be64(&r.rd);
	struct slice owner;

	r.access.object = rd_blob(&r.rd);
	owner = rd_blob(&r.rd);
	if (!ok || !rd_end(&r.rd) || !name_fits(r.access.object) || owner.len == 0 ||
	    owner.len > ENGINE_NAME_BYTES_MAX || duration_us > LEASE_US_MAX) {
		reply_result(req, ENGINE_INVALID);
		return;
	}
	if (!allowed(s, req, &r.access))
		return;
	enum engine_result result =
		req->type == REMOTE_LEASE
			? engine_lease(s->engine, r.access.object, owner, (int64_t)duration_us)
			: engine_unlease(s->engine, r.access.object, owner);
	reply_result(req, (uint8_t)result);
}

static void on_notify(void *arg)
{
	struct server_watch *w = arg;
	AUTO_BUF struct buf b = BUF_INIT(16);

	buf_be64(&b, w->client_id);
	if (ipc_send(w->server->ipc, REMOTE_NOTIFY, buf_slice(&b), -1) != 0)
		return;			/* the client looks again on its own, once a minute */
}

static void serve_watch(struct remote_server *s, struct ipc_request *req)
{
	struct request r;
	bool ok = begin(&r, req);
	uint64_t id = rd_be64(&r.rd);

	r.access.object = rd_rest(&r.rd);
	if (!ok || r.rd.bad || !name_fits(r.access.object) || s->watches.count >= WATCHES_MAX ||
	    map_first(&s->watches, id) != NULL)
		return;
	/* Right after a restart grants may be on their way; a watch has nobody to repeat it. */
	enum remote_verdict verdict;
	for (int i = 0; (verdict = s->callbacks->allow(s->arg, &r.access)) == REMOTE_NOT_YET && i < 300; i++)
		fiber_sleep(20000);
	if (verdict != REMOTE_ALLOW || s->ipc == NULL)
		return;
	struct server_watch *w = calloc(1, sizeof(*w));
	if (w == NULL)
		return;
	w->server = s;
	w->client_id = id;
	if (map_add(&s->watches, &w->node, id) != 0) {
		free(w);
		return;
	}
	if (engine_watch(s->engine, r.access.object, on_notify, w, &w->engine_id) != 0) {
		map_del(&s->watches, &w->node);
		free(w);
	}
}

static void serve_unwatch(struct remote_server *s, struct ipc_request *req)
{
	struct reader rd = reader_of(req->payload);
	struct map_node *n = map_first(&s->watches, rd_be64(&rd));

	if (n == NULL || !rd_end(&rd))
		return;
	struct server_watch *w = container_of(n, struct server_watch, node);
	engine_unwatch(s->engine, w->engine_id);
	map_del(&s->watches, n);
	free(w);
}

static void serve_hello(struct remote_server *s, struct ipc_request *req)
{
	/* Once a channel; a second one could pull the ring from under a running request. */
	if (s->ready || req->fd < 0 || ring_map(&s->from_client, req->fd) != 0) {
		reply_result(req, ENGINE_INVALID);
		return;
	}
	req->fd = -1;			/* the ring has it */
	s->ready = ring_create(&s->to_client, RING_BYTES) == 0;
	uint8_t ok = s->ready ? ENGINE_OK : ENGINE_UNAVAILABLE;
	if (ipc_reply_fd(req, slice_of(&ok, 1), s->ready ? s->to_client.fd : -1) != 0)
		return;
}

static void serve(void *arg, struct ipc_request *req)
{
	struct remote_server *s = arg;

	s->refs++;
	if (req->type == REMOTE_HELLO) {
		serve_hello(s, req);
	} else if (req->type >= REMOTE_NOTIFY) {
		if (s->callbacks->other != NULL)
			s->callbacks->other(s->arg, req);
		else
			reply_result(req, ENGINE_INVALID);
	} else if (!s->ready) {
		reply_result(req, ENGINE_INVALID);
	} else {
		switch ((enum remote_call)req->type) {
		case REMOTE_APPLY:
			serve_apply(s, req);
			break;
		case REMOTE_STAT:
			serve_stat(s, req);
			break;
		case REMOTE_READ:
			serve_read(s, req);
			break;
		case REMOTE_KEYS:
			serve_keys(s, req);
			break;
		case REMOTE_LIST:
			serve_list(s, req);
			break;
		case REMOTE_LEASE:
		case REMOTE_UNLEASE:
			serve_lease(s, req);
			break;
		case REMOTE_WATCH:
			serve_watch(s, req);
			break;
		case REMOTE_UNWATCH:
			serve_unwatch(s, req);
			break;
		case REMOTE_HELLO:
		case REMOTE_NOTIFY:
			break;
		}
	}
	server_unref(s);
}

static void end_channel(struct remote_server *s)
{
	struct ipc *ipc = s->ipc;

	forget_watches(s);
	s->ipc = NULL;
	ipc_free(ipc);
}

static void closed(void *arg, struct ipc *ipc)
{
	struct remote_server *s = arg;

	end_channel(s);
	s->callbacks->closed(s->arg);
}

static const struct ipc_callbacks server_callbacks = { .serve = serve, .closed = closed };

int remote_server_new(struct loop *l, struct engine *engine, int fd_given,
		      const struct remote_server_callbacks *callbacks, void *arg,
		      struct remote_server **out)
{
	AUTO_FD int fd = fd_given;
	struct remote_server *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->refs = 1;
	s->engine = engine;
	s->callbacks = callbacks;
	s->arg = arg;
	s->from_client.fd = s->to_client.fd = -1;
	int rc = ipc_new(l, fd, &server_callbacks, s, &s->ipc);
	if (rc != 0) {
		free(s);
		return rc;
	}
	(void)TAKE_FD(fd);
	*out = s;
	return 0;
}

void remote_server_free(struct remote_server *s)
{
	if (s == NULL)
		return;
	if (s->ipc != NULL)
		end_channel(s);
	server_unref(s);
}
