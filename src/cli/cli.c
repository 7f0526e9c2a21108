#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/must.h"
#include "base/suggest.h"
#include "base/utf8.h"
#include "conf/config.h"

#define CLI_OPTIONS_MAX 32u
#define CLI_TEXT_BYTES	(4u << 20)

#define COMMAND(name) extern const struct cli_command name;
#include "cli/commands.def"
#undef COMMAND

const struct cli_command *const cli_commands[] = {
#define COMMAND(name) &name,
#include "cli/commands.def"
#undef COMMAND
};
const size_t cli_command_count = ARRAY_LEN(cli_commands);

struct cli {
	const struct cli_command *command;
	bool json, help;
	const char *values[CLI_OPTIONS_MAX];	/* by index of the command's options; "" for a flag */
	const char *args[CLI_ARGS_MAX];
	size_t arg_count;
};

/* Every command has these. */
static const struct cli_option option_help = { "help", 'h', NULL, "show this help", CLI_ANY };
static const struct cli_option option_json = { "json", '\0', NULL, "print JSON", CLI_ANY };

const struct cli_command *cli_command(const struct cli *cli)
{
	return cli->command;
}

bool cli_json(const struct cli *cli)
{
	return cli->json;
}

static size_t option_index(const struct cli_command *c, struct slice name)
{
	size_t i = 0;

	for (; c->options != NULL && c->options[i].name != NULL; i++) {
		if (slice_eq(slice_str(c->options[i].name), name))
			return i;
	}
	return SIZE_MAX;
}

const char *cli_value(const struct cli *cli, const char *name)
{
	size_t i = option_index(cli->command, slice_str(name));

	must(i < CLI_OPTIONS_MAX);
	return cli->values[i];
}

bool cli_has(const struct cli *cli, const char *name)
{
	return cli_value(cli, name) != NULL;
}

int cli_number(struct cli *cli, const char *name, uint64_t least, uint64_t most, uint64_t otherwise,
	       uint64_t *out)
{
	const char *text = cli_value(cli, name);
	uint64_t v = otherwise;

	if (text != NULL && (!slice_u64(slice_str(text), most, &v) || v < least))
		return cli_fail(cli, CLI_USAGE, "--%s: '%s' is not a number from %llu to %llu", name, text,
				(unsigned long long)least, (unsigned long long)most);
	*out = v;
	return CLI_OK;
}

const char *cli_arg(const struct cli *cli, size_t i)
{
	return i < cli->arg_count ? cli->args[i] : NULL;
}

size_t cli_arg_count(const struct cli *cli)
{
	return cli->arg_count;
}

/* Addresses, folder names and a role's words come from elsewhere: keep terminal sequences out. */
static void add_printable(struct buf *out, struct slice s)
{
	uint32_t c;

	while (utf8_next(&s, &c))
		utf8_add(out, c != '\n' && c != '\t' && utf8_is_control(c) ? UTF8_REPLACEMENT : c);
}

int cli_print(struct cli *cli, struct buf *text)
{
	AUTO_BUF struct buf clean = BUF_INIT(3 * text->max);
	struct slice out = buf_slice(text);
	int err = text->err;

	/* JSON has its own escapes, and its readers want the bytes. */
	if (err == 0 && !cli->json) {
		add_printable(&clean, out);
		out = buf_slice(&clean);
		err = clean.err;
	}
	if (err == 0 && out.len > 0 && fwrite(out.ptr, 1, out.len, stdout) != out.len)
		err = -errno;
	if (err == 0 && fflush(stdout) != 0)
		err = -errno;
	buf_reset(text);
	if (err == 0)
		return CLI_OK;
	fprintf(stderr, "prickle: cannot write to standard output: %s\n", strerrordesc_np(-err));
	return CLI_FAILED;
}

int cli_fail(struct cli *cli, enum cli_exit code, const char *fmt, ...)
{
	AUTO_BUF struct buf sentence = BUF_INIT(65536);
	AUTO_BUF struct buf out = BUF_INIT(CLI_TEXT_BYTES);
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&sentence, fmt, ap);
	va_end(ap);
	if (cli->json) {
		buf_adds(&out, "{\"error\": ");
		admin_json_string(&out, buf_slice(&sentence));
		buf_adds(&out, "}\n");
		int err = cli_print(cli, &out);
		return err != CLI_OK ? err : (int)code;
	}
	add_printable(&out, buf_slice(&sentence));
	fprintf(stderr, "prickle%s%s: %s\n", cli->command == NULL ? "" : " ",
		cli->command == NULL ? "" : cli->command->words, buf_cstr(&out));
	return (int)code;
}

