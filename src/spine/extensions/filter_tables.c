#include "spine/extensions/filter_tables.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>

#define INTERN_SLOTS 8192u		/* a power of two, twice FILTER_SETS_MAX */

struct compiler {
	struct arena *arena;
	const struct filter_rules *rules;
	struct filter_tables *t;
	uint16_t *slots;		/* of the hash: class + 1, 0 is free */
	struct errmsg *why;
};

_Static_assert(INTERN_SLOTS >= 2 * FILTER_SETS_MAX, "chains of the hash stay short");
_Static_assert(FILTER_SETS_MAX < 0xffff, "classes fit into 16 bits");

static void set_add(struct filter_set *s, size_t i)
{
	s->word[i / 64] |= 1ull << i % 64;
}

static void set_remove(struct filter_set *s, size_t i)
{
	s->word[i / 64] &= ~(1ull << i % 64);
}

static void set_join(struct filter_set *s, const struct filter_set *with)
{
	for (size_t i = 0; i < FILTER_WORDS; i++)
		s->word[i] |= with->word[i];
}

static uint32_t set_hash(const struct filter_set *s)
{
	uint64_t h = 0;

	for (size_t i = 0; i < FILTER_WORDS; i++)
		h = (h ^ s->word[i]) * 0x9e3779b97f4a7c15ull;
	return (uint32_t)(h >> 32);
}

/* The class of a set, a new one if there is no equal one yet. 0 or -E2BIG. */
static int intern(struct compiler *c, const struct filter_set *s, uint32_t *class)
{
	uint32_t at = set_hash(s) % INTERN_SLOTS;

	for (; c->slots[at] != 0; at = (at + 1) % INTERN_SLOTS)
		if (memcmp(&c->t->sets[c->slots[at] - 1], s, sizeof(*s)) == 0) {
			*class = c->slots[at] - 1u;
			return 0;
		}
	if (c->t->set_count == FILTER_SETS_MAX)
		return errmsg_set(c->why, -E2BIG, "the rules divide packets into more than %d classes; join rules, or "
				  "list prefixes and ports of one rule together", FILTER_SETS_MAX);
	*class = c->t->set_count;
	c->t->sets[c->t->set_count++] = *s;
	c->slots[at] = (uint16_t)c->t->set_count;
	return 0;
}

/* ---- protocols ---- */

static bool protocol_fits(const struct filter_entry *e, unsigned family, bool fragment, unsigned protocol)
{
	if (e->arp || e->other || (e->fragment && !fragment) || !(e->families & 1u << family))
		return false;
	return e->any_protocol || e->protocols[protocol / 64] >> protocol % 64 & 1;
}

