/*
 * What bench.c and its program (bench.bpf.c) share.
 */
#pragma once
#include <linux/types.h>

#define BENCH_FRAME_BYTES 80u
#define BENCH_TURNS	  4u	/* a call: each costs the verifier */

struct bench {
	__u32 flows, first;		/* flows among which packets are dealt; number of the first one */
	__u32 only_write;		/* the loop without the program */
	__u32 family;
	__u32 step;			/* of the flows' numbers: 1, or what spreads them over memory */
	__u32 verdicts[8];		/* out: what the program returned */
	__u8 header[64];		/* of all packets; the flow's number goes into source address and port */
};
