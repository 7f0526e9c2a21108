/* For load_test.c: reads the packet without a look at its end; no verifier takes it. */
// SPDX-License-Identifier: MIT OR GPL-2.0-only
#include <prickle/spine.h>

SPINE_EXTENSION(.name = "broken", .version = "1", .match = "udp");

SEC("xdp")
int broken(struct xdp_md *ctx)
{
	const __u8 *data = (void *)(long)ctx->data;

	return data[3] == 7 ? XDP_DROP : XDP_PASS;	/* the line that is refused */
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
