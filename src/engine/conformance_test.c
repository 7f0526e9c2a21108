/*
 * The conformance cases over the engines of one machine: the one in memory for unit tests, and the
 * embedded store with its two indexes, in one thread, with threads, and from fibers of a loop.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/must.h"
#include "base/test.h"
#include "engine/conformance.h"
#include "engine/embedded/embedded.h"
#include "engine/embedded/place_rig.h"
#include "engine/memory.h"
#include "sys/fiber.h"
#include "sys/loop.h"

static struct engine *store_open(struct place *p, struct embedded_options o)
{
	struct engine *e = NULL;
	struct errmsg why = { 0 };

	o.segment_bytes = 8u << 20;
	o.index_dir = p->index;
	ck_assert_msg(embedded_open(p->world, &o, &e, &why) == 0, "%s", why.text);
	return e;
}

START_TEST(the_engine_in_memory)
{
	const struct engine_case *c = &engine_cases[_i];

	/* That engine gives every lease to anybody, on purpose. */
	if (strcmp(c->name, "a_lease_has_one_owner") == 0)
		return;
	struct engine *e = engine_memory_new();
	const char *wrong = c->run(e);

	engine_close(e);
	ck_assert_msg(wrong == NULL, "%s: %s", c->name, wrong);
}
END_TEST

static void embedded_case(const struct engine_case *c, struct embedded_options o)
{
	struct place p;

	place_make(&p);
	struct engine *e = store_open(&p, o);
	const char *wrong = c->run(e);

	engine_close(e);
	place_drop(&p);
	ck_assert_msg(wrong == NULL, "%s: %s", c->name, wrong);
}

START_TEST(embedded_with_an_index_in_memory)
{
	embedded_case(&engine_cases[_i], (struct embedded_options){ .index = EMBEDDED_MEMORY });
}
END_TEST

START_TEST(embedded_with_rocksdb_in_one_thread)
{
	embedded_case(&engine_cases[_i], (struct embedded_options){ 0 });
}
END_TEST

START_TEST(embedded_with_rocksdb_and_threads)
{
	embedded_case(&engine_cases[_i], (struct embedded_options){ .threads = true });
}
END_TEST

struct in_fiber {
	const struct engine_case *c;
	struct engine *e;
	const char *wrong;
	struct loop *loop;
	bool done;
};

static void run_in_fiber(void *arg)
{
	struct in_fiber *f = arg;

	f->wrong = f->c->run(f->e);
	f->done = true;
}

START_TEST(embedded_with_rocksdb_from_fibers)
{
	struct in_fiber f = { .c = &engine_cases[_i] };
	struct place p;

	place_make(&p);
	ck_assert_int_eq(loop_new(&f.loop), 0);
	f.e = store_open(&p, (struct embedded_options){ .loop = f.loop });
	ck_assert_int_eq(fiber_start(f.loop, run_in_fiber, &f), 0);
	while (!f.done)
		loop_run_once(f.loop, -1);
	engine_close(f.e);
	loop_free(f.loop);
	place_drop(&p);
	ck_assert_msg(f.wrong == NULL, "%s: %s", f.c->name, f.wrong);
}
END_TEST

int main(void)
{
	const TTest *const all[] = {
		the_engine_in_memory,
		embedded_with_an_index_in_memory,
		embedded_with_rocksdb_in_one_thread,
		embedded_with_rocksdb_and_threads,
		embedded_with_rocksdb_from_fibers,
	};
	Suite *suite = suite_create("engine/conformance");
	TCase *tcase = tcase_create("engine/conformance");

	tcase_set_timeout(tcase, 30);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		tcase_add_loop_test(tcase, all[i], 0, (int)engine_case_count);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);

	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
