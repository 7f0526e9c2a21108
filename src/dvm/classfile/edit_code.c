/*
 * Code with pieces in it.
 *
 * At an old pc stand, in this order: what was inserted behind the instruction before, what control that falls through runs, the place where branches to the
 * pc arrive (and its frame), what was inserted before the instruction, the instruction. A piece never branches and leaves locals and stack as they were, so
 * that the state at each old place is what it was: frames keep their types and only move.
 *
 * Branches: one that no longer reaches becomes wide. goto and jsr have wide forms. A condition becomes its opposite over a goto_w; the place behind that
 * goto_w then needs a frame, which only old classes (below version 50, whose types are inferred) do without. In newer ones it is done where a frame stands
 * there already; else pieces are moved into methods of their own, and if that does not help the edit is refused. Sizes depend on reach and reach on sizes: branches only ever become wide, so laying out again
 * until none does comes to an end.
 */
#include "dvm/classfile/descriptor.h"
#include "dvm/classfile/edit_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dvm/classfile/classfile_limits.h"

#define MAJOR_TYPED 50u			/* the first version whose methods have frames */
#define LAID_OUT_MAX (4u * CLASS_CODE_BYTES_MAX)	/* where laying out stops; pieces may still become shorter */
#define PASSES_MAX 64u			/* of laying out; each finds what the one before pushed out of reach */

static bool is_wide(const struct layout *l, uint32_t pc)
{
	return (l->wide[pc / 64] >> (pc % 64) & 1) != 0;
}

static bool jumps(uint8_t op)		/* goto and jsr, which have wide forms */
{
	return op == OP_goto || op == OP_jsr;
}

/* Bytes of an old instruction when it stands at `at`. */
static uint32_t insn_size(const struct layout *l, const struct insn *in, uint32_t at)
{
	if (in->op == OP_tableswitch || in->op == OP_lookupswitch)
		return ((at + 4) & ~3u) - at + in->next - ((in->pc + 4) & ~3u);
	if (is_wide(l, in->pc))
		return jumps(in->op) ? 5 : 8;
	return in->next - in->pc;
}

static int order(const void *a, const void *b)
{
	const struct code_change *x = a, *y = b;

	if (x->pc != y->pc)
		return x->pc < y->pc ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->sequence < y->sequence ? -1 : 1;
}

/* Puts the changes in the order in which they are written. False: one is at no instruction. */
static bool changes_sort(struct layout *l)
{
	struct insn in;
	bool sorted = true;

	for (uint32_t i = 0; i < l->change_count; i++) {
		struct code_change *c = &l->changes[i];

		if (!code_starts_at(&l->starts, c->pc) || !code_next(&l->code, c->pc, &in))
			return false;
		if (c->kind == CHANGE_AFTER)
			c->pc = in.next;
		sorted = sorted && (i == 0 || order(c - 1, c) < 0);
		if (c->stack > l->stack)
			l->stack = c->stack;
		if (c->locals > l->locals)
			l->locals = c->locals;
	}
	if (!sorted)
		qsort(l->changes, l->change_count, sizeof(*l->changes), order);
	for (uint32_t i = 1; i < l->change_count; i++)
		if (l->changes[i].kind == CHANGE_REPLACE && l->changes[i - 1].kind == CHANGE_REPLACE && l->changes[i].pc == l->changes[i - 1].pc)
			return false;
	return true;
}

/* One step: the changes at pc, their bytes added up by what they do. */
struct here {
	uint32_t fall, before;		/* bytes */
	const struct code_change *from, *to, *replace;
};

static struct here changes_at(const struct layout *l, uint32_t *next, uint32_t pc, bool falls)
{
	struct here h = { 0 };
	const struct code_change *c = l->changes + *next, *end = l->changes + l->change_count;

	h.from = c;
	for (; c < end && c->pc == pc; c++) {
		if (c->kind == CHANGE_REPLACE)
			h.replace = c;
		else if (c->kind == CHANGE_BEFORE)
			h.before += (uint32_t)c->bytes.len;
		else if (falls)
			h.fall += (uint32_t)c->bytes.len;
	}
	h.to = c;
	*next = (uint32_t)(c - l->changes);
	return h;
}

