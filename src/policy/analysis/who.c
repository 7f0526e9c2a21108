/*
 * Who can do this, now or ever. The work follows the rules that allow it and the edges, not the table.
 */
#include "policy/analysis/analysis_private.h"

#include <stdlib.h>

struct holders {
	const struct policy_rule *always[POLICY_SUBJECTS_MAX + 1];	/* the first that allows it without a predicate */
	const struct policy_rule *sometimes[POLICY_SUBJECTS_MAX + 1];
	uint32_t predicates[POLICY_SUBJECTS_MAX + 1];
};

static void find_holders(const struct analysis *a, uint32_t permission, uint16_t object, struct holders *h)
{
	enum policy_class class = a->p->objects[object].class;

	for (size_t i = 0; i < a->p->allow_count; i++) {
		const struct policy_rule *r = &a->p->allows[i];
		if (r->class != class || (r->permissions & permission) == 0 || !list_has(r->objects, r->object_count, object))
			continue;
		for (size_t k = 0; k < r->subject_count; k++) {
			const struct policy_rule **first = r->predicates == 0 ? &h->always[r->subjects[k]] : &h->sometimes[r->subjects[k]];
			if (*first == NULL)
				*first = r;
			h->predicates[r->subjects[k]] |= r->predicates;
		}
	}
}

static void describe(const struct analysis *a, const struct holders *h, const struct analysis_ways *ways, uint16_t subject, struct analysis_who *out)
{
	uint16_t holder = subject;

	*out = (struct analysis_who){ .subject = subject, .path_count = 1, .path = { subject } };
	while (ways != NULL && ways->next[holder] != holder) {
		const struct policy_enter *e = analysis_edge(a, holder, ways->next[holder]);
		out->ticket |= e->ticket;
		holder = ways->next[holder];
		if (out->path_count < ARRAY_LEN(out->path))
			out->path[out->path_count] = holder;
		out->path_count++;
	}
	out->path[MIN(out->path_count, ARRAY_LEN(out->path)) - 1] = holder;
	out->rule = h->always[holder] != NULL ? h->always[holder] : h->sometimes[holder];
	out->predicates = h->always[holder] != NULL ? 0 : h->predicates[holder];
}

size_t analysis_who_can(const struct analysis *a, struct arena *arena, bool ever, uint32_t permission, uint16_t object, struct analysis_who **out)
{
	struct holders *h = ARENA_NEW(arena, struct holders);
	bool some[POLICY_SUBJECTS_MAX + 1], always[POLICY_SUBJECTS_MAX + 1];
	struct analysis_ways to_some, to_always;
	size_t count = 0;

	*out = arena_array(arena, 2 * a->subjects, sizeof(**out));
	if (h == NULL || *out == NULL || object == 0 || object >= a->objects)
		return 0;
	find_holders(a, permission, object, h);
	for (size_t s = 0; s < a->subjects; s++) {
		always[s] = h->always[s] != NULL;
		some[s] = always[s] || h->sometimes[s] != NULL;
	}
	if (ever) {
		analysis_ways(a, some, &to_some);
		analysis_ways(a, always, &to_always);
	}
	for (uint16_t s = 1; s < a->subjects; s++) {
		if (!some[s] && !(ever && to_some.next[s] != 0))
			continue;
		describe(a, h, ever ? &to_some : NULL, s, &(*out)[count++]);
		/* Reading its own mailbox is one answer, entering who reads all of them another. */
		if (ever && (*out)[count - 1].predicates != 0 && to_always.next[s] != 0)
			describe(a, h, &to_always, s, &(*out)[count++]);
	}
	return count;
}
