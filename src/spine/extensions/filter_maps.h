/*
 * The packet filter's maps from the host's side: rules go in, counters come out.
 */
#pragma once
#include "spine/extensions/filter_tables.h"

enum filter_map {
	FILTER_MAP_STATE, FILTER_MAP_BANKS, FILTER_MAP_PROTOCOLS, FILTER_MAP_SETS, FILTER_MAP_PORTS,
	FILTER_MAP_RULES, FILTER_MAP_PREFIXES4, FILTER_MAP_PREFIXES6, FILTER_MAP_HITS, FILTER_MAP_COUNTERS,
	FILTER_MAPS
};

struct filter_maps {
	int fd[FILTER_MAPS];
	uint32_t cpus;			/* values of a per-CPU map */
};

/*
 * Open the maps that are pinned in a directory. 0; -ENOENT: no filter there; -EPROTO: one with other
 * tables; other negative errno; with a sentence. End with filter_maps_close in each case.
 */
MUST_USE int filter_maps_open(const char *directory, struct filter_maps *out, struct errmsg *why);
void filter_maps_close(struct filter_maps *m);

/*
 * Put rules in force: written to the bank that is not in use, then one store; counters begin at 0. An error
 * leaves the old rules. When it returns no packet sees the old ones any more. The caller sees to it that
 * nobody else does the same (the device's lock). Some 100 ms with 1,000 rules.
 */
MUST_USE int filter_put(struct filter_maps *m, const struct filter_tables *t, uint64_t now_s, struct errmsg *why);

struct filter_line {
	uint32_t line, verdict;
	const char *text;
	struct filter_hits hits;
};

struct filter_view {
	uint64_t loaded_at_s;		/* 0: no rules yet */
	uint32_t default_verdict;
	struct filter_line *lines;	/* in order */
	size_t count;
	struct filter_counters counters;
};
/* What is in force, with counters. Lives in the arena. 0 or negative errno with a sentence. */
MUST_USE int filter_view(struct arena *arena, const struct filter_maps *m, struct filter_view *out,
			 struct errmsg *why);
