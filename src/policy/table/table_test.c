#include <errno.h>

#include "base/test.h"
#include "policy/table/rig_test.h"

#define OWNER POLICY_OWNER_IS_SUBJECT
#define ACL   POLICY_ACL_GRANTS_SUBJECT

/* mail: as the shipped policy has it, in short. */
static void mail(struct rig *r)
{
	rig_init(r);
	rig_subject(r, POLICY_BY_DIRECTORY, "mail.user", NULL);
	rig_subject(r, POLICY_IN_GROUP, "mail.mailadm", "mail-admins");
	rig_subject(r, POLICY_BY_TICKET, "mail.recovery", NULL);
	rig_object(r, POLICY_MAILBOX, POLICY_SINGLE, "mailbox", NULL);
	rig_object(r, POLICY_ACCOUNT, POLICY_SINGLE, "account", NULL);
	rig_allow(r, "mail.user", POLICY_MAILBOX_READ | POLICY_MAILBOX_APPEND, "mailbox", OWNER);
	rig_allow(r, "mail.user", POLICY_MAILBOX_READ, "mailbox", ACL);
	rig_allow(r, "mail.mailadm", POLICY_MAILBOX_CREATE, "mailbox", 0)->audit = true;
	rig_allow(r, "mail.mailadm", POLICY_ACCOUNT_LIST, "account", 0);
	rig_allow(r, "mail.recovery", POLICY_MAILBOX_READ, "mailbox", 0);
	rig_enter(r, "mail.mailadm", "mail.recovery", true, 1800)->audit = true;
}

static struct rig_image small(void)
{
	return rig_image_of(16, 32, 65536);
}

static enum policy_verdict check(const struct rig_image *i, const char *subject, const char *object, uint32_t permission)
{
	return policy_check(&i->table, rig_number(i, false, subject), rig_number(i, true, object), permission);
}

START_TEST(an_empty_image_denies_everything)
{
	struct rig_image i = small();

	for (uint32_t s = 0; s < 20; s++)
		for (uint32_t o = 0; o < 40; o++)
			ck_assert_int_eq(policy_check(&i.table, s, o, UINT32_MAX), POLICY_DENIED);
	ck_assert_uint_eq(policy_object_named(&i.table, SLICE("mailbox")), 0);
	ck_assert_uint_eq(policy_cell_full(&i.table, 1, 1, 1).epoch, 0);
	ck_assert(policy_bank_valid(i.head, policy_bank_in_force(&i.table), NULL));
	free(i.head);
}
END_TEST

START_TEST(what_a_rule_allows_is_allowed_and_nothing_else)
{
	struct rig_image i = small();
	struct rig r;

	mail(&r);
	rig_apply(&r, &i, 7);
	ck_assert_int_eq(check(&i, "mail.recovery", "mailbox", POLICY_MAILBOX_READ), POLICY_ALLOWED);
	ck_assert_int_eq(check(&i, "mail.recovery", "mailbox", POLICY_MAILBOX_APPEND), POLICY_DENIED);
	ck_assert_int_eq(check(&i, "mail.mailadm", "mailbox", POLICY_MAILBOX_CREATE), POLICY_ALLOWED_AUDITED);
	ck_assert_int_eq(check(&i, "mail.mailadm", "account", POLICY_ACCOUNT_LIST), POLICY_ALLOWED);
	ck_assert_int_eq(check(&i, "mail.mailadm", "mailbox", POLICY_MAILBOX_READ), POLICY_DENIED);
	ck_assert_int_eq(check(&i, "mail.user", "mailbox", POLICY_MAILBOX_READ), POLICY_CONDITIONAL);
	ck_assert_int_eq(check(&i, "mail.nobody", "mailbox", POLICY_MAILBOX_READ), POLICY_DENIED);
	ck_assert_int_eq(check(&i, "mail.user", "nothing", POLICY_MAILBOX_READ), POLICY_DENIED);

	uint32_t user = rig_number(&i, false, "mail.user"), mailbox = rig_number(&i, true, "mailbox");
	ck_assert_uint_eq(policy_cell_full(&i.table, user, mailbox, POLICY_MAILBOX_READ).predicates, OWNER | ACL);
	ck_assert_uint_eq(policy_cell_full(&i.table, user, mailbox, POLICY_MAILBOX_APPEND).predicates, OWNER);
	ck_assert_uint_eq(policy_cell_full(&i.table, user, mailbox, POLICY_MAILBOX_POST).predicates, 0);
	ck_assert_uint_eq(policy_cell_full(&i.table, user, mailbox, POLICY_MAILBOX_READ).epoch, 7);
	uint64_t epoch = 0;
	ck_assert_uint_eq(policy_cell_read(&i.table, user, mailbox, &epoch).conditional, POLICY_MAILBOX_READ | POLICY_MAILBOX_APPEND);
	ck_assert_uint_eq(epoch, 7);
	free(i.head);
	rig_done(&r);
}
END_TEST

