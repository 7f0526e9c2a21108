/*
 * What travels between engine/remote.c and engine/remote_server.c. Nobody else includes this.
 *
 * A request: u8 has_grant, [16 bytes grant], fields. A reply: u8 result (enum engine_result or
 * REMOTE_AGAIN), then for reads: u8 place, be32 length, and the bytes when place is INLINE;
 * when it is RING they stand in the store's ring at the offset that the request named.
 * Values of an operation: varint (length << 1 | in_ring), bytes unless in_ring; those in the
 * ring stand there one after the other, in order, from the offset that the request names.
 */
#pragma once
#include "engine/engine.h"
#include "engine/remote.h"

#define REMOTE_INLINE_BYTES (24u * 1024u)	/* answers and operations up to here need no ring */
#define REMOTE_VALUE_INLINE 1024u		/* in an operation that uses the ring: smaller stay inline */
#define REMOTE_ANSWER_MAX   (4u << 20)		/* bytes in one read or key range */
#define REMOTE_AGAIN	    0xffu		/* nothing was done; ask again soon */

enum remote_place { PLACE_INLINE, PLACE_RING };
