#include "spine/code/dispatch.h"
#include "spine/device.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/device_private.h"
#include "spine/host.h"
#include "spine/pins.h"

#define TRACE_BYTES (256u * 1024)

/* --- maps -------------------------------------------------------------------------------- */

static void close_maps(struct spine_device *d)
{
	if (d->control != NULL)
		munmap(d->control, host_whole_pages(sizeof(*d->control)));
	if (d->stats != NULL)
		munmap(d->stats, d->stats_bytes);
	d->control = NULL;
	d->stats = NULL;
	fd_close(&d->meta_fd);
	fd_close(&d->control_fd);
	fd_close(&d->stats_fd);
	fd_close(&d->slots_fd);
	fd_close(&d->trace_fd);
	d->exists = false;
	d->count = 0;
	d->generation = 0;
	d->meta = (struct spine_meta){ 0 };
}

static int map_shared(struct spine_device *d, struct errmsg *why)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	void *control, *stats;

	if (bpf_obj_get_info_by_fd(d->stats_fd, &info, &size) != 0)
		return errmsg_set(why, -errno, "look at the counters of %s", d->name);
	d->stats_bytes = host_whole_pages(info.value_size);
	control = mmap(NULL, host_whole_pages(sizeof(*d->control)), PROT_READ | PROT_WRITE, MAP_SHARED, d->control_fd, 0);
	if (control == MAP_FAILED)
		return errmsg_set(why, -errno, "map the control block of %s", d->name);
	d->control = control;
	stats = mmap(NULL, d->stats_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d->stats_fd, 0);
	if (stats == MAP_FAILED)
		return errmsg_set(why, -errno, "map the counters of %s", d->name);
	d->stats = stats;
	d->cpus = d->control->cpus;
	if (d->control->abi != SPINE_LAYOUT_ABI || d->meta.abi != SPINE_RECORD_ABI)
		return errmsg_say(why, -EPROTO, "%s was set up by another version of prickle (layout %u, records %u; this "
				  "one has %u, %u): remove its extensions with that one, then install them again",
				  d->name, d->control->abi, d->meta.abi, SPINE_LAYOUT_ABI, SPINE_RECORD_ABI);
	if (d->cpus == 0 || (uint64_t)d->cpus * sizeof(struct spine_cpu_stats) > info.value_size)
		return errmsg_say(why, -EPROTO, "the counters of %s are damaged", d->name);
	return 0;
}

/* -ENOENT without a sentence: the device has none (or was never completed). */
static int open_maps(struct spine_device *d, struct errmsg *why)
{
	static const struct { const char *name; size_t at; } maps[] = {
		{ "control", offsetof(struct spine_device, control_fd) },
		{ "stats", offsetof(struct spine_device, stats_fd) },
		{ "slots", offsetof(struct spine_device, slots_fd) },
		{ "trace", offsetof(struct spine_device, trace_fd) },
	};
	uint32_t key = 0;

	d->meta_fd = pin_get(d->dir, "device");
	if (d->meta_fd == -ENOENT)
		return -ENOENT;
	if (d->meta_fd < 0)
		return errmsg_set(why, d->meta_fd, "open the state of %s", d->name);
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	if (bpf_obj_get_info_by_fd(d->meta_fd, &info, &size) != 0 || info.value_size != sizeof(d->meta) ||
	    bpf_map_lookup_elem(d->meta_fd, &key, &d->meta) != 0)
		return errmsg_say(why, -EPROTO, "the state of %s is of another version of prickle", d->name);
	for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
		int *fd = (int *)(void *)((char *)d + maps[i].at);

		*fd = pin_get(d->dir, maps[i].name);
		if (*fd < 0)
			return errmsg_set(why, *fd, "open '%s' of %s", maps[i].name, d->name);
	}
	int err = map_shared(d, why);
	d->exists = err == 0;
	return err;
}

