#include "mail/message/thread.h"

#include <stdlib.h>

#include "base/map.h"
#include "mail/message/limits.h"
#include "mail/message/msgid.h"
#include "mail/message/sort.h"
#include "mail/message/subject.h"

/* A message identifier: with a message, or a "dummy" that only others refer to. */
struct node {
	struct map_node hash;
	struct slice id;
	const struct thread_item *item;	/* NULL: a dummy */
	struct node *parent;		/* by references */
	struct node *anchor;		/* nearest ancestor with a message, else the topmost dummy; NULL: not known */
	struct node *next_node;		/* all nodes, in the order they were made */
	struct node *child, *sibling;	/* the thread as shown: without dummies inside */
	uint32_t links;			/* nodes whose parent this is */
};

/* A thread under construction (RFC 5256 §3, REFERENCES (4) on). */
struct root {
	struct node *node;
	struct root *under;		/* to be merged into that one */
	int64_t date_s;
	uint32_t order;
	bool dummy, gone, is_reply;
	struct map_node hash;		/* by subject */
	struct slice subject;
};

struct threads {
	struct arena *arena;
	struct map ids, subjects;
	struct node *first, **tail;
	struct root **roots;
	size_t root_count, root_cap;
	uint64_t steps_left;		/* for looking up ancestors */
	bool failed;
};

bool thread_item_fill(struct arena *arena, struct thread_item *item, const struct envelope *env, int64_t arrival_s)
{
	static const struct envelope none;
	struct slice refs[MSGID_REFERENCES_MAX], rest;
	uint32_t n = 0;

	if (env == NULL)
		env = &none;
	item->date_s = sort_sent_date(env, arrival_s);
	AUTO_BUF struct buf key = BUF_INIT(env->subject.len * 20 + 64);
	item->is_reply = false;
	if (env->subject.ptr != NULL)
		subject_base(&key, env->subject, &item->is_reply);
	item->subject = arena_dup(arena, buf_slice(&key));
	rest = env->message_id;
	item->msgid = (struct slice){ 0 };
	(void)msgid_next(arena, &rest, &item->msgid);
	rest = env->references;
	while (n < MSGID_REFERENCES_MAX && msgid_next(arena, &rest, &refs[n]))
		n++;
	if (n == 0) {
		/* (1)(A): without References the first id of In-Reply-To counts. */
		rest = env->in_reply_to;
		n = msgid_next(arena, &rest, &refs[0]) ? 1 : 0;
	}
	item->ref_count = n;
	item->refs = NULL;
	if (n > 0) {
		struct slice *list = arena_array(arena, n, sizeof(*list));
		if (list == NULL)
			return false;
		memcpy(list, refs, n * sizeof(*list));
		item->refs = list;
	}
	return arena->err == 0 && key.err == 0;
}

/* ---- linking by references ---- */

static struct node *node_new(struct threads *t)
{
	struct node *n = ARENA_NEW(t->arena, struct node);

	if (n == NULL) {
		t->failed = true;
		return NULL;
	}
	*t->tail = n;
	t->tail = &n->next_node;
	return n;
}

static struct node *node_of(struct threads *t, struct slice id)
{
	uint64_t hash = map_hash(id);

	for (struct map_node *m = map_first(&t->ids, hash); m != NULL; m = map_next(m, hash)) {
		struct node *n = container_of(m, struct node, hash);
		if (slice_eq(n->id, id))
			return n;
	}
	struct node *n = node_new(t);
	if (n == NULL)
		return NULL;
	n->id = id;
	if (map_add(&t->ids, &n->hash, hash) != 0)
		t->failed = true;
	return n;
}

/*
 * Is `above` an ancestor of n? Hostile mail can make this walk long again and again; when the steps for
 * the whole mailbox are used up we say yes, which leaves a link out.
 */
