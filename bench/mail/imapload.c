/*
 * imapload: work over IMAP and measure, for bench/mail.
 *
 *	imapload HOST PORT SESSIONS COUNT USERS NAME PASSWORD login
 *	imapload HOST PORT SESSIONS COUNT USERS NAME PASSWORD command TEXT
 *	imapload HOST PORT SESSIONS COUNT USERS NAME PASSWORD append MESSAGES BYTES
 *
 * Users are NAME0@example.org ... in turn. One thread a session, blocking sockets.
 *
 * login: COUNT times connect, LOGIN, SELECT, LOGOUT. command: sessions are in INBOX before the clock
 * starts; COUNT commands, "%u" in TEXT is the number of a message, in turn. append: COUNT commands,
 * each with so many messages (MULTIAPPEND when more than one).
 *
 * But for login: prints "ready" before the clock starts, and waits for a line on standard input.
 * At the end prints one line of JSON: seconds, done, failed, exists (of the first INBOX), p50_ms, p99_ms, best_ms.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
	int fd;
	char in[1 << 16];
	size_t at, len;
	unsigned tag, exists;
};

static struct {
	struct sockaddr_in to;
	unsigned sessions, count, users, multi;
	const char *name, *password, *mode, *text;
	char *message;
	size_t message_len;
	atomic_uint next, done, failed, exists;
	double *ms;
	pthread_barrier_t ready;
} load;

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int fill(struct client *c)
{
	if (c->at == c->len)
		c->at = c->len = 0;
	if (c->len == sizeof(c->in)) {
		memmove(c->in, c->in + c->at, c->len - c->at);
		c->len -= c->at;
		c->at = 0;
	}
	ssize_t n = recv(c->fd, c->in + c->len, sizeof(c->in) - c->len, 0);
	if (n <= 0)
		return -1;
	c->len += (size_t)n;
	return 0;
}

/* The next line, its literals skipped: only its last part is returned, without CRLF. */
static char *line(struct client *c)
{
	size_t looked = 0;

	for (;;) {
		char *start = c->in + c->at, *lf = memchr(start + looked, '\n', c->len - c->at - looked);
		if (lf == NULL) {
			looked = c->len - c->at;
			if (looked == sizeof(c->in) || fill(c) != 0)
				return NULL;
			continue;
		}
		c->at = (size_t)(lf + 1 - c->in);
		if (lf == start || lf[-1] != '\r')
			return NULL;
		lf[-1] = '\0';
		if (lf - start < 3 || lf[-2] != '}')
			return start;
		char *brace = strrchr(start, '{');
		for (size_t left = brace == NULL ? 0 : strtoul(brace + 1, NULL, 10); left > 0;) {
			if (c->at == c->len && fill(c) != 0)
				return NULL;
			size_t n = c->len - c->at < left ? c->len - c->at : left;
			c->at += n;
			left -= n;
		}
		looked = 0;
	}
}

static int send_all(struct client *c, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t put = send(c->fd, bytes, n, MSG_NOSIGNAL);
		if (put <= 0)
			return -1;
		bytes += put;
		n -= (size_t)put;
	}
	return 0;
}

/* Read up to the tagged answer: 0 when it is OK. */
static int answer(struct client *c)
{
	char tag[16];
	int n = snprintf(tag, sizeof(tag), "t%u ", c->tag), end;

	for (;;) {
		char *text = line(c), *word;
		if (text == NULL)
			return -1;
		if (strncmp(text, tag, (size_t)n) == 0)
			return strncmp(text + n, "OK", 2) == 0 ? 0 : -1;
		unsigned exists = (unsigned)strtoul(text + (text[0] == '*' ? 2 : 0), &word, 10);
		end = strcmp(word, " EXISTS");
		if (end == 0)
			c->exists = exists;
	}
}

static int command(struct client *c, const char *text)
{
	char out[4096];
	int n = snprintf(out, sizeof(out), "t%u %s\r\n", ++c->tag, text);

	return send_all(c, out, (size_t)n) != 0 ? -1 : answer(c);
}

static int enter(struct client *c, unsigned user)
{
	char text[512];
	int one = 1;

	c->at = c->len = 0;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&load.to, sizeof(load.to)) != 0 || line(c) == NULL)
		return -1;
	snprintf(text, sizeof(text), "LOGIN %s%u@example.org %s", load.name, user % load.users, load.password);
	return command(c, text) != 0 ? -1 : command(c, "SELECT INBOX");
}

