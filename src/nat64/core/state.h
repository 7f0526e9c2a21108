/*
 * Layouts of the translator's state: values and keys of the pinned maps. A change of any needs a new XLAT_STATE_ABI.
 *
 * A mapping (BIB entry, RFC 6146 3.1) joins an inside address and port with one of the pool; a session (3.2) is a mapping and
 * a remote address and port. Both live in slabs - arrays with a free list - so that expiry can walk them by a cursor:
 *
 *	session	    hash	struct xlat_session_key -> struct xlat_session	   the one look-up of an outgoing packet
 *	slot	    array	struct xlat_slot: what the walk needs to find a session by number
 *	bib6	    hash	struct xlat_bib6_key -> number of the mapping
 *	bib	    array	struct xlat_bib
 *	pool	    array of arrays: slot of a pool address -> its ports and blocks (struct xlat_port_group)
 *	subscriber6 hash	masked source -> number; subscriber: array of struct xlat_subscriber
 *	fragment    LRU hash	struct xlat_fragment_key -> struct xlat_fragment
 *	slow	    LRU hash	struct xlat_slow_key -> tick until which the flow stays slow
 *	control	    array of 1, mapped by programs: struct xlat_control
 *	stats	    per-processor array of 1: struct xlat_stats
 *	config	    array of 2: struct xlat_config
 *	eam6, eam4  arrays of 2 LPM tries: struct xlat_eam
 *	events	    ring buffer: struct xlat_event
 *	nexthop	    LRU hash	struct xlat_nexthop_key -> struct xlat_nexthop
 *	ftp	    hash	struct xlat_session_key -> struct xlat_ftp: control connections of the FTP ALG
 *	device	    hash	interface index -> struct xlat_device
 *	own	    array	struct xlat_own, at the interface's index modulo XLAT_OWN_PLACES or behind it
 *
 * An incoming packet: port table -> mapping -> session key -> session. Memory a session with a mapping of its own: session 128,
 * slot 16, bib6 96, bib 64, port 4 to 12: at most 316 bytes.
 *
 * Who writes: programs in the kernel alone (the daemon asks by SYSCALL programs), but for `config`, `eam*`, `nexthop`,
 * `ftp` (the daemon's slow path alone; no program looks at it) and the marked fields of `control`. Number 0 of each slab is never given out: 0 means none.
 */
#pragma once
#include "nat64/core/config.h"

#define XLAT_STATE_ABI 3u

struct xlat_session_key {
	__be32 src6[4];
	__be32 dst4;			/* remote address */
	__be16 sport, dport;		/* inside, remote; ICMP: identifier, 0 */
	__u8 protocol;			/* XLAT_TCP, XLAT_UDP, XLAT_ICMP; | XLAT_PERMIT: a permission of address-dependent filtering */
	__u8 prefix;			/* index of the translation prefix */
	__u16 zero;
};
#define XLAT_PERMIT 0x80u		/* key with dport 0; session.expires counts its sessions */
_Static_assert(sizeof(struct xlat_session_key) == 28, "no holes");

/* RFC 6146 3.5.2.2 */
enum xlat_tcp_state {
	XLAT_CLOSED, XLAT_V4_INIT, XLAT_V6_INIT, XLAT_ESTABLISHED, XLAT_V4_FIN, XLAT_V6_FIN, XLAT_V4_V6_FIN, XLAT_TRANS,
	XLAT_TCP_STATES
};
enum xlat_session_flags {
	XLAT_SESSION_ALG = 1 << 0,	/* its packets take the slow path */
	XLAT_SESSION_ANSWERED = 1 << 1,	/* something came back: not the first to go when tables are full */
	XLAT_SESSION_PROBED = 1 << 2,
	XLAT_SESSION_PERMITS = 1 << 3,	/* it counts in the permission of its address */
	XLAT_SESSION_INBOUND = 1 << 4,	/* the outside began it */
};

struct xlat_session {
	__u32 bib, slot;
	__be32 addr4;			/* copy of the mapping's, so that outgoing packets need no second look-up */
	__be16 port4;
	__u8 state;			/* enum xlat_tcp_state; 0 for others */
	__u8 flags;
	__u32 expires;			/* tick, never 0; 0: somebody is ending or renewing it (slab.h) */
	__u32 subscriber;
	__u32 created;			/* tick */
	__u32 tag;			/* of its key (session.h): whose entry this is */
};
_Static_assert(sizeof(struct xlat_session) == 32, "memory of a session");

