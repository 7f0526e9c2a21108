/*
 * The process that loads: libbpf works here, with the capabilities of the tier and in the extension's
 * memory group.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <prickle/spine_policy.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/load_private.h"
#include "base/fdpass.h"

#define PRINTS_BYTES_MAX 65536u
#define EXIT_ASKED	 0		/* all said over the socket */

/* libbpf's callback has no argument for us; this process exists for one load. */
static struct buf *libbpf_prints;

static int keep_print(enum libbpf_print_level level, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
static int keep_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level != LIBBPF_DEBUG)
		buf_vprintf(libbpf_prints, fmt, ap);
	return 0;
}

/* A map by the name in the object: bpf_map__reuse_fd gives a map of libbpf the name of the one that it takes. */
struct child_map {
	struct bpf_map *map;
	char name[LOAD_MAP_NAME_BYTES];
};

struct child_object {
	struct bpf_object *object;
	struct child_map maps[LOAD_MAPS_MAX];
	size_t map_count;
};

struct child {
	const struct load_plan *plan;
	int socket;
	struct child_object objects[LOAD_CHANNELS_MAX];
	struct buf prints;
	char *log;
	struct errmsg why;
	bool mismatch;
};

/* ---- what this process may do ---- */

/* A vetted object may use all of the verifier, and libbpf reads it like any other: more than that it needs not. */
static int drop_capabilities(enum spine_tier tier)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { 0 };

	caps[0].effective = caps[0].permitted = 1u << CAP_NET_ADMIN;
	caps[1].effective = caps[1].permitted =
		1u << (CAP_BPF - 32) | (tier == TIER_UNTRUSTED ? 0 : 1u << (CAP_PERFMON - 32));
	return syscall(SYS_capset, &head, caps) == 0 ? 0 : -errno;
}

static int compare_ints(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Close all descriptors but those that loading needs: an object that subverts libbpf finds nothing to use. */
static void close_others(const struct load_plan *plan, int socket)
{
	int keep[LOAD_MAPS_MAX + 2];
	size_t count = 0;

	keep[count++] = socket;
	for (size_t i = 0; i < plan->old->count && count < ARRAY_LEN(keep); i++)
		keep[count++] = plan->old->items[i].fd;
	qsort(keep, count, sizeof(keep[0]), compare_ints);
	unsigned from = 3;
	for (size_t i = 0; i < count; i++) {
		if ((unsigned)keep[i] > from)
			close_range(from, (unsigned)keep[i] - 1, 0);
		from = (unsigned)keep[i] + 1;
	}
	close_range(from, ~0u, 0);
}

static int confine(struct child *c)
{
	const struct load_plan *plan = c->plan;
	struct rlimit cpu = { LOAD_CPU_S, LOAD_CPU_S }, core = { 0, 0 };
	int err = 0;

	if (plan->group->root >= 0)
		err = memory_group_join(plan->group);
	if (err != 0)
		return errmsg_set(&c->why, err, "enter the memory control group of '%s'", plan->request->name);
	close_others(plan, c->socket);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    setrlimit(RLIMIT_CPU, &cpu) != 0 || setrlimit(RLIMIT_CORE, &core) != 0)
		return errmsg_set(&c->why, -errno, "confine the loader");
	err = drop_capabilities(plan->tier);
	return err == 0 ? 0 : errmsg_set(&c->why, err, "give up capabilities; loading needs root");
}

/* ---- objects ---- */

static bool is_handler(const char *name)
{
	return strcmp(name, "spine_call") == 0 || strcmp(name, "spine_drain") == 0;
}

static void choose_programs(const struct load_plan *plan, struct bpf_object *o, size_t channel)
{
	const struct object_program *entry = object_entry(plan->request->parsed);
	struct bpf_program *p;

	bpf_object__for_each_program(p, o) {
		const char *name = bpf_program__name(p);
		bool xdp = entry != NULL && strcmp(name, entry->name) == 0;
		bool handler = is_handler(name) && channel < plan->channels;
		bool egress = strcmp(name, "spine_egress") == 0;

		bpf_program__set_autoload(p, channel == 0 ? xdp || handler || egress ||
					  (plan->migrate && strcmp(name, "spine_migrate") == 0) : handler);
		if (xdp) {
			bpf_program__set_type(p, BPF_PROG_TYPE_XDP);
			bpf_program__set_expected_attach_type(p, plan->request->class.attach_type);
			bpf_program__set_flags(p, plan->request->class.frags ? BPF_F_XDP_HAS_FRAGS : 0);
		} else if (egress) {
			bpf_program__set_type(p, BPF_PROG_TYPE_XDP);
			bpf_program__set_expected_attach_type(p, BPF_XDP_DEVMAP);
			bpf_program__set_flags(p, 0);
		}
	}
}

