/*
 * What the directory keeps about a domain, a user and an alias, as stored bytes.
 *
 * Each value is: u8 format version, then the fields in the order below. Later versions add
 * fields at the end; a reader takes the fields of its version and skips the rest, so that an
 * older program can still read what a newer one wrote.
 *
 * Decoders treat the bytes as a stranger's: a damaged disk must not hurt us.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "mail/directory/limits.h"

#define RECORD_ACCOUNT_CHARS 16u

struct domain_record {
	uint64_t created_s;		/* since 1970 */
	uint64_t quota_bytes;		/* for users without their own; 0: no limit */
	uint64_t quota_messages;
	/*
	 * Address that gets the mail for postmaster of this domain while nobody has that name: RFC 5321
	 * §4.5.1 wants somebody to get it. Empty: nobody. (Version 2.)
	 */
	struct slice postmaster;
};

struct scram_keys {
	uint32_t iterations;		/* 0: none are kept for this user */
	struct slice salt;
	uint8_t stored_key[32];		/* RFC 5802 §3 */
	uint8_t server_key[32];
};

struct user_record {
	char account[RECORD_ACCOUNT_CHARS + 1];	/* 64 random bits, lower-case hexadecimal */
	uint64_t created_s;
	bool disabled;			/* no login, no mail */
	bool own_quota;			/* else the domain's */
	uint64_t quota_bytes;		/* 0: no limit */
	uint64_t quota_messages;
	struct slice hash;		/* "$argon2id$..." or crypt(5); empty: nobody can log in */
	struct scram_keys scram;
	struct slice name;		/* display name, UTF-8 */
	/* Groups that policies name (`principal in group "mail-admins"`): "a,b", each once; empty: none. (Version 2.) */
	struct slice groups;
	uint32_t system_user;		/* uid that is this user on the admin socket; 0: none. (Version 2.) */
};

struct alias_record {
	uint64_t created_s;
	size_t count;			/* 1..DIRECTORY_TARGETS_MAX */
	const struct slice *targets;	/* canonical addresses at our domains */
};

/* Append the stored form. Look at out->err. */
void domain_record_encode(struct buf *out, const struct domain_record *r);
void user_record_encode(struct buf *out, const struct user_record *r);
void alias_record_encode(struct buf *out, const struct alias_record *r);

/*
 * False when the bytes are no such record, or the arena is full; *out is then as it was. Slices of a
 * domain or user record borrow from `bytes`; an alias's list is in the arena, its targets borrow, too.
 */
MUST_USE bool domain_record_decode(struct slice bytes, struct domain_record *out);
MUST_USE bool user_record_decode(struct slice bytes, struct user_record *out);
MUST_USE bool alias_record_decode(struct arena *arena, struct slice bytes, struct alias_record *out);

/*
 * "a,b": at most DIRECTORY_GROUPS_MAX names of letters, digits, "-", "_" and ".", none twice. Empty is fine.
 */
bool record_groups_good(struct slice groups);
/* One of them; group is not empty. */
bool record_in_group(struct slice groups, struct slice group);

/* 16 lower-case hexadecimal digits? */
bool record_account_good(struct slice account);
