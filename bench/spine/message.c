/*
 * What messages cost: the example extension, called, batched, read, and asked over the network.
 *
 *	message echo.o				costs in memory: no network needed, root is
 *	message ask ADDRESS PORT ROUNDS KIND	one client: round trips in nanoseconds on standard output
 *	message serve ADDRESS PORT		the host process that answers the same question
 *
 * Each figure is the median of interleaved rounds; min and max show the spread. Rows: name, median, min, max, target.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "spine/message/echo_load.h"

#define ROUNDS 9
enum { ADD = 1, REMEMBER = 2, SET_MODE = 7 };

struct add {
	uint32_t a, b;
	uint64_t sum, sender;
};

/* Processor time of this thread: others on the machine do not count. */
static uint64_t spent_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static struct echo lab;
static struct spine_channel *channel;

static double nothing(void)
{
	uint64_t begin = spent_ns();

	for (int i = 0; i < 20000; i++)
		(void)getppid();
	return (double)(spent_ns() - begin) / 20000;
}

static double calls(void)
{
	struct add args = { .a = 1, .b = 2 };
	uint64_t begin = spent_ns();

	for (int i = 0; i < 20000; i++)
		if (spine_call(channel, ADD, &args, sizeof(args)) < 0)
			exit(1);
	return (double)(spent_ns() - begin) / 20000;
}

static double batches(int size)
{
	uint64_t one = 1, begin = spent_ns();

	for (int i = 0; i < 32000; i += size) {
		for (int k = 0; k < size; k++)
			if (spine_post(channel, REMEMBER, &one, sizeof(one)) < 0)
				exit(1);
		if (spine_kick(channel) != size)
			exit(1);
	}
	return (double)(spent_ns() - begin) / 32000;
}

static double batch_1(void)
{
	return batches(1);
}

static double batch_16(void)
{
	return batches(16);
}

static double batch_64(void)
{
	return batches(64);
}

static const uint8_t frame[64] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0x99 };

/* Time of a packet as the kernel measures it, the best of 20: it counts what interrupts, too. 250 fit into the ring. */
static double packet_ns(uint32_t mode)
{
	struct {
		uint32_t mode, port;
	} args = { mode, 0 };
	struct spine_message m;
	uint32_t best = UINT32_MAX;
	uint8_t out[2048];

	if (spine_call(channel, SET_MODE, &args, sizeof(args)) < 0)
		exit(1);
	for (int i = 0; i < 20; i++) {
		LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame), .data_out = out,
			    .data_size_out = sizeof(out), .repeat = 250);

		if (bpf_prog_test_run_opts(lab.xdp, &run) < 0)
			exit(1);
		if (run.duration < best)
			best = run.duration;
		while (spine_take(channel, &m, NULL))
			;
	}
	return (double)best;
}

static double packet_alone(void)
{
	return packet_ns(0);
}

static double packet_with_post(void)
{
	return packet_ns(1);
}

static double take(void)
{
	struct spine_message m;
	uint64_t spent = 0;
	int taken = 0;

	packet_ns(0);
	for (int i = 0; i < 20; i++) {
		struct {
			uint32_t mode, port;
		} args = { 1, 0 };
		if (spine_call(channel, SET_MODE, &args, sizeof(args)) < 0 ||
		    echo_frame(&lab, frame, sizeof(frame), 250) < 0)
			exit(1);
		uint64_t begin = spent_ns();
		while (spine_take(channel, &m, NULL))
			taken++;
		spent += spent_ns() - begin;
	}
	return (double)spent / taken;
}

static const struct {
	const char *name;
	double (*run)(void);
	const char *target;
} parts[] = {
	{ "a system call that does nothing (getppid)", nothing, "" },
	{ "sync call, reply in place", calls, "1500" },
	{ "batch of 1, a message", batch_1, "" },
	{ "batch of 16, a message", batch_16, "120" },
	{ "batch of 64, a message", batch_64, "30" },
	{ "packet without post", packet_alone, "" },
	{ "packet with post to the host", packet_with_post, "" },
	{ "host takes a post", take, "" },
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

static int costs(const char *object)
{
	double got[PARTS][ROUNDS], post[ROUNDS];
	struct spine_channel_fds fds;
	struct spine_error why;

	if (echo_load(&lab, object) < 0)
		return 1;
	echo_fds(&lab, 0, &fds);
	if (spine_channel_from_fds(&fds, &channel, &why) < 0) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	for (size_t r = 0; r < ROUNDS; r++) {
		for (size_t i = 0; i < PARTS; i++)
			got[i][r] = parts[i].run();
		post[r] = got[6][r] - got[5][r];
	}
	for (size_t i = 0; i < PARTS; i++) {
		qsort(got[i], ROUNDS, sizeof(double), by_value);
		printf("%s\t%.1f\t%.1f\t%.1f\t%s\n", parts[i].name, got[i][ROUNDS / 2], got[i][0], got[i][ROUNDS - 1],
		       parts[i].target);
	}
	qsort(post, ROUNDS, sizeof(double), by_value);
	printf("device to host post (the difference)\t%.1f\t%.1f\t%.1f\t5\n", post[ROUNDS / 2], post[0], post[ROUNDS - 1]);
	spine_channel_close(channel);
	return 0;
}

/* ---- over the network ---- */

static int bound(const char *address, const char *port, bool server)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const struct sockaddr *at = (const struct sockaddr *)&to;

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
	    (server ? bind(fd, at, sizeof(to)) : connect(fd, at, sizeof(to))) < 0)
		exit(1);
	return fd;
}

static int serve(const char *address, const char *port)
{
	int fd = bound(address, port, true);

	printf("ready\n");
	fflush(stdout);
	for (;;) {
		struct sockaddr_in from;
		socklen_t bytes = sizeof(from);
		struct spine_message m;
		struct add args;

		if (recvfrom(fd, &m, sizeof(m), 0, (struct sockaddr *)&from, &bytes) != sizeof(m))
			continue;
		memcpy(&args, m.args, sizeof(args));
		args.sum = (uint64_t)args.a + args.b;
		memcpy(m.args, &args, sizeof(args));
		m.kind = SPINE_MESSAGE_REPLY;
		(void)sendto(fd, &m, sizeof(m), 0, (struct sockaddr *)&from, bytes);
	}
}

static int ask(const char *address, const char *port, int rounds)
{
	struct spine_message m = { .handler = ADD, .kind = SPINE_MESSAGE_CALL, .length = sizeof(struct add) }, reply;
	struct add args = { .a = 40, .b = 2 };
	int fd = bound(address, port, false);

	memcpy(m.args, &args, sizeof(args));
	for (int i = 0; i < rounds; i++) {
		uint64_t begin = now_ns();

		if (send(fd, &m, sizeof(m), 0) < 0 || recv(fd, &reply, sizeof(reply), 0) != sizeof(reply))
			return 1;
		printf("%llu\n", (unsigned long long)(now_ns() - begin));
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2)
		return costs(argv[1]);
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2], argv[3]);
	if (argc == 5 && strcmp(argv[1], "ask") == 0)
		return ask(argv[2], argv[3], (int)strtol(argv[4], NULL, 10));
	return 2;
}
