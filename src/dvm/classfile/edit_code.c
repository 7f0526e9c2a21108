/*
 * A method's code with pieces in it. Positions come first: what an instruction takes depends on where it stands (the padding of switches) and on how far its
 * target is, so they are worked out again until nothing grows any more. Then the code is written, and its tables after it.
 */
#include <errno.h>
#include <string.h>

#include "dvm/classfile/edit_private.h"

#define CODE_BYTES_MAX 65535u

struct work {
	struct class_edit *e;
	const struct class_member *m;
	struct code code;
	struct layout l;
	uint8_t *wide;			/* by pc: this branch became goto_w, jsr_w or an inverted branch over goto_w */
	uint8_t *frames;		/* by pc: a frame is there */
	struct errmsg *why;
};

/* The pieces of one place. */
struct here {
	struct here *next;
	const struct piece *piece;
};

static int refuse(struct work *w, int err, const char *what)
{
	return errmsg_say(w->why, err, "%.*s%.*s: %s", SLICE_FMT(member_name(w->e->c, w->m)), SLICE_FMT(member_descriptor(w->e->c, w->m)), what);
}

/* Bytes of the pieces of that kind at pc. */
static uint32_t bytes_at(struct here *const *by_pc, uint32_t pc, enum edit_where where)
{
	uint32_t bytes = 0;

	for (const struct here *h = by_pc[pc]; h != NULL; h = h->next)
		if (!h->piece->replaces && h->piece->where == where)
			bytes += (uint32_t)h->piece->bytes.len;
	return bytes;
}

static const struct piece *replacement(struct here *const *by_pc, uint32_t pc)
{
	for (const struct here *h = by_pc[pc]; h != NULL; h = h->next)
		if (h->piece->replaces)
			return h->piece;
	return NULL;
}

static bool is_goto(uint8_t op)
{
	return op == OP_goto || op == OP_jsr;
}

/* What the instruction takes at this position. */
static uint32_t size_of(const struct work *w, struct here *const *by_pc, const struct insn *in, uint32_t position)
{
	const struct piece *other = replacement(by_pc, in->pc);
	uint32_t padding = 3 - position % 4;

	if (other != NULL)
		return (uint32_t)other->bytes.len;
	if (in->op == OP_tableswitch)
		return 1 + padding + 12 + 4 * in->pairs;
	if (in->op == OP_lookupswitch)
		return 1 + padding + 8 + 8 * in->pairs;
	if (w->wide[in->pc])
		return is_goto(in->op) ? 5 : 8;
	return in->next - in->pc;
}

/* All positions, with the branches that are wide so far. */
static void place(struct work *w, struct here *const *by_pc)
{
	uint32_t position = 0;
	bool falls = true;
	struct insn in;

	for (uint32_t pc = 0; code_next(&w->code, pc, &in); pc = in.next) {
		w->l.fall[pc] = position;
		position += falls ? bytes_at(by_pc, pc, EDIT_BEFORE_FALL) : 0;
		w->l.target[pc] = position;
		position += bytes_at(by_pc, pc, EDIT_BEFORE);
		w->l.self[pc] = position;
		position += size_of(w, by_pc, &in, position);
		falls = !insn_ends(in.op);
		position += falls ? bytes_at(by_pc, pc, EDIT_AFTER) : 0;
	}
	w->l.fall[w->l.length] = w->l.target[w->l.length] = w->l.self[w->l.length] = position;
	w->l.new_length = position;
}

static bool fits16(int64_t distance)
{
	return distance >= INT16_MIN && distance <= INT16_MAX;
}

/* Make branches wide that no longer reach. Whether there were any; a negative errno when that cannot be done. */
static int widen(struct work *w, struct here *const *by_pc)
{
	bool versions_with_frames = w->e->c->major >= 50;
	int changed = 0;
	struct insn in;

	for (uint32_t pc = 0; code_next(&w->code, pc, &in); pc = in.next) {
		if (!insn_branches(&in) || w->wide[pc] || in.op == OP_goto_w || in.op == OP_jsr_w || replacement(by_pc, pc) != NULL ||
		    fits16((int64_t)w->l.target[in.target] - w->l.self[pc]))
			continue;
		/*
		 * The inverted branch goes to behind goto_w, where a frame must be: the next instruction's, when nothing stands before it. To work
		 * one out would need the types of a whole method.
		 */
		if (!is_goto(in.op) && versions_with_frames &&
		    (in.next >= w->l.length || !w->frames[in.next] || w->l.target[in.next] != w->l.self[pc] + size_of(w, by_pc, &in, w->l.self[pc])))
			return refuse(w, -EFBIG, "the method is so large that a branch would no longer reach");
		w->wide[pc] = 1;
		changed = 1;
	}
	return changed;
}

static void emit_pieces(struct here *const *by_pc, uint32_t pc, enum edit_where where, struct buf *out)
{
	for (const struct here *h = by_pc[pc]; h != NULL; h = h->next)
		if (!h->piece->replaces && h->piece->where == where)
			buf_add(out, h->piece->bytes);
}

