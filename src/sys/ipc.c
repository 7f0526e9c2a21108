#include "sys/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/map.h"
#include "base/must.h"
#include "base/reader.h"
#include "sys/fiber.h"

#define LENGTH_BYTES	  4u
#define HEADER_BYTES	  (LENGTH_BYTES + 6u)
#define BATCH_BYTES	  (32u << 10)	/* enough to be worth a packet before the round is over */
#define RECEIVED_FDS	  8u		/* room to notice, and close, more than the one that we take */

enum message_kind { KIND_REQUEST = 1, KIND_REPLY, KIND_ONE_WAY };

struct queued {
	struct queued *next;
	int fd;				/* our duplicate, or -1 */
	size_t len;
	uint8_t bytes[];
};

struct call {
	struct map_node node;		/* hash = id */
	struct fiber_event done;
	struct buf *reply;
	int *got_fd;
	int rc;
};

struct served {
	struct ipc_request req;		/* req.ipc is the channel, NULL once it is gone */
	struct list link;		/* in ipc->served */
	void (*serve)(void *arg, struct ipc_request *req);
	void *arg;
	uint8_t bytes[];
};

struct ipc {
	struct loop *loop;
	struct io_watch watch;
	const struct ipc_callbacks *callbacks;
	void *arg;
	struct map calls;
	struct list served;
	unsigned served_count;
	bool full;			/* IPC_SERVED_MAX: not reading until half of them are done */
	uint32_t next_id;
	struct buf batch;		/* messages of this round, a packet to be */
	struct task batch_end;
	struct timer lazy;
	struct queued *out, **out_tail;	/* packets that the socket had no room for */
	size_t out_bytes;
	uint8_t *in;			/* IPC_MESSAGE_BYTES: the packet that was read last ... */
	struct slice rest;		/* ... and what of it was not looked at, since we were full */
	struct task go_on;
	bool broken;
	bool *freed;			/* set while a round of input runs, see on_input */
	struct task broke;
};

static void fail_calls(struct ipc *ipc)
{
	struct map_node *n;

	while ((n = map_any(&ipc->calls)) != NULL) {
		struct call *call = container_of(n, struct call, node);
		map_del(&ipc->calls, n);
		call->rc = -EPIPE;
		fiber_event_set(&call->done);
	}
}

static void drop_output(struct ipc *ipc)
{
	while (ipc->out != NULL) {
		struct queued *next = ipc->out->next;
		if (ipc->out->fd >= 0)
			close(ipc->out->fd);
		free(ipc->out);
		ipc->out = next;
	}
	ipc->out_tail = &ipc->out;
	ipc->out_bytes = 0;
	buf_reset(&ipc->batch);
	list_del(&ipc->batch_end.link);
	loop_timer_cancel(ipc->loop, &ipc->lazy);
}

static void tell_closed(struct task *t)
{
	struct ipc *ipc = container_of(t, struct ipc, broke);

	ipc->callbacks->closed(ipc->arg, ipc);
}

/* The peer is gone. The owner hears it from the loop, never from inside one of its own calls. */
static void break_channel(struct ipc *ipc)
{
	if (ipc->broken)
		return;
	ipc->broken = true;
	ipc->rest = (struct slice){ 0 };
	list_del(&ipc->go_on.link);
	loop_del(ipc->loop, &ipc->watch);
	drop_output(ipc);
	fail_calls(ipc);
	loop_defer(ipc->loop, &ipc->broke);
}

static void watch_again(struct ipc *ipc)
{
	loop_change(ipc->loop, &ipc->watch, (ipc->full ? 0u : (uint32_t)EPOLLIN) |
						    (ipc->out != NULL ? (uint32_t)EPOLLOUT : 0u));
}

/* 0, -EAGAIN, or the channel is broken. */
static int send_now(struct ipc *ipc, struct slice packet, int fd)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)packet.ptr, .iov_len = packet.len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	for (;;) {
		ssize_t n = sendmsg(ipc->watch.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN || errno == ENOBUFS)
			return -EAGAIN;
		break_channel(ipc);
		return -EPIPE;
	}
}

/* Send a packet, or keep a copy until there is room. 0 or a negative errno. */
static int send_packet(struct ipc *ipc, struct slice packet, int fd)
{
	if (ipc->out == NULL) {
		int rc = send_now(ipc, packet, fd);
		if (rc != -EAGAIN)
			return rc;
	}
	struct queued *q = malloc(sizeof(*q) + packet.len);
	if (q == NULL)
		return -ENOMEM;
	q->next = NULL;
	q->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0 && q->fd < 0) {
		free(q);
		return -errno;
	}
	q->len = packet.len;
	memcpy(q->bytes, packet.ptr, packet.len);
	*ipc->out_tail = q;
	ipc->out_tail = &q->next;
	ipc->out_bytes += q->len;
	watch_again(ipc);
	return 0;
}

