#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/event.h"
#include "base/map.h"
#include "base/metrics.h"
#include "base/must.h"
#include "base/reader.h"
#include "conf/config.h"
#include "policy/authority.h"
#include "policy/store.h"
#include "roles/supervise.h"
#include "roles/table.h"
#include "sys/ipc.h"
#include "sys/process.h"
#include "sys/tls.h"
#include "sys/world.h"

#define EARLY_CHANNELS_MAX  256u	/* channels that came before the role could take them */
#define LOG_FLUSH_US	    60000000
#define FILE_CALL_US	    5000000
#define STATUS_JSON_BYTES   16384u
#define STATUS_METRIC_BYTES 65536u

struct early_channel {
	enum role_id peer;
	unsigned instance;
	int fd;
};

/* All that role_main knows; ctx is what the role sees of it. */
struct role_process {
	struct role_context ctx;
	const struct role_row *row;
	struct ipc *supervisor;
	struct config *config;		/* the newest; older ones stay, since sessions may still read them */
	struct buf config_bytes;	/* what it was decoded from */
	struct authority authority;
	struct service_floor floor;	/* what the kernel lets us do */
	struct event_log *log;
	struct timer log_timer;
	struct early_channel early[EARLY_CHANNELS_MAX];
	unsigned early_count;
	bool go, running, stopped;
	int status;			/* exit status */
	void (*serve)(struct role_context *ctx, struct ipc_request *req);
};

static struct role_process *process_of(struct role_context *ctx)
{
	return container_of(ctx, struct role_process, ctx);
}

struct ipc *role_supervisor(struct role_context *ctx)
{
	return process_of(ctx)->supervisor;
}

void role_serve_supervisor(struct role_context *ctx,
			   void (*serve)(struct role_context *ctx, struct ipc_request *req))
{
	process_of(ctx)->serve = serve;
}

void role_ready(struct role_context *ctx)
{
	/* A supervisor that cannot be told is gone, and we are about to go with it. */
	(void)!ipc_send(process_of(ctx)->supervisor, SUPERVISE_READY, (struct slice){ 0 }, -1);
}

int role_open_file(struct role_context *ctx, enum role_file file, int *fd, struct errmsg *why)
{
	AUTO_BUF struct buf reply = BUF_INIT(16);
	uint8_t which = (uint8_t)file;
	int got = -1, err;

	err = ipc_call_fd(process_of(ctx)->supervisor, SUPERVISE_FILE, slice_of(&which, 1), -1, FILE_CALL_US,
			  &reply, &got);
	if (err == 0) {
		struct reader r = reader_of(buf_slice(&reply));
		uint32_t code = rd_be32(&r);
		err = !rd_end(&r) || code > 4095 ? -EPROTO : -(int)code;
	}
	if (err == 0 && got < 0)
		err = -EPROTO;
	if (err != 0) {
		if (got >= 0)
			close(got);
		return errmsg_set(why, err, "open the file of %s",
				  file == ROLE_FILE_KEY ? "tls.key" : "tls.certificate");
	}
	*fd = got;
	return 0;
}

void role_exit(struct role_context *ctx)
{
	loop_stop(ctx->loop);
}

/* --- messages of the supervisor ----------------------------------------------------------------- */

static void on_config(struct role_process *p, struct slice bytes)
{
	struct config *config;

	/*
	 * The old one is kept for good: a suspended session may hold pointers into it, and a reload
	 * costs a few KiB and a changed file. Whoever only repeats the command costs us nothing.
	 */
	if (p->config == NULL || !slice_eq(bytes, buf_slice(&p->config_bytes))) {
		if (config_decode(bytes, &config) != 0) {
			event_error(p->ctx.ev, "the supervisor's configuration is malformed, keeping the old one");
			return;
		}
		buf_reset(&p->config_bytes);
		buf_add(&p->config_bytes, bytes);
		p->config = config;
		p->ctx.config = config;
	}
	if (!p->running)
		return;
	event_log_level(p->log, (enum event_level)p->config->log_level);
	if (p->row->ops->reload != NULL)
		p->row->ops->reload(&p->ctx);
}

static void on_listener(struct role_process *p, struct ipc_request *req)
{
	struct reader r = reader_of(req->payload);
	uint8_t kind = rd_u8(&r);

	if (!rd_end(&r) || req->fd < 0 || p->ctx.listener_count == ROLE_LISTENERS_MAX || p->go)
		return;
	p->ctx.listeners[p->ctx.listener_count++] =
		(struct listener){ .kind = (enum listener_kind)kind, .fd = TAKE_FD(req->fd) };
}

/* Mapped now, so that no descriptor is left: the sandbox of most roles opens no files. */
static void on_policy(struct role_process *p, struct ipc_request *req)
{
	struct reader r = reader_of(req->payload);
	uint8_t what = rd_u8(&r);
	struct errmsg why = { 0 };
	int err = -EPROTO;

	if (!rd_end(&r) || req->fd < 0 || p->go)
		return;
	if (what == SUPERVISE_POLICY_TABLE && p->authority.table.head == NULL)
		err = policy_table_map(&p->authority.table, req->fd, &why);
	else if (what == SUPERVISE_POLICY_RING && p->authority.ring.ring == NULL)
		err = policy_ring_attach(&p->authority.ring, req->fd, &why);
	if (err != 0)
		fprintf(stderr, "prickle %s: %s\n", p->row->name, why.text);
}

