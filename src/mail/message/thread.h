/*
 * THREAD=REFERENCES and THREAD=ORDEREDSUBJECT (RFC 5256 §3).
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "mail/message/envelope.h"

struct thread_item {
	uint32_t number;		/* what is printed: sequence number or UID */
	uint32_t order;			/* sequence number: breaks ties */
	int64_t date_s;			/* sent date in UTC, INTERNALDATE when there is none */
	struct slice subject;		/* base subject key (subject.h) */
	bool is_reply;			/* as subject_base said */
	struct slice msgid;		/* empty: none */
	const struct slice *refs;	/* References, or the first id of In-Reply-To */
	uint32_t ref_count;
};

/* Fill subject, msgid, refs and date from an envelope; number and order are the caller's. False: arena full. */
MUST_USE bool thread_item_fill(struct arena *arena, struct thread_item *item, const struct envelope *env,
			       int64_t arrival_s);

/*
 * Append the thread response's lists, "(2)(3 6 (4 23)(44 7 96))", without "* THREAD ". items are in ascending
 * order of `order`. O(n log n) in items plus references; loops among references are harmless; no recursion. False when the
 * arena is full (out is then incomplete).
 */
MUST_USE bool thread_references(struct arena *arena, const struct thread_item *items, size_t count, struct buf *out);
MUST_USE bool thread_orderedsubject(struct arena *arena, const struct thread_item *items, size_t count,
				    struct buf *out);
