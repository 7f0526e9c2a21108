#include "spine/confine.h"

#include <linux/capability.h>

#include "sys/sandbox.h"

#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF	    39
#endif

/*
 * BPF: programs and maps. NET_ADMIN: XDP programs, attaching. PERFMON: full verifier powers for the
 * dispatcher and for vetted extensions.
 */
const uint64_t spine_capabilities = 1ull << CAP_BPF | 1ull << CAP_NET_ADMIN | 1ull << CAP_PERFMON;

int spine_confine(struct errmsg *why)
{
	struct sandbox box = { .flags = SANDBOX_BPF, .capabilities = spine_capabilities };
	struct sandbox_report report;

	return sandbox_apply(&box, &report, why);
}
