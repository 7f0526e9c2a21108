/*
 * `prickle user ...`: who has a mailbox here.
 *
 * Secrets never stand in argv, which every process of the machine can read.
 */
#include <pwd.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/names.h"
#include "mail/directory/limits.h"

static const struct cli_arg name_arg[] = { { "ADDRESS", "full address of the user" }, { 0 } };
static const struct cli_option plain_options[] = { CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 } };
static const struct cli_option list_options[] = {
	{ "domain", 'd', "DOMAIN", "only those at this domain" },
	CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 }
};

#define SECRET_OPTIONS										\
	{ "password-stdin", 'p', NULL, "read the password from standard input, one line" },	\
	{ "hash-stdin", '\0', NULL, "read a crypt(5) or Argon2id hash from standard input, from another system" }
#define VALUE_OPTIONS										\
	{ "name", 'n', "TEXT", "display name" },						\
	{ "quota", 'q', "SIZE", "room for mail; 0: no limit; 'domain': as others of the domain" }, \
	{ "messages", 'm', "COUNT", "limit of messages; 0: no limit" },				\
	{ "groups", 'g', "LIST", "groups that the policy names, with commas between; 'none': in no group" }, \
	{ "system-user", 'u', "USER", "name or uid of a user of this machine, who is this user for 'prickle'; 'none': nobody" }

static const struct cli_option add_options[] = {
	SECRET_OPTIONS,
	{ "no-password", '\0', NULL, "nobody can log in until a password is set" },
	VALUE_OPTIONS, CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 }
};
static const struct cli_option set_options[] = {
	VALUE_OPTIONS,
	{ "disable", '\0', NULL, "no login and no new mail; ends open sessions" },
	{ "enable", '\0', NULL, "undo --disable" },
	CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 }
};
static const struct cli_option password_options[] = {
	SECRET_OPTIONS, CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 }
};

static int add_secret(struct cli *cli, struct names_request *r)
{
	char secret[NAMES_PASSWORD_BYTES] = "";
	bool hash = cli_has(cli, "hash-stdin"), password = cli_has(cli, "password-stdin");
	int code;

	if (hash && password)
		return cli_fail(cli, CLI_USAGE, "give --password-stdin or --hash-stdin, not both");
	code = names_secret(cli, hash || password, hash ? "hash" : "password", secret);
	if (code == CLI_OK)
		names_set(r, hash ? "hash" : "password", secret);
	explicit_bzero(secret, sizeof(secret));
	return code;
}

/* The uid of a name, which this machine knows and the node may not. Root needs none: it is the operator. */
static int system_user(struct cli *cli, const char *text, char uid[12])
{
	const struct passwd *p;
	uint32_t number = 0;

	if (strcmp(text, "none") != 0 && !slice_u32(slice_str(text), &number)) {
		p = getpwnam(text);
		if (p == NULL)
			return cli_fail(cli, CLI_NOT_FOUND, "this machine has no user '%s'; 'getent passwd' lists them", text);
		number = p->pw_uid;
	}
	if (number == 0 && strcmp(text, "none") != 0)
		return cli_fail(cli, CLI_USAGE, "root is the operator already; name another user of the system");
	snprintf(uid, 12, "%u", (unsigned)number);
	return CLI_OK;
}

static int add_values(struct cli *cli, struct names_request *r)
{
	const char *groups = cli_value(cli, "groups"), *user = cli_value(cli, "system-user");
	char uid[12];
	int code;

	if (cli_value(cli, "name") != NULL)
		names_set(r, "name", cli_value(cli, "name"));
	if (groups != NULL && strlen(groups) > DIRECTORY_GROUPS_BYTES_MAX)
		return cli_fail(cli, CLI_USAGE, "--groups: at most %u bytes", DIRECTORY_GROUPS_BYTES_MAX);
	if (groups != NULL)
		names_set(r, "groups", strcmp(groups, "none") == 0 ? "" : groups);
	if (user != NULL) {
		code = system_user(cli, user, uid);
		if (code != CLI_OK)
			return code;
		names_set(r, "system-user", uid);
	}
	return names_quota(cli, r);
}

