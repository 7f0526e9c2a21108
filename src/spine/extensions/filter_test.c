#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>

#include "base/test.h"
#include "spine/extensions/filter_tables.h"

/* 64 MiB: the largest files need a few of them. */
static struct arena arena = ARENA_INIT(64u << 20);
static struct buf errors = BUF_INIT(1u << 20);

static int parse(const char *text, const struct filter_rules **out)
{
	arena_reset(&arena);
	buf_reset(&errors);
	return filter_parse(&arena, slice_str(text), "rules", out, &errors);
}

START_TEST(errors_name_line_and_word)
{
	static const struct { const char *text, *want; } cases[] = {
		{ "allow tcp", "rules:1: a line begins with pass, drop or default, not 'allow'" },
		{ "# one\n\ndrop tpc\n", "rules:3: 'tpc' is no condition; did you mean 'tcp'?" },
		{ "drop xyzzy", "rules:1: 'xyzzy' is no condition" },
		{ "default", "rules:1: 'default' is followed by pass or drop, not ''" },
		{ "default drop tcp", "rules:1: nothing follows 'default pass' or 'default drop'" },
		{ "drop src", "rules:1: 'src' ends too early: an address, or `port` and its number is missing" },
		{ "drop dst port", "rules:1: 'dst' ends too early: an address, or `port` and its number is missing" },
		{ "drop port", "rules:1: the rule ends too early: an address, or `port` and its number is missing" },
		{ "drop src 10.0.0.1/8", "rules:1: '10.0.0.1/8' has bits behind its length of 8; clear them or say the address alone" },
		{ "drop src 10.0.0.0/33", "rules:1: '10.0.0.0/33': the length of a prefix is 0 to 32" },
		{ "drop src 2001:db8::/129", "rules:1: '2001:db8::/129': the length of a prefix is 0 to 128" },
		{ "drop src 10.0.0", "rules:1: '10.0.0' is no IPv4 or IPv6 address" },
		{ "drop src 10.0.0.1,", "rules:1: '' is no IPv4 or IPv6 address" },
		{ "drop src 1111111111111111111111111111111111111111111111111111/8", "rules:1: '1111111111111111111111111111111111111111111111111111/8' is no address" },
		{ "drop port 65536", "rules:1: '65536' is no port: numbers of 0 to 65535, or ranges like 1000-1999" },
		{ "drop port 9-", "rules:1: '9-' is no port: numbers of 0 to 65535, or ranges like 1000-1999" },
		{ "drop port 9-8", "rules:1: '9-8' ends before it begins" },
		{ "drop src 10.0.0.1 src 10.0.0.2", "rules:1: addresses are given twice; write a list: 10.0.0.0/8,192.0.2.1" },
		{ "drop port 1 port 2", "rules:1: ports are given twice; write a list: 80,443,8000-8099" },
		{ "drop port 1 src port 2", "rules:1: ports with and without direction in one rule; give both a direction" },
		{ "drop host ::1 dst ::2", "rules:1: addresses with and without direction in one rule; give both a direction" },
		{ "drop tcp udp", "rules:1: protocols are given twice; write a list: proto tcp,udp" },
		{ "drop proto 256", "rules:1: '256' is no protocol: a name like tcp, or 0 to 255" },
		{ "drop ip6 icmp", "rules:1: no packet fits: its protocols belong to another IP version" },
		{ "drop ip ip6", "rules:1: no packet fits: its protocols belong to another IP version" },
		{ "drop fragment dst port 9", "rules:1: no packet fits: later fragments have no ports" },
		{ "drop arp tcp", "rules:1: 'arp' goes with no other condition" },
		{ "drop other src 10.0.0.1", "rules:1: 'other' goes with no other condition" },
		{ "drop and tcp", "rules:1: 'and' joins two conditions" },
		{ "drop tcp and", "rules:1: 'and' joins two conditions" },
		{ "drop tcp\x01", "rules:1: byte 0x01: rules are plain ASCII" },
	};
	const struct filter_rules *rules;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(parse(cases[i].text, &rules), -EINVAL);
		ck_assert_uint_gt(errors.len, 0);
		ck_assert_slice_eq(slice_head(buf_slice(&errors), errors.len - 1), slice_str(cases[i].want));
	}
}
END_TEST

START_TEST(all_errors_are_told_up_to_the_limit)
{
	AUTO_BUF struct buf text = BUF_INIT(1 << 20);
	const struct filter_rules *rules;
	size_t lines = 0;

	ck_assert_int_eq(parse("drop x1\npass\ndrop x2\n", &rules), -EINVAL);
	ck_assert(slice_find(buf_slice(&errors), SLICE("rules:1:")) != SLICE_NPOS);
	ck_assert(slice_find(buf_slice(&errors), SLICE("rules:3:")) != SLICE_NPOS);
	for (int i = 0; i < FILTER_ERRORS_MAX + 5; i++)
		buf_adds(&text, "drop wrong\n");
	ck_assert_int_eq(parse(buf_cstr(&text), &rules), -EINVAL);
	for (size_t i = 0; i < errors.len; i++)
		lines += errors.ptr[i] == '\n';
	ck_assert_uint_eq(lines, FILTER_ERRORS_MAX);
}
END_TEST

