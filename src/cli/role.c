/*
 * `prickle role NAME`, which the supervisor calls, and `prickle roles`, which people read.
 */
#include <stdlib.h>

#include "cli/policy.h"
#include "conf/config.h"
#include "roles/supervise.h"
#include "roles/table.h"

static int role(struct cli *cli)
{
	const struct role_row *row = role_find(slice_str(cli_arg(cli, 0)));
	uint64_t instance;
	struct config *config;
	const char *path;
	int code = cli_number(cli, "instance", 0, ROLE_INSTANCES_MAX - 1, 0, &instance);

	if (code != CLI_OK)
		return code;
	if (row == NULL || (row->ops == NULL && row->id != ROLE_SUPERVISOR))
		return cli_fail(cli, CLI_NOT_FOUND, "there is no role '%s'; see 'prickle roles'", cli_arg(cli, 0));
	if (!cli_has(cli, "self-test"))
		return role_main(row->id, (unsigned)instance);
	code = cli_load_config(cli, &config, &path);
	return code == CLI_OK ? role_self_test(row->id, config) : code;
}

const struct cli_command cmd_role = {
	.words = "role",
	.summary = "be one of the node's processes",
	.args = (const struct cli_arg[]){ { "NAME", "a role of 'prickle roles'" }, { 0 } },
	.options = (const struct cli_option[]){
		{ "instance", '\0', "N", "which of several processes of this role" },
		{ "self-test", '\0', NULL, "put on the role's sandbox and try what it must refuse" },
		CLI_OPTION_CONFIG, { 0 } },
	.hidden = true,
	.examples = (const char *const[]){ "prickle role mx --self-test", NULL },
	.run = role,
};

static int roles(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	const struct analysis *a;
	struct errmsg why = { 0 };
	int code = policy_cli_source(cli, &arena, cli_value(cli, "in"), &a);

	if (code != CLI_OK)
		return code;
	if ((cli_json(cli) ? role_table_json : role_table_text)(&out, a, &why) != 0)
		return cli_fail(cli, CLI_FAILED, "%s", why.text);
	return cli_print(cli, &out);
}

const struct cli_command cmd_roles = {
	.words = "roles",
	.summary = "show what each process of the node may do",
	.description = "The processes of a node with their users and channels, and what the kernel lets each of them do: files, listening sockets, "
		       "capabilities, threads, each with the line of the shipped policy ('prickle policy show --shipped') that says so. A policy in "
		       "force that declares a domain of a role itself can take from that, never add. With --json also the system calls.",
	.options = (const struct cli_option[]){
		{ "in", 'i', "SOURCE", "under this policy instead: a file, the number of an epoch, or 'shipped'", CLI_FILE },
		CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle roles", "prickle roles --json", "prickle roles --in site.policy", NULL },
	.run = roles,
};
