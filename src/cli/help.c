/*
 * Help texts, `prickle help` and `prickle version`, from the table of commands.
 */
#include "cli/cli.h"

#define HELP_COLUMN 28u

/* "  left          right", the right part in its column. */
static void two_columns(struct buf *out, struct slice left, const char *right)
{
	buf_adds(out, "  ");
	buf_add(out, left);
	if (left.len + 4 > HELP_COLUMN)
		buf_addc(out, '\n');
	buf_fill(out, ' ', left.len + 4 > HELP_COLUMN ? HELP_COLUMN : HELP_COLUMN - 2 - left.len);
	buf_adds(out, right);
	buf_addc(out, '\n');
}

void cli_synopsis(struct buf *out, const struct cli_command *c)
{
	buf_printf(out, "prickle %s", c->words);
	if (c->options != NULL || c->json)
		buf_adds(out, " [options]");
	for (const struct cli_arg *a = c->args; a != NULL && a->name != NULL; a++)
		buf_printf(out, " %s%s%s%s", a->optional ? "[" : "", a->name, a->many ? "..." : "",
			   a->optional ? "]" : "");
}

static void one_option(struct buf *out, const struct cli_option *o)
{
	AUTO_BUF struct buf left = BUF_INIT(256);

	if (o->letter != '\0')
		buf_printf(&left, "-%c, ", o->letter);
	else
		buf_adds(&left, "    ");
	buf_printf(&left, "--%s", o->name);
	if (o->value != NULL)
		buf_printf(&left, " %s", o->value);
	two_columns(out, buf_slice(&left), o->help);
}

/* Words of text, broken before column 80. */
static void wrapped(struct buf *out, const char *text)
{
	struct slice word, rest = slice_str(text);
	size_t column = 0;

	while (rest.len > 0) {
		if (rest.ptr[0] == '\n') {
			buf_addc(out, '\n');
			column = 0;
			rest = slice_from(rest, 1);
			continue;
		}
		size_t end = 0;
		while (end < rest.len && rest.ptr[end] != ' ' && rest.ptr[end] != '\n')
			end++;
		word = slice_head(rest, end);
		rest = slice_from(rest, end);
		if (rest.len > 0 && rest.ptr[0] == ' ')
			rest = slice_from(rest, 1);
		if (column > 0 && column + 1 + word.len > 80) {
			buf_addc(out, '\n');
			column = 0;
		}
		if (column > 0)
			buf_addc(out, ' ');
		buf_add(out, word);
		column += word.len + (column > 0);
	}
	buf_addc(out, '\n');
}

void cli_help_command(struct buf *out, const struct cli_command *c)
{
	buf_printf(out, "prickle %s - %s\n\nUsage: ", c->words, c->summary);
	cli_synopsis(out, c);
	buf_addc(out, '\n');
	if (c->description != NULL) {
		buf_addc(out, '\n');
		wrapped(out, c->description);
	}
	if (c->args != NULL && c->args[0].name != NULL) {
		buf_adds(out, "\nArguments:\n");
		for (const struct cli_arg *a = c->args; a->name != NULL; a++)
			two_columns(out, slice_str(a->name), a->help);
	}
	buf_adds(out, "\nOptions:\n");
	for (const struct cli_option *o = c->options; o != NULL && o->name != NULL; o++)
		one_option(out, o);
	if (c->json)
		one_option(out, &(struct cli_option){ "json", '\0', NULL, "print JSON", CLI_ANY });
	one_option(out, &(struct cli_option){ "help", 'h', NULL, "show this help", CLI_ANY });
	if (c->examples == NULL)
		return;
	buf_adds(out, "\nExamples:\n");
	for (const char *const *e = c->examples; *e != NULL; e++)
		buf_printf(out, "  %s\n", *e);
}

void cli_help_group(struct buf *out, struct slice words)
{
	AUTO_BUF struct buf prefix = BUF_INIT(256);

	buf_add(&prefix, words);
	if (words.len > 0)
		buf_addc(&prefix, ' ');
	if (words.len == 0)
		buf_adds(out, "prickle - mail that is never lost, and many XDP programs on one interface\n\n");
	buf_printf(out, "Usage: prickle %.*s%s ...\n\nCommands:\n", SLICE_FMT(buf_slice(&prefix)),
		   "COMMAND");
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = cli_commands[i];
		if (!c->hidden && slice_starts(slice_str(c->words), buf_slice(&prefix)))
			two_columns(out, slice_str(c->words), c->summary);
	}
	buf_adds(out, "\n'prickle COMMAND --help' tells more about one command, 'prickle man' is the manual.\n");
	if (words.len > 0)
		return;
	buf_adds(out, "\nExit codes: 0 ok, 1 failed, 2 usage, 3 degraded, 4 not found, 5 refused, 75 temporary,\n"
		      "78 configuration.\n");
}

static int help(struct cli *cli)
{
	AUTO_BUF struct buf words = BUF_INIT(65536);
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);

	for (size_t i = 0; i < cli_arg_count(cli); i++)
		buf_printf(&words, "%s%s", i > 0 ? " " : "", cli_arg(cli, i));
	const struct cli_command *c = cli_find(buf_slice(&words));
	if (c != NULL)
		cli_help_command(&out, c);
	else if (cli_is_group(buf_slice(&words)))
		cli_help_group(&out, buf_slice(&words));
	else
		return cli_fail(cli, CLI_NOT_FOUND, "there is no command '%s'", buf_cstr(&words));
	return cli_print(cli, &out);
}

const struct cli_command cmd_help = {
	.words = "help",
	.summary = "explain a command",
	.args = (const struct cli_arg[]){ { "COMMAND", "the words of a command", true, true, CLI_COMMAND_WORDS }, { 0 } },
	.examples = (const char *const[]){ "prickle help config check", NULL },
	.run = help,
};

static int version(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(1000);

	if (cli_json(cli))
		buf_printf(&out, "{\"version\": \"%s\"}\n", PRICKLE_VERSION);
	else
		buf_printf(&out, "prickle %s\n", PRICKLE_VERSION);
	return cli_print(cli, &out);
}

const struct cli_command cmd_version = {
	.words = "version",
	.summary = "print the version",
	.json = true,
	.run = version,
};
