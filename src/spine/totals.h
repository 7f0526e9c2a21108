/*
 * Counters of a device over all processors, and rates between two looks. The parts are written by the
 * dispatcher while we read: each number is whole, but they are not of one instant.
 */
#pragma once
#include "spine/code/layout.h"

struct spine_totals {
	uint64_t packets, verdict[5], faults[SPINE_FAULT_COUNT], skipped, samples, sampled_ns;
};

/* Sum one slot. O(cpus). */
void spine_totals(const struct spine_cpu_stats *stats, uint32_t cpus, uint32_t slot, struct spine_totals *out);
/* What happened between two looks; counters only grow, so a smaller one (a reset) gives 0. */
struct spine_totals spine_totals_since(const struct spine_totals *before, const struct spine_totals *now);
/* All faults but XDP_ABORTED within its grant and what a person did. */
uint64_t spine_totals_faults(const struct spine_totals *t);
/* Nanoseconds a packet, from the sampled ones; 0: none was sampled. */
double spine_totals_ns(const struct spine_totals *t);
/* "not-run", "stall", ... */
const char *spine_fault_name(enum spine_fault fault);
/* "aborted", "drop", "pass", "tx", "redirect"; "verdict" above. */
const char *spine_verdict_name(uint32_t verdict);
