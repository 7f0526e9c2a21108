#include "engine/crashsim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "engine/embedded/index.h"

#define STEPS_DEFAULT 60u
#define CUTS_DEFAULT 3u
#define DEPTH_DEFAULT 3u
#define SEGMENT_DEFAULT (16u << 10)
#define BLOCK_BYTES 2048u
#define FLUSH_BYTES (24u << 10)
#define NESTED_STEPS 6u
#define RETRY_US 2000000		/* after it the engine tries again what failed */

struct crashsim {
	const struct crashsim_model *m;
	struct crashsim_options opt;
	struct crashsim_stats *stats;
	struct errmsg *why;
	uint64_t random;
	bool failed;
	struct errmsg verdict;		/* the first failure; `why` may be written again after it */
};

/* One machine: a disk, its surviving index, and what its store should hold. */
struct machine {
	struct crashsim *c;
	struct sim *world;
	struct index *ix;
	void *model;
	unsigned depth;
	uint64_t damage;
	bool faults;			/* calls may fail: what cannot be read back is no error then */
};

static uint64_t below(struct crashsim *c, uint64_t n)
{
	uint64_t z = c->random += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (z ^ z >> 31) % n;
}

static void on_damage(void *arg, const struct embedded_damage *d)
{
	struct machine *m = arg;

	m->damage++;
	if (m->c->why != NULL && !m->c->failed)
		errmsg_say(m->c->why, -EBADMSG, "segment %u at %llu: %s", d->segment,
			   (unsigned long long)d->offset, d->what);
}

static int machine_open(struct machine *m, struct engine **out)
{
	const struct crashsim_options *o = &m->c->opt;
	struct embedded_options opt = {
		.segment_bytes = o->segment_bytes,
		.block_bytes = BLOCK_BYTES,
		.flush_bytes = FLUSH_BYTES,
		.reserve_bytes = o->segment_bytes,	/* few free segments, so that each is soon used again */
		.index = EMBEDDED_MEMORY,
		.index_given = m->ix,
		.on_damage = on_damage,
		.arg = m,
		.planted = o->planted,
	};

	return embedded_open(sim_world(m->world), &opt, out, m->c->why);
}

static void fail(struct crashsim *c, const struct machine *m, const char *what)
{
	if (c->failed)
		return;
	c->failed = true;
	errmsg_say(&c->verdict, -EBADMSG, "seed %llu, state %llu, depth %u: %s: %.300s",
		   (unsigned long long)c->opt.seed, (unsigned long long)c->stats->states, m->depth,
		   what, c->why->text);
}

static void on_change(void *arg);

/* From time to time a call fails; the work above must see nothing worse than an error. */
static void faults_plan(struct crashsim *c, struct sim *world, unsigned calls)
{
	static const enum sim_fault kinds[] = { SIM_EIO, SIM_ENOSPC, SIM_SYNC_LOST, SIM_TORN };

	/* One draw a statement: compilers differ in the order of arguments, and a seed must not. */
	uint64_t call = 1 + below(c, calls);
	enum sim_fault kind = kinds[below(c, ARRAY_LEN(kinds))];

	sim_fail(world, call, kind);
}

static void faults_end(struct machine *m)
{
	sim_fail(m->world, 0, SIM_OK);
}

/* Opening while calls fail may fail, but harms nothing: the next one without faults must work. */
static int machine_open_again(struct machine *m, struct engine **out)
{
	struct crashsim *c = m->c;
	int err;

	if (c->opt.faults && below(c, 3) == 0) {
		faults_plan(c, m->world, 6);
		err = machine_open(m, out);
		faults_end(m);
		sim_advance(m->world, RETRY_US);
		if (err == 0)
			return 0;
	}
	return machine_open(m, out);
}

/* Open what is left, look, and go on for a while, with further cuts on the way. */
static void explore(struct machine *m)
{
	struct crashsim *c = m->c;
	struct engine *e = NULL;

	c->stats->states++;
	c->stats->nested += m->depth > 1;
	c->why->text[0] = '\0';
	/* A copy for the cuts inside recovery: they must see the question still open. */
	if (m->depth < c->opt.depth && below(c, 8) == 0)
		sim_on_change(m->world, on_change, m);
	int err = machine_open_again(m, &e);
	if (err != 0) {
		if (!c->failed && !c->opt.model_alone)
			fail(c, m, "the store does not open");
		return;
	}
	if (m->damage > 0 && !c->failed && !c->opt.model_alone)
		fail(c, m, "damage where there was only a power cut");
	if (!c->failed && !c->m->check(m->model, e, c->why))
		fail(c, m, "after the cut");
	if (!c->failed && m->depth < c->opt.depth && below(c, 6) == 0) {
		if (c->opt.faults && below(c, 2) == 0)
			faults_plan(c, m->world, 20);
		if (!c->m->work(m->model, e, m->world, NESTED_STEPS, c->why))
			fail(c, m, "working on");
	}
	embedded_kill(e);
}

