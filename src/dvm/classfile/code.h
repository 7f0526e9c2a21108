/*
 * The Code attribute (JVMS 4.7.3) and its instructions (chapter 6).
 *
 * opcodes.def has a row for each opcode: name, shape of its operands, effect on the stack. Everything that walks code (printer,
 * verifier, rewriter, prover) does it by code_next().
 */
#pragma once
#include "dvm/classfile/class.h"

struct code_handler {			/* one row of exception_table */
	uint16_t start, end, handler;
	uint16_t type;			/* a Class, or 0: all */
};

struct code {
	uint16_t max_stack, max_locals;
	struct slice bytes;		/* the instructions */
	uint32_t offset;		/* of bytes in the class file */
	struct slice handlers;		/* 8 bytes each: code_handler() */
	struct class_attributes attributes;
};

/*
 * Read the Code attribute of a method. False: *fault. Checks lengths, 0 < code_length < 65536, handler ranges within the code, and that catch types are
 * Class constants; not that pcs are at instructions (code_walk).
 */
MUST_USE bool code_parse(struct arena *arena, const struct class_file *c, const struct class_attribute *attribute, struct code *out, struct class_fault *fault);
/* A method's code: NULL attribute when it is native or abstract. */
const struct class_attribute *method_code(const struct class_file *c, const struct class_member *m);
static inline uint32_t code_handlers(const struct code *code)
{
	return (uint32_t)(code->handlers.len / 8);
}
struct code_handler code_handler(const struct code *code, uint32_t i);

enum opcode {
#define OPCODE(value, name, ...) OP_##name = value,
#include "dvm/classfile/opcodes.def"
#undef OPCODE
};

enum operand_shape {
	OPERAND_NONE,
	OPERAND_S8,			/* bipush */
	OPERAND_S16,			/* sipush */
	OPERAND_LOCAL,			/* u1, u2 after wide */
	OPERAND_IINC,			/* local and s8, both 16 bits after wide */
	OPERAND_CONST8,			/* ldc */
	OPERAND_CONST16,
	OPERAND_BRANCH16,
	OPERAND_BRANCH32,
	OPERAND_INTERFACE,		/* const16, count, 0 */
	OPERAND_DYNAMIC,		/* const16, 0, 0 */
	OPERAND_TYPE,			/* newarray: a primitive's code */
	OPERAND_MULTI,			/* multianewarray: const16, dimensions */
	OPERAND_TABLESWITCH,
	OPERAND_LOOKUPSWITCH,
	OPERAND_WIDE,			/* never in struct insn: its instruction has `wide` set */
	OPERAND_BAD,			/* no such opcode */
};

struct opcode_info {
	const char *name;		/* "aaload"; NULL: no such opcode */
	enum operand_shape shape;
	uint8_t local;			/* x_0 .. x_3: the local's number; else 255 */
	const char *pops, *pushes;	/* as in opcodes.def */
};
extern const struct opcode_info opcode_table[256];

struct insn {
	uint32_t pc, next;		/* next: pc of the following one */
	uint8_t op;			/* of the instruction under `wide`, when wide */
	bool wide;
	uint16_t index;			/* local (also of x_0 .. x_3) or constant */
	int32_t value;			/* s8, s16, iinc's; newarray's type; dimensions; invokeinterface's count */
	int64_t target;			/* of a branch: absolute pc; may be outside the code in what is not verified yet */
	/* switches: targets are pc + be32 at `table`. */
	int64_t fallback;		/* default's absolute pc */
	int32_t low, high;		/* tableswitch */
	uint32_t pairs;			/* lookupswitch; tableswitch: high - low + 1 */
	struct slice table;		/* tableswitch: 4 bytes each; lookupswitch: 8 (match, offset) */
};
/*
 * The instruction at pc, or false: past the end, no opcode, cut short, a switch that is too long, padding is not looked at. Only instructions that are
 * complete are returned, so that a walk needs no other check.
 */
MUST_USE bool code_next(const struct code *code, uint32_t pc, struct insn *out);
int32_t insn_match(const struct insn *in, uint32_t i);		/* the value of case i of either switch */
int64_t insn_target(const struct insn *in, uint32_t i);		/* its absolute pc */
bool insn_branches(const struct insn *in);			/* has `target` */
bool insn_ends(uint8_t op);					/* control never reaches the next one: goto, switches, returns, athrow, ret */

/* A set of pcs at which instructions start: a bit each. */
struct code_starts {
	uint64_t *bits;
	uint32_t length;
};
/* Walk all; false: *fault names the first pc that is no instruction. */
MUST_USE bool code_walk(struct arena *arena, const struct class_file *c, const struct code *code, struct code_starts *out, struct class_fault *fault);
static inline bool code_starts_at(const struct code_starts *s, int64_t pc)
{
	return pc >= 0 && pc < (int64_t)s->length && (s->bits[pc / 64] >> (pc % 64) & 1) != 0;
}

/* --- StackMapTable (4.7.4) --- */

enum frame_tag { FRAME_TOP, FRAME_INTEGER, FRAME_FLOAT, FRAME_DOUBLE, FRAME_LONG, FRAME_NULL, FRAME_UNINITIALIZED_THIS, FRAME_OBJECT, FRAME_UNINITIALIZED };

struct frame_type {			/* verification_type_info */
	enum frame_tag tag;
	uint16_t value;			/* Object: a Class; Uninitialized: the pc of its `new` */
};

/* One frame as written, with the pc worked out. */
struct frame {
	uint32_t pc;
	uint32_t offset;		/* of the frame in the table's bytes */
	uint8_t type;			/* frame_type byte: 0-63 same ... 255 full */
	uint8_t chop;			/* locals taken away */
	uint16_t locals, stack;		/* how many types follow: appended or full locals, stack */
	struct slice local_types;	/* their bytes; two runs, because a full frame has a count between them */
	struct slice stack_types;
};
struct frames {
	struct slice bytes;		/* of entries */
	uint32_t left;			/* number_of_entries not read yet */
	uint32_t at;			/* offset */
	int64_t pc;			/* of the last frame, -1 before the first */
};
MUST_USE bool frames_open(struct slice body, struct frames *out);	/* body of the attribute; false: cut short */
MUST_USE bool frames_next(struct frames *f, struct frame *out);		/* false at the end, or, with left > 0, when broken */
/* Takes one type off *types. */
MUST_USE bool frame_type_next(struct slice *types, struct frame_type *out);
