/*
 * Why something is refused, and what would allow it: for `policy explain`, and for `policy learn`, which makes whole rules of a log.
 */
#pragma once
#include "policy/analysis/analysis.h"
#include "policy/analysis/analysis_limits.h"

/* Sentences in the arena. */
struct analysis_texts {
	const char **lines;
	size_t count;
};

enum analysis_near {
	ANALYSIS_NEAR_NOTHING,
	ANALYSIS_NEAR_CONDITION,	/* this rule allows it where a predicate holds */
	ANALYSIS_NEAR_PERMISSION,	/* this subject, this object, other permissions */
	ANALYSIS_NEAR_OBJECT,		/* this subject, this permission, other objects */
	ANALYSIS_NEAR_SUBJECT,		/* this permission, this object, other subjects */
};

struct analysis_explanation {
	const struct policy_rule *rule;	/* that allows it, under `predicates`; NULL: there is none, which is why it is denied */
	uint32_t predicates;
	enum analysis_near near;
	const struct policy_rule *nearest;	/* NULL: nothing is near */
	const struct policy_rule *never;	/* that the line would break; NULL: none */
	const char *line;		/* the `allow` that would open it; NULL: no label has the subject or the object */
	struct analysis_texts opens;	/* all else that the line would open */
	uint16_t path[8]; size_t path_count;	/* subjects up to one that may, through `enter`; 0: there is none. As in struct analysis_who */
	bool ticket;
};

/* One permission. O(rules + labels). -ENOMEM. */
MUST_USE int analysis_explain(struct arena *arena, const struct analysis *a, uint16_t subject, enum policy_class class, uint16_t object, uint32_t permission,
			      struct analysis_explanation *out);
/* Lines for people, each with its own indent of two and a word first: "  rule      none: nothing allows it". */
void analysis_explain_text(struct buf *out, const struct analysis *a, const struct analysis_explanation *e);

/* The never that an allow of this would break, or NULL. */
const struct policy_rule *analysis_forbidden(const struct analysis *a, uint16_t subject, uint16_t object, uint32_t permission);
/* All that an allow opens besides what its words say: who else acts by these labels or can enter them, what else has these labels. -ENOMEM. */
MUST_USE int analysis_opens(struct arena *arena, const struct analysis *a, const uint16_t *subjects, size_t subject_count, const uint16_t *objects,
			    size_t object_count, uint32_t predicates, struct analysis_texts *out);
/* "allow mail.user read, list mailbox where owner is subject"; in the arena, or NULL. */
const char *analysis_allow_text(struct arena *arena, const struct analysis *a, const struct policy_rule *rule);
