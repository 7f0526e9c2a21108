#include "cli/demo_lab.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/cleanup.h"
#include "base/must.h"
#include "cli/demo_nat64.h"

#define LEFT   "prickle-left"
#define ROUTER "prickle-router"
#define RIGHT  "prickle-right"
#define WORDS_MAX    24
#define POLICY_NAME  "/tmp/prickle-lab-XXXXXX"	/* a directory: the store of the lab's policy */
#define POLICY_FILE  "lab.policy"
#define BUILT	     '+'	/* the report begins with it when the lab is there; else the report tells why not */
#define REPORT_BYTES 4096

static const char *const namespaces[] = { LEFT, ROUTER, RIGHT };

/* What `ip` is asked for, in words; the namespaces are there already. */
static const char *const wiring[] = {
	"link add lab0 netns " LEFT " type veth peer name left netns " ROUTER,
	"link add lab0 netns " RIGHT " type veth peer name right netns " ROUTER,
	"-n " LEFT " addr add 10.91.1.2/24 dev lab0",
	"-n " LEFT " addr add fd91:1::2/64 dev lab0 nodad",
	"-n " ROUTER " addr add 10.91.1.1/24 dev left",
	"-n " ROUTER " addr add fd91:1::1/64 dev left nodad",
	"-n " ROUTER " addr add 10.91.2.1/24 dev right",
	"-n " ROUTER " addr add fd91:2::1/64 dev right nodad",
	"-n " RIGHT " addr add 10.91.2.2/24 dev lab0",
	"-n " RIGHT " addr add fd91:2::2/64 dev lab0 nodad",
	"-n " LEFT " link set lo up", "-n " RIGHT " link set lo up", "-n " ROUTER " link set lo up",
	"-n " LEFT " link set lab0 up", "-n " RIGHT " link set lab0 up",
	"-n " ROUTER " link set left up", "-n " ROUTER " link set right up",
	"-n " LEFT " route add default via 10.91.1.1", "-n " LEFT " route add default via fd91:1::1",
	"-n " RIGHT " route add default via 10.91.2.1", "-n " RIGHT " route add default via fd91:2::1",
};

/* What `prickle` is asked for; %G is the directory of the lab's policy. */
static const char *const extensions[] = {
	"policy apply --policy %G %F",
	"spine install filter --netns " ROUTER " --dev left --policy %G --order 10",
	"spine install router --netns " ROUTER " --dev left --policy %G --order 20",
	"spine install router --netns " ROUTER " --dev right --policy %G --order 20",
};

static const char policy[] =
	"# What the lab's extensions may do.\n"
	"import default\n"
	"module lab\n"
	"  label port left = nic \"left\"   label port right = nic \"right\"\n"
	"  domain router = ebpf object\n"
	"  domain filter = ebpf object\n"
	"  allow router attach, pass, drop, redirect, forward left, right\n"
	"  allow filter attach, pass, drop left, right\n"
	"  allow router, filter offer handler\n"
	"  allow router, filter use helper default\n"
	"  allow router use helper fib_lookup\n"
	"  allow router, filter use map-type default\n"
	"  allow router, filter use program-type xdp, syscall\n";

/* ---- running programs ---- */

