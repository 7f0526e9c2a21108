/*
 * A client of an IMAP session, from login on, over the mailbox layer and the engine in memory. The first byte
 * chooses what is enabled, the rest is what the client sends; a second session looks on, so that
 * changes are told as well.
 */
#include "mail/session/imap.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "engine/memory.h"
#include "mail/session/shares_rig.h"
#include "policy/shipped_test.h"
#include "sys/fiber.h"
#include "sys/loop.h"
#include "sys/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- a stand-in for auth: who is not bob is ann ---- */

enum authc_result authc_login_password(struct authc *a, const struct authc_peer *peer,
				       struct slice user, struct slice password,
				       struct authc_login *out)
{
	const struct rig_user *who = &rig_users[slice_eq(user, SLICE("bob"))];

	*out = (struct authc_login){ .grant = { slice_eq(user, SLICE("bob")) }, .quota_bytes = 32768, .quota_messages = 1000 };
	snprintf(out->account, sizeof(out->account), "%s", who->account);
	snprintf(out->address, sizeof(out->address), "%s", who->address);
	return password.len > 0 ? AUTHC_OK : AUTHC_REJECTED;
}

void authc_mechanisms(const struct authc *a, const struct authc_peer *peer, struct buf *out)
{
	buf_adds(out, "PLAIN");
}

enum authc_result authc_sasl_start(struct authc *a, const struct authc_peer *peer,
				   struct slice mechanism, const struct slice *initial,
				   struct buf *challenge, struct authc_login *out,
				   struct authc_sasl **exchange)
{
	return AUTHC_NO_MECHANISM;
}

enum authc_result authc_sasl_step(struct authc_sasl **exchange, struct slice response,
				  struct buf *challenge, struct authc_login *out)
{
	return AUTHC_NO_MECHANISM;
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
}

void authc_logout(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES])
{
}

struct tls_context *authc_tls(struct authc *a)
{
	return NULL;
}

/* ---- a world in which nothing happens: the same input does the same ---- */

static int64_t real_us(struct world *w)
{
	return INT64_C(1795424400) * 1000000;	/* Mon, 23 Nov 2026; UIDVALIDITY counts up from here */
}

static int64_t mono_us(struct world *w)
{
	return 1000000;
}

static uint8_t random_next;

static void random_bytes(struct world *w, void *out, size_t n)
{
	memset(out, ++random_next, n);
}

static const struct world_ops world_ops = { .real_us = real_us, .mono_us = mono_us,
					    .random = random_bytes };

/* ---- one server, two clients ---- */

struct client {
	int fd;
	bool ended;
};

static void ended(void *arg, struct session *s)
{
	((struct client *)arg)->ended = true;
}

static void client_open(struct session_services *sv, struct client *c)
{
	struct sockaddr_storage peer = { .ss_family = AF_UNIX };
	int fds[2];

	c->ended = false;
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	c->fd = fds[0];
	must(session_start(sv, &imap_session, fds[1], &peer, false, ended, c) == 0);
}

/* Let the server work, and read what it says, until it says nothing more. */
static void settle(struct session_services *sv, struct client *c)
{
	static char away[65536];

	for (int quiet = 0; quiet < 4 && !c->ended; quiet++) {
		loop_run_once(sv->loop, 0);
		while (recv(c->fd, away, sizeof(away), MSG_DONTWAIT) > 0)
			quiet = 0;
	}
}

static void say(struct session_services *sv, struct client *c, struct slice text)
{
	while (text.len > 0 && !c->ended) {
		ssize_t n = send(c->fd, text.ptr, text.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0)
			text = slice_from(text, (size_t)n);
		settle(sv, c);
	}
}

static void client_close(struct session_services *sv, struct client *c)
{
	close(c->fd);
	for (int i = 0; i < 100000 && !c->ended; i++)
		loop_run_once(sv->loop, 0);
	must(c->ended);
}

#define MESSAGE                                                                                    \
	"From: Ann <ann@example.org>\r\nTo: g: bob@example.org;\r\nSubject: =?utf-8?q?a_b?=\r\n"   \
	"Message-ID: <1@x>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMIME-Version: 1.0\r\n"       \
	"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n" \
	"\r\nSubject: in\r\n\r\nbody\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"

static void prepare(struct session_services *sv, struct client *c)
{
	AUTO_BUF struct buf append = BUF_INIT(65536);

	say(sv, c, SLICE("a LOGIN ann secret\r\na CREATE x/y\r\na SUBSCRIBE gone/z\r\n"));
	for (int i = 0; i < 3; i++)
		buf_printf(&append, "a APPEND %s (%s) {%zu+}\r\n%s\r\n", i < 2 ? "INBOX" : "x/y",
			   i == 0 ? "\\Seen" : "\\Deleted kw", sizeof(MESSAGE) - 1, MESSAGE);
	say(sv, c, buf_slice(&append));
	say(sv, c, SLICE("a SETACL INBOX bob lrswi\r\na SETACL x/y anyone lrk\r\n"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const enabled[] = { "", "a ENABLE QRESYNC\r\n", "a ENABLE IMAP4rev2\r\n",
					       "a ENABLE CONDSTORE UTF8=ACCEPT\r\n" };
	struct session_services sv = {
		.set = { .hostname = "test.example.org", .idle_timeout_us = 1800000000,
			 .login_timeout_us = 60000000, .command_timeout_us = 10000000,
			 .message_bytes_max = 9000, .bad_commands_max = 50,
			 .plain_without_tls = true },
	};
	struct world world = { .ops = &world_ops };
	struct client c, other;

	random_next = 0;
	rig_list_count = 0;
	if (size < 1 || size > 65536)
		return 0;
	must(loop_new(&sv.loop) == 0);
	sv.engine = engine_memory_new();
	sv.world = &world;
	sv.authc = (struct authc *)(void *)&sv;
	sv.authority = shipped_authority();
	list_init(&sv.sessions);
	must(accounts_new(sv.world, &(struct accounts_options){ .buckets = 1, .cache_bytes = 1u << 20 },
			  &sv.accounts) == 0);
	client_open(&sv, &other);
	prepare(&sv, &other);
	say(&sv, &other, SLICE("a SELECT INBOX\r\na IDLE\r\n"));
	client_open(&sv, &c);
	say(&sv, &c, data[0] & 8 ? SLICE("a LOGIN bob secret\r\n") : SLICE("a LOGIN ann secret\r\n"));
	say(&sv, &c, slice_str(enabled[data[0] & 3]));
	if (data[0] & 4)
		say(&sv, &c, SLICE("a SELECT INBOX\r\n"));
	say(&sv, &c, slice_of(data + 1, size - 1));
	/* What the other one does now must reach the first, if it is still there. */
	say(&sv, &other, SLICE("DONE\r\na FETCH 1:* (FLAGS MODSEQ)\r\na STORE 1 +FLAGS (\\Deleted)\r\n"
			       "a EXPUNGE\r\na DELETE x/y\r\n"));
	say(&sv, &c, SLICE("\r\na NOOP\r\n"));
	client_close(&sv, &c);
	client_close(&sv, &other);
	must(sv.session_count == 0);
	accounts_free(sv.accounts);
	engine_close(sv.engine);
	loop_free(sv.loop);
	return 0;
}
