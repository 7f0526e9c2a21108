#include "spine/holdings.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "spine/host.h"
#include "spine/pins.h"

/* Names of our own: libbpf's come with the version, and a map may be newer than libbpf. */
const char *held_map_type(uint32_t type)
{
	static const char *const names[] = {
		[BPF_MAP_TYPE_HASH] = "hash", [BPF_MAP_TYPE_ARRAY] = "array", [BPF_MAP_TYPE_PROG_ARRAY] = "prog_array",
		[BPF_MAP_TYPE_PERCPU_HASH] = "percpu_hash", [BPF_MAP_TYPE_PERCPU_ARRAY] = "percpu_array",
		[BPF_MAP_TYPE_PERF_EVENT_ARRAY] = "perf_event_array", [BPF_MAP_TYPE_STACK_TRACE] = "stack_trace",
		[BPF_MAP_TYPE_LRU_HASH] = "lru_hash", [BPF_MAP_TYPE_LRU_PERCPU_HASH] = "lru_percpu_hash",
		[BPF_MAP_TYPE_LPM_TRIE] = "lpm_trie", [BPF_MAP_TYPE_ARRAY_OF_MAPS] = "array_of_maps",
		[BPF_MAP_TYPE_HASH_OF_MAPS] = "hash_of_maps", [BPF_MAP_TYPE_DEVMAP] = "devmap",
		[BPF_MAP_TYPE_CPUMAP] = "cpumap", [BPF_MAP_TYPE_XSKMAP] = "xskmap", [BPF_MAP_TYPE_QUEUE] = "queue",
		[BPF_MAP_TYPE_STACK] = "stack", [BPF_MAP_TYPE_DEVMAP_HASH] = "devmap_hash",
		[BPF_MAP_TYPE_RINGBUF] = "ringbuf", [BPF_MAP_TYPE_BLOOM_FILTER] = "bloom_filter",
		[BPF_MAP_TYPE_USER_RINGBUF] = "user_ringbuf", [33] = "arena",
	};

	return type < ARRAY_LEN(names) && names[type] != NULL ? names[type] : "unknown";
}

/* ---- maps ---- */

/* Arrays have all their entries; of hashes the keys are walked. False: no keys to ask for. */
static bool count_entries(int fd, const struct bpf_map_info *info, struct held_map *m)
{
	AUTO_FREE uint8_t *keys = NULL;
	uint8_t *at, *next, *none = NULL;

	switch (info->type) {
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
		m->entries = info->max_entries;
		return true;
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_LRU_HASH:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
	case BPF_MAP_TYPE_LPM_TRIE:
	case BPF_MAP_TYPE_DEVMAP_HASH:
		break;
	default:
		return false;
	}
	keys = calloc(2, info->key_size);
	if (keys == NULL || info->key_size == 0)
		return false;
	at = keys;
	next = keys + info->key_size;
	/* A key that goes away under way begins anew, so the count is bounded by more than the map's size. */
	while (m->entries < MIN(info->max_entries, HELD_ENTRIES_MAX) &&
	       bpf_map_get_next_key(fd, m->entries == 0 ? none : at, next) == 0) {
		uint8_t *swap = at;

		at = next;
		next = swap;
		m->entries++;
	}
	return true;
}

struct maps_walk {
	struct held_map *maps;
	size_t count;
};

static int look_at_map(void *arg, int dir, const char *name, bool is_dir)
{
	struct maps_walk *w = arg;
	struct held_map *m = &w->maps[w->count];
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	if (is_dir || strlen(name) >= sizeof(m->file))
		return 0;
	AUTO_FD int fd = pin_get(dir, name);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) != 0)
		return 0;		/* it went away, or is no map */
	if (w->count == HELD_MAPS_MAX)
		return -E2BIG;
	*m = (struct held_map){ .id = info.id, .type = info.type, .key_bytes = info.key_size,
				.value_bytes = info.value_size, .entries_max = info.max_entries, .flags = info.map_flags,
				.memory_bytes = pin_memory_bytes(fd) };
	(void)snprintf(m->file, sizeof(m->file), "%s", name);
	m->counted = count_entries(fd, &info, m);
	w->count++;
	return 0;
}

