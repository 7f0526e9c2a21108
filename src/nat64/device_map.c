/*
 * The map `device`: to which devices programs may send by themselves. A redirect of XDP to a device that is not ready for it
 * is lost without a word, so only devices that are sure get in; packets for all others take the slow path, which is the
 * kernel's own way to send.
 *
 *	Ethernet hardware  while it runs an XDP program: most drivers make the queues for redirects only then
 *	veth		   when the other end polls: it has GRO or an XDP program. It may be in any namespace, so we look there
 *	VLAN device	   with the device below it
 *
 * tc has no such condition: an instance that is attached by tc alone may send to every device with Ethernet headers.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/host.h"
#include "nat64/instance_private.h"
#include "nat64/netlink.h"
#include "spine/host.h"

enum kind { KIND_OTHER, KIND_HARDWARE, KIND_VETH, KIND_VLAN };

struct link {
	uint32_t ifindex;
	enum kind kind;
	bool xdp;			/* runs a program, natively */
	bool polls;			/* veth: the other end does */
	uint32_t below;			/* VLAN: the device; veth: the other end's index */
	int32_t nsid;			/* veth: of the other end's namespace; -1: this one */
	uint16_t vlan;
	uint8_t mac[6];
};

struct links {
	struct link link[NAT64_LINKS_MAX];
	size_t count;
	uint32_t ours[2];		/* TAP, veth of the host's own traffic */
	int nsids;			/* netlink socket of our namespace */
};

/* --- what there is ------------------------------------------------------------------------------------- */

static bool native_xdp(struct slice attributes)
{
	struct slice xdp = netlink_attribute(attributes, IFLA_XDP);
	struct slice attached = netlink_attribute(xdp, IFLA_XDP_ATTACHED);

	return attached.len == 1 && (attached.ptr[0] == XDP_ATTACHED_DRV || attached.ptr[0] == XDP_ATTACHED_MULTI);
}

static enum kind kind_of(struct slice info, struct link *l)
{
	struct slice kind = netlink_attribute(info, IFLA_INFO_KIND);
	struct slice vlan;

	if (kind.ptr == NULL)
		return KIND_HARDWARE;
	if (kind.len > 0 && kind.ptr[kind.len - 1] == '\0')
		kind.len--;
	if (slice_eq(kind, SLICE("veth")))
		return KIND_VETH;
	vlan = netlink_attribute(netlink_attribute(info, IFLA_INFO_DATA), IFLA_VLAN_ID);
	if (!slice_eq(kind, SLICE("vlan")) || vlan.len != sizeof(l->vlan))
		return KIND_OTHER;
	memcpy(&l->vlan, vlan.ptr, sizeof(l->vlan));
	return KIND_VLAN;
}

static int add_link(void *arg, uint16_t type, struct slice body)
{
	struct links *all = arg;
	struct link *l = &all->link[all->count];
	struct slice attributes, nsid, mac;
	struct ifinfomsg fixed;

	if (type != RTM_NEWLINK || !netlink_fixed(body, &fixed, sizeof(fixed), &attributes) || fixed.ifi_type != ARPHRD_ETHER)
		return 0;
	if (all->count == NAT64_LINKS_MAX || (fixed.ifi_flags & IFF_UP) == 0 || (uint32_t)fixed.ifi_index == all->ours[0] ||
	    (uint32_t)fixed.ifi_index == all->ours[1])
		return 0;
	*l = (struct link){ .ifindex = (uint32_t)fixed.ifi_index, .nsid = -1, .xdp = native_xdp(attributes),
			    .below = netlink_u32(attributes, IFLA_LINK) };
	l->kind = kind_of(netlink_attribute(attributes, IFLA_LINKINFO), l);
	nsid = netlink_attribute(attributes, IFLA_LINK_NETNSID);
	if (nsid.len == sizeof(l->nsid))
		memcpy(&l->nsid, nsid.ptr, sizeof(l->nsid));
	mac = netlink_attribute(attributes, IFLA_ADDRESS);
	if (mac.len == sizeof(l->mac))
		memcpy(l->mac, mac.ptr, sizeof(l->mac));
	all->count++;
	return 0;
}

static int read_links(struct links *all, struct errmsg *why)
{
	struct ifinfomsg fixed = { .ifi_family = AF_UNSPEC };
	struct netlink_message m;
	AUTO_FD int fd = netlink_open(why);

	if (fd < 0)
		return fd;
	netlink_begin(&m, RTM_GETLINK, 0, &fixed, sizeof(fixed));
	return netlink_dump(fd, &m, add_link, all, why);
}

