#include <stdio.h>

#include "base/test.h"
#include "engine/memory.h"
#include "mail/directory/directory.h"

struct fixture {
	struct engine *e;
	struct directory *d;
	struct arena arena;
};

static void open_directory(struct fixture *f)
{
	f->e = engine_memory_new();
	ck_assert_ptr_nonnull(f->e);
	ck_assert_int_eq(directory_new(f->e, '+', &f->d), 0);
	arena_init(&f->arena, 16u << 20);
	ck_assert_int_eq(directory_domain_add(f->d, SLICE("example.org"),
					      &(struct domain_record){ .quota_bytes = 1000 }),
			 DIR_OK);
}

static void close_directory(struct fixture *f)
{
	directory_free(f->d);
	engine_close(f->e);
	arena_done(&f->arena);
}

static enum dir_result add_user(struct fixture *f, const char *text)
{
	struct user_record r = { .account = "00112233445566ff", .name = SLICE("Ann") };
	struct address a;

	ck_assert(mail_address_parse(&f->arena, slice_str(text), &a));
	return directory_user_add(f->d, &a, &r);
}

static enum dir_result add_alias(struct fixture *f, const char *name, const char *first,
				 const char *second)
{
	struct slice targets[] = { slice_str(first), slice_str(second) };
	struct alias_record r = { .count = second == NULL ? 1 : 2, .targets = targets };
	struct slice domain = slice_str(strchr(name, '@') + 1);

	return directory_alias_add(f->d, slice_str(name), domain, &r);
}

static enum dir_result resolve(struct fixture *f, const char *text, struct dir_target **t, size_t *n)
{
	struct address a;

	ck_assert(mail_address_parse(&f->arena, slice_str(text), &a));
	*n = 0;
	return directory_resolve(f->d, &f->arena, &a, t, n);
}

static void resolves_to(struct fixture *f, const char *text, const char *address, const char *detail)
{
	struct dir_target *t;
	size_t n;

	ck_assert_int_eq(resolve(f, text, &t, &n), DIR_OK);
	ck_assert_uint_eq(n, 1);
	ck_assert_slice_eq(t[0].address, slice_str(address));
	ck_assert_slice_eq(t[0].detail, slice_str(detail));
}

START_TEST(records_survive_a_round_trip)
{
	struct fixture f;
	struct user_record r = {
		.account = "0123456789abcdef",
		.created_s = 5,
		.disabled = true,
		.own_quota = true,
		.quota_bytes = UINT64_MAX,
		.quota_messages = 7,
		.hash = SLICE("$argon2id$x"),
		.scram = { .iterations = 64000, .salt = SLICE("salt"), .stored_key = { 1 },
			   .server_key = { 2 } },
		.name = SLICE("J\xc3\xb6rg"),
		.groups = SLICE("mail-admins,staff"),
		.system_user = 1000,
	}, got;
	AUTO_BUF struct buf b = BUF_INIT(1000);

	open_directory(&f);
	user_record_encode(&b, &r);
	ck_assert_int_eq(b.err, 0);
	ck_assert(user_record_decode(buf_slice(&b), &got));
	ck_assert_str_eq(got.account, r.account);
	ck_assert(got.disabled && got.own_quota && got.quota_bytes == UINT64_MAX);
	ck_assert_slice_eq(got.hash, r.hash);
	ck_assert_slice_eq(got.scram.salt, r.scram.salt);
	ck_assert_uint_eq(got.scram.server_key[0], 2);
	ck_assert_slice_eq(got.name, r.name);
	ck_assert_slice_eq(got.groups, r.groups);
	ck_assert_uint_eq(got.system_user, 1000);
	/* Every shorter form is refused. */
	for (size_t n = 0; n < b.len; n++)
		ck_assert(!user_record_decode(slice_head(buf_slice(&b), n), &got));
	close_directory(&f);
}
END_TEST

