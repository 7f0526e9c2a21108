/* Datagrams from fragments: in any order, within limits, and what is not one. */
#include "base/test.h"

#include <stdio.h>

#include "nat64/slow/fragment.h"
#include "nat64/slow/reassemble_private.h"
#include "nat64/slow/wire.h"

static const struct wire six = { .src = "2001:db8::1", .dst = "64:ff9b::c000:201" };
static const struct wire four = { .src = "192.0.2.1", .dst = "198.51.100.7", .id = 0x1234 };

static uint32_t counted[XLAT_REASONS];

static void count(void *arg, enum xlat_reason reason)
{
	counted[reason]++;
}

static struct reassembly *begin(uint32_t datagrams, uint64_t bytes)
{
	struct reassembly_limits limits = { .datagrams_max = datagrams, .bytes_max = bytes, .fragment_ms = 2000 };
	struct reassembly *r;

	ck_assert_int_eq(reassembly_new(&limits, count, NULL, &r), 0);
	memset(counted, 0, sizeof(counted));
	return r;
}

#define PIECES_MAX 200
struct pieces { struct buf piece[PIECES_MAX]; unsigned count; };

static void cut(struct pieces *p, struct slice packet, uint32_t id, uint32_t mtu)
{
	struct slow_fragmenter f;

	p->count = 0;
	ck_assert_int_eq(slow_fragment_begin(&f, packet, id, mtu), 0);
	for (;; p->count++) {
		ck_assert_uint_lt(p->count, PIECES_MAX);
		buf_init(&p->piece[p->count], 70000);
		if (!slow_fragment_next(&f, &p->piece[p->count]))
			break;
	}
}

static void done(struct pieces *p)
{
	for (unsigned i = 0; i < p->count; i++)
		buf_done(&p->piece[i]);
}

static enum reassembly_result feed(struct reassembly *r, struct slice bytes, int64_t now, struct buf *whole, enum xlat_reason *why)
{
	struct packet p;

	ck_assert_int_eq(packet_read(bytes, &p), XLAT_R_NONE);
	ck_assert(p.fragment);
	return reassembly_add(r, &p, 0, now, whole, why);
}

static void empty(struct reassembly *r)
{
	ck_assert_uint_eq(r->datagrams.count, 0);
	ck_assert_uint_eq(r->bytes, 0);
	ck_assert_uint_eq(r->sources.count, 0);
	reassembly_free(r);
}

START_TEST(rfc6146_3_4_fragments_come_together_in_any_order)
{
	struct reassembly *r = begin(16, 1 << 20);
	uint32_t random = 7;

	for (unsigned round = 0; round < 400; round++) {
		AUTO_BUF struct buf data = BUF_INIT(70000), packet = BUF_INIT(70000), whole = BUF_INIT(70000);
		struct pieces p;
		const struct wire *w = round % 2 ? &four : &six;
		enum xlat_reason why;

		random = random * 1664525 + 1013904223;
		wire_fill(&data, 1400 + (random >> 8) % 9000, round);
		wire_udp(&packet, w, 53, 1000, buf_slice(&data), false);
		cut(&p, buf_slice(&packet), 0x1234, 576 + (random >> 24));
		unsigned order[PIECES_MAX];

		for (unsigned i = 0; i < p.count; i++)
			order[i] = i;
		for (unsigned i = p.count; i-- > 1;) {
			random = random * 1664525 + 1013904223;
			unsigned j = (random >> 8) % (i + 1), t = order[i];

			order[i] = order[j];
			order[j] = t;
		}
		for (unsigned i = 0; i < p.count; i++) {
			if (i + 1 < p.count) {
				ck_assert_int_eq(feed(r, buf_slice(&p.piece[order[i]]), round, &whole, &why), REASSEMBLY_KEPT);
				/* Repeated, byte by byte: nothing happens. */
				ck_assert_int_eq(feed(r, buf_slice(&p.piece[order[i / 2]]), round, &whole, &why), REASSEMBLY_KEPT);
			} else {
				ck_assert_int_eq(feed(r, buf_slice(&p.piece[order[i]]), round, &whole, &why), REASSEMBLY_WHOLE);
			}
		}
		ck_assert_slice_eq(buf_slice(&whole), buf_slice(&packet));
		ck_assert(wire_judge(buf_slice(&whole)) == NULL);
		done(&p);
	}
	empty(r);
}
END_TEST

