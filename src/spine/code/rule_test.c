#include <errno.h>
#include <stdio.h>

#include "base/test.h"
#include "spine/code/rule_lab.h"
#include "spine/code/rule_model.h"

#define ARENA_BYTES (64u << 20)

static const struct rule *parse(struct arena *arena, const char *text)
{
	const struct rule *r = NULL;
	struct errmsg why = { 0 };
	int err = rule_parse(arena, slice_str(text), &r, &why);

	ck_assert_msg(err == 0, "'%s': %d %s", text, err, why.text);
	ck_assert_str_eq(rule_text(r), text);
	return r;
}

/* ---- good and bad texts ---- */

START_TEST(simple_rules_need_no_guard)
{
	static const char *const texts[] = {
		"", "  ", "all", "ip", "ip6 and tcp", "udp port 53", "port 53 or 80", "port (53 or 80)", "tcp dst portrange 6000-6010",
		"src or dst port 22", "src and dst net 10.0.0.0/8", "net 10", "net 192.0.2", "host 2001:db8::1 or ::2",
		"ip proto 17 or 6", "ip6 proto \\udp", "ether proto 0x88cc", "arp src host 192.0.2.1", "src 192.0.2.1",
		"((udp) || (tcp && dst port 0x50))", "set blocked", "ip src set blocked-1 or b_2", "src or dst set x and tcp",
		"udp port 53 or set all", "icmp or icmp6 or esp or vrrp", "port 65535", "net ::/0", "net 0.0.0.0/0",
	};
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const char *why = "";
		const struct rule *r = parse(&arena, texts[i]);

		ck_assert_msg(!rule_is_guard(r, &why), "'%s': %s", texts[i], why);
	}
}
END_TEST

START_TEST(what_the_tree_cannot_hold_becomes_a_guard_and_says_why)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "not port 22", "it uses `not`" },
		{ "udp and !host 192.0.2.1", "it uses `not`" },
		{ "port not 53", "it uses `not`" },
		{ "tcp[13] & 2 != 0", "it looks at bytes" },
		{ "ip[2:2] > 100 and udp", "it looks at bytes" },
		{ "len > 100", "it looks at the frame's length" },
		{ "less 100", "it looks at the frame's length" },
		{ "vlan 5 and ip", "it moves the offsets of what follows" },
		{ "ether broadcast", "it looks at link-layer or subnet addresses" },
		{ "ether host 2:2:2:2:2:2", "it looks at link-layer addresses" },
		{ "ether proto 0x26", "it looks at LLC headers" },
		{ "ip proto \\ospf or udp", "it names a protocol that only libpcap knows" },
		{ "host 10", "it gives an address as one number" },
		{ "net 10.1.0.0 mask 255.255.0.0", "it uses words that only libpcap knows" },
		{ "1 + 1 = 2 and ip", "it computes" },
		{ "stp", "it uses words that only libpcap knows" },
	};
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *why = "simple";
		struct errmsg error = { 0 };
		const struct rule *r;

		/* Names of protocols come from a file that not every machine has. */
		if (rule_parse(&arena, slice_str(cases[i].text), &r, &error) != 0) {
			ck_assert_msg(strstr(error.text, "ospf") != NULL, "'%s': %s", cases[i].text, error.text);
			continue;
		}
		ck_assert(rule_is_guard(r, &why));
		ck_assert_str_eq(why, cases[i].why);
	}
}
END_TEST

