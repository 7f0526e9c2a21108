/*
 * What names pcs, with the pcs where things went.
 *
 * Tables that decide how code runs (exceptions, frames) must be right, or the edit is refused. Tables for debuggers may name the middle of an instruction; then
 * they go on doing so.
 */
#include "base/reader.h"
#include "dvm/classfile/edit_private.h"

static bool inside(const struct layout *l, uint32_t pc)		/* the end is a place, too */
{
	return pc <= l->code.bytes.len;
}

static bool at_insn(const struct layout *l, uint32_t pc)
{
	return code_starts_at(&l->starts, pc);
}

/*
 * Where a range begins: at the label, so that pieces before its first instruction are within. Behind a monitorenter it begins right there: a lock that is
 * held outside every handler would be one that the JIT does not know how to release.
 */
static uint32_t range_start(const struct layout *l, uint32_t pc)
{
	const struct place *p = &l->places[pc];

	/* monitorenter has one byte, and the byte before may be an operand of another instruction. */
	if (pc > 0 && at_insn(l, pc - 1) && l->code.bytes.ptr[pc - 1] == OP_monitorenter)
		return p->fall;
	return p->label;
}

static bool handlers_write(const struct layout *l, struct buf *out, const char **reason)
{
	uint32_t count = code_handlers(&l->code);

	buf_be16(out, (uint16_t)count);
	for (uint32_t i = 0; i < count; i++) {
		struct code_handler h = code_handler(&l->code, i);

		if (!at_insn(l, h.start) || !at_insn(l, h.handler) || (h.end != l->code.bytes.len && !at_insn(l, h.end))) {
			*reason = "a row of its exception table names no instruction";
			return false;
		}
		buf_be16(out, (uint16_t)range_start(l, h.start));
		/* The locals behind the last instruction may be none that the handler takes: what follows it is outside. */
		buf_be16(out, (uint16_t)l->places[h.end].fall);
		buf_be16(out, (uint16_t)l->places[h.handler].label);
		buf_be16(out, h.type);
	}
	return true;
}

static bool types_write(const struct layout *l, struct slice types, struct buf *out)
{
	struct frame_type t;

	while (types.len > 0) {
		if (!frame_type_next(&types, &t))
			return false;
		buf_addc(out, (uint8_t)t.tag);
		if (t.tag == FRAME_UNINITIALIZED) {
			if (!at_insn(l, t.value))
				return false;
			buf_be16(out, (uint16_t)l->places[t.value].at);
		} else if (t.tag == FRAME_OBJECT) {
			buf_be16(out, t.value);
		}
	}
	return true;
}

/* The head of a frame for another distance; the long forms stay long. */
static void frame_head(const struct frame *f, uint32_t delta, struct buf *out)
{
	if (f->type < 64 && delta < 64) {
		buf_addc(out, (uint8_t)delta);
	} else if (f->type >= 64 && f->type < 128 && delta < 64) {
		buf_addc(out, (uint8_t)(64 + delta));
	} else {
		buf_addc(out, f->type < 64 ? 251 : f->type < 128 ? 247 : f->type);
		buf_be16(out, (uint16_t)delta);
	}
}

static bool frames_write(const struct layout *l, struct slice body, struct buf *out)
{
	struct frames f;
	struct frame frame;
	int64_t last = -1;

	if (!frames_open(body, &f))
		return false;
	buf_be16(out, (uint16_t)f.left);
	while (frames_next(&f, &frame)) {
		if (!at_insn(l, frame.pc))
			return false;
		uint32_t pc = l->places[frame.pc].label;

		frame_head(&frame, (uint32_t)((int64_t)pc - last - 1), out);
		last = pc;
		if (frame.type == 255)
			buf_be16(out, frame.locals);
		if (!types_write(l, frame.local_types, out))
			return false;
		if (frame.type == 255)
			buf_be16(out, frame.stack);
		if (!types_write(l, frame.stack_types, out))
			return false;
	}
	return f.left == 0 && f.at == f.bytes.len;
}

static bool lines_write(const struct layout *l, const struct attribute_rows *rows, struct buf *out)
{
	buf_be16(out, (uint16_t)rows->count);
	for (uint32_t i = 0; i < rows->count; i++) {
		struct row_line row = row_line(rows, i);

		if (row.pc >= l->code.bytes.len)
			return false;
		/* The first line has what stands before all. */
		buf_be16(out, row.pc == 0 ? 0 : (uint16_t)l->places[row.pc].label);
		buf_be16(out, row.line);
	}
	return true;
}

/* start and length of a variable's range. */
static bool span_write(const struct layout *l, uint32_t pc, uint32_t length, struct buf *out)
{
	if (!inside(l, pc) || !inside(l, pc + length))
		return false;
	uint32_t from = pc == 0 ? 0 : l->places[pc].label;
	uint32_t to = l->places[pc + length].label;

	buf_be16(out, (uint16_t)from);
	buf_be16(out, (uint16_t)(to > from ? to - from : 0));
	return true;
}

static bool variables_write(const struct layout *l, const struct attribute_rows *rows, struct buf *out)
{
	buf_be16(out, (uint16_t)rows->count);
	for (uint32_t i = 0; i < rows->count; i++) {
		struct row_variable row = row_variable(rows, i);

		if (!span_write(l, row.pc, row.length, out))
			return false;
		buf_be16(out, row.name);
		buf_be16(out, row.type);
		buf_be16(out, row.index);
	}
	return true;
}

