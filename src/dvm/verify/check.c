/*
 * Type checking with frames (4.10.1), the way of HotSpot: one walk over the instructions of a method; where a branch goes, the frame that stands there must fit.
 *
 * The rule of an instruction is 4.10.1.9.<its name>. Most rules say only what is popped and pushed, and those are the rows of opcodes.def.
 */
#include "dvm/verify/internal.h"

#define SECTION	     (opcode_section[v->op])
#define TRY(what)                                                                                                                                                  \
	do {                                                                                                                                                       \
		if (unlikely(!(what)))                                                                                                                             \
			return false;                                                                                                                              \
	} while (0)

bool check_push(struct verifier *v, const char *section, vtype t)
{
	if (unlikely(v->depth >= v->max_stack))
		return refuse(v, section, "the operand stack holds %u words, and one more is pushed", v->max_stack);
	v->stack[v->depth++] = t;
	return true;
}

bool check_push_words(struct verifier *v, const char *section, const vtype *types, unsigned words)
{
	for (unsigned i = 0; i < words; i++)
		TRY(check_push(v, section, types[i]));
	return true;
}

static bool push_two(struct verifier *v, vtype first)
{
	TRY(check_push(v, SECTION, first));
	return check_push(v, SECTION, first + 1);
}

static bool underflow(struct verifier *v, const char *section)
{
	return refuse(v, section, "the operand stack is empty, and a value is expected");
}

bool check_pop(struct verifier *v, const char *section, vtype want)
{
	char a[TYPE_TEXT_BYTES], b[TYPE_TEXT_BYTES];
	vtype top;

	if (unlikely(v->depth == 0))
		return underflow(v, section);
	top = v->stack[v->depth - 1];
	if (likely(assignable(v, top, want))) {
		v->depth--;
		return true;
	}
	return refuse(v, section, "%s is on the operand stack, %s is expected", type_text(v, top, a), type_text(v, want, b));
}

bool check_pop_any(struct verifier *v, const char *section, vtype *out)
{
	*out = TYPE_TOP;
	if (unlikely(v->depth == 0))
		return underflow(v, section);
	*out = v->stack[--v->depth];
	return true;
}

/* A reference, also one that is not initialized yet. */
bool check_pop_reference(struct verifier *v, const char *section, vtype *out)
{
	char a[TYPE_TEXT_BYTES];

	TRY(check_pop_any(v, section, out));
	if (likely(type_is_reference(*out) || type_is_uninitialized(*out)))
		return true;
	return refuse(v, section, "%s is on the operand stack, a reference is expected", type_text(v, *out, a));
}

static bool is_category1(vtype t)
{
	return t == TYPE_INT || t == TYPE_FLOAT || t >= TYPE_NULL;
}

static bool pop_category1(struct verifier *v, vtype *out)
{
	char a[TYPE_TEXT_BYTES];

	TRY(check_pop_any(v, SECTION, out));
	return is_category1(*out) || refuse(v, SECTION, "%s is on the operand stack, a value of one word is expected", type_text(v, *out, a));
}

/* Two words: one value of two, or two of one. out[1] was on top. */
static bool pop_pair(struct verifier *v, vtype out[2])
{
	char a[TYPE_TEXT_BYTES];

	TRY(check_pop_any(v, SECTION, &out[1]));
	if (out[1] == TYPE_LONG2 || out[1] == TYPE_DOUBLE2) {
		TRY(check_pop_any(v, SECTION, &out[0]));
		return out[0] == TYPE_LONG || out[0] == TYPE_DOUBLE || refuse(v, SECTION, "half of a value of two words is on the operand stack");
	}
	if (!is_category1(out[1]))
		return refuse(v, SECTION, "%s is on the operand stack, a value is expected", type_text(v, out[1], a));
	return pop_category1(v, &out[0]);
}

/* ---- frames at targets ---- */

