/*
 * Code for the match phase: the fields that some rule asks for are read once (rule_fields.h); then decision trees
 * (rule_tree.h) walk over them, then come the guards.
 *
 * Fields and match bits live in memory and not in registers, because the verifier does not follow the content of
 * map values: wherever paths meet, it finds the same state and stops looking. That keeps its work linear.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/attr.h"
#include "base/must.h"
#include "spine/code/guard.h"
#include "spine/code/rule_fields.h"

enum { CPU = BPF_REG_7 };

struct emitter {
	struct program *p;
	struct arena *arena;
	struct tree_term *terms;
	size_t term_count;
	const char *sets[RULE_DEVICE_SETS_MAX];
	int set_fd[RULE_DEVICE_SETS_MAX];
	size_t set_count;
	size_t chain_max;
	struct rule_exits *exits;	/* NULL: every way leads to the end */
	bool only;			/* there is one tree, and nobody has set a match bit before it */
	bool rest;			/* the end is reached */
	struct errmsg *why;
};

static int no_memory(struct emitter *e)
{
	return errmsg_say(e->why, -ENOMEM, "no memory to build the decision tree of the match rules");
}

/* ---- gathering ---- */

static int set_number(struct emitter *e, const char *name, const struct rule_sets *sets, unsigned *number)
{
	size_t n = 0;
	int fd;

	while (n < e->set_count && strcmp(e->sets[n], name) != 0)
		n++;
	*number = (unsigned)n;
	if (n < e->set_count)
		return 0;
	if (n == RULE_DEVICE_SETS_MAX)
		return errmsg_say(e->why, -E2BIG, "the match rules of a device may use at most %d different sets",
				  RULE_DEVICE_SETS_MAX);
	fd = sets == NULL || sets->fd == NULL ? -1 : sets->fd(sets->arg, name);
	if (fd < 0)
		return errmsg_say(e->why, -ENOENT, "a match rule uses set '%s', which this device does not have: "
				 "`prickle spine set add %s PREFIX --dev IF` makes it", name, name);
	e->set_fd[n] = fd;
	e->sets[e->set_count++] = name;
	return 0;
}

static int gather_rule(struct emitter *e, const struct rule_use *use, const struct rule_sets *sets)
{
	unsigned number[RULE_SETS_MAX];

	for (size_t i = 0; i < use->rule->set_count; i++) {
		int err = set_number(e, use->rule->sets[i], sets, &number[i]);

		if (err != 0)
			return err;
	}
	for (size_t t = 0; t < use->rule->terms.count; t++) {
		struct tree_term *to = &e->terms[e->term_count++];

		*to = (struct tree_term){ .term = use->rule->terms.at[t], .slot = use->slot };
		to->term.in = 0;
		for (size_t i = 0; i < use->rule->set_count; i++)
			to->term.in |= (use->rule->terms.at[t].in >> (2 * i) & 3) << (2 * number[i]);
	}
	return 0;
}

static int gather(struct emitter *e, const struct rule_use *uses, size_t count, const struct rule_sets *sets)
{
	size_t terms = 0;

	for (size_t i = 0; i < count; i++) {
		must(uses[i].slot < SPINE_SLOTS_MAX);
		terms += uses[i].rule->terms.count;
	}
	if (terms > RULE_DEVICE_TERMS_MAX)
		return errmsg_say(e->why, -E2BIG, "the match rules of the device have %zu alternatives; at most %d are possible",
				  terms, RULE_DEVICE_TERMS_MAX);
	e->terms = arena_array(e->arena, terms, sizeof(*e->terms));
	if (e->terms == NULL)
		return no_memory(e);
	for (size_t i = 0; i < count; i++) {
		int err = gather_rule(e, &uses[i], sets);

		if (err != 0)
			return err;
	}
	return 0;
}

/* ---- trees ---- */

static void emit_match(struct program *p, const uint32_t slots[TREE_WORDS])
{
	for (size_t w = 0; w < TREE_WORDS; w++) {
		int16_t at = (int16_t)(offsetof(struct spine_cpu_stats, match) + 4 * w);

		if (slots[w] == 0)
			continue;
		p_load(p, BPF_W, 1, CPU, at);
		p_insn(p, BPF_ALU | BPF_OR | BPF_K, 1, 0, 0, (int32_t)slots[w]);
		p_store(p, BPF_W, CPU, at, 1);
	}
}

