#include "policy/analysis/learn.h"
#include "policy/analysis/analysis_private.h"
#include "policy/analysis/cover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct learner {
	struct arena *arena;
	const struct analysis *a;
	struct analysis_observation *wanted;	/* each (subject, object, permission) once, allowed by no rule, forbidden by no never */
	size_t count;
	struct analysis_lesson lesson;
};

static int observation_order(const void *x, const void *y)
{
	const struct analysis_observation *a = x, *b = y;

	return a->subject != b->subject	      ? (int)a->subject - (int)b->subject :
	       a->object != b->object	      ? (int)a->object - (int)b->object :
	       a->permission != b->permission ? (a->permission > b->permission) - (a->permission < b->permission) :
						0;
}

static void judge(struct learner *l, const struct analysis_observation *o)
{
	if (o->subject == 0 || o->object == 0 || o->subject >= l->a->subjects || o->object >= l->a->objects) {
		l->lesson.unlabelled += o->count;
		return;
	}
	const struct analysis_cell *c = cell_of(l->a, o->subject, o->object);
	if ((c->allow & o->permission) != 0 || (cell_predicates(c, o->permission) & o->holds) != 0) {
		l->lesson.already += o->count;
		return;
	}
	const struct policy_rule *never = analysis_forbidden(l->a, o->subject, o->object, o->permission);
	if (never != NULL)
		l->lesson.refused[l->lesson.refused_count++] = (struct analysis_refused){ *o, never };
	else
		l->wanted[l->count++] = *o;
}

/* One for each pair and permission; what holds for all of them. */
static int put_together(struct learner *l, const struct analysis_observation *seen, size_t count)
{
	struct analysis_observation *all = arena_array(l->arena, count, sizeof(*all));
	size_t kept = 0;

	l->wanted = arena_array(l->arena, count, sizeof(*l->wanted));
	l->lesson.refused = arena_array(l->arena, count, sizeof(*l->lesson.refused));
	if (l->arena->err != 0)
		return -ENOMEM;
	if (count == 0)
		return 0;
	memcpy(all, seen, count * sizeof(*all));
	qsort(all, count, sizeof(*all), observation_order);
	for (size_t i = 0; i < count; i++) {
		if (kept > 0 && observation_order(&all[kept - 1], &all[i]) == 0) {
			all[kept - 1].holds &= all[i].holds;
			all[kept - 1].count += all[i].count;
		} else {
			all[kept++] = all[i];
		}
	}
	if (kept > ANALYSIS_OBSERVATIONS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < kept; i++)
		judge(l, &all[i]);
	return 0;
}

/* ---- one class under one predicate is one table ---- */

struct group {
	enum policy_class class;
	uint32_t predicate;		/* one bit, or 0 */
	uint16_t *subjects, *objects;	/* indices of its rows and columns, sorted */
	size_t subject_count, object_count;
	uint32_t *want, *may;
};

static bool in_group(const struct learner *l, const struct group *g, const struct analysis_observation *o)
{
	return l->a->p->objects[o->object].class == g->class && (o->holds & -o->holds) == g->predicate;
}

static size_t place(const uint16_t *list, size_t count, uint16_t index)
{
	size_t i = 0;

	while (i < count && list[i] != index)
		i++;
	return i;
}

