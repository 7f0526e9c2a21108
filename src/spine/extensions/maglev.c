#include "spine/extensions/maglev.h"

#include "base/must.h"

uint64_t maglev_key(struct slice name)
{
	uint64_t h = 0xcbf29ce484222325u;	/* FNV-1a, then a mixer: FNV's high bits are weak */

	for (size_t i = 0; i < name.len; i++)
		h = (h ^ name.ptr[i]) * 0x100000001b3u;
	h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
	h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
	return h ^ (h >> 31);
}

/* A node's next preferred entry that is free. Its permutation visits all entries, as their number is prime. */
static void take(const struct maglev_node *node, uint64_t *next, uint16_t index, uint16_t *table, size_t entries)
{
	uint64_t skip = (node->key & 0xffffffffu) % (entries - 1) + 1;

	while (table[*next] != MAGLEV_NONE)
		*next = (*next + skip) % entries;
	table[*next] = index;
}

void maglev_build(const struct maglev_node *nodes, size_t count, uint64_t *scratch, uint16_t *table,
		  size_t entries)
{
	uint32_t heaviest = 0;
	size_t filled = 0;

	must(count < entries);
	must(count < MAGLEV_NONE);
	for (size_t i = 0; i < entries; i++)
		table[i] = MAGLEV_NONE;
	for (size_t i = 0; i < count; i++) {
		heaviest = MAX(heaviest, nodes[i].weight);
		scratch[i] = (nodes[i].key >> 32) % entries;
	}
	if (heaviest == 0)
		return;
	/* Round r: a node has had r x weight / heaviest turns, so shares are even at every moment. */
	for (uint64_t round = 1;; round++)
		for (size_t i = 0; i < count; i++) {
			uint64_t w = nodes[i].weight;

			if (round * w / heaviest == (round - 1) * w / heaviest)
				continue;
			take(&nodes[i], &scratch[i], (uint16_t)i, table, entries);
			if (++filled == entries)
				return;
		}
}
