#include "spine/code/rule_tree.h"

#include <errno.h>
#include <stdio.h>

#include "base/test.h"
#include "spine/code/rule_lab.h"
#include "spine/code/rule_model.h"

#define ARENA_BYTES (64u << 20)
#define TERMS_MAX   2000

static size_t add_rule(struct arena *arena, const char *text, uint16_t slot, struct tree_term *terms, size_t count)
{
	const struct rule *r = NULL;
	struct errmsg why = { 0 };

	ck_assert_msg(rule_parse(arena, slice_str(text), &r, &why) == 0, "'%s': %s", text, why.text);
	for (size_t t = 0; t < r->terms.count; t++) {
		ck_assert_uint_lt(count, TERMS_MAX);
		terms[count++] = (struct tree_term){ r->terms.at[t], slot };
	}
	return count;
}

/* Walk as the generated code does. */
static void walk(const struct tree *tree, const u128 fields[FIELD_COUNT], uint32_t slots[TREE_WORDS])
{
	const struct tree_edge *e = &tree->root;

	memcpy(slots, e->slots, sizeof(e->slots));
	while (e->next != NULL) {
		unsigned level = e->next->level;

		e = tree_edge_of(e->next, fields[level]);
		for (size_t w = 0; w < TREE_WORDS; w++)
			slots[w] |= e->slots[w];
	}
}

static bool term_true(const struct term *t, const u128 fields[FIELD_COUNT])
{
	for (int f = 0; f < FIELD_COUNT; f++) {
		if (t->field[f] != NULL && !ranges_has(t->field[f], fields[f]))
			return false;
	}
	return true;
}

START_TEST(a_tree_decides_as_its_terms_one_by_one)
{
	uint64_t seed = 31;
	unsigned hits = 0, built = 0;

	for (unsigned round = 0; round < 300; round++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
		struct tree_term *terms = arena_array(&arena, TERMS_MAX, sizeof(*terms));
		unsigned rules = 1 + lab_below(&seed, 8);
		struct tree tree;
		size_t count = 0;

		for (uint16_t i = 0; i < rules; i++) {
			char text[400];
			const struct rule *r;

			do
				lab_rule(&seed, false, text, sizeof(text));
			while (rule_parse(&arena, slice_str(text), &r, NULL) != 0);
			count = add_rule(&arena, text, (uint16_t)(i * 13), terms, count);
		}
		if (tree_build(&arena, terms, count, &tree) != 0)
			continue;
		built++;
		for (unsigned n = 0; n < 50; n++) {
			uint32_t want[TREE_WORDS] = { 0 }, got[TREE_WORDS];
			uint8_t frame[LAB_FRAME_MAX];
			u128 fields[FIELD_COUNT];
			unsigned chain = 0;

			model_fields(frame, lab_frame(&seed, false, frame), fields);
			for (size_t t = 0; t < count; t++) {
				if (term_true(&terms[t].term, fields))
					want[terms[t].slot / 32] |= 1u << (terms[t].slot % 32);
			}
			walk(&tree, fields, got);
			ck_assert_mem_eq(got, want, sizeof(want));
			for (size_t w = 0; w < TREE_WORDS; w++)
				chain += (unsigned)__builtin_popcount(want[w]);
			ck_assert_uint_le(chain, tree.chain_max);
			hits += chain;
		}
	}
	ck_assert_uint_gt(hits, 2000);
	ck_assert_uint_gt(built, 200);
}
END_TEST

START_TEST(disjoint_rules_make_a_chain_of_one)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct tree_term terms[SPINE_SLOTS_MAX];
	struct tree tree;
	size_t count = 0;

	for (uint16_t i = 0; i < SPINE_SLOTS_MAX; i++) {
		char text[64];

		snprintf(text, sizeof(text), "udp dst port %u", 100u + i);
		count = add_rule(&arena, text, i, terms, count);
	}
	ck_assert_int_eq(tree_build(&arena, terms, count, &tree), 0);
	ck_assert_uint_eq(tree.chain_max, 1);
	/* type, protocol and one node of ports */
	ck_assert_ptr_nonnull(tree.levels[FIELD_DPORT]);
	ck_assert_ptr_null(tree.levels[FIELD_DPORT]->beside);
	ck_assert_ptr_null(tree.levels[FIELD_L4]->beside);
}
END_TEST

START_TEST(rules_over_different_fields_add_up)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct tree_term terms[2 * 60];
	struct tree tree;
	size_t count = 0;

	for (uint16_t i = 0; i < 60; i++) {
		char text[64];

		snprintf(text, sizeof(text), "ip and dst host 10.0.0.%u", i);
		count = add_rule(&arena, text, i, terms, count);
		snprintf(text, sizeof(text), "ip and src host 10.0.0.%u", i);
		count = add_rule(&arena, text, (uint16_t)(i + 60), terms, count);
	}
	ck_assert_int_eq(tree_build(&arena, terms, count, &tree), 0);
	ck_assert_uint_eq(tree.chain_max, 2);
	ck_assert_uint_lt(tree.edges, 4 * 60 + 20);
}
END_TEST

START_TEST(a_tree_that_would_multiply_is_given_up)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct tree_term terms[128];
	struct tree tree;
	size_t count = 0;

	for (uint16_t i = 0; i < 120; i++) {
		char text[128];

		snprintf(text, sizeof(text), "udp dst portrange %u-%u and src portrange %u-%u", i, 1000 + 3 * i, 50 + 2 * i,
			 9000 - 5 * i);
		count = add_rule(&arena, text, i, terms, count);
	}
	ck_assert_int_eq(tree_build(&arena, terms, count, &tree), -E2BIG);
	ck_assert_int_eq(tree_build(&arena, terms, 1, &tree), 0);
}
END_TEST

TEST_MAIN("spine/rule_tree", a_tree_decides_as_its_terms_one_by_one, disjoint_rules_make_a_chain_of_one,
	  rules_over_different_fields_add_up, a_tree_that_would_multiply_is_given_up)
