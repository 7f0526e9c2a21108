/*
 * StackMapTable (4.7.4): all frames of a method as arrays of types, before its instructions are looked at, because branches go forward.
 *
 * Frames that add locals to the one before share its array: only what is new is written, behind it.
 */
#include "base/reader.h"
#include "dvm/verify/internal.h"

#define SECTION "4.7.4"

enum { SAME_END = 63, ONE_END = 127, RESERVED_END = 246, ONE_EXTENDED = 247, CHOP_END = 250, SAME_EXTENDED = 251, APPEND_END = 254 };

struct reading {
	struct verifier *v;
	struct reader r;
	struct vframe now;		/* the frame before, becoming the next */
	uint32_t locals_at;		/* of its locals in frame_types */
};

/* What is broken in the table's own bytes is final: HotSpot throws there and then, and tries no inference on a class of version 50. */
static bool broken(struct verifier *v)
{
	v->final = true;
	return true;
}

static bool cut(struct verifier *v)
{
	return broken(v) && refuse_format(v, SECTION, "the StackMapTable ends inside a frame");
}

static bool room(struct verifier *v, uint32_t words)
{
	/* The array moves: what points into it is an offset until all is read. */
	return verify_room(v, (void **)&v->frame_types, &v->frame_types_room, v->frame_types_used + words, sizeof(*v->frame_types));
}

/* One verification_type_info into out, both words of a long or double; *words. */
static bool read_type(struct reading *in, vtype out[2], unsigned *words, bool *this_seen)
{
	static const uint8_t primitive[] = { TYPE_TOP, TYPE_INT, TYPE_FLOAT, TYPE_DOUBLE, TYPE_LONG, TYPE_NULL, TYPE_UNINITIALIZED_THIS };
	struct verifier *v = in->v;
	uint8_t tag = rd_u8(&in->r);
	uint32_t value;

	*words = 1;
	if (in->r.bad)
		return cut(v);
	if (tag < ARRAY_LEN(primitive)) {
		out[0] = primitive[tag];
		if (tag == FRAME_LONG || tag == FRAME_DOUBLE) {
			out[1] = out[0] + 1;
			*words = 2;
		}
		*this_seen |= tag == FRAME_UNINITIALIZED_THIS;
		return true;
	}
	if (tag > FRAME_UNINITIALIZED)
		return broken(v) && refuse_format(v, SECTION, "%u is no tag of a verification type", tag);
	value = rd_be16(&in->r);
	if (in->r.bad)
		return cut(v);
	if (tag == FRAME_OBJECT) {
		if (!pool_is(&v->c->pool, value, CONSTANT_CLASS))
			return broken(v) && refuse_format(v, SECTION, "a frame names constant %u, which is no Class", value);
		out[0] = type_of_class(v, value);
		return out[0] != TYPE_TOP;
	}
	if (value >= v->code->bytes.len || v->at[value] == 0 || v->code->bytes.ptr[value] != OP_new)
		return refuse_format(v, SECTION, "a frame has an object of the new at %u, where no new is", value);
	out[0] = TYPE_NEW | value;
	return true;
}

/* `count` types behind what is used; *words in all. */
static bool read_types(struct reading *in, uint32_t count, uint32_t most, uint32_t *words, bool *this_seen, const char *what)
{
	struct verifier *v = in->v;
	unsigned n;

	*words = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (!room(v, 2) || !read_type(in, v->frame_types + v->frame_types_used, &n, this_seen))
			return false;
		v->frame_types_used += n;
		*words += n;
	}
	/* Behind all of them, since a broken one is final and this is not. */
	return *words <= most || refuse_format(v, SECTION, "a frame has %u %s, the method %u", *words, what, most);
}

static bool has_this(const struct verifier *v, uint32_t at, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (v->frame_types[at + i] == TYPE_UNINITIALIZED_THIS)
			return true;
	return false;
}

static bool read_chop(struct reading *in, unsigned chops)
{
	struct verifier *v = in->v;
	int32_t n = in->now.locals;

	for (unsigned i = 0; i < chops; i++) {
		if (n <= 0)
			return refuse_format(v, SECTION, "a chop frame takes away more locals than there are");
		n -= n >= 2 && (v->frame_types[in->locals_at + (uint32_t)n - 1] == TYPE_LONG2 || v->frame_types[in->locals_at + (uint32_t)n - 1] == TYPE_DOUBLE2) ? 2 : 1;
	}
	in->now.locals = (uint16_t)n;
	v->branch_steps += in->now.locals;
	if (v->branch_steps > VERIFY_BRANCH_STEPS_MAX)
		return refuse_limit(v, "frames of more than %d types", VERIFY_BRANCH_STEPS_MAX);
	in->now.flag_this = in->now.flag_this && has_this(v, in->locals_at, (uint32_t)n);
	return true;
}

