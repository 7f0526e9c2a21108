#include "spine/host.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/slice.h"
#include "base/fdpass.h"
#include "spine/spine_limits.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* --- the mount namespace ------------------------------------------------------------------- */

static pid_t parent_of(pid_t pid)
{
	char path[64], text[1024], *at;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strstr(text, "\nPPid:");
	return at == NULL ? 0 : (pid_t)strtol(at + 6, NULL, 10);
}

static bool enter_mounts_of(pid_t pid)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && setns(fd, CLONE_NEWNS) == 0;
}

void host_enter_mounts(void)
{
	pid_t chain[HOST_ANCESTORS_MAX];
	size_t n = 0;

	if (enter_mounts_of(1))
		return;
	for (pid_t pid = getppid(); pid > 1 && n < HOST_ANCESTORS_MAX; pid = parent_of(pid))
		chain[n++] = pid;
	while (n-- > 0)
		if (enter_mounts_of(chain[n]))
			return;
}

int host_own_directory(int above, const char *name, bool make)
{
	struct stat st;

	if (make && mkdirat(above, name, 0700) != 0 && errno != EEXIST)
		return -errno;
	AUTO_FD int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOTDIR || errno == ELOOP ? -EUCLEAN : -errno;
	if (fstat(fd, &st) != 0)
		return -errno;
	return st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0 ? -EUCLEAN : TAKE_FD(fd);
}

struct part {
	const char *name;
	bool make;
};

/* In the child: what went wrong as a negative errno, or the directory. */
static int directory(const void *arg)
{
	const struct part *part = arg;
	bool make = part->make;
	struct statfs fs;

	if (statfs(HOST_BPFFS, &fs) != 0)
		return errno == ENOENT ? -ENOTSUP : -errno;
	if (fs.f_type != BPF_FS_MAGIC) {
		if (!make)
			return -ENOENT;
		if (mount("bpf", HOST_BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0)
			return errno == ENODEV ? -ENOTSUP : -errno;
	}
	AUTO_FD int top = open(HOST_BPFFS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return -errno;
	/* bpffs is often mounted with the mode of /tmp: somebody else may have been here first. */
	AUTO_FD int ours = host_own_directory(top, "prickle", make);
	return ours < 0 ? ours : host_own_directory(ours, part->name, make);
}

static int receive_result(int socket)
{
	int err, fd;
	size_t fds;
	ssize_t n = fdpass_receive(socket, &err, sizeof(err), &fd, 1, &fds);

	if (n != (ssize_t)sizeof(err))
		return n < 0 ? (int)n : -EIO;
	return err != 0 ? err : fds == 1 ? fd : -EIO;
}

/* What a child opens with the host's mounts: a descriptor, or a negative errno. */
static int open_at_host(int (*open_it)(const void *arg), const void *arg)
{
	int pair[2], result;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	child = fork();
	if (child == 0) {
		host_enter_mounts();
		int fd = open_it(arg), err = fd < 0 ? fd : 0;
		(void)!fdpass_send(pair[1], &err, sizeof(err), &fd, fd >= 0);
		_exit(0);
	}
	close(pair[1]);
	result = child < 0 ? -errno : receive_result(pair[0]);
	close(pair[0]);
	if (child > 0)
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
	return result;
}

static int plain_directory(const void *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 ? fd : -errno;
}

int host_directory(const char *path)
{
	return open_at_host(plain_directory, path);
}

static int pinned_object(const void *path)
{
	int fd = bpf_obj_get(path);

	return fd >= 0 ? fd : -errno;
}

int host_pinned(const char *path)
{
	int fd = bpf_obj_get(path);

	if (fd >= 0)
		return fd;
	if (errno != ENOENT || *path != '/')
		return -errno;
	return open_at_host(pinned_object, path);
}

static int cloned_bpffs(const void *path)
{
	int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	return fd >= 0 ? fd : -errno;
}

int host_bpffs_clone(void)
{
	struct statfs here;
	int fd;

	if (statfs(HOST_BPFFS, &here) == 0 && here.f_type == BPF_FS_MAGIC)
		return -1;
	fd = open_at_host(cloned_bpffs, HOST_BPFFS);
	return fd >= 0 ? fd : -1;
}

int host_bpffs_part(const char *name, bool make, struct errmsg *why)
{
	struct part part = { name, make };
	int result = open_at_host(directory, &part);

	if (result == -EPERM || result == -EACCES)
		return errmsg_say(why, -EACCES, "state is kept in " HOST_BPFFS
				  ", which only root may use: run this as root");
	if (result == -EUCLEAN)
		return errmsg_say(why, result, HOST_BPFFS "/prickle, or the directory '%s' in it, belongs to somebody else "
				  "or others may write there, so what it holds cannot be trusted: look who made it, remove it, "
				  "run this again", name);
	if (result == -ENOTSUP)
		return errmsg_say(why, result, "there is no " HOST_BPFFS " here and none can be mounted; "
				  "`prickle spine doctor` tells what this kernel offers");
	if (result < 0 && result != -ENOENT)
		return errmsg_set(why, result, "open the host's bpffs, " HOST_BPFFS "/prickle/%s", name);
	return result >= 0 ? result : errmsg_say(why, result, "nothing runs on this host");
}

int host_bpffs(bool make, struct errmsg *why)
{
	int result = host_bpffs_part("spine", make, why);

	if (result == -EACCES)
		return errmsg_say(why, -EACCES, "SPINE keeps its state in " HOST_BPFFS
				  ", which only root may use: run this as root");
	return result == -ENOENT ? errmsg_say(why, result, "no extensions on this host") : result;
}

/* --- network namespaces ---------------------------------------------------------------------- */

int host_netns(const char *name, struct errmsg *why)
{
	char path[320] = "/proc/thread-self/ns/net";
	int fd;

	if (name != NULL && (*name == '\0' || *name == '.' || strchr(name, '/') != NULL ||
			     snprintf(path, sizeof(path), "/run/netns/%s", name) >= (int)sizeof(path)))
		return errmsg_say(why, -EINVAL, "'%.60s' is no name of a network namespace", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	return name == NULL ? errmsg_set(why, -errno, "open our network namespace") :
	       errno == ENOENT ? errmsg_say(why, -ENOENT, "no network namespace '%s'; `ip netns list` shows them", name) :
				 errmsg_set(why, -errno, "open network namespace '%s'", name);
}

int host_netns_enter(int netns_fd, struct errmsg *why)
{
	return setns(netns_fd, CLONE_NEWNET) == 0 ? 0 : errmsg_set(why, -errno, "enter the network namespace");
}

uint64_t host_netns_cookie(void)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);
	AUTO_FD int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0 || getsockopt(s, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0)
		return 0;
	return cookie;
}

struct walk {
	int (*each)(void *arg, int netns_fd, uint64_t cookie, const char *name);
	void *arg;
	uint64_t *seen;
	size_t seen_count;
};

/* One candidate, a path; namespaces that cannot be opened are not there for us. */
static int visit(struct walk *w, const char *path, const char *name)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint64_t cookie;

	if (fd < 0 || fstat(fd, &st) != 0)
		return 0;
	for (size_t i = 0; i < w->seen_count; i++)
		if (w->seen[i] == st.st_ino)
			return 0;
	if (w->seen_count == HOST_NAMESPACES_MAX)
		return 0;
	w->seen[w->seen_count++] = st.st_ino;
	if (setns(fd, CLONE_NEWNET) != 0)
		return 0;
	cookie = host_netns_cookie();
	return cookie == 0 ? 0 : w->each(w->arg, fd, cookie, name);
}