static bool has_ancestor(struct threads *t, const struct node *n, const struct node *above)
{
	for (; n != NULL; n = n->parent) {
		if (n == above || t->steps_left == 0)
			return true;
		t->steps_left--;
	}
	return false;
}

/* (1)(A): link unless the child has a parent already or a loop would arise. */
static void link_to(struct threads *t, struct node *parent, struct node *child)
{
	if (child->parent != NULL || parent == child)
		return;
	/* Nobody's parent is nobody's ancestor: the common case costs no walk. */
	if (child->links > 0 && has_ancestor(t, parent, child))
		return;
	child->parent = parent;
	parent->links++;
}

static void add_item(struct threads *t, const struct thread_item *item)
{
	struct node *n = item->msgid.len == 0 ? NULL : node_of(t, item->msgid);
	struct node *last = NULL;

	/* No id, or one that is taken: a node of its own that nobody can refer to. */
	if (n == NULL || n->item != NULL)
		n = node_new(t);
	if (n == NULL)
		return;
	n->item = item;
	for (uint32_t i = 0; i < item->ref_count && !t->failed; i++) {
		struct node *ref = node_of(t, item->refs[i]);
		if (ref == NULL)
			return;
		if (last != NULL)
			link_to(t, last, ref);
		last = ref;
	}
	/* (1)(B): what the message says itself overrides what others said about it. */
	if (n->parent != NULL && n->parent != last) {
		n->parent->links--;
		n->parent = NULL;
	}
	if (last != NULL)
		link_to(t, last, n);
}

/* (3): skip dummies inside a thread. Remembers what it finds, so long chains are walked once. */
static struct node *anchor_of(struct node *n)
{
	struct node *top = n->parent;

	while (top->item == NULL && top->parent != NULL && top->anchor == NULL)
		top = top->parent;
	if (top->item == NULL && top->anchor != NULL)
		top = top->anchor;
	for (struct node *p = n->parent; p != top && p->item == NULL && p->anchor == NULL; p = p->parent)
		p->anchor = top;
	return top;
}

static void add_child(struct node *parent, struct node *child)
{
	child->sibling = parent->child;
	parent->child = child;
}

static struct root *add_root(struct threads *t, struct node *n)
{
	if (t->root_count == t->root_cap) {
		size_t cap = t->root_cap == 0 ? 64 : t->root_cap * 2;
		struct root **roots = realloc(t->roots, cap * sizeof(struct root *));
		if (roots == NULL) {
			t->failed = true;
			return NULL;
		}
		t->roots = roots;
		t->root_cap = cap;
	}
	struct root *r = ARENA_NEW(t->arena, struct root);
	if (r == NULL) {
		t->failed = true;
		return NULL;
	}
	r->node = n;
	r->dummy = n->item == NULL;
	t->roots[t->root_count++] = r;
	return r;
}

/* ---- order ---- */

static int by_date(int64_t date_a, uint32_t order_a, int64_t date_b, uint32_t order_b)
{
	if (date_a != date_b)
		return date_a < date_b ? -1 : 1;
	return order_a < order_b ? -1 : order_a > order_b;
}

/* Merge sort of a sibling list by date, then order: no memory, no worst case, no recursion. */
static struct node *sort_siblings(struct node *list)
{
	for (size_t width = 1;; width *= 2) {
		struct node *from = list, *out = NULL, **tail = &out;
		size_t merges = 0;

		while (from != NULL) {
			struct node *a = from, *b = from;
			size_t a_left = 0, b_left = width;
			merges++;
			while (a_left < width && b != NULL) {
				a_left++;
				b = b->sibling;
			}
			while (a_left > 0 || (b_left > 0 && b != NULL)) {
				bool take_a = b_left == 0 || b == NULL ||
					(a_left > 0 && by_date(a->item->date_s, a->item->order, b->item->date_s,
							       b->item->order) <= 0);
				struct node **pick = take_a ? &a : &b;
				*tail = *pick;
				tail = &(*pick)->sibling;
				*pick = (*pick)->sibling;
				if (take_a)
					a_left--;
				else
					b_left--;
			}
			from = b;
		}
		*tail = NULL;
		list = out;
		if (merges <= 1)
			return list;
	}
}

