/*
 * The memory that the packet filter (filter.bpf.c) shares with the program that compiles its rules
 * (filter_tables.h). All tables exist twice, in two banks: the rules that run are in one, new ones are
 * written to the other, and one store to `filter_state.bank` puts them in force for every packet at once.
 *
 * How a packet finds its rule: each of five properties - protocol, source, destination, source port,
 * destination port - is looked up on its own and gives a *set*, the rules that this property fits. The
 * first rule in all five sets decides. So the cost is five look-ups and an AND of up to
 * FILTER_WORDS words, whatever the number of rules.
 */
#pragma once
#include <linux/types.h>

/* FILTER_RULES_MAX, FILTER_SETS_MAX (in a bank), FILTER_PREFIXES_MAX (in a bank, of a side and family) */
#define LIMITS_FILE "spine/extensions/limits.def"
#include "base/limits.h"

#define FILTER_ABI	    1u
#define FILTER_BANKS	    2u
#define FILTER_WORDS	    (FILTER_RULES_MAX / 64)
#define FILTER_TEXT_BYTES   120u

enum filter_side { FILTER_SOURCE, FILTER_DESTINATION, FILTER_SIDES };
enum filter_family { FILTER_IP4, FILTER_IP6, FILTER_FAMILIES };

/* Map `state`, one entry. */
struct filter_state {
	__u32 abi;			/* FILTER_ABI once rules were loaded */
	__u32 bank;			/* the one in force */
	__u64 loaded_at_s;		/* CLOCK_REALTIME; 0: no rules yet, everything passes */
};

/* Map `sets`: [bank * FILTER_SETS_MAX + class]. Bit i of the whole: rule i fits. */
struct filter_set {
	__u64 word[FILTER_WORDS];
};

/* Map `banks`. Numbers of sets are *classes*. */
struct filter_bank {
	__u32 rules, words;		/* words of sets that are in use */
	__u32 default_verdict;		/* enum xdp_action: for IP packets without a rule */
	__u32 arp_verdict, other_verdict;	/* for frames that are not IP */
	__u32 has_prefixes[FILTER_SIDES][FILTER_FAMILIES];	/* 0: the look-up can be left out */
	__u32 no_prefix[FILTER_SIDES][FILTER_FAMILIES];		/* class when no prefix fits */
	__u32 has_ports[FILTER_SIDES];
	__u32 no_port[FILTER_SIDES];	/* class of packets without ports */
	__u32 arp_rule, other_rule;	/* whose counters count them; FILTER_RULES_MAX: none */
};

/* Map `protocols`: class, [((bank * FILTER_FAMILIES + family) * 2 + later fragment) * 256 + protocol]. */
#define FILTER_PROTOCOLS (FILTER_FAMILIES * 2 * 256)

/* Map `ports`: four classes in a word, [((bank * FILTER_SIDES + side) * 65536 + port) / 4]. */
#define FILTER_PORT_WORDS (65536u / 4)

/* Maps `prefixes4`, `prefixes6`: longest prefix -> class. */
struct filter_key4 {
	__u32 bits;			/* 32 + length */
	__be32 table;			/* bank * FILTER_SIDES + side */
	__u8 address[4];
};

struct filter_key6 {
	__u32 bits;
	__be32 table;
	__u8 address[16];
};

/* Map `rules`: [bank * FILTER_RULES_MAX + i]. */
struct filter_rule {
	__u32 verdict;			/* enum xdp_action */
	__u32 line;			/* of the file; entries of one line are one rule for people */
	char text[FILTER_TEXT_BYTES];	/* the line, cut if longer */
};

/* Map `hits`, per processor: as `rules`. */
struct filter_hits {
	__u64 packets, bytes;
};

/* Map `counters`, per processor, one entry. */
struct filter_counters {
	__u64 passed, dropped;		/* by rules or default */
	__u64 default_packets;		/* of them by the default */
	__u64 malformed;		/* dropped: an IP or transport header that is cut off or contradicts itself */
	__u64 no_rules;			/* passed: none were loaded yet */
};

_Static_assert(sizeof(struct filter_key4) == 12 && sizeof(struct filter_key6) == 24, "keys of tries");
_Static_assert(sizeof(struct filter_rule) == 128, "no holes");
