/* Learning prefixes: RFC 8781, 7050, 8880. Messages are written out in bytes, as the RFCs draw them. */
#include "nat64/pref64.h"

#include <arpa/inet.h>

#include "base/test.h"

static struct xlat_prefix prefix_of(const char *text, uint8_t bits)
{
	struct xlat_prefix p = { 0 };
	uint8_t addr[16];

	ck_assert_int_eq(inet_pton(AF_INET6, text, addr), 1);
	ck_assert(pref64_prefix_make(addr, bits, &p));
	return p;
}

static void assert_prefix(const struct xlat_prefix *got, const char *text, unsigned bits)
{
	struct xlat_prefix want = prefix_of(text, (uint8_t)bits);

	ck_assert_mem_eq(got, &want, sizeof(want));
}

/* 64:ff9b::/96 for 1800 s */
#define WELL_KNOWN "\x26\x02\x07\x08\x00\x64\xff\x9b\x00\x00\x00\x00\x00\x00\x00\x00"

START_TEST(rfc8781_4_the_option_has_a_lifetime_of_13_bits_and_a_length_code)
{
	static const struct { const char *bytes, *prefix; unsigned bits, lifetime_s; } cases[] = {
		{ WELL_KNOWN, "64:ff9b::", 96, 1800 },
		{ "\x26\x02\xff\xf9\x20\x01\x0d\xb8\x00\x01\x00\x02\0\0\0\0", "2001:db8:1:2::", 64, 65528 },
		{ "\x26\x02\x00\x0a\x20\x01\x0d\xb8\x00\x01\x02\x00\0\0\0\0", "2001:db8:1:200::", 56, 8 },
		{ "\x26\x02\x00\x03\x20\x01\x0d\xb8\x00\x01\0\0\0\0\0\0", "2001:db8:1::", 48, 0 },
		{ "\x26\x02\x00\x14\x20\x01\x0d\xb8\x01\0\0\0\0\0\0\0", "2001:db8:100::", 40, 16 },
		{ "\x26\x02\x00\x15\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0", "2001:db8::", 32, 16 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_BUF struct buf again = BUF_INIT(64);
		struct xlat_prefix p;
		uint32_t lifetime_s;

		ck_assert_int_eq(pref64_option_read(slice_of(cases[i].bytes, 16), &p, &lifetime_s), PREF64_OK);
		assert_prefix(&p, cases[i].prefix, cases[i].bits);
		ck_assert_uint_eq(lifetime_s, cases[i].lifetime_s);
		pref64_option_write(&again, &p, lifetime_s);
		ck_assert_mem_eq(again.ptr, cases[i].bytes, 16);
	}
}
END_TEST

START_TEST(rfc8781_4_bits_after_the_prefix_are_ignored)
{
	struct xlat_prefix p;
	uint32_t lifetime_s;

	ck_assert_int_eq(pref64_option_read(slice_of("\x26\x02\x00\x15\x20\x01\x0d\xb8\xff\xff\xff\xff\xff\xff\xff\xff", 16), &p, &lifetime_s),
			 PREF64_OK);
	assert_prefix(&p, "2001:db8::", 32);
}
END_TEST

START_TEST(rfc8781_4_a_wrong_option_is_ignored)
{
	static const struct { const char *bytes; size_t len; enum pref64_result want; } cases[] = {
		{ "\x26\x02\x07\x0e\x00\x64\xff\x9b\0\0\0\0\0\0\0\0", 16, PREF64_BAD_CODE },
		{ "\x26\x02\x07\x0f\x00\x64\xff\x9b\0\0\0\0\0\0\0\0", 16, PREF64_BAD_CODE },
		{ "\x26\x01\x07\x08\x00\x64\xff\x9b", 8, PREF64_BAD_LENGTH },
		{ "\x26\x03\x07\x08\x00\x64\xff\x9b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, PREF64_BAD_LENGTH },
		{ "\x26\x02\x07\x08\x00\x64\xff\x9b\0\0\0\0\0\0\0", 15, PREF64_BAD_LENGTH },
		{ "", 0, PREF64_BAD_LENGTH },
		{ "\x19\x02\x07\x08\x00\x64\xff\x9b\0\0\0\0\0\0\0\0", 16, PREF64_OTHER },
		{ "\x26\x02\x07\x08\xff\x02\0\0\0\0\0\0\0\0\0\0", 16, PREF64_BAD_PREFIX },
		{ "\x26\x02\x07\x08\xfe\x80\0\0\0\0\0\0\0\0\0\0", 16, PREF64_BAD_PREFIX },
		{ "\x26\x02\x07\x08\0\0\0\0\0\0\0\0\0\0\xff\xff", 16, PREF64_BAD_PREFIX },
		{ "\x26\x02\x07\x08\x20\x01\x0d\xb8\0\0\0\0\x01\0\0\0", 16, PREF64_BAD_PREFIX },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct xlat_prefix p;
		uint32_t lifetime_s;

		ck_assert_int_eq(pref64_option_read(slice_of(cases[i].bytes, cases[i].len), &p, &lifetime_s), cases[i].want);
	}
}
END_TEST

START_TEST(rfc8781_4_1_lifetimes_are_rounded_up_and_cut)
{
	static const struct { uint32_t asked_s, got_s; } cases[] = { { 0, 0 }, { 1, 8 }, { 8, 8 }, { 1799, 1800 }, { 65527, 65528 }, { UINT32_MAX, 65528 } };
	struct xlat_prefix p = prefix_of("64:ff9b::", 96), again;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_BUF struct buf out = BUF_INIT(64);
		uint32_t lifetime_s;

		pref64_option_write(&out, &p, cases[i].asked_s);
		ck_assert_int_eq(pref64_option_read(buf_slice(&out), &again, &lifetime_s), PREF64_OK);
		ck_assert_uint_eq(lifetime_s, cases[i].got_s);
	}
}
END_TEST

static const uint8_t router[16] = { 0xfe, 0x80, [15] = 1 };
/* Hop limit 64, no flags, lifetime 0; source link-layer address; the option. */
#define ADVERTISEMENT "\x86\x00\x12\x34\x40\x00\x00\x00\0\0\0\0\0\0\0\0\x01\x01\x02\x03\x04\x05\x06\x07" WELL_KNOWN

START_TEST(rfc4861_6_1_2_an_advertisement_is_from_a_router_of_the_link)
{
	static const uint8_t global[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };
	struct slice message = SLICE(ADVERTISEMENT);
	struct pref64_list list;

	ck_assert_int_eq(pref64_advertisement_read(message, router, 255, 7, &list), PREF64_OK);
	ck_assert_uint_eq(list.count, 1);
	assert_prefix(&list.said[0].prefix, "64:ff9b::", 96);
	ck_assert_uint_eq(list.said[0].ifindex, 7);
	ck_assert_mem_eq(list.said[0].router, router, 16);
	ck_assert_int_eq(pref64_advertisement_read(message, router, 254, 7, &list), PREF64_BAD_SOURCE);
	ck_assert_int_eq(pref64_advertisement_read(message, global, 255, 7, &list), PREF64_BAD_SOURCE);
	for (size_t cut = 0; cut < message.len; cut++) {
		enum pref64_result got = pref64_advertisement_read(slice_head(message, cut), router, 255, 7, &list);

		ck_assert_int_eq(got, cut == 16 || cut == 24 ? PREF64_OTHER : PREF64_BAD_LENGTH);
		ck_assert_uint_eq(list.count, 0);
	}
}
END_TEST

START_TEST(an_option_of_length_0_ends_the_advertisement)
{
	struct pref64_list list;
	struct slice message = SLICE("\x86\0\x12\x34\x40\0\0\0\0\0\0\0\0\0\0\0\x26\x00\x07\x08" "1234");

	ck_assert_int_eq(pref64_advertisement_read(message, router, 255, 7, &list), PREF64_BAD_LENGTH);
}
END_TEST

START_TEST(an_advertisement_has_as_many_prefixes_as_the_limit_says)
{
	for (unsigned n = PREF64_OPTIONS_MAX - 1u; n <= PREF64_OPTIONS_MAX + 1u; n++) {
		AUTO_BUF struct buf message = BUF_INIT(4096);
		struct pref64_list list;

		buf_add(&message, slice_head(SLICE(ADVERTISEMENT), 16));
		for (unsigned i = 0; i < n; i++) {
			uint8_t addr[16] = { 0x20, 0x01, 0x0d, 0xb8, (uint8_t)i };
			struct xlat_prefix p;

			ck_assert(pref64_prefix_make(addr, 64, &p));
			pref64_option_write(&message, &p, 600);
		}
		ck_assert_int_eq(pref64_advertisement_read(buf_slice(&message), router, 255, 1, &list), PREF64_OK);
		ck_assert_uint_eq(list.count, MIN(n, (unsigned)PREF64_OPTIONS_MAX));
		ck_assert_uint_eq(list.ignored, n > PREF64_OPTIONS_MAX);
	}
}
END_TEST

START_TEST(the_kernels_message_has_the_option_and_the_router)
{
	AUTO_BUF struct buf m = BUF_INIT(4096);
	uint16_t bytes = 16, attribute[2] = { 20, 1 };
	uint32_t ifindex = 3;
	struct pref64_list list;

	buf_add(&m, slice_of((uint8_t[]){ AF_INET6, 0 }, 2));
	buf_add(&m, slice_of(&bytes, 2));
	buf_add(&m, slice_of(&ifindex, 4));
	buf_add(&m, slice_of((uint8_t[]){ 134, 0, 0, 0, 0, 0, 0, 0 }, 8));
	buf_add(&m, slice_of(WELL_KNOWN, 16));
	buf_add(&m, slice_of(attribute, 4));
	buf_add(&m, slice_of(router, 16));
	ck_assert_int_eq(pref64_nduseropt_read(buf_slice(&m), &list), PREF64_OK);
	ck_assert_uint_eq(list.count, 1);
	assert_prefix(&list.said[0].prefix, "64:ff9b::", 96);
	ck_assert_uint_eq(list.said[0].lifetime_s, 1800);
	ck_assert_uint_eq(list.said[0].ifindex, 3);
	ck_assert_mem_eq(list.said[0].router, router, 16);
	for (size_t cut = 0; cut < 32; cut++)
		ck_assert_int_eq(pref64_nduseropt_read(slice_head(buf_slice(&m), cut), &list), PREF64_BAD_LENGTH);
	m.ptr[8] = 135;
	ck_assert_int_eq(pref64_nduseropt_read(buf_slice(&m), &list), PREF64_OTHER);
}
END_TEST

START_TEST(rfc7050_3_the_question_asks_for_aaaa_with_recursion_and_checking)
{
	AUTO_BUF struct buf q = BUF_INIT(512);

	pref64_question_write(&q, 0x1234);
	ck_assert_slice_eq(buf_slice(&q), SLICE("\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x08ipv4only\x04" "arpa\0\x00\x1c\x00\x01"));
}
END_TEST

static void answer_begin(struct buf *m, unsigned flags, unsigned count)
{
	pref64_question_write(m, 0x1234);
	m->ptr[2] = (uint8_t)(flags >> 8);
	m->ptr[3] = (uint8_t)flags;
	m->ptr[6] = (uint8_t)(count >> 8);
	m->ptr[7] = (uint8_t)count;
}

static void answer_add(struct buf *m, const char *address, uint32_t ttl_s)
{
	uint8_t addr[16];

	ck_assert_int_eq(inet_pton(AF_INET6, address, addr), 1);
	buf_add(m, SLICE("\xc0\x0c\x00\x1c\x00\x01"));
	buf_be32(m, ttl_s);
	buf_be16(m, 16);
	buf_add(m, slice_of(addr, 16));
}

START_TEST(rfc7050_3_the_well_known_address_is_found_at_all_places_of_rfc6052)
{
	static const struct { const char *address, *prefix; unsigned bits; } cases[] = {
		{ "64:ff9b::c000:aa", "64:ff9b::", 96 },
		{ "2001:db8:43::c000:aa", "2001:db8:43::", 96 },
		{ "2001:db8:122:344:c0:0:ab00:0", "2001:db8:122:344::", 64 },
		{ "2001:db8:122:3c0:0:aa::", "2001:db8:122:300::", 56 },
		{ "2001:db8:122:c000:0:aa00::", "2001:db8:122::", 48 },
		{ "2001:db8:1c0:0:aa::", "2001:db8:100::", 40 },
		{ "2001:db8:c000:ab::", "2001:db8::", 32 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_BUF struct buf m = BUF_INIT(512);
		struct pref64_list list;

		answer_begin(&m, 0x8180, 1);
		answer_add(&m, cases[i].address, 77);
		ck_assert_int_eq(pref64_answer_read(buf_slice(&m), 0x1234, &list), PREF64_OK);
		ck_assert_uint_eq(list.count, 1);
		assert_prefix(&list.said[0].prefix, cases[i].prefix, cases[i].bits);
		ck_assert_uint_eq(list.said[0].lifetime_s, 77);
	}
}
END_TEST

START_TEST(rfc7050_3_an_address_with_the_value_twice_counts_by_the_other_value)
{
	AUTO_BUF struct buf m = BUF_INIT(512);
	struct pref64_list list;

	/* 192.0.0.170 is part of the prefix itself. The first address is ambiguous, the second is not. */
	answer_begin(&m, 0x8180, 2);
	answer_add(&m, "2001:db8:c000:aa::c000:aa", 60);
	answer_add(&m, "2001:db8:c000:aa::c000:ab", 60);
	ck_assert_int_eq(pref64_answer_read(buf_slice(&m), 0x1234, &list), PREF64_OK);
	/* By the rule as it stands the second address has .170 once, at the place of a /32. */
	ck_assert_uint_eq(list.count, 1);
	assert_prefix(&list.said[0].prefix, "2001:db8::", 32);
}
END_TEST

START_TEST(rfc7050_3_several_prefixes_are_collected_once_each)
{
	AUTO_BUF struct buf m = BUF_INIT(512);
	struct pref64_list list;

	answer_begin(&m, 0x8180, 5);
	buf_add(&m, SLICE("\xc0\x0c\x00\x05\x00\x01\0\0\0\x3c\x00\x02\xc0\x0c"));	/* a CNAME before */
	answer_add(&m, "64:ff9b::192.0.0.170", 60);
	answer_add(&m, "64:ff9b::192.0.0.171", 60);
	answer_add(&m, "2001:db8:43::192.0.0.171", 60);
	answer_add(&m, "2001:db8::1", 60);
	ck_assert_int_eq(pref64_answer_read(buf_slice(&m), 0x1234, &list), PREF64_OK);
	ck_assert_uint_eq(list.count, 2);
	assert_prefix(&list.said[0].prefix, "64:ff9b::", 96);
	assert_prefix(&list.said[1].prefix, "2001:db8:43::", 96);
}
END_TEST

START_TEST(rfc8880_7_an_answer_without_aaaa_says_that_there_is_no_dns64)
{
	AUTO_BUF struct buf none = BUF_INIT(512), missing = BUF_INIT(512), failed = BUF_INIT(512), bare = BUF_INIT(512);
	struct pref64_list list;

	answer_begin(&none, 0x8180, 0);
	ck_assert_int_eq(pref64_answer_read(buf_slice(&none), 0x1234, &list), PREF64_NO_PREFIX);
	answer_begin(&missing, 0x8183, 0);
	ck_assert_int_eq(pref64_answer_read(buf_slice(&missing), 0x1234, &list), PREF64_NO_PREFIX);
	answer_begin(&failed, 0x8182, 0);
	ck_assert_int_eq(pref64_answer_read(buf_slice(&failed), 0x1234, &list), PREF64_SERVER_FAILED);
	buf_add(&bare, SLICE("\x12\x34\x81\x81\0\0\0\0\0\0\0\0"));
	ck_assert_int_eq(pref64_answer_read(buf_slice(&bare), 0x1234, &list), PREF64_SERVER_FAILED);
}
END_TEST

START_TEST(a_forged_or_broken_answer_gives_nothing)
{
	AUTO_BUF struct buf m = BUF_INIT(512), other = BUF_INIT(512);
	struct pref64_list list;

	answer_begin(&m, 0x8180, 1);
	answer_add(&m, "64:ff9b::192.0.0.170", 60);
	ck_assert_int_eq(pref64_answer_read(buf_slice(&m), 0x1235, &list), PREF64_NOT_OURS);
	for (size_t cut = 0; cut < m.len; cut++) {
		enum pref64_result got = pref64_answer_read(slice_head(buf_slice(&m), cut), 0x1234, &list);

		ck_assert(got == PREF64_BAD_LENGTH || got == PREF64_NOT_OURS);
	}
	m.ptr[2] = 0x01;		/* a question */
	ck_assert_int_eq(pref64_answer_read(buf_slice(&m), 0x1234, &list), PREF64_NOT_OURS);
	m.ptr[2] = 0x81;
	m.ptr[13] = 'I';		/* case does not matter */
	ck_assert_int_eq(pref64_answer_read(buf_slice(&m), 0x1234, &list), PREF64_OK);
	m.ptr[13] = 'x';
	ck_assert_int_eq(pref64_answer_read(buf_slice(&m), 0x1234, &list), PREF64_NOT_OURS);
	answer_begin(&other, 0x8180, 1);
	answer_add(&other, "ff02::192.0.0.170", 60);
	ck_assert_int_eq(pref64_answer_read(buf_slice(&other), 0x1234, &list), PREF64_NO_PREFIX);
	ck_assert_uint_eq(list.ignored, 1);
}
END_TEST

static struct pref64_said said(const char *prefix, uint32_t lifetime_s, uint8_t who)
{
	struct pref64_said s = { .prefix = prefix_of(prefix, 96), .lifetime_s = lifetime_s, .ifindex = 2, .router = { 0xfe, 0x80, [15] = who } };

	return s;
}

START_TEST(rfc8781_5_prefixes_end_with_their_lifetime_or_by_lifetime_0)
{
	struct pref64_table t = { 0 };
	struct pref64_said one = said("2001:db8:1::", 8, 1), two = said("2001:db8:2::", 16, 2);
	struct xlat_prefix best;

	ck_assert_int_eq(pref64_table_expire(&t, 0), -1);
	pref64_table_put(&t, &one, PREF64_BY_RA, 0);
	pref64_table_put(&t, &two, PREF64_BY_RA, 0);
	ck_assert(pref64_table_best(&t, &best));
	assert_prefix(&best, "2001:db8:1::", 96);
	ck_assert_int_eq(pref64_table_expire(&t, 7999), 1);
	ck_assert_int_eq(pref64_table_expire(&t, 8000), 8000);
	ck_assert(pref64_table_best(&t, &best));
	assert_prefix(&best, "2001:db8:2::", 96);
	pref64_table_put(&t, &two, PREF64_BY_RA, 10000);	/* renewed */
	ck_assert_int_eq(pref64_table_expire(&t, 10000), 16000);
	two.lifetime_s = 0;
	pref64_table_put(&t, &two, PREF64_BY_RA, 11000);
	ck_assert(!pref64_table_best(&t, &best));
	pref64_table_put(&t, &two, PREF64_BY_RA, 11000);	/* taken back twice */
	ck_assert_uint_eq(t.count, 0);
}
END_TEST

START_TEST(one_routers_farewell_leaves_the_other_routers_prefix)
{
	struct pref64_table t = { 0 };
	struct pref64_said one = said("64:ff9b::", 600, 1), two = said("64:ff9b::", 600, 2);
	struct xlat_prefix best;

	pref64_table_put(&t, &one, PREF64_BY_RA, 0);
	pref64_table_put(&t, &two, PREF64_BY_RA, 0);
	one.lifetime_s = 0;
	pref64_table_put(&t, &one, PREF64_BY_RA, 1);
	ck_assert(pref64_table_best(&t, &best));
	assert_prefix(&best, "64:ff9b::", 96);
}
END_TEST

START_TEST(rfc9872_router_advertisements_come_before_dns)
{
	struct pref64_table t = { 0 };
	struct pref64_said dns = said("2001:db8:1::", 600, 0), ra = said("2001:db8:2::", 600, 1);
	struct xlat_prefix best;

	pref64_table_put(&t, &dns, PREF64_BY_DNS, 0);
	pref64_table_put(&t, &ra, PREF64_BY_RA, 0);
	ck_assert(pref64_table_best(&t, &best));
	assert_prefix(&best, "2001:db8:2::", 96);
	pref64_table_forget(&t, PREF64_BY_RA, 3);
	ck_assert_uint_eq(t.count, 2);
	pref64_table_forget(&t, PREF64_BY_RA, 2);
	ck_assert(pref64_table_best(&t, &best));
	assert_prefix(&best, "2001:db8:1::", 96);
}
END_TEST

START_TEST(a_flood_of_routers_does_not_push_out_the_prefix_in_use)
{
	struct pref64_table t = { 0 };
	struct xlat_prefix best;

	for (unsigned i = 0; i < PREF64_ROWS_MAX + 1u; i++) {
		struct pref64_said s = said(i == 0 ? "64:ff9b::" : "2001:db8::", 600, (uint8_t)i);

		ck_assert_uint_eq(t.refused, 0);
		pref64_table_put(&t, &s, PREF64_BY_RA, 0);
	}
	ck_assert_uint_eq(t.refused, 1);
	ck_assert_uint_eq(t.count, PREF64_ROWS_MAX);
	ck_assert(pref64_table_best(&t, &best));
	assert_prefix(&best, "64:ff9b::", 96);
}
END_TEST

TEST_MAIN("nat64/pref64", rfc8781_4_the_option_has_a_lifetime_of_13_bits_and_a_length_code, rfc8781_4_bits_after_the_prefix_are_ignored,
	  rfc8781_4_a_wrong_option_is_ignored, rfc8781_4_1_lifetimes_are_rounded_up_and_cut,
	  rfc4861_6_1_2_an_advertisement_is_from_a_router_of_the_link, an_option_of_length_0_ends_the_advertisement,
	  an_advertisement_has_as_many_prefixes_as_the_limit_says, the_kernels_message_has_the_option_and_the_router,
	  rfc7050_3_the_question_asks_for_aaaa_with_recursion_and_checking,
	  rfc7050_3_the_well_known_address_is_found_at_all_places_of_rfc6052,
	  rfc7050_3_an_address_with_the_value_twice_counts_by_the_other_value, rfc7050_3_several_prefixes_are_collected_once_each,
	  rfc8880_7_an_answer_without_aaaa_says_that_there_is_no_dns64, a_forged_or_broken_answer_gives_nothing,
	  rfc8781_5_prefixes_end_with_their_lifetime_or_by_lifetime_0, one_routers_farewell_leaves_the_other_routers_prefix,
	  rfc9872_router_advertisements_come_before_dns, a_flood_of_routers_does_not_push_out_the_prefix_in_use)