/* Where everything goes, with the branches that are wide by now. */
static bool lay_out(struct layout *l)
{
	uint64_t at = 0;
	uint32_t next = 0, length = (uint32_t)l->code.bytes.len;
	struct insn in = { 0 };
	bool falls = true;

	for (uint32_t pc = 0;; pc = in.next) {
		struct here h = changes_at(l, &next, pc, falls);
		struct place *p = &l->places[pc];

		if (at + h.fall + h.before > LAID_OUT_MAX) {
			l->length = LAID_OUT_MAX;
			return false;
		}
		p->fall = (uint32_t)at;
		p->label = p->fall + h.fall;
		p->at = p->label + h.before;
		at = p->at;
		if (pc >= length || !code_next(&l->code, pc, &in))
			break;
		uint32_t size = h.replace != NULL ? (uint32_t)h.replace->bytes.len : insn_size(l, &in, p->at);
		for (uint32_t i = 1; i < in.next - pc; i++) {
			uint32_t inside = p->at + (i < size ? i : size - 1);

			p[i] = (struct place){ inside, inside, inside };
		}
		at += size;
		falls = !insn_ends(in.op);
	}
	l->length = (uint32_t)at;
	return true;
}

static bool reaches(int64_t from, int64_t to)
{
	return to - from >= INT16_MIN && to - from <= INT16_MAX;
}

enum reach { REACH_ALL, REACH_MORE, REACH_NOT };

/* The condition can become its opposite over a goto_w: nothing asks for a frame behind it, or there is one. */
static bool invertible(const struct layout *l, const struct insn *in)
{
	const struct place *next = &l->places[in->next];

	return l->edit->c->major < MAJOR_TYPED || (code_starts_at(&l->frames, in->next) && next->fall == next->label);
}

/* Mark what no longer reaches. REACH_NOT: a condition that would need a frame. */
static enum reach widen(struct layout *l)
{
	struct insn in;
	enum reach answer = REACH_ALL;

	for (uint32_t pc = 0; code_next(&l->code, pc, &in); pc = in.next) {
		if (opcode_table[in.op].shape != OPERAND_BRANCH16 || is_wide(l, pc))
			continue;
		if (reaches(l->places[pc].at, l->places[in.target].label))
			continue;
		if (!jumps(in.op) && !invertible(l, &in))
			return REACH_NOT;
		l->wide[pc / 64] |= 1ull << (pc % 64);
		answer = REACH_MORE;
	}
	return answer;
}

/* Where frames stand. */
static bool frames_mark(struct layout *l)
{
	const struct class_attribute *a = class_attribute(l->edit->c, &l->code.attributes, SLICE("StackMapTable"));
	struct frames frames;
	struct frame f;

	l->frames = (struct code_starts){ arena_array(l->edit->arena, l->code.bytes.len / 64 + 1, sizeof(uint64_t)), (uint32_t)l->code.bytes.len };
	if (l->frames.bits == NULL)
		return false;
	if (a == NULL || !frames_open(a->body, &frames))
		return true;
	while (frames_next(&frames, &f) && f.pc < l->frames.length)
		l->frames.bits[f.pc / 64] |= 1ull << (f.pc % 64);
	return true;
}

/* Every branch, every case of a switch: at an instruction. */
static bool targets_good(const struct layout *l)
{
	struct insn in;

	for (uint32_t pc = 0; code_next(&l->code, pc, &in); pc = in.next) {
		if (insn_branches(&in) && !code_starts_at(&l->starts, in.target))
			return false;
		if (in.op != OP_tableswitch && in.op != OP_lookupswitch)
			continue;
		if (!code_starts_at(&l->starts, in.fallback))
			return false;
		for (uint32_t i = 0; i < in.pairs; i++)
			if (!code_starts_at(&l->starts, insn_target(&in, i)))
				return false;
	}
	return true;
}