static int root_cmp(const void *va, const void *vb)
{
	const struct root *a = *(struct root *const *)va, *b = *(struct root *const *)vb;

	return by_date(a->date_s, a->order, b->date_s, b->order);
}

/* (4): date of each thread, dummies without or with one child go. */
static void sort_roots(struct threads *t)
{
	for (size_t i = 0; i < t->root_count; i++) {
		struct root *r = t->roots[i];
		if (r->gone)
			continue;
		if (r->dummy) {
			r->node->child = sort_siblings(r->node->child);
			if (r->node->child == NULL) {
				r->gone = true;
				continue;
			}
			if (r->node->child->sibling == NULL) {
				r->node = r->node->child;
				r->dummy = false;
			}
		}
		const struct thread_item *first = r->dummy ? r->node->child->item : r->node->item;
		r->date_s = first->date_s;
		r->order = first->order;
	}
	if (t->root_count > 1)
		qsort(t->roots, t->root_count, sizeof(*t->roots), root_cmp);
}

/* ---- threads of one subject ---- */

static struct root *subject_find(struct threads *t, struct slice subject, uint64_t hash)
{
	for (struct map_node *m = map_first(&t->subjects, hash); m != NULL; m = map_next(m, hash)) {
		struct root *r = container_of(m, struct root, hash);
		if (slice_eq(r->subject, subject))
			return r;
	}
	return NULL;
}

/* (5)(B): which thread stands for its subject. */
static void gather_subject(struct threads *t, struct root *r)
{
	const struct thread_item *item = r->dummy ? r->node->child->item : r->node->item;

	if (item->subject.len == 0)
		return;
	uint64_t hash = map_hash(item->subject);
	struct root *other = subject_find(t, item->subject, hash);
	r->subject = item->subject;
	r->is_reply = item->is_reply;
	if (other != NULL) {
		if (other->dummy || !(r->dummy || (other->is_reply && !r->is_reply))) {
			r->under = other;
			return;
		}
		map_del(&t->subjects, &other->hash);
		other->under = r;
	}
	if (map_add(&t->subjects, &r->hash, hash) != 0)
		t->failed = true;
}

/* (5)(C) for one thread. */
static void merge(struct threads *t, struct root *r)
{
	struct root *into = r->under;

	while (into->under != NULL)
		into = into->under;
	if (r->dummy) {
		while (r->node->child != NULL) {
			struct node *child = r->node->child;
			r->node->child = child->sibling;
			add_child(into->node, child);
		}
	} else if (into->dummy || (r->is_reply && !into->is_reply)) {
		add_child(into->node, r->node);
	} else {
		struct node *n = node_new(t);
		struct root *both = n == NULL ? NULL : add_root(t, n);
		if (both == NULL)
			return;
		add_child(n, into->node);
		add_child(n, r->node);
		into->under = both;
		into->gone = true;
	}
	r->gone = true;
}

static void merge_subjects(struct threads *t)
{
	size_t count = t->root_count;
	bool changed = false;

	for (size_t i = 0; i < count && !t->failed; i++)
		if (!t->roots[i]->gone)
			gather_subject(t, t->roots[i]);
	for (size_t i = 0; i < count && !t->failed; i++) {
		if (t->roots[i]->under != NULL && !t->roots[i]->gone) {
			merge(t, t->roots[i]);
			changed = true;
		}
	}
	if (changed)
		sort_roots(t);
}

/* ---- writing ---- */

/*
 * One thread, "(1 2 (3)(4 5))", in document order. Nodes get their way back through `parent`, which
 * is of no other use any more; so the depth of a thread costs nothing.
 */
