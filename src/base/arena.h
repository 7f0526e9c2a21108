/*
 * An arena: all memory of one unit of work (a command, a message, a class file).
 *
 * It is bounded: past max_bytes every allocation fails and `err` sticks. One reset frees
 * everything; nothing in it is freed alone. Pointers are aligned to 16 bytes.
 */
#pragma once
#include "base/slice.h"

struct arena_block;
struct arena {
	struct arena_block *blocks;	/* newest first */
	size_t used_bytes;		/* handed out, rounding included */
	size_t max_bytes;
	int err;			/* 0 or -ENOMEM: limit or malloc */
};

#define ARENA_INIT(limit_bytes) { .max_bytes = (limit_bytes) }
static inline void arena_init(struct arena *a, size_t max_bytes)
{
	*a = (struct arena)ARENA_INIT(max_bytes);
}
/* Free all memory. The arena may be used again. */
void arena_done(struct arena *a);
#define AUTO_ARENA __attribute__((cleanup(arena_done)))
/* Forget all content and the error; keeps the first block so that the next command allocates nothing. */
void arena_reset(struct arena *a);

/* Zeroed memory, or NULL with a->err set. size 0 yields a valid pointer. */
MUST_USE void *arena_alloc(struct arena *a, size_t size);
/* n * size with overflow check. */
MUST_USE void *arena_array(struct arena *a, size_t n, size_t size);
/* A copy of s in the arena; {NULL, 0} on failure (a->err tells). */
struct slice arena_dup(struct arena *a, struct slice s);
/* A NUL-ended copy; NULL on failure. */
char *arena_str(struct arena *a, struct slice s);
#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))
