/* The slow path with the native home: fragments both ways, ICMP errors, MTUs. */
#include "base/test.h"

#include "nat64/slow/error.h"
#include "nat64/slow/fragment.h"
#include "nat64/slow/stand.h"

#define SIX_A	"64:ff9b::c633:6407"	/* 198.51.100.7, an inside host of the stateless translator */
#define SIX_B	"64:ff9b::c000:201"	/* 192.0.2.1 */
static const struct wire to4 = { .src = SIX_A, .dst = SIX_B };
static const struct wire to6 = { .src = "192.0.2.1", .dst = "198.51.100.7", .id = 0x4321 };

/* What was sent, its fragments put together: one packet, or it fails. */
static void collect(struct stand *t, struct buf *out)
{
	struct slow_fragmenter f;
	struct packet p;

	ck_assert_msg(t->wrong == NULL, "%s", t->wrong);
	ck_assert_uint_ge(t->sent_count, 1);
	buf_reset(out);
	ck_assert_int_eq(packet_read(stand_sent(t, 0), &p), XLAT_R_NONE);
	if (!p.fragment) {
		ck_assert_uint_eq(t->sent_count, 1);
		buf_add(out, p.bytes);
		return;
	}
	ck_assert_int_eq(slow_fragment_begin(&f, p.bytes, 0, 70000), 0);
	uint32_t id = p.id, at = 0;
	bool more = true;

	for (unsigned i = 0; i < t->sent_count; i++) {
		ck_assert_int_eq(packet_read(stand_sent(t, i), &p), XLAT_R_NONE);
		ck_assert(p.fragment && more);
		ck_assert_uint_eq(p.id, id);
		ck_assert_uint_eq(p.offset, at);
		if (i == 0)
			buf_add(out, slice_head(p.bytes, p.family == 4 ? p.l4 : p.fragment_at));
		buf_add(out, slice_from(p.bytes, p.l4));
		at += (uint32_t)(p.bytes.len - p.l4);
		more = p.more;
	}
	ck_assert(!more);
	if (p.family == 4) {
		put16(out->ptr + 2, (uint32_t)out->len);
		put16(out->ptr + 6, 0);
		packet_sum4(out->ptr);
	} else {
		put16(out->ptr + 4, (uint32_t)out->len - 40);
		out->ptr[6] = p.protocol;
	}
	const char *wrong = wire_judge(buf_slice(out));

	ck_assert_msg(wrong == NULL, "put together: %s", wrong);
}

static void feed_cut(struct stand *t, struct slice packet, uint32_t id, uint32_t mtu)
{
	struct slow_fragmenter f;
	AUTO_BUF struct buf piece = BUF_INIT(70000);

	ck_assert_int_eq(slow_fragment_begin(&f, packet, id, mtu), 0);
	while (slow_fragment_next(&f, &piece))
		stand_packet(t, buf_slice(&piece));
}

START_TEST(rfc7915_4_ipv4_without_df_is_fragmented_to_lowest_ipv6_mtu)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), in = BUF_INIT(4000), whole = BUF_INIT(4000);
	static struct stand t;

	stand_init(&t, XLAT_SIIT);
	for (uint32_t lowest = 1280; lowest <= 1400; lowest += 120) {
		t.config.lowest_mtu6 = lowest;
		stand_configure(&t);
		buf_reset(&data);
		wire_fill(&data, 1472, 1);
		wire_udp(&in, &to6, 5, 6, buf_slice(&data), false);
		stand_packet(&t, buf_slice(&in));
		ck_assert_uint_eq(t.sent_count, 2);
		for (unsigned i = 0; i < 2; i++) {
			ck_assert_uint_le(stand_sent(&t, i).len, lowest);
			/* 4: the low 16 bits of the identification, the others 0. */
			ck_assert_uint_eq(get32(stand_sent(&t, i).ptr + 44), 0x4321);
		}
		collect(&t, &whole);
		ck_assert_slice_eq(slice_from(buf_slice(&whole), 48), buf_slice(&data));
		stand_forget(&t);
	}
	stand_done(&t);
}
END_TEST

