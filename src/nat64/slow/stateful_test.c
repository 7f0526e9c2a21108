/* The slow path of a stateful translator, with the native home: SYNs that wait, fragments, control connections of FTP. */
#include "base/test.h"

#include <stdio.h>

#include "nat64/slow/fragment.h"
#include "nat64/slow/stand.h"

#define SERVER6	"64:ff9b::cb00:7109"	/* 203.0.113.9 */
static const struct wire out6 = { .src = "2001:db8::1", .dst = SERVER6 };
static const struct wire in4 = { .src = "203.0.113.9", .dst = "198.51.100.1", .id = 0x77 };
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

static void tcp(struct stand *t, const struct wire *w, uint16_t sport, uint16_t dport, uint8_t flags, uint32_t seq, uint32_t ack, struct slice data)
{
	AUTO_BUF struct buf b = BUF_INIT(4000);
	struct wire_tcp s = { .sport = sport, .dport = dport, .flags = flags, .seq = seq, .ack = ack, .data = data };

	wire_tcp(&b, w, &s);
	stand_packet(t, buf_slice(&b));
	ck_assert_msg(t->wrong == NULL, "%s", t->wrong);
}

/* -- Stored SYNs ----------------------------------------------------------------------------------------------------- */

START_TEST(rfc6146_3_5_2_2_a_syn_from_outside_waits_six_seconds_for_its_answer)
{
	static struct stand t;

	stand_init(&t, XLAT_NAT64);
	tcp(&t, &in4, 5000, 2000, SYN, 1, 0, (struct slice){ 0 });
	ck_assert_uint_eq(t.sent_count, 0);
	stand_wait(&t, 3000);
	/* Repeated: the first one's time goes on. */
	tcp(&t, &in4, 5000, 2000, SYN, 1, 0, (struct slice){ 0 });
	stand_wait(&t, 2999);
	ck_assert_uint_eq(t.sent_count, 0);
	stand_wait(&t, 1);
	ck_assert_uint_eq(t.sent_count, 1);
	ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
	struct slice e = stand_sent(&t, 0);

	ck_assert_uint_eq(e.ptr[9], 1);
	ck_assert_uint_eq(e.ptr[20], 3);
	ck_assert_uint_eq(e.ptr[21], 3);
	ck_assert_uint_eq(get32(e.ptr + 16), 0xcb007109);
	ck_assert_uint_eq(get16(e.ptr + 48), 5000);
	stand_wait(&t, 10000);
	ck_assert_uint_eq(t.sent_count, 1);
	stand_done(&t);
}
END_TEST

START_TEST(rfc6146_3_5_2_2_a_session_from_inside_drops_the_stored_syn)
{
	static struct stand t;

	stand_init(&t, XLAT_NAT64);
	t.config.filtering = XLAT_ADDRESS_DEPENDENT;
	stand_configure(&t);
	/* The mapping first, by talking to somebody else. */
	struct wire other = out6;

	other.dst = "64:ff9b::cb00:7163";
	tcp(&t, &other, 4000, 80, SYN, 1, 0, (struct slice){ 0 });
	ck_assert_uint_eq(t.sent_count, 1);
	uint16_t port = get16(stand_sent(&t, 0).ptr + 20);

	stand_forget(&t);
	tcp(&t, &in4, 5000, port, SYN, 1, 0, (struct slice){ 0 });
	ck_assert_uint_eq(t.sent_count, 0);
	stand_wait(&t, 1000);
	tcp(&t, &out6, 4000, 5000, SYN, 9, 0, (struct slice){ 0 });
	ck_assert_uint_eq(t.sent_count, 1);
	stand_forget(&t);
	stand_wait(&t, 6000);
	ck_assert_uint_eq(t.sent_count, 0);
	stand_done(&t);
}
END_TEST

