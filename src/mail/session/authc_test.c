/*
 * Auth from end to end, without processes: the client of the sessions over a real channel to
 * mail/auth, with an engine in memory and a store that notes grants.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/test.h"
#include "engine/memory.h"
#include "mail/auth/auth.h"
#include "mail/auth/scram.h"
#include "mail/directory/acl.h"
#include "mail/session/authc_shares.h"
#include "mail/session/rcpt_memory.h"
#include "policy/shipped_test.h"
#include "sys/fiber.h"
#include "sys/ipc.h"
#include "sys/loop.h"
#include "sys/world.h"

#define FRONT 2u

struct fixture {
	struct loop *loop;
	struct engine *engine;
	struct world *world;
	struct auth *auth;
	struct auth_client *client;
	struct ipc *server;
	struct authc *authc;
	struct grant at_store[50];	/* what the store knows */
	size_t grants, adds;
	bool store_away, revoke_fails;
	bool lists_change;		/* somebody's, while the store is told of a grant */
	uint64_t used_bytes, used_messages;
	char removed[17];
	unsigned removals;
	void (*test)(struct fixture *f);
	bool done;
};

static int store_add(void *arg, const struct grant *g, size_t n)
{
	struct fixture *f = arg;

	if (f->store_away)
		return -EPIPE;
	f->adds++;
	if (f->lists_change)
		ck_assert_int_ne(auth_user_remove(f->auth, SLICE("nobody@example.org")), AUTH_ADMIN_OK);
	for (size_t i = 0; i < n; i++) {
		ck_assert_uint_lt(f->grants, ARRAY_LEN(f->at_store));
		f->at_store[f->grants++] = g[i];
	}
	return 0;
}

static int store_revoke(void *arg, const uint8_t (*ids)[GRANT_ID_BYTES], size_t n)
{
	struct fixture *f = arg;

	if (f->revoke_fails)
		return -EPIPE;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < f->grants; j++)
			if (memcmp(f->at_store[j].id, ids[i], GRANT_ID_BYTES) == 0)
				f->at_store[j--] = f->at_store[--f->grants];
	return 0;
}

static int store_usage(void *arg, const char *account, uint64_t *bytes, uint64_t *messages)
{
	struct fixture *f = arg;

	*bytes = f->used_bytes;
	*messages = f->used_messages;
	return 0;
}

static int store_remove(void *arg, const char *account)
{
	struct fixture *f = arg;

	if (f->store_away)
		return -EPIPE;
	memcpy(f->removed, account, sizeof(f->removed));
	f->removals++;
	return 0;
}

static bool store_has(struct fixture *f, const uint8_t id[GRANT_ID_BYTES])
{
	for (size_t i = 0; i < f->grants; i++)
		if (memcmp(f->at_store[i].id, id, GRANT_ID_BYTES) == 0)
			return true;
	return false;
}

static void serve(void *arg, struct ipc_request *req)
{
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);
	struct fixture *f = arg;

	ck_assert(auth_serve(f->client, req->type, req->payload, &reply));
	if (!req->one_way)
		ipc_reply(req, buf_slice(&reply));
}

static void closed(void *arg, struct ipc *ipc)
{
	struct fixture *f = arg;

	ipc_free(ipc);
	f->server = NULL;
}

static const struct ipc_callbacks callbacks = { serve, closed };

static struct auth_settings settings(void)
{
	return (struct auth_settings){
		.default_domain = "example.org",
		.separator = '+',
		.scram = true,
		.scram_iterations = SCRAM_ITERATIONS_MIN,
		.cost = { .operations = 1, .memory_bytes = 8192 },
		.hashes_at_once = 2,
		.loopback_exempt = true,
		.message_bytes_max = 50u << 20,
	};
}

static void configure(struct fixture *f, void (*change)(struct auth_settings *set))
{
	struct auth_settings set = settings();

	set.loopback_exempt = false;
	change(&set);
	ck_assert_int_eq(auth_configure(f->auth, &set), 0);
}

static void start_auth(struct fixture *f)
{
	struct auth_settings set = settings();
	struct auth_store store = { store_add, store_revoke, store_usage, store_remove, f };

	ck_assert_int_eq(auth_new(f->engine, f->world, &set, &store, NULL, &f->auth), 0);
	auth_set_authority(f->auth, shipped_authority());
	f->client = auth_client(f->auth, FRONT, 0);
	ck_assert_ptr_nonnull(f->client);
	auth_client_attached(f->client, "front");
}

/* A clock that can be put forward. */
static int64_t clock_ahead_us;
static struct world *real_world;

static int64_t clock_mono_us(struct world *w)
{
	return real_world->ops->mono_us(real_world) + clock_ahead_us;
}

static int64_t clock_real_us(struct world *w)
{
	return real_world->ops->real_us(real_world) + clock_ahead_us;
}

static void clock_random(struct world *w, void *out, size_t n)
{
	real_world->ops->random(real_world, out, n);
}

static void connect_both(struct fixture *f)
{
	static const uint8_t hello = AUTH_HELLO_SCRAM;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	ck_assert_int_eq(ipc_new(f->loop, fds[0], &callbacks, f, &f->server), 0);
	ck_assert_int_eq(authc_set_channel(f->authc, fds[1]), 0);
	ck_assert_int_eq(ipc_send(f->server, AUTH_HELLO, slice_of(&hello, 1), -1), 0);
}

static void restart_auth(struct fixture *f)
{
	ipc_free(f->server);
	f->server = NULL;
	auth_free(f->auth);
	start_auth(f);
	connect_both(f);
	fiber_sleep(30000);
}

static void run_test(void *arg)
{
	struct fixture *f = arg;
	struct slice password = SLICE("pencil");
	struct auth_user_change set = { .password = &password };

	ck_assert_int_eq(directory_domain_add(auth_directory(f->auth), SLICE("example.org"),
					      &(struct domain_record){ 0 }),
			 DIR_OK);
	ck_assert_int_eq(auth_user_add(f->auth, SLICE("Ann@Example.org"), &set), AUTH_ADMIN_OK);
	fiber_sleep(1000);		/* the greeting arrives */
	f->test(f);
	f->done = true;
}

static void with_auth(void (*test)(struct fixture *f))
{
	struct fixture f = { .test = test };

	ck_assert_int_eq(loop_new(&f.loop), 0);
	real_world = world_real_new(-1);
	static const struct world_ops ops = { .real_us = clock_real_us, .mono_us = clock_mono_us,
					      .random = clock_random };
	struct world ahead = { &ops };
	f.world = &ahead;
	f.engine = engine_memory_new();
	start_auth(&f);
	ck_assert_int_eq(authc_new(f.loop, &f.authc), 0);
	connect_both(&f);
	ck_assert_int_eq(fiber_start(f.loop, run_test, &f), 0);
	while (!f.done || fiber_count(f.loop) > 0)
		loop_run_once(f.loop, 100);
	authc_free(f.authc);
	ipc_free(f.server);
	auth_free(f.auth);
	engine_close(f.engine);
	world_free(real_world);
	loop_free(f.loop);
}

static const struct authc_peer imap = { .service = AUTHC_IMAP, .source = SLICE_INIT("127.0.0.1"),
					.secure = true };
static const struct authc_peer submission = { .service = AUTHC_SUBMISSION,
					      .source = SLICE_INIT("127.0.0.1"), .secure = true };

static enum authc_result login(struct fixture *f, const char *user, const char *password,
			       struct authc_login *out)
{
	return authc_login_password(f->authc, &imap, slice_str(user), slice_str(password), out);
}

