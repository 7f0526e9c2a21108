/*
 * A frame in one line, as people know it from tcpdump. For reading only: nothing is decided by it.
 */
#pragma once
#include "base/buf.h"
#include "base/slice.h"

/*
 * "IP 10.0.0.1.1000 > 10.0.0.2.53: UDP, length 12", "ARP", "IP6 ... ICMP6 type 135". What is cut
 * short is said to be ("[truncated]"). Never fails, reads nothing outside the frame.
 */
void packet_summary(struct buf *out, struct slice frame);
