/* RFC 7915 4.2, 4.3, 5.2, 5.3: the tables of ICMP row by row, and packets within errors. Also RFC 1191, 4884, 6791. */
#include "base/test.h"

#include <stdio.h>

#include "nat64/native/packet.h"

#define INSIDE6	 "2001:db8:1::7"
#define INSIDE4	 "192.0.2.7"
#define OUTSIDE6 "64:ff9b:1::c633:6409"
#define OUTSIDE4 "198.51.100.9"

static const uint8_t zeros[4000];

static struct slice data(size_t n)
{
	return slice_of(zeros, n);
}

static uint32_t in(const struct world *w, size_t at, unsigned bytes)
{
	return packet_get(buf_slice(&w->out), at, bytes);
}

static void begin(struct world *w)
{
	struct xlat_config c;

	world_config(&c);
	world_open(w, &c);
}

/* An ICMP error of the outside about a packet of the inside, in IPv4; or the same in IPv6, from the outside's translated name. */
static void error4(struct world *w, uint8_t type, uint8_t code, uint32_t rest, struct slice inner)
{
	struct packet_ip ip = { .src = OUTSIDE4, .dst = INSIDE4 };

	buf_reset(&w->in);
	packet_icmp(&w->in, &ip, type, code, rest, inner);
}

static void error6(struct world *w, uint8_t type, uint8_t code, uint32_t rest, struct slice inner)
{
	struct packet_ip ip = { .src = INSIDE6, .dst = OUTSIDE6 };

	buf_reset(&w->in);
	packet_icmp(&w->in, &ip, type, code, rest, inner);
}

static void lost4(struct buf *out, size_t bytes)
{
	struct packet_ip ip = { .src = INSIDE4, .dst = OUTSIDE4, .ttl = 9, .df = true, .id = 77 };

	buf_reset(out);
	packet_udp(out, &ip, 1111, 2222, data(bytes));
}

static void lost6(struct buf *out, size_t bytes)
{
	struct packet_ip ip = { .src = OUTSIDE6, .dst = INSIDE6, .ttl = 9 };

	buf_reset(out);
	packet_udp(out, &ip, 1111, 2222, data(bytes));
}

/* type -1: dropped. */
struct row { int from_type, from_code; uint32_t from_rest; int type, code; uint32_t rest; };

/* Rows of 4.2 in their order. The inner packet has 600 bytes. */
static const struct row table4[] = {
	{ 13, 0, 0, -1 }, { 14, 0, 0, -1 }, { 15, 0, 0, -1 }, { 16, 0, 0, -1 }, { 17, 0, 0, -1 }, { 18, 0, 0, -1 },
	{ 9, 0, 0, -1 }, { 10, 0, 0, -1 }, { 1, 0, 0, -1 }, { 2, 0, 0, -1 }, { 7, 0, 0, -1 }, { 30, 0, 0, -1 }, { 42, 0, 0, -1 }, { 255, 0, 0, -1 },
	{ 3, 0, 0, 1, 0, 0 }, { 3, 1, 0, 1, 0, 0 }, { 3, 2, 0, 4, 1, 6 }, { 3, 3, 0, 1, 4, 0 }, { 3, 4, 1400, 2, 0, 1420 },
	{ 3, 5, 0, 1, 0, 0 }, { 3, 6, 0, 1, 0, 0 }, { 3, 7, 0, 1, 0, 0 }, { 3, 8, 0, 1, 0, 0 }, { 3, 9, 0, 1, 1, 0 }, { 3, 10, 0, 1, 1, 0 },
	{ 3, 11, 0, 1, 0, 0 }, { 3, 12, 0, 1, 0, 0 }, { 3, 13, 0, 1, 1, 0 }, { 3, 14, 0, -1 }, { 3, 15, 0, 1, 1, 0 }, { 3, 16, 0, -1 },
	{ 5, 0, 0, -1 }, { 6, 0, 0, -1 }, { 4, 0, 0, -1 },
	{ 11, 0, 0, 3, 0, 0 }, { 11, 1, 0, 3, 1, 0 },
	{ 12, 1, 0, -1 }, { 12, 3, 0, -1 },
	/* Figure 3, with code 0 and, for one, code 2. */
	{ 12, 0, 0, 4, 0, 0 }, { 12, 0, 1u << 24, 4, 0, 1 }, { 12, 0, 2u << 24, 4, 0, 4 }, { 12, 2, 3u << 24, 4, 0, 4 },
	{ 12, 0, 4u << 24, -1 }, { 12, 0, 5u << 24, -1 }, { 12, 0, 6u << 24, -1 }, { 12, 0, 7u << 24, -1 },
	{ 12, 0, 8u << 24, 4, 0, 7 }, { 12, 0, 9u << 24, 4, 0, 6 }, { 12, 0, 10u << 24, -1 }, { 12, 0, 11u << 24, -1 },
	{ 12, 0, 12u << 24, 4, 0, 8 }, { 12, 0, 15u << 24, 4, 0, 8 }, { 12, 0, 16u << 24, 4, 0, 24 }, { 12, 0, 19u << 24, 4, 0, 24 }, { 12, 0, 20u << 24, -1 },
};

