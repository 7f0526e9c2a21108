#include "spine/code/rule_tree.h"

#include <errno.h>
#include <stdlib.h>

#include "base/attr.h"
#include "base/must.h"

#define BUCKETS 1024u

struct builder {
	struct arena *arena;
	const struct tree_term *terms;
	size_t count, words;		/* of a set of terms */
	unsigned *last;			/* the last level at which a term asks; TREE_LEVELS: at none */
	uint64_t *same_slot[SPINE_SLOTS_MAX];
	struct tree_node *table[BUCKETS];
	size_t edges_max;
	struct tree *tree;
};

static bool has(const uint64_t *set, size_t i)
{
	return (set[i / 64] >> (i % 64) & 1) != 0;
}

static void add(uint64_t *set, size_t i)
{
	set[i / 64] |= UINT64_C(1) << (i % 64);
}

static bool empty(const struct builder *b, const uint64_t *set)
{
	for (size_t w = 0; w < b->words; w++) {
		if (set[w] != 0)
			return false;
	}
	return true;
}

/* The ranges of a term at a level; NULL: it does not ask. */
static const struct ranges *asks(const struct term *t, unsigned level)
{
	static const struct range one = { 1, 1 };
	static const struct ranges in_set = { 1, &one };

	if (level < FIELD_COUNT)
		return t->field[level];
	return (t->in >> (level - FIELD_COUNT) & 1) != 0 ? &in_set : NULL;
}

/* ---- the classes of a node: ranges of its field over which the same terms stay open ---- */

struct classes {
	u128 *first;
	size_t count;
	uint64_t *open;			/* b->words for each */
};

static int by_value(const void *a, const void *b)
{
	u128 x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

static size_t class_of(const u128 *first, size_t count, u128 value)
{
	size_t low = 0, high = count;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (first[mid] <= value)
			low = mid;
		else
			high = mid;
	}
	return low;
}

static int class_bounds(struct builder *b, unsigned level, const uint64_t *open, struct classes *c)
{
	u128 most = level < FIELD_COUNT ? rule_field_max((enum rule_field)level) : 1;
	size_t room = 1, used = 0;

	for (size_t t = 0; t < b->count; t++) {
		const struct ranges *r = has(open, t) ? asks(&b->terms[t].term, level) : NULL;

		room += r == NULL ? 0 : 2 * r->count;
	}
	c->first = arena_array(b->arena, room, sizeof(*c->first));
	if (c->first == NULL)
		return -ENOMEM;
	c->first[used++] = 0;
	for (size_t t = 0; t < b->count; t++) {
		const struct ranges *r = has(open, t) ? asks(&b->terms[t].term, level) : NULL;

		for (size_t i = 0; r != NULL && i < r->count; i++) {
			c->first[used++] = r->at[i].first;
			if (r->at[i].last < most)
				c->first[used++] = r->at[i].last + 1;
		}
	}
	qsort(c->first, used, sizeof(*c->first), by_value);
	c->count = 1;
	for (size_t i = 1; i < used; i++) {
		if (c->first[i] != c->first[c->count - 1])
			c->first[c->count++] = c->first[i];
	}
	return 0;
}

static int classes_of(struct builder *b, unsigned level, const uint64_t *open, struct classes *c)
{
	int err = class_bounds(b, level, open, c);

	if (err != 0)
		return err;
	if (b->tree->edges + c->count > b->edges_max)
		return -E2BIG;
	c->open = arena_array(b->arena, c->count * b->words, sizeof(*c->open));
	if (c->open == NULL)
		return -ENOMEM;
	for (size_t t = 0; t < b->count; t++) {
		const struct ranges *r = asks(&b->terms[t].term, level);

		if (!has(open, t))
			continue;
		for (size_t k = 0; r == NULL && k < c->count; k++)
			add(c->open + k * b->words, t);
		for (size_t i = 0; r != NULL && i < r->count; i++) {
			size_t k = class_of(c->first, c->count, r->at[i].first);

			for (; k < c->count && c->first[k] <= r->at[i].last; k++)
				add(c->open + k * b->words, t);
		}
	}
	return 0;
}

/* ---- nodes ---- */

static int node_for(struct builder *b, unsigned level, const uint64_t *open, struct tree_node **out);

/* Report the rules that are decided, and go on with the others. `open` is changed. */
static int edge_for(struct builder *b, unsigned level, uint64_t *open, struct tree_edge *e)
{
	for (size_t t = 0; t < b->count; t++) {
		uint16_t slot = b->terms[t].slot;

		if (!has(open, t) || (b->last[t] != TREE_LEVELS && b->last[t] >= level))
			continue;
		e->slots[slot / 32] |= 1u << (slot % 32);
		for (size_t w = 0; w < b->words; w++)
			open[w] &= ~b->same_slot[slot][w];
	}
	e->next = NULL;
	return empty(b, open) ? 0 : node_for(b, level, open, &e->next);
}

static unsigned edge_chain(const struct tree_edge *e)
{
	unsigned n = e->next == NULL ? 0 : e->next->chain_max;

	for (size_t w = 0; w < TREE_WORDS; w++)
		n += (unsigned)__builtin_popcount(e->slots[w]);
	return n;
}

