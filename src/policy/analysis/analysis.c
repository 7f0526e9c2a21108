#include "policy/analysis/analysis_private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/must.h"

bool list_has(const uint16_t *list, size_t count, uint16_t index)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (list[middle] == index)
			return true;
		if (list[middle] < index)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool list_common(const uint16_t *a, size_t a_count, const uint16_t *b, size_t b_count, uint16_t *out)
{
	for (size_t i = 0, k = 0; i < a_count && k < b_count;) {
		if (a[i] == b[k]) {
			*out = a[i];
			return true;
		}
		if (a[i] < b[k])
			i++;
		else
			k++;
	}
	return false;
}

/* ---- rights ---- */

static void add_allow(struct analysis *a, const struct policy_rule *r)
{
	for (size_t i = 0; i < r->subject_count; i++) {
		struct analysis_cell *row = &a->cells[r->subjects[i] * a->objects];
		for (size_t k = 0; k < r->object_count; k++) {
			struct analysis_cell *c = &row[r->objects[k]];
			if (r->predicates == 0)
				c->allow |= r->permissions;
			for (unsigned b = 0; b < ANALYSIS_PREDICATES; b++)
				if ((r->predicates & 1u << b) != 0)
					c->by[b] |= r->permissions;
			if (r->audit)
				c->audit |= r->permissions;
		}
	}
}

static void add_audit(struct analysis *a, const struct policy_audit *r)
{
	for (size_t i = 0; i < r->subject_count; i++)
		for (size_t k = 0; k < r->object_count; k++)
			a->cells[r->subjects[i] * a->objects + r->objects[k]].audit |= r->permissions;
}

const struct policy *analysis_policy(const struct analysis *a)
{
	return a->p;
}

struct analysis_right analysis_right(const struct analysis *a, uint16_t subject, uint16_t object)
{
	if (subject >= a->subjects || object >= a->objects)
		return (struct analysis_right){ 0 };
	const struct analysis_cell *c = cell_of(a, subject, object);
	uint32_t conditional = cell_conditional(c);
	return (struct analysis_right){ c->allow, conditional, c->audit & (c->allow | conditional) };
}

size_t analysis_rules(const struct analysis *a, uint16_t subject, uint16_t object, uint32_t permission, const struct policy_rule **out, size_t max)
{
	size_t count = 0;

	if (object == 0 || object >= a->objects)
		return 0;
	enum policy_class class = a->p->objects[object].class;
	for (size_t i = 0; i < a->p->allow_count; i++) {
		const struct policy_rule *r = &a->p->allows[i];
		if (r->class != class || (r->permissions & permission) == 0 || !list_has(r->subjects, r->subject_count, subject) ||
		    !list_has(r->objects, r->object_count, object))
			continue;
		if (count < max)
			out[count] = r;
		count++;
	}
	return count;
}

/* ---- who becomes whom ---- */

/* Edges in the order of their subject on either side, then of the other side; those without a ticket first. */
static const struct policy_enter **edges_by(struct arena *arena, const struct policy *p, bool from, uint32_t *begin)
{
	const struct policy_enter **edges = arena_array(arena, p->enter_count, sizeof(*edges));
	uint32_t at[POLICY_SUBJECTS_MAX + 2] = { 0 };

	if (edges == NULL)
		return NULL;
	for (size_t i = 0; i < p->enter_count; i++)
		begin[(from ? p->enters[i].from : p->enters[i].to) + 1]++;
	for (size_t i = 0; i < p->subject_count; i++) {
		begin[i + 1] += begin[i];
		at[i] = begin[i];
	}
	for (size_t i = 0; i < p->enter_count; i++)
		edges[at[from ? p->enters[i].from : p->enters[i].to]++] = &p->enters[i];
	return edges;
}