/* All match bits of the frame are known: these. */
static void emit_leaf(struct emitter *e, const uint32_t slots[TREE_WORDS], program_label end)
{
	int count = 0;
	uint16_t slot = 0;

	for (uint16_t w = 0; w < TREE_WORDS; w++) {
		if (slots[w] == 0)
			continue;
		p_store_imm(e->p, BPF_W, CPU, (int16_t)(offsetof(struct spine_cpu_stats, match) + 4 * w), (int32_t)slots[w]);
		count += __builtin_popcount(slots[w]);
		slot = (uint16_t)(32 * w + (uint16_t)__builtin_ctz(slots[w]));
	}
	if (e->exits != NULL && count == 1) {
		e->exits->to_alone[slot] = true;
		p_goto(e->p, e->exits->alone[slot]);
	} else {
		e->rest = true;
		p_goto(e->p, end);
	}
}

static bool edge_matches(const struct tree_edge *e)
{
	uint32_t all = 0;

	for (size_t w = 0; w < TREE_WORDS; w++)
		all |= e->slots[w];
	return all != 0;
}

/* A node's code under construction: where each of its edges leads. */
struct search {
	struct program *p;
	const struct tree_node *node;
	const program_label *target;
	bool wide;			/* 128 bits, in R1 and R2 */
};

/* To `label` when the value is at least `bound`. */
static void at_least(const struct search *s, u128 bound, program_label label)
{
	struct program *p = s->p;
	uint64_t high = (uint64_t)(bound >> 64), low = (uint64_t)bound;
	program_label below;

	if (!s->wide) {
		p_jump_imm(p, BPF_JGE, false, 1, (int32_t)(uint32_t)low, label);
		return;
	}
	p_imm64(p, 3, high);
	if (low == 0) {
		p_jump(p, BPF_JGE, true, 1, 3, label);
		return;
	}
	below = p_label(p);
	p_jump(p, BPF_JGT, true, 1, 3, label);
	p_jump(p, BPF_JLT, true, 1, 3, below);
	p_imm64(p, 4, low);
	p_jump(p, BPF_JGE, true, 2, 4, label);
	p_set(p, below);
}

/* Edge `at` holds a single value, and the edges beside it lead to the same place. */
static bool is_point(const struct search *s, size_t at)
{
	const struct tree_edge *e = s->node->edges;

	return !s->wide && e[at].first + 1 == e[at + 1].first && s->target[at - 1] == s->target[at + 1];
}

/* Binary search among edges low to high. */
static void emit_search(const struct search *s, size_t low, size_t high)
{
	const struct tree_edge *e = s->node->edges;
	program_label right;
	size_t mid;

	if (low == high) {
		p_goto(s->p, s->target[low]);
	} else if (high - low == 1) {
		at_least(s, e[high].first, s->target[high]);
		p_goto(s->p, s->target[low]);
	} else if (high - low == 2 && is_point(s, low + 1)) {
		p_jump_imm(s->p, BPF_JEQ, false, 1, (int32_t)(uint32_t)e[low + 1].first, s->target[low + 1]);
		p_goto(s->p, s->target[low]);
	} else {
		mid = low + (high - low) / 2 + 1;
		right = p_label(s->p);
		at_least(s, e[mid].first, right);
		emit_search(s, low, mid - 1);
		p_set(s->p, right);
		emit_search(s, mid, high);
	}
}

static void emit_question(struct emitter *e, const struct search *s)
{
	unsigned level = s->node->level, set;
	struct program *p = e->p;

	if (level < FIELD_COUNT) {
		p_load(p, s->wide ? BPF_DW : BPF_W, 1, CPU, rule_field_at[level]);
		if (s->wide)
			p_load(p, BPF_DW, 2, CPU, (int16_t)(rule_field_at[level] + 8));
		emit_search(s, 0, s->node->edge_count - 1);
		return;
	}
	set = level - FIELD_COUNT;
	p_map_fd(p, 1, e->set_fd[set / 2]);
	p_mov(p, 2, CPU);
	p_alu_imm(p, BPF_ADD, 2, set % 2 == 0 ? RULE_AT_SRC_SET : RULE_AT_DST_SET);
	p_helper(p, BPF_FUNC_map_lookup_elem);
	p_jump_imm(p, BPF_JEQ, true, 0, 0, s->target[0]);
	p_goto(p, s->target[s->node->edge_count - 1]);
}

