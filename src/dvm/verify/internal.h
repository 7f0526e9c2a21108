/*
 * Inside the verifier: types as numbers, the names of one class, what the rules share.
 *
 * A name or a descriptor is hashed once and is a number from then on, so that the rules compare numbers. All that one index of the constant pool means to the
 * verifier (a class as a type, a descriptor's words, a member with its owner) is worked out at its first use and kept under that index.
 *
 * Functions that return bool return false when the class is refused: v->fault then says why. Memory that runs out is a refusal, too (CLASS_FAULT_LIMIT).
 */
#pragma once
#include "dvm/classfile/descriptor.h"
#include "dvm/verify/verify.h"
#include "dvm/verify/verify_limits.h"

/*
 * A verification type (JVMS 4.10.1.2): one of the numbers below, TYPE_NEW | pc for what the `new` at pc made, TYPE_NAME | symbol for a class, an interface or
 * an array (whose symbol is its descriptor). The second word of a long or double has a type of its own.
 */
typedef uint32_t vtype;
enum {
	TYPE_TOP,
	TYPE_INT,
	TYPE_FLOAT,
	TYPE_LONG,
	TYPE_LONG2,
	TYPE_DOUBLE,
	TYPE_DOUBLE2,
	TYPE_BOOLEAN,			/* these four: results of methods, components of arrays; never in a frame */
	TYPE_BYTE,
	TYPE_CHAR,
	TYPE_SHORT,
	TYPE_NULL,
	TYPE_UNINITIALIZED_THIS,
};
#define TYPE_NEW  0x40000000u
#define TYPE_NAME 0x80000000u

struct symbol {				/* an interned text */
	struct slice text;
	uint32_t hash;
	uint32_t next;			/* of its bucket; 0: last */
	const struct class_file *class;	/* once looked up */
	bool looked_up;
	bool is_above;			/* a supertype that was looked at */
	bool is_super;			/* a superclass of the class under test, as far as known */
};

struct shape {				/* a descriptor as types, one a word */
	uint32_t words;			/* of the parameters; a field: 0 */
	uint8_t result_words;		/* 0: void */
	vtype types[];			/* parameters, then the result */
};

struct member_ref {			/* a Fieldref, a Methodref, a Dynamic ... */
	uint8_t tag;
	bool is_init, is_internal;	/* "<init>"; any name that begins with '<' */
	bool is_clone;
	uint8_t protection;		/* 0: not asked yet, 1: no, 2: protected in a superclass of another package */
	vtype owner;			/* TYPE_TOP: none */
	uint32_t name, descriptor;	/* symbols */
	const struct shape *shape;
};

struct vframe {				/* a frame of the StackMapTable */
	uint32_t pc;
	uint16_t locals, depth;		/* words */
	bool flag_this;			/* flagThisUninit */
	const vtype *local, *stack;
};

struct handler {
	uint32_t start, end, target;
	vtype type;
};

struct asked {				/* an answer about two types */
	vtype from, to;
	bool answer;
};

struct verifier {
	struct arena *arena;
	const struct class_file *c;
	const struct class_source *source;
	uint32_t flags;
	struct class_fault *fault;
	struct verify_result *result;

	struct symbol *symbols;		/* 1 .. symbol_count - 1 */
	uint32_t symbol_count, symbol_room, *buckets, bucket_mask;
	void **cache;			/* by index of the pool: what the comment above says */
	struct asked *asked;		/* a table by hash, of asked_room rows (a power of two) */
	uint32_t asked_count, asked_room;
	struct constraint *constraints;
	uint32_t constraint_count, constraint_room;

	vtype this_type, super_type, object, throwable, string, class_type, method_handle, method_type;
	uint32_t cloneable, serializable;
	bool chain_known, chain_open;	/* the superclasses were walked; one of them is not on the class path */
	bool final;			/* a refusal that inference is not asked about */
	struct code **codes;		/* by method; NULL: it has none */

	uint8_t *attribute_kinds;	/* by the index of their name */
	uint32_t bootstraps;		/* 1 + the highest index in BootstrapMethods that constants name */
	uint32_t argument_words;	/* of the method whose attributes are read, this included */

	/* --- the method under test --- */
	int32_t method;			/* index */
	const struct code *code;
	const struct shape *shape;
	bool is_static, is_init;
	vtype *locals, *stack;
	uint32_t locals_room, stack_room;
	uint32_t locals_size, depth, max_locals, max_stack;
	bool flag_this;
	bool locals_changed;		/* since the handlers' frames were compared */
	uint32_t *at;			/* by pc: 0 no instruction, 1 one, else 2 + index of its frame */
	uint32_t at_room;
	struct vframe *frames;
	uint32_t frame_count, frame_room;
	vtype *frame_types;
	uint32_t frame_types_room, frame_types_used;
	struct handler *handlers;
	uint32_t handler_count, handler_room, handlers_from, handlers_to;	/* pcs that any covers */
	uint32_t next_range;		/* the pc at which the next row of the exception table begins */
	uint32_t pc, next;
	uint8_t op;
	bool wide;
	uint64_t handler_steps, branch_steps, infer_steps;
};