START_TEST(a_wrong_rule_is_answered_with_its_place_and_what_was_meant)
{
	static const struct {
		const char *text;
		unsigned column;
		const char *says;
	} cases[] = {
		{ "udpp port 53", 1, "did you mean 'udp'?" },
		{ "ipv6", 1, "did you mean 'ip6'?" },
		{ "udp prot 53", 5, "did you mean 'port'?" },
		{ "udp AND tcp", 5, "did you mean 'and'?" },
		{ "udp port 53 tcp", 13, "'and' or 'or' is missing" },
		{ "udp port", 9, "a port should stand here" },
		{ "udp port 53 or", 15, "the rule ends" },
		{ "udp port 65536", 10, "ports end at 65535" },
		{ "udp port 80-90", 10, "portrange 80-90" },
		{ "port no-such-port", 6, "no port has this name" },
		{ "portrange 1-65536", 11, "ports end at 65535" },
		{ "host www.example.org", 6, "names of hosts" },
		{ "net example", 5, "names of hosts" },
		{ "not host example", 10, "names of hosts" },
		{ "port 53 and not example", 17, "names of hosts" },
		{ "len-20 > 5", 1, "names of hosts" },
		{ "host 10.0.0.0/8", 14, "needs 'net'" },
		{ "net 10.0.0.1/8", 5, "bits behind the 8" },
		{ "net 10/8", 5, "net 10.0.0.0/8" },
		{ "net 10.0.0.0/33", 14, "from 0 to 32" },
		{ "net 2001:db8::1/64", 5, "bits behind the 64" },
		{ "net 2001:db8::/129", 16, "from 0 to 128" },
		{ "host 1.2.3.256", 6, "neither a number" },
		{ "host 1.2.3.4.5", 6, "neither a number" },
		{ "port 010", 6, "leading zeros" },
		{ "tcp host 192.0.2.1", 1, "write 'tcp and ...'" },
		{ "ip port 53", 1, "'ip' cannot qualify a port" },
		{ "ip host ::1", 1, "an IPv6 address" },
		{ "192.0.2.1", 1, "Write 'host'" },
		{ "ip or 80", 7, "Write 'host'" },
		{ "ip proto tcp", 10, "backslash: '\\tcp'" },
		{ "ip proto 256", 10, "end at 255" },
		{ "ether proto 65536", 13, "end at 65535" },
		{ "(udp port 53", 1, "not closed" },
		{ "udp port 53)", 12, "no parenthesis is open" },
		{ "udp port $53", 10, "not part of the rule language" },
		{ "udp and and tcp", 9, "a condition should stand here" },
		{ "ip and ip6", 1, "no frame can meet" },
		{ "set", 4, "the name of a set" },
		{ "set a.b", 5, "the name of a set" },
		{ "set x and not udp", 1, "only libpcap can compile it: it uses `not`" },
	};
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char place[40];
		struct errmsg why = { 0 };
		const struct rule *r = NULL;

		ck_assert_msg(rule_parse(&arena, slice_str(cases[i].text), &r, &why) == -EINVAL, "'%s'", cases[i].text);
		ck_assert_ptr_null(r);
		snprintf(place, sizeof(place), "column %u:", cases[i].column);
		ck_assert_msg(strstr(why.text, place) != NULL && strstr(why.text, cases[i].says) != NULL, "'%s': %s",
			      cases[i].text, why.text);
	}
}
END_TEST

START_TEST(an_error_shows_the_rule_with_a_caret_below)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	const struct rule *r;
	struct errmsg why;

	ck_assert_int_eq(rule_parse(&arena, SLICE("tcp and udp prot 53"), &r, &why), -EINVAL);
	ck_assert_str_eq(why.text, "match rule, column 13: unknown word; did you mean 'port'?\n"
				   "  tcp and udp prot 53\n"
				   "              ^^^^");
}
END_TEST

START_TEST(libpcap_has_its_say_about_what_only_it_understands)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "not tcp and", "libpcap says: " },
		{ "ip broadcast", "netmask not known" },
		{ "ip6 protochain 6", "jumps backward" },
		{ "inbound", "a live capture" },
		{ "not ip and ip", "expression rejects all packets" },
	};
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct errmsg why = { 0 };
		const struct rule *r;

		ck_assert_int_eq(rule_parse(&arena, slice_str(cases[i].text), &r, &why), -EINVAL);
		ck_assert_msg(strstr(why.text, cases[i].says) != NULL, "'%s': %s", cases[i].text, why.text);
	}
}
END_TEST

static int parse_result(struct arena *arena, const char *text)
{
	const struct rule *r;
	struct errmsg why;

	return rule_parse(arena, slice_str(text), &r, &why);
}

