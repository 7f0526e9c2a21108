/*
 * Live packets of a device, as its dispatcher samples them into the ring `trace`: for `prickle spine
 * trace` and for comparing versions. One reader at a time; when it ends, sampling is as before.
 */
#pragma once
#include "base/slice.h"
#include "spine/device.h"

struct spine_trace;

/*
 * Begin: every packet (every == 1) or one in `every`, a power of two. 0; -EBUSY: somebody else traces
 * this device; or a negative errno with a sentence. A reader that was killed leaves the sampling on
 * until the next one ends; it costs some 30 ns a sampled packet.
 */
MUST_USE int spine_trace_open(struct spine_device *d, uint32_t every, struct spine_trace **out, struct errmsg *why);
void spine_trace_close(struct spine_trace *t);

/* A sampled packet: `frame` is what was captured of it, borrowed during the call. 0 goes on; a negative errno ends the reading. */
typedef int spine_trace_each(void *arg, const struct spine_trace_record *record, struct slice frame);
/* Wait up to timeout_ms for packets and hand them on. How many, or a negative errno (-EINTR: a signal), or what `each` returned. */
MUST_USE int spine_trace_read(struct spine_trace *t, int timeout_ms, spine_trace_each *each, void *arg);
/* Samples that found no room since the begin. */
uint64_t spine_trace_lost(const struct spine_trace *t);