static void write_switch(const struct layout *l, const struct insn *in, uint32_t at, struct buf *out)
{
	buf_addc(out, in->op);
	buf_fill(out, 0, ((at + 4) & ~3u) - at - 1);
	buf_be32(out, l->places[in->fallback].label - at);
	if (in->op == OP_tableswitch) {
		buf_be32(out, (uint32_t)in->low);
		buf_be32(out, (uint32_t)in->high);
	} else {
		buf_be32(out, in->pairs);
	}
	for (uint32_t i = 0; i < in->pairs; i++) {
		if (in->op == OP_lookupswitch)
			buf_be32(out, (uint32_t)insn_match(in, i));
		buf_be32(out, l->places[insn_target(in, i)].label - at);
	}
}

/* The opposite condition: they stand in pairs from ifeq (153) on, and ifnull, ifnonnull (198, 199). */
static uint8_t opposite(uint8_t op)
{
	return op >= OP_ifnull ? op ^ 1 : (uint8_t)(((op + 1) ^ 1) - 1);
}

static void write_branch(const struct layout *l, const struct insn *in, uint32_t at, struct buf *out)
{
	uint32_t to = l->places[in->target].label;

	if (!is_wide(l, in->pc)) {
		buf_addc(out, in->op);
		if (opcode_table[in->op].shape == OPERAND_BRANCH32)
			buf_be32(out, to - at);
		else
			buf_be16(out, (uint16_t)(to - at));
		return;
	}
	if (jumps(in->op)) {
		buf_addc(out, in->op == OP_goto ? OP_goto_w : OP_jsr_w);
		buf_be32(out, to - at);
		return;
	}
	buf_addc(out, opposite(in->op));
	buf_be16(out, 8);
	buf_addc(out, OP_goto_w);
	buf_be32(out, to - (at + 3));
}

static void write_code(const struct layout *l, struct buf *out)
{
	uint32_t next = 0, length = (uint32_t)l->code.bytes.len;
	struct insn in = { 0 };
	bool falls = true;

	for (uint32_t pc = 0;; pc = in.next) {
		struct here h = changes_at(l, &next, pc, falls);

		for (const struct code_change *c = h.from; c < h.to; c++)
			if (c->kind == CHANGE_BEFORE || (c->kind < CHANGE_BEFORE && falls))
				buf_add(out, c->bytes);
		if (pc >= length || !code_next(&l->code, pc, &in))
			break;
		if (h.replace != NULL)
			buf_add(out, h.replace->bytes);
		else if (insn_branches(&in))
			write_branch(l, &in, l->places[pc].at, out);
		else if (in.op == OP_tableswitch || in.op == OP_lookupswitch)
			write_switch(l, &in, l->places[pc].at, out);
		else
			buf_add(out, slice_of(l->code.bytes.ptr + pc, in.next - pc));
		falls = !insn_ends(in.op);
	}
}

/* Sizes until all branches reach. */
static enum reach fit(struct layout *l)
{
	enum reach reach;
	uint32_t passes = 0;

	do {
		if (!lay_out(l) || passes++ > PASSES_MAX)
			return REACH_NOT;
		/* What is shorter than that has no distance that does not fit. */
		reach = l->length <= INT16_MAX ? REACH_ALL : widen(l);
	} while (reach == REACH_MORE);
	return reach;
}

/* --- pieces that become methods --- */

/* Words that a straight piece pops below where it began, and leaves; false: it cannot be told, or it uses locals. */
static bool stands_alone(const struct class_edit *e, struct slice bytes)
{
	struct code code = { .bytes = bytes };
	struct insn in;
	int32_t depth = 0;
	uint32_t pc = 0;

	for (; code_next(&code, pc, &in); pc = in.next) {
		switch (in.op) {
		case OP_ldc:
		case OP_ldc_w:
		case OP_bipush:
		case OP_sipush:
		case OP_iconst_m1 ... OP_iconst_5:
			depth++;
			break;
		case OP_ldc2_w:
			depth += 2;
			break;
		case OP_invokestatic: {
			struct slice ref = edit_constant(e, in.index);
			struct slice pair = ref.len == 5 ? edit_constant(e, class_be16(ref.ptr + 3)) : (struct slice){ 0 };
			struct slice text = pair.len == 5 ? edit_constant(e, class_be16(pair.ptr + 3)) : (struct slice){ 0 };
			struct method_shape shape;

			if (text.len < 3 || !descriptor_method(slice_from(text, 3), &shape) || shape.words > depth)
				return false;
			depth += (int32_t)type_words((char)shape.result.ptr[0]) - shape.words;
			break;
		}
		default:
			return false;
		}
	}
	return pc == bytes.len && depth == 0;
}