static void a_login(struct fixture *f)
{
	struct authc_login l;
	struct authc_peer open_line = imap;

	ck_assert_int_eq(login(f, "ann@example.org", "pencil", &l), AUTHC_OK);
	ck_assert_str_eq(l.address, "ann@example.org");
	ck_assert(store_has(f, l.grant));
	ck_assert_uint_eq(f->at_store[0].rights, GRANT_READ | GRANT_WRITE);
	ck_assert_uint_eq(f->at_store[0].role, FRONT);
	ck_assert_str_eq(f->at_store[0].account, l.account);
	authc_logout(f->authc, l.grant);
	fiber_sleep(1000);
	ck_assert_uint_eq(f->grants, 0);
	ck_assert_uint_eq(auth_grants(f->auth), 0);
	/* Without domain, in another case, and remembered. */
	ck_assert_int_eq(login(f, "ANN", "pencil", &l), AUTHC_OK);
	ck_assert_int_eq(login(f, "ann@example.org", "Pencil", &l), AUTHC_REJECTED);
	ck_assert_int_eq(login(f, "eve@example.org", "pencil", &l), AUTHC_REJECTED);
	ck_assert_int_eq(login(f, "ann@example.org", "", &l), AUTHC_REJECTED);
	ck_assert_int_eq(login(f, "", "x", &l), AUTHC_REJECTED);
	ck_assert_int_eq(login(f, "\xc3", "x", &l), AUTHC_REJECTED);
	open_line.secure = false;
	ck_assert_int_eq(authc_login_password(f->authc, &open_line, SLICE("ann"), SLICE("pencil"), &l),
			 AUTHC_NEEDS_TLS);
}

START_TEST(a_login_gives_a_grant_that_logout_revokes)
{
	with_auth(a_login);
}
END_TEST

static void store_is_away(struct fixture *f)
{
	struct authc_login l;

	f->store_away = true;
	ck_assert_int_eq(login(f, "ann", "pencil", &l), AUTHC_TEMPORARY);
	ck_assert_uint_eq(auth_grants(f->auth), 0);
	f->store_away = false;
	ck_assert_int_eq(login(f, "ann", "pencil", &l), AUTHC_OK);
}

START_TEST(no_grant_is_given_that_the_store_has_not_taken)
{
	with_auth(store_is_away);
}
END_TEST

static void new_password(struct fixture *f)
{
	struct slice next = SLICE("eraser"), bad = SLICE("a\nb");
	struct auth_user_change set = { .password = &next }, wrong = { .password = &bad };
	struct authc_login l, other;

	ck_assert_int_eq(login(f, "ann", "pencil", &l), AUTHC_OK);
	ck_assert_int_eq(auth_user_change(f->auth, SLICE("ann@example.org"), &wrong),
			 AUTH_ADMIN_BAD_PASSWORD);
	ck_assert(store_has(f, l.grant));
	ck_assert_int_eq(auth_user_change(f->auth, SLICE("ann@example.org"), &set), AUTH_ADMIN_OK);
	ck_assert(!store_has(f, l.grant));
	ck_assert_int_eq(login(f, "ann", "pencil", &other), AUTHC_REJECTED);
	ck_assert_int_eq(login(f, "ann", "eraser", &other), AUTHC_OK);
}

START_TEST(a_new_password_holds_at_once_and_ends_sessions)
{
	with_auth(new_password);
}
END_TEST

static void locked(struct fixture *f)
{
	bool yes = true, no = false;
	struct auth_user_change lock = { .disabled = &yes }, unlock = { .disabled = &no };
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	struct authc_target *t;
	struct authc_login l;
	size_t n;

	ck_assert_int_eq(login(f, "ann", "pencil", &l), AUTHC_OK);
	ck_assert_int_eq(auth_user_change(f->auth, SLICE("ann@example.org"), &lock), AUTH_ADMIN_OK);
	ck_assert_uint_eq(f->grants, 0);
	ck_assert_int_eq(login(f, "ann", "pencil", &l), AUTHC_DISABLED);
	ck_assert_int_eq(login(f, "ann", "wrong", &l), AUTHC_REJECTED);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 0, &arena, &t, &n),
			 AUTHC_RCPT_DISABLED);
	ck_assert_int_eq(auth_user_change(f->auth, SLICE("ann@example.org"), &unlock), AUTH_ADMIN_OK);
	ck_assert_int_eq(login(f, "ann", "pencil", &l), AUTHC_OK);
	ck_assert_int_eq(auth_user_remove(f->auth, SLICE("ann@example.org")), AUTH_ADMIN_OK);
	ck_assert_uint_eq(f->grants, 0);
	ck_assert_int_eq(login(f, "ann", "pencil", &l), AUTHC_REJECTED);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 0, &arena, &t, &n),
			 AUTHC_RCPT_NO_USER);
}

START_TEST(a_locked_or_removed_user_neither_logs_in_nor_gets_mail)
{
	with_auth(locked);
}
END_TEST

/* What auth began in fibers of its own is over. */
static void alone(struct fixture *f)
{
	while (fiber_count(f->loop) > 1)
		fiber_sleep(1000);
}

/* Mail that is to be removed, as the directory has it noted. */
static size_t noted(struct fixture *f)
{
	struct dir_removed found[10];
	uint32_t object = 0;
	bool left = false;
	size_t count;

	ck_assert_int_eq(directory_removed(auth_directory(f->auth), &object, 10, found, &count, &left), DIR_OK);
	ck_assert_uint_eq(object, DIRECTORY_OBJECTS);
	return count;
}

static void removed(struct fixture *f)
{
	struct authc_login l;

	ck_assert_int_eq(login(f, "ann", "pencil", &l), AUTHC_OK);
	ck_assert_int_eq(auth_user_remove(f->auth, SLICE("ann@example.org")), AUTH_ADMIN_OK);
	alone(f);
	ck_assert_uint_eq(f->removals, 1);
	ck_assert_str_eq(f->removed, l.account);
	ck_assert_uint_eq(noted(f), 1);
	/* Not before a minute has passed, and then once more. */
	auth_tick(f->auth);
	ck_assert_uint_eq(f->removals, 1);
	clock_ahead_us += 61 * INT64_C(1000000);
	auth_tick(f->auth);
	ck_assert_uint_eq(f->removals, 2);
	ck_assert_uint_eq(noted(f), 0);
	clock_ahead_us += 61 * INT64_C(1000000);
	auth_tick(f->auth);
	ck_assert_uint_eq(f->removals, 2);
	ck_assert_int_eq(auth_user_remove(f->auth, SLICE("ann@example.org")), AUTH_ADMIN_ABSENT);
}

START_TEST(the_mail_of_a_removed_user_is_removed)
{
	with_auth(removed);
}
END_TEST

static void removed_late(struct fixture *f)
{
	struct authc_login l;

	ck_assert_int_eq(login(f, "ann", "pencil", &l), AUTHC_OK);
	f->store_away = true;
	ck_assert_int_eq(auth_user_remove(f->auth, SLICE("ann@example.org")), AUTH_ADMIN_OK);
	alone(f);
	ck_assert_uint_eq(f->removals, 0);
	/* Auth dies; the next one finds in the directory what is to be done. */
	restart_auth(f);
	auth_tick(f->auth);
	ck_assert_uint_eq(noted(f), 1);
	f->store_away = false;
	for (int i = 0; i < 3; i++) {
		clock_ahead_us += 61 * INT64_C(1000000);
		auth_tick(f->auth);
	}
	ck_assert_uint_eq(f->removals, 2);
	ck_assert_str_eq(f->removed, l.account);
	ck_assert_uint_eq(noted(f), 0);
}

START_TEST(no_crash_makes_us_forget_the_mail_of_a_removed_user)
{
	with_auth(removed_late);
}
END_TEST

