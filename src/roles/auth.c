/*
 * The auth role: passwords, TLS private keys, users and addresses.
 *
 * Channels: mx, front and queue ask (mail/auth/wire.h), control brings the command line's wishes
 * (roles/admin.h), the store keeps the directory and is told the grants (roles/grants.h).
 * What each peer may ask is a table here; the answers come from mail/auth.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/event.h"
#include "base/map.h"
#include "base/metrics.h"
#include "base/reader.h"
#include "conf/config.h"
#include "engine/remote.h"
#include "mail/auth/auth.h"
#include "mail/mailbox/format.h"
#include "roles/admin.h"
#include "roles/auth_admin.h"
#include "roles/auth_tls.h"
#include "roles/caller.h"
#include "roles/grants.h"
#include "roles/role.h"
#include "roles/table.h"
#include "sys/fiber.h"
#include "sys/ipc.h"
#include "sys/world.h"

#define STORE_CALL_US	5000000
#define STORE_REMOVE_US	600000000	/* a large mailbox; another try goes on where this one ended */
#define STORE_WAIT_US	3000000		/* for a store that is starting again */
#define STORE_LOOK_US	20000
#define SYNC_RETRY_US	200000
#define FIRST_TICK_US	2000000ll	/* what an earlier process left undone */
#define TICK_US		60000000ll	/* renewal of grants: far below their life */
#define TLS_LOOK_US	10000000ll	/* how soon a renewed certificate is seen */
#define CERTIFICATE_WARN_S (14 * 86400)	/* renewal programs begin 30 days before the end */
#define CERTIFICATE_TELL_US (86400 * 1000000ll)	/* how often it is told */
#define HASHES_AT_ONCE	AUTH_HASHES_PER_CORE

#define BIT(message) (1u << (message))

/* Which messages of mail/auth/wire.h each role may send; all others are refused. */
static const uint32_t allowed[ROLE_COUNT] = {
	[ROLE_MX] = BIT(AUTH_RCPT) | BIT(AUTH_DELIVERED) | BIT(AUTH_LIVE) | BIT(AUTH_SIGN),
	[ROLE_QUEUE] = BIT(AUTH_RCPT) | BIT(AUTH_DELIVERED) | BIT(AUTH_LIVE),
	[ROLE_FRONT] = BIT(AUTH_LOGIN) | BIT(AUTH_START) | BIT(AUTH_STEP) | BIT(AUTH_CANCEL) |
		       BIT(AUTH_LOGOUT) | BIT(AUTH_RCPT) | BIT(AUTH_DELIVERED) | BIT(AUTH_SENDER) |
		       BIT(AUTH_OPEN) | BIT(AUTH_OPENED) | BIT(AUTH_CLOSED) | BIT(AUTH_TAKE) |
		       BIT(AUTH_LIVE) | BIT(AUTH_SHARED) | BIT(AUTH_SHARERS) | BIT(AUTH_ACL_GET) | BIT(AUTH_ACL_SET) |
		       BIT(AUTH_ACL_FOLDER) |
		       BIT(AUTH_SIGN),
};

static const char *const sign_results[] = { "signed", "refused" };
METRIC_COUNTER_BY(signatures, "prickle_auth_signatures", "TLS handshakes signed", "result",
		  sign_results);
METRIC_COUNTER(forbidden, "prickle_auth_forbidden_messages",
	       "Messages that the peer's role may not send, or that were malformed");

struct auth_role {
	struct role_context *ctx;
	struct auth *auth;
	struct auth_tls *tls;
	int64_t end_told_us;		/* when the log was told of the certificate's end; 0: not */
	bool certificate_bad;		/* the configured one cannot be used; an older one serves */
	bool looking;			/* a fiber reads the certificate's files */
	struct remote *remote;
	struct remote_handle store;	/* the directory, and usage of accounts */
	struct list peers;
	struct timer tick, look;
	bool adopted;			/* grants of an earlier auth process were taken over */
	bool syncing, sync_again;
	bool ready;
};

struct peer {
	struct list link;
	struct auth_role *role;
	enum role_id id;
	unsigned instance;
	struct ipc *ipc;
	struct auth_client *client;	/* NULL for control */
};