static enum reassembly_result part(struct reassembly *r, const struct wire *base, uint32_t offset, bool more, size_t n, uint32_t seed,
				   int64_t now, struct buf *whole, enum xlat_reason *why)
{
	AUTO_BUF struct buf data = BUF_INIT(70000), packet = BUF_INIT(70000);
	struct wire w = *base;

	w.fragment = true;
	w.protocol = w.protocol != 0 ? w.protocol : XLAT_UDP;
	w.offset = offset;
	w.more = more;
	wire_fill(&data, n, seed);
	if (offset == 0 && n >= 20)
		data.ptr[12] = 0x50;
	wire_ip(&packet, &w, buf_slice(&data));
	return feed(r, buf_slice(&packet), now, whole, why);
}

START_TEST(rfc5722_4_overlap_drops_the_datagram_and_the_rest_of_it)
{
	static const struct { uint32_t offset; size_t n; bool more; } overlaps[] = {
		{ 0, 24, true }, { 8, 8, true }, { 16, 24, true }, { 0, 16, true }, { 24, 8, false }, { 8, 32, true }, { 40, 8, true },
	};

	for (unsigned k = 0; k < 2; k++)
		for (unsigned i = 0; i < sizeof(overlaps) / sizeof(overlaps[0]); i++) {
			struct reassembly *r = begin(16, 1 << 20);
			AUTO_BUF struct buf whole = BUF_INIT(70000);
			const struct wire *w = k ? &four : &six;
			enum xlat_reason why = XLAT_R_NONE;

			ck_assert_int_eq(part(r, w, 0, true, 16, 1, 0, &whole, &why), REASSEMBLY_KEPT);
			ck_assert_int_eq(part(r, w, 32, false, 8, 1, 0, &whole, &why), REASSEMBLY_KEPT);
			if (overlaps[i].offset == 24) {	/* a second end, before the first */
				ck_assert_int_eq(part(r, w, 24, false, 8, 1, 0, &whole, &why), REASSEMBLY_DROPPED);
			} else if (overlaps[i].offset == 0 && overlaps[i].n == 16) {	/* as before, with another content */
				ck_assert_int_eq(part(r, w, 0, true, 16, 2, 0, &whole, &why), REASSEMBLY_DROPPED);
			} else {
				ck_assert_int_eq(part(r, w, overlaps[i].offset, overlaps[i].more, overlaps[i].n, 1, 0, &whole, &why),
						 REASSEMBLY_DROPPED);
			}
			ck_assert_int_eq(why, XLAT_R_FRAGMENT_OVERLAP);
			why = XLAT_R_NONE;
			ck_assert_int_eq(part(r, w, 16, true, 16, 1, 100, &whole, &why), REASSEMBLY_DROPPED);
			ck_assert_int_eq(why, XLAT_R_FRAGMENT_OVERLAP);
			reassembly_tick(r, 2000);
			ck_assert_uint_eq(counted[XLAT_R_FRAGMENT_TIMEOUT], 0);
			empty(r);
		}
}
END_TEST

START_TEST(rfc5722_4_the_end_that_says_more_follows_is_an_overlap)
{
	struct reassembly *r = begin(16, 1 << 20);
	AUTO_BUF struct buf whole = BUF_INIT(70000);
	enum xlat_reason why;

	ck_assert_int_eq(part(r, &six, 16, false, 16, 1, 0, &whole, &why), REASSEMBLY_KEPT);
	ck_assert_int_eq(part(r, &six, 16, false, 16, 1, 0, &whole, &why), REASSEMBLY_KEPT);
	ck_assert_int_eq(part(r, &six, 16, true, 16, 1, 0, &whole, &why), REASSEMBLY_DROPPED);
	ck_assert_int_eq(why, XLAT_R_FRAGMENT_OVERLAP);
	reassembly_free(r);
}
END_TEST

START_TEST(rfc1858_tiny_fragments_are_refused)
{
	struct reassembly *r = begin(16, 1 << 20);
	AUTO_BUF struct buf whole = BUF_INIT(70000);
	struct wire tcp = four, tcp6 = six;
	enum xlat_reason why;

	tcp.protocol = tcp6.protocol = XLAT_TCP;
	for (unsigned k = 0; k < 2; k++) {
		const struct wire *w = k ? &tcp6 : &tcp;

		why = XLAT_R_NONE;
		ck_assert_int_eq(part(r, w, 0, true, 16, 1, 0, &whole, &why), REASSEMBLY_DROPPED);
		ck_assert_int_eq(why, XLAT_R_BAD_FRAGMENT);
		why = XLAT_R_NONE;
		ck_assert_int_eq(part(r, w, 8, false, 24, 1, 0, &whole, &why), REASSEMBLY_DROPPED);
		ck_assert_int_eq(why, XLAT_R_BAD_FRAGMENT);
		ck_assert_int_eq(part(r, w, 0, true, 24, 1, 0, &whole, &why), REASSEMBLY_KEPT);
	}
	ck_assert_int_eq(part(r, &four, 0, true, 8, 1, 0, &whole, &why), REASSEMBLY_KEPT);
	reassembly_free(r);
}
END_TEST

