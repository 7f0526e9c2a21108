#include "mail/session/authc_private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/map.h"
#include "base/must.h"
#include "base/reader.h"
#include "mail/auth/wire.h"
#include "mail/session/rcpt_memory.h"
#include "sys/fiber.h"
#include "sys/ipc.h"
#include "sys/tls.h"

#define LOGIN_TIMEOUT_US 60000000	/* a turn to hash, the hash, and the delay of a failure */
#define CALL_TIMEOUT_US	 10000000
#define LIVE_IN_MESSAGE	 1000u
#define CLIENTS_MAX	 100000u
#define BACK_WAIT_US	 2000000	/* auth is started again within a second */
#define BACK_LOOK_US	 20000

_Static_assert((int)AUTHC_OK == AUTH_OK && (int)AUTHC_MORE == AUTH_MORE &&
		       (int)AUTHC_REJECTED == AUTH_REJECTED &&
		       (int)AUTHC_DISABLED == AUTH_DISABLED &&
		       (int)AUTHC_SLOW_DOWN == AUTH_SLOW_DOWN &&
		       (int)AUTHC_MALFORMED == AUTH_MALFORMED &&
		       (int)AUTHC_NO_MECHANISM == AUTH_NO_MECHANISM &&
		       (int)AUTHC_NEEDS_TLS == AUTH_NEEDS_TLS &&
		       (int)AUTHC_TEMPORARY == AUTH_TEMPORARY &&
		       (int)AUTHC_SESSIONS == AUTH_SESSIONS &&
		       (int)AUTHC_OPEN_OK == AUTH_OPEN_OK &&
		       (int)AUTHC_OPEN_TOO_MANY == AUTH_OPEN_TOO_MANY &&
		       (int)AUTHC_OPEN_TOO_FAST == AUTH_OPEN_TOO_FAST,
	       "the results go over the channel as numbers");
_Static_assert((int)AUTHC_RCPT_OK == AUTH_RCPT_OK &&
		       (int)AUTHC_RCPT_NOT_LOCAL == AUTH_RCPT_NOT_LOCAL &&
		       (int)AUTHC_RCPT_NO_USER == AUTH_RCPT_NO_USER &&
		       (int)AUTHC_RCPT_BAD_ADDRESS == AUTH_RCPT_BAD_ADDRESS &&
		       (int)AUTHC_RCPT_DISABLED == AUTH_RCPT_DISABLED &&
		       (int)AUTHC_RCPT_OVER_QUOTA == AUTH_RCPT_OVER_QUOTA &&
		       (int)AUTHC_RCPT_ALIAS_LOOP == AUTH_RCPT_ALIAS_LOOP &&
		       (int)AUTHC_RCPT_TEMPORARY == AUTH_RCPT_TEMPORARY,
	       "the results go over the channel as numbers");
_Static_assert((int)AUTHC_SHARE_OK == AUTH_SHARE_OK && (int)AUTHC_SHARE_NONE == AUTH_SHARE_NONE &&
		       (int)AUTHC_SHARE_DENIED == AUTH_SHARE_DENIED && (int)AUTHC_SHARE_MALFORMED == AUTH_SHARE_MALFORMED &&
		       (int)AUTHC_SHARE_NO_USER == AUTH_SHARE_NO_USER && (int)AUTHC_SHARE_OWNER == AUTH_SHARE_OWNER &&
		       (int)AUTHC_SHARE_LIMIT == AUTH_SHARE_LIMIT && (int)AUTHC_SHARE_TEMPORARY == AUTH_SHARE_TEMPORARY,
	       "the results go over the channel as numbers");
_Static_assert((int)AUTHC_IMAP == AUTH_IMAP && (int)AUTHC_POP3 == AUTH_POP3 &&
		       (int)AUTHC_SUBMISSION == AUTH_SUBMISSION,
	       "the services go over the channel as numbers");