/* ---- what mail/auth asks of the store ---- */

/* The store starts again within a second; rather wait than fail a login. */
static struct ipc *store_channel(struct auth_role *a)
{
	struct ipc *ipc = remote_ipc(a->remote);

	for (int64_t waited = 0; ipc == NULL && waited < STORE_WAIT_US; waited += STORE_LOOK_US) {
		fiber_sleep(STORE_LOOK_US);
		ipc = remote_ipc(a->remote);
	}
	return ipc;
}

static int store_call_for(struct auth_role *a, enum grants_message type, const struct buf *payload,
			  int64_t timeout_us)
{
	AUTO_BUF struct buf reply = BUF_INIT(64);
	struct reader r;
	uint8_t status;
	int err;

	if (payload->err != 0)
		return payload->err;
	err = ipc_call(store_channel(a), (uint8_t)type, buf_slice(payload), timeout_us, &reply);
	if (err < 0)
		return err;
	r = reader_of(buf_slice(&reply));
	status = rd_u8(&r);
	if (!rd_end(&r) || status == GRANTS_MALFORMED)
		return -EBADMSG;
	return status == GRANTS_OK ? 0 : status == GRANTS_AGAIN ? -EAGAIN : -ENOSPC;
}

static int store_call(struct auth_role *a, enum grants_message type, const struct buf *payload)
{
	return store_call_for(a, type, payload, STORE_CALL_US);
}

static int store_remove(void *arg, const char *account)
{
	AUTO_BUF struct buf payload = BUF_INIT(64);

	buf_adds(&payload, account);
	return store_call_for(arg, GRANTS_MSG_REMOVE, &payload, STORE_REMOVE_US);
}

static int store_add(void *arg, const struct grant *grants, size_t count)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES);

	for (size_t i = 0; i < count; i++)
		grants_encode(&payload, &grants[i]);
	return store_call(arg, GRANTS_MSG_ADD, &payload);
}

static int store_revoke(void *arg, const uint8_t (*ids)[GRANT_ID_BYTES], size_t count)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES);

	buf_add(&payload, slice_of(ids, count * GRANT_ID_BYTES));
	return store_call(arg, GRANTS_MSG_REVOKE, &payload);
}

static int store_usage(void *arg, const char *account, uint64_t *bytes, uint64_t *messages)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u * 1024u);
	struct auth_role *a = arg;
	struct engine_kv *kv = NULL;
	enum engine_result r;
	struct header header;
	char object[32];
	size_t count = 0;
	bool more;

	snprintf(object, sizeof(object), "a.%s", account);
	r = engine_keys(&a->store.engine, slice_str(object), SLICE("h"), SLICE("h\0"), 1, 4096,
			&arena, &kv, &count, &more);
	if (r != ENGINE_OK && r != ENGINE_ABSENT)
		return -EAGAIN;
	*bytes = *messages = 0;
	/* No head: nobody has looked into this mailbox yet. */
	if (r == ENGINE_ABSENT || count == 0)
		return 0;
	if (!header_decode(kv[0].value, &header))
		return -EBADMSG;
	*bytes = header.usage_bytes;
	*messages = header.usage_messages;
	return 0;
}

/* ---- the store comes, and comes back ---- */

/* Take over the grants that the store still has from an auth process before us. */
static int adopt(struct auth_role *a)
{
	uint64_t cursor = 0;

	do {
		AUTO_BUF struct buf payload = BUF_INIT(16), reply = BUF_INIT(IPC_MESSAGE_BYTES);
		struct grant g;
		struct reader r;
		int err;

		buf_be64(&payload, cursor);
		err = ipc_call(store_channel(a), GRANTS_MSG_LIST, buf_slice(&payload),
			       STORE_CALL_US, &reply);
		if (err < 0)
			return err;
		r = reader_of(buf_slice(&reply));
		cursor = rd_be64(&r);
		while (grants_decode(&r, &g) == GRANTS_DECODED)
			auth_adopt(a->auth, &g);
	} while (cursor != 0);
	return 0;
}

