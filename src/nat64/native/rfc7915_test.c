/* RFC 7915 sections 4.1, 4.4, 4.5, 4.6, 5.1, 5.4, 5.5, 5.6 and what is about sizes: headers, fragments, errors of our own. ICMP: rfc7915_icmp_test.c. */
#include "base/test.h"

#include "nat64/native/packet.h"

#define INSIDE6	 "2001:db8:1::7"
#define INSIDE4	 "192.0.2.7"
#define OUTSIDE6 "64:ff9b:1::c633:6409"
#define OUTSIDE4 "198.51.100.9"

static const struct packet_ip six = { .src = INSIDE6, .dst = OUTSIDE6 };
static const struct packet_ip four = { .src = OUTSIDE4, .dst = INSIDE4 };
static const uint8_t zeros[65536];

static struct slice data(size_t n)
{
	return slice_of(zeros, n);
}

static uint32_t in(const struct world *w, size_t at, unsigned bytes)
{
	return packet_get(buf_slice(&w->out), at, bytes);
}

/* A world whose configuration was changed by `change`. */
static void begin(struct world *w, void (*change)(struct xlat_config *c))
{
	struct xlat_config c;

	world_config(&c);
	if (change != NULL)
		change(&c);
	world_open(w, &c);
}

static void udp(struct world *w, struct packet_ip ip, size_t bytes)
{
	buf_reset(&w->in);
	packet_udp(&w->in, &ip, 1000, 2000, data(bytes));
}

static void tcp(struct world *w, struct packet_ip ip, size_t bytes)
{
	buf_reset(&w->in);
	packet_tcp(&w->in, &ip, 1000, 2000, data(bytes));
}

static void expect_address(const struct world *w, size_t at, const char *text)
{
	__be32 a[4];

	packet_address(text, a);
	ck_assert_mem_eq(w->out.ptr + at, a, strchr(text, ':') != NULL ? 16 : 4);
}

static void expect_drop(struct world *w, uint32_t flags, enum xlat_reason reason)
{
	int verdict = world_send(w, flags, 0);

	ck_assert_int_eq(verdict, XLAT_DROP);
	ck_assert_uint_eq(w->x.reason, reason);
}

/* The answer is this error, from our address to the sender, with the packet in it. */
static void expect_error(struct world *w, uint32_t mtu, uint8_t type, uint8_t code, uint32_t value)
{
	ck_assert_int_eq(world_send(w, 0, mtu), XLAT_ERROR);
	bool v6 = w->out.ptr[0] >> 4 == 6;
	size_t head = v6 ? 48 : 28, quoted = w->out.len - head;

	expect_address(w, v6 ? 8 : 12, v6 ? "2001:db8:ffff::1" : "192.0.2.254");
	ck_assert_mem_eq(w->out.ptr + (v6 ? 24 : 16), w->in.ptr + (v6 ? 8 : 12), v6 ? 16 : 4);
	ck_assert_uint_eq(in(w, head - 8, 2), (uint32_t)type << 8 | code);
	ck_assert_uint_eq(in(w, head - 4, 4), value);
	ck_assert_uint_le(w->out.len, v6 ? 1280 : 576);
	ck_assert_uint_eq(quoted, MIN(w->in.len, (v6 ? 1280 : 576) - head));
	ck_assert_mem_eq(w->out.ptr + head, w->in.ptr, quoted);
}

START_TEST(rfc7915_4_1_fields_of_the_ipv6_header)
{
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	ip.ttl = 17;
	ip.df = true;
	udp(&w, ip, 33);
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.out.len, w.in.len + 20);
	ck_assert_uint_eq(in(&w, 0, 4), 0x60000000);
	ck_assert_uint_eq(in(&w, 4, 2), 41);
	ck_assert_uint_eq(in(&w, 6, 1), 17);
	ck_assert_uint_eq(in(&w, 7, 1), 16);
	expect_address(&w, 8, OUTSIDE6);
	expect_address(&w, 24, INSIDE6);
	ck_assert_uint_eq(in(&w, 40, 4), 1000u << 16 | 2000);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_1_fields_of_the_ipv4_header)
{
	struct world w;
	struct packet_ip ip = six;

	begin(&w, NULL);
	ip.ttl = 17;
	ip.flow = 0xabcde;
	tcp(&w, ip, 33);
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.out.len, w.in.len - 20);
	ck_assert_uint_eq(in(&w, 0, 2), 0x4500);
	ck_assert_uint_eq(in(&w, 2, 2), 73);
	ck_assert_uint_eq(in(&w, 6, 2), 0);
	ck_assert_uint_eq(in(&w, 8, 2), 16u << 8 | 6);
	expect_address(&w, 12, INSIDE4);
	expect_address(&w, 16, OUTSIDE4);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_1_tos_is_copied)
{
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	ip.tos = 0xb9;
	udp(&w, ip, 1);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 0, 4), 0x6b900000);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_1_traffic_class_is_copied)
{
	struct world w;
	struct packet_ip ip = six;

	begin(&w, NULL);
	ip.tos = 0xb9;
	ip.flow = 0xfffff;
	udp(&w, ip, 1);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 1, 1), 0xb9);
	world_close(&w);
}
END_TEST

