/*
 * IP packets as bytes: fields, and where a packet's parts are. For the slow path, which has whole packets in memory and
 * no verifier to please; the core has its own parser, which looks at the first bytes only.
 */
#pragma once
#include "base/slice.h"
#include "nat64/core/xlat.h"

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static inline void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

enum { IP4_BYTES = 20, IP6_BYTES = 40, FRAGMENT_BYTES = 8, FRAGMENT_HEADER = 44, IP_BYTES_MAX = 65535 };
enum { IP4_DF = 0x4000, IP4_MF = 0x2000, IP4_OFFSET = 0x1fff };
/* Largest fragment offset plus one, and largest payload of a datagram of either family. */
enum { DATAGRAM_BYTES_MAX = 65535 };

/* A packet taken apart. Slices borrow from it. */
struct packet {
	unsigned family;		/* 4, 6 */
	struct slice bytes;		/* without padding */
	const uint8_t *src, *dst;	/* 4 or 16 bytes */
	uint32_t l4;			/* offset of what follows the IP headers, as far as they are known */
	uint8_t protocol;		/* of it */
	uint8_t hops;
	bool fragment;			/* a part of a datagram: offset or more is not 0 */
	bool more;
	bool dont_fragment;
	uint32_t offset;		/* of this fragment, bytes */
	uint32_t id;
	uint32_t fragment_at;		/* IPv6: offset of the fragment header, 0 if there is none */
	uint32_t next_at;		/* IPv6: offset of the field that says what the fragment header is, or what `protocol` is */
};

/*
 * Read the headers of a packet: version, lengths, IPv6 extension headers up to the transport (in later fragments: up to the fragment
 * header). XLAT_R_NONE, or why not: TRUNCATED, BAD_VERSION, BAD_LENGTH, HEADERS_TOO_LONG.
 */
MUST_USE enum xlat_reason packet_read(struct slice bytes, struct packet *out);

/* Recompute the IPv4 header's checksum; `ip` has the header. */
void packet_sum4(uint8_t *ip);
/* Recompute the checksum of the TCP, UDP or ICMP packet that has no extension headers; false when there is none to compute. */
bool packet_sum(uint8_t *ip, size_t bytes);