static int make_one(int dir, const char *name, enum bpf_map_type type, uint32_t key_bytes, uint32_t value_bytes,
		    uint32_t entries, uint32_t flags, int *out)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);
	char text[BPF_OBJ_NAME_LEN];

	(void)snprintf(text, sizeof(text), "spine_%s", name);
	AUTO_FD int fd = bpf_map_create(type, text, key_bytes, value_bytes, entries, &opts);
	if (fd < 0)
		return -errno;
	int err = pin_set(dir, name, fd);
	if (err == 0)
		*out = TAKE_FD(fd);
	return err;
}

static uint32_t stats_cpus(void)
{
	uint32_t n = 1;

	while (n < host_cpus())
		n *= 2;
	return n;
}

/* The kernel takes an interface out of device maps when it goes away, in whichever namespace that happens. */
int device_make_alive(struct spine_device *d)
{
	uint32_t key = d->ifindex, value = d->ifindex;

	int fd = -1, err = pin_alive(d->dir);

	if (err != 0)
		return err < 0 ? err : 0;
	err = pin_remove(d->dir, "alive");
	if (err == 0)
		err = make_one(d->dir, "alive", BPF_MAP_TYPE_DEVMAP_HASH, 4, 4, 1, 0, &fd);
	if (err == 0 && bpf_map_update_elem(fd, &key, &value, BPF_ANY) != 0)
		err = -errno;
	fd_close(&fd);
	return err;
}

int device_make(struct spine_device *d, struct spine_class class, struct errmsg *why)
{
	uint32_t cpus = stats_cpus(), key = 0, hz = dispatch_hz();
	int err;

	if (d->exists)
		return 0;
	if (hz == 0)
		return errmsg_say(why, -EOPNOTSUPP, "the length of this kernel's tick cannot be found out");
	err = make_one(d->dir, "control", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct spine_control), 1, BPF_F_MMAPABLE,
		       &d->control_fd);
	if (err == 0)
		err = make_one(d->dir, "stats", BPF_MAP_TYPE_ARRAY, 4,
			       (uint32_t)(cpus * sizeof(struct spine_cpu_stats)), 1, BPF_F_MMAPABLE, &d->stats_fd);
	if (err == 0)
		err = make_one(d->dir, "slots", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, SPINE_SLOTS_MAX, 0, &d->slots_fd);
	if (err == 0)
		err = make_one(d->dir, "trace", BPF_MAP_TYPE_RINGBUF, 0, 0, TRACE_BYTES, 0, &d->trace_fd);
	if (err == 0)
		err = device_make_alive(d);
	if (err != 0)
		return errmsg_set(why, err, "make the maps of %s", d->name);
	struct spine_control control = { .abi = SPINE_LAYOUT_ABI, .cpus = cpus, .sample_mask = SPINE_SAMPLE_MASK, .hz = hz };
	if (bpf_map_update_elem(d->control_fd, &key, &control, BPF_ANY) != 0)
		return errmsg_set(why, -errno, "make the maps of %s", d->name);
	d->meta = (struct spine_meta){ .abi = SPINE_RECORD_ABI, .frags = class.frags, .attach_type = class.attach_type };
	memcpy(d->meta.name, d->name, sizeof(d->meta.name));
	device_step(d, "maps are made");
	err = make_one(d->dir, "device", BPF_MAP_TYPE_ARRAY, 4, sizeof(d->meta), 1, 0, &d->meta_fd);
	if (err == 0)
		err = device_write_meta(d, why);
	else
		err = errmsg_set(why, err, "make the maps of %s", d->name);
	if (err == 0)
		err = map_shared(d, why);
	d->exists = err == 0;
	return err;
}

int device_write_meta(struct spine_device *d, struct errmsg *why)
{
	uint32_t key = 0;

	return bpf_map_update_elem(d->meta_fd, &key, &d->meta, BPF_ANY) == 0 ? 0 :
	       errmsg_set(why, -errno, "write the state of %s", d->name);
}

/* --- opening ------------------------------------------------------------------------------ */

