/*
 * The row of an extension (prickle/spine_policy.h): what injected checks read. Written in place, a word at a time, so a running program sees
 * each right as it was or as it is; a narrowing write takes bits away before it gives any.
 */
#pragma once
#include <prickle/spine_policy.h>

#include "spine/rights.h"

enum row_write {
	ROW_NEW,			/* nobody runs yet: all of it */
	ROW_NARROW,			/* take away what the rights do not have */
	ROW_WIDEN,			/* then all that they have, and the epoch */
};

/*
 * map: the array of one row. The ports are those of the caller's network namespace. 0; -EBADMSG: no row of this kind; -E2BIG: two ports in one
 * slot, with a sentence; negative errno. O(SPINE_POLICY_PORTS).
 */
MUST_USE int spine_row_write(int map, const struct spine_rights *r, uint64_t epoch, enum row_write how, struct errmsg *why);

/* A refusal that the row has kept, for people. */
struct row_refusal {
	uint64_t sequence, time_ns;	/* CLOCK_MONOTONIC */
	uint32_t function, insn;	/* of the object (object_parse), before checks were put in */
	uint32_t helper, object;
	bool trial;			/* let through by a trial */
};
/* Copies of the records, oldest first; count at most SPINE_POLICY_RECORDS, and how many there ever were. A record that is being written is left out. */
MUST_USE int spine_row_refusals(int map, struct row_refusal out[SPINE_POLICY_RECORDS], size_t *count, uint64_t *ever);
