/* The veth of the host's own traffic: host.h. */
#include "nat64/host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "nat64/netlink.h"

#define ROUTE_METRIC6 1024u		/* what the kernel takes by default */

static void name_make(const char *instance, char mark, char out[IFNAMSIZ])
{
	if (strlen(instance) <= 7)
		(void)snprintf(out, IFNAMSIZ, "prickle%c%s", mark, instance);
	else
		(void)snprintf(out, IFNAMSIZ, "prickle%c%07x", mark, crc32c(0, slice_str(instance)) >> 4);
}

void nat64_host_name(const char *instance, char out[IFNAMSIZ])
{
	name_make(instance, '-', out);
}

int nat64_host_index(const char *instance, uint32_t *ifindex)
{
	char name[IFNAMSIZ];

	nat64_host_name(instance, name);
	*ifindex = if_nametoindex(name);
	return *ifindex == 0 ? -ENODEV : 0;
}

/* No addresses by itself: nobody is at the other end. */
static void no_link_local(struct netlink_message *m)
{
	static const uint8_t none = IN6_ADDR_GEN_MODE_NONE;
	size_t families = netlink_nest(m, IFLA_AF_SPEC), family = netlink_nest(m, AF_INET6);

	netlink_put(m, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof(none));
	netlink_nest_end(m, family);
	netlink_nest_end(m, families);
}

static int make_pair(int fd, const char *name, const char *peer, struct errmsg *why)
{
	static const uint8_t mac[] = NAT64_HOST_MAC;
	static const struct ifinfomsg down = { .ifi_family = AF_UNSPEC };
	struct netlink_message m;
	size_t info, data, other;

	netlink_begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &down, sizeof(down));
	netlink_put_text(&m, IFLA_IFNAME, name);
	netlink_put(&m, IFLA_ADDRESS, mac, sizeof(mac));
	info = netlink_nest(&m, IFLA_LINKINFO);
	netlink_put_text(&m, IFLA_INFO_KIND, "veth");
	data = netlink_nest(&m, IFLA_INFO_DATA);
	other = m.len;
	netlink_put(&m, VETH_INFO_PEER, &down, sizeof(down));
	netlink_put_text(&m, IFLA_IFNAME, peer);
	netlink_nest_end(&m, other);
	netlink_nest_end(&m, data);
	netlink_nest_end(&m, info);
	return netlink_do(fd, &m, why);
}

/* An interface of that name that is no veth, or not with our address, is somebody else's. */
static int see_owner(void *arg, uint16_t type, struct slice body)
{
	static const uint8_t mac[] = NAT64_HOST_MAC;
	const char *name = arg;
	struct slice attributes, kind;
	struct ifinfomsg i;

	if (type != RTM_NEWLINK || !netlink_fixed(body, &i, sizeof(i), &attributes) ||
	    !slice_eq(netlink_attribute(attributes, IFLA_IFNAME), slice_of(name, strlen(name) + 1)))
		return 0;
	kind = netlink_attribute(netlink_attribute(attributes, IFLA_LINKINFO), IFLA_INFO_KIND);
	return slice_starts(kind, SLICE("veth")) && slice_eq(netlink_attribute(attributes, IFLA_ADDRESS), slice_of(mac, sizeof(mac))) ?
		       0 : -EEXIST;
}

static int check_owner(int fd, char *name, struct errmsg *why)
{
	static const struct ifinfomsg any = { .ifi_family = AF_UNSPEC };
	struct netlink_message m;
	int err;

	netlink_begin(&m, RTM_GETLINK, 0, &any, sizeof(any));
	err = netlink_dump(fd, &m, see_owner, name, why);
	if (err == -EEXIST)
		return errmsg_say(why, err, "an interface '%s' exists that is not ours: rename it, or give the instance another name", name);
	return err;
}