/* The Methodref of a private static synthetic method of that body; 0: failed. */
static uint16_t outline(struct class_edit *e, const struct code_change *c)
{
	const struct class_file *f = e->c;
	struct outlined *o = e->outlined;
	bool interface = (f->access_flags & ACC_INTERFACE) != 0;
	char name[32];

	for (; o != NULL; o = o->next)
		if (slice_eq(o->bytes, c->bytes) && o->stack == c->stack)
			return o->ref;
	/* A class that is an interface has static methods since version 52. */
	if (interface && f->major < 52)
		return 0;
	do
		snprintf(name, sizeof(name), "prickle$%u", e->outlined_count++);
	while (class_method(f, slice_str(name), SLICE("()V")) != NULL);
	AUTO_BUF struct buf body = BUF_INIT(1u << 17);
	buf_be16(&body, edit_utf8(e, SLICE("Code")));
	buf_be32(&body, (uint32_t)(12 + c->bytes.len + 1));
	buf_be16(&body, c->stack);
	buf_be16(&body, 0);
	buf_be32(&body, (uint32_t)c->bytes.len + 1);
	buf_add(&body, c->bytes);
	buf_addc(&body, OP_return);
	buf_be16(&body, 0);
	buf_be16(&body, 0);
	o = ARENA_NEW(e->arena, struct outlined);
	if (o == NULL || body.err != 0) {
		edit_fail(e, -ENOMEM, "no memory");
		return 0;
	}
	edit_add_method(e, ACC_PRIVATE | ACC_STATIC | ACC_SYNTHETIC, slice_str(name), SLICE("()V"), buf_slice(&body), 1);
	*o = (struct outlined){ c->bytes, c->stack, 0, e->outlined };
	o->ref = edit_ref(e, interface ? CONSTANT_INTERFACE_METHODREF : CONSTANT_METHODREF, class_name(f), slice_str(name), SLICE("()V"));
	e->outlined = o;
	return o->ref;
}

bool changes_outline(struct class_edit *e, struct member_edit *edit)
{
	bool some = false;

	for (uint32_t i = 0; i < edit->change_count; i++) {
		struct code_change *c = &edit->changes[i];

		if (c->kind == CHANGE_REPLACE || c->bytes.len <= 3 || !stands_alone(e, c->bytes))
			continue;
		uint16_t ref = outline(e, c);
		uint8_t *call = arena_alloc(e->arena, 3);
		if (ref == 0 || call == NULL)
			return false;
		call[0] = OP_invokestatic;
		call[1] = (uint8_t)(ref >> 8);
		call[2] = (uint8_t)ref;
		c->bytes = slice_of(call, 3);
		some = true;
	}
	return some;
}

/* --- all of it --- */

static int refuse(const struct layout *l, int err, const char *reason, struct errmsg *why)
{
	const struct class_file *c = l->edit->c;
	struct slice name = member_name(c, l->method), descriptor = member_descriptor(c, l->method);
	char text[160];
	size_t n = 0;

	/* Names are a stranger's bytes. */
	for (size_t i = 0; i < name.len + descriptor.len && n < sizeof(text) - 1; i++) {
		uint8_t b = i < name.len ? name.ptr[i] : descriptor.ptr[i - name.len];

		text[n++] = b >= 0x20 && b < 0x7f ? (char)b : '?';
	}
	text[n] = '\0';
	return errmsg_say(why, err, "method %s: %s", text, reason);
}

