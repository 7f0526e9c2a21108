/*
 * The worker: run_private.h tells what it is. One loop; all that it holds besides descriptors are packets that wait for their
 * fragments, so its death costs these and nothing else.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/event.h"
#include "nat64/log.h"
#include "nat64/metrics.h"
#include "nat64/nat64_limits.h"
#include "nat64/run_private.h"
#include "nat64/slow/slow.h"
#include "sys/process.h"
#include "sys/sandbox.h"

#define FRAME_BYTES	  (65535u + 18u)
#define FRAMES_A_ROUND	  64
#define EVENTS_A_ROUND	  1024
#define ETHERNET_BYTES	  14u
#define TAGS_MAX	  2
#define BEAT_US		  1000000
#define NEIGHBOURS_US	  5000000
#define SETTLE_US	  200000		/* changes come in flocks */
#define METRICS_BYTES	  65536u
#define SETTINGS_BYTES	  (64u << 20)

struct worker {
	struct nat64 *n;
	struct loop *loop;
	struct event_log *events;
	struct event *ev;
	struct nat64_log log;
	struct xlat_config config;
	struct slow *slow;
	struct slow_settings slow_settings;
	struct raw raw;
	struct xlat_stats *stats;	/* of the slow path, mapped */
	int ftp_fd;
	struct ring_buffer *ring;
	struct serve *serve;
	struct prefixes *prefixes;
	struct buf metrics;		/* where they are served, as text */
	bool removed, again;		/* again: one of us was there before */
	struct io_watch tap, changes, ring_watch, keeper, signals;
	struct timer beat, slow_timer, neighbours, settle;
	unsigned changed;		/* enum watch_seen, to be told */
	uint32_t generation;
	struct { uint64_t us; int64_t at_us; } errors[2];	/* tokens of ICMP errors, in microseconds' worth; [1] of those about MTU */
	uint32_t events_now;		/* in this round */
	struct errmsg why;
	int status;
	uint8_t frame[FRAME_BYTES];
};

static int64_t now_ms(const struct worker *w)
{
	return loop_now_us(w->loop) / 1000;
}

