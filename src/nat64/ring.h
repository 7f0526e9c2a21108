/*
 * Looking into the ring of events without taking anything out: the daemon is its reader, and a trace beside it must not steal lines of
 * the log. Begins at what comes next.
 *
 * Without a daemon nobody takes events out, and a full ring loses new ones: then `nat64_ring_make_room` drops old ones.
 */
#pragma once
#include "nat64/instance.h"

struct nat64_ring;			/* opaque */

MUST_USE int nat64_ring_open(struct nat64 *n, struct nat64_ring **out, struct errmsg *why);
void nat64_ring_close(struct nat64_ring *r);
/* Calls `each` for every event since the last time; not 0 ends it. Returns that, or 0. Never blocks. */
int nat64_ring_look(struct nat64_ring *r, int (*each)(void *arg, const struct xlat_event *e), void *arg);
/* Events that went by before they were looked at. */
uint64_t nat64_ring_missed(const struct nat64_ring *r);
/* No daemon reads: when less than half of the ring is free, drop all that is in it. */
void nat64_ring_make_room(struct nat64_ring *r);
