/*
 * The embedded store on a real directory (kill, rebuild, damage) and on a simulated disk (full, failing).
 */
#include "engine/embedded/embedded.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/must.h"
#include "base/test.h"
#include "engine/embedded/index.h"
#include "engine/embedded/place_rig.h"
#include "sys/simworld.h"

#define SEGMENT (64u << 10)

static void on_damage(void *arg, const struct embedded_damage *d)
{
	struct place *p = arg;

	p->damage++;
	snprintf(p->what, sizeof(p->what), "%s %s", d->object, d->what);
}

static struct embedded_options options(struct place *p)
{
	return (struct embedded_options){
		.segment_bytes = SEGMENT,
		.block_bytes = 4096,
		.index_dir = p->index,
		.on_damage = on_damage,
		.arg = p,
	};
}

static struct engine *open_with(struct place *p, struct embedded_options o)
{
	struct engine *e = NULL;
	struct errmsg why = { 0 };

	ck_assert_msg(embedded_open(p->world, &o, &e, &why) == 0, "%s", why.text);
	return e;
}

static struct engine *open_place(struct place *p)
{
	return open_with(p, options(p));
}

static const char *number_name(unsigned i, char out[32])
{
	snprintf(out, 32, "b.%05u", i);
	return out;
}

/* Object b.<i>: a key and n bytes that follow from i. */
static enum engine_result put(struct engine *e, unsigned i, size_t n)
{
	static uint8_t bytes[8192];
	char name[32];

	must(n <= sizeof(bytes));
	for (size_t k = 0; k < n; k++)
		bytes[k] = (uint8_t)(i * 7 + k * (2 * i + 1));
	struct engine_step steps[] = {
		{ .kind = GUARD_ABSENT },
		{ .kind = STEP_WRITE, .value = { bytes, n } },
		{ .kind = STEP_SET, .key = SLICE_INIT("k"), .value = { bytes, 10 } },
	};
	struct engine_op op = { slice_str(number_name(i, name)), steps, 3, { 0 } };

	return engine_apply(e, &op);
}

static enum engine_result removal(struct engine *e, unsigned i)
{
	struct engine_step step = { .kind = STEP_REMOVE };
	char name[32];
	struct engine_op op = { slice_str(number_name(i, name)), &step, 1, { 0 } };

	return engine_apply(e, &op);
}

static enum engine_result get(struct engine *e, unsigned i, size_t n)
{
	AUTO_BUF struct buf b = BUF_INIT(16384);
	char name[32];
	enum engine_result r = engine_read(e, slice_str(number_name(i, name)), 0, 16384, &b);

	for (size_t k = 0; r == ENGINE_OK && k < n; k++)
		ck_assert_msg(b.len == n && b.ptr[k] == (uint8_t)(i * 7 + k * (2 * i + 1)), "object %u", i);
	return r;
}

static uint64_t log_bytes(struct place *p)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < 200; i++) {
		char path[32];
		struct stat st;

		snprintf(path, sizeof(path), "log/%u", i);
		if (fstatat(p->fd, path, &st, 0) == 0)
			sum += (uint64_t)st.st_size;
	}
	return sum;
}

START_TEST(what_was_acknowledged_is_there_after_a_kill)
{
	struct embedded_stats st;
	struct place p;

	place_make(&p);
	struct engine *e = open_place(&p);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(put(e, i, 1000), ENGINE_OK);
	embedded_kill(e);
	e = open_place(&p);
	embedded_stats(e, &st);
	ck_assert(!st.rebuilt || st.replayed_records > 0);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(get(e, i, 1000), ENGINE_OK);
	ck_assert_uint_eq(p.damage, 0);
	engine_close(e);
	place_drop(&p);
}
END_TEST

