/*
 * The engine across a channel: the same blocking calls, carried out by the store role.
 *
 * Client side: one struct remote a process, over the channel to store; one struct
 * remote_handle for each grant, which is a struct engine to everyone above. Calls wait for
 * the store to come back when it restarts. Reads are then repeated; an operation that had
 * been sent answers ENGINE_UNAVAILABLE, since nobody knows whether it was done.
 *
 * Server side: decodes, asks an `allow` function, calls the local engine, answers. Each request
 * runs in a fiber of its own. Everything a client sends is taken as hostile.
 */
#pragma once
#include "engine/engine.h"
#include "sys/ipc.h"

#define REMOTE_GRANT_BYTES 16u

struct loop;
struct remote;

struct remote_handle {
	struct engine engine;		/* engine_close does nothing: the handle is the caller's memory */
	struct remote *remote;
	uint8_t grant[REMOTE_GRANT_BYTES];
};

struct remote_options {
	int64_t timeout_us;		/* of a call, waiting for the store included; 0: 10 s */
};

/* 0 or -ENOMEM. No channel yet: calls wait for one until their time-out. */
MUST_USE int remote_new(struct loop *l, const struct remote_options *o, struct remote **out);
/* No call may be running. NULL is fine. */
void remote_free(struct remote *r);
/*
 * A channel to the store, new or after its restart; takes fd. Other messages that arrive over
 * it (auth's grants protocol has none of its own direction) are refused.
 */
MUST_USE int remote_set_channel(struct remote *r, int fd);
/* The channel itself, for auth's grant messages (roles/grants.h); NULL while there is none. */
struct ipc *remote_ipc(struct remote *r);
/* Called (from the loop) when a new channel is ready: auth sends its grants again. */
void remote_on_connect(struct remote *r, void (*fn)(void *arg), void *arg);

/* grant NULL: the channel's own rights (auth: directory; queue: queue objects). */
void remote_handle_init(struct remote_handle *h, struct remote *r,
			const uint8_t grant[REMOTE_GRANT_BYTES]);

/* ---- the store's side ---- */

enum remote_call {
	REMOTE_HELLO = 1,		/* client's ring; answered with the store's */
	REMOTE_APPLY,
	REMOTE_STAT,
	REMOTE_READ,
	REMOTE_KEYS,
	REMOTE_LIST,
	REMOTE_LEASE,
	REMOTE_UNLEASE,
	REMOTE_WATCH,			/* one-way */
	REMOTE_UNWATCH,			/* one-way */
	REMOTE_NOTIFY,			/* one-way, from the store */
};

enum remote_verdict {
	REMOTE_ALLOW,
	REMOTE_DENY,			/* the client gets ENGINE_DENIED */
	REMOTE_NOT_YET,			/* grants are not complete after a restart: the client asks again */
};

struct remote_access {
	enum remote_call call;
	const uint8_t *grant;		/* REMOTE_GRANT_BYTES; NULL: the channel's own rights */
	struct slice object;		/* list: the prefix; lease: the name */
	const struct engine_op *op;	/* REMOTE_APPLY only; decoded, within engine.h's limits */
	struct slice from, to;		/* REMOTE_KEYS: the range */
};

struct remote_server_callbacks {
	enum remote_verdict (*allow)(void *arg, const struct remote_access *access);
	/* A request type that is not enum remote_call, in its fiber; NULL: the channel ends. */
	void (*other)(void *arg, struct ipc_request *req);
	void (*closed)(void *arg);
};

struct remote_server;
/* Serve one channel; takes fd; callbacks are borrowed. 0 or negative errno. */
MUST_USE int remote_server_new(struct loop *l, struct engine *engine, int fd,
			       const struct remote_server_callbacks *callbacks, void *arg,
			       struct remote_server **out);
void remote_server_free(struct remote_server *s);