int cli_load_config(struct cli *cli, struct config **out, const char **path)
{
	AUTO_BUF struct buf errors = BUF_INIT(CLI_TEXT_BYTES);
	size_t i = option_index(cli->command, SLICE("config"));
	const char *file = i == SIZE_MAX ? NULL : cli->values[i];
	bool named = file != NULL;

	if (!named)
		file = CLI_DEFAULT_CONFIG;
	int err = config_load(file, out, &errors);
	if (err == -ENOENT && !named) {
		file = NULL;
		err = config_new(out);
	}
	if (path != NULL)
		*path = file;
	if (err == 0)
		return CLI_OK;
	if (err == -ENOMEM)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	if (cli->json)
		return cli_fail(cli, CLI_CONFIG, "%s", buf_cstr(&errors));
	fputs(buf_cstr(&errors), stderr);
	return CLI_CONFIG;
}

/* ---- finding the command ---- */

const struct cli_command *cli_find(struct slice words)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		if (slice_eq(slice_str(cli_commands[i]->words), words))
			return cli_commands[i];
	}
	return NULL;
}

static bool in_group(const struct cli_command *c, struct slice words)
{
	struct slice w = slice_str(c->words);

	return words.len == 0 || (slice_starts(w, words) && w.len > words.len && w.ptr[words.len] == ' ');
}

bool cli_is_group(struct slice words)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		if (!cli_commands[i]->hidden && in_group(cli_commands[i], words))
			return true;
	}
	return false;
}

static int unknown_command(struct slice group, const char *word)
{
	AUTO_BUF struct buf typed = BUF_INIT(65536);

	buf_add(&typed, group);
	if (group.len > 0)
		buf_addc(&typed, ' ');
	buf_adds(&typed, word);
	struct suggestion s = { .word = buf_slice(&typed) };
	for (size_t i = 0; i < cli_command_count; i++) {
		if (cli_commands[i]->hidden)
			continue;
		suggest_try(&s, cli_commands[i]->words);
	}
	/* "prickle confg": the nearest first word, with the help of its group. */
	struct suggestion first = { .word = slice_str(word) };
	char heads[64][32];
	size_t count = 0;
	for (size_t i = 0; group.len == 0 && i < cli_command_count && count < ARRAY_LEN(heads); i++) {
		struct slice head, rest;
		slice_cut(slice_str(cli_commands[i]->words), ' ', &head, &rest);
		/* Commands of a group stand together. */
		if (cli_commands[i]->hidden || (count > 0 && slice_eq(head, slice_str(heads[count - 1]))))
			continue;
		if (slice_to_str(head, heads[count], sizeof(heads[count])))
			suggest_try(&first, heads[count++]);
	}
	fprintf(stderr, "prickle: there is no command '%s'", buf_cstr(&typed));
	if (s.best != NULL && (first.best == NULL || s.best_distance <= first.best_distance))
		fprintf(stderr, "; did you mean 'prickle %s'?\n", s.best);
	else if (first.best != NULL)
		fprintf(stderr, "; did you mean 'prickle %s'?\n", first.best);
	else
		fprintf(stderr, "; 'prickle %s%s--help' lists them\n", group.len > 0 ? (const char *)group.ptr : "",
			group.len > 0 ? " " : "");
	return CLI_USAGE;
}

/* ---- options ---- */

static const struct cli_option *find_option(const struct cli_command *c, struct slice name, char letter)
{
	const struct cli_option *common[] = { &option_help, c->json ? &option_json : NULL };

	for (size_t i = 0; c->options != NULL && c->options[i].name != NULL; i++) {
		if (letter == '\0' ? slice_eq(slice_str(c->options[i].name), name) : c->options[i].letter == letter)
			return &c->options[i];
	}
	for (size_t i = 0; i < ARRAY_LEN(common); i++) {
		if (common[i] != NULL && (letter == '\0' ? slice_eq(slice_str(common[i]->name), name) :
							   common[i]->letter == letter))
			return common[i];
	}
	return NULL;
}

static int unknown_option(struct cli *cli, struct slice name)
{
	struct suggestion s = { .word = name };

	suggest_try(&s, option_help.name);
	if (cli->command->json)
		suggest_try(&s, option_json.name);
	for (size_t i = 0; cli->command->options != NULL && cli->command->options[i].name != NULL; i++)
		suggest_try(&s, cli->command->options[i].name);
	if (s.best != NULL)
		return cli_fail(cli, CLI_USAGE, "there is no option '--%.*s'; did you mean '--%s'?",
				SLICE_FMT(name), s.best);
	return cli_fail(cli, CLI_USAGE, "there is no option '--%.*s'; see 'prickle %s --help'", SLICE_FMT(name),
			cli->command->words);
}

static void set_option(struct cli *cli, const struct cli_option *o, const char *value)
{
	if (o == &option_help)
		cli->help = true;
	else if (o == &option_json)
		cli->json = true;
	else
		cli->values[o - cli->command->options] = value;
}