static void tos_is_ours(struct xlat_config *c)
{
	c->flags &= ~(uint32_t)XLAT_TOS_COPY;
	c->tos = 0x28;
}

START_TEST(rfc7915_4_1_tos_may_be_ignored)
{
	struct world w;
	struct packet_ip to4 = six, to6 = four;

	begin(&w, tos_is_ours);
	to4.tos = to6.tos = 0xff;
	udp(&w, to6, 1);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 0, 2), 0x6280);
	udp(&w, to4, 1);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 1, 1), 0x28);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_1_ttl_that_ends_here_is_answered)
{
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	for (uint8_t ttl = 1; ttl <= 2; ttl++) {
		ip.ttl = ttl;
		udp(&w, ip, 900);
		if (ttl == 1)
			expect_error(&w, 0, 11, 0, 0);
		else
			ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	}
	ck_assert_uint_eq(in(&w, 7, 1), 1);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_1_hop_limit_that_ends_here_is_answered)
{
	struct world w;
	struct packet_ip ip = six;

	begin(&w, NULL);
	ip.ttl = 1;
	udp(&w, ip, 1400);
	expect_error(&w, 0, 3, 0, 0);
	ck_assert_uint_eq(w.x.reason, XLAT_R_HOP_LIMIT);
	w.in.ptr[7] = 0;
	expect_error(&w, 0, 3, 0, 0);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_1_ipv4_options_are_dropped)
{
	/* Record route, time stamp, router alert, an expired loose source route, an option that ends outside. */
	static const uint8_t options[][12] = {
		{ 7, 11, 8, 198, 51, 100, 2, 0, 0, 0, 0, 0 }, { 68, 12, 13, 1, 198, 51, 100, 2, 1, 0, 0, 0 },
		{ 148, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0 }, { 131, 11, 12, 198, 51, 100, 2, 198, 51, 100, 1, 0 },
		{ 7, 200, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, { 1, 7, 0, 131, 11, 4 }, { 0, 131, 11, 4 },
	};
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		ip.extra = slice_of(options[i], 12);
		udp(&w, ip, 5);
		ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
		ck_assert_uint_eq(w.out.len, 40 + 8 + 5);
		ck_assert_uint_eq(in(&w, 4, 2), 13);
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_1_unexpired_source_route_is_refused)
{
	static const uint8_t options[][12] = {
		{ 131, 11, 4, 198, 51, 100, 2, 198, 51, 100, 1, 0 }, { 137, 11, 8, 198, 51, 100, 2, 198, 51, 100, 1, 0 },
		{ 1, 131, 7, 4, 198, 51, 100, 2, 1, 1, 1, 0 }, { 68, 4, 5, 0, 137, 7, 4, 1, 2, 3, 4, 0 },
	};
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		ip.extra = slice_of(options[i], 12);
		udp(&w, ip, 5);
		expect_error(&w, 0, 3, 5, 0);
		ck_assert_uint_eq(w.x.reason, XLAT_R_SOURCE_ROUTE);
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_1_extension_headers_are_skipped)
{
	/* Hop-by-hop, routing with no segments left, destination options of 16 bytes. */
	static const uint8_t chain[] = { 43, 0, 1, 4, 0, 0, 0, 0, 60, 0, 4, 0, 0, 0, 0, 0, 17, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	struct world w;
	struct packet_ip ip = six;

	begin(&w, NULL);
	ip.extra = slice_of(chain, sizeof(chain));
	ip.extra_type = 0;
	udp(&w, ip, 5);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.out.len, 20 + 8 + 5);
	ck_assert_uint_eq(in(&w, 9, 1), 17);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_1_segments_left_are_refused_with_a_pointer)
{
	static const uint8_t chain[] = { 43, 0, 1, 4, 0, 0, 0, 0, 17, 0, 4, 1, 0, 0, 0, 0 };
	struct world w;
	struct packet_ip ip = six;

	begin(&w, NULL);
	ip.extra = slice_of(chain, sizeof(chain));
	ip.extra_type = 0;
	udp(&w, ip, 5);
	expect_error(&w, 0, 4, 0, 40 + 8 + 3);
	ck_assert_uint_eq(w.x.reason, XLAT_R_ROUTING_HEADER);
	world_close(&w);
}
END_TEST

/* `n` headers of options, 8 bytes each; the last is followed by UDP. */
static void chain_of(struct buf *out, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		buf_add(out, slice_of((const uint8_t[]){ i + 1 == n ? 17 : 60, 0, 1, 4, 0, 0, 0, 0 }, 8));
}

START_TEST(rfc8504_5_3_extension_headers_have_limits)
{
	struct world w;
	struct packet_ip ip = six;

	begin(&w, NULL);
	for (unsigned n = XLAT_EXTENSIONS_MAX; n <= XLAT_EXTENSIONS_MAX + 1; n++) {
		AUTO_BUF struct buf chain = BUF_INIT(200);
		chain_of(&chain, n);
		ip.extra = buf_slice(&chain);
		ip.extra_type = 60;
		udp(&w, ip, 5);
		if (n == XLAT_EXTENSIONS_MAX)
			ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
		else
			expect_drop(&w, 0, XLAT_R_HEADERS_TOO_LONG);
	}
	/* Long ones: the transport header ends just within, or behind, the bytes that are looked at. */
	static uint8_t longest[216] = { 17, 25 };
	ip.extra_type = 60;
	ip.extra = slice_of(longest, 208);
	udp(&w, ip, 5);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	longest[1] = 26;
	ip.extra = slice_of(longest, 216);
	udp(&w, ip, 5);
	expect_drop(&w, 0, XLAT_R_HEADERS_TOO_LONG);
	world_close(&w);
}
END_TEST

START_TEST(rfc8021_no_atomic_fragments)
{
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	ip.id = 0x1234;			/* DF is clear, the packet small */
	udp(&w, ip, 1000);
	ck_assert_int_eq(world_send(&w, 0, 1280), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.out.len, 40 + 8 + 1000);
	ck_assert_uint_eq(in(&w, 6, 1), 17);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_small_packets_with_df_clear_get_no_fragment_header)
{
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	ip.id = 0x1234;
	for (int df = 0; df < 2; df++) {
		ip.df = df != 0;
		udp(&w, ip, 1232);
		ck_assert_uint_eq(w.in.len, 1260);
		ck_assert_int_eq(world_send(&w, 0, 1280), XLAT_TRANSLATE);
		ck_assert_uint_eq(w.out.len, 1280);
		ck_assert_uint_eq(in(&w, 6, 1), 17);
	}
	world_close(&w);
}
END_TEST

static void lowest_1500(struct xlat_config *c)
{
	c->lowest_mtu6 = 1500;
}

START_TEST(rfc7915_4_1_lowest_ipv6_mtu)
{
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	udp(&w, ip, 1233);
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_SLOW);
	ck_assert_uint_eq(w.x.reason, XLAT_R_MUST_FRAGMENT);
	/* The slow path itself gets the edit. */
	ck_assert_int_eq(world_send(&w, XLAT_FROM_SLOW, 1500), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.x.reason, XLAT_R_MUST_FRAGMENT);
	/* With DF the MTU alone decides. */
	ip.df = true;
	udp(&w, ip, 1233);
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
	world_close(&w);

	begin(&w, lowest_1500);
	ip.df = false;
	udp(&w, ip, 1452);
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.out.len, 1500);
	udp(&w, ip, 1453);
	ck_assert_int_eq(world_send(&w, 0, 9000), XLAT_SLOW);
	udp(&w, ip, 1452);
	ck_assert_int_eq(world_send(&w, 0, 1400), XLAT_SLOW);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_1_df_and_too_big_is_answered_with_mtu_less_20)
{
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	ip.df = true;
	tcp(&w, ip, 1221);		/* 1261 bytes */
	expect_error(&w, 1280, 3, 4, 1260);
	ck_assert_uint_eq(w.x.reason, XLAT_R_TOO_BIG);
	/* A fragment gets a fragment header as well. */
	ip.more = true;
	tcp(&w, ip, 1212);
	ck_assert_int_eq(world_send(&w, 0, 1280), XLAT_TRANSLATE);
	tcp(&w, ip, 1220);
	expect_error(&w, 1280, 3, 4, 1252);
	ck_assert_uint_eq(xlat_native_stats(w.n)->reason[XLAT_ERROR][XLAT_R_TOO_BIG], 2);
	ck_assert_uint_eq(xlat_native_stats(w.n)->packets[1], 1);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_1_fragments_keep_their_identification)
{
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	for (int df = 0; df < 2; df++) {
		ip.df = df != 0;
		ip.id = 0xfedc;
		ip.more = true;
		ip.at = 0;
		tcp(&w, ip, 1212);
		ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
		ck_assert_uint_eq(w.out.len, 1280);
		ck_assert_uint_eq(in(&w, 4, 3), 1240u << 8 | 44);
		ck_assert_uint_eq(in(&w, 40, 4), 6u << 24 | 1);
		ck_assert_uint_eq(in(&w, 44, 4), 0xfedc);
		/* A later one, the last. */
		ip.protocol = 6;
		ip.more = false;
		ip.at = 1232;
		buf_reset(&w.in);
		packet_ip(&w.in, &ip, data(77));
		ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
		ck_assert_uint_eq(w.out.len, 48 + 77);
		ck_assert_uint_eq(in(&w, 40, 4), 6u << 24 | 1232);
		ck_assert_uint_eq(w.x.csum_at, 0);
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_1_1_fragment_header_becomes_fields)
{
	struct world w;
	struct packet_ip ip = six;

	begin(&w, NULL);
	ip.fragment = true;
	ip.id = 0x01020304 + 4;
	ip.protocol = 6;
	for (int more = 0; more < 2; more++) {
		ip.more = more != 0;
		ip.at = 80;
		buf_reset(&w.in);
		packet_ip(&w.in, &ip, data(1240));
		ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
		ck_assert_uint_eq(w.out.len, 1260);
		ck_assert_uint_eq(in(&w, 4, 2), 0x0308);
		ck_assert_uint_eq(in(&w, 6, 2), (more ? 0x2000u : 0) | 10);
	}
	/* DF stays clear above 1260. */
	buf_reset(&w.in);
	ip.at = 8000;
	packet_ip(&w.in, &ip, data(1400));
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 6, 2), 0x2000 | 1000);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_1_1_atomic_fragment_becomes_a_whole_packet)
{
	struct world w;
	struct packet_ip ip = six;

	begin(&w, NULL);
	ip.fragment = true;
	ip.id = 0xaaaa5555;
	tcp(&w, ip, 1300);
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.x.reason, XLAT_R_ATOMIC_FRAGMENT);
	ck_assert_uint_eq(in(&w, 4, 4), 0x55550000);
	world_close(&w);
}
END_TEST

