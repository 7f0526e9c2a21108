/*
 * The walk over all paths of a function: what registers and stack may hold, and what the longest path costs.
 *
 * Paths that meet are joined, so that the work grows with the instructions and not with the number of paths.
 * Loops are followed round by round: a loop that counts to a constant ends when its way back can't be taken any
 * more, whatever it counts with (a register, a stack slot, 32 or 64 bits, up, down or by an iterator). A round that
 * changes nothing proves that we will never see the end: the loop is unbounded. So is one that we have not
 * seen ending when the cost limit is reached. A loop that ends at the packet's end is unbounded: the
 * verifier's bound of 64 KiB is no useful one, and a constant one costs the author a line.
 */
#include <errno.h>

#include "spine/inspect/inspect_internal.h"

#define STACK_BYTES 512
#define MODE_NOSPEC 0xc0		/* a barrier, in translated programs only; no store */
#ifndef BPF_JCOND
#define BPF_JCOND 0xe0			/* may_goto, since Linux 6.9 */
#endif

static uint32_t value_count(const struct run *r)
{
	return FLOW_REGISTERS + r->f->cells;
}

static struct state *state_new(struct run *r)
{
	struct state *s = r->in->spare;

	if (s != NULL) {
		r->in->spare = s->next;
		return s;
	}
	s = ARENA_NEW(&r->in->scratch, struct state);
	if (s == NULL)
		r->in->err = -ENOMEM;
	return s;
}

static void state_free(struct inspection *in, struct state *s)
{
	if (s == NULL)
		return;
	s->next = in->spare;
	in->spare = s;
}

static struct state *state_copy(struct run *r, const struct state *from)
{
	struct state *s = state_new(r);

	if (s == NULL)
		return NULL;
	s->escaped = from->escaped;
	memcpy(s->v, from->v, value_count(r) * sizeof(s->v[0]));
	r->in->work += 4;
	return s;
}

static bool state_equal(const struct run *r, const struct state *a, const struct state *b)
{
	if (a->escaped != b->escaped)
		return false;
	for (uint32_t i = 0; i < value_count(r); i++) {
		if (!value_equal(&a->v[i], &b->v[i]))
			return false;
	}
	return true;
}

static void state_join(struct run *r, struct state *into, const struct state *from)
{
	into->escaped |= from->escaped;
	for (uint32_t i = 0; i < value_count(r); i++)
		into->v[i] = value_join(&into->v[i], &from->v[i]);
	r->in->work += 8;
}

/* All that a state can be. */
static void state_any(const struct run *r, struct state *s)
{
	for (uint32_t i = 0; i < value_count(r); i++)
		s->v[i] = value_any();
	s->v[BPF_REG_10] = value_stack(0);
	s->escaped = true;
}

struct value *flow_cell(const struct run *r, struct state *s, int64_t offset)
{
	if (offset >= 0 || offset % 4 != 0 || -offset / 4 > r->f->cells)
		return NULL;
	return &s->v[FLOW_REGISTERS + (uint32_t)(-offset / 4 - 1)];
}

/* Forget the cells of bytes offset .. offset + size - 1, and halves of which the other half goes. */
static void forget(const struct run *r, struct state *s, int64_t offset, int64_t size)
{
	int64_t begin = offset - ((offset % 4) + 4) % 4;

	for (int64_t at = begin; at < offset + size && at < 0; at += 4) {
		struct value *cell = flow_cell(r, s, at), *above = flow_cell(r, s, at + 4);
		struct value *below = flow_cell(r, s, at - 4);
		if (cell == NULL)
			continue;
		if (cell->kind == VALUE_UPPER && below != NULL)
			*below = value_any();
		if (above != NULL && above->kind == VALUE_UPPER)
			*above = value_any();
		*cell = value_any();
	}
}

void flow_clobber_from(const struct run *r, struct state *s, int64_t offset)
{
	if (offset < -STACK_BYTES)
		offset = -STACK_BYTES;
	if (offset < 0)
		forget(r, s, offset, -offset);
}

void flow_clobber(const struct run *r, struct state *s)
{
	for (uint32_t i = FLOW_REGISTERS; i < value_count(r); i++)
		s->v[i] = value_any();
}

static int64_t bytes_of(uint8_t code)
{
	switch (BPF_SIZE(code)) {
	case BPF_B:
		return 1;
	case BPF_H:
		return 2;
	case BPF_W:
		return 4;
	default:
		return 8;
	}
}

