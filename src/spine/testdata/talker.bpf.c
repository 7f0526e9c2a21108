/* For load_test.c: handlers on three channels. */
// SPDX-License-Identifier: MIT OR GPL-2.0-only
#include <prickle/spine.h>

SPINE_EXTENSION(.name = "talker", .version = "1", .match = "udp", .channels = 3);

struct add {
	__u64 number, sum, sender;
};

__u64 total;

static __always_inline int add(struct add *args, struct spine_message *m)
{
	args->sum = __sync_fetch_and_add(&total, args->number) + args->number;
	args->sender = m->sender;
	return 0;
}

#define HANDLERS(H) H(1, add, add)
SPINE_HANDLERS(HANDLERS);
SPINE_OUTBOX;

SEC("xdp")
int talker(struct xdp_md *ctx)
{
	struct add a = { .number = total };

	spine_post(ctx, 1, &a, sizeof(a));
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
