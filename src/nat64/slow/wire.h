/*
 * Packets for tests of the slow path, and a judge of packets that shares no code with what it judges: lengths, checksums, fragment
 * fields are computed here from the RFCs once more, byte by byte.
 */
#pragma once
#include "base/buf.h"
#include "nat64/slow/packet.h"

/* A packet to be: the addresses of either family as text. */
struct wire {
	const char *src, *dst;
	uint8_t protocol, ttl;
	bool df;
	uint32_t id;			/* IPv6: of the fragment header, which is there when `fragment` is set */
	bool fragment, more;
	uint32_t offset;
	const uint8_t *extension;	/* IPv6: headers before the transport, chained already; their first type is extension_type */
	size_t extension_bytes;
	uint8_t extension_type;
};

/* Append an IP packet with this payload (transport header and data); IPv4 by its addresses. */
void wire_ip(struct buf *out, const struct wire *w, struct slice payload);
/* Replace *out by a UDP datagram, TCP segment, or ICMP message with its checksum right for the addresses of w (checksum 0 when `none`). */
void wire_udp(struct buf *out, const struct wire *w, uint16_t sport, uint16_t dport, struct slice data, bool none);
struct wire_tcp { uint16_t sport, dport; uint32_t seq, ack; uint8_t flags; struct slice options, data; };
void wire_tcp(struct buf *out, const struct wire *w, const struct wire_tcp *t);
void wire_icmp(struct buf *out, const struct wire *w, uint8_t type, uint8_t code, uint32_t rest, struct slice data);

/*
 * Judge a packet: NULL when its lengths agree and its checksums are right (transports of fragments are not judged; UDP over IPv4
 * may have none), else what is wrong. ICMP errors may cut the packet inside.
 */
const char *wire_judge(struct slice packet);
/* Bytes for payloads, other ones for each seed. */
void wire_fill(struct buf *out, size_t n, uint32_t seed);