static void store(const struct run *r, struct state *s, const struct value *base, int64_t off, int64_t size,
		  const struct value *v)
{
	int64_t at = (int64_t)base->low + off;

	if (base->kind != VALUE_STACK && value_may_be_stack(v))
		s->escaped = true;
	if (base->kind == VALUE_ANY || (base->kind == VALUE_STACK && base->high == 0)) {
		flow_clobber(r, s);
		return;
	}
	if (base->kind != VALUE_STACK || at < -STACK_BYTES || at >= 0)
		return;
	forget(r, s, at, size);
	struct value *cell = flow_cell(r, s, at), *upper = flow_cell(r, s, at + 4);
	if (cell == NULL || size < 4)
		return;
	struct value half = value_range(0, UINT32_MAX);
	if (size == 4) {
		*cell = v->kind == VALUE_NUMBER ? value_alu(BPF_MOV, false, &half, v) : half;
	} else if (upper != NULL) {
		*cell = *v;
		*upper = (struct value){ .kind = VALUE_UPPER };
	}
}

static struct value load(const struct run *r, struct state *s, const struct value *base, int64_t off, int64_t size)
{
	struct value all = size == 8 ? value_unknown() : value_range(0, (UINT64_C(1) << size * 8) - 1);

	if (!value_may_be_stack(base))
		return all;
	struct value *cell = base->kind == VALUE_STACK && base->high == 1
				     ? flow_cell(r, s, (int64_t)base->low + off) : NULL;
	struct value *upper = cell == NULL ? NULL : flow_cell(r, s, (int64_t)base->low + off + 4);
	bool whole = upper != NULL && upper->kind == VALUE_UPPER;
	if (cell == NULL || cell->kind == VALUE_UPPER || cell->kind == VALUE_ITERATOR)
		return size == 8 ? value_any() : all;
	if (size == 8)
		return whole ? *cell : value_any();
	if (size == 4 && cell->kind == VALUE_NUMBER && cell->high <= UINT32_MAX)
		return *cell;
	return all;
}

static void move(const struct bpf_insn *i, bool wide, struct value *dst, const struct value *src)
{
	if (i->off == 0)
		*dst = value_alu(BPF_MOV, wide, dst, src);
	else if (i->off == 8 || i->off == 16 || i->off == 32)
		*dst = value_sign_extend(src, (unsigned)i->off);
	else
		*dst = value_may_be_stack(src) ? value_any() : value_unknown();
	if (!wide && i->off != 0 && (dst->kind != VALUE_NUMBER || dst->high > UINT32_MAX))
		*dst = value_range(0, UINT32_MAX);
}

static void arithmetic(struct state *s, const struct bpf_insn *i)
{
	bool wide = BPF_CLASS(i->code) == BPF_ALU64;
	uint8_t op = BPF_OP(i->code);
	struct value *dst = &s->v[i->dst_reg];
	struct value src = BPF_SRC(i->code) == BPF_X ? s->v[i->src_reg]
						     : value_constant((uint64_t)(int64_t)i->imm);

	if (op == BPF_MOV) {
		move(i, wide, dst, &src);
	} else if (op == BPF_END) {
		*dst = value_range(0, i->imm == 16 ? UINT16_MAX : i->imm == 32 ? UINT32_MAX : UINT64_MAX);
	} else if (i->off != 0) {	/* signed division */
		*dst = wide ? value_unknown() : value_range(0, UINT32_MAX);
	} else {
		*dst = value_alu(op, wide, dst, op == BPF_NEG ? dst : &src);
	}
}

/*
 * lock *(base + off) op= src, where fetching ones load the old value. A load with acquire is among them: its address
 * is in src, and dst is what it changes.
 */
static void atomic(const struct run *r, struct state *s, const struct bpf_insn *i)
{
	if (i->imm == FLOW_LOAD_ACQUIRE) {
		s->v[i->dst_reg] = value_may_be_stack(&s->v[i->src_reg]) ? value_any() : value_unknown();
		return;
	}
	struct value base = s->v[i->dst_reg];
	struct value old = value_may_be_stack(&base) ? value_any() : value_unknown();
	struct value any = value_any();

	store(r, s, &base, i->off, bytes_of(i->code), &any);
	if (i->imm == BPF_CMPXCHG)
		s->v[BPF_REG_0] = old;
	else if (i->imm & BPF_FETCH)
		s->v[i->src_reg] = old;
}

