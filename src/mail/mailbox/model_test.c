/* Random work on the engine in memory, with calls that fail before or after they took effect. */
#include <stdio.h>

#include "base/test.h"
#include "engine/memory.h"
#include "mail/mailbox/model.h"
#include "mail/mailbox/testworld.h"

struct faults {
	uint64_t seed;
	uint64_t one_in;
};

static enum memory_fate some_fail(void *arg, const struct engine_op *op)
{
	struct faults *f = arg;

	if (f->one_in == 0 || test_next(&f->seed) % f->one_in != 0)
		return MEMORY_DO;
	switch (test_next(&f->seed) % 3) {
	case 0:
		return MEMORY_FAIL;
	case 1:
		return MEMORY_FULL;
	default:
		return MEMORY_DO_AND_FAIL;
	}
}

static void run(uint64_t first, uint64_t last, unsigned steps, uint64_t one_in)
{
	uint64_t done = 0;

	for (uint64_t seed = first; seed < last; seed++) {
		struct engine *e = engine_memory_new();
		struct model *m = model_new(seed);
		struct faults f = { seed, one_in };
		struct errmsg why;

		engine_memory_hook(e, some_fail, &f);
		bool good = model_work(m, e, steps, &why);

		ck_assert_msg(good, "seed %llu: %s", (unsigned long long)seed, why.text);
		f.one_in = 0;
		good = model_check(m, e, &why);
		ck_assert_msg(good, "seed %llu, at the end: %s", (unsigned long long)seed, why.text);
		done += model_done(m);
		model_free(m);
		engine_close(e);
	}
	printf("# %llu operations\n", (unsigned long long)done);
	ck_assert_uint_gt(done, (last - first) * steps / 20);
}

START_TEST(random_work_of_two_processes_is_as_the_naive_model_says)
{
	run(1, 40, 400, 0);
}
END_TEST

START_TEST(random_work_with_failing_calls_loses_and_doubles_nothing)
{
	run(1000, 1040, 400, 40);
}
END_TEST

START_TEST(random_work_with_many_failing_calls_loses_and_doubles_nothing)
{
	run(2000, 2040, 400, 6);
}
END_TEST

TEST_MAIN_SLOW(120, "mailbox/model", random_work_of_two_processes_is_as_the_naive_model_says,
	       random_work_with_failing_calls_loses_and_doubles_nothing,
	       random_work_with_many_failing_calls_loses_and_doubles_nothing)
