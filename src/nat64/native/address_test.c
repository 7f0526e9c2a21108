/* RFC 6052 (with 8215), 7757 and 6877: addresses and whose they are. Examples are those of the RFCs. */
#include "base/test.h"

#include <stdio.h>

#include "nat64/core/address.h"
#include "nat64/native/packet.h"

static const uint8_t zeros[2000];

static struct slice data(size_t n)
{
	return slice_of(zeros, n);
}

static void expect_at(const struct world *w, size_t at, const char *text)
{
	__be32 a[4];

	packet_address(text, a);
	ck_assert_msg(memcmp(w->out.ptr + at, a, strchr(text, ':') != NULL ? 16 : 4) == 0, "not %s", text);
}

/* Send UDP; expect these addresses. */
static void expect(struct world *w, const char *src, const char *dst, const char *new_src, const char *new_dst)
{
	struct packet_ip ip = { .src = src, .dst = dst };
	bool six = strchr(new_src, ':') != NULL;

	buf_reset(&w->in);
	packet_udp(&w->in, &ip, 1, 2, data(9));
	int verdict = world_send(w, 0, 0);
	ck_assert_msg(verdict == XLAT_TRANSLATE, "%s -> %s: verdict %d, reason %u", src, dst, verdict, w->x.reason);
	ck_assert_uint_eq(w->out.ptr[0] >> 4, six ? 6 : 4);
	expect_at(w, six ? 8 : 12, new_src);
	expect_at(w, six ? 24 : 16, new_dst);
}

static void expect_not(struct world *w, const char *src, const char *dst, enum xlat_verdict verdict, enum xlat_reason reason)
{
	struct packet_ip ip = { .src = src, .dst = dst };

	buf_reset(&w->in);
	packet_udp(&w->in, &ip, 1, 2, data(9));
	ck_assert_int_eq(world_send(w, 0, 0), verdict);
	ck_assert_uint_eq(w->x.reason, reason);
}

/* All of IPv4 is the other side. */
static void everything(struct xlat_config *c)
{
	world_config(c);
	c->pool[0] = (struct xlat_pool){ .first = 0, .count = 0xffffffff };
}

