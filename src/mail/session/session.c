#include "mail/session/session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/event.h"
#include "base/metrics.h"
#include "base/must.h"
#include "conf/config.h"
#include "mail/session/authc.h"
#include "sys/fiber.h"

#define RETRY_US	 100000		/* when no stack was to be had */
#define TLS_TIMEOUT_US	 30000000	/* when the settings have none */
#define WRITE_TIMEOUT_US 60000000
#define OUT_BYTES	 (64u * 1024u)
#define COMMANDS_IN_TURN 16u		/* pipelined commands before the others get their turn */

static const char *const refusals[] = { "client", "rate" };
METRIC_COUNTER_BY(refused, "prickle_front_refused_clients",
		  "Connections refused since their client has too many to all processes", "reason", refusals);
enum { REFUSED_CLIENT, REFUSED_RATE };

static void session_run(struct session *s);

static void peer_text(struct session *s)
{
	const char *text = NULL;

	if (s->peer.ss_family == AF_INET) {
		text = inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)&s->peer)->sin_addr,
				 s->peer_text, sizeof(s->peer_text));
	} else if (s->peer.ss_family == AF_INET6) {
		const struct in6_addr *in6 = &((struct sockaddr_in6 *)(void *)&s->peer)->sin6_addr;

		/* An IPv4 client of a socket for both is shown, and counted, as what it is. */
		if (IN6_IS_ADDR_V4MAPPED(in6))
			text = inet_ntop(AF_INET, in6->s6_addr + 12, s->peer_text, sizeof(s->peer_text));
		else
			text = inet_ntop(AF_INET6, in6, s->peer_text, sizeof(s->peer_text));
	}
	if (text == NULL)
		memcpy(s->peer_text, "local", sizeof("local"));
}

static void session_end(struct session *s)
{
	uint8_t client[RATE_CLIENT_BYTES];

	if (s->greeted)
		s->ops->done(s);
	if (s->counted)
		authc_close(s->sv->authc, rate_client(&s->peer, client));
	stream_done(&s->stream);
	list_del(&s->link);
	s->sv->session_count--;
	if (s->on_end != NULL)
		s->on_end(s->on_end_arg, s);
	event_free(s->ev);
	free(s);
}

static void session_ready(struct stream *stream, bool timed_out)
{
	struct session *s = container_of(stream, struct session, stream);

	s->parked = false;
	if (timed_out)
		s->timed_out = true;
	else
		s->input = true;
	session_run(s);
}

static void session_park(struct session *s)
{
	if (s->ops->parked != NULL)
		s->ops->parked(s);
	s->input = false;
	s->parked = true;
	stream_park(&s->stream,
		    s->ops->idle_us != NULL ? s->ops->idle_us(s) : s->sv->set.login_timeout_us,
		    session_ready);
}

static int64_t tls_timeout(const struct session *s)
{
	return s->sv->set.tls_timeout_us > 0 ? s->sv->set.tls_timeout_us : TLS_TIMEOUT_US;
}

/* Connections of one client are counted over all processes, so auth does it. False: one too many. */
static bool session_count(struct session *s)
{
	uint8_t client[RATE_CLIENT_BYTES];

	if (!s->sv->count_clients ||
	    (s->sv->config != NULL && s->sv->config->rates_exempt_loopback &&
	     config_is_loopback((const struct sockaddr *)&s->peer)))
		return true;
	enum authc_open_result r = authc_open(s->sv->authc, rate_client(&s->peer, client));
	s->counted = r == AUTHC_OPEN_OK;
	if (s->counted)
		return true;
	metric_add(&refused, r == AUTHC_OPEN_TOO_FAST ? REFUSED_RATE : REFUSED_CLIENT, 1);
	/* Before a handshake nobody would understand it. */
	if (!s->implicit_tls && s->ops->refusal != NULL)
		stream_write(&s->stream, slice_str(s->ops->refusal));
	return false;
}

static bool session_begin(struct session *s)
{
	if (!session_count(s))
		return false;
	if (s->implicit_tls) {
		struct tls_context *tls = session_tls(s);

		if (tls == NULL || stream_start_tls(&s->stream, tls, tls_timeout(s)) < 0)
			return false;
	}
	s->greeted = true;
	return s->ops->greet(s) == SESSION_GO_ON && stream_flush(&s->stream) == 0;
}

