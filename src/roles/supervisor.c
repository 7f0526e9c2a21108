/*
 * The supervisor: starts the roles, keeps them going, owns the listening sockets. It
 * computes nothing from bytes of strangers: what it reads is its configuration file and the
 * few fixed messages of roles/supervise.h, and what roles report passes through unread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/event.h"
#include "base/map.h"
#include "base/must.h"
#include "base/reader.h"
#include "conf/config.h"
#include "policy/store.h"
#include "roles/net.h"
#include "roles/operator.h"
#include "roles/supervise.h"
#include "roles/table.h"
#include "sys/fiber.h"
#include "sys/ipc.h"
#include "sys/listen.h"
#include "sys/process.h"

#define CHILDREN_MAX	  128u
/*
 * A role that dies starts again at once; one that dies again and again waits longer each time. One
 * that had served is back within a second whatever happens (its start included): what it dies of
 * may be one client's doing. One that cannot even start has all the time.
 */
#define BACKOFF_FIRST_US  100000	/* the second death in a row; the first costs no wait */
#define BACKOFF_SERVED_US 250000	/* most, for a role that had been ready */
#define BACKOFF_MAX_US	  5000000	/* most, for one that had not */
#define START_TRIES	  5u		/* of one role, while the node as a whole has not served yet */
#define LIVED_WELL_US	  1000000	/* served this long: the next death counts as the first */
#define STOP_US		  12000000	/* from SIGTERM to SIGKILL; sessions have 10 s of it (front, mx) */
#define STATUS_CALL_US	  2000000
#define WATCH_US	  10000000	/* how often each role is asked whether it lives */
#define HUNG_US		  60000000	/* a role whose loop stands still for so long is ended */
#define CONFIG_BYTES_MAX  (IPC_MESSAGE_BYTES - 64)

struct supervisor;

struct child {
	struct supervisor *s;
	const struct role_row *row;
	uint16_t instance;
	pid_t pid;			/* 0: not running */
	struct ipc *ipc;		/* NULL: not running, or its channel broke and its death will be heard */
	bool ready;
	int64_t started_us;
	int64_t ready_us;		/* since when it serves; 0: this process never did */
	unsigned failures;		/* deaths in a row, each soon after the start */
	uint32_t restarts;
	int last_status;		/* of waitpid */
	struct timer again;
	bool watched;			/* a fiber waits for its sign of life */
};

struct supervisor {
	struct loop *loop;
	struct config *config;
	const char *config_path;
	struct buf config_bytes;	/* config_encode's */
	struct event_log *log;
	struct event *ev;
	struct listener listeners[ROLE_LISTENERS_MAX];
	char *sockets[ROLE_LISTENERS_MAX];	/* the path of a unix socket that we made; NULL else */
	unsigned listener_count;
	int state_fd;			/* locked, see lock_state */
	struct policy_store *policy;
	struct child children[CHILDREN_MAX];
	unsigned child_count;
	struct io_watch signals;
	struct timer deadline, watch;
	bool stopping, stopping_late, all_ready;
	int status;
	pid_t net;			/* keeps translators; 0: none */
	const struct supervise_options *options;
};

/* --- messages ------------------------------------------------------------------------------------ */

void supervise_role_encode(struct buf *out, const struct supervise_role *r)
{
	buf_addc(out, r->role);
	buf_be16(out, r->instance);
	buf_be32(out, r->pid);
	buf_addc(out, r->ready);
	buf_be32(out, r->restarts);
	buf_be64(out, r->up_us);
	buf_be32(out, r->last_status);
}

bool supervise_role_decode(struct reader *in, struct supervise_role *r)
{
	r->role = rd_u8(in);
	r->instance = rd_be16(in);
	r->pid = rd_be32(in);
	r->ready = rd_u8(in);
	r->restarts = rd_be32(in);
	r->up_us = rd_be64(in);
	r->last_status = rd_be32(in);
	return !in->bad && r->role < ROLE_COUNT;
}

static void reply_roles(struct supervisor *s, struct ipc_request *req)
{
	AUTO_BUF struct buf out = BUF_INIT(IPC_MESSAGE_BYTES);

	buf_be16(&out, (uint16_t)s->child_count);
	for (unsigned i = 0; i < s->child_count; i++) {
		const struct child *c = &s->children[i];
		struct supervise_role r = {
			.role = (uint8_t)c->row->id, .instance = c->instance, .pid = (uint32_t)c->pid,
			.ready = c->ready, .restarts = c->restarts,
			.up_us = c->pid == 0 ? 0 : (uint64_t)(loop_now_us(s->loop) - c->started_us),
			.last_status = (uint32_t)c->last_status,
		};
		supervise_role_encode(&out, &r);
	}
	(void)!ipc_reply(req, buf_slice(&out));
}

