/*
 * Fields and methods: getfield to putstatic, the five invokes (4.10.1.9), protected members (4.10.1.8), constructors.
 */
#include "dvm/verify/internal.h"

#define SECTION	     (opcode_section[v->op])
#define TRY(what)                                                                                                                                                  \
	do {                                                                                                                                                       \
		if (unlikely(!(what)))                                                                                                                             \
			return false;                                                                                                                              \
	} while (0)

/* ---- fields ---- */

static bool pop_field(struct verifier *v, const struct shape *s)
{
	for (unsigned i = s->result_words; i-- > 0;)
		TRY(check_pop(v, SECTION, s->types[i]));
	return true;
}

/* 4.10.1.8 for the object from which a member of ref's owner is taken. */
static bool check_protected(struct verifier *v, struct member_ref *ref, vtype object, bool is_method)
{
	char a[TYPE_TEXT_BYTES], b[TYPE_TEXT_BYTES];

	if (object == v->this_type || !links_is_protected(v, ref, is_method))
		return v->fault->kind == CLASS_FAULT_NONE;
	/* Arrays pretend that clone() is public. */
	if (is_method && ref->is_clone && ref->owner == v->object && type_is_array(v, object))
		return true;
	/* An interface is no Object here, although it is everywhere else. */
	if (!(object == v->object && (v->c->access_flags & ACC_INTERFACE) != 0) && assignable(v, object, v->this_type))
		return true;
	return refuse(v, "4.10.1.8", "the member is protected and of another package; the object is %s, %s is expected", type_text(v, object, a),
		      type_text(v, v->this_type, b));
}

/* Before its superclass's constructor ran, an object's own fields may be written. */
static bool is_own_field(struct verifier *v, const struct member_ref *ref)
{
	return ref->owner == v->this_type && class_field(v->c, symbol_text(v, ref->name), symbol_text(v, ref->descriptor)) != NULL;
}

static bool rule_putfield(struct verifier *v, struct member_ref *ref)
{
	char a[TYPE_TEXT_BYTES], b[TYPE_TEXT_BYTES];
	vtype object;

	TRY(pop_field(v, ref->shape));
	TRY(check_pop_any(v, SECTION, &object));
	if (object == TYPE_UNINITIALIZED_THIS && is_own_field(v, ref))
		object = v->this_type;
	if (!assignable(v, object, ref->owner))
		return refuse(v, SECTION, "the object is %s, %s is expected", type_text(v, object, a), type_text(v, ref->owner, b));
	return check_protected(v, ref, object, false);
}

static bool rule_getfield(struct verifier *v, struct member_ref *ref)
{
	vtype object = v->depth > 0 ? v->stack[v->depth - 1] : TYPE_TOP;

	TRY(check_pop(v, SECTION, ref->owner));
	TRY(check_protected(v, ref, object, false));
	return check_push_words(v, SECTION, ref->shape->types, ref->shape->result_words);
}

bool check_field(struct verifier *v)
{
	uint32_t index = operand16(v, 1);
	struct member_ref *ref;

	TRY(check_constant(v, SECTION, index, 1u << CONSTANT_FIELDREF));
	ref = ref_of(v, index);
	if (ref == NULL)
		return false;
	switch (v->op) {
	case OP_getstatic:
		return check_push_words(v, SECTION, ref->shape->types, ref->shape->result_words);
	case OP_putstatic:
		return pop_field(v, ref->shape);
	default:
		if (type_is_array(v, ref->owner))
			return refuse(v, SECTION, "the field's class is an array");
		return v->op == OP_getfield ? rule_getfield(v, ref) : rule_putfield(v, ref);
	}
}

/* ---- constructors ---- */

struct reach {				/* pcs that a handler reaches */
	struct verifier *v;
	uint8_t *seen;
	uint32_t *todo, count;
};

static bool reach_add(struct reach *r, int64_t pc)
{
	if (pc < 0 || pc >= (int64_t)r->v->code->bytes.len)
		return false;
	if (r->v->at[pc] != 0 && !r->seen[pc]) {
		r->seen[pc] = 1;
		r->todo[r->count++] = (uint32_t)pc;
	}
	return true;
}