START_TEST(rfc7915_4_small_ipv4_without_df_gets_no_fragment_header)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), in = BUF_INIT(4000);
	static struct stand t;

	stand_init(&t, XLAT_SIIT);
	wire_fill(&data, 1280 - 48, 1);
	wire_udp(&in, &to6, 5, 6, buf_slice(&data), false);
	stand_packet(&t, buf_slice(&in));
	ck_assert_uint_eq(t.sent_count, 1);
	ck_assert_uint_eq(stand_sent(&t, 0).len, 1280);
	ck_assert_uint_eq(stand_sent(&t, 0).ptr[6], XLAT_UDP);
	ck_assert(t.wrong == NULL);
	stand_done(&t);
}
END_TEST

START_TEST(rfc7915_4_ipv4_with_df_that_does_not_fit_is_answered)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), in = BUF_INIT(4000);
	static struct stand t;
	struct wire df = to6;

	df.df = true;
	stand_init(&t, XLAT_SIIT);
	wire_fill(&data, 1472, 1);
	wire_udp(&in, &df, 5, 6, buf_slice(&data), false);
	stand_packet(&t, buf_slice(&in));
	ck_assert_uint_eq(t.sent_count, 1);
	struct slice e = stand_sent(&t, 0);

	ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
	ck_assert_uint_eq(e.ptr[9], 1);
	ck_assert_uint_eq(e.ptr[20], 3);
	ck_assert_uint_eq(e.ptr[21], 4);
	ck_assert_uint_eq(get16(e.ptr + 26), 1480);
	ck_assert_uint_eq(e.len, 576);
	ck_assert_slice_eq(slice_from(e, 28), slice_head(buf_slice(&in), 548));
	ck_assert_int_eq(memcmp(e.ptr + 16, in.ptr + 12, 4), 0);
	/* Too many a second: none. */
	stand_forget(&t);
	t.quiet = true;
	stand_packet(&t, buf_slice(&in));
	ck_assert_uint_eq(t.sent_count, 0);
	ck_assert_uint_eq(t.counted[XLAT_R_ERROR_LIMITED], 1);
	stand_done(&t);
}
END_TEST

START_TEST(rfc7915_5_ipv6_that_does_not_fit_ipv4_is_answered_with_20_more)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), in = BUF_INIT(4000);
	static struct stand t;

	stand_init(&t, XLAT_SIIT);
	t.mtu4 = 1400;
	wire_fill(&data, 1452, 1);
	wire_udp(&in, &to4, 5, 6, buf_slice(&data), false);
	stand_packet(&t, buf_slice(&in));
	ck_assert_uint_eq(t.sent_count, 1);
	struct slice e = stand_sent(&t, 0);

	ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
	ck_assert_uint_eq(e.ptr[40], 2);
	ck_assert_uint_eq(get32(e.ptr + 44), 1420);
	ck_assert_uint_eq(e.len, 1280);
	stand_done(&t);
}
END_TEST

START_TEST(rfc7915_5_1_ipv4_links_below_1260_get_fragments)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), in = BUF_INIT(4000), whole = BUF_INIT(4000);
	static struct stand t;

	stand_init(&t, XLAT_SIIT);
	t.mtu4 = 576;
	wire_fill(&data, 1280 - 48, 1);
	wire_udp(&in, &to4, 5, 6, buf_slice(&data), false);
	stand_packet(&t, buf_slice(&in));
	ck_assert_uint_eq(t.sent_count, 3);
	collect(&t, &whole);
	ck_assert_slice_eq(slice_from(buf_slice(&whole), 28), buf_slice(&data));
	stand_forget(&t);
	/* A path that is narrower than the route says. */
	t.mtu4 = 1500;
	t.path4 = 700;
	stand_packet(&t, buf_slice(&in));
	collect(&t, &whole);
	ck_assert_slice_eq(slice_from(buf_slice(&whole), 28), buf_slice(&data));
	stand_done(&t);
}
END_TEST

START_TEST(rfc7915_4_1_a_fragment_of_1500_becomes_two)
{
	AUTO_BUF struct buf data = BUF_INIT(8000), in = BUF_INIT(8000), whole = BUF_INIT(8000);
	static struct stand t;

	stand_init(&t, XLAT_SIIT);
	wire_fill(&data, 4000, 1);
	wire_udp(&in, &to6, 5, 6, buf_slice(&data), false);
	feed_cut(&t, buf_slice(&in), 0x4321, 1500);
	ck_assert_uint_eq(t.sent_count, 5);	/* 1480 as 1232 and 248, twice, and 1048 */
	collect(&t, &whole);
	ck_assert_slice_eq(slice_from(buf_slice(&whole), 48), buf_slice(&data));
	stand_done(&t);
}
END_TEST