static void write_thread(struct buf *out, struct node *root)
{
	struct node *n = root;
	bool space = false;		/* a number stands right before */

	root->parent = NULL;
	buf_addc(out, '(');
	for (;;) {
		if (n->item != NULL) {
			if (space)
				buf_addc(out, ' ');
			buf_dec(out, n->item->number);
			space = true;
		}
		if (n->child != NULL) {
			struct node *up = n;
			n->child = sort_siblings(n->child);
			n = n->child;
			n->parent = up;
			/* Children get parentheses of their own when there are several. */
			if (n->sibling != NULL) {
				if (space)
					buf_addc(out, ' ');
				buf_addc(out, '(');
				space = false;
			}
			continue;
		}
		for (;;) {
			struct node *up = n->parent;
			if (up == NULL) {
				buf_addc(out, ')');
				return;
			}
			bool several = up->child->sibling != NULL;
			if (several)
				buf_addc(out, ')');
			if (n->sibling != NULL) {
				buf_addc(out, '(');
				space = false;
				n->sibling->parent = up;
				n = n->sibling;
				break;
			}
			n = up;
		}
	}
}

bool thread_references(struct arena *arena, const struct thread_item *items, size_t count, struct buf *out)
{
	struct threads t = { .arena = arena };
	uint64_t refs = 0;

	t.tail = &t.first;
	for (size_t i = 0; i < count; i++)
		refs += items[i].ref_count;
	t.steps_left = 64 * (count + refs) + 1000000;
	for (size_t i = 0; i < count && !t.failed; i++)
		add_item(&t, &items[i]);
	for (struct node *n = t.first; n != NULL && !t.failed; n = n->next_node) {
		if (n->parent == NULL)
			(void)add_root(&t, n);
		else if (n->item != NULL)
			add_child(anchor_of(n), n);
	}
	if (!t.failed) {
		sort_roots(&t);
		merge_subjects(&t);
	}
	for (size_t i = 0; i < t.root_count && !t.failed; i++)
		if (!t.roots[i]->gone)
			write_thread(out, t.roots[i]->node);
	free(t.roots);
	map_done(&t.ids);
	map_done(&t.subjects);
	return !t.failed;
}

static int by_subject(const void *va, const void *vb)
{
	const struct thread_item *a = *(const struct thread_item *const *)va;
	const struct thread_item *b = *(const struct thread_item *const *)vb;
	int c = slice_cmp(a->subject, b->subject);

	return c != 0 ? c : by_date(a->date_s, a->order, b->date_s, b->order);
}

struct run {
	const struct thread_item **first;
	size_t count;
};

static int by_first(const void *va, const void *vb)
{
	const struct thread_item *a = *((const struct run *)va)->first, *b = *((const struct run *)vb)->first;

	return by_date(a->date_s, a->order, b->date_s, b->order);
}

bool thread_orderedsubject(struct arena *arena, const struct thread_item *items, size_t count, struct buf *out)
{
	const struct thread_item **sorted = arena_array(arena, count, sizeof(*sorted));
	struct run *runs = arena_array(arena, count, sizeof(*runs));
	size_t n = 0;

	if (sorted == NULL || runs == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
		sorted[i] = &items[i];
	if (count > 1)
		qsort(sorted, count, sizeof(*sorted), by_subject);
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || !slice_eq(sorted[i - 1]->subject, sorted[i]->subject))
			runs[n++].first = &sorted[i];
		runs[n - 1].count++;
	}
	if (n > 1)
		qsort(runs, n, sizeof(*runs), by_first);
	for (size_t i = 0; i < n; i++) {
		buf_addc(out, '(');
		buf_dec(out, runs[i].first[0]->number);
		for (size_t k = 1; k < runs[i].count; k++) {
			buf_adds(out, runs[i].count == 2 ? " " : k == 1 ? " (" : "(");
			buf_dec(out, runs[i].first[k]->number);
			if (runs[i].count > 2)
				buf_addc(out, ')');
		}
		buf_addc(out, ')');
	}
	return true;
}
