/*
 * For tests of the translation: packets from descriptions, the edit applied as a home does it, and a judge that computes all
 * lengths and checksums of a packet once more, byte by byte, with no code of the core.
 */
#pragma once
#include "base/buf.h"
#include "nat64/native/native.h"

/* An IP header to be; what is 0 is left out, ttl 0 is 64. */
struct packet_ip {
	const char *src, *dst;		/* as text; they say the family */
	uint8_t protocol, ttl, tos;
	bool df, more, fragment;	/* fragment: IPv6 gets a fragment header */
	uint16_t at;			/* bytes, of a fragment */
	uint32_t id, flow;
	struct slice extra;		/* IPv4: options, a multiple of 4; IPv6: extension headers, of which the last one's type of the next is set here */
	uint8_t extra_type;		/* IPv6: of the first of them */
	uint32_t total;			/* payload to be claimed; 0: what there is (inner packets are cut) */
};

/* Append an IP header and `payload`. */
void packet_ip(struct buf *out, const struct packet_ip *ip, struct slice payload);
/* Append a datagram, a segment (20 bytes of header), an ICMP message; checksums are right. */
void packet_udp(struct buf *out, const struct packet_ip *ip, uint16_t sport, uint16_t dport, struct slice data);
void packet_tcp(struct buf *out, const struct packet_ip *ip, uint16_t sport, uint16_t dport, struct slice data);
void packet_icmp(struct buf *out, const struct packet_ip *ip, uint8_t type, uint8_t code, uint32_t rest, struct slice data);

/* What the edit of x makes of `packet`. */
void packet_apply(const struct xlat *x, struct slice packet, struct buf *out);
/*
 * NULL, or what is wrong: lengths, IPv4's header checksum, checksums of TCP, UDP, DCCP and ICMP of what is no fragment, and in ICMP errors
 * the same of the packet within as far as it is there.
 */
const char *packet_judge(struct slice packet);
/* The same without the packet in an ICMP error. */
const char *packet_judge_outer(struct slice packet);
/* Make a packet of IP without extension headers right where that is possible: version, length, IPv4's checksum, then that of the transport. */
void packet_seal(uint8_t *packet, size_t bytes);
/* Big-endian fields. */
uint32_t packet_get(struct slice packet, size_t at, unsigned bytes);
/* Addresses as text into network order; IPv4 in [0]. */
void packet_address(const char *text, __be32 out[4]);

/*
 * A translator to send packets through. world_config: SIIT; inside are 2001:db8:1::0-ff, which is 192.0.2.0-255 by an explicit
 * mapping; outside is 198.51.100.0/24 by the prefix 64:ff9b:1::/96; own addresses 192.0.2.254 and 2001:db8:ffff::1.
 */
struct world {
	struct xlat_native *n;
	struct xlat x;
	struct buf in, out;
};
void world_config(struct xlat_config *c);
void world_prefix(struct xlat_config *c, unsigned index, const char *address, uint8_t bits, bool global_only);
void world_open(struct world *w, const struct xlat_config *c);
void world_eam(struct world *w, const char *addr6, uint8_t bits6, const char *addr4, uint8_t bits4, uint32_t row);
void world_close(struct world *w);
/*
 * Send w->in through: plan, with mtu not 0 the fit, and the edit into w->out, which is judged (by must): a right packet in gives a
 * right one out. Returns the verdict.
 */
int world_send(struct world *w, uint32_t flags, uint32_t mtu);