static int user_add(struct cli *cli)
{
	struct names_request r;
	int code;

	names_begin(&r, "user", "add");
	names_arg(&r, cli_arg(cli, 0));
	code = add_values(cli, &r);
	if (code == CLI_OK && !cli_has(cli, "no-password"))
		code = add_secret(cli, &r);
	if (code == CLI_OK)
		code = names_run(cli, &r);
	names_end(&r);
	return code;
}

static int user_set(struct cli *cli)
{
	bool disable = cli_has(cli, "disable"), enable = cli_has(cli, "enable");
	struct names_request r;
	int code;

	if (disable && enable)
		return cli_fail(cli, CLI_USAGE, "give --disable or --enable, not both");
	names_begin(&r, "user", "set");
	names_arg(&r, cli_arg(cli, 0));
	if (disable || enable)
		names_set(&r, "disabled", disable ? "yes" : "no");
	code = add_values(cli, &r);
	if (code == CLI_OK && r.req.arg_count == 1)
		code = cli_fail(cli, CLI_USAGE,
				"nothing to change; give an option, or use 'prickle user password'");
	if (code == CLI_OK)
		code = names_run(cli, &r);
	names_end(&r);
	return code;
}

static int user_password(struct cli *cli)
{
	struct names_request r;
	int code;

	names_begin(&r, "user", "set");
	names_arg(&r, cli_arg(cli, 0));
	code = add_secret(cli, &r);
	if (code == CLI_OK)
		code = names_run(cli, &r);
	names_end(&r);
	return code;
}

static int run(struct cli *cli, const char *verb)
{
	struct names_request r;
	int code;

	names_begin(&r, "user", verb);
	names_arg(&r, cli_arg(cli, 0));
	code = names_run(cli, &r);
	names_end(&r);
	return code;
}

static int user_show(struct cli *cli)
{
	return run(cli, "show");
}

static int user_remove(struct cli *cli)
{
	return run(cli, "remove");
}

static int user_list(struct cli *cli)
{
	struct names_request r;
	int code;

	names_begin(&r, "user", "list");
	if (cli_value(cli, "domain") != NULL)
		names_set(&r, "domain", cli_value(cli, "domain"));
	code = names_list(cli, &r, "users");
	names_end(&r);
	return code;
}

const struct cli_command cmd_user_add = {
	.words = "user add", .summary = "make a user", .args = name_arg, .options = add_options,
	.description = "The domain must be ours (prickle domain add). Without --password-stdin, --hash-stdin or "
		       "--no-password you are asked for the password at the terminal.",
	.json = true, .run = user_add,
	.examples = (const char *const[]){ "prickle user add ann@example.org --name 'Ann Lee'",
					   "pass mail/ann | prickle user add ann@example.org --password-stdin",
					   NULL },
};
const struct cli_command cmd_user_list = {
	.words = "user list", .summary = "list the users", .options = list_options, .json = true,
	.run = user_list,
	.examples = (const char *const[]){ "prickle user list --domain example.org", NULL },
};
const struct cli_command cmd_user_show = {
	.words = "user show", .summary = "show a user", .args = name_arg, .options = plain_options,
	.json = true, .run = user_show,
	.examples = (const char *const[]){ "prickle user show ann@example.org", NULL },
};
const struct cli_command cmd_user_set = {
	.words = "user set", .summary = "change a user",
	.description = "Groups are words that the policy gives rights to (role NAME = principal in group \"...\"). Commands of the "
		       "user of the system that --system-user names are judged by this user's groups.", .args = name_arg, .options = set_options,
	.json = true, .run = user_set,
	.examples = (const char *const[]){ "prickle user set ann@example.org --quota '20 GiB'",
					   "prickle user set ann@example.org --disable",
					   "prickle user set carol@example.org --groups mail-admins --system-user carol", NULL },
};
const struct cli_command cmd_user_password = {
	.words = "user password", .summary = "set a user's password", .args = name_arg,
	.description = "Holds at once; open sessions of the user end.",
	.options = password_options, .json = true, .run = user_password,
	.examples = (const char *const[]){ "prickle user password ann@example.org", NULL },
};
const struct cli_command cmd_user_remove = {
	.words = "user remove", .summary = "remove a user",
	.description = "Ends open sessions. Mail for the address is refused from now on.",
	.args = name_arg, .options = plain_options, .json = true, .run = user_remove,
	.examples = (const char *const[]){ "prickle user remove ann@example.org", NULL },
};
