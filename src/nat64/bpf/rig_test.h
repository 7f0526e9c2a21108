/*
 * An instance without devices, for tests and measurements: the object loaded, its maps filled as the control program would, packets
 * through BPF_PROG_TEST_RUN.
 */
#pragma once
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/must.h"
#include "nat64/bpf/object.h"
#include "nat64/core/call.h"
#include "nat64/core/xlat.h"

#define RIG_LINK_BYTES 14u

struct rig {
	struct bpf_object *object;
	struct xlat_control *control;
	struct xlat *desk;
	int xdp, frags, call;
};

struct rig_sizes { uint32_t sessions, bibs, subscribers, fragments; };

/* Whether this process may load programs at all. */
static inline bool rig_possible(const char **why)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "probe", 4, 4, 1, NULL);

	if (fd >= 0)
		close(fd);
	*why = nat64_object().len == 0 ? "built without clang" : fd < 0 ? "needs root and BPF" : NULL;
	return *why == NULL;
}

static inline int rig_map(const struct rig *r, const char *name)
{
	return bpf_object__find_map_fd_by_name(r->object, name);
}

static inline void rig_entries(struct rig *r, const char *name, uint32_t entries)
{
	must(bpf_map__set_max_entries(bpf_object__find_map_by_name(r->object, name), entries) == 0);
}

static inline void *rig_mapped(const struct rig *r, const char *name, size_t bytes)
{
	void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, rig_map(r, name), 0);

	must(m != MAP_FAILED);
	return m;
}

static inline int PRINTF_LIKE(2, 0) rig_print(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

/* Returns 0 or what the kernel said. */
static inline int rig_load(struct rig *r, struct slice object, const struct rig_sizes *sizes)
{
	uint32_t counts[XLAT_SLABS] = { sizes->sessions + 1, sizes->bibs + 1, sizes->subscribers + 1 };
	int err;

	memset(r, 0, sizeof(*r));
	(void)libbpf_set_print(rig_print);
	r->object = bpf_object__open_mem(object.ptr, object.len, NULL);
	if (r->object == NULL)
		return -errno;
	rig_entries(r, "session", 2 * counts[XLAT_SLAB_SESSION]);
	rig_entries(r, "slot", counts[XLAT_SLAB_SESSION]);
	rig_entries(r, "bib6", counts[XLAT_SLAB_BIB]);
	rig_entries(r, "bib", counts[XLAT_SLAB_BIB]);
	rig_entries(r, "subscriber6", counts[XLAT_SLAB_SUBSCRIBER]);
	rig_entries(r, "subscriber", counts[XLAT_SLAB_SUBSCRIBER]);
	rig_entries(r, "fragment", sizes->fragments + 1);
	err = bpf_object__load(r->object);
	if (err != 0)
		return err;
	r->control = rig_mapped(r, "control", sizeof(*r->control));
	r->desk = rig_mapped(r, "desk", sizeof(*r->desk) * XLAT_DESKS);
	r->control->abi = XLAT_STATE_ABI;
	for (uint32_t i = 0; i < XLAT_SLABS; i++) {
		r->control->slab[i].count = counts[i];
		r->control->slab[i].fresh = 1;
	}
	r->xdp = bpf_program__fd(bpf_object__find_program_by_name(r->object, "nat64_xdp"));
	r->frags = bpf_program__fd(bpf_object__find_program_by_name(r->object, "nat64_xdp_frags"));
	r->call = bpf_program__fd(bpf_object__find_program_by_name(r->object, "nat64_call"));
	return 0;
}

static inline int rig_init(struct rig *r, const struct rig_sizes *sizes)
{
	return rig_load(r, nat64_object(), sizes);
}

static inline void rig_done(struct rig *r)
{
	if (r->control != NULL)
		munmap(r->control, sizeof(*r->control));
	if (r->desk != NULL)
		munmap(r->desk, sizeof(*r->desk) * XLAT_DESKS);
	bpf_object__close(r->object);
	memset(r, 0, sizeof(*r));
}

/* Make a configuration the current one, with tables for its pool addresses and tries for its mappings. */
static inline void rig_configure(struct rig *r, const struct xlat_config *config, const struct xlat_eam *eams, size_t eam_count)
{
	LIBBPF_OPTS(bpf_map_create_opts, trie, .map_flags = BPF_F_NO_PREALLOC);
	uint32_t bank = !r->control->bank, entries = eam_count == 0 ? 1 : (uint32_t)eam_count;
	int six = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "eam6", sizeof(struct xlat_eam6_key), sizeof(struct xlat_eam), entries, &trie);
	int four = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "eam4", sizeof(struct xlat_eam4_key), sizeof(struct xlat_eam), entries, &trie);

	must(six >= 0 && four >= 0);
	for (size_t i = 0; i < eam_count; i++) {
		struct xlat_eam6_key key6 = { .bits = eams[i].bits6 };
		struct xlat_eam4_key key4 = { .bits = eams[i].bits4, .addr = eams[i].addr4 };
		memcpy(key6.addr, eams[i].addr6, 16);
		must(bpf_map_update_elem(six, &key6, &eams[i], BPF_ANY) == 0);
		must(bpf_map_update_elem(four, &key4, &eams[i], BPF_ANY) == 0);
	}
	must(bpf_map_update_elem(rig_map(r, "eam6"), &bank, &six, BPF_ANY) == 0);
	must(bpf_map_update_elem(rig_map(r, "eam4"), &bank, &four, BPF_ANY) == 0);
	close(six);
	close(four);
	for (uint32_t row = 0; row < config->pool_count; row++) {
		for (uint32_t k = 0; k < config->pool[row].count && config->mode == XLAT_NAT64; k++) {
			uint32_t slot = config->pool[row].slot + k, id;
			if (bpf_map_lookup_elem(rig_map(r, "pool"), &slot, &id) == 0)
				continue;
			int inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "ports", 4, sizeof(struct xlat_port_group), XLAT_POOL_GROUPS, NULL);
			must(inner >= 0 && bpf_map_update_elem(rig_map(r, "pool"), &slot, &inner, BPF_ANY) == 0);
			close(inner);
		}
	}
	must(bpf_map_update_elem(rig_map(r, "config"), &bank, config, BPF_ANY) == 0);
	r->control->generation++;
	__atomic_store_n(&r->control->bank, bank, __ATOMIC_RELEASE);
}

