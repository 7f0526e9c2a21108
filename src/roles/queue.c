/*
 * The queue role: tries again what could not be delivered at once and writes notices to senders.
 *
 * It reads the bodies that wait in the queue, and no mailbox: deliveries go by append grants, as
 * in mx. Later it also speaks to other hosts.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/event.h"
#include "base/metrics.h"
#include "conf/config.h"
#include "mail/session/authc.h"
#include "mail/session/queue_runner.h"
#include "roles/admin.h"
#include "roles/admin_rights.h"
#include "roles/role.h"
#include "roles/table.h"
#include "sys/fiber.h"

struct queue_role {
	struct role_context *ctx;
	struct authc *authc;
	struct remote *remote;
	struct remote_handle store;
	struct queue_runner *runner;
	struct ipc *control;
};

static struct queue_runner_options options_of(struct queue_role *q)
{
	const struct config *c = q->ctx->config;

	return (struct queue_runner_options){
		.loop = q->ctx->loop,
		.world = q->ctx->world,
		.engine = &q->store.engine,
		.remote = q->remote,
		.authc = q->authc,
		.ev = q->ctx->ev,
		.hostname = c->hostname,
		.lifetime_us = c->queue_lifetime_us,
		.retry_us = c->queue_retry.items_us,
		.retry_count = c->queue_retry.count,
		.delay_notice_us = c->queue_delay_notice_us,
	};
}

/* ---- admin requests: queue list|show|retry|drop ---- */

const struct admin_verb queue_admin_verbs[] = {
	{ "queue", "list" }, { "queue", "show" }, { "queue", "retry" }, { "queue", "drop" }, { NULL, NULL },
};

static int run_verb(struct queue_role *q, const struct admin_request *req, struct buf *json)
{
	struct slice id = admin_positional(req, 0);
	unsigned count = 0;
	int rc;

	if (slice_eq(req->verb, SLICE("list")))
		return queue_runner_list(q->runner, (struct slice){ 0 }, admin_arg(req, "after"), json);
	if (slice_eq(req->verb, SLICE("show")) && id.len > 0)
		return queue_runner_list(q->runner, id, (struct slice){ 0 }, json);
	if (slice_eq(req->verb, SLICE("retry"))) {
		rc = queue_runner_retry(q->runner, id, &count);
		buf_printf(json, "{\"retried\":%u}", count);
		return rc;
	}
	if (slice_eq(req->verb, SLICE("drop")) && id.len > 0) {
		rc = queue_runner_drop(q->runner, id);
		buf_adds(json, "{\"dropped\":1}");
		return rc;
	}
	return -EINVAL;
}

static void serve_admin(void *arg, struct ipc_request *ipc_req)
{
	struct queue_role *q = arg;
	struct admin_request req;
	AUTO_BUF struct buf json = BUF_INIT(ADMIN_JSON_BYTES), out = BUF_INIT(ADMIN_JSON_BYTES + 64);

	if (ipc_req->type != ADMIN_IPC_REQUEST || !admin_request_decode(ipc_req->payload, &req)) {
		admin_error_encode(ADMIN_USAGE, "malformed request", &out);
	} else {
		switch (run_verb(q, &req, &json)) {
		case 0:
			admin_reply_encode(ADMIN_OK, buf_slice(&json), &out);
			break;
		case -ENOENT:
			admin_error_encode(ADMIN_NOT_FOUND, "no such message in the queue; 'prickle queue list' names them", &out);
			break;
		case -EBUSY:
			admin_error_encode(ADMIN_TEMPORARY, "this message is being tried now; ask again in a moment", &out);
			break;
		case -EINVAL:
			admin_error_encode(ADMIN_USAGE, "unknown verb; see 'prickle queue --help'", &out);
			break;
		default:
			admin_error_encode(ADMIN_TEMPORARY, "the store does not answer; try again", &out);
		}
	}
	if (ipc_reply(ipc_req, buf_slice(&out)) != 0)
		return;
}