static void cut(struct machine *m)
{
	struct crashsim *c = m->c;
	size_t states = index_memory_states(m->ix);
	bool rebuild = below(c, 6) == 0, killed = below(c, 6) == 0;
	uint64_t seed = below(c, UINT64_MAX), state = below(c, states);
	struct machine next = {
		.c = c,
		.world = killed ? sim_kill(m->world, seed) : sim_power_cut(m->world, seed),
		.ix = rebuild ? index_memory_new(true) : index_memory_fork(m->ix, state),
		.model = c->m->copy(m->model),
		.depth = m->depth + 1,
	};

	must(next.world != NULL && next.ix != NULL && next.model != NULL);
	c->stats->rebuilds += rebuild;
	explore(&next);
	next.ix->vt->close(next.ix);
	sim_free(next.world);
	c->m->drop(next.model);
}

/* Something is about to change on the disk: here the power may go. */
static void on_change(void *arg)
{
	struct machine *m = arg;
	struct crashsim *c = m->c;
	/* Outer runs look at every change; inner ones at some, else the tree never ends. */
	unsigned cuts = m->depth == 0 ? c->opt.cuts_per_change : below(c, 4) == 0 ? 1 : 0;

	for (unsigned i = 0; i < cuts; i++)
		if (!c->failed && c->stats->states < c->opt.states_max)
			cut(m);
}

/* The process ends, by itself or killed, and another one takes its place: what the page cache has stays. */
static int restart(struct machine *m, struct engine **e)
{
	struct crashsim *c = m->c;
	bool killed = below(c, 2) == 0;

	if (m->faults && !killed && below(c, 2) == 0)
		faults_plan(c, m->world, 4);
	if (killed)
		embedded_kill(*e);
	else
		engine_close(*e);
	*e = NULL;
	faults_end(m);
	if (killed)
		index_memory_rewind(m->ix, below(c, index_memory_states(m->ix)));
	int err = machine_open_again(m, e);

	if (err == 0 && !c->failed && !c->m->check(m->model, *e, c->why))
		fail(c, m, killed ? "after a kill" : "after a clean restart");
	return err;
}

static int run_once(struct crashsim *c)
{
	struct machine m = {
		.c = c,
		.world = sim_new(below(c, UINT64_MAX)),
		.ix = index_memory_new(true),
		.model = c->m->make(),
		.faults = c->opt.faults,
	};
	struct engine *e = NULL;

	must(m.world != NULL && m.ix != NULL && m.model != NULL);
	sim_on_change(m.world, on_change, &m);
	int err = machine_open(&m, &e);
	for (unsigned done = 0; err == 0 && done < c->opt.steps && !c->failed; done += 20) {
		if (m.faults)
			faults_plan(c, m.world, 60);
		if (!c->m->work(m.model, e, m.world, 20, c->why))
			fail(c, &m, "working");
		faults_end(&m);
		/* Sometimes at once: what failed is not mended yet. */
		if (below(c, 4) != 0)
			sim_advance(m.world, RETRY_US);
		if (below(c, 5) == 0 && !c->failed)
			err = restart(&m, &e);
	}
	if (err != 0 && !c->failed)
		fail(c, &m, "the store does not open");
	if (err == 0 && !c->failed && m.damage > 0)
		fail(c, &m, "damage without any");
	if (e != NULL)
		embedded_kill(e);
	sim_on_change(m.world, NULL, NULL);
	m.ix->vt->close(m.ix);
	sim_free(m.world);
	c->m->drop(m.model);
	c->stats->runs++;
	return err;
}

int crashsim_run(const struct crashsim_model *model, const struct crashsim_options *options,
		 struct crashsim_stats *stats, struct errmsg *why)
{
	struct errmsg own;
	struct crashsim c = { .m = model, .opt = *options, .stats = stats };

	c.why = why == NULL ? &own : why;
	c.random = options->seed * 0x9e3779b97f4a7c15u + 1;
	if (c.opt.steps == 0)
		c.opt.steps = STEPS_DEFAULT;
	if (c.opt.cuts_per_change == 0)
		c.opt.cuts_per_change = CUTS_DEFAULT;
	if (c.opt.depth == 0)
		c.opt.depth = DEPTH_DEFAULT;
	if (c.opt.segment_bytes == 0)
		c.opt.segment_bytes = SEGMENT_DEFAULT;
	*stats = (struct crashsim_stats){ 0 };
	while (!c.failed && stats->states < c.opt.states_max) {
		int err = run_once(&c);

		if (err != 0 && !c.failed)
			return err;
	}
	if (c.failed)
		*c.why = c.verdict;
	return c.failed ? -EBADMSG : 0;
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

int crashsim_test(const struct crashsim_model *model, const struct crashsim_options *options,
		  struct errmsg *why)
{
	struct crashsim_options o = *options;
	struct crashsim_stats stats;

	o.seed = from_environment("CRASH_SEED", o.seed);
	o.states_max = from_environment("CRASH_STATES", o.states_max);
	o.steps = (unsigned)from_environment("CRASH_STEPS", o.steps);
	int err = crashsim_run(model, &o, &stats, why);

	fprintf(stderr, "# %llu states in %llu runs, %llu nested, %llu rebuilds: %s\n",
		(unsigned long long)stats.states, (unsigned long long)stats.runs,
		(unsigned long long)stats.nested, (unsigned long long)stats.rebuilds,
		err == 0 ? "all well" : why->text);
	return err;
}
