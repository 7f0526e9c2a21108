/*
 * A client connection: buffered input and output over a socket, with or without TLS.
 *
 * Read and write calls belong to the session's fiber and block it; the loop serves the
 * others meanwhile. Every wait has a deadline, and a minimum rate (stream_limits) ends slow
 * clients. Between commands a session parks: stream_park gives the buffers' memory back and
 * calls `ready` from the loop when the peer sends something, so that an idle client costs
 * a struct and no stack.
 */
#pragma once
#include <stdbool.h>

#include "base/buf.h"
#include "sys/loop.h"

struct tls_context;
struct tls;

struct stream_limits {
	int64_t read_timeout_us;	/* longest silence inside a command or its data */
	int64_t write_timeout_us;	/* longest time without progress while sending */
	uint64_t min_rate_bytes_s;	/* over windows of 30 s inside one command; 0: none */
	size_t out_bytes_max;		/* output is flushed when it exceeds this */
};

struct fiber;
struct stream {
	struct loop *loop;
	struct tls *tls;		/* NULL: plain text */
	struct buf in;			/* bytes read and not yet consumed */
	size_t in_at;			/* consumed part of in */
	struct buf out;			/* bytes not yet sent */
	struct stream_limits limits;
	int err;			/* the first failure sticks: -ECONNRESET, -ETIMEDOUT, -EPIPE... */
	bool eof;
	uint64_t bytes_in, bytes_out;
	/* The rest belongs to stream.c. */
	struct io_watch watch;		/* holds the descriptor; edge triggered, added once */
	struct timer timer;
	struct task kick;		/* a parked stream that has input already */
	struct fiber *waiter;
	void (*ready)(struct stream *s, bool timed_out);	/* set while parked */
	bool readable, writable, hung_up, timed_out;
	int64_t window_start_us;
	uint64_t window_bytes;
};

/*
 * Takes over fd (made non-blocking, TCP_NODELAY). The struct must stay in place until
 * stream_done. A failure shows as s->err at the first call.
 */
void stream_init(struct stream *s, struct loop *l, int fd, const struct stream_limits *limits);
/* Ends TLS and closes fd; output that was not flushed is lost. Never blocks. */
void stream_done(struct stream *s);

/*
 * One line ending in CRLF, without it; borrowed until the next read call.
 * 1: a line. 0: the peer closed. Negative: -EMSGSIZE the line is longer than max (the rest of
 * it is consumed up to its LF first), -EBADMSG bare CR or bare LF in the line (consumed),
 * else s->err. `lf_only` true accepts LF alone as line end (IMAP and POP3 clients that do).
 */
int stream_line(struct stream *s, size_t max, bool lf_only, struct slice *line);
/*
 * At least one unread byte, borrowed; call stream_consume for what was used.
 * 1, 0 at the end of input, or negative.
 */
int stream_peek(struct stream *s, struct slice *bytes);
/* As stream_peek, but waits until more bytes than `have` are buffered. -EMSGSIZE above max. */
int stream_more(struct stream *s, size_t have, size_t max, struct slice *bytes);
void stream_consume(struct stream *s, size_t n);
/* Unread bytes are in the buffer (pipelined input). */
bool stream_pending(const struct stream *s);

/* Append to the output; flushes by itself above out_bytes_max (may wait, fiber only). */
void stream_write(struct stream *s, struct slice bytes);
void stream_printf(struct stream *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Send all output now. 0 or s->err. */
int stream_flush(struct stream *s);

/*
 * Server side of STARTTLS or of implicit TLS. Precondition: stream_pending is false (bytes
 * pipelined before the handshake end the session: the caller checks). 0 or negative errno.
 */
int stream_start_tls(struct stream *s, struct tls_context *ctx, int64_t timeout_us);

/*
 * Leave the fiber world: ready(s, timed_out) runs from the loop when input comes, the peer
 * closes, or timeout_us passes (< 0: never). Pending input makes it run at once (deferred).
 */
void stream_park(struct stream *s, int64_t timeout_us, void (*ready)(struct stream *s, bool timed_out));
/* Take a parked stream back without an event (shutdown, IDLE notification). */
void stream_unpark(struct stream *s);
