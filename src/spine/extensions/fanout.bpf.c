// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/*
 * Fan-out: a UDP stream, multicast or not, becomes a copy for each receiver, without a socket buffer and
 * without any process; the host joins and leaves receivers by message while it runs (fanout.h).
 *
 * The kernel copies a frame to all granted ports at once (BPF_F_BROADCAST); spine_egress then runs for each copy on
 * its way out and sends it to the port's receiver or, where nobody joined, nowhere. So a stream
 * costs a copy for each granted port: grant those that have receivers.
 *
 * Datagrams of a stream with receivers do not reach the host's own stack. Checksums stay right; where the sender
 * left out the one of IPv4's UDP, it stays out.
 */
#include <prickle/spine.h>

#include "spine/extensions/fanout.h"
#include "spine/extensions/parse.bpf.h"

SPINE_EXTENSION(
	.name = "fanout", .version = "1",
	.match = "udp",
	/* Not SPINE_FRAGS: of a frame in several buffers the kernel would copy the first alone. */
	.verdicts = SPINE_PASS | SPINE_REDIRECT);

SPINE_PORTS;
SPINE_COUNTERS(struct fanout_counters);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FANOUT_STREAMS_MAX);
	__type(key, struct fanout_key);
	__type(value, struct fanout_value);
} streams SEC(".maps");

/* A stream's key by its number, and how many receivers it has. */
struct stream_state {
	struct fanout_key key;
	__u32 used, members;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FANOUT_STREAMS_MAX);
	__type(key, __u32);
	__type(value, struct stream_state);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FANOUT_RECEIVERS_MAX);
	__type(key, struct fanout_member);
	__type(value, struct fanout_copies);
} receivers SEC(".maps");

/* A plain UDP datagram; false: counted, or nothing of ours. */
static __always_inline bool read_key(void *data, void *end, struct fanout_key *key, bool *plain)
{
	struct ethhdr *eth = data;
	struct udphdr *udp;

	*plain = true;
	if ((void *)(eth + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end || ip->protocol != IPPROTO_UDP)
			return false;
		*plain = ip->ihl == 5 && !(ip->frag_off & bpf_htons(IP4_FRAGMENT_OFFSET | IP4_MORE_FRAGMENTS));
		key->family = 4;
		__builtin_memcpy(key->address, &ip->daddr, 4);
		key->port = udp->dest;
		KEEP_APART();
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end || ip->nexthdr != IPPROTO_UDP)
			return false;
		key->family = 6;
		__builtin_memcpy(key->address, &ip->daddr, 16);
		key->port = udp->dest;
		KEEP_APART();
	} else {
		return false;
	}
	return true;
}

SEC("xdp")
int fanout(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct fanout_counters *count = counters_get(&counters);
	struct fanout_key key = { 0 };
	struct fanout_value *found;
	struct stream_state *state;
	bool plain;

	if (count == NULL || !read_key(data, end, &key, &plain))
		return XDP_PASS;
	if (!plain) {
		COUNT(count, not_plain);
		return XDP_PASS;
	}
	found = bpf_map_lookup_elem(&streams, &key);
	if (found == NULL)
		return XDP_PASS;
	state = bpf_map_lookup_elem(&states, &found->stream);
	if (state == NULL || state->members == 0) {
		COUNT(count, no_receivers);
		return XDP_PASS;
	}
	COUNT(count, replicated);
	return (int)bpf_redirect_map(&spine_ports, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
}

/* Ones' complement sum of words that change: the old ones inverted, the new ones. */
static __always_inline __u64 sum_change(const void *old, const void *new, int bytes)
{
	const __u16 *was = old, *is = new;
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < bytes / 2; i++)
		sum += (__u16)~was[i] + (__u64)is[i];
	return sum;
}

/* The copy's way to its receiver: 0 when its time to live has ended. */
static __always_inline __u8 new_ttl(__u8 ttl, __u32 configured)
{
	return configured != 0 ? (__u8)configured : ttl > 1 ? ttl - 1 : 0;
}

static __always_inline void put_sum(struct udphdr *udp, __u64 change)
{
	__u16 sum = (__u16)~sum_fold((__u16)~udp->check + change);

	udp->check = sum != 0 ? sum : 0xffff;
}

static __always_inline bool readdress4(struct iphdr *ip, struct udphdr *udp, const struct fanout_receiver *to, __u32 ttl)
{
	__u64 change = sum_change(&ip->daddr, to->address, 4);
	__u16 before = *(__u16 *)&ip->ttl;

	ip->ttl = new_ttl(ip->ttl, ttl);
	if (ip->ttl == 0)
		return false;
	ip->check = (__u16)~sum_fold((__u16)~ip->check + change + sum_change(&before, &ip->ttl, 2));
	if (udp->check != 0)
		put_sum(udp, change + sum_change(&udp->dest, &to->port, 2));
	__builtin_memcpy(&ip->daddr, to->address, 4);
	udp->dest = to->port;
	KEEP_APART();
	return true;
}

