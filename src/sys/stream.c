/*
 * The descriptor is in the loop once, edge triggered, for input and output. `readable` and
 * `writable` remember the edges; a call first tries the system call and waits only when
 * the flag says that there is nothing. So a command costs one read and one write and no
 * epoll_ctl.
 */
#include "sys/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "sys/fiber.h"
#include "sys/sys_limits.h"
#include "sys/tls.h"

#define READ_BYTES	 (64u * 1024u)
#define RATE_WINDOW_US	 (30 * 1000000)

static bool parked_input(struct stream *s);

static void wake(struct stream *s)
{
	if (s->waiter != NULL) {
		fiber_resume(s->waiter);
	} else if (s->ready != NULL) {
		bool input = parked_input(s);
		if (!input && !s->timed_out)
			return;		/* a spurious edge, or part of a TLS record */
		void (*ready)(struct stream *, bool) = s->ready;
		stream_unpark(s);
		ready(s, !input);
	}
}

static void on_event(struct io_watch *w, uint32_t events)
{
	struct stream *s = container_of(w, struct stream, watch);

	if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
		s->hung_up = true;
	if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
		s->readable = true;
	if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
		s->writable = true;
	wake(s);
}

static void on_timer(struct timer *t)
{
	struct stream *s = container_of(t, struct stream, timer);

	s->timed_out = true;
	wake(s);
}

static void on_kick(struct task *t)
{
	wake(container_of(t, struct stream, kick));
}

void stream_init(struct stream *s, struct loop *l, int fd, const struct stream_limits *limits)
{
	int one = 1;

	*s = (struct stream){
		.loop = l,
		.limits = *limits,
		.in = BUF_INIT(STREAM_IN_BYTES_MAX),
		.out = BUF_INIT(STREAM_OUT_BYTES_MAX),
		.watch = { .fd = fd,
			   .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
			   .fn = on_event },
		.timer = { .fn = on_timer },
		.readable = true,
		.writable = true,
	};
	task_init(&s->kick, on_kick);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));	/* fails on unix sockets */
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || ((flags & O_NONBLOCK) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0))
		s->err = -errno;
	else
		s->err = loop_add(l, &s->watch);
}

void stream_done(struct stream *s)
{
	must(s->waiter == NULL);
	stream_unpark(s);
	if (s->tls != NULL) {
		if (s->err == 0)
			tls_shutdown(s->tls);
		tls_free(s->tls);
		s->tls = NULL;
	}
	if (s->watch.fd >= 0) {
		loop_del(s->loop, &s->watch);
		close(s->watch.fd);
		s->watch.fd = -1;
	}
	buf_done(&s->in);
	buf_done(&s->out);
}

/* Wait for the flag that the loop sets. 0 or -ETIMEDOUT. */
static int wait_for(struct stream *s, const bool *flag, int64_t timeout_us)
{
	must(s->waiter == NULL && s->ready == NULL);
	s->timed_out = false;
	s->waiter = fiber_self();
	if (timeout_us >= 0)
		loop_timer_set(s->loop, &s->timer, timeout_us);
	while (!*flag && !s->timed_out)
		fiber_suspend();
	loop_timer_cancel(s->loop, &s->timer);
	s->waiter = NULL;
	return *flag ? 0 : -ETIMEDOUT;
}

static bool too_slow(struct stream *s, size_t got)
{
	int64_t now = loop_now_us(s->loop);
	bool slow = false;

	if (s->limits.min_rate_bytes_s == 0)
		return false;
	if (s->window_start_us == 0)
		s->window_start_us = now;
	s->window_bytes += got;
	int64_t passed = now - s->window_start_us;
	if (passed >= RATE_WINDOW_US) {
		slow = s->window_bytes < s->limits.min_rate_bytes_s * (uint64_t)passed / 1000000;
		s->window_start_us = now;
		s->window_bytes = 0;
	}
	return slow;
}

/* >0 bytes, 0 end, -EAGAIN (flag cleared), or an error. */
static int64_t read_some(struct stream *s, uint8_t *to, size_t n)
{
	if (s->tls != NULL) {
		int got = tls_read(s->tls, to, n);
		if (got == TLS_WANT_READ)
			s->readable = false;
		else if (got == TLS_WANT_WRITE)
			s->writable = false;
		else
			return got;
		return -EAGAIN;
	}
	ssize_t got = recv(s->watch.fd, to, n, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		s->readable = errno == EINTR;
		return -EAGAIN;
	}
	if (got < 0)
		return -errno;
	/* A short read has emptied the socket; after a hang-up the end is still to be read. */
	if ((size_t)got < n && !s->hung_up)
		s->readable = false;
	return got;
}

