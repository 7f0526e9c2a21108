/*
 * The difference of two policies in decisions. Labels are the same when their names are (and the class, of objects); then cells are compared, so a
 * policy that says the same in other words has no difference.
 */
#include "policy/analysis/analysis_private.h"
#include "policy/analysis/words.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define NOT_THERE UINT16_MAX

struct differ {
	struct arena *arena;
	const struct analysis *before, *after;
	uint16_t *subject_before, *object_before;	/* [index after]: index before, or NOT_THERE */
	uint16_t *subject_after, *object_after;		/* [index before]: index after, or NOT_THERE */
	struct analysis_change *changes;	/* malloc'd */
	size_t count, room;
	bool failed;
};

static struct analysis_change *add(struct differ *d, const char *subject, const char *object)
{
	static struct analysis_change nowhere;

	if (d->count == d->room) {
		size_t room = d->room == 0 ? 64 : 2 * d->room;
		struct analysis_change *grown = d->failed ? NULL : reallocarray(d->changes, room, sizeof(*grown));
		if (grown == NULL) {
			d->failed = true;
			return &nowhere;
		}
		d->changes = grown;
		d->room = room;
	}
	d->changes[d->count] = (struct analysis_change){ .subject = subject, .object = object };
	return &d->changes[d->count++];
}

/* Text of a change in words; b is emptied. */
static void say(struct differ *d, const char *subject, const char *object, struct buf *b)
{
	struct analysis_change *c = add(d, subject, object);

	c->what = arena_str(d->arena, buf_slice(b));
	if (c->what == NULL)
		d->failed = true;
	buf_reset(b);
}

/* ---- matching names ---- */

struct named {
	const char *name;
	uint16_t index, class;
};

static int named_order(const void *x, const void *y)
{
	const struct named *a = x, *b = y;
	int order = strcmp(a->name, b->name);

	return order != 0 ? order : (a->class > b->class) - (a->class < b->class);
}

static struct named *names_of(struct arena *arena, const struct policy *p, bool objects, size_t count)
{
	struct named *names = arena_array(arena, count, sizeof(*names));

	for (size_t i = 0; names != NULL && i < count; i++)
		names[i] = objects ? (struct named){ p->objects[i].name, (uint16_t)i, (uint16_t)p->objects[i].class } :
				     (struct named){ p->subjects[i].name, (uint16_t)i, 0 };
	if (names != NULL && count > 0)
		qsort(names, count, sizeof(*names), named_order);
	return names;
}

static int match(struct differ *d, bool objects, uint16_t **to_before, uint16_t **to_after)
{
	size_t before_count = objects ? d->before->objects : d->before->subjects, after_count = objects ? d->after->objects : d->after->subjects;
	struct named *before = names_of(d->arena, d->before->p, objects, before_count);
	struct named *after = names_of(d->arena, d->after->p, objects, after_count);

	*to_before = arena_array(d->arena, after_count, sizeof(**to_before));
	*to_after = arena_array(d->arena, before_count, sizeof(**to_after));
	if (d->arena->err != 0)
		return -ENOMEM;
	memset(*to_before, 0xff, after_count * sizeof(**to_before));
	memset(*to_after, 0xff, before_count * sizeof(**to_after));
	for (size_t i = 0, k = 0; i < before_count && k < after_count;) {
		int order = named_order(&before[i], &after[k]);
		if (order == 0) {
			(*to_before)[after[k].index] = before[i].index;
			(*to_after)[before[i].index] = after[k].index;
		}
		i += order <= 0;
		k += order >= 0;
	}
	return 0;
}

/* ---- labels ---- */