START_TEST(rfc6052_2_4_examples)
{
	static const struct { const char *prefix; uint8_t bits; const char *address; } rows[] = {
		{ "2001:db8::", 32, "2001:db8:c000:221::" },
		{ "2001:db8:100::", 40, "2001:db8:1c0:2:21::" },
		{ "2001:db8:122::", 48, "2001:db8:122:c000:2:2100::" },
		{ "2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::" },
		{ "2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::" },
		{ "2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33" },
		{ "64:ff9b:1:fffe::", 96, "64:ff9b:1:fffe::192.0.2.33" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world w;
		struct xlat_config c;

		everything(&c);
		c.flags &= ~(uint32_t)XLAT_EAM;
		world_prefix(&c, 0, rows[i].prefix, rows[i].bits, false);
		world_open(&w, &c);
		expect(&w, "192.0.2.33", "192.0.2.33", rows[i].address, rows[i].address);
		expect(&w, rows[i].address, rows[i].address, "192.0.2.33", "192.0.2.33");
		world_close(&w);
	}
}
END_TEST

START_TEST(rfc6052_2_2_every_address_comes_back)
{
	static const uint8_t bits[] = { 32, 40, 48, 56, 64, 96 };
	struct world w;
	struct xlat_config c;

	for (size_t i = 0; i < sizeof(bits); i++) {
		everything(&c);
		c.flags &= ~(uint32_t)XLAT_EAM;
		world_prefix(&c, 0, "2001:db8::", bits[i], false);
		world_open(&w, &c);
		for (unsigned k = 0; k < 32; k++) {
			char four[32];
			uint32_t a = 1u << k | 0x01000000;
			snprintf(four, sizeof(four), "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
			if (a >> 28 == 0xe || a >> 24 == 127)
				continue;
			struct packet_ip ip = { .src = four, .dst = "8.8.4.4" };
			buf_reset(&w.in);
			packet_udp(&w.in, &ip, 1, 2, data(9));
			ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
			ck_assert_uint_eq(bits[i] == 96 ? 0 : w.out.ptr[8 + 8], 0);
			buf_reset(&w.in);
			buf_add(&w.in, buf_slice(&w.out));
			ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
			expect_at(&w, 12, four);
			expect_at(&w, 16, "8.8.4.4");
		}
		world_close(&w);
	}
}
END_TEST

START_TEST(rfc6052_2_2_suffix_is_ignored_and_u_octet_must_be_zero)
{
	struct world w;
	struct xlat_config c;

	everything(&c);
	world_prefix(&c, 0, "2001:db8:100::", 40, false);
	world_open(&w, &c);
	expect(&w, "2001:db8:1::9", "2001:db8:1c0:2:21:1234:5678:9abc", "192.0.2.9", "192.0.2.33");
	expect_not(&w, "2001:db8:1::9", "2001:db8:1c0:2:121::", XLAT_DROP, XLAT_R_U_OCTET);
	expect_not(&w, "2001:db8:1c0:2:8021::", "2001:db8:1c0:2:21::", XLAT_DROP, XLAT_R_U_OCTET);
	world_close(&w);
	/* A prefix of 96 bits has the octet itself. */
	world_prefix(&c, 0, "2001:db8:100:0:5500::", 96, false);
	world_open(&w, &c);
	expect(&w, "2001:db8:1::9", "2001:db8:100:0:5500::192.0.2.33", "192.0.2.9", "192.0.2.33");
	world_close(&w);
}
END_TEST

START_TEST(rfc6052_3_1_well_known_prefix_only_with_global_addresses)
{
	static const char *const not_global[] = {
		"10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1", "198.18.0.1",
		"198.19.255.255", "198.51.100.1", "203.0.113.1", "240.0.0.1", "255.255.255.254",
	};
	static const char *const global[] = {
		"9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "100.63.255.255", "100.128.0.0", "192.0.1.0",
		"192.0.0.9", "192.0.0.10", "192.0.3.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0",
		"1.1.1.1", "223.255.255.255", "192.88.99.1",
	};
	struct world w;
	struct xlat_config c;

	everything(&c);
	world_prefix(&c, 0, "64:ff9b::", 96, true);
	c.flags &= ~(uint32_t)XLAT_EAM;
	world_open(&w, &c);
	world_eam(&w, "2001:db8:1::", 120, "8.8.8.0", 24, 1);
	for (size_t i = 0; i < ARRAY_LEN(not_global); i++) {
		char six[64];
		snprintf(six, sizeof(six), "64:ff9b::%s", not_global[i]);
		expect_not(&w, "64:ff9b::1.1.1.1", six, XLAT_DROP, XLAT_R_WELL_KNOWN_PREFIX);
		expect_not(&w, six, "64:ff9b::1.1.1.1", XLAT_DROP, XLAT_R_WELL_KNOWN_PREFIX);
		expect_not(&w, not_global[i], "8.8.8.1", XLAT_DROP, XLAT_R_WELL_KNOWN_PREFIX);
	}
	for (size_t i = 0; i < ARRAY_LEN(global); i++) {
		char six[64];
		snprintf(six, sizeof(six), "64:ff9b::%s", global[i]);
		expect(&w, "64:ff9b::1.1.1.1", six, "1.1.1.1", global[i]);
		expect(&w, global[i], "1.1.1.1", six, "64:ff9b::1.1.1.1");
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc8215_local_use_prefix_has_any_address)
{
	struct world w;
	struct xlat_config c;

	everything(&c);
	world_prefix(&c, 0, "64:ff9b:1::", 48, false);
	world_open(&w, &c);
	expect(&w, "2001:db8:1::9", "64:ff9b:1:a00:0:100::", "192.0.2.9", "10.0.0.1");
	expect(&w, "10.0.0.1", "192.0.2.9", "64:ff9b:1:a00:0:100::", "2001:db8:1::9");
	world_close(&w);
}
END_TEST

START_TEST(several_prefixes_stand_side_by_side)
{
	struct world w;
	struct xlat_config c;

	everything(&c);
	for (unsigned i = 0; i < XLAT_PREFIXES_MAX; i++) {
		char prefix[32];
		snprintf(prefix, sizeof(prefix), "2001:db8:%x::", 0x1000 + i);
		world_prefix(&c, i, prefix, i == 3 ? 48 : 96, false);
	}
	world_open(&w, &c);
	expect(&w, "2001:db8:1::9", "2001:db8:1007::8.8.8.8", "192.0.2.9", "8.8.8.8");
	ck_assert_uint_eq(w.x.prefix, 7);
	expect(&w, "2001:db8:1::9", "2001:db8:1003:808:8:800::", "192.0.2.9", "8.8.8.8");
	ck_assert_uint_eq(w.x.prefix, 3);
	expect_not(&w, "2001:db8:1::9", "2001:db8:1008::8.8.8.8", XLAT_PASS, XLAT_R_NOT_OURS);
	expect(&w, "8.8.8.8", "192.0.2.9", "2001:db8:1000::8.8.8.8", "2001:db8:1::9");
	world_close(&w);
}
END_TEST

/* The table of RFC 7757, figure 1. */
static void figure1(struct world *w, uint32_t hairpin)
{
	struct xlat_config c;

	everything(&c);
	c.flags &= ~(uint32_t)XLAT_EAM;
	c.hairpin_eam = hairpin;
	world_prefix(&c, 0, "2001:db8:ffff::", 96, false);
	world_open(w, &c);
	c.flags |= XLAT_EAM;
	ck_assert_int_eq(xlat_native_configure(w->n, &c), 0);
	world_eam(w, "2001:db8:aaaa::", 128, "192.0.2.1", 32, 1);
	world_eam(w, "2001:db8:bbbb::b", 128, "192.0.2.2", 32, 2);
	world_eam(w, "2001:db8:cccc::", 124, "192.0.2.16", 28, 3);
	world_eam(w, "2001:db8:dddd::", 64, "192.0.2.128", 26, 4);
	world_eam(w, "2001:db8:eeee:8::", 62, "192.0.2.192", 29, 5);
	world_eam(w, "64:ff9b::", 127, "192.0.2.224", 31, 6);
}

START_TEST(rfc7757_3_2_examples)
{
	static const struct { const char *four, *six; } rows[] = {
		{ "192.0.2.1", "2001:db8:aaaa::" }, { "192.0.2.2", "2001:db8:bbbb::b" }, { "192.0.2.16", "2001:db8:cccc::" }, { "192.0.2.24", "2001:db8:cccc::8" },
		{ "192.0.2.31", "2001:db8:cccc::f" }, { "192.0.2.128", "2001:db8:dddd::" }, { "192.0.2.152", "2001:db8:dddd:0:6000::" },
		{ "192.0.2.183", "2001:db8:dddd:0:dc00::" }, { "192.0.2.191", "2001:db8:dddd:0:fc00::" }, { "192.0.2.195", "2001:db8:eeee:9:8000::" },
		{ "192.0.2.225", "64:ff9b::1" },
	};
	struct world w;

	figure1(&w, 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		expect(&w, "8.8.8.8", rows[i].four, "2001:db8:ffff::8.8.8.8", rows[i].six);
		expect(&w, rows[i].six, "2001:db8:ffff::8.8.8.8", rows[i].four, "8.8.8.8");
	}
	/* What follows the suffix is left out; what no row has goes by the prefix. */
	expect(&w, "2001:db8:dddd:0:63ff:ffff:ffff:ffff", "2001:db8:ffff::8.8.8.8", "192.0.2.152", "8.8.8.8");
	expect(&w, "192.0.2.3", "192.0.2.1", "2001:db8:ffff::192.0.2.3", "2001:db8:aaaa::");
	world_close(&w);
}
END_TEST

START_TEST(rfc7757_3_4_overlapping_mappings_longest_prefix_wins)
{
	struct world w;
	struct xlat_config c;

	everything(&c);
	c.flags &= ~(uint32_t)XLAT_EAM;
	world_prefix(&c, 0, "2001:db8:64::", 96, false);
	world_open(&w, &c);
	c.flags |= XLAT_EAM;
	ck_assert_int_eq(xlat_native_configure(w.n, &c), 0);
	world_eam(&w, "2001:db8:ff00::", 40, "0.0.0.0", 0, 1);
	world_eam(&w, "2001:db8::abcd", 128, "198.51.100.64", 32, 2);
	expect(&w, "2001:db8:ffc6:3364:4000::", "2001:db8::abcd", "198.51.100.64", "198.51.100.64");
	expect(&w, "1.2.3.4", "198.51.100.64", "2001:db8:ff01:203:400::", "2001:db8::abcd");
	world_close(&w);
}
END_TEST

/* Appendix B.1: A and B have mappings, C has not; addresses of ours. */
START_TEST(rfc7757_4_hairpinning)
{
	struct world w;

	/* None: out it goes as IPv4, and when it comes back the other is seen under its own name. */
	figure1(&w, 0);
	expect(&w, "2001:db8:aaaa::", "2001:db8:ffff::192.0.2.2", "192.0.2.1", "192.0.2.2");
	expect(&w, "192.0.2.1", "192.0.2.2", "2001:db8:aaaa::", "2001:db8:bbbb::b");
	world_close(&w);
	/* Simple (4.2.1): when it comes back, by the prefix. */
	figure1(&w, 1);
	expect(&w, "2001:db8:aaaa::", "2001:db8:ffff::192.0.2.2", "192.0.2.1", "192.0.2.2");
	expect(&w, "192.0.2.1", "192.0.2.2", "2001:db8:ffff::192.0.2.1", "2001:db8:bbbb::b");
	expect(&w, "8.8.8.8", "192.0.2.2", "2001:db8:ffff::8.8.8.8", "2001:db8:bbbb::b");
	world_close(&w);
	/* Intrinsic (4.2.2): in one step, IPv6 all the way. */
	figure1(&w, 2);
	expect(&w, "2001:db8:aaaa::", "2001:db8:ffff::192.0.2.2", "2001:db8:ffff::192.0.2.1", "2001:db8:bbbb::b");
	ck_assert_uint_eq(w.out.len, w.in.len);
	ck_assert_uint_eq(w.out.ptr[7], 63);
	ck_assert_uint_eq(xlat_native_stats(w.n)->hairpins, 1);
	/* Echoes stay what they are. */
	struct packet_ip ip = { .src = "2001:db8:aaaa::", .dst = "2001:db8:ffff::192.0.2.2", .flow = 0x12345 };
	buf_reset(&w.in);
	packet_icmp(&w.in, &ip, 128, 0, 0x00010002, data(8));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.out.ptr[40], 128);
	ck_assert_uint_eq(packet_get(buf_slice(&w.out), 0, 4), 0x60012345);
	/* Fragments as well. */
	ip.fragment = ip.more = true;
	ip.id = 0xabcdef01;
	buf_reset(&w.in);
	packet_tcp(&w.in, &ip, 1, 2, data(12));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(packet_get(buf_slice(&w.out), 44, 4), 0xabcdef01);
	world_close(&w);
}
END_TEST

/* B sends an error about what A sent it. */
static void error_between(struct world *w, const char *src, const char *dst, const char *inner_src, const char *inner_dst)
{
	struct packet_ip ip = { .src = src, .dst = dst }, lost = { .src = inner_src, .dst = inner_dst };
	AUTO_BUF struct buf inner = BUF_INIT(200);
	bool six = strchr(src, ':') != NULL;

	packet_udp(&inner, &lost, 1, 2, data(9));
	buf_reset(&w->in);
	packet_icmp(&w->in, &ip, six ? 1 : 3, six ? 4 : 3, 0, buf_slice(&inner));
	ck_assert_int_eq(world_send(w, 0, 0), XLAT_TRANSLATE);
}

START_TEST(rfc7757_4_hairpinned_errors)
{
	struct world w;

	figure1(&w, 2);
	error_between(&w, "2001:db8:bbbb::b", "2001:db8:ffff::192.0.2.1", "2001:db8:ffff::192.0.2.1", "2001:db8:bbbb::b");
	ck_assert_uint_eq(w.out.ptr[0] >> 4, 6);
	expect_at(&w, 8, "2001:db8:ffff::192.0.2.2");
	expect_at(&w, 24, "2001:db8:aaaa::");
	expect_at(&w, 56, "2001:db8:aaaa::");
	expect_at(&w, 72, "2001:db8:ffff::192.0.2.2");
	/* A router inside, with a mapping of its own, keeps its name. */
	error_between(&w, "2001:db8:cccc::8", "2001:db8:ffff::192.0.2.1", "2001:db8:ffff::192.0.2.1", "2001:db8:bbbb::b");
	expect_at(&w, 8, "2001:db8:cccc::8");
	expect_at(&w, 72, "2001:db8:ffff::192.0.2.2");
	world_close(&w);
	/* Simple: the half that comes back as IPv4. */
	figure1(&w, 1);
	error_between(&w, "192.0.2.2", "192.0.2.1", "192.0.2.1", "192.0.2.2");
	expect_at(&w, 8, "2001:db8:ffff::192.0.2.2");
	expect_at(&w, 24, "2001:db8:aaaa::");
	expect_at(&w, 56, "2001:db8:aaaa::");
	expect_at(&w, 72, "2001:db8:ffff::192.0.2.2");
	error_between(&w, "192.0.2.24", "192.0.2.1", "192.0.2.1", "192.0.2.2");
	expect_at(&w, 8, "2001:db8:cccc::8");
	world_close(&w);
}
END_TEST

/* The CLAT's own address is 192.0.0.1, which is 2001:db8:c1a7::1. */
static void clat(struct world *w)
{
	struct xlat_config c;

	world_config(&c);
	c.mode = XLAT_CLAT;
	c.pool_count = 0;
	c.flags &= ~(uint32_t)XLAT_EAM;
	world_prefix(&c, 0, "64:ff9b::", 96, true);
	world_open(w, &c);
	c.flags |= XLAT_EAM;
	ck_assert_int_eq(xlat_native_configure(w->n, &c), 0);
	world_eam(w, "2001:db8:c1a7::1", 128, "192.0.0.1", 32, 1);
}

START_TEST(rfc6877_6_3_clat_translates_its_own_address)
{
	struct world w;

	clat(&w);
	expect(&w, "192.0.0.1", "8.8.8.8", "2001:db8:c1a7::1", "64:ff9b::8.8.8.8");
	expect(&w, "64:ff9b::8.8.8.8", "2001:db8:c1a7::1", "8.8.8.8", "192.0.0.1");
	/* Other sources, neighbours and names of the link are the host's matter. */
	expect_not(&w, "192.168.1.1", "8.8.8.8", XLAT_PASS, XLAT_R_NOT_OURS);
	expect_not(&w, "192.0.0.1", "224.0.0.251", XLAT_PASS, XLAT_R_NOT_OURS);
	expect_not(&w, "2001:db8::1", "2001:db8:c1a7::1", XLAT_PASS, XLAT_R_NOT_OURS);
	expect_not(&w, "64:ff9b::8.8.8.8", "2001:db8:c1a7::2", XLAT_PASS, XLAT_R_NOT_OURS);
	world_close(&w);
}
END_TEST

START_TEST(rfc6877_errors_on_the_way_reach_the_host)
{
	struct world w;

	clat(&w);
	error_between(&w, "2001:db8:5::1", "2001:db8:c1a7::1", "2001:db8:c1a7::1", "64:ff9b::8.8.8.8");
	expect_at(&w, 12, "192.0.0.8");
	expect_at(&w, 16, "192.0.0.1");
	expect_at(&w, 40, "192.0.0.1");
	expect_at(&w, 44, "8.8.8.8");
	/* One about a packet that was never IPv4. */
	struct packet_ip ip = { .src = "2001:db8:5::1", .dst = "2001:db8:c1a7::1" }, lost = { .src = "2001:db8:c1a7::1", .dst = "2001:db8:6::1" };
	AUTO_BUF struct buf inner = BUF_INIT(200);
	packet_udp(&inner, &lost, 1, 2, data(9));
	buf_reset(&w.in);
	packet_icmp(&w.in, &ip, 1, 0, 0, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_PASS);
	world_close(&w);
}
END_TEST

START_TEST(explain_tells_the_way)
{
	struct world w;
	struct xlat_config c;

	world_config(&c);
	world_open(&w, &c);
	expect(&w, "2001:db8:1::7", "64:ff9b:1::198.51.100.9", "192.0.2.7", "198.51.100.9");
	ck_assert_uint_eq(w.x.trail_count, 2);
	ck_assert_uint_eq(w.x.trail[0].step, XLAT_S_PREFIX);
	ck_assert_uint_eq(w.x.trail[1].step, XLAT_S_EAM_SOURCE);
	ck_assert_uint_eq(w.x.trail[1].value, 7);
	expect(&w, "198.51.100.9", "192.0.2.7", "64:ff9b:1::198.51.100.9", "2001:db8:1::7");
	ck_assert_uint_eq(w.x.trail[0].step, XLAT_S_EAM_DESTINATION);
	ck_assert_uint_eq(w.x.trail[1].step, XLAT_S_PREFIX_SOURCE);
	ck_assert_uint_eq(w.x.trail[2].step, XLAT_S_NO_FRAGMENT_HEADER);
	world_close(&w);
}
END_TEST

static uint32_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

/* Prefixes that have much in common, of any length. */
static struct xlat_eam mapping(uint64_t *seed, uint32_t alike)
{
	struct xlat_eam e = { .bits4 = (uint8_t)(next(seed) % 33), .bits6 = (uint8_t)(next(seed) % 129) };

	for (uint32_t i = 0; i < 4; i++)
		e.addr6[i] = i < alike ? htobe32(0x20010db8) : htobe32(next(seed) << 1);
	e.addr4 = htobe32(alike > 2 ? 0xc0000200 | (next(seed) & 0xff) : next(seed) << 1);
	for (uint32_t bit = e.bits6; bit < 128; bit++)
		e.addr6[bit / 32] &= ~htobe32(0x80000000u >> bit % 32);
	e.addr4 &= e.bits4 == 0 ? 0 : htobe32(~0u << (32 - e.bits4));
	return e;
}

START_TEST(the_span_of_mappings_has_each_and_no_more_than_their_common_bits)
{
	uint64_t seed = 1;

	for (int round = 0; round < 20000; round++) {
		struct xlat_config c = { 0 };
		struct xlat_eam e[4];
		uint32_t count = 1 + next(&seed) % 4, alike = next(&seed) % 4;
		for (uint32_t i = 0; i < count; i++) {
			e[i] = mapping(&seed, alike);
			eam_span_join(&c, &e[i], i == 0);
		}
		for (uint32_t i = 0; i < count; i++) {
			/* Any address of the mapping: the bits after the prefix are all 1. */
			__be32 a[4], a4 = e[i].addr4 | (e[i].bits4 == 32 ? 0 : htobe32(~0u >> e[i].bits4));
			memcpy(a, e[i].addr6, sizeof(a));
			for (uint32_t bit = e[i].bits6; bit < 128; bit++)
				a[bit / 32] |= htobe32(0x80000000u >> bit % 32);
			ck_assert(net6_has(&c.eam_span6, e[i].addr6) && net6_has(&c.eam_span6, a));
			ck_assert(net4_has(&c.eam_span4, e[i].addr4) && net4_has(&c.eam_span4, a4));
		}
		if (count == 1 && e[0].bits6 > 0) {
			e[0].addr6[0] ^= htobe32(0x80000000);
			ck_assert(!net6_has(&c.eam_span6, e[0].addr6));
		}
	}
}
END_TEST

TEST_MAIN("nat64/address", the_span_of_mappings_has_each_and_no_more_than_their_common_bits, rfc6052_2_4_examples, rfc6052_2_2_every_address_comes_back, rfc6052_2_2_suffix_is_ignored_and_u_octet_must_be_zero,
	  rfc6052_3_1_well_known_prefix_only_with_global_addresses, rfc8215_local_use_prefix_has_any_address,
	  several_prefixes_stand_side_by_side, rfc7757_3_2_examples, rfc7757_3_4_overlapping_mappings_longest_prefix_wins, rfc7757_4_hairpinning,
	  rfc7757_4_hairpinned_errors, rfc6877_6_3_clat_translates_its_own_address, rfc6877_errors_on_the_way_reach_the_host, explain_tells_the_way)
