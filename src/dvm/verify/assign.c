#include "dvm/verify/internal.h"

/* A component fits a component: primitives must be the same. */
static bool component_assignable(struct verifier *v, vtype from, vtype to)
{
	if (from == TYPE_TOP || to == TYPE_TOP)
		return false;
	return from == to || (type_is_name(to) && type_is_name(from) && assignable_reference(v, from, to));
}

/* What was asked before is in a table, so that the hierarchy is walked once for a pair. */
static struct asked *asked_row(struct verifier *v, vtype from, vtype to)
{
	uint32_t i = (uint32_t)((((uint64_t)from << 32 | to) * 0x9fb21c651e98df25u) >> 33);

	for (;; i++) {
		struct asked *a = &v->asked[i & (v->asked_room - 1)];

		if (a->to == TYPE_TOP || (a->from == from && a->to == to))
			return a;
	}
}

static bool grow_asked(struct verifier *v)
{
	struct asked *old = v->asked;
	uint32_t room = v->asked_room;

	v->asked_room = room == 0 ? 64 : room * 2;
	v->asked = verify_alloc(v, v->asked_room, sizeof(*v->asked));
	if (v->asked == NULL)
		return false;
	for (uint32_t i = 0; i < room; i++)
		if (old[i].to != TYPE_TOP)
			*asked_row(v, old[i].from, old[i].to) = old[i];
	return true;
}

/* 4.10.1.2 for two names that are not the same, at least one of them known to be a reference. */
bool assignable_reference(struct verifier *v, vtype from, vtype to)
{
	struct asked *a;

	if (from == to || to == v->object)
		return true;
	/* At most 255 dimensions in a checked name. */
	while (type_is_array(v, to)) {
		if (!type_is_array(v, from))
			return false;
		from = type_component(v, from);
		to = type_component(v, to);
		if (!type_is_name(from) || !type_is_name(to))
			return component_assignable(v, from, to);
		if (from == to || to == v->object)
			return true;
	}
	/* An array is an Object, a Cloneable and a Serializable, whatever the class path says. */
	if (type_is_array(v, from))
		return type_symbol(to) == v->cloneable || type_symbol(to) == v->serializable;
	if (v->asked_count * 2 >= v->asked_room && !grow_asked(v))
		return false;
	a = asked_row(v, from, to);
	if (a->to == TYPE_TOP) {
		bool answer = links_assignable(v, from, to);

		*a = (struct asked){ from, to, answer };
		v->asked_count++;
	}
	return a->answer;
}
