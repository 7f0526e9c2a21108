// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The XDP program in a loop in the kernel, for bench.c: each turn writes the headers of a fresh packet into the frame and runs the
 * program on it. What BPF_PROG_TEST_RUN itself repeats would be run on its own output.
 */
#include "nat64/bpf/bench.h"
#include "nat64/bpf/call.bpf.h"
#include "nat64/bpf/xdp.bpf.h"

char _license[] SEC("license") = "Dual MIT/GPL";

XLAT_MAP(bench, BPF_MAP_TYPE_ARRAY, 1, __u32, struct bench, BPF_F_MMAPABLE);

/* 1: the frame cannot be made. A loop of the compiler's, since the core's calls are as deep as the kernel allows: no bpf_loop around them. */
XLAT_INLINE int bench_step(struct xdp_md *ctx, struct bench *b, __u32 turn, __u32 frame_bytes)
{
	__u64 now = (__u64)ctx->data_end - (__u64)ctx->data;
	__u32 flow;
	__u8 *ip;

	XLAT_KEEP(now);
	if ((__u32)now != frame_bytes && bpf_xdp_adjust_head(ctx, (int)((__u32)now - frame_bytes)) != 0)
		return 1;
	ip = (void *)(long)ctx->data;
	if ((void *)(ip + 14 + 60) > (void *)(long)ctx->data_end || b->flows == 0)
		return 1;
	*(__be16 *)(void *)(ip + 12) = b->family == 6 ? bpf_htons(XDP_TYPE_IP6) : bpf_htons(XDP_TYPE_IP4);
	ip[0] = 2;
	ip += 14;
	xdp_move(ip, b->header, 60);
	flow = (__u32)((__u64)(b->first + turn) * b->step % b->flows);
	if (b->family == 6) {
		/* A subscriber has 1,024 flows. */
		*(__be32 *)(void *)(ip + 12) = bpf_htonl(flow >> 10);
		*(__be16 *)(void *)(ip + 40) = bpf_htons((__u16)(1024 + (flow & 1023)));
	}
	return 0;
}

SEC("xdp")
int nat64_bench(struct xdp_md *ctx)
{
	__u32 zero = 0, verdict;
	struct bench *b = bpf_map_lookup_elem(&bench, &zero);
	__u64 frame_bytes = (__u64)ctx->data_end - (__u64)ctx->data;

	XLAT_KEEP(frame_bytes);
	if (b == NULL)
		return -1;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < BENCH_TURNS; i++) {
		if (bench_step(ctx, b, i, (__u32)frame_bytes) != 0)
			return -2;
		if (b->only_write)
			continue;
		verdict = (__u32)xdp_run(ctx, false);
		b->verdicts[verdict & 7]++;
	}
	return BENCH_TURNS;
}