/* Rows of 5.2. */
static const struct row table6[] = {
	{ 130, 0, 0, -1 }, { 131, 0, 0, -1 }, { 132, 0, 0, -1 }, { 143, 0, 0, -1 },
	{ 133, 0, 0, -1 }, { 134, 0, 0, -1 }, { 135, 0, 0, -1 }, { 136, 0, 0, -1 }, { 137, 0, 0, -1 }, { 138, 0, 0, -1 }, { 200, 0, 0, -1 },
	{ 1, 0, 0, 3, 1, 0 }, { 1, 1, 0, 3, 10, 0 }, { 1, 2, 0, 3, 1, 0 }, { 1, 3, 0, 3, 1, 0 }, { 1, 4, 0, 3, 3, 0 }, { 1, 5, 0, -1 }, { 1, 6, 0, -1 }, { 1, 7, 0, -1 },
	{ 2, 0, 1420, 3, 4, 1400 }, { 2, 0, 1280, 3, 4, 1260 }, { 2, 0, 0, 3, 4, 68 }, { 2, 0, 0xffffffff, 3, 4, 65535 },
	{ 3, 0, 0, 11, 0, 0 }, { 3, 1, 0, 11, 1, 0 },
	{ 4, 1, 0, 3, 2, 0 }, { 4, 2, 0, -1 }, { 4, 3, 0, -1 },
	/* Figure 6. */
	{ 4, 0, 0, 12, 0, 0 }, { 4, 0, 1, 12, 0, 1u << 24 }, { 4, 0, 2, -1 }, { 4, 0, 3, -1 }, { 4, 0, 4, 12, 0, 2u << 24 }, { 4, 0, 5, 12, 0, 2u << 24 },
	{ 4, 0, 6, 12, 0, 9u << 24 }, { 4, 0, 7, 12, 0, 8u << 24 }, { 4, 0, 8, 12, 0, 12u << 24 }, { 4, 0, 23, 12, 0, 12u << 24 },
	{ 4, 0, 24, 12, 0, 16u << 24 }, { 4, 0, 39, 12, 0, 16u << 24 }, { 4, 0, 40, -1 }, { 4, 0, 0x80000000, -1 },
	{ 0, 0, 0, -1 }, { 5, 0, 0, -1 }, { 100, 0, 0, -1 }, { 127, 0, 0, -1 },
};

static void expect_row(struct world *w, const struct row *r, size_t at, size_t i)
{
	int verdict = world_send(w, 0, 0);

	if (r->type < 0) {
		ck_assert_msg(verdict == XLAT_DROP, "row %zu (%d/%d): verdict %d", i, r->from_type, r->from_code, verdict);
		ck_assert_uint_eq(w->x.reason, XLAT_R_ICMP_UNKNOWN);
		return;
	}
	ck_assert_msg(verdict == XLAT_TRANSLATE, "row %zu (%d/%d): verdict %d, reason %u", i, r->from_type, r->from_code, verdict, w->x.reason);
	ck_assert_msg(in(w, at, 2) == (uint32_t)(r->type << 8 | r->code), "row %zu (%d/%d): %x", i, r->from_type, r->from_code, in(w, at, 2));
	ck_assert_msg(in(w, at + 4, 4) == r->rest, "row %zu (%d/%d): %x", i, r->from_type, r->from_code, in(w, at + 4, 4));
}

