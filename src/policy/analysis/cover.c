#include "policy/analysis/cover.h"

#include <errno.h>
#include <string.h>

struct candidate {
	uint64_t *subjects, *objects;	/* bit sets */
	uint32_t permissions;
	uint64_t *covers;		/* of elements */
	size_t gain;
};

struct element {
	uint16_t subject, object;
	uint32_t bit;
};

struct cover {
	struct arena *arena;
	const struct cover_table *t;
	size_t subject_words, object_words, element_words;
	struct candidate *candidates;
	size_t count, room;
	struct element *elements;
	size_t element_count;
	bool complete;
	/* branch and bound */
	uint32_t *chosen, *best;
	size_t best_count;
	uint64_t *open_at;		/* uncovered elements, a set for each depth */
	uint32_t steps;
};

static bool bit_has(const uint64_t *set, size_t i)
{
	return (set[i / 64] >> (i % 64) & 1) != 0;
}

static void bit_add(uint64_t *set, size_t i)
{
	set[i / 64] |= UINT64_C(1) << (i % 64);
}

static bool bits_empty(const uint64_t *set, size_t words)
{
	for (size_t i = 0; i < words; i++)
		if (set[i] != 0)
			return false;
	return true;
}

static size_t bits_shared(const uint64_t *a, const uint64_t *b, size_t words)
{
	size_t n = 0;

	for (size_t i = 0; i < words; i++)
		n += (size_t)__builtin_popcountll(a[i] & b[i]);
	return n;
}

/* ---- candidates ---- */

static int list_elements(struct cover *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->t->subjects * c->t->objects; i++)
		n += (size_t)__builtin_popcount(c->t->want[i]);
	c->elements = arena_array(c->arena, n, sizeof(*c->elements));
	if (c->elements == NULL)
		return -ENOMEM;
	for (size_t s = 0; s < c->t->subjects; s++)
		for (size_t o = 0; o < c->t->objects; o++)
			for (uint32_t left = c->t->want[s * c->t->objects + o]; left != 0; left &= left - 1)
				c->elements[c->element_count++] = (struct element){ (uint16_t)s, (uint16_t)o, left & -left };
	c->element_words = (c->element_count + 63) / 64;
	return 0;
}

/* The largest box of these subjects and permissions; one that covers nothing new in kind is left out. */
static void add_candidate(struct cover *c, const uint64_t *subjects, uint32_t permissions, const uint32_t *common)
{
	if (c->count == c->room) {
		c->complete = false;
		return;
	}
	struct candidate *x = &c->candidates[c->count];
	x->subjects = arena_array(c->arena, c->subject_words, sizeof(uint64_t));
	x->objects = arena_array(c->arena, c->object_words, sizeof(uint64_t));
	x->covers = arena_array(c->arena, c->element_words, sizeof(uint64_t));
	if (c->arena->err != 0)
		return;
	memcpy(x->subjects, subjects, c->subject_words * sizeof(uint64_t));
	x->permissions = permissions;
	for (size_t o = 0; o < c->t->objects; o++)
		if ((permissions & ~common[o]) == 0)
			bit_add(x->objects, o);
	for (size_t i = 0; i < c->element_count; i++) {
		const struct element *e = &c->elements[i];
		if ((e->bit & permissions) == 0 || !bit_has(x->subjects, e->subject) || !bit_has(x->objects, e->object))
			continue;
		bit_add(x->covers, i);
		x->gain++;
	}
	for (size_t i = 0; i < c->count && x->gain > 0; i++)
		if (memcmp(c->candidates[i].covers, x->covers, c->element_words * sizeof(uint64_t)) == 0)
			x->gain = 0;
	c->count += x->gain > 0;
}

/* All boxes of these subjects: their permissions are intersections of what all of them may do to one object. */
static void add_boxes(struct cover *c, const uint64_t *subjects, uint32_t *common)
{
	uint32_t masks[ANALYSIS_MASKS_MAX];
	size_t count = 0;

	for (size_t o = 0; o < c->t->objects; o++) {
		common[o] = UINT32_MAX;
		for (size_t s = 0; s < c->t->subjects; s++)
			if (bit_has(subjects, s))
				common[o] &= c->t->may[s * c->t->objects + o];
		size_t had = count;
		for (size_t i = 0; i <= had; i++) {
			uint32_t mask = i == had ? common[o] : common[o] & masks[i];
			bool known = mask == 0;
			for (size_t k = 0; k < count && !known; k++)
				known = masks[k] == mask;
			if (known)
				continue;
			if (count == ANALYSIS_MASKS_MAX) {
				c->complete = false;
				break;
			}
			masks[count++] = mask;
		}
	}
	for (size_t i = 0; i < count; i++)
		add_candidate(c, subjects, masks[i], common);
}

