/*
 * Objects that somebody damaged, or made to lie: 10,000 seeded mutations of real ones, which the reader and the
 * inspector must survive quickly. The seed is fixed; MUTATE_SEED=n tries others.
 */
#include <time.h>

#include "spine/inspect/inspect.h"
#include "spine/inspect/testdata/objects.h"

#define MUTATIONS 10000u
#define SLOW_MS	  3000			/* under a sanitizer, on a busy machine */

struct dice {
	uint64_t state;
};

/* xorshift64*, Vigna 2016. */
static uint64_t roll(struct dice *d, uint64_t below)
{
	d->state ^= d->state >> 12;
	d->state ^= d->state << 25;
	d->state ^= d->state >> 27;
	return (d->state * UINT64_C(2685821657736338717) >> 16) % below;
}

static const char *const names[] = {
	"plain", "messages", "ports", "nested", "counted", "iterated", "spilled", "static_bound", "own_ports", "tail",
	"hog", "kfunc",
};

/* Values that sizes, offsets, counts and indices lie with. */
static const uint64_t lies[] = {
	0, 1, 2, 7, 8, 0x10, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
	0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0xfffffffffffffff8,
};

struct victim {
	uint8_t *bytes;
	size_t len;
};

static void write_lie(struct dice *d, struct victim *v, size_t at)
{
	static const size_t sizes[] = { 1, 2, 4, 8 };
	size_t size = sizes[roll(d, ARRAY_LEN(sizes))];
	uint64_t lie = roll(d, 4) == 0 ? v->len - roll(d, 9) : lies[roll(d, ARRAY_LEN(lies))];

	if (at + size <= v->len)
		memcpy(v->bytes + at, &lie, size);
}

/* A place in the section headers, which is where lies do most. */
static size_t header_place(struct dice *d, const struct victim *v)
{
	uint64_t table;

	memcpy(&table, v->bytes + 40, sizeof(table));
	return table >= v->len ? roll(d, v->len) : (size_t)(table + roll(d, v->len - table));
}

static void mutate(struct dice *d, struct victim *v, struct slice donor)
{
	size_t at = roll(d, v->len);

	switch (roll(d, 6)) {
	case 0:
		v->bytes[at] ^= (uint8_t)(1u << roll(d, 8));
		break;
	case 1:
		v->bytes[at] = (uint8_t)roll(d, 256);
		break;
	case 2:
		if (roll(d, 4) == 0)
			v->len = at + 1;
		break;
	case 3: {
		size_t from = roll(d, donor.len), n = roll(d, 256) + 1;
		n = MIN(n, MIN(donor.len - from, v->len - at));
		memcpy(v->bytes + at, donor.ptr + from, n);
		break;
	}
	case 4:
		write_lie(d, v, at & ~(size_t)3);
		break;
	default:
		if (v->len > 64)
			write_lie(d, v, header_place(d, v) & ~(size_t)3);
		break;
	}
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* 1 when the object could be read. */
static unsigned look_at(struct slice bytes)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 26);
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);
	struct inspect_rights rights = { .verdicts = SPINE_PASS, .instructions_max = 20000 };
	struct inspect_report report;
	struct errmsg why = { 0 };
	const struct object *o;

	if (object_parse(&arena, bytes, &o, &why) != 0) {
		ck_assert(why.text[0] != '\0');
		return 0;
	}
	if (inspect_object(&arena, o, &rights, &report, &why) == 0)
		inspect_findings_text(&text, &report);
	return 1;
}

START_TEST(ten_thousand_damaged_objects_are_survived)
{
	const char *seed = getenv("MUTATE_SEED");
	struct dice d = { .state = seed == NULL ? 20261123 : strtoull(seed, NULL, 10) + 1 };
	struct slice originals[ARRAY_LEN(names)];
	unsigned readable = 0;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		originals[i] = test_object(names[i]);
	for (unsigned i = 0; i < MUTATIONS; i++) {
		struct slice from = originals[i % ARRAY_LEN(names)];
		struct slice donor = originals[roll(&d, ARRAY_LEN(names))];
		struct victim v = { malloc(from.len), from.len };
		long begin = now_ms();

		memcpy(v.bytes, from.ptr, from.len);
		for (uint64_t n = roll(&d, 4) + 1; n > 0; n--)
			mutate(&d, &v, donor);
		/* To its size, for the sanitizer. */
		uint8_t *exact = malloc(v.len);
		memcpy(exact, v.bytes, v.len);
		readable += look_at(slice_of(exact, v.len));
		ck_assert_msg(now_ms() - begin < SLOW_MS, "mutation %u took long", i);
		free(exact);
		free(v.bytes);
	}
	/* Otherwise we would only have tested the first checks. */
	ck_assert_uint_gt(readable, MUTATIONS / 20);
	ck_assert_uint_lt(readable, MUTATIONS);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		free((void *)(uintptr_t)originals[i].ptr);
}
END_TEST

TEST_MAIN_SLOW(110, "spine/mutate", ten_thousand_damaged_objects_are_survived)
