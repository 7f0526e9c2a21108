/* Each verb that a role serves asks the policy for something, and what a caller may follows the table. */
#include "base/test.h"
#include "policy/language/policy.h"
#include "policy/shipped_test.h"
#include "roles/caller.h"

static struct admin_request request(const char *object, const char *verb, const char *arg, const char *value)
{
	struct admin_request r = { .object = slice_str(object), .verb = slice_str(verb) };

	if (arg != NULL)
		r.args[r.arg_count++] = slice_str(arg);
	if (value != NULL)
		r.args[r.arg_count++] = slice_str(value);
	return r;
}

START_TEST(every_verb_that_a_role_serves_has_a_row)
{
	const struct admin_verb *lists[] = { auth_admin_verbs, queue_admin_verbs, control_admin_verbs };
	const struct admin_right *rights[ADMIN_RIGHTS_MAX];
	unsigned seen = 0;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (const struct admin_verb *v = lists[i]; v->object != NULL; v++, seen++) {
			struct admin_request r = request(v->object, v->verb, NULL, NULL);

			ck_assert_msg(admin_rights(&r, rights) == 1, "%s %s has no row", v->object, v->verb);
			ck_assert(rights[0]->permission != 0);
		}
	ck_assert_uint_ge(seen, 27);
	struct admin_request r = request("user", "rename", "ann@example.org", NULL);
	ck_assert_uint_eq(admin_rights(&r, rights), 0);
	r = request("mail", "read", NULL, NULL);
	ck_assert_uint_eq(admin_rights(&r, rights), 0);
}
END_TEST

START_TEST(arguments_ask_for_permissions_of_their_own)
{
	static const struct { const char *verb, *value; uint32_t permission; enum policy_class class; } cases[] = {
		{ "set", "name=Ann", POLICY_ACCOUNT_SET, POLICY_ACCOUNT },
		{ "set", "password=x", POLICY_ACCOUNT_PASSWORD, POLICY_ACCOUNT },
		{ "set", "hash=x", POLICY_ACCOUNT_PASSWORD, POLICY_ACCOUNT },
		{ "set", "groups=", POLICY_ACCOUNT_GROUP, POLICY_ACCOUNT },
		{ "set", "system-user=0", POLICY_ACCOUNT_GROUP, POLICY_ACCOUNT },
		{ "set", "quota=0", POLICY_MAILBOX_QUOTA, POLICY_MAILBOX },
		{ "set", "whatever=0", POLICY_ACCOUNT_SET, POLICY_ACCOUNT },
	};
	const struct admin_right *rights[ADMIN_RIGHTS_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct admin_request r = request("user", cases[i].verb, "ann@example.org", cases[i].value);

		ck_assert_msg(admin_rights(&r, rights) == 1, "%s", cases[i].value);
		ck_assert_msg(rights[0]->class == cases[i].class && rights[0]->permission == cases[i].permission, "%s", cases[i].value);
	}
	/* With another beside it the verb's own is needed, too; adding always is. */
	struct admin_request r = request("user", "set", "ann@example.org", "groups=a");
	r.args[r.arg_count++] = SLICE("name=Ann");
	ck_assert_uint_eq(admin_rights(&r, rights), 2);
	/* What is given twice hides nothing behind its first. */
	r = request("user", "set", "password=a", "password=b");
	ck_assert_uint_eq(admin_rights(&r, rights), 2);
	r = request("user", "add", "ann@example.org", "groups=a");
	ck_assert_uint_eq(admin_rights(&r, rights), 2);
}
END_TEST

static bool allowed(const struct caller *c, const char *object, const char *verb, const char *value)
{
	AUTO_BUF struct buf reply = BUF_INIT(ADMIN_JSON_BYTES + 64);
	struct admin_request r = request(object, verb, "bob@example.org", value);
	struct admin_reply answer;

	if (caller_may(shipped_authority(), c, &r, &reply)) {
		ck_assert_uint_eq(reply.len, 0);
		return true;
	}
	ck_assert(admin_reply_decode(buf_slice(&reply), &answer));
	ck_assert(answer.exit_code == ADMIN_REFUSED || answer.exit_code == ADMIN_USAGE);
	if (answer.exit_code == ADMIN_REFUSED && !c->root)
		ck_assert(slice_find(answer.json, SLICE("refused by policy")) != SLICE_NPOS || slice_find(answer.json, SLICE("unknown")) != SLICE_NPOS);
	return false;
}

