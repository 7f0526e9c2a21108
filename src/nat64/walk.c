#include "nat64/walk.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"

#define BATCH 4096u

struct batch {
	uint8_t *keys, *values;
	uint64_t in[8], out[8];		/* opaque positions; a key is at most 40 bytes */
};

static int batch_init(struct batch *b, uint32_t key_bytes, uint32_t value_bytes, struct errmsg *why)
{
	b->keys = malloc((size_t)BATCH * key_bytes);
	b->values = malloc((size_t)BATCH * value_bytes);
	return b->keys != NULL && b->values != NULL ? 0 : errmsg_set(why, -ENOMEM, "read a table");
}

static void batch_done(struct batch *b)
{
	free(b->keys);
	free(b->values);
}

/* The next part: number of entries, 0 at the end, or negative errno. *last: nothing follows. */
static int batch_next(struct batch *b, int fd, bool first, bool *last, struct errmsg *why)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	uint32_t count = BATCH;
	int err = bpf_map_lookup_batch(fd, first ? NULL : b->in, b->out, b->keys, b->values, &count, &options);

	if (err != 0 && errno != ENOENT)
		return errmsg_set(why, -errno, "read a table");
	*last = err != 0;
	memcpy(b->in, b->out, sizeof(b->in));
	return (int)count;
}

int nat64_walk_array(int fd, uint32_t count, uint32_t value_bytes, int (*each)(void *arg, uint32_t number, const void *value), void *arg,
		     struct errmsg *why)
{
	struct batch b = { 0 };
	bool last = false;
	int err = batch_init(&b, sizeof(uint32_t), value_bytes, why);

	for (uint32_t number = 0; err == 0 && !last && number <= count;) {
		int got = batch_next(&b, fd, number == 0, &last, why);
		if (got < 0)
			err = got;
		for (uint32_t i = 0; err == 0 && i < (uint32_t)MAX(got, 0) && number <= count; i++, number++) {
			if (number > 0)
				err = each(arg, number, b.values + (size_t)i * value_bytes);
		}
		if (got == 0)
			break;
	}
	batch_done(&b);
	return err;
}

int nat64_walk_hash(int fd, uint32_t key_bytes, uint32_t value_bytes, int (*each)(void *arg, const void *key, const void *value),
		    void *arg, struct errmsg *why)
{
	struct batch b = { 0 };
	bool last = false, first = true;
	int err = batch_init(&b, key_bytes, value_bytes, why);

	while (err == 0 && !last) {
		int got = batch_next(&b, fd, first, &last, why);
		first = false;
		if (got < 0)
			err = got;
		for (int i = 0; err == 0 && i < got; i++)
			err = each(arg, b.keys + (size_t)i * key_bytes, b.values + (size_t)i * value_bytes);
	}
	batch_done(&b);
	return err;
}

uint32_t nat64_tick(struct nat64 *n)
{
	const struct xlat_control *c = nat64_control(n);
	struct timespec t;

	if (XLAT_READ(c->clock_fixed) != 0)
		return (uint32_t)(XLAT_READ(c->clock_ns) >> XLAT_TICK_SHIFT);
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint32_t)(((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec) >> XLAT_TICK_SHIFT);
}

int64_t nat64_tick_ms(uint32_t now, uint32_t tick)
{
	return ((int64_t)(int32_t)(tick - now) << XLAT_TICK_SHIFT) / 1000000;
}