static void object_changes(struct differ *d, struct buf *b)
{
	for (size_t i = 1; i < d->after->objects; i++) {
		const struct policy_object *now = &d->after->p->objects[i];
		AUTO_BUF struct buf was = BUF_INIT(POLICY_STRING_BYTES_MAX * 3);
		words_object(b, now);
		if (d->object_before[i] != NOT_THERE)
			words_object(&was, &d->before->p->objects[d->object_before[i]]);
		bool same = slice_eq(buf_slice(b), buf_slice(&was));
		buf_reset(b);
		if (same || now->kind == POLICY_SINGLE)
			continue;
		buf_adds(b, was.len == 0 ? "the label is new: " : "the label is now ");
		words_object(b, now);
		if (was.len != 0)
			buf_printf(b, " (was %.*s)", SLICE_FMT(buf_slice(&was)));
		say(d, NULL, now->name, b);
	}
	for (size_t i = 1; i < d->before->objects; i++) {
		if (d->object_after[i] != NOT_THERE || d->before->p->objects[i].kind == POLICY_SINGLE)
			continue;
		buf_adds(b, "the label is gone: ");
		words_object(b, &d->before->p->objects[i]);
		say(d, NULL, d->before->p->objects[i].name, b);
	}
}

static void limits_text(struct buf *out, const struct policy_subject *s)
{
	if (s->instructions_max != 0)
		buf_printf(out, " instructions %u", s->instructions_max);
	if (s->cpu_permille != 0)
		buf_printf(out, " cpu %u.%u%%", s->cpu_permille / 10, s->cpu_permille % 10);
	if (s->memory_bytes_max != 0)
		buf_printf(out, " memory %llu", (unsigned long long)s->memory_bytes_max);
	buf_printf(out, "%s%s%s", s->unbounded ? " unbounded" : "", s->terminal ? " terminal" : "", s->tail_calls ? " tail-calls" : "");
	if (out->len == 0)
		buf_adds(out, " none but the defaults");
}

static void definition_changes(struct differ *d, const struct policy_subject *was, const struct policy_subject *now, struct buf *b)
{
	AUTO_BUF struct buf old = BUF_INIT(8192), new = BUF_INIT(8192);

	words_subject(&old, was);
	words_subject(&new, now);
	if (!slice_eq(buf_slice(&old), buf_slice(&new))) {
		buf_printf(b, "is now %.*s (was %.*s)", SLICE_FMT(buf_slice(&new)), SLICE_FMT(buf_slice(&old)));
		say(d, now->name, NULL, b);
	}
	buf_reset(&old);
	buf_reset(&new);
	limits_text(&old, was);
	limits_text(&new, now);
	if (!slice_eq(buf_slice(&old), buf_slice(&new))) {
		buf_printf(b, "limits are now:%.*s (were:%.*s)", SLICE_FMT(buf_slice(&new)), SLICE_FMT(buf_slice(&old)));
		say(d, now->name, NULL, b);
	}
	if (was->trial_until != now->trial_until) {
		buf_adds(b, now->trial_until == 0 ? "is not on trial any more: what it may not is denied" :
			    was->trial_until == 0 ? "is on trial now: what it may not is let through and recorded" : "its trial ends at another time");
		say(d, now->name, NULL, b);
	}
}

/* ---- enter ---- */

static void edge_text(struct buf *out, const struct policy *p, const struct policy_enter *e)
{
	buf_printf(out, "enter %s%s", p->subjects[e->to].name, e->ticket ? " with ticket" : "");
	if (e->seconds != 0) {
		buf_adds(out, " for ");
		words_duration(out, e->seconds);
	}
	if (e->audit)
		buf_adds(out, ", recorded");
}

/* By names, since indices differ. Subjects may have many edges, so texts are made for differences only. */
static bool has_edge(const struct analysis *a, uint16_t from, const struct policy *p, const struct policy_enter *edge)
{
	if (from == NOT_THERE)
		return false;
	for (uint32_t e = a->out_begin[from]; e < a->out_begin[from + 1]; e++) {
		const struct policy_enter *other = a->out[e];
		if (other->ticket == edge->ticket && other->audit == edge->audit && other->seconds == edge->seconds &&
		    strcmp(a->p->subjects[other->to].name, p->subjects[edge->to].name) == 0)
			return true;
	}
	return false;
}

