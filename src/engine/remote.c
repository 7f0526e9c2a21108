#include "engine/remote.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "base/map.h"
#include "base/must.h"
#include "base/reader.h"
#include "engine/remote_proto.h"
#include "sys/fiber.h"
#include "sys/ring.h"

#define TIMEOUT_US_DEFAULT (10 * 1000000)
#define AGAIN_SLEEP_US	   10000
#define QUARANTINE_US	   (600 * 1000000ll)

/* One channel with its rings. Calls hold a reference, since it may be replaced while they wait. */
struct conn {
	unsigned refs;
	struct ipc *ipc;		/* NULL: broken */
	struct ring to, from;
	bool ready;			/* the rings are exchanged */
	struct remote *remote;
	struct list space_waiters;	/* struct waiter */
	struct list quarantine;		/* struct late */
};

/*
 * Ring space of a call that timed out: the store may still write there, and must not write
 * into another call's answer. It is used again only long after.
 */
struct late {
	struct list link;
	struct ring *ring;
	uint32_t at, len;
	int64_t until_us;
};

struct waiter {
	struct list link;
	struct fiber_event event;
};

struct watch {
	struct map_node node;		/* hash = id */
	uint64_t id;
	uint8_t grant[REMOTE_GRANT_BYTES];
	bool has_grant;
	char object[ENGINE_NAME_BYTES_MAX];
	size_t object_len;
	void (*fn)(void *arg);
	void *arg;
};

struct remote {
	struct loop *loop;
	struct conn *conn;		/* NULL: none */
	struct list ready_waiters;	/* calls that wait for a channel */
	int64_t timeout_us;
	struct map watches;
	uint64_t next_watch;
	void (*on_connect)(void *arg);
	void *on_connect_arg;
};

static const uint8_t no_grant[REMOTE_GRANT_BYTES];

static void conn_unref(struct conn *c)
{
	if (--c->refs > 0)
		return;
	must(c->ipc == NULL);
	for (struct list *it = list_pop_front(&c->quarantine); it != NULL;
	     it = list_pop_front(&c->quarantine))
		free(list_entry(it, struct late, link));
	ring_done(&c->to);
	ring_done(&c->from);
	free(c);
}

static void wake_all(struct list *waiters)
{
	for (struct list *it = list_pop_front(waiters); it != NULL; it = list_pop_front(waiters))
		fiber_event_set(&list_entry(it, struct waiter, link)->event);
}

static bool wait_in(struct list *waiters, int64_t timeout_us)
{
	struct waiter w = { .event = { 0 } };

	list_push_back(waiters, &w.link);
	bool set = fiber_event_wait(&w.event, timeout_us);
	list_del(&w.link);
	return set;
}

static void drop_conn(struct remote *r)
{
	struct conn *c = r->conn;

	if (c == NULL)
		return;
	r->conn = NULL;
	struct ipc *ipc = c->ipc;
	c->ipc = NULL;
	wake_all(&c->space_waiters);
	ipc_free(ipc);
	conn_unref(c);
}

static void on_closed(void *arg, struct ipc *ipc)
{
	struct conn *c = arg;

	if (c->remote->conn == c) {
		drop_conn(c->remote);
		return;
	}
	c->ipc = NULL;
	ipc_free(ipc);
}

static void on_message(void *arg, struct ipc_request *req)
{
	struct conn *c = arg;
	struct reader rd = reader_of(req->payload);
	uint64_t id = rd_be64(&rd);

	if (req->type != REMOTE_NOTIFY || !rd_end(&rd))
		return;
	struct map_node *n = map_first(&c->remote->watches, id);
	if (n != NULL) {
		struct watch *w = container_of(n, struct watch, node);
		w->fn(w->arg);
	}
}

static const struct ipc_callbacks client_callbacks = { .serve = on_message, .closed = on_closed };

static void send_watch(struct conn *c, const struct watch *w)
{
	AUTO_BUF struct buf b = BUF_INIT(IPC_MESSAGE_BYTES);

	buf_addc(&b, w->has_grant ? 1 : 0);
	if (w->has_grant)
		buf_add(&b, slice_of(w->grant, sizeof(w->grant)));
	buf_be64(&b, w->id);
	buf_add(&b, slice_of(w->object, w->object_len));
	/* A lost message costs a late notice: watchers look again every minute anyway. */
	if (b.err == 0 && ipc_send(c->ipc, REMOTE_WATCH, buf_slice(&b), -1) != 0)
		return;
}

