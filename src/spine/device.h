/*
 * A network device with its extensions: everything is pinned in bpffs, so this is a view that any
 * command opens, changes under a lock, and closes; traffic needs none of us.
 *
 *	/sys/fs/bpf/prickle/spine/<netns cookie>/<ifindex>/
 *	  device		array map of one struct spine_meta
 *	  alive			device map with this interface: the kernel empties it when the interface goes
 *	  link			the bpf_link by which we are attached, ours or taken over; absent: by netlink
 *	  before		the program that was attached before us and returns at the end; absent: none
 *	  control stats slots trace	maps of spine/code/layout.h
 *	  gen-<n>/prog		dispatchers; the one that is attached is the truth
 *	  ext/<name>/record	array map of one struct spine_record
 *	  ext/<name>/policy	array map of one struct spine_place, of those that we loaded
 *	  ext/<name>/prog call-<k> drain-<k> maps/<map> object
 *	  next/<name>/		the same, of a version that is coming or going (spine_replace)
 *	  sets/<name>		LPM maps of `set NAME`
 *
 * bpffs is the one of the *host's* mount namespace (spine/host.h): `ip netns exec` hides /sys/fs/bpf. The lock is a
 * flock on the directory. A change writes records first and ends with one atomic step - a link or
 * netlink replacement with the expected program, or one write to `slots` - so that an end in between leaves the old
 * state; the next command removes what no dispatcher refers to.
 *
 * A record of generation g is in force when the dispatcher that is attached has that number or a higher
 * one; one that is removed by generation g is gone from then on. Of two versions of an extension in one
 * slot, the one that the slot holds is in force.
 */
#pragma once
#include <net/if.h>

#include "spine/attach.h"
#include "spine/code/layout.h"
#include "spine/load.h"
#include "spine/row.h"

#define SPINE_RECORD_ABI 1u

enum spine_source { SOURCE_INSTALLED, SOURCE_ADOPTED, SOURCE_TAKEN_OVER };

struct spine_record {
	uint32_t abi, slot;
	char name[SPINE_NAME_BYTES], version[SPINE_VERSION_BYTES], match[SPINE_MATCH_BYTES];
	uint32_t source, tier;		/* enum spine_source, enum spine_tier */
	uint32_t order;
	uint32_t terminal, fail_closed, redirects, tail_calls;
	uint64_t sequence;		/* of installation on this device: orders equals */
	uint32_t verdicts, continues;
	uint32_t prog_id, spare_id;
	uint64_t generation;		/* the dispatcher from which on it runs */
	uint64_t removed_generation;	/* 0: it stays */
	uint64_t cost;			/* INSPECT_UNBOUNDED: accepted by the operator */
	uint64_t memory_bytes;
	uint64_t installed_at_s, replaced_at_s;	/* CLOCK_REALTIME; 0: never */
	uint32_t replaced, state_id;
	uint32_t channels, handlers;
	uint8_t digest[32], signer[32];
	uint32_t cpu_permille;
	uint32_t by_operator;		/* enum spine_by_operator */
	uint32_t patient;		/* adopt_request.patient */
	uint32_t spare[13];
};

/* What a person decided instead of the manifest: a replace keeps it. */
enum spine_by_operator { OPERATOR_ORDER = 1 << 0, OPERATOR_TERMINAL = 1 << 1, OPERATOR_UNBOUNDED = 1 << 2 };

/* What an installed extension has from the policy, beside its record. */
struct spine_place {
	uint32_t abi;			/* SPINE_RECORD_ABI */
	uint32_t checks;		/* that were put into its code */
	uint64_t epoch;			/* under which it was loaded or updated last */
	uint64_t guarded[INSPECT_HELPER_WORDS];	/* helpers that are checked at run time */
	char directory[1024];		/* of the store; "": the host's */
	char reason[512];		/* not empty: the policy took a right that it cannot run without, and switched it off */
};