START_TEST(a_user_is_found_after_a_restart_and_from_the_cache)
{
	struct fixture f;
	struct user_record r;
	uint64_t calls;

	open_directory(&f);
	ck_assert_int_eq(add_user(&f, "Ann@Example.org"), DIR_OK);
	directory_free(f.d);
	ck_assert_int_eq(directory_new(f.e, '+', &f.d), 0);
	ck_assert_int_eq(directory_user(f.d, &f.arena, SLICE("ann@example.org"), &r), DIR_OK);
	ck_assert_slice_eq(r.name, SLICE("Ann"));
	ck_assert_int_eq(directory_user(f.d, &f.arena, SLICE("bob@example.org"), &r), DIR_ABSENT);
	calls = engine_memory_calls(f.e);
	ck_assert_int_eq(directory_user(f.d, &f.arena, SLICE("ann@example.org"), &r), DIR_OK);
	ck_assert_int_eq(directory_user(f.d, &f.arena, SLICE("bob@example.org"), &r), DIR_ABSENT);
	ck_assert_uint_eq(engine_memory_calls(f.e), calls);
	ck_assert_int_eq(add_user(&f, "bob@example.org"), DIR_OK);
	ck_assert_int_eq(directory_user(f.d, &f.arena, SLICE("bob@example.org"), &r), DIR_OK);
	close_directory(&f);
}
END_TEST

START_TEST(a_name_is_either_a_user_or_an_alias)
{
	struct fixture f;

	open_directory(&f);
	ck_assert_int_eq(add_user(&f, "ann@example.org"), DIR_OK);
	ck_assert_int_eq(add_user(&f, "ANN@example.org"), DIR_EXISTS);
	ck_assert_int_eq(add_alias(&f, "ann@example.org", "bob@example.org", NULL), DIR_EXISTS);
	ck_assert_int_eq(add_alias(&f, "sales@example.org", "ann@example.org", NULL), DIR_OK);
	ck_assert_int_eq(add_user(&f, "sales@example.org"), DIR_EXISTS);
	ck_assert_int_eq(add_user(&f, "ann@example.net"), DIR_NOT_LOCAL);
	close_directory(&f);
}
END_TEST

START_TEST(recipients_are_found_in_the_order_name_detail_catch_all)
{
	struct fixture f;
	struct dir_target *t;
	size_t n;

	open_directory(&f);
	ck_assert_int_eq(add_user(&f, "ann@example.org"), DIR_OK);
	ck_assert_int_eq(add_user(&f, "bob@example.org"), DIR_OK);
	resolves_to(&f, "ANN@EXAMPLE.ORG", "ann@example.org", "");
	resolves_to(&f, "ann+Lists@example.org", "ann@example.org", "Lists");
	ck_assert_int_eq(resolve(&f, "eve@example.org", &t, &n), DIR_ABSENT);
	ck_assert_int_eq(resolve(&f, "ann@example.net", &t, &n), DIR_NOT_LOCAL);
	ck_assert_int_eq(add_alias(&f, "ann+special@example.org", "bob@example.org", NULL), DIR_OK);
	resolves_to(&f, "ann+special@example.org", "bob@example.org", "");
	ck_assert_int_eq(add_alias(&f, "sales@example.org", "ann@example.org", NULL), DIR_OK);
	resolves_to(&f, "sales+eu@example.org", "ann@example.org", "eu");
	ck_assert_int_eq(add_alias(&f, "@example.org", "bob@example.org", NULL), DIR_OK);
	resolves_to(&f, "eve@example.org", "bob@example.org", "");
	resolves_to(&f, "ann@example.org", "ann@example.org", "");
	close_directory(&f);
}
END_TEST

START_TEST(aliases_in_a_circle_end)
{
	struct fixture f;
	struct dir_target *t;
	size_t n;

	open_directory(&f);
	ck_assert_int_eq(add_alias(&f, "a@example.org", "b@example.org", NULL), DIR_OK);
	ck_assert_int_eq(add_alias(&f, "b@example.org", "a@example.org", NULL), DIR_OK);
	ck_assert_int_eq(resolve(&f, "a@example.org", &t, &n), DIR_LOOP);
	ck_assert_int_eq(add_user(&f, "ann@example.org"), DIR_OK);
	ck_assert_int_eq(add_alias(&f, "c@example.org", "a@example.org", "ann@example.org"), DIR_OK);
	resolves_to(&f, "c@example.org", "ann@example.org", "");
	/* The shortest circle; and an alias whose target is gone, which is none. */
	ck_assert_int_eq(add_alias(&f, "d@example.org", "d@example.org", NULL), DIR_OK);
	ck_assert_int_eq(resolve(&f, "d@example.org", &t, &n), DIR_LOOP);
	ck_assert_int_eq(add_alias(&f, "e@example.org", "gone@example.org", NULL), DIR_OK);
	ck_assert_int_eq(resolve(&f, "e@example.org", &t, &n), DIR_ABSENT);
	close_directory(&f);
}
END_TEST

