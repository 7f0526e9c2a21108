/*
 * What calls do to the state of a walk, what they cost, and what they may not do with the arguments that they get.
 * Whether a helper may be called at all is looked at before, without walking (inspect.c).
 */
#include <stdio.h>

#include "spine/inspect/inspect_internal.h"

/* A call of a subprogram: 8-10 ns with the mitigations of the machine where costs were measured. */
#define CALL_COST	 24u
#define ROUNDS_MAX	 (1u << 23)	/* BPF_MAX_LOOPS of the kernel */
#define RING_ROUNDS_MAX	 (128u * 1024)	/* BPF_MAX_USER_RINGBUF_SAMPLES */
#define ITERATOR_MAX	 INSPECT_COST_MAX
#define VERDICTS	 (SPINE_VERDICTS_ALL)
/* Copying: some 12 GB/s where costs were measured, and an instruction is a third of a nanosecond. */
#define BYTES_AN_INSTRUCTION 4u
#define SHORT_BYTES	 256u
#define PACKET_BYTES	 4096u		/* in one buffer, and more than the stack */

/* A value of the set `few`. */
static struct value one_of(uint64_t few)
{
	struct value v = value_constant((uint64_t)__builtin_ctzll(few));

	for (uint64_t bit = 0; bit < 64; bit++) {
		struct value next = value_constant(bit);
		if (few >> bit & 1)
			v = value_join(&v, &next);
	}
	return v;
}

static void find(struct run *r, uint32_t insn, const char *rule, const char *sentence)
{
	inspection_find_once(r->in, r->f, rule, insn, sentence);
}

/* Helpers that only read what their arguments point to. */
static bool only_reads(int id)
{
	switch (id) {
	case BPF_FUNC_map_lookup_elem:
	case BPF_FUNC_map_update_elem:
	case BPF_FUNC_map_delete_elem:
	case BPF_FUNC_map_push_elem:
	case BPF_FUNC_map_lookup_percpu_elem:
	case BPF_FUNC_redirect:
	case BPF_FUNC_redirect_map:
	case BPF_FUNC_tail_call:
	case BPF_FUNC_csum_diff:
	case BPF_FUNC_perf_event_output:
	case BPF_FUNC_ringbuf_output:
	case BPF_FUNC_trace_printk:
	case BPF_FUNC_xdp_store_bytes:
	case BPF_FUNC_strncmp:
		return true;
	default:
		return false;
	}
}

/* What the callee may write through its arguments. Helpers write upwards from an address, functions anywhere. */
static void clobber_by_arguments(const struct run *r, struct state *s, bool anywhere)
{
	for (uint32_t i = BPF_REG_1; i <= BPF_REG_5; i++) {
		const struct value *v = &s->v[i];
		if (!value_may_be_stack(v))
			continue;
		if (anywhere || v->kind == VALUE_ANY || v->high == 0)
			flow_clobber(r, s);
		else
			flow_clobber_from(r, s, (int64_t)v->low);
	}
	if (anywhere && s->escaped)
		flow_clobber(r, s);
}

/* The next map of a set, or NULL; *rest begins as the value's `few`. */
static const struct object_map *next_map(const struct run *r, uint64_t *rest)
{
	if (*rest == 0)
		return NULL;
	uint32_t index = (uint32_t)__builtin_ctzll(*rest);
	*rest &= *rest - 1;
	return index < r->in->o->map_count ? &r->in->o->maps[index] : NULL;
}

static uint64_t lookup_cost(const struct run *r, const struct value *v)
{
	uint64_t rest = v->kind == VALUE_MAP ? v->few : 0, cost = 0;

	if (rest == 0)
		return inspect_helper_cost(BPF_FUNC_map_lookup_elem);
	for (const struct object_map *m; (m = next_map(r, &rest)) != NULL;) {
		uint64_t one = inspect_helper_cost(BPF_FUNC_map_lookup_elem);
		if (m->type == BPF_MAP_TYPE_ARRAY || m->type == BPF_MAP_TYPE_PERCPU_ARRAY)
			one = 6;	/* 2 ns */
		else if (m->type == BPF_MAP_TYPE_LPM_TRIE)
			one = 165;	/* 55 ns with 10,000 prefixes */
		cost = one > cost ? one : cost;
	}
	return cost;
}

