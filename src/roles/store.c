/*
 * The store role: the only one with the disk.
 *
 * It carries out engine calls that come over the channels of the other roles, each judged by
 * roles/access.h first, and looks after what is stored: fragments whose messages are
 * gone are rewritten here, while everything serves. It never looks into a message.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/event.h"
#include "base/metrics.h"
#include "base/must.h"
#include "base/reader.h"
#include "conf/config.h"
#include "engine/embedded/embedded.h"
#include "engine/remote.h"
#include "mail/mailbox/mailbox.h"
#include "policy/authority.h"
#include "policy/language/policy.h"
#include "roles/access.h"
#include "roles/admin.h"
#include "roles/grants.h"
#include "roles/operator.h"
#include "roles/role.h"
#include "roles/table.h"
#include "sys/fiber.h"
#include "sys/world.h"

#define UPKEEP_PAUSE_US	 (50 * 1000)		/* between two steps: serving comes first */
#define UPKEEP_ROUND_US	 (5 * 60 * 1000000ll)	/* between two rounds over all accounts */
#define ACCOUNTS_CACHE_BYTES (16u << 20)

struct store {
	struct role_context *ctx;
	struct engine *engine;
	struct accounts *accounts;	/* for upkeep */
	struct grants *grants;
	struct list channels;
	struct io_watch tools;		/* listens for the operator's tools */
	unsigned tool_count;
	bool stopping;
	bool upkeep_runs;
	struct fiber_event wake_upkeep;
	uint64_t denied;
};

struct channel {
	struct list link;
	struct store *store;
	enum role_id role;		/* ROLE_COUNT: a tool of the operator's */
	unsigned instance;
	struct remote_server *server;
};

static enum remote_verdict on_allow(void *arg, const struct remote_access *access)
{
	struct channel *c = arg;
	struct store *st = c->store;
	enum remote_verdict v = c->role == ROLE_COUNT ?
					access_check_operator(access) :
					access_check(st->grants, c->role, c->instance, access,
						     world_mono_us(st->ctx->world));

	if (v == REMOTE_DENY) {
		st->denied++;
		struct event *ev = event_child(st->ctx->ev, "store.denied");
		event_str(ev, "peer", c->role == ROLE_COUNT ? "operator" : role_table[c->role].name);
		event_u64(ev, "instance", c->instance);
		event_u64(ev, "call", access->call);
		event_slice(ev, "object", access->object);
		event_warn(ev, "refused: the grant does not allow it, or has ended");
		event_free(ev);
	}
	return v;
}

static void channel_free(struct channel *c)
{
	list_del(&c->link);
	remote_server_free(c->server);
	free(c);
}

static void on_closed(void *arg)
{
	struct channel *c = arg;

	if (c->role == ROLE_COUNT)
		c->store->tool_count--;
	else if (c->role != ROLE_AUTH)
		grants_drop_process(c->store->grants, c->role, c->instance);
	channel_free(c);
}

/* ---- auth's messages, roles/grants.h ---- */

static enum grants_status add_grants(struct store *st, struct slice payload)
{
	int64_t now = world_mono_us(st->ctx->world);
	struct reader check = reader_of(payload), rd = reader_of(payload);
	enum grants_decode d;
	struct grant g;
	size_t count = 0;

	/* All of a message or nothing. */
	while ((d = grants_decode(&check, &g)) == GRANTS_DECODED)
		count++;
	if (d == GRANTS_BAD || count == 0)
		return GRANTS_MALFORMED;
	if (grants_count(st->grants) + count > GRANTS_MAX)
		return GRANTS_FULL;
	while (grants_decode(&rd, &g) == GRANTS_DECODED)
		if (grants_add(st->grants, &g, now) != 0)
			return GRANTS_FULL;
	return GRANTS_OK;
}

static enum grants_status revoke_grants(struct store *st, struct slice payload)
{
	if (payload.len == 0 || payload.len % GRANT_ID_BYTES != 0)
		return GRANTS_MALFORMED;
	for (size_t at = 0; at < payload.len; at += GRANT_ID_BYTES)
		grants_revoke(st->grants, payload.ptr + at);
	return GRANTS_OK;
}

