/* What an instruction does, when types are inferred. */
#include "dvm/verify/infer.h"

#define SECTION	     (opcode_section[f->now->in.op])
#define TRY(what)                                                                                                                                                  \
	do {                                                                                                                                                       \
		if (unlikely(!(what)))                                                                                                                             \
			return false;                                                                                                                              \
	} while (0)

static const struct {
	const char *pops;
	uint8_t pop_count;
	const char *pushes;
} rows[256] = {
#define OPCODE(value, name, shape, local, pops, pushes) [value] = { pops, sizeof(pops) - 1, pushes },
#include "dvm/classfile/opcodes.def"
#undef OPCODE
};

/* ---- operands, once for each instruction (4.9.1) ---- */

static bool operand_local(struct infer *f, struct node *n)
{
	uint8_t op = n->in.op;
	bool pair = op == OP_lload || op == OP_dload || op == OP_lstore || op == OP_dstore || (op >= OP_lload_0 && op <= OP_lload_3) ||
		    (op >= OP_dload_0 && op <= OP_dload_3) || (op >= OP_lstore_0 && op <= OP_lstore_3) || (op >= OP_dstore_0 && op <= OP_dstore_3);

	return (uint32_t)n->in.index + pair < f->v->max_locals ||
	       refuse(f->v, "4.9.1", "local %u is used, the method has %u", n->in.index + pair, f->v->max_locals);
}

static bool is_target(const struct infer *f, int64_t pc)
{
	return pc >= 0 && pc < (int64_t)f->v->code->bytes.len && f->v->at[pc] != 0;
}

static bool operand_switch(struct infer *f, struct node *n)
{
	const uint8_t *code = f->v->code->bytes.ptr;

	for (uint32_t i = n->in.pc + 1; i < (n->in.pc & ~3u) + 4; i++)
		if (code[i] != 0)
			return refuse(f->v, "4.9.1", "byte %u pads the switch and is not zero", i);
	for (uint32_t i = 1; n->in.op == OP_lookupswitch && i < n->in.pairs; i++)
		if (insn_match(&n->in, i - 1) >= insn_match(&n->in, i))
			return refuse(f->v, "4.9.1", "the values of the cases do not ascend");
	if (!is_target(f, n->in.fallback))
		return refuse(f->v, "4.9.1", "the switch's default goes to no instruction");
	for (uint32_t i = 0; i < n->in.pairs; i++)
		if (!is_target(f, insn_target(&n->in, i)))
			return refuse(f->v, "4.9.1", "case %u of the switch goes to no instruction", i);
	return true;
}

static bool operand_invoke(struct infer *f, struct node *n)
{
	struct verifier *v = f->v;
	uint32_t tags = n->in.op == OP_invokeinterface ? 1u << CONSTANT_INTERFACE_METHODREF : 1u << CONSTANT_METHODREF;
	const uint8_t *p = v->code->bytes.ptr + n->in.pc;
	struct member_ref *ref;

	TRY(check_constant(v, "4.9.1", n->in.index, tags));
	ref = ref_of(v, n->in.index);
	if (ref == NULL)
		return false;
	if (ref->is_init && n->in.op != OP_invokespecial)
		return refuse(v, "4.9.1", "a constructor is called otherwise than by invokespecial");
	if (ref->is_internal && !ref->is_init)
		return refuse(v, "4.9.1", "a class's initialization method is called");
	n->is_init = ref->is_init;
	if (n->in.op == OP_invokespecial && !ref->is_init && ref->owner != v->this_type && ref->owner != v->super_type &&
	    !links_is_super(v, type_symbol(ref->owner)) && !v->chain_open)
		return refuse(v, "4.9.2", "invokespecial names a method of a class that is not above this one");
	if (n->in.op == OP_invokeinterface && (p[3] != ref->shape->words + 1 || p[4] != 0))
		return refuse(v, "4.9.1", "the count of invokeinterface is %u and the byte behind it %u, %u and 0 are expected", p[3], p[4], ref->shape->words + 1);
	if (n->in.op == OP_invokevirtual || n->in.op == OP_invokespecial)
		n->is_protected = links_is_protected(v, ref, true);
	return v->fault->kind == CLASS_FAULT_NONE;
}

