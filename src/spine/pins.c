#include "spine/pins.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/slice.h"
#include "spine/spine_limits.h"

#define LOCK_TURN_MS 10

static bool path_of(char *out, size_t size, int dir, const char *name)
{
	return snprintf(out, size, "/proc/self/fd/%d/%s", dir, name) < (int)size;
}

int pin_set(int dir, const char *name, int fd)
{
	char path[320];

	if (!path_of(path, sizeof(path), dir, name))
		return -ENAMETOOLONG;
	return bpf_obj_pin(fd, path) == 0 ? 0 : -errno;
}

int pin_get(int dir, const char *name)
{
	char path[320];
	int fd;

	if (!path_of(path, sizeof(path), dir, name))
		return -ENAMETOOLONG;
	fd = bpf_obj_get(path);
	return fd >= 0 ? fd : -errno;
}

int pin_dir(int dir, const char *name, bool make)
{
	int fd;

	if (make && mkdirat(dir, name, 0700) != 0 && errno != EEXIST)
		return -errno;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 ? fd : -errno;
}

int pin_each(int dir, int (*each)(void *arg, int dir, const char *name, bool is_dir), void *arg)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	DIR *list = fd < 0 ? NULL : fdopendir(fd);

	if (list == NULL) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	for (struct dirent *e; err == 0 && (e = readdir(list)) != NULL;)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			err = each(arg, dir, e->d_name, e->d_type == DT_DIR);
	closedir(list);
	return err;
}

static int remove_one(void *arg, int dir, const char *name, bool is_dir)
{
	int depth = *(int *)arg + 1, err;

	if (!is_dir)
		return unlinkat(dir, name, 0) == 0 || errno == ENOENT ? 0 : -errno;
	if (depth > PIN_DEPTH_MAX)
		return -ELOOP;
	AUTO_FD int fd = pin_dir(dir, name, false);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	/* A listing that is changed under way may skip names: again, until the directory goes. */
	for (int turn = 0; turn < 8; turn++) {
		err = pin_each(fd, remove_one, &depth);
		if (err != 0)
			return err;
		if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
	}
	return -errno;
}

int pin_remove(int dir, const char *name)
{
	struct stat st;
	int depth = 0;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : -errno;
	return remove_one(&depth, dir, name, S_ISDIR(st.st_mode));
}

static int wipe_one(void *arg, int dir, const char *name, bool is_dir)
{
	(void)arg;
	(void)is_dir;
	return pin_remove(dir, name);
}

int pin_wipe(int dir)
{
	int err = 0;

	/* A listing that is changed under way may skip names. */
	for (int turn = 0; turn < 4 && err == 0; turn++)
		err = pin_each(dir, wipe_one, NULL);
	return err;
}

int pin_lock(int dir)
{
	struct timespec turn = { .tv_nsec = LOCK_TURN_MS * 1000000L };
	struct stat st;

	for (int waited = 0; flock(dir, LOCK_EX | LOCK_NB) != 0; waited += LOCK_TURN_MS) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (waited >= PIN_LOCK_S_MAX * 1000)
			return -EBUSY;
		(void)nanosleep(&turn, NULL);
	}
	return fstat(dir, &st) == 0 && st.st_nlink > 0 ? 0 : -EAGAIN;
}

int pin_alive(int dir)
{
	uint32_t next;
	AUTO_FD int alive = pin_get(dir, "alive");

	if (alive < 0)
		return alive == -ENOENT ? 0 : alive;
	if (bpf_map_get_next_key(alive, NULL, &next) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

uint32_t pin_prog_id(int prog_fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(prog_fd, &info, &size) == 0 ? info.id : 0;
}

uint32_t pin_map_id(int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	/* Programs and links have numbers of their own. */
	return pin_is_map(fd) && bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

static bool is_kind(int fd, const char *kind)
{
	char path[64], text[64];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, text, sizeof(text));
	return n > 0 && (size_t)n == strlen(kind) && memcmp(text, kind, (size_t)n) == 0;
}

bool pin_is_map(int fd)
{
	return is_kind(fd, "anon_inode:bpf-map");
}

bool pin_is_prog(int fd)
{
	return is_kind(fd, "anon_inode:bpf-prog");
}

/* "memlock: N" of /proc/self/fdinfo: what the kernel charged for it. */
uint64_t pin_memory_bytes(int fd)
{
	char path[64], text[1024];
	struct slice rest, line, key, value;
	uint64_t bytes = 0;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	AUTO_FD int info = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = info < 0 ? -1 : read(info, text, sizeof(text));
	rest = slice_of(text, n > 0 ? (size_t)n : 0);
	while (rest.len > 0) {
		slice_cut(rest, '\n', &line, &rest);
		if (slice_cut(line, ':', &key, &value) && slice_eq(key, SLICE("memlock")) &&
		    slice_u64(slice_trim(value), UINT64_MAX, &bytes))
			return bytes;
	}
	return 0;
}
