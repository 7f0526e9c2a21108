/*
 * The directory: which domains are ours, who lives there, and what else their names are.
 *
 * Stored in the engine as keys of 4096 objects "u.0".."u.4095"; a name's object is a fixed
 * SipHash of the name modulo 4096 (never the process's random hash: it is a place on disk).
 *	d<domain>	struct domain_record
 *	u<address>	struct user_record
 *	a<address>	struct alias_record; "a@<domain>" is the domain's catch-all
 *	s<uid>		address of the user who has this uid of the system, if its record says so, too
 *	x<account>	the account of a removed user, whose mail is still to be removed; in the object of
 *			that user's name, so that it comes with the removal in one operation
 *	l<account>	the lists of rights of its folders (shares.h)
 *	r<identifier>	whose lists name it
 * A user and an alias of the same address share an object, so "only one of them" is a guard.
 *
 * Only the auth role writes, and there is one, so what it caches stays true; writes carry guards
 * all the same, so that a lost answer followed by a repetition harms nothing.
 *
 * Calls block the fiber (engine). Names given to functions here are canonical (address.h) unless said
 * otherwise. Names above DIRECTORY_KEY_NAME_BYTES_MAX cannot be added, so they are absent.
 */
#pragma once
#include <stdbool.h>

#include "mail/directory/address.h"
#include "mail/directory/record.h"

struct directory;
struct engine;

enum dir_result {
	DIR_OK,
	DIR_ABSENT,			/* no such name; resolve: our domain, nobody there */
	DIR_NOT_LOCAL,			/* the domain is not ours */
	DIR_EXISTS,			/* the name is taken by a domain, a user or an alias */
	DIR_LOOP,			/* aliases that end nowhere, or over a limit of depth, visits or targets */
	DIR_CHANGED,			/* somebody else changed it meanwhile: read again */
	DIR_TOO_BIG,			/* record over a limit, or the arena is full */
	DIR_FULL,			/* no room on the disk; nothing was done */
	DIR_UNAVAILABLE,		/* the store is away; the outcome of a write is not known */
	DIR_DAMAGED,			/* stored bytes are no record */
};
/* "absent", "exists"...: for logs. */
const char *dir_result_name(enum dir_result r);

/* The engine is borrowed. separator: of sub-addresses, 0 for none. */
MUST_USE int directory_new(struct engine *e, char separator, struct directory **out);
void directory_free(struct directory *d);
/* From the next call on (configuration changed). */
void directory_set_separator(struct directory *d, char separator);

/*
 * Look one up. Slices of records are copies in the arena. OK, ABSENT, UNAVAILABLE, DAMAGED, TOO_BIG.
 * Microseconds when cached (found or known to be absent), else one engine read.
 */
enum dir_result directory_domain(struct directory *d, struct arena *arena, struct slice domain,
				 struct domain_record *out);
enum dir_result directory_user(struct directory *d, struct arena *arena, struct slice address,
			       struct user_record *out);
enum dir_result directory_alias(struct directory *d, struct arena *arena, struct slice address,
				struct alias_record *out);

/*
 * Add. EXISTS when the name is taken; NOT_LOCAL when the address's domain is not in the
 * directory (domains excepted). "@domain" is a good alias address.
 */
enum dir_result directory_domain_add(struct directory *d, struct slice domain,
				     const struct domain_record *r);
enum dir_result directory_user_add(struct directory *d, const struct address *a,
				   const struct user_record *r);
enum dir_result directory_alias_add(struct directory *d, struct slice address, struct slice domain,
				    const struct alias_record *r);

/*
 * Change: fn edits the record in place (its slices may point to anything that lives until
 * the call returns) and answers false to leave it. Repeated when a guard fails, so fn may run more
 * than once. ABSENT when there is none.
 */
enum dir_result directory_domain_change(struct directory *d, struct slice domain,
					bool (*fn)(void *arg, struct domain_record *r), void *arg);
enum dir_result directory_user_change(struct directory *d, struct slice address,
				      bool (*fn)(void *arg, struct user_record *r), void *arg);