static bool operand_class(struct infer *f, struct node *n)
{
	struct verifier *v = f->v;
	uint32_t dimensions = 0;
	struct slice name;

	TRY(check_constant(v, "4.9.1", n->in.index, 1u << CONSTANT_CLASS));
	name = pool_name(&v->c->pool, n->in.index);
	while (dimensions < name.len && name.ptr[dimensions] == '[')
		dimensions++;
	if (n->in.op == OP_anewarray && dimensions >= 255)
		return refuse(v, "4.9.1", "the array would have more than 255 dimensions");
	if (n->in.op == OP_new && dimensions > 0)
		return refuse(v, "4.9.1", "new of an array");
	if (n->in.op == OP_multianewarray && (n->in.value < 1 || (uint32_t)n->in.value > dimensions))
		return refuse(v, "4.9.1", "%d dimensions are given, the array has %u", n->in.value, dimensions);
	return true;
}

static bool operand_field(struct infer *f, struct node *n)
{
	struct member_ref *ref;

	TRY(check_constant(f->v, "4.9.1", n->in.index, 1u << CONSTANT_FIELDREF));
	ref = ref_of(f->v, n->in.index);
	if (ref == NULL)
		return false;
	if (n->in.op == OP_getfield || n->in.op == OP_putfield)
		n->is_protected = links_is_protected(f->v, ref, false);
	return f->v->fault->kind == CLASS_FAULT_NONE;
}

bool infer_operands(struct infer *f, struct node *n)
{
	uint32_t loadable = 1u << CONSTANT_INTEGER | 1u << CONSTANT_FLOAT | 1u << CONSTANT_STRING | (f->v->c->major >= 49 ? 1u << CONSTANT_CLASS : 0);

	switch (n->in.op) {
	case OP_ldc:
	case OP_ldc_w:
		return check_constant(f->v, "4.9.1", n->in.index, loadable);
	case OP_ldc2_w:
		return check_constant(f->v, "4.9.1", n->in.index, 1u << CONSTANT_LONG | 1u << CONSTANT_DOUBLE);
	case OP_getstatic ... OP_putfield:
		return operand_field(f, n);
	case OP_invokevirtual ... OP_invokeinterface:
		return operand_invoke(f, n);
	case OP_invokedynamic:
		return refuse(f->v, "4.9.1", "invokedynamic begins with version 51");
	case OP_new:
	case OP_anewarray:
	case OP_checkcast:
	case OP_instanceof:
	case OP_multianewarray:
		return operand_class(f, n);
	case OP_newarray:
		return (n->in.value >= 4 && n->in.value <= 11) || refuse(f->v, "4.9.1", "%d is no code of a primitive type", n->in.value);
	case OP_iload ... OP_aload_3:
	case OP_istore ... OP_astore_3:
	case OP_iinc:
	case OP_ret:
		return operand_local(f, n);
	case OP_tableswitch:
	case OP_lookupswitch:
		return operand_switch(f, n);
	default:
		if (!insn_branches(&n->in))
			return true;
		if (!is_target(f, n->in.target))
			return refuse(f->v, "4.9.1", "a branch goes to no instruction, at %lld", (long long)n->in.target);
		n->target = f->v->at[n->in.target] - 1;
		return true;
	}
}

/* ---- the stack ---- */

static bool pop(struct infer *f, vtype *out)
{
	*out = TYPE_TOP;
	if (f->after.depth == 0)
		return refuse(f->v, SECTION, "the operand stack is empty, and a value is expected");
	*out = f->after.stack[--f->after.depth];
	return true;
}