START_TEST(two_ways_to_one_user_deliver_once)
{
	struct fixture f;

	open_directory(&f);
	ck_assert_int_eq(add_user(&f, "ann@example.org"), DIR_OK);
	ck_assert_int_eq(add_alias(&f, "b@example.org", "ann@example.org", NULL), DIR_OK);
	ck_assert_int_eq(add_alias(&f, "a@example.org", "b@example.org", "ann@example.org"), DIR_OK);
	resolves_to(&f, "a@example.org", "ann@example.org", "");
	close_directory(&f);
}
END_TEST

/* a0 -> a1 -> ... -> ann: `links` aliases. */
static enum dir_result chain(struct fixture *f, unsigned links)
{
	struct dir_target *t;
	char from[40], to[40];
	size_t n;

	for (unsigned i = 0; i < links; i++) {
		snprintf(from, sizeof(from), "a%u@example.org", i);
		snprintf(to, sizeof(to), "a%u@example.org", i + 1);
		ck_assert_int_eq(add_alias(f, from, i + 1 == links ? "ann@example.org" : to, NULL),
				 DIR_OK);
	}
	return resolve(f, "a0@example.org", &t, &n);
}

START_TEST(a_chain_of_ten_aliases_is_followed_and_eleven_are_not)
{
	struct fixture f;

	open_directory(&f);
	ck_assert_int_eq(add_user(&f, "ann@example.org"), DIR_OK);
	ck_assert_int_eq(chain(&f, DIRECTORY_ALIAS_DEPTH_MAX), DIR_OK);
	close_directory(&f);
	open_directory(&f);
	ck_assert_int_eq(add_user(&f, "ann@example.org"), DIR_OK);
	ck_assert_int_eq(chain(&f, DIRECTORY_ALIAS_DEPTH_MAX + 1), DIR_LOOP);
	close_directory(&f);
}
END_TEST

START_TEST(an_alias_reaches_100_users_and_two_of_them_not_101)
{
	struct fixture f;
	struct slice names[DIRECTORY_TARGETS_MAX];
	char text[DIRECTORY_TARGETS_MAX][40];
	struct dir_target *t;
	size_t n;

	open_directory(&f);
	for (unsigned i = 0; i < DIRECTORY_TARGETS_MAX; i++) {
		snprintf(text[i], sizeof(text[i]), "user%u@example.org", i);
		ck_assert_int_eq(add_user(&f, text[i]), DIR_OK);
		names[i] = slice_str(text[i]);
	}
	ck_assert_int_eq(directory_alias_add(f.d, SLICE("all@example.org"), SLICE("example.org"),
					     &(struct alias_record){ .count = ARRAY_LEN(names),
								     .targets = names }),
			 DIR_OK);
	ck_assert_int_eq(resolve(&f, "all@example.org", &t, &n), DIR_OK);
	ck_assert_uint_eq(n, DIRECTORY_TARGETS_MAX);
	ck_assert_int_eq(add_user(&f, "one@example.org"), DIR_OK);
	ck_assert_int_eq(add_alias(&f, "more@example.org", "all@example.org", "one@example.org"),
			 DIR_OK);
	ck_assert_int_eq(resolve(&f, "more@example.org", &t, &n), DIR_LOOP);
	close_directory(&f);
}
END_TEST

START_TEST(quota_comes_from_the_domain_unless_the_user_has_its_own)
{
	struct fixture f;
	struct dir_target *t;
	size_t n;
	struct address a;
	struct user_record own = { .account = "00112233445566fe", .own_quota = true,
				   .quota_bytes = 5 };

	open_directory(&f);
	ck_assert_int_eq(add_user(&f, "ann@example.org"), DIR_OK);
	ck_assert(mail_address_parse(&f.arena, SLICE("bob@example.org"), &a));
	ck_assert_int_eq(directory_user_add(f.d, &a, &own), DIR_OK);
	ck_assert_int_eq(resolve(&f, "ann@example.org", &t, &n), DIR_OK);
	ck_assert_uint_eq(t[0].quota_bytes, 1000);
	ck_assert_int_eq(resolve(&f, "bob@example.org", &t, &n), DIR_OK);
	ck_assert_uint_eq(t[0].quota_bytes, 5);
	close_directory(&f);
}
END_TEST