static void send_batch(struct ipc *ipc)
{
	list_del(&ipc->batch_end.link);
	loop_timer_cancel(ipc->loop, &ipc->lazy);
	if (ipc->batch.len == 0)
		return;
	/* Its messages were accepted: rather no channel than one with a hole. */
	if (send_packet(ipc, buf_slice(&ipc->batch), -1) != 0)
		break_channel(ipc);
	buf_reset(&ipc->batch);
}

static void on_batch_end(struct task *t)
{
	send_batch(container_of(t, struct ipc, batch_end));
}

static void on_lazy(struct timer *t)
{
	send_batch(container_of(t, struct ipc, lazy));
}

static void add_message(struct buf *packet, enum message_kind kind, uint8_t type, uint32_t id,
			struct slice payload)
{
	buf_be32(packet, (uint32_t)(HEADER_BYTES - LENGTH_BYTES + payload.len));
	buf_addc(packet, (uint8_t)kind);
	buf_addc(packet, type);
	buf_be32(packet, id);
	buf_add(packet, payload);
}

enum when { WHEN_ROUND_ENDS, WHEN_SOMETHING_GOES };

static int send_message(struct ipc *ipc, enum message_kind kind, uint8_t type, uint32_t id,
			struct slice payload, int fd, enum when when)
{
	if (ipc->broken)
		return -EPIPE;
	if (payload.len > IPC_MESSAGE_BYTES - HEADER_BYTES)
		return -EMSGSIZE;
	if (ipc->out_bytes > IPC_QUEUED_BYTES_MAX)
		return -ENOBUFS;
	if (fd >= 0 || ipc->batch.len + HEADER_BYTES + payload.len > IPC_MESSAGE_BYTES)
		send_batch(ipc);
	if (ipc->broken)
		return -EPIPE;
	if (fd >= 0) {
		AUTO_BUF struct buf alone = BUF_INIT(IPC_MESSAGE_BYTES);
		add_message(&alone, kind, type, id, payload);
		return alone.err != 0 ? alone.err : send_packet(ipc, buf_slice(&alone), fd);
	}
	size_t before = ipc->batch.len;
	add_message(&ipc->batch, kind, type, id, payload);
	if (ipc->batch.err != 0) {
		ipc->batch.len = before;
		ipc->batch.err = 0;
		return -ENOMEM;
	}
	if (ipc->batch.len >= BATCH_BYTES)
		send_batch(ipc);
	else if (when == WHEN_ROUND_ENDS)
		loop_at_round_end(ipc->loop, &ipc->batch_end);
	else if (before == 0)
		loop_timer_set(ipc->loop, &ipc->lazy, IPC_LAZY_US);
	return ipc->broken ? -EPIPE : 0;
}

static void send_queued(struct ipc *ipc)
{
	while (ipc->out != NULL) {
		struct queued *q = ipc->out;
		int rc = send_now(ipc, slice_of(q->bytes, q->len), q->fd);
		if (rc != 0)
			return;		/* no room yet, or broken and the queue is dropped */
		ipc->out = q->next;
		if (ipc->out == NULL)
			ipc->out_tail = &ipc->out;
		ipc->out_bytes -= q->len;
		if (q->fd >= 0)
			close(q->fd);
		free(q);
	}
	watch_again(ipc);
}

static void count_served(struct ipc *ipc, bool more)
{
	ipc->served_count += more ? 1u : -1u;
	if (ipc->served_count >= IPC_SERVED_MAX)
		ipc->full = true;
	else if (ipc->served_count <= IPC_SERVED_MAX / 2)
		ipc->full = false;
	if (ipc->broken)
		return;
	if (!ipc->full && ipc->rest.len > 0)
		loop_defer(ipc->loop, &ipc->go_on);
	watch_again(ipc);
}

static void serve_fiber(void *arg)
{
	struct served *s = arg;

	s->serve(s->arg, &s->req);
	list_del(&s->link);
	if (s->req.ipc != NULL)
		count_served(s->req.ipc, false);
	if (s->req.fd >= 0)
		close(s->req.fd);
	free(s);
}

static void take_request(struct ipc *ipc, bool one_way, uint8_t type, uint32_t id,
			 struct slice payload, int fd)
{
	struct served *s = malloc(sizeof(*s) + payload.len);

