#include "spine/exec/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/exec/notify.h"
#include "spine/exec/protocol.h"
#include "sys/process.h"

/* Ours first, then what the caller preloads. */
static int set_environment(const struct exec_launch *l, int socket)
{
	const char *others = getenv("LD_PRELOAD");
	char number[16], preload[PROCESS_PATH_BYTES];
	int n = snprintf(preload, sizeof(preload), "%s%s%s", l->preload, others != NULL ? ":" : "",
			 others != NULL ? others : "");

	if (n < 0 || (size_t)n >= sizeof(preload))
		return -E2BIG;
	(void)!snprintf(number, sizeof(number), "%d", socket);
	return setenv("LD_PRELOAD", preload, 1) == 0 && setenv(EXEC_SOCKET_VARIABLE, number, 1) == 0 &&
			       setenv("LIBXDP_SKIP_DISPATCHER", "1", 1) == 0 ? 0 : -errno;
}

/* What the child tells before it runs the program; the parent answers with one byte. */
struct child_report {
	int listener;			/* number of the seccomp descriptor in the child, -1: none */
	struct errmsg why;		/* of listener -1 */
};

/* Where /sys is another one, as under `ip netns exec`, programs would not find their own pins. */
static int mount_bpffs(int mount_fd)
{
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return -errno;
	return move_mount(mount_fd, "", AT_FDCWD, "/sys/fs/bpf", MOVE_MOUNT_F_EMPTY_PATH) == 0 ? 0 : -errno;
}

static _Noreturn void child(const struct exec_launch *l, const char *path, int socket, int report_fd, int go_fd)
{
	struct child_report report = { .listener = -1 };
	char byte;

	if (l->netns >= 0 && setns(l->netns, CLONE_NEWNET) != 0)
		goto failed;
	if (l->bpffs >= 0 && mount_bpffs(l->bpffs) != 0)
		fprintf(stderr, "prickle spine exec: note: '%s' sees no bpffs at /sys/fs/bpf; run it with --netns instead of inside "
			"a namespace\n", path);
	if (fcntl(socket, F_SETFD, 0) != 0 || set_environment(l, socket) != 0)
		goto failed;
	report.listener = notify_install(&report.why);
	/* From here on sendmsg and sendto wait for the parent, write and read do not. */
	if (write(report_fd, &report, sizeof(report)) != sizeof(report) || read(go_fd, &byte, 1) != 1)
		_exit(127);
	execve(path, l->argv, environ);
failed:
	fprintf(stderr, "prickle spine exec: run '%s': %s\n", path, strerrordesc_np(errno));
	_exit(126);
}

struct running {
	struct broker *broker;
	int socket;			/* our end; -1 when all holders are gone */
	int listener;			/* -1: none */
	int child;			/* pidfd; -1 when it has ended */
	pid_t pid;
	uint32_t ifindex;
};

/* The child's status as a shell gives it. */
static int reap(struct running *r)
{
	int status = 0;

	while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(r->child);
	r->child = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int serve(struct running *r)
{
	int status = 0;

	while (r->child >= 0 || r->socket >= 0) {
		struct pollfd p[4] = {
			{ .fd = r->socket, .events = POLLIN },
			{ .fd = r->listener, .events = POLLIN },
			{ .fd = r->child, .events = POLLIN },
			{ .fd = broker_link_fd(r->broker), .events = POLLIN },
		};

		if (poll(p, 4, -1) < 0 && errno != EINTR)
			break;
		if (p[0].revents != 0 && !broker_serve(r->broker, r->socket)) {
			close(r->socket);
			r->socket = -1;
		}
		if ((p[1].revents & POLLIN) != 0 && notify_serve(r->broker, r->listener, r->ifindex))
			;
		else if (p[1].revents != 0) {
			close(r->listener);
			r->listener = -1;
		}
		if (p[3].revents != 0)
			broker_link_gone(r->broker);
		if (p[2].revents != 0)
			status = reap(r);
	}
	broker_link_gone(r->broker);
	return status;
}

/* Take the child's listener, if it has one, and let it run. */
static int let_go(struct running *r, int report_fd, int go_fd, const char *program, struct errmsg *why)
{
	struct child_report report;
	ssize_t n;

	do
		n = read(report_fd, &report, sizeof(report));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(report))
		return errmsg_say(why, -ECHILD, "'%s' could not be started", program);
	if (report.listener >= 0)
		r->listener = (int)syscall(SYS_pidfd_getfd, r->child, report.listener, 0);
	if (r->listener < 0)
		fprintf(stderr, "prickle spine exec: only programs that load libbpf dynamically are seen: %s\n",
			report.listener < 0 ? report.why.text : "the filter's descriptor cannot be taken");
	return write(go_fd, "g", 1) == 1 ? 0 : errmsg_set(why, -errno, "start '%s'", program);
}

int exec_launch(const struct exec_launch *l, const struct broker_ops *ops, void *arg, int *status,
		struct errmsg *why)
{
	char path[PROCESS_PATH_BYTES];
	int sockets[2], reports[2], go[2], err;
	struct running r = { .listener = -1, .ifindex = l->ifindex };

	err = process_find_program(l->argv[0], path, why);
	if (err != 0)
		return err;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
		return errmsg_set(why, -errno, "make a socket");
	if (pipe2(reports, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0)
		return errmsg_set(why, -errno, "make a pipe");
	/* The terminal's interrupt is for the program; we end when it has. */
	(void)sigaction(SIGINT, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	(void)sigaction(SIGQUIT, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	r.pid = fork();
	if (r.pid == 0) {
		(void)sigaction(SIGINT, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
		(void)sigaction(SIGQUIT, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
		child(l, path, sockets[1], reports[1], go[0]);
	}
	close(sockets[1]);
	close(reports[1]);
	close(go[0]);
	if (r.pid < 0)
		return errmsg_set(why, -errno, "start '%s'", l->argv[0]);
	r.socket = sockets[0];
	r.child = (int)syscall(SYS_pidfd_open, r.pid, 0);
	err = broker_new(ops, arg, l->ifindex, l->argv[0], &r.broker);
	if (err == 0)
		err = let_go(&r, reports[0], go[1], l->argv[0], why);
	close(reports[0]);
	close(go[1]);
	if (err == 0)
		*status = serve(&r);
	else
		(void)reap(&r);		/* without its go it has ended by itself */
	broker_free(r.broker);
	close(r.listener);
	close(r.socket);
	return err;
}
