/*
 * All devices of the host that have extensions, whichever network namespace they are in.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/device_private.h"
#include "spine/host.h"
#include "spine/pins.h"
#include "spine/spine_limits.h"

struct scan {
	struct spine_found *found;
	size_t count;
	uint64_t cookie;		/* of the directory being looked at, or ours */
	bool empty;
};

/* The interface is gone: nobody can use what is here, unless a command just makes it. */
static void clean(int ns_dir, int dir, const char *name)
{
	/* With the lock it may look different: a command may just have made it. */
	if (flock(dir, LOCK_EX | LOCK_NB) != 0 || pin_alive(dir) != 0)
		return;
	(void)!pin_wipe(dir);
	(void)unlinkat(ns_dir, name, AT_REMOVEDIR);
}

static int scan_device(void *arg, int ns_dir, const char *name, bool is_dir)
{
	struct scan *s = arg;
	uint64_t index;
	AUTO_FD int dir = -1;

	if (!is_dir || !slice_u64(slice_str(name), UINT32_MAX, &index))
		return 0;
	dir = pin_dir(ns_dir, name, false);
	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	int alive = pin_alive(dir);
	if (alive == 0) {
		clean(ns_dir, dir, name);
		return 0;
	}
	s->empty = false;
	if (alive < 0)
		return alive;
	/* With sets alone, or half made, it has no extensions. */
	if (faccessat(dir, "ext", F_OK, 0) != 0)
		return 0;
	if (s->count == SCAN_DEVICES_MAX)
		return -E2BIG;
	s->found[s->count++] = (struct spine_found){ .netns_cookie = s->cookie, .ifindex = (uint32_t)index };
	return 0;
}

static int scan_namespace(void *arg, int root, const char *name, bool is_dir)
{
	struct scan *s = arg;

	if (!is_dir || !slice_u64(slice_str(name), UINT64_MAX, &s->cookie))
		return 0;
	AUTO_FD int dir = pin_dir(root, name, false);
	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	s->empty = true;
	int err = pin_each(dir, scan_device, s);
	if (err == 0 && s->empty)
		(void)unlinkat(root, name, AT_REMOVEDIR);
	return err;
}

static int name_devices(void *arg, int netns_fd, uint64_t cookie, const char *name)
{
	struct scan *s = arg;

	(void)netns_fd;
	for (size_t i = 0; i < s->count; i++) {
		struct spine_found *f = &s->found[i];

		if (f->netns_cookie != cookie)
			continue;
		(void)!if_indextoname(f->ifindex, f->name);
		f->here = cookie == s->cookie;
		if (name != NULL)
			(void)snprintf(f->netns, sizeof(f->netns), "%s", name);
	}
	return 0;
}

int spine_device_scan(struct arena *arena, struct spine_found **out, size_t *count, struct errmsg *why)
{
	struct scan s = { .found = arena_array(arena, SCAN_DEVICES_MAX, sizeof(struct spine_found)) };
	struct errmsg nothing;
	AUTO_FD int root = host_bpffs(false, &nothing);
	int err = 0;

	if (s.found == NULL)
		return errmsg_set(why, -ENOMEM, "look for devices");
	if (root < 0 && root != -ENOENT) {
		*why = nothing;
		return root;
	}
	if (root >= 0) {
		err = pin_each(root, scan_namespace, &s);
		if (err != 0)
			return errmsg_set(why, err, "look for devices");
		s.cookie = host_netns_cookie();
		if (s.count > 0)
			err = host_netns_each(name_devices, &s, why);
	}
	*out = s.found;
	*count = s.count;
	return err;
}