void analysis_ways(const struct analysis *a, const bool *goal, struct analysis_ways *out)
{
	uint16_t queue[POLICY_SUBJECTS_MAX + 1];
	size_t head = 0, tail = 0;

	*out = (struct analysis_ways){ 0 };
	for (size_t i = 1; i < a->subjects; i++) {
		if (!goal[i])
			continue;
		out->next[i] = (uint16_t)i;
		queue[tail++] = (uint16_t)i;
	}
	while (head < tail) {
		uint16_t to = queue[head++];
		for (uint32_t e = a->in_begin[to]; e < a->in_begin[to + 1]; e++) {
			uint16_t from = a->in[e]->from;
			if (out->next[from] == 0) {
				out->next[from] = to;
				out->steps[from] = (uint16_t)(out->steps[to] + 1);
				queue[tail++] = from;
			} else if (out->steps[from] == out->steps[to] + 1 && to < out->next[from]) {
				out->next[from] = to;
			}
		}
	}
}

void analysis_reach(const struct analysis *a, const uint16_t *from, size_t count, bool *reached)
{
	uint16_t queue[POLICY_SUBJECTS_MAX + 1];
	size_t head = 0, tail = 0;

	for (size_t i = 0; i < count; i++) {
		reached[from[i]] = true;
		queue[tail++] = from[i];
	}
	while (head < tail) {
		uint16_t at = queue[head++];
		for (uint32_t e = a->out_begin[at]; e < a->out_begin[at + 1]; e++) {
			if (reached[a->out[e]->to])
				continue;
			reached[a->out[e]->to] = true;
			queue[tail++] = a->out[e]->to;
		}
	}
}

size_t analysis_way(const struct analysis_ways *w, uint16_t from, uint16_t *path, size_t max)
{
	size_t count = 0;

	if (w->next[from] == 0)
		return 0;
	for (uint16_t at = from;; at = w->next[at]) {
		if (count < max)
			path[count] = at;
		count++;
		if (w->next[at] == at)
			return count;
	}
}

size_t analysis_path(const struct analysis *a, uint16_t from, uint16_t to, uint16_t *path, size_t path_max)
{
	bool goal[POLICY_SUBJECTS_MAX + 1] = { false };
	struct analysis_ways ways;

	if (from == 0 || to == 0 || from >= a->subjects || to >= a->subjects)
		return 0;
	goal[to] = true;
	analysis_ways(a, goal, &ways);
	return analysis_way(&ways, from, path, path_max);
}

const struct policy_enter *analysis_edge(const struct analysis *a, uint16_t from, uint16_t to)
{
	const struct policy_enter *found = NULL;

	for (uint32_t e = a->out_begin[from]; e < a->out_begin[from + 1]; e++)
		if (a->out[e]->to == to && (found == NULL || (found->ticket && !a->out[e]->ticket)))
			found = a->out[e];
	return found;
}

void analysis_way_text(struct buf *out, const struct analysis *a, const struct analysis_ways *w, uint16_t from)
{
	buf_adds(out, policy_subject_text(a->p, from));
	while (w->next[from] != from) {
		const struct policy_enter *e = analysis_edge(a, from, w->next[from]);
		buf_printf(out, " -> %s%s", policy_subject_text(a->p, w->next[from]), e != NULL && e->ticket ? " (with ticket)" : "");
		from = w->next[from];
	}
}

/* ---- link-time sets ---- */