/* --- names.c --- */
bool names_init(struct verifier *v);
/* 0: no room (v->fault is set). */
uint32_t symbol_of(struct verifier *v, struct slice text);
static inline struct slice symbol_text(const struct verifier *v, uint32_t symbol)
{
	return v->symbols[symbol].text;
}
static inline bool type_is_name(vtype t)
{
	return (t & TYPE_NAME) != 0;
}
static inline uint32_t type_symbol(vtype t)
{
	return t & ~TYPE_NAME;
}
static inline bool type_is_new(vtype t)
{
	return (t & (TYPE_NAME | TYPE_NEW)) == TYPE_NEW;
}
static inline bool type_is_reference(vtype t)
{
	return t == TYPE_NULL || type_is_name(t);
}
static inline bool type_is_uninitialized(vtype t)
{
	return t == TYPE_UNINITIALIZED_THIS || type_is_new(t);
}
static inline bool type_is_array(const struct verifier *v, vtype t)
{
	return type_is_name(t) && v->symbols[type_symbol(t)].text.ptr[0] == '[';
}
static inline bool type_is_class(const struct verifier *v, vtype t)
{
	return type_is_name(t) && v->symbols[type_symbol(t)].text.ptr[0] != '[';
}
/* TYPE_TOP: what it is an array of is no type ("[X"). */
vtype type_component(struct verifier *v, vtype array);
vtype type_of_class(struct verifier *v, uint32_t index);		/* a Class constant; 0: no memory */
const struct shape *shape_of(struct verifier *v, uint32_t utf8_index);	/* of a checked descriptor; NULL: no memory */
struct member_ref *ref_of(struct verifier *v, uint32_t index);		/* NULL: no memory */
#define TYPE_TEXT_BYTES 96
const char *type_text(const struct verifier *v, vtype t, char out[TYPE_TEXT_BYTES]);	/* for people: printable, cut when long */

/* --- verify.c: memory and refusals --- */
void *verify_alloc(struct verifier *v, size_t count, size_t size);	/* zeroed; NULL: v->fault is set */
/* *room grows to at least need (doubling), what is in *p stays; false: no memory. */
bool verify_room(struct verifier *v, void **p, uint32_t *room, uint32_t need, size_t size);
bool verify_no_memory(struct verifier *v);
/* At v->pc of the method. */
bool refuse(struct verifier *v, const char *section, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool refuse_format(struct verifier *v, const char *section, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool refuse_limit(struct verifier *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A name as printable ASCII. */
const char *printable(struct slice text, char out[TYPE_TEXT_BYTES]);

/* --- links.c: what other classes say --- */
const struct class_file *links_find(struct verifier *v, uint32_t symbol);
bool links_assignable(struct verifier *v, vtype from, vtype to);		/* classes of different names, `to` not Object and no array */
/* Is it a superclass of the class under test? Unknown ones are not. */
bool links_is_super(struct verifier *v, uint32_t symbol);
/* 4.10.1.8: the member is protected and comes from a superclass in another package. False when unknown (the constraint is open). */
bool links_is_protected(struct verifier *v, struct member_ref *ref, bool is_method);
bool links_constructor_protected(struct verifier *v, struct member_ref *ref);
bool links_check(struct verifier *v);					/* 4.10, 5.3.5: superclass, interfaces, sealed, final methods */
/* The superclass as an index in symbols; 0: none. */
uint32_t links_super_of(struct verifier *v, const struct class_file *c);
bool links_add(struct verifier *v, struct constraint c);
bool same_package(struct slice a, struct slice b);

/* --- assign.c --- */
bool assignable_reference(struct verifier *v, vtype from, vtype to);
static inline bool assignable(struct verifier *v, vtype from, vtype to)	/* 4.10.1.2 */
{
	if (from == to || to == TYPE_TOP)
		return true;
	if (type_is_name(to))
		return from == TYPE_NULL || (type_is_name(from) && assignable_reference(v, from, to));
	return to >= TYPE_BOOLEAN && to <= TYPE_SHORT && from == TYPE_INT;
}

/* --- format.c, attributes.c --- */
bool format_check(struct verifier *v);
bool attributes_class(struct verifier *v);
bool attributes_field(struct verifier *v, const struct class_member *m);
bool attributes_method(struct verifier *v, uint32_t index);
bool format_class_flags(uint16_t flags, uint16_t major);	/* false: they exclude one another */
bool format_method_static(const struct class_file *c, const struct class_member *m);	/* also <clinit> of old versions */
bool refuse_at(struct verifier *v, uint32_t offset, const char *section, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* --- frames.c --- */
bool frames_read(struct verifier *v);		/* 4.7.4 of v->code, with v->locals as the first frame */

/* --- check.c, invoke.c: 4.10.1 --- */
bool check_method(struct verifier *v);
bool check_push(struct verifier *v, const char *section, vtype t);
bool check_push_words(struct verifier *v, const char *section, const vtype *types, unsigned words);
bool check_pop(struct verifier *v, const char *section, vtype want);
bool check_pop_any(struct verifier *v, const char *section, vtype *out);
bool check_pop_reference(struct verifier *v, const char *section, vtype *out);
bool check_handlers(struct verifier *v, bool this_uninitialized);
bool check_field(struct verifier *v);
bool check_invoke(struct verifier *v, bool *this_initialized);
static inline uint16_t operand16(const struct verifier *v, uint32_t skip)
{
	const uint8_t *p = v->code->bytes.ptr + v->pc + skip;

	return (uint16_t)(p[0] << 8 | p[1]);
}
/* Whether `index` is a constant of one of the tags (bits); refuses. */
bool check_constant(struct verifier *v, const char *section, uint32_t index, uint32_t tags);

/* --- infer.c: 4.10.2 --- */
bool infer_method(struct verifier *v);
/* What both need: instruction starts in v->at. */
bool method_begin(struct verifier *v);
bool method_starts(struct verifier *v);
bool method_handlers(struct verifier *v);
void method_enter(struct verifier *v);		/* first locals and flags from the descriptor */
uint32_t opcode_length(const struct code *code, uint32_t pc);	/* 0: not a whole instruction */
extern const char *const opcode_section[256];