void worker_tell(struct worker *w, const struct tell *t)
{
	/* The keeper reads as fast as we can change things; a message that is lost is sent again at the next change. */
	(void)!send(w->keeper.fd, t, sizeof(*t), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void leave(struct worker *w, int status)
{
	w->status = status;
	loop_stop(w->loop);
}

/* --- the slow path's surroundings ------------------------------------------------------------------------- */

static int plan(void *arg, struct xlat *x)
{
	struct worker *w = arg;
	struct xlat *desk = nat64_desk(w->n, XLAT_DESK_DAEMON);
	struct xlat_call call = { .op = XLAT_CALL_PLAN, .desk = XLAT_DESK_DAEMON };
	int err;

	memcpy(desk, x, sizeof(*desk));
	err = nat64_call(w->n, &call, &w->why);
	if (err != 0)
		return err;
	memcpy(x, desk, sizeof(*x));
	return call.result;
}

static int call_programs(void *arg, struct xlat_call *call)
{
	struct worker *w = arg;

	call->desk = XLAT_DESK_DAEMON;
	return nat64_call(w->n, call, &w->why);
}

static int send_packet(void *arg, unsigned family, struct slice packet, uint32_t mark, uint32_t *mtu)
{
	struct worker *w = arg;

	return raw_send(&w->raw, family, packet, mark, mtu);
}

static uint32_t mtu_of(void *arg, unsigned family, const __be32 addr[4])
{
	struct worker *w = arg;

	return raw_mtu(&w->raw, family, addr);
}

static void count(void *arg, enum xlat_verdict verdict, enum xlat_reason reason)
{
	struct worker *w = arg;

	if (verdict < XLAT_VERDICTS && reason < XLAT_REASONS)
		__atomic_add_fetch(&w->stats->reason[verdict][reason], 1, __ATOMIC_RELAXED);
}

static bool error_allowed(void *arg, bool too_big)
{
	struct worker *w = arg;
	int64_t now = loop_now_us(w->loop);
	uint64_t each;

	if (w->config.errors_rate == 0)
		return true;
	each = 1000000 / w->config.errors_rate;
	w->errors[too_big].us += (uint64_t)(now - w->errors[too_big].at_us);
	w->errors[too_big].at_us = now;
	if (w->errors[too_big].us > 1000000)
		w->errors[too_big].us = 1000000;
	if (w->errors[too_big].us < each)
		return false;
	w->errors[too_big].us -= each;
	return true;
}

static int ftp_load(void *arg, const struct xlat_session_key *key, struct xlat_ftp *out)
{
	struct worker *w = arg;

	return bpf_map_lookup_elem(w->ftp_fd, key, out) == 0 ? 0 : -errno;
}

static int ftp_save(void *arg, const struct xlat_session_key *key, const struct xlat_ftp *value)
{
	struct worker *w = arg;

	if (value == NULL)
		return bpf_map_delete_elem(w->ftp_fd, key) == 0 || errno == ENOENT ? 0 : -errno;
	return bpf_map_update_elem(w->ftp_fd, key, value, BPF_ANY) == 0 ? 0 : -errno;
}

static int ftp_next(void *arg, const struct xlat_session_key *key, struct xlat_session_key *out)
{
	struct worker *w = arg;

	return bpf_map_get_next_key(w->ftp_fd, key, out) == 0 ? 0 : -errno;
}

/* --- packets -------------------------------------------------------------------------------------------------- */

static void tick(struct worker *w)
{
	int64_t wait = slow_tick(w->slow, now_ms(w));

	loop_timer_cancel(w->loop, &w->slow_timer);
	if (wait >= 0)
		loop_timer_set(w->loop, &w->slow_timer, wait * 1000);
}

static void on_slow_timer(struct timer *t)
{
	tick(container_of(t, struct worker, slow_timer));
}

/* Programs redirect whole frames; the tags say where they came from and no longer matter. */
static struct slice packet_of(struct slice frame)
{
	size_t at = 12;

	for (int tags = 0; frame.len >= at + 2; tags++, at += 4) {
		unsigned type = (unsigned)frame.ptr[at] << 8 | frame.ptr[at + 1];

		if (type == 0x0800 || type == 0x86dd)
			return slice_from(frame, at + 2);
		if ((type != 0x8100 && type != 0x88a8) || tags == TAGS_MAX)
			break;
	}
	return (struct slice){ 0 };
}

/* In place of the sender's link address (bpf/home.bpf.h); what the host's own stack sends to the device has an address. */
static uint32_t mark_of(struct slice frame)
{
	const uint8_t *from = frame.ptr + 6;

	if (frame.len < ETHERNET_BYTES || from[0] != 0 || from[1] != 0)
		return 0;
	return (uint32_t)from[2] << 24 | (uint32_t)from[3] << 16 | (uint32_t)from[4] << 8 | from[5];
}

static void on_tap(struct io_watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, tap);
	bool any = false;

	(void)events;
	for (int i = 0; i < FRAMES_A_ROUND; i++) {
		ssize_t n = read(watch->fd, w->frame, sizeof(w->frame));
		struct slice packet;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			/* The device was removed under us. */
			leave(w, EXIT_FAILURE);
			return;
		}
		packet = packet_of(slice_of(w->frame, (size_t)n));
		if (packet.len > 0)
			slow_packet(w->slow, packet, mark_of(slice_of(w->frame, (size_t)n)), now_ms(w));
		any = true;
	}
	if (any)
		tick(w);
}

static int on_event(void *arg, void *data, size_t bytes)
{
	struct worker *w = arg;
	struct xlat_event e;

	if (bytes < sizeof(e))
		return 0;
	memcpy(&e, data, sizeof(e));
	if (!nat64_log_event(&w->log, &e) && e.kind == XLAT_EVENT_PROBE)
		slow_event(w->slow, &e, now_ms(w));
	/* An error ends the round, after this record. */
	return ++w->events_now < EVENTS_A_ROUND ? 0 : -EAGAIN;
}

