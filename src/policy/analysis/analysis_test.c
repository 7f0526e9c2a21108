#include "base/test.h"
#include "policy/analysis/analysis.h"
#include "policy/analysis/generate_test.h"

/*
 * A policy by hand, as the parser would resolve it:
 *
 *	mail.mailadm (1) enters mail.recovery (2) with ticket, which enters web.web (4); mail.user (3)
 *	mailbox (1), account (2), web.appdata (3) = tree "/srv/app", web.secret (4) = tree "/srv/app/secret", web.db (5) = host "db" port 5432,
 *	web.any (6) = host any port 5432
 */
static struct policy_subject subjects[] = {
	{ .name = "" },
	{ .name = "mail.mailadm", .kind = POLICY_IN_GROUP, .text = "mail-admins" },
	{ .name = "mail.recovery", .kind = POLICY_BY_TICKET },
	{ .name = "mail.user", .kind = POLICY_BY_DIRECTORY },
	{ .name = "web.web", .kind = POLICY_PROGRAM, .text = "/usr/bin/web" },
};
static struct policy_object objects[] = {
	{ .name = "" },
	{ .name = "mailbox", .class = POLICY_MAILBOX, .kind = POLICY_SINGLE },
	{ .name = "account", .class = POLICY_ACCOUNT, .kind = POLICY_SINGLE },
	{ .name = "web.appdata", .class = POLICY_FILE, .kind = POLICY_TREE, .text = "/srv/app" },
	{ .name = "web.secret", .class = POLICY_FILE, .kind = POLICY_TREE, .text = "/srv/app/secret" },
	{ .name = "web.db", .class = POLICY_ENDPOINT, .kind = POLICY_HOST_PORT, .text = "db", .port = 5432 },
	{ .name = "web.any", .class = POLICY_ENDPOINT, .kind = POLICY_HOST_PORT, .port = 5432 },
};
enum { MAILADM = 1, RECOVERY, USER, WEB };
enum { MAILBOX = 1, ACCOUNT, APPDATA, SECRET, DB, ANY };

static struct policy_rule allows[] = {
	{ (const uint16_t[]){ USER }, 1, POLICY_MAILBOX, POLICY_MAILBOX_READ | POLICY_MAILBOX_LIST, (const uint16_t[]){ MAILBOX }, 1,
	  .predicates = POLICY_OWNER_IS_SUBJECT, .id = 1 },
	{ (const uint16_t[]){ MAILADM, USER }, 2, POLICY_MAILBOX, POLICY_MAILBOX_LIST, (const uint16_t[]){ MAILBOX }, 1, .id = 2 },
	{ (const uint16_t[]){ RECOVERY }, 1, POLICY_MAILBOX, POLICY_MAILBOX_READ, (const uint16_t[]){ MAILBOX }, 1, .audit = true, .id = 3 },
	{ (const uint16_t[]){ WEB }, 1, POLICY_FILE, POLICY_FILE_READ, (const uint16_t[]){ APPDATA }, 1, .id = 4 },
};
static struct policy_enter enters[] = {
	{ .from = MAILADM, .to = RECOVERY, .ticket = true, .id = 5 },
	{ .from = RECOVERY, .to = WEB, .id = 6 },
};
static struct policy_use_rule use_rules[] = {
	{ (const uint16_t[]){ WEB }, 1, POLICY_USE_HELPER, (const char *const[]){ "default", "trace_printk" }, 2, .id = 7 },
	{ (const uint16_t[]){ WEB }, 1, POLICY_USE_HELPER, (const char *const[]){ "redirect_map", "trace_printk" }, 2, .revocable = true, .id = 8 },
};
static struct policy base = {
	.subjects = subjects, .subject_count = ARRAY_LEN(subjects), .objects = objects, .object_count = ARRAY_LEN(objects),
	.allows = allows, .allow_count = ARRAY_LEN(allows), .enters = enters, .enter_count = ARRAY_LEN(enters),
	.uses = use_rules, .use_count = ARRAY_LEN(use_rules), .statement_count = 8,
	.sources = (struct policy_source[]){ { "a.policy", { NULL, 0 } } }, .source_count = 1,
};