static void tells(struct xlat_config *c)
{
	c->flags |= XLAT_ADMIN_PROHIBITED;
}

START_TEST(rfc7915_5_1_1_extension_header_behind_a_fragment_header_is_dropped)
{
	static const uint8_t types[] = { 0, 43, 60, 51 };
	struct world w;
	struct packet_ip ip = six;

	begin(&w, NULL);
	for (size_t i = 0; i < sizeof(types); i++) {
		static const uint8_t behind[] = { 17, 0, 1, 4, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 1, 1 };
		ip.fragment = true;
		ip.more = true;
		ip.protocol = types[i];
		buf_reset(&w.in);
		packet_ip(&w.in, &ip, slice_of(behind, 16));
		expect_drop(&w, 0, XLAT_R_FRAGMENT_HEADERS);
	}
	/* ESP is a payload. */
	ip.protocol = 50;
	buf_reset(&w.in);
	packet_ip(&w.in, &ip, data(16));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	world_close(&w);
	begin(&w, tells);
	ip.protocol = 60;
	buf_reset(&w.in);
	packet_ip(&w.in, &ip, data(16));
	expect_error(&w, 0, 1, 1, 0);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_df_and_identification_by_size)
{
	struct world w;
	uint32_t ids[8];
	bool differ = false;

	begin(&w, NULL);
	udp(&w, six, 1232);		/* 1280, in IPv4 1260 */
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
		ck_assert_uint_eq(w.out.len, 1260);
		ck_assert_uint_eq(in(&w, 6, 2), 0);
		ids[i] = in(&w, 4, 2);
		differ = differ || ids[i] != ids[0];
	}
	ck_assert(differ);
	udp(&w, six, 1233);
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
	ck_assert_uint_eq(in(&w, 6, 2), 0x4000);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_too_big_is_answered_with_mtu_plus_20)
{
	struct world w;
	struct packet_ip ip = six;

	begin(&w, NULL);
	tcp(&w, six, 1360);
	ck_assert_int_eq(world_send(&w, 0, 1400), XLAT_TRANSLATE);
	tcp(&w, six, 1361);
	expect_error(&w, 1400, 2, 0, 1420);
	/* IPv6 never hears of less than 1280; what is smaller has DF clear and is cut in IPv4. */
	expect_error(&w, 1000, 2, 0, 1280);
	tcp(&w, six, 1220);
	ck_assert_int_eq(world_send(&w, 0, 1000), XLAT_SLOW);
	ck_assert_uint_eq(w.x.reason, XLAT_R_MUST_FRAGMENT);
	ip.fragment = ip.more = true;
	tcp(&w, ip, 1364);
	expect_error(&w, 1400, 2, 0, 1420);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_large_packets_are_judged_by_their_segments)
{
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	ip.df = true;
	tcp(&w, ip, 30000);
	for (uint32_t gso = 1440; gso <= 1441; gso++) {
		xlat_native_begin(w.n, &w.x, buf_slice(&w.in));
		w.x.flags = XLAT_GSO;
		w.x.gso_bytes = gso;
		ck_assert_int_eq(xlat_native_plan(w.n, &w.x), XLAT_TRANSLATE);
		ck_assert_int_eq(xlat_native_fit(w.n, &w.x, 1500), gso == 1440 ? XLAT_TRANSLATE : XLAT_ERROR);
	}
	ck_assert_uint_eq(w.x.reason, XLAT_R_GSO_TOO_BIG);
	ck_assert_uint_eq(w.x.error_value, 1480);
	/* DF follows from the segments as well. */
	tcp(&w, six, 30000);
	for (uint32_t gso = 1220; gso <= 1221; gso++) {
		xlat_native_begin(w.n, &w.x, buf_slice(&w.in));
		w.x.flags = XLAT_GSO;
		w.x.gso_bytes = gso;
		ck_assert_int_eq(xlat_native_plan(w.n, &w.x), XLAT_TRANSLATE);
		ck_assert_uint_eq(w.x.head[6], gso == 1220 ? 0 : 0x40);
	}
	world_close(&w);
}
END_TEST