static bool add_set(uint64_t **sets, size_t *count, const uint64_t *set, size_t words, struct arena *arena)
{
	if (bits_empty(set, words))
		return true;
	for (size_t i = 0; i < *count; i++)
		if (memcmp(sets[i], set, words * sizeof(uint64_t)) == 0)
			return true;
	if (*count == ANALYSIS_SETS_MAX)
		return false;
	sets[*count] = arena_array(arena, words, sizeof(uint64_t));
	if (sets[*count] == NULL)
		return false;
	memcpy(sets[(*count)++], set, words * sizeof(uint64_t));
	return true;
}

static int make_candidates(struct cover *c)
{
	uint64_t **sets = arena_array(c->arena, ANALYSIS_SETS_MAX, sizeof(*sets));
	uint64_t *set = arena_array(c->arena, c->subject_words, sizeof(*set));
	uint32_t *common = arena_array(c->arena, c->t->objects, sizeof(*common));
	size_t count = 0;

	c->room = ANALYSIS_BOXES_MAX;
	c->candidates = arena_array(c->arena, c->room + c->element_count, sizeof(*c->candidates));
	if (c->arena->err != 0)
		return -ENOMEM;
	/* Each subject alone comes first: so there is a cover, whatever bound is met. */
	for (size_t s = 0; s < c->t->subjects; s++) {
		memset(set, 0, c->subject_words * sizeof(*set));
		bit_add(set, s);
		add_boxes(c, set, common);
	}
	for (size_t o = 0; o < c->t->objects; o++) {
		for (unsigned bit = 0; bit < 32; bit++) {
			memset(set, 0, c->subject_words * sizeof(*set));
			for (size_t s = 0; s < c->t->subjects; s++)
				if ((c->t->may[s * c->t->objects + o] >> bit & 1) != 0)
					bit_add(set, s);
			c->complete &= add_set(sets, &count, set, c->subject_words, c->arena);
		}
	}
	for (size_t i = 1; i < count; i++) {
		for (size_t k = 0; k < i; k++) {
			for (size_t w = 0; w < c->subject_words; w++)
				set[w] = sets[i][w] & sets[k][w];
			c->complete &= add_set(sets, &count, set, c->subject_words, c->arena);
		}
	}
	for (size_t i = 0; i < count; i++)
		add_boxes(c, sets[i], common);
	return c->arena->err != 0 ? -ENOMEM : 0;
}

/* ---- choosing ---- */

/* What is left without a candidate (a bound was met): the boxes of its subject and permission. */
static int add_missing(struct cover *c)
{
	uint64_t *all = arena_array(c->arena, c->element_words, sizeof(*all)), *set = arena_array(c->arena, c->subject_words, sizeof(*set));

	if (c->arena->err != 0)
		return -ENOMEM;
	c->room += c->element_count;
	for (size_t i = 0; i < c->count; i++)
		for (size_t w = 0; w < c->element_words; w++)
			all[w] |= c->candidates[i].covers[w];
	for (size_t i = 0; i < c->element_count; i++) {
		if (bit_has(all, i))
			continue;
		memset(set, 0, c->subject_words * sizeof(*set));
		bit_add(set, c->elements[i].subject);
		add_candidate(c, set, c->elements[i].bit, &c->t->may[c->elements[i].subject * c->t->objects]);
	}
	return c->arena->err != 0 ? -ENOMEM : 0;
}

static void greedy(struct cover *c)
{
	uint64_t *open = c->open_at;

	memset(open, 0, c->element_words * sizeof(*open));
	for (size_t i = 0; i < c->element_count; i++)
		bit_add(open, i);
	for (c->best_count = 0; !bits_empty(open, c->element_words); c->best_count++) {
		size_t best = 0, best_gain = 0;
		for (size_t i = 0; i < c->count; i++) {
			size_t gain = bits_shared(open, c->candidates[i].covers, c->element_words);
			if (gain > best_gain) {
				best = i;
				best_gain = gain;
			}
		}
		c->best[c->best_count] = (uint32_t)best;
		for (size_t w = 0; w < c->element_words; w++)
			open[w] &= ~c->candidates[best].covers[w];
	}
}