static void edge_changes(struct differ *d, const struct analysis *one, uint16_t from, const struct analysis *other, uint16_t other_from,
			 const char *verb, struct buf *b)
{
	for (uint32_t e = one->out_begin[from]; e < one->out_begin[from + 1]; e++) {
		if (has_edge(other, other_from, one->p, one->out[e]))
			continue;
		buf_printf(b, "%s ", verb);
		edge_text(b, one->p, one->out[e]);
		say(d, one->p->subjects[from].name, NULL, b);
	}
}

/* ---- uses ---- */

static void use_change(struct differ *d, const char *subject, enum policy_use kind, const char *name, bool gained)
{
	struct analysis_change *c = add(d, subject, NULL);

	c->use = kind;
	c->use_name = name;
	c->use_gained = gained;
}

static void revocable_change(struct differ *d, uint16_t was, uint16_t now, enum policy_use kind, const char *name, struct buf *b)
{
	bool before = analysis_use_revocable(d->before, was, kind, name), after = analysis_use_revocable(d->after, now, kind, name);

	if (before == after)
		return;
	buf_printf(b, "use %s %s: %s at run time", policy_use_name(kind), name, after ? "now checked" : "not checked any more");
	say(d, d->after->p->subjects[now].name, NULL, b);
}

static void use_changes(struct differ *d, uint16_t was, uint16_t now, struct buf *b)
{
	const char *subject = now != NOT_THERE ? d->after->p->subjects[now].name : d->before->p->subjects[was].name;

	for (unsigned kind = 0; kind < POLICY_USE_COUNT; kind++) {
		const char *const *before = NULL, *const *after = NULL;
		size_t before_count = was == NOT_THERE ? 0 : analysis_uses(d->before, was, kind, &before);
		size_t after_count = now == NOT_THERE ? 0 : analysis_uses(d->after, now, kind, &after);
		for (size_t i = 0, k = 0; i < before_count || k < after_count;) {
			int order = i == before_count ? 1 : k == after_count ? -1 : strcmp(before[i], after[k]);
			if (order != 0)
				use_change(d, subject, kind, order < 0 ? before[i] : after[k], order > 0);
			else
				revocable_change(d, was, now, kind, after[k], b);
			i += order <= 0;
			k += order >= 0;
		}
	}
}

/* ---- rights ---- */

static void cell_change(struct differ *d, const char *subject, const struct policy_object *o, const struct analysis_cell *was,
			const struct analysis_cell *now, struct buf *b)
{
	uint32_t was_conditional = cell_conditional(was), now_conditional = cell_conditional(now);
	uint32_t had = was->allow | was_conditional, has = now->allow | now_conditional, both = was_conditional & now_conditional, audited;
	uint32_t gained = has & ~had, lost = had & ~has, stricter = was->allow & now_conditional, looser = was_conditional & now->allow;

	if ((gained | lost | stricter | looser) != 0) {
		struct analysis_change *c = add(d, subject, o->name);
		c->class = o->class;
		c->gained = gained;
		c->lost = lost;
		c->now_conditional = stricter;
		c->now_unconditional = looser;
	}
	for (uint32_t left = ((was->by[0] ^ now->by[0]) | (was->by[1] ^ now->by[1])) & both; left != 0; left &= left - 1) {
		buf_printf(b, "%s: now where ", policy_permission_name(o->class, left & -left));
		words_predicates(b, cell_predicates(now, left & -left));
		buf_adds(b, " (was: where ");
		words_predicates(b, cell_predicates(was, left & -left));
		buf_addc(b, ')');
		say(d, subject, o->name, b);
	}
	audited = (was->audit ^ now->audit) & had & has;
	for (unsigned on = 0; on < 2; on++) {
		uint32_t which = audited & (on ? now->audit : was->audit);
		if (which == 0)
			continue;
		buf_adds(b, on ? "always recorded now: " : "not recorded any more when allowed: ");
		words_permissions(b, o->class, which);
		say(d, subject, o->name, b);
	}
}