	if (s == NULL) {
		if (fd >= 0)
			close(fd);
		break_channel(ipc);	/* cannot answer: fail loudly, both sides recover */
		return;
	}
	if (payload.len > 0)
		memcpy(s->bytes, payload.ptr, payload.len);
	s->req = (struct ipc_request){
		.ipc = ipc, .id = id, .type = type, .payload = slice_of(s->bytes, payload.len),
		.fd = fd, .one_way = one_way,
	};
	s->serve = ipc->callbacks->serve;
	s->arg = ipc->arg;
	list_init(&s->link);
	list_push_back(&ipc->served, &s->link);
	count_served(ipc, true);
	if (fiber_start(ipc->loop, serve_fiber, s) != 0) {
		list_del(&s->link);
		count_served(ipc, false);
		if (fd >= 0)
			close(fd);
		free(s);
		break_channel(ipc);
	}
}

static void take_reply(struct ipc *ipc, uint32_t id, struct slice payload, int fd)
{
	struct map_node *n = map_first(&ipc->calls, id);

	if (n != NULL) {
		struct call *call = container_of(n, struct call, node);
		map_del(&ipc->calls, n);
		if (call->reply != NULL)
			buf_add(call->reply, payload);
		if (call->got_fd != NULL && fd >= 0)
			*call->got_fd = TAKE_FD(fd);
		call->rc = call->reply == NULL ? 0 : call->reply->err;
		fiber_event_set(&call->done);
	}
	if (fd >= 0)
		close(fd);
}

/*
 * The descriptor that came with a message, or -1. Space for one int has room for two (CMSG_SPACE
 * rounds up), and a peer may send any number: all but one of a proper message are closed here.
 */
static int take_fd(struct msghdr *msg, bool *bad)
{
	int fds[RECEIVED_FDS], first = -1;
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		size_t n = c->cmsg_len < CMSG_LEN(0) ? 0 : (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || n > ARRAY_LEN(fds))
			continue;
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		for (size_t i = 0; i < n; i++) {
			if (count++ == 0)
				first = fds[i];
			else
				close(fds[i]);
		}
	}
	*bad = count > 1 || (msg->msg_flags & MSG_CTRUNC) != 0;
	return first;
}

/* The next message of a packet. False: it makes no sense. */
static bool take_message(struct ipc *ipc, int fd)
{
	struct reader r = reader_of(ipc->rest);
	struct reader m = reader_of(rd_bytes(&r, rd_be32(&r)));
	uint8_t kind = rd_u8(&m), type = rd_u8(&m);
	uint32_t id = rd_be32(&m);
	struct slice payload = rd_rest(&m);

	ipc->rest = rd_rest(&r);
	if (!r.bad && !m.bad && kind == KIND_REPLY && (fd < 0 || ipc->rest.len == 0)) {
		take_reply(ipc, id, payload, fd);
		return true;
	}
	if (!r.bad && !m.bad && (kind == KIND_REQUEST || kind == KIND_ONE_WAY) &&
	    (fd < 0 || ipc->rest.len == 0)) {
		take_request(ipc, kind == KIND_ONE_WAY, type, id, payload, fd);
		return true;
	}
	if (fd >= 0)
		close(fd);
	return false;
}

/* Read a packet into ipc->rest. >0 it came, 0 none now, <0 broken. */
static int receive(struct ipc *ipc, int *fd)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(RECEIVED_FDS * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = ipc->in, .iov_len = IPC_MESSAGE_BYTES };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n = recvmsg(ipc->watch.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	bool bad;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	*fd = take_fd(&msg, &bad);
	if (n == 0 || bad || (msg.msg_flags & MSG_TRUNC) != 0) {
		if (*fd >= 0)
			close(*fd);
		return -EPROTO;
	}
	ipc->rest = slice_of(ipc->in, (size_t)n);
	return 1;
}

/*
 * The messages of one packet; the loop calls again when there are more. Asking the socket at once
 * would mostly hear "no": the peer puts what it has into one.
 */
static void take_packet(struct ipc *ipc, uint32_t events)
{
	bool freed = false;
	int rc = 1, fd = -1;

	/* A handler may free the channel; `freed` lives here so that we notice. */
	ipc->freed = &freed;
	if ((events & EPOLLOUT) != 0)
		send_queued(ipc);
	if (!ipc->broken && !ipc->full && ipc->rest.len == 0 && events != 0)
		rc = receive(ipc, &fd);
	while (rc > 0 && !freed && !ipc->broken && !ipc->full && ipc->rest.len > 0) {
		rc = take_message(ipc, fd) ? 1 : -EPROTO;
		fd = -1;
	}
	/* The end is told again and again, and what still waits behind it nobody needs. */
	if (!freed && ipc->full && (events & (EPOLLHUP | EPOLLERR)) != 0)
		rc = -EPIPE;
	if (freed)
		return;
	ipc->freed = NULL;
	if (rc < 0)
		break_channel(ipc);
}

