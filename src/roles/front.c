/*
 * The front role: serves users. Accepts IMAP, POP3 and submission connections, starts a
 * session for each (mail/session), and ends them in order when the node stops.
 *
 * All front processes accept from the same sockets; one that is full looks away until a
 * session ends, so the others take what comes.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/event.h"
#include "base/metrics.h"
#include "conf/config.h"
#include "engine/remote.h"
#include "mail/mailbox/mailbox.h"
#include "mail/message/charset.h"
#include "mail/queue/entry.h"
#include "mail/session/authc.h"
#include "mail/auth/rates.h"
#include "mail/session/session.h"
#include "mail/session/smtp.h"
#include "roles/role.h"
#include "roles/table.h"

#define ACCOUNTS_CACHE_BYTES (256u << 20)
#define CLIENTS_REMEMBERED   100000u
#define ACCEPTS_IN_TURN	     64u
#define ACCEPT_PAUSE_US	     100000	/* after EMFILE and the like */
#define STOP_LOOK_US	     20000
#define STOP_US		     10000000	/* then sessions that still run are cut off */

enum { PROTOCOL_IMAP, PROTOCOL_POP3, PROTOCOL_SUBMISSION };
static const char *const protocol_names[] = { "imap", "pop3", "submission" };
enum { ENDED_FULL, ENDED_RATE, ENDED_CLIENT, ENDED_MEMORY };
static const char *const refusals[] = { "full", "rate", "client", "memory" };

METRIC_COUNTER_BY(sessions_started, "prickle_front_sessions", "Sessions that began", "protocol",
		  protocol_names);
METRIC_GAUGE_BY(sessions_open, "prickle_front_sessions_open", "Sessions that are open", "protocol",
		protocol_names);
METRIC_COUNTER_BY(sessions_refused, "prickle_front_refused",
		  "Connections that were refused because the process or the client has too many", "reason",
		  refusals);

/* What a listening socket leads to. */
static const struct protocol {
	enum listener_kind kind;
	unsigned metric;
	const struct session_ops *ops;
	bool tls;
} protocols[] = {
	{ LISTEN_IMAP, PROTOCOL_IMAP, &imap_session, false },
	{ LISTEN_IMAPS, PROTOCOL_IMAP, &imap_session, true },
	{ LISTEN_POP3, PROTOCOL_POP3, &pop3_session, false },
	{ LISTEN_POP3S, PROTOCOL_POP3, &pop3_session, true },
	{ LISTEN_SUBMISSION, PROTOCOL_SUBMISSION, &submission_session, false },
	{ LISTEN_SUBMISSIONS, PROTOCOL_SUBMISSION, &submission_session, true },
};

struct front;
struct front_listener {
	struct io_watch watch;
	struct timer pause;
	struct front *front;
	const struct protocol *protocol;
	bool watching;
};

struct front {
	struct role_context *ctx;
	struct session_services services;
	struct smtp_service smtp;	/* submission */
	struct remote_handle queue_store;	/* the channel's own right: add to the queue */
	struct queue_writer queue;
	struct remote *remote;
	struct rates *rates;
	struct front_listener listeners[ROLE_LISTENERS_MAX];
	unsigned listener_count;
	struct timer stop_timer;
	int64_t stop_at_us;
	bool stopping;
};

static void settings(struct front *f)
{
	const struct config *c = f->ctx->config;

	f->services.config = c;
	f->services.set = (struct session_settings){
		.hostname = c->hostname,
		.domain = c->auth_login_domain[0] != '\0' ? c->auth_login_domain : NULL,
		.idle_timeout_us = c->timeouts_imap_us,
		.pop3_timeout_us = c->timeouts_pop3_us,
		.login_timeout_us = c->timeouts_login_us,
		.command_timeout_us = c->timeouts_data_us,
		.tls_timeout_us = c->timeouts_tls_us,
		.min_rate_bytes_s = c->timeouts_bytes_per_second_min,
		.message_bytes_max = c->mail_message_bytes_max,
		.bad_commands_max = (unsigned)c->mail_bad_commands_max,
		.failed_logins_max = (unsigned)c->auth_failed_logins_max,
		.plain_without_tls = c->auth_plain_without_tls,
	};
	f->smtp.set = (struct smtp_settings){
		.recipients_max = (unsigned)c->mail_recipients_max,
		.hops_max = (unsigned)c->mail_hops_max,
		.idle_us = c->timeouts_smtp_us,
		.exempt_loopback = c->rates_exempt_loopback,
	};
}

