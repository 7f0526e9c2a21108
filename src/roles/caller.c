#include "roles/caller.h"

#include <stdio.h>

#include "base/reader.h"
#include "mail/directory/record.h"
#include "policy/language/policy.h"

#define LABELS_MAX     (DIRECTORY_GROUPS_MAX + 1u)

void caller_init(struct caller *c, bool root, uint32_t uid)
{
	*c = (struct caller){ .root = root, .uid = uid };
	if (root)
		snprintf(c->who, sizeof(c->who), uid == 0 ? "root" : "uid %u, the node's own", (unsigned)uid);
	else
		snprintf(c->who, sizeof(c->who), "uid %u", (unsigned)uid);
}

bool caller_known(struct caller *c, struct slice reply)
{
	struct reader r = reader_of(reply);
	bool known = rd_u8(&r) == 1;
	struct slice address = rd_blob(&r), groups = rd_blob(&r);

	if (!rd_end(&r) || !record_groups_good(groups))
		return false;
	if (!known)
		return true;
	/* A long address is shown by its begin: the whole one would not fit into a record. */
	(void)!slice_to_str(slice_head(address, sizeof(c->who) - 1), c->who, sizeof(c->who));
	c->groups = groups;
	return true;
}

/* The labels that this caller has, at most LABELS_MAX; 0: nobody. */
static size_t labels_of(const struct authority *a, const struct caller *c, uint32_t out[LABELS_MAX])
{
	struct slice group, rest = c->groups;
	size_t n = 0;

	if (c->root) {
		out[0] = policy_subject_role(&a->table, POLICY_ROOT);
		return out[0] != 0;
	}
	while (rest.len > 0 && n < LABELS_MAX) {
		slice_cut(rest, ',', &group, &rest);
		out[n] = policy_subject_group(&a->table, group);
		n += out[n] != 0;
	}
	return n;
}

/* The first of the caller's labels that may, else the first at all, else nobody: the refusal tells of that one. */
static void actor_for(const struct authority *a, const struct caller *c, const struct admin_right *row, struct policy_actor *out)
{
	uint32_t labels[LABELS_MAX], object = policy_object_single(&a->table, row->class);
	size_t n = labels_of(a, c, labels);

	actor_init(out, n == 0 ? 0 : labels[0], slice_str(c->who));
	for (size_t i = 0; i < n; i++) {
		struct policy_actor actor;

		actor_init(&actor, labels[i], slice_str(c->who));
		if (authority_rights(a, &actor, object, row->permission, 0) != 0) {
			*out = actor;
			return;
		}
	}
}

static void refuse(const struct policy_denial *why, struct buf *reply)
{
	AUTO_BUF struct buf json = BUF_INIT(ADMIN_JSON_BYTES), text = BUF_INIT(1024);
	char id[24];

	policy_decision_text(why->id, id);
	buf_printf(&text, "%s; 'prickle policy explain %s' says why and what would allow it", why->text, id);
	buf_adds(&json, "{\"error\":");
	admin_json_string(&json, buf_slice(&text));
	buf_printf(&json, ",\"decision\":\"%s\",\"run\":\"prickle policy explain %s\"}", id, id);
	admin_reply_encode(ADMIN_REFUSED, buf_slice(&json), reply);
}

/* "user add", and for whom; neither has the values of arguments, one of which may be a password. */
static struct slice how_text(const struct admin_request *req, struct buf *text)
{
	buf_add(text, slice_head(req->object, 20));
	buf_addc(text, ' ');
	buf_add(text, slice_head(req->verb, 20));
	return buf_slice(text);
}

static bool has_table(const struct authority *a, struct buf *reply)
{
	if (a != NULL)
		return true;
	admin_error_encode(ADMIN_REFUSED, "refused: the node has no policy in force, so nobody may do anything; see 'prickle status'", reply);
	return false;
}

static bool may(struct authority *a, const struct caller *c, const struct admin_right *row, const struct admin_request *req, struct buf *reply)
{
	AUTO_BUF struct buf how = BUF_INIT(64);
	struct policy_denial why = { 0 };
	struct policy_actor actor;

	actor_for(a, c, row, &actor);
	if (authority_allows(a, &actor, row->class, policy_object_single(&a->table, row->class), row->permission, 0,
			     slice_head(admin_positional(req, 0), 128), how_text(req, &how), &why))
		return true;
	refuse(&why, reply);
	return false;
}

