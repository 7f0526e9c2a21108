/*
 * For tests that ask a JVM: classes on standard input, each with calls of a probe scattered over it on standard output.
 *
 *	in	be32 seed, be32 bytes, class; seed 0: nothing is inserted
 *	out	be32 error (0: good), be32 bytes, class or sentence
 */
#include <stdio.h>

#include "dvm/classfile/edit_scatter.h"

static bool number(uint32_t *out)
{
	uint8_t b[4];

	if (fread(b, 1, 4, stdin) != 4)
		return false;
	*out = class_be32(b);
	return true;
}

static void answer(uint32_t err, struct slice s)
{
	uint8_t head[8] = { 0, 0, 0, (uint8_t)err, (uint8_t)(s.len >> 24), (uint8_t)(s.len >> 16), (uint8_t)(s.len >> 8), (uint8_t)s.len };

	fwrite(head, 1, 8, stdout);
	fwrite(s.ptr, 1, s.len, stdout);
	fflush(stdout);
}

static void one(struct slice bytes, uint32_t seed)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 28);
	AUTO_BUF struct buf out = BUF_INIT(1u << 28);
	struct class_fault fault;
	struct errmsg why;
	struct class_file c;

	if (!class_parse(&arena, bytes, &c, &fault)) {
		answer(1, slice_str(fault.text));
		return;
	}
	struct class_edit *e = edit_new(&arena, &c);
	if (e != NULL && seed != 0)
		scatter(&arena, e, &c, seed, seed % 12 + 1);
	if (e == NULL || edit_write(e, &out, NULL, &why) != 0)
		answer(2, slice_str(e == NULL ? "no memory" : why.text));
	else
		answer(0, buf_slice(&out));
}

int main(void)
{
	AUTO_BUF struct buf in = BUF_INIT(1u << 28);
	uint32_t seed, size;

	while (number(&seed) && number(&size)) {
		buf_reset(&in);
		uint8_t *room = buf_room(&in, size);
		if (room == NULL || fread(room, 1, size, stdin) != size)
			return 1;
		buf_commit(&in, size);
		one(buf_slice(&in), seed);
	}
	return 0;
}