static void plain(struct fixture *f)
{
	struct slice good = SLICE("\0ann@example.org\0pencil"), bad = SLICE("\0ann@example.org\0x");
	struct slice other = SLICE("bob@example.org\0ann@example.org\0pencil");
	struct slice same = SLICE("Ann@example.org\0ann@example.org\0pencil");
	AUTO_BUF struct buf challenge = BUF_INIT(1000);
	struct authc_sasl *x;
	struct authc_login l;

	ck_assert_int_eq(authc_sasl_start(f->authc, &imap, SLICE("plain"), &good, &challenge, &l, &x),
			 AUTHC_OK);
	ck_assert(store_has(f, l.grant));
	ck_assert_int_eq(authc_sasl_start(f->authc, &imap, SLICE("PLAIN"), &same, &challenge, &l, &x),
			 AUTHC_OK);
	ck_assert_int_eq(authc_sasl_start(f->authc, &imap, SLICE("PLAIN"), &bad, &challenge, &l, &x),
			 AUTHC_REJECTED);
	ck_assert_int_eq(authc_sasl_start(f->authc, &imap, SLICE("PLAIN"), &other, &challenge, &l, &x),
			 AUTHC_REJECTED);
	ck_assert_int_eq(authc_sasl_start(f->authc, &imap, SLICE("PLAIN"), NULL, &challenge, &l, &x),
			 AUTHC_MORE);
	ck_assert_uint_eq(challenge.len, 0);
	ck_assert_int_eq(authc_sasl_step(&x, SLICE("nonsense"), &challenge, &l), AUTHC_MALFORMED);
	ck_assert_ptr_null(x);
	ck_assert_int_eq(authc_sasl_start(f->authc, &imap, SLICE("CRAM-MD5"), NULL, &challenge, &l, &x),
			 AUTHC_NO_MECHANISM);
	ck_assert_int_eq(authc_sasl_start(f->authc, &imap, SLICE("LOGIN"), NULL, &challenge, &l, &x),
			 AUTHC_MORE);
	ck_assert_slice_eq(buf_slice(&challenge), SLICE("Username:"));
	ck_assert_int_eq(authc_sasl_step(&x, SLICE("ann"), &challenge, &l), AUTHC_MORE);
	ck_assert_int_eq(authc_sasl_step(&x, SLICE("pencil"), &challenge, &l), AUTHC_OK);
}

START_TEST(plain_and_login_exchanges_work)
{
	with_auth(plain);
}
END_TEST

/* A SCRAM client, as simple as can be: "n,,", fixed nonce. Gives the server's last answer. */
static enum authc_result scram(struct fixture *f, const char *user, const char *password,
			       struct authc_login *l, struct buf *first)
{
	AUTO_BUF struct buf message = BUF_INIT(4096), salt = BUF_INIT(100), last = BUF_INIT(1000);
	AUTO_BUF struct buf auth_message = BUF_INIT(8192);
	uint8_t stored[32], server[32], salted[32], client[32], signature[32];
	struct slice r, s, i, initial;
	struct authc_sasl *x;
	enum authc_result result;
	uint32_t iterations;

	buf_printf(&message, "n,,n=%s,r=abcdef", user);
	initial = buf_slice(&message);
	result = authc_sasl_start(f->authc, &imap, SLICE("SCRAM-SHA-256"), &initial, first, l, &x);
	if (result != AUTHC_MORE)
		return result;
	ck_assert(slice_cut(buf_slice(first), ',', &r, &s) && slice_cut(s, ',', &s, &i));
	ck_assert(base64_decode(&salt, slice_from(s, 2)) && slice_u32(slice_from(i, 2), &iterations));
	ck_assert_uint_eq(iterations, SCRAM_ITERATIONS_MIN);
	/* ClientKey by hand: scram_derive gives only the stored one. */
	ck_assert(scram_derive(slice_str(password), buf_slice(&salt), iterations, stored, server));
	crypto_auth_hmacsha256_state st;
	uint8_t u[32], one[4] = { 0, 0, 0, 1 };
	memset(salted, 0, sizeof(salted));
	for (uint32_t n = 0; n < iterations; n++) {
		crypto_auth_hmacsha256_init(&st, (const uint8_t *)password, strlen(password));
		if (n == 0) {
			crypto_auth_hmacsha256_update(&st, salt.ptr, salt.len);
			crypto_auth_hmacsha256_update(&st, one, 4);
		} else {
			crypto_auth_hmacsha256_update(&st, u, 32);
		}
		crypto_auth_hmacsha256_final(&st, u);
		for (unsigned k = 0; k < 32; k++)
			salted[k] ^= u[k];
	}
	crypto_auth_hmacsha256(client, (const uint8_t *)"Client Key", 10, salted);
	buf_add(&auth_message, slice_from(initial, 3));
	buf_addc(&auth_message, ',');
	buf_add(&auth_message, buf_slice(first));
	buf_adds(&auth_message, ",c=biws,");
	buf_add(&auth_message, r);
	crypto_auth_hmacsha256(signature, auth_message.ptr, auth_message.len, stored);
	for (unsigned k = 0; k < 32; k++)
		client[k] ^= signature[k];
	buf_reset(&message);
	buf_adds(&message, "c=biws,");
	buf_add(&message, r);
	buf_adds(&message, ",p=");
	base64_encode(&message, slice_of(client, 32));
	result = authc_sasl_step(&x, buf_slice(&message), &last, l);
	if (result != AUTHC_MORE)
		return result;
	crypto_auth_hmacsha256(signature, auth_message.ptr, auth_message.len, server);
	buf_reset(&message);
	buf_adds(&message, "v=");
	base64_encode(&message, slice_of(signature, 32));
	ck_assert_slice_eq(buf_slice(&last), buf_slice(&message));
	return authc_sasl_step(&x, SLICE(""), &last, l);
}

static void scram_login(struct fixture *f)
{
	AUTO_BUF struct buf a = BUF_INIT(1000), b = BUF_INIT(1000), c = BUF_INIT(1000);
	struct authc_login l;

	ck_assert_int_eq(scram(f, "ann@example.org", "pencil", &l, &a), AUTHC_OK);
	ck_assert(store_has(f, l.grant));
	ck_assert_str_eq(l.address, "ann@example.org");
	ck_assert_int_eq(scram(f, "ann@example.org", "pencils", &l, &b), AUTHC_REJECTED);
	ck_assert_int_eq(scram(f, "eve@example.org", "pencil", &l, &c), AUTHC_REJECTED);
}

START_TEST(scram_logs_in_with_the_right_password_only)
{
	with_auth(scram_login);
}
END_TEST

static struct slice salt_of(struct slice first)
{
	struct slice r, s, i;

	ck_assert(slice_cut(first, ',', &r, &s) && slice_cut(s, ',', &s, &i));
	return s;
}

static void fake_salt(struct fixture *f)
{
	AUTO_BUF struct buf first = BUF_INIT(1000), again = BUF_INIT(1000), other = BUF_INIT(1000);
	struct slice eve = SLICE("n,,n=eve,r=abc"), joe = SLICE("n,,n=joe,r=abc");
	struct authc_login l;
	struct authc_sasl *x;

	ck_assert_int_eq(authc_sasl_start(f->authc, &imap, SLICE("SCRAM-SHA-256"), &eve, &first, &l, &x),
			 AUTHC_MORE);
	authc_sasl_cancel(&x);
	ck_assert_int_eq(authc_sasl_start(f->authc, &imap, SLICE("SCRAM-SHA-256"), &joe, &other, &l, &x),
			 AUTHC_MORE);
	authc_sasl_cancel(&x);
	restart_auth(f);
	ck_assert_int_eq(authc_sasl_start(f->authc, &imap, SLICE("SCRAM-SHA-256"), &eve, &again, &l, &x),
			 AUTHC_MORE);
	authc_sasl_cancel(&x);
	ck_assert_slice_eq(salt_of(buf_slice(&first)), salt_of(buf_slice(&again)));
	ck_assert(!slice_eq(salt_of(buf_slice(&first)), salt_of(buf_slice(&other))));
}

