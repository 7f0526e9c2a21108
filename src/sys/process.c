#include "sys/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/slice.h"

int process_die_with_parent(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		return -errno;
	/* It may have died before we asked. */
	return getppid() == parent ? 0 : -ESRCH;
}

void process_set_name(const char *role)
{
	char name[16];

	/* Started through /proc/self/exe, all would be called "exe". Only a look suffers if it fails. */
	snprintf(name, sizeof(name), "prickle:%s", role);
	(void)prctl(PR_SET_NAME, name, 0, 0, 0);
}

NORETURN static void run_child(const char *const argv[], int channel, pid_t parent)
{
	sigset_t none;
	int null;

	if (process_die_with_parent(parent) != 0)
		_exit(1);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		_exit(1);
	if (channel == PROCESS_CHANNEL_FD) {
		if (fcntl(channel, F_SETFD, 0) != 0)
			_exit(1);
	} else if (dup2(channel, PROCESS_CHANNEL_FD) < 0) {
		_exit(1);
	}
	if (close_range(PROCESS_CHANNEL_FD + 1, ~0u, 0) != 0)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
	_exit(127);
}

int process_spawn(const char *const argv[], int channel, pid_t *pid, struct errmsg *why)
{
	pid_t parent = getpid(), child = fork();

	if (child < 0)
		return errmsg_set(why, -errno, "start a process");
	if (child == 0)
		run_child(argv, channel, parent);
	*pid = child;
	return 0;
}

void process_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t len = path == NULL ? 0 : strlen(path);
	AUTO_FD int fd = -1;

	if (len < 2 || len >= sizeof(addr.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@')
		addr.sun_path[0] = '\0';	/* abstract */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* A manager that does not listen is not our problem. */
	(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}

int process_listen_fds(void)
{
	const char *pid_text = getenv("LISTEN_PID"), *count_text = getenv("LISTEN_FDS");
	uint32_t pid, count;
	int end = 3;

	if (slice_u32(slice_str(pid_text), &pid) && pid == (uint32_t)getpid() &&
	    slice_u32(slice_str(count_text), &count) && count <= 64) {
		end = 3 + (int)count;
		for (int fd = 3; fd < end; fd++)
			(void)!fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return end;
}

int process_find_program(const char *name, char path[PROCESS_PATH_BYTES], struct errmsg *why)
{
	const char *at = getenv("PATH");
	int n = -1;

	if (strchr(name, '/') != NULL) {
		n = snprintf(path, PROCESS_PATH_BYTES, "%s", name);
		if (n > 0 && n < PROCESS_PATH_BYTES && access(path, X_OK) == 0)
			return 0;
		return errmsg_set(why, -errno, "run '%s'", name);
	}
	for (at = at != NULL ? at : "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"; *at != '\0';) {
		size_t part = strcspn(at, ":");

		n = snprintf(path, PROCESS_PATH_BYTES, "%.*s/%s", (int)part, at, name);
		if (part > 0 && n > 0 && n < PROCESS_PATH_BYTES && access(path, X_OK) == 0)
			return 0;
		at += part + (at[part] == ':');
	}
	return errmsg_say(why, -ENOENT, "there is no program '%s' in PATH", name);
}
