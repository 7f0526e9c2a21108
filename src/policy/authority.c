#include "policy/authority.h"

#include <errno.h>
#include <stdio.h>

#include "base/metrics.h"
#include "base/must.h"

METRIC_COUNTER(denied, "prickle_policy_denied", "Operations that the policy refused");
METRIC_COUNTER(recorded, "prickle_policy_records", "Decisions that were written to the audit's ring");

static int64_t now_us(const struct authority *a)
{
	return a->now_us == NULL ? 0 : a->now_us(a->now_arg);
}

void actor_init(struct policy_actor *actor, uint32_t subject, struct slice who)
{
	size_t n = MIN(who.len, sizeof(actor->who) - 1);

	*actor = (struct policy_actor){ .label = { (uint16_t)subject }, .depth = 1 };
	if (subject > UINT16_MAX)
		actor->label[0] = 0;
	if (n != 0)
		memcpy(actor->who, who.ptr, n);
}

/* Nobody, for who has no label or whose time is up. */
static uint32_t label_now(const struct authority *a, const struct policy_actor *actor, bool *ended)
{
	int64_t until;

	*ended = false;
	if (actor->depth == 0)
		return 0;
	until = actor->until_us[actor->depth - 1];
	if (unlikely(until != 0) && now_us(a) >= until) {
		*ended = true;
		return 0;
	}
	return actor->label[actor->depth - 1];
}

/* --- records -------------------------------------------------------------------------------- */

static uint64_t record(struct authority *a, const struct policy_actor *actor, struct policy_record r, struct slice what, struct slice how)
{
	uint8_t below = actor->depth == 0 ? 0 : (uint8_t)(actor->depth - 1);

	if (a->ring.ring == NULL)
		return 0;
	r.time_us = (uint64_t)now_us(a);
	/* Who really acts, even when its time is up. */
	r.subject = actor->depth == 0 ? 0 : actor->label[below];
	r.chain_count = below;
	memcpy(r.chain, actor->label, below * sizeof(r.chain[0]));
	a->recorded++;
	metric_add(&recorded, 0, 1);
	return policy_ring_write(&a->ring, &r, slice_str(actor->who), what, how);
}

/*
 * Refuse: count, record, and say so. object is a label of an object, or of a subject for a transfer (permission 0).
 */
static void refuse(struct authority *a, const struct policy_actor *actor, struct policy_record r, bool ended, struct slice what, struct slice how,
		   struct policy_denial *why)
{
	char subject[2 * POLICY_NAME_BYTES_MAX + 2], object[sizeof(subject)], id[24];
	uint64_t decision;

	r.result = POLICY_RESULT_DENIED;
	a->denied++;
	metric_add(&denied, 0, 1);
	decision = record(a, actor, r, what, how);
	if (why == NULL)
		return;
	why->id = decision;
	policy_decision_text(decision, id);
	policy_label_name(&a->table, false, actor->depth == 0 ? 0 : actor->label[actor->depth - 1], subject, sizeof(subject));
	policy_label_name(&a->table, r.permission != 0, r.object, object, sizeof(object));
	if (ended)
		snprintf(why->text, sizeof(why->text), "refused by policy: the time as %s is up (decision %s)", subject, id);
	else if (r.permission == 0)
		snprintf(why->text, sizeof(why->text), "refused by policy: %s may not enter %s (decision %s)", subject, object, id);
	else
		snprintf(why->text, sizeof(why->text), "refused by policy: %s may not %s %s (decision %s)", subject,
			 policy_permission_name(r.class, r.permission), object, id);
}

/* --- decisions ------------------------------------------------------------------------------ */

/* The clock is looked at for what is on trial only. */
static bool on_trial(const struct authority *a, const struct policy_full *full, uint32_t permission)
{
	return (full->cell.trial & permission) != 0 && policy_trial_holds(full, permission, now_us(a) / 1000000);
}

