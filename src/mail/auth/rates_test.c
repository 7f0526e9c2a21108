#include "mail/auth/rates.h"

#include <arpa/inet.h>

#include "base/test.h"

#define S 1000000

START_TEST(a_bucket_gives_its_content_and_then_what_flows_in)
{
	struct rates *r;
	unsigned taken = 0;

	ck_assert_int_eq(rates_new(100, &r), 0);
	for (int i = 0; i < 100; i++)
		taken += rates_take(r, RATE_MESSAGES, SLICE("a"), 60, 1, S);
	ck_assert_uint_eq(taken, 60);
	ck_assert(!rates_take(r, RATE_MESSAGES, SLICE("a"), 60, 1, S));
	ck_assert(rates_take(r, RATE_MESSAGES, SLICE("a"), 60, 1, 2 * S));
	ck_assert(!rates_take(r, RATE_MESSAGES, SLICE("a"), 60, 1, 2 * S));
	ck_assert(rates_take(r, RATE_MESSAGES, SLICE("a"), 60, 60, 100 * S));
	ck_assert(!rates_take(r, RATE_MESSAGES, SLICE("a"), 60, 61, 1000 * S));
	rates_free(r);
}
END_TEST

START_TEST(clients_and_kinds_do_not_share_a_bucket)
{
	struct rates *r;

	ck_assert_int_eq(rates_new(100, &r), 0);
	ck_assert(rates_take(r, RATE_MESSAGES, SLICE("a"), 1, 1, S));
	ck_assert(!rates_take(r, RATE_MESSAGES, SLICE("a"), 1, 1, S));
	ck_assert(rates_take(r, RATE_MESSAGES, SLICE("b"), 1, 1, S));
	ck_assert(rates_take(r, RATE_RECIPIENTS, SLICE("a"), 1, 1, S));
	ck_assert(rates_take(r, RATE_MESSAGES, SLICE("a"), 0, 1000, S));
	rates_free(r);
}
END_TEST

START_TEST(connections_are_counted_until_they_close)
{
	struct rates *r;

	ck_assert_int_eq(rates_new(4, &r), 0);
	ck_assert(rates_open(r, SLICE("a"), 2));
	ck_assert(rates_open(r, SLICE("a"), 2));
	ck_assert(!rates_open(r, SLICE("a"), 2));
	/* Many others do not make the table forget an open connection. */
	for (int i = 0; i < 100; i++)
		rates_take(r, RATE_MESSAGES, slice_of(&i, sizeof(i)), 1, 1, S);
	ck_assert(!rates_open(r, SLICE("a"), 2));
	rates_close(r, SLICE("a"));
	ck_assert(rates_open(r, SLICE("a"), 2));
	rates_close(r, SLICE("nobody"));
	rates_free(r);
}
END_TEST

static void sum(void *arg, struct slice client, unsigned open)
{
	*(unsigned *)arg += open * (client.ptr[0] == 'a' ? 1 : 100);
}

START_TEST(what_one_process_had_open_is_given_back_at_once)
{
	struct rates *all, *mine;
	unsigned open = 0;

	ck_assert_int_eq(rates_new(100, &all), 0);
	ck_assert_int_eq(rates_new(100, &mine), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert(rates_open(all, SLICE("a"), 3));
		ck_assert(rates_open(mine, SLICE("a"), 0));
	}
	ck_assert(rates_open(all, SLICE("a"), 3));	/* another process's */
	ck_assert(rates_open(mine, SLICE("b"), 0));
	rates_each_open(mine, sum, &open);
	ck_assert_uint_eq(open, 102);
	ck_assert(!rates_open(all, SLICE("a"), 3));
	rates_close_all(all, mine);
	ck_assert(rates_open(all, SLICE("a"), 3));
	ck_assert(rates_open(all, SLICE("a"), 3));
	ck_assert(!rates_open(all, SLICE("a"), 3));
	open = 0;
	rates_each_open(mine, sum, &open);
	ck_assert_uint_eq(open, 0);
	rates_free(all);
	rates_free(mine);
}
END_TEST

START_TEST(an_ipv6_client_is_its_network)
{
	struct sockaddr_storage one = { 0 }, two = { 0 };
	struct sockaddr_in6 *a = (void *)&one, *b = (void *)&two;
	uint8_t x[RATE_CLIENT_BYTES], y[RATE_CLIENT_BYTES];

	a->sin6_family = b->sin6_family = AF_INET6;
	ck_assert_int_eq(inet_pton(AF_INET6, "2001:db8::1", &a->sin6_addr), 1);
	ck_assert_int_eq(inet_pton(AF_INET6, "2001:db8::2:0:0:1", &b->sin6_addr), 1);
	ck_assert_slice_eq(rate_client(&one, x), rate_client(&two, y));
	ck_assert_int_eq(inet_pton(AF_INET6, "2001:db8:0:1::1", &b->sin6_addr), 1);
	ck_assert(!slice_eq(rate_client(&one, x), rate_client(&two, y)));
	ck_assert_int_eq(inet_pton(AF_INET6, "::ffff:192.0.2.1", &b->sin6_addr), 1);
	ck_assert_slice_eq(rate_client(&two, y), SLICE("\xc0\x00\x02\x01"));
}
END_TEST

TEST_MAIN("auth/rates", a_bucket_gives_its_content_and_then_what_flows_in,
	  clients_and_kinds_do_not_share_a_bucket, connections_are_counted_until_they_close,
	  what_one_process_had_open_is_given_back_at_once, an_ipv6_client_is_its_network)
