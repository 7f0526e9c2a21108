/*
 * Who asks on the admin socket, and whether the policy lets them (policy/authority.h).
 *
 * Who it is comes from the kernel, never from the request: root and the user that the node runs under are POLICY_ROOT; anybody else is the
 * user of the directory who has that uid, with the labels of that user's groups (POLICY_IN_GROUP); else nobody, who may do nothing. Labels
 * are looked up for each request, so what an apply changes holds for the next one.
 */
#pragma once
#include "policy/authority.h"
#include "roles/admin.h"
#include "roles/admin_rights.h"

#define CALLER_WHO_BYTES 96u

struct caller {
	bool root;
	uint32_t uid;
	char who[CALLER_WHO_BYTES];	/* "root", "uid 1000" or the address of the user */
	struct slice groups;		/* "a,b"; borrowed */
};

/* The payload of ADMIN_IPC_WHO, and its reply: u8 1 when there is such a user, blob address, blob groups. */
#define ADMIN_IPC_WHO 0xA1u
void caller_init(struct caller *c, bool root, uint32_t uid);
/* From the answer of auth. False: malformed; the caller is nobody then. Slices point into reply. */
bool caller_known(struct caller *c, struct slice reply);

/*
 * May this caller make this request? True, or the answer, exit code ADMIN_REFUSED with the decision's id and what to run next, is appended
 * to reply. a is NULL as long as the node has no table: nobody may anything.
 */
MUST_USE bool caller_may(struct authority *a, const struct caller *c, const struct admin_request *req, struct buf *reply);

/* The label that a ticket opens, by its name on the command line. */
struct caller_ticket {
	uint16_t from, to;
	uint32_t seconds;		/* how long it lasts */
	char label[2 * POLICY_NAME_BYTES_MAX + 2];
	char who[CALLER_WHO_BYTES];
};
/* May the caller give a ticket for it? As caller_may; also false, with another exit code, when there is no such label. */
MUST_USE bool caller_ticket(struct authority *a, const struct caller *c, struct slice label, struct caller_ticket *out,
			    struct buf *reply);
/* A ticket was given: for the audit. */
void caller_ticket_given(struct authority *a, const struct caller_ticket *t, struct slice what, struct slice how);
/* May the caller see and revoke the tickets of others? */
bool caller_sees_all_tickets(struct authority *a, const struct caller *c);
