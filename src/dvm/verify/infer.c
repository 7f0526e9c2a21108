#include "dvm/verify/infer.h"

#define TRY(what)                                                                                                                                                  \
	do {                                                                                                                                                       \
		if (unlikely(!(what)))                                                                                                                             \
			return false;                                                                                                                              \
	} while (0)

static vtype *copy_types(struct verifier *v, const vtype *types, uint32_t n)
{
	vtype *p = verify_alloc(v, (size_t)n + 1, sizeof(*p));

	if (p != NULL && n > 0)
		memcpy(p, types, n * sizeof(*p));
	return p;
}

static bool copy_masks(struct infer *f, const struct mask *masks, uint32_t n, const struct mask **out)
{
	struct mask *p = verify_alloc(f->v, (size_t)n + 1, sizeof(*p));

	for (uint32_t i = 0; p != NULL && i < n; i++) {
		p[i].entry = masks[i].entry;
		p[i].touched = verify_alloc(f->v, f->mask_words, sizeof(uint64_t));
		if (p[i].touched == NULL)
			return false;
		memcpy(p[i].touched, masks[i].touched, f->mask_words * sizeof(uint64_t));
	}
	*out = p;
	return p != NULL;
}

/* The longest list of subroutines that both are in; what either touched counts. */
static bool merge_masks(struct infer *f, struct node *n, const struct state *from)
{
	struct state *s = &n->before;
	uint32_t next = 0, kept = 0;
	struct mask *masks = (struct mask *)(uintptr_t)s->masks;

	for (uint32_t i = 0; i < s->mask_count; i++)
		for (uint32_t j = next; j < from->mask_count; j++)
			if (from->masks[j].entry == masks[i].entry) {
				for (uint32_t k = 0; k < f->mask_words; k++) {
					uint64_t both = masks[i].touched[k] | from->masks[j].touched[k];

					n->changed |= both != masks[i].touched[k];
					masks[i].touched[k] = both;
				}
				masks[kept++] = masks[i];
				next = j + 1;
				break;
			}
	n->changed |= kept != s->mask_count;
	s->mask_count = kept;
	return true;
}

static bool merge_stack(struct infer *f, struct node *n, const struct state *from)
{
	struct verifier *v = f->v;

	if (n->before.depth != from->depth)
		return refuse(v, "4.10.2.2", "the operand stack has %u words, and %u at another way to %u", from->depth, n->before.depth, n->in.pc);
	for (uint32_t i = 0; i < from->depth; i++) {
		vtype old = n->before.stack[i];

		if (infer_fits(v, from->stack[i], old))
			continue;
		n->before.stack[i] = infer_merge(v, old, from->stack[i], false);
		if (n->before.stack[i] == TYPE_TOP)
			return refuse(v, "4.10.2.2", "word %u of the operand stack has types that do not fit together where ways meet at %u", i, n->in.pc);
		n->changed = true;
	}
	return true;
}

static bool merge_into(struct infer *f, uint32_t to, const struct state *from)
{
	struct node *n = &f->nodes[to];
	struct verifier *v = f->v;

	if (!n->known) {
		n->known = n->changed = true;
		n->before = *from;
		n->before.stack = copy_types(v, from->stack, from->depth);
		n->before.locals = copy_types(v, from->locals, v->max_locals);
		return n->before.stack != NULL && n->before.locals != NULL && copy_masks(f, from->masks, from->mask_count, &n->before.masks);
	}
	TRY(merge_stack(f, n, from));
	for (uint32_t i = 0; i < v->max_locals; i++) {
		vtype old = n->before.locals[i];

		if (old == from->locals[i] || infer_fits(v, from->locals[i], old))
			continue;
		n->before.locals[i] = infer_merge(v, from->locals[i], old, false);
		n->changed = true;
	}
	n->changed |= (n->before.constructed && !from->constructed) || (!n->before.may_skip && from->may_skip) || (!n->before.no_return && from->no_return);
	n->before.constructed &= from->constructed;
	n->before.may_skip |= from->may_skip;
	n->before.no_return |= from->no_return;
	TRY(merge_masks(f, n, from));
	return v->fault->kind == CLASS_FAULT_NONE;
}