bool tree_edge_same(const struct tree_edge *a, const struct tree_edge *b)
{
	return a->next == b->next && memcmp(a->slots, b->slots, sizeof(a->slots)) == 0;
}

static int node_fill(struct builder *b, struct tree_node *n)
{
	struct classes c;
	int err = classes_of(b, n->level, n->open, &c);

	if (err != 0)
		return err;
	/* Counted before the nodes below are made, so that the limit holds for all. */
	b->tree->edges += c.count;
	n->edges = arena_array(b->arena, c.count, sizeof(*n->edges));
	if (n->edges == NULL)
		return -ENOMEM;
	for (size_t k = 0; k < c.count; k++) {
		struct tree_edge *e = &n->edges[n->edge_count];

		*e = (struct tree_edge){ .first = c.first[k] };
		err = edge_for(b, n->level + 1, c.open + k * b->words, e);
		if (err != 0)
			return err;
		if (n->edge_count > 0 && tree_edge_same(e, e - 1))
			continue;
		n->chain_max = MAX(n->chain_max, edge_chain(e));
		n->edge_count++;
	}
	return 0;
}

static int node_for(struct builder *b, unsigned level, const uint64_t *open, struct tree_node **out)
{
	uint64_t hash = 0xcbf29ce484222325u;
	struct tree_node *n, **bucket;
	bool asked = false;
	int err;

	for (; !asked; level++) {
		must(level < TREE_LEVELS);
		for (size_t t = 0; t < b->count && !asked; t++)
			asked = has(open, t) && asks(&b->terms[t].term, level) != NULL;
		if (asked)
			break;
	}
	for (size_t w = 0; w < b->words; w++)
		hash = (hash ^ open[w] ^ hash >> 29) * 0x100000001b3u;
	bucket = &b->table[(hash ^ hash >> 32 ^ level) % BUCKETS];
	for (n = *bucket; n != NULL; n = n->bucket) {
		if (n->level == level && memcmp(n->open, open, b->words * sizeof(*open)) == 0) {
			*out = n;
			return 0;
		}
	}
	n = ARENA_NEW(b->arena, struct tree_node);
	if (n == NULL)
		return -ENOMEM;
	n->level = level;
	n->open = (const uint64_t *)(const void *)arena_dup(b->arena, slice_of(open, b->words * sizeof(*open))).ptr;
	if (n->open == NULL)
		return -ENOMEM;
	err = node_fill(b, n);
	if (err != 0)
		return err;
	n->bucket = *bucket;
	*bucket = n;
	n->beside = b->tree->levels[level];
	b->tree->levels[level] = n;
	*out = n;
	return 0;
}

/* ---- the whole ---- */

static size_t term_weight(const struct term *t)
{
	size_t weight = 1;

	for (int f = 0; f < FIELD_COUNT; f++)
		weight += t->field[f] == NULL ? 0 : 2 * t->field[f]->count + 1;
	return weight + 2 * (size_t)__builtin_popcountll(t->in);
}

static int prepare(struct builder *b)
{
	size_t weight = 0;

	for (size_t t = 0; t < b->count; t++) {
		uint16_t slot = b->terms[t].slot;

		must(slot < SPINE_SLOTS_MAX);
		if (b->same_slot[slot] == NULL)
			b->same_slot[slot] = arena_array(b->arena, b->words, sizeof(uint64_t));
		if (b->same_slot[slot] == NULL)
			return -ENOMEM;
		add(b->same_slot[slot], t);
		b->last[t] = TREE_LEVELS;
		for (unsigned level = 0; level < TREE_LEVELS; level++) {
			if (asks(&b->terms[t].term, level) != NULL)
				b->last[t] = level;
		}
		weight += term_weight(&b->terms[t].term);
	}
	b->edges_max = MIN(64 + 4 * weight, (size_t)RULE_TREE_EDGES_MAX);
	if (b->count == 1)
		b->edges_max = SIZE_MAX;
	return 0;
}

int tree_build(struct arena *arena, const struct tree_term *terms, size_t count, struct tree *out)
{
	struct builder b = { .arena = arena, .terms = terms, .count = count, .words = (count + 63) / 64, .tree = out };
	uint64_t *open;
	int err;

	*out = (struct tree){ 0 };
	b.last = arena_array(arena, count, sizeof(*b.last));
	open = arena_array(arena, b.words, sizeof(*open));
	if (b.last == NULL || open == NULL)
		return -ENOMEM;
	err = prepare(&b);
	if (err != 0)
		return err;
	for (size_t t = 0; t < count; t++)
		add(open, t);
	err = edge_for(&b, 0, open, &out->root);
	if (err == 0)
		out->chain_max = edge_chain(&out->root);
	return err;
}

const struct tree_edge *tree_edge_of(const struct tree_node *n, u128 value)
{
	size_t low = 0, high = n->edge_count;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (n->edges[mid].first <= value)
			low = mid;
		else
			high = mid;
	}
	return &n->edges[low];
}