static const struct analysis *analyse(const struct policy *p)
{
	static struct arena arena = ARENA_INIT(1 << 24);
	const struct analysis *a;

	ck_assert_int_eq(analysis_new(&arena, p, &a), 0);
	return a;
}

START_TEST(rights_add_up)
{
	const struct analysis *a = analyse(&base);
	struct analysis_right r = analysis_right(a, USER, MAILBOX);

	ck_assert_uint_eq(r.allow, POLICY_MAILBOX_LIST);
	ck_assert_uint_eq(r.conditional, POLICY_MAILBOX_READ);
	ck_assert_uint_eq(r.audit, 0);
	r = analysis_right(a, RECOVERY, MAILBOX);
	ck_assert_uint_eq(r.allow, POLICY_MAILBOX_READ);
	ck_assert_uint_eq(r.audit, POLICY_MAILBOX_READ);
}
END_TEST

START_TEST(what_has_no_label_has_no_rights)
{
	const struct analysis *a = analyse(&base);
	const uint16_t none[] = { 0, ARRAY_LEN(subjects), 65535 };

	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		struct analysis_right r = analysis_right(a, none[i], MAILBOX);
		ck_assert_uint_eq(r.allow | r.conditional | r.audit, 0);
		r = analysis_right(a, USER, none[i]);
		ck_assert_uint_eq(r.allow | r.conditional | r.audit, 0);
		ck_assert_uint_eq(analysis_path(a, none[i], USER, NULL, 0), 0);
	}
}
END_TEST

START_TEST(a_path_has_the_least_edges)
{
	const struct analysis *a = analyse(&base);
	uint16_t path[8];

	ck_assert_uint_eq(analysis_path(a, MAILADM, WEB, path, 8), 3);
	ck_assert_uint_eq(path[0], MAILADM);
	ck_assert_uint_eq(path[1], RECOVERY);
	ck_assert_uint_eq(path[2], WEB);
	ck_assert_uint_eq(analysis_path(a, MAILADM, MAILADM, path, 8), 1);
	ck_assert_uint_eq(analysis_path(a, WEB, MAILADM, path, 8), 0);
	ck_assert_uint_eq(analysis_path(a, USER, WEB, path, 8), 0);
}
END_TEST

START_TEST(rules_are_those_that_allow_it)
{
	const struct analysis *a = analyse(&base);
	const struct policy_rule *rules[4];

	ck_assert_uint_eq(analysis_rules(a, USER, MAILBOX, POLICY_MAILBOX_LIST, rules, 4), 2);
	ck_assert_uint_eq(rules[0]->id, 1);
	ck_assert_uint_eq(rules[1]->id, 2);
	ck_assert_uint_eq(analysis_rules(a, MAILADM, MAILBOX, POLICY_MAILBOX_READ, rules, 4), 0);
}
END_TEST

START_TEST(sets_of_two_rules_are_one_sorted_set)
{
	const struct analysis *a = analyse(&base);
	const char *const *names;

	ck_assert_uint_eq(analysis_uses(a, WEB, POLICY_USE_HELPER, &names), 3);
	ck_assert_str_eq(names[0], "default");
	ck_assert_str_eq(names[1], "redirect_map");
	ck_assert_str_eq(names[2], "trace_printk");
	ck_assert_uint_eq(analysis_uses(a, WEB, POLICY_USE_KFUNC, &names), 0);
	ck_assert(analysis_use_revocable(a, WEB, POLICY_USE_HELPER, "redirect_map"));
	ck_assert(!analysis_use_revocable(a, WEB, POLICY_USE_HELPER, "csum_diff"));
}
END_TEST

static size_t breaches(struct policy_rule never, const char *const *texts)
{
	struct policy p = base;
	AUTO_BUF struct buf errors = BUF_INIT(1 << 16), warnings = BUF_INIT(1 << 16);

	p.nevers = &never;
	p.never_count = 1;
	size_t count = analysis_check(analyse(&p), &errors, &warnings);
	for (; texts != NULL && *texts != NULL; texts++)
		ck_assert_msg(strstr(buf_cstr(&errors), *texts) != NULL, "no '%s' in: %s", *texts, buf_cstr(&errors));
	return count;
}