static int by_file(const void *a, const void *b)
{
	return strcmp(((const struct held_map *)a)->file, ((const struct held_map *)b)->file);
}

static int maps_dir(const struct spine_device *d, const char *name)
{
	char path[SPINE_NAME_BYTES + 16];

	(void)snprintf(path, sizeof(path), "ext/%.*s/maps", SPINE_NAME_BYTES, name);
	return pin_dir(spine_device_dir(d), path, false);
}

int held_maps(const struct spine_device *d, const char *name, struct arena *arena, const struct held_map **out,
	      size_t *count, struct errmsg *why)
{
	struct maps_walk w = { .maps = arena_array(arena, HELD_MAPS_MAX + 1, sizeof(*w.maps)) };
	AUTO_FD int dir = maps_dir(d, name);
	int err;

	if (w.maps == NULL)
		return errmsg_set(why, -ENOMEM, "look at the maps of '%.40s'", name);
	err = dir == -ENOENT ? 0 : dir < 0 ? dir : pin_each(dir, look_at_map, &w);
	if (err != 0)
		return errmsg_set(why, err, "look at the maps of '%.40s'", name);
	qsort(w.maps, w.count, sizeof(*w.maps), by_file);
	*out = w.maps;
	*count = w.count;
	return 0;
}

/* ---- counters ---- */

struct fields {
	const struct btf *btf;
	struct arena *arena;
	const uint8_t *values;		/* of all processors */
	size_t stride, cpus, value_bytes;
	struct held_counter *items;
	size_t count;
	unsigned steps;
};

/* Behind typedefs and qualifiers; NULL when it never ends. */
static const struct btf_type *bare(const struct btf *btf, uint32_t id)
{
	for (int i = 0; i < HELD_DEPTH_MAX; i++) {
		const struct btf_type *t = btf__type_by_id(btf, id);

		if (t == NULL || (!btf_is_mod(t) && !btf_is_typedef(t) && !btf_is_type_tag(t)))
			return t;
		id = t->type;
	}
	return NULL;
}

static int add_counter(struct fields *f, struct slice name, uint32_t bytes, uint64_t at, bool is_signed)
{
	struct held_counter *c;

	if (bytes == 0 || bytes > 8 || (bytes & (bytes - 1)) != 0 || at > f->value_bytes || bytes > f->value_bytes - at)
		return 0;
	if (f->count == HELD_COUNTERS_MAX)
		return -E2BIG;
	c = &f->items[f->count++];
	*c = (struct held_counter){ .name = arena_str(f->arena, name), .is_signed = is_signed };
	if (c->name == NULL)
		return -ENOMEM;
	for (size_t cpu = 0; cpu < f->cpus; cpu++) {
		uint64_t value = 0;

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		memcpy((uint8_t *)&value + 8 - bytes, f->values + cpu * f->stride + at, bytes);
#else
		memcpy(&value, f->values + cpu * f->stride + at, bytes);
#endif
		if (is_signed && bytes < 8 && value >> (8 * bytes - 1) != 0)
			value |= UINT64_MAX << (8 * bytes);
		c->value += value;
	}
	return 0;
}

static int add_type(struct fields *f, struct slice name, uint32_t id, uint64_t at, int depth);

static int add_member(struct fields *f, struct slice prefix, const char *name, uint32_t id, uint64_t at, int depth)
{
	AUTO_BUF struct buf path = BUF_INIT(HELD_NAME_BYTES);

	buf_add(&path, prefix);
	if (prefix.len > 0 && *name != '\0')
		buf_addc(&path, '_');
	buf_adds(&path, name);
	return path.err != 0 ? 0 : add_type(f, buf_slice(&path), id, at, depth + 1);
}