START_TEST(an_unconditional_rule_covers_a_conditional_one_in_any_order)
{
	for (int turn = 0; turn < 2; turn++) {
		struct rig_image i = small();
		struct rig r;
		mail(&r);
		rig_allow(&r, "mail.recovery", POLICY_MAILBOX_READ | POLICY_MAILBOX_FLAG, "mailbox", OWNER);
		if (turn == 1) {
			struct policy_rule first = r.p.allows[4];
			r.p.allows[4] = r.p.allows[5];
			r.p.allows[5] = first;
		}
		rig_apply(&r, &i, 1);
		ck_assert_int_eq(check(&i, "mail.recovery", "mailbox", POLICY_MAILBOX_READ), POLICY_ALLOWED);
		ck_assert_int_eq(check(&i, "mail.recovery", "mailbox", POLICY_MAILBOX_FLAG), POLICY_CONDITIONAL);
		free(i.head);
		rig_done(&r);
	}
}
END_TEST

START_TEST(edges_have_one_row_a_pair_that_no_statement_exceeds)
{
	struct rig_image i = small();
	struct policy_edge e;
	struct rig r;

	mail(&r);
	rig_enter(&r, "mail.user", "mail.recovery", false, 10);
	rig_enter(&r, "mail.user", "mail.recovery", true, 0)->audit = true;
	rig_apply(&r, &i, 1);
	uint32_t user = rig_number(&i, false, "mail.user"), admin = rig_number(&i, false, "mail.mailadm"), recovery = rig_number(&i, false, "mail.recovery");
	ck_assert(policy_edge_find(&i.table, admin, recovery, &e));
	ck_assert(e.ticket == 1 && e.audit == 1 && e.seconds == 1800);
	ck_assert(policy_edge_find(&i.table, user, recovery, &e));
	ck_assert(e.ticket == 0 && e.audit == 1 && e.seconds == 10);
	ck_assert(!policy_edge_find(&i.table, recovery, admin, &e));
	ck_assert(!policy_edge_find(&i.table, 0, recovery, &e));
	ck_assert(!policy_edge_find(&i.table, 60000, 60000, &e));
	free(i.head);
	rig_done(&r);
}
END_TEST

START_TEST(a_trial_lets_through_what_no_never_names_and_not_what_has_no_label)
{
	struct rig_image i = small();
	struct rig r;

	mail(&r);
	r.p.subjects[rig_find(&r, false, "mail.mailadm")].trial_until = 5000;
	rig_never(&r, "mail.mailadm", POLICY_MAILBOX_READ, "mailbox");
	rig_apply(&r, &i, 1);
	ck_assert_int_eq(check(&i, "mail.mailadm", "mailbox", POLICY_MAILBOX_APPEND), POLICY_TRIAL);
	ck_assert_int_eq(check(&i, "mail.mailadm", "mailbox", POLICY_MAILBOX_READ), POLICY_DENIED);
	ck_assert_int_eq(check(&i, "mail.mailadm", "mailbox", POLICY_MAILBOX_CREATE), POLICY_ALLOWED_AUDITED);
	ck_assert_int_eq(check(&i, "mail.mailadm", "no label", POLICY_MAILBOX_APPEND), POLICY_DENIED);
	ck_assert_int_eq(check(&i, "mail.user", "mailbox", POLICY_MAILBOX_CREATE), POLICY_DENIED);
	struct policy_full f = policy_cell_full(&i.table, rig_number(&i, false, "mail.mailadm"), rig_number(&i, true, "mailbox"), POLICY_MAILBOX_APPEND);
	ck_assert(policy_trial_holds(&f, POLICY_MAILBOX_APPEND, 4999));
	ck_assert(!policy_trial_holds(&f, POLICY_MAILBOX_APPEND, 5000));
	ck_assert(!policy_trial_holds(&f, POLICY_MAILBOX_READ, 4999));
	free(i.head);
	rig_done(&r);
}
END_TEST

