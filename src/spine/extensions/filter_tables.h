/*
 * Rules of the packet filter as the tables of its maps (filter.h tells their layout).
 *
 * Each property's values fall into classes with equal sets of rules: ranges between the ends of the
 * rules' port ranges, prefixes with the rules of all prefixes around them, protocols. Equal sets are kept
 * once.
 */
#pragma once
#include "base/errmsg.h"
#include "spine/extensions/filter_rules.h"

struct filter_row {
	struct filter_prefix prefix;
	uint32_t class;
};

struct filter_tables {
	struct filter_bank bank;
	struct filter_set *sets;
	uint32_t set_count;
	uint32_t *protocols;		/* FILTER_PROTOCOLS */
	uint64_t *ports[FILTER_SIDES];	/* FILTER_PORT_WORDS each */
	struct filter_row *rows[FILTER_SIDES][FILTER_FAMILIES];
	size_t row_count[FILTER_SIDES][FILTER_FAMILIES];
	struct filter_rule *rules;	/* bank.rules */
};

/*
 * 0; -E2BIG: more than FILTER_SETS_MAX or FILTER_PREFIXES_MAX, with a sentence; -ENOMEM. *out lives in the
 * arena, which needs some 2 MB. O(65536 + prefixes log prefixes) sets of 128 bytes.
 */
MUST_USE int filter_compile(struct arena *arena, const struct filter_rules *rules, struct filter_tables **out,
			    struct errmsg *why);
