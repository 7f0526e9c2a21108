// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/* Objects with calls that are checked at run time, one a macro; run by inject_run_test.c. */
#include <prickle/spine.h>

#define ALONE __attribute__((noinline))

SPINE_EXTENSION(.name = "guarded", .version = "1", .verdicts = SPINE_PASS | SPINE_REDIRECT);

struct frame {
	__u32 ifindex, key, value, rounds;
};

static __always_inline struct frame *frame_of(struct xdp_md *ctx)
{
	struct frame *f = (void *)(long)ctx->data;

	return (void *)(f + 1) > (void *)(long)ctx->data_end ? (void *)0 : f;
}

#ifdef REDIRECT
/* No map, no relocation: the injector makes the first. The port comes from the packet. */
SEC("xdp")
int entry(struct xdp_md *ctx)
{
	struct frame *f = frame_of(ctx);

	if (!f)
		return XDP_DROP;
	return bpf_redirect(f->ifindex, 0);
}
#endif

#ifdef JUMPED
/* A jump leads to the call itself, past what stands before it. */
SEC("xdp")
int entry(struct xdp_md *ctx)
{
	struct frame *f = frame_of(ctx);
	long verdict;

	if (!f)
		return XDP_DROP;
	asm volatile("r1 = %[ifindex]\n\tr2 = 0\n\tif r1 == 77 goto 1f\n\tr3 = 1\n1:\tcall 23\n\t%[verdict] = r0"
		     : [verdict] "=r"(verdict) : [ifindex] "r"((__u64)f->ifindex) : "r0", "r1", "r2", "r3", "r4", "r5");
	return (int)verdict;
}
#endif

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} table SEC(".maps");

#ifdef UPDATE
/* One guarded call between jumps in both directions; its failure becomes the verdict. */
SEC("xdp")
int entry(struct xdp_md *ctx)
{
	struct frame *f = frame_of(ctx);
	__u32 key, value;

	if (!f)
		return XDP_DROP;
	key = f->key;
	value = f->value;
	for (int i = 0; i < 4; i++) {
		key += 1;
		if (i >= f->rounds)
			break;
		if (bpf_map_update_elem(&table, &key, &value, BPF_ANY) != 0) /* the refused line */
			return XDP_TX;
	}
	return XDP_PASS;
}
#endif

#ifdef LARGE
/*
 * What objects of others look like: static and global subprograms in .text, a callback whose address is taken,
 * several programs, CO-RE, data sections, a stack with arrays, guarded calls in all of them.
 */
struct ethhdr___ours {
	__u8 h_dest[6], h_source[6];
	__be16 h_proto;
} __attribute__((preserve_access_index));

const volatile __u32 limit = 7;
__u64 calls;
__u64 seen[16];
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

static ALONE int store(__u32 key, __u32 value)
{
	__u32 pair[2] = { key, value };

	calls++;
	if (bpf_map_update_elem(&table, &pair[0], &pair[1], BPF_ANY) != 0)
		return -1;
	return bpf_map_lookup_elem(&table, &pair[0]) ? 0 : -2;
}

static int one_round(__u32 i, void *arg)
{
	__u32 *sum = arg;

	if (store(i, *sum) != 0) {
		*sum += 1000;
		return 1;
	}
	*sum += bpf_map_delete_elem(&table, &i) == 0 ? 1 : 100;
	return 0;
}

ALONE int tell(struct xdp_md *ctx, __u32 what)
{
	__u64 *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return -2;
	*event = what + ctx->rx_queue_index;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("xdp")
int entry(struct xdp_md *ctx)
{
	struct ethhdr___ours *d = (void *)(long)ctx->data;
	struct frame *f = frame_of(ctx);
	__u32 sum = 0;

	if (!f)
		return XDP_DROP;
	seen[d->h_proto & 15]++;
	if (d->h_dest[0] > limit && tell(ctx, d->h_dest[0]) != 0)
		return 100;
	if (bpf_loop(f->rounds & 7, one_round, &sum, 0) < 0)
		return 101;
	if (sum >= 1000)
		return 102;
	if (f->value == 99)
		return bpf_redirect(f->ifindex, 0);
	return sum;
}

SEC("xdp.frags")
int other(struct xdp_md *ctx)
{
	return store(1, 2) == 0 ? tell(ctx, 3) == 0 ? XDP_PASS : XDP_DROP : XDP_TX;
}
#endif

#ifdef FAR
/* More instructions between its ends than a jump of 16 bits reaches, once checks stand in between. */
#define STEP(n) key ^= (__u32)bpf_map_delete_elem(&table, &key) + n;
#define STEP8(n) STEP(n) STEP(n + 1) STEP(n + 2) STEP(n + 3) STEP(n + 4) STEP(n + 5) STEP(n + 6) STEP(n + 7)
#define STEP64(n) STEP8(n) STEP8(n + 8) STEP8(n + 16) STEP8(n + 24) STEP8(n + 32) STEP8(n + 40) STEP8(n + 48) STEP8(n + 56)
#define STEP512(n) STEP64(n) STEP64(n + 64) STEP64(n + 128) STEP64(n + 192) STEP64(n + 256) STEP64(n + 320) STEP64(n + 384) STEP64(n + 448)
SEC("xdp")
int entry(struct xdp_md *ctx)
{
	__u32 key = 1;

	STEP512(0)
	STEP512(512)
	return XDP_PASS;
}
#endif

#ifdef NAMES_ROW
SEC("xdp")
int entry(struct xdp_md *ctx)
{
	spine_policy_row.helpers[0] = ~0u;
	return bpf_redirect(1, 0);
}
#endif

char LICENSE[] SEC("license") = "Dual MIT/GPL";