/* The directory, locked, and sure to be the one that has the name. -EAGAIN: it went while we waited. */
static int open_dir(struct spine_device *d, bool change, struct errmsg *why)
{
	char cookie[24], index[16];

	(void)snprintf(cookie, sizeof(cookie), "%llu", (unsigned long long)d->cookie);
	(void)snprintf(index, sizeof(index), "%u", d->ifindex);
	fd_close(&d->dir);
	fd_close(&d->ns_dir);
	d->ns_dir = pin_dir(d->root, cookie, change);
	d->dir = d->ns_dir < 0 ? d->ns_dir : pin_dir(d->ns_dir, index, change);
	if (d->dir < 0)
		return d->dir != -ENOENT ? errmsg_set(why, d->dir, "open the state of %s in bpffs", d->name) :
		       change		 ? -EAGAIN :
					   -ENOENT;
	if (!change)
		return 0;
	int err = pin_lock(d->dir);
	if (err == -EBUSY)
		return errmsg_say(why, -EBUSY, "%s is being changed by another command for more than %d s; try again", d->name,
				  PIN_LOCK_S_MAX);
	return err == 0 || err == -EAGAIN ? err : errmsg_set(why, err, "lock %s", d->name);
}

static int wipe_one(void *arg, int dir, const char *name, bool is_dir)
{
	const bool *keep_sets = arg;

	(void)is_dir;
	if (*keep_sets && (strcmp(name, "sets") == 0 || strcmp(name, "alive") == 0))
		return 0;
	return pin_remove(dir, name);
}

/* Remove all pins; the prefix sets that people made stay unless the interface itself went. */
int device_wipe(struct spine_device *d)
{
	int alive = pin_alive(d->dir);
	bool keep_sets = faccessat(d->dir, "sets", F_OK, 0) == 0 && alive > 0;

	if (alive < 0)
		return alive;
	close_maps(d);
	for (int turn = 0; turn < 4; turn++) {
		int err = pin_each(d->dir, wipe_one, &keep_sets);
		if (err != 0)
			return err;
	}
	return 0;
}

static int open_state(struct spine_device *d, bool change, struct errmsg *why)
{
	int err = -EAGAIN;

	for (int turn = 0; turn < PIN_OPEN_TURNS && err == -EAGAIN; turn++)
		err = open_dir(d, change, why);
	if (err == -EAGAIN)
		return errmsg_say(why, -EBUSY, "%s is being changed by other commands; try again", d->name);
	if (err == 0) {
		err = open_maps(d, why);
		int alive = pin_alive(d->dir);
		if (err == 0 && alive < 0)
			return errmsg_set(why, alive, "look whether the state of %s is that of this interface", d->name);
		/* An interface that had this number before, or half a start. */
		if ((err == 0 && alive == 0) || err == -ENOENT) {
			err = change ? device_wipe(d) : -ENOENT;
			if (err != 0 && change)
				return errmsg_set(why, err, "clean up what is left of an earlier %s", d->name);
		}
	}
	if (err == 0)
		err = device_refresh(d, why);
	/* Their slots would look free. */
	if (err == 0 && change && d->damaged > 0)
		return errmsg_say(why, -EPROTO, "records of %zu extensions of %s are damaged, or of another version of prickle: "
				  "remove its extensions with that one, then install them again", d->damaged, d->name);
	if (err == 0 && change)
		device_collect(d, false);
	if (!change && (err == -ENOENT || (err == 0 && d->count == 0)))
		return errmsg_say(why, -ENOENT, "%s has no extensions", d->name);
	return err;
}

static int enter(struct spine_device *d, const struct spine_where *where, struct errmsg *why)
{
	int err;

	d->netns = host_netns(where->netns, why);
	if (d->netns < 0)
		return d->netns;
	if (where->netns != NULL) {
		d->home = host_netns(NULL, why);
		if (d->home < 0)
			return d->home;
		err = host_netns_enter(d->netns, why);
		if (err != 0)
			return err;
	}
	d->cookie = host_netns_cookie();
	if (d->cookie == 0)
		return errmsg_say(why, -EOPNOTSUPP, "this kernel gives network namespaces no cookies (needs Linux 5.14)");
	d->ifindex = if_nametoindex(where->device);
	if (d->ifindex == 0)
		return errmsg_say(why, -ENODEV, "no interface '%.15s' in %s%.60s; `ip link` lists them", where->device,
				  where->netns == NULL ? "this network namespace" : "network namespace ",
				  where->netns == NULL ? "" : where->netns);
	return 0;
}