/* Some of what is there: in a flood of events there is always more, and packets and the beat must not wait for its end. */
static void read_events(struct worker *w)
{
	w->events_now = 0;
	(void)!ring_buffer__consume(w->ring);
}

static void on_ring(struct io_watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, ring_watch);

	(void)events;
	read_events(w);
	tick(w);
}

/* --- time and changes ------------------------------------------------------------------------------------------- */

static int configure(struct worker *w)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(SETTINGS_BYTES);
	const struct nat64_settings *s = bank_settings(w->n, &arena);

	if (s == NULL)
		return errmsg_say(&w->why, -EPROTO, "the settings in force cannot be read");
	w->config = *nat64_config(w->n);
	w->slow_settings = (struct slow_settings){
		.datagrams_max = s->slow_datagrams_max, .bytes_max = s->slow_bytes_max, .fragment_ms = s->fragment_ms,
		.syns_max = NAT64_SYNS_MAX,
		.syn_ms = (uint32_t)(((uint64_t)w->config.timeout[XLAT_T_TCP_INCOMING_SYN] << XLAT_TICK_SHIFT) / 1000000),
	};
	w->log.subscriber_bits = w->config.subscriber_bits;
	w->log.none = s->log == NAT64_LOG_NONE;
	if (w->slow != NULL)
		slow_configure(w->slow, &w->slow_settings, &w->config);
	return prefixes_configure(w->prefixes, s, &w->why);
}

static void metrics_addresses(const struct nat64_settings *s, struct buf *out)
{
	for (size_t i = 0; i < s->metrics.count; i++)
		buf_printf(out, "%s\n", s->metrics.items[i].text);
}

/* Listening needs rights that were given up. */
static bool metrics_moved(struct worker *w)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(SETTINGS_BYTES);
	AUTO_BUF struct buf now = BUF_INIT(METRICS_BYTES);
	const struct nat64_settings *s = bank_settings(w->n, &arena);

	if (s == NULL)
		return false;
	metrics_addresses(s, &now);
	return !slice_eq(buf_slice(&now), buf_slice(&w->metrics));
}

static void beat_now(struct worker *w)
{
	XLAT_WRITE(w->n->control->slow_beat, run_tick());
}

static void check_generation(struct worker *w)
{
	uint32_t generation = __atomic_load_n(&w->n->control->generation, __ATOMIC_ACQUIRE);
	struct stat st;

	if (fstat(w->n->dir, &st) != 0 || st.st_nlink == 0) {
		w->removed = true;
		worker_tell(w, &(struct tell){ .kind = TELL_GONE });
		leave(w, EXIT_SUCCESS);
		return;
	}
	if (generation == w->generation)
		return;
	w->generation = generation;
	if (configure(w) != 0) {
		event_why(w->ev, &w->why);
		event_error(w->ev, "new settings cannot be read, the slow path goes on with the old ones");
	} else if (metrics_moved(w)) {
		leave(w, WORKER_AGAIN);
	}
}

static void on_beat(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, beat);

	beat_now(w);
	check_generation(w);
	/* Events that came without waking us. */
	read_events(w);
	event_log_flush(w->events);
	loop_timer_set(w->loop, t, BEAT_US);
}

static void on_neighbours(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, neighbours);

	watch_keep_neighbours(w->n);
	loop_timer_set(w->loop, t, NEIGHBOURS_US);
}

static void on_settled(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, settle);
	unsigned changed = w->changed;

	w->changed = 0;
	if ((changed & WATCH_ADDRESSES) != 0)
		worker_tell(w, &(struct tell){ .kind = TELL_ADDRESSES });
	if ((changed & WATCH_LINKS) != 0)
		worker_tell(w, &(struct tell){ .kind = TELL_LINKS });
}

