/*
 * Bodies between processes: a size-sealed memfd, written by one side, mapped read-only by
 * the other, one per channel and direction.
 *
 * The client of a channel (the side that sends requests) allocates in both: it writes request
 * bodies into `to` and tells the server where in `from` the answer's bytes shall stand. So no
 * message is needed to give space back. The server checks every offset and length against
 * the ring's size, copies lengths out before it checks them, and copies bytes out before it
 * computes anything from them: the other side may change them at any moment.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define RING_BYTES	(16u << 20)
#define RING_UNIT_BYTES 4096u

struct ring {
	int fd;
	uint8_t *map;
	uint32_t size;
	bool writable;
	uint64_t *busy;			/* bitmap of units, allocator's side only; NULL else */
	uint32_t next_unit;		/* next-fit search position */
	uint32_t free_units;
};

/*
 * A new sealed memfd of `size` bytes (a multiple of RING_UNIT_BYTES), mapped writable here;
 * later mappings, by whoever gets the descriptor, can only read (F_SEAL_FUTURE_WRITE).
 */
MUST_USE int ring_create(struct ring *r, uint32_t size);
/*
 * Map one that a peer made, read-only, and take over fd on success. -EPERM: the seals that keep the
 * peer from shrinking it are missing; -EINVAL: its size is not one that we use.
 */
MUST_USE int ring_map(struct ring *r, int fd);
void ring_done(struct ring *r);
/* This side allocates. */
MUST_USE int ring_own_allocation(struct ring *r);
/* n bytes, contiguous: true and the offset; false when there is no room now (wait or do less). */
bool ring_alloc(struct ring *r, uint32_t n, uint32_t *offset);
void ring_release(struct ring *r, uint32_t offset, uint32_t n);
/* The bytes at [offset, offset + n), or {NULL,0} when outside the ring. */
struct slice ring_at(const struct ring *r, uint32_t offset, uint32_t n);