START_TEST(an_unknown_user_has_a_salt_that_survives_restarts)
{
	with_auth(fake_salt);
}
END_TEST

static void auth_restarts(struct fixture *f)
{
	struct authc_login l, s;
	struct grant kept;

	ck_assert_int_eq(login(f, "ann", "pencil", &l), AUTHC_OK);
	ck_assert_int_eq(authc_login_password(f->authc, &submission, SLICE("ann"), SLICE("pencil"), &s),
			 AUTHC_OK);
	kept = f->at_store[0];
	restart_auth(f);
	/* The store lists its grants to the new auth, which can then revoke them. */
	auth_adopt(f->auth, &kept);
	ck_assert_int_eq(authc_sender_allowed(f->authc, s.grant, SLICE("ann+x@example.org")), AUTHC_OK);
	ck_assert(store_has(f, l.grant));
	authc_logout(f->authc, l.grant);
	fiber_sleep(1000);
	ck_assert(!store_has(f, l.grant));
}

static void lost_logout(struct fixture *f)
{
	struct authc_login stays, goes;
	struct grant kept[3];
	size_t n;

	ck_assert_int_eq(login(f, "ann", "pencil", &stays), AUTHC_OK);
	ck_assert_int_eq(login(f, "ann", "pencil", &goes), AUTHC_OK);
	n = f->grants;
	ck_assert_uint_eq(n, 2);
	memcpy(kept, f->at_store, 2 * sizeof(*kept));
	/* A session ends while there is no auth to hear of it. */
	ipc_free(f->server);
	f->server = NULL;
	fiber_sleep(1000);
	authc_logout(f->authc, goes.grant);
	auth_free(f->auth);
	start_auth(f);
	connect_both(f);
	fiber_sleep(30000);
	for (size_t i = 0; i < n; i++)
		auth_adopt(f->auth, &kept[i]);
	ck_assert_uint_eq(auth_grants(f->auth), 2);
	auth_tick(f->auth);
	ck_assert_uint_eq(auth_grants(f->auth), 1);
	ck_assert(store_has(f, stays.grant));
	ck_assert(!store_has(f, goes.grant));
	auth_tick(f->auth);
	ck_assert(store_has(f, stays.grant));
}

START_TEST(a_session_that_ended_while_auth_was_away_is_not_renewed_for_ever)
{
	with_auth(lost_logout);
}
END_TEST

START_TEST(sessions_outlive_a_restart_of_auth)
{
	with_auth(auth_restarts);
}
END_TEST

static void store_restarts(struct fixture *f)
{
	struct authc_login l;

	ck_assert_int_eq(login(f, "ann", "pencil", &l), AUTHC_OK);
	f->grants = 0;
	ck_assert_int_eq(auth_resend(f->auth), 0);
	ck_assert(store_has(f, l.grant));
	ck_assert_uint_le(f->at_store[0].lifetime_s, AUTH_LOGIN_GRANT_S);
	auth_client_detach(f->client);
	auth_client_gone(f->client);
	ck_assert_uint_eq(f->grants, 0);
	ck_assert_uint_eq(auth_grants(f->auth), 0);
}

/* The successor is there, and has logged users in, before the end of the first is dealt with. */
static void front_restarts(struct fixture *f)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct authc_login old, new;
	struct authc_target *before, *after;
	size_t n;

	ck_assert_int_eq(login(f, "ann", "pencil", &old), AUTHC_OK);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 1, &arena, &before, &n), AUTHC_RCPT_OK);
	auth_client_detach(f->client);
	auth_client_attached(f->client, "front");
	ck_assert_int_eq(login(f, "ann", "pencil", &new), AUTHC_OK);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 1, &arena, &after, &n), AUTHC_RCPT_OK);
	auth_client_gone(f->client);
	ck_assert(!store_has(f, old.grant));
	ck_assert(!store_has(f, before->grant));
	ck_assert(store_has(f, new.grant));
	ck_assert(store_has(f, after->grant));
	ck_assert_uint_eq(auth_grants(f->auth), 2);
}

START_TEST(a_front_that_ends_takes_no_grant_of_its_successor_along)
{
	with_auth(front_restarts);
}
END_TEST

START_TEST(a_store_that_restarts_gets_the_live_grants_again)
{
	with_auth(store_restarts);
}
END_TEST

static void deliveries_refused(struct fixture *f)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct authc_target *t;
	size_t n;

	/* A policy that says nothing of the process leaves it as shipped; one that declares it has to let it. */
	authority_put(shipped_authority(), SLICE("role operator = principal root"), 7);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 10, &arena, &t, &n), AUTHC_RCPT_OK);
	authc_forget_rcpts(f->authc);
	authority_put(shipped_authority(), SLICE("domain front = service role \"front\""), 8);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 10, &arena, &t, &n), AUTHC_RCPT_TEMPORARY);
	authority_put(shipped_authority(), policy_default_text(), 0);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 10, &arena, &t, &n), AUTHC_RCPT_OK);
}

START_TEST(a_process_delivers_only_where_the_policy_lets_it)
{
	with_auth(deliveries_refused);
}
END_TEST

static void recipients(struct fixture *f)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct authc_target *t, *u;
	size_t n;

	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ANN+Lists@example.org"), 1000, &arena, &t, &n),
			 AUTHC_RCPT_OK);
	ck_assert_uint_eq(n, 1);
	ck_assert_slice_eq(t->address, SLICE("ann@example.org"));
	ck_assert_slice_eq(t->detail, SLICE("Lists"));
	ck_assert_uint_eq(t->room_bytes, UINT64_MAX);
	ck_assert(store_has(f, t->grant));
	ck_assert_uint_eq(f->at_store[0].rights, GRANT_APPEND);
	/* The next message to the same mailbox needs nothing of the store. */
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 0, &arena, &u, &n), AUTHC_RCPT_OK);
	ck_assert_mem_eq(t->grant, u->grant, AUTHC_GRANT_BYTES);
	ck_assert_uint_eq(f->adds, 1);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("eve@example.org"), 0, &arena, &t, &n),
			 AUTHC_RCPT_NO_USER);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.net"), 0, &arena, &t, &n),
			 AUTHC_RCPT_NOT_LOCAL);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@[192.0.2.1]"), 0, &arena, &t, &n),
			 AUTHC_RCPT_NOT_LOCAL);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("a b@example.org"), 0, &arena, &t, &n),
			 AUTHC_RCPT_BAD_ADDRESS);
}

static void no_login_domain(struct auth_settings *set)
{
	set->default_domain = "";
}

static void postmaster(struct fixture *f)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct slice target = SLICE("bob@example.org");
	struct auth_user_change set = { 0 };
	struct authc_target *t;
	size_t n;

	/* The first user of a domain, by either name, with a login domain and without. */
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(authc_rcpt(f->authc, SLICE("Postmaster"), 0, &arena, &t, &n), AUTHC_RCPT_OK);
		ck_assert_slice_eq(t->address, SLICE("ann@example.org"));
		ck_assert_int_eq(authc_rcpt(f->authc, SLICE("PostMaster@example.org"), 0, &arena, &t, &n),
				 AUTHC_RCPT_OK);
		ck_assert_slice_eq(t->address, SLICE("ann@example.org"));
		configure(f, no_login_domain);
	}
	/* Another domain, which is younger. */
	ck_assert_int_eq(directory_domain_add(auth_directory(f->auth), SLICE("a.example"),
					      &(struct domain_record){ .created_s = 1 }), DIR_OK);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("postmaster@a.example"), 0, &arena, &t, &n),
			 AUTHC_RCPT_NO_USER);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("postmaster"), 0, &arena, &t, &n), AUTHC_RCPT_OK);
	/* When the first user goes, the next one follows. */
	ck_assert_int_eq(auth_user_add(f->auth, SLICE("bob@example.org"), &set), AUTH_ADMIN_OK);
	ck_assert_int_eq(auth_user_remove(f->auth, SLICE("ann@example.org")), AUTH_ADMIN_OK);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("postmaster"), 0, &arena, &t, &n), AUTHC_RCPT_OK);
	ck_assert_slice_eq(t->address, SLICE("bob@example.org"));
	/* A user or alias of the name comes first. */
	ck_assert_int_eq(auth_user_add(f->auth, SLICE("eve@example.org"), &set), AUTH_ADMIN_OK);
	target = SLICE("eve@example.org");
	ck_assert_int_eq(directory_alias_add(auth_directory(f->auth), SLICE("postmaster@example.org"),
					     SLICE("example.org"),
					     &(struct alias_record){ .count = 1, .targets = &target }), DIR_OK);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("postmaster"), 0, &arena, &t, &n), AUTHC_RCPT_OK);
	ck_assert_slice_eq(t->address, SLICE("eve@example.org"));
}

