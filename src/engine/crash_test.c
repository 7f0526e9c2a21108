/*
 * Power cuts against the engine itself: a few objects under random operations, compaction and restarts;
 * after every cut all that was acknowledged holds, and what was under way holds wholly or not at all.
 * Three bugs planted on purpose must be found, or the test proves nothing.
 */
#include <errno.h>
#include <stdio.h>

#include "base/must.h"
#include "base/test.h"
#include "engine/crashsim.h"

#define OBJECTS 5u
#define KEYS 6u
#define BYTES_MAX 3000u

struct object_model {
	bool exists;
	uint32_t values[KEYS];		/* 0: absent; else names a value */
	uint32_t bytes_seed;
	uint32_t length;
};

struct model {
	struct object_model now[OBJECTS];
	/* The call under way: object `open` may be as `next` instead. */
	int open;
	struct object_model next;
	/*
	 * A call that failed with its outcome open. The running engine has not done it, but a power cut may
	 * bring it back until a later call is acknowledged, which ends the log in front of it.
	 */
	bool maybe[OBJECTS];
	struct object_model maybe_next[OBJECTS];
	uint32_t next_value;
};

static void *model_make(void)
{
	struct model *m = calloc(1, sizeof(*m));

	must(m != NULL);
	m->open = -1;
	m->next_value = 1;
	return m;
}

static void *model_copy(const void *from)
{
	struct model *m = malloc(sizeof(*m));

	must(m != NULL);
	memcpy(m, from, sizeof(*m));
	return m;
}

static struct slice object_name(unsigned i, char out[8])
{
	snprintf(out, 8, "o.%u", i);
	return slice_str(out);
}

/* The value with this number: its length and bytes follow from it. */
static struct slice value_bytes(uint32_t v, uint8_t out[600])
{
	size_t n = v % 5 == 0 ? 150 + v % 400 : v % 40;

	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(v * 31 + i * (v | 1));
	return slice_of(out, n);
}

static uint8_t byte_at(uint32_t seed, uint32_t at)
{
	uint32_t x = (seed + at / 4) * 2654435761u;

	return (uint8_t)(x >> 24 ^ x >> (at % 4 * 4));
}

/* ---- checking ---- */

static bool bytes_right(const struct object_model *o, struct slice got)
{
	if (got.len != o->length)
		return false;
	for (uint32_t i = 0; i < o->length; i++)
		if (got.ptr[i] != byte_at(o->bytes_seed, i))
			return false;
	return true;
}

static bool keys_right(const struct object_model *o, const struct engine_kv *kv, size_t n)
{
	uint8_t value[600];
	size_t at = 0;

	for (unsigned k = 0; k < KEYS; k++) {
		if (o->values[k] == 0)
			continue;
		if (at == n || kv[at].key.len != 1 || kv[at].key.ptr[0] != 'a' + k ||
		    !slice_eq(kv[at].value, value_bytes(o->values[k], value)))
			return false;
		at++;
	}
	return at == n;
}

static bool object_right(struct engine *e, const struct object_model *o, unsigned i,
			 struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf b = BUF_INIT(2 * BYTES_MAX);
	struct engine_kv *kv = NULL;
	struct engine_stat st;
	size_t n = 0;
	bool more;
	char text[8];
	struct slice name = object_name(i, text);
	enum engine_result r = engine_stat(e, name, &st);

	if (r != ENGINE_OK || st.exists != o->exists || st.length != o->length) {
		errmsg_say(why, -1, "object %u: %s, exists %d length %llu, want %d %u", i,
			   engine_result_name(r), st.exists, (unsigned long long)st.length,
			   o->exists, o->length);
		return false;
	}
	r = engine_keys(e, name, slice_of(NULL, 0), slice_of(NULL, 0), 100, 1u << 20, &arena, &kv,
			&n, &more);
	if (r != ENGINE_OK || !keys_right(o, kv, n)) {
		errmsg_say(why, -1, "object %u: %s, keys differ (%zu)", i, engine_result_name(r), n);
		return false;
	}
	if (!o->exists)
		return true;
	r = engine_read(e, name, 0, BYTES_MAX, &b);
	if (r != ENGINE_OK || !bytes_right(o, buf_slice(&b))) {
		errmsg_say(why, -1, "object %u: %s, bytes differ", i, engine_result_name(r));
		return false;
	}
	return true;
}

static bool model_check(void *arg, struct engine *e, struct errmsg *why)
{
	struct model *m = arg;
	struct errmsg ignored;

	for (unsigned i = 0; i < OBJECTS; i++) {
		if (m->open == (int)i && object_right(e, &m->next, i, &ignored))
			m->now[i] = m->next;
		else if (m->maybe[i] && object_right(e, &m->maybe_next[i], i, &ignored))
			m->now[i] = m->maybe_next[i];
		else if (!object_right(e, &m->now[i], i, why))
			return false;
	}
	m->open = -1;
	memset(m->maybe, 0, sizeof(m->maybe));
	return true;
}

/* ---- working ---- */

#define STEPS_MAX 5u

struct planned {
	struct engine_step steps[STEPS_MAX];
	size_t count;
	uint8_t keys[STEPS_MAX];
	uint8_t values[STEPS_MAX][600];
	uint8_t bytes[BYTES_MAX];
};