/* Exchange rings, then let the waiting calls go. */
static void hello_fiber(void *arg)
{
	struct conn *c = arg;
	struct remote *r = c->remote;
	int store_fd = -1;

	if (c->ipc != NULL &&
	    ipc_call_fd(c->ipc, REMOTE_HELLO, (struct slice){ 0 }, c->to.fd, r->timeout_us, NULL,
			&store_fd) == 0 &&
	    store_fd >= 0 && ring_map(&c->from, store_fd) == 0) {
		store_fd = -1;
		c->ready = ring_own_allocation(&c->from) == 0;
	}
	if (store_fd >= 0)
		close(store_fd);
	if (c->ready && r->conn == c) {
		wake_all(&r->ready_waiters);
		for (struct map_node *n = map_iter(&r->watches, NULL); n != NULL;
		     n = map_iter(&r->watches, n))
			send_watch(c, container_of(n, struct watch, node));
		/* What happened meanwhile is unknown: everyone looks again. */
		for (struct map_node *n = map_iter(&r->watches, NULL); n != NULL;) {
			struct watch *w = container_of(n, struct watch, node);
			n = map_iter(&r->watches, n);
			w->fn(w->arg);
		}
		if (r->on_connect != NULL)
			r->on_connect(r->on_connect_arg);
	}
	conn_unref(c);
}

int remote_new(struct loop *l, const struct remote_options *o, struct remote **out)
{
	struct remote *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	r->loop = l;
	r->timeout_us = o != NULL && o->timeout_us > 0 ? o->timeout_us : TIMEOUT_US_DEFAULT;
	list_init(&r->ready_waiters);
	*out = r;
	return 0;
}

void remote_free(struct remote *r)
{
	struct map_node *n;

	if (r == NULL)
		return;
	drop_conn(r);
	while ((n = map_any(&r->watches)) != NULL) {
		map_del(&r->watches, n);
		free(container_of(n, struct watch, node));
	}
	map_done(&r->watches);
	free(r);
}

int remote_set_channel(struct remote *r, int fd_given)
{
	AUTO_FD int fd = fd_given;
	struct conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	list_init(&c->space_waiters);
	list_init(&c->quarantine);
	c->remote = r;
	c->to.fd = c->from.fd = -1;
	int rc = ring_create(&c->to, RING_BYTES);
	if (rc == 0)
		rc = ring_own_allocation(&c->to);
	if (rc == 0)
		rc = ipc_new(r->loop, fd, &client_callbacks, c, &c->ipc);
	if (rc != 0) {
		ring_done(&c->to);
		free(c);
		return rc;
	}
	(void)TAKE_FD(fd);
	drop_conn(r);
	r->conn = c;
	c->refs = 2;			/* r->conn and the fiber */
	rc = fiber_start(r->loop, hello_fiber, c);
	if (rc != 0) {
		c->refs--;
		drop_conn(r);
	}
	return rc;
}

struct ipc *remote_ipc(struct remote *r)
{
	return r->conn == NULL ? NULL : r->conn->ipc;
}

void remote_on_connect(struct remote *r, void (*fn)(void *arg), void *arg)
{
	r->on_connect = fn;
	r->on_connect_arg = arg;
}

/* ---- calls ---- */

struct exchange {
	struct remote_handle *handle;
	struct conn *conn;
	int64_t end_us;
	struct buf request;
	struct buf reply;
	uint32_t to_at, to_len;		/* allocated in conn->to; to_len 0: none */
	uint32_t from_at, from_len;
	struct slice answer;		/* of a read, after the result */
	uint8_t result;
};

static void quarantine(struct conn *c, struct ring *ring, uint32_t at, uint32_t *len)
{
	int64_t now = loop_now_us(c->remote->loop);
	struct late *l = *len == 0 ? NULL : calloc(1, sizeof(*l));

	list_for_each(it, &c->quarantine) {
		struct late *old = list_entry(it, struct late, link);
		if (old->until_us > now)
			break;
		ring_release(old->ring, old->at, old->len);
		list_del(it);
		free(old);
	}
	if (l != NULL) {		/* without memory the space is lost until the next channel */
		*l = (struct late){ .ring = ring, .at = at, .len = *len, .until_us = now + QUARANTINE_US };
		list_push_back(&c->quarantine, &l->link);
	}
	*len = 0;
}

