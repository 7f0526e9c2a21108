/*
 * Mailboxes of others in an IMAP session: names, handles, what the lists of rights give (imap_shared.c).
 */
#pragma once
#include "engine/remote.h"
#include "mail/session/authc_shares.h"
#include "mail/session/imap.h"

/* RFC 2342: the Other Users' Namespace. The second level is an address, and so has "@". */
#define IMAP_OTHERS_ROOT "user"
#define IMAP_OTHERS	 IMAP_OTHERS_ROOT "/"

/* One owner's mailboxes. */
struct imap_shared {
	struct list link;		/* most recently used first */
	struct account *account;
	struct remote_handle store;
	struct authc_shared what;	/* as of this command; folders are malloc'd */
	bool watching;
	uint64_t watch_id;
};

enum imap_shared_result {
	IMAP_SHARED_OK,
	IMAP_SHARED_NONE,		/* nobody of this name shares anything with us */
	IMAP_SHARED_UNKNOWN,		/* auth or the store is away: NO [UNAVAILABLE] */
	IMAP_SHARED_DAMAGED,		/* what is stored of the owner */
};

/* "user/bob@example.org/Lists/a" -> "bob@example.org", "Lists/a". False: a name of the session's own mailboxes. */
bool imap_shared_name(struct slice name, struct slice *owner, struct slice *rest);
/* Asks auth. The handle lives until imap_shared_trim or the end of the session. */
enum imap_shared_result imap_shared_get(struct imap_session *s, struct slice owner, struct imap_shared **out);
/* What the folder's list gives; 0: nothing, or it has none. */
uint32_t imap_shared_rights(const struct imap_shared *x, uint32_t folder);
/* Between commands: no more handles than IMAP_SHARED_ACCOUNTS_MAX. */
void imap_shared_trim(struct imap_session *s);
void imap_shared_done(struct imap_session *s);

/* Nearest existing mailbox above a name; FOLDER_NONE: there is none. */
enum mailbox_result imap_parent_id(struct imap_run *r, struct account *account, struct slice name, uint32_t *id);

/*
 * For LIST: the session's own names, and those of others that the policy lets it see, as one list. The patterns are whole.
 */
enum mailbox_result imap_shared_list(struct imap_run *r, struct folder_info **folders, size_t *count);

/* RFC 4314 §4: a new mailbox gets its parent's list; the list of one that is gone goes, too. */
void imap_folder_made(struct imap_run *r, const struct imap_place *p, uint32_t folder);
void imap_folder_gone(struct imap_run *r, const struct imap_place *p, uint32_t folder);