/* Every map that it may be is one of the two that the runtime fills. */
static bool granted_targets(const struct run *r, const struct value *v)
{
	uint64_t rest = v->kind == VALUE_MAP ? v->few : 0;

	if (rest == 0)
		return false;
	for (const struct object_map *m; (m = next_map(r, &rest)) != NULL;) {
		bool ports = m->type == BPF_MAP_TYPE_DEVMAP_HASH && strcmp(m->name, "spine_ports") == 0;
		bool sockets = m->type == BPF_MAP_TYPE_XSKMAP && strcmp(m->name, "spine_sockets") == 0;
		if (!ports && !sockets)
			return false;
	}
	return true;
}

static struct value redirect_map(struct run *r, struct state *s, uint32_t insn)
{
	const struct value *flags = &s->v[BPF_REG_3];

	if (!r->in->adopted && !granted_targets(r, &s->v[BPF_REG_1]))
		find(r, insn, "helper redirect_map", "it forwards through a map that is not spine_ports (the granted "
		     "ports) or spine_sockets (the application's sockets); define it by SPINE_PORTS and call "
		     "spine_redirect()");
	/* The verdict when the map has no such entry is in the lowest bits of the flags. */
	if (flags->kind == VALUE_NUMBER && flags->low == flags->high)
		return one_of(SPINE_REDIRECT | UINT64_C(1) << (flags->low & 3));
	return one_of(VERDICTS);
}

static struct value redirect(struct run *r, const struct state *s, uint32_t insn)
{
	if (!r->in->adopted && !r->in->rights->redirect_checked && !value_is(&s->v[BPF_REG_1], 0))
		find(r, insn, "helper redirect", "it forwards to an interface of its own choice; SPINE_PORTS and "
		     "spine_redirect() know the ports that the policy allows; 'use helper redirect' in the policy allows it");
	return one_of(SPINE_REDIRECT | SPINE_ABORTED);
}

/*
 * A callback is called `rounds` times at most; UINT64_MAX: nobody knows. counted: its first argument is the number of
 * the round; else it is an address.
 */
static uint64_t call_back(struct run *r, struct state *s, uint32_t insn, const struct value *function,
			  uint64_t rounds, uint64_t each, bool counted)
{
	struct value args[5];

	for (uint32_t i = 0; i < 5; i++)
		args[i] = value_unknown();
	if (counted && rounds != UINT64_MAX && rounds > 0)
		args[0] = value_range(0, rounds - 1);
	if (function->kind != VALUE_FUNCTION) {
		inspection_unbounded(r->in, r->f->program, insn, "calls back a function that is not known");
		return INSPECT_UNBOUNDED;
	}
	struct outcome o = flow_function(r->in, function->index, args);
	clobber_by_arguments(r, s, true);
	if (rounds == UINT64_MAX) {
		inspection_unbounded(r->in, r->f->program, insn, "calls back for a number of rounds that is not "
				     "constant");
		return INSPECT_UNBOUNDED;
	}
	return cost_times(cost_add(o.cost, each), rounds);
}

static uint64_t loop_cost(struct run *r, struct state *s, uint32_t insn)
{
	const struct value *n = &s->v[BPF_REG_1];
	struct value function = s->v[BPF_REG_2];
	/* The kernel takes the lower 32 bits. */
	struct value rounds = value_alu(BPF_MOV, false, n, n);
	bool known = n->kind == VALUE_NUMBER && rounds.high <= ROUNDS_MAX;

	return call_back(r, s, insn, &function, known ? rounds.high : UINT64_MAX,
			 inspect_helper_cost(BPF_FUNC_loop), true);
}