struct authc {
	struct loop *loop;
	struct ipc *ipc;		/* NULL while auth is away */
	uint64_t channel;		/* counts channels */
	bool scram;
	struct tls_context *tls;
	/*
	 * Who is logged in, by grant. Auth forgets it when it restarts; the grants live on in the
	 * store, and so shall the sessions.
	 */
	struct map logins;
	struct rates *open;		/* connections of clients that auth counts */
	bool remember;			/* answers about recipients */
	struct rcpt_memory rcpts;
};

struct login {
	struct map_node node;
	uint8_t grant[AUTHC_GRANT_BYTES];
	char account[AUTHC_ACCOUNT_CHARS + 1];
	char address[];
};

struct authc_sasl {
	struct authc *authc;
	uint64_t channel;		/* where the exchange lives */
	uint32_t id;
};

static void on_message(void *arg, struct ipc_request *req);
static void on_closed(void *arg, struct ipc *ipc);
static const struct ipc_callbacks callbacks = { .serve = on_message, .closed = on_closed };

int authc_new(struct loop *l, struct authc **out)
{
	struct authc *a = calloc(1, sizeof(*a));

	if (a == NULL || rates_new(CLIENTS_MAX, &a->open) < 0) {
		free(a);
		return -ENOMEM;
	}
	a->loop = l;
	rcpt_memory_init(&a->rcpts);
	*out = a;
	return 0;
}

void authc_free(struct authc *a)
{
	struct map_node *n;

	if (a == NULL)
		return;
	ipc_free(a->ipc);
	rcpt_memory_forget(&a->rcpts);
	tls_context_unref(a->tls);
	while ((n = map_any(&a->logins)) != NULL) {
		map_del(&a->logins, n);
		free(container_of(n, struct login, node));
	}
	map_done(&a->logins);
	rates_free(a->open);
	free(a);
}

/* Auth may have started anew, and know nothing of them. */
static void tell_open(void *arg, struct slice client, unsigned open)
{
	AUTO_BUF struct buf payload = BUF_INIT(64);
	struct authc *a = arg;

	buf_blob(&payload, client);
	buf_varint(&payload, open);
	if (payload.err == 0)
		ipc_send(a->ipc, AUTH_OPENED, buf_slice(&payload), -1);
}

static void send_live(struct authc *a, struct buf *payload, bool last)
{
	payload->ptr[0] = last;
	if (payload->err == 0)
		ipc_send(a->ipc, AUTH_LIVE, buf_slice(payload), -1);
	buf_truncate(payload, 1);
}

/* Auth may have started anew, and taken over grants of sessions that ended meanwhile. */
static void tell_live(struct authc *a)
{
	AUTO_BUF struct buf payload = BUF_INIT(1 + LIVE_IN_MESSAGE * AUTHC_GRANT_BYTES);
	size_t n = 0;

	buf_addc(&payload, 0);
	if (payload.err != 0)
		return;
	for (struct map_node *it = map_iter(&a->logins, NULL); it != NULL; it = map_iter(&a->logins, it)) {
		buf_add(&payload, slice_of(container_of(it, struct login, node)->grant, AUTHC_GRANT_BYTES));
		if (++n % LIVE_IN_MESSAGE == 0)
			send_live(a, &payload, false);
	}
	send_live(a, &payload, true);
}

int authc_set_channel(struct authc *a, int fd)
{
	struct ipc *ipc = NULL;
	int err = ipc_new(a->loop, fd, &callbacks, a, &ipc);

	if (err < 0) {
		close(fd);
		return err;
	}
	ipc_free(a->ipc);
	a->ipc = ipc;
	a->channel++;
	rates_each_open(a->open, tell_open, a);
	tell_live(a);
	rcpt_memory_forget(&a->rcpts);
	return 0;
}

static void on_closed(void *arg, struct ipc *ipc)
{
	struct authc *a = arg;

	if (a->ipc == ipc)
		a->ipc = NULL;
	ipc_free(ipc);
}

static int sign(void *arg, struct tls_key_id key, enum tls_scheme scheme, struct slice tbs,
		struct buf *signature);

