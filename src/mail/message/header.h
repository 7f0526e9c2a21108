/*
 * Header blocks: fields, folding, and the choice of fields that IMAP asks for.
 *
 * Nothing is refused: a line without a colon is a field without a name, as stored mail has
 * them. Lines end at LF; a CR before it belongs to the line end (RFC 5322 §2.1, §4).
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

struct header_field {
	struct slice name;		/* without blanks before the colon; empty when there is no colon */
	struct slice value;		/* after colon and blanks, folding included, without the last line end */
	struct slice raw;		/* the whole field, folding and last line end included */
};

struct header_iter {
	struct slice rest;
};

/* Iterate over a header block; it may end in its blank line, where the iteration ends. */
static inline struct header_iter header_iter(struct slice block)
{
	return (struct header_iter){ block };
}
/* The next field; false at the end, where it->rest is the blank line if there is one. O(bytes of the field). */
bool header_next(struct header_iter *it, struct header_field *out);
/* First field of this name (ASCII case folded); false when absent. *value as header_field.value. */
bool header_find(struct slice block, const char *name, struct slice *value);

/*
 * Cut one field (raw, without its last line end) into name and value. The blanks after the colon are
 * dropped, but of a first line of blanks alone only one, so that "present but blank" stays visible.
 */
void header_split(struct slice raw, struct slice *name, struct slice *value);

/*
 * Unfold (RFC 5322 §2.2.3): CR and LF go; where no blank follows, a blank takes their place. NUL
 * becomes U+FFFD. Returns the value itself when nothing changes, else a copy in the arena; {NULL, 0} when
 * the arena is full.
 */
struct slice header_unfold(struct arena *arena, struct slice value);
/* As header_unfold; runs of blanks become one and none stays at the ends: subjects and names. */
struct slice header_unfold_packed(struct arena *arena, struct slice value);

/*
 * HEADER.FIELDS and HEADER.FIELDS.NOT (RFC 9051 §6.4.5): append the fields whose name is (not) in
 * names, in their order in the block, byte for byte, then the blank line if the block has one. out->err tells failures.
 * O(block bytes * names); names is what a client typed in one command.
 */
void header_select(struct buf *out, struct slice block, const struct slice *names, size_t name_count,
		   bool not_these);
