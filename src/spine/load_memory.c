#include "spine/load_memory.h"
#include "spine/spine_limits.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/slice.h"
#include "spine/host.h"
#include "spine/host.h"
#include "base/fdpass.h"

#define GROUPS_DIR   "prickle-spine"
#define MARK	     "trusted.prickle.program"
#define UNMARKED_S   120		/* a group this old without a mark was left behind by a killed loader */

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
		/* `ip netns exec` hides /sys/fs/cgroup from us. */
		AUTO_FD int fd = host_directory(tops[i].path);
		if (fd < 0 || fstatfs(fd, &fs) != 0 || fs.f_type != tops[i].type)
			continue;
		*v2 = fs.f_type == CGROUP2_SUPER_MAGIC;
		if (*v2 && !has_word(fd, "cgroup.controllers", "memory"))
			continue;
		return TAKE_FD(fd);
	}
	return -EOPNOTSUPP;
}

/* --- the keeper ---------------------------------------------------------------------------- */

enum keeper_verb { KEEPER_TOP, KEEPER_MARK };

struct keeper_message {
	int32_t verb_or_error;
	uint32_t value;			/* MARK: program id; answer to TOP: version 2 */
};

static int mark(int dir, uint32_t prog_id)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", prog_id);

	return fsetxattr(dir, MARK, text, (size_t)n, 0) == 0 ? 0 : -errno;
}

/* Only what is a control group gets the mark. */
static int keeper_mark(int dir, uint32_t prog_id)
{
	struct statfs fs;

	if (dir < 0 || fstatfs(dir, &fs) != 0 ||
	    (fs.f_type != CGROUP_SUPER_MAGIC && fs.f_type != CGROUP2_SUPER_MAGIC))
		return -EINVAL;
	return mark(dir, prog_id);
}

NORETURN static void keeper(int sock)
{
	struct keeper_message m;
	size_t fds;
	int got;

	host_enter_mounts();
	memory_groups_collect();
	while (got = -1, fdpass_receive(sock, &m, sizeof(m), &got, 1, &fds) == (ssize_t)sizeof(m)) {
		AUTO_FD int fd = fds == 1 ? got : -1;
		bool v2 = false;
		AUTO_FD int top = m.verb_or_error == KEEPER_TOP ? hierarchy(&v2) : -1;

		m.verb_or_error = m.verb_or_error == KEEPER_MARK ? keeper_mark(fd, m.value) : MIN(top, 0);
		m.value = v2;
		if (fdpass_send(sock, &m, sizeof(m), &top, top >= 0) != 0)
			break;
	}
	_exit(0);
}

int memory_keeper(struct errmsg *why)
{
	int pair[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return errmsg_set(why, -errno, "start the keeper of memory control groups");
	/* A grandchild: nobody has to wait for it. */
	child = fork();
	if (child == 0) {
		close(pair[0]);
		if (fork() == 0)
			keeper(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	if (child < 0 || waitpid(child, NULL, 0) < 0) {
		close(pair[0]);
		return errmsg_set(why, -EAGAIN, "start the keeper of memory control groups");
	}
	return pair[0];
}

/* Ask; *fd gets what came with the answer, or -1. */
static int ask(int sock, struct keeper_message *m, int give, int *fd)
{
	size_t fds = 0;
	int err = fdpass_send(sock, m, sizeof(*m), &give, give >= 0);

	*fd = -1;
	if (err == 0 && fdpass_receive(sock, m, sizeof(*m), fd, 1, &fds) != (ssize_t)sizeof(*m))
		err = -EPIPE;
	return err != 0 ? err : m->verb_or_error;
}

static int top_of(int keeper_sock, bool *v2)
{
	struct keeper_message m = { .verb_or_error = KEEPER_TOP };
	int fd, err;

	if (keeper_sock <= 0)
		return hierarchy(v2);
	err = ask(keeper_sock, &m, -1, &fd);
	*v2 = m.value != 0;
	return err != 0 ? err : fd >= 0 ? fd : -EPIPE;
}

/* The directory of our groups; with `make` it is made. */
static int groups(bool make, int keeper_sock, bool *v2)
{
	AUTO_FD int top = top_of(keeper_sock, v2);

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

int memory_group_new(const char *extension, uint64_t limit_bytes, int keeper_sock, struct memory_group *out,
		     struct errmsg *why)
{
	struct memory_group g = MEMORY_GROUP_NONE;
	uint32_t random = 0;
	int err;

	g.root = groups(true, keeper_sock, &g.v2);
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

int memory_group_keep(const struct memory_group *g, uint32_t prog_id, int keeper_sock)
{
	struct keeper_message m = { .verb_or_error = KEEPER_MARK, .value = prog_id };
	int fd;

	return keeper_sock <= 0 ? mark(g->dir, prog_id) : ask(keeper_sock, &m, g->dir, &fd);
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
	int root = groups(false, 0, &v2);

	if (root < 0)
		return;
	DIR *list = fdopendir(root);
	if (list == NULL) {
		close(root);
		return;
	}
	const struct dirent *e;
	for (unsigned i = 0; i < MEMORY_GROUPS_MAX && (e = readdir(list)) != NULL; i++) {
		if (e->d_type == DT_DIR && e->d_name[0] != '.' && group_is_dead(root, e->d_name))
			(void)unlinkat(root, e->d_name, AT_REMOVEDIR);
	}
	closedir(list);
}