START_TEST(rfc8200_4_5_lengths_that_cannot_be_are_refused)
{
	struct reassembly *r = begin(16, 1 << 20);
	AUTO_BUF struct buf whole = BUF_INIT(70000);
	enum xlat_reason why;

	ck_assert_int_eq(part(r, &six, 0, true, 15, 1, 0, &whole, &why), REASSEMBLY_DROPPED);
	ck_assert_int_eq(part(r, &six, 65528, false, 8, 1, 0, &whole, &why), REASSEMBLY_DROPPED);
	ck_assert_int_eq(part(r, &six, 65528, false, 0, 1, 0, &whole, &why), REASSEMBLY_DROPPED);
	ck_assert_int_eq(part(r, &six, 65528, false, 7, 1, 0, &whole, &why), REASSEMBLY_KEPT);
	reassembly_free(r);
}
END_TEST

START_TEST(rfc6146_4_fragment_min_two_seconds_and_no_more)
{
	struct reassembly *r = begin(16, 1 << 20);
	AUTO_BUF struct buf whole = BUF_INIT(70000);
	enum xlat_reason why;

	ck_assert_int_eq(part(r, &six, 0, true, 16, 1, 1000, &whole, &why), REASSEMBLY_KEPT);
	ck_assert_int_eq(reassembly_tick(r, 2999), 1);
	ck_assert_uint_eq(counted[XLAT_R_FRAGMENT_TIMEOUT], 0);
	ck_assert_int_eq(reassembly_tick(r, 3000), -1);
	ck_assert_uint_eq(counted[XLAT_R_FRAGMENT_TIMEOUT], 1);
	/* What comes after that begins anew. */
	ck_assert_int_eq(part(r, &six, 16, false, 16, 1, 3001, &whole, &why), REASSEMBLY_KEPT);
	reassembly_free(r);
}
END_TEST

START_TEST(rfc6146_5_2_the_oldest_goes_first_and_a_source_has_its_share)
{
	struct reassembly *r = begin(8, 1 << 20);
	AUTO_BUF struct buf whole = BUF_INIT(70000);
	struct wire w = six;
	enum xlat_reason why;

	/* One source: a fourth of 8. */
	for (w.id = 0; w.id < 100; w.id++)
		ck_assert_int_eq(part(r, &w, 0, true, 16, 1, w.id, &whole, &why), REASSEMBLY_KEPT);
	ck_assert_uint_eq(r->datagrams.count, 2);
	ck_assert_uint_eq(r->sources.count, 1);
	ck_assert_uint_eq(counted[XLAT_R_FRAGMENT_LIMIT], 98);
	/* It is a /64: another host of it makes no difference. */
	w.src = "2001:db8::2";
	ck_assert_int_eq(part(r, &w, 0, true, 16, 1, 100, &whole, &why), REASSEMBLY_KEPT);
	ck_assert_uint_eq(r->datagrams.count, 2);
	/* Another source is complete although the first goes on. */
	w.src = "2001:db8:1::1";
	w.id = 1;
	ck_assert_int_eq(part(r, &w, 0, true, 16, 1, 101, &whole, &why), REASSEMBLY_KEPT);
	struct wire other = six;

	for (other.id = 200; other.id < 400; other.id++)
		part(r, &other, 0, true, 16, 1, 101, &whole, &why);
	ck_assert_int_eq(part(r, &w, 16, false, 16, 1, 102, &whole, &why), REASSEMBLY_WHOLE);
	reassembly_free(r);
}
END_TEST

START_TEST(bytes_and_fragments_are_bounded)
{
	struct reassembly *r = begin(64, 1 << 17);
	AUTO_BUF struct buf whole = BUF_INIT(70000);
	struct wire w = six;
	enum xlat_reason why = XLAT_R_NONE;
	char source[32];

	for (unsigned i = 0; i < 500; i++) {
		snprintf(source, sizeof(source), "2001:db8:%x::1", i % 40);
		w.src = source;
		w.id = i;
		part(r, &w, 0, true, 8000, 1, i, &whole, &why);
		ck_assert_uint_le(r->bytes, 1 << 17);
	}
	ck_assert_uint_gt(r->datagrams.count, 10);
	reassembly_free(r);
	r = begin(64, 1 << 20);
	/* At the limit it is kept, one above the datagram goes. */
	for (unsigned i = 0; i < SLOW_FRAGMENTS_MAX; i++)
		ck_assert_int_eq(part(r, &six, 8 + i * 16, true, 8, 1, 0, &whole, &why), REASSEMBLY_KEPT);
	ck_assert_int_eq(part(r, &six, 32000, true, 8, 1, 0, &whole, &why), REASSEMBLY_DROPPED);
	ck_assert_int_eq(why, XLAT_R_FRAGMENT_LIMIT);
	reassembly_tick(r, 2000);
	empty(r);
}
END_TEST

