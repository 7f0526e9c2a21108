/*
 * A persistent treap: commits copy the path that they change when somebody still holds the old root,
 * so that keeping every state since the last flush costs O(log n) nodes a change.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/must.h"
#include "engine/embedded/index.h"

struct pair {
	unsigned refs;
	uint32_t key_bytes, value_bytes;
	uint8_t bytes[];
};

struct node {
	unsigned refs;
	uint32_t priority;		/* hash of the key: the shape depends on the content alone */
	struct pair *pair;
	struct node *left, *right;
};

struct change {
	struct pair *pair;		/* value_bytes == UINT32_MAX: deletion */
};

struct index_memory {
	struct index base;
	struct node *root;
	bool history;
	struct node **states;		/* [0] is the flushed one; all hold a reference */
	size_t state_count, state_cap;
	struct change *changes;
	size_t change_count, change_cap;
	int err;
};

#define DELETED UINT32_MAX
#define DEPTH_MAX 128			/* a treap of 2^32 nodes is deeper with probability < 1e-9 */

static struct slice pair_key(const struct pair *p)
{
	return slice_of(p->bytes, p->key_bytes);
}

static struct slice pair_value(const struct pair *p)
{
	return slice_of(p->bytes + p->key_bytes, p->value_bytes == DELETED ? 0 : p->value_bytes);
}

static void pair_unref(struct pair *p)
{
	if (--p->refs == 0)
		free(p);
}

static void node_unref(struct node *n)
{
	if (n == NULL || --n->refs > 0)
		return;
	node_unref(n->left);
	node_unref(n->right);
	pair_unref(n->pair);
	free(n);
}

static struct node *node_ref(struct node *n)
{
	if (n != NULL)
		n->refs++;
	return n;
}

/* Make *at ours alone, so that it may be changed in place. */
static void own(struct node **at)
{
	struct node *n = *at;

	if (n->refs == 1)
		return;
	struct node *copy = malloc(sizeof(*copy));
	must(copy != NULL);
	*copy = *n;
	copy->refs = 1;
	copy->pair->refs++;
	node_ref(copy->left);
	node_ref(copy->right);
	n->refs--;
	*at = copy;
}

/* Takes the reference to p. */
static void insert(struct node **at, struct pair *p, uint32_t priority)
{
	if (*at == NULL) {
		struct node *n = malloc(sizeof(*n));

		must(n != NULL);
		*n = (struct node){ .refs = 1, .priority = priority, .pair = p };
		*at = n;
		return;
	}
	own(at);
	struct node *n = *at;
	int order = slice_cmp(pair_key(p), pair_key(n->pair));

	if (order == 0) {
		pair_unref(n->pair);
		n->pair = p;
	} else if (order < 0) {
		insert(&n->left, p, priority);
		if (n->left->priority > n->priority) {	/* rotate right */
			struct node *l = n->left;

			n->left = l->right;
			l->right = n;
			*at = l;
		}
	} else {
		insert(&n->right, p, priority);
		if (n->right->priority > n->priority) {
			struct node *r = n->right;

			n->right = r->left;
			r->left = n;
			*at = r;
		}
	}
}

/* Takes both references. */
static struct node *merge(struct node *a, struct node *b)
{
	if (a == NULL || b == NULL)
		return a != NULL ? a : b;
	if (a->priority > b->priority) {
		own(&a);
		a->right = merge(a->right, b);
		return a;
	}
	own(&b);
	b->left = merge(a, b->left);
	return b;
}

static struct node *find(struct node *n, struct slice key)
{
	while (n != NULL) {
		int order = slice_cmp(key, pair_key(n->pair));

		if (order == 0)
			return n;
		n = order < 0 ? n->left : n->right;
	}
	return NULL;
}

static void delete(struct node **at, struct slice key)
{
	own(at);
	struct node *n = *at;
	int order = slice_cmp(key, pair_key(n->pair));

	if (order != 0) {
		delete(order < 0 ? &n->left : &n->right, key);
		return;
	}
	*at = merge(n->left, n->right);
	pair_unref(n->pair);
	free(n);
}

static int memory_get(struct index *ix, struct slice key, struct buf *out)
{
	struct node *n = find(((struct index_memory *)ix)->root, key);

	if (n == NULL)
		return 0;
	buf_add(out, pair_value(n->pair));
	return out->err != 0 ? out->err : 1;
}

struct index_iter {
	struct index_memory *ix;
	struct node *root;
	struct node *path[DEPTH_MAX];	/* nodes whose entry is still to come, nearest last */
	int depth;
};

static struct index_iter *memory_iter(struct index *ix)
{
	struct index_iter *it = calloc(1, sizeof(*it));

	if (it != NULL) {
		it->ix = (struct index_memory *)ix;
		it->root = node_ref(it->ix->root);
	}
	return it;
}

static void memory_seek(struct index_iter *it, struct slice key)
{
	it->depth = 0;
	for (struct node *n = it->root; n != NULL;) {
		if (slice_cmp(pair_key(n->pair), key) >= 0) {
			must(it->depth < DEPTH_MAX);
			it->path[it->depth++] = n;
			n = n->left;
		} else {
			n = n->right;
		}
	}
}

