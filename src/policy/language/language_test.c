#include <errno.h>

#include "base/test.h"
#include "policy/language/policy.h"

static int parse(struct arena *arena, const char *text, const struct policy **out, struct buf *errors)
{
	return policy_parse(arena, "test.policy", slice_str(text), NULL, NULL, out, errors);
}

START_TEST(the_shipped_policy_parses)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf errors = BUF_INIT(1 << 20);
	const struct policy *p = NULL;
	int err = policy_parse(&arena, "default", policy_default_text(), NULL, NULL, &p, &errors);

	ck_assert_msg(err == 0, "%s", buf_cstr(&errors));
	ck_assert_uint_ne(policy_subject_find(p, SLICE("mailadm")), 0);
	ck_assert_uint_ne(policy_object_find(p, SLICE("mailbox")), 0);
}
END_TEST

START_TEST(all_mistakes_come_at_once)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf errors = BUF_INIT(1 << 20);
	const struct policy *p = NULL;
	int err = parse(&arena, "role user = principal mapped by directory\nallow usr raed mailbox\nallow user\nallow user raed mailbox\n", &p, &errors);

	ck_assert_int_eq(err, -EINVAL);
	const char *text = buf_cstr(&errors);
	ck_assert_msg(strstr(text, "test.policy:2:7: error: there is no domain or role 'usr'; did you mean") != NULL, "%s", text);
	ck_assert_msg(strstr(text, "test.policy:4:1: error: expected a permission, found 'allow'") != NULL, "%s", text);
	ck_assert_msg(strstr(text, "test.policy:4:12: error: objects of class 'mailbox' have no permission 'raed'; did you mean 'read'?") != NULL, "%s", text);
}
END_TEST

static const struct policy *good(struct arena *arena, const char *text)
{
	AUTO_BUF struct buf errors = BUF_INIT(1 << 20);
	const struct policy *p = NULL;
	int err = parse(arena, text, &p, &errors);

	ck_assert_msg(err == 0, "%s", buf_cstr(&errors));
	return p;
}

static const char names[] = "module b\nlabel port wan = nic \"eth1\" label port lan = nic \"eth0\"\nrole x = principal root\n"
			    "module a\nlabel file srv = tree \"/srv\"\nrole y = principal in group \"g\"\n"
			    "allow y, b.x read, write srv, file\nnever any but y forward port except b.lan\n";

START_TEST(names_are_indices_in_order)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	const struct policy *p = good(&arena, names);
	const struct policy_rule *allow = &p->allows[0], *never = &p->nevers[0];

	ck_assert_str_eq(p->subjects[1].name, "a.y");
	ck_assert_str_eq(p->subjects[2].name, "b.x");
	ck_assert_uint_eq(allow->subject_count, 2);
	ck_assert_uint_eq(allow->permissions, POLICY_FILE_READ | POLICY_FILE_WRITE);
	ck_assert_uint_eq(allow->object_count, 1);
	ck_assert_str_eq(p->objects[allow->objects[0]].name, "a.srv");
	ck_assert_uint_eq(never->subject_count, 1);
	ck_assert_uint_eq(never->subjects[0], 2);
	ck_assert_uint_eq(never->object_count, 1);
	ck_assert_str_eq(p->objects[never->objects[0]].name, "b.wan");
}
END_TEST

START_TEST(a_name_on_a_command_line_is_a_label_a_typed_name_or_a_bare_one)
{
	static const struct {
		const char *text;
		enum policy_class class;
		bool good, label;
		enum policy_object_kind kind;
	} cases[] = {
		{ "lan", POLICY_PORT, true, true, POLICY_OBJECT_NONE },
		{ "b.lan", POLICY_CLASS_NONE, true, true, POLICY_OBJECT_NONE },
		{ "mailbox", POLICY_MAILBOX, true, true, POLICY_OBJECT_NONE },
		{ "lan", POLICY_FILE, false, false, POLICY_OBJECT_NONE },
		{ "nic \"eth7\"", POLICY_PORT, true, false, POLICY_NIC },
		{ "/etc/hosts", POLICY_FILE, true, false, POLICY_PATH },
		{ "db:5432", POLICY_ENDPOINT, true, false, POLICY_HOST_PORT },
		{ "db:0", POLICY_ENDPOINT, false, false, POLICY_OBJECT_NONE },
		{ "db:65536", POLICY_ENDPOINT, false, false, POLICY_OBJECT_NONE },
		{ "nosuch", POLICY_MAILBOX, false, false, POLICY_OBJECT_NONE },
	};
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	const struct policy *p = good(&arena, names);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct policy_object target = { 0 };
		struct errmsg why = { 0 };
		uint16_t index = 0;
		bool parsed = policy_target_parse(&arena, p, cases[i].class, slice_str(cases[i].text), &index, &target, &why);

		ck_assert_msg(parsed == cases[i].good, "%s", cases[i].text);
		if (parsed) {
			ck_assert_msg((index != 0) == cases[i].label, "%s", cases[i].text);
			ck_assert_msg(target.kind == cases[i].kind, "%s", cases[i].text);
		}
	}
}
END_TEST

START_TEST(what_is_said_twice_is_told_with_both_places)
{
	static const struct { const char *text, *error, *note; } cases[] = {
		{ "role a = principal root\nrole a = principal by ticket\n", "test.policy:2:6: error: ", "test.policy:1:6: note: " },
		{ "label port a = nic \"x\"\nlabel port b = nic \"x\"\n", "test.policy:2:1: error: ", "test.policy:1:1: note: " },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
		AUTO_BUF struct buf errors = BUF_INIT(1 << 20);
		const struct policy *p;

		ck_assert_int_eq(parse(&arena, cases[i].text, &p, &errors), -EINVAL);
		ck_assert_msg(strstr(buf_cstr(&errors), cases[i].error) != NULL, "%s", buf_cstr(&errors));
		ck_assert_msg(strstr(buf_cstr(&errors), cases[i].note) != NULL, "%s", buf_cstr(&errors));
	}
}
END_TEST

static int import_once(void *arg, const char *from, const char *name, struct slice *text, struct errmsg *why)
{
	++*(size_t *)arg;
	*text = SLICE("module more\nimport \"more\"\nrole m = principal root\n");
	return strcmp(name, "more") == 0 ? 0 : errmsg_say(why, -ENOENT, "no '%s'", name);
}

START_TEST(an_import_counts_once)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf errors = BUF_INIT(1 << 20);
	const struct policy *p = NULL;
	size_t asked = 0;
	int err = policy_parse(&arena, "t", SLICE("import \"more\"\nimport \"more\"\nallow more.m status node\n"), import_once, &asked, &p,
			       &errors);

	ck_assert_msg(err == 0, "%s", buf_cstr(&errors));
	ck_assert_uint_eq(p->subject_count, 2);
	ck_assert_uint_eq(asked, 1);
	ck_assert_int_eq(policy_parse(&arena, "t", SLICE("import \"../more\"\n"), import_once, &asked, &p, &errors), -EINVAL);
	ck_assert_uint_eq(asked, 1);
}
END_TEST

TEST_MAIN("policy/language", the_shipped_policy_parses, all_mistakes_come_at_once, names_are_indices_in_order,
	  a_name_on_a_command_line_is_a_label_a_typed_name_or_a_bare_one, what_is_said_twice_is_told_with_both_places, an_import_counts_once)