START_TEST(a_label_keeps_its_number_until_its_definition_changes)
{
	struct rig_image i = small();
	struct rig first, second;
	char name[16];

	mail(&first);
	rig_apply(&first, &i, 1);
	uint32_t user = rig_number(&i, false, "mail.user"), admin = rig_number(&i, false, "mail.mailadm"), recovery = rig_number(&i, false, "mail.recovery");

	/* One is gone, one is redefined, one is new and sorts before all. */
	rig_init(&second);
	rig_subject(&second, POLICY_ROOT, "a.operator", NULL);
	rig_subject(&second, POLICY_IN_GROUP, "mail.mailadm", "postmasters");
	rig_subject(&second, POLICY_BY_DIRECTORY, "mail.user", NULL);
	rig_object(&second, POLICY_MAILBOX, POLICY_SINGLE, "mailbox", NULL);
	rig_allow(&second, "mail.mailadm", POLICY_MAILBOX_READ, "mailbox", 0);
	rig_allow(&second, "mail.user", POLICY_MAILBOX_READ, "mailbox", 0);
	rig_apply(&second, &i, 2);
	ck_assert_uint_eq(rig_number(&i, false, "mail.user"), user);
	ck_assert_uint_eq(rig_number(&i, false, "mail.recovery"), 0);
	ck_assert_uint_gt(rig_number(&i, false, "mail.mailadm"), recovery);
	ck_assert_uint_gt(rig_number(&i, false, "a.operator"), recovery);
	uint32_t mailbox = rig_number(&i, true, "mailbox");
	ck_assert_int_eq(policy_check(&i.table, user, mailbox, POLICY_MAILBOX_READ), POLICY_ALLOWED);
	ck_assert_int_eq(policy_check(&i.table, admin, mailbox, POLICY_MAILBOX_READ), POLICY_DENIED);
	ck_assert_int_eq(policy_check(&i.table, recovery, mailbox, POLICY_MAILBOX_READ), POLICY_DENIED);
	policy_label_name(&i.table, false, recovery, name, sizeof(name));
	ck_assert_str_eq(name, "mail.recovery");	/* for records of the first epoch */
	policy_label_name(&i.table, false, 15, name, sizeof(name));
	ck_assert_str_eq(name, "?");
	policy_label_name(&i.table, false, recovery, name, 5);
	ck_assert_str_eq(name, "mail");

	/* Going back does not wake old numbers. */
	rig_apply(&first, &i, 3);
	ck_assert_uint_eq(rig_number(&i, false, "mail.user"), user);
	ck_assert_uint_ne(rig_number(&i, false, "mail.recovery"), recovery);
	ck_assert_uint_ne(rig_number(&i, false, "mail.mailadm"), admin);
	ck_assert_int_eq(policy_check(&i.table, recovery, mailbox, POLICY_MAILBOX_READ), POLICY_DENIED);
	free(i.head);
	rig_done(&first);
	rig_done(&second);
}
END_TEST

START_TEST(the_same_policy_after_the_same_history_gives_the_same_bytes)
{
	AUTO_BUF struct buf a = BUF_INIT(1u << 20), b = BUF_INIT(1u << 20);
	struct rig_image i = small();
	struct errmsg why;
	struct rig r, again;

	mail(&r);
	mail(&again);
	rig_apply(&r, &i, 1);
	ck_assert_int_eq(rig_compile(&r, &i, 2, &a, &why), 0);
	ck_assert_int_eq(rig_compile(&again, &i, 2, &b, &why), 0);
	ck_assert(slice_eq(buf_slice(&a), buf_slice(&b)));
	ck_assert(policy_bank_valid(i.head, buf_slice(&a), NULL));
	ck_assert_uint_eq(policy_number_of(buf_slice(&a), &r.p, false, rig_find(&r, false, "mail.recovery")), rig_number(&i, false, "mail.recovery"));
	ck_assert_uint_eq(policy_number_of(buf_slice(&a), &r.p, true, 0), 0);
	free(i.head);
	rig_done(&r);
	rig_done(&again);
}
END_TEST

START_TEST(a_policy_that_does_not_fit_is_refused_with_what_to_do)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct rig_image i = rig_image_of(4, 8, 4096);
	struct errmsg why;
	struct rig r;

	mail(&r);	/* 3 subjects and nobody: just fits */
	rig_apply(&r, &i, 1);
	rig_subject(&r, POLICY_ROOT, "node.operator", NULL);
	ck_assert_int_eq(rig_compile(&r, &i, 2, &out, &why), -E2BIG);
	ck_assert_ptr_nonnull(strstr(why.text, "numbers for 3 subjects"));
	rig_done(&r);

	/* The names of objects above the room for them. */
	free(i.head);
	i = rig_image_of(4, 32, 60);
	mail(&r);
	ck_assert_int_eq(policy_compile(&r.arena, &r.p, 1, i.head, (struct slice){ 0 }, &out, &why), -E2BIG);
	ck_assert_ptr_nonnull(strstr(why.text, "room for 60 bytes"));
	free(i.head);
	rig_done(&r);
}
END_TEST

START_TEST(a_table_grows_and_shrinks_in_place)
{
	struct rig_image i = rig_image_of(256, 512, 65536);
	uint32_t first = 0, number;
	struct rig r;
	char name[24];

	for (uint32_t labels = 1; labels <= 200; labels = labels * 3 + 1) {
		mail(&r);
		for (uint32_t k = 0; k < labels; k++) {
			snprintf(name, sizeof(name), "more.s%u", k);
			rig_subject(&r, POLICY_ROOT, name, NULL);
			snprintf(name, sizeof(name), "more.f%u", k);
			rig_object(&r, POLICY_FILE, POLICY_TREE, name, name);
			r.p.objects[r.p.object_count - 1].text = "/";
		}
		snprintf(name, sizeof(name), "more.s%u", labels - 1);
		rig_allow(&r, name, POLICY_FILE_READ, "more.f0", 0);
		rig_apply(&r, &i, labels);
		number = rig_number(&i, false, "mail.recovery");
		ck_assert(first == 0 || number == first);
		first = number;
		ck_assert_int_eq(check(&i, "mail.recovery", "mailbox", POLICY_MAILBOX_READ), POLICY_ALLOWED);
		ck_assert_int_eq(check(&i, name, "more.f0", POLICY_FILE_READ), POLICY_ALLOWED);
		ck_assert_int_eq(check(&i, name, "mailbox", UINT32_MAX), POLICY_DENIED);
		/* Behind the last row and behind the last column stand other things. */
		for (uint32_t s = policy_table_subjects(&i.table); s < 300; s++)
			for (uint32_t o = 0; o < 600; o++)
				ck_assert(policy_check(&i.table, s, o, UINT32_MAX) == POLICY_DENIED);
		for (uint32_t o = POLICY_ROW(atomic_load(&i.head->generation)); o < 1200; o++)
			ck_assert(policy_check(&i.table, number, o, UINT32_MAX) == POLICY_DENIED);
		rig_done(&r);
	}
	free(i.head);
}
END_TEST