static int name_order(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool use_taken(const struct policy *p, size_t subject, enum policy_use kind, const char *name)
{
	for (size_t i = 0; i < p->use_count; i++) {
		const struct policy_use_rule *u = &p->uses[i];
		if (!u->never || u->kind != kind || !list_has(u->subjects, u->subject_count, (uint16_t)subject))
			continue;
		for (size_t k = 0; k < u->name_count; k++)
			if (strcmp(u->names[k], name) == 0)
				return true;
	}
	return false;
}

/* One rule's names are sorted already, and most subjects have one rule a kind: then its own array serves. */
static int make_uses(struct arena *arena, struct analysis *a, size_t subject, enum policy_use kind, bool nevers)
{
	struct use_set *set = &a->uses[subject * POLICY_USE_COUNT + kind];
	const struct policy_use_rule *only = NULL;
	size_t total = 0, rules = 0, kept = 0;

	for (size_t i = 0; i < a->p->use_count; i++) {
		const struct policy_use_rule *u = &a->p->uses[i];
		if (u->never || u->kind != kind || !list_has(u->subjects, u->subject_count, (uint16_t)subject))
			continue;
		only = u;
		rules++;
		total += u->name_count;
	}
	if (rules == 0 || (rules == 1 && !nevers)) {
		*set = rules == 0 ? (struct use_set){ 0 } : (struct use_set){ only->names, only->name_count };
		return 0;
	}
	const char **names = arena_array(arena, total, sizeof(*names));
	if (names == NULL)
		return -ENOMEM;
	total = 0;
	for (size_t i = 0; i < a->p->use_count; i++) {
		const struct policy_use_rule *u = &a->p->uses[i];
		if (u->never || u->kind != kind || !list_has(u->subjects, u->subject_count, (uint16_t)subject))
			continue;
		for (size_t k = 0; k < u->name_count; k++)
			if (!nevers || !use_taken(a->p, subject, kind, u->names[k]))
				names[total++] = u->names[k];
	}
	qsort(names, total, sizeof(*names), name_order);
	for (size_t i = 0; i < total; i++)
		if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0)
			names[kept++] = names[i];
	*set = (struct use_set){ names, kept };
	return 0;
}

static int all_uses(struct arena *arena, struct analysis *a)
{
	bool has[POLICY_SUBJECTS_MAX + 1][POLICY_USE_COUNT] = { { false } }, nevers = false;

	for (size_t i = 0; i < a->p->use_count; i++) {
		const struct policy_use_rule *u = &a->p->uses[i];
		nevers |= u->never;
		for (size_t k = 0; k < u->subject_count; k++)
			has[u->subjects[k]][u->kind] |= !u->never;
	}
	for (size_t s = 1; s < a->subjects; s++)
		for (unsigned kind = 0; kind < POLICY_USE_COUNT; kind++)
			if (has[s][kind] && make_uses(arena, a, s, kind, nevers) != 0)
				return -ENOMEM;
	return 0;
}

size_t analysis_uses(const struct analysis *a, uint16_t subject, enum policy_use kind, const char *const **out)
{
	if (subject >= a->subjects || (size_t)kind >= POLICY_USE_COUNT)
		return 0;
	const struct use_set *set = &a->uses[subject * POLICY_USE_COUNT + kind];
	*out = set->names;
	return set->count;
}

bool analysis_use_revocable(const struct analysis *a, uint16_t subject, enum policy_use kind, const char *name)
{
	for (size_t i = 0; i < a->p->use_count; i++) {
		const struct policy_use_rule *u = &a->p->uses[i];
		if (u->never || !u->revocable || u->kind != kind || !list_has(u->subjects, u->subject_count, subject))
			continue;
		for (size_t k = 0; k < u->name_count; k++)
			if (policy_use_covers(kind, u->names[k], name))
				return true;
	}
	return false;
}

int analysis_new(struct arena *arena, const struct policy *p, const struct analysis **out)
{
	must(p->subject_count <= POLICY_SUBJECTS_MAX + 1);
	struct analysis *a = ARENA_NEW(arena, struct analysis);
	if (a == NULL)
		return -ENOMEM;
	a->p = p;
	a->subjects = p->subject_count;
	a->objects = p->object_count;
	a->cells = arena_array(arena, a->subjects * a->objects, sizeof(*a->cells));
	a->out_begin = arena_array(arena, a->subjects + 1, sizeof(*a->out_begin));
	a->in_begin = arena_array(arena, a->subjects + 1, sizeof(*a->in_begin));
	a->uses = arena_array(arena, a->subjects * POLICY_USE_COUNT, sizeof(*a->uses));
	if (arena->err != 0)
		return -ENOMEM;
	a->out = edges_by(arena, p, true, a->out_begin);
	a->in = edges_by(arena, p, false, a->in_begin);
	if (a->out == NULL || a->in == NULL || all_uses(arena, a) != 0)
		return -ENOMEM;
	for (size_t i = 0; i < p->allow_count; i++)
		add_allow(a, &p->allows[i]);
	for (size_t i = 0; i < p->audit_count; i++)
		add_audit(a, &p->audits[i]);
	*out = a;
	return 0;
}
