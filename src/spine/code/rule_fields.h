/*
 * The fields of a frame in the scratch of the dispatcher, spine_cpu_stats.key: where they stand, and the code that
 * reads them from the frame.
 */
#pragma once
#include "spine/code/layout.h"
#include "spine/code/rule_tree.h"

#define RULE_KEY_AT (int)offsetof(struct spine_cpu_stats, key)
/* Where fields stand in the key. */
enum {
	RULE_AT_TYPE = RULE_KEY_AT,
	RULE_AT_L4 = RULE_KEY_AT + 4,
	RULE_AT_DPORT = RULE_KEY_AT + 8,
	RULE_AT_SPORT = RULE_KEY_AT + 12,
	RULE_AT_DST4 = RULE_KEY_AT + 16,
	RULE_AT_SRC4 = RULE_KEY_AT + 20,
	RULE_AT_DST6 = RULE_KEY_AT + 32,
	RULE_AT_SRC6 = RULE_KEY_AT + 48,
	RULE_AT_SRC_SET = RULE_KEY_AT + 64,	/* struct spine_set_key */
	RULE_AT_DST_SET = RULE_KEY_AT + 84,
	RULE_AT_LENGTH = RULE_KEY_AT + 104,	/* of the frame, for guards */
	RULE_AT_END = RULE_KEY_AT + 108,
};
/* Of each field, from struct spine_cpu_stats on. */
extern const int16_t rule_field_at[FIELD_COUNT];

/*
 * Where to go on with a frame whose type is known. `other` is what follows the emitted code; only frames that go there
 * have the type in the scratch.
 */
struct rule_types {
	program_label ip4, ip6;
	bool known;			/* false: all go to the end, with the type in the scratch */
};

/*
 * Append code that reads the fields that some term asks for. On entry R6 is the context and R7 the processor's
 * struct spine_cpu_stats; loses R0-R5. Fields of other types of frames keep what the last frame left there: terms ask for
 * the type first.
 */
void rule_fields_emit(struct program *p, const struct tree_term *terms, size_t count, const struct rule_types *types);
