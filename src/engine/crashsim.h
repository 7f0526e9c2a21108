/*
 * Crash testing by simulation: run work over the real engine on a simulated disk, cut the power or kill the
 * process at any change of the disk, open what is left, and ask the work's model whether all is well.
 *
 * The engine runs in one thread with an index in memory; after a cut, any state of the index since its
 * last flush may be what survived, or none. A cut may hit recovery, and the recovery after that. A seed
 * replays a run. The same harness carries models above the engine (mailboxes): they see struct engine only.
 */
#pragma once
#include "engine/embedded/embedded.h"
#include "sys/simworld.h"

/*
 * The work and its model: what was acknowledged, and what is under way right now (only one call can be,
 * there is one thread). Copies are taken at power cuts.
 */
struct crashsim_model {
	/* A model of an empty store. */
	void *(*make)(void);
	void *(*copy)(const void *model);
	void (*drop)(void *model);
	/*
	 * Do `steps` random things. Before each engine call note it in the model as under way, after its
	 * return as acknowledged or not done. ENGINE_UNAVAILABLE leaves it open. False: the engine answered
	 * wrongly, the reason in why.
	 */
	bool (*work)(void *model, struct engine *e, struct sim *world, unsigned steps,
		     struct errmsg *why);
	/*
	 * After recovery, or a clean restart: does the store hold all that was acknowledged, and what was
	 * under way wholly or not at all? Settles in the model which of both. False: lost, torn or
	 * invented; the reason in why.
	 */
	bool (*check)(void *model, struct engine *e, struct errmsg *why);
};

struct crashsim_options {
	uint64_t seed;
	uint64_t states_max;		/* crash states to look at */
	unsigned steps;			/* of work in one run; 0: 60 */
	unsigned cuts_per_change;	/* states taken at one moment; 0: 3 */
	unsigned depth;			/* cuts inside recovery and the work after it; 0: 3 */
	uint32_t segment_bytes;		/* 0: 16 KiB */
	bool faults;			/* also let calls fail: EIO, ENOSPC, failed syncs */
	/* The engine's own alarms (damage, a store that does not open) do not count: would the model notice? */
	bool model_alone;
	struct embedded_planted planted;
};

struct crashsim_stats {
	uint64_t states;		/* opened and checked */
	uint64_t runs;
	uint64_t nested;		/* of the states: cuts in recovery or in work after one */
	uint64_t rebuilds;		/* of the states: without any index */
};

/*
 * Until states_max states were checked or one is wrong. 0; -EBADMSG: a state is wrong, `why` says which seed
 * and what; another negative errno: the harness could not run.
 */
MUST_USE int crashsim_run(const struct crashsim_model *model, const struct crashsim_options *options,
			  struct crashsim_stats *stats, struct errmsg *why);

/*
 * crashsim_run for tests: with CRASH_SEED, CRASH_STATES and CRASH_STEPS of the environment instead of the
 * options, to look at one run closely. Says on standard error what was done.
 */
MUST_USE int crashsim_test(const struct crashsim_model *model, const struct crashsim_options *options,
			   struct errmsg *why);