int spine_device_open(const struct spine_where *where, enum spine_open_mode mode, struct spine_device **out,
		      struct errmsg *why)
{
	struct spine_device *d;
	int err;

	if (strlen(where->device) >= IFNAMSIZ)
		return errmsg_say(why, -ENODEV, "'%.40s' is too long for an interface", where->device);
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return errmsg_set(why, -ENOMEM, "open %s", where->device);
	memcpy(d->name, where->device, strlen(where->device));
	d->netns = d->home = d->root = d->ns_dir = d->dir = -1;
	d->meta_fd = d->control_fd = d->stats_fd = d->slots_fd = d->trace_fd = -1;
	d->kept_slot = d->keeper = d->audit_fd = -1;
	d->open_mode = mode;
	d->mode = where->mode;
	d->records_store = calloc(SPINE_SLOTS_MAX, sizeof(*d->records_store));
	arena_init(&d->policy_arena, POLICY_ARENA_BYTES);
	d->reason = calloc(1, sizeof(((struct spine_place *)NULL)->reason));
	d->policy = where->policy != NULL ? realpath(where->policy, NULL) : NULL;
	if (where->policy != NULL && d->policy == NULL) {
		err = errmsg_set(why, -errno, "open the policy in '%s'", where->policy);
	} else if (d->records_store == NULL || d->reason == NULL) {
		err = errmsg_set(why, -ENOMEM, "open %s", where->device);
	} else {
		err = enter(d, where, why);
	}
	if (err == 0) {
		d->root = host_bpffs(mode == SPINE_CHANGE, why);
		err = d->root >= 0 ? 0 : d->root == -ENOENT ? errmsg_say(why, -ENOENT, "%s has no extensions", d->name) :
							      d->root;
	}
	if (err == 0)
		err = open_state(d, mode == SPINE_CHANGE, why);
	if (err == 0) {
		d->opened = true;
		*out = d;
		return 0;
	}
	spine_device_close(d);
	return err;
}

/* Opened for a change, and nothing is there at the end: take the directories away again. */
static void leave_nothing(struct spine_device *d)
{
	struct errmsg why;
	char name[24];

	device_collect(d, false);
	if (device_refresh(d, &why) != 0 || d->damaged > 0)
		return;
	if (d->count > 0 || (d->exists && d->ours) || (d->exists && d->meta.generation != 0))
		return;
	if (device_wipe(d) != 0)
		return;
	(void)snprintf(name, sizeof(name), "%u", d->ifindex);
	(void)unlinkat(d->ns_dir, name, AT_REMOVEDIR);
	(void)snprintf(name, sizeof(name), "%llu", (unsigned long long)d->cookie);
	(void)unlinkat(d->root, name, AT_REMOVEDIR);
}

void spine_device_close(struct spine_device *d)
{
	struct errmsg why;

	if (d == NULL)
		return;
	if (d->opened && d->open_mode == SPINE_CHANGE)
		leave_nothing(d);
	close_maps(d);
	if (d->home >= 0 && !d->confined)
		(void)!host_netns_enter(d->home, &why);
	fd_close(&d->netns);
	fd_close(&d->home);
	fd_close(&d->keeper);
	device_audit_close(d);
	fd_close(&d->dir);
	fd_close(&d->ns_dir);
	fd_close(&d->root);
	policy_store_close(d->store);
	arena_done(&d->policy_arena);
	free(d->policy);
	free(d->reason);
	free(d->records_store);
	free(d);
}

/* --- looking -------------------------------------------------------------------------------- */

int spine_device_netns(const struct spine_device *d)
{
	return d->netns;
}

