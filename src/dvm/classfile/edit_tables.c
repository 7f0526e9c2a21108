/* Attributes of Code that name pcs: each goes to where its instruction went. */
#include "dvm/classfile/edit_private.h"

/* The instruction that pc is in; a table of a compiler may name a pc within one. */
static uint32_t insn_of(const struct layout *l, uint32_t pc)
{
	while (pc != 0 && pc < l->length && l->fall[pc] == 0)
		pc--;
	return pc;
}

static bool mend_type(const struct layout *l, struct slice *types, struct buf *out)
{
	struct frame_type type;

	if (!frame_type_next(types, &type))
		return false;
	buf_addc(out, (uint8_t)type.tag);
	if (type.tag == FRAME_OBJECT)
		buf_be16(out, type.value);
	if (type.tag == FRAME_UNINITIALIZED) {
		if (type.value >= l->length)
			return false;
		buf_be16(out, (uint16_t)l->self[insn_of(l, type.value)]);
	}
	return true;
}

static bool mend_types(const struct layout *l, struct slice types, struct buf *out)
{
	while (types.len != 0)
		if (!mend_type(l, &types, out))
			return false;
	return true;
}

static bool mend_frames(const struct layout *l, struct slice body, struct buf *out)
{
	struct frames frames;
	struct frame f;
	int64_t before = -1;

	if (!frames_open(body, &frames))
		return false;
	buf_be16(out, (uint16_t)frames.left);
	while (frames_next(&frames, &f)) {
		if (f.pc >= l->length || (f.pc != 0 && l->fall[f.pc] == 0))
			return false;
		uint32_t delta = (uint32_t)((int64_t)l->target[f.pc] - before - 1);
		before = l->target[f.pc];
		if (f.type < 64 || f.type == 251) {
			buf_addc(out, delta < 64 ? (uint8_t)delta : 251);
			if (delta >= 64)
				buf_be16(out, (uint16_t)delta);
		} else if (f.type < 128 || f.type == 247) {
			buf_addc(out, delta < 64 ? (uint8_t)(64 + delta) : 247);
			if (delta >= 64)
				buf_be16(out, (uint16_t)delta);
		} else {
			buf_addc(out, f.type);
			buf_be16(out, (uint16_t)delta);
		}
		if (f.type == 255)
			buf_be16(out, f.locals);
		if (!mend_types(l, f.local_types, out))
			return false;
		if (f.type == 255)
			buf_be16(out, f.stack);
		if (!mend_types(l, f.stack_types, out))
			return false;
	}
	return frames.left == 0;
}

static bool mend_lines(const struct layout *l, const struct attribute_rows *rows, struct buf *out)
{
	buf_be16(out, (uint16_t)rows->count);
	for (uint32_t i = 0; i < rows->count; i++) {
		struct row_line row = row_line(rows, i);

		if (row.pc >= l->length)
			return false;
		buf_be16(out, (uint16_t)l->fall[insn_of(l, row.pc)]);
		buf_be16(out, row.line);
	}
	return true;
}

/* From the first to the first behind it: as handlers' ranges. */
static bool mend_range(const struct layout *l, uint32_t pc, uint32_t length, struct buf *out)
{
	if (pc > l->length || length > l->length - pc)
		return false;
	uint32_t from = l->fall[insn_of(l, pc)];
	buf_be16(out, (uint16_t)from);
	buf_be16(out, (uint16_t)(l->fall[insn_of(l, pc + length)] - from));
	return true;
}

static bool mend_variables(const struct layout *l, const struct attribute_rows *rows, struct buf *out)
{
	buf_be16(out, (uint16_t)rows->count);
	for (uint32_t i = 0; i < rows->count; i++) {
		struct row_variable row = row_variable(rows, i);

		if (!mend_range(l, row.pc, row.length, out))
			return false;
		buf_be16(out, row.name);
		buf_be16(out, row.type);
		buf_be16(out, row.index);
	}
	return true;
}

static bool mend_characters(const struct layout *l, const struct attribute_rows *rows, struct buf *out)
{
	buf_be16(out, (uint16_t)rows->count);
	for (uint32_t i = 0; i < rows->count; i++) {
		struct row_characters row = row_characters(rows, i);

		if (row.pc >= l->length || row.end < row.pc || row.end >= l->length)
			return false;
		buf_be16(out, (uint16_t)l->fall[insn_of(l, row.pc)]);
		buf_be16(out, (uint16_t)(l->fall[insn_of(l, row.end + 1u)] - 1));
		buf_be32(out, row.from);
		buf_be32(out, row.to);
		buf_be16(out, row.flags);
	}
	return true;
}

/* target_info of 4.7.20.1 whose pcs move; the others are copied. */
static bool mend_target(const struct layout *l, const struct type_annotation *t, struct buf *out)
{
	struct slice info = t->info;

	buf_addc(out, t->target);
	if (t->target == 0x40 || t->target == 0x41) {			/* localvar_target */
		if (info.len < 2)
			return false;
		buf_add(out, slice_head(info, 2));
		for (info = slice_from(info, 2); info.len >= 6; info = slice_from(info, 6)) {
			if (!mend_range(l, class_be16(info.ptr), class_be16(info.ptr + 2), out))
				return false;
			buf_add(out, slice_sub(info, 4, 6));
		}
		return info.len == 0;
	}
	if (t->target >= 0x43 && t->target <= 0x4b) {			/* offset_target, type_argument_target */
		if (info.len < 2 || class_be16(info.ptr) >= l->length)
			return false;
		buf_be16(out, (uint16_t)l->self[insn_of(l, class_be16(info.ptr))]);
		info = slice_from(info, 2);
	}
	buf_add(out, info);
	return true;
}

static bool mend_type_annotations(const struct layout *l, struct slice body, struct buf *out)
{
	struct type_annotation t;
	struct slice rest;
	uint16_t count;

	if (!annotations_open(body, &count, &rest))
		return false;
	buf_be16(out, count);
	for (uint32_t i = 0; i < count; i++) {
		if (!type_annotation_next(&rest, &t) || !mend_target(l, &t, out))
			return false;
		buf_addc(out, (uint8_t)(t.path.len / 2));
		buf_add(out, t.path);
		buf_add(out, t.annotation.bytes);
	}
	return rest.len == 0;
}

bool edit_table(const struct class_edit *e, const struct layout *l, const struct class_attribute *a, struct buf *out, bool *known)
{
	enum attribute_kind kind = attribute_kind_of(e->c, a);
	struct attribute_rows rows = { 0 };

	*known = true;
	switch (kind) {
	case ATTRIBUTE_STACK_MAP_TABLE:
		return mend_frames(l, a->body, out);
	case ATTRIBUTE_VISIBLE_TYPE_ANNOTATIONS:
	case ATTRIBUTE_INVISIBLE_TYPE_ANNOTATIONS:
		return mend_type_annotations(l, a->body, out);
	case ATTRIBUTE_LINE_NUMBER_TABLE:
		return attribute_rows(kind, a, &rows) && mend_lines(l, &rows, out);
	case ATTRIBUTE_LOCAL_VARIABLE_TABLE:
	case ATTRIBUTE_LOCAL_VARIABLE_TYPE_TABLE:
		return attribute_rows(kind, a, &rows) && mend_variables(l, &rows, out);
	case ATTRIBUTE_CHARACTER_RANGE_TABLE:
		return attribute_rows(kind, a, &rows) && mend_characters(l, &rows, out);
	default:
		*known = false;
		return true;
	}
}