START_TEST(rfc7915_1_2_fragmented_echoes_are_put_together)
{
	AUTO_BUF struct buf data = BUF_INIT(8000), in = BUF_INIT(8000), whole = BUF_INIT(8000);
	static struct stand t;

	stand_init(&t, XLAT_SIIT);
	wire_fill(&data, 3000, 1);
	wire_icmp(&in, &to4, 128, 0, 0x00070001, buf_slice(&data));
	feed_cut(&t, buf_slice(&in), 0xabcd4321, 1500);
	ck_assert_uint_eq(t.sent_count, 3);
	collect(&t, &whole);
	ck_assert_uint_eq(get16(whole.ptr + 4), 0x4321);
	ck_assert_uint_eq(whole.ptr[20], 8);
	ck_assert_slice_eq(slice_from(buf_slice(&whole), 28), buf_slice(&data));
	stand_forget(&t);
	wire_icmp(&in, &to6, 0, 0, 0x00070001, buf_slice(&data));
	feed_cut(&t, buf_slice(&in), 0x4321, 1500);
	ck_assert_uint_eq(t.sent_count, 3);
	collect(&t, &whole);
	ck_assert_uint_eq(whole.ptr[40], 129);
	ck_assert_slice_eq(slice_from(buf_slice(&whole), 48), buf_slice(&data));
	stand_done(&t);
}
END_TEST

/* RFC 7915 1.2 with 4.1: split, shuffled, repeated; the result is the translation of the whole. */
START_TEST(random_fragments_give_the_translation_of_the_whole)
{
	static struct stand t;
	uint32_t random = 3;

	stand_init(&t, XLAT_SIIT);
	for (unsigned round = 0; round < 300; round++) {
		AUTO_BUF struct buf data = BUF_INIT(70000), in = BUF_INIT(70000), whole = BUF_INIT(70000), piece = BUF_INIT(70000);
		struct buf pieces[64];
		struct slow_fragmenter f;
		bool six = round % 2;
		unsigned n = 0;

		random = random * 1664525 + 1013904223;
		wire_fill(&data, 600 + (random >> 8) % 6000, round);
		wire_icmp(&in, six ? &to4 : &to6, six ? 128 : 8, 0, round, buf_slice(&data));
		/* Random cuts: each piece is cut again by another size. */
		ck_assert_int_eq(slow_fragment_begin(&f, buf_slice(&in), 0x4321, 400 + (random >> 12) % 180), 0);
		for (; slow_fragment_next(&f, &piece); n++) {
			buf_init(&pieces[n], 70000);
			buf_add(&pieces[n], buf_slice(&piece));
		}
		for (unsigned i = n; i-- > 1;) {
			random = random * 1664525 + 1013904223;
			struct buf b = pieces[i];
			unsigned k = (random >> 8) % (i + 1);

			pieces[i] = pieces[k];
			pieces[k] = b;
		}
		for (unsigned i = 0; i < n; i++) {
			stand_packet(&t, buf_slice(&pieces[i]));
			if (i + 1 < n)
				stand_packet(&t, buf_slice(&pieces[i / 2]));
		}
		collect(&t, &whole);
		ck_assert_slice_eq(slice_from(buf_slice(&whole), six ? 28 : 48), buf_slice(&data));
		stand_forget(&t);
		for (unsigned i = 0; i < n; i++)
			buf_done(&pieces[i]);
	}
	stand_done(&t);
}
END_TEST

START_TEST(largest_datagrams_pass_or_are_refused)
{
	AUTO_BUF struct buf data = BUF_INIT(70000), in = BUF_INIT(70000), whole = BUF_INIT(70000);
	static struct stand t;

	stand_init(&t, XLAT_SIIT);
	/* Full in IPv4: 65,535 bytes; in IPv6 20 more. */
	wire_fill(&data, 65535 - 28, 1);
	wire_icmp(&in, &to6, 8, 0, 1, buf_slice(&data));
	feed_cut(&t, buf_slice(&in), 0x4321, 1500);
	collect(&t, &whole);
	ck_assert_uint_eq(whole.len, 65555);
	stand_forget(&t);
	/* Full in IPv6: no room in IPv4; the fragments must not be sent. */
	buf_reset(&data);
	wire_fill(&data, 65535 - 8, 1);
	wire_icmp(&in, &to4, 128, 0, 1, buf_slice(&data));
	feed_cut(&t, buf_slice(&in), 0x4321, 1500);
	for (unsigned i = 0; i < t.sent_count; i++)
		ck_assert_uint_eq(t.sent[i].family, 6);
	ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
	stand_done(&t);
}
END_TEST

