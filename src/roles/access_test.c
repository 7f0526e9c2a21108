#include "base/test.h"
#include "roles/access.h"

#define ACCOUNT "0123456789abcdef"
#define OTHER	"fedcba9876543210"
#define NOW_US	1000000

static struct grants *table;
static const uint8_t id[GRANT_ID_BYTES] = "id-of-the-grant";

static void give(uint32_t rights, enum role_id role)
{
	struct grant g = { .account = ACCOUNT, .rights = rights, .role = (uint8_t)role, .instance = 1,
			   .lifetime_s = 60, .append_bytes_max = 1000 };

	memcpy(g.id, id, sizeof(id));
	ck_assert_int_eq(grants_add(table, &g, NOW_US), 0);
}

static void set_up(void)
{
	ck_assert_int_eq(grants_new(&table), 0);
	grants_synced(table);
}

/* The smallest operation of each kind. */
static const struct engine_step add_steps[] = {
	{ .kind = GUARD_LENGTH, .at = 0 },
	{ .kind = STEP_WRITE, .value = SLICE_INIT("body") },
	{ .kind = STEP_SET, .key = SLICE_INIT("m\0\0\0\0"), .value = SLICE_INIT("record") },
};
static const struct engine_step overwrite_steps[] = {
	{ .kind = GUARD_LENGTH, .at = 4 },
	{ .kind = STEP_SET, .key = SLICE_INIT("m\0\0\0\0"), .value = SLICE_INIT("record") },
};
static const struct engine_step remove_steps[] = { { .kind = STEP_REMOVE } };

enum act { STAT, READ, KEYS, KEYS_FRAG, KEYS_H, LIST, WATCH, LEASE, ADD, OVERWRITE, REMOVE, ACTS };
#define BIT(act) (1u << (act))
#define READS	(BIT(STAT) | BIT(READ) | BIT(KEYS) | BIT(KEYS_FRAG) | BIT(KEYS_H) | BIT(LIST) | BIT(WATCH))
#define WRITES	(BIT(ADD) | BIT(OVERWRITE) | BIT(REMOVE) | BIT(LEASE))
#define ALL	(READS | WRITES)

static bool try(enum role_id role, unsigned instance, bool with_grant, enum act act, const char *object,
		struct slice notify)
{
	struct engine_op op = { .object = slice_str(object), .notify = notify };
	struct remote_access a = { .grant = with_grant ? id : NULL, .object = slice_str(object) };

	switch (act) {
	case STAT:
		a.call = REMOTE_STAT;
		break;
	case READ:
		a.call = REMOTE_READ;
		break;
	case KEYS:
		a.call = REMOTE_KEYS;
		break;
	case KEYS_FRAG:
		a.call = REMOTE_KEYS;
		a.from = SLICE("frag");
		a.to = SLICE("frah");
		break;
	case KEYS_H:
		a.call = REMOTE_KEYS;
		a.from = SLICE("h");
		a.to = SLICE("i");
		break;
	case LIST:
		a.call = REMOTE_LIST;
		break;
	case WATCH:
		a.call = REMOTE_WATCH;
		break;
	case LEASE:
		a.call = REMOTE_LEASE;
		break;
	case ADD:
		op.steps = add_steps;
		op.count = ARRAY_LEN(add_steps);
		break;
	case OVERWRITE:
		op.steps = overwrite_steps;
		op.count = ARRAY_LEN(overwrite_steps);
		break;
	case REMOVE:
		op.steps = remove_steps;
		op.count = ARRAY_LEN(remove_steps);
		break;
	case ACTS:
		break;
	}
	if (op.count > 0) {
		a.call = REMOTE_APPLY;
		a.op = &op;
	}
	if (role == ROLE_COUNT)		/* a tool of the operator's */
		return access_check_operator(&a) == REMOTE_ALLOW;
	return access_check(table, role, instance, &a, NOW_US) == REMOTE_ALLOW;
}

static const char *const objects[] = {
	"a." ACCOUNT, "i." ACCOUNT ".1.0", "f." ACCOUNT ".0.0", "b." ACCOUNT ".00.0",
	"a." OTHER, "i." OTHER ".1.0", "f." OTHER ".0.0", "b." OTHER ".00.0",
	"u.17", "q.3", "b.queue.00.0", "members", "x." ACCOUNT, "a." ACCOUNT ".x", "i." ACCOUNT, "",
};
enum { HEAD, RANGE, FRAGMENT, STREAM, DIRECTORY = 8, QUEUE, QUEUE_BODY, OBJECTS = ARRAY_LEN(objects) };

