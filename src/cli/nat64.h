/*
 * What the commands of `prickle nat64` share: which translator, its file, and how failures end.
 */
#pragma once
#include <jansson.h>

#include "cli/cli.h"
#include "cli/spine.h"
#include "nat64/instance.h"

#define CLI_OPTION_TRANSLATOR { "name", 'n', "NAME", "the translator of this name; needed where several run" }
#define CLI_OPTION_NAT64_NETNS { "netns", 'N', "NAME", "in this network namespace, as `ip netns list` calls it" }
#define NAT64_CLI_ARENA_BYTES (256u << 20)

/* From --name and --netns, as far as the command has them. */
void nat64_cli_where(struct cli *cli, struct nat64_where *out);
/* CLI_OK, or complains: CLI_NOT_FOUND where none runs, with what to do. Close with nat64_close. */
MUST_USE int nat64_cli_open(struct cli *cli, enum nat64_open_mode mode, struct nat64 **out);
enum cli_exit nat64_cli_exit(int err);
/* Complain with the sentence; returns nat64_cli_exit(err). */
int nat64_cli_fail(struct cli *cli, int err, const struct errmsg *why);
/*
 * Read a translator's file. CLI_OK, or all errors are printed (with --json as {"ok": false, "error", "errors": [...]}) and the code
 * is returned: CLI_CONFIG for mistakes.
 */
MUST_USE int nat64_cli_load(struct cli *cli, struct arena *arena, const char *path, struct nat64_settings **out);
/* Lines of mistakes that are in `errors` already; returns code. */
int nat64_cli_errors(struct cli *cli, enum cli_exit code, struct buf *errors);

/* "12,345" and "1.2 s", "5 m 3 s", "2 h 4 m", "3 d 1 h". */
void nat64_cli_count(struct buf *out, uint64_t n);
void nat64_cli_time(struct buf *out, int64_t ms);
/* "[####------]", ten cells. */
void nat64_cli_bar(struct buf *out, uint64_t used, uint64_t size);
const char *nat64_cli_mode(unsigned mode);
/* An address as JSON, and with its port as "[2001:db8::1]:80". */
json_t *nat64_cli_address_json(unsigned family, const __be32 *addr);
json_t *nat64_cli_endpoint_json(unsigned family, const __be32 *addr, __be16 port);
void nat64_cli_endpoint(struct buf *out, unsigned family, const __be32 *addr, __be16 port);

/*
 * The translators of this network namespace, for `prickle status`: an object each as of `prickle nat64 list --json`, and what is wrong with them
 * as {"what", "run"}; both arrays are appended to. Who may not look (not root) finds none.
 */
void nat64_cli_status(json_t *translators, json_t *problems);

/*
 * A command that shows something once, or again each --interval with --watch: calls `once` with the instance. Between two looks
 * it is closed, so an instance that ends, ends the watching.
 */
#define CLI_OPTION_WATCH { "watch", 'w', NULL, "show it again and again, until Ctrl-C" }
#define CLI_OPTION_INTERVAL { "interval", 'i', "MS", "milliseconds between two looks of --watch; 1000 without it" }
#define CLI_OPTION_COUNT { "count", 'c', "N", "end --watch after N looks" }
MUST_USE int nat64_cli_watch(struct cli *cli, int (*once)(void *arg, struct nat64 *n, uint64_t look, struct buf *out), void *arg);
