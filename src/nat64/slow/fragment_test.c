/* Edits applied to whole packets, and whole packets in fragments. */
#include "base/test.h"

#include <errno.h>

#include "nat64/slow/apply.h"
#include "nat64/slow/fragment.h"
#include "nat64/slow/wire.h"

static const struct wire six = { .src = "64:ff9b::c000:201", .dst = "2001:db8::1" };
static const struct wire four = { .src = "192.0.2.1", .dst = "198.51.100.7", .id = 0x1234 };

/* Put payloads back by their offsets; what the fields say is checked on the way. Returns the number of fragments. */
static unsigned cut(struct slice packet, uint32_t id, uint32_t mtu, struct buf *whole, uint32_t *last_end, bool *more)
{
	struct slow_fragmenter f;
	struct buf out = BUF_INIT(70000);
	unsigned count = 0;

	ck_assert_int_eq(slow_fragment_begin(&f, packet, id, mtu), 0);
	while (slow_fragment_next(&f, &out)) {
		const char *wrong = wire_judge(buf_slice(&out));
		ck_assert_msg(wrong == NULL, "fragment %u: %s", count, wrong);
		ck_assert_uint_le(out.len, mtu);
		bool v6 = out.ptr[0] >> 4 == 6;
		uint32_t offset = v6 ? (uint32_t)(out.ptr[42] << 8 | (out.ptr[43] & 0xf8)) : (out.ptr[6] & 0x1fu) * 2048 + out.ptr[7] * 8u;
		size_t head = v6 ? 48 : 20;

		*more = v6 ? out.ptr[43] & 1 : (out.ptr[6] & 0x20) != 0;
		if (count == 0)
			*last_end = offset;
		ck_assert_uint_eq(offset, *last_end);
		*last_end = offset + (uint32_t)(out.len - head);
		if (v6)
			ck_assert_uint_eq(get32(out.ptr + 44), id);
		else
			ck_assert_uint_eq(get16(out.ptr + 4), id & 0xffff);
		buf_add(whole, slice_from(buf_slice(&out), head));
		count++;
	}
	ck_assert_int_eq(out.err, 0);
	buf_done(&out);
	return count;
}

START_TEST(rfc7915_4_packets_above_lowest_mtu_become_fragments)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), packet = BUF_INIT(4000), whole = BUF_INIT(4000);
	uint32_t end;
	bool more;

	wire_fill(&data, 1480 - 8, 1);
	wire_udp(&packet, &six, 1, 2, buf_slice(&data), false);
	ck_assert_uint_eq(packet.len, 1520);
	ck_assert_uint_eq(cut(buf_slice(&packet), 0x1234, 1280, &whole, &end, &more), 2);
	ck_assert(!more);
	ck_assert_uint_eq(end, 1480);
	ck_assert_slice_eq(buf_slice(&whole), slice_from(buf_slice(&packet), 40));
}
END_TEST

START_TEST(rfc7915_4_1_fragments_are_fragmented_again_with_id_offset_and_more)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), packet = BUF_INIT(4000), whole = BUF_INIT(4000);
	struct wire part = six;
	uint32_t end;
	bool more;

	part.fragment = part.more = true;
	part.offset = 1480;
	part.id = 0x1234;
	part.protocol = XLAT_UDP;
	wire_fill(&data, 1480, 2);
	wire_ip(&packet, &part, buf_slice(&data));
	ck_assert_uint_eq(cut(buf_slice(&packet), 0x1234, 1280, &whole, &end, &more), 2);
	ck_assert(more);
	ck_assert_uint_eq(end, 2960);
	ck_assert_slice_eq(buf_slice(&whole), buf_slice(&data));
}
END_TEST

START_TEST(rfc7915_5_1_ipv4_without_df_is_cut_for_small_links)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), packet = BUF_INIT(4000), whole = BUF_INIT(4000);
	uint32_t end;
	bool more;

	wire_fill(&data, 1200, 3);
	wire_udp(&packet, &four, 1, 2, buf_slice(&data), false);
	ck_assert_uint_eq(cut(buf_slice(&packet), 0x1234, 576, &whole, &end, &more), 3);
	ck_assert(!more);
	ck_assert_slice_eq(buf_slice(&whole), slice_from(buf_slice(&packet), 20));
}
END_TEST

START_TEST(every_size_is_cut_and_comes_together)
{
	AUTO_BUF struct buf data = BUF_INIT(70000), packet = BUF_INIT(70000), whole = BUF_INIT(70000);
	static const size_t sizes[] = { 0, 1, 7, 8, 9, 40, 1224, 1225, 1231, 1232, 1233, 2463, 2464, 2465, 9000, 65507 };

	for (unsigned k = 0; k < 2; k++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			uint32_t end;
			bool more;

			buf_reset(&data);
			buf_reset(&whole);
			wire_fill(&data, sizes[i], (uint32_t)i);
			wire_udp(&packet, k ? &six : &four, 1, 2, buf_slice(&data), false);
			size_t head = k ? 40 : 20;
			if (packet.len <= 1280) {
				struct slow_fragmenter f;
				struct buf out = BUF_INIT(70000);

				ck_assert_int_eq(slow_fragment_begin(&f, buf_slice(&packet), 1, 1280), 0);
				ck_assert(slow_fragment_next(&f, &out));
				ck_assert_slice_eq(buf_slice(&out), buf_slice(&packet));
				ck_assert(!slow_fragment_next(&f, &out));
				buf_done(&out);
				continue;
			}
			ck_assert_uint_ge(cut(buf_slice(&packet), 0xabcd1234, 1280, &whole, &end, &more), 2);
			ck_assert_uint_eq(end, packet.len - head);
			ck_assert_slice_eq(buf_slice(&whole), slice_from(buf_slice(&packet), head));
		}
}
END_TEST

