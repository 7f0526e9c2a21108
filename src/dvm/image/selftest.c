#include "dvm/image/selftest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dvm/image/guard.h"
#include "policy/table/image.h"

int copy_java(const char *jdk, const char *const *arguments)
{
	static char *const environment[] = { (char *)(uintptr_t)"LC_ALL=C", NULL };
	posix_spawn_file_actions_t actions;
	char java[PATH_MAX + 32];
	int status, err;
	pid_t pid;

	(void)snprintf(java, sizeof(java), "%s/bin/java", jdk);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	err = posix_spawn(&pid, java, &actions, NULL, (char *const *)(uintptr_t)arguments, environment);
	posix_spawn_file_actions_destroy(&actions);
	if (err != 0)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int write_file(const char *path, struct slice bytes, struct errmsg *why)
{
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return errmsg_set(why, -errno, "make '%s'", path);
	while (bytes.len != 0) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);

		if (n < 0)
			return errmsg_set(why, -errno, "write '%s'", path);
		bytes = slice_from(bytes, (size_t)n);
	}
	return 0;
}

int selftest_prepare(const char *directory, const char *table, struct errmsg *why)
{
	static const uint8_t boot[16];
	size_t bytes = policy_image_bytes(64, 64, 65536), at = 0;
	AUTO_FREE void *image = calloc(1, bytes);
	struct guard_class c;
	int err;

	if (image == NULL)
		return errmsg_set(why, -ENOMEM, "test the copy");
	if (mkdir(directory, 0755) != 0)
		return errmsg_set(why, -errno, "make the directory '%s'", directory);
	policy_image_format(image, 64, 64, 65536, boot);
	err = write_file(table, slice_of(image, bytes), why);
	while (err == 0 && selftest_class_next(&at, &c)) {
		char path[PATH_MAX + 320];

		(void)snprintf(path, sizeof(path), "%s/%.*s.class", directory, (int)MIN(c.name.len, (size_t)256), (const char *)c.name.ptr);
		err = write_file(path, c.bytes, why);
	}
	return err;
}

int selftest_run(const char *jdk, const char *directory, bool archive, struct errmsg *why)
{
	static const char *const shares[] = { "-Xshare:off", "-Xshare:on" };
	char release[PATH_MAX + 16];

	(void)snprintf(release, sizeof(release), "%s/release", jdk);
	for (unsigned i = 0; i < (archive ? 2 : 1); i++) {
		const char *const arguments[] = { "java", shares[i], "-cp", directory, "PrickleSelfTest", release, NULL };
		int status = copy_java(jdk, arguments);

		if (status != 0)
			return errmsg_say(why, -EIO, "the copy does not deny what it should (%s, exit %d): this JDK is not known to the guard", shares[i], status);
	}
	return 0;
}