static uint8_t inverted(uint8_t op)
{
	if (op == OP_ifnull || op == OP_ifnonnull)
		return op == OP_ifnull ? OP_ifnonnull : OP_ifnull;
	return (uint8_t)(((op - OP_ifeq) ^ 1) + OP_ifeq);
}

static void emit_switch(const struct work *w, const struct insn *in, struct buf *out, uint32_t position)
{
	uint32_t at = w->l.self[in->pc];

	buf_addc(out, in->op);
	buf_fill(out, 0, 3 - position % 4);
	buf_be32(out, w->l.target[in->fallback] - at);
	buf_be32(out, in->op == OP_tableswitch ? (uint32_t)in->low : in->pairs);
	if (in->op == OP_tableswitch)
		buf_be32(out, (uint32_t)in->high);
	for (uint32_t i = 0; i < in->pairs; i++) {
		if (in->op == OP_lookupswitch)
			buf_be32(out, (uint32_t)insn_match(in, i));
		buf_be32(out, w->l.target[insn_target(in, i)] - at);
	}
}

static void emit_insn(const struct work *w, const struct insn *in, struct buf *out, size_t begin)
{
	uint32_t at = w->l.self[in->pc];

	if (in->op == OP_tableswitch || in->op == OP_lookupswitch) {
		emit_switch(w, in, out, (uint32_t)(out->len - begin));
	} else if (!insn_branches(in)) {
		buf_add(out, slice_sub(w->code.bytes, in->pc, in->next));
	} else if (in->op == OP_goto_w || in->op == OP_jsr_w) {
		buf_addc(out, in->op);
		buf_be32(out, w->l.target[in->target] - at);
	} else if (!w->wide[in->pc]) {
		buf_addc(out, in->op);
		buf_be16(out, (uint16_t)(w->l.target[in->target] - at));
	} else if (is_goto(in->op)) {
		buf_addc(out, in->op == OP_goto ? OP_goto_w : OP_jsr_w);
		buf_be32(out, w->l.target[in->target] - at);
	} else {
		buf_addc(out, inverted(in->op));
		buf_be16(out, 8);
		buf_addc(out, OP_goto_w);
		buf_be32(out, w->l.target[in->target] - (at + 3));
	}
}

static void emit(const struct work *w, struct here *const *by_pc, struct buf *out)
{
	size_t begin = out->len;
	bool falls = true;
	struct insn in;

	for (uint32_t pc = 0; code_next(&w->code, pc, &in); pc = in.next) {
		const struct piece *other = replacement(by_pc, pc);

		if (falls)
			emit_pieces(by_pc, pc, EDIT_BEFORE_FALL, out);
		emit_pieces(by_pc, pc, EDIT_BEFORE, out);
		if (other != NULL)
			buf_add(out, other->bytes);
		else
			emit_insn(w, &in, out, begin);
		falls = !insn_ends(in.op);
		if (falls)
			emit_pieces(by_pc, pc, EDIT_AFTER, out);
	}
}

/* Targets of everything are instructions of this code: what the writer computes with positions relies on it. */
static bool targets_sound(const struct work *w, const struct code_starts *starts)
{
	struct insn in;

	for (uint32_t pc = 0; code_next(&w->code, pc, &in); pc = in.next) {
		if (insn_branches(&in) && !code_starts_at(starts, in.target))
			return false;
		if (in.op != OP_tableswitch && in.op != OP_lookupswitch)
			continue;
		if (!code_starts_at(starts, in.fallback))
			return false;
		for (uint32_t i = 0; i < in.pairs; i++)
			if (!code_starts_at(starts, insn_target(&in, i)))
				return false;
	}
	return true;
}

static bool mark_frames(struct work *w, const struct code_starts *starts)
{
	const struct class_attribute *a = class_attribute(w->e->c, &w->code.attributes, SLICE("StackMapTable"));
	struct frames frames;
	struct frame f;

	if (a == NULL)
		return true;
	if (!frames_open(a->body, &frames))
		return false;
	while (frames_next(&frames, &f)) {
		if (!code_starts_at(starts, f.pc))
			return false;
		w->frames[f.pc] = 1;
	}
	return frames.left == 0;
}

static bool emit_handlers(const struct work *w, const struct code_starts *starts, struct buf *out)
{
	buf_be16(out, (uint16_t)code_handlers(&w->code));
	for (uint32_t i = 0; i < code_handlers(&w->code); i++) {
		struct code_handler h = code_handler(&w->code, i);

		if (!code_starts_at(starts, h.start) || !code_starts_at(starts, h.handler) || (h.end != w->l.length && !code_starts_at(starts, h.end)))
			return false;
		buf_be16(out, (uint16_t)w->l.fall[h.start]);
		buf_be16(out, (uint16_t)w->l.fall[h.end]);
		buf_be16(out, (uint16_t)w->l.target[h.handler]);
		buf_be16(out, h.type);
	}
	return true;
}