/* What the walk does, or what a command asks: core/call.h. Returns what the program said, or the kernel's error. */
static inline int rig_call(struct rig *r, struct xlat_call *call)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = call, .ctx_size_in = sizeof(*call));	/* written back there */
	int err = bpf_prog_test_run_opts(r->call, &run);

	return err != 0 ? err : call->result;
}

/* A next hop for an address, so that no route is looked up. */
static inline void rig_nexthop(struct rig *r, uint32_t family, const __be32 addr[4], uint32_t ifindex, uint16_t mtu)
{
	struct xlat_nexthop_key key = { .family = family };
	struct xlat_nexthop hop = { .generation = r->control->nexthop_generation, .until = (uint32_t)(r->control->clock_ns >> XLAT_TICK_SHIFT) + 1000000,
		.ifindex = ifindex, .mtu = mtu, .to = { 2, 0, 0, 0, 0, 1 }, .from = { 2, 0, 0, 0, 0, 2 }, .flags = XLAT_HOP_REDIRECT };

	memcpy(key.addr, addr, 16);
	must(bpf_map_update_elem(rig_map(r, "nexthop"), &key, &hop, BPF_ANY) == 0);
}

/* Sum over processors. */
static inline void rig_stats(const struct rig *r, struct xlat_stats *out)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *all = calloc((size_t)cpus, sizeof(*out)), *sum = (uint64_t *)(void *)out;
	uint32_t zero = 0;

	must(cpus > 0 && all != NULL);
	must(bpf_map_lookup_elem(rig_map(r, "stats"), &zero, all) == 0);
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < (size_t)cpus * sizeof(*out) / 8; i++)
		sum[i % (sizeof(*out) / 8)] += all[i];
	free(all);
}
