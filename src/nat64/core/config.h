/*
 * The configuration as packets see it: one value of the map `config`, written whole by the control program and
 * made current by one store (struct xlat_control.bank). What it says is settled when it is written: ranges are checked, durations
 * are ticks, masks are made.
 */
#pragma once
#include "nat64/core/types.h"

#define XLAT_CONFIG_ABI 1u

enum xlat_mode { XLAT_SIIT, XLAT_NAT64, XLAT_CLAT };

/* A translation prefix (RFC 6052): 32, 40, 48, 56, 64 or 96 bits. */
struct xlat_prefix {
	__be32 addr[4];			/* bits after the length are 0 */
	__u8 bits;
	__u8 global_only;		/* 64:ff9b::/96: never with a non-global IPv4 address (3.1) */
	__u8 spare[2];
};

/*
 * Sessions hold the index of their prefix, so prefixes that stay keep theirs. Where one went from before another the place is taken by
 * this, of an unassigned kind of groups: no packet is sent to it, and packets need not ask.
 */
#define XLAT_PREFIX_NONE 0xffffffffu
static inline bool xlat_prefix_none(const struct xlat_prefix *p)
{
	return p->addr[0] == XLAT_PREFIX_NONE;
}

/* Prefixes of other things; a mask saves the packet from making it. */
struct xlat_net6 { __be32 addr[4], mask[4]; };
struct xlat_net4 { __be32 addr, mask; };

/*
 * NAT64: addresses and ports that are given out. SIIT: IPv4 destinations that pref64 stands for (ports unused). The
 * k-th address has slot `slot + k`: its tables stay when rows come and go.
 */
struct xlat_pool {
	__u32 first;			/* host order */
	__u32 count;
	__u16 port_first, port_last;	/* host order; both included */
	__u32 slot;
	__u32 flags;			/* enum xlat_pool_flags */
	__u32 mark;			/* only for packets with this mark; 0: any */
};
enum xlat_pool_flags {
	XLAT_POOL_SHARED = 1 << 0,	/* an address of the host: what no mapping wants goes to the host */
	XLAT_POOL_DRAIN = 1 << 1,	/* keeps its mappings, gets no new ones */
};

/*
 * An explicit mapping (RFC 7757): IPv4 prefix and IPv6 prefix. The lesser of the two suffix lengths is copied; the rest is 0.
 * The value of both LPM tries.
 */
struct xlat_eam {
	__be32 addr6[4];
	__be32 addr4;
	__u8 bits6, bits4;
	__u16 spare;
	__u32 row;			/* line of the mapping in the configuration, for explain */
};
struct xlat_eam6_key { __u32 bits; __be32 addr[4]; };
struct xlat_eam4_key { __u32 bits; __be32 addr; };

enum xlat_filtering { XLAT_ENDPOINT_INDEPENDENT, XLAT_ADDRESS_DEPENDENT };
enum xlat_ports { XLAT_PORTS_SHARED, XLAT_PORTS_BLOCKS, XLAT_PORTS_DETERMINISTIC };
enum xlat_zero_checksum { XLAT_ZERO_COMPUTE, XLAT_ZERO_DROP };

enum xlat_config_flags {
	XLAT_TOS_COPY = 1 << 0,		/* else the traffic class becomes `tos` (7915 4.1, 5.1) */
	XLAT_ADMIN_PROHIBITED = 1 << 1,	/* answer drops of policy with "administratively prohibited" (4.4, 5.4) */
	XLAT_HAIRPIN = 1 << 2,
	XLAT_FTP = 1 << 3,		/* port 21 goes to the ALG (6384) */
	XLAT_LOG_SESSIONS = 1 << 4,	/* events with destinations; off by default (6888 REQ-12) */
	XLAT_LOG_MAPPINGS = 1 << 5,	/* an event for each mapping, when there are no blocks */
	XLAT_NEXTHOP_CACHE = 1 << 6,
	XLAT_ICMP_ERRORS = 1 << 7,	/* answer with ICMP errors at all */
	XLAT_EAM = 1 << 8,		/* there are explicit mappings */
};

/* Which timer an entry is under: indices of xlat_config.timeout. RFC 6146 4, RFC 7857. */
enum xlat_timer {
	XLAT_T_UDP, XLAT_T_ICMP, XLAT_T_TCP_ESTABLISHED, XLAT_T_TCP_TRANSITORY, XLAT_T_TCP_INCOMING_SYN,
	XLAT_T_FRAGMENT, XLAT_T_UDP_DNS /* port 53: RFC 4787 REQ-5(b) allows less */, XLAT_T_COUNT
};

struct xlat_config {
	__u32 abi, bytes;		/* XLAT_CONFIG_ABI, sizeof */
	__u32 serial;			/* grows with each apply */
	__u32 mode;			/* enum xlat_mode */
	__u32 flags;			/* enum xlat_config_flags */
	__u32 prefix_count, pool_count, pass6_count, pass4_count, subscriber_count, error_count;
	struct xlat_prefix prefix[XLAT_PREFIXES_MAX];
	struct xlat_pool pool[XLAT_POOLS_MAX];
	struct xlat_net6 pass6[XLAT_PASS_MAX];	/* destinations left to the host */
	struct xlat_net4 pass4[XLAT_PASS_MAX];
	/* Sources that may use a stateful translator, or none: all (uRPF is the host's matter). */
	struct xlat_net6 subscriber[XLAT_SUBSCRIBER_PREFIXES_MAX];
	/* RFC 6791: sources for ICMP errors from untranslatable IPv6 hosts; chosen by a hash of the address. */
	struct xlat_net4 error_pool[XLAT_ERROR_POOL_MAX];
	__be32 own4, own6[4];		/* sources of ICMP errors that we make; 0: none is known */
	__u32 lowest_mtu6;		/* lowest-ipv6-mtu: 1280 (7915 4) */
	__u32 mtu4, mtu6;		/* the most that links take, whatever routes say; 0: as they say */
	__u32 tos, zero_checksum, filtering;
	__u32 hairpin_eam;		/* RFC 7757 4: 0 none, 1 simple, 2 intrinsic */
	__u32 timeout[XLAT_T_COUNT];	/* ticks */
	/* Subscribers and ports. */
	__u32 subscriber_bits;		/* leading bits of the source that make a subscriber: 64 */
	__be32 subscriber_mask[4];
	__u32 ports;			/* enum xlat_ports */
	__u32 block_ports;		/* of a block: a power of two, 64 to 4096 */
	__u32 blocks_max;		/* of a subscriber */
	__u32 ports_max, sessions_max;	/* of a subscriber; 0: no limit */
	__u32 rate, burst;		/* new sessions a second of a subscriber; 0: no limit */
	__u32 quarantine;		/* ticks until a freed port is given out again (6888 REQ-8: 120 s) */
	/* Deterministic (RFC 7422): the number of a subscriber = bits [det_prefix_bits, det_subscriber_bits) of the source; see port.h. */
	__u32 det_prefix_bits, det_subscriber_bits, det_ports;
	__u32 errors_rate;		/* ICMP errors a second and processor */
	__u64 key[2];			/* of keyed hashes; secret, the same after a restart */
	/*
	 * The one network of each family that has all explicit mappings: an address outside needs no look-up in a trie. All 0: every
	 * address is looked up.
	 */
	struct xlat_net6 eam_span6;
	struct xlat_net4 eam_span4;
	__u32 spare[6];
};
_Static_assert(sizeof(struct xlat_config) % 8 == 0, "a map's value");
