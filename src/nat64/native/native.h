/*
 * The native home: the core compiled for the host, with its tables in memory.
 *
 * For unit tests on RFC vectors (the clock is a field), fuzzing, the differential test against the BPF programs (same clock, same
 * seed, same tables: same bytes), and for `explain` without a running instance. The daemon's slow path does not use its tables: it
 * asks the programs (core/call.h).
 */
#pragma once
#include "base/errmsg.h"
#include "base/slice.h"
#include "nat64/core/call.h"
#include "nat64/core/xlat.h"

struct xlat_native;			/* opaque */

struct xlat_native_sizes { uint32_t sessions, bibs, subscribers, fragments; };

/* Tables for a configuration (copied). 0 or -ENOMEM. */
MUST_USE int xlat_native_new(const struct xlat_config *config, const struct xlat_native_sizes *sizes, struct xlat_native **out);
void xlat_native_free(struct xlat_native *n);
/*
 * Another processor on the same tables, for a thread of its own: it has its own counters and random numbers and keeps no
 * events. It is freed before `of`. 0 or -ENOMEM.
 */
MUST_USE int xlat_native_processor(struct xlat_native *of, uint64_t seed, struct xlat_native **out);
/* Another configuration, sessions kept: what `apply` does. 0, or -ENOMEM: the old one holds. */
MUST_USE int xlat_native_configure(struct xlat_native *n, const struct xlat_config *config);
/* Explicit mappings of the current configuration. 0, -ENOMEM, -EEXIST. */
MUST_USE int xlat_native_eam(struct xlat_native *n, const struct xlat_eam *eam);

/* Turn the clock (ns since some start) and set the seed of random numbers. */
void xlat_native_clock(struct xlat_native *n, uint64_t ns);
void xlat_native_seed(struct xlat_native *n, uint64_t seed);
struct xlat_control *xlat_native_control(struct xlat_native *n);
const struct xlat_stats *xlat_native_stats(const struct xlat_native *n);

/* Copy the first bytes of an IP packet to x and zero the rest; flags, mark and ifindex are the caller's to set after. */
void xlat_native_begin(struct xlat_native *n, struct xlat *x, struct slice packet);
/* xlat_plan; xlat_fit; a call as the SYSCALL program would do it (PLAN on `desk_packet`). */
int xlat_native_plan(struct xlat_native *n, struct xlat *x);
int xlat_native_fit(struct xlat_native *n, struct xlat *x, uint32_t mtu);
int xlat_native_call(struct xlat_native *n, struct xlat_call *call, struct xlat *desk_packet);
/* The whole walk, once round. */
void xlat_native_walk(struct xlat_native *n);

/* Events so far, oldest first; at most 4096 are kept. Returns whether there was one. */
bool xlat_native_event(struct xlat_native *n, struct xlat_event *out);
/* Consistency of all tables with each other, for tests: every session has its mapping, counts agree, no slot is lost. -EBADMSG with a sentence. */
MUST_USE int xlat_native_verify(struct xlat_native *n, struct errmsg *why);
