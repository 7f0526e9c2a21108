/*
 * What stands in the attributes of a class file (JVMS 4.7), read where it lies.
 *
 * Three shapes: tables of rows of one size (attribute_rows and a function for each kind of row), lists whose elements say themselves how long they are (a
 * slice that *_next() takes one off), and the two that nest (Code in code.h, Record here).
 *
 * Readers check that what they return is whole, and no more: an index may name nothing, a pc may be outside the code. The pool's functions take any index, so
 * that a printer needs no further check; what the JVMS asks of the values is for verify/format.h.
 */
#pragma once
#include "dvm/classfile/code.h"

enum attribute_kind {
	ATTRIBUTE_UNKNOWN,
#define ATTRIBUTE(kind, ...) ATTRIBUTE_##kind,
#include "dvm/classfile/attributes.def"
#undef ATTRIBUTE
	ATTRIBUTE_KINDS
};

struct attribute_info {
	const char *name;
	const char *where;		/* letters of attributes.def */
	uint16_t since;			/* major version */
	uint8_t row_bytes, count_bytes;
};
extern const struct attribute_info attribute_table[ATTRIBUTE_KINDS];

enum attribute_kind attribute_kind(struct slice name);
static inline enum attribute_kind attribute_kind_of(const struct class_file *c, const struct class_attribute *a)
{
	return attribute_kind(pool_utf8(&c->pool, a->name));
}

/* --- tables --- */

struct attribute_rows {
	const uint8_t *at;
	uint32_t count;
	uint32_t offset;		/* of the first row in the class file */
};
/* The rows of an attribute whose row_bytes is not 0: one when count_bytes is 0. False: its body is longer or shorter than its rows. */
MUST_USE bool attribute_rows(enum attribute_kind kind, const struct class_attribute *a, struct attribute_rows *out);

/* The u2 of a row of two bytes: an index, but ModuleResolution's flags. Below, i < rows->count is the caller's to see to. */
static inline uint16_t row_index(const struct attribute_rows *rows, uint32_t i)
{
	return class_be16(rows->at + 2u * i);
}
struct row_enclosing_method {
	uint16_t class, method;		/* a Class; a NameAndType or 0 */
};
struct row_enclosing_method row_enclosing_method(const struct attribute_rows *rows);
struct row_inner_class {
	uint16_t inner, outer, name, flags;	/* Class; Class or 0; Utf8 or 0 */
};
struct row_inner_class row_inner_class(const struct attribute_rows *rows, uint32_t i);
struct row_line {
	uint16_t pc, line;
};
struct row_line row_line(const struct attribute_rows *rows, uint32_t i);
struct row_variable {			/* LocalVariableTable and LocalVariableTypeTable */
	uint16_t pc, length, name, type, index;
};
struct row_variable row_variable(const struct attribute_rows *rows, uint32_t i);
struct row_parameter {
	uint16_t name, flags;		/* Utf8 or 0 */
};
struct row_parameter row_parameter(const struct attribute_rows *rows, uint32_t i);
struct row_characters {			/* positions in the source are line << 10 | column */
	uint16_t pc, end;		/* both included */
	uint32_t from, to;
	uint16_t flags;
};
struct row_characters row_characters(const struct attribute_rows *rows, uint32_t i);

/* --- lists: *_next takes one off *rest; false: *rest is empty or broken (then it is not empty) --- */

struct bootstrap_method {
	uint16_t handle;		/* a MethodHandle */
	struct slice arguments;		/* be16 constants */
};
/* The body of BootstrapMethods: the count that it states, and its list. */
MUST_USE bool bootstrap_open(struct slice body, uint16_t *count, struct slice *rest);
MUST_USE bool bootstrap_next(struct slice *rest, struct bootstrap_method *out);

struct record_component {
	uint16_t name, descriptor;
	struct class_attributes attributes;
};
MUST_USE bool record_open(const struct class_attribute *a, uint16_t *count, struct slice *rest);
MUST_USE bool record_next(struct arena *arena, const struct class_file *c, struct slice *rest, struct record_component *out, struct class_fault *fault);

enum element_tag { ELEMENT_ENUM = 'e', ELEMENT_CLASS = 'c', ELEMENT_ANNOTATION = '@', ELEMENT_ARRAY = '[', ELEMENT_STRING = 's' };
struct element_value {
	uint8_t tag;			/* B C D F I J S Z s e c @ [ */
	uint16_t first, second;		/* constant; enum: type name and constant's name; class: descriptor; annotation: its type */
	uint16_t count;			/* of an array's values, of an annotation's pairs */
	struct slice rest;		/* array: values for element_next; annotation: pairs for pair_next */
};
MUST_USE bool element_next(struct slice *rest, struct element_value *out);
struct annotation {
	uint16_t type;			/* Utf8: a descriptor */
	uint16_t count;
	struct slice pairs;		/* for pair_next */
	struct slice bytes;		/* all of it */
};
MUST_USE bool annotation_next(struct slice *rest, struct annotation *out);
MUST_USE bool pair_next(struct slice *rest, uint16_t *name, struct element_value *out);
/* Annotations, or type annotations: the count and the list. (Parameter annotations: u1 count, then for each such a body.) */
MUST_USE bool annotations_open(struct slice body, uint16_t *count, struct slice *rest);
/* The annotations of the next parameter; *rest is the body behind its u1 count at first. */
MUST_USE bool parameter_annotations_next(struct slice *rest, uint16_t *count, struct slice *annotations);

struct type_annotation {
	uint8_t target;			/* target_type, table 4.7.20-A and -B */
	struct slice info;		/* target_info */
	struct slice path;		/* be8 pairs: kind, argument index */
	struct annotation annotation;
};
MUST_USE bool type_annotation_next(struct slice *rest, struct type_annotation *out);

struct module {
	uint16_t name, flags, version;	/* a Module; Utf8 or 0 */
	uint16_t requires_count, exports_count, opens_count, uses_count, provides_count;
	struct slice requires;		/* 6 bytes each: Module, flags, version (Utf8 or 0) */
	struct slice exports, opens;	/* for module_open_next */
	struct slice uses;		/* be16 Classes */
	struct slice provides;		/* for module_provide_next */
};
MUST_USE bool module_read(struct slice body, struct module *out);
struct module_open {
	uint16_t package, flags;
	struct slice to;		/* be16 Modules; empty: to all */
};
MUST_USE bool module_open_next(struct slice *rest, struct module_open *out);
struct module_provide {
	uint16_t service;
	struct slice with;		/* be16 Classes */
};
MUST_USE bool module_provide_next(struct slice *rest, struct module_provide *out);
struct module_hash {
	uint16_t module;
	struct slice hash;
};
MUST_USE bool module_hashes_open(struct slice body, uint16_t *algorithm, uint16_t *count, struct slice *rest);
MUST_USE bool module_hash_next(struct slice *rest, struct module_hash *out);

/* --- all of it --- */

struct class_totals {
	uint32_t methods, instructions, frames, attributes, unknown;	/* unknown: of no predefined name */
};
/*
 * Walk everything that is in a class: each attribute by its reader, all code, all frames. False: *fault names the first that is not whole. O(bytes).
 * *totals is added to.
 */
MUST_USE bool class_walk(struct arena *arena, const struct class_file *c, struct class_totals *totals, struct class_fault *fault);
