/*
 * Who else may do what with a folder: its list of identifiers and rights (RFC 4314), as stored bytes.
 *
 * An identifier is a canonical address, "anyone", or one of these with "-" before it, whose rights are taken away (RFC 4314 §2). Each comes
 * once. Rights are bits in the order of "lrswipkxtea"; this directory keeps them and knows no more about them. The owner is on no list:
 * what owners may do is the policy's rule, so that nobody can lock himself out.
 *
 * A list is kept by the owner's account and the number of the folder, so it survives a change of the folder's name.
 */
#pragma once
#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "mail/directory/limits.h"

#define ACL_ANYONE "anyone"

struct acl_entry {
	struct slice identifier;
	uint32_t rights;		/* not 0 */
};

struct acl {
	struct acl_entry entries[DIRECTORY_ACL_ENTRIES_MAX];
	size_t count;
};

/* Not an address, "anyone" or one of them with "-": SETACL is refused. Does not ask whether there is such a user. */
bool acl_identifier_good(struct slice identifier);
/* An address as identifiers have it, from any spelling; in the arena. False: it is none. */
MUST_USE bool acl_address(struct arena *arena, struct slice written, struct slice *out);
/* The rights of one identifier as the list has them; 0: it is not on the list. */
uint32_t acl_rights(const struct acl *acl, struct slice identifier);
/* 0 takes it off. False: the list is full, and as it was. The identifier is borrowed. */
MUST_USE bool acl_set(struct acl *acl, struct slice identifier, uint32_t rights);
/* What an address may do: its own rights and those of anyone, without the negative ones of both (RFC 4314 §2). */
uint32_t acl_effective(const struct acl *acl, struct slice address);

void acl_encode(struct buf *out, const struct acl *acl);
/* False: no such list; *out is then as it was. Identifiers borrow from bytes. */
MUST_USE bool acl_decode(struct slice bytes, struct acl *out);
