#include "spine/code/rule_term.h"

#include <errno.h>

#include "base/attr.h"
#include "base/must.h"

const struct ranges ranges_none = { 0 };

u128 rule_field_max(enum rule_field f)
{
	return f == FIELD_DST6 || f == FIELD_SRC6 ? ~(u128)0 : UINT32_MAX;
}

/* ---- ranges ---- */

/* Ranges being made: `room` is exact or more, so that adding cannot fail. */
struct maker {
	struct range *at;
	size_t count, room;
};

static bool maker_init(struct maker *m, struct arena *arena, size_t room)
{
	*m = (struct maker){ .at = arena_array(arena, room, sizeof(*m->at)), .room = room };
	return m->at != NULL;
}

/* In ascending order of `first`; joins what touches. */
static void maker_add(struct maker *m, u128 first, u128 last)
{
	struct range *end = m->count == 0 ? NULL : &m->at[m->count - 1];

	if (end != NULL && (first <= end->last || first - 1 == end->last)) {
		end->last = MAX(end->last, last);
		return;
	}
	must(m->count < m->room);
	m->at[m->count++] = (struct range){ first, last };
}

static const struct ranges *maker_done(struct maker *m, struct arena *arena)
{
	struct ranges *r;

	if (m->count == 0)
		return &ranges_none;
	r = ARENA_NEW(arena, struct ranges);
	if (r != NULL)
		*r = (struct ranges){ m->count, m->at };
	return r;
}

const struct ranges *ranges_one(struct arena *arena, u128 first, u128 last)
{
	struct maker m;

	if (!maker_init(&m, arena, 1))
		return NULL;
	maker_add(&m, first, last);
	return maker_done(&m, arena);
}

const struct ranges *ranges_union(struct arena *arena, const struct ranges *a, const struct ranges *b)
{
	struct maker m;
	size_t i = 0, j = 0;

	if (!maker_init(&m, arena, a->count + b->count))
		return NULL;
	while (i < a->count || j < b->count) {
		bool left = j == b->count || (i < a->count && a->at[i].first <= b->at[j].first);
		const struct range *next = left ? &a->at[i++] : &b->at[j++];

		maker_add(&m, next->first, next->last);
	}
	return maker_done(&m, arena);
}

const struct ranges *ranges_intersect(struct arena *arena, const struct ranges *a, const struct ranges *b)
{
	struct maker m;

	if (!maker_init(&m, arena, a->count + b->count))
		return NULL;
	for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
		u128 first = MAX(a->at[i].first, b->at[j].first);
		u128 last = MIN(a->at[i].last, b->at[j].last);

		if (first <= last)
			maker_add(&m, first, last);
		if (a->at[i].last < b->at[j].last)
			i++;
		else
			j++;
	}
	return maker_done(&m, arena);
}

const struct ranges *ranges_subtract(struct arena *arena, const struct ranges *a, const struct ranges *b)
{
	struct maker m;
	size_t j = 0;

	if (!maker_init(&m, arena, a->count + b->count))
		return NULL;
	for (size_t i = 0; i < a->count; i++) {
		u128 first = a->at[i].first, last = a->at[i].last;
		bool left = true;

		while (j < b->count && b->at[j].last < first)
			j++;
		for (size_t k = j; left && k < b->count && b->at[k].first <= last; k++) {
			if (b->at[k].first > first)
				maker_add(&m, first, b->at[k].first - 1);
			left = b->at[k].last < last;
			if (left)
				first = b->at[k].last + 1;
		}
		if (left)
			maker_add(&m, first, last);
	}
	return maker_done(&m, arena);
}

bool ranges_has(const struct ranges *r, u128 value)
{
	for (size_t i = 0; i < r->count && r->at[i].first <= value; i++) {
		if (value <= r->at[i].last)
			return true;
	}
	return false;
}

bool ranges_meet(const struct ranges *a, const struct ranges *b)
{
	for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
		if (a->at[i].last < b->at[j].first)
			i++;
		else if (b->at[j].last < a->at[i].first)
			j++;
		else
			return true;
	}
	return false;
}

static bool ranges_equal(const struct ranges *a, const struct ranges *b)
{
	if (a == b)
		return true;
	if (a == NULL || b == NULL || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (a->at[i].first != b->at[i].first || a->at[i].last != b->at[i].last)
			return false;
	}
	return true;
}

/* b is inside a; NULL is everything. */
static bool ranges_inside(const struct ranges *a, const struct ranges *b)
{
	size_t i = 0;

	if (a == NULL || b == NULL)
		return a == NULL;
	for (size_t j = 0; j < b->count; j++) {
		while (i < a->count && a->at[i].last < b->at[j].first)
			i++;
		if (i == a->count || a->at[i].first > b->at[j].first || a->at[i].last < b->at[j].last)
			return false;
	}
	return true;
}

/* ---- terms ---- */

bool term_disjoint(const struct term *a, const struct term *b)
{
	if ((a->in & b->out) != 0 || (a->out & b->in) != 0)
		return true;
	for (int f = 0; f < FIELD_COUNT; f++) {
		if (a->field[f] != NULL && b->field[f] != NULL && !ranges_meet(a->field[f], b->field[f]))
			return true;
	}
	return false;
}

static bool term_inside(const struct term *a, const struct term *b)
{
	if ((a->in & ~b->in) != 0 || (a->out & ~b->out) != 0)
		return false;
	for (int f = 0; f < FIELD_COUNT; f++) {
		if (!ranges_inside(a->field[f], b->field[f]))
			return false;
	}
	return true;
}