static void reply_role_status(struct supervisor *s, struct ipc_request *req)
{
	AUTO_BUF struct buf out = BUF_INIT(IPC_MESSAGE_BYTES);
	struct reader r = reader_of(req->payload);
	uint8_t role = rd_u8(&r);
	uint16_t instance = rd_be16(&r);

	for (unsigned i = 0; i < s->child_count && rd_end(&r); i++) {
		struct child *c = &s->children[i];
		if (c->row->id != role || c->instance != instance || !c->ready || c->ipc == NULL)
			continue;
		if (ipc_call(c->ipc, SUPERVISE_STATUS, (struct slice){ 0 }, STATUS_CALL_US, &out) != 0)
			buf_reset(&out);
		break;
	}
	(void)!ipc_reply(req, buf_slice(&out));
}

/* Only the files that the configuration names, and only for auth: its uid may not be able to. */
static void reply_file(struct child *c, struct ipc_request *req)
{
	const struct config *config = c->s->config;
	struct reader r = reader_of(req->payload);
	enum role_file which = (enum role_file)rd_u8(&r);
	const char *path = which == ROLE_FILE_CERTIFICATE ? config->tls_certificate :
			   which == ROLE_FILE_KEY	  ? config->tls_key : "";
	AUTO_FD int fd = -1;
	int code = 0;
	uint8_t answer[4] = { 0 };

	if (c->row->id != ROLE_AUTH || !rd_end(&r)) {
		code = EPERM;
	} else if (*path == '\0') {
		code = ENOENT;
	} else {
		/* O_NONBLOCK: a FIFO in its place must not stop us. */
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		code = fd < 0 ? errno : 0;
	}
	answer[2] = (uint8_t)(code >> 8);
	answer[3] = (uint8_t)code;
	(void)!ipc_reply_fd(req, slice_of(answer, sizeof(answer)), fd);
}

static bool reload(struct supervisor *s, struct buf *text);

static void reply_reload(struct supervisor *s, struct ipc_request *req)
{
	AUTO_BUF struct buf text = BUF_INIT(65536), out = BUF_INIT(IPC_MESSAGE_BYTES);

	buf_addc(&out, reload(s, &text));
	buf_blob(&out, buf_slice(&text));
	(void)!ipc_reply(req, buf_slice(&out));
}

static void check_all_ready(struct supervisor *s);

/* A role asks or tells. Only control may ask. */
static void on_message(void *arg, struct ipc_request *req)
{
	struct child *c = arg;
	struct supervisor *s = c->s;

	if (req->type == SUPERVISE_READY && req->one_way) {
		c->ready = true;
		c->ready_us = loop_now_us(s->loop);
		check_all_ready(s);
		return;
	}
	if (req->type == SUPERVISE_FILE && !req->one_way) {
		reply_file(c, req);
		return;
	}
	if (c->row->id != ROLE_CONTROL) {
		event_warn(s->ev, "a role sent what it may not send");
		if (!req->one_way)
			(void)!ipc_reply(req, (struct slice){ 0 });
		return;
	}
	switch (req->type) {
	case SUPERVISE_ROLES:
		reply_roles(s, req);
		break;
	case SUPERVISE_ROLE_STATUS:
		reply_role_status(s, req);
		break;
	case SUPERVISE_RELOAD:
		reply_reload(s, req);
		break;
	default:
		if (!req->one_way)
			(void)!ipc_reply(req, (struct slice){ 0 });
		break;
	}
}

/* Its death follows, and SIGCHLD tells; a role that closed its socket and lives on is ended. */
static void on_closed(void *arg, struct ipc *ipc)
{
	struct child *c = arg;

	ipc_free(c->ipc);
	c->ipc = NULL;
	c->ready = false;
	if (c->pid > 0)
		kill(c->pid, SIGKILL);
}

static const struct ipc_callbacks child_callbacks = { .serve = on_message, .closed = on_closed };

/* --- starting roles ---------------------------------------------------------------------------------- */

