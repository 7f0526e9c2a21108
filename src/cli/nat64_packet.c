#include "cli/nat64_packet.h"

#include <errno.h>

#include "base/hex.h"
#include "nat64/words.h"
#include "spine/capture.h"
#include "spine/frame.h"
#include "spine/packet.h"

#define ETHERNET_BYTES 14u

/* Ethernet and VLAN headers go; what is left is IP or nothing. */
static struct slice ip_of(struct slice frame)
{
	size_t at = 12;

	while (at + 6 <= frame.len && ((frame.ptr[at] == 0x81 && frame.ptr[at + 1] == 0x00) || (frame.ptr[at] == 0x88 && frame.ptr[at + 1] == 0xa8)))
		at += 4;
	bool ip = at + 2 < frame.len && ((frame.ptr[at] == 0x08 && frame.ptr[at + 1] == 0x00) || (frame.ptr[at] == 0x86 && frame.ptr[at + 1] == 0xdd));
	return ip ? slice_from(frame, at + 2) : (struct slice){ 0 };
}

static bool is_address(struct slice word, unsigned *family)
{
	__be32 addr[4];

	return words_address(word, 0, addr, family, NULL) == 0;
}

/* People's words -> those of spine/frame.h: ports stand behind addresses, ICMP is of the family of the addresses, ping is an
 * echo, TCP without flags begins a connection. */
static void usual_words(struct slice text, struct buf *out)
{
	struct slice rest = text, word, first = words_next(&rest);
	AUTO_BUF struct buf tail = BUF_INIT(65536);
	unsigned family = 0, one;
	bool ping = slice_eq(first, SLICE("ping"));
	bool tcp = slice_eq(first, SLICE("tcp")), ports = tcp || slice_eq(first, SLICE("udp")), flags = false;

	while ((word = words_next(&rest)).len > 0) {
		struct slice after = rest, port = words_next(&after);
		uint64_t number;
		flags = flags || slice_eq(word, SLICE("flags"));
		if (!is_address(word, &one)) {
			buf_printf(&tail, " %.*s", SLICE_FMT(word));
			continue;
		}
		AUTO_BUF struct buf host = BUF_INIT(80);
		__be32 addr[4] = { 0 };
		family = one;
		if (words_address(word, one, addr, NULL, NULL) == 0)
			words_address_text(&host, one, addr);	/* "64:ff9b::192.0.2.1" looks like a port to frame_parse */
		if (ports && slice_u64(port, 65535, &number)) {
			buf_printf(&tail, one == 6 ? " [%s]:%.*s" : " %s:%.*s", buf_cstr(&host), SLICE_FMT(port));
			rest = after;
		} else if (ports) {
			buf_printf(&tail, one == 6 ? " [%s]:0" : " %s:0", buf_cstr(&host));	/* frame_parse wants one */
		} else {
			buf_printf(&tail, " %s", buf_cstr(&host));
		}
	}
	/* Who asks about a connection means its beginning: an ACK from nowhere would be dropped. */
	if (tcp && !flags)
		buf_adds(&tail, " flags S");
	if (ping)
		buf_printf(out, "%s%s type %u", family == 6 ? "icmp6" : "icmp", buf_cstr(&tail), family == 6 ? 128 : 8);
	else
		buf_printf(out, "%.*s%s%s", SLICE_FMT(first), slice_eq(first, SLICE("icmp")) && family == 6 ? "6" : "", buf_cstr(&tail));
}

static int from_words(struct cli *cli, struct buf *out)
{
	AUTO_BUF struct buf given = BUF_INIT(65536), words = BUF_INIT(65536), frame = BUF_INIT(2 * FRAME_BYTES_MAX);
	struct errmsg why = { 0 };

	for (size_t i = 0; i < cli_arg_count(cli); i++)
		buf_printf(&given, "%s%s", i == 0 ? "" : " ", cli_arg(cli, i));
	if (given.len == 0)
		return cli_fail(cli, CLI_USAGE, "which packet? Say it in words ('tcp 2001:db8::1 1234 > 64:ff9b::192.0.2.1 80'), by --hex or by --pcap");
	usual_words(buf_slice(&given), &words);
	if (frame_parse(&frame, buf_slice(&words), &why) != 0)
		return cli_fail(cli, CLI_USAGE, "%s", why.text);
	struct slice ip = ip_of(buf_slice(&frame));
	if (ip.len == 0)
		return cli_fail(cli, CLI_USAGE, "'%s' is no IP packet", buf_cstr(&given));
	buf_add(out, ip);
	return CLI_OK;
}

