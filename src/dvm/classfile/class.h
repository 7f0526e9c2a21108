/*
 * Java class files (JVMS chapter 4), versions 45.3 to 69: a view of bytes.
 *
 * A class is its bytes plus a parsed skeleton: the constant pool's offsets, the members, the attributes as slices. Nothing is copied, so that reading is
 * one pass, unchanged classes are written by copying, and an edit (edit.h) is a list of replaced pieces. What stands inside attributes is read where it is
 * needed (attribute.h, code.h).
 *
 * class_parse() checks what a reader needs to be safe: lengths, tags, that each index in the skeleton names a constant of the right kind. The rest of
 * 4.8 (names, descriptors, flags, attributes against versions) is verify/format.h.
 *
 * Pure: no files, no clock. All memory comes from the caller's arena and borrows `bytes`, which must outlive it.
 */
#pragma once
#include "base/arena.h"
#include "base/slice.h"
#include "dvm/classfile/fault.h"

#define CLASS_MAGIC 0xCAFEBABEu
#define CLASS_MAJOR_MIN 45u
#define CLASS_MAJOR_MAX 69u		/* Java SE 25 */
#define CLASS_MINOR_PREVIEW 65535u

enum constant_tag {			/* JVMS table 4.4-A; 0: no constant (index 0, and the one after a long or double) */
	CONSTANT_NONE = 0,
	CONSTANT_UTF8 = 1,
	CONSTANT_INTEGER = 3,
	CONSTANT_FLOAT = 4,
	CONSTANT_LONG = 5,
	CONSTANT_DOUBLE = 6,
	CONSTANT_CLASS = 7,
	CONSTANT_STRING = 8,
	CONSTANT_FIELDREF = 9,
	CONSTANT_METHODREF = 10,
	CONSTANT_INTERFACE_METHODREF = 11,
	CONSTANT_NAME_AND_TYPE = 12,
	CONSTANT_METHOD_HANDLE = 15,
	CONSTANT_METHOD_TYPE = 16,
	CONSTANT_DYNAMIC = 17,
	CONSTANT_INVOKE_DYNAMIC = 18,
	CONSTANT_MODULE = 19,
	CONSTANT_PACKAGE = 20,
};

enum class_access {			/* JVMS tables 4.1-B, 4.5-A, 4.6-A */
	ACC_PUBLIC = 0x0001,
	ACC_PRIVATE = 0x0002,
	ACC_PROTECTED = 0x0004,
	ACC_STATIC = 0x0008,
	ACC_FINAL = 0x0010,
	ACC_SUPER = 0x0020,		/* classes */
	ACC_SYNCHRONIZED = 0x0020,	/* methods */
	ACC_VOLATILE = 0x0040,		/* fields */
	ACC_BRIDGE = 0x0040,		/* methods */
	ACC_TRANSIENT = 0x0080,		/* fields */
	ACC_VARARGS = 0x0080,		/* methods */
	ACC_NATIVE = 0x0100,
	ACC_INTERFACE = 0x0200,
	ACC_ABSTRACT = 0x0400,
	ACC_STRICT = 0x0800,
	ACC_SYNTHETIC = 0x1000,
	ACC_ANNOTATION = 0x2000,
	ACC_ENUM = 0x4000,
	ACC_MANDATED = 0x8000,		/* parameters, modules */
	ACC_MODULE = 0x8000,		/* classes */
};

/* The constant pool: where each constant's tag stands. */
struct class_pool {
	struct slice bytes;		/* the whole class file */
	const uint32_t *at;		/* count offsets of tags; 0: no constant */
	uint16_t count;			/* constant_pool_count: indices 1 .. count - 1 */
	uint32_t end;			/* offset of the first byte after the pool */
};

struct class_attribute {
	uint16_t name;			/* a Utf8 */
	uint32_t offset;		/* of attribute_name_index in the file */
	struct slice body;		/* info[] */
};

struct class_attributes {
	const struct class_attribute *at;
	uint16_t count;
	uint32_t offset;		/* of attributes_count in the file */
};

struct class_member {			/* a field or a method */
	uint16_t access_flags, name, descriptor;	/* the last two Utf8 */
	uint32_t offset;		/* of access_flags in the file */
	struct class_attributes attributes;
};

struct class_members {
	const struct class_member *at;
	uint16_t count;
	uint32_t offset;		/* of the count in the file */
};

struct class_file {
	struct slice bytes;
	uint16_t minor, major;
	uint16_t access_flags;
	uint16_t this_class, super_class;	/* Class constants; super 0: java/lang/Object and modules */
	struct slice interfaces;	/* be16 Class constants */
	struct class_pool pool;
	struct class_members fields, methods;
	struct class_attributes attributes;
};

