/*
 * The mx role: takes mail from strangers (SMTP, port 25) and from local programs (LMTP).
 *
 * It holds no key and no password, and can append to mailboxes only for which auth gave it a
 * grant at RCPT. One process, one thread, a fiber for each command.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/event.h"
#include "base/metrics.h"
#include "conf/config.h"
#include "engine/remote.h"
#include "mail/queue/entry.h"
#include "mail/session/authc.h"
#include "mail/session/smtp.h"
#include "roles/role.h"

#define ACCEPT_BATCH	 16	/* connections in one turn of the loop, so that sessions get theirs */
#define ACCEPT_PAUSE_US	 100000	/* no descriptors left: let some sessions end */
#define CLIENTS_MAX	 20000u	/* remembered by the rates */
#define COMMAND_US	 ((int64_t)300 * 1000000)	/* RFC 5321 §4.5.3.2.5: DATA blocks, 3 minutes at least */
#define MIN_RATE_BYTES_S 2u	/* over 30 s inside a command: people who type are faster */
#define STOP_US		 ((int64_t)10 * 1000000)
#define FAILED_LOGINS	 3u

static const char *const turned_away[] = { "busy", "client_connections", "client_rate", "peer" };
METRIC_COUNTER_BY(refused_connections, "prickle_mx_refused_connections",
		  "Connections that were not served", "reason", turned_away);
enum { AWAY_BUSY, AWAY_CONNECTIONS, AWAY_RATE, AWAY_PEER };
METRIC_GAUGE(open_connections, "prickle_mx_connections", "SMTP and LMTP connections now");

struct mx;
struct acceptor {
	struct io_watch watch;
	struct timer resume;
	struct mx *mx;
	const struct session_ops *ops;
};

struct mx {
	struct role_context *ctx;
	struct session_services sv;
	struct smtp_service smtp;
	struct remote *remote;
	struct remote_handle queue_store;	/* the channel's own right: add to the queue */
	struct queue_writer queue;
	struct acceptor acceptors[ROLE_LISTENERS_MAX];
	unsigned acceptor_count;
	bool stopping;
	struct timer stop_timer;
};

static void apply_config(struct mx *m)
{
	const struct config *c = m->ctx->config;

	m->sv.config = c;
	m->sv.set = (struct session_settings){
		.hostname = c->hostname,
		.idle_timeout_us = c->timeouts_smtp_us,
		.login_timeout_us = c->timeouts_smtp_us,
		.command_timeout_us = COMMAND_US,
		.min_rate_bytes_s = MIN_RATE_BYTES_S,
		.message_bytes_max = c->mail_message_bytes_max,
		.failed_logins_max = FAILED_LOGINS,
	};
	m->smtp.set = (struct smtp_settings){
		.recipients_max = (unsigned)c->mail_recipients_max,
		.hops_max = (unsigned)c->mail_hops_max,
		.idle_us = c->timeouts_smtp_us,
		.exempt_loopback = c->rates_exempt_loopback,
		.messages_per_minute = (unsigned)c->rates_client_messages_per_minute,
		.recipients_per_minute = (unsigned)c->rates_client_recipients_per_minute,
	};
}

