/* What the files of the class editor share. */
#pragma once
#include "dvm/classfile/attribute.h"
#include "dvm/classfile/edit.h"

struct attribute_edit {
	struct attribute_edit *next;
	struct slice name, body;	/* ptr NULL: taken away */
};

struct piece {
	struct piece *next;		/* in the order of the calls */
	uint32_t pc;
	enum edit_where where;
	bool replaces;			/* stands for the instruction at pc */
	struct slice bytes;
	uint16_t stack, locals;
};

struct owner_edit {			/* what is different in a member, or in the class */
	bool has_access;
	uint16_t access, name;		/* name 0: as it is */
	struct attribute_edit *attributes;
	struct piece *pieces, **pieces_end;
	struct slice annotations;	/* appended annotation structures */
	uint16_t annotation_count;
};

struct new_member {
	struct new_member *next;
	uint16_t access, name, descriptor, attribute_count;
	struct slice attributes;
};
struct new_members {
	struct new_member *first, **end;
	uint32_t count;
};

struct class_edit {
	struct arena *arena;
	const struct class_file *c;
	uint32_t flags;
	int err;			/* the first: -EFBIG pool, -ENOMEM */
	struct buf pool;		/* appended constants */
	uint32_t pool_count;		/* as constant_pool_count will be */
	uint32_t *slots;		/* open addressing: 1 + index of a constant; its key is its bytes */
	uint32_t slot_count;
	uint32_t *new_at;		/* offset in `pool` of each appended constant */
	uint32_t new_room;
	struct owner_edit class;
	struct owner_edit *fields, *methods;	/* by index; NULL until one is changed */
	struct new_members new_fields, new_methods;
	uint32_t dropped;
};

/*
 * The body of a method's Code attribute with its pieces in. 0; -EFBIG, -EOPNOTSUPP, -EBADMSG with a sentence that begins with the method.
 */
MUST_USE int edit_code(struct class_edit *e, const struct class_member *m, const struct owner_edit *o, struct buf *out, struct errmsg *why);

/* Where everything of a method's code went. Arrays are by old pc, 0 .. length; meaningful where instructions start, and at length. */
struct layout {
	uint32_t length, new_length;
	/* Of what stands before an instruction: [fall] pieces that branches pass by, [target] pieces that they reach, [self] the instruction. */
	uint32_t *fall, *target, *self;
};
/* edit_tables.c: a sub-attribute of Code, mended. False: it is not sound. *known is false for one that we cannot mend. */
MUST_USE bool edit_table(const struct class_edit *e, const struct layout *l, const struct class_attribute *a, struct buf *out, bool *known);
void edit_attribute_header(struct buf *out, uint16_t name, size_t body_bytes);
