#include "spine/extensions/kv_host.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Newer than the headers of the oldest system that we build on. */
#define TCX_EGRESS  47			/* BPF_TCX_EGRESS, linux 6.6 */
#define BEFORE_ALL  (1u << 3)		/* BPF_F_BEFORE without a relative one: first */
#define EPOCH_LEAP  (UINT64_C(1) << 32)	/* more than packets add while we read and write it */

int kv_host_open(const char *directory, const char *link, uint32_t ifindex, struct kv_host *out, struct errmsg *why)
{
	const struct {
		const char *name;
		int *fd;
	} maps[] = {
		{ "settings", &out->settings }, { "epoch", &out->epoch },
		{ "servers", &out->servers }, { "counts", &out->counts },
	};
	char path[300];

	*out = (struct kv_host){ -1, -1, -1, -1, .cpus = libbpf_num_possible_cpus(), .ifindex = ifindex };
	if (out->cpus <= 0)
		return errmsg_set(why, -EIO, "number of processors");
	if (snprintf(out->directory, sizeof(out->directory), "%s", directory) >= (int)sizeof(out->directory) ||
	    snprintf(out->link, sizeof(out->link), "%s", link) >= (int)sizeof(out->link))
		return errmsg_set(why, -ENAMETOOLONG, "directory of maps '%s'", directory);
	for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", out->directory, maps[i].name);
		*maps[i].fd = bpf_obj_get(path);
		if (*maps[i].fd < 0)
			return errmsg_set(why, -errno, "map %s of a key-value cache: '%s'", maps[i].name, path);
	}
	return 0;
}

void kv_host_close(struct kv_host *h)
{
	const int fds[] = { h->settings, h->epoch, h->servers, h->counts };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

bool kv_host_address(const char *text, uint32_t out[4])
{
	uint32_t a[4] = { 0, 0, htonl(0xffff), 0 };

	if (inet_pton(AF_INET, text, &a[3]) != 1 && inet_pton(AF_INET6, text, a) != 1)
		return false;
	memcpy(out, a, sizeof(a));
	return true;
}

/* --- the program on the way out ------------------------------------------------------------------- */

/* The filter of the clsact qdisc that is ours, at the place where we put it. */
static bool classic_is_there(const struct kv_host *h, uint32_t program)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)h->ifindex, .attach_point = BPF_TC_EGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, filter, .handle = 1, .priority = 1);

	return program != 0 && bpf_tc_query(&hook, &filter) == 0 && filter.prog_id == program;
}

const char *kv_host_follows(const struct kv_host *h)
{
	struct kv_settings s;
	AUTO_FD int link = bpf_obj_get(h->link);

	if (link >= 0)
		return "tcx";
	kv_host_settings(h, &s);
	return s.classic && classic_is_there(h, s.program) ? "clsact" : NULL;
}

/* kv_reply with the extension's own maps: its descriptor, or a negative errno. */
static int load_reply(const struct kv_host *h, const char *path, struct bpf_object **out, struct errmsg *why)
{
	struct bpf_program *program;
	struct bpf_map *map;
	char pin[320];
	int err;

	*out = bpf_object__open_file(path, NULL);
	if (*out == NULL)
		return errmsg_set(why, -errno, "open '%s'", path);
	bpf_object__for_each_map(map, *out) {
		if (bpf_map__is_internal(map))
			continue;	/* its constants */
		(void)snprintf(pin, sizeof(pin), "%s/%s", h->directory, bpf_map__name(map));
		AUTO_FD int fd = bpf_obj_get(pin);
		if (fd < 0)
			return errmsg_set(why, -errno, "map %s of the cache", bpf_map__name(map));
		err = bpf_map__reuse_fd(map, fd);
		if (err != 0)
			return errmsg_set(why, err, "use map %s of the cache", bpf_map__name(map));
	}
	err = bpf_object__load(*out);
	if (err != 0)
		return errmsg_set(why, err, "load '%s'", path);
	program = bpf_object__find_program_by_name(*out, "kv_reply");
	return program != NULL ? bpf_program__fd(program) : errmsg_set(why, -ENOENT, "no program kv_reply in '%s'", path);
}

/* First of all: a program before ours could let an acknowledgement leave unseen. */
static int attach_tcx(const struct kv_host *h, int program, struct errmsg *why)
{
	DECLARE_LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = BEFORE_ALL);
	AUTO_FD int link = bpf_link_create(program, (int)h->ifindex, (enum bpf_attach_type)TCX_EGRESS, &opts);

	if (link < 0)
		return errmsg_set(why, link, "attach to the way out of the interface");
	if (bpf_obj_pin(link, h->link) != 0)
		return errmsg_set(why, -errno, "pin the link to the way out of the interface");
	return 0;
}

static int attach_classic(const struct kv_host *h, int program, struct kv_settings *s, struct errmsg *why)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)h->ifindex, .attach_point = BPF_TC_EGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = program, .handle = 1, .priority = 1);
	struct bpf_prog_info info = { 0 };
	uint32_t bytes = sizeof(info);
	int err = bpf_tc_hook_create(&hook);

	if (err != 0 && err != -EEXIST)
		return errmsg_set(why, err, "make the clsact qdisc of the interface");
	s->made_qdisc = err == 0;
	if (bpf_obj_get_info_by_fd(program, &info, &bytes) != 0)
		return errmsg_set(why, -errno, "id of the program on the way out");
	err = bpf_tc_attach(&hook, &filter);
	if (err != 0) {
		hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
		if (s->made_qdisc)
			(void)bpf_tc_hook_destroy(&hook);
		return errmsg_set(why, err, err == -EEXIST ?
				  "another filter has priority 1 on the interface's way out; remove it with `tc filter`" :
				  "attach a filter to the interface's way out");
	}
	s->classic = 1;
	s->program = info.id;
	return 0;
}