static void list_grants(struct store *st, struct ipc_request *req)
{
	struct reader rd = reader_of(req->payload);
	AUTO_BUF struct buf b = BUF_INIT(IPC_MESSAGE_BYTES);
	struct grant *list = calloc(GRANTS_PER_MESSAGE, sizeof(*list));
	uint64_t cursor = rd_be64(&rd);
	size_t n = 0;

	if (list != NULL && rd_end(&rd))
		n = grants_list(st->grants, &cursor, world_mono_us(st->ctx->world), list,
				GRANTS_PER_MESSAGE);
	buf_be64(&b, n == 0 ? 0 : cursor);
	for (size_t i = 0; i < n; i++)
		grants_encode(&b, &list[i]);
	free(list);
	if (ipc_reply(req, buf_slice(&b)) != 0)
		return;
}

/* Auth says that nobody has this account any more. A long walk for a large one; others are served meanwhile. */
static enum grants_status remove_account(struct store *st, struct slice payload)
{
	char account[ACCOUNT_ID_BYTES + 1];

	if (payload.len != ACCOUNT_ID_BYTES || !slice_to_str(payload, account, sizeof(account)))
		return GRANTS_MALFORMED;
	grants_drop_account(st->grants, account);
	enum mailbox_result r = account_remove(st->engine, slice_str(account));
	if (r == MAILBOX_NO_FOLDER)	/* not the form of an account */
		return GRANTS_MALFORMED;
	return r == MAILBOX_OK ? GRANTS_OK : GRANTS_AGAIN;
}

static void on_other(void *arg, struct ipc_request *req)
{
	struct channel *c = arg;
	struct store *st = c->store;
	uint8_t status = GRANTS_MALFORMED;

	if (c->role == ROLE_AUTH) {
		switch (req->type) {
		case GRANTS_MSG_ADD:
			status = (uint8_t)add_grants(st, req->payload);
			break;
		case GRANTS_MSG_REVOKE:
			status = (uint8_t)revoke_grants(st, req->payload);
			break;
		case GRANTS_MSG_LIST:
			list_grants(st, req);
			return;
		case GRANTS_MSG_SYNCED:
			grants_synced(st->grants);
			status = GRANTS_OK;
			break;
		case GRANTS_MSG_REMOVE:
			status = (uint8_t)remove_account(st, req->payload);
			break;
		default:
			break;
		}
	}
	if (ipc_reply(req, slice_of(&status, 1)) != 0)
		return;
}

static const struct remote_server_callbacks callbacks = {
	.allow = on_allow,
	.other = on_other,
	.closed = on_closed,
};

static void store_channel(struct role_context *ctx, enum role_id peer, unsigned instance, int fd)
{
	struct store *st = ctx->state;
	struct channel *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		close(fd);		/* the peer sees the end and the supervisor hears of it */
		return;
	}
	/* A process that comes back has a new channel; what the old one held is void. */
	list_for_each(it, &st->channels) {
		struct channel *old = list_entry(it, struct channel, link);
		if (old->role == peer && old->instance == instance)
			on_closed(old);
	}
	*c = (struct channel){ .store = st, .role = peer, .instance = instance };
	list_init(&c->link);
	int rc = remote_server_new(ctx->loop, st->engine, fd, &callbacks, c, &c->server);
	if (rc != 0) {
		free(c);
		return;
	}
	list_push_back(&st->channels, &c->link);
}

/* ---- the operator's tools ---- */

#define TOOLS_MAX 8u

/* Whoever the socket lets in is root or who the node runs under: what they may is the policy's word. */
static bool tools_may(struct authority *a)
{
	struct policy_actor actor;

	actor_init(&actor, policy_subject_role(&a->table, POLICY_ROOT), SLICE("root"));
	return authority_allows(a, &actor, POLICY_MAILBOX, policy_object_single(&a->table, POLICY_MAILBOX), POLICY_MAILBOX_CHECK, 0, SLICE("all mail"),
				SLICE("prickle mail"), NULL);
}

static void on_tool(struct io_watch *w, uint32_t events)
{
	struct store *st = container_of(w, struct store, tools);
	int fd = operator_accept(w->fd);

	if (fd < 0)
		return;
	struct channel *c = st->tool_count < TOOLS_MAX && tools_may(st->ctx->authority) ? calloc(1, sizeof(*c)) : NULL;
	if (c == NULL) {
		close(fd);
		return;
	}
	*c = (struct channel){ .store = st, .role = ROLE_COUNT };
	list_init(&c->link);
	if (remote_server_new(st->ctx->loop, st->engine, fd, &callbacks, c, &c->server) != 0) {
		free(c);
		return;
	}
	st->tool_count++;
	list_push_back(&st->channels, &c->link);
}

