#include "spine/compare.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/load_private.h"
#include "spine/pins.h"

#define FRAME_BYTES_MAX 65536u
#define HEADROOM_BYTES	4096u		/* what bpf_xdp_adjust_head may add to a frame */

/* ---- maps ---- */

struct map_shape {
	struct bpf_map_info info;
	size_t value_bytes;		/* as user space sees it: of all processors */
};

static int shape_of(int fd, struct map_shape *out)
{
	uint32_t size = sizeof(out->info);
	bool per_cpu;

	memset(out, 0, sizeof(*out));
	if (bpf_obj_get_info_by_fd(fd, &out->info, &size) != 0)
		return -errno;
	per_cpu = out->info.type == BPF_MAP_TYPE_PERCPU_ARRAY || out->info.type == BPF_MAP_TYPE_PERCPU_HASH ||
		  out->info.type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
	out->value_bytes = out->info.value_size;
	if (per_cpu)
		out->value_bytes = ((size_t)out->info.value_size + 7) / 8 * 8 * (size_t)libbpf_num_possible_cpus();
	return 0;
}

/* State that is bytes: it can be read and written as such. */
static bool holds_bytes(uint32_t type)
{
	switch (type) {
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
	case BPF_MAP_TYPE_LRU_HASH:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
	case BPF_MAP_TYPE_LPM_TRIE:
		return true;
	default:
		return false;
	}
}

static bool alike(const struct map_shape *a, const struct map_shape *b)
{
	return a->info.type == b->info.type && a->info.key_size == b->info.key_size &&
	       a->info.value_size == b->info.value_size && a->info.max_entries == b->info.max_entries &&
	       (holds_bytes(a->info.type) ||
		(a->info.type == BPF_MAP_TYPE_DEVMAP_HASH && a->info.value_size == sizeof(struct bpf_devmap_val)));
}

/* Call f for every entry of a map; entries that vanish meanwhile are left out. 0, what f returned, -ENOMEM, -E2BIG. */
static int each_entry(int fd, const struct map_shape *shape, int (*f)(void *arg, const void *key, void *value), void *arg)
{
	AUTO_FREE uint8_t *key = malloc(shape->info.key_size);
	AUTO_FREE uint8_t *next = malloc(shape->info.key_size);
	AUTO_FREE uint8_t *value = malloc(shape->value_bytes);
	int err = 0;

	if (key == NULL || next == NULL || value == NULL)
		return -ENOMEM;
	if (bpf_map_get_next_key(fd, NULL, next) != 0)
		return 0;
	for (uint32_t n = 0; err == 0; n++) {
		if (n == COMPARE_ENTRIES_MAX)
			return -E2BIG;
		memcpy(key, next, shape->info.key_size);
		if (bpf_map_lookup_elem(fd, key, value) == 0)
			err = f(arg, key, value);
		if (bpf_map_get_next_key(fd, key, next) != 0)
			break;
	}
	return err;
}

struct copying {
	int to;
	uint64_t copied;
};

static int copy_entry(void *arg, const void *key, void *value)
{
	struct copying *c = arg;

	if (bpf_map_update_elem(c->to, key, value, BPF_ANY) != 0)
		return errno == E2BIG || errno == EPERM ? 0 : -errno;	/* full, or frozen: it has its own content */
	c->copied++;
	return 0;
}

/* Ports: only the interface is copied. The kernel takes indexes as those of the namespace that we are in. */
static int copy_port(void *arg, const void *key, void *value)
{
	struct copying *c = arg;
	struct bpf_devmap_val port = { 0 };

	memcpy(&port.ifindex, value, sizeof(port.ifindex));
	port.bpf_prog.fd = -1;
	c->copied += bpf_map_update_elem(c->to, key, &port, BPF_ANY) == 0;
	return 0;
}

int compare_copy_maps(int maps_dir, const struct loaded *to, uint64_t *copied, struct errmsg *why)
{
	struct copying c = { 0 };

	for (size_t i = 0; i < to->map_count; i++) {
		struct map_shape live, copy;
		char file[LOAD_MAP_FILE_BYTES];
		int err;

		if (to->maps[i].channel > 0)
			continue;
		load_map_file(file, to->maps[i].name, 0);
		AUTO_FD int fd = pin_get(maps_dir, file);
		if (fd < 0 || shape_of(fd, &live) != 0 || shape_of(to->maps[i].fd, &copy) != 0 || !alike(&live, &copy))
			continue;
		c.to = to->maps[i].fd;
		err = each_entry(fd, &live, live.info.type == BPF_MAP_TYPE_DEVMAP_HASH ? copy_port : copy_entry, &c);
		if (err == -E2BIG)
			return errmsg_say(why, err, "the map '%s' has more than %d entries, too many to copy", to->maps[i].name,
					  COMPARE_ENTRIES_MAX);
		if (err != 0)
			return errmsg_set(why, err, "copy the map '%s'", to->maps[i].name);
	}
	*copied = c.copied;
	return 0;
}