static int detach(const struct kv_host *h, struct kv_settings *s, struct errmsg *why)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)h->ifindex, .attach_point = BPF_TC_EGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, filter, .handle = 1, .priority = 1);
	int err = 0;

	if (unlink(h->link) != 0 && errno != ENOENT)
		return errmsg_set(why, -errno, "detach from the way out of the interface");
	if (s->classic && classic_is_there(h, s->program))
		err = bpf_tc_detach(&hook, &filter);
	if (err != 0)
		return errmsg_set(why, err, "detach the filter on the interface's way out");
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	if (s->classic && s->made_qdisc)
		(void)bpf_tc_hook_destroy(&hook);	/* gone already is fine */
	s->classic = 0;
	s->made_qdisc = 0;
	s->program = 0;
	return 0;
}

/* --- settings ------------------------------------------------------------------------------------- */

static const uint32_t zero;

static int put(int map, const void *key, const void *value, const char *what, struct errmsg *why)
{
	if (bpf_map_update_elem(map, key, value, BPF_ANY) != 0)
		return errmsg_set(why, -errno, "write %s of the cache", what);
	return 0;
}

void kv_host_settings(const struct kv_host *h, struct kv_settings *out)
{
	if (bpf_map_lookup_elem(h->settings, &zero, out) != 0)
		*out = (struct kv_settings){ 0 };
}

static int attach(const struct kv_host *h, const char *path, bool classic, struct kv_settings *s, struct errmsg *why)
{
	struct bpf_object *object = NULL;
	int program = load_reply(h, path, &object, why), err = program;

	if (program >= 0 && !classic) {
		err = attach_tcx(h, program, why);
		classic = err == -EINVAL;	/* a kernel before 6.6 does not know it */
	}
	if (program >= 0 && classic)
		err = attach_classic(h, program, s, why);
	bpf_object__close(object);
	return err;
}

int kv_host_start(const struct kv_host *h, const char *object, uint32_t ttl_ms, bool classic, struct errmsg *why)
{
	struct kv_settings s;
	uint64_t epoch;
	int err;

	libbpf_set_print(NULL);		/* its sentences are not for people */
	kv_host_settings(h, &s);
	if (kv_host_follows(h) == NULL) {
		s.ttl_ns = 0;
		err = put(h->settings, &zero, &s, "settings", why);
		if (err == 0)
			err = detach(h, &s, why);
		if (err == 0)
			err = attach(h, object, classic, &s, why);
		if (err != 0)
			return err;
	}
	/* Writes passed unseen while it was off. */
	if (s.ttl_ns == 0) {
		if (bpf_map_lookup_elem(h->epoch, &zero, &epoch) != 0)
			return errmsg_set(why, -errno, "read the epoch of the cache");
		epoch += EPOCH_LEAP;
		err = put(h->epoch, &zero, &epoch, "the epoch", why);
		if (err != 0)
			return err;
	}
	s.ttl_ns = ttl_ms * UINT64_C(1000000);
	return put(h->settings, &zero, &s, "settings", why);
}

int kv_host_add_server(const struct kv_host *h, const uint32_t address[4], struct errmsg *why)
{
	const uint32_t one = 1;

	if (bpf_map_update_elem(h->servers, address, &one, BPF_ANY) != 0)
		return errmsg_set(why, -errno, "add an address of the server; %d are possible", KV_SERVERS);
	return 0;
}

int kv_host_stop(const struct kv_host *h, struct errmsg *why)
{
	uint32_t servers[KV_SERVERS][4];
	struct kv_settings s;
	int err;

	libbpf_set_print(NULL);
	kv_host_settings(h, &s);
	s.ttl_ns = 0;
	err = put(h->settings, &zero, &s, "settings", why);
	if (err == 0)
		err = detach(h, &s, why);
	if (err != 0)
		return err;
	for (size_t i = 0, n = kv_host_servers(h, servers); i < n; i++)
		(void)bpf_map_delete_elem(h->servers, servers[i]);
	return put(h->settings, &zero, &s, "settings", why);
}

size_t kv_host_servers(const struct kv_host *h, uint32_t out[KV_SERVERS][4])
{
	const void *last = NULL;
	size_t n = 0;

	while (n < KV_SERVERS && bpf_map_get_next_key(h->servers, last, out[n]) == 0)
		last = out[n++];
	return n;
}

uint64_t kv_host_count(const struct kv_host *h, enum kv_count what)
{
	AUTO_FREE uint64_t *values = calloc((size_t)h->cpus, sizeof(*values));
	const uint32_t key = what;
	uint64_t sum = 0;

	if (values == NULL || bpf_map_lookup_elem(h->counts, &key, values) != 0)
		return 0;
	for (int i = 0; i < h->cpus; i++)
		sum += values[i];
	return sum;
}
