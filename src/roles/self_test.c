/*
 * `prickle role NAME --self-test`: put the role's sandbox on and try what it must refuse. Each
 * try is in a process of its own, since some of them end it.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf/config.h"
#include "roles/supervise.h"
#include "roles/table.h"

enum verdict { REFUSED = 40, ALLOWED, BROKEN };

/* Each returns true when the system call did what it was asked, that is: on failure of the sandbox. */
static bool try_passwd(void)
{
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0;
}

static bool try_create(void)
{
	int fd = open("/tmp/prickle-self-test", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	if (fd >= 0)
		unlink("/tmp/prickle-self-test");
	return fd >= 0;
}

static bool try_exec(void)
{
	char *argv[] = { (char[]){ "true" }, NULL };

	execv("/bin/true", argv);
	return false;
}

static bool try_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid > 0;
}

static bool try_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0;
}

/* The socket is from before the sandbox: the Landlock rule, not the system call list, says no. */
static int early_socket;

static bool try_connect(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	/* Refused by nobody listening would be ECONNREFUSED: then the sandbox let it pass. */
	return connect(early_socket, (struct sockaddr *)&to, sizeof(to)) == 0 || errno == ECONNREFUSED;
}

static bool try_bind(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	return bind(early_socket, (struct sockaddr *)&to, sizeof(to)) == 0;
}

static bool try_ptrace(void)
{
	return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) == 0;
}

static bool try_io_uring(void)
{
	char params[256] = { 0 };

	return syscall(__NR_io_uring_setup, 4, params) >= 0;
}

static bool try_bpf(void)
{
	char attr[128] = { 0 };

	return syscall(__NR_bpf, 0, attr, sizeof(attr)) >= 0;
}

static bool try_kill(void)
{
	return kill(getppid(), 0) == 0;
}

static bool try_clone3(void)
{
	/* ENOSYS is what makes libc take clone, whose flags the filter sees. */
	return !(syscall(__NR_clone3, NULL, (size_t)0) < 0 && errno == ENOSYS);
}

static bool try_thread(void)
{
	long flags = 0x00010f00;	/* CLONE_VM | FS | FILES | SIGHAND | THREAD, without a stack: EINVAL at best */

	return !(syscall(__NR_clone, flags & ~0x00010000L, NULL, NULL, NULL, NULL) < 0 && errno == EPERM);
}

static bool try_setuid(void)
{
	return setuid(0) == 0;
}

static bool try_code(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED ||
	       (at != MAP_FAILED && mprotect(at, 4096, PROT_READ | PROT_EXEC) == 0);
}

static bool try_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

static bool try_raise_limit(void)
{
	struct rlimit limit = { 1, 1 };

	return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

static const struct probe {
	const char *name;
	bool (*attempt)(void);
} probes[] = {
	{ "open /etc/passwd", try_passwd },
	{ "create a file in /tmp", try_create },
	{ "execve", try_exec },
	{ "fork", try_fork },
	{ "clone a process", try_thread },
	{ "clone3 answers ENOSYS", try_clone3 },
	{ "make a socket", try_socket },
	{ "connect a socket from before", try_connect },
	{ "bind a socket from before", try_bind },
	{ "ptrace", try_ptrace },
	{ "io_uring_setup", try_io_uring },
	{ "bpf", try_bpf },
	{ "signal another process", try_kill },
	{ "setuid", try_setuid },
	{ "make memory executable", try_code },
	{ "become dumpable", try_dumpable },
	{ "change a resource limit", try_raise_limit },
};

NORETURN static void child(const struct role_row *row, const struct config *config, bool (*attempt)(void))
{
	struct role_paths paths;
	struct service_floor floor;
	struct sandbox box;
	struct sandbox_report report;
	struct errmsg why = { 0 };

	/* Where no policy is in force or none may be read: as shipped, which is the widest. */
	if (role_floor(row, config, &floor, &why) != 0 && policy_service_floor(NULL, row->name, &floor, &why) != 0) {
		fprintf(stderr, "# %s\n", why.text);
		_exit(BROKEN);
	}
	box = role_sandbox(row, &floor, config, geteuid() == 0, &paths);

	early_socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sandbox_apply(&box, &report, &why) != 0) {
		fprintf(stderr, "# %s\n", why.text);
		_exit(BROKEN);
	}
	_exit(attempt() ? ALLOWED : REFUSED);
}

int role_self_test(enum role_id id, const struct config *config)
{
	const struct role_row *row = &role_table[id];
	int failed = 0;

	if (row->mode == SANDBOX_SUPERVISOR) {
		printf("1..0 # skip the supervisor starts programs and makes sockets\n");
		return EXIT_SUCCESS;
	}
	printf("1..%zu\n", ARRAY_LEN(probes));
	fflush(stdout);
	for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
		int status = 0;
		bool refused;
		pid_t pid = fork();

		if (pid == 0)
			child(row, config, probes[i].attempt);
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return EXIT_FAILURE;
		refused = (WIFEXITED(status) && WEXITSTATUS(status) == REFUSED) ||
			  (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
		printf("%sok %zu - %s: %s is refused%s\n", refused ? "" : "not ", i + 1, row->name,
		       probes[i].name, WIFSIGNALED(status) ? " # ends the process" : "");
		fflush(stdout);
		failed += !refused;
	}
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
