/*
 * `prickle domain ...`: the domains that this node takes mail for.
 */
#include "cli/cli.h"
#include "cli/names.h"

static const struct cli_arg name_arg[] = { { "DOMAIN", "the domain, like example.org" }, { 0 } };
static const struct cli_option plain_options[] = { CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 } };
static const struct cli_option write_options[] = {
	{ "quota", 'q', "SIZE", "room of each user without an own limit; 0: as configured (mail.quota)" },
	{ "messages", 'm', "COUNT", "messages of each user without an own limit; 0: no limit" },
	{ "postmaster", 'p', "ADDRESS", "who gets the mail for postmaster, as long as there is no user or alias of that "
					"name; at first the first user of the domain" },
	CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 }
};

static int run(struct cli *cli, const char *verb)
{
	struct names_request r;
	int code;

	names_begin(&r, "domain", verb);
	names_arg(&r, cli_arg(cli, 0));
	code = names_run(cli, &r);
	names_end(&r);
	return code;
}

static int write_domain(struct cli *cli, const char *verb)
{
	struct names_request r;
	int code;

	names_begin(&r, "domain", verb);
	names_arg(&r, cli_arg(cli, 0));
	if (cli_value(cli, "postmaster") != NULL)
		names_set(&r, "postmaster", cli_value(cli, "postmaster"));
	code = names_quota(cli, &r);
	if (code == CLI_OK)
		code = names_run(cli, &r);
	names_end(&r);
	return code;
}

static int domain_add(struct cli *cli)
{
	return write_domain(cli, "add");
}

static int domain_set(struct cli *cli)
{
	return write_domain(cli, "set");
}

static int domain_show(struct cli *cli)
{
	return run(cli, "show");
}

static int domain_remove(struct cli *cli)
{
	return run(cli, "remove");
}

static int domain_list(struct cli *cli)
{
	struct names_request r;
	int code;

	names_begin(&r, "domain", "list");
	code = names_list(cli, &r, "domains");
	names_end(&r);
	return code;
}

const struct cli_command cmd_domain_add = {
	.words = "domain add", .summary = "take mail for a domain", .args = name_arg,
	.options = write_options, .json = true, .run = domain_add,
	.examples = (const char *const[]){ "prickle domain add example.org",
					   "prickle domain add example.org --quota '5 GiB'", NULL },
};
const struct cli_command cmd_domain_list = {
	.words = "domain list", .summary = "list the domains", .options = plain_options,
	.json = true, .run = domain_list,
	.examples = (const char *const[]){ "prickle domain list --json", NULL },
};
const struct cli_command cmd_domain_show = {
	.words = "domain show", .summary = "show a domain", .args = name_arg,
	.options = plain_options, .json = true, .run = domain_show,
	.examples = (const char *const[]){ "prickle domain show example.org", NULL },
};
const struct cli_command cmd_domain_set = {
	.words = "domain set", .summary = "change a domain", .args = name_arg,
	.options = write_options, .json = true, .run = domain_set,
	.examples = (const char *const[]){ "prickle domain set example.org --quota '20 GiB'",
					   "prickle domain set example.org --postmaster ann@example.org", NULL },
};
const struct cli_command cmd_domain_remove = {
	.words = "domain remove", .summary = "take no more mail for a domain",
	.description = "Only a domain without users and aliases can be removed.", .args = name_arg,
	.options = plain_options, .json = true, .run = domain_remove,
	.examples = (const char *const[]){ "prickle domain remove example.org", NULL },
};
