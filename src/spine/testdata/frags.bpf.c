/* For load_test.c: takes packets in several buffers. */
// SPDX-License-Identifier: MIT OR GPL-2.0-only
#include <prickle/spine.h>

SPINE_EXTENSION(.name = "frags", .version = "1", .match = "udp");

SEC("xdp.frags")
int frags(struct xdp_md *ctx)
{
	return ctx->rx_queue_index > 0 ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