/* Every pair of act and object: allowed exactly where `want` has the act's bit. */
static void expect(enum role_id role, bool with_grant, const uint32_t want[OBJECTS])
{
	for (unsigned o = 0; o < OBJECTS; o++)
		for (unsigned act = 0; act < ACTS; act++) {
			bool got = try(role, 1, with_grant, act, objects[o], (struct slice){ 0 });
			ck_assert_msg(got == ((want[o] & BIT(act)) != 0),
				      "role %d, grant %d, act %u on '%s': %s", (int)role, with_grant,
				      act, objects[o], got ? "allowed" : "refused");
		}
}

START_TEST(without_a_grant_each_role_reaches_its_own_objects_alone)
{
	const uint32_t enqueue[OBJECTS] = { [QUEUE] = BIT(STAT) | BIT(ADD), [QUEUE_BODY] = BIT(STAT) | BIT(ADD) };
	const uint32_t auth[OBJECTS] = { [DIRECTORY] = ALL, [HEAD] = BIT(KEYS_H), [4] = BIT(KEYS_H) };
	const uint32_t queue[OBJECTS] = { [QUEUE] = ALL, [QUEUE_BODY] = ALL };
	const uint32_t nothing[OBJECTS] = { 0 };

	set_up();
	expect(ROLE_MX, false, enqueue);
	expect(ROLE_FRONT, false, enqueue);
	expect(ROLE_AUTH, false, auth);
	expect(ROLE_QUEUE, false, queue);
	expect(ROLE_CONTROL, false, nothing);
	expect(ROLE_SUPERVISOR, false, nothing);
	expect(ROLE_FILTER, false, nothing);
	expect(ROLE_WEB, false, nothing);
	expect(ROLE_SPINE, false, nothing);
	grants_free(table);
}
END_TEST

START_TEST(a_grant_opens_one_account_as_far_as_the_role_may)
{
	const uint32_t full[OBJECTS] = { [HEAD] = ALL, [RANGE] = ALL, [FRAGMENT] = ALL, [STREAM] = ALL,
					 [13] = BIT(LEASE), [14] = BIT(LEASE) };
	const uint32_t append[OBJECTS] = { [HEAD] = BIT(KEYS_FRAG), [FRAGMENT] = BIT(STAT) | BIT(ADD),
					   [STREAM] = BIT(STAT) | BIT(ADD) };
	const uint32_t nothing[OBJECTS] = { 0 };
	const uint32_t everything = GRANT_RIGHTS_ALL;

	for (unsigned role = 0; role < ROLE_COUNT; role++) {
		set_up();
		give(everything, role);
		expect(role, true, role == ROLE_FRONT ? full : role == ROLE_MX || role == ROLE_QUEUE ? append : nothing);
		grants_free(table);
	}
}
END_TEST

START_TEST(the_operators_tools_reach_mail_and_read_the_queue_but_no_password)
{
	const uint32_t mail = (ALL & ~(BIT(WATCH) | BIT(LEASE)));
	const uint32_t queue = BIT(STAT) | BIT(READ) | BIT(KEYS) | BIT(KEYS_FRAG) | BIT(KEYS_H) | BIT(LIST);
	const uint32_t want[OBJECTS] = { [HEAD] = mail, mail, mail, mail, mail, mail, mail, mail,
					 [QUEUE] = queue, [QUEUE_BODY] = queue,
					 [13] = BIT(LIST), [14] = BIT(LIST) };
	const uint32_t nothing[OBJECTS] = { 0 };

	expect(ROLE_COUNT, false, want);
	expect(ROLE_COUNT, true, nothing);	/* it has no business with grants */
	ck_assert(try(ROLE_COUNT, 0, false, ADD, objects[FRAGMENT], SLICE("a." ACCOUNT)));
	ck_assert(!try(ROLE_COUNT, 0, false, ADD, objects[FRAGMENT], SLICE("a." OTHER)));
	ck_assert(!try(ROLE_COUNT, 0, false, ADD, objects[FRAGMENT], SLICE("u.1")));
}
END_TEST

START_TEST(an_append_grant_ends_at_its_byte_limit)
{
	int stored = 0;

	set_up();
	give(GRANT_APPEND, ROLE_MX);
	while (stored < 1000 && try(ROLE_MX, 1, true, ADD, objects[FRAGMENT], SLICE("a." ACCOUNT)))
		stored++;
	ck_assert_int_eq(stored, 1000 / 15);	/* "body", the key and "record" */
	give(GRANT_APPEND, ROLE_MX);		/* renewed: what was written stays counted */
	ck_assert(!try(ROLE_MX, 1, true, ADD, objects[FRAGMENT], (struct slice){ 0 }));
	grants_free(table);
}
END_TEST

