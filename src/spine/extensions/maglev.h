/*
 * Maglev hashing: a table in which each node has its share of the entries and keeps nearly all of them
 * when others come and go (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
 * Balancer", NSDI 2016, §3.4).
 *
 * Why a table and not rendezvous hashing: a new flow costs one look-up however many nodes there are,
 * which matters under a flood of SYNs; and weights are turns at filling it, not logarithms.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define MAGLEV_NONE 0xffffu

struct maglev_node {
	uint64_t key;			/* maglev_key of what names the node; equal keys get equal preferences */
	uint32_t weight;		/* share; 0: none */
};

/* 64 well mixed bits from a name: the same everywhere, for ever, since balancers must agree. */
uint64_t maglev_key(struct slice name);

/*
 * Fill table[0..entries) with indexes of nodes; MAGLEV_NONE everywhere when none has weight. The
 * result depends on the order of nodes only where preferences collide: give them sorted.
 *
 * entries  a prime, larger than the number of nodes
 * scratch  count words, contents lost
 * O(entries log entries) expected time with few nodes.
 */
void maglev_build(const struct maglev_node *nodes, size_t count, uint64_t *scratch, uint16_t *table,
		  size_t entries);
