/*
 * Policies made from a seed: for comparisons with other judges, and for measurements. The same seed gives the same policy everywhere.
 */
#pragma once
#include <stdio.h>
#include <stdlib.h>

#include "policy/language/policy.h"

struct generate {
	uint64_t seed;			/* moves on */
	uint32_t subjects, objects;	/* labels to make, besides the single objects */
	uint32_t rules, enters, nevers;	/* nevers: kept only when no rule breaks them */
	uint32_t list_max;		/* names in a list of a rule */
	bool broken;			/* one never more, which some rule breaks */
};

/* splitmix64 */
static inline uint64_t generate_next(struct generate *g)
{
	uint64_t z = g->seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline uint32_t generate_below(struct generate *g, uint32_t n)
{
	return n == 0 ? 0 : (uint32_t)((generate_next(g) >> 32) * n >> 32);
}

static inline int generate_order(const void *x, const void *y)
{
	return (int)*(const uint16_t *)x - (int)*(const uint16_t *)y;
}

static inline uint16_t generate_unique(uint16_t *list, uint32_t count)
{
	uint16_t kept = 0;

	qsort(list, count, sizeof(*list), generate_order);
	for (uint32_t i = 0; i < count; i++)
		if (kept == 0 || list[kept - 1] != list[i])
			list[kept++] = list[i];
	return kept;
}

static inline void *generate_array(struct arena *arena, size_t n, size_t size)
{
	void *p = arena_array(arena, n, size);

	if (p == NULL)
		abort();
	return p;
}

static inline const char *generate_name(struct arena *arena, const char *kind, uint32_t i)
{
	char name[64];

	/* Modules and words with all that names may have. */
	(void)snprintf(name, sizeof(name), "m%u%s.%s%s%u", i % 7, i % 5 == 0 ? "-x" : i % 11 == 0 ? "_" : "", kind, i % 3 == 0 ? "_" : "", i);
	return arena_str(arena, slice_str(name));
}

static inline void generate_labels(struct arena *arena, struct generate *g, struct policy *p)
{
	static const enum policy_class named[] = { POLICY_PORT, POLICY_HANDLER, POLICY_FILE, POLICY_ENDPOINT };
	static const enum policy_object_kind kinds[] = { POLICY_NIC, POLICY_MESSAGE, POLICY_TREE, POLICY_HOST_PORT };
	struct policy_object *o = generate_array(arena, g->objects + POLICY_CLASS_COUNT, sizeof(*o));
	struct policy_subject *s = generate_array(arena, g->subjects + 1, sizeof(*s));
	size_t n = 1;

	p->subjects = s;
	p->subject_count = g->subjects + 1;
	s[0].name = "";
	for (uint32_t i = 1; i <= g->subjects; i++) {
		s[i].name = generate_name(arena, "s", i);
		s[i].kind = (enum policy_subject_kind)(1 + generate_below(g, POLICY_BY_TICKET));
		s[i].text = s[i].kind == POLICY_BY_DIRECTORY || s[i].kind == POLICY_ROOT || s[i].kind == POLICY_BY_TICKET ? NULL : s[i].name;
	}
	p->objects = o;
	o[0].name = "";
	for (unsigned c = 1; c < POLICY_CLASS_COUNT; c++)
		if (policy_class_is_single(c))
			o[n++] = (struct policy_object){ .name = policy_class_name(c), .class = c, .kind = POLICY_SINGLE };
	for (uint32_t i = 0; i < g->objects; i++) {
		uint32_t c = generate_below(g, ARRAY_LEN(named));
		char text[64];
		(void)snprintf(text, sizeof(text), "%sx%u", named[c] == POLICY_FILE ? "/srv/" : "", i);
		o[n++] = (struct policy_object){ .name = generate_name(arena, "o", i), .class = named[c], .kind = kinds[c],
						 .text = arena_str(arena, slice_str(text)) };
	}
	p->object_count = n;
}

static inline const uint16_t *generate_subjects(struct arena *arena, struct generate *g, uint16_t *count)
{
	uint32_t n = 1 + generate_below(g, g->list_max);
	uint16_t *list = generate_array(arena, n, sizeof(*list));

	for (uint32_t i = 0; i < n; i++)
		list[i] = (uint16_t)(1 + generate_below(g, g->subjects));
	*count = generate_unique(list, n);
	return list;
}

/* Some objects of one class, which the first one decides. */
static inline const uint16_t *generate_objects(struct arena *arena, struct generate *g, const struct policy *p, enum policy_class *class, uint16_t *count)
{
	uint32_t n = 1 + generate_below(g, g->list_max), made = 0;
	uint16_t *list = generate_array(arena, n, sizeof(*list));

	for (uint32_t i = 0; i < n; i++) {
		uint16_t o = (uint16_t)(1 + generate_below(g, (uint32_t)p->object_count - 1));
		if (i == 0)
			*class = p->objects[o].class;
		if (p->objects[o].class == *class)
			list[made++] = o;
	}
	*count = generate_unique(list, made);
	return list;
}

static inline uint32_t generate_permissions(struct generate *g, enum policy_class class)
{
	uint32_t all = policy_class_permissions(class), some = all & (uint32_t)generate_next(g) & (uint32_t)generate_next(g);

	return some != 0 ? some : all & -all;
}

static inline struct policy_rule generate_rule(struct arena *arena, struct generate *g, struct policy *p)
{
	struct policy_rule r = { .id = ++p->statement_count };

	r.subjects = generate_subjects(arena, g, &r.subject_count);
	r.objects = generate_objects(arena, g, p, &r.class, &r.object_count);
	r.permissions = generate_permissions(g, r.class);
	return r;
}

static inline bool generate_shares(const uint16_t *a, size_t a_count, const uint16_t *b, size_t b_count)
{
	for (size_t i = 0; i < a_count; i++)
		for (size_t k = 0; k < b_count; k++)
			if (a[i] == b[k])
				return true;
	return false;
}

/* Who can become whom, the slow and plain way: subjects[i] is reached from one that is marked. */
static inline void generate_reach(const struct policy *p, bool *reached)
{
	for (bool more = true; more;) {
		more = false;
		for (size_t i = 0; i < p->enter_count; i++) {
			if (!reached[p->enters[i].from] || reached[p->enters[i].to])
				continue;
			reached[p->enters[i].to] = true;
			more = true;
		}
	}
}

static inline bool generate_breaks(const struct policy *p, const struct policy_rule *never)
{
	bool reached[POLICY_SUBJECTS_MAX + 1] = { false };

	for (size_t i = 0; i < never->subject_count; i++)
		reached[never->subjects[i]] = true;
	if (never->by_any_path)
		generate_reach(p, reached);
	for (size_t i = 0; i < p->allow_count; i++) {
		const struct policy_rule *r = &p->allows[i];
		if (r->class != never->class || (r->permissions & never->permissions) == 0 ||
		    !generate_shares(r->objects, r->object_count, never->objects, never->object_count))
			continue;
		for (size_t k = 0; k < r->subject_count; k++)
			if (reached[r->subjects[k]])
				return true;
	}
	return false;
}

static inline void generate_nevers(struct arena *arena, struct generate *g, struct policy *p)
{
	for (uint32_t i = 0; i < g->nevers; i++) {
		struct policy_rule r = generate_rule(arena, g, p);
		r.by_any_path = generate_below(g, 2) == 0;
		if (!generate_breaks(p, &r))
			p->nevers[p->never_count++] = r;
	}
	while (g->broken) {
		struct policy_rule r = generate_rule(arena, g, p);
		r.by_any_path = generate_below(g, 2) == 0;
		if (!generate_breaks(p, &r))
			continue;
		p->nevers[p->never_count++] = r;
		break;
	}
}

/* All of it lives in the arena. */
static inline struct policy *generate_policy(struct arena *arena, struct generate *g)
{
	struct policy *p = generate_array(arena, 1, sizeof(*p));
	static struct policy_source source = { "generated", { NULL, 0 } };

	p->sources = &source;
	p->source_count = 1;
	generate_labels(arena, g, p);
	p->allows = generate_array(arena, g->rules, sizeof(*p->allows));
	p->enters = generate_array(arena, g->enters, sizeof(*p->enters));
	p->nevers = generate_array(arena, g->nevers + 1, sizeof(*p->nevers));
	p->audits = generate_array(arena, g->rules, sizeof(*p->audits));
	for (uint32_t i = 0; i < g->rules; i++) {
		struct policy_rule r = generate_rule(arena, g, p);
		r.predicates = generate_below(g, 4) == 0 ? 1 + generate_below(g, POLICY_PREDICATES_ALL) : 0;
		r.audit = generate_below(g, 8) == 0;
		if (generate_below(g, 20) == 0)
			p->audits[p->audit_count++] = (struct policy_audit){ r.subjects, r.subject_count, r.class, r.permissions, r.objects, r.object_count,
									     .id = r.id };
		else
			p->allows[p->allow_count++] = r;
	}
	for (uint32_t i = 0; i < g->enters; i++)
		p->enters[p->enter_count++] = (struct policy_enter){ .from = (uint16_t)(1 + generate_below(g, g->subjects)),
								     .to = (uint16_t)(1 + generate_below(g, g->subjects)),
								     .ticket = generate_below(g, 2) == 0, .id = ++p->statement_count };
	generate_nevers(arena, g, p);
	return p;
}