START_TEST(rfc6146_5_3_stored_syns_are_bounded_and_shared)
{
	static struct stand t;
	char source[32];

	stand_init(&t, XLAT_NAT64);
	/* One source: a fourth of 16. */
	for (uint16_t i = 0; i < 100; i++)
		tcp(&t, &in4, (uint16_t)(5000 + i), 2000, SYN, 1, 0, (struct slice){ 0 });
	stand_wait(&t, 6000);
	ck_assert_uint_eq(t.sent_count, 4);
	stand_forget(&t);
	for (unsigned i = 0; i < 100; i++) {
		struct wire w = in4;

		snprintf(source, sizeof(source), "203.0.113.%u", i + 1);
		w.src = source;
		tcp(&t, &w, 5000, 2000, SYN, 1, 0, (struct slice){ 0 });
	}
	stand_wait(&t, 6000);
	ck_assert_uint_eq(t.sent_count, 16);
	stand_forget(&t);
	/* None at all, and one that is longer than a packet should be. */
	AUTO_BUF struct buf data = BUF_INIT(4000);

	wire_fill(&data, 1500, 1);
	tcp(&t, &in4, 5000, 2000, SYN, 1, 0, buf_slice(&data));
	t.settings.syns_max = 0;
	stand_configure(&t);
	tcp(&t, &in4, 5000, 2000, SYN, 1, 0, (struct slice){ 0 });
	stand_wait(&t, 6000);
	ck_assert_uint_eq(t.sent_count, 0);
	stand_done(&t);
}
END_TEST

/* -- Fragments -------------------------------------------------------------------------------------------------------- */

static unsigned cut(struct buf *pieces, struct slice packet, uint32_t id, uint32_t mtu)
{
	struct slow_fragmenter f;
	AUTO_BUF struct buf piece = BUF_INIT(70000);
	unsigned n = 0;

	ck_assert_int_eq(slow_fragment_begin(&f, packet, id, mtu), 0);
	for (; slow_fragment_next(&f, &piece); n++) {
		buf_init(&pieces[n], 70000);
		buf_add(&pieces[n], buf_slice(&piece));
	}
	return n;
}

START_TEST(rfc6146_3_4_datagrams_are_translated_as_whole_and_stay_fragmentable)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), in = BUF_INIT(4000);
	static struct stand t;
	struct buf pieces[8];

	stand_init(&t, XLAT_NAT64);
	wire_fill(&data, 3000, 1);
	wire_udp(&in, &out6, 4000, 9, buf_slice(&data), false);
	unsigned n = cut(pieces, buf_slice(&in), 0xaabbccdd, 1280);

	for (unsigned i = n; i-- > 0;)
		stand_packet(&t, buf_slice(&pieces[i]));
	ck_assert_uint_eq(t.sent_count, 3);
	ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_eq(get16(stand_sent(&t, i).ptr + 4), 0xccdd);
		ck_assert_uint_eq(stand_sent(&t, i).ptr[6] & 0x40, 0);
	}
	ck_assert_uint_eq(get16(stand_sent(&t, 0).ptr + 22), 9);
	for (unsigned i = 0; i < n; i++)
		buf_done(&pieces[i]);
	stand_done(&t);
}
END_TEST

START_TEST(rfc7915_4_5_zero_checksum_in_fragments_is_computed_over_the_whole)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), in = BUF_INIT(4000), whole = BUF_INIT(4000);
	static struct stand t;
	struct buf pieces[8];

	stand_init(&t, XLAT_NAT64);
	wire_udp(&in, &out6, 4000, 9, SLICE("x"), false);
	stand_packet(&t, buf_slice(&in));
	uint16_t port = get16(stand_sent(&t, 0).ptr + 20);

	stand_forget(&t);
	wire_fill(&data, 1501, 1);
	wire_udp(&in, &in4, 9, port, buf_slice(&data), true);
	unsigned n = cut(pieces, buf_slice(&in), 0x77, 1000);

	for (unsigned i = 0; i < n; i++)
		stand_packet(&t, buf_slice(&pieces[i]));
	ck_assert_uint_eq(t.sent_count, 2);
	ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
	/* Put together by hand, it is a datagram with a right checksum. */
	buf_add(&whole, slice_head(stand_sent(&t, 0), 40));
	buf_add(&whole, slice_from(stand_sent(&t, 0), 48));
	buf_add(&whole, slice_from(stand_sent(&t, 1), 48));
	put16(whole.ptr + 4, (uint32_t)whole.len - 40);
	whole.ptr[6] = 17;
	const char *wrong = wire_judge(buf_slice(&whole));

	ck_assert_msg(wrong == NULL, "%s", wrong);
	ck_assert_slice_eq(slice_from(buf_slice(&whole), 48), buf_slice(&data));
	for (unsigned i = 0; i < n; i++)
		buf_done(&pieces[i]);
	stand_done(&t);
}
END_TEST