START_TEST(rfc7915_4_2_table_of_types_and_codes)
{
	struct world w;
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	begin(&w);
	lost4(&inner, 400);
	for (size_t i = 0; i < ARRAY_LEN(table4); i++) {
		error4(&w, (uint8_t)table4[i].from_type, (uint8_t)table4[i].from_code, table4[i].from_rest, buf_slice(&inner));
		expect_row(&w, &table4[i], 40, i);
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_2_table_of_types_and_codes)
{
	struct world w;
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	begin(&w);
	lost6(&inner, 400);
	for (size_t i = 0; i < ARRAY_LEN(table6); i++) {
		error6(&w, (uint8_t)table6[i].from_type, (uint8_t)table6[i].from_code, table6[i].from_rest, buf_slice(&inner));
		expect_row(&w, &table6[i], 20, i);
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_2_echo)
{
	struct world w;

	begin(&w);
	for (uint8_t type = 0; type <= 8; type += 8) {
		for (size_t n = 0; n < 70; n += 23) {
			error4(&w, type, 0, 0xabcd0102, data(n));
			ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
			ck_assert_uint_eq(in(&w, 6, 1), 58);
			ck_assert_uint_eq(in(&w, 40, 2), type == 8 ? 0x8000 : 0x8100);
			ck_assert_uint_eq(in(&w, 44, 4), 0xabcd0102);
			ck_assert_uint_eq(w.out.len, 48 + n);
		}
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_2_echo)
{
	struct world w;

	begin(&w);
	for (int type = 128; type <= 129; type++) {
		for (size_t n = 0; n < 70; n += 23) {
			error6(&w, (uint8_t)type, 0, 0xabcd0102, data(n));
			ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
			ck_assert_uint_eq(in(&w, 9, 1), 1);
			ck_assert_uint_eq(in(&w, 20, 2), type == 128 ? 0x0800 : 0);
			ck_assert_uint_eq(in(&w, 24, 4), 0xabcd0102);
			ck_assert_uint_eq(w.out.len, 28 + n);
		}
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_2_igmp_is_dropped)
{
	struct world w;
	struct packet_ip ip = { .src = OUTSIDE4, .dst = INSIDE4, .protocol = 2 };

	begin(&w);
	packet_ip(&w.in, &ip, data(8));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_DROP);
	ck_assert_uint_eq(w.x.reason, XLAT_R_ICMP_UNKNOWN);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_2_mtu_is_never_below_1280)
{
	static const struct { uint32_t mtu4, mtu6; } rows[] = { { 1261, 1281 }, { 1260, 1280 }, { 1259, 1280 }, { 68, 1280 }, { 1480, 1500 }, { 65535, 65555 } };
	struct world w;
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	begin(&w);
	lost4(&inner, 30);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		error4(&w, 3, 4, rows[i].mtu4, buf_slice(&inner));
		ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
		ck_assert_uint_eq(in(&w, 44, 4), rows[i].mtu6);
	}
	/* The next hop's MTU is a bound, too. */
	error4(&w, 3, 4, 8000, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 44, 4), 1500);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_2_mtu_of_the_links_is_a_bound)
{
	struct world w;
	struct xlat_config c;
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	world_config(&c);
	c.mtu4 = 1450;
	c.mtu6 = 1460;
	world_open(&w, &c);
	lost6(&inner, 30);
	error6(&w, 2, 0, 9000, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 24, 4), 1440);
	lost4(&inner, 30);
	error4(&w, 3, 4, 9000, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 44, 4), 1460);
	world_close(&w);
}
END_TEST

