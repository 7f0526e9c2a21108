/* The library against an extension in the kernel. Needs root; skips without. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/test.h"
#include "spine/message/channel.h"
#include "spine/message/echo_load.h"
#include "spine/message/handoff.h"
#include "spine/message/serve.h"

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif

enum { ADD = 1, REMEMBER, RECALL, ASK, DIGEST, FIRST_WORDS, SET_MODE };
enum { MODE_PASS, MODE_POST, MODE_COPY };
enum { SEEN = 100, FRAME, ANSWER };

struct add {
	uint32_t a, b;
	uint64_t sum, sender;
};

static struct echo lab;
static struct spine_channel *first, *second;

static struct spine_channel *open_channel(uint32_t k)
{
	struct spine_channel_fds fds;
	struct spine_channel *c;
	struct spine_error why;

	echo_fds(&lab, k, &fds);
	ck_assert_msg(spine_channel_from_fds(&fds, &c, &why) == 0, "%s", why.text);
	return c;
}

static void set_up(void)
{
	ck_assert_int_eq(echo_load(&lab, ECHO_OBJECT), 0);
	first = open_channel(0);
	second = open_channel(1);
}

static void set_mode(uint32_t mode)
{
	struct {
		uint32_t mode, port;
	} args = { mode, 0 };

	ck_assert_int_eq(spine_call(first, SET_MODE, &args, sizeof(args)), 0);
}

static uint64_t recalled(void)
{
	uint64_t value = 0;

	ck_assert_int_eq(spine_call(first, RECALL, &value, sizeof(value)), 0);
	return value;
}

static const uint8_t frame[64] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0x99, 'h', 'i' };

static void send_frames(int count)
{
	ck_assert_int_eq(echo_frame(&lab, frame, sizeof(frame), count), 1);	/* XDP_DROP */
}

START_TEST(a_call_is_answered_in_place)
{
	struct add args = { .a = 40, .b = 2 };

	set_up();
	ck_assert_int_eq(spine_call(first, ADD, &args, sizeof(args)), 0);
	ck_assert_uint_eq(args.sum, 42);
}
END_TEST

START_TEST(a_wrong_call_gets_an_error_and_is_counted)
{
	struct spine_channel_state state;
	struct add args = { 0 };
	uint32_t zero = 0;

	set_up();
	ck_assert_int_eq(spine_call(first, 99, &args, sizeof(args)), -ENOSYS);
	ck_assert_int_eq(spine_call(first, ADD, &args, 8), -EBADMSG);
	ck_assert_int_eq(spine_call(first, ADD, &args, 49), -EMSGSIZE);
	ck_assert_int_eq(spine_call(first, DIGEST, &args, 16), -EINVAL);
	ck_assert_int_eq(bpf_map_lookup_elem(echo_map(&lab, 0, SPINE_MAP_CHANNEL), &zero, &state), 0);
	ck_assert_uint_eq(state.calls, 3);
	ck_assert_uint_eq(state.unknown, 1);
	ck_assert_uint_eq(state.malformed, 1);
	ck_assert_uint_eq(state.refused, 1);
}
END_TEST

START_TEST(a_batch_fills_up_its_credits_and_no_more)
{
	uint64_t one = 1;

	set_up();
	ck_assert_uint_eq(spine_credits(first), 256);
	for (int i = 0; i < 256; i++)
		ck_assert_int_eq(spine_post(first, REMEMBER, &one, sizeof(one)), 0);
	ck_assert_uint_eq(spine_credits(first), 0);
	ck_assert_int_eq(spine_post(first, REMEMBER, &one, sizeof(one)), -ENOBUFS);
	ck_assert_uint_eq(recalled(), 0);
	ck_assert_int_eq(spine_kick(first), 256);
	ck_assert_uint_eq(recalled(), 256);
	ck_assert_uint_eq(spine_credits(first), 256);
	ck_assert_int_eq(spine_kick(first), 0);
}
END_TEST

