/*
 * The maps of an instance, as state.h lists them; their names are the names of the pins.
 *
 * Sizes here are those of a small instance: who loads the object sets max_entries of session, slot, bib6, bib, subscriber6,
 * subscriber, fragment, slow, nexthop, events and pool (rows: slots of pool addresses). Number 0 of a slab is no entry,
 * so arrays have one more than the hashes. Inner maps of `pool` are made on demand, those of `eam6` and `eam4` with each
 * configuration.
 */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "nat64/core/call.h"
#include "nat64/core/xlat.h"

#define XLAT_MAP(name, kind, entries, key_type, value_type, map_flag)	\
	struct {							\
		__uint(type, kind);					\
		__uint(max_entries, entries);				\
		__type(key, key_type);					\
		__type(value, value_type);				\
		__uint(map_flags, map_flag);				\
	} name SEC(".maps")

#define XLAT_DEFAULT_ENTRIES 65536

XLAT_MAP(session, BPF_MAP_TYPE_HASH, XLAT_DEFAULT_ENTRIES, struct xlat_session_key, struct xlat_session, 0);
XLAT_MAP(slot, BPF_MAP_TYPE_ARRAY, XLAT_DEFAULT_ENTRIES + 1, __u32, struct xlat_slot, 0);
XLAT_MAP(bib6, BPF_MAP_TYPE_HASH, XLAT_DEFAULT_ENTRIES, struct xlat_bib6_key, __u32, 0);
XLAT_MAP(bib, BPF_MAP_TYPE_ARRAY, XLAT_DEFAULT_ENTRIES + 1, __u32, struct xlat_bib, 0);
XLAT_MAP(subscriber6, BPF_MAP_TYPE_HASH, 4096, struct xlat_subscriber_key, __u32, 0);
XLAT_MAP(subscriber, BPF_MAP_TYPE_ARRAY, 4097, __u32, struct xlat_subscriber, 0);
XLAT_MAP(fragment, BPF_MAP_TYPE_LRU_HASH, 4096, struct xlat_fragment_key, struct xlat_fragment, 0);
XLAT_MAP(slow, BPF_MAP_TYPE_LRU_HASH, 4096, struct xlat_slow_key, __u32, 0);
XLAT_MAP(nexthop, BPF_MAP_TYPE_LRU_HASH, XLAT_DEFAULT_ENTRIES, struct xlat_nexthop_key, struct xlat_nexthop, 0);
/* The daemon's own (slow/ftp.h): pinned here so that it survives the daemon. */
XLAT_MAP(ftp, BPF_MAP_TYPE_HASH, 4096, struct xlat_session_key, struct xlat_ftp, BPF_F_NO_PREALLOC);
XLAT_MAP(device, BPF_MAP_TYPE_HASH, XLAT_DEVICES_MAX, __u32, struct xlat_device, 0);
XLAT_MAP(own, BPF_MAP_TYPE_ARRAY, XLAT_OWN_PLACES, __u32, struct xlat_own, 0);
/* Mapped by the daemon and the commands; the kernel wants that said when it is made. */
XLAT_MAP(control, BPF_MAP_TYPE_ARRAY, 1, __u32, struct xlat_control, BPF_F_MMAPABLE);
XLAT_MAP(config, BPF_MAP_TYPE_ARRAY, 2, __u32, struct xlat_config, BPF_F_MMAPABLE);
XLAT_MAP(desk, BPF_MAP_TYPE_ARRAY, XLAT_DESKS, __u32, struct xlat, BPF_F_MMAPABLE);
XLAT_MAP(stats, BPF_MAP_TYPE_PERCPU_ARRAY, 1, __u32, struct xlat_stats, 0);

/*
 * Where packets are worked on. Programs of one processor do not interrupt each other there (softirq, or a process with
 * softirqs off); the walk runs from a timer and has its own.
 */
enum xlat_scratch { XLAT_SCRATCH_PACKET, XLAT_SCRATCH_WALK, XLAT_SCRATCHES };
XLAT_MAP(scratch, BPF_MAP_TYPE_PERCPU_ARRAY, XLAT_SCRATCHES, __u32, struct xlat, 0);

/*
 * What programs of a processor keep between packets: buckets of tokens. Errors that tell of a smaller MTU have their own: a scan from
 * outside, which is answered by the others, must not stop path MTU discovery for all. SYNs that nobody asked for have one, so that a flood of
 * them leaves room for the other packets of the slow path. The rest is for sources, by a keyed hash of the IPv4 address or the IPv6 /64:
 * what one of them sends to the slow path leaves room there for the others.
 */
enum xlat_bucket_id {
	XLAT_BUCKET_ERRORS, XLAT_BUCKET_TOO_BIG, XLAT_BUCKET_SYNS, XLAT_BUCKET_SOURCES,
	XLAT_BUCKETS = 1024		/* a power of two */
};
struct xlat_bucket {
	__u64 ns;			/* when tokens were counted last */
	__u64 tokens;			/* in 1/10^9 */
};
struct xlat_processor { struct xlat_bucket bucket[XLAT_BUCKETS]; };
XLAT_MAP(processor, BPF_MAP_TYPE_PERCPU_ARRAY, 1, __u32, struct xlat_processor, 0);

/* Pieces of payload, to be summed: 512 bytes is what bpf_csum_diff takes, and room for the last word. */
struct xlat_chunk { __u8 bytes[512 + 8]; };
XLAT_MAP(chunk, BPF_MAP_TYPE_PERCPU_ARRAY, 1, __u32, struct xlat_chunk, 0);

struct xlat_timer_value { struct bpf_timer timer; };
XLAT_MAP(timer, BPF_MAP_TYPE_ARRAY, 1, __u32, struct xlat_timer_value, 0);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/*
 * Inner maps: whoever makes one gives it the same type, sizes and flags; entries of tries are free. (Sizes, since clang
 * leaves types of inner maps out of BTF.)
 */
struct xlat_pool_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XLAT_POOL_GROUPS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct xlat_port_group));
};
struct xlat_eam6_map {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct xlat_eam6_key));
	__uint(value_size, sizeof(struct xlat_eam));
	__uint(map_flags, BPF_F_NO_PREALLOC);
};
struct xlat_eam4_map {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct xlat_eam4_key));
	__uint(value_size, sizeof(struct xlat_eam));
	__uint(map_flags, BPF_F_NO_PREALLOC);
};

#define XLAT_MAP_OF_MAPS(name, entries, inner)		\
	struct {					\
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);\
		__uint(max_entries, entries);		\
		__type(key, __u32);			\
		__array(values, struct inner);		\
	} name SEC(".maps")

XLAT_MAP_OF_MAPS(pool, XLAT_POOL_ADDRESSES_MAX, xlat_pool_map);
XLAT_MAP_OF_MAPS(eam6, 2, xlat_eam6_map);
XLAT_MAP_OF_MAPS(eam4, 2, xlat_eam4_map);