static bool read_append(struct reading *in, unsigned count)
{
	struct verifier *v = in->v;
	uint32_t old = in->now.locals, words;

	if (in->locals_at + old != v->frame_types_used) {	/* something stands behind them: a copy that can grow */
		if (!room(v, old))
			return false;
		if (old > 0)
			memcpy(v->frame_types + v->frame_types_used, v->frame_types + in->locals_at, old * sizeof(vtype));
		in->locals_at = v->frame_types_used;
		v->frame_types_used += old;
	}
	if (!read_types(in, count, v->max_locals - old, &words, &in->now.flag_this, "locals"))
		return false;
	in->now.locals = (uint16_t)(old + words);
	return true;
}

static bool read_stack(struct reading *in, uint32_t count, uint32_t *at)
{
	bool ignored = false;
	uint32_t words;

	*at = in->v->frame_types_used;
	if (!read_types(in, count, in->v->max_stack, &words, &ignored, "words on the stack"))
		return false;
	in->now.depth = (uint16_t)words;
	return true;
}

static bool read_full(struct reading *in, uint32_t *stack_at)
{
	struct verifier *v = in->v;
	uint32_t count = rd_be16(&in->r), words;

	if (in->r.bad)
		return cut(v);
	in->now.flag_this = false;
	in->locals_at = v->frame_types_used;
	if (!read_types(in, count, v->max_locals, &words, &in->now.flag_this, "locals"))
		return false;
	in->now.locals = (uint16_t)words;
	count = rd_be16(&in->r);
	return in->r.bad ? cut(v) : read_stack(in, count, stack_at);
}

/* One frame; *delta is its offset_delta. */
static bool read_frame(struct reading *in, uint32_t *delta, uint32_t *stack_at)
{
	struct verifier *v = in->v;
	uint8_t type = rd_u8(&in->r);

	in->now.depth = 0;
	*stack_at = v->frame_types_used;
	if (type <= ONE_END) {
		*delta = type & SAME_END;
		return type <= SAME_END || read_stack(in, 1, stack_at);
	}
	*delta = rd_be16(&in->r);
	if (in->r.bad)
		return cut(v);
	if (type <= RESERVED_END)
		return broken(v) && refuse_format(v, SECTION, "%u is a reserved type of frame", type);
	if (type == ONE_EXTENDED)
		return read_stack(in, 1, stack_at);
	if (type <= CHOP_END)
		return read_chop(in, SAME_EXTENDED - type);
	if (type == SAME_EXTENDED)
		return true;
	return type <= APPEND_END ? read_append(in, type - SAME_EXTENDED) : read_full(in, stack_at);
}

static bool keep_frame(struct reading *in, uint32_t stack_at)
{
	struct verifier *v = in->v;

	if (in->now.pc >= v->code->bytes.len || v->at[in->now.pc] == 0)
		return refuse(v, SECTION, "a frame stands at %u, where no instruction begins", in->now.pc);
	if (!verify_room(v, (void **)&v->frames, &v->frame_room, v->frame_count + 1, sizeof(*v->frames)))
		return false;
	/* Offsets for now: frames_read() makes pointers of them. */
	in->now.local = (const vtype *)(uintptr_t)in->locals_at;
	in->now.stack = (const vtype *)(uintptr_t)stack_at;
	v->at[in->now.pc] = 2 + v->frame_count;
	v->frames[v->frame_count++] = in->now;
	return true;
}

static bool read_all(struct reading *in)
{
	struct verifier *v = in->v;
	uint32_t count = rd_be16(&in->r), delta, stack_at;

	if (in->r.bad)
		return cut(v);
	for (uint32_t i = 0; in->r.at < in->r.end; i++) {
		if (i == count)
			return broken(v) && refuse_format(v, SECTION, "the StackMapTable is longer than its %u frames", count);
		if (!read_frame(in, &delta, &stack_at))
			return false;
		in->now.pc = i == 0 ? delta : in->now.pc + delta + 1;
		if (!keep_frame(in, stack_at))
			return false;
	}
	if (v->frame_count != count)
		return broken(v) && refuse_format(v, SECTION, "the StackMapTable ends behind %u of its %u frames", v->frame_count, count);
	return true;
}

bool frames_read(struct verifier *v)
{
	const struct class_attribute *a = class_attribute(v->c, &v->code->attributes, SLICE("StackMapTable"));
	struct reading in = { .v = v };

	v->frame_count = 0;
	v->frame_types_used = 0;
	if (a == NULL || a->body.len == 0)
		return true;
	in.r = reader_of(a->body);
	in.now.locals = (uint16_t)v->locals_size;
	in.now.flag_this = v->flag_this;
	if (!room(v, v->locals_size))
		return false;
	if (v->locals_size > 0)
		memcpy(v->frame_types, v->locals, v->locals_size * sizeof(vtype));
	v->frame_types_used = v->locals_size;
	if (!read_all(&in))
		return false;
	for (uint32_t i = 0; i < v->frame_count && v->frame_types != NULL; i++) {
		v->frames[i].local = v->frame_types + (uintptr_t)v->frames[i].local;
		v->frames[i].stack = v->frame_types + (uintptr_t)v->frames[i].stack;
	}
	return true;
}
