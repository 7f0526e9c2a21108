/*
 * Frames from words, for test cases: what people would write on a whiteboard.
 *
 *	udp 10.0.0.1:1000 > 10.0.0.2:53 "data"
 *	tcp [2001:db8::1]:1000 > [2001:db8::2]:80 flags SA seq 1 x0a0b
 *	icmp 10.0.0.1 > 10.0.0.2 type 8 code 0
 *	eth 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff type 0x88b5 x00112233
 *	eth 02:00:00:00:00:01 > 02:00:00:00:00:02 vlan 7 ip 10.0.0.1 > 10.0.0.2 proto 47 bytes 100
 *	hex 0200 0000 0002 ...
 *
 * Everything has a default (addresses of Ethernet, ttl 64); lengths and checksums are computed. Payload: a
 * quoted text (\n \r \t \0 \" \\ \xHH), hexadecimal digits after an x, `bytes N` for N bytes that count
 * up. Several are joined.
 */
#pragma once
#include "base/buf.h"
#include "base/errmsg.h"

#define FRAME_BYTES_MIN 14u
#define FRAME_BYTES_MAX 9000u

/* Append the frame. 0, or -EINVAL with a sentence that names the word. `out` holds at least FRAME_BYTES_MAX. */
MUST_USE int frame_parse(struct buf *out, struct slice text, struct errmsg *why);