/* Up, without neighbours. */
static int set_up(int fd, uint32_t ifindex, uint32_t mtu, struct errmsg *why)
{
	struct ifinfomsg i = { .ifi_family = AF_UNSPEC, .ifi_index = (int)ifindex, .ifi_flags = IFF_UP | IFF_NOARP, .ifi_change = IFF_UP | IFF_NOARP };
	struct ifinfomsg same = { .ifi_family = AF_UNSPEC, .ifi_index = (int)ifindex };
	struct netlink_message m;
	int err;

	/* In two steps: the kernel takes the flags before the rest, and gives an address on the way up. */
	netlink_begin(&m, RTM_SETLINK, 0, &same, sizeof(same));
	netlink_put_u32(&m, IFLA_MTU, mtu);
	no_link_local(&m);
	err = netlink_do(fd, &m, why);
	if (err < 0)
		return err;
	netlink_begin(&m, RTM_SETLINK, 0, &i, sizeof(i));
	return netlink_do(fd, &m, why);
}

/* What hangs on the veth and is not wanted: asked for again, message for message, with RTM_DEL. */
struct sweep {
	uint32_t ifindex;
	const struct nat64_host *host;
	struct netlink_message remove[16];
	size_t count;
};

static int see_address(void *arg, uint16_t type, struct slice body)
{
	struct sweep *s = arg;
	struct slice attributes, local;
	struct ifaddrmsg a;

	if (type != RTM_NEWADDR || !netlink_fixed(body, &a, sizeof(a), &attributes) || a.ifa_index != s->ifindex || s->count == ARRAY_LEN(s->remove))
		return 0;
	local = netlink_attribute(attributes, IFA_LOCAL);
	if (slice_eq(local, slice_of(&s->host->clat4, 4)) && a.ifa_prefixlen == 32)
		return 0;
	netlink_begin(&s->remove[s->count], RTM_DELADDR, 0, &a, sizeof(a));
	netlink_put(&s->remove[s->count], IFA_LOCAL, local.ptr, local.len);
	s->count++;
	return 0;
}

static bool route_is_wanted(const struct nat64_host *host, const struct rtmsg *r, struct slice to)
{
	if (r->rtm_family == AF_INET)
		return host->clat4 != 0 && r->rtm_dst_len == 0;
	for (size_t i = 0; i < host->route_count; i++)
		if (host->routes[i].bits == r->rtm_dst_len && slice_eq(to, slice_of(host->routes[i].addr, 16)))
			return true;
	return false;
}

static int see_route(void *arg, uint16_t type, struct slice body)
{
	struct sweep *s = arg;
	struct slice attributes, to;
	struct rtmsg r;
	struct netlink_message *m;

	if (type != RTM_NEWROUTE || !netlink_fixed(body, &r, sizeof(r), &attributes) || r.rtm_protocol != NAT64_PROTOCOL ||
	    netlink_u32(attributes, RTA_OIF) != s->ifindex || s->count == ARRAY_LEN(s->remove))
		return 0;
	to = netlink_attribute(attributes, RTA_DST);
	if (route_is_wanted(s->host, &r, to))
		return 0;
	m = &s->remove[s->count++];
	r.rtm_flags = 0;
	netlink_begin(m, RTM_DELROUTE, 0, &r, sizeof(r));
	if (to.len > 0)
		netlink_put(m, RTA_DST, to.ptr, to.len);
	netlink_put_u32(m, RTA_OIF, s->ifindex);
	netlink_put_u32(m, RTA_PRIORITY, netlink_u32(attributes, RTA_PRIORITY));
	return 0;
}

static int sweep(int fd, uint32_t ifindex, const struct nat64_host *host, struct errmsg *why)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	AUTO_FREE struct sweep *s = calloc(1, sizeof(*s));
	struct netlink_message m;
	int err = 0;

	if (s == NULL)
		return errmsg_set(why, -ENOMEM, "the veth's routes");
	s->ifindex = ifindex;
	s->host = host;
	struct ifaddrmsg a = { .ifa_family = AF_INET, .ifa_index = ifindex };

	netlink_begin(&m, RTM_GETADDR, 0, &a, sizeof(a));
	err = netlink_dump(fd, &m, see_address, s, why);
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(families); i++) {
		struct rtmsg r = { .rtm_family = families[i] };

		netlink_begin(&m, RTM_GETROUTE, 0, &r, sizeof(r));
		err = netlink_dump(fd, &m, see_route, s, why);
	}
	for (size_t i = 0; err == 0 && i < s->count; i++) {
		err = netlink_do(fd, &s->remove[i], why);
		if (err == -ESRCH || err == -EADDRNOTAVAIL)	/* a route went with the address before it */
			err = 0;
	}
	return err;
}