static struct dir_removed gone;

static bool rename_user(void *arg, struct user_record *r)
{
	r->name = slice_str(arg);
	return true;
}

START_TEST(a_change_is_seen_at_once)
{
	struct fixture f;
	struct user_record r;
	char name[] = "Ann Lee";

	open_directory(&f);
	ck_assert_int_eq(add_user(&f, "ann@example.org"), DIR_OK);
	ck_assert_int_eq(directory_user(f.d, &f.arena, SLICE("ann@example.org"), &r), DIR_OK);
	ck_assert_int_eq(directory_user_change(f.d, SLICE("ann@example.org"), rename_user, name),
			 DIR_OK);
	ck_assert_int_eq(directory_user(f.d, &f.arena, SLICE("ann@example.org"), &r), DIR_OK);
	ck_assert_slice_eq(r.name, SLICE("Ann Lee"));
	ck_assert_int_eq(directory_user_remove(f.d, SLICE("ann@example.org"), &gone), DIR_OK);
	ck_assert_int_eq(directory_user(f.d, &f.arena, SLICE("ann@example.org"), &r), DIR_ABSENT);
	ck_assert_int_eq(directory_user_remove(f.d, SLICE("ann@example.org"), &gone), DIR_ABSENT);
	close_directory(&f);
}
END_TEST

static enum memory_fate lose_answer(void *arg, const struct engine_op *op)
{
	int *left = arg;

	return (*left)-- > 0 ? MEMORY_DO_AND_FAIL : MEMORY_DO;
}

START_TEST(a_write_whose_answer_is_lost_leaves_no_wrong_cache)
{
	struct fixture f;
	struct user_record r;
	int lose = 1;

	open_directory(&f);
	ck_assert_int_eq(directory_user(f.d, &f.arena, SLICE("ann@example.org"), &r), DIR_ABSENT);
	engine_memory_hook(f.e, lose_answer, &lose);
	ck_assert_int_eq(add_user(&f, "ann@example.org"), DIR_UNAVAILABLE);
	ck_assert_int_eq(directory_user(f.d, &f.arena, SLICE("ann@example.org"), &r), DIR_OK);
	close_directory(&f);
}
END_TEST

static size_t noted(struct fixture *f, size_t max, struct dir_removed *out)
{
	uint32_t object = 0;
	bool left = false;
	size_t n, all = 0;

	while (object < DIRECTORY_OBJECTS) {
		ck_assert_int_eq(directory_removed(f->d, &object, max, out, &n, &left), DIR_OK);
		all += n;
	}
	return all;
}

START_TEST(a_removed_user_leaves_a_note_of_the_account_in_the_same_operation)
{
	struct dir_cursor cursor = { 0 };
	struct dir_removed found[10];
	struct user_record r;
	struct slice names[10];
	struct fixture f;
	int lose = 1;
	size_t n = 0;
	bool more;

	open_directory(&f);
	for (int i = 0; i < 5; i++) {
		char name[40];
		snprintf(name, sizeof(name), "user%d@example.org", i);
		ck_assert_int_eq(add_user(&f, name), DIR_OK);
	}
	ck_assert_uint_eq(noted(&f, 10, found), 0);
	ck_assert_int_eq(directory_user_remove(f.d, SLICE("user0@example.org"), &gone), DIR_OK);
	ck_assert_str_eq(gone.account, "00112233445566ff");
	engine_memory_hook(f.e, lose_answer, &lose);
	ck_assert_int_eq(directory_user_remove(f.d, SLICE("user1@example.org"), &gone), DIR_UNAVAILABLE);
	ck_assert_int_eq(directory_user(f.d, &f.arena, SLICE("user1@example.org"), &r), DIR_ABSENT);
	ck_assert_int_eq(directory_user_remove(f.d, SLICE("user2@example.org"), &gone), DIR_OK);
	/* One at a time or all at once. */
	ck_assert_uint_eq(noted(&f, 10, found), 3);
	ck_assert_uint_eq(noted(&f, 1, found), 3);
	ck_assert_int_eq(directory_removed_done(f.d, &gone), DIR_OK);
	ck_assert_int_eq(directory_removed_done(f.d, &gone), DIR_OK);
	ck_assert_uint_eq(noted(&f, 10, found), 2);
	/* Lists of people do not show them. */
	ck_assert_int_eq(directory_list(f.d, &f.arena, DIR_USER, (struct slice){ 0 }, &cursor, 10, names, &n,
					&more), DIR_OK);
	ck_assert_uint_eq(n, 2);
	close_directory(&f);
}
END_TEST

