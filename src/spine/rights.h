/*
 * What the policy gives to an extension on a device: the one door. Whoever wants to know what an extension may do asks spine_rights_find().
 *
 * Subject: the domain of kind ebpf that fits best (name, signer, SHA-256 of the object). Objects: the device's port label, the labels of other ports,
 * handlers by name. The verdicts are permissions on the device's port; forward on others is the list of ports; `use` rules are the link-time
 * sets; `limit` the budgets. A signer that a domain names makes the object vetted.
 */
#pragma once
#include <net/if.h>

#include "base/arena.h"
#include "base/buf.h"
#include "policy/store.h"
#include "spine/inspect/inspect.h"
#include "spine/spine_limits.h"

#define RIGHTS_PORTS_MAX 64
#define RIGHTS_DEFAULT_INSTRUCTIONS 20000u
#define RIGHTS_DEFAULT_MEMORY_BYTES (UINT64_C(16) << 20)

struct spine_rights {
	const char *subject;		/* "router.router", or "" (unknown: nothing is allowed) */
	uint32_t number;		/* of the subject in the table; 0: unknown */
	bool attach;			/* to this device */
	uint32_t verdicts;		/* enum spine_verdicts; ABORTED is always in it: it tells a failure */
	char ports[RIGHTS_PORTS_MAX][IFNAMSIZ];
	size_t port_count;
	uint64_t helpers[INSPECT_HELPER_WORDS];
	uint64_t revocable[INSPECT_HELPER_WORDS];	/* of those: checked at run time */
	const char *const *kfuncs;	/* NULL-ended, never NULL */
	uint64_t map_types;
	const char *const *handlers;	/* that it may offer; NULL-ended; {"*"}: all */
	uint32_t instructions_max, cpu_permille;
	uint64_t memory_bytes_max;
	bool terminal, unbounded, tail_calls;
	bool vetted;			/* signed by a key that its domain names */
	int64_t trial_until;		/* seconds since 1970; 0: none */
	const char *from;		/* "FILE:LINE" of the domain, or "shipped policy": for refusals */
	const char *file;		/* where to write what is missing, and how: for refusals */
};

/* The policy in force of a store, parsed, for several questions. In the arena. */
struct spine_policy_view;
MUST_USE int spine_policy_view_load(struct arena *arena, struct policy_store *store, const struct spine_policy_view **out, struct errmsg *why);
MUST_USE int spine_rights_find(struct arena *arena, const struct spine_policy_view *view, const char *device, const char *name,
			       const uint8_t signer[32], const uint8_t sha256[32], const struct spine_rights **out, struct errmsg *why);

/*
 * The copy of the policy in the kernel: all extensions of all devices of the netns (and others whose devices we find pinned), told what they
 * may from now on: rows for injected checks, ports, verdicts; an extension that lost a link-time right is switched off (state disabled, the
 * reason names the rule). For policy_copy.update; arg is a struct spine_policy_copy.
 */
struct spine_policy_copy {
	const char *directory;		/* the store's: only extensions that were installed under it */
	uint32_t narrowed, widened, disabled;	/* out: how many */
};
MUST_USE int spine_policy_update(void *arg, const struct policy *p, const struct policy_table *t, bool widen, struct errmsg *why);
