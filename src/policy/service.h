/*
 * The floor of the node's own processes, from rows of the policy: which kernel rights, which of the node's files, which listening sockets each has
 * (`domain mx = service role "mx"`). roles/table.h turns the places into paths and applies it.
 *
 * The rows of the shipped policy are what each process needs to do its work, and the most that it ever gets. The policy in force can take from
 * that, never add: a process has what both allow. A policy without a domain of this role says nothing about it, and the shipped rows hold: who
 * writes a policy for programs without importing the shipped one has not stopped the node by that. The same when it imported its domain: imports
 * can only be added to, and an epoch has them as they were shipped when it was applied, so a difference would be that of two versions.
 */
#pragma once
#include "policy/analysis/analysis.h"
#include "policy/policy_limits.h"

/* A rule of the shipped policy about one object. */
struct service_row {
	enum policy_class class;	/* FILE, ENDPOINT: a place; KERNEL */
	const char *place;		/* "state" (language/places.def), static; NULL: kernel */
	uint32_t shipped, may;		/* permissions: of the rule, and what of them the policy in force allows as well */
	uint32_t line;			/* of the rule in the shipped policy */
};

struct service_floor {
	struct service_row rows[SERVICE_ROWS_MAX];
	size_t row_count;
	uint32_t kernel;		/* POLICY_KERNEL_... that hold */
	uint64_t capabilities;		/* CAP_... bits of them */
	bool narrowed;			/* the policy in force took something */
};

/*
 * in_force: the policy in force, or NULL: the shipped one. 0; -ENOENT: no such role; -ENOMEM; -E2BIG: more rows than SERVICE_ROWS_MAX.
 * Parses the shipped policy: 1 ms.
 */
MUST_USE int policy_service_floor(const struct analysis *in_force, const char *role, struct service_floor *out, struct errmsg *why);
/*
 * Warnings about what the policy itself declares of the node's processes, as analysis_check writes them: a role that the node does not have; rights
 * that a process needs and would not have.
 */
void policy_service_warn(const struct analysis *a, struct buf *warnings);
/* What of a place the floor allows; 0 for one that it does not have. */
uint32_t service_floor_may(const struct service_floor *f, enum policy_class class, const char *place);