/* What all extensions of a device share. */
struct spine_meta {
	uint32_t abi;			/* SPINE_RECORD_ABI */
	uint32_t frags, attach_type;	/* struct spine_class */
	uint32_t kind, mode;		/* enum attach_kind, attach_mode: how we are attached */
	uint32_t foreign_link;		/* `link` belongs to somebody else */
	uint64_t generation;		/* at least this one was attached; 0: none ever was */
	uint64_t sequence;		/* of the last installation */
	char name[IFNAMSIZ];		/* when it was opened last */
	uint32_t spare[16];
};

struct spine_device;			/* opaque */

/* Where commands act. */
struct spine_where {
	const char *device;		/* interface name */
	const char *netns;		/* of `ip netns`, or NULL: the caller's */
	const char *policy;		/* directory of the store (policy/store.h); NULL: that of the installed extension, else the host's */
	enum attach_mode mode;		/* when nothing is attached yet */
};

/*
 * Opening for a change makes the directory and takes the lock (waits up to 10 s); for a look it
 * does neither. From open to close this thread is in the device's network namespace.
 */
enum spine_open_mode { SPINE_LOOK, SPINE_CHANGE };
/* 0; -ENODEV: no such interface; -ENOENT (SPINE_LOOK): it has no extensions; -EOPNOTSUPP: kernel; ... with a sentence. */
MUST_USE int spine_device_open(const struct spine_where *where, enum spine_open_mode mode,
			       struct spine_device **out, struct errmsg *why);
void spine_device_close(struct spine_device *d);
/* The device's network namespace as a descriptor (borrowed), its index, its directory in bpffs (borrowed). */
int spine_device_netns(const struct spine_device *d);
uint32_t spine_device_ifindex(const struct spine_device *d);
const char *spine_device_name(const struct spine_device *d);
const struct spine_meta *spine_device_meta(const struct spine_device *d);
/* What a change did that people should know (generic mode, a program taken over, state lost), or "". */
const char *spine_device_notice(const struct spine_device *d);
/* Whether our dispatcher is attached; else *reason says in half a sentence what is the matter. */
bool spine_device_running(const struct spine_device *d, const char **reason);
int spine_device_dir(const struct spine_device *d);
/* Mapped memory of the device, valid until close; NULL before its first extension. */
struct spine_control *spine_device_control(const struct spine_device *d);
const struct spine_cpu_stats *spine_device_stats(const struct spine_device *d, uint32_t *cpus);

/* Every device of the host that has extensions, in all namespaces; one that has gone is cleaned up. */
struct spine_found {
	char netns[64];			/* its name for `ip netns`, "" when it has none */
	bool here;			/* in the network namespace of the caller */
	uint64_t netns_cookie;
	uint32_t ifindex;
	char name[IFNAMSIZ];		/* "" when the namespace cannot be entered from here */
};
MUST_USE int spine_device_scan(struct arena *arena, struct spine_found **out, size_t *count, struct errmsg *why);

/* Extensions in the order in which they run. The array lives until the next change or close. */
size_t spine_device_records(const struct spine_device *d, const struct spine_record *const **out);
const struct spine_record *spine_device_find(const struct spine_device *d, const char *name);
/* The object file that an installed extension was loaded from. 0, -ENOENT (adopted ones have none), or another negative errno with a sentence. */
MUST_USE int spine_device_object(const struct spine_device *d, const char *name, struct buf *out, struct errmsg *why);
/* What the policy in force says about an installed extension now; lives until close. 0, or a negative errno with a sentence. */
MUST_USE int spine_device_rights(struct spine_device *d, const char *name, const struct spine_rights **out, struct errmsg *why);
/* The policy that spine_device_rights has read; NULL before. */
const struct spine_policy_view *spine_device_view(const struct spine_device *d);
/* Calls and redirects of it that were refused while it ran: spine_row_refusals. 0; -ENOENT: it has no row. */
MUST_USE int spine_device_refusals(const struct spine_device *d, const char *name, struct row_refusal out[SPINE_POLICY_RECORDS], size_t *count,
				   uint64_t *ever);