static bool pop_exact(struct infer *f, vtype want)
{
	char a[TYPE_TEXT_BYTES], b[TYPE_TEXT_BYTES];
	vtype t;

	TRY(pop(f, &t));
	return t == want || refuse(f->v, SECTION, "%s is on the operand stack, %s is expected", type_text(f->v, t, a), type_text(f->v, want, b));
}

static bool push(struct infer *f, vtype t)
{
	if (f->after.depth >= f->v->max_stack)
		return refuse(f->v, SECTION, "the operand stack holds %u words, and one more is pushed", f->v->max_stack);
	f->after.stack[f->after.depth++] = t;
	return true;
}

static bool push_words(struct infer *f, const vtype *types, unsigned words)
{
	for (unsigned i = 0; i < words; i++)
		TRY(push(f, types[i]));
	return true;
}

static bool is_object(vtype t)
{
	return type_is_reference(t) || t == TYPE_OPEN;
}

/* A reference to an object that is initialized. */
static bool pop_object(struct infer *f, vtype *out)
{
	char a[TYPE_TEXT_BYTES];

	TRY(pop(f, out));
	return is_object(*out) || refuse(f->v, SECTION, "%s is on the operand stack, an object or array is expected", type_text(f->v, *out, a));
}

static bool fits(struct infer *f, vtype t, vtype want)
{
	char a[TYPE_TEXT_BYTES], b[TYPE_TEXT_BYTES];

	return infer_fits(f->v, t, want) || refuse(f->v, SECTION, "%s is on the operand stack, %s is expected", type_text(f->v, t, a), type_text(f->v, want, b));
}

static bool pop_fitting(struct infer *f, vtype want)
{
	vtype t;

	if (!type_is_name(want))
		return pop_exact(f, want);
	TRY(pop_object(f, &t));
	return fits(f, t, want);
}

static bool pop_words(struct infer *f, const vtype *types, uint32_t words)
{
	for (uint32_t i = words; i-- > 0;)
		TRY(pop_fitting(f, types[i]));
	return true;
}

static bool pop_letters(struct infer *f, const char *pops, unsigned count)
{
	vtype t;

	for (unsigned i = count; i-- > 0;)
		switch (pops[i]) {
		case 'I':
			TRY(pop_exact(f, TYPE_INT));
			break;
		case 'F':
			TRY(pop_exact(f, TYPE_FLOAT));
			break;
		case 'J':
			TRY(pop_exact(f, TYPE_LONG2) && pop_exact(f, TYPE_LONG));
			break;
		case 'D':
			TRY(pop_exact(f, TYPE_DOUBLE2) && pop_exact(f, TYPE_DOUBLE));
			break;
		default:
			TRY(pop_object(f, &t));
			break;
		}
	return true;
}

static bool push_letter(struct infer *f, char letter)
{
	switch (letter) {
	case 'I':
		return push(f, TYPE_INT);
	case 'F':
		return push(f, TYPE_FLOAT);
	case 'J':
		return push(f, TYPE_LONG) && push(f, TYPE_LONG2);
	case 'D':
		return push(f, TYPE_DOUBLE) && push(f, TYPE_DOUBLE2);
	case 'N':
		return push(f, TYPE_NULL);
	default:
		return true;
	}
}

/* One word that is no half of a value. */
static bool pop_single(struct infer *f, vtype *out)
{
	TRY(pop(f, out));
	return (*out != TYPE_LONG2 && *out != TYPE_DOUBLE2) || refuse(f->v, SECTION, "a long or double would be split");
}

static bool pop_pair(struct infer *f, vtype out[2])
{
	TRY(pop(f, &out[1]));
	if (out[1] == TYPE_LONG2 || out[1] == TYPE_DOUBLE2)
		return pop(f, &out[0]);
	return pop_single(f, &out[0]);
}

