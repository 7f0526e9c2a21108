/*
 * What the commands of `prickle spine` share: where they act, files, and how failures end.
 */
#pragma once
#include <jansson.h>

#include "cli/cli.h"
#include "spine/device.h"

#define CLI_OPTION_DEV	  { "dev", 'd', "IF", "the network interface" }
#define CLI_OPTION_NETNS  { "netns", 'n', "NAME", "in this network namespace, as `ip netns list` calls it" }
#define SPINE_OPTION_POLICY { "policy", '\0', "DIRECTORY", "under the policy that was applied there, not the host's", CLI_DIRECTORY }

#define SPINE_OBJECT_BYTES_MAX (64u << 20)

/* From --dev, --netns, --policy and --mode, as far as the command has them. CLI_OK; CLI_USAGE without --dev, and it complains. */
MUST_USE int spine_cli_where(struct cli *cli, struct spine_where *out);
/* Extensions installed under this policy (NULL: the host's) have what is in force there, or a warning says why not. For root; before a device is opened. */
void spine_cli_settle(const char *directory);
/* Both in one: open the device of the options, or complain. Returns an enum cli_exit. */
MUST_USE int spine_cli_open(struct cli *cli, enum spine_open_mode mode, struct spine_device **out);

/*
 * Visit, for a look, the device of --dev or every one that has extensions (of --netns). nameless: or NULL, is told of those
 * that cannot be entered from here. A device without extensions is none. `each` returns CLI_OK, or ends the walk with its code.
 */
MUST_USE int spine_cli_each(struct cli *cli,
			    int (*each)(void *arg, const struct spine_where *where, const struct spine_device *d),
			    void (*nameless)(void *arg, const struct spine_found *f), void *arg);

/* Seconds of the clock that only runs forward, for rates and for how long a command looks. */
double cli_now_s(void);
/* The exit code for a negative errno of src/spine. */
enum cli_exit spine_cli_exit(int err);
/* Complain with the sentence; returns spine_cli_exit(err). */
int spine_cli_fail(struct cli *cli, int err, const struct errmsg *why);
/*
 * A change was refused or failed: with findings, names each with program, instruction and source line, on standard
 * error or as {"error", "refused": [...]}. Returns the exit code.
 */
int spine_cli_refused(struct cli *cli, int err, const struct spine_change *c);

/* Read a whole file of at most max bytes; CLI_OK or complains. Absent files with `optional` give an empty buf. */
MUST_USE int spine_cli_file(struct cli *cli, const char *path, bool optional, struct buf *out);
/* "pass,drop" -> a set of enum spine_verdicts. CLI_OK, or complains about option --name. */
MUST_USE int spine_cli_verdicts(struct cli *cli, const char *option, uint32_t *out);
/* Verdicts as "pass, drop" and as a JSON array. */
void spine_cli_verdict_text(struct buf *out, uint32_t verdicts);
json_t *spine_cli_verdict_json(uint32_t verdicts);

/* What to run next about an extension in this state, one line without its end; nothing when it is active. netns: or NULL.
 * by_policy: spine_device_by_policy. */
void spine_cli_next(struct buf *out, const char *netns, const char *device, const char *name, const char *state, bool by_policy);

/* {"rule", "program", "instruction", "sentence", "file", "line", "source"} */
json_t *spine_cli_finding_json(const struct inspect_finding *f);
/* Print `value` (taken) as one line of JSON. */
int spine_cli_json(struct cli *cli, json_t *value);
/* An extension as `list --json` shows it. `packets` and the like are summed over processors. */
json_t *spine_cli_record_json(const struct spine_device *d, const struct spine_record *r);