START_TEST(an_image_has_room_for_the_limits)
{
	static const uint32_t subjects = POLICY_SUBJECT_NUMBERS_MAX, objects = POLICY_OBJECT_NUMBERS_MAX, rest = POLICY_REST_BYTES_MAX;

	ck_assert_uint_ge((uint64_t)POLICY_CELLS_MAX, (uint64_t)POLICY_SUBJECTS_MAX * POLICY_OBJECTS_MAX);
	ck_assert_uint_ne(policy_image_bytes(subjects, objects, rest), 0);
	ck_assert_uint_eq(policy_image_bytes(2 * subjects, 64, 1), 0);
	ck_assert_uint_eq(policy_image_bytes(64, 2 * objects, 1), 0);
	ck_assert_uint_eq(policy_image_bytes(63, 64, 1), 0);
	ck_assert_uint_eq(policy_image_bytes(64, 64, 0), 0);
	ck_assert_uint_eq(policy_image_bytes(64, 64, rest + 1), 0);
}
END_TEST

START_TEST(paths_have_the_label_of_the_longest_tree_or_of_the_file_itself)
{
	static const struct {
		const char *path, *want;
	} cases[] = {
		{ "/srv/app/conf/a.yaml", "web.app" },	{ "/srv/app", "web.app" },	   { "/srv/apple", "web.srv" },
		{ "/srv", "web.srv" },			{ "/etc/hosts", "web.hosts" },	   { "/etc/hosts/x", "web.all" },
		{ "/srv/app/data", "web.data" },	{ "/srv/app/data/x", "web.data" }, { "/", "web.all" },
		{ "/srv/app/one", "web.one" },		{ "/srv/app/../etc/passwd", NULL }, { "/srv/./app", NULL },
		{ "/srv//app", NULL },			{ "/srv/app/", NULL },		   { "srv/app", NULL },
		{ "", NULL },				{ "/srv/app/..", NULL },	   { "/srv/app/...", "web.app" },
	};
	struct rig_image i = small();
	struct rig r;

	rig_init(&r);
	rig_object(&r, POLICY_FILE, POLICY_TREE, "web.all", "/");
	rig_object(&r, POLICY_FILE, POLICY_TREE, "web.app", "/srv/app");
	rig_object(&r, POLICY_FILE, POLICY_TREE, "web.data", "/srv/app/data");
	rig_object(&r, POLICY_FILE, POLICY_PATH, "web.hosts", "/etc/hosts");
	rig_object(&r, POLICY_FILE, POLICY_PATH, "web.one", "/srv/app/one");
	rig_object(&r, POLICY_FILE, POLICY_TREE, "web.one_tree", "/srv/app/one");
	rig_object(&r, POLICY_FILE, POLICY_TREE, "web.srv", "/srv");
	rig_apply(&r, &i, 1);
	for (size_t k = 0; k < ARRAY_LEN(cases); k++)
		ck_assert_msg(policy_object_path(&i.table, slice_str(cases[k].path)) ==
				      (cases[k].want == NULL ? 0 : rig_number(&i, true, cases[k].want)), "%s", cases[k].path);
	ck_assert_uint_eq(policy_object_path(&i.table, slice_of("/srv\0/app", 9)), rig_number(&i, true, "web.all"));
	free(i.head);
	rig_done(&r);
}
END_TEST