struct xlat_slot {
	__u32 bib;			/* 0: free */
	__be32 dst4;
	__be16 dport;
	__u8 protocol, prefix;
	__u32 next;			/* free list */
};
_Static_assert(sizeof(struct xlat_slot) == 16, "memory of a session");

struct xlat_bib6_key {
	__be32 addr6[4];
	__be16 port6;
	__u8 protocol, zero;
};
_Static_assert(sizeof(struct xlat_bib6_key) == 20, "no holes");

enum xlat_bib_flags {
	XLAT_BIB_STATIC = 1 << 0,
	XLAT_BIB_ALG = 1 << 1,		/* made by the ALG: stays until `expires` without a session */
	XLAT_BIB_ENDS = 1 << 2,		/* removed by hand: no new sessions */
	XLAT_BIB_DEAD = 1 << 3,		/* since the tick `expires`; the number waits to be free */
	XLAT_BIB_ANSWERED = 1 << 4,	/* one of its sessions was */
};

struct xlat_bib {
	struct xlat_bib6_key key;
	__be32 addr4;
	__be16 port4;
	__u16 flags;
	__u32 refs;			/* sessions, and 1 for static or ALG entries; 0: dead or free */
	__u32 subscriber;
	__u32 slot;			/* of the pool address */
	__u32 created, expires;		/* ticks; expires of ALG and dead entries */
	__u32 next;			/* free list */
	__u32 prefix;			/* of the packet that made it: where to look for its sessions first */
	__u32 block;			/* that the port was taken in: its number + 1; 0 none */
	__u32 spare;
};
_Static_assert(sizeof(struct xlat_bib) == 64, "one cache line");

/*
 * Ports of a pool address: entry (class, port) with class 0 TCP, 1 UDP, 2 ICMP. 0: free; high bit clear: number of the mapping; high bit
 * set: freed, and the low 31 bits are the tick (without its lowest bit) until which it rests. Taken by compare and swap.
 */
#define XLAT_PORT_CLASSES    3u
#define XLAT_PORT_RESTS	     0x80000000u
#define XLAT_GROUP_PORTS     16u
#define XLAT_GROUPS	     (65536u * XLAT_PORT_CLASSES / XLAT_GROUP_PORTS)	/* of ports */
#define XLAT_GROUP_BLOCKS    8u
#define XLAT_BLOCKS_ADDRESS  1024u		/* port blocks of an address, at 64 ports each */
#define XLAT_BLOCK_GROUPS    (XLAT_BLOCKS_ADDRESS / XLAT_GROUP_BLOCKS)
struct xlat_port_group {
	union {
		__u32 port[XLAT_GROUP_PORTS];
		struct xlat_block {
			__u32 owner;	/* number of the subscriber; 0 free; high bit: rests, as for ports */
			__u32 used;	/* ports of it in use, all classes */
		} block[XLAT_GROUP_BLOCKS];
	};
};
_Static_assert(sizeof(struct xlat_port_group) == 64, "one cache line");
#define XLAT_POOL_GROUPS (XLAT_GROUPS + XLAT_BLOCK_GROUPS)	/* entries of an inner map; blocks follow the ports */

struct xlat_subscriber_key { __be32 addr[4]; };

struct xlat_subscriber {
	__be32 addr[4];
	__u32 sessions, mappings;	/* in use now; it goes when both are 0 and no block is held */
	__u32 address;			/* slot of its pool address + 1 (paired pooling, RFC 4787 REQ-2); 0: none yet */
	__u32 row;			/* of pool[] */
	__u32 tokens, token_tick;	/* of the rate; tokens in parts (subscriber.h); one word for compare and swap */
	__u16 block[XLAT_BLOCKS_MAX];	/* 1 + number of the block; 0 none */
	__u32 refused;			/* packets, since it came */
	__u32 created;
	__u32 next;			/* free list */
	__u32 busy;			/* compare and swap: one processor takes a block or ends it */
	__u16 block_slot[XLAT_BLOCKS_MAX];	/* the pool address of each block */
	__u32 block_idle[XLAT_BLOCKS_MAX];	/* tick since when nothing uses it; 0: something does */
	__u32 state;			/* 0 free, 1 in use, 2 ended at tick token_tick */
	__u32 spare;
};
#define XLAT_SUBSCRIBER_DEAD 0x80000000u	/* in `sessions`: ended, or about to be */
_Static_assert(sizeof(struct xlat_subscriber) == 128, "two cache lines");

