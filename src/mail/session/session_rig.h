/*
 * For tests of sessions: a client on the other end of a socketpair, an auth client that knows a
 * few people by heart, and a world whose clock stands still. The functions of authc.h are defined
 * here, so the real ones are not linked. Include it once, in the test's only file.
 */
#pragma once
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/test.h"
#include "mail/session/authc.h"
#include "mail/session/session.h"
#include "policy/shipped_test.h"
#include "sys/fiber.h"
#include "sys/world.h"

/* ---- people ---- */

struct authc {
	bool away;			/* every question is answered "temporary" */
	unsigned logouts, rcpts;
	uint64_t delivered_bytes;
	uint64_t bob_room;		/* 0: no limit */
	unsigned open;
	enum authc_open_result open_result;
	unsigned taken[8];		/* by enum rate_kind */
	bool over_rate;
};

static const struct {
	const char *address;
	enum authc_rcpt_result result;
	const char *accounts[2];
} rig_addresses[] = {
	{ "ann@example.org", AUTHC_RCPT_OK, { "00000000000000aa" } },
	{ "ann+lists@example.org", AUTHC_RCPT_OK, { "00000000000000aa" } },
	{ "bob@example.org", AUTHC_RCPT_OK, { "00000000000000bb" } },
	{ "j\xc3\xbcrgen@example.org", AUTHC_RCPT_OK, { "00000000000000bb" } },
	{ "postmaster", AUTHC_RCPT_OK, { "00000000000000aa" } },
	{ "team@example.org", AUTHC_RCPT_OK, { "00000000000000aa", "00000000000000bb" } },
	{ "full@example.org", AUTHC_RCPT_OVER_QUOTA, { 0 } },
	{ "locked@example.org", AUTHC_RCPT_DISABLED, { 0 } },
	{ "loop@example.org", AUTHC_RCPT_ALIAS_LOOP, { 0 } },
	{ "later@example.org", AUTHC_RCPT_TEMPORARY, { 0 } },
};

enum authc_rcpt_result authc_rcpt(struct authc *a, struct slice address, uint64_t size,
				  struct arena *arena, struct authc_target **targets, size_t *count)
{
	(void)size;
	a->rcpts++;
	if (a->away)
		return AUTHC_RCPT_TEMPORARY;
	for (size_t i = 0; i < ARRAY_LEN(rig_addresses); i++) {
		if (!slice_eq_nocase(address, slice_str(rig_addresses[i].address)))
			continue;
		if (rig_addresses[i].result != AUTHC_RCPT_OK)
			return rig_addresses[i].result;
		*targets = arena_array(arena, 2, sizeof(**targets));
		ck_assert_ptr_nonnull(*targets);
		*count = 0;
		for (size_t k = 0; k < 2 && rig_addresses[i].accounts[k] != NULL; k++) {
			struct authc_target *t = &(*targets)[(*count)++];
			memcpy(t->account, rig_addresses[i].accounts[k], AUTHC_ACCOUNT_CHARS + 1);
			t->address = t->account[15] == 'a' ? SLICE("ann@example.org") :
							     SLICE("bob@example.org");
			t->room_bytes = t->account[15] == 'b' && a->bob_room > 0 ? a->bob_room :
										   UINT64_MAX;
		}
		return AUTHC_RCPT_OK;
	}
	return slice_ends(address, SLICE("@example.org")) ? AUTHC_RCPT_NO_USER : AUTHC_RCPT_NOT_LOCAL;
}

static enum authc_result rig_login(struct authc *a, struct slice user, struct slice password,
				   struct authc_login *out)
{
	if (a->away)
		return AUTHC_TEMPORARY;
	if (!slice_eq(user, SLICE("ann@example.org")) || !slice_eq(password, SLICE("secret")))
		return AUTHC_REJECTED;
	memset(out->grant, 7, sizeof(out->grant));
	memcpy(out->account, "00000000000000aa", sizeof(out->account));
	snprintf(out->address, sizeof(out->address), "ann@example.org");
	return AUTHC_OK;
}