static uint64_t for_each_cost(struct run *r, struct state *s, uint32_t insn)
{
	struct value function = s->v[BPF_REG_2];
	uint64_t rest = s->v[BPF_REG_1].kind == VALUE_MAP ? s->v[BPF_REG_1].few : 0, rounds = 0;

	for (const struct object_map *m; (m = next_map(r, &rest)) != NULL;)
		rounds = m->entries > rounds ? m->entries : rounds;
	return call_back(r, s, insn, &function, rounds > 0 ? rounds : UINT64_MAX,
			 inspect_helper_cost(BPF_FUNC_for_each_map_elem), false);
}

/* A callback that runs later, on a processor of the kernel's choice: bounded for itself. */
static void deferred(struct run *r, struct state *s, uint32_t insn, uint32_t reg)
{
	struct value function = s->v[reg];
	uint64_t cost = call_back(r, s, insn, &function, 1, 0, false);

	if (cost > r->in->aside)
		r->in->aside = cost;
}

/* A helper that we do not expect to call back got a function. */
static uint64_t strange_callback(struct run *r, struct state *s, uint32_t insn)
{
	for (uint32_t i = BPF_REG_1; i <= BPF_REG_5; i++) {
		struct value v = s->v[i];
		if (v.kind == VALUE_FUNCTION)
			return call_back(r, s, insn, &v, UINT64_MAX, 0, false);
	}
	return 0;
}

/* No memory that a helper may be given is longer. */
static uint64_t longest_memory(const struct run *r)
{
	uint64_t most = PACKET_BYTES;

	for (size_t i = 0; i < r->in->o->map_count; i++) {
		const struct object_map *m = &r->in->o->maps[i];
		uint64_t bytes = m->type == BPF_MAP_TYPE_RINGBUF ? m->entries : m->value_bytes;
		most = bytes > most ? bytes : most;
	}
	return most;
}

static uint64_t longest_value(const struct run *r, const struct value *map)
{
	uint64_t rest = map->kind == VALUE_MAP ? map->few : 0, most = 0;

	if (rest == 0)
		return longest_memory(r);
	for (const struct object_map *m; (m = next_map(r, &rest)) != NULL;)
		most = m->value_bytes > most ? m->value_bytes : most;
	return most;
}

/* Bytes that a helper goes through. */
static uint64_t bytes_of_helper(const struct run *r, const struct state *s, int id)
{
	const struct value *length = NULL;

	switch (id) {
	case BPF_FUNC_map_update_elem:
	case BPF_FUNC_map_push_elem:
	case BPF_FUNC_map_pop_elem:
	case BPF_FUNC_map_peek_elem:
		return longest_value(r, &s->v[BPF_REG_1]);
	case BPF_FUNC_csum_diff:
	case BPF_FUNC_xdp_load_bytes:
	case BPF_FUNC_xdp_store_bytes:
	case BPF_FUNC_dynptr_write:
		length = &s->v[BPF_REG_4];
		break;
	case BPF_FUNC_ringbuf_output:
		length = &s->v[BPF_REG_3];
		break;
	case BPF_FUNC_strncmp:
	case BPF_FUNC_dynptr_read:
		length = &s->v[BPF_REG_2];
		break;
	default:
		return 0;
	}
	uint64_t most = longest_memory(r);
	return length->kind == VALUE_NUMBER && length->high < most ? length->high : most;
}

/* Costs of helpers are those of short memory. */
static uint64_t long_cost(const struct run *r, const struct state *s, int id)
{
	uint64_t bytes = bytes_of_helper(r, s, id);

	return bytes > SHORT_BYTES ? (bytes - SHORT_BYTES) / BYTES_AN_INSTRUCTION : 0;
}

static uint64_t call_helper(struct run *r, struct state *s, uint32_t insn, int id, struct value *result)
{
	uint64_t cost = cost_add(inspect_helper_cost(id), long_cost(r, s, id));
	struct value function;

	switch (id) {
	case BPF_FUNC_map_lookup_elem:
		return lookup_cost(r, &s->v[BPF_REG_1]);
	case BPF_FUNC_loop:
		return loop_cost(r, s, insn);
	case BPF_FUNC_for_each_map_elem:
		return for_each_cost(r, s, insn);
	case BPF_FUNC_user_ringbuf_drain:
		function = s->v[BPF_REG_2];
		return call_back(r, s, insn, &function, RING_ROUNDS_MAX, cost, false);
	case BPF_FUNC_timer_set_callback:
		deferred(r, s, insn, BPF_REG_2);
		return cost;
	case BPF_FUNC_redirect:
		*result = redirect(r, s, insn);
		return cost;
	case BPF_FUNC_redirect_map:
		*result = redirect_map(r, s, insn);
		return cost;
	default:
		return cost_add(cost, strange_callback(r, s, insn));
	}
}

