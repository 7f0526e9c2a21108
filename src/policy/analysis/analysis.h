/*
 * Questions that a policy answers exactly, without a solver, since everything in it is finite. Predicates count as free: "can" means that
 * there are an object and a moment for which it may.
 *
 * All work on the resolved policy; `struct analysis` holds the dense rights of it and the closure of `enter`.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "policy/language/policy.h"

struct analysis;			/* lives in its arena */

/* Rights as masks, for each subject and object, and who can become whom. 1,000 subjects: some 10 ms. -ENOMEM. */
MUST_USE int analysis_new(struct arena *arena, const struct policy *p, const struct analysis **out);

const struct policy *analysis_policy(const struct analysis *a);

struct analysis_right {
	uint32_t allow, conditional, audit;
};
struct analysis_right analysis_right(const struct analysis *a, uint16_t subject, uint16_t object);
/* One after the other through `enter`, from itself on; the path of least edges is written to path (indices), its length returned; 0: cannot. */
size_t analysis_path(const struct analysis *a, uint16_t from, uint16_t to, uint16_t *path, size_t path_max);
/* The rules that allow it, in the order of the files; how many (of at most max that were written). */
size_t analysis_rules(const struct analysis *a, uint16_t subject, uint16_t object, uint32_t permission, const struct policy_rule **out, size_t max);
/* The link-time set: names that the subject may use, sorted, without what a `never ... use` takes (that is an error before). */
size_t analysis_uses(const struct analysis *a, uint16_t subject, enum policy_use kind, const char *const **out);
bool analysis_use_revocable(const struct analysis *a, uint16_t subject, enum policy_use kind, const char *name);

/*
 * Check every `never` and `expect`. Breaches are appended to *errors: "FILE:LINE:COL: this allow ..." then "FILE:LINE:COL: breaks this never ...",
 * allow first, each with its source line; by any path: the chain of enters between. Returns how many. Warnings (floors that the kernel cannot
 * hold, rights that nobody has, labels that no rule names) go to *warnings.
 * `expect static`: the right needs no check while code runs: nothing revocable, no predicate, enforced by what is linked or filled at load.
 */
size_t analysis_check(const struct analysis *a, struct buf *errors, struct buf *warnings);

/* Look up a typed name as services do at run time: path by longest prefix, host:port, interface, message. Index, 0: no label. */
uint16_t analysis_lookup(const struct policy *p, const struct policy_object *target);

/* who-can [ever]: answers in the order of subjects. */
struct analysis_who {
	uint16_t subject;
	uint32_t predicates;		/* 0: unconditionally */
	uint16_t path[8]; size_t path_count;	/* ever: subjects from `subject` to who has the right; 1: itself; more than 8: the first 7 and the last */
	bool ticket;			/* an edge on the way wants one */
	const struct policy_rule *rule;
};
/* With `ever`, who has it under a condition and can become somebody who has it without one is there twice: 2 * subjects at most. */
size_t analysis_who_can(const struct analysis *a, struct arena *arena, bool ever, uint32_t permission, uint16_t object, struct analysis_who **out);

/* The difference of two policies in decisions: labels are matched by qualified name. */
struct analysis_change {
	const char *subject, *object;	/* names; object NULL: a use */
	enum policy_class class;
	uint32_t gained, lost, now_conditional, now_unconditional;	/* permissions */
	enum policy_use use; const char *use_name; bool use_gained;
	const char *what;		/* other changes in words: "label lan is now nic \"eth3\"", "may enter recovery" */
};
MUST_USE int analysis_diff(struct arena *arena, const struct analysis *before, const struct analysis *after, struct analysis_change **out, size_t *count);