static __always_inline bool readdress6(struct ipv6hdr *ip, struct udphdr *udp, const struct fanout_receiver *to,
				       __u32 ttl)
{
	ip->hop_limit = new_ttl(ip->hop_limit, ttl);
	if (ip->hop_limit == 0)
		return false;
	put_sum(udp, sum_change(&ip->daddr, to->address, 16) + sum_change(&udp->dest, &to->port, 2));
	__builtin_memcpy(&ip->daddr, to->address, 16);
	udp->dest = to->port;
	KEEP_APART();
	return true;
}

static __always_inline bool readdress(void *data, void *end, const struct fanout_receiver *to, __u32 ttl)
{
	struct ethhdr *eth = data;
	struct udphdr *udp;

	if ((void *)(eth + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end || !readdress4(ip, udp, to, ttl))
			return false;
	} else {
		struct ipv6hdr *ip = (void *)(eth + 1);

		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end || !readdress6(ip, udp, to, ttl))
			return false;
	}
	__builtin_memcpy(eth->h_dest, to->to_mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, to->from_mac, ETH_ALEN);
	return true;
}

/* Runs for each copy that leaves by a granted port. */
SEC("xdp/devmap")
int spine_egress(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct fanout_counters *count = counters_get(&counters);
	struct fanout_member member = { .ifindex = ctx->egress_ifindex };
	struct fanout_key key = { 0 };
	struct fanout_copies *copies;
	struct fanout_value *found;
	bool plain;

	if (count == NULL || !read_key(data, end, &key, &plain))
		return XDP_DROP;
	found = bpf_map_lookup_elem(&streams, &key);
	if (found == NULL)
		return XDP_DROP;
	member.stream = found->stream;
	copies = bpf_map_lookup_elem(&receivers, &member);
	if (copies == NULL)
		return XDP_DROP;
	if (copies->to.address_set && !readdress(data, end, &copies->to, found->ttl)) {
		COUNT(count, ttl_expired);
		return XDP_DROP;
	}
	COUNT(count, copies);
	__sync_fetch_and_add(&copies->packets, 1);
	__sync_fetch_and_add(&copies->bytes, frame_bytes(ctx));
	return XDP_PASS;
}

/* ---- messages ---- */

static __always_inline int add_stream(struct fanout_stream *args, struct spine_message *m)
{
	struct fanout_key key = { .family = args->family, .port = args->port };
	struct fanout_value value = { .stream = args->stream, .ttl = args->ttl };
	struct stream_state *state = bpf_map_lookup_elem(&states, &value.stream);
	int err;

	if (state == NULL || (args->family != 4 && args->family != 6))
		return -EINVAL;
	__builtin_memcpy(key.address, args->address, 16);
	if (args->family == 4)
		__builtin_memset(key.address + 4, 0, 12);
	if (__sync_val_compare_and_swap(&state->used, 0, 1) != 0)
		return -EEXIST;
	err = (int)bpf_map_update_elem(&streams, &key, &value, BPF_NOEXIST);
	if (err != 0) {
		__sync_lock_test_and_set(&state->used, 0);
		return err;
	}
	state->key = key;
	return 0;
}

static __always_inline int remove_stream(struct fanout_stream *args, struct spine_message *m)
{
	__u32 number = args->stream;
	struct stream_state *state = bpf_map_lookup_elem(&states, &number);
	struct fanout_key key;

	if (state == NULL)
		return -EINVAL;
	if (state->used == 0)
		return -ENOENT;
	if (state->members != 0)
		return -EBUSY;
	key = state->key;
	bpf_map_delete_elem(&streams, &key);
	__sync_lock_test_and_set(&state->used, 0);
	return 0;
}

static __always_inline int join(struct fanout_receiver *args, struct spine_message *m)
{
	struct fanout_member member = { .stream = args->stream, .ifindex = args->ifindex };
	struct stream_state *state = bpf_map_lookup_elem(&states, &member.stream);
	struct fanout_copies copies = { 0 };
	int err;

	if (state == NULL)
		return -EINVAL;
	if (state->used == 0)
		return -ENOENT;
	__builtin_memcpy(&copies.to, args, sizeof(*args));
	err = (int)bpf_map_update_elem(&receivers, &member, &copies, BPF_NOEXIST);
	if (err == -EEXIST)
		return (int)bpf_map_update_elem(&receivers, &member, &copies, BPF_EXIST);
	if (err == 0)
		__sync_fetch_and_add(&state->members, 1);
	return err;
}

static __always_inline int leave(struct fanout_receiver *args, struct spine_message *m)
{
	struct fanout_member member = { .stream = args->stream, .ifindex = args->ifindex };
	struct stream_state *state = bpf_map_lookup_elem(&states, &member.stream);
	int err;

	if (state == NULL)
		return -EINVAL;
	err = (int)bpf_map_delete_elem(&receivers, &member);
	if (err == 0)
		__sync_fetch_and_add(&state->members, -1);
	return err;
}

#define HANDLERS(H)                            \
	H(1, add_stream, fanout_stream)        \
	H(2, remove_stream, fanout_stream)     \
	H(3, join, fanout_receiver)            \
	H(4, leave, fanout_receiver)
SPINE_HANDLERS(HANDLERS);

char LICENSE[] SEC("license") = "Dual MIT/GPL";
