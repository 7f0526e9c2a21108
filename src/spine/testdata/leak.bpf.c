/* For load_test.c: keeps a pointer of the kernel in a map, which takes CAP_PERFMON. */
// SPDX-License-Identifier: MIT OR GPL-2.0-only
#include <prickle/spine.h>

SPINE_EXTENSION(.name = "leak", .version = "1", .match = "udp");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} kept SEC(".maps");

SEC("xdp")
int leak(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *place = bpf_map_lookup_elem(&kept, &zero);

	if (place)
		*place = (__u64)ctx;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
