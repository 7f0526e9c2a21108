/*
 * `prickle limits`: every limit that a peer can meet.
 */
#include <jansson.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/limit_table.h"

static int limits_json(struct cli *cli, const char *module)
{
	AUTO_BUF struct buf out = BUF_INIT(4u << 20);
	json_t *list = json_array();

	for (size_t i = 0; i < limit_table_count; i++) {
		const struct limit *l = &limit_table[i];
		if (module != NULL && strcmp(module, l->module) != 0)
			continue;
		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:s, s:s?, s:s, s:s}", "module", l->module,
			"name", l->name, "value", (json_int_t)l->value, "unit", l->unit, "setting",
			strcmp(l->setting, "-") == 0 ? NULL : l->setting, "source", l->source, "generator",
			l->generator));
	}
	char *text = json_dumps(list, JSON_INDENT(2));
	json_decref(list);
	if (text == NULL)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	buf_printf(&out, "%s\n", text);
	free(text);
	return cli_print(cli, &out);
}

static int limits(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(4u << 20);
	const char *module = cli_arg(cli, 0);
	bool known = module == NULL;

	for (size_t i = 0; i < limit_table_count && !known; i++)
		known = strcmp(limit_table[i].module, module) == 0;
	if (!known)
		return cli_fail(cli, CLI_NOT_FOUND, "there is no module '%s' with limits", module);
	if (cli_json(cli))
		return limits_json(cli, module);
	const char *last = "";
	for (size_t i = 0; i < limit_table_count; i++) {
		const struct limit *l = &limit_table[i];
		if (module != NULL && strcmp(module, l->module) != 0)
			continue;
		if (strcmp(last, l->module) != 0)
			buf_printf(&out, "%s%s\n", out.len > 0 ? "\n" : "", l->module);
		last = l->module;
		buf_printf(&out, "  %-34s %12llu %-12s %s%s%s\n", l->name, (unsigned long long)l->value, l->unit,
			   l->source, strcmp(l->setting, "-") == 0 ? "" : "; set by ",
			   strcmp(l->setting, "-") == 0 ? "" : l->setting);
	}
	return cli_print(cli, &out);
}

const struct cli_command cmd_limits = {
	.words = "limits",
	.summary = "list every limit with its source",
	.description = "What a client, a file or another process can make us do is bounded; these are the bounds.",
	.args = (const struct cli_arg[]){ { "MODULE", "only the limits of this module, such as mail/imap", true, false, CLI_ANY }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle limits", "prickle limits mail/imap", NULL },
	.run = limits,
};