START_TEST(links_too_small_and_headers_that_stay_are_refused)
{
	AUTO_BUF struct buf packet = BUF_INIT(4000), data = BUF_INIT(4000);
	static const uint8_t hop[8] = { 17, 0, 1, 4, 0, 0, 0, 0 };
	struct wire w = six;
	struct slow_fragmenter f;

	wire_fill(&data, 2000, 1);
	wire_udp(&packet, &six, 1, 2, buf_slice(&data), false);
	ck_assert_int_eq(slow_fragment_begin(&f, buf_slice(&packet), 1, 55), -EMSGSIZE);
	ck_assert_int_eq(slow_fragment_begin(&f, buf_slice(&packet), 1, 56), 0);
	ck_assert_int_eq(slow_fragment_begin(&f, slice_head(buf_slice(&packet), 39), 1, 1280), -EBADMSG);
	w.extension = hop;
	w.extension_bytes = sizeof(hop);
	wire_udp(&packet, &w, 1, 2, buf_slice(&data), false);
	ck_assert_int_eq(slow_fragment_begin(&f, buf_slice(&packet), 1, 1280), -EBADMSG);
}
END_TEST

/* An edit by hand: IPv4 to IPv6 of a UDP packet without a checksum (RFC 7915 4.5), as the core would leave it. */
START_TEST(rfc7915_4_5_checksum_over_the_payload_is_finished)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), in = BUF_INIT(4000), want = BUF_INIT(4000), out = BUF_INIT(4000);
	static struct xlat x;

	/* Lengths, then all values of two bytes: with one of them the sum is 0, which has to be written as 65535. */
	for (uint32_t i = 0; i < 70 + 65536; i++) {
		size_t n = i < 70 ? i : 2;

		buf_reset(&data);
		buf_reset(&out);
		if (i < 70)
			wire_fill(&data, n, i);
		else
			buf_be16(&data, (uint16_t)i);
		wire_udp(&in, &four, 7, 9, buf_slice(&data), true);
		wire_udp(&want, &six, 7, 9, buf_slice(&data), false);
		x = (struct xlat){ .verdict = XLAT_TRANSLATE, .strip = 28, .head_bytes = 48, .out_bytes = (uint32_t)(48 + n), .csum_at = 46,
				   .csum_payload = 1, .ip.protocol = XLAT_UDP };
		memcpy(x.head, want.ptr, 48);
		uint32_t sum = slow_sum_pseudo(6, x.head + 8, x.head + 24, XLAT_UDP, (uint32_t)n + 8) + slow_sum(slice_of(x.head + 40, 6));

		put16(x.head + 46, (uint16_t)~slow_sum_end(sum));
		ck_assert_int_eq(slow_apply(&x, buf_slice(&in), &out), 0);
		ck_assert_slice_eq(buf_slice(&out), buf_slice(&want));
		ck_assert(wire_judge(buf_slice(&out)) == NULL);
	}
}
END_TEST

START_TEST(edits_that_do_not_fit_the_packet_are_refused)
{
	uint8_t in[64] = { 0 };
	AUTO_BUF struct buf out = BUF_INIT(4000);
	static struct xlat x;

	x = (struct xlat){ .strip = 20, .head_bytes = 40, .out_bytes = 84 };
	ck_assert_int_eq(slow_apply(&x, slice_of(in, sizeof(in)), &out), 0);
	ck_assert_uint_eq(out.len, 84);
	x.out_bytes = 85;
	ck_assert_int_eq(slow_apply(&x, slice_of(in, sizeof(in)), &out), -EBADMSG);
	x.out_bytes = 39;
	ck_assert_int_eq(slow_apply(&x, slice_of(in, sizeof(in)), &out), -EBADMSG);
	x = (struct xlat){ .strip = 65, .head_bytes = 40, .out_bytes = 40 };
	ck_assert_int_eq(slow_apply(&x, slice_of(in, sizeof(in)), &out), -EBADMSG);
	x = (struct xlat){ .strip = 20, .head_bytes = 40, .out_bytes = 84, .csum_payload = 1, .csum_at = 39 };
	ck_assert_int_eq(slow_apply(&x, slice_of(in, sizeof(in)), &out), -EBADMSG);
	ck_assert_uint_eq(out.len, 84);
}
END_TEST

TEST_MAIN("nat64/fragment", rfc7915_4_packets_above_lowest_mtu_become_fragments,
	  rfc7915_4_1_fragments_are_fragmented_again_with_id_offset_and_more, rfc7915_5_1_ipv4_without_df_is_cut_for_small_links,
	  every_size_is_cut_and_comes_together, links_too_small_and_headers_that_stay_are_refused,
	  rfc7915_4_5_checksum_over_the_payload_is_finished, edits_that_do_not_fit_the_packet_are_refused)