START_TEST(two_senders_cannot_pass_for_each_other)
{
	struct spine_message forged = { .handler = ADD, .kind = SPINE_MESSAGE_CALL,
					.length = sizeof(struct add), .sender = 1 };
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &forged, .ctx_size_in = sizeof(forged));
	struct add args = { 0 };

	set_up();
	ck_assert_int_eq(spine_call(first, ADD, &args, sizeof(args)), 0);
	ck_assert_uint_eq(args.sender, 1);
	ck_assert_int_eq(spine_call(second, ADD, &args, sizeof(args)), 0);
	ck_assert_uint_eq(args.sender, 2);
	/* The second one, by hand and under the first one's label. */
	ck_assert_int_eq(bpf_prog_test_run_opts(second->fd.call, &run), 0);
	ck_assert_int_eq(forged.kind, SPINE_MESSAGE_REPLY);
	ck_assert_uint_eq(forged.sender, 2);
	memcpy(&args, forged.args, sizeof(args));
	ck_assert_uint_eq(args.sender, 2);
}
END_TEST

START_TEST(inboxes_are_apart)
{
	uint64_t one = 1;

	set_up();
	ck_assert_int_eq(spine_post(second, REMEMBER, &one, sizeof(one)), 0);
	ck_assert_int_eq(spine_kick(first), 0);
	ck_assert_uint_eq(recalled(), 0);
	ck_assert_int_eq(spine_kick(second), 1);
	ck_assert_uint_eq(recalled(), 1);
}
END_TEST

START_TEST(medium_bytes_go_along_with_calls_and_posts)
{
	static uint8_t data[SPINE_MEDIUM_BYTES + 1];
	struct {
		struct spine_medium where;
		uint64_t sum;
	} args = { 0 };

	set_up();
	memset(data, 1, sizeof(data));
	ck_assert_int_eq(spine_call_medium(first, DIGEST, &args, sizeof(args), data, 2048), 0);
	ck_assert_uint_eq(args.sum, 2048 + 8 * 0x0101010101010101u);
	ck_assert_int_eq(spine_call_medium(first, DIGEST, &args, sizeof(args), data, 2049), -EMSGSIZE);
	/* Posts keep their buffers until the kick. */
	for (int i = 0; i < 16; i++)
		ck_assert_int_eq(spine_post_medium(first, DIGEST, &args, sizeof(args), data, 100), 0);
	ck_assert_int_eq(spine_post_medium(first, DIGEST, &args, sizeof(args), data, 100), -ENOBUFS);
	ck_assert_int_eq(spine_kick(first), 16);
	ck_assert_int_eq(spine_post_medium(first, DIGEST, &args, sizeof(args), data, 100), 0);
}
END_TEST

START_TEST(bulk_stays_inside_the_region)
{
	struct {
		struct spine_bulk where;
		uint64_t sum;
	} args = { { 0, 16, 65520 }, 0 };
	uint64_t words[2] = { 40, 2 };
	size_t bytes;

	set_up();
	uint8_t *region = spine_region(first, &bytes);
	ck_assert_uint_eq(bytes, 65536);
	memcpy(region + 65520, words, sizeof(words));
	ck_assert_int_eq(spine_call_bulk(first, FIRST_WORDS, &args, sizeof(args)), 0);
	ck_assert_uint_eq(args.sum, 42);
	args.where.offset = 65521;
	ck_assert_int_eq(spine_call_bulk(first, FIRST_WORDS, &args, sizeof(args)), -EINVAL);
	args.where = (struct spine_bulk){ 0, 16, UINT64_MAX - 8 };
	ck_assert_int_eq(spine_call_bulk(first, FIRST_WORDS, &args, sizeof(args)), -EINVAL);
	args.where = (struct spine_bulk){ 1, 16, 0 };
	ck_assert_int_eq(spine_call_bulk(first, FIRST_WORDS, &args, sizeof(args)), -EINVAL);
	args.where = (struct spine_bulk){ 0, 15, 0 };
	ck_assert_int_eq(spine_call_bulk(first, FIRST_WORDS, &args, sizeof(args)), -EINVAL);
	/* The other channel has a region of its own. */
	args.where = (struct spine_bulk){ 0, 16, 65520 };
	ck_assert_int_eq(spine_call_bulk(second, FIRST_WORDS, &args, sizeof(args)), 0);
	ck_assert_uint_eq(args.sum, 0);
}
END_TEST

