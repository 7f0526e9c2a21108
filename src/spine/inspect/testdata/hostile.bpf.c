// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/* What the inspector must refuse. Each is compiled for itself; none is ever loaded by the tests. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static long nothing(__u32 index, void *context)
{
	return 0;
}

static long again(__u32 index, void *context)
{
	bpf_loop(1 << 23, nothing, 0, 0);
	return 0;
}

#ifdef STALL
/* Two nested loops of 8 million: 23 instructions that hold a processor for hours. */
SEC("xdp")
int stall(struct xdp_md *context)
{
	bpf_loop(1 << 23, again, 0, 0);
	return XDP_PASS;
}
#endif

#ifdef UNKNOWN_ROUNDS
SEC("xdp")
int unknown_rounds(struct xdp_md *context)
{
	bpf_loop(bpf_get_prandom_u32(), nothing, 0, 0);
	return XDP_PASS;
}
#endif

#ifdef PACKET_END
/* Ends where the packet ends: no constant. */
SEC("xdp")
int packet_end(struct xdp_md *context)
{
	__u8 *at = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	while (1) {
		if (at + 1 > end)
			return XDP_DROP;
		if (*at == 0)
			break;
		at++;
	}
	return XDP_PASS;
}
#endif

#ifdef FOREVER
SEC("xdp")
int forever(struct xdp_md *context)
{
	volatile int x = 0;

	while (1)
		x++;
	return XDP_PASS;
}
#endif

#ifdef LONG_COUNT
SEC("xdp")
int long_count(struct xdp_md *context)
{
	volatile int x = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 1000000; i++)
		x++;
	return XDP_PASS;
}
#endif

#ifdef RECURSION
static __attribute__((noinline)) int down(int n)
{
	volatile int m = n;

	return m == 0 ? 0 : down(m - 1) + m;
}

SEC("xdp")
int recursion(struct xdp_md *context)
{
	return down(5);
}
#endif

#ifdef ANY_PORT
SEC("xdp")
int any_port(struct xdp_md *context)
{
	return bpf_redirect(context->rx_queue_index, 0);
}
#endif

#ifdef FIXED_PORT
SEC("xdp")
int fixed_port(struct xdp_md *context)
{
	return bpf_redirect(7, 0);
}
#endif

#ifdef OWN_PORTS
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} own_ports SEC(".maps");

SEC("xdp")
int own_ports_program(struct xdp_md *context)
{
	return bpf_redirect_map(&own_ports, 3, 0);
}
#endif

#ifdef SPY
SEC("xdp")
int spy(struct xdp_md *context)
{
	char text[16];

	bpf_probe_read_kernel(text, sizeof(text), (void *)0xffffffff81000000);
	return text[3] == 7 ? XDP_DROP : XDP_PASS;
}
#endif

#ifdef TAIL
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} others SEC(".maps");

SEC("xdp")
int tail(struct xdp_md *context)
{
	bpf_tail_call(context, &others, 1);
	return XDP_PASS;
}
#endif

#ifdef KFUNC
extern void bpf_task_release(void *task) __ksym;

SEC("xdp")
int kfunc(struct xdp_md *context)
{
	bpf_task_release(context);
	return XDP_PASS;
}
#endif

#ifdef KPROBE
SEC("kprobe/do_sys_open")
int kprobe(void *context)
{
	return 0;
}
#endif

#if defined(EGRESS) || defined(BEHIND_OTHERS)
#ifdef EGRESS
#define spine_behind spine_egress
#endif
SEC("xdp")
int plain(struct xdp_md *context)
{
	return XDP_PASS;
}

SEC("xdp/devmap")
int spine_behind(struct xdp_md *context)
{
	return XDP_PASS;
}
#endif

#ifdef HOG
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100000000);
	__type(key, __u64);
	__type(value, __u64[16]);
} hog SEC(".maps");

SEC("xdp")
int hog_program(struct xdp_md *context)
{
	__u64 key = 1;

	return bpf_map_lookup_elem(&hog, &key) != 0 ? XDP_DROP : XDP_PASS;
}
#endif

#ifdef VISIT
/* What comes first in this callback is an address and no number of a round. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} single SEC(".maps");

static long with_map(void *map, __u32 *key, __u64 *value, void *context)
{
	if (map)
		bpf_loop(1 << 23, nothing, 0, 0);
	return 0;
}

SEC("xdp")
int visit(struct xdp_md *context)
{
	bpf_for_each_map_elem(&single, with_map, 0, 0);
	return XDP_PASS;
}
#endif

#ifdef HEAVY
/* A few calls that copy megabytes. */
struct heap {
	char bytes[4 << 20];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct heap);
} heaps SEC(".maps");

SEC("xdp")
int heavy(struct xdp_md *context)
{
	__u32 from = 0, to = 1;
	struct heap *heap = bpf_map_lookup_elem(&heaps, &from);

	if (heap)
		bpf_map_update_elem(&heaps, &to, heap, BPF_ANY);
	return XDP_PASS;
}
#endif

#ifdef LONG_HANDLER
/* Whoever sends a message waits for hours, and no signal ends it. */
SEC("syscall")
int spine_call(void *context)
{
	bpf_loop(1 << 23, again, 0, 0);
	return 0;
}

SEC("xdp")
int pass(struct xdp_md *context)
{
	return XDP_PASS;
}
#endif

char LICENSE[] SEC("license") = "Dual MIT/GPL";