enum authc_result authc_login_password(struct authc *a, const struct authc_peer *peer,
				       struct slice user, struct slice password,
				       struct authc_login *out)
{
	return peer->secure ? rig_login(a, user, password, out) : AUTHC_NEEDS_TLS;
}

void authc_mechanisms(const struct authc *a, const struct authc_peer *peer, struct buf *out)
{
	(void)a;
	if (peer->secure)
		buf_adds(out, "PLAIN LOGIN");
}

struct authc_sasl {
	struct authc *a;
};

static enum authc_result rig_plain(struct authc *a, struct slice message, struct authc_login *out)
{
	struct slice zid, cid, rest, password;

	if (!slice_cut(message, 0, &zid, &rest) || !slice_cut(rest, 0, &cid, &password))
		return AUTHC_MALFORMED;
	return rig_login(a, cid, password, out);
}

enum authc_result authc_sasl_start(struct authc *a, const struct authc_peer *peer,
				   struct slice mechanism, const struct slice *initial,
				   struct buf *challenge, struct authc_login *out,
				   struct authc_sasl **exchange)
{
	(void)challenge;
	*exchange = NULL;
	if (!slice_eq_nocase(mechanism, SLICE("PLAIN")))
		return AUTHC_NO_MECHANISM;
	if (!peer->secure)
		return AUTHC_NEEDS_TLS;
	if (initial != NULL)
		return rig_plain(a, *initial, out);
	*exchange = calloc(1, sizeof(**exchange));
	(*exchange)->a = a;
	return AUTHC_MORE;
}

enum authc_result authc_sasl_step(struct authc_sasl **exchange, struct slice response,
				  struct buf *challenge, struct authc_login *out)
{
	struct authc *a = (*exchange)->a;

	(void)challenge;
	free(*exchange);
	*exchange = NULL;
	return rig_plain(a, response, out);
}

void authc_sasl_cancel(struct authc_sasl **exchange)
{
	free(*exchange);
	*exchange = NULL;
}

void authc_logout(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES])
{
	ck_assert_uint_eq(grant[0], 7);
	a->logouts++;
}

enum authc_open_result authc_open(struct authc *a, struct slice client)
{
	(void)client;
	a->open++;
	return a->open_result;
}

void authc_close(struct authc *a, struct slice client)
{
	(void)client;
	ck_assert_uint_gt(a->open, 0);
	a->open--;
}

bool authc_take(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], enum rate_kind kind)
{
	ck_assert_uint_eq(grant[0], 7);
	a->taken[kind]++;
	return !a->over_rate;
}

void authc_forget_rcpts(struct authc *a)
{
}

void authc_delivered(struct authc *a, const char *account, uint64_t bytes)
{
	(void)account;
	a->delivered_bytes += bytes;
}

enum authc_result authc_sender_allowed(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES],
				       struct slice address)
{
	(void)grant;
	if (a->away)
		return AUTHC_TEMPORARY;
	return address.len == 0 || slice_eq_nocase(address, SLICE("ann@example.org")) ?
		       AUTHC_OK : AUTHC_REJECTED;
}

struct tls_context *authc_tls(struct authc *a)
{
	(void)a;
	return NULL;
}

/* ---- the world ---- */

static uint8_t rig_random_next;

static int64_t rig_real_us(struct world *w)
{
	(void)w;
	return (int64_t)1795424400 * 1000000;	/* Mon, 23 Nov 2026 09:00:00 */
}

static int64_t rig_mono_us(struct world *w)
{
	(void)w;
	return 1000000;
}

static void rig_random(struct world *w, void *out, size_t n)
{
	(void)w;
	memset(out, ++rig_random_next, n);
}

static const struct world_ops rig_world_ops = {
	.real_us = rig_real_us,
	.mono_us = rig_mono_us,
	.random = rig_random,
};

/* ---- a client ---- */

struct rig {
	struct session_services sv;
	struct world world;
	struct authc authc;
};

struct client {
	struct rig *rig;
	int fd;
	bool ended;			/* the server closed */
	bool gone;			/* its session is freed */
	struct buf got;
	size_t seen;
};

