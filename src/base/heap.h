/*
 * A binary heap of pointers whose items know their place, so that any of them can be
 * removed or moved in O(log n): timers, due times.
 *
 * The item holds its place in a size_t of its own (1-based; 0 means "not in the heap"):
 *
 *	heap_init(&timers, earlier, offsetof(struct timer, heap_index));
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

struct heap {
	void **items;			/* items[i - 1] is the item whose place is i */
	size_t count, cap;
	size_t place_offset;		/* of the size_t inside an item */
	bool (*less)(const void *a, const void *b);
};

/* An empty heap; allocates nothing yet. */
void heap_init(struct heap *h, bool (*less)(const void *a, const void *b), size_t place_offset);
/* Frees the array. The items are the caller's; their places are set to 0. */
void heap_done(struct heap *h);

/* Room for n items in all, so that pushes up to that count cannot fail. 0 or -ENOMEM. */
MUST_USE int heap_reserve(struct heap *h, size_t n);
/* Insert an item that is in no heap. 0 or -ENOMEM. O(log n). */
MUST_USE int heap_push(struct heap *h, void *item);
/* Take an item out; one whose place is 0 is left alone. O(log n). */
void heap_remove(struct heap *h, void *item);
/* The item's key has changed: find its place again. O(log n). */
void heap_moved(struct heap *h, void *item);

/* The least item, or NULL. It stays. */
static inline void *heap_top(const struct heap *h)
{
	return h->count == 0 ? NULL : h->items[0];
}

/* Take the least item out, or NULL. */
void *heap_pop(struct heap *h);
