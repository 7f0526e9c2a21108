/*
 * The slow path's device: a TAP into which programs redirect frames, and as which they look up routes. It outlives us, so that
 * a daemon that is killed and started again finds what the programs point to.
 *
 * Its settings are the only ones of the host that we change: forwarding is on there (so that look-ups of routes as this
 * device succeed while the host itself forwards nothing), reverse-path filtering is off, and it takes no addresses.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "nat64/instance_private.h"

#define TAP_MTU 65521			/* the kernel's most for a TAP: 65535 less the Ethernet header */
#define PREFIX	"nat64-"

void device_name(const char *instance, char out[IFNAMSIZ])
{
	if (strlen(PREFIX) + strlen(instance) < IFNAMSIZ)
		(void)snprintf(out, IFNAMSIZ, PREFIX "%.9s", instance);
	else
		(void)snprintf(out, IFNAMSIZ, PREFIX "%08x", crc32c(0, slice_str(instance)));
}

/* A value of /proc/sys/net, which is that of the namespace we are in. */
static int set_value(const char *family, const char *device, const char *key, const char *value)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, device, key);
	AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, value, strlen(value)) == (ssize_t)strlen(value) ? 0 : -errno;
}

static int configure(const char *device, struct errmsg *why)
{
	static const struct { const char *family, *key, *value; bool needed; } rows[] = {
		{ "ipv4", "forwarding", "1", true },
		{ "ipv6", "forwarding", "1", true },
		{ "ipv4", "rp_filter", "0", false },
		{ "ipv4", "arp_ignore", "8", false },
		{ "ipv6", "accept_ra", "0", false },
		{ "ipv6", "addr_gen_mode", "1", false },	/* none */
		{ "ipv6", "accept_dad", "0", false },
		{ "ipv6", "router_solicitations", "0", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int err = set_value(rows[i].family, device, rows[i].key, rows[i].value);

		if (err == -ENOENT && strcmp(rows[i].family, "ipv6") == 0)
			return errmsg_say(why, -EOPNOTSUPP, "IPv6 is switched off in this kernel or namespace, so nothing can be "
					  "translated; look at ipv6.disable on the kernel's command line");
		if (err != 0 && rows[i].needed)
			return errmsg_set(why, err, "set net.%s.conf.%s.%s", rows[i].family, device, rows[i].key);
	}
	return 0;
}

static int request(int s, unsigned long what, const char *device, short flags, int mtu)
{
	struct ifreq r = { 0 };

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", device);
	if (what == SIOCSIFMTU)
		r.ifr_mtu = mtu;
	else
		r.ifr_flags = flags;
	return ioctl(s, what, &r) == 0 ? 0 : -errno;
}

static int open_tap(const char *device, bool keep, struct errmsg *why)
{
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	AUTO_FD int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return errmsg_set(why, -errno, "open /dev/net/tun (the slow path needs it; `modprobe tun` loads it)");
	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", device);
	if (ioctl(fd, TUNSETIFF, &r) != 0)
		return errno == EBUSY ? errmsg_say(why, -EBUSY, "%s is open already: another `prickle nat64 run` serves this "
						   "translator; end it first", device) :
		       errno == EINVAL ? errmsg_say(why, -EINVAL, "there is an interface %s that is no TAP of ours; rename it or give "
						    "the translator another name", device) :
					 errmsg_set(why, -errno, "make the device %s", device);
	if (keep && ioctl(fd, TUNSETPERSIST, 1) != 0)
		return errmsg_set(why, -errno, "keep the device %s", device);
	return TAKE_FD(fd);
}

int device_make_tap(const char *instance, uint32_t *ifindex, struct errmsg *why)
{
	char device[IFNAMSIZ];
	int err;
	AUTO_FD int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	AUTO_FD int tap = -1;

	device_name(instance, device);
	/* One that is open already is there and was set up. */
	tap = open_tap(device, true, why);
	if (tap < 0 && tap != -EBUSY)
		return tap;
	*ifindex = if_nametoindex(device);
	if (s < 0 || *ifindex == 0)
		return errmsg_set(why, -errno, "look at the device %s", device);
	err = configure(device, why);
	if (err == 0)
		err = request(s, SIOCSIFMTU, device, 0, TAP_MTU);
	if (err == 0)
		err = request(s, SIOCSIFFLAGS, device, IFF_UP | IFF_NOARP, 0);
	/* A device that comes up takes some of its defaults anew. */
	return err != 0 ? errmsg_set(why, err, "bring up the device %s", device) : configure(device, why);
}

int device_open_tap(const char *instance, struct errmsg *why)
{
	char device[IFNAMSIZ];

	device_name(instance, device);
	return open_tap(device, true, why);
}

int device_free(const char *instance, struct errmsg *why)
{
	char device[IFNAMSIZ];

	device_name(instance, device);
	if (if_nametoindex(device) == 0)
		return 0;
	AUTO_FD int fd = open_tap(device, true, why);
	return fd >= 0 ? 0 : fd;
}

int device_remove_tap(const char *instance, struct errmsg *why)
{
	char device[IFNAMSIZ];

	device_name(instance, device);
	if (if_nametoindex(device) == 0)
		return 0;
	AUTO_FD int fd = open_tap(device, false, why);
	if (fd < 0)
		return fd;
	return ioctl(fd, TUNSETPERSIST, 0) == 0 ? 0 : errmsg_set(why, -errno, "remove the device %s", device);
}