START_TEST(a_domain_with_users_stays)
{
	struct fixture f;

	open_directory(&f);
	ck_assert_int_eq(add_user(&f, "ann@example.org"), DIR_OK);
	ck_assert_int_eq(directory_domain_remove(f.d, SLICE("example.org")), DIR_EXISTS);
	ck_assert_int_eq(directory_user_remove(f.d, SLICE("ann@example.org"), &gone), DIR_OK);
	ck_assert_int_eq(directory_domain_remove(f.d, SLICE("example.org")), DIR_OK);
	ck_assert_int_eq(directory_domain_remove(f.d, SLICE("example.org")), DIR_ABSENT);
	close_directory(&f);
}
END_TEST

START_TEST(a_list_in_small_pages_gives_each_name_once)
{
	struct fixture f;
	struct dir_cursor cursor = { 0 };
	struct slice names[3];
	bool seen[50] = { false }, more = true;
	size_t n, total = 0;

	open_directory(&f);
	ck_assert_int_eq(directory_domain_add(f.d, SLICE("example.net"), &(struct domain_record){ 0 }),
			 DIR_OK);
	ck_assert_int_eq(add_user(&f, "other@example.net"), DIR_OK);
	for (unsigned i = 0; i < ARRAY_LEN(seen); i++) {
		char text[40];

		snprintf(text, sizeof(text), "%u@example.org", i);
		ck_assert_int_eq(add_user(&f, text), DIR_OK);
	}
	while (more) {
		ck_assert_int_eq(directory_list(f.d, &f.arena, DIR_USER, SLICE("example.org"), &cursor,
						3, names, &n, &more),
				 DIR_OK);
		for (size_t i = 0; i < n; i++) {
			struct slice head, tail;
			uint32_t number;

			ck_assert(slice_cut(names[i], '@', &head, &tail));
			ck_assert(slice_u32(head, &number) && number < ARRAY_LEN(seen));
			ck_assert(!seen[number]);
			seen[number] = true;
			total++;
		}
	}
	ck_assert_uint_eq(total, ARRAY_LEN(seen));
	close_directory(&f);
}
END_TEST

START_TEST(the_secret_is_made_once)
{
	struct fixture f;
	uint8_t a[32] = { 1 }, b[32] = { 2 }, got[32];

	open_directory(&f);
	ck_assert_int_eq(directory_secret(f.d, a, got), DIR_OK);
	ck_assert_int_eq(got[0], 1);
	ck_assert_int_eq(directory_secret(f.d, b, got), DIR_OK);
	ck_assert_int_eq(got[0], 1);
	close_directory(&f);
}
END_TEST

START_TEST(a_name_of_126_bytes_is_kept_and_one_of_127_is_refused)
{
	struct fixture f;
	char text[200], host[80];

	open_directory(&f);
	memset(text, 'a', sizeof(text));
	memset(host, 'b', sizeof(host));
	memcpy(host + 57, ".org", 5);
	ck_assert_int_eq(directory_domain_add(f.d, slice_str(host), &(struct domain_record){ 0 }),
			 DIR_OK);
	text[64] = '@';
	memcpy(text + 65, host, 62);
	ck_assert_uint_eq(strlen(text), 126);
	ck_assert_int_eq(add_user(&f, text), DIR_OK);
	memset(host, 'b', sizeof(host));
	memcpy(host + 58, ".org", 5);
	ck_assert_int_eq(directory_domain_add(f.d, slice_str(host), &(struct domain_record){ 0 }),
			 DIR_OK);
	memcpy(text + 65, host, 63);
	ck_assert_int_eq(add_user(&f, text), DIR_TOO_BIG);
	close_directory(&f);
}
END_TEST