static void rig_init(struct rig *r)
{
	*r = (struct rig){ 0 };
	ck_assert_int_eq(loop_new(&r->sv.loop), 0);
	r->world.ops = &rig_world_ops;
	r->sv.world = &r->world;
	r->sv.authc = &r->authc;
	r->sv.authority = shipped_authority();
	list_init(&r->sv.sessions);
	r->sv.set = (struct session_settings){
		.hostname = "mx.example.org",
		.idle_timeout_us = 60000000,
		.login_timeout_us = 60000000,
		.command_timeout_us = 60000000,
		.message_bytes_max = 3 << 20,
		.failed_logins_max = 3,
		.plain_without_tls = true,
	};
}

static void rig_done(struct rig *r)
{
	while (r->sv.session_count > 0)
		loop_run_once(r->sv.loop, 100);
	loop_free(r->sv.loop);
}

static void client_gone(void *arg, struct session *s)
{
	(void)s;
	((struct client *)arg)->gone = true;
}

static void client_open(struct client *c, struct rig *r, const struct session_ops *ops)
{
	struct sockaddr_storage peer = { 0 };
	struct sockaddr_in *in = (void *)&peer;
	int fds[2];

	in->sin_family = AF_INET;
	/* 192.0.2.1 sends mail; users are on this host, since they log in without TLS. */
	in->sin_addr.s_addr = strcmp(ops->name, "smtp") == 0 ? htonl(0xc0000201)
							     : htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	*c = (struct client){ .rig = r, .fd = fds[0], .got = BUF_INIT(64 << 20) };
	ck_assert_int_eq(session_start(&r->sv, ops, fds[1], &peer, false, client_gone, c), 0);
}

static void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	while (!c->gone)
		loop_run_once(c->rig->sv.loop, 100);
	buf_done(&c->got);
}

/* Read what is there. */
static void client_poll(struct client *c)
{
	uint8_t piece[65536];
	ssize_t n;

	while ((n = recv(c->fd, piece, sizeof(piece), 0)) > 0)
		buf_add(&c->got, slice_of(piece, (size_t)n));
	c->ended = c->ended || n == 0 || (errno != EAGAIN && errno != EINTR);
}

static void client_send(struct client *c, struct slice bytes)
{
	while (bytes.len > 0) {
		ssize_t n = send(c->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
		if (n > 0) {
			bytes = slice_from(bytes, (size_t)n);
			continue;
		}
		if (errno != EAGAIN)
			return;			/* the server has closed: the test will see it */
		loop_run_once(c->rig->sv.loop, 10);
		client_poll(c);
	}
}

static void client_says(struct client *c, const char *text)
{
	client_send(c, slice_str(text));
}

static struct slice client_unseen(const struct client *c)
{
	return slice_from(buf_slice(&c->got), c->seen);
}

/* The next bytes from the server are exactly these. */
static void client_expects_(struct client *c, const char *want, int line)
{
	size_t len = strlen(want);

	for (int i = 0; i < 2000 && c->got.len - c->seen < len && !c->ended; i++) {
		loop_run_once(c->rig->sv.loop, 5);
		client_poll(c);
	}
	struct slice got = slice_head(client_unseen(c), len);
	ck_assert_msg(slice_eq(got, slice_str(want)), "line %d: want '%s', got '%.*s'", line, want,
		      SLICE_FMT(client_unseen(c)));
	c->seen += len;
}
#define client_expects(c, want) client_expects_((c), (want), __LINE__)

/* The server closes, without another byte. */
static void client_expects_end_(struct client *c, int line)
{
	for (int i = 0; i < 2000 && !c->ended; i++) {
		loop_run_once(c->rig->sv.loop, 5);
		client_poll(c);
	}
	ck_assert_msg(c->ended && c->got.len == c->seen, "line %d: more: '%.*s'", line,
		      SLICE_FMT(client_unseen(c)));
}
#define client_expects_end(c) client_expects_end_((c), __LINE__)
