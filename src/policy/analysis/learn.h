/*
 * From decisions that were refused, or let through by a trial, to the rules that would allow them: the fewest that allow what was seen and no other pair of
 * labels, never against a `never`, each with all that it opens besides (labels stand for many things).
 */
#pragma once
#include "policy/analysis/explain.h"

struct analysis_observation {
	uint16_t subject, object;	/* indices; 0: has no label */
	uint32_t permission;
	uint32_t holds;			/* predicates that were true for all of these */
	uint64_t count;			/* how often */
};

struct analysis_lesson_rule {
	struct policy_rule rule;
	const char *line;
	struct analysis_texts opens;
	uint64_t covers;		/* decisions of the log */
};

struct analysis_refused {
	struct analysis_observation seen;
	const struct policy_rule *never;
};

struct analysis_lesson {
	struct analysis_lesson_rule *rules;
	size_t rule_count;
	struct analysis_refused *refused;
	size_t refused_count;
	uint64_t already, unlabelled;	/* decisions that the policy allows now; of something without a label: no rule can name it */
	bool smallest;			/* proven: no smaller set does it */
};

/* Observations may repeat a pair; they are put together. -ENOMEM; -E2BIG: more different ones than ANALYSIS_OBSERVATIONS_MAX. */
MUST_USE int analysis_learn(struct arena *arena, const struct analysis *a, const struct analysis_observation *seen, size_t count,
			    struct analysis_lesson *out);