/* Those with names first: ours may have one. */
static int visit_all(struct walk *w, const char *home)
{
	static const char *const roots[] = { "/run/netns", "/proc" };
	int err = 0;

	for (size_t i = 0; err == 0 && i < ARRAY_LEN(roots); i++) {
		DIR *list = opendir(roots[i]);

		for (struct dirent *e; list != NULL && err == 0 && (e = readdir(list)) != NULL;) {
			char path[320];
			int n;

			if (i == 0 ? e->d_name[0] == '.' : !ascii_digit((uint8_t)e->d_name[0]))
				continue;
			n = i == 0 ? snprintf(path, sizeof(path), "/run/netns/%s", e->d_name) :
				     snprintf(path, sizeof(path), "/proc/%s/ns/net", e->d_name);
			if (n > 0 && (size_t)n < sizeof(path))
				err = visit(w, path, i == 0 ? e->d_name : NULL);
		}
		if (list != NULL)
			closedir(list);
		if (i == 0 && err == 0)
			err = visit(w, home, NULL);
	}
	return err;
}

int host_netns_each(int (*each)(void *arg, int netns_fd, uint64_t cookie, const char *name), void *arg,
		    struct errmsg *why)
{
	struct walk w = { .each = each, .arg = arg };
	char path[64];
	int err, back;
	AUTO_FD int home = host_netns(NULL, why);
	AUTO_FREE uint64_t *seen = calloc(HOST_NAMESPACES_MAX, sizeof(*seen));

	if (home < 0)
		return home;
	if (seen == NULL)
		return errmsg_set(why, -ENOMEM, "list network namespaces");
	w.seen = seen;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", home);
	err = visit_all(&w, path);
	back = host_netns_enter(home, why);
	return back != 0 ? back : err;
}

/* --- the machine ------------------------------------------------------------------------------- */

uint32_t host_cpus(void)
{
	int n = libbpf_num_possible_cpus();

	return n < 1 ? 1 : (uint32_t)n;
}

size_t host_whole_pages(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (bytes + page - 1) / page * page;
}
