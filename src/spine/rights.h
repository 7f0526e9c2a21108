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

struct spine_rights {
	const char *name;		/* of the extension */
	const char *subject;		/* "router.router", or "" (unknown: nothing is allowed) */
	uint16_t index;			/* of the subject in the policy */
	uint32_t number;		/* of the subject in the table; 0: unknown, or the view has no table */
	bool attach;			/* to this device */
	uint32_t verdicts;		/* enum spine_verdicts; ABORTED is always in it: it tells a failure */
	char ports[RIGHTS_PORTS_MAX][IFNAMSIZ];
	size_t port_count;
	bool ports_any;			/* and all interfaces that are not in `labelled`: spine_rights_ports */
	const char *const *labelled;	/* interfaces that have a label of their own; NULL-ended, never NULL */
	uint64_t helpers[INSPECT_HELPER_WORDS];
	uint64_t revocable[INSPECT_HELPER_WORDS];	/* of those: checked at run time */
	bool redirect;			/* `use helper redirect`: bpf_redirect() as well, checked against the ports at run time */
	const char *label;		/* of the device, as a rule names it: "lan" */
	const char *const *kfuncs;	/* NULL-ended, never NULL */
	uint64_t map_types;
	bool xdp, syscall;		/* types of programs */
	const char *const *handlers;	/* that it may offer; NULL-ended; {"*"}: all but those in handlers_not */
	const char *const *handlers_not;
	uint32_t instructions_max, cpu_permille;	/* cpu_permille 0: no budget */
	uint64_t memory_bytes_max;
	bool terminal, unbounded, tail_calls;
	bool vetted;			/* signed by a key that its domain names */
	int64_t trial_until;		/* seconds since 1970; 0: none */
	bool own;			/* its domain names it; else it is one of many (any, a signer's) or unknown */
	const char *from;		/* "FILE:LINE" of the domain, or "shipped policy": for refusals */
	const char *file;		/* where to write what is missing, and how: for refusals */
};

/* The policy in force of a store, parsed, for several questions. */
struct spine_policy_view {
	const struct policy *policy;
	const struct policy_table *table;	/* NULL: numbers are 0 */
	uint64_t epoch;
	const char *directory;		/* the store's; NULL: the host's */
};
MUST_USE int spine_policy_view_load(struct arena *arena, struct policy_store *store, const char *directory, const struct spine_policy_view **out,
				    struct errmsg *why);
/*
 * signer, sha256: 32 bytes, or NULL. Everything that *out holds is in the arena or the policy. 0; -E2BIG: more ports or names than we keep; -ENOMEM.
 * O(rules).
 */
MUST_USE int spine_rights_find(struct arena *arena, const struct spine_policy_view *view, const char *device, const char *name,
			       const uint8_t signer[32], const uint8_t sha256[32], const struct spine_rights **out, struct errmsg *why);
bool spine_rights_offers(const struct spine_rights *r, const char *handler);
/*
 * The indices of the ports in the caller's network namespace; those that are not there are left out (one policy serves several namespaces).
 * ifindex has room for RIGHTS_PORTS_MAX. 0 and *count; -E2BIG: more ports than we keep.
 */
MUST_USE int spine_rights_ports(const struct spine_rights *r, uint32_t *ifindex, size_t *count, struct errmsg *why);
/* The statements that give something to the subject, in the order of the files. */
struct spine_rights_line { const char *place, *text; };	/* "router.policy:4:3", "allow router forward lan, wan" */
MUST_USE int spine_rights_lines(struct arena *arena, const struct spine_policy_view *view, const struct spine_rights *r,
				const struct spine_rights_line **out, size_t *count, struct errmsg *why);
/* "`allow router LINE` in module 'router' (FILE:LINE) would allow it; then ...": the end of a refusal's sentence. LINE by fmt. */
void spine_rights_hint(struct buf *out, const struct spine_rights *r, const char *statement, const char *fmt, ...) PRINTF_LIKE(4, 5);

/*
 * The copy of the policy in the kernel: all extensions of all devices of the netns (and others whose devices we find pinned), told what they
 * may from now on: rows for injected checks, ports, verdicts; an extension that lost a link-time right is switched off (state disabled, the
 * reason names the rule). For policy_copy.update; arg is a struct spine_policy_copy.
 */
struct spine_policy_copy {
	const char *directory;		/* the store's: only extensions that were installed under it; NULL: the host's */
	uint32_t narrowed, widened, disabled;	/* out: how many */
};
MUST_USE int spine_policy_update(void *arg, const struct policy *p, const struct policy_table *t, bool widen, struct errmsg *why);
