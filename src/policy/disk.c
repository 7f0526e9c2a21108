#include "policy/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"

int disk_read(int dir, const char *path, struct buf *out, struct errmsg *why)
{
	/* O_NONBLOCK: a FIFO in its place must not stop us. */
	AUTO_FD int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t got;

	if (fd < 0)
		return errmsg_set(why, -errno, "open '%s'", path);
	do {
		size_t room = MIN(out->max - out->len + 1, (size_t)65536);
		uint8_t block[65536];

		got = read(fd, block, room);
		if (got < 0)
			return errmsg_set(why, -errno, "read '%s'", path);
		buf_add(out, slice_of(block, (size_t)got));
	} while (got > 0 && out->err == 0);
	if (out->err == -EMSGSIZE)
		return errmsg_say(why, -EFBIG, "'%s' is larger than %zu bytes", path, out->max);
	return out->err != 0 ? errmsg_set(why, out->err, "read '%s'", path) : 0;
}

static int write_all(int fd, struct slice bytes)
{
	while (bytes.len != 0) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);

		if (n < 0)
			return -errno;
		bytes = slice_from(bytes, (size_t)n);
	}
	return fsync(fd) != 0 ? -errno : 0;
}

int disk_write(int dir, const char *path, struct slice bytes, unsigned mode, struct errmsg *why)
{
	AUTO_FD int fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int err;

	if (fd < 0)
		return errmsg_set(why, -errno, "make '%s'", path);
	err = write_all(fd, bytes);
	/* Whatever umask the caller has. */
	if (err == 0 && fchmod(fd, mode) != 0)
		err = -errno;
	if (err != 0)
		unlinkat(dir, path, 0);
	return err != 0 ? errmsg_set(why, err, "write '%s'", path) : 0;
}

int disk_replace(int dir, const char *path, struct slice bytes, unsigned mode, struct errmsg *why)
{
	const char *slash = strrchr(path, '/');
	char temporary[PATH_MAX], parent[PATH_MAX];
	int err;

	if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary))
		return errmsg_set(why, -ENAMETOOLONG, "'%s'", path);
	unlinkat(dir, temporary, 0);		/* of a crash */
	err = disk_write(dir, temporary, bytes, mode, why);
	if (err != 0)
		return err;
	if (renameat(dir, temporary, dir, path) != 0)
		return errmsg_set(why, -errno, "put '%s' in place", path);
	snprintf(parent, sizeof(parent), "%.*s", slash == NULL ? 1 : (int)(slash - path), slash == NULL ? "." : path);
	return disk_sync(dir, parent, why);
}

int disk_make_directory(const char *path, unsigned mode, struct errmsg *why)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(part))
		return errmsg_set(why, -ENAMETOOLONG, "directory '%s'", path);
	memcpy(part, path, len + 1);
	for (size_t i = 1; i <= len; i++) {
		if (part[i] != '/' && part[i] != '\0')
			continue;
		part[i] = '\0';
		if (mkdir(part, 0755) == 0) {
			/* Whatever umask the caller has. */
			if (chmod(part, i == len ? mode : 0755) != 0)
				return errmsg_set(why, -errno, "directory '%s'", part);
		} else if (errno != EEXIST) {
			return errmsg_set(why, -errno, "make the directory '%s'", part);
		}
		part[i] = path[i];
	}
	return 0;
}

int disk_sync(int dir, const char *path, struct errmsg *why)
{
	AUTO_FD int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) != 0)
		return errmsg_set(why, -errno, "sync '%s'", path);
	return 0;
}

int disk_list(int dir, const char *path, int (*fn)(void *arg, const char *name), void *arg)
{
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), stop = 0;
	struct dirent *e;
	DIR *d;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (d == NULL) {
		int err = -errno;

		close(fd);
		return err;
	}
	while (stop == 0 && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			stop = fn(arg, e->d_name);
	closedir(d);
	return stop;
}