struct counting {
	int other;
	const struct map_shape *shape;
	uint8_t *value;
	uint64_t different, missing;
};

static int compare_entry(void *arg, const void *key, void *value)
{
	struct counting *c = arg;

	if (bpf_map_lookup_elem(c->other, key, c->value) != 0)
		c->missing++;
	else if (memcmp(value, c->value, c->shape->value_bytes) != 0)
		c->different++;
	return 0;
}

static const struct loaded_map *map_named(const struct loaded *l, const char *name)
{
	for (size_t i = 0; i < l->map_count; i++)
		if (strcmp(l->maps[i].name, name) == 0)
			return &l->maps[i];
	return NULL;
}

size_t compare_maps(const struct loaded *a, const struct loaded *b, struct buf *out)
{
	size_t maps = 0;

	for (size_t i = 0; i < a->map_count; i++) {
		const struct loaded_map *other = map_named(b, a->maps[i].name);
		struct map_shape one, two;
		struct counting there = { 0 }, back = { 0 };

		if (other == NULL || shape_of(a->maps[i].fd, &one) != 0 || !holds_bytes(one.info.type) || shape_of(other->fd, &two) != 0 ||
		    !alike(&one, &two))
			continue;
		AUTO_FREE uint8_t *value = malloc(one.value_bytes);
		there = (struct counting){ .other = other->fd, .shape = &one, .value = value };
		back = (struct counting){ .other = a->maps[i].fd, .shape = &one, .value = value };
		if (value == NULL || each_entry(a->maps[i].fd, &one, compare_entry, &there) != 0 ||
		    each_entry(other->fd, &one, compare_entry, &back) != 0) {
			buf_printf(out, "map %s: cannot be compared (no memory, or more than %d entries)\n", a->maps[i].name,
				   COMPARE_ENTRIES_MAX);
			maps++;
			continue;
		}
		if (there.different + there.missing + back.missing == 0)
			continue;
		maps++;
		buf_printf(out, "map %s: %llu entries differ, %llu only the old one has, %llu only the new one\n",
			   a->maps[i].name, (unsigned long long)there.different, (unsigned long long)there.missing,
			   (unsigned long long)back.missing);
	}
	return maps;
}

/* ---- packets ---- */

struct run {
	uint32_t verdict, bytes;
	uint8_t *out;			/* FRAME_BYTES_MAX + HEADROOM_BYTES */
};

static int run_one(int fd, struct slice frame, uint32_t ifindex, struct run *r)
{
	struct xdp_md context = { .data_end = (uint32_t)frame.len, .ingress_ifindex = ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame.ptr, .data_size_in = (uint32_t)frame.len, .data_out = r->out,
		    .data_size_out = FRAME_BYTES_MAX + HEADROOM_BYTES, .repeat = 1,
		    .ctx_in = ifindex != 0 ? &context : NULL, .ctx_size_in = ifindex != 0 ? sizeof(context) : 0);

	if (bpf_prog_test_run_opts(fd, &opts) != 0)
		return -errno;
	r->verdict = opts.retval;
	r->bytes = opts.data_size_out;
	return 0;
}

bool compare_frame(int old_fd, int new_fd, struct slice frame, uint32_t ifindex, struct compare_counts *counts,
		   struct compare_difference *difference)
{
	AUTO_FREE uint8_t *out = malloc(2 * (FRAME_BYTES_MAX + HEADROOM_BYTES));
	struct run a = { .out = out }, b = { .out = out + FRAME_BYTES_MAX + HEADROOM_BYTES };
	uint32_t at = 0;

	counts->packets++;
	if (out == NULL || frame.len > FRAME_BYTES_MAX || run_one(old_fd, frame, ifindex, &a) != 0 ||
	    run_one(new_fd, frame, ifindex, &b) != 0) {
		counts->not_run++;
		return true;
	}
	while (at < a.bytes && at < b.bytes && a.out[at] == b.out[at])
		at++;
	*difference = (struct compare_difference){ a.verdict, b.verdict, a.bytes, b.bytes, UINT32_MAX, 0, 0 };
	if (at < a.bytes && at < b.bytes) {
		difference->offset = at;
		difference->old_byte = a.out[at];
		difference->new_byte = b.out[at];
	}
	if (a.verdict != b.verdict)
		counts->verdicts++;
	else if (a.verdict == XDP_DROP || a.verdict == XDP_ABORTED)
		return counts->same++, true;	/* nobody sees its bytes */
	else if (a.bytes != b.bytes)
		counts->lengths++;
	else if (difference->offset != UINT32_MAX)
		counts->bytes++;
	else
		return counts->same++, true;
	return false;
}