static int emit_tables(struct work *w, struct buf *out)
{
	size_t count_at = out->len;
	uint16_t count = 0;

	buf_be16(out, 0);
	for (uint32_t i = 0; i < w->code.attributes.count; i++) {
		const struct class_attribute *a = &w->code.attributes.at[i];
		bool known = true;
		size_t at = out->len;

		buf_be16(out, a->name);
		buf_be32(out, 0);
		if (!edit_table(w->e, &w->l, a, out, &known))
			return refuse(w, -EBADMSG, "a table of the code is damaged");
		if (!known) {
			if ((w->e->flags & EDIT_REFUSE_UNKNOWN) != 0)
				return refuse(w, -EOPNOTSUPP, "its code has an attribute that we do not know and that could lie afterwards");
			buf_truncate(out, at);
			w->e->dropped++;
			continue;
		}
		if (out->err == 0) {
			uint32_t bytes = (uint32_t)(out->len - at - 6);

			for (unsigned k = 0; k < 4; k++)
				out->ptr[at + 2 + k] = (uint8_t)(bytes >> (24 - 8 * k));
		}
		count++;
	}
	if (out->err == 0) {
		out->ptr[count_at] = (uint8_t)(count >> 8);
		out->ptr[count_at + 1] = (uint8_t)count;
	}
	return out->err != 0 ? refuse(w, -ENOMEM, "memory is short") : 0;
}

/* Lists of pieces by place, in the order of the calls. */
static int sort_pieces(struct work *w, const struct owner_edit *o, const struct code_starts *starts, struct here **by_pc, uint16_t *stack, uint16_t *locals)
{
	for (const struct piece *p = o->pieces; p != NULL; p = p->next) {
		struct here *h = ARENA_NEW(w->e->arena, struct here), **end;

		if (!code_starts_at(starts, p->pc))
			return refuse(w, -EINVAL, "no instruction begins where a piece is to be put");
		if (h == NULL)
			return refuse(w, -ENOMEM, "memory is short");
		h->piece = p;
		for (end = &by_pc[p->pc]; *end != NULL; end = &(*end)->next)
			;
		*end = h;
		*stack = MAX(*stack, p->stack);
		*locals = MAX(*locals, p->locals);
	}
	return 0;
}

int edit_code(struct class_edit *e, const struct class_member *m, const struct owner_edit *o, struct buf *out, struct errmsg *why)
{
	struct work w = { .e = e, .m = m, .why = why };
	const struct class_attribute *attribute = method_code(e->c, m);
	uint16_t stack = 0, locals = 0;
	struct code_starts starts;
	struct class_fault fault;
	struct here **by_pc;
	int err;

	if (attribute == NULL)
		return refuse(&w, -EINVAL, "it has no code");
	if (!code_parse(e->arena, e->c, attribute, &w.code, &fault) || !code_walk(e->arena, e->c, &w.code, &starts, &fault))
		return refuse(&w, -EBADMSG, fault.text);
	w.l.length = (uint32_t)w.code.bytes.len;
	w.l.fall = arena_array(e->arena, w.l.length + 1, sizeof(uint32_t));
	w.l.target = arena_array(e->arena, w.l.length + 1, sizeof(uint32_t));
	w.l.self = arena_array(e->arena, w.l.length + 1, sizeof(uint32_t));
	w.wide = arena_alloc(e->arena, w.l.length + 1);
	w.frames = arena_alloc(e->arena, w.l.length + 1);
	by_pc = arena_array(e->arena, w.l.length + 1, sizeof(*by_pc));
	if (w.l.fall == NULL || w.l.target == NULL || w.l.self == NULL || w.wide == NULL || w.frames == NULL || by_pc == NULL)
		return refuse(&w, -ENOMEM, "memory is short");
	if (!targets_sound(&w, &starts) || !mark_frames(&w, &starts))
		return refuse(&w, -EBADMSG, "a branch or a frame is at no instruction");
	err = sort_pieces(&w, o, &starts, by_pc, &stack, &locals);
	for (int again = 1; err == 0 && again > 0;) {
		place(&w, by_pc);
		again = widen(&w, by_pc);
		err = MIN(again, 0);
	}
	if (err != 0)
		return err;
	if (w.l.new_length > CODE_BYTES_MAX || w.code.max_stack + stack > UINT16_MAX)
		return refuse(&w, -EFBIG, "its code would be larger than 65,535 bytes");
	buf_be16(out, (uint16_t)(w.code.max_stack + stack));
	buf_be16(out, MAX(w.code.max_locals, locals));
	buf_be32(out, w.l.new_length);
	emit(&w, by_pc, out);
	if (!emit_handlers(&w, &starts, out))
		return refuse(&w, -EBADMSG, "an exception handler's range is at no instruction");
	return emit_tables(&w, out);
}
