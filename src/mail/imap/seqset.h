/*
 * IMAP sequence sets, "1:4,7,*" (RFC 9051 §9, sequence-set; RFC 5182 for "$").
 *
 * Why a type of its own: a client may send "1:4294967295" to a mailbox of three
 * messages. We keep ranges and never expand them, so the cost follows what the
 * client typed, not what it means.
 *
 * Invariant: ranges are sorted, disjoint and not adjacent, and 1 <= first <= last.
 * Not here: finding the messages that the numbers name.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

struct seqset_range {
	uint32_t first, last;
};

struct seqset {
	struct seqset_range *ranges;
	size_t count;
	bool saved;			/* "$": the saved result; ranges are empty then */
	bool star;			/* "*" stood in the text */
};

enum seqset_result {
	SEQSET_OK,
	SEQSET_BAD_SYNTAX,		/* the session answers BAD */
	SEQSET_TOO_BIG,			/* too many ranges, or arena full: NO [LIMIT] */
};

/*
 * Parse the text of a set, or "$".
 *
 * text    the set alone; borrowed during the call
 * star    what "*" stands for; 0 is an empty mailbox, where "*" is a syntax error
 * out     set on SEQSET_OK only; ranges live as long as arena
 * bad_at  set on SEQSET_BAD_SYNTAX only: offset in text, in bytes, of the first wrong byte
 *
 * O(n log n) time in ranges, 8 bytes of arena a range.
 */
MUST_USE enum seqset_result seqset_parse(struct arena *arena, struct slice text, uint32_t star,
					 struct seqset *out, size_t *bad_at);
/* O(log ranges). */
bool seqset_has(const struct seqset *set, uint32_t number);
/* The highest number, 0 for an empty set. */
static inline uint32_t seqset_last(const struct seqset *set)
{
	return set->count == 0 ? 0 : set->ranges[set->count - 1].last;
}

/*
 * Writes numbers that come in ascending order as a set: "1:3,7". Start with a zeroed
 * struct and `out`; numbers must rise. seqset_writer_end writes what is pending.
 */
struct seqset_writer {
	struct buf *out;
	uint32_t first, last;
	bool any;
};
void seqset_writer_add(struct seqset_writer *w, uint32_t number);
void seqset_writer_add_range(struct seqset_writer *w, uint32_t first, uint32_t last);
void seqset_writer_end(struct seqset_writer *w);
