/*
 * What the load balancer's device side (balancer.bpf.c) and its host side share: map layouts.
 *
 * A service is a virtual address, protocol and port. Each has a Maglev table that the host computes
 * over all configured back ends; new flows are looked up in it. Health is not in the table: a flow
 * whose entry is down tries further entries, so that a loss moves the flows of the lost back end and
 * no other, at once, and its return brings the same flows back. Established flows stay where they are
 * by a table of connections.
 *
 * Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; ports are in network byte order.
 */
#pragma once
#include <linux/types.h>

#define BALANCER_SERVICES_MAX	 64
#define BALANCER_VIPS_MAX	 256	/* keys: each service, and its address with port 0, for fragments */
#define BALANCER_BACKENDS_MAX	 512	/* of all services; index 0 is none */
#define BALANCER_MEMBERS_MAX	 64	/* back ends of one service */
#define BALANCER_TABLE_ENTRIES	 8191	/* prime, > 100 x members: uneven by about 1 % (Maglev paper, §3.4) */
#define BALANCER_CONNECTIONS_MAX 65536
#define BALANCER_WEIGHT_MAX	 100

enum balancer_method {
	BALANCER_DIRECT,		/* the frame as it is, to the back end's MAC; the VIP is on its lo */
	BALANCER_TUNNEL,		/* in an outer IPv4 or IPv6 header to the back end's address */
};

enum balancer_health {
	BALANCER_DOWN,			/* gets nothing; its flows move */
	BALANCER_UP,
	BALANCER_DRAIN,			/* keeps its flows, gets no new ones */
};

struct balancer_vip {
	__u32 address[4];
	__u16 port;
	__u8 protocol;			/* IPPROTO_TCP, IPPROTO_UDP */
	__u8 spare;
};

#define BALANCER_BY_CLIENT 1u		/* all flows of a client's address go to one back end */

/* Map `services`, by index; `vips` finds the index. */
struct balancer_service {
	struct balancer_vip vip;
	__u8 used;
	__u8 method;			/* enum balancer_method */
	__u8 buffer;			/* 0, 1: which of its two tables is read: the atomic switch */
	__u8 flags;			/* BALANCER_BY_CLIENT */
};

/* Map `backends`. */
struct balancer_backend {
	__u32 address[4];
	__u32 source[4];		/* outer source address of tunnels */
	__u32 serial;			/* tells a back end from an earlier one in the same place */
	__u16 service;
	__u16 weight;
	__u8 used;
	__u8 hops_known;		/* the last next hop that the neighbour table gave, kept for the time when it */
	__u8 hop_to[6], hop_from[6];	/* forgets; written by the device */
	__u8 spare[2];
	__u32 hop_ifindex;
};

/* Map `tables`, index service x 2 + buffer. */
struct balancer_table {
	__u16 entry[BALANCER_TABLE_ENTRIES];	/* indexes of back ends; 0: none */
	__u16 member[BALANCER_MEMBERS_MAX];	/* all of them, again and again: the last resort when entries are down */
};

/* Key of map `connections`; an LRU hash. */
struct balancer_flow {
	__u32 client[4], vip[4];
	__u16 client_port, vip_port;
	__u8 protocol;
	__u8 spare[3];			/* 0 */
};

struct balancer_connection {
	__u32 backend, serial;
	__u64 seen_ns;			/* CLOCK_MONOTONIC, coarse; moves once a second */
	__u8 closing;			/* FIN or RST was seen: a SYN begins anew */
	__u8 spare[7];
};

/* Key of map `fragments`: where later fragments of a datagram go. */
struct balancer_fragment {
	__u32 client[4], vip[4];
	__u32 id;
	__u32 protocol;
};

struct balancer_count {
	__u64 packets, bytes, flows;
};

/* Map `events`: why frames of services did not reach a back end, and what else happened. */
enum balancer_event {
	BALANCER_NO_BACKEND,		/* none is up: dropped */
	BALANCER_NO_ROUTE,		/* to the back end, or forwarding is off: dropped */
	BALANCER_NO_NEIGHBOUR,		/* its MAC is not known: dropped */
	BALANCER_TOO_BIG,		/* for the path: answered with ICMP */
	BALANCER_TOO_BIG_QUIET,		/* the same, over the rate of answers: dropped */
	BALANCER_NO_PORT,		/* the way out is a port that was not granted: dropped */
	BALANCER_LOST_FRAGMENT,		/* a later fragment before its first: dropped */
	BALANCER_ICMP_ERRORS,		/* about flows of services: forwarded */
	BALANCER_MOVED,			/* flows whose back end was down or gone */
	BALANCER_FAULT,			/* the frame could not be rewritten: dropped */
	BALANCER_EVENTS
};

_Static_assert(sizeof(struct balancer_vip) == 20, "a key without holes");
_Static_assert(sizeof(struct balancer_service) == 24, "shared layout");
_Static_assert(sizeof(struct balancer_backend) == 60, "shared layout");
_Static_assert(sizeof(struct balancer_flow) == 40, "a key without holes");
_Static_assert(sizeof(struct balancer_connection) == 24, "shared layout");
_Static_assert(BALANCER_TABLE_ENTRIES > 100 * BALANCER_MEMBERS_MAX, "evenness");

/* Messages (prickle/spine.h): handlers of balancer.bpf.c. */
struct balancer_set_health {
	__u16 backend;			/* index, as `prickle spine balance show` names it */
	__u16 health;			/* enum balancer_health */
	__u32 serial;			/* of the back end that is meant; 0: whichever has the index */
};
