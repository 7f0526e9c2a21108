#include "roles/net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/event.h"
#include "conf/config.h"
#include "sys/process.h"

#define AGAIN_FIRST_MS 250
#define AGAIN_MOST_MS  30000
#define LIVED_WELL_MS  10000
#define STOP_MS	       5000

struct instance {
	const char *path;
	pid_t pid;			/* 0: none */
	int64_t started_ms, again_ms;	/* again_ms: when to start it; 0: not planned */
	unsigned failures;
};

struct keeper {
	struct instance *instances;
	size_t count;
	int signals, null;
	struct event *ev;
	bool stop;
	int64_t deadline_ms;
};

static int64_t now_ms(void)
{
	struct timespec t;

	return clock_gettime(CLOCK_MONOTONIC, &t) == 0 ? (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 : 0;
}

static void start(struct keeper *k, struct instance *i)
{
	const char *argv[] = { "prickle", "nat64", "run", "--config", i->path, NULL };
	struct errmsg why;

	i->started_ms = now_ms();
	i->again_ms = 0;
	if (process_spawn(argv, k->null, &i->pid, &why) == 0)
		return;
	i->pid = 0;
	i->again_ms = now_ms() + AGAIN_MOST_MS;
	event_why(k->ev, &why);
	event_error(k->ev, "a translator cannot be started, trying again");
}

static void ended(struct keeper *k, struct instance *i, int status)
{
	AUTO_EVENT struct event *ev = event_child(k->ev, "nat64.ended");
	int64_t wait;

	i->pid = 0;
	if (k->stop)
		return;
	i->failures = now_ms() - i->started_ms > LIVED_WELL_MS ? 0 : i->failures + 1;
	wait = i->failures > 7 ? AGAIN_MOST_MS : (int64_t)AGAIN_FIRST_MS << i->failures;
	i->again_ms = now_ms() + wait;
	event_str(ev, "file", i->path);
	event_i64(ev, "status", status);
	event_i64(ev, "again_in_ms", wait);
	event_error(ev, "a translator's process ended, starting it again; its traffic goes on meanwhile");
}

static void reap(struct keeper *k)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < k->count; i++)
			if (k->instances[i].pid == pid)
				ended(k, &k->instances[i], status);
}

static void tell_all(const struct keeper *k, int signal_number)
{
	for (size_t i = 0; i < k->count; i++)
		if (k->instances[i].pid > 0)
			(void)kill(k->instances[i].pid, signal_number);
}

static void on_signal(struct keeper *k)
{
	struct signalfd_siginfo info;

	while (read(k->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD) {
			reap(k);
		} else if (info.ssi_signo == SIGHUP) {
			tell_all(k, SIGHUP);
		} else if (!k->stop) {
			k->stop = true;
			k->deadline_ms = now_ms() + STOP_MS;
			tell_all(k, SIGTERM);
		}
	}
}

static bool any_left(const struct keeper *k)
{
	for (size_t i = 0; i < k->count; i++)
		if (k->instances[i].pid > 0)
			return true;
	return false;
}

static void keep(struct keeper *k)
{
	for (size_t i = 0; i < k->count; i++)
		start(k, &k->instances[i]);
	while (!k->stop || (any_left(k) && now_ms() < k->deadline_ms)) {
		struct pollfd p = { .fd = k->signals, .events = POLLIN };
		int64_t now = now_ms(), until = k->stop ? k->deadline_ms : now + AGAIN_MOST_MS;

		for (size_t i = 0; i < k->count; i++)
			if (k->instances[i].again_ms != 0 && k->instances[i].again_ms < until)
				until = k->instances[i].again_ms;
		(void)poll(&p, 1, until <= now ? 0 : (int)(until - now));
		on_signal(k);
		now = now_ms();
		for (size_t i = 0; i < k->count && !k->stop; i++)
			if (k->instances[i].again_ms != 0 && now >= k->instances[i].again_ms)
				start(k, &k->instances[i]);
	}
}

NORETURN static void keeper_main(const struct config *config, struct event *ev, pid_t parent)
{
	struct keeper k = { .count = config->nat64_instances.count, .ev = ev };
	sigset_t set;

	if (process_die_with_parent(parent) != 0)
		_exit(EXIT_FAILURE);
	process_set_name("net-keeper");
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	k.instances = calloc(k.count, sizeof(*k.instances));
	k.null = open("/dev/null", O_RDWR | O_CLOEXEC);
	k.signals = sigprocmask(SIG_BLOCK, &set, NULL) == 0 ? signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK) : -1;
	if (k.instances == NULL || k.null < 0 || k.signals < 0) {
		event_error(ev, "translators cannot be started: no memory or descriptors");
		_exit(EXIT_FAILURE);
	}
	for (size_t i = 0; i < k.count; i++)
		k.instances[i].path = config->nat64_instances.items[i];
	keep(&k);
	_exit(EXIT_SUCCESS);
}

int net_start(const struct config *config, struct event *ev, pid_t *pid, struct errmsg *why)
{
	pid_t parent = getpid(), child;

	*pid = 0;
	if (config->nat64_instances.count == 0)
		return 0;
	if (geteuid() != 0)
		return errmsg_say(why, -EPERM, "nat64.instances: only root may run translators; start the node as root, or leave the "
				  "option out");
	child = fork();
	if (child < 0)
		return errmsg_set(why, -errno, "start the translators");
	if (child == 0)
		keeper_main(config, ev, parent);
	*pid = child;
	return 0;
}