START_TEST(rfc1191_7_1_plateaus_when_no_mtu_is_told)
{
	static const struct { uint32_t total, mtu6; } rows[] = {
		{ 65535, 32020 }, { 32001, 32020 }, { 32000, 17934 }, { 17914, 8186 }, { 8166, 4372 }, { 4352, 2022 }, { 2002, 1512 },
		{ 1500, 1512 }, { 1493, 1512 }, { 1492, 1280 }, { 1006, 1280 }, { 576, 1280 },
	};
	struct world w;
	AUTO_BUF struct buf inner = BUF_INIT(200);

	begin(&w);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct packet_ip ip = { .src = INSIDE4, .dst = OUTSIDE4, .protocol = 17, .total = rows[i].total - 20 };
		buf_reset(&inner);
		packet_ip(&inner, &ip, data(8));
		error4(&w, 3, 4, 0, buf_slice(&inner));
		ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
		ck_assert_msg(in(&w, 44, 4) == rows[i].mtu6, "%u: %u", rows[i].total, in(&w, 44, 4));
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_3_packet_within_is_translated)
{
	struct world w;
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	begin(&w);
	lost4(&inner, 344);
	error4(&w, 3, 3, 0, buf_slice(&inner));
	ck_assert_uint_eq(w.in.len, 400);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.out.len, 440);
	ck_assert_uint_eq(in(&w, 4, 2), 400);
	ck_assert_uint_eq(in(&w, 7, 1), 63);
	/* Inner: length, hop limit as it was, addresses the other way round. */
	ck_assert_uint_eq(in(&w, 48, 4), 0x60000000);
	ck_assert_uint_eq(in(&w, 52, 4), 352u << 16 | 17u << 8 | 9);
	ck_assert_mem_eq(w.out.ptr + 56, w.out.ptr + 24, 16);
	ck_assert_mem_eq(w.out.ptr + 72, w.out.ptr + 8, 16);
	/* And its checksum is right in the other family: the judge has looked, since all of it is there. */
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_3_packet_within_is_translated)
{
	struct world w;
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	begin(&w);
	lost6(&inner, 304);
	error6(&w, 1, 4, 0, buf_slice(&inner));
	ck_assert_uint_eq(w.in.len, 400);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.out.len, 360);
	ck_assert_uint_eq(in(&w, 28, 4), 0x45000000 | (304 + 28));
	ck_assert_uint_eq(in(&w, 36, 2), 9u << 8 | 17);
	ck_assert_mem_eq(w.out.ptr + 40, w.out.ptr + 16, 4);
	ck_assert_mem_eq(w.out.ptr + 44, w.out.ptr + 12, 4);
	world_close(&w);
}
END_TEST

