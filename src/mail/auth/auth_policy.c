/*
 * What the policy says of logins and grants.
 */
#include <stdlib.h>

#include "mail/auth/auth_private.h"
#include "policy/language/policy.h"

#define WRITING (POLICY_MAILBOX_SEEN | POLICY_MAILBOX_FLAG | POLICY_MAILBOX_APPEND | POLICY_MAILBOX_CREATE | POLICY_MAILBOX_DESTROY | \
		 POLICY_MAILBOX_DELETE | POLICY_MAILBOX_EXPUNGE)
#define READING (POLICY_MAILBOX_LIST | POLICY_MAILBOX_READ)
#define BATCH	1000u

/* What a grant for the own mailbox of such an actor opens. */
static uint32_t grant_rights(const struct authority *p, const struct policy_actor *actor)
{
	uint32_t rights = authority_rights(p, actor, policy_object_single(&p->table, POLICY_MAILBOX), READING | WRITING, POLICY_OWNER_IS_SUBJECT);

	return ((rights & READING) != 0 ? GRANT_READ : 0u) | ((rights & WRITING) != 0 ? GRANT_READ | GRANT_WRITE : 0u);
}

uint32_t auth_shared_rights(struct auth *a)
{
	struct authority *p = a->authority;
	struct policy_actor actor;

	if (p == NULL)
		return 0;
	actor_init(&actor, policy_subject_role(&p->table, POLICY_BY_DIRECTORY), (struct slice){ 0 });
	/* Who reads merges what was delivered (mailbox.h), which writes. */
	return authority_rights(p, &actor, policy_object_single(&p->table, POLICY_MAILBOX), READING | WRITING, POLICY_ACL_GRANTS_SUBJECT) != 0 ?
		       GRANT_READ | GRANT_WRITE :
		       0;
}

bool auth_may_deliver(const struct auth_client *c, const char *account)
{
	struct authority *p = c->auth->authority;
	struct policy_actor actor;
	uint32_t subject;

	if (p == NULL || c->service == NULL)
		return false;
	subject = policy_subject_service(&p->table, slice_str(c->service));
	/* A policy that says nothing about a process of the node leaves it as shipped (policy/service.h). */
	if (subject == 0)
		return true;
	actor_init(&actor, subject, slice_str(c->service));
	return authority_allows(p, &actor, POLICY_MAILBOX, policy_object_single(&p->table, POLICY_MAILBOX), POLICY_MAILBOX_APPEND, 0, slice_str(account),
				SLICE("delivery"), NULL);
}

bool auth_may_administer(struct auth *a, struct slice name, bool owner)
{
	struct authority *p = a->authority;
	struct policy_actor actor;

	if (p == NULL)
		return false;
	actor_init(&actor, policy_subject_role(&p->table, POLICY_BY_DIRECTORY), name);
	return authority_rights(p, &actor, policy_object_single(&p->table, POLICY_MAILBOX), POLICY_MAILBOX_ADMINISTER,
				owner ? POLICY_OWNER_IS_SUBJECT : POLICY_ACL_GRANTS_SUBJECT) != 0;
}

bool auth_may_login(struct auth *a, struct slice name, enum auth_service service, uint32_t *rights)
{
	static const char *const how[] = { [AUTH_IMAP] = "IMAP login", [AUTH_POP3] = "POP3 login", [AUTH_SUBMISSION] = "submission login" };
	struct authority *p = a->authority;
	struct policy_actor actor;

	*rights = 0;
	if (p == NULL)
		return false;
	actor_init(&actor, policy_subject_role(&p->table, POLICY_BY_DIRECTORY), name);
	if (!authority_allows(p, &actor, POLICY_ACCOUNT, policy_object_single(&p->table, POLICY_ACCOUNT), POLICY_ACCOUNT_LOGIN,
			      POLICY_OWNER_IS_SUBJECT, name, slice_str(how[service]), NULL))
		return false;
	/* Submission opens no mailbox. */
	if (service == AUTH_SUBMISSION)
		return true;
	*rights = grant_rights(p, &actor);
	return *rights != 0;
}

/* Narrow what is too wide of one client, up to a batch each. False: nothing was left to do. */
static bool follow_some(struct auth *a, struct auth_client *c, uint32_t own, uint32_t shared, struct grant *narrowed, uint8_t (*ended)[GRANT_ID_BYTES])
{
	size_t narrow = 0, end = 0;

	list_for_each(it, &c->grants) {
		struct live_grant *l = list_entry(it, struct live_grant, of_client);
		uint32_t rights = l->g.rights & (GRANT_READ | GRANT_WRITE), allowed = (l->g.rights & GRANT_SHARED) != 0 ? shared : own;

		/* Deliveries are no user's; tickets have an end of their own. */
		if (rights == 0 || (rights & ~allowed) == 0 || l->fixed)
			continue;
		if (narrow == BATCH || end == BATCH)
			break;
		if ((rights & allowed) == 0) {
			memcpy(ended[end++], l->g.id, GRANT_ID_BYTES);
			grant_table_del(&a->grants, l);
			continue;
		}
		l->g.rights &= ~(uint32_t)(GRANT_READ | GRANT_WRITE) | allowed;
		narrowed[narrow] = l->g;
		narrowed[narrow++].lifetime_s = (uint32_t)MAX(l->until_s - auth_now_s(a), 1);
	}
	if (end > 0)
		a->store.revoke(a->store.arg, ended, end);
	if (narrow > 0 && a->store.add(a->store.arg, narrowed, narrow) < 0)
		return false;	/* the store is away: it gets all of them when it is back */
	return end > 0 || narrow > 0;
}

void auth_policy_follow(struct auth *a)
{
	struct authority *p = a->authority;
	struct policy_actor actor;
	struct grant *narrowed;
	uint8_t (*ended)[GRANT_ID_BYTES];
	uint64_t generation;
	uint32_t allowed;

	if (p == NULL)
		return;
	generation = atomic_load_explicit(&p->table.head->generation, memory_order_acquire);
	if (generation == a->generation)
		return;
	narrowed = calloc(BATCH, sizeof(*narrowed));
	ended = calloc(BATCH, sizeof(*ended));
	if (narrowed != NULL && ended != NULL) {
		a->generation = generation;
		actor_init(&actor, policy_subject_role(&p->table, POLICY_BY_DIRECTORY), (struct slice){ 0 });
		allowed = grant_rights(p, &actor);
		list_for_each(it, &a->clients)
			while (follow_some(a, list_entry(it, struct auth_client, link), allowed, auth_shared_rights(a), narrowed, ended))
				;
	}
	/* Without memory the next tick does it; sessions ask the table themselves. */
	free(narrowed);
	free(ended);
}