static void drops_zero(struct xlat_config *c)
{
	c->zero_checksum = XLAT_ZERO_DROP;
}

START_TEST(rfc7915_4_5_udp_without_checksum_gets_one_or_is_dropped)
{
	struct world w;
	struct packet_ip ip = four;

	for (int drops = 0; drops < 2; drops++) {
		begin(&w, drops ? drops_zero : NULL);
		ip.more = false;
		udp(&w, ip, 501);
		w.in.ptr[26] = w.in.ptr[27] = 0;
		if (drops) {
			expect_drop(&w, 0, XLAT_R_ZERO_CHECKSUM);
		} else {
			/* The judge wants a right one. */
			ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
			ck_assert(w.x.csum_payload);
			ck_assert_uint_ne(in(&w, 46, 2), 0);
		}
		/* A fragment never tells the sum of the whole. */
		ip.more = true;
		udp(&w, ip, 504);
		w.in.ptr[26] = w.in.ptr[27] = 0;
		expect_drop(&w, 0, XLAT_R_ZERO_CHECKSUM);
		ck_assert_uint_ge(xlat_native_stats(w.n)->reason[XLAT_DROP][XLAT_R_ZERO_CHECKSUM], 1);
		world_close(&w);
	}
}
END_TEST

START_TEST(rfc7915_4_5_a_zero_sum_is_sent_as_all_ones)
{
	struct world w;
	struct packet_ip to6 = four, to4 = six;
	unsigned seen = 0;

	begin(&w, NULL);
	/* Some payload of these gives the sum 0 in the other family: TCP may say so, UDP must not. */
	for (uint32_t i = 0; i < 65536; i++) {
		uint8_t two[2] = { (uint8_t)(i >> 8), (uint8_t)i };
		for (int v6 = 0; v6 < 2; v6++) {
			buf_reset(&w.in);
			packet_udp(&w.in, v6 ? &to4 : &to6, 1, 2, slice_of(two, 2));
			ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
			ck_assert_uint_ne(in(&w, w.x.csum_at, 2), 0);
			seen += in(&w, w.x.csum_at, 2) == 0xffff;
		}
	}
	ck_assert_uint_ge(seen, 2);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_5_other_transports_are_forwarded)
{
	/* GRE, ESP, AH, SCTP, no next header, one that nobody has. */
	static const uint8_t protocols[] = { 47, 50, 51, 132, 59, 253 };
	struct world w;
	struct packet_ip to6 = four, to4 = six;

	begin(&w, NULL);
	for (size_t i = 0; i < sizeof(protocols); i++) {
		to6.protocol = to4.protocol = protocols[i];
		for (size_t n = 0; n < 24; n += 23) {
			buf_reset(&w.in);
			packet_ip(&w.in, &to6, data(n));
			ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
			ck_assert_uint_eq(in(&w, 6, 1), protocols[i]);
			ck_assert_uint_eq(w.out.len, 40 + n);
			buf_reset(&w.in);
			packet_ip(&w.in, &to4, data(n));
			ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
			ck_assert_uint_eq(in(&w, 9, 1), protocols[i]);
			ck_assert_uint_eq(w.out.len, 20 + n);
		}
	}
	/* What would be an extension header in IPv6, and the other family's ICMP, are no transports. */
	static const uint8_t refused[] = { 0, 43, 44, 60, 58 };
	for (size_t i = 0; i < sizeof(refused); i++) {
		to6.protocol = refused[i];
		buf_reset(&w.in);
		packet_ip(&w.in, &to6, data(40));
		expect_drop(&w, 0, XLAT_R_PROTOCOL);
	}
	to4.protocol = 1;
	buf_reset(&w.in);
	packet_ip(&w.in, &to4, data(40));
	expect_drop(&w, 0, XLAT_R_PROTOCOL);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_5_checksums_of_dccp_and_udp_lite_follow)
{
	struct world w;
	struct packet_ip to6 = four, to4 = six;

	begin(&w, NULL);
	for (int i = 0; i < 2; i++) {
		struct packet_ip *ip = i == 0 ? &to6 : &to4;
		for (int lite = 0; lite < 2; lite++) {
			/* As UDP: the checksum is at the same place. The judge looks at its sum. */
			buf_reset(&w.in);
			packet_udp(&w.in, ip, 5, 6, data(12));
			size_t head = i == 0 ? 20 : 40;
			uint32_t protocol = lite ? 136 : 33;
			uint32_t sum = packet_get(buf_slice(&w.in), head + 6, 2) + 17 + 0xffff - protocol;
			sum = (sum & 0xffff) + (sum >> 16);
			w.in.ptr[head + 6] = (uint8_t)(sum >> 8);
			w.in.ptr[head + 7] = (uint8_t)sum;
			w.in.ptr[i == 0 ? 9 : 6] = (uint8_t)protocol;
			if (i == 0) {
				uint32_t header = packet_get(buf_slice(&w.in), 10, 2) + 17 + 0xffff - protocol;
				header = (header & 0xffff) + (header >> 16);
				w.in.ptr[10] = (uint8_t)(header >> 8);
				w.in.ptr[11] = (uint8_t)header;
			}
			ck_assert_ptr_null(packet_judge(buf_slice(&w.in)));
			ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
			ck_assert_uint_eq(w.x.csum_at, (i == 0 ? 40u : 20u) + 6);
		}
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_6_what_is_not_ours_stays_untouched)
{
	struct world w;
	struct packet_ip to6 = four, to4 = six;

	begin(&w, NULL);
	to6.dst = "203.0.113.5";
	udp(&w, to6, 3);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_PASS);
	ck_assert_uint_eq(w.x.reason, XLAT_R_NOT_OURS);
	/* Malformed, or at its end: none of our business either. */
	w.in.ptr[10] ^= 1;
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_PASS);
	to6.ttl = 1;
	udp(&w, to6, 3);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_PASS);
	to4.dst = "2001:db8:2::1";
	udp(&w, to4, 3);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_PASS);
	world_close(&w);
}
END_TEST

