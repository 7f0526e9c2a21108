#include "base/reader.h"
#include "dvm/classfile/code.h"

bool frames_open(struct slice body, struct frames *out)
{
	if (body.len < 2)
		return false;
	*out = (struct frames){ slice_from(body, 2), class_be16(body.ptr), 0, -1 };
	return true;
}

/* `count` types off r; bad when one is none of 4.7.4's. */
static struct slice take_types(struct reader *r, uint32_t count)
{
	const uint8_t *from = r->at;

	for (uint32_t i = 0; i < count && !r->bad; i++) {
		uint8_t tag = rd_u8(r);

		if (tag == FRAME_OBJECT || tag == FRAME_UNINITIALIZED)
			(void)rd_be16(r);
		else if (tag > FRAME_UNINITIALIZED)
			r->bad = true;
	}
	return slice_of(from, (size_t)(r->at - from));
}

bool frames_next(struct frames *f, struct frame *out)
{
	if (f->left == 0)
		return false;
	struct reader r = reader_of(slice_from(f->bytes, f->at));
	struct frame frame = { .offset = f->at, .type = rd_u8(&r) };
	uint32_t delta = frame.type;

	if (frame.type >= 64 && frame.type < 128) {		/* same_locals_1_stack_item_frame */
		delta -= 64;
		frame.stack = 1;
	} else if (frame.type >= 128 && frame.type < 247) {	/* reserved */
		return false;
	} else if (frame.type >= 247) {
		delta = rd_be16(&r);
	}
	if (frame.type == 247)
		frame.stack = 1;
	else if (frame.type >= 248 && frame.type <= 250)
		frame.chop = (uint8_t)(251 - frame.type);
	else if (frame.type >= 252 && frame.type <= 254)
		frame.locals = (uint16_t)(frame.type - 251);
	else if (frame.type == 255)
		frame.locals = rd_be16(&r);
	frame.local_types = take_types(&r, frame.locals);
	if (frame.type == 255)
		frame.stack = rd_be16(&r);
	frame.stack_types = take_types(&r, frame.stack);
	if (r.bad)
		return false;
	f->pc += (int64_t)delta + 1;
	f->at = (uint32_t)(r.at - f->bytes.ptr);
	f->left--;
	frame.pc = (uint32_t)f->pc;
	*out = frame;
	return true;
}

bool frame_type_next(struct slice *types, struct frame_type *out)
{
	struct reader r = reader_of(*types);
	struct frame_type type = { .tag = (enum frame_tag)rd_u8(&r) };

	if (type.tag == FRAME_OBJECT || type.tag == FRAME_UNINITIALIZED)
		type.value = rd_be16(&r);
	if (r.bad || type.tag > FRAME_UNINITIALIZED)
		return false;
	*types = slice_from(*types, types->len - rd_left(&r));
	*out = type;
	return true;
}
