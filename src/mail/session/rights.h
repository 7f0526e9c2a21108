/*
 * What a session may do, by the policy in force (policy/authority.h).
 *
 * The label comes from the channel: whoever logs in by IMAP, POP3 or submission is the role `principal mapped by directory`, whatever else
 * they are; with a ticket (`prickle policy ticket`) the label that the ticket opens, for one mailbox and a time. Each command asks anew, so an
 * apply holds from the next command on.
 */
#pragma once
#include "policy/authority.h"

struct authc_login;
struct session;

struct session_rights {
	struct policy_actor actor;	/* depth 0: nobody has logged in */
	uint64_t generation;		/* of the table when the label was looked up */
	bool ticket;
};

/* What an operation is about. */
struct session_object {
	struct slice owner;		/* address of the user whose mailbox it is */
	struct slice name;		/* of the mailbox, UTF-8; empty: all of the owner's */
	bool own;			/* the owner is who logged in */
	/* Bits of POLICY_MAILBOX that the mailbox's own list gives who logged in (RFC 4314); see session_holds. */
	uint32_t acl;
};

/* After the login. */
void session_rights_begin(struct session *s, const struct authc_login *login);
void session_rights_end(struct session *s);

/*
 * May it? permission is one bit of the class mailbox; how names the command. False, also without a table or login: why says what to tell the
 * client.
 */
MUST_USE bool session_may(struct session *s, uint32_t permission, const struct session_object *o, const char *how, struct policy_denial *why);
/* Which of these, without a record. */
uint32_t session_has(struct session *s, uint32_t permissions, const struct session_object *o);
/* The ticket's time is over, or the policy gives no such tickets any more. False for everybody without a ticket. */
bool session_over(struct session *s);
/* What is left of a ticket; INT64_MAX without one. */
int64_t session_ticket_left_us(const struct session *s);