/* -- ICMP errors ----------------------------------------------------------------------------------------------------- */

/* Extensions with one object (RFC 4884 7): an MPLS label stack entry (RFC 4950), checksum right. */
static void extension(struct buf *out)
{
	static const uint8_t object[8] = { 0, 8, 1, 1, 0x12, 0x34, 0x51, 0x3f };
	uint32_t sum = 0x2000;

	for (unsigned i = 0; i < 8; i += 2)
		sum += get16(object + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	buf_be16(out, 0x2000);
	buf_be16(out, (uint16_t)~sum);
	buf_add(out, slice_of(object, sizeof(object)));
}

START_TEST(rfc4884_length_and_extensions_are_kept_from_4_to_6)
{
	static const size_t inside[] = { 28, 40, 100, 128, 300, 520 };

	for (unsigned i = 0; i < 6; i++) {
		AUTO_BUF struct buf data = BUF_INIT(4000), inner = BUF_INIT(4000), body = BUF_INIT(4000), in = BUF_INIT(4000), ext = BUF_INIT(64);
		static struct stand t;
		struct wire w = { .src = "198.51.100.7", .dst = "192.0.2.1" };

		stand_init(&t, XLAT_SIIT);
		wire_fill(&data, inside[i] - 28, 1);
		wire_udp(&inner, &w, 5, 6, buf_slice(&data), false);
		size_t padded = inner.len < 128 ? 128 : (inner.len + 3) & ~(size_t)3;

		buf_add(&body, buf_slice(&inner));
		buf_fill(&body, 0, padded - inner.len);
		extension(&ext);
		buf_add(&body, buf_slice(&ext));
		wire_icmp(&in, &to6, 11, 0, (uint32_t)(padded / 4) << 16, buf_slice(&body));
		stand_packet(&t, buf_slice(&in));
		ck_assert_uint_eq(t.sent_count, 1);
		ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
		struct slice e = stand_sent(&t, 0);

		ck_assert_uint_eq(e.ptr[40], 3);
		size_t want = inner.len + 20 < 128 ? 128 : (inner.len + 20 + 7) & ~(size_t)7;

		ck_assert_uint_eq(e.ptr[44] * 8u, want);
		ck_assert_uint_eq(e.len, 48 + want + ext.len);
		ck_assert_slice_eq(slice_from(e, 48 + want), buf_slice(&ext));
		/* The packet inside is whole, and right. */
		const char *wrong = wire_judge(slice_sub(e, 48, 48 + inner.len + 20));

		ck_assert_msg(wrong == NULL, "inside: %s", wrong);
		stand_done(&t);
	}
}
END_TEST

START_TEST(rfc4884_length_and_extensions_are_kept_from_6_to_4_within_576)
{
	static const size_t inside[] = { 48, 128, 300, 560, 1160 };

	for (unsigned i = 0; i < 5; i++) {
		AUTO_BUF struct buf data = BUF_INIT(4000), inner = BUF_INIT(4000), body = BUF_INIT(4000), in = BUF_INIT(4000), ext = BUF_INIT(64);
		static struct stand t;
		struct wire w = { .src = SIX_B, .dst = SIX_A };

		stand_init(&t, XLAT_SIIT);
		wire_fill(&data, inside[i] - 48, 1);
		wire_udp(&inner, &w, 5, 6, buf_slice(&data), false);
		size_t padded = inner.len < 128 ? 128 : (inner.len + 7) & ~(size_t)7;

		buf_add(&body, buf_slice(&inner));
		buf_fill(&body, 0, padded - inner.len);
		extension(&ext);
		buf_add(&body, buf_slice(&ext));
		wire_icmp(&in, &to4, 1, 4, (uint32_t)(padded / 8) << 24, buf_slice(&body));
		stand_packet(&t, buf_slice(&in));
		ck_assert_uint_eq(t.sent_count, 1);
		ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
		struct slice e = stand_sent(&t, 0);

		ck_assert_uint_eq(e.ptr[20], 3);
		ck_assert_uint_eq(e.ptr[21], 3);
		ck_assert_uint_le(e.len, 576);
		size_t length = e.ptr[25] * 4u;

		ck_assert_uint_ge(length, 128);
		ck_assert_slice_eq(slice_from(e, 28 + length), buf_slice(&ext));
		ck_assert_uint_eq(e.len, 28 + length + ext.len);
		if (inner.len - 20 <= length)
			ck_assert(wire_judge(slice_sub(e, 28, 28 + inner.len - 20)) == NULL);
		stand_done(&t);
	}
}
END_TEST

START_TEST(rfc7915_5_3_errors_are_cut_to_576_and_4_3_to_1280)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), inner = BUF_INIT(4000), in = BUF_INIT(4000);
	static struct stand t;
	struct wire w6 = { .src = SIX_B, .dst = SIX_A }, w4 = { .src = "198.51.100.7", .dst = "192.0.2.1" };

	stand_init(&t, XLAT_SIIT);
	wire_fill(&data, 1300, 1);
	wire_udp(&inner, &w6, 5, 6, buf_slice(&data), false);
	wire_icmp(&in, &to4, 2, 0, 1280, slice_head(buf_slice(&inner), 1232));
	stand_packet(&t, buf_slice(&in));
	ck_assert_uint_eq(t.sent_count, 1);
	ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
	ck_assert_uint_eq(stand_sent(&t, 0).len, 576);
	/* The packet inside says its whole length still. */
	ck_assert_uint_eq(get16(stand_sent(&t, 0).ptr + 30), inner.len - 20);
	stand_forget(&t);
	wire_udp(&inner, &w4, 5, 6, buf_slice(&data), false);
	wire_icmp(&in, &to6, 3, 1, 0, slice_head(buf_slice(&inner), 1300));
	stand_packet(&t, buf_slice(&in));
	ck_assert_uint_eq(t.sent_count, 1);
	ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
	ck_assert_uint_eq(stand_sent(&t, 0).len, 1280);
	stand_done(&t);
}
END_TEST