/*
 * Parse. False: *fault says why (NULL: not wanted), *out is not to be used. A version above CLASS_MAJOR_MAX is CLASS_FAULT_VERSION. Bytes after the class are
 * a fault (4.8). Constant indices of the skeleton (this, super, interfaces, names, descriptors, attribute names; the operands of each constant) are in range
 * and of the right tag afterwards. O(bytes), about 16 bytes of arena a constant and 32 a member or attribute.
 */
MUST_USE bool class_parse(struct arena *arena, struct slice bytes, struct class_file *out, struct class_fault *fault);

struct reader;
/* The attributes at r, a cursor into the class's bytes (those of a class, member, Code or Record component). As class_parse. */
MUST_USE bool class_attributes_parse(struct arena *arena, const struct class_pool *pool, struct reader *r, struct class_attributes *out,
				     struct class_fault *fault);

/* --- the pool: any index may be asked; one that names nothing, or another kind, answers with nothing. Inline, because verifiers and printers live in them. --- */

static inline uint16_t class_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}
static inline uint32_t class_be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}
/* CONSTANT_NONE for an index that names nothing, also beyond the pool. */
static inline enum constant_tag pool_tag(const struct class_pool *pool, uint32_t index)
{
	if (index >= pool->count || pool->at[index] == 0)
		return CONSTANT_NONE;
	return (enum constant_tag)pool->bytes.ptr[pool->at[index]];
}
static inline bool pool_is(const struct class_pool *pool, uint32_t index, enum constant_tag tag)
{
	return pool_tag(pool, index) == tag;
}
/* The modified UTF-8 of a Utf8 (4.4.7); empty for another tag. */
static inline struct slice pool_utf8(const struct class_pool *pool, uint32_t index)
{
	if (!pool_is(pool, index, CONSTANT_UTF8))
		return (struct slice){ 0 };
	const uint8_t *at = pool->bytes.ptr + pool->at[index];
	return slice_of(at + 3, class_be16(at + 1));
}
/*
 * The two be16 operands of a constant of two (refs, NameAndType, Dynamic, InvokeDynamic); the one of Class, String, MethodType, Module, Package in first;
 * a MethodHandle's kind (1 to 9) in first, its reference in second; 0 when it has none.
 */
uint16_t pool_first(const struct class_pool *pool, uint32_t index);
uint16_t pool_second(const struct class_pool *pool, uint32_t index);
/* Bits of Integer and Float (low half), Long and Double. */
uint64_t pool_bits(const struct class_pool *pool, uint32_t index);
/* The name of a Class, String, Module, Package, MethodType: the Utf8 that it names. Empty for another tag. */
struct slice pool_name(const struct class_pool *pool, uint32_t index);
/* Bytes of the constant, its tag included; 0 for none. A Long or Double takes the next index too. */
uint32_t pool_size(const struct class_pool *pool, uint32_t index);
/* "Methodref", "InvokeDynamic" ...; "nothing" for CONSTANT_NONE. */
const char *constant_tag_name(enum constant_tag tag);

/* A Fieldref, Methodref, InterfaceMethodref, Dynamic or InvokeDynamic, resolved to names. */
struct pool_ref {
	enum constant_tag tag;
	uint16_t bootstrap;		/* Dynamic, InvokeDynamic: index in BootstrapMethods */
	struct slice owner;		/* empty for those two */
	struct slice name, descriptor;
};
MUST_USE bool pool_ref(const struct class_pool *pool, uint32_t index, struct pool_ref *out);

/* --- names --- */

static inline struct slice class_name(const struct class_file *c)
{
	return pool_name(&c->pool, c->this_class);
}
static inline struct slice class_super(const struct class_file *c)	/* empty: none */
{
	return pool_name(&c->pool, c->super_class);
}
static inline uint32_t class_interfaces(const struct class_file *c)
{
	return (uint32_t)(c->interfaces.len / 2);
}
struct slice class_interface(const struct class_file *c, uint32_t i);
static inline struct slice member_name(const struct class_file *c, const struct class_member *m)
{
	return pool_utf8(&c->pool, m->name);
}
static inline struct slice member_descriptor(const struct class_file *c, const struct class_member *m)
{
	return pool_utf8(&c->pool, m->descriptor);
}
/* NULL: there is none. */
const struct class_member *class_method(const struct class_file *c, struct slice name, struct slice descriptor);
const struct class_member *class_field(const struct class_file *c, struct slice name, struct slice descriptor);
/* The first attribute of that name, or NULL. */
const struct class_attribute *class_attribute(const struct class_file *c, const struct class_attributes *list, struct slice name);