static int append(struct client *c)
{
	char head[64];
	int n = snprintf(head, sizeof(head), "t%u APPEND INBOX", ++c->tag);

	if (send_all(c, head, (size_t)n) != 0)
		return -1;
	n = snprintf(head, sizeof(head), " {%zu+}\r\n", load.message_len);
	for (unsigned i = 0; i < load.multi; i++)
		if (send_all(c, head, (size_t)n) != 0 || send_all(c, load.message, load.message_len) != 0)
			return -1;
	return send_all(c, "\r\n", 2) != 0 ? -1 : answer(c);
}

static int one(struct client *c, unsigned number)
{
	char text[1024];

	if (load.mode[0] == 'l') {
		int rc = enter(c, number) != 0 || command(c, "LOGOUT") != 0 ? -1 : 0;
		close(c->fd);
		return rc;
	}
	if (load.mode[0] == 'a')
		return append(c);
	const char *mark = strstr(load.text, "%u");
	if (mark == NULL)
		return command(c, load.text);
	snprintf(text, sizeof(text), "%.*s%u%s", (int)(mark - load.text), load.text,
		 number % (c->exists == 0 ? 1 : c->exists) + 1, mark + 2);
	return command(c, text);
}

static void *work(void *arg)
{
	struct client *c = calloc(1, sizeof(*c));
	unsigned user = (unsigned)(uintptr_t)arg;

	if (c == NULL)
		exit(1);
	if (load.mode[0] != 'l' && enter(c, user) != 0)
		load.failed += load.count;
	if (user == 0)
		load.exists = c->exists;
	if (load.mode[0] != 'l')
		pthread_barrier_wait(&load.ready);
	pthread_barrier_wait(&load.ready);
	while (load.failed == 0) {
		unsigned number = load.next++;
		if (number >= load.count)
			break;
		double start = now_ms();
		if (one(c, number) != 0) {
			load.failed++;
			break;
		}
		load.ms[load.done++] = now_ms() - start;
	}
	if (load.mode[0] != 'l')
		close(c->fd);
	free(c);
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void make_message(size_t bytes)
{
	static const char head[] = "From: a@example.org\r\nTo: b@example.org\r\nSubject: appended\r\n\r\n";
	static const char text[] = "The quick brown fox jumps over the lazy dog and writes a mail about it.\r\n";

	load.message = malloc(bytes + sizeof(head) + sizeof(text));
	if (load.message == NULL)
		exit(1);
	load.message_len = sizeof(head) - 1;
	memcpy(load.message, head, load.message_len);
	for (; load.message_len < bytes; load.message_len += sizeof(text) - 1)
		memcpy(load.message + load.message_len, text, sizeof(text) - 1);
}

int main(int argc, char **argv)
{
	pthread_t threads[256];

	if (argc < 9) {
		fprintf(stderr, "usage: imapload HOST PORT SESSIONS COUNT USERS NAME PASSWORD login|command|append ...\n");
		return 2;
	}
	load.to.sin_family = AF_INET;
	inet_pton(AF_INET, argv[1], &load.to.sin_addr);
	load.to.sin_port = htons((uint16_t)atoi(argv[2]));
	load.sessions = (unsigned)atoi(argv[3]) > 256 ? 256 : (unsigned)atoi(argv[3]);
	load.count = (unsigned)atoi(argv[4]);
	load.users = (unsigned)atoi(argv[5]);
	load.name = argv[6];
	load.password = argv[7];
	load.mode = argv[8];
	load.text = argc > 9 ? argv[9] : "";
	load.multi = argc > 9 ? (unsigned)atoi(argv[9]) : 1;
	make_message(argc > 10 ? (size_t)atoi(argv[10]) : 4096);
	load.ms = calloc(load.count + 1, sizeof(double));
	if (load.ms == NULL)
		return 1;
	pthread_barrier_init(&load.ready, NULL, load.sessions + 1);
	for (unsigned i = 0; i < load.sessions; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) != 0)
			return 1;
	/* Whoever measures the server's CPU looks now, and answers. */
	if (load.mode[0] != 'l') {
		pthread_barrier_wait(&load.ready);
		puts("ready");
		fflush(stdout);
		if (getchar() == EOF)
			return 1;
	}
	pthread_barrier_wait(&load.ready);
	double start = now_ms();
	for (unsigned i = 0; i < load.sessions; i++)
		pthread_join(threads[i], NULL);
	double seconds = (now_ms() - start) / 1e3;
	qsort(load.ms, load.done, sizeof(double), by_value);
	printf("{\"seconds\": %.6f, \"done\": %u, \"failed\": %u, \"exists\": %u, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
	       "\"best_ms\": %.3f}\n",
	       seconds, load.done, load.failed, load.exists, load.done ? load.ms[load.done / 2] : 0,
	       load.done ? load.ms[load.done * 99 / 100] : 0, load.done ? load.ms[0] : 0);
	return load.failed > 0;
}
