/*
 * Where commands that belong to one shipped extension (`spine balance`, `spine kv`) find its maps: below
 * the device's directory in bpffs, or in a directory that --pinned names, for an extension that somebody
 * loaded without the runtime.
 */
#pragma once
#include "base/errmsg.h"
#include "cli/cli.h"

struct spine_device;

#define SPINE_MAPS_OPTIONS(extension)							\
	{ "dev", 'd', "DEVICE", "the network interface with the extension" },		\
	{ "name", '\0', "NAME", "as which it is installed, instead of '" extension "'" },	\
	{ "netns", 'n', "NAME", "in this network namespace, as `ip netns list` calls it" },	\
	{ "pinned", '\0', "DIR", "its maps are pinned here, without the runtime", CLI_DIRECTORY }

struct spine_maps {
	struct spine_device *device;	/* NULL with --pinned */
	int netns;			/* the device's namespace, or -1: the caller's; borrowed */
	int own_netns;			/* opened for --pinned, or -1 */
	char directory[256];		/* path that holds until spine_maps_close */
};

/* CLI_OK, or the failure is said and its code returned. `change` takes the device's lock. */
MUST_USE int spine_maps_open(struct cli *cli, const char *extension, bool change, struct spine_maps *out);
void spine_maps_close(struct spine_maps *m);
/* The calling thread goes into the device's namespace, for good. 0 or negative errno with a sentence. */
MUST_USE int spine_maps_enter(const struct spine_maps *m, struct errmsg *why);
/* The exit code that fits a negative errno. */
enum cli_exit spine_exit(int error);