static void take_certificate(struct authc *a, struct slice chain)
{
	struct tls_remote remote = { .sign = sign, .arg = a };
	struct tls_context *ctx = NULL;

	/* One that we cannot use leaves the old one in place; auth has checked it before. */
	if (tls_context_new(chain, &remote, &ctx, NULL) < 0)
		return;
	tls_context_unref(a->tls);
	a->tls = ctx;
}

static void on_message(void *arg, struct ipc_request *req)
{
	struct authc *a = arg;
	struct reader r = reader_of(req->payload);
	struct slice chain;
	uint8_t flags;

	switch (req->type) {
	case AUTH_HELLO:
		flags = rd_u8(&r);
		if (rd_end(&r))
			a->scram = (flags & AUTH_HELLO_SCRAM) != 0;
		break;
	case AUTH_CERT:
		chain = rd_blob(&r);
		if (rd_end(&r) && chain.len <= TLS_CHAIN_BYTES_MAX)
			take_certificate(a, chain);
		break;
	case AUTH_FORGET:
		rcpt_memory_forget(&a->rcpts);
		break;
	default:
		break;
	}
	if (!req->one_way)
		ipc_reply(req, (struct slice){ 0 });
}

/* Auth is started again within a second: rather wait than fail a client. */
static void wait_for_auth(struct authc *a)
{
	for (int64_t waited = 0; a->ipc == NULL && waited < BACK_WAIT_US; waited += BACK_LOOK_US)
		fiber_sleep(BACK_LOOK_US);
}

/* A call that may be repeated when auth dies over it. */
static int call(struct authc *a, enum auth_message type, const struct buf *payload,
		int64_t timeout_us, struct buf *reply)
{
	int err;

	if (payload->err != 0)
		return payload->err;
	wait_for_auth(a);
	err = ipc_call(a->ipc, (uint8_t)type, buf_slice(payload), timeout_us, reply);
	if (err != -EPIPE)
		return err;
	/* The channel's end is told from the loop, after us. */
	fiber_sleep(BACK_LOOK_US);
	wait_for_auth(a);
	buf_reset(reply);
	return ipc_call(a->ipc, (uint8_t)type, buf_slice(payload), timeout_us, reply);
}

int authc_call(struct authc *a, uint8_t type, const struct buf *payload, struct buf *reply)
{
	return call(a, (enum auth_message)type, payload, CALL_TIMEOUT_US, reply);
}

/* Passwords do not stay behind in memory. */
static void wipe(struct buf *b)
{
	if (b->ptr != NULL)
		explicit_bzero(b->ptr, b->cap);
}

static void write_peer(struct buf *out, const struct authc_peer *peer)
{
	buf_addc(out, (uint8_t)peer->service);
	buf_addc(out, peer->secure);
	buf_blob(out, slice_head(peer->source, 48));
	buf_blob(out, peer->tls_exporter);
	buf_blob(out, peer->tls_end_point);
}

static bool copy_text(struct slice from, char *to, size_t size)
{
	return slice_to_str(from, to, size);
}

/* The login of a positive answer. False: malformed. */
static bool read_login(struct reader *r, struct authc_login *out)
{
	struct slice grant = rd_bytes(r, AUTHC_GRANT_BYTES);
	struct slice account = rd_bytes(r, AUTHC_ACCOUNT_CHARS);
	struct slice address = rd_blob(r), name = rd_blob(r);
	struct authc_login l = { 0 };

	l.quota_bytes = rd_be64(r);
	l.quota_messages = rd_be64(r);
	l.ticket.given = rd_u8(r) == 1;
	if (l.ticket.given) {
		l.ticket.from = rd_be16(r);
		l.ticket.to = rd_be16(r);
		uint64_t until_us = rd_be64(r);

		l.ticket.until_us = (int64_t)MIN(until_us, (uint64_t)INT64_MAX);
		if (!copy_text(rd_blob(r), l.ticket.who, sizeof(l.ticket.who)))
			return false;
	}
	if (!rd_end(r) || !copy_text(account, l.account, sizeof(l.account)) ||
	    !copy_text(address, l.address, sizeof(l.address)) ||
	    !copy_text(name, l.name, sizeof(l.name)))
		return false;
	memcpy(l.grant, grant.ptr, sizeof(l.grant));
	*out = l;
	return true;
}