static void load_constant(struct run *r, struct state *s, uint32_t at, const struct object_ref *ref)
{
	const struct bpf_insn *i = &r->f->program->insns[at];
	struct value *dst = &s->v[i->dst_reg];

	*dst = value_unknown();
	if (ref == NULL)
		*dst = value_constant((uint64_t)(uint32_t)i[1].imm << 32 | (uint32_t)i->imm);
	else if (ref->kind == REF_MAP)
		*dst = value_map(ref->index);
	else if (ref->kind == REF_FUNCTION)
		*dst = (struct value){ .kind = VALUE_FUNCTION, .index = ref->index };
}

/* One instruction that is neither jump nor call nor exit. */
static void step(struct run *r, struct state *s, uint32_t at)
{
	const struct bpf_insn *i = &r->f->program->insns[at];
	const struct object_ref *ref = object_ref_at(r->f->program, at);
	bool changed = ref != NULL && ref->kind == REF_CORE;
	struct value v;

	switch (BPF_CLASS(i->code)) {
	case BPF_ALU:
	case BPF_ALU64:
		arithmetic(s, i);
		if (changed)
			s->v[i->dst_reg] = value_may_be_stack(&s->v[i->dst_reg]) ? value_any() : value_unknown();
		break;
	case BPF_LD:
		if (BPF_MODE(i->code) == BPF_IMM)
			load_constant(r, s, at, ref);
		else
			s->v[BPF_REG_0] = value_unknown();
		break;
	case BPF_LDX:
		v = load(r, s, &s->v[i->src_reg], i->off, bytes_of(i->code));
		if (changed || BPF_MODE(i->code) != BPF_MEM)
			v = value_may_be_stack(&s->v[i->src_reg]) ? value_any() : value_unknown();
		s->v[i->dst_reg] = v;
		break;
	case BPF_ST:
	case BPF_STX:
		if (BPF_CLASS(i->code) == BPF_STX &&
		    (BPF_MODE(i->code) == BPF_ATOMIC || BPF_MODE(i->code) == FLOW_PROBE_ATOMIC)) {
			atomic(r, s, i);
			break;
		}
		if (BPF_MODE(i->code) == MODE_NOSPEC)
			break;
		v = BPF_CLASS(i->code) == BPF_ST ? value_constant((uint64_t)(int64_t)i->imm) : s->v[i->src_reg];
		store(r, s, &s->v[i->dst_reg], i->off, bytes_of(i->code), &v);
		if (changed && value_may_be_stack(&s->v[i->dst_reg]))
			flow_clobber(r, s);
		break;
	default:
		break;
	}
}

/* Bring a state to the next block; takes it. */
static void arrive(struct run *r, uint32_t from, uint32_t to, struct state *s, uint64_t cost)
{
	bool back = graph_back(&r->f->graph, from, to);
	struct state **at = back ? &r->f->again[to] : &r->f->state[to];
	uint64_t *at_cost = back ? &r->f->again_cost[to] : &r->f->cost[to];

	if (*at == NULL) {
		*at = s;
		*at_cost = cost;
		return;
	}
	state_join(r, *at, s);
	if (cost > *at_cost)
		*at_cost = cost;
	state_free(r->in, s);
}

static void branch(struct run *r, uint32_t b, struct state *s, uint64_t cost)
{
	const struct graph_block *block = &r->f->graph.blocks[b];
	const struct bpf_insn *i = &r->f->program->insns[block->end - 1];
	bool wide = BPF_CLASS(i->code) == BPF_JMP, constant = BPF_SRC(i->code) == BPF_K;

	for (int taken = 0; taken < 2; taken++) {
		struct state *to = state_copy(r, s);
		if (to == NULL)
			return;
		struct value imm = value_constant(wide ? (uint64_t)(int64_t)i->imm : (uint32_t)i->imm);
		struct value *dst = &to->v[i->dst_reg], *src = constant ? &imm : &to->v[i->src_reg];
		bool goes = BPF_OP(i->code) == BPF_JCOND || dst == src ||
			    value_branch(BPF_OP(i->code), wide, taken == 1, dst, src);
		if (goes)
			arrive(r, b, taken == 1 ? block->jump : block->next, to, cost);
		else
			state_free(r->in, to);
	}
}