enum dir_result directory_alias_change(struct directory *d, struct slice address,
				       bool (*fn)(void *arg, struct alias_record *r), void *arg);

/* Remove one. EXISTS: the domain still has users or aliases (reads all objects; rare). */
enum dir_result directory_domain_remove(struct directory *d, struct slice domain);
enum dir_result directory_alias_remove(struct directory *d, struct slice address);

/* An account whose user was removed and whose mail is not yet. */
struct dir_removed {
	uint32_t object;		/* where that is noted */
	char account[RECORD_ACCOUNT_CHARS + 1];
};
/* Remove a user and note the account, *removed, in one operation. */
enum dir_result directory_user_remove(struct directory *d, struct slice address,
				      struct dir_removed *removed);
/* Its mail is gone: forget it. Fine when it is forgotten already. */
enum dir_result directory_removed_done(struct directory *d, const struct dir_removed *removed);
/*
 * Up to max of them from *object on (0 at first), which is then where to go on; DIRECTORY_OBJECTS: the
 * end. *left becomes true when one object had more than fit: walk again when these are done, else it is
 * left as it was. Reads all objects of the directory: for starts.
 */
enum dir_result directory_removed(struct directory *d, uint32_t *object, size_t max,
				  struct dir_removed *out, size_t *count, bool *left);

/*
 * Who a user of the system is here: the one user whose record names this uid. *address and the record's slices are in the arena.
 * ABSENT: nobody.
 */
enum dir_result directory_system_user(struct directory *d, struct arena *arena, uint32_t uid, struct slice *address,
				      struct user_record *out);
/*
 * Before a user's record gets a uid: note it under the uid. EXISTS: another user has it. A note alone makes nobody anybody:
 * the record must say the same.
 */
enum dir_result directory_system_user_claim(struct directory *d, uint32_t uid, struct slice address);

enum dir_kind {
	DIR_DOMAIN = 'd',
	DIR_USER = 'u',
	DIR_ALIAS = 'a',
	DIR_SYSTEM_USER = 's',
	DIR_LISTS = 'l',		/* by account: shares.h */
	DIR_SHARED_WITH = 'r',		/* by identifier: shares.h */
};
/* Where a list goes on; start with zeros. The name is the last one given. */
struct dir_cursor {
	uint32_t object;
	char name[DIRECTORY_KEY_NAME_BYTES_MAX + 1];
};
/*
 * Up to max names of one kind, in the order of objects (no order for people: sort). domain: only
 * those at this domain when not empty. *count < max and *more false at the end. Names are in the arena.
 */
enum dir_result directory_list(struct directory *d, struct arena *arena, enum dir_kind kind,
			       struct slice domain, struct dir_cursor *cursor, size_t max,
			       struct slice *names, size_t *count, bool *more);

/* One user that an address stands for. Slices are in the arena. */
struct dir_target {
	struct slice address;		/* canonical address of the user */
	struct slice detail;		/* of user+detail; empty when none */
	struct user_record user;
	uint64_t quota_bytes;		/* own, else the domain's; 0: no limit */
	uint64_t quota_messages;
};
/*
 * Whom does an address stand for? In this order: a user or alias of exactly this name, the
 * user or alias before the separator, the domain's catch-all, for "postmaster" the one that the
 * domain's record names. Aliases are followed, each user comes
 * once. OK with 1..DIRECTORY_TARGETS_MAX targets in the arena, ABSENT, NOT_LOCAL, LOOP, TOO_BIG,
 * UNAVAILABLE, DAMAGED. An alias's targets that are gone are passed over.
 */
enum dir_result directory_resolve(struct directory *d, struct arena *arena, const struct address *a,
				  struct dir_target **targets, size_t *count);

/*
 * 32 random bytes that stay the same for the life of the directory (object "u.secret"). `fresh` is
 * stored and given back when there are none yet.
 */
enum dir_result directory_secret(struct directory *d, const uint8_t fresh[32], uint8_t out[32]);

/* Names in the cache: for metrics and tests. */
size_t directory_cached(const struct directory *d);
