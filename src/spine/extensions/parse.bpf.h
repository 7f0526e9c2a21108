/*
 * What the extensions that we ship share: the wire's headers that <linux/...> does not give
 * unpadded, small checksum arithmetic, and how they count.
 *
 * Counters: an extension that counts has a per-CPU array `counters` of one entry, a struct of __u64.
 * Its fields' names are in BTF, so programs can print them without knowing the extension.
 */
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET	 2		/* <sys/socket.h> needs a C library for the target */
#define AF_INET6 10

#define IP4_FRAGMENT_OFFSET 0x1fff
#define IP4_MORE_FRAGMENTS  0x2000
#define IP4_DONT_FRAGMENT   0x4000

/* The map of counters: SPINE_COUNTERS(struct router_counters). */
#define SPINE_COUNTERS(type_)                                                                      \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                           \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, type_);                                                              \
	} counters SEC(".maps")

/*
 * Keeps the compiler from joining this branch's end with that of another into one access with a computed
 * address, which the kernel refuses to unprivileged programs: no two of these are equal. (With a text in
 * the asm it would get line information of its own, of which the kernel allows one an instruction.)
 */
#define KEEP_APART() asm volatile("" : : "i"(__COUNTER__))

/* Count one. */
#define COUNT(counters_, field)                                                                    \
	do {                                                                                       \
		(counters_)->field++;                                                              \
		KEEP_APART();                                                                      \
	} while (0)

static __always_inline void *counters_get(void *map)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(map, &zero);
}

/* Ones' complement sum to 16 bits (RFC 1071). */
static __always_inline __u16 sum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* A header of 20 bytes whose checksum is right. */
static __always_inline bool ip4_sum_right(const struct iphdr *ip)
{
	const __u16 *word = (const void *)ip;
	__u64 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += word[i];
	return sum_fold(sum) == 0xffff;
}

/* As the kernel's forwarding does it (RFC 1141), so that both give the same bytes. */
static __always_inline void ip4_decrease_ttl(struct iphdr *ip)
{
	__u32 sum = ip->check;

	sum += bpf_htons(0x0100);
	ip->check = (__u16)(sum + (sum >= 0xffff));
	ip->ttl--;
}

/* The whole frame's length; more than data_end - data when it lies in several buffers. */
static __always_inline __u64 frame_bytes(struct xdp_md *ctx)
{
	return bpf_xdp_get_buff_len(ctx);
}
