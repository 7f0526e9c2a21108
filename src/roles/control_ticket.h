/*
 * Tickets as the control role has them: who may give one is decided here, auth keeps them (mail/auth/auth.h).
 */
#pragma once
#include "roles/caller.h"

struct control_ticket {
	struct caller_ticket ticket;
	bool give;
};
/*
 * The request that auth gets, in `asked`: the caller's words and what was decided. False: the answer is in reply. caller_may was asked before.
 */
MUST_USE bool control_ticket_begin(struct control_ticket *t, struct authority *a, const struct caller *c, const struct admin_request *req,
				   struct buf *asked, struct buf *reply);
/* Auth has answered: what it gave is recorded. */
void control_ticket_end(const struct control_ticket *t, struct authority *a, const struct admin_request *req, struct slice reply);