/* Run argv[0] with what it says going to `output`. Its exit code, or a negative errno. */
static int run(const char *program, char *const argv[], int output)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int err, status;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
	err = posix_spawn(&pid, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (err != 0)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

int demo_lab_run(const char *program, const char *name, const char *line, const char *file, char *said, size_t said_bytes, int report)
{
	char text[512], *argv[WORDS_MAX + 1], *save = text, own[400], inside[256];
	size_t count = 0;
	int pipe_fds[2], code;
	ssize_t n;

	must(strlen(line) < sizeof(text));
	memcpy(text, line, strlen(line) + 1);
	(void)!snprintf(inside, sizeof(inside), "%s/" POLICY_FILE, file);
	if (said == NULL) {
		said = own;
		said_bytes = sizeof(own);
	}
	argv[count++] = (char *)(uintptr_t)name;
	while (count < WORDS_MAX && save != NULL) {
		argv[count] = strsep(&save, " ");
		if (strcmp(argv[count], "%G") == 0)
			argv[count] = (char *)(uintptr_t)file;
		else if (strcmp(argv[count], "%F") == 0)
			argv[count] = inside;
		count++;
	}
	argv[count] = NULL;
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return -errno;
	code = run(program, argv, pipe_fds[1]);
	n = read(pipe_fds[0], said, said_bytes - 1);
	said[n > 0 ? n : 0] = '\0';
	if (code != 0) {
		dprintf(report, "'");
		for (size_t i = 0; i < count; i++)
			dprintf(report, "%s%s", i == 0 ? "" : " ", argv[i]);
		dprintf(report, "' failed (%d): %s", code, said[0] != '\0' ? said : "no reason given\n");
	}
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return code;
}

static const char *find_ip(void)
{
	static const char *const places[] = { "/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip" };

	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

/* ---- inside a namespace ---- */

/*
 * Frames between virtual interfaces carry unfinished checksums and large segments, which nothing finishes
 * once an extension has redirected them; and frames redirected to an interface need NAPI at its peer,
 * which GRO switches on.
 */
static void set_offloads(const char *interface, bool hosts)
{
	static const uint32_t off[] = { ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO };
	AUTO_FD int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_value value;
	struct ifreq request = { .ifr_data = (char *)&value };

	memcpy(request.ifr_name, interface, strlen(interface) + 1);
	for (size_t i = 0; i < ARRAY_LEN(off); i++) {
		value = (struct ethtool_value){ .cmd = off[i], .data = 0 };
		(void)ioctl(s, SIOCETHTOOL, &request);
	}
	value = (struct ethtool_value){ .cmd = ETHTOOL_SGRO, .data = hosts };
	(void)ioctl(s, SIOCETHTOOL, &request);
}

static void write_text(const char *path, const char *text)
{
	AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, text, strlen(text));
}

static void set_up_namespace(const char *name)
{
	char path[64];
	bool host = strcmp(name, ROUTER) != 0;
	AUTO_FD int fd = -1;

	(void)!snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
		return;
	if (host) {
		set_offloads("lab0", true);
		return;
	}
	set_offloads("left", false);
	set_offloads("right", false);
	write_text("/proc/sys/net/ipv4/ip_forward", "1");
	write_text("/proc/sys/net/ipv6/conf/all/forwarding", "1");
}

/* In a child, since a process cannot come back from everywhere. */
static void in_child(void (*what)(const char *), const char *name)
{
	pid_t pid = fork();

	if (pid == 0) {
		what(name);
		_exit(0);
	}
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
}

/* ---- the keeper ---- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	(void)remove(path);
	return 0;
}

static void take_down(const char *ip, const char *directory)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
		char *argv[] = { (char[]){ "ip" }, (char[]){ "netns" }, (char[]){ "del" }, (char *)(uintptr_t)namespaces[i], NULL };

		(void)run(ip, argv, null);
	}
	if (null >= 0)
		close(null);
	(void)nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int write_policy(const char *directory, int report)
{
	char path[64];

	(void)!snprintf(path, sizeof(path), "%s/" POLICY_FILE, directory);
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0 && write(fd, policy, sizeof(policy) - 1) == sizeof(policy) - 1)
		return 0;
	dprintf(report, "cannot write '%s': %s\n", path, strerrordesc_np(errno));
	return -EIO;
}

/* 0, or something failed and `report` has heard of it. */
static int build(const char *ip, const char *directory, int report)
{
	char line[64];
	int err = write_policy(directory, report);

	for (size_t i = 0; i < ARRAY_LEN(namespaces) && err == 0; i++) {
		(void)!snprintf(line, sizeof(line), "netns add %s", namespaces[i]);
		err = demo_lab_run(ip, "ip", line, directory, NULL, 0, report);
	}
	for (size_t i = 0; i < ARRAY_LEN(wiring) && err == 0; i++)
		err = demo_lab_run(ip, "ip", wiring[i], directory, NULL, 0, report);
	for (size_t i = 0; i < ARRAY_LEN(namespaces) && err == 0; i++)
		in_child(set_up_namespace, namespaces[i]);
	for (size_t i = 0; i < ARRAY_LEN(extensions) && err == 0; i++)
		err = demo_lab_run("/proc/self/exe", "prickle", extensions[i], directory, NULL, 0, report);
	return err;
}

/* Another demo's lab, perhaps one that is being taken down: wait a little. */
static bool names_free(void)
{
	for (unsigned tries = 0; tries < 50; tries++) {
		if (access("/run/netns/" ROUTER, F_OK) != 0)
			return true;
		(void)!poll(NULL, 0, 100);
	}
	return false;
}

/* Until the demo has gone. What the translator says is read, so that it never waits for a reader. */
static void stay(int alive, int said)
{
	struct pollfd wait[] = { { .fd = alive, .events = POLLIN }, { .fd = said, .events = POLLIN } };
	char text[512];

	for (;;) {
		if (poll(wait, ARRAY_LEN(wait), -1) < 0)
			continue;
		if (wait[1].revents != 0 && read(said, text, sizeof(text)) <= 0)
			wait[1].fd = -1;
		if (wait[0].revents != 0 && read(alive, text, sizeof(text)) <= 0)
			return;
	}
}

static _Noreturn void keep(int report, int alive)
{
	const char *ip = find_ip();
	char directory[] = POLICY_NAME;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct demo_nat64 nat64 = { .said = -1 };

	/* Who reads the demo's output must not wait for us. */
	for (int fd = 0; fd <= 2 && null >= 0; fd++)
		(void)!dup2(null, fd);
	/* The terminal's Ctrl-C is for the demo; we go when it has gone. */
	(void)sigaction(SIGINT, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	(void)sigaction(SIGTERM, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	(void)sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	if (ip == NULL) {
		dprintf(report, "it needs the program 'ip'; install iproute2\n");
		_exit(1);
	}
	if (!names_free()) {
		dprintf(report, "there is one already (namespace " ROUTER "): another demo's, or one that was left; "
			"'ip netns del' removes it\n");
		_exit(1);
	}
	if (mkdtemp(directory) == NULL) {
		dprintf(report, "cannot make '%s': %s\n", directory, strerrordesc_np(errno));
		_exit(1);
	}
	if (build(ip, directory, report) == 0) {
		dprintf(report, "%c", BUILT);
		demo_nat64_start(&nat64, ip, report);
		close(report);
		stay(alive, nat64.said);
	}
	demo_nat64_stop(&nat64, ip);
	take_down(ip, directory);
	_exit(0);
}

void demo_lab_start(struct demo_lab *lab)
{
	int report[2], alive[2];
	pid_t pid;

	*lab = (struct demo_lab){ .report = -1, .alive = -1 };
	if (geteuid() != 0 || pipe2(report, O_CLOEXEC) != 0)
		return;
	if (pipe2(alive, O_CLOEXEC) != 0) {
		close(report[0]);
		close(report[1]);
		return;
	}
	pid = fork();
	if (pid == 0) {
		/* Not our child but init's: the supervisor counts its own. */
		if (fork() != 0)
			_exit(0);
		close(report[0]);
		close(alive[1]);
		keep(report[1], alive[0]);
	}
	close(report[1]);
	close(alive[0]);
	if (pid < 0) {
		close(report[0]);
		close(alive[1]);
		return;
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	*lab = (struct demo_lab){ .report = report[0], .alive = alive[1] };
}

void demo_lab_greet(struct demo_lab *lab)
{
	char text[REPORT_BYTES];
	size_t have = 0;
	ssize_t n;

	if (lab->report < 0)
		return;
	do {
		n = read(lab->report, text + have, sizeof(text) - 1 - have);
		have += n > 0 ? (size_t)n : 0;
	} while ((n > 0 && have < sizeof(text) - 1) || (n < 0 && errno == EINTR));
	close(lab->report);
	lab->report = -1;
	text[have] = '\0';
	if (text[0] != BUILT) {
		printf("There is no network lab: %s\n", text);
		return;
	}
	const char *me = program_invocation_name;
	printf("A network lab runs, too: %s - %s - %s, where the one between forwards\n"
	       "by extensions on its interfaces (filter, then router). Try:\n"
	       "  %s spine list --netns " ROUTER "\n"
	       "  ip netns exec " LEFT " ping -c 3 10.91.2.2\n"
	       "  %s spine top --netns " ROUTER " --dev left\n"
	       "  %s spine trace --netns " ROUTER " --dev left --count 5\n"
	       "  %s spine disable router --netns " ROUTER " --dev left\n\n",
	       LEFT, ROUTER, RIGHT, me, me, me, me);
	printf("%s", text + 1);
	if (strstr(text, DEMO_NAT64_WORKS) != NULL)
		printf("  %s nat64 show --netns prickle-nat64\n"
		       "  %s nat64 sessions --netns prickle-nat64\n"
		       "  %s nat64 stats --explain --netns prickle-nat64\n", me, me, me);
	printf("\n");
}
