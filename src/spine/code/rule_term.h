/*
 * The meaning of a simple match rule: terms (boxes) over the fields of a frame. A rule selects a frame
 * when one of its terms does; a term is true when every field that it names lies in its ranges.
 *
 * The fields are chosen so that each primitive of pcap-filter(7) is ranges over them:
 *
 *	TYPE	the ethertype, plus RULE_HEADER when the frame holds the whole header of that type
 *		(IPv4 20 bytes, IPv6 40, ARP and RARP 28), so that a truncated one has no addresses
 *	L4	IPv4: protocol. IPv6: next header; behind one fragment header RULE_FRAGMENT plus its next
 *		header (RULE_FRAGMENT_CUT when that is missing). libpcap's `udp` looks behind a fragment
 *		header and its `udp port` does not, so both must be told apart.
 *	DPORT, SPORT	RULE_NO_PORT: in a later fragment, or beyond the end of the frame
 *	DST4, SRC4	of IPv4, or the addresses that ARP and RARP ask for
 *	DST6, SRC6
 *
 * Whether an address is in a set is a field of two values; a term has them as bits.
 */
#pragma once
#include "base/arena.h"
#include "spine/code/code_limits.h"
#include "spine/code/rule.h"

__extension__ typedef unsigned __int128 u128;

#define RULE_HEADER	  0x10000u
#define RULE_IP4	  (0x0800u | RULE_HEADER)
#define RULE_IP6	  (0x86ddu | RULE_HEADER)
#define RULE_ARP	  (0x0806u | RULE_HEADER)
#define RULE_RARP	  (0x8035u | RULE_HEADER)
#define RULE_NO_TYPE	  0x20000u	/* a frame of less than 14 bytes */
#define RULE_FRAGMENT	  0x100u
#define RULE_FRAGMENT_CUT 0x200u
#define RULE_NO_PORT	  0x10000u

/* The order is that of the decision tree: what splits rules best comes first. */
enum rule_field {
	FIELD_TYPE,
	FIELD_L4,
	FIELD_DPORT,
	FIELD_SPORT,
	FIELD_DST4,
	FIELD_SRC4,
	FIELD_DST6,
	FIELD_SRC6,
	FIELD_COUNT
};

struct range {
	u128 first, last;
};

/* Sorted, disjoint, not adjacent; never empty inside a term. */
struct ranges {
	size_t count;
	const struct range *at;
};

struct term {
	const struct ranges *field[FIELD_COUNT];	/* NULL: any value */
	uint64_t in, out;		/* sets that an address must, must not be in: RULE_SET_BIT */
};
#define RULE_SET_BIT(set, dst) (UINT64_C(1) << (2 * (set) + ((dst) ? 1 : 0)))

struct terms {
	size_t count;
	struct term *at;
};

struct guard_insn;
struct rule {
	const char *text;
	struct terms terms;		/* none: a guard */
	const char *sets[RULE_SETS_MAX];
	size_t set_count;
	const char *guard_why;		/* NULL: it is simple */
	const struct guard_insn *guard;
	size_t guard_count;
	/* Of a guard: rules that are true of every frame that it selects. */
	const struct rule *implied[RULE_CONJUNCTS_MAX];
	size_t implied_count;
};

/* The largest value of a field. */
u128 rule_field_max(enum rule_field f);

/* All NULL when the arena is full; `none` when nothing is left of an intersection or subtraction. */
extern const struct ranges ranges_none;
const struct ranges *ranges_one(struct arena *arena, u128 first, u128 last);
const struct ranges *ranges_union(struct arena *arena, const struct ranges *a, const struct ranges *b);
const struct ranges *ranges_intersect(struct arena *arena, const struct ranges *a, const struct ranges *b);
/* a without b. */
const struct ranges *ranges_subtract(struct arena *arena, const struct ranges *a, const struct ranges *b);
bool ranges_has(const struct ranges *r, u128 value);
bool ranges_meet(const struct ranges *a, const struct ranges *b);

/*
 * a or b, and a and b, simplified: terms that differ in one field become one, those that are inside
 * others go. 0; -E2BIG: more than RULE_TERMS_MAX terms; -ENOMEM. `out` may be a or b.
 */
MUST_USE int terms_or(struct arena *arena, const struct terms *a, const struct terms *b, struct terms *out);
MUST_USE int terms_and(struct arena *arena, const struct terms *a, const struct terms *b, struct terms *out);
/* No frame lies in both: certain, or false. */
bool term_disjoint(const struct term *a, const struct term *b);
/* Every frame of b lies in a term of `a`: certain, or false. The arena is for work. */
bool terms_cover(struct arena *arena, const struct terms *a, const struct term *b);
