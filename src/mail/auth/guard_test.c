#include <sodium.h>
#include <stdio.h>

#include "base/test.h"
#include "mail/auth/guard.h"
#include "mail/auth/password.h"
#include "sys/fiber.h"
#include "sys/loop.h"

static const struct password_cost cheap = { .operations = 1, .memory_bytes = 8192 };

START_TEST(a_password_fits_its_hash_alone)
{
	char hash[PASSWORD_HASH_BYTES_MAX];
	uint8_t random[48] = { 7 };

	ck_assert_int_ge(sodium_init(), 0);
	ck_assert(password_hash(SLICE("pencil"), cheap, hash));
	ck_assert(password_hash_known(hash));
	ck_assert_int_eq(password_check(hash, SLICE("pencil"), SLICE("")), PASSWORD_RIGHT);
	ck_assert_int_eq(password_check(hash, SLICE("Pencil"), SLICE("")), PASSWORD_WRONG);
	ck_assert(!password_outdated(hash, cheap));
	ck_assert(password_outdated(hash, (struct password_cost){ 2, 8192 }));
	password_dummy(cheap, random, hash);
	ck_assert(password_hash_known(hash));
	ck_assert(!password_outdated(hash, cheap));
	ck_assert_int_eq(password_check(hash, SLICE("pencil"), SLICE("")), PASSWORD_WRONG);
}
END_TEST

START_TEST(imported_hashes_are_checked_and_outdated)
{
	/* crypt(5) examples: SHA-512 from Drepper's text, and bcrypt. */
	static const char sha512[] =
		"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";

	ck_assert_int_eq(password_check(sha512, SLICE(""), SLICE("Hello world!")), PASSWORD_RIGHT);
	ck_assert_int_eq(password_check(sha512, SLICE(""), SLICE("Hello world?")), PASSWORD_WRONG);
	ck_assert_int_eq(password_check(sha512, SLICE(""), SLICE("Hello world!\0x")), PASSWORD_WRONG);
	ck_assert(password_outdated(sha512, cheap));
	ck_assert(password_hash_known(sha512));
	ck_assert(!password_hash_known("plain text"));
	ck_assert(!password_hash_known(""));
	ck_assert(!password_hash_known("$argon2id$v=19$broken"));
	ck_assert_int_eq(password_check("*", SLICE("x"), SLICE("x")), PASSWORD_UNKNOWN_HASH);
}
END_TEST

START_TEST(failures_get_slower_until_they_are_refused_and_forgotten)
{
	struct failures f;
	unsigned last = 0;

	failures_init(&f);
	for (unsigned i = 0; i < AUTH_FAILURES_PAIR_MAX; i++) {
		unsigned ms = failures_add(&f, SLICE("192.0.2.1"), SLICE("ann"), 100);

		ck_assert(failures_allow(&f, SLICE("192.0.2.2"), SLICE("ann"), 100));
		ck_assert_uint_ge(ms, last);
		ck_assert_uint_le(ms, AUTH_DELAY_MS_MAX);
		last = ms;
	}
	ck_assert_uint_eq(last, AUTH_DELAY_MS_MAX);
	ck_assert(!failures_allow(&f, SLICE("192.0.2.1"), SLICE("ann"), 100));
	ck_assert(failures_allow(&f, SLICE("192.0.2.1"), SLICE("bob"), 100));
	ck_assert(failures_allow(&f, SLICE("192.0.2.1"), SLICE("ann"), 101 + AUTH_FAILURES_FORGET_S));
	failures_forgive(&f, SLICE("192.0.2.1"), SLICE("ann"));
	ck_assert(failures_allow(&f, SLICE("192.0.2.1"), SLICE("ann"), 100));
	failures_done(&f);
}
END_TEST

START_TEST(a_source_that_tries_many_names_is_refused)
{
	struct failures f;
	char name[20];

	failures_init(&f);
	for (unsigned i = 0; i < AUTH_FAILURES_SOURCE_MAX; i++) {
		ck_assert(failures_allow(&f, SLICE("192.0.2.1"), SLICE("new"), 5));
		snprintf(name, sizeof(name), "u%u", i);
		failures_add(&f, SLICE("192.0.2.1"), slice_str(name), 5);
	}
	ck_assert(!failures_allow(&f, SLICE("192.0.2.1"), SLICE("new"), 5));
	failures_done(&f);
}
END_TEST

START_TEST(a_source_has_so_many_failures_a_minute)
{
	struct failures f;
	char name[16];

	failures_init(&f);
	f.source_per_minute = 20;
	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "user%u", i);
		ck_assert(failures_allow(&f, SLICE("192.0.2.1"), slice_str(name), 1000));
		failures_add(&f, SLICE("192.0.2.1"), slice_str(name), 1000);
	}
	ck_assert(!failures_allow(&f, SLICE("192.0.2.1"), SLICE("ann"), 1059));
	ck_assert(failures_allow(&f, SLICE("192.0.2.2"), SLICE("ann"), 1059));
	ck_assert(failures_allow(&f, SLICE("192.0.2.1"), SLICE("ann"), 1060));
	failures_done(&f);
}
END_TEST