static int compile_protocols(struct compiler *c)
{
	for (unsigned key = 0; key < FILTER_PROTOCOLS; key++) {
		struct filter_set set = { 0 };

		for (size_t i = 0; i < c->rules->count; i++)
			if (protocol_fits(&c->rules->entries[i], key / 512, key / 256 % 2, key % 256))
				set_add(&set, i);
		int rc = intern(c, &set, &c->t->protocols[key]);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* ---- ports ---- */

/* A rule's range begins (or ended before) at a port. */
struct edge {
	uint32_t port;			/* up to 65536 */
	uint16_t entry;
	bool begins;
};

static int edge_order(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	return (x->port > y->port) - (x->port < y->port);
}

static int compile_ports(struct compiler *c, enum filter_side side)
{
	struct filter_set set = { 0 };
	struct edge *edges;
	size_t n = 0, at = 0;
	uint32_t class;

	for (size_t i = 0; i < c->rules->count; i++)
		n += 2 * c->rules->entries[i].port_count[side];
	edges = arena_array(c->arena, n + 1, sizeof(*edges));
	if (edges == NULL)
		return -ENOMEM;
	c->t->bank.has_ports[side] = n > 0;
	n = 0;
	for (size_t i = 0; i < c->rules->count; i++) {
		const struct filter_entry *e = &c->rules->entries[i];

		if (e->port_count[side] == 0)
			set_add(&set, i);
		for (size_t k = 0; k < e->port_count[side]; k++) {
			edges[n++] = (struct edge){ e->ports[side][k].first, (uint16_t)i, true };
			edges[n++] = (struct edge){ e->ports[side][k].last + 1u, (uint16_t)i, false };
		}
	}
	qsort(edges, n, sizeof(*edges), edge_order);
	int rc = intern(c, &set, &class);
	if (rc != 0)
		return rc;
	c->t->bank.no_port[side] = class;
	for (uint32_t port = 0; port < 65536; port++) {
		bool changed = false;

		/* A rule's ranges are apart by more than a port, so that no end meets its own next begin. */
		for (; at < n && edges[at].port == port; at++, changed = true)
			(edges[at].begins ? set_add : set_remove)(&set, edges[at].entry);
		if (changed && (rc = intern(c, &set, &class)) != 0)
			return rc;
		c->t->ports[side][port / 4] |= (uint64_t)class << port % 4 * 16;
	}
	return 0;
}

/* ---- prefixes ---- */

struct use {
	struct filter_prefix prefix;
	uint16_t entry;
};

static int prefix_order(const struct filter_prefix *a, const struct filter_prefix *b)
{
	int order = memcmp(a->address, b->address, sizeof(a->address));

	return order != 0 ? order : (a->bits > b->bits) - (a->bits < b->bits);
}

static int use_order(const void *a, const void *b)
{
	return prefix_order(&((const struct use *)a)->prefix, &((const struct use *)b)->prefix);
}

static bool covers(const struct filter_prefix *a, const struct filter_prefix *b)
{
	unsigned whole = a->bits / 8, rest = a->bits % 8;

	if (a->bits > b->bits || memcmp(a->address, b->address, whole) != 0)
		return false;
	return rest == 0 || ((a->address[whole] ^ b->address[whole]) & (uint8_t)(0xff00 >> rest)) == 0;
}

/* The rules' uses of prefixes of one family and side, sorted; *set: the rules for any address. */
static int collect_uses(struct compiler *c, enum filter_side side, enum filter_family family, struct use **out,
			size_t *count, struct filter_set *set)
{
	size_t n = 0;

	for (size_t i = 0; i < c->rules->count; i++)
		n += c->rules->entries[i].prefix_count[side];
	*out = arena_array(c->arena, n + 1, sizeof(**out));
	if (*out == NULL)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < c->rules->count; i++) {
		const struct filter_entry *e = &c->rules->entries[i];

		if (e->prefix_count[side] == 0)
			set_add(set, i);
		for (size_t k = 0; k < e->prefix_count[side]; k++)
			if (e->prefixes[side][k].family == family)
				(*out)[n++] = (struct use){ e->prefixes[side][k], (uint16_t)i };
	}
	if (n > FILTER_PREFIXES_MAX)
		return errmsg_set(c->why, -E2BIG, "the rules name %zu prefixes in one place; %d are possible", n,
				  FILTER_PREFIXES_MAX);
	qsort(*out, n, sizeof(**out), use_order);
	*count = n;
	return 0;
}

/*
 * Sorted, a prefix comes after those around it: a stack of at most 129 holds these, each with its set. A
 * longest match must give the rules of all of them.
 */
static int compile_prefixes(struct compiler *c, enum filter_side side, enum filter_family family)
{
	static const struct filter_set nothing;
	struct { struct filter_prefix prefix; struct filter_set set; } stack[130];
	size_t depth = 1, n = 0;
	struct use *uses = NULL;
	struct filter_bank *bank = &c->t->bank;

	stack[0].set = nothing;
	stack[0].prefix = (struct filter_prefix){ 0 };
	int rc = collect_uses(c, side, family, &uses, &n, &stack[0].set);
	if (rc == 0)
		rc = intern(c, &stack[0].set, &bank->no_prefix[side][family]);
	if (rc != 0)
		return rc;
	struct filter_row *rows = arena_array(c->arena, n + 1, sizeof(*rows));
	if (rows == NULL)
		return -ENOMEM;
	size_t made = 0;
	for (size_t i = 0; i < n;) {
		const struct filter_prefix *prefix = &uses[i].prefix;

		while (depth > 1 && !covers(&stack[depth - 1].prefix, prefix))
			depth--;
		stack[depth].prefix = *prefix;
		stack[depth].set = nothing;
		set_join(&stack[depth].set, &stack[depth - 1].set);
		for (; i < n && prefix_order(&uses[i].prefix, &stack[depth].prefix) == 0; i++)
			set_add(&stack[depth].set, uses[i].entry);
		rows[made].prefix = stack[depth].prefix;
		rc = intern(c, &stack[depth].set, &rows[made++].class);
		if (rc != 0)
			return rc;
		depth++;
	}
	bank->has_prefixes[side][family] = made > 0;
	c->t->rows[side][family] = rows;
	c->t->row_count[side][family] = made;
	return 0;
}

/* ---- the rest ---- */

static void compile_others(struct compiler *c)
{
	struct filter_bank *bank = &c->t->bank;

	bank->arp_verdict = bank->other_verdict = XDP_PASS;
	bank->arp_rule = bank->other_rule = FILTER_RULES_MAX;
	for (size_t i = c->rules->count; i-- > 0;) {
		const struct filter_entry *e = &c->rules->entries[i];
		struct filter_rule *rule = &c->t->rules[i];

		rule->verdict = e->verdict;
		rule->line = e->line;
		memcpy(rule->text, e->text.ptr, e->text.len < sizeof(rule->text) ? e->text.len : sizeof(rule->text) - 1);
		if (e->arp)
			bank->arp_rule = (uint32_t)i;
		if (e->other)
			bank->other_rule = (uint32_t)i;
	}
}

int filter_compile(struct arena *arena, const struct filter_rules *rules, struct filter_tables **out,
		   struct errmsg *why)
{
	struct compiler c = { .arena = arena, .rules = rules, .why = why };
	struct filter_tables *t = c.t = ARENA_NEW(arena, struct filter_tables);
	int rc;

	if (t == NULL)
		return -ENOMEM;
	t->sets = arena_array(arena, FILTER_SETS_MAX, sizeof(*t->sets));
	t->protocols = arena_array(arena, FILTER_PROTOCOLS, sizeof(*t->protocols));
	t->rules = arena_array(arena, rules->count + 1, sizeof(*t->rules));
	c.slots = arena_array(arena, INTERN_SLOTS, sizeof(*c.slots));
	for (unsigned side = 0; side < FILTER_SIDES; side++)
		t->ports[side] = arena_array(arena, FILTER_PORT_WORDS, sizeof(*t->ports[side]));
	if (arena->err != 0)
		return arena->err;
	t->bank.rules = (uint32_t)rules->count;
	t->bank.words = (uint32_t)(rules->count + 63) / 64;
	t->bank.default_verdict = rules->default_verdict;
	compile_others(&c);
	rc = compile_protocols(&c);
	for (unsigned side = 0; side < FILTER_SIDES && rc == 0; side++) {
		rc = compile_ports(&c, side);
		for (unsigned family = 0; family < FILTER_FAMILIES && rc == 0; family++)
			rc = compile_prefixes(&c, side, family);
	}
	if (rc == 0)
		*out = t;
	return rc;
}