static void stay_on_one_processor(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
}

START_TEST(frames_become_messages_in_order_and_overflow_is_counted)
{
	struct spine_channel_counts counts;
	struct spine_message m;
	uint64_t number;

	set_up();
	stay_on_one_processor();
	set_mode(MODE_POST);
	send_frames(300);
	for (uint64_t i = 0; i < 256; i++) {
		ck_assert_int_eq(spine_take(first, &m, NULL), 1);
		ck_assert_uint_eq(m.handler, SEEN);
		memcpy(&number, m.args, sizeof(number));
		ck_assert_uint_eq(number, i);
	}
	ck_assert_int_eq(spine_take(first, &m, NULL), 0);
	spine_channel_counts(first, &counts);
	ck_assert_uint_eq(counts.taken, 256);
	ck_assert_uint_eq(counts.lost, 44);
	send_frames(1);
	ck_assert_int_eq(spine_take(first, &m, NULL), 1);
}
END_TEST

START_TEST(frames_come_with_their_bytes)
{
	uint8_t bytes[SPINE_MEDIUM_BYTES];
	struct spine_message m;
	struct spine_medium where;

	set_up();
	set_mode(MODE_COPY);
	for (int round = 0; round < 20; round++) {
		send_frames(1);
		memset(bytes, 0, sizeof(bytes));
		ck_assert_int_eq(spine_take(first, &m, bytes), 1);
		ck_assert_uint_eq(m.handler, FRAME);
		memcpy(&where, m.args, sizeof(where));
		ck_assert_uint_eq(where.length, sizeof(frame));
		ck_assert_mem_eq(bytes, frame, sizeof(frame));
	}
	stay_on_one_processor();
	send_frames(20);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(spine_take(first, &m, bytes), 1);
	ck_assert_int_eq(spine_take(first, &m, bytes), 0);
}
END_TEST

START_TEST(a_handler_answers_through_the_outbox)
{
	struct spine_message m;
	uint64_t value;

	set_up();
	for (uint64_t i = 0; i < 10; i++)
		ck_assert_int_eq(spine_post(second, ASK, &i, sizeof(i)), 0);
	ck_assert_int_eq(spine_kick(second), 10);
	for (uint64_t i = 0; i < 10; i++) {
		ck_assert_int_eq(spine_take(first, &m, NULL), 1);
		ck_assert_uint_eq(m.handler, ANSWER);
		ck_assert_uint_eq(m.seq, i + 1);
		memcpy(&value, m.args, sizeof(value));
		ck_assert_uint_eq(value, 2 * i);
	}
}
END_TEST

START_TEST(the_doorbell_rings_only_for_who_sleeps)
{
	struct spine_channel_counts counts;
	struct pollfd bell;
	struct spine_message m;

	set_up();
	stay_on_one_processor();
	set_mode(MODE_POST);
	bell = (struct pollfd){ .fd = spine_fd(first), .events = POLLIN };
	send_frames(100);
	ck_assert_int_eq(poll(&bell, 1, 0), 0);		/* awake: no bell */
	ck_assert_int_eq(spine_sleep(first), 1);	/* must not sleep: messages wait */
	while (spine_take(first, &m, NULL))
		;
	ck_assert_int_eq(spine_sleep(first), 0);
	ck_assert_int_eq(poll(&bell, 1, 0), 0);
	send_frames(100);
	ck_assert_int_eq(poll(&bell, 1, 0), 1);
	/* One bell for a hundred messages. */
	ck_assert_uint_eq(*first->bell.producer - *first->bell.consumer, 16);
	spine_awake(first);
	ck_assert_int_eq(poll(&bell, 1, 0), 0);
	while (spine_take(first, &m, NULL))
		;
	ck_assert_int_eq(spine_wait(first, 1), 0);
	spine_channel_counts(first, &counts);
	ck_assert_uint_eq(counts.wakeups, 0);
}
END_TEST