static int sync_store(struct auth_role *a)
{
	AUTO_BUF struct buf nothing = BUF_INIT(16);
	int err = 0;

	if (!a->adopted)
		err = adopt(a);
	if (err == 0) {
		a->adopted = true;
		err = auth_resend(a->auth);
	}
	return err == 0 ? store_call(a, GRANTS_MSG_SYNCED, &nothing) : err;
}

static void sync_fiber(void *arg)
{
	struct auth_role *a = arg;

	do {
		a->sync_again = false;
		while (sync_store(a) < 0)
			fiber_sleep(SYNC_RETRY_US);
	} while (a->sync_again);
	a->syncing = false;
	if (!a->ready) {
		a->ready = true;
		role_ready(a->ctx);
	}
}

static void on_store(void *arg)
{
	struct auth_role *a = arg;

	if (a->syncing) {
		a->sync_again = true;
		return;
	}
	a->syncing = fiber_start(a->ctx->loop, sync_fiber, a) == 0;
	if (!a->syncing)
		event_error(a->ctx->ev, "no memory to tell the store the grants");
}

/* ---- certificates ---- */

static void send_hello(struct peer *p)
{
	uint8_t flags = p->role->ctx->config->auth_scram ? AUTH_HELLO_SCRAM : 0;

	ipc_send(p->ipc, AUTH_HELLO, slice_of(&flags, 1), -1);
}

static void send_certificate(struct peer *p)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES);

	buf_blob(&payload, auth_tls_chain(p->role->tls));
	if (payload.err == 0 && (allowed[p->id] & BIT(AUTH_SIGN)) != 0)
		ipc_send(p->ipc, AUTH_CERT, buf_slice(&payload), -1);
}

/* The directory or a setting may have changed: what peers remember of recipients is old. */
static void tell_to_forget(struct auth_role *a)
{
	list_for_each(it, &a->peers) {
		struct peer *p = list_entry(it, struct peer, link);

		if ((allowed[p->id] & BIT(AUTH_RCPT)) != 0)
			ipc_send(p->ipc, AUTH_FORGET, (struct slice){ 0 }, -1);
	}
}

/* 1, 0 or negative as auth_tls_load; tells the peers of a new certificate. */
static int load_certificate(struct auth_role *a, struct errmsg *why)
{
	const struct config *c = a->ctx->config;
	int r = auth_tls_load(a->tls, c->tls_certificate, c->tls_key, c->hostname, why);

	if (r <= 0)
		return r;
	list_for_each(it, &a->peers)
		send_certificate(list_entry(it, struct peer, link));
	return r;
}

/* In the sandbox we may not be able to read the key: a file of root's, in a directory of root's. */
static int open_file(void *arg, bool key, int *fd, struct errmsg *why)
{
	struct auth_role *a = arg;

	return role_open_file(a->ctx, key ? ROLE_FILE_KEY : ROLE_FILE_CERTIFICATE, fd, why);
}

static void look_fiber(void *arg)
{
	struct auth_role *a = arg;
	struct errmsg why = { 0 };
	struct event *ev;
	int r = load_certificate(a, &why);
	bool known = r < 0 && a->certificate_bad;

	a->looking = false;
	a->certificate_bad = r < 0;
	/* Told once, not at every look; the status goes on telling. */
	if (r == 0 || known)
		return;
	ev = event_child(a->ctx->ev, "auth.certificate");
	if (r > 0) {
		event_info(ev, "the TLS certificate has changed, using the new one");
	} else {
		event_why(ev, &why);
		event_error(ev, "cannot use the configured TLS certificate, keeping the old one");
	}
	event_free(ev);
}

static void look_again(struct auth_role *a)
{
	/* One at a time; without memory for a fiber the next tick tries again. */
	if (a->looking)
		return;
	a->looking = true;
	if (fiber_start(a->ctx->loop, look_fiber, a) < 0)
		a->looking = false;
}