static int listen_for_tools(struct store *st)
{
	struct role_context *ctx = st->ctx;

	for (unsigned i = 0; i < ctx->listener_count; i++) {
		if (ctx->listeners[i].kind != LISTEN_STORE)
			continue;
		st->tools = (struct io_watch){ .fd = ctx->listeners[i].fd, .events = EPOLLIN, .fn = on_tool };
		return loop_add(ctx->loop, &st->tools);
	}
	return 0;
}

/* ---- upkeep ---- */

static bool pause_upkeep(struct store *st, int64_t us)
{
	if (!st->stopping && fiber_event_wait(&st->wake_upkeep, us))
		st->wake_upkeep.set = false;
	return !st->stopping;
}

static void upkeep_fiber(void *arg)
{
	struct store *st = arg;
	struct maintain_cursor cursor = { .started = false };

	while (!st->stopping) {
		bool more = false;
		enum mailbox_result r =
			accounts_maintain_step(st->accounts, st->engine, &cursor, &more);
		more = more && r == MAILBOX_OK;
		if (r != MAILBOX_OK || (!more && cursor.failed > 0)) {
			AUTO_EVENT struct event *ev = event_child(st->ctx->ev, "store.upkeep");
			event_str(ev, "result", mailbox_result_name(r));
			event_u64(ev, "accounts_failed", cursor.failed);
			event_warn(ev, "upkeep did not finish for all accounts, it is tried again in the next round; "
				       "damage is found by 'prickle mail fsck'");
		}
		if (!more)
			cursor = (struct maintain_cursor){ .started = false };
		if (!pause_upkeep(st, more ? UPKEEP_PAUSE_US : UPKEEP_ROUND_US))
			break;
	}
	st->upkeep_runs = false;
	if (st->stopping)
		role_exit(st->ctx);
}

/* ---- the role ---- */

static void on_damage(void *arg, const struct embedded_damage *d)
{
	struct event *ev = event_child(((struct store *)arg)->ctx->ev, "store.damage");

	event_u64(ev, "segment", d->segment);
	event_u64(ev, "offset", d->offset);
	event_str(ev, "object", d->object);
	event_str(ev, "what", d->what);
	event_error(ev, "a stored record is damaged; run 'prickle mail fsck' for the whole list");
	event_free(ev);
}

static void on_engine_event(void *arg, bool warning, const char *text)
{
	struct event *ev = event_child(((struct store *)arg)->ctx->ev, "store.engine");

	if (warning)
		event_warn(ev, text);
	else
		event_info(ev, text);
	event_free(ev);
}

/* On an engine thread. The supervisor starts the role again at once; callers see a lost channel. */
static void on_engine_dead(void *arg)
{
	_exit(EXIT_FAILURE);
}

static int store_start(struct role_context *ctx, struct errmsg *why)
{
	struct store *st = calloc(1, sizeof(*st));

	if (st == NULL)
		return errmsg_set(why, -ENOMEM, "store");
	st->ctx = ctx;
	list_init(&st->channels);
	ctx->state = st;
	int rc = grants_new(&st->grants);
	return rc == 0 ? 0 : errmsg_set(why, rc, "store");
}

static int store_run(struct role_context *ctx, struct errmsg *why)
{
	struct store *st = ctx->state;
	struct embedded_options o = {
		.loop = ctx->loop,
		.reader_threads = (unsigned)ctx->config->store_reader_threads,
		.segment_bytes = (uint32_t)ctx->config->store_segment_bytes,
		.flush_bytes = ctx->config->store_index_flush_bytes,
		.index = EMBEDDED_ROCKSDB,
		.index_dir = "index",	/* the working directory is the state directory (roles/common.c) */
		.on_damage = on_damage,
		.on_event = on_engine_event,
		.on_dead = on_engine_dead,
		.arg = st,
	};

	int rc = embedded_open(ctx->world, &o, &st->engine, why);
	if (rc != 0)
		return rc;
	struct accounts_options ao = { .buckets = 1, .cache_bytes = ACCOUNTS_CACHE_BYTES };
	rc = accounts_new(ctx->world, &ao, &st->accounts);
	if (rc != 0)
		return errmsg_set(why, rc, "store");
	st->upkeep_runs = true;
	rc = fiber_start(ctx->loop, upkeep_fiber, st);
	if (rc != 0) {
		st->upkeep_runs = false;
		return errmsg_set(why, rc, "store upkeep");
	}
	rc = listen_for_tools(st);
	if (rc != 0)
		return errmsg_set(why, rc, "listen for the operator's tools");
	role_ready(ctx);
	return 0;
}

