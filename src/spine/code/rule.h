/*
 * Match rules: which frames an extension gets, in the language of tcpdump (pcap-filter(7)).
 *
 * Simple rules - families, protocols, addresses, prefixes, ports and ranges of them joined by `and`,
 * `or` and parentheses - become terms of a decision tree that is shared by all extensions of a device.
 * All other rules are compiled by libpcap and translated to eBPF; such a *guard* runs for each packet,
 * so it costs per rule. `set NAME` (with `src` or `dst`) is our addition: a prefix list in an LPM map,
 * for lists too long for code.
 *
 * Rules see the frame as it arrived, as DLT_EN10MB. There is one difference to libpcap: a frame too short
 * for the header that a condition looks into (IPv4 20 bytes, IPv6 40, ARP 28, its ports) makes that
 * condition false, where libpcap gives up the whole rule. Guards are libpcap's code and give up, too.
 */
#pragma once
#include "base/arena.h"
#include "base/errmsg.h"
#include "base/slice.h"
#include "spine/code/layout.h"
#include "spine/code/program.h"

struct rule;				/* opaque; lives in the arena that it was parsed into */

/*
 * Parse a rule. "" and "all" match every frame. 0; -EINVAL: `why` says what is wrong, at which
 * column, and what was probably meant; -E2BIG: over a limit of spine/code/limits.def; -ENOMEM.
 * Uses libpcap on a dead handle for what the tree cannot hold: no sockets, no files.
 */
MUST_USE int rule_parse(struct arena *arena, struct slice text, const struct rule **out,
			struct errmsg *why);
const char *rule_text(const struct rule *r);
/* It runs as a guard; *why (if not NULL) gets half a sentence why, a constant text. */
bool rule_is_guard(const struct rule *r, const char **why);
/*
 * Every frame that `b` selects, `a` selects, too: certain, or false. A guard `a` covers an equal text only; of a guard
 * `b`, "x and y", it is enough that `a` covers x or y.
 */
bool rule_covers(const struct rule *a, const struct rule *b);
/* The names of sets that the rule uses: i-th or NULL. */
const char *rule_set(const struct rule *r, size_t i);

/* One rule of a device: sets bit `slot` of struct spine_cpu_stats.match. */
struct rule_use {
	const struct rule *rule;
	uint16_t slot;
};

/* The key of a set's LPM map: an IPv6 address, or an IPv4 address mapped to ::ffff:a.b.c.d. */
struct spine_set_key {
	uint32_t prefix_bits;		/* 96 more for IPv4 */
	uint8_t address[16];
};

/* The LPM maps behind the names of sets (keys: struct spine_set_key), given by the caller. */
struct rule_sets {
	int (*fd)(void *arg, const char *name);	/* negative: no such set */
	void *arg;
};

/*
 * Shorter ways out of the match phase for frames that one extension alone wants, or nobody: most frames, and whoever
 * takes these ways need not look for match bits. The caller makes the labels, rule_emit says which it jumps to; at
 * each of them match[] is complete, too, and R8 and R9 are as they were on entry.
 */
struct rule_exits {
	program_label alone[SPINE_SLOTS_MAX], nobody;	/* by slot */
	bool to_alone[SPINE_SLOTS_MAX], to_nobody;
	bool rest;			/* some frames come out at the end all the same; else nothing may follow there */
};

/*
 * Emit code that computes the match bits of a frame. On entry R6 is the XDP context (struct xdp_md *),
 * R7 points to this processor's struct spine_cpu_stats, and match[] is zero. On exit R6 and R7 are as
 * before, R0-R5, R8 and R9 are lost, and match[] is complete; it falls through to the code after it.
 * Stack: uses at most RULE_STACK_BYTES below R10. Control flow and verifier's work grow linearly with
 * the terms; a trie that would grow over its limit is split.
 * exits: NULL, or the ways out beside the end; not used with guards or when the tree was split.
 *
 * *chain_max gets an upper bound of how many of the uses can match one frame.
 * 0, -E2BIG or -ENOENT (an unknown set) with a sentence, -ENOMEM.
 */
#define RULE_STACK_BYTES 96
MUST_USE int rule_emit(struct program *p, const struct rule_use *uses, size_t count,
		       const struct rule_sets *sets, struct rule_exits *exits, size_t *chain_max, struct errmsg *why);
