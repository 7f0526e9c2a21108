/*
 * The words of a translator's file and of its commands: prefixes, rows of pool4, mappings. Text in, core/config.h's
 * values out, and text again. Pure.
 *
 * Every function that reads returns 0 or -EINVAL with a sentence that shows what was read, what is wrong with it and what would be
 * right. Order of words is free where the kinds tell them apart; "->", "<->" and "=" between them are for the reader.
 */
#pragma once
#include "base/buf.h"
#include "base/errmsg.h"
#include "nat64/core/state.h"

struct words_net {
	unsigned family;		/* 4, 6 */
	uint8_t bits;
	__be32 addr[4];
};

/* The next word, without it *rest; empty at the end. */
struct slice words_next(struct slice *rest);

/* "2001:db8::1", "192.0.2.1"; family 4, 6, or 0: either. */
MUST_USE int words_address(struct slice text, unsigned family, __be32 addr[4], unsigned *found, struct errmsg *why);
/* "192.0.2.0/24", "2001:db8::/32" or an address. Bits after the length are an error. */
MUST_USE int words_net(struct slice text, unsigned family, struct words_net *out, struct errmsg *why);
/* A translation prefix: one of the six lengths, bits 64 to 71 zero (RFC 6052 2.2), a unicast prefix. */
MUST_USE int words_pref64(struct slice text, struct xlat_prefix *out, struct errmsg *why);
/* A row of pool4; slot is left 0. *has_ports: whether ports, mark or shared were given (they mean nothing to siit). */
MUST_USE int words_pool(struct slice text, struct xlat_pool *out, bool *has_ports, struct errmsg *why);
/* "192.0.2.0/24 2001:db8:1::/120" (RFC 7757 3): IPv4's suffix may not be longer than IPv6's. row is left 0. */
MUST_USE int words_mapping(struct slice text, struct xlat_eam *out, struct errmsg *why);
/* "tcp 192.0.2.1:80 [2001:db8::10]:8080": key, addr4, port4, flags. */
MUST_USE int words_static(struct slice text, struct xlat_bib *out, struct errmsg *why);
/* "192.0.2.1:80", "[2001:db8::1]:80". */
MUST_USE int words_endpoint(struct slice text, __be32 addr[4], __be16 *port, unsigned *family, struct errmsg *why);

void words_address_text(struct buf *out, unsigned family, const __be32 addr[4]);
/* IPv6 in brackets. */
void words_endpoint_text(struct buf *out, unsigned family, const __be32 addr[4], __be16 port);
void words_net_text(struct buf *out, const struct words_net *net);
void words_prefix_text(struct buf *out, const struct xlat_prefix *prefix);
void words_pool_text(struct buf *out, const struct xlat_pool *pool, bool with_ports);
void words_mapping_text(struct buf *out, const struct xlat_eam *eam);
void words_static_text(struct buf *out, const struct xlat_bib *bib);
/* "tcp", "udp", "icmp"; another number as "protocol 47". */
const char *words_protocol(unsigned protocol);
/* The number of a name; 0: there is none such. */
unsigned words_protocol_number(struct slice name);

/* `a` and `b` have an address in common. */
bool words_nets_overlap(const __be32 a[4], unsigned a_bits, const __be32 b[4], unsigned b_bits);