/* --- the other ends of veths ------------------------------------------------------------------------------- */

static bool has_gro(uint32_t ifindex)
{
	struct ethtool_value value = { .cmd = ETHTOOL_GGRO };
	struct ifreq r = { 0 };
	AUTO_FD int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0 || if_indextoname(ifindex, r.ifr_name) == NULL)
		return false;
	r.ifr_data = (char *)&value;
	return ioctl(s, SIOCETHTOOL, &r) == 0 && value.data != 0;
}

struct wanted_xdp { uint32_t ifindex; bool found; };

static int find_xdp(void *arg, uint16_t type, struct slice body)
{
	struct wanted_xdp *w = arg;
	struct slice attributes;
	struct ifinfomsg fixed;

	if (type == RTM_NEWLINK && netlink_fixed(body, &fixed, sizeof(fixed), &attributes) && (uint32_t)fixed.ifi_index == w->ifindex)
		w->found = native_xdp(attributes);
	return 0;
}

static bool polls(uint32_t ifindex)
{
	struct wanted_xdp w = { .ifindex = ifindex };
	struct ifinfomsg fixed = { .ifi_family = AF_UNSPEC };
	struct netlink_message m;
	struct errmsg why;

	if (has_gro(ifindex))
		return true;
	AUTO_FD int fd = netlink_open(&why);
	if (fd < 0)
		return false;
	netlink_begin(&m, RTM_GETLINK, 0, &fixed, sizeof(fixed));
	return netlink_dump(fd, &m, find_xdp, &w, &why) == 0 && w.found;
}

/* Our number for a namespace; -1: it has none, so no device of ours leads there. */
static int nsid_of(int s, int netns_fd)
{
	struct { struct nlmsghdr head; struct rtgenmsg fixed; uint8_t pad[3]; struct nlattr fd; int32_t value; } ask = {
		.head = { .nlmsg_len = sizeof(ask), .nlmsg_type = RTM_GETNSID, .nlmsg_flags = NLM_F_REQUEST },
		.fd = { .nla_len = sizeof(struct nlattr) + 4, .nla_type = NETNSA_FD }, .value = netns_fd,
	};
	_Alignas(8) uint8_t answer[512];
	struct slice value;
	int32_t nsid;
	ssize_t n;

	_Static_assert(sizeof(ask) == sizeof(struct nlmsghdr) + 12, "as it goes to the kernel");
	if (send(s, &ask, sizeof(ask), 0) != (ssize_t)sizeof(ask))
		return -1;
	n = recv(s, answer, sizeof(answer), 0);
	const struct nlmsghdr *head = (const struct nlmsghdr *)(const void *)answer;
	if (n < (ssize_t)(sizeof(*head) + 4) || head->nlmsg_type != RTM_NEWNSID)
		return -1;
	value = netlink_attribute(slice_of(answer + sizeof(*head) + 4, (size_t)n - sizeof(*head) - 4), NETNSA_NSID);
	if (value.len != sizeof(nsid))
		return -1;
	memcpy(&nsid, value.ptr, sizeof(nsid));
	return nsid;
}

static int look_there(void *arg, int netns_fd, uint64_t cookie, const char *name)
{
	struct links *all = arg;
	int nsid = nsid_of(all->nsids, netns_fd);

	(void)cookie;
	(void)name;
	for (size_t i = 0; nsid >= 0 && i < all->count; i++)
		if (all->link[i].kind == KIND_VETH && all->link[i].nsid == nsid)
			all->link[i].polls = polls(all->link[i].below);
	return 0;
}

static int look_at_veths(struct links *all, struct errmsg *why)
{
	bool elsewhere = false;
	int err = 0;

	for (size_t i = 0; i < all->count; i++) {
		if (all->link[i].kind != KIND_VETH)
			continue;
		elsewhere |= all->link[i].nsid >= 0;
		if (all->link[i].nsid < 0)
			all->link[i].polls = polls(all->link[i].below);
	}
	if (!elsewhere)
		return 0;
	all->nsids = netlink_open(why);
	if (all->nsids < 0)
		return all->nsids;
	err = host_netns_each(look_there, all, why);
	close(all->nsids);
	return err;
}

