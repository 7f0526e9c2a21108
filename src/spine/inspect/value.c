#include "spine/inspect/value.h"

#define SMALL 64u			/* values that `few` tells apart */
#define MAX32 UINT64_C(0xffffffff)

/* Bits low..high, both below 64. */
static uint64_t bits(uint64_t low, uint64_t high)
{
	return (UINT64_MAX >> (63 - (high - low))) << low;
}

struct value value_range(uint64_t low, uint64_t high)
{
	return (struct value){ .kind = VALUE_NUMBER, .low = low, .high = high,
			       .few = high < SMALL ? bits(low, high) : 0 };
}

/* From the set of values below 64; not empty. */
static struct value few_values(uint64_t few)
{
	return (struct value){ .kind = VALUE_NUMBER, .low = (uint64_t)__builtin_ctzll(few),
			       .high = 63 - (uint64_t)__builtin_clzll(few), .few = few };
}

bool value_equal(const struct value *a, const struct value *b)
{
	return a->kind == b->kind && a->index == b->index && a->low == b->low && a->high == b->high &&
	       a->few == b->few;
}

struct value value_join(const struct value *a, const struct value *b)
{
	if (value_equal(a, b))
		return *a;
	if (a->kind == VALUE_NUMBER && b->kind == VALUE_NUMBER) {
		if (a->few != 0 && b->few != 0)
			return few_values(a->few | b->few);
		return value_range(a->low < b->low ? a->low : b->low, a->high > b->high ? a->high : b->high);
	}
	if (a->kind == VALUE_MAP && b->kind == VALUE_MAP)
		return (struct value){ .kind = VALUE_MAP, .few = a->few | b->few };
	if (a->kind == VALUE_STACK && b->kind == VALUE_STACK)
		return (struct value){ .kind = VALUE_STACK };
	if (a->kind == VALUE_ITERATOR && b->kind == VALUE_ITERATOR)
		return a->high > b->high ? *a : *b;
	if (value_may_be_stack(a) || value_may_be_stack(b))
		return value_any();
	return value_unknown();
}

/* The low 32 bits: exact where the range does not cross a multiple of 2^32. */
static struct value clip32(struct value v)
{
	if (v.high <= MAX32)
		return v;
	return v.low >> 32 == v.high >> 32 ? value_range(v.low & MAX32, v.high & MAX32) : value_range(0, MAX32);
}

/* v + delta modulo the width; a range that wraps around in part becomes the whole. */
static struct value add_constant(const struct value *v, uint64_t delta, uint64_t mask)
{
	uint64_t low = (v->low + delta) & mask, high = (v->high + delta) & mask;

	if (v->high - v->low > mask || low > high)
		return value_range(0, mask);
	return value_range(low, high);
}

static struct value add(const struct value *a, const struct value *b, uint64_t mask)
{
	uint64_t high;

	if (b->low == b->high)
		return add_constant(a, b->low, mask);
	if (a->low == a->high)
		return add_constant(b, a->low, mask);
	if (__builtin_add_overflow(a->high, b->high, &high) || high > mask)
		return value_range(0, mask);
	return value_range(a->low + b->low, high);
}

static struct value subtract(const struct value *a, const struct value *b, uint64_t mask)
{
	if (b->low == b->high)
		return add_constant(a, 0 - b->low, mask);
	if (a->low < b->high)
		return value_range(0, mask);
	return value_range(a->low - b->high, a->high - b->low);
}

/* All bits up to the highest of v. */
static uint64_t fill(uint64_t v)
{
	return v == 0 ? 0 : UINT64_MAX >> __builtin_clzll(v);
}

static struct value shift(uint8_t op, const struct value *a, const struct value *b, uint64_t mask)
{
	uint64_t width = mask == MAX32 ? 32 : 64, n = b->low;

	if (b->low != b->high || n >= width)
		return value_range(0, mask);
	if (op == BPF_LSH)
		return a->high > mask >> n ? value_range(0, mask) : value_range(a->low << n, a->high << n);
	/* An arithmetic shift of what is not negative is a plain one. */
	if (op == BPF_ARSH && a->high > mask >> 1)
		return value_range(0, mask);
	return value_range(a->low >> n, a->high >> n);
}