static void exchange_release(struct exchange *x)
{
	struct conn *c = x->conn;

	if (c == NULL)
		return;
	if (x->to_len > 0)
		ring_release(&c->to, x->to_at, x->to_len);
	if (x->from_len > 0)
		ring_release(&c->from, x->from_at, x->from_len);
	x->to_len = x->from_len = 0;
	wake_all(&c->space_waiters);
	conn_unref(c);
	x->conn = NULL;
}

static void exchange_done(struct exchange *x)
{
	exchange_release(x);
	buf_done(&x->request);
	buf_done(&x->reply);
}
#define AUTO_EXCHANGE __attribute__((cleanup(exchange_done)))

static struct exchange exchange_of(struct engine *e)
{
	struct remote_handle *h = container_of(e, struct remote_handle, engine);

	return (struct exchange){
		.handle = h,
		.end_us = loop_now_us(h->remote->loop) + h->remote->timeout_us,
		.request = BUF_INIT(IPC_MESSAGE_BYTES),
		.reply = BUF_INIT(IPC_MESSAGE_BYTES),
	};
}

static int64_t left_us(const struct exchange *x)
{
	int64_t left = x->end_us - loop_now_us(x->handle->remote->loop);

	return left > 0 ? left : 0;
}

/* A channel that is ready, waited for. False at the time-out. */
static bool connect_exchange(struct exchange *x)
{
	struct remote *r = x->handle->remote;

	while (r->conn == NULL || !r->conn->ready)
		if (left_us(x) == 0 || !wait_in(&r->ready_waiters, left_us(x)))
			return false;
	x->conn = r->conn;
	x->conn->refs++;
	return true;
}

static bool ring_space(struct exchange *x, struct ring *ring, uint32_t n, uint32_t *at)
{
	while (!ring_alloc(ring, n, at)) {
		if (x->conn->ipc == NULL || left_us(x) == 0 ||
		    !wait_in(&x->conn->space_waiters, left_us(x)))
			return false;
	}
	return true;
}

static void begin_request(struct exchange *x)
{
	const uint8_t *grant = x->handle->grant;

	buf_reset(&x->request);
	if (memcmp(grant, no_grant, sizeof(no_grant)) == 0) {
		buf_addc(&x->request, 0);
	} else {
		buf_addc(&x->request, 1);
		buf_add(&x->request, slice_of(grant, REMOTE_GRANT_BYTES));
	}
}

/* Send and take the result byte. 0 or the errno of ipc_call. */
static int transact(struct exchange *x, enum remote_call call)
{
	buf_reset(&x->reply);
	if (x->request.err != 0)
		return x->request.err;
	int rc = ipc_call(x->conn->ipc, (uint8_t)call, buf_slice(&x->request), left_us(x), &x->reply);
	if (rc == -ETIMEDOUT) {
		quarantine(x->conn, &x->conn->to, x->to_at, &x->to_len);
		quarantine(x->conn, &x->conn->from, x->from_at, &x->from_len);
	}
	if (rc != 0)
		return rc;
	struct reader rd = reader_of(buf_slice(&x->reply));
	x->result = rd_u8(&rd);
	x->answer = rd_rest(&rd);
	return rd.bad ? -EPROTO : 0;
}

/* Answer to a read: where its bytes are. False when the store's answer makes no sense. */
static bool locate_answer(struct exchange *x)
{
	struct reader rd = reader_of(x->answer);
	uint8_t place = rd_u8(&rd);
	uint32_t len = rd_be32(&rd);

	if (rd.bad)
		return false;
	if (place == PLACE_INLINE) {
		x->answer = rd_rest(&rd);
		return x->answer.len == len;
	}
	if (place != PLACE_RING || len > x->from_len)
		return false;
	x->answer = ring_at(&x->conn->from, x->from_at, len);
	return true;
}

/*
 * A call that changes nothing: repeated until the time-out when the store goes away. `fields`
 * appends what follows the grant; it also gets the ring offset for the answer.
 */