/* Fragments after the first, and fragments of a datagram in the other direction: found by what all of them have. */
struct xlat_fragment_key {
	__be32 src[4], dst[4];
	__u32 id;
	__u8 protocol, family, zero[2];
};
struct xlat_fragment {
	__be32 src[4], dst[4];		/* translated */
	__u32 until;			/* tick */
	__u32 id;			/* translated */
	__u32 drop;			/* enum xlat_reason: the first one was dropped, so are they */
	__u32 family;			/* of these addresses */
};

struct xlat_slow_key { __be32 src[4], dst[4]; __u8 family, protocol, zero[2]; };

struct xlat_slab {
	__u64 free;			/* head: number | count of changes << 32; compare and swap */
	__u32 fresh;			/* numbers from here on were never used */
	__u32 count;			/* numbers below this exist */
	__u32 used;
	__u32 cursor;			/* of the walk */
	__u64 spare;
};

enum xlat_slab_id { XLAT_SLAB_SESSION, XLAT_SLAB_BIB, XLAT_SLAB_SUBSCRIBER, XLAT_SLABS };

/* What `prickle nat64 trace` follows; all that is 0 matches anything. */
struct xlat_trace_filter {
	__be32 addr6[4], addr4;
	__be16 port;			/* of either side */
	__u8 protocol;
	__u8 on;
};

struct xlat_control {
	__u32 abi;			/* XLAT_STATE_ABI; written by the control program, as all down to `slab` */
	__u32 bank;			/* 0 or 1: which configuration holds */
	__u32 generation;		/* grows with every apply */
	__u32 nexthop_generation;	/* grows when routes or neighbours change: older next hops are void */
	__u32 slow_ifindex;		/* the TAP; 0: no slow path */
	__u32 slow_beat;		/* tick of the daemon's last sign of life; too old: no slow path */
	__u32 local_ifindex;		/* the veth of the host's own traffic, or 0 */
	__u32 lookup_ifindex;		/* the device as which routes are looked up: forwarding is on there */
	__u32 clock_fixed, random_fixed;	/* tests: use the next two */
	__u64 clock_ns, random;
	struct xlat_trace_filter trace;
	__u32 home;			/* for people: 1 XDP, 2 tc, 3 both */
	__u32 walk_period_ms, walk_batch;
	__u32 walk_running;		/* tick of the last walk */
	__u32 slow_until;		/* tick: no entry of `slow` holds longer; so most packets need not look */
	__u32 spare32;
	__u64 spare[7];
	struct xlat_slab slab[XLAT_SLABS];
};

enum xlat_reason {
#define REASON(name, ...) XLAT_R_##name,
#include "nat64/core/reasons.def"
#undef REASON
	XLAT_REASONS
};

enum xlat_verdict {
	XLAT_PASS,			/* not ours: to the host, untouched */
	XLAT_DROP,
	XLAT_TRANSLATE,			/* the edit is made */
	XLAT_ERROR,			/* drop it and answer with the ICMP error that the edit holds */
	XLAT_SLOW,			/* to the slow path, untouched */
	XLAT_VERDICTS
};

struct xlat_stats {
	__u64 reason[XLAT_VERDICTS][128];	/* by verdict and enum xlat_reason; [TRANSLATE][NONE] is the plain case */
	__u64 packets[2], bytes[2];	/* translated, in bytes of IP as they arrived; [0] 6 to 4, [1] 4 to 6 */
	__u64 hairpins, errors_sent;
	__u64 sessions_made, sessions_ended, mappings_made, mappings_ended, blocks_taken, blocks_freed;
	__u64 port_tries;		/* entries looked at to find free ports */
	__u64 events_lost;		/* the ring was full */
	__u64 nexthop_hits, nexthop_misses;
	__u64 spare[8];
};
_Static_assert(XLAT_REASONS <= 128, "a row of stats");

enum xlat_event_kind {
	XLAT_EVENT_BLOCK_TAKEN, XLAT_EVENT_BLOCK_FREED,
	XLAT_EVENT_MAPPING_MADE, XLAT_EVENT_MAPPING_ENDED,
	XLAT_EVENT_SESSION_MADE, XLAT_EVENT_SESSION_ENDED,
	XLAT_EVENT_PROBE,		/* an established TCP session fell silent: ask the inside host (6146 3.5.2.2) */
	XLAT_EVENT_TRACE
};