START_TEST(mail_for_the_postmaster_has_somewhere_to_go)
{
	with_auth(postmaster);
}
END_TEST

START_TEST(recipients_get_reused_append_grants)
{
	with_auth(recipients);
}
END_TEST

static void remembered(struct fixture *f)
{
	bool yes = true;
	struct auth_user_change set = { .disabled = &yes };
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct authc_target *t;
	size_t n;

	authc_remember_rcpts(f->authc);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 10, &arena, &t, &n), AUTHC_RCPT_OK);
	ck_assert_int_eq(auth_user_change(f->auth, SLICE("ann@example.org"), &set), AUTH_ADMIN_OK);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 10, &arena, &t, &n), AUTHC_RCPT_OK);
	ck_assert_slice_eq(t->address, SLICE("ann@example.org"));
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(ipc_send(f->server, AUTH_FORGET, (struct slice){ 0 }, -1), 0);
	fiber_sleep(10000);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 10, &arena, &t, &n), AUTHC_RCPT_DISABLED);
}

START_TEST(a_recipient_is_remembered_until_auth_says_forget)
{
	with_auth(remembered);
}
END_TEST

static void fickle(struct fixture *f)
{
	uint64_t limit = 1000000;
	struct auth_user_change set = { .quota_bytes = &limit };
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct authc_target *t;
	size_t n;

	authc_remember_rcpts(f->authc);
	ck_assert_int_eq(auth_user_change(f->auth, SLICE("ann@example.org"), &set), AUTH_ADMIN_OK);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 600000, &arena, &t, &n), AUTHC_RCPT_OK);
	authc_delivered(f->authc, t->account, 600000);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 600000, &arena, &t, &n),
			 AUTHC_RCPT_OVER_QUOTA);
}

START_TEST(a_recipient_near_its_quota_is_not_remembered)
{
	with_auth(fickle);
}
END_TEST

START_TEST(an_answer_is_good_for_so_many_bytes_and_seconds)
{
	struct rcpt_memory m;
	struct slice answer;
	unsigned served = 0;

	rcpt_memory_init(&m);
	ck_assert(!rcpt_memory_find(&m, SLICE("a"), 0, 0, &answer));
	rcpt_memory_keep(&m, SLICE("a"), SLICE("yes"), 0);
	ck_assert(!rcpt_memory_find(&m, SLICE("A"), 0, 0, &answer));
	ck_assert(rcpt_memory_find(&m, SLICE("a"), RCPT_AHEAD_BYTES, 0, &answer));
	ck_assert_slice_eq(answer, SLICE("yes"));
	ck_assert(!rcpt_memory_find(&m, SLICE("a"), 1, 0, &answer));
	rcpt_memory_keep(&m, SLICE("a"), SLICE("yes"), 0);
	while (rcpt_memory_find(&m, SLICE("a"), 0, 4999999, &answer))
		served++;
	ck_assert_uint_eq(served, 64);
	rcpt_memory_keep(&m, SLICE("a"), SLICE("no"), 0);
	rcpt_memory_keep(&m, SLICE("a"), SLICE("yes"), 1);
	ck_assert(rcpt_memory_find(&m, SLICE("a"), 0, 5000000, &answer));
	ck_assert_slice_eq(answer, SLICE("yes"));
	ck_assert(!rcpt_memory_find(&m, SLICE("a"), 0, 5000001, &answer));
	for (unsigned i = 0; i < 20000; i++)
		rcpt_memory_keep(&m, slice_of(&i, sizeof(i)), SLICE("yes"), 0);
	ck_assert_uint_eq(m.answers.count, 10000);
	rcpt_memory_forget(&m);
	ck_assert_uint_eq(m.answers.count, 0);
}
END_TEST

static void quota(struct fixture *f)
{
	uint64_t limit = 1000;
	struct auth_user_change set = { .quota_bytes = &limit };
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct authc_target *t;
	size_t n;

	ck_assert_int_eq(auth_user_change(f->auth, SLICE("ann@example.org"), &set), AUTH_ADMIN_OK);
	f->used_bytes = 400;
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 601, &arena, &t, &n),
			 AUTHC_RCPT_OVER_QUOTA);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 600, &arena, &t, &n),
			 AUTHC_RCPT_OK);
	ck_assert_uint_eq(t->room_bytes, 600);
	/* Delivered and not yet merged: it counts. */
	authc_delivered(f->authc, t->account, 600);
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 0, &arena, &t, &n),
			 AUTHC_RCPT_OVER_QUOTA);
}

START_TEST(quota_counts_merged_and_fresh_mail)
{
	with_auth(quota);
}
END_TEST

static void senders(struct fixture *f)
{
	struct slice target = SLICE("ann@example.org");
	struct authc_login l;

	ck_assert_int_eq(authc_login_password(f->authc, &submission, SLICE("ann"), SLICE("pencil"), &l),
			 AUTHC_OK);
	ck_assert_uint_eq(f->grants, 0);	/* it opens nothing in the store */
	ck_assert_int_eq(directory_alias_add(auth_directory(f->auth), SLICE("sales@example.org"),
					     SLICE("example.org"),
					     &(struct alias_record){ .count = 1, .targets = &target }),
			 DIR_OK);
	ck_assert_int_eq(authc_sender_allowed(f->authc, l.grant, SLICE("")), AUTHC_OK);
	ck_assert_int_eq(authc_sender_allowed(f->authc, l.grant, SLICE("Ann@Example.org")), AUTHC_OK);
	ck_assert_int_eq(authc_sender_allowed(f->authc, l.grant, SLICE("sales@example.org")), AUTHC_OK);
	ck_assert_int_eq(authc_sender_allowed(f->authc, l.grant, SLICE("bob@example.org")), AUTHC_REJECTED);
	ck_assert_int_eq(authc_sender_allowed(f->authc, l.grant, SLICE("ann@example.net")), AUTHC_REJECTED);
	ck_assert_int_eq(authc_sender_allowed(f->authc, l.grant, SLICE("not an address")), AUTHC_REJECTED);
}

START_TEST(users_send_as_themselves_and_their_aliases)
{
	with_auth(senders);
}
END_TEST

static void imported(struct fixture *f)
{
	struct slice hash = SLICE("$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1");
	struct auth_user_change set = { .hash = &hash };
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	AUTO_BUF struct buf first = BUF_INIT(1000);
	struct user_record r;
	struct authc_login l;

	ck_assert_int_eq(auth_user_change(f->auth, SLICE("ann@example.org"), &set), AUTH_ADMIN_OK);
	ck_assert_int_eq(scram(f, "ann", "Hello world!", &l, &first), AUTHC_REJECTED);
	ck_assert_int_eq(login(f, "ann", "Hello world!", &l), AUTHC_OK);
	ck_assert_int_eq(directory_user(auth_directory(f->auth), &arena, SLICE("ann@example.org"), &r),
			 DIR_OK);
	ck_assert(slice_starts(r.hash, SLICE("$argon2id$")));
	ck_assert_uint_eq(r.scram.iterations, SCRAM_ITERATIONS_MIN);
	ck_assert_int_eq(login(f, "ann", "Hello world!", &l), AUTHC_OK);
	buf_reset(&first);
	ck_assert_int_eq(scram(f, "ann", "Hello world!", &l, &first), AUTHC_OK);
}