static int64_t world_now_us(void *world)
{
	return world_real_us(world);
}

/* Without a policy nothing could be decided, and without a ring nothing recorded: then we do not serve. */
static int take_authority(struct role_process *p, struct errmsg *why)
{
	if (p->authority.table.head == NULL || p->authority.ring.ring == NULL)
		return errmsg_say(why, -ENOENT, "the supervisor gave no policy; see 'prickle policy epochs'");
	p->authority.now_us = world_now_us;
	p->authority.now_arg = p->ctx.world;
	p->ctx.authority = &p->authority;
	return 0;
}

static void on_channel(struct role_process *p, struct ipc_request *req)
{
	struct reader r = reader_of(req->payload);
	struct early_channel c = { .peer = (enum role_id)rd_u8(&r), .instance = rd_be16(&r), .fd = req->fd };

	if (!rd_end(&r) || req->fd < 0 || c.peer >= ROLE_COUNT || p->row->ops->channel == NULL)
		return;
	if (!p->running && p->early_count == EARLY_CHANNELS_MAX)
		return;
	req->fd = -1;
	if (p->running)
		p->row->ops->channel(&p->ctx, c.peer, c.instance, c.fd);
	else
		p->early[p->early_count++] = c;
}

METRIC_COUNTER(lines_lost, "prickle_process_log_lines_lost",
	       "Event lines that were not written: too many of one kind, or nobody took them");

static void on_status(struct role_process *p, struct ipc_request *req)
{
	AUTO_BUF struct buf json = BUF_INIT(STATUS_JSON_BYTES);
	AUTO_BUF struct buf metrics = BUF_INIT(STATUS_METRIC_BYTES);
	AUTO_BUF struct buf out = BUF_INIT(IPC_MESSAGE_BYTES);

	buf_adds(&json, "{");
	if (p->running && p->row->ops->status != NULL)
		p->row->ops->status(&p->ctx, &json);
	buf_adds(&json, "}");
	if (json.err != 0) {
		buf_reset(&json);
		buf_adds(&json, "{}");
	}
	metric_set(&lines_lost, 0, p->log == NULL ? 0 : event_log_lost(p->log));
	metrics_snapshot(&metrics);
	if (metrics.err != 0)
		buf_reset(&metrics);
	buf_blob(&out, buf_slice(&json));
	buf_blob(&out, buf_slice(&metrics));
	(void)!ipc_reply(req, buf_slice(&out));
}

static void on_message(void *arg, struct ipc_request *req)
{
	struct role_process *p = arg;

	switch (req->type) {
	case SUPERVISE_CONFIG:
		on_config(p, req->payload);
		break;
	case SUPERVISE_LISTENER:
		on_listener(p, req);
		break;
	case SUPERVISE_CHANNEL:
		on_channel(p, req);
		break;
	case SUPERVISE_POLICY:
		on_policy(p, req);
		break;
	case SUPERVISE_GO:
		p->go = true;
		break;
	case SUPERVISE_STOP:
		p->stopped = true;
		if (p->running && p->row->ops->stop != NULL)
			p->row->ops->stop(&p->ctx);
		else
			loop_stop(p->ctx.loop);
		break;
	case SUPERVISE_STATUS:
		on_status(p, req);
		break;
	default:
		if (p->serve != NULL && p->running)
			p->serve(&p->ctx, req);
		else if (!req->one_way)
			(void)!ipc_reply(req, (struct slice){ 0 });
		break;
	}
}

/* Without a supervisor nobody would start us again or stop us: end at once. */
static void on_closed(void *arg, struct ipc *ipc)
{
	struct role_process *p = arg;

	p->status = EXIT_FAILURE;
	p->stopped = true;
	loop_stop(p->ctx.loop);
}

static const struct ipc_callbacks supervisor_callbacks = { .serve = on_message, .closed = on_closed };

/* --- life ------------------------------------------------------------------------------------------ */

static void flush_log(struct timer *t)
{
	struct role_process *p = container_of(t, struct role_process, log_timer);

	event_log_flush(p->log);
	loop_timer_set(p->ctx.loop, t, LOG_FLUSH_US);
}

int role_log_new(const struct config *config, struct event_log **out, struct errmsg *why)
{
	enum event_format format = (enum event_format)config->log_format;
	int fd = STDERR_FILENO;

	if (format == EVENT_JOURNALD) {
		fd = event_journald_open(NULL, why);
		if (fd < 0)
			return fd;
	}
	if (event_log_new(fd, format, (enum event_level)config->log_level, NULL, NULL, out) != 0)
		return errmsg_set(why, -ENOMEM, "event log");
	return 0;
}

