/*
 * A translator's file against the host that shall run it. Only reads: nothing here changes an interface.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/suggest.h"
#include "nat64/settings.h"

static void missing(const struct nat64_settings *s, const struct if_nameindex *all, const char *name, uint32_t line, struct buf *errors)
{
	struct suggestion near = { .word = slice_str(name) };

	for (const struct if_nameindex *i = all; i != NULL && i->if_index != 0; i++)
		suggest_try(&near, i->if_name);
	buf_printf(errors, "%s:%u: there is no interface '%s' here", s->path, line, name);
	if (near.best != NULL)
		buf_printf(errors, "; did you mean '%s'?\n", near.best);
	else
		buf_adds(errors, "; 'ip link' lists them\n");
}

static bool ours(const struct nat64_settings *s, const char *name)
{
	for (size_t i = 0; i < s->interface_count; i++) {
		if (strcmp(s->interfaces[i].name, name) == 0)
			return true;
	}
	return false;
}

/* Sources of ICMP errors: the first address of an interface of ours that others can answer to. */
static void find_own(struct nat64_settings *s)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all) != 0)
		return;
	for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
		if (i->ifa_addr == NULL || !ours(s, i->ifa_name))
			continue;
		if (i->ifa_addr->sa_family == AF_INET && s->config.own4 == 0)
			s->config.own4 = ((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr.s_addr;
		if (i->ifa_addr->sa_family != AF_INET6 || s->config.own6[0] != 0)
			continue;
		const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr;
		if (!IN6_IS_ADDR_LINKLOCAL(six))
			memcpy(s->config.own6, six, sizeof(s->config.own6));
	}
	freeifaddrs(all);
}

int nat64_settings_host(struct nat64_settings *s, struct buf *errors)
{
	struct if_nameindex *all = if_nameindex();
	int err = 0;

	for (size_t i = 0; i < s->interface_count; i++) {
		if (if_nametoindex(s->interfaces[i].name) != 0)
			continue;
		missing(s, all, s->interfaces[i].name, s->interfaces[i].line, errors);
		err = -EINVAL;
	}
	for (size_t i = 0; i < s->announce_count; i++) {
		if (if_nametoindex(s->announce[i].interface) != 0)
			continue;
		missing(s, all, s->announce[i].interface, s->line[NAT64_OPTION_announce_interfaces], errors);
		err = -EINVAL;
	}
	if (all != NULL)
		if_freenameindex(all);
	if (err == 0)
		find_own(s);
	return err;
}