START_TEST(rfc6146_3_4_fragments_before_their_first_one_follow_it_when_it_went_fast)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), in = BUF_INIT(4000);
	static struct stand t;
	static struct xlat x;
	struct buf pieces[8];

	stand_init(&t, XLAT_NAT64);
	wire_fill(&data, 3000, 1);
	wire_udp(&in, &out6, 4000, 9, buf_slice(&data), false);
	unsigned n = cut(pieces, buf_slice(&in), 0xaabbccdd, 1280);

	ck_assert_uint_eq(n, 3);
	stand_packet(&t, buf_slice(&pieces[2]));
	stand_packet(&t, buf_slice(&pieces[1]));
	stand_wait(&t, 5);
	ck_assert_uint_eq(t.sent_count, 0);
	/* The first one passes by on the fast path. */
	xlat_native_begin(t.native, &x, buf_slice(&pieces[0]));
	ck_assert_int_eq(xlat_native_plan(t.native, &x), XLAT_TRANSLATE);
	stand_wait(&t, 5);
	ck_assert_uint_eq(t.sent_count, 0);	/* asked for after 4, 8, 16 ms */
	stand_wait(&t, 20);
	ck_assert_uint_eq(t.sent_count, 2);
	ck_assert_msg(t.wrong == NULL, "%s", t.wrong);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(get16(stand_sent(&t, i).ptr + 4), 0xccdd);
		ck_assert_uint_eq(stand_sent(&t, i).len, pieces[i + 1].len - 28);
	}
	stand_wait(&t, 3000);
	ck_assert_uint_eq(t.counted[XLAT_R_FRAGMENT_TIMEOUT], 0);
	for (unsigned i = 0; i < n; i++)
		buf_done(&pieces[i]);
	stand_done(&t);
}
END_TEST

START_TEST(rfc7915_1_2_flows_that_were_slow_stay_so_for_100_ms)
{
	AUTO_BUF struct buf data = BUF_INIT(4000), in = BUF_INIT(4000);
	static struct stand t;
	static struct xlat x;
	struct buf pieces[8];

	stand_init(&t, XLAT_NAT64);
	wire_fill(&data, 2000, 1);
	wire_icmp(&in, &out6, 128, 0, 0x00070001, buf_slice(&data));
	unsigned n = cut(pieces, buf_slice(&in), 5, 1280);

	for (unsigned i = 0; i < n; i++)
		stand_packet(&t, buf_slice(&pieces[i]));
	ck_assert_uint_ge(t.sent_count, 1);
	wire_icmp(&in, &out6, 128, 0, 0x00070002, SLICE("small"));
	xlat_native_begin(t.native, &x, buf_slice(&in));
	ck_assert_int_eq(xlat_native_plan(t.native, &x), XLAT_SLOW);
	ck_assert_int_eq(x.reason, XLAT_R_ORDER);
	/* The small one on the slow path does not make it longer. */
	stand_wait(&t, 90);
	stand_packet(&t, buf_slice(&in));
	stand_wait(&t, 60);
	xlat_native_begin(t.native, &x, buf_slice(&in));
	ck_assert_int_eq(xlat_native_plan(t.native, &x), XLAT_TRANSLATE);
	for (unsigned i = 0; i < n; i++)
		buf_done(&pieces[i]);
	stand_done(&t);
}
END_TEST