START_TEST(a_clean_restart_replays_nothing)
{
	struct embedded_stats st;
	struct place p;

	place_make(&p);
	struct engine *e = open_place(&p);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(put(e, i, 1000), ENGINE_OK);
	engine_close(e);
	e = open_place(&p);
	embedded_stats(e, &st);
	ck_assert(!st.rebuilt);
	ck_assert_uint_eq(st.replayed_records, 0);
	ck_assert_int_eq(get(e, 99, 1000), ENGINE_OK);
	engine_close(e);
	place_drop(&p);
}
END_TEST

static void random_work(struct engine *e, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		(void)put(e, i * 7 % 90, 200 + i * 13 % 3000);
		if (i % 2 == 0)
			(void)removal(e, i * 5 % 90);
	}
}

/* Names, bytes and keys of all objects in one number. */
static uint32_t content(struct engine *e)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct slice *names = NULL;
	size_t n = 0, keys;
	uint32_t crc = 0;
	bool more;

	ck_assert_int_eq(engine_list(e, SLICE(""), SLICE(""), 1000, &arena, &names, &n), ENGINE_OK);
	ck_assert_uint_gt(n, 10);
	for (size_t i = 0; i < n; i++) {
		struct engine_kv *kv = NULL;

		buf_reset(&b);
		buf_blob(&b, names[i]);
		ck_assert_int_eq(engine_read(e, names[i], 0, 65536, &b), ENGINE_OK);
		ck_assert_int_eq(engine_keys(e, names[i], SLICE(""), SLICE(""), 100, 65536, &arena,
					     &kv, &keys, &more),
				 ENGINE_OK);
		for (size_t k = 0; k < keys; k++) {
			buf_blob(&b, kv[k].key);
			buf_blob(&b, kv[k].value);
		}
		crc = crc32c(crc, buf_slice(&b));
	}
	return crc;
}

static uint32_t content_by_log(struct place *p)
{
	struct engine *e = open_with(p, (struct embedded_options){ .index = EMBEDDED_MEMORY,
								   .read_only = true });
	uint32_t crc = content(e);

	engine_close(e);
	return crc;
}

START_TEST(a_lost_index_is_rebuilt_as_it_was)
{
	struct embedded_stats st;
	struct place p;

	place_make(&p);
	struct engine *e = open_place(&p);
	random_work(e, 2000);
	ck_assert_int_eq(embedded_compact(e, true), ENGINE_OK);
	random_work(e, 300);
	engine_close(e);
	e = open_place(&p);		/* with the index that lived through it all */
	uint32_t before = content(e);
	engine_close(e);
	ck_assert_uint_eq(content_by_log(&p), before);
	ck_assert_int_eq(embedded_drop_index(p.index, NULL), 0);
	e = open_place(&p);
	embedded_stats(e, &st);
	ck_assert(st.rebuilt);
	ck_assert_uint_eq(content(e), before);
	ck_assert_uint_eq(p.damage, 0);
	engine_close(e);
	place_drop(&p);
}
END_TEST

START_TEST(an_index_of_another_log_is_not_believed)
{
	struct embedded_stats st;
	struct place a, b;

	place_make(&a);
	place_make(&b);
	struct engine *e = open_place(&a);
	ck_assert_int_eq(put(e, 1, 100), ENGINE_OK);
	engine_close(e);
	e = open_place(&b);
	ck_assert_int_eq(put(e, 2, 100), ENGINE_OK);
	engine_close(e);
	struct embedded_options o = options(&a);
	o.index_dir = b.index;
	e = open_with(&a, o);
	embedded_stats(e, &st);
	ck_assert(st.rebuilt);
	ck_assert_int_eq(get(e, 1, 100), ENGINE_OK);
	ck_assert_int_eq(get(e, 2, 100), ENGINE_ABSENT);
	engine_close(e);
	place_drop(&a);
	place_drop(&b);
}
END_TEST

