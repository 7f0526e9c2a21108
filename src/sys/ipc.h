/*
 * Channels between roles: numbered requests and replies over a SOCK_SEQPACKET pair.
 *
 * A message is: be32 length of what follows, u8 kind (request, reply, one-way), u8 type, be32 id,
 * payload; payloads are encoded field by field (struct buf) and decoded with a struct reader, never
 * by casting: each side treats the other as a stranger. At most IPC_MESSAGE_BYTES a message; larger
 * bytes go through the channel's rings (ring.h).
 *
 * What one round of the loop sends goes out together, in one packet at its end: under load a system
 * call and a wake-up of the peer serve many messages. A message with a descriptor goes alone.
 *
 * Requests are served each in a fiber of its own, so handlers are straight-line code. Of one
 * channel at most IPC_SERVED_MAX are served at a time: above that we stop reading, the peer's
 * messages wait in the socket and then in its own queue. So a peer that floods us slows itself
 * down, and costs us a bounded number of stacks.
 */
#pragma once
#include <stdbool.h>

#include "base/buf.h"
#include "sys/loop.h"
#include "sys/sys_limits.h"

#define IPC_LAZY_US 10000

struct ipc;
struct ipc_request {
	struct ipc *ipc;		/* NULL once the channel is gone: the reply is dropped */
	uint32_t id;
	uint8_t type;
	struct slice payload;		/* lives until the handler returns */
	int fd;				/* a descriptor that came along; the handler may take it (set to -1) */
	bool one_way;
};

struct ipc_callbacks {
	/* Runs in a fiber. For requests it calls ipc_reply exactly once. */
	void (*serve)(void *arg, struct ipc_request *req);
	/* The peer is gone; all pending calls have failed with -EPIPE. From the loop. */
	void (*closed)(void *arg, struct ipc *ipc);
};

/* Takes fd. `callbacks` is borrowed for ever. 0 or negative errno. */
MUST_USE int ipc_new(struct loop *l, int fd, const struct ipc_callbacks *callbacks, void *arg,
		     struct ipc **out);
/* Fails pending calls with -EPIPE, closes. NULL is fine. */
void ipc_free(struct ipc *ipc);

/*
 * Send a request and wait (fiber) for its reply. The reply's payload is appended to *reply.
 * 0; -EPIPE the peer died; -ETIMEDOUT no answer within timeout_us (it may still be carried
 * out); -EMSGSIZE payload too large.
 */
MUST_USE int ipc_call(struct ipc *ipc, uint8_t type, struct slice payload, int64_t timeout_us,
		      struct buf *reply);
/* A message without a reply; queued, never waits. fd (or -1) is duplicated to the peer. */
int ipc_send(struct ipc *ipc, uint8_t type, struct slice payload, int fd);
/* As ipc_send without a descriptor, but may wait IPC_LAZY_US for a message to travel with. */
int ipc_send_lazy(struct ipc *ipc, uint8_t type, struct slice payload);
/* As ipc_call, and receives a descriptor (or -1) with the reply. */
MUST_USE int ipc_call_fd(struct ipc *ipc, uint8_t type, struct slice payload, int send_fd,
			 int64_t timeout_us, struct buf *reply, int *got_fd);
int ipc_reply(struct ipc_request *req, struct slice payload);
int ipc_reply_fd(struct ipc_request *req, struct slice payload, int fd);