struct sender {
	int rounds;
};

static void *post_frames(void *arg)
{
	for (int i = ((struct sender *)arg)->rounds; i > 0; i--)
		echo_frame(&lab, frame, sizeof(frame), 1);
	return NULL;
}

START_TEST(a_reader_that_sleeps_misses_nothing)
{
	struct sender sender = { 20000 };
	struct spine_channel_counts counts;
	struct spine_message m;
	uint64_t taken = 0;
	pthread_t thread;

	set_up();
	set_mode(MODE_POST);
	ck_assert_int_eq(pthread_create(&thread, NULL, post_frames, &sender), 0);
	do {
		/* A lost wake-up would cost a second and fail. */
		ck_assert_int_eq(spine_wait(first, 1000), 1);
		while (spine_take(first, &m, NULL))
			taken++;
		spine_channel_counts(first, &counts);
	} while (taken + counts.lost < 20000);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(taken + counts.lost, 20000);
	ck_assert_uint_le(counts.wakeups, taken);
	ck_assert_uint_eq(counts.malformed, 0);
}
END_TEST

static uint32_t next_random(uint32_t *state)
{
	return *state = *state * 1664525u + 1013904223u;
}

static void scribble(void *memory, size_t bytes, uint32_t *seed)
{
	uint32_t *words = memory;

	for (size_t i = 0; i < bytes / sizeof(*words); i++)
		words[i] = next_random(seed);
}

START_TEST(a_host_that_scribbles_over_its_rings_hurts_itself)
{
	struct add args = { .a = 1, .b = 2 };
	uint32_t seed = 1;

	set_up();
	set_mode(MODE_POST);
	for (int round = 0; round < 300; round++) {
		scribble(first->inbox, round % 2 ? sizeof(*first->inbox) : 256, &seed);
		first->inbox->busy = 0;
		int taken = spine_kick(first);
		ck_assert_msg(taken >= 0 && taken <= 256, "%d taken", taken);
		scribble(first->outbox, round % 2 ? first->outbox_bytes : 128, &seed);
		for (int i = 0; i < 10; i++)	/* one by one: repeating waits for an RCU period */
			echo_frame(&lab, frame, sizeof(frame), 1);
	}
	/* Held forever by its owner's hand: busy, and nobody waits. */
	first->inbox->busy = 1;
	ck_assert_int_eq(spine_kick(first), -EBUSY);
	/* The neighbour sees nothing of it. */
	ck_assert_int_eq(spine_call(second, ADD, &args, sizeof(args)), 0);
	ck_assert_uint_eq(args.sum, 3);
	ck_assert_uint_eq(args.sender, 2);
	uint64_t one = 1;
	ck_assert_int_eq(spine_post(second, REMEMBER, &one, sizeof(one)), 0);
	ck_assert_int_eq(spine_kick(second), 1);
}
END_TEST

START_TEST(foreign_descriptors_are_refused)
{
	struct spine_channel_fds fds, bad;
	struct spine_channel *c;
	struct spine_error why;

	set_up();
	echo_fds(&lab, 0, &fds);
	bad = fds;
	bad.inbox = fds.outbox;
	ck_assert_int_eq(spine_channel_from_fds(&bad, &c, &why), -EINVAL);
	bad = fds;
	bad.call = lab.xdp;
	ck_assert_int_eq(spine_channel_from_fds(&bad, &c, &why), -EINVAL);
	bad = fds;
	bad.doorbell = fds.outbox;
	ck_assert_int_eq(spine_channel_from_fds(&bad, &c, &why), -EINVAL);
	bad = (struct spine_channel_fds){ -1, -1, -1, -1, -1, -1, -1 };
	ck_assert_int_eq(spine_channel_from_fds(&bad, &c, &why), -EINVAL);
	/* None was closed by the refusals. */
	ck_assert_int_eq(spine_channel_from_fds(&fds, &c, &why), 0);
	spine_channel_close(c);
}
END_TEST