START_TEST(a_log_that_is_gone_is_not_replaced_by_an_empty_one)
{
	struct errmsg why = { 0 };
	struct embedded_options o;
	struct engine *e;
	struct place p;
	char path[32];

	place_make(&p);
	e = open_place(&p);
	ck_assert_int_eq(put(e, 1, 100), ENGINE_OK);
	engine_close(e);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(path, sizeof(path), "log/%u", i);
		unlinkat(p.fd, path, 0);
	}
	o = options(&p);
	ck_assert_int_eq(embedded_open(p.world, &o, &e, &why), -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(why.text, "log is gone"));
	place_drop(&p);
}
END_TEST

START_TEST(two_processes_cannot_open_one_store)
{
	struct embedded_options o;
	struct engine *e, *second;
	struct errmsg why = { 0 };
	struct place p;

	place_make(&p);
	e = open_place(&p);
	o = options(&p);
	ck_assert_int_eq(embedded_open(p.world, &o, &second, &why), -EBUSY);
	o.read_only = true;
	ck_assert_int_eq(embedded_open(p.world, &o, &second, &why), -EBUSY);
	engine_close(e);
	e = open_place(&p);
	engine_close(e);
	place_drop(&p);
}
END_TEST

/* Flip a bit of object i's bytes in the log, wherever they stand. */
static void flip_bytes(struct place *p, unsigned i)
{
	uint8_t want[64], have[64];

	for (size_t k = 0; k < sizeof(want); k++)
		want[k] = (uint8_t)(i * 7 + (100 + k) * (2 * i + 1));
	for (unsigned n = 0; n < 50; n++) {
		char path[32];

		snprintf(path, sizeof(path), "log/%u", n);
		int fd = openat(p->fd, path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		for (off_t at = 0; pread(fd, have, sizeof(have), at) == sizeof(have); at++) {
			if (memcmp(have, want, sizeof(want)) != 0)
				continue;
			have[5] ^= 1;
			ck_assert_int_eq(pwrite(fd, have, sizeof(have), at), sizeof(have));
		}
		close(fd);
	}
}

START_TEST(a_flipped_bit_costs_one_object_and_is_reported)
{
	struct embedded_report report;
	struct place p;

	place_make(&p);
	struct engine *e = open_place(&p);
	for (unsigned i = 0; i < 30; i++)
		ck_assert_int_eq(put(e, i, 170), ENGINE_OK);
	ck_assert_int_eq(embedded_check(e, &report, NULL, NULL), ENGINE_OK);
	ck_assert_uint_eq(report.damaged, 0);
	ck_assert_uint_eq(report.objects, 30);
	flip_bytes(&p, 20);
	ck_assert_int_eq(get(e, 20, 170), ENGINE_DAMAGED);
	ck_assert_uint_ge(p.damage, 1);
	ck_assert_ptr_nonnull(strstr(p.what, "b.000"));
	ck_assert_int_eq(embedded_check(e, &report, on_damage, &p), ENGINE_OK);
	ck_assert_uint_ge(report.damaged, 2);	/* the record and the extent */
	engine_close(e);
	/* A rebuild without that record loses that object and no other. */
	ck_assert_int_eq(embedded_drop_index(p.index, NULL), 0);
	e = open_place(&p);
	unsigned lost = 0;
	for (unsigned i = 0; i < 30; i++)
		lost += get(e, i, 170) != ENGINE_OK;
	ck_assert_uint_eq(lost, 1);
	engine_close(e);
	place_drop(&p);
}
END_TEST

START_TEST(compaction_gives_room_back_while_serving)
{
	struct embedded_stats st;
	struct place p;

	place_make(&p);
	struct embedded_options o = options(&p);
	o.threads = true;
	o.flush_bytes = 1u << 20;
	struct engine *e = open_with(&p, o);
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < 60; i++)
			ck_assert_int_eq(put(e, round * 100 + i, 4000), ENGINE_OK);
		for (unsigned i = 0; i < 60; i++)
			if (i % 10 != 0)
				ck_assert_int_eq(removal(e, round * 100 + i), ENGINE_OK);
	}
	ck_assert_int_eq(embedded_compact(e, true), ENGINE_OK);
	embedded_stats(e, &st);
	/* 72 objects of 4 KB stay of 2.9 MB. */
	ck_assert_uint_lt(st.stored_bytes, 800000);
	ck_assert_uint_gt(st.moved_bytes, 0);
	ck_assert_uint_gt(st.segments_recycled, 10);
	ck_assert_uint_lt(log_bytes(&p), 1500000);
	for (unsigned round = 0; round < 12; round++)
		for (unsigned i = 0; i < 60; i++)
			ck_assert_int_eq(get(e, round * 100 + i, 4000),
					 i % 10 == 0 ? ENGINE_OK : ENGINE_ABSENT);
	engine_close(e);
	place_drop(&p);
}
END_TEST