static void memory_next(struct index_iter *it)
{
	struct node *n = it->path[--it->depth]->right;

	for (; n != NULL; n = n->left) {
		must(it->depth < DEPTH_MAX);
		it->path[it->depth++] = n;
	}
}

static int memory_valid(struct index_iter *it)
{
	return it->depth > 0;
}

static struct slice memory_key(struct index_iter *it)
{
	return pair_key(it->path[it->depth - 1]->pair);
}

static struct slice memory_value(struct index_iter *it)
{
	return pair_value(it->path[it->depth - 1]->pair);
}

static void memory_iter_free(struct index_iter *it)
{
	node_unref(it->root);
	free(it);
}

static void memory_change(struct index_memory *ix, struct slice key, struct slice value, bool deletion)
{
	struct pair *p = malloc(sizeof(*p) + key.len + value.len);

	must(p != NULL);
	p->refs = 1;
	p->key_bytes = (uint32_t)key.len;
	p->value_bytes = deletion ? DELETED : (uint32_t)value.len;
	memcpy(p->bytes, key.ptr, key.len);
	if (value.len > 0)
		memcpy(p->bytes + key.len, value.ptr, value.len);
	if (ix->change_count == ix->change_cap) {
		ix->change_cap = ix->change_cap == 0 ? 64 : ix->change_cap * 2;
		ix->changes = realloc(ix->changes, ix->change_cap * sizeof(ix->changes[0]));
		must(ix->changes != NULL);
	}
	ix->changes[ix->change_count++].pair = p;
}

static void memory_put(struct index *ix, struct slice key, struct slice value)
{
	memory_change((struct index_memory *)ix, key, value, false);
}

static void memory_del(struct index *ix, struct slice key)
{
	memory_change((struct index_memory *)ix, key, slice_of(NULL, 0), true);
}

static void state_push(struct index_memory *ix)
{
	if (ix->state_count == ix->state_cap) {
		ix->state_cap = ix->state_cap == 0 ? 16 : ix->state_cap * 2;
		ix->states = realloc(ix->states, ix->state_cap * sizeof(struct node *));
		must(ix->states != NULL);
	}
	ix->states[ix->state_count++] = node_ref(ix->root);
}

static int memory_commit(struct index *base)
{
	struct index_memory *ix = (struct index_memory *)base;

	for (size_t i = 0; i < ix->change_count; i++) {
		struct pair *p = ix->changes[i].pair;

		if (p->value_bytes != DELETED) {
			insert(&ix->root, p, (uint32_t)map_hash(pair_key(p)));
			continue;
		}
		if (find(ix->root, pair_key(p)) != NULL)
			delete(&ix->root, pair_key(p));
		pair_unref(p);
	}
	ix->change_count = 0;
	if (ix->history)
		state_push(ix);
	return 0;
}

static int memory_flush(struct index *base)
{
	struct index_memory *ix = (struct index_memory *)base;

	if (!ix->history)
		return 0;
	for (size_t i = 0; i < ix->state_count; i++)
		node_unref(ix->states[i]);
	ix->state_count = 0;
	state_push(ix);
	return 0;
}

static void memory_close(struct index *base)
{
	struct index_memory *ix = (struct index_memory *)base;

	for (size_t i = 0; i < ix->state_count; i++)
		node_unref(ix->states[i]);
	for (size_t i = 0; i < ix->change_count; i++)
		pair_unref(ix->changes[i].pair);
	node_unref(ix->root);
	free(ix->states);
	free(ix->changes);
	free(ix);
}

static const struct index_vtable memory_vtable = {
	.get = memory_get,
	.iter = memory_iter,
	.seek = memory_seek,
	.next = memory_next,
	.valid = memory_valid,
	.key = memory_key,
	.value = memory_value,
	.iter_free = memory_iter_free,
	.put = memory_put,
	.del = memory_del,
	.commit = memory_commit,
	.flush = memory_flush,
	.close = memory_close,
};

struct index *index_memory_new(bool history)
{
	struct index_memory *ix = calloc(1, sizeof(*ix));

	if (ix == NULL)
		return NULL;
	ix->base.vt = &memory_vtable;
	ix->history = history;
	if (history)
		state_push(ix);
	return &ix->base;
}

size_t index_memory_states(const struct index *base)
{
	const struct index_memory *ix = (const struct index_memory *)base;

	must(base->vt == &memory_vtable && ix->history);
	return ix->state_count;
}

void index_memory_rewind(struct index *base, size_t which)
{
	struct index_memory *ix = (struct index_memory *)base;
	struct node *root;

	must(base->vt == &memory_vtable && which < ix->state_count);
	for (size_t i = 0; i < ix->change_count; i++)
		pair_unref(ix->changes[i].pair);
	ix->change_count = 0;
	root = node_ref(ix->states[which]);
	node_unref(ix->root);
	ix->root = root;
	(void)memory_flush(base);
}

struct index *index_memory_fork(const struct index *base, size_t which)
{
	const struct index_memory *old = (const struct index_memory *)base;
	struct index_memory *ix = calloc(1, sizeof(*ix));

	must(base->vt == &memory_vtable && which < old->state_count);
	if (ix == NULL)
		return NULL;
	ix->base.vt = &memory_vtable;
	ix->history = true;
	ix->root = node_ref(old->states[which]);
	state_push(ix);
	return &ix->base;
}
