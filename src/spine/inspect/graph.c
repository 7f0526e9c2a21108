#include "spine/inspect/graph.h"

#include <errno.h>

#include "spine/inspect/inspect_limits.h"

static int fault_at(struct graph_fault *fault, int err, uint32_t insn, const char *what)
{
	*fault = (struct graph_fault){ .insn = insn, .what = what };
	return err;
}

static bool is_jump(uint8_t code)
{
	uint8_t class = BPF_CLASS(code), op = BPF_OP(code);

	return (class == BPF_JMP || class == BPF_JMP32) && op != BPF_CALL && op != BPF_EXIT;
}

static bool is_goto(uint8_t code)
{
	return code == (BPF_JMP | BPF_JA) || code == (BPF_JMP32 | BPF_JA);
}

/* Where it jumps to. gotol has its distance in imm. */
static int64_t target_of(const struct bpf_insn *i, uint32_t at)
{
	return (int64_t)at + 1 + (i->code == (BPF_JMP32 | BPF_JA) ? (int64_t)i->imm : (int64_t)i->off);
}

enum { LEADS = 1, SECOND = 2 };		/* marks: a block begins here; second half of a pair */

static int mark(const struct object_program *p, uint8_t *marks, struct graph_fault *fault)
{
	for (uint32_t i = 0; i < p->insn_count; i++) {
		if (p->insns[i].code != (BPF_LD | BPF_IMM | BPF_DW))
			continue;
		if (++i == p->insn_count)
			return fault_at(fault, -EINVAL, i - 1, "is the first half of a pair without the second");
		marks[i] = SECOND;
	}
	marks[0] |= LEADS;
	for (uint32_t i = 0; i < p->insn_count; i++) {
		uint8_t code = p->insns[i].code;
		if ((marks[i] & SECOND) || (!is_jump(code) && code != (BPF_JMP | BPF_EXIT)))
			continue;
		if (i + 1 < p->insn_count)
			marks[i + 1] |= LEADS;
		if (!is_jump(code))
			continue;
		int64_t to = target_of(&p->insns[i], i);
		if (to < 0 || to >= p->insn_count || (marks[to] & SECOND))
			return fault_at(fault, -EINVAL, i, "jumps out of its function");
		if (BPF_OP(code) == BPF_JA && !is_goto(code))
			return fault_at(fault, -EINVAL, i, "jumps to an address from a register");
		marks[to] |= LEADS;
	}
	return 0;
}

static int connect(const struct object_program *p, struct graph *g, const uint32_t *block_of,
		   struct graph_fault *fault)
{
	for (uint32_t b = 0; b < g->count; b++) {
		struct graph_block *block = &g->blocks[b];
		uint32_t last = block->end - 1;
		/* The second half of a pair has code 0, which is no jump. */
		uint8_t code = p->insns[last].code;

		block->next = block->jump = block->loop = block->order = GRAPH_NONE;
		if (code == (BPF_JMP | BPF_EXIT))
			continue;
		if (is_jump(code))
			block->jump = block_of[target_of(&p->insns[last], last)];
		if (is_goto(code))
			continue;
		if (block->end == p->insn_count)
			return fault_at(fault, -EINVAL, last, "is the last one, and the program goes on behind it");
		block->next = b + 1;
	}
	return 0;
}

static int make_blocks(struct arena *arena, const struct object_program *p, struct graph *g,
		       struct graph_fault *fault)
{
	uint8_t *marks = arena_array(arena, p->insn_count, 1);
	uint32_t *block_of = arena_array(arena, p->insn_count, sizeof(*block_of));

	if (marks == NULL || block_of == NULL)
		return -ENOMEM;
	int err = mark(p, marks, fault);
	if (err != 0)
		return err;
	for (uint32_t i = 0; i < p->insn_count; i++) {
		g->count += marks[i] & LEADS;
		block_of[i] = g->count - 1;
	}
	if (g->count > INSPECT_BLOCKS_MAX)
		return fault_at(fault, -E2BIG, 0, "begins a function with more branches than the inspector follows");
	g->blocks = arena_array(arena, g->count, sizeof(*g->blocks));
	if (g->blocks == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->insn_count; i++) {
		if (marks[i] & LEADS)
			g->blocks[block_of[i]].first = i;
		g->blocks[block_of[i]].end = i + 1;
	}
	return connect(p, g, block_of, fault);
}

/* State of the depth-first walk. */
struct walk {
	struct graph *g;
	uint32_t *path;			/* by block: 1 + depth while it is on the way from the entry, else 0 */
	bool *seen;
	uint32_t *stack, *post;
	uint8_t *edge;			/* by depth: which edge comes next */
	uint32_t posted;
};

/* Block b is in the loop of header h: weave h into b's chain of headers, outer ones further on. */
static void set_loop(struct walk *w, uint32_t b, uint32_t h)
{
	if (b == h || h == GRAPH_NONE)
		return;
	while (w->g->blocks[b].loop != GRAPH_NONE) {
		uint32_t outer = w->g->blocks[b].loop;
		if (outer == h)
			return;
		if (w->path[outer] < w->path[h]) {
			w->g->blocks[b].loop = h;
			b = h;
			h = outer;
		} else {
			b = outer;
		}
	}
	w->g->blocks[b].loop = h;
}