/* ---- on the simulated disk ---- */

static struct engine *open_sim(struct sim *sim, struct place *p)
{
	struct embedded_options o = options(p);

	o.index = EMBEDDED_MEMORY;
	p->world = sim_world(sim);
	return open_with(p, o);
}

START_TEST(a_full_disk_refuses_data_lets_deletions_through_and_recovers)
{
	struct sim *sim = sim_new(1);
	struct place p = { 0 };
	struct engine *e;
	unsigned stored = 0, removed = 0;

	sim_set_room(sim, 12 * SEGMENT);
	e = open_sim(sim, &p);
	while (put(e, stored, 4000) == ENGINE_OK)
		stored++;
	ck_assert_uint_gt(stored, 100);
	ck_assert_int_eq(put(e, stored, 4000), ENGINE_FULL);
	for (unsigned i = 0; i < stored; i++)
		ck_assert_int_eq(get(e, i, 4000), ENGINE_OK);
	/* Each may be deleted, and then there is room again, without a restart. */
	for (; removed < stored; removed++) {
		ck_assert_int_eq(removal(e, removed), ENGINE_OK);
		sim_advance(sim, 1000000);
	}
	for (unsigned i = 0; i < 100; i++) {
		sim_advance(sim, 1000000);
		ck_assert_int_eq(put(e, 1000 + i, 4000), ENGINE_OK);
	}
	ck_assert_int_eq(get(e, 0, 0), ENGINE_ABSENT);
	ck_assert_uint_eq(p.damage, 0);
	engine_close(e);
	sim_free(sim);
}
END_TEST

/* A key of its own each time, so that nothing becomes free. */
static enum engine_result put_key(struct engine *e, unsigned object, unsigned number)
{
	char name[32], key[16];

	snprintf(key, sizeof(key), "n%u", number);
	struct engine_step steps[] = {
		{ .kind = GUARD_EXISTS },
		{ .kind = STEP_SET, .key = slice_str(key), .value = SLICE("a hundred bytes, more or less, of something "
									  "that is worth a key of its own, like a flag") },
	};
	struct engine_op op = { slice_str(number_name(object, name)), steps, 2, { 0 } };

	return engine_apply(e, &op);
}

START_TEST(a_full_disk_has_room_for_some_keys_and_then_for_deletions)
{
	struct sim *sim = sim_new(1);
	struct place p = { 0 };
	struct engine *e;
	unsigned stored = 0, keys = 0;

	sim_set_room(sim, 12 * SEGMENT);
	e = open_sim(sim, &p);
	while (put(e, stored, 4000) == ENGINE_OK)
		stored++;
	/* To delete mail is to set keys; nobody fills the whole reserve with them. */
	while (keys < 100000 && put_key(e, keys % stored, keys) == ENGINE_OK)
		keys++;
	ck_assert_uint_gt(keys, 100);
	ck_assert_uint_lt(keys, 100000);
	ck_assert_int_eq(put(e, stored, 4000), ENGINE_FULL);
	for (unsigned i = 0; i < stored; i++) {
		ck_assert_int_eq(removal(e, i), ENGINE_OK);
		sim_advance(sim, 1000000);
	}
	for (unsigned i = 0; i < 100; i++) {
		sim_advance(sim, 1000000);
		ck_assert_int_eq(put(e, 1000 + i, 4000), ENGINE_OK);
	}
	ck_assert_uint_eq(p.damage, 0);
	engine_close(e);
	sim_free(sim);
}
END_TEST