/* What follows the instruction at pc; false: it leaves the method otherwise than by athrow. */
static bool reach_next(struct reach *r, uint32_t pc)
{
	struct insn in;

	if (!code_next(r->v->code, pc, &in) || in.op == OP_return)
		return false;
	if (in.op == OP_athrow)
		return true;
	if (in.op == OP_tableswitch || in.op == OP_lookupswitch) {
		for (uint32_t i = 0; i < in.pairs; i++)
			if (!reach_add(r, insn_target(&in, i)))
				return false;
		/* As HotSpot does: what stands behind the switch counts as well. */
		return reach_add(r, in.fallback) && reach_add(r, in.next);
	}
	if (insn_branches(&in) && !reach_add(r, in.target))
		return false;
	return in.op == OP_goto || in.op == OP_goto_w || reach_add(r, in.next);
}

/*
 * A handler around this() or super() must not let the object out: every way through it ends in athrow, or in a circle. Nor may the handlers around those ways.
 */
static bool handler_throws(struct verifier *v, uint32_t target, bool *throws)
{
	uint32_t length = (uint32_t)v->code->bytes.len;
	struct reach r = { .v = v, .seen = verify_alloc(v, length, 1), .todo = verify_alloc(v, length, sizeof(*r.todo)) };

	*throws = false;
	if (r.seen == NULL || r.todo == NULL)
		return false;
	(void)reach_add(&r, target);
	while (r.count > 0) {
		uint32_t pc = r.todo[--r.count];

		v->handler_steps += v->handler_count;
		if (v->handler_steps > VERIFY_HANDLER_STEPS_MAX)
			return refuse_limit(v, "more than %d rows of exception tables to compare", VERIFY_HANDLER_STEPS_MAX);
		for (uint32_t i = 0; i < v->handler_count; i++)
			if (pc >= v->handlers[i].start && pc < v->handlers[i].end)
				(void)reach_add(&r, v->handlers[i].target);
		if (!reach_next(&r, pc))
			return true;
	}
	*throws = true;
	return true;
}

static bool check_init_handlers(struct verifier *v)
{
	bool throws;

	for (uint32_t i = 0; i < v->handler_count; i++) {
		if (v->pc < v->handlers[i].start || v->pc >= v->handlers[i].end)
			continue;
		TRY(handler_throws(v, v->handlers[i].target, &throws));
		if (!throws)
			return refuse(v, SECTION, "the handler at %u around this() or super() does not always throw", v->handlers[i].target);
	}
	return true;
}

/* The object is initialized wherever it is. */
static void initialize(struct verifier *v, vtype from, vtype to)
{
	for (uint32_t i = 0; i < v->max_locals; i++)
		if (v->locals[i] == from)
			v->locals[i] = to;
	for (uint32_t i = 0; i < v->depth; i++)
		if (v->stack[i] == from)
			v->stack[i] = to;
	v->locals_changed = true;
	if (from == TYPE_UNINITIALIZED_THIS)
		v->flag_this = false;
}

static bool in_handlers(const struct verifier *v)
{
	return v->pc >= v->handlers_from && v->pc < v->handlers_to;
}

static bool init_this(struct verifier *v, const struct member_ref *ref, bool *this_initialized)
{
	char a[TYPE_TEXT_BYTES];

	if (ref->owner != v->this_type && ref->owner != v->super_type)
		return refuse(v, SECTION, "the constructor of %s is called on this; the class's own or its superclass's is expected", type_text(v, ref->owner, a));
	if (in_handlers(v)) {
		TRY(check_init_handlers(v));
		TRY(check_handlers(v, true));
	}
	initialize(v, TYPE_UNINITIALIZED_THIS, v->this_type);
	*this_initialized = true;
	return true;
}

static bool init_new(struct verifier *v, struct member_ref *ref, vtype object)
{
	const uint8_t *p = v->code->bytes.ptr + (object & ~TYPE_NEW);
	uint32_t index = (uint32_t)(p[1] << 8 | p[2]);
	char a[TYPE_TEXT_BYTES], b[TYPE_TEXT_BYTES];
	vtype made;

	TRY(check_constant(v, SECTION, index, 1u << CONSTANT_CLASS));
	made = type_of_class(v, index);
	if (made == TYPE_TOP)
		return false;
	if (made != ref->owner)
		return refuse(v, SECTION, "the constructor of %s is called on a new %s", type_text(v, ref->owner, a), type_text(v, made, b));
	if (links_constructor_protected(v, ref) && !assignable(v, made, v->this_type))
		return refuse(v, "4.10.1.8", "the constructor of %s is protected and in another package", type_text(v, made, a));
	if (in_handlers(v))
		TRY(check_handlers(v, false));
	initialize(v, object, made);
	return true;
}