static bool rule_stack(struct infer *f)
{
	vtype a, b, p[2], q[2];

	switch (f->now->in.op) {
	case OP_pop:
		return pop_single(f, &a);
	case OP_pop2:
		return pop_pair(f, p);
	case OP_dup:
		TRY(pop_single(f, &a));
		return push_words(f, (vtype[]){ a, a }, 2);
	case OP_dup_x1:
		TRY(pop_single(f, &a) && pop_single(f, &b));
		return push_words(f, (vtype[]){ a, b, a }, 3);
	case OP_dup_x2:
		TRY(pop_single(f, &a) && pop_pair(f, p));
		return push_words(f, (vtype[]){ a, p[0], p[1], a }, 4);
	case OP_dup2:
		TRY(pop_pair(f, p));
		return push_words(f, (vtype[]){ p[0], p[1], p[0], p[1] }, 4);
	case OP_dup2_x1:
		TRY(pop_pair(f, p) && pop_single(f, &a));
		return push_words(f, (vtype[]){ p[0], p[1], a, p[0], p[1] }, 5);
	case OP_dup2_x2:
		TRY(pop_pair(f, p) && pop_pair(f, q));
		return push_words(f, (vtype[]){ p[0], p[1], q[0], q[1], p[0], p[1] }, 6);
	default:
		TRY(pop_single(f, &a) && pop_single(f, &b));
		return push_words(f, (vtype[]){ a, b }, 2);
	}
}

/* ---- locals ---- */

static void touch(struct infer *f, uint32_t local)
{
	for (uint32_t i = 0; i < f->after.mask_count; i++)
		f->after.masks[i].touched[local / 64] |= 1ull << (local % 64);
}

static const vtype kinds[] = { TYPE_INT, TYPE_LONG, TYPE_FLOAT, TYPE_DOUBLE, TYPE_NULL };

static bool rule_load(struct infer *f, unsigned kind)
{
	uint32_t i = f->now->in.index;
	vtype t = f->after.locals[i], want = kinds[kind];
	char a[TYPE_TEXT_BYTES];

	touch(f, i);
	if (want == TYPE_NULL)
		return is_object(t) || type_is_uninitialized(t) ? push(f, t) :
								  refuse(f->v, SECTION, "local %u is %s, an object is expected", i, type_text(f->v, t, a));
	if (t != want || ((want == TYPE_LONG || want == TYPE_DOUBLE) && f->after.locals[i + 1] != want + 1))
		return refuse(f->v, SECTION, "local %u is %s, a value of the instruction's type is expected", i, type_text(f->v, t, a));
	if (want == TYPE_LONG || want == TYPE_DOUBLE) {
		touch(f, i + 1);
		return push(f, want) && push(f, want + 1);
	}
	return push(f, want);
}

static bool rule_store(struct infer *f, unsigned kind)
{
	uint32_t i = f->now->in.index;
	vtype t = kinds[kind];
	char a[TYPE_TEXT_BYTES];

	if (t == TYPE_LONG || t == TYPE_DOUBLE) {
		TRY(pop_exact(f, t + 1) && pop_exact(f, t));
		f->after.locals[i + 1] = t + 1;
		touch(f, i + 1);
	} else if (t == TYPE_NULL) {
		TRY(pop(f, &t));
		if (!is_object(t) && !type_is_uninitialized(t) && !type_is_return(t))
			return refuse(f->v, SECTION, "%s is on the operand stack, an object or a return address is expected", type_text(f->v, t, a));
	} else {
		TRY(pop_exact(f, t));
	}
	f->after.locals[i] = t;
	touch(f, i);
	return true;
}

/* ---- arrays ---- */

static bool pop_array(struct infer *f, const char *letters, vtype *array)
{
	char a[TYPE_TEXT_BYTES];
	struct slice text;

	TRY(pop(f, array));
	if (*array == TYPE_NULL || *array == TYPE_OPEN)
		return true;
	if (type_is_array(f->v, *array)) {
		text = symbol_text(f->v, type_symbol(*array));
		for (const char *p = letters; *p != '\0'; p++)
			if ((uint8_t)*p == text.ptr[1])
				return true;
	}
	return refuse(f->v, SECTION, "%s is on the operand stack, an array of [%s is expected", type_text(f->v, *array, a), letters);
}