static bool frame_fits(struct verifier *v, const struct vframe *f, const vtype *stack, uint32_t depth, bool flag_this, const char *section)
{
	char a[TYPE_TEXT_BYTES], b[TYPE_TEXT_BYTES];

	v->branch_steps += f->locals + depth;
	if (unlikely(v->branch_steps > VERIFY_BRANCH_STEPS_MAX))
		return refuse_limit(v, "more than %d types to compare at branches", VERIFY_BRANCH_STEPS_MAX);
	if (depth != f->depth)
		return refuse(v, section, "the frame at %u has %u words on the operand stack, %u come there", f->pc, f->depth, depth);
	for (uint32_t i = 0; i < f->locals; i++)
		if (unlikely(!assignable(v, v->locals[i], f->local[i])))
			return refuse(v, section, "local %u is %s, the frame at %u expects %s", i, type_text(v, v->locals[i], a), f->pc,
				      type_text(v, f->local[i], b));
	for (uint32_t i = 0; i < depth; i++)
		if (unlikely(!assignable(v, stack[i], f->stack[i])))
			return refuse(v, section, "word %u of the operand stack is %s, the frame at %u expects %s", i, type_text(v, stack[i], a), f->pc,
				      type_text(v, f->stack[i], b));
	if (flag_this && !f->flag_this)
		return refuse(v, section, "the object is not initialized, the frame at %u says that it is", f->pc);
	return true;
}

static bool check_target(struct verifier *v, int64_t target)
{
	if (unlikely(target < 0 || target >= (int64_t)v->code->bytes.len || v->at[target] < 2))
		return refuse(v, SECTION, "no frame of the StackMapTable stands where the branch goes, at %lld", (long long)target);
	return frame_fits(v, &v->frames[v->at[target] - 2], v->stack, v->depth, v->flag_this, SECTION);
}

/* 4.10.1.6, instructionSatisfiesHandlers: the locals as they are, the exception alone on the stack. */
bool check_handlers(struct verifier *v, bool this_uninitialized)
{
	v->locals_changed = false;
	v->handler_steps += v->handler_count;
	if (unlikely(v->handler_steps > VERIFY_HANDLER_STEPS_MAX))
		return refuse_limit(v, "more than %d rows of exception tables to compare", VERIFY_HANDLER_STEPS_MAX);
	for (uint32_t i = 0; i < v->handler_count; i++) {
		const struct handler *h = &v->handlers[i];

		if (v->pc < h->start || v->pc >= h->end)
			continue;
		if (v->max_stack == 0)
			return refuse(v, "4.10.1.6", "the operand stack has no room for the exception of the handler at %u", h->target);
		if (v->at[h->target] < 2)
			return refuse(v, "4.10.1.6", "no frame of the StackMapTable stands at the handler at %u", h->target);
		TRY(frame_fits(v, &v->frames[v->at[h->target] - 2], &h->type, 1, v->flag_this || this_uninitialized, "4.10.1.6"));
	}
	return true;
}

/*
 * The same for one instruction, unless nothing changed: what a handler sees are the locals, so that it is enough to look when they changed and where a range
 * begins.
 */
static bool handlers_if_changed(struct verifier *v, bool this_uninitialized)
{
	bool begins = v->pc >= v->next_range;

	if (likely(v->pc < v->handlers_from || v->pc >= v->handlers_to))
		return true;
	if (begins) {
		v->next_range = UINT32_MAX;
		v->handler_steps += v->handler_count;
		for (uint32_t i = 0; i < v->handler_count; i++)
			if (v->handlers[i].start > v->pc)
				v->next_range = MIN(v->next_range, v->handlers[i].start);
	}
	return !(begins || v->locals_changed || this_uninitialized) || check_handlers(v, this_uninitialized);
}

static void frame_enter(struct verifier *v, const struct vframe *f)
{
	if (f->locals > 0)
		memcpy(v->locals, f->local, f->locals * sizeof(vtype));
	for (uint32_t i = f->locals; i < v->locals_size; i++)
		v->locals[i] = TYPE_TOP;
	if (f->depth > 0)
		memcpy(v->stack, f->stack, f->depth * sizeof(vtype));
	v->locals_size = f->locals;
	v->depth = f->depth;
	v->flag_this = f->flag_this;
	v->locals_changed = true;
}

