#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "engine/memory.h"
#include "engine/remote.h"
#include "engine/remote_proto.h"
#include "sys/fiber.h"
#include "sys/loop.h"

static struct loop *loop;
static struct engine *store;
static struct remote *remote;
static struct remote_server *server;
static enum remote_verdict verdict = REMOTE_ALLOW;
static unsigned asked;
static const uint8_t grant[REMOTE_GRANT_BYTES] = "grant-0123456789";

static enum remote_verdict allow(void *arg, const struct remote_access *access)
{
	ck_assert(access->grant != NULL && memcmp(access->grant, grant, sizeof(grant)) == 0);
	asked++;
	return verdict;
}

static void server_closed(void *arg)
{
	remote_server_free(server);
	server = NULL;
}

static const struct remote_server_callbacks callbacks = { .allow = allow, .closed = server_closed };

static void connect_both(void)
{
	int fd[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
	ck_assert_int_eq(remote_server_new(loop, store, fd[1], &callbacks, NULL, &server), 0);
	ck_assert_int_eq(remote_set_channel(remote, fd[0]), 0);
}

static void set_up(void)
{
	struct remote_options o = { .timeout_us = 2000000 };

	verdict = REMOTE_ALLOW;
	ck_assert_int_eq(loop_new(&loop), 0);
	store = engine_memory_new();
	ck_assert_int_eq(remote_new(loop, &o, &remote), 0);
}

static void run(void (*fn)(void *), void *arg)
{
	ck_assert_int_eq(fiber_start(loop, fn, arg), 0);
	for (int i = 0; i < 5000 && fiber_count(loop) > 0; i++)
		loop_run_once(loop, 10);
	ck_assert_uint_eq(fiber_count(loop), 0);
}

static void tear_down(void)
{
	remote_free(remote);
	for (int i = 0; i < 3; i++)
		loop_run_once(loop, 0);
	remote_server_free(server);
	engine_close(store);
	loop_free(loop);
}

static void write_and_read(void *arg)
{
	size_t n = *(size_t *)arg;
	struct remote_handle h;
	AUTO_BUF struct buf body = BUF_INIT(ENGINE_OP_BYTES_MAX);
	AUTO_BUF struct buf got = BUF_INIT(ENGINE_OP_BYTES_MAX);
	AUTO_ARENA struct arena arena = ARENA_INIT(8u << 20);
	struct engine_kv *kv;
	size_t count;
	bool more;

	remote_handle_init(&h, remote, grant);
	for (size_t i = 0; i < n; i++)
		buf_addc(&body, (uint8_t)(i * 7 + i / 256));
	struct engine_step steps[] = {
		{ .kind = GUARD_LENGTH, .at = 0 },
		{ .kind = GUARD_KEY_ABSENT, .key = SLICE("k1") },
		{ .kind = STEP_WRITE, .value = buf_slice(&body), .at = 0 },
		{ .kind = STEP_SET, .key = SLICE("k1"), .value = SLICE("v1") },
		{ .kind = STEP_SET, .key = SLICE("k2"), .value = slice_head(buf_slice(&body), 50000) },
	};
	struct engine_op op = { .object = SLICE("f.x"), .steps = steps, .count = 5 };
	ck_assert_int_eq(engine_apply(&h.engine, &op), ENGINE_OK);
	ck_assert_int_eq(engine_apply(&h.engine, &op), ENGINE_GUARD);
	ck_assert_int_eq(engine_read(&h.engine, op.object, 0, n + 100, &got), ENGINE_OK);
	ck_assert(slice_eq(buf_slice(&got), buf_slice(&body)));
	ck_assert_int_eq(engine_keys(&h.engine, op.object, SLICE("k"), SLICE("l"), 10, 1u << 20,
				     &arena, &kv, &count, &more),
			 ENGINE_OK);
	ck_assert_uint_eq(count, 2);
	ck_assert(!more);
	ck_assert_slice_eq(kv[0].value, SLICE("v1"));
	ck_assert(slice_eq(kv[1].value, slice_head(buf_slice(&body), 50000)));
	struct engine_stat st;
	ck_assert_int_eq(engine_stat(&h.engine, op.object, &st), ENGINE_OK);
	ck_assert_uint_eq(st.length, n);
	ck_assert_int_eq(engine_stat(&h.engine, SLICE("nothing"), &st), ENGINE_OK);
	ck_assert(!st.exists);
	ck_assert_int_eq(engine_read(&h.engine, SLICE("nothing"), 0, 10, &got), ENGINE_ABSENT);
}

START_TEST(operations_and_reads_small_and_large_arrive_whole)
{
	size_t sizes[] = { 0, 1, 4096, REMOTE_INLINE_BYTES, REMOTE_INLINE_BYTES + 1, 1000000, 1900000 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		set_up();
		connect_both();
		run(write_and_read, &sizes[i]);
		tear_down();
	}
}
END_TEST

static void expect_denied(void *arg)
{
	struct remote_handle h;
	struct engine_stat st;
	struct engine_step step = { .kind = STEP_SET, .key = SLICE("k"), .value = SLICE("v") };
	struct engine_op op = { .object = SLICE("a.x"), .steps = &step, .count = 1 };

	remote_handle_init(&h, remote, grant);
	ck_assert_int_eq(engine_stat(&h.engine, SLICE("a.x"), &st), ENGINE_DENIED);
	ck_assert_int_eq(engine_apply(&h.engine, &op), ENGINE_DENIED);
}

START_TEST(what_the_store_does_not_allow_is_denied_and_not_done)
{
	struct engine_stat st;

	set_up();
	verdict = REMOTE_DENY;
	connect_both();
	run(expect_denied, NULL);
	ck_assert_int_eq(engine_stat(store, SLICE("a.x"), &st), ENGINE_OK);
	ck_assert(!st.exists);
	tear_down();
}
END_TEST

static void stat_waits(void *arg)
{
	struct remote_handle h;
	struct engine_stat st;

	remote_handle_init(&h, remote, grant);
	*(enum engine_result *)arg = engine_stat(&h.engine, SLICE("a.x"), &st);
}

START_TEST(a_call_waits_for_a_store_that_starts_late_and_for_its_grants)
{
	enum engine_result r = ENGINE_INVALID;

	set_up();
	ck_assert_int_eq(fiber_start(loop, stat_waits, &r), 0);
	loop_run_once(loop, 10);
	verdict = REMOTE_NOT_YET;
	asked = 0;
	connect_both();
	while (asked < 3)
		loop_run_once(loop, 10);
	ck_assert_int_eq(r, ENGINE_INVALID);
	verdict = REMOTE_ALLOW;
	while (fiber_count(loop) > 0)
		loop_run_once(loop, 10);
	ck_assert_int_eq(r, ENGINE_OK);
	tear_down();
}
END_TEST

START_TEST(without_a_store_a_call_ends_as_unavailable)
{
	enum engine_result r = ENGINE_INVALID;

	set_up();
	run(stat_waits, &r);
	ck_assert_int_eq(r, ENGINE_UNAVAILABLE);
	tear_down();
}
END_TEST

static unsigned told;

static void count_notice(void *arg)
{
	told++;
}

static void notify_once(void *arg)
{
	struct remote_handle h;
	struct engine_step step = { .kind = STEP_SET, .key = SLICE("k"), .value = SLICE("v") };
	struct engine_op op = { .object = SLICE("f.1"), .steps = &step, .count = 1,
				.notify = SLICE("a.x") };

	remote_handle_init(&h, remote, grant);
	ck_assert_int_eq(engine_apply(&h.engine, &op), ENGINE_OK);
}

START_TEST(watchers_are_told_and_are_told_again_after_a_new_channel)
{
	struct remote_handle h;
	uint64_t id;

	set_up();
	connect_both();
	run(notify_once, NULL);
	remote_handle_init(&h, remote, grant);
	told = 0;
	ck_assert_int_eq(engine_watch(&h.engine, SLICE("a.x"), count_notice, NULL, &id), 0);
	run(notify_once, NULL);
	for (int i = 0; i < 100 && told < 1; i++)
		loop_run_once(loop, 10);
	ck_assert_uint_eq(told, 1);
	remote_server_free(server);
	connect_both();
	for (int i = 0; i < 100 && told < 2; i++)
		loop_run_once(loop, 10);
	ck_assert_uint_eq(told, 2);
	run(notify_once, NULL);
	for (int i = 0; i < 100 && told < 3; i++)
		loop_run_once(loop, 10);
	ck_assert_uint_eq(told, 3);
	engine_unwatch(&h.engine, id);
	run(notify_once, NULL);
	for (int i = 0; i < 5; i++)
		loop_run_once(loop, 10);
	ck_assert_uint_eq(told, 3);
	tear_down();
}
END_TEST

TEST_MAIN("engine/remote", operations_and_reads_small_and_large_arrive_whole,
	  what_the_store_does_not_allow_is_denied_and_not_done,
	  a_call_waits_for_a_store_that_starts_late_and_for_its_grants,
	  without_a_store_a_call_ends_as_unavailable,
	  watchers_are_told_and_are_told_again_after_a_new_channel)