START_TEST(rfc4884_5_4_nonsense_extensions_are_no_extensions)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), inner = BUF_INIT(4000), body = BUF_INIT(4000), in = BUF_INIT(4000), ext = BUF_INIT(64);
	static struct stand t;
	struct wire w = { .src = "198.51.100.7", .dst = "192.0.2.1" };

	stand_init(&t, XLAT_SIIT);
	wire_fill(&data, 200, 1);
	wire_udp(&inner, &w, 5, 6, buf_slice(&data), false);
	extension(&ext);
	for (unsigned i = 0; i < 3; i++) {
		buf_reset(&body);
		buf_add(&body, buf_slice(&inner));
		buf_add(&body, buf_slice(&ext));
		if (i == 0)
			body.ptr[inner.len] = 0x10;	/* version */
		if (i == 1)
			body.ptr[inner.len + 2] ^= 1;	/* checksum */
		/* i == 2: a length beyond the message */
		wire_icmp(&in, &to6, 11, 0, (uint32_t)(i == 2 ? 250 : inner.len / 4) << 16, buf_slice(&body));
		stand_packet(&t, buf_slice(&in));
		ck_assert_uint_eq(t.sent_count, 1);
		ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
		ck_assert_uint_eq(stand_sent(&t, 0).ptr[44], 0);
		ck_assert_uint_eq(stand_sent(&t, 0).len, 48 + inner.len + 20);
		stand_forget(&t);
	}
	stand_done(&t);
}
END_TEST

START_TEST(rfc1812_4_3_2_7_about_what_no_error_is_sent)
{
	static const struct { const char *src, *dst; uint8_t protocol; uint8_t first; uint32_t offset; bool want; } rows[] = {
		{ "192.0.2.1", "198.51.100.7", 17, 0, 0, true },   { "192.0.2.1", "198.51.100.7", 17, 0, 8, false },
		{ "0.0.0.0", "198.51.100.7", 17, 0, 0, false },	   { "192.0.2.1", "224.0.0.1", 17, 0, 0, false },
		{ "255.255.255.255", "1.2.3.4", 17, 0, 0, false }, { "192.0.2.1", "198.51.100.7", 1, 8, 0, true },
		{ "192.0.2.1", "198.51.100.7", 1, 3, 0, false },   { "192.0.2.1", "198.51.100.7", 1, 5, 0, false },
		{ "2001:db8::1", "2001:db8::2", 17, 0, 0, true },  { "2001:db8::1", "ff02::1", 17, 0, 0, false },
		{ "::", "2001:db8::2", 17, 0, 0, false },	   { "2001:db8::1", "2001:db8::2", 58, 1, 0, false },
		{ "2001:db8::1", "2001:db8::2", 58, 128, 0, true }, { "2001:db8::1", "2001:db8::2", 58, 137, 0, false },
	};
	static const uint8_t from[16] = { 9 };

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO_BUF struct buf in = BUF_INIT(400), out = BUF_INIT(2000);
		uint8_t body[16] = { rows[i].first };
		struct wire w = { .src = rows[i].src, .dst = rows[i].dst, .protocol = rows[i].protocol, .offset = rows[i].offset,
				  .fragment = rows[i].offset != 0 };
		struct slow_error e = { .type = 3, .code = 1, .from = from };

		wire_ip(&in, &w, slice_of(body, sizeof(body)));
		ck_assert_msg(slow_error_make(&e, buf_slice(&in), &out) == rows[i].want, "row %u", i);
		if (rows[i].want) {
			const char *wrong = wire_judge(buf_slice(&out));
			ck_assert_msg(wrong == NULL, "%s", wrong);
		}
	}
}
END_TEST

