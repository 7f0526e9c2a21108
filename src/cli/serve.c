/*
 * `prickle serve`: the node, for real use; and `prickle reload`.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/node.h"
#include "cli/spine.h"
#include "conf/config.h"
#include "roles/admin.h"
#include "roles/supervise.h"

static int serve(struct cli *cli)
{
	struct supervise_options options = { 0 };
	char directory[POLICY_DIRECTORY_BYTES];
	int code = cli_load_config(cli, &options.config, &options.config_path);

	if (code == CLI_OK)
		code = node_check(cli, options.config, options.config_path);
	if (code != CLI_OK)
		return code;
	if (options.config_path == NULL)
		fprintf(stderr,
			"prickle: there is no %s: the defaults serve, with host name %s and mail in %s.\n"
			"Next:\n"
			"  prickle domain add example.org          take mail for a domain\n"
			"  prickle user add ann@example.org        make its first user\n"
			"  mkdir -p /etc/prickle && prickle config show > %s\n"
			"                                          a file to change; the node takes it at its next start\n"
			"  prickle status                          how it goes\n"
			"To try without installing anything: prickle demo\n",
			CLI_DEFAULT_CONFIG, options.config->hostname, options.config->state, CLI_DEFAULT_CONFIG);
	if (geteuid() != 0)
		fprintf(stderr, "prickle: not started by root: all roles share this user, and ports below 1024 may be refused.\n");
	if (policy_store_configured(options.config, directory) == 0)
		spine_cli_settle(directory);
	return supervise(&options);
}

const struct cli_command cmd_serve = {
	.words = "serve",
	.summary = "run the node",
	.description = "Runs all services in the foreground until SIGINT or SIGTERM. SIGHUP or 'prickle reload' "
		       "reads the configuration again: a file with a mistake changes nothing. Without a "
		       "configuration file the defaults serve.\n\n"
		       "Started by root, each role runs under a user id of its own; by anybody else, all run "
		       "under that user. Takes listening sockets from systemd, and tells it when all is ready.",
	.options = (const struct cli_option[]){ CLI_OPTION_CONFIG, { 0 } },
	.examples = (const char *const[]){ "prickle serve", "prickle serve --config ./prickle.yaml", NULL },
	.run = serve,
};

static int reload(struct cli *cli)
{
	AUTO_BUF struct buf storage = BUF_INIT(ADMIN_JSON_BYTES + 64);
	struct admin_request req = { .object = SLICE("node"), .verb = SLICE("reload") };
	struct admin_reply reply;
	int code = node_ask(cli, &req, &storage, &reply);

	if (code != CLI_OK)
		return code;
	if (reply.exit_code != ADMIN_OK)
		return node_fail(cli, &reply);
	AUTO_BUF struct buf out = BUF_INIT(2 * ADMIN_JSON_BYTES);
	json_t *json = json_loadb((const char *)reply.json.ptr, reply.json.len, 0, NULL);
	const char *later = json_string_value(json_object_get(json, "at_next_start"));
	if (cli_json(cli)) {
		buf_add(&out, reply.json);
		buf_addc(&out, '\n');
	} else {
		buf_adds(&out, "the node has the new configuration\n");
		if (later != NULL && *later != '\0')
			buf_printf(&out, "at the next start: %s\n", later);
	}
	json_decref(json);
	return cli_print(cli, &out);
}

const struct cli_command cmd_reload = {
	.words = "reload",
	.summary = "make the node read its configuration again",
	.description = "All or nothing: a file with a mistake changes nothing. No connection is dropped. Options "
		       "that need a new start keep their old value ('prickle config explain' tells which).",
	.options = (const struct cli_option[]){ CLI_OPTION_CONFIG, CLI_OPTION_SOCKET, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle config check && prickle reload", NULL },
	.run = reload,
};