/* 0; -ENOENT: adopted. */
MUST_USE int spine_device_place(const struct spine_device *d, const char *name, struct spine_place *out);
/* "active", "ejected", "disabled", "not-running" (the device is down, detached, or its slot lost its program); *reason: half a sentence or "". */
const char *spine_device_state(const struct spine_device *d, const struct spine_record *r, const char **reason);
/* The policy, and no person, switched it off. */
bool spine_device_by_policy(const struct spine_device *d, const struct spine_record *r);

/* A refusal names the rule, the program, the instruction and the source line; `findings` is complete. */
struct spine_change {
	struct arena *arena;
	struct inspect_report report;	/* filled on -EPERM and on success */
	uint64_t decision;		/* id of the first refusal in the audit, or 0 */
	struct errmsg why;
};

/*
 * `confine` in the requests: before the first byte of an object is looked at, give up for good all that the
 * rest of the change does not need: capabilities but CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, new
 * privileges, system calls that no loader makes (sandbox.h, SANDBOX_BPF). For one-shot commands.
 */
struct install_request {
	bool confine;
	struct slice object, signature;
	const char *name;		/* NULL: the manifest's */
	int64_t order;			/* -1: the manifest's */
	bool terminal;			/* the operator says so */
	bool accept_unbounded;
};
MUST_USE int spine_install(struct spine_device *d, const struct install_request *r, struct spine_change *c);

struct adopt_request {
	bool confine;
	int prog_fd;			/* borrowed */
	const char *name, *match;
	int64_t order;			/* -1: 1000 */
	uint32_t verdicts;		/* 0: PASS, DROP, ABORTED */
	uint32_t continues;		/* 0: PASS */
	bool terminal, fail_closed, accept_unbounded;
	uint32_t cpu_permille;
	bool redirect;			/* REDIRECT to all ports */
	/*
	 * Stalls and faults are counted and eject nothing: for programs without which the host's traffic ends, whose makers
	 * answer for their time. (A virtual machine that loses its processor for 64 ms looks like a stall.)
	 */
	bool patient;
};
MUST_USE int spine_adopt(struct spine_device *d, const struct adopt_request *r, struct spine_change *c);
/*
 * Another program in place of an adopted one, under its rule and its verdicts: one write to its slot.
 * -ENOENT: no such extension; -EXDEV: it redirects or makes tail calls and the old one does not (or the reverse), so
 * that the dispatcher must change: remove and adopt; else as spine_adopt.
 */
MUST_USE int spine_readopt(struct spine_device *d, const char *name, int prog_fd, bool accept_unbounded,
			   struct spine_change *c);

/* New version in the old one's slot: one write. Rolls back when spine_replace_watch sees faults rise. */
MUST_USE int spine_replace(struct spine_device *d, const char *name, const struct install_request *r,
			   struct spine_change *c);
/* Watch a replaced extension for milliseconds; more faults than before: the old version returns and -ECANCELED. */
MUST_USE int spine_replace_watch(struct spine_device *d, const char *name, uint32_t ms, struct spine_change *c);
/* Only the write to the slot, for programs that are loaded already (benchmarks, tests). */
MUST_USE int spine_swap(struct spine_device *d, const char *name, int prog_fd, struct errmsg *why);
/* The last one restores the device as it was found. -ENOENT: no such extension. */
MUST_USE int spine_remove(struct spine_device *d, const char *name, struct errmsg *why);
/* Switch off, or on again after an ejection. */
MUST_USE int spine_enable(struct spine_device *d, const char *name, bool on, struct errmsg *why);

/*
 * For tests: `step` is called between any two steps of a change, with the step's name. It may end the process.
 */
void spine_device_on_step(struct spine_device *d, void (*step)(void *arg, const char *name), void *arg);
