/*
 * What the supervisor and a role say to each other on the socket between them, and the two
 * programs on its ends. Messages are ipc (sys/ipc.h); payloads are listed here.
 */
#pragma once
#include "base/buf.h"
#include "roles/role.h"

struct ipc;
struct ipc_request;

enum supervise_message {
	/* supervisor -> role, one way */
	SUPERVISE_CONFIG = 1,		/* config_encode's bytes: at start, and at each reload after */
	SUPERVISE_LISTENER,		/* u8 listener_kind; with the descriptor */
	SUPERVISE_CHANNEL,		/* u8 role_id of the peer, be16 its instance; with the descriptor */
	SUPERVISE_POLICY,		/* u8 enum supervise_policy; with the descriptor */
	SUPERVISE_GO,			/* all that was there at start has been said: start now */
	SUPERVISE_STOP,			/* end soon */
	/* supervisor -> role, request */
	SUPERVISE_STATUS,		/* reply: blob JSON object, blob metrics_snapshot */
	/* role -> supervisor, one way */
	SUPERVISE_READY,		/* it serves */
	/* auth -> supervisor, request: u8 enum role_file; reply: be32 errno, and the descriptor when that is 0 */
	SUPERVISE_FILE,
	/* control -> supervisor, requests */
	SUPERVISE_ROLES,		/* reply: be16 count, then a struct supervise_role each */
	SUPERVISE_ROLE_STATUS,		/* u8 role, be16 instance; reply as SUPERVISE_STATUS, empty when it is down */
	SUPERVISE_RELOAD,		/* reply: u8 ok, blob text (what is wrong; when ok: keys that wait for a start) */
};

enum supervise_policy {
	SUPERVISE_POLICY_TABLE = 1,	/* cannot be mapped writable */
	SUPERVISE_POLICY_RING,		/* of this process */
};

struct supervise_role {
	uint8_t role;			/* enum role_id */
	uint16_t instance;
	uint32_t pid;			/* 0: not running at the moment */
	uint8_t ready;
	uint32_t restarts;
	uint64_t up_us;			/* since it was started */
	uint32_t last_status;		/* of waitpid, for the previous one; 0 when there was none */
};

void supervise_role_encode(struct buf *out, const struct supervise_role *r);
struct reader;
/* False when malformed. */
MUST_USE bool supervise_role_decode(struct reader *in, struct supervise_role *r);

/* The event log that the configuration asks for. 0 or negative errno. */
struct config;
struct event_log;
MUST_USE int role_log_new(const struct config *config, struct event_log **out, struct errmsg *why);

/* --- role side (common.c) ---------------------------------------------------------------------- */

/* The life of a role process; returns its exit status. Its socket is PROCESS_CHANNEL_FD. */
int role_main(enum role_id id, unsigned instance);
/* For control: the channel to the supervisor. */
struct ipc *role_supervisor(struct role_context *ctx);
/* For control: serve requests of the supervisor whose type is none of enum supervise_message. */
void role_serve_supervisor(struct role_context *ctx,
			   void (*serve)(struct role_context *ctx, struct ipc_request *req));
/*
 * Apply the role's sandbox in a child process for each forbidden call, try the call, and print
 * TAP. Exit status 0 when each was refused. For `prickle role NAME --self-test`.
 */
int role_self_test(enum role_id id, const struct config *config);

/* --- supervisor ----------------------------------------------------------------------------------- */

struct supervise_options {
	const char *config_path;	/* read again at SIGHUP; NULL: there is no file */
	struct config *config;		/* taken over */
	/*
	 * Called once, in a fiber, when all roles are ready and before the service manager hears of
	 * it. `control` takes ADMIN_IPC_REQUEST as if root asked. Non-zero ends the node.
	 */
	int (*ready)(void *arg, struct ipc *control);
	void *arg;
};

/* Run the node until SIGINT or SIGTERM; returns the exit status. */
int supervise(struct supervise_options *options);