/* -- FTP --------------------------------------------------------------------------------------------------------------- */

static uint16_t ftp_open(struct stand *t)
{
	tcp(t, &out6, 4000, 21, SYN, 99, 0, (struct slice){ 0 });
	ck_assert_uint_eq(t->sent_count, 1);
	uint16_t port = get16(stand_sent(t, 0).ptr + 20);

	tcp(t, &in4, 21, port, SYN | ACK, 499, 100, (struct slice){ 0 });
	tcp(t, &in4, 21, port, ACK, 500, 100, SLICE("220 hi\r\n"));
	ck_assert_uint_eq(t->sent_count, 3);
	stand_forget(t);
	return port;
}

START_TEST(rfc6384_7_the_mapping_of_eprt_lets_the_server_call)
{
	static struct stand t;

	for (unsigned filtering = 0; filtering < 2; filtering++) {
		stand_init(&t, XLAT_NAT64);
		t.config.filtering = filtering;
		stand_configure(&t);
		ftp_open(&t);
		tcp(&t, &out6, 4000, 21, ACK, 100, 508, SLICE("EPRT |2|2001:db8::1|5282|\r\n"));
		ck_assert_uint_eq(t.sent_count, 1);
		unsigned p[6];
		char text[64] = { 0 };
		struct slice line = slice_from(stand_sent(&t, 0), 40);

		ck_assert(slice_to_str(line, text, sizeof(text)));
		ck_assert_int_eq(memcmp(text, "PORT 198,51,100,1,", 18), 0);
		char *at = text + 18;

		p[4] = (unsigned)strtoul(at, &at, 10);
		p[5] = (unsigned)strtoul(at + 1, &at, 10);
		stand_forget(&t);
		tcp(&t, &in4, 20, (uint16_t)(p[4] << 8 | p[5]), SYN, 1, 0, (struct slice){ 0 });
		ck_assert_uint_eq(t.sent_count, 1);
		ck_assert_uint_eq(t.sent[0].family, 6);
		ck_assert_uint_eq(get16(stand_sent(&t, 0).ptr + 42), 5282);
		stand_done(&t);
	}
}
END_TEST

START_TEST(rfc6384_control_connections_are_marked_and_leave_after_tls)
{
	static struct stand t;
	static struct xlat x;
	AUTO_BUF struct buf b = BUF_INIT(400);
	struct wire_tcp s = { .sport = 21, .flags = ACK, .seq = 508, .ack = 100 };

	stand_init(&t, XLAT_NAT64);
	s.dport = ftp_open(&t);
	wire_tcp(&b, &in4, &s);
	xlat_native_begin(t.native, &x, buf_slice(&b));
	ck_assert_int_eq(xlat_native_plan(t.native, &x), XLAT_SLOW);
	ck_assert_int_eq(x.reason, XLAT_R_ALG);
	tcp(&t, &out6, 4000, 21, ACK, 100, 508, SLICE("AUTH TLS\r\n"));
	tcp(&t, &in4, 21, s.dport, ACK, 508, 110, SLICE("234 ok\r\n"));
	tcp(&t, &out6, 4000, 21, ACK, 110, 516, (struct slice){ 0 });
	xlat_native_begin(t.native, &x, buf_slice(&b));
	ck_assert_int_eq(xlat_native_plan(t.native, &x), XLAT_TRANSLATE);
	for (unsigned i = 0; i < STAND_FTP_MAX; i++)
		ck_assert(!t.ftp[i].used);
	stand_done(&t);
}
END_TEST

