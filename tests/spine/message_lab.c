/*
 * The example extension on a device, pinned as the runtime pins it, until standard input ends: for tests of the
 * library and its commands that do not depend on the loader.
 *
 *	message_lab DEVICE echo.o [PORT-IFINDEX]
 */
#include <fcntl.h>
#include <ftw.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spine/message/echo_load.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static char top[64], directory[128];

static int make(const char *path)
{
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_directories(unsigned ifindex)
{
	unsigned long long cookie = 0;
	socklen_t bytes = sizeof(cookie);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;
	char path[160];

	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &bytes) < 0)
		return -errno;
	close(fd);
	snprintf(top, sizeof(top), "/sys/fs/bpf/prickle/spine/%llu", cookie);
	snprintf(directory, sizeof(directory), "%s/%u/ext/echo", top, ifindex);
	err = make("/sys/fs/bpf/prickle");
	if (err == 0)
		err = make("/sys/fs/bpf/prickle/spine");
	if (err == 0)
		err = make(top);
	snprintf(path, sizeof(path), "%s/%u", top, ifindex);
	if (err == 0)
		err = make(path);
	snprintf(path, sizeof(path), "%s/%u/ext", top, ifindex);
	if (err == 0)
		err = make(path);
	if (err == 0)
		err = make(directory);
	snprintf(path, sizeof(path), "%s/maps", directory);
	return err == 0 ? make(path) : err;
}

static int pin(int fd, const char *name, unsigned channel, bool always)
{
	char path[256];

	if (channel > 0 || always)
		snprintf(path, sizeof(path), "%s/%s-%u", directory, name, channel);
	else
		snprintf(path, sizeof(path), "%s/%s", directory, name);
	return bpf_obj_pin(fd, path) < 0 ? -errno : 0;
}

static int pin_all(const struct echo *e)
{
	int err = 0;

	for (unsigned k = 0; err == 0 && k < ECHO_CHANNELS; k++) {
		struct spine_channel_fds fds;

		echo_fds(e, k, &fds);
		err = pin(fds.call, "call", k, true);
		if (err == 0)
			err = pin(fds.drain, "drain", k, true);
		if (err == 0)
			err = pin(fds.inbox, "maps/" SPINE_MAP_INBOX, k, false);
		if (err == 0)
			err = pin(fds.region, "maps/" SPINE_MAP_REGION, k, false);
		if (err == 0)
			err = pin(echo_map(e, k, SPINE_MAP_CHANNEL), "maps/" SPINE_MAP_CHANNEL, k, false);
	}
	if (err == 0)
		err = pin(echo_map(e, 0, SPINE_MAP_OUTBOX), "maps/" SPINE_MAP_OUTBOX, 0, false);
	if (err == 0)
		err = pin(echo_map(e, 0, SPINE_MAP_DOORBELL), "maps/" SPINE_MAP_DOORBELL, 0, false);
	return err == 0 ? pin(echo_map(e, 0, SPINE_MAP_SOCKETS), "maps/" SPINE_MAP_SOCKETS, 0, false) : err;
}

static int allow(const struct echo *e, const char *text)
{
	struct bpf_devmap_val port = { .ifindex = (uint32_t)strtoul(text, NULL, 10) };
	uint32_t key = port.ifindex;

	return bpf_map_update_elem(echo_map(e, 0, "spine_ports"), &key, &port, 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	return remove(path);
}

int main(int argc, char **argv)
{
	unsigned ifindex = argc > 2 ? if_nametoindex(argv[1]) : 0;
	struct echo e;
	char c;
	int err;

	if (ifindex == 0 || echo_load(&e, argv[2]) < 0)
		return 1;
	err = argc > 3 ? allow(&e, argv[3]) : 0;
	if (err == 0)
		err = make_directories(ifindex);
	if (err == 0)
		err = pin_all(&e);
	if (err == 0)
		err = bpf_xdp_attach((int)ifindex, e.xdp, XDP_FLAGS_DRV_MODE, NULL);
	if (err < 0)
		fprintf(stderr, "message_lab: %d\n", err);
	printf("%s\n", err == 0 ? "ready" : "failed");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	bpf_xdp_detach((int)ifindex, XDP_FLAGS_DRV_MODE, NULL);
	nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return err == 0 ? 0 : 1;
}
