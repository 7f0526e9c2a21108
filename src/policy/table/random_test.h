/* Policies by chance, from a seed: small sets of names, so that labels come, go and are redefined. For tests of the table. */
#pragma once
#include "policy/table/rig_test.h"

struct chance {
	uint64_t state;
};

static inline uint32_t chance_below(struct chance *c, uint32_t n)
{
	c->state ^= c->state << 13;
	c->state ^= c->state >> 7;
	c->state ^= c->state << 17;
	return (uint32_t)((c->state * UINT64_C(0x2545f4914f6cdd1d) >> 33) % n);
}

static inline bool chance_one_in(struct chance *c, uint32_t n)
{
	return chance_below(c, n) == 0;
}

/* Some of a rule's objects, all of one class. */
static inline size_t chance_objects(struct chance *c, const struct rig *r, uint16_t *out)
{
	size_t count = 0;
	uint16_t first = (uint16_t)(1 + chance_below(c, (uint32_t)r->p.object_count - 1));

	for (uint16_t i = 1; i < r->p.object_count; i++)
		if (r->p.objects[i].class == r->p.objects[first].class && (i == first || chance_one_in(c, 3)))
			out[count++] = i;
	return count;
}

static inline struct policy_rule chance_rule(struct chance *c, struct rig *r, bool conditions)
{
	uint16_t subjects[RIG_LABELS], objects[RIG_LABELS];
	size_t subject_count = 0, object_count = chance_objects(c, r, objects);
	uint32_t all = policy_class_permissions(r->p.objects[objects[0]].class), permissions = 0;
	uint16_t first = (uint16_t)(1 + chance_below(c, (uint32_t)r->p.subject_count - 1));

	for (uint16_t i = 1; i < r->p.subject_count; i++)
		if (i == first || chance_one_in(c, 6))
			subjects[subject_count++] = i;
	while (permissions == 0)
		permissions = all & chance_below(c, UINT32_MAX) & chance_below(c, UINT32_MAX);
	return rig_rule(r, subjects, subject_count, permissions, objects, object_count, conditions && chance_one_in(c, 2) ? 1 + chance_below(c, 3) : 0);
}

static inline void chance_policy(struct chance *c, struct rig *r)
{
	static const char *const paths[] = { "/", "/a", "/a/b", "/a/b/c", "/b", "/ab", "/a/bb", "/c/c/c" };
	static const char *const groups[] = { "one", "two" };
	static const enum policy_class singles[] = { POLICY_MAILBOX, POLICY_ACCOUNT, POLICY_QUEUE };
	char name[32];

	rig_init(r);
	for (uint32_t i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "m.s%u", i);
		if (i == 0 || !chance_one_in(c, 4)) {
			struct policy_subject *s = rig_subject(r, POLICY_IN_GROUP, name, groups[chance_below(c, 8) == 0]);
			if (chance_one_in(c, 4))
				s->trial_until = 1 + chance_below(c, 1000);
		}
	}
	for (uint32_t i = 0; i < ARRAY_LEN(singles); i++)
		rig_object(r, singles[i], POLICY_SINGLE, policy_class_name(singles[i]), NULL);
	for (uint32_t i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "m.o%u", i);
		if (!chance_one_in(c, 4))
			rig_object(r, POLICY_FILE, chance_one_in(c, 4) ? POLICY_PATH : POLICY_TREE, name,
				   paths[chance_one_in(c, 6) ? chance_below(c, ARRAY_LEN(paths)) : i]);
	}
	for (uint32_t i = 0, n = chance_below(c, 30); i < n; i++) {
		struct policy_rule rule = chance_rule(c, r, true);
		rule.audit = chance_one_in(c, 4);
		r->p.allows[r->p.allow_count++] = rule;
	}
	for (uint32_t i = 0, n = chance_below(c, 6); i < n; i++)
		r->p.nevers[r->p.never_count++] = chance_rule(c, r, false);
	for (uint32_t i = 0, n = chance_below(c, 4); i < n; i++) {
		struct policy_rule rule = chance_rule(c, r, false);
		r->p.audits[r->p.audit_count++] = (struct policy_audit){ .subjects = rule.subjects, .subject_count = rule.subject_count, .class = rule.class,
									 .permissions = rule.permissions, .objects = rule.objects, .object_count = rule.object_count };
	}
	for (uint32_t i = 0, n = chance_below(c, 8); i < n; i++) {
		struct policy_enter *e = &r->p.enters[r->p.enter_count++];
		*e = (struct policy_enter){ .from = (uint16_t)(1 + chance_below(c, (uint32_t)r->p.subject_count - 1)),
					    .to = (uint16_t)(1 + chance_below(c, (uint32_t)r->p.subject_count - 1)),
					    .ticket = chance_one_in(c, 2), .audit = chance_one_in(c, 2), .seconds = chance_below(c, 3) * 100 };
	}
}