/* Both as one term, when they differ in one field only. 1: done, in *a; 0: no; -ENOMEM. */
static int term_join(struct arena *arena, struct term *a, const struct term *b)
{
	int differs = FIELD_COUNT;

	if (a->in != b->in || a->out != b->out)
		return 0;
	for (int f = 0; f < FIELD_COUNT; f++) {
		if (ranges_equal(a->field[f], b->field[f]))
			continue;
		if (differs != FIELD_COUNT)
			return 0;
		differs = f;
	}
	if (differs == FIELD_COUNT)
		return 1;
	if (a->field[differs] == NULL || b->field[differs] == NULL) {
		a->field[differs] = NULL;
		return 1;
	}
	a->field[differs] = ranges_union(arena, a->field[differs], b->field[differs]);
	return a->field[differs] == NULL ? -ENOMEM : 1;
}

/* Add a term to a list of terms_new. A join makes a new term, which may join again. */
static int terms_add(struct arena *arena, struct terms *list, struct term t)
{
	size_t i = 0;

	while (i < list->count) {
		int joined = term_inside(&list->at[i], &t) ? 2 : term_join(arena, &t, &list->at[i]);

		if (joined < 0)
			return joined;
		if (joined == 2)
			return 0;
		if (joined == 0 && !term_inside(&t, &list->at[i])) {
			i++;
			continue;
		}
		list->at[i] = list->at[--list->count];
		i = joined == 1 ? 0 : i;
	}
	if (list->count == RULE_TERMS_MAX)
		return -E2BIG;
	list->at[list->count++] = t;
	return 0;
}

/* Room for `want` terms, but never more than RULE_TERMS_MAX. */
static int terms_new(struct arena *arena, size_t want, struct terms *out)
{
	*out = (struct terms){ .at = arena_array(arena, MIN(want, (size_t)RULE_TERMS_MAX), sizeof(struct term)) };
	return out->at == NULL ? -ENOMEM : 0;
}

int terms_or(struct arena *arena, const struct terms *a, const struct terms *b, struct terms *out)
{
	struct terms list;
	int err = terms_new(arena, a->count + b->count, &list);

	for (size_t i = 0; err == 0 && i < a->count; i++)
		err = terms_add(arena, &list, a->at[i]);
	for (size_t i = 0; err == 0 && i < b->count; i++)
		err = terms_add(arena, &list, b->at[i]);
	if (err == 0)
		*out = list;
	return err;
}

/* 1 and *out; 0: nothing is in both; -ENOMEM. */
static int term_and(struct arena *arena, const struct term *a, const struct term *b, struct term *out)
{
	if (term_disjoint(a, b))
		return 0;
	*out = (struct term){ .in = a->in | b->in, .out = a->out | b->out };
	for (int f = 0; f < FIELD_COUNT; f++) {
		if (a->field[f] == NULL || b->field[f] == NULL) {
			out->field[f] = a->field[f] == NULL ? b->field[f] : a->field[f];
			continue;
		}
		out->field[f] = ranges_intersect(arena, a->field[f], b->field[f]);
		if (out->field[f] == NULL)
			return -ENOMEM;
	}
	return 1;
}

int terms_and(struct arena *arena, const struct terms *a, const struct terms *b, struct terms *out)
{
	struct terms list;
	int err = terms_new(arena, a->count * b->count, &list);

	for (size_t i = 0; err == 0 && i < a->count; i++) {
		for (size_t j = 0; err == 0 && j < b->count; j++) {
			struct term t;

			err = term_and(arena, &a->at[i], &b->at[j], &t);
			if (err == 1)
				err = terms_add(arena, &list, t);
		}
	}
	if (err == 0)
		*out = list;
	return err;
}

/* ---- covering: take the terms of `a` away from b, piece by piece, until nothing is left ---- */

struct cover {
	struct arena *arena;
	const struct terms *a;
	unsigned steps;
};

static bool covered(struct cover *c, const struct term *b, size_t from);

/* The parts of b outside `a` in one field, the fields before it inside: each must be covered by the rest. */
static bool rest_covered(struct cover *c, const struct term *a, const struct term *b, size_t from)
{
	struct term inside = *b;

	for (int f = 0; f < FIELD_COUNT; f++) {
		const struct ranges all = { 1, &(struct range){ 0, rule_field_max((enum rule_field)f) } };
		const struct ranges *have = b->field[f] == NULL ? &all : b->field[f];
		struct term piece = inside;

		if (a->field[f] == NULL)
			continue;
		piece.field[f] = ranges_subtract(c->arena, have, a->field[f]);
		inside.field[f] = ranges_intersect(c->arena, have, a->field[f]);
		if (piece.field[f] == NULL || inside.field[f] == NULL)
			return false;
		if (piece.field[f]->count != 0 && !covered(c, &piece, from))
			return false;
	}
	for (unsigned s = 0; s < 64; s++) {
		uint64_t bit = UINT64_C(1) << s;
		struct term piece = inside;

		if (((a->in | a->out) & ~(b->in | b->out) & bit) == 0)
			continue;
		if ((a->in & bit) != 0) {
			piece.out |= bit;
			inside.in |= bit;
		} else {
			piece.in |= bit;
			inside.out |= bit;
		}
		if (!covered(c, &piece, from))
			return false;
	}
	return true;
}

/* Recursion ends at the last term of `a`; `steps` bounds the work. */
static bool covered(struct cover *c, const struct term *b, size_t from)
{
	while (from < c->a->count && term_disjoint(&c->a->at[from], b))
		from++;
	if (from == c->a->count || ++c->steps > RULE_COVER_STEPS_MAX)
		return false;
	return rest_covered(c, &c->a->at[from], b, from + 1);
}

bool terms_cover(struct arena *arena, const struct terms *a, const struct term *b)
{
	struct cover c = { .arena = arena, .a = a };

	return covered(&c, b, 0);
}