/* Close with a sentence that mail servers understand as "later". Never waits. */
static void turn_away(struct mx *m, int fd, unsigned reason, const char *text)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "421 %s %s\r\n", m->sv.set.hostname, text);

	metric_add(&refused_connections, reason, 1);
	if (n > 0 && (size_t)n < sizeof(line) &&
	    send(fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		event_debug(m->ctx->ev, "could not tell a client that we are busy");
	close(fd);
}

static bool counted(const struct mx *m, const struct sockaddr_storage *peer)
{
	return peer->ss_family != AF_UNIX &&
	       !(m->smtp.set.exempt_loopback && smtp_peer_is_local(peer));
}

static void on_end(void *arg, struct session *s)
{
	struct mx *m = arg;
	uint8_t bytes[RATE_CLIENT_BYTES];

	metric_set(&open_connections, 0, m->sv.session_count);
	/* Also when the setting changed meanwhile: closing what was not counted does nothing. */
	rates_close(m->smtp.rates, rate_client(&s->peer, bytes));
	if (m->stopping && m->sv.session_count == 0)
		role_exit(m->ctx);
}

static void take_client(struct acceptor *a, int fd, const struct sockaddr_storage *peer)
{
	struct mx *m = a->mx;
	const struct config *c = m->ctx->config;
	int64_t now = loop_now_us(m->ctx->loop);
	uint8_t bytes[RATE_CLIENT_BYTES];
	struct slice client = rate_client(peer, bytes);

	if (a->ops == &lmtp_session && peer->ss_family != AF_UNIX &&
	    !config_networks_have(&c->mail_lmtp_peers, (const struct sockaddr *)peer) &&
	    !(c->mail_lmtp_peers.count == 0 && config_is_loopback((const struct sockaddr *)peer))) {
		turn_away(m, fd, AWAY_PEER, "4.7.1 LMTP is not for you");
		return;
	}
	if (m->sv.session_count >= c->mx_sessions_max) {
		turn_away(m, fd, AWAY_BUSY, "4.3.2 Too many connections, try later");
		return;
	}
	if (counted(m, peer)) {
		if (!rates_take(m->smtp.rates, RATE_CONNECTIONS, client,
				(unsigned)c->rates_client_connections_per_minute, 1, now)) {
			turn_away(m, fd, AWAY_RATE, "4.7.0 Too many connections from you, slow down");
			return;
		}
		if (!rates_open(m->smtp.rates, client, (unsigned)c->rates_client_connections_max)) {
			turn_away(m, fd, AWAY_CONNECTIONS, "4.7.0 Too many connections from you");
			return;
		}
	}
	if (session_start(&m->sv, a->ops, fd, peer, false, on_end, m) != 0 && counted(m, peer))
		rates_close(m->smtp.rates, client);
	metric_set(&open_connections, 0, m->sv.session_count);
}

static void on_accept(struct io_watch *w, uint32_t events)
{
	struct acceptor *a = container_of(w, struct acceptor, watch);

	for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t len = sizeof(peer);
		int fd = accept4(w->fd, (struct sockaddr *)&peer, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			take_client(a, fd, &peer);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* The queue of the kernel keeps them; asking at once again would only spin. */
			event_err(a->mx->ctx->ev, -errno);
			loop_change(a->mx->ctx->loop, w, 0);
			loop_timer_set(a->mx->ctx->loop, &a->resume, ACCEPT_PAUSE_US);
		}
		if (errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

static void on_resume(struct timer *t)
{
	struct acceptor *a = container_of(t, struct acceptor, resume);

	if (!a->mx->stopping)
		loop_change(a->mx->ctx->loop, &a->watch, EPOLLIN);
}

static int mx_start(struct role_context *ctx, struct errmsg *why)
{
	struct mx *m = calloc(1, sizeof(*m));
	const struct deliverer_options options = { .buckets = 1 };

	if (m == NULL)
		return errmsg_set(why, -ENOMEM, "mx");
	m->ctx = ctx;
	ctx->state = m;
	m->sv.loop = ctx->loop;
	m->sv.world = ctx->world;
	m->sv.ev = ctx->ev;
	m->sv.smtp = &m->smtp;
	list_init(&m->sv.sessions);
	apply_config(m);
	int rc = authc_new(ctx->loop, &m->sv.authc);
	if (rc == 0)
		rc = remote_new(ctx->loop, NULL, &m->remote);
	if (rc == 0)
		rc = deliverer_new(ctx->world, &options, &m->smtp.deliverer);
	if (rc == 0)
		rc = rates_new(CLIENTS_MAX, &m->smtp.rates);
	if (rc != 0)
		return errmsg_set(why, rc, "mx");
	authc_remember_rcpts(m->sv.authc);
	m->sv.remote = m->remote;
	remote_handle_init(&m->queue_store, m->remote, NULL);
	m->queue = (struct queue_writer){ .engine = &m->queue_store.engine, .world = ctx->world };
	m->smtp.enqueue = queue_enqueue;
	m->smtp.spool = queue_spool_write;
	m->smtp.unspool = queue_spool_drop;
	m->smtp.queue = &m->queue;
	return 0;
}

static int mx_run(struct role_context *ctx, struct errmsg *why)
{
	struct mx *m = ctx->state;

	for (unsigned i = 0; i < ctx->listener_count; i++) {
		struct acceptor *a = &m->acceptors[m->acceptor_count++];
		a->mx = m;
		a->ops = ctx->listeners[i].kind == LISTEN_LMTP ? &lmtp_session : &smtp_session;
		a->resume.fn = on_resume;
		a->watch = (struct io_watch){ .fd = ctx->listeners[i].fd, .events = EPOLLIN,
					      .fn = on_accept };
		int rc = loop_add(ctx->loop, &a->watch);
		if (rc != 0)
			return errmsg_set(why, rc, "watch a listening socket");
	}
	role_ready(ctx);
	return 0;
}

static void mx_channel(struct role_context *ctx, enum role_id peer, unsigned instance, int fd)
{
	struct mx *m = ctx->state;
	int rc;

	(void)instance;
	if (peer == ROLE_AUTH) {
		rc = authc_set_channel(m->sv.authc, fd);
	} else if (peer == ROLE_STORE) {
		rc = remote_set_channel(m->remote, fd);
	} else {
		close(fd);
		return;
	}
	if (rc != 0)
		event_error(ctx->ev, "could not use a channel to another role, mail waits until the next one");
}

static void mx_reload(struct role_context *ctx)
{
	apply_config(ctx->state);
}

static void on_stop_timer(struct timer *t)
{
	role_exit(container_of(t, struct mx, stop_timer)->ctx);
}

/* Commands that run are finished, the others hear 421; nobody new comes in. */
static void mx_stop(struct role_context *ctx)
{
	struct mx *m = ctx->state;

	m->stopping = true;
	for (unsigned i = 0; i < m->acceptor_count; i++) {
		loop_timer_cancel(ctx->loop, &m->acceptors[i].resume);
		loop_del(ctx->loop, &m->acceptors[i].watch);
	}
	sessions_stop(&m->sv);
	if (m->sv.session_count == 0) {
		role_exit(ctx);
		return;
	}
	m->stop_timer.fn = on_stop_timer;
	loop_timer_set(ctx->loop, &m->stop_timer, STOP_US);
}

static void mx_status(struct role_context *ctx, struct buf *json)
{
	const struct mx *m = ctx->state;

	buf_printf(json, "\"sessions\":%u", m->sv.session_count);
}

const struct role_ops role_mx = {
	.start = mx_start,
	.run = mx_run,
	.channel = mx_channel,
	.reload = mx_reload,
	.stop = mx_stop,
	.status = mx_status,
};