static void passes(struct xlat_config *c)
{
	__be32 a[4];

	packet_address("198.51.100.128", a);
	c->pass4[0] = (struct xlat_net4){ .addr = a[0], .mask = htobe32(0xffffff80) };
	c->pass4_count = 1;
	packet_address(OUTSIDE6, c->pass6[0].addr);
	memset(c->pass6[0].mask, 0xff, 16);
	c->pass6_count = 1;
}

START_TEST(rfc7915_5_6_destinations_may_be_left_alone)
{
	struct world w;
	struct packet_ip to6 = four, to4 = six;

	begin(&w, passes);
	udp(&w, to4, 3);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_PASS);
	ck_assert_uint_eq(w.x.reason, XLAT_R_PASS_LIST);
	to6.dst = "198.51.100.129";
	udp(&w, to6, 3);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_PASS);
	to6.dst = "198.51.100.127";
	udp(&w, to6, 3);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_6_plain_ipv6_to_a_host_with_a_mapping_stays_untouched)
{
	AUTO_BUF struct buf inner = BUF_INIT(2048);
	struct packet_ip back = { .src = "2001:db8:9::1", .dst = six.src }, away = { .src = six.src, .dst = "2001:db8:9::1" };
	struct packet_ip router = { .src = "2001:db8:8::1", .dst = six.src };
	struct world w;

	begin(&w, NULL);
	udp(&w, back, 3);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_PASS);
	ck_assert_uint_eq(w.x.reason, XLAT_R_NOT_OURS);
	/* "Packet too big" about what it sent to an IPv6 host. */
	packet_udp(&inner, &away, 1, 2, SLICE("abc"));
	buf_reset(&w.in);
	packet_icmp(&w.in, &router, 2, 0, 1280, buf_slice(&inner));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_PASS);
	ck_assert_uint_eq(w.x.reason, XLAT_R_NOT_OURS);
	/* The same from one that is IPv4, by the prefix. */
	back.src = OUTSIDE6;
	udp(&w, back, 3);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_4_drops_of_policy_are_answered_when_asked)
{
	struct world w;
	struct packet_ip ip = six;

	begin(&w, NULL);
	ip.src = "2001:db8:9::1";
	udp(&w, ip, 3);
	expect_drop(&w, 0, XLAT_R_SOURCE_UNTRANSLATABLE);
	world_close(&w);

	begin(&w, tells);
	udp(&w, ip, 3);
	expect_error(&w, 0, 1, 1, 0);
	ck_assert_uint_eq(w.x.reason, XLAT_R_SOURCE_UNTRANSLATABLE);
	/* IPv4, and silence about what is malformed or forged. */
	struct packet_ip to6 = four;
	to6.protocol = 43;
	buf_reset(&w.in);
	packet_ip(&w.in, &to6, data(20));
	expect_error(&w, 0, 3, 13, 0);
	to6.src = "127.0.0.1";
	udp(&w, to6, 3);
	expect_drop(&w, 0, XLAT_R_SPECIAL_ADDRESS);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_4_no_error_about_errors_fragments_or_nobody)
{
	struct world w;
	struct packet_ip ip = four;
	AUTO_BUF struct buf inner = BUF_INIT(200);

	begin(&w, tells);
	ip.ttl = 1;
	struct packet_ip lost = { .src = INSIDE4, .dst = OUTSIDE4 };
	packet_udp(&inner, &lost, 1, 2, data(8));
	static const uint8_t types[] = { 3, 11, 12 };
	for (size_t i = 0; i < sizeof(types); i++) {
		buf_reset(&w.in);
		packet_icmp(&w.in, &ip, types[i], 0, 0, buf_slice(&inner));
		expect_drop(&w, 0, XLAT_R_HOP_LIMIT);
	}
	buf_reset(&w.in);
	packet_icmp(&w.in, &ip, 8, 0, 0, data(10));
	expect_error(&w, 0, 11, 0, 0);
	ip.protocol = 17;
	ip.at = 64;
	buf_reset(&w.in);
	packet_ip(&w.in, &ip, data(64));
	expect_drop(&w, 0, XLAT_R_HOP_LIMIT);
	ip.at = 0;
	static const char *const nobody[] = { "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1" };
	for (size_t i = 0; i < ARRAY_LEN(nobody); i++) {
		ip.src = nobody[i];
		udp(&w, ip, 3);
		expect_drop(&w, 0, XLAT_R_HOP_LIMIT);
	}
	struct packet_ip v6 = six;
	v6.ttl = 1;
	static const char *const nobody6[] = { "::", "::1", "ff02::1" };
	for (size_t i = 0; i < ARRAY_LEN(nobody6); i++) {
		v6.src = nobody6[i];
		udp(&w, v6, 3);
		expect_drop(&w, 0, XLAT_R_HOP_LIMIT);
	}
	world_close(&w);
}
END_TEST