/* Only those that the policy lets it have. */
static int send_listeners(struct supervisor *s, struct child *c, struct errmsg *why)
{
	struct service_floor floor;
	int err = role_floor(c->row, s->config, &floor, why);
	uint32_t listens = err == 0 ? role_floor_listens(&floor) : 0;

	for (unsigned i = 0; i < s->listener_count && err == 0; i++) {
		uint8_t kind = (uint8_t)s->listeners[i].kind;
		if ((listens & LISTEN_BIT(kind)) != 0)
			err = ipc_send(c->ipc, SUPERVISE_LISTENER, slice_of(&kind, 1), s->listeners[i].fd);
	}
	return err;
}

/* The table for reading, and a ring of its own. */
static int send_policy(struct supervisor *s, struct child *c, struct errmsg *why)
{
	static const uint8_t table = SUPERVISE_POLICY_TABLE, ring = SUPERVISE_POLICY_RING;
	AUTO_FD int table_fd = policy_store_table_fd(s->policy, why), ring_fd = -1;
	char name[32];
	int err;

	if (table_fd < 0)
		return table_fd;
	snprintf(name, sizeof(name), c->row->per_core ? "%.20s %u" : "%.20s", c->row->name, (unsigned)c->instance);
	ring_fd = policy_store_ring_fd(s->policy, name, why);
	if (ring_fd < 0)
		return ring_fd;
	err = ipc_send(c->ipc, SUPERVISE_POLICY, slice_of(&table, 1), table_fd);
	if (err == 0)
		err = ipc_send(c->ipc, SUPERVISE_POLICY, slice_of(&ring, 1), ring_fd);
	return err != 0 ? errmsg_set(why, err, "tell %s its work", c->row->name) : 0;
}

static void send_channel(struct child *to, const struct child *peer, int fd)
{
	uint8_t payload[3] = { (uint8_t)peer->row->id, (uint8_t)(peer->instance >> 8), (uint8_t)peer->instance };

	/* If it cannot be sent, the other end sees the closed socket as a dead peer. */
	(void)!ipc_send(to->ipc, SUPERVISE_CHANNEL, slice_of(payload, sizeof(payload)), fd);
}

static int connect_peers(struct supervisor *s, struct child *c)
{
	for (unsigned i = 0; i < s->child_count; i++) {
		struct child *peer = &s->children[i];
		int pair[2];

		if (peer == c || peer->ipc == NULL || (c->row->peers & ROLE_BIT(peer->row->id)) == 0)
			continue;
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
			return -errno;
		send_channel(c, peer, pair[0]);
		send_channel(peer, c, pair[1]);
		close(pair[0]);
		close(pair[1]);
	}
	return 0;
}

static int start_child(struct supervisor *s, struct child *c, struct errmsg *why)
{
	char instance[8];
	const char *argv[] = { "prickle", "role", c->row->name, "--instance", instance, NULL };
	int pair[2], err;

	snprintf(instance, sizeof(instance), "%u", (unsigned)c->instance);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
		return errmsg_set(why, -errno, "a socket for %s", c->row->name);
	err = ipc_new(s->loop, pair[0], &child_callbacks, c, &c->ipc);
	if (err != 0) {
		close(pair[0]);
		close(pair[1]);
		return errmsg_set(why, err, "a channel for %s", c->row->name);
	}
	err = process_spawn(argv, pair[1], &c->pid, why);
	close(pair[1]);
	if (err == 0) {
		c->started_us = loop_now_us(s->loop);
		c->ready_us = 0;
		err = ipc_send(c->ipc, SUPERVISE_CONFIG, buf_slice(&s->config_bytes), -1);
		if (err == 0)
			err = send_policy(s, c, why);
		if (err == 0)
			err = send_listeners(s, c, why);
		if (err == 0)
			err = connect_peers(s, c);
		if (err == 0)
			err = ipc_send(c->ipc, SUPERVISE_GO, (struct slice){ 0 }, -1);
		if (err == 0)
			return 0;
		if (why->code == 0)
			errmsg_set(why, err, "tell %s its work", c->row->name);
		event_why(s->ev, why);
		event_error(s->ev, "a role is ended, since it could not be told its work");
		kill(c->pid, SIGKILL);		/* SIGCHLD then plans the next try */
		return 0;
	}
	ipc_free(c->ipc);
	c->ipc = NULL;
	c->pid = 0;
	return err;
}