/* Where an edge leads that reports nobody. */
static program_label edge_quiet(struct emitter *e, const struct tree_node *n, const struct tree_edge *edge,
				program_label end)
{
	if (edge->next != NULL)
		return edge->next->label;
	if (e->exits == NULL || n->late) {
		e->rest = true;
		return end;
	}
	e->exits->to_nobody = true;
	return e->exits->nobody;
}

/* Labels for the edges of a node: those that report somebody get code of their own, equal ones the same. */
static int plan_node(struct emitter *e, const struct tree_node *n, program_label end, struct search *s, bool **own)
{
	program_label *target = arena_array(e->arena, n->edge_count, sizeof(*target));

	*own = arena_array(e->arena, n->edge_count, sizeof(**own));
	if (target == NULL || *own == NULL)
		return no_memory(e);
	*s = (struct search){ .p = e->p, .node = n, .target = target,
			      .wide = n->level == FIELD_DST6 || n->level == FIELD_SRC6 };
	for (size_t i = 0; i < n->edge_count; i++) {
		const struct tree_edge *edge = &n->edges[i];
		size_t same = 0;

		while (!tree_edge_same(edge, &n->edges[same]))
			same++;
		if (!edge_matches(edge)) {
			target[i] = edge_quiet(e, n, edge, end);
		} else if (same < i) {
			target[i] = target[same];
		} else {
			target[i] = p_label(e->p);
			(*own)[i] = true;
		}
	}
	return 0;
}

/* The question, then for each different edge that matches something: its bits, and on. */
static void emit_node(struct emitter *e, const struct search *s, const bool *own, program_label end)
{
	const struct tree_node *n = s->node;

	p_set(e->p, n->label);
	emit_question(e, s);
	for (size_t i = 0; i < n->edge_count; i++) {
		const struct tree_edge *edge = &n->edges[i];

		if (edge->next != NULL)
			edge->next->late |= n->late || edge_matches(edge);
		if (!own[i])
			continue;
		p_set(e->p, s->target[i]);
		if (e->only && !n->late && edge->next == NULL) {
			emit_leaf(e, edge->slots, end);
			continue;
		}
		emit_match(e->p, edge->slots);
		e->rest |= edge->next == NULL;
		p_goto(e->p, edge->next == NULL ? end : edge->next->label);
	}
}

/* The fields, then the root: frames whose type is known when their fields are read skip its question. */
static int emit_root(struct emitter *e, struct tree_node *n, program_label end)
{
	struct rule_types types = { .known = n->level == FIELD_TYPE };
	struct search s;
	bool *own;
	int err = plan_node(e, n, end, &s, &own);

	if (err != 0)
		return err;
	if (types.known) {
		types.ip4 = s.target[tree_edge_of(n, RULE_IP4) - n->edges];
		types.ip6 = s.target[tree_edge_of(n, RULE_IP6) - n->edges];
	}
	rule_fields_emit(e->p, e->terms, e->term_count, &types);
	emit_node(e, &s, own, end);
	return 0;
}

static int emit_tree(struct emitter *e, struct tree *tree)
{
	program_label end = p_label(e->p);
	bool fields = e->only;

	for (unsigned level = 0; level < TREE_LEVELS; level++) {
		for (struct tree_node *n = tree->levels[level]; n != NULL; n = n->beside)
			n->label = p_label(e->p);
	}
	if (tree->root.next != NULL)
		tree->root.next->late = edge_matches(&tree->root);
	else
		e->rest = true;
	emit_match(e->p, tree->root.slots);
	/* The root's node is the only one of the lowest level, so it follows at once. */
	for (unsigned level = 0; level < TREE_LEVELS; level++) {
		for (struct tree_node *n = tree->levels[level]; n != NULL; n = n->beside) {
			struct search s;
			bool *own;
			int err = 0;

			if (fields)
				err = emit_root(e, n, end);
			else
				err = plan_node(e, n, end, &s, &own);
			if (err != 0)
				return err;
			if (!fields)
				emit_node(e, &s, own, end);
			fields = false;
		}
	}
	p_set(e->p, end);
	return 0;
}