static void quiet(struct xlat_config *c)
{
	c->flags &= ~(uint32_t)XLAT_ICMP_ERRORS;
}

START_TEST(rfc7915_4_4_errors_may_be_switched_off)
{
	struct world w;
	struct packet_ip ip = four;

	begin(&w, quiet);
	ip.ttl = 1;
	udp(&w, ip, 3);
	expect_drop(&w, 0, XLAT_R_HOP_LIMIT);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_1_illegal_sources_are_dropped_silently)
{
	static const char *const four_bad[] = { "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.5", "255.255.255.255" };
	static const char *const six_bad[] = { "::", "::1", "fe80::1", "ff02::1", "::ffff:192.0.2.1", "64:ff9b:1::127.0.0.1" };
	struct world w;
	struct packet_ip to6 = four, to4 = six;

	begin(&w, tells);
	for (size_t i = 0; i < ARRAY_LEN(four_bad); i++) {
		to6.src = four_bad[i];
		udp(&w, to6, 3);
		expect_drop(&w, 0, XLAT_R_SPECIAL_ADDRESS);
	}
	for (size_t i = 0; i < ARRAY_LEN(six_bad); i++) {
		to4.src = six_bad[i];
		udp(&w, to4, 3);
		expect_drop(&w, 0, XLAT_R_SPECIAL_ADDRESS);
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc1812_5_2_2_ipv4_headers_are_verified)
{
	struct world w;

	begin(&w, NULL);
	for (size_t i = 0; i < 12; i++) {
		udp(&w, four, 30);
		w.in.ptr[i] ^= i == 0 ? 2 : 0x10;
		int verdict = world_send(&w, 0, 0);
		ck_assert_msg(verdict == XLAT_DROP, "byte %zu: verdict %d", i, verdict);
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc791_lengths_are_verified)
{
	struct world w;

	begin(&w, NULL);
	/* Cut at each place: never more than what is there, and never a translation. */
	for (int v6 = 0; v6 < 2; v6++) {
		tcp(&w, v6 ? six : four, 10);
		size_t all = w.in.len;
		for (size_t n = 0; n < all; n++) {
			w.in.len = n;
			int verdict = world_send(&w, 0, 0);
			ck_assert_msg(verdict == (n < (v6 ? 40 : 20) ? XLAT_PASS : XLAT_DROP), "%zu bytes: verdict %d", n, verdict);
		}
		/* Padding of the frame is no part of the packet. */
		w.in.len = all;
		buf_add(&w.in, data(13));
		xlat_native_begin(w.n, &w.x, buf_slice(&w.in));
		ck_assert_int_eq(xlat_native_plan(w.n, &w.x), XLAT_TRANSLATE);
		ck_assert_uint_eq(w.x.out_bytes, v6 ? all - 20 : all + 20);
	}
	world_close(&w);
}
END_TEST

START_TEST(rfc1858_tiny_and_overlapping_fragments)
{
	struct world w;
	struct packet_ip ip = four;

	begin(&w, NULL);
	ip.protocol = 6;
	ip.more = true;
	buf_reset(&w.in);
	packet_ip(&w.in, &ip, data(16));	/* flags and checksum would be in the next one */
	expect_drop(&w, 0, XLAT_R_BAD_FRAGMENT);
	ip.at = 8;
	buf_reset(&w.in);
	packet_ip(&w.in, &ip, data(16));
	expect_drop(&w, 0, XLAT_R_BAD_FRAGMENT);
	ip.at = 24;
	buf_reset(&w.in);
	packet_ip(&w.in, &ip, data(15));	/* no multiple of 8, and more follows */
	expect_drop(&w, 0, XLAT_R_BAD_FRAGMENT);
	ip.more = false;
	ip.at = 65528;
	buf_reset(&w.in);
	packet_ip(&w.in, &ip, data(8));	/* ends at 65,536 */
	expect_drop(&w, 0, XLAT_R_BAD_FRAGMENT);
	buf_reset(&w.in);
	packet_ip(&w.in, &ip, data(7));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_1_2_fragments_of_icmp_are_never_translated)
{
	struct world w;
	struct packet_ip to6 = four, to4 = six;

	begin(&w, NULL);
	to6.more = to4.more = to4.fragment = true;
	buf_reset(&w.in);
	packet_icmp(&w.in, &to6, 8, 0, 0, data(16));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_SLOW);	/* which puts it together */
	expect_drop(&w, XLAT_FROM_SLOW, XLAT_R_FRAGMENTED_ICMP);
	buf_reset(&w.in);
	packet_icmp(&w.in, &to4, 128, 0, 0, data(16));
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_SLOW);	/* which puts it together */
	expect_drop(&w, XLAT_FROM_SLOW, XLAT_R_FRAGMENTED_ICMP);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_5_longer_than_ipv4_can_say)
{
	struct world w;

	begin(&w, NULL);
	udp(&w, six, 65535 - 8 - 20);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_uint_eq(w.out.len, 65535);
	udp(&w, six, 65535 - 8 - 19);
	expect_error(&w, 0, 2, 0, 65535);
	world_close(&w);
}
END_TEST

