#include <stdio.h>

#include "base/test.h"
#include "engine/memory.h"
#include "mail/directory/shares.h"

#define ANN "00000000000000aa"
#define BOB "00000000000000bb"

struct fixture {
	struct engine *e;
	struct directory *d;
	struct arena arena;
	struct share_owner ann, bob;
};

static void add_user(struct fixture *f, const char *text, const char *account)
{
	struct user_record r = { 0 };
	struct address a;

	ck_assert(slice_to_str(slice_str(account), r.account, sizeof(r.account)));
	ck_assert(mail_address_parse(&f->arena, slice_str(text), &a));
	ck_assert_int_eq(directory_user_add(f->d, &a, &r), DIR_OK);
}

static void begin(struct fixture *f)
{
	*f = (struct fixture){
		.e = engine_memory_new(),
		.ann = { SLICE(ANN), SLICE("ann@example.org") },
		.bob = { SLICE(BOB), SLICE("bob@example.org") },
	};
	ck_assert_ptr_nonnull(f->e);
	ck_assert_int_eq(directory_new(f->e, '+', &f->d), 0);
	arena_init(&f->arena, 64u << 20);
	ck_assert_int_eq(directory_domain_add(f->d, SLICE("example.org"), &(struct domain_record){ 0 }), DIR_OK);
	add_user(f, "ann@example.org", ANN);
	add_user(f, "bob@example.org", BOB);
}

static void end(struct fixture *f)
{
	directory_free(f->d);
	engine_close(f->e);
	arena_done(&f->arena);
}

static uint32_t rights(struct fixture *f, const struct share_owner *owner, uint32_t folder, const char *identifier)
{
	struct acl acl;

	ck_assert_int_eq(directory_acl(f->d, &f->arena, owner->account, folder, &acl), DIR_OK);
	return acl_rights(&acl, slice_str(identifier));
}

static enum dir_result set(struct fixture *f, const struct share_owner *owner, uint32_t folder, const char *identifier, uint32_t bits)
{
	return directory_acl_change(f->d, owner, folder, slice_str(identifier), 0, bits);
}

static size_t owners_of(struct fixture *f, const char *identifier)
{
	struct slice *owners;
	size_t count;

	ck_assert_int_eq(directory_shared_with(f->d, &f->arena, slice_str(identifier), &owners, &count), DIR_OK);
	return count;
}

START_TEST(a_list_is_kept_by_account_and_folder)
{
	struct fixture f;

	begin(&f);
	ck_assert_int_eq(set(&f, &f.ann, 7, "bob@example.org", 3), DIR_OK);
	ck_assert_int_eq(set(&f, &f.ann, 2, "anyone", 1), DIR_OK);
	ck_assert_uint_eq(rights(&f, &f.ann, 7, "bob@example.org"), 3);
	ck_assert_uint_eq(rights(&f, &f.ann, 2, "bob@example.org"), 0);
	ck_assert_uint_eq(rights(&f, &f.ann, 2, "anyone"), 1);
	ck_assert_uint_eq(rights(&f, &f.bob, 7, "bob@example.org"), 0);
	/* Adding and taking away. */
	ck_assert_int_eq(directory_acl_change(f.d, &f.ann, 7, SLICE("bob@example.org"), ~0u, 8), DIR_OK);
	ck_assert_uint_eq(rights(&f, &f.ann, 7, "bob@example.org"), 11);
	ck_assert_int_eq(directory_acl_change(f.d, &f.ann, 7, SLICE("bob@example.org"), ~1u, 0), DIR_OK);
	ck_assert_uint_eq(rights(&f, &f.ann, 7, "bob@example.org"), 10);
	/* From the disk as from the cache. */
	directory_free(f.d);
	ck_assert_int_eq(directory_new(f.e, '+', &f.d), 0);
	ck_assert_uint_eq(rights(&f, &f.ann, 7, "bob@example.org"), 10);
	end(&f);
}
END_TEST

START_TEST(who_is_named_finds_the_owners_until_the_last_list_forgets_them)
{
	struct fixture f;

	begin(&f);
	ck_assert_uint_eq(owners_of(&f, "bob@example.org"), 0);
	ck_assert_int_eq(set(&f, &f.ann, 1, "bob@example.org", 3), DIR_OK);
	ck_assert_int_eq(set(&f, &f.ann, 2, "bob@example.org", 3), DIR_OK);
	ck_assert_uint_eq(owners_of(&f, "bob@example.org"), 1);
	ck_assert_int_eq(set(&f, &f.ann, 1, "bob@example.org", 0), DIR_OK);
	ck_assert_uint_eq(owners_of(&f, "bob@example.org"), 1);
	ck_assert_int_eq(set(&f, &f.ann, 2, "bob@example.org", 0), DIR_OK);
	ck_assert_uint_eq(owners_of(&f, "bob@example.org"), 0);
	end(&f);
}
END_TEST

