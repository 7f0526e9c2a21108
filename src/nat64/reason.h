/*
 * What people read about a translator's state: names and sentences of reasons and verdicts, which ports are in use.
 */
#pragma once
#include "nat64/instance.h"

const char *nat64_verdict_name(unsigned verdict);	/* "translated", "dropped", ... */
const char *nat64_reason_name(unsigned reason);		/* "hop-limit" */
const char *nat64_reason_sentence(unsigned reason);
const char *nat64_reason_source(unsigned reason);	/* "RFC 7915 4.1, 5.1", or "" */
const char *nat64_step_text(unsigned step);		/* with its %; see core/steps.def */
const char *nat64_tcp_state(unsigned state);
const char *nat64_class_name(unsigned port_class);	/* "tcp", "udp", "icmp" */

/* Counted by walking the slabs. 48 kB. */
struct nat64_usage {
	uint64_t sessions[XLAT_PORT_CLASSES];
	uint32_t ports[XLAT_POOL_ADDRESSES_MAX][XLAT_PORT_CLASSES];	/* by slot of the pool address: mappings */
	uint32_t statics;
};
MUST_USE int nat64_usage_look(struct nat64 *n, struct nat64_usage *out, struct errmsg *why);