static struct login *login_find(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES])
{
	uint64_t hash = map_hash(slice_of(grant, AUTHC_GRANT_BYTES));

	for (struct map_node *n = map_first(&a->logins, hash); n != NULL; n = map_next(n, hash)) {
		struct login *l = container_of(n, struct login, node);

		if (memcmp(l->grant, grant, AUTHC_GRANT_BYTES) == 0)
			return l;
	}
	return NULL;
}

bool authc_address_of(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice *address)
{
	const struct login *l = login_find(a, grant);

	if (l != NULL)
		*address = slice_str(l->address);
	return l != NULL;
}

static enum authc_result login_done(struct authc *a, struct reader *r, struct authc_login *out)
{
	struct login *l;
	size_t len;

	if (!read_login(r, out))
		return AUTHC_TEMPORARY;
	len = strlen(out->address) + 1;
	l = calloc(1, sizeof(*l) + len);
	if (l != NULL) {
		memcpy(l->grant, out->grant, sizeof(l->grant));
		memcpy(l->address, out->address, len);
		memcpy(l->account, out->account, sizeof(l->account));
		if (map_add(&a->logins, &l->node,
			    map_hash(slice_of(l->grant, sizeof(l->grant)))) == 0)
			return AUTHC_OK;
	}
	free(l);
	authc_logout(a, out->grant);
	return AUTHC_TEMPORARY;
}

static enum authc_result result_of(uint8_t number)
{
	return number <= AUTHC_SESSIONS ? (enum authc_result)number : AUTHC_TEMPORARY;
}

enum authc_result authc_login_password(struct authc *a, const struct authc_peer *peer,
				       struct slice user, struct slice password,
				       struct authc_login *out)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES);
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);
	enum authc_result result = AUTHC_TEMPORARY;
	struct reader r;

	if (!peer->secure)
		return AUTHC_NEEDS_TLS;
	if (password.len > AUTHC_PASSWORD_BYTES_MAX || user.len > AUTHC_RESPONSE_BYTES_MAX)
		return AUTHC_REJECTED;
	/* At once in full size, so that growing leaves no copies of the password behind. */
	if (buf_room(&payload, user.len + password.len + 1024) == NULL)
		return AUTHC_TEMPORARY;
	write_peer(&payload, peer);
	buf_blob(&payload, user);
	buf_blob(&payload, password);
	if (call(a, AUTH_LOGIN, &payload, LOGIN_TIMEOUT_US, &reply) == 0) {
		r = reader_of(buf_slice(&reply));
		result = result_of(rd_u8(&r));
		if (r.bad || result == AUTHC_MORE)
			result = AUTHC_TEMPORARY;
		else if (result == AUTHC_OK)
			result = login_done(a, &r, out);
	}
	wipe(&payload);
	return result;
}

void authc_mechanisms(const struct authc *a, const struct authc_peer *peer, struct buf *out)
{
	static const char *const names[] = { "SCRAM-SHA-256-PLUS ", "SCRAM-SHA-256 ",
					     "PLAIN LOGIN " };
	bool offer[ARRAY_LEN(names)] = {
		a->scram && (peer->tls_exporter.len > 0 || peer->tls_end_point.len > 0),
		a->scram,
		peer->secure,
	};
	size_t before = out->len;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (offer[i])
			buf_adds(out, names[i]);
	if (out->len > before)
		buf_truncate(out, out->len - 1);
}

/* What a SASL message was answered with. x: a new exchange, or the one that goes on. */
static enum authc_result sasl_answer(struct authc_sasl *x, struct slice reply,
				     struct buf *challenge, struct authc_login *out)
{
	struct reader r = reader_of(reply);
	enum authc_result result = result_of(rd_u8(&r));
	struct slice bytes;

