#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test.h"
#include "sys/landlock.h"
#include "sys/sandbox.h"

/*
 * The body of each test runs in a child: what comes after a sandbox must not need more than the
 * sandbox allows, and Check's own reporting does. A body returns 0 or the line that failed.
 */
#define NEED(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond))                                                                       \
			return __LINE__;                                                           \
	} while (0)

static bool enter(const struct sandbox *box)
{
	struct sandbox_report report = { 0 };
	struct errmsg why = { 0 };

	return sandbox_apply(box, &report, &why) == 0;
}

/* The wait status of the child; a line number comes through a pipe, since exit statuses are short. */
static int in_child(int (*body)(void), int *line)
{
	int pipe_fds[2], status = 0;
	pid_t pid;

	*line = 0;
	ck_assert_int_eq(pipe(pipe_fds), 0);
	pid = fork();
	if (pid == 0) {
		int failed = body();
		_exit(write(pipe_fds[1], &failed, sizeof(failed)) == (ssize_t)sizeof(failed) ? 0 : 1);
	}
	close(pipe_fds[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (read(pipe_fds[0], line, sizeof(*line)) != (ssize_t)sizeof(*line))
		*line = -1;
	close(pipe_fds[0]);
	return status;
}

static void check_body(int (*body)(void))
{
	int line, status = in_child(body, &line);

	ck_assert_msg(status == 0 && line == 0, "line %d failed, wait status %d", line, status);
}

static int no_files(void)
{
	struct sandbox box = { .files_max = 64 };
	int pair[2];
	char c = 0;

	NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	NEED(enter(&box));
	NEED(write(pair[0], "x", 1) == 1 && read(pair[1], &c, 1) == 1 && c == 'x');
	/* A sanitizer needs the call for itself: then only Landlock stands in the way. */
	NEED(open("/etc/passwd", O_RDONLY | O_CLOEXEC) == -1 && errno == (SANITIZED ? EACCES : EPERM));
	NEED(socket(AF_INET, SOCK_STREAM, 0) == -1 && errno == EPERM);
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(memory != MAP_FAILED && mprotect(memory, 4096, PROT_READ) == 0);
	NEED(mprotect(memory, 4096, PROT_READ | PROT_EXEC) == -1 && errno == EPERM);
	NEED(mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EPERM);
	return 0;
}

START_TEST(without_rules_no_file_opens_and_sockets_from_before_work)
{
	if (TEST_SANITIZED)
		return;
	check_body(no_files);
}
END_TEST

/* Made and removed outside of the sandbox, which does not reach its parent. */
static char dir[] = "/tmp/prickle-sandbox.XXXXXX";

static int some_files(void)
{
	char path[64];
	struct sandbox box = { .flags = SANDBOX_FILES };
	struct stat st;
	int fd;

	box.paths[box.path_count++] = (struct sandbox_path){ .path = dir, .rights = LANDLOCK_CHANGE };
	box.paths[box.path_count++] = (struct sandbox_path){ .path = "/proc/self", .rights = LANDLOCK_READ };
	box.paths[box.path_count++] = (struct sandbox_path){ .path = "/does/not/exist", .rights = LANDLOCK_READ };
	snprintf(path, sizeof(path), "%s/file", dir);
	NEED(enter(&box));
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	NEED(fd >= 0 && fdatasync(fd) == 0 && fallocate(fd, 0, 0, 4096) == 0);
	if (landlock_abi() > 0) {
		NEED(open("/etc/passwd", O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES);
		NEED(open("/tmp/prickle-outside", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) == -1);
		NEED(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC) == -1);
		NEED(rename("/etc/hostname", path) == -1);
	}
	NEED(stat(path, &st) == 0 && unlink(path) == 0);
	return 0;
}

START_TEST(files_open_below_their_rules_only)
{
	int line, status;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	status = in_child(some_files, &line);
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_msg(status == 0 && line == 0, "line %d failed, wait status %d", line, status);
}
END_TEST

/* What reads packets for a translator: bpf(2), and files by rules alone. */
static int programs_and_rules(void)
{
	struct sandbox box = { .flags = SANDBOX_BPF | SANDBOX_PATHS };

	box.paths[box.path_count++] = (struct sandbox_path){ .path = "/proc/self", .rights = LANDLOCK_READ };
	NEED(enter(&box));
	if (landlock_abi() > 0)
		NEED(open("/etc/passwd", O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES);
	NEED(open("/proc/self/status", O_RDONLY | O_CLOEXEC) >= 0);
	NEED(socket(AF_INET, SOCK_DGRAM, 0) >= 0);
	return 0;
}

START_TEST(programs_may_have_rules_for_files)
{
	check_body(programs_and_rules);
}
END_TEST

static void *nothing(void *arg)
{
	return arg;
}

static int threads(void)
{
	struct sandbox box = { .flags = SANDBOX_THREADS };
	pthread_t thread;

	NEED(enter(&box));
	NEED(pthread_create(&thread, NULL, nothing, NULL) == 0);
	NEED(pthread_join(thread, NULL) == 0);
	NEED(fork() == -1 && errno == EPERM);
	return 0;
}

START_TEST(threads_start_where_the_row_says_and_processes_never)
{
	check_body(threads);
}
END_TEST

static int no_threads(void)
{
	struct sandbox box = { 0 };
	pthread_t thread;

	if (SANITIZED)				/* they start threads, so the sandbox lets them */
		return 0;
	NEED(enter(&box));
	NEED(pthread_create(&thread, NULL, nothing, NULL) != 0);
	return 0;
}

START_TEST(no_thread_starts_without_the_flag)
{
	if (TEST_SANITIZED)
		return;
	check_body(no_threads);
}
END_TEST

static int exec(void)
{
	char *argv[] = { (char[]){ "true" }, NULL };
	struct sandbox box = { 0 };

	NEED(enter(&box));
	execv("/bin/true", argv);
	return 0;
}

START_TEST(execve_ends_the_process)
{
	int line, status = in_child(exec, &line);

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}
END_TEST

static int widen(void)
{
	struct sandbox narrow = { 0 }, wide = { .flags = SANDBOX_FILES | SANDBOX_THREADS };

	NEED(enter(&narrow));
	NEED(!enter(&wide));
	NEED(open("/etc/passwd", O_RDONLY | O_CLOEXEC) == -1);
	return 0;
}

START_TEST(a_second_sandbox_cannot_widen_the_first)
{
	check_body(widen);
}
END_TEST

TEST_MAIN("sys/sandbox", without_rules_no_file_opens_and_sockets_from_before_work,
	  files_open_below_their_rules_only, programs_may_have_rules_for_files, threads_start_where_the_row_says_and_processes_never,
	  no_thread_starts_without_the_flag, execve_ends_the_process,
	  a_second_sandbox_cannot_widen_the_first)