START_TEST(a_user_record_without_groups_is_read_as_before)
{
	static const uint8_t old[] = "\x01" "0123456789abcdef" "\x05" "\x00" "\x00\x00" "\x00" "\x00" "\x03" "Ann";
	struct user_record got;

	ck_assert(user_record_decode(slice_of(old, sizeof(old) - 1), &got));
	ck_assert_slice_eq(got.name, SLICE("Ann"));
	ck_assert_uint_eq(got.groups.len, 0);
	ck_assert_uint_eq(got.system_user, 0);
}
END_TEST

START_TEST(groups_are_words_and_each_comes_once)
{
	static const struct { const char *text; bool good; } cases[] = {
		{ "", true }, { "a", true }, { "mail-admins,staff.x,_", false }, { "mail-admins,staff.x,9", true },
		{ "a,", false }, { ",a", false }, { "a,,b", false }, { "a,a", false }, { "a b", false }, { "-a", false },
		{ "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", true }, { "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", false },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ck_assert_msg(record_groups_good(slice_str(cases[i].text)) == cases[i].good, "%s", cases[i].text);
	ck_assert(record_in_group(SLICE("a,bc"), SLICE("bc")));
	ck_assert(!record_in_group(SLICE("a,bc"), SLICE("b")));
	ck_assert(!record_in_group(SLICE(""), SLICE("b")));
}
END_TEST

static bool become_1000(void *arg, struct user_record *r)
{
	r->system_user = *(uint32_t *)arg;
	return true;
}

START_TEST(one_user_has_a_uid_and_its_record_says_so)
{
	struct fixture f;
	struct user_record r;
	struct slice who;
	uint32_t uid = 1000, none = 0;

	open_directory(&f);
	ck_assert_int_eq(add_user(&f, "ann@example.org"), DIR_OK);
	ck_assert_int_eq(add_user(&f, "bob@example.org"), DIR_OK);
	ck_assert_int_eq(directory_system_user(f.d, &f.arena, 1000, &who, &r), DIR_ABSENT);
	/* A note without the record is nobody. */
	ck_assert_int_eq(directory_system_user_claim(f.d, 1000, SLICE("ann@example.org")), DIR_OK);
	ck_assert_int_eq(directory_system_user(f.d, &f.arena, 1000, &who, &r), DIR_ABSENT);
	ck_assert_int_eq(directory_user_change(f.d, SLICE("ann@example.org"), become_1000, &uid), DIR_OK);
	ck_assert_int_eq(directory_system_user(f.d, &f.arena, 1000, &who, &r), DIR_OK);
	ck_assert_slice_eq(who, SLICE("ann@example.org"));
	ck_assert_int_eq(directory_system_user_claim(f.d, 1000, SLICE("bob@example.org")), DIR_EXISTS);
	ck_assert_int_eq(directory_system_user_claim(f.d, 1000, SLICE("ann@example.org")), DIR_OK);
	/* Given back, it is free. Root is never anybody. */
	ck_assert_int_eq(directory_user_change(f.d, SLICE("ann@example.org"), become_1000, &none), DIR_OK);
	ck_assert_int_eq(directory_system_user(f.d, &f.arena, 1000, &who, &r), DIR_ABSENT);
	ck_assert_int_eq(directory_system_user_claim(f.d, 1000, SLICE("bob@example.org")), DIR_OK);
	ck_assert_int_eq(directory_system_user(f.d, &f.arena, 0, &who, &r), DIR_ABSENT);
	close_directory(&f);
}
END_TEST

TEST_MAIN("directory/directory", a_user_record_without_groups_is_read_as_before, groups_are_words_and_each_comes_once,
	  one_user_has_a_uid_and_its_record_says_so, records_survive_a_round_trip,
	  a_user_is_found_after_a_restart_and_from_the_cache, a_name_is_either_a_user_or_an_alias,
	  recipients_are_found_in_the_order_name_detail_catch_all, aliases_in_a_circle_end,
	  two_ways_to_one_user_deliver_once, a_chain_of_ten_aliases_is_followed_and_eleven_are_not,
	  an_alias_reaches_100_users_and_two_of_them_not_101,
	  quota_comes_from_the_domain_unless_the_user_has_its_own, a_change_is_seen_at_once,
	  a_write_whose_answer_is_lost_leaves_no_wrong_cache, a_removed_user_leaves_a_note_of_the_account_in_the_same_operation,
	  a_domain_with_users_stays,
	  a_list_in_small_pages_gives_each_name_once, the_secret_is_made_once,
	  a_name_of_126_bytes_is_kept_and_one_of_127_is_refused)