START_TEST(rfc6384_without_room_connections_do_without_the_alg)
{
	static struct stand t;

	stand_init(&t, XLAT_NAT64);
	for (uint16_t i = 0; i < STAND_FTP_MAX + 2; i++)
		tcp(&t, &out6, (uint16_t)(4000 + i), 21, SYN, 99, 0, (struct slice){ 0 });
	ck_assert_uint_eq(t.sent_count, STAND_FTP_MAX + 2);
	stand_forget(&t);
	tcp(&t, &out6, 4000 + STAND_FTP_MAX, 21, ACK, 100, 500, SLICE("EPSV\r\n"));
	ck_assert_slice_eq(slice_from(stand_sent(&t, 0), 40), SLICE("EPSV\r\n"));
	stand_forget(&t);
	tcp(&t, &out6, 4000, 21, ACK, 100, 500, SLICE("EPSV\r\n"));
	ck_assert_slice_eq(slice_from(stand_sent(&t, 0), 40), SLICE("PASV\r\n"));
	/* A reset ends it; what sessions left behind is swept. */
	tcp(&t, &out6, 4000, 21, RST, 106, 0, (struct slice){ 0 });
	unsigned used = 0;

	for (unsigned i = 0; i < STAND_FTP_MAX; i++)
		used += t.ftp[i].used;
	ck_assert_uint_eq(used, STAND_FTP_MAX - 1);
	stand_wait(&t, 300000);
	xlat_native_walk(t.native);
	for (unsigned i = 0; i < 20; i++)
		stand_wait(&t, 1000);
	used = 0;
	for (unsigned i = 0; i < STAND_FTP_MAX; i++)
		used += t.ftp[i].used;
	ck_assert_uint_eq(used, 0);
	stand_done(&t);
}
END_TEST

START_TEST(rfc6384_a_segment_that_grows_beyond_the_link_is_cut_in_two)
{
	AUTO_BUF struct buf data = BUF_INIT(4000);
	static struct stand t;
	uint16_t port;

	stand_init(&t, XLAT_NAT64);
	t.mtu6 = 1280;
	port = ftp_open(&t);
	tcp(&t, &out6, 4000, 21, ACK, 100, 508, SLICE("EPSV\r\n"));
	stand_forget(&t);
	buf_adds(&data, "227 (192,0,2,1,200,1)\r\n");
	buf_fill(&data, 'x', 1220 - data.len - 2);
	buf_adds(&data, "\r\n");
	tcp(&t, &in4, 21, port, ACK | FIN, 508, 106, buf_slice(&data));
	ck_assert_uint_eq(t.sent_count, 2);
	struct slice a = stand_sent(&t, 0), b = stand_sent(&t, 1);

	ck_assert_uint_eq(a.len, 1280);
	ck_assert_uint_eq(get32(b.ptr + 44), get32(a.ptr + 44) + 1220);
	ck_assert(!(a.ptr[53] & FIN) && (b.ptr[53] & FIN));
	ck_assert_uint_eq(a.len - 60 + b.len - 60, data.len - 23 + strlen("229 Entering Extended Passive Mode (|||51201|)\r\n"));
	stand_done(&t);
}
END_TEST

TEST_MAIN("nat64/slow_stateful", rfc6146_3_5_2_2_a_syn_from_outside_waits_six_seconds_for_its_answer,
	  rfc6146_3_5_2_2_a_session_from_inside_drops_the_stored_syn, rfc6146_5_3_stored_syns_are_bounded_and_shared,
	  rfc6146_3_4_datagrams_are_translated_as_whole_and_stay_fragmentable,
	  rfc7915_4_5_zero_checksum_in_fragments_is_computed_over_the_whole,
	  rfc6146_3_4_fragments_before_their_first_one_follow_it_when_it_went_fast,
	  rfc7915_1_2_flows_that_were_slow_stay_so_for_100_ms, rfc6384_7_the_mapping_of_eprt_lets_the_server_call,
	  rfc6384_control_connections_are_marked_and_leave_after_tls, rfc6384_without_room_connections_do_without_the_alg,
	  rfc6384_a_segment_that_grows_beyond_the_link_is_cut_in_two)