/* Move what the peer sent into s->in, without waiting. 1, 0 at the end, -EAGAIN, or s->err. */
static int try_fill(struct stream *s)
{
	static __thread uint8_t scratch[READ_BYTES];

	if (s->err != 0)
		return s->err;
	if (s->eof)
		return 0;
	if (!s->readable && s->tls == NULL)
		return -EAGAIN;
	int64_t got = read_some(s, scratch, sizeof(scratch));
	if (got == -EAGAIN)
		return -EAGAIN;
	if (got < 0)
		return s->err = (int)got;
	if (got == 0) {
		s->eof = true;
		return 0;
	}
	s->bytes_in += (uint64_t)got;
	if (too_slow(s, (size_t)got))
		return s->err = -ETIMEDOUT;
	buf_add(&s->in, slice_of(scratch, (size_t)got));
	return s->in.err != 0 ? (s->err = s->in.err) : 1;
}

/* A parked stream: is there a byte, the end or a failure to tell its owner? */
static bool parked_input(struct stream *s)
{
	if (s->in.len > s->in_at)
		return true;
	int rc;
	do {
		rc = try_fill(s);
	} while (rc == -EAGAIN && s->readable && s->tls == NULL);
	return rc != -EAGAIN;
}

/* Get more bytes into s->in, waiting for them. 1, 0 at the end, or s->err. */
static int fill(struct stream *s)
{
	if (s->in_at > 0) {
		buf_drop(&s->in, s->in_at);
		s->in_at = 0;
	}
	for (;;) {
		int rc = try_fill(s);
		if (rc != -EAGAIN)
			return rc;
		/* Our answers to pipelined commands go out before we wait for more. */
		if (s->out.len > 0 && stream_flush(s) != 0)
			return s->err;
		const bool *flag = s->readable && s->tls != NULL ? &s->writable : &s->readable;
		s->err = *flag ? 0 : wait_for(s, flag, s->limits.read_timeout_us);
		if (s->err == 0 && too_slow(s, 0))
			s->err = -ETIMEDOUT;
		if (s->err != 0)
			return s->err;
	}
}

static struct slice unread(const struct stream *s)
{
	return slice_from(buf_slice(&s->in), s->in_at);
}

bool stream_pending(const struct stream *s)
{
	return s->in.len > s->in_at || (s->tls != NULL && tls_pending(s->tls));
}

void stream_consume(struct stream *s, size_t n)
{
	must(n <= s->in.len - s->in_at);
	s->in_at += n;
}

int stream_peek(struct stream *s, struct slice *bytes)
{
	return stream_more(s, 0, STREAM_IN_BYTES_MAX, bytes);
}

int stream_more(struct stream *s, size_t have, size_t max, struct slice *bytes)
{
	while (s->in.len - s->in_at <= have) {
		if (have >= max)
			return -EMSGSIZE;
		int rc = fill(s);
		if (rc <= 0)
			return rc;
	}
	*bytes = unread(s);
	return 1;
}

/* Forget input up to the next LF. 1, 0 or an error. */
static int skip_line(struct stream *s)
{
	for (;;) {
		struct slice all = unread(s);
		size_t lf = slice_find_byte(all, '\n');
		if (lf != SLICE_NPOS) {
			stream_consume(s, lf + 1);
			return 1;
		}
		stream_consume(s, all.len);
		int rc = fill(s);
		if (rc <= 0)
			return rc;
	}
}

int stream_line(struct stream *s, size_t max, bool lf_only, struct slice *line)
{
	size_t looked = 0, lf;

	for (;;) {
		struct slice all = unread(s);
		lf = slice_find_byte(slice_from(all, looked), '\n');
		if (lf != SLICE_NPOS) {
			lf += looked;
			break;
		}
		if (all.len > max + 2) {
			int rc = skip_line(s);
			return rc <= 0 ? rc : -EMSGSIZE;
		}
		looked = all.len;
		int rc = fill(s);
		if (rc <= 0)
			return rc;
	}
	struct slice text = slice_head(unread(s), lf);
	stream_consume(s, lf + 1);
	bool crlf = text.len > 0 && text.ptr[text.len - 1] == '\r';
	if (crlf)
		text.len--;
	if (text.len > max)
		return -EMSGSIZE;
	if ((!crlf && !lf_only) || slice_find_byte(text, '\r') != SLICE_NPOS)
		return -EBADMSG;
	*line = text;
	return 1;
}

