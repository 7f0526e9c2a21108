// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/* What extensions and other objects are made of, for tests of the reader. */
#include <prickle/spine.h>

#ifdef PLAIN
/* Nothing of SPINE: global and static subprograms, data sections, CO-RE, a kernel setting. */
struct device {
	__u32 index, flags;
} __attribute__((preserve_access_index));

extern unsigned LINUX_KERNEL_VERSION __kconfig;
const volatile __u32 limit = 7;
__u64 count = 3;
__u64 zeros[100];
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 128);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32[3]);
} prefixes SEC(".maps");

__attribute__((noinline)) int global(struct xdp_md *context)
{
	volatile int x = (int)context->rx_queue_index;

	return x + 1;
}

static __attribute__((noinline)) int local(__u64 key)
{
	__u32 *value = bpf_map_lookup_elem(&prefixes, &key);

	return value == 0 ? 0 : (int)value[1];
}

SEC("xdp")
int plain(struct xdp_md *context)
{
	struct device *d = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	if (d + 1 > end)
		return XDP_ABORTED;
	count++;
	zeros[5] = d->flags;
	if (LINUX_KERNEL_VERSION < 5 || count > limit)
		return XDP_PASS;
	return global(context) == local(zeros[5]) ? XDP_DROP : XDP_PASS;
}
#endif

#ifdef MESSAGES
SPINE_EXTENSION(
	.name = "with-messages", .version = "1.2", .match = "udp port 53", .order = 7,
	.verdicts = SPINE_PASS | SPINE_TX, .flags = SPINE_FAIL_CLOSED, .cpu_permille = 250);

struct point {
	__u16 x, y;
};
enum colour { RED, GREEN };
struct draw {
	struct point from, to[2];
	__u8 name[8];
	enum colour colour;
	__s64 when;
};

static __always_inline int draw(struct draw *d, struct spine_message *m)
{
	d->when = d->from.x + d->to[1].y;
	return 0;
}
#define HANDLERS(H) H(3, draw, draw)
SPINE_HANDLERS(HANDLERS);

SEC("xdp")
int with_messages(struct xdp_md *context)
{
	return XDP_PASS;
}
#endif

#ifdef PORTS
SPINE_EXTENSION(.name = "ports", .verdicts = SPINE_REDIRECT | SPINE_DROP);
SPINE_PORTS;

SEC("xdp.frags")
int ports(struct xdp_md *context)
{
	return spine_redirect(context->ingress_ifindex + 1);
}
#endif

#ifdef NO_TARGET
/* Wants to return a verdict without a call that gives it a target. */
SPINE_EXTENSION(.name = "no-target", .verdicts = SPINE_REDIRECT | SPINE_PASS);

SEC("xdp")
int no_target(struct xdp_md *context)
{
	return context->rx_queue_index == 3 ? XDP_REDIRECT : XDP_PASS;
}
#endif

#ifdef BAD_NAME
SPINE_EXTENSION(.name = "../escape");

SEC("xdp")
int bad_name(struct xdp_md *context)
{
	return XDP_PASS;
}
#endif

#ifdef MAPS
/* All that a map's definition can say. */
struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(key_size, 4);
	__uint(value_size, 24);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 1000);
	__uint(map_extra, 3);
	__uint(numa_node, 0);
	__type(value, __u64);
} bloom SEC(".maps");

int maps(struct xdp_md *context);
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__array(values, int(struct xdp_md *));
} programs SEC(".maps") = { .values = { maps } };

SEC("xdp")
int maps(struct xdp_md *context)
{
	__u64 value = 7;

	bpf_tail_call(context, &programs, 0);
	return bpf_map_peek_elem(&bloom, &value) == 0 && bpf_map_lookup_elem(&outer, &value) ? XDP_DROP : XDP_PASS;
}
#endif

#if defined(ROWS) || defined(POINTER) || defined(BITS) || defined(EITHER)
/* Rows of handlers without the programs behind them: what arguments may be, and what not. */
SPINE_EXTENSION(.name = "rows");

struct argument {
#if defined(POINTER)
	void *where;
#elif defined(BITS)
	__u32 low : 3, high : 29;
#elif defined(EITHER)
	union {
		__u32 number;
		__u8 bytes[4];
	};
#else
	__u32 number;
#endif
};
struct argument used;
const struct spine_handler_row rows[] SEC(SPINE_HANDLERS_SECTION) __attribute__((used)) = {
	{ 1, sizeof(struct argument), "first", "argument" },
	{ 2, 0, "second", "" },
};

SEC("xdp")
int rows_program(struct xdp_md *context)
{
	return *(volatile __u8 *)&used == 7 ? XDP_DROP : XDP_PASS;
}
#endif

char LICENSE[] SEC("license") = "Dual MIT/GPL";