/* Once a day, and at the start: nobody may look at the status. */
static void tell_end(struct auth_role *a)
{
	int64_t end_s = auth_tls_not_after_s(a->tls), now_us = world_mono_us(a->ctx->world);
	int64_t left_s = end_s - world_real_us(a->ctx->world) / 1000000;
	struct event *ev;

	if (end_s == 0 || left_s >= CERTIFICATE_WARN_S) {
		a->end_told_us = 0;
		return;
	}
	if (a->end_told_us != 0 && now_us - a->end_told_us < CERTIFICATE_TELL_US)
		return;
	a->end_told_us = MAX(now_us, 1);
	ev = event_child(a->ctx->ev, "auth.certificate");
	event_i64(ev, "days_left", left_s / 86400);
	if (left_s <= 0)
		event_error(ev, "the TLS certificate has expired, clients refuse it: replace it");
	else
		event_warn(ev, "the TLS certificate ends soon: renew it");
	event_free(ev);
}

static void on_look(struct timer *t)
{
	struct auth_role *a = container_of(t, struct auth_role, look);

	look_again(a);
	tell_end(a);
	loop_timer_set(a->ctx->loop, &a->look, TLS_LOOK_US);
}

static void serve_sign(struct peer *p, struct slice payload, struct buf *reply)
{
	AUTO_BUF struct buf signature = BUF_INIT(TLS_SIGNATURE_BYTES_MAX);
	struct reader r = reader_of(payload);
	struct slice id = rd_bytes(&r, TLS_KEY_ID_BYTES);
	uint16_t scheme = rd_be16(&r);
	struct slice tbs = rd_blob(&r);
	struct tls_key_id key;
	int err = -EBADMSG;

	if (rd_end(&r) && tbs.len <= TLS_TBS_BYTES_MAX) {
		memcpy(key.bytes, id.ptr, sizeof(key.bytes));
		err = auth_tls_sign(p->role->tls, key, (enum tls_scheme)scheme, tbs, &signature);
	}
	metric_add(&signatures, err < 0, 1);
	buf_addc(reply, err < 0);
	buf_blob(reply, err < 0 ? (struct slice){ 0 } : buf_slice(&signature));
}

/* ---- peers ---- */

static void refuse(struct peer *p, uint8_t type)
{
	struct event *ev = event_child(p->role->ctx->ev, "auth.forbidden");

	metric_add(&forbidden, 0, 1);
	event_u64(ev, "peer_role", p->id);
	event_u64(ev, "instance", p->instance);
	event_u64(ev, "message", type);
	event_error(ev, "refused a message that is malformed or not for this role");
	event_free(ev);
}

/*
 * The process that asked ended while we looked at the password: nobody knows the grant, and its
 * successor would have it renewed for ever.
 */
static void undo_login(struct auth_client *client, struct slice reply)
{
	AUTO_BUF struct buf nothing = BUF_INIT(64);
	struct reader r = reader_of(reply);
	uint8_t result = rd_u8(&r);
	struct slice grant = rd_bytes(&r, GRANT_ID_BYTES);

	if (!r.bad && result == AUTH_OK && client != NULL)
		(void)!auth_serve(client, AUTH_LOGOUT, grant, &nothing);
}

static void on_message(void *arg, struct ipc_request *req)
{
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);
	struct peer *p = arg;
	/* p may be gone when a call that waits is over. */
	struct auth_role *a = p->role;
	struct auth_client *client = p->client;
	uint8_t type = req->type;

	if (p->id == ROLE_CONTROL) {
		if (type == ADMIN_IPC_WHO) {
			auth_admin_who(a->auth, req->payload, &reply);
		} else if (type == ADMIN_IPC_REQUEST) {
			auth_admin_serve(a->auth, req->payload, &reply);
			tell_to_forget(a);
		} else {
			refuse(p, type);
		}
	} else if (type > AUTH_ACL_FOLDER || (allowed[p->id] & BIT(type)) == 0) {
		refuse(p, type);
	} else if (type == AUTH_SIGN) {
		serve_sign(p, req->payload, &reply);
	} else if (!auth_serve(client, type, req->payload, &reply)) {
		/* An empty answer is malformed to the peer, so it fails, and says so. */
		buf_reset(&reply);
		metric_add(&forbidden, 0, 1);
	}
	if (req->ipc == NULL && type <= AUTH_STEP)
		undo_login(client, buf_slice(&reply));
	if (!req->one_way)
		ipc_reply(req, reply.err == 0 ? buf_slice(&reply) : (struct slice){ 0 });
	if (reply.ptr != NULL)
		explicit_bzero(reply.ptr, reply.cap);
	/* It may hold a password; the memory is ours, made for this request. */
	if (req->payload.len > 0)
		explicit_bzero((void *)(uintptr_t)req->payload.ptr, req->payload.len);
}

