/*
 * The keeper: run_private.h tells what it is. It holds the rights to change an instance and reads nothing of strangers but the worker's
 * messages, which have a fixed size.
 */
#include "nat64/run_private.h"

#include <errno.h>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/pref64.h"
#include "spine/pins.h"
#include "sys/process.h"

#ifndef CAP_BPF
#define CAP_BPF 39
#endif

#define SETTINGS_BYTES	(64u << 20)
#define LOOK_MS		30000		/* devices are looked at again: GRO is switched without a message */
#define WAIT_FIRST_MS	100
#define WAIT_MOST_MS	10000
#define LIVED_WELL_MS	5000
#define STOP_MS		3000

/* Maps and SYSCALL programs; rtnetlink and the TAP; raw sockets and marks. */
const uint64_t nat64_capabilities = 1ull << CAP_BPF | 1ull << CAP_NET_ADMIN | 1ull << CAP_NET_RAW;

struct keeper {
	struct nat64 *n;
	const struct nat64_settings *settings;
	struct nat64_run_options options;
	const char *path;
	pid_t worker;			/* 0: none */
	int channel;
	int signals;
	sigset_t before;
	int64_t started_ms, again_ms;	/* again_ms: when to start the worker again; 0: not planned */
	int64_t look_ms;
	unsigned deaths;
	bool ready, stop;
	int result;
};

