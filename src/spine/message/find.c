/*
 * Where an extension is pinned: bpffs of the host, by the cookie of the network namespace and the
 * interface's index. `ip netns exec` puts another /sys over the one with bpffs, so that the way goes
 * through the root directory of a process that still sees it: ours, the first one, or an ancestor.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/message/bpf.h"
#include <prickle/spine_manifest.h>

#include "spine/message/channel.h"
#include "spine/message/message_limits.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71		/* linux 5.14; glibc 2.36 does not know it */
#endif

static int netns_cookie(uint64_t *out)
{
	AUTO_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t bytes = sizeof(*out);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, out, &bytes) < 0)
		return -errno;
	return 0;
}

static int open_below(const char *root, const char *path)
{
	char full[512];
	int n = snprintf(full, sizeof(full), "%s/sys/fs/bpf/prickle/spine/%s", root, path);

	if (n < 0 || (size_t)n >= sizeof(full))
		return -ENAMETOOLONG;
	n = open(full, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return n < 0 ? -errno : n;
}

/* Field 4 of /proc/PID/stat stands behind the name, which may hold anything but ends in the last ')'. */
static long parent_of(long pid)
{
	char path[64], text[512];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strrchr(text, ')');
	if (at == NULL || strlen(at) < 5)
		return 0;
	return strtol(at + 4, NULL, 10);
}

int channel_directory(const char *device, const char *extension, struct spine_error *why)
{
	unsigned index = if_nametoindex(device);
	char path[128], root[64];
	uint64_t cookie;
	int fd, err;

	if (index == 0)
		return spine_fail(why, -ENODEV, "there is no interface '%s' here", device);
	err = netns_cookie(&cookie);
	if (err < 0)
		return spine_fail(why, err, "this kernel does not tell network namespaces apart");
	if (strlen(extension) >= SPINE_NAME_BYTES || strchr(extension, '/') != NULL || *extension == '.' ||
	    *extension == '\0')
		return spine_fail(why, -EINVAL, "'%s' is no name of an extension", extension);
	snprintf(path, sizeof(path), "%llu/%u/ext/%s", (unsigned long long)cookie, index, extension);
	fd = open_below("", path);
	if (fd < 0)
		fd = open_below("/proc/1/root", path);
	long pid = getppid();
	for (int i = 0; fd < 0 && pid > 1 && i < (int)FIND_ANCESTORS_MAX; i++, pid = parent_of(pid)) {
		snprintf(root, sizeof(root), "/proc/%ld/root", pid);
		fd = open_below(root, path);
	}
	if (fd < 0)
		return spine_fail(why, fd == -EACCES ? -EACCES : -ENOENT,
				  "no extension '%s' is pinned for '%s'; 'prickle spine list' shows them",
				  extension, device);
	return fd;
}
