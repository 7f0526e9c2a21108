/*
 * Rules of the packet filter as text:
 *
 *	default drop			# IP packets that no rule fits; "pass" when not said
 *	pass icmp6
 *	pass tcp dst port 22 src 10.0.0.0/8,fd00::/8
 *	pass udp and port 53,5353	# either direction
 *	drop src net 192.0.2.0/24 dst portrange 1-1023
 *	drop fragment			# later fragments; they have no ports
 *	drop arp
 *
 * One rule a line, the first that fits decides. A rule is `pass` or `drop` and conditions, all of which
 * must hold, in any order, "and" between them or not. Conditions are those of pcap-filter(7) that name
 * one value or a list of them: ip, ip6, tcp, udp, ...; proto NUMBERS; [src|dst] [host|net] PREFIXES;
 * [src|dst] port PORTS. A rule without conditions fits every IP packet. Frames that are not IP pass
 * unless a rule says `arp` or `other`.
 *
 * Text in, rules out; filter_tables.h makes tables of them.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "spine/extensions/filter.h"

struct filter_prefix {
	uint8_t address[16];		/* 4 of them for IPv4; zero behind the prefix */
	uint8_t bits;
	uint8_t family;			/* enum filter_family */
};

struct filter_ports {
	uint16_t first, last;
};

/* A rule with a direction. */
struct filter_entry {
	uint32_t verdict;		/* enum xdp_action */
	uint32_t line;
	struct slice text;		/* the line without comment */
	bool arp, other;		/* then nothing else is set */
	bool fragment;
	uint8_t families;		/* 1 << enum filter_family */
	bool any_protocol;
	uint64_t protocols[4];		/* bits */
	const struct filter_prefix *prefixes[FILTER_SIDES];
	size_t prefix_count[FILTER_SIDES];	/* 0: any address */
	const struct filter_ports *ports[FILTER_SIDES];	/* sorted, disjoint */
	size_t port_count[FILTER_SIDES];	/* 0: any, or none */
};

struct filter_rules {
	struct filter_entry *entries;	/* in order */
	size_t count;			/* <= FILTER_RULES_MAX */
	uint32_t default_verdict;
};

/*
 * Parse a file's text, which is borrowed and must live as long as the arena. 0; -EINVAL: all errors, a line
 * "FILE:LINE: ..." each, are in *errors; -ENOMEM. O(bytes log bytes). Fuzz target spine_filter.
 */
MUST_USE int filter_parse(struct arena *arena, struct slice text, const char *file,
			  const struct filter_rules **out, struct buf *errors);
