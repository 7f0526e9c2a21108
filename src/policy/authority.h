/*
 * Decisions in a service: who acts, by which label, on what; checked, recorded, explained. One struct authority a process; no locks, no system calls.
 *
 *	struct policy_actor ann;
 *	actor_init(&ann, subject, SLICE("ann@example.org"));
 *	if (!authority_allows(a, &ann, POLICY_MAILBOX, mailbox, POLICY_MAILBOX_READ, POLICY_OWNER_IS_SUBJECT, SLICE("ann/INBOX"), SLICE("SELECT"), &why))
 *		return no(s, why.text);
 *
 * Domain transfer (report, "Access control"): an actor holds a stack of labels. POLICY_ENTER pushes one when the policy has the edge, and the
 * scope's end pops it on every way out, errors included.
 */
#pragma once
#include "base/errmsg.h"
#include "policy/audit.h"
#include "policy/table/image.h"

struct authority {
	struct policy_table table;
	struct policy_ring_writer ring;
	int64_t (*now_us)(void *arg);	/* since 1970; called only when something ends by time or is recorded */
	void *now_arg;
	uint64_t denied, recorded;	/* for metrics */
};

struct policy_actor {
	uint16_t label[POLICY_STACK_MAX];	/* [depth - 1] acts */
	int64_t until_us[POLICY_STACK_MAX];	/* 0: no end; past it the actor has no rights until it left */
	uint8_t depth;
	char who[96];			/* principal, for records */
};
void actor_init(struct policy_actor *actor, uint32_t subject, struct slice who);

struct policy_denial {
	uint64_t id;			/* decision */
	char text[400];			/* "refused by policy: mail.user may not read mailbox (decision 3-1f20a)": for people who may see it */
};

/*
 * May the actor do this? holds: the predicates that are true for this object now (the caller evaluated those that policy_predicates_wanted
 * names). Records what is denied, audited or on trial. why is written when false; may be NULL.
 */
MUST_USE bool authority_allows(struct authority *a, const struct policy_actor *actor, enum policy_class class, uint32_t object, uint32_t permission,
			       uint32_t holds, struct slice what, struct slice how, struct policy_denial *why);
/* The same question without a record, e.g. to say which rights somebody has. Permissions that hold, as a mask of those asked. */
uint32_t authority_rights(const struct authority *a, const struct policy_actor *actor, uint32_t object, uint32_t permissions, uint32_t holds);
/* Predicates worth evaluating for these permissions; 0: the answer does not depend on any. */
uint32_t policy_predicates_wanted(const struct authority *a, const struct policy_actor *actor, uint32_t object, uint32_t permissions);

/*
 * Enter `to`: 0; -EPERM: no such edge, or it wants a ticket and `ticket` is false; -E2BIG: POLICY_STACK_MAX. Recorded when the edge says audit, and when refused.
 */
MUST_USE int authority_enter(struct authority *a, struct policy_actor *actor, uint32_t to, bool ticket, struct slice how, struct policy_denial *why);
void authority_leave(struct authority *a, struct policy_actor *actor);

/* A scope: int err; POLICY_ENTER(scope, a, actor, to, ticket, how, &why) or err != 0; leaves at the end of the block if it entered. */
struct policy_scope { struct authority *a; struct policy_actor *actor; bool entered; };
void policy_scope_end(struct policy_scope *s);
#define AUTO_POLICY_SCOPE __attribute__((cleanup(policy_scope_end)))
MUST_USE int policy_scope_enter(struct policy_scope *s, struct authority *a, struct policy_actor *actor, uint32_t to, bool ticket, struct slice how,
				struct policy_denial *why);