static bool characters_write(const struct layout *l, const struct attribute_rows *rows, struct buf *out)
{
	buf_be16(out, (uint16_t)rows->count);
	for (uint32_t i = 0; i < rows->count; i++) {
		struct row_characters row = row_characters(rows, i);
		uint32_t end = row.end + 1u;		/* the row's is the last byte */

		if (!inside(l, row.pc) || !inside(l, end))
			return false;
		uint32_t from = l->places[row.pc].label, to = l->places[end].fall;
		buf_be16(out, (uint16_t)from);
		buf_be16(out, (uint16_t)(to > from ? to - 1 : from));
		buf_be32(out, row.from);
		buf_be32(out, row.to);
		buf_be16(out, row.flags);
	}
	return true;
}

/* A pc in a type annotation: no JVM looks at it, and some compilers write nonsense, which stays. */
static uint16_t offset_of(const struct layout *l, uint16_t pc)
{
	return inside(l, pc) ? (uint16_t)l->places[pc].at : pc;
}

static bool annotations_write(const struct layout *l, struct slice body, struct buf *out)
{
	struct slice rest;
	struct type_annotation a;
	uint16_t count;

	if (!annotations_open(body, &count, &rest))
		return false;
	buf_be16(out, count);
	for (; count > 0; count--) {
		const uint8_t *begin = rest.ptr;

		if (!type_annotation_next(&rest, &a))
			return false;
		struct slice tail = slice_of(a.info.ptr + a.info.len, (size_t)(rest.ptr - (a.info.ptr + a.info.len)));
		buf_add(out, slice_of(begin, (size_t)(a.info.ptr - begin)));
		if (a.target == 0x40 || a.target == 0x41) {		/* localvar_target */
			struct reader r = reader_of(a.info);
			uint16_t spans = rd_be16(&r);

			buf_be16(out, spans);
			for (; spans > 0; spans--) {
				uint16_t pc = rd_be16(&r), length = rd_be16(&r);

				if (!span_write(l, pc, length, out)) {
					buf_be16(out, pc);
					buf_be16(out, length);
				}
				buf_be16(out, rd_be16(&r));
			}
		} else if (a.target >= 0x43 && a.target <= 0x4b) {	/* offset_target, type_argument_target */
			buf_be16(out, offset_of(l, class_be16(a.info.ptr)));
			buf_add(out, slice_from(a.info, 2));
		} else {
			buf_add(out, a.info);
		}
		buf_add(out, tail);
	}
	return rest.len == 0;
}

/* The body of one attribute. False: malformed. */
static bool body_write(const struct layout *l, enum attribute_kind kind, const struct class_attribute *a, struct buf *out)
{
	struct attribute_rows rows;

	switch (kind) {
	case ATTRIBUTE_STACK_MAP_TABLE:
		return frames_write(l, a->body, out);
	case ATTRIBUTE_LINE_NUMBER_TABLE:
		return attribute_rows(kind, a, &rows) && lines_write(l, &rows, out);
	case ATTRIBUTE_LOCAL_VARIABLE_TABLE:
	case ATTRIBUTE_LOCAL_VARIABLE_TYPE_TABLE:
		return attribute_rows(kind, a, &rows) && variables_write(l, &rows, out);
	case ATTRIBUTE_CHARACTER_RANGE_TABLE:
		return attribute_rows(kind, a, &rows) && characters_write(l, &rows, out);
	case ATTRIBUTE_VISIBLE_TYPE_ANNOTATIONS:
	case ATTRIBUTE_INVISIBLE_TYPE_ANNOTATIONS:
		return annotations_write(l, a->body, out);
	default:
		return false;
	}
}

static bool names_pcs(enum attribute_kind kind)
{
	return kind != ATTRIBUTE_UNKNOWN && strchr(attribute_table[kind].where, 'K') != NULL;
}

bool tables_write(struct layout *l, struct buf *out, const char **reason)
{
	const struct class_attributes *list = &l->code.attributes;
	size_t count_at = 0;
	uint16_t count = 0;

	if (!handlers_write(l, out, reason))
		return false;
	count_at = out->len;
	buf_be16(out, 0);
	for (uint32_t i = 0; i < list->count; i++) {
		const struct class_attribute *a = &list->at[i];
		enum attribute_kind kind = attribute_kind_of(l->edit->c, a);

		if (l->moved && !names_pcs(kind)) {
			if ((l->edit->flags & EDIT_REFUSE_UNKNOWN) != 0) {
				*reason = "its code has an attribute that is not known, and that would no longer be true";
				return false;
			}
			l->dropped++;
			continue;
		}
		count++;
		buf_be16(out, a->name);
		size_t size_at = out->len;
		buf_be32(out, 0);
		if (!l->moved) {
			buf_add(out, a->body);
		} else if (!body_write(l, kind, a, out)) {
			*reason = "a table of its code (frames, lines or variables) is malformed";
			return false;
		}
		patch_be32(out, size_at, (uint32_t)(out->len - size_at - 4));
	}
	patch_be16(out, count_at, count);
	return true;
}