START_TEST(rfc7112_headers_behind_the_fragment_header_are_kept_if_the_first_fragment_has_them_all)
{
	static const uint8_t options[16] = { XLAT_UDP, 1, 1, 12, 0 };
	AUTO_BUF struct buf data = BUF_INIT(4000), packet = BUF_INIT(4000), whole = BUF_INIT(4000), upper = BUF_INIT(4000);
	struct reassembly *r = begin(16, 1 << 20);
	struct wire w = six;
	enum xlat_reason why;

	w.extension = options;
	w.extension_bytes = sizeof(options);
	w.extension_type = 60;
	wire_fill(&data, 2000, 9);
	wire_udp(&packet, &w, 1, 2, buf_slice(&data), false);
	/* The same by hand in two fragments: the options are in what was cut. */
	struct wire f = six;

	f.fragment = f.more = true;
	f.protocol = 60;
	wire_ip(&upper, &f, slice_sub(buf_slice(&packet), 40, 40 + 1000));
	ck_assert_int_eq(feed(r, buf_slice(&upper), 0, &whole, &why), REASSEMBLY_KEPT);
	buf_reset(&upper);
	f.more = false;
	f.offset = 1000;
	wire_ip(&upper, &f, slice_from(buf_slice(&packet), 1040));
	ck_assert_int_eq(feed(r, buf_slice(&upper), 0, &whole, &why), REASSEMBLY_WHOLE);
	ck_assert_slice_eq(buf_slice(&whole), buf_slice(&packet));
	/* A first fragment of options alone. */
	buf_reset(&upper);
	f = (struct wire){ .src = six.src, .dst = six.dst, .fragment = true, .more = true, .protocol = 60, .id = 5 };
	wire_ip(&upper, &f, slice_of(options, 16));
	ck_assert_int_eq(feed(r, buf_slice(&upper), 0, &whole, &why), REASSEMBLY_DROPPED);
	ck_assert_int_eq(why, XLAT_R_BAD_FRAGMENT);
	empty(r);
}
END_TEST

START_TEST(rfc3168_5_3_congestion_of_one_fragment_is_that_of_the_datagram)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), packet = BUF_INIT(4000), whole = BUF_INIT(4000);

	for (unsigned k = 0; k < 2; k++) {
		struct reassembly *r = begin(16, 1 << 20);
		struct pieces p;
		enum xlat_reason why;

		buf_reset(&data);
		wire_fill(&data, 2000, 9);
		wire_udp(&packet, k ? &four : &six, 1, 2, buf_slice(&data), false);
		packet.ptr[1] |= k ? 2 : 0x20;
		if (k)
			packet_sum4(packet.ptr);
		cut(&p, buf_slice(&packet), 1, 1280);
		p.piece[1].ptr[1] |= k ? 3 : 0x30;
		ck_assert_int_eq(feed(r, buf_slice(&p.piece[0]), 0, &whole, &why), REASSEMBLY_KEPT);
		ck_assert_int_eq(feed(r, buf_slice(&p.piece[1]), 0, &whole, &why), REASSEMBLY_WHOLE);
		ck_assert_uint_eq(whole.ptr[1] & (k ? 3 : 0x30), k ? 3 : 0x30);
		ck_assert(wire_judge(buf_slice(&whole)) == NULL);
		done(&p);
		empty(r);
	}
}
END_TEST

TEST_MAIN("nat64/reassemble", rfc6146_3_4_fragments_come_together_in_any_order,
	  rfc5722_4_overlap_drops_the_datagram_and_the_rest_of_it, rfc5722_4_the_end_that_says_more_follows_is_an_overlap, rfc1858_tiny_fragments_are_refused,
	  rfc8200_4_5_lengths_that_cannot_be_are_refused, rfc6146_4_fragment_min_two_seconds_and_no_more,
	  rfc6146_5_2_the_oldest_goes_first_and_a_source_has_its_share, bytes_and_fragments_are_bounded,
	  rfc7112_headers_behind_the_fragment_header_are_kept_if_the_first_fragment_has_them_all,
	  rfc3168_5_3_congestion_of_one_fragment_is_that_of_the_datagram)
