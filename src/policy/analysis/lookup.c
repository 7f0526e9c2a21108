/*
 * From a name to its label, as services look it up at run time (policy/table/image.h has the same rules for the compiled table).
 */
#include "policy/analysis/analysis.h"

/* Absolute, and no segment is empty, "." or "..": what else could mean another file than it says. */
static bool path_is_normal(struct slice path)
{
	if (path.len == 0 || path.ptr[0] != '/' || memchr(path.ptr, '\0', path.len) != NULL)
		return false;
	if (path.len == 1)
		return true;
	for (size_t at = 1; at <= path.len;) {
		size_t end = at;
		while (end < path.len && path.ptr[end] != '/')
			end++;
		struct slice segment = slice_sub(path, at, end);
		if (segment.len == 0 || slice_eq(segment, SLICE(".")) || slice_eq(segment, SLICE("..")))
			return false;
		at = end + 1;
	}
	return true;
}

static bool tree_has(const char *tree, struct slice path)
{
	struct slice root = slice_str(tree);

	if (root.len == 1)
		return true;
	return slice_starts(path, root) && (path.len == root.len || path.ptr[root.len] == '/');
}

static uint16_t find_path(const struct policy *p, struct slice path)
{
	uint16_t best = 0;

	if (!path_is_normal(path))
		return 0;
	for (size_t i = 1; i < p->object_count; i++) {
		const struct policy_object *o = &p->objects[i];
		if (o->kind == POLICY_PATH && slice_eq(path, slice_str(o->text)))
			return (uint16_t)i;
		if (o->kind == POLICY_TREE && tree_has(o->text, path) && (best == 0 || strlen(o->text) > strlen(p->objects[best].text)))
			best = (uint16_t)i;
	}
	return best;
}

/* 0: does not fit; else the more the better. The first name counts more than the second. */
static unsigned fit(const char *first, bool first_same, bool second_any, bool second_same)
{
	if ((first != NULL && !first_same) || (!second_any && !second_same))
		return 0;
	return 1u + (first != NULL ? 2u : 0) + (second_any ? 0 : 1u);
}

static unsigned object_fits(const struct policy_object *o, const struct policy_object *target)
{
	switch (o->kind) {
	case POLICY_NIC:
		return o->text == NULL ? 1 : target->text != NULL && strcmp(o->text, target->text) == 0 ? 2 : 0;
	case POLICY_HOST_PORT:
		return fit(o->text, o->text != NULL && target->text != NULL && slice_eq_nocase(slice_str(o->text), slice_str(target->text)),
			   o->port == 0, o->port == target->port);
	case POLICY_PLACE:
		return target->text != NULL && strcmp(o->text, target->text) == 0 ? 1 : 0;
	case POLICY_MESSAGE:
		return fit(o->of, o->of != NULL && target->of != NULL && strcmp(o->of, target->of) == 0, o->text == NULL,
			   o->text != NULL && target->text != NULL && strcmp(o->text, target->text) == 0);
	default:
		return 0;
	}
}

uint16_t analysis_lookup(const struct policy *p, const struct policy_object *target)
{
	unsigned best = 0;
	uint16_t found = 0;

	if (target->kind == POLICY_TREE || target->kind == POLICY_PATH)
		return target->text == NULL ? 0 : find_path(p, slice_str(target->text));
	for (size_t i = 1; i < p->object_count; i++) {
		if (target->kind == POLICY_SINGLE && p->objects[i].kind == POLICY_SINGLE && p->objects[i].class == target->class)
			return (uint16_t)i;
		if (target->kind != p->objects[i].kind)
			continue;
		unsigned fits = object_fits(&p->objects[i], target);
		if (fits > best) {
			best = fits;
			found = (uint16_t)i;
		}
	}
	return found;
}