START_TEST(a_rule_without_direction_counts_twice_for_each)
{
	const struct filter_rules *rules;

	ck_assert_int_eq(parse("default drop # all else\n\tpass  udp and port 53,5353 \r\ndrop host 10.0.0.1 port 1-9\n"
			       "drop ip6 src host ::1 and dst net fd00::/8 src port 7\npass", &rules), 0);
	ck_assert_uint_eq(rules->count, 2 + 4 + 1 + 1);
	ck_assert_uint_eq(rules->default_verdict, XDP_DROP);
	ck_assert_slice_eq(rules->entries[0].text, SLICE("pass  udp and port 53,5353"));
	ck_assert_uint_eq(rules->entries[1].line, 2);
	ck_assert_uint_eq(rules->entries[1].port_count[FILTER_DESTINATION], 2);
	ck_assert_uint_eq(rules->entries[6].families, 1 << FILTER_IP6);
	ck_assert_uint_eq(rules->entries[7].verdict, XDP_PASS);
}
END_TEST

START_TEST(ranges_of_ports_are_joined)
{
	const struct filter_rules *rules;

	ck_assert_int_eq(parse("drop dst portrange 30-39,10-20,40,15-25,7,26", &rules), 0);
	ck_assert_uint_eq(rules->entries[0].port_count[FILTER_DESTINATION], 3);
	ck_assert_uint_eq(rules->entries[0].ports[FILTER_DESTINATION][1].first, 10);
	ck_assert_uint_eq(rules->entries[0].ports[FILTER_DESTINATION][1].last, 26);
	ck_assert_uint_eq(rules->entries[0].ports[FILTER_DESTINATION][2].last, 40);
}
END_TEST

/* The set of the longest prefix around an IPv4 address. */
static const struct filter_set *around(const struct filter_tables *t, enum filter_side side, const char *address)
{
	uint32_t class = t->bank.no_prefix[side][FILTER_IP4], best = 0, wanted, have;

	inet_pton(AF_INET, address, &wanted);
	for (size_t i = 0; i < t->row_count[side][FILTER_IP4]; i++) {
		const struct filter_row *row = &t->rows[side][FILTER_IP4][i];
		uint32_t mask = row->prefix.bits == 0 ? 0 : htonl(~0u << (32 - row->prefix.bits));

		memcpy(&have, row->prefix.address, 4);
		if ((wanted & mask) == have && row->prefix.bits >= best) {
			best = row->prefix.bits;
			class = row->class;
		}
	}
	return &t->sets[class];
}

START_TEST(a_prefix_has_the_rules_of_those_around_it)
{
	const struct filter_rules *rules;
	struct filter_tables *t;
	struct errmsg why;

	ck_assert_int_eq(parse("drop src 10.0.0.0/8\npass src 10.1.0.0/16,192.0.2.0/24\ndrop src 10.1.2.3\n"
			       "pass tcp\ndrop src 0.0.0.0/0\npass src 10.1.0.0/16\ndrop src fd00::/8", &rules), 0);
	ck_assert_int_eq(filter_compile(&arena, rules, &t, &why), 0);
	ck_assert_uint_eq(around(t, FILTER_SOURCE, "10.1.2.3")->word[0], 0x3f);
	ck_assert_uint_eq(around(t, FILTER_SOURCE, "10.1.2.4")->word[0], 0x3b);
	ck_assert_uint_eq(around(t, FILTER_SOURCE, "10.2.2.4")->word[0], 0x19);
	ck_assert_uint_eq(around(t, FILTER_SOURCE, "192.0.2.9")->word[0], 0x1a);
	ck_assert_uint_eq(around(t, FILTER_SOURCE, "8.8.8.8")->word[0], 0x18);
	ck_assert_uint_eq(around(t, FILTER_DESTINATION, "8.8.8.8")->word[0], 0x7f);
	ck_assert(!t->bank.has_prefixes[FILTER_DESTINATION][FILTER_IP4]);
	ck_assert(t->bank.has_prefixes[FILTER_SOURCE][FILTER_IP6]);
}
END_TEST

START_TEST(protocols_and_fragments_choose_their_rules)
{
	const struct filter_rules *rules;
	struct filter_tables *t;
	struct errmsg why;

	ck_assert_int_eq(parse("drop tcp\ndrop icmp\ndrop ip6\ndrop fragment\ndrop arp\npass arp\ndrop proto 17,gre", &rules), 0);
	ck_assert_int_eq(filter_compile(&arena, rules, &t, &why), 0);
	ck_assert_uint_eq(t->sets[t->protocols[6]].word[0], 1);
	ck_assert_uint_eq(t->sets[t->protocols[1]].word[0], 2);
	ck_assert_uint_eq(t->sets[t->protocols[256 + 6]].word[0], 1 | 8);
	ck_assert_uint_eq(t->sets[t->protocols[512 + 6]].word[0], 1 | 4);
	ck_assert_uint_eq(t->sets[t->protocols[512 + 17]].word[0], 4 | 64);
	ck_assert_uint_eq(t->bank.arp_rule, 4);
	ck_assert_uint_eq(t->bank.other_rule, FILTER_RULES_MAX);
}
END_TEST