START_TEST(limits_hold_at_the_maximum_and_one_above)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	char text[RULE_TEXT_BYTES_MAX + 2];

	memset(text, ' ', sizeof(text));
	text[RULE_TEXT_BYTES_MAX] = '\0';
	ck_assert_int_eq(parse_result(&arena, text), 0);
	text[RULE_TEXT_BYTES_MAX] = ' ';
	text[RULE_TEXT_BYTES_MAX + 1] = '\0';
	ck_assert_int_eq(parse_result(&arena, text), -E2BIG);

	for (size_t depth = RULE_DEPTH_MAX; depth <= RULE_DEPTH_MAX + 1; depth++) {
		snprintf(text, sizeof(text), "%.*sudp%.*s", (int)depth, "((((((((((((((((((((((((((((((((((((((((", (int)depth,
			 "))))))))))))))))))))))))))))))))))))))))");
		ck_assert_int_eq(parse_result(&arena, text), depth <= RULE_DEPTH_MAX ? 0 : -EINVAL);
	}
	for (int sets = RULE_SETS_MAX; sets <= RULE_SETS_MAX + 1; sets++) {
		size_t used = (size_t)snprintf(text, sizeof(text), "set s0");

		for (int i = 1; i < sets; i++)
			used += (size_t)snprintf(text + used, sizeof(text) - used, " or s%d", i);
		ck_assert_int_eq(parse_result(&arena, text), sets <= RULE_SETS_MAX ? 0 : -EINVAL);
	}
	/* Each `set` doubles the alternatives: source or destination. 2 x 2 x 32 is RULE_TERMS_MAX. */
	ck_assert_int_eq(parse_result(&arena, "port 1 and net 10 and set a and set b and set c and set d and set e"), 0);
	ck_assert_int_eq(parse_result(&arena, "port 1 and net 10 and set a and set b and set c and set d and set e and set f"),
			 -EINVAL);
	for (int bytes = RULE_SET_NAME_BYTES_MAX; bytes <= RULE_SET_NAME_BYTES_MAX + 1; bytes++) {
		snprintf(text, sizeof(text), "set %.*s", bytes, "abcdefghijklmnopqrstuvwxyz0123456789");
		ck_assert_int_eq(parse_result(&arena, text), bytes <= RULE_SET_NAME_BYTES_MAX ? 0 : -EINVAL);
	}
}
END_TEST

START_TEST(alternatives_of_one_field_are_one_term)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	const struct rule *r = parse(&arena, "dst port 1 or 2 or 4 or 9 or 3");

	ck_assert_uint_eq(r->terms.count, 1);
	ck_assert_uint_eq(r->terms.at[0].field[FIELD_DPORT]->count, 2);
	/* 1 to 4, and 9 */
	ck_assert(r->terms.at[0].field[FIELD_DPORT]->at[0].last == 4);
	ck_assert_uint_eq(parse(&arena, "udp or udp port 53")->terms.count, 1);
	ck_assert_uint_eq(parse(&arena, "(host 10.0.0.1 or 10.0.0.9) and (port 1 or 3 or 5)")->terms.count, 4);
}
END_TEST

START_TEST(names_of_sets_are_listed_once)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	const struct rule *r = parse(&arena, "src set b or dst set a or b");

	ck_assert_str_eq(rule_set(r, 0), "b");
	ck_assert_str_eq(rule_set(r, 1), "a");
	ck_assert_ptr_null(rule_set(r, 2));
	ck_assert_ptr_null(rule_set(parse(&arena, "udp"), 0));
}
END_TEST

/* ---- ranges, against sets of bits ---- */

static const struct ranges *ranges_of(struct arena *arena, uint64_t bits)
{
	const struct ranges *r = &ranges_none;

	for (unsigned i = 0; i < 64; i++) {
		if ((bits >> i & 1) != 0)
			r = ranges_union(arena, r, ranges_one(arena, i, i));
	}
	return r;
}

static uint64_t bits_of(const struct ranges *r)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < 64; i++)
		bits |= (uint64_t)ranges_has(r, i) << i;
	for (size_t i = 1; i < r->count; i++)
		ck_assert(r->at[i - 1].last + 1 < r->at[i].first);
	return bits;
}