static const char *const array_letters[] = { "I", "J", "F", "D", "L[", "BZ", "C", "S" };

static bool rule_array(struct infer *f)
{
	uint8_t op = f->now->in.op;
	bool load = op <= OP_saload;
	unsigned kind = load ? op - OP_iaload : op - OP_iastore;
	vtype array;

	TRY(pop_letters(f, rows[op].pops + 1, rows[op].pop_count - 1u));
	TRY(pop_array(f, array_letters[kind], &array));
	if (!load)
		return true;
	if (op != OP_aaload)
		return push_letter(f, rows[op].pushes[0]);
	return push(f, array == TYPE_NULL || array == TYPE_OPEN ? array : type_component(f->v, array));
}

/* "[" before the class that is named, as a type. */
static vtype made_array(struct infer *f, uint32_t index)
{
	struct slice name = pool_name(&f->v->c->pool, index);
	bool array = name.ptr[0] == '[';
	uint8_t *p = verify_alloc(f->v, name.len + 3, 1);
	uint32_t symbol;

	if (p == NULL)
		return TYPE_TOP;
	p[0] = '[';
	p[1] = 'L';
	memcpy(p + (array ? 1 : 2), name.ptr, name.len);
	p[name.len + 2] = ';';
	symbol = symbol_of(f->v, slice_of(p, name.len + (array ? 1 : 3)));
	return symbol == 0 ? TYPE_TOP : TYPE_NAME | symbol;
}

static bool rule_make(struct infer *f)
{
	static const char names[][3] = { "[Z", "[C", "[F", "[D", "[B", "[S", "[I", "[J" };
	const struct insn *in = &f->now->in;
	vtype t;

	if (in->op == OP_newarray) {
		uint32_t symbol = symbol_of(f->v, slice_of(names[in->value - 4], 2));

		return symbol != 0 && pop_exact(f, TYPE_INT) && push(f, TYPE_NAME | symbol);
	}
	if (in->op == OP_anewarray) {
		t = made_array(f, in->index);
		return t != TYPE_TOP && pop_exact(f, TYPE_INT) && push(f, t);
	}
	for (int32_t i = 0; i < in->value; i++)
		TRY(pop_exact(f, TYPE_INT));
	t = type_of_class(f->v, in->index);
	return t != TYPE_TOP && push(f, t);
}

/* ---- objects ---- */

static bool rule_new(struct infer *f)
{
	vtype t = TYPE_NEW | f->now->in.pc;

	for (uint32_t i = 0; i < f->after.depth; i++)
		if (f->after.stack[i] == t)
			return refuse(f->v, SECTION, "an object of this same new is on the stack and not initialized");
	for (uint32_t i = 0; i < f->v->max_locals; i++)
		if (f->after.locals[i] == t) {
			f->after.locals[i] = TYPE_TOP;
			touch(f, i);
		}
	return push(f, t);
}

static bool rule_ldc(struct infer *f)
{
	switch (pool_tag(&f->v->c->pool, f->now->in.index)) {
	case CONSTANT_INTEGER:
		return push(f, TYPE_INT);
	case CONSTANT_FLOAT:
		return push(f, TYPE_FLOAT);
	case CONSTANT_LONG:
		return push_letter(f, 'J');
	case CONSTANT_DOUBLE:
		return push_letter(f, 'D');
	case CONSTANT_STRING:
		return push(f, f->v->string);
	default:
		return push(f, f->v->class_type);
	}
}

static bool check_protected(struct infer *f, vtype object)
{
	return !f->now->is_protected || infer_fits(f->v, object, f->v->this_type) ||
	       refuse(f->v, "4.10.1.8", "the member is protected and in another package");
}

