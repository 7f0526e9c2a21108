/* The CLAT's IPv6 address on its uplink: host.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sodium.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "base/cleanup.h"
#include "nat64/host.h"
#include "nat64/netlink.h"

#ifndef IFA_PROTO
#define IFA_PROTO 11
#endif
#define INFINITY_LIFE UINT32_MAX

/* The IPv6 addresses of an interface. */
struct address {
	uint8_t addr[16];
	uint32_t flags;
	uint8_t bits, scope;
	bool ours;
};

static bool address_read(uint16_t type, struct slice body, uint32_t ifindex, struct address *out)
{
	struct slice attributes, addr, flags, protocol;
	struct ifaddrmsg a;

	if (type != RTM_NEWADDR || !netlink_fixed(body, &a, sizeof(a), &attributes) || a.ifa_family != AF_INET6 || a.ifa_index != ifindex)
		return false;
	addr = netlink_attribute(attributes, IFA_LOCAL);
	if (addr.len != 16)
		addr = netlink_attribute(attributes, IFA_ADDRESS);
	if (addr.len != 16)
		return false;
	flags = netlink_attribute(attributes, IFA_FLAGS);
	protocol = netlink_attribute(attributes, IFA_PROTO);
	*out = (struct address){ .flags = a.ifa_flags, .bits = a.ifa_prefixlen, .scope = a.ifa_scope };
	memcpy(out->addr, addr.ptr, 16);
	if (flags.len == 4)
		memcpy(&out->flags, flags.ptr, 4);
	out->ours = protocol.len == 1 && protocol.ptr[0] == NAT64_PROTOCOL;
	return true;
}

static int each_address(int fd, uint32_t ifindex, int (*each)(void *arg, uint16_t type, struct slice body), void *arg, struct errmsg *why)
{
	struct ifaddrmsg a = { .ifa_family = AF_INET6, .ifa_index = ifindex };
	struct netlink_message m;

	netlink_begin(&m, RTM_GETADDR, 0, &a, sizeof(a));
	return netlink_dump(fd, &m, each, arg, why);
}

struct own {
	uint32_t ifindex;
	const uint8_t *wanted;		/* 16 bytes, or NULL */
	bool found;
	struct address remove[8];
	size_t count;
};

static int see_own(void *arg, uint16_t type, struct slice body)
{
	struct own *o = arg;
	struct address a;

	if (!address_read(type, body, o->ifindex, &a) || !a.ours)
		return 0;
	if (o->wanted != NULL && a.bits == 128 && memcmp(a.addr, o->wanted, 16) == 0)
		o->found = true;
	/* One that somebody else has stays as a mark of that, so that it is not chosen again; the kernel does not use it. */
	else if (o->wanted != NULL && (a.flags & IFA_F_DADFAILED) != 0 && memcmp(a.addr, o->wanted, 8) == 0)
		return 0;
	else if (o->count < ARRAY_LEN(o->remove))
		o->remove[o->count++] = a;
	return 0;
}

static int add(int fd, uint32_t ifindex, const __be32 clat6[4], struct errmsg *why)
{
	static const uint8_t protocol = NAT64_PROTOCOL;
	/* Deprecated from the start: an address for translated packets, never the source of the host's own (RFC 6724 5, rule 3). */
	static const struct ifa_cacheinfo life = { .ifa_prefered = 0, .ifa_valid = INFINITY_LIFE };
	struct ifaddrmsg a = { .ifa_family = AF_INET6, .ifa_prefixlen = 128, .ifa_index = ifindex };
	struct netlink_message m;

	netlink_begin(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &a, sizeof(a));
	netlink_put(&m, IFA_LOCAL, clat6, 16);
	netlink_put(&m, IFA_ADDRESS, clat6, 16);
	netlink_put_u32(&m, IFA_FLAGS, IFA_F_NOPREFIXROUTE);
	netlink_put(&m, IFA_CACHEINFO, &life, sizeof(life));
	netlink_put(&m, IFA_PROTO, &protocol, sizeof(protocol));
	return netlink_do(fd, &m, why);
}