START_TEST(ranges_behave_as_sets)
{
	uint64_t seed = 9;

	for (unsigned round = 0; round < 500; round++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
		uint64_t x = lab_next(&seed), y = lab_next(&seed);
		const struct ranges *a, *b;

		/* Runs and lone values. */
		x |= round % 2 == 0 ? x << 1 : 0;
		y &= round % 3 == 0 ? y << 1 : ~UINT64_C(0);
		a = ranges_of(&arena, x);
		b = ranges_of(&arena, y);
		ck_assert_uint_eq(bits_of(a), x);
		ck_assert_uint_eq(bits_of(ranges_union(&arena, a, b)), x | y);
		ck_assert_uint_eq(bits_of(ranges_intersect(&arena, a, b)), x & y);
		ck_assert_uint_eq(bits_of(ranges_subtract(&arena, a, b)), x & ~y);
		ck_assert(ranges_meet(a, b) == ((x & y) != 0));
	}
}
END_TEST

/* ---- the meaning ---- */

START_TEST(terms_mean_what_libpcap_means_on_whole_frames)
{
	uint64_t seed = 1;
	unsigned compared = 0, hits = 0, kept = 0;

	for (unsigned round = 0; round < 3000; round++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
		const struct rule *r = NULL;
		struct errmsg why = { 0 };
		struct lab_filter *f;
		char text[400];
		int err;

		lab_rule(&seed, false, text, sizeof(text));
		f = lab_filter_new(text, false);
		err = rule_parse(&arena, slice_str(text), &r, &why);
		/* We see more contradictions than libpcap does: then it must select nothing. */
		ck_assert_msg(err == 0 ? f != NULL : f == NULL || strstr(why.text, "no frame can meet") != NULL,
			      "'%s': %d %s", text, err, why.text);
		if (f == NULL)
			continue;
		kept++;
		ck_assert_msg(r == NULL || !rule_is_guard(r, NULL), "'%s'", text);
		for (unsigned n = 0; n < 60; n++) {
			uint8_t frame[LAB_FRAME_MAX];
			size_t bytes = lab_frame(&seed, true, frame);
			u128 fields[FIELD_COUNT];
			bool want = lab_filter_matches(f, frame, bytes);

			model_fields(frame, bytes, fields);
			ck_assert_msg((r != NULL && model_matches(r, fields)) == want, "'%s' frame %u of round %u: libpcap %d", text, n, round,
				      want);
			compared++;
			hits += want;
		}
		lab_filter_free(f);
	}
	ck_assert_uint_gt(kept, 1500);
	ck_assert_uint_gt(hits, compared / 50);
}
END_TEST

/* The one difference: libpcap gives up the rule, we the condition. So what libpcap selects, we select, too. */
START_TEST(a_truncated_frame_only_fails_the_condition_that_looks_beyond_its_end)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	const struct rule *r = parse(&arena, "udp port 53 or ip");
	struct lab_filter *f = lab_filter_new("udp port 53 or ip", false);
	uint8_t frame[34] = { [12] = 0x08, [14] = 0x45, [23] = 17 };
	uint64_t seed = 5;
	u128 fields[FIELD_COUNT];
	unsigned differ = 0;

	lab_filter_free(f);
	model_fields(frame, sizeof(frame), fields);
	ck_assert(model_matches(r, fields));
	for (unsigned round = 0; round < 1000; round++) {
		char text[400];

		lab_rule(&seed, false, text, sizeof(text));
		f = lab_filter_new(text, false);
		if (f == NULL || parse_result(&arena, text) != 0) {
			lab_filter_free(f);
			continue;
		}
		r = parse(&arena, text);
		for (unsigned n = 0; n < 60; n++) {
			uint8_t cut[LAB_FRAME_MAX];
			size_t bytes = lab_frame(&seed, false, cut);
			bool pcap = lab_filter_matches(f, cut, bytes);

			model_fields(cut, bytes, fields);
			differ += pcap != model_matches(r, fields);
			/* Half a header has no addresses and no protocol for us; libpcap reads what is there. */
			if (fields[FIELD_TYPE] >= RULE_HEADER)
				ck_assert_msg(!pcap || model_matches(r, fields), "'%s'", text);
		}
		lab_filter_free(f);
	}
	ck_assert_uint_gt(differ, 0);
}
END_TEST

