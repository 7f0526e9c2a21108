#include "spine/packet.h"

#include "base/hex.h"
#include "base/test.h"
#include "spine/totals.h"

static const char *summary(const char *hex, size_t cut)
{
	static uint8_t frame[512];
	static char text[1024];
	struct buf out = BUF_INIT(1000);
	size_t n = 0;

	for (const char *at = hex; *at != '\0'; at += 2) {
		while (*at == ' ')
			at++;
		if (*at == '\0')
			break;
		frame[n++] = (uint8_t)strtoul((char[3]){ at[0], at[1], 0 }, NULL, 16);
	}
	packet_summary(&out, slice_of(frame, n - cut));
	memcpy(text, out.ptr, out.len);
	text[out.len] = '\0';
	buf_done(&out);
	return text;
}

#define MACS "020000000001 020000000002 "
#define UDP4 "45000020 00000000 40110000 0a000001 0a000002 03e80035 000c0000 61626364"

START_TEST(frames_read_as_in_tcpdump)
{
	ck_assert_str_eq(summary(MACS "0800 " UDP4, 0), "IP 10.0.0.1.1000 > 10.0.0.2.53: UDP, length 4");
	ck_assert_str_eq(summary(MACS "8100 0007 0800 " UDP4, 0), "vlan 7, IP 10.0.0.1.1000 > 10.0.0.2.53: UDP, length 4");
	ck_assert_str_eq(summary(MACS "0800 45000028 00000000 40060000 0a000001 0a000002 03e80050 00000001 00000000 50020000 00000000", 0),
			 "IP 10.0.0.1.1000 > 10.0.0.2.80: TCP [S], length 0");
	ck_assert_str_eq(summary(MACS "86dd 60000000 00083aff fe800000000000000000000000000001 ff020000000000000000000000000002 85000000 00000000", 0),
			 "IP6 fe80::1 > ff02::2: ICMP6 type 133 code 0, length 8");
	ck_assert_str_eq(summary(MACS "0800 45000020 00000005 40110000 0a000001 0a000002 03e80035 000c0000 61626364", 0),
			 "IP 10.0.0.1 > 10.0.0.2: fragment of protocol 17, length 12");
	ck_assert_str_eq(summary(MACS "0806 0001", 0), "ARP, length 16");
	ck_assert_str_eq(summary(MACS "1234 0001", 0), "ethertype 0x1234, length 16");
}
END_TEST

START_TEST(frames_that_end_early_are_told_so)
{
	ck_assert_str_eq(summary(MACS "0800 " UDP4, 12 - 4), "IP 10.0.0.1.1000 > 10.0.0.2.53: UDP, length 4 [truncated]");
	ck_assert_str_eq(summary(MACS "0800 " UDP4, 16), "IP [truncated]");
	ck_assert_str_eq(summary(MACS, 2), "frame of 10 bytes [truncated]");
	ck_assert_str_eq(summary("", 0), "frame of 0 bytes [truncated]");
	ck_assert_str_eq(summary(MACS "0800 41000020 00000000 40110000 0a000001 0a000002", 0), "IP [truncated]");
}
END_TEST

START_TEST(totals_are_sums_over_processors_and_never_run_backwards)
{
	struct spine_cpu_stats *stats = calloc(2, sizeof(*stats));
	struct spine_totals a, b, d;

	stats[0].slot[5].packets = 3;
	stats[1].slot[5].packets = 4;
	stats[1].slot[5].samples = 2;
	stats[1].slot[5].sampled_ns = 300;
	stats[0].slot[5].faults[SPINE_FAULT_STALL] = 1;
	stats[0].slot[5].faults[SPINE_FAULT_ABORTED] = 9;
	spine_totals(stats, 2, 5, &a);
	ck_assert_uint_eq(a.packets, 7);
	ck_assert_uint_eq(spine_totals_faults(&a), 1);
	ck_assert(spine_totals_ns(&a) == 150);
	stats[0].slot[5].packets = 0;		/* the slot changed hands */
	spine_totals(stats, 2, 5, &b);
	d = spine_totals_since(&a, &b);
	ck_assert_uint_eq(d.packets, 0);
	ck_assert(spine_totals_ns(&d) == 0);
	free(stats);
}
END_TEST

TEST_MAIN("spine/packet", frames_read_as_in_tcpdump, frames_that_end_early_are_told_so,
	  totals_are_sums_over_processors_and_never_run_backwards)