START_TEST(a_grant_is_worth_nothing_elsewhere_later_or_after_revocation)
{
	struct remote_access a = { .call = REMOTE_STAT, .grant = id, .object = SLICE("a." ACCOUNT) };

	set_up();
	give(GRANT_READ, ROLE_FRONT);
	ck_assert(try(ROLE_FRONT, 1, true, STAT, objects[HEAD], (struct slice){ 0 }));
	ck_assert(!try(ROLE_FRONT, 0, true, STAT, objects[HEAD], (struct slice){ 0 }));
	ck_assert(!try(ROLE_MX, 1, true, STAT, objects[HEAD], (struct slice){ 0 }));
	ck_assert(!try(ROLE_FRONT, 1, true, OVERWRITE, objects[HEAD], (struct slice){ 0 }));
	ck_assert_int_eq(access_check(table, ROLE_FRONT, 1, &a, NOW_US + 59999999), REMOTE_ALLOW);
	ck_assert_int_eq(access_check(table, ROLE_FRONT, 1, &a, NOW_US + 60000000), REMOTE_DENY);
	grants_revoke(table, id);
	ck_assert(!try(ROLE_FRONT, 1, true, STAT, objects[HEAD], (struct slice){ 0 }));
	give(GRANT_READ, ROLE_FRONT);
	grants_drop_process(table, ROLE_FRONT, 0);
	ck_assert(try(ROLE_FRONT, 1, true, STAT, objects[HEAD], (struct slice){ 0 }));
	grants_drop_process(table, ROLE_FRONT, 1);
	ck_assert(!try(ROLE_FRONT, 1, true, STAT, objects[HEAD], (struct slice){ 0 }));
	grants_free(table);
}
END_TEST

START_TEST(a_notice_may_go_to_the_own_account_alone)
{
	set_up();
	give(GRANT_READ | GRANT_WRITE, ROLE_FRONT);
	ck_assert(try(ROLE_FRONT, 1, true, OVERWRITE, objects[HEAD], SLICE("a." ACCOUNT)));
	ck_assert(!try(ROLE_FRONT, 1, true, OVERWRITE, objects[HEAD], SLICE("a." OTHER)));
	ck_assert(!try(ROLE_FRONT, 1, true, OVERWRITE, objects[HEAD], SLICE("u.1")));
	grants_free(table);
}
END_TEST

START_TEST(before_auth_has_sent_its_grants_unknown_ones_are_asked_to_wait)
{
	struct remote_access a = { .call = REMOTE_STAT, .grant = id, .object = SLICE("a." ACCOUNT) };

	ck_assert_int_eq(grants_new(&table), 0);
	ck_assert_int_eq(access_check(table, ROLE_FRONT, 1, &a, NOW_US), REMOTE_NOT_YET);
	grants_synced(table);
	ck_assert_int_eq(access_check(table, ROLE_FRONT, 1, &a, NOW_US), REMOTE_DENY);
	grants_free(table);
}
END_TEST

START_TEST(a_list_in_pieces_names_every_grant_once)
{
	struct grant g = { .account = ACCOUNT, .rights = GRANT_READ, .role = ROLE_FRONT, .lifetime_s = 60 };
	struct grant out[7];
	bool seen[100] = { false };
	uint64_t cursor = 0;

	set_up();
	for (uint8_t i = 0; i < 100; i++) {
		g.id[0] = i;
		ck_assert_int_eq(grants_add(table, &g, NOW_US), 0);
	}
	do {
		size_t n = grants_list(table, &cursor, NOW_US, out, ARRAY_LEN(out));
		for (size_t i = 0; i < n; i++) {
			ck_assert(!seen[out[i].id[0]]);
			ck_assert_uint_eq(out[i].lifetime_s, 60);
			seen[out[i].id[0]] = true;
		}
	} while (cursor != 0);
	for (int i = 0; i < 100; i++)
		ck_assert(seen[i]);
	grants_free(table);
}
END_TEST

TEST_MAIN("roles/access", without_a_grant_each_role_reaches_its_own_objects_alone,
	  a_grant_opens_one_account_as_far_as_the_role_may, an_append_grant_ends_at_its_byte_limit,
	  the_operators_tools_reach_mail_and_read_the_queue_but_no_password,
	  a_grant_is_worth_nothing_elsewhere_later_or_after_revocation,
	  a_notice_may_go_to_the_own_account_alone,
	  before_auth_has_sent_its_grants_unknown_ones_are_asked_to_wait,
	  a_list_in_pieces_names_every_grant_once)
