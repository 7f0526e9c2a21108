/*
 * What the host has of its own: packets to its addresses are not translated, and its addresses are the sources of ICMP
 * errors that the translator makes.
 */
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "nat64/instance_private.h"

static bool of_use(const struct ifaddrs *a, struct nat64_host_address *out)
{
	*out = (struct nat64_host_address){ 0 };
	if (a->ifa_addr == NULL || strlen(a->ifa_name) >= sizeof(out->interface))
		return false;
	memcpy(out->interface, a->ifa_name, strlen(a->ifa_name) + 1);
	if (a->ifa_addr->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a->ifa_addr;

		out->family = 4;
		out->addr[0] = in->sin_addr.s_addr;
		return ntohl(in->sin_addr.s_addr) >> 24 != 127;
	}
	if (a->ifa_addr->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)a->ifa_addr;

		out->family = 6;
		memcpy(out->addr, &in->sin6_addr, sizeof(out->addr));
		return !IN6_IS_ADDR_LOOPBACK(&in->sin6_addr) && !IN6_IS_ADDR_LINKLOCAL(&in->sin6_addr);
	}
	return false;
}

int host_addresses(struct arena *arena, struct nat64_host_address **out, size_t *count, struct errmsg *why)
{
	struct nat64_host_address *list = arena_array(arena, NAT64_HOST_ADDRESSES_MAX, sizeof(*list)), one;
	struct ifaddrs *all;
	size_t n = 0;

	if (list == NULL)
		return errmsg_set(why, -ENOMEM, "look at the host's addresses");
	if (getifaddrs(&all) != 0)
		return errmsg_set(why, -errno, "look at the host's addresses");
	for (const struct ifaddrs *a = all; a != NULL && n < NAT64_HOST_ADDRESSES_MAX; a = a->ifa_next)
		if (of_use(a, &one))
			list[n++] = one;
	freeifaddrs(all);
	*out = list;
	*count = n;
	return 0;
}

static bool is_ours(const struct nat64_settings *s, const char *interface)
{
	for (size_t i = 0; i < s->interface_count; i++)
		if (strcmp(s->interfaces[i].name, interface) == 0)
			return true;
	return strcmp(s->uplink, interface) == 0;
}

/* The settings name the very address: it is translated, whoever has it (a CLAT's own, a mapping of one host). */
static bool named(const struct nat64_settings *s, const struct nat64_host_address *a)
{
	if (s->config.mode == XLAT_CLAT &&
	    (a->family == 4 ? a->addr[0] == s->clat4 : memcmp(a->addr, s->clat6, sizeof(a->addr)) == 0))
		return true;
	for (size_t i = 0; i < s->eam_count; i++)
		if (a->family == 4 ? s->eams[i].bits4 == 32 && s->eams[i].addr4 == a->addr[0] :
				     s->eams[i].bits6 == 128 && memcmp(s->eams[i].addr6, a->addr, sizeof(a->addr)) == 0)
			return true;
	return false;
}

/* NAT64: the pool may have an address of the host's own, and both use it. */
static bool share(struct xlat_config *c, const struct nat64_host_address *a)
{
	bool found = false;

	if (c->mode != XLAT_NAT64 || a->family != 4)
		return false;
	for (uint32_t i = 0; i < c->pool_count; i++)
		if (ntohl(a->addr[0]) - c->pool[i].first < c->pool[i].count) {
			c->pool[i].flags |= XLAT_POOL_SHARED;
			found = true;
		}
	return found;
}

/* Whether packets to it could be taken for ours at all: the lists are short, and most addresses are nowhere near. */
static bool concerns(const struct nat64_settings *s, const struct nat64_host_address *a)
{
	const struct xlat_config *c = &s->config;

	if (c->mode == XLAT_CLAT)
		return true;
	for (uint32_t i = 0; a->family == 6 && i < c->prefix_count; i++)
		if (memcmp(a->addr, c->prefix[i].addr, c->prefix[i].bits / 8u) == 0)
			return true;
	for (uint32_t i = 0; a->family == 4 && i < c->pool_count; i++)
		if (ntohl(a->addr[0]) - c->pool[i].first < c->pool[i].count)
			return true;
	for (size_t i = 0; i < s->eam_count; i++) {
		const struct xlat_eam *e = &s->eams[i];
		uint32_t mask = e->bits4 == 0 ? 0 : UINT32_MAX << (32 - e->bits4);

		if (a->family == 4 ? ((ntohl(a->addr[0]) ^ ntohl(e->addr4)) & mask) == 0 :
				     memcmp(a->addr, e->addr6, e->bits6 / 8u) == 0)
			return true;
	}
	return false;
}

static int leave_alone(struct xlat_config *c, const struct nat64_host_address *a, struct errmsg *why)
{
	if (a->family == 4 ? c->pass4_count == XLAT_PASS_MAX : c->pass6_count == XLAT_PASS_MAX)
		return errmsg_say(why, -EINVAL, "more than %u destinations of a family are to be left alone: those under 'pass' and the "
				  "host's own addresses inside of prefixes and pools; join some to larger prefixes", XLAT_PASS_MAX);
	if (a->family == 4) {
		c->pass4[c->pass4_count++] = (struct xlat_net4){ a->addr[0], UINT32_MAX };
		return 0;
	}
	struct xlat_net6 *net = &c->pass6[c->pass6_count++];
	memcpy(net->addr, a->addr, sizeof(net->addr));
	memset(net->mask, 0xff, sizeof(net->mask));
	return 0;
}

/* Of our interfaces first. NAT64 without an IPv4 address of its own: one of the pool answers, which is ours as well. */
static void choose_sources(const struct nat64_settings *s, struct xlat_config *c, const struct nat64_host_address *list,
			   size_t count)
{
	for (int turn = 0; turn < 2; turn++)
		for (size_t i = 0; i < count; i++) {
			const struct nat64_host_address *a = &list[i];

			if (turn == 0 && !is_ours(s, a->interface))
				continue;
			if (a->family == 4 && c->own4 == 0)
				c->own4 = a->addr[0];
			if (a->family == 6 && (c->own6[0] | c->own6[1] | c->own6[2] | c->own6[3]) == 0)
				memcpy(c->own6, a->addr, sizeof(c->own6));
		}
	if (c->own4 == 0 && c->mode == XLAT_NAT64 && c->pool_count > 0)
		c->own4 = htonl(c->pool[0].first);
}

int host_complete(const struct nat64_settings *settings, struct xlat_config *config, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct nat64_host_address *list;
	size_t count;
	int err = host_addresses(&arena, &list, &count, why);

	for (size_t i = 0; err == 0 && i < count; i++)
		if (!named(settings, &list[i]) && !share(config, &list[i]) && concerns(settings, &list[i]))
			err = leave_alone(config, &list[i], why);
	if (err == 0)
		choose_sources(settings, config, list, count);
	return err;
}
