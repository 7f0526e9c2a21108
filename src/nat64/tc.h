/*
 * Programs on tc: clsact filters of interfaces, ours alone.
 *
 * A filter of ours has priority NAT64_TC_PRIORITY and carries the name "prickle-nat64:INSTANCE", by which it is found again;
 * its handle is the kernel's choice. So instances share an interface, other people's filters stay, and a filter that
 * somebody else put at our priority is never touched. The programs return TC_ACT_UNSPEC for what is not theirs: filters behind
 * them see it.
 *
 * Everything here acts in the network namespace of the calling thread.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/errmsg.h"

#define NAT64_TC_PRIORITY 64u

enum nat64_tc_way { NAT64_TC_IN, NAT64_TC_OUT };

/*
 * Have the program run on what comes in by (goes out of) the interface. A filter that the instance has there already is
 * replaced in place: no packet passes in between without one. The filter keeps a reference to the program. The clsact qdisc
 * is made where there is none. 0; -ENODEV; -EPERM; other negative errno.
 */
MUST_USE int nat64_tc_attach(const char *instance, uint32_t ifindex, enum nat64_tc_way way, int program_fd, struct errmsg *why);
/* Take the instance's filter away; 0 also when there is none. The qdisc goes with the last filter, if no other filter is on it. */
MUST_USE int nat64_tc_detach(const char *instance, uint32_t ifindex, enum nat64_tc_way way, struct errmsg *why);
/* Number of the program that runs there for the instance; -ENOENT: none. */
MUST_USE int nat64_tc_query(const char *instance, uint32_t ifindex, enum nat64_tc_way way, uint32_t *program_id, struct errmsg *why);