static int add_clat4(int fd, uint32_t ifindex, __be32 clat4, struct errmsg *why)
{
	struct ifaddrmsg a = { .ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = ifindex };
	struct rtmsg r = {
		.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = NAT64_PROTOCOL,
		.rtm_scope = RT_SCOPE_LINK, .rtm_type = RTN_UNICAST,
	};
	struct netlink_message m;
	int err;

	netlink_begin(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &a, sizeof(a));
	netlink_put(&m, IFA_LOCAL, &clat4, 4);
	netlink_put(&m, IFA_ADDRESS, &clat4, 4);
	err = netlink_do(fd, &m, why);
	if (err < 0)
		return err;
	netlink_begin(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &r, sizeof(r));
	netlink_put_u32(&m, RTA_OIF, ifindex);
	netlink_put_u32(&m, RTA_PRIORITY, NAT64_HOST_METRIC);
	netlink_put(&m, RTA_PREFSRC, &clat4, 4);
	return netlink_do(fd, &m, why);
}

static int add_route6(int fd, uint32_t ifindex, const struct xlat_prefix *to, struct errmsg *why)
{
	struct rtmsg r = {
		.rtm_family = AF_INET6, .rtm_dst_len = to->bits, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = NAT64_PROTOCOL,
		.rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST,
	};
	struct netlink_message m;

	netlink_begin(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &r, sizeof(r));
	netlink_put(&m, RTA_DST, to->addr, 16);
	netlink_put_u32(&m, RTA_OIF, ifindex);
	netlink_put_u32(&m, RTA_PRIORITY, ROUTE_METRIC6);
	return netlink_do(fd, &m, why);
}

int nat64_host_make(const struct nat64_host *host, uint32_t *ifindex, struct errmsg *why)
{
	char name[IFNAMSIZ], peer[IFNAMSIZ];
	uint32_t mtu = (host->mtu == 0 ? 1500 : host->mtu) - (host->clat4 != 0 ? NAT64_HOST_GROWTH : 0);
	AUTO_FD int fd = netlink_open(why);
	uint32_t index, peer_index;
	int err;

	if (fd < 0)
		return fd;
	name_make(host->instance, '-', name);
	name_make(host->instance, '~', peer);
	err = check_owner(fd, name, why);
	if (err == 0 && if_nametoindex(name) == 0)
		err = make_pair(fd, name, peer, why);
	if (err < 0)
		return err;
	index = if_nametoindex(name);
	peer_index = if_nametoindex(peer);
	if (index == 0)
		return errmsg_set(why, -ENODEV, "interface '%s'", name);
	/* Somebody may have moved the other end elsewhere to look at what is left over; then it is theirs to keep up. */
	if (peer_index != 0)
		err = set_up(fd, peer_index, mtu, why);
	if (err == 0)
		err = set_up(fd, index, mtu, why);
	if (err == 0)
		err = sweep(fd, index, host, why);
	if (err == 0 && host->clat4 != 0)
		err = add_clat4(fd, index, host->clat4, why);
	for (size_t i = 0; err == 0 && i < host->route_count; i++)
		err = add_route6(fd, index, &host->routes[i], why);
	if (err == 0)
		*ifindex = index;
	return err;
}

int nat64_host_remove(const char *instance, struct errmsg *why)
{
	AUTO_FD int fd = netlink_open(why);
	struct ifinfomsg i = { .ifi_family = AF_UNSPEC };
	struct netlink_message m;
	char name[IFNAMSIZ];
	int err;

	if (fd < 0)
		return fd;
	nat64_host_name(instance, name);
	i.ifi_index = (int)if_nametoindex(name);
	if (i.ifi_index == 0)
		return 0;
	err = check_owner(fd, name, why);
	if (err < 0)
		return err;
	netlink_begin(&m, RTM_DELLINK, 0, &i, sizeof(i));
	err = netlink_do(fd, &m, why);
	return err == -ENODEV ? 0 : err;
}