static int set(uint32_t ifindex, const __be32 *clat6, struct errmsg *why)
{
	AUTO_FD int fd = netlink_open(why);
	struct own o = { .ifindex = ifindex, .wanted = (const uint8_t *)clat6 };
	int err;

	if (fd < 0)
		return fd;
	err = each_address(fd, ifindex, see_own, &o, why);
	/* The new one first: packets of both are translated until the configuration changes. */
	if (err == 0 && clat6 != NULL && !o.found)
		err = add(fd, ifindex, clat6, why);
	for (size_t i = 0; err == 0 && i < o.count; i++) {
		struct ifaddrmsg a = { .ifa_family = AF_INET6, .ifa_prefixlen = o.remove[i].bits, .ifa_index = ifindex };
		struct netlink_message m;

		netlink_begin(&m, RTM_DELADDR, 0, &a, sizeof(a));
		netlink_put(&m, IFA_LOCAL, o.remove[i].addr, 16);
		err = netlink_do(fd, &m, why);
		err = err == -EADDRNOTAVAIL ? 0 : err;
	}
	return err;
}

int nat64_uplink_set(uint32_t ifindex, const __be32 clat6[4], struct errmsg *why)
{
	return set(ifindex, clat6, why);
}

int nat64_uplink_clear(uint32_t ifindex, struct errmsg *why)
{
	int err = set(ifindex, NULL, why);

	return err == -ENODEV ? 0 : err;
}

static int see_prefix(void *arg, uint16_t type, struct slice body)
{
	struct nat64_uplink *u = arg;
	struct address a;

	if (!address_read(type, body, u->ifindex, &a))
		return 0;
	if (a.ours) {
		u->refused |= (a.flags & IFA_F_DADFAILED) != 0;
		return 0;
	}
	if (u->has_prefix || a.scope != RT_SCOPE_UNIVERSE || a.bits > 64 || (a.flags & (IFA_F_TEMPORARY | IFA_F_DEPRECATED | IFA_F_DADFAILED)) != 0)
		return 0;
	memcpy(u->prefix, a.addr, 8);
	u->has_prefix = true;
	return 0;
}

static int see_link(void *arg, uint16_t type, struct slice body)
{
	struct nat64_uplink *u = arg;
	struct slice attributes;
	struct ifinfomsg i;

	if (type == RTM_NEWLINK && netlink_fixed(body, &i, sizeof(i), &attributes) && (uint32_t)i.ifi_index == u->ifindex)
		u->mtu = netlink_u32(attributes, IFLA_MTU);
	return 0;
}

int nat64_uplink_look(const char *interface, struct nat64_uplink *out, struct errmsg *why)
{
	static const struct ifinfomsg any = { .ifi_family = AF_UNSPEC };
	AUTO_FD int fd = netlink_open(why);
	struct nat64_uplink u = { .ifindex = if_nametoindex(interface) };
	struct netlink_message m;
	int err;

	if (fd < 0)
		return fd;
	if (u.ifindex == 0)
		return errmsg_set(why, -ENODEV, "uplink '%s'", interface);
	netlink_begin(&m, RTM_GETLINK, 0, &any, sizeof(any));
	err = netlink_dump(fd, &m, see_link, &u, why);
	if (err == 0)
		err = each_address(fd, u.ifindex, see_prefix, &u, why);
	if (err == 0)
		*out = u;
	return err;
}

static uint32_t sum_words(const void *bytes, size_t n)
{
	const uint8_t *b = bytes;
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i += 2)
		sum += (uint32_t)b[i] << 8 | b[i + 1];
	return sum;
}

void nat64_clat6(const __be32 prefix[4], const struct xlat_prefix *pref64, __be32 clat4, const __u64 key[2], uint32_t attempt, __be32 out[4])
{
	struct { __be32 prefix[2]; struct xlat_prefix pref64; __be32 clat4; uint32_t attempt; } what = { .pref64 = *pref64, .clat4 = clat4, .attempt = attempt };
	unsigned char hash[crypto_shorthash_BYTES], k[crypto_shorthash_KEYBYTES];
	uint8_t addr[16];

	_Static_assert(sizeof(what) == 8 + sizeof(struct xlat_prefix) + 8, "no holes to hash");
	_Static_assert(sizeof(k) == 2 * sizeof(__u64), "a key of the configuration");
	memcpy(what.prefix, prefix, 8);
	memcpy(k, key, sizeof(k));
	crypto_shorthash(hash, (const unsigned char *)&what, sizeof(what), k);
	memcpy(addr, prefix, 8);
	memcpy(addr + 8, hash, 8);
	/* /32 and /96 put the IPv4 address at an even offset in one piece, so its sum is the same inside; others cannot be neutral. */
	if (pref64->bits == 96 || pref64->bits == 32) {
		uint32_t want = sum_words(&clat4, 4), have = sum_words(addr, 14) + sum_words(pref64->addr, 16);
		uint32_t word = (want + 0xffffu * 32 - have) % 0xffffu;

		addr[14] = (uint8_t)(word >> 8);
		addr[15] = (uint8_t)word;
	}
	memcpy(out, addr, 16);
}