START_TEST(after_a_failed_sync_nothing_is_lost_and_work_goes_on)
{
	struct sim *sim = sim_new(2);
	struct place p = { 0 };
	struct engine *e = open_sim(sim, &p);
	enum engine_result r = ENGINE_OK;
	struct embedded_stats st;
	unsigned i = 0;

	for (; i < 10; i++)
		ck_assert_int_eq(put(e, i, 500), ENGINE_OK);
	sim_fail(sim, 1, SIM_SYNC_LOST);
	ck_assert_int_eq(put(e, 99, 500), ENGINE_UNAVAILABLE);
	embedded_stats(e, &st);
	ck_assert(st.stopped);
	ck_assert_uint_eq(st.sync_failures, 1);
	sim_advance(sim, 1000000);
	r = put(e, 100, 500);
	ck_assert_int_eq(r, ENGINE_OK);
	embedded_stats(e, &st);
	ck_assert(!st.stopped);
	embedded_kill(e);
	/* What the cache showed is gone now; what was acknowledged is not. */
	struct sim *cut = sim_power_cut(sim, 5);
	e = open_sim(cut, &p);
	for (i = 0; i < 10; i++)
		ck_assert_int_eq(get(e, i, 500), ENGINE_OK);
	ck_assert_int_eq(get(e, 100, 500), ENGINE_OK);
	ck_assert_int_eq(get(e, 99, 500), ENGINE_ABSENT);
	ck_assert_uint_eq(p.damage, 0);
	engine_close(e);
	sim_free(cut);
	sim_free(sim);
}
END_TEST

/*
 * The failed sync may have stored all, a part or nothing, the page cache shows all of it, and the process
 * that knew is dead: the next one must decide by the disk alone.
 */
START_TEST(what_a_failed_sync_left_in_the_page_cache_is_not_believed_after_a_restart)
{
	unsigned there = 0, absent = 0;

	for (unsigned round = 0; round < 60; round++) {
		struct sim *sim = sim_new(round);
		struct place p = { 0 };
		struct engine *e = open_sim(sim, &p);

		/* In round 0, 3, 6, ... the segment's first batch is the one that fails. */
		for (unsigned i = 0; i < round % 3; i++)
			ck_assert_int_eq(put(e, i, 500), ENGINE_OK);
		sim_fail(sim, 1, SIM_SYNC_LOST);
		ck_assert_int_eq(put(e, 99, 1500), ENGINE_UNAVAILABLE);
		if (round % 2 == 0)
			embedded_kill(e);
		else
			engine_close(e);
		e = open_sim(sim, &p);
		enum engine_result r = get(e, 99, 1500);

		ck_assert(r == ENGINE_OK || r == ENGINE_ABSENT);
		there += r == ENGINE_OK;
		absent += r == ENGINE_ABSENT;
		ck_assert_int_eq(put(e, 100, 500), ENGINE_OK);
		embedded_kill(e);
		struct sim *cut = sim_power_cut(sim, round);

		e = open_sim(cut, &p);
		for (unsigned i = 0; i < round % 3; i++)
			ck_assert_int_eq(get(e, i, 500), ENGINE_OK);
		ck_assert_int_eq(get(e, 100, 500), ENGINE_OK);
		ck_assert_int_eq(get(e, 99, 1500), r);
		ck_assert_msg(p.damage == 0, "%s", p.what);
		engine_close(e);
		sim_free(cut);
		sim_free(sim);
	}
	ck_assert(there > 0 && absent > 0);
}
END_TEST

/* ---- a world of which some calls are our own ---- */

static struct {
	const struct world_ops *real;
	struct world_ops ops;
	uint64_t free_bytes;
	int64_t later_us;
	int read_error;
	uint64_t read_error_from;
	unsigned dead;
} patched;

