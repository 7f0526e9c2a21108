#include "spine/inspect/value.h"

#include "base/test.h"

static void expect(struct value v, uint64_t low, uint64_t high)
{
	ck_assert_uint_eq(v.kind, VALUE_NUMBER);
	ck_assert_uint_eq(v.low, low);
	ck_assert_uint_eq(v.high, high);
}

static const uint8_t operations[] = { BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR, BPF_AND, BPF_LSH,
				      BPF_RSH, BPF_MOD, BPF_XOR, BPF_MOV, BPF_ARSH };

/* The same as the processor does it. */
static uint64_t compute(uint8_t op, bool wide, uint64_t a, uint64_t b)
{
	uint64_t mask = wide ? UINT64_MAX : UINT32_MAX, width = wide ? 63 : 31;
	uint64_t x = a & mask, y = b & mask;

	switch (op) {
	case BPF_ADD: return (x + y) & mask;
	case BPF_SUB: return (x - y) & mask;
	case BPF_MUL: return (x * y) & mask;
	case BPF_DIV: return y == 0 ? 0 : x / y;
	case BPF_OR: return x | y;
	case BPF_AND: return x & y;
	case BPF_LSH: return x << (y & width) & mask;
	case BPF_RSH: return x >> (y & width);
	case BPF_MOD: return y == 0 ? x : x % y;
	case BPF_XOR: return x ^ y;
	case BPF_MOV: return y;
	default:
		return wide ? (uint64_t)((int64_t)x >> (y & width))
			    : (uint64_t)(uint32_t)((int32_t)(uint32_t)x >> (y & width));
	}
}

static const struct { uint64_t low, high; } ranges[] = {
	{ 0, 0 }, { 1, 1 }, { 0, 3 }, { 5, 9 }, { 31, 33 }, { 62, 66 }, { 0x7ffffffe, 0x80000002 },
	{ 0xfffffffe, 0x100000001 }, { UINT64_MAX - 2, UINT64_MAX }, { INT64_MAX - 1, (uint64_t)INT64_MAX + 2 },
};

static void check_pair(uint8_t op, bool wide, size_t i, size_t k)
{
	struct value a = value_range(ranges[i].low, ranges[i].high), b = value_range(ranges[k].low, ranges[k].high);
	struct value r = value_alu(op, wide, &a, &b);

	for (uint64_t x = a.low;; x++) {
		for (uint64_t y = b.low;; y++) {
			uint64_t v = compute(op, wide, x, y);
			ck_assert_msg(v >= r.low && v <= r.high && (r.few == 0 || r.few >> v & 1),
				      "operation %02x, wide %d: %llu and %llu give %llu", op, wide,
				      (unsigned long long)x, (unsigned long long)y, (unsigned long long)v);
			if (y == b.high)
				break;
		}
		if (x == a.high)
			break;
	}
}

START_TEST(results_are_inside_of_their_ranges)
{
	for (size_t o = 0; o < ARRAY_LEN(operations); o++) {
		for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
			for (size_t k = 0; k < ARRAY_LEN(ranges); k++) {
				check_pair(operations[o], true, i, k);
				check_pair(operations[o], false, i, k);
			}
		}
	}
}
END_TEST

static const uint8_t jumps[] = { BPF_JEQ, BPF_JNE, BPF_JGT, BPF_JGE, BPF_JLT, BPF_JLE,
				 BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET };

static bool goes(uint8_t op, bool wide, uint64_t x, uint64_t y)
{
	uint64_t a = wide ? x : (uint32_t)x, b = wide ? y : (uint32_t)y;
	int64_t s = wide ? (int64_t)x : (int32_t)x, t = wide ? (int64_t)y : (int32_t)y;

	switch (op) {
	case BPF_JEQ: return a == b;
	case BPF_JNE: return a != b;
	case BPF_JGT: return a > b;
	case BPF_JGE: return a >= b;
	case BPF_JLT: return a < b;
	case BPF_JLE: return a <= b;
	case BPF_JSGT: return s > t;
	case BPF_JSGE: return s >= t;
	case BPF_JSLT: return s < t;
	case BPF_JSLE: return s <= t;
	default: return (a & b) != 0;
	}
}

static void check_jump(uint8_t op, bool wide, bool taken, size_t i, size_t k)
{
	struct value a = value_range(ranges[i].low, ranges[i].high), b = value_range(ranges[k].low, ranges[k].high);
	struct value x = a, y = b;
	bool may = value_branch(op, wide, taken, &x, &y);

	for (uint64_t p = a.low;; p++) {
		for (uint64_t q = b.low;; q++) {
			if (goes(op, wide, p, q) == taken) {
				ck_assert(may);
				ck_assert(p >= x.low && p <= x.high && q >= y.low && q <= y.high);
				ck_assert(x.few == 0 || x.few >> p & 1);
				ck_assert(y.few == 0 || y.few >> q & 1);
			}
			if (q == b.high)
				break;
		}
		if (p == a.high)
			break;
	}
}

START_TEST(jumps_cut_off_only_what_cannot_be)
{
	for (size_t o = 0; o < ARRAY_LEN(jumps); o++) {
		for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
			for (size_t k = 0; k < ARRAY_LEN(ranges); k++) {
				for (int way = 0; way < 4; way++)
					check_jump(jumps[o], (way & 1) != 0, (way & 2) != 0, i, k);
			}
		}
	}
}
END_TEST

START_TEST(constants_stay_constants)
{
	struct value a = value_constant(7), b = value_constant(5), minus = value_constant(UINT64_MAX);

	expect(value_alu(BPF_ADD, true, &a, &b), 12, 12);
	expect(value_alu(BPF_ADD, true, &a, &minus), 6, 6);
	expect(value_alu(BPF_ADD, false, &a, &minus), 6, 6);
	expect(value_alu(BPF_MOV, false, &a, &minus), UINT32_MAX, UINT32_MAX);
}
END_TEST

START_TEST(joined_verdicts_do_not_become_a_range)
{
	struct value a = value_constant(XDP_ABORTED), b = value_constant(XDP_PASS), j = value_join(&a, &b);

	ck_assert_uint_eq(j.few, 1u << XDP_ABORTED | 1u << XDP_PASS);
}
END_TEST

START_TEST(addresses_of_the_stack_stay_addresses)
{
	struct value stack = value_stack(-16), four = value_constant(4), some = value_range(0, 8);
	struct value moved = value_alu(BPF_ADD, true, &stack, &four), unknown = value_alu(BPF_ADD, true, &stack, &some);
	struct value mixed = value_join(&stack, &four), masked = value_alu(BPF_AND, true, &stack, &four);

	ck_assert(moved.kind == VALUE_STACK && (int64_t)moved.low == -12 && moved.high == 1);
	ck_assert(unknown.kind == VALUE_STACK && unknown.high == 0);
	ck_assert(mixed.kind == VALUE_ANY && masked.kind == VALUE_ANY);
}
END_TEST

TEST_MAIN("spine/value", results_are_inside_of_their_ranges, jumps_cut_off_only_what_cannot_be,
	  constants_stay_constants, joined_verdicts_do_not_become_a_range, addresses_of_the_stack_stay_addresses)