START_TEST(endpoints_interfaces_and_messages_are_exact_before_any)
{
	struct rig_image i = small();
	struct rig r;

	rig_init(&r);
	rig_object(&r, POLICY_ENDPOINT, POLICY_HOST_PORT, "web.any", NULL);
	rig_object(&r, POLICY_ENDPOINT, POLICY_HOST_PORT, "web.db", "db")->port = 5432;
	rig_object(&r, POLICY_ENDPOINT, POLICY_HOST_PORT, "web.db_any", "db");
	rig_object(&r, POLICY_ENDPOINT, POLICY_HOST_PORT, "web.https", NULL)->port = 443;
	rig_object(&r, POLICY_PORT, POLICY_NIC, "x.any", NULL);
	rig_object(&r, POLICY_PORT, POLICY_NIC, "x.lan", "eth0");
	rig_object(&r, POLICY_HANDLER, POLICY_MESSAGE, "x.every", NULL);
	rig_object(&r, POLICY_HANDLER, POLICY_MESSAGE, "x.of_kv", NULL)->of = "kv";
	rig_object(&r, POLICY_HANDLER, POLICY_MESSAGE, "x.put", "put");
	rig_object(&r, POLICY_HANDLER, POLICY_MESSAGE, "x.put_kv", "put")->of = "kv";
	rig_apply(&r, &i, 1);
#define NUMBER(name) rig_number(&i, true, name)
	ck_assert_uint_eq(policy_object_endpoint(&i.table, SLICE("db"), 5432), NUMBER("web.db"));
	ck_assert_uint_eq(policy_object_endpoint(&i.table, SLICE("DB"), 5432), NUMBER("web.db"));
	ck_assert_uint_eq(policy_object_endpoint(&i.table, SLICE("db"), 443), NUMBER("web.db_any"));
	ck_assert_uint_eq(policy_object_endpoint(&i.table, SLICE("db2"), 443), NUMBER("web.https"));
	ck_assert_uint_eq(policy_object_endpoint(&i.table, SLICE("d"), 22), NUMBER("web.any"));
	ck_assert_uint_eq(policy_object_nic(&i.table, SLICE("eth0")), NUMBER("x.lan"));
	ck_assert_uint_eq(policy_object_nic(&i.table, SLICE("eth01")), NUMBER("x.any"));
	ck_assert_uint_eq(policy_object_nic(&i.table, SLICE("ETH0")), NUMBER("x.any"));
	ck_assert_uint_eq(policy_object_message(&i.table, SLICE("kv"), SLICE("put")), NUMBER("x.put_kv"));
	ck_assert_uint_eq(policy_object_message(&i.table, SLICE("kv"), SLICE("get")), NUMBER("x.of_kv"));
	ck_assert_uint_eq(policy_object_message(&i.table, SLICE("filter"), SLICE("put")), NUMBER("x.put"));
	ck_assert_uint_eq(policy_object_message(&i.table, SLICE("filter"), SLICE("get")), NUMBER("x.every"));
	ck_assert_uint_eq(policy_object_single(&i.table, POLICY_MAILBOX), 0);
	free(i.head);
	rig_done(&r);
}
END_TEST

START_TEST(code_has_the_subject_that_names_it_most_exactly)
{
	static const uint8_t ops[32] = { 1 }, build[32] = { 2 }, sum[32] = { 3 };
	struct rig_image i = small();
	struct rig r;

	rig_init(&r);
	rig_subject(&r, POLICY_EBPF, "x.any", NULL);
	rig_subject(&r, POLICY_EBPF, "x.named", "router");
	rig_subject(&r, POLICY_EBPF, "x.named_signed", "router")->signer = ops;
	rig_subject(&r, POLICY_EBPF, "x.signed", NULL)->signer = ops;
	rig_subject(&r, POLICY_EBPF, "x.sum", NULL)->sha256 = sum;
	rig_subject(&r, POLICY_JVM, "y.all", "web-*.jar");
	rig_subject(&r, POLICY_JVM, "y.one", "web-1.jar")->signer = build;
	rig_subject(&r, POLICY_JVM, "y.two", "a*b*c.jar");
	rig_subject(&r, POLICY_SERVICE, "z.front", "front");
	rig_subject(&r, POLICY_PROGRAM, "z.all", NULL);
	rig_subject(&r, POLICY_PROGRAM, "z.sh", "/bin/sh");
	rig_subject(&r, POLICY_IN_GROUP, "z.group", "ops");
	rig_subject(&r, POLICY_ROOT, "z.root1", NULL);
	rig_subject(&r, POLICY_ROOT, "z.root0", NULL);
	rig_apply(&r, &i, 1);
#undef NUMBER
#define NUMBER(name) rig_number(&i, false, name)
	ck_assert_uint_eq(policy_subject_ebpf(&i.table, SLICE("filter"), NULL, NULL), NUMBER("x.any"));
	ck_assert_uint_eq(policy_subject_ebpf(&i.table, SLICE("filter"), build, NULL), NUMBER("x.any"));
	ck_assert_uint_eq(policy_subject_ebpf(&i.table, SLICE("filter"), ops, NULL), NUMBER("x.signed"));
	ck_assert_uint_eq(policy_subject_ebpf(&i.table, SLICE("router"), NULL, NULL), NUMBER("x.named"));
	ck_assert_uint_eq(policy_subject_ebpf(&i.table, SLICE("router"), ops, NULL), NUMBER("x.named_signed"));
	ck_assert_uint_eq(policy_subject_ebpf(&i.table, SLICE("router"), ops, sum), NUMBER("x.sum"));
	ck_assert_uint_eq(policy_subject_jvm(&i.table, SLICE("web-2.jar"), NULL, NULL), NUMBER("y.all"));
	ck_assert_uint_eq(policy_subject_jvm(&i.table, SLICE("web-1.jar"), NULL, NULL), NUMBER("y.all"));
	ck_assert_uint_eq(policy_subject_jvm(&i.table, SLICE("web-1.jar"), build, NULL), NUMBER("y.one"));
	ck_assert_uint_eq(policy_subject_jvm(&i.table, SLICE("web-x/y.jar"), NULL, NULL), 0);
	ck_assert_uint_eq(policy_subject_jvm(&i.table, SLICE("web-1.jar.exe"), NULL, NULL), 0);
	ck_assert_uint_eq(policy_subject_jvm(&i.table, SLICE("abbbcc.jar"), NULL, NULL), NUMBER("y.two"));
	ck_assert_uint_eq(policy_subject_jvm(&i.table, SLICE("acc.jar"), NULL, NULL), 0);
	ck_assert_uint_eq(policy_subject_service(&i.table, SLICE("front")), NUMBER("z.front"));
	ck_assert_uint_eq(policy_subject_service(&i.table, SLICE("mx")), 0);
	ck_assert_uint_eq(policy_subject_program(&i.table, SLICE("/bin/sh")), NUMBER("z.sh"));
	ck_assert_uint_eq(policy_subject_program(&i.table, SLICE("/bin/ls")), NUMBER("z.all"));
	ck_assert_uint_eq(policy_subject_group(&i.table, SLICE("ops")), NUMBER("z.group"));
	ck_assert_uint_eq(policy_subject_group(&i.table, SLICE("")), 0);
	ck_assert_uint_eq(policy_subject_role(&i.table, POLICY_ROOT), NUMBER("z.root0"));
	ck_assert_uint_eq(policy_subject_role(&i.table, POLICY_BY_DIRECTORY), 0);
	ck_assert_uint_eq(policy_subject_role(&i.table, 0), 0);
	free(i.head);
	rig_done(&r);
}
END_TEST

