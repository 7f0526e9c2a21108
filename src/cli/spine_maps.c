#include "cli/spine_maps.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "spine/device.h"

enum cli_exit spine_exit(int error)
{
	switch (error) {
	case -ENOENT:
	case -ENODEV:
		return CLI_NOT_FOUND;
	case -EINVAL:
		return CLI_USAGE;
	case -EPERM:
	case -EACCES:
		return CLI_REFUSED;
	case -EAGAIN:
	case -EBUSY:
	case -ENOMEM:
		return CLI_TEMPORARY;
	default:
		return CLI_FAILED;
	}
}

static int open_pinned(struct cli *cli, const char *directory, const char *netns, struct spine_maps *out)
{
	char path[300];
	int n = snprintf(out->directory, sizeof(out->directory), "%s", directory);

	if (n <= 0 || (size_t)n >= sizeof(out->directory))
		return cli_fail(cli, CLI_USAGE, "--pinned: no usable path");
	if (netns == NULL)
		return CLI_OK;
	n = snprintf(path, sizeof(path), "/run/netns/%s", netns);
	if (strchr(netns, '/') != NULL || n <= 0 || (size_t)n >= sizeof(path))
		return cli_fail(cli, CLI_USAGE, "--netns '%s' is no name of a network namespace", netns);
	out->own_netns = open(path, O_RDONLY | O_CLOEXEC);
	if (out->own_netns < 0)
		return cli_fail(cli, CLI_NOT_FOUND, "no network namespace '%s'; `ip netns list` names them", netns);
	out->netns = out->own_netns;
	return CLI_OK;
}

int spine_maps_open(struct cli *cli, const char *extension, bool change, struct spine_maps *out)
{
	const char *device = cli_value(cli, "dev"), *pinned = cli_value(cli, "pinned");
	const char *name = cli_has(cli, "name") ? cli_value(cli, "name") : extension;
	struct spine_where where = { .device = device, .netns = cli_value(cli, "netns") };
	struct errmsg why;
	int rc;

	*out = (struct spine_maps){ .netns = -1, .own_netns = -1 };
	if (pinned != NULL)
		return open_pinned(cli, pinned, where.netns, out);
	if (device == NULL)
		return cli_fail(cli, CLI_USAGE, "which interface? Say --dev IF; `ip link` lists them");
	rc = spine_device_open(&where, change ? SPINE_CHANGE : SPINE_LOOK, &out->device, &why);
	if (rc != 0)
		return cli_fail(cli, spine_exit(rc), "%s", why.text);
	if (spine_device_find(out->device, name) == NULL) {
		spine_maps_close(out);
		return cli_fail(cli, CLI_NOT_FOUND,
				"no extension '%s' on %s; `prickle spine list --dev %s` names them, "
				"`prickle spine install` brings one", name, device, device);
	}
	out->netns = spine_device_netns(out->device);
	(void)snprintf(out->directory, sizeof(out->directory), "/proc/self/fd/%d/ext/%.*s/maps",
		       spine_device_dir(out->device), SPINE_NAME_BYTES, name);
	return CLI_OK;
}

void spine_maps_close(struct spine_maps *m)
{
	if (m->device != NULL)
		spine_device_close(m->device);
	m->device = NULL;
	if (m->own_netns >= 0)
		close(m->own_netns);
	m->own_netns = -1;
}

int spine_maps_enter(const struct spine_maps *m, struct errmsg *why)
{
	if (m->netns >= 0 && setns(m->netns, CLONE_NEWNET) != 0)
		return errmsg_set(why, -errno, "enter the device's network namespace");
	return 0;
}