static bool rule_init(struct verifier *v, struct member_ref *ref, bool *this_initialized)
{
	char a[TYPE_TEXT_BYTES];
	vtype object;

	TRY(check_pop_reference(v, SECTION, &object));
	if (object == TYPE_UNINITIALIZED_THIS)
		return init_this(v, ref, this_initialized);
	if (type_is_new(object))
		return init_new(v, ref, object);
	return refuse(v, SECTION, "a constructor is called on %s, an object that is not initialized is expected", type_text(v, object, a));
}

/* ---- methods ---- */

static uint32_t tags_of(const struct verifier *v)
{
	switch (v->op) {
	case OP_invokeinterface:
		return 1u << CONSTANT_INTERFACE_METHODREF;
	case OP_invokedynamic:
		return 1u << CONSTANT_INVOKE_DYNAMIC;
	case OP_invokevirtual:
		return 1u << CONSTANT_METHODREF;
	default:
		return 1u << CONSTANT_METHODREF | (v->c->major >= 52 ? 1u << CONSTANT_INTERFACE_METHODREF : 0);
	}
}

static bool check_operands(struct verifier *v, const struct member_ref *ref)
{
	const uint8_t *p = v->code->bytes.ptr + v->pc;

	if (v->op == OP_invokeinterface) {
		if (p[3] != ref->shape->words + 1)
			return refuse(v, SECTION, "the count is %u, the arguments with the object are %u words", p[3], ref->shape->words + 1);
		if (p[4] != 0)
			return refuse(v, SECTION, "the fourth operand is %u, zero is expected", p[4]);
	}
	if (v->op == OP_invokedynamic && (p[3] != 0 || p[4] != 0))
		return refuse(v, SECTION, "the third and fourth operand are %u and %u, zeros are expected", p[3], p[4]);
	if (ref->is_internal && !(ref->is_init && v->op == OP_invokespecial))
		return refuse(v, SECTION, "an initialization method is called otherwise than a constructor by invokespecial");
	return true;
}

static bool is_direct_interface(struct verifier *v, vtype t)
{
	for (uint32_t i = 0; i < class_interfaces(v->c); i++)
		if (slice_eq(class_interface(v->c, i), symbol_text(v, type_symbol(t))))
			return true;
	return false;
}

/* invokespecial of an ordinary method: of this class, a superclass, or a direct superinterface. */
static bool check_special(struct verifier *v, const struct member_ref *ref)
{
	char a[TYPE_TEXT_BYTES];

	if (ref->owner == v->this_type || ref->owner == v->super_type || is_direct_interface(v, ref->owner))
		return true;
	if (!assignable(v, v->this_type, ref->owner))
		return refuse(v, SECTION, "the method's class, %s, is none above this one", type_text(v, ref->owner, a));
	if (ref->tag == CONSTANT_INTERFACE_METHODREF)
		return refuse(v, SECTION, "%s is no direct superinterface", type_text(v, ref->owner, a));
	return true;
}

static bool pop_object(struct verifier *v, struct member_ref *ref)
{
	vtype object = v->depth > 0 ? v->stack[v->depth - 1] : TYPE_TOP;

	if (v->op == OP_invokespecial)
		return check_pop(v, SECTION, v->this_type);
	TRY(check_pop(v, SECTION, ref->owner));
	return v->op == OP_invokeinterface || check_protected(v, ref, object, true);
}

bool check_invoke(struct verifier *v, bool *this_initialized)
{
	uint32_t index = operand16(v, 1);
	struct member_ref *ref;

	TRY(check_constant(v, SECTION, index, tags_of(v)));
	ref = ref_of(v, index);
	if (ref == NULL)
		return false;
	TRY(check_operands(v, ref));
	if (v->op == OP_invokespecial && !ref->is_init)
		TRY(check_special(v, ref));
	for (uint32_t i = ref->shape->words; i-- > 0;)
		TRY(check_pop(v, SECTION, ref->shape->types[i]));
	if (ref->is_init)
		TRY(rule_init(v, ref, this_initialized));
	else if (v->op != OP_invokestatic && v->op != OP_invokedynamic)
		TRY(pop_object(v, ref));
	return check_push_words(v, SECTION, ref->shape->types + ref->shape->words, ref->shape->result_words);
}
