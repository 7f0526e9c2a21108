/*
 * Headers of frames as the shipped extensions read them: what linux/ip.h and friends declare, without
 * bit-fields, plus checksums. For BPF programs; the frame's bytes are hostile.
 */
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Next headers of IPv6 (linux/in.h has none of them). */
#define FRAME_HOP_BY_HOP 0
#define FRAME_ROUTING	 43
#define FRAME_FRAGMENT	 44
#define FRAME_OPTIONS	 60
#define FRAME_ICMP6	 58

#define INLINE static __attribute__((always_inline)) inline

struct frame_eth {
	__u8 to[6], from[6];
	__be16 type;
} __attribute__((packed));

struct frame_ip4 {
	__u8 version_words, tos;	/* words: of 4 bytes, header with options */
	__be16 total;
	__be16 id, fragment;
	__u8 ttl, protocol;
	__u16 sum;
	__be32 from, to;
};
#define FRAME_DF	0x4000		/* of frame_ip4.fragment */
#define FRAME_MF	0x2000
#define FRAME_OFFSET	0x1fff

struct frame_ip6 {
	__be32 flow;
	__be16 payload;
	__u8 next, hops;
	__be32 from[4], to[4];
};

struct frame_tcp {
	__be16 from, to;
	__be32 seq, ack;
	__u8 words, flags;		/* words: in the upper half */
	__be16 window;
	__u16 sum, urgent;
};
#define FRAME_FIN 0x01
#define FRAME_SYN 0x02
#define FRAME_RST 0x04
#define FRAME_ACK 0x10

struct frame_udp {
	__be16 from, to, length;
	__u16 sum;
};

struct frame_icmp {
	__u8 type, code;
	__u16 sum;
	__be32 rest;
};

struct frame_fragment6 {		/* RFC 8200 §4.5 */
	__u8 next, spare;
	__be16 offset;			/* in units of 8 bytes, x 8; bit 0: more follow */
	__be32 id;
};

/* Fold a one's complement sum of up to 64 bits and complement it: the field of a header. */
INLINE __u16 frame_sum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* The sum of an IPv4 header without options, its own field taken as 0. */
INLINE __u16 frame_ip4_sum(const struct frame_ip4 *ip)
{
	const __u16 *w = (const void *)ip;
	__u64 sum = 0;

	for (int i = 0; i < 10; i++)
		if (i != 5)
			sum += w[i];
	return frame_sum(sum);
}