/* ---- accepting ---- */

static void look(struct front_listener *l)
{
	if (l->watching || l->front->stopping)
		return;
	l->watching = loop_add(l->front->ctx->loop, &l->watch) == 0;
	if (!l->watching)
		loop_timer_set(l->front->ctx->loop, &l->pause, ACCEPT_PAUSE_US);
}

static void look_away(struct front_listener *l)
{
	if (l->watching)
		loop_del(l->front->ctx->loop, &l->watch);
	l->watching = false;
}

static void pause_over(struct timer *t)
{
	look(container_of(t, struct front_listener, pause));
}

static bool is_exempt(const struct front *f, const struct sockaddr_storage *peer)
{
	return f->ctx->config->rates_exempt_loopback &&
	       config_is_loopback((const struct sockaddr *)peer);
}

static void ended(void *arg, struct session *s)
{
	struct front_listener *l = arg;
	struct front *f = l->front;
	uint8_t bytes[RATE_CLIENT_BYTES];

	metric_sub(&sessions_open, l->protocol->metric, 1);
	rates_close(f->rates, rate_client(&s->peer, bytes));
	/* session_count was lowered already: there is room again. */
	for (unsigned i = 0; i < f->listener_count; i++)
		look(&f->listeners[i]);
}

static void refuse(const struct protocol *p, int fd, unsigned reason)
{
	metric_add(&sessions_refused, reason, 1);
	/* A full socket buffer this early means that the client does not deserve the sentence. */
	if (!p->tls && p->ops->refusal != NULL)
		(void)!send(fd, p->ops->refusal, strlen(p->ops->refusal), MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void serve(struct front_listener *l, int fd, const struct sockaddr_storage *peer)
{
	struct front *f = l->front;
	const struct config *c = f->ctx->config;
	uint8_t bytes[RATE_CLIENT_BYTES];
	struct slice client = rate_client(peer, bytes);
	bool exempt = is_exempt(f, peer);

	/* What one process can tell by itself; auth counts for all of them, when the session begins. */
	if (!exempt && !rates_take(f->rates, RATE_CONNECTIONS, client,
				   (unsigned)c->rates_client_connections_per_minute, 1,
				   loop_now_us(f->ctx->loop))) {
		refuse(l->protocol, fd, ENDED_RATE);
		return;
	}
	if (!rates_open(f->rates, client,
			exempt ? 0 : (unsigned)c->rates_client_connections_max)) {
		refuse(l->protocol, fd, ENDED_CLIENT);
		return;
	}
	metric_add(&sessions_started, l->protocol->metric, 1);
	metric_add(&sessions_open, l->protocol->metric, 1);
	if (session_start(&f->services, l->protocol->ops, fd, peer, l->protocol->tls, ended, l) < 0) {
		metric_sub(&sessions_open, l->protocol->metric, 1);
		metric_add(&sessions_refused, ENDED_MEMORY, 1);
		rates_close(f->rates, client);
	}
}

static void on_listener(struct io_watch *w, uint32_t events)
{
	struct front_listener *l = container_of(w, struct front_listener, watch);
	struct front *f = l->front;

	for (unsigned i = 0; i < ACCEPTS_IN_TURN; i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t len = sizeof(peer);
		int fd;

		if (f->services.session_count >= f->ctx->config->front_sessions_max) {
			look_away(l);
			metric_add(&sessions_refused, ENDED_FULL, 1);
			return;
		}
		fd = accept4(w->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
				return;
			/* Out of descriptors or memory: level-triggered, so do not spin on it. */
			event_warn(f->ctx->ev, "cannot accept connections now, trying again soon");
			look_away(l);
			loop_timer_set(f->ctx->loop, &l->pause, ACCEPT_PAUSE_US);
			return;
		}
		serve(l, fd, &peer);
	}
}

static const struct protocol *protocol_of(enum listener_kind kind)
{
	for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
		if (protocols[i].kind == kind)
			return &protocols[i];
	}
	return NULL;
}

/* ---- the role ---- */

static int front_start(struct role_context *ctx, struct errmsg *why)
{
	struct front *f = calloc(1, sizeof(*f));
	int rc;

	if (f == NULL)
		return errmsg_set(why, -ENOMEM, "front");
	f->ctx = ctx;
	ctx->state = f;
	/* iconv opens files, and later there will be none to open. */
	charset_init();
	f->services = (struct session_services){
		.loop = ctx->loop,
		.world = ctx->world,
		.ev = ctx->ev,
		.authority = ctx->authority,
		.count_clients = true,
	};
	list_init(&f->services.sessions);
	settings(f);
	rc = authc_new(ctx->loop, &f->services.authc);
	if (rc == 0)
		rc = remote_new(ctx->loop, NULL, &f->remote);
	if (rc == 0)
		rc = rates_new(CLIENTS_REMEMBERED, &f->rates);
	if (rc == 0)
		rc = accounts_new(ctx->world,
				  &(struct accounts_options){ .buckets = 1,
							      .cache_bytes = ACCOUNTS_CACHE_BYTES },
				  &f->services.accounts);
	if (rc == 0)
		rc = deliverer_new(ctx->world, &(struct deliverer_options){ .buckets = 1 },
				   &f->smtp.deliverer);
	authc_remember_rcpts(f->services.authc);
	f->services.remote = f->remote;
	f->services.smtp = &f->smtp;
	f->smtp.rates = f->rates;
	if (rc == 0)
		remote_handle_init(&f->queue_store, f->remote, NULL);
	f->queue = (struct queue_writer){ .engine = &f->queue_store.engine, .world = ctx->world };
	f->smtp.enqueue = queue_enqueue;
	f->smtp.spool = queue_spool_write;
	f->smtp.unspool = queue_spool_drop;
	f->smtp.queue = &f->queue;
	return rc == 0 ? 0 : errmsg_set(why, rc, "front");
}

static int front_run(struct role_context *ctx, struct errmsg *why)
{
	struct front *f = ctx->state;

	for (unsigned i = 0; i < ctx->listener_count; i++) {
		struct front_listener *l = &f->listeners[f->listener_count];
		const struct protocol *p = protocol_of(ctx->listeners[i].kind);

		if (p == NULL)
			continue;
		*l = (struct front_listener){
			.watch = { .fd = ctx->listeners[i].fd, .events = EPOLLIN, .fn = on_listener },
			.pause = { .fn = pause_over },
			.front = f,
			.protocol = p,
		};
		f->listener_count++;
		look(l);
	}
	role_ready(ctx);
	return 0;
}

static void front_channel(struct role_context *ctx, enum role_id peer, unsigned instance, int fd)
{
	struct front *f = ctx->state;
	int rc = 0;

	if (peer == ROLE_AUTH)
		rc = authc_set_channel(f->services.authc, fd);
	else if (peer == ROLE_STORE)
		rc = remote_set_channel(f->remote, fd);
	else
		close(fd);
	if (rc < 0) {
		AUTO_EVENT struct event *ev = event_child(ctx->ev, "front.channel");

		event_str(ev, "peer", role_table[peer].name);
		event_err(ev, rc);
		event_error(ev, "no channel to a peer: sessions wait for the next one");
	}
}

static void front_reload(struct role_context *ctx)
{
	settings(ctx->state);
}

/* Sessions end on their own time, within STOP_US. */
static void look_for_end(struct timer *t)
{
	struct front *f = container_of(t, struct front, stop_timer);

	if (f->services.session_count == 0 || loop_now_us(f->ctx->loop) >= f->stop_at_us)
		role_exit(f->ctx);
	else
		loop_timer_set(f->ctx->loop, t, STOP_LOOK_US);
}

static void front_stop(struct role_context *ctx)
{
	struct front *f = ctx->state;

	if (f->stopping)
		return;
	f->stopping = true;
	for (unsigned i = 0; i < f->listener_count; i++) {
		look_away(&f->listeners[i]);
		loop_timer_cancel(ctx->loop, &f->listeners[i].pause);
	}
	sessions_stop(&f->services);
	f->stop_at_us = loop_now_us(ctx->loop) + STOP_US;
	f->stop_timer.fn = look_for_end;
	look_for_end(&f->stop_timer);
}

static void front_status(struct role_context *ctx, struct buf *json)
{
	const struct front *f = ctx->state;

	buf_printf(json, "\"sessions\":%u,\"account_bytes\":%zu", f->services.session_count,
		   accounts_bytes(f->services.accounts));
}

const struct role_ops role_front = {
	.start = front_start,
	.run = front_run,
	.channel = front_channel,
	.reload = front_reload,
	.stop = front_stop,
	.status = front_status,
};