/* One argument that starts with '-'. *i moves on when a value is taken from the next argument. */
static int parse_option(struct cli *cli, int argc, char **argv, int *i)
{
	const char *arg = argv[*i];
	struct slice name, value;
	bool joined = false;
	const struct cli_option *o;

	if (arg[1] == '-') {
		joined = slice_cut(slice_str(arg + 2), '=', &name, &value);
		o = find_option(cli->command, name, '\0');
		if (o == NULL)
			return unknown_option(cli, name);
	} else {
		name = slice_of(arg + 1, 1);
		o = find_option(cli->command, name, arg[1]);
		if (o == NULL || (o->value == NULL && arg[2] != '\0'))
			return cli_fail(cli, CLI_USAGE, "there is no option '%s'; see 'prickle %s --help'", arg,
					cli->command->words);
		joined = arg[2] != '\0';
		value = slice_str(arg + 2);
	}
	if (o->value == NULL && joined)
		return cli_fail(cli, CLI_USAGE, "option '--%s' takes no value", o->name);
	if (o->value == NULL) {
		set_option(cli, o, "");
	} else if (joined) {
		set_option(cli, o, (const char *)value.ptr);	/* the tail of argv[i] ends in NUL */
	} else if (*i + 1 < argc) {
		set_option(cli, o, argv[++*i]);
	} else {
		return cli_fail(cli, CLI_USAGE, "option '--%s' needs a value: --%s %s", o->name, o->name, o->value);
	}
	return CLI_OK;
}

static int check_args(struct cli *cli)
{
	const struct cli_arg *a = cli->command->args;
	size_t most = 0;

	for (; a != NULL && a->name != NULL; a++) {
		if (!a->optional && cli->arg_count <= most)
			return cli_fail(cli, CLI_USAGE, "%s is missing (%s); see 'prickle %s --help'", a->name, a->help,
					cli->command->words);
		most = a->many ? CLI_ARGS_MAX : most + 1;
	}
	if (cli->arg_count > most)
		return cli_fail(cli, CLI_USAGE, "'%s' is one argument too many; see 'prickle %s --help'",
				cli->args[most], cli->command->words);
	return CLI_OK;
}

static int run_command(struct cli *cli, int argc, char **argv, int from)
{
	bool options = true;

	for (int i = from; i < argc; i++) {
		if (options && strcmp(argv[i], "--") == 0) {
			options = false;
		} else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
			int err = parse_option(cli, argc, argv, &i);
			if (err != CLI_OK)
				return err;
		} else if (cli->arg_count < CLI_ARGS_MAX) {
			cli->args[cli->arg_count++] = argv[i];
		} else {
			return cli_fail(cli, CLI_USAGE, "more than %u arguments", CLI_ARGS_MAX);
		}
	}
	if (cli->help) {
		AUTO_BUF struct buf out = BUF_INIT(CLI_TEXT_BYTES);
		cli_help_command(&out, cli->command);
		return cli_print(cli, &out);
	}
	int err = check_args(cli);
	return err != CLI_OK ? err : cli->command->run(cli);
}

static int show_group(struct cli *cli, struct slice words, bool asked)
{
	AUTO_BUF struct buf out = BUF_INIT(CLI_TEXT_BYTES);

	cli_help_group(&out, words);
	if (asked)
		return cli_print(cli, &out);
	fputs(buf_cstr(&out), stderr);
	return CLI_USAGE;
}

/* A command that is the begin of others ("policy ticket", "policy ticket list"): the longest one is meant. */
static bool goes_on(struct buf *words, const char *next)
{
	size_t before = words->len;
	bool longer;

	if (next == NULL)
		return false;
	buf_addc(words, ' ');
	buf_adds(words, next);
	longer = cli_find(buf_slice(words)) != NULL;
	buf_truncate(words, before);
	return longer;
}

int cli_main(int argc, char **argv)
{
	AUTO_BUF struct buf words = BUF_INIT(65536);
	struct cli *cli = calloc(1, sizeof(*cli));

	if (cli == NULL) {
		fputs("prickle: out of memory\n", stderr);
		return CLI_TEMPORARY;
	}
	int code = -1;
	for (int i = 1; i < argc && code < 0; i++) {
		size_t before = words.len;
		if (strcmp(argv[i], "--version") == 0 && i == 1) {
			code = printf("prickle %s\n", PRICKLE_VERSION) > 0 && fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
			break;
		}
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			code = show_group(cli, buf_slice(&words), true);
			break;
		}
		if (before > 0)
			buf_addc(&words, ' ');
		buf_adds(&words, argv[i]);
		cli->command = cli_find(buf_slice(&words));
		if (cli->command != NULL && !goes_on(&words, i + 1 < argc ? argv[i + 1] : NULL)) {
			code = run_command(cli, argc, argv, i + 1);
		} else if (cli->command == NULL && !cli_is_group(buf_slice(&words))) {
			buf_truncate(&words, before);
			(void)buf_cstr(&words);
			code = unknown_command(buf_slice(&words), argv[i]);
		}
	}
	if (code < 0)
		code = show_group(cli, buf_slice(&words), false);
	free(cli);
	return code;
}
