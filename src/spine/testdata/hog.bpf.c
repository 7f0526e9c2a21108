/* For load_test.c: wants memory. VARIANT 1: more than the manifest says; 2: as it runs. */
// SPDX-License-Identifier: MIT OR GPL-2.0-only
#include <prickle/spine.h>

#ifndef VARIANT
#define VARIANT 1
#endif

SPINE_EXTENSION(.name = "hog", .version = "1", .match = "udp", .memory_bytes_max = 4 << 20);

struct bytes {
	__u8 at[8192];
};

struct {
#if VARIANT == 1
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
#else
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 400);
	__uint(map_flags, BPF_F_NO_PREALLOC);
#endif
	__type(key, __u32);
	__type(value, struct bytes);
} much SEC(".maps");

SEC("xdp")
int hog(struct xdp_md *ctx)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&much, &zero) ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