static void plan_write(struct planned *p, struct object_model *o, struct sim *world)
{
	uint32_t n = (uint32_t)(sim_below(world, 4) == 0 ? sim_below(world, 1500) :
							  sim_below(world, 200));

	if (o->length + n > BYTES_MAX)
		return;
	for (uint32_t i = 0; i < n; i++)
		p->bytes[i] = byte_at(o->bytes_seed, o->length + i);
	p->steps[p->count++] = (struct engine_step){ .kind = STEP_WRITE,
						     .at = o->length,
						     .value = { p->bytes, n } };
	o->length += n;
	o->exists = true;
}

static void plan_key(struct planned *p, struct object_model *o, struct sim *world,
		     uint32_t *next_value)
{
	unsigned k = (unsigned)sim_below(world, KEYS);
	struct engine_step *s = &p->steps[p->count];

	p->keys[p->count] = (uint8_t)('a' + k);
	*s = (struct engine_step){ .kind = STEP_DELETE, .key = { &p->keys[p->count], 1 } };
	if (sim_below(world, 3) != 0) {
		s->kind = STEP_SET;
		s->value = value_bytes(*next_value, p->values[p->count]);
		o->values[k] = (*next_value)++;
	} else {
		o->values[k] = 0;
	}
	o->exists = true;
	p->count++;
}

/* A random operation on object o, which becomes what it makes of it. */
static void plan(struct planned *p, struct object_model *o, struct sim *world, uint32_t *next_value)
{
	p->count = 0;
	if (o->exists && sim_below(world, 12) == 0) {
		p->steps[p->count++] = (struct engine_step){ .kind = STEP_REMOVE };
		*o = (struct object_model){ 0 };
		return;
	}
	if (!o->exists)
		o->bytes_seed = (uint32_t)sim_random(world);
	if (sim_below(world, 3) == 0)
		p->steps[p->count++] =
			(struct engine_step){ .kind = o->exists ? GUARD_EXISTS : GUARD_ABSENT };
	if (sim_below(world, 2) == 0)
		plan_write(p, o, world);
	for (uint64_t n = sim_below(world, 3); n > 0; n--)
		plan_key(p, o, world, next_value);
}

static bool step(struct model *m, struct engine *e, struct sim *world, struct errmsg *why)
{
	unsigned i = (unsigned)sim_below(world, OBJECTS);
	struct planned p;
	char text[8];

	if (m->maybe[i])
		return true;		/* leave that object alone until it is known */
	m->next = m->now[i];
	plan(&p, &m->next, world, &m->next_value);
	m->open = (int)i;
	struct engine_op op = { .object = object_name(i, text), .steps = p.steps, .count = p.count };
	enum engine_result r = engine_apply(e, &op);

	switch (r) {
	case ENGINE_OK:
		m->now[i] = m->next;
		m->open = -1;
		if (p.count > 0 && p.steps[p.count - 1].kind == STEP_SET)
			memset(m->maybe, 0, sizeof(m->maybe));
		return true;
	case ENGINE_UNAVAILABLE:
		m->open = -1;
		sim_advance(world, 1000000);
		m->maybe[i] = true;
		m->maybe_next[i] = m->next;
		return true;
	case ENGINE_FULL:
		m->open = -1;
		return true;
	default:
		errmsg_say(why, -1, "apply on object %u: %s", i, engine_result_name(r));
		return false;
	}
}

static bool model_work(void *arg, struct engine *e, struct sim *world, unsigned steps,
		       struct errmsg *why)
{
	struct model *m = arg;

	for (unsigned i = 0; i < steps; i++) {
		if (sim_below(world, 25) == 0)
			(void)embedded_compact(e, sim_below(world, 2) == 0);
		if (!step(m, e, world, why))
			return false;
	}
	return true;
}

static const struct crashsim_model model = {
	.make = model_make,
	.copy = model_copy,
	.drop = free,
	.work = model_work,
	.check = model_check,
};

#ifndef SEED
#define SEED 1
#endif
#define STATES (TEST_SANITIZED ? 20000 : 200000)

START_TEST(nothing_acknowledged_is_lost_at_any_cut)
{
	struct crashsim_options o = { .seed = SEED, .states_max = STATES, .steps = 200 };
	struct errmsg why = { 0 };

	ck_assert_msg(crashsim_test(&model, &o, &why) == 0, "%s", why.text);
}
END_TEST

START_TEST(nothing_acknowledged_is_lost_when_calls_fail_too)
{
	struct crashsim_options o = {
		.seed = 100 + SEED, .states_max = STATES, .steps = 200, .faults = true
	};
	struct errmsg why = { 0 };

	ck_assert_msg(crashsim_test(&model, &o, &why) == 0, "%s", why.text);
}
END_TEST

static void must_find(struct embedded_planted planted)
{
	struct crashsim_options o = { .seed = 200 + SEED, .states_max = 200000, .steps = 300,
				      .planted = planted, .model_alone = true };
	struct errmsg why = { 0 };

	ck_assert_int_eq(crashsim_test(&model, &o, &why), -EBADMSG);
}

START_TEST(an_acknowledgement_without_sync_is_found)
{
	must_find((struct embedded_planted){ .no_sync = true });
}
END_TEST

START_TEST(a_segment_recycled_too_early_is_found)
{
	must_find((struct embedded_planted){ .early_recycle = true });
}
END_TEST

START_TEST(a_deletion_lost_in_compaction_is_found)
{
	must_find((struct embedded_planted){ .lost_tombstone = true });
}
END_TEST

TEST_MAIN_SLOW(600, "engine/crash", nothing_acknowledged_is_lost_at_any_cut,
	       nothing_acknowledged_is_lost_when_calls_fail_too,
	       an_acknowledgement_without_sync_is_found, a_segment_recycled_too_early_is_found,
	       a_deletion_lost_in_compaction_is_found)