static void row_changes(struct differ *d, uint16_t was, uint16_t now, bool same_objects, struct buf *b)
{
	static const struct analysis_cell nothing;
	const struct analysis_cell *before = was == NOT_THERE ? NULL : cell_of(d->before, was, 0);
	const struct analysis_cell *after = now == NOT_THERE ? NULL : cell_of(d->after, now, 0);
	const char *subject = now != NOT_THERE ? d->after->p->subjects[now].name : d->before->p->subjects[was].name;

	if (same_objects && before != NULL && after != NULL && memcmp(before, after, d->after->objects * sizeof(*after)) == 0)
		return;
	for (size_t i = 1; after != NULL && i < d->after->objects; i++) {
		uint16_t k = d->object_before[i];
		const struct analysis_cell *old = before == NULL || k == NOT_THERE ? &nothing : &before[k];
		if (memcmp(old, &after[i], sizeof(*old)) != 0)
			cell_change(d, subject, &d->after->p->objects[i], old, &after[i], b);
	}
	for (size_t i = 1; before != NULL && i < d->before->objects; i++)
		if ((after == NULL || d->object_after[i] == NOT_THERE) && memcmp(&before[i], &nothing, sizeof(nothing)) != 0)
			cell_change(d, subject, &d->before->p->objects[i], &before[i], &nothing, b);
}

static bool same_order(const uint16_t *to, size_t count, size_t other_count)
{
	for (size_t i = 0; i < count; i++)
		if (to[i] != i)
			return false;
	return count == other_count;
}

static void compare(struct differ *d, struct buf *b)
{
	bool same_objects = same_order(d->object_before, d->after->objects, d->before->objects);

	object_changes(d, b);
	for (uint16_t now = 1; now < d->after->subjects; now++) {
		uint16_t was = d->subject_before[now];
		const struct policy_subject *s = &d->after->p->subjects[now];
		if (was == NOT_THERE) {
			buf_adds(b, "is new: ");
			words_subject(b, s);
			say(d, s->name, NULL, b);
		} else {
			definition_changes(d, &d->before->p->subjects[was], s, b);
			edge_changes(d, d->before, was, d->after, now, "may no more", b);
		}
		edge_changes(d, d->after, now, d->before, was, "may now", b);
		use_changes(d, was, now, b);
		row_changes(d, was, now, same_objects, b);
	}
	for (uint16_t was = 1; was < d->before->subjects; was++) {
		if (d->subject_after[was] != NOT_THERE)
			continue;
		buf_adds(b, "is gone");
		say(d, d->before->p->subjects[was].name, NULL, b);
		edge_changes(d, d->before, was, d->after, NOT_THERE, "may no more", b);
		use_changes(d, was, NOT_THERE, b);
		row_changes(d, was, NOT_THERE, same_objects, b);
	}
}

int analysis_diff(struct arena *arena, const struct analysis *before, const struct analysis *after, struct analysis_change **out, size_t *count)
{
	struct differ d = { .arena = arena, .before = before, .after = after };
	AUTO_BUF struct buf b = BUF_INIT(65536);

	if (match(&d, false, &d.subject_before, &d.subject_after) != 0 || match(&d, true, &d.object_before, &d.object_after) != 0)
		return -ENOMEM;
	compare(&d, &b);
	struct analysis_change *changes = d.failed ? NULL : arena_array(arena, d.count, sizeof(*changes));
	if (changes != NULL && d.count > 0)
		memcpy(changes, d.changes, d.count * sizeof(*changes));
	free(d.changes);
	if (changes == NULL)
		return -ENOMEM;
	*out = changes;
	*count = d.count;
	return 0;
}
