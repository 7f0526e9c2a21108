/*
 * The policy of a node: epochs on disk, the table in memory, rings of audit.
 *
 *	DIRECTORY/		/var/lib/prickle/policy, or policy.directory
 *	  keys/NAME.pub		who may sign epochs; none: root's word is enough
 *	  epochs/N/		policy.text (all sources in one, imports included), manifest (sizes, SHA-256, time, who), signature
 *	  current		a link to the epoch in force, replaced by rename
 *	  audit/		log of decisions, by the role `audit`
 *	RUN/			/run/prickle/policy for the directory above, else DIRECTORY/run
 *	  table			policy/table/image.h
 *	  audit/NAME.ring	policy/audit.h
 *	  lock
 *
 * An apply: parse, check never and expect, sign, write and sync the epoch, replace `current`, then intersection and new epoch in every copy (the
 * table first narrows, then copies in the kernel narrow, then the table widens, then they). A crash between leaves a narrower table, which the next
 * open completes. After a reboot the first who opens the store as root makes the table anew from `current`; without any epoch, from the shipped policy.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "policy/audit.h"
#include "policy/language/policy.h"
#include "policy/table/image.h"

#define POLICY_STORE_DEFAULT "/var/lib/prickle/policy"

struct policy_store;

enum policy_store_flags {
	POLICY_STORE_WRITE = 1,		/* may make what is missing, apply, make rings */
};
/* directory NULL: the default. -ENOENT: no table yet and not POLICY_STORE_WRITE; -EACCES; -EBADMSG: a table or epoch that is not sound. */
MUST_USE int policy_store_open(const char *directory, uint32_t flags, struct policy_store **out, struct errmsg *why);
void policy_store_close(struct policy_store *s);

const struct policy_table *policy_store_table(const struct policy_store *s);
/* A descriptor of the table that cannot be mapped writable, for another process; the caller closes it. */
MUST_USE int policy_store_table_fd(const struct policy_store *s, struct errmsg *why);
/* A ring by this name ("front 0"), made if needed; writable descriptor; the caller closes it. */
MUST_USE int policy_store_ring_fd(struct policy_store *s, const char *name, struct errmsg *why);
/* Map a table given as a descriptor. The mapping lives until the process ends. */
MUST_USE int policy_table_map(struct policy_table *out, int fd, struct errmsg *why);

/* An epoch's text, parsed: 0 is the one in force. The policy lives in the arena. */
MUST_USE int policy_store_policy(struct policy_store *s, struct arena *arena, uint64_t epoch, const struct policy **out, struct errmsg *why);
uint64_t policy_store_epoch(const struct policy_store *s);	/* in force; 0: shipped */

struct policy_epoch_info {
	uint64_t epoch;
	int64_t time_us;
	char who[64], note[128], signer[64];	/* signer: name of the key; "" unsigned */
	uint8_t sha256[32];
	bool in_force;
};
MUST_USE int policy_store_epochs(struct policy_store *s, struct arena *arena, struct policy_epoch_info **out, size_t *count, struct errmsg *why);

/*
 * Copies of the table elsewhere (rows of eBPF extensions). Told twice for each apply: first with widen false: take away what the new policy does
 * not allow; then with true. An error in the first call stops the apply, which goes back to the old policy; in the second it is told and left to
 * the next apply.
 */
struct policy_copy {
	int (*update)(void *arg, const struct policy *p, const struct policy_table *t, bool widen, struct errmsg *why);
	void *arg;
};

struct policy_apply {
	const char *file;		/* NULL with previous */
	bool previous;			/* go back to the epoch before the one in force (as a new epoch) */
	const uint8_t *secret_key;	/* 64 bytes, Ed25519; or NULL */
	struct slice signature;		/* or one that was made elsewhere: 32 bytes key, 64 bytes signature; empty: none */
	const char *who, *note;
	const struct policy_copy *copies; size_t copy_count;
	bool dry_run;
	/* Called with the changes before they happen; false: the user said no. May be NULL. */
	bool (*confirm)(void *arg, const struct policy *before, const struct policy *after);
	void *confirm_arg;
};
/*
 * 0 and the new epoch's number; -EINVAL: *errors has all mistakes and broken nevers and expectations; -EPERM: not signed by a key that counts;
 * -E2BIG; -EBUSY another apply runs; -ECANCELED confirm said no; other errno: what failed, and the old policy stands.
 */
MUST_USE int policy_store_apply(struct policy_store *s, const struct policy_apply *how, uint64_t *epoch, struct buf *errors, struct errmsg *why);

/* Sources from files below the directory of `path`, for policy_parse. Text lives in the arena. */
struct policy_files { struct arena *arena; };
int policy_import_file(void *arg, const char *from, const char *name, struct slice *text, struct errmsg *why);
MUST_USE int policy_load_file(struct arena *arena, const char *path, const struct policy **out, struct buf *errors, struct errmsg *why);

/*
 * Find a record by decision id in the rings and in the log. 0; -ENOENT.
 * And follow them all: fn for each record from `since_us` on, oldest first; returns when fn says false or, without `follow`, at the end.
 */
MUST_USE int policy_store_record(struct policy_store *s, uint64_t id, struct policy_record *out, struct errmsg *why);
struct policy_seen { uint64_t id; const char *ring; const struct policy_record *record; uint64_t lost; };
MUST_USE int policy_store_records(struct policy_store *s, int64_t since_us, bool follow, bool (*fn)(void *arg, const struct policy_seen *seen),
				  void *arg, struct errmsg *why);