/* A record of the ring `events`. Fields that a kind has no use for are 0. */
struct xlat_event {
	__u64 time_ns;			/* CLOCK_MONOTONIC, or the injected clock */
	__u16 kind;
	__u16 reason;			/* TRACE: enum xlat_reason */
	__u8 verdict, family;		/* TRACE: family as it arrived */
	__u8 protocol, prefix;
	__be32 addr6[4];		/* subscriber or inside host */
	__be32 addr4, remote4;		/* pool address, remote address */
	__be16 port6, port4, remote_port;
	__u16 ports;			/* of the block */
	__be32 src[4], dst[4];		/* TRACE: as it arrived */
	__be16 sport, dport;
	__u32 bytes;
	__be32 new_src[4], new_dst[4];	/* TRACE: as translated */
	__be16 new_sport, new_dport;
	__u32 mark, ifindex;
};

struct xlat_nexthop_key { __be32 addr[4]; __u32 family, zero; };
struct xlat_nexthop {
	__u32 generation, until;	/* valid while both hold */
	__u32 ifindex;
	__u16 mtu;
	__u8 to[6], from[6];
	__u16 flags;			/* enum xlat_nexthop_flags; VLAN << XLAT_HOP_VLAN_SHIFT */
};

/*
 * A control connection of the FTP ALG (slow/ftp.h): all that it remembers, so that kill -9 breaks none. Numbers of sequence are those
 * of the side that sends (`at`, `next`, `acked`) as it knows them itself.
 */
#define XLAT_FTP_EDITS	      4u
#define XLAT_FTP_TEXT_BYTES   88u
#define XLAT_FTP_PENDING      8u
struct xlat_ftp_edit {
	__u32 at;			/* where the bytes that are replaced begin */
	__u16 old_bytes, new_bytes;
	__u8 text[XLAT_FTP_TEXT_BYTES];	/* what stands in their place; of an unfinished line: the line so far */
};
_Static_assert(sizeof(struct xlat_ftp_edit) == 96, "no holes");
struct xlat_ftp_side {
	__u32 next;			/* lines were read up to here */
	__u32 acked;			/* the other side has acknowledged up to here */
	__s32 base;			/* bytes that were added before edit[0] */
	__u8 edits;			/* the last ones, oldest first */
	__u8 held;			/* the last edit is the beginning of a line, kept until its end comes */
	__u8 in_line;			/* within a line that goes on as it is */
	__u8 known;			/* next is valid */
	struct xlat_ftp_edit edit[XLAT_FTP_EDITS];
};
struct xlat_ftp {
	struct xlat_ftp_side side[2];	/* client, server */
	__u8 flags;			/* enum of slow/ftp.c */
	__u8 pending;			/* commands without their reply */
	__u16 reply;			/* code of a reply of several lines that is being read; 0 */
	__u8 kind[XLAT_FTP_PENDING];	/* of these commands, oldest first */
	__u16 window[2];		/* last seen of each side, as on the wire */
	__u32 stamp[2];			/* last timestamp of each side (RFC 7323) */
	__u32 spare[2];
};
_Static_assert(sizeof(struct xlat_ftp) == 832, "no holes");
enum xlat_nexthop_flags {
	XLAT_HOP_REDIRECT = 1 << 0,	/* the device speaks Ethernet and can be redirected to */
};
#define XLAT_HOP_VLAN_SHIFT 4

/*
 * A device to which programs may send by themselves (map `device`, by interface index; written by the control program). Packets
 * for all others go by the slow path: tunnels, bridges, and veths whose other end does not poll. A VLAN device is here with the
 * Ethernet device below it, and its number.
 */
struct xlat_device {
	__u32 ifindex;			/* to which to redirect */
	__u16 vlan;			/* the tag that frames get; 0: none */
	__u16 spare;
};

/*
 * The link address of an interface that runs the XDP program: frames to other addresses, which come in a bridge or when somebody
 * captures, are not for this host. One whose two places are others' takes all frames.
 */
struct xlat_own {
	__u32 ifindex;			/* 0: nobody */
	__u8 mac[6];
	__u8 zero[2];
};
#define XLAT_OWN_PLACES 1024u
_Static_assert(sizeof(struct xlat_own) == 12, "no holes");

/* The daemon lives when it wrote slow_beat within this time. */
#define XLAT_SLOW_BEAT_TICKS XLAT_TICKS(3000)