/* Each case of compile.h's table, with one permission of a cell on either side. */
START_TEST(an_intersection_allows_what_both_allow)
{
	enum side { NO, YES, BY_OWNER, BY_ACL, BY_EITHER, ON_TRIAL };
	static const struct {
		enum side older, newer, want;
	} cases[] = {
		{ NO, NO, NO },		     { NO, YES, NO },		{ YES, NO, NO },	    { YES, YES, YES },
		{ YES, BY_OWNER, BY_OWNER }, { BY_ACL, YES, BY_ACL },	{ BY_OWNER, BY_ACL, NO },   { BY_EITHER, BY_ACL, BY_ACL },
		{ BY_EITHER, BY_EITHER, BY_EITHER }, { BY_OWNER, NO, NO }, { YES, ON_TRIAL, ON_TRIAL }, { ON_TRIAL, YES, ON_TRIAL },
		{ ON_TRIAL, ON_TRIAL, ON_TRIAL }, { ON_TRIAL, NO, NO },	{ ON_TRIAL, BY_OWNER, NO }, { BY_OWNER, ON_TRIAL, NO },
	};
	static const uint32_t predicates[] = { [BY_OWNER] = OWNER, [BY_ACL] = ACL, [BY_EITHER] = OWNER | ACL };

	for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
		AUTO_BUF struct buf newer = BUF_INIT(1u << 20), both = BUF_INIT(1u << 20);
		struct rig_image i = small();
		struct errmsg why;
		for (int turn = 0; turn < 2; turn++) {
			enum side side = turn == 0 ? cases[k].older : cases[k].newer;
			struct rig r;
			mail(&r);
			if (side == ON_TRIAL)
				r.p.subjects[rig_find(&r, false, "mail.recovery")].trial_until = turn == 0 ? 100 : 200;
			else if (side != NO)
				rig_allow(&r, "mail.recovery", POLICY_MAILBOX_POST, "mailbox", predicates[side]);
			if (turn == 0)
				rig_apply(&r, &i, 4);
			else
				ck_assert_int_eq(rig_compile(&r, &i, 5, &newer, &why), 0);
			rig_done(&r);
		}
		ck_assert_int_eq(policy_intersect(i.head, policy_bank_in_force(&i.table), buf_slice(&newer), &both, &why), 0);
		ck_assert_int_eq(policy_image_flip(i.head, buf_slice(&both), NULL), 0);
		struct policy_full f = policy_cell_full(&i.table, rig_number(&i, false, "mail.recovery"), rig_number(&i, true, "mailbox"), POLICY_MAILBOX_POST);
		enum policy_verdict got = check(&i, "mail.recovery", "mailbox", POLICY_MAILBOX_POST);
		enum side want = cases[k].want;
		ck_assert_msg(got == (want == NO ? POLICY_DENIED : want == YES ? POLICY_ALLOWED : want == ON_TRIAL ? POLICY_TRIAL : POLICY_CONDITIONAL),
			      "case %zu: %d", k, got);
		ck_assert_msg(f.predicates == (got == POLICY_CONDITIONAL ? predicates[want] : 0), "case %zu", k);
		ck_assert(f.epoch == 5 && f.previous == 4);
		ck_assert_int_eq(f.trial_until, cases[k].older == ON_TRIAL ? 100 : cases[k].newer == ON_TRIAL ? 200 : 0);
		ck_assert_int_eq(check(&i, "mail.mailadm", "mailbox", POLICY_MAILBOX_CREATE), POLICY_ALLOWED_AUDITED);
		free(i.head);
	}
}
END_TEST

