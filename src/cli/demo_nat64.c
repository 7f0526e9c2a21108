#include "cli/demo_nat64.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/cleanup.h"
#include "cli/demo_lab.h"

#define SIX	    "prickle-six"
#define TRANSLATOR  "prickle-nat64"
#define FOUR	    "prickle-four"
#define PORT	    8080
#define READY_MS    15000
#define SAID_BYTES  400u

static const char *const namespaces[] = { SIX, TRANSLATOR, FOUR };

static const char *const wiring[] = {
	"link add eth0 netns " SIX " type veth peer name six netns " TRANSLATOR,
	"link add eth0 netns " FOUR " type veth peer name four netns " TRANSLATOR,
	"-n " SIX " addr add fd91:6::2/64 dev eth0 nodad", "-n " FOUR " addr add 10.91.4.2/24 dev eth0",
	"-n " TRANSLATOR " addr add fd91:6::1/64 dev six nodad", "-n " TRANSLATOR " addr add 10.91.4.1/24 dev four",
	"-n " SIX " link set lo up", "-n " FOUR " link set lo up", "-n " TRANSLATOR " link set lo up",
	"-n " SIX " link set eth0 up", "-n " FOUR " link set eth0 up",
	"-n " TRANSLATOR " link set six up", "-n " TRANSLATOR " link set four up",
	"-n " SIX " route add default via fd91:6::1", "-n " FOUR " route add default via 10.91.4.1",
};

static const char settings[] =
	"name: demo\n"
	"mode: nat64\n"
	"interfaces: [six, four]\n"
	"pref64: \"fd91:64::/96\"\n"
	"pool4: 10.91.64.1\n"
	"static: \"tcp 10.91.64.1:8080 [fd91:6::2]:8080\"\n";

/* What people can do, and what we do first: `expect` is in what it says when all is well. */
static const struct { const char *words, *expect; } tries[] = {
	{ "netns exec " SIX " ping -c 1 -W 2 fd91:64::10.91.4.2", "1 received" },
	{ "netns exec " SIX " curl -sS -m 3 http://[fd91:64::10.91.4.2]:8080/", "Hello" },
	{ "netns exec " FOUR " curl -sS -m 3 http://10.91.64.1:8080/", "Hello" },
};

static bool enter(const char *name)
{
	char path[64];
	AUTO_FD int fd = -1;

	(void)!snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && setns(fd, CLONE_NEWNET) == 0;
}

/* A child of the keeper that ends with it. 0 in the child. */
static pid_t fork_child(void)
{
	pid_t keeper = getpid(), pid = fork();

	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != keeper)
			_exit(1);
		(void)sigaction(SIGTERM, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	}
	return pid;
}

/* ---- web server ---- */

static void answer(int peer, const struct sockaddr_in6 *from)
{
	char request[2048], text[INET6_ADDRSTRLEN] = "?", body[160], head[120];
	struct pollfd wait = { .fd = peer, .events = POLLIN };
	const char *name = text;
	int n;

	if (poll(&wait, 1, 2000) <= 0 || read(peer, request, sizeof(request)) <= 0)
		return;
	(void)inet_ntop(AF_INET6, &from->sin6_addr, text, sizeof(text));
	if (strncmp(text, "::ffff:", 7) == 0)
		name += 7;
	n = snprintf(body, sizeof(body), "Hello, %s. You speak %s, as far as I can see.\n", name, name != text ? "IPv4" : "IPv6");
	(void)!snprintf(head, sizeof(head), "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", n);
	(void)!write(peer, head, strlen(head));
	(void)!write(peer, body, (size_t)n);
}

static _Noreturn void serve_web(const char *name)
{
	struct sockaddr_in6 here = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) }, from;
	int s;

	/* Who reads the keeper's report waits for its end, which an inherited descriptor would put off. */
	(void)close_range(STDERR_FILENO + 1, UINT_MAX, 0);
	if (!enter(name))
		_exit(1);
	s = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0 || bind(s, (struct sockaddr *)&here, sizeof(here)) != 0 || listen(s, 16) != 0)
		_exit(1);
	for (;;) {
		socklen_t size = sizeof(from);
		int peer = accept4(s, (struct sockaddr *)&from, &size, SOCK_CLOEXEC);

		if (peer < 0)
			continue;
		answer(peer, &from);
		close(peer);
	}
}

static pid_t start_web(const char *name)
{
	pid_t pid = fork_child();

	if (pid == 0)
		serve_web(name);
	return pid > 0 ? pid : 0;
}

/* ---- translator ---- */

static int write_settings(struct demo_nat64 *demo)
{
	char file[] = "/tmp/prickle-nat64-XXXXXX";
	AUTO_FD int fd = mkostemp(file, O_CLOEXEC);

	if (fd < 0)
		return -errno;
	memcpy(demo->file, file, sizeof(file));
	return write(fd, settings, sizeof(settings) - 1) == sizeof(settings) - 1 ? 0 : -EIO;
}