/* Read the method and put its changes in order. */
static int open_method(struct layout *l, const struct member_edit *edit, struct errmsg *why)
{
	struct class_edit *e = l->edit;
	const struct class_attribute *attribute = method_code(e->c, l->method);
	struct class_fault fault;

	if (attribute == NULL)
		return refuse(l, -EOPNOTSUPP, "code is to be inserted, but the method has none", why);
	if (!code_parse(e->arena, e->c, attribute, &l->code, &fault) || !code_walk(e->arena, e->c, &l->code, &l->starts, &fault))
		return refuse(l, e->arena->err != 0 ? -ENOMEM : -EOPNOTSUPP, fault.text, why);
	l->places = arena_array(e->arena, l->code.bytes.len + 1, sizeof(*l->places));
	l->wide = arena_array(e->arena, l->code.bytes.len / 64 + 1, sizeof(*l->wide));
	l->changes = arena_array(e->arena, edit->change_count, sizeof(*l->changes));
	if (l->places == NULL || l->wide == NULL || l->changes == NULL || !frames_mark(l))
		return refuse(l, -ENOMEM, "no memory", why);
	memcpy(l->changes, edit->changes, edit->change_count * sizeof(*l->changes));
	l->change_count = edit->change_count;
	if (!changes_sort(l))
		return refuse(l, -EINVAL, "a change is at no instruction, or two replace the same one", why);
	if (!targets_good(l))
		return refuse(l, -EOPNOTSUPP, "a branch leads to no instruction", why);
	return 0;
}

static const char too_long[] = "with what is inserted its code would have more than 65,535 bytes";
static const char too_far[] = "with what is inserted a condition would no longer reach its target, and there is no frame for a longer way";

int code_rewrite(struct class_edit *e, const struct class_member *m, struct member_edit *edit, struct buf *out, uint32_t *dropped, struct errmsg *why)
{
	struct layout l = { .edit = e, .method = m };
	int err = open_method(&l, edit, why);

	if (err != 0)
		return err;
	enum reach reach = fit(&l);
	if (reach == REACH_NOT || l.length > CLASS_CODE_BYTES_MAX) {
		if (!changes_outline(e, edit))
			return refuse(&l, -EFBIG, l.length > CLASS_CODE_BYTES_MAX ? too_long : too_far, why);
		l = (struct layout){ .edit = e, .method = m };
		err = open_method(&l, edit, why);
		if (err != 0)
			return err;
		reach = fit(&l);
		if (reach == REACH_NOT || l.length > CLASS_CODE_BYTES_MAX)
			return refuse(&l, -EFBIG, l.length > CLASS_CODE_BYTES_MAX ? too_long : too_far, why);
	}
	if (l.code.max_stack + l.stack > 65535)
		return refuse(&l, -EFBIG, "with what is inserted its stack would have more than 65,535 words", why);
	for (uint32_t i = 0; i < l.change_count && !l.moved; i++)
		l.moved = l.changes[i].kind != CHANGE_REPLACE || l.length != l.code.bytes.len;
	for (uint32_t pc = 0; pc <= l.code.bytes.len && !l.moved; pc++)
		l.moved = l.places[pc].at != pc;
	size_t begin = out->len;
	buf_be16(out, (uint16_t)(l.code.max_stack + l.stack));
	buf_be16(out, l.locals > l.code.max_locals ? l.locals : l.code.max_locals);
	buf_be32(out, l.length);
	size_t code_begin = out->len;
	write_code(&l, out);
	if (out->err == 0 && out->len - code_begin != l.length)
		return refuse(&l, -EINVAL, "its code was laid out wrongly", why);
	const char *reason = NULL;
	if (!tables_write(&l, out, &reason))
		return refuse(&l, -EOPNOTSUPP, reason, why);
	if (out->err != 0)
		return refuse(&l, out->err == -ENOMEM ? -ENOMEM : -EFBIG, "the class would be too large", why);
	*dropped += l.dropped;
	edit->code_at = begin;
	edit->code_len = out->len - begin;
	edit->code_done = true;
	return 0;
}