static int open_log(struct role_process *p, struct errmsg *why)
{
	int err = role_log_new(p->config, &p->log, why);

	if (err != 0)
		return err;
	p->ctx.ev = event_root(p->log, "role");
	event_str(p->ctx.ev, "role", p->row->name);
	if (p->row->per_core)
		event_u64(p->ctx.ev, "instance", p->ctx.instance);
	return 0;
}

static int open_world(struct role_process *p, struct errmsg *why)
{
	int dirfd = -1;

	if (role_floor_has_files(&p->floor)) {
		dirfd = open(p->config->state, O_PATH | O_DIRECTORY | O_CLOEXEC);
		/*
		 * Also the working directory: under a uid of our own we may not be able to come here
		 * by its full name, when a directory above is somebody's private one.
		 */
		if (dirfd < 0 || fchdir(dirfd) != 0)
			return errmsg_set(why, -errno, "open the state directory '%s'", p->config->state);
	}
	p->ctx.world = world_real_new(dirfd);
	return p->ctx.world == NULL ? errmsg_set(why, -ENOMEM, "world") : 0;
}

static int seed_hashes(struct errmsg *why)
{
	uint8_t key[16];

	if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
		return errmsg_set(why, -EIO, "read random bytes");
	map_seed(key);
	return 0;
}

static int enter_sandbox(struct role_process *p, struct errmsg *why)
{
	struct role_paths paths;
	struct sandbox box = role_sandbox(p->row, &p->floor, p->config, geteuid() == 0, &paths);
	struct sandbox_report report = { 0 };
	pid_t parent = getppid();
	int err = sandbox_apply(&box, &report, why);

	if (err == 0 && process_die_with_parent(parent) != 0)
		err = errmsg_set(why, -ESRCH, "the supervisor is gone");
	if (err == 0 && report.landlock_abi == 0)
		event_warn(p->ctx.ev, "this kernel has no Landlock: only system call filter, user and limits are in force");
	return err;
}

static int start(struct role_process *p, struct errmsg *why)
{
	const struct role_ops *ops = p->row->ops;
	int err = seed_hashes(why);

	if (err == 0 && tls_process_init() != 0)
		err = errmsg_set(why, -EIO, "OpenSSL does not start");
	if (err == 0)
		err = role_floor(p->row, p->config, &p->floor, why);
	if (err == 0)
		err = open_world(p, why);
	if (err == 0)
		err = take_authority(p, why);
	if (err == 0 && ops->start != NULL)
		err = ops->start(&p->ctx, why);
	if (err == 0)
		err = enter_sandbox(p, why);
	if (err == 0 && ops->run != NULL)
		err = ops->run(&p->ctx, why);
	if (err != 0)
		return err;
	p->running = true;
	for (unsigned i = 0; i < p->early_count; i++)
		ops->channel(&p->ctx, p->early[i].peer, p->early[i].instance, p->early[i].fd);
	p->early_count = 0;
	return 0;
}

static int live(struct role_process *p)
{
	struct errmsg why = { 0 };

	while (!p->go && !p->stopped)
		loop_run_once(p->ctx.loop, -1);
	if (p->stopped || p->config == NULL)
		return p->stopped ? p->status : EXIT_FAILURE;
	if (open_log(p, &why) != 0) {
		fprintf(stderr, "prickle %s: %s\n", p->row->name, why.text);
		return EXIT_FAILURE;
	}
	if (start(p, &why) != 0) {
		event_why(p->ctx.ev, &why);
		event_error(p->ctx.ev, "this role cannot start");
		return EXIT_FAILURE;
	}
	p->log_timer.fn = flush_log;
	loop_timer_set(p->ctx.loop, &p->log_timer, LOG_FLUSH_US);
	if (p->stopped && p->row->ops->stop != NULL)
		p->row->ops->stop(&p->ctx);
	loop_run(p->ctx.loop);
	event_log_flush(p->log);
	return p->status;
}

int role_main(enum role_id id, unsigned instance)
{
	struct role_process *p = calloc(1, sizeof(*p));
	int err;

	/* Ctrl-C in a terminal reaches all of us; the supervisor alone acts on it and tells us. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	/* Libraries make files with modes of their own choice; nobody else has a business in them. */
	umask(077);
	if (p == NULL || id >= ROLE_COUNT || role_table[id].ops == NULL)
		return EXIT_FAILURE;
	if (fcntl(PROCESS_CHANNEL_FD, F_SETFD, FD_CLOEXEC) != 0) {
		fprintf(stderr, "prickle: roles are started by 'prickle serve' and 'prickle demo'\n");
		return 2;
	}
	buf_init(&p->config_bytes, IPC_MESSAGE_BYTES);
	p->row = &role_table[id];
	process_set_name(p->row->name);
	p->ctx.id = id;
	p->ctx.instance = instance;
	err = loop_new(&p->ctx.loop);
	if (err == 0)
		err = ipc_new(p->ctx.loop, PROCESS_CHANNEL_FD, &supervisor_callbacks, p, &p->supervisor);
	if (err != 0) {
		fprintf(stderr, "prickle %s: cannot start: error %d\n", p->row->name, -err);
		return EXIT_FAILURE;
	}
	/* The process ends here: the kernel takes back what it holds. */
	return live(p);
}