/* Objects that are not initialized do not go into a subroutine, and not out of it. */
static bool forget_new(struct infer *f, struct state *s)
{
	s->stack = copy_types(f->v, s->stack, s->depth);
	s->locals = copy_types(f->v, s->locals, f->v->max_locals);
	if (s->stack == NULL || s->locals == NULL)
		return false;
	for (uint32_t i = 0; i < s->depth; i++)
		if (type_is_new(s->stack[i]))
			s->stack[i] = TYPE_TOP;
	for (uint32_t i = 0; i < f->v->max_locals; i++)
		if (type_is_new(s->locals[i]))
			s->locals[i] = TYPE_TOP;
	return true;
}

static bool is_jsr(uint8_t op)
{
	return op == OP_jsr || op == OP_jsr_w;
}

/* To the handlers that cover the instruction: with the locals from before it; a constructor may also have done its work. */
static bool flow_handlers(struct infer *f, struct node *n)
{
	struct verifier *v = f->v;
	struct state s;

	for (uint32_t i = 0; i < v->handler_count; i++) {
		const struct handler *h = &v->handlers[i];
		vtype thrown = h->type;

		if (n->in.pc < h->start || n->in.pc >= h->end)
			continue;
		v->handler_steps++;
		s = n->before;
		s.stack = &thrown;
		s.depth = 1;
		if (is_jsr(n->in.op) || n->in.op == OP_ret)
			TRY(forget_new(f, &s));
		TRY(merge_into(f, v->at[h->target] - 1, &s));
		if (!n->is_init)
			continue;
		s = f->after;
		s.stack = &thrown;
		s.depth = 1;
		s.no_return |= f->init_from == TYPE_UNINITIALIZED_THIS;
		TRY(merge_into(f, v->at[h->target] - 1, &s));
	}
	return true;
}

static bool flow_next(struct infer *f, uint32_t to, const struct state *s)
{
	if (to >= f->count)
		return refuse(f->v, "4.10.2.2", "control falls off the end of the code");
	return merge_into(f, to, s);
}

/* Back behind one jsr of the subroutine: what it did not touch is as it was there. */
static bool flow_return(struct infer *f, uint32_t jsr, uint32_t entry, uint32_t ret)
{
	struct verifier *v = f->v;
	struct node *call = &f->nodes[jsr];
	struct state s = f->after;
	uint32_t mask = s.mask_count;

	if (call->ret != NO_INSN && call->ret != ret)
		return refuse(v, "4.10.2.5", "two rets return to the jsr at %u", call->in.pc);
	call->ret = ret;
	if (!call->known)
		return true;		/* it is looked at again when the jsr is */
	while (mask > 0 && s.masks[mask - 1].entry != entry)
		mask--;
	if (mask == 0)
		return refuse(v, "4.10.2.5", "ret in code that its subroutine did not reach");
	TRY(forget_new(f, &s));
	for (uint32_t i = 0; i < v->max_locals; i++)
		if ((s.masks[mask - 1].touched[i / 64] >> (i % 64) & 1) == 0)
			s.locals[i] = call->before.locals[i];
	s.mask_count = mask - 1;
	return flow_next(f, jsr + 1, &s);
}

static bool flow_ret(struct infer *f, struct node *n)
{
	uint32_t entry = n->before.locals[n->in.index] & ~TYPE_RETURN;

	for (uint32_t i = 0; i < f->count; i++)
		if (is_jsr(f->nodes[i].in.op) && f->nodes[i].target == entry)
			TRY(flow_return(f, i, entry, (uint32_t)(n - f->nodes)));
	f->v->infer_steps += f->count / 16;
	return true;
}