START_TEST(an_intersection_has_the_edges_of_both_and_the_labels_of_the_newer)
{
	AUTO_BUF struct buf newer = BUF_INIT(1u << 20), both = BUF_INIT(1u << 20);
	struct rig_image i = small();
	struct policy_edge e;
	struct errmsg why;
	struct rig r;

	mail(&r);
	rig_enter(&r, "mail.user", "mail.recovery", false, 0);
	rig_enter(&r, "mail.recovery", "mail.user", false, 7);
	rig_apply(&r, &i, 1);
	rig_done(&r);
	rig_init(&r);
	rig_subject(&r, POLICY_BY_TICKET, "mail.recovery", NULL);
	rig_subject(&r, POLICY_BY_DIRECTORY, "mail.user", NULL);
	rig_subject(&r, POLICY_ROOT, "node.operator", NULL);
	rig_object(&r, POLICY_MAILBOX, POLICY_SINGLE, "mailbox", NULL);
	rig_allow(&r, "node.operator", POLICY_MAILBOX_READ, "mailbox", 0);
	rig_enter(&r, "mail.recovery", "mail.user", true, 0);
	ck_assert_int_eq(rig_compile(&r, &i, 2, &newer, &why), 0);
	ck_assert_int_eq(policy_intersect(i.head, policy_bank_in_force(&i.table), buf_slice(&newer), &both, &why), 0);
	/* The other way round the newer one has fewer numbers. */
	AUTO_BUF struct buf wrong = BUF_INIT(1u << 20);
	ck_assert_int_eq(policy_intersect(i.head, buf_slice(&newer), policy_bank_in_force(&i.table), &wrong, &why), -EBADMSG);
	ck_assert_int_eq(policy_image_flip(i.head, buf_slice(&both), NULL), 0);

	uint32_t user = rig_number(&i, false, "mail.user"), recovery = rig_number(&i, false, "mail.recovery");
	ck_assert(!policy_edge_find(&i.table, user, recovery, &e));
	ck_assert(policy_edge_find(&i.table, recovery, user, &e));
	ck_assert(e.ticket == 1 && e.seconds == 7);
	ck_assert_uint_ne(rig_number(&i, false, "node.operator"), 0);
	ck_assert_int_eq(check(&i, "node.operator", "mailbox", POLICY_MAILBOX_READ), POLICY_DENIED);
	ck_assert_uint_eq(rig_number(&i, false, "mail.mailadm"), 0);
	free(i.head);
	rig_done(&r);
}
END_TEST

START_TEST(a_head_that_lies_about_its_size_is_refused)
{
	struct rig_image i = small();
	struct policy_table t;
	const char *why = "";

	ck_assert_int_eq(policy_table_init(&t, i.head, i.bytes, &why), 0);
	ck_assert_int_eq(policy_table_init(&t, i.head, i.bytes - 1, &why), -EBADMSG);
	ck_assert_int_eq(policy_table_init(&t, i.head, 4095, &why), -EBADMSG);
	ck_assert_int_eq(policy_table_init(&t, (uint8_t *)i.head + 8, i.bytes - 8, &why), -EBADMSG);
	static const size_t fields[] = { offsetof(struct policy_head, magic), offsetof(struct policy_head, abi),
					 offsetof(struct policy_head, file_bytes), offsetof(struct policy_head, bank_offset),
					 offsetof(struct policy_head, bank_offset) + 4, offsetof(struct policy_head, bank_bytes),
					 offsetof(struct policy_head, subjects_max), offsetof(struct policy_head, objects_max),
					 offsetof(struct policy_head, rest_bytes_max) };
	for (size_t k = 0; k < ARRAY_LEN(fields); k++)
		for (uint32_t value = 1; value != 0; value <<= 1) {
			uint32_t *at = (void *)((uint8_t *)i.head + fields[k]), before = *at;
			*at ^= value;
			/* The room for names is rounded up to pages: other values may give the same size. */
			if (fields[k] != offsetof(struct policy_head, rest_bytes_max) || policy_image_bytes(16, 32, *at) != i.bytes)
				ck_assert_int_eq(policy_table_init(&t, i.head, i.bytes, &why), -EBADMSG);
			*at = before;
		}
	free(i.head);
}
END_TEST

START_TEST(damaged_content_is_not_put_in_force)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct rig_image i = small();
	struct errmsg why;
	struct rig r;
	const char *text = "";

	mail(&r);
	rig_apply(&r, &i, 1);
	ck_assert_int_eq(rig_compile(&r, &i, 2, &out, &why), 0);
	uint8_t *at = out.ptr;
	struct policy_bank *b = (void *)at;
	struct policy_cell *cells = (void *)(at + b->cells);
	uint32_t user = policy_number_of(buf_slice(&out), &r.p, false, rig_find(&r, false, "mail.user"));
	uint32_t mailbox = policy_number_of(buf_slice(&out), &r.p, true, rig_find(&r, true, "mailbox"));
