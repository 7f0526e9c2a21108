/*
 * smtpload: deliver messages over SMTP or LMTP and measure, for bench/mail.
 *
 *	smtpload HOST PORT SESSIONS MESSAGES BYTES USERS REUSE [lmtp]
 *
 * SESSIONS connections work at a time, in one thread on epoll; each sends one message and quits
 * (REUSE 0) or goes on with the next one (REUSE 1). Recipients user0@example.org ... in turn.
 * Prints one line of JSON: seconds, accepted, failed, p50_ms, p99_ms (MAIL to the final reply,
 * or connect to the final reply without reuse), cpu_s of the generator.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum step { GREETING, HELO, MAIL, RCPT, DATA, BODY, QUIT };

struct client {
	int fd;
	enum step step;
	int64_t start_us;
	char in[2048];
	size_t in_len;
	unsigned message;
};

static struct {
	struct sockaddr_in to;
	unsigned sessions, messages, users, next, done, failed;
	int reuse, lmtp, epoll_fd;
	char *body;
	size_t body_len;
	double *ms;
} load;

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void send_all(struct client *c, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t put = send(c->fd, bytes, n, MSG_NOSIGNAL);
		if (put < 0 && errno == EAGAIN) {
			struct timespec nap = { 0, 100000 };
			nanosleep(&nap, NULL);
			continue;
		}
		if (put < 0)
			return;		/* the reply that never comes tells */
		bytes += put;
		n -= (size_t)put;
	}
}

static void say(struct client *c, const char *text)
{
	send_all(c, text, strlen(text));
}

static int begin(struct client *c);

static void start_message(struct client *c)
{
	c->message = load.next++;
	if (load.reuse)
		c->start_us = now_us();
	c->step = MAIL;
	say(c, "MAIL FROM:<sender@example.org>\r\n");
}

static void message_over(struct client *c, int ok)
{
	if (ok)
		load.ms[load.done++] = (double)(now_us() - c->start_us) / 1000;
	else
		load.failed++;
	if (load.reuse && ok && load.next < load.messages) {
		start_message(c);
		return;
	}
	c->step = QUIT;
	say(c, "QUIT\r\n");
}

static void on_reply(struct client *c, int code)
{
	char line[128];

	if (c->step != QUIT && code >= 400) {
		message_over(c, 0);
		return;
	}
	switch (c->step) {
	case GREETING:
		c->step = HELO;
		say(c, load.lmtp ? "LHLO client.example\r\n" : "EHLO client.example\r\n");
		break;
	case HELO:
		if (load.next >= load.messages) {
			c->step = QUIT;
			say(c, "QUIT\r\n");
		} else {
			start_message(c);
		}
		break;
	case MAIL:
		c->step = RCPT;
		snprintf(line, sizeof(line), "RCPT TO:<user%u@example.org>\r\n", c->message % load.users);
		say(c, line);
		break;
	case RCPT:
		c->step = DATA;
		say(c, "DATA\r\n");
		break;
	case DATA:
		c->step = BODY;
		send_all(c, load.body, load.body_len);
		break;
	case BODY:
		message_over(c, 1);
		break;
	case QUIT:
		break;
	}
}

/* 0 while the connection lives. */
static int on_input(struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0) {
		if (c->step != QUIT)
			load.failed++;
		return 1;
	}
	c->in_len += (size_t)n;
	for (;;) {
		char *lf = memchr(c->in, '\n', c->in_len);
		if (lf == NULL)
			return 0;
		size_t len = (size_t)(lf - c->in) + 1;
		int last = len >= 4 && c->in[3] != '-';
		int code = atoi(c->in);
		memmove(c->in, lf + 1, c->in_len - len);
		c->in_len -= len;
		if (last && c->step == QUIT)
			return 1;
		if (last)
			on_reply(c, code);
	}
}

static int begin(struct client *c)
{
	int one = 1;
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	c->in_len = 0;
	c->step = GREETING;
	c->start_us = now_us();
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (struct sockaddr *)&load.to, sizeof(load.to)) != 0)
		die("connect");
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	return epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, c->fd, &ev);
}

static void make_body(size_t bytes)
{
	static const char head[] =
		"From: Sender <sender@example.org>\r\nTo: Users <users@example.org>\r\n"
		"Subject: a benchmark message of a plausible length\r\n"
		"Date: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <bench.1@example.org>\r\n"
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n";
	static const char line[] =
		"The quick brown fox jumps over the lazy dog and then writes a mail about it.\r\n";

	load.body = malloc(bytes + 256);
	if (load.body == NULL)
		die("malloc");
	load.body_len = sizeof(head) - 1;
	memcpy(load.body, head, load.body_len);
	while (load.body_len + sizeof(line) - 1 <= bytes) {
		memcpy(load.body + load.body_len, line, sizeof(line) - 1);
		load.body_len += sizeof(line) - 1;
	}
	memcpy(load.body + load.body_len, ".\r\n", 3);
	load.body_len += 3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	struct epoll_event events[64];
	struct rusage usage;
	unsigned open_clients = 0;

	if (argc < 8) {
		fprintf(stderr, "usage: smtpload HOST PORT SESSIONS MESSAGES BYTES USERS REUSE [lmtp]\n");
		return 2;
	}
	load.to.sin_family = AF_INET;
	inet_pton(AF_INET, argv[1], &load.to.sin_addr);
	load.to.sin_port = htons((uint16_t)atoi(argv[2]));
	load.sessions = (unsigned)atoi(argv[3]);
	load.messages = (unsigned)atoi(argv[4]);
	make_body((size_t)atoi(argv[5]));
	load.users = (unsigned)atoi(argv[6]);
	load.reuse = atoi(argv[7]);
	load.lmtp = argc > 8;
	load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	load.ms = calloc(load.messages + 1, sizeof(double));
	struct client *clients = calloc(load.sessions, sizeof(*clients));
	if (load.ms == NULL || clients == NULL)
		die("calloc");

	int64_t start = now_us();
	for (unsigned i = 0; i < load.sessions && i < load.messages; i++, open_clients++)
		if (begin(&clients[i]) != 0)
			die("epoll_ctl");
	while (open_clients > 0) {
		int n = epoll_wait(load.epoll_fd, events, 64, 30000);
		if (n <= 0 && errno != EINTR) {
			fprintf(stderr, "smtpload: no answer for 30 s\n");
			break;
		}
		for (int i = 0; i < n; i++) {
			struct client *c = events[i].data.ptr;
			if (!on_input(c))
				continue;
			close(c->fd);
			open_clients--;
			if (!load.reuse && load.next < load.messages && load.failed < 100) {
				begin(c);
				open_clients++;
			}
		}
	}
	double seconds = (double)(now_us() - start) / 1e6;
	qsort(load.ms, load.done, sizeof(double), by_value);
	getrusage(RUSAGE_SELF, &usage);
	printf("{\"seconds\": %.4f, \"accepted\": %u, \"failed\": %u, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
	       "\"cpu_s\": %.3f}\n",
	       seconds, load.done, load.failed, load.done ? load.ms[load.done / 2] : 0,
	       load.done ? load.ms[load.done * 99 / 100] : 0,
	       (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	return load.failed > 0;
}
