/*
 * For tests of match rules: what a frame's fields are and whether a simple rule selects them, written a second
 * time in plain C. On truncated frames this is what the rules mean; libpcap means something else there.
 */
#pragma once
#include "spine/code/rule_term.h"

/* At least 14 bytes. */
void model_fields(const uint8_t *frame, size_t bytes, u128 out[FIELD_COUNT]);
/* Of a rule without sets. */
bool model_matches(const struct rule *r, const u128 fields[FIELD_COUNT]);