/* 4.10.1.6, mergedCodeIsTypeSafe: the frame at this pc, if there is one. */
static bool merge_frame(struct verifier *v, bool falls)
{
	const struct vframe *f;

	if (v->at[v->pc] < 2)
		return falls || refuse(v, "4.10.1.6", "control cannot come from the instruction before, and no frame of the StackMapTable stands here");
	f = &v->frames[v->at[v->pc] - 2];
	if (falls)
		TRY(frame_fits(v, f, v->stack, v->depth, v->flag_this, "4.10.1.6"));
	frame_enter(v, f);
	return true;
}

/* ---- locals (4.10.1.7) ---- */

static uint32_t local_of(const struct verifier *v)
{
	const uint8_t *p = v->code->bytes.ptr + v->pc;

	return v->wide ? (uint32_t)(p[2] << 8 | p[3]) : p[1];
}

static bool bad_local(struct verifier *v, uint32_t index)
{
	return refuse(v, SECTION, "local %u is used, the method has %u", index, v->max_locals);
}

static bool load(struct verifier *v, uint32_t index, vtype want)
{
	char a[TYPE_TEXT_BYTES], b[TYPE_TEXT_BYTES];

	if (want == TYPE_LONG || want == TYPE_DOUBLE) {
		if (index + 1 >= v->locals_size)
			return bad_local(v, index);
		if (v->locals[index] != want || v->locals[index + 1] != want + 1)
			return refuse(v, SECTION, "local %u is %s, %s is expected", index, type_text(v, v->locals[index], a), type_text(v, want, b));
		return push_two(v, want);
	}
	if (index >= v->max_locals)
		return bad_local(v, index);
	if (v->locals[index] != want)
		return refuse(v, SECTION, "local %u is %s, %s is expected", index, type_text(v, v->locals[index], a), type_text(v, want, b));
	v->locals_size = MAX(v->locals_size, index + 1);
	return check_push(v, SECTION, want);
}

static bool load_reference(struct verifier *v, uint32_t index)
{
	char a[TYPE_TEXT_BYTES];
	vtype t;

	if (index >= v->max_locals)
		return bad_local(v, index);
	t = v->locals[index];
	if (!type_is_reference(t) && !type_is_uninitialized(t))
		return refuse(v, SECTION, "local %u is %s, a reference is expected", index, type_text(v, t, a));
	return check_push(v, SECTION, t);
}

/* A value that is overwritten in one half is gone in the other. */
static void unhalve(struct verifier *v, uint32_t index)
{
	vtype t = v->locals[index];

	if ((t == TYPE_LONG || t == TYPE_DOUBLE) && index + 1 < v->max_locals)
		v->locals[index + 1] = TYPE_TOP;
	else if ((t == TYPE_LONG2 || t == TYPE_DOUBLE2) && index > 0)
		v->locals[index - 1] = TYPE_TOP;
}

static bool store_one(struct verifier *v, uint32_t index, vtype t)
{
	if (index >= v->max_locals)
		return bad_local(v, index);
	unhalve(v, index);
	v->locals[index] = t;
	v->locals_size = MAX(v->locals_size, index + 1);
	v->locals_changed = true;
	return true;
}

static bool store(struct verifier *v, uint32_t index, vtype want)
{
	vtype t = want;

	if (want == TYPE_LONG || want == TYPE_DOUBLE) {
		TRY(check_pop(v, SECTION, want + 1));
		TRY(check_pop(v, SECTION, want));
		if (index + 1 >= v->max_locals)
			return bad_local(v, index);
		unhalve(v, index);
		unhalve(v, index + 1);
		v->locals[index] = want;
		v->locals[index + 1] = want + 1;
		v->locals_size = MAX(v->locals_size, index + 2);
		v->locals_changed = true;
		return true;
	}
	if (want == TYPE_NULL)
		TRY(check_pop_reference(v, SECTION, &t));
	else
		TRY(check_pop(v, SECTION, want));
	return store_one(v, index, t);
}

static const vtype local_types[] = { TYPE_INT, TYPE_LONG, TYPE_FLOAT, TYPE_DOUBLE, TYPE_NULL };	/* i l f d a */