static void start_again(struct timer *t)
{
	struct child *c = container_of(t, struct child, again);
	struct supervisor *s = c->s;
	struct errmsg why = { 0 };

	if (s->stopping || c->pid != 0)
		return;
	if (start_child(s, c, &why) == 0)
		return;
	event_why(s->ev, &why);
	event_error(s->ev, "a role cannot be started, trying again");
	loop_timer_set(s->loop, &c->again, BACKOFF_MAX_US);
}

static void plan_restart(struct supervisor *s, struct child *c)
{
	int64_t most_us = c->ready_us != 0 ? BACKOFF_SERVED_US : BACKOFF_MAX_US, wait_us = 0;

	if (c->ready_us != 0 && loop_now_us(s->loop) - c->ready_us >= LIVED_WELL_US)
		c->failures = 0;
	if (c->failures > 0)
		wait_us = c->failures > 6 ? most_us : MIN(most_us, (int64_t)BACKOFF_FIRST_US << (c->failures - 1));
	c->failures++;
	c->restarts++;
	if (wait_us == 0)
		start_again(&c->again);
	else
		loop_timer_set(s->loop, &c->again, wait_us);
}

/*
 * First those that talk with clients, so that commands under way can still be carried out; when
 * they are gone, auth, store, and who keeps the records of what they did.
 */
static bool ends_late(const struct child *c)
{
	return c->row->id == ROLE_AUTH || c->row->id == ROLE_STORE || c->row->id == ROLE_AUDIT;
}

static void send_stop(struct supervisor *s, bool late)
{
	for (unsigned i = 0; i < s->child_count; i++)
		if (s->children[i].ipc != NULL && ends_late(&s->children[i]) == late)
			(void)!ipc_send(s->children[i].ipc, SUPERVISE_STOP, (struct slice){ 0 }, -1);
}

static void stop(struct supervisor *s);

static void check_all_gone(struct supervisor *s)
{
	bool late_ones = false;

	for (unsigned i = 0; i < s->child_count; i++) {
		if (s->children[i].pid != 0 && !ends_late(&s->children[i]))
			return;
		late_ones |= s->children[i].pid != 0;
	}
	if (!late_ones) {
		loop_stop(s->loop);
	} else if (!s->stopping_late) {
		s->stopping_late = true;
		send_stop(s, true);
	}
}

/* A node that never served ends, so that whoever started it hears of it; its log says why. */
static bool gives_up(struct supervisor *s, const struct child *c)
{
	AUTO_EVENT struct event *ev = NULL;

	if (s->all_ready || c->ready_us != 0 || c->failures < START_TRIES)
		return false;
	ev = event_child(s->ev, "supervisor.start");
	event_str(ev, "role", c->row->name);
	event_error(ev, "a role cannot start, so this node ends; the lines before say why");
	s->status = EXIT_FAILURE;
	stop(s);
	return true;
}

static void child_died(struct supervisor *s, struct child *c, int status)
{
	AUTO_EVENT struct event *ev = event_child(s->ev, "supervisor.role_ended");

	c->pid = 0;
	c->ready = false;
	c->last_status = status;
	ipc_free(c->ipc);
	c->ipc = NULL;
	event_str(ev, "role", c->row->name);
	event_u64(ev, "instance", c->instance);
	if (WIFSIGNALED(status))
		event_u64(ev, "signal", (uint64_t)WTERMSIG(status));
	else
		event_u64(ev, "exit_status", (uint64_t)WEXITSTATUS(status));
	if (s->stopping) {
		event_debug(ev, "role ended");
		check_all_gone(s);
		return;
	}
	if (gives_up(s, c))
		return;
	event_error(ev, "role ended unexpectedly, starting it again");
	plan_restart(s, c);
}

static void reap(struct supervisor *s)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid <= 0)
			return;
		if (pid == s->net) {
			s->net = 0;
			if (!s->stopping)
				event_error(s->ev, "the process that starts translators ended; they go on without their slow path until the "
					    "node starts again");
		}
		for (unsigned i = 0; i < s->child_count; i++)
			if (s->children[i].pid == pid) {
				child_died(s, &s->children[i], status);
				break;
			}
	}
}

/* --- ready, reload, stop ------------------------------------------------------------------------------ */

static struct child *find_child(struct supervisor *s, enum role_id id)
{
	for (unsigned i = 0; i < s->child_count; i++)
		if (s->children[i].row->id == id)
			return &s->children[i];
	return NULL;
}