static void on_input(struct io_watch *w, uint32_t events)
{
	take_packet(container_of(w, struct ipc, watch), events);
}

static void on_go_on(struct task *t)
{
	take_packet(container_of(t, struct ipc, go_on), 0);
}

int ipc_new(struct loop *l, int fd, const struct ipc_callbacks *callbacks, void *arg,
	    struct ipc **out)
{
	struct ipc *ipc = calloc(1, sizeof(*ipc));

	if (ipc == NULL)
		return -ENOMEM;
	ipc->loop = l;
	ipc->watch = (struct io_watch){ .fd = fd, .events = EPOLLIN, .fn = on_input };
	ipc->callbacks = callbacks;
	ipc->arg = arg;
	ipc->out_tail = &ipc->out;
	list_init(&ipc->served);
	task_init(&ipc->broke, tell_closed);
	task_init(&ipc->batch_end, on_batch_end);
	task_init(&ipc->go_on, on_go_on);
	ipc->lazy.fn = on_lazy;
	buf_init(&ipc->batch, IPC_MESSAGE_BYTES);
	ipc->in = malloc(IPC_MESSAGE_BYTES);
	int rc = ipc->in == NULL ? -ENOMEM : loop_add(l, &ipc->watch);
	if (rc != 0) {
		free(ipc->in);
		free(ipc);
		return rc;
	}
	*out = ipc;
	return 0;
}

void ipc_free(struct ipc *ipc)
{
	if (ipc == NULL)
		return;
	if (ipc->freed != NULL)
		*ipc->freed = true;
	if (!ipc->broken)
		send_batch(ipc);
	if (!ipc->broken)
		loop_del(ipc->loop, &ipc->watch);
	list_del(&ipc->broke.link);
	list_del(&ipc->go_on.link);
	fail_calls(ipc);
	drop_output(ipc);
	list_for_each(it, &ipc->served) {
		struct served *s = list_entry(it, struct served, link);
		s->req.ipc = NULL;
		list_del(it);
	}
	map_done(&ipc->calls);
	close(ipc->watch.fd);
	buf_done(&ipc->batch);
	free(ipc->in);
	free(ipc);
}

int ipc_call_fd(struct ipc *ipc, uint8_t type, struct slice payload, int send_fd,
		int64_t timeout_us, struct buf *reply, int *got_fd)
{
	struct call call = { .reply = reply, .got_fd = got_fd, .rc = -ETIMEDOUT };

	if (got_fd != NULL)
		*got_fd = -1;
	if (ipc == NULL || ipc->broken)
		return -EPIPE;
	uint32_t id = ++ipc->next_id;
	int rc = map_add(&ipc->calls, &call.node, id);
	if (rc != 0)
		return rc;
	rc = send_message(ipc, KIND_REQUEST, type, id, payload, send_fd, WHEN_ROUND_ENDS);
	if (rc != 0) {
		if (!call.done.set)	/* break_channel has taken it out already */
			map_del(&ipc->calls, &call.node);
		return rc;
	}
	/* On success, -EPIPE and time-out alike, `ipc` may be gone when the wait is over. */
	if (!fiber_event_wait(&call.done, timeout_us))
		map_del(&ipc->calls, &call.node);
	return call.rc;
}

int ipc_call(struct ipc *ipc, uint8_t type, struct slice payload, int64_t timeout_us,
	     struct buf *reply)
{
	return ipc_call_fd(ipc, type, payload, -1, timeout_us, reply, NULL);
}

int ipc_send(struct ipc *ipc, uint8_t type, struct slice payload, int fd)
{
	if (ipc == NULL)
		return -EPIPE;
	return send_message(ipc, KIND_ONE_WAY, type, 0, payload, fd, WHEN_ROUND_ENDS);
}

int ipc_send_lazy(struct ipc *ipc, uint8_t type, struct slice payload)
{
	if (ipc == NULL)
		return -EPIPE;
	return send_message(ipc, KIND_ONE_WAY, type, 0, payload, -1, WHEN_SOMETHING_GOES);
}

int ipc_reply_fd(struct ipc_request *req, struct slice payload, int fd)
{
	if (req->ipc == NULL)
		return -EPIPE;
	return send_message(req->ipc, KIND_REPLY, req->type, req->id, payload, fd, WHEN_ROUND_ENDS);
}

int ipc_reply(struct ipc_request *req, struct slice payload)
{
	return ipc_reply_fd(req, payload, -1);
}
