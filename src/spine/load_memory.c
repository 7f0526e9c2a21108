#include "spine/load_memory.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/slice.h"

#define GROUPS_DIR   "prickle-spine"
#define MARK	     "trusted.prickle.program"
#define UNMARKED_S   120		/* a group this old without a mark was left behind by a killed loader */
#define COLLECT_MAX  4096		/* groups looked at in one go */

static int write_at(int dir, const char *file, const char *text)
{
	AUTO_FD int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static bool has_word(int dir, const char *file, const char *word)
{
	char text[512];
	AUTO_FD int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	struct slice rest = slice_of(text, n > 0 ? (size_t)n : 0), head;

	while (rest.len > 0) {
		slice_cut(rest, ' ', &head, &rest);
		if (slice_eq(slice_trim(head), slice_str(word)))
			return true;
	}
	return false;
}

/* The top of the hierarchy with the memory controller, or a negative errno. */
static int hierarchy(bool *v2)
{
	static const struct {
		const char *path;
		long type;
	} tops[] = {
		{ "/sys/fs/cgroup/memory", CGROUP_SUPER_MAGIC },
		{ "/sys/fs/cgroup", CGROUP2_SUPER_MAGIC },
		{ "/sys/fs/cgroup/unified", CGROUP2_SUPER_MAGIC },
	};

	for (size_t i = 0; i < ARRAY_LEN(tops); i++) {
		struct statfs fs;
		AUTO_FD int fd = open(tops[i].path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fstatfs(fd, &fs) != 0 || fs.f_type != tops[i].type)
			continue;
		*v2 = fs.f_type == CGROUP2_SUPER_MAGIC;
		if (*v2 && !has_word(fd, "cgroup.controllers", "memory"))
			continue;
		return TAKE_FD(fd);
	}
	return -EOPNOTSUPP;
}

/* The directory of our groups; with `make` it is made. */
static int groups(bool make, bool *v2)
{
	AUTO_FD int top = hierarchy(v2);

	if (top < 0)
		return top;
	if (make) {
		if (*v2 && !has_word(top, "cgroup.subtree_control", "memory") &&
		    write_at(top, "cgroup.subtree_control", "+memory") != 0)
			return -EOPNOTSUPP;
		if (mkdirat(top, GROUPS_DIR, 0755) != 0 && errno != EEXIST)
			return errno == EROFS || errno == EACCES || errno == EPERM ? -EOPNOTSUPP : -errno;
	}
	AUTO_FD int dir = openat(top, GROUPS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	if (make && *v2 && write_at(dir, "cgroup.subtree_control", "+memory") != 0)
		return -EOPNOTSUPP;
	return TAKE_FD(dir);
}

int memory_group_limit(const struct memory_group *g, uint64_t limit_bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)limit_bytes);
	return write_at(g->dir, g->v2 ? "memory.max" : "memory.limit_in_bytes", text);
}

int memory_group_new(const char *extension, uint64_t limit_bytes, struct memory_group *out, struct errmsg *why)
{
	struct memory_group g = MEMORY_GROUP_NONE;
	uint32_t random = 0;
	int err;

	g.root = groups(true, &g.v2);
	if (g.root == -EOPNOTSUPP)
		return errmsg_say(why, -EOPNOTSUPP, "this machine gives us no memory control group "
						    "(/sys/fs/cgroup is missing, read-only or without 'memory')");
	if (g.root < 0)
		return errmsg_set(why, g.root, "make the memory control groups '%s'", GROUPS_DIR);
	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		random = (uint32_t)getpid();
	snprintf(g.name, sizeof(g.name), "%.40s-%08x", extension, random);
	if (mkdirat(g.root, g.name, 0755) != 0) {
		err = -errno;
		close(g.root);
		return errmsg_set(why, err, "make the memory control group '%s'", g.name);
	}
	g.dir = openat(g.root, g.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = g.dir < 0 ? -errno : memory_group_limit(&g, limit_bytes);
	if (err != 0) {
		memory_group_close(&g, true);
		return errmsg_set(why, err, "limit the memory control group of '%s'", extension);
	}
	*out = g;
	return 0;
}

int memory_group_join(const struct memory_group *g)
{
	return write_at(g->dir, "cgroup.procs", "0");
}

int memory_group_keep(const struct memory_group *g, uint32_t prog_id)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", prog_id);

	return fsetxattr(g->dir, MARK, text, (size_t)n, 0) == 0 ? 0 : -errno;
}

void memory_group_close(struct memory_group *g, bool remove)
{
	if (g->root < 0)
		return;
	if (remove)
		(void)unlinkat(g->root, g->name, AT_REMOVEDIR);
	if (g->dir >= 0)
		close(g->dir);
	close(g->root);
	*g = (struct memory_group)MEMORY_GROUP_NONE;
}

/* Its program has gone, or nobody ever marked it. */
static bool group_is_dead(int root, const char *name)
{
	char text[16];
	struct stat st;
	uint32_t id;
	AUTO_FD int dir = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || fstat(dir, &st) != 0)
		return false;
	ssize_t n = fgetxattr(dir, MARK, text, sizeof(text));
	if (n < 0)
		return errno == ENODATA && time(NULL) - st.st_ctime > UNMARKED_S;
	if (!slice_u32(slice_of(text, (size_t)n), &id))
		return true;
	AUTO_FD int prog = bpf_prog_get_fd_by_id(id);
	return prog < 0 && errno == ENOENT;
}

void memory_groups_collect(void)
{
	bool v2;
	int root = groups(false, &v2);

	if (root < 0)
		return;
	DIR *list = fdopendir(root);
	if (list == NULL) {
		close(root);
		return;
	}
	const struct dirent *e;
	for (unsigned i = 0; i < COLLECT_MAX && (e = readdir(list)) != NULL; i++) {
		if (e->d_type == DT_DIR && e->d_name[0] != '.' && group_is_dead(root, e->d_name))
			(void)unlinkat(root, e->d_name, AT_REMOVEDIR);
	}
	closedir(list);
}