START_TEST(bad_headers_are_counted_and_nothing_is_sent)
{
	AUTO_BUF struct buf in = BUF_INIT(400);
	static struct stand t;

	stand_init(&t, XLAT_SIIT);
	wire_udp(&in, &to4, 5, 6, SLICE("hello"), false);
	for (size_t n = 0; n < in.len; n++)
		stand_packet(&t, slice_head(buf_slice(&in), n));
	ck_assert_uint_eq(t.counted[XLAT_R_TRUNCATED], in.len);
	in.ptr[0] = 0x70;
	stand_packet(&t, buf_slice(&in));
	ck_assert_uint_eq(t.counted[XLAT_R_BAD_VERSION], 1);
	ck_assert_uint_eq(t.sent_count, 0);
	stand_done(&t);
}
END_TEST

START_TEST(rfc6146_3_5_2_2_the_probe_is_a_segment_to_the_inside_host)
{
	static struct stand t;
	struct xlat_event e = { .kind = XLAT_EVENT_PROBE, .protocol = XLAT_TCP, .remote4 = htobe32(0xc0000201), .remote_port = htobe16(80),
				.port6 = htobe16(4000), .addr6 = { htobe32(0x20010db8), 0, 0, htobe32(1) } };

	stand_init(&t, XLAT_NAT64);
	slow_event(t.slow, &e, 1000);
	ck_assert_uint_eq(t.sent_count, 1);
	ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
	struct slice p = stand_sent(&t, 0);

	ck_assert_uint_eq(p.len, 60);
	ck_assert_uint_eq(get16(p.ptr + 40), 80);
	ck_assert_uint_eq(get16(p.ptr + 42), 4000);
	ck_assert_uint_eq(p.ptr[53], 0x10);
	ck_assert_uint_eq(get32(p.ptr + 20), 0xc0000201);
	ck_assert_int_eq(memcmp(p.ptr + 24, e.addr6, 16), 0);
	e.kind = XLAT_EVENT_TRACE;
	slow_event(t.slow, &e, 1000);
	e.kind = XLAT_EVENT_PROBE;
	e.prefix = 3;
	slow_event(t.slow, &e, 1000);
	ck_assert_uint_eq(t.sent_count, 1);
	stand_done(&t);
}
END_TEST

TEST_MAIN("nat64/slow", rfc7915_4_ipv4_without_df_is_fragmented_to_lowest_ipv6_mtu,
	  rfc7915_4_small_ipv4_without_df_gets_no_fragment_header, rfc7915_4_ipv4_with_df_that_does_not_fit_is_answered,
	  rfc7915_5_ipv6_that_does_not_fit_ipv4_is_answered_with_20_more, rfc7915_5_1_ipv4_links_below_1260_get_fragments,
	  rfc7915_4_1_a_fragment_of_1500_becomes_two, rfc7915_1_2_fragmented_echoes_are_put_together,
	  random_fragments_give_the_translation_of_the_whole, largest_datagrams_pass_or_are_refused,
	  rfc4884_length_and_extensions_are_kept_from_4_to_6, rfc4884_length_and_extensions_are_kept_from_6_to_4_within_576,
	  rfc7915_5_3_errors_are_cut_to_576_and_4_3_to_1280, rfc4884_5_4_nonsense_extensions_are_no_extensions,
	  rfc1812_4_3_2_7_about_what_no_error_is_sent, bad_headers_are_counted_and_nothing_is_sent,
	  rfc6146_3_5_2_2_the_probe_is_a_segment_to_the_inside_host)