START_TEST(an_imported_hash_becomes_ours_at_the_first_login)
{
	with_auth(imported);
}
END_TEST

static void offers(struct fixture *f)
{
	AUTO_BUF struct buf out = BUF_INIT(200);
	struct authc_peer peer = imap;

	authc_mechanisms(f->authc, &peer, &out);
	ck_assert_slice_eq(buf_slice(&out), SLICE("SCRAM-SHA-256 PLAIN LOGIN"));
	peer.tls_exporter = SLICE("x");
	buf_reset(&out);
	authc_mechanisms(f->authc, &peer, &out);
	ck_assert_slice_eq(buf_slice(&out), SLICE("SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"));
	peer = imap;
	peer.secure = false;
	buf_reset(&out);
	authc_mechanisms(f->authc, &peer, &out);
	ck_assert_slice_eq(buf_slice(&out), SLICE("SCRAM-SHA-256"));
}

START_TEST(clear_passwords_are_not_offered_on_an_open_line)
{
	with_auth(offers);
}
END_TEST

static void slow(struct fixture *f)
{
	struct authc_peer far = imap;
	struct authc_login l;

	far.source = SLICE("192.0.2.7");
	int64_t before = loop_now_us(f->loop);
	ck_assert_int_eq(authc_login_password(f->authc, &far, SLICE("ann"), SLICE("x"), &l), AUTHC_REJECTED);
	ck_assert_int_eq(authc_login_password(f->authc, &far, SLICE("ann"), SLICE("x"), &l), AUTHC_REJECTED);
	ck_assert_int_ge(loop_now_us(f->loop) - before, 700000);
	ck_assert_int_eq(authc_login_password(f->authc, &far, SLICE("ann"), SLICE("pencil"), &l), AUTHC_OK);
}

START_TEST(wrong_passwords_are_answered_later_and_later)
{
	with_auth(slow);
}
END_TEST

/* Another process of the front, which speaks to auth by hand. */
static struct slice ask_as(struct auth_client *c, uint8_t type, struct slice payload, struct buf *reply)
{
	buf_reset(reply);
	ck_assert(auth_serve(c, type, payload, reply));
	return buf_slice(reply);
}

static void two_sessions(struct auth_settings *set)
{
	set->user_sessions_max = 2;
}

static void sessions(struct fixture *f)
{
	struct auth_client *second = auth_client(f->auth, FRONT, 1);
	AUTO_BUF struct buf payload = BUF_INIT(1000), reply = BUF_INIT(1000);
	AUTO_ARENA struct arena arena = ARENA_INIT(65536);
	struct authc_login a, b;
	struct authc_target *t;
	size_t n;

	configure(f, two_sessions);
	/* Mail that comes in is no session. */
	ck_assert_int_eq(authc_rcpt(f->authc, SLICE("ann@example.org"), 0, &arena, &t, &n), AUTHC_RCPT_OK);
	ck_assert_int_eq(login(f, "ann", "pencil", &a), AUTHC_OK);
	buf_addc(&payload, AUTH_POP3);
	buf_addc(&payload, 1);
	buf_blob(&payload, SLICE("192.0.2.7"));
	buf_blob(&payload, (struct slice){ 0 });
	buf_blob(&payload, (struct slice){ 0 });
	buf_blob(&payload, SLICE("ann"));
	buf_blob(&payload, SLICE("pencil"));
	ck_assert_uint_eq(ask_as(second, AUTH_LOGIN, buf_slice(&payload), &reply).ptr[0], AUTH_OK);
	ck_assert_uint_eq(ask_as(second, AUTH_LOGIN, buf_slice(&payload), &reply).ptr[0], AUTH_SESSIONS);
	ck_assert_int_eq(authc_login_password(f->authc, &submission, SLICE("ann"), SLICE("pencil"), &b),
			 AUTHC_SESSIONS);
	/* The process with one of them dies. */
	auth_client_detach(second);
	auth_client_gone(second);
	ck_assert_int_eq(authc_login_password(f->authc, &submission, SLICE("ann"), SLICE("pencil"), &b),
			 AUTHC_OK);
	ck_assert_int_eq(login(f, "ann", "pencil", &a), AUTHC_SESSIONS);
	authc_logout(f->authc, b.grant);
	fiber_sleep(1000);
	ck_assert_int_eq(login(f, "ann", "pencil", &a), AUTHC_OK);
}

START_TEST(a_user_has_so_many_sessions_in_all_processes_together)
{
	with_auth(sessions);
}
END_TEST

static void three_connections(struct auth_settings *set)
{
	set->client_connections_max = 3;
	set->client_connections_per_minute = 100;
}

static void connections(struct fixture *f)
{
	struct auth_client *second = auth_client(f->auth, FRONT, 1);
	AUTO_BUF struct buf payload = BUF_INIT(100), reply = BUF_INIT(100);
	struct slice one = SLICE("\xc0\x00\x02\x01"), two = SLICE("\xc0\x00\x02\x02");

	configure(f, three_connections);
	buf_blob(&payload, one);
	ck_assert_int_eq(authc_open(f->authc, one), AUTHC_OPEN_OK);
	ck_assert_int_eq(authc_open(f->authc, one), AUTHC_OPEN_OK);
	ck_assert_uint_eq(ask_as(second, AUTH_OPEN, buf_slice(&payload), &reply).ptr[0], AUTH_OPEN_OK);
	ck_assert_uint_eq(ask_as(second, AUTH_OPEN, buf_slice(&payload), &reply).ptr[0], AUTH_OPEN_TOO_MANY);
	ck_assert_int_eq(authc_open(f->authc, one), AUTHC_OPEN_TOO_MANY);
	ck_assert_int_eq(authc_open(f->authc, two), AUTHC_OPEN_OK);
	/* A process gives back only what it had. */
	ask_as(second, AUTH_CLOSED, buf_slice(&payload), &reply);
	ask_as(second, AUTH_CLOSED, buf_slice(&payload), &reply);
	ck_assert_int_eq(authc_open(f->authc, one), AUTHC_OPEN_OK);
	ck_assert_int_eq(authc_open(f->authc, one), AUTHC_OPEN_TOO_MANY);
	authc_close(f->authc, one);
	fiber_sleep(1000);
	ck_assert_uint_eq(ask_as(second, AUTH_OPEN, buf_slice(&payload), &reply).ptr[0], AUTH_OPEN_OK);
	/* Auth restarts: it hears from the process what is open. The second process is gone. */
	restart_auth(f);
	configure(f, three_connections);
	ck_assert_int_eq(authc_open(f->authc, one), AUTHC_OPEN_OK);
	ck_assert_int_eq(authc_open(f->authc, one), AUTHC_OPEN_TOO_MANY);
	auth_client_detach(f->client);
	auth_client_gone(f->client);
	second = auth_client(f->auth, FRONT, 1);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(ask_as(second, AUTH_OPEN, buf_slice(&payload), &reply).ptr[0], AUTH_OPEN_OK);
}

START_TEST(a_client_has_so_many_connections_to_all_processes_together)
{
	with_auth(connections);
}
END_TEST

static void few_a_minute(struct auth_settings *set)
{
	set->client_connections_per_minute = 2;
	set->user_messages_per_minute = 3;
	set->user_recipients_per_minute = 4;
}

