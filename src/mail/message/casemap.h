/*
 * i;unicode-casemap (RFC 5051) and i;ascii-casemap (RFC 4790): how SEARCH and SORT compare text.
 *
 * A text is mapped once to its key (titlecase, then decomposed); equality, order and substring are then
 * plain byte operations on keys.
 */
#pragma once
#include "base/buf.h"

/* Append the key of UTF-8 text. Invalid bytes become U+FFFD. ASCII runs take a fast path. */
void casemap_key(struct buf *out, struct slice utf8);

/*
 * Substring search over keys in pieces: linear (Knuth-Morris-Pratt), so that a hostile text costs what it is
 * long. key is borrowed. `table` has key.len entries.
 */
struct casemap_find {
	struct slice key;
	const uint32_t *table;
	size_t matched;
	bool found;
};
struct arena;
/* False when the arena is full. An empty key is found at once. */
MUST_USE bool casemap_find_init(struct casemap_find *f, struct arena *arena, struct slice key);
/* Feed text that is mapped already; true once found. */
bool casemap_find_feed(struct casemap_find *f, struct slice key_text);
/* Forget the text so far: a match does not cross this point. */
static inline void casemap_find_reset(struct casemap_find *f)
{
	f->matched = 0;
}
