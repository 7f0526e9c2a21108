/*
 * All instances of the host, whichever network namespace they are in; those of namespaces that are gone are cleaned up.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/instance_private.h"
#include "spine/host.h"
#include "spine/pins.h"

struct scan {
	struct nat64_found *found;
	size_t count;
	uint64_t cookie;		/* of the directory being looked at, then ours */
	uint64_t seen[NAT64_INSTANCES_MAX];	/* cookies of namespaces that are there */
	size_t seen_count;
	int root;
};

static int scan_instance(void *arg, int ns_dir, const char *name, bool is_dir)
{
	struct scan *s = arg;

	if (!is_dir || strlen(name) >= NAT64_NAME_BYTES)
		return 0;
	if (s->count == NAT64_INSTANCES_MAX)
		return -E2BIG;
	AUTO_FD int dir = pin_dir(ns_dir, name, false);
	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	struct nat64_found *f = &s->found[s->count++];
	*f = (struct nat64_found){ .netns_cookie = s->cookie };
	memcpy(f->name, name, strlen(name));
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
	return pin_each(dir, scan_instance, s);
}

static int name_instances(void *arg, int netns_fd, uint64_t cookie, const char *name)
{
	struct scan *s = arg;

	(void)netns_fd;
	for (size_t i = 0; i < s->count; i++) {
		struct nat64_found *f = &s->found[i];

		if (f->netns_cookie != cookie)
			continue;
		f->here = cookie == s->cookie;
		if (name != NULL)
			(void)snprintf(f->netns, sizeof(f->netns), "%s", name);
		if (s->seen_count < ARRAY_LEN(s->seen) && (s->seen_count == 0 || s->seen[s->seen_count - 1] != cookie))
			s->seen[s->seen_count++] = cookie;
	}
	return 0;
}

static bool seen(const struct scan *s, uint64_t cookie)
{
	for (size_t i = 0; i < s->seen_count; i++)
		if (s->seen[i] == cookie)
			return true;
	return false;
}

/*
 * No name and no process leads to its namespace, and the kernel took its device out of the map `alive`, which it does when
 * the namespace ends. One that somebody keeps by a descriptor still has its device.
 */
static bool clean(const struct scan *s, const struct nat64_found *f)
{
	char cookie[24];

	(void)snprintf(cookie, sizeof(cookie), "%llu", (unsigned long long)f->netns_cookie);
	AUTO_FD int ns_dir = pin_dir(s->root, cookie, false);
	AUTO_FD int dir = ns_dir < 0 ? -1 : pin_dir(ns_dir, f->name, false);
	if (dir < 0 || flock(dir, LOCK_EX | LOCK_NB) != 0)
		return false;
	if (pin_alive(dir) != 0)
		return false;
	(void)!pin_wipe(dir);
	if (unlinkat(ns_dir, f->name, AT_REMOVEDIR) != 0)
		return false;
	(void)unlinkat(s->root, cookie, AT_REMOVEDIR);
	return true;
}

/* The record says that it is complete. */
static bool complete(const struct scan *s, const struct nat64_found *f)
{
	char path[64];
	struct nat64_record record = { 0 };
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info), key = 0;

	(void)snprintf(path, sizeof(path), "%llu", (unsigned long long)f->netns_cookie);
	AUTO_FD int ns_dir = pin_dir(s->root, path, false);
	AUTO_FD int dir = ns_dir < 0 ? -1 : pin_dir(ns_dir, f->name, false);
	AUTO_FD int fd = dir < 0 ? -1 : pin_get(dir, "record");
	return fd >= 0 && pin_is_map(fd) && bpf_obj_get_info_by_fd(fd, &info, &size) == 0 &&
	       (info.value_size != sizeof(record) || (bpf_map_lookup_elem(fd, &key, &record) == 0 && record.abi != 0));
}

static int scan_all(struct scan *s, struct errmsg *why)
{
	size_t kept = 0;
	int err = pin_each(s->root, scan_namespace, s);

	if (err == 0 && s->count > 0) {
		s->cookie = host_netns_cookie();
		err = host_netns_each(name_instances, s, why);
		if (err != 0)
			return err;
	}
	for (size_t i = 0; i < s->count && err == 0; i++) {
		if (!seen(s, s->found[i].netns_cookie) && clean(s, &s->found[i]))
			continue;
		if (complete(s, &s->found[i]))
			s->found[kept++] = s->found[i];
	}
	s->count = kept;
	return err == 0 ? 0 : errmsg_set(why, err, "look for translators");
}

int nat64_scan(struct arena *arena, bool everywhere, struct nat64_found **out, size_t *count, struct errmsg *why)
{
	struct scan s = { .found = arena_array(arena, NAT64_INSTANCES_MAX, sizeof(struct nat64_found)) };
	size_t kept = 0;
	int err = 0;

	if (s.found == NULL)
		return errmsg_set(why, -ENOMEM, "look for translators");
	s.root = host_bpffs_part("nat64", false, why);
	if (s.root < 0 && s.root != -ENOENT)
		return s.root;
	if (s.root >= 0) {
		err = scan_all(&s, why);
		close(s.root);
	}
	for (size_t i = 0; i < s.count && err == 0; i++)
		if (everywhere || s.found[i].here)
			s.found[kept++] = s.found[i];
	*out = s.found;
	*count = kept;
	return err;
}

void nat64_sweep(void)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct nat64_found *found;
	struct errmsg why;
	size_t count;

	(void)!nat64_scan(&arena, true, &found, &count, &why);
}
