/*
 * For tests of IMAP sessions: clients over socket pairs, the mailbox layer and the engine in memory. auth is replaced by the functions below and
 * in shares_rig.h: ann and bob, whose password is "secret". Include it once, in the test's only file.
 */
#pragma once
#include "mail/session/imap.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "engine/memory.h"
#include "mail/session/shares_rig.h"
#include "policy/shipped_test.h"
#include "sys/fiber.h"
#include "sys/loop.h"

/* ---- a stand-in for auth ---- */

static bool without_quota;

enum authc_result authc_login_password(struct authc *a, const struct authc_peer *peer,
				       struct slice user, struct slice password,
				       struct authc_login *out)
{
	const struct rig_user *who = rig_user_of(user);

	if (who == NULL || !slice_eq(password, SLICE("secret")))
		return AUTHC_REJECTED;
	*out = (struct authc_login){ .grant = { (uint8_t)(who - rig_users) }, .quota_bytes = 1u << 20, .quota_messages = 1000 };
	snprintf(out->account, sizeof(out->account), "%s", who->account);
	snprintf(out->address, sizeof(out->address), "%s", who->address);
	if (without_quota)
		out->quota_bytes = out->quota_messages = 0;
	return AUTHC_OK;
}

void authc_mechanisms(const struct authc *a, const struct authc_peer *peer, struct buf *out)
{
	buf_adds(out, "PLAIN LOGIN");
}

enum authc_result authc_sasl_start(struct authc *a, const struct authc_peer *peer,
				   struct slice mechanism, const struct slice *initial,
				   struct buf *challenge, struct authc_login *out,
				   struct authc_sasl **exchange)
{
	if (!slice_eq_nocase(mechanism, SLICE("PLAIN")))
		return AUTHC_NO_MECHANISM;
	if (initial == NULL) {
		*exchange = (struct authc_sasl *)(void *)a;
		return AUTHC_MORE;
	}
	if (!slice_eq(*initial, SLICE("\0ann@example.org\0secret")))
		return AUTHC_REJECTED;
	return authc_login_password(a, peer, SLICE("ann@example.org"), SLICE("secret"), out);
}

enum authc_result authc_sasl_step(struct authc_sasl **exchange, struct slice response,
				  struct buf *challenge, struct authc_login *out)
{
	*exchange = NULL;
	return authc_sasl_start(NULL, NULL, SLICE("PLAIN"), &response, challenge, out, exchange);
}

enum authc_open_result authc_open(struct authc *a, struct slice client)
{
	return AUTHC_OPEN_OK;
}

void authc_close(struct authc *a, struct slice client)
{
}

void authc_sasl_cancel(struct authc_sasl **exchange)
{
	*exchange = NULL;
}

void authc_logout(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES])
{
}

struct tls_context *authc_tls(struct authc *a)
{
	return NULL;
}

/* ---- a server and its clients ---- */

struct server {
	struct session_services sv;
	struct loop *loop;
	struct engine *engine;
	struct world *world;
};

struct client {
	struct server *server;
	int fd;
	struct buf got;
	bool ended;
};

static void server_init(struct server *s)
{
	*s = (struct server){ 0 };
	ck_assert_int_eq(loop_new(&s->loop), 0);
	s->engine = engine_memory_new();
	s->world = world_real_new(-1);
	s->sv = (struct session_services){
		.loop = s->loop,
		.world = s->world,
		.engine = s->engine,
		.authority = shipped_authority(),
		.authc = (struct authc *)(void *)s,
		.set = { .hostname = "test.example.org", .domain = "example.org",
			 .idle_timeout_us = 1800000000, .login_timeout_us = 60000000,
			 .command_timeout_us = 10000000, .message_bytes_max = 100000,
			 .bad_commands_max = 5, .failed_logins_max = 3, .plain_without_tls = true },
	};
	list_init(&s->sv.sessions);
	ck_assert_int_eq(accounts_new(s->world, &(struct accounts_options){ .buckets = 1, .cache_bytes = 1u << 20 },
				      &s->sv.accounts), 0);
}

static void turn(struct server *s)
{
	for (int i = 0; i < 3; i++)
		loop_run_once(s->loop, 0);
}

