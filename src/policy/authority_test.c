#include "policy/authority.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/test.h"
#include "policy/table/compile.h"

static const char text[] =
	"module mail\n"
	"role user = principal mapped by directory\n"
	"role adm = principal in group \"adm\"\n"
	"role recovery = principal by ticket\n"
	"role deep = principal by ticket\n"
	"allow user list, read mailbox where owner is subject\n"
	"allow user append mailbox where owner is subject or acl grants subject\n"
	"allow adm create mailbox audit always\n"
	"allow adm quota mailbox\n"
	"enter adm -> recovery with ticket for 30m audit always\n"
	"enter recovery -> deep for 2h\n"
	"allow recovery read mailbox\n"
	"allow deep list mailbox\n"
	"module on-trial\n"
	"role guest = principal in group \"guests\"\n"
	"trial guest until 2026-12-01\n"
	"allow guest list mailbox\n";

#define BEFORE_END_S 1796000000		/* 2026-11-29 */
#define AFTER_END_S  1796200000		/* 2026-12-02 */

static struct {
	struct authority a;
	struct policy_ring_reader reader;
	int64_t now_us;
	uint32_t mailbox;
} rig;

static int64_t rig_now(void *arg)
{
	return rig.now_us;
}

static void put_in_force(void)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf errors = BUF_INIT(65536), bank = BUF_INIT(1u << 24);
	const struct policy *p;
	const char *what;
	static const uint32_t subjects = 64, objects = 256, rest = 65536;
	struct errmsg why;
	void *image;
	size_t bytes;

	ck_assert_msg(policy_parse(&arena, "test", slice_of(text, sizeof(text) - 1), NULL, NULL, &p, &errors) == 0, "%s", buf_cstr(&errors));
	bytes = policy_image_bytes(subjects, objects, rest);
	image = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(image, MAP_FAILED);
	policy_image_format(image, subjects, objects, rest, (const uint8_t[16]){ 0 });
	ck_assert_int_eq(policy_compile(&arena, p, 7, image, (struct slice){ 0 }, &bank, &why), 0);
	ck_assert_int_eq(policy_image_flip(image, buf_slice(&bank), &what), 0);
	ck_assert_int_eq(policy_table_init(&rig.a.table, image, bytes, &what), 0);
}