static void end_path(struct run *r, const struct state *s, uint64_t cost)
{
	const struct value *result = &s->v[BPF_REG_0];

	r->outcome.result = r->outcome.returns ? value_join(&r->outcome.result, result) : *result;
	if (!r->outcome.returns || cost > r->outcome.cost)
		r->outcome.cost = cost;
	r->outcome.returns = true;
}

static void run_block(struct run *r, uint32_t b)
{
	const struct graph_block *block = &r->f->graph.blocks[b];
	const struct bpf_insn *insns = r->f->program->insns;
	struct state *s = r->f->state[b];
	uint64_t cost = r->f->cost[b];

	r->f->state[b] = NULL;
	for (uint32_t at = block->first; at < block->end && r->in->err == 0; at++) {
		uint8_t code = insns[at].code, class = BPF_CLASS(code);
		r->in->work++;
		cost = cost_add(cost, 1);
		if (code == (BPF_JMP | BPF_CALL))
			cost = cost_add(cost, flow_call(r, s, at));
		else if (class != BPF_JMP && class != BPF_JMP32)
			step(r, s, at);
		if (code == (BPF_LD | BPF_IMM | BPF_DW))
			at++;
	}
	if (insns[block->end - 1].code == (BPF_JMP | BPF_EXIT) && block->next == GRAPH_NONE &&
	    block->jump == GRAPH_NONE) {
		end_path(r, s, cost);
	} else if (block->jump != GRAPH_NONE && block->next != GRAPH_NONE) {
		branch(r, b, s, cost);
	} else if (r->in->err == 0) {
		arrive(r, b, block->jump != GRAPH_NONE ? block->jump : block->next, s, cost);
		return;
	}
	state_free(r->in, s);
}

static void run_loop(struct run *r, uint32_t header);

/* The members of a loop, or of the function, once and in order. */
static void run_members(struct run *r, uint32_t owner)
{
	const struct graph *g = &r->f->graph;

	for (uint32_t i = g->member_at[owner]; i < g->member_at[owner + 1] && r->in->err == 0; i++) {
		uint32_t b = g->members[i];
		if (r->f->state[b] == NULL)
			continue;
		if (g->blocks[b].header)
			run_loop(r, b);
		else
			run_block(r, b);
	}
}

/*
 * All rounds that we do not follow, as one without end: its way back is not taken again. The state must hold
 * all that those rounds can have.
 */
static void run_last_round(struct run *r, uint32_t header)
{
	r->f->cost[header] = INSPECT_UNBOUNDED;
	r->unbounded = true;
	run_block(r, header);
	run_members(r, header);
	state_free(r->in, r->f->again[header]);
	r->f->again[header] = NULL;
}

/* True when the loop went on for so long that we stop to follow it. */
static bool out_of_patience(const struct run *r, uint32_t header, uint64_t begin)
{
	uint64_t now = r->f->cost[header];

	return r->in->work > INSPECT_WORK_MAX || (now != INSPECT_UNBOUNDED && now - begin > INSPECT_COST_MAX);
}

static void run_loop(struct run *r, uint32_t header)
{
	uint32_t insn = r->f->graph.blocks[header].first;
	struct state *before = NULL;
	uint64_t begin = r->f->cost[header];

	while (r->in->err == 0) {
		if (out_of_patience(r, header, begin)) {
			inspection_unbounded(r->in, r->f->program, insn,
					     "was not seen to end within 1,000,000 instructions");
			state_any(r, r->f->state[header]);
			run_last_round(r, header);
			break;
		}
		state_free(r->in, before);
		before = state_copy(r, r->f->state[header]);
		if (before == NULL)
			return;
		run_block(r, header);
		run_members(r, header);
		if (r->f->again[header] == NULL)
			break;
		r->f->state[header] = r->f->again[header];
		r->f->cost[header] = r->f->again_cost[header];
		r->f->again[header] = NULL;
		if (!state_equal(r, before, r->f->state[header]))
			continue;
		/* Nothing changed in a round: the state is that of all later ones, too. */
		inspection_unbounded(r->in, r->f->program, insn,
				     "has no bound that can be proven: it does not count towards a constant");
		run_last_round(r, header);
		break;
	}
	state_free(r->in, before);
}