static bool rule_load(struct verifier *v, unsigned kind, uint32_t index)
{
	return kind == 4 ? load_reference(v, index) : load(v, index, local_types[kind]);
}

static bool rule_iinc(struct verifier *v)
{
	uint32_t index = local_of(v);
	char a[TYPE_TEXT_BYTES];

	if (index >= v->max_locals)
		return bad_local(v, index);
	if (v->locals[index] != TYPE_INT)
		return refuse(v, SECTION, "local %u is %s, int is expected", index, type_text(v, v->locals[index], a));
	return true;
}

/* ---- rules that a row of the table says ---- */

static const struct {
	const char *pops;
	uint8_t pop_count;
	const char *pushes;
} rows[256] = {
#define OPCODE(value, name, shape, local, pops, pushes) [value] = { pops, sizeof(pops) - 1, pushes },
#include "dvm/classfile/opcodes.def"
#undef OPCODE
};

static bool pop_letters(struct verifier *v)
{
	vtype ignored;

	for (unsigned i = rows[v->op].pop_count; i-- > 0;)
		switch (rows[v->op].pops[i]) {
		case 'I':
			TRY(check_pop(v, SECTION, TYPE_INT));
			break;
		case 'F':
			TRY(check_pop(v, SECTION, TYPE_FLOAT));
			break;
		case 'J':
			TRY(check_pop(v, SECTION, TYPE_LONG2));
			TRY(check_pop(v, SECTION, TYPE_LONG));
			break;
		case 'D':
			TRY(check_pop(v, SECTION, TYPE_DOUBLE2));
			TRY(check_pop(v, SECTION, TYPE_DOUBLE));
			break;
		default:		/* A */
			TRY(check_pop_reference(v, SECTION, &ignored));
			break;
		}
	return true;
}

static bool push_letter(struct verifier *v)
{
	switch (rows[v->op].pushes[0]) {
	case 'I':
		return check_push(v, SECTION, TYPE_INT);
	case 'F':
		return check_push(v, SECTION, TYPE_FLOAT);
	case 'J':
		return push_two(v, TYPE_LONG);
	case 'D':
		return push_two(v, TYPE_DOUBLE);
	case 'N':
		return check_push(v, SECTION, TYPE_NULL);
	default:
		return true;
	}
}

static bool rule_table(struct verifier *v)
{
	return pop_letters(v) && push_letter(v);
}

/* ---- arrays ---- */

static bool pop_array(struct verifier *v, const char *letters, vtype *array)
{
	char a[TYPE_TEXT_BYTES];

	TRY(check_pop_reference(v, SECTION, array));
	if (*array == TYPE_NULL)
		return true;
	if (type_is_array(v, *array)) {
		struct slice text = symbol_text(v, type_symbol(*array));

		for (const char *p = letters; *p != '\0'; p++)
			if (text.len > 1 && text.ptr[1] == (uint8_t)*p)
				return true;
	}
	return refuse(v, SECTION, "%s is on the operand stack, an array of [%s is expected", type_text(v, *array, a), letters);
}

static const char *const array_letters[] = { "I", "J", "F", "D", "L[", "BZ", "C", "S" };	/* in the order of iaload ... saload */

static bool rule_array_load(struct verifier *v)
{
	unsigned kind = v->op - OP_iaload;
	vtype array;

	TRY(check_pop(v, SECTION, TYPE_INT));
	TRY(pop_array(v, array_letters[kind], &array));
	if (v->op != OP_aaload)
		return push_letter(v);
	if (array != TYPE_NULL) {
		array = type_component(v, array);
		if (array == TYPE_TOP)
			return refuse(v, SECTION, "an array of no type");
	}
	return check_push(v, SECTION, array);
}

