/* For load_test.c: counts packets. VARIANT makes later versions of it. */
// SPDX-License-Identifier: MIT OR GPL-2.0-only
#include <prickle/spine.h>

#ifndef VARIANT
#define VARIANT 1
#endif

/* 1, 2: the same layout; 3: another layout and state_id, with a migration; 4: the same without one. */
SPINE_EXTENSION(
	.name = "counter", .version = "1", .match = "udp",
	.verdicts = SPINE_PASS | SPINE_DROP, .state_id = VARIANT <= 2 ? 1 : 2);

struct count {
	__u64 packets;
#if VARIANT >= 3
	__u64 bytes;
#endif
};

struct old_count {
	__u64 packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct count);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} counts SEC(".maps");

__u64 seen;				/* .bss */
const volatile __u32 step = VARIANT == 2 ? 2 : 1;	/* .rodata */

#if VARIANT == 3
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct { __u64 packets; });
} old_counts SEC(".maps");

SEC("syscall")
int spine_migrate(struct spine_migration *how)
{
	__u32 zero = 0;
	struct old_count *old = bpf_map_lookup_elem(&old_counts, &zero);
	struct count *new = bpf_map_lookup_elem(&counts, &zero);

	if (!old || !new || how->from_state_id != 1 || how->to_state_id != 2)
		return -1;
	new->packets = old->packets;
	return 0;
}
#endif

SEC("xdp")
int counter(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct count *c = bpf_map_lookup_elem(&counts, &zero);

	if (!c)
		return XDP_DROP;
	c->packets += step;
	seen++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