static struct value divide(uint8_t op, const struct value *a, const struct value *b, uint64_t mask)
{
	if (b->low == 0)		/* x / 0 is 0 and x % 0 is x */
		return value_range(0, op == BPF_DIV ? a->high : mask);
	if (op == BPF_DIV)
		return value_range(a->low / b->high, a->high / b->low);
	if (a->high < b->low)
		return *a;
	return value_range(0, a->high < b->high - 1 ? a->high : b->high - 1);
}

static struct value numbers(uint8_t op, const struct value *a, const struct value *b, uint64_t mask)
{
	bool exact = a->low == a->high && b->low == b->high;
	uint64_t high;

	switch (op) {
	case BPF_ADD:
		return add(a, b, mask);
	case BPF_SUB:
		return subtract(a, b, mask);
	case BPF_MUL:
		if (__builtin_mul_overflow(a->high, b->high, &high) || high > mask)
			return value_range(0, mask);
		return value_range(a->low * b->low, high);
	case BPF_AND:
		if (exact)
			return value_constant(a->low & b->low);
		return value_range(0, a->high < b->high ? a->high : b->high);
	case BPF_OR:
		if (exact)
			return value_constant(a->low | b->low);
		return value_range(a->low > b->low ? a->low : b->low, fill(a->high | b->high));
	case BPF_XOR:
		if (exact)
			return value_constant(a->low ^ b->low);
		return value_range(0, fill(a->high | b->high));
	case BPF_LSH:
	case BPF_RSH:
	case BPF_ARSH:
		return shift(op, a, b, mask);
	case BPF_DIV:
	case BPF_MOD:
		return divide(op, a, b, mask);
	case BPF_NEG:
		return a->low == a->high ? value_constant((0 - a->low) & mask) : value_range(0, mask);
	default:
		return value_range(0, mask);
	}
}

/* Addresses of our stack plus or minus something. */
static struct value stack_alu(uint8_t op, const struct value *a, const struct value *b)
{
	bool down = op == BPF_SUB;

	if (op != BPF_ADD && (!down || a->kind != VALUE_STACK))
		return value_any();
	const struct value *base = a->kind == VALUE_STACK ? a : b, *by = base == a ? b : a;
	if (base->kind != VALUE_STACK || by->kind != VALUE_NUMBER)
		return value_any();
	if (base->high == 0 || by->low != by->high)
		return (struct value){ .kind = VALUE_STACK };
	return value_stack((int64_t)(down ? base->low - by->low : base->low + by->low));
}

struct value value_alu(uint8_t op, bool wide, const struct value *dst, const struct value *src)
{
	if (op == BPF_MOV && wide)
		return *src;
	if (op == BPF_MOV)		/* half of an address is none */
		return src->kind == VALUE_NUMBER ? clip32(*src) : value_range(0, MAX32);
	if (value_may_be_stack(dst) || value_may_be_stack(src))
		return wide ? stack_alu(op, dst, src) : value_range(0, MAX32);
	if (dst->kind != VALUE_NUMBER || src->kind != VALUE_NUMBER)
		return wide ? value_unknown() : value_range(0, MAX32);
	if (wide)
		return numbers(op, dst, src, UINT64_MAX);
	struct value a = clip32(*dst), b = clip32(*src);
	return clip32(numbers(op, &a, &b, MAX32));
}

struct value value_sign_extend(const struct value *v, unsigned width)
{
	if (v->kind != VALUE_NUMBER || v->high >= UINT64_C(1) << (width - 1))
		return value_may_be_stack(v) ? value_any() : value_unknown();
	return *v;
}

/* Keep the values of v that lie in low..high. */
static bool cut(struct value *v, uint64_t low, uint64_t high)
{
	if (low < v->low)
		low = v->low;
	if (high > v->high)
		high = v->high;
	if (low > high)
		return false;
	if (v->few == 0) {
		*v = value_range(low, high);
		return true;
	}
	uint64_t few = v->few & bits(low, high);
	if (few == 0)
		return false;
	*v = few_values(few);
	return true;
}

/* a < b, or a <= b. */
static bool less(struct value *a, struct value *b, bool or_equal)
{
	uint64_t off = or_equal ? 0 : 1;
	uint64_t low = a->low;

	if (b->high < off || !cut(a, 0, b->high - off))
		return false;
	return low <= UINT64_MAX - off && cut(b, low + off, UINT64_MAX);
}

