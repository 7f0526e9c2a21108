#include "dvm/image/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/slice.h"
#include "dvm/image/image_limits.h"

struct copy {
	const char *from, *to;
	const char *const *skip;
	struct tree_report *report;
	struct errmsg *why;
};

static void close_directory(DIR **d)
{
	if (*d != NULL)
		closedir(*d);
}
#define AUTO_DIR __attribute__((cleanup(close_directory)))

static bool is_skipped(const struct copy *c, const char *below, const char *name)
{
	if (slice_ends(slice_str(name), SLICE(".jsa"))) {
		c->report->archives++;
		return true;
	}
	for (const char *const *s = c->skip; *s != NULL; s++)
		if (strcmp(*s, below) == 0)
			return true;
	return strcmp(below, "jmods") == 0;
}

static int copy_file(const struct copy *c, int from_dir, int to_dir, const char *name, const char *below, const struct stat *st)
{
	AUTO_FD int from = openat(from_dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO_FD int to = from < 0 ? -1 : openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ssize_t n = 1;

	if (from < 0 || to < 0)
		return errmsg_set(c->why, -errno, "copy '%s/%s'", c->from, below);
	while (n > 0) {
		n = copy_file_range(from, NULL, to, NULL, 1 << 30, 0);
		if (n < 0)
			return errmsg_set(c->why, -errno, "copy '%s/%s' to '%s'", c->from, below, c->to);
		c->report->bytes += (uint64_t)n;
	}
	if (fchmod(to, st->st_mode & 0777) != 0)
		return errmsg_set(c->why, -errno, "set the mode of '%s/%s'", c->to, below);
	c->report->files++;
	return 0;
}

/* Does a relative target, seen from the directory of `below`, stay in the tree? */
static bool stays(const char *below, const char *target)
{
	int depth = 0;

	for (const char *at = strchr(below, '/'); at != NULL; at = strchr(at + 1, '/'))
		depth++;
	struct slice rest = slice_str(target), part;
	while (rest.len != 0) {
		slice_cut(rest, '/', &part, &rest);
		if (slice_eq(part, SLICE("..")))
			depth--;
		else if (part.len != 0 && !slice_eq(part, SLICE(".")))
			depth++;
		if (depth < 0)
			return false;
	}
	return true;
}

static int copy_link(const struct copy *c, int from_dir, int to_dir, const char *name, const char *below)
{
	char target[PATH_MAX], whole[3 * PATH_MAX];
	ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return errmsg_set(c->why, -errno, "read the link '%s/%s'", c->from, below);
	target[n] = '\0';
	const char *slash = strrchr(below, '/');
	if (target[0] == '/' || stays(below, target))
		(void)snprintf(whole, sizeof(whole), "%s", target);
	else
		(void)snprintf(whole, sizeof(whole), "%s/%.*s%s", c->from, slash == NULL ? 0 : (int)(slash + 1 - below), below, target);
	if (symlinkat(whole, to_dir, name) != 0)
		return errmsg_set(c->why, -errno, "make the link '%s/%s'", c->to, below);
	c->report->links++;
	return 0;
}

static int copy_directory(const struct copy *c, int from, int to, const char *below, unsigned depth)
{
	AUTO_DIR DIR *d = NULL;
	int err = 0;
	int listed = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (listed < 0 || (d = fdopendir(listed)) == NULL) {
		err = -errno;
		fd_close(&listed);
		return errmsg_set(c->why, err, "read the directory '%s/%s'", c->from, below);
	}
	if (depth > TREE_DEPTH_MAX)
		return errmsg_say(c->why, -ELOOP, "'%s/%s' is deeper than %d directories", c->from, below, TREE_DEPTH_MAX);
	for (struct dirent *e; err == 0 && (errno = 0, e = readdir(d)) != NULL;) {
		char path[PATH_MAX];
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if ((size_t)snprintf(path, sizeof(path), "%s%s%s", below, *below == '\0' ? "" : "/", e->d_name) >= sizeof(path))
			return errmsg_say(c->why, -ENAMETOOLONG, "a path in '%s' is too long", c->from);
		if (is_skipped(c, path, e->d_name))
			continue;
		if (fstatat(from, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			return errmsg_set(c->why, -errno, "look at '%s/%s'", c->from, path);
		if (S_ISLNK(st.st_mode))
			err = copy_link(c, from, to, e->d_name, path);
		else if (S_ISREG(st.st_mode))
			err = copy_file(c, from, to, e->d_name, path, &st);
		else if (S_ISDIR(st.st_mode)) {
			AUTO_FD int sub = openat(from, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
			AUTO_FD int made = sub >= 0 && mkdirat(to, e->d_name, 0755) == 0 ? openat(to, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

			err = made < 0 ? errmsg_set(c->why, -errno, "copy the directory '%s/%s'", c->from, path) : copy_directory(c, sub, made, path, depth + 1);
		} else {
			err = errmsg_say(c->why, -EINVAL, "'%s/%s' is no file, directory or link: no JDK has such", c->from, path);
		}
	}
	return err;
}

int tree_copy(const char *from, const char *to, const char *const *skip, struct tree_report *report, struct errmsg *why)
{
	const struct copy c = { .from = from, .to = to, .skip = skip, .report = report, .why = why };
	AUTO_FD int source = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FD int made = -1;

	*report = (struct tree_report){ 0 };
	if (source < 0)
		return errmsg_set(why, -errno, "open the directory '%s'", from);
	if (mkdir(to, 0755) != 0 || (made = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return errmsg_set(why, -errno, "make the directory '%s'", to);
	return copy_directory(&c, source, made, "", 0);
}

static int remove_in(int parent, const char *name, const char *path, unsigned depth, struct errmsg *why)
{
	AUTO_DIR DIR *d = NULL;
	int err = 0;

	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	int fd = errno != EISDIR || depth > TREE_DEPTH_MAX ? -1 : openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || (d = fdopendir(fd)) == NULL) {
		err = -errno;
		fd_close(&fd);
		return errmsg_set(why, err, "remove '%s'", path);
	}
	for (struct dirent *e; err == 0 && (e = readdir(d)) != NULL;)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			err = remove_in(dirfd(d), e->d_name, path, depth + 1, why);
	return err == 0 && unlinkat(parent, name, AT_REMOVEDIR) != 0 ? errmsg_set(why, -errno, "remove '%s'", path) : err;
}

int tree_remove(const char *path, struct errmsg *why)
{
	return remove_in(AT_FDCWD, path, path, 0, why);
}