static enum engine_result read_call(struct exchange *x, enum remote_call call, struct slice fields,
				    uint32_t answer_max)
{
	for (;;) {
		if (!connect_exchange(x))
			return ENGINE_UNAVAILABLE;
		x->from_len = answer_max > REMOTE_INLINE_BYTES ? answer_max : 0;
		if (x->from_len > 0 && !ring_space(x, &x->conn->from, x->from_len, &x->from_at)) {
			x->from_len = 0;
			exchange_release(x);
			return ENGINE_UNAVAILABLE;
		}
		begin_request(x);
		buf_be32(&x->request, answer_max);
		buf_be32(&x->request, x->from_at);
		buf_add(&x->request, fields);
		int rc = transact(x, call);
		if (rc == 0 && x->result != REMOTE_AGAIN) {
			if (x->result > ENGINE_INVALID)
				return ENGINE_UNAVAILABLE;
			if (x->result == ENGINE_OK && answer_max > 0 && !locate_answer(x))
				return ENGINE_UNAVAILABLE;
			return (enum engine_result)x->result;
		}
		exchange_release(x);
		if (rc == -EMSGSIZE)
			return ENGINE_INVALID;
		if (left_us(x) == 0)
			return ENGINE_UNAVAILABLE;
		if (rc == 0)
			fiber_sleep(AGAIN_SLEEP_US);
		else
			fiber_yield();
	}
}

static size_t op_value_bytes(const struct engine_op *op)
{
	size_t sum = 0;

	for (size_t i = 0; i < op->count; i++)
		sum += op->steps[i].value.len;
	return sum;
}

static bool op_fits(const struct engine_op *op)
{
	if (op->object.len == 0 || op->object.len > ENGINE_NAME_BYTES_MAX ||
	    op->notify.len > ENGINE_NAME_BYTES_MAX || op->count > ENGINE_STEPS_MAX ||
	    op_value_bytes(op) > ENGINE_OP_BYTES_MAX)
		return false;
	for (size_t i = 0; i < op->count; i++)
		if (op->steps[i].key.len > ENGINE_KEY_BYTES_MAX)
			return false;
	return true;
}

/* Append the operation; large values go to the ring region at `ring` when it is not NULL. */
static void encode_op(struct buf *b, const struct engine_op *op, uint8_t *ring)
{
	size_t at = 0;

	buf_blob(b, op->object);
	buf_blob(b, op->notify);
	buf_varint(b, op->count);
	for (size_t i = 0; i < op->count; i++) {
		const struct engine_step *s = &op->steps[i];
		bool in_ring = ring != NULL && s->value.len > REMOTE_VALUE_INLINE;
		buf_addc(b, (uint8_t)s->kind);
		buf_blob(b, s->key);
		buf_varint(b, s->at);
		buf_varint(b, s->value.len << 1 | (in_ring ? 1 : 0));
		if (!in_ring) {
			buf_add(b, s->value);
		} else {
			memcpy(ring + at, s->value.ptr, s->value.len);
			at += s->value.len;
		}
	}
}

static enum engine_result remote_apply(struct engine *e, const struct engine_op *op)
{
	AUTO_EXCHANGE struct exchange x = exchange_of(e);
	size_t bytes = op_value_bytes(op);

	if (!op_fits(op))
		return ENGINE_INVALID;
	for (;;) {
		if (!connect_exchange(&x))
			return ENGINE_UNAVAILABLE;
		uint8_t *ring = NULL;
		if (bytes > REMOTE_INLINE_BYTES) {
			if (!ring_space(&x, &x.conn->to, (uint32_t)bytes, &x.to_at))
				return ENGINE_UNAVAILABLE;
			x.to_len = (uint32_t)bytes;
			ring = x.conn->to.map + x.to_at;
		}
		begin_request(&x);
		buf_be32(&x.request, x.to_at);
		buf_be32(&x.request, x.to_len);
		encode_op(&x.request, op, ring);
		int rc = transact(&x, REMOTE_APPLY);
		if (rc == -EMSGSIZE)
			return ENGINE_INVALID;
		if (rc != 0)
			return ENGINE_UNAVAILABLE;
		if (x.result != REMOTE_AGAIN)
			return x.result > ENGINE_INVALID ? ENGINE_UNAVAILABLE
							 : (enum engine_result)x.result;
		exchange_release(&x);
		if (left_us(&x) == 0)
			return ENGINE_UNAVAILABLE;
		fiber_sleep(AGAIN_SLEEP_US);
	}
}

