/*
 * All rings of a directory together, for the role `audit` and for people: new ones are found, records come by time.
 */
#pragma once
#include "policy/audit_log.h"

struct policy_rings;			/* opaque */
struct policy_table;

/* dir: RUN/audit, which stays the caller's. newest: sequence up to which the records of a ring are known; NULL: none is. */
MUST_USE int policy_rings_open(int dir, uint64_t (*newest)(void *arg, uint16_t ring), void *arg, struct policy_rings **out, struct errmsg *why);
void policy_rings_close(struct policy_rings *rings);
/* What is new in all rings, by time; e->lost counts those of its ring that were missed before it. 0; -ECANCELED: fn said stop; other errno. */
MUST_USE int policy_rings_read(struct policy_rings *rings, const struct policy_table *t, bool (*fn)(void *arg, const struct policy_entry *e), void *arg);
