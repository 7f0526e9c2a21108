/*
 * Who may do what with which objects: the store's decision on every engine call.
 *
 * Three things must agree: the channel's role (a row of the table in access.c), the grant that
 * the call quotes (given by auth, good on one channel), and the class of the object, which its name tells
 * ("a.<account>"). What a subverted process reaches is thus what its row and its live grants
 * say: mx can add mail and read none; front reads and changes the accounts of its sessions.
 *
 * Pure decisions over a table in memory; access_test.c tries every pair of role and call.
 */
#pragma once
#include "engine/remote.h"
#include "mail/auth/grant.h"
#include "roles/role.h"

struct grants;			/* the table of live grants */

MUST_USE int grants_new(struct grants **out);
void grants_free(struct grants *g);

/* Add or replace (bytes written so far stay counted). 0, -ENOSPC at GRANTS_MAX, -ENOMEM. */
MUST_USE int grants_add(struct grants *g, const struct grant *grant, int64_t now_us);
void grants_revoke(struct grants *g, const uint8_t id[GRANT_ID_BYTES]);
/* The channel of this process is gone: its grants are worth nothing any more. */
void grants_drop_process(struct grants *g, enum role_id role, unsigned instance);
/* The account is to be removed: grants to it are void. O(table). */
void grants_drop_account(struct grants *g, const char account[GRANT_ACCOUNT_CHARS]);
/* Auth has sent all live grants: unknown ones are refused from now on. */
void grants_synced(struct grants *g);
bool grants_are_synced(const struct grants *g);
size_t grants_count(const struct grants *g);
/*
 * Walk for GRANTS_MSG_LIST: up to max grants from *cursor on, lifetimes as they remain; *cursor
 * becomes 0 at the end. Returns how many were written to out.
 */
size_t grants_list(struct grants *g, uint64_t *cursor, int64_t now_us, struct grant *out, size_t max);

/*
 * May this channel make this call? An allowed append is charged to its grant. O(steps).
 */
enum remote_verdict access_check(struct grants *g, enum role_id role, unsigned instance,
				 const struct remote_access *access, int64_t now_us);

/*
 * The same for a tool of the operator's, on the store's own socket (roles/operator.h): all mail and
 * the queue to read, mail to change; neither the directory with its passwords nor the queue to write.
 * It quotes no grant, and no channel of a role is ever judged by this.
 */
enum remote_verdict access_check_operator(const struct remote_access *access);
