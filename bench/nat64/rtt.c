/*
 * Round trips of small UDP packets between two programs.
 *
 * rtt serve PORT             answers what comes, over either family; prints "ready"
 * rtt ask ADDRESS PORT N     asks N times, one after the other; prints the median and the 90th percentile in ns
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define ROUNDS_MAX 1000000

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int serve(uint16_t port)
{
	struct sockaddr_in6 here = { .sin6_family = AF_INET6, .sin6_port = htons(port) }, from;
	int s = socket(AF_INET6, SOCK_DGRAM, 0);
	char data[64];

	if (s < 0 || bind(s, (struct sockaddr *)&here, sizeof(here)) != 0)
		return 1;
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		socklen_t size = sizeof(from);
		ssize_t n = recvfrom(s, data, sizeof(data), 0, (struct sockaddr *)&from, &size);

		if (n > 0)
			(void)!sendto(s, data, (size_t)n, 0, (struct sockaddr *)&from, size);
	}
}

static int by_size(const void *a, const void *b)
{
	uint32_t one = *(const uint32_t *)a, two = *(const uint32_t *)b;

	return (one > two) - (one < two);
}

static int ask(const char *address, uint16_t port, size_t rounds)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port) };
	int is_six = inet_pton(AF_INET6, address, &six.sin6_addr) == 1;
	int s = socket(is_six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
	struct timeval patience = { .tv_sec = 1 };
	uint32_t *took = calloc(rounds, sizeof(*took));
	char data[18] = { 0 };

	if (took == NULL || s < 0 || (!is_six && inet_pton(AF_INET, address, &four.sin_addr) != 1) ||
	    connect(s, is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four, is_six ? sizeof(six) : sizeof(four)) != 0)
		return 1;
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	for (size_t i = 0; i < rounds; i++) {
		uint64_t begin = now_ns();

		if (send(s, data, sizeof(data), 0) < 0 || recv(s, data, sizeof(data), 0) < 0) {
			if (i > 10)	/* at first the neighbours are not known */
				return 1;
			continue;
		}
		took[i] = (uint32_t)(now_ns() - begin);
	}
	qsort(took, rounds, sizeof(*took), by_size);
	printf("%u %u\n", took[rounds / 2], took[rounds * 9 / 10]);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve((uint16_t)strtoul(argv[2], NULL, 10));
	if (argc == 5 && strcmp(argv[1], "ask") == 0 && strtoul(argv[4], NULL, 10) - 1 < ROUNDS_MAX)
		return ask(argv[2], (uint16_t)strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
	fprintf(stderr, "usage: rtt serve PORT | rtt ask ADDRESS PORT ROUNDS\n");
	return 2;
}