/* Until it says "ready", ends or takes too long. */
static bool wait_ready(int out, char *said, size_t said_bytes)
{
	struct timespec begin, now;
	size_t have = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &begin);
	for (;;) {
		struct pollfd wait = { .fd = out, .events = POLLIN };
		ssize_t n;

		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		if ((now.tv_sec - begin.tv_sec) * 1000 > READY_MS || have == said_bytes - 1 || poll(&wait, 1, 1000) < 0)
			return false;
		if (wait.revents == 0)
			continue;
		n = read(out, said + have, said_bytes - 1 - have);
		if (n <= 0)
			return false;
		have += (size_t)n;
		said[have] = '\0';
		if (strstr(said, "ready") != NULL)
			return true;
	}
}

static bool start_translator(struct demo_nat64 *demo, int report)
{
	char *argv[] = { (char[]){ "prickle" }, (char[]){ "nat64" }, (char[]){ "run" }, (char[]){ "--config" }, demo->file, NULL };
	char said[SAID_BYTES] = "";
	int out[2];
	bool ready;

	if (pipe2(out, O_CLOEXEC) != 0)
		return false;
	demo->translator = fork_child();
	if (demo->translator == 0) {
		(void)!dup2(out[1], STDOUT_FILENO);
		(void)!dup2(out[1], STDERR_FILENO);
		if (enter(TRANSLATOR))
			(void)execv("/proc/self/exe", argv);
		_exit(1);
	}
	close(out[1]);
	ready = demo->translator > 0 && wait_ready(out[0], said, sizeof(said));
	demo->said = out[0];
	if (!ready)
		dprintf(report, "The lab has no translator: %s\n", said[0] != '\0' ? said : "it did not start");
	return ready;
}

/* ---- all of it ---- */

static bool build(struct demo_nat64 *demo, const char *ip, int report)
{
	char line[64];
	int err = write_settings(demo);

	for (size_t i = 0; i < ARRAY_LEN(namespaces) && err == 0; i++) {
		(void)!snprintf(line, sizeof(line), "netns add %s", namespaces[i]);
		err = demo_lab_run(ip, "ip", line, demo->file, NULL, 0, report);
	}
	for (size_t i = 0; i < ARRAY_LEN(wiring) && err == 0; i++)
		err = demo_lab_run(ip, "ip", wiring[i], demo->file, NULL, 0, report);
	if (err != 0)
		return false;
	demo->web_six = start_web(SIX);
	demo->web_four = start_web(FOUR);
	return start_translator(demo, report);
}

/* The line that says how it went: the last one of ping's statistics, the first one of a page. */
static void outcome(char *said, const char *expect)
{
	char *at = strstr(said, expect), *end;

	while (at != NULL && at > said && at[-1] != '\n')
		at--;
	if (at == NULL)
		at = said;
	end = strchr(at, '\n');
	if (end != NULL)
		*end = '\0';
	memmove(said, at, strlen(at) + 1);
}

static void try_all(const char *ip, int report)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	dprintf(report, "Beside it " SIX ", a host with IPv6 alone, and " FOUR ", a host with IPv4 alone; " TRANSLATOR
			" translates between\nthem. Tried just now:\n");
	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		char said[SAID_BYTES] = "";
		int code = demo_lab_run(ip, "ip", tries[i].words, "", said, sizeof(said), null);

		outcome(said, tries[i].expect);
		dprintf(report, "  ip %s\n      %s%s\n", tries[i].words, code == 0 ? "" : "failed: ",
			said[0] != '\0' ? said : "it said nothing; is the program installed?");
	}
	dprintf(report, DEMO_NAT64_WORKS "\n");
	if (null >= 0)
		close(null);
}

void demo_nat64_start(struct demo_nat64 *demo, const char *ip, int report)
{
	*demo = (struct demo_nat64){ .said = -1 };
	if (build(demo, ip, report))
		try_all(ip, report);
}

static void end_child(pid_t *pid, int signal_number)
{
	int status;

	if (*pid > 0) {
		(void)kill(*pid, signal_number);
		while (waitpid(*pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	*pid = 0;
}

void demo_nat64_stop(struct demo_nat64 *demo, const char *ip)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	char line[64];

	end_child(&demo->translator, SIGTERM);
	end_child(&demo->web_six, SIGKILL);
	end_child(&demo->web_four, SIGKILL);
	/* Its state is pinned and lives on without the process, so it is taken away by name. */
	(void)demo_lab_run("/proc/self/exe", "prickle", "nat64 remove --name demo --netns " TRANSLATOR, "", NULL, 0, null);
	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
		(void)!snprintf(line, sizeof(line), "netns del %s", namespaces[i]);
		(void)demo_lab_run(ip, "ip", line, "", NULL, 0, null);
	}
	if (demo->said >= 0)
		close(demo->said);
	if (demo->file[0] != '\0')
		(void)unlink(demo->file);
	if (null >= 0)
		close(null);
}