START_TEST(a_right_password_is_remembered_for_ten_minutes_and_this_hash)
{
	struct remembered m;
	uint8_t key[32] = { 1 };

	remembered_init(&m, key);
	remembered_add(&m, SLICE("ann"), SLICE("h1"), SLICE("pw"), 10);
	ck_assert(remembered_has(&m, SLICE("ann"), SLICE("h1"), SLICE("pw"), 10));
	ck_assert(!remembered_has(&m, SLICE("ann"), SLICE("h1"), SLICE("pW"), 10));
	ck_assert(!remembered_has(&m, SLICE("ann"), SLICE("h2"), SLICE("pw"), 10));
	ck_assert(!remembered_has(&m, SLICE("bob"), SLICE("h1"), SLICE("pw"), 10));
	ck_assert(remembered_has(&m, SLICE("ann"), SLICE("h1"), SLICE("pw"), 9 + AUTH_REMEMBER_S));
	ck_assert(!remembered_has(&m, SLICE("ann"), SLICE("h1"), SLICE("pw"), 10 + AUTH_REMEMBER_S));
	remembered_add(&m, SLICE("ann"), SLICE("h1"), SLICE("pw"), 10);
	remembered_drop(&m, SLICE("ann"));
	ck_assert(!remembered_has(&m, SLICE("ann"), SLICE("h1"), SLICE("pw"), 10));
	remembered_done(&m);
}
END_TEST

START_TEST(hosts_of_one_network_are_one_source)
{
	char a[48], b[48];

	ck_assert_slice_eq(source_key(SLICE("2001:db8::1"), a), source_key(SLICE("2001:db8::2"), b));
	ck_assert(!slice_eq(source_key(SLICE("2001:db8:0:1::1"), a), source_key(SLICE("2001:db8::2"), b)));
	ck_assert(!slice_eq(source_key(SLICE("192.0.2.1"), a), source_key(SLICE("192.0.2.2"), b)));
	ck_assert_slice_eq(source_key(SLICE("::ffff:192.0.2.1"), a), SLICE("192.0.2.1"));
	ck_assert_slice_eq(source_key(SLICE("local"), a), SLICE("local"));
}
END_TEST

struct worker {
	struct turns *turns;
	const char *source;
	char *order;			/* where to note who had a turn */
	bool refused;
	int64_t timeout_us;
};

static void work(void *arg)
{
	struct worker *w = arg;

	w->refused = !turns_enter(w->turns, slice_str(w->source), w->timeout_us);
	if (w->refused)
		return;
	strcat(w->order, w->source);
	fiber_yield();
	turns_leave(w->turns);
}

START_TEST(sources_take_turns)
{
	struct worker w[6];
	struct turns turns;
	struct loop *l;
	char order[20] = "";

	ck_assert_int_eq(loop_new(&l), 0);
	turns_init(&turns, 1);
	/* a has come with four, and only then b and c with one each. */
	for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
		w[i] = (struct worker){ .turns = &turns, .source = i < 4 ? "a" : i == 4 ? "b" : "c",
					.order = order, .timeout_us = 1000000 };
		ck_assert_int_eq(fiber_start(l, work, &w[i]), 0);
	}
	while (fiber_count(l) > 0)
		loop_run_once(l, 10);
	ck_assert_str_eq(order, "aabcaa");
	turns_done(&turns);
	loop_free(l);
}
END_TEST

START_TEST(who_waits_too_long_goes_away)
{
	struct worker late;
	struct turns turns;
	struct loop *l;
	char order[20] = "";

	ck_assert_int_eq(loop_new(&l), 0);
	turns_init(&turns, 1);
	turns.running = 1;
	late = (struct worker){ .turns = &turns, .source = "a", .order = order, .timeout_us = 1000 };
	ck_assert_int_eq(fiber_start(l, work, &late), 0);
	while (fiber_count(l) > 0)
		loop_run_once(l, 10);
	ck_assert(late.refused);
	ck_assert_uint_eq(turns.waiting, 0);
	turns_leave(&turns);
	ck_assert_uint_eq(turns.running, 0);
	turns_done(&turns);
	loop_free(l);
}
END_TEST

TEST_MAIN("auth/guard", a_password_fits_its_hash_alone, imported_hashes_are_checked_and_outdated,
	  failures_get_slower_until_they_are_refused_and_forgotten,
	  a_source_that_tries_many_names_is_refused, a_source_has_so_many_failures_a_minute,
	  a_right_password_is_remembered_for_ten_minutes_and_this_hash,
	  hosts_of_one_network_are_one_source, sources_take_turns, who_waits_too_long_goes_away)