	if (r.bad)
		return AUTHC_TEMPORARY;
	if (result == AUTHC_OK)
		return login_done(x->authc, &r, out);
	if (result != AUTHC_MORE)
		return result;
	x->id = rd_be32(&r);
	x->channel = x->authc->channel;
	bytes = rd_blob(&r);
	if (!rd_end(&r))
		return AUTHC_TEMPORARY;
	buf_add(challenge, bytes);
	return challenge->err == 0 ? AUTHC_MORE : AUTHC_TEMPORARY;
}

enum authc_result authc_sasl_start(struct authc *a, const struct authc_peer *peer,
				   struct slice mechanism, const struct slice *initial,
				   struct buf *challenge, struct authc_login *out,
				   struct authc_sasl **exchange)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES);
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);
	enum authc_result result = AUTHC_TEMPORARY;
	struct authc_sasl *x;

	*exchange = NULL;
	if (mechanism.len > 20)		/* RFC 4422 §3.1 */
		return AUTHC_NO_MECHANISM;
	if (initial != NULL && initial->len > AUTHC_RESPONSE_BYTES_MAX)
		return AUTHC_MALFORMED;
	x = calloc(1, sizeof(*x));
	if (x == NULL || buf_room(&payload, AUTHC_RESPONSE_BYTES_MAX + 1024) == NULL) {
		free(x);
		return AUTHC_TEMPORARY;
	}
	x->authc = a;
	write_peer(&payload, peer);
	buf_blob(&payload, mechanism);
	buf_addc(&payload, initial != NULL);
	buf_blob(&payload, initial != NULL ? *initial : (struct slice){ 0 });
	if (call(a, AUTH_START, &payload, LOGIN_TIMEOUT_US, &reply) == 0)
		result = sasl_answer(x, buf_slice(&reply), challenge, out);
	wipe(&payload);
	if (result == AUTHC_MORE)
		*exchange = x;
	else
		free(x);
	return result;
}

enum authc_result authc_sasl_step(struct authc_sasl **exchange, struct slice response,
				  struct buf *challenge, struct authc_login *out)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES);
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);
	enum authc_result result = AUTHC_TEMPORARY;
	struct authc_sasl *x = *exchange;

	if (response.len > AUTHC_RESPONSE_BYTES_MAX) {
		authc_sasl_cancel(exchange);
		return AUTHC_MALFORMED;
	}
	if (buf_room(&payload, response.len + 64) != NULL) {
		buf_be32(&payload, x->id);
		buf_blob(&payload, response);
		/* An exchange dies with the auth process that it began in; no repetition. */
		if (x->channel == x->authc->channel &&
		    ipc_call(x->authc->ipc, AUTH_STEP, buf_slice(&payload), LOGIN_TIMEOUT_US,
			     &reply) == 0)
			result = sasl_answer(x, buf_slice(&reply), challenge, out);
		wipe(&payload);
	}
	if (result != AUTHC_MORE) {
		free(x);
		*exchange = NULL;
	}
	return result;
}

void authc_sasl_cancel(struct authc_sasl **exchange)
{
	AUTO_BUF struct buf payload = BUF_INIT(16);
	struct authc_sasl *x = *exchange;

	if (x == NULL)
		return;
	buf_be32(&payload, x->id);
	if (payload.err == 0 && x->channel == x->authc->channel)
		ipc_send(x->authc->ipc, AUTH_CANCEL, buf_slice(&payload), -1);
	free(x);
	*exchange = NULL;
}

void authc_logout(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES])
{
	struct login *l = login_find(a, grant);

	/* When auth is away: the grant ends by itself, since nobody renews it. */
	ipc_send(a->ipc, AUTH_LOGOUT, slice_of(grant, AUTHC_GRANT_BYTES), -1);
	if (l != NULL) {
		map_del(&a->logins, &l->node);
		free(l);
	}
}

