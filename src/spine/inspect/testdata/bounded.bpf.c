// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/* Loops that end: what each costs is known, so the tests can say it exactly, or from below and above. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_iter_num {
	__u64 opaque;
} __attribute__((aligned(8)));
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

static long nothing(__u32 index, void *context)
{
	return 0;
}

static long inner(__u32 index, void *context)
{
	bpf_loop(30, nothing, 0, 0);
	return 0;
}

#ifdef CALLBACK
SEC("xdp")
int callback(struct xdp_md *context)
{
	bpf_loop(100, nothing, 0, 0);
	return XDP_PASS;
}
#endif

#ifdef NESTED
SEC("xdp")
int nested(struct xdp_md *context)
{
	bpf_loop(100, inner, 0, 0);
	return XDP_PASS;
}
#endif

#ifdef COUNTED
SEC("xdp")
int counted(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 sum = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 64; i++) {
		if (data + i + 1 > end)
			return XDP_DROP;
		sum += ((__u8 *)data)[i];
	}
	return sum == 17 ? XDP_DROP : XDP_PASS;
}
#endif

#ifdef TRIANGLE
/* The inner loop's length is the outer one's counter: 0 + 1 + ... + 31 rounds. */
SEC("xdp")
int triangle(struct xdp_md *context)
{
	volatile __u32 sum = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < 32; i++) {
#pragma clang loop unroll(disable)
		for (__u32 k = 0; k < i; k++)
			sum += k;
	}
	return XDP_PASS;
}
#endif

#ifdef MASKED
/* The bound comes from the packet, but never above 15. */
SEC("xdp")
int masked(struct xdp_md *context)
{
	__u32 n = context->rx_queue_index & 15;
	volatile __u32 sum = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < n; i++)
		sum += i;
	return XDP_PASS;
}
#endif

#ifdef ITERATED
SEC("xdp")
int iterated(struct xdp_md *context)
{
	struct bpf_iter_num it;
	int *at, sum = 0;

	bpf_iter_num_new(&it, 0, 50);
	while ((at = bpf_iter_num_next(&it)))
		sum += *at;
	bpf_iter_num_destroy(&it);
	return sum == 7 ? XDP_DROP : XDP_PASS;
}
#endif

#ifdef SPILLED
/* More live values than registers: the counter lives on the stack. */
SEC("xdp")
int spilled(struct xdp_md *context)
{
	__u64 a = bpf_ktime_get_ns(), b = bpf_ktime_get_ns(), c = bpf_ktime_get_ns(), d = bpf_ktime_get_ns();
	__u64 e = bpf_ktime_get_ns(), f = bpf_ktime_get_ns(), g = bpf_ktime_get_ns();

#pragma clang loop unroll(disable)
	for (int i = 0; i < 20; i++) {
		a += bpf_get_prandom_u32() + i;
		b ^= a, c += b, d ^= c, e += d, f ^= e, g += f;
	}
	return (a ^ b ^ c ^ d ^ e ^ f ^ g) == 1 ? XDP_DROP : XDP_PASS;
}
#endif

#ifdef DOWN
SEC("xdp")
int down(struct xdp_md *context)
{
	volatile int sum = 0;

#pragma clang loop unroll(disable)
	for (int i = 40; i >= 0; i -= 2)
		sum += i;
	return XDP_PASS;
}
#endif

#ifdef STATIC_BOUND
/* The bound is an argument of a subprogram. */
static __attribute__((noinline)) int rounds(__u32 n)
{
	volatile int sum = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < n; i++)
		sum += i;
	return sum;
}

SEC("xdp")
int static_bound(struct xdp_md *context)
{
	return rounds(10) + rounds(25) == 3 ? XDP_DROP : XDP_PASS;
}
#endif

char LICENSE[] SEC("license") = "Dual MIT/GPL";
