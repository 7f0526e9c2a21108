/*
 * `prickle config check | explain | show`.
 */
#include <jansson.h>
#include <stdlib.h>

#include "base/suggest.h"
#include "cli/cli.h"
#include "cli/node.h"
#include "conf/config.h"

static int check(struct cli *cli)
{
	const char *path;
	struct config *c;
	int err = cli_load_config(cli, &c, &path);

	if (err == CLI_OK) {
		err = node_check(cli, c, path);
		if (err != CLI_OK)
			config_free(c);
	}
	if (err != CLI_OK)
		return err;
	AUTO_BUF struct buf out = BUF_INIT(65536);
	if (cli_json(cli))
		buf_printf(&out, "{\"ok\": true}\n");
	else if (path == NULL)
		buf_printf(&out, "%s does not exist: the defaults serve\n", CLI_DEFAULT_CONFIG);
	else
		buf_printf(&out, "%s is fine\n", path);
	config_free(c);
	return cli_print(cli, &out);
}

const struct cli_command cmd_config_check = {
	.words = "config check",
	.summary = "find all mistakes in the configuration",
	.description = "Reads the configuration as a start would and prints every mistake with its place, the "
		       "line and the option that was probably meant; then reads the certificate and its key, and looks "
		       "whether they belong together. Exits with 78 when there is a mistake.",
	.options = (const struct cli_option[]){ CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle config check", "prickle config check --config ./new.yaml", NULL },
	.run = check,
};

/* Print v and release it. */
static int print_json(struct cli *cli, json_t *v)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	char *text = v == NULL ? NULL : json_dumps(v, JSON_INDENT(2) | JSON_ENCODE_ANY);

	json_decref(v);
	if (text == NULL)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	buf_printf(&out, "%s\n", text);
	free(text);
	return cli_print(cli, &out);
}

static json_t *json_bytes(struct slice s)
{
	return json_stringn_nocheck((const char *)s.ptr, s.len);
}

static json_t *option_json(const struct config *c, const struct config_option *o)
{
	AUTO_BUF struct buf value = BUF_INIT(65536);
	AUTO_BUF struct buf type = BUF_INIT(4096);
	size_t i = (size_t)(o - config_options);
	json_t *v = json_object();

	config_value(&value, c, (enum config_option_id)i);
	config_option_type(&type, o);
	json_object_set_new(v, "key", json_string(o->key));
	json_object_set_new(v, "value", json_bytes(buf_slice(&value)));
	json_object_set_new(v, "default", json_string(o->default_text));
	json_object_set_new(v, "type", json_bytes(buf_slice(&type)));
	json_object_set_new(v, "reload", json_string(o->live ? "live" : "restart"));
	json_object_set_new(v, "line", c->line[i] == 0 ? json_null() : json_integer(c->line[i]));
	json_object_set_new(v, "doc", json_string(o->doc));
	return v;
}

static void explain_text(struct buf *out, const struct config *c, const struct config_option *o,
			 const char *path)
{
	size_t i = (size_t)(o - config_options);

	buf_printf(out, "%s: %s\n  Takes:   ", o->key, o->doc);
	config_option_type(out, o);
	buf_printf(out, "\n  Default: %s\n  Now:     ", o->default_text[0] == '\0' ? "(empty)" : o->default_text);
	config_value_yaml(out, c, (enum config_option_id)i);
	if (c->line[i] != 0)
		buf_printf(out, " (%s:%u)", path, c->line[i]);
	buf_printf(out, "\n  Changes: %s\n", o->live ? "at a reload" : "when the node starts again");
}