START_TEST(a_never_takes_rights_that_are_conditional_too)
{
	struct policy_rule never = { (const uint16_t[]){ USER }, 1, POLICY_MAILBOX, POLICY_MAILBOX_READ, (const uint16_t[]){ MAILBOX }, 1,
				     .because = "quiet" };

	ck_assert_uint_eq(breaches(never, (const char *const[]){ "this allow lets", "breaks this never: \"quiet\"", NULL }), 1);
	never.permissions = POLICY_MAILBOX_APPEND;
	ck_assert_uint_eq(breaches(never, NULL), 0);
}
END_TEST

START_TEST(a_never_by_any_path_follows_enter)
{
	struct policy_rule never = { (const uint16_t[]){ MAILADM }, 1, POLICY_FILE, POLICY_FILE_READ, (const uint16_t[]){ APPDATA, SECRET }, 2 };

	ck_assert_uint_eq(breaches(never, NULL), 0);
	never.by_any_path = true;
	ck_assert_uint_eq(breaches(never, (const char *const[]){ "mailadm -> ", "recovery (with ticket) -> ", NULL }), 1);
	never.subjects = (const uint16_t[]){ USER };
	ck_assert_uint_eq(breaches(never, NULL), 0);
}
END_TEST

START_TEST(a_never_use_sees_into_sets)
{
	struct policy p = base;
	struct policy_use_rule rules[3] = { use_rules[0], use_rules[1],
		{ (const uint16_t[]){ WEB }, 1, POLICY_USE_HELPER, (const char *const[]){ "csum_diff" }, 1, .never = true } };
	AUTO_BUF struct buf errors = BUF_INIT(1 << 16), warnings = BUF_INIT(1 << 16);

	p.uses = rules;
	p.use_count = 3;
	ck_assert_uint_eq(analysis_check(analyse(&p), &errors, &warnings), 1);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&errors), "use helper csum_diff (by 'default')"));
	rules[2].names = (const char *const[]){ "probe_read" };
	ck_assert_uint_eq(analysis_check(analyse(&p), &errors, &warnings), 0);
}
END_TEST

static const struct {
	const char *name;
	struct policy_expect expect;
	size_t errors;
} expectations[] = {
	{ "a right that is there", { .what = POLICY_EXPECT_ALLOW, .subject = WEB, .class = POLICY_FILE, .permission = POLICY_FILE_READ, .object = APPDATA }, 0 },
	{ "a right that is not there", { .what = POLICY_EXPECT_ALLOW, .subject = WEB, .class = POLICY_FILE, .permission = POLICY_FILE_READ, .object = SECRET }, 1 },
	{ "a conditional right is allowed",
	  { .what = POLICY_EXPECT_ALLOW, .subject = USER, .class = POLICY_MAILBOX, .permission = POLICY_MAILBOX_READ, .object = MAILBOX }, 0 },
	{ "and not denied",
	  { .what = POLICY_EXPECT_DENY, .subject = USER, .class = POLICY_MAILBOX, .permission = POLICY_MAILBOX_READ, .object = MAILBOX }, 1 },
	{ "a path below a tree", { .what = POLICY_EXPECT_ALLOW, .subject = WEB, .class = POLICY_FILE, .permission = POLICY_FILE_READ,
	    .target = { .class = POLICY_FILE, .kind = POLICY_PATH, .text = "/srv/app/a/b" } }, 0 },
	{ "a path that climbs", { .what = POLICY_EXPECT_DENY, .subject = WEB, .class = POLICY_FILE, .permission = POLICY_FILE_READ,
	    .target = { .class = POLICY_FILE, .kind = POLICY_PATH, .text = "/srv/app/../etc/passwd" } }, 0 },
	{ "a path in a tree of its own", { .what = POLICY_EXPECT_DENY, .subject = WEB, .class = POLICY_FILE, .permission = POLICY_FILE_READ,
	    .target = { .class = POLICY_FILE, .kind = POLICY_PATH, .text = "/srv/app/secret/key" } }, 0 },
	{ "a file of a program is held by its floor", { .what = POLICY_EXPECT_STATIC, .subject = WEB, .class = POLICY_FILE, .permission = POLICY_FILE_READ }, 0 },
	{ "a conditional right is not static", { .what = POLICY_EXPECT_STATIC, .subject = USER, .class = POLICY_MAILBOX, .permission = POLICY_MAILBOX_READ }, 1 },
	{ "all of a class", { .what = POLICY_EXPECT_ALLOW, .subject = WEB, .class = POLICY_FILE, .permission = POLICY_FILE_READ }, 1 },
	{ "none of a class", { .what = POLICY_EXPECT_DENY, .subject = WEB, .class = POLICY_FILE, .permission = POLICY_FILE_WRITE }, 0 },
	{ "a helper of a set", { .what = POLICY_EXPECT_ALLOW, .subject = WEB, .use = POLICY_USE_HELPER, .use_name = "csum_diff" }, 0 },
	{ "a revocable helper is not static", { .what = POLICY_EXPECT_STATIC, .subject = WEB, .use = POLICY_USE_HELPER, .use_name = "redirect_map" }, 1 },
};

