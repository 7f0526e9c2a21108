/*
 * From an object file to programs and maps in the kernel: inspected, allowed by the policy, in the device's class,
 * by the tier that the signature earns.
 *
 * Tiers: *vetted* (Ed25519 signature over the object, of a key that its domain names) is loaded with
 * full verifier powers; *untrusted* by a helper process without CAP_PERFMON and CAP_SYS_ADMIN, in a
 * memory control group of its own, so that the kernel applies its Spectre and pointer-leak rules and a
 * hard memory limit; *adopted* was loaded by its owner and is only placed (spine/device.h).
 *
 * A signature is a file beside the object, OBJECT.sig: 32 bytes of key, 64 bytes of signature over
 * "prickle-spine-1\0" and the whole object (the manifest is in it).
 *
 * Upgrades. Maps of the version that runs are used again by name when the manifest's state_id is equal
 * and type, sizes, flags and BTF types of key and value are the same; .rodata and spine_ports are always new. Where
 * that does not hold, an object may have a program SEC("syscall") spine_migrate: its maps named
 * old_NAME are then the old version's NAME (if they fit each other), and it runs once, before the new version
 * gets its first packet; a result other than 0 stops the upgrade. What changes in the old maps after
 * that is not carried over.
 *
 * Channels (prickle/spine_messages.h): channel 0 is the object; for each further one spine_call and spine_drain
 * are loaded again with maps spine_inbox, spine_channel and spine_region of their own.
 */
#pragma once
#include "spine/inspect/inspect.h"
#include "spine/rights.h"
#include "spine/spine_limits.h"

#define SPINE_SECRET_BYTES    64u
#define SPINE_SIGNATURE_BYTES 96u

enum spine_tier { TIER_UNTRUSTED, TIER_VETTED, TIER_ADOPTED };
const char *spine_tier_name(enum spine_tier tier);

/* What dispatcher and slot programs of a device must share; the kernel insists. */
struct spine_class {
	bool frags;
	uint32_t attach_type;		/* BPF_XDP or 0 */
};

struct old_maps;			/* opaque */

struct load_request {
	struct slice object;		/* the file's bytes */
	const struct object *parsed;
	struct slice signature;		/* of OBJECT.sig; len 0: none */
	const struct spine_policy_view *policy;
	const char *device;		/* whose port label counts */
	const char *name;		/* under which it is installed */
	struct spine_class class;
	bool accept_unbounded;
	/*
	 * Directory in bpffs that holds the maps of the version that runs, -1: none. Maps whose layout and
	 * BTF match and whose state_id is equal are used again; else the new version's `migrate` handler
	 * gets the old ones, or it starts empty and *loaded says so.
	 */
	int old_maps_dir;
	const struct old_maps *old_maps;	/* spine_load_old_maps has read them; NULL: they are read now */
	uint32_t old_state_id;		/* of the version that runs */
	int netns;			/* the device's network namespace; <= 0: the caller's */
	int keeper;			/* of spine_load_keeper when CAP_SYS_ADMIN was given up; <= 0: none */
	const struct spine_rights **judged;	/* NULL, or gets what it was judged by, on a refusal, too */
	struct buf *log;		/* NULL, or gets the whole log of the verifier on a refusal */
};

struct loaded_map {
	char name[LOAD_MAP_NAME_BYTES];	/* as in the object; ".bss", ".rodata" ... for its sections */
	uint32_t channel;		/* > 0: that channel's own */
	int fd;
	bool reused;
};

struct loaded {
	enum spine_tier tier;
	uint8_t signer[32];
	uint8_t digest[32];		/* SHA-256 of the object */
	int entry_fd;			/* the XDP program */
	int call_fd[LOAD_CHANNELS_MAX], drain_fd[LOAD_CHANNELS_MAX];	/* SYSCALL programs, one pair a channel; -1: none */
	size_t channel_count;
	int migrate_fd;			/* or -1 */
	int egress_fd;			/* runs behind spine_ports; or -1 */
	struct loaded_map *maps;
	size_t map_count;
	struct inspect_report report;	/* lives in the request's arena */
	bool state_kept, state_dropped;
	uint64_t memory_bytes;		/* of maps and programs, as the kernel counts */
	bool memory_limited;		/* it has a memory control group */
	const struct spine_rights *rights;	/* under which it was loaded; in the request's arena. NULL: for a test */
	uint64_t guarded[INSPECT_HELPER_WORDS];	/* helpers whose calls are checked at run time */
	uint32_t checks;		/* that were put in */
};

/*
 * Inspect and load. 0; -EPERM: refused, *findings has every reason for people (and *report for --json);
 * -EINVAL, -E2BIG: the kernel refused it, `why` has the end of its log with source lines; others: the system
 * failed. The caller ends with loaded_free, which closes the descriptors. Not for threads: it forks.
 */
MUST_USE int spine_load(struct arena *arena, const struct load_request *request, struct loaded **out,
			struct inspect_report *report, struct errmsg *why);
void loaded_free(struct loaded *l);
/*
 * Pin programs and maps below a directory of bpffs: prog, egress, call-N, drain-N, maps/NAME; maps of channels above 0 are
 * maps/NAME-N, sections (".data.x") maps/section-data-x. 0 or negative errno.
 */
MUST_USE int loaded_pin(const struct loaded *l, int dir, struct errmsg *why);

/*
 * Load without asking the policy, for tests of an extension by its author: nothing of it may be attached.
 * tier is how strictly the kernel looks. The report is the inspector's under all rights.
 */
MUST_USE int spine_load_for_test(struct arena *arena, const struct load_request *request, enum spine_tier tier,
				 struct loaded **out, struct errmsg *why);

/*
 * Read the maps of the version that runs. The kernel shows their types to CAP_SYS_ADMIN alone, so a process that gives it
 * up does this before. dir -1: there are none. Owned by the caller.
 */
MUST_USE int spine_load_old_maps(int dir, struct old_maps **out, struct errmsg *why);
void spine_load_old_maps_free(struct old_maps *m);	/* NULL does nothing */

/*
 * Before a process gives up CAP_SYS_ADMIN: a helper process that marks memory control groups for it. Returns
 * a socket for load_request.keeper; the helper ends when it is closed.
 */
MUST_USE int spine_load_keeper(struct errmsg *why);

/* Sign an object: writes key and signature. The key file holds libsodium's secret key. 0 or -ENOMEM. */
MUST_USE int spine_sign(struct slice object, const uint8_t secret[SPINE_SECRET_BYTES],
			uint8_t out[SPINE_SIGNATURE_BYTES]);
/* 0 and *key, -EBADMSG: not signed by that key, or -ENOMEM. */
MUST_USE int spine_verify(struct slice object, struct slice signature, uint8_t key[32]);
