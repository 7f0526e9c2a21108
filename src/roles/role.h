/*
 * Roles: the processes of a node, split by trust. One row a role (roles/table.c) says
 * what it may do; `prickle roles` prints the rows and tests/roles checks the live processes.
 *
 * The supervisor starts each role as `prickle role NAME`, re-executed, with one socket to
 * itself. Over it come the configuration, the listening sockets and, as peers start and
 * start again, fresh channels to them. The role's start function sets up, then the common
 * code applies the sandbox, and the loop runs.
 */
#pragma once
#include <stdbool.h>

#include "base/errmsg.h"
#include "sys/loop.h"

struct authority;
struct buf;
struct config;
struct event;
struct world;

enum role_id {
	ROLE_SUPERVISOR,
	ROLE_MX,			/* port 25 and LMTP: strangers; append only */
	ROLE_FRONT,			/* IMAP, POP3, submission: one process a core */
	ROLE_AUTH,			/* passwords, TLS private keys, directory rules */
	ROLE_STORE,			/* the only one with the disk */
	ROLE_QUEUE,			/* retries and notices; later the client of other hosts */
	ROLE_CONTROL,			/* admin socket, metrics */
	ROLE_FILTER,			/* reserved */
	ROLE_WEB,			/* reserved */
	ROLE_SPINE,			/* commands that change a network device; serve does not start it */
	ROLE_NET,			/* the translator's slow path; started beside the others (roles/net.h) */
	ROLE_AUDIT,			/* copies records of decisions from memory to a log */
	ROLE_COUNT
};

#define ROLE_LISTENERS_MAX 64u

/* Which protocol a listening socket speaks; chosen by configuration, told to the role. */
enum listener_kind {
	LISTEN_SMTP = 1,		/* mx, port 25 */
	LISTEN_LMTP,			/* mx */
	LISTEN_SUBMISSION,		/* front, 587, STARTTLS */
	LISTEN_SUBMISSIONS,		/* front, 465, implicit TLS */
	LISTEN_IMAP,			/* front, 143 */
	LISTEN_IMAPS,			/* front, 993 */
	LISTEN_POP3,			/* front, 110 */
	LISTEN_POP3S,			/* front, 995 */
	LISTEN_CONTROL,			/* control, unix socket */
	LISTEN_STORE,			/* store, unix socket of packets: the operator's tools (roles/operator.h) */
	LISTEN_METRICS,			/* control, HTTP */
};

struct listener {
	enum listener_kind kind;
	int fd;
};

/* What a role's start function gets; lives as long as the process. */
struct role_context {
	enum role_id id;
	unsigned instance;		/* 0 .. instances-1 */
	struct loop *loop;
	struct world *world;		/* rooted at the state directory for store and auth (also their working directory), else no files */
	const struct config *config;	/* replaced on reload before the reload callback runs */
	struct event *ev;		/* root event: role, instance */
	struct authority *authority;	/* the policy in force and this process's audit ring (policy/authority.h) */
	struct listener listeners[ROLE_LISTENERS_MAX];
	unsigned listener_count;
	void *state;			/* the role's own, set by its start function */
};

/* A role: the functions that its file in src/roles/ exports in a const struct. */
struct role_ops {
	/* Before the sandbox: open files, directories, charsets, threads come after `run`. */
	int (*start)(struct role_context *ctx, struct errmsg *why);
	/* In the sandbox, before the loop runs: start threads, engines, accept connections. */
	int (*run)(struct role_context *ctx, struct errmsg *why);
	/* A channel to a peer role (new or after its restart); the role takes fd. */
	void (*channel)(struct role_context *ctx, enum role_id peer, unsigned instance, int fd);
	/* ctx->config is new. */
	void (*reload)(struct role_context *ctx);
	/* End soon: finish commands, flush; call role_exit when done (a deadline ends it anyway). */
	void (*stop)(struct role_context *ctx);
	/*
	 * Append members of a JSON object, without its braces, for `prickle status`: "sessions" is shown
	 * in the table, and "problems", a list of {"what", "run"}, on top. NULL when there is nothing to
	 * say. Not from a fiber that may wait. (Metrics are collected by themselves, base/metrics.h.)
	 */
	void (*status)(struct role_context *ctx, struct buf *json_object);
};

/* Tell the supervisor that this role serves now (all roles ready => "ready"). */
void role_ready(struct role_context *ctx);

/* Configured files that a role may have opened for it. */
enum role_file {
	ROLE_FILE_CERTIFICATE = 1,	/* tls.certificate: auth */
	ROLE_FILE_KEY,			/* tls.key: auth */
};
/*
 * Have the supervisor open a configured file for reading: in its sandbox a role can often not
 * (a key that only root may read, a directory that only root may enter). Look at st_mtim of
 * the descriptor to see whether it changed. Fiber only. 0 and *fd; -ENOENT also when nothing is
 * configured; -EPERM for other roles; other negative errno.
 */
MUST_USE int role_open_file(struct role_context *ctx, enum role_file file, int *fd, struct errmsg *why);
/* Leave the loop; the process ends with status 0. */
void role_exit(struct role_context *ctx);

extern const struct role_ops role_mx, role_front, role_auth, role_store, role_queue, role_control, role_audit;