bool authority_allows(struct authority *a, const struct policy_actor *actor, enum policy_class class, uint32_t object, uint32_t permission,
		      uint32_t holds, struct slice what, struct slice how, struct policy_denial *why)
{
	bool ended;
	uint32_t subject = label_now(a, actor, &ended);
	struct policy_full full;
	struct policy_record r;
	bool allowed;

	must(permission != 0);
	must((permission & (permission - 1)) == 0);
	if (likely(policy_check(&a->table, subject, object, permission) == POLICY_ALLOWED))
		return true;
	full = policy_cell_full(&a->table, subject, object, permission);
	r = (struct policy_record){ .epoch = full.epoch, .object = object, .permission = permission, .class = (uint8_t)class };
	allowed = (full.cell.allow & permission) != 0 || ((full.cell.conditional & permission) != 0 && (full.predicates & holds) != 0);
	if (allowed && (full.cell.audit & permission) == 0)
		return true;
	if (allowed) {
		r.result = POLICY_RESULT_ALLOWED;
		(void)record(a, actor, r, what, how);
		return true;
	}
	r.predicates = (full.cell.conditional & permission) != 0 ? full.predicates & ~holds : 0;
	if (on_trial(a, &full, permission)) {
		r.result = POLICY_RESULT_TRIAL;
		(void)record(a, actor, r, what, how);
		return true;
	}
	refuse(a, actor, r, ended, what, how, why);
	return false;
}

uint32_t authority_rights(const struct authority *a, const struct policy_actor *actor, uint32_t object, uint32_t permissions, uint32_t holds)
{
	bool ended;
	uint32_t subject = label_now(a, actor, &ended), rights = 0;

	for (uint32_t left = permissions; left != 0; left &= left - 1) {
		uint32_t bit = left & -left;
		struct policy_full full = policy_cell_full(&a->table, subject, object, bit);

		if ((full.cell.allow & bit) != 0 || ((full.cell.conditional & bit) != 0 && (full.predicates & holds) != 0) ||
		    on_trial(a, &full, bit))
			rights |= bit;
	}
	return rights;
}

uint32_t policy_predicates_wanted(const struct authority *a, const struct policy_actor *actor, uint32_t object, uint32_t permissions)
{
	bool ended;
	uint32_t subject = label_now(a, actor, &ended), wanted = 0;
	struct policy_cell cell = policy_cell_read(&a->table, subject, object, NULL);

	for (uint32_t left = cell.conditional & ~cell.allow & permissions; left != 0; left &= left - 1)
		wanted |= policy_cell_full(&a->table, subject, object, left & -left).predicates;
	return wanted;
}

/* --- domain transfer ------------------------------------------------------------------------ */

int authority_enter(struct authority *a, struct policy_actor *actor, uint32_t to, bool ticket, struct slice how, struct policy_denial *why)
{
	bool ended;
	uint32_t from = label_now(a, actor, &ended);
	struct policy_edge edge = { 0 };
	struct policy_record r = { .object = to };
	int64_t until = actor->depth == 0 ? 0 : actor->until_us[actor->depth - 1];

	(void)policy_cell_read(&a->table, 0, 0, &r.epoch);
	if (actor->depth >= POLICY_STACK_MAX)
		return -E2BIG;
	if (from == 0 || to == 0 || !policy_edge_find(&a->table, from, to, &edge) || (edge.ticket && !ticket)) {
		refuse(a, actor, r, ended, SLICE(""), how, why);
		return -EPERM;
	}
	if (edge.seconds != 0) {
		int64_t end = now_us(a) + (int64_t)edge.seconds * 1000000;

		/* What was entered for an hour in the last minute of something ends with it. */
		until = until == 0 ? end : MIN(until, end);
	}
	if (edge.audit) {
		r.result = POLICY_RESULT_ENTERED;
		(void)record(a, actor, r, SLICE(""), how);
	}
	actor->label[actor->depth] = (uint16_t)to;
	actor->until_us[actor->depth] = until;
	actor->depth++;
	return 0;
}

void authority_leave(struct authority *a, struct policy_actor *actor)
{
	struct policy_edge edge;
	struct policy_record r = { .result = POLICY_RESULT_LEFT };
	uint32_t from, to;

	must(actor->depth > 1);
	from = actor->label[actor->depth - 2];
	to = actor->label[actor->depth - 1];
	actor->depth--;
	if (!policy_edge_find(&a->table, from, to, &edge) || !edge.audit)
		return;
	r.object = to;
	(void)policy_cell_read(&a->table, 0, 0, &r.epoch);
	(void)record(a, actor, r, SLICE(""), SLICE(""));
}

int policy_scope_enter(struct policy_scope *s, struct authority *a, struct policy_actor *actor, uint32_t to, bool ticket, struct slice how,
		       struct policy_denial *why)
{
	int err = authority_enter(a, actor, to, ticket, how, why);

	*s = (struct policy_scope){ .a = a, .actor = actor, .entered = err == 0 };
	return err;
}

void policy_scope_end(struct policy_scope *s)
{
	if (s->entered)
		authority_leave(s->a, s->actor);
	s->entered = false;
}