/* Every kind of inner packet, whole and cut behind its first 8 bytes of transport; judged by the judge. */
START_TEST(rfc7915_4_3_inner_transports)
{
	struct world w;
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	begin(&w);
	for (int v6 = 0; v6 < 2; v6++) {
		for (int kind = 0; kind < 6; kind++) {
			struct packet_ip ip = { .src = v6 ? OUTSIDE6 : INSIDE4, .dst = v6 ? INSIDE6 : OUTSIDE4, .tos = 3, .id = 5 };
			buf_reset(&inner);
			if (kind == 0)
				packet_tcp(&inner, &ip, 5, 6, data(40));
			else if (kind == 1)
				packet_udp(&inner, &ip, 5, 6, data(41));
			else if (kind == 2)
				packet_icmp(&inner, &ip, v6 ? 128 : 8, 0, 0x00050006, data(42));
			else if (kind == 3)
				packet_icmp(&inner, &ip, v6 ? 129 : 0, 0, 0x00050006, data(43));
			ip.protocol = 132;
			ip.fragment = ip.more = kind == 5;
			ip.at = 0;
			if (kind >= 4)
				packet_ip(&inner, &ip, data(48));
			size_t header = v6 ? (kind == 5 ? 48 : 40) : 20;
			for (size_t bytes = inner.len; bytes >= header + 8; bytes = bytes > header + 9 ? bytes - 9 : 0) {
				inner.len = bytes;
				if (v6)
					error6(&w, 1, 0, 0, buf_slice(&inner));
				else
					error4(&w, 3, 0, 0, buf_slice(&inner));
				ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
				ck_assert_uint_eq(w.out.len, v6 ? w.in.len - 20 - (header - 20) : w.in.len + (kind == 5 ? 48 : 40));
			}
		}
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_3_inner_fragments)
{
	struct world w;
	struct packet_ip ip = { .src = INSIDE4, .dst = OUTSIDE4, .protocol = 17, .at = 1480, .id = 0xbeef };
	AUTO_BUF struct buf inner = BUF_INIT(200);

	begin(&w);
	packet_ip(&inner, &ip, data(33));
	error4(&w, 11, 1, 0, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 52, 3), (8u + 33) << 8 | 44);
	ck_assert_uint_eq(in(&w, 88, 4), 17u << 24 | 1480);
	ck_assert_uint_eq(in(&w, 92, 4), 0xbeef);
	ip = (struct packet_ip){ .src = OUTSIDE6, .dst = INSIDE6, .protocol = 17, .fragment = true, .at = 1480, .more = true, .id = 0x0001beef };
	buf_reset(&inner);
	packet_ip(&inner, &ip, data(32));
	error6(&w, 3, 1, 0, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 30, 2), 52);
	ck_assert_uint_eq(in(&w, 32, 4), 0xbeef2000 | 185);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_3_errors_about_errors_are_dropped)
{
	struct world w;
	struct packet_ip ip4 = { .src = INSIDE4, .dst = OUTSIDE4 }, ip6 = { .src = OUTSIDE6, .dst = INSIDE6 };
	AUTO_BUF struct buf innermost = BUF_INIT(2000), inner = BUF_INIT(2000);

	begin(&w);
	lost4(&innermost, 8);
	packet_icmp(&inner, &ip4, 3, 1, 0, buf_slice(&innermost));
	error4(&w, 3, 1, 0, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_DROP);
	ck_assert_uint_eq(w.x.reason, XLAT_R_ICMP_NESTED);
	lost6(&innermost, 8);
	buf_reset(&inner);
	packet_icmp(&inner, &ip6, 1, 1, 0, buf_slice(&innermost));
	error6(&w, 1, 1, 0, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_DROP);
	ck_assert_uint_eq(w.x.reason, XLAT_R_ICMP_NESTED);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_3_what_is_within_must_be_translatable)
{
	static const char *const wrong[] = { "2001:db8:9::9", "ff02::1", "::" };
	struct world w;
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	begin(&w);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct packet_ip ip = { .src = OUTSIDE6, .dst = wrong[i] };
		buf_reset(&inner);
		packet_udp(&inner, &ip, 1, 2, data(3));
		error6(&w, 1, 0, 0, buf_slice(&inner));
		ck_assert_int_eq(world_send(&w, 0, 0), XLAT_DROP);
		ck_assert_uint_eq(w.x.reason, XLAT_R_ICMP_INNER);
	}
	/* Cut anywhere before its ports, or of the other family. */
	lost4(&inner, 3);
	for (size_t n = 0; n < 28; n++) {
		error4(&w, 3, 0, 0, slice_of(inner.ptr, n));
		ck_assert_int_eq(world_send(&w, 0, 0), XLAT_DROP);
	}
	error4(&w, 3, 0, 0, slice_of(inner.ptr, 28));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	lost6(&inner, 3);
	error4(&w, 3, 0, 0, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_DROP);
	ck_assert_uint_eq(w.x.reason, XLAT_R_ICMP_INNER);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_1_errors_from_illegal_sources_are_translated)
{
	static const char *const sources[] = { "127.0.0.1", "0.0.0.0", "10.0.0.1" };
	struct world w;
	struct xlat_config c;
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	world_config(&c);
	world_prefix(&c, 0, "64:ff9b::", 96, true);
	world_open(&w, &c);
	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		/* 198.51.100.9 is not global: of the well-known prefix the inner packet has to be. */
		struct packet_ip lost = { .src = INSIDE4, .dst = "8.8.8.8" }, ip = { .src = sources[i], .dst = INSIDE4 };
		__be32 source[4];
		buf_reset(&inner);
		packet_udp(&inner, &lost, 1, 2, data(3));
		buf_reset(&w.in);
		packet_icmp(&w.in, &ip, 11, 0, 0, buf_slice(&inner));
		ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
		packet_address(sources[i], source);
		ck_assert_mem_eq(w.out.ptr + 20, source, 4);
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_size_limits_of_errors)
{
	struct world w;
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	begin(&w);
	/* 1280 in IPv6: 40 + 8 + 40 + 8 + data; and 576 in IPv4. What is cut has another checksum, of all that is left: the judge looks. */
	for (size_t over = 0; over < 2; over++) {
		lost4(&inner, 1280 - 96 + over);
		error4(&w, 3, 3, 0, buf_slice(&inner));
		ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
		ck_assert_uint_eq(w.out.len, 1280);
		ck_assert_uint_eq(w.x.csum_payload, over);
		lost6(&inner, 576 - 56 + over);
		error6(&w, 1, 4, 0, buf_slice(&inner));
		ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
		ck_assert_uint_eq(w.out.len, 576);
		ck_assert_uint_eq(w.x.csum_payload, over);
	}
	lost4(&inner, 1444);
	error4(&w, 3, 4, 8000, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.out.len, 1280);
	/* The lengths within are those of the packet that was lost. */
	ck_assert_uint_eq(in(&w, 52, 2), 1452);
	ck_assert_uint_eq(in(&w, 44, 4), 1500);
	lost6(&inner, 604);
	error6(&w, 2, 0, 1300, buf_slice(&inner));
	ck_assert_uint_eq(w.in.len, 700);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.out.len, 576);
	ck_assert_uint_eq(in(&w, 30, 2), 632);
	world_close(&w);
}
END_TEST

