/*
 * A hostile client of the store: arbitrary requests over a real channel to a store with
 * an engine in memory that allows all but objects of 'd' and, for now, of 'n'.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "base/reader.h"
#include "engine/memory.h"
#include "engine/remote.h"
#include "sys/fiber.h"
#include "sys/loop.h"
#include "sys/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum remote_verdict allow(void *arg, const struct remote_access *access)
{
	uint8_t first = access->object.len > 0 ? access->object.ptr[0] : 'a';

	if (first == 'n' && access->call != REMOTE_WATCH)	/* a watch waits for seconds then */
		return REMOTE_NOT_YET;
	return first == 'd' ? REMOTE_DENY : REMOTE_ALLOW;
}

static void closed(void *arg)
{
}

static const struct remote_server_callbacks callbacks = { .allow = allow, .closed = closed };

static void ignore_request(void *arg, struct ipc_request *req)
{
}

static void ignore_closed(void *arg, struct ipc *ipc)
{
}

static const struct ipc_callbacks client_callbacks = { .serve = ignore_request, .closed = ignore_closed };

struct run {
	struct ipc *client;
	struct ring ring;
	struct slice input;
};

/* The input is a list of messages: type, length, bytes. One that starts with 0xff skips the hello. */
static void send_all(void *arg)
{
	struct run *run = arg;
	struct reader rd = reader_of(run->input);
	int fd = -1;

	if (slice_starts(run->input, SLICE("\xff")))
		(void)rd_u8(&rd);
	else if (ipc_call_fd(run->client, REMOTE_HELLO, (struct slice){ 0 }, run->ring.fd, 1000000, NULL, &fd) == 0 &&
		 fd >= 0)
		close(fd);
	while (rd_left(&rd) > 0 && !rd.bad) {
		uint8_t type = (uint8_t)(rd_u8(&rd) % 14);
		size_t len = rd_be16(&rd);	/* apart: MIN would read it twice */
		struct slice body = rd_bytes(&rd, MIN(len, rd_left(&rd)));
		AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);
		if (type >= REMOTE_WATCH || type <= REMOTE_HELLO) {	/* no answer comes, or no second one */
			if (ipc_send(run->client, type, body, -1) != 0)
				break;
		} else if (ipc_call(run->client, type, body, 1000000, &reply) != 0) {
			break;
		}
	}
	/* The one-way messages before this call have been served when it is answered. */
	AUTO_BUF struct buf reply = BUF_INIT(IPC_MESSAGE_BYTES);
	(void)ipc_call(run->client, REMOTE_STAT, (struct slice){ 0 }, 1000000, &reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop;
	struct remote_server *server;
	struct run run = { .input = slice_of(data, size) };
	int fd[2];

	must(loop_new(&loop) == 0);
	struct engine *engine = engine_memory_new();
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) == 0);
	must(ring_create(&run.ring, 16 * RING_UNIT_BYTES) == 0);
	must(remote_server_new(loop, engine, fd[1], &callbacks, NULL, &server) == 0);
	must(ipc_new(loop, fd[0], &client_callbacks, NULL, &run.client) == 0);
	must(fiber_start(loop, send_all, &run) == 0);
	while (fiber_count(loop) > 0)
		loop_run_once(loop, 100);
	ipc_free(run.client);
	remote_server_free(server);
	ring_done(&run.ring);
	engine_close(engine);
	loop_free(loop);
	return 0;
}