START_TEST(expectations_are_judged)
{
	for (size_t i = 0; i < ARRAY_LEN(expectations); i++) {
		struct policy p = base;
		struct policy_expect e = expectations[i].expect;
		AUTO_BUF struct buf errors = BUF_INIT(1 << 16), warnings = BUF_INIT(1 << 16);
		p.expects = &e;
		p.expect_count = 1;
		ck_assert_msg(analysis_check(analyse(&p), &errors, &warnings) == expectations[i].errors, "%s: %s", expectations[i].name,
			      buf_cstr(&errors));
	}
}
END_TEST

static const struct {
	struct policy_object target;
	uint16_t want;
} lookups[] = {
	{ { .kind = POLICY_PATH, .text = "/srv/app" }, APPDATA },
	{ { .kind = POLICY_PATH, .text = "/srv/app/x" }, APPDATA },
	{ { .kind = POLICY_PATH, .text = "/srv/apps" }, 0 },
	{ { .kind = POLICY_PATH, .text = "/srv/app/secret" }, SECRET },
	{ { .kind = POLICY_PATH, .text = "/srv/app/secrets" }, APPDATA },
	{ { .kind = POLICY_PATH, .text = "/srv/app/./x" }, 0 },
	{ { .kind = POLICY_PATH, .text = "/srv/app//x" }, 0 },
	{ { .kind = POLICY_PATH, .text = "/srv/app/" }, 0 },
	{ { .kind = POLICY_PATH, .text = "srv/app" }, 0 },
	{ { .kind = POLICY_HOST_PORT, .text = "db", .port = 5432 }, DB },
	{ { .kind = POLICY_HOST_PORT, .text = "other", .port = 5432 }, ANY },
	{ { .kind = POLICY_HOST_PORT, .text = "db", .port = 22 }, 0 },
	{ { .kind = POLICY_SINGLE, .class = POLICY_ACCOUNT }, ACCOUNT },
	{ { .kind = POLICY_NIC, .text = "eth0" }, 0 },
};

START_TEST(names_are_looked_up_by_the_longest_match)
{
	for (size_t i = 0; i < ARRAY_LEN(lookups); i++)
		ck_assert_msg(analysis_lookup(&base, &lookups[i].target) == lookups[i].want, "%s: %u", lookups[i].target.text,
			      analysis_lookup(&base, &lookups[i].target));
}
END_TEST

START_TEST(who_can_ever_follows_enter_to_the_nearest_holder)
{
	struct arena arena = ARENA_INIT(1 << 20);
	const struct analysis *a = analyse(&base);
	struct analysis_who *who;

	ck_assert_uint_eq(analysis_who_can(a, &arena, false, POLICY_MAILBOX_READ, MAILBOX, &who), 2);
	ck_assert_uint_eq(who[0].subject, RECOVERY);
	ck_assert_uint_eq(who[0].predicates, 0);
	ck_assert_uint_eq(who[1].subject, USER);
	ck_assert_uint_eq(who[1].predicates, POLICY_OWNER_IS_SUBJECT);
	ck_assert_uint_eq(who[1].rule->id, 1);
	ck_assert_uint_eq(analysis_who_can(a, &arena, true, POLICY_MAILBOX_READ, MAILBOX, &who), 3);
	ck_assert_uint_eq(who[0].subject, MAILADM);
	ck_assert(who[0].ticket);
	ck_assert_uint_eq(who[0].path_count, 2);
	ck_assert_uint_eq(who[0].path[1], RECOVERY);
	ck_assert_uint_eq(who[0].rule->id, 3);
	ck_assert_uint_eq(analysis_who_can(a, &arena, true, POLICY_MAILBOX_READ, 0, &who), 0);
	arena_done(&arena);
}
END_TEST