START_TEST(a_new_folder_inherits_and_a_deleted_one_is_forgotten)
{
	struct fixture f;

	begin(&f);
	ck_assert_int_eq(set(&f, &f.ann, 1, "bob@example.org", 3), DIR_OK);
	ck_assert_int_eq(directory_acl_inherit(f.d, &f.ann, 1, 9), DIR_OK);
	ck_assert_uint_eq(rights(&f, &f.ann, 9, "bob@example.org"), 3);
	ck_assert_int_eq(directory_acl_drop(f.d, &f.ann, 1), DIR_OK);
	ck_assert_uint_eq(rights(&f, &f.ann, 1, "bob@example.org"), 0);
	ck_assert_uint_eq(owners_of(&f, "bob@example.org"), 1);
	ck_assert_int_eq(directory_acl_drop(f.d, &f.ann, 9), DIR_OK);
	ck_assert_uint_eq(owners_of(&f, "bob@example.org"), 0);
	/* Nothing there: nothing to do. */
	ck_assert_int_eq(directory_acl_drop(f.d, &f.ann, 9), DIR_OK);
	end(&f);
}
END_TEST

START_TEST(a_user_who_goes_is_named_nowhere_and_shares_nothing)
{
	struct fixture f;

	begin(&f);
	ck_assert_int_eq(set(&f, &f.ann, 1, "bob@example.org", 3), DIR_OK);
	ck_assert_int_eq(set(&f, &f.ann, 2, "-bob@example.org", 3), DIR_OK);
	ck_assert_int_eq(set(&f, &f.ann, 2, "anyone", 1), DIR_OK);
	ck_assert_int_eq(set(&f, &f.bob, 5, "ann@example.org", 1), DIR_OK);
	ck_assert_int_eq(directory_shares_forget(f.d, &f.bob), DIR_OK);
	ck_assert_uint_eq(rights(&f, &f.ann, 1, "bob@example.org"), 0);
	ck_assert_uint_eq(rights(&f, &f.ann, 2, "-bob@example.org"), 0);
	ck_assert_uint_eq(rights(&f, &f.ann, 2, "anyone"), 1);
	ck_assert_uint_eq(rights(&f, &f.bob, 5, "ann@example.org"), 0);
	ck_assert_uint_eq(owners_of(&f, "bob@example.org"), 0);
	ck_assert_uint_eq(owners_of(&f, "-bob@example.org"), 0);
	ck_assert_uint_eq(owners_of(&f, "ann@example.org"), 0);
	ck_assert_int_eq(directory_shares_forget(f.d, &f.bob), DIR_OK);
	end(&f);
}
END_TEST

START_TEST(a_user_whose_name_begins_as_a_negative_one_takes_nothing_away_by_going)
{
	struct fixture f;
	struct share_owner dash = { SLICE("00000000000000dd"), SLICE("-bob@example.org") };

	begin(&f);
	ck_assert_int_eq(set(&f, &f.ann, 1, "anyone", 3), DIR_OK);
	ck_assert_int_eq(set(&f, &f.ann, 1, "-bob@example.org", 3), DIR_OK);
	ck_assert_int_eq(set(&f, &f.ann, 1, "--bob@example.org", 1), DIR_OK);
	ck_assert_int_eq(directory_shares_forget(f.d, &dash), DIR_OK);
	ck_assert_uint_eq(rights(&f, &f.ann, 1, "-bob@example.org"), 3);
	ck_assert_uint_eq(rights(&f, &f.ann, 1, "--bob@example.org"), 0);
	end(&f);
}
END_TEST

START_TEST(limits_are_refused_and_leave_what_was_there)
{
	struct fixture f;
	char name[64];

	begin(&f);
	for (unsigned i = 0; i < DIRECTORY_ACL_LISTS_MAX; i++)
		ck_assert_int_eq(set(&f, &f.ann, i + 1, "anyone", 1), DIR_OK);
	ck_assert_int_eq(set(&f, &f.ann, DIRECTORY_ACL_LISTS_MAX + 1, "anyone", 1), DIR_TOO_BIG);
	ck_assert_uint_eq(rights(&f, &f.ann, DIRECTORY_ACL_LISTS_MAX, "anyone"), 1);
	/* Owners of one identifier. */
	for (unsigned i = 1; i <= DIRECTORY_ACL_OWNERS_MAX; i++) {
		char account[17];
		struct share_owner owner = { slice_of(account, 16), slice_str(name) };

		snprintf(account, sizeof(account), "%016x", 0x1000 + i);
		snprintf(name, sizeof(name), "u%u@example.org", i);
		owner.address = slice_str(name);
		ck_assert_int_eq(set(&f, &owner, 1, "anyone", 1), (i == DIRECTORY_ACL_OWNERS_MAX ? DIR_TOO_BIG : DIR_OK));
	}
	ck_assert_uint_eq(owners_of(&f, "anyone"), DIRECTORY_ACL_OWNERS_MAX);
	end(&f);
}
END_TEST

TEST_MAIN("directory/shares", a_list_is_kept_by_account_and_folder, who_is_named_finds_the_owners_until_the_last_list_forgets_them,
	  a_new_folder_inherits_and_a_deleted_one_is_forgotten, a_user_who_goes_is_named_nowhere_and_shares_nothing,
	  a_user_whose_name_begins_as_a_negative_one_takes_nothing_away_by_going, limits_are_refused_and_leave_what_was_there)
