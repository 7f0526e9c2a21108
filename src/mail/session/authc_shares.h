/*
 * What others share with who is logged in (RFC 4314), asked of auth: with each command anew, so that a list that was changed holds from the
 * next one on.
 *
 * Who asks is the login of `grant`. An owner is an address in any spelling, or "" for the lists of one's own mailboxes. Fiber only.
 */
#pragma once
#include "mail/session/authc.h"

enum authc_share_result {
	AUTHC_SHARE_OK,
	AUTHC_SHARE_NONE,		/* no such user, or nothing is shared with us: one answer */
	AUTHC_SHARE_DENIED,		/* the list does not let us */
	AUTHC_SHARE_MALFORMED,		/* the identifier cannot be one: BAD (RFC 4314 §3) */
	AUTHC_SHARE_NO_USER,		/* nobody has this name */
	AUTHC_SHARE_OWNER,		/* what owners may do is not on lists */
	AUTHC_SHARE_LIMIT,
	AUTHC_SHARE_TEMPORARY,
};

struct authc_share {
	uint32_t folder, rights;	/* number of the folder; bits as in RFC 4314's order, not 0 */
};
/* Of one owner. */
struct authc_shared {
	uint8_t grant[AUTHC_GRANT_BYTES];	/* opens the owner's account; authc_release at the end */
	char account[AUTHC_ACCOUNT_CHARS + 1];
	char owner[AUTHC_ADDRESS_BYTES_MAX + 1];	/* canonical */
	uint64_t quota_bytes, quota_messages;	/* the owner's; 0: no limit */
	struct authc_share *folders;	/* ascending; in the arena */
	size_t count;
};

/*
 * have: the grant of the last answer about this owner, or NULL; it is given again while it is good. OK, NONE, TEMPORARY. Microseconds in auth
 * when it knows the lists, and one message there and back.
 */
enum authc_share_result authc_shared(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, const uint8_t *have,
				     struct arena *arena, struct authc_shared *out);
/* Give back a grant of authc_shared. Never blocks. */
void authc_release(struct authc *a, const uint8_t shared[AUTHC_GRANT_BYTES]);

/* Canonical addresses of those who may share something with us. In the arena. OK, NONE, TEMPORARY. */
enum authc_share_result authc_sharers(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct arena *arena, struct slice **owners,
				      size_t *count);

/* One folder's list as stored (mail/directory/acl.h), in the arena. OK, NONE, DENIED, TEMPORARY. */
enum authc_share_result authc_acl_get(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, uint32_t folder,
				      struct arena *arena, struct slice *list);
/*
 * The identifier's rights become (old & keep) | add. On OK nobody has what was taken away any more, in any process: what was under way with it
 * ends at the store.
 */
enum authc_share_result authc_acl_set(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, uint32_t folder,
				      struct slice identifier, uint32_t keep, uint32_t add);
/* The folder was made below parent, whose list it gets (RFC 4314 §4), or with parent 0 is gone, and its list with it. */
enum authc_share_result authc_acl_folder(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice owner, uint32_t folder,
					 uint32_t parent);
