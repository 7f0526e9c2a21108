/*
 * From a resolved policy to the content of a bank.
 *
 * Numbers: a label keeps the number that it has in `previous`, when name and definition are the same; others get the lowest number that no label
 * had since the image was made; numbers of labels that are gone stay retired. Number 0 is nobody. So the same policy after the same history
 * gives the same bytes.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "policy/language/policy.h"
#include "policy/table/image.h"

/*
 * Compile for an image of head's size. previous: the content of the bank in force, or empty. 0; -E2BIG with a sentence what does not fit and
 * how to get more; -EBADMSG: previous is not valid; -ENOMEM. Appended to out, which must be empty. 20,000 rules and 1,000 labels: some 10 ms. Policies with a broken `never` compile: policy/analysis decides.
 */
MUST_USE int policy_compile(struct arena *arena, const struct policy *p, uint64_t epoch, const struct policy_head *head,
			    struct slice previous, struct buf *out, struct errmsg *why);

/*
 * What both allow, under the labels of `newer`, which was compiled with `older` as previous and so keeps its numbers. For each permission:
 *
 *	allowed and x				x
 *	conditional and conditional		conditional by the predicates that both name; none: denied
 *	trial and trial				trial, until the earlier end
 *	trial and conditional			denied: a cell has no word for it
 *
 * Recorded is what either records. An edge is in both, with the ticket if either wants one, and for the shorter time. epoch is newer's, previous older's.
 *
 * To go back from an intersection compile the older policy anew with the intersection as previous: numbers that the newer one gave stay retired.
 * 0; -EBADMSG: a bank is not valid, or newer has fewer numbers than older; -EMSGSIZE, -ENOMEM of out.
 */
MUST_USE int policy_intersect(const struct policy_head *head, struct slice older, struct slice newer, struct buf *out, struct errmsg *why);

/* Number in the bank of a subject or object of the policy it was compiled from; 0: not there. O(labels). */
uint32_t policy_number_of(struct slice bank, const struct policy *p, bool object, uint16_t index);