START_TEST(rfc7915_4_flows_keep_their_order_behind_the_slow_path)
{
	struct world w;
	struct packet_ip other = four;

	begin(&w, NULL);
	xlat_native_control(w.n)->slow_ifindex = 9;
	udp(&w, four, 1300);
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_SLOW);
	udp(&w, four, 3);
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_SLOW);
	ck_assert_uint_eq(w.x.reason, XLAT_R_ORDER);
	ck_assert_int_eq(world_send(&w, XLAT_FROM_SLOW, 1500), XLAT_TRANSLATE);
	/* Another flow, and this one 200 ms later. */
	other.src = "198.51.100.10";
	udp(&w, other, 3);
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
	xlat_native_clock(w.n, xlat_native_control(w.n)->clock_ns + 200000000);
	udp(&w, four, 3);
	ck_assert_int_eq(world_send(&w, 0, 1500), XLAT_TRANSLATE);
	world_close(&w);
}
END_TEST

START_TEST(counters_tell_what_happened)
{
	struct world w;

	begin(&w, NULL);
	udp(&w, four, 3);
	ck_assert_int_eq(world_send(&w, 0, 0), XLAT_TRANSLATE);
	ck_assert_int_eq(world_send(&w, XLAT_DRY, 0), XLAT_TRANSLATE);
	const struct xlat_stats *s = xlat_native_stats(w.n);
	ck_assert_uint_eq(s->reason[XLAT_TRANSLATE][XLAT_R_NONE], 1);
	ck_assert_uint_eq(s->packets[1], 1);
	ck_assert_uint_eq(s->bytes[1], 31);
	ck_assert_uint_eq(s->packets[0], 0);
	world_close(&w);
}
END_TEST