static bool rule_array_store(struct verifier *v)
{
	unsigned kind = v->op - OP_iastore;
	vtype array;

	switch (rows[v->op].pops[2]) {
	case 'J':
		TRY(check_pop(v, SECTION, TYPE_LONG2));
		TRY(check_pop(v, SECTION, TYPE_LONG));
		break;
	case 'D':
		TRY(check_pop(v, SECTION, TYPE_DOUBLE2));
		TRY(check_pop(v, SECTION, TYPE_DOUBLE));
		break;
	case 'F':
		TRY(check_pop(v, SECTION, TYPE_FLOAT));
		break;
	case 'A':
		TRY(check_pop(v, SECTION, v->object));
		break;
	default:
		TRY(check_pop(v, SECTION, TYPE_INT));
		break;
	}
	TRY(check_pop(v, SECTION, TYPE_INT));
	return pop_array(v, array_letters[kind], &array);
}

static bool rule_arraylength(struct verifier *v)
{
	char a[TYPE_TEXT_BYTES];
	vtype t;

	TRY(check_pop_reference(v, SECTION, &t));
	if (t != TYPE_NULL && !type_is_array(v, t))
		return refuse(v, SECTION, "%s is on the operand stack, an array is expected", type_text(v, t, a));
	return check_push(v, SECTION, TYPE_INT);
}

static bool rule_newarray(struct verifier *v)
{
	static const char names[][3] = { "[Z", "[C", "[F", "[D", "[B", "[S", "[I", "[J" };
	uint8_t kind = v->code->bytes.ptr[v->pc + 1];
	uint32_t symbol;

	if (kind < 4 || kind > 11)
		return refuse(v, SECTION, "%u is no code of a primitive type, 4 to 11 are", kind);
	TRY(check_pop(v, SECTION, TYPE_INT));
	symbol = symbol_of(v, slice_of(names[kind - 4], 2));
	return symbol != 0 && check_push(v, SECTION, TYPE_NAME | symbol);
}

/* "[" before an array's descriptor, "[L" and ";" around a class. 0: no memory. */
static vtype array_of(struct verifier *v, vtype t)
{
	struct slice text = symbol_text(v, type_symbol(t));
	bool array = text.ptr[0] == '[';
	uint8_t *p = verify_alloc(v, text.len + 3, 1);
	uint32_t symbol;

	if (p == NULL)
		return TYPE_TOP;
	p[0] = '[';
	p[1] = 'L';
	memcpy(p + (array ? 1 : 2), text.ptr, text.len);
	p[text.len + 2] = ';';
	symbol = symbol_of(v, slice_of(p, text.len + (array ? 1 : 3)));
	return symbol == 0 ? TYPE_TOP : TYPE_NAME | symbol;
}

bool check_constant(struct verifier *v, const char *section, uint32_t index, uint32_t tags)
{
	if (likely(index < v->c->pool.count && (tags >> pool_tag(&v->c->pool, index) & 1) != 0 && index != 0))
		return true;
	return refuse(v, section, "constant %u is of another kind (tag %u) than the instruction takes", index, pool_tag(&v->c->pool, index));
}

/* The class constant of the instruction; *t its type. */
static bool class_operand(struct verifier *v, vtype *t)
{
	uint32_t index = operand16(v, 1);

	TRY(check_constant(v, SECTION, index, 1u << CONSTANT_CLASS));
	*t = type_of_class(v, index);
	return *t != TYPE_TOP;
}

static unsigned dimensions(const struct verifier *v, vtype t)
{
	struct slice text = symbol_text(v, type_symbol(t));
	unsigned n = 0;

	while (n < text.len && text.ptr[n] == '[')
		n++;
	return n;
}

static bool rule_anewarray(struct verifier *v)
{
	vtype t;

	TRY(class_operand(v, &t));
	TRY(check_pop(v, SECTION, TYPE_INT));
	if (dimensions(v, t) >= 255)
		return refuse(v, SECTION, "the array would have more than 255 dimensions");
	t = array_of(v, t);
	return t != TYPE_TOP && check_push(v, SECTION, t);
}

static bool rule_multianewarray(struct verifier *v)
{
	uint8_t n = v->code->bytes.ptr[v->pc + 3];
	char a[TYPE_TEXT_BYTES];
	vtype t;

	TRY(class_operand(v, &t));
	if (!type_is_array(v, t))
		return refuse(v, SECTION, "%s is no array", type_text(v, t, a));
	if (n < 1 || dimensions(v, t) < n)
		return refuse(v, SECTION, "%u dimensions are given, %s has %u", n, type_text(v, t, a), dimensions(v, t));
	for (unsigned i = 0; i < n; i++)
		TRY(check_pop(v, SECTION, TYPE_INT));
	return check_push(v, SECTION, t);
}