static bool equal(struct value *a, struct value *b)
{
	if (!cut(a, b->low, b->high) || !cut(b, a->low, a->high))
		return false;
	if (a->few == 0 || b->few == 0)
		return true;
	if ((a->few & b->few) == 0)
		return false;
	*a = *b = few_values(a->few & b->few);
	return true;
}

/* Take a constant out of v; only an end of a wide range can go. */
static bool without(struct value *v, uint64_t constant)
{
	if (v->few != 0 && constant < SMALL) {
		uint64_t few = v->few & ~(UINT64_C(1) << constant);
		if (few == 0)
			return false;
		*v = few_values(few);
		return true;
	}
	if (v->low == constant && v->high == constant)
		return false;
	if (v->low == constant)
		*v = value_range(v->low + 1, v->high);
	else if (v->high == constant)
		*v = value_range(v->low, v->high - 1);
	return true;
}

static bool not_equal(struct value *a, struct value *b)
{
	if (b->low == b->high)
		return without(a, b->low);
	if (a->low == a->high)
		return without(b, a->low);
	return true;
}

static bool some_bits(const struct value *a, const struct value *b, bool some)
{
	if (a->low != a->high || b->low != b->high)
		return true;
	return ((a->low & b->low) != 0) == some;
}

/* The jump that is taken exactly when `op` is not. */
static uint8_t opposite(uint8_t op)
{
	switch (op) {
	case BPF_JEQ:
		return BPF_JNE;
	case BPF_JNE:
		return BPF_JEQ;
	case BPF_JGT:
		return BPF_JLE;
	case BPF_JLE:
		return BPF_JGT;
	case BPF_JGE:
		return BPF_JLT;
	case BPF_JLT:
		return BPF_JGE;
	case BPF_JSGT:
		return BPF_JSLE;
	case BPF_JSLE:
		return BPF_JSGT;
	case BPF_JSGE:
		return BPF_JSLT;
	default:
		return BPF_JSGE;
	}
}

/* Signed comparison of two constants. */
static bool compare_signed(uint8_t op, int64_t a, int64_t b)
{
	switch (op) {
	case BPF_JSGT:
		return a > b;
	case BPF_JSGE:
		return a >= b;
	case BPF_JSLT:
		return a < b;
	default:
		return a <= b;
	}
}

static bool is_signed(uint8_t op)
{
	return op == BPF_JSGT || op == BPF_JSGE || op == BPF_JSLT || op == BPF_JSLE;
}

static bool compare(uint8_t op, struct value *a, struct value *b, bool no_sign)
{
	switch (op) {
	case BPF_JEQ:
		return equal(a, b);
	case BPF_JNE:
		return not_equal(a, b);
	case BPF_JSGT:
		return !no_sign || less(b, a, false);
	case BPF_JGT:
		return less(b, a, false);
	case BPF_JSGE:
		return !no_sign || less(b, a, true);
	case BPF_JGE:
		return less(b, a, true);
	case BPF_JSLT:
		return !no_sign || less(a, b, false);
	case BPF_JLT:
		return less(a, b, false);
	case BPF_JSLE:
		return !no_sign || less(a, b, true);
	case BPF_JLE:
		return less(a, b, true);
	default:
		return true;
	}
}

bool value_branch(uint8_t op, bool wide, bool taken, struct value *dst, struct value *src)
{
	uint64_t positive = wide ? INT64_MAX : INT32_MAX;

	if (dst->kind != VALUE_NUMBER || src->kind != VALUE_NUMBER)
		return true;
	/* A 32-bit comparison says nothing about upper halves that are not known to be zero. */
	if (!wide && (dst->high > MAX32 || src->high > MAX32))
		return true;
	if (op == BPF_JSET)
		return some_bits(dst, src, taken);
	uint8_t says = taken ? op : opposite(op);
	if (is_signed(says) && dst->low == dst->high && src->low == src->high) {
		return wide ? compare_signed(says, (int64_t)dst->low, (int64_t)src->low)
			    : compare_signed(says, (int32_t)dst->low, (int32_t)src->low);
	}
	return compare(says, dst, src, dst->high <= positive && src->high <= positive);
}
