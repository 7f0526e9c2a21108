/*
 * An engine in memory: ordered arrays, nothing durable. For unit tests of everything that
 * stands on the engine, and as the plainest statement of what the interface means.
 *
 * Single-threaded. Watch functions are called at the end of the operation that notifies.
 */
#pragma once
#include "engine/engine.h"

/* What happens to the next apply; see engine_memory_hook. */
enum memory_fate {
	MEMORY_DO,
	MEMORY_FAIL,		/* ENGINE_UNAVAILABLE, nothing done */
	MEMORY_DO_AND_FAIL,	/* done, but the caller hears ENGINE_UNAVAILABLE */
	MEMORY_FULL,		/* ENGINE_FULL, nothing done */
};

/* NULL when memory is short; release with engine_close. */
struct engine *engine_memory_new(void);
/*
 * fate(arg, op) is asked at every apply, before it happens; it may itself use the engine (another
 * process being faster) or suspend its fiber (a slow disk). NULL: MEMORY_DO always.
 */
void engine_memory_hook(struct engine *e, enum memory_fate (*fate)(void *arg, const struct engine_op *op),
			void *arg);
/* Calls of any kind since the start: for tests that promise "one engine call". */
uint64_t engine_memory_calls(struct engine *e);