/* ---- objects ---- */

static bool rule_new(struct verifier *v)
{
	char a[TYPE_TEXT_BYTES];
	vtype t;

	TRY(class_operand(v, &t));
	if (type_is_array(v, t))
		return refuse(v, SECTION, "%s is no class", type_text(v, t, a));
	return check_push(v, SECTION, TYPE_NEW | v->pc);
}

static bool rule_checkcast(struct verifier *v)
{
	vtype t;

	TRY(class_operand(v, &t));
	TRY(check_pop(v, SECTION, v->object));
	return check_push(v, SECTION, v->op == OP_checkcast ? t : TYPE_INT);
}

#define LOADABLE1                                                                                                                                                  \
	(1u << CONSTANT_INTEGER | 1u << CONSTANT_FLOAT | 1u << CONSTANT_STRING | 1u << CONSTANT_CLASS | 1u << CONSTANT_METHOD_HANDLE | 1u << CONSTANT_METHOD_TYPE | \
	 1u << CONSTANT_DYNAMIC)
#define LOADABLE2 (1u << CONSTANT_LONG | 1u << CONSTANT_DOUBLE | 1u << CONSTANT_DYNAMIC)

static bool push_dynamic(struct verifier *v, uint32_t index)
{
	const struct member_ref *r = ref_of(v, index);

	if (r == NULL)
		return false;
	if (r->shape->result_words != (v->op == OP_ldc2_w ? 2 : 1))
		return refuse(v, SECTION, "constant %u has %u words, the instruction loads %u", index, r->shape->result_words, v->op == OP_ldc2_w ? 2 : 1);
	return check_push_words(v, SECTION, r->shape->types + r->shape->words, r->shape->result_words);
}

static bool rule_ldc(struct verifier *v)
{
	uint32_t index = v->op == OP_ldc ? v->code->bytes.ptr[v->pc + 1] : operand16(v, 1);

	TRY(check_constant(v, SECTION, index, v->op == OP_ldc2_w ? LOADABLE2 : LOADABLE1));
	switch (pool_tag(&v->c->pool, index)) {
	case CONSTANT_INTEGER:
		return check_push(v, SECTION, TYPE_INT);
	case CONSTANT_FLOAT:
		return check_push(v, SECTION, TYPE_FLOAT);
	case CONSTANT_LONG:
		return push_two(v, TYPE_LONG);
	case CONSTANT_DOUBLE:
		return push_two(v, TYPE_DOUBLE);
	case CONSTANT_STRING:
		return check_push(v, SECTION, v->string);
	case CONSTANT_CLASS:
		return check_push(v, SECTION, v->class_type);
	case CONSTANT_METHOD_HANDLE:
		return check_push(v, SECTION, v->method_handle);
	case CONSTANT_METHOD_TYPE:
		return check_push(v, SECTION, v->method_type);
	default:
		return push_dynamic(v, index);
	}
}

/* ---- the stack ---- */

static bool rule_stack(struct verifier *v)
{
	vtype a, b, pair[2], under[2];

	switch (v->op) {
	case OP_pop:
		return pop_category1(v, &a);
	case OP_pop2:
		return pop_pair(v, pair);
	case OP_dup:
		TRY(pop_category1(v, &a));
		return check_push_words(v, SECTION, (vtype[]){ a, a }, 2);
	case OP_dup_x1:
		TRY(pop_category1(v, &a));
		TRY(pop_category1(v, &b));
		return check_push_words(v, SECTION, (vtype[]){ a, b, a }, 3);
	case OP_dup_x2:
		TRY(pop_category1(v, &a));
		TRY(pop_pair(v, pair));
		return check_push_words(v, SECTION, (vtype[]){ a, pair[0], pair[1], a }, 4);
	case OP_dup2:
		TRY(pop_pair(v, pair));
		return check_push_words(v, SECTION, (vtype[]){ pair[0], pair[1], pair[0], pair[1] }, 4);
	case OP_dup2_x1:
		TRY(pop_pair(v, pair));
		TRY(pop_category1(v, &b));
		return check_push_words(v, SECTION, (vtype[]){ pair[0], pair[1], b, pair[0], pair[1] }, 5);
	case OP_dup2_x2:
		TRY(pop_pair(v, pair));
		TRY(pop_pair(v, under));
		return check_push_words(v, SECTION, (vtype[]){ pair[0], pair[1], under[0], under[1], pair[0], pair[1] }, 6);
	default:			/* swap */
		TRY(pop_category1(v, &a));
		TRY(pop_category1(v, &b));
		return check_push_words(v, SECTION, (vtype[]){ a, b }, 2);
	}
}