static int patched_space(struct world *w, uint64_t *free_bytes, uint64_t *total_bytes)
{
	*free_bytes = patched.free_bytes;
	*total_bytes = UINT64_MAX;
	return 0;
}

static int64_t patched_mono_us(struct world *w)
{
	return patched.real->mono_us(w) + patched.later_us;
}

static int64_t patched_pread_direct(struct world *w, struct file *f, void *to, size_t n, uint64_t at)
{
	if (patched.read_error != 0 && at + n > patched.read_error_from)
		return patched.read_error;
	return patched.real->pread_direct(w, f, to, n, at);
}

static void patch(struct world *w)
{
	patched.real = w->ops;
	patched.ops = *w->ops;
	patched.ops.space = patched_space;
	patched.ops.mono_us = patched_mono_us;
	patched.ops.pread_direct = patched_pread_direct;
	patched.free_bytes = UINT64_MAX;
	patched.later_us = 0;
	patched.read_error = 0;
	w->ops = &patched.ops;
}

START_TEST(the_log_leaves_room_for_the_index_and_goes_on_when_there_is_more)
{
	struct place p;
	struct engine *e;
	unsigned i = 0;

	place_make(&p);
	patch(p.world);
	struct embedded_options o = options(&p);
	o.index_room_bytes = 10 * SEGMENT;
	e = open_with(&p, o);
	for (; i < 100; i++)
		ck_assert_int_eq(put(e, i, 4000), ENGINE_OK);
	/* Room for a segment, yet not for one and the index. */
	patched.free_bytes = 10 * SEGMENT;
	uint64_t before = log_bytes(&p);
	while (put(e, i, 4000) == ENGINE_OK)
		ck_assert_uint_lt(++i, 1000);
	ck_assert_int_eq(put(e, i, 4000), ENGINE_FULL);
	ck_assert_uint_le(log_bytes(&p), before);
	ck_assert_int_eq(removal(e, 0), ENGINE_OK);
	patched.free_bytes = 12 * SEGMENT;
	patched.later_us = 1000000;
	ck_assert_int_eq(put(e, i, 4000), ENGINE_OK);
	engine_close(e);
	place_drop(&p);
}
END_TEST

static int refuse_commit(struct index *ix)
{
	return -EIO;
}

static void count_dead(void *arg)
{
	patched.dead++;
}

START_TEST(an_index_that_refuses_writes_is_told_once_and_costs_nothing_that_was_acknowledged)
{
	struct sim *sim = sim_new(5);
	struct place p = { .world = sim_world(sim) };
	struct index *ix = index_memory_new(false);
	struct embedded_options o = { .segment_bytes = SEGMENT, .block_bytes = 4096,
				      .index_given = ix, .on_damage = on_damage,
				      .on_dead = count_dead, .arg = &p };
	struct engine *e = open_with(&p, o);

	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(put(e, i, 500), ENGINE_OK);
	const struct index_vtable *usual = ix->vt;
	struct index_vtable refusing = *usual;
	refusing.commit = refuse_commit;
	ix->vt = &refusing;
	patched.dead = 0;
	for (unsigned i = 5; i < 8; i++)
		ck_assert_int_eq(put(e, i, 500), ENGINE_UNAVAILABLE);
	ck_assert_uint_eq(patched.dead, 1);
	embedded_kill(e);
	ix->vt = usual;
	usual->close(ix);
	e = open_sim(sim, &p);
	/* The sixth stands in the log: its outcome was open, now it is done. Later ones were not begun. */
	for (unsigned i = 0; i < 6; i++)
		ck_assert_int_eq(get(e, i, 500), ENGINE_OK);
	ck_assert_int_eq(get(e, 6, 500), ENGINE_ABSENT);
	ck_assert_int_eq(put(e, 6, 500), ENGINE_OK);
	ck_assert_uint_eq(p.damage, 0);
	engine_close(e);
	sim_free(sim);
}
END_TEST