static int64_t now_ms(void)
{
	struct timespec t;

	return clock_gettime(CLOCK_MONOTONIC, &t) == 0 ? (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 : 0;
}

uint32_t run_tick(void)
{
	struct timespec t;

	return clock_gettime(CLOCK_MONOTONIC, &t) != 0 ? 0 :
	       (uint32_t)(((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec) >> XLAT_TICK_SHIFT);
}

void run_slow_ends(struct nat64 *n)
{
	uint32_t now = run_tick();

	XLAT_WRITE(n->control->slow_beat, now - 2 * XLAT_SLOW_BEAT_TICKS);
	XLAT_WRITE(n->control->slow_until, now);
}

static void say(const struct keeper *k, const char *what, const char *text)
{
	(void)fprintf(stderr, "prickle nat64 %s: %s%s%s\n", k->n->name, what, *text != '\0' ? ": " : "", text);
}

/* --- changes ------------------------------------------------------------------------------------------------ */

static void poke(const struct keeper *k)
{
	if (k->channel >= 0)
		(void)!send(k->channel, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int apply(struct keeper *k, const struct nat64_settings *s, const struct xlat_prefix *prefix, struct errmsg *why)
{
	AUTO_BUF struct buf notice = BUF_INIT(65536);
	struct nat64_where where = { .name = k->n->name };
	struct nat64 *n;
	int err = instance_apply(&where, s, prefix, &n, &notice, why);

	if (err != 0)
		return err;
	nat64_close(n);
	if (notice.len > 0)
		(void)fprintf(stderr, "%s", buf_cstr(&notice));
	poke(k);
	return 0;
}

/* SIGHUP: all errors are printed, and what runs goes on. */
static void reload(struct keeper *k)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(SETTINGS_BYTES);
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	struct nat64_settings *s;
	struct errmsg why;

	if (k->path == NULL)
		return;
	if (nat64_settings_load(&arena, k->path, &s, &errors) != 0) {
		(void)fprintf(stderr, "%s", buf_cstr(&errors));
		say(k, "the settings stay as they are", "");
	} else if (strcmp(s->name, k->n->name) != 0) {
		say(k, "the settings stay as they are", "the file names another translator now; end this one and start that");
	} else if (apply(k, s, NULL, &why) != 0) {
		say(k, "the settings stay as they are", why.text);
	} else {
		say(k, "new settings are in force", "");
	}
}

/* What the host or a router said changed: the settings in force (another command may have changed them), once more. */
static void again(struct keeper *k, const struct xlat_prefix *prefix)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(SETTINGS_BYTES);
	const struct nat64_settings *s = bank_settings(k->n, &arena);
	struct errmsg why;

	if (s != NULL && apply(k, s, prefix, &why) != 0)
		say(k, "a change of the host could not be followed", why.text);
}

/* An interface of ours came back under another number, or came at all. */
static bool interfaces_moved(const struct nat64 *n, const struct nat64_settings *s)
{
	for (size_t i = 0; i < s->interface_count; i++) {
		uint32_t ifindex = if_nametoindex(s->interfaces[i].name);
		bool known = ifindex == 0;

		for (uint32_t a = 0; a < n->record.attached_count && a < ARRAY_LEN(n->record.attached); a++)
			known |= n->record.attached[a].ifindex == ifindex;
		if (!known)
			return true;
	}
	return false;
}

static void look_at_links(struct keeper *k)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(SETTINGS_BYTES);
	struct nat64_where where = { .name = k->n->name };
	const struct nat64_settings *s;
	struct errmsg why;
	struct nat64 *n;

	k->look_ms = now_ms() + LOOK_MS;
	if (nat64_open(&where, NAT64_LOOK, &n, &why) != 0)
		return;
	s = bank_settings(n, &arena);
	bool moved = s != NULL && interfaces_moved(n, s);
	if (!moved && device_fill_map(n, &why) != 0)
		say(k, "the devices of this namespace cannot be looked at", why.text);
	nat64_close(n);
	if (moved)
		again(k, NULL);
}

/* --- the worker ----------------------------------------------------------------------------------------------- */

static void start(struct keeper *k)
{
	pid_t parent = getpid();
	int pair[2];

	k->again_ms = 0;
	k->started_ms = now_ms();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
		k->again_ms = now_ms() + WAIT_MOST_MS;
		return;
	}
	k->worker = fork();
	if (k->worker == 0) {
		close(pair[0]);
		close(k->signals);
		/* A terminal's Ctrl-C and SIGHUP are for the keeper. */
		signal(SIGINT, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		signal(SIGPIPE, SIG_IGN);
		(void)sigprocmask(SIG_SETMASK, &k->before, NULL);
		if (process_die_with_parent(parent) != 0)
			_exit(EXIT_FAILURE);
		_exit(worker_main(k->n, k->settings, pair[1], k->options.drop_privileges, k->ready));
	}
	close(pair[1]);
	if (k->worker < 0) {
		close(pair[0]);
		k->worker = 0;
		k->again_ms = now_ms() + WAIT_MOST_MS;
		return;
	}
	k->channel = pair[0];
}

static void on_ready(struct keeper *k)
{
	if (!k->ready && k->options.ready_fd >= 0)
		(void)!write(k->options.ready_fd, k->options.ready_text, strlen(k->options.ready_text));
	k->ready = true;
}

static void on_tell(struct keeper *k)
{
	struct xlat_prefix checked;
	struct tell t;
	ssize_t n = recv(k->channel, &t, sizeof(t), MSG_DONTWAIT);

	if (n != (ssize_t)sizeof(t)) {
		if (n == 0) {		/* its death follows */
			close(k->channel);
			k->channel = -1;
		}
		return;
	}
	switch (t.kind) {
	case TELL_READY:
		on_ready(k);
		break;
	case TELL_ADDRESSES:
		again(k, NULL);
		break;
	case TELL_LINKS:
		look_at_links(k);
		break;
	case TELL_PREFIX:
		if (t.prefix.bits == 0)
			again(k, &t.prefix);
		else if (pref64_prefix_make((const uint8_t *)t.prefix.addr, t.prefix.bits, &checked))
			again(k, &checked);
		break;
	case TELL_GONE:
		say(k, "the translator was removed", "");
		k->stop = true;
		break;
	default:
		break;
	}
}

static void reap(struct keeper *k)
{
	int status;

	while (waitpid(-1, &status, WNOHANG) > 0) {
		int64_t wait;

		if (k->channel >= 0)
			close(k->channel);
		k->channel = -1;
		k->worker = 0;
		run_slow_ends(k->n);
		if (k->stop)
			return;
		if (!k->ready) {
			k->result = -EIO;	/* it said why */
			k->stop = true;
			return;
		}
		if (WIFEXITED(status) && WEXITSTATUS(status) == WORKER_AGAIN) {
			say(k, "the slow path's process begins anew, for settings that it cannot change while it runs", "");
			k->again_ms = now_ms() + 1;
			continue;
		}
		k->deaths = now_ms() - k->started_ms > LIVED_WELL_MS ? 0 : k->deaths + 1;
		wait = k->deaths == 0 ? 0 : k->deaths > 7 ? WAIT_MOST_MS : (int64_t)WAIT_FIRST_MS << (k->deaths - 1);
		say(k, "the slow path's process ended and is started again; sessions and traffic go on", "");
		k->again_ms = now_ms() + MIN(wait, (int64_t)WAIT_MOST_MS) + 1;
	}
}

static void on_signal(struct keeper *k)
{
	struct signalfd_siginfo info;

	while (read(k->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(k);
		else if (info.ssi_signo == SIGHUP)
			reload(k);
		else
			k->stop = true;
	}
}

static void end_worker(struct keeper *k)
{
	int64_t deadline = now_ms() + STOP_MS;

	if (k->worker <= 0)
		return;
	/* It leaves its loop when the channel closes. */
	if (k->channel >= 0)
		close(k->channel);
	k->channel = -1;
	while (k->worker > 0 && now_ms() < deadline) {
		struct pollfd p = { .fd = k->signals, .events = POLLIN };

		if (waitpid(k->worker, NULL, WNOHANG) == k->worker) {
			k->worker = 0;
			return;
		}
		(void)poll(&p, 1, 50);
		struct signalfd_siginfo info;
		while (read(k->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
			;
	}
	if (k->worker > 0 && kill(k->worker, SIGKILL) == 0)
		(void)waitpid(k->worker, NULL, 0);
}

static void turn(struct keeper *k)
{
	struct pollfd p[2] = { { .fd = k->signals, .events = POLLIN }, { .fd = k->channel, .events = POLLIN } };
	int64_t now = now_ms(), until = k->look_ms;

	if (k->again_ms != 0 && k->again_ms < until)
		until = k->again_ms;
	(void)poll(p, 2, until <= now ? 0 : (int)MIN(until - now, (int64_t)LOOK_MS));
	if ((p[0].revents & POLLIN) != 0)
		on_signal(k);
	if (k->channel >= 0 && p[1].fd == k->channel && p[1].revents != 0)
		on_tell(k);
	now = now_ms();
	if (!k->stop && k->again_ms != 0 && now >= k->again_ms)
		start(k);
	if (!k->stop && now >= k->look_ms)
		look_at_links(k);
}

int nat64_run(struct nat64 *n, const struct nat64_settings *settings, const struct nat64_run_options *options,
	      struct errmsg *why)
{
	struct keeper k = { .n = n, .settings = settings, .options = *options, .path = settings->path, .channel = -1 };
	sigset_t set;
	int free_tap = device_free(n->name, why);

	if (free_tap != 0)
		return free_tap;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, &k.before) != 0)
		return errmsg_set(why, -errno, "block signals");
	k.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (k.signals < 0)
		return errmsg_set(why, -errno, "signalfd");
	k.look_ms = now_ms() + LOOK_MS;
	start(&k);
	while (!k.stop)
		turn(&k);
	end_worker(&k);
	close(k.signals);
	(void)sigprocmask(SIG_SETMASK, &k.before, NULL);
	return k.result == 0 ? 0 : errmsg_say(why, k.result, "the slow path of translator '%s' could not start", n->name);
}
