/*
 * What a subverted store may answer to its clients. The input is a list of answers: length (be16), bytes; one that
 * starts with 0xfe is sent as a notice before its rest is the answer.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "base/reader.h"
#include "engine/remote.h"
#include "sys/fiber.h"
#include "sys/ipc.h"
#include "sys/loop.h"
#include "sys/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct remote *remote;
	struct ipc *server;
	struct ring ring;
	struct reader answers;
};

static void answer(void *arg, struct ipc_request *req)
{
	struct run *run = arg;
	uint8_t ok = ENGINE_OK;

	if (req->one_way)
		return;
	if (req->type == REMOTE_HELLO) {
		must(ipc_reply_fd(req, slice_of(&ok, 1), run->ring.fd) <= 0);
		return;
	}
	size_t len = rd_be16(&run->answers);
	struct slice bytes = rd_bytes(&run->answers, MIN(len, rd_left(&run->answers)));

	if (bytes.len > 0 && bytes.ptr[0] == 0xfe) {
		bytes = slice_from(bytes, 1);
		(void)ipc_send(run->server, REMOTE_NOTIFY, slice_head(bytes, 8), -1);
	}
	must(ipc_reply(req, bytes) <= 0);
}

static void closed(void *arg, struct ipc *ipc)
{
	struct run *run = arg;

	ipc_free(ipc);
	run->server = NULL;
}

static void notified(void *arg)
{
	++*(size_t *)arg;
}

static void call_all(void *arg)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	struct run *run = arg;
	struct remote_handle h;
	struct engine *e = &h.engine;
	size_t notices = 0, count;
	uint64_t id = 0;
	struct slice *names;
	struct engine_kv *kv;
	struct engine_stat st;
	bool more;

	remote_handle_init(&h, run->remote, (const uint8_t *)"0123456789abcdef");
	int watched = engine_watch(e, SLICE("a.x"), notified, &notices, &id);
	for (int i = 0; i < 4 && rd_left(&run->answers) > 0; i++) {
		AUTO_BUF struct buf out = BUF_INIT(1u << 20);
		struct engine_step step = { .kind = STEP_WRITE, .value = SLICE("x") };
		struct engine_op op = { .object = SLICE("a.x"), .steps = &step, .count = 1 };

		if (engine_read(e, SLICE("a.x"), 0, 40000, &out) == ENGINE_OK)
			must(out.len <= 40000);
		(void)engine_stat(e, SLICE("a.x"), &st);
		if (engine_keys(e, SLICE("a.x"), SLICE("a"), SLICE("z"), 100, 1u << 20, &arena, &kv, &count, &more) == ENGINE_OK)
			must(count <= 100);
		if (engine_list(e, SLICE("a."), SLICE(""), 100, &arena, &names, &count) == ENGINE_OK)
			must(count <= 100);
		(void)engine_apply(e, &op);
		(void)engine_lease(e, SLICE("l"), SLICE("me"), 5);
	}
	if (watched == 0)
		engine_unwatch(e, id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ipc_callbacks callbacks = { answer, closed };
	static const struct remote_options options = { .timeout_us = 20000 };
	struct run run = { .answers = reader_of(slice_of(data, size)) };
	struct loop *l;
	int fds[2];

	must(loop_new(&l) == 0);
	must(ring_create(&run.ring, RING_BYTES) == 0);
	memset(run.ring.map, 'r', 64);
	must(remote_new(l, &options, &run.remote) == 0);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	must(ipc_new(l, fds[0], &callbacks, &run, &run.server) == 0);
	must(remote_set_channel(run.remote, fds[1]) == 0);
	must(fiber_start(l, call_all, &run) == 0);
	while (fiber_count(l) > 0)
		loop_run_once(l, 100);
	ipc_free(run.server);
	remote_free(run.remote);
	ring_done(&run.ring);
	loop_free(l);
	return 0;
}