static void ended(void *arg, struct session *s)
{
	((struct client *)arg)->ended = true;
}

static void client_read(struct client *c)
{
	char chunk[65536];
	ssize_t n;

	while ((n = recv(c->fd, chunk, sizeof(chunk), MSG_DONTWAIT)) > 0)
		buf_add(&c->got, slice_of(chunk, (size_t)n));
}

/* Everything that the server says until a line begins with `tag` and a blank. */
static const char *until(struct client *c, const char *tag)
{
	for (int i = 0; i < 2000; i++) {
		struct slice rest, line;

		turn(c->server);
		client_read(c);
		rest = buf_slice(&c->got);
		while (slice_cut(rest, '\n', &line, &rest)) {
			if (slice_starts(line, slice_str(tag)) && line.len > strlen(tag) &&
			    line.ptr[strlen(tag)] == ' ')
				return buf_cstr(&c->got);
		}
		if (c->ended)
			break;
		loop_run_once(c->server->loop, 1);
	}
	return buf_cstr(&c->got);
}

static void client_send(struct client *c, const char *text)
{
	ck_assert_int_eq(send(c->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static struct client *connect_client(struct server *s, struct client *c)
{
	int fds[2];
	struct sockaddr_storage peer = { .ss_family = AF_UNIX };

	*c = (struct client){ .server = s, .got = BUF_INIT(64u << 20) };
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	c->fd = fds[0];
	ck_assert_int_eq(session_start(&s->sv, &imap_session, fds[1], &peer, false, ended, c), 0);
	until(c, "*");
	ck_assert(slice_starts(buf_slice(&c->got), SLICE("* OK [CAPABILITY ")));
	return c;
}

/* Send a command "tag ...\r\n" and return its whole answer. */
static const char *ask(struct client *c, const char *command)
{
	char tag[64];
	size_t n = strcspn(command, " ");

	ck_assert(n < sizeof(tag));
	memcpy(tag, command, n);
	tag[n] = '\0';
	buf_reset(&c->got);
	client_send(c, command);
	client_send(c, "\r\n");
	return until(c, tag);
}

static struct client *login_as(struct server *s, struct client *c, const char *user)
{
	char command[64];

	snprintf(command, sizeof(command), "l LOGIN %s secret", user);
	connect_client(s, c);
	ck_assert_ptr_nonnull(strstr(ask(c, command), "l OK [CAPABILITY"));
	return c;
}

static void client_done(struct client *c)
{
	close(c->fd);
	for (int i = 0; i < 1000 && !c->ended; i++)
		loop_run_once(c->server->loop, 1);
	ck_assert(c->ended);
	buf_done(&c->got);
}

static void server_done(struct server *s)
{
	ck_assert_uint_eq(s->sv.session_count, 0);
	accounts_free(s->sv.accounts);
	engine_close(s->engine);
	loop_free(s->loop);
	world_free(s->world);
}

#define HAS(text, part) ck_assert_msg(strstr((text), (part)) != NULL, "no '%s' in:\n%s", (part), (text))
#define HAS_NOT(text, part)                                                                        \
	ck_assert_msg(strstr((text), (part)) == NULL, "'%s' in:\n%s", (part), (text))

/* The message of RFC 3501 §6.3.11. */
static const char message[] = "Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\n"
			      "From: Fred Foobar <foobar@Blurdybloop.example>\r\n"
			      "Subject: afternoon meeting\r\n"
			      "To: mooch@owatagu.siam.edu.example\r\n"
			      "Message-Id: <B27397-0100000@Blurdybloop.example>\r\n"
			      "MIME-Version: 1.0\r\n"
			      "Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n"
			      "\r\n"
			      "Hello Joe, do you think we can meet at 3:30 tomorrow?\r\n";
static const char *append(struct client *c, const char *tag, const char *arguments, const char *text)
{
	char line[500];

	snprintf(line, sizeof(line), "%s APPEND %s {%zu+}\r\n", tag, arguments, strlen(text));
	buf_reset(&c->got);
	client_send(c, line);
	client_send(c, text);
	client_send(c, "\r\n");
	return until(c, tag);
}
