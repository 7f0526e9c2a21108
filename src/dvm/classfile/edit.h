/*
 * Changing a class: its bytes, plus a list of what is different.
 *
 * An edit begins empty and written as it is gives the bytes it began with. Constants are only appended, so that every index in untouched bytes stays true.
 * Code is changed by insertion of straight-line pieces (no branch in them, and the stack below them untouched), so that frames move and are never worked out
 * again: after insertions the writer mends branches, switches (padding), the exception table, StackMapTable (deltas and the pcs of Uninitialized),
 * LineNumberTable, LocalVariable(Type)Table, type annotations with pcs, CharacterRangeTable; a goto or jsr that no longer reaches becomes wide,
 * a condition its opposite over a goto_w. From version 50 on the place behind that goto_w needs a frame, and none is worked out here: it is done where a frame
 * stands already. Elsewhere, and in a method that would pass 65,535 bytes, pieces of constants and static calls are moved into synthetic static methods
 * (prickle$0 ...), which cost 3 bytes each; if that does not help the edit is refused with the method and the reason. ldc whose constant is above 255 is ldc_w in
 * pieces that asm_* assembles.
 * A guarded range covers what is inserted before its instructions, not what follows its last one, whose locals its handler may not take.
 * An unknown attribute of Code whose code moved: dropped and counted, or the edit refused, as the caller says.
 *
 * Deterministic: the same class and the same calls give the same bytes.
 */
#pragma once
#include "base/buf.h"
#include "base/errmsg.h"
#include "dvm/classfile/code.h"

struct class_edit;

/* The class stays the caller's, and must live as long as the arena's content. NULL: no memory. */
MUST_USE struct class_edit *edit_new(struct arena *arena, const struct class_file *c);
#define EDIT_REFUSE_UNKNOWN 0x1u	/* an unknown attribute of Code that would lie: refuse instead of dropping it */
void edit_flags(struct class_edit *e, uint32_t flags);

/* --- constants: the index of one that is there, or of a new one; 0: the pool is full or memory short, and it sticks (edit_write says so) --- */
uint16_t edit_utf8(struct class_edit *e, struct slice text);
uint16_t edit_class(struct class_edit *e, struct slice name);
uint16_t edit_string(struct class_edit *e, struct slice text);
uint16_t edit_integer(struct class_edit *e, int32_t value);
uint16_t edit_long(struct class_edit *e, int64_t value);
uint16_t edit_name_and_type(struct class_edit *e, struct slice name, struct slice descriptor);
/* tag: CONSTANT_FIELDREF, _METHODREF, _INTERFACE_METHODREF. */
uint16_t edit_ref(struct class_edit *e, enum constant_tag tag, struct slice owner, struct slice name, struct slice descriptor);

/* --- skeleton --- */
void edit_access(struct class_edit *e, uint16_t access_flags);				/* of the class */
void edit_member_access(struct class_edit *e, const struct class_member *m, uint16_t access_flags);	/* m: of the class */
void edit_member_name(struct class_edit *e, const struct class_member *m, struct slice name);
/* attributes: whole attribute_info structures, or empty; count of them. */
void edit_add_field(struct class_edit *e, uint16_t access_flags, struct slice name, struct slice descriptor, struct slice attributes, uint16_t count);
void edit_add_method(struct class_edit *e, uint16_t access_flags, struct slice name, struct slice descriptor, struct slice attributes, uint16_t count);
/* owner: NULL for the class, or one of its members. Replaces or adds one of that name; a body of ptr NULL takes it away. */
void edit_attribute(struct class_edit *e, const struct class_member *owner, struct slice name, struct slice body);
/*
 * Add a RuntimeVisibleAnnotations annotation without elements ("Ljdk/internal/reflect/CallerSensitive;") to a method, beside those that it has.
 */
void edit_annotate(struct class_edit *e, const struct class_member *method, struct slice type);

/* --- code --- */

enum edit_where {
	/* Before the instruction at pc; branches to pc, and handlers that begin at it, reach the piece first. At a pc with a frame the piece stands behind the frame. */
	EDIT_BEFORE,
	/* As EDIT_BEFORE, but branches to pc pass the piece by: it runs only when control falls through. */
	EDIT_BEFORE_FALL,
	/* Behind the instruction at pc, when control falls through it (after an invoke, a new). */
	EDIT_AFTER,
};
/*
 * A piece: whole instructions without branches, switches, returns, athrow, wide jumps, jsr/ret, whose net effect on the stack is nothing unless `net` says so
 * (checked by the verifier's tests, not here). max_stack grows by `stack`, max_locals to at least `locals`. Several pieces at one place stand in the order of the calls.
 */
struct edit_piece {
	struct slice bytes;
	uint16_t stack;			/* words above what is there */
	uint16_t locals;		/* the method needs at least so many; 0: as it is */
};
void edit_insert(struct class_edit *e, const struct class_member *method, uint32_t pc, enum edit_where where, struct edit_piece piece);
/* Put another instruction of any length for the one at pc (an invoke of another method, say). Its stack effect must be the same. */
void edit_replace(struct class_edit *e, const struct class_member *method, uint32_t pc, struct slice bytes);

/*
 * Write the class. 0, or: -EFBIG a method or the pool would be too large; -EOPNOTSUPP code that cannot be changed (unknown attribute, jsr under insertion that
 * needs it, malformed tables); -ENOMEM. *why names method and reason. `dropped` (or NULL) counts unknown attributes of Code that went away.
 */
MUST_USE int edit_write(struct class_edit *e, struct buf *out, uint32_t *dropped, struct errmsg *why);

/* --- assembling pieces and bodies: bytes of instructions into a buf, constants through the edit --- */
struct assembler {
	struct class_edit *edit;
	struct buf *out;
	int32_t depth, deepest;		/* words on the stack since the start: `stack` of the piece */
};
void asm_op(struct assembler *a, uint8_t op);				/* an opcode without operands; depth follows from its row */
void asm_int(struct assembler *a, int32_t value);			/* iconst, bipush, sipush or ldc/ldc_w */
void asm_string(struct assembler *a, struct slice text);
void asm_class(struct assembler *a, struct slice name);			/* ldc of a Class: version 49 and above */
void asm_local(struct assembler *a, uint8_t op, uint16_t index);	/* OP_aload and the like; short forms and wide by themselves */
void asm_invoke(struct assembler *a, uint8_t op, struct slice owner, struct slice name, struct slice descriptor);
void asm_field(struct assembler *a, uint8_t op, struct slice owner, struct slice name, struct slice descriptor);
