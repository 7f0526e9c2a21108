/*
 * SYNs from outside that came before the inside host's (RFC 6146 3.5.2.2): simultaneous open. Each waits 6 s; in that time the inside
 * host may open the connection itself, and if it does not, the sender is told "port unreachable", not at once as a closed port would,
 * so that hole punching works.
 *
 * Bounded in number, the oldest goes first; a source (IPv4 address) gets a fourth.
 */
#pragma once
#include "nat64/slow/packet.h"

struct syns;				/* opaque */

/* 0 or -ENOMEM. */
MUST_USE int syns_new(uint32_t max, uint32_t wait_ms, struct syns **out);
void syns_free(struct syns *s);
void syns_limit(struct syns *s, uint32_t max, uint32_t wait_ms);
/* Keep a SYN. Of one that waits already the time runs on (senders repeat them). False: not kept, memory is short, max is 0, or it is longer than a packet should be. */
bool syns_add(struct syns *s, const struct packet *p, uint32_t mark, int64_t now_ms);
/* The oldest whose time is over, taken out: the packet (valid until the next call of any function), or none. */
bool syns_expired(struct syns *s, int64_t now_ms, struct slice *packet, uint32_t *mark);
/* ms until the next expires, or -1. */
int64_t syns_next(const struct syns *s, int64_t now_ms);