static void per_minute(struct fixture *f)
{
	struct auth_client *second = auth_client(f->auth, FRONT, 1);
	AUTO_BUF struct buf payload = BUF_INIT(100), reply = BUF_INIT(100);
	struct authc_login l;

	configure(f, few_a_minute);
	ck_assert_int_eq(authc_open(f->authc, SLICE("x")), AUTHC_OPEN_OK);
	authc_close(f->authc, SLICE("x"));
	ck_assert_int_eq(authc_open(f->authc, SLICE("x")), AUTHC_OPEN_OK);
	ck_assert_int_eq(authc_open(f->authc, SLICE("x")), AUTHC_OPEN_TOO_FAST);
	ck_assert_int_eq(authc_login_password(f->authc, &submission, SLICE("ann"), SLICE("pencil"), &l),
			 AUTHC_OK);
	buf_adds(&payload, l.account);
	buf_addc(&payload, RATE_MESSAGES);
	ck_assert(authc_take(f->authc, l.grant, RATE_MESSAGES));
	ck_assert_uint_eq(ask_as(second, AUTH_TAKE, buf_slice(&payload), &reply).ptr[0], 1);
	ck_assert(authc_take(f->authc, l.grant, RATE_MESSAGES));
	ck_assert(!authc_take(f->authc, l.grant, RATE_MESSAGES));
	ck_assert_uint_eq(ask_as(second, AUTH_TAKE, buf_slice(&payload), &reply).ptr[0], 0);
	for (int i = 0; i < 4; i++)
		ck_assert(authc_take(f->authc, l.grant, RATE_RECIPIENTS));
	ck_assert(!authc_take(f->authc, l.grant, RATE_RECIPIENTS));
}

START_TEST(rates_hold_for_all_processes_together)
{
	with_auth(per_minute);
}
END_TEST

/* ---- shared mailboxes ---- */

struct sharing {
	struct authc_login ann, bob;
	struct arena arena;
};

static void begin_sharing(struct fixture *f, struct sharing *s)
{
	struct slice password = SLICE("pencil");
	struct auth_user_change set = { .password = &password };

	*s = (struct sharing){ .arena = ARENA_INIT(8u << 20) };
	ck_assert_int_eq(auth_user_add(f->auth, SLICE("bob@example.org"), &set), AUTH_ADMIN_OK);
	ck_assert_int_eq(login(f, "ann", "pencil", &s->ann), AUTHC_OK);
	ck_assert_int_eq(login(f, "bob", "pencil", &s->bob), AUTHC_OK);
}

static enum authc_share_result give(struct fixture *f, struct sharing *s, const char *identifier, uint32_t rights)
{
	return authc_acl_set(f->authc, s->ann.grant, SLICE(""), 7, slice_str(identifier), 0, rights);
}

/* What bob has of ann's folder 7; UINT32_MAX: no answer of this kind. */
static uint32_t bob_has(struct fixture *f, struct sharing *s, const uint8_t *have, struct authc_shared *out)
{
	enum authc_share_result r = authc_shared(f->authc, s->bob.grant, SLICE("Ann@example.org"), have, &s->arena, out);

	if (r == AUTHC_SHARE_NONE)
		return 0;
	ck_assert_int_eq(r, AUTHC_SHARE_OK);
	ck_assert_uint_eq(out->count, 1);
	ck_assert_uint_eq(out->folders[0].folder, 7);
	return out->folders[0].rights;
}

static void sharing(struct fixture *f)
{
	struct authc_shared first, again;
	struct slice *owners, list;
	struct sharing s;
	size_t count, before;

	begin_sharing(f, &s);
	ck_assert_uint_eq(bob_has(f, &s, NULL, &first), 0);
	ck_assert_int_eq(give(f, &s, "bob", 3), AUTHC_SHARE_OK);
	ck_assert_uint_eq(bob_has(f, &s, NULL, &first), 3);
	ck_assert_str_eq(first.owner, "ann@example.org");
	ck_assert_str_eq(first.account, s.ann.account);
	ck_assert(store_has(f, first.grant));
	/* The same grant while it is good, and it is kept when more is given. */
	before = f->grants;
	ck_assert_int_eq(give(f, &s, "bob@example.org", 7), AUTHC_SHARE_OK);
	ck_assert_uint_eq(bob_has(f, &s, first.grant, &again), 7);
	ck_assert_mem_eq(again.grant, first.grant, sizeof(first.grant));
	ck_assert_uint_eq(f->grants, before);
	ck_assert_int_eq(authc_sharers(f->authc, s.bob.grant, &s.arena, &owners, &count), AUTHC_SHARE_OK);
	ck_assert_uint_eq(count, 1);
	ck_assert_slice_eq(owners[0], SLICE("ann@example.org"));
	/* Only who administers sees the list. */
	ck_assert_int_eq(authc_acl_get(f->authc, s.ann.grant, SLICE(""), 7, &s.arena, &list), AUTHC_SHARE_OK);
	ck_assert_int_eq(authc_acl_get(f->authc, s.bob.grant, SLICE("ann@example.org"), 7, &s.arena, &list), AUTHC_SHARE_DENIED);
	/* Less: what was under way ends. */
	ck_assert_int_eq(give(f, &s, "bob", 1), AUTHC_SHARE_OK);
	ck_assert(!store_has(f, first.grant));
	ck_assert_uint_eq(bob_has(f, &s, first.grant, &again), 1);
	ck_assert_mem_ne(again.grant, first.grant, sizeof(first.grant));
	ck_assert(store_has(f, again.grant));
	/* Negative rights count, too. */
	ck_assert_int_eq(give(f, &s, "-bob", 1), AUTHC_SHARE_OK);
	ck_assert(!store_has(f, again.grant));
	ck_assert_uint_eq(bob_has(f, &s, NULL, &again), 0);
	ck_assert_int_eq(give(f, &s, "-bob", 0), AUTHC_SHARE_OK);
	ck_assert_uint_eq(bob_has(f, &s, NULL, &again), 1);
	authc_release(f->authc, again.grant);
	fiber_sleep(1000);
	ck_assert(!store_has(f, again.grant));
	arena_done(&s.arena);
}

START_TEST(what_a_list_takes_away_ends_before_it_is_answered)
{
	with_auth(sharing);
}
END_TEST

static void whose_lists(struct fixture *f)
{
	struct authc_shared got;
	struct sharing s;
	bool yes = true;
	struct auth_user_change lock = { .disabled = &yes };

	begin_sharing(f, &s);
	ck_assert_int_eq(give(f, &s, "", 1), AUTHC_SHARE_MALFORMED);
	ck_assert_int_eq(give(f, &s, "-", 1), AUTHC_SHARE_MALFORMED);
	ck_assert_int_eq(give(f, &s, "eve", 1), AUTHC_SHARE_NO_USER);
	ck_assert_int_eq(give(f, &s, "eve", 0), AUTHC_SHARE_OK);
	ck_assert_int_eq(give(f, &s, "ANN", 1), AUTHC_SHARE_OWNER);
	/* Another's list: only with its right. */
	ck_assert_int_eq(authc_acl_set(f->authc, s.bob.grant, SLICE("ann@example.org"), 7, SLICE("bob"), 0, 1), AUTHC_SHARE_DENIED);
	ck_assert_int_eq(give(f, &s, "bob", 1u << 10), AUTHC_SHARE_OK);
	ck_assert_int_eq(authc_acl_set(f->authc, s.bob.grant, SLICE("ann@example.org"), 7, SLICE("bob"), ~0u, 1), AUTHC_SHARE_OK);
	ck_assert_uint_eq(bob_has(f, &s, NULL, &got), (1u << 10) + 1);
	/* A folder below inherits with the right to make one only. */
	ck_assert_int_eq(authc_acl_folder(f->authc, s.bob.grant, SLICE("ann@example.org"), 8, 7), AUTHC_SHARE_DENIED);
	ck_assert_int_eq(authc_acl_folder(f->authc, s.ann.grant, SLICE(""), 8, 7), AUTHC_SHARE_OK);
	ck_assert_int_eq(authc_acl_folder(f->authc, s.ann.grant, SLICE(""), 8, 0), AUTHC_SHARE_OK);
	ck_assert_uint_eq(bob_has(f, &s, NULL, &got), (1u << 10) + 1);
	/* A login that is none, and one that ended. */
	ck_assert_int_eq(authc_shared(f->authc, got.grant, SLICE("ann@example.org"), NULL, &s.arena, &got), AUTHC_SHARE_TEMPORARY);
	/* Who is locked loses what others shared. */
	ck_assert_int_eq(auth_user_change(f->auth, SLICE("bob@example.org"), &lock), AUTH_ADMIN_OK);
	ck_assert(!store_has(f, got.grant));
	ck_assert_uint_eq(bob_has(f, &s, NULL, &got), 0);
	arena_done(&s.arena);
}