static bool flow(struct infer *f, struct node *n)
{
	uint32_t index = (uint32_t)(n - f->nodes);
	uint8_t op = n->in.op;

	TRY(flow_handlers(f, n));
	if (op == OP_ret)
		return flow_ret(f, n);
	if (is_jsr(op)) {
		if (n->ret != NO_INSN)
			f->nodes[n->ret].changed = true;
		TRY(forget_new(f, &f->after));
		return flow_next(f, n->target, &f->after);
	}
	if (op == OP_tableswitch || op == OP_lookupswitch) {
		for (uint32_t i = 0; i < n->in.pairs; i++)
			TRY(flow_next(f, f->v->at[insn_target(&n->in, i)] - 1, &f->after));
		return flow_next(f, f->v->at[n->in.fallback] - 1, &f->after);
	}
	if (insn_branches(&n->in))
		TRY(flow_next(f, n->target, &f->after));
	return insn_ends(op) || flow_next(f, index + 1, &f->after);
}

static bool visit(struct infer *f, struct node *n)
{
	struct verifier *v = f->v;

	n->changed = false;
	v->pc = n->in.pc;
	v->op = n->in.op;
	if (++v->infer_steps > VERIFY_INFER_STEPS_MAX || v->handler_steps > VERIFY_HANDLER_STEPS_MAX)
		return refuse_limit(v, "types of more than %d instructions to infer", VERIFY_INFER_STEPS_MAX);
	f->now = n;
	f->after = n->before;
	f->after.stack = v->stack;
	f->after.locals = v->locals;
	if (n->before.depth > 0)
		memcpy(v->stack, n->before.stack, n->before.depth * sizeof(vtype));
	if (v->max_locals > 0)
		memcpy(v->locals, n->before.locals, v->max_locals * sizeof(vtype));
	/* Rules write into masks: those of the state before stay. */
	if (n->before.mask_count > 0)
		TRY(copy_masks(f, n->before.masks, n->before.mask_count, &f->after.masks));
	return infer_step(f) && flow(f, n);
}

static bool run(struct infer *f)
{
	bool work = true;

	while (work) {
		work = false;
		for (uint32_t i = 0; i < f->count; i++)
			if (f->nodes[i].changed) {
				work = true;
				TRY(visit(f, &f->nodes[i]));
			}
	}
	return true;
}

static bool list(struct infer *f)
{
	struct verifier *v = f->v;
	uint32_t length = (uint32_t)v->code->bytes.len;

	for (uint32_t pc = 0; pc < length; pc++)
		f->count += v->at[pc] != 0;
	f->nodes = verify_alloc(v, f->count, sizeof(*f->nodes));
	if (f->nodes == NULL)
		return false;
	for (uint32_t pc = 0, i = 0; pc < length; pc++)
		if (v->at[pc] != 0) {
			if (!code_next(v->code, pc, &f->nodes[i].in))
				return refuse(v, "4.9.1", "no whole instruction stands at %u", pc);
			f->nodes[i].ret = NO_INSN;
			v->at[pc] = ++i;
		}
	for (uint32_t i = 0; i < f->count; i++) {
		v->pc = f->nodes[i].in.pc;
		TRY(infer_operands(f, &f->nodes[i]));
	}
	return true;
}

static bool handlers(struct verifier *v)
{
	if (code_handlers(v->code) > 0 && v->max_stack < 1)
		return refuse(v, "4.10.2.2", "the operand stack has no room for an exception, and there are handlers");
	TRY(method_handlers(v));
	for (uint32_t i = 0; i < v->handler_count; i++)
		if (v->handlers[i].target == 0)
			return refuse_format(v, "4.7.3", "a handler stands at the method's first instruction");
	return true;
}

bool infer_method(struct verifier *v)
{
	struct infer f = { .v = v };
	struct state first;

	TRY(method_begin(v) && method_starts(v) && list(&f) && handlers(v));
	f.mask_words = v->max_locals / 64 + 1;
	method_enter(v);
	first = (struct state){ .stack = v->stack, .locals = v->locals, .may_skip = v->flag_this };
	TRY(merge_into(&f, 0, &first));
	TRY(run(&f));
	v->result->instructions += f.count;
	return true;
}