START_TEST(covers_of_known_pairs)
{
	static const struct {
		const char *a, *b;
		bool covers, covered;
	} cases[] = {
		{ "all", "udp port 53", true, false },
		{ "", "not udp", true, false },
		{ "udp", "udp port 53", true, false },
		{ "port 53", "udp dst port 53", true, false },
		{ "udp or tcp", "tcp or udp", true, true },
		{ "ip", "net 10.0.0.0/8", false, false },
		{ "ip or arp or rarp", "net 10.0.0.0/8", true, false },
		{ "net 10.0.0.0/9 or 10.128.0.0/9", "net 10.0.0.0/8", true, true },
		{ "dst portrange 1-10 or dst portrange 11-20", "dst portrange 5-15", true, false },
		{ "ip", "ip6", false, false },
		{ "udp port 53", "tcp port 53", false, false },
		{ "udp dst port 53", "udp dst port 54", false, false },
		{ "udp port 53", "udp port 54", false, false },
		{ "src set a", "src set a and udp", true, false },
		{ "src set a", "src set b", false, false },
		{ "set a", "src set a", true, false },
		{ "set a and udp", "set b and tcp", false, false },
		{ "not udp", "not udp", true, true },
		{ "not udp", "udp", false, false },
		{ "udp", "udp and not port 22", true, false },
		{ "not port 22", "not port 22 and udp", true, false },
		{ "udp", "(udp or tcp) and not port 22", false, false },
		{ "udp or tcp", "ip[8] < 5 and (udp or tcp)", true, false },
		{ "ip", "vlan 5 and ip", false, false },
		{ "udp", "udp and not port 22 or tcp", false, false },
		{ "udp port 80", "tcp port 22 and 80 and not icmp", false, false },
	};
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct rule *a = parse(&arena, cases[i].a), *b = parse(&arena, cases[i].b);

		ck_assert_msg(rule_covers(a, b) == cases[i].covers, "'%s' covers '%s'", cases[i].a, cases[i].b);
		ck_assert_msg(rule_covers(b, a) == cases[i].covered, "'%s' covers '%s'", cases[i].b, cases[i].a);
	}
}
END_TEST

START_TEST(no_frame_contradicts_covers)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(256u << 20);
	const struct rule *rules[120];
	unsigned count = 0, covering = 0;
	uint64_t seed = 77;

	while (count < ARRAY_LEN(rules)) {
		char text[400];
		struct errmsg why;

		lab_rule(&seed, false, text, sizeof(text));
		count += rule_parse(&arena, slice_str(text), &rules[count], &why) == 0;
	}
	for (unsigned i = 0; i < count; i++) {
		for (unsigned j = 0; j < count; j++) {
			bool covers = rule_covers(rules[i], rules[j]);

			covering += covers;
			for (unsigned n = 0; covers && n < 40; n++) {
				uint8_t frame[LAB_FRAME_MAX];
				size_t bytes = lab_frame(&seed, false, frame);
				u128 fields[FIELD_COUNT];
				bool a, b;

				model_fields(frame, bytes, fields);
				a = model_matches(rules[i], fields);
				b = model_matches(rules[j], fields);
				ck_assert_msg(!b || a, "'%s' covers '%s'", rule_text(rules[i]), rule_text(rules[j]));
			}
		}
	}
	ck_assert_uint_gt(covering, count);
}
END_TEST

TEST_MAIN("spine/rule", simple_rules_need_no_guard, what_the_tree_cannot_hold_becomes_a_guard_and_says_why,
	  a_wrong_rule_is_answered_with_its_place_and_what_was_meant, an_error_shows_the_rule_with_a_caret_below,
	  libpcap_has_its_say_about_what_only_it_understands, limits_hold_at_the_maximum_and_one_above,
	  alternatives_of_one_field_are_one_term, names_of_sets_are_listed_once, ranges_behave_as_sets,
	  terms_mean_what_libpcap_means_on_whole_frames,
	  a_truncated_frame_only_fails_the_condition_that_looks_beyond_its_end, covers_of_known_pairs,
	  no_frame_contradicts_covers)