START_TEST(rfc4884_extensions_go_to_the_slow_path)
{
	struct world w;
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	begin(&w);
	lost4(&inner, 100 + 20);
	error4(&w, 11, 0, 32u << 16, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_SLOW);
	ck_assert_uint_eq(w.x.reason, XLAT_R_ICMP_COMPLEX);
	lost6(&inner, 80 + 20);
	error6(&w, 3, 0, 16u << 24, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_SLOW);
	ck_assert_int_eq(world_send(&w, XLAT_FROM_SLOW, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.x.csum_payload, 1);
	/* The MTU and the pointer are no lengths. */
	error6(&w, 2, 0, 0x10000000, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	world_close(&w);
}
END_TEST

/* An error from a router inside that has no IPv4 address. */
static void router_says(struct world *w, const char *router)
{
	struct packet_ip ip = { .src = router, .dst = OUTSIDE6 };
	AUTO_BUF struct buf inner = BUF_INIT(2000);

	lost6(&inner, 8);
	buf_reset(&w->in);
	packet_icmp(&w->in, &ip, 3, 0, 0, buf_slice(&inner));
}

START_TEST(rfc6791_sources_of_errors_from_routers_without_ipv4)
{
	struct world w;
	struct xlat_config c;
	__be32 a[4];
	uint32_t seen = 0, before = 0;

	begin(&w);
	router_says(&w, "2001:db8:77::1");
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 12, 4), 0xc0000008);
	world_close(&w);

	world_config(&c);
	packet_address("203.0.113.64", a);
	c.error_pool[0] = (struct xlat_net4){ .addr = a[0], .mask = htobe32(0xfffffff0) };
	packet_address("203.0.113.200", a);
	c.error_pool[1] = (struct xlat_net4){ .addr = a[0], .mask = 0xffffffff };
	c.error_count = 2;
	world_open(&w, &c);
	for (unsigned i = 0; i < 64; i++) {
		char router[32];
		snprintf(router, sizeof(router), "2001:db8:77::%x", i / 2);
		router_says(&w, router);
		ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
		uint32_t source = in(&w, 12, 4);
		ck_assert(source >> 4 == 0xcb007140 >> 4 || source == 0xcb0071c8);
		/* The same router, the same source. */
		if (i % 2 == 1)
			ck_assert_uint_eq(source, before);
		before = source;
		seen |= source == 0xcb0071c8 ? 1u << 16 : 1u << (source & 15);
	}
	ck_assert_int_gt(__builtin_popcount(seen), 6);
	/* Only errors: an echo from there has no source. */
	struct packet_ip ip = { .src = "2001:db8:77::1", .dst = OUTSIDE6 };
	buf_reset(&w.in);
	packet_icmp(&w.in, &ip, 128, 0, 0, data(8));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_DROP);
	ck_assert_uint_eq(w.x.reason, XLAT_R_SOURCE_UNTRANSLATABLE);
	world_close(&w);
}
END_TEST

TEST_MAIN("nat64/rfc7915_icmp", rfc7915_4_2_table_of_types_and_codes, rfc7915_5_2_table_of_types_and_codes, rfc7915_4_2_echo, rfc7915_5_2_echo,
	  rfc7915_4_2_igmp_is_dropped, rfc7915_4_2_mtu_is_never_below_1280, rfc7915_5_2_mtu_of_the_links_is_a_bound,
	  rfc1191_7_1_plateaus_when_no_mtu_is_told, rfc7915_4_3_packet_within_is_translated, rfc7915_5_3_packet_within_is_translated,
	  rfc7915_4_3_inner_transports, rfc7915_4_3_inner_fragments, rfc7915_4_3_errors_about_errors_are_dropped,
	  rfc7915_4_3_what_is_within_must_be_translatable, rfc7915_4_1_errors_from_illegal_sources_are_translated,
	  rfc7915_size_limits_of_errors, rfc4884_extensions_go_to_the_slow_path, rfc6791_sources_of_errors_from_routers_without_ipv4)
