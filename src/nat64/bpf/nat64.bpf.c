// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The translator's programs for the kernel, one object: they share the maps.
 *
 *	nat64_xdp, nat64_xdp_frags	an interface by XDP, the second for frames in several buffers (xdp.bpf.h)
 *	nat64_tc_in, nat64_tc_out	an interface by tc, and the host's own traffic (tc.bpf.h)
 *	nat64_call			changes and plans that the daemon and commands ask for (call.bpf.h), and the walk (timer.bpf.h)
 *
 * Loads on Linux 6.1: no kfuncs, no dynptrs; bpf_loop, bpf_timer and compare-and-swap.
 */
#include "nat64/bpf/call.bpf.h"
#include "nat64/bpf/tc.bpf.h"
#include "nat64/bpf/xdp.bpf.h"

char _license[] SEC("license") = "Dual MIT/GPL";