static int explain(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct slice key = slice_str(cli_arg_count(cli) > 0 ? cli_arg(cli, 0) : "");
	const char *path;
	struct config *c;
	size_t found = 0;
	int err = cli_load_config(cli, &c, &path);

	if (err != CLI_OK)
		return err;
	json_t *list = json_array();
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct config_option *o = &config_options[i];
		struct slice k = slice_str(o->key);
		bool in_group = slice_starts(k, key) && k.len > key.len && k.ptr[key.len] == '.';
		if (key.len > 0 && !slice_eq(k, key) && !in_group)
			continue;
		if (found++ > 0)
			buf_addc(&out, '\n');
		explain_text(&out, c, o, path);
		json_array_append_new(list, option_json(c, o));
	}
	config_free(c);
	if (found == 0) {
		const char *near = config_option_suggest(key);
		json_decref(list);
		return cli_fail(cli, CLI_NOT_FOUND, "there is no option '%s'%s%s%s", cli_arg(cli, 0),
				near == NULL ? "" : "; did you mean '", near == NULL ? "" : near,
				near == NULL ? "" : "'?");
	}
	if (cli_json(cli))
		return print_json(cli, list);
	json_decref(list);
	return cli_print(cli, &out);
}

const struct cli_command cmd_config_explain = {
	.words = "config explain",
	.summary = "tell what an option means and what it is set to",
	.args = (const struct cli_arg[]){
		{ "KEY", "an option, or a group of options; all without", true, false, CLI_OPTION_KEY }, { 0 } },
	.options = (const struct cli_option[]){ CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle config explain", "prickle config explain mail.quota", "prickle config explain timeouts", NULL },
	.run = explain,
};

/* A file with these values: nested groups in the order of the table. */
static void show_yaml(struct buf *out, const struct config *c, bool changed_only)
{
	struct slice open = { 0 };		/* group of the line before */

	for (size_t i = 0; i < OPTION_COUNT; i++) {
		struct slice key = slice_str(config_options[i].key);
		size_t dot = slice_rfind_byte(key, '.');
		struct slice group = dot == SLICE_NPOS ? slice_head(key, 0) : slice_head(key, dot);
		if (changed_only && c->line[i] == 0)
			continue;
		/* Print the parts of the group that are not open yet. */
		size_t depth = 0;
		struct slice part, rest = group;
		bool same = true;
		for (size_t at = 0; rest.len > 0; depth++) {
			slice_cut(rest, '.', &part, &rest);
			at += part.len + (at > 0);
			same = same && open.len >= at && slice_eq(slice_head(open, at), slice_head(group, at)) &&
			       (open.len == at || open.ptr[at] == '.');
			if (same)
				continue;
			buf_fill(out, ' ', 2 * depth);
			buf_add(out, part);
			buf_adds(out, ":\n");
		}
		open = group;
		buf_fill(out, ' ', 2 * depth);
		buf_add(out, dot == SLICE_NPOS ? key : slice_from(key, dot + 1));
		buf_adds(out, ": ");
		config_value_yaml(out, c, (enum config_option_id)i);
		buf_addc(out, '\n');
	}
	if (out->len == 0)
		buf_adds(out, "# all options have their defaults\n");
}

static int show(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	const char *path;
	struct config *c;
	int err = cli_load_config(cli, &c, &path);

	if (err != CLI_OK)
		return err;
	if (cli_json(cli)) {
		json_t *list = json_array();
		for (size_t i = 0; i < OPTION_COUNT; i++) {
			if (c->line[i] != 0 || !cli_has(cli, "changed"))
				json_array_append_new(list, option_json(c, &config_options[i]));
		}
		config_free(c);
		return print_json(cli, list);
	}
	show_yaml(&out, c, cli_has(cli, "changed"));
	config_free(c);
	return cli_print(cli, &out);
}

const struct cli_command cmd_config_show = {
	.words = "config show",
	.summary = "print the configuration with all defaults filled in",
	.description = "The output is itself a valid configuration file.",
	.options = (const struct cli_option[]){
		CLI_OPTION_CONFIG,
		{ "changed", '\0', NULL, "leave out what the file does not set", CLI_ANY }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle config show", "prickle config show --changed --json", NULL },
	.run = show,
};