static enum engine_result remote_stat(struct engine *e, struct slice object,
				      struct engine_stat *out)
{
	AUTO_EXCHANGE struct exchange x = exchange_of(e);
	enum engine_result r = read_call(&x, REMOTE_STAT, object, 64);

	if (r != ENGINE_OK)
		return r;
	struct reader rd = reader_of(x.answer);
	bool exists = rd_u8(&rd) != 0;
	uint64_t length = rd_be64(&rd);
	if (!rd_end(&rd))
		return ENGINE_UNAVAILABLE;
	*out = (struct engine_stat){ .exists = exists, .length = length };
	return ENGINE_OK;
}

static enum engine_result remote_read(struct engine *e, struct slice object, uint64_t at, size_t n,
				      struct buf *out)
{
	size_t done = 0;

	/* Longer reads than one answer holds go in pieces; the ring is shared by all. */
	do {
		AUTO_EXCHANGE struct exchange x = exchange_of(e);
		AUTO_BUF struct buf fields = BUF_INIT(256);
		size_t part = MIN(n - done, (size_t)(1u << 20));
		buf_be64(&fields, at + done);
		buf_be32(&fields, (uint32_t)part);
		buf_add(&fields, object);
		enum engine_result r = read_call(&x, REMOTE_READ, buf_slice(&fields), (uint32_t)MAX(part, 1));
		if (r != ENGINE_OK)
			return r;
		if (x.answer.len > part)
			return ENGINE_UNAVAILABLE;
		buf_add(out, x.answer);
		if (x.answer.len < part)
			return ENGINE_OK;
		done += part;
	} while (done < n);
	return ENGINE_OK;
}

static enum engine_result decode_keys(struct slice answer, size_t max_count, struct arena *arena,
				      struct engine_kv **out, size_t *count, bool *more)
{
	/* One copy, then the slices point into it: the ring's bytes are not ours to keep. */
	struct slice own = arena_dup(arena, answer);
	struct reader rd = reader_of(own);
	uint64_t n = rd_varint_max(&rd, max_count);
	bool has_more = rd_u8(&rd) != 0;
	struct engine_kv *list = arena_array(arena, (size_t)n, sizeof(*list));

	if (list == NULL || (own.ptr == NULL && answer.len > 0))
		return ENGINE_INVALID;
	for (size_t i = 0; i < n && !rd.bad; i++) {
		list[i].key = rd_blob(&rd);
		list[i].value = rd_blob(&rd);
	}
	if (!rd_end(&rd))
		return ENGINE_UNAVAILABLE;
	*out = list;
	*count = (size_t)n;
	*more = has_more;
	return ENGINE_OK;
}

static enum engine_result remote_keys(struct engine *e, struct slice object, struct slice from,
				      struct slice to, size_t max_count, size_t max_bytes,
				      struct arena *arena, struct engine_kv **out, size_t *count,
				      bool *more)
{
	AUTO_EXCHANGE struct exchange x = exchange_of(e);
	AUTO_BUF struct buf fields = BUF_INIT(1024);
	/* Room for one largest value at least, or a range could stand still. */
	size_t most = max_count < 64 ? max_count * (ENGINE_VALUE_BYTES_MAX + 256) : SIZE_MAX;
	size_t want = MAX(MIN(max_bytes, most), ENGINE_VALUE_BYTES_MAX + 256u);
	uint32_t cap = (uint32_t)MIN(want, (size_t)REMOTE_ANSWER_MAX);

	buf_be32(&fields, (uint32_t)MIN(max_count, (size_t)UINT32_MAX));
	buf_be32(&fields, (uint32_t)MIN(max_bytes, (size_t)UINT32_MAX));
	buf_blob(&fields, object);
	buf_blob(&fields, from);
	buf_blob(&fields, to);
	enum engine_result r = read_call(&x, REMOTE_KEYS, buf_slice(&fields), cap);
	if (r != ENGINE_OK)
		return r;
	return decode_keys(x.answer, max_count, arena, out, count, more);
}

