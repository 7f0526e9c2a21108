/*
 * What a subverted auth may answer to mx and front. The input is a list of messages: type, length (be16), bytes. All
 * answer our calls, in order; before it answers, one of type 'h' is sent as AUTH_HELLO, one of type 'c' as AUTH_CERT. An input that begins with
 * 's' answers questions about shared mailboxes: the login before them is a good one.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "base/reader.h"
#include "mail/auth/wire.h"
#include "mail/session/authc_shares.h"
#include "sys/fiber.h"
#include "sys/ipc.h"
#include "sys/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct authc *authc;
	struct ipc *server;
	struct reader answers;
	bool shares, logged_in;
};

static void answer(void *arg, struct ipc_request *req)
{
	static const uint8_t login[] = "\0gggggggggggggggg0123456789abcdef\17ann@example.org\3Ann\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
	struct run *run = arg;

	if (run->shares && req->one_way)
		return;
	if (run->shares && !run->logged_in) {
		run->logged_in = true;
		/* The NUL at the end says that it is not by ticket. */
		must(ipc_reply(req, slice_of(login, sizeof(login))) <= 0);
		return;
	}
	uint8_t type = rd_u8(&run->answers);
	size_t len = rd_be16(&run->answers);
	struct slice bytes = rd_bytes(&run->answers, MIN(len, rd_left(&run->answers)));

	if (type == 'h' || type == 'c')
		(void)ipc_send(run->server, type == 'h' ? AUTH_HELLO : AUTH_CERT, bytes, -1);
	if (!req->one_way)
		must(ipc_reply(req, bytes) <= 0);
}

static void closed(void *arg, struct ipc *ipc)
{
	struct run *run = arg;

	ipc_free(ipc);
	run->server = NULL;
}

static void check_login(struct authc *a, const struct authc_login *l)
{
	must(strlen(l->account) == AUTHC_ACCOUNT_CHARS && strlen(l->address) <= AUTHC_ADDRESS_BYTES_MAX);
	(void)authc_sender_allowed(a, l->grant, SLICE("bob@example.org"));
	authc_logout(a, l->grant);
}

static void sasl(struct authc *a, const struct authc_peer *peer)
{
	AUTO_BUF struct buf challenge = BUF_INIT(1u << 16);
	struct slice initial = SLICE("n,,n=ann,r=x");
	struct authc_sasl *x = NULL;
	struct authc_login l;
	enum authc_result r = authc_sasl_start(a, peer, SLICE("SCRAM-SHA-256"), &initial, &challenge, &l, &x);

	must((r == AUTHC_MORE) == (x != NULL));
	for (int i = 0; i < 4 && r == AUTHC_MORE; i++)
		r = authc_sasl_step(&x, SLICE("c=biws"), &challenge, &l);
	authc_sasl_cancel(&x);
	if (r == AUTHC_OK)
		check_login(a, &l);
}

static void call_shares(struct run *run, const struct authc_peer *peer)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct authc_shared shared;
	struct slice *owners, list;
	struct authc_login l;
	size_t count;

	must(authc_login_password(run->authc, peer, SLICE("ann"), SLICE("pw"), &l) == AUTHC_OK);
	while (rd_left(&run->answers) > 0 && run->server != NULL) {
		if (authc_shared(run->authc, l.grant, SLICE("bob@example.org"), NULL, &arena, &shared) == AUTHC_SHARE_OK)
			must(strlen(shared.account) == AUTHC_ACCOUNT_CHARS);
		if (authc_sharers(run->authc, l.grant, &arena, &owners, &count) == AUTHC_SHARE_OK && count > 0)
			must(owners[count - 1].len <= IPC_MESSAGE_BYTES);
		(void)authc_acl_get(run->authc, l.grant, SLICE(""), 1, &arena, &list);
		(void)authc_acl_set(run->authc, l.grant, SLICE(""), 1, SLICE("bob"), 0, 1);
		arena_reset(&arena);
	}
	authc_logout(run->authc, l.grant);
}

static void call_all(void *arg)
{
	static const struct authc_peer peer = { .service = AUTHC_IMAP, .source = SLICE_INIT("127.0.0.1"), .secure = true };
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf names = BUF_INIT(1u << 10);
	struct run *run = arg;
	struct authc_target *targets;
	struct authc_login l;
	size_t count;

	if (run->shares)
		call_shares(run, &peer);
	for (int round = 0; round < 3 && rd_left(&run->answers) > 0 && run->server != NULL; round++) {
		if (authc_login_password(run->authc, &peer, SLICE("ann"), SLICE("pw"), &l) == AUTHC_OK)
			check_login(run->authc, &l);
		sasl(run->authc, &peer);
		if (authc_rcpt(run->authc, SLICE("ann@example.org"), 5, &arena, &targets, &count) == AUTHC_RCPT_OK)
			must(count > 0 && count <= AUTHC_TARGETS_MAX && strlen(targets[0].account) == AUTHC_ACCOUNT_CHARS);
		authc_mechanisms(run->authc, &peer, &names);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ipc_callbacks callbacks = { answer, closed };
	struct run run = { .answers = reader_of(slice_of(data, size)) };
	struct loop *l;
	int fds[2];

	if (size > 0 && data[0] == 's')
		run.shares = rd_u8(&run.answers) == 's';
	must(loop_new(&l) == 0);
	must(authc_new(l, &run.authc) == 0);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	must(ipc_new(l, fds[0], &callbacks, &run, &run.server) == 0);
	must(authc_set_channel(run.authc, fds[1]) == 0);
	must(fiber_start(l, call_all, &run) == 0);
	while (fiber_count(l) > 0)
		loop_run_once(l, 100);
	ipc_free(run.server);
	authc_free(run.authc);
	loop_free(l);
	return 0;
}