static bool make_places(struct inspection *in, struct function *f)
{
	struct arena *a = &in->scratch;
	uint32_t n = f->graph.count;

	if (f->state != NULL)
		return true;
	f->state = arena_array(a, n, sizeof(*f->state));
	f->again = arena_array(a, n, sizeof(*f->again));
	f->cost = arena_array(a, n, sizeof(*f->cost));
	f->again_cost = arena_array(a, n, sizeof(*f->again_cost));
	if (a->err != 0)
		in->err = a->err;
	return in->err == 0;
}

static void walk(struct inspection *in, struct function *f, const struct value *args, struct outcome *out)
{
	struct run r = { .in = in, .f = f };
	struct state *s = make_places(in, f) ? state_new(&r) : NULL;

	if (s == NULL)
		return;
	state_any(&r, s);
	s->escaped = false;
	for (uint32_t i = 0; i < BPF_REG_10; i++)
		s->v[i] = value_unknown();
	memcpy(&s->v[BPF_REG_1], args, 5 * sizeof(*args));
	f->state[0] = s;
	f->cost[0] = 0;
	/* Block 0 is the first member of the function. */
	run_members(&r, f->graph.count);
	/* What never returns is not free either. */
	if (r.unbounded || !r.outcome.returns)
		r.outcome.cost = INSPECT_UNBOUNDED;
	if (!r.outcome.returns)
		r.outcome.result = value_unknown();
	*out = r.outcome;
}

void flow_scan(struct inspection *in, uint32_t index)
{
	struct run r = { .in = in, .f = &in->functions[index] };
	struct state *s = state_new(&r);
	const struct object_program *p = r.f->program;

	for (uint32_t i = 0; s != NULL && i < p->insn_count && in->err == 0; i++) {
		if (p->insns[i].code == (BPF_LD | BPF_IMM | BPF_DW)) {
			i++;
			continue;
		}
		if (p->insns[i].code != (BPF_JMP | BPF_CALL))
			continue;
		state_any(&r, s);
		flow_call(&r, s, i);
	}
	state_free(in, s);
}

/* A function that we do not walk: anything may come of it. */
static struct outcome anything(void)
{
	return (struct outcome){ .cost = INSPECT_UNBOUNDED, .result = value_unknown(), .returns = true };
}

static const struct outcome *known_context(const struct function *f, const struct value *args)
{
	for (uint32_t c = 0; c < f->context_count; c++) {
		bool same = true;
		for (uint32_t i = 0; i < 5 && same; i++)
			same = value_equal(&f->contexts[c].args[i], &args[i]);
		if (same)
			return &f->contexts[c].outcome;
	}
	return NULL;
}

static struct outcome first_walk(struct inspection *in, uint32_t index, const struct value *args)
{
	struct function *f = &in->functions[index];
	struct outcome out = anything();

	f->walking = true;
	in->depth++;
	if (!f->has_graph || f->graph.irreducible || f->graph.depth > INSPECT_LOOP_DEPTH_MAX) {
		if (f->has_graph)
			inspection_unbounded(in, f->program, 0, f->graph.irreducible
				? "is jumped into at two places" : "has more than 8 loops in each other");
		flow_scan(in, index);
	} else {
		walk(in, f, args, &out);
	}
	in->depth--;
	f->walking = false;
	if (in->err == 0 && f->context_count < INSPECT_CONTEXTS_MAX) {
		struct context *c = &f->contexts[f->context_count++];
		memcpy(c->args, args, sizeof(c->args));
		c->outcome = out;
	}
	return out;
}

struct outcome flow_function(struct inspection *in, uint32_t index, const struct value *args)
{
	struct function *f = &in->functions[index];
	struct value own[5];

	/* An address of the caller's stack is not one of ours. */
	for (uint32_t i = 0; i < 5; i++)
		own[i] = args == NULL || value_may_be_stack(&args[i]) ? value_unknown() : args[i];
	if (f->context_count + 1 >= INSPECT_CONTEXTS_MAX && known_context(f, own) == NULL) {
		for (uint32_t i = 0; i < 5; i++)
			own[i] = value_unknown();
	}
	const struct outcome *known = known_context(f, own);
	if (known != NULL)
		return *known;
	if (f->walking || in->depth >= INSPECT_CALL_DEPTH_MAX) {
		inspection_find_once(in, f, f->walking ? "recursion" : "call-depth", 0, f->walking
			? "it calls itself; the kernel refuses that"
			: "it is called through more than 8 functions; the kernel refuses that");
		return anything();
	}
	return first_walk(in, index, own);
}