/* One turn of a session's fiber: everything that there is to do. False: the session is over. */
static bool session_turn(struct session *s)
{
	unsigned served = 0;

	if (!s->greeted && !session_begin(s))
		return false;
	for (;;) {
		enum session_next next = SESSION_GO_ON;

		if (s->stop_wanted) {
			if (s->ops->stopping != NULL)
				s->ops->stopping(s);
			return false;
		}
		if (s->timed_out) {
			s->timed_out = false;
			next = s->ops->timeout != NULL ? s->ops->timeout(s) : SESSION_CLOSE;
		} else if (s->wake_wanted) {
			s->wake_wanted = false;
			if (s->ops->wake != NULL)
				next = s->ops->wake(s);
		} else if (s->input || stream_pending(&s->stream)) {
			s->input = false;
			next = s->ops->command(s);
			if (++served % COMMANDS_IN_TURN == 0)
				fiber_yield();
		} else if (s->stream.out.len > 0) {
			/* Waits, so look again: a wake or a stop may have come meanwhile. */
			stream_flush(&s->stream);
		} else {
			return true;
		}
		if (next == SESSION_CLOSE || s->stream.err != 0)
			return false;
	}
}

static void session_fiber(void *arg)
{
	struct session *s = arg;

	if (session_turn(s)) {
		s->busy = false;
		session_park(s);
		return;
	}
	stream_flush(&s->stream);
	session_end(s);
}

static void session_retry(struct timer *t)
{
	struct session *s = container_of(t, struct session, retry);

	s->busy = false;
	session_run(s);
}

static void session_run(struct session *s)
{
	must(!s->busy);
	s->busy = true;
	if (fiber_start(s->sv->loop, session_fiber, s) < 0)
		loop_timer_set(s->sv->loop, &s->retry, RETRY_US);
}

int session_start(struct session_services *sv, const struct session_ops *ops, int fd,
		  const struct sockaddr_storage *peer, bool implicit_tls,
		  void (*on_end)(void *arg, struct session *s), void *on_end_arg)
{
	struct session *s;

	must(ops->struct_bytes >= sizeof(*s));
	s = calloc(1, ops->struct_bytes);
	if (s == NULL) {
		close(fd);
		return -ENOMEM;
	}
	stream_init(&s->stream, sv->loop, fd,
		    &(struct stream_limits){
			    .read_timeout_us = sv->set.command_timeout_us,
			    .write_timeout_us = WRITE_TIMEOUT_US,
			    .min_rate_bytes_s = sv->set.min_rate_bytes_s,
			    .out_bytes_max = OUT_BYTES,
		    });
	s->sv = sv;
	s->ops = ops;
	s->id = ++sv->next_id;
	s->started_us = loop_now_us(sv->loop);
	s->peer = *peer;
	s->implicit_tls = implicit_tls;
	s->on_end = on_end;
	s->on_end_arg = on_end_arg;
	s->retry.fn = session_retry;
	peer_text(s);
	s->ev = event_child(sv->ev, ops->name);
	event_u64(s->ev, "session", s->id);
	event_str(s->ev, "peer", s->peer_text);
	list_push_back(&sv->sessions, &s->link);
	sv->session_count++;
	session_run(s);
	return 0;
}

void session_wake(struct session *s)
{
	s->wake_wanted = true;
	if (!s->parked)
		return;
	stream_unpark(&s->stream);
	s->parked = false;
	session_run(s);
}

bool session_plain_allowed(const struct session *s)
{
	if (s->stream.tls != NULL)
		return true;
	/* The setting is for clients on this host alone. */
	return s->sv->set.plain_without_tls &&
	       config_is_loopback((const struct sockaddr *)&s->peer);
}

int64_t session_login_left_us(const struct session *s)
{
	int64_t left = s->started_us + s->sv->set.login_timeout_us - loop_now_us(s->sv->loop);

	return MAX(left, 0);
}

struct tls_context *session_tls(const struct session *s)
{
	if (s->sv->tls != NULL || s->sv->authc == NULL)
		return s->sv->tls;
	return authc_tls(s->sv->authc);
}

struct engine *session_engine(struct session *s, const uint8_t *grant)
{
	if (s->sv->remote == NULL)
		return s->sv->engine;
	remote_handle_init(&s->store, s->sv->remote, grant);
	return &s->store.engine;
}

int session_start_tls(struct session *s)
{
	int err;

	err = stream_flush(&s->stream);
	if (err < 0)
		return err;
	if (stream_pending(&s->stream))
		return -EPROTO;
	if (session_tls(s) == NULL)
		return -EPROTO;
	return stream_start_tls(&s->stream, session_tls(s), tls_timeout(s));
}

void sessions_stop(struct session_services *sv)
{
	sv->stopping = true;
	list_for_each(it, &sv->sessions) {
		struct session *s = list_entry(it, struct session, link);

		s->stop_wanted = true;
		if (s->parked)
			session_wake(s);
	}
}
