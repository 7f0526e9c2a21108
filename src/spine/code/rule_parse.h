/*
 * From a match rule's text to terms, for the subset of pcap-filter(7) that the decision tree can hold.
 */
#pragma once
#include "spine/code/rule_lex.h"
#include "spine/code/rule_term.h"

/*
 * Parse into r->terms and r->sets. 0; 1: it is not simple, r->guard_why says why; -EINVAL with a
 * sentence; -ENOMEM. O(tokens x terms^2).
 */
MUST_USE int rule_parse_simple(struct arena *arena, const struct tokens *tokens, struct rule *r, struct errmsg *why);
