/*
 * What changes in the namespace: rtnetlink tells, and programs must not go on with what they remember. A next hop lives for a
 * second at most, so what is missed here costs a second.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/netlink.h"
#include "nat64/run_private.h"

#define RECEIVE_BUFFER	  (4 << 20)
#define MESSAGES_A_ROUND  256
#define HOPS_LOOKED_AT	  4096u
#define NEIGHBOURS_A_TURN 64u

int watch_open(struct errmsg *why)
{
	struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
			     RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_RULE,
	};
	int bytes = RECEIVE_BUFFER;
	AUTO_FD int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return errmsg_set(why, -errno, "listen to rtnetlink");
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	return TAKE_FD(fd);
}

/* A neighbour that is looked at again and found where it was changes nothing. */
static unsigned seen_neighbour(struct slice body)
{
	struct slice attributes;
	struct ndmsg fixed;

	if (!netlink_fixed(body, &fixed, sizeof(fixed), &attributes))
		return 0;
	return (fixed.ndm_state & (NUD_STALE | NUD_DELAY | NUD_PROBE)) != 0 ? 0 : WATCH_ROUTES;
}

static unsigned seen(uint16_t type, struct slice body)
{
	switch (type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return WATCH_LINKS | WATCH_ROUTES;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return WATCH_ADDRESSES | WATCH_ROUTES;
	case RTM_NEWNEIGH:
		return seen_neighbour(body);
	case RTM_DELNEIGH:
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
	case RTM_NEWRULE:
	case RTM_DELRULE:
		return WATCH_ROUTES;
	default:
		return 0;
	}
}

unsigned watch_read(int fd)
{
	_Alignas(8) uint8_t bytes[32768];
	unsigned all = 0;

	for (int round = 0; round < MESSAGES_A_ROUND; round++) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		size_t left = n < 0 ? 0 : (size_t)n, at = 0;

		if (n < 0)
			return errno == ENOBUFS ? WATCH_ROUTES | WATCH_ADDRESSES | WATCH_LINKS : all;
		while (left - at >= sizeof(struct nlmsghdr)) {
			struct nlmsghdr head;

			memcpy(&head, bytes + at, sizeof(head));
			if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > left - at)
				break;
			all |= seen(head.nlmsg_type, slice_of(bytes + at + sizeof(head), head.nlmsg_len - sizeof(head)));
			if (NLMSG_ALIGN(head.nlmsg_len) >= left - at)
				break;
			at += NLMSG_ALIGN(head.nlmsg_len);
		}
	}
	return all;
}

/* --- neighbours ------------------------------------------------------------------------------------------ */

/* Link addresses to which programs send now. */
struct used {
	struct { uint32_t ifindex; uint8_t mac[6]; } hop[NEIGHBOURS_A_TURN];
	size_t count;
	int fd;
	struct { struct ndmsg fixed; uint8_t addr[16]; size_t addr_bytes; } stale[NEIGHBOURS_A_TURN];
	size_t stale_count;
};

static void add_hop(struct used *u, const struct xlat_nexthop *h)
{
	for (size_t i = 0; i < u->count; i++)
		if (memcmp(u->hop[i].mac, h->to, sizeof(h->to)) == 0)
			return;
	if (u->count == NEIGHBOURS_A_TURN)
		return;
	u->hop[u->count].ifindex = h->ifindex;
	memcpy(u->hop[u->count++].mac, h->to, sizeof(h->to));
}

static void read_hops(struct nat64 *n, struct used *u)
{
	struct xlat_nexthop_key key, *at = NULL, next;
	struct xlat_nexthop hop;
	int fd = nat64_map(n, "nexthop");
	uint32_t now = run_tick();

	if (fd < 0)
		return;
	for (uint32_t i = 0; i < HOPS_LOOKED_AT && bpf_map_get_next_key(fd, at, &next) == 0; i++) {
		/* Used in the last ten seconds: then it is in use. */
		if (bpf_map_lookup_elem(fd, &next, &hop) == 0 && !xlat_passed(now, hop.until + XLAT_TICKS(10000)))
			add_hop(u, &hop);
		key = next;
		at = &key;
	}
}

static int look_at_neighbour(void *arg, uint16_t type, struct slice body)
{
	struct used *u = arg;
	struct slice attributes, mac, addr;
	struct ndmsg fixed;

	if (type != RTM_NEWNEIGH || !netlink_fixed(body, &fixed, sizeof(fixed), &attributes) ||
	    (fixed.ndm_state & NUD_STALE) == 0 || u->stale_count == NEIGHBOURS_A_TURN)
		return 0;
	mac = netlink_attribute(attributes, NDA_LLADDR);
	addr = netlink_attribute(attributes, NDA_DST);
	if (mac.len != 6 || addr.len == 0 || addr.len > 16)
		return 0;
	for (size_t i = 0; i < u->count; i++) {
		if (memcmp(u->hop[i].mac, mac.ptr, 6) != 0)
			continue;
		u->stale[u->stale_count].fixed = fixed;
		u->stale[u->stale_count].addr_bytes = addr.len;
		memcpy(u->stale[u->stale_count++].addr, addr.ptr, addr.len);
		break;
	}
	return 0;
}

void watch_keep_neighbours(struct nat64 *n)
{
	struct ndmsg fixed = { .ndm_family = AF_UNSPEC };
	struct used u = { 0 };
	struct netlink_message m;
	struct errmsg why;

	read_hops(n, &u);
	if (u.count == 0)
		return;
	AUTO_FD int fd = netlink_open(&why);
	if (fd < 0)
		return;
	netlink_begin(&m, RTM_GETNEIGH, 0, &fixed, sizeof(fixed));
	if (netlink_dump(fd, &m, look_at_neighbour, &u, &why) != 0)
		return;
	for (size_t i = 0; i < u.stale_count; i++) {
		struct ndmsg ask = { .ndm_family = u.stale[i].fixed.ndm_family, .ndm_ifindex = u.stale[i].fixed.ndm_ifindex,
				     .ndm_flags = NTF_USE };

		netlink_begin(&m, RTM_NEWNEIGH, NLM_F_REPLACE, &ask, sizeof(ask));
		netlink_put(&m, NDA_DST, u.stale[i].addr, u.stale[i].addr_bytes);
		(void)!netlink_do(fd, &m, &why);
	}
}