#define STRIDE 4	/* nothing, mailbox, account */
#define REFUSED(change, undo)                                                                                            \
	do {                                                                                                             \
		change;                                                                                                  \
		ck_assert_msg(policy_image_flip(i.head, buf_slice(&out), &text) == -EBADMSG, "%s", #change);             \
		ck_assert_uint_eq(policy_cell_full(&i.table, 1, 1, 1).epoch, 1);                                         \
		undo;                                                                                                    \
	} while (0)
	REFUSED(cells[0].allow = 1, cells[0].allow = 0);
	REFUSED(cells[1].allow = 1, cells[1].allow = 0);
	REFUSED(cells[user * STRIDE].trial = 1, cells[user * STRIDE].trial = 0);
	REFUSED(cells[user * STRIDE + STRIDE - 1].allow = 1, cells[user * STRIDE + STRIDE - 1].allow = 0);
	REFUSED(cells[user * STRIDE + mailbox].allow |= 1u << 31, cells[user * STRIDE + mailbox].allow = 0);
	REFUSED(cells[user * STRIDE + mailbox].allow |= POLICY_MAILBOX_READ, cells[user * STRIDE + mailbox].allow = 0);
	REFUSED(cells[user * STRIDE + mailbox].audit |= POLICY_MAILBOX_POST, cells[user * STRIDE + mailbox].audit = 0);
	REFUSED(cells[user * STRIDE + mailbox].conditional |= POLICY_MAILBOX_POST, cells[user * STRIDE + mailbox].conditional &= ~(uint32_t)POLICY_MAILBOX_POST);
	struct policy_predicate_row *rows = (void *)(at + b->predicates);
	REFUSED(rows[0].predicates = 0, rows[0].predicates = OWNER | ACL);
	REFUSED(rows[0].predicates = 4, rows[0].predicates = OWNER | ACL);
	REFUSED(rows[0].permission = POLICY_MAILBOX_APPEND, rows[0].permission = POLICY_MAILBOX_READ);
	REFUSED(rows[0].object++, rows[0].object--);
	struct policy_edge *edges = (void *)(at + b->enters);
	REFUSED(edges[0].to = 0, edges[0].to = 3);
	REFUSED(edges[0].to = 9, edges[0].to = 3);
	struct policy_label *subjects = (void *)(at + b->subject_rows), *objects = (void *)(at + b->object_rows);
	REFUSED(subjects[0].kind = 1, subjects[0].kind = 0);
	REFUSED(subjects[1].kind = 77, subjects[1].kind = POLICY_BY_DIRECTORY);
	REFUSED(subjects[1].kind = 0, subjects[1].kind = POLICY_BY_DIRECTORY);
	REFUSED(subjects[1].name = b->names_bytes, subjects[1].name = 1);
	REFUSED(objects[1].class = POLICY_CLASS_COUNT, objects[1].class = POLICY_MAILBOX);
	REFUSED(objects[1].class = POLICY_NODE, objects[1].class = POLICY_MAILBOX);
	REFUSED(objects[1].kind = POLICY_TREE, objects[1].kind = POLICY_SINGLE);	/* no path */
	REFUSED(at[b->names] = 'x', at[b->names] = 0);
	REFUSED(at[b->bytes - 1] = 'x', at[b->bytes - 1] = 0);
	REFUSED(b->names_bytes++, b->names_bytes--);
	REFUSED(b->subjects = 17, b->subjects = 4);
	REFUSED(b->shift = 1, b->shift = 2);
	REFUSED(b->shift = 3, b->shift = 2);
	REFUSED(b->shift = 77, b->shift = 2);
	REFUSED(b->predicate_count = UINT32_MAX, b->predicate_count = 2);
	REFUSED(b->bytes--, b->bytes++);
	ck_assert_int_eq(policy_image_flip(i.head, slice_of(at, 100), &text), -EBADMSG);
	ck_assert_int_eq(policy_image_flip(i.head, buf_slice(&out), &text), 0);
	ck_assert_uint_eq(policy_cell_full(&i.table, 1, 1, 1).epoch, 2);
	free(i.head);
	rig_done(&r);
}
END_TEST

TEST_MAIN("policy/table", an_empty_image_denies_everything, what_a_rule_allows_is_allowed_and_nothing_else,
	  an_unconditional_rule_covers_a_conditional_one_in_any_order, edges_have_one_row_a_pair_that_no_statement_exceeds,
	  a_trial_lets_through_what_no_never_names_and_not_what_has_no_label, a_label_keeps_its_number_until_its_definition_changes,
	  the_same_policy_after_the_same_history_gives_the_same_bytes, a_policy_that_does_not_fit_is_refused_with_what_to_do,
	  a_table_grows_and_shrinks_in_place, an_image_has_room_for_the_limits, paths_have_the_label_of_the_longest_tree_or_of_the_file_itself,
	  endpoints_interfaces_and_messages_are_exact_before_any, code_has_the_subject_that_names_it_most_exactly,
	  an_intersection_allows_what_both_allow, an_intersection_has_the_edges_of_both_and_the_labels_of_the_newer,
	  a_head_that_lies_about_its_size_is_refused, damaged_content_is_not_put_in_force)
