/*
 * Runs a fuzz target over its corpus, as a test: replay TARGET DIRECTORY LIMIT_SEEDS.
 *
 * Any compiler can build it, so the corpora run in every check under ASan and UBSan. The seeds
 * that LIMIT_SEEDS makes from the table of limits are run as well.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

extern char **environ;

/* 1 when the file was run. An input of its own size in memory lets ASan see reads past its end. */
static int run_file(int dirfd, const char *name)
{
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	size_t size = (size_t)st.st_size;
	uint8_t *data = malloc(size == 0 ? 1 : size);
	ssize_t n = data == NULL ? -1 : read(fd, data, size);
	close(fd);
	if (n != (ssize_t)size) {
		printf("Bail out! cannot read %s\n", name);
		exit(1);
	}
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 1;
}

static unsigned run_directory(const char *path)
{
	unsigned count = 0;
	DIR *dir = opendir(path);

	if (dir == NULL)
		return 0;
	for (struct dirent *e; (e = readdir(dir)) != NULL;)
		count += (unsigned)run_file(dirfd(dir), e->d_name);
	closedir(dir);
	return count;
}

static void remove_directory(const char *path)
{
	DIR *dir = opendir(path);

	for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
		unlinkat(dirfd(dir), e->d_name, 0);
	if (dir != NULL)
		closedir(dir);
	rmdir(path);
}

/* The seeds at and around the limits; -1 when they cannot be made. */
static int run_limits(const char *program, const char *target)
{
	char dir[] = "/tmp/replay-XXXXXX";
	char *argv[] = { strdup(program), strdup(target), dir, NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status = -1, count = -1;

	if (mkdtemp(dir) == NULL)
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	if (posix_spawn(&pid, program, &actions, NULL, argv, environ) == 0)
		waitpid(pid, &status, 0);
	posix_spawn_file_actions_destroy(&actions);
	if (status == 0)
		count = (int)run_directory(dir);
	remove_directory(dir);
	free(argv[0]);
	free(argv[1]);
	return count;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fputs("usage: replay TARGET DIRECTORY LIMIT_SEEDS\n", stderr);
		return 2;
	}
	if (LLVMFuzzerInitialize != NULL)
		LLVMFuzzerInitialize(&argc, &argv);
	printf("1..2\n");
	unsigned count = run_directory(argv[2]);
	printf("%s 1 - %s survives its corpus of %u inputs\n", count > 0 ? "ok" : "not ok", argv[1], count);
	fflush(stdout);
	int limits = run_limits(argv[3], argv[1]);
	printf("%s 2 - %s survives %d inputs at its limits\n", limits >= 0 ? "ok" : "not ok", argv[1], limits);
	return count > 0 && limits >= 0 ? 0 : 1;
}
