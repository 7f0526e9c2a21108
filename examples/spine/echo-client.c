/*
 * Talks to the extension of echo.bpf.c. It needs no privilege when the runtime gives it the channel:
 *
 *	prickle spine stubs echo.o >echo-stubs.h
 *	cc -o echo-client echo-client.c $(pkg-config --cflags --libs prickle-spine)
 *	prickle spine share echo --dev eth0 --user nobody -- ./echo-client - add 40 2
 *
 * The first argument says where the channel comes from: "-" a descriptor that was left to us, "/..." a socket
 * of `prickle spine share`, else a device (as root).
 */
#include <prickle/libspine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <poll.h>

#include "echo-stubs.h"

enum { MODE_PASS, MODE_POST, MODE_COPY, MODE_SOCKET };
#define FRAMES 256

static struct spine_channel *channel;

static int fail(const char *what, int err)
{
	fprintf(stderr, "echo-client: %s: %s\n", what, strerrordesc_np(-err));
	return 1;
}

static int add(uint32_t a, uint32_t b)
{
	struct echo_add args = { .a = a, .b = b };
	int err = echo_call_add(channel, &args);

	if (err < 0)
		return fail("add", err);
	printf("%llu from sender %llu\n", (unsigned long long)args.sum, (unsigned long long)args.sender);
	return 0;
}

/* Posts, with a kick whenever the credits are gone. */
static int batch(uint32_t count)
{
	struct echo_remember one = { .value = 1 };
	struct echo_recall sum = { 0 };
	int err = 0;

	for (uint32_t i = 0; i < count && err >= 0; i++) {
		if (spine_credits(channel) == 0)
			err = spine_kick(channel);
		if (err >= 0)
			err = echo_post_remember(channel, &one);
	}
	if (err >= 0)
		err = spine_kick(channel);
	if (err >= 0)
		err = echo_call_recall(channel, &sum);
	if (err < 0)
		return fail("batch", err);
	printf("%llu\n", (unsigned long long)sum.value);
	return 0;
}

static int set_mode(uint32_t mode)
{
	struct echo_set_mode args = { .mode = mode };
	int err = echo_call_set_mode(channel, &args);

	return err < 0 ? fail("set_mode", err) : 0;
}

/* Sleep until the extension has seen frames; a line for each. */
static int watch(uint32_t count)
{
	struct spine_channel_counts counts;
	struct spine_message m;
	uint32_t seen = 0;

	if (set_mode(MODE_POST) != 0)
		return 1;
	printf("ready\n");
	fflush(stdout);
	while (seen < count) {
		int err = spine_wait(channel, 5000);
		if (err <= 0)
			return fail("wait", err < 0 ? err : -62);
		while (seen < count && spine_take(channel, &m, NULL) == 1)
			seen++;
	}
	spine_channel_counts(channel, &counts);
	printf("%u messages, %llu lost, %llu wake-ups\n", seen, (unsigned long long)counts.lost,
	       (unsigned long long)counts.wakeups);
	return 0;
}

/* The extension puts frames into our memory. */
static int frames(const char *device, uint32_t count)
{
	struct spine_frame got[16];
	struct spine_frames *f;
	struct spine_error why;
	uint32_t seen = 0;
	size_t bytes = FRAMES * 2048;
	uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || spine_frames_open(channel, device, 0, memory, bytes, 2048, &f, &why) < 0) {
		fprintf(stderr, "echo-client: %s\n", memory == MAP_FAILED ? "no memory" : why.text);
		return 1;
	}
	if (set_mode(MODE_SOCKET) != 0)
		return 1;
	printf("ready\n");
	fflush(stdout);
	while (seen < count) {
		struct pollfd wait = { .fd = spine_frames_fd(f), .events = POLLIN };
		size_t n;

		if (poll(&wait, 1, 5000) <= 0)
			break;
		n = spine_frames_take(f, got, 16);
		for (size_t i = 0; i < n; i++) {
			/* Ours: the kernels on both sides say a word now and then, too. */
			if (got[i].length < 16 || got[i].data[12] != 0x88 || got[i].data[13] != 0x99)
				continue;
			printf("%u bytes: %.2s\n", got[i].length, (const char *)got[i].data + 14);
			seen++;
		}
		fflush(stdout);
		spine_frames_return(f, got, n);
	}
	set_mode(MODE_PASS);
	spine_frames_close(f);
	printf("%u frames\n", seen);
	return seen >= count ? 0 : 1;
}

int main(int argc, char **argv)
{
	const char *from = argc > 2 ? argv[1] : "", *verb = argc > 2 ? argv[2] : "";
	uint32_t a = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
	uint32_t b = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;
	struct spine_error why;
	int err, code = 2;

	if (from[0] == '\0') {
		fprintf(stderr, "usage: echo-client - | SOCKET | DEVICE add A B | batch N | watch N | frames N\n");
		return 2;
	}
	if (strcmp(from, "-") == 0)
		err = spine_channel_connect(NULL, &channel, &why);
	else if (from[0] == '/')
		err = spine_channel_connect(from, &channel, &why);
	else
		err = spine_channel_open(from, "echo", 0, &channel, &why);
	if (err < 0) {
		fprintf(stderr, "echo-client: %s\n", why.text);
		return 1;
	}
	if (strcmp(verb, "add") == 0)
		code = add(a, b);
	else if (strcmp(verb, "batch") == 0)
		code = batch(a);
	else if (strcmp(verb, "watch") == 0)
		code = watch(a);
	else if (strcmp(verb, "frames") == 0)
		code = frames(from, a);
	spine_channel_close(channel);
	return code;
}
