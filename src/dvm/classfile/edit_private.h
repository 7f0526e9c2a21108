/*
 * What the files of the editor share: the list of changes, and where everything of a method's code went.
 *
 * edit.c collects changes and constants, edit_code.c lays changed code out, edit_tables.c mends what names pcs, edit_write.c puts the class together.
 */
#pragma once
#include "dvm/classfile/attribute.h"
#include "dvm/classfile/edit.h"

/* The order in which what stands at one pc is written; the values of struct code_change's kind. */
enum change_kind {
	CHANGE_AFTER,			/* of the instruction before; its pc is the next instruction's */
	CHANGE_FALL,
	CHANGE_BEFORE,
	CHANGE_REPLACE,
};

struct code_change {
	uint32_t pc, sequence;
	enum change_kind kind;
	struct slice bytes;
	uint16_t stack, locals;
};

struct attribute_edit {			/* replaced, added or (body.ptr NULL) taken away */
	uint16_t name;
	struct slice text;		/* the name */
	struct slice body;
	struct attribute_edit *next;
};

struct member_edit {
	bool has_access, has_name;
	uint16_t access, name;
	struct attribute_edit *attributes;	/* in the order of the calls */
	uint16_t *annotations;			/* Utf8s of types */
	uint32_t annotation_count;
	struct code_change *changes;
	uint32_t change_count, change_cap;
	/* What edit_write made of the changes: the body of Code in its scratch buffer. */
	size_t code_at, code_len;
	bool code_done;
};

struct added_member {
	uint16_t access, name, descriptor, count;
	struct slice attributes;
	struct added_member *next;
};

struct added_members {
	struct added_member *first, **last;
	uint32_t count;
};

struct outlined {			/* a piece that became a method of its own */
	struct slice bytes;
	uint16_t stack, ref;		/* ref: the Methodref that calls it */
	struct outlined *next;
};

struct class_edit {
	struct arena *arena;
	const struct class_file *c;
	uint32_t flags;
	int err;			/* the first error sticks */
	const char *reason;		/* of err; a literal */
	bool has_access;
	uint16_t access;
	struct member_edit **fields, **methods;	/* by index; NULL: untouched */
	struct attribute_edit *attributes;
	struct added_members added_fields, added_methods;
	struct outlined *outlined;
	uint32_t outlined_count;
	/* constants: appended ones lie in `added`, one behind the other */
	uint8_t *added;
	size_t added_len, added_cap;
	uint32_t *added_at;		/* offsets in `added` of constants pool.count ... */
	uint32_t pool_count, added_at_cap;
	uint16_t *hash;			/* indices by content; 0: free */
	uint32_t hash_size, hash_used;
};

/* The first failure is kept. */
void edit_fail(struct class_edit *e, int err, const char *reason);
/* The bytes of a constant, of the class or appended. */
struct slice edit_constant(const struct class_edit *e, uint32_t index);
struct member_edit *edit_of(struct class_edit *e, const struct class_member *m);
/* Grow an array in the arena so that it holds one more; false: failed. */
bool edit_grow(struct class_edit *e, void **array, uint32_t count, uint32_t *cap, size_t size);

/* --- where code went --- */

struct place {				/* new pcs of an old one; within an instruction the three are the same */
	uint32_t fall;			/* right behind the instruction before */
	uint32_t label;			/* where branches to it go, where its frame stands */
	uint32_t at;			/* the instruction itself */
};

struct layout {
	struct class_edit *edit;
	const struct class_member *method;
	struct code code;
	struct code_starts starts, frames;	/* where instructions begin, where a frame stands */
	struct place *places;		/* code_length + 1 */
	struct code_change *changes;	/* sorted */
	uint32_t change_count;
	uint64_t *wide;			/* a bit each old pc: the branch there became wide */
	uint32_t length;		/* of the new code */
	uint16_t stack, locals;
	bool moved;			/* some byte stands elsewhere than before */
	uint32_t dropped;
};

/* Lay the method out and write the body of its Code attribute. 0 or as edit_write. */
MUST_USE int code_rewrite(struct class_edit *e, const struct class_member *m, struct member_edit *edit, struct buf *out, uint32_t *dropped,
			  struct errmsg *why);
/* The exception table (with its count) and the attributes of Code (with theirs). False: *reason, a literal. */
MUST_USE bool tables_write(struct layout *l, struct buf *out, const char **reason);
/* Put the pieces that can be methods of their own there; true when there was one. */
bool changes_outline(struct class_edit *e, struct member_edit *edit);

static inline void patch_be16(struct buf *b, size_t at, uint32_t v)
{
	if (b->err == 0) {
		b->ptr[at] = (uint8_t)(v >> 8);
		b->ptr[at + 1] = (uint8_t)v;
	}
}
static inline void patch_be32(struct buf *b, size_t at, uint32_t v)
{
	patch_be16(b, at, v >> 16);
	patch_be16(b, at + 2, v & 0xffff);
}