/* --- the map ------------------------------------------------------------------------------------------------ */

static bool ready(const struct links *all, const struct link *l, bool xdp, struct xlat_device *out)
{
	*out = (struct xlat_device){ .ifindex = l->ifindex };
	switch (l->kind) {
	case KIND_HARDWARE:
		return !xdp || l->xdp;
	case KIND_VETH:
		return !xdp || l->polls;
	case KIND_VLAN:
		for (size_t i = 0; i < all->count; i++) {
			const struct link *below = &all->link[i];

			if (below->ifindex != l->below || below->kind == KIND_VLAN || below->kind == KIND_OTHER ||
			    !ready(all, below, xdp, out))
				continue;
			out->vlan = l->vlan;
			return true;
		}
		return false;
	case KIND_OTHER:
		/* Bridges, tunnels with Ethernet headers: tc sends to them as the kernel does. */
		return !xdp;
	}
	return false;
}

static bool is_attached(const struct nat64_record *r, uint32_t ifindex)
{
	for (uint32_t i = 0; i < r->attached_count && i < ARRAY_LEN(r->attached); i++)
		if (r->attached[i].ifindex == ifindex && r->attached[i].home == NAT64_HOME_XDP)
			return true;
	return false;
}

/* The link addresses of the interfaces that run the program. A place is written only when it changes. */
static int fill_own(struct nat64 *n, const struct links *all)
{
	AUTO_FREE struct xlat_own *want = calloc(XLAT_OWN_PLACES, sizeof(*want));
	int fd = nat64_map(n, "own");

	if (fd < 0)
		return 0;		/* programs of an older prickle */
	if (want == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < all->count; i++) {
		const struct link *l = &all->link[i];
		uint32_t place = l->ifindex % XLAT_OWN_PLACES;

		if (!is_attached(&n->record, l->ifindex) || l->kind == KIND_OTHER)
			continue;
		if (want[place].ifindex != 0)
			place = (place + 1) % XLAT_OWN_PLACES;
		if (want[place].ifindex != 0)
			continue;
		want[place].ifindex = l->ifindex;
		memcpy(want[place].mac, l->mac, sizeof(l->mac));
	}
	for (uint32_t place = 0; place < XLAT_OWN_PLACES; place++) {
		struct xlat_own now;

		if (bpf_map_lookup_elem(fd, &place, &now) != 0 || (memcmp(&now, &want[place], sizeof(now)) != 0 &&
								   bpf_map_update_elem(fd, &place, &want[place], BPF_ANY) != 0))
			return -errno;
	}
	return 0;
}

int device_fill_map(struct nat64 *n, struct errmsg *why)
{
	AUTO_FREE struct links *all = calloc(1, sizeof(*all));
	int fd = nat64_map(n, "device"), err;
	bool xdp = (attach_homes(&n->record) & 1) != 0;

	if (all == NULL || fd < 0)
		return errmsg_set(why, all == NULL ? -ENOMEM : -EPROTO, "note the devices of this namespace");
	all->ours[0] = n->record.tap_ifindex;
	if (nat64_host_index(n->name, &all->ours[1]) != 0)
		all->ours[1] = 0;
	err = read_links(all, why);
	if (err == 0 && xdp)
		err = look_at_veths(all, why);
	if (err != 0)
		return err;
	err = fill_own(n, all);
	if (err != 0)
		return errmsg_set(why, err, "note the link addresses of this namespace");
	/* Those that went first, so that there is room. */
	for (uint32_t key, next, *at = NULL; bpf_map_get_next_key(fd, at, &next) == 0;) {
		struct xlat_device device;
		bool stays = false;

		for (size_t i = 0; i < all->count; i++)
			stays |= all->link[i].ifindex == next && ready(all, &all->link[i], xdp, &device);
		if (stays) {
			key = next;
			at = &key;
			continue;
		}
		if (bpf_map_delete_elem(fd, &next) != 0)
			break;
	}
	for (size_t i = 0; i < all->count; i++) {
		struct xlat_device device;

		if (ready(all, &all->link[i], xdp, &device) && bpf_map_update_elem(fd, &all->link[i].ifindex, &device, BPF_ANY) != 0 &&
		    errno != E2BIG)
			return errmsg_set(why, -errno, "note the devices of this namespace");
	}
	__atomic_add_fetch(&n->control->nexthop_generation, 1, __ATOMIC_RELEASE);
	return 0;
}
