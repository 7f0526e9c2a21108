/*
 * An instance on an interface by XDP: an extension of SPINE, so that one dispatcher owns the interface and whatever runs there
 * already stays. The program is adopted: it was loaded by us with the instance's maps, SPINE only places it.
 *
 * The rule takes every frame: which packets are ours is for the program to say, and what it passes goes on to the next
 * extension, such as another translator.
 */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/instance_private.h"
#include "spine/device.h"
#include "spine/pins.h"

/* A frame in one buffer: a page less headroom and tail, as most drivers have it. */
#define MTU_OF_ONE_BUFFER 3498u
#define REPORT_BYTES	  (64u << 20)

static void extension_name(const char *instance, char out[SPINE_NAME_BYTES])
{
	size_t at = (size_t)snprintf(out, SPINE_NAME_BYTES, "nat64-"), capitals = 0;

	for (size_t i = 0; instance[i] != '\0' && i < NAT64_NAME_BYTES; i++) {
		out[at++] = (char)ascii_lower((uint8_t)instance[i]);
		capitals |= ascii_lower((uint8_t)instance[i]) != (uint8_t)instance[i] ? (size_t)1 << i : 0;
	}
	out[at] = '\0';
	/* SPINE knows small letters alone. */
	if (capitals != 0)
		(void)snprintf(out + at, SPINE_NAME_BYTES - at, "-%zx", capitals);
}

static uint32_t mtu_of(const char *interface)
{
	struct ifreq r = { 0 };
	AUTO_FD int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", interface);
	return s >= 0 && ioctl(s, SIOCGIFMTU, &r) == 0 && r.ifr_mtu > 0 ? (uint32_t)r.ifr_mtu : 1500;
}

bool attach_xdp_fits(const char *interface)
{
	static const char *const slow_there[] = { "veth", "tun", "bridge", "bonding", "802.1Q VLAN Support", "vxlan", "wireguard",
						  "macvlan", "dummy", "geneve" };
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq r = { 0 };
	AUTO_FD int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", interface);
	if (s < 0 || ioctl(s, SIOCGIFHWADDR, &r) != 0 || r.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return false;
	r.ifr_data = (char *)&info;
	if (ioctl(s, SIOCETHTOOL, &r) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(slow_there); i++)
		if (strncmp(info.driver, slow_there[i], sizeof(info.driver)) == 0)
			return false;
	return true;
}

/* SPINE's extensions of a device are of one class; the first one chooses. */
static bool wants_frags(const struct spine_device *d, const char *interface)
{
	const struct spine_meta *meta = spine_device_meta(d);

	return meta->abi != 0 ? meta->frags != 0 : mtu_of(interface) > MTU_OF_ONE_BUFFER;
}

static int program_for(struct nat64 *n, bool frags, struct errmsg *why)
{
	return objects_program(n, frags ? NAT64_PROGRAM_XDP_FRAGS : NAT64_PROGRAM_XDP, why);
}

static int adopt(struct nat64 *n, struct spine_device *d, const char *name, bool frags, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(REPORT_BYTES);
	struct spine_change change = { .arena = &arena };
	AUTO_FD int program = program_for(n, frags, why);
	struct adopt_request r = {
		.prog_fd = program, .name = name, .match = "", .order = -1,
		.verdicts = SPINE_PASS | SPINE_DROP | SPINE_ABORTED | SPINE_TX | SPINE_REDIRECT, .continues = SPINE_PASS,
		.redirect = true, .accept_unbounded = true, .patient = true,
	};
	int err;

	if (program < 0)
		return program;
	err = spine_adopt(d, &r, &change);
	if (err != 0)
		*why = change.why;
	return err;
}

static int replace(struct nat64 *n, struct spine_device *d, const struct spine_record *old, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(REPORT_BYTES);
	struct spine_change change = { .arena = &arena };
	bool frags = wants_frags(d, spine_device_name(d));
	char name[SPINE_NAME_BYTES];
	AUTO_FD int program = program_for(n, frags, why);
	int err;

	if (program < 0)
		return program;
	if (pin_prog_id(program) == old->prog_id)
		return 0;
	(void)snprintf(name, sizeof(name), "%s", old->name);
	err = spine_readopt(d, name, program, true, &change);
	if (err == -EXDEV) {
		err = spine_remove(d, name, why);
		return err == 0 ? adopt(n, d, name, frags, why) : err;
	}
	if (err != 0)
		*why = change.why;
	return err;
}

int attach_xdp(struct nat64 *n, const char *interface, bool native, struct buf *notice, struct errmsg *why)
{
	struct spine_where where = { .device = interface, .mode = native ? ATTACH_NATIVE : ATTACH_AUTO };
	char name[SPINE_NAME_BYTES];
	const struct spine_record *old;
	struct spine_device *d;
	int err = spine_device_open(&where, SPINE_CHANGE, &d, why);

	if (err != 0)
		return err;
	extension_name(n->name, name);
	old = spine_device_find(d, name);
	if (old != NULL) {
		err = replace(n, d, old, why);
	} else {
		bool frags = wants_frags(d, interface);
		bool free_choice = spine_device_meta(d)->abi == 0;

		err = adopt(n, d, name, frags, why);
		/* What runs there already may be of the other class. */
		if ((err == -EPERM || err == -EBUSY) && free_choice) {
			struct errmsg other;

			if (adopt(n, d, name, !frags, &other) == 0)
				err = 0;
		}
	}
	if (err == 0 && *spine_device_notice(d) != '\0')
		buf_printf(notice, "%s: %s\n", interface, spine_device_notice(d));
	spine_device_close(d);
	return err;
}

int attach_xdp_end(struct nat64 *n, const char *interface, struct errmsg *why)
{
	struct spine_where where = { .device = interface };
	char name[SPINE_NAME_BYTES];
	struct spine_device *d;
	int err = spine_device_open(&where, SPINE_LOOK, &d, why);

	if (err == -ENODEV || err == -ENOENT)
		return 0;
	if (err != 0)
		return err;
	extension_name(n->name, name);
	bool there = spine_device_find(d, name) != NULL;
	spine_device_close(d);
	if (!there)
		return 0;
	err = spine_device_open(&where, SPINE_CHANGE, &d, why);
	if (err != 0)
		return err == -ENODEV ? 0 : err;
	err = spine_remove(d, name, why);
	spine_device_close(d);
	return err == -ENOENT ? 0 : err;
}

bool attach_xdp_running(struct nat64 *n, const char *interface, bool *generic, char why_not[160])
{
	struct spine_where where = { .device = interface };
	char name[SPINE_NAME_BYTES];
	const struct spine_record *r;
	const char *state, *reason = "";
	struct spine_device *d;
	struct errmsg why;
	bool running = false;

	*generic = false;
	if (spine_device_open(&where, SPINE_LOOK, &d, &why) != 0) {
		(void)snprintf(why_not, 160, "%.159s", why.text);
		return false;
	}
	extension_name(n->name, name);
	r = spine_device_find(d, name);
	if (r == NULL) {
		(void)snprintf(why_not, 160, "its extension '%s' is not there", name);
	} else {
		state = spine_device_state(d, r, &reason);
		running = strcmp(state, "active") == 0;
		*generic = spine_device_meta(d)->mode == ATTACH_GENERIC;
		if (!running)
			(void)snprintf(why_not, 160, "%s%s%s", state, *reason != '\0' ? ": " : "", reason);
	}
	spine_device_close(d);
	return running;
}
