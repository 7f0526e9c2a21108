/*
 * Ones' complement sums (RFC 1071) and their update (RFC 1624).
 *
 * Sums are of 16-bit words in host order, kept unfolded in 32 bits, so that they can be added to; each folded one is below
 * 65536, and no place here adds more than some hundred of them.
 */
#pragma once
#include "nat64/core/types.h"

XLAT_INLINE __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* A 32-bit word as it lies in memory. */
XLAT_INLINE __u32 csum_word(__be32 word)
{
	__u32 v = bpf_ntohl(word);

	return (v >> 16) + (v & 0xffff);
}

/* An address of either family: of IPv4 only [0] is not zero. Sums of words in memory's order are sums of swapped words (RFC 1071 2(B)). */
XLAT_INLINE __u32 csum_address(const __be32 a[4])
{
	__u64 sum = (__u64)(__u32)a[0] + (__u32)a[1] + (__u32)a[2] + (__u32)a[3];

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return csum_word((__be32)(__u32)sum);
}

/* new - old, to be added to a sum. */
XLAT_INLINE __u32 csum_change(__u32 old, __u32 new)
{
	return (__u32)(__u16)~csum_fold(old) + csum_fold(new);
}

/* The stored checksum after a change of its words (RFC 1624, equation 3). */
XLAT_INLINE __u16 csum_update(__u16 stored, __u32 change)
{
	return (__u16)~csum_fold((__u32)(__u16)~stored + csum_fold(change));
}

/* In UDP 0 means that there is none (RFC 768). */
XLAT_INLINE __u16 csum_udp(__u16 stored)
{
	return stored == 0 ? 0xffff : stored;
}