static enum engine_result remote_list(struct engine *e, struct slice prefix, struct slice after,
				      size_t max_count, struct arena *arena, struct slice **names,
				      size_t *count)
{
	AUTO_EXCHANGE struct exchange x = exchange_of(e);
	AUTO_BUF struct buf fields = BUF_INIT(1024);
	struct engine_kv *kv;
	bool more;

	buf_be32(&fields, (uint32_t)MIN(max_count, (size_t)UINT32_MAX));
	buf_blob(&fields, prefix);
	buf_blob(&fields, after);
	enum engine_result r = read_call(&x, REMOTE_LIST, buf_slice(&fields), REMOTE_ANSWER_MAX / 4);
	if (r == ENGINE_OK)
		r = decode_keys(x.answer, max_count, arena, &kv, count, &more);
	if (r != ENGINE_OK)
		return r;
	*names = arena_array(arena, *count, sizeof(**names));
	if (*names == NULL)
		return ENGINE_INVALID;
	for (size_t i = 0; i < *count; i++)
		(*names)[i] = kv[i].key;
	return ENGINE_OK;
}

static int remote_watch(struct engine *e, struct slice object, void (*fn)(void *arg), void *arg,
			uint64_t *id)
{
	struct remote_handle *h = container_of(e, struct remote_handle, engine);
	struct remote *r = h->remote;
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL || object.len > sizeof(w->object)) {
		free(w);
		return object.len > sizeof(w->object) ? -EINVAL : -ENOMEM;
	}
	w->id = ++r->next_watch;
	w->has_grant = memcmp(h->grant, no_grant, sizeof(no_grant)) != 0;
	memcpy(w->grant, h->grant, sizeof(w->grant));
	memcpy(w->object, object.ptr, object.len);
	w->object_len = object.len;
	w->fn = fn;
	w->arg = arg;
	if (map_add(&r->watches, &w->node, w->id) != 0) {
		free(w);
		return -ENOMEM;
	}
	if (r->conn != NULL && r->conn->ready)
		send_watch(r->conn, w);
	*id = w->id;
	return 0;
}

static void remote_unwatch(struct engine *e, uint64_t id)
{
	struct remote *r = container_of(e, struct remote_handle, engine)->remote;
	struct map_node *n = map_first(&r->watches, id);
	AUTO_BUF struct buf b = BUF_INIT(16);

	if (n == NULL)
		return;
	map_del(&r->watches, n);
	free(container_of(n, struct watch, node));
	buf_be64(&b, id);
	if (r->conn != NULL && r->conn->ready &&
	    ipc_send(r->conn->ipc, REMOTE_UNWATCH, buf_slice(&b), -1) != 0)
		return;			/* the channel breaks: its watches end with it */
}

static enum engine_result lease_call(struct engine *e, enum remote_call call, struct slice name,
				     struct slice owner, int64_t duration_us)
{
	AUTO_EXCHANGE struct exchange x = exchange_of(e);
	AUTO_BUF struct buf fields = BUF_INIT(1024);

	buf_be64(&fields, (uint64_t)duration_us);
	buf_blob(&fields, name);
	buf_blob(&fields, owner);
	return read_call(&x, call, buf_slice(&fields), 0);
}

static enum engine_result remote_lease(struct engine *e, struct slice name, struct slice owner,
				       int64_t duration_us)
{
	return lease_call(e, REMOTE_LEASE, name, owner, duration_us);
}

static enum engine_result remote_unlease(struct engine *e, struct slice name, struct slice owner)
{
	return lease_call(e, REMOTE_UNLEASE, name, owner, 0);
}

static void remote_close(struct engine *e)
{
}

static const struct engine_vtable remote_vtable = {
	.apply = remote_apply,
	.stat = remote_stat,
	.read = remote_read,
	.keys = remote_keys,
	.list = remote_list,
	.watch = remote_watch,
	.unwatch = remote_unwatch,
	.lease = remote_lease,
	.unlease = remote_unlease,
	.close = remote_close,
};

void remote_handle_init(struct remote_handle *h, struct remote *r,
			const uint8_t grant[REMOTE_GRANT_BYTES])
{
	*h = (struct remote_handle){ .engine = { .vt = &remote_vtable }, .remote = r };
	if (grant != NULL)
		memcpy(h->grant, grant, REMOTE_GRANT_BYTES);
}