START_TEST(callers_may_what_their_groups_may)
{
	struct caller root, carol, nobody;

	caller_init(&root, true, 0);
	caller_init(&carol, false, 1000);
	caller_init(&nobody, false, 1001);
	/* What auth answers: known, address, groups. */
	ck_assert(caller_known(&carol, SLICE("\x01\x11" "carol@example.org" "\x11" "staff,mail-admins")));
	ck_assert(caller_known(&nobody, SLICE("\x00\x00\x00")));
	ck_assert_str_eq(carol.who, "carol@example.org");
	ck_assert(allowed(&root, "user", "add", NULL) && allowed(&root, "node", "reload", NULL) && allowed(&root, "user", "set", "groups=a"));
	ck_assert(allowed(&carol, "user", "add", NULL) && allowed(&carol, "user", "remove", NULL));
	ck_assert(!allowed(&carol, "user", "set", "groups=mail-admins"));
	ck_assert(!allowed(&carol, "user", "set", "system-user=1000"));
	ck_assert(!allowed(&carol, "node", "reload", NULL));
	ck_assert(allowed(&carol, "ticket", "list", NULL) && allowed(&root, "ticket", "give", NULL));
	ck_assert(!allowed(&nobody, "user", "list", NULL) && !allowed(&nobody, "node", "status", NULL) && !allowed(&nobody, "ticket", "list", NULL));
	ck_assert(!allowed(&root, "mail", "read", NULL) && !allowed(&nobody, "mail", "read", NULL));
}
END_TEST

START_TEST(without_a_table_nobody_may_anything)
{
	AUTO_BUF struct buf reply = BUF_INIT(ADMIN_JSON_BYTES + 64);
	struct admin_request r = request("user", "list", NULL, NULL);
	struct admin_reply answer;
	struct caller root;

	caller_init(&root, true, 0);
	ck_assert(!caller_may(NULL, &root, &r, &reply));
	ck_assert(admin_reply_decode(buf_slice(&reply), &answer));
	ck_assert_uint_eq(answer.exit_code, ADMIN_REFUSED);
}
END_TEST

START_TEST(tickets_are_for_who_has_an_edge)
{
	AUTO_BUF struct buf reply = BUF_INIT(ADMIN_JSON_BYTES + 64);
	struct authority *a = shipped_authority();
	struct caller_ticket t;
	struct caller carol, nobody;

	caller_init(&carol, false, 1000);
	caller_init(&nobody, false, 1001);
	ck_assert(caller_known(&carol, SLICE("\x01\x01" "c" "\x0b" "mail-admins")));
	ck_assert(caller_ticket(a, &carol, SLICE("recovery"), &t, &reply));
	ck_assert_str_eq(t.label, "mail.recovery");
	ck_assert_uint_eq(t.seconds, 1800);
	ck_assert(caller_ticket(a, &carol, SLICE("mail.recovery"), &t, &reply));
	ck_assert(!caller_ticket(a, &carol, SLICE("operator"), &t, &reply));
	ck_assert(!caller_ticket(a, &carol, SLICE("nothing"), &t, &reply));
	ck_assert(!caller_ticket(a, &nobody, SLICE("recovery"), &t, &reply));
	ck_assert(!caller_sees_all_tickets(a, &carol));
	caller_init(&carol, true, 0);
	ck_assert(caller_sees_all_tickets(a, &carol));
}
END_TEST

TEST_MAIN("roles/admin_rights", every_verb_that_a_role_serves_has_a_row, arguments_ask_for_permissions_of_their_own,
	  callers_may_what_their_groups_may, without_a_table_nobody_may_anything, tickets_are_for_who_has_an_edge)
