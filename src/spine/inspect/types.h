/*
 * BTF of an object file: the types that describe its maps and messages (Documentation/bpf/btf.rst).
 *
 * Read as a list of records with checked lengths; what a question needs is checked when it is asked, with
 * bounded chains, so that types which name themselves end in "unknown".
 */
#pragma once
#include <linux/btf.h>

#include "base/arena.h"
#include "base/errmsg.h"
#include "base/slice.h"

struct types_record {
	uint32_t name;			/* offset in strings */
	uint32_t kind, vlen;
	bool kind_flag;
	uint32_t size_or_type;
	const uint8_t *more;		/* what follows the 12 bytes; its length is checked */
};

struct types {
	struct slice strings;
	const struct types_record *types;	/* 0 is void */
	size_t count;			/* types with void */
};

struct types_member {
	const char *name;		/* "" for anonymous ones */
	uint32_t type, bit_offset, bits;	/* bits: of a bit field, else 0 */
};

/* bytes must outlive the arena. 0, -EINVAL, -E2BIG, -ENOMEM. */
MUST_USE int types_read(struct arena *arena, struct slice bytes, struct types *out, struct errmsg *why);
/* Text at an offset; "" when there is none. Never NULL. */
const char *types_text(const struct types *b, uint32_t offset);
/* The record behind typedefs and qualifiers, or NULL. *id gets its number when not NULL. */
const struct types_record *types_resolve(const struct types *b, uint32_t id, uint32_t *real);
const struct types_record *types_get(const struct types *b, uint32_t id);
/* Bytes of a value of the type; false when it has no size. */
bool types_size(const struct types *b, uint32_t id, uint32_t *bytes);
/* Member `i` of a struct or union record; i < vlen. */
struct types_member types_member(const struct types *b, const struct types_record *t, uint32_t i);
/* Element type and number of an array record. */
void types_array(const struct types_record *t, uint32_t *type, uint32_t *count);
/* The record of this kind and name, or NULL. */
const struct types_record *types_find(const struct types *b, uint32_t kind, const char *name);
/* Variable `i` of a DATASEC record. */
void types_datasec_var(const struct types_record *t, uint32_t i, uint32_t *type, uint32_t *offset, uint32_t *size);
uint32_t types_var_linkage(const struct types_record *t);
/* Bits and encoding (BTF_INT_...) of an INT record. */
void types_int(const struct types_record *t, uint32_t *bits, uint32_t *encoding, uint32_t *offset);
/* The first value of an ENUM or ENUM64 record; 0 when it has none. */
uint64_t types_enum_value(const struct types_record *t);