enum authc_open_result authc_open(struct authc *a, struct slice client)
{
	AUTO_BUF struct buf payload = BUF_INIT(64), reply = BUF_INIT(64);
	enum authc_open_result result = AUTHC_OPEN_OK;
	uint64_t channel = a->channel;

	buf_blob(&payload, client);
	/* A client does not wait for an auth that is away: no repetition. */
	if (payload.err == 0 && a->ipc != NULL &&
	    ipc_call(a->ipc, AUTH_OPEN, buf_slice(&payload), CALL_TIMEOUT_US, &reply) == 0 &&
	    reply.len == 1 && reply.ptr[0] <= AUTHC_OPEN_TOO_FAST)
		result = (enum authc_open_result)reply.ptr[0];
	if (result != AUTHC_OPEN_OK)
		return result;
	(void)rates_open(a->open, client, 0);
	/* Counted by an auth that is gone, or by none: the new one heard of the others when it came. */
	if ((reply.len == 0 || channel != a->channel) && a->ipc != NULL)
		tell_open(a, client, 1);
	return AUTHC_OPEN_OK;
}

void authc_close(struct authc *a, struct slice client)
{
	AUTO_BUF struct buf payload = BUF_INIT(64);

	(void)rates_close(a->open, client);
	buf_blob(&payload, client);
	if (payload.err == 0)
		ipc_send(a->ipc, AUTH_CLOSED, buf_slice(&payload), -1);
}

bool authc_take(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], enum rate_kind kind)
{
	AUTO_BUF struct buf payload = BUF_INIT(64), reply = BUF_INIT(64);
	struct login *l = login_find(a, grant);

	if (l == NULL)
		return true;
	buf_adds(&payload, l->account);
	buf_addc(&payload, (uint8_t)kind);
	if (call(a, AUTH_TAKE, &payload, CALL_TIMEOUT_US, &reply) < 0 || reply.len != 1)
		return true;
	return reply.ptr[0] != 0;
}

static bool read_target(struct reader *r, struct arena *arena, struct authc_target *t)
{
	struct slice account = rd_bytes(r, AUTHC_ACCOUNT_CHARS);
	struct slice grant = rd_bytes(r, AUTHC_GRANT_BYTES);

	t->address = arena_dup(arena, rd_blob(r));
	t->detail = arena_dup(arena, rd_blob(r));
	t->room_bytes = rd_be64(r);
	t->over_quota = rd_u8(r) != 0;
	if (r->bad || arena->err != 0 || !copy_text(account, t->account, sizeof(t->account)))
		return false;
	memcpy(t->grant, grant.ptr, sizeof(t->grant));
	return true;
}

/* What follows the result. False: malformed, or memory is short. */
static bool read_targets(struct slice answer, struct arena *arena, struct authc_target **targets,
			 size_t *count, bool *steady)
{
	struct reader r = reader_of(answer);

	*steady = rd_u8(&r) != 0;
	size_t n = (size_t)rd_varint_max(&r, AUTHC_TARGETS_MAX);
	struct authc_target *list = r.bad || n == 0 ? NULL : arena_array(arena, n, sizeof(*list));
	if (list == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!read_target(&r, arena, &list[i]))
			return false;
	if (!rd_end(&r))
		return false;
	*targets = list;
	*count = n;
	return true;
}

void authc_remember_rcpts(struct authc *a)
{
	a->remember = true;
}

void authc_forget_rcpts(struct authc *a)
{
	rcpt_memory_forget(&a->rcpts);
}

