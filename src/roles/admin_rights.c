#include "roles/admin_rights.h"

#define ROW(object, verb, argument, way, class, permission) \
	{ object, verb, argument, way, POLICY_##class, POLICY_##class##_##permission }

static const struct admin_right rows[] = {
	ROW("user", "list", NULL, ADMIN_ALWAYS, ACCOUNT, LIST),
	ROW("user", "show", NULL, ADMIN_ALWAYS, ACCOUNT, SHOW),
	ROW("user", "add", NULL, ADMIN_ALWAYS, ACCOUNT, CREATE),
	ROW("user", "add", "quota", ADMIN_ALWAYS, MAILBOX, QUOTA),
	ROW("user", "add", "messages", ADMIN_ALWAYS, MAILBOX, QUOTA),
	ROW("user", "add", "groups", ADMIN_ALWAYS, ACCOUNT, GROUP),
	ROW("user", "add", "system-user", ADMIN_ALWAYS, ACCOUNT, GROUP),
	ROW("user", "set", NULL, ADMIN_ALWAYS, ACCOUNT, SET),
	ROW("user", "set", "password", ADMIN_INSTEAD, ACCOUNT, PASSWORD),
	ROW("user", "set", "hash", ADMIN_INSTEAD, ACCOUNT, PASSWORD),
	ROW("user", "set", "quota", ADMIN_INSTEAD, MAILBOX, QUOTA),
	ROW("user", "set", "messages", ADMIN_INSTEAD, MAILBOX, QUOTA),
	ROW("user", "set", "groups", ADMIN_INSTEAD, ACCOUNT, GROUP),
	ROW("user", "set", "system-user", ADMIN_INSTEAD, ACCOUNT, GROUP),
	ROW("user", "remove", NULL, ADMIN_ALWAYS, ACCOUNT, REMOVE),

	ROW("alias", "list", NULL, ADMIN_ALWAYS, ALIAS, LIST),
	ROW("alias", "show", NULL, ADMIN_ALWAYS, ALIAS, SHOW),
	ROW("alias", "add", NULL, ADMIN_ALWAYS, ALIAS, CREATE),
	ROW("alias", "set", NULL, ADMIN_ALWAYS, ALIAS, SET),
	ROW("alias", "remove", NULL, ADMIN_ALWAYS, ALIAS, REMOVE),

	ROW("domain", "list", NULL, ADMIN_ALWAYS, MAIL_DOMAIN, LIST),
	ROW("domain", "show", NULL, ADMIN_ALWAYS, MAIL_DOMAIN, SHOW),
	ROW("domain", "add", NULL, ADMIN_ALWAYS, MAIL_DOMAIN, CREATE),
	ROW("domain", "set", NULL, ADMIN_ALWAYS, MAIL_DOMAIN, SET),
	ROW("domain", "remove", NULL, ADMIN_ALWAYS, MAIL_DOMAIN, REMOVE),

	ROW("queue", "list", NULL, ADMIN_ALWAYS, QUEUE, LIST),
	ROW("queue", "show", NULL, ADMIN_ALWAYS, QUEUE, SHOW),
	ROW("queue", "retry", NULL, ADMIN_ALWAYS, QUEUE, RETRY),
	ROW("queue", "drop", NULL, ADMIN_ALWAYS, QUEUE, DROP),

	ROW("node", "status", NULL, ADMIN_ALWAYS, NODE, STATUS),
	ROW("node", "reload", NULL, ADMIN_ALWAYS, NODE, RELOAD),

	ROW("ticket", "give", NULL, ADMIN_BY_TICKET, POLICY, REVIEW),
	ROW("ticket", "list", NULL, ADMIN_BY_TICKET, POLICY, REVIEW),
	ROW("ticket", "revoke", NULL, ADMIN_BY_TICKET, POLICY, REVIEW),
};

static bool is_of(const struct admin_right *row, const struct admin_request *req)
{
	return slice_eq(req->object, slice_str(row->object)) && slice_eq(req->verb, slice_str(row->verb));
}

static const struct admin_right *row_of(const struct admin_request *req, const char *argument)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!is_of(&rows[i], req) || (rows[i].argument == NULL) != (argument == NULL))
			continue;
		if (argument == NULL || strcmp(rows[i].argument, argument) == 0)
			return &rows[i];
	}
	return NULL;
}

static void need(const struct admin_right *row, const struct admin_right *out[ADMIN_RIGHTS_MAX], size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		if (out[i]->class == row->class && out[i]->permission == row->permission)
			return;
	if (*count < ADMIN_RIGHTS_MAX)
		out[(*count)++] = row;
}

/* Arguments "name=value" that have a row of their own with this way. */
static unsigned with_row(const struct admin_request *req, enum admin_way way)
{
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (is_of(&rows[i], req) && rows[i].argument != NULL && rows[i].way == way &&
		    admin_arg(req, rows[i].argument).ptr != NULL)
			n++;
	return n;
}

size_t admin_rights(const struct admin_request *req, const struct admin_right *out[ADMIN_RIGHTS_MAX])
{
	const struct admin_right *verb = row_of(req, NULL);
	unsigned positional = 0, instead = with_row(req, ADMIN_INSTEAD);
	size_t count = 0;

	if (verb == NULL)
		return 0;
	while (positional < req->arg_count && admin_positional(req, positional).ptr != NULL)
		positional++;
	/* Only arguments that ask for something else: one given twice counts as an unknown one. */
	if (instead == 0 || instead + positional < req->arg_count)
		need(verb, out, &count);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (is_of(&rows[i], req) && rows[i].argument != NULL && admin_arg(req, rows[i].argument).ptr != NULL)
			need(&rows[i], out, &count);
	return count;
}
