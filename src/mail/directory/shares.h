/*
 * Which folders of a user others may use: the lists of rights of all folders of an account, and who is named in whose lists.
 *
 * All lists of an account are one value, so each change of them is one operation: there is no moment at which a folder's list is half of the
 * old and half of the new one. The way back, from an identifier to the owners whose lists name it, is another object; it is written before a
 * list that needs it and cleared after the last one that did. A crash in between leaves a name too many there, which means one look in vain.
 *
 * Changes of one directory come one after the other (the caller sees to it): of two at once the way back of one could be lost.
 */
#pragma once
#include "mail/directory/acl.h"
#include "mail/directory/directory.h"

struct share {
	uint32_t folder;		/* number of the folder in its account; never used again */
	struct slice acl;		/* acl_decode */
};
struct shares {
	const struct share *items;	/* ascending by folder */
	size_t count;
};
/* What a user is to others: both parts of the record's key. */
struct share_owner {
	struct slice account, address;
};

/* All lists of an account; OK with none. In the arena. UNAVAILABLE, DAMAGED, TOO_BIG. Microseconds when cached. */
enum dir_result directory_shares(struct directory *d, struct arena *arena, struct slice account, struct shares *out);
/* One folder's list; OK with none. Identifiers are in the arena. */
enum dir_result directory_acl(struct directory *d, struct arena *arena, struct slice account, uint32_t folder, struct acl *out);
/*
 * Owners whose lists name the identifier as it stands ("-ann@example.org" is another one); some may not any more. OK with none. In the arena.
 */
enum dir_result directory_shared_with(struct directory *d, struct arena *arena, struct slice identifier, struct slice **owners, size_t *count);

/*
 * The identifier's rights on a folder become (old & keep) | add; 0 takes it off. TOO_BIG: a limit of the list, of the account's lists or of
 * who shares with the identifier.
 */
enum dir_result directory_acl_change(struct directory *d, const struct share_owner *owner, uint32_t folder, struct slice identifier, uint32_t keep,
				     uint32_t add);
/* A new folder gets the list that its parent has (RFC 4314 §4). */
enum dir_result directory_acl_inherit(struct directory *d, const struct share_owner *owner, uint32_t from, uint32_t to);
/* The folder is gone. */
enum dir_result directory_acl_drop(struct directory *d, const struct share_owner *owner, uint32_t folder);
/*
 * Before a user is removed: no list names the user any more, and the user's own lists go. Who gets the address next is somebody else. May be
 * repeated.
 */
enum dir_result directory_shares_forget(struct directory *d, const struct share_owner *user);

/* The stored forms: for the fuzz target. */
MUST_USE bool shares_decode(struct arena *arena, struct slice bytes, struct shares *out);
void shares_encode(struct buf *out, const struct shares *s);
MUST_USE bool owners_decode(struct arena *arena, struct slice bytes, struct slice **owners, size_t *count);
