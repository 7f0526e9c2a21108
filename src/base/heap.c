#include "base/heap.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/must.h"

static size_t *place_of(const struct heap *h, void *item)
{
	return (size_t *)(void *)((char *)item + h->place_offset);
}

static void put(struct heap *h, size_t place, void *item)
{
	h->items[place - 1] = item;
	*place_of(h, item) = place;
}

static void sift_up(struct heap *h, size_t place, void *item)
{
	while (place > 1 && h->less(item, h->items[place / 2 - 1])) {
		put(h, place, h->items[place / 2 - 1]);
		place /= 2;
	}
	put(h, place, item);
}

static void sift_down(struct heap *h, size_t place, void *item)
{
	for (;;) {
		size_t child = place * 2;
		if (child > h->count)
			break;
		if (child < h->count && h->less(h->items[child], h->items[child - 1]))
			child++;
		if (!h->less(h->items[child - 1], item))
			break;
		put(h, place, h->items[child - 1]);
		place = child;
	}
	put(h, place, item);
}

void heap_init(struct heap *h, bool (*less)(const void *a, const void *b), size_t place_offset)
{
	*h = (struct heap){ .less = less, .place_offset = place_offset };
}

void heap_done(struct heap *h)
{
	for (size_t i = 0; i < h->count; i++)
		*place_of(h, h->items[i]) = 0;
	free(h->items);
	heap_init(h, h->less, h->place_offset);
}

int heap_reserve(struct heap *h, size_t n)
{
	if (n <= h->cap)
		return 0;
	size_t cap = h->cap == 0 ? 16 : h->cap;
	while (cap < n)
		cap = cap > SIZE_MAX / 2 ? n : cap * 2;
	void **items = reallocarray(h->items, cap, sizeof(*items));
	if (items == NULL)
		return -ENOMEM;
	h->items = items;
	h->cap = cap;
	return 0;
}

int heap_push(struct heap *h, void *item)
{
	must(*place_of(h, item) == 0);
	int err = heap_reserve(h, h->count + 1);
	if (err != 0)
		return err;
	h->count++;
	sift_up(h, h->count, item);
	return 0;
}

void heap_moved(struct heap *h, void *item)
{
	size_t place = *place_of(h, item);

	must(place >= 1 && place <= h->count);
	if (place > 1 && h->less(item, h->items[place / 2 - 1]))
		sift_up(h, place, item);
	else
		sift_down(h, place, item);
}

void heap_remove(struct heap *h, void *item)
{
	size_t place = *place_of(h, item);

	if (place == 0)
		return;
	must(place <= h->count && h->items[place - 1] == item);
	*place_of(h, item) = 0;
	void *last = h->items[--h->count];
	if (last == item)
		return;
	put(h, place, last);
	heap_moved(h, last);
}

void *heap_pop(struct heap *h)
{
	void *top = heap_top(h);

	if (top != NULL)
		heap_remove(h, top);
	return top;
}
