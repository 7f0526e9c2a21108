/*
 * `prickle nat64 check`: all mistakes of a translator's file before anything is changed by it.
 */
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/nat64.h"
#include "spine/host.h"

/* Interfaces of the namespace of --netns; CLI_OK or complained. */
static int check_host(struct cli *cli, const struct nat64_settings *s)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	struct errmsg why = { 0 };

	if (cli_has(cli, "file-only"))
		return CLI_OK;
	if (cli_value(cli, "netns") != NULL) {
		AUTO_FD int netns = host_netns(cli_value(cli, "netns"), &why);
		int err = netns < 0 ? netns : host_netns_enter(netns, &why);
		if (err != 0)
			return nat64_cli_fail(cli, err, &why);
	}
	if (nat64_settings_host(s, &errors) == 0)
		return CLI_OK;
	if (!cli_json(cli))
		buf_adds(&errors, "(With --file-only interfaces are not looked at.)\n");
	return nat64_cli_errors(cli, CLI_CONFIG, &errors);
}

static int show_json(struct cli *cli, const struct nat64_settings *s, struct buf *out)
{
	json_t *notes = json_array();
	struct slice rest = s->notes, line;

	while (rest.len > 0) {
		slice_cut(rest, '\n', &line, &rest);
		json_array_append_new(notes, json_stringn_nocheck((const char *)line.ptr, line.len));
	}
	char *text = json_dumps(notes, JSON_COMPACT);
	json_decref(notes);
	if (text == NULL)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	buf_printf(out, "{\"ok\": true, \"notes\": %s", text);
	free(text);
	if (cli_has(cli, "show")) {
		buf_adds(out, ", \"settings\": ");
		nat64_settings_json(s, out);
	}
	buf_adds(out, "}\n");
	return cli_print(cli, out);
}

static int check(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(NAT64_CLI_ARENA_BYTES);
	AUTO_BUF struct buf out = BUF_INIT(8u << 20);
	struct nat64_settings *s;

	if (cli_has(cli, "reference")) {
		nat64_settings_reference(&out);
		return cli_print(cli, &out);
	}
	if (cli_arg(cli, 0) == NULL)
		return cli_fail(cli, CLI_USAGE, "which file? Say 'prickle nat64 check FILE'; --reference lists all keys");
	int code = nat64_cli_load(cli, &arena, cli_arg(cli, 0), &s);
	if (code == CLI_OK)
		code = check_host(cli, s);
	if (code != CLI_OK)
		return code;
	if (cli_json(cli))
		return show_json(cli, s, &out);
	if (cli_has(cli, "show"))
		nat64_settings_yaml(s, &out);
	else
		buf_printf(&out, "%s is fine: translator '%s', mode %s\n", s->path, s->name, nat64_cli_mode(s->config.mode));
	fprintf(stderr, "%.*s", SLICE_FMT(s->notes));
	return cli_print(cli, &out);
}

const struct cli_command cmd_nat64_check = {
	.words = "nat64 check",
	.summary = "find all mistakes in a translator's file",
	.description = "Reads the file as 'prickle nat64 apply' would and prints every mistake with its place, the line, and what to write "
		       "instead; looks whether rows, prefixes, port blocks and mappings go together, and whether the interfaces exist. Exits "
		       "with 78 when there is a mistake. What is allowed but should be known is printed as notes.",
	.args = (const struct cli_arg[]){ { "FILE", "the translator's file", .optional = true, .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){
		{ "show", 's', NULL, "print all settings, defaults included, as the file would say them" },
		{ "file-only", 'f', NULL, "do not look at this host's interfaces" },
		{ "reference", 'r', NULL, "print a table of all keys instead" },
		CLI_OPTION_NAT64_NETNS, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 check /etc/prickle/nat64.yaml", "prickle nat64 check nat64.yaml --show --file-only",
		"prickle nat64 check --reference", NULL },
	.run = check,
};