static void on_changes(struct io_watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, changes);
	unsigned seen = watch_read(watch->fd);

	(void)events;
	if (seen != 0)
		__atomic_add_fetch(&w->n->control->nexthop_generation, 1, __ATOMIC_RELEASE);
	if ((seen & (WATCH_ADDRESSES | WATCH_LINKS)) == 0)
		return;
	if (w->changed == 0)
		loop_timer_set(w->loop, &w->settle, SETTLE_US);
	w->changed |= seen & (WATCH_ADDRESSES | WATCH_LINKS);
}

/* The keeper says that it applied something, or is gone. */
static void on_keeper(struct io_watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, keeper);
	uint8_t bytes[64];
	ssize_t n = recv(watch->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	(void)events;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		leave(w, EXIT_SUCCESS);
	else
		check_generation(w);
}

static void metrics_text(void *arg, struct buf *out)
{
	struct worker *w = arg;
	struct nat64_metrics *m = nat64_metrics_new();

	if (m == NULL || nat64_metrics_add(m, w->n, w->n->name, NULL, &w->why) != 0)
		out->err = out->err != 0 ? out->err : -ENOMEM;
	else
		nat64_metrics_text(m, out);
	nat64_metrics_free(m);
}

/* --- begin ---------------------------------------------------------------------------------------------------------- */

static int watch_fd(struct worker *w, struct io_watch *watch, int fd, void (*fn)(struct io_watch *w, uint32_t events))
{
	if (fd < 0)
		return fd;
	*watch = (struct io_watch){ .fd = fd, .events = EPOLLIN, .fn = fn };
	int err = loop_add(w->loop, watch);
	return err == 0 ? 0 : errmsg_set(&w->why, err, "watch a descriptor");
}

static int begin_slow(struct worker *w)
{
	static const struct slow_ops ops = { plan, call_programs, send_packet, mtu_of, count, error_allowed,
					     ftp_load, ftp_save, ftp_next };
	static const struct slow_ops without_ftp = { plan, call_programs, send_packet, mtu_of, count, error_allowed, NULL, NULL, NULL };
	int fd = nat64_map(w->n, NAT64_SLOW_STATS);
	void *stats = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*w->stats), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int err;

	if (stats == MAP_FAILED)
		return errmsg_set(&w->why, -errno, "map the counters of the slow path");
	w->stats = stats;
	w->ftp_fd = nat64_map(w->n, "ftp");
	w->generation = __atomic_load_n(&w->n->control->generation, __ATOMIC_ACQUIRE);
	err = configure(w);
	if (err != 0)
		return err;
	err = slow_new(&w->slow_settings, w->ftp_fd >= 0 ? &ops : &without_ftp, w, &w->slow);
	if (err != 0)
		return errmsg_set(&w->why, err, "begin the slow path");
	slow_configure(w->slow, &w->slow_settings, &w->config);
	return raw_open(&w->raw, &w->why);
}

static int begin_events(struct worker *w, const struct nat64_settings *settings)
{
	static const enum event_format formats[] = {
		[NAT64_LOG_TEXT] = EVENT_TEXT, [NAT64_LOG_JSON] = EVENT_JSON, [NAT64_LOG_JOURNALD] = EVENT_JOURNALD,
	};
	int fd = settings->log_format == NAT64_LOG_JOURNALD ? event_journald_open(NULL, &w->why) : STDERR_FILENO;

	if (fd < 0)
		return fd;
	int err = event_log_new(fd, formats[settings->log_format], EVENT_INFO, NULL, NULL, &w->events);
	if (err != 0)
		return errmsg_set(&w->why, err, "begin the log");
	w->ev = event_root(w->events, "nat64");
	event_str(w->ev, "translator", w->n->name);
	nat64_log_init(&w->log, w->ev, w->config.subscriber_bits);
	w->ring = ring_buffer__new(nat64_map(w->n, "events"), on_event, w, NULL);
	if (w->ring == NULL)
		return errmsg_set(&w->why, -errno, "read the events of the programs");
	return watch_fd(w, &w->ring_watch, ring_buffer__epoll_fd(w->ring), on_ring);
}

static void learnt(void *arg, const struct xlat_prefix *prefix)
{
	struct worker *w = arg;

	worker_tell(w, &(struct tell){ .kind = TELL_PREFIX, .prefix = *prefix });
}