TEST_MAIN("nat64/rfc7915", rfc7915_4_1_fields_of_the_ipv6_header, rfc7915_5_1_fields_of_the_ipv4_header, rfc7915_4_1_tos_is_copied,
	  rfc7915_5_1_traffic_class_is_copied, rfc7915_4_1_tos_may_be_ignored, rfc7915_4_1_ttl_that_ends_here_is_answered,
	  rfc7915_5_1_hop_limit_that_ends_here_is_answered, rfc7915_4_1_ipv4_options_are_dropped, rfc7915_4_1_unexpired_source_route_is_refused,
	  rfc7915_5_1_extension_headers_are_skipped, rfc7915_5_1_segments_left_are_refused_with_a_pointer, rfc8504_5_3_extension_headers_have_limits,
	  rfc8021_no_atomic_fragments, rfc7915_4_small_packets_with_df_clear_get_no_fragment_header, rfc7915_4_1_lowest_ipv6_mtu,
	  rfc7915_4_1_df_and_too_big_is_answered_with_mtu_less_20, rfc7915_4_1_fragments_keep_their_identification,
	  rfc7915_5_1_1_fragment_header_becomes_fields, rfc7915_5_1_1_atomic_fragment_becomes_a_whole_packet,
	  rfc7915_5_1_1_extension_header_behind_a_fragment_header_is_dropped, rfc7915_5_df_and_identification_by_size,
	  rfc7915_5_too_big_is_answered_with_mtu_plus_20, rfc7915_4_large_packets_are_judged_by_their_segments,
	  rfc7915_4_5_udp_without_checksum_gets_one_or_is_dropped, rfc7915_4_5_a_zero_sum_is_sent_as_all_ones,
	  rfc7915_4_5_other_transports_are_forwarded, rfc7915_5_5_checksums_of_dccp_and_udp_lite_follow,
	  rfc7915_4_6_what_is_not_ours_stays_untouched, rfc7915_5_6_destinations_may_be_left_alone,
	  rfc7915_5_6_plain_ipv6_to_a_host_with_a_mapping_stays_untouched,
	  rfc7915_4_4_drops_of_policy_are_answered_when_asked, rfc7915_4_4_no_error_about_errors_fragments_or_nobody,
	  rfc7915_4_4_errors_may_be_switched_off, rfc7915_4_1_illegal_sources_are_dropped_silently, rfc1812_5_2_2_ipv4_headers_are_verified,
	  rfc791_lengths_are_verified, rfc1858_tiny_and_overlapping_fragments, rfc7915_1_2_fragments_of_icmp_are_never_translated,
	  rfc7915_5_longer_than_ipv4_can_say, rfc7915_4_flows_keep_their_order_behind_the_slow_path, counters_tell_what_happened)