/* A loop that stands still would serve nobody for ever, and its death costs nothing that was acknowledged. */
static void watch_child(void *arg)
{
	struct child *c = arg;
	AUTO_BUF struct buf answer = BUF_INIT(IPC_MESSAGE_BYTES);
	pid_t pid = c->pid;
	int err = ipc_call(c->ipc, SUPERVISE_STATUS, (struct slice){ 0 }, HUNG_US, &answer);

	c->watched = false;
	if (err != -ETIMEDOUT || c->pid != pid || pid <= 0 || c->s->stopping)
		return;
	AUTO_EVENT struct event *ev = event_child(c->s->ev, "supervisor.role_hangs");
	event_str(ev, "role", c->row->name);
	event_u64(ev, "instance", c->instance);
	event_error(ev, "a role has not answered for a minute, ending it");
	kill(pid, SIGKILL);
}

static void watch_all(struct timer *t)
{
	struct supervisor *s = container_of(t, struct supervisor, watch);

	for (unsigned i = 0; i < s->child_count; i++) {
		struct child *c = &s->children[i];
		if (!c->ready || c->ipc == NULL || c->watched)
			continue;
		c->watched = true;
		if (fiber_start(s->loop, watch_child, c) != 0)
			c->watched = false;
	}
	loop_timer_set(s->loop, t, WATCH_US);
}

static void say_ready(void *arg)
{
	struct supervisor *s = arg;
	struct child *control = find_child(s, ROLE_CONTROL);

	if (s->options->ready != NULL) {
		int status = s->options->ready(s->options->arg, control == NULL ? NULL : control->ipc);
		if (status != 0) {
			s->status = status;
			stop(s);
			return;
		}
	}
	process_notify("READY=1");
	event_info(s->ev, "all roles serve");
}

static void check_all_ready(struct supervisor *s)
{
	if (s->all_ready || s->stopping)
		return;
	for (unsigned i = 0; i < s->child_count; i++)
		if (!s->children[i].ready)
			return;
	s->all_ready = true;
	if (fiber_start(s->loop, say_ready, s) != 0) {
		s->status = EXIT_FAILURE;
		stop(s);
	}
}

/*
 * All or nothing: a file with an error changes nothing, and *text tells what is wrong. Else *text
 * has the keys of changed options that wait for the next start; until then a role that is started
 * again, too, has their old values: the store must not open another directory.
 */
static bool reload(struct supervisor *s, struct buf *text)
{
	AUTO_BUF struct buf bytes = BUF_INIT(CONFIG_BYTES_MAX);
	struct config *config = NULL;

	if (s->config_path == NULL) {
		buf_adds(text, "this node runs without a configuration file");
		return false;
	}
	if (config_load(s->config_path, &config, text) != 0)
		return false;
	if (config_keep_fixed(config, s->config, text) != 0) {
		buf_reset(text);
		buf_adds(text, "out of memory");
		config_free(config);
		return false;
	}
	config_encode(config, &bytes);
	if (bytes.err != 0) {
		buf_reset(text);
		buf_adds(text, "the configuration is too large");
		config_free(config);
		return false;
	}
	for (unsigned i = 0; i < s->child_count; i++)
		if (s->children[i].ipc != NULL)
			(void)!ipc_send(s->children[i].ipc, SUPERVISE_CONFIG, buf_slice(&bytes), -1);
	config_free(s->config);
	s->config = config;
	buf_done(&s->config_bytes);
	s->config_bytes = bytes;
	buf_init(&bytes, 0);
	event_log_level(s->log, (enum event_level)config->log_level);
	if (s->net > 0)
		kill(s->net, SIGHUP);
	AUTO_EVENT struct event *ev = event_child(s->ev, "supervisor.reloaded");
	if (text->len > 0)
		event_slice(ev, "at_next_start", buf_slice(text));
	event_info(ev, "configuration reloaded");
	return true;
}