START_TEST(limits_hold_at_and_above)
{
	AUTO_BUF struct buf text = BUF_INIT(4 << 20);
	const struct filter_rules *rules;
	struct filter_tables *t;
	struct errmsg why;

	for (int i = 0; i < FILTER_RULES_MAX; i++)
		buf_printf(&text, "drop src 10.%d.%d.0/24 dst port %d\n", i / 256, i % 256, i);
	ck_assert_int_eq(parse(buf_cstr(&text), &rules), 0);
	ck_assert_int_eq(filter_compile(&arena, rules, &t, &why), 0);
	ck_assert_uint_eq(t->bank.words, FILTER_WORDS);
	buf_adds(&text, "drop\n");
	ck_assert_int_eq(parse(buf_cstr(&text), &rules), -EINVAL);
	ck_assert(slice_find(buf_slice(&errors), SLICE("more than 1024 rules")) != SLICE_NPOS);

	/* Prefixes of one place. */
	for (int extra = 0; extra < 2; extra++) {
		buf_reset(&text);
		for (int i = 0; i < FILTER_PREFIXES_MAX + extra; i++)
			buf_printf(&text, "%s10.%d.%d.%d", i % FILTER_LIST_MAX == 0 ? "\ndrop src " : ",", i >> 16, i >> 8 & 255, i & 255);
		ck_assert_int_eq(parse(buf_cstr(&text), &rules), 0);
		ck_assert_int_eq(filter_compile(&arena, rules, &t, &why), extra ? -E2BIG : 0);
	}

	/* Different sets: each port and each prefix of its own. */
	buf_reset(&text);
	for (int i = 0; i < FILTER_RULES_MAX; i++)
		buf_printf(&text, "drop src 10.0.%d.0/24 dst 10.%d.0.0/16 src port %d-60000 dst port %d-50000\n", i % 256, i % 256, i * 7, i * 3);
	ck_assert_int_eq(parse(buf_cstr(&text), &rules), 0);
	ck_assert_int_eq(filter_compile(&arena, rules, &t, &why), 0);
	/* And rules in another order for the destination's ports, so that no two sets are equal. */
	buf_reset(&text);
	for (int i = 0; i < FILTER_RULES_MAX; i++)
		buf_printf(&text, "drop src 10.%d.%d.1,10.%d.%d.2 dst 10.%d.%d.3 src port %d-%d dst port %d-%d\n", i / 256, i % 256,
			   (i + 1) % 1024 / 256, (i + 1) % 256, i / 256, i % 256, i * 20, 30000 + i * 11, i * 37 % 1024 * 9, 40000 + i * 37 % 1024 * 13);
	ck_assert_int_eq(parse(buf_cstr(&text), &rules), 0);
	ck_assert_int_eq(filter_compile(&arena, rules, &t, &why), -E2BIG);
	ck_assert(strstr(why.text, "4096 classes") != NULL);

	/* Items of a list, bytes of a file. */
	for (int extra = 0; extra < 2; extra++) {
		buf_reset(&text);
		buf_adds(&text, "drop port 1");
		for (int i = 1; i < FILTER_LIST_MAX + extra; i++)
			buf_printf(&text, ",%d", i * 3);
		ck_assert_int_eq(parse(buf_cstr(&text), &rules), extra ? -EINVAL : 0);
	}
	buf_reset(&text);
	buf_fill(&text, '#', FILTER_FILE_BYTES_MAX);
	ck_assert_int_eq(parse(buf_cstr(&text), &rules), 0);
	buf_addc(&text, '#');
	ck_assert_int_eq(parse(buf_cstr(&text), &rules), -EINVAL);
}
END_TEST

START_TEST(memory_may_end_anywhere)
{
	static const char text[] = "drop src 10.0.0.0/8 port 9\npass tcp dst fd00::/8 src port 1-9\n";

	for (size_t limit = 0; limit < 4u << 20; limit = limit < 4096 ? limit + 64 : limit + 65536) {
		AUTO_ARENA struct arena small = ARENA_INIT(limit);
		const struct filter_rules *rules;
		struct filter_tables *t;
		struct errmsg why;

		buf_reset(&errors);
		int rc = filter_parse(&small, slice_str(text), "f", &rules, &errors);
		if (rc == 0)
			rc = filter_compile(&small, rules, &t, &why);
		ck_assert(rc == 0 || rc == -ENOMEM);
		ck_assert(limit > 0 || rc == -ENOMEM);
	}
}
END_TEST

TEST_MAIN("spine/filter", errors_name_line_and_word, all_errors_are_told_up_to_the_limit,
	  a_rule_without_direction_counts_twice_for_each, ranges_of_ports_are_joined,
	  a_prefix_has_the_rules_of_those_around_it, protocols_and_fragments_choose_their_rules,
	  limits_hold_at_and_above, memory_may_end_anywhere)
