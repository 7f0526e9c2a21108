/*
 * What is known of a register or stack slot while the inspector walks a program.
 *
 * A number lies in an unsigned range; when all of it is below 64, `few` says which values exactly (bit n: it may
 * be n), so that "returns 0 or 2" does not become "0 to 2". All operations err to the wide side: a value that
 * the program can have is always inside.
 *
 * Only the function's own stack is followed. Kinds say whether something may point there: a number never does,
 * VALUE_ANY may.
 */
#pragma once
#include <linux/bpf.h>

#include "base/slice.h"

enum value_kind {
	VALUE_NUMBER,			/* or any pointer that does not point to our own stack */
	VALUE_STACK,			/* address in our own stack: low is the offset from its end, if high is 1 */
	VALUE_MAP,			/* one of the maps of the set `few`; compilers merge calls that differ in it */
	VALUE_FUNCTION,			/* a function's address: index */
	VALUE_ITERATOR,			/* in a slot: a number iterator with at most `high` values left */
	VALUE_UPPER,			/* in a slot: the upper half of the 8 bytes that begin one slot below */
	VALUE_ANY,
};

struct value {
	uint32_t kind;
	uint32_t index;			/* of a function */
	uint64_t low, high;
	uint64_t few;
};

struct value value_range(uint64_t low, uint64_t high);
static inline struct value value_constant(uint64_t v)
{
	return value_range(v, v);
}
static inline struct value value_unknown(void)
{
	return value_range(0, UINT64_MAX);
}
static inline struct value value_any(void)
{
	return (struct value){ .kind = VALUE_ANY };
}
static inline struct value value_stack(int64_t offset)
{
	return (struct value){ .kind = VALUE_STACK, .low = (uint64_t)offset, .high = 1 };
}
/* Maps above number 63 are not told apart. */
static inline struct value value_map(uint32_t index)
{
	return index >= 64 ? value_unknown() : (struct value){ .kind = VALUE_MAP, .few = UINT64_C(1) << index };
}
static inline bool value_is(const struct value *v, uint64_t constant)
{
	return v->kind == VALUE_NUMBER && v->low == constant && v->high == constant;
}
static inline bool value_may_be_stack(const struct value *v)
{
	return v->kind == VALUE_STACK || v->kind == VALUE_ANY;
}
bool value_equal(const struct value *a, const struct value *b);
struct value value_join(const struct value *a, const struct value *b);
/* dst = dst op src; op is BPF_ADD ... BPF_ARSH, BPF_MOV; wide: 64-bit. */
struct value value_alu(uint8_t op, bool wide, const struct value *dst, const struct value *src);
/* The low `bits` (8, 16, 32) with their sign; what is not known to be positive becomes unknown. */
struct value value_sign_extend(const struct value *v, unsigned bits);
/*
 * Narrow both sides by what a jump (BPF_JEQ ...) says when it is taken, or when it is not. False: it never goes
 * that way.
 */
bool value_branch(uint8_t op, bool wide, bool taken, struct value *dst, struct value *src);