static void on_sighup(struct supervisor *s)
{
	AUTO_BUF struct buf text = BUF_INIT(65536);
	AUTO_EVENT struct event *ev = event_child(s->ev, "supervisor.reload");
	char reloading[64];

	/* The time is what Type=notify-reload pairs the two by. */
	snprintf(reloading, sizeof(reloading), "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)loop_now_us(s->loop));
	process_notify(reloading);
	if (!reload(s, &text)) {
		event_slice(ev, "problems", buf_slice(&text));
		event_error(ev, "the configuration was not reloaded, the old one stays in force; see 'prickle config check'");
	}
	if (s->all_ready)
		process_notify("READY=1");
}

static void kill_all(struct timer *t)
{
	struct supervisor *s = container_of(t, struct supervisor, deadline);

	event_warn(s->ev, "some roles did not end in time, killing them");
	for (unsigned i = 0; i < s->child_count; i++)
		if (s->children[i].pid > 0)
			kill(s->children[i].pid, SIGKILL);
}

static void stop(struct supervisor *s)
{
	if (s->stopping)
		return;
	s->stopping = true;
	process_notify("STOPPING=1");
	if (s->net > 0)
		kill(s->net, SIGTERM);
	for (unsigned i = 0; i < s->child_count; i++)
		loop_timer_cancel(s->loop, &s->children[i].again);
	send_stop(s, false);
	loop_timer_cancel(s->loop, &s->watch);
	s->deadline.fn = kill_all;
	loop_timer_set(s->loop, &s->deadline, STOP_US);
	check_all_gone(s);
}

static void on_signal(struct io_watch *w, uint32_t events)
{
	struct supervisor *s = container_of(w, struct supervisor, signals);
	struct signalfd_siginfo info;

	while (read(w->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(s);
		else if (info.ssi_signo == SIGHUP)
			on_sighup(s);
		else
			stop(s);
	}
}

/* --- set-up ----------------------------------------------------------------------------------------- */

/*
 * Make a directory, or take the one that is there, and give it to its role (owner -1: as it is). Not
 * through a link below the state directory: the store could have put it there.
 */
static int make_directory(const char *path, bool follow, mode_t mode, uid_t owner, gid_t group, int *out,
			  struct errmsg *why)
{
	AUTO_FD int fd = -1;

	if (mkdir(path, mode) != 0 && errno != EEXIST)
		return errmsg_set(why, -errno, "make the directory '%s'", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
	if (fd < 0)
		return errmsg_set(why, -errno, "open the directory '%s'", path);
	if (owner != (uid_t)-1 && (fchown(fd, owner, group) != 0 || fchmod(fd, mode) != 0))
		return errmsg_set(why, -errno, "give the directory '%s' to its role", path);
	if (out != NULL)
		*out = TAKE_FD(fd);
	return 0;
}

/* Two nodes on one directory would each take the other's mail for damage. The lock ends with us. */
static int lock_state(int fd, const char *path, struct errmsg *why)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 || (errno != EWOULDBLOCK && errno != EINTR))
		return 0;		/* a file system without locks: the store has its own as well */
	return errmsg_say(why, -EBUSY,
			  "another node runs on the state directory '%s'; stop it, or give this one a directory of "
			  "its own (option 'state')", path);
}

/* "state: /home" would hand /home to the store. Empty, or with something in it that we make: it is ours. */
static int check_state_is_ours(const char *path, struct errmsg *why)
{
	static const char *const ours[] = { "log", "index", "tls", "password", "policy" };
	DIR *dir = opendir(path);
	bool others = false, found = false;
	struct dirent *e;

	if (dir == NULL)
		return errno == ENOENT ? 0 : errmsg_set(why, -errno, "read the state directory '%s'", path);
	while ((e = readdir(dir)) != NULL) {
		for (size_t i = 0; i < ARRAY_LEN(ours); i++)
			found |= strcmp(e->d_name, ours[i]) == 0;
		others |= e->d_name[0] != '.' && strcmp(e->d_name, "lost+found") != 0;
	}
	closedir(dir);
	if (found || !others)
		return 0;
	return errmsg_say(why, -ENOTEMPTY,
			  "the state directory '%s' holds files that are not ours; name an empty or a new one (option "
			  "'state')", path);
}

/*
 * The state directory is root's; the store may make files in it by its group, and by the sticky bit
 * it can move away or replace only its own: not tls/, which is auth's. Auth may pass through.
 * Without root all belongs to the caller.
 */
static int make_state(struct supervisor *s, struct errmsg *why)
{
	bool root = geteuid() == 0;
	uid_t base = (uid_t)s->config->roles_uid_base, nobody = (uid_t)-1;
	uid_t store = base + role_table[ROLE_STORE].uid_offset, auth = base + role_table[ROLE_AUTH].uid_offset;
	const char *state = s->config->state;
	char tls[1100];
	int err = check_state_is_ours(state, why);

	if (err == 0)
		err = make_directory(state, true, root ? 01771 : 0700, root ? 0 : nobody, (gid_t)store, &s->state_fd,
				     why);
	if (err == 0)
		err = lock_state(s->state_fd, state, why);
	if (err == 0 && !root && faccessat(s->state_fd, ".", R_OK | W_OK | X_OK, 0) != 0)
		err = errmsg_set(why, -errno, "user %u may not write to the state directory '%s'", (unsigned)geteuid(),
				 state);
	if (err != 0)
		return err;
	if (snprintf(tls, sizeof(tls), "%s/tls", state) >= (int)sizeof(tls))
		return errmsg_set(why, -ENAMETOOLONG, "state directory");
	return make_directory(tls, false, 0700, root ? auth : nobody, (gid_t)auth, NULL, why);
}

static int open_policy(struct supervisor *s, struct errmsg *why)
{
	char directory[POLICY_DIRECTORY_BYTES];
	uid_t audit = (uid_t)s->config->roles_uid_base + role_table[ROLE_AUDIT].uid_offset;

	if (policy_store_configured(s->config, directory) != 0)
		return errmsg_set(why, -ENAMETOOLONG, "directory of the policy");
	int err = policy_store_open(directory, POLICY_STORE_WRITE, &s->policy, why);
	return err != 0 ? err : policy_store_audit_directories(s->policy, geteuid() == 0 ? audit : (uid_t)-1, why);
}

/* The directory of a unix socket; systemd makes /run/prickle itself. */
static int make_parent(const char *path, struct errmsg *why)
{
	const char *slash = strrchr(path, '/');
	char dir[200];

	if (slash == NULL || slash == path || (size_t)(slash - path) >= sizeof(dir))
		return 0;
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	return access(dir, X_OK) == 0 ? 0 : make_directory(dir, true, 0755, (uid_t)-1, (gid_t)-1, NULL, why);
}

static int add_listener(struct supervisor *s, enum listener_kind kind, const char *address, int fds_end,
			struct errmsg *why)
{
	int fd = listen_inherited(address, fds_end), err;

	if (s->listener_count == ROLE_LISTENERS_MAX) {
		if (fd >= 0)
			close(fd);
		return errmsg_say(why, -EINVAL, "more than %u addresses to listen on", ROLE_LISTENERS_MAX);
	}
	if (fd < 0 && *address == '/') {
		err = make_parent(address, why);
		if (err != 0)
			return err;
	}
	if (fd < 0) {
		/*
		 * Whoever may open the LMTP socket may deliver. Control takes everybody and asks the policy who they are and what they
		 * may; the store looks at the peer's uid as well.
		 */
		err = kind == LISTEN_STORE ?
			      listen_open_packets(address, 0600, (uid_t)-1, &fd, why) :
			      listen_open(address, kind == LISTEN_LMTP ? 0660 : kind == LISTEN_CONTROL ? 0666 : 0600, (uid_t)-1, &fd,
					  why);
		if (err != 0)
			return err;
		/* One that the service manager made stays for the next start. */
		s->sockets[s->listener_count] = *address == '/' ? strdup(address) : NULL;
	}
	s->listeners[s->listener_count++] = (struct listener){ .kind = kind, .fd = fd };
	return 0;
}

static int open_listeners(struct supervisor *s, struct errmsg *why)
{
	const struct config *c = s->config;
	const struct { enum listener_kind kind; const struct config_listen *list; } all[] = {
		{ LISTEN_SMTP, &c->mail_listen_smtp },		  { LISTEN_LMTP, &c->mail_listen_lmtp },
		{ LISTEN_SUBMISSION, &c->mail_listen_submission }, { LISTEN_SUBMISSIONS, &c->mail_listen_submissions },
		{ LISTEN_IMAP, &c->mail_listen_imap },		  { LISTEN_IMAPS, &c->mail_listen_imaps },
		{ LISTEN_POP3, &c->mail_listen_pop3 },		  { LISTEN_POP3S, &c->mail_listen_pop3s },
		{ LISTEN_METRICS, &c->control_metrics },
	};
	int fds_end = process_listen_fds();
	char store[OPERATOR_PATH_BYTES];
	int err = add_listener(s, LISTEN_CONTROL, c->control_socket, fds_end, why);

	operator_socket_path(c->control_socket, store);
	if (err == 0)
		err = add_listener(s, LISTEN_STORE, store, fds_end, why);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		for (size_t k = 0; k < all[i].list->count && err == 0; k++)
			err = add_listener(s, all[i].kind, all[i].list->items[k].text, fds_end, why);
	return err;
}

static void add_children(struct supervisor *s)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t front = s->config->front_processes;

	if (front == 0)
		front = cores > 0 ? (uint64_t)cores : 1;
	if (front > ROLE_INSTANCES_MAX)
		front = ROLE_INSTANCES_MAX;
	for (size_t i = 0; i < ROLE_COUNT; i++) {
		const struct role_row *row = &role_table[i];
		uint64_t count = row->ops == NULL ? 0 : row->per_core ? front : 1;

		for (uint16_t k = 0; k < count && s->child_count < CHILDREN_MAX; k++) {
			struct child *c = &s->children[s->child_count++];
			*c = (struct child){ .s = s, .row = row, .instance = k };
			c->again.fn = start_again;
		}
	}
}