static int group_table(struct learner *l, struct group *g)
{
	bool *object_seen = arena_array(l->arena, l->a->objects, sizeof(bool)), *subject_seen = arena_array(l->arena, l->a->subjects, sizeof(bool));

	g->subjects = arena_array(l->arena, l->a->subjects, sizeof(*g->subjects));
	g->objects = arena_array(l->arena, l->a->objects, sizeof(*g->objects));
	if (l->arena->err != 0)
		return -ENOMEM;
	for (size_t i = 0; i < l->count; i++)
		if (in_group(l, g, &l->wanted[i]))
			object_seen[l->wanted[i].object] = subject_seen[l->wanted[i].subject] = true;
	for (uint16_t i = 1; i < l->a->subjects; i++)
		if (subject_seen[i])
			g->subjects[g->subject_count++] = i;
	for (uint16_t i = 1; i < l->a->objects; i++)
		if (object_seen[i])
			g->objects[g->object_count++] = i;
	g->want = arena_array(l->arena, g->subject_count * g->object_count, sizeof(*g->want));
	g->may = arena_array(l->arena, g->subject_count * g->object_count, sizeof(*g->may));
	if (l->arena->err != 0)
		return -ENOMEM;
	for (size_t i = 0; i < l->count; i++)
		if (in_group(l, g, &l->wanted[i]))
			g->want[place(g->subjects, g->subject_count, l->wanted[i].subject) * g->object_count +
				place(g->objects, g->object_count, l->wanted[i].object)] |= l->wanted[i].permission;
	/* What is allowed already may stand in a rule without opening anything. */
	for (size_t s = 0; s < g->subject_count; s++) {
		for (size_t o = 0; o < g->object_count; o++) {
			const struct analysis_cell *c = cell_of(l->a, g->subjects[s], g->objects[o]);
			uint32_t *may = &g->may[s * g->object_count + o];
			*may = g->want[s * g->object_count + o] | c->allow;
			for (unsigned b = 0; b < ANALYSIS_PREDICATES; b++)
				*may |= g->predicate == 1u << b ? c->by[b] : 0;
		}
	}
	return 0;
}

static int add_rule(struct learner *l, const struct group *g, const struct cover_box *box)
{
	struct analysis_lesson_rule *r = &l->lesson.rules[l->lesson.rule_count];
	uint16_t *subjects = arena_array(l->arena, box->subject_count, sizeof(*subjects)), *objects = arena_array(l->arena, box->object_count, sizeof(*objects));

	if (l->arena->err != 0)
		return -ENOMEM;
	for (size_t i = 0; i < box->subject_count; i++)
		subjects[i] = g->subjects[box->subjects[i]];
	for (size_t i = 0; i < box->object_count; i++)
		objects[i] = g->objects[box->objects[i]];
	r->rule = (struct policy_rule){ subjects, (uint16_t)box->subject_count, g->class, box->permissions, objects, (uint16_t)box->object_count, g->predicate };
	for (size_t i = 0; i < l->count; i++)
		if (in_group(l, g, &l->wanted[i]) && (l->wanted[i].permission & box->permissions) != 0 &&
		    list_has(subjects, box->subject_count, l->wanted[i].subject) && list_has(objects, box->object_count, l->wanted[i].object))
			r->covers += l->wanted[i].count;
	r->line = analysis_allow_text(l->arena, l->a, &r->rule);
	l->lesson.rule_count++;
	return r->line == NULL ? -ENOMEM :
				 analysis_opens(l->arena, l->a, subjects, box->subject_count, objects, box->object_count, g->predicate, &r->opens);
}

static int learn_group(struct learner *l, struct group *g)
{
	const struct cover_box *boxes;
	bool smallest;
	size_t count;
	int err = group_table(l, g);

	if (err != 0 || g->subject_count == 0)
		return err;
	err = cover_find(l->arena, &(struct cover_table){ g->subject_count, g->object_count, g->want, g->may }, &boxes, &count, &smallest);
	for (size_t i = 0; err == 0 && i < count; i++)
		err = add_rule(l, g, &boxes[i]);
	if (err == 0)
		l->lesson.smallest &= smallest;
	return err;
}

int analysis_learn(struct arena *arena, const struct analysis *a, const struct analysis_observation *seen, size_t count, struct analysis_lesson *out)
{
	struct learner l = { .arena = arena, .a = a, .lesson = { .smallest = true } };
	int err = put_together(&l, seen, count);

	if (err == 0) {
		l.lesson.rules = arena_array(arena, l.count, sizeof(*l.lesson.rules));
		err = l.lesson.rules == NULL ? -ENOMEM : 0;
	}
	for (unsigned c = POLICY_CLASS_NONE + 1; err == 0 && c < POLICY_CLASS_COUNT; c++)
		for (uint32_t predicate = 0; err == 0 && predicate <= 1u << (ANALYSIS_PREDICATES - 1); predicate = predicate == 0 ? 1 : predicate << 1)
			err = learn_group(&l, &(struct group){ .class = (enum policy_class)c, .predicate = predicate });
	if (err == 0)
		*out = l.lesson;
	return err;
}
