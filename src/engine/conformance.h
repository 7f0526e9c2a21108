/*
 * The conformance suite of the storage interface: what every back end must do, told through
 * struct engine alone. The same cases run over the embedded store with either index, over the
 * store role's channel, and later over RADOS.
 */
#pragma once
#include "engine/engine.h"

struct engine_case {
	const char *name;		/* a sentence on behaviour */
	/* NULL: passed; else what was not as it should be. Needs an engine without objects. */
	const char *(*run)(struct engine *e);
};

extern const struct engine_case engine_cases[];
extern const size_t engine_case_count;
