/*
 * The messages and maps of the fan-out extension (fanout.bpf.c).
 *
 * A *stream* is what arrives for one address and UDP port; it has a number that the caller chooses. A
 * *receiver* of a stream is a granted port: at most one a stream and port, since copies are made one a
 * port. Behind a port one address hears the copy, or, when the stream is multicast and goes on unchanged, all
 * that listen to the group there.
 */
#pragma once
#include <linux/types.h>

#define FANOUT_STREAMS_MAX   64
#define FANOUT_RECEIVERS_MAX 1024

/* Handler 1, add_stream; 2, remove_stream (the number alone counts; -EBUSY while it has receivers). */
struct fanout_stream {
	__u32 stream;			/* its number, below FANOUT_STREAMS_MAX */
	__be16 port;
	__u8 family;			/* 4 or 6 */
	__u8 ttl;			/* of copies with another address; 0: one less than it came with */
	__u8 address[16];
};

/* Handler 3, join: anew for a receiver changes it; 4, leave: stream and ifindex count. */
struct fanout_receiver {
	__u32 stream;
	__u32 ifindex;			/* a granted port */
	__be16 port;			/* with address_set */
	__u8 address_set;		/* 0: the copy keeps its addresses, bytes as they came */
	__u8 spare;
	__u8 address[16];		/* of the stream's family */
	__u8 to_mac[6], from_mac[6];	/* with address_set */
};

/* Map `streams`: what arrives -> */
struct fanout_key {
	__u16 family;			/* 4 or 6 */
	__be16 port;
	__u8 address[16];
};

struct fanout_value {
	__u32 stream;
	__u32 ttl;
};

/* Map `receivers`. */
struct fanout_member {
	__u32 stream, ifindex;
};

struct fanout_copies {
	struct fanout_receiver to;
	__u64 packets, bytes;
};

struct fanout_counters {
	__u64 replicated;		/* datagrams that went to receivers */
	__u64 copies;			/* that left */
	__u64 no_receivers;		/* passed to the host's stack: a stream, but nobody joined */
	__u64 not_plain;		/* passed: IP options, fragments */
	__u64 ttl_expired;		/* copies that were not sent */
};