void stream_write(struct stream *s, struct slice bytes)
{
	if (s->err != 0)
		return;
	while (bytes.len > 0 && s->err == 0) {
		struct slice part = slice_head(bytes, MAX(s->limits.out_bytes_max, 4096));
		buf_add(&s->out, part);
		if (s->out.err != 0) {
			s->err = s->out.err;
			return;
		}
		bytes = slice_from(bytes, part.len);
		if (s->out.len >= s->limits.out_bytes_max && fiber_self() != NULL)
			stream_flush(s);
	}
}

void stream_printf(struct stream *s, const char *fmt, ...)
{
	va_list ap;

	if (s->err != 0)
		return;
	va_start(ap, fmt);
	buf_vprintf(&s->out, fmt, ap);
	va_end(ap);
	if (s->out.err != 0)
		s->err = s->out.err;
	else if (s->out.len >= s->limits.out_bytes_max && fiber_self() != NULL)
		stream_flush(s);
}

/* > 0 bytes taken, -EAGAIN (flag cleared), or an error. */
static int64_t write_some(struct stream *s, struct slice bytes)
{
	if (s->tls != NULL) {
		int put = tls_write(s->tls, bytes.ptr, MIN(bytes.len, 1u << 20));
		if (put == TLS_WANT_WRITE)
			s->writable = false;
		else if (put == TLS_WANT_READ)
			s->readable = false;
		else
			return put;
		return -EAGAIN;
	}
	ssize_t put = send(s->watch.fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
	if (put < 0 && (errno == EAGAIN || errno == EINTR)) {
		s->writable = errno == EINTR;
		return -EAGAIN;
	}
	return put < 0 ? -errno : put;
}

/*
 * Whoever calls this outside of a fiber (a greeting, a BYE at shutdown) gets what the socket
 * takes at once; the rest stays buffered.
 */
int stream_flush(struct stream *s)
{
	size_t at = 0;

	while (at < s->out.len && s->err == 0) {
		int64_t put = write_some(s, slice_from(buf_slice(&s->out), at));
		if (put >= 0) {
			at += (size_t)put;
			s->bytes_out += (uint64_t)put;
			continue;
		}
		if (put != -EAGAIN) {
			s->err = (int)put;
			break;
		}
		if (fiber_self() == NULL)
			break;
		const bool *flag = s->writable ? &s->readable : &s->writable;
		if (!*flag)
			s->err = wait_for(s, flag, s->limits.write_timeout_us);
	}
	if (s->err == 0)
		buf_drop(&s->out, at);
	else
		buf_reset(&s->out);
	return s->err;
}

int stream_start_tls(struct stream *s, struct tls_context *ctx, int64_t timeout_us)
{
	int64_t end_us = loop_now_us(s->loop) + timeout_us;

	must(!stream_pending(s) && s->tls == NULL);
	if (stream_flush(s) != 0)
		return s->err;
	int rc = tls_new(ctx, s->watch.fd, &s->tls);
	while (rc == 0 && (rc = tls_handshake(s->tls)) != 0) {
		const bool *flag;
		if (rc == TLS_WANT_READ)
			flag = &s->readable;
		else if (rc == TLS_WANT_WRITE)
			flag = &s->writable;
		else
			break;
		/* OpenSSL has just seen EAGAIN: wait for the next edge. */
		if (rc == TLS_WANT_READ)
			s->readable = false;
		else
			s->writable = false;
		int64_t left_us = end_us - loop_now_us(s->loop);
		rc = left_us <= 0 ? -ETIMEDOUT : wait_for(s, flag, left_us);
	}
	s->readable = true;		/* records may wait inside OpenSSL or the socket */
	if (rc != 0)
		s->err = rc;
	return rc;
}

void stream_park(struct stream *s, int64_t timeout_us,
		 void (*ready)(struct stream *s, bool timed_out))
{
	must(s->ready == NULL && s->waiter == NULL);
	if (s->in_at > 0) {
		buf_drop(&s->in, s->in_at);
		s->in_at = 0;
	}
	buf_release_if_empty(&s->in);
	buf_release_if_empty(&s->out);
	s->ready = ready;
	s->timed_out = false;
	s->window_start_us = 0;		/* the rate counts inside commands only */
	s->window_bytes = 0;
	if (timeout_us >= 0)
		loop_timer_set(s->loop, &s->timer, timeout_us);
	if (s->readable || s->err != 0 || stream_pending(s))
		loop_defer(s->loop, &s->kick);
}

void stream_unpark(struct stream *s)
{
	s->ready = NULL;
	list_del(&s->kick.link);
	loop_timer_cancel(s->loop, &s->timer);
}
