/*
 * Which helpers can be refused at run time: the answer must be one that the caller has to expect anyway, and nothing may depend on
 * what the call would have written, taken or given back. So reading calls (xdp_load_bytes), locks, what releases (sk_release,
 * ringbuf_submit), clocks and everything with a varying number of arguments are not in the list.
 */
#include <errno.h>

#include "spine/inject/inject_internal.h"

#define NULL_OR_ABORTED 0

static const struct {
	int32_t answer;
	uint8_t args;			/* what the call reads: kept over a record when on trial; 0: not in the list */
} helpers[] = {
	[BPF_FUNC_map_lookup_elem] = { NULL_OR_ABORTED, 2 },
	[BPF_FUNC_map_update_elem] = { -EPERM, 4 },
	[BPF_FUNC_map_delete_elem] = { -EPERM, 2 },
	[BPF_FUNC_map_push_elem] = { -EPERM, 3 },
	[BPF_FUNC_map_lookup_percpu_elem] = { NULL_OR_ABORTED, 3 },
	[BPF_FUNC_for_each_map_elem] = { -EPERM, 4 },
	[BPF_FUNC_loop] = { -EPERM, 4 },
	[BPF_FUNC_tail_call] = { -EPERM, 3 },
	[BPF_FUNC_redirect] = { NULL_OR_ABORTED, 2 },
	[BPF_FUNC_redirect_map] = { NULL_OR_ABORTED, 3 },
	[BPF_FUNC_xdp_adjust_head] = { -EPERM, 2 },
	[BPF_FUNC_xdp_adjust_meta] = { -EPERM, 2 },
	[BPF_FUNC_xdp_adjust_tail] = { -EPERM, 2 },
	[BPF_FUNC_xdp_store_bytes] = { -EPERM, 4 },
	[BPF_FUNC_fib_lookup] = { -EPERM, 4 },
	[BPF_FUNC_csum_diff] = { -EPERM, 5 },
	[BPF_FUNC_perf_event_output] = { -EPERM, 5 },
	[BPF_FUNC_ringbuf_output] = { -EPERM, 4 },
	[BPF_FUNC_ringbuf_reserve] = { NULL_OR_ABORTED, 3 },
	[BPF_FUNC_user_ringbuf_drain] = { -EPERM, 4 },
	[BPF_FUNC_sk_lookup_tcp] = { NULL_OR_ABORTED, 5 },
	[BPF_FUNC_sk_lookup_udp] = { NULL_OR_ABORTED, 5 },
	[BPF_FUNC_skc_lookup_tcp] = { NULL_OR_ABORTED, 5 },
	[BPF_FUNC_tcp_gen_syncookie] = { -EPERM, 5 },
	[BPF_FUNC_tcp_check_syncookie] = { -EPERM, 5 },
	[BPF_FUNC_tcp_raw_gen_syncookie_ipv4] = { -EPERM, 3 },
	[BPF_FUNC_tcp_raw_gen_syncookie_ipv6] = { -EPERM, 3 },
	[BPF_FUNC_tcp_raw_check_syncookie_ipv4] = { -EPERM, 2 },
	[BPF_FUNC_tcp_raw_check_syncookie_ipv6] = { -EPERM, 2 },
	[BPF_FUNC_timer_init] = { -EPERM, 3 },
	[BPF_FUNC_timer_set_callback] = { -EPERM, 2 },
	[BPF_FUNC_timer_start] = { -EPERM, 3 },
	[BPF_FUNC_timer_cancel] = { -EPERM, 1 },
};

int inject_helper_args(int helper)
{
	return helper > 0 && (size_t)helper < ARRAY_LEN(helpers) && helpers[helper].args > 0 ? helpers[helper].args : -1;
}

bool inject_helper_refusal(int helper, int32_t *answer)
{
	if (inject_helper_args(helper) < 0)
		return false;
	*answer = helpers[helper].answer;
	return true;
}
