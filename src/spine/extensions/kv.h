/*
 * What the key-value cache's parts share: kv.bpf.c sees requests, kv_reply.bpf.c the server's replies, the host
 * starts, stops and shows it.
 *
 * The promise: no read that begins after a write was acknowledged through this interface gets an older value.
 * How it is kept: each bucket counts writes. A read that misses notes the count as it passes (a lease); the reply
 * fills the bucket under that count, and an entry is good only while the count is the same. A write moves the count when
 * its request passes and again when its acknowledgement passes, before it leaves: a value that the server read before it
 * wrote can only have been filled under an older count. What cannot be followed moves `epoch`, which is part of every
 * count, when its replies pass; so does every reply whose request we did not see. Without kv_reply nothing is
 * filled, and without kv nothing is answered: either may go away at any time. Reads beside a write that is not
 * acknowledged yet may get either value. Writes that do not pass this interface, and values that expire, are seen
 * after ttl_ns at the latest, counted from the request that brought the entry.
 */
#pragma once
#include <linux/types.h>

#define KV_PORT		 11211
#define KV_BUCKETS	 4096		/* one entry each */
#define KV_REPLY_BYTES	 1024		/* "VALUE ...END\r\n": larger ones are not kept; a power of two */
#define KV_HEAD_BYTES	 320		/* of a request that are read: command, key of 250 bytes, numbers */
#define KV_PART_BYTES	 64		/* of the head, at a time */
#define KV_KEY_BYTES	 250		/* memcached's own limit */
#define KV_LEASES	 16384
#define KV_LEASE_NS	 10000000000ull	/* after that a request number is free again, whether it was answered or not */
#define KV_CONNECTIONS	 16384
#define KV_SERVERS	 64
#define KV_TTL_MS	 1000		/* when nothing is said */
#define KV_TTL_MS_MAX	 60000

/* Map `buckets`. */
struct kv_bucket {
	__u64 writes;			/* seen for keys of this bucket */
	__u64 turn;			/* odd while the entry is being written */
	__u64 entry_writes, entry_epoch;	/* the counts under which it was filled */
	__u64 expires_ns;		/* CLOCK_MONOTONIC */
	__u32 length;			/* of reply; 0: none */
	__u32 sum;			/* ones' complement sum of reply */
	__u8 reply[KV_REPLY_BYTES];	/* as the server sent it after the 8 bytes of frame header, then zeros */
	__u8 after[8];			/* a pointer that walked to the end of reply still points into the map */
};

/* Map `settings`, one entry: the host writes. */
struct kv_settings {
	__u64 ttl_ns;			/* 0: the cache is off, everything passes */
	__u32 classic;			/* kv_reply is a filter of the clsact qdisc, not a tcx link */
	__u32 made_qdisc;		/* and the qdisc is ours */
	__u32 program;			/* id of kv_reply as a classic filter; else 0 */
	__u32 spare;
};

/* Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d. Key of map `leases`: an outstanding UDP request. */
struct kv_lease_key {
	__u32 client[4], server[4];
	__u16 port, request;		/* as on the wire */
};

enum kv_lease_kind {
	KV_LEASE_NOTHING,		/* reads; its reply neither fills nor voids */
	KV_LEASE_READ,			/* of one key */
	KV_LEASE_WRITE,			/* of one key */
	KV_LEASE_ANY,			/* may have written anything */
};

struct kv_lease {
	__u32 kind;			/* enum kv_lease_kind */
	__u32 hash;			/* of the key */
	__u64 writes, epoch;
	__u64 begun_ns;
	__u32 shared;			/* several requests under one number: replies do not end it */
	__u32 spare;
};

/* Key of map `connections`. */
struct kv_connection_key {
	__u32 client[4], server[4];
	__u32 port;
};

enum kv_connection_kind {
	KV_CONNECTION_NEW,
	KV_CONNECTION_READER,		/* never wrote */
	KV_CONNECTION_WRITER,		/* never did anything but write, one after the other */
	KV_CONNECTION_LOST,		/* anything else: every reply moves the epoch */
};

struct kv_connection {
	__u32 kind;			/* enum kv_connection_kind */
	__u32 next, out_next;		/* sequence numbers of the client's and the server's next byte */
	__u32 out_known;		/* out_next is set */
	__u32 body;			/* bytes of a value that are still to come */
	__u32 hash;			/* of the key of the write that waits for its reply */
	__u32 waits;			/* a write waits for its reply */
};

/* Map `counts`, per processor. */
enum kv_count {
	KV_HITS, KV_MISSES,
	KV_NO_ROOM,			/* of the misses: known, but the frame's buffer is too small for the answer */
	KV_WRITES, KV_OTHERS, KV_FILLS, KV_NOT_FILLED, KV_FLUSHES, KV_LOST_CONNECTIONS,
	KV_COUNTS
};

_Static_assert(KV_HEAD_BYTES % KV_PART_BYTES == 0, "parts of the head");
_Static_assert(sizeof(struct kv_bucket) == 56 + KV_REPLY_BYTES, "shared layout");
_Static_assert(sizeof(struct kv_lease_key) == 36, "a key without holes");
_Static_assert(sizeof(struct kv_connection_key) == 36, "a key without holes");