static void gone_fiber(void *arg)
{
	auth_client_gone(arg);
}

static void peer_free(struct peer *p)
{
	list_del(&p->link);
	ipc_free(p->ipc);
	free(p);
}

static void on_closed(void *arg, struct ipc *ipc)
{
	struct peer *p = arg;
	struct auth_client *client = p->client;
	struct auth_role *a = p->role;

	peer_free(p);
	if (client == NULL)
		return;
	auth_client_detach(client);
	/* Without memory for a fiber the grants end by themselves: nobody renews them. */
	if (fiber_start(a->ctx->loop, gone_fiber, client) < 0)
		event_warn(a->ctx->ev, "a peer is gone; its grants end within the hour");
}

static const struct ipc_callbacks peer_callbacks = { .serve = on_message, .closed = on_closed };

/* The channel of an older process of the same role and instance, whose end we have not seen yet. */
static void replace_peer(struct auth_role *a, enum role_id id, unsigned instance)
{
	list_for_each(it, &a->peers) {
		struct peer *p = list_entry(it, struct peer, link);

		if (p->id == id && p->instance == instance)
			on_closed(p, p->ipc);
	}
}

static void channel(struct role_context *ctx, enum role_id peer, unsigned instance, int fd)
{
	struct auth_role *a = ctx->state;
	struct peer *p;

	if (peer == ROLE_STORE) {
		if (remote_set_channel(a->remote, fd) < 0)
			event_error(ctx->ev, "cannot use the channel to the store");
		return;
	}
	replace_peer(a, peer, instance);
	p = calloc(1, sizeof(*p));
	if (p != NULL) {
		p->role = a;
		p->id = peer;
		p->instance = instance;
		list_init(&p->link);
		if (peer != ROLE_CONTROL)
			p->client = auth_client(a->auth, (uint8_t)peer, (uint16_t)instance);
		if ((peer == ROLE_CONTROL || p->client != NULL) &&
		    ipc_new(ctx->loop, fd, &peer_callbacks, p, &p->ipc) == 0) {
			list_push_back(&a->peers, &p->link);
			if (p->client == NULL)
				return;
			auth_client_attached(p->client, role_table[peer].name);
			send_hello(p);
			send_certificate(p);
			return;
		}
	}
	event_error(ctx->ev, "no memory for a channel, closing it");
	free(p);
	close(fd);
}

/* ---- life ---- */

static struct auth_settings settings_of(const struct config *c)
{
	return (struct auth_settings){
		.default_domain = c->auth_login_domain,
		.separator = c->mail_subaddress_separator[0],
		.scram = c->auth_scram,
		.scram_iterations = (uint32_t)c->auth_scram_iterations,
		.cost = { .operations = (uint32_t)c->auth_argon2_passes,
			  .memory_bytes = (uint32_t)c->auth_argon2_memory_bytes },
		.hashes_at_once = HASHES_AT_ONCE * (unsigned)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1),
		.loopback_exempt = c->rates_exempt_loopback,
		.login_failures_per_minute = (unsigned)c->rates_client_login_failures_per_minute,
		.client_connections_max = (unsigned)c->rates_client_connections_max,
		.client_connections_per_minute = (unsigned)c->rates_client_connections_per_minute,
		.user_sessions_max = (unsigned)c->rates_user_connections_max,
		.user_messages_per_minute = (unsigned)c->rates_user_messages_per_minute,
		.user_recipients_per_minute = (unsigned)c->rates_user_recipients_per_minute,
		.quota_bytes = c->mail_quota_bytes,
		.message_bytes_max = c->mail_message_bytes_max,
	};
}

static void tick_fiber(void *arg)
{
	struct auth_role *a = arg;

	auth_tick(a->auth);
}

