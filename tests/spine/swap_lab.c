/*
 * Swap two programs in the slot of an extension, as often as asked, and tell how long one swap takes: for
 * tests/spine/swap.py, since a command per swap would measure the start of processes.
 *
 *	swap_lab NETNS DEVICE NAME COUNT PINNED-PROGRAM PINNED-PROGRAM
 *
 * Prints {"swaps": n, "p50_us": x, "p99_us": x, "max_us": x}. The first program is in the slot afterwards when COUNT is even.
 */
#include <bpf/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "spine/device.h"

static double now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	struct spine_where where = { 0 };
	struct spine_device *d;
	struct errmsg why;
	int fd[2];

	if (argc != 7)
		return 2;
	where.netns = argv[1];
	where.device = argv[2];
	size_t count = strtoul(argv[4], NULL, 10);
	double *took = calloc(count, sizeof(*took));
	for (int i = 0; i < 2; i++) {
		fd[i] = bpf_obj_get(argv[5 + i]);
		if (fd[i] < 0) {
			perror(argv[5 + i]);
			return 2;
		}
	}
	if (took == NULL || count == 0)
		return 2;
	if (spine_device_open(&where, SPINE_CHANGE, &d, &why) != 0) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	for (size_t i = 0; i < count; i++) {
		double begin = now_us();

		if (spine_swap(d, argv[3], fd[(i + 1) % 2], &why) != 0) {
			fprintf(stderr, "%s\n", why.text);
			return 1;
		}
		took[i] = now_us() - begin;
	}
	spine_device_close(d);
	qsort(took, count, sizeof(*took), by_size);
	printf("{\"swaps\": %zu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n", count, took[count / 2],
	       took[count - 1 - count / 100], took[count - 1]);
	free(took);
	return 0;
}
