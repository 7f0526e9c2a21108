#include "base/heap.h"
#include "base/test.h"

struct item {
	uint64_t key;
	size_t place;
};

static bool less(const void *a, const void *b)
{
	return ((const struct item *)a)->key < ((const struct item *)b)->key;
}

static uint64_t next(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static void check_order(const struct heap *h)
{
	for (size_t place = 1; place <= h->count; place++) {
		const struct item *item = h->items[place - 1];
		ck_assert_uint_eq(item->place, place);
		if (place > 1)
			ck_assert(!less(item, h->items[place / 2 - 1]));
	}
}

START_TEST(any_mix_of_pushes_moves_and_removals_keeps_the_order)
{
	struct item items[200] = { 0 };
	struct heap h;
	uint64_t seed = 1;
	size_t in = 0;

	heap_init(&h, less, offsetof(struct item, place));
	for (int round = 0; round < 20000; round++) {
		struct item *item = &items[next(&seed) % ARRAY_LEN(items)];
		if (item->place == 0) {
			item->key = next(&seed) % 50;
			ck_assert_int_eq(heap_push(&h, item), 0);
			in++;
		} else if (next(&seed) % 2 == 0) {
			item->key = next(&seed) % 50;
			heap_moved(&h, item);
		} else {
			heap_remove(&h, item);
			ck_assert_uint_eq(item->place, 0);
			in--;
		}
		ck_assert_uint_eq(h.count, in);
		if (round % 50 == 0)
			check_order(&h);
	}
	check_order(&h);
	uint64_t last = 0;
	for (struct item *item; (item = heap_pop(&h)) != NULL; last = item->key)
		ck_assert(item->key >= last && item->place == 0);
	heap_done(&h);
}
END_TEST

START_TEST(removing_what_is_not_in_the_heap_does_nothing)
{
	struct item a = { .key = 1 }, b = { .key = 2 };
	struct heap h;

	heap_init(&h, less, offsetof(struct item, place));
	heap_remove(&h, &a);
	ck_assert(heap_top(&h) == NULL && heap_pop(&h) == NULL);
	ck_assert_int_eq(heap_push(&h, &b), 0);
	heap_remove(&h, &a);
	ck_assert(heap_top(&h) == &b);
	heap_done(&h);
	ck_assert_uint_eq(b.place, 0);
}
END_TEST

TEST_MAIN("base/heap", any_mix_of_pushes_moves_and_removals_keeps_the_order,
	  removing_what_is_not_in_the_heap_does_nothing)
