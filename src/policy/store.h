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
 *	  audit/ID.NAME.ring	policy/audit.h; ID: 4 hexadecimal digits
 *	  told			hash of the table's content that copies elsewhere have
 *	  lock
 *
 * An apply: parse, check never and expect, sign, write and sync the epoch; the table narrows to what both allow, then copies in the kernel do;
 * `current` is replaced, which is the moment from which the new epoch stands; the table widens, then the copies. A crash leaves the old epoch, the
 * new one, or what both allow; the next open for writing then makes the table what `current` says. After a reboot the first who opens the store as
 * root makes the table anew from `current`; without any epoch, from the shipped policy.
 */
#pragma once
#include <sys/types.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "policy/audit.h"
#include "policy/audit_log.h"
#include "policy/language/policy.h"
#include "policy/table/image.h"

#define POLICY_STORE_DEFAULT "/var/lib/prickle/policy"

struct policy_store;
struct config;

#define POLICY_DIRECTORY_BYTES 4096u
/* Option policy.directory, or its default. -ENAMETOOLONG. */
MUST_USE int policy_store_configured(const struct config *config, char out[POLICY_DIRECTORY_BYTES]);
/* RUN of a directory (NULL: the default). -ENAMETOOLONG. */
MUST_USE int policy_store_run(const char *directory, char out[POLICY_DIRECTORY_BYTES]);

enum policy_store_flags {
	POLICY_STORE_WRITE = 1,		/* may make what is missing, apply, make rings */
	POLICY_STORE_REPAIR = 2,	/* with WRITE: the epoch in force may be unsound (all is denied then), since an apply will replace it */
	POLICY_STORE_RINGS = 8,		/* without WRITE: may make rings all the same, as root */
	POLICY_STORE_NOW = 4,		/* with WRITE: do not wait for who changes the store or holds it */
};
/*
 * directory NULL: the default. -ENOENT: no table yet (since the start of the machine) and not POLICY_STORE_WRITE; -EACCES; -EPERM: others may write
 * to the directory; -EBADMSG: a table or epoch that is not sound; -EBUSY: POLICY_STORE_NOW.
 */
MUST_USE int policy_store_open(const char *directory, uint32_t flags, struct policy_store **out, struct errmsg *why);
void policy_store_close(struct policy_store *s);

const struct policy_table *policy_store_table(const struct policy_store *s);
/* A descriptor of the table that cannot be mapped writable, for another process; the caller closes it. */
MUST_USE int policy_store_table_fd(const struct policy_store *s, struct errmsg *why);
/* A ring by this name ("front 0"), made if needed; writable descriptor; the caller closes it. */
MUST_USE int policy_store_ring_fd(struct policy_store *s, const char *name, struct errmsg *why);
/*
 * Make DIRECTORY/audit and RUN/audit, and give them to the role that keeps the log: it writes the one and reads rings in the other. uid -1: to
 * nobody, since all roles are who we are.
 */
MUST_USE int policy_store_audit_directories(struct policy_store *s, uid_t uid, struct errmsg *why);
/* Map a table given as a descriptor. The mapping lives until the process ends. */
MUST_USE int policy_table_map(struct policy_table *out, int fd, struct errmsg *why);

/* An epoch's text, parsed: 0 is the one in force. The policy lives in the arena. */
MUST_USE int policy_store_policy(struct policy_store *s, struct arena *arena, uint64_t epoch, const struct policy **out, struct errmsg *why);
uint64_t policy_store_epoch(const struct policy_store *s);	/* in force; 0: shipped */
/*
 * Until the store is closed no apply begins: for who reads the policy and then does something that an apply would otherwise have to find. As root. 0;
 * -EBUSY: one is at work.
 */
MUST_USE int policy_store_hold(struct policy_store *s, struct errmsg *why);

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
/*
 * Tell these copies, as the second call of an apply does, unless they have what is in force: after an upgrade of the program that ships another
 * policy, or an apply that crashed. As root, with nothing locked that an apply may want. 0; -EBUSY: an apply is at work and tells them; other errno.
 */
MUST_USE int policy_store_tell(const char *directory, const struct policy_copy *copies, size_t count, struct errmsg *why);

struct policy_apply {
	const char *file;		/* NULL with previous */
	bool previous;			/* go back to the epoch before the one in force (as a new epoch) */
	const uint8_t *secret_key;	/* 64 bytes, Ed25519; or NULL */
	struct slice signature;		/* or one that was made elsewhere: 32 bytes key, 64 bytes signature; empty: none */
	const char *who, *note;
	const struct policy_copy *copies; size_t copy_count;
	bool dry_run;
	/* Called with the changes before they happen (before: NULL when it is unsound); false: the user said no. May be NULL. */
	bool (*confirm)(void *arg, const struct policy *before, const struct policy *after);
	void *confirm_arg;
	/* For tests: called after each step, with its number from 0 on. */
	void (*step)(void *arg, unsigned step);
	void *step_arg;
};
#define POLICY_APPLY_STEPS 8u
/*
 * 0 and the new epoch's number, or that of the one in force when the text is the same: no new one is made then, and nobody is asked (*errors may then
 * have warnings); -EINVAL: *errors has all mistakes and broken nevers and expectations; -EPERM: not signed by a key that counts;
 * -E2BIG; -EBUSY another apply runs; -ECANCELED confirm said no; other errno: what failed, and the old policy stands.
 */
MUST_USE int policy_store_apply(struct policy_store *s, const struct policy_apply *how, uint64_t *epoch, struct buf *errors, struct errmsg *why);

/* Sources from files below the directory of `path`, for policy_parse. Text lives in the arena. */
struct policy_files { struct arena *arena; };
int policy_import_file(void *arg, const char *from, const char *name, struct slice *text, struct errmsg *why);
/* As policy_parse; a file that cannot be read is told of in *errors, too. */
MUST_USE int policy_load_file(struct arena *arena, const char *path, const struct policy **out, struct buf *errors, struct errmsg *why);

/* What is to be signed elsewhere for policy_apply.signature (Ed25519): of this file with its imports, or of an epoch's text. */
#define POLICY_SIGNED_BYTES 49u
MUST_USE int policy_file_signed_bytes(const char *file, uint8_t out[POLICY_SIGNED_BYTES], struct buf *errors, struct errmsg *why);

/* Keys that may sign epochs: keys/NAME.pub. add: -EEXIST; remove: -ENOENT; both: -EINVAL for a name of other than letters, digits, "-", "_" and ".". */
struct policy_key { char name[64]; uint8_t public[32]; };
MUST_USE int policy_store_keys(struct policy_store *s, struct arena *arena, struct policy_key **out, size_t *count, struct errmsg *why);
MUST_USE int policy_store_key_add(struct policy_store *s, const char *name, const uint8_t public[32], struct errmsg *why);
MUST_USE int policy_store_key_remove(struct policy_store *s, const char *name, struct errmsg *why);

/*
 * Find a record by decision id in the rings and in the log. 0; -ENOENT.
 * And follow them all: fn for each record from `since_us` on, oldest first; returns when fn says false or, without `follow`, at the end.
 */
MUST_USE int policy_store_record(struct policy_store *s, uint64_t id, struct policy_entry *out, struct errmsg *why);
struct policy_seen { uint64_t id; const char *ring; const struct policy_record *record; uint64_t lost; const struct policy_entry *entry; };
MUST_USE int policy_store_records(struct policy_store *s, int64_t since_us, bool follow, bool (*fn)(void *arg, const struct policy_seen *seen),
				  void *arg, struct errmsg *why);