static void seen_edge(struct walk *w, uint32_t from, uint32_t to)
{
	uint32_t h;

	if (w->path[to] > 0) {
		w->g->blocks[to].header = true;
		set_loop(w, from, to);
		return;
	}
	for (h = w->g->blocks[to].loop; h != GRAPH_NONE; h = w->g->blocks[h].loop) {
		if (w->path[h] > 0) {
			set_loop(w, from, h);
			return;
		}
		/* We enter a loop whose header is not on our way: it has two entries. */
		w->g->irreducible = true;
	}
}

static void walk_blocks(struct walk *w)
{
	uint32_t depth = 0;

	w->stack[0] = 0;
	w->seen[0] = true;
	w->path[0] = 1;
	for (;;) {
		uint32_t b = w->stack[depth];
		const struct graph_block *block = &w->g->blocks[b];
		if (w->edge[depth] < 2) {
			/* The jump first: what falls through then comes earlier in the walk order. */
			uint32_t to = w->edge[depth]++ == 0 ? block->jump : block->next;
			if (to == GRAPH_NONE)
				continue;
			if (w->seen[to]) {
				seen_edge(w, b, to);
				continue;
			}
			w->seen[to] = true;
			w->stack[++depth] = to;
			w->edge[depth] = 0;
			w->path[to] = depth + 1;
			continue;
		}
		w->path[b] = 0;
		w->post[w->posted++] = b;
		if (depth == 0)
			return;
		depth--;
		set_loop(w, w->stack[depth], block->loop);
	}
}

/* Lists of members, each in walk order. */
static int list_members(struct arena *arena, struct graph *g, const struct walk *w)
{
	g->members = arena_array(arena, g->count + 1, sizeof(*g->members));
	g->member_at = arena_array(arena, (size_t)g->count + 2, sizeof(*g->member_at));
	if (g->members == NULL || g->member_at == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->posted; i++) {
		struct graph_block *b = &g->blocks[w->post[w->posted - 1 - i]];
		uint32_t owner = b->loop == GRAPH_NONE ? g->count : b->loop;
		b->order = i;
		g->member_at[owner + 1]++;
	}
	for (uint32_t i = 0; i <= g->count; i++)
		g->member_at[i + 1] += g->member_at[i];
	uint32_t *next = arena_array(arena, (size_t)g->count + 1, sizeof(*next));
	if (next == NULL)
		return -ENOMEM;
	memcpy(next, g->member_at, ((size_t)g->count + 1) * sizeof(*next));
	for (uint32_t i = 0; i < w->posted; i++) {
		uint32_t b = w->post[w->posted - 1 - i];
		uint32_t owner = g->blocks[b].loop == GRAPH_NONE ? g->count : g->blocks[b].loop;
		g->members[next[owner]++] = b;
	}
	return 0;
}

/* Depth of loops, counted up to one above what we follow. */
static void measure_depth(struct graph *g)
{
	for (uint32_t b = 0; b < g->count; b++) {
		uint32_t depth = 0;
		if (!g->blocks[b].header)
			continue;
		for (uint32_t h = b; h != GRAPH_NONE && depth <= INSPECT_LOOP_DEPTH_MAX; h = g->blocks[h].loop)
			depth++;
		if (depth > g->depth)
			g->depth = depth;
	}
}

int graph_build(struct arena *arena, const struct object_program *p, struct graph *out, struct graph_fault *fault)
{
	struct graph g = { 0 };

	*fault = (struct graph_fault){ 0 };
	if (p->insn_count == 0)
		return fault_at(fault, -EINVAL, 0, "is missing");
	int err = make_blocks(arena, p, &g, fault);
	if (err != 0)
		return err;
	struct walk w = {
		.g = &g,
		.path = arena_array(arena, g.count, sizeof(*w.path)),
		.seen = arena_array(arena, g.count, sizeof(*w.seen)),
		.stack = arena_array(arena, g.count, sizeof(*w.stack)),
		.post = arena_array(arena, g.count, sizeof(*w.post)),
		.edge = arena_array(arena, g.count, sizeof(*w.edge)),
	};
	if (w.path == NULL || w.seen == NULL || w.stack == NULL || w.post == NULL || w.edge == NULL)
		return -ENOMEM;
	walk_blocks(&w);
	err = list_members(arena, &g, &w);
	if (err != 0)
		return err;
	measure_depth(&g);
	*out = g;
	return 0;
}

bool graph_back(const struct graph *g, uint32_t from, uint32_t to)
{
	if (!g->blocks[to].header)
		return false;
	for (uint32_t h = from; h != GRAPH_NONE; h = g->blocks[h].loop) {
		if (h == to)
			return true;
	}
	return false;
}