/* ---- control ---- */

static int64_t be32_at(const uint8_t *p)
{
	return (int32_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
}

static bool rule_branch(struct verifier *v)
{
	const uint8_t *p = v->code->bytes.ptr + v->pc + 1;

	TRY(pop_letters(v));
	return check_target(v, (int64_t)v->pc + (v->op == OP_goto_w ? be32_at(p) : (int16_t)operand16(v, 1)));
}

static bool rule_switch(struct verifier *v)
{
	uint32_t table = (v->pc & ~3u) + 4, step = v->op == OP_tableswitch ? 4 : 8;
	const uint8_t *code = v->code->bytes.ptr;

	if (v->c->major < 51)
		for (uint32_t i = v->pc + 1; i < table; i++)
			if (code[i] != 0)
				return refuse(v, SECTION, "byte %u pads the switch and is not zero", i);
	TRY(check_pop(v, SECTION, TYPE_INT));
	if (v->op == OP_lookupswitch)
		for (uint32_t i = table + 16; i + 8 <= v->next; i += 8)
			if (be32_at(code + i - 8) >= be32_at(code + i))
				return refuse(v, SECTION, "the values of the cases do not ascend");
	TRY(check_target(v, v->pc + be32_at(code + table)));
	for (uint32_t i = table + 12; i + 4 <= v->next; i += step)
		TRY(check_target(v, v->pc + be32_at(code + i)));
	return true;
}

static bool rule_return(struct verifier *v)
{
	char a[TYPE_TEXT_BYTES], b[TYPE_TEXT_BYTES];
	vtype want = v->shape->result_words == 0 ? TYPE_TOP : v->shape->types[v->shape->words], got;

	if (v->op == OP_return) {
		if (want != TYPE_TOP)
			return refuse(v, SECTION, "the method returns %s, the instruction nothing", type_text(v, want, a));
		if (v->is_init && v->flag_this)
			return refuse(v, SECTION, "a constructor returns before it called this() or super()");
		return true;
	}
	got = v->depth > 0 ? v->stack[v->depth - 1] : TYPE_TOP;
	if (got == TYPE_LONG2 || got == TYPE_DOUBLE2)
		got--;
	TRY(pop_letters(v));
	if (want == TYPE_TOP)
		return refuse(v, SECTION, "the method returns nothing, the instruction %s", type_text(v, got, a));
	return assignable(v, got, want) || refuse(v, SECTION, "%s is returned, the method returns %s", type_text(v, got, a), type_text(v, want, b));
}

/* ---- one instruction ---- */

static bool check_store(struct verifier *v)
{
	TRY(handlers_if_changed(v, false));	/* a handler sees the locals before the store */
	if (v->op >= OP_istore_0)
		return store(v, (unsigned)(v->op - OP_istore_0) & 3u, local_types[(v->op - OP_istore_0) >> 2]);
	return store(v, local_of(v), local_types[v->op - OP_istore]);
}

static bool check_one(struct verifier *v, bool *this_initialized)
{
	switch (v->op) {
	case OP_iload ... OP_aload:
		return rule_load(v, v->op - OP_iload, local_of(v));
	case OP_iload_0 ... OP_aload_3:
		return rule_load(v, (unsigned)(v->op - OP_iload_0) >> 2, (unsigned)(v->op - OP_iload_0) & 3u);
	case OP_istore ... OP_astore:
	case OP_istore_0 ... OP_astore_3:
		return check_store(v);
	case OP_iaload ... OP_saload:
		return rule_array_load(v);
	case OP_iastore ... OP_sastore:
		return rule_array_store(v);
	case OP_pop ... OP_swap:
		return rule_stack(v);
	case OP_ldc ... OP_ldc2_w:
		return rule_ldc(v);
	case OP_iinc:
		return rule_iinc(v);
	case OP_ifeq ... OP_goto:
	case OP_ifnull ... OP_goto_w:
		return rule_branch(v);
	case OP_tableswitch:
	case OP_lookupswitch:
		return rule_switch(v);
	case OP_ireturn ... OP_return:
		return rule_return(v);
	case OP_getstatic ... OP_putfield:
		return check_field(v);
	case OP_invokevirtual ... OP_invokedynamic:
		return check_invoke(v, this_initialized);
	case OP_new:
		return rule_new(v);
	case OP_newarray:
		return rule_newarray(v);
	case OP_anewarray:
		return rule_anewarray(v);
	case OP_multianewarray:
		return rule_multianewarray(v);
	case OP_arraylength:
		return rule_arraylength(v);
	case OP_athrow:
		return check_pop(v, SECTION, v->throwable);
	case OP_checkcast:
	case OP_instanceof:
		return rule_checkcast(v);
	case OP_jsr:
	case OP_jsr_w:
	case OP_ret:
		return refuse(v, SECTION, "%s has no place in code with frames (version 50 and above)", v->op == OP_ret ? "ret" : "jsr");
	default:
		return rule_table(v);
	}
}

static bool ends(uint8_t op)
{
	return (op >= OP_ireturn && op <= OP_return) || op == OP_goto || op == OP_goto_w || op == OP_athrow || op == OP_tableswitch || op == OP_lookupswitch;
}

static bool is_store(uint8_t op)
{
	return (op >= OP_istore && op <= OP_astore) || (op >= OP_istore_0 && op <= OP_astore_3);
}

static bool check_instructions(struct verifier *v)
{
	uint32_t length = (uint32_t)v->code->bytes.len;
	bool falls = true;

	for (v->pc = 0; v->pc < length; v->pc = v->next) {
		const uint8_t *p = v->code->bytes.ptr + v->pc;
		bool this_initialized = false;

		v->wide = *p == OP_wide;
		v->op = v->wide ? p[1] : *p;
		v->next = v->pc + opcode_length(v->code, v->pc);
		if (!falls || v->at[v->pc] >= 2)
			TRY(merge_frame(v, falls));
		v->result->instructions++;
		TRY(check_one(v, &this_initialized));
		falls = !ends(v->op);
		if (!is_store(v->op))
			TRY(handlers_if_changed(v, this_initialized));
	}
	v->pc = length;
	return !falls || refuse(v, "4.10.1.6", "control falls off the end of the code");
}

/* The end of the local variables' ranges (4.7.13): at instructions. */
static bool check_variables(struct verifier *v)
{
	uint32_t length = (uint32_t)v->code->bytes.len;

	for (uint32_t i = 0; i < v->code->attributes.count; i++) {
		const struct class_attribute *a = &v->code->attributes.at[i];

		if (!slice_eq(pool_utf8(&v->c->pool, a->name), SLICE("LocalVariableTable")))
			continue;
		for (size_t at = 2; at + 10 <= a->body.len; at += 10) {
			const uint8_t *p = a->body.ptr + at;
			uint32_t start = (uint32_t)(p[0] << 8 | p[1]), end = start + (uint32_t)(p[2] << 8 | p[3]);

			if (start >= length || v->at[start] == 0 || end > length || (end != length && v->at[end] == 0))
				return refuse_format(v, "4.7.13", "a local variable's range, %u to %u, does not stand at instructions", start, end);
		}
	}
	return true;
}

bool check_method(struct verifier *v)
{
	return method_begin(v) && method_starts(v) && method_handlers(v) && check_variables(v) && frames_read(v) && check_instructions(v);
}
