#include "base/arena.h"

#include <errno.h>
#include <stdlib.h>

#define ARENA_ALIGN	  16u
#define ARENA_BLOCK_BYTES 4096u

struct arena_block {
	struct arena_block *next;
	size_t used, size;
	_Alignas(ARENA_ALIGN) uint8_t bytes[];
};

void arena_done(struct arena *a)
{
	while (a->blocks != NULL) {
		struct arena_block *next = a->blocks->next;
		free(a->blocks);
		a->blocks = next;
	}
	a->used_bytes = 0;
	a->err = 0;
}

void arena_reset(struct arena *a)
{
	while (a->blocks != NULL && a->blocks->next != NULL) {
		struct arena_block *next = a->blocks->next;
		free(a->blocks);
		a->blocks = next;
	}
	if (a->blocks != NULL)
		a->blocks->used = 0;
	a->used_bytes = 0;
	a->err = 0;
}

static struct arena_block *new_block(struct arena *a, size_t need)
{
	size_t size = ARENA_BLOCK_BYTES - sizeof(struct arena_block);

	/* Grow with the content, so that a large unit of work costs few mallocs. */
	if (a->used_bytes > 4 * size)
		size = a->used_bytes / 4;
	if (size < need)
		size = need;
	struct arena_block *b = malloc(sizeof(*b) + size);
	if (b == NULL)
		return NULL;
	b->used = 0;
	b->size = size;
	b->next = a->blocks;
	a->blocks = b;
	return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
	if (a->err != 0)
		return NULL;
	if (size > SIZE_MAX - ARENA_ALIGN) {
		a->err = -ENOMEM;
		return NULL;
	}
	size_t need = (MAX(size, 1) + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	if (need > a->max_bytes || a->used_bytes > a->max_bytes - need) {
		a->err = -ENOMEM;
		return NULL;
	}
	struct arena_block *b = a->blocks;
	if (b == NULL || b->size - b->used < need) {
		b = new_block(a, need);
		if (b == NULL) {
			a->err = -ENOMEM;
			return NULL;
		}
	}
	void *ptr = b->bytes + b->used;
	b->used += need;
	a->used_bytes += need;
	memset(ptr, 0, need);
	return ptr;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		a->err = -ENOMEM;
		return NULL;
	}
	return arena_alloc(a, bytes);
}

struct slice arena_dup(struct arena *a, struct slice s)
{
	uint8_t *copy = arena_alloc(a, s.len);

	if (copy == NULL)
		return (struct slice){ 0 };
	if (s.len > 0)
		memcpy(copy, s.ptr, s.len);
	return slice_of(copy, s.len);
}

char *arena_str(struct arena *a, struct slice s)
{
	char *copy = arena_alloc(a, s.len + 1);

	if (copy == NULL)
		return NULL;
	if (s.len > 0)
		memcpy(copy, s.ptr, s.len);
	copy[s.len] = '\0';
	return copy;
}
