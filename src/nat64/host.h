/*
 * The host's own traffic: packets that its programs send and get, next to those that it forwards.
 *
 *	program -> route -> veth "prickle-NAME", egress: tc-out translates -> uplink
 *	uplink, ingress: tc-in translates -> veth "prickle-NAME", as if it had come in there -> program
 *
 * The veth has no neighbours (NOARP), so packets leave at once; its other end, "prickle-NAME~" or what fits in 15 letters,
 * only keeps it up. Its MTU is 28 less than the uplink's: what IPv4 sends, fragments included, fits when it is IPv6.
 *
 *	CLAT	address clat4/32 on the veth and an IPv4 default route through it, with a metric that native ones beat; clat6/128
 *		on the uplink without a route of its own, so that the kernel does DAD and answers neighbours.
 *	NAT64	a route for each translation prefix through the veth.
 *
 * All is found again by name: nothing has to be remembered, and making twice is making once. Everything acts in
 * the network namespace of the calling thread.
 */
#pragma once
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/errmsg.h"
#include "nat64/core/config.h"

#define NAT64_HOST_METRIC 2048u		/* of the default route: a native one wins */
#define NAT64_PROTOCOL 64u		/* who made a route or an address: 64 (rtm_protocol, IFA_PROTO) */
#define NAT64_HOST_GROWTH 28u		/* IPv6 header and fragment header less IPv4 header */

/* What the veth's end has as link address: programs write it into frames for the host. */
#define NAT64_HOST_MAC { 0x02, 0x50, 0x52, 0x4b, 0x36, 0x34 }

struct nat64_host {
	const char *instance;
	uint32_t mtu;			/* of the uplink; 0: 1500 */
	__be32 clat4;			/* 0: none */
	const struct xlat_prefix *routes;	/* NAT64: translation prefixes */
	size_t route_count;
};

/* The name of the instance's veth: "prickle-NAME", a hash in place of a NAME above 7 letters. */
void nat64_host_name(const char *instance, char out[IFNAMSIZ]);
/*
 * Make the veth what *host says (it may exist), with addresses, routes, offloads; those of an earlier call that are not wanted any more go.
 * Before the filter is attached to it nothing leaves: attach after. *ifindex is the end that programs use.
 */
MUST_USE int nat64_host_make(const struct nat64_host *host, uint32_t *ifindex, struct errmsg *why);
/* Take it away, with its routes and addresses. 0 also when there is none. */
MUST_USE int nat64_host_remove(const char *instance, struct errmsg *why);
/* Its interface index, or -ENODEV. */
MUST_USE int nat64_host_index(const char *instance, uint32_t *ifindex);

/*
 * CLAT addresses on an uplink. Ours are marked by a protocol of 64 (IFA_PROTO, `ip -d addr` shows it; Linux 5.18) and
 * nothing else is touched. _set makes clat6 the only one of ours there.
 */
MUST_USE int nat64_uplink_set(uint32_t ifindex, const __be32 clat6[4], struct errmsg *why);
MUST_USE int nat64_uplink_clear(uint32_t ifindex, struct errmsg *why);

struct nat64_uplink {
	uint32_t ifindex, mtu;
	__be32 prefix[4];		/* a /64 of it: of a global address that is neither temporary nor deprecated nor ours */
	bool has_prefix;
	bool refused;			/* DAD found another owner of our address */
};
/* Look at an uplink. 0; -ENODEV. */
MUST_USE int nat64_uplink_look(const char *interface, struct nat64_uplink *out, struct errmsg *why);
/*
 * The CLAT's address in the /64 `prefix`: its interface identifier is a keyed hash (stable, RFC 7217), with 16 bits
 * chosen so that transport checksums stay as they are for clat4 and this translation prefix
 * (draft-ietf-v6ops-claton, RFC 6877 6.3). `attempt` grows when DAD fails.
 */
void nat64_clat6(const __be32 prefix[4], const struct xlat_prefix *pref64, __be32 clat4, const __u64 key[2], uint32_t attempt, __be32 out[4]);
