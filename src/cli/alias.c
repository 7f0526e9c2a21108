/*
 * `prickle alias ...`: addresses whose mail goes to users.
 */
#include "cli/cli.h"
#include "cli/names.h"

static const struct cli_arg name_arg[] = {
	{ "ALIAS", "the address; @DOMAIN takes what nobody else there takes" }, { 0 }
};
static const struct cli_arg write_args[] = {
	{ "ALIAS", "the address; @DOMAIN takes what nobody else there takes" },
	{ "TARGET", "addresses at our domains that get the mail", .many = true },
	{ 0 }
};
static const struct cli_option plain_options[] = { CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 } };
static const struct cli_option list_options[] = {
	{ "domain", 'd', "DOMAIN", "only those at this domain" },
	CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 }
};

/* All arguments as they are. */
static int run(struct cli *cli, const char *verb)
{
	struct names_request r;
	int code;

	if (cli_arg_count(cli) > ADMIN_ARGS_MAX)
		return cli_fail(cli, CLI_USAGE, "at most %u targets at once", ADMIN_ARGS_MAX - 1);
	names_begin(&r, "alias", verb);
	for (size_t i = 0; i < cli_arg_count(cli); i++)
		names_arg(&r, cli_arg(cli, i));
	code = names_run(cli, &r);
	names_end(&r);
	return code;
}

static int alias_add(struct cli *cli)
{
	return run(cli, "add");
}

static int alias_set(struct cli *cli)
{
	return run(cli, "set");
}

static int alias_show(struct cli *cli)
{
	return run(cli, "show");
}

static int alias_remove(struct cli *cli)
{
	return run(cli, "remove");
}

static int alias_list(struct cli *cli)
{
	struct names_request r;
	int code;

	names_begin(&r, "alias", "list");
	if (cli_value(cli, "domain") != NULL)
		names_set(&r, "domain", cli_value(cli, "domain"));
	code = names_list(cli, &r, "aliases");
	names_end(&r);
	return code;
}

const struct cli_command cmd_alias_add = {
	.words = "alias add", .summary = "send mail for an address to users", .args = write_args,
	.description = "A target may itself be an alias. Mail for ALIAS+word goes the same way.",
	.options = plain_options, .json = true, .run = alias_add,
	.examples = (const char *const[]){
		"prickle alias add sales@example.org ann@example.org bob@example.org",
		"prickle alias add @example.org ann@example.org", NULL },
};
const struct cli_command cmd_alias_list = {
	.words = "alias list", .summary = "list the aliases", .options = list_options,
	.json = true, .run = alias_list,
	.examples = (const char *const[]){ "prickle alias list --domain example.org", NULL },
};
const struct cli_command cmd_alias_show = {
	.words = "alias show", .summary = "show where mail for an alias goes", .args = name_arg,
	.options = plain_options, .json = true, .run = alias_show,
	.examples = (const char *const[]){ "prickle alias show sales@example.org", NULL },
};
const struct cli_command cmd_alias_set = {
	.words = "alias set", .summary = "replace the targets of an alias", .args = write_args,
	.options = plain_options, .json = true, .run = alias_set,
	.examples = (const char *const[]){ "prickle alias set sales@example.org bob@example.org", NULL },
};
const struct cli_command cmd_alias_remove = {
	.words = "alias remove", .summary = "remove an alias", .args = name_arg,
	.options = plain_options, .json = true, .run = alias_remove,
	.examples = (const char *const[]){ "prickle alias remove sales@example.org", NULL },
};
