/*
 * The policy's meaning, read from its statements alone, one decision at a time: what the table is compared with. Nothing here knows cells,
 * numbers or masks of rows; a question costs a walk over all rules.
 */
#pragma once
#include "policy/language/policy.h"

/* What some statements say about one permission of a subject on an object, both given as indices. */
struct naive {
	bool allowed;
	bool by_owner, by_acl;		/* allowed when this holds */
	bool on_trial, recorded;
};

static inline bool naive_names(const uint16_t *list, size_t count, uint16_t index)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == index)
			return true;
	return false;
}

static inline struct naive naive_ask(const struct policy *p, uint16_t subject, uint16_t object, uint32_t permission)
{
	struct naive out = { 0 };
	bool never = false, audit = false;

	if (subject == 0 || object == 0)
		return out;
	for (size_t i = 0; i < p->allow_count; i++) {
		const struct policy_rule *r = &p->allows[i];
		if (!naive_names(r->subjects, r->subject_count, subject) || !naive_names(r->objects, r->object_count, object) ||
		    (r->permissions & permission) == 0)
			continue;
		if (r->predicates == 0)
			out.allowed = true;
		if (r->predicates == POLICY_OWNER_IS_SUBJECT || r->predicates == POLICY_PREDICATES_ALL)
			out.by_owner = true;
		if (r->predicates == POLICY_ACL_GRANTS_SUBJECT || r->predicates == POLICY_PREDICATES_ALL)
			out.by_acl = true;
		audit = audit || r->audit;
	}
	for (size_t i = 0; i < p->audit_count; i++) {
		const struct policy_audit *a = &p->audits[i];
		audit = audit || (naive_names(a->subjects, a->subject_count, subject) && naive_names(a->objects, a->object_count, object) &&
				  (a->permissions & permission) != 0);
	}
	for (size_t i = 0; i < p->never_count; i++) {
		const struct policy_rule *r = &p->nevers[i];
		never = never || (naive_names(r->subjects, r->subject_count, subject) && naive_names(r->objects, r->object_count, object) &&
				  (r->permissions & permission) != 0);
	}
	out.recorded = audit && (out.allowed || out.by_owner || out.by_acl);
	out.on_trial = p->subjects[subject].trial_until != 0 && !never && !out.allowed;
	if (out.allowed)
		out.by_owner = out.by_acl = false;
	return out;
}

/* Whether it is let through where these things hold. */
static inline bool naive_passes(struct naive n, bool owner, bool acl, bool trial_runs)
{
	return n.allowed || (n.by_owner && owner) || (n.by_acl && acl) || (n.on_trial && trial_runs);
}

/* One of two: the same label in both policies. */
static inline bool naive_text_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Index of the object of this policy that has the path; 0: none. Segment by segment. */
static inline uint16_t naive_path(const struct policy *p, const char *path)
{
	uint16_t best = 0;
	int best_length = -1;

	for (const char *at = path; *at != '\0'; at++)
		if (at[0] == '/' && strcmp(path, "/") != 0) {
			size_t n = strcspn(at + 1, "/");
			if (n == 0 || (n == 1 && at[1] == '.') || (n == 2 && at[1] == '.' && at[2] == '.'))
				return 0;
		}
	if (path[0] != '/')
		return 0;
	for (uint16_t i = 1; i < p->object_count; i++) {
		const struct policy_object *o = &p->objects[i];
		int length = 0;
		const char *a = o->text, *b = path;
		if (o->kind != POLICY_TREE && o->kind != POLICY_PATH)
			continue;
		if (strcmp(a, "/") != 0)
			for (; *a != '\0'; length++) {	/* a segment of each */
				size_t n = strcspn(a + 1, "/"), m = strcspn(*b == '\0' ? b : b + 1, "/");
				if (*b == '\0' || n != m || strncmp(a + 1, b + 1, n) != 0) {
					length = -1;
					break;
				}
				a += n + 1;
				b += m + 1;
			}
		if (length < 0 || (o->kind == POLICY_PATH && strcmp(path, o->text) != 0))
			continue;
		length = length * 2 + (o->kind == POLICY_PATH);
		if (length > best_length || (length == best_length && strcmp(o->name, p->objects[best].name) < 0)) {
			best = i;
			best_length = length;
		}
	}
	return best;
}
