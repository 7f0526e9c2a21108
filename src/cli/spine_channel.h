/*
 * Commands that open a channel to an extension: --dev, --channel, --netns.
 */
#pragma once
#include <prickle/libspine.h>

#include "cli/cli.h"

#define SPINE_CHANNEL_OPTIONS									\
	{ "dev", 'd', "IF", "the network device" },						\
	{ "channel", '\0', "NUMBER", "which of the extension's channels, 0 unless given" },	\
	{ "netns", 'n', "NAME", "the device is in this network namespace of 'ip netns'" }

/* Enter the namespace of --netns, for the rest of the process. CLI_OK, or complains and a code. */
MUST_USE int spine_channel_enter(struct cli *cli);
/* The channel that the options and the first argument name. CLI_OK, or complains and a code. */
MUST_USE int spine_channel_find(struct cli *cli, struct spine_channel **out);
