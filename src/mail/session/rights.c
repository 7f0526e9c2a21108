#include "mail/session/rights.h"

#include <stdio.h>

#include "mail/session/authc.h"
#include "mail/session/session.h"
#include "policy/language/policy.h"

#define WHAT_BYTES 160u

/* The label of users; a change of the policy may have given it another number. */
static void follow(struct session *s)
{
	struct authority *a = s->sv->authority;
	uint64_t generation = atomic_load_explicit(&a->table.head->generation, memory_order_acquire);

	if (s->rights.ticket || generation == s->rights.generation)
		return;
	s->rights.generation = generation;
	s->rights.actor.label[0] = (uint16_t)policy_subject_role(&a->table, POLICY_BY_DIRECTORY);
}

void session_rights_begin(struct session *s, const struct authc_login *login)
{
	struct authority *a = s->sv->authority;
	struct policy_actor *actor = &s->rights.actor;

	s->rights = (struct session_rights){ 0 };
	if (a == NULL)
		return;
	if (!login->ticket.given) {
		s->rights.generation = atomic_load_explicit(&a->table.head->generation, memory_order_acquire);
		actor_init(actor, policy_subject_role(&a->table, POLICY_BY_DIRECTORY), slice_str(login->address));
		return;
	}
	/* Auth has asked for the transfer, and recorded it. */
	s->rights.ticket = true;
	actor_init(actor, login->ticket.from, slice_str(login->ticket.who));
	actor->label[1] = login->ticket.to;
	actor->until_us[1] = login->ticket.until_us;
	actor->depth = 2;
}

void session_rights_end(struct session *s)
{
	if (s->rights.ticket && s->rights.actor.depth == 2)
		authority_leave(s->sv->authority, &s->rights.actor);
	s->rights = (struct session_rights){ 0 };
}

/* The predicates that are true. With a ticket nobody is the owner. */
static uint32_t session_holds(const struct session *s, uint32_t permission, const struct session_object *o)
{
	uint32_t holds = 0;

	if (s->rights.ticket)
		return 0;
	if (o->own)
		holds |= POLICY_OWNER_IS_SUBJECT;
	if ((o->acl & permission) == permission)
		holds |= POLICY_ACL_GRANTS_SUBJECT;
	return holds;
}

bool session_over(struct session *s)
{
	struct policy_edge edge;

	if (!s->rights.ticket)
		return false;
	return session_ticket_left_us(s) == 0 ||
	       !policy_edge_find(&s->sv->authority->table, s->rights.actor.label[0], s->rights.actor.label[1], &edge);
}

int64_t session_ticket_left_us(const struct session *s)
{
	const struct authority *a = s->sv->authority;
	int64_t left;

	if (!s->rights.ticket)
		return INT64_MAX;
	left = s->rights.actor.until_us[1] - (a->now_us == NULL ? 0 : a->now_us(a->now_arg));
	return MAX(left, 0);
}

static struct slice what_text(const struct session_object *o, char text[WHAT_BYTES])
{
	int n = snprintf(text, WHAT_BYTES, "%.*s%s%.*s", SLICE_FMT(o->owner), o->name.len > 0 ? " " : "", SLICE_FMT(o->name));

	return slice_of(text, n < 0 ? 0 : MIN((size_t)n, WHAT_BYTES - 1));
}

bool session_may(struct session *s, uint32_t permission, const struct session_object *o, const char *how, struct policy_denial *why)
{
	struct authority *a = s->sv->authority;
	char text[WHAT_BYTES];

	if (a == NULL || s->rights.actor.depth == 0) {
		*why = (struct policy_denial){ .text = "refused: this node has no policy in force" };
		return false;
	}
	follow(s);
	if (session_over(s)) {
		*why = (struct policy_denial){ .text = "refused by policy: the ticket's time is over" };
		return false;
	}
	return authority_allows(a, &s->rights.actor, POLICY_MAILBOX, policy_object_single(&a->table, POLICY_MAILBOX), permission,
				session_holds(s, permission, o), what_text(o, text), slice_str(how), why);
}

uint32_t session_has(struct session *s, uint32_t permissions, const struct session_object *o)
{
	struct authority *a = s->sv->authority;
	uint32_t rights = 0, object;

	if (a == NULL || s->rights.actor.depth == 0 || session_over(s))
		return 0;
	follow(s);
	object = policy_object_single(&a->table, POLICY_MAILBOX);
	/* One by one: what an access list gives differs from right to right. */
	for (uint32_t left = permissions; left != 0; left &= left - 1)
		rights |= authority_rights(a, &s->rights.actor, object, left & -left, session_holds(s, left & -left, o));
	return rights;
}
