/*
 * A command gives up what it no longer needs before it looks at an object file that somebody else made.
 */
#pragma once
#include "base/errmsg.h"

/*
 * For good, for the whole process: keeps what the shipped policy gives the role 'spine' (CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON), without new
 * privileges, and ends the process on system calls that no loader makes. 0, or a negative errno after which
 * the process should end.
 */
MUST_USE int spine_confine(struct errmsg *why);