START_TEST(a_list_is_changed_by_its_owner_or_with_the_right_to)
{
	with_auth(whose_lists);
}
END_TEST

static void next_bob(struct fixture *f)
{
	struct slice password = SLICE("pencil");
	struct auth_user_change set = { .password = &password };
	struct authc_shared got;
	struct sharing s;

	begin_sharing(f, &s);
	ck_assert_int_eq(give(f, &s, "bob", 3), AUTHC_SHARE_OK);
	ck_assert_uint_eq(bob_has(f, &s, NULL, &got), 3);
	ck_assert_int_eq(auth_user_remove(f->auth, SLICE("bob@example.org")), AUTH_ADMIN_OK);
	ck_assert(!store_has(f, got.grant));
	ck_assert_int_eq(auth_user_add(f->auth, SLICE("bob@example.org"), &set), AUTH_ADMIN_OK);
	ck_assert_int_eq(login(f, "bob", "pencil", &s.bob), AUTHC_OK);
	ck_assert_uint_eq(bob_has(f, &s, NULL, &got), 0);
	arena_done(&s.arena);
}

START_TEST(who_gets_an_address_next_gets_none_of_its_rights)
{
	with_auth(next_bob);
}
END_TEST

static void store_goes(struct fixture *f)
{
	struct authc_shared first, again;
	struct sharing s;

	begin_sharing(f, &s);
	ck_assert_int_eq(give(f, &s, "bob", 3), AUTHC_SHARE_OK);
	ck_assert_uint_eq(bob_has(f, &s, NULL, &first), 3);
	/* Not taken away before the store has said so, and the next try tells it again. */
	f->revoke_fails = true;
	ck_assert_int_eq(give(f, &s, "bob", 1), AUTHC_SHARE_TEMPORARY);
	ck_assert(store_has(f, first.grant));
	ck_assert_uint_eq(bob_has(f, &s, first.grant, &again), 1);
	ck_assert_mem_ne(again.grant, first.grant, sizeof(first.grant));
	f->revoke_fails = false;
	ck_assert_int_eq(give(f, &s, "bob", 1), AUTHC_SHARE_OK);
	ck_assert(!store_has(f, first.grant) && !store_has(f, again.grant));
	arena_done(&s.arena);
}

START_TEST(a_revocation_that_the_store_did_not_hear_is_not_acknowledged)
{
	with_auth(store_goes);
}
END_TEST

static void others_change(struct fixture *f)
{
	struct authc_shared got;
	struct sharing s;
	size_t before;

	begin_sharing(f, &s);
	ck_assert_int_eq(give(f, &s, "bob", 3), AUTHC_SHARE_OK);
	before = f->grants;
	f->lists_change = true;
	ck_assert_uint_eq(bob_has(f, &s, NULL, &got), 3);
	ck_assert(store_has(f, got.grant));
	ck_assert_uint_eq(f->grants, before + 1);
	arena_done(&s.arena);
}

START_TEST(an_answer_that_is_made_again_since_lists_changed_leaves_no_grant_behind)
{
	with_auth(others_change);
}
END_TEST

static void damaged_lists(struct fixture *f)
{
	struct engine_step step = { .kind = STEP_SET, .value = SLICE("?") };
	struct authc_shared got;
	struct sharing s;
	char key[32], object[16];

	begin_sharing(f, &s);
	/* Wherever the directory keeps it. */
	snprintf(key, sizeof(key), "%c%s", DIR_LISTS, s.ann.account);
	step.key = slice_str(key);
	for (unsigned i = 0; i < DIRECTORY_OBJECTS; i++) {
		snprintf(object, sizeof(object), "u.%u", i);
		ck_assert_int_eq(engine_apply(f->engine, &(struct engine_op){ .object = slice_str(object), .steps = &step, .count = 1 }), ENGINE_OK);
	}
	ck_assert_uint_eq(bob_has(f, &s, NULL, &got), 0);
	/* Nothing is built upon them. */
	ck_assert_int_eq(give(f, &s, "bob", 3), AUTHC_SHARE_TEMPORARY);
	arena_done(&s.arena);
}

START_TEST(damaged_lists_give_nothing_and_are_not_written_over)
{
	with_auth(damaged_lists);
}
END_TEST

static void nonsense(struct fixture *f)
{
	uint8_t bytes[64];

	for (unsigned type = 0; type < 26; type++) {
		for (size_t n = 0; n < sizeof(bytes); n++) {
			AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);

			memset(bytes, (int)(type + n), sizeof(bytes));
			(void)!auth_serve(f->client, (uint8_t)type, slice_of(bytes, n), &reply);
		}
	}
}

START_TEST(malformed_messages_do_no_harm)
{
	with_auth(nonsense);
}
END_TEST

TEST_MAIN("session/authc", a_login_gives_a_grant_that_logout_revokes,
	  no_grant_is_given_that_the_store_has_not_taken, a_new_password_holds_at_once_and_ends_sessions,
	  the_mail_of_a_removed_user_is_removed, no_crash_makes_us_forget_the_mail_of_a_removed_user,
	  a_locked_or_removed_user_neither_logs_in_nor_gets_mail, plain_and_login_exchanges_work,
	  scram_logs_in_with_the_right_password_only, an_unknown_user_has_a_salt_that_survives_restarts,
	  a_session_that_ended_while_auth_was_away_is_not_renewed_for_ever, a_process_delivers_only_where_the_policy_lets_it, sessions_outlive_a_restart_of_auth, a_store_that_restarts_gets_the_live_grants_again, a_front_that_ends_takes_no_grant_of_its_successor_along,
	  recipients_get_reused_append_grants, a_recipient_is_remembered_until_auth_says_forget,
	  a_recipient_near_its_quota_is_not_remembered, an_answer_is_good_for_so_many_bytes_and_seconds,
	  mail_for_the_postmaster_has_somewhere_to_go, quota_counts_merged_and_fresh_mail,
	  users_send_as_themselves_and_their_aliases, an_imported_hash_becomes_ours_at_the_first_login,
	  clear_passwords_are_not_offered_on_an_open_line, wrong_passwords_are_answered_later_and_later,
	  a_user_has_so_many_sessions_in_all_processes_together,
	  a_client_has_so_many_connections_to_all_processes_together, rates_hold_for_all_processes_together,
	  what_a_list_takes_away_ends_before_it_is_answered, a_list_is_changed_by_its_owner_or_with_the_right_to,
	  who_gets_an_address_next_gets_none_of_its_rights, a_revocation_that_the_store_did_not_hear_is_not_acknowledged,
	  an_answer_that_is_made_again_since_lists_changed_leaves_no_grant_behind, damaged_lists_give_nothing_and_are_not_written_over,
	  malformed_messages_do_no_harm)