enum authc_rcpt_result authc_rcpt(struct authc *a, struct slice address, uint64_t size,
				  struct arena *arena, struct authc_target **targets, size_t *count)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES);
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);
	struct slice answer;
	unsigned epoch = a->rcpts.epoch;
	bool steady;

	if (address.len > 4 * AUTHC_ADDRESS_BYTES_MAX)
		return AUTHC_RCPT_BAD_ADDRESS;
	if (rcpt_memory_find(&a->rcpts, address, size, loop_now_us(a->loop), &answer))
		return read_targets(answer, arena, targets, count, &steady) ? AUTHC_RCPT_OK :
									      AUTHC_RCPT_TEMPORARY;
	buf_blob(&payload, address);
	buf_varint(&payload, size);
	buf_varint(&payload, a->remember ? RCPT_AHEAD_BYTES : 0);
	if (call(a, AUTH_RCPT, &payload, CALL_TIMEOUT_US, &reply) < 0)
		return AUTHC_RCPT_TEMPORARY;
	struct reader r = reader_of(buf_slice(&reply));
	uint8_t result = rd_u8(&r);
	if (r.bad || result > AUTHC_RCPT_TEMPORARY)
		return AUTHC_RCPT_TEMPORARY;
	if (result != AUTHC_RCPT_OK)
		return (enum authc_rcpt_result)result;
	answer = rd_rest(&r);
	if (!read_targets(answer, arena, targets, count, &steady))
		return AUTHC_RCPT_TEMPORARY;
	/* Told to forget meanwhile: the answer may be from before the change. */
	if (a->remember && steady && epoch == a->rcpts.epoch)
		rcpt_memory_keep(&a->rcpts, address, answer, loop_now_us(a->loop));
	return AUTHC_RCPT_OK;
}

void authc_delivered(struct authc *a, const char *account, uint64_t bytes)
{
	AUTO_BUF struct buf payload = BUF_INIT(64);

	must(strlen(account) == AUTHC_ACCOUNT_CHARS);
	buf_adds(&payload, account);
	buf_varint(&payload, bytes);
	if (payload.err == 0)
		ipc_send_lazy(a->ipc, AUTH_DELIVERED, buf_slice(&payload));
}

enum authc_result authc_sender_allowed(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES],
				       struct slice address)
{
	AUTO_BUF struct buf payload = BUF_INIT(IPC_MESSAGE_BYTES);
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);
	struct login *l = login_find(a, grant);
	struct reader r;
	uint8_t result;

	if (l == NULL)
		return AUTHC_TEMPORARY;
	if (address.len > 4 * AUTHC_ADDRESS_BYTES_MAX)
		return AUTHC_REJECTED;
	buf_blob(&payload, slice_str(l->address));
	buf_blob(&payload, address);
	if (call(a, AUTH_SENDER, &payload, CALL_TIMEOUT_US, &reply) < 0)
		return AUTHC_TEMPORARY;
	r = reader_of(buf_slice(&reply));
	result = rd_u8(&r);
	if (!rd_end(&r))
		return AUTHC_TEMPORARY;
	return result == AUTHC_OK || result == AUTHC_REJECTED ? (enum authc_result)result :
								AUTHC_TEMPORARY;
}

struct tls_context *authc_tls(struct authc *a)
{
	return a->tls;
}

/* The handshake's signature: auth has the key (sys/tls.h). */
static int sign(void *arg, struct tls_key_id key, enum tls_scheme scheme, struct slice tbs,
		struct buf *signature)
{
	AUTO_BUF struct buf payload = BUF_INIT(TLS_TBS_BYTES_MAX + 64);
	AUTO_BUF struct buf reply = BUF_INIT(TLS_SIGNATURE_BYTES_MAX + 64);
	struct authc *a = arg;
	struct reader r;
	struct slice bytes;
	uint8_t status;
	int err;

	buf_add(&payload, slice_of(key.bytes, sizeof(key.bytes)));
	buf_be16(&payload, (uint16_t)scheme);
	buf_blob(&payload, tbs);
	err = call(a, AUTH_SIGN, &payload, CALL_TIMEOUT_US, &reply);
	if (err < 0)
		return err;
	r = reader_of(buf_slice(&reply));
	status = rd_u8(&r);
	bytes = rd_blob(&r);
	if (!rd_end(&r) || status != 0)
		return -EKEYREJECTED;
	buf_add(signature, bytes);
	return signature->err;
}