/* The old map that may stand in for this one, or NULL. */
static const struct old_map *find_old(const struct load_plan *plan, const char *name, size_t channel)
{
	char file[LOAD_MAP_FILE_BYTES];

	if (plan->migrate && strncmp(name, "old_", 4) == 0) {
		load_map_file(file, name + 4, 0);
		return old_maps_find(plan->old, file);
	}
	if (!load_map_runtime(name) && !plan->keep_state)
		return NULL;
	/* Constants are the new version's, ports and rights are those of today's policy. */
	if (strcmp(name, "spine_ports") == 0 || strcmp(name, SPINE_POLICY_SECTION) == 0 || strncmp(name, ".rodata", 7) == 0)
		return NULL;
	load_map_file(file, name, channel);
	return old_maps_find(plan->old, file);
}

static int prepare_map(struct child *c, const struct child_map *m, size_t index, size_t channel)
{
	const struct old_map *old;
	int err = 0;

	/* LIBBPF_PIN_BY_NAME would share it with whoever uses the same name. */
	if (bpf_map__pin_path(m->map) != NULL)
		err = bpf_map__set_pin_path(m->map, NULL);
	if (err != 0)
		return err;
	if (strncmp(m->name, "old_", 4) == 0 && !c->plan->migrate)
		return bpf_map__set_autocreate(m->map, false);
	if (strcmp(m->name, SPINE_MAP_OUTBOX) == 0) {
		int cpus = libbpf_num_possible_cpus();
		err = cpus < 1 ? cpus : bpf_map__set_max_entries(m->map, 2 * (uint32_t)cpus);
		if (err != 0)
			return err;
	}
	if (channel > 0 && !load_map_per_channel(m->name)) {
		int first = bpf_map__fd(c->objects[0].maps[index].map);
		return first < 0 ? 0 : bpf_map__reuse_fd(m->map, first);
	}
	old = find_old(c->plan, m->name, channel);
	if (old == NULL || !old_map_fits(old, m->map, bpf_object__btf(c->objects[channel].object)))
		return 0;
	return bpf_map__reuse_fd(m->map, old->fd);
}

static int name_maps(struct child *c, struct child_object *o)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, o->object) {
		const char *name = load_map_name(map);
		if (strlen(name) >= LOAD_MAP_NAME_BYTES)
			return errmsg_say(&c->why, -EINVAL, "the map '%.80s...' has a name of more than %d bytes", name,
					  LOAD_MAP_NAME_BYTES - 1);
		if (o->map_count == LOAD_MAPS_MAX)
			return errmsg_say(&c->why, -E2BIG, "more than %d maps", LOAD_MAPS_MAX);
		snprintf(o->maps[o->map_count].name, LOAD_MAP_NAME_BYTES, "%s", name);
		o->maps[o->map_count++].map = map;
	}
	return 0;
}

static int open_object(struct child *c, size_t channel)
{
	const struct load_request *r = c->plan->request;
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = r->name, .kernel_log_buf = c->log,
		    .kernel_log_size = LOAD_LOG_BYTES_MAX, .kernel_log_level = 0);
	struct child_object *o = &c->objects[channel];

	o->object = bpf_object__open_mem(r->object.ptr, r->object.len, &opts);
	if (o->object == NULL)
		return -errno;
	choose_programs(c->plan, o->object, channel);
	int err = name_maps(c, o);
	for (size_t i = 0; i < o->map_count && err == 0; i++)
		err = prepare_map(c, &o->maps[i], i, channel);
	return err != 0 ? err : bpf_object__load(o->object);
}

/* ---- sending ---- */

static int send_row(struct child *c, enum load_row_kind kind, size_t channel, const char *name, int fd, bool reused)
{
	struct load_row row = { .kind = kind, .channel = (uint32_t)channel, .reused = reused };

	snprintf(row.name, sizeof(row.name), "%s", name);
	return fdpass_send(c->socket, &row, sizeof(row), &fd, fd >= 0 ? 1 : 0);
}

static int map_id(int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? (int)info.id : -errno;
}

static bool is_old(const struct old_maps *old, int fd)
{
	int id = map_id(fd);

	for (size_t i = 0; i < old->count && id > 0; i++) {
		if (old->items[i].info.id == (uint32_t)id)
			return true;
	}
	return false;
}

