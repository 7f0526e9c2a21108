#include "spine/extensions/maglev.h"

#include <stdio.h>

#include "base/test.h"
#include "spine/extensions/balancer.h"

#define ENTRIES BALANCER_TABLE_ENTRIES
#define NODES	BALANCER_MEMBERS_MAX

static void make(struct maglev_node *nodes, size_t count)
{
	char name[32];

	for (size_t i = 0; i < count; i++) {
		int n = snprintf(name, sizeof(name), "10.0.%zu.%zu", i / 200, i % 200);

		nodes[i] = (struct maglev_node){ maglev_key(slice_of(name, (size_t)n)), 1 };
	}
}

static void fill(const struct maglev_node *nodes, size_t count, uint16_t *table)
{
	uint64_t scratch[NODES];

	maglev_build(nodes, count, scratch, table, ENTRIES);
}

static void shares(const uint16_t *table, size_t *out, size_t count)
{
	memset(out, 0, count * sizeof(*out));
	for (size_t i = 0; i < ENTRIES; i++) {
		ck_assert_uint_lt(table[i], count);
		out[table[i]]++;
	}
}

START_TEST(every_number_of_equal_nodes_shares_the_table_within_one_entry)
{
	static uint16_t table[ENTRIES];
	struct maglev_node nodes[NODES];
	size_t n[NODES];

	make(nodes, NODES);
	for (size_t count = 1; count <= NODES; count++) {
		fill(nodes, count, table);
		shares(table, n, count);
		for (size_t i = 0; i < count; i++) {
			ck_assert_uint_ge(n[i], ENTRIES / count);
			ck_assert_uint_le(n[i], ENTRIES / count + 1);
		}
	}
}
END_TEST

START_TEST(weights_are_shares)
{
	static uint16_t table[ENTRIES];
	struct maglev_node nodes[4];
	size_t n[4];

	make(nodes, 4);
	nodes[0].weight = 1;
	nodes[1].weight = 2;
	nodes[2].weight = 0;
	nodes[3].weight = 5;
	fill(nodes, 4, table);
	shares(table, n, 4);
	ck_assert_uint_eq(n[2], 0);
	ck_assert_uint_le(n[0], ENTRIES / 8 + 2);
	ck_assert_uint_ge(n[0], ENTRIES / 8 - 2);
	ck_assert_uint_le(n[3], ENTRIES * 5 / 8 + 5);
	ck_assert_uint_ge(n[3], ENTRIES * 5 / 8 - 5);
}
END_TEST

/* Entries that change hands although their node stays. */
static size_t moved(const uint16_t *before, const uint16_t *after, size_t lost)
{
	size_t n = 0;

	for (size_t i = 0; i < ENTRIES; i++) {
		size_t now = after[i] >= lost ? after[i] + 1u : after[i];	/* indexes of `before` */

		if (before[i] != lost && before[i] != now)
			n++;
	}
	return n;
}

/* The paper measures some 2 % at tables of this ratio (figure 12). */
START_TEST(the_loss_of_a_node_moves_few_entries_of_the_others)
{
	static uint16_t before[ENTRIES], after[ENTRIES];
	struct maglev_node nodes[NODES], left[NODES];

	make(nodes, NODES);
	for (size_t count = 3; count <= NODES; count += 7) {
		fill(nodes, count, before);
		for (size_t lost = 0; lost < count; lost++) {
			memcpy(left, nodes, sizeof(nodes));
			memmove(left + lost, left + lost + 1, (count - lost - 1) * sizeof(*left));
			fill(left, count - 1, after);
			ck_assert_uint_le(moved(before, after, lost), ENTRIES * 2 / 100);
		}
	}
}
END_TEST

START_TEST(a_new_node_takes_its_share_and_little_else_moves)
{
	static uint16_t before[ENTRIES], after[ENTRIES];
	struct maglev_node nodes[NODES];
	size_t n = 0;

	make(nodes, 11);
	fill(nodes, 10, before);
	fill(nodes, 11, after);
	for (size_t i = 0; i < ENTRIES; i++)
		n += after[i] != 10 && before[i] != after[i];
	ck_assert_uint_le(n, ENTRIES * 2 / 100);
}
END_TEST

START_TEST(no_node_with_weight_leaves_the_table_empty)
{
	static uint16_t table[ENTRIES];
	struct maglev_node node = { 7, 0 };

	fill(&node, 1, table);
	ck_assert_uint_eq(table[0], MAGLEV_NONE);
	fill(&node, 0, table);
	ck_assert_uint_eq(table[ENTRIES - 1], MAGLEV_NONE);
}
END_TEST

START_TEST(keys_stay_as_they_are_since_balancers_of_all_versions_must_agree)
{
	ck_assert_uint_eq(maglev_key(SLICE("10.0.0.1")), 0x7fb1b600f0f5c6d3u);
}
END_TEST

TEST_MAIN("spine/maglev", every_number_of_equal_nodes_shares_the_table_within_one_entry, weights_are_shares,
	  the_loss_of_a_node_moves_few_entries_of_the_others, a_new_node_takes_its_share_and_little_else_moves,
	  no_node_with_weight_leaves_the_table_empty,
	  keys_stay_as_they_are_since_balancers_of_all_versions_must_agree)
