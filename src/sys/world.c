/*
 * The real world. Thread-safe: it has no state but the directory descriptor.
 */
#include "sys/world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/must.h"

#define DIRECT_ALIGN 4096u

struct real_world {
	struct world world;
	int dirfd;
};

struct file {
	int fd;
	int direct_fd;			/* opened when pread_direct first asks; -1 before */
};

static int dir_of(struct world *w)
{
	return container_of(w, struct real_world, world)->dirfd;
}

static int64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	must(clock_gettime(clock, &ts) == 0);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t real_real_us(struct world *w)
{
	return clock_us(CLOCK_REALTIME);
}

static int64_t real_mono_us(struct world *w)
{
	return clock_us(CLOCK_MONOTONIC);
}

static void kernel_random(uint8_t *at, size_t n)
{
	while (n > 0) {
		ssize_t got = getrandom(at, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		must(got > 0);
		at += got;
		n -= (size_t)got;
	}
}

/* Small ones come from a stock, so that not every message costs a system call; none is used twice. */
static void real_random(struct world *w, void *out, size_t n)
{
	static __thread uint8_t stock[512];
	static __thread size_t left;

	if (n > 64) {
		kernel_random(out, n);
		return;
	}
	if (left < n) {
		kernel_random(stock, sizeof(stock));
		left = sizeof(stock);
	}
	left -= n;
	memcpy(out, stock + left, n);
	explicit_bzero(stock + left, n);
}

static int real_open(struct world *w, const char *path, enum open_mode mode, struct file **out)
{
	int flags = O_CLOEXEC | O_NOFOLLOW;

	flags |= mode == OPEN_READ ? O_RDONLY : O_RDWR;
	if (mode == OPEN_CREATE)
		flags |= O_CREAT;
	AUTO_FD int fd = openat(dir_of(w), path, flags, 0600);
	if (fd < 0)
		return -errno;
	struct file *f = calloc(1, sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	f->fd = TAKE_FD(fd);
	f->direct_fd = -1;
	*out = f;
	return 0;
}

static void real_close(struct world *w, struct file *f)
{
	if (f == NULL)
		return;
	close(f->fd);
	if (f->direct_fd >= 0)
		close(f->direct_fd);
	free(f);
}

static int64_t read_all(int fd, void *to, size_t n, uint64_t at)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = pread(fd, (uint8_t *)to + done, n - done, (off_t)(at + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (int64_t)done;
}

static int64_t real_pread(struct world *w, struct file *f, void *to, size_t n, uint64_t at)
{
	return read_all(f->fd, to, n, at);
}

/*
 * O_DIRECT wants aligned memory, offset and length. The descriptor is opened again through
 * /proc, since O_DIRECT is a property of the open file. Where that is not to be had (a
 * sandbox without /proc, a file system without O_DIRECT) the page cache is dropped for the
 * range instead, which is the next best thing.
 */
static int64_t real_pread_direct(struct world *w, struct file *f, void *to, size_t n, uint64_t at)
{
	if (f->direct_fd < 0) {
		char path[64];
		snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
		f->direct_fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	}
	if (f->direct_fd < 0) {
		posix_fadvise(f->fd, (off_t)at, (off_t)n, POSIX_FADV_DONTNEED);
		return read_all(f->fd, to, n, at);
	}
	uint64_t first = at & ~(uint64_t)(DIRECT_ALIGN - 1);
	uint64_t last = (at + n + DIRECT_ALIGN - 1) & ~(uint64_t)(DIRECT_ALIGN - 1);
	void *bounce = NULL;
	if (posix_memalign(&bounce, DIRECT_ALIGN, (size_t)(last - first)) != 0)
		return -ENOMEM;
	int64_t got = read_all(f->direct_fd, bounce, (size_t)(last - first), first);
	if (got == -EINVAL) {		/* a file system that opens so but does not read so */
		posix_fadvise(f->fd, (off_t)at, (off_t)n, POSIX_FADV_DONTNEED);
		got = read_all(f->fd, bounce, (size_t)(last - first), first);
	}
	if (got >= 0) {
		size_t skip = (size_t)(at - first);
		size_t have = (size_t)got > skip ? (size_t)got - skip : 0;
		got = (int64_t)MIN(have, n);
		if (got > 0)
			memcpy(to, (uint8_t *)bounce + skip, (size_t)got);
	}
	free(bounce);
	return got;
}

static int real_pwritev(struct world *w, struct file *f, const struct iovec *iov, int count,
			uint64_t at)
{
	struct iovec rest[64];

	must(count > 0 && (size_t)count <= ARRAY_LEN(rest));
	memcpy(rest, iov, (size_t)count * sizeof(*iov));
	int first = 0;
	while (first < count) {
		ssize_t put = pwritev(f->fd, rest + first, count - first, (off_t)at);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		if (put == 0)
			return -EIO;
		at += (uint64_t)put;
		size_t left = (size_t)put;
		while (first < count && left >= rest[first].iov_len)
			left -= rest[first++].iov_len;
		if (first < count && left > 0) {
			rest[first].iov_base = (uint8_t *)rest[first].iov_base + left;
			rest[first].iov_len -= left;
		}
	}
	return 0;
}

static int real_datasync(struct world *w, struct file *f)
{
	return fdatasync(f->fd) == 0 ? 0 : -errno;
}

static int real_allocate(struct world *w, struct file *f, uint64_t size)
{
	int rc = posix_fallocate(f->fd, 0, (off_t)size);

	return -rc;
}

static int64_t real_size(struct world *w, struct file *f)
{
	struct stat st;

	return fstat(f->fd, &st) == 0 ? st.st_size : -errno;
}

static int real_truncate(struct world *w, struct file *f, uint64_t size)
{
	return ftruncate(f->fd, (off_t)size) == 0 ? 0 : -errno;
}

static int real_unlink(struct world *w, const char *path)
{
	return unlinkat(dir_of(w), path, 0) == 0 ? 0 : -errno;
}

static int real_rename(struct world *w, const char *from, const char *to)
{
	return renameat(dir_of(w), from, dir_of(w), to) == 0 ? 0 : -errno;
}

static int real_mkdir(struct world *w, const char *path)
{
	return mkdirat(dir_of(w), path, 0700) == 0 ? 0 : -errno;
}

static int real_list(struct world *w, const char *path, int (*fn)(void *arg, const char *name),
		     void *arg)
{
	int fd = openat(dir_of(w), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	DIR *dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		close(fd);
		return rc;
	}
	for (;;) {
		errno = 0;
		struct dirent *e = readdir(dir);
		if (e == NULL) {
			rc = -errno;
			break;
		}
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		rc = fn(arg, e->d_name);
		if (rc != 0)
			break;
	}
	closedir(dir);
	return rc;
}

static int real_sync_dir(struct world *w, const char *path)
{
	AUTO_FD int fd = openat(dir_of(w), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fsync(fd) == 0 ? 0 : -errno;
}

static int real_lock(struct world *w, struct file *f, bool shared)
{
	if (flock(f->fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

static int real_space(struct world *w, uint64_t *free_bytes, uint64_t *total_bytes)
{
	struct statvfs st;

	if (fstatvfs(dir_of(w), &st) != 0)
		return -errno;
	*free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	*total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
	return 0;
}

static const struct world_ops real_ops = {
	.real_us = real_real_us,
	.mono_us = real_mono_us,
	.random = real_random,
	.open = real_open,
	.close = real_close,
	.pread = real_pread,
	.pread_direct = real_pread_direct,
	.pwritev = real_pwritev,
	.datasync = real_datasync,
	.allocate = real_allocate,
	.size = real_size,
	.truncate = real_truncate,
	.unlink = real_unlink,
	.rename = real_rename,
	.mkdir = real_mkdir,
	.list = real_list,
	.sync_dir = real_sync_dir,
	.lock = real_lock,
	.space = real_space,
};

struct world *world_real_new(int dirfd)
{
	struct real_world *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->world.ops = &real_ops;
	w->dirfd = dirfd;
	return &w->world;
}

void world_free(struct world *w)
{
	if (w != NULL)
		free(container_of(w, struct real_world, world));
}
