/*
 * A world for this directory's tests: a clock turned by hand, repeatable randomness, no files.
 */
#pragma once
#include <time.h>

#include "sys/world.h"

struct test_world {
	struct world base;
	uint64_t seed;
	int64_t now_us;
};

static inline uint64_t test_next(uint64_t *seed)
{
	/* splitmix64: Steele, Lea, Flood 2014 */
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline int64_t test_world_now(struct world *w)
{
	struct test_world *t = container_of(w, struct test_world, base);

	return t->now_us += 7;
}

static inline void test_world_random(struct world *w, void *out, size_t n)
{
	struct test_world *t = container_of(w, struct test_world, base);

	for (size_t i = 0; i < n; i++)
		((uint8_t *)out)[i] = (uint8_t)test_next(&t->seed);
}

static const struct world_ops test_world_ops = {
	.real_us = test_world_now,
	.mono_us = test_world_now,
	.random = test_world_random,
};

static inline void test_world_init(struct test_world *t, uint64_t seed)
{
	*t = (struct test_world){ .base = { .ops = &test_world_ops }, .seed = seed,
				  .now_us = INT64_C(1700000000) * 1000000 };
}

static inline int64_t test_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
