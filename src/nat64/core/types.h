/*
 * What both compilers need of C: the core is included by eBPF programs, which have no C library, and by host code.
 *
 * Conventions of all of core/:
 * - Addresses are in network byte order, __be32[4]; an IPv4 address is in [0] and the rest is 0. Ports in keys are
 *   __be16 as on the wire; lengths, offsets and port arithmetic are in host order.
 * - No memory of its own, no system, no clock: all comes through struct xlat and the env_ functions (env.h).
 * - XLAT_INLINE functions are small. XLAT_PART ones are verified by the kernel on their own ("global functions"),
 *   which keeps its work linear; they get `struct xlat *` and scalars only, and must not trust that x is not NULL.
 */
#pragma once
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#define XLAT_INLINE static __attribute__((always_inline)) inline
#ifdef __bpf__
#include <bpf/bpf_endian.h>
#define XLAT_PART __attribute__((noinline))
#define xlat_copy __builtin_memcpy
#define xlat_zero(p, n) __builtin_memset(p, 0, n)
/* The compiler must not know more about v than the verifier does. */
#define XLAT_KEEP(v) asm volatile("" : "+r"(v))
#else
#include <endian.h>
#include <stdint.h>
#include <string.h>
#define XLAT_PART static __attribute__((unused))
#define bpf_htons(v) htobe16(v)
#define bpf_ntohs(v) be16toh(v)
#define bpf_htonl(v) htobe32(v)
#define bpf_ntohl(v) be32toh(v)
#define xlat_copy memcpy
#define xlat_zero(p, n) memset(p, 0, n)
#define XLAT_KEEP(v) ((void)0)
#endif
#ifndef likely
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif
/* In both kinds of code one word is read and written whole. */
#define XLAT_READ(v)	 (*(const volatile __typeof__(v) *)&(v))
#define XLAT_WRITE(v, n) (*(volatile __typeof__(v) *)&(v) = (n))

enum { XLAT_ICMP = 1, XLAT_TCP = 6, XLAT_UDP = 17, XLAT_DCCP = 33, XLAT_ICMP6 = 58, XLAT_SCTP = 132 };

/*
 * Time is ticks of 2^24 ns (16.8 ms): a shift from the kernel's clock; 32 bits last 2.2 years and are compared by
 * difference, so they may wrap.
 */
#define XLAT_TICK_SHIFT 24
#define XLAT_TICKS(ms)	((__u32)(((__u64)(ms) * 1000000) >> XLAT_TICK_SHIFT))
XLAT_INLINE bool xlat_passed(__u32 now, __u32 deadline)
{
	return (__s32)(now - deadline) >= 0;
}

#define LIMITS_FILE "nat64/core/limits.def"
#include "base/limits.h"
