/* To the extension: calls, posts, kicks. */
#include <errno.h>
#include <string.h>

#include "spine/message/bpf.h"
#include "spine/message/channel.h"

/* In place: m may be a slot of the ring. What args leave over keeps what it had, which is ours. */
static void fill(struct spine_message *m, uint16_t handler, uint8_t kind, uint32_t seq, const void *args,
		 size_t bytes)
{
	m->handler = handler;
	m->kind = kind;
	m->length = (uint8_t)bytes;
	m->seq = seq;
	m->sender = 0;
	if (bytes > 0)
		memcpy(m->args, args, bytes);
}

static int call(struct spine_channel *c, uint16_t handler, uint8_t kind, void *args, size_t bytes)
{
	struct spine_message m;
	int result, err;

	if (c->fd.call < 0)
		return -ENOTSUP;
	if (bytes > SPINE_ARGS_BYTES)
		return -EMSGSIZE;
	memset(m.args, 0, sizeof(m.args));
	fill(&m, handler, kind, __atomic_add_fetch(&c->seq, 1, __ATOMIC_RELAXED), args, bytes);
	err = bpf_run(c->fd.call, &m, sizeof(m), &result);
	__atomic_add_fetch(&c->counts.calls, 1, __ATOMIC_RELAXED);
	if (err < 0)
		return err;
	if (m.kind == SPINE_MESSAGE_ERROR || result < 0)
		return result < 0 ? result : -EPROTO;
	if (m.kind != SPINE_MESSAGE_REPLY)
		return -EPROTO;
	if (bytes > 0)
		memcpy(args, m.args, bytes);
	return result;
}

int spine_call(struct spine_channel *c, uint16_t handler, void *args, size_t bytes)
{
	return call(c, handler, SPINE_MESSAGE_CALL, args, bytes);
}

int spine_call_bulk(struct spine_channel *c, uint16_t handler, void *args, size_t bytes)
{
	return call(c, handler, SPINE_MESSAGE_BULK, args, bytes);
}

/* Data into a buffer of the inbox and its place into args. The buffer, held, or a negative errno. */
static int place(struct spine_channel *c, void *args, size_t bytes, const void *data, size_t data_bytes)
{
	struct spine_medium where;
	int buffer;

	if (c->inbox == NULL)
		return -ENOTSUP;
	if (bytes < sizeof(where) || data_bytes > SPINE_MEDIUM_BYTES)
		return -EMSGSIZE;
	buffer = inbox_medium_hold(&c->writer, c->inbox);
	if (buffer < 0)
		return buffer;
	if (data_bytes > 0)
		memcpy(c->inbox->medium[buffer], data, data_bytes);
	where = (struct spine_medium){ (uint32_t)buffer, (uint32_t)data_bytes };
	memcpy(args, &where, sizeof(where));
	return buffer;
}

int spine_call_medium(struct spine_channel *c, uint16_t handler, void *args, size_t bytes, const void *data,
		      size_t data_bytes)
{
	int buffer = place(c, args, bytes, data, data_bytes), result;

	if (buffer < 0)
		return buffer;
	result = call(c, handler, SPINE_MESSAGE_MEDIUM, args, bytes);
	inbox_medium_release(&c->writer, (uint32_t)buffer, false);
	return result;
}

/* Numbered by their places in the ring: one thread posts, so no atomic is needed. */
static int post(struct spine_channel *c, uint16_t handler, uint8_t kind, const void *args, size_t bytes)
{
	struct spine_message *slot;

	if (c->inbox == NULL || c->fd.drain < 0)
		return -ENOTSUP;
	if (bytes > SPINE_ARGS_BYTES)
		return -EMSGSIZE;
	slot = inbox_slot(&c->writer, c->inbox);
	if (slot == NULL)
		return -ENOBUFS;
	fill(slot, handler, kind, c->writer.head + 1, args, bytes);
	inbox_publish(&c->writer, c->inbox);
	c->counts.posts++;
	return 0;
}

int spine_post(struct spine_channel *c, uint16_t handler, const void *args, size_t bytes)
{
	return post(c, handler, SPINE_MESSAGE_POST, args, bytes);
}

int spine_post_bulk(struct spine_channel *c, uint16_t handler, const void *args, size_t bytes)
{
	return post(c, handler, SPINE_MESSAGE_BULK, args, bytes);
}

int spine_post_medium(struct spine_channel *c, uint16_t handler, void *args, size_t bytes, const void *data,
		      size_t data_bytes)
{
	int buffer = place(c, args, bytes, data, data_bytes), err;

	if (buffer < 0)
		return buffer;
	err = post(c, handler, SPINE_MESSAGE_MEDIUM, args, bytes);
	inbox_medium_release(&c->writer, (uint32_t)buffer, err == 0);
	return err;
}

int spine_kick(struct spine_channel *c)
{
	int taken, err;

	if (c->fd.drain < 0)
		return -ENOTSUP;
	err = bpf_run(c->fd.drain, NULL, 0, &taken);
	c->counts.kicks++;
	return err < 0 ? err : taken;
}

uint32_t spine_credits(const struct spine_channel *c)
{
	return c->inbox == NULL ? 0 : inbox_credits(&c->writer, c->inbox);
}