static int open_signals(struct supervisor *s, struct errmsg *why)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return errmsg_set(why, -errno, "block signals");
	s->signals = (struct io_watch){ .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
					.events = EPOLLIN, .fn = on_signal };
	if (s->signals.fd < 0)
		return errmsg_set(why, -errno, "signalfd");
	return loop_add(s->loop, &s->signals);
}

/* Roles raise their limit as far as they may; who configures more should hear of it. */
static void check_open_files(struct supervisor *s)
{
	AUTO_EVENT struct event *ev = event_child(s->ev, "supervisor.open_files");
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_max >= s->config->front_sessions_max)
		return;
	event_u64(ev, "limit", files.rlim_max);
	event_u64(ev, "front_sessions_max", s->config->front_sessions_max);
	event_warn(ev, "this process may have fewer files open than front.sessions_max; raise LimitNOFILE= of the "
		       "service, or 'ulimit -n'");
}

static int set_up(struct supervisor *s, struct errmsg *why)
{
	struct sandbox_report report;
	struct role_paths paths;
	struct service_floor floor;
	struct sandbox box;
	int err = loop_new(&s->loop);

	if (err != 0)
		return errmsg_set(why, err, "event loop");
	config_encode(s->config, &s->config_bytes);
	if (s->config_bytes.err != 0)
		return errmsg_set(why, s->config_bytes.err, "the configuration");
	err = role_log_new(s->config, &s->log, why);
	if (err != 0)
		return err;
	s->ev = event_root(s->log, "supervisor");
	check_open_files(s);
	/* While rights are there, and before it could inherit a lock or a socket. */
	err = net_start(s->config, s->ev, &s->net, why);
	if (err == 0)
		err = make_state(s, why);
	if (err == 0)
		err = open_policy(s, why);
	if (err == 0)
		err = open_listeners(s, why);
	if (err == 0)
		err = open_signals(s, why);
	if (err != 0)
		return err;
	add_children(s);
	err = role_floor(&role_table[ROLE_SUPERVISOR], s->config, &floor, why);
	if (err != 0)
		return err;
	box = role_sandbox(&role_table[ROLE_SUPERVISOR], &floor, s->config, false, &paths);
	return sandbox_apply(&box, &report, why);
}

int supervise(struct supervise_options *options)
{
	struct supervisor *s = calloc(1, sizeof(*s));
	struct errmsg why = { 0 };

	if (s == NULL)
		return EXIT_FAILURE;
	s->state_fd = -1;
	s->options = options;
	s->config = options->config;
	s->config_path = options->config_path;
	buf_init(&s->config_bytes, CONFIG_BYTES_MAX);
	if (set_up(s, &why) != 0) {
		fprintf(stderr, "prickle: %s\n", why.text);
		return EXIT_FAILURE;
	}
	for (unsigned i = 0; i < s->child_count; i++)
		start_again(&s->children[i].again);
	s->watch.fn = watch_all;
	loop_timer_set(s->loop, &s->watch, WATCH_US);
	loop_run(s->loop);
	event_log_flush(s->log);
	for (unsigned i = 0; i < s->listener_count; i++)
		if (s->sockets[i] != NULL)
			unlink(s->sockets[i]);
	/* The process ends here: the kernel takes back what it holds. */
	return s->status;
}