static bool rule_field(struct infer *f)
{
	struct verifier *v = f->v;
	struct member_ref *ref = ref_of(v, f->now->in.index);
	uint8_t op = f->now->in.op;
	vtype object;

	if (ref == NULL)
		return false;
	if (op == OP_putstatic || op == OP_putfield)
		TRY(pop_words(f, ref->shape->types, ref->shape->result_words));
	if (op == OP_putfield || op == OP_getfield) {
		TRY(pop(f, &object));
		if (object == TYPE_UNINITIALIZED_THIS && op == OP_putfield && ref->owner == v->this_type &&
		    class_field(v->c, symbol_text(v, ref->name), symbol_text(v, ref->descriptor)) != NULL)
			object = v->this_type;
		if (!is_object(object))
			return refuse(v, SECTION, "no object is on the operand stack");
		TRY(fits(f, object, ref->owner));
		TRY(check_protected(f, object));
	}
	return op == OP_putstatic || op == OP_putfield || push_words(f, ref->shape->types, ref->shape->result_words);
}

static bool init_object(struct infer *f, const struct member_ref *ref)
{
	struct verifier *v = f->v;
	char a[TYPE_TEXT_BYTES];
	vtype object;

	TRY(pop(f, &object));
	f->init_from = object;
	if (type_is_new(object)) {
		f->init_to = type_of_class(v, operand16(&(struct verifier){ .code = v->code, .pc = object & ~TYPE_NEW }, 1));
		if (f->init_to != ref->owner)
			return refuse(v, SECTION, "the constructor of %s is called on another class's new object", type_text(v, ref->owner, a));
		if (f->now->is_protected)
			return refuse(v, "4.10.1.8", "the constructor is protected and in another package");
	} else if (object == TYPE_UNINITIALIZED_THIS) {
		f->init_to = v->this_type;
		if (ref->owner != v->this_type && ref->owner != v->super_type)
			return refuse(v, SECTION, "the constructor of %s is called on this", type_text(v, ref->owner, a));
		f->after.constructed = true;
	} else {
		return refuse(v, SECTION, "a constructor is called on %s", type_text(v, object, a));
	}
	for (uint32_t i = 0; i < v->max_locals; i++)
		if (f->after.locals[i] == object) {
			f->after.locals[i] = f->init_to;
			touch(f, i);
		}
	for (uint32_t i = 0; i < f->after.depth; i++)
		if (f->after.stack[i] == object)
			f->after.stack[i] = f->init_to;
	return true;
}

static bool rule_invoke(struct infer *f)
{
	struct verifier *v = f->v;
	struct member_ref *ref = ref_of(v, f->now->in.index);
	uint8_t op = f->now->in.op;
	vtype object;

	if (ref == NULL)
		return false;
	TRY(pop_words(f, ref->shape->types, ref->shape->words));
	if (ref->is_init) {
		TRY(init_object(f, ref));
	} else if (op != OP_invokestatic) {
		TRY(pop_object(f, &object));
		TRY(fits(f, object, ref->owner));
		if (op == OP_invokespecial)
			TRY(fits(f, object, v->this_type));
		if (!(ref->is_clone && ref->owner == v->object && type_is_name(object) && type_is_array(v, object)))
			TRY(check_protected(f, object));
	}
	return push_words(f, ref->shape->types + ref->shape->words, ref->shape->result_words);
}

/* ---- control ---- */

static bool rule_return(struct infer *f)
{
	struct verifier *v = f->v;
	const struct shape *s = v->shape;
	const struct state *b = &f->now->before;

	if (b->no_return)
		return refuse(v, SECTION, "the method cannot return here: a constructor may have failed");
	if (f->now->in.op == OP_return) {
		if (b->may_skip && !b->constructed)
			return refuse(v, SECTION, "a constructor returns before it called this() or super()");
		return s->result_words == 0 || refuse(v, SECTION, "the method returns a value, the instruction none");
	}
	if (s->result_words == 0)
		return refuse(v, SECTION, "the method returns nothing");
	if (rows[f->now->in.op].pops[0] == 'A')
		return type_is_name(s->types[s->words]) ? pop_fitting(f, s->types[s->words]) : refuse(v, SECTION, "the method returns no object");
	TRY(pop_letters(f, rows[f->now->in.op].pops, 1));
	return f->after.stack[f->after.depth] == s->types[s->words] || refuse(v, SECTION, "the method returns another type");
}