static int from_hex(struct cli *cli, const char *text, struct buf *out)
{
	AUTO_BUF struct buf bytes = BUF_INIT(NAT64_PACKET_BYTES_MAX + 64);
	unsigned high = 0;
	bool half = false;

	for (const char *p = text; *p != '\0'; p++) {
		int digit = hex_value((uint8_t)*p);
		if (*p == ' ' || *p == ':' || *p == '\n')
			continue;
		if (digit < 0)
			return cli_fail(cli, CLI_USAGE, "--hex: '%c' is not a hexadecimal digit", *p);
		if (half)
			buf_addc(&bytes, (uint8_t)(high << 4 | (unsigned)digit));
		high = (unsigned)digit;
		half = !half;
	}
	if (half || bytes.err != 0)
		return cli_fail(cli, CLI_USAGE, "--hex: %s", half ? "an odd number of digits" : "more than 65,535 bytes");
	struct slice all = buf_slice(&bytes), ip = ip_of(all);
	/* A frame, or IP by itself: then the version stands first. */
	if (ip.len == 0 || (ip.ptr[0] >> 4 != 4 && ip.ptr[0] >> 4 != 6))
		ip = all;
	buf_add(out, ip);
	return CLI_OK;
}

struct search {
	uint64_t wanted, seen;
	struct buf *out;
};

static int each_frame(void *arg, struct slice frame, uint32_t wire_bytes)
{
	struct search *s = arg;

	(void)wire_bytes;
	if (++s->seen < s->wanted)
		return 0;
	buf_add(s->out, ip_of(frame));
	return 1;
}

static int from_pcap(struct cli *cli, const char *file, struct buf *out)
{
	struct search s = { .out = out };
	struct errmsg why = { 0 };
	int code = cli_number(cli, "packet", 1, UINT32_MAX, 1, &s.wanted);
	int err = code == CLI_OK ? capture_read(file, each_frame, &s, &why) : 0;

	if (code != CLI_OK)
		return code;
	if (err < 0)
		return cli_fail(cli, err == -ENOENT ? CLI_NOT_FOUND : CLI_FAILED, "%s", why.text);
	if (err == 0)
		return cli_fail(cli, CLI_NOT_FOUND, "%s has %llu packets, not %llu", file, (unsigned long long)s.seen, (unsigned long long)s.wanted);
	return out->len > 0 ? CLI_OK : cli_fail(cli, CLI_FAILED, "packet %llu of %s is no IP packet", (unsigned long long)s.wanted, file);
}

int nat64_packet_read(struct cli *cli, struct buf *out)
{
	const char *hex = cli_value(cli, "hex"), *pcap = cli_value(cli, "pcap");

	if ((hex != NULL) + (pcap != NULL) + (cli_arg_count(cli) > 0) > 1)
		return cli_fail(cli, CLI_USAGE, "a packet in words, by --hex, or by --pcap: one of them");
	int code = hex != NULL ? from_hex(cli, hex, out) : pcap != NULL ? from_pcap(cli, pcap, out) : from_words(cli, out);
	if (code == CLI_OK && (out->len == 0 || (out->ptr[0] >> 4 != 4 && out->ptr[0] >> 4 != 6)))
		return cli_fail(cli, CLI_USAGE, "these bytes begin neither as IPv4 nor as IPv6");
	return code;
}

void nat64_packet_text(struct buf *out, struct slice packet)
{
	AUTO_BUF struct buf frame = BUF_INIT(NAT64_PACKET_BYTES_MAX + 64);
	bool six = packet.len > 0 && packet.ptr[0] >> 4 == 6;

	buf_fill(&frame, 0, ETHERNET_BYTES - 2);
	buf_be16(&frame, six ? 0x86dd : 0x0800);
	buf_add(&frame, packet);
	packet_summary(out, buf_slice(&frame));
}