static int send_object(struct child *c, size_t channel)
{
	const struct object_program *entry = object_entry(c->plan->request->parsed);
	const struct child_object *o = &c->objects[channel];
	struct bpf_program *p;
	int err = 0;

	for (size_t i = 0; i < o->map_count && err == 0; i++) {
		const char *name = o->maps[i].name;
		int fd = bpf_map__fd(o->maps[i].map);
		if (fd >= 0 && (channel == 0 || load_map_per_channel(name)) && strncmp(name, "old_", 4) != 0)
			err = send_row(c, LOAD_MAP, channel, name, fd, is_old(c->plan->old, fd));
	}
	bpf_object__for_each_program(p, o->object) {
		const char *name = bpf_program__name(p);
		int fd = bpf_program__fd(p);
		enum load_row_kind kind = strcmp(name, "spine_call") == 0 ? LOAD_CALL :
					  strcmp(name, "spine_drain") == 0 ? LOAD_DRAIN :
					  strcmp(name, "spine_migrate") == 0 ? LOAD_MIGRATE :
					  strcmp(name, "spine_egress") == 0 ? LOAD_EGRESS : LOAD_ENTRY;
		if (err != 0 || fd < 0 || (kind == LOAD_ENTRY && (entry == NULL || strcmp(name, entry->name) != 0)))
			continue;
		err = send_row(c, kind, channel, name, fd, false);
	}
	return err;
}

/* State of the old version that no map of the new one took over. */
static bool state_is_left(const struct child *c)
{
	const struct old_maps *old = c->plan->old;
	const struct child_object *o = &c->objects[0];

	for (size_t i = 0; i < old->count; i++) {
		const struct old_map *m = &old->items[i];
		bool taken = strncmp(m->file, "spine_", 6) == 0 || strncmp(m->file, "section-rodata", 14) == 0 ||
			     strcmp(m->file, "section-data-policy") == 0;
		for (size_t j = 0; j < o->map_count && !taken; j++) {
			int fd = bpf_map__fd(o->maps[j].map);
			taken = fd >= 0 && map_id(fd) == (int)m->info.id;
		}
		if (!taken)
			return true;
	}
	return false;
}

static void send_end(struct child *c, int err)
{
	struct load_row row = { .kind = err == 0 ? LOAD_END : LOAD_FAILED, .why = c->why };

	row.mismatch = err == 0 && state_is_left(c);
	(void)!fdpass_send(c->socket, &row, sizeof(row), NULL, 0);
}

/* The whole log for the parent, if it wants it: what no row has room for. */
static void send_log(struct child *c)
{
	size_t len = strnlen(c->log, LOAD_LOG_BYTES_MAX), at = 0;

	while (c->plan->request->log != NULL && at < len) {
		size_t n = MIN(len - at, (size_t)65536);
		if (send(c->socket, c->log + at, n, MSG_NOSIGNAL) < 0)
			return;
		at += n;
	}
}

static int load_all(struct child *c)
{
	int err = confine(c);

	for (size_t i = 0; err == 0 && i < MAX(c->plan->channels, (size_t)1); i++)
		err = open_object(c, i);
	for (size_t i = 0; err == 0 && i < MAX(c->plan->channels, (size_t)1); i++)
		err = send_object(c, i);
	return err;
}

void load_child(const struct load_plan *plan, int socket)
{
	static struct child c;		/* 80 KB of names: not on the stack */

	c = (struct child){ .plan = plan, .socket = socket, .prints = BUF_INIT(PRINTS_BYTES_MAX) };
	AUTO_BUF struct buf sentence = BUF_INIT(4096);
	char wait;

	libbpf_prints = &c.prints;
	libbpf_set_print(keep_print);
	/* libbpf gives "xdp.frags" its flag whatever we say, unless the section is ours. */
	libbpf_register_prog_handler("xdp.frags", BPF_PROG_TYPE_XDP, BPF_XDP, NULL);
	libbpf_register_prog_handler("xdp", BPF_PROG_TYPE_XDP, BPF_XDP, NULL);
	c.log = calloc(1, LOAD_LOG_BYTES_MAX);
	int err = c.log == NULL ? -ENOMEM : load_all(&c);
	if (err != 0 && c.why.text[0] == '\0') {
		load_log_sentence(&sentence, slice_of(c.log, c.log == NULL ? 0 : strnlen(c.log, LOAD_LOG_BYTES_MAX)),
				  buf_slice(&c.prints), plan->request->parsed);
		/* EPERM and EACCES are the verifier's; our caller's EPERM is a refusal by the policy. */
		if (err == -EPERM || err == -EACCES)
			err = -EINVAL;
		if (sentence.len > 0)
			errmsg_say(&c.why, err, "%s", buf_cstr(&sentence));
		else
			errmsg_set(&c.why, err, "load '%s' into the kernel", plan->request->name);
	}
	send_end(&c, err);
	if (err != 0 && c.log != NULL)
		send_log(&c);
	/* Stay in the memory group until the parent has marked it. */
	shutdown(socket, SHUT_WR);
	(void)!read(socket, &wait, 1);
	_exit(EXIT_ASKED);
}