static void on_tick(struct timer *t)
{
	struct auth_role *a = container_of(t, struct auth_role, tick);

	loop_timer_set(a->ctx->loop, &a->tick, TICK_US);
	if (fiber_start(a->ctx->loop, tick_fiber, a) < 0)
		event_warn(a->ctx->ev, "no memory to renew grants now, trying again in a minute");
}

static int start(struct role_context *ctx, struct errmsg *why)
{
	struct auth_role *a = calloc(1, sizeof(*a));
	struct auth_settings set = settings_of(ctx->config);
	struct auth_store store = { .add = store_add, .revoke = store_revoke,
				    .usage = store_usage, .remove = store_remove, .arg = a };
	int err;

	if (a == NULL)
		return errmsg_set(why, -ENOMEM, "start auth");
	ctx->state = a;
	a->ctx = ctx;
	list_init(&a->peers);
	a->tick.fn = on_tick;
	a->look.fn = on_look;
	err = remote_new(ctx->loop, &(struct remote_options){ 0 }, &a->remote);
	if (err == 0) {
		remote_handle_init(&a->store, a->remote, NULL);
		remote_on_connect(a->remote, on_store, a);
		err = auth_new(&a->store.engine, ctx->world, &set, &store, ctx->ev, &a->auth);
	}
	if (err == 0)
		auth_set_authority(a->auth, ctx->authority);
	if (err == 0)
		err = auth_tls_new(ctx->world, &a->tls);
	if (err < 0)
		return errmsg_set(why, err, "start auth");
	err = load_certificate(a, why);
	return err < 0 ? err : 0;
}

static int run(struct role_context *ctx, struct errmsg *why)
{
	struct auth_role *a = ctx->state;

	loop_timer_set(ctx->loop, &a->tick, FIRST_TICK_US);
	loop_timer_set(ctx->loop, &a->look, TLS_LOOK_US);
	auth_tls_opener(a->tls, open_file, a);
	tell_end(a);
	return 0;
}

static void reload(struct role_context *ctx)
{
	struct auth_role *a = ctx->state;
	struct auth_settings set = settings_of(ctx->config);

	if (auth_configure(a->auth, &set) < 0)
		event_error(ctx->ev, "no memory for the new settings, keeping the old ones");
	list_for_each(it, &a->peers) {
		struct peer *p = list_entry(it, struct peer, link);

		if (p->client != NULL)
			send_hello(p);
	}
	tell_to_forget(a);
	look_again(a);
}

/* Everything that must last is in the store already. */
static void stop(struct role_context *ctx)
{
	role_exit(ctx);
}

static void status(struct role_context *ctx, struct buf *json)
{
	struct auth_role *a = ctx->state;
	int64_t end_s = auth_tls_not_after_s(a->tls), left_s = end_s - world_real_us(ctx->world) / 1000000;
	unsigned problems = 0;
	char text[1200];

	buf_printf(json, "\"grants\":%zu,\"store\":%s,\"certificate_ends_s\":%lld", auth_grants(a->auth),
		   remote_ipc(a->remote) != NULL ? "true" : "false", (long long)end_s);
	if (a->certificate_bad)
		admin_problem(json, &problems, "the configured TLS certificate cannot be used, an older one serves",
			    "prickle config check");
	if (end_s != 0 && left_s <= 0) {
		admin_problem(json, &problems, "the TLS certificate has expired; clients refuse it",
			    "prickle config explain tls");
	} else if (end_s != 0 && left_s < CERTIFICATE_WARN_S) {
		snprintf(text, sizeof(text), "the TLS certificate expires in %lld days", (long long)(left_s / 86400));
		admin_problem(json, &problems, text, "prickle config explain tls");
	}
	if (auth_tls_key_exposed(a->tls)) {
		snprintf(text, sizeof(text), "chmod o-r '%s'", ctx->config->tls_key);
		admin_problem(json, &problems, "every user of this machine may read the private key of TLS", text);
	}
	admin_problems_end(json, problems);
}

const struct role_ops role_auth = {
	.start = start,
	.run = run,
	.channel = channel,
	.reload = reload,
	.stop = stop,
	.status = status,
};
