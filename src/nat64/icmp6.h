/*
 * Raw ICMPv6 sockets for one type of neighbour discovery message each: what learns of advertisements and what sends them.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/errmsg.h"
#include "base/slice.h"

struct icmp6_message {
	struct slice bytes;		/* from the ICMPv6 header on; the kernel has checked the checksum */
	uint8_t source[16];
	unsigned hop_limit;
	uint32_t ifindex;		/* where it came in */
};

/* A socket that gets messages of this type; what it sends to groups has hop limit 255 and does not come back to this host. */
MUST_USE int icmp6_open(uint8_t type, struct errmsg *why);
/* The next message, into room. 0; -EAGAIN: none; -EMSGSIZE: longer than room; other negative errno. */
MUST_USE int icmp6_receive(int fd, uint8_t *room, size_t bytes, struct icmp6_message *out);
/* Send to ff02::`last` on an interface. 0 or negative errno. */
MUST_USE int icmp6_send(int fd, uint32_t ifindex, uint8_t last, struct slice message);
