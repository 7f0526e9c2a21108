/*
 * The daemon of an instance: slow path, logs, probes, next hops, prefixes learnt and announced. Traffic that the programs can finish does not need
 * it, and it holds no state that matters: kill -9 loses nothing.
 *
 * Its parts are files with a function each to begin, to take an event, and to end; run.c owns the loop.
 */
#pragma once
#include "nat64/instance.h"

/* What the worker keeps (bits of capabilities): the role `net`. */
extern const uint64_t nat64_capabilities;

struct nat64_run_options {
	int ready_fd;			/* ready_text is written there when packets are translated; -1: nowhere */
	const char *ready_text;
	bool drop_privileges;		/* after the start: what the role row `net` says */
};
/* Runs until SIGTERM or SIGINT; SIGHUP reads the file again. 0 or negative errno. */
MUST_USE int nat64_run(struct nat64 *n, const struct nat64_settings *settings, const struct nat64_run_options *options, struct errmsg *why);