static bool rule_jsr(struct infer *f)
{
	struct state *s = &f->after;
	struct mask *masks = verify_alloc(f->v, s->mask_count + 1u, sizeof(*masks));

	if (masks == NULL)
		return false;
	for (uint32_t i = 0; i <= s->mask_count; i++) {
		masks[i].touched = verify_alloc(f->v, f->mask_words, sizeof(uint64_t));
		if (masks[i].touched == NULL)
			return false;
		if (i == s->mask_count)
			break;
		if (s->masks[i].entry == f->now->target)
			return refuse(f->v, SECTION, "a subroutine calls itself");
		masks[i].entry = s->masks[i].entry;
		memcpy(masks[i].touched, s->masks[i].touched, f->mask_words * sizeof(uint64_t));
	}
	masks[s->mask_count].entry = f->now->target;
	s->masks = masks;
	s->mask_count++;
	return push(f, TYPE_RETURN | f->now->target);
}

static bool rule_other(struct infer *f)
{
	uint8_t op = f->now->in.op;
	vtype t;

	switch (op) {
	case OP_ifnull:
	case OP_ifnonnull:
		TRY(pop(f, &t));
		return is_object(t) || type_is_uninitialized(t) || refuse(f->v, SECTION, "no object is on the operand stack");
	case OP_arraylength:
		TRY(pop(f, &t));
		return t == TYPE_NULL || t == TYPE_OPEN || type_is_array(f->v, t) ? push(f, TYPE_INT) : refuse(f->v, SECTION, "no array is on the operand stack");
	case OP_athrow:
		return pop_fitting(f, f->v->throwable);
	case OP_checkcast:
		TRY(pop_object(f, &t));
		t = type_of_class(f->v, f->now->in.index);
		return t != TYPE_TOP && push(f, t);
	case OP_iinc:
		touch(f, f->now->in.index);
		return f->after.locals[f->now->in.index] == TYPE_INT || refuse(f->v, SECTION, "local %u is no int", f->now->in.index);
	case OP_ret:
		touch(f, f->now->in.index);
		return type_is_return(f->after.locals[f->now->in.index]) || refuse(f->v, SECTION, "local %u is no return address", f->now->in.index);
	default:
		return pop_letters(f, rows[op].pops, rows[op].pop_count) && push_letter(f, rows[op].pushes[0]);
	}
}

bool infer_step(struct infer *f)
{
	uint8_t op = f->now->in.op;

	switch (op) {
	case OP_iload ... OP_aload:
		return rule_load(f, op - OP_iload);
	case OP_iload_0 ... OP_aload_3:
		return rule_load(f, (unsigned)(op - OP_iload_0) >> 2);
	case OP_istore ... OP_astore:
		return rule_store(f, op - OP_istore);
	case OP_istore_0 ... OP_astore_3:
		return rule_store(f, (unsigned)(op - OP_istore_0) >> 2);
	case OP_iaload ... OP_saload:
	case OP_iastore ... OP_sastore:
		return rule_array(f);
	case OP_pop ... OP_swap:
		return rule_stack(f);
	case OP_ldc ... OP_ldc2_w:
		return rule_ldc(f);
	case OP_getstatic ... OP_putfield:
		return rule_field(f);
	case OP_invokevirtual ... OP_invokeinterface:
		return rule_invoke(f);
	case OP_new:
		return rule_new(f);
	case OP_newarray:
	case OP_anewarray:
	case OP_multianewarray:
		return rule_make(f);
	case OP_ireturn ... OP_return:
		return rule_return(f);
	case OP_jsr:
	case OP_jsr_w:
		return rule_jsr(f);
	default:
		return rule_other(f);
	}
}
