/*
 * All sources of a policy as one text, which is what an epoch keeps and what is signed: what `import` read when it was applied cannot change later.
 *
 *	prickle-policy 1
 *	source FROM_BYTES NAME_BYTES TEXT_BYTES
 *	FROM NAME TEXT			of that many bytes, each followed by a line end
 *	...
 *
 * The first source is the main one, with an empty FROM. FROM and NAME are what the parser asked for; a parse of the bundle asks the same questions.
 * `import default` is not in it: that is the program's own text.
 */
#pragma once
#include "base/arena.h"
#include "base/errmsg.h"
#include "policy/language/policy.h"

struct bundle_source { struct slice from, name, text; };
struct bundle {
	struct bundle_source sources[POLICY_SOURCES_MAX];
	size_t count;
};

void bundle_write(struct buf *out, const struct bundle *b);
/* Sources borrow from bytes. False: not one. */
MUST_USE bool bundle_read(struct bundle *out, struct slice bytes);
/* Parse what is in it; as policy_parse. name: of the main source, for messages; the policy borrows the bundle's bytes. */
MUST_USE int bundle_parse(const struct bundle *b, struct arena *arena, const struct policy **out, struct buf *errors);
/*
 * Parse a file with its imports and collect them, all in the arena. Names are relative to the file's directory. As policy_parse; other errno with
 * a sentence in *errors when the file cannot be read.
 */
MUST_USE int bundle_load(struct arena *arena, const char *path, struct bundle **out, const struct policy **policy, struct buf *errors);