/* The open element that fewest candidates cover: all covers have one of them. */
static size_t hardest(const struct cover *c, const uint64_t *open)
{
	size_t best = 0, best_ways = SIZE_MAX;

	for (size_t i = 0; i < c->element_count; i++) {
		size_t ways = 0;
		if (!bit_has(open, i))
			continue;
		for (size_t k = 0; k < c->count && ways < best_ways; k++)
			ways += bit_has(c->candidates[k].covers, i);
		if (ways < best_ways) {
			best = i;
			best_ways = ways;
		}
	}
	return best;
}

/* Depth is below best_count, which the greedy cover bounds. */
static void search(struct cover *c, size_t depth)
{
	const uint64_t *open = &c->open_at[depth * c->element_words];
	uint64_t *next = &c->open_at[(depth + 1) * c->element_words];

	if (bits_empty(open, c->element_words)) {
		memcpy(c->best, c->chosen, depth * sizeof(*c->best));
		c->best_count = depth;
		return;
	}
	if (depth + 1 >= c->best_count || c->steps >= ANALYSIS_COVER_STEPS_MAX)
		return;
	size_t must_cover = hardest(c, open);
	for (size_t i = 0; i < c->count; i++) {
		if (!bit_has(c->candidates[i].covers, must_cover))
			continue;
		if (++c->steps >= ANALYSIS_COVER_STEPS_MAX)
			return;
		for (size_t w = 0; w < c->element_words; w++)
			next[w] = open[w] & ~c->candidates[i].covers[w];
		c->chosen[depth] = (uint32_t)i;
		search(c, depth + 1);
	}
}

/* Without rows, columns and permissions that cover nothing wanted. */
static int trim(struct cover *c, const struct candidate *x, struct cover_box *out)
{
	uint16_t *subjects = arena_array(c->arena, c->t->subjects, sizeof(*subjects)), *objects = arena_array(c->arena, c->t->objects, sizeof(*objects));

	if (c->arena->err != 0)
		return -ENOMEM;
	*out = (struct cover_box){ .subjects = subjects, .objects = objects };
	for (size_t s = 0; s < c->t->subjects; s++) {
		uint32_t wanted = 0;
		for (size_t o = 0; o < c->t->objects && bit_has(x->subjects, s); o++)
			wanted |= bit_has(x->objects, o) ? c->t->want[s * c->t->objects + o] & x->permissions : 0;
		if (wanted != 0)
			subjects[out->subject_count++] = (uint16_t)s;
		out->permissions |= wanted;
	}
	for (size_t o = 0; o < c->t->objects; o++) {
		bool wanted = false;
		for (size_t s = 0; s < c->t->subjects && bit_has(x->objects, o); s++)
			wanted |= bit_has(x->subjects, s) && (c->t->want[s * c->t->objects + o] & x->permissions) != 0;
		if (wanted)
			objects[out->object_count++] = (uint16_t)o;
	}
	return 0;
}

int cover_find(struct arena *arena, const struct cover_table *t, const struct cover_box **boxes, size_t *count, bool *smallest)
{
	struct cover c = { .arena = arena, .t = t, .subject_words = (t->subjects + 63) / 64, .object_words = (t->objects + 63) / 64, .complete = true };
	int err = list_elements(&c);

	if (err == 0)
		err = make_candidates(&c);
	if (err == 0)
		err = add_missing(&c);
	if (err != 0)
		return err;
	c.chosen = arena_array(arena, c.element_count + 1, sizeof(*c.chosen));
	c.best = arena_array(arena, c.element_count + 1, sizeof(*c.best));
	c.open_at = arena_array(arena, c.element_words, sizeof(*c.open_at));
	if (arena->err != 0)
		return -ENOMEM;
	greedy(&c);
	c.open_at = arena_array(arena, (c.best_count + 2) * c.element_words, sizeof(*c.open_at));
	struct cover_box *out = arena_array(arena, c.best_count, sizeof(*out));
	if (arena->err != 0)
		return -ENOMEM;
	for (size_t i = 0; i < c.element_count; i++)
		bit_add(c.open_at, i);
	search(&c, 0);
	for (size_t i = 0; i < c.best_count; i++)
		if (trim(&c, &c.candidates[c.best[i]], &out[i]) != 0)
			return -ENOMEM;
	*boxes = out;
	*count = c.best_count;
	*smallest = c.complete && c.steps < ANALYSIS_COVER_STEPS_MAX;
	return 0;
}
