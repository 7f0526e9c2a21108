/*
 * Metrics over HTTP (OpenMetrics 1.0): GET of /metrics, one answer a connection. Whoever connects gets a few seconds and a few kilobytes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/nat64_limits.h"
#include "nat64/run_private.h"
#include "sys/http_request.h"
#include "sys/listen.h"

#define CLIENT_US      5000000
#define ANSWER_HEAD    512u

struct client {
	struct io_watch watch;
	struct timer deadline;
	struct serve *s;
	struct buf in, out;
	bool open;
};

struct serve {
	struct loop *loop;
	void (*text)(void *arg, struct buf *out);
	void *arg;
	struct { struct io_watch watch; struct serve *s; } listener[NAT64_LISTENERS_MAX];
	size_t listener_count;
	struct client client[NAT64_METRICS_CLIENTS_MAX];
};

static void end(struct client *c)
{
	loop_del(c->s->loop, &c->watch);
	loop_timer_cancel(c->s->loop, &c->deadline);
	close(c->watch.fd);
	buf_done(&c->in);
	buf_done(&c->out);
	c->open = false;
}

static void too_late(struct timer *t)
{
	end(container_of(t, struct client, deadline));
}

static void write_more(struct client *c)
{
	while (c->out.len > 0) {
		ssize_t n = send(c->watch.fd, c->out.ptr, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN) {
			loop_change(c->s->loop, &c->watch, EPOLLOUT);
			return;
		}
		if (n <= 0)
			break;
		buf_drop(&c->out, (size_t)n);
	}
	end(c);
}

static void answer(struct client *c, const char *status, const char *type, bool head, struct slice body)
{
	buf_init(&c->out, NAT64_METRICS_BYTES_MAX + ANSWER_HEAD);
	/* RFC 9110 10.2.1: a 405 has to name what is allowed; it does no harm elsewhere. */
	buf_printf(&c->out, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n",
		   status, type, body.len);
	if (!head)
		buf_add(&c->out, body);
	if (c->out.err != 0)
		end(c);
	else
		write_more(c);
}

static void answer_metrics(struct client *c, bool head)
{
	AUTO_BUF struct buf body = BUF_INIT(NAT64_METRICS_BYTES_MAX);

	c->s->text(c->s->arg, &body);
	if (body.err != 0)
		answer(c, "503 Service Unavailable", "text/plain", head, SLICE("too much\n"));
	else
		answer(c, "200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", head, buf_slice(&body));
}

static void on_client(struct io_watch *w, uint32_t events)
{
	static const char *const refusals[] = {
		[HTTP_BAD] = "400 Bad Request", [HTTP_NOT_GET] = "405 Method Not Allowed",
		[HTTP_TOO_LARGE] = "431 Request Header Fields Too Large", [HTTP_HAS_BODY] = "413 Content Too Large",
	};
	struct client *c = container_of(w, struct client, watch);
	struct http_request req = { 0 };
	size_t left = HTTP_HEAD_BYTES_MAX - c->in.len;
	enum http_result result;
	uint8_t *room;
	ssize_t n;

	if ((events & EPOLLOUT) != 0 || c->out.len > 0) {
		write_more(c);
		return;
	}
	room = buf_room(&c->in, left);
	n = room == NULL ? -1 : recv(w->fd, room, left, MSG_DONTWAIT);
	if (n < 0 && room != NULL && errno == EAGAIN)
		return;
	if (n <= 0) {
		end(c);
		return;
	}
	buf_commit(&c->in, (size_t)n);
	result = http_request_parse(buf_slice(&c->in), &req);
	if (result == HTTP_MORE)
		return;
	if (result != HTTP_OK)
		answer(c, refusals[result], "text/plain", false, SLICE("refused\n"));
	else if (slice_eq(req.path, SLICE("/metrics")))
		answer_metrics(c, req.head);
	else
		answer(c, "404 Not Found", "text/plain", req.head, SLICE("/metrics\n"));
}

static void on_listener(struct io_watch *w, uint32_t events)
{
	/* The listener's struct begins with its watch. */
	struct serve *s = ((const struct { struct io_watch watch; struct serve *s; } *)(const void *)w)->s;
	AUTO_FD int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	for (size_t i = 0; fd >= 0 && i < NAT64_METRICS_CLIENTS_MAX; i++) {
		struct client *c = &s->client[i];

		if (c->open)
			continue;
		*c = (struct client){ .s = s, .watch = { .fd = fd, .events = EPOLLIN, .fn = on_client }, .deadline = { .fn = too_late } };
		buf_init(&c->in, HTTP_HEAD_BYTES_MAX);
		if (loop_add(s->loop, &c->watch) != 0)
			return;
		loop_timer_set(s->loop, &c->deadline, CLIENT_US);
		c->open = true;
		(void)TAKE_FD(fd);
		return;
	}
}

int serve_new(struct loop *loop, const struct config_listen *listen, void (*text)(void *arg, struct buf *out), void *arg,
	      struct serve **out, struct errmsg *why)
{
	struct serve *s = calloc(1, sizeof(*s));
	int err = s == NULL ? errmsg_set(why, -ENOMEM, "serve metrics") : 0;

	for (size_t i = 0; err == 0 && i < listen->count && i < NAT64_LISTENERS_MAX; i++) {
		int fd;

		err = listen_open(listen->items[i].text, 0600, (uid_t)-1, &fd, why);
		if (err != 0)
			break;
		s->listener[i].watch = (struct io_watch){ .fd = fd, .events = EPOLLIN, .fn = on_listener };
		s->listener[i].s = s;
		s->listener_count++;
		err = loop_add(loop, &s->listener[i].watch);
		if (err != 0)
			(void)errmsg_set(why, err, "serve metrics");
	}
	if (err != 0) {
		free(s);
		return err;
	}
	s->loop = loop;
	s->text = text;
	s->arg = arg;
	*out = s;
	return 0;
}
