/*
 * A packet that somebody describes, as bytes of IP: from words, hexadecimal digits, or a pcap file.
 */
#pragma once
#include "cli/cli.h"

#define NAT64_PACKET_BYTES_MAX 65535u

/*
 * From --hex, --pcap and --packet, or else the arguments: spine/frame.h's words, and as people write them: "tcp 2001:db8::1 1234 >
 * 64:ff9b::192.0.2.1 80", "ping 2001:db8::1 > 64:ff9b::192.0.2.1". CLI_OK, or complains.
 */
MUST_USE int nat64_packet_read(struct cli *cli, struct buf *out);
/* One line about it, as packet_summary. */
void nat64_packet_text(struct buf *out, struct slice packet);