static void store_stop(struct role_context *ctx)
{
	struct store *st = ctx->state;

	/* Calls under way finish by themselves; the log needs no goodbye, the index likes a flush. */
	st->stopping = true;
	fiber_event_set(&st->wake_upkeep);
	if (!st->upkeep_runs)
		role_exit(ctx);
}

/* What the engine counts: for `prickle status --json` by name, and as metrics. */
#define ENGINE_NUMBERS(X)                                                                          \
	X(COUNTER, operations, ops, "Calls that changed something")                                \
	X(COUNTER, reads, reads, "Calls that read")                                                \
	X(COUNTER, batches, batches, "Groups of calls that shared a write and a sync")             \
	X(COUNTER, syncs, syncs, "Syncs of the log to the disk")                                   \
	X(COUNTER, sync_failures, sync_failures, "Syncs that failed")                              \
	X(COUNTER, log_bytes, log_bytes, "Bytes written to the log, all included")                 \
	X(COUNTER, payload_bytes, payload_bytes, "Bytes that callers gave")                        \
	X(COUNTER, moved_bytes, moved_bytes, "Bytes moved by compaction")                          \
	X(COUNTER, damage, damage, "Damaged records found since the start")                        \
	X(COUNTER, full, full, "Calls refused for lack of room on the disk")                       \
	X(GAUGE, segments, segments, "Segments of the log that hold records")                      \
	X(GAUGE, segments_free, segments_free, "Segments that wait to be written again")           \
	X(GAUGE, live_bytes, live_bytes, "Bytes in the log that are still needed")                 \
	X(GAUGE, stored_bytes, stored_bytes, "Bytes in the log")                                   \
	X(GAUGE, stopped, stopped, "1 while the log stands still after a disk error")

#define DECLARE_METRIC(kind, name, field, help) METRIC_##kind(engine_##name, "prickle_store_" #name, help);
ENGINE_NUMBERS(DECLARE_METRIC)
METRIC_COUNTER(denied_calls, "prickle_store_denied", "Calls that the caller's role or grant does not allow");
METRIC_GAUGE(grants_open, "prickle_store_grants", "Grants that are open");

/*
 * Almost full: a twentieth is left, and no more than this, so that large disks do not cry early; or
 * less than the segments that only deletions may use.
 */
#define SCARCE_BYTES (5ull << 30)

static void tell_problems(struct store *st, const struct embedded_stats *s, struct buf *json)
{
	uint64_t free_bytes = 0, total_bytes = 0;
	unsigned problems = 0;
	char what[200], run[CONFIG_STRING_BYTES_MAX + 16];

	if (s->stopped)
		admin_problem(json, &problems, "the log stands still after a disk error: no mail is taken or changed",
			      "journalctl -k -n 50");
	if (s->damage > 0) {
		snprintf(what, sizeof(what), "%llu stored records are damaged", (unsigned long long)s->damage);
		admin_problem(json, &problems, what, "prickle mail fsck");
	}
	if (st->ctx->world->ops->space(st->ctx->world, &free_bytes, &total_bytes) == 0 &&
	    ((free_bytes < total_bytes / 20 && free_bytes < SCARCE_BYTES) ||
	     (free_bytes < 2 * st->ctx->config->store_segment_bytes && s->segments_free < 2))) {
		snprintf(what, sizeof(what), "the disk of the state directory is almost full: %llu MiB are free",
			 (unsigned long long)(free_bytes >> 20));
		snprintf(run, sizeof(run), "df -h '%s'", st->ctx->config->state);
		admin_problem(json, &problems, what, run);
	}
	admin_problems_end(json, problems);
}

static void store_status(struct role_context *ctx, struct buf *json)
{
	struct store *st = ctx->state;
	struct embedded_stats s;

	if (st->engine == NULL)
		return;
	embedded_stats(st->engine, &s);
#define TELL(kind, name, field, help)                                                              \
	metric_set(&engine_##name, 0, s.field);                                                    \
	buf_printf(json, "\"" #name "\":%llu,", (unsigned long long)(s.field));
	ENGINE_NUMBERS(TELL)
#undef TELL
	metric_set(&denied_calls, 0, st->denied);
	metric_set(&grants_open, 0, grants_count(st->grants));
	buf_printf(json, "\"denied\":%llu,\"grants\":%zu", (unsigned long long)st->denied,
		   grants_count(st->grants));
	tell_problems(st, &s, json);
}

const struct role_ops role_store = {
	.start = store_start,
	.run = store_run,
	.channel = store_channel,
	.stop = store_stop,
	.status = store_status,
};