static void rig_open(void)
{
	int fd = memfd_create("ring", MFD_CLOEXEC);
	struct policy_ring *ring;
	struct errmsg why;

	put_in_force();
	ck_assert_int_eq(ftruncate(fd, (off_t)policy_ring_bytes(64)), 0);
	ring = mmap(NULL, policy_ring_bytes(64), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	policy_ring_format(ring, 64, 1, "test", 1000000);
	ck_assert_int_eq(policy_ring_attach(&rig.a.ring, fd, &why), 0);
	ck_assert_int_eq(policy_ring_open(&rig.reader, fd, 1, "test", &why), 0);
	rig.a.now_us = rig_now;
	rig.now_us = (int64_t)BEFORE_END_S * 1000000;
	rig.mailbox = policy_object_single(&rig.a.table, POLICY_MAILBOX);
	ck_assert_uint_ne(rig.mailbox, 0);
}

static struct policy_actor actor(const char *name)
{
	struct policy_actor out;

	actor_init(&out, policy_subject_named(&rig.a.table, slice_str(name)), SLICE("ann@example.org"));
	ck_assert_uint_ne(out.label[0], 0);
	return out;
}

static bool allows(const struct policy_actor *a, uint32_t permission, uint32_t holds, struct policy_denial *why)
{
	return authority_allows(&rig.a, a, POLICY_MAILBOX, rig.mailbox, permission, holds, SLICE("ann/INBOX"), SLICE("SELECT"), why);
}

/* The next record, which must be there. */
static struct policy_record record(void)
{
	struct policy_record r;

	ck_assert(policy_ring_read(&rig.reader, &r));
	return r;
}

static void no_record(void)
{
	struct policy_record r;

	ck_assert(!policy_ring_read(&rig.reader, &r));
}

START_TEST(what_no_rule_allows_is_refused_and_recorded)
{
	struct policy_denial why;
	struct policy_record r;
	char id[24];

	rig_open();
	struct policy_actor adm = actor("mail.adm");
	ck_assert(!allows(&adm, POLICY_MAILBOX_READ, POLICY_OWNER_IS_SUBJECT, &why));
	r = record();
	ck_assert_uint_eq(r.result, POLICY_RESULT_DENIED);
	ck_assert_uint_eq(r.subject, adm.label[0]);
	ck_assert_uint_eq(r.object, rig.mailbox);
	ck_assert_uint_eq(r.permission, POLICY_MAILBOX_READ);
	ck_assert_uint_eq(r.epoch, 7);
	ck_assert_uint_eq(why.id, policy_decision_id(1, r.sequence));
	policy_decision_text(why.id, id);
	ck_assert_ptr_ne(strstr(why.text, "mail.adm may not read mailbox"), NULL);
	ck_assert_ptr_ne(strstr(why.text, id), NULL);
	ck_assert_str_eq(policy_record_texts(&r).who, "ann@example.org");
	ck_assert_uint_eq(rig.a.denied, 1);
}
END_TEST

START_TEST(what_a_rule_allows_leaves_no_record_unless_the_policy_says_audit)
{
	rig_open();
	struct policy_actor adm = actor("mail.adm");
	ck_assert(allows(&adm, POLICY_MAILBOX_QUOTA, 0, NULL));
	no_record();
	ck_assert(allows(&adm, POLICY_MAILBOX_CREATE, 0, NULL));
	ck_assert_uint_eq(record().result, POLICY_RESULT_ALLOWED);
}
END_TEST

START_TEST(a_conditional_rule_holds_where_one_of_its_predicates_does)
{
	struct policy_record r;

	rig_open();
	struct policy_actor user = actor("mail.user");
	ck_assert(allows(&user, POLICY_MAILBOX_READ, POLICY_OWNER_IS_SUBJECT, NULL));
	ck_assert(allows(&user, POLICY_MAILBOX_APPEND, POLICY_ACL_GRANTS_SUBJECT, NULL));
	no_record();
	ck_assert(!allows(&user, POLICY_MAILBOX_READ, POLICY_ACL_GRANTS_SUBJECT, NULL));
	r = record();
	ck_assert_uint_eq(r.predicates, POLICY_OWNER_IS_SUBJECT);
	ck_assert_uint_eq(policy_predicates_wanted(&rig.a, &user, rig.mailbox, POLICY_MAILBOX_READ), POLICY_OWNER_IS_SUBJECT);
	ck_assert_uint_eq(policy_predicates_wanted(&rig.a, &user, rig.mailbox, POLICY_MAILBOX_READ | POLICY_MAILBOX_APPEND), POLICY_PREDICATES_ALL);
	ck_assert_uint_eq(policy_predicates_wanted(&rig.a, &user, rig.mailbox, POLICY_MAILBOX_QUOTA), 0);
	ck_assert_uint_eq(authority_rights(&rig.a, &user, rig.mailbox, UINT32_MAX, POLICY_OWNER_IS_SUBJECT),
			  POLICY_MAILBOX_LIST | POLICY_MAILBOX_READ | POLICY_MAILBOX_APPEND);
	ck_assert_uint_eq(authority_rights(&rig.a, &user, rig.mailbox, UINT32_MAX, POLICY_ACL_GRANTS_SUBJECT), POLICY_MAILBOX_APPEND);
	no_record();
}
END_TEST

START_TEST(a_trial_lets_through_and_records_until_it_ends)
{
	rig_open();
	struct policy_actor guest = actor("on-trial.guest");
	ck_assert(allows(&guest, POLICY_MAILBOX_READ, 0, NULL));
	ck_assert_uint_eq(record().result, POLICY_RESULT_TRIAL);
	ck_assert_uint_ne(authority_rights(&rig.a, &guest, rig.mailbox, POLICY_MAILBOX_READ, 0), 0);
	rig.now_us = (int64_t)AFTER_END_S * 1000000;
	ck_assert(!allows(&guest, POLICY_MAILBOX_READ, 0, NULL));
	ck_assert_uint_eq(record().result, POLICY_RESULT_DENIED);
	ck_assert_uint_eq(authority_rights(&rig.a, &guest, rig.mailbox, POLICY_MAILBOX_READ, 0), 0);
	ck_assert(allows(&guest, POLICY_MAILBOX_LIST, 0, NULL));
}
END_TEST

static int in_scope(struct policy_actor *a, uint32_t to, bool fail)
{
	AUTO_POLICY_SCOPE struct policy_scope scope = { 0 };
	int err = policy_scope_enter(&scope, &rig.a, a, to, true, SLICE("test"), NULL);

	if (err != 0)
		return err;
	ck_assert(allows(a, POLICY_MAILBOX_READ, 0, NULL));
	return fail ? -EIO : 0;
}

START_TEST(a_scope_leaves_on_every_way_out)
{
	struct policy_record r;

	rig_open();
	struct policy_actor adm = actor("mail.adm");
	uint32_t recovery = policy_subject_named(&rig.a.table, SLICE("mail.recovery"));

	ck_assert_int_eq(in_scope(&adm, recovery, false), 0);
	ck_assert_uint_eq(adm.depth, 1);
	ck_assert_int_eq(in_scope(&adm, recovery, true), -EIO);
	ck_assert_uint_eq(adm.depth, 1);
	ck_assert_uint_eq(record().result, POLICY_RESULT_ENTERED);
	r = record();
	ck_assert_uint_eq(r.result, POLICY_RESULT_LEFT);
	ck_assert_uint_eq(r.object, recovery);
	ck_assert_int_eq(in_scope(&adm, adm.label[0], false), -EPERM);
	ck_assert_uint_eq(adm.depth, 1);
	ck_assert(!allows(&adm, POLICY_MAILBOX_READ, 0, NULL));
}
END_TEST

START_TEST(an_edge_with_a_ticket_wants_one_and_ends_by_time)
{
	struct policy_denial why;

	rig_open();
	struct policy_actor adm = actor("mail.adm");
	uint32_t recovery = policy_subject_named(&rig.a.table, SLICE("mail.recovery")), deep = policy_subject_named(&rig.a.table, SLICE("mail.deep"));

	ck_assert_int_eq(authority_enter(&rig.a, &adm, recovery, false, SLICE(""), &why), -EPERM);
	ck_assert_ptr_ne(strstr(why.text, "mail.adm may not enter mail.recovery"), NULL);
	ck_assert_uint_eq(record().permission, 0);
	ck_assert_int_eq(authority_enter(&rig.a, &adm, recovery, true, SLICE(""), &why), 0);
	ck_assert_uint_eq(record().result, POLICY_RESULT_ENTERED);
	/* Two hours, but of the half that is left. */
	ck_assert_int_eq(authority_enter(&rig.a, &adm, deep, false, SLICE(""), &why), 0);
	ck_assert(allows(&adm, POLICY_MAILBOX_LIST, 0, NULL));
	ck_assert(!allows(&adm, POLICY_MAILBOX_READ, 0, NULL));
	struct policy_record r = record();
	ck_assert_uint_eq(r.chain_count, 2);
	ck_assert_uint_eq(r.chain[1], recovery);
	rig.now_us += 30 * 60 * 1000000ll - 1;
	ck_assert(allows(&adm, POLICY_MAILBOX_LIST, 0, NULL));
	rig.now_us += 1;
	ck_assert(!allows(&adm, POLICY_MAILBOX_LIST, 0, &why));
	ck_assert_ptr_ne(strstr(why.text, "the time as mail.deep is up"), NULL);
	ck_assert_int_eq(authority_enter(&rig.a, &adm, deep, true, SLICE(""), &why), -EPERM);
	authority_leave(&rig.a, &adm);
	authority_leave(&rig.a, &adm);
	ck_assert(allows(&adm, POLICY_MAILBOX_QUOTA, 0, NULL));
}
END_TEST

START_TEST(a_stack_of_labels_has_an_end)
{
	struct policy_denial why;

	rig_open();
	struct policy_actor full = actor("mail.adm");
	uint32_t recovery = policy_subject_named(&rig.a.table, SLICE("mail.recovery"));

	while (full.depth < POLICY_STACK_MAX)
		full.label[full.depth++] = full.label[0];
	ck_assert_int_eq(authority_enter(&rig.a, &full, recovery, true, SLICE(""), &why), -E2BIG);
	full.depth--;
	ck_assert_int_eq(authority_enter(&rig.a, &full, recovery, true, SLICE(""), &why), 0);
}
END_TEST

START_TEST(nobody_has_no_rights)
{
	struct policy_actor nobody;

	rig_open();
	actor_init(&nobody, 0, SLICE("who"));
	ck_assert(!allows(&nobody, POLICY_MAILBOX_LIST, POLICY_PREDICATES_ALL, NULL));
	actor_init(&nobody, 65536 + policy_subject_named(&rig.a.table, SLICE("mail.adm")), SLICE("who"));
	ck_assert(!allows(&nobody, POLICY_MAILBOX_QUOTA, POLICY_PREDICATES_ALL, NULL));
	ck_assert_uint_eq(record().subject, 0);
}
END_TEST

TEST_MAIN("policy/authority", what_no_rule_allows_is_refused_and_recorded, what_a_rule_allows_leaves_no_record_unless_the_policy_says_audit,
	  a_conditional_rule_holds_where_one_of_its_predicates_does, a_trial_lets_through_and_records_until_it_ends, a_scope_leaves_on_every_way_out,
	  an_edge_with_a_ticket_wants_one_and_ends_by_time, a_stack_of_labels_has_an_end, nobody_has_no_rights)