/* An edge with ticket from one of the caller's labels to anywhere. */
static bool has_ticket_edge(const struct authority *a, const struct caller *c, uint32_t to, uint32_t *from, struct policy_edge *edge)
{
	uint32_t labels[LABELS_MAX];
	size_t n = labels_of(a, c, labels);

	for (size_t i = 0; i < n; i++)
		for (uint32_t t = to != 0 ? to : 1; t < (to != 0 ? to + 1 : policy_table_subjects(&a->table)); t++)
			if (policy_edge_find(&a->table, labels[i], t, edge) && edge->ticket) {
				*from = labels[i];
				return true;
			}
	return false;
}

bool caller_may(struct authority *a, const struct caller *c, const struct admin_request *req, struct buf *reply)
{
	const struct admin_right *rights[ADMIN_RIGHTS_MAX];
	size_t n = admin_rights(req, rights);
	struct policy_edge edge;
	uint32_t from;

	if (!has_table(a, reply))
		return false;
	if (n == 0) {
		/* Nothing is told of what there is to those who may nothing. */
		admin_error_encode(c->root ? ADMIN_USAGE : ADMIN_REFUSED, "unknown object or verb", reply);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (rights[i]->way == ADMIN_BY_TICKET && has_ticket_edge(a, c, 0, &from, &edge))
			continue;
		if (!may(a, c, rights[i], req, reply))
			return false;
	}
	return true;
}

/* --- tickets ---------------------------------------------------------------------------------- */

/* "mail.recovery", or "recovery" when one label alone ends so. */
static uint32_t label_find(const struct authority *a, struct slice name)
{
	char text[2 * POLICY_NAME_BYTES_MAX + 2];
	uint32_t found = name.len == 0 ? 0 : policy_subject_named(&a->table, name);

	if (found != 0 || name.len == 0)
		return found;
	for (uint32_t i = 1; i < policy_table_subjects(&a->table); i++) {
		struct slice last;
		size_t dot;

		policy_label_name(&a->table, false, i, text, sizeof(text));
		last = slice_str(text);
		dot = slice_rfind_byte(last, '.');
		if (dot == SLICE_NPOS || !slice_eq(slice_from(last, dot + 1), name) ||
		    policy_subject_named(&a->table, last) != i)
			continue;
		if (found != 0)
			return 0;
		found = i;
	}
	return found;
}

bool caller_ticket(struct authority *a, const struct caller *c, struct slice label, struct caller_ticket *out,
		   struct buf *reply)
{
	struct policy_denial why = { 0 };
	struct policy_edge edge = { 0 };
	struct policy_actor actor;
	uint32_t labels[LABELS_MAX], to, from = 0;

	if (!has_table(a, reply))
		return false;
	to = label_find(a, label);
	if (to == 0) {
		admin_error_encode(ADMIN_NOT_FOUND, "the policy has no such label, or several; 'prickle policy show' names them", reply);
		return false;
	}
	if (!has_ticket_edge(a, c, to, &from, &edge)) {
		/* Refused and recorded as a transfer: without an edge that wants a ticket there is nothing that one would open. */
		actor_init(&actor, labels_of(a, c, labels) == 0 ? 0 : labels[0], slice_str(c->who));
		if (authority_enter(a, &actor, to, false, SLICE("ticket give"), &why) == 0) {
			authority_leave(a, &actor);
			admin_error_encode(ADMIN_USAGE, "this label is entered without a ticket", reply);
		} else {
			refuse(&why, reply);
		}
		return false;
	}
	*out = (struct caller_ticket){ .from = (uint16_t)from, .to = (uint16_t)to, .seconds = edge.seconds != 0 ? edge.seconds : ADMIN_TICKET_S };
	policy_label_name(&a->table, false, to, out->label, sizeof(out->label));
	memcpy(out->who, c->who, sizeof(out->who));
	return true;
}

void caller_ticket_given(struct authority *a, const struct caller_ticket *t, struct slice what, struct slice how)
{
	struct policy_record r = {
		.subject = t->from, .object = t->to, .result = POLICY_RESULT_TICKET,
	};

	if (a->ring.ring == NULL)
		return;
	(void)policy_cell_read(&a->table, 0, 0, &r.epoch);
	r.time_us = a->now_us == NULL ? 0 : (uint64_t)a->now_us(a->now_arg);
	(void)policy_ring_write(&a->ring, &r, slice_str(t->who), what, how);
}

bool caller_sees_all_tickets(struct authority *a, const struct caller *c)
{
	static const struct admin_right row = { .class = POLICY_POLICY, .permission = POLICY_POLICY_REVIEW };
	struct policy_actor actor;

	if (a == NULL)
		return false;
	actor_for(a, c, &row, &actor);
	return authority_rights(a, &actor, policy_object_single(&a->table, POLICY_POLICY), POLICY_POLICY_REVIEW, 0) != 0;
}
