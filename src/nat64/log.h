/*
 * From an event of the programs to a line of the log. Which events the programs send is the settings' `log` (a flag in struct xlat_config);
 * here all that come are written.
 *
 *	nat64.block: port block taken subscriber=2001:db8:7::/64 address=192.0.2.1 ports=1024-1535 at_ms=1764012345678
 *
 * One line for a block of hundreds of ports is what makes a provider's duty to tell who used an address (RFC 6888 REQ-12) bearable;
 * destinations are in lines of sessions only. These lines have no budget (event_record).
 */
#pragma once
#include "base/event.h"
#include "nat64/core/state.h"

struct nat64_log {
	struct event *ev;		/* the instance's: has its name as a field */
	int64_t clock_offset_ns;	/* from CLOCK_MONOTONIC to real time */
	uint32_t subscriber_bits;
	bool none;			/* the settings' `log` is none: the programs tell of port blocks all the same */
};

/* ev is borrowed. */
void nat64_log_init(struct nat64_log *log, struct event *ev, uint32_t subscriber_bits);
/* True: it was an event that belongs into a log. Others (probes, traces) are the caller's. */
bool nat64_log_event(const struct nat64_log *log, const struct xlat_event *e);
