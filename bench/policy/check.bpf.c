/* What a decision costs in the kernel: CHECKS a run, of an extension's row as injected checks read it, and of a hash map used as a cache. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <prickle/spine_policy.h>

#define CHECKS 64

struct key {
	__u32 subject, object, class;
};

struct spine_policy_row spine_policy_row SEC(SPINE_POLICY_SECTION);
__u32 asked[256];			/* interface indices, also objects */
__u64 allowed, seen_ns, changes;
__u32 last;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct key);
	__type(value, __u32);
} cache SEC(".maps");

#define LOAD(x) (*(volatile typeof(x) *)&(x))

/* The loop and the question, without an answer. */
SEC("xdp")
int plain(struct xdp_md *ctx)
{
	__u64 n = 0;

	for (int i = 0; i < CHECKS; i++) {
		__u32 port = LOAD(asked[i]);
		if ((port & 1) == 0)
			n++;
	}
	allowed += n;
	return XDP_PASS;
}

SEC("xdp")
int row(struct xdp_md *ctx)
{
	__u64 n = 0;

	for (int i = 0; i < CHECKS; i++) {
		__u32 port = LOAD(asked[i]);
		__u64 word = LOAD(spine_policy_row.ports[port & (SPINE_POLICY_PORTS - 1)]);
		if ((__u32)word == port && (word >> 32 & SPINE_POLICY_FORWARD) != 0)
			n++;
	}
	allowed += n;
	return XDP_PASS;
}

SEC("xdp")
int hashed(struct xdp_md *ctx)
{
	__u64 n = 0;

	for (int i = 0; i < CHECKS; i++) {
		struct key key = { 1, LOAD(asked[i]), 1 };
		__u32 *mask = bpf_map_lookup_elem(&cache, &key);
		if (mask != NULL && (*mask & SPINE_POLICY_FORWARD) != 0)
			n++;
	}
	allowed += n;
	return XDP_PASS;
}

/* Look at the row again and again; note when it changed. */
SEC("xdp")
int watch(struct xdp_md *ctx)
{
	for (int i = 0; i < 4096; i++) {
		__u32 now = LOAD(spine_policy_row.helpers[0]);
		if (now != last) {
			last = now;
			*(volatile __u64 *)&seen_ns = bpf_ktime_get_ns();
			__sync_fetch_and_add(&changes, 1);
			break;
		}
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
