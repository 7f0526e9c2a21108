/*
 * Which permission each verb of the admin protocol asks for (roles/admin.h): one table for all objects of all roles. A verb that has no
 * row is refused, whoever asks.
 */
#pragma once
#include "policy/language/catalogue.h"
#include "roles/admin.h"
#include "roles/role_limits.h"

/* A verb that a role serves; lists of them end with NULL. */
struct admin_verb {
	const char *object, *verb;
};
/* What roles serve, for the test that all of it has rows. */
extern const struct admin_verb auth_admin_verbs[], queue_admin_verbs[], control_admin_verbs[];

enum admin_way {
	ADMIN_ALWAYS,			/* this verb, or this argument of it, needs the permission */
	ADMIN_INSTEAD,			/* an argument that needs this permission and not the verb's */
	ADMIN_BY_TICKET,		/* by an edge `enter ... with ticket` of the caller's; the permission opens what is others' */
};

struct admin_right {
	const char *object, *verb;
	const char *argument;		/* NULL: the verb itself */
	enum admin_way way;
	enum policy_class class;
	uint32_t permission;		/* one bit */
};

/*
 * The rows that a request needs, each permission once; 0: refuse it. More arguments than known ask for the verb's own permission.
 */
size_t admin_rights(const struct admin_request *req, const struct admin_right *out[ADMIN_RIGHTS_MAX]);