/* Rules that ask for the same fields share a tree best. */
static unsigned asked_fields(const struct tree_term *t)
{
	unsigned fields = 0;

	for (int f = 0; f < FIELD_COUNT; f++)
		fields |= t->term.field[f] == NULL ? 0 : 1u << f;
	return fields | (t->term.in != 0 ? 1u << FIELD_COUNT : 0);
}

static int by_fields(const void *a, const void *b)
{
	const struct tree_term *x = a, *y = b;
	unsigned fx = asked_fields(x), fy = asked_fields(y);

	return fx != fy ? (fx < fy ? -1 : 1) : (int)x->slot - (int)y->slot;
}

/* One tree, or two of half the terms where one grows too much; a tree of one term never does. */
static int emit_trees(struct emitter *e, struct tree_term *terms, size_t count)
{
	AUTO_ARENA struct arena work = ARENA_INIT(RULE_ARENA_BYTES_MAX);
	struct arena *outer = e->arena;
	struct tree tree;
	int err = tree_build(&work, terms, count, &tree);

	if (err == 0) {
		e->arena = &work;
		err = emit_tree(e, &tree);
		e->arena = outer;
		e->chain_max += tree.chain_max;
		return err;
	}
	arena_done(&work);
	if (count == 1)
		return no_memory(e);
	if (e->only) {
		e->only = false;
		e->exits = NULL;
		rule_fields_emit(e->p, e->terms, e->term_count, &(struct rule_types){ .known = false });
	}
	err = emit_trees(e, terms, count / 2);
	return err == 0 ? emit_trees(e, terms + count / 2, count - count / 2) : err;
}

/* ---- guards ---- */

static bool guard_seen(const struct rule_use *uses, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		if (uses[i].rule->guard_why != NULL && strcmp(uses[i].rule->text, uses[at].rule->text) == 0)
			return true;
	}
	return false;
}

/* Equal texts run once. */
static void emit_guards(struct emitter *e, const struct rule_use *uses, size_t count)
{
	bool length = false;

	for (size_t i = 0; i < count; i++)
		length |= guard_needs_length(uses[i].rule->guard, uses[i].rule->guard_count);
	if (length)
		guard_emit_length(e->p, RULE_AT_LENGTH);
	for (size_t i = 0; i < count; i++) {
		uint32_t slots[TREE_WORDS] = { 0 };
		program_label no;

		if (uses[i].rule->guard_why == NULL || guard_seen(uses, i))
			continue;
		for (size_t j = i; j < count; j++) {
			if (uses[j].rule->guard_why == NULL || strcmp(uses[i].rule->text, uses[j].rule->text) != 0)
				continue;
			slots[uses[j].slot / 32] |= 1u << (uses[j].slot % 32);
			e->chain_max++;
		}
		no = p_label(e->p);
		guard_emit(e->p, uses[i].rule->guard, uses[i].rule->guard_count, RULE_AT_LENGTH);
		p_jump_imm(e->p, BPF_JEQ, true, 8, 0, no);
		emit_match(e->p, slots);
		p_set(e->p, no);
	}
}

int rule_emit(struct program *p, const struct rule_use *uses, size_t count, const struct rule_sets *sets,
	      struct rule_exits *exits, size_t *chain_max, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(RULE_ARENA_BYTES_MAX);
	struct emitter e = { .p = p, .arena = &arena, .exits = exits, .only = true, .why = why };
	int err = gather(&e, uses, count, sets);

	for (size_t i = 0; i < count; i++) {
		if (uses[i].rule->guard_why != NULL)
			e.exits = NULL;
	}
	if (err == 0 && e.term_count > 0) {
		qsort(e.terms, e.term_count, sizeof(*e.terms), by_fields);
		err = emit_trees(&e, e.terms, e.term_count);
	}
	if (err != 0)
		return err;
	emit_guards(&e, uses, count);
	if (exits != NULL)
		exits->rest = e.exits == NULL || e.rest || e.term_count == 0;
	*chain_max = MIN(e.chain_max, count);
	return 0;
}
