/* What reassembly holds: for reassemble.c, and for its test, which looks that nothing stays. */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "nat64/slow/reassemble.h"

struct reassembly {
	struct reassembly_limits limits;
	void (*count)(void *arg, enum xlat_reason reason);
	void *arg;
	struct map datagrams, sources;
	struct list ages;
	uint64_t bytes;
	int64_t retry_ms;		/* no datagram's turn comes before that */
};