/* All pairs, by single questions. */
static size_t changed_cells(const struct analysis *before, const struct analysis *after, size_t subjects_count, size_t objects_count)
{
	size_t count = 0;

	for (uint16_t s = 1; s < subjects_count; s++) {
		for (uint16_t o = 1; o < objects_count; o++) {
			struct analysis_right was = analysis_right(before, s, o), now = analysis_right(after, s, o);
			count += was.allow != now.allow || was.conditional != now.conditional;
		}
	}
	return count;
}

START_TEST(the_difference_has_each_changed_cell_once)
{
	struct generate g = { 7, 30, 40, 300, 10, 0, 4, false };

	for (unsigned i = 0; i < 20; i++) {
		struct arena arena = ARENA_INIT(1 << 26);
		struct policy *p = generate_policy(&arena, &g), less = *p;
		const struct analysis *a = analyse(p), *b;
		struct analysis_change *changes;
		size_t count, cells = 0;
		less.allow_count -= 1 + i;
		b = analyse(&less);
		ck_assert_int_eq(analysis_diff(&arena, a, a, &changes, &count), 0);
		ck_assert_uint_eq(count, 0);
		ck_assert_int_eq(analysis_diff(&arena, a, b, &changes, &count), 0);
		for (size_t k = 0; k < count; k++) {
			if (changes[k].what != NULL)
				continue;
			ck_assert_uint_eq(changes[k].gained | changes[k].now_unconditional, 0);
			ck_assert_uint_ne(changes[k].lost | changes[k].now_conditional, 0);
			cells++;
		}
		ck_assert_uint_eq(cells, changed_cells(a, b, p->subject_count, p->object_count));
		arena_done(&arena);
	}
}
END_TEST

START_TEST(the_difference_tells_of_labels_and_edges)
{
	struct arena arena = ARENA_INIT(1 << 20);
	struct policy_object moved[ARRAY_LEN(objects)];
	struct policy p = base;
	struct analysis_change *changes;
	size_t count;

	memcpy(moved, objects, sizeof(objects));
	moved[APPDATA].text = "/srv/web";
	p.objects = moved;
	p.enter_count = 1;
	p.use_count = 1;
	ck_assert_int_eq(analysis_diff(&arena, analyse(&base), analyse(&p), &changes, &count), 0);
	ck_assert_uint_eq(count, 4);
	ck_assert_str_eq(changes[0].what, "the label is now tree \"/srv/web\" (was tree \"/srv/app\")");
	ck_assert_str_eq(changes[1].what, "may no more enter web.web");
	ck_assert_str_eq(changes[2].use_name, "redirect_map");
	ck_assert(!changes[2].use_gained);
	ck_assert_str_eq(changes[3].what, "use helper trace_printk: not checked any more at run time");
	arena_done(&arena);
}
END_TEST

START_TEST(another_predicate_is_a_difference)
{
	struct arena arena = ARENA_INIT(1 << 20);
	struct policy_rule rules[ARRAY_LEN(allows)];
	struct policy p = base;
	struct analysis_change *changes;
	size_t count;

	memcpy(rules, allows, sizeof(allows));
	rules[0].predicates = POLICY_ACL_GRANTS_SUBJECT;
	p.allows = rules;
	ck_assert_int_eq(analysis_diff(&arena, analyse(&base), analyse(&p), &changes, &count), 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_str_eq(changes[0].what, "read: now where acl grants subject (was: where owner is subject)");
	arena_done(&arena);
}
END_TEST

TEST_MAIN("policy/analysis", rights_add_up, what_has_no_label_has_no_rights, a_path_has_the_least_edges, rules_are_those_that_allow_it,
	  sets_of_two_rules_are_one_sorted_set, a_never_takes_rights_that_are_conditional_too, a_never_by_any_path_follows_enter,
	  a_never_use_sees_into_sets, expectations_are_judged, names_are_looked_up_by_the_longest_match,
	  who_can_ever_follows_enter_to_the_nearest_holder, the_difference_has_each_changed_cell_once,
	  the_difference_tells_of_labels_and_edges, another_predicate_is_a_difference)