static int begin(struct worker *w, const struct nat64_settings *settings, int keeper_fd)
{
	int err = loop_new(&w->loop), fd;

	if (err != 0)
		return errmsg_set(&w->why, err, "event loop");
	err = begin_events(w, settings);
	if (err == 0 && prefixes_new(w->loop, learnt, w, &w->prefixes) != 0)
		err = errmsg_set(&w->why, -ENOMEM, "learn and announce prefixes");
	if (err == 0)
		err = begin_slow(w);
	metrics_addresses(settings, &w->metrics);
	if (err == 0 && settings->metrics.count > 0)
		err = serve_new(w->loop, &settings->metrics, metrics_text, w, &w->serve, &w->why);
	/* What runs goes on without them. */
	if (err != 0 && w->again && w->serve == NULL && w->slow != NULL) {
		event_why(w->ev, &w->why);
		event_error(w->ev, "metrics are not served");
		err = 0;
	}
	if (err == 0) {
		fd = watch_open(&w->why);
		err = fd < 0 ? fd : watch_fd(w, &w->changes, fd, on_changes);
	}
	if (err == 0)
		err = watch_fd(w, &w->keeper, keeper_fd, on_keeper);
	if (err == 0) {
		fd = device_open_tap(w->n->name, &w->why);
		err = fd < 0 ? fd : watch_fd(w, &w->tap, fd, on_tap);
	}
	return err;
}

static int drop(struct worker *w, const struct nat64_settings *settings)
{
	struct sandbox box = { .flags = SANDBOX_BPF | SANDBOX_PATHS, .capabilities = nat64_capabilities };
	struct sandbox_report report;

	/* Processors are counted there when counters of all of them are read: for metrics. */
	box.paths[box.path_count++] = (struct sandbox_path){ "/sys/devices/system/cpu", LANDLOCK_READ };
	/*
	 * No other file needs to be opened from here on: pins are found by bpf(2), which Landlock does not ask. But a CLAT that asks DNS for its
	 * prefix reads resolv.conf when it begins anew, and that file is replaced, or a link to where its writer keeps it.
	 */
	if (settings->config.mode == XLAT_CLAT && settings->pref64_source != NAT64_PREF64_FIXED) {
		box.paths[box.path_count++] = (struct sandbox_path){ "/etc", LANDLOCK_READ };
		box.paths[box.path_count++] = (struct sandbox_path){ "/run", LANDLOCK_READ };
	}
	return sandbox_apply(&box, &report, &w->why);
}

int worker_main(struct nat64 *n, const struct nat64_settings *settings, int keeper_fd, bool drop_privileges, bool again)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(SETTINGS_BYTES);
	struct worker *w = calloc(1, sizeof(*w));
	/* They may have been changed since the keeper read the file. */
	const struct nat64_settings *now = again ? bank_settings(n, &arena) : NULL;
	int err = w == NULL ? -ENOMEM : 0;

	if (w == NULL)
		return EXIT_FAILURE;
	process_set_name("nat64");
	if (now != NULL)
		settings = now;
	w->n = n;
	w->again = again;
	buf_init(&w->metrics, METRICS_BYTES);
	w->raw = RAW_CLOSED;
	err = begin(w, settings, keeper_fd);
	if (err == 0 && drop_privileges)
		err = drop(w, settings);
	if (err != 0) {
		dprintf(STDERR_FILENO, "prickle nat64: the slow path cannot start: %s\n", w->why.text);
		return EXIT_FAILURE;
	}
	w->beat.fn = on_beat;
	w->slow_timer.fn = on_slow_timer;
	w->neighbours.fn = on_neighbours;
	w->settle.fn = on_settled;
	on_beat(&w->beat);
	on_neighbours(&w->neighbours);
	worker_tell(w, &(struct tell){ .kind = TELL_READY });
	loop_run(w->loop);
	run_slow_ends(n);
	prefixes_free(w->prefixes, w->removed);
	event_log_flush(w->events);
	return w->status;
}