/* Whole integers at any depth; the rest is no counter. */
static int add_type(struct fields *f, struct slice name, uint32_t id, uint64_t at, int depth)
{
	const struct btf_type *t = bare(f->btf, id);
	char number[16];
	int64_t each;
	int err = 0;

	if (t == NULL || depth > HELD_DEPTH_MAX || f->steps++ > HELD_STEPS_MAX)
		return 0;
	switch (btf_kind(t)) {
	case BTF_KIND_INT:
		return btf_int_offset(t) != 0 || btf_int_bits(t) != 8 * t->size ? 0 :
			add_counter(f, name, t->size, at, (btf_int_encoding(t) & BTF_INT_SIGNED) != 0);
	case BTF_KIND_STRUCT:
		for (uint32_t i = 0; err == 0 && i < btf_vlen(t); i++) {
			const char *member = btf__name_by_offset(f->btf, btf_members(t)[i].name_off);
			uint32_t bit = btf_member_bit_offset(t, i);

			if (btf_member_bitfield_size(t, i) == 0 && bit % 8 == 0 && member != NULL)
				err = add_member(f, name, member, btf_members(t)[i].type, at + bit / 8, depth);
		}
		return err;
	case BTF_KIND_ARRAY:
		each = btf__resolve_size(f->btf, btf_array(t)->type);
		for (uint32_t i = 0; err == 0 && each > 0 && i < MIN(btf_array(t)->nelems, HELD_COUNTERS_MAX); i++) {
			(void)snprintf(number, sizeof(number), "%u", i);
			err = add_member(f, name, number, btf_array(t)->type, at + (uint64_t)i * (uint64_t)each, depth);
		}
		return err;
	default:
		return 0;
	}
}

/* The one entry of the map, of all processors; NULL: no memory, or the kernel said no. */
static uint8_t *read_values(int fd, const struct bpf_map_info *info, struct fields *f)
{
	bool many = info->type == BPF_MAP_TYPE_PERCPU_ARRAY;
	uint32_t key = 0;
	uint8_t *values;

	f->cpus = many ? host_cpus() : 1;
	f->stride = ((size_t)info->value_size + 7) & ~(size_t)7;
	f->value_bytes = info->value_size;
	values = calloc(f->cpus, f->stride);
	if (values != NULL && bpf_map_lookup_elem(fd, &key, values) == 0)
		return values;
	free(values);
	return NULL;
}

int held_counters(const struct spine_device *d, const char *name, struct arena *arena, const struct held_counter **out,
		  size_t *count, struct errmsg *why)
{
	AUTO_FD int dir = maps_dir(d, name);
	AUTO_FD int fd = dir < 0 ? dir : pin_get(dir, "counters");
	struct fields f = { .arena = arena };
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	int err;

	*count = 0;
	*out = NULL;
	if (fd < 0)
		return fd == -ENOENT ? 0 : errmsg_set(why, fd, "open the counters of '%.40s'", name);
	if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0)
		return errmsg_set(why, -errno, "look at the counters of '%.40s'", name);
	if ((info.type != BPF_MAP_TYPE_PERCPU_ARRAY && info.type != BPF_MAP_TYPE_ARRAY) || info.max_entries != 1 ||
	    info.btf_id == 0 || info.btf_value_type_id == 0)
		return 0;		/* a map of that name, but not our kind */
	struct btf *btf = btf__load_from_kernel_by_id(info.btf_id);
	if (btf == NULL)
		return errmsg_set(why, -errno, "read the types of the counters of '%.40s'", name);
	f.btf = btf;
	f.items = arena_array(arena, HELD_COUNTERS_MAX, sizeof(*f.items));
	AUTO_FREE uint8_t *values = read_values(fd, &info, &f);
	f.values = values;
	err = values == NULL || f.items == NULL ? -ENOMEM :
	      add_type(&f, SLICE(""), info.btf_value_type_id, 0, 0);
	btf__free(btf);
	/* More counters than fit: those that did. */
	if (err != 0 && err != -E2BIG)
		return errmsg_set(why, err, "read the counters of '%.40s'", name);
	*out = f.items;
	*count = f.count;
	return 0;
}