/* bpf_iter_num_new(it, start, end), signed. */
static void iterator_new(struct run *r, struct state *s)
{
	const struct value *at = &s->v[BPF_REG_1], *from = &s->v[BPF_REG_2], *to = &s->v[BPF_REG_3];
	bool known = from->kind == VALUE_NUMBER && to->kind == VALUE_NUMBER && from->high <= INT32_MAX &&
		     to->high <= INT32_MAX;
	uint64_t n = known && to->high > from->low ? to->high - from->low : 0;

	clobber_by_arguments(r, s, false);
	if (!known || n > ITERATOR_MAX || at->kind != VALUE_STACK || at->high == 0)
		return;
	struct value *cell = flow_cell(r, s, (int64_t)at->low);
	if (cell != NULL)
		*cell = (struct value){ .kind = VALUE_ITERATOR, .high = n };
}

/* bpf_iter_num_next(it): NULL when there is nothing left. */
static struct value iterator_next(struct run *r, struct state *s)
{
	const struct value *at = &s->v[BPF_REG_1];
	struct value *cell = at->kind == VALUE_STACK && at->high == 1 ? flow_cell(r, s, (int64_t)at->low) : NULL;

	if (cell == NULL || cell->kind != VALUE_ITERATOR)
		return value_unknown();
	if (cell->high == 0)
		return value_constant(0);
	cell->high--;
	return value_unknown();
}

static uint64_t call_kernel(struct run *r, struct state *s, uint32_t insn, const char *name, struct value *result)
{
	uint64_t cost = INSPECT_UNKNOWN_CALL_COST;

	if (strcmp(name, "bpf_iter_num_new") == 0) {
		iterator_new(r, s);
		return CALL_COST;
	}
	if (strcmp(name, "bpf_iter_num_next") == 0) {
		*result = iterator_next(r, s);
		return CALL_COST;
	}
	if (strcmp(name, "bpf_iter_num_destroy") == 0)
		cost = CALL_COST;
	else
		cost = cost_add(cost, strange_callback(r, s, insn));
	clobber_by_arguments(r, s, false);
	return cost;
}

static uint64_t call_function(struct run *r, struct state *s, uint32_t index, struct value *result)
{
	struct outcome o = flow_function(r->in, index, &s->v[BPF_REG_1]);

	clobber_by_arguments(r, s, true);
	if (!value_may_be_stack(&o.result))
		*result = o.result;
	return cost_add(o.cost, CALL_COST);
}

uint64_t flow_call(struct run *r, struct state *s, uint32_t insn)
{
	const struct bpf_insn *i = &r->f->program->insns[insn];
	const struct object_ref *ref = object_ref_at(r->f->program, insn);
	struct value result = value_unknown();
	uint64_t cost;

	if (ref != NULL && ref->kind == REF_CALL) {
		cost = call_function(r, s, ref->index, &result);
	} else if (ref != NULL && ref->kind == REF_EXTERN) {
		cost = call_kernel(r, s, insn, ref->name, &result);
	} else if (i->src_reg == 0) {
		cost = call_helper(r, s, insn, i->imm, &result);
		if (!only_reads(i->imm))
			clobber_by_arguments(r, s, false);
	} else {
		cost = cost_add(INSPECT_UNKNOWN_CALL_COST, strange_callback(r, s, insn));
		clobber_by_arguments(r, s, true);
	}
	for (uint32_t reg = BPF_REG_1; reg <= BPF_REG_5; reg++)
		s->v[reg] = value_unknown();
	s->v[BPF_REG_0] = result;
	return cost;
}
