/*
 * A command gives up what it no longer needs before it looks at an object file that somebody else made.
 */
#pragma once
#include <stdint.h>

#include "base/errmsg.h"

/* Bits of linux/capability.h that are kept. */
extern const uint64_t spine_capabilities;

/*
 * For good, for the whole process: keeps CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, without new
 * privileges, and ends the process on system calls that no loader makes. 0, or a negative errno after which
 * the process should end.
 */
MUST_USE int spine_confine(struct errmsg *why);
