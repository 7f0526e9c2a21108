/*
 * What the policy commands share: the store of --policy or of the configuration, and what changes, for people.
 */
#pragma once
#include <jansson.h>

#include "cli/cli.h"
#include "policy/analysis/analysis.h"
#include "policy/store.h"

#define CLI_OPTION_POLICY										\
	{ "policy", '\0', "DIRECTORY", "the policy that is kept here instead of the configured one", CLI_DIRECTORY }

/* Of a command with CLI_OPTION_POLICY and CLI_OPTION_CONFIG: the directory. CLI_OK, or complains. */
MUST_USE int policy_cli_directory(struct cli *cli, char out[POLICY_DIRECTORY_BYTES]);
/* Open the store: flags of enum policy_store_flags. CLI_OK, or complains. */
MUST_USE int policy_cli_open(struct cli *cli, uint32_t flags, struct policy_store **out);
/* Tell a failure of the store: its sentence, and what errno means as an exit code. */
int policy_cli_fail(struct cli *cli, int err, const struct errmsg *why);
/* Print one JSON value and drop it. */
int policy_cli_json(struct cli *cli, json_t *value);

/* "90s", "30m", "12h", "7d": that long ago, in microseconds since 1970. CLI_OK, or complains. */
MUST_USE int policy_cli_since(struct cli *cli, const char *text, int64_t *us);
/* Something that an extension was linked with was refused; what: its record's text, "helper fib_lookup". False: no line of a policy allows it. */
bool policy_cli_is_use(const struct policy_record *r);
bool policy_cli_use_line(struct buf *out, const char *before, const char *subject, const char *what);
/* What the policy of its epoch says of a decision; nothing when that is not kept. */
void policy_cli_explain_text(struct cli *cli, struct buf *out, const struct policy_entry *entry);
json_t *policy_cli_explain_json(struct cli *cli, const struct policy_entry *entry);

/* A policy by what a user calls it: NULL or "current" (in force), "shipped", the number of an epoch, or a file; analysed. CLI_OK, or complains. */
MUST_USE int policy_cli_source(struct cli *cli, struct arena *arena, const char *source, const struct analysis **out);

/* "+ mail.user may read mailbox", a line a change. */
void policy_cli_changes(struct buf *out, const struct analysis_change *changes, size_t count);
json_t *policy_cli_changes_json(const struct analysis_change *changes, size_t count);
/* "read, write" */
void policy_cli_permissions(struct buf *out, enum policy_class class, uint32_t permissions);

/* A key file of `policy key new`, that nobody else may read. CLI_OK, or complains. */
#define POLICY_SECRET_BYTES 64u
MUST_USE int policy_cli_secret(struct cli *cli, const char *path, uint8_t secret[POLICY_SECRET_BYTES]);