static void control_closed(void *arg, struct ipc *ipc)
{
	struct queue_role *q = arg;

	if (q->control == ipc)
		q->control = NULL;
	ipc_free(ipc);
}

static const struct ipc_callbacks control_callbacks = { .serve = serve_admin, .closed = control_closed };

/* ---- the role ---- */

static int queue_start(struct role_context *ctx, struct errmsg *why)
{
	struct queue_role *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return errmsg_set(why, -ENOMEM, "queue");
	q->ctx = ctx;
	ctx->state = q;
	int rc = authc_new(ctx->loop, &q->authc);
	if (rc == 0)
		rc = remote_new(ctx->loop, NULL, &q->remote);
	if (rc != 0)
		return errmsg_set(why, rc, "queue");
	remote_handle_init(&q->store, q->remote, NULL);
	return 0;
}

static int queue_run(struct role_context *ctx, struct errmsg *why)
{
	struct queue_role *q = ctx->state;
	struct queue_runner_options o = options_of(q);
	int rc = queue_runner_new(&o, &q->runner);

	if (rc != 0)
		return errmsg_set(why, rc, "queue");
	role_ready(ctx);
	return 0;
}

static void queue_channel(struct role_context *ctx, enum role_id peer, unsigned instance, int fd)
{
	struct queue_role *q = ctx->state;
	int rc = 0;

	switch (peer) {
	case ROLE_AUTH:
		rc = authc_set_channel(q->authc, fd);
		break;
	case ROLE_STORE:
		rc = remote_set_channel(q->remote, fd);
		break;
	case ROLE_CONTROL:
		ipc_free(q->control);
		q->control = NULL;
		rc = ipc_new(ctx->loop, fd, &control_callbacks, q, &q->control);
		if (rc != 0)
			close(fd);
		break;
	default:
		close(fd);
	}
	if (rc != 0) {
		struct event *ev = event_child(ctx->ev, "queue.channel");
		event_str(ev, "peer", role_table[peer].name);
		event_err(ev, rc);
		event_error(ev, "no channel to a peer: the queue waits for the next one");
		event_free(ev);
	}
}

static void queue_reload(struct role_context *ctx)
{
	struct queue_role *q = ctx->state;
	struct queue_runner_options o = options_of(q);

	queue_runner_settings(q->runner, &o);
}

static void stopped(void *arg)
{
	role_exit(arg);
}

static void queue_stop(struct role_context *ctx)
{
	struct queue_role *q = ctx->state;

	queue_runner_stop(q->runner, stopped, ctx);
}

/* For `prickle status --json` by name, and as metrics. */
#define QUEUE_NUMBERS(X)                                                                           \
	X(GAUGE, waiting, "Messages that wait, as of the last round")                              \
	X(COUNTER, tried, "Tries to deliver a message")                                            \
	X(COUNTER, delivered, "Deliveries to a recipient that succeeded")                          \
	X(COUNTER, failed, "Recipients that were given up")                                        \
	X(COUNTER, notices, "Notices written to senders")                                          \
	X(COUNTER, collected, "Bodies without an entry that were removed")

#define DECLARE_METRIC(kind, name, help) METRIC_##kind(queue_##name, "prickle_queue_" #name, help);
QUEUE_NUMBERS(DECLARE_METRIC)

static void queue_status(struct role_context *ctx, struct buf *json)
{
	struct queue_role *q = ctx->state;
	struct queue_counts c = { 0 };
	const char *comma = "";

	if (q->runner != NULL)
		queue_runner_counts(q->runner, &c);
#define TELL(kind, name, help)                                                                     \
	metric_set(&queue_##name, 0, c.name);                                                      \
	buf_printf(json, "%s\"" #name "\":%llu", comma, (unsigned long long)c.name);               \
	comma = ",";
	QUEUE_NUMBERS(TELL)
#undef TELL
}

const struct role_ops role_queue = {
	.start = queue_start,
	.run = queue_run,
	.channel = queue_channel,
	.reload = queue_reload,
	.stop = queue_stop,
	.status = queue_status,
};