uint32_t spine_device_ifindex(const struct spine_device *d)
{
	return d->ifindex;
}

const char *spine_device_name(const struct spine_device *d)
{
	return d->name;
}

int spine_device_dir(const struct spine_device *d)
{
	return d->dir;
}

const struct spine_meta *spine_device_meta(const struct spine_device *d)
{
	return &d->meta;
}

const char *spine_device_notice(const struct spine_device *d)
{
	return d->notice.text;
}

struct spine_control *spine_device_control(const struct spine_device *d)
{
	return d->control;
}

const struct spine_cpu_stats *spine_device_stats(const struct spine_device *d, uint32_t *cpus)
{
	*cpus = d->stats == NULL ? 0 : d->cpus;
	return d->stats;
}

size_t spine_device_records(const struct spine_device *d, const struct spine_record *const **out)
{
	*out = d->records;
	return d->count;
}

const struct spine_record *spine_device_find(const struct spine_device *d, const char *name)
{
	for (size_t i = 0; i < d->count; i++)
		if (strcmp(d->records[i]->name, name) == 0)
			return d->records[i];
	return NULL;
}

static bool is_up(const struct spine_device *d)
{
	struct ifreq r = { 0 };
	AUTO_FD int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(r.ifr_name, d->name, sizeof(r.ifr_name));
	return s < 0 || ioctl(s, SIOCGIFFLAGS, &r) != 0 || (r.ifr_flags & IFF_UP) != 0;
}

bool spine_device_running(const struct spine_device *d, const char **reason)
{
	*reason = !d->ours && d->attached.kind == ATTACH_NONE ? "nothing is attached to the interface" :
		  !d->ours				      ? "another program is attached to the interface" :
		  !is_up(d)				      ? "the interface is down" : "";
	return **reason == '\0';
}

bool spine_device_by_policy(const struct spine_device *d, const struct spine_record *r)
{
	const struct spine_slot_control *c = &d->control->slot[r->slot];

	return c->state == SPINE_SLOT_DISABLED && c->reason == SPINE_DISABLED_BY_POLICY;
}

static const char *reason_of_policy(const struct spine_device *d, const char *name)
{
	struct spine_place place;

	if (spine_device_place(d, name, &place) != 0 || place.reason[0] == '\0')
		return "switched off by the policy";
	memcpy(d->reason, place.reason, sizeof(place.reason));
	return d->reason;
}

const char *spine_device_state(const struct spine_device *d, const struct spine_record *r, const char **reason)
{
	static const char *const why[SPINE_FAULT_COUNT] = {
		[SPINE_FAULT_NOT_RUN] = "its program did not run",
		[SPINE_FAULT_STALL] = "it held the processor for too long",
		[SPINE_FAULT_BUDGET] = "it used more than its share of the processor",
		[SPINE_FAULT_VERDICT] = "it returned verdicts that it may not",
		[SPINE_FAULT_ABORTED] = "it aborted too many packets",
		[SPINE_FAULT_GREED] = "it used up the tail calls of those behind it",
	};
	const struct spine_slot_control *c = &d->control->slot[r->slot];

	*reason = "";
	switch (c->state) {
	case SPINE_SLOT_DISABLED:
		*reason = c->reason == SPINE_DISABLED_BY_POLICY ? reason_of_policy(d, r->name) : "switched off by the operator";
		return "disabled";
	case SPINE_SLOT_EJECTED:
		*reason = c->reason < SPINE_FAULT_COUNT && why[c->reason] != NULL ? why[c->reason] : "";
		return "ejected";
	default:
		break;
	}
	if (!spine_device_running(d, reason))
		return "not-running";
	if (device_slot_prog(d, r->slot) == 0) {
		*reason = "its slot lost its program; `prickle spine enable` puts it back";
		return "not-running";
	}
	return "active";
}

void spine_device_on_step(struct spine_device *d, void (*step)(void *arg, const char *name), void *arg)
{
	d->step = step;
	d->step_arg = arg;
}