static void put_some(struct sim *sim, struct place *p)
{
	struct engine *e = open_sim(sim, p);

	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(put(e, i, 500), ENGINE_OK);
	embedded_kill(e);
}

static void expect_some(struct sim *sim, struct place *p)
{
	struct engine *e = open_sim(sim, p);

	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(get(e, i, 500), ENGINE_OK);
	embedded_kill(e);
}

START_TEST(a_read_that_fails_for_want_of_memory_does_not_end_the_log)
{
	struct sim *sim = sim_new(3);
	struct place p = { 0 };
	struct engine *e;
	struct errmsg why = { 0 };

	put_some(sim, &p);
	patch(sim_world(sim));
	patched.read_error = -ENOMEM;
	patched.read_error_from = 4096;
	struct embedded_options o = { .segment_bytes = SEGMENT, .block_bytes = 4096,
				      .index = EMBEDDED_MEMORY };
	ck_assert_int_eq(embedded_open(sim_world(sim), &o, &e, &why), -ENOMEM);
	patched.read_error = 0;
	expect_some(sim, &p);
	ck_assert_uint_eq(p.damage, 0);
	sim_free(sim);
}
END_TEST

START_TEST(a_tail_that_the_disk_does_not_give_is_reported_and_not_cut_off)
{
	struct sim *sim = sim_new(4);
	struct place p = { 0 };

	put_some(sim, &p);
	patch(sim_world(sim));
	patched.read_error = -EIO;
	patched.read_error_from = 8192;
	embedded_kill(open_sim(sim, &p));
	ck_assert_uint_gt(p.damage, 0);
	patched.read_error = 0;
	expect_some(sim, &p);
	sim_free(sim);
}
END_TEST

START_TEST(a_flipped_bit_anywhere_is_found_and_harms_at_most_its_batch)
{
	struct place p = { 0 };

	for (unsigned round = 0; round < 300; round++) {
		struct sim *sim = sim_new(round + 10);
		struct engine *e = open_sim(sim, &p);
		unsigned lost = 0;

		for (unsigned i = 0; i < 20; i++)
			ck_assert_int_eq(put(e, i, 300), ENGINE_OK);
		embedded_kill(e);
		/* The log is at most 20 batches of 512 or 1024 bytes long here; the last could be a torn tail. */
		ck_assert(sim_flip(sim, "log/0", sim_below(sim, 9000), (unsigned)round));
		e = open_sim(sim, &p);
		for (unsigned i = 0; i < 20; i++)
			lost += get(e, i, 300) != ENGINE_OK;
		ck_assert_msg(lost <= 1, "round %u: %u lost", round, lost);
		engine_close(e);
		sim_free(sim);
	}
}
END_TEST

TEST_MAIN_SLOW(60, "engine/embedded", what_was_acknowledged_is_there_after_a_kill, a_clean_restart_replays_nothing,
	       a_lost_index_is_rebuilt_as_it_was, an_index_of_another_log_is_not_believed,
	       a_log_that_is_gone_is_not_replaced_by_an_empty_one,
	       two_processes_cannot_open_one_store, a_flipped_bit_costs_one_object_and_is_reported,
	       compaction_gives_room_back_while_serving,
	       a_full_disk_refuses_data_lets_deletions_through_and_recovers,
	       a_full_disk_has_room_for_some_keys_and_then_for_deletions,
	       after_a_failed_sync_nothing_is_lost_and_work_goes_on,
	       what_a_failed_sync_left_in_the_page_cache_is_not_believed_after_a_restart,
	       the_log_leaves_room_for_the_index_and_goes_on_when_there_is_more,
	       an_index_that_refuses_writes_is_told_once_and_costs_nothing_that_was_acknowledged,
	       a_read_that_fails_for_want_of_memory_does_not_end_the_log,
	       a_tail_that_the_disk_does_not_give_is_reported_and_not_cut_off,
	       a_flipped_bit_anywhere_is_found_and_harms_at_most_its_batch)