/* In a child without any privilege, with what came over the socket. */
static int unprivileged(int socket_fd)
{
	struct add args = { .a = 20, .b = 22 };
	struct spine_channel *c;
	struct spine_error why;
	struct spine_message m;
	char text[16];
	uint64_t one = 1;

	if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
		return 1;
	snprintf(text, sizeof(text), "%d", socket_fd);
	setenv(HANDOFF_ENV, text, 1);
	if (spine_channel_connect(NULL, &c, &why) < 0) {
		fprintf(stderr, "# %s\n", why.text);
		return 2;
	}
	if (spine_call(c, ADD, &args, sizeof(args)) != 0 || args.sum != 42 || args.sender != 1)
		return 3;
	if (spine_post(c, ASK, &one, sizeof(one)) != 0 || spine_kick(c) != 1)
		return 4;
	if (spine_wait(c, 1000) != 1 || spine_take(c, &m, NULL) != 1 || m.handler != ANSWER)
		return 5;
	spine_channel_close(c);
	return 0;
}

START_TEST(a_user_without_capabilities_calls_and_maps)
{
	struct handoff hello = { .sender = 1, .device = "test", .extension = "echo" };
	struct spine_channel_fds fds;
	int pair[2], status;

	set_up();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid_t child = fork();
	if (child == 0)
		_exit(unprivileged(pair[1]));
	spine_channel_fds(first, &fds);
	ck_assert_int_eq(handoff_hello(pair[0], &hello, &fds), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(a_socket_for_frames_is_good_for_its_interface_alone)
{
	struct spine_channel_fds named = { -1, -1, -1, -1, -1, -1, 0 };
	struct handoff hello = { .magic = HANDOFF_MAGIC, .ifindex = 1 }, h = { .kind = HANDOFF_SOCKET, .queue = 0 };
	int pair[2], fds[HANDOFF_FDS], index = 0;
	socklen_t bytes = sizeof(index);
	struct serve s;
	size_t count;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	serve_init(&s, &named, &hello);
	ck_assert_int_eq(serve_begin(&s, pair[0]), 0);
	ck_assert_int_eq(handoff_receive(pair[1], &hello, fds, &count), 0);
	while (count > 0)
		close(fds[--count]);
	ck_assert_int_eq(handoff_send(pair[1], &h, NULL, 0), 0);
	ck_assert_int_eq(serve_answer(&s), 0);
	ck_assert_int_eq(handoff_receive(pair[1], &h, fds, &count), 0);
	ck_assert_int_eq(h.status, 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_int_eq(getsockopt(fds[0], SOL_SOCKET, SO_BINDTOIFINDEX, &index, &bytes), 0);
	ck_assert_int_eq(index, 1);
	close(fds[0]);
	close(pair[1]);
	serve_end(&s);
}
END_TEST

static int skip(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	return 0;
}

int main(void)
{
	const TTest *const tests[] = {
		a_call_is_answered_in_place, a_wrong_call_gets_an_error_and_is_counted,
		a_batch_fills_up_its_credits_and_no_more, two_senders_cannot_pass_for_each_other,
		inboxes_are_apart, medium_bytes_go_along_with_calls_and_posts,
		bulk_stays_inside_the_region, frames_become_messages_in_order_and_overflow_is_counted,
		frames_come_with_their_bytes, a_handler_answers_through_the_outbox,
		the_doorbell_rings_only_for_who_sleeps, a_reader_that_sleeps_misses_nothing,
		a_host_that_scribbles_over_its_rings_hurts_itself, foreign_descriptors_are_refused,
		a_user_without_capabilities_calls_and_maps, a_socket_for_frames_is_good_for_its_interface_alone,
	};
	Suite *suite = suite_create("spine/message/live");
	TCase *tcase = tcase_create("live");

	if (geteuid() != 0)
		return skip("needs root");
	if (access(ECHO_OBJECT, R_OK) < 0)
		return skip("no clang made the extension");
	if (echo_load(&lab, ECHO_OBJECT) == -EPERM)
		return skip("this kernel loads no BPF programs for us");
	echo_unload(&lab);		/* each test loads its own */
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
